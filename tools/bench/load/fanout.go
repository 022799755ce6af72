package load

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/ringfence/ringfence/libs/eventlog"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

const (
	// windowSets are the sets that a window changes, each by an address that comes: about 500 bytes.
	windowSets = 17
	// patience is how long the last delivery may take.
	patience = time.Minute
	// joining is how many watchers join at once.
	joining = 32
)

// FanOut has so many watchers, each on a connection of its own, and publishes windows of 500 bytes, so many a second, as
// policy-store does when pods come. Every watcher must get every window.
//
// Where follow is set, the watchers follow the policy of a node as enforcers do: windows are decoded, checked and applied. A
// watcher whose windows come faster than it takes them is given the newest, and has got all before it. Otherwise they
// subscribe to the subject that Follow subscribes to, and look at the number alone: the same as a watch that gives bytes.
func (c Client) FanOut(ctx context.Context, watchers, windows, rate int, follow bool) error {
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
	connections, err := c.connect(ctx, watchers)
	defer func() {
		for _, nc := range connections {
			nc.Close()
		}
	}()
	if err != nil {
		return err
	}
	if follow {
		var all sync.WaitGroup
		defer all.Wait()
		defer cancel()
		err = w.follow(ctx, &all, connections)
	} else {
		err = w.subscribe(connections)
	}
	if err != nil {
		return err
	}
	done, err := c.gate()
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
	return done(r)
}

// epoch is what times are taken from, so that they fit a number.
var epoch = time.Now()

// publisher gives a function that publishes the window of a number, as policy-store does.
func publisher(l *eventlog.Log) func(context.Context, uint64) error {
	return func(ctx context.Context, number uint64) error {
		version := &ringfencev1.Version{Incarnation: l.Incarnation(), Sequence: number}
		window := &ringfencev1.Window{Number: number, Version: version}
		for i := range windowSets {
			address := binary.BigEndian.AppendUint32(nil, 10<<24|uint32(number))
			window.Sets = append(window.Sets, &ringfencev1.AddressSetDelta{Id: fmt.Sprintf("s%016x", i), Added: &ringfencev1.Addresses{Ipv4: address}})
		}
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

// connect opens the connections of the watchers. It gives those that it opened even where it fails.
func (c Client) connect(ctx context.Context, watchers int) ([]*nats.Conn, error) {
	opened := make([]*nats.Conn, watchers)
	dialing, ctx := errgroup.WithContext(ctx)
	dialing.SetLimit(joining)
	for i := range opened {
		dialing.Go(func() (err error) {
			opened[i], err = c.dial(ctx, nodeName(i))
			return err
		})
	}
	err := dialing.Wait()
	return slices.DeleteFunc(opened, func(nc *nats.Conn) bool { return nc == nil }), err
}

func nodeName(watcher int) string { return fmt.Sprintf("node-%d", watcher) }

// follow has every connection follow the policy of a node until ctx ends, and returns once all have joined.
func (w *watching) follow(ctx context.Context, all *sync.WaitGroup, connections []*nats.Conn) error {
	for i, nc := range connections {
		all.Go(func() {
			// The error is that of ctx, which ends with the benchmark.
			_ = eventlog.Follow(ctx, nc, nodeName(i), func(_ context.Context, p eventlog.NodePolicy) error {
				w.take(i, p.Window)
				return nil
			})
		})
	}
	return w.await(ctx, 1)
}

// subscribe has every connection subscribe to the windows, and returns once the server knows.
func (w *watching) subscribe(connections []*nats.Conn) error {
	for i, nc := range connections {
		_, err := nc.Subscribe(windowSubject, func(msg *nats.Msg) {
			if number, err := windowNumber(msg.Data); err == nil {
				w.take(i, number)
			}
		})
		if err == nil {
			err = nc.Flush()
		}
		if err != nil {
			return fmt.Errorf("watch: %w", err)
		}
	}
	return nil
}

// windowSubject is where Follow gets its windows from.
const windowSubject = "policy.window"

// windowNumber takes the number out of an encoded window, of which it is the first field.
func windowNumber(data []byte) (uint64, error) {
	field, _, n := protowire.ConsumeTag(data)
	if n < 0 || field != 1 {
		return 0, errors.New("not a window")
	}
	number, n := protowire.ConsumeVarint(data[n:])
	if n < 0 {
		return 0, errors.New("not a window")
	}
	return number, nil
}
