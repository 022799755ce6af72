package flowlog

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// Pod is whom an event is about.
type Pod struct {
	UID, Namespace, Name string
}

// flow is what makes two events the same flow.
type flow struct {
	pod   Pod
	event Event
}

// Collector counts events. It is safe for concurrent use.
type Collector struct {
	node string

	mu     sync.Mutex
	from   time.Time
	counts map[flow]uint64
	lost   uint64
	total  uint64
}

// maxFlows bounds the memory of one window. Events of further flows count as lost.
const maxFlows = 100_000

// flowsPerBatch keeps a batch below the largest message of the log: a flow takes at most some 300 bytes.
const flowsPerBatch = 2_000

// NewCollector begins the first window.
func NewCollector(node string, now time.Time) *Collector {
	return &Collector{node: node, from: now, counts: map[flow]uint64{}}
}

// Add counts an event.
func (c *Collector) Add(pod Pod, e Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := flow{pod, e}
	if _, known := c.counts[k]; !known && len(c.counts) >= maxFlows {
		c.lost++
		c.total++
		return
	}
	c.counts[k]++
}

// Lose counts packets that nobody saw.
func (c *Collector) Lose(n uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lost += n
	c.total += n
}

// Return counts drained events that did not arrive as lost. Of n events, counted before were already counted as lost
// when they were drained.
func (c *Collector) Return(n, counted uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lost += n
	c.total += n - counted
}

// Lost is how many events were lost since the start.
func (c *Collector) Lost() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.total
}

// Drain ends the window and gives its flows, sorted, in batches of a size that the log takes; none where nothing
// happened.
func (c *Collector) Drain(now time.Time) []*ringfencev1.FlowBatch {
	c.mu.Lock()
	counts, lost, from := c.counts, c.lost, c.from
	c.counts, c.lost, c.from = map[flow]uint64{}, 0, now
	c.mu.Unlock()
	if len(counts) == 0 && lost == 0 {
		return nil
	}
	first := &ringfencev1.FlowBatch{Node: c.node, From: timestamppb.New(from), To: timestamppb.New(now), Lost: lost}
	batches := []*ringfencev1.FlowBatch{first}
	for i, k := range slices.SortedFunc(maps.Keys(counts), compareFlows) {
		if i > 0 && i%flowsPerBatch == 0 {
			batches = append(batches, &ringfencev1.FlowBatch{Node: c.node, From: first.From, To: first.To})
		}
		last := batches[len(batches)-1]
		last.Flows = append(last.Flows, k.message(counts[k]))
	}
	return batches
}

func compareFlows(a, b flow) int {
	return cmp.Or(
		cmp.Compare(a.pod.UID, b.pod.UID),
		cmp.Compare(a.event.Direction, b.event.Direction),
		a.event.Source.Compare(b.event.Source),
		a.event.Destination.Compare(b.event.Destination),
		cmp.Compare(a.event.Protocol, b.event.Protocol),
		cmp.Compare(a.event.Port, b.event.Port),
		cmp.Compare(a.event.Decision, b.event.Decision),
		cmp.Compare(a.event.Rule, b.event.Rule),
	)
}

func (f flow) message(connections uint64) *ringfencev1.Flow {
	return &ringfencev1.Flow{
		PodUid: f.pod.UID, PodNamespace: f.pod.Namespace, PodName: f.pod.Name,
		Direction: f.event.Direction, Decision: f.event.Decision, Rule: f.event.Rule,
		Source: f.event.Source.AsSlice(), Destination: f.event.Destination.AsSlice(),
		Protocol: uint32(f.event.Protocol), Port: uint32(f.event.Port), Connections: connections,
	}
}
