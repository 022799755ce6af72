package eventlog

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/cenkalti/backoff/v5"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// Entry is a fact at its place in the log.
type Entry struct {
	Subject  string
	Sequence uint64
	// StoredAt is the server's clock. It orders nothing.
	StoredAt time.Time
	Fact     *ringfencev1.Fact
}

// Read gives the facts from one sequence to another, both included, in order. from 0 is the oldest that is kept, to 0 the
// newest at the time of the call. Filters are subjects with NATS wildcards, any of which must match; without filters
// every sequence must be there, else the last pair holds ErrGap. An error ends the iteration.
func (l *Log) Read(ctx context.Context, from, to uint64, filters ...string) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		end, err := l.lastMatch(ctx, filters)
		if err != nil {
			yield(Entry{}, err)
			return
		}
		if to == 0 || to > end {
			to = end
		}
		want := some
		if len(filters) == 0 {
			want = everything
		}
		l.entries(ctx, l.factsReader(from, filters), to, want, yield)
	}
}

// asked is what a reader of facts asks for.
type asked int

const (
	// some facts, whichever can be decoded.
	some asked = iota
	// everything: it is a gap where a sequence is missing.
	everything
	// lastOfSubjects are some where those that cannot be decoded come, too, without body.
	lastOfSubjects
)

// entries reads r to the sequence end. It stops early when yield asks for it, and after an error.
func (l *Log) entries(ctx context.Context, r *reader, end uint64, want asked, yield func(Entry, error) bool) {
	defer r.close()
	seen, patience, stalls := continuity{everything: want == everything, want: r.next}, patience(), 0
	for seen.want <= end && end > 0 {
		m, err := r.read(ctx)
		switch {
		case errors.Is(err, errIdle) && stalls < maxStalls:
			stalls++
			r.close()
			continue
		case errors.Is(err, errIdle):
			yield(Entry{}, fmt.Errorf("%w: sequence %d of %d cannot be read", ErrGap, max(seen.want, 1), end))
			return
		case errors.Is(err, ErrIncarnation) || errors.Is(err, ErrGap) || ctx.Err() != nil:
			yield(Entry{}, err)
			return
		case err != nil:
			if pause(ctx, patience.NextBackOff()) {
				continue
			}
			yield(Entry{}, ctx.Err())
			return
		}
		e, ok, err := l.entry(ctx, m, &seen)
		if err != nil {
			yield(Entry{}, err)
			return
		}
		stalls = 0
		patience.Reset()
		if !ok && want == lastOfSubjects {
			e, ok = Entry{Subject: m.subject, Sequence: m.sequence, StoredAt: m.storedAt, Fact: &ringfencev1.Fact{}}, true
		}
		if m.sequence > end || ok && !yield(e, nil) {
			return
		}
	}
}

// entry decodes the message after those that were seen, or reports that it cannot be.
func (l *Log) entry(ctx context.Context, m message, seen *continuity) (e Entry, ok bool, err error) {
	if err := seen.sequence(m.sequence); err != nil {
		return Entry{}, false, err
	}
	fact, err := l.decodeFact(m.data)
	if errors.Is(err, errDamaged) {
		return Entry{}, false, fmt.Errorf("%w: sequence %d, %s: %w", ErrGap, m.sequence, m.subject, err)
	}
	if err != nil {
		l.skip(ctx, m.subject, m.sequence, err)
		return Entry{}, false, nil
	}
	if err := seen.fact(fact); err != nil {
		return Entry{}, false, err
	}
	return Entry{Subject: m.subject, Sequence: m.sequence, StoredAt: m.storedAt, Fact: fact}, true, nil
}

// Release takes back an entry that this Log gave and of whose fact nothing is kept but texts. The room of facts of pods is used for
// facts that are read later. It is nobody's duty: those who fold whole logs spare the collector by it.
func (l *Log) Release(e Entry) { l.facts.Release(e.Fact) }

func (l *Log) decodeFact(data []byte) (*ringfencev1.Fact, error) {
	fact, err := l.facts.Decode(data)
	if err != nil {
		return nil, fmt.Errorf("not a fact: %w", err)
	}
	if err := verifyChecksum(data, fact); err != nil {
		return nil, err
	}
	if fact.GetBody() == nil {
		return nil, errors.New("not a fact: it has no body that this version knows")
	}
	return fact, nil
}

// Tail gives fn every fact from a sequence on, 0 being the oldest that is kept: those that are there, then each as it is
// stored, over disconnections and restarts of the server. It returns when ctx ends (its error), when fn fails (fn's
// error), when the log is another one (ErrIncarnation), and, where there are no filters, when a sequence is missing
// (ErrGap). fn is called from the calling goroutine.
func (l *Log) Tail(ctx context.Context, from uint64, filters []string, fn func(Entry) error) error {
	r := l.factsReader(from, filters)
	defer r.close()
	everything := len(filters) == 0
	seen, patience, stalls := continuity{everything: everything, want: from}, patience(), 0
	for {
		m, err := r.read(ctx)
		if errors.Is(err, errIdle) {
			err = l.checkIdle(ctx, r, everything, &stalls)
		} else if err == nil {
			e, ok, err := l.entry(ctx, m, &seen)
			if err != nil {
				return err
			}
			stalls = 0
			patience.Reset()
			if ok {
				if err := fn(e); err != nil {
					return err
				}
			}
		}
		if err := l.survive(ctx, err, patience); err != nil {
			return err
		}
	}
}

// checkIdle looks whether silence is right: that the log is the same, holds what was read, and has nothing more.
func (l *Log) checkIdle(ctx context.Context, r *reader, everything bool, stalls *int) error {
	state, err := l.verify(ctx)
	if err != nil {
		return err
	}
	if r.next > 0 && state.LastSeq+1 < r.next {
		return fmt.Errorf("%w: sequence %d was read and the log ends at %d", ErrGap, r.next-1, state.LastSeq)
	}
	if !everything || state.Msgs == 0 || !r.stalled(state.LastSeq) {
		return nil
	}
	if *stalls++; *stalls > maxStalls {
		return fmt.Errorf("%w: sequence %d of %d cannot be read", ErrGap, max(r.next, 1), state.LastSeq)
	}
	return nil
}

// survive says which error ends a tail, and waits after the others.
func (l *Log) survive(ctx context.Context, err error, patience *backoff.ExponentialBackOff) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err == nil:
		return nil
	case errors.Is(err, ErrIncarnation) || errors.Is(err, ErrGap):
		return err
	}
	pause(ctx, patience.NextBackOff())
	return ctx.Err()
}

// lastMatch is the sequence of the newest fact that any of the filters matches, 0 when there is none.
func (l *Log) lastMatch(ctx context.Context, filters []string) (uint64, error) {
	state, err := l.verify(ctx)
	if err != nil {
		return 0, err
	}
	if len(filters) == 0 {
		if state.Msgs == 0 {
			return 0, nil
		}
		return state.LastSeq, nil
	}
	return l.lastStored(ctx, streamFacts, filters)
}
