package nft

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/services/enforcer/datapath"
)

// packet is a new connection's first packet, not over loopback.
type packet struct {
	peer       netip.Addr
	protocol   int
	port       uint16 // or type and code of ICMP
	icmp, code byte
}

// judge is the naive reference: the policy's words, read literally. It gives the rules that allow the packet, and whether
// the essential rules do.
func judge(p datapath.Policy, d direction, k packet) (rules map[string]bool, essential bool) {
	rules = map[string]bool{}
	for _, r := range d.rules(p) {
		for _, t := range r.Terms {
			for _, ports := range t.Ports {
				if holds(t.Peers, k.peer) && covers(ports, k) {
					rules[r.ID] = true
				}
			}
		}
	}
	switch {
	case d == inbound && holds(p.Node, k.peer):
		essential = true
	case d == outbound && k.port == 53 && (k.protocol == datapath.TCP || k.protocol == datapath.UDP):
		essential = true
	case k.protocol == datapath.ICMPv6:
		essential = k.icmp == 2 || k.icmp >= 130 && k.icmp <= 137 || k.icmp == 143
	case k.protocol == datapath.ICMP:
		essential = k.icmp == 3 && k.code == 4
	}
	return rules, essential
}

func holds(s *datapath.AddressSet, a netip.Addr) bool {
	for _, m := range append(s.V4, s.V6...) {
		if bytes.Equal(m, a.AsSlice()) {
			return true
		}
	}
	for _, r := range append(s.Ranges4, s.Ranges6...) {
		if r.Contains(a) {
			return true
		}
	}
	return false
}

func covers(p datapath.Ports, k packet) bool {
	switch {
	case p.Protocol == datapath.AnyProtocol:
		return true
	case p.Protocol != k.protocol:
		return false
	case p.Protocol == datapath.ICMP || p.Protocol == datapath.ICMPv6:
		return (p.ICMPType == datapath.AnyICMP || p.ICMPType == int(k.icmp)) && (p.ICMPCode == datapath.AnyICMP || p.ICMPCode == int(k.code))
	}
	return p.From == 0 || uint32(k.port) >= p.From && uint32(k.port) <= p.To
}

// machine runs a layout's expressions on a packet, as the kernel's does.
type machine struct {
	layout    layout
	direction direction
	packet    packet
	registers map[uint32][]byte
	// prefix of the last report.
	prefix string
}

// run gives the verdict of the base chain.
func (m *machine) run() expr.VerdictKind {
	if verdict := m.chain(m.layout.base[m.direction].rules); verdict != expr.VerdictReturn {
		return verdict
	}
	panic("a packet reached the end of a base chain")
}

// chain gives accept, drop, or return at its end.
func (m *machine) chain(rules []rule) expr.VerdictKind {
	for _, r := range rules {
		switch verdict, target := m.rule(r); verdict {
		case expr.VerdictAccept, expr.VerdictDrop:
			return verdict
		case expr.VerdictGoto:
			return m.chain(m.find(target))
		case expr.VerdictJump:
			if verdict := m.chain(m.find(target)); verdict != expr.VerdictReturn {
				return verdict
			}
		}
	}
	return expr.VerdictReturn
}

func (m *machine) find(name string) []rule {
	for _, c := range m.layout.chains {
		if c.name == name {
			return c.rules
		}
	}
	panic("no chain " + name)
}

// rule gives continue where the rule does not match.
func (m *machine) rule(r rule) (expr.VerdictKind, string) {
	m.registers = map[uint32][]byte{}
	for _, e := range r.exprs {
		switch e := e.(type) {
		case *expr.Meta:
			m.registers[e.Register] = m.meta(e.Key)
		case *expr.Ct:
			m.registers[e.Register] = binary.NativeEndian.AppendUint32(nil, 8) // new
		case *expr.Bitwise:
			for i := range m.registers[e.SourceRegister] {
				m.registers[e.DestRegister][i] = m.registers[e.SourceRegister][i] & e.Mask[i]
			}
		case *expr.Payload:
			m.registers[e.DestRegister] = m.payload(e)
		case *expr.Cmp:
			if !compare(e, m.registers[e.Register]) {
				return expr.VerdictContinue, ""
			}
		case *expr.Lookup:
			found, chain := m.lookup(e)
			if !found {
				return expr.VerdictContinue, ""
			}
			if e.IsDestRegSet {
				return expr.VerdictJump, chain
			}
		case *expr.Log:
			m.prefix = string(e.Data)
		case *expr.Limit: // the first packet never exceeds it
		case *expr.Verdict:
			return e.Kind, e.Chain
		default:
			panic(fmt.Sprintf("the machine does not know %T", e))
		}
	}
	return expr.VerdictContinue, ""
}

func (m *machine) meta(k expr.MetaKey) []byte {
	switch k {
	case expr.MetaKeyL4PROTO:
		return []byte{byte(m.packet.protocol)}
	case expr.MetaKeyNFPROTO:
		if m.packet.peer.Is4() {
			return []byte{unix.NFPROTO_IPV4}
		}
		return []byte{unix.NFPROTO_IPV6}
	}
	return binary.NativeEndian.AppendUint32(nil, 2) // an interface that is not loopback
}

func (m *machine) payload(e *expr.Payload) []byte {
	header := make([]byte, 40)
	if e.Base == expr.PayloadBaseTransportHeader {
		binary.BigEndian.PutUint16(header[2:], m.packet.port)
		if m.packet.protocol == datapath.ICMP || m.packet.protocol == datapath.ICMPv6 {
			header[0], header[1] = m.packet.icmp, m.packet.code
		}
		return header[e.Offset : e.Offset+e.Len]
	}
	address := m.packet.peer.AsSlice()
	offset := 12
	if m.packet.peer.Is6() {
		offset = 8
	}
	copy(header[offset+int(m.direction)*len(address):], address)
	return header[e.Offset : e.Offset+e.Len]
}

func compare(e *expr.Cmp, have []byte) bool {
	c := bytes.Compare(have, e.Data)
	switch e.Op {
	case expr.CmpOpEq:
		return c == 0
	case expr.CmpOpNeq:
		return c != 0
	case expr.CmpOpGte:
		return c >= 0
	case expr.CmpOpLte:
		return c <= 0
	}
	panic(fmt.Sprintf("the machine does not compare by %d", e.Op))
}

// lookup works on the elements that are sent to the kernel.
func (m *machine) lookup(e *expr.Lookup) (bool, string) {
	for _, s := range m.layout.sets {
		if s.key.name() != e.SetName {
			continue
		}
		if s.key.kind == ports {
			key := append(pad(m.registers[1]), pad(m.registers[secondRegister])...)
			return m.exact(s.elements(), key)
		}
		if s.key.kind == range4 || s.key.kind == range6 {
			return m.within(s.elements(), m.registers[1]), ""
		}
		return m.exact(s.elements(), m.registers[1])
	}
	panic("no set " + e.SetName)
}

func pad(b []byte) []byte { return append(bytes.Clone(b), make([]byte, 4-len(b))...) }

func (m *machine) exact(elements []nftables.SetElement, key []byte) (bool, string) {
	for _, e := range elements {
		if bytes.Equal(e.Key, key) {
			if e.VerdictData != nil {
				return true, e.VerdictData.Chain
			}
			return true, ""
		}
	}
	return false, ""
}

// within finds the last bound that is not after the key.
func (m *machine) within(elements []nftables.SetElement, key []byte) bool {
	inside := false
	for _, e := range elements {
		if bytes.Compare(e.Key, key) <= 0 {
			inside = !e.IntervalEnd
		}
	}
	return inside
}

// TestLayoutAgreesWithReference runs random packets through the layouts of random policies and compares verdict and
// reported rule with the naive reference.
func TestLayoutAgreesWithReference(t *testing.T) {
	const seed = 20261123
	t.Logf("seed %d", seed)
	g := generator{rand.New(rand.NewPCG(seed, seed))}
	for i := range 1500 {
		p := g.policy(t)
		if err := p.Validate(); err != nil {
			t.Fatalf("policy %d: %v", i, err)
		}
		l := arrange(p)
		for range 60 {
			d, k := direction(g.IntN(2)), g.packet()
			m := machine{layout: l, direction: d, packet: k}
			if problem := disagree(p, d, k, m.run(), m.prefix); problem != "" {
				t.Fatalf("policy %d, %s of %+v: %s\n%s", i, d.baseChain(), k, problem, l.fingerprint())
			}
		}
	}
}

// disagree says how a verdict and report differ from the reference. Of several rules that allow, any may be reported.
func disagree(p datapath.Policy, d direction, k packet, verdict expr.VerdictKind, prefix string) string {
	rules, essential := judge(p, d, k)
	want, decision := expr.VerdictAccept, potentiallyBlocked
	switch {
	case essential:
		decision = ""
	case len(rules) > 0:
		decision = allowed
	case p.Mode == datapath.Full:
		want, decision = expr.VerdictDrop, blocked
	}
	rule, got, _ := strings.Cut(strings.TrimPrefix(prefix, "r"), ":")
	if verdict != want || got != decision || decision == allowed && !rules[rule] {
		return fmt.Sprintf("verdict %d reported as %q, expected %d as %q by one of %v", verdict, prefix, want, decision, rules)
	}
	return ""
}

// generator draws from small domains, so that packets and rules meet.
type generator struct{ *rand.Rand }

var protocols = []int{datapath.TCP, datapath.UDP, datapath.SCTP, datapath.ICMP, datapath.ICMPv6, 47}

func (g generator) policy(t testing.TB) datapath.Policy {
	sets := make([]*datapath.AddressSet, 4)
	for i := range sets {
		sets[i] = setOf(t, fmt.Sprintf("s%d", i), g.entries()...)
	}
	p := datapath.Policy{Node: setOf(t, "node", "10.0.0.9"),
		Mode: []datapath.Mode{datapath.Visibility, datapath.Selective, datapath.Full, datapath.Full}[g.IntN(4)]}
	rules := func() (all []datapath.Rule) {
		for i := range g.IntN(5) {
			r := datapath.Rule{ID: fmt.Sprintf("%d", i+1)}
			for range g.IntN(3) {
				term := datapath.Term{Peers: sets[g.IntN(len(sets))]}
				for range g.IntN(3) {
					term.Ports = append(term.Ports, g.ports())
				}
				r.Terms = append(r.Terms, term)
			}
			all = append(all, r)
		}
		return all
	}
	p.Inbound, p.Outbound = rules(), rules()
	return p
}

func (g generator) entries() []string {
	var all []string
	for _, e := range []string{"10.0.0.1", "10.0.0.2", "fd00::1", "fd00::2", "10.0.0.4/30", "fd00::4/126", "0.0.0.0/0", "::/0"} {
		if g.IntN(4) == 0 {
			all = append(all, e)
		}
	}
	return all
}

func (g generator) ports() datapath.Ports {
	p := portsOf(append(protocols, datapath.AnyProtocol)[g.IntN(len(protocols)+1)], 0, 0)
	switch {
	case datapath.HasPorts(p.Protocol) && g.IntN(4) > 0:
		p.From = 40 + g.Uint32N(30)
		p.To = p.From + []uint32{0, 0, 3, longRange - 2, longRange - 1, 40}[g.IntN(6)]
	case (p.Protocol == datapath.ICMP || p.Protocol == datapath.ICMPv6) && g.IntN(2) == 0:
		p.ICMPType = g.IntN(9)
		if g.IntN(2) == 0 {
			p.ICMPCode = g.IntN(3)
		}
	}
	return p
}

func (g generator) packet() packet {
	k := packet{protocol: protocols[g.IntN(len(protocols))], port: uint16(35 + g.IntN(90)),
		icmp: []byte{0, 2, 3, 8, 130, 136, 138, 143}[g.IntN(8)], code: byte(g.IntN(5))}
	last := byte(g.IntN(10))
	if k.peer = netip.AddrFrom4([4]byte{10, 0, 0, last}); g.IntN(2) == 0 {
		k.peer = netip.AddrFrom16([16]byte{0: 0xfd, 15: last})
	}
	if k.protocol == datapath.ICMP || k.protocol == datapath.ICMPv6 {
		k.port = 0
	}
	return k
}
