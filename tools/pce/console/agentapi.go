package console

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ringfence/ringfence/libs/pce"
)

// namespacesField keeps the namespaces that a cluster reported, on its record.
const namespacesField = "_namespaces"

// appliedField keeps the version that a cluster reported to enforce.
const appliedField = "security_policy_applied_version"

// maxWait bounds a long poll.
const maxWait = time.Minute

// agentRoute mounts a call of the agent API; every one of them is a sign of life.
func (c *Console) agentRoute(pattern string, handle handler) {
	method, call := splitPattern(pattern)
	c.route(agent, method+" /orgs/{org}/container_clusters/{cluster}/"+call, func(r request) (response, error) {
		c.agents.called(r.who.cluster)
		return handle(r)
	})
}

func (c *Console) agentAPI() {
	c.agentRoute("PUT agent/v1/cluster", c.reportCluster)
	c.agentRoute("PUT agent/v1/namespaces", c.reportNamespaces)
	c.agentRoute("PUT agent/v1/kubernetes_workloads/bulk_create", c.bulk("create", bulkCreate))
	c.agentRoute("PUT agent/v1/kubernetes_workloads/bulk_update", c.bulk("update", bulkUpdate))
	c.agentRoute("PUT agent/v1/kubernetes_workloads/bulk_delete", c.bulk("delete", bulkDelete))
	c.agentRoute("PUT agent/v1/heartbeat", func(request) (response, error) { return noContent, nil })
	c.agentRoute("GET agent/v1/changes", c.changes)
	c.agentRoute("PUT agent/v1/labels/bulk_create", c.createReportedLabels)
	c.agentRoute("PUT agent/v1/label_map", c.reportLabelMap)
	c.agentRoute("PUT agent/v1/hosts/bulk_update", c.reportHosts)
	c.agentRoute("PUT agent/v1/hosts/bulk_delete", c.deleteHosts)
	c.agentRoute("PUT agent/v1/services/bulk_update", c.reportServices)
	c.agentRoute("PUT agent/v1/services/bulk_delete", c.deleteServices)
	c.agentRoute("PUT agent/v1/container_workloads/bulk_update", c.reportContainers)
	c.agentRoute("PUT agent/v1/container_workloads/bulk_delete", c.deleteContainers)
	c.agentRoute("PUT agent/v1/events/bulk_create", c.reportEvents)
	c.agentRoute("PUT agent/v1/traffic_flows/bulk_create", c.reportFlows)
	c.agentRoute("GET agent/v1/traffic_flows/last", c.lastFlows)
	c.agentRoute("PUT security_policy_applied", c.policyApplied)
	c.agentRoute("PUT security_policy_acks", c.policyAcks)
}

// changes is the long poll.
func (c *Console) changes(r request) (response, error) {
	wait, err := waitOf(r.URL.Query().Get("wait"))
	if err != nil {
		return response{}, err
	}
	timeout := time.NewTimer(wait)
	defer timeout.Stop()
	for {
		cursor, active, changed := c.store.watch(r.who.cluster)
		now := strconv.FormatUint(cursor, 10)
		if now != r.URL.Query().Get("since") {
			return ok(pce.Changes{Cursor: now, PolicyVersion: active}), nil
		}
		select {
		case <-changed:
		case <-timeout.C:
			return ok(pce.Changes{Cursor: now, PolicyVersion: active}), nil
		case <-r.Context().Done(): // or the cluster hung up, and hears nothing
			return response{}, refuse(http.StatusServiceUnavailable, "stopping", "the console is stopping")
		}
	}
}

func waitOf(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	seconds, err := strconv.Atoi(text)
	if err != nil || seconds < 0 {
		return 0, invalid("wait", "%q is not a number of seconds", text)
	}
	return min(time.Duration(seconds)*time.Second, maxWait), nil
}

// updateReported merges fields that the cluster reports into its record, where they differ.
func (t *transaction) updateReported(cluster string, fields document) {
	before := t.state.get(tableClusters, cluster).Doc
	for field, value := range fields {
		if string(before[field]) != string(value) {
			t.update(tableClusters, cluster, before.merge(fields))
			return
		}
	}
}

func (c *Console) reportCluster(r request) (response, error) {
	var d pce.ClusterDetails
	if err := r.decode(&d); err != nil {
		return response{}, err
	}
	fields := document{}.set("manager_type", d.ManagerType).set("network_type", d.NetworkType).
		set("container_runtime", d.ContainerRuntime).set("cluster_mode", d.ClusterMode).
		set("clas_mode", strings.EqualFold(d.ClusterMode, "clas")).set("kubelink_version", d.KubelinkVersion).set("nodes", d.Nodes).
		set("component_versions", d.Components)
	err := c.store.write(r.Context(), r.who.href, "container_cluster.update", func(t *transaction) error {
		if before := t.state.get(tableClusters, r.who.cluster).Doc; before["errors"] != nil {
			fields = fields.set("errors", withoutErrorsOf(before, d.Nodes))
		}
		t.updateReported(r.who.cluster, fields)
		return nil
	})
	return noContent, err
}

// reportNamespaces notes the cluster's namespaces and makes a profile, after the default one, for each without one.
func (c *Console) reportNamespaces(r request) (response, error) {
	var reported pce.Namespaces
	if err := r.decode(&reported); err != nil {
		return response{}, err
	}
	slices.Sort(reported.Namespaces)
	names := slices.Compact(reported.Namespaces)
	err := c.store.write(r.Context(), r.who.href, "container_cluster.update_namespaces", func(t *transaction) error {
		t.updateReported(r.who.cluster, document{}.set(namespacesField, names))
		template, have := document{}, map[string]bool{}
		for _, p := range t.state.owned(tableProfiles, r.who.cluster) {
			if have[p.Doc.text("namespace")] = true; p.Doc.text("namespace") == "" {
				template = p.Doc
			}
		}
		for _, name := range names {
			if name != "" && !have[name] {
				t.create(tableProfiles, newUUID(), r.who.cluster, template.set("namespace", name).set("name", nil))
			}
		}
		return nil
	})
	return noContent, err
}

func (c *Console) policyApplied(r request) (response, error) {
	var applied pce.PolicyApplied
	if err := r.decode(&applied); err != nil {
		return response{}, err
	}
	err := c.store.write(r.Context(), r.who.href, "container_cluster.security_policy_applied", func(t *transaction) error {
		t.updateReported(r.who.cluster, document{}.set(appliedField, applied.Version))
		return nil
	})
	return ok(applied), err
}

// bulk runs one item after the other; an item that is refused leaves the others alone.
func (c *Console) bulk(verb string, one func(*bulkEdit, pce.KubernetesWorkload) pce.BulkResult) handler {
	return func(r request) (response, error) {
		var items []pce.KubernetesWorkload
		if err := r.decodeBulk(&items); err != nil {
			return response{}, err
		}
		results := make([]pce.BulkResult, len(items))
		event := "container_cluster.kubernetes_workloads_bulk_" + verb
		err := c.store.write(r.Context(), r.who.href, event, func(t *transaction) error {
			b := newBulkEdit(t, r.who.cluster)
			for i, item := range items {
				results[i] = one(b, item)
			}
			return nil
		})
		return ok(results), err
	}
}

// bulkEdit finds a cluster's workloads by what they are called.
type bulkEdit struct {
	*transaction
	cluster string
	ids     map[string]string
}

func newBulkEdit(t *transaction, cluster string) *bulkEdit {
	b := &bulkEdit{transaction: t, cluster: cluster, ids: map[string]string{}}
	for id, r := range t.state.owned(tableWorkloads, cluster) {
		b.ids[nameOf(r.Doc.text("namespace"), r.Doc.text("kind"), r.Doc.text("name"))] = id
	}
	return b
}

func nameOf(namespace, kind, name string) string { return namespace + "/" + kind + "/" + name }

func documentOf(w pce.KubernetesWorkload) document {
	return document{}.set("name", w.Name).set("kind", w.Kind).set("namespace", w.Namespace).set("metadata", w.Metadata).
		set("interfaces", orEmpty(w.Interfaces)).set(mappedField, orEmpty(bareLabels(w.Labels)))
}

func bulkCreate(b *bulkEdit, w pce.KubernetesWorkload) pce.BulkResult {
	if w.Name == "" || w.Kind == "" || w.Namespace == "" {
		return refusedItem("", invalid("name", "name, kind and namespace must not be empty"))
	}
	return b.putReported(tableWorkloads, b.cluster, b.ids, nameOf(w.Namespace, w.Kind, w.Name), documentOf(w))
}

func (b *bulkEdit) find(href string) (id string, r *record) {
	table, id, _ := tableOf(href)
	if r = b.state.get(tableWorkloads, id); table != tableWorkloads || r == nil || r.Owner != b.cluster {
		return "", nil
	}
	return id, r
}

func missing(href string) pce.BulkResult {
	return pce.BulkResult{Href: href, Status: "validation_failure", Token: "not_found", Message: href + " does not exist"}
}

func bulkUpdate(b *bulkEdit, w pce.KubernetesWorkload) pce.BulkResult {
	id, r := b.find(w.Href)
	if r == nil {
		return missing(w.Href)
	}
	b.updateWhereNew(tableWorkloads, id, documentOf(w).only([]string{"metadata", "interfaces", mappedField}))
	return pce.BulkResult{Href: w.Href, Status: "updated"}
}

func bulkDelete(b *bulkEdit, w pce.KubernetesWorkload) pce.BulkResult {
	id, r := b.find(w.Href)
	if r == nil {
		return missing(w.Href)
	}
	b.remove(tableWorkloads, id)
	return pce.BulkResult{Href: w.Href, Status: "deleted"}
}
