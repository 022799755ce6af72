package ringfence_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/ringfence/ringfence/libs/clas"
	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/eventlog/eventlogtest"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
	"github.com/ringfence/ringfence/tools/ringfence"
)

// publish writes the shop's facts into a real log, in two halves with the moment between them.
func publish(t *testing.T, log *eventlog.Log) (between time.Time) {
	t.Helper()
	producer := log.Producer("watcher")
	for _, e := range shop(t) {
		if e.Sequence == 30 {
			time.Sleep(5 * time.Millisecond)
			between = time.Now()
			time.Sleep(5 * time.Millisecond)
		}
		if _, err := producer.Publish(t.Context(), eventlog.Draft{Subject: e.Subject, Fact: e.Fact}); err != nil {
			t.Fatal(err)
		}
	}
	return between
}

// engineAt folds the shop by hand, up to a sequence.
func engineAt(t *testing.T, sequence uint64) *clas.Engine {
	t.Helper()
	engine := clas.New()
	for _, e := range shop(t)[:sequence] {
		if err := engine.Apply(e.Subject, e.Sequence, e.Fact); err != nil {
			t.Fatal(err)
		}
	}
	return engine
}

// snapshot writes a snapshot of the shop, as policy-store does.
func snapshot(t *testing.T, log *eventlog.Log, sequence uint64, computed eventlog.Computed) {
	t.Helper()
	if _, err := log.WriteSnapshot(t.Context(), sequence, computed, engineAt(t, sequence).Snapshot()); err != nil {
		t.Fatal(err)
	}
}

func computedAt(t *testing.T, sequence uint64) eventlog.Computed {
	return eventlog.Computed{Engine: clas.Version, Digest: engineAt(t, sequence).Digest()}
}

func at(t *testing.T, source ringfence.Source, place ringfence.Place) *ringfence.State {
	t.Helper()
	state, err := ringfence.At(t.Context(), source, place, nil)
	if err != nil {
		t.Fatalf("%+v: %v", place, err)
	}
	return state
}

func TestAFoldBeginsWithTheNewestSnapshotBelowThePlace(t *testing.T) {
	_, log := eventlogtest.StartLog(t)
	between := publish(t, log)
	for _, sequence := range []uint64{10, 20, 29, 33} {
		snapshot(t, log, sequence, computedAt(t, sequence))
	}
	for _, c := range []struct {
		place                     ringfence.Place
		sequence, snapshot, facts uint64
	}{
		{ringfence.Place{}, 34, 33, 1},
		{ringfence.Place{Sequence: 33}, 33, 33, 0},
		{ringfence.Place{Sequence: 32}, 32, 29, 3},
		{ringfence.Place{Time: between}, 29, 29, 0},
		{ringfence.Place{Sequence: 15}, 15, 10, 5},
		{ringfence.Place{Sequence: 9}, 9, 0, 9},
	} {
		state := at(t, log, c.place)
		if state.Sequence != c.sequence || state.Start.Snapshot != c.snapshot || state.Facts != c.facts || state.Start.Verified != (c.snapshot > 0) {
			t.Errorf("%+v: sequence %d by %+v and %d facts, want %+v", c.place, state.Sequence, state.Start, state.Facts, c)
		}
		if got, want := state.Engine.Digest(), engineAt(t, c.sequence).Digest(); got != want {
			t.Errorf("%+v: digest %s, want %s", c.place, got, want)
		}
		if state.StoredAt.IsZero() || state.Incarnation != log.Incarnation() {
			t.Errorf("%+v: stored at %s in %q", c.place, state.StoredAt, state.Incarnation)
		}
	}
}

func TestASnapshotThatIsNoGoodIsSetAside(t *testing.T) {
	_, log := eventlogtest.StartLog(t)
	publish(t, log)
	snapshot(t, log, 20, eventlog.Computed{Engine: "clas/0", Digest: "of another engine"})
	snapshot(t, log, 29, eventlog.Computed{Engine: clas.Version, Digest: "not what its facts give"})
	if _, err := log.WriteSnapshot(t.Context(), 30, computedAt(t, 30), engineAt(t, 25).Snapshot()); err != nil {
		t.Fatal(err)
	}
	state := at(t, log, ringfence.Place{})
	if state.Start.Snapshot != 20 || state.Start.Verified || state.Start.Engine != "clas/0" || state.Facts != 14 {
		t.Errorf("by %+v and %d facts, want the snapshot at 20 of clas/0", state.Start, state.Facts)
	}
	aside := state.Start.SetAside
	if len(aside) != 2 || !strings.Contains(aside[0], "its facts end at 25") || !strings.Contains(aside[1], "another policy") {
		t.Errorf("set aside: %q", aside)
	}
	if got, want := state.Engine.Digest(), engineAt(t, 34).Digest(); got != want {
		t.Errorf("digest %s, want %s", got, want)
	}
}

func TestAPlaceThatTheLogDoesNotReachIsRefused(t *testing.T) {
	_, log := eventlogtest.StartLog(t)
	early := time.Now()
	if _, err := ringfence.At(t.Context(), log, ringfence.Place{Time: early}, nil); !errors.Is(err, ringfence.ErrOutOfRange) {
		t.Errorf("a time in an empty log: %v", err)
	}
	if state := at(t, log, ringfence.Place{}); state.Sequence != 0 || state.Engine.Digest() != clas.New().Digest() {
		t.Errorf("an empty log is at %d", state.Sequence)
	}
	publish(t, log)
	file := memory(t, exportShop(t))
	old := time.Date(2026, 1, 31, 11, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		source ringfence.Source
		place  ringfence.Place
	}{
		"beyond the log": {log, ringfence.Place{Sequence: 35}}, "before the log": {log, ringfence.Place{Time: early}},
		"beyond the file": {file, ringfence.Place{Sequence: 35}}, "before the file": {file, ringfence.Place{Time: old}},
	} {
		if _, err := ringfence.At(t.Context(), c.source, c.place, nil); !errors.Is(err, ringfence.ErrOutOfRange) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestATrimmedLogFoldsFromItsSnapshot trims the log below a snapshot, as policy-store does when it fills up.
func TestATrimmedLogFoldsFromItsSnapshot(t *testing.T) {
	ctx := t.Context()
	_, log := eventlogtest.StartLog(t)
	publish(t, log)
	if err := log.Trim(ctx, 21); err != nil {
		t.Fatal(err)
	}
	if _, err := ringfence.At(ctx, log, ringfence.Place{}, nil); !errors.Is(err, ringfence.ErrOutOfRange) {
		t.Fatalf("a trimmed log without snapshot: %v, want ErrOutOfRange", err)
	}
	snapshot(t, log, 15, computedAt(t, 15)) // facts after it are gone
	snapshot(t, log, 29, computedAt(t, 29))
	for _, sequence := range []uint64{29, 31, 34} {
		if got, want := at(t, log, ringfence.Place{Sequence: sequence}).Engine.Digest(), engineAt(t, sequence).Digest(); got != want {
			t.Errorf("sequence %d: digest %s, want %s", sequence, got, want)
		}
	}
	_, err := ringfence.At(ctx, log, ringfence.Place{Sequence: 28}, nil)
	if !errors.Is(err, ringfence.ErrOutOfRange) || !strings.Contains(err.Error(), "from sequence 29 on") {
		t.Errorf("before the snapshot: %v", err)
	}
}

// TestANewIncarnationStartsAnew renews a log, whose first fact then is not at sequence 1.
func TestANewIncarnationStartsAnew(t *testing.T) {
	_, log := eventlogtest.StartLog(t)
	publish(t, log)
	if err := log.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	if state := at(t, log, ringfence.Place{}); state.Sequence != 34 || state.Engine.Digest() != clas.New().Digest() {
		t.Errorf("the new incarnation is at %d with a policy", state.Sequence)
	}
	publish(t, log)
	if state := at(t, log, ringfence.Place{}); state.Sequence != 68 || state.Facts != 34 || state.Engine.Digest() != engineAt(t, 34).Digest() {
		t.Errorf("filled again: sequence %d after %d facts", state.Sequence, state.Facts)
	}
	_, err := ringfence.At(t.Context(), log, ringfence.Place{Sequence: 20}, nil)
	if !errors.Is(err, ringfence.ErrOutOfRange) || !strings.Contains(err.Error(), "it starts at 35") {
		t.Errorf("before the incarnation: %v", err)
	}
}

func TestReplayComparesWithTheLivePolicy(t *testing.T) {
	ctx := t.Context()
	_, log := eventlogtest.StartLog(t)
	publish(t, log)
	if _, live, err := ringfence.AtLive(ctx, log, nil); err != nil || live != nil {
		t.Fatalf("before the first policy: live %v, error %v", live, err)
	}
	for digest, equal := range map[string]bool{engineAt(t, 29).Digest(): true, strings.Repeat("0", 64): false} {
		head(ctx, t, log, 29, digest)
		state, live, err := ringfence.AtLive(ctx, log, nil)
		if err != nil {
			t.Fatal(err)
		}
		if live == nil || live.Equal != equal || state.Sequence != 29 {
			t.Errorf("digest %s: live %+v after sequence %d, want equal %t after 29", digest, live, state.Sequence, equal)
		}
	}
}

// head publishes a policy's head, as policy-store does.
func head(ctx context.Context, t *testing.T, log *eventlog.Log, sequence uint64, digest string) {
	t.Helper()
	version := &ringfencev1.Version{Incarnation: log.Incarnation(), Sequence: sequence}
	err := log.PublishWindow(ctx, &ringfencev1.Window{Number: 1, Version: version}, eventlog.Objects{},
		&ringfencev1.PolicyHead{Version: version, Digest: digest, Engine: clas.Version}, nil)
	if err != nil {
		t.Fatal(err)
	}
}

func TestARefusedFactIsNamedAndChangesNothing(t *testing.T) {
	_, log := eventlogtest.StartLog(t)
	producer := log.Producer("watcher")
	for _, e := range shop(t) {
		fact := proto.CloneOf(e.Fact)
		if e.Subject == eventlog.KubernetesSubject("pod", "shop", "web-3") {
			fact.GetPod().Addresses = []string{"10.0.1.999"}
		}
		if _, err := producer.Publish(t.Context(), eventlog.Draft{Subject: e.Subject, Fact: fact}); err != nil {
			t.Fatal(err)
		}
	}
	state := at(t, log, ringfence.Place{})
	if len(state.Refused) != 1 || !strings.Contains(state.Refused[0], "10.0.1.999") || !strings.Contains(state.Refused[0], "web-3") {
		t.Errorf("refused %q, want one line that names web-3 and its address", state.Refused)
	}
	if got, want := state.Engine.Digest(), engineAt(t, 33).Digest(); got != want {
		t.Errorf("digest %s, want that of the log without the fact: %s", got, want)
	}
}

func TestNames(t *testing.T) {
	_, log := eventlogtest.StartLog(t)
	publish(t, log)
	names, err := ringfence.ReadNames(t.Context(), log)
	if err != nil {
		t.Fatal(err)
	}
	for want, address := range map[string][]byte{
		"shop/web-1": {10, 0, 1, 1}, "shop/service/api": {10, 96, 0, 10}, "node/node-2": {192, 0, 2, 2}, "203.0.113.7": {203, 0, 113, 7}, "0102": {1, 2},
	} {
		if got := names.Of(address); got != want {
			t.Errorf("%v is %q, want %q", address, got, want)
		}
	}
}
