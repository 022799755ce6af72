package policystore

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/ringfence/ringfence/libs/clas"
	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/restore"
	"github.com/ringfence/ringfence/libs/service"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// writers are two producers, each of which leads, opens the log anew when it can no longer write, as services do, and keeps
// what was acknowledged.
type writers struct {
	t    *testing.T
	stop func()

	mu           sync.Mutex
	url          string
	acknowledged map[string]uint64 // sequence by subject
}

// writersPace is how long a writer rests after each fact, which leaves the machine to the servers.
const writersPace = 4 * time.Millisecond

func startWriters(t *testing.T, url string) *writers {
	t.Helper()
	w := &writers{t: t, url: url, acknowledged: map[string]uint64{}}
	ctx, cancel := context.WithCancel(t.Context())
	var working sync.WaitGroup
	for _, name := range []string{"watcher", "pce-bridge"} {
		working.Go(func() {
			for n := 0; ctx.Err() == nil; {
				_ = w.write(ctx, name, &n)
			}
		})
	}
	w.stop = func() { cancel(); working.Wait() }
	t.Cleanup(w.stop)
	return w
}

// write publishes until it fails.
func (w *writers) write(ctx context.Context, name string, n *int) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	nc, err := eventlog.Dialer{URL: w.current(), Name: name, Log: zerolog.Nop()}.Dial(ctx)
	if err != nil {
		return err
	}
	defer nc.Close()
	log, err := eventlog.Open(ctx, nc)
	if err != nil {
		return err
	}
	p, err := log.Lead(ctx, name, "test")
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		*n++
		d := loadPod(fmt.Sprintf("%s-%d", name, *n), *n)
		if name == "pce-bridge" {
			d = eventlog.Draft{Subject: eventlog.LabelSubject(fmt.Sprint(1000 + *n)), Fact: &ringfencev1.Fact{Body: &ringfencev1.Fact_Label{
				Label: &ringfencev1.Label{Href: fmt.Sprintf("/orgs/1/labels/%d", 1000+*n), Key: "app", Value: fmt.Sprint(*n)}}}}
		}
		sequence, err := p.Publish(ctx, d)
		if err != nil {
			return err
		}
		w.mu.Lock()
		w.acknowledged[d.Subject] = sequence
		w.mu.Unlock()
		pause(ctx, writersPace)
	}
	return ctx.Err()
}

func (w *writers) current() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.url
}

// goTo makes the writers use another server when they cannot write to theirs any more.
func (w *writers) goTo(url string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.url = url
}

func (w *writers) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.acknowledged)
}

func (w *writers) awaits(more int) {
	w.t.Helper()
	want := w.count() + more
	within(w.t, time.Minute, func() error {
		if have := w.count(); have < want {
			return fmt.Errorf("%d facts are acknowledged, want %d", have, want)
		}
		return nil
	})
}

// verify ends the writers and looks for every acknowledged fact where it was said to be.
func (w *writers) verify(log *eventlog.Log) {
	w.t.Helper()
	w.stop()
	stored := map[uint64]string{}
	for e, err := range log.Read(w.t.Context(), 0, 0) {
		if err != nil {
			w.t.Fatal(err)
		}
		stored[e.Sequence] = e.Subject
	}
	lost := 0
	for subject, sequence := range w.acknowledged {
		if stored[sequence] != subject {
			lost++
		}
	}
	if lost > 0 {
		w.t.Errorf("%d of %d acknowledged facts are lost", lost, len(w.acknowledged))
	}
	w.t.Logf("%d facts were acknowledged, %d are stored, %d lost", len(w.acknowledged), len(stored), lost)
}

// replayedTo is the digest that the facts up to a sequence give.
func replayedTo(t *testing.T, l *eventlog.Log, to uint64) string {
	t.Helper()
	engine := clas.New()
	for e, err := range l.Read(t.Context(), 0, to) {
		if err != nil {
			t.Fatal(err)
		}
		if err := engine.Apply(e.Subject, e.Sequence, e.Fact); err != nil {
			t.Fatal(err)
		}
	}
	return engine.Digest()
}

// An embedded log under load goes to a cluster of three servers, a process each, and back: nothing that was acknowledged is
// lost, no node sees another verdict, and the past stays what it was.
func TestTheLogMovesUnderLoad(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	dir := t.TempDir()
	p := startProcess(t, dir, func(config *childConfig) { config.SnapshotFacts = 300 })
	log := p.open("test")
	produce(t, log, "watcher", kubernetes())
	produce(t, log, "pce-bridge", console(t))
	node := follow(t, p.conn("enforcer"))
	before := node.holds(2)
	w := startWriters(t, "nats://"+p.config.Listen)
	w.awaits(1000)

	// The move: the same service with the other mode, as a rollout gives it.
	past := p.status(p.conn("operator"))
	p.stop()
	w.goTo(c.url())
	q := startProcess(t, dir, func(config *childConfig) { config.External, config.Move, config.SnapshotFacts = c.url(), true, 300 })
	w.awaits(1000)
	moved, err := eventlog.Open(t.Context(), c.conn("test"))
	if err != nil {
		t.Fatal(err)
	}
	if moved.Incarnation() != log.Incarnation() {
		t.Errorf("the incarnation was %s and is %s", log.Incarnation(), moved.Incarnation())
	}
	there := follow(t, c.conn("enforcer"))
	after := there.holds(2)
	if after.Window <= before.Window || after.Version.GetIncarnation() != before.Version.GetIncarnation() {
		t.Errorf("window %d of %v follows window %d of %v", after.Window, after.Version, before.Window, before.Version)
	}
	w.verify(moved)
	if got := replayedTo(t, moved, past.Sequence); got != past.Digest {
		t.Errorf("sequence %d gave %s before the move, and gives %s", past.Sequence, past.Digest, got)
	}
	for _, state := range there.all() {
		if len(state.Plan.GetPods()) != 2 {
			t.Errorf("window %d: %d pods", state.Window, len(state.Plan.GetPods()))
		}
	}
	caughtUp(t, q, c, moved)
	verifySnapshots(t, moved, past.Sequence)

	// What is left in the folder cannot be taken up, and says where the log is.
	r := startProcess(t, dir, func(config *childConfig) { config.Listen = freeAddress(t) })
	eventually(t, func() error {
		if len(r.lines("has moved", "the NATS cluster at nats://")) == 0 && len(r.lines("in use")) == 0 {
			return errors.New("nothing is said")
		}
		return nil
	})
	r.kill()

	// And back.
	w = startWriters(t, c.url())
	w.awaits(300)
	q.stop()
	w.goTo("nats://" + p.config.Listen)
	p = startProcess(t, dir, func(config *childConfig) { config.Listen, config.From, config.Move = p.config.Listen, c.url(), true })
	w.awaits(300)
	home := p.open("test")
	w.verify(home)
	if home.Incarnation() != log.Incarnation() {
		t.Errorf("the incarnation was %s and is %s", log.Incarnation(), home.Incarnation())
	}
	if got := replayedTo(t, home, past.Sequence); got != past.Digest {
		t.Errorf("sequence %d gave %s before the move, and gives %s", past.Sequence, past.Digest, got)
	}
}

// caughtUp waits until policy-store folded all that is in the log, and compares its digest.
func caughtUp(t *testing.T, p *process, c *natsCluster, log *eventlog.Log) {
	t.Helper()
	last, err := log.LastSequence(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	operator := c.conn("operator")
	eventually(t, func() error {
		if s := p.status(operator); s.Sequence != last {
			return fmt.Errorf("status %+v, want sequence %d", s, last)
		}
		return nil
	})
	if got, want := p.status(operator).Digest, replayed(t, log); got != want {
		t.Errorf("the digest is %s, a replay of the log gives %s", got, want)
	}
}

// verifySnapshots wants snapshots from before a sequence, and each to give its digest.
func verifySnapshots(t *testing.T, log *eventlog.Log, before uint64) {
	t.Helper()
	infos, err := log.Snapshots(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	older := 0
	for _, info := range infos {
		if _, err := restore.Snapshot(info, log.ReadSnapshot(t.Context(), info)); err != nil {
			t.Errorf("snapshot at %d: %v", info.GetVersion().GetSequence(), err)
		}
		if info.GetVersion().GetSequence() <= before {
			older++
		}
	}
	if older == 0 {
		t.Errorf("none of %d snapshots is from before sequence %d", len(infos), before)
	}
}

func TestTheCommandMovesTheLog(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	dir := t.TempDir()
	p := startProcess(t, dir)
	log := p.open("test")
	produce(t, log, "watcher", kubernetes())
	last, err := log.LastSequence(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{
		Config: service.Config{LogURL: c.url()}, External: External{NATSMode: external, Replicas: 3}, Listen: freeAddress(t), StoreDir: dir,
		StorageGi: 1, storage: 256 << 20, SnapshotFacts: 1000, SnapshotInterval: time.Hour,
	}
	run := func(command MoveLog) (answer movedAnswer, progress string, err error) {
		var out, said bytes.Buffer
		command.Config, command.Output = cfg, "json"
		if err := command.Write(t.Context(), &out, &said); err != nil {
			return answer, said.String(), err
		}
		return answer, said.String(), json.Unmarshal(out.Bytes(), &answer)
	}
	if _, _, err := run(MoveLog{Check: true}); !errors.Is(err, errShared) {
		t.Errorf("while policy-store runs: %v", err)
	}
	p.stop()
	checked, _, err := run(MoveLog{Check: true})
	if err != nil || !checked.Checked || checked.Last != last || !strings.Contains(checked.Next, "without --check") {
		t.Errorf("checked: %+v, %v", checked, err)
	}
	done, progress, err := run(MoveLog{})
	if err != nil || done.Checked || done.Already || done.Incarnation != log.Incarnation() || done.Last != last {
		t.Errorf("moved: %+v, %v", done, err)
	}
	for _, step := range []string{"fencing FACTS", "copying FACTS", "comparing FACTS", "switching"} {
		if !strings.Contains(progress, step) {
			t.Errorf("the progress does not say %q:\n%s", step, progress)
		}
	}
	again, _, err := run(MoveLog{})
	if err != nil || !again.Already || !strings.Contains(again.Next, "--nats-mode external") {
		t.Errorf("again: %+v, %v", again, err)
	}
}

// A move goes on after what cut it off, and not after what stands in its way.
func TestAMoveThatWasCutOffGoesOn(t *testing.T) {
	for _, c := range []struct {
		fails error
		tries int
	}{{nats.ErrNoResponders, 2}, {eventlog.ErrMoved, 1}, {eventlog.ErrExists, 1}} {
		tries, said := 0, 0
		_, err := retried(t.Context(), func() (eventlog.Moved, error) {
			if tries++; tries == 1 {
				return eventlog.Moved{}, fmt.Errorf("copy: %w", c.fails)
			}
			return eventlog.Moved{}, nil
		}, func(error, time.Duration) { said++ })
		if tries != c.tries || said != c.tries-1 || (err == nil) != (c.tries == 2) || err != nil && !errors.Is(err, c.fails) {
			t.Errorf("%v: %d tries, %d of them said, %v", c.fails, tries, said, err)
		}
	}
}

func TestAMoveNamesBothEnds(t *testing.T) {
	for url, fine := range map[string]bool{"": false, ownURL: false, "nats://nats.nats:4222": true} {
		c := Config{Config: service.Config{LogURL: url}, External: External{NATSMode: embedded, Move: true}}
		if err := c.checkMove(); (err == nil) != fine {
			t.Errorf("%q: %v", url, err)
		}
	}
	if err := (Config{Config: service.Config{LogURL: ownURL}, External: External{NATSMode: embedded}}).checkMove(); err != nil {
		t.Error(err)
	}
}

// The log moves to a cluster that asks policy-store who its clients are, with the rights that nats-config gives policy-store there.
func TestTheLogMovesToASecuredCluster(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := startProcess(t, dir)
	log := p.open("test")
	produce(t, log, "watcher", kubernetes())
	last, err := log.LastSequence(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p.stop()
	s, _ := startSecuredCluster(t, func(c *Config) { c.Move, c.StoreDir = true, dir })
	moved := s.open(s.service("watcher"))
	if now, err := moved.LastSequence(t.Context()); err != nil || now != last || moved.Incarnation() != log.Incarnation() {
		t.Errorf("incarnation %s ends at %d, %v; want %s and %d", moved.Incarnation(), now, err, log.Incarnation(), last)
	}
	produce(t, moved, "watcher", nil)

	// And back, by the command.
	s.stop()
	cfg := s.host.cfg
	cfg.NATSMode = embedded
	var out bytes.Buffer
	if err := (MoveLog{Config: cfg, Output: "text"}).Write(t.Context(), &out, &bytes.Buffer{}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "moved to the folder "+dir) || !strings.Contains(out.String(), log.Incarnation()) {
		t.Errorf("it says:\n%s", out.String())
	}
	p.start()
	if home, err := p.open("test").LastSequence(t.Context()); err != nil || home != last+1 {
		t.Errorf("it ends at %d, want %d: %v", home, last+1, err)
	}
}
