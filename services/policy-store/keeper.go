package policystore

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/ringfence/ringfence/libs/clas"
	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/restore"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

const (
	// trimAbove is the share of the facts' room, in percent, above which facts below a verified snapshot go.
	trimAbove = 80
	// usageInterval is how often the room is looked at.
	usageInterval = 5 * time.Second
)

// keeper takes snapshots, restores from them, and makes room in the log. Everything but wait is called from the folder's
// goroutine; the writing itself happens in one of its own.
type keeper struct {
	log     *eventlog.Log
	zlog    zerolog.Logger
	metrics *metrics
	cfg     Config

	working   sync.WaitGroup
	busy      chan struct{} // holds one token while a snapshot is being written
	last      uint64        // sequence of the newest snapshot
	lastAt    time.Time
	lookedAt  time.Time
	saidAlarm bool
}

// restore gives an engine from the newest snapshot that proves good, or an empty one.
func (k *keeper) restore(ctx context.Context) (*clas.Engine, error) {
	k.busy, k.lastAt = make(chan struct{}, 1), time.Now()
	infos, err := k.log.Snapshots(ctx)
	if err != nil {
		return nil, fmt.Errorf("find snapshots: %w", err)
	}
	for _, info := range infos {
		engine, err := k.load(ctx, info)
		if err == nil {
			k.last = engine.Sequence()
			if err := k.abandon(ctx, infos); err != nil {
				return nil, err
			}
			k.tellComparison(info)
			k.zlog.Info().Uint64("sequence", k.last).Uint64("facts", info.GetFacts()).Msg("restored from a snapshot")
			return engine, nil
		}
		if !errors.Is(err, eventlog.ErrSnapshot) {
			return nil, err
		}
		k.metrics.snapshots.WithLabelValues("set_aside").Inc()
		k.zlog.Error().Err(err).Msg("the snapshot is set aside; an older one or the whole log is read instead")
	}
	return clas.New(), nil
}

// abandon gives up the history below a hole that the snapshot spares us: what cannot be replayed must not be served. A hole
// above the snapshot is found by reading.
func (k *keeper) abandon(ctx context.Context, infos []*ringfencev1.SnapshotInfo) error {
	hole, err := k.log.LastHole(ctx)
	if err != nil || hole == 0 || hole > k.last {
		return err
	}
	k.zlog.Error().Uint64("below", hole+1).Msg("facts were lost that a snapshot covers: the policy is whole, and its history begins after them")
	broken := slices.IndexFunc(infos, func(i *ringfencev1.SnapshotInfo) bool { return i.GetVersion().GetSequence() < hole })
	if broken >= 0 { // they come the newest first
		if err := k.drop(ctx, infos[broken:]); err != nil {
			return err
		}
	}
	return k.log.Trim(ctx, hole+1)
}

func (k *keeper) load(ctx context.Context, info *ringfencev1.SnapshotInfo) (*clas.Engine, error) {
	return restore.Snapshot(info, k.log.ReadSnapshot(ctx, info))
}

// computed names the policy of an engine.
func computed(e *clas.Engine) eventlog.Computed {
	return eventlog.Computed{Engine: clas.Version, Digest: e.Digest()}
}

// tellComparison says where the policy of a snapshot could not be verified.
func (k *keeper) tellComparison(info *ringfencev1.SnapshotInfo) {
	if !restore.Comparable(info) {
		k.zlog.Warn().Str("engine", clas.Version).Str("snapshot_engine", info.GetEngine()).
			Msg("the snapshot is of another version of the engine: its facts are good, and its digest cannot be compared")
	}
}

// consider takes a snapshot when one is due: after so many facts, after so long, or because the log fills up.
func (k *keeper) consider(ctx context.Context, f *folder) {
	sequence := f.engine.Sequence()
	if sequence <= k.last || !f.live {
		return
	}
	due := sequence-max(k.last, k.log.Base()-1) >= k.cfg.SnapshotFacts || time.Since(k.lastAt) >= k.cfg.SnapshotInterval
	if !due && time.Since(k.lookedAt) >= usageInterval {
		k.lookedAt = time.Now()
		due = k.tight(ctx)
	}
	if !due {
		return
	}
	select {
	case k.busy <- struct{}{}:
	default:
		return // one is being written
	}
	k.last, k.lastAt = sequence, time.Now()
	f.mu.Lock()
	policy, entries := computed(f.engine), f.engine.Snapshot()
	f.mu.Unlock()
	k.working.Go(func() {
		defer func() { <-k.busy }()
		k.snapshot(ctx, sequence, policy, entries)
	})
}

// wait returns once no snapshot is being written.
func (k *keeper) wait() { k.working.Wait() }

// snapshot writes one, and makes room with it.
func (k *keeper) snapshot(ctx context.Context, sequence uint64, policy eventlog.Computed, entries iter.Seq[*ringfencev1.SnapshotEntry]) {
	if sequence == 0 {
		return
	}
	info, err := k.log.WriteSnapshot(ctx, sequence, policy, entries)
	if err == nil {
		k.metrics.snapshots.WithLabelValues("written").Inc()
		k.zlog.Info().Uint64("sequence", sequence).Uint64("facts", info.GetFacts()).Msg("took a snapshot")
		err = k.makeRoom(ctx)
	}
	if err != nil && ctx.Err() == nil {
		k.metrics.snapshots.WithLabelValues("failed").Inc()
		k.zlog.Error().Err(err).Uint64("sequence", sequence).Msg("no snapshot could be taken; the next is tried when due")
	}
}

// makeRoom drops snapshots beyond those that there is room for, and, where the log is tight, the facts below the oldest that
// stays. Where that does not suffice the oldest goes, too, and what is below the next one, down to the newest.
func (k *keeper) makeRoom(ctx context.Context) error {
	infos, err := k.log.Snapshots(ctx)
	if err != nil {
		return err
	}
	if err := k.log.DropPartialSnapshots(ctx, infos); err != nil {
		return err
	}
	if infos, err = k.thin(ctx, infos); err != nil {
		return err
	}
	for n := len(infos) - 1; n >= 0 && k.tight(ctx); n-- {
		err := k.trim(ctx, infos[n])
		if err != nil && !errors.Is(err, eventlog.ErrSnapshot) {
			return err
		}
		if err == nil && (n == 0 || !k.tight(ctx)) {
			break
		}
		if err := k.drop(ctx, infos[n:n+1]); err != nil {
			return err
		}
	}
	if !k.tight(ctx) {
		k.saidAlarm = false
	} else if !k.saidAlarm {
		k.saidAlarm = true
		k.zlog.Error().Msg("the log is nearly full of facts that no snapshot covers: storage-gi is too small for this cluster")
	}
	return nil
}

// thin drops snapshots that there is no room for, and gives those that stay.
func (k *keeper) thin(ctx context.Context, infos []*ringfencev1.SnapshotInfo) ([]*ringfencev1.SnapshotInfo, error) {
	keep, err := k.keeps(ctx, infos)
	if err != nil {
		return nil, err
	}
	usage, err := k.log.Usage(ctx)
	if err != nil {
		return nil, err
	}
	start := max(k.log.Base(), 1)
	stay, gone := spread(infos, start-1, usage.First > start, keep)
	return stay, k.drop(ctx, gone)
}

func (k *keeper) drop(ctx context.Context, infos []*ringfencev1.SnapshotInfo) error {
	for _, info := range infos {
		if err := k.log.DropSnapshot(ctx, info.GetVersion().GetSequence()); err != nil {
			return err
		}
		k.metrics.snapshots.WithLabelValues("dropped").Inc()
	}
	return nil
}

// trim removes the facts that a snapshot covers, once that snapshot proved good.
func (k *keeper) trim(ctx context.Context, oldest *ringfencev1.SnapshotInfo) error {
	if _, err := k.load(ctx, oldest); err != nil {
		return err
	}
	below := oldest.GetVersion().GetSequence() + 1
	usage, err := k.log.Usage(ctx)
	if err != nil || usage.First >= below {
		return err
	}
	if err := k.log.Trim(ctx, below); err != nil {
		return err
	}
	k.zlog.Info().Uint64("below", below).Uint64("facts", min(below, usage.Last+1)-usage.First).Msg("trimmed facts that a snapshot covers")
	return nil
}

// tight says whether the facts take more of their room than they should.
func (k *keeper) tight(ctx context.Context) bool {
	usage, err := k.log.Usage(ctx)
	return err == nil && usage.MaxBytes > 0 && usage.Bytes > uint64(usage.MaxBytes)/100*trimAbove
}
