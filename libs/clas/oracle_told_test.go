package clas_test

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	pb "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// What nodes and people are told beside the rules: plans, namespaces, which policies are shared, and what is missing.

// comparePlans compares who is planned where, and what the nodes are told of them.
func (x *trial) comparePlans(o *oracle) error {
	planned := map[string]int{}
	for _, end := range o.standings() {
		if p := end.actor.pod; p != nil && p.GetNode() != "" {
			planned[p.GetNode()]++
			if err := x.comparePod(o, p); err != nil {
				return fmt.Errorf("pod %s: %w", end.actor.name(), err)
			}
		}
	}
	want := maps.Clone(planned)
	for _, f := range o.nodes {
		want[f.fact.GetNode().GetName()] += 0
	}
	for node, plan := range x.reader.plans {
		if n, there := want[node]; !there || len(plan.GetPods()) != n {
			return fmt.Errorf("plan %s: %d pods, the oracle says %d: %v", node, len(plan.GetPods()), n, plan)
		}
		if want := canonicalIPs(o.nodeAddresses(node)); !slices.Equal(plan.GetNodeAddresses(), slices.Sorted(slices.Values(want))) {
			return fmt.Errorf("plan %s: node addresses %v, the oracle says %v", node, plan.GetNodeAddresses(), want)
		}
		if managed := o.actorOf(func(a *actor) bool { return a.node != nil && a.node.GetName() == node }) != nil; managed != (plan.GetNodePolicy() != "") {
			return fmt.Errorf("plan %s: node policy %q, the oracle says managed: %t", node, plan.GetNodePolicy(), managed)
		}
		if o.last[k8s("node", "", node)].fact == nil {
			x.tally.add("worlds", "plan without a node")
		}
		if delete(want, node); len(plan.GetFeatures()) > 0 {
			x.tally.add("worlds", "features")
		}
	}
	if len(want) > 0 {
		return fmt.Errorf("no plans for %v", want)
	}
	return nil
}

func (x *trial) comparePod(o *oracle, p *pb.Pod) error {
	got := x.reader.planned(p)
	if got == nil {
		return fmt.Errorf("not in the plan of %s, which has %v", p.GetNode(), x.reader.plans[p.GetNode()])
	}
	if got.GetNamespace() != p.GetNamespace() || got.GetName() != p.GetName() || !slices.Equal(got.GetAddresses(), canonicalIPs(p.GetAddresses())) {
		return fmt.Errorf("planned as %v", got)
	}
	exposed := o.exposed(p)
	if !slices.EqualFunc(got.GetExposed(), exposed, func(a, b *pb.ExposedPort) bool { return compareExposed(a, b) == 0 }) {
		return fmt.Errorf("exposed %v, the oracle says %v", got.GetExposed(), exposed)
	}
	if len(exposed) > 0 {
		x.tally.add("worlds", "exposed ports")
	}
	return nil
}

// canonicalIPs gives addresses as policy writes them, in their order, each once.
func canonicalIPs(addresses []string) []string {
	var out []string
	for _, a := range addresses {
		if text := netip.MustParseAddr(a).Unmap().String(); !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	return out
}

func (x *trial) compareNamespaces(o *oracle) error {
	if x.reader.start != o.startPolicy() {
		return fmt.Errorf("start policy %s, the oracle says %s", x.reader.start, o.startPolicy())
	}
	want := o.namespaceNames()
	if got := slices.Sorted(maps.Keys(x.reader.namespaces)); !slices.Equal(got, want) {
		return fmt.Errorf("namespaces %v, the oracle says %v", got, want)
	}
	for _, name := range want {
		got, profile := x.reader.namespaces[name], o.profile(name)
		mode := profile.GetEnforcementMode()
		if !profile.GetManaged() {
			mode = pb.EnforcementMode_ENFORCEMENT_MODE_UNSPECIFIED
		}
		if got.GetManaged() != profile.GetManaged() || got.GetMode() != mode {
			return fmt.Errorf("namespace %s: %v, the oracle says %s, managed: %t", name, got, mode, profile.GetManaged())
		}
		signatures, torn := o.signatures(name, func(p *pb.Pod) string { return x.reader.planned(p).GetPolicy() })
		told := map[string]string{}
		for _, s := range got.GetSignatures() {
			told[s.GetHash()] = s.GetPolicy()
		}
		if !maps.Equal(told, signatures) {
			return fmt.Errorf("namespace %s: signatures %v, the oracle says %v", name, told, signatures)
		}
		if len(signatures) > 0 {
			x.tally.add("worlds", "signatures")
		}
		if torn {
			x.tally.add("worlds", "torn signatures")
		}
	}
	return nil
}

// compareSharing tells whether ends that rules cannot tell apart share a policy.
func (x *trial) compareSharing(o *oracle) error {
	shared, of := map[string]string{}, map[string]string{}
	for _, end := range o.standings() {
		id := x.reader.policyOf(end.actor)
		if id == "" {
			continue
		}
		key := fmt.Sprint(end.actor.labels, end.mode, end.degraded, o.memberships(end.actor))
		if !o.byLabelSet() {
			key += end.actor.name()
		}
		if other, there := shared[key]; there && other != id {
			return fmt.Errorf("%s and %s carry the same labels and have two policies, %s and %s", of[key], end.actor.name(), other, id)
		}
		shared[key], of[key] = id, end.actor.name()
	}
	return nil
}

// memberships tells apart ends by what rules may name beside their labels: as single workloads, and by what they provide.
func (o *oracle) memberships(a *actor) []string {
	var out []string
	for _, f := range slices.Concat(o.acks, o.machines) {
		for _, href := range []string{f.fact.GetAcknowledgedWorkload().GetHref(), f.fact.GetPceWorkload().GetHref()} {
			if href != "" && o.names(href, a) {
				out = append(out, href)
			}
		}
	}
	for _, f := range o.services {
		if s := f.fact.GetService(); a.pod != nil && backs(a.pod, s) {
			out = append(out, f.subject)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// compareMissing tells whether whatever a rule names in vain is named in a warning.
func (x *trial) compareMissing(o *oracle) error {
	warnings := x.engine.Policy().Warnings
	for _, object := range o.console {
		set, b := object.GetRuleSet(), object.GetEnforcementBoundary()
		rules := slices.Clone(set.GetRules())
		for _, d := range set.GetDenyRules() {
			rules = append(rules, d.GetRule())
		}
		if b != nil {
			set = &pb.RuleSet{Enabled: b.GetEnabled()}
			rules = []*pb.Rule{{Enabled: true, Consumers: b.GetConsumers(), Providers: b.GetProviders(), Services: b.GetServices()}}
		}
		for _, r := range rules {
			if !set.GetEnabled() || !r.GetEnabled() {
				continue
			}
			for _, missing := range o.missing(r) {
				if x.tally.add("worlds", "missing"); !slices.ContainsFunc(warnings, func(w string) bool { return strings.Contains(w, missing) }) {
					return fmt.Errorf("rule %s: no warning names %s: %q", r.GetHref(), missing, warnings)
				}
			}
		}
	}
	return nil
}

// missing lists what a rule names in vain.
func (o *oracle) missing(r *pb.Rule) []string {
	var out []string
	for _, a := range slices.Concat(r.GetConsumers(), r.GetProviders()) {
		for href, there := range map[string]bool{
			a.GetIpList():             o.console[a.GetIpList()].GetIpList() != nil,
			a.GetLabelGroup():         o.console[a.GetLabelGroup()].GetLabelGroup() != nil,
			a.GetExcludedLabelGroup(): o.console[a.GetExcludedLabelGroup()].GetLabelGroup() != nil,
			a.GetVirtualService():     o.console[a.GetVirtualService()].GetVirtualService() != nil,
			a.GetUnsupported():        false,
		} {
			if href != "" && !there {
				out = append(out, href)
			}
		}
		for _, href := range []string{a.GetLabel(), a.GetExcludedLabel()} {
			if _, _, exists := o.label(href); href != "" && !exists {
				out = append(out, href)
			}
		}
		known := slices.ContainsFunc(slices.Concat(o.acks, o.machines), func(f logged) bool {
			return f.fact.GetAcknowledgedWorkload().GetHref() == a.GetWorkload() || f.fact.GetPceWorkload().GetHref() == a.GetWorkload()
		})
		if a.GetWorkload() != "" && !known {
			out = append(out, a.GetWorkload())
		}
	}
	for _, s := range r.GetServices() {
		if s.GetHref() != "" && o.console[s.GetHref()].GetService() == nil {
			out = append(out, s.GetHref())
		}
	}
	return out
}
