package clas

import (
	"fmt"
	"iter"
	"slices"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
	"google.golang.org/protobuf/proto"
)

// position is the subject of the entry that ends a snapshot where the last fact of the log is not among those kept. Its
// fact is empty.
const position = "facts.ctl.position"

// Snapshot gives the facts that lead a new engine to this engine's state, in the order of the log: the last fact of every
// subject, the version in force with its objects, and of labels that are gone the last fact and the tombstone. The facts
// are those of the call; the sequence may be consumed later, and elsewhere, while the engine goes on. StoredAt is unset.
func (e *Engine) Snapshot() iter.Seq[*ringfencev1.SnapshotEntry] {
	facts := e.provision.facts()
	for _, h := range e.facts {
		facts = append(facts, h)
	}
	for _, pair := range e.buried {
		facts = append(facts, pair[:]...)
	}
	slices.SortFunc(facts, compareHeld)
	if n := len(facts); e.sequence > 0 && (n == 0 || facts[n-1].sequence < e.sequence) {
		facts = append(facts, held{subject: position, sequence: e.sequence, fact: &ringfencev1.Fact{}})
	}
	return func(yield func(*ringfencev1.SnapshotEntry) bool) {
		for _, h := range facts {
			encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(h.fact)
			if err != nil {
				// Apply encoded it once; only a fact that its giver changed afterwards gets here.
				panic(fmt.Sprintf("snapshot of %s: %v", h.subject, err))
			}
			if !yield(&ringfencev1.SnapshotEntry{Subject: h.subject, Sequence: h.sequence, Fact: encoded}) {
				return
			}
		}
	}
}

// Restore builds an engine from a snapshot's entries, in their order. Its first flush gives the whole policy.
func Restore(entries iter.Seq2[*ringfencev1.SnapshotEntry, error]) (*Engine, error) {
	e := New()
	for entry, err := range entries {
		if err != nil {
			return nil, fmt.Errorf("restore: %w", err)
		}
		if err := e.restore(entry); err != nil {
			return nil, fmt.Errorf("restore: entry %d: %w", entry.GetSequence(), err)
		}
	}
	return e, nil
}

func (e *Engine) restore(entry *ringfencev1.SnapshotEntry) error {
	if entry.GetSubject() == position {
		e.sequence = max(e.sequence, entry.GetSequence())
		return nil
	}
	f := &ringfencev1.Fact{}
	if err := proto.Unmarshal(entry.GetFact(), f); err != nil {
		return fmt.Errorf("fact of subject %s: decode: %w", entry.GetSubject(), err)
	}
	return e.Apply(entry.GetSubject(), entry.GetSequence(), f)
}
