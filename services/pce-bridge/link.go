package pcebridge

import (
	"context"
	"sync"
	"time"

	"github.com/ringfence/ringfence/libs/eventlog"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// link knows whether the console answers. The loop that talks to the console tells it; it writes the fact when the state
// changes. It is safe for concurrent use and outlives the incarnations of the log.
type link struct {
	downAfter time.Duration
	now       func() time.Time
	metrics   *metrics

	mu       sync.Mutex
	since    time.Time // last answer, or the start
	answered bool
	healthy  bool // the last call got an answer
	// down: the console counts as away, or its state has not been recorded since it did.
	down bool
	// recorded: the console's state is in the log.
	recorded bool
	reason   string // why it is away
	usual    string // how it is used while it is there
	told     chan struct{}
}

func newLink(downAfter time.Duration, m *metrics) *link {
	return &link{downAfter: downAfter, now: time.Now, metrics: m, since: time.Now(), reason: "no answer since the start", told: make(chan struct{}, 1)}
}

// answer notes that the console answered.
func (l *link) answer() { l.tell(func() { l.since, l.answered, l.healthy = l.now(), true, true }) }

// fail notes why it did not.
func (l *link) fail(reason string) { l.tell(func() { l.reason, l.healthy = reason, false }) }

// synchronised notes that the log holds the console's state, and how the console is used.
func (l *link) synchronised(usual string) {
	l.tell(func() { l.down, l.recorded, l.usual = false, true, usual })
}

// resume takes up what the log says of the link when a session with the log begins.
func (l *link) resume(held *ringfencev1.Fact) {
	l.tell(func() { l.down, l.recorded = held != nil && !held.GetPceLink().GetUp(), false })
}

// works tells whether the last call of the loop that asks for changes got an answer. The loops that report wait for it,
// so that a console that is away or refuses the token is told of by one loop, in one line.
func (l *link) works() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.healthy
}

func (l *link) tell(note func()) {
	l.mu.Lock()
	note()
	l.mu.Unlock()
	select {
	case l.told <- struct{}{}:
	default: // it will look at the state of now anyway
	}
}

// state gives the link's state, nil while it is not known, and how long until time alone changes it. A console that is back
// is up once its state is in the log: until then policy goes on as if it were away.
func (l *link) state() (*ringfencev1.PceLink, time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	left := l.downAfter - l.now().Sub(l.since)
	switch {
	case left <= 0:
		l.down = true
		return &ringfencev1.PceLink{State: ringfencev1.LinkState_LINK_STATE_DEGRADED, Reason: l.reason}, time.Hour
	case l.answered && l.down:
		return &ringfencev1.PceLink{State: ringfencev1.LinkState_LINK_STATE_RESYNCHRONISING, Reason: "the PCE answers again, and its state is being read"}, left
	case l.answered && l.recorded:
		return &ringfencev1.PceLink{Up: true, State: ringfencev1.LinkState_LINK_STATE_REACHABLE, Reason: l.usual}, left
	default:
		return nil, left
	}
}

// keep writes the link's state to the log until ctx ends or the log fails.
func (l *link) keep(ctx context.Context, to *ledger) error {
	for {
		state, left := l.state()
		if err := l.write(ctx, to, state); err != nil {
			return err
		}
		timer := time.NewTimer(left)
		select {
		case <-ctx.Done():
		case <-l.told:
		case <-timer.C:
		}
		timer.Stop()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// write stores a state that differs from the log's; while the console is away another reason for it is no difference.
func (l *link) write(ctx context.Context, to *ledger, state *ringfencev1.PceLink) error {
	if state == nil {
		return nil
	}
	l.metrics.linkUp.Set(0)
	if state.GetUp() {
		l.metrics.linkUp.Set(1)
	}
	held := to.get(eventlog.LinkSubject).GetPceLink()
	if held != nil && held.GetState() == state.GetState() && (!state.GetUp() || held.GetReason() == state.GetReason()) {
		return nil
	}
	fact := &ringfencev1.Fact{Body: &ringfencev1.Fact_PceLink{PceLink: state}}
	return to.write(ctx, "link", eventlog.Draft{Subject: eventlog.LinkSubject, Fact: fact})
}
