package clas

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// IANA protocol numbers that carry more than themselves.
const (
	protocolICMP    = 1
	protocolTCP     = 6
	protocolUDP     = 17
	protocolDCCP    = 33
	protocolICMPv6  = 58
	protocolSCTP    = 132
	protocolUDPLite = 136

	anyProtocol = -1
	maxPort     = 65535
	// anyICMP stands for every type or every code.
	anyICMP = -1
)

// portRange is one canonical element of a portSet. A range of ports has from >= 1; from 0 stands for the whole protocol.
type portRange struct {
	protocol int32
	from, to uint32
	icmpType int32
	icmpCode int32
}

// portSet is a canonical set of ports: merged, sorted, equal sets have equal keys. The zero value matches nothing.
type portSet struct {
	ranges []portRange
	// key is the set in words, one to one with its content.
	key string
	// messages are the set as policies carry it.
	messages []*ringfencev1.PortRange
}

func hasPorts(protocol int32) bool {
	switch protocol {
	case protocolTCP, protocolUDP, protocolDCCP, protocolSCTP, protocolUDPLite:
		return true
	}
	return false
}

func isICMP(protocol int32) bool { return protocol == protocolICMP || protocol == protocolICMPv6 }

// parsePort checks one range of the console. 0 to 65535 is every port, and 0 to n is 1 to n: port 0 does not exist on a
// wire.
func parsePort(p *ringfencev1.PortRange) (portRange, error) {
	r := portRange{protocol: p.GetProtocol(), icmpType: anyICMP, icmpCode: anyICMP}
	if r.protocol == anyProtocol {
		return r, nil
	}
	if r.protocol < 1 || r.protocol > 255 {
		return r, fmt.Errorf("protocol: %d is neither -1 nor 1 to 255", r.protocol)
	}
	if p.IcmpType != nil || p.IcmpCode != nil {
		return parseICMP(r, p)
	}
	if !hasPorts(r.protocol) {
		return r, nil
	}
	return parseRange(r, p.GetPort(), p.GetToPort())
}

func parseICMP(r portRange, p *ringfencev1.PortRange) (portRange, error) {
	switch {
	case !isICMP(r.protocol):
		return r, fmt.Errorf("icmp_type: protocol %d has none", r.protocol)
	case p.IcmpType == nil:
		return r, fmt.Errorf("icmp_code: %d without an icmp_type", p.GetIcmpCode())
	case p.GetIcmpType() > 255:
		return r, fmt.Errorf("icmp_type: %d is above 255", p.GetIcmpType())
	case p.GetIcmpCode() > 255:
		return r, fmt.Errorf("icmp_code: %d is above 255", p.GetIcmpCode())
	}
	r.icmpType = int32(p.GetIcmpType())
	if p.IcmpCode != nil {
		r.icmpCode = int32(p.GetIcmpCode())
	}
	return r, nil
}

func parseRange(r portRange, from, to uint32) (portRange, error) {
	switch {
	case from > maxPort:
		return r, fmt.Errorf("port: %d is above 65535", from)
	case to > maxPort:
		return r, fmt.Errorf("to_port: %d is above 65535", to)
	case to != 0 && to < from:
		return r, fmt.Errorf("to_port: %d is below port %d", to, from)
	case from == 0 && (to == 0 || to == maxPort):
		return r, nil
	}
	r.from, r.to = max(from, 1), max(from, to)
	return r, nil
}

// newPortSet merges ranges into their canonical form.
func newPortSet(in []portRange) portSet {
	if slices.ContainsFunc(in, func(r portRange) bool { return r.protocol == anyProtocol }) {
		in = []portRange{{protocol: anyProtocol, icmpType: anyICMP, icmpCode: anyICMP}}
	}
	sorted := slices.SortedFunc(slices.Values(in), comparePorts)
	var merged []portRange
	for _, r := range sorted {
		if n := len(merged); n > 0 && merged[n-1].absorb(r) {
			continue
		}
		merged = append(merged, r)
	}
	var key strings.Builder
	for i, r := range merged {
		if i > 0 {
			key.WriteString(", ")
		}
		key.WriteString(r.String())
	}
	s := portSet{ranges: merged, key: key.String(), messages: make([]*ringfencev1.PortRange, len(merged))}
	for i, r := range merged {
		s.messages[i] = r.message()
	}
	return s
}

// comparePorts sorts so that whatever absorbs a range comes before it.
func comparePorts(a, b portRange) int {
	return cmp.Or(cmp.Compare(a.protocol, b.protocol), cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to),
		cmp.Compare(a.icmpType, b.icmpType), cmp.Compare(a.icmpCode, b.icmpCode))
}

// absorb extends r by next, which does not sort before r, and reports whether r covers both now.
func (r *portRange) absorb(next portRange) bool {
	switch {
	case r.protocol != next.protocol:
		return false
	case isICMP(r.protocol):
		return r.icmpType == anyICMP || r.icmpType == next.icmpType && (r.icmpCode == anyICMP || r.icmpCode == next.icmpCode)
	case r.from == 0:
		return true
	case next.from > r.to+1:
		return false
	}
	r.to = max(r.to, next.to)
	return true
}

func (s portSet) empty() bool { return len(s.ranges) == 0 }

// target is what a packet is for: a destination port, or the type and code of ICMP.
type target struct {
	protocol uint8
	port     uint16
	code     uint8
}

// contains tells whether the set covers a target.
func (s portSet) contains(t target) bool {
	return slices.ContainsFunc(s.ranges, func(r portRange) bool { return r.contains(t) })
}

func (r portRange) contains(t target) bool {
	switch {
	case r.protocol == anyProtocol:
		return true
	case r.protocol != int32(t.protocol):
		return false
	case isICMP(r.protocol):
		return r.icmpType == anyICMP || r.icmpType == int32(t.port) && (r.icmpCode == anyICMP || r.icmpCode == int32(t.code))
	}
	return r.from == 0 || r.from <= uint32(t.port) && uint32(t.port) <= r.to
}

// reaches tells whether a rule on the ports opens a Service's port: it names the port or a target behind it.
func (s portSet) reaches(port servicePort) bool {
	return s.contains(target{protocol: port.protocol, port: port.port}) ||
		slices.ContainsFunc(port.targets, func(t uint16) bool { return s.contains(target{protocol: port.protocol, port: t}) })
}

// onePort is the set of a single port.
func onePort(protocol uint8, port uint16) portRange {
	return portRange{protocol: int32(protocol), from: uint32(port), to: uint32(port), icmpType: anyICMP, icmpCode: anyICMP}
}

// allServicePorts matches everything.
var allServicePorts = newPortSet([]portRange{{protocol: anyProtocol, icmpType: anyICMP, icmpCode: anyICMP}})

// union covers what either covers.
func (s portSet) union(t portSet) portSet {
	return newPortSet(slices.Concat(s.ranges, t.ranges))
}

// message is the set as policies carry it. It is shared.
func (s portSet) message() []*ringfencev1.PortRange { return s.messages }

func (r portRange) message() *ringfencev1.PortRange {
	m := &ringfencev1.PortRange{Protocol: r.protocol, Port: r.from}
	if r.to > r.from {
		m.ToPort = r.to
	}
	if r.icmpType != anyICMP {
		m.IcmpType = new(uint32(r.icmpType))
	}
	if r.icmpCode != anyICMP {
		m.IcmpCode = new(uint32(r.icmpCode))
	}
	return m
}

// String is the range in words: tcp/80, tcp/80-90, udp, icmp/8, all services.
func (r portRange) String() string {
	name := protocolName(r.protocol)
	switch {
	case r.protocol == anyProtocol:
		return "all services"
	case r.icmpType != anyICMP && r.icmpCode != anyICMP:
		return fmt.Sprintf("%s/%d code %d", name, r.icmpType, r.icmpCode)
	case r.icmpType != anyICMP:
		return fmt.Sprintf("%s/%d", name, r.icmpType)
	case r.from == 0:
		return name
	case r.to > r.from:
		return fmt.Sprintf("%s/%d-%d", name, r.from, r.to)
	}
	return fmt.Sprintf("%s/%d", name, r.from)
}

func protocolName(protocol int32) string {
	switch protocol {
	case protocolICMP:
		return "icmp"
	case protocolTCP:
		return "tcp"
	case protocolUDP:
		return "udp"
	case protocolICMPv6:
		return "icmpv6"
	case protocolSCTP:
		return "sctp"
	}
	return fmt.Sprintf("protocol %d", protocol)
}

// portTable shares equal port sets among rules.
type portTable struct{ byKey map[string]*portSet }

// sharedPorts bounds the table. Beyond it, it begins anew: to share is a matter of memory alone.
const sharedPorts = 1 << 14

func (t *portTable) share(s portSet) *portSet {
	if have := t.byKey[s.key]; have != nil {
		return have
	}
	if t.byKey == nil || len(t.byKey) >= sharedPorts {
		t.byKey = map[string]*portSet{}
	}
	t.byKey[s.key] = &s
	return &s
}
