package policystore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/ringfence/ringfence/libs/eventlog"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// load publishes without end from many goroutines of one producer, and remembers what was acknowledged. A fact whose
// publication failed is not published again: it may be stored or not.
type load struct {
	t       *testing.T
	stop    context.CancelFunc
	working sync.WaitGroup
	// pace is the pause after every acknowledgement.
	pace time.Duration
	// patience is the longest wait for acknowledgements.
	patience time.Duration

	acknowledged atomic.Int64
	mu           sync.Mutex
	sequences    map[string]uint64 // by subject
	wrong        []error
	refused      error // the last
}

// loadOf starts writers of single facts, and one of batches, with a producer that leads.
func loadOf(t *testing.T, log *eventlog.Log, writers int, pace time.Duration) *load {
	t.Helper()
	producer, err := log.Lead(t.Context(), "watcher", "load")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	l := &load{t: t, stop: stop, pace: pace, patience: 30 * time.Second, sequences: map[string]uint64{}}
	t.Cleanup(l.end)
	for w := range writers {
		l.working.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				d := loadPod(fmt.Sprintf("%d-%d", w, n), n)
				sequence, err := producer.Publish(ctx, d)
				l.take(ctx, err, sequence, d)
			}
		})
	}
	l.working.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			batch := make([]eventlog.Draft, 100)
			for i := range batch {
				batch[i] = loadPod(fmt.Sprintf("batch-%d-%d", n, i), i)
			}
			l.take(ctx, producer.PublishAll(ctx, batch), 0, batch...)
		}
	})
	return l
}

func loadPod(name string, n int) eventlog.Draft {
	return eventlog.Draft{Subject: eventlog.KubernetesSubject("pod", "load", name), Fact: &ringfencev1.Fact{Body: &ringfencev1.Fact_Pod{Pod: &ringfencev1.Pod{
		Namespace: "load", Name: name, Uid: "uid-" + name, Node: "node-2", Phase: ringfencev1.PodPhase_POD_PHASE_RUNNING,
		Addresses: []string{fmt.Sprintf("10.1.%d.%d", n/250%250, n%250+1)}, Annotations: map[string]string{"com.illumio.pad": strings.Repeat("x", 300)},
	}}}}
}

func (l *load) take(ctx context.Context, err error, sequence uint64, ds ...eventlog.Draft) {
	if err == nil {
		l.mu.Lock()
		for _, d := range ds {
			l.sequences[d.Subject] = sequence
		}
		l.mu.Unlock()
		l.acknowledged.Add(int64(len(ds)))
	} else if l.refuse(err); errors.Is(err, eventlog.ErrIncarnation) || errors.Is(err, eventlog.ErrGap) || errors.Is(err, eventlog.ErrDeposed) {
		l.mu.Lock()
		l.wrong = append(l.wrong, err)
		l.mu.Unlock()
	}
	select {
	case <-ctx.Done():
	case <-time.After(l.pace):
	}
}

func (l *load) refuse(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refused = err
}

// end stops the writers.
func (l *load) end() {
	l.stop()
	l.working.Wait()
}

// awaits waits until so many more facts are acknowledged.
func (l *load) awaits(more int64) {
	l.t.Helper()
	want := l.acknowledged.Load() + more
	within(l.t, l.patience, func() error {
		if have := l.acknowledged.Load(); have < want {
			l.mu.Lock()
			defer l.mu.Unlock()
			return fmt.Errorf("%d facts are acknowledged, want %d; the last refusal is %w", have, want, l.refused)
		}
		return nil
	})
}

// verify reads the whole log: every acknowledged fact is where it was said to be, and none is there twice.
func (l *load) verify(log *eventlog.Log) {
	l.t.Helper()
	l.end()
	for _, err := range l.wrong {
		l.t.Error(err)
	}
	stored := map[string]uint64{}
	for e, err := range log.Read(l.t.Context(), 1, 0, "facts.k8s.pod.load.>") {
		if err != nil {
			l.t.Fatal(err)
		}
		if at, twice := stored[e.Subject]; twice {
			l.t.Errorf("%s is at %d and at %d", e.Subject, at, e.Sequence)
		}
		stored[e.Subject] = e.Sequence
	}
	lost := 0
	for subject, said := range l.sequences {
		if at, there := stored[subject]; !there || said != 0 && at != said {
			if lost++; lost < 10 {
				l.t.Errorf("%s was acknowledged at %d, and is at %d", subject, said, at)
			}
		}
	}
	l.t.Logf("%d facts were acknowledged, %d are stored, %d lost", len(l.sequences), len(stored), lost)
}

func TestAKillLosesNothing(t *testing.T) {
	p := startProcess(t, t.TempDir())
	l := p.open("test")
	f := follow(t, p.conn("enforcer"))
	produce(t, l, "pce-bridge", console(t))
	watcher := produce(t, l, "watcher", kubernetes())
	f.holds(2)
	nc := p.conn("operator")
	pods := 2
	for round := range 3 {
		pods++
		if _, err := watcher.Publish(t.Context(), pod(pods)); err != nil {
			t.Fatal(err)
		}
		// Some rounds are killed while the window is on its way, others when all is calm.
		if round > 0 {
			f.holds(pods)
		}
		last, err := l.LastSequence(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		p.kill()
		p.start()
		eventually(t, func() error {
			if s := p.status(nc); s.Sequence != last || s.Window == 0 || s.Incarnation != l.Incarnation() {
				return fmt.Errorf("status %+v, want sequence %d", s, last)
			}
			return nil
		})
		head := published(t, l)
		if want := replayed(t, l); head.GetDigest() != want {
			t.Errorf("round %d: digest %s, a replay of the log gives %s", round, head.GetDigest(), want)
		}
		f.holds(pods)
	}
	before := uint64(0)
	for _, s := range f.all() {
		if n := uint64(len(s.Plan.GetPods())); n < before {
			t.Errorf("window %d: back from %d pods to %d", s.Window, before, n)
		} else {
			before = n
		}
	}
}

func TestTwentyKillsUnderLoadLoseNothing(t *testing.T) {
	t.Parallel()
	p := startProcess(t, t.TempDir(), func(c *childConfig) { c.StagingDir = t.TempDir() })
	log := p.open("test")
	l := loadOf(t, log, 24, 2*time.Millisecond)
	for round := range 20 {
		l.awaits(50 + int64(round)*10) // killed at another place each time
		p.kill()
		p.start()
	}
	l.awaits(100)
	l.end()
	fresh := p.open("test")
	l.verify(fresh)
	if fresh.Incarnation() != log.Incarnation() {
		t.Error("the kills gave another incarnation")
	}
}

// blockDevice makes a file system on a block device of its own, whose power can be cut.
func blockDevice(t *testing.T) (mount, cut func(), dir string) {
	t.Helper()
	if os.Geteuid() != 0 && os.Getenv("CI") == "" {
		t.Skip("mounting a block device needs root")
	}
	image := filepath.Join(t.TempDir(), "disk")
	dir = t.TempDir()
	run := func(name string, args ...string) string {
		t.Helper()
		out, err := exec.Command(name, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
		}
		return strings.TrimSpace(string(out))
	}
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 512<<20); err != nil {
		t.Fatal(err)
	}
	run("mkfs.ext4", "-q", "-F", image)
	device := run("losetup", "--find", "--show", image)
	mounted := false
	unmount := func() {
		if mounted {
			mounted = false
			run("umount", dir)
		}
	}
	t.Cleanup(func() { unmount(); run("losetup", "--detach", device) })
	mount = func() { t.Helper(); unmount(); run("mount", device, dir); mounted = true }
	cut = func() { t.Helper(); shutDown(t, dir) }
	mount()
	return mount, cut, dir
}

// shutDown makes the kernel forget whatever a file system has not written, its journal included, and refuse it from then on:
// what is on the device is what a power cut leaves.
func shutDown(t *testing.T, dir string) {
	t.Helper()
	const shutdownRequest, withoutFlush = 0x8004587d, 2 // FS_IOC_SHUTDOWN, FS_SHUTDOWN_FLAGS_NOLOGFLUSH of linux/fs.h
	folder, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	flags := uint32(withoutFlush)
	if _, _, code := syscall.Syscall(syscall.SYS_IOCTL, folder.Fd(), shutdownRequest, uintptr(unsafe.Pointer(&flags))); code != 0 {
		t.Fatalf("cut the power of %s: %v", dir, code)
	}
}

func TestPowerCutsUnderLoadLoseNothing(t *testing.T) {
	t.Parallel()
	mount, cut, dir := blockDevice(t)
	p := startProcess(t, filepath.Join(dir, "log"), func(c *childConfig) { c.StagingDir = t.TempDir() })
	log := p.open("test")
	l := loadOf(t, log, 64, 0)
	for range 4 {
		l.awaits(3000)
		cut()
		p.kill()
		mount()
		p.start()
	}
	l.awaits(500)
	l.end()
	if n := l.acknowledged.Load(); n < 10_000 {
		t.Errorf("%d facts were acknowledged, want 10,000", n)
	}
	fresh := p.open("test")
	l.verify(fresh)
	if fresh.Incarnation() != log.Incarnation() {
		t.Error("the power cuts gave another incarnation")
	}
	p.kill()
}

// What a helm upgrade changes about degraded mode is a fact like any other: the log replays it exactly.
func TestAChangeOfDegradedModeReplays(t *testing.T) {
	p := startProcess(t, t.TempDir())
	l := p.open("test")
	watcher := produce(t, l, "watcher", kubernetes())
	bridge := produce(t, l, "pce-bridge", console(t))
	nc := p.conn("operator")
	settings := func(fail ringfencev1.DegradedModePolicyFail) eventlog.Draft {
		return eventlog.Draft{Subject: eventlog.SettingsSubject, Fact: &ringfencev1.Fact{Body: &ringfencev1.Fact_Settings{
			Settings: &ringfencev1.Settings{ClusterId: "c", DegradedModePolicyFail: fail},
		}}}
	}
	down := eventlog.Draft{Subject: eventlog.LinkSubject, Fact: &ringfencev1.Fact{Body: &ringfencev1.Fact_PceLink{PceLink: &ringfencev1.PceLink{Reason: "away"}}}}
	fresh := pod(9)
	fresh.Fact.GetPod().Annotations = map[string]string{"com.illumio.role": "new"}
	digests := map[string]bool{}
	for _, step := range []struct {
		producer *eventlog.Producer
		draft    eventlog.Draft
	}{
		{bridge, settings(ringfencev1.DegradedModePolicyFail_DEGRADED_MODE_POLICY_FAIL_OPEN)},
		{bridge, down},
		{watcher, fresh},
		{bridge, settings(ringfencev1.DegradedModePolicyFail_DEGRADED_MODE_POLICY_FAIL_CLOSED)},
		{bridge, settings(ringfencev1.DegradedModePolicyFail_DEGRADED_MODE_POLICY_FAIL_COMPUTED)},
	} {
		sequence, err := step.producer.Publish(t.Context(), step.draft)
		if err != nil {
			t.Fatal(err)
		}
		var s Status
		eventually(t, func() error {
			if s = p.status(nc); s.Sequence != sequence {
				return fmt.Errorf("at %d, want %d", s.Sequence, sequence)
			}
			return nil
		})
		if want := replayed(t, l); s.Digest != want {
			t.Errorf("at %d the digest is %s, a replay gives %s", sequence, s.Digest, want)
		}
		digests[s.Digest] = true
	}
	if len(digests) < 4 { // the first settings may say what holds anyway
		t.Errorf("the changes gave %d policies", len(digests))
	}
}
