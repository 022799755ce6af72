package engine

import (
	"fmt"
	"time"

	"github.com/ringfence/ringfence/tools/bench/peer"
	"github.com/ringfence/ringfence/tools/bench/report"
)

const mb = 1e6

// results gives a cold fold's figures, beside the peer's where the size is theirs.
func (c Cold) results(id string, whole bool) []report.Result {
	seconds := report.Result{Name: id + " cold fold", Unit: "s", Ours: c.Total().Seconds(), Note: fmt.Sprintf(
		"%d facts: apply %s, flush %s; %d policies of %d rules, %d sets of %d members, %d plans of %d pods", c.Facts, round(c.Apply), round(c.Flush),
		c.Out.Policies, c.Out.Rules, c.Out.Sets, c.Out.Members, c.Out.Plans, c.Out.Pods)}
	heap := report.Result{Name: id + " live heap", Unit: "MB", Ours: float64(c.Heap) / mb}
	allocated := report.Result{Name: id + " allocated", Unit: "MB", Ours: float64(c.Bytes) / mb, Note: fmt.Sprintf("%d allocations", c.Allocs)}
	theirs, measured := peer.Of(id)
	if !measured || !whole {
		return []report.Result{seconds, heap, allocated}
	}
	seconds = seconds.Beside(theirs.Peer+" "+theirs.Benchmark, theirs.Seconds)
	heap = heap.Beside(theirs.Peer, theirs.HeapMB)
	if theirs.Faster > 0 {
		seconds = seconds.Times(theirs.Faster)
		heap = heap.AtMost(theirs.HeapMB/3, "<= 1/3 of theirs")
	}
	if theirs.AllocatedMB > 0 {
		allocated = allocated.Beside(theirs.Peer, theirs.AllocatedMB)
	}
	return []report.Result{seconds, heap, allocated}
}

func round(d time.Duration) time.Duration { return d.Round(max(time.Microsecond, d/1000)) }
