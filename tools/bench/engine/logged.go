package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/ringfence/ringfence/libs/clas"
	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/restore"
	"github.com/ringfence/ringfence/tools/bench/workload"
)

const (
	// room is what the log on disk may take.
	room = 32 << 30
	// tail is how many facts follow the snapshot.
	tail = 1000
	// backlog is how many facts wait for the engine, as in policy-store.
	backlog = 4096
)

// Logged is what folding from a log in JetStream on this machine's disk took.
type Logged struct {
	Facts int
	// Cold is the time to read, decode and fold the whole log, with the first flush.
	Cold time.Duration
	// Restart is the time to read the snapshot, to restore from it and verify the digest of the policy, and to fold the facts
	// after it, with the first flush; Restored and Tail are its parts.
	Restart, Restored, Tail time.Duration
	// Snapshot is the size of the snapshot as it is stored, Kept the number of facts in it.
	Snapshot, Kept int
}

// Logged writes the log into a JetStream stream and folds it from there.
func (b *Bench) Logged(ctx context.Context, log *workload.Log, cold, restart bool) (Logged, error) {
	dir, err := os.MkdirTemp("", "ringfence-bench-")
	if err != nil {
		return Logged{}, fmt.Errorf("folder for the log: %w", err)
	}
	defer func() {
		if err := os.RemoveAll(dir); err != nil {
			b.say("%s: the log's folder stays: %v", log.Cluster.ID, err)
		}
	}()
	l, err := openLog(ctx, dir)
	if err != nil {
		return Logged{}, err
	}
	defer l.close()
	b.say("%s: write %d facts into the log", log.Cluster.ID, len(log.Messages))
	if err := l.publish(ctx, log.Messages); err != nil {
		return Logged{}, err
	}
	out := Logged{Facts: len(log.Messages)}
	if cold {
		if out.Cold, err = b.fromLog(ctx, l.Log, log); err != nil {
			return out, err
		}
	}
	if restart {
		err = b.fromSnapshot(ctx, l, log, &out)
	}
	return out, err
}

// diskLog is a log on a server of this process's own.
type diskLog struct {
	*eventlog.Log
	server *server.Server
	nc     *nats.Conn
}

// openLog starts a server and makes the log on it.
func openLog(ctx context.Context, dir string) (*diskLog, error) {
	s, err := server.NewServer(&server.Options{ServerName: "bench", DontListen: true, NoSigs: true, NoLog: true, JetStream: true, StoreDir: dir,
		JetStreamMaxStore: 2 * room, JetStreamMaxMemory: 64 << 20})
	if err != nil {
		return nil, fmt.Errorf("server of the log: %w", err)
	}
	l := &diskLog{server: s}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		l.close()
		return nil, errors.New("server of the log: not ready within 10 s")
	}
	l.nc, err = eventlog.Dialer{Name: "bench", InProcess: s, Log: zerolog.Nop()}.Dial(ctx)
	if err == nil {
		l.Log, err = eventlog.Create(ctx, l.nc, eventlog.Sizes{Bytes: room})
	}
	if err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (l *diskLog) close() {
	if l.nc != nil {
		l.nc.Close()
	}
	l.server.Shutdown()
	l.server.WaitForShutdown()
}

// snapshotBytes is what the snapshots take on the disk.
func (l *diskLog) snapshotBytes(ctx context.Context) (int, error) {
	js, err := jetstream.New(l.nc)
	if err != nil {
		return 0, err
	}
	stream, err := js.Stream(ctx, "SNAP")
	if err != nil {
		return 0, fmt.Errorf("stream SNAP: %w", err)
	}
	return int(stream.CachedInfo().State.Bytes), nil
}

// publish writes facts as a producer does that starts.
func (l *diskLog) publish(ctx context.Context, messages []workload.Message) error {
	const part = 10_000
	p := l.Producer("watcher")
	for from := 0; from < len(messages); from += part {
		facts, err := workload.Decode(messages[from:min(from+part, len(messages))])
		if err != nil {
			return err
		}
		drafts := make([]eventlog.Draft, len(facts))
		for i, f := range facts {
			drafts[i] = eventlog.Draft{Subject: f.Subject, Fact: f.Fact}
		}
		if err := p.PublishAll(ctx, drafts); err != nil {
			return err
		}
	}
	return nil
}

// fromLog folds the whole log, the fastest of several runs.
func (b *Bench) fromLog(ctx context.Context, l *eventlog.Log, log *workload.Log) (time.Duration, error) {
	var best time.Duration
	for run := range b.Runs {
		b.say("%s: fold from the log, %d of %d", log.Cluster.ID, run+1, b.Runs)
		runtime.GC()
		start := time.Now()
		e := clas.New()
		if err := fold(ctx, l, e); err != nil {
			return 0, err
		}
		d := e.Flush()
		took := time.Since(start)
		if err := b.check(log, count(d)); err != nil {
			return 0, err
		}
		if run == 0 || took < best {
			best = took
		}
	}
	return best, nil
}

// fold gives an engine what comes after its sequence. One goroutine reads and decodes, as in policy-store.
func fold(ctx context.Context, l *eventlog.Log, e *clas.Engine) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	entries, failed := make(chan eventlog.Entry, backlog), make(chan error, 1)
	go func() {
		defer close(entries)
		for entry, err := range l.Read(ctx, e.Sequence()+1, 0) {
			if err != nil {
				failed <- err
				return
			}
			select {
			case entries <- entry:
			case <-ctx.Done():
				return
			}
		}
	}()
	for entry := range entries {
		if err := e.Apply(entry.Subject, entry.Sequence, entry.Fact); err != nil {
			return fmt.Errorf("apply %s: %w", entry.Subject, err)
		}
	}
	select {
	case err := <-failed:
		return err
	default:
		return ctx.Err()
	}
}

// fromSnapshot writes a snapshot and some facts after it, and restarts.
func (b *Bench) fromSnapshot(ctx context.Context, l *diskLog, log *workload.Log, out *Logged) error {
	b.say("%s: write the snapshot", log.Cluster.ID)
	if err := l.snapshot(ctx, out); err != nil {
		return err
	}
	if err := l.publish(ctx, tailOf(log)); err != nil {
		return err
	}
	for run := range b.Runs {
		b.say("%s: restart, %d of %d", log.Cluster.ID, run+1, b.Runs)
		runtime.GC()
		next, err := restart(ctx, l.Log)
		if err != nil {
			return err
		}
		if run == 0 || next.Restart < out.Restart {
			out.Restart, out.Restored, out.Tail = next.Restart, next.Restored, next.Tail
		}
	}
	return nil
}

// snapshot folds the log and stores the snapshot.
func (l *diskLog) snapshot(ctx context.Context, out *Logged) error {
	e := clas.New()
	if err := fold(ctx, l.Log, e); err != nil {
		return err
	}
	info, err := l.WriteSnapshot(ctx, e.Sequence(), eventlog.Computed{Engine: clas.Version, Digest: e.Digest()}, e.Snapshot())
	if err != nil {
		return err
	}
	out.Kept = int(info.GetFacts())
	out.Snapshot, err = l.snapshotBytes(ctx)
	return err
}

// tailOf gives facts of pods that came and went after the snapshot.
func tailOf(log *workload.Log) []workload.Message {
	var out []workload.Message
	for changes := log.Changes(); len(out) < tail; {
		for _, step := range changes.Pod() {
			for _, f := range step.Facts {
				out = append(out, workload.Encode(f))
			}
		}
	}
	return out
}

func restart(ctx context.Context, l *eventlog.Log) (Logged, error) {
	var out Logged
	start := time.Now()
	infos, err := l.Snapshots(ctx)
	if err != nil {
		return out, err
	}
	if len(infos) == 0 {
		return out, fmt.Errorf("there is no snapshot")
	}
	e, err := restore.Snapshot(infos[0], l.ReadSnapshot(ctx, infos[0])) // as policy-store does
	if err != nil {
		return out, err
	}
	out.Restored = time.Since(start)
	if err := fold(ctx, l, e); err != nil {
		return out, err
	}
	if d := e.Flush(); d.Empty() {
		return out, fmt.Errorf("the policy after the restart is empty")
	}
	out.Restart = time.Since(start)
	out.Tail = out.Restart - out.Restored
	return out, nil
}
