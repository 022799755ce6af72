package flowlog_test

import (
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ringfence/ringfence/services/enforcer/datapath"
	"github.com/ringfence/ringfence/services/enforcer/flowlog"
	"github.com/ringfence/ringfence/services/enforcer/internal/netnstest"
	"github.com/ringfence/ringfence/services/enforcer/nft"
	"github.com/ringfence/ringfence/services/enforcer/podnetns"
)

// TestEveryPacketIsSeenOrCounted sends a flood of packets that a rule reports. Each must come as an event or be counted as
// lost: the report may be incomplete, never silently.
func TestEveryPacketIsSeenOrCounted(t *testing.T) {
	network := netnstest.NewNetwork(t, "server", "client")
	server, client := network.Pods[0], network.Pods[1]
	ns, err := podnetns.Open(podnetns.Hosts{}, server.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ns.Close() }()
	program(t, ns)
	bindSilently(t, server)
	reader, err := flowlog.Open(ns, nft.Group)
	if err != nil {
		t.Fatal(err)
	}
	var seen, lost atomic.Uint64
	ended := make(chan error, 1)
	go func() {
		ended <- reader.Run(func(e flowlog.Event) {
			if e.Port == 7 && e.Rule == "flood" && e.Destination == server.V4 {
				seen.Add(1)
			}
		}, func(n uint64) { lost.Add(n) })
	}()
	if _, err := flowlog.Open(ns, nft.Group); err == nil {
		t.Error("two readers are bound to the same group")
	}

	const packets = 30_000
	flood(t, client, server.V4, packets)
	for range 500 {
		if seen.Load()+lost.Load() >= packets {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Logf("%d packets: %d seen, %d counted as lost", packets, seen.Load(), lost.Load())
	if seen.Load()+lost.Load() != packets {
		t.Errorf("%d packets: %d seen, %d counted as lost", packets, seen.Load(), lost.Load())
	}
	if err := reader.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("the reader ended with %v", err)
	}
}

// program reports UDP packets to port 7 as allowed by a rule.
func program(t *testing.T, ns *podnetns.Handle) {
	t.Helper()
	guard, err := nft.Backend{}.Attach(ns)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = guard.Close() })
	anyone, err := datapath.NewAddressSet("anyone", nil, []string{"0.0.0.0/0"})
	if err != nil {
		t.Fatal(err)
	}
	node, err := datapath.NewAddressSet("node", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	echo := datapath.Ports{Protocol: datapath.UDP, From: 7, To: 7, ICMPType: datapath.AnyICMP, ICMPCode: datapath.AnyICMP}
	rule := datapath.Rule{ID: "flood", Terms: []datapath.Term{{Peers: anyone, Ports: []datapath.Ports{echo}}}}
	if _, err := guard.Apply(datapath.Policy{Mode: datapath.Full, Node: node, Inbound: []datapath.Rule{rule}}); err != nil {
		t.Fatal(err)
	}
}

// bindSilently takes port 7 and never answers, not even with an ICMP error: conntrack calls every packet to it new.
func bindSilently(t *testing.T, n *netnstest.Namespace) {
	t.Helper()
	n.Do(t, func() error {
		c, err := net.ListenPacket("udp4", ":7")
		if err != nil {
			return err
		}
		t.Cleanup(func() { _ = c.Close() })
		return nil
	})
}

// flood sends packets as fast as it goes.
func flood(t *testing.T, from *netnstest.Namespace, to netip.Addr, packets int) {
	t.Helper()
	from.Do(t, func() error {
		c, err := net.Dial("udp4", netip.AddrPortFrom(to, 7).String())
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }()
		for range packets {
			if _, err := c.Write([]byte("x")); err != nil {
				return err
			}
		}
		return nil
	})
}
