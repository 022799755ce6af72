package datapath

import (
	"errors"
	"fmt"
)

// Mode says how far a policy is enforced.
type Mode int

// The modes, from nothing to default deny.
const (
	// Idle filters and reports nothing.
	Idle Mode = iota
	// Visibility lets everything pass and reports what Full would block.
	Visibility
	// Selective lets pass what no deny rule names. There are no deny rules yet, so it acts as Visibility.
	Selective
	// Full blocks what no rule allows.
	Full
)

// String names the mode as the console does.
func (m Mode) String() string {
	switch m {
	case Idle:
		return "idle"
	case Visibility:
		return "visibility_only"
	case Selective:
		return "selective"
	case Full:
		return "full"
	}
	return fmt.Sprintf("mode(%d)", int(m))
}

// Policy is what one pod's network namespace must enforce. Every slice and set in it is read-only.
type Policy struct {
	Mode Mode
	// Inbound rules match the source of packets to the pod, Outbound rules the destination of packets from it.
	Inbound, Outbound []Rule
	// Node holds the node's own addresses, from which the kubelet probes: they always reach the pod.
	Node *AddressSet
}

// Rule allows its terms; the terms are alternatives.
type Rule struct {
	// ID is short and made of letters and digits: it travels in the log prefix of the kernel.
	ID    string
	Terms []Term
}

// Term pairs peers with destination ports.
type Term struct {
	Peers *AddressSet
	Ports []Ports
}

// AnyProtocol as Ports.Protocol stands for every protocol.
const AnyProtocol = -1

// AnyICMP as an ICMP type or code stands for every one.
const AnyICMP = -1

// Ports is a protocol with what is asked of its transport header.
type Ports struct {
	// Protocol is the IANA number or AnyProtocol.
	Protocol int
	// From and To are the inclusive bounds of the destination port; From 0 stands for every packet of the protocol. They are wider than a
	// port so that what does not exist can be refused.
	From, To uint32
	// ICMPType and ICMPCode are AnyICMP or the value that must match; they matter for protocols 1 and 58 alone.
	ICMPType, ICMPCode int
}

// Protocols that the layout names.
const (
	ICMP    = 1
	TCP     = 6
	UDP     = 17
	DCCP    = 33
	ICMPv6  = 58
	SCTP    = 132
	UDPLite = 136
)

// HasPorts tells whether the protocol's header begins with source and destination port.
func HasPorts(protocol int) bool {
	switch protocol {
	case TCP, UDP, DCCP, SCTP, UDPLite:
		return true
	}
	return false
}

// Validate checks what a backend relies on: ids that fit a log prefix and are not repeated, peers that are there, and
// ports that exist. The error names the rule.
func (p Policy) Validate() error {
	if p.Node == nil {
		return errors.New("no set of node addresses")
	}
	sets := map[string]*AddressSet{p.Node.ID: p.Node}
	for _, rules := range [][]Rule{p.Inbound, p.Outbound} {
		ids := map[string]bool{}
		for _, r := range rules {
			if err := r.validate(sets); err != nil {
				return fmt.Errorf("rule %q: %w", r.ID, err)
			}
			if ids[r.ID] {
				return fmt.Errorf("rule %q is there twice", r.ID)
			}
			ids[r.ID] = true
		}
	}
	return nil
}

func (r Rule) validate(sets map[string]*AddressSet) error {
	if !validToken(r.ID, 64, false) {
		return fmt.Errorf("its id is not 1 to 64 letters and digits")
	}
	for i, t := range r.Terms {
		if t.Peers == nil {
			return fmt.Errorf("term %d has no peers", i)
		}
		if other := sets[t.Peers.ID]; other != nil && other != t.Peers {
			return fmt.Errorf("term %d: two address sets are called %s", i, t.Peers.ID)
		}
		sets[t.Peers.ID] = t.Peers
		for _, ports := range t.Ports {
			if err := ports.validate(); err != nil {
				return fmt.Errorf("term %d: %w", i, err)
			}
		}
	}
	return nil
}

func (p Ports) validate() error {
	switch {
	case p.Protocol < AnyProtocol || p.Protocol > 255:
		return fmt.Errorf("protocol %d does not exist", p.Protocol)
	case p.From != 0 && !HasPorts(p.Protocol):
		return fmt.Errorf("protocol %d has no ports", p.Protocol)
	case p.To < p.From || p.From == 0 && p.To != 0 || p.To > 65535:
		return fmt.Errorf("ports %d-%d are not a range", p.From, p.To)
	case p.ICMPType < AnyICMP || p.ICMPType > 255 || p.ICMPCode < AnyICMP || p.ICMPCode > 255:
		return fmt.Errorf("ICMP type %d code %d does not exist", p.ICMPType, p.ICMPCode)
	case p.ICMPCode != AnyICMP && p.ICMPType == AnyICMP:
		return fmt.Errorf("ICMP code %d without a type", p.ICMPCode)
	}
	return nil
}

// validToken bounds what reaches the kernel as a name: letters and digits, and with punctuation also '_', '-' and '.'.
func validToken(s string, limit int, punctuation bool) bool {
	if len(s) == 0 || len(s) > limit {
		return false
	}
	for _, c := range []byte(s) {
		switch {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z':
		case punctuation && (c == '_' || c == '-' || c == '.'):
		default:
			return false
		}
	}
	return true
}
