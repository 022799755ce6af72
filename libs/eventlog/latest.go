package eventlog

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// Latest gives the last fact of every subject, tombstones included. Facts that were trimmed come from the snapshot for whose
// sake they were, the oldest that is kept, and come first; each of the two parts is in ascending sequence. A subject may come
// again; the later one counts. So this is what whoever folds the log holds, and a producer who compares with it misses nothing.
//
// A subject whose last message cannot be decoded comes with a fact without body: what the log holds of it is not known, and
// whoever writes it writes it anew. ErrGap says that facts are gone which no snapshot holds. An error ends the iteration.
func (l *Log) Latest(ctx context.Context, filters ...string) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		goesOn := true
		give := func(e Entry, err error) bool {
			goesOn = goesOn && yield(e, err) && err == nil
			return goesOn
		}
		covered, err := l.giveTrimmed(ctx, filters, give)
		if err == nil && goesOn {
			l.giveKept(ctx, filters, give)
		}
		if err == nil && goesOn {
			err = l.continues(ctx, covered)
		}
		if err != nil && goesOn {
			yield(Entry{}, err)
		}
	}
}

// giveKept gives the last fact of every subject of which any is kept.
func (l *Log) giveKept(ctx context.Context, filters []string, yield func(Entry, error) bool) {
	if l.readOnly {
		l.latestBatched(ctx, filters, yield)
		return
	}
	r := l.factsReader(0, filters)
	r.policy = jetstream.DeliverLastPerSubjectPolicy
	defer r.close()
	// The consumer is there before the end is looked up: whatever changes between the two is beyond the end.
	err := r.open(ctx)
	var end uint64
	if err == nil {
		end, err = l.lastMatch(ctx, filters)
	}
	if err != nil {
		yield(Entry{}, err)
		return
	}
	l.entries(ctx, r, end, lastOfSubjects, yield)
}

// giveTrimmed gives what a snapshot holds of the subjects where facts were trimmed, and up to which sequence that is all.
func (l *Log) giveTrimmed(ctx context.Context, filters []string, give func(Entry, error) bool) (covered uint64, err error) {
	state, err := l.verify(ctx)
	if err != nil || state.FirstSeq <= l.base {
		return max(l.base, 1) - 1, err
	}
	info, err := l.snapshotOf(ctx, state.FirstSeq)
	if err != nil {
		return 0, err
	}
	for s, err := range l.ReadSnapshot(ctx, info) {
		if errors.Is(err, ErrSnapshot) { // it was good a moment ago
			return 0, fmt.Errorf("%w: %w", ErrGap, err)
		}
		if err != nil {
			return 0, err
		}
		if len(s.GetFact()) == 0 || !matchesAny(filters, s.GetSubject()) {
			continue
		}
		fact := &ringfencev1.Fact{}
		if err := proto.Unmarshal(s.GetFact(), fact); err != nil {
			l.skip(ctx, s.GetSubject(), s.GetSequence(), err)
			fact = &ringfencev1.Fact{}
		}
		if !give(Entry{Subject: s.GetSubject(), Sequence: s.GetSequence(), Fact: fact}, nil) {
			break
		}
	}
	return info.GetVersion().GetSequence(), nil
}

// snapshotOf gives the oldest good snapshot after which every fact is kept, first being the oldest fact that is. Facts are
// trimmed below the oldest snapshot alone, and only once its policy was computed anew and compared.
func (l *Log) snapshotOf(ctx context.Context, first uint64) (*ringfencev1.SnapshotInfo, error) {
	infos, err := l.Snapshots(ctx)
	if err != nil {
		return nil, err
	}
	for _, info := range slices.Backward(infos) {
		if info.GetVersion().GetSequence()+1 < first {
			continue
		}
		err := l.readSnapshot(ctx, info, func([]*ringfencev1.SnapshotEntry) bool { return true })
		if err == nil || !errors.Is(err, ErrSnapshot) {
			return info, err
		}
	}
	return nil, fmt.Errorf("%w: the facts below sequence %d are gone, and no snapshot holds them", ErrGap, first)
}

// continues says whether every fact after a sequence was kept until now.
func (l *Log) continues(ctx context.Context, covered uint64) error {
	state, err := l.verify(ctx)
	if err == nil && state.FirstSeq > covered+1 {
		return fmt.Errorf("%w: facts up to sequence %d were trimmed while the last ones after %d were read; read again", ErrGap, state.FirstSeq-1, covered)
	}
	return err
}

func matchesAny(filters []string, subject string) bool {
	return len(filters) == 0 || slices.ContainsFunc(filters, func(f string) bool { return Matches(f, subject) })
}
