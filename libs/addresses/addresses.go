// Package addresses reads and changes the packed lists of addresses that policy is sent in (ringfence.v1.Addresses). It knows
// nothing of who has an address. An empty list is nil, so that equal lists are equal messages. Lists are never changed in place, so they
// may be shared.
package addresses

import (
	"bytes"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"sort"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// Bytes of an address.
const (
	size4 = 4
	size6 = 16
)

// Of packs addresses, which may come in any order and more than once. IPv4 addresses in their IPv6 form are IPv4 addresses.
func Of(list ...netip.Addr) *ringfencev1.Addresses {
	sorted := make([]netip.Addr, len(list))
	for i, a := range list {
		sorted[i] = a.Unmap().WithZone("")
	}
	slices.SortFunc(sorted, netip.Addr.Compare)
	out := &ringfencev1.Addresses{}
	for _, a := range slices.Compact(sorted) {
		if a.Is4() {
			out.Ipv4 = append(out.Ipv4, a.AsSlice()...)
		} else {
			out.Ipv6 = append(out.Ipv6, a.AsSlice()...)
		}
	}
	return orNil(out)
}

func orNil(list *ringfencev1.Addresses) *ringfencev1.Addresses {
	if len(list.Ipv4)+len(list.Ipv6) == 0 {
		return nil
	}
	return list
}

// All gives the addresses in ascending order, IPv4 before IPv6.
func All(list *ringfencev1.Addresses) iter.Seq[netip.Addr] {
	return func(yield func(netip.Addr) bool) {
		for b := range slices.Chunk(list.GetIpv4(), size4) {
			if a, ok := netip.AddrFromSlice(b); ok && !yield(a) {
				return
			}
		}
		for b := range slices.Chunk(list.GetIpv6(), size6) {
			if a, ok := netip.AddrFromSlice(b); ok && !yield(a) {
				return
			}
		}
	}
}

// Len is how many addresses there are.
func Len(list *ringfencev1.Addresses) int {
	return len(list.GetIpv4())/size4 + len(list.GetIpv6())/size6
}

// Check says what is wrong with a list that came from elsewhere: parts of an address, or addresses that do not ascend.
func Check(list *ringfencev1.Addresses) error {
	if err := check(list.GetIpv4(), size4); err != nil {
		return fmt.Errorf("ipv4: %w", err)
	}
	if err := check(list.GetIpv6(), size6); err != nil {
		return fmt.Errorf("ipv6: %w", err)
	}
	return nil
}

func check(packed []byte, size int) error {
	if len(packed)%size != 0 {
		return fmt.Errorf("%d bytes, which is no whole number of addresses", len(packed))
	}
	for i := size; i < len(packed); i += size {
		if bytes.Compare(packed[i-size:i], packed[i:i+size]) >= 0 {
			return fmt.Errorf("address %d does not follow the one before", i/size)
		}
	}
	return nil
}

// Change gives the list with some addresses taken out and then others put in. All three must be as Check wants them. It
// costs a copy of the list and a search in it for each address that changes.
func Change(list, added, removed *ringfencev1.Addresses) *ringfencev1.Addresses {
	if Len(added)+Len(removed) == 0 {
		return list
	}
	return orNil(&ringfencev1.Addresses{
		Ipv4: change(list.GetIpv4(), added.GetIpv4(), removed.GetIpv4(), size4),
		Ipv6: change(list.GetIpv6(), added.GetIpv6(), removed.GetIpv6(), size6),
	})
}

func change(list, added, removed []byte, size int) []byte {
	if len(added)+len(removed) == 0 {
		return list
	}
	out := make([]byte, 0, len(list)+len(added))
	for len(added)+len(removed) > 0 {
		var next []byte
		comes := len(removed) == 0 || len(added) > 0 && bytes.Compare(added[:size], removed[:size]) <= 0
		if comes {
			next, added = added[:size], added[size:]
		} else {
			next, removed = removed[:size], removed[size:]
		}
		if comes && bytes.HasPrefix(removed, next) { // in both: it stays
			removed = removed[size:]
		}
		before := size * sort.Search(len(list)/size, func(i int) bool { return bytes.Compare(list[i*size:(i+1)*size], next) >= 0 })
		out, list = append(out, list[:before]...), list[before:]
		list = bytes.TrimPrefix(list, next)
		if comes {
			out = append(out, next...)
		}
	}
	return append(out, list...)
}

// Join gives two lists as one, the second of which must follow the first in each family.
func Join(first, second *ringfencev1.Addresses) *ringfencev1.Addresses {
	return orNil(&ringfencev1.Addresses{
		Ipv4: slices.Concat(first.GetIpv4(), second.GetIpv4()), Ipv6: slices.Concat(first.GetIpv6(), second.GetIpv6()),
	})
}

// Split cuts a list into pieces of at most limit bytes, which Join puts together again; limit must hold an address.
func Split(list *ringfencev1.Addresses, limit int) []*ringfencev1.Addresses {
	var out []*ringfencev1.Addresses
	for piece := range slices.Chunk(list.GetIpv4(), limit/size4*size4) {
		out = append(out, &ringfencev1.Addresses{Ipv4: piece})
	}
	for piece := range slices.Chunk(list.GetIpv6(), limit/size6*size6) {
		out = append(out, &ringfencev1.Addresses{Ipv6: piece})
	}
	return out
}
