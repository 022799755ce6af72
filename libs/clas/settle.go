package clas

import (
	"cmp"
	"net/netip"
	"slices"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// stale is what facts changed since the engine settled last. Applying a fact only marks; settling computes, once for all
// marks, so that a burst of facts about one object costs as much as its last.
type stale struct {
	// labels and rules say that the console's labels, the version in force, changed.
	labels, rules, namespaces bool
	pods                      map[*pod]bool
	services                  map[*service]bool
	addresses                 map[netip.Addr]bool
	nodes                     map[string]bool
	views                     map[*serviceView]bool
	policies                  map[*workloadPolicy]bool
	// deserted policies lost a pod and may have none left.
	deserted map[*workloadPolicy]bool
	// labelSets lost an actor and may have none left.
	labelSets map[*labelSet]bool
}

func newStale() *stale {
	return &stale{pods: map[*pod]bool{}, services: map[*service]bool{}, addresses: map[netip.Addr]bool{},
		nodes: map[string]bool{}, views: map[*serviceView]bool{}, policies: map[*workloadPolicy]bool{},
		deserted:  map[*workloadPolicy]bool{},
		labelSets: map[*labelSet]bool{}}
}

// take empties a map of marks. It leaves a new one: after a burst, going through the old one's room would cost every later
// settling.
func take[K comparable, V any](marks *map[K]V) map[K]V {
	taken := *marks
	*marks = map[K]V{}
	return taken
}

// pod marks a pod that came or changed, with everything that its fact reaches.
func (s *stale) pod(p *pod) {
	s.pods[p] = true
	for v := range p.backs {
		s.services[v] = true
	}
	for _, addr := range p.addresses {
		s.addresses[addr] = true
	}
	if name := p.message.GetNode(); name != "" {
		s.nodes[name] = true
	}
}

func (s *stale) service(v *service) {
	s.services[v] = true
	for _, addr := range v.addresses {
		s.addresses[addr] = true
	}
}

// actors marks pods and Services whose labels may have changed.
func (s *stale) actors(pods map[*pod]struct{}, services map[*service]struct{}) {
	for p := range pods {
		s.pods[p] = true
	}
	for v := range services {
		s.services[v] = true
	}
}

// namespace marks everything in a namespace, or in all of them where the default profile changed.
func (s *stale) namespace(name string, c *cluster) {
	s.namespaces = true
	if name != "" {
		s.actors(c.podsIn[name], c.servicesIn[name])
		return
	}
	for namespace := range c.podsIn {
		s.actors(c.podsIn[namespace], nil)
	}
	for namespace := range c.servicesIn {
		s.actors(nil, c.servicesIn[namespace])
	}
}

// matching marks the views of all selectors that hold for a label set.
func (s *stale) matching(ls *labelSet) {
	if ls == nil {
		return
	}
	for sel := range ls.matching {
		for _, view := range sel.views {
			s.views[view] = true
		}
	}
}

// settle brings everything derived up to date with the facts. Each step uses only what the steps before it settled.
func (e *Engine) settle() {
	e.settleRules()
	e.settlePods()
	e.settleServices()
	e.settleAddresses()
	e.settlePolicies()
	e.settlePlans()
	if e.stale.namespaces {
		e.stale.namespaces = false
		e.namespaces = e.profiles.namespacesMessage(e.cluster.namespaces)
	}
}

// settleRules resolves the rules in force anew when they or the labels changed.
func (e *Engine) settleRules() {
	if e.stale.labels {
		e.stale.labels, e.stale.rules = false, true
		e.stale.namespace("", e.cluster)
	}
	if !e.stale.rules {
		return
	}
	e.stale.rules = false
	for _, sel := range e.matcher.selectors {
		sel.consumers, sel.providers = nil, nil
	}
	e.book = resolveRules(&e.provision.force, e.labels, e.matcher)
	for _, sel := range e.matcher.selectors {
		if len(sel.consumers)+len(sel.providers) == 0 {
			e.matcher.dropSelector(sel)
		}
	}
	for _, p := range e.policies.byKey {
		e.stale.policies[p] = true
	}
	for name := range e.cluster.nodes {
		e.stale.nodes[name] = true // plans name the version in force
	}
}

func (e *Engine) settlePods() {
	for p := range take(&e.stale.pods) {
		p.profile = e.profiles.of(p.namespace)
		var set *labelSet
		p.identity = identity{}
		if p.profile.managed && p.ownsNetwork() {
			p.identity = e.labels.resolve(p.profile, e.cluster.annotations(p))
			set = e.matcher.labelSet(p.identity.plain())
		}
		e.relabelPod(p, set)
		if set != nil && p.planned() {
			e.enroll(p, e.policies.get(policyKey{set, p.profile.mode}, e.stale))
		} else {
			e.enroll(p, nil)
		}
	}
}

// relabelPod gives the pod another label set, nil for none.
func (e *Engine) relabelPod(p *pod, set *labelSet) {
	if p.set == set {
		return
	}
	for v := range p.backs {
		changed := p.set != nil && v.carried.remove(p.set)
		changed = set != nil && v.carried.add(set) || changed
		if changed {
			e.stale.services[v] = true
		}
	}
	for _, addr := range p.addresses {
		e.stale.addresses[addr] = true
	}
	p.set = e.exchange(p.set, set)
}

// exchange moves one actor's use from a label set to another.
func (e *Engine) exchange(from, to *labelSet) *labelSet {
	if from != nil {
		from.users--
		e.stale.labelSets[from] = true
	}
	if to != nil {
		to.users++
	}
	return to
}

// enroll gives the pod another policy, nil for none.
func (e *Engine) enroll(p *pod, policy *workloadPolicy) {
	if p.policy == policy {
		return
	}
	if p.policy != nil {
		p.policy.pods--
		e.stale.deserted[p.policy] = true
	}
	if policy != nil {
		policy.pods++
	}
	p.policy = policy
	if name := p.message.GetNode(); name != "" {
		e.stale.nodes[name] = true
	}
}

func (e *Engine) settleServices() {
	for v := range take(&e.stale.services) {
		v.profile = e.profiles.of(v.namespace)
		var set *labelSet
		v.identity = identity{}
		if v.profile.managed {
			v.identity = e.identify(v)
			set = e.matcher.labelSet(v.identity.plain())
		}
		e.relabelService(v, set)
		if ports := v.exposedPorts(); !slices.EqualFunc(v.ports, ports, servicePort.equal) {
			v.ports = ports
			e.stale.matching(v.set)
		}
	}
}

func (p servicePort) equal(q servicePort) bool {
	return p.protocol == q.protocol && p.port == q.port && slices.Equal(p.targets, q.targets)
}

// identify gives a Service its labels: those of its profile and annotations, or those of its backends if it requests none
// and they all agree.
func (e *Engine) identify(v *service) identity {
	annotations := v.message.GetAnnotations()
	if !hasLabelAnnotation(annotations) && len(v.carried) == 1 {
		for p := range v.backends {
			if p.set != nil {
				return p.identity.from(SourceBackends)
			}
		}
	}
	return e.labels.resolve(v.profile, annotations)
}

func (e *Engine) relabelService(v *service, set *labelSet) {
	if v.set == set {
		return
	}
	e.stale.matching(v.set)
	e.stale.matching(set)
	if v.set != nil {
		delete(v.set.services, v)
	}
	if set != nil {
		set.services[v] = struct{}{}
	}
	v.set = e.exchange(v.set, set)
}

// settleAddresses gives every address that changed hands to the label set of its owner.
func (e *Engine) settleAddresses() {
	c := e.cluster
	for addr := range take(&e.stale.addresses) {
		before, now := c.owners[addr], c.owner(addr)
		if now == nil {
			delete(c.owners, addr)
		} else {
			c.owners[addr] = now
		}
		e.own(before)
		e.own(now)
		var set *labelSet
		if p, isPod := now.(*pod); isPod {
			set = p.set
		}
		e.sets.move(addr, c.placed[addr], set)
		if c.placed[addr] = set; set == nil {
			delete(c.placed, addr)
		}
	}
}

// own brings up to date what a Service owns.
func (e *Engine) own(actor claimant) {
	v, isService := actor.(*service)
	if !isService {
		return
	}
	var owned []netip.Addr
	for _, addr := range v.addresses {
		if e.cluster.owner(addr) == actor {
			owned = append(owned, addr)
		}
	}
	if !slices.Equal(v.owned, owned) {
		v.owned = owned
		e.stale.matching(v.set)
	}
}

// settlePolicies compiles what is new or changed, and gives up what no pod needs.
func (e *Engine) settlePolicies() {
	for view := range take(&e.stale.views) {
		if e.sets.refresh(view) {
			for p := range view.policies {
				e.stale.policies[p] = true
			}
		}
	}
	for p := range take(&e.stale.policies) {
		if p.pods > 0 {
			p.compile(e.sets)
			e.published.policies.touch(p.id)
		}
	}
	for p := range take(&e.stale.deserted) {
		if p.pods == 0 {
			e.policies.drop(p, e.sets)
			e.published.policies.touch(p.id)
		}
	}
	for ls := range take(&e.stale.labelSets) {
		if ls.users == 0 && len(ls.addresses) == 0 {
			e.matcher.dropLabelSet(ls)
		}
	}
}

// settlePlans writes the plans of the nodes that changed.
func (e *Engine) settlePlans() {
	for name := range take(&e.stale.nodes) {
		n := e.cluster.node(name)
		n.plan = n.compile(name, e.provision.force.version)
		e.published.plans.touch(name)
		if n.message == nil && len(n.pods) == 0 {
			delete(e.cluster.nodes, name)
		}
	}
}

// compile writes the plan of a node, nil where there is neither the node nor a pod to plan for.
func (n *node) compile(name string, version int64) *ringfencev1.NodePlan {
	plan := &ringfencev1.NodePlan{Node: name, ProvisionedVersion: version, NodeAddresses: texts(n.addresses)}
	for p := range n.pods {
		if p.policy != nil {
			plan.Pods = append(plan.Pods, &ringfencev1.PodPlan{Uid: p.message.GetUid(), Namespace: p.namespace, Name: p.name,
				Addresses: texts(p.addresses), Policy: p.policy.id})
		}
	}
	if n.message == nil && len(plan.Pods) == 0 {
		return nil
	}
	slices.Sort(plan.NodeAddresses)
	slices.SortFunc(plan.Pods, func(a, b *ringfencev1.PodPlan) int {
		return cmp.Or(cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
	})
	return plan
}
