package policystore

import (
	"context"
	"fmt"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

const (
	// mostSnapshots bounds how many stay where there is room for more.
	mostSnapshots = 64
	// snapshotRoom is the share of the snapshots' room, in percent, that those that stay and the next one may take. The stream
	// drops its oldest messages when it is full, and what would be left of a snapshot is of no use.
	snapshotRoom = 90
)

// keeps says how many snapshots there is room for, beside the next one: at least one.
func (k *keeper) keeps(ctx context.Context, infos []*ringfencev1.SnapshotInfo) (int, error) {
	usage, err := k.log.SnapshotUsage(ctx)
	if err != nil {
		return 0, fmt.Errorf("room for snapshots: %w", err)
	}
	most := uint32(1)
	for _, info := range infos {
		most = max(most, info.GetChunks()+1) // the end is a message, too
	}
	return roomFor(usage.MaxBytes, usage.Bytes, usage.Facts, most), nil
}

// roomFor reckons with the mean size of the messages that are there, and with the most of them that a snapshot has.
func roomFor(room int64, bytes, messages uint64, most uint32) int {
	if room <= 0 || bytes == 0 || messages == 0 {
		return mostSnapshots
	}
	each := float64(bytes) / float64(messages) * float64(most)
	fit := float64(room) / 100 * snapshotRoom / each
	return int(min(mostSnapshots, max(1, fit-1)))
}

// spread parts snapshots, the newest first, into those that stay and those that go, so that at most keep stay and every place of
// the log is as near after one as may be. The newest stays, for the next start; where the log was trimmed, so does the oldest,
// without which what is kept after it could not be replayed. A log that was not is replayed from start, the place before its first
// fact.
func spread(infos []*ringfencev1.SnapshotInfo, start uint64, trimmed bool, keep int) (stay, gone []*ringfencev1.SnapshotInfo) {
	stay = append(stay, infos...)
	for len(stay) > max(keep, 1) {
		droppable := len(stay)
		if trimmed && len(stay) > 2 {
			droppable--
		}
		least, at := ^uint64(0), 0
		for i := 1; i < droppable; i++ {
			below := start
			if i+1 < len(stay) {
				below = stay[i+1].GetVersion().GetSequence()
			}
			if gap := stay[i-1].GetVersion().GetSequence() - below; gap <= least { // of equals the oldest
				least, at = gap, i
			}
		}
		gone = append(gone, stay[at])
		stay = append(stay[:at:at], stay[at+1:]...)
	}
	return stay, gone
}
