package clas

import (
	"cmp"
	"maps"
	"slices"
	"sync"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// Delta is what changed between two flushes. A reader applies it in the order of the fields: sets that come or change, policies,
// plans, namespaces; and removes in reverse. Everything is sorted by id or name.
type Delta struct {
	Sets            []*ringfencev1.AddressSetDelta
	Policies        []*ringfencev1.WorkloadPolicy
	RemovedPolicies []string
	// Plans carry the fields of the node itself whole, and of pods those that changed.
	Plans []*ringfencev1.NodePlanDelta
	// Namespaces come without their signatures, which change by themselves; those of a namespace that is removed go with it.
	Namespaces        []*ringfencev1.NamespacePolicy
	Signatures        []*ringfencev1.SignaturesDelta
	RemovedNamespaces []string
	// StartPolicy and ProvisionedVersion, the console's version, are those in force, changed or not.
	StartPolicy        ringfencev1.EnforcementMode
	ProvisionedVersion int64

	other bool // one of those two changed
}

// Empty tells whether nothing changed.
func (d Delta) Empty() bool {
	return len(d.Sets)+len(d.Policies)+len(d.RemovedPolicies)+len(d.Plans)+len(d.Namespaces)+len(d.Signatures)+len(d.RemovedNamespaces) == 0 && !d.other
}

// Policy is the whole compiled policy, sorted.
type Policy struct {
	Sets               []*ringfencev1.AddressSet
	Policies           []*ringfencev1.WorkloadPolicy
	Plans              []*ringfencev1.NodePlan
	Namespaces         *ringfencev1.Namespaces
	ProvisionedVersion int64
	// Warnings name what the console or the cluster refers to in vain and what was done instead.
	Warnings []string
}

// Flush gives everything that changed since the last flush. The first one gives the whole policy.
func (e *Engine) Flush() Delta {
	e.settleActors()
	plans := e.writePlans()
	e.settlePolicy()
	d := Delta{StartPolicy: e.settings.startPolicy(), ProvisionedVersion: e.provision.force.version}
	d.other = d.StartPolicy != e.given.start || d.ProvisionedVersion != e.given.version || !e.flushed && d.ProvisionedVersion != 0
	e.given.start, e.given.version = d.StartPolicy, d.ProvisionedVersion
	d.Sets = e.sets.flush(e, e.stale.moved)
	empty(&e.stale.moved)
	d.Policies, d.RemovedPolicies = e.flushPolicies()
	d.Plans = e.flushPlans(plans())
	d.Namespaces, d.RemovedNamespaces = e.flushNamespaces()
	d.Signatures = e.flushSignatures()
	e.flushed = true
	e.collect()
	return d
}

func (e *Engine) flushPolicies() (changed []*ringfencev1.WorkloadPolicy, removed []string) {
	for _, p := range e.stale.given {
		p.touched = false
		switch {
		case p.users > 0 && p.hash != p.given:
			changed = append(changed, p.take(e))
		case p.users == 0 && p.given != 0:
			removed = append(removed, p.text)
		}
		if p.given = p.hash; p.users == 0 {
			p.given = 0
			p.drop(e)
		}
		p.message = nil
	}
	e.forgetParts()
	e.stale.given = trim(e.stale.given, roomKept)
	slices.SortFunc(changed, func(a, b *ringfencev1.WorkloadPolicy) int { return cmp.Compare(a.GetId(), b.GetId()) })
	slices.Sort(removed)
	return changed, removed
}

// take gives the policy's message, compiled again where it was not kept.
func (p *workloadPolicy) take(e *Engine) *ringfencev1.WorkloadPolicy {
	if p.message != nil {
		return p.message
	}
	return e.compile(p)
}

// drop takes a policy that nobody needs out of its label set.
func (p *workloadPolicy) drop(e *Engine) {
	p.labels.policies = slices.DeleteFunc(p.labels.policies, func(q *workloadPolicy) bool { return q == p })
	e.stale.labelSet(p.labels)
}

// fewPods is how many pods of a node the list of changed ones keeps room for.
const fewPods = 4

// manyNodes is the number of nodes from which plans are written beside the policies.
const manyNodes = 16

// writePlans writes the entries of the pods that changed, once actors are settled. That needs nothing that the policies' contents
// decide, so that a burst, or the first flush, uses a second processor for it; what comes out is the same either way. The result
// gives, when the entries are written, what the plans do not name any more.
func (e *Engine) writePlans() func() map[*node][]string {
	left, nodes := e.stale.left, slices.Clip(e.stale.plans)
	write := func() {
		for _, n := range nodes {
			n.sortOut(left)
			n.written = podPlans(n.changed)
		}
	}
	var working sync.WaitGroup
	if len(nodes) < manyNodes {
		write()
	} else {
		working.Go(write)
	}
	return func() map[*node][]string {
		working.Wait()
		var gone map[*node][]string
		for d := range left {
			if gone == nil {
				gone = map[*node][]string{}
			}
			gone[d.node] = append(gone[d.node], d.uid)
		}
		empty(&e.stale.left)
		return gone
	}
}

// flushPlans gives of each node that changed its own fields, where they changed or any pod did, and the pods that changed.
func (e *Engine) flushPlans(gone map[*node][]string) []*ringfencev1.NodePlanDelta {
	var out []*ringfencev1.NodePlanDelta
	for _, n := range e.stale.plans {
		n.stale = false
		if d := e.flushPlan(n, gone[n]); d != nil {
			out = append(out, d)
		}
		n.changed, n.written = trim(n.changed, fewPods), nil
		if !n.used() {
			delete(e.cluster.nodes, n.name)
		}
	}
	e.stale.plans = trim(e.stale.plans, roomKept)
	slices.SortFunc(out, func(a, b *ringfencev1.NodePlanDelta) int { return cmp.Compare(a.GetNode(), b.GetNode()) })
	return out
}

// sortOut leaves among the changed pods those that the plan says something else of, and adds to left those that it does not
// name any more. A pod that left and came back as it was is in neither.
func (n *node) sortOut(left map[departure]uint64) {
	changed := n.changed[:0]
	for _, p := range n.changed {
		p.stale = false
		if p.gone {
			continue
		}
		before, now := p.given, uint64(0)
		if p.planned() && p.group.policy != nil {
			now = p.hash()
		}
		p.given = now
		at := departure{n, ""}
		if len(left) > 0 || now == 0 {
			at.uid = p.runtimeUID()
		}
		if before == 0 && len(left) > 0 {
			before = left[at]
		}
		switch {
		case now == 0 && before != 0:
			left[at] = before
		case now != 0:
			delete(left, at)
			if now != before {
				changed = append(changed, p)
			}
		}
	}
	n.changed = changed
}

func (e *Engine) flushPlan(n *node, gone []string) *ringfencev1.NodePlanDelta {
	if !n.hasPlan() {
		if !n.given {
			return nil
		}
		n.given, n.givenHash = false, 0
		return &ringfencev1.NodePlanDelta{Node: n.name, Removed: true}
	}
	d := e.head(n)
	hash := hashHead(d)
	if n.given && hash == n.givenHash && len(n.changed)+len(gone) == 0 {
		return nil
	}
	n.given, n.givenHash = true, hash
	d.Pods = n.written
	slices.Sort(gone)
	d.RemovedPods = gone
	return d
}

func (e *Engine) flushNamespaces() (changed []*ringfencev1.NamespacePolicy, removed []string) {
	for _, ns := range e.stale.namespaces {
		ns.stale = false
		if !ns.listed() {
			if ns.given != 0 {
				removed = append(removed, ns.name)
				for _, x := range ns.signatures {
					x.given = 0
				}
			}
			ns.given = 0
			continue
		}
		if ns.given == 0 {
			for _, x := range ns.signatures {
				e.stale.signature(x)
			}
		}
		m := e.namespaceMessage(ns)
		if hash := hashNamespace(m); hash != ns.given {
			ns.given = hash
			changed = append(changed, m)
		}
	}
	slices.SortFunc(changed, func(a, b *ringfencev1.NamespacePolicy) int { return cmp.Compare(a.GetNamespace(), b.GetNamespace()) })
	slices.Sort(removed)
	return changed, removed
}

// flushSignatures gives the signatures that changed, of namespaces that are listed.
func (e *Engine) flushSignatures() []*ringfencev1.SignaturesDelta {
	byNamespace := map[*namespace]*ringfencev1.SignaturesDelta{}
	var out []*ringfencev1.SignaturesDelta
	for _, x := range e.stale.signatures {
		x.stale = false
		now := uint64(0)
		if sole := x.sole(); sole != nil && x.ns.listed() {
			now = sole.id
		}
		before := x.given
		if x.given = now; x.first == nil && e.cluster.signatures[x.hash] == x {
			e.cluster.unsign(x.ns, x)
		}
		if now == before {
			continue
		}
		d := byNamespace[x.ns]
		if d == nil {
			d = &ringfencev1.SignaturesDelta{Namespace: x.ns.name}
			byNamespace[x.ns] = d
			out = append(out, d)
		}
		if now == 0 {
			d.Removed = append(d.Removed, hexID("", x.hash))
		} else {
			d.Changed = append(d.Changed, &ringfencev1.PodSignature{Hash: hexID("", x.hash), Policy: x.sole().text})
		}
	}
	e.stale.signatures = trim(e.stale.signatures, roomKept)
	for _, d := range out {
		slices.SortFunc(d.Changed, func(a, b *ringfencev1.PodSignature) int { return cmp.Compare(a.GetHash(), b.GetHash()) })
		slices.Sort(d.Removed)
	}
	slices.SortFunc(out, func(a, b *ringfencev1.SignaturesDelta) int { return cmp.Compare(a.GetNamespace(), b.GetNamespace()) })
	return out
}

// collect forgets what nothing refers to any more. Between flushes it stays, for the next one compares with it.
func (e *Engine) collect() {
	for _, sel := range e.stale.selectors {
		if sel.stale = false; !sel.used() && (sel.pods == nil || sel.pods.users == 0 && !sel.pods.published) {
			if sel.pods != nil {
				e.sets.drop(sel.pods)
			}
			e.table.dropSelector(sel)
		}
	}
	e.stale.selectors = trim(e.stale.selectors, roomKept)
	for _, ls := range e.stale.labelSets {
		if ls.deserted = false; !ls.used() {
			e.table.dropSet(ls)
		}
	}
	e.stale.labelSets = trim(e.stale.labelSets, roomKept)
	for _, ns := range e.stale.namespaces {
		if !ns.used() {
			delete(e.cluster.namespaces, ns.name)
		}
	}
	if e.flushed {
		e.stale.namespaces = trim(e.stale.namespaces, roomKept)
	}
}

// Policy gives the whole compiled policy. It does not touch what Flush will give.
func (e *Engine) Policy() Policy {
	e.settle()
	p := Policy{Namespaces: e.Namespaces(), ProvisionedVersion: e.provision.force.version, Warnings: e.warnings()}
	for _, s := range e.sets.inUse() {
		p.Sets = append(p.Sets, s.message())
	}
	for _, w := range e.workloadPolicies() {
		p.Policies = append(p.Policies, w.take(e))
	}
	e.forgetParts()
	for _, name := range slices.Sorted(maps.Keys(e.cluster.nodes)) {
		if n := e.cluster.nodes[name]; n.hasPlan() {
			p.Plans = append(p.Plans, e.plan(n))
		}
	}
	return p
}

// workloadPolicies lists those that anybody needs, sorted by id.
func (e *Engine) workloadPolicies() []*workloadPolicy {
	var out []*workloadPolicy
	for _, ls := range e.table.sets {
		for _, p := range ls.policies {
			if p.users > 0 {
				out = append(out, p)
			}
		}
	}
	slices.SortFunc(out, func(a, b *workloadPolicy) int { return cmp.Compare(a.id, b.id) })
	return out
}

func (e *Engine) warnings() []string {
	out := slices.Concat(e.console.profileWarnings(), e.provision.warnings())
	for s := range e.provision.ruleSets() {
		if s.oddities != nil {
			out = append(out, s.oddities.warnings...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
