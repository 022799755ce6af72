package clas

import (
	"fmt"
	"slices"
	"strings"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// peer is the other end as one end sees it: an address, or a name that it asked DNS for.
type peer struct {
	address addr
	name    string
}

// paths lists the ways from one end to another, at most one a family and backend.
func (e *Engine) paths(source, destination end, t target) []Path {
	if destination.name != "" {
		return e.namePaths(source, destination, t)
	}
	var out []Path
	for _, from := range source.addresses() {
		for _, to := range destination.addresses() {
			if from.is4() != to.is4() {
				continue
			}
			if destination.service != nil {
				out = append(out, e.servicePaths(source, from, destination, to, t)...)
				continue
			}
			out = append(out, e.path(source, from, destination, to, t))
		}
	}
	return out
}

func (e *Engine) path(source end, from addr, destination end, to addr, t target) Path {
	p := Path{SourceAddress: from.String(), DestinationAddress: to.String(), source: source, destination: destination, arriving: t,
		Outbound: e.outbound(source, peer{address: to}, t), Inbound: e.inbound(destination, peer{address: from}, t)}
	p.Verdict = verdict(p.Outbound, p.Inbound)
	return p
}

// namePaths leads to what a name stands for, which only the source's policy knows of.
func (e *Engine) namePaths(source, destination end, t target) []Path {
	var out []Path
	for _, from := range source.addresses() {
		p := Path{SourceAddress: from.String(), DestinationAddress: destination.name, source: source, destination: destination, arriving: t,
			Outbound: e.outbound(source, peer{name: destination.name}, t),
			Inbound:  Side{Decision: DecisionNoPolicy, Default: "a name outside of the cluster"}}
		p.Verdict = verdict(p.Outbound)
		out = append(out, p)
	}
	return out
}

func verdict(sides ...Side) Verdict {
	worst := Allowed
	for _, s := range sides {
		switch s.Decision {
		case DecisionBlocked:
			return Blocked
		case DecisionPotentiallyBlocked:
			worst = PotentiallyBlocked
		}
	}
	return worst
}

// servicePaths leads to an address of a Service and from there to each kind of backend at its own port. The backend sees the
// source as it is: the address is translated on the way.
func (e *Engine) servicePaths(source end, from addr, destination end, to addr, t target) []Path {
	outbound := e.outbound(source, peer{address: to}, t)
	var out []Path
	for _, b := range e.backendsAt(destination.service, t, to.is4()) {
		p := Path{SourceAddress: from.String(), DestinationAddress: to.String(), Backend: b.name, BackendPort: b.port, Outbound: outbound,
			source: source, destination: b.end, arriving: target{protocol: t.protocol, port: b.port}}
		p.Inbound = e.inbound(b.end, peer{address: from}, p.arriving)
		p.Verdict = verdict(p.Outbound, p.Inbound)
		out = append(out, p)
	}
	if len(out) == 0 {
		p := Path{SourceAddress: from.String(), DestinationAddress: to.String(), Outbound: outbound, source: source, destination: destination,
			arriving: t, Inbound: Side{Decision: DecisionNoPolicy, Default: "the Service has no backend on this port"}}
		p.Verdict = verdict(outbound)
		out = append(out, p)
	}
	return out
}

// backend is what answers behind a Service.
type backend struct {
	end  end
	name string
	port uint16
}

// backendsAt gives one backend of each policy behind a port of a Service.
func (e *Engine) backendsAt(v *service, t target, v4 bool) []backend {
	if len(v.message.GetSelector()) == 0 {
		return e.endpointsAt(v, t, v4)
	}
	var pods []*pod
	v.backends(func(p *pod) {
		if slices.ContainsFunc(p.addressList(), func(a addr) bool { return a.is4() == v4 }) {
			pods = append(pods, p)
		}
	})
	var out []backend
	slices.SortFunc(pods, func(a, b *pod) int { return strings.Compare(a.String(), b.String()) })
	for _, p := range pods {
		for _, port := range v.targetsOf(p, t) {
			b := backend{end{pod: p}, p.String(), port}
			if !slices.ContainsFunc(out, b.like) {
				out = append(out, b)
			}
		}
	}
	return out
}

// like tells whether another backend is decided in the same way: it has the same policy, and is asked for the same port.
func (b backend) like(other backend) bool {
	return b.port == other.port && b.end.policy() == other.end.policy() && (b.end.pod == nil || b.end.pod.node == other.end.pod.node)
}

// endpointsAt gives the addresses that the slices of a Service without a selector list.
func (e *Engine) endpointsAt(v *service, t target, v4 bool) []backend {
	var out []backend
	for _, port := range v.message.GetPorts() {
		if port.GetProtocol() != uint32(t.protocol) || port.GetPort() != uint32(t.port) {
			continue
		}
		for _, s := range v.slices() {
			for _, p := range s.message.GetPorts() {
				if p.GetName() != port.GetName() || p.GetProtocol() != port.GetProtocol() || p.GetPort() == 0 {
					continue
				}
				for _, a := range s.addresses {
					if a.is4() == v4 {
						out = append(out, backend{e.endAt(a), a.String(), uint16(p.GetPort())})
					}
				}
			}
		}
	}
	return out
}

// targetsOf gives the ports of a backend behind the Service's port.
func (v *service) targetsOf(p *pod, t target) (out []uint16) {
	for _, port := range v.message.GetPorts() {
		if port.GetProtocol() != uint32(t.protocol) || port.GetPort() != uint32(t.port) {
			continue
		}
		switch {
		case port.GetTargetPort() != 0:
			out = append(out, uint16(port.GetTargetPort()))
		case port.GetTargetPortName() == "":
			out = append(out, t.port)
		default:
			out = append(out, p.group.named(port)...)
		}
	}
	return out
}

// dnsPort is where every pod may ask for names.
const dnsPort = 53

func (e *Engine) outbound(source end, to peer, t target) Side {
	p := source.policy()
	if p == nil {
		return Side{Decision: DecisionNoPolicy, Default: source.unenforced(e)}
	}
	if (t.protocol == protocolUDP || t.protocol == protocolTCP) && t.port == dnsPort {
		return p.essential("DNS outbound is always allowed")
	}
	return e.decide(p, outbound, to, t)
}

func (e *Engine) inbound(destination end, from peer, t target) Side {
	p := destination.policy()
	if p == nil {
		return Side{Decision: DecisionNoPolicy, Default: destination.unenforced(e)}
	}
	if d := destination.pod; d != nil && !d.group.hostNetwork && d.node != nil && slices.Contains(d.node.addresses, from.address) {
		return p.essential("the pod's own node is always allowed, for probes")
	}
	return e.decide(p, inbound, from, t)
}

func (p *workloadPolicy) essential(words string) Side {
	return Side{Decision: DecisionAllowed, Kind: KindEssential, Mode: modeName(p.mode), Policy: p.text, Default: words}
}

// unenforced says why an end has no policy.
func (x end) unenforced(e *Engine) string {
	switch {
	case x.pod != nil && x.pod.group.hostNetwork:
		return "the pod shares its node's network, and the node is not managed"
	case x.node != nil:
		return "the node is not managed"
	case x.external != nil:
		return "a workload outside of the cluster"
	case x.pod == nil:
		return "not a workload of the cluster"
	case x.pod.terminal():
		return "the pod came to its end"
	case !e.profileOf(x.pod.group.ns).managed:
		return "the namespace is not managed"
	case x.pod.node == nil:
		return "the pod is on no node yet"
	}
	return "degraded mode is disabled, and the console does not know the workload"
}

// match is a rule that covers a packet at one end, with the set that the peer is in.
type match struct {
	part *part
	set  *addressSet
}

// decide evaluates one direction of a policy for a peer.
func (e *Engine) decide(p *workloadPolicy, d direction, at peer, t target) Side {
	e.compilation.gather(p)
	for kind := overrideDeny; kind < ruleKinds; kind++ {
		if m, found := e.first(e.compilation.parts[d][kind], at, t); found {
			return p.decided(m)
		}
	}
	side := Side{Mode: modeName(p.mode), Policy: p.text, Kind: KindDefault}
	side.Decision, side.Default = p.byDefault()
	return side
}

// first gives the first of the rules, by id, that covers a packet.
func (e *Engine) first(parts []*part, at peer, t target) (match, bool) {
	for _, x := range parts {
		if m, covers := e.covers(x, at, t); covers {
			return m, true
		}
	}
	return match{}, false
}

func (e *Engine) covers(x *part, at peer, t target) (match, bool) {
	for i, set := range x.sets {
		if !portsContain(x.message.Terms[i].GetPorts(), t) {
			continue
		}
		if at.name != "" && set.containsName(at.name) || at.name == "" && e.contains(set, at.address) {
			return match{x, set}, true
		}
	}
	return match{}, false
}

func portsContain(ports []*ringfencev1.PortRange, t target) bool {
	return slices.ContainsFunc(ports, func(m *ringfencev1.PortRange) bool {
		r, err := parsePort(m)
		return err == nil && r.contains(t)
	})
}

// decided says what a rule decides in the policy's mode.
func (p *workloadPolicy) decided(m match) Side {
	r := m.part.rule
	side := Side{Mode: modeName(p.mode), Policy: p.text, Kind: r.kindName(), RuleID: r.idText(), RuleHref: r.href, RuleSet: r.set.name,
		AddressSet: m.set.idText(), Decision: DecisionAllowed}
	switch {
	case r.kind == allow:
	case p.mode == visibilityOnly:
		side.Decision = DecisionPotentiallyBlocked
	default:
		side.Decision = DecisionBlocked
	}
	return side
}

// kindName says what kind of rule it is.
func (r *rule) kindName() string {
	switch {
	case r.kind == allow:
		return KindAllow
	case r.kind == overrideDeny:
		return KindOverrideDeny
	case r.set.boundary:
		return KindBoundary
	}
	return KindDeny
}

// byDefault is what the policy says of a connection that no rule names.
func (p *workloadPolicy) byDefault() (Decision, string) {
	suffix := ""
	if p.degraded != notDegraded {
		suffix = fmt.Sprintf(" (degraded mode: the console does not know the workload and cannot be reached; %s)", degradedWord(p.degraded))
	}
	switch p.mode {
	case full:
		return DecisionBlocked, "no rule allows it, and enforcement is full" + suffix
	case visibilityOnly:
		return DecisionPotentiallyBlocked, "no rule allows it; full enforcement would block it" + suffix
	case selective:
		return DecisionAllowed, "no rule names it, and selective enforcement blocks only what is denied" + suffix
	}
	return DecisionAllowed, "nothing is enforced in idle" + suffix
}

func degradedWord(d ringfencev1.DegradedPolicy) string {
	if d == degradedOpen {
		return "degradedModePolicyFail is open"
	}
	return "degradedModePolicyFail is closed"
}
