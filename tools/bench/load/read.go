package load

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/ringfence/ringfence/libs/clas"
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
