package pcebridge

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/pce"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

const (
	// gather is how long changes of the cluster are gathered before the console is told.
	gather = 500 * time.Millisecond
	// statusInterval is how often the nodes' status is looked at while they are behind.
	statusInterval = 2 * time.Second
)

// reporter tells the console of the cluster: differences only, against what the console itself lists at the start and
// after every failure.
type reporter struct {
	*bridge
	held *ledger
	seen *inventory
	// what the console knows
	details    *pce.ClusterDetails
	namespaces []string
	workloads  map[string]pce.KubernetesWorkload // nil: ask
}

// report runs until ctx ends, or until the console turns out to have no agent API.
func (b *bridge) report(ctx context.Context, log *eventlog.Log, held *ledger, seen *inventory) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return b.reportCluster(ctx, held, seen) })
	group.Go(func() error { return b.reportApplied(ctx, log, seen) })
	return group.Wait()
}

func (b *bridge) reportCluster(ctx context.Context, held *ledger, seen *inventory) error {
	r := &reporter{bridge: b, held: held, seen: seen}
	usual, early := b.patience(), b.earlyPatience()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-seen.changed:
		}
		sleep(ctx, gather)
		b.awaitConsole(ctx)
		for err := r.tell(ctx); err != nil && ctx.Err() == nil; err = r.tell(ctx) {
			if errors.Is(err, errLog) {
				return err
			}
			if pce.KindOf(err) == pce.Missing {
				b.log.Warn().Msg("the PCE has no agent API: the cluster is not reported to it")
				return nil
			}
			r.details, r.namespaces, r.workloads = nil, nil, nil
			b.complain("report", kindOf(err), err)
			wait := usual
			if nobodyListens(err) {
				wait = early
			}
			sleep(ctx, wait.NextBackOff())
			b.awaitConsole(ctx)
		}
		usual.Reset()
		early.Reset()
		b.settle("report", "the PCE takes reports again")
	}
	return ctx.Err()
}

// awaitConsole returns once the console answers, or ctx ends.
func (b *bridge) awaitConsole(ctx context.Context) {
	for ctx.Err() == nil && !b.link.works() {
		sleep(ctx, gather)
	}
}

// tell brings the console to what the log says of the cluster.
func (r *reporter) tell(ctx context.Context) error {
	now, ok := r.seen.cluster()
	if !ok {
		return nil
	}
	if err := r.tellDetails(ctx, now); err != nil {
		return err
	}
	if err := r.tellNamespaces(ctx, now.namespaces); err != nil {
		return err
	}
	// What the console took before a failure is known to it all the same.
	return errors.Join(r.tellWorkloads(ctx, now.workloads), r.acknowledge(ctx))
}

// acknowledge writes which workloads the console knows.
func (r *reporter) acknowledge(ctx context.Context) error {
	if r.workloads == nil {
		return nil
	}
	var known []*ringfencev1.AcknowledgedWorkload
	for _, key := range slices.Sorted(maps.Keys(r.workloads)) {
		if w, err := (&converter{}).acknowledged(r.workloads[key]); err == nil {
			known = append(known, w)
		}
	}
	return r.held.acknowledge(ctx, known, true)
}

func (r *reporter) tellDetails(ctx context.Context, now cluster) error {
	d := r.detailsOf(now)
	if r.details != nil && reflect.DeepEqual(*r.details, d) {
		return nil
	}
	if err := r.agent.ReportCluster(ctx, d); err != nil {
		return err
	}
	r.metrics.reports.WithLabelValues("cluster").Inc()
	r.details = &d
	return nil
}

func (r *reporter) detailsOf(now cluster) pce.ClusterDetails {
	d := pce.ClusterDetails{
		ManagerType: managerType(r.config.ContainerManager, now), ContainerRuntime: r.config.ContainerRuntime,
		ClusterMode: r.config.ClusterMode, KubelinkVersion: "ringfence", Nodes: []pce.ClusterNode{},
	}
	for _, n := range now.nodes {
		node := pce.ClusterNode{Name: n.GetName()}
		if len(n.GetPodCidrs()) == 0 {
			d.Nodes = append(d.Nodes, node)
		}
		for _, subnet := range n.GetPodCidrs() {
			node.PodSubnet = subnet
			d.Nodes = append(d.Nodes, node)
		}
	}
	return d
}

// managerType names manager and version as the console shows it: "Kubernetes v1.37.2". Of nodes that differ the oldest
// counts, as the console has one value for the cluster.
func managerType(manager string, now cluster) string {
	name := map[string]string{"kubernetes": "Kubernetes", "openshift": "OpenShift"}[strings.ToLower(manager)]
	version := ""
	for _, n := range now.nodes {
		if v := n.GetKubeletVersion(); v != "" && (version == "" || v < version) {
			version = v
		}
	}
	return strings.TrimSpace(name + " " + version)
}

func (r *reporter) tellNamespaces(ctx context.Context, names []string) error {
	if r.namespaces != nil && slices.Equal(r.namespaces, names) {
		return nil
	}
	if err := r.agent.ReportNamespaces(ctx, names); err != nil {
		return err
	}
	r.metrics.reports.WithLabelValues("namespaces").Inc()
	r.namespaces = append([]string{}, names...)
	return nil
}

func (r *reporter) tellWorkloads(ctx context.Context, want map[string]pce.KubernetesWorkload) error {
	if r.workloads == nil {
		if err := r.listWorkloads(ctx); err != nil {
			return err
		}
	}
	var made, changed []pce.KubernetesWorkload
	var gone []string
	for _, key := range slices.Sorted(maps.Keys(want)) {
		w, known := r.workloads[key]
		switch {
		case !known:
			made = append(made, want[key])
		case !sameMetadata(w.Metadata, want[key].Metadata):
			next := want[key]
			next.Href = w.Href
			changed = append(changed, next)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(r.workloads)) {
		if _, wanted := want[key]; !wanted {
			gone = append(gone, key)
		}
	}
	if err := r.send(ctx, "created", made, r.agent.CreateWorkloads); err != nil {
		return err
	}
	if err := r.send(ctx, "updated", changed, r.agent.UpdateWorkloads); err != nil {
		return err
	}
	err := r.delete(ctx, gone)
	r.metrics.workloads.Set(float64(len(r.workloads)))
	return err
}

func sameMetadata(a, b pce.KubernetesMetadata) bool {
	return a.UID == b.UID && maps.Equal(a.Labels, b.Labels) && maps.Equal(a.Annotations, b.Annotations)
}

// listWorkloads learns what the console has of this cluster.
func (r *reporter) listWorkloads(ctx context.Context) error {
	listed, err := r.client.KubernetesWorkloads(ctx)
	if err != nil {
		return err
	}
	r.workloads = map[string]pce.KubernetesWorkload{}
	for _, w := range listed {
		if ofCluster(w, r.agent.Cluster()) {
			r.workloads[workloadKey(w.Namespace, w.Kind, w.Name)] = w
		}
	}
	return nil
}

// send reports workloads in parts. One that the console refuses is complained of and not sent again until it changes.
func (r *reporter) send(ctx context.Context, what string, items []pce.KubernetesWorkload,
	call func(context.Context, []pce.KubernetesWorkload) ([]pce.BulkResult, error)) error {
	for part := range slices.Chunk(items, pce.MaxBulk) {
		results, err := call(ctx, part)
		if err != nil {
			return err
		}
		for i, w := range part {
			if i < len(results) {
				w.Href = r.outcome(w, results[i])
			}
			r.workloads[workloadKey(w.Namespace, w.Kind, w.Name)] = w
		}
		r.metrics.reports.WithLabelValues("workloads_" + what).Add(float64(len(part)))
	}
	return nil
}

// outcome gives the href by which the console knows a workload after a report, empty for a new one that it refused.
func (r *reporter) outcome(w pce.KubernetesWorkload, result pce.BulkResult) string {
	if err := result.Err(); err != nil {
		r.log.Error().Str("workload", workloadKey(w.Namespace, w.Kind, w.Name)).Err(err).Msg("the PCE refused a Kubernetes workload")
		return w.Href
	}
	return result.Href
}

func (r *reporter) delete(ctx context.Context, keys []string) error {
	for part := range slices.Chunk(keys, pce.MaxBulk) {
		hrefs := make([]string, len(part))
		for i, key := range part {
			hrefs[i] = r.workloads[key].Href
		}
		if _, err := r.agent.DeleteWorkloads(ctx, hrefs); err != nil {
			return err
		}
		for _, key := range part {
			delete(r.workloads, key)
		}
		r.metrics.reports.WithLabelValues("workloads_deleted").Add(float64(len(part)))
	}
	return nil
}

// reportApplied reports the version that every node enforces: when it changes, and every now and then as a sign of life;
// while there is none, the sign of life alone.
func (b *bridge) reportApplied(ctx context.Context, log *eventlog.Log, seen *inventory) error {
	var told int64
	next := time.Now()
	for ctx.Err() == nil {
		sleep(ctx, statusInterval)
		b.awaitConsole(ctx)
		if told == b.committed.Load() && time.Now().Before(next) {
			continue
		}
		applied, err := appliedVersion(ctx, log, seen)
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			return errors.Join(errLog, err)
		}
		if applied == told && time.Now().Before(next) {
			continue // some node is behind
		}
		next = time.Now().Add(b.config.LastAppliedPolicyUpdateInterval)
		switch err := b.tellApplied(ctx, applied); {
		case err == nil:
			told = applied
			b.settle("applied", "the PCE takes the applied version again")
		case pce.KindOf(err) == pce.Missing:
			return nil
		case ctx.Err() == nil:
			b.complain("applied", kindOf(err), err)
			told, next = applied, time.Now().Add(min(b.config.PceAPIMinBackoff, b.config.LastAppliedPolicyUpdateInterval))
		}
	}
	return ctx.Err()
}

func (b *bridge) tellApplied(ctx context.Context, version int64) error {
	if version == 0 {
		return b.agent.Heartbeat(ctx)
	}
	if err := b.agent.SecurityPolicyApplied(ctx, version); err != nil {
		return err
	}
	b.metrics.applied.Set(float64(version))
	b.metrics.reports.WithLabelValues("applied").Inc()
	return nil
}

// appliedVersion is the oldest version that any node of the cluster enforces, 0 while one has not reported.
func appliedVersion(ctx context.Context, log *eventlog.Log, seen *inventory) (int64, error) {
	nodes, ok := seen.nodes()
	if !ok || len(nodes) == 0 {
		return 0, nil
	}
	statuses, err := log.NodeStatuses(ctx)
	if err != nil {
		return 0, err
	}
	enforced := map[string]int64{}
	for _, s := range statuses {
		enforced[s.GetNode()] = s.GetProvisionedVersion()
	}
	lowest := enforced[nodes[0]]
	for _, name := range nodes {
		lowest = min(lowest, enforced[name])
	}
	return lowest, nil
}
