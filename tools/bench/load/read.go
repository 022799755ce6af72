package load

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/ringfence/ringfence/libs/clas"
)

// List reads the last fact of every key, decoded, as a producer does at its start.
func (c Client) List(ctx context.Context) error {
	nc, l, err := c.open(ctx, "bench-reader")
	if err != nil {
		return err
	}
	defer nc.Close()
	stay, err := c.gate()
	if err != nil {
		return err
	}
	start, r := time.Now(), Result{}
	for e, err := range l.Latest(ctx) {
		if err != nil {
			return fmt.Errorf("list: %w", err)
		}
		r.Keys++
		r.Bytes += int64(len(e.Subject) + proto.Size(e.Fact))
	}
	r.Operations, r.Seconds = r.Keys, time.Since(start).Seconds()
	return stay(r)
}

// Replay reads the whole log and folds it to the digest of its policy, on one core. Profile, where set, is a file for a
// profile of the processor.
func (c Client) Replay(ctx context.Context, profile string) error {
	runtime.GOMAXPROCS(1)
	nc, l, err := c.open(ctx, "bench-reader")
	if err != nil {
		return err
	}
	defer nc.Close()
	stay, err := c.gate()
	if err != nil {
		return err
	}
	stop, err := profiled(profile)
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
		r.Operations++
	}
	r.Digest = e.Digest()
	r.Seconds = time.Since(start).Seconds()
	if err := stop(); err != nil {
		return err
	}
	return stay(r)
}

// profiled writes a profile until stop is called, if there is a file for it.
func profiled(path string) (stop func() error, err error) {
	if path == "" {
		return func() error { return nil }, nil
	}
	file, err := os.Create(path)
	if err == nil {
		err = pprof.StartCPUProfile(file)
	}
	if err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	return func() error {
		pprof.StopCPUProfile()
		return file.Close()
	}, nil
}
