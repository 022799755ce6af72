package nft

import (
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"go4.org/netipx"

	"github.com/ringfence/ringfence/services/enforcer/datapath"
)

// setKind says what a kernel set holds.
type setKind int

const (
	hash4 setKind = iota
	hash6
	range4
	range6
	ports
	unknownKind
)

func (k setKind) v6() bool { return k == hash6 || k == range6 }

// setKey names a kernel set.
type setKey struct {
	kind setKind
	id   string
}

func (k setKey) name() string {
	return [...]string{"a4_", "a6_", "p4_", "p6_", ""}[k.kind] + k.id
}

func portMap(d direction) setKey { return setKey{ports, d.prefix() + "ports"} }

// portKey is what the verdict map is looked up by.
type portKey struct {
	protocol uint8
	port     uint16
}

// set is a kernel set with what it must hold: members, or for the verdict map the chain of each port.
type set struct {
	key     setKey
	members *datapath.AddressSet
	chains  map[portKey]string
	order   []portKey
}

// portKeyType is the key of the verdict map, inet_proto . inet_service.
var portKeyType = nftables.MustConcatSetType(nftables.TypeInetProto, nftables.TypeInetService)

// declaration is the set as the library wants it.
func (k setKey) declaration(table *nftables.Table) *nftables.Set {
	s := &nftables.Set{Table: table, Name: k.name(), KeyByteOrder: binaryutil.BigEndian}
	switch k.kind {
	case hash4, range4:
		s.KeyType = nftables.TypeIPAddr
	case hash6, range6:
		s.KeyType = nftables.TypeIP6Addr
	case ports:
		s.KeyType, s.DataType = portKeyType, nftables.TypeVerdict
		s.IsMap, s.Concatenation = true, true
	}
	s.Interval = k.kind == range4 || k.kind == range6
	return s
}

// kindOf recognises a set of the kernel by what it holds.
func kindOf(s *nftables.Set) setKind {
	switch {
	case s.IsMap && s.KeyType.Name == portKeyType.Name && !s.Interval:
		return ports
	case s.IsMap:
		return unknownKind
	case s.KeyType.Name == nftables.TypeIPAddr.Name && s.Interval:
		return range4
	case s.KeyType.Name == nftables.TypeIPAddr.Name:
		return hash4
	case s.KeyType.Name == nftables.TypeIP6Addr.Name && s.Interval:
		return range6
	case s.KeyType.Name == nftables.TypeIP6Addr.Name:
		return hash6
	}
	return unknownKind
}

// addresses are the members of a hash set.
func (s set) addresses() [][]byte {
	if s.key.kind == hash6 {
		return s.members.V6
	}
	return s.members.V4
}

// elements are everything that the set must hold.
func (s set) elements() []nftables.SetElement {
	switch s.key.kind {
	case hash4, hash6:
		return hashElements(s.addresses())
	case range4:
		return rangeElements(s.members.Ranges4)
	case range6:
		return rangeElements(s.members.Ranges6)
	}
	all := make([]nftables.SetElement, 0, len(s.order))
	for _, k := range s.order {
		all = append(all, nftables.SetElement{
			Key:         []byte{k.protocol, 0, 0, 0, byte(k.port >> 8), byte(k.port), 0, 0},
			VerdictData: &expr.Verdict{Kind: expr.VerdictJump, Chain: s.chains[k]},
		})
	}
	return all
}

func hashElements(addresses [][]byte) []nftables.SetElement {
	all := make([]nftables.SetElement, len(addresses))
	for i, a := range addresses {
		all[i].Key = a
	}
	return all
}

// rangeElements gives the start of each range and the address after its end. A range up to the last address has no end.
func rangeElements(ranges []netipx.IPRange) []nftables.SetElement {
	all := make([]nftables.SetElement, 0, 2*len(ranges))
	for _, r := range ranges {
		all = append(all, nftables.SetElement{Key: r.From().AsSlice()})
		if after := r.To().Next(); after != (netip.Addr{}) {
			all = append(all, nftables.SetElement{Key: after.AsSlice(), IntervalEnd: true})
		}
	}
	return all
}
