package clas

import (
	"slices"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// stale is what facts changed since the engine settled, or flushed, last. Applying a fact only marks; settling computes, once for
// all marks, so that a burst of facts about one object costs as much as its last. Each mark is made once: what is marked says so
// itself, but for few things, which are in maps.
type stale struct {
	// What settling works off.
	ruleSets  []*ruleSet
	groups    []*group
	services  map[*service]bool
	nodes     []*node // whose labels may have changed
	externals map[*external]bool
	seen      map[*selector]bool // whose Services changed
	policies  []*workloadPolicy
	known     []*namespace // whose known workloads changed, in degraded mode
	enrolled  []*group     // whose policy must be found again
	nodePorts bool

	// What the next flush works off.
	plans      []*node
	left       map[departure]uint64
	namespaces []*namespace
	signatures []*signature
	selectors  []*selector
	labelSets  []*labelSet
	given      []*workloadPolicy
	moved      map[addr]*labelSet
}

// departure is a pod that the plan of a node named and that left it.
type departure struct {
	node *node
	uid  string
}

func newStale() *stale {
	return &stale{services: map[*service]bool{}, externals: map[*external]bool{}, seen: map[*selector]bool{},
		left: map[departure]uint64{}, moved: map[addr]*labelSet{}}
}

// take empties a map of marks. After a burst it leaves a new one: going through the old one's room would cost every later settling.
func take[K comparable, V any](marks *map[K]V) map[K]V {
	if len(*marks) == 0 {
		return nil
	}
	taken := *marks
	*marks = map[K]V{}
	return taken
}

// empty empties a map, and gives its room up where that is large.
func empty[K comparable, V any](marks *map[K]V) {
	if len(*marks) > roomKept {
		*marks = map[K]V{}
		return
	}
	clear(*marks)
}

func (s *stale) group(g *group) {
	if !g.stale {
		g.stale = true
		s.groups = append(s.groups, g)
	}
}

// enroll marks a group whose policy must be found again, its labels staying.
func (s *stale) enroll(g *group) { s.enrolled = append(s.enrolled, g) }

func (s *stale) service(v *service) { s.services[v] = true }

// backends marks the Services of a group of which the first pod came or the last one went.
func (s *stale) backends(g *group) {
	for _, v := range g.services {
		s.service(v)
	}
}

// workload marks everything that a workload's object labels.
func (s *stale) workload(w *workload) {
	for _, g := range w.groups.items {
		s.group(g)
	}
	if w.service != nil {
		s.service(w.service)
	}
	s.knowing(w.ns)
}

// namespace marks everything that a namespace's profile decides.
func (s *stale) namespace(ns *namespace) {
	s.listing(ns)
	for _, g := range ns.groups.items {
		s.group(g)
	}
	for _, v := range ns.services.items {
		s.service(v)
	}
	s.knowing(ns)
}

// listing marks a namespace of which the namespaces object may say something else.
func (s *stale) listing(ns *namespace) {
	if !ns.stale {
		ns.stale = true
		s.namespaces = append(s.namespaces, ns)
	}
}

// signature marks a signature that may give another policy.
func (s *stale) signature(x *signature) {
	if !x.stale {
		x.stale = true
		s.signatures = append(s.signatures, x)
	}
}

// knowing marks a namespace whose known workloads may carry other labels.
func (s *stale) knowing(ns *namespace) {
	ns.knownValid = false
	s.known = append(s.known, ns)
}

func (s *stale) readNode(n *node) {
	if !n.unread {
		n.unread = true
		s.nodes = append(s.nodes, n)
	}
}

func (s *stale) readNodes(c *cluster) {
	for _, n := range c.nodes {
		s.readNode(n)
	}
}

func (s *stale) readExternal(x *external) { s.externals[x] = true }

// node marks a node whose plan may have changed.
func (s *stale) node(n *node) {
	if !n.stale {
		n.stale = true
		s.plans = append(s.plans, n)
	}
	n.digest = nil
}

// pod marks a pod of which the plan may say something else.
func (s *stale) pod(p *pod) {
	if p.group.set != nil {
		p.group.set.digest = nil
	}
	if p.node == nil {
		return
	}
	s.node(p.node)
	if !p.stale {
		p.stale = true
		p.node.changed = append(roomFor(p.node.changed), p)
	}
}

// roomFor gives a list of changed pods room for one more. It forgets those that others took the place of, before it grows: a long
// log is folded without a flush.
func roomFor(changed []*pod) []*pod {
	if len(changed) < cap(changed) {
		return changed
	}
	changed = slices.DeleteFunc(changed, func(p *pod) bool { return p.gone })
	if len(changed) > cap(changed)/2 {
		return slices.Grow(changed, len(changed)+1)
	}
	return changed
}

// departed remembers what the plan said of a pod that left its node.
func (s *stale) departed(p *pod) { s.left[departure{p.node, p.runtimeUID()}] = p.given }

// exposure marks the pods that a Service exposes, or does not any more.
func (s *stale) exposure(v *service) {
	if v.exposes() {
		v.backends(s.pod)
	}
}

// providers marks the selectors that see the Services of a label set.
func (s *stale) providers(ls *labelSet) {
	if ls == nil {
		return
	}
	for _, sel := range ls.matching.items {
		if sel.providing.len() > 0 || len(sel.views) > 0 {
			s.seen[sel] = true
		}
	}
}

// hostMembers is called when the addresses of a node or an external workload change hands.
func (s *stale) hostMembers(ls *labelSet) {
	if ls != nil {
		ls.digest = nil
	}
}

// refusals marks the policies that may warn of backends of a Service with the label set.
func (s *stale) refusals(ls *labelSet) {
	if ls == nil {
		return
	}
	s.providers(ls)
	for _, sel := range ls.matching.items {
		s.consumersOf(sel)
	}
}

func (s *stale) policy(p *workloadPolicy) {
	if !p.stale {
		p.stale = true
		s.policies = append(s.policies, p)
	}
}

// policiesOf marks the policies of all label sets that a selector holds for.
func (s *stale) policiesOf(sel *selector) {
	for _, ls := range sel.matched.items {
		for _, p := range ls.policies {
			s.policy(p)
		}
	}
}

// consumersOf marks the policies of those who may reach what a selector holds for.
func (s *stale) consumersOf(sel *selector) {
	for _, g := range sel.providing.items {
		for _, consumers := range g.consumers {
			s.policiesOf(consumers)
		}
	}
}

// publish marks a policy of which readers may have to be told.
func (s *stale) publish(p *workloadPolicy) {
	if !p.touched {
		p.touched = true
		s.given = append(s.given, p)
	}
}

func (s *stale) selector(sel *selector) {
	if !sel.stale {
		sel.stale = true
		s.selectors = append(s.selectors, sel)
	}
}

func (s *stale) labelSet(ls *labelSet) {
	if ls != nil && !ls.deserted {
		ls.deserted = true
		s.labelSets = append(s.labelSets, ls)
	}
}

// settings are those that change policy.
type settings struct {
	message                         *ringfencev1.Settings
	sequence                        uint64
	perWorkload, legacy, noDegraded bool
	// unpaired: the cluster leaves the console, and nothing in it is managed any more.
	unpaired bool
	fail     ringfencev1.DegradedModePolicyFail
	start    ringfencev1.EnforcementMode
}
