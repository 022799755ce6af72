package netnstest

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// patience is how long a probe waits for its answer. Blocked packets are dropped, so every blocked probe costs this.
const patience = 400 * time.Millisecond

// Serve sends back what comes in over TCP and UDP, on a port of all addresses.
func (n *Namespace) Serve(t testing.TB, port uint16) {
	t.Helper()
	n.Do(t, func() error {
		tcp, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
		if err != nil {
			return err
		}
		t.Cleanup(func() { _ = tcp.Close() })
		udp, err := net.ListenPacket("udp", fmt.Sprintf(":%d", port))
		if err != nil {
			return err
		}
		t.Cleanup(func() { _ = udp.Close() })
		go acceptAll(tcp)
		go echoAll(udp)
		return nil
	})
}

func acceptAll(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			_, _ = io.Copy(c, c)
			_ = c.Close()
		}()
	}
}

func echoAll(c net.PacketConn) {
	buf := make([]byte, 2048)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		_, _ = c.WriteTo(buf[:n], from)
	}
}

// Reaches tells whether a probe from the namespace is answered: by protocol "tcp", "udp" or "icmp" (echo; the port then
// does not matter).
func (n *Namespace) Reaches(protocol string, to netip.Addr, port uint16) bool {
	err := n.Try(func() error {
		if protocol == "icmp" {
			return ping(to)
		}
		return call(protocol, netip.AddrPortFrom(to, port))
	})
	return err == nil
}

func call(protocol string, to netip.AddrPort) error {
	c, err := net.DialTimeout(protocol, to.String(), patience)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	if protocol == "tcp" {
		return nil
	}
	if _, err := c.Write([]byte("hello")); err != nil {
		return err
	}
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err = c.Read(make([]byte, 64))
	return err
}

// pings gives every echo an id of its own: for conntrack, equal ids are the same connection.
var pings atomic.Uint32

func ping(to netip.Addr) error {
	network, protocol := "ip4:icmp", 1
	var request, reply icmp.Type = ipv4.ICMPTypeEcho, ipv4.ICMPTypeEchoReply
	if to.Is6() {
		network, protocol = "ip6:ipv6-icmp", 58
		request, reply = ipv6.ICMPTypeEchoRequest, ipv6.ICMPTypeEchoReply
	}
	c, err := net.ListenPacket(network, "")
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	id := int(pings.Add(1)) & 0xffff
	message := icmp.Message{Type: request, Body: &icmp.Echo{ID: id, Seq: 1, Data: []byte("hello")}}
	data, err := message.Marshal(nil)
	if err != nil {
		return err
	}
	if _, err := c.WriteTo(data, &net.IPAddr{IP: to.AsSlice()}); err != nil {
		return err
	}
	return awaitReply(c, protocol, reply)
}

func awaitReply(c net.PacketConn, protocol int, reply icmp.Type) error {
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	buf := make([]byte, 1500)
	for {
		n, _, err := c.ReadFrom(buf)
		if err != nil {
			return err
		}
		if m, err := icmp.ParseMessage(protocol, buf[:n]); err == nil && m.Type == reply {
			return nil
		}
	}
}

// Conn is an established TCP connection to a port of [Namespace.Serve].
type Conn struct{ net.Conn }

// Dial connects to a port that serves and keeps the connection until the test ends.
func (n *Namespace) Dial(t testing.TB, to netip.Addr, port uint16) Conn {
	t.Helper()
	var c Conn
	n.Do(t, func() (err error) {
		c.Conn, err = net.DialTimeout("tcp", netip.AddrPortFrom(to, port).String(), 5*time.Second)
		return err
	})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// RoundTrip sends a byte and waits for it to come back.
func (c Conn) RoundTrip(t testing.TB) {
	t.Helper()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte{1}); err != nil {
		t.Fatalf("write to an established connection: %v", err)
	}
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Fatalf("read from an established connection: %v", err)
	}
}

// warmUp waits until the pods reach the node and each other: a bridge forwards only a moment after its ports are up, and
// the first packets of a probe must not be lost to that.
func (n *Network) warmUp(t testing.TB) {
	t.Helper()
	for i, from := range n.Pods {
		for _, to := range append([]*Namespace{n.Node}, n.Pods[i+1:]...) {
			from.awaitEcho(t, to.V4)
			from.awaitEcho(t, to.V6)
		}
	}
}

func (n *Namespace) awaitEcho(t testing.TB, to netip.Addr) {
	t.Helper()
	for range 50 {
		if n.Reaches("icmp", to, 0) {
			return
		}
	}
	t.Fatalf("%s does not reach %s in a new network without any rule", n.Name, to)
}
