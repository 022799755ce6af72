package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ringfence/ringfence/libs/clas"
	"github.com/ringfence/ringfence/tools/ringfence"
)

// place is a place in a log, given as a sequence, as a time in RFC 3339, or as how long ago.
type place struct{ ringfence.Place }

// UnmarshalText reads a flag.
func (p *place) UnmarshalText(text []byte) error {
	s := string(text)
	if sequence, err := strconv.ParseUint(s, 10, 64); err == nil {
		if sequence == 0 {
			return errors.New("the first sequence is 1")
		}
		p.Sequence = sequence
		return nil
	}
	if ago, err := time.ParseDuration(s); err == nil {
		if ago < 0 {
			return fmt.Errorf("%q is in the future", s)
		}
		p.Time = time.Now().Add(-ago)
		return nil
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return fmt.Errorf("%q is neither a sequence such as 1042, a time such as 2026-01-31T12:00:00Z, nor a duration such as 10m", s)
	}
	p.Time = t
	return nil
}

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
	if protocol == ringfence.ICMP || protocol == ringfence.ICMPv6 {
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

// query asks whether one endpoint may connect to another on the port.
func (s service) query(source, destination string) clas.Query {
	return clas.Query{Source: source, Destination: destination, Port: s.port, Protocol: s.protocol, ICMPCode: s.code}
}

// connection is a question as one argument: SRC,DST,PORT.
type connection struct{ clas.Query }

// UnmarshalText reads a flag.
func (c *connection) UnmarshalText(text []byte) error {
	parts := strings.Split(string(text), ",")
	if len(parts) != 3 || parts[0] == "" || parts[1] == "" {
		return fmt.Errorf("%q: a pair is SRC,DST,PORT: shop/deployment/web,shop/service/api,80", text)
	}
	var port service
	if err := port.UnmarshalText([]byte(parts[2])); err != nil {
		return err
	}
	c.Query = port.query(parts[0], parts[1])
	return nil
}

// words says what a query asks for.
func words(q clas.Query) string {
	port := strconv.Itoa(int(q.Port))
	if q.Protocol == ringfence.ICMP || q.Protocol == ringfence.ICMPv6 {
		port += "." + strconv.Itoa(int(q.ICMPCode))
	}
	return fmt.Sprintf("%s -> %s %s/%s", q.Source, q.Destination, port, ringfence.ProtocolName(int32(q.Protocol)))
}

func parseProtocol(name string) (uint8, error) {
	if name == "" {
		return 6, nil
	}
	for number, known := range ringfence.Protocols {
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
