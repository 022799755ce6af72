package nft

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ringfence/ringfence/services/enforcer/datapath"
)

// chain is a chain with its rules. The base chains, where packets enter, carry a hook and are never deleted.
type chain struct {
	name  string
	rules []rule
}

// layout is the whole content of the table for one policy.
type layout struct {
	// closed sets the base chains' policy to drop.
	closed bool
	// base holds input and output; chains hold the others.
	base   [2]chain
	chains []chain
	sets   []set
}

// longRange is the number of ports from which a range has a rule of its own instead of an entry for every port.
const longRange = 17

// arrange lays a valid policy out.
func arrange(p datapath.Policy) layout {
	l := layout{closed: p.Mode == datapath.Full}
	l.base[inbound].name, l.base[outbound].name = inbound.baseChain(), outbound.baseChain()
	if p.Mode == datapath.Idle {
		return l
	}
	used := map[setKey]*datapath.AddressSet{}
	for _, d := range []direction{inbound, outbound} {
		w := writer{layout: &l, used: used, direction: d, policy: p}
		w.write()
	}
	for _, k := range slices.SortedFunc(maps.Keys(used), compareKeys) {
		l.sets = append(l.sets, set{key: k, members: used[k]})
	}
	return l
}

func compareKeys(a, b setKey) int {
	return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.id, b.id))
}

// writer writes one direction of a layout.
type writer struct {
	layout    *layout
	used      map[setKey]*datapath.AddressSet
	direction direction
	policy    datapath.Policy
}

func (w *writer) write() {
	d := w.direction
	chains := map[portKey]string{}
	narrow, wide := w.sortTerms()
	order := slices.SortedFunc(maps.Keys(narrow), comparePorts)
	for _, k := range order {
		chains[k] = fmt.Sprintf("%s%d_%d", d.prefix(), k.protocol, k.port)
		w.add(chains[k], narrow[k])
	}
	w.add(d.prefix()+"wide", append(wide, when(goTo(d.prefix()+"default"))))
	for _, r := range d.rules(w.policy) {
		w.add(w.ruleChain(r.ID), []rule{when(accept, report(r.ID, allowed))})
	}
	w.add(d.prefix()+"default", w.defaultRules())
	w.layout.sets = append(w.layout.sets, set{key: portMap(d), chains: chains, order: order})
	w.layout.base[d].rules = w.baseRules()
}

func comparePorts(a, b portKey) int {
	return cmp.Or(cmp.Compare(a.protocol, b.protocol), cmp.Compare(a.port, b.port))
}

func (w *writer) add(name string, rules []rule) {
	w.layout.chains = append(w.layout.chains, chain{name, rules})
}

func (w *writer) ruleChain(id string) string { return w.direction.prefix() + "r_" + id }

// baseRules are the essential rules, which always hold, and the way into the policy.
func (w *writer) baseRules() []rule {
	rules := []rule{
		when(accept, loopback(w.direction)),
		when(accept, connection("established,related", stateEstablished|stateRelated)),
	}
	if w.policy.Mode == datapath.Full {
		rules = append(rules, when(drop, connection("invalid", stateInvalid)))
	}
	rules = append(rules,
		when(accept, protocol(datapath.ICMPv6), icmpType(2, 2)),
		when(accept, protocol(datapath.ICMPv6), icmpType(130, 137)),
		when(accept, protocol(datapath.ICMPv6), icmpType(143, 143)),
		when(accept, protocol(datapath.ICMP), icmpType(3, 3), icmpCode(4)),
	)
	if w.direction == inbound {
		rules = append(rules, w.peerRules(nil, w.policy.Node, accept)...)
	} else {
		rules = append(rules,
			when(accept, protocol(datapath.UDP), destinationPort(53, 53)),
			when(accept, protocol(datapath.TCP), destinationPort(53, 53)))
	}
	return append(rules, byPort(w.direction), when(goTo(w.direction.prefix()+"wide")))
}

// Bits of the connection state, NF_CT_STATE_BIT in the kernel.
const (
	stateInvalid     = 1
	stateEstablished = 2
	stateRelated     = 4
)

func (w *writer) defaultRules() []rule {
	if w.policy.Mode == datapath.Full {
		return []rule{always(seldom(), report("", blocked)), when(drop)}
	}
	return []rule{when(accept, report("", potentiallyBlocked))}
}

// sortTerms turns terms into rules: those of a few ports by port, and the wide ones, which match in rule order.
func (w *writer) sortTerms() (narrow map[portKey][]rule, wide []rule) {
	narrow = map[portKey][]rule{}
	for _, r := range w.direction.rules(w.policy) {
		end := goTo(w.ruleChain(r.ID))
		for _, t := range r.Terms {
			for _, p := range t.Ports {
				if p.From == 0 || p.To-p.From+1 >= longRange {
					wide = appendNew(wide, w.peerRules(portsMatch(p), t.Peers, end)...)
					continue
				}
				for port := p.From; port <= p.To; port++ {
					k := portKey{uint8(p.Protocol), uint16(port)}
					narrow[k] = appendNew(narrow[k], w.peerRules(nil, t.Peers, end)...)
				}
			}
		}
	}
	return narrow, wide
}

// appendNew leaves out rules that are there already.
func appendNew(rules []rule, more ...rule) []rule {
	for _, r := range more {
		if !slices.ContainsFunc(rules, func(have rule) bool { return have.text == r.text }) {
			rules = append(rules, r)
		}
	}
	return rules
}

// peerRules gives the rules that compare a packet's peer with a set, one for each kernel set that it takes. The hash
// sets are there even while one of them is empty, so that members come and go without a change of rules.
func (w *writer) peerRules(condition []match, peers *datapath.AddressSet, end verdict) []rule {
	var rules []rule
	for _, kind := range kindsOf(peers) {
		k := setKey{kind, peers.ID}
		w.used[k] = peers
		rules = append(rules, when(end, append(slices.Clone(condition), peerIn(w.direction, k))...))
	}
	return rules
}

func kindsOf(s *datapath.AddressSet) []setKind {
	var kinds []setKind
	if len(s.V4)+len(s.V6) > 0 || len(s.Ranges4)+len(s.Ranges6) == 0 {
		kinds = append(kinds, hash4, hash6)
	}
	if len(s.Ranges4) > 0 {
		kinds = append(kinds, range4)
	}
	if len(s.Ranges6) > 0 {
		kinds = append(kinds, range6)
	}
	return kinds
}

// elements counts what the sets must hold, without building it.
func (l layout) elements() int {
	n := 0
	for _, s := range l.sets {
		switch s.key.kind {
		case hash4, hash6:
			n += len(s.addresses())
		case range4:
			n += 2 * len(s.members.Ranges4)
		case range6:
			n += 2 * len(s.members.Ranges6)
		default:
			n += len(s.order)
		}
	}
	return n
}

// fingerprint is the layout but for the members of its sets, in the syntax of nft. Where two are equal, a change of
// elements is all that is needed.
func (l layout) fingerprint() string {
	var b strings.Builder
	fmt.Fprintf(&b, "closed %t\n", l.closed)
	for _, s := range l.sets {
		fmt.Fprintf(&b, "set %s %v\n", s.key.name(), s.order)
	}
	for _, c := range append(l.base[:], l.chains...) {
		fmt.Fprintf(&b, "chain %s\n", c.name)
		for _, r := range c.rules {
			b.WriteString("\t" + r.text + "\n")
		}
	}
	return b.String()
}
