package engine

import (
	"fmt"
	"strings"
	"time"

	"github.com/ringfence/ringfence/tools/bench/peer"
	"github.com/ringfence/ringfence/tools/bench/report"
	"github.com/ringfence/ringfence/tools/bench/workload"
)

const mb = 1e6

// results gives a cold fold's figures, beside the peer's where the size is theirs.
func (c Cold) results(id string, whole bool) []report.Result {
	seconds := report.Result{Name: id + " cold fold", Unit: "s", Ours: c.Total().Seconds(), Note: fmt.Sprintf(
		"%d facts: apply %s, flush %s, %s of processors; %d policies of %d rules, %d sets of %d members, %d plans of %d pods", c.Facts, round(c.Apply), round(c.Flush), round(c.CPU),
		c.Out.Policies, c.Out.Rules, c.Out.Sets, c.Out.Members, c.Out.Plans, c.Out.Pods)}
	heap := report.Result{Name: id + " live heap", Unit: "MB", Ours: float64(c.Heap) / mb}
	allocated := report.Result{Name: id + " allocated", Unit: "MB", Ours: float64(c.Bytes) / mb, Note: fmt.Sprintf("%d allocations", c.Allocs)}
	if id == city && whole {
		heap = heap.Below(120)
	}
	theirs, measured := peer.Of(id)
	if !measured || !whole {
		return []report.Result{seconds, heap, allocated}
	}
	seconds = seconds.Beside(theirs.Peer+" "+theirs.Benchmark, theirs.Seconds)
	if theirs.OneNode {
		seconds.Note = "ours for all nodes, theirs for one; " + seconds.Note
	}
	if theirs.AsShipped > 0 {
		seconds.Note = fmt.Sprintf("theirs as shipped %g s; ", theirs.AsShipped) + seconds.Note
	}
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

// results gives what folding from the log took. The peers read no log; theirs is the same cold computation from memory.
func (l Logged) results(id string, whole bool) []report.Result {
	var out []report.Result
	if l.Cold > 0 {
		r := report.Result{Name: id + " cold fold from the log", Unit: "s", Ours: l.Cold.Seconds(), Note: fmt.Sprintf("%d facts read and decoded", l.Facts)}
		if theirs, measured := peer.Of(id); measured && whole {
			r = r.Beside(theirs.Peer+", from memory", theirs.Seconds)
		}
		out = append(out, r)
	}
	if l.Restart == 0 {
		return out
	}
	restart := report.Result{Name: id + " restart from snapshot and tail", Unit: "s", Ours: l.Restart.Seconds(),
		Note: fmt.Sprintf("read and restore %s, %d facts after it and first flush %s", round(l.Restored), tail, round(l.Tail))}
	snapshot := report.Result{Name: id + " snapshot", Unit: "MB", Ours: float64(l.Snapshot) / mb, Note: fmt.Sprintf("%d facts, as stored", l.Kept)}
	if id == city && whole {
		restart, snapshot = restart.Below(1), snapshot.Below(20)
	}
	return append(out, restart, snapshot)
}

// city is the workload of which the issue wants absolute figures.
const city = "M"

// results gives the median of single changes, with the rest as a note.
func (c Change) results(id string, whole bool) []report.Result {
	r := report.Result{Name: id + " " + c.Kind, Unit: "us", Ours: micros(c.Median), Note: fmt.Sprintf(
		"best %s, p99 %s, %s allocated in %.0f, %s emitted, %d samples", round(c.Best), round(c.P99), bytes(c.Allocated), c.Allocs, bytes(c.Emitted), c.Samples)}
	pods := strings.HasPrefix(c.Kind, "pod ")
	if !pods {
		r.Unit, r.Ours = "ms", r.Ours/1e3
	}
	if !whole {
		return []report.Result{r}
	}
	switch {
	case id == "G" && pods && c.Kind != workload.PodRelabelled:
		allocated := report.Result{Name: r.Name + ", allocated", Unit: "B", Ours: c.Allocated}.Beside(peer.Antrea, peer.SyncAddressGroupBytes).Below(2000)
		emitted := report.Result{Name: r.Name + ", emitted", Unit: "B", Ours: c.Emitted}.Below(2000)
		return []report.Result{r.Beside(peer.Antrea+" SyncAddressGroup", peer.SyncAddressGroupMicros).Below(10), allocated, emitted}
	case strings.HasPrefix(id, "I-") && pods:
		var k int
		if _, err := fmt.Sscanf(id, "I-%d", &k); err == nil && peer.WorkloadUpdateMicros[k] > 0 {
			r = r.Beside(peer.Calico+" labelindex", peer.WorkloadUpdateMicros[k])
		}
		r = r.Below(5)
	case id == city && c.Kind == workload.PolicyAdded, id == city && c.Kind == workload.RuleForAllAdded:
		r = r.Beside(peer.Calico+" labelindex SelectorUpdates100000", peer.SelectorUpdates100kMicros/1e3).Below(5)
	}
	return []report.Result{r}
}

// results gives one node's view. Calico's whole computation gives no more than that.
func (v View) results(id string, _ bool) []report.Result {
	return []report.Result{
		{Name: id + " plan of one node", Unit: "us", Ours: micros(v.Plan), Note: fmt.Sprintf("%d pods, %s", v.Pods, bytes(float64(v.PlanBytes)))},
		{Name: id + " all that one node needs", Unit: "MB", Ours: float64(v.Bytes) / mb,
			Note: fmt.Sprintf("encoded: the plan, %d policies, %d sets of %d members", v.Policies, v.Sets, v.Members)},
	}
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }

func bytes(n float64) string {
	switch {
	case n >= 1e6:
		return fmt.Sprintf("%.3g MB", n/1e6)
	case n >= 1e3:
		return fmt.Sprintf("%.3g kB", n/1e3)
	}
	return fmt.Sprintf("%.0f B", n)
}

// flatness compares what a change costs with the most rules and with the fewest.
func flatness(results []report.Result) []report.Result {
	cost := map[string]float64{}
	for _, r := range results {
		cost[r.Name] = r.Ours
	}
	var out []report.Result
	for _, kind := range []string{workload.PodAdded, workload.PodRemoved, workload.PodRelabelled} {
		few, many := cost["I-100 "+kind], cost["I-100000 "+kind]
		if few > 0 && many > 0 {
			r := report.Result{Name: "I " + kind + ", 100,000 rules over 100", Unit: "times", Ours: many / few}
			out = append(out, r.AtMost(2, "flat: at most 2"))
		}
	}
	return out
}
