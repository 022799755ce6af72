package engine

import (
	"fmt"
	"runtime"
	"time"

	"github.com/ringfence/ringfence/libs/clas"
	"github.com/ringfence/ringfence/tools/bench/workload"
)

// Cold is a fold of a whole log into an empty engine, with the first flush: the policy of every node.
type Cold struct {
	Facts int
	// Apply and Flush are the parts of the fastest run.
	Apply, Flush time.Duration
	// CPU is the processor time of that run, of all goroutines and the garbage collector.
	CPU time.Duration
	// Bytes and Allocs are what the run allocated.
	Bytes, Allocs uint64
	// Heap is what lives when nothing but the engine is kept.
	Heap int64
	Out  Output
}

// Total is the time from the first fact to the whole policy.
func (c Cold) Total() time.Duration { return c.Apply + c.Flush }

// Output counts what a first flush gave.
type Output struct{ Policies, Rules, Sets, Members, Plans, Pods int }

// Fold measures the fold of facts in memory: the fastest of several runs. Each gets facts that were decoded anew.
func (b *Bench) Fold(log *workload.Log) (Cold, error) {
	var best Cold
	for run := range b.Runs {
		b.say("%s: cold fold %d of %d: decode", log.Cluster.ID, run+1, b.Runs)
		next, err := b.fold(log, run == b.Runs-1)
		if err != nil {
			return best, fmt.Errorf("%s: cold fold: %w", log.Cluster.ID, err)
		}
		if run == 0 || next.Total() < best.Total() {
			next.Heap, best = max(next.Heap, best.Heap), next
		} else {
			best.Heap = next.Heap
		}
	}
	return best, nil
}

// fold is one run; the heap is measured where it is asked for.
func (b *Bench) fold(log *workload.Log, measureHeap bool) (Cold, error) {
	var before int64
	if measureHeap {
		before = liveHeap()
	}
	e, c, err := b.timed(log)
	if err != nil || !measureHeap {
		return c, err
	}
	c.Heap = liveHeap() - before // facts and delta are nobody's any more
	b.heapProfile(log.Cluster.ID + "-cold")
	runtime.KeepAlive(e)
	return c, nil
}

// timed decodes the facts, folds them with the clock running, and checks what came out.
func (b *Bench) timed(log *workload.Log) (*clas.Engine, Cold, error) {
	facts, err := workload.Decode(log.Messages)
	if err != nil {
		return nil, Cold{}, err
	}
	runtime.GC()
	b.say("%s: cold fold: %d facts", log.Cluster.ID, len(facts))
	c := Cold{Facts: len(facts)}
	stop := b.profile(log.Cluster.ID + "-cold")
	allocated, used := allocations(), cpuTime()
	e, start := clas.New(), time.Now()
	if err := apply(e, facts); err != nil {
		return nil, c, err
	}
	c.Apply = time.Since(start)
	d := e.Flush()
	c.Flush = time.Since(start) - c.Apply
	c.CPU = cpuTime() - used
	stop()
	c.Bytes, c.Allocs = allocated.since()
	runtime.KeepAlive(facts) // as long as the clock runs, others hold them, too
	c.Out = count(d)
	return e, c, b.check(log, c.Out)
}
