package clas

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// Digest is the SHA-256, in lower-case hexadecimal, of the engine's version and the whole policy. Equal digests mean equal
// policies; sequence and window have no part in it. The encoding is this file's own, so that another release of the
// protobuf library cannot change it.
func (e *Engine) Digest() string { return e.Policy().digest() }

func (p Policy) digest() string {
	d := digester{sha256.New()}
	d.text(Version)
	d.number(uint64(p.ProvisionedVersion))
	list(d, p.Sets, d.set)
	list(d, p.Policies, d.policy)
	list(d, p.Plans, d.plan)
	list(d, p.Namespaces.GetNamespaces(), d.namespace)
	list(d, p.Warnings, d.text)
	return hex.EncodeToString(d.hash.Sum(nil))
}

// digester writes values so that no two sequences of values write alike: numbers have a fixed size, texts and lists are
// led by their length.
type digester struct{ hash hash.Hash }

func (d digester) number(n uint64) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], n)
	d.hash.Write(b[:])
}

func (d digester) text(s string) { d.bytes([]byte(s)) }

func (d digester) bytes(b []byte) {
	d.number(uint64(len(b)))
	d.hash.Write(b)
}

func list[T any](d digester, items []T, write func(T)) {
	d.number(uint64(len(items)))
	for _, item := range items {
		write(item)
	}
}

func (d digester) set(s *ringfencev1.AddressSet) {
	d.text(s.GetId())
	d.text(s.GetDescription())
	list(d, s.GetAddresses(), d.bytes)
	list(d, s.GetPrefixes(), d.text)
}

func (d digester) policy(p *ringfencev1.WorkloadPolicy) {
	d.text(p.GetId())
	d.number(uint64(p.GetMode()))
	list(d, p.GetLabels(), d.text)
	list(d, p.GetInbound(), d.rule)
	list(d, p.GetOutbound(), d.rule)
	list(d, p.GetWarnings(), d.text)
}

func (d digester) rule(r *ringfencev1.PolicyRule) {
	d.text(r.GetId())
	d.text(r.GetHref())
	list(d, r.GetTerms(), func(t *ringfencev1.PeerTerm) {
		d.text(t.GetAddressSet())
		list(d, t.GetPorts(), d.port)
	})
}

func (d digester) port(p *ringfencev1.PortRange) {
	d.number(uint64(int64(p.GetProtocol())))
	d.number(uint64(p.GetPort()))
	d.number(uint64(p.GetToPort()))
	d.optional(p.IcmpType)
	d.optional(p.IcmpCode)
}

// optional tells an absent number from zero.
func (d digester) optional(n *uint32) {
	if n == nil {
		d.number(0)
		return
	}
	d.number(1 + uint64(*n))
}

func (d digester) plan(p *ringfencev1.NodePlan) {
	d.text(p.GetNode())
	d.number(uint64(p.GetProvisionedVersion()))
	list(d, p.GetNodeAddresses(), d.text)
	list(d, p.GetPods(), func(pod *ringfencev1.PodPlan) {
		d.text(pod.GetUid())
		d.text(pod.GetNamespace())
		d.text(pod.GetName())
		d.text(pod.GetPolicy())
		list(d, pod.GetAddresses(), d.text)
	})
}

func (d digester) namespace(n *ringfencev1.NamespacePolicy) {
	d.text(n.GetNamespace())
	managed := uint64(0)
	if n.GetManaged() {
		managed = 1
	}
	d.number(managed)
	d.number(uint64(n.GetMode()))
}
