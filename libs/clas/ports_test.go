package clas

import (
	"testing"

	pb "github.com/ringfence/ringfence/proto/ringfence/v1"
)

func portsOf(t *testing.T, in ...*pb.PortRange) portSet {
	t.Helper()
	var ranges []portRange
	for _, m := range in {
		r, err := parsePort(m)
		if err != nil {
			t.Fatal(err)
		}
		ranges = append(ranges, r)
	}
	return newPortSet(ranges)
}

func TestPortsAreMergedAndSorted(t *testing.T) {
	tcp := func(from, to uint32) *pb.PortRange { return &pb.PortRange{Protocol: 6, Port: from, ToPort: to} }
	udp := func(from, to uint32) *pb.PortRange { return &pb.PortRange{Protocol: 17, Port: from, ToPort: to} }
	icmp := func(values ...uint32) *pb.PortRange {
		m := &pb.PortRange{Protocol: 1}
		if len(values) > 0 {
			m.IcmpType = &values[0]
		}
		if len(values) > 1 {
			m.IcmpCode = &values[1]
		}
		return m
	}
	cases := []struct {
		in   []*pb.PortRange
		want string
	}{
		{nil, ""},
		{[]*pb.PortRange{tcp(80, 0)}, "tcp/80"},
		{[]*pb.PortRange{tcp(80, 80)}, "tcp/80"},
		{[]*pb.PortRange{udp(53, 0), tcp(443, 0), tcp(80, 0), tcp(80, 0)}, "tcp/80, tcp/443, udp/53"},
		{[]*pb.PortRange{tcp(80, 90), tcp(85, 99), tcp(100, 0)}, "tcp/80-100"},
		{[]*pb.PortRange{tcp(80, 90), tcp(92, 99)}, "tcp/80-90, tcp/92-99"},
		{[]*pb.PortRange{tcp(80, 90), tcp(82, 83)}, "tcp/80-90"},
		{[]*pb.PortRange{tcp(80, 90), tcp(0, 0), udp(1, 0)}, "tcp, udp/1"},
		{[]*pb.PortRange{tcp(0, 65535)}, "tcp"},
		{[]*pb.PortRange{tcp(0, 1023)}, "tcp/1-1023"},
		{[]*pb.PortRange{tcp(1, 65535)}, "tcp/1-65535"},
		{[]*pb.PortRange{tcp(1, 0), {Protocol: -1}, icmp(8)}, "all services"},
		{[]*pb.PortRange{icmp(8, 0), icmp(8), icmp(3, 4), icmp(3, 1)}, "icmp/3 code 1, icmp/3 code 4, icmp/8"},
		{[]*pb.PortRange{icmp(8, 0), icmp()}, "icmp"},
		{[]*pb.PortRange{{Protocol: 58, Port: 7}, {Protocol: 132, Port: 5}}, "icmpv6, sctp/5"},
		{[]*pb.PortRange{{Protocol: 47, Port: 7}, {Protocol: 47}}, "protocol 47"},
	}
	for _, c := range cases {
		set := portsOf(t, c.in...)
		if set.key != c.want {
			t.Errorf("%v: %q, want %q", c.in, set.key, c.want)
		}
		if again := portsOf(t, set.message()...); again.key != set.key {
			t.Errorf("%v: %q after a round trip", c.in, again.key)
		}
		if set.union(set).key != set.key || set.union(portSet{}).key != set.key {
			t.Errorf("%v: a union with itself or nothing changes it", c.in)
		}
	}
}

func TestPortsContain(t *testing.T) {
	eight, zero, one := uint32(8), uint32(0), uint32(1)
	cases := []struct {
		in       *pb.PortRange
		protocol uint8
		port     uint16
		want     bool
	}{
		{&pb.PortRange{Protocol: -1}, 47, 0, true},
		{&pb.PortRange{Protocol: 6, Port: 80}, 6, 80, true},
		{&pb.PortRange{Protocol: 6, Port: 80}, 6, 81, false},
		{&pb.PortRange{Protocol: 6, Port: 80}, 17, 80, false},
		{&pb.PortRange{Protocol: 6, Port: 80, ToPort: 82}, 6, 82, true},
		{&pb.PortRange{Protocol: 6, Port: 80, ToPort: 82}, 6, 83, false},
		{&pb.PortRange{Protocol: 6}, 6, 65535, true},
		{&pb.PortRange{Protocol: 1}, 1, 13, true},
		{&pb.PortRange{Protocol: 1, IcmpType: &eight}, 1, 8, true},
		{&pb.PortRange{Protocol: 1, IcmpType: &eight}, 1, 0, false},
		{&pb.PortRange{Protocol: 1, IcmpType: &eight, IcmpCode: &zero}, 1, 8, true},
		{&pb.PortRange{Protocol: 1, IcmpType: &eight, IcmpCode: &one}, 1, 8, false},
	}
	for _, c := range cases {
		if got := portsOf(t, c.in).contains(target{protocol: c.protocol, port: c.port}); got != c.want {
			t.Errorf("%v contains %d/%d: %v", c.in, c.protocol, c.port, got)
		}
	}
}

func TestProtocolsHaveNames(t *testing.T) {
	for protocol, want := range map[int32]string{1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6", 132: "sctp", 47: "protocol 47"} {
		if got := protocolName(protocol); got != want {
			t.Errorf("%d: %s", protocol, got)
		}
	}
}
