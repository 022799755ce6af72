package policystore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/ringfence/ringfence/libs/eventlog"
)

const (
	// churnInterval is how often the place in the log is noted, churnSpan how far back the churn is counted.
	churnInterval = 10 * time.Second
	churnSpan     = time.Hour
	// slowDisk is the number of syncs a second below which a disk is slow whatever the cluster does.
	slowDisk = 50
)

// measureSyncs gives how many small writes a second the folder's disk makes durable one after the other: every fact that
// comes alone waits for one.
func measureSyncs(dir string) (perSecond float64, err error) {
	name := filepath.Join(dir, ".syncs")
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return 0, fmt.Errorf("measure the log's disk: %w", err)
	}
	fact := make([]byte, 600)
	started, n := time.Now(), 0
	for ; err == nil && n < 100 && (n < 3 || time.Since(started) < 300*time.Millisecond); n++ {
		if _, err = f.Write(fact); err == nil {
			err = f.Sync()
		}
	}
	perSecond = float64(n) / time.Since(started).Seconds()
	if err = errors.Join(err, f.Close(), os.Remove(name)); err != nil {
		return 0, fmt.Errorf("measure the log's disk: %w", err)
	}
	return perSecond, nil
}

// churn is how fast the log has grown lately. Its zero value has seen nothing.
type churn struct{ places []place }

type place struct {
	at       time.Time
	sequence uint64
}

// note takes in the place in the log at a time, and says whether that was due.
func (c *churn) note(at time.Time, sequence uint64) bool {
	if n := len(c.places); n > 0 && at.Sub(c.places[n-1].at) < churnInterval {
		return false
	}
	c.places = append(c.places, place{at, sequence})
	old := slices.IndexFunc(c.places, func(p place) bool { return at.Sub(p.at) <= churnSpan })
	c.places = c.places[old:]
	return true
}

// perSecond is the mean of facts a second, 0 while it is not known.
func (c *churn) perSecond() float64 {
	if len(c.places) < 2 {
		return 0
	}
	first, last := c.places[0], c.places[len(c.places)-1]
	return float64(last.sequence-first.sequence) / last.at.Sub(first.at).Seconds()
}

// Capacity is what the log can take, and how long it remembers.
type Capacity struct {
	// Syncs a second of the log's disk, as measured at the start.
	Syncs float64 `json:"syncs_per_second"`
	// Facts a second of the last hour.
	Facts float64 `json:"facts_per_second"`
	// History is how many hours of it the log holds at that rate, 0 while that is not known.
	History float64 `json:"history_hours"`
}

// capacityOf reckons with the room that facts may take before a snapshot takes their place.
func capacityOf(syncs, facts float64, u eventlog.Usage) Capacity {
	c := Capacity{Syncs: syncs, Facts: facts}
	if facts > 0 && u.Facts > 0 && u.MaxBytes > 0 {
		each := float64(u.Bytes) / float64(u.Facts)
		c.History = float64(u.MaxBytes) * trimAbove / 100 / each / facts / 3600
	}
	return c
}

// short says in words what the disk is too slow for, nothing where it suffices.
func (c Capacity) short() string {
	switch {
	case c.Syncs == 0:
		return ""
	case c.Syncs < c.Facts:
		return fmt.Sprintf("the log's disk makes %.0f writes a second durable and the cluster has %.0f changes: facts wait, and policy with them; use a faster volume", c.Syncs, c.Facts)
	case c.Syncs < slowDisk:
		return fmt.Sprintf("the log's disk makes %.0f writes a second durable, less than %d: changes take effect late when several come together; use a faster volume", c.Syncs, slowDisk)
	}
	return ""
}

// gauge keeps the capacity up to date, and tells of a disk that became too slow.
func (f *folder) gauge(ctx context.Context) {
	if !f.live || !f.churn.note(time.Now(), f.engine.Sequence()) {
		return
	}
	usage, err := f.log.Usage(ctx)
	if err != nil {
		return // the next time
	}
	now := capacityOf(f.syncs, f.churn.perSecond(), usage)
	f.metrics.tellCapacity(now)
	if said := now.short(); said != "" && !f.toldShort {
		f.zlog.Error().Float64("syncs_per_second", now.Syncs).Float64("facts_per_second", now.Facts).Msg(said)
	}
	f.toldShort = now.short() != ""
	f.capacity.Store(&now)
}

// measureDisk gives the syncs a second of the log's disk when they are measured; what cannot be measured is not known.
func (h *host) measureDisk() <-chan float64 {
	if h.cfg.NATSMode == external {
		return nil // its disks are elsewhere
	}
	measured := make(chan float64, 1)
	go func() {
		syncs, err := measureSyncs(h.cfg.StoreDir)
		if err != nil {
			h.log.Warn().Err(err).Msg("the speed of the log's disk is not known")
		}
		measured <- syncs
	}()
	return measured
}
