package ringfence

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/ringfence/ringfence/libs/clas"
	"github.com/ringfence/ringfence/libs/eventlog"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

const (
	// checkpoints is how many places of a range are kept and asked in one round. A round narrows the range to one of that many
	// parts, and the next folds that part alone.
	checkpoints = 16
	// askAll is from how few facts on every one is asked after: a question costs some hundreds of microseconds, a checkpoint of a
	// hundred thousand pods as much as hundreds of questions, and a restored one thousands.
	askAll = 4096
)

// Answer is what the policy of one place says to a query.
type Answer struct {
	Sequence uint64 `json:"sequence"`
	// Explanation is nil where there is no verdict, for an end is not known there, or has no address; Unknown says why.
	Explanation *clas.Explanation `json:"explanation,omitempty"`
	Unknown     string            `json:"unknown,omitempty"`
}

// Verdict is empty where there is none.
func (a Answer) Verdict() clas.Verdict {
	if a.Explanation == nil {
		return ""
	}
	return a.Explanation.Verdict
}

// Ask asks the policy of a state. What is not known there is no error but an answer without verdict.
func (s *State) Ask(q clas.Query) (Answer, error) {
	a := Answer{Sequence: s.Sequence}
	explanation, err := s.Engine.Explain(q)
	switch {
	case err == nil:
		a.Explanation = &explanation
	case noVerdict(err):
		a.Unknown = err.Error()
	default:
		return a, err
	}
	return a, nil
}

// noVerdict tells whether an error says that a query has no verdict at this place, though it may have one at another.
func noVerdict(err error) bool {
	return errors.Is(err, clas.ErrUnknownEndpoint) || errors.Is(err, clas.ErrNoAddress) || errors.Is(err, clas.ErrNoCommonFamily)
}

// Found is the fact that changed a verdict.
type Found struct {
	Incarnation string
	Fact        eventlog.Entry
	// Good and Bad are the answers at the two ends, Before and After those right before and right after the fact.
	Good, Bad, Before, After Answer
	// Facts were folded, some of them more than once, and Asked is how often the policy was asked.
	Facts, Asked uint64
}

// Bisect finds the first fact between two places with which the verdict of a query stopped to be that of good. Good may be the
// later place: then it is the first with which the verdict became that of good. Where both ends have a verdict, places that
// have none, as a pod is replaced, count as those before them. A change that was undone within one round's part is not looked
// for. ErrSameVerdict says that both places have the same verdict, or none.
func Bisect(ctx context.Context, source Source, q clas.Query, good, bad Place, step Step) (*Found, error) {
	b := bisection{source: source, query: q, step: step}
	first, err := Find(ctx, source, good)
	if err != nil {
		return nil, fmt.Errorf("good: %w", err)
	}
	last, err := Find(ctx, source, bad)
	if err != nil {
		return nil, fmt.Errorf("bad: %w", err)
	}
	b.found.Incarnation = source.Incarnation()
	start, early, err := b.end(ctx, min(first, last))
	if err != nil {
		return nil, err
	}
	_, late, err := b.end(ctx, max(first, last))
	if err != nil {
		return nil, err
	}
	b.old, b.found.Good, b.found.Bad = early.Verdict(), early, late
	if last < first {
		b.found.Good, b.found.Bad = late, early
	}
	if early.Verdict() == late.Verdict() {
		return nil, fmt.Errorf("%w: %s at sequences %d and %d", ErrSameVerdict, describe(b.found.Good), first, last)
	}
	return b.search(ctx, start, max(first, last))
}

func describe(a Answer) string {
	if a.Explanation == nil {
		return "none (" + a.Unknown + ")"
	}
	return string(a.Verdict())
}

// bisection is a search under way.
type bisection struct {
	source Source
	query  clas.Query
	step   Step
	found  Found
	old    clas.Verdict // the verdict at the earlier end
}

// end asks at one of the two places.
func (b *bisection) end(ctx context.Context, sequence uint64) (*State, Answer, error) {
	s, err := atSequence(ctx, b.source, sequence, b.step)
	if err != nil {
		return nil, Answer{}, err
	}
	b.found.Facts += s.Facts
	answer, err := b.ask(s)
	return s, answer, err
}

func (b *bisection) ask(s *State) (Answer, error) {
	b.found.Asked++
	return s.Ask(b.query)
}

// search narrows the range from a state to a sequence, which has another verdict, round by round.
func (b *bisection) search(ctx context.Context, s *State, to uint64) (found *Found, err error) {
	for to-s.Sequence > askAll {
		if s, to, err = b.narrow(ctx, s, to); err != nil {
			return nil, err
		}
	}
	return b.one(ctx, s, to)
}

// narrow folds from a state to a sequence and asks at places between. It gives the state of the last place before the verdict
// changed, and the sequence of the next.
func (b *bisection) narrow(ctx context.Context, s *State, to uint64) (*State, uint64, error) {
	stride := max((to-s.Sequence)/checkpoints, 1)
	for {
		before, at := s.Engine.Snapshot(), s.Sequence
		next := min(at+stride, to)
		folded := s.Facts
		if err := s.Advance(ctx, b.source, next, b.step); err != nil {
			return nil, 0, err
		}
		b.found.Facts += s.Facts - folded
		answer, err := b.ask(s)
		switch {
		case err != nil:
			return nil, 0, err
		case next < to && !b.changed(answer):
			continue
		}
		engine, err := clas.Restore(withoutErrors(before))
		if err != nil {
			return nil, 0, fmt.Errorf("bisect: state at %d: %w", at, err)
		}
		return &State{Engine: engine, Incarnation: s.Incarnation, Sequence: at}, next, nil
	}
}

// changed tells whether an answer is another than that at the earlier end.
func (b *bisection) changed(a Answer) bool {
	if a.Explanation == nil && b.found.Good.Explanation != nil && b.found.Bad.Explanation != nil {
		return false
	}
	return a.Verdict() != b.old
}

// errFound ends a fold at the fact that was looked for.
var errFound = errors.New("found")

// one asks after every fact.
func (b *bisection) one(ctx context.Context, s *State, to uint64) (*Found, error) {
	before, err := b.ask(s)
	if err != nil {
		return nil, err
	}
	folded := s.Facts
	err = s.advance(ctx, b.source, to, b.step, func(e eventlog.Entry) error {
		s.Sequence = e.Sequence
		after, err := b.ask(s)
		if err != nil {
			return err
		}
		if b.changed(after) {
			b.found.Fact, b.found.Before, b.found.After = e, before, after
			return errFound
		}
		before = after
		return nil
	})
	b.found.Facts += s.Facts - folded
	switch {
	case errors.Is(err, errFound):
		return &b.found, nil
	case err != nil:
		return nil, err
	}
	return nil, fmt.Errorf("bisect: no fact up to sequence %d changes the verdict, though it is another there: is the log damaged?", to)
}

func withoutErrors(entries iter.Seq[*ringfencev1.SnapshotEntry]) iter.Seq2[*ringfencev1.SnapshotEntry, error] {
	return func(yield func(*ringfencev1.SnapshotEntry, error) bool) {
		for entry := range entries {
			if !yield(entry, nil) {
				return
			}
		}
	}
}
