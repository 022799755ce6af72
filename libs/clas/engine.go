package clas

import (
	"fmt"
	"slices"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
	"google.golang.org/protobuf/proto"
)

// Version of the engine. It changes whenever the same facts may give another policy, and every digest names it.
const Version = "clas/1"

// Engine folds facts into policy. It is not safe for concurrent use. Facts given to it and messages taken from it are
// shared and must not be changed.
type Engine struct {
	sequence uint64
	// facts are the last ones by the key of their subjects, but for what the console versions.
	facts map[string]held
	// buried are the last labels and the tombstones of labels that are gone, for their keys.
	buried map[string][2]held

	labels    *catalogue
	profiles  *profiles
	provision *provision
	cluster   *cluster
	matcher   *matcher
	sets      *setStore
	policies  *policyStore
	book      *ruleBook
	// synced gives the incarnation in which a producer last completed its start.
	synced map[string]string

	namespaces *ringfencev1.Namespaces
	stale      *stale
	published  *publication
	// scratch takes each fact's encoding once, to learn early whether a snapshot will be able to hold it.
	scratch []byte
}

// New returns an engine that knows nothing.
func New() *Engine {
	return &Engine{facts: map[string]held{}, buried: map[string][2]held{}, labels: newCatalogue(), profiles: newProfiles(),
		provision: newProvision(), cluster: newCluster(), matcher: newMatcher(), sets: newSetStore(),
		policies: newPolicyStore(), book: &ruleBook{byID: map[string]*rule{}}, synced: map[string]string{},
		namespaces: &ringfencev1.Namespaces{}, stale: newStale(), published: newPublication()}
}

// Sequence is the highest place in the log that was applied, refused facts included.
func (e *Engine) Sequence() uint64 { return e.sequence }

// Apply takes in the fact at a place in the log. Facts come in the order of the log; a repeat of some stretch, followed by
// what came after it, ends in the same state. An error names the object and the field; the fact is then as if it had
// never been, but for Sequence.
func (e *Engine) Apply(name string, sequence uint64, f *ringfencev1.Fact) error {
	e.sequence = max(e.sequence, sequence)
	s, err := parseSubject(name)
	if err != nil {
		return err
	}
	if e.scratch, err = (proto.MarshalOptions{}).MarshalAppend(e.scratch[:0], f); err != nil {
		return fmt.Errorf("fact of subject %s: encode: %w", name, err)
	}
	h := held{subject: name, sequence: sequence, fact: f}
	switch body := f.GetBody().(type) {
	case *ringfencev1.Fact_Gone:
		e.remove(s, h, body.Gone.GetUid())
		return nil
	case *ringfencev1.Fact_PceObject:
		return e.provisioned(e.provision.putObject(s, h))
	case *ringfencev1.Fact_Provisioned:
		return e.provisioned(e.provision.putChunk(s, h))
	}
	if err := e.put(s, h); err != nil {
		return err
	}
	e.facts[s.key] = h
	return nil
}

func (e *Engine) provisioned(committed bool, err error) error {
	e.stale.rules = e.stale.rules || committed
	return err
}

// put brings a fact about an object into the state, in the place of the object's last one.
func (e *Engine) put(s subject, h held) error {
	switch body := h.fact.GetBody().(type) {
	case *ringfencev1.Fact_Namespace:
		return e.putNamespace(s, body.Namespace)
	case *ringfencev1.Fact_Node:
		return e.putNode(s, body.Node)
	case *ringfencev1.Fact_Pod:
		return e.putPod(s, h, body.Pod)
	case *ringfencev1.Fact_Service:
		return e.putService(s, h, body.Service)
	case *ringfencev1.Fact_KubernetesWorkload:
		return e.putWorkload(s, body.KubernetesWorkload)
	case *ringfencev1.Fact_Label:
		return e.putLabel(s, body.Label)
	case *ringfencev1.Fact_ContainerWorkloadProfile:
		return e.putProfile(s, h, body.ContainerWorkloadProfile)
	case *ringfencev1.Fact_Synced:
		return e.putSynced(s, body.Synced)
	case *ringfencev1.Fact_Settings:
		return s.is("ctl", "settings")
	case *ringfencev1.Fact_PceLink:
		return s.is("ctl", "link")
	}
	return fmt.Errorf("fact of subject %s: body: none that this version knows", s.text)
}

func (e *Engine) putNamespace(s subject, m *ringfencev1.Namespace) error {
	if err := s.names("namespace", "", m.GetName()); err != nil {
		return err
	}
	e.cluster.namespaces[m.GetName()] = struct{}{}
	e.stale.namespaces = true
	return nil
}

func (e *Engine) putNode(s subject, m *ringfencev1.Node) error {
	addresses, err := parseNode(s, m)
	if err != nil {
		return err
	}
	e.cluster.setNode(m.GetName(), m, addresses)
	e.stale.nodes[m.GetName()] = true
	return nil
}

func (e *Engine) putPod(s subject, h held, m *ringfencev1.Pod) error {
	next, err := parsePod(s, h, m)
	if err != nil {
		return err
	}
	if old := e.cluster.pods[next.objectName]; old != nil {
		e.dropPod(old)
	}
	e.cluster.addPod(next)
	e.stale.pod(next)
	return nil
}

func (e *Engine) dropPod(p *pod) {
	e.stale.pod(p)
	delete(e.stale.pods, p)
	e.cluster.removePod(p)
	e.relabelPod(p, nil)
	e.enroll(p, nil)
}

func (e *Engine) putService(s subject, h held, m *ringfencev1.Service) error {
	next, err := parseServiceActor(s, h, m)
	if err != nil {
		return err
	}
	if old := e.cluster.services[next.objectName]; old != nil {
		e.dropService(old)
	}
	e.cluster.addService(next)
	e.stale.service(next)
	return nil
}

func (e *Engine) dropService(v *service) {
	e.stale.service(v)
	delete(e.stale.services, v)
	e.cluster.removeService(v)
	e.relabelService(v, nil)
}

func (e *Engine) putWorkload(s subject, m *ringfencev1.KubernetesWorkload) error {
	if m.GetKind() == "" {
		return fmt.Errorf("kubernetes workload of subject %s: kind: empty", s.text)
	}
	if err := s.names(m.GetKind(), m.GetNamespace(), m.GetName()); err != nil {
		return err
	}
	name := workloadName{s.kind, objectName{m.GetNamespace(), m.GetName()}}
	e.cluster.workloads[name] = m
	e.stale.actors(e.cluster.podsOf[name], nil)
	return nil
}

func (e *Engine) putLabel(s subject, m *ringfencev1.Label) error {
	if err := parseLabel(s, m); err != nil {
		return err
	}
	if old := e.labelOf(s.key); old != nil {
		e.labels.forget(old.GetHref())
	}
	delete(e.buried, s.key)
	e.labels.put(m.GetHref(), label{m.GetKey(), m.GetValue()})
	e.stale.labels = true
	return nil
}

// labelOf gives the last label of a subject's key, be it there or gone.
func (e *Engine) labelOf(key string) *ringfencev1.Label {
	if pair, buried := e.buried[key]; buried {
		return pair[0].fact.GetLabel()
	}
	return e.facts[key].fact.GetLabel()
}

func (e *Engine) putProfile(s subject, h held, m *ringfencev1.ContainerWorkloadProfile) error {
	p, err := parseProfile(s, h.sequence, m)
	if err != nil {
		return err
	}
	e.replaceProfile(s.key, p)
	return nil
}

func (e *Engine) replaceProfile(key string, p *profile) {
	for _, namespace := range e.profiles.replace(key, p) {
		e.stale.namespace(namespace, e.cluster)
	}
}

func (e *Engine) putSynced(s subject, m *ringfencev1.Synced) error {
	if err := s.is("ctl", "synced"); err != nil {
		return err
	}
	if m.GetProducer() != s.rest[0] {
		return fmt.Errorf("synced mark: producer: %q, the subject is %s", m.GetProducer(), s.text)
	}
	e.synced[m.GetProducer()] = m.GetIncarnation()
	return nil
}

// remove takes out the object of a subject, unless the tombstone is of an earlier object of the same name.
func (e *Engine) remove(s subject, tombstone held, uid string) {
	if s.group == "pce" && s.kind == "object" {
		e.provision.removeObject(s.rest[0])
		return
	}
	if s.group == "pce" && s.kind == "provisioned" {
		e.provision.removeChunk(s)
		return
	}
	last, known := e.facts[s.key]
	if !known || uid != "" && uidOf(last.fact) != "" && uid != uidOf(last.fact) {
		return
	}
	delete(e.facts, s.key)
	e.removeObject(s, last, tombstone)
}

func (e *Engine) removeObject(s subject, last, tombstone held) {
	switch body := last.fact.GetBody().(type) {
	case *ringfencev1.Fact_Namespace:
		delete(e.cluster.namespaces, body.Namespace.GetName())
		e.stale.namespaces = true
	case *ringfencev1.Fact_Node:
		e.cluster.setNode(body.Node.GetName(), nil, nil)
		e.stale.nodes[body.Node.GetName()] = true
	case *ringfencev1.Fact_Pod:
		e.dropPod(e.cluster.pods[objectName{body.Pod.GetNamespace(), body.Pod.GetName()}])
	case *ringfencev1.Fact_Service:
		e.dropService(e.cluster.services[objectName{body.Service.GetNamespace(), body.Service.GetName()}])
	case *ringfencev1.Fact_KubernetesWorkload:
		name := workloadName{s.kind, objectName{body.KubernetesWorkload.GetNamespace(), body.KubernetesWorkload.GetName()}}
		delete(e.cluster.workloads, name)
		e.stale.actors(e.cluster.podsOf[name], nil)
	case *ringfencev1.Fact_Label:
		e.buried[s.key] = [2]held{last, tombstone}
		e.labels.bury(body.Label.GetHref())
		e.stale.labels = true
	case *ringfencev1.Fact_ContainerWorkloadProfile:
		e.replaceProfile(s.key, nil)
	case *ringfencev1.Fact_Synced:
		delete(e.synced, body.Synced.GetProducer())
	}
}

func uidOf(f *ringfencev1.Fact) string {
	switch body := f.GetBody().(type) {
	case *ringfencev1.Fact_Namespace:
		return body.Namespace.GetUid()
	case *ringfencev1.Fact_Node:
		return body.Node.GetUid()
	case *ringfencev1.Fact_Pod:
		return body.Pod.GetUid()
	case *ringfencev1.Fact_Service:
		return body.Service.GetUid()
	case *ringfencev1.Fact_KubernetesWorkload:
		return body.KubernetesWorkload.GetUid()
	}
	return ""
}

// Synced lists the producers whose start is complete in the incarnation, sorted.
func (e *Engine) Synced(incarnation string) []string {
	var out []string
	for producer, in := range e.synced {
		if in == incarnation {
			out = append(out, producer)
		}
	}
	slices.Sort(out)
	return out
}
