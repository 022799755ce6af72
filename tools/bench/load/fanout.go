package load

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"github.com/ringfence/ringfence/libs/eventlog"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

const (
	// windowAddresses make a window of 500 bytes.
	windowAddresses = 78
	// patience is how long the last delivery may take.
	patience = time.Minute
	// joining is how many watchers join at once.
	joining = 32
)

// FanOut has so many watchers, each on a connection of its own, follow the policy of a node, and publishes windows of 500
// bytes, so many a second. Every watcher must get every window. A watcher whose windows come faster than it takes them is
// given the newest (that is how Follow works), and has got all before it.
func (c Client) FanOut(ctx context.Context, watchers, windows, rate int) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	nc, l, err := c.open(ctx, "bench-publisher")
	if err != nil {
		return err
	}
	defer nc.Close()
	publish := publisher(l)
	if err := publish(ctx, 1); err != nil { // the state that watchers join with
		return err
	}
	w := &watching{sent: make([]atomic.Int64, windows+2), last: make([]uint64, watchers)}
	following, err := c.follow(ctx, w)
	if err != nil {
		return err
	}
	defer following.Wait() //nolint:errcheck // every follower ends with ctx, by its error
	defer cancel()
	stay, err := c.gate()
	if err != nil {
		return err
	}
	start := time.Now()
	ticker := time.NewTicker(time.Second / time.Duration(rate))
	defer ticker.Stop()
	for n := 2; n <= windows+1; n++ {
		w.sent[n].Store(time.Since(epoch).Nanoseconds())
		if err := publish(ctx, uint64(n)); err != nil {
			return err
		}
		<-ticker.C
	}
	if err := w.await(ctx, uint64(windows+1)); err != nil {
		return err
	}
	r := Result{Seconds: time.Since(start).Seconds()}
	if err := w.times.into(&r); err != nil {
		return err
	}
	r.Operations = watchers * windows
	return stay(r)
}

// epoch is what times are taken from, so that they fit a number.
var epoch = time.Now()

// publisher gives a function that publishes the window of a number, as policy-store does.
func publisher(l *eventlog.Log) func(context.Context, uint64) error {
	return func(ctx context.Context, number uint64) error {
		version := &ringfencev1.Version{Incarnation: l.Incarnation(), Sequence: number}
		delta := &ringfencev1.AddressSetDelta{Id: "bench"}
		for i := range uint32(windowAddresses) {
			delta.Added = append(delta.Added, binary.BigEndian.AppendUint32(nil, 10<<24|uint32(number)<<8|i))
		}
		window := &ringfencev1.Window{Number: number, Version: version, Sets: []*ringfencev1.AddressSetDelta{delta}}
		head := &ringfencev1.PolicyHead{Version: version, Synced: []string{"pce-bridge", "watcher"}}
		return l.PublishWindow(ctx, window, eventlog.Objects{}, head, nil)
	}
}

// watching is what the watchers saw.
type watching struct {
	sent  []atomic.Int64 // by window, nanoseconds since epoch
	times times

	mu   sync.Mutex
	last []uint64 // by watcher, the newest window
}

// take notes that a watcher was given a window.
func (w *watching) take(watcher int, window uint64) {
	now := time.Since(epoch)
	if window > 1 && window < uint64(len(w.sent)) {
		w.times.add(now - time.Duration(w.sent[window].Load()))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last[watcher] = max(w.last[watcher], window)
}

// await waits until every watcher has got a window.
func (w *watching) await(ctx context.Context, window uint64) error {
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		missing := w.missing(window)
		switch {
		case missing == 0:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case time.Now().After(deadline):
			return fmt.Errorf("fan out: %d of %d watchers did not get window %d", missing, len(w.last), window)
		}
	}
}

func (w *watching) missing(window uint64) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, last := range w.last {
		if last < window {
			n++
		}
	}
	return n
}

// follow starts the watchers, and returns once all have joined.
func (c Client) follow(ctx context.Context, w *watching) (*errgroup.Group, error) {
	connections := make([]*nats.Conn, len(w.last))
	dialing, dialed := errgroup.WithContext(ctx)
	dialing.SetLimit(joining)
	for i := range connections {
		dialing.Go(func() (err error) {
			connections[i], err = c.dial(dialed, fmt.Sprintf("node-%d", i))
			return err
		})
	}
	if err := dialing.Wait(); err != nil {
		return nil, err
	}
	following := &errgroup.Group{}
	for i, nc := range connections {
		following.Go(func() error {
			defer nc.Close()
			return eventlog.Follow(ctx, nc, fmt.Sprintf("node-%d", i), func(_ context.Context, p eventlog.NodePolicy) error {
				w.take(i, p.Window)
				return nil
			})
		})
	}
	if err := w.await(ctx, 1); err != nil {
		return nil, errors.Join(err, ctx.Err())
	}
	return following, nil
}
