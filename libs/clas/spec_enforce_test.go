package clas_test

import (
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"

	pb "github.com/ringfence/ringfence/proto/ringfence/v1"

	"github.com/ringfence/ringfence/libs/addresses"
	"github.com/ringfence/ringfence/libs/clas"
)

// enforced compares the decisions of an explanation with those that an enforcer comes to, which knows plans, policies and
// address sets, and nothing of labels and rules. It says what is wrong, or nothing.
func (r *specRun) enforced(q clas.Query, x clas.Explanation) string {
	for _, p := range x.Paths {
		if e, known := r.enforcer(q.Source); known {
			if got := e.decides(r, true, p.DestinationAddress, q, q.Port); got != p.Outbound.Decision {
				return fmt.Sprintf("outbound %s -> %s: explain says %s, an enforcer %s", p.SourceAddress, p.DestinationAddress, p.Outbound.Decision, got)
			}
		}
		name, port := q.Destination, q.Port
		if p.Backend != "" {
			name, port = p.Backend, p.BackendPort
		}
		if e, known := r.enforcer(name); known {
			if got := e.decides(r, false, p.SourceAddress, q, port); got != p.Inbound.Decision {
				return fmt.Sprintf("inbound %s -> %s: explain says %s, an enforcer %s", p.SourceAddress, name, p.Inbound.Decision, got)
			}
		}
	}
	return ""
}

// specEnforcer is what a node knows of one end. Without a policy it has no say.
type specEnforcer struct {
	policy *pb.WorkloadPolicy
	// own are the addresses of the pod's own node, nil for the node itself.
	own []string
}

// enforcer finds the end of a name, if the name is that of one pod or node.
func (r *specRun) enforcer(name string) (specEnforcer, bool) {
	if node, ok := strings.CutPrefix(name, "node/"); ok {
		return r.nodeEnforcer(node), true
	}
	parts := strings.Split(name, "/")
	if len(parts) == 3 && strings.EqualFold(parts[1], "pod") {
		parts = []string{parts[0], parts[2]}
	}
	if len(parts) != 2 || parts[0] == "workload" {
		return specEnforcer{}, false
	}
	if node, shared := r.hostNetwork[strings.Join(parts, "/")]; shared {
		return r.nodeEnforcer(node), true
	}
	plan, pod := r.planned(strings.Join(parts, "/"))
	return specEnforcer{policy: r.policyByID(pod.GetPolicy()), own: plan.GetNodeAddresses()}, true
}

func (r *specRun) nodeEnforcer(name string) specEnforcer {
	for _, plan := range r.policy.Plans {
		if plan.GetNode() == name {
			return specEnforcer{policy: r.policyByID(plan.GetNodePolicy())}
		}
	}
	return specEnforcer{}
}

// planned finds the plan and the place in it of a pod.
func (r *specRun) planned(name string) (*pb.NodePlan, *pb.PodPlan) {
	for _, plan := range r.policy.Plans {
		for _, p := range plan.GetPods() {
			if p.GetNamespace()+"/"+p.GetName() == name {
				return plan, p
			}
		}
	}
	return nil, nil
}

func (r *specRun) policyByID(id string) *pb.WorkloadPolicy {
	for _, p := range r.policy.Policies {
		if p.GetId() == id {
			return p
		}
	}
	return nil
}

func (r *specRun) setByID(id string) *pb.AddressSet {
	for _, s := range r.policy.Sets {
		if s.GetId() == id {
			return s
		}
	}
	r.stop("a policy names the set %s, which is not there", id)
	return nil
}

// decides puts the kinds of rules in their order: essential, override deny, allow, deny, default.
func (e specEnforcer) decides(r *specRun, outbound bool, peer string, q clas.Query, port uint16) clas.Decision {
	p := e.policy
	allow, deny, override := p.GetInbound(), p.GetInboundDeny(), p.GetInboundOverrideDeny()
	if outbound {
		allow, deny, override = p.GetOutbound(), p.GetOutboundDeny(), p.GetOutboundOverrideDeny()
	}
	hit := func(rules []*pb.PolicyRule) bool { return r.anyMatches(rules, outbound, peer, q, port) }
	blocked := clas.DecisionBlocked
	if p.GetMode() == pb.EnforcementMode_ENFORCEMENT_MODE_VISIBILITY_ONLY {
		blocked = clas.DecisionPotentiallyBlocked
	}
	isDNS := outbound && q.Port == 53 && (q.Protocol == 6 || q.Protocol == 17)
	isOwnNode := !outbound && slices.Contains(e.own, peer)
	switch {
	case p == nil:
		return clas.DecisionNoPolicy
	case p.GetMode() == pb.EnforcementMode_ENFORCEMENT_MODE_IDLE, isDNS, isOwnNode:
		return clas.DecisionAllowed
	case hit(override):
		return blocked
	case hit(allow):
		return clas.DecisionAllowed
	case hit(deny):
		return blocked
	case p.GetMode() == pb.EnforcementMode_ENFORCEMENT_MODE_SELECTIVE:
		return clas.DecisionAllowed
	}
	return blocked
}

func (r *specRun) anyMatches(rules []*pb.PolicyRule, outbound bool, peer string, q clas.Query, port uint16) bool {
	for _, rule := range rules {
		for _, term := range rule.GetTerms() {
			on := func(p *pb.PortRange) bool { return portMatches(p, q, port) }
			if slices.ContainsFunc(term.GetPorts(), on) && setMatches(r.setByID(term.GetAddressSet()), outbound, peer) {
				return true
			}
		}
	}
	return false
}

func portMatches(p *pb.PortRange, q clas.Query, port uint16) bool {
	switch {
	case p.GetProtocol() == -1:
		return true
	case p.GetProtocol() != int32(q.Protocol):
		return false
	case q.Protocol == 1 || q.Protocol == 58:
		return (p.IcmpType == nil || p.GetIcmpType() == uint32(port)) && (p.IcmpCode == nil || p.GetIcmpCode() == uint32(q.ICMPCode))
	case p.GetPort() == 0:
		return true
	}
	return uint32(port) >= p.GetPort() && uint32(port) <= max(p.GetPort(), p.GetToPort())
}

// setMatches looks for an address, or for a name where an outbound connection is to one.
func setMatches(s *pb.AddressSet, outbound bool, peer string) bool {
	address, err := netip.ParseAddr(peer)
	if err != nil {
		return outbound && slices.ContainsFunc(s.GetFqdns(), func(pattern string) bool { return fqdnMatches(pattern, peer) })
	}
	for member := range addresses.All(s.GetAddresses()) {
		if member == address {
			return true
		}
	}
	return slices.ContainsFunc(s.GetPrefixes(), func(p string) bool { return netip.MustParsePrefix(p).Contains(address) })
}

// fqdnMatches lets * stand for any run of characters. Names have no slash, the only character at which path.Match stops.
func fqdnMatches(pattern, name string) bool {
	normal := func(s string) string { return strings.ToLower(strings.TrimSuffix(strings.TrimPrefix(s, "fqdn:"), ".")) }
	ok, err := path.Match(normal(pattern), normal(name))
	return err == nil && ok
}
