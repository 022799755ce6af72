package engine

import (
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/ringfence/ringfence/libs/clas"
	"github.com/ringfence/ringfence/tools/bench/workload"
)

const (
	// rounds are how many rounds of changes of a kind are made at most, and batch how many are prepared at once, so that
	// preparing them is neither timed nor in the way.
	rounds, batch = 2000, 50
	// fewest rounds are made however long they take.
	fewest = 3
	// counted rounds tell what a change allocates; looking at the allocations would disturb the timing.
	counted = 20
)

// Change is what single changes of one kind took, each from its facts to the flushed delta.
type Change struct {
	Kind              string
	Samples           int
	Best, Median, P99 time.Duration
	// Allocated and Allocs are the mean of what a change allocates, Emitted that of the encoded delta.
	Allocated, Allocs, Emitted float64
}

// sample is what was seen of the changes of one kind.
type sample struct {
	kind    string
	times   []time.Duration
	emitted int
	// allocated and allocs are sums over counted changes.
	allocated, allocs uint64
	counted           int
}

// Changes folds the log and then makes single changes of every kind.
func (b *Bench) Changes(log *workload.Log) ([]Change, error) {
	e, err := b.warm(log)
	if err != nil {
		return nil, err
	}
	defer b.profile(log.Cluster.ID + "-change")()
	changes := log.Changes()
	var all samples
	for _, next := range changes.Rounds() {
		seen, err := b.series(log.Cluster.ID, e, next)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", log.Cluster.ID, err)
		}
		all = append(all, seen...)
	}
	var out []Change
	for _, s := range all {
		out = append(out, s.summary())
	}
	return out, nil
}

// warm gives an engine that has folded the log, and a heap without what that needed.
func (b *Bench) warm(log *workload.Log) (*clas.Engine, error) {
	b.say("%s: fold", log.Cluster.ID)
	e, err := b.folded(log)
	runtime.GC()
	return e, err
}

func (b *Bench) folded(log *workload.Log) (*clas.Engine, error) {
	facts, err := workload.Decode(log.Messages)
	if err != nil {
		return nil, err
	}
	e := clas.New()
	if err := apply(e, facts); err != nil {
		return nil, err
	}
	return e, b.check(log, count(e.Flush()))
}

// series makes rounds of changes until there are enough or the time is up. What is seen of the first round does not count.
func (b *Bench) series(id string, e *clas.Engine, next func() workload.Round) (samples, error) {
	first := next()
	if len(first) == 0 {
		return nil, nil
	}
	b.say("%s: %s", id, first[0].Kind)
	if err := (&samples{}).time(e, first); err != nil {
		return nil, err
	}
	var seen samples
	made := 0
	for start := time.Now(); made < rounds && (made < fewest || time.Since(start) < b.Budget); {
		prepared := b.prepare(next, made)
		for _, round := range prepared {
			if err := seen.time(e, round); err != nil {
				return nil, err
			}
		}
		made += len(prepared)
	}
	return seen, b.countAllocations(e, next, seen)
}

// prepare makes the next rounds, so that making them does not lie between them: one at first, for those of a large console
// are large, and then as many as do not take long.
func (b *Bench) prepare(next func() workload.Round, made int) []workload.Round {
	out := []workload.Round{next()}
	for start := time.Now(); made > 0 && len(out) < batch && time.Since(start) < b.Budget/10; {
		out = append(out, next())
	}
	return out
}

// samples are by kind, in the order in which the kinds came.
type samples []*sample

func (s *samples) of(kind string) *sample {
	for _, x := range *s {
		if x.kind == kind {
			return x
		}
	}
	x := &sample{kind: kind, times: make([]time.Duration, 0, 2*rounds)}
	*s = append(*s, x)
	return x
}

// time applies a round step by step.
func (s *samples) time(e *clas.Engine, round workload.Round) error {
	for _, step := range round {
		start := time.Now()
		if err := apply(e, step.Facts); err != nil {
			return fmt.Errorf("%s: %w", step.Kind, err)
		}
		d := e.Flush()
		took := time.Since(start)
		if d.Empty() {
			return fmt.Errorf("%s: nothing changed", step.Kind)
		}
		x := s.of(step.Kind)
		x.times, x.emitted = append(x.times, took), x.emitted+size(d)
	}
	return nil
}

// countAllocations makes more rounds and looks at the heap before and after each change.
func (b *Bench) countAllocations(e *clas.Engine, next func() workload.Round, seen samples) error {
	for start, made := time.Now(), 0; made < counted && (made == 0 || time.Since(start) < b.Budget); made++ {
		for _, step := range next() {
			before := allocations()
			if err := apply(e, step.Facts); err != nil {
				return fmt.Errorf("%s: %w", step.Kind, err)
			}
			d := e.Flush()
			bytes, count := before.since()
			runtime.KeepAlive(d)
			x := seen.of(step.Kind)
			x.allocated, x.allocs, x.counted = x.allocated+bytes, x.allocs+count, x.counted+1
		}
	}
	return nil
}

func (s *sample) summary() Change {
	slices.Sort(s.times)
	n := len(s.times)
	return Change{Kind: s.kind, Samples: n, Best: s.times[0], Median: s.times[n/2], P99: s.times[min(n-1, n*99/100)],
		Allocated: float64(s.allocated) / float64(s.counted), Allocs: float64(s.allocs) / float64(s.counted),
		Emitted: float64(s.emitted) / float64(n)}
}
