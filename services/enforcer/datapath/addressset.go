package datapath

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"

	"go4.org/netipx"
)

// AddressSet holds addresses of peers: single ones, which change often and are looked up by hash, and ranges, which
// change seldom.
type AddressSet struct {
	ID string
	// V4 and V6 are 4 and 16 bytes each, sorted, without repetition.
	V4, V6 [][]byte
	// Ranges4 and Ranges6 are sorted and neither overlap nor touch.
	Ranges4, Ranges6 []netipx.IPRange
}

// NewAddressSet sorts and merges addresses (4 or 16 bytes each) and prefixes in CIDR form. It keeps references to the
// addresses. The error names the set and the entry.
func NewAddressSet(id string, addresses [][]byte, prefixes []string) (*AddressSet, error) {
	if !validToken(id, 128, true) {
		return nil, fmt.Errorf("address set %q: its id is not 1 to 128 letters, digits, '_', '-' or '.'", id)
	}
	s := &AddressSet{ID: id}
	for i, a := range addresses {
		switch len(a) {
		case 4:
			s.V4 = append(s.V4, a)
		case 16:
			s.V6 = append(s.V6, a)
		default:
			return nil, fmt.Errorf("address set %s: address %d has %d bytes, not 4 or 16", id, i, len(a))
		}
	}
	s.V4, s.V6 = sortUnique(s.V4), sortUnique(s.V6)
	if err := s.addRanges(prefixes); err != nil {
		return nil, fmt.Errorf("address set %s: %w", id, err)
	}
	return s, nil
}

func (s *AddressSet) addRanges(prefixes []string) error {
	var b netipx.IPSetBuilder
	for i, text := range prefixes {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return fmt.Errorf("prefix %d: %w", i, err)
		}
		b.AddPrefix(p.Masked())
	}
	merged, err := b.IPSet()
	if err != nil {
		return fmt.Errorf("merge prefixes: %w", err)
	}
	for _, r := range merged.Ranges() {
		if r.From().Is4() {
			s.Ranges4 = append(s.Ranges4, r)
		} else {
			s.Ranges6 = append(s.Ranges6, r)
		}
	}
	return nil
}

func sortUnique(list [][]byte) [][]byte {
	if !slices.IsSortedFunc(list, bytes.Compare) {
		slices.SortFunc(list, bytes.Compare)
	}
	return slices.CompactFunc(list, bytes.Equal)
}

// Diff compares two sorted lists of addresses.
func Diff(before, after [][]byte) (added, removed [][]byte) {
	for len(before) > 0 && len(after) > 0 {
		switch c := bytes.Compare(before[0], after[0]); {
		case c == 0:
			before, after = before[1:], after[1:]
		case c < 0:
			removed, before = append(removed, before[0]), before[1:]
		default:
			added, after = append(added, after[0]), after[1:]
		}
	}
	return append(added, after...), append(removed, before...)
}
