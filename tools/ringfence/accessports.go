package ringfence

import (
	"cmp"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/ringfence/ringfence/libs/clas"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

const (
	tcp     = 6
	maxPort = 65535
	echo    = 8
	echoV6  = 128
)

// span is a run of ports of one protocol, both included.
type span struct {
	protocol int32
	from, to uint32
}

// spanOf gives the ports of a range; ok is false for what has no ports.
func spanOf(r *ringfencev1.PortRange) (s span, ok bool) {
	p := r.GetProtocol()
	if p < 0 || p == ICMP || p == ICMPv6 {
		return span{}, false
	}
	s = span{protocol: p, from: r.GetPort(), to: max(r.GetPort(), r.GetToPort())}
	if s.to == 0 {
		s.to = maxPort
	}
	return s, true
}

func (s span) message() *ringfencev1.PortRange {
	m := &ringfencev1.PortRange{Protocol: s.protocol, Port: s.from}
	if s.to > s.from && s != (span{s.protocol, 0, maxPort}) {
		m.ToPort = s.to
	}
	return m
}

// splitPorts cuts ranges where others begin and end, so that one port of each piece answers for all of it. Pieces come once, by
// protocol and port, and what has no ports last.
func splitPorts(ranges, cuts []*ringfencev1.PortRange) (out []*ringfencev1.PortRange) {
	bounds := map[int32][]uint32{}
	for _, r := range slices.Concat(ranges, cuts) {
		if s, ok := spanOf(r); ok {
			bounds[s.protocol] = append(bounds[s.protocol], s.from, s.to+1)
		}
	}
	for protocol, list := range bounds {
		slices.Sort(list)
		bounds[protocol] = slices.Compact(list)
	}
	pieces := map[span]bool{}
	for _, r := range ranges {
		s, ok := spanOf(r)
		if !ok {
			if !slices.ContainsFunc(out, func(other *ringfencev1.PortRange) bool { return proto.Equal(other, r) }) {
				out = append(out, r)
			}
			continue
		}
		list := bounds[s.protocol]
		for i := 0; i+1 < len(list); i++ {
			if list[i] >= s.from && list[i+1]-1 <= s.to {
				pieces[span{s.protocol, list[i], list[i+1] - 1}] = true
			}
		}
	}
	sorted := make([]span, 0, len(pieces))
	for s := range pieces {
		sorted = append(sorted, s)
	}
	slices.SortFunc(sorted, func(a, b span) int { return cmp.Or(cmp.Compare(a.protocol, b.protocol), cmp.Compare(a.from, b.from)) })
	messages := make([]*ringfencev1.PortRange, 0, len(sorted)+len(out))
	for _, s := range sorted {
		messages = append(messages, s.message())
	}
	return append(messages, out...)
}

// queryOn asks about the first port of a range. For all services that is the last of TCP, which rules rarely name.
func queryOn(source, destination string, r *ringfencev1.PortRange) clas.Query {
	q := clas.Query{Source: source, Destination: destination, Protocol: tcp, Port: maxPort}
	switch p := r.GetProtocol(); {
	case p < 0:
	case p == ICMP || p == ICMPv6:
		q.Protocol, q.Port, q.ICMPCode = uint8(p), echo, uint8(r.GetIcmpCode()) //nolint:gosec // bounded by the engine
		if p == ICMPv6 {
			q.Port = echoV6
		}
		if r.IcmpType != nil {
			q.Port = uint16(r.GetIcmpType()) //nolint:gosec // bounded by the engine
		}
	default:
		q.Protocol, q.Port = uint8(p), uint16(r.GetPort()) //nolint:gosec // bounded by the engine
	}
	return q
}
