package pcebridge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/pce"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

const (
	// flowGrace is how long after its end a window is read: what the log is still storing belongs to it.
	flowGrace = 5 * time.Second
	// flowPast is how far back a console is told that took no flows before.
	flowPast = time.Hour
	// maxFlows bounds the different flows of one window; the rarest beyond it are counted and not reported.
	maxFlows = 100_000
)

// flowReporter sums the flows that enforcers put into the log by windows, and tells the console of each window once. The console
// knows which it has, so that nothing needs to be kept here.
type flowReporter struct {
	*bridge
	log  *eventlog.Log
	held *ledger
	seen *inventory
	// next is the window to be told next, and part where to go on in it.
	next time.Time
	part int
}

func (b *bridge) reportFlows(ctx context.Context, log *eventlog.Log, held *ledger, seen *inventory) error {
	r := &flowReporter{bridge: b, log: log, held: held, seen: seen}
	wait := b.patience()
	for ctx.Err() == nil {
		b.awaitConsole(ctx)
		pause, err := r.turn(ctx)
		switch {
		case ctx.Err() != nil:
		case errors.Is(err, errLog):
			return err
		case unserved(err):
			b.log.Warn().Msg("the PCE does not serve the agent API's call for flows: it is not told of any")
			pause = probeAgain
		case err != nil:
			b.complain("flows", kindOf(err), err)
			r.next = time.Time{} // what the console took of it is for the console to say
			pause = max(wait.NextBackOff(), pce.RetryAfter(err))
		default:
			wait.Reset()
			b.settle("flows", "the PCE takes flows again")
		}
		sleep(ctx, pause)
	}
	return ctx.Err()
}

// turn tells the console of one window, and says how long until the next can be told.
func (r *flowReporter) turn(ctx context.Context) (time.Duration, error) {
	if r.next.IsZero() {
		if err := r.resume(ctx); err != nil {
			return 0, err
		}
	}
	end := r.next.Add(r.config.FlowWindow)
	if left := time.Until(end.Add(flowGrace)); left > 0 {
		return left, nil
	}
	if _, synced := r.seen.nodeNames(); !synced {
		return gather, nil
	}
	flows, err := r.sum(ctx, r.next, end)
	if err != nil {
		return 0, err
	}
	parts := slices.Collect(slices.Chunk(flows, pce.MaxBulk))
	for i := r.part; i < len(parts); i++ {
		receipt, err := r.to.agent.ReportFlows(ctx, pce.FlowUpload{Batch: batchOf(r.next, i, len(parts)), Flows: parts[i]})
		if err != nil {
			return 0, err
		}
		r.part = i + 1
		r.metrics.reports.WithLabelValues("flows").Add(float64(len(parts[i])))
		r.metrics.lostFlows.Add(float64(receipt.Failed))
	}
	r.next, r.part = end, 0
	return 0, nil
}

// resume finds out which window is next.
func (r *flowReporter) resume(ctx context.Context) error {
	last, err := r.to.agent.LastFlows(ctx)
	if err != nil {
		return err
	}
	window, part, parts, err := parseBatch(last)
	switch {
	case err != nil || time.Since(window) > 7*24*time.Hour:
		r.next, r.part = time.Now().Add(-flowPast).UTC().Truncate(r.config.FlowWindow), 0
	case part+1 < parts:
		r.next, r.part = window, part+1
	default:
		r.next, r.part = window.Add(r.config.FlowWindow), 0
	}
	return nil
}

// batchOf names a part of a window.
func batchOf(window time.Time, part, parts int) string {
	return fmt.Sprintf("%s/%d/%d", window.UTC().Format(time.RFC3339), part, parts)
}

func parseBatch(batch string) (window time.Time, part, parts int, err error) {
	fields := strings.Split(batch, "/")
	if len(fields) != 3 {
		return window, 0, 0, fmt.Errorf("batch %q: want a time, a part and the number of parts", batch)
	}
	if window, err = time.Parse(time.RFC3339, fields[0]); err == nil {
		if part, err = strconv.Atoi(fields[1]); err == nil {
			parts, err = strconv.Atoi(fields[2])
		}
	}
	if err != nil {
		return window, 0, 0, fmt.Errorf("batch %q: %w", batch, err)
	}
	return window, part, parts, nil
}

// flowKey is what makes two observations one flow.
type flowKey struct {
	source, destination netip.Addr
	protocol, port      uint32
	direction           ringfencev1.FlowDirection
	decision            ringfencev1.FlowDecision
	rule                string
}

type flowSum struct {
	connections uint64
	first, last time.Time
}

// sum gives the flows of a window, in an order of their own.
func (r *flowReporter) sum(ctx context.Context, from, to time.Time) ([]pce.FlowSummary, error) {
	sums := map[flowKey]*flowSum{}
	for batch, err := range r.log.FlowsBetween(ctx, from, to) {
		if err != nil {
			return nil, errors.Join(errLog, err)
		}
		r.metrics.lostFlows.Add(float64(addFlows(sums, batch)))
	}
	if len(sums) == 0 {
		return nil, nil
	}
	workloads, nodes := r.seen.owners()
	names := namer{workloads: workloads, nodes: nodes, hrefs: r.held.hrefs(), hosts: r.held.hosts()}
	out := make([]pce.FlowSummary, 0, len(sums))
	for key, s := range sums {
		out = append(out, names.summary(key, s))
	}
	slices.SortFunc(out, func(a, b pce.FlowSummary) int {
		port := func(p *int) int {
			if p == nil {
				return -1
			}
			return *p
		}
		return cmp.Or(cmp.Compare(a.Src.IP, b.Src.IP), cmp.Compare(a.Dst.IP, b.Dst.IP), cmp.Compare(a.Service.Proto, b.Service.Proto),
			cmp.Compare(port(a.Service.Port), port(b.Service.Port)), cmp.Compare(port(a.ICMPType), port(b.ICMPType)),
			cmp.Compare(a.Direction, b.Direction), cmp.Compare(a.Decision, b.Decision), cmp.Compare(a.Rule, b.Rule))
	})
	return out, nil
}

// addFlows adds a batch, and gives how many observations found no room or made no sense.
func addFlows(sums map[flowKey]*flowSum, b *ringfencev1.FlowBatch) (lost int) {
	for _, f := range b.GetFlows() {
		source, okSource := netip.AddrFromSlice(f.GetSource())
		destination, okDestination := netip.AddrFromSlice(f.GetDestination())
		key := flowKey{source.Unmap(), destination.Unmap(), f.GetProtocol(), f.GetPort(), f.GetDirection(), f.GetDecision(), f.GetRule()}
		s := sums[key]
		if !okSource || !okDestination || s == nil && len(sums) >= maxFlows {
			lost++
			continue
		}
		if s == nil {
			s = &flowSum{first: b.GetFrom().AsTime()}
			sums[key] = s
		}
		s.connections += f.GetConnections()
		if from := b.GetFrom().AsTime(); from.Before(s.first) {
			s.first = from
		}
		if to := b.GetTo().AsTime(); to.After(s.last) {
			s.last = to
		}
	}
	return lost
}

// namer finds what the console calls the ends of flows.
type namer struct {
	workloads, nodes map[netip.Addr]string
	hrefs            map[string]string // of workloads by key
	hosts            map[string]string // of machines by name
}

func (n namer) end(a netip.Addr) pce.FlowEnd {
	end := pce.FlowEnd{IP: a.String()}
	if href := n.hrefs[n.workloads[a]]; href != "" {
		end.Workload = &pce.Ref{Href: href}
	} else if href := n.hosts[n.nodes[a]]; href != "" {
		end.Workload = &pce.Ref{Href: href}
	}
	return end
}

var decisions = map[ringfencev1.FlowDecision]string{
	ringfencev1.FlowDecision_FLOW_DECISION_ALLOWED:             "allowed",
	ringfencev1.FlowDecision_FLOW_DECISION_POTENTIALLY_BLOCKED: "potentially_blocked",
	ringfencev1.FlowDecision_FLOW_DECISION_BLOCKED:             "blocked",
}

const protocolICMP, protocolICMPv6 = 1, 58

func (n namer) summary(key flowKey, s *flowSum) pce.FlowSummary {
	number := int(key.port)
	out := pce.FlowSummary{
		Src: n.end(key.source), Dst: n.end(key.destination), Service: pce.FlowService{Proto: int(key.protocol)},
		Direction: "inbound", Decision: cmp.Or(decisions[key.decision], "unknown"), State: "new", Connections: s.connections, Rule: key.rule,
		Range: pce.TimeRange{First: s.first.UTC().Format(time.RFC3339), Last: s.last.UTC().Format(time.RFC3339)},
	}
	if key.direction == ringfencev1.FlowDirection_FLOW_DIRECTION_OUTBOUND {
		out.Direction = "outbound"
	}
	if key.protocol == protocolICMP || key.protocol == protocolICMPv6 {
		out.ICMPType = &number
	} else {
		out.Service.Port = &number
	}
	return out
}
