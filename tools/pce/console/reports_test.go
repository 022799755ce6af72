package console_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	api "github.com/ringfence/ringfence/libs/pce"
)

// newest gives the number of the newest edit: unchanged means that nothing was written.
func (w *world) newest() int {
	w.t.Helper()
	n := 0
	w.ok(w.journal.Replay(w.t.Context(), 0, func(number uint64, _ []byte) error { n = int(number); return nil }))
	return n
}

// writesNothing runs what says the same again.
func (w *world) writesNothing(what string, again func()) {
	w.t.Helper()
	before := w.newest()
	again()
	if after := w.newest(); after != before {
		w.t.Fatalf("%s: said again, it wrote %d edits", what, after-before)
	}
}

func TestClusterReportsItself(t *testing.T) {
	w := newWorld(t)
	cluster, _, agent := w.onboard("lab")
	details := api.ClusterDetails{ManagerType: "Kubernetes v1.37.2", ClusterMode: "legacy", Components: map[string]string{"enforcer": "1.2.3", "watcher": "1.2.4"}}
	labels := api.LabelMap{Nodes: []api.LabelMapping{{FromKey: "topology.kubernetes.io/zone", ToKey: "loc", AllowCreate: true, Values: []api.LabelValueMapping{{From: "a", To: "Zürich"}}}}}
	report := func() {
		w.ok(agent.ReportCluster(t.Context(), details))
		w.ok(agent.ReportLabelMap(t.Context(), labels))
	}
	report()
	w.writesNothing("the cluster", report)
	var got struct {
		Components map[string]string `json:"component_versions"`
		LabelMap   api.LabelMap      `json:"label_map"`
		Mode       string            `json:"cluster_mode"`
		Clas       bool              `json:"clas_mode"`
	}
	w.answered(200, "GET", cluster.Href, nil, &got)
	labels.Workloads = []api.LabelMapping{}
	if diff := cmp.Diff(labels, got.LabelMap); diff != "" || got.Components["watcher"] != "1.2.4" || got.Mode != "legacy" || got.Clas {
		t.Fatalf("%s %+v", diff, got)
	}
	labels.Nodes = make([]api.LabelMapping, 1001)
	w.refused(agent.ReportLabelMap(t.Context(), labels), api.Refused, "node_label_map: 1001 items")
}

// A cluster makes labels of dimensions that exist, once, and hears of its own no more than of its other reports.
func TestClusterMakesLabels(t *testing.T) {
	w := newWorld(t)
	_, _, agent := w.onboard("lab")
	_, _, other := w.onboard("other")
	web := w.label("app", "web")
	mine, theirs := must(agent.WaitForChanges(t.Context(), "", 0))(t), must(other.WaitForChanges(t.Context(), "", 0))(t)
	wanted := []api.Label{{Key: "app", Value: "web"}, {Key: "loc", Value: "Zürich"}, {Key: "loc", Value: "Zürich"}, {Key: "colour", Value: "red"}, {Key: "app", Value: " "}}
	results := must(agent.CreateLabels(t.Context(), wanted))(t)
	if results[0].Href != web.Href || results[1].Status != "created" || results[2].Href != results[1].Href || results[3].Err() == nil || results[4].Err() == nil {
		t.Fatalf("%+v", results)
	}
	w.writesNothing("labels", func() { must(agent.CreateLabels(t.Context(), wanted))(t) })
	if l := must(w.user.Labels(t.Context()))(t); len(l) != 2 {
		t.Fatalf("%d labels", len(l))
	}
	if now := must(agent.WaitForChanges(t.Context(), mine.Cursor, 0))(t); now.Cursor == mine.Cursor {
		t.Fatal("it does not hear of the labels that it made")
	}
	if now := must(other.WaitForChanges(t.Context(), theirs.Cursor, 0))(t); now.Cursor == theirs.Cursor {
		t.Fatal("another cluster does not hear of the labels")
	}
	w.label("app", "db")
	if now := must(agent.WaitForChanges(t.Context(), mine.Cursor, 0))(t); now.Cursor == mine.Cursor {
		t.Fatal("a label that people made did not end its poll")
	}
}

func TestPolicyAcknowledgements(t *testing.T) {
	w := newWorld(t)
	_, token, agent := w.onboard("lab")
	_, _, other := w.onboard("other")
	item := api.KubernetesWorkload{Name: "a", Kind: "Deployment", Namespace: "x", Interfaces: []api.Interface{{Name: "pod-1", Address: "10.0.0.1"}}}
	made := must(agent.CreateWorkloads(t.Context(), []api.KubernetesWorkload{item}))(t)
	at := made[0].Href
	cursor := must(agent.WaitForChanges(t.Context(), "", 0))(t)
	ack := func() []api.BulkResult {
		return must(agent.AcknowledgePolicy(t.Context(), []api.PolicyAck{
			{Href: at, State: api.SyncError, Version: 3, Detail: "n1: no room"}, {Href: at, State: "fine"}, {Href: "/orgs/1/kubernetes_workloads/none", State: api.SyncApplied}}))(t)
	}
	if results := ack(); results[0].Err() != nil || results[1].Err() == nil || results[2].Err() == nil {
		t.Fatalf("%+v", results)
	}
	w.writesNothing("an acknowledgement", func() { ack() })
	w.writesNothing("a workload", func() { must(agent.CreateWorkloads(t.Context(), []api.KubernetesWorkload{item}))(t) })
	item.Href = at
	w.writesNothing("an update", func() { must(agent.UpdateWorkloads(t.Context(), []api.KubernetesWorkload{item}))(t) })
	if results := must(other.AcknowledgePolicy(t.Context(), []api.PolicyAck{{Href: at, State: api.SyncApplied}}))(t); results[0].Err() == nil {
		t.Fatal("another cluster acknowledged")
	}
	got := must(token.KubernetesWorkloads(t.Context()))(t)[0]
	if got.SecurityPolicySyncState != api.SyncError || len(got.Interfaces) != 1 || got.Interfaces[0].Address != "10.0.0.1" {
		t.Fatalf("%+v", got)
	}
	item.Interfaces = nil
	must(agent.UpdateWorkloads(t.Context(), []api.KubernetesWorkload{item}))(t)
	if got := must(token.KubernetesWorkloads(t.Context()))(t)[0]; len(got.Interfaces) != 0 || got.SecurityPolicySyncState != api.SyncError {
		t.Fatalf("after an update: %+v", got)
	}
	if now := must(agent.WaitForChanges(t.Context(), cursor.Cursor, 0))(t); now.Cursor != cursor.Cursor {
		t.Fatal("its own reports ended its poll")
	}
	_, err := agent.AcknowledgePolicy(t.Context(), make([]api.PolicyAck, 1001))
	w.refused(err, api.Refused, "1001 items, want at most 1000")
}

// Pods of a cluster in a legacy mode: labels and mode from the namespace's profile, gone with the cluster.
func TestContainerWorkloads(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	cluster, token, agent := w.onboard("lab")
	_, _, other := w.onboard("other")
	shop := w.label("app", "shop")
	w.ok(agent.ReportNamespaces(ctx, []string{"shop"}))
	for _, p := range must(token.Profiles(ctx, cluster.Href))(t) {
		if p.Namespace != nil {
			w.ok(w.user.Update(ctx, p.Href, map[string]any{"managed": true, "enforcement_mode": "full", "labels": []api.ProfileLabel{{Key: "app", Assignment: &api.LabelRef{Href: shop.Href}}}}))
		}
	}
	pods := []api.ContainerWorkload{
		{UID: "u1", Name: "web-1", Namespace: "shop", Node: "n1", Interfaces: []api.Interface{{Name: "eth0", Address: "10.0.0.1"}}},
		{UID: "u2", Name: "sys-1", Namespace: "kube-system"}, {Name: "no-uid", Namespace: "shop"},
	}
	results := must(agent.ReportContainers(ctx, pods))(t)
	if results[0].Status != "created" || results[2].Err() == nil {
		t.Fatalf("%+v", results)
	}
	w.writesNothing("pods", func() { must(agent.ReportContainers(ctx, pods))(t) })
	list := func(path string) (found []api.ContainerWorkload) {
		w.t.Helper()
		w.answered(200, "GET", path, nil, &found)
		return found
	}
	got := list("/orgs/1/container_workloads?namespace=shop")
	if len(got) != 1 || got[0].Name != "web-1" || got[0].EnforcementMode != "full" || got[0].Labels[0].Value != "shop" || got[0].Interfaces[0].Address != "10.0.0.1" ||
		got[0].ContainerCluster.Href != cluster.Href {
		t.Fatalf("%+v", got)
	}
	if results := must(other.DeleteContainers(ctx, []string{"u1"}))(t); results[0].Err() == nil {
		t.Fatal("another cluster deleted a pod")
	}
	if results := must(agent.DeleteContainers(ctx, []string{"u2", "u9"}))(t); results[0].Status != "deleted" || results[1].Err() == nil {
		t.Fatalf("%+v", results)
	}
	w.ok(w.user.Delete(ctx, cluster.Href))
	if left := list("/orgs/1/container_workloads"); len(left) != 0 {
		t.Fatalf("left behind: %+v", left)
	}
	_, err := other.ReportContainers(ctx, make([]api.ContainerWorkload, 1001))
	w.refused(err, api.Refused, "1001 items, want at most 1000")
}
