package clas

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Change is something that would turn a verdict round by itself, if nothing else changed.
type Change struct {
	// Kind is one of the Change constants.
	Kind string `json:"kind"`
	// Rules are the hrefs of the rules that it is about, all of them.
	Rules []string `json:"rules,omitempty"`
	// Text says it in words.
	Text string `json:"text"`
}

// Kinds of changes.
const (
	ChangeAddAllow = "add an allow rule"
	ChangeAddDeny  = "add a deny rule"
	ChangeDisable  = "disable rules"
	ChangeMode     = "change the enforcement mode"
	ChangeLabel    = "change a label"
	ChangeConsole  = "reach the console"
)

// nearMisses bounds how many rules are named that lack one label.
const nearMisses = 5

// changes says what would have to change for the opposite verdict of a path. The target is what the packet is for as it leaves;
// behind a Service it arrives at another port.
func (e *Engine) changes(p Path, t target) []Change {
	var ends []facing
	for _, f := range []facing{
		{p.source, outbound, p.Outbound, peerOf(p.DestinationAddress, p.destination), t, "source"},
		{p.destination, inbound, p.Inbound, peerOf(p.SourceAddress, p.source), p.arriving, "destination"},
	} {
		if f.end.policy() != nil {
			ends = append(ends, f)
		}
	}
	if p.Verdict == Allowed {
		return e.blocking(p, ends)
	}
	return e.allowing(p, ends)
}

// facing is one end of a path that has a policy, with its decision and what it sees of the other end.
type facing struct {
	end       end
	direction direction
	side      Side
	peer      peer
	target    target
	words     string
}

func peerOf(address string, x end) peer {
	a, err := parseAddr(address)
	if x.name != "" || err != nil {
		return peer{name: x.name}
	}
	return peer{address: a}
}

// blocking says what would block a connection that is allowed: at one end that is enforced, no allow rule, or a deny rule.
func (e *Engine) blocking(p Path, ends []facing) []Change {
	var out []Change
	enforced := false
	for _, f := range ends {
		policy := f.end.policy()
		if f.side.Kind == KindEssential || policy.mode != full && policy.mode != selective {
			continue
		}
		allowing := e.rulesOf(policy, f, allow)
		if len(allowing) > 0 && (policy.mode == full || len(e.rulesOf(policy, f, deny)) > 0) {
			out = append(out, Change{ChangeDisable, allowing, fmt.Sprintf("without %s the %s would block it", listRules(allowing), f.words)})
		}
		enforced = true
	}
	pair := "from " + e.actorWords(p.source) + " to " + e.actorWords(p.destination) + " on " + p.arriving.words()
	if enforced {
		return append(out, Change{ChangeAddDeny, nil, "an override deny rule " + pair})
	}
	if slices.ContainsFunc(ends, func(f facing) bool { return f.side.Kind != KindEssential }) {
		return append(out, Change{ChangeMode, nil, "enforcement mode full at either end, and no rule that allows it or an override deny rule " + pair})
	}
	return out
}

// allowing says what would let a connection pass that is blocked.
func (e *Engine) allowing(p Path, ends []facing) []Change {
	var overriding, denying, modes []string
	degraded, byDefault := false, false
	for _, f := range ends {
		if f.side.Decision == DecisionAllowed {
			continue
		}
		policy := f.end.policy()
		overriding = append(overriding, e.rulesOf(policy, f, overrideDeny)...)
		denying = append(denying, e.rulesOf(policy, f, deny)...)
		degraded = degraded || policy.degraded != notDegraded
		byDefault = byDefault || policy.mode != selective
		modes = append(modes, fmt.Sprintf("%s at the %s", modeName(policy.mode), f.words))
	}
	overriding, denying = distinct(overriding), distinct(denying)
	rule := "an allow rule with consumers " + e.actorWords(p.source) + ", providers " + e.actorWords(p.destination) + " and service " + p.arriving.words()
	var out []Change
	switch {
	case degraded:
		out = append(out, Change{ChangeConsole, nil, "the console would have to answer and to know the workload; until then degradedModePolicyFail decides"})
	case len(overriding) > 0:
		out = append(out, Change{ChangeDisable, overriding, listRules(overriding) + " would have to go, for no allow rule outranks an override deny; where no other rule allows it, " + rule + " would have to come"})
	default:
		out = append(out, Change{ChangeAddAllow, nil, rule})
		if len(denying) > 0 && !byDefault {
			out = append(out, Change{ChangeDisable, denying, "without " + listRules(denying) + " nothing would block it"})
		}
		out = append(out, e.misses(p)...)
	}
	return append(out, Change{ChangeMode, nil, "enforcement mode idle in place of " + strings.Join(modes, " and ")})
}

func distinct(hrefs []string) []string {
	slices.Sort(hrefs)
	return slices.Compact(hrefs)
}

// rulesOf lists the hrefs of the rules of a kind that cover a packet at one end, sorted.
func (e *Engine) rulesOf(p *workloadPolicy, f facing, kind ruleKind) []string {
	e.compilation.gather(p)
	var out []string
	for _, x := range e.compilation.parts[f.direction][kind] {
		if _, covers := e.covers(x, f.peer, f.target); covers {
			out = append(out, x.rule.href)
		}
	}
	return distinct(out)
}

func listRules(hrefs []string) string {
	if len(hrefs) == 1 {
		return "rule " + hrefs[0]
	}
	return "rules " + strings.Join(hrefs, ", ")
}

// labelSetOf is what rules match an end by, nil where they go by address.
func (x end) labelSetOf() *labelSet {
	switch {
	case x.pod != nil && x.pod.group.hostNetwork:
		if x.pod.node != nil {
			return x.pod.node.set
		}
	case x.pod != nil:
		return x.pod.group.set
	case x.service != nil:
		return x.service.set
	case x.node != nil:
		return x.node.set
	case x.external != nil:
		return x.external.set
	}
	return nil
}

// actorWords says by which actors a rule could name an end.
func (e *Engine) actorWords(x end) string {
	if ls := x.labelSetOf(); ls != nil {
		if len(ls.plain.labels) == 0 {
			return "all workloads (it has no labels)"
		}
		return strings.Join(ls.texts(), " and ")
	}
	if x.name != "" {
		return "an IP list with the name " + x.name
	}
	if addresses := x.addresses(); len(addresses) > 0 {
		return "an IP list with " + addresses[0].String()
	}
	return "the workload"
}

// misses names allow rules that would cover the connection if one label of one end were another.
func (e *Engine) misses(p Path) []Change {
	source, destination := p.source.labelSetOf(), p.destination.labelSetOf()
	if source == nil || destination == nil {
		return nil
	}
	found := map[string]Change{}
	for _, sel := range source.matching.items {
		for _, g := range sel.consuming.items {
			for _, v := range g.providers {
				e.miss(found, g, v.ports, v.selector, destination, p.arriving, "destination")
			}
		}
	}
	for _, sel := range destination.matching.items {
		for _, g := range sel.providing.items {
			for _, consumers := range g.consumers {
				e.miss(found, g, g.rule.ports, consumers, source, p.arriving, "source")
			}
		}
	}
	out := make([]Change, 0, len(found))
	for _, c := range found {
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b Change) int { return cmp.Compare(a.Text, b.Text) })
	return out[:min(len(out), nearMisses)]
}

// miss notes a rule whose selector lacks exactly one clause of an end.
func (e *Engine) miss(found map[string]Change, g *grant, ports *portSet, sel *selector, of *labelSet, t target, words string) {
	if g.rule.kind != allow || !ports.contains(t) || sel.holds(of) {
		return
	}
	var lacking []clause
	for _, c := range sel.clauses {
		if !c.holds(of.labels) {
			lacking = append(lacking, c)
		}
	}
	if len(lacking) == 1 && !strings.HasPrefix(lacking[0].key, markPrefix) {
		text := fmt.Sprintf("rule %s of %s would cover it if the %s had %s", g.rule.href, g.rule.set.name, words, lacking[0])
		found[text] = Change{Kind: ChangeLabel, Rules: []string{g.rule.href}, Text: text}
	}
}

// words says a target as people write it: tcp/80, icmp/8 code 0.
func (t target) words() string {
	r := portRange{protocol: int32(t.protocol), from: uint32(t.port), icmpType: anyICMP, icmpCode: anyICMP}
	if !hasPorts(r.protocol) {
		r.from = 0
	}
	if isICMP(r.protocol) {
		r.icmpType, r.icmpCode = int32(t.port), int32(t.code)
	}
	return r.String()
}
