package console_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	api "github.com/ringfence/ringfence/libs/pce"
)

func clusterService(uid, name string) api.ClusterService {
	port, tcp := 80, 6
	return api.ClusterService{
		UID: uid, Name: name, Namespace: "shop", ServiceType: "NodePort", ExternalTrafficPolicy: "Cluster",
		Addresses: []api.ServiceAddress{{IP: "10.96.0.7"}}, Ports: []api.ServicePort{{Port: &port, Proto: &tcp}}, NodePorts: []int{30080},
	}
}

// A Service of a cluster is a virtual service that is active at once, that people may name but not change.
func TestClusterServices(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	cluster, token, agent := w.onboard("lab")
	_, _, other := w.onboard("other")
	shop := w.label("app", "shop")
	mine, theirs := must(agent.WaitForChanges(ctx, "", 0))(t), must(other.WaitForChanges(ctx, "", 0))(t)
	front := clusterService("u1", "front")
	front.Labels = []api.Label{{Key: "app", Value: "shop"}, {Key: "env", Value: "unheard-of"}}
	wrong := clusterService("u3", "x")
	wrong.Ports = nil
	results := must(agent.ReportServices(ctx, []api.ClusterService{front, clusterService("u2", "front"), wrong, {}}))(t)
	if results[0].Status != "created" || results[1].Status != "created" || results[2].Err() == nil || results[3].Err() == nil {
		t.Fatalf("%+v", results)
	}
	w.writesNothing("services", func() { must(agent.ReportServices(ctx, []api.ClusterService{front}))(t) })
	if now := must(agent.WaitForChanges(ctx, mine.Cursor, 0))(t); now.Cursor == mine.Cursor || now.PolicyVersion != mine.PolicyVersion {
		t.Fatal("it does not hear of what became of its own services")
	}
	if now := must(other.WaitForChanges(ctx, theirs.Cursor, 0))(t); now.Cursor == theirs.Cursor || now.PolicyVersion != 1 {
		t.Fatal("another cluster does not hear of them")
	}
	var got struct {
		Name       string
		Set        string  `json:"external_data_set"`
		Reference  string  `json:"external_data_reference"`
		CreatedBy  api.Ref `json:"created_by"`
		UpdateType *string `json:"update_type"`
		Caps       []string
		Labels     []api.Label
		Service    map[string]any `json:"k8s_service_info"`
		Addresses  []struct {
			IP      string
			Network struct{ Href, Name string }
		} `json:"service_addresses"`
		ApplyTo string `json:"apply_to"`
	}
	for _, version := range []string{"active", "draft"} {
		w.answered(200, "GET", strings.Replace(results[0].Href, "active", version, 1), nil, &got)
		if got.Name != "front" || got.Set != api.ID(cluster.Href)+"|shop" || got.Reference != "u1" || got.CreatedBy.Href != cluster.Href || got.UpdateType != nil ||
			len(got.Caps) != 0 || len(got.Labels) != 1 || got.Labels[0].Href != shop.Href || got.Addresses[0].Network.Name != "lab container network" || got.ApplyTo != "host_only" {
			t.Fatalf("%s: %+v", version, got)
		}
	}
	want := map[string]any{"service_type": "NodePort", "external_traffic_policy": "Cluster", "node_ports": []any{30080.0}}
	if diff := cmp.Diff(want, got.Service); diff != "" {
		t.Fatal(diff)
	}
	if p := must(w.user.Pending(ctx))(t); len(p.RuleSets)+len(p.IPLists)+len(p.Services) != 0 {
		t.Fatalf("pending: %+v", p)
	}
	if seen := must(token.VirtualServices(ctx, api.Active))(t); len(seen) != 2 {
		t.Fatalf("the cluster sees %d", len(seen))
	}
	events := w.events("?event_type=system_task.provision_container_cluster_services")
	if len(events) != 1 || events[0].CreatedBy["container_cluster"].(map[string]any)["name"] != "lab" {
		t.Fatalf("%+v", events)
	}
	w.refused(w.user.Update(ctx, strings.Replace(results[0].Href, "active", "draft", 1), map[string]string{"name": "mine"}), api.Refused, "virtual_service_is_managed")
	w.refused(w.user.Delete(ctx, strings.Replace(results[0].Href, "active", "draft", 1)), api.Refused, "virtual_service_is_managed")

	front.NodePorts = []int{30081}
	if r := must(agent.ReportServices(ctx, []api.ClusterService{front}))(t); r[0].Status != "updated" || r[0].Href != results[0].Href {
		t.Fatalf("%+v", r)
	}
	if r := must(other.DeleteServices(ctx, []string{"u1"}))(t); r[0].Err() == nil {
		t.Fatal("another cluster deleted a service")
	}

	// A rule that names one does not keep Kubernetes from removing it, nor others from being provisioned afterwards.
	set := must(w.user.CreateRuleSet(ctx, api.RuleSet{Name: "shop", Scopes: everywhere()}))(t)
	must(w.user.CreateRule(ctx, set.Href, api.Rule{Consumers: labelled(shop), Providers: []api.Actor{{VirtualService: &api.Ref{Href: results[0].Href}}},
		IngressServices: []api.IngressService{}, ResolveLabelsAs: &api.ResolveLabelsAs{Providers: []string{"virtual_services"}, Consumers: []string{"workloads"}}}))(t)
	must(w.user.Provision(ctx, api.Provisioning{}))(t)
	if r := must(agent.DeleteServices(ctx, []string{"u1", "u9"}))(t); r[0].Status != "deleted" || r[1].Err() == nil {
		t.Fatalf("%+v", r)
	}
	must(w.user.CreateIPList(ctx, api.IPList{Name: "office", IPRanges: []api.IPRange{{FromIP: "10.1.0.0/16"}}}))(t)
	must(w.user.Provision(ctx, api.Provisioning{}))(t)
	w.close()
	w.open()
	if seen := must(w.user.VirtualServices(ctx, api.Active))(t); len(seen) != 1 {
		t.Fatalf("%d after a restart", len(seen))
	}
	w.ok(w.user.Delete(ctx, cluster.Href))
	for _, version := range []string{api.Active, api.Draft} {
		if left := must(w.user.VirtualServices(ctx, version))(t); len(left) != 0 {
			t.Fatalf("%s: left behind %+v", version, left)
		}
	}
}

// What the LabelMap gives a Kubernetes workload stands before profile and annotation.
func TestMappedLabels(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	cluster, token, agent := w.onboard("lab")
	shop, mapped := w.label("app", "shop"), w.label("app", "mapped")
	w.label("env", "dev")
	w.ok(w.user.Update(ctx, must(token.Profiles(ctx, cluster.Href))(t)[0].Href, map[string]any{"managed": true, "enforcement_mode": "full",
		"labels": []api.ProfileLabel{{Key: "app", Assignment: &api.LabelRef{Href: shop.Href}}}}))
	item := api.KubernetesWorkload{Name: "web", Kind: "Deployment", Namespace: "x", Labels: []api.Label{{Key: "app", Value: "mapped"}}, Metadata: annotated("env", "dev", "app", "other")}
	made := must(agent.CreateWorkloads(ctx, []api.KubernetesWorkload{item}))(t)
	labels := func() string {
		var values []string
		for _, l := range must(token.KubernetesWorkloads(ctx))(t)[0].Labels {
			values = append(values, l.Value)
		}
		return strings.Join(values, ",")
	}
	if got := labels(); got != "mapped,dev" {
		t.Fatalf("mapped: %s", got)
	}
	item.Href, item.Labels = made[0].Href, nil
	must(agent.UpdateWorkloads(ctx, []api.KubernetesWorkload{item}))(t)
	if got := labels(); got != "shop,dev" {
		t.Fatalf("no longer mapped: %s", got)
	}
	w.refused(w.user.Delete(ctx, shop.Href), api.Refused, "label_in_use")
	w.ok(w.user.Delete(ctx, mapped.Href))
}

// What people bind to a cluster's service goes with it, and names that clusters give are free for people.
func TestUnpairingLeavesNothing(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	_, _, agent := w.onboard("lab")
	_, code := w.pairing("visibility_only")
	host := must(agent.ReportHosts(ctx, api.Hosts{ActivationCode: code, Hosts: []api.Host{node("n1", "m1", "10.0.0.1")}}))(t)[0].Href
	service := must(agent.ReportServices(ctx, []api.ClusterService{clusterService("u1", "front")}))(t)[0].Href
	workload := must(agent.CreateWorkloads(ctx, []api.KubernetesWorkload{{Name: "web", Kind: "Deployment", Namespace: "x"}}))(t)[0].Href
	must(agent.ReportContainers(ctx, []api.ContainerWorkload{{UID: "p1", Name: "web-1", Namespace: "x"}}))(t)
	port, tcp := 80, 6
	var own api.VirtualService
	w.answered(201, "POST", "/orgs/1/sec_policy/draft/virtual_services", api.VirtualService{Name: "front", ServicePorts: []api.ServicePort{{Port: &port, Proto: &tcp}}}, &own)
	w.ok(w.user.Delete(ctx, own.Href))
	w.answered(201, "POST", "/orgs/1/service_bindings", api.ServiceBinding{VirtualService: &api.Ref{Href: service}, Workload: &api.Ref{Href: host}}, nil)

	must(agent.DeleteServices(ctx, []string{"u1"}))(t)
	must(agent.DeleteHosts(ctx, []string{host}))(t)
	must(agent.DeleteContainers(ctx, []string{"p1"}))(t)
	must(agent.DeleteWorkloads(ctx, []string{workload}))(t)
	for _, path := range []string{"/workloads", "/vens", "/service_bindings", "/container_workloads", "/kubernetes_workloads",
		"/sec_policy/active/virtual_services", "/sec_policy/draft/virtual_services"} {
		var left []any
		if w.answered(200, "GET", "/orgs/1"+path, nil, &left); len(left) != 0 {
			t.Errorf("%s: left behind %v", path, left)
		}
	}
}
