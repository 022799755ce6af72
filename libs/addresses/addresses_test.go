package addresses

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

func TestOfSortsAndDropsRepeats(t *testing.T) {
	list := Of(addrs("10.0.0.9", "fd00::1", "10.0.0.1", "::ffff:10.0.0.9", "fd00::")...)
	if want := addrs("10.0.0.1", "10.0.0.9", "fd00::", "fd00::1"); !slices.Equal(slices.Collect(All(list)), want) || Len(list) != len(want) {
		t.Errorf("%v of length %d, want %v", slices.Collect(All(list)), Len(list), want)
	}
	if err := Check(list); err != nil {
		t.Error(err)
	}
}

func TestAllStopsWhereItIsTold(t *testing.T) {
	for at, want := range map[int]string{1: "10.0.0.1", 3: "fd00::1"} {
		var last netip.Addr
		for a := range All(Of(addrs("10.0.0.1", "10.0.0.2", "fd00::1", "fd00::2")...)) {
			last = a
			if at--; at == 0 {
				break
			}
		}
		if last.String() != want {
			t.Errorf("stopped at %s, want %s", last, want)
		}
	}
}

func TestEmptyLists(t *testing.T) {
	for _, list := range []*ringfencev1.Addresses{nil, {}, Of()} {
		if Len(list) != 0 || Check(list) != nil || len(slices.Collect(All(list))) != 0 || len(Split(list, 100)) != 0 {
			t.Errorf("%v is not empty", list)
		}
		if one := Of(addrs("10.0.0.1")...); Len(Change(list, one, nil)) != 1 || Change(list, nil, one) != nil || Len(Join(list, one)) != 1 {
			t.Errorf("%v cannot be changed", list)
		}
	}
}

func TestCheckNamesWhatIsWrong(t *testing.T) {
	for want, list := range map[string]*ringfencev1.Addresses{
		"ipv4: 5 bytes, which is no whole number of addresses":  {Ipv4: make([]byte, 5)},
		"ipv6: 12 bytes, which is no whole number of addresses": {Ipv6: make([]byte, 12)},
		"ipv4: address 1 does not follow the one before":        {Ipv4: []byte{10, 0, 0, 2, 10, 0, 0, 1}},
		"ipv6: address 1 does not follow the one before":        {Ipv6: make([]byte, 32)},
	} {
		if err := Check(list); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// TestChangeIsThatOfSets changes lists at random beside sets of the standard library.
func TestChangeIsThatOfSets(t *testing.T) {
	const seed = 20261126
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	some := func(most int) (out []netip.Addr) {
		for range random.IntN(most + 1) {
			b := [16]byte{0xfd, 15: byte(random.IntN(24))}
			if random.IntN(2) == 0 {
				out = append(out, netip.AddrFrom4([4]byte{10, 0, 0, b[15]}))
			} else {
				out = append(out, netip.AddrFrom16(b))
			}
		}
		return out
	}
	for range 20_000 {
		list, added, removed := Of(some(20)...), Of(some(6)...), Of(some(6)...)
		before := proto.CloneOf(list)
		var want []netip.Addr
		for a := range All(list) {
			if !slices.Contains(slices.Collect(All(removed)), a) {
				want = append(want, a)
			}
		}
		got := Change(list, added, removed)
		if want := Of(append(want, slices.Collect(All(added))...)...); !proto.Equal(got, want) || Check(got) != nil {
			t.Fatalf("%v with %v and without %v is %v, want %v", list, added, removed, got, want)
		}
		if !proto.Equal(before, list) {
			t.Fatalf("%v was changed in place", before)
		}
		var joined *ringfencev1.Addresses
		for _, piece := range Split(got, 16+random.IntN(64)) {
			joined = Join(joined, piece)
		}
		if !proto.Equal(joined, got) {
			t.Fatalf("%v in pieces is %v", got, joined)
		}
	}
}

func addrs(texts ...string) (out []netip.Addr) {
	for _, text := range texts {
		out = append(out, netip.MustParseAddr(text))
	}
	return out
}
