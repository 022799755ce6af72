package flowlog

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// attribute encodes a netlink attribute.
func attribute(kind uint16, value []byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(unix.NLA_HDRLEN+len(value)))
	b = append(binary.NativeEndian.AppendUint16(b, kind), value...)
	return append(b, make([]byte, align(len(value))-len(value))...)
}

// message encodes an NFLOG message with its netlink header.
func message(hook byte, sequence uint32, prefix string, payload []byte) []byte {
	body := make([]byte, nfgenBytes)
	body = append(body, attribute(attrPacketHeader, []byte{8, 0, hook, 0})...)
	body = append(body, attribute(attrSequence, binary.BigEndian.AppendUint32(nil, sequence))...)
	body = append(body, attribute(attrPrefix, []byte(prefix+"\x00"))...)
	body = append(body, attribute(attrPayload, payload)...)
	head := binary.NativeEndian.AppendUint32(nil, uint32(unix.NLMSG_HDRLEN+len(body)))
	head = binary.NativeEndian.AppendUint16(head, messagePacket)
	return append(append(head, make([]byte, 10)...), body...)
}

var (
	source4      = netip.MustParseAddr("10.1.2.3")
	destination4 = netip.MustParseAddr("10.4.5.6")
	source6      = netip.MustParseAddr("fd00::3")
	destination6 = netip.MustParseAddr("fd00::6")
)

// ipv4 is a header without options, with a fragment offset in units of 8 bytes.
func ipv4(protocol byte, offset uint16, transport ...byte) []byte {
	h := make([]byte, 20)
	h[0], h[9] = 0x45, protocol
	binary.BigEndian.PutUint16(h[6:], offset)
	copy(h[12:], source4.AsSlice())
	copy(h[16:], destination4.AsSlice())
	return append(h, transport...)
}

func ipv6(next byte, rest ...byte) []byte {
	h := make([]byte, 40)
	h[0], h[6] = 0x60, next
	copy(h[8:], source6.AsSlice())
	copy(h[24:], destination6.AsSlice())
	return append(h, rest...)
}

var toPort80 = []byte{0x30, 0x39, 0, 80}

func TestHeaders(t *testing.T) {
	hopByHop := append([]byte{6, 0, 0, 0, 0, 0, 0, 0}, toPort80...)
	lateFragment := append([]byte{6, 0, 0, 8, 0, 0, 0, 0}, toPort80...)
	for _, c := range []struct {
		name     string
		data     []byte
		protocol uint8
		port     uint16
	}{
		{"TCP", ipv4(6, 0, toPort80...), 6, 80},
		{"UDP cut off", ipv4(17, 0, 0x30), 17, 0},
		{"ICMP echo", ipv4(1, 0, 8, 0), 1, 8},
		{"GRE", ipv4(47, 0, toPort80...), 47, 0},
		{"later fragment", ipv4(6, 5, toPort80...), 6, 0},
		{"IPv6 UDP", ipv6(17, toPort80...), 17, 80},
		{"ICMPv6", ipv6(58, 128, 0, 0, 0), 58, 128},
		{"hop by hop", ipv6(0, hopByHop...), 6, 80},
		{"IPv6 later fragment", ipv6(44, lateFragment...), 44, 0},
		{"extension cut off", ipv6(0, 6, 9, 0, 0), 0, 0},
		{"nothing behind", ipv6(6), 6, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var e Event
			if err := e.readHeaders(c.data); err != nil {
				t.Fatal(err)
			}
			if e.Protocol != c.protocol || e.Port != c.port {
				t.Errorf("protocol %d port %d, expected %d and %d", e.Protocol, e.Port, c.protocol, c.port)
			}
			if e.Source != source4 && e.Source != source6 || e.Destination != destination4 && e.Destination != destination6 {
				t.Errorf("addresses %s and %s", e.Source, e.Destination)
			}
		})
	}
}

func TestDatagram(t *testing.T) {
	var events []Event
	var lost uint64
	r := &Reader{}
	read := func(data []byte) {
		r.readDatagram(data, func(e Event) { events = append(events, e) }, func(n uint64) { lost += n })
	}
	packet := ipv4(6, 0, toPort80...)
	read(append(message(unix.NF_INET_LOCAL_IN, 7, "ra1b2:A", packet), message(unix.NF_INET_LOCAL_OUT, 8, "r0:B", packet)...))
	if len(events) != 2 || lost != 0 {
		t.Fatalf("%d events and %d lost of two messages", len(events), lost)
	}
	if e := events[0]; e.Rule != "a1b2" || e.Decision != ringfencev1.FlowDecision_FLOW_DECISION_ALLOWED ||
		e.Direction != ringfencev1.FlowDirection_FLOW_DIRECTION_INBOUND || e.Port != 80 {
		t.Errorf("first event %+v", e)
	}
	if e := events[1]; e.Rule != "" || e.Decision != ringfencev1.FlowDecision_FLOW_DECISION_BLOCKED ||
		e.Direction != ringfencev1.FlowDirection_FLOW_DIRECTION_OUTBOUND {
		t.Errorf("second event %+v", e)
	}
	read(message(unix.NF_INET_LOCAL_IN, 12, "r0:P", packet))
	if len(events) != 3 || lost != 3 {
		t.Errorf("%d events, %d lost after a gap of 3", len(events), lost)
	}
	read(message(unix.NF_INET_LOCAL_IN, 13, "someone else", packet))
	if len(events) != 3 || lost != 3 {
		t.Errorf("%d events, %d lost after a packet that is not ours", len(events), lost)
	}
	read(message(unix.NF_INET_LOCAL_IN, 14, "r0:P", []byte{0x45}))
	read([]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16})
	if len(events) != 3 || lost != 5 {
		t.Errorf("%d events, %d lost after two messages that cannot be read", len(events), lost)
	}
}

func FuzzDatagram(f *testing.F) {
	packet := ipv4(6, 0, toPort80...)
	f.Add(message(unix.NF_INET_LOCAL_IN, 1, "r0:B", packet))
	f.Add(append(message(unix.NF_INET_LOCAL_OUT, 1, "rabc:A", ipv6(0, append([]byte{6, 0, 0, 0, 0, 0, 0, 0}, toPort80...)...)), 1, 2, 3))
	f.Add(message(9, 1<<31, "r:", []byte{0x60}))
	f.Add([]byte{16, 0, 0, 0, 0, 4})
	f.Fuzz(func(t *testing.T, data []byte) {
		r := &Reader{}
		r.readDatagram(data, func(e Event) {
			if !e.Source.IsValid() || !e.Destination.IsValid() || e.Source.Is4() != e.Destination.Is4() {
				t.Errorf("event with addresses %s and %s", e.Source, e.Destination)
			}
			if e.Decision == 0 || e.Direction == 0 || len(e.Rule) > len(data) {
				t.Errorf("event %+v", e)
			}
		}, func(n uint64) {
			if n == 0 || n >= 1<<31 {
				t.Errorf("%d lost", n)
			}
		})
	})
}
