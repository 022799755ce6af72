package eventlog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
)

const (
	// fetchMessages and fetchBytes bound what one request gets.
	fetchMessages = 1000
	fetchBytes    = 4 << 20
	// fetchPause is how often a batched reader at the end of its stream looks for more.
	fetchPause = 250 * time.Millisecond
)

// readBatched is read without a consumer.
func (r *reader) readBatched(ctx context.Context) (message, error) {
	for idle := time.Now().Add(idleAfter); ; {
		for len(r.fetched) > 0 {
			m := r.fetched[0]
			r.fetched = r.fetched[1:]
			r.next = m.sequence + 1
			if matchesAny(r.filters, m.subject) {
				return m, nil
			}
		}
		if err := r.fetch(ctx); err != nil {
			return message{}, err
		}
		switch {
		case len(r.fetched) > 0:
		case time.Now().After(idle):
			return message{}, errIdle
		case !pause(ctx, fetchPause):
			return message{}, ctx.Err()
		}
	}
}

// fetch gets the next messages of what still is the same stream. Of several filters none is asked for: they hold for what
// comes.
func (r *reader) fetch(ctx context.Context) error {
	if _, err := r.verify(ctx); err != nil {
		return err
	}
	opts := []jetstreamext.GetBatchOpt{jetstreamext.GetBatchMaxBytes(fetchBytes)}
	if r.next == 0 && r.policy == jetstream.DeliverByStartTimePolicy {
		opts = append(opts, jetstreamext.GetBatchStartTime(r.since))
	} else {
		opts = append(opts, jetstreamext.GetBatchSeq(max(r.next, 1)))
	}
	if len(r.filters) == 1 {
		opts = append(opts, jetstreamext.GetBatchSubject(r.filters[0]))
	}
	err := call(ctx, r.nc, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, apiTimeout)
		defer cancel()
		messages, err := jetstreamext.GetBatch(ctx, r.js, r.stream, fetchMessages, opts...)
		if err != nil {
			return err
		}
		for m, err := range messages {
			if err != nil {
				return err
			}
			r.fetched = append(r.fetched, message{subject: m.Subject, sequence: m.Sequence, storedAt: m.Time, data: m.Data})
		}
		return nil
	})
	if err != nil && !errors.Is(err, jetstreamext.ErrNoMessages) {
		r.fetched = nil
		return fmt.Errorf("read stream %s: %w", r.stream, err)
	}
	return nil
}

// latestBatched is Latest without a consumer: all facts are read, and the last of each subject is kept.
func (l *Log) latestBatched(ctx context.Context, filters []string, yield func(Entry, error) bool) {
	end, err := l.lastMatch(ctx, filters)
	last := map[string]Entry{}
	if err == nil {
		l.entries(ctx, l.factsReader(0, filters), end, lastOfSubjects, func(e Entry, failed error) bool {
			err = failed
			last[e.Subject] = e
			return failed == nil
		})
	}
	if err != nil {
		yield(Entry{}, err)
		return
	}
	subjects := make([]Entry, 0, len(last))
	for _, e := range last {
		subjects = append(subjects, e)
	}
	slices.SortFunc(subjects, func(a, b Entry) int { return cmp.Compare(a.Sequence, b.Sequence) })
	for _, e := range subjects {
		if !yield(e, nil) {
			return
		}
	}
}
