package bridge

import (
	"fmt"
	"time"

	"github.com/ringfence/ringfence/tools/bench/report"
)

// What is wanted at the whole size.
const (
	syncSeconds = 10
	pollCalls   = 2
)

// Results are the figures of a life; targets are for the whole size.
func (b *Bench) Results(l Life, targets bool) []report.Result {
	wanted := func(r report.Result, limit float64) report.Result {
		if !targets {
			return r
		}
		return r.Below(limit)
	}
	sync := l.Syncs[len(l.Syncs)/2]
	out := []report.Result{
		wanted(report.Result{Name: "first full sync", Unit: "s", Ours: sync.Seconds(),
			Note: fmt.Sprintf("%d workloads, %d rules, %d labels; median of %d, longest %.2f s", b.Workloads, b.RuleSets*b.RulesEach, b.Labels, len(l.Syncs), l.Syncs[len(l.Syncs)-1].Seconds())}, syncSeconds),
		wanted(report.Result{Name: "requests for each poll while nothing changes", Unit: "requests", Ours: float64(l.Polls+l.Others) / float64(max(1, l.Polls)),
			Note: fmt.Sprintf("%d polls and %d other requests in %s", l.Polls, l.Others, l.Calm.Round(time.Second))}, pollCalls),
		{Name: "requests of the first full sync", Unit: "requests", Ours: float64(l.Requests), Note: fmt.Sprintf("%.1f MB received", float64(l.Received)/1e6)},
	}
	if n := len(l.Commits); n > 0 {
		out = append(out, report.Result{Name: "provisioned to committed in the log", Unit: "ms", Ours: float64(l.Commits[n/2].Microseconds()) / 1e3,
			Note: fmt.Sprintf("median of %d, longest %.0f ms; one rule set of %d rules changed", n, float64(l.Commits[n-1].Microseconds())/1e3, b.RulesEach)})
	}
	return out
}
