package scale

import (
	"context"
	"fmt"
	"time"

	"github.com/ringfence/ringfence/tools/bench/curve"
	"github.com/ringfence/ringfence/tools/bench/report"
	"github.com/ringfence/ringfence/tools/bench/workload"
)

// What is wanted at a thousand nodes.
const (
	coldSeconds  = 30
	latencyMs    = 500
	residentMB   = 300
	cores        = 1
	setsAtLeast  = 300
	percentile99 = 99
)

// Results gives the figures of a life, with targets where it is of the full size.
func (b *Bench) Results(l Life, full bool) []report.Result {
	wanted := func(r report.Result, target func(report.Result) report.Result) report.Result {
		if full {
			return target(r)
		}
		return r
	}
	below := func(limit float64) func(report.Result) report.Result {
		return func(r report.Result) report.Result { return r.Below(limit) }
	}
	seconds := l.Took.Seconds()
	cluster := fmt.Sprintf("%d pods, %d label sets, %d rules, %d nodes", b.Shape.Pods, b.Shape.LabelSets, b.Shape.Rules, b.Shape.Nodes)
	return []report.Result{
		wanted(report.Result{Name: "cold start: every node has its policy", Unit: "s", Ours: l.Cold.Seconds(),
			Note: fmt.Sprintf("from the first of %d facts of an empty log: %s", l.Facts, cluster)}, below(coldSeconds)),
		wanted(report.Result{Name: "fact stored to the last node, p99", Unit: "ms", Ours: milliseconds(percentile(l.Latency, percentile99)),
			Note: fmt.Sprintf("p50 %.0f ms, longest %.0f ms, of %d facts in %.0f s to %d nodes each", milliseconds(percentile(l.Latency, 50)),
				milliseconds(percentile(l.Latency, 100)), len(l.Latency), seconds, b.Followers)}, below(latencyMs)),
		wanted(report.Result{Name: "policy-store, resident memory", Unit: "MB", Ours: float64(l.Resident) / 1e6,
			Note: fmt.Sprintf("median of the steady state; peak %.0f MB", float64(l.Peak)/1e6)}, below(residentMB)),
		wanted(report.Result{Name: "policy-store, server and engine together", Unit: "cores", Ours: l.CPU.Seconds() / seconds,
			Note: fmt.Sprintf("%.0f us a change; all nodes together %.2f cores", micros(l.CPU, l.Changes), l.NodesCPU.Seconds()/seconds)}, below(cores)),
		wanted(report.Result{Name: "address sets that a node holds", Unit: "sets", Ours: float64(l.Fewest), Note: fmt.Sprintf("fewest; most %d", l.Most)},
			func(r report.Result) report.Result { return r.AtLeast(setsAtLeast) }),
		wanted(report.Result{Name: "nodes that diverge from the log at the end", Unit: "nodes", Ours: 0, Note: "any would be an error and no figure"},
			func(r report.Result) report.Result { return r.AtMost(0, "none") }),
		{Name: "deliveries", Unit: "states/s", Ours: float64(l.Deliveries) / seconds, Note: fmt.Sprintf("%.1f versions a second, %.0f changes a second", float64(l.Windows)/seconds, float64(l.Changes)/seconds)},
		{Name: "received by a node", Unit: "kB/s", Ours: float64(l.Bytes) / 1e3 / seconds / float64(max(1, b.Followers))},
		{Name: "longest to the last node around the cut", Unit: "ms", Ours: milliseconds(l.AfterCut), Note: "every tenth node lost its connection and joined anew"},
	}
}

// percentile of sorted durations, 0 where there are none.
func percentile(sorted []time.Duration, p int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[(len(sorted)-1)*p/100]
}

func milliseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }

func micros(d time.Duration, n int) float64 {
	return float64(d.Nanoseconds()) / 1e3 / float64(max(1, n))
}

// Growth has clusters of some numbers of nodes live, with a hundred pods and one label set a node, and gives what a change costs
// policy-store: with all nodes following, and with none, which is the cost without delivery.
func (b Bench) Growth(ctx context.Context, nodes []int) (curve.Figure, []report.Result, error) {
	all, none := curve.Line{Name: "with delivery to all nodes"}, curve.Line{Name: "without"}
	b.Rolling, b.Cut = 0, false
	for _, n := range nodes {
		b.Shape = workload.Shape{Pods: 100 * n, LabelSets: max(20, n), Rules: max(20, 10*n), Nodes: n}
		for _, line := range []struct {
			*curve.Line
			followers int
		}{{&all, n}, {&none, 0}} {
			b.Followers = line.followers
			b.say("growth: %d nodes, %d of them follow", n, b.Followers)
			l, err := b.Run(ctx)
			if err != nil {
				return curve.Figure{}, nil, fmt.Errorf("%d nodes: %w", n, err)
			}
			line.Points = append(line.Points, curve.Point{Size: float64(n), Cost: micros(l.CPU, l.Changes)})
		}
	}
	figure := curve.Figure{File: "scale-nodes", Title: "policy-store: what a change of a pod costs", Size: "nodes, of 100 pods each", Cost: "us of processors", Lines: []curve.Line{all, none}}
	first, last := none.Points[0], none.Points[len(none.Points)-1]
	r := report.Result{Name: fmt.Sprintf("a change without delivery, %d nodes over %d", nodes[len(nodes)-1], nodes[0]), Unit: "times", Ours: last.Cost / first.Cost,
		Note: fmt.Sprintf("%.0f us and %.0f us; with delivery to all nodes %.0f us and %.0f us", first.Cost, last.Cost, all.Points[0].Cost, all.Points[len(nodes)-1].Cost)}
	return figure, []report.Result{r.AtMost(2, "flat: at most 2")}, nil
}
