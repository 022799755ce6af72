package eventlog_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/eventlog/eventlogtest"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// A log with everything in it that must not be lost: trimmed facts, a snapshot, epochs, flows.
func fullLog(t *testing.T) (*eventlogtest.Server, *eventlog.Log, *eventlog.Producer) {
	t.Helper()
	s, log := eventlogtest.StartLog(t)
	p, err := log.Lead(t.Context(), "watcher", "a")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.PublishAll(t.Context(), namespaces(3000)); err != nil {
		t.Fatal(err)
	}
	if _, err := log.WriteSnapshot(t.Context(), 1000, eventlog.Computed{Engine: "e", Digest: "d"}, slices.Values([]*ringfencev1.SnapshotEntry{{Subject: "facts.k8s.ns.a", Sequence: 7}})); err != nil {
		t.Fatal(err)
	}
	if err := log.Trim(t.Context(), 1001); err != nil {
		t.Fatal(err)
	}
	return s, log, p
}

func move(t *testing.T, from, to *nats.Conn) eventlog.Move {
	t.Helper()
	return eventlog.Move{From: from, To: to, Sizes: eventlogtest.Size, Destination: "there"}
}

func TestAMovedLogIsTheSameLog(t *testing.T) {
	a, log, p := fullLog(t)
	b := eventlogtest.Start(t)
	usage, err := log.Usage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	there := move(t, a.Conn("move"), b.Conn("move"))
	there.Check = true
	planned, err := there.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if publish(t, p, namespaces(1)...); planned.Last != usage.Last { // a check fences nothing
		t.Errorf("the check saw the last fact at %d, it is at %d", planned.Last, usage.Last)
	}
	want := collect(t, log.Read(t.Context(), 0, 0))
	there.Check = false
	done, err := there.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if done.Already || done.Incarnation != log.Incarnation() || done.Last != usage.Last+1 || done.First != 1001 || len(done.Streams) != 6 {
		t.Errorf("moved %+v", done)
	}

	// Nobody can write where the log was, nor take it up.
	if _, err := p.Publish(t.Context(), namespaces(1)[0]); err == nil {
		t.Error("a fact was stored after the move")
	}
	if _, err := eventlog.Create(t.Context(), a.Conn("store"), eventlogtest.Size); !errors.Is(err, eventlog.ErrMoved) {
		t.Errorf("the old log is made again: %v", err)
	}
	if _, err := eventlog.Open(t.Context(), a.Conn("watcher")); !errors.Is(err, eventlog.ErrMoved) {
		t.Errorf("the old log is opened: %v", err)
	}

	moved, err := eventlog.Create(t.Context(), b.Conn("store"), eventlogtest.Size)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, collect(t, moved.Read(t.Context(), 0, 0))); diff != "" {
		t.Errorf("facts differ: %s", diff)
	}
	infos, err := moved.Snapshots(t.Context())
	if err != nil || len(infos) != 1 {
		t.Fatalf("snapshots %v: %v", infos, err)
	}
	for _, err := range moved.ReadSnapshot(t.Context(), infos[0]) {
		if err != nil {
			t.Error(err)
		}
	}
	// The fences came along: who led before is deposed by who leads now.
	q, err := moved.Lead(t.Context(), "watcher", "b")
	if err != nil {
		t.Fatal(err)
	}
	publish(t, q, namespaces(2)...)

	again, err := there.Run(t.Context())
	if err != nil || !again.Already {
		t.Errorf("a second run: %+v, %v", again, err)
	}
	// And back, over what the first move left there.
	want = collect(t, moved.Read(t.Context(), 0, 0))
	back := move(t, b.Conn("move"), a.Conn("move"))
	if _, err := back.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	home, err := eventlog.Create(t.Context(), a.Conn("store"), eventlogtest.Size)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, collect(t, home.Read(t.Context(), 0, 0))); diff != "" {
		t.Errorf("facts differ: %s", diff)
	}
}

// A move that is cut off at any step leaves the log where it was or takes it there when it is run again, and never both.
func TestAMoveThatIsCutOffGoesOn(t *testing.T) {
	a, log, p := fullLog(t)
	b := eventlogtest.Start(t)
	want := collect(t, log.Read(t.Context(), 0, 0))
	var steps []string
	record := func(s eventlog.MoveStep) {
		if step := s.Doing + " " + s.Stream; !slices.Contains(steps, step) {
			steps = append(steps, step)
		}
	}
	rehearsal := move(t, a.Conn("move"), eventlogtest.Start(t).Conn("move"))
	rehearsal.Step = record
	ctx, cancel := context.WithCancel(t.Context())
	rehearsal.Step = func(s eventlog.MoveStep) {
		if record(s); s.Doing == "switching" {
			cancel()
		}
	}
	if _, err := rehearsal.Run(ctx); err == nil {
		t.Fatal("it was cut off and says nothing")
	}
	for _, at := range steps {
		// Going on where it was is possible up to the last step.
		still, err := eventlog.Create(t.Context(), a.Conn("store"), eventlogtest.Size)
		if err != nil {
			t.Fatalf("before %s: %v", at, err)
		}
		publish(t, p, namespaces(1)...)
		want = collect(t, still.Read(t.Context(), 0, 0))
		ctx, cancel := context.WithCancel(t.Context())
		m := move(t, a.Conn("move"), b.Conn("move"))
		m.Step = func(s eventlog.MoveStep) {
			if s.Doing+" "+s.Stream == at {
				cancel()
			}
		}
		if _, err := m.Run(ctx); err == nil {
			t.Fatalf("cut off at %s, and it says nothing", at)
		}
		if at == "checking " || at == "reserving " {
			continue // nothing is there yet
		}
		if _, err := eventlog.Create(t.Context(), b.Conn("store"), eventlogtest.Size); !errors.Is(err, eventlog.ErrUnfinished) {
			t.Errorf("cut off at %s, the copy is taken for the log: %v", at, err)
		}
	}
	m := move(t, a.Conn("move"), b.Conn("move"))
	if _, err := m.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	moved, err := eventlog.Create(t.Context(), b.Conn("store"), eventlogtest.Size)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, collect(t, moved.Read(t.Context(), 0, 0))); diff != "" {
		t.Errorf("facts differ: %s", diff)
	}
}

func TestAMoveIsRefused(t *testing.T) {
	a, log, _ := fullLog(t)
	t.Run("without a log", func(t *testing.T) {
		if _, err := move(t, eventlogtest.Start(t).Conn("move"), eventlogtest.Start(t).Conn("move")).Run(t.Context()); !errors.Is(err, eventlog.ErrNotFound) {
			t.Errorf("%v", err)
		}
	})
	t.Run("onto another log", func(t *testing.T) {
		other, _ := eventlogtest.StartLog(t)
		if _, err := move(t, a.Conn("move"), other.Conn("move")).Run(t.Context()); !errors.Is(err, eventlog.ErrExists) {
			t.Errorf("%v", err)
		}
	})
	t.Run("onto a stream of somebody else", func(t *testing.T) {
		other := eventlogtest.Start(t)
		js, err := jetstream.New(other.Conn("other"))
		if err == nil {
			_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "SNAP", Subjects: []string{"else"}})
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := move(t, a.Conn("move"), other.Conn("move")).Run(t.Context()); !errors.Is(err, eventlog.ErrExists) {
			t.Errorf("%v", err)
		}
	})
	t.Run("where it does not fit", func(t *testing.T) {
		m := move(t, a.Conn("move"), eventlogtest.Start(t).Conn("move"))
		m.Sizes.Bytes = 4 * eventlogtest.Size.Bytes
		if _, err := m.Run(t.Context()); !errors.Is(err, eventlog.ErrFull) {
			t.Errorf("%v", err)
		}
		m.Sizes.Bytes = 1000
		if _, err := m.Run(t.Context()); !errors.Is(err, eventlog.ErrFull) {
			t.Errorf("%v", err)
		}
	})
	publish(t, log.Producer("watcher"), namespaces(1)...) // none of them changed anything
}
