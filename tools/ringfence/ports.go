package ringfence

import (
	"fmt"
	"strconv"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// Protocols that have types and codes in place of ports.
const (
	ICMP   = 1
	ICMPv6 = 58
)

// Protocols has the names of protocols by their IANA numbers. It is not to be changed.
var Protocols = map[uint8]string{ICMP: "icmp", 6: "tcp", 17: "udp", ICMPv6: "icmpv6", 132: "sctp"}

// ProtocolName gives the name of a protocol, or its number.
func ProtocolName(number int32) string {
	if name, ok := Protocols[uint8(number)]; ok && number >= 0 && number <= 255 { //nolint:gosec // bounded right here
		return name
	}
	return strconv.Itoa(int(number))
}

// PortName gives ports as people write them: tcp/8080, tcp/8000-8999, udp, all services, icmp type 8.
func PortName(r *ringfencev1.PortRange) string {
	if r.GetProtocol() < 0 {
		return "all services"
	}
	name := ProtocolName(r.GetProtocol())
	switch {
	case r.IcmpType != nil && r.IcmpCode != nil:
		return fmt.Sprintf("%s type %d code %d", name, r.GetIcmpType(), r.GetIcmpCode())
	case r.IcmpType != nil:
		return fmt.Sprintf("%s type %d", name, r.GetIcmpType())
	case r.GetPort() == 0 && r.GetToPort() == 0:
		return name
	case r.GetToPort() > r.GetPort():
		return fmt.Sprintf("%s/%d-%d", name, r.GetPort(), r.GetToPort())
	}
	return name + "/" + strconv.FormatUint(uint64(r.GetPort()), 10)
}

// portNames gives several, in their order.
func portNames(ranges []*ringfencev1.PortRange) []string {
	names := make([]string, 0, len(ranges))
	for _, r := range ranges {
		names = append(names, PortName(r))
	}
	return names
}
