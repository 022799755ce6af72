package policystore

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/eventlog/eventlogtest"
)

// The clock of policy-store's node goes back an hour, then forth, over a clean stop and over a crash: to the next process all that
// is stored, facts, snapshots, policy and reports, is of the future, or of long ago. It is the same log and the same policy, and
// everything goes on.
func TestAClockThatLeapsChangesNothing(t *testing.T) {
	t.Parallel()
	p := startProcess(t, t.TempDir(), func(c *childConfig) { c.SnapshotFacts = 40 })
	l := p.open("test")
	f := follow(t, p.conn("enforcer"))
	knows := kubernetes()
	for n := 3; n < 50; n++ {
		knows = append(knows, pod(n))
	}
	produce(t, l, "watcher", knows)
	produce(t, l, "pce-bridge", console(t))
	f.holds(49)
	nc := p.conn("operator")
	pods := 49
	for _, leap := range []time.Duration{time.Hour, -2 * time.Hour, 90 * time.Minute, -25 * time.Hour} {
		for _, name := range []string{"clean stop", "crash"} {
			report(t, nc)
			eventually(t, func() error { // a snapshot is there
				infos, err := l.Snapshots(t.Context())
				if err == nil && len(infos) == 0 {
					err = errors.New("no snapshot")
				}
				return err
			})
			before := p.status(nc)
			if name == "crash" {
				p.kill()
			} else {
				p.stop()
			}
			for _, stream := range []string{"FACTS", "SNAP", "POLICY", "PLAN", "FLOWS", "STATUS"} {
				if eventlogtest.Shift(t, p.config.StoreDir, stream, 1, leap) == 0 {
					t.Fatalf("stream %s is empty", stream)
				}
			}
			p.start()
			eventually(t, func() error {
				if s := p.status(nc); s.Digest != before.Digest || s.Sequence < before.Sequence || s.Incarnation != before.Incarnation || s.Window == 0 || len(s.Synced) != 2 {
					return fmt.Errorf("after a leap of %s over a %s: status %+v, was %+v", leap, name, s, before)
				}
				return nil
			})
			// The next who leads takes over from those of another time, and what it writes comes after theirs.
			var watcher *eventlog.Producer
			eventually(t, func() (err error) { // as soon as it is connected again
				watcher, err = l.Lead(t.Context(), "watcher", "next")
				return err
			})
			for range 10 {
				pods++
				if sequence, err := watcher.Publish(t.Context(), pod(pods)); err != nil || sequence <= before.Sequence {
					t.Fatalf("published at %d after %d: %v", sequence, before.Sequence, err)
				}
			}
			f.holds(pods)
			if head, want := published(t, l), replayed(t, l); head.GetDigest() != want {
				t.Errorf("the digest is %s, a replay gives %s", head.GetDigest(), want)
			}
			statuses, err := l.NodeStatuses(t.Context())
			if err != nil || len(statuses) != 40 {
				t.Errorf("%d nodes are reported, %v", len(statuses), err)
			}
		}
	}
	if n := len(p.lines("restored from a snapshot")); n != 8 {
		t.Errorf("%d of 8 starts were from a snapshot", n)
	}
	for _, words := range []string{"facts were lost", "is set aside", "is damaged"} {
		if said := p.lines(words); len(said) > 0 {
			t.Errorf("it said %q", said)
		}
	}
}
