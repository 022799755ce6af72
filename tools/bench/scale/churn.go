package scale

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/tools/bench/load"
	"github.com/ringfence/ringfence/tools/bench/process"
)

// writing is how many facts may wait for their acknowledgement at once.
const writing = 64

// churn writes what happens, at its pace, and gives the facts with their acknowledgements, and the time of the cut.
func (b *Bench) churn(ctx context.Context, server *process.Process, c *cluster, n *nodes, out *Life) (facts []stored, cut time.Time, err error) {
	var mu sync.Mutex
	publishing, pctx := errgroup.WithContext(ctx)
	publishing.SetLimit(writing)
	publish := func(d eventlog.Draft) {
		publishing.Go(func() error {
			sequence, err := c.watcher.Publish(pctx, d)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			facts = append(facts, stored{sequence, time.Now()})
			return nil
		})
	}
	const step = 20 * time.Millisecond // facts are written in steps, for tickers are not finer on a busy machine
	ticker := time.NewTicker(step)
	defer ticker.Stop()
	var resident []int64
	start, written, provisioned, sampled, said := time.Now(), 0, false, time.Time{}, time.Now()
	for elapsed := time.Duration(0); elapsed < b.During && pctx.Err() == nil; elapsed = time.Since(start) {
		due := int(elapsed.Seconds() * float64(b.Rate))
		if third := b.During / 3; b.Rolling > 0 && elapsed > third {
			due += min(2*b.Rolling, int(float64(2*b.Rolling)*float64(elapsed-third)/float64(b.During/10)))
		}
		for ; written < due; written += 2 {
			pair, err := c.replace()
			if err != nil {
				return nil, cut, err
			}
			for _, d := range pair {
				publish(d)
			}
		}
		if elapsed > b.During/2 && !provisioned {
			provisioned = true
			b.say("steady state: a rule set is provisioned")
			drafts := c.provision()
			publishing.Go(func() error { return c.bridge.PublishAll(pctx, drafts) })
		}
		if b.Cut && cut.IsZero() && elapsed > b.During/4*3 {
			cut = time.Now()
			b.say("steady state: every tenth node is cut off")
			if _, err := ask[load.Arrived](n, "cut"); err != nil {
				return nil, cut, err
			}
		}
		if time.Since(sampled) >= time.Second {
			now, err := server.Resident()
			if err != nil {
				return nil, cut, err
			}
			resident, sampled = append(resident, now), time.Now()
		}
		if time.Since(said) >= 30*time.Second {
			b.say("steady state: %d facts after %s", written, elapsed.Round(time.Second))
			said = time.Now()
		}
		<-ticker.C
	}
	if err := publishing.Wait(); err != nil {
		return nil, cut, fmt.Errorf("steady state: %w", err)
	}
	slices.Sort(resident)
	out.Resident = resident[len(resident)/2]
	return facts, cut, ctx.Err()
}

// Facts from just before the cut, which may be under way then, until the nodes should be back do not count.
const underWay, away = 500 * time.Millisecond, 10 * time.Second

// latencies gives, sorted, how long each fact took to the last node, and the longest of those around the cut, which are apart.
func latencies(facts []stored, windows []load.Arrival, cut time.Time) (all []time.Duration, afterCut time.Duration) {
	for _, f := range facts {
		i, _ := slices.BinarySearchFunc(windows, f.sequence, func(a load.Arrival, sequence uint64) int { return cmp.Compare(a.Version, sequence) })
		if i == len(windows) {
			continue
		}
		took := max(0, time.Unix(0, windows[i].At).Sub(f.at))
		if !cut.IsZero() && f.at.After(cut.Add(-underWay)) && f.at.Before(cut.Add(away)) {
			afterCut = max(afterCut, took)
		} else {
			all = append(all, took)
		}
	}
	slices.Sort(all)
	return all, afterCut
}
