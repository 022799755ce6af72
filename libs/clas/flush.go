package clas

import (
	"cmp"
	"maps"
	"slices"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
	"google.golang.org/protobuf/proto"
)

// Delta is what changed between two flushes. A reader applies it in the order of the fields: sets that come or change,
// policies, plans; and removes in reverse. Everything is sorted by id or name.
type Delta struct {
	Sets            []*ringfencev1.AddressSetDelta
	Policies        []*ringfencev1.WorkloadPolicy
	RemovedPolicies []string
	// Namespaces is nil where they did not change.
	Namespaces *ringfencev1.Namespaces
	// Plans carry neither version nor window; those are the publisher's to give.
	Plans []*ringfencev1.NodePlan
	// ProvisionedVersion is the console's version in force, changed or not.
	ProvisionedVersion int64

	newVersion bool
}

// Empty tells whether nothing changed.
func (d Delta) Empty() bool {
	return len(d.Sets)+len(d.Policies)+len(d.RemovedPolicies)+len(d.Plans) == 0 && d.Namespaces == nil && !d.newVersion
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

// ledger remembers what the last flush gave out of one kind of object, and which may have changed since.
type ledger[M proto.Message] struct {
	given   map[string]M
	touched map[string]bool
}

func newLedger[M proto.Message]() *ledger[M] {
	return &ledger[M]{given: map[string]M{}, touched: map[string]bool{}}
}

func (l *ledger[M]) touch(id string) { l.touched[id] = true }

// flush compares the touched objects with what was given before; current tells whether an object exists now.
func (l *ledger[M]) flush(current func(id string) (M, bool)) (changed []M, removed []string) {
	for _, id := range slices.Sorted(maps.Keys(take(&l.touched))) {
		before, had := l.given[id]
		now, has := current(id)
		switch {
		case has && (!had || !proto.Equal(before, now)):
			l.given[id] = now
			changed = append(changed, now)
		case had && !has:
			delete(l.given, id)
			removed = append(removed, id)
		}
	}
	return changed, removed
}

// publication is what the flushes so far gave out.
type publication struct {
	policies   *ledger[*ringfencev1.WorkloadPolicy]
	plans      *ledger[*ringfencev1.NodePlan]
	namespaces *ringfencev1.Namespaces
	version    int64
}

func newPublication() *publication {
	return &publication{policies: newLedger[*ringfencev1.WorkloadPolicy](), plans: newLedger[*ringfencev1.NodePlan]()}
}

// Flush gives everything that changed since the last flush. The first one gives the whole policy.
func (e *Engine) Flush() Delta {
	e.settle()
	version := e.provision.force.version
	d := Delta{Sets: e.sets.flush(), ProvisionedVersion: version, newVersion: version != e.published.version}
	e.published.version = version
	d.Policies, d.RemovedPolicies = e.published.policies.flush(e.policies.message)
	var removed []string
	d.Plans, removed = e.published.plans.flush(e.plan)
	for _, name := range removed {
		d.Plans = append(d.Plans, &ringfencev1.NodePlan{Node: name, ProvisionedVersion: version, Removed: true})
	}
	slices.SortFunc(d.Plans, func(a, b *ringfencev1.NodePlan) int { return cmp.Compare(a.GetNode(), b.GetNode()) })
	if !proto.Equal(e.namespaces, e.published.namespaces) {
		d.Namespaces, e.published.namespaces = e.namespaces, e.namespaces
	}
	return d
}

func (e *Engine) plan(name string) (*ringfencev1.NodePlan, bool) {
	n := e.cluster.nodes[name]
	if n == nil || n.plan == nil {
		return nil, false
	}
	return n.plan, true
}

// Policy gives the whole compiled policy. It does not touch what Flush will give.
func (e *Engine) Policy() Policy {
	e.settle()
	p := Policy{Sets: e.sets.messages(), Policies: e.policies.messages(), Namespaces: e.namespaces,
		ProvisionedVersion: e.provision.force.version}
	for _, name := range slices.Sorted(maps.Keys(e.cluster.nodes)) {
		if plan, exists := e.plan(name); exists {
			p.Plans = append(p.Plans, plan)
		}
	}
	p.Warnings = slices.Concat(e.book.warnings, e.profiles.warnings(e.labels), e.provision.warnings())
	slices.Sort(p.Warnings)
	p.Warnings = slices.Compact(p.Warnings)
	return p
}

// policyStore holds the workload policies that pods use.
type policyStore struct {
	byKey map[policyKey]*workloadPolicy
	byID  map[string]*workloadPolicy
}

func newPolicyStore() *policyStore {
	return &policyStore{byKey: map[policyKey]*workloadPolicy{}, byID: map[string]*workloadPolicy{}}
}

// get gives the policy for a label set and mode; a new one is marked to be compiled.
func (t *policyStore) get(k policyKey, s *stale) *workloadPolicy {
	p := t.byKey[k]
	if p == nil {
		p = newWorkloadPolicy(k)
		t.byKey[k], t.byID[p.id] = p, p
		s.policies[p] = true
	}
	return p
}

// drop gives up a policy that no pod uses.
func (t *policyStore) drop(p *workloadPolicy, sets *setStore) {
	p.abandon(sets)
	delete(t.byKey, p.policyKey)
	if t.byID[p.id] == p {
		delete(t.byID, p.id)
	}
}

func (t *policyStore) message(id string) (*ringfencev1.WorkloadPolicy, bool) {
	p := t.byID[id]
	if p == nil {
		return nil, false
	}
	return p.message, true
}

func (t *policyStore) messages() []*ringfencev1.WorkloadPolicy {
	var out []*ringfencev1.WorkloadPolicy
	for _, id := range slices.Sorted(maps.Keys(t.byID)) {
		out = append(out, t.byID[id].message)
	}
	return out
}
