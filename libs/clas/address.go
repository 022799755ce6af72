package clas

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// addr is an IP address in 16 bytes, IPv4 in its IPv6 form. It holds no pointer, unlike netip.Addr, for the engine keeps
// hundreds of thousands. The zero value stands for no address.
type addr struct{ hi, lo uint64 }

func addrOf(a netip.Addr) addr {
	b := a.As16()
	return addr{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

func (a addr) is4() bool { return a.hi == 0 && a.lo>>32 == 0xffff }

func (a addr) netip() netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], a.hi)
	binary.BigEndian.PutUint64(b[8:], a.lo)
	return netip.AddrFrom16(b).Unmap()
}

func (a addr) String() string { return a.netip().String() }

// appendBytes appends the 4 or 16 bytes of the address.
func (a addr) appendBytes(b []byte) []byte {
	if a.is4() {
		return binary.BigEndian.AppendUint32(b, uint32(a.lo))
	}
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, a.hi), a.lo)
}

// compareAddrs sorts IPv4 before IPv6.
func compareAddrs(a, b addr) int {
	if a4, b4 := a.is4(), b.is4(); a4 != b4 {
		if a4 {
			return -1
		}
		return 1
	}
	return cmp.Or(cmp.Compare(a.hi, b.hi), cmp.Compare(a.lo, b.lo))
}

// parseAddr reads an address in text form, without a zone.
func parseAddr(text string) (addr, error) {
	parsed, err := parseAddress(text)
	if err != nil {
		return addr{}, err
	}
	if parsed.IsUnspecified() {
		return addr{}, fmt.Errorf("%q is no host's address", text)
	}
	return addrOf(parsed), nil
}

// parseAddrs reads the addresses of an object's field, keeps their order and drops repeats.
func parseAddrs(texts []string, object func() string, field string) ([]addr, error) {
	var out []addr
	for i, text := range texts {
		a, err := parseAddr(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %s[%d]: %w", object(), field, i, err)
		}
		if !slices.Contains(out, a) {
			if out == nil {
				out = make([]addr, 0, len(texts))
			}
			out = append(out, a)
		}
	}
	return out, nil
}

// texts writes addresses in canonical text form.
func texts(addresses []addr) []string {
	out := make([]string, len(addresses))
	for i, a := range addresses {
		out[i] = a.String()
	}
	return out
}

// wire packs sorted addresses as messages carry them.
func wire(addresses []addr) *ringfencev1.Addresses {
	if len(addresses) == 0 {
		return nil
	}
	v4, _ := slices.BinarySearchFunc(addresses, true, func(a addr, _ bool) int {
		if a.is4() {
			return -1
		}
		return 1
	})
	out := &ringfencev1.Addresses{}
	if v4 > 0 {
		out.Ipv4 = appendAll(make([]byte, 0, 4*v4), addresses[:v4])
	}
	if v4 < len(addresses) {
		out.Ipv6 = appendAll(make([]byte, 0, 16*(len(addresses)-v4)), addresses[v4:])
	}
	return out
}

func appendAll(b []byte, addresses []addr) []byte {
	for _, a := range addresses {
		b = a.appendBytes(b)
	}
	return b
}

// claimant is what may own an address: a pod, a Service, a node or an external workload.
type claimant interface {
	// claim gives the place of the claimant's fact in the log, and its subject, which decides between equal places.
	claim() (sequence uint64, subject string)
	// labelSet is the label set under which addresses of the claimant are in address sets of workloads, nil for none.
	labelSet() *labelSet
	// ownership tells the claimant that who owns one of its addresses may have changed.
	ownership(*Engine)
}

// addressBook knows who claims and who owns each address: of the claims of the best rank, the one of the latest fact. Nearly all
// addresses have one claimant, a pod.
type addressBook struct {
	pods4  map[uint32]*pod
	pods6  map[addr]*pod
	others map[addr][]claimant
}

func newAddressBook() *addressBook {
	return &addressBook{pods4: map[uint32]*pod{}, pods6: map[addr]*pod{}, others: map[addr][]claimant{}}
}

// sole gives the pod that alone claims an address.
func (b *addressBook) sole(a addr) *pod {
	if a.is4() {
		return b.pods4[uint32(a.lo)]
	}
	return b.pods6[a]
}

func (b *addressBook) setSole(a addr, p *pod) {
	if a.is4() {
		b.pods4[uint32(a.lo)] = p
		return
	}
	b.pods6[a] = p
}

func (b *addressBook) clearSole(a addr) {
	if a.is4() {
		delete(b.pods4, uint32(a.lo))
		return
	}
	delete(b.pods6, a)
}

// owner gives the owner, nil where nobody claims the address.
func (b *addressBook) owner(a addr) claimant {
	if p := b.sole(a); p != nil {
		return p
	}
	var best claimant
	for _, c := range b.others[a] {
		if best == nil || outranks(c, best, a) {
			best = c
		}
	}
	return best
}

// rank says how good a claim is, whatever the facts' order: pods, nodes and ClusterIPs come before the external addresses of
// Services, which anybody may write who may write a Service, and those before external workloads, whose networks are others.
func rank(c claimant, a addr) int {
	switch x := c.(type) {
	case *external:
		return 0
	case *service:
		if !slices.Contains(x.clusterIPs(), a) {
			return 1
		}
	}
	return 2
}

func outranks(c, than claimant, a addr) bool {
	if by := cmp.Compare(rank(c, a), rank(than, a)); by != 0 {
		return by > 0
	}
	return later(c, than)
}

// later compares the facts of claimants.
func later(c, than claimant) bool {
	sequence, subject := c.claim()
	thanSequence, thanSubject := than.claim()
	return cmp.Or(cmp.Compare(sequence, thanSequence), cmp.Compare(subject, thanSubject)) > 0
}

// claim adds a claimant and gives those who shared the address before.
func (b *addressBook) claim(a addr, c claimant) []claimant {
	p, isPod := c.(*pod)
	sole := b.sole(a)
	var list []claimant
	contested := false
	if len(b.others) > 0 {
		list, contested = b.others[a]
	}
	switch {
	case sole == nil && !contested && isPod:
		b.setSole(a, p)
		return nil
	case sole != nil:
		list = []claimant{sole}
		b.clearSole(a)
	}
	b.others[a] = append(list[:len(list):len(list)], c)
	return list
}

// release takes a claimant out and gives those that remain.
func (b *addressBook) release(a addr, c claimant) []claimant {
	if p := b.sole(a); p != nil {
		if claimant(p) == c {
			b.clearSole(a)
		}
		return nil
	}
	list := slices.DeleteFunc(slices.Clone(b.others[a]), func(x claimant) bool { return x == c })
	if len(list) == 0 {
		delete(b.others, a)
		return nil
	}
	if p, isPod := list[0].(*pod); isPod && len(list) == 1 {
		delete(b.others, a)
		b.setSole(a, p)
		return list
	}
	b.others[a] = list
	return list
}

// placement gives the label set whose address sets the address is in, nil for none.
func (b *addressBook) placement(a addr) *labelSet {
	if owner := b.owner(a); owner != nil {
		return owner.labelSet()
	}
	return nil
}
