package clas_test

import (
	"slices"
	"strings"
	"testing"

	pb "github.com/ringfence/ringfence/proto/ringfence/v1"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ringfence/ringfence/libs/clas"
)

// opening lets web reach api on a port, in a version of two chunks with an IP list beside it.
func opening(version int64, port uint32) []entry {
	out := provisioned(version, 2, ipList("x", span("192.0.2.1", "")), webToAPI(tcp(port)))
	for _, e := range out {
		if p := e.fact.GetProvisioned(); p != nil {
			p.ProvisionedAt = &timestamppb.Timestamp{Seconds: int64(port)}
		}
	}
	return out
}

// openPorts gives the ports on which web may reach api, of the few that versions here open.
func openPorts(t *testing.T, e *clas.Engine) []uint16 {
	t.Helper()
	var out []uint16
	for _, port := range []uint16{80, 81, 82} {
		if ask(t, e, "shop/web", "shop/api", port) == clas.Allowed {
			out = append(out, port)
		}
	}
	return out
}

func TestAVersionTakesEffectWhenItIsComplete(t *testing.T) {
	first, second := opening(1, 80), opening(2, 81) // object, object, chunk, chunk; the IP list is the same in both
	orders := map[string][]int{
		"objects first":       {1, 2, 3},
		"chunks first":        {2, 3, 1},
		"the last chunk last": {1, 2, 3},
		"chunks backwards":    {1, 3, 2},
		"object in between":   {3, 1, 2},
	}
	for name, order := range orders {
		t.Run(name, func(t *testing.T) {
			e := clas.New()
			apply(t, e, shop()...)
			apply(t, e, first...)
			for i, n := range order {
				if got := openPorts(t, e); !slices.Equal(got, []uint16{80}) || e.Policy().ProvisionedVersion != 1 {
					t.Errorf("before part %d: version %d opens %v", i, e.Policy().ProvisionedVersion, got)
				}
				apply(t, e, second[n])
			}
			if got := openPorts(t, e); !slices.Equal(got, []uint16{81}) || e.Policy().ProvisionedVersion != 2 {
				t.Errorf("complete: version %d opens %v", e.Policy().ProvisionedVersion, got)
			}
			expectWarnings(t, e.Policy(), "")
		})
	}
}

func TestAnIncompleteVersionIsNamed(t *testing.T) {
	e := clas.New()
	apply(t, e, shop()...)
	apply(t, e, opening(7, 80)...)
	next := opening(8, 81)
	warning := func(want ...string) {
		t.Helper()
		if got := e.Policy().Warnings; !slices.Equal(got, want) {
			t.Errorf("warnings %q, want %q", got, want)
		}
	}
	prefix := "provisioned version 8 is incomplete, version 7 stays in force: "
	apply(t, e, next[3])
	warning(prefix + "1 of 2 chunks are there")
	apply(t, e, next[2])
	warning(prefix + "object " + setHref("s") + " (sha256 " + objectHash(webToAPI(tcp(81))) + ") is missing")
	apply(t, e, gone(next[2], ""))
	warning(prefix + "1 of 2 chunks are there")
	apply(t, e, gone(next[3], ""))
	warning()
	if got := openPorts(t, e); !slices.Equal(got, []uint16{80}) {
		t.Errorf("opens %v", got)
	}
}

func TestManyMissingObjectsAreCounted(t *testing.T) {
	e := clas.New()
	var objects []*pb.PceObject
	for _, name := range strings.Split("abcdefgh", "") {
		objects = append(objects, ipList(name, span("192.0.2.1", "")))
	}
	apply(t, e, provisioned(1, 1, objects...)[len(objects)])
	got := e.Policy().Warnings
	if len(got) != 6 || got[0] != "provisioned version 1 is incomplete, version 0 stays in force: 3 more objects are missing" {
		t.Errorf("warnings %q", got)
	}
}

func TestTheLatestCompleteVersionWins(t *testing.T) {
	e := clas.New()
	apply(t, e, shop()...)
	apply(t, e, opening(9, 80)...)
	apply(t, e, opening(3, 81)...) // a console restored from a backup
	if got := openPorts(t, e); !slices.Equal(got, []uint16{81}) || e.Policy().ProvisionedVersion != 3 {
		t.Errorf("the older number: version %d opens %v", e.Policy().ProvisionedVersion, got)
	}
	apply(t, e, opening(9, 82)...) // counts up to the same number again, with other rules
	if got := openPorts(t, e); !slices.Equal(got, []uint16{82}) {
		t.Errorf("the number again: opens %v", got)
	}
	apply(t, e, opening(3, 81)[2:]...)
	if got := openPorts(t, e); !slices.Equal(got, []uint16{82}) {
		t.Errorf("an old manifest whose objects are gone: opens %v", got)
	}
}

func TestTwoVersionsOfOneNumberNeverMix(t *testing.T) {
	e := clas.New()
	apply(t, e, shop()...)
	first, second := opening(9, 80), opening(9, 81)
	apply(t, e, first...)
	apply(t, e, second[0], second[1], second[3])
	if got := openPorts(t, e); !slices.Equal(got, []uint16{80}) {
		t.Errorf("with one chunk of each: opens %v", got)
	}
	apply(t, e, second[2])
	if got := openPorts(t, e); !slices.Equal(got, []uint16{81}) {
		t.Errorf("with both chunks of the second: opens %v", got)
	}
}

func TestAnEmptyVersionClosesEverything(t *testing.T) {
	e := clas.New()
	apply(t, e, shop()...)
	apply(t, e, opening(1, 80)...)
	apply(t, e, provisioned(2, 1)...)
	if got := openPorts(t, e); len(got) > 0 || e.Policy().ProvisionedVersion != 2 {
		t.Errorf("version %d opens %v", e.Policy().ProvisionedVersion, got)
	}
}

func TestAVersionInForceKeepsWhatItConsistsOf(t *testing.T) {
	e := clas.New()
	apply(t, e, shop()...)
	apply(t, e, opening(1, 80)...)
	before := e.Digest()
	for _, x := range opening(1, 80) {
		apply(t, e, gone(x, ""))
	}
	if e.Digest() != before {
		t.Errorf("tombstones of its parts changed it: %+v", e.Policy())
	}
	restored, err := clas.Restore(withoutErrors(e.Snapshot()))
	if err != nil || restored.Digest() != before {
		t.Errorf("restored: %v", err)
	}
	apply(t, e, opening(1, 80)...)
	if e.Digest() != before {
		t.Errorf("its parts again changed it: %+v", e.Policy())
	}
}

func TestAnObjectThatNoVersionHoldsMayGo(t *testing.T) {
	e := clas.New()
	apply(t, e, shop()...)
	next := opening(1, 80)
	apply(t, e, next[0], next[1], gone(next[1], ""), next[2], next[3])
	if got := e.Policy().ProvisionedVersion; got != 0 {
		t.Errorf("version %d is in force without an object", got)
	}
	apply(t, e, gone(next[0], ""), next[1])
	if got := e.Policy().Warnings; len(got) != 1 || !strings.Contains(got[0], listHref("x")) {
		t.Errorf("warnings %q", got)
	}
	apply(t, e, next[0])
	if got := e.Policy().ProvisionedVersion; got != 1 {
		t.Errorf("version %d, want 1", got)
	}
}

func TestOnlyTheVersionChangesEveryPlan(t *testing.T) {
	e := clas.New()
	apply(t, e, opening(1, 80)...)
	e.Flush()
	apply(t, e, provisioned(2, 1, ipList("x", span("192.0.2.1", "")), webToAPI(tcp(80)))...)
	if d := e.Flush(); d.Empty() || d.ProvisionedVersion != 2 {
		t.Errorf("without a node: %+v", d)
	}
	apply(t, e, shop()...)
	e.Flush()
	apply(t, e, opening(3, 80)...)
	if d := e.Flush(); len(d.Plans) > 0 || d.ProvisionedVersion != 3 || len(d.Policies)+len(d.Sets) > 0 {
		t.Errorf("with nodes: %+v", d)
	}
}
