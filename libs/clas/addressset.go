package clas

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// addressSet is a set of addresses that policies refer to, or the prefixes of an IP list. It remembers what changed since
// the last flush, and outlives its last user until then, so that coming and going in between costs nothing.
type addressSet struct {
	id, description string
	members         map[netip.Addr]struct{}
	list            *ipList // only for IP lists
	// keeper is the selector that keeps the members up to date, for sets of pods.
	keeper *selector
	// users counts the policies and views that refer to it.
	users int

	// published says that the last flush knew the set, given which IP list it gave out; added and removed are what
	// happened since.
	published      bool
	given          *ipList
	added, removed map[netip.Addr]struct{}
}

func (s *addressSet) add(addr netip.Addr) {
	if _, there := s.members[addr]; there {
		return
	}
	s.members[addr] = struct{}{}
	if _, back := s.removed[addr]; back {
		delete(s.removed, addr)
		return
	}
	s.added[addr] = struct{}{}
}

func (s *addressSet) remove(addr netip.Addr) {
	if _, there := s.members[addr]; !there {
		return
	}
	delete(s.members, addr)
	if _, fresh := s.added[addr]; fresh {
		delete(s.added, addr)
		return
	}
	s.removed[addr] = struct{}{}
}

// become makes the members equal to want.
func (s *addressSet) become(want map[netip.Addr]struct{}) {
	for addr := range maps.Clone(s.members) {
		if _, keep := want[addr]; !keep {
			s.remove(addr)
		}
	}
	for addr := range want {
		s.add(addr)
	}
}

func describeList(list *ipList) string { return fmt.Sprintf("IP list %s (%s)", list.name, list.href) }

// replaced tells whether the set's IP list reads otherwise than the one that was given out.
func (s *addressSet) replaced() bool {
	return s.list != s.given &&
		(describeList(s.list) != describeList(s.given) || !slices.Equal(s.list.prefixes, s.given.prefixes))
}

// contains tells whether an address is in the set.
func (s *addressSet) contains(addr netip.Addr) bool {
	if s.list != nil {
		return s.list.addresses.Contains(addr)
	}
	_, there := s.members[addr]
	return there
}

// message is the whole set as readers get it.
func (s *addressSet) message() *ringfencev1.AddressSet {
	m := &ringfencev1.AddressSet{Id: s.id, Description: s.description, Addresses: sortedBytes(s.members)}
	if s.list != nil {
		m.Prefixes = slices.Clone(s.list.prefixes)
	}
	return m
}

// delta is what changed since the last flush, nil if nothing did, and starts anew.
func (s *addressSet) delta() *ringfencev1.AddressSetDelta {
	var d *ringfencev1.AddressSetDelta
	switch {
	case s.users == 0 && s.published:
		d = &ringfencev1.AddressSetDelta{Id: s.id, Deleted: true}
	case s.users == 0:
	case !s.published || s.replaced():
		d = &ringfencev1.AddressSetDelta{Id: s.id, Replace: s.message()}
	case len(s.added)+len(s.removed) > 0:
		d = &ringfencev1.AddressSetDelta{Id: s.id, Added: sortedBytes(s.added), Removed: sortedBytes(s.removed)}
	}
	s.published, s.given = s.users > 0, s.list
	take(&s.added)
	take(&s.removed)
	return d
}

func sortedBytes(addresses map[netip.Addr]struct{}) [][]byte {
	var out [][]byte
	for _, addr := range slices.SortedFunc(maps.Keys(addresses), netip.Addr.Compare) {
		out = append(out, addr.AsSlice())
	}
	return out
}

// setStore holds the address sets by id, and those that changed since the last flush.
type setStore struct {
	byID    map[string]*addressSet
	touched map[*addressSet]struct{}
}

func newSetStore() *setStore {
	return &setStore{byID: map[string]*addressSet{}, touched: map[*addressSet]struct{}{}}
}

// get gives the set of a canonical text; description is used for a new one.
func (t *setStore) get(canonical, description string) *addressSet {
	id := "s" + digits(canonical)
	s := t.byID[id]
	if s == nil {
		s = &addressSet{id: id, description: description, members: map[netip.Addr]struct{}{},
			added: map[netip.Addr]struct{}{}, removed: map[netip.Addr]struct{}{}}
		t.byID[id] = s
	}
	t.touch(s)
	return s
}

func (t *setStore) touch(s *addressSet) { t.touched[s] = struct{}{} }

func (t *setStore) acquire(s *addressSet) *addressSet {
	s.users++
	t.touch(s)
	return s
}

func (t *setStore) release(s *addressSet) {
	s.users--
	t.touch(s)
}

// pods gives the set of the addresses of the pods that a selector matches, filled and kept up to date from now on.
func (t *setStore) pods(sel *selector) *addressSet {
	if sel.pods == nil {
		sel.pods = t.get("pods "+sel.key, "pods: "+sel.String())
		sel.pods.keeper = sel
		want := map[netip.Addr]struct{}{}
		for ls := range sel.matched {
			maps.Copy(want, ls.addresses)
		}
		sel.pods.become(want)
	}
	return sel.pods
}

// list gives the set of an IP list.
func (t *setStore) list(list *ipList) *addressSet {
	s := t.get("ip list "+strconv.Quote(list.href), describeList(list))
	s.list, s.description = list, describeList(list)
	return s
}

// move takes an address from one label set to another; either may be nil.
func (t *setStore) move(addr netip.Addr, from, to *labelSet) {
	if from == to {
		return
	}
	if from != nil {
		delete(from.addresses, addr)
		for sel := range from.matching {
			if sel.pods != nil {
				sel.pods.remove(addr)
				t.touch(sel.pods)
			}
		}
	}
	if to != nil {
		to.addresses[addr] = struct{}{}
		for sel := range to.matching {
			if sel.pods != nil {
				sel.pods.add(addr)
				t.touch(sel.pods)
			}
		}
	}
}

// flush gives the deltas of all sets since the last flush, sorted by id, and drops sets without users.
func (t *setStore) flush() []*ringfencev1.AddressSetDelta {
	var out []*ringfencev1.AddressSetDelta
	for _, s := range slices.SortedFunc(maps.Keys(take(&t.touched)), func(a, b *addressSet) int { return cmp.Compare(a.id, b.id) }) {
		if d := s.delta(); d != nil {
			out = append(out, d)
		}
		if s.users == 0 {
			t.drop(s)
		}
	}
	return out
}

func (t *setStore) drop(s *addressSet) {
	delete(t.byID, s.id)
	if s.keeper != nil && s.keeper.pods == s {
		s.keeper.pods = nil
	}
}

// messages gives all sets in use, whole, sorted by id.
func (t *setStore) messages() []*ringfencev1.AddressSet {
	var out []*ringfencev1.AddressSet
	for _, id := range slices.Sorted(maps.Keys(t.byID)) {
		if s := t.byID[id]; s.users > 0 {
			out = append(out, s.message())
		}
	}
	return out
}

// serviceView is how rules with one set of ports see the Services that a selector matches: one address set per service
// port that the rules reach.
type serviceView struct {
	selector *selector
	ports    portSet
	sets     map[exposed]*addressSet
	// policies refer to the view and are compiled anew when its ports change.
	policies map[*workloadPolicy]struct{}
}

// exposed is a port at which a ClusterIP answers.
type exposed struct {
	protocol uint8
	port     uint16
}

func (x exposed) portSet() portSet {
	return newPortSet([]portRange{{protocol: int32(x.protocol), from: uint32(x.port), to: uint32(x.port), icmpType: anyICMP, icmpCode: anyICMP}})
}

// reaches tells whether a rule on the ports opens a service port: it names the service port or a target port behind it.
func (s portSet) reaches(port servicePort) bool {
	return s.contains(port.protocol, port.port) ||
		slices.ContainsFunc(port.targets, func(target uint16) bool { return s.contains(port.protocol, target) })
}

// view gives the selector's view for the ports, filled.
func (t *setStore) view(sel *selector, ports portSet) *serviceView {
	if v := sel.views[ports.key]; v != nil {
		return v
	}
	v := &serviceView{selector: sel, ports: ports, sets: map[exposed]*addressSet{}, policies: map[*workloadPolicy]struct{}{}}
	sel.views[ports.key] = v
	t.refresh(v)
	return v
}

// refresh brings a view up to date with its Services and reports whether it reaches other ports now.
func (t *setStore) refresh(v *serviceView) bool {
	want := map[exposed]map[netip.Addr]struct{}{}
	for ls := range v.selector.matched {
		for svc := range ls.services {
			for _, port := range svc.ports {
				if v.ports.reaches(port) {
					for _, addr := range svc.owned {
						link(want, exposed{port.protocol, port.port}, addr)
					}
				}
			}
		}
	}
	changed := false
	for x, set := range v.sets {
		if want[x] == nil {
			delete(v.sets, x)
			t.release(set)
			changed = true
		}
	}
	for x, members := range want {
		if v.sets[x] == nil {
			v.sets[x] = t.acquire(t.clusterIPs(v, x))
			changed = true
		}
		v.sets[x].become(members)
		t.touch(v.sets[x])
	}
	return changed
}

func (t *setStore) clusterIPs(v *serviceView, x exposed) *addressSet {
	port := x.portSet().key
	return t.get(fmt.Sprintf("services %s on %s for %s", v.selector.key, port, v.ports.key),
		fmt.Sprintf("Services: %s, answering on %s, for rules on %s", v.selector, port, v.ports.key))
}

// dropView gives up a view that no policy uses.
func (t *setStore) dropView(v *serviceView) {
	for _, set := range v.sets {
		t.release(set)
	}
	delete(v.selector.views, v.ports.key)
}
