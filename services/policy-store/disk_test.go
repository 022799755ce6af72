package policystore

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ringfence/ringfence/libs/eventlog"
)

// smallDisk mounts a file system of its own, with a ballast file that can be removed to make room.
func smallDisk(t *testing.T, bytes, ballast int) (dir, weight string) {
	t.Helper()
	if os.Geteuid() != 0 && os.Getenv("CI") == "" {
		t.Skip("mounting a small disk needs root")
	}
	dir = t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", bytes)); err != nil {
		t.Fatalf("mount a small disk: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	weight = filepath.Join(dir, "ballast")
	if err := os.WriteFile(weight, make([]byte, ballast), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir, weight
}

func TestAFullDiskKeepsWhatWasAcknowledged(t *testing.T) {
	dir, ballast := smallDisk(t, 24<<20, 12<<20)
	p := startProcess(t, filepath.Join(dir, "log"), func(c *childConfig) { c.Storage = 1 << 30 }) // far beyond the disk
	l := p.open("test")
	f := follow(t, p.conn("enforcer"))
	watcher := produce(t, l, "watcher", kubernetes())
	produce(t, l, "pce-bridge", console(t))
	f.holds(2)
	states := len(f.all())

	random := rand.New(rand.NewPCG(1, 1))
	padded := func() eventlog.Draft { // with what does not compress: full blocks would make room else
		var pad strings.Builder
		for range 6000 {
			fmt.Fprintf(&pad, "%016x", random.Uint64())
		}
		d := pod(2)
		d.Fact.GetPod().Annotations = map[string]string{"com.illumio.pad": pad.String()}
		return d
	}
	var full eventlog.Draft
	var acknowledged uint64
	for range 1000 {
		full = padded()
		sequence, err := watcher.Publish(t.Context(), full)
		if err != nil {
			expected := errors.Is(err, eventlog.ErrFull) || errors.Is(err, eventlog.ErrNoAnswer)
			if !expected || !strings.Contains(err.Error(), full.Subject) {
				t.Fatalf("the disk is full, and publishing says: %v", err)
			}
			break
		}
		acknowledged = sequence
	}
	if acknowledged == 0 || acknowledged >= 1000 {
		t.Fatalf("the disk did not fill up: %d facts", acknowledged)
	}
	eventually(t, func() error {
		if n := len(p.lines("the log cannot write", "no space left on device")); n != 1 {
			return fmt.Errorf("%d lines about the disk, want 1", n)
		}
		return nil
	})
	if _, err := watcher.Publish(t.Context(), full); err == nil || !strings.Contains(err.Error(), full.Subject) {
		t.Errorf("a full disk answers: %v", err)
	}
	// The last policy is still there for those who join.
	follow(t, p.conn("late")).holds(2)
	if all := f.all(); len(all[len(all)-1].Plan.GetPods()) != 2 || len(all) < states {
		t.Errorf("the follower went to %+v", all[len(all)-1])
	}

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error { _, err := watcher.Publish(t.Context(), pod(3)); return err })
	f.holds(3)
	var read uint64
	for e, err := range l.Read(t.Context(), 1, 0) {
		if err != nil {
			t.Fatal(err)
		}
		read = e.Sequence
	}
	if read <= acknowledged {
		t.Errorf("the log ends at %d, %d was acknowledged", read, acknowledged)
	}
}

func TestAReadOnlyDiskIsWaitedFor(t *testing.T) {
	dir, _ := smallDisk(t, 64<<20, 0)
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	p := startProcess(t, filepath.Join(dir, "log"))
	eventually(t, func() error {
		if len(p.lines("read-only file system")) == 0 {
			return errors.New("no line about it")
		}
		return nil
	})
	time.Sleep(time.Second)
	if lines := p.lines("read-only file system"); len(lines) != 1 {
		t.Errorf("%d lines about one disk: %v", len(lines), lines)
	}
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT, ""); err != nil {
		t.Fatal(err)
	}
	produce(t, p.open("test"), "watcher", kubernetes())
}
