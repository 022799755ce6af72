package ringfence

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/ringfence/ringfence/libs/clas"
	"github.com/ringfence/ringfence/libs/eventlog"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// Until is a place in a log: the last fact to fold. The zero value is the newest. At most one field is set.
type Until struct {
	Sequence uint64
	// Time stands for the last fact that the log stored at or before it.
	Time time.Time
}

// beyond says whether a fact comes after the place.
func (u Until) beyond(e eventlog.Entry) bool {
	return u.Sequence > 0 && e.Sequence > u.Sequence || !u.Time.IsZero() && e.StoredAt.After(u.Time)
}

// Replay is a log folded up to some place.
type Replay struct {
	// Engine holds the state. It is not safe for concurrent use.
	Engine      *clas.Engine
	Incarnation string
	// First and Last are the sequences of the first and the last fact that were folded, 0 when there were none.
	First, Last uint64
	Facts       uint64
	// StoredAt is when the log stored the last of them.
	StoredAt time.Time
	// Refused has one line for every fact that the engine refused: the state before it stayed.
	Refused []string
	// Damage says what is wrong with the file, empty when all is well or when there was none.
	Damage []string

	stopped uint64 // sequence of the first fact beyond the place, 0 when there was none
}

// Fold folds facts in their order into a new engine, up to a place.
func Fold(facts iter.Seq2[eventlog.Entry, error], until Until) (*Replay, error) {
	r := &Replay{Engine: clas.New()}
	for e, err := range facts {
		if err != nil {
			return nil, err
		}
		if until.beyond(e) {
			r.stopped = e.Sequence
			break
		}
		if err := r.Engine.Apply(e.Subject, e.Sequence, e.Fact); err != nil {
			r.Refused = append(r.Refused, fmt.Sprintf("sequence %d (%s): %v", e.Sequence, e.Subject, err))
		}
		if r.Facts == 0 {
			r.First = e.Sequence
		}
		r.Facts, r.Last, r.StoredAt = r.Facts+1, e.Sequence, e.StoredAt
	}
	return r, nil
}

// ReplayFile folds an exported log up to a place.
func ReplayFile(file io.Reader, until Until, step Step) (*Replay, error) {
	reader, err := NewReader(file)
	if err != nil {
		return nil, err
	}
	header := reader.Header
	r, err := Fold(counted(reader.Entries(), header.Last, step), until)
	if err != nil {
		return nil, err
	}
	r.Incarnation, r.Damage = header.Incarnation, reader.Damage()
	return r, reached(r, until, header.First, header.Last, header.Snapshot)
}

// ReplayLog folds a running log from its start up to a place.
func ReplayLog(ctx context.Context, log *eventlog.Log, until Until, step Step) (*Replay, error) {
	to := until.Sequence
	if !until.Time.IsZero() {
		sequence, err := log.SequenceAt(ctx, until.Time)
		if err != nil {
			return nil, fmt.Errorf("replay: %w", err)
		}
		to = max(sequence, 1) // the fold itself stops before a first fact that is too new
	}
	past, err := readHistory(ctx, log, to)
	if err != nil {
		return nil, fmt.Errorf("replay: %w", err)
	}
	r, err := Fold(counted(past.facts, past.last, step), until)
	if err != nil {
		return nil, fmt.Errorf("replay: %w", err)
	}
	r.Incarnation = log.Incarnation()
	return r, reached(r, until, past.first, past.last, past.snapshot)
}

// reached refuses a place that the facts do not reach.
func reached(r *Replay, until Until, first, last, snapshot uint64) error {
	switch {
	case until.Sequence > last:
		return fmt.Errorf("sequence %d: %w: it ends at %d", until.Sequence, ErrOutOfRange, last)
	case until != Until{} && r.Facts == 0:
		return fmt.Errorf("nothing was stored so early: %w: it starts at sequence %d", ErrOutOfRange, first)
	case r.stopped > 0 && r.stopped <= snapshot:
		return fmt.Errorf("before sequence %d: %w: its start was trimmed; from sequence %d on it can be replayed", r.stopped, ErrOutOfRange, snapshot)
	}
	return nil
}

// Live compares a fold with what policy-store published.
type Live struct {
	Head *ringfencev1.PolicyHead
	// Equal says whether the digests are equal.
	Equal bool
}

// ReplayLive folds a running log up to the fact that the published policy follows, and compares the two. Live is nil
// when nothing was published yet; the fold then goes to the newest fact.
func ReplayLive(ctx context.Context, log *eventlog.Log, step Step) (*Replay, *Live, error) {
	head, err := log.Head(ctx)
	if err != nil && !errors.Is(err, eventlog.ErrNotFound) {
		return nil, nil, fmt.Errorf("the live policy: %w", err)
	}
	if head == nil || head.GetVersion().GetIncarnation() != log.Incarnation() {
		r, err := ReplayLog(ctx, log, Until{}, step)
		return r, nil, err
	}
	r, err := ReplayLog(ctx, log, Until{Sequence: head.GetVersion().GetSequence()}, step)
	if err != nil {
		return nil, nil, err
	}
	return r, &Live{Head: head, Equal: head.GetDigest() == r.Engine.Digest()}, nil
}
