package ringfence

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/ringfence/ringfence/libs/eventlog"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// history is what a log still holds from its start, or from what stands for it, up to some place.
type history struct {
	// first and last are the sequences of the oldest and the newest fact, 0 when there are none.
	first, last uint64
	// snapshot is the sequence of the snapshot that stands for the trimmed start of the log, 0 when nothing was trimmed.
	// Up to there, facts are only the last of each subject.
	snapshot uint64
	facts    iter.Seq2[eventlog.Entry, error]
}

// readHistory reads a log up to a sequence, 0 being the newest fact. Where the log's start was trimmed, the oldest
// snapshot that can be used takes its place.
func readHistory(ctx context.Context, log *eventlog.Log, to uint64) (history, error) {
	usage, err := log.Usage(ctx)
	if err != nil {
		return history{}, err
	}
	if to > usage.Last {
		return history{}, fmt.Errorf("sequence %d: %w: it ends at %d", to, ErrOutOfRange, usage.Last)
	}
	if to == 0 {
		to = usage.Last
	}
	switch {
	case to == 0:
		return history{facts: func(func(eventlog.Entry, error) bool) {}}, nil
	case usage.First <= 1:
		return history{first: 1, last: to, facts: log.Read(ctx, 1, to)}, nil
	}
	return trimmedHistory(ctx, log, usage.First, to)
}

func trimmedHistory(ctx context.Context, log *eventlog.Log, first, to uint64) (history, error) {
	snapshots, err := log.Snapshots(ctx)
	if err != nil {
		return history{}, fmt.Errorf("snapshots: %w", err)
	}
	earliest := uint64(0)
	for _, info := range slices.Backward(snapshots) { // they come the newest first
		sequence := info.GetVersion().GetSequence()
		if sequence+1 < first {
			continue // facts between it and the log's start are gone
		}
		entries, err := readAll(log.ReadSnapshot(ctx, info))
		if errors.Is(err, eventlog.ErrSnapshot) {
			continue
		}
		if err != nil {
			return history{}, err
		}
		if sequence <= to {
			return joined(ctx, log, sequence, entries, to), nil
		}
		earliest = sequence
		break
	}
	if earliest == 0 {
		return history{}, fmt.Errorf("sequence %d: %w: facts below %d were trimmed and no snapshot stands for them", to, ErrOutOfRange, first)
	}
	return history{}, fmt.Errorf("sequence %d: %w: its start was trimmed; from sequence %d on it can be replayed", to, ErrOutOfRange, earliest)
}

func readAll(entries iter.Seq2[*ringfencev1.SnapshotEntry, error]) (all []*ringfencev1.SnapshotEntry, err error) {
	for entry, err := range entries {
		if err != nil {
			return nil, err
		}
		all = append(all, entry)
	}
	return all, nil
}

// joined gives the entries of a snapshot, then the facts after it.
func joined(ctx context.Context, log *eventlog.Log, sequence uint64, entries []*ringfencev1.SnapshotEntry, to uint64) history {
	h := history{first: sequence, last: to, snapshot: sequence}
	if len(entries) > 0 {
		h.first = entries[0].GetSequence()
	}
	h.facts = func(yield func(eventlog.Entry, error) bool) {
		for _, s := range entries {
			e, err := snapshotEntry(s)
			if err == nil && e.Fact.GetBody() == nil {
				continue // it only marks the snapshot's place
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
		if to == sequence {
			return
		}
		for e, err := range log.Read(ctx, sequence+1, to) {
			if !yield(e, err) {
				return
			}
		}
	}
	return h
}

func snapshotEntry(s *ringfencev1.SnapshotEntry) (eventlog.Entry, error) {
	fact := &ringfencev1.Fact{}
	if err := proto.Unmarshal(s.GetFact(), fact); err != nil {
		return eventlog.Entry{}, fmt.Errorf("snapshot: sequence %d (%s): %w", s.GetSequence(), s.GetSubject(), err)
	}
	return eventlog.Entry{Subject: s.GetSubject(), Sequence: s.GetSequence(), StoredAt: time.Unix(0, s.GetStoredAt()), Fact: fact}, nil
}
