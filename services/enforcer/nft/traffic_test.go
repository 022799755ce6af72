package nft

import (
	"testing"

	"github.com/ringfence/ringfence/services/enforcer/datapath"
)

func TestFullAllowsWhatRulesNameAndBlocksTheRest(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	n.server.Serve(t, 8081)
	n.apply(t, datapath.Full, []datapath.Rule{allow("1", peers(t, "web", n.client), tcp(8080, 8080))}, nil)

	expect(t, n.client, n.server, "tcp", 8080, true)
	expect(t, n.client, n.server, "tcp", 8081, false)
	expect(t, n.client, n.server, "udp", 8080, false)
	expect(t, n.client, n.server, "icmp", 0, false)
	expect(t, n.intruder, n.server, "tcp", 8080, false)
	expect(t, n.server, n.client, "tcp", 8080, false)
}

func TestEssentialTrafficAlwaysPasses(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	n.client.Serve(t, 53)
	n.apply(t, datapath.Full, nil, nil)

	expect(t, n.server, n.server, "tcp", 8080, true) // its own addresses, over the loopback interface
	expect(t, n.node, n.server, "tcp", 8080, true)   // the kubelet's probes
	expect(t, n.node, n.server, "icmp", 0, true)
	expect(t, n.server, n.client, "udp", 53, true) // DNS
	expect(t, n.server, n.client, "tcp", 53, true)
	expect(t, n.server, n.client, "udp", 8080, false)
}

func TestPortsOfEveryForm(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	for _, port := range []uint16{9000, 9001, 9002, 20000, 30000, 30001} {
		n.server.Serve(t, port)
	}
	web := peers(t, "web", n.client)
	echo := datapath.Ports{Protocol: datapath.ICMP, ICMPType: 8, ICMPCode: 0}
	for _, c := range []struct {
		name  string
		ports datapath.Ports
		// reached are the TCP ports, the UDP ports, and the families of echo requests that get through.
		tcp, udp   []uint16
		icmp, v6ok bool
	}{
		{name: "short range", ports: tcp(9000, 9001), tcp: []uint16{9000, 9001}},
		{name: "long range", ports: tcp(10000, 30000), tcp: []uint16{20000, 30000}},
		{name: "any port of UDP", ports: portsOf(datapath.UDP, 0, 0), udp: []uint16{9000, 20000, 30001}},
		{name: "UDP range", ports: portsOf(datapath.UDP, 20000, 40000), udp: []uint16{20000, 30000, 30001}},
		{name: "echo requests", ports: echo, icmp: true},
		{name: "any ICMPv6", ports: portsOf(datapath.ICMPv6, 0, 0), v6ok: true},
		{name: "everything", ports: everything(), tcp: []uint16{9000, 9001, 9002, 20000, 30000, 30001},
			udp: []uint16{9000, 9001, 20000, 30000, 30001}, icmp: true, v6ok: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			n.apply(t, datapath.Full, []datapath.Rule{allow("1", web, c.ports)}, nil)
			for _, port := range []uint16{9000, 9002, 20000, 30001} {
				expect(t, n.client, n.server, "tcp", port, contains(c.tcp, port))
			}
			for _, port := range []uint16{9000, 20000, 30001} {
				expect(t, n.client, n.server, "udp", port, contains(c.udp, port))
			}
			if got := n.client.Reaches("icmp", n.server.V4, 0); got != c.icmp {
				t.Errorf("IPv4 echo: reached %t, expected %t", got, c.icmp)
			}
			if got := n.client.Reaches("icmp", n.server.V6, 0); got != c.v6ok {
				t.Errorf("IPv6 echo: reached %t, expected %t", got, c.v6ok)
			}
		})
	}
}

func contains(ports []uint16, port uint16) bool {
	for _, p := range ports {
		if p == port {
			return true
		}
	}
	return false
}

func TestPeersByRange(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	for _, c := range []struct {
		name    string
		entries []string
		client  bool
	}{
		{"around", []string{"10.9.0.0/24", "fd09::/64"}, true},
		{"beside", []string{"10.9.0.0/31", "10.9.0.4/30", "fd09::8/125"}, false},
		{"everything", []string{"0.0.0.0/0", "::/0"}, true},
		{"up to the end", []string{"128.0.0.0/1", "fe00::/7"}, false},
		{"both kinds", []string{"203.0.113.0/24", n.client.V4.String(), n.client.V6.String()}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			set := setOf(t, "list", c.entries...)
			n.apply(t, datapath.Full, []datapath.Rule{allow("1", set, tcp(8080, 8080))}, nil)
			expect(t, n.client, n.server, "tcp", 8080, c.client)
		})
	}
}

func TestOutboundRules(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	db := peers(t, "db", n.client)
	n.apply(t, datapath.Full, nil, []datapath.Rule{allow("1", db, tcp(8080, 8080), portsOf(datapath.UDP, 8000, 9000))})
	expect(t, n.server, n.client, "tcp", 8080, true)
	expect(t, n.server, n.client, "udp", 8080, true)
	expect(t, n.server, n.client, "icmp", 0, false)
	expect(t, n.server, n.intruder, "tcp", 8080, false)
	expect(t, n.client, n.server, "tcp", 8080, false)
}

func TestModesSwitchInPlace(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	rules := []datapath.Rule{allow("1", peers(t, "web", n.client), tcp(8080, 8080))}
	for _, step := range []struct {
		mode     datapath.Mode
		intruder bool
	}{
		{datapath.Idle, true}, {datapath.Full, false}, {datapath.Visibility, true}, {datapath.Full, false},
		{datapath.Selective, true}, {datapath.Full, false}, {datapath.Idle, true},
	} {
		n.apply(t, step.mode, rules, nil)
		expect(t, n.client, n.server, "tcp", 8080, true)
		expect(t, n.intruder, n.server, "tcp", 8080, step.intruder)
		expect(t, n.server, n.intruder, "tcp", 8080, step.intruder)
	}
}

func TestMembersChangeByElement(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	full := func(set *datapath.AddressSet) datapath.Change {
		return n.apply(t, datapath.Full, []datapath.Rule{allow("1", set, tcp(8080, 8080))}, nil)
	}
	if c := full(peers(t, "web", n.client)); !c.Full {
		t.Errorf("the first load was %+v, not a full one", c)
	}
	expect(t, n.intruder, n.server, "tcp", 8080, false)

	both := peers(t, "web", n.client, n.intruder)
	if c := full(both); c.Full || c.Elements != 2 {
		t.Errorf("adding a peer with two addresses was %+v", c)
	}
	expect(t, n.intruder, n.server, "tcp", 8080, true)

	if c := full(both); c.Full || c.Elements != 0 {
		t.Errorf("the same policy once more was %+v", c)
	}

	if c := full(peers(t, "web", n.intruder)); c.Full || c.Elements != 2 {
		t.Errorf("removing a peer with two addresses was %+v", c)
	}
	expect(t, n.client, n.server, "tcp", 8080, false)

	if c := full(setOf(t, "web", n.client.V4.String(), "fd09::/64")); !c.Full {
		t.Errorf("ranges where there were none was %+v, not a full load", c)
	}
	expect(t, n.client, n.server, "tcp", 8080, true)
	if c := full(setOf(t, "web", n.client.V4.String(), "fd0a::/64")); c.Full {
		t.Errorf("other ranges was %+v, a full load", c)
	}
	if n.client.Reaches("tcp", n.server.V6, 8080) {
		t.Error("a range was not taken out")
	}
}

func TestEstablishedConnectionsSurviveChanges(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	web := peers(t, "web", n.client)
	n.apply(t, datapath.Full, []datapath.Rule{allow("1", web, tcp(8080, 8080))}, nil)
	c := n.client.Dial(t, n.server.V4, 8080)
	for i := range 5 {
		n.apply(t, datapath.Full, []datapath.Rule{allow("1", web, tcp(8080, 8080+uint32(i)))}, nil)
		c.RoundTrip(t)
	}
}
