package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// moment is a time given as RFC 3339 or as how long ago.
type moment struct{ time.Time }

// UnmarshalText reads a flag.
func (m *moment) UnmarshalText(text []byte) error {
	s := string(text)
	if ago, err := time.ParseDuration(s); err == nil {
		if ago < 0 {
			return fmt.Errorf("%q is in the future", s)
		}
		m.Time = time.Now().Add(-ago)
		return nil
	}
	at, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return fmt.Errorf("%q is neither a time such as 2026-01-31T12:00:00Z nor a duration such as 10m", s)
	}
	m.Time = at
	return nil
}

// protocols has the names of protocols by their IANA numbers.
var protocols = map[uint8]string{1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6", 132: "sctp"}

// Protocols that have types and codes in place of ports.
const (
	icmp   = 1
	icmpv6 = 58
)

// service is a port with its protocol, for instance 8080 or 53/udp; for ICMP it is the type, with its code after a dot where
// that is not 0: 3.1/icmp.
type service struct {
	port     uint16
	code     uint8
	protocol uint8
}

// UnmarshalText reads an argument.
func (s *service) UnmarshalText(text []byte) error {
	port, name, _ := strings.Cut(string(text), "/")
	protocol, err := parseProtocol(name)
	if err != nil {
		return err
	}
	s.protocol = protocol
	if protocol == icmp || protocol == icmpv6 {
		return s.parseICMP(port, text)
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return fmt.Errorf("%q: the port is a number from 0 to 65535, with a protocol after a slash where it is not tcp: 53/udp", text)
	}
	s.port = uint16(number)
	return nil
}

func (s *service) parseICMP(number string, text []byte) error {
	kind, code, dotted := strings.Cut(number, ".")
	if !dotted {
		code = "0"
	}
	k, err := strconv.ParseUint(kind, 10, 8)
	c, codeErr := strconv.ParseUint(code, 10, 8)
	if err != nil || codeErr != nil {
		return fmt.Errorf("%q: of ICMP give the type and, after a dot, the code, both from 0 to 255: 8.0/icmp", text)
	}
	s.port, s.code = uint16(k), uint8(c)
	return nil
}

func (s service) String() string {
	number := strconv.Itoa(int(s.port))
	if s.protocol == icmp || s.protocol == icmpv6 {
		number += "." + strconv.Itoa(int(s.code))
	}
	return protocolName(int32(s.protocol)) + "/" + number
}

func parseProtocol(name string) (uint8, error) {
	if name == "" {
		return 6, nil
	}
	for number, known := range protocols {
		if known == strings.ToLower(name) {
			return number, nil
		}
	}
	number, err := strconv.ParseUint(name, 10, 8)
	if err != nil {
		return 0, fmt.Errorf("protocol %q is none of tcp, udp, sctp, icmp, icmpv6, and no number up to 255", name)
	}
	return uint8(number), nil
}

func protocolName(number int32) string {
	if name, ok := protocols[uint8(number)]; ok && number >= 0 && number <= 255 { //nolint:gosec // bounded right here
		return name
	}
	return strconv.Itoa(int(number))
}
