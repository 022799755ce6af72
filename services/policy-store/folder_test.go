package policystore

import (
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"
)

// A second policy-store on the same folder, as while a node that was lost comes back, touches nothing and says so; it takes over
// when the first one ends, in order or not.
func TestOneFolderOneServer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := startProcess(t, dir)
	l := first.open("test")
	watcher := produce(t, l, "watcher", kubernetes())
	produce(t, l, "pce-bridge", console(t))
	second := startProcess(t, dir)
	eventually(t, func() error {
		if len(second.lines("another policy-store serves it", dir)) == 0 {
			return errors.New("no line that names the folder")
		}
		return nil
	})
	if len(second.lines(`"message":"the log is served"`)) > 0 {
		t.Fatal("two servers on one folder")
	}
	last, err := watcher.Publish(t.Context(), pod(3)) // the first goes on undisturbed
	if err != nil {
		t.Fatal(err)
	}
	first.kill()
	for n, end := range []func(){func() { second.stop() }, func() {}} {
		after := second.open("test")
		facts := 0
		for _, err := range after.Read(t.Context(), 1, 0) {
			if err != nil {
				t.Fatal(err)
			}
			facts++
		}
		if after.Incarnation() != l.Incarnation() || uint64(facts) < last {
			t.Errorf("takeover %d has %d facts of %d, incarnation %s, was %s", n, facts, last, after.Incarnation(), l.Incarnation())
		}
		end()
		if n == 0 {
			second = startProcess(t, dir)
		}
	}
}

// A pod has thirty seconds to stop in: until then everybody was let go, the last snapshot is written, and all that was
// acknowledged is there for the next one, with clients and writers by the hundred.
func TestAStopUnderLoadTakesNoLongerThanAPodHas(t *testing.T) {
	t.Parallel()
	const grace = 30 * time.Second // terminationGracePeriodSeconds of the chart
	p := startProcess(t, t.TempDir())
	l := loadOf(t, p.open("test"), 24, 2*time.Millisecond)
	for n := range 300 {
		follow(t, p.conn(fmt.Sprintf("enforcer-%d", n)))
	}
	l.awaits(500)
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- p.cmd.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("it ended with %v", err)
		}
	case <-time.After(grace):
		t.Fatal("it was killed in its grace period")
	}
	last, snapshots := l.acknowledged.Load(), 0
	p.start()
	l.awaits(100) // the writers go on by themselves
	fresh := p.open("test")
	infos, err := fresh.Snapshots(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if snapshots = len(infos); snapshots == 0 {
		t.Error("the stop left no snapshot")
	}
	if len(p.lines("restored from a snapshot")) != 1 {
		t.Error("the next start read the log anew")
	}
	l.verify(fresh)
	t.Logf("%d facts were acknowledged when it stopped, %d snapshots", last, snapshots)
}
