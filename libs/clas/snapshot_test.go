package clas_test

import (
	"iter"
	"math/rand/v2"
	"slices"
	"testing"

	pb "github.com/ringfence/ringfence/proto/ringfence/v1"
	"google.golang.org/protobuf/proto"

	"github.com/ringfence/ringfence/libs/clas"
	"github.com/ringfence/ringfence/libs/internal/soak"
)

func withoutErrors(entries iter.Seq[*pb.SnapshotEntry]) iter.Seq2[*pb.SnapshotEntry, error] {
	return func(yield func(*pb.SnapshotEntry, error) bool) {
		for e := range entries {
			if !yield(e, nil) {
				return
			}
		}
	}
}

func TestASnapshotIsOfItsMoment(t *testing.T) {
	e := clas.New()
	apply(t, e, shop()...)
	want, at, snapshot := e.Digest(), e.Sequence(), e.Snapshot()
	apply(t, e, gone(podFact(runningPod("shop", "web", "", "")), ""), labelFact("x", "role", "x"))
	restored, err := clas.Restore(withoutErrors(snapshot))
	if err != nil || restored.Digest() != want || restored.Sequence() != at {
		t.Errorf("restored at %d, want %d: %v", restored.Sequence(), at, err)
	}
	for range e.Snapshot() {
		break // a reader may stop early
	}
}

// TestASnapshotIsReadWhileTheEngineGoesOn reads every snapshot elsewhere while facts come and flushes happen. What it gives is what it
// gave at its moment, and nothing that it reads is written meanwhile, which the race detector of the gate looks for.
func TestASnapshotIsReadWhileTheEngineGoesOn(t *testing.T) {
	seed := soak.Seed(t)
	for run := range uint64(snapshotRuns) {
		x := newTrial(rand.NewPCG(seed, run), tally{})
		if err := x.apply(x.g.start()); err != nil {
			t.Fatal(err)
		}
		for range stepsPerRun {
			want, late := slices.Collect(x.engine.Snapshot()), x.engine.Snapshot()
			read := make(chan []*pb.SnapshotEntry)
			go func() { read <- slices.Collect(late) }()
			err := x.apply(x.g.step())
			x.engine.Flush()
			x.engine.Digest()
			got := <-read
			if err != nil {
				t.Fatalf("RINGFENCE_SEED=%d, run %d: %v", seed, run, err)
			}
			if !slices.EqualFunc(got, want, func(a, b *pb.SnapshotEntry) bool { return proto.Equal(a, b) }) {
				t.Fatalf("RINGFENCE_SEED=%d, run %d, after %d facts: the snapshot gives other entries than at its moment", seed, run, len(x.log))
			}
		}
	}
}

const snapshotRuns = 20
