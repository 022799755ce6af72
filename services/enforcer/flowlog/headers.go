package flowlog

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"
)

// readHeaders reads addresses, protocol and port from the start of an IP packet.
func (e *Event) readHeaders(data []byte) error {
	if len(data) == 0 {
		return errors.New("packet is empty")
	}
	switch data[0] >> 4 {
	case 4:
		return e.readIPv4(data)
	case 6:
		return e.readIPv6(data)
	}
	return errors.New("packet is neither IPv4 nor IPv6")
}

// readIPv4 follows RFC 791.
func (e *Event) readIPv4(data []byte) error {
	length := int(data[0]&0x0f) * 4
	if length < 20 || len(data) < length {
		return errors.New("IPv4 header is cut off")
	}
	e.Protocol = data[9]
	e.Source = netip.AddrFrom4([4]byte(data[12:16]))
	e.Destination = netip.AddrFrom4([4]byte(data[16:20]))
	if binary.BigEndian.Uint16(data[6:])&0x1fff == 0 {
		e.readPort(data[length:])
	}
	return nil
}

// maxExtensions bounds the chain of IPv6 extension headers.
const maxExtensions = 8

// readIPv6 follows RFC 8200. Where extension headers are cut off, the protocol is that of the first missing header.
func (e *Event) readIPv6(data []byte) error {
	if len(data) < 40 {
		return errors.New("IPv6 header is cut off")
	}
	e.Source = netip.AddrFrom16([16]byte(data[8:24]))
	e.Destination = netip.AddrFrom16([16]byte(data[24:40]))
	e.Protocol = data[6]
	data = data[40:]
	for range maxExtensions {
		length, first := extension(e.Protocol, data)
		if length == 0 {
			e.readPort(data)
			return nil
		}
		if len(data) < length || !first {
			return nil
		}
		e.Protocol, data = data[0], data[length:]
	}
	return nil
}

// extension gives the length of the extension header, 0 where the protocol is none or its length is cut off, and
// whether a transport header may follow, which it does not in later fragments.
func extension(protocol uint8, data []byte) (length int, first bool) {
	if len(data) < 4 {
		return 0, false
	}
	switch protocol {
	case unix.IPPROTO_HOPOPTS, unix.IPPROTO_ROUTING, unix.IPPROTO_DSTOPTS:
		return 8 + int(data[1])*8, true
	case unix.IPPROTO_FRAGMENT:
		return 8, binary.BigEndian.Uint16(data[2:])&0xfff8 == 0
	case unix.IPPROTO_AH:
		return 8 + int(data[1])*4, true
	}
	return 0, false
}

func (e *Event) readPort(data []byte) {
	switch e.Protocol {
	case unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_SCTP, unix.IPPROTO_DCCP, unix.IPPROTO_UDPLITE:
		if len(data) >= 4 {
			e.Port = binary.BigEndian.Uint16(data[2:])
		}
	case unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6:
		if len(data) >= 1 {
			e.Port = uint16(data[0])
		}
	}
}
