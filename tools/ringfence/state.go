package ringfence

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ringfence/ringfence/libs/clas"
	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/restore"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// State is a log folded up to some place.
type State struct {
	// Engine holds the state. It is not safe for concurrent use.
	Engine      *clas.Engine
	Incarnation string
	// Sequence is the place, 0 in an empty log.
	Sequence uint64
	// StoredAt is when the log stored the fact there; zero where that fact is no longer kept or cannot be decoded.
	StoredAt time.Time
	// Start says what the fold began with, and Facts how many facts were folded after that.
	Start Start
	Facts uint64
	// Refused has one line for every fact that the engine refused: the state before it stayed.
	Refused []string
}

// Start says what a fold began with. The zero value is the start of the log.
type Start struct {
	// Snapshot is the sequence of a snapshot, 0 for the start of the log.
	Snapshot uint64
	// Engine is the version that computed the snapshot's digest. Verified says that this version computes the same; another
	// version's cannot be compared.
	Engine   string
	Verified bool
	// SetAside has a line for every nearer snapshot that could not be used.
	SetAside []string
}

// At folds a log up to a place: from the newest snapshot at or below it that proves good, or else from the start of the log.
func At(ctx context.Context, source Source, at Place, step Step) (*State, error) {
	target, err := Find(ctx, source, at)
	if err != nil {
		return nil, err
	}
	return atSequence(ctx, source, target, step)
}

func atSequence(ctx context.Context, source Source, target uint64, step Step) (*State, error) {
	usage, err := source.Usage(ctx)
	if err != nil {
		return nil, err
	}
	s := &State{Engine: clas.New(), Incarnation: source.Incarnation()}
	found, err := s.restoreBelow(ctx, source, usage, target, step)
	switch {
	case err != nil:
		return nil, err
	case !found && target > 0 && target+1 < source.Base():
		return nil, fmt.Errorf("sequence %d: %w: it starts at %d", target, ErrOutOfRange, source.Base())
	case !found && usage.First > max(source.Base(), 1):
		return nil, trimmed(ctx, source, usage, target)
	case !found && target > 0:
		s.Sequence = max(source.Base(), 1) - 1
	}
	if err := s.Advance(ctx, source, target, step); err != nil {
		return nil, err
	}
	return s, s.date(ctx, source, usage)
}

// restoreBelow restores the newest good snapshot at or below a sequence from which all facts are there.
func (s *State) restoreBelow(ctx context.Context, source Source, usage eventlog.Usage, target uint64, step Step) (bool, error) {
	infos, err := source.Snapshots(ctx)
	if err != nil {
		return false, fmt.Errorf("snapshots: %w", err)
	}
	for _, info := range infos {
		sequence := info.GetVersion().GetSequence()
		if sequence > target || sequence+1 < usage.First {
			continue
		}
		engine, err := restoreSnapshot(ctx, source, info, step)
		switch {
		case err == nil:
			s.Engine, s.Sequence = engine, sequence
			s.Start.Snapshot, s.Start.Engine, s.Start.Verified = sequence, info.GetEngine(), restore.Comparable(info)
			return true, nil
		case !errors.Is(err, eventlog.ErrSnapshot):
			return false, err
		}
		s.Start.SetAside = append(s.Start.SetAside, err.Error())
	}
	return false, nil
}

// restoreSnapshot gives the engine of a snapshot, and tells step of its entries.
func restoreSnapshot(ctx context.Context, source Source, info *ringfencev1.SnapshotInfo, step Step) (*clas.Engine, error) {
	what, done := fmt.Sprintf("restoring the snapshot at %d", info.GetVersion().GetSequence()), uint64(0)
	return restore.Snapshot(info, func(yield func(*ringfencev1.SnapshotEntry, error) bool) {
		for entry, err := range source.ReadSnapshot(ctx, info) {
			done++
			step.tell(what, done, info.GetFacts())
			if !yield(entry, err) {
				return
			}
		}
	})
}

// trimmed says from where on a log can be folded whose start is gone.
func trimmed(ctx context.Context, source Source, usage eventlog.Usage, target uint64) error {
	infos, err := source.Snapshots(ctx)
	if err != nil {
		return fmt.Errorf("snapshots: %w", err)
	}
	for _, info := range slices.Backward(infos) {
		sequence := info.GetVersion().GetSequence()
		if sequence <= target || sequence+1 < usage.First {
			continue
		}
		if _, err := restoreSnapshot(ctx, source, info, nil); err == nil {
			return fmt.Errorf("sequence %d: %w: its start was trimmed; from sequence %d on it can be replayed", target, ErrOutOfRange, sequence)
		}
	}
	return fmt.Errorf("sequence %d: %w: facts below %d were trimmed and no snapshot stands for them", target, ErrOutOfRange, usage.First)
}

// Advance folds on up to a sequence.
func (s *State) Advance(ctx context.Context, source Source, to uint64, step Step) error {
	return s.advance(ctx, source, to, step, nil)
}

// advance tells each of every fact once it is folded; an error of each ends the fold. Each may keep the fact that it
// ends the fold with, and of no other anything but texts.
func (s *State) advance(ctx context.Context, source Source, to uint64, step Step, each func(eventlog.Entry) error) error {
	if to <= s.Sequence {
		return nil
	}
	for e, err := range ahead(source.Read(ctx, s.Sequence+1, to)) {
		if err == nil {
			err = ctx.Err() // what was read ahead needs no context
		}
		if err != nil {
			return fmt.Errorf("fold from sequence %d: %w", s.Sequence+1, err)
		}
		if err := s.Engine.Apply(e.Subject, e.Sequence, e.Fact); err != nil {
			s.Refused = append(s.Refused, fmt.Sprintf("sequence %d (%s): %v", e.Sequence, e.Subject, err))
		}
		s.Facts, s.StoredAt = s.Facts+1, e.StoredAt
		step.tell("folding facts", e.Sequence, to)
		if each != nil {
			if err := each(e); err != nil {
				return err
			}
		}
		source.Release(e)
	}
	s.Sequence = to
	return nil
}

// date looks up when the place was stored where no fact was folded.
func (s *State) date(ctx context.Context, source Source, usage eventlog.Usage) error {
	if f, isFile := source.(*File); isFile && s.Facts == 0 && s.Sequence == f.Header.Start {
		s.StoredAt = f.Header.StartedAt
	}
	if s.Facts > 0 || s.Sequence < max(usage.First, 1) {
		return nil
	}
	for e, err := range source.Read(ctx, s.Sequence, s.Sequence) {
		if err != nil {
			return err
		}
		s.StoredAt = e.StoredAt
	}
	return nil
}

// Live compares a fold with what policy-store published.
type Live struct {
	Head *ringfencev1.PolicyHead
	// Equal says whether the digests are equal.
	Equal bool
}

// AtLive folds a running log up to the fact that the published policy follows, and compares the two. Live is nil when
// nothing was published yet; the fold then goes to the newest fact.
func AtLive(ctx context.Context, log *eventlog.Log, step Step) (*State, *Live, error) {
	head, err := log.Head(ctx)
	if err != nil && !errors.Is(err, eventlog.ErrNotFound) {
		return nil, nil, fmt.Errorf("the live policy: %w", err)
	}
	if head == nil || head.GetVersion().GetIncarnation() != log.Incarnation() {
		s, err := At(ctx, log, Place{}, step)
		return s, nil, err
	}
	s, err := At(ctx, log, Place{Sequence: head.GetVersion().GetSequence()}, step)
	if err != nil {
		return nil, nil, err
	}
	return s, &Live{Head: head, Equal: head.GetDigest() == s.Engine.Digest()}, nil
}
