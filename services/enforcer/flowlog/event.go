package flowlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// Event is one reported packet.
type Event struct {
	Direction ringfencev1.FlowDirection
	Decision  ringfencev1.FlowDecision
	// Rule is the id of the deciding rule, empty for the default.
	Rule                string
	Source, Destination netip.Addr
	Protocol            uint8
	// Port of the destination, for ICMP the type, 0 where there is none or it was cut off.
	Port uint16
}

// Attributes of an NFLOG packet, enum nfulnl_attr_type in the kernel's nfnetlink_log.h.
const (
	attrPacketHeader = 1
	attrPayload      = 9
	attrPrefix       = 10
	attrSequence     = 12
)

// errForeign marks packets that another program's rule logged to our group.
var errForeign = errors.New("its log prefix is not ours")

// packet holds the attributes of a message that matter here. It refers to the message's bytes.
type packet struct {
	hook     byte
	payload  []byte
	prefix   []byte
	sequence uint32
}

// parsePacket takes the message apart behind its netlink header.
func parsePacket(data []byte) (packet, error) {
	var p packet
	if len(data) < nfgenBytes {
		return p, errors.New("message is too short")
	}
	data = data[nfgenBytes:]
	for len(data) >= unix.NLA_HDRLEN {
		length := int(binary.NativeEndian.Uint16(data))
		kind := binary.NativeEndian.Uint16(data[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
		if length < unix.NLA_HDRLEN || length > len(data) {
			return p, fmt.Errorf("attribute %d claims %d bytes of %d", kind, length, len(data))
		}
		if err := p.set(kind, data[unix.NLA_HDRLEN:length]); err != nil {
			return p, err
		}
		data = data[min(align(length), len(data)):]
	}
	return p, nil
}

func (p *packet) set(kind uint16, value []byte) error {
	switch kind {
	case attrPacketHeader:
		if len(value) < 4 {
			return errors.New("packet header is too short")
		}
		p.hook = value[2]
	case attrSequence:
		if len(value) < 4 {
			return errors.New("sequence number is too short")
		}
		p.sequence = binary.BigEndian.Uint32(value)
	case attrPayload:
		p.payload = value
	case attrPrefix:
		p.prefix = value
	}
	return nil
}

// event reads prefix and headers.
func (p packet) event() (Event, error) {
	var e Event
	switch p.hook {
	case unix.NF_INET_LOCAL_IN:
		e.Direction = ringfencev1.FlowDirection_FLOW_DIRECTION_INBOUND
	case unix.NF_INET_LOCAL_OUT:
		e.Direction = ringfencev1.FlowDirection_FLOW_DIRECTION_OUTBOUND
	default:
		return e, fmt.Errorf("hook %d is neither input nor output", p.hook)
	}
	if err := e.readPrefix(p.prefix); err != nil {
		return e, err
	}
	return e, e.readHeaders(p.payload)
}

var decisions = map[byte]ringfencev1.FlowDecision{
	'A': ringfencev1.FlowDecision_FLOW_DECISION_ALLOWED,
	'P': ringfencev1.FlowDecision_FLOW_DECISION_POTENTIALLY_BLOCKED,
	'B': ringfencev1.FlowDecision_FLOW_DECISION_BLOCKED,
}

// readPrefix reads r<rule>:<decision>, where rule 0 is the default.
func (e *Event) readPrefix(prefix []byte) error {
	text := strings.TrimRight(string(prefix), "\x00")
	rule, decision, found := strings.Cut(strings.TrimPrefix(text, "r"), ":")
	if !found || !strings.HasPrefix(text, "r") || rule == "" || len(decision) != 1 || decisions[decision[0]] == 0 {
		return errForeign
	}
	e.Decision = decisions[decision[0]]
	if rule != "0" {
		e.Rule = rule
	}
	return nil
}
