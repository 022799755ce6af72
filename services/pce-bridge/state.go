package pcebridge

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/pce"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

const (
	// statusInterval is how often the nodes' status is looked at while they are behind.
	statusInterval = 2 * time.Second
	// silentAfter is how long a node may send no status before the console hears of it.
	silentAfter = 5 * time.Minute
)

// appliedReporter tells the console how far the nodes are: the version that all of them enforce, the state of every
// workload, and what goes wrong.
type appliedReporter struct {
	*bridge
	log  *eventlog.Log
	held *ledger
	seen *inventory
	// what the console was told
	version  int64
	states   map[string]pce.PolicyAck
	problems map[string]map[string]bool // by node
}

// reportApplied reports when the applied version changes, and every now and then as a sign of life; while there is none, the
// sign of life alone.
func (b *bridge) reportApplied(ctx context.Context, log *eventlog.Log, held *ledger, seen *inventory) error {
	r := &appliedReporter{bridge: b, log: log, held: held, seen: seen, problems: map[string]map[string]bool{}}
	next := time.Now()
	for ctx.Err() == nil {
		sleep(ctx, statusInterval)
		b.awaitConsole(ctx)
		if r.version == b.committed.Load() && time.Now().Before(next) {
			continue
		}
		statuses, applied, err := r.look(ctx)
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			return errors.Join(errLog, err)
		}
		if applied == r.version && time.Now().Before(next) {
			continue // some node is behind
		}
		next = time.Now().Add(b.config.LastAppliedPolicyUpdateInterval)
		if err := r.tell(ctx, applied, statuses); err == nil {
			b.settle("applied", "the PCE takes the applied version again")
		} else if ctx.Err() == nil {
			b.complain("applied", kindOf(err), err)
			r.states = nil // which of them the console took is not known
			next = time.Now().Add(max(pce.RetryAfter(err), min(b.config.PceAPIMinBackoff, b.config.LastAppliedPolicyUpdateInterval)))
		}
		r.version = applied
	}
	return ctx.Err()
}

// look reads the nodes' status, and gives the oldest version that any node of the cluster enforces, 0 while one has not
// reported.
func (r *appliedReporter) look(ctx context.Context) ([]*ringfencev1.NodeStatus, int64, error) {
	nodes, ok := r.seen.nodeNames()
	if !ok || len(nodes) == 0 {
		return nil, 0, nil
	}
	statuses, err := r.log.NodeStatuses(ctx)
	if err != nil {
		return nil, 0, err
	}
	statuses = slices.DeleteFunc(statuses, func(s *ringfencev1.NodeStatus) bool { return !slices.Contains(nodes, s.GetNode()) })
	enforced, oldest := map[string]int64{}, ""
	for _, s := range statuses {
		enforced[s.GetNode()] = s.GetProvisionedVersion()
		if v := s.GetEnforcerVersion(); oldest == "" || v < oldest {
			oldest = v
		}
	}
	if before := r.enforcers.Swap(&oldest); before == nil || *before != oldest {
		r.seen.poke()
	}
	lowest := enforced[nodes[0]]
	for _, name := range nodes {
		lowest = min(lowest, enforced[name])
	}
	return statuses, lowest, nil
}

func (r *appliedReporter) tell(ctx context.Context, version int64, statuses []*ringfencev1.NodeStatus) error {
	if version == 0 {
		if err := r.to.agent.Heartbeat(ctx); err != nil {
			return err
		}
	} else {
		if err := r.to.agent.SecurityPolicyApplied(ctx, version); err != nil {
			return err
		}
		r.metrics.applied.Set(float64(version))
		r.metrics.reports.WithLabelValues("applied").Inc()
	}
	if err := r.tellStates(ctx, statuses); err != nil {
		return err
	}
	return r.tellProblems(ctx, statuses)
}

// tellStates reports the workloads whose state is another than the console was told.
func (r *appliedReporter) tellStates(ctx context.Context, statuses []*ringfencev1.NodeStatus) error {
	if r.states == nil {
		r.states = map[string]pce.PolicyAck{}
	}
	nodes, synced := r.seen.nodeNames()
	if !synced {
		return nil // who is in the cluster is not known yet
	}
	now := statesOf(r.held.hrefs(), r.seen.members(), statuses, len(nodes))
	var changed []pce.PolicyAck
	for _, key := range slices.Sorted(maps.Keys(now)) {
		if r.states[key] != now[key] {
			changed = append(changed, now[key])
		}
	}
	for part := range slices.Chunk(changed, pce.MaxBulk) {
		if _, err := r.to.agent.AcknowledgePolicy(ctx, part); unserved(err) {
			return nil // the next report tries again
		} else if err != nil {
			return err
		}
		r.metrics.reports.WithLabelValues("workload_states").Add(float64(len(part)))
	}
	r.states = now
	return nil
}

// statesOf works out the state of every workload that the console knows: of the pods that have policy of their own, and of a
// Service, which lives in the policies of others, or of a workload without pods, by all nodes: while one has not reported, nothing is
// applied everywhere.
func statesOf(hrefs map[string]string, members map[string][]string, statuses []*ringfencev1.NodeStatus, nodes int) map[string]pce.PolicyAck {
	pods := map[string]*ringfencev1.PodStatus{}
	versions := map[string]int64{}
	everywhere := pce.PolicyAck{State: pce.SyncApplied}
	if len(statuses) < nodes || nodes == 0 {
		everywhere.State = pce.SyncSyncing
	}
	problem := pce.PolicyAck{State: pce.SyncApplied}
	for i, s := range statuses {
		if i == 0 || s.GetProvisionedVersion() < everywhere.Version {
			everywhere.Version = s.GetProvisionedVersion()
		}
		if len(s.GetProblems()) > 0 {
			problem = pce.PolicyAck{State: pce.SyncError, Detail: "node " + s.GetNode() + ": " + s.GetProblems()[0]}
		}
		for _, p := range s.GetPods() {
			pods[p.GetUid()], versions[p.GetUid()] = p, s.GetProvisionedVersion()
		}
	}
	out := map[string]pce.PolicyAck{}
	for key, href := range hrefs {
		ack := everywhere
		switch {
		case strings.Contains(key, "/Service/"):
			problem.Version = everywhere.Version
			ack = worse(ack, problem)
		case len(members[key]) > 0: // they speak for it
			ack.State = pce.SyncApplied
		}
		for _, uid := range members[key] {
			ack = worse(ack, podAck(pods[uid], versions[uid]))
		}
		ack.Href = href
		out[key] = ack
	}
	return out
}

// podAck gives how one pod stands. One that no node speaks of is not known to its node yet.
func podAck(p *ringfencev1.PodStatus, version int64) pce.PolicyAck {
	switch {
	case p.GetState() == ringfencev1.PodState_POD_STATE_FAILED:
		return pce.PolicyAck{State: pce.SyncError, Detail: fmt.Sprintf("pod %s: %s", p.GetName(), p.GetProblem())}
	case p == nil || p.GetState() != ringfencev1.PodState_POD_STATE_ENFORCED:
		return pce.PolicyAck{State: pce.SyncSyncing}
	default:
		return pce.PolicyAck{State: pce.SyncApplied, Version: version}
	}
}

func worse(a, b pce.PolicyAck) pce.PolicyAck {
	order := []string{pce.SyncApplied, pce.SyncSyncing, pce.SyncError}
	out := a
	if slices.Index(order, b.State) > slices.Index(order, a.State) || a.State == b.State && b.Detail != "" && b.Detail < a.Detail {
		out.State, out.Detail = b.State, b.Detail
	}
	out.Version = min(a.Version, b.Version)
	return out
}

// tellProblems tells the console of what began and ended since it was told last.
func (r *appliedReporter) tellProblems(ctx context.Context, statuses []*ringfencev1.NodeStatus) error {
	now := map[string]map[string]bool{}
	for _, s := range statuses {
		now[s.GetNode()] = map[string]bool{}
		for _, p := range s.GetProblems() {
			now[s.GetNode()][p] = true
		}
		if at := s.GetReportedAt().AsTime(); time.Since(at) > silentAfter {
			now[s.GetNode()][problemSilent] = true
		}
	}
	var events []pce.AgentEvent
	for _, node := range slices.Sorted(maps.Keys(now)) {
		for _, p := range slices.Sorted(maps.Keys(now[node])) {
			if !r.problems[node][p] {
				events = append(events, r.event(node, p, false))
			}
		}
		for _, p := range slices.Sorted(maps.Keys(r.problems[node])) {
			if !now[node][p] {
				events = append(events, r.event(node, p, true))
			}
		}
	}
	for part := range slices.Chunk(events, pce.MaxBulk) {
		if _, err := r.to.agent.ReportEvents(ctx, part); unserved(err) {
			return nil // the next report tries again
		} else if err != nil {
			return err
		}
		r.metrics.reports.WithLabelValues("events").Add(float64(len(part)))
	}
	r.problems = now
	return nil
}

const problemSilent = "no status for five minutes"

// tampering tells whether a problem is that somebody changed what the enforcer had programmed.
func tampering(problem string) bool { return strings.HasPrefix(problem, "tampering") }

// event makes an event of a problem that began or ended.
func (r *appliedReporter) event(node, problem string, over bool) pce.AgentEvent {
	at := time.Now().UTC()
	e := pce.AgentEvent{
		ID: fmt.Sprintf("%s/%s/%d/%s", r.holder, node, at.UnixNano(), problem), Timestamp: at.Format(time.RFC3339Nano), Node: node,
		Type: "agent.service_not_available", Severity: "warning", Status: "failure", Message: fmt.Sprintf("node %s: %s", node, problem),
	}
	switch {
	case problem == problemSilent:
		e.Type = "agent.missed_heartbeats"
	case tampering(problem):
		e.Type, e.Severity = "agent.tampering", "err"
	}
	if over {
		e.Severity, e.Status, e.Message = "info", "success", fmt.Sprintf("node %s: over: %s", node, problem)
	}
	return e
}

// components gives the versions of the cluster's parts.
func (r *reporter) components() map[string]string {
	out := map[string]string{producerName: version()}
	if oldest := r.enforcers.Load(); oldest != nil && *oldest != "" {
		out["enforcer"] = *oldest
	}
	return out
}

// version is that of this build.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "devel"
}
