package clas

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

const idle = ringfencev1.EnforcementMode_ENFORCEMENT_MODE_IDLE

// policyKey is what a workload policy is computed for.
type policyKey struct {
	labels *labelSet
	mode   ringfencev1.EnforcementMode
}

// workloadPolicy is the policy of all pods of one label set in one mode.
type workloadPolicy struct {
	policyKey
	id string
	// pods counts the planned pods that it is for.
	pods int
	// message is replaced, never changed.
	message *ringfencev1.WorkloadPolicy
	sets    map[*addressSet]struct{}
	views   map[*serviceView]struct{}
}

func newWorkloadPolicy(k policyKey) *workloadPolicy {
	return &workloadPolicy{policyKey: k, id: "w" + digits(fmt.Sprintf("%s in mode %d", k.labels.key, k.mode)),
		sets: map[*addressSet]struct{}{}, views: map[*serviceView]struct{}{}}
}

// compilation gathers one policy. What a rule contributes is keyed by rule and set, so that order has no say.
type compilation struct {
	store             *setStore
	inbound, outbound terms
	sets              map[*addressSet]struct{}
	views             map[*serviceView]struct{}
	warnings          map[string]bool
}

// terms are the peers and ports of each rule, by the href of the rule.
type terms map[string]map[*addressSet]portSet

func (t terms) add(r *rule, set *addressSet, ports portSet) {
	if t[r.href] == nil {
		t[r.href] = map[*addressSet]portSet{}
	}
	t[r.href][set] = t[r.href][set].union(ports)
}

// compile computes the policy anew from the selectors that hold for its label set. Sets and views of the former result
// are released only after the new ones are taken, so that those in both stay.
func (p *workloadPolicy) compile(store *setStore) {
	c := compilation{store: store, inbound: terms{}, outbound: terms{}, sets: map[*addressSet]struct{}{},
		views: map[*serviceView]struct{}{}, warnings: map[string]bool{}}
	if p.mode != idle {
		for sel := range p.labels.matching {
			for _, a := range sel.consumers {
				c.reach(a)
			}
			for _, a := range sel.providers {
				c.admit(a)
			}
		}
	}
	c.adopt(p)
	p.message = &ringfencev1.WorkloadPolicy{Id: p.id, Mode: p.mode, Inbound: c.inbound.messages(), Outbound: c.outbound.messages(),
		Warnings: slices.Sorted(maps.Keys(c.warnings))}
	for _, l := range p.labels.labels {
		p.message.Labels = append(p.message.Labels, l.String())
	}
}

// reach adds what a rule opens outbound for its consumers: pods at the rule's ports, Services at theirs, addresses.
func (c *compilation) reach(a *alternative) {
	c.warn(a.rule)
	if a.rule.ports.empty() {
		return
	}
	if a.providers != nil {
		c.outbound.add(a.rule, c.use(c.store.pods(a.providers)), a.rule.ports)
		view := c.store.view(a.providers, a.rule.ports)
		c.views[view] = struct{}{}
		for x, set := range view.sets {
			c.outbound.add(a.rule, c.use(set), x.portSet())
		}
	}
	for _, list := range a.rule.providerLists {
		c.outbound.add(a.rule, c.use(c.store.list(list)), a.rule.ports)
	}
}

// admit adds what a rule opens inbound for its providers.
func (c *compilation) admit(a *alternative) {
	c.warn(a.rule)
	if a.rule.ports.empty() {
		return
	}
	if a.consumers != nil {
		c.inbound.add(a.rule, c.use(c.store.pods(a.consumers)), a.rule.ports)
	}
	for _, list := range a.rule.consumerLists {
		c.inbound.add(a.rule, c.use(c.store.list(list)), a.rule.ports)
	}
}

func (c *compilation) warn(r *rule) {
	for _, w := range r.warnings {
		c.warnings[w] = true
	}
}

func (c *compilation) use(s *addressSet) *addressSet {
	c.sets[s] = struct{}{}
	return s
}

// adopt makes the policy hold what the compilation used in place of what it held before.
func (c *compilation) adopt(p *workloadPolicy) {
	for set := range c.sets {
		c.store.acquire(set)
	}
	for view := range c.views {
		view.policies[p] = struct{}{}
	}
	for view := range p.views {
		if _, kept := c.views[view]; !kept {
			view.leave(p, c.store)
		}
	}
	for set := range p.sets {
		c.store.release(set)
	}
	p.sets, p.views = c.sets, c.views
}

// abandon gives up everything that the policy holds.
func (p *workloadPolicy) abandon(store *setStore) {
	(&compilation{store: store}).adopt(p)
}

func (v *serviceView) leave(p *workloadPolicy, store *setStore) {
	delete(v.policies, p)
	if len(v.policies) == 0 {
		store.dropView(v)
	}
}

func (t terms) messages() []*ringfencev1.PolicyRule {
	var out []*ringfencev1.PolicyRule
	for href, sets := range t {
		m := &ringfencev1.PolicyRule{Id: ruleID(href), Href: href}
		for set, ports := range sets {
			m.Terms = append(m.Terms, &ringfencev1.PeerTerm{AddressSet: set.id, Ports: ports.message()})
		}
		slices.SortFunc(m.Terms, func(a, b *ringfencev1.PeerTerm) int { return cmp.Compare(a.GetAddressSet(), b.GetAddressSet()) })
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b *ringfencev1.PolicyRule) int {
		return cmp.Or(cmp.Compare(a.GetId(), b.GetId()), cmp.Compare(a.GetHref(), b.GetHref()))
	})
	return out
}
