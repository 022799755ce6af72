package nft

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ringfence/ringfence/services/enforcer/datapath"
	"github.com/ringfence/ringfence/services/enforcer/internal/netnstest"
)

// counter is a UDP port that counts what arrives.
type counter struct {
	conn net.PacketConn
	n    atomic.Int64
}

func count(t testing.TB, n *netnstest.Namespace, port uint16) *counter {
	t.Helper()
	c := &counter{}
	n.Do(t, func() (err error) {
		c.conn, err = net.ListenPacket("udp4", fmt.Sprintf(":%d", port))
		if err != nil {
			return err
		}
		return c.conn.(*net.UDPConn).SetReadBuffer(8 << 20)
	})
	t.Cleanup(func() { _ = c.conn.Close() })
	go func() {
		buf := make([]byte, 64)
		for {
			if _, _, err := c.conn.ReadFrom(buf); err != nil {
				return
			}
			c.n.Add(1)
		}
	}()
	return c
}

// prober sends packets, each of a new connection for conntrack, from as many sockets as there are ports to send from.
// The receiver never answers, so that no connection becomes established and the rules decide on every packet.
type prober struct {
	conns []net.Conn
	sent  int
}

func newProber(t testing.TB, n *netnstest.Namespace, to netip.Addr, port uint16) *prober {
	t.Helper()
	p := &prober{}
	n.Do(t, func() error {
		for range 64 {
			c, err := net.Dial("udp4", netip.AddrPortFrom(to, port).String())
			if err != nil {
				return err
			}
			t.Cleanup(func() { _ = c.Close() })
			p.conns = append(p.conns, c)
		}
		return nil
	})
	return p
}

func (p *prober) send(t testing.TB) {
	if _, err := p.conns[p.sent%len(p.conns)].Write([]byte("probe")); err != nil {
		t.Errorf("send probe %d: %v", p.sent, err)
	}
	p.sent++
}

// stream sends from all probers in turn until the returned function is called, which the test's end does too.
func stream(t testing.TB, probers ...*prober) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			for _, p := range probers {
				p.send(t)
			}
			time.Sleep(50 * time.Microsecond) // the receiver must keep up, or its buffer would lose packets
		}
	}()
	stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(stop)
	return stop
}

// TestSwapNeitherLeaksNorDrops swaps whole policies and modes' rules under a stream of packets: every allowed packet
// arrives and no denied one does, while chains, sets and verdict maps are flushed and refilled.
func TestSwapNeitherLeaksNorDrops(t *testing.T) {
	n := newNetwork(t)
	allowedPort, deniedPort := count(t, n.server, 7001), count(t, n.server, 7002)
	policies := swapPolicies(t, n)
	apply(t, n.guard, policies[0])

	good, bad := newProber(t, n.client, n.server.V4, 7001), newProber(t, n.client, n.server.V4, 7002)
	stop := stream(t, good, bad)
	swaps := 0
	for end := time.Now().Add(8 * time.Second); time.Now().Before(end); swaps++ {
		if c := apply(t, n.guard, policies[(swaps+1)%len(policies)]); !c.Full {
			t.Fatalf("swap %d was %+v, not a full one", swaps, c)
		}
	}
	stop()
	settle(allowedPort, int64(good.sent))
	t.Logf("%d swaps; allowed: %d sent, %d arrived; denied: %d sent, %d arrived",
		swaps, good.sent, allowedPort.n.Load(), bad.sent, deniedPort.n.Load())
	if swaps < 10 || good.sent < 1000 {
		t.Errorf("only %d swaps and %d packets: the test shows nothing", swaps, good.sent)
	}
	if lost := int64(good.sent) - allowedPort.n.Load(); lost != 0 {
		t.Errorf("%d allowed packets were dropped", lost)
	}
	if leaked := deniedPort.n.Load(); leaked != 0 {
		t.Errorf("%d denied packets leaked", leaked)
	}
}

// swapPolicies differ in chains, ports and sets, and agree on port 7001 from the client.
func swapPolicies(t testing.TB, n *network) []datapath.Policy {
	udp := portsOf(datapath.UDP, 7001, 7001)
	var policies []datapath.Policy
	for i := range 3 {
		others := make([]string, 0, 1000)
		for j := range 1000 {
			others = append(others, fmt.Sprintf("10.%d.%d.%d", 20+i, j/250, j%250))
		}
		web := setOf(t, "web", append(others, n.client.V4.String())...)
		extra := setOf(t, fmt.Sprintf("extra%d", i), others...)
		policies = append(policies, datapath.Policy{Mode: datapath.Full, Node: n.nodeSet, Inbound: []datapath.Rule{
			allow("1", web, udp),
			allow(fmt.Sprintf("x%d", i), extra, tcp(uint32(100+i), uint32(110+i)), portsOf(datapath.UDP, 10000, uint32(20000+i))),
		}})
	}
	return policies
}

// settle waits for packets that are still in the socket.
func settle(c *counter, want int64) {
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end) && c.n.Load() < want; {
		time.Sleep(10 * time.Millisecond)
	}
}
