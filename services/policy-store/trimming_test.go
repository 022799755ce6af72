package policystore

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/libs/clas"
	"github.com/ringfence/ringfence/libs/eventlog"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

func TestAFullLogForgetsOnlyWhatASnapshotCovers(t *testing.T) {
	p := startProcess(t, t.TempDir(), func(c *childConfig) { c.Storage = 8 << 20 })
	l := p.open("test")
	f := follow(t, p.conn("enforcer"))
	deposed, err := l.Lead(t.Context(), "watcher", "earlier")
	if err != nil {
		t.Fatal(err)
	}
	watcher, err := l.Lead(t.Context(), "watcher", "now")
	if err != nil {
		t.Fatal(err)
	}
	if err := watcher.PublishAll(t.Context(), kubernetes()); err != nil {
		t.Fatal(err)
	}
	if err := watcher.Synced(t.Context()); err != nil {
		t.Fatal(err)
	}
	produce(t, l, "pce-bridge", console(t))
	f.holds(2)
	padded := pod(2)
	padded.Fact.GetPod().Annotations = map[string]string{"com.illumio.pad": strings.Repeat("x", 20_000)}
	refused := 0
	for range 400 { // 8 MB into room for 3.2
		eventually(t, func() error {
			_, err := watcher.Publish(t.Context(), padded)
			if err != nil {
				refused++
				if !errors.Is(err, eventlog.ErrFull) || !strings.Contains(err.Error(), padded.Subject) {
					t.Fatalf("refused by %v", err)
				}
			}
			return err
		})
	}
	t.Logf("%d publications were refused until room was made", refused)
	usage, err := l.Usage(t.Context())
	if err != nil || usage.First == 1 {
		t.Fatalf("nothing was trimmed: %+v, %v", usage, err)
	}
	snapshots, err := l.Snapshots(t.Context())
	if err != nil || len(snapshots) == 0 {
		t.Fatalf("snapshots %v, %v", snapshots, err)
	}
	if oldest := snapshots[len(snapshots)-1].GetVersion().GetSequence(); usage.First > oldest+1 {
		t.Errorf("facts from %d on are kept, and the oldest snapshot is of %d", usage.First, oldest)
	}
	nc := p.conn("operator")
	last, err := l.LastSequence(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if s := p.status(nc); s.Sequence != last {
			return fmt.Errorf("folded to %d of %d", s.Sequence, last)
		}
		return nil
	})
	digest := p.status(nc).Digest
	if _, err := deposed.Publish(t.Context(), pod(3)); !errors.Is(err, eventlog.ErrDeposed) {
		t.Errorf("who led before its epoch was trimmed may write: %v", err)
	}
	for _, info := range snapshots {
		if got := replayedFrom(t, l, info); got != digest {
			t.Errorf("the snapshot at %d and what came after give %s, want %s", info.GetVersion().GetSequence(), got, digest)
		}
	}
	p.kill()
	p.start()
	eventually(t, func() error {
		if s := p.status(nc); s.Digest != digest || s.Incarnation != l.Incarnation() || s.Window == 0 {
			return fmt.Errorf("status %+v, want digest %s", s, digest)
		}
		return nil
	})
}

// replayedFrom is the digest that a snapshot and the facts after it give.
func replayedFrom(t *testing.T, l *eventlog.Log, info *ringfencev1.SnapshotInfo) string {
	t.Helper()
	engine, err := clas.Restore(l.ReadSnapshot(t.Context(), info))
	if err != nil {
		t.Fatal(err)
	}
	for e, err := range l.Read(t.Context(), info.GetVersion().GetSequence()+1, 0) {
		if err == nil {
			err = engine.Apply(e.Subject, e.Sequence, e.Fact)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return engine.Digest()
}
