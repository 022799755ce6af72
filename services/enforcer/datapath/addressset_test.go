package datapath_test

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/services/enforcer/datapath"
)

func TestAddressSetIsSortedAndMerged(t *testing.T) {
	v6 := append([]byte{0xfd}, make([]byte, 15)...)
	s, err := datapath.NewAddressSet("web", [][]byte{{10, 0, 0, 2}, v6, {10, 0, 0, 1}, {10, 0, 0, 2}},
		[]string{"10.1.0.128/25", "10.1.0.7/25", "10.1.0.64/26", "fd00::/16"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([][]byte{{10, 0, 0, 1}, {10, 0, 0, 2}}, s.V4); diff != "" || len(s.V6) != 1 {
		t.Errorf("IPv4 %s, %d of IPv6", diff, len(s.V6))
	}
	if len(s.Ranges4) != 1 || s.Ranges4[0].String() != "10.1.0.0-10.1.0.255" || len(s.Ranges6) != 1 {
		t.Errorf("ranges %v and %v", s.Ranges4, s.Ranges6)
	}
}

// TestDiffAgainstMaps compares with the definition on random sets of few addresses.
func TestDiffAgainstMaps(t *testing.T) {
	const seed = 1
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, seed))
	draw := func() [][]byte {
		var list [][]byte
		for i := range byte(12) {
			if random.IntN(2) == 0 {
				list = append(list, []byte{10, 0, 0, i})
			}
		}
		return list
	}
	in := func(list [][]byte, a []byte) bool {
		return slices.ContainsFunc(list, func(b []byte) bool { return bytes.Equal(a, b) })
	}
	for range 2000 {
		before, after := draw(), draw()
		added, removed := datapath.Diff(before, after)
		for i := range byte(12) {
			a := []byte{10, 0, 0, i}
			if in(added, a) != (in(after, a) && !in(before, a)) || in(removed, a) != (in(before, a) && !in(after, a)) {
				t.Fatalf("from %v to %v: added %v, removed %v", before, after, added, removed)
			}
		}
	}
}

func FuzzAddressSet(f *testing.F) {
	f.Add("web", []byte{10, 0, 0, 1}, "10.0.0.0/8")
	f.Add("", []byte{1}, "::/0")
	f.Add("a b", make([]byte, 16), "10.0.0.0/33")
	f.Fuzz(func(t *testing.T, id string, address []byte, prefix string) {
		s, err := datapath.NewAddressSet(id, [][]byte{address, address}, []string{prefix, prefix})
		if err != nil {
			return
		}
		if len(s.V4)+len(s.V6) != 1 || len(s.Ranges4)+len(s.Ranges6) != 1 {
			t.Errorf("one address and one prefix, each twice, gave %+v", s)
		}
	})
}
