// Package restore makes an engine of a snapshot of the log, and takes it for good only where it proves itself. It reads no log
// and folds nothing after the snapshot: both are its callers' business.
package restore

import (
	"fmt"
	"iter"

	"github.com/ringfence/ringfence/libs/clas"
	"github.com/ringfence/ringfence/libs/eventlog"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// Snapshot gives the engine that a snapshot's entries make. They must end where the snapshot says, and, where this version of
// the engine computed the policy that it was taken of, give that policy; another version's cannot be compared, and its facts
// are good. An error that is eventlog.ErrSnapshot says to set the snapshot aside; others are of reading it.
func Snapshot(info *ringfencev1.SnapshotInfo, entries iter.Seq2[*ringfencev1.SnapshotEntry, error]) (*clas.Engine, error) {
	var unread error
	engine, err := clas.Restore(func(yield func(*ringfencev1.SnapshotEntry, error) bool) {
		for entry, err := range entries {
			if unread = err; !yield(entry, err) {
				return
			}
		}
	})
	sequence := info.GetVersion().GetSequence()
	switch {
	case unread != nil:
		return nil, unread
	case err != nil:
		return nil, fmt.Errorf("snapshot at %d: %w: %w", sequence, eventlog.ErrSnapshot, err)
	case engine.Sequence() != sequence:
		return nil, fmt.Errorf("snapshot at %d: %w: its facts end at %d", sequence, eventlog.ErrSnapshot, engine.Sequence())
	}
	if got := engine.Digest(); Comparable(info) && got != info.GetDigest() {
		return nil, fmt.Errorf("snapshot at %d: %w: its facts give another policy, %s, than it was taken of, %s, by the same engine %s",
			sequence, eventlog.ErrSnapshot, got, info.GetDigest(), clas.Version)
	}
	return engine, nil
}

// Comparable tells whether the policy that a snapshot was taken of was computed as this version does.
func Comparable(info *ringfencev1.SnapshotInfo) bool { return info.GetEngine() == clas.Version }
