package pcebridge

import (
	"context"
	"errors"
	"fmt"
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

// gather is how long changes of the cluster are gathered before the console is told.
const gather = 500 * time.Millisecond

// reporter tells the console of the cluster: differences only, against what the console itself lists at the start and
// after every failure.
type reporter struct {
	*bridge
	held *ledger
	seen *inventory
	// what the console knows
	details    *pce.ClusterDetails
	namespaces []string
	labelMap   *pce.LabelMap
	labels     map[pce.Label]bool
	workloads  collection[pce.KubernetesWorkload]
	services   collection[pce.ClusterService]
	containers collection[pce.ContainerWorkload]
	hosts      collection[pce.Host]
	// lacks are calls of which the log has said that the console does not serve them.
	lacks map[string]bool
}

// report runs until ctx ends, or the log fails.
func (b *bridge) report(ctx context.Context, log *eventlog.Log, held *ledger, seen *inventory) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return b.reportCluster(ctx, log, held, seen) })
	group.Go(func() error { return b.reportApplied(ctx, log, held, seen) })
	group.Go(func() error { return b.reportFlows(ctx, log, held, seen) })
	return group.Wait()
}

func (b *bridge) reportCluster(ctx context.Context, log *eventlog.Log, held *ledger, seen *inventory) error {
	r := &reporter{bridge: b, held: held, seen: seen, lacks: map[string]bool{}}
	usual, early := b.patience(), b.earlyPatience()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-seen.changed:
		}
		sleep(ctx, gather)
		b.awaitConsole(ctx)
		for err := r.tell(ctx, log); err != nil && ctx.Err() == nil; err = r.tell(ctx, log) {
			if errors.Is(err, errLog) {
				return err
			}
			r.forget()
			b.complain("report", kindOf(err), err)
			wait := usual
			if nobodyListens(err) || errors.Is(err, errNotReleased) {
				wait = early
			}
			sleep(ctx, max(wait.NextBackOff(), pce.RetryAfter(err)))
			b.awaitConsole(ctx)
		}
		usual.Reset()
		early.Reset()
		b.settle("report", "the PCE takes reports again")
	}
	return ctx.Err()
}

// forget makes the next report ask the console what it knows.
func (r *reporter) forget() {
	*r = reporter{bridge: r.bridge, held: r.held, seen: r.seen, lacks: map[string]bool{}}
}

// awaitConsole returns once the console answers and takes reports, or ctx ends.
func (b *bridge) awaitConsole(ctx context.Context) {
	for ctx.Err() == nil && (!b.link.works() || b.to.state() != everything) {
		sleep(ctx, gather)
	}
}

// tell brings the console to what the log says of the cluster.
func (r *reporter) tell(ctx context.Context, log *eventlog.Log) error {
	now, ok := r.seen.cluster(r.held.labels())
	if !ok {
		return nil
	}
	if r.seen.reports.nothing {
		if err := r.awaitRelease(ctx, log, now); err != nil {
			return err
		}
	}
	for _, step := range []func(context.Context, cluster) error{r.tellDetails, r.tellNamespaces, r.tellLabels} {
		if err := step(ctx, now); err != nil {
			return err
		}
	}
	// What the console took before a failure is known to it all the same.
	return errors.Join(r.tellWorkloads(ctx, now), r.acknowledge(ctx), r.tellServices(ctx, now), r.tellContainers(ctx, now), r.tellHosts(ctx, now))
}

// errNotReleased says why a cluster does not leave the console yet.
var errNotReleased = errors.New("the cluster leaves the PCE once no node enforces policy any more")

// awaitRelease holds the leave-taking back while a node still enforces: until then its workloads are what people look at.
func (r *reporter) awaitRelease(ctx context.Context, log *eventlog.Log, now cluster) error {
	statuses, err := log.NodeStatuses(ctx)
	if err != nil {
		return errors.Join(errLog, err)
	}
	exists := map[string]bool{}
	for _, n := range now.nodes {
		exists[n.GetName()] = true
	}
	for _, s := range statuses {
		if exists[s.GetNode()] && len(s.GetPods()) > 0 {
			return fmt.Errorf("%w: node %s has %d pods with policy", errNotReleased, s.GetNode(), len(s.GetPods()))
		}
	}
	return nil
}

// optional passes over a call that the console does not serve, with one line in the log. It is made again with the next report: an answer
// of 404 may have been a proxy's.
func (r *reporter) optional(call string, err error) error {
	if !unserved(err) {
		return err
	}
	if !r.lacks[call] {
		r.lacks[call] = true
		r.log.Warn().Str("call", call).Msg("the PCE does not serve this call of the agent API: it is not told")
	}
	return nil
}

// acknowledge writes which workloads the console knows.
func (r *reporter) acknowledge(ctx context.Context) error {
	if r.workloads.known == nil {
		return nil
	}
	var known []*ringfencev1.AcknowledgedWorkload
	for _, key := range slices.Sorted(maps.Keys(r.workloads.known)) {
		w := r.workloads.known[key].item
		w.Href = r.workloads.known[key].href
		if w, err := (&converter{}).acknowledged(w); err == nil {
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
	if err := r.to.agent.ReportCluster(ctx, d); err != nil {
		return err
	}
	r.metrics.reports.WithLabelValues("cluster").Inc()
	r.details = &d
	return nil
}

func (r *reporter) detailsOf(now cluster) pce.ClusterDetails {
	d := pce.ClusterDetails{
		ManagerType: managerType(r.config.ContainerManager, now), ContainerRuntime: r.config.ContainerRuntime,
		ClusterMode: r.config.ClusterMode, NetworkType: r.config.NetworkType, KubelinkVersion: "ringfence",
		Nodes: []pce.ClusterNode{}, Components: r.components(),
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

func (r *reporter) tellNamespaces(ctx context.Context, now cluster) error {
	names := now.namespaces
	if r.namespaces != nil && slices.Equal(r.namespaces, names) {
		return nil
	}
	if err := r.to.agent.ReportNamespaces(ctx, names); err != nil {
		return err
	}
	r.metrics.reports.WithLabelValues("namespaces").Inc()
	r.namespaces = append([]string{}, names...)
	return nil
}
