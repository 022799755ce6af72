package ringfence

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/ringfence/ringfence/libs/eventlog"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// Source is a log to look into: a running one (eventlog.Log) or an exported one (File). What eventlog.Log says of these
// methods holds for any.
type Source interface {
	Incarnation() string
	// Base is the first sequence of the incarnation.
	Base() uint64
	// Usage names the first and the last sequence that are there; of a file, Bytes is its size.
	Usage(ctx context.Context) (eventlog.Usage, error)
	// SequenceAt is the last sequence that was stored at or before a time.
	SequenceAt(ctx context.Context, t time.Time) (uint64, error)
	// Snapshots gives the snapshots, the newest first, not verified yet.
	Snapshots(ctx context.Context) ([]*ringfencev1.SnapshotInfo, error)
	ReadSnapshot(ctx context.Context, info *ringfencev1.SnapshotInfo) iter.Seq2[*ringfencev1.SnapshotEntry, error]
	// Read gives the facts from one sequence to another, both included; to 0 is the newest.
	Read(ctx context.Context, from, to uint64, filters ...string) iter.Seq2[eventlog.Entry, error]
	// Release may be given an entry of Read once nothing of its fact is kept but texts.
	Release(entry eventlog.Entry)
}

var _ Source = (*eventlog.Log)(nil)

// Place is a place in a log: the last fact that counts. The zero value is the newest. At most one field is set.
type Place struct {
	Sequence uint64
	// Time stands for the last fact that the log stored at or before it.
	Time time.Time
}

// Step is told how far long work is: what is done, how much of it, and how much there is. It may be nil.
type Step func(what string, done, all uint64)

func (s Step) tell(what string, done, all uint64) {
	if s != nil {
		s(what, done, all)
	}
}

// Find gives the sequence of a place, 0 for the newest of an empty log.
func Find(ctx context.Context, source Source, at Place) (uint64, error) {
	usage, err := source.Usage(ctx)
	switch {
	case err != nil:
		return 0, err
	case at.Sequence > usage.Last:
		return 0, fmt.Errorf("sequence %d: %w: it ends at %d", at.Sequence, ErrOutOfRange, usage.Last)
	case at.Sequence > 0:
		return at.Sequence, nil
	case at.Time.IsZero():
		return usage.Last, nil
	}
	sequence, err := source.SequenceAt(ctx, at.Time)
	if err != nil {
		return 0, err
	}
	if f, isFile := source.(*File); isFile && f.startedBefore(at.Time) {
		return max(sequence, f.Header.Start), nil
	}
	if sequence < max(usage.First, 1) {
		return 0, fmt.Errorf("%s: %w: nothing that is kept was stored so early; it starts at sequence %d",
			at.Time.UTC().Format(time.RFC3339), ErrOutOfRange, usage.First)
	}
	return sequence, nil
}
