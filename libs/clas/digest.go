package clas

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math/bits"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// Digest is a SHA-256, in lower-case hexadecimal, over the engine's version and the whole policy. Equal digests mean equal
// policies. It adds up the digests of all objects, so that it costs what changed since it was taken last, and not a new
// reading of everything; the encoding is this file's own, so that another release of the protobuf library cannot change it.
func (e *Engine) Digest() string {
	e.settle()
	var all sum
	for _, s := range e.sets.byID {
		if s.users > 0 {
			all.add(e.digestSet(s))
		}
	}
	for _, ls := range e.table.sets {
		for _, p := range ls.policies {
			if p.users > 0 {
				all.add(p.digestOf(e))
			}
		}
	}
	e.forgetParts()
	for _, n := range e.cluster.nodes {
		if n.hasPlan() {
			all.add(e.digestNode(n))
		}
	}
	for _, ns := range e.cluster.namespaces {
		if ns.listed() {
			all.add(digestNamespace(e.signedNamespace(ns)))
		}
	}
	d := digester{}
	d.text("policy").text(Version).number(uint64(e.provision.force.version)).number(uint64(e.settings.startPolicy())).sum(all)
	for _, w := range e.warnings() {
		d.text(w)
	}
	total := sha256.Sum256(d)
	return hex.EncodeToString(total[:])
}

// sum adds digests up modulo 2^256, so that the order of what is digested has no say.
type sum [4]uint64

func (s *sum) add(d digest) {
	carry := uint64(0)
	for i := range s {
		s[i], carry = bits.Add64(s[i], binary.LittleEndian.Uint64(d[8*i:]), carry)
	}
}

func (s *sum) merge(t sum) {
	carry := uint64(0)
	for i := range s {
		s[i], carry = bits.Add64(s[i], t[i], carry)
	}
}

// digester writes values so that no two sequences of values write alike: numbers have a fixed size, texts are led by their
// length.
type digester []byte

func (d *digester) number(n uint64) *digester {
	*d = binary.BigEndian.AppendUint64(*d, n)
	return d
}

func (d *digester) text(s string) *digester {
	*d = append(binary.BigEndian.AppendUint64(*d, uint64(len(s))), s...)
	return d
}

func (d *digester) texts(list []string) *digester {
	d.number(uint64(len(list)))
	for _, s := range list {
		d.text(s)
	}
	return d
}

func (d *digester) sum(s sum) *digester {
	for _, n := range s {
		d.number(n)
	}
	return d
}

// members is the digest of the addresses that the actors of a label set own.
func (ls *labelSet) members() sum {
	if ls.digest == nil {
		ls.digest = &sum{}
		ls.addresses(func(a addr) { ls.digest.add(a.digest()) })
	}
	return *ls.digest
}

func (a addr) digest() digest {
	var b [17]byte
	b[0] = 'a'
	binary.BigEndian.PutUint64(b[1:], a.hi)
	binary.BigEndian.PutUint64(b[9:], a.lo)
	return sha256.Sum256(b[:])
}

func (e *Engine) digestSet(s *addressSet) digest {
	d := digester{}
	d.text("set").number(s.id).text(s.description())
	var members sum
	switch {
	case s.selector != nil:
		for _, ls := range s.selector.matched.items {
			members.merge(ls.members())
		}
	case s.explicit != nil:
		for _, a := range s.explicit.members {
			members.add(a.digest())
		}
		d.texts(s.explicit.fqdns)
	default:
		d.texts(s.list.prefixes).texts(s.list.fqdns)
	}
	return sha256.Sum256(*d.sum(members))
}

func (p *workloadPolicy) digestOf(e *Engine) digest {
	if p.digest == nil {
		d := digestPolicy(p.take(e))
		p.digest = &d
	}
	return *p.digest
}

func digestPolicy(m *ringfencev1.WorkloadPolicy) digest {
	d := digester{}
	d.text("policy").text(m.GetId()).number(uint64(m.GetMode())).number(uint64(m.GetDegraded())).text(m.GetWorkload())
	d.texts(m.GetLabels()).texts(m.GetFeatures()).texts(m.GetWarnings())
	for _, rules := range [][]*ringfencev1.PolicyRule{m.GetInbound(), m.GetOutbound(), m.GetInboundOverrideDeny(), m.GetOutboundOverrideDeny(),
		m.GetInboundDeny(), m.GetOutboundDeny()} {
		d.number(uint64(len(rules)))
		for _, r := range rules {
			d.rule(r)
		}
	}
	return sha256.Sum256(d)
}

func (d *digester) rule(r *ringfencev1.PolicyRule) {
	d.text(r.GetId()).text(r.GetHref()).number(uint64(len(r.GetTerms())))
	for _, t := range r.GetTerms() {
		d.text(t.GetAddressSet()).number(uint64(len(t.GetPorts())))
		for _, p := range t.GetPorts() {
			d.number(uint64(int64(p.GetProtocol()))).number(uint64(p.GetPort())).number(uint64(p.GetToPort()))
			d.optional(p.IcmpType).optional(p.IcmpCode)
		}
	}
}

// optional tells an absent number from zero.
func (d *digester) optional(n *uint32) *digester {
	if n == nil {
		return d.number(0)
	}
	return d.number(1 + uint64(*n))
}

func (e *Engine) digestNode(n *node) digest {
	if n.digest == nil {
		pods := n.digestPods()
		n.digest = &pods
	}
	head := e.head(n)
	d := digester{}
	d.text("plan").text(n.name).texts(head.GetNodeAddresses()).text(head.GetNodePolicy()).texts(head.GetFeatures())
	return sha256.Sum256(*d.sum(*n.digest))
}

func (n *node) digestPods() (out sum) {
	var d digester
	for _, p := range n.pods {
		if !p.planned() || p.group.policy == nil {
			continue
		}
		d = d[:0]
		d.text("pod").text(p.runtimeUID()).text(p.group.ns.name).text(p.name).number(p.group.policy.id)
		p.addresses(func(a addr) { d.number(a.hi).number(a.lo) })
		for _, x := range p.exposed() {
			d.text("exposed").number(uint64(x.protocol)).number(uint64(x.port))
		}
		out.add(sha256.Sum256(d))
	}
	return out
}

func digestNamespace(m *ringfencev1.NamespacePolicy) digest {
	d := digester{}
	managed := uint64(0)
	if m.GetManaged() {
		managed = 1
	}
	d.text("namespace").text(m.GetNamespace()).number(managed).number(uint64(m.GetMode()))
	for _, s := range m.GetSignatures() {
		d.text(s.GetHash()).text(s.GetPolicy())
	}
	return sha256.Sum256(d)
}
