package load

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/pprof"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/ringfence/ringfence/libs/eventlog"
)

// Result is what a client did.
type Result struct {
	// Operations are facts written, windows delivered, keys listed or facts replayed, in so many seconds.
	Operations int     `json:"operations"`
	Seconds    float64 `json:"seconds"`
	// P50 and P99 are of single operations, in microseconds, where those are timed.
	P50 float64 `json:"p50_us,omitempty"`
	P99 float64 `json:"p99_us,omitempty"`
	// Together is how many writes shared a sync of the disk, in the mean.
	Together float64 `json:"together,omitempty"`
	// Keys are different ones that were written or listed, Bytes what was written of keys and values.
	Keys  int   `json:"keys,omitempty"`
	Bytes int64 `json:"bytes,omitempty"`
	// Digest is that of the policy after a replay, or of the one that was waited for, and Window the number of its window.
	Digest string `json:"digest,omitempty"`
	Window uint64 `json:"window,omitempty"`
}

// Client is one client of the log at a URL.
type Client struct {
	URL string
	// In and Out are where it is told to begin, and where it says what it did.
	In  io.Reader
	Out io.Writer
	// Profile, where set, is a file for a profile of the processor while the client works.
	Profile string
}

// gate says that everything is prepared, and waits to be told to begin. With done the client says what it did.
func (c Client) gate() (done func(Result) error, err error) {
	if _, err := fmt.Fprintln(c.Out, "ready"); err != nil {
		return nil, fmt.Errorf("say that the client is ready: %w", err)
	}
	in := bufio.NewReader(c.In)
	if _, err := in.ReadString('\n'); err != nil {
		return nil, fmt.Errorf("wait for the word to begin: %w", err)
	}
	stop, err := profiled(c.Profile)
	if err != nil {
		return nil, err
	}
	return func(r Result) error {
		if err := stop(); err != nil {
			return fmt.Errorf("profile: %w", err)
		}
		if err := json.NewEncoder(c.Out).Encode(r); err != nil {
			return fmt.Errorf("say what was done: %w", err)
		}
		_, err := io.Copy(io.Discard, in)
		return err
	}, nil
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

// open connects as a service does.
func (c Client) open(ctx context.Context, name string) (*nats.Conn, *eventlog.Log, error) {
	nc, err := c.dial(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	l, err := eventlog.Open(ctx, nc)
	if err != nil {
		nc.Close()
		return nil, nil, err
	}
	return nc, l, nil
}

func (c Client) dial(ctx context.Context, name string) (*nats.Conn, error) {
	return eventlog.Dialer{URL: c.URL, Name: name, Log: zerolog.Nop()}.Dial(ctx)
}

// times are durations of single operations, taken by several goroutines.
type times struct {
	mu  sync.Mutex
	all []time.Duration
}

func (t *times) add(d ...time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all = append(t.all, d...)
}

// into fills in a result's operations and percentiles.
func (t *times) into(r *Result) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r.Operations = len(t.all); r.Operations == 0 {
		return errors.New("nothing was done in the time")
	}
	slices.Sort(t.all)
	at := func(percent int) float64 { return float64(t.all[(len(t.all)-1)*percent/100].Nanoseconds()) / 1e3 }
	r.P50, r.P99 = at(50), at(99)
	return nil
}
