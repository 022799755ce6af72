package load

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/ringfence/ringfence/libs/clas"
	"github.com/ringfence/ringfence/libs/eventlog"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
	"github.com/ringfence/ringfence/tools/ringfence"
)

// List reads the last fact of every key, decoded, as a producer does at its start.
func (c Client) List(ctx context.Context) error {
	nc, l, err := c.open(ctx, "bench-reader")
	if err != nil {
		return err
	}
	defer nc.Close()
	done, err := c.gate()
	if err != nil {
		return err
	}
	start, r := time.Now(), Result{}
	for e, err := range l.Latest(ctx) {
		if err != nil {
			return fmt.Errorf("list: %w", err)
		}
		if e.Fact.GetEpoch() != nil {
			continue // of the producer that filled the log, beside what it was told to write
		}
		r.Keys++
		l.Release(e)
	}
	r.Operations, r.Seconds = r.Keys, time.Since(start).Seconds()
	return done(r)
}

// Replay reads the whole log and folds it to the digest of its policy, on one core.
func (c Client) Replay(ctx context.Context) error {
	runtime.GOMAXPROCS(1)
	nc, l, err := c.open(ctx, "bench-reader")
	if err != nil {
		return err
	}
	defer nc.Close()
	done, err := c.gate()
	if err != nil {
		return err
	}
	start, r, e := time.Now(), Result{}, clas.New()
	for entry, err := range l.Read(ctx, l.Base(), 0) {
		if err == nil {
			err = e.Apply(entry.Subject, entry.Sequence, entry.Fact)
		}
		if err != nil {
			return fmt.Errorf("replay: %w", err)
		}
		if entry.Fact.GetEpoch() == nil {
			r.Operations++
		}
		l.Release(entry)
	}
	r.Digest = e.Digest()
	r.Seconds = time.Since(start).Seconds()
	return done(r)
}

// ReplayFile folds an exported log to the digest of its policy, on one core, as ringfence replay --file does. It exports the log first
// where there is no such file.
func (c Client) ReplayFile(ctx context.Context, name string) error {
	if err := c.export(ctx, name); err != nil {
		return err
	}
	epochs, err := countEpochs(ctx, name)
	if err != nil {
		return err
	}
	runtime.GC() // what exporting left
	runtime.GOMAXPROCS(1)
	done, err := c.gate()
	if err != nil {
		return err
	}
	start := time.Now()
	file, err := ringfence.OpenFile(name)
	if err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	defer file.Close()
	state, err := ringfence.At(ctx, file, ringfence.Place{}, nil)
	if err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	r := Result{Digest: state.Engine.Digest()}
	r.Seconds = time.Since(start).Seconds()
	r.Operations = int(state.Facts) - epochs
	return done(r)
}

// countEpochs counts the facts that the producer wrote beside what it was told to.
func countEpochs(ctx context.Context, name string) (int, error) {
	file, err := ringfence.OpenFile(name)
	if err != nil {
		return 0, fmt.Errorf("replay: %w", err)
	}
	defer file.Close()
	n := 0
	for _, err := range file.Read(ctx, 0, 0, eventlog.EpochSubject(producer)) {
		if err != nil {
			return 0, fmt.Errorf("replay: %w", err)
		}
		n++
	}
	return n, nil
}

// export writes the log into a file, unless that is there.
func (c Client) export(ctx context.Context, name string) (err error) {
	if _, err := os.Stat(name); err == nil {
		return nil
	}
	nc, l, err := c.open(ctx, "bench-reader")
	if err != nil {
		return err
	}
	defer nc.Close()
	file, err := os.Create(name)
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	_, err = ringfence.Export(ctx, l, ringfence.Place{}, ringfence.Place{}, file, nil)
	return err
}

// Complete says for the producers that all is in the log, as they do at their start, and waits until policy-store has published
// the policy. It gives the number of that window.
func (c Client) Complete(ctx context.Context) error {
	nc, l, err := c.open(ctx, "bench-writer")
	if err != nil {
		return err
	}
	defer nc.Close()
	done, err := c.gate()
	if err != nil {
		return err
	}
	for _, name := range []string{"watcher", "pce-bridge"} {
		if err := l.Producer(name).Synced(ctx); err != nil {
			return fmt.Errorf("complete: %w", err)
		}
	}
	last, err := l.LastSequence(ctx)
	if err != nil {
		return err
	}
	return c.published(ctx, l, done, func(head *ringfencev1.PolicyHead) bool { return head.GetVersion().GetSequence() >= last })
}

// Await waits for the first window after one, of a policy-store that is about to start.
func (c Client) Await(ctx context.Context, window uint64) error {
	done, err := c.gate()
	if err != nil {
		return err
	}
	nc, l, err := c.open(ctx, "bench-reader")
	if err != nil {
		return err
	}
	defer nc.Close()
	return c.published(ctx, l, done, func(head *ringfencev1.PolicyHead) bool { return head.GetWindow() > window })
}

// published waits until the newest window is the wanted one, and tells its number.
func (c Client) published(ctx context.Context, l *eventlog.Log, done func(Result) error, wanted func(*ringfencev1.PolicyHead) bool) error {
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		head, err := l.Head(ctx)
		switch {
		case err == nil && wanted(head):
			return done(Result{Operations: 1, Window: head.GetWindow(), Digest: head.GetDigest()})
		case err != nil && !errors.Is(err, eventlog.ErrNotFound):
			return err
		case time.Now().After(deadline):
			return fmt.Errorf("the policy is not published; there is window %d of sequence %d", head.GetWindow(), head.GetVersion().GetSequence())
		}
	}
}
