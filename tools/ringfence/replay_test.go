package ringfence_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
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

// fold folds the shop by hand.
func fold(t *testing.T, until ringfence.Until) *ringfence.Replay {
	t.Helper()
	r, err := ringfence.Fold(sequence(shop(t)), until)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Refused) > 0 {
		t.Fatalf("the shop's facts are refused: %q", r.Refused)
	}
	return r
}

func replayFile(t *testing.T, name string, until ringfence.Until) *ringfence.Replay {
	t.Helper()
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	r, err := ringfence.ReplayFile(file, until, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestExportReplaysToTheDigestOfTheLog(t *testing.T) {
	ctx := t.Context()
	_, log := eventlogtest.StartLog(t)
	between := publish(t, log)
	before, now := fold(t, ringfence.Until{Sequence: 29}).Engine.Digest(), fold(t, ringfence.Until{}).Engine.Digest()
	if before == now {
		t.Fatal("the second half of the shop's log changes nothing: this test would not fail")
	}
	var steps []uint64
	for _, name := range []string{"shop.jsonl", "shop.jsonl.gz"} {
		name = filepath.Join(t.TempDir(), name)
		steps = nil
		done, err := ringfence.ExportFile(ctx, log, 0, name, func(sequence, _ uint64) { steps = append(steps, sequence) })
		if err != nil {
			t.Fatal(err)
		}
		if done != (ringfence.Exported{Facts: 34, First: 1, Last: 34}) || len(steps) != 34 {
			t.Errorf("exported %+v with %d steps", done, len(steps))
		}
		for _, c := range []struct {
			until ringfence.Until
			want  string
		}{
			{ringfence.Until{}, now}, {ringfence.Until{Sequence: 34}, now}, {ringfence.Until{Sequence: 29}, before}, {ringfence.Until{Time: between}, before},
		} {
			fromLog, err := ringfence.ReplayLog(ctx, log, c.until, nil)
			if err != nil {
				t.Fatal(err)
			}
			fromFile := replayFile(t, name, c.until)
			if got := fromFile.Engine.Digest(); got != c.want || fromLog.Engine.Digest() != c.want {
				t.Errorf("%+v: digest of the file %s, of the log %s, want %s", c.until, got, fromLog.Engine.Digest(), c.want)
			}
			if fromFile.Incarnation != log.Incarnation() || fromFile.Last != fromLog.Last || len(fromFile.Damage) > 0 {
				t.Errorf("%+v: the file gives incarnation %s up to %d, the log %s up to %d; damage %q",
					c.until, fromFile.Incarnation, fromFile.Last, log.Incarnation(), fromLog.Last, fromFile.Damage)
			}
		}
	}
}

func TestAPlaceThatTheLogDoesNotReachIsRefused(t *testing.T) {
	_, log := eventlogtest.StartLog(t)
	early := time.Now()
	if _, err := ringfence.ReplayLog(t.Context(), log, ringfence.Until{Time: early}, nil); !errors.Is(err, ringfence.ErrOutOfRange) {
		t.Errorf("a time in an empty log: %v", err)
	}
	publish(t, log)
	for _, until := range []ringfence.Until{{Sequence: 35}, {Time: early}} {
		if _, err := ringfence.ReplayLog(t.Context(), log, until, nil); !errors.Is(err, ringfence.ErrOutOfRange) {
			t.Errorf("%+v of the log: %v", until, err)
		}
	}
	file, err := os.ReadFile(shopFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, until := range []ringfence.Until{{Sequence: 35}, {Time: time.Date(2026, 1, 31, 11, 0, 0, 0, time.UTC)}} {
		if _, err := ringfence.ReplayFile(bytes.NewReader(file), until, nil); !errors.Is(err, ringfence.ErrOutOfRange) {
			t.Errorf("%+v of the file: %v", until, err)
		}
	}
	if _, err := ringfence.Export(t.Context(), log, 35, &bytes.Buffer{}, nil); !errors.Is(err, ringfence.ErrOutOfRange) {
		t.Errorf("export up to 35: %v", err)
	}
}

// TestATrimmedLogReplaysFromItsSnapshot trims the log below a snapshot, as policy-store does when it fills up.
func TestATrimmedLogReplaysFromItsSnapshot(t *testing.T) {
	ctx := t.Context()
	_, log := eventlogtest.StartLog(t)
	publish(t, log)
	at29, now := fold(t, ringfence.Until{Sequence: 29}), fold(t, ringfence.Until{}).Engine.Digest()
	if err := log.Trim(ctx, 21); err != nil {
		t.Fatal(err)
	}
	if _, err := ringfence.ReplayLog(ctx, log, ringfence.Until{}, nil); !errors.Is(err, ringfence.ErrOutOfRange) {
		t.Fatalf("a trimmed log without snapshot: %v, want ErrOutOfRange", err)
	}
	if _, err := log.WriteSnapshot(ctx, 29, eventlog.Computed{}, at29.Engine.Snapshot()); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "trimmed.jsonl")
	if _, err := ringfence.ExportFile(ctx, log, 0, name, nil); err != nil {
		t.Fatal(err)
	}
	for until, want := range map[ringfence.Until]string{{}: now, {Sequence: 29}: at29.Engine.Digest(), {Sequence: 34}: now} {
		r, err := ringfence.ReplayLog(ctx, log, until, nil)
		if err != nil {
			t.Fatalf("%+v: %v", until, err)
		}
		if got, file := r.Engine.Digest(), replayFile(t, name, until).Engine.Digest(); got != want || file != want {
			t.Errorf("%+v: digest of the log %s, of the file %s, want %s", until, got, file, want)
		}
	}
	_, err := ringfence.ReplayLog(ctx, log, ringfence.Until{Sequence: 28}, nil)
	if !errors.Is(err, ringfence.ErrOutOfRange) || !strings.Contains(err.Error(), "from sequence 29 on") {
		t.Errorf("before the snapshot: %v", err)
	}
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := ringfence.ReplayFile(file, ringfence.Until{Sequence: 28}, nil); !errors.Is(err, ringfence.ErrOutOfRange) {
		t.Errorf("before the snapshot, in the file: %v", err)
	}
}

func TestReplayComparesWithTheLivePolicy(t *testing.T) {
	ctx := t.Context()
	_, log := eventlogtest.StartLog(t)
	publish(t, log)
	at29 := fold(t, ringfence.Until{Sequence: 29}).Engine.Digest()
	if _, live, err := ringfence.ReplayLive(ctx, log, nil); err != nil || live != nil {
		t.Fatalf("before the first policy: live %v, error %v", live, err)
	}
	for digest, equal := range map[string]bool{at29: true, strings.Repeat("0", 64): false} {
		head(ctx, t, log, 29, digest)
		r, live, err := ringfence.ReplayLive(ctx, log, nil)
		if err != nil {
			t.Fatal(err)
		}
		if live == nil || live.Equal != equal || r.Last != 29 {
			t.Errorf("digest %s: live %+v after sequence %d, want equal %t after 29", digest, live, r.Last, equal)
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
	facts := shop(t)
	for i, e := range facts {
		if e.Subject == eventlog.KubernetesSubject("pod", "shop", "web-3") {
			facts[i].Fact = proto.CloneOf(e.Fact)
			facts[i].Fact.GetPod().Addresses = []string{"10.0.1.999"}
		}
	}
	r, err := ringfence.Fold(sequence(facts), ringfence.Until{})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Refused) != 1 || !strings.Contains(r.Refused[0], "10.0.1.999") || !strings.Contains(r.Refused[0], "web-3") {
		t.Errorf("refused %q, want one line that names web-3 and its address", r.Refused)
	}
	if got, want := r.Engine.Digest(), fold(t, ringfence.Until{Sequence: 33}).Engine.Digest(); got != want {
		t.Errorf("digest %s, want that of the log without the fact: %s", got, want)
	}
}

func TestExportLeavesNoHalfFileBehind(t *testing.T) {
	_, log := eventlogtest.StartLog(t)
	publish(t, log)
	ctx, cancel := context.WithCancel(t.Context())
	dir := t.TempDir()
	_, err := ringfence.ExportFile(ctx, log, 0, filepath.Join(dir, "shop.jsonl"), func(uint64, uint64) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v, want that of the context", err)
	}
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
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
