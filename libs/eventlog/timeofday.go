package eventlog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/synadia-io/orbit.go/jetstreamext"
)

// mark is the distance in sequences of the facts whose times SequenceAt looks at, before it reads those after one of them.
const mark = 1024

// SequenceAt is the last sequence that was stored at or before t by the server's clock; where nothing that is kept was stored so
// early, the one before the oldest. Clocks are set back, so times are not in the order of sequences: a time that came twice means
// its last coming. That is why every mark is looked at, and not half of what remains: a search by halves gives one place or
// another as the log grows. Only a clock that went back and caught up again between two marks is not noticed.
func (l *Log) SequenceAt(ctx context.Context, t time.Time) (uint64, error) {
	state, err := l.verify(ctx)
	if err != nil {
		return 0, err
	}
	if !state.LastTime.After(t) || state.Msgs == 0 {
		return state.LastSeq, nil
	}
	next := state.LastTime
	for end := state.LastSeq; end >= state.FirstSeq && end > 0; {
		from := max(state.FirstSeq, end/mark*mark)
		at, err := l.storedAt(ctx, from)
		if err != nil {
			return 0, fmt.Errorf("the time of fact %d: %w", from, err)
		}
		if !at.After(t) || at.After(next) { // it begins early enough, or the clock went back in between
			sequence, err := l.lastUntil(ctx, t, from, end)
			if err != nil || sequence >= from {
				return sequence, err
			}
		}
		end, next = from-1, at
	}
	return state.FirstSeq - 1, nil
}

// storedAt is when the first fact at or after a sequence was stored.
func (l *Log) storedAt(ctx context.Context, sequence uint64) (at time.Time, err error) {
	err = call(ctx, l.nc, func(ctx context.Context) error {
		messages, err := jetstreamext.GetBatch(ctx, l.js, streamFacts, 1, jetstreamext.GetBatchSeq(sequence))
		if err != nil {
			return err
		}
		for m, err := range messages {
			if err != nil {
				return err
			}
			at = m.Time
		}
		return nil
	})
	return at, err
}

// lastUntil is the last sequence from one to another that was stored at or before t, and the one before them where none was.
func (l *Log) lastUntil(ctx context.Context, t time.Time, from, to uint64) (uint64, error) {
	r := l.factsReader(from, nil)
	r.batched = true // it stops soon, so a consumer would deliver for nothing
	defer r.close()
	sequence, stalls := from-1, 0
	for r.next <= to {
		m, err := r.read(ctx)
		if errors.Is(err, errIdle) && stalls < maxStalls {
			stalls++
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("the facts until %s: %w", t.UTC().Format(time.RFC3339Nano), err)
		}
		if m.sequence <= to && !m.storedAt.After(t) {
			sequence = m.sequence
		}
	}
	return sequence, nil
}
