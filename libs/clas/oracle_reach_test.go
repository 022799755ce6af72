package clas_test

import (
	"bytes"
	"net"
	"slices"
	"strings"

	pb "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// Sections 4.3, 5.2 and 5.3: which ports a rule names, and what it reaches on them.

// probe is what a packet asks for. For ICMP the port is the type.
type probe struct{ protocol, port, code uint32 }

// portsNamed tells whether any of the ranges names the port.
func portsNamed(ranges []*pb.PortRange, p probe) bool {
	return slices.ContainsFunc(ranges, func(r *pb.PortRange) bool { return portNamed(r, p) })
}

func portNamed(r *pb.PortRange, p probe) bool {
	switch {
	case r.GetProtocol() == -1:
		return true
	case r.GetProtocol() != int32(p.protocol):
		return false
	case p.protocol == 1 || p.protocol == 58:
		return (r.IcmpType == nil || r.GetIcmpType() == p.port) && (r.IcmpCode == nil || r.GetIcmpCode() == p.code)
	case !portful(p.protocol):
		return true
	case r.GetPort() == 0 && (r.GetToPort() == 0 || r.GetToPort() == 65535):
		return true
	}
	return r.GetPort() <= p.port && p.port <= max(r.GetPort(), r.GetToPort())
}

// portful tells whether a protocol has ports: TCP, UDP, DCCP, SCTP, UDP-Lite.
func portful(protocol uint32) bool { return slices.Contains([]uint32{6, 17, 33, 132, 136}, protocol) }

// ports gives the ranges that a rule or a virtual service names.
func (o *oracle) ports(services []*pb.IngressService) []*pb.PortRange {
	var out []*pb.PortRange
	for _, s := range services {
		if s.GetPort() != nil {
			out = append(out, s.GetPort())
		} else {
			out = append(out, o.console[s.GetHref()].GetService().GetPorts()...)
		}
	}
	return out
}

// way is how a packet came to be on the other side of a rule.
type way uint8

const (
	nowhere way = iota
	here        // at the end itself, inbound
	toPod
	toNode
	toExternal
	toAddress
	toName
	toExternalName
	toClusterIP
	toOutside
	toNodePort
	toVirtual
	toProvider
	toSlice
)

// wayNames are those of the counts that the test prints.
var wayNames = map[way]string{toPod: "pod", toNode: "node", toExternal: "external workload", toAddress: "IP list", toName: "IP list by name",
	toExternalName: "ExternalName Service", toClusterIP: "Service at its ClusterIP", toOutside: "Service at its external address",
	toNodePort: "Service at a node port", toVirtual: "virtual service at its own address", toProvider: "virtual service at a provider",
	toSlice: "virtual service at an endpoint"}

// reached tells whether the destination, an address or a DNS name, is on the provider side on the port, and how. The ranges
// are those of the rule.
func (o *oracle) reached(s side, ranges []*pb.PortRange, to string, p probe) way {
	named := portsNamed(ranges, p)
	if net.ParseIP(to) == nil {
		return o.reachedByName(s, named, to)
	}
	owner := o.owner(to).actor
	if named && owner != nil && owner.service == nil && o.has(s, owner) {
		return map[string]way{"pod": toPod, "node": toNode, "external": toExternal}[owner.kind]
	}
	if named && slices.ContainsFunc(o.ipLists(s), func(l *pb.IpList) bool { return listed(l, to) }) {
		return toAddress
	}
	for _, a := range o.actors {
		if a.service != nil && o.has(s, a) {
			if how := o.servedAt(a.service, ranges, to, p); how != nowhere {
				return how
			}
		}
	}
	for _, v := range o.virtuals(s) {
		if how := o.virtualAt(v, to, p); how != nowhere {
			return how
		}
	}
	return nowhere
}

func (o *oracle) reachedByName(s side, named bool, to string) way {
	if !named {
		return nowhere
	}
	for _, l := range o.ipLists(s) {
		if slices.ContainsFunc(l.GetFqdns(), func(pattern string) bool { return likeName(pattern, to) }) {
			return toName
		}
	}
	for _, a := range o.actors {
		if a.service.GetType() == "ExternalName" && o.has(s, a) && likeName(a.service.GetExternalName(), to) {
			return toExternalName
		}
	}
	return nowhere
}

// likeName matches a name, rune by rune.
func likeName(pattern, name string) bool {
	return likeRunes(strings.TrimSuffix(strings.ToLower(pattern), "."), strings.TrimSuffix(strings.ToLower(name), "."))
}

func likeRunes(pattern, name string) bool {
	switch {
	case pattern == "":
		return name == ""
	case pattern[0] == '*':
		return likeRunes(pattern[1:], name) || name != "" && likeRunes(pattern, name[1:])
	}
	return name != "" && pattern[0] == name[0] && likeRunes(pattern[1:], name[1:])
}

// listed tells whether an address is in an IP list.
func listed(l *pb.IpList, address string) bool {
	return inRanges(address, l.GetRanges(), false) && !inRanges(address, l.GetRanges(), true)
}

func inRanges(address string, ranges []*pb.IpRange, exclusion bool) bool {
	ip := net.ParseIP(address)
	for _, r := range ranges {
		if r.GetExclusion() != exclusion {
			continue
		}
		if _, cidr, err := net.ParseCIDR(r.GetFromIp()); err == nil {
			if cidr.Contains(ip) {
				return true
			}
			continue
		}
		from, to := net.ParseIP(r.GetFromIp()), net.ParseIP(r.GetToIp())
		if to == nil {
			to = from
		}
		if (ip.To4() == nil) == (from.To4() == nil) && bytes.Compare(from.To16(), ip.To16()) <= 0 && bytes.Compare(ip.To16(), to.To16()) <= 0 {
			return true
		}
	}
	return false
}

// servedAt tells whether a rule on the ranges, or on everything where open says so, opens the Service at the address.
func (o *oracle) servedAt(s *pb.Service, ranges []*pb.PortRange, to string, p probe) way {
	owner := o.owner(to)
	mine, atNode := owner.fact != nil && owner.fact.GetService() == s, owner.fact.GetNode() != nil && exposes(s)
	if !mine && !atNode || s.GetType() == "ExternalName" {
		return nowhere
	}
	for _, port := range s.GetPorts() {
		if port.GetProtocol() != p.protocol || !o.opens(s, port, ranges) {
			continue
		}
		switch {
		case mine && port.GetPort() == p.port && hasIP(s.GetClusterIps(), to):
			return toClusterIP
		case mine && port.GetPort() == p.port:
			return toOutside
		case atNode && port.GetNodePort() != 0 && port.GetNodePort() == p.port:
			return toNodePort
		}
	}
	return nowhere
}

// opens tells whether the ranges name a Service's port, or a port behind it.
func (o *oracle) opens(s *pb.Service, port *pb.ServicePort, ranges []*pb.PortRange) bool {
	return portsNamed(ranges, probe{protocol: port.GetProtocol(), port: port.GetPort()}) ||
		slices.ContainsFunc(o.targets(s, port), func(t uint32) bool {
			return portsNamed(ranges, probe{protocol: port.GetProtocol(), port: t})
		})
}

// virtualAt tells whether the address answers for a virtual service on the port.
func (o *oracle) virtualAt(v virtual, to string, p probe) way {
	if v.service != nil {
		if how := o.servedAt(v.service, []*pb.PortRange{{Protocol: -1}}, to, p); how != nowhere {
			return how
		}
	} else if slices.ContainsFunc(v.message.GetAddresses(), func(a *pb.VirtualServiceAddress) bool {
		return hasIP([]string{a.GetAddress()}, to) && o.answers(v, a.GetPort(), p)
	}) {
		return toVirtual
	}
	if owner := o.owner(to).actor; owner != nil && owner.service == nil && o.providedBy(v, owner) && o.virtualPort(v, p) {
		return toProvider
	}
	if v.service != nil && o.virtualPort(v, p) && slices.ContainsFunc(o.slicesOf(v.service), func(x *pb.EndpointSlice) bool {
		return hasIP(x.GetAddresses(), to)
	}) {
		return toSlice
	}
	for _, a := range o.actors {
		if v.service == nil && a.service != nil && o.providedBy(v, a) {
			if how := o.servedAt(a.service, o.ports(v.message.GetServices()), to, p); how != nowhere {
				return how
			}
		}
	}
	return nowhere
}

// answers tells whether an address of a virtual service, at a port of its own or at 0 for those of the service, answers.
func (o *oracle) answers(v virtual, port uint32, p probe) bool {
	if port == 0 {
		return o.virtualPort(v, p)
	}
	return port == p.port && portful(p.protocol) && slices.ContainsFunc(o.ports(v.message.GetServices()), func(r *pb.PortRange) bool {
		return r.GetProtocol() == -1 || r.GetProtocol() == int32(p.protocol)
	})
}

// virtualPort tells whether those that provide a virtual service provide it on the port.
func (o *oracle) virtualPort(v virtual, p probe) bool {
	if len(v.message.GetServices()) > 0 || v.service == nil {
		return portsNamed(o.ports(v.message.GetServices()), p)
	}
	return slices.ContainsFunc(v.service.GetPorts(), func(port *pb.ServicePort) bool {
		return port.GetProtocol() == p.protocol && slices.Contains(o.targets(v.service, port), p.port)
	})
}

// sent tells whether the source, an address, is on the consumer side.
func (o *oracle) sent(s side, from string) bool {
	owner := o.owner(from).actor
	if owner != nil && owner.service == nil && o.consumes(s, owner) {
		return true
	}
	if slices.ContainsFunc(o.ipLists(s), func(l *pb.IpList) bool { return listed(l, from) }) {
		return true
	}
	return slices.ContainsFunc(o.virtuals(s), func(v virtual) bool {
		return v.service != nil && slices.ContainsFunc(o.slicesOf(v.service), func(x *pb.EndpointSlice) bool {
			return hasIP(x.GetAddresses(), from)
		})
	})
}

// consumes tells whether a workload is on the consumer side, by itself or as one that provides a virtual service there.
func (o *oracle) consumes(s side, a *actor) bool {
	return o.has(s, a) || slices.ContainsFunc(o.virtuals(s), func(v virtual) bool { return o.providedBy(v, a) })
}

// admits tells whether a workload, on the provider side, provides on the port.
func (o *oracle) admits(s side, ranges []*pb.PortRange, a *actor, p probe) bool {
	return portsNamed(ranges, p) && o.has(s, a) ||
		slices.ContainsFunc(o.virtuals(s), func(v virtual) bool { return o.providedBy(v, a) && o.virtualPort(v, p) })
}
