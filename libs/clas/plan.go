package clas

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// signature counts, for pods of a namespace that look alike before anything but their labels and annotations is known, which
// policies those that are planned have. hash is the beginning of what Signature gives.
type signature struct {
	ns    *namespace
	hash  uint64
	place int // among those of the namespace
	// given is the id of the policy that the last flush left with readers, 0 for none.
	given uint64
	stale bool
	// first is one of the policies, that of count groups; others counts the groups of the others, of which there are seldom any.
	first  *workloadPolicy
	count  int32
	others map[*workloadPolicy]int32
}

func (s *signature) add(p *workloadPolicy) {
	switch s.first {
	case nil, p:
		s.first = p
		s.count++
	default:
		if s.others == nil {
			s.others = map[*workloadPolicy]int32{}
		}
		s.others[p]++
	}
}

func (s *signature) remove(p *workloadPolicy) {
	if s.first != p {
		if s.others[p]--; s.others[p] == 0 {
			delete(s.others, p)
		}
		return
	}
	if s.count--; s.count > 0 {
		return
	}
	s.first = nil
	for other, count := range s.others { // whichever: sole asks for how many there are
		s.first, s.count = other, count
		delete(s.others, other)
		break
	}
}

// sole gives the policy that all planned pods of the signature have, nil where they differ or there are none.
func (s *signature) sole() *workloadPolicy {
	if len(s.others) > 0 {
		return nil
	}
	return s.first
}

// volatile are labels that controllers give their pods and that differ between pods, or generations of pods, of one workload.
var volatile = []string{
	"pod-template-hash", "controller-revision-hash", "pod-template-generation", "controller-uid", "job-name",
	"batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name", "batch.kubernetes.io/job-completion-index",
	"statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index",
}

func isVolatile(key string) bool { return slices.Contains(volatile, key) }

func requestsNothing(name string) bool { return !strings.HasPrefix(name, annotationPrefix) }

// Signature is by which a node recognises a pod that its plan does not name yet: 16 hexadecimal digits of a hash of the namespace,
// the labels but for those that tell pods of one workload apart, and the com.illumio annotations.
func Signature(namespace string, labels, annotations map[string]string) string {
	return hexID("", signatureHash(namespace, packPairs(labels, isVolatile), packPairs(annotations, requestsNothing)))
}

func signatureHash(namespace string, labels, annotations packed) uint64 {
	b := appendText(nil, namespace)
	b = appendText(appendText(b, string(labels)), string(annotations))
	return digits64(string(b))
}

// without packs pairs again but for those that skip names.
func (p packed) without(skip func(string) bool) packed {
	keep := true
	for k := range p.all() {
		keep = keep && !skip(k)
	}
	if keep {
		return p
	}
	b := make([]byte, 0, len(p))
	for k, v := range p.all() {
		if !skip(k) {
			b = appendText(appendText(b, k), v)
		}
	}
	return packed(b)
}

// sign counts a group's policy under its signature. Call it whenever the policy may have changed.
func (e *Engine) sign(g *group) {
	now := g.policy
	if g.signed == now {
		return
	}
	s := g.signature
	if s == nil {
		s = e.cluster.sign(g)
		g.signature = s
	}
	before := s.sole()
	if g.signed != nil {
		s.remove(g.signed)
	}
	if now != nil {
		s.add(now)
	}
	if g.signed = now; s.first == nil && s.given == 0 {
		e.cluster.unsign(g.ns, s) // else the next flush does
	}
	if now == nil {
		g.signature = nil
	}
	if s.sole() != before {
		e.stale.signature(s)
	}
}

// sign gives the signature of a group's pods, made where there is none.
func (c *cluster) sign(g *group) *signature {
	h := signatureHash(g.ns.name, g.labels.without(isVolatile), g.annotations.without(requestsNothing))
	s := c.signatures[h]
	if s == nil {
		s = &signature{ns: g.ns, hash: h, place: len(g.ns.signatures)}
		c.signatures[h] = s
		g.ns.signatures = append(g.ns.signatures, s)
	}
	return s
}

// unsign forgets a signature that no planned pod has.
func (c *cluster) unsign(ns *namespace, s *signature) {
	delete(c.signatures, s.hash)
	last := ns.signatures[len(ns.signatures)-1]
	ns.signatures[s.place], last.place = last, s.place
	ns.signatures[len(ns.signatures)-1] = nil
	ns.signatures = ns.signatures[:len(ns.signatures)-1]
}

// namespaceMessage is what a namespace's entry says now, without its signatures.
func (e *Engine) namespaceMessage(ns *namespace) *ringfencev1.NamespacePolicy {
	p := e.profileOf(ns)
	return &ringfencev1.NamespacePolicy{Namespace: ns.name, Managed: p.managed, Mode: p.mode}
}

// signedNamespace is the whole of a namespace's entry.
func (e *Engine) signedNamespace(ns *namespace) *ringfencev1.NamespacePolicy {
	m := e.namespaceMessage(ns)
	for _, s := range ns.signatures {
		if sole := s.sole(); sole != nil {
			m.Signatures = append(m.Signatures, &ringfencev1.PodSignature{Hash: hexID("", s.hash), Policy: sole.text})
		}
	}
	slices.SortFunc(m.Signatures, func(a, b *ringfencev1.PodSignature) int { return cmp.Compare(a.GetHash(), b.GetHash()) })
	return m
}

// hashNamespace hashes an entry; never 0.
func hashNamespace(m *ringfencev1.NamespacePolicy) uint64 {
	h := mix(uint64(m.GetMode()), 7)
	if m.GetManaged() {
		h++
	}
	return h | 1
}

// Namespaces gives the whole of the namespaces.
func (e *Engine) Namespaces() *ringfencev1.Namespaces {
	e.settle()
	out := &ringfencev1.Namespaces{StartPolicy: e.settings.startPolicy()}
	for _, name := range slices.Sorted(maps.Keys(e.cluster.namespaces)) {
		if ns := e.cluster.namespaces[name]; ns.listed() {
			out.Namespaces = append(out.Namespaces, e.signedNamespace(ns))
		}
	}
	return out
}

// startPolicy is the mode of pods in namespaces that are not listed.
func (s *settings) startPolicy() ringfencev1.EnforcementMode {
	if s.start == ringfencev1.EnforcementMode_ENFORCEMENT_MODE_UNSPECIFIED {
		return visibilityOnly
	}
	return s.start
}

// Plan gives the whole plan of a node; false where there is none.
func (e *Engine) Plan(name string) (*ringfencev1.NodePlan, bool) {
	e.settle()
	n := e.cluster.nodes[name]
	if n == nil || !n.hasPlan() {
		return nil, false
	}
	return e.plan(n), true
}

// hasPlan tells whether there is the node or a pod to plan for.
func (n *node) hasPlan() bool {
	return n.exists() || slices.ContainsFunc(n.pods, func(p *pod) bool { return p.planned() && p.group.policy != nil })
}

func (e *Engine) plan(n *node) *ringfencev1.NodePlan {
	head := e.head(n)
	planned := make([]*pod, 0, len(n.pods))
	for _, p := range n.pods {
		if p.planned() && p.group.policy != nil {
			planned = append(planned, p)
		}
	}
	return &ringfencev1.NodePlan{Node: n.name, NodeAddresses: head.GetNodeAddresses(), NodePolicy: head.GetNodePolicy(),
		Features: head.GetFeatures(), Pods: podPlans(planned)}
}

func comparePlans(a, b *ringfencev1.PodPlan) int {
	return cmp.Or(cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
}

// podPlans writes the entries of pods, sorted. All their texts are in one piece of memory.
func podPlans(pods []*pod) []*ringfencev1.PodPlan {
	if len(pods) == 0 {
		return nil
	}
	room, text, ends := make([]ringfencev1.PodPlan, len(pods)), make([]byte, 0, 56*len(pods)), make([]int, 0, 2*len(pods))
	for _, p := range pods {
		text = p.appendUID(text)
		ends = append(ends, len(text))
		if p.address != (addr{}) {
			text = p.address.netip().AppendTo(text)
		}
		ends = append(ends, len(text))
	}
	all, start := string(text), 0
	addresses := make([]string, 0, len(pods))
	out := make([]*ringfencev1.PodPlan, len(pods))
	for i, p := range pods {
		m := &room[i]
		m.Uid, m.Namespace, m.Name, m.Policy = all[start:ends[2*i]], p.group.ns.name, p.name, p.group.policy.text
		if p.address != (addr{}) {
			addresses = append(addresses, all[ends[2*i]:ends[2*i+1]])
			m.Addresses = addresses[len(addresses)-1 : len(addresses) : len(addresses)]
		}
		if p.more != nil {
			m.Addresses = append(m.Addresses, texts(p.more.addresses)...)
		}
		start = ends[2*i+1]
		for _, x := range p.exposed() {
			m.Exposed = append(m.Exposed, &ringfencev1.ExposedPort{Protocol: uint32(x.protocol), Port: uint32(x.port)})
		}
		out[i] = m
	}
	slices.SortFunc(out, comparePlans)
	return out
}

// exposed lists the ports at which the pod answers for node ports and load balancers, sorted.
func (p *pod) exposed() []target {
	if len(p.group.services) == 0 {
		return nil
	}
	var out []target
	for _, v := range p.group.services {
		if !v.exposes() {
			continue
		}
		for i, port := range v.message.GetPorts() {
			if port.GetNodePort() == 0 || i >= len(v.ports) {
				continue
			}
			targets := v.ports[i].targets
			if port.GetTargetPort() == 0 && port.GetTargetPortName() != "" {
				targets = p.group.named(port)
			}
			for _, t := range targets {
				out = append(out, target{protocol: uint8(port.GetProtocol()), port: t})
			}
		}
	}
	slices.SortFunc(out, func(a, b target) int { return cmp.Or(cmp.Compare(a.protocol, b.protocol), cmp.Compare(a.port, b.port)) })
	return slices.Compact(out)
}

// hash is of everything that the plan says of the pod; never 0.
func (p *pod) hash() uint64 {
	h := mix(hashText(p.name), p.group.policy.id)
	h = mix(h, hashText(p.group.ns.name))
	p.addresses(func(a addr) { h = mix(h, mix(a.hi, a.lo)) })
	if p.is(oddUID) || p.more != nil {
		h = mix(h, hashText(p.runtimeUID()))
	} else {
		h = mix(h, hashBytes(p.uid[:]))
	}
	if len(p.group.services) > 0 {
		for _, x := range p.exposed() {
			h = mix(h, uint64(x.protocol)<<16|uint64(x.port))
		}
	}
	return h | 1
}

// head gives what the plan says of the node itself.
func (e *Engine) head(n *node) *ringfencev1.NodePlanDelta {
	m := &ringfencev1.NodePlanDelta{Node: n.name, NodeAddresses: n.addressTexts}
	var f features
	if n.policy != nil {
		m.NodePolicy, f = n.policy.text, n.policy.features
	}
	if e.featured > 0 {
		for _, p := range n.pods {
			if p.planned() && p.group.policy != nil {
				f |= p.group.policy.features
			}
		}
	}
	m.Features = f.texts()
	return m
}

func hashHead(m *ringfencev1.NodePlanDelta) uint64 {
	h := hashText(m.GetNodePolicy())
	for _, list := range [][]string{m.GetNodeAddresses(), m.GetFeatures()} {
		h = mix(h, uint64(len(list)))
		for _, text := range list {
			h = mix(h, hashText(text))
		}
	}
	return h | 1
}
