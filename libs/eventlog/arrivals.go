package eventlog

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// maxArrived is how many messages wait for a reader before the connection does.
const maxArrived = 1024

// errDisordered says that a consumer lost messages on their way, as it does where a connection breaks.
var errDisordered = errors.New("messages were lost on their way")

// arrivals are the messages of one consumer in their order, from the connection's goroutine to a reader's. What follows a
// loss is not taken.
type arrivals struct {
	mu      sync.Mutex
	space   sync.Cond // of mu
	waiting []message
	err     error // after what waits
	closed  bool

	delivered uint64        // by the consumer so far
	news      chan struct{} // holds a token once anything waits

	// taken are those that the reader has got at once, and not read yet. They and timer are the reader's.
	taken []message
	timer *time.Timer
}

func newArrivals() *arrivals {
	a := &arrivals{news: make(chan struct{}, 1), timer: time.NewTimer(idleAfter)}
	a.space.L = &a.mu
	return a
}

// put takes in a message of the consumer. It waits while there is no room.
func (a *arrivals) put(msg jetstream.Msg) {
	md, err := msg.Metadata()
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.waiting) >= maxArrived && !a.closed {
		a.space.Wait()
	}
	switch {
	case a.closed || a.err != nil:
		return
	case err == nil && md.Sequence.Consumer != a.delivered+1:
		err = fmt.Errorf("%w: after message %d of the consumer comes %d", errDisordered, a.delivered, md.Sequence.Consumer)
	}
	if err != nil {
		a.end(err)
		return
	}
	a.delivered++
	a.waiting = append(a.waiting, message{subject: msg.Subject(), sequence: md.Sequence.Stream, storedAt: md.Timestamp, data: msg.Data()})
	if len(a.waiting) == 1 {
		a.tell()
	}
}

// fail says that no more will come, and why.
func (a *arrivals) fail(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.end(err)
}

func (a *arrivals) end(err error) {
	if a.err == nil {
		a.err = err
	}
	a.tell()
}

func (a *arrivals) tell() {
	select {
	case a.news <- struct{}{}:
	default:
	}
}

// next gives the next message, errIdle when none came for a while, or why no more will.
func (a *arrivals) next(ctx context.Context) (message, error) {
	if len(a.taken) == 0 {
		if err := a.take(ctx); err != nil {
			return message{}, err
		}
	}
	m := a.taken[0]
	a.taken = a.taken[1:]
	return m, nil
}

// take waits for messages, and takes all of them.
func (a *arrivals) take(ctx context.Context) error {
	a.timer.Reset(idleAfter)
	for {
		a.mu.Lock()
		a.taken, a.waiting = a.waiting, make([]message, 0, len(a.waiting))
		err := a.err
		a.space.Broadcast()
		a.mu.Unlock()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case len(a.taken) > 0:
			return nil
		case err != nil:
			return err
		}
		select {
		case <-a.news:
		case <-ctx.Done():
		case <-a.timer.C:
			return errIdle
		}
	}
}

// close lets the connection's goroutine go on, whatever comes.
func (a *arrivals) close() {
	a.timer.Stop()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	a.space.Broadcast()
}
