package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/ringfence/ringfence/libs/addresses"
	"github.com/ringfence/ringfence/libs/clas"
	"github.com/ringfence/ringfence/tools/bench/workload"
)

// Bench is how measurements are made.
type Bench struct {
	// Runs of which the fastest counts.
	Runs int
	// Budget bounds the time that one kind of single change is repeated for; it is tried a few times in any case.
	Budget time.Duration
	// Say, where set, is told what is being done.
	Say func(line string)
	// Profiles, where set, is a folder for CPU and heap profiles.
	Profiles string

	labelSets map[*workload.Log]int
}

func (b *Bench) say(format string, args ...any) {
	if b.Say != nil {
		b.Say(fmt.Sprintf(format, args...))
	}
}

// check compares what a fold gave with what the cluster has.
func (b *Bench) check(log *workload.Log, out Output) error {
	if b.labelSets == nil {
		b.labelSets = map[*workload.Log]int{}
	}
	want, known := b.labelSets[log]
	if !known {
		want = log.Cluster.LabelSets()
		b.labelSets[log] = want
	}
	if out.Policies != want || out.Pods != len(log.Cluster.Pods) {
		return fmt.Errorf("%d policies and %d planned pods, the cluster has %d label sets and %d pods", out.Policies, out.Pods, want, len(log.Cluster.Pods))
	}
	return nil
}

// apply gives an engine facts that follow what it has.
func apply(e *clas.Engine, facts []workload.Entry) error {
	for _, f := range facts {
		if err := e.Apply(f.Subject, e.Sequence()+1, f.Fact); err != nil {
			return fmt.Errorf("apply %s: %w", f.Subject, err)
		}
	}
	return nil
}

// count says how much a delta holds.
func count(d clas.Delta) Output {
	out := Output{Policies: len(d.Policies), Sets: len(d.Sets), Plans: len(d.Plans)}
	for _, p := range d.Policies {
		out.Rules += len(p.GetInbound()) + len(p.GetOutbound())
	}
	for _, s := range d.Sets {
		out.Members += addresses.Len(s.GetReplace().GetAddresses()) + addresses.Len(s.GetAdded())
	}
	for _, p := range d.Plans {
		out.Pods += len(p.GetPods())
	}
	return out
}

// size is how many bytes a delta has when it is published.
func size(d clas.Delta) int {
	return sizes(d.Sets) + sizes(d.Policies) + sizes(d.Plans) + sizes(d.Namespaces) + 16*len(d.RemovedPolicies)
}

func sizes[M proto.Message](messages []M) int {
	n := 0
	for _, m := range messages {
		n += proto.Size(m)
	}
	return n
}

// liveHeap is what the heap holds when everything that nobody refers to is gone.
func liveHeap() int64 {
	runtime.GC()
	runtime.GC() // what the first one only took out of pools
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// mark is a place in the history of allocations.
type mark struct{ bytes, count uint64 }

func allocations() mark {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return mark{m.TotalAlloc, m.Mallocs}
}

func (m mark) since() (bytes, count uint64) {
	now := allocations()
	return now.bytes - m.bytes, now.count - m.count
}

// profile writes a CPU profile until the function that it gives is called.
func (b *Bench) profile(name string) (stop func()) {
	if b.Profiles == "" {
		return func() {}
	}
	file, err := os.Create(filepath.Join(b.Profiles, name+".cpu.pb.gz"))
	if err == nil {
		err = pprof.StartCPUProfile(file)
	}
	if err != nil {
		b.say("no profile of %s: %v", name, err)
		return func() {}
	}
	return func() {
		pprof.StopCPUProfile()
		file.Close()
	}
}

// heapProfile writes what lives now.
func (b *Bench) heapProfile(name string) {
	if b.Profiles == "" {
		return
	}
	file, err := os.Create(filepath.Join(b.Profiles, name+".heap.pb.gz"))
	if err == nil {
		err = pprof.WriteHeapProfile(file)
		file.Close()
	}
	if err != nil {
		b.say("no heap profile of %s: %v", name, err)
	}
}
