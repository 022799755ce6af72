package clas

import (
	"fmt"
	"slices"
	"unicode/utf8"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// Version of the engine. It changes whenever the same facts may give another policy, and every digest names it.
const Version = "clas/2"

// Engine folds facts into policy. It is not safe for concurrent use. Facts given to it and messages taken from it are
// shared and must not be changed.
type Engine struct {
	sequence uint64

	cluster   *cluster
	console   *console
	provision *provision
	labelMap  labelMap
	settings  settings
	link      record[*ringfencev1.PceLink]
	// synced gives the incarnation in which a producer last completed its start.
	synced map[string]record[*ringfencev1.Synced]
	// hosts are the console's workloads by machine id.
	hosts map[string][]*external

	table *labelTable
	ports portTable
	sets  *setStore
	// marks counts the uses of each mark; marked are the marks by who is to carry them.
	marks  map[markUse]int
	marked map[string][]*label

	stale   *stale
	flushed bool
	// featured counts the policies that need any feature of enforcers.
	featured int
	given    struct {
		start   ringfencev1.EnforcementMode
		version int64
	}

	// Room that is used again.
	identity    identity
	labelRoom   []*label
	mappingRoom []mapping
	compilation compilation
}

// New returns an engine that knows nothing.
func New() *Engine {
	e := &Engine{cluster: newCluster(), console: newConsole(), provision: newProvision(),
		synced: map[string]record[*ringfencev1.Synced]{}, hosts: map[string][]*external{}, table: newLabelTable(),
		sets: newSetStore(), marks: map[markUse]int{}, marked: map[string][]*label{}, stale: newStale()}
	e.compilation.Engine = e
	return e
}

// Sequence is the highest place in the log that was applied, refused facts included.
func (e *Engine) Sequence() uint64 { return e.sequence }

// Link is what the log says of the link to the console, nil while nothing is known. It must not be changed.
func (e *Engine) Link() *ringfencev1.PceLink { return e.link.message }

// Apply takes in the fact at a place in the log. Facts come in the order of the log; one at or before the place reached is a
// repeat and changes nothing. An error names the object and the field; the fact is then as if it had never been, but for Sequence.
// Of a pod's fact nothing is kept, not even a text: it may be changed once Apply has returned.
func (e *Engine) Apply(name string, sequence uint64, f *ringfencev1.Fact) error {
	if sequence <= e.sequence && e.sequence > 0 {
		return nil
	}
	return e.apply(name, sequence, f)
}

func (e *Engine) apply(name string, sequence uint64, f *ringfencev1.Fact) error {
	e.sequence = max(e.sequence, sequence)
	s, err := parseSubject(name)
	if err != nil {
		return err
	}
	if gone, isGone := f.GetBody().(*ringfencev1.Fact_Gone); isGone {
		e.remove(s, sequence, gone.Gone.GetUid())
		return nil
	}
	if err := checkText(s, f); err != nil {
		return err
	}
	return e.put(s, sequence, f)
}

// checkText refuses a fact that a snapshot could not hold, because some text in it is not UTF-8. Pods, which are many, are
// checked by themselves; so is what is encoded anyway.
func checkText(s subject, f *ringfencev1.Fact) error {
	switch body := f.GetBody().(type) {
	case *ringfencev1.Fact_Pod, *ringfencev1.Fact_Namespace, *ringfencev1.Fact_ContainerWorkloadProfile, *ringfencev1.Fact_PceObject:
		return nil
	case *ringfencev1.Fact_Label:
		if m := body.Label; utf8.ValidString(m.GetHref()) && utf8.ValidString(m.GetKey()) && utf8.ValidString(m.GetValue()) {
			return nil
		}
	}
	if _, err := encode(f); err != nil {
		return fmt.Errorf("fact of subject %s: %w", s.text, err)
	}
	return nil
}

// put brings a fact about an object into the state, in the place of the object's last one.
func (e *Engine) put(s subject, sequence uint64, f *ringfencev1.Fact) error {
	switch body := f.GetBody().(type) {
	case *ringfencev1.Fact_Pod:
		return e.putPod(s, sequence, body.Pod)
	case *ringfencev1.Fact_Namespace:
		return e.putNamespace(s, sequence, body.Namespace)
	case *ringfencev1.Fact_Node:
		return e.putNode(s, sequence, body.Node)
	case *ringfencev1.Fact_Service:
		return e.putService(s, sequence, body.Service)
	case *ringfencev1.Fact_EndpointSlice:
		return e.putSlice(s, sequence, body.EndpointSlice)
	case *ringfencev1.Fact_KubernetesWorkload:
		return e.putWorkload(s, sequence, body.KubernetesWorkload)
	case *ringfencev1.Fact_LabelMap:
		return e.putLabelMap(s, sequence, body.LabelMap)
	}
	return e.putConsole(s, sequence, f)
}

// putConsole brings a fact of the console, or about the system itself, into the state.
func (e *Engine) putConsole(s subject, sequence uint64, f *ringfencev1.Fact) error {
	switch body := f.GetBody().(type) {
	case *ringfencev1.Fact_PceObject:
		return e.provisioned(e.provision.putObject(s, sequence, body.PceObject))
	case *ringfencev1.Fact_Provisioned:
		return e.provisioned(e.provision.putChunk(s, sequence, body.Provisioned))
	case *ringfencev1.Fact_Label:
		return e.putLabel(s, sequence, body.Label)
	case *ringfencev1.Fact_LabelDimension:
		return e.putDimension(s, sequence, body.LabelDimension)
	case *ringfencev1.Fact_ContainerWorkloadProfile:
		return e.putProfile(s, sequence, body.ContainerWorkloadProfile)
	case *ringfencev1.Fact_PairingProfile:
		return e.putPairing(s, sequence, body.PairingProfile)
	case *ringfencev1.Fact_PceWorkload:
		return e.putExternal(s, sequence, body.PceWorkload)
	case *ringfencev1.Fact_AcknowledgedWorkload:
		return e.putAcknowledgement(s, sequence, body.AcknowledgedWorkload)
	case *ringfencev1.Fact_Synced:
		return e.putSynced(s, sequence, body.Synced)
	case *ringfencev1.Fact_Settings:
		return e.putSettings(s, sequence, body.Settings)
	case *ringfencev1.Fact_PceLink:
		return e.putLink(s, sequence, body.PceLink)
	case *ringfencev1.Fact_Epoch: // who writes is no input of policy
		return s.is("ctl", "epoch")
	}
	return fmt.Errorf("fact of subject %s: body: none that this version knows", s.text)
}

// provisioned puts a version in force that is complete, and marks what differs from the one before.
func (e *Engine) provisioned(ready bool, err error) error {
	if err != nil || !ready {
		return err
	}
	before := e.provision.commit().byHref
	now := e.provision.force.byHref
	for href, o := range now {
		if old := before[href]; old != o {
			e.replaceObject(href, old, o)
		}
	}
	for href, old := range before {
		if now[href] == nil {
			e.replaceObject(href, old, nil)
		}
	}
	return nil
}

// replaceObject marks what an object's change reaches; before and now are nil where there was or is none.
func (e *Engine) replaceObject(href string, before, now *storedObject) {
	var set *ruleSet
	if before != nil {
		set, before.rules = before.rules, nil
	}
	if now != nil && now.isRuleSet() {
		if set == nil {
			set = &ruleSet{}
		}
		set.object, now.rules = now, set
		set.invalidate(e)
	} else if set != nil {
		e.retract(set)
	}
	e.changed(href)
	for _, o := range []*storedObject{before, now} {
		if o != nil {
			if _, virtual := o.content.(*ringfencev1.VirtualService); virtual {
				e.changed(allVirtualServices)
			}
		}
	}
}

func (e *Engine) putSynced(s subject, sequence uint64, m *ringfencev1.Synced) error {
	if err := s.is("ctl", "synced"); err != nil {
		return err
	}
	if m.GetProducer() != s.id() {
		return fmt.Errorf("synced mark: producer: %q, the subject is %s", m.GetProducer(), s.text)
	}
	e.synced[m.GetProducer()] = record[*ringfencev1.Synced]{sequence, m}
	return nil
}

func (e *Engine) putSettings(s subject, sequence uint64, m *ringfencev1.Settings) error {
	if err := s.is("ctl", "settings"); err != nil {
		return err
	}
	if err := checkSettings(m); err != nil {
		return err
	}
	e.takeSettings(settings{message: m, sequence: sequence, legacy: m.GetClusterMode() == "legacy", unpaired: m.GetClusterMode() == "unpair",
		perWorkload: m.PolicyLabelSetEnable != nil && !m.GetPolicyLabelSetEnable(), noDegraded: m.GetDisableDegradedMode(),
		fail: m.GetDegradedModePolicyFail(), start: m.GetStartPolicy()})
	return nil
}

func checkSettings(m *ringfencev1.Settings) error {
	switch m.GetClusterMode() {
	case "", "clas", "legacy", "migrateLegacyToClas", "migrateClasToLegacy", "unpair":
	default:
		return fmt.Errorf("settings: cluster_mode: %q is none of clas, legacy, migrateLegacyToClas, migrateClasToLegacy, unpair", m.GetClusterMode())
	}
	if _, known := ringfencev1.DegradedModePolicyFail_name[int32(m.GetDegradedModePolicyFail())]; !known {
		return fmt.Errorf("settings: degraded_mode_policy_fail: %d is unknown", m.GetDegradedModePolicyFail())
	}
	if _, known := ringfencev1.NetworkType_name[int32(m.GetNetworkType())]; !known {
		return fmt.Errorf("settings: network_type: %d is unknown", m.GetNetworkType())
	}
	if _, known := ringfencev1.EnforcementMode_name[int32(m.GetStartPolicy())]; !known {
		return fmt.Errorf("settings: start_policy: %d is unknown", m.GetStartPolicy())
	}
	return nil
}

// takeSettings marks what a change of settings reaches.
func (e *Engine) takeSettings(next settings) {
	before := e.settings
	e.settings = next
	if before.legacy != next.legacy {
		for set := range e.provision.ruleSets() {
			set.invalidate(e)
		}
	}
	if before.unpaired != next.unpaired {
		e.relabelAll()
	}
	if before.perWorkload != next.perWorkload {
		e.cluster.pods.all(func(p *pod) {
			if p.group.controller == nil {
				e.movePod(p)
			}
		})
		e.relabelAll()
	}
	if before.noDegraded != next.noDegraded || before.fail != next.fail {
		e.enrollAll()
	}
}

// enrollAll marks every group's policy to be found again.
func (e *Engine) enrollAll() {
	for _, ns := range e.cluster.namespaces {
		e.stale.knowing(ns)
		for _, g := range ns.groups.items {
			e.stale.enroll(g)
		}
	}
}

func (e *Engine) putLink(s subject, sequence uint64, m *ringfencev1.PceLink) error {
	if err := s.is("ctl", "link"); err != nil {
		return err
	}
	e.takeLink(record[*ringfencev1.PceLink]{sequence, m})
	return nil
}

func (e *Engine) takeLink(next record[*ringfencev1.PceLink]) {
	before := e.degraded()
	e.link = next
	if before != e.degraded() {
		e.enrollAll()
		for _, ns := range e.cluster.namespaces {
			e.setKnown(ns, nil)
		}
	}
}

// remove takes out the object of a subject, unless the tombstone is of an earlier object of the same name.
func (e *Engine) remove(s subject, sequence uint64, uid string) {
	switch s.group {
	case "k8s":
		e.removeKubernetes(s, uid)
	case "pce":
		e.removeConsole(s, sequence)
	case "ctl":
		switch s.kind {
		case "synced":
			delete(e.synced, s.id())
		case "settings":
			e.takeSettings(settings{})
		case "link":
			e.takeLink(record[*ringfencev1.PceLink]{})
		}
	}
}

// follows tells whether a tombstone with a uid is of a successor's predecessor, and not of the object itself.
func follows(uid, held string) bool { return uid != "" && held != "" && uid != held }

func (e *Engine) removeKubernetes(s subject, uid string) {
	namespace, name := s.rest[0], s.rest[1]
	ns := e.cluster.namespaces[namespace]
	switch s.kind {
	case "namespace":
		if ns = e.cluster.namespaces[name]; namespace == clusterScoped && ns != nil && ns.fact != nil && !follows(uid, ns.fact.uid) {
			e.dropNamespace(ns)
		}
		return
	case "node":
		if n := e.cluster.nodes[name]; namespace == clusterScoped && n != nil && n.exists() && !follows(uid, n.message.GetUid()) {
			e.dropNode(n)
		}
		return
	case "labelmap":
		if m := e.labelMap.message; namespace == clusterScoped && m != nil && m.GetName() == name && !follows(uid, m.GetUid()) {
			e.labelMap = labelMap{}
			e.relabelAll()
		}
		return
	}
	if ns == nil {
		return
	}
	switch s.kind {
	case "pod":
		if p := e.cluster.pods.find(ns, name); p != nil && !follows(uid, p.uidText()) {
			e.dropPod(p)
		}
	case "service":
		key := objectName{namespace, name}
		if v := e.cluster.services[key]; v != nil && !follows(uid, v.message.GetUid()) {
			e.dropService(key, v)
		}
	case "endpointslice":
		if x := ns.slices[name]; x != nil && !follows(uid, x.message.GetUid()) {
			e.dropSlice(ns, name)
		}
	default:
		if w := ns.workloads[workloadName{s.kind, name}]; w != nil && w.message != nil && !follows(uid, w.message.GetUid()) {
			e.dropWorkload(w)
		}
	}
}

func (e *Engine) removeConsole(s subject, sequence uint64) {
	switch s.kind {
	case "object":
		e.provision.removeObject(s)
	case "provisioned":
		e.provision.removeChunk(s, sequence)
	case "label":
		e.removeLabel(s, sequence)
	case "label_dimension":
		e.dropDimension(s.id())
	case "profile":
		e.dropProfile(s.id())
	case "pairing_profile":
		e.dropPairing(s.id())
	case "workload":
		e.dropExternal(s.id())
	case "kubernetes_workload":
		e.dropAcknowledgement(s.id())
	}
}

// Synced lists the producers whose start is complete in the incarnation, sorted.
func (e *Engine) Synced(incarnation string) []string {
	var out []string
	for producer, r := range e.synced {
		if r.message.GetIncarnation() == incarnation {
			out = append(out, producer)
		}
	}
	slices.Sort(out)
	return out
}
