package pcebridge

import (
	"context"
	"maps"
	"reflect"
	"slices"

	"github.com/ringfence/ringfence/libs/pce"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// collection is what the console knows of one kind of things that the cluster reports, by our key.
type collection[T any] struct {
	known map[string]entry[T] // nil: ask
}

// entry is one thing that the console knows.
type entry[T any] struct {
	href string
	item T
	// told is set once the console was told of item; what it only lists may be otherwise.
	told bool
}

// collectionCalls are how one kind is reported.
type collectionCalls[T any] struct {
	kind string // for metrics and complaints
	// list gives what the console has, by key.
	list func(context.Context) (map[string]entry[T], error)
	// same tells whether a listed thing needs no report.
	same func(listed, want T) bool
	// create and update report things; delete takes keys' entries back.
	create, update func(context.Context, []T) ([]pce.BulkResult, error)
	delete         func(context.Context, []string, []entry[T]) ([]pce.BulkResult, error)
	// addressed gives a thing the href that an update goes to.
	addressed func(T, string) T
}

// bring makes the console know what is wanted: new things first, what is gone last, so that nothing that goes on is without a
// place at any moment.
func bring[T any](ctx context.Context, r *reporter, c *collection[T], calls collectionCalls[T], want map[string]T) error {
	if c.known == nil {
		listed, err := calls.list(ctx)
		if err != nil {
			return err
		}
		c.known = listed
	}
	var made, changed, gone []string
	for _, key := range slices.Sorted(maps.Keys(want)) {
		e, known := c.known[key]
		switch {
		case !known:
			made = append(made, key)
		case e.told && !reflect.DeepEqual(e.item, want[key]), !e.told && !calls.same(e.item, want[key]):
			changed = append(changed, key)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(c.known)) {
		if _, wanted := want[key]; !wanted {
			gone = append(gone, key)
		}
	}
	if err := send(ctx, r, c, calls, "created", calls.create, made, want); err != nil {
		return err
	}
	if err := send(ctx, r, c, calls, "updated", calls.update, changed, want); err != nil {
		return err
	}
	return take(ctx, r, c, calls, gone)
}

// send reports things in parts. One that the console refuses is complained of and not sent again until it changes.
func send[T any](ctx context.Context, r *reporter, c *collection[T], calls collectionCalls[T], what string,
	call func(context.Context, []T) ([]pce.BulkResult, error), keys []string, want map[string]T) error {
	for part := range slices.Chunk(keys, pce.MaxBulk) {
		items := make([]T, len(part))
		for i, key := range part {
			items[i] = want[key]
			if calls.addressed != nil {
				items[i] = calls.addressed(items[i], c.known[key].href)
			}
		}
		results, err := call(ctx, items)
		if err != nil {
			return err
		}
		for i, key := range part {
			next := entry[T]{href: c.known[key].href, item: want[key], told: true}
			if i < len(results) {
				next.href = r.outcome(calls.kind, key, next.href, results[i])
			}
			c.known[key] = next
		}
		r.metrics.reports.WithLabelValues(calls.kind + "_" + what).Add(float64(len(part)))
	}
	return nil
}

// outcome gives the href by which the console knows a thing after a report, empty for a new one that it refused.
func (r *reporter) outcome(kind, key, href string, result pce.BulkResult) string {
	if err := result.Err(); err != nil {
		r.log.Error().Str("kind", kind).Str("object", key).Err(err).Msg("the PCE refused an object of the cluster")
		return href
	}
	return result.Href
}

func take[T any](ctx context.Context, r *reporter, c *collection[T], calls collectionCalls[T], keys []string) error {
	for part := range slices.Chunk(keys, pce.MaxBulk) {
		entries := make([]entry[T], len(part))
		for i, key := range part {
			entries[i] = c.known[key]
		}
		if _, err := calls.delete(ctx, part, entries); err != nil {
			return err
		}
		for _, key := range part {
			delete(c.known, key)
		}
		r.metrics.reports.WithLabelValues(calls.kind + "_deleted").Add(float64(len(part)))
	}
	return nil
}

// hrefsOf gives the hrefs of what the console took.
func hrefsOf[T any](entries []entry[T]) (hrefs []string) {
	for _, e := range entries {
		if e.href != "" {
			hrefs = append(hrefs, e.href)
		}
	}
	return hrefs
}

func (r *reporter) tellWorkloads(ctx context.Context, now cluster) error {
	agent := r.to.agent
	err := bring(ctx, r, &r.workloads, collectionCalls[pce.KubernetesWorkload]{
		kind: "workloads", create: agent.CreateWorkloads, update: agent.UpdateWorkloads,
		list: func(ctx context.Context) (map[string]entry[pce.KubernetesWorkload], error) {
			listed, err := r.to.cluster.KubernetesWorkloads(ctx)
			known := map[string]entry[pce.KubernetesWorkload]{}
			for _, w := range listed {
				if ofCluster(w.ContainerCluster, agent.Cluster()) {
					known[workloadKey(w.Namespace, w.Kind, w.Name)] = entry[pce.KubernetesWorkload]{href: w.Href, item: w}
				}
			}
			return known, err
		},
		same: func(listed, want pce.KubernetesWorkload) bool {
			return sameMetadata(listed.Metadata, want.Metadata) && slices.Equal(listed.Interfaces, want.Interfaces) && len(want.Labels) == 0
		},
		delete: func(ctx context.Context, _ []string, entries []entry[pce.KubernetesWorkload]) ([]pce.BulkResult, error) {
			return agent.DeleteWorkloads(ctx, hrefsOf(entries))
		},
		addressed: func(w pce.KubernetesWorkload, href string) pce.KubernetesWorkload { w.Href = href; return w },
	}, now.workloads)
	r.metrics.workloads.Set(float64(len(r.workloads.known)))
	return err
}

func sameMetadata(a, b pce.KubernetesMetadata) bool {
	return a.UID == b.UID && maps.Equal(a.Labels, b.Labels) && maps.Equal(a.Annotations, b.Annotations)
}

// orNone takes a collection that the console does not serve for an empty one: then nothing of it can be taken away.
func orNone[T any](items []T, err error) ([]T, error) {
	if pce.KindOf(err) == pce.Missing {
		return nil, nil
	}
	return items, err
}

// again is for kinds of which the console does not list what it was told: all of them are told again.
func again[T any](T, T) bool { return false }

func (r *reporter) tellServices(ctx context.Context, now cluster) error {
	agent := r.to.agent
	return r.optional("services", bring(ctx, r, &r.services, collectionCalls[pce.ClusterService]{
		kind: "services", create: agent.ReportServices, update: agent.ReportServices, same: again[pce.ClusterService],
		list: func(ctx context.Context) (map[string]entry[pce.ClusterService], error) {
			listed, err := orNone(r.to.cluster.VirtualServices(ctx, pce.Active))
			known := map[string]entry[pce.ClusterService]{}
			for _, v := range listed {
				if owner, uid := madeAfter(v.External); owner == r.config.ClusterID && uid != "" {
					known[uid] = entry[pce.ClusterService]{href: v.Href}
				}
			}
			return known, err
		},
		delete: func(ctx context.Context, uids []string, _ []entry[pce.ClusterService]) ([]pce.BulkResult, error) {
			return agent.DeleteServices(ctx, uids)
		},
	}, now.services))
}

func (r *reporter) tellContainers(ctx context.Context, now cluster) error {
	agent := r.to.agent
	return r.optional("container_workloads", bring(ctx, r, &r.containers, collectionCalls[pce.ContainerWorkload]{
		kind: "containers", create: agent.ReportContainers, update: agent.ReportContainers, same: again[pce.ContainerWorkload],
		list: func(ctx context.Context) (map[string]entry[pce.ContainerWorkload], error) {
			listed, err := orNone(r.to.cluster.ContainerWorkloads(ctx))
			known := map[string]entry[pce.ContainerWorkload]{}
			for _, w := range listed {
				if ofCluster(w.ContainerCluster, agent.Cluster()) {
					known[w.UID] = entry[pce.ContainerWorkload]{href: w.Href}
				}
			}
			return known, err
		},
		delete: func(ctx context.Context, uids []string, _ []entry[pce.ContainerWorkload]) ([]pce.BulkResult, error) {
			return agent.DeleteContainers(ctx, uids)
		},
	}, now.containers))
}

// tellHosts reports nodes as machines, where there is a pairing key for them.
func (r *reporter) tellHosts(ctx context.Context, now cluster) error {
	agent := r.to.agent
	if r.config.ClusterCode == "" && !r.seen.reports.nothing {
		return nil
	}
	report := func(ctx context.Context, hosts []pce.Host) ([]pce.BulkResult, error) {
		return agent.ReportHosts(ctx, pce.Hosts{ActivationCode: r.config.ClusterCode, Hosts: hosts})
	}
	return r.optional("hosts", bring(ctx, r, &r.hosts, collectionCalls[pce.Host]{
		kind: "hosts", create: report, update: report, same: again[pce.Host],
		list: func(ctx context.Context) (map[string]entry[pce.Host], error) {
			listed, err := orNone(r.to.cluster.Workloads(ctx))
			known := map[string]entry[pce.Host]{}
			for _, w := range listed {
				if w.ContainerCluster != nil && w.ContainerCluster.Href == agent.Cluster() && !w.Deleted {
					known[w.Hostname] = entry[pce.Host]{href: w.Href}
				}
			}
			return known, err
		},
		delete: func(ctx context.Context, _ []string, entries []entry[pce.Host]) ([]pce.BulkResult, error) {
			return agent.DeleteHosts(ctx, hrefsOf(entries))
		},
	}, now.hosts))
}

// tellLabels shows the console the LabelMap, and makes the labels that it asks for and may make.
func (r *reporter) tellLabels(ctx context.Context, now cluster) error {
	m := pce.LabelMap{Nodes: mappings(now.labelMap.GetNodeLabelMap()), Workloads: mappings(now.labelMap.GetWorkloadLabelMap())}
	if empty := len(m.Nodes)+len(m.Workloads) == 0; r.labelMap == nil && !empty || r.labelMap != nil && !reflect.DeepEqual(*r.labelMap, m) {
		if err := r.optional("label_map", r.to.agent.ReportLabelMap(ctx, m)); err != nil {
			return err
		}
		r.labelMap = &m
	}
	var missing []pce.Label
	for l := range now.wanted {
		if !r.labels[l] {
			missing = append(missing, l)
		}
	}
	slices.SortFunc(missing, func(a, b pce.Label) int { return slices.Compare([]string{a.Key, a.Value}, []string{b.Key, b.Value}) })
	for part := range slices.Chunk(missing, pce.MaxBulk) {
		results, err := r.to.agent.CreateLabels(ctx, part)
		if err = r.optional("labels", err); err != nil {
			return err
		}
		if r.labels == nil {
			r.labels = map[pce.Label]bool{}
		}
		for i, l := range part {
			r.labels[l] = true
			if i < len(results) {
				r.outcome("label", l.Key+"="+l.Value, "", results[i])
			}
		}
		r.metrics.reports.WithLabelValues("labels_created").Add(float64(len(part)))
	}
	return nil
}

func mappings(entries []*ringfencev1.LabelMapping) []pce.LabelMapping {
	out := make([]pce.LabelMapping, len(entries))
	for i, e := range entries {
		out[i] = pce.LabelMapping{FromKey: e.GetFromKey(), ToKey: e.GetToKey(), AllowCreate: e.GetAllowCreate()}
		for _, v := range e.GetValuesMap() {
			out[i].Values = append(out[i].Values, pce.LabelValueMapping{From: v.GetFrom(), To: v.GetTo()})
		}
	}
	return out
}
