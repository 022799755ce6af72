package clas

import (
	"slices"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// settle brings everything derived up to date with the facts. Each step uses only what the steps before it settled; rules may mark
// actors and Services, which is why the first steps repeat until they leave nothing to do: marks follow from rules, and rules never
// from marks.
func (e *Engine) settle() {
	e.settleActors()
	e.settlePolicy()
}

// settleActors settles who carries which labels and gets which policy, whatever is in it.
func (e *Engine) settleActors() {
	for e.settleRuleSets() || e.settleGroups() || e.settleHosts() || e.settleServices() {
	}
	e.settleKnown()
	e.settleEnrolment()
}

// settlePolicy settles what is in the policies.
func (e *Engine) settlePolicy() {
	e.settleViews()
	e.settlePolicies()
	if !e.flushed {
		e.collect()
	}
}

func (e *Engine) settleRuleSets() bool {
	work := e.stale.ruleSets
	e.stale.ruleSets = nil
	for _, s := range work {
		s.stale = false
		if s.object.listed && s.object.rules == s {
			e.resolve(s)
		}
	}
	return len(work) > 0
}

// settleGroups labels the groups of pods that are marked.
func (e *Engine) settleGroups() bool {
	work := e.stale.groups
	if len(work) == 0 {
		return false
	}
	e.stale.groups = nil
	for _, g := range work {
		g.stale = false
		if len(g.pods) == 0 {
			e.relabelGroup(g, nil)
			e.showGroup(g, nil)
			e.enroll(g, nil)
			e.dropGroup(g)
			continue
		}
		e.relabelGroup(g, e.labelGroup(g))
		e.stale.enroll(g)
	}
	return true
}

// labelGroup finds the label set of a group, nil where its pods are no actors of their own.
func (e *Engine) labelGroup(g *group) *labelSet {
	p := e.profileOf(g.ns)
	if !p.managed {
		g.requests = e.request(g, g.requests, nil)
		e.showGroup(g, nil)
		return nil
	}
	labels, annotations := g.object()
	e.identify(&e.identity, p, labels, annotations)
	g.requests = e.request(g, g.requests, e.identity.requests)
	e.labelRoom = e.identity.plain(e.labelRoom[:0])
	e.showGroup(g, e.table.set(e.labelRoom))
	if !g.ownsNetwork() {
		return nil
	}
	plain := len(e.labelRoom)
	e.labelRoom = e.workloadMarks(e.labelRoom, g.workload)
	for _, v := range g.services {
		e.labelRoom = append(e.labelRoom, v.marked...)
	}
	if e.settings.perWorkload {
		e.labelRoom = append(e.labelRoom, e.table.label(eachKey, g.workload.String()))
	}
	if len(e.labelRoom) == plain {
		return g.plain
	}
	slices.SortFunc(e.labelRoom, compareLabels)
	return e.table.set(slices.Compact(e.labelRoom))
}

// showGroup notes the label set without marks, by which Services inherit labels and degraded mode knows workloads.
func (e *Engine) showGroup(g *group, plain *labelSet) {
	before := g.plain
	if before == plain {
		return
	}
	if g.plain = plain; plain != nil {
		plain.dependents++
	}
	if before != nil {
		before.dependents--
		e.stale.labelSet(before)
	}
	e.stale.backends(g)
	if g.workload != nil && g.workload.acks.len() > 0 {
		e.stale.knowing(g.ns)
	}
}

// eachKey is the key of the mark that tells workloads apart where policy is computed for each.
const eachKey = markPrefix + "each"

// relabelGroup gives a group another label set, nil for none.
func (e *Engine) relabelGroup(g *group, next *labelSet) {
	before := g.set
	if before == next {
		return
	}
	for _, p := range g.pods {
		e.touchPod(p)
	}
	carry(e, &g.set, next, groupsOf, g)
	e.stale.backends(g)
}

// carry moves one actor from a label set to another; either may be nil.
func carry[T comparable](e *Engine, at **labelSet, next *labelSet, of func(*labelSet) *bag[T], actor T) {
	before := *at
	if before == next {
		return
	}
	*at = next
	if before != nil {
		of(before).remove(actor)
		before.digest = nil
		e.stale.labelSet(before)
	}
	if next != nil {
		of(next).add(actor)
		next.digest = nil
	}
}

func groupsOf(ls *labelSet) *bag[*group]     { return &ls.groups }
func hostsOf(ls *labelSet) *bag[host]        { return &ls.ensureOthers().hosts }
func servicesOf(ls *labelSet) *bag[*service] { return &ls.ensureOthers().services }

// settleHosts labels nodes and external workloads.
func (e *Engine) settleHosts() bool {
	nodes, externals := e.stale.nodes, take(&e.stale.externals)
	e.stale.nodes = nil
	for _, n := range nodes {
		n.unread = false
		e.labelNode(n)
	}
	for x := range externals {
		e.labelExternal(x)
	}
	return len(nodes)+len(externals) > 0
}

func (e *Engine) labelNode(n *node) {
	mode, managed := e.identifyNode(&e.identity, n)
	n.requests = e.request(n, n.requests, e.identity.requests)
	var next *labelSet
	if managed {
		next = e.table.set(e.hostLabels(e.hostOf(n)))
	}
	if next != n.set {
		for _, a := range n.addresses {
			e.touch(a)
		}
		carry(e, &n.set, next, hostsOf, host(n))
	}
	e.stale.node(n)
	var policy *workloadPolicy
	if next != nil {
		policy = e.policy(next, mode, notDegraded)
	}
	e.assign(&n.policy, policy)
}

// hostLabels gives the labels that were identified, with the marks of the console's workload; sorted.
func (e *Engine) hostLabels(x *external) []*label {
	e.labelRoom = e.identity.plain(e.labelRoom[:0])
	if x != nil {
		e.labelRoom = append(e.labelRoom, e.marked[x.href()]...)
		slices.SortFunc(e.labelRoom, compareLabels)
	}
	return e.labelRoom
}

// labelExternal labels a workload of the console's own, unless it is a node's host.
func (e *Engine) labelExternal(x *external) {
	outside := !e.isHost(x)
	if x.claiming && !outside {
		e.withdraw(x, x.addresses)
		x.owned = nil
	}
	var next *labelSet
	if outside {
		e.identity.reset()
		e.identity.giveAll(x.labels, SourceWorkload)
		next = e.table.set(e.hostLabels(x))
	}
	if next != x.set {
		for _, a := range x.addresses {
			e.touch(a)
		}
		carry(e, &x.set, next, hostsOf, host(x))
	}
	if outside && !x.claiming {
		for _, a := range x.addresses {
			e.claim(a, x)
		}
	}
	x.claiming = outside
}

func (e *Engine) settleServices() bool {
	work := take(&e.stale.services)
	for v := range work {
		e.settleService(v)
	}
	return len(work) > 0
}

func (e *Engine) settleService(v *service) {
	carried, enforced := v.backing()
	if !sameSets(enforced, v.enforced) {
		e.stale.refusals(v.set)
	}
	v.carried, v.enforced = carried, enforced
	if ports := v.findPorts(); !slices.EqualFunc(ports, v.ports, servicePort.equal) {
		v.ports = ports
		e.stale.providers(v.set)
		e.stale.exposure(v)
		e.uidChanged(v)
	}
	before := v.plain
	next := e.labelService(v)
	e.carryService(v, next)
	if v.plain != before && e.settings.legacy {
		e.changed(allServices)
	}
	if (v.plain == nil) != (before == nil) {
		e.changed(uidReference(v.message.GetUid()))
	}
}

func sameSets(a, b []*labelSet) bool {
	if len(a) != len(b) {
		return false
	}
	for _, x := range a {
		if !slices.Contains(b, x) {
			return false
		}
	}
	return true
}

// labelService finds the label set of a Service, nil where its namespace is not managed.
func (e *Engine) labelService(v *service) *labelSet {
	v.plain, v.inherited = nil, false
	p := e.profileOf(v.ns)
	if !p.managed {
		v.requests = e.request(v, v.requests, nil)
		e.markService(v, nil)
		return nil
	}
	inherited := e.identifyService(&e.identity, v, p)
	v.requests = e.request(v, v.requests, e.identity.requests)
	if v.inherited = inherited != nil; v.inherited {
		e.labelRoom = append(e.labelRoom[:0], inherited.labels...)
	} else {
		e.labelRoom = e.identity.plain(e.labelRoom[:0])
	}
	plain := len(e.labelRoom)
	e.markService(v, e.marked[serviceKey(v)])
	e.labelRoom = append(e.workloadMarks(e.labelRoom, v.workload), v.marked...)
	marks := len(e.labelRoom) > plain
	slices.SortFunc(e.labelRoom, compareLabels)
	next := e.table.set(slices.Compact(e.labelRoom))
	if v.plain = next; marks {
		v.plain = next.plain
	}
	return next
}

// markService gives a Service the marks of the virtual services that it stands for. Its backends carry them, too.
func (e *Engine) markService(v *service, marks []*label) {
	if slices.Equal(v.marked, marks) {
		return
	}
	v.marked = slices.Clone(marks)
	for _, g := range v.groups.items {
		e.stale.group(g)
	}
}

// carryService gives a Service another label set, nil for none.
func (e *Engine) carryService(v *service, next *labelSet) {
	if v.set == next {
		return
	}
	e.stale.providers(v.set)
	carry(e, &v.set, next, servicesOf, v)
	e.stale.providers(next)
}

// settleKnown looks, in degraded mode, which label sets the workloads carry that the console knows, and where that changed, finds
// everybody's policy again.
func (e *Engine) settleKnown() {
	work := e.stale.known
	e.stale.known = nil
	if !e.degraded() {
		return
	}
	for _, ns := range work {
		if ns.knownValid {
			continue
		}
		ns.knownValid = true
		e.setKnown(ns, e.knownSets(ns))
		for _, g := range ns.groups.items {
			e.stale.enroll(g)
		}
	}
}

// setKnown replaces the known label sets of a namespace. They stay interned while they are known, whether or not any pod carries
// them.
func (e *Engine) setKnown(ns *namespace, known map[*labelSet]bool) {
	for ls := range known {
		ls.dependents++
	}
	for ls := range ns.known {
		ls.dependents--
		e.stale.labelSet(ls)
	}
	ns.known = known
}

// degraded tells whether the console cannot be reached.
func (e *Engine) degraded() bool { return e.link.message != nil && !e.link.message.GetUp() }

// knownSets gives the plain label sets of the workloads in a namespace that the console has acknowledged.
func (e *Engine) knownSets(ns *namespace) map[*labelSet]bool {
	known := map[*labelSet]bool{}
	p := e.profileOf(ns)
	for _, w := range ns.workloads {
		if w.acks.len() == 0 || w.kind == "service" || !p.managed {
			continue
		}
		for _, g := range w.groups.items {
			if g.plain != nil {
				known[g.plain] = true
			}
		}
		if w.message != nil && w.groups.len() == 0 {
			e.identify(&e.identity, p, w.labels, w.annotations)
			e.labelRoom = e.identity.plain(e.labelRoom[:0])
			known[e.table.set(e.labelRoom)] = true
		}
	}
	return known
}

// settleEnrolment finds the policies of groups.
func (e *Engine) settleEnrolment() {
	work := e.stale.enrolled
	e.stale.enrolled = nil
	for _, g := range work {
		if len(g.pods) > 0 {
			e.enroll(g, e.policyOf(g))
		}
	}
}

// policyOf gives the policy of a group's pods, nil for none.
func (e *Engine) policyOf(g *group) *workloadPolicy {
	if g.set == nil || g.planned == 0 {
		return nil
	}
	mode := e.profileOf(g.ns).mode
	if !e.degraded() || g.workload != nil && g.workload.acks.len() > 0 {
		return e.policy(g.set, mode, notDegraded)
	}
	switch {
	case e.settings.noDegraded:
		return nil
	case g.ns.known[g.plain], e.settings.fail == ringfencev1.DegradedModePolicyFail_DEGRADED_MODE_POLICY_FAIL_COMPUTED:
		return e.policy(g.set, mode, notDegraded)
	case e.settings.fail == ringfencev1.DegradedModePolicyFail_DEGRADED_MODE_POLICY_FAIL_CLOSED:
		return e.policy(g.set, mode, degradedClosed)
	case mode == idle:
		return e.policy(g.set, idle, degradedOpen)
	}
	return e.policy(g.set, visibilityOnly, degradedOpen)
}

// enroll gives the pods of a group another policy, nil for none.
func (e *Engine) enroll(g *group, policy *workloadPolicy) {
	if g.policy != policy {
		e.assign(&g.policy, policy)
		for _, p := range g.pods {
			e.stale.pod(p)
		}
	}
	e.sign(g)
}

// assign moves one user from a policy to another; either may be nil.
func (e *Engine) assign(at **workloadPolicy, next *workloadPolicy) {
	before := *at
	if before == next {
		return
	}
	if before != nil {
		if before.users--; before.users == 0 {
			e.stale.policy(before)
		}
	}
	if next != nil {
		if next.users++; next.users == 1 {
			e.stale.policy(next)
		}
	}
	*at = next
}

// settlePolicies compiles what is new or changed, and gives up what nobody needs.
func (e *Engine) settlePolicies() {
	work := e.stale.policies
	e.stale.policies = nil
	for _, p := range work {
		p.stale = false
		if p.users == 0 {
			e.adopt(p, nil)
			p.message, p.hash, p.digest = nil, 0, nil
			e.feature(p, 0)
			if e.flushed {
				e.stale.publish(p)
			} else {
				p.drop(e)
			}
			continue
		}
		message := e.compile(p)
		hash := e.compilation.hash(p)
		e.adopt(p, e.compilation.usedSets())
		if hash == p.hash {
			continue
		}
		p.message, p.hash, p.digest = message, hash, nil
		if f := e.compilation.features(); f != p.features {
			e.feature(p, f)
			e.stale.usersOf(p)
		}
		e.stale.publish(p)
	}
	e.forgetParts()
	if len(e.stale.policies) == 0 {
		e.stale.policies = trim(work, roomKept)
	}
}

// feature notes the features that a policy needs, and counts the policies that need any.
func (e *Engine) feature(p *workloadPolicy, f features) {
	if p.features != 0 {
		e.featured--
	}
	if p.features = f; f != 0 {
		e.featured++
	}
}

// forgetParts drops what was kept while policies were being compiled.
func (e *Engine) forgetParts() {
	for _, cached := range e.compilation.cached {
		*cached = nil
	}
	e.compilation.cached = trim(e.compilation.cached, roomKept)
}

// adopt makes a policy hold sets in place of those that it held before. The new ones are taken first, so that those in both stay.
func (e *Engine) adopt(p *workloadPolicy, next []*addressSet) {
	for _, s := range next {
		e.sets.acquire(s)
	}
	for _, s := range p.sets {
		e.sets.release(s)
	}
	p.sets = next
}

// usersOf marks the nodes whose plans name a policy.
func (s *stale) usersOf(p *workloadPolicy) {
	for _, g := range p.labels.groups.items {
		if g.policy == p {
			for _, pod := range g.pods {
				if pod.node != nil {
					s.node(pod.node)
				}
			}
		}
	}
	for _, h := range p.labels.rest().hosts.items {
		if n, isNode := h.(*node); isNode && n.policy == p {
			s.node(n)
		}
	}
}
