package policystore

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/ringfence/ringfence/libs/eventlog"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

func snapshotsAt(sequences ...uint64) (infos []*ringfencev1.SnapshotInfo) {
	for _, s := range sequences {
		infos = append(infos, &ringfencev1.SnapshotInfo{Version: &ringfencev1.Version{Sequence: s}})
	}
	return infos
}

func placesOf(infos []*ringfencev1.SnapshotInfo) (sequences []uint64) {
	for _, i := range infos {
		sequences = append(sequences, i.GetVersion().GetSequence())
	}
	return sequences
}

func TestSnapshotsThatGoLeaveTheLeastGaps(t *testing.T) {
	for _, tt := range []struct {
		name    string
		have    []uint64
		trimmed bool
		keep    int
		want    []uint64
	}{
		{"room for all", []uint64{30, 20, 10}, true, 3, []uint64{30, 20, 10}},
		{"two close to each other", []uint64{300, 205, 200, 100}, true, 3, []uint64{300, 200, 100}},
		{"two close at the end", []uint64{301, 300, 200, 100}, true, 3, []uint64{301, 200, 100}},
		{"the newest and the oldest stay", []uint64{400, 300, 200, 100}, true, 2, []uint64{400, 100}},
		{"room for one", []uint64{400, 300, 200, 100}, true, 1, []uint64{400}},
		{"one stays in any case", []uint64{400, 300}, false, 0, []uint64{400}},
		{"a log from its first fact needs no snapshot there", []uint64{400, 300, 200, 5}, false, 3, []uint64{400, 300, 200}},
		{"none", nil, false, 3, nil},
	} {
		stay, gone := spread(snapshotsAt(tt.have...), 0, tt.trimmed, tt.keep)
		if got := placesOf(stay); !slices.Equal(got, tt.want) || len(stay)+len(gone) != len(tt.have) {
			t.Errorf("%s: %v stay, want %v; %v go", tt.name, got, tt.want, placesOf(gone))
		}
	}
}

// However long a log grows, with snapshots by count, by time and at stops, no place is further after one than a few times what is
// unavoidable.
func TestNoPlaceIsFarFromASnapshot(t *testing.T) {
	const seed, keep = 1, 20
	random := rand.New(rand.NewPCG(seed, seed))
	t.Logf("seed %d", seed)
	var have []*ringfencev1.SnapshotInfo
	last := uint64(0)
	for range 3000 {
		step := uint64(100_000)
		if random.IntN(3) == 0 {
			step = 1 + random.Uint64N(99_999) // a stop, or the time
		}
		last += step
		have, _ = spread(append(snapshotsAt(last), have...), 0, false, keep)
		widest, above := uint64(0), last
		for _, s := range append(placesOf(have)[1:], 0) {
			widest, above = max(widest, above-s), s
		}
		if least := max(100_000, last/(keep+1)); widest > 3*least {
			t.Fatalf("of %d facts a place is %d after a snapshot; evenly spread it were %d", last, widest, least)
		}
	}
}

func TestRoomForSnapshots(t *testing.T) {
	for _, tt := range []struct {
		room            int64
		bytes, messages uint64
		most            uint32
		want            int
	}{
		{150 << 20, 5 << 20, 11, 11, 26}, // 100,000 pods, storage of 1 GiB
		{150 << 20, 0, 0, 1, mostSnapshots},
		{0, 1000, 10, 10, mostSnapshots}, // without limit
		{10 << 20, 8 << 20, 9, 9, 1},
		{1 << 40, 1 << 20, 10, 10, mostSnapshots},
	} {
		if got := roomFor(tt.room, tt.bytes, tt.messages, tt.most); got != tt.want {
			t.Errorf("%+v: %d", tt, got)
		}
	}
}

// Every place of a log is near a snapshot, and every snapshot, with the facts after it, gives the policy of now; no snapshot was
// cut off by the stream's own limit.
func TestSnapshotsAreSpreadOverTheLog(t *testing.T) {
	t.Parallel()
	p := startProcess(t, t.TempDir(), func(c *childConfig) { c.SnapshotFacts, c.Storage = 20, 12<<20 })
	l := p.open("test")
	produce(t, l, "pce-bridge", console(t))
	watcher := produce(t, l, "watcher", kubernetes())
	nc := p.conn("operator")
	padded := func(n int) eventlog.Draft {
		d := pod(n % 200)
		d.Fact.GetPod().Annotations = map[string]string{"com.illumio.pad": fmt.Sprintf("%0*x", 2000, n)}
		for i := range 40 { // what does not compress
			d.Fact.GetPod().Annotations[fmt.Sprintf("com.illumio.pad-%d", i)] = fmt.Sprint(rand.New(rand.NewPCG(uint64(n), uint64(i))).Uint64())
		}
		return d
	}
	var last uint64
	for n := range 1000 {
		var err error
		if last, err = watcher.Publish(t.Context(), padded(n)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, func() error {
		if s := p.status(nc); s.Sequence != last {
			return fmt.Errorf("folded to %d of %d", s.Sequence, last)
		}
		return nil
	})
	digest := p.status(nc).Digest
	p.stop()
	p.start()
	l = p.open("test")
	infos, err := l.Snapshots(t.Context())
	if err != nil || len(infos) < 5 {
		t.Fatalf("%d snapshots, %v", len(infos), err)
	}
	for _, info := range infos {
		if got := replayedFrom(t, l, info); got != digest {
			t.Errorf("the snapshot at %d and what came after give %s, want %s", info.GetVersion().GetSequence(), got, digest)
		}
	}
	widest, above := uint64(0), last
	for _, s := range append(placesOf(infos), 0) {
		widest, above = max(widest, above-s), s
	}
	usage, err := l.SnapshotUsage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d snapshots of %d facts take %d of %d bytes; the furthest place is %d after one: %v", len(infos), last, usage.Bytes, usage.MaxBytes, widest, placesOf(infos))
	if even := last / uint64(len(infos)); widest > 4*even {
		t.Errorf("a place is %d facts after a snapshot, of %d that are spread over %d", widest, len(infos), last)
	}
}
