package clas

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

const (
	idle           = ringfencev1.EnforcementMode_ENFORCEMENT_MODE_IDLE
	visibilityOnly = ringfencev1.EnforcementMode_ENFORCEMENT_MODE_VISIBILITY_ONLY
	selective      = ringfencev1.EnforcementMode_ENFORCEMENT_MODE_SELECTIVE
	full           = ringfencev1.EnforcementMode_ENFORCEMENT_MODE_FULL

	notDegraded    = ringfencev1.DegradedPolicy_DEGRADED_POLICY_UNSPECIFIED
	degradedOpen   = ringfencev1.DegradedPolicy_DEGRADED_POLICY_OPEN
	degradedClosed = ringfencev1.DegradedPolicy_DEGRADED_POLICY_CLOSED
)

// Features that an enforcer must understand to enforce a policy, in the order in which policies list them.
const (
	FeatureDeny         = "deny"
	FeatureFQDN         = "fqdn"
	FeatureOverrideDeny = "override_deny"
)

type features uint8

const (
	withDeny features = 1 << iota
	withFQDN
	withOverrideDeny
)

func (f features) texts() []string {
	var out []string
	for i, name := range []string{FeatureDeny, FeatureFQDN, FeatureOverrideDeny} {
		if f&(1<<i) != 0 {
			out = append(out, name)
		}
	}
	return out
}

// workloadPolicy is the policy of all workloads of one label set in one mode.
type workloadPolicy struct {
	labels   *labelSet
	mode     ringfencev1.EnforcementMode
	degraded ringfencev1.DegradedPolicy
	id       uint64
	// users counts the groups with planned pods, and the nodes, that it is for.
	users    int32
	features features
	stale    bool
	touched  bool
	// sets are those that it refers to.
	sets []*addressSet
	// hash is of the content, given is the one that the last flush left with readers, 0 for nothing.
	hash, given uint64
	// message is there from compiling until the next flush.
	message *ringfencev1.WorkloadPolicy
	digest  *digest // nil where it is not known
	text    string  // the id as text
}

// policy gives the policy of a label set in a mode, made where there is none; a new one is marked to be compiled.
func (e *Engine) policy(ls *labelSet, mode ringfencev1.EnforcementMode, degraded ringfencev1.DegradedPolicy) *workloadPolicy {
	for _, p := range ls.policies {
		if p.mode == mode && p.degraded == degraded {
			return p
		}
	}
	b := append(strconv.AppendInt(append(ls.appendCanonical(nil), " in mode "...), int64(mode), 10), " degraded "...)
	p := &workloadPolicy{labels: ls, mode: mode, degraded: degraded, id: digits64(string(strconv.AppendInt(b, int64(degraded), 10)))}
	p.text = hexID("w", p.id)
	ls.policies = append(ls.policies, p)
	e.stale.policy(p)
	return p
}

// part is a rule as one direction of policies has it. Policies share it.
type part struct {
	rule    *rule
	message *ringfencev1.PolicyRule
	sets    []*addressSet
	hash    uint64
	// named says that some set has names.
	named    bool
	warnings []string
	first    ringfencev1.PeerTerm // most have but one
}

// newPart makes a part, in one piece of memory with what most of them hold.
func newPart(r *rule, warnings []string) *part {
	x := &struct {
		part
		message ringfencev1.PolicyRule
		terms   [1]*ringfencev1.PeerTerm
		sets    [1]*addressSet
	}{part: part{rule: r, warnings: warnings}}
	x.message.Id, x.message.Href, x.message.Terms = r.idText(), r.href, x.terms[:0]
	x.part.message, x.part.sets = &x.message, x.sets[:0]
	return &x.part
}

// direction is inbound or outbound.
type direction uint8

const (
	inbound direction = iota
	outbound
	directions
)

// compilation gathers one policy.
type compilation struct {
	*Engine
	parts   [directions][ruleKinds][]*part
	cached  []**part
	sorting []*addressSet
}

// compile computes the policy anew from the selectors that hold for its label set.
func (e *Engine) compile(p *workloadPolicy) *ringfencev1.WorkloadPolicy {
	c := &e.compilation
	c.gather(p)
	m := &ringfencev1.WorkloadPolicy{Id: p.text, Mode: p.mode, Labels: p.labels.texts(), Degraded: p.degraded}
	m.Inbound, m.Outbound = messages(c.parts[inbound][allow]), messages(c.parts[outbound][allow])
	m.InboundOverrideDeny, m.OutboundOverrideDeny = messages(c.parts[inbound][overrideDeny]), messages(c.parts[outbound][overrideDeny])
	m.InboundDeny, m.OutboundDeny = messages(c.parts[inbound][deny]), messages(c.parts[outbound][deny])
	m.Features = c.features().texts()
	m.Warnings = c.warnings()
	for _, l := range p.labels.labels {
		if l.key == eachKey {
			m.Workload = l.value
		}
	}
	return m
}

// gather finds the parts of a policy, sorted and one a rule.
func (c *compilation) gather(p *workloadPolicy) {
	for d := range c.parts {
		for k := range c.parts[d] {
			c.parts[d][k] = c.parts[d][k][:0]
		}
	}
	if p.mode == idle || p.degraded != notDegraded {
		return
	}
	for _, sel := range p.labels.matching.items {
		for _, g := range sel.consuming.items {
			c.add(outbound, c.reach(g))
		}
		for _, g := range sel.providing.items {
			for i := range g.providers {
				if g.providers[i].selector == sel {
					c.add(inbound, c.admit(g, &g.providers[i]))
				}
			}
		}
	}
	for d := range c.parts {
		for k := range c.parts[d] {
			c.parts[d][k] = c.merge(direction(d), c.parts[d][k])
		}
	}
}

func (c *compilation) add(d direction, x *part) {
	if len(x.message.GetTerms()) > 0 || len(x.warnings) > 0 {
		c.parts[d][x.rule.kind] = append(c.parts[d][x.rule.kind], x)
	}
}

// reach gives what a rule opens or closes outbound for its consumers: workloads at the rule's ports, Services at theirs,
// addresses.
func (c *compilation) reach(g *grant) *part {
	if g.outbound != nil {
		return g.outbound
	}
	x := c.begin(g)
	for i := range g.providers {
		v := &g.providers[i]
		if !v.ports.empty() {
			x.term(c.sets.workloads(v.selector), *v.ports)
		}
		if v.services != nil && !v.services.empty() {
			c.reachServices(x, g, v)
		}
	}
	if g.beside != nil {
		for _, a := range g.beside.answers {
			x.term(c.answer(a), *a.ports)
		}
	}
	if !g.rule.ports.empty() {
		for _, list := range g.rule.providerLists() {
			x.term(c.sets.of(list), *g.rule.ports)
		}
	}
	g.outbound = x.end(outbound)
	c.cached = append(c.cached, &g.outbound)
	return g.outbound
}

// answer gives the set of the addresses of a virtual service.
func (c *compilation) answer(a answer) *addressSet {
	set := c.sets.explicit(a.canonical, func() string { return a.description })
	c.sets.fill(set, slices.Clone(a.addresses), nil)
	return set
}

func (c *compilation) reachServices(x *part, g *grant, v *provider) {
	view := c.view(v.selector, v.services)
	if view == nil {
		return
	}
	for _, o := range view.open {
		x.term(o.set, newPortSet([]portRange{onePort(o.protocol, o.port)}))
	}
	if !view.nodePorts.empty() {
		x.term(c.nodeSet(), view.nodePorts)
	}
	if view.names != nil && !v.virtual {
		x.term(view.names, *v.services)
	}
	if g.rule.kind != allow {
		return
	}
	for _, s := range view.partial {
		if !g.backs(s) {
			x.warnings = append(x.warnings, fmt.Sprintf("rule %s of %s opens Service %s, but some of its backends are not among the rule's providers: connections to those are refused where they arrive",
				g.rule.href, g.rule.set.name, s))
		}
	}
}

// backs tells whether all backends of a Service are providers.
func (g *grant) backs(s *service) bool {
	for _, group := range s.groups.items {
		if group.live > 0 && group.set != nil && !slices.ContainsFunc(g.providers, func(v provider) bool { return v.selector.holds(group.set) }) {
			return false
		}
	}
	return true
}

// admit gives what a rule opens or closes inbound for its providers.
func (c *compilation) admit(g *grant, v *provider) *part {
	if v.inbound != nil {
		return v.inbound
	}
	x := c.begin(g)
	if !v.ports.empty() { // a set that nothing refers to is not made
		c.admitTo(x, g, *v.ports)
	}
	v.inbound = x.end(inbound)
	c.cached = append(c.cached, &v.inbound)
	return v.inbound
}

// admitTo adds those that a grant lets in, or keeps out, at ports.
func (c *compilation) admitTo(x *part, g *grant, ports portSet) {
	for _, sel := range g.consumers {
		x.term(c.sets.workloads(sel), ports)
	}
	if g.beside != nil {
		for _, a := range g.beside.asking {
			x.term(c.answer(a), ports)
		}
	}
	for _, list := range g.rule.consumerLists() {
		x.term(c.sets.of(list), ports)
	}
}

func (c *compilation) begin(g *grant) *part {
	return newPart(g.rule, slices.Clone(g.rule.warnings))
}

// term adds peers at ports; ports without any open nothing.
func (x *part) term(set *addressSet, ports portSet) {
	if ports.empty() {
		return
	}
	if at := slices.Index(x.sets, set); at >= 0 {
		x.message.Terms[at].Ports = newPortSet(append(rangesOf(x.message.Terms[at].Ports), ports.ranges...)).message()
		return
	}
	x.sets = append(x.sets, set)
	if len(x.message.Terms) == 0 {
		x.first.AddressSet, x.first.Ports = set.idText(), ports.message()
		x.message.Terms = append(x.message.Terms, &x.first)
		return
	}
	x.message.Terms = append(x.message.Terms, &ringfencev1.PeerTerm{AddressSet: set.idText(), Ports: ports.message()})
}

func rangesOf(messages []*ringfencev1.PortRange) []portRange {
	out := make([]portRange, 0, len(messages))
	for _, m := range messages {
		if r, err := parsePort(m); err == nil {
			out = append(out, r)
		}
	}
	return out
}

// end sorts the terms and takes their hash.
func (x *part) end(d direction) *part {
	if len(x.sets) > 1 {
		slices.SortFunc(x.sets, func(a, b *addressSet) int { return cmp.Compare(a.id, b.id) })
		slices.SortFunc(x.message.Terms, func(a, b *ringfencev1.PeerTerm) int { return cmp.Compare(a.GetAddressSet(), b.GetAddressSet()) })
	}
	x.hash = mix(mix(uint64(d)+1, uint64(x.rule.kind)), mix(x.rule.id, hashText(x.rule.href)))
	for i, set := range x.sets {
		x.hash = mix(x.hash, set.id)
		for _, r := range x.message.Terms[i].Ports {
			x.hash = mix(x.hash, uint64(r.GetProtocol()+1)<<32|uint64(r.GetPort())<<16|uint64(r.GetToPort()))
			if r.IcmpType != nil {
				x.hash = mix(x.hash, 1+uint64(r.GetIcmpType()))
			}
			if r.IcmpCode != nil {
				x.hash = mix(x.hash, 1001+uint64(r.GetIcmpCode()))
			}
		}
		x.named = x.named || d == outbound && set.named()
	}
	return x
}

// merge sorts parts and unites those of one rule.
func (c *compilation) merge(d direction, parts []*part) []*part {
	if len(parts) < 2 {
		return parts
	}
	slices.SortFunc(parts, compareParts)
	out := parts[:1]
	for _, x := range parts[1:] {
		last := out[len(out)-1]
		switch {
		case x == last:
		case x.rule == last.rule:
			out[len(out)-1] = last.with(x, d)
		default:
			out = append(out, x)
		}
	}
	return out
}

func compareParts(a, b *part) int {
	return cmp.Or(cmp.Compare(a.rule.id, b.rule.id), cmp.Compare(a.rule.href, b.rule.href), cmp.Compare(a.rule.set.href(), b.rule.set.href()), cmp.Compare(a.hash, b.hash))
}

// with gives a part that has the terms of both. It reads, and hashes, as if one grant had made it.
func (x *part) with(y *part, d direction) *part {
	out := newPart(x.rule, slices.Concat(x.warnings, y.warnings))
	for _, in := range []*part{x, y} {
		for i, set := range in.sets {
			out.term(set, newPortSet(rangesOf(in.message.Terms[i].Ports)))
		}
	}
	return out.end(d)
}

func messages(parts []*part) []*ringfencev1.PolicyRule {
	if len(parts) == 0 {
		return nil
	}
	out := make([]*ringfencev1.PolicyRule, 0, len(parts))
	for _, x := range parts {
		if len(x.message.Terms) > 0 {
			out = append(out, x.message)
		}
	}
	return out
}

func (c *compilation) each(visit func(*part)) {
	for d := range c.parts {
		for k := range c.parts[d] {
			for _, x := range c.parts[d][k] {
				visit(x)
			}
		}
	}
}

func (c *compilation) features() (f features) {
	c.each(func(x *part) {
		switch {
		case len(x.sets) == 0: // nothing but warnings
		case x.rule.kind == deny:
			f |= withDeny
		case x.rule.kind == overrideDeny:
			f |= withOverrideDeny
		}
		if x.named {
			f |= withFQDN
		}
	})
	return f
}

func (c *compilation) warnings() []string {
	var out []string
	c.each(func(x *part) { out = append(out, x.warnings...) })
	slices.Sort(out)
	return slices.Compact(out)
}

// hash is of everything that the gathered policy says.
func (c *compilation) hash(p *workloadPolicy) uint64 {
	h := mix(p.id, 1)
	c.each(func(x *part) {
		if len(x.sets) > 0 {
			h = mix(h, x.hash)
		}
	})
	for _, w := range c.warnings() {
		h = mix(h, hashText(w))
	}
	return mix(h, uint64(c.features())) | 1
}

// usedSets lists the sets of the gathered policy, each once.
func (c *compilation) usedSets() []*addressSet {
	c.sorting = c.sorting[:0]
	c.each(func(x *part) { c.sorting = append(c.sorting, x.sets...) })
	slices.SortFunc(c.sorting, func(a, b *addressSet) int { return cmp.Compare(a.id, b.id) })
	c.sorting = slices.Compact(c.sorting)
	return slices.Clone(c.sorting)
}
