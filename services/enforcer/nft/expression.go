package nft

import (
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/services/enforcer/datapath"
)

// rule is one rule as text, in the syntax of nft, and as the kernel wants it. The text identifies the rule: two rules
// with the same text are the same rule.
type rule struct {
	text  string
	exprs []expr.Any
}

// match is the condition part of a rule.
type match struct {
	text  string
	exprs []expr.Any
}

// Registers of the kernel's virtual machine: 1 is the first of 16 bytes, and 9 the second of 4 bytes, which is where the
// second part of a concatenation of short values goes.
const (
	register       = 1
	secondRegister = unix.NFT_REG32_01
)

// when joins conditions and ends them in a verdict.
func when(end verdict, matches ...match) rule {
	return always(append(slices.Clone(matches), match{end.text, []expr.Any{end.expr}})...)
}

// always joins conditions and statements without a verdict: the packet goes on to the next rule.
func always(matches ...match) rule {
	var r rule
	texts := make([]string, len(matches))
	for i, m := range matches {
		texts[i] = m.text
		r.exprs = append(r.exprs, m.exprs...)
	}
	r.text = strings.Join(texts, " ")
	return r
}

// verdict ends a rule.
type verdict struct {
	text string
	expr expr.Any
}

var (
	accept = verdict{"accept", &expr.Verdict{Kind: expr.VerdictAccept}}
	drop   = verdict{"drop", &expr.Verdict{Kind: expr.VerdictDrop}}
)

func goTo(chain string) verdict {
	return verdict{"goto " + chain, &expr.Verdict{Kind: expr.VerdictGoto, Chain: chain}}
}

func equal(data []byte) expr.Any {
	return &expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: data}
}

// loopback compares the interface index: lo is 1 in every network namespace.
func loopback(d direction) match {
	key := expr.MetaKeyIIF
	if d == outbound {
		key = expr.MetaKeyOIF
	}
	return match{d.interfaceWord() + ` "lo"`, []expr.Any{
		&expr.Meta{Key: key, Register: register},
		equal(binaryutil.NativeEndian.PutUint32(1)),
	}}
}

// connection compares the state that conntrack gives the packet with a mask of states.
func connection(words string, mask uint32) match {
	return match{"ct state " + words, []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: register},
		&expr.Bitwise{SourceRegister: register, DestRegister: register, Len: 4,
			Mask: binaryutil.NativeEndian.PutUint32(mask), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: register, Data: make([]byte, 4)},
	}}
}

func protocol(number int) match {
	return match{fmt.Sprintf("meta l4proto %d", number), []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: register},
		equal([]byte{byte(number)}),
	}}
}

// transport loads bytes of the transport header.
func transport(offset, length uint32) expr.Any {
	return &expr.Payload{DestRegister: register, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: length}
}

// destinationPort compares the port, for protocols that have one.
func destinationPort(from, to uint32) match {
	low := binaryutil.BigEndian.PutUint16(uint16(from))
	if from == to {
		return match{fmt.Sprintf("th dport %d", from), []expr.Any{transport(2, 2), equal(low)}}
	}
	return match{fmt.Sprintf("th dport %d-%d", from, to), []expr.Any{
		transport(2, 2),
		&expr.Cmp{Op: expr.CmpOpGte, Register: register, Data: low},
		&expr.Cmp{Op: expr.CmpOpLte, Register: register, Data: binaryutil.BigEndian.PutUint16(uint16(to))},
	}}
}

// icmpType compares the first byte of the header of either ICMP.
func icmpType(from, to byte) match {
	if from == to {
		return match{fmt.Sprintf("type %d", from), []expr.Any{transport(0, 1), equal([]byte{from})}}
	}
	return match{fmt.Sprintf("type %d-%d", from, to), []expr.Any{
		transport(0, 1),
		&expr.Cmp{Op: expr.CmpOpGte, Register: register, Data: []byte{from}},
		&expr.Cmp{Op: expr.CmpOpLte, Register: register, Data: []byte{to}},
	}}
}

func icmpCode(code byte) match {
	return match{fmt.Sprintf("code %d", code), []expr.Any{transport(1, 1), equal([]byte{code})}}
}

// peerIn looks the packet's other end up in a set of addresses.
func peerIn(d direction, s setKey) match {
	offset, length, family := uint32(12), uint32(4), byte(unix.NFPROTO_IPV4)
	word := "ip "
	if s.kind.v6() {
		offset, length, family, word = 8, 16, unix.NFPROTO_IPV6, "ip6 "
	}
	if d == outbound {
		offset += length
	}
	return match{word + d.addressWord() + " @" + s.name(), []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: register},
		equal([]byte{family}),
		&expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: length},
		&expr.Lookup{SourceRegister: register, SetName: s.name()},
	}}
}

// byPort sends the packet through the chain that the verdict map has for its protocol and port. It comes back if no
// rule there matches.
func byPort(d direction) rule {
	return rule{"meta l4proto . th dport vmap @" + portMap(d).name(), []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: register},
		&expr.Payload{DestRegister: secondRegister, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Lookup{SourceRegister: register, DestRegister: unix.NFT_REG_VERDICT, IsDestRegSet: true, SetName: portMap(d).name()},
	}}
}

// Decisions as they stand in the log prefix.
const (
	allowed            = "A"
	potentiallyBlocked = "P"
	blocked            = "B"
)

// Group is the NFLOG group that all our rules log to.
const Group = 52

// Limits of what a logged packet costs. The header of an IPv6 packet with extension headers fits the length, and the
// kernel hands packets over when so many wait.
const (
	logBytes     = 96
	logThreshold = 64
)

// report logs the packet for the flow reader. An empty id stands for the default.
func report(id, decision string) match {
	if id == "" {
		id = "0"
	}
	prefix := "r" + id + ":" + decision
	return match{fmt.Sprintf("log prefix %q group %d snaplen %d queue-threshold %d", prefix, Group, logBytes, logThreshold),
		[]expr.Any{&expr.Log{
			Key:   1<<unix.NFTA_LOG_GROUP | 1<<unix.NFTA_LOG_PREFIX | 1<<unix.NFTA_LOG_SNAPLEN | 1<<unix.NFTA_LOG_QTHRESHOLD,
			Group: Group, Snaplen: logBytes, QThreshold: logThreshold, Data: []byte(prefix),
		}}}
}

// seldom keeps a flood of blocked packets from becoming a flood of reports.
func seldom() match {
	return match{"limit rate 100/second burst 200 packets", []expr.Any{
		&expr.Limit{Type: expr.LimitTypePkts, Rate: 100, Unit: expr.LimitTimeSecond, Burst: 200},
	}}
}

// portsMatch is the condition of ports that are not looked up in the verdict map. It is empty for every protocol.
func portsMatch(p datapath.Ports) []match {
	if p.Protocol == datapath.AnyProtocol {
		return nil
	}
	all := []match{protocol(p.Protocol)}
	if p.From != 0 {
		all = append(all, destinationPort(p.From, p.To))
	}
	if p.Protocol == datapath.ICMP || p.Protocol == datapath.ICMPv6 {
		if p.ICMPType != datapath.AnyICMP {
			all = append(all, icmpType(byte(p.ICMPType), byte(p.ICMPType)))
		}
		if p.ICMPCode != datapath.AnyICMP {
			all = append(all, icmpCode(byte(p.ICMPCode)))
		}
	}
	return all
}
