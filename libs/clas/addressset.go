package clas

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// addressSet is a set of addresses that policies refer to. Most hold the addresses of the workloads that a selector matches,
// and keep no list: whoever carries a matching label set is a member. It outlives its last user until the next flush, so that
// coming and going in between costs nothing.
type addressSet struct {
	id uint64
	// users counts the policies that refer to it.
	users int32
	// published says that the last flush left the set with its readers.
	published, touched bool
	// Exactly one of these says what is in it.
	selector *selector
	list     *ipList
	explicit *explicitSet
	// given is the IP list that the last flush gave out.
	given *ipList
}

// explicitSet is the content of a set that is neither of workloads nor of an IP list: addresses of Services, of nodes, of
// virtual services, or names.
type explicitSet struct {
	description string
	// members and given, what the last flush gave out, are sorted.
	members, given    []addr
	fqdns, givenNames []string
}

// digits64 gives the first 8 bytes of the SHA-256 of a canonical text.
func digits64(text string) uint64 {
	sum := sha256.Sum256([]byte(text))
	return binary.BigEndian.Uint64(sum[:8])
}

// hexID writes an id after a letter for its kind, none for rules.
func hexID(kind string, id uint64) string {
	var b [17]byte
	n := copy(b[:], kind)
	var raw [8]byte
	binary.BigEndian.PutUint64(raw[:], id)
	hex.Encode(b[n:], raw[:])
	return string(b[:n+16])
}

func (s *addressSet) idText() string { return hexID("s", s.id) }

func describeList(list *ipList) string { return fmt.Sprintf("IP list %s (%s)", list.name, list.href) }

func (s *addressSet) description() string {
	switch {
	case s.selector != nil:
		return "workloads: " + s.selector.String()
	case s.list != nil:
		return describeList(s.list)
	}
	return s.explicit.description
}

// named tells whether the set has names in it.
func (s *addressSet) named() bool {
	return s.list != nil && len(s.list.fqdns) > 0 || s.explicit != nil && len(s.explicit.fqdns) > 0
}

// sorted gives the members of a set of workloads or of an explicit one.
func (s *addressSet) sorted() []addr {
	if s.explicit != nil {
		return s.explicit.members
	}
	if s.selector == nil {
		return nil
	}
	var out []addr
	for _, ls := range s.selector.matched.items {
		ls.addresses(func(a addr) { out = append(out, a) })
	}
	slices.SortFunc(out, compareAddrs)
	return out
}

// message is the whole set as readers get it.
func (s *addressSet) message() *ringfencev1.AddressSet {
	m := &ringfencev1.AddressSet{Id: s.idText(), Description: s.description(), Addresses: wire(s.sorted())}
	if s.list != nil {
		m.Prefixes, m.Fqdns = slices.Clone(s.list.prefixes), slices.Clone(s.list.fqdns)
	}
	if s.explicit != nil {
		m.Fqdns = slices.Clone(s.explicit.fqdns)
	}
	return m
}

// contains tells whether an address is in the set.
func (e *Engine) contains(s *addressSet, a addr) bool {
	switch {
	case s.selector != nil:
		ls := e.cluster.addresses.placement(a)
		return ls != nil && s.selector.holds(ls)
	case s.list != nil:
		return s.list.addresses.Contains(a.netip())
	}
	_, there := slices.BinarySearchFunc(s.explicit.members, a, compareAddrs)
	return there
}

// containsName tells whether a name is in the set.
func (s *addressSet) containsName(name string) bool {
	var patterns []string
	if s.list != nil {
		patterns = s.list.fqdns
	} else if s.explicit != nil {
		patterns = s.explicit.fqdns
	}
	return slices.ContainsFunc(patterns, func(p string) bool { return matchesName(p, name) })
}

// setStore holds the address sets by id, and those that may have changed since the last flush.
type setStore struct {
	byID    map[uint64]*addressSet
	touched []*addressSet
}

func newSetStore() *setStore { return &setStore{byID: map[uint64]*addressSet{}} }

func (t *setStore) touch(s *addressSet) {
	if !s.touched {
		s.touched = true
		t.touched = append(t.touched, s)
	}
}

func (t *setStore) acquire(s *addressSet) {
	if s.users++; s.users == 1 {
		t.touch(s)
	}
}

func (t *setStore) release(s *addressSet) {
	if s.users--; s.users == 0 {
		t.touch(s)
	}
}

func (t *setStore) add(s *addressSet) *addressSet {
	t.byID[s.id] = s
	t.touch(s)
	return s
}

// workloads gives the set of the addresses of the workloads that a selector matches.
func (t *setStore) workloads(sel *selector) *addressSet {
	if sel.pods == nil {
		sel.pods = t.add(&addressSet{id: digits64("pods " + sel.canonical()), selector: sel})
	}
	return sel.pods
}

// of gives the set of an IP list.
func (t *setStore) of(list *ipList) *addressSet {
	id := digits64("ip list " + strconv.Quote(list.href))
	s := t.byID[id]
	if s == nil {
		return t.add(&addressSet{id: id, list: list})
	}
	if s.list != list {
		s.list = list
		t.touch(s)
	}
	return s
}

// explicit gives a set whose members somebody else keeps up to date.
func (t *setStore) explicit(canonical string, description func() string) *addressSet {
	id := digits64(canonical)
	s := t.byID[id]
	if s == nil {
		s = t.add(&addressSet{id: id, explicit: &explicitSet{description: description()}})
	}
	return s
}

// fill replaces the members and names of an explicit set; both are sorted here.
func (t *setStore) fill(s *addressSet, members []addr, names []string) {
	slices.SortFunc(members, compareAddrs)
	members = slices.Compact(members)
	slices.Sort(names)
	names = slices.Compact(names)
	if !slices.Equal(members, s.explicit.members) || !slices.Equal(names, s.explicit.fqdns) {
		s.explicit.members, s.explicit.fqdns = members, names
		t.touch(s)
	}
}

// change is what left and came of the members of one set of workloads.
type change struct{ added, removed []addr }

// flush gives the deltas of all sets since the last flush, sorted by id, and drops sets without users. moved tells under which
// label set each address was then that may have moved since.
func (t *setStore) flush(e *Engine, moved map[addr]*labelSet) []*ringfencev1.AddressSetDelta {
	changes := e.membership(moved)
	var out []*ringfencev1.AddressSetDelta
	for s, c := range changes {
		slices.SortFunc(c.added, compareAddrs)
		slices.SortFunc(c.removed, compareAddrs)
		out = append(out, &ringfencev1.AddressSetDelta{Id: s.idText(), Added: wire(c.added), Removed: wire(c.removed)})
	}
	for _, s := range t.touched {
		s.touched = false
		if d := s.delta(); d != nil {
			out = append(out, d)
		}
		if s.users == 0 {
			t.drop(s)
		}
	}
	t.touched = trim(t.touched, roomKept)
	if len(out) > 1 {
		slices.SortFunc(out, func(a, b *ringfencev1.AddressSetDelta) int { return cmp.Compare(a.GetId(), b.GetId()) })
	}
	return out
}

// membership works out which sets of workloads, of those that readers have, an address left or joined.
func (e *Engine) membership(moved map[addr]*labelSet) map[*addressSet]*change {
	if len(moved) == 0 {
		return nil
	}
	changes := map[*addressSet]*change{}
	at := func(s *addressSet) *change {
		c := changes[s]
		if c == nil {
			c = &change{}
			changes[s] = c
		}
		return c
	}
	for a, before := range moved {
		now := e.cluster.addresses.placement(a)
		if before == now {
			continue
		}
		differing(before, now, func(s *addressSet) { c := at(s); c.removed = append(c.removed, a) })
		differing(now, before, func(s *addressSet) { c := at(s); c.added = append(c.added, a) })
	}
	return changes
}

// differing visits the sets, of those that readers have and go on to have, that one label set is in and another is not.
func differing(in, notIn *labelSet, visit func(*addressSet)) {
	if in == nil {
		return
	}
	for _, sel := range in.matching.items {
		if s := sel.pods; s != nil && s.published && s.users > 0 && (notIn == nil || !sel.holds(notIn)) {
			visit(s)
		}
	}
}

// delta is what a touched set must tell its readers, nil for nothing.
func (s *addressSet) delta() *ringfencev1.AddressSetDelta {
	var d *ringfencev1.AddressSetDelta
	switch {
	case s.users == 0 && s.published:
		d = &ringfencev1.AddressSetDelta{Id: s.idText(), Deleted: true}
	case s.users == 0:
	case !s.published || s.replaced():
		d = &ringfencev1.AddressSetDelta{Id: s.idText(), Replace: s.message()}
	case s.explicit != nil:
		d = s.explicit.delta(s)
	}
	s.published, s.given = s.users > 0, s.list
	if s.explicit != nil {
		s.explicit.given, s.explicit.givenNames = s.explicit.members, s.explicit.fqdns
	}
	return d
}

// replaced tells whether the set reads otherwise than given out in what deltas cannot express.
func (s *addressSet) replaced() bool {
	if s.explicit != nil {
		return !slices.Equal(s.explicit.fqdns, s.explicit.givenNames)
	}
	return s.list != s.given && (describeList(s.list) != describeList(s.given) ||
		!slices.Equal(s.list.prefixes, s.given.prefixes) || !slices.Equal(s.list.fqdns, s.given.fqdns))
}

func (x *explicitSet) delta(s *addressSet) *ringfencev1.AddressSetDelta {
	added, removed := difference(x.members, x.given), difference(x.given, x.members)
	if len(added)+len(removed) == 0 {
		return nil
	}
	return &ringfencev1.AddressSetDelta{Id: s.idText(), Added: wire(added), Removed: wire(removed)}
}

// difference gives what is in a and not in b; all are sorted.
func difference(a, b []addr) []addr {
	var out []addr
	for _, x := range a {
		if _, there := slices.BinarySearchFunc(b, x, compareAddrs); !there {
			out = append(out, x)
		}
	}
	return out
}

func (t *setStore) drop(s *addressSet) {
	if t.byID[s.id] == s {
		delete(t.byID, s.id)
	}
	if s.selector != nil && s.selector.pods == s {
		s.selector.pods = nil
	}
}

// inUse gives all sets that policies refer to, sorted by id.
func (t *setStore) inUse() []*addressSet {
	var out []*addressSet
	for _, s := range t.byID {
		if s.users > 0 {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b *addressSet) int { return cmp.Compare(a.id, b.id) })
	return out
}

// roomKept is how long a list of marks may be to keep its room.
const roomKept = 64

// trim empties a list of marks. After a burst, when it has room for more than is to be kept, it leaves a new one.
func trim[T any](list []T, keep int) []T {
	if cap(list) > keep {
		return nil
	}
	clear(list)
	return list[:0]
}
