package ringfence

import (
	"cmp"
	"slices"
	"strings"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// ModeName gives an enforcement mode as people write it.
func ModeName(mode ringfencev1.EnforcementMode) string {
	return strings.ToLower(strings.TrimPrefix(mode.String(), "ENFORCEMENT_MODE_"))
}

// subject names whom a policy is for: its labels, and its workload where policy is computed for each.
func subject(p *ringfencev1.WorkloadPolicy) string {
	labels := strings.Join(p.GetLabels(), " ")
	if labels == "" {
		labels = "(no labels)"
	}
	if p.GetWorkload() != "" {
		labels += " of " + p.GetWorkload()
	}
	return labels
}

// bySubject gives the policies by whom they are for: more than one where namespaces differ in mode.
func (s *side) bySubject() map[string][]*ringfencev1.WorkloadPolicy {
	out := map[string][]*ringfencev1.WorkloadPolicy{}
	for _, p := range s.policy.Policies {
		out[subject(p)] = append(out[subject(p)], p)
	}
	return out
}

// policyChanges compares the policies of each label set. One that differs in mode alone is the same policy changed.
func policyChanges(before, after *side) []PolicyChange {
	was, is := before.bySubject(), after.bySubject()
	out := []PolicyChange{}
	for _, name := range union(was, is) {
		old, now := was[name], is[name]
		if len(old) == 1 && len(now) == 1 {
			out = appendChange(out, before, after, old[0], now[0])
			continue
		}
		for _, p := range old {
			out = appendChange(out, before, after, p, byID(now, p.GetId()))
		}
		for _, p := range now {
			if byID(old, p.GetId()) == nil {
				out = appendChange(out, before, after, nil, p)
			}
		}
	}
	return out
}

func byID(policies []*ringfencev1.WorkloadPolicy, id string) *ringfencev1.WorkloadPolicy {
	if i := slices.IndexFunc(policies, func(p *ringfencev1.WorkloadPolicy) bool { return p.GetId() == id }); i >= 0 {
		return policies[i]
	}
	return nil
}

func appendChange(out []PolicyChange, before, after *side, old, now *ringfencev1.WorkloadPolicy) []PolicyChange {
	some := cmp.Or(now, old)
	c := PolicyChange{Labels: append([]string{}, some.GetLabels()...), Workload: some.GetWorkload(), Change: change(old != nil, now != nil)}
	c.ModeBefore, c.ModeAfter = modeOf(old), modeOf(now)
	oldTerms, nowTerms := before.terms(old), after.terms(now)
	c.RulesCame, c.RulesWent = beyond(nowTerms, oldTerms), beyond(oldTerms, nowTerms)
	if c.Change == Changed && c.ModeBefore == c.ModeAfter && len(c.RulesCame)+len(c.RulesWent) == 0 {
		return out
	}
	return append(out, c)
}

// modeOf gives the mode of a policy, with what it stands in for.
func modeOf(p *ringfencev1.WorkloadPolicy) string {
	switch {
	case p == nil:
		return ""
	case p.GetDegraded() != ringfencev1.DegradedPolicy_DEGRADED_POLICY_UNSPECIFIED:
		return ModeName(p.GetMode()) + " (degraded: " + DegradedName(p.GetDegraded()) + ")"
	}
	return ModeName(p.GetMode())
}

// DegradedName says how a policy stands in for another one, empty where it does not.
func DegradedName(d ringfencev1.DegradedPolicy) string {
	if d == ringfencev1.DegradedPolicy_DEGRADED_POLICY_UNSPECIFIED {
		return ""
	}
	return strings.ToLower(strings.TrimPrefix(d.String(), "DEGRADED_POLICY_"))
}

// Directions of rules, as seen from the workload that the policy is for.
const (
	inbound  = "inbound"
	outbound = "outbound"
)

// terms lists the pairings of peers and ports of all rules of a policy, in the order in which a packet meets them.
func (s *side) terms(p *ringfencev1.WorkloadPolicy) []RuleTerm {
	var out []RuleTerm
	for _, list := range []struct {
		direction, kind string
		rules           []*ringfencev1.PolicyRule
	}{
		{inbound, "override deny", p.GetInboundOverrideDeny()}, {inbound, "allow", p.GetInbound()}, {inbound, "deny", p.GetInboundDeny()},
		{outbound, "override deny", p.GetOutboundOverrideDeny()}, {outbound, "allow", p.GetOutbound()}, {outbound, "deny", p.GetOutboundDeny()},
	} {
		for _, rule := range list.rules {
			for _, term := range rule.GetTerms() {
				out = append(out, RuleTerm{
					Direction: list.direction, Kind: list.kind, ID: rule.GetId(), Href: rule.GetHref(), Set: term.GetAddressSet(),
					Peers: s.sets[term.GetAddressSet()].GetDescription(), Ports: portNames(term.GetPorts()), ranges: term.GetPorts(),
				})
			}
		}
	}
	return out
}

// beyond gives the terms that are not among others.
func beyond(terms, others []RuleTerm) []RuleTerm {
	there := map[string]bool{}
	for _, t := range others {
		there[t.key()] = true
	}
	out := []RuleTerm{}
	for _, t := range terms {
		if !there[t.key()] {
			out = append(out, t)
		}
	}
	return out
}
