package clas

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// cluster holds the Kubernetes side by name.
type cluster struct {
	namespaces map[string]*namespace
	nodes      map[string]*node
	pods       podTable
	services   map[objectName]*service
	// groups finds the groups of pods by the hash of what their pods have in common.
	groups    map[uint64]*group
	addresses *addressBook
	// signatures are found by their hash, of which the namespace is part.
	signatures map[uint64]*signature
	// machines finds nodes by their machine id.
	machines map[string]*bag[*node]
}

// podTable finds pods by the hash of their names: numbers are moved with less effort than texts when a table grows. Should there
// ever be two pods of one hash, the others are in clashes.
type podTable struct {
	byHash  map[uint64]*pod
	clashes map[uint64][]*pod
}

func hashName(ns *namespace, name string) uint64 { return mix(ns.hash, hashText(name)) }

func (p *pod) named(ns *namespace, name string) bool { return p.name == name && p.group.ns == ns }

func (t *podTable) find(ns *namespace, name string) *pod {
	h := hashName(ns, name)
	p := t.byHash[h]
	if p == nil || p.named(ns, name) {
		return p
	}
	for _, p := range t.clashes[h] {
		if p.named(ns, name) {
			return p
		}
	}
	return nil
}

// put adds a pod of a name that there is none of.
func (t *podTable) put(ns *namespace, p *pod) {
	h := hashName(ns, p.name)
	if t.byHash[h] == nil {
		t.byHash[h] = p
		return
	}
	if t.clashes == nil {
		t.clashes = map[uint64][]*pod{}
	}
	t.clashes[h] = append(t.clashes[h], p)
}

// replace puts a pod in the place of another of its name.
func (t *podTable) replace(ns *namespace, old, p *pod) {
	h := hashName(ns, p.name)
	if t.byHash[h] == old {
		t.byHash[h] = p
		return
	}
	others := t.clashes[h]
	others[slices.Index(others, old)] = p
}

func (t *podTable) remove(ns *namespace, p *pod) {
	h := hashName(ns, p.name)
	others := t.clashes[h]
	switch {
	case t.byHash[h] != p:
		t.clashes[h] = slices.DeleteFunc(others, func(q *pod) bool { return q == p })
	case len(others) > 0:
		t.byHash[h], t.clashes[h] = others[0], others[1:]
	default:
		delete(t.byHash, h)
	}
}

// all visits every pod, in no order.
func (t *podTable) all(visit func(*pod)) {
	for _, p := range t.byHash {
		visit(p)
	}
	for _, list := range t.clashes {
		for _, p := range list {
			visit(p)
		}
	}
}

// objectName names a namespaced object.
type objectName struct{ namespace, name string }

func newCluster() *cluster {
	return &cluster{namespaces: map[string]*namespace{}, nodes: map[string]*node{}, pods: podTable{byHash: map[uint64]*pod{}},
		services: map[objectName]*service{}, groups: map[uint64]*group{}, addresses: newAddressBook(),
		machines: map[string]*bag[*node]{}, signatures: map[uint64]*signature{}}
}

// namespace is a namespace that anything names. The one without a name stands for the default profile.
type namespace struct {
	name string
	// book is the cluster's; hash is of the name.
	book *addressBook
	hash uint64
	// fact is nil where none is there.
	fact *namespaceFact
	// profiles are those of the namespace; profile is the one in force, nil where the default one is.
	profiles []*profile
	profile  *profile
	groups   bag[*group]
	services bag[*service]
	slices   map[string]*endpointSlice
	// workloads are found by kind (lower-case) and name.
	workloads  map[workloadName]*workload
	signatures []*signature
	// known are the label sets of the workloads that the console knows, worked out in degraded mode alone.
	known      map[*labelSet]bool
	knownValid bool
	stale      bool
	// given is the hash of what the last flush gave of the namespace, 0 for nothing.
	given uint64
}

type workloadName struct{ kind, name string }

// namespaceFact is what the fact of a namespace says.
type namespaceFact struct {
	sequence     uint64
	uid, version string
	labels       packed
	unknown      []byte // fields of a newer release
}

// message gives the fact again.
func (f *namespaceFact) message(name string) *ringfencev1.Namespace {
	m := &ringfencev1.Namespace{Name: name, Uid: f.uid, ResourceVersion: f.version, Labels: f.labels.texts()}
	m.ProtoReflect().SetUnknown(slices.Clone(f.unknown))
	return m
}

// namespace gives the namespace of a name, made where there is none.
func (c *cluster) namespace(name string) *namespace {
	ns := c.namespaces[name]
	if ns == nil {
		ns = &namespace{name: strings.Clone(name), book: c.addresses, hash: hashText(name)}
		c.namespaces[ns.name] = ns
	}
	return ns
}

// listed tells whether the namespaces object names it: it is known by a fact or a profile of its own.
func (ns *namespace) listed() bool {
	return ns.name != "" && (ns.fact != nil || len(ns.profiles) > 0)
}

// used tells whether anything names the namespace.
func (ns *namespace) used() bool {
	return ns.listed() || len(ns.profiles) > 0 || ns.groups.len()+ns.services.len()+len(ns.slices)+len(ns.workloads)+len(ns.signatures) > 0
}

// workload gives the workload of a kind and name, made where there is none.
func (ns *namespace) workload(kind, name string) *workload {
	key := workloadName{kind, name}
	w := ns.workloads[key]
	if w == nil {
		if ns.workloads == nil {
			ns.workloads = map[workloadName]*workload{}
		}
		w = &workload{ns: ns, kind: strings.Clone(kind), name: strings.Clone(name)}
		ns.workloads[workloadName{w.kind, w.name}] = w
	}
	return w
}

// workload is a Kubernetes workload: a controller of pods, a bare pod, or a Service, as the console names them.
type workload struct {
	ns         *namespace
	kind, name string
	// message is the controller's fact, nil where none is there; labels and annotations are its.
	message             *ringfencev1.KubernetesWorkload
	sequence            uint64
	labels, annotations packed
	acks                bag[*acknowledgement]
	groups              bag[*group]
	service             *service
}

func (w *workload) String() string { return w.ns.name + "/" + w.kind + "/" + w.name }

// collectWorkload forgets a workload that nothing names.
func (c *cluster) collectWorkload(w *workload) {
	if w.message == nil && w.acks.len() == 0 && w.groups.len() == 0 && w.service == nil {
		delete(w.ns.workloads, workloadName{w.kind, w.name})
	}
}

func (e *Engine) putNamespace(s subject, sequence uint64, m *ringfencev1.Namespace) error {
	if err := s.names("namespace", "", m.GetName()); err != nil {
		return err
	}
	labels := packPairs(m.GetLabels(), nil)
	if !utf8.ValidString(m.GetName()) || !utf8.ValidString(m.GetUid()) || !utf8.ValidString(m.GetResourceVersion()) || !labels.text() {
		return fmt.Errorf("namespace %q: %w", m.GetName(), errNotText)
	}
	ns := e.cluster.namespace(m.GetName())
	if ns.fact == nil {
		e.stale.listing(ns)
	}
	ns.fact = &namespaceFact{sequence: sequence, uid: m.GetUid(), version: m.GetResourceVersion(), labels: labels, unknown: m.ProtoReflect().GetUnknown()}
	return nil
}

func (e *Engine) dropNamespace(ns *namespace) {
	ns.fact = nil
	e.stale.listing(ns)
}

func (e *Engine) putWorkload(s subject, sequence uint64, m *ringfencev1.KubernetesWorkload) error {
	if m.GetKind() == "" {
		return fmt.Errorf("kubernetes workload of subject %s: kind: empty", s.text)
	}
	if m.GetNamespace() == "" {
		return fmt.Errorf("%s %s: namespace: empty", strings.ToLower(m.GetKind()), m.GetName())
	}
	if err := s.names(m.GetKind(), m.GetNamespace(), m.GetName()); err != nil {
		return err
	}
	w := e.cluster.namespace(m.GetNamespace()).workload(strings.ToLower(m.GetKind()), m.GetName())
	w.message, w.sequence = m, sequence
	w.labels, w.annotations = packPairs(m.GetLabels(), nil), packPairs(m.GetAnnotations(), nil)
	e.stale.workload(w)
	return nil
}

func (e *Engine) dropWorkload(w *workload) {
	w.message, w.labels, w.annotations = nil, "", ""
	e.stale.workload(w)
	e.cluster.collectWorkload(w)
}

// group is the pods that have everything in common that policy can tell pods apart by, other than addresses and nodes: those
// of one namespace with equal labels, annotations, ports and controller. Labels are resolved and Services matched once for
// all of them. Pods that are their own workload share a group, too, unless the console or the settings single them out.
type group struct {
	ns                  *namespace
	labels, annotations packed
	ports               []containerPort
	hostNetwork         bool
	// controller is nil for bare pods.
	controller *controller
	// workload is the controller, or the pod itself where it was singled out, else nil.
	workload *workload
	hash     uint64
	next     *group // of the same hash

	pods     []*pod
	live     int32 // pods that have not come to their end
	planned  int32 // pods that a plan is to name
	services []*service
	requests []*label
	// plain is the label set without marks, nil while the namespace is not managed; set is the one with them, nil for pods on the
	// host network, too, which policy knows by their node.
	plain, set *labelSet
	// policy is nil while no pod of the group is to have one.
	policy *workloadPolicy
	// signed is the policy that is counted under the signature.
	signed    *workloadPolicy
	signature *signature
	stale     bool
}

type containerPort struct {
	name     string
	protocol uint8
	port     uint16
}

// controller is what a pod says of its controller.
type controller struct{ kind, name, uid string }

// ownsNetwork tells whether the pods of the group have networks of their own.
func (g *group) ownsNetwork() bool { return !g.hostNetwork }

// object gives the Kubernetes labels and the annotations that label the pods: the controller's where a fact of it is there,
// else their own.
func (g *group) object() (labels, annotations packed) {
	if g.controller != nil && g.workload.message != nil {
		return g.workload.labels, g.workload.annotations
	}
	return g.labels, g.annotations
}

func (g *group) relabel(e *Engine) { e.stale.group(g) }

// hashPod hashes what the pods of a group have in common.
func hashPod(ns *namespace, m *ringfencev1.Pod, w *workload) uint64 {
	h := mix(hashPairs(m.GetLabels()), hashPairs(m.GetAnnotations()))
	h = mix(h, ns.hash)
	if c := m.GetController(); c != nil {
		h = mix(h, mix(hashText(c.GetKind()), mix(hashText(c.GetName()), hashText(c.GetUid()))))
	} else if w != nil {
		h = mix(h, hashText(w.name))
	}
	for _, p := range m.GetPorts() {
		h = mix(h, mix(hashText(p.GetName()), uint64(p.GetPort())<<8|uint64(p.GetProtocol())))
	}
	if m.GetHostNetwork() {
		h++
	}
	return h
}

// sameAs tells whether a pod belongs into the group.
func (g *group) sameAs(ns *namespace, m *ringfencev1.Pod, w *workload) bool {
	c := m.GetController()
	if g.ns != ns || g.workload != w || g.hostNetwork != m.GetHostNetwork() || len(g.ports) != len(m.GetPorts()) ||
		(c == nil) != (g.controller == nil) || c != nil && *g.controller != (controller{c.GetKind(), c.GetName(), c.GetUid()}) || !g.labels.equal(m.GetLabels()) || !g.annotations.equal(m.GetAnnotations()) {
		return false
	}
	for i, p := range m.GetPorts() {
		if g.ports[i] != (containerPort{p.GetName(), uint8(p.GetProtocol()), uint16(p.GetPort())}) {
			return false
		}
	}
	return true
}

// group gives the group that a pod of a workload belongs to, made where there is none. Another that it may be like makes that faster.
func (e *Engine) group(ns *namespace, m *ringfencev1.Pod, w *workload, like *group) (*group, error) {
	h := hashPod(ns, m, w)
	first := e.cluster.groups[h]
	for g := first; g != nil; g = g.next {
		if g.sameAs(ns, m, w) {
			return g, nil
		}
	}
	g := &group{ns: ns, labels: packLike(like.labels, m.GetLabels()), annotations: packLike(like.annotations, m.GetAnnotations()), hostNetwork: m.GetHostNetwork(),
		workload: w, hash: h, next: first}
	if !g.labels.text() || !g.annotations.text() || !groupText(m) {
		return nil, errNotText
	}
	if c := m.GetController(); c != nil {
		g.controller = &controller{strings.Clone(c.GetKind()), strings.Clone(c.GetName()), strings.Clone(c.GetUid())}
	}
	for _, p := range m.GetPorts() {
		g.ports = append(g.ports, containerPort{strings.Clone(p.GetName()), uint8(p.GetProtocol()), uint16(p.GetPort())})
	}
	e.cluster.groups[h] = g
	ns.groups.add(g)
	if w != nil {
		w.groups.add(g)
	}
	for _, s := range ns.services.items {
		s.gather(g)
	}
	e.stale.group(g)
	return g, nil
}

// groupAfter gives the group that a pod belongs to in the place of another, nil for none. Most pods stay in their group, which is
// found without a look at all others.
func (e *Engine) groupAfter(old *pod, ns *namespace, m *ringfencev1.Pod) (*group, error) {
	w := e.workloadOf(ns, m)
	if old != nil && old.group.sameAs(ns, m, w) {
		return old.group, nil
	}
	like := &group{}
	if old != nil {
		like = old.group
	}
	return e.group(ns, m, w, like)
}

// workloadOf gives the workload that a pod belongs to. A bare pod has one of its own only where that matters: the console
// knows it, or policy is computed for each workload.
func (e *Engine) workloadOf(ns *namespace, m *ringfencev1.Pod) *workload {
	if c := m.GetController(); c != nil {
		return ns.workload(strings.ToLower(c.GetKind()), c.GetName())
	}
	if e.settings.perWorkload {
		return ns.workload("pod", m.GetName())
	}
	if w := ns.workloads[workloadName{"pod", m.GetName()}]; w != nil && w.acks.len() > 0 {
		return w
	}
	return nil
}

// regroup moves a bare pod into the group that it belongs to since it was singled out, or is not any more.
func (e *Engine) regroup(w *workload) {
	if w.kind != "pod" {
		return
	}
	if p := e.cluster.pods.find(w.ns, w.name); p != nil && p.group.controller == nil {
		e.movePod(p)
	}
}

// movePod looks for the pod's group again.
func (e *Engine) movePod(p *pod) {
	m := p.message()
	next, err := e.group(p.group.ns, m, e.workloadOf(p.group.ns, m), p.group)
	if err != nil || next == p.group {
		return
	}
	e.touchPod(p)
	old := p.group
	e.leaveGroup(p)
	e.joinGroup(p, next)
	e.stale.group(next)
	e.stale.group(old)
	e.stale.pod(p)
}

func (e *Engine) joinGroup(p *pod, g *group) {
	p.group, p.inGroup = g, int32(len(g.pods))
	g.pods = append(grown(g.pods), p)
	if g.set != nil {
		g.set.digest = nil
	}
	if p.planned() {
		g.planned++
		if g.planned == 1 {
			e.stale.group(g)
		}
	}
	if !p.terminal() {
		g.live++
		if g.live == 1 {
			e.stale.backends(g)
		}
	}
}

// grown gives a list room for one more, and for fewer beyond that than append would: there are many lists.
func grown[T any](list []T) []T {
	if len(list) < cap(list) {
		return list
	}
	return append(make([]T, 0, len(list)+len(list)/4+1), list...)
}

func (e *Engine) leaveGroup(p *pod) {
	g := p.group
	if g.set != nil {
		g.set.digest = nil
	}
	last := g.pods[len(g.pods)-1]
	g.pods[p.inGroup], last.inGroup = last, p.inGroup
	g.pods[len(g.pods)-1] = nil
	g.pods = g.pods[:len(g.pods)-1]
	if p.planned() {
		g.planned--
		if g.planned == 0 {
			e.stale.group(g)
		}
	}
	if !p.terminal() {
		g.live--
		if g.live == 0 {
			e.stale.backends(g)
		}
	}
	if len(g.pods) == 0 {
		e.stale.group(g)
	}
}

// dropGroup takes a group without pods out of all indexes.
func (e *Engine) dropGroup(g *group) {
	first := e.cluster.groups[g.hash]
	if first == g {
		if e.cluster.groups[g.hash] = g.next; g.next == nil {
			delete(e.cluster.groups, g.hash)
		}
	} else {
		for before := first; before != nil; before = before.next {
			if before.next == g {
				before.next = g.next
			}
		}
	}
	g.ns.groups.remove(g)
	e.stale.listing(g.ns)
	for _, s := range g.services {
		s.groups.remove(g)
	}
	e.request(g, g.requests, nil)
	if g.workload != nil {
		g.workload.groups.remove(g)
		e.cluster.collectWorkload(g.workload)
	}
}
