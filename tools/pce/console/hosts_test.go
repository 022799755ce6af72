package console_test

import (
	"slices"
	"strings"
	"testing"

	api "github.com/ringfence/ringfence/libs/pce"
)

// paired is a workload with what the API adds to it.
type paired struct {
	Href, Name, Hostname string
	Managed              bool
	Mode                 string `json:"enforcement_mode"`
	Visibility           string `json:"visibility_level"`
	Labels               []api.Label
	Interfaces           []api.Interface
	Cluster              struct{ Href, Name string } `json:"container_cluster"`
	VEN                  struct{ Href string }       `json:"ven"`
}

func (p paired) values() string {
	var values []string
	for _, l := range p.Labels {
		values = append(values, l.Key+"="+l.Value)
	}
	return strings.Join(values, ",")
}

func (w *world) machines() (found []paired) {
	w.t.Helper()
	w.answered(200, "GET", "/orgs/1/workloads", nil, &found)
	slices.SortFunc(found, func(a, b paired) int { return strings.Compare(a.Name, b.Name) })
	return found
}

// pairing makes a profile with labels, and a key of it.
func (w *world) pairing(mode string, labels ...api.Label) (profile api.PairingProfile, code string) {
	w.t.Helper()
	p := api.PairingProfile{Name: "nodes " + mode, Enabled: true, EnforcementMode: mode, VisibilityLevel: "flow_drops"}
	for _, l := range labels {
		p.Labels = append(p.Labels, api.Ref{Href: l.Href})
	}
	profile = must(w.user.CreatePairingProfile(w.t.Context(), p))(w.t)
	return profile, must(w.user.CreatePairingKey(w.t.Context(), profile.Href))(w.t)
}

func node(name, machine, address string, labels ...api.Label) api.Host {
	return api.Host{Name: name, MachineID: machine, Interfaces: []api.Interface{{Name: "eth0", Address: address}}, AgentVersion: "1.0", Runtime: "containerd", Labels: labels}
}

// A node becomes a workload with a VEN as its profile says; later reports change what the node says, not what people did.
func TestHosts(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	cluster, _, agent := w.onboard("lab")
	_, _, other := w.onboard("other")
	nodes, prod, zone := w.label("role", "node"), w.label("env", "prod"), w.label("loc", "a")
	w.label("loc", "b")
	_, code := w.pairing("full", nodes, prod, w.label("loc", "nowhere"))
	mine, theirs := must(agent.WaitForChanges(ctx, "", 0))(t), must(other.WaitForChanges(ctx, "", 0))(t)
	report := func(hosts ...api.Host) []api.BulkResult {
		t.Helper()
		return must(agent.ReportHosts(ctx, api.Hosts{ActivationCode: code, Hosts: hosts}))(t)
	}
	one, two := node("n1", "m1", "10.0.0.1", zone, api.Label{Key: "app", Value: "unheard-of"}), node("n2", "", "10.0.0.2")
	results := report(one, two, node("", "m3", "10.0.0.3"), node("n4", "m4", "ten"))
	if results[0].Status != "created" || results[1].Status != "created" || results[2].Err() == nil || results[3].Err() == nil {
		t.Fatalf("%+v", results)
	}
	w.writesNothing("hosts", func() { report(one, two) })
	if now := must(agent.WaitForChanges(ctx, mine.Cursor, 0))(t); now.Cursor == mine.Cursor {
		t.Fatal("it does not hear of what became of its own nodes")
	}
	if now := must(other.WaitForChanges(ctx, theirs.Cursor, 0))(t); now.Cursor == theirs.Cursor {
		t.Fatal("another cluster does not hear of new machines")
	}
	got := w.machines()
	if len(got) != 2 || got[0].Href != results[0].Href || got[0].Hostname != "n1" || !got[0].Managed || got[0].Mode != "full" || got[0].Visibility != "flow_drops" ||
		got[0].values() != "env=prod,loc=a,role=node" || got[1].values() != "env=prod,loc=nowhere,role=node" ||
		got[0].Cluster.Href != cluster.Href || got[0].Interfaces[0].Address != "10.0.0.1" {
		t.Fatalf("%+v", got)
	}
	var ven map[string]any
	w.answered(200, "GET", got[0].VEN.Href, nil, &ven)
	if ven["hostname"] != "n1" || ven["version"] != "1.0" || ven["uid"] != "m1" || !strings.HasPrefix(ven["ven_type"].(string), "containerized") {
		t.Fatalf("VEN %v", ven)
	}

	w.ok(w.user.Update(ctx, got[0].Href, map[string]any{"name": "mine", "enforcement_mode": "visibility_only", "labels": []api.Ref{{Href: prod.Href}}}))
	if now := must(agent.WaitForChanges(ctx, mine.Cursor, 0))(t); now.Cursor == mine.Cursor {
		t.Fatal("what people did to a host did not end the poll")
	}
	one.Interfaces[0].Address, one.AgentVersion = "10.0.0.9", "1.1"
	if r := report(one); r[0].Status != "updated" || r[0].Href != got[0].Href {
		t.Fatalf("%+v", r)
	}
	got = w.machines()
	if got[0].Name != "mine" || got[0].Mode != "visibility_only" || got[0].values() != "env=prod" || got[0].Interfaces[0].Address != "10.0.0.9" {
		t.Fatalf("after a later report: %+v", got[0])
	}
	one.Labels = []api.Label{{Key: "loc", Value: "b"}}
	report(one)
	if got = w.machines(); got[0].values() != "env=prod,loc=b" {
		t.Fatalf("after another LabelMap: %s", got[0].values())
	}
	one.Labels = nil
	report(one)
	if got = w.machines(); got[0].values() != "env=prod" {
		t.Fatalf("after no LabelMap: %s", got[0].values())
	}

	if r := must(other.DeleteHosts(ctx, []string{got[0].Href}))(t); r[0].Err() == nil {
		t.Fatal("another cluster unpaired a host")
	}
	if r := must(agent.DeleteHosts(ctx, []string{got[0].Href, "/orgs/1/workloads/none"}))(t); r[0].Status != "deleted" || r[1].Err() == nil {
		t.Fatalf("%+v", r)
	}
	w.ok(w.user.Delete(ctx, cluster.Href))
	for _, path := range []string{"/orgs/1/workloads", "/orgs/1/vens"} {
		var left []any
		if w.answered(200, "GET", path, nil, &left); len(left) != 0 {
			t.Fatalf("%s: left behind %v", path, left)
		}
	}
	_, err := other.ReportHosts(ctx, api.Hosts{Hosts: make([]api.Host, 1001)})
	w.refused(err, api.Refused, "hosts: 1001 items")
}

// A code that is not accepted refuses new machines, each by itself, and leaves those that are known alone.
func TestActivationCodes(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	_, _, agent := w.onboard("lab")
	profile, code := w.pairing("visibility_only")
	w.ok(w.user.Update(ctx, profile.Href, map[string]any{"allowed_uses_per_key": 2}))
	report := func(code string, hosts ...api.Host) []api.BulkResult {
		t.Helper()
		return must(agent.ReportHosts(ctx, api.Hosts{ActivationCode: code, Hosts: hosts}))(t)
	}
	if r := report("guessed", node("n1", "m1", "10.0.0.1")); r[0].Token != "activation_code_unknown" {
		t.Fatalf("%+v", r)
	}
	if r := report(code, node("n1", "m1", "10.0.0.1"), node("n2", "m2", "10.0.0.2")); r[0].Err() != nil || r[1].Err() != nil {
		t.Fatalf("%+v", r)
	}
	if r := report(code, node("n1", "m1", "10.0.0.9"), node("n3", "m3", "10.0.0.3")); r[0].Status != "updated" || r[1].Token != "activation_code_used_up" {
		t.Fatalf("%+v", r)
	}
	w.ok(w.user.Update(ctx, profile.Href, map[string]any{"enabled": false}))
	if r := report(code, node("n1", "m1", "10.0.0.8"), node("n3", "m3", "10.0.0.3")); r[0].Status != "updated" || r[1].Token != "pairing_profile_disabled" {
		t.Fatalf("%+v", r)
	}
}

// Two nodes with the id of one machine are an error of the second, shown on its cluster until it is over.
func TestDuplicateMachines(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	lab, _, agent := w.onboard("lab")
	far, _, other := w.onboard("other")
	_, code := w.pairing("visibility_only")
	errorsOn := func(cluster string) (found []struct {
		Type       string   `json:"error_type"`
		Duplicates []string `json:"duplicate_ids"`
		Event      api.Ref  `json:"audit_event"`
	}) {
		t.Helper()
		out := struct{ Errors any }{&found}
		w.answered(200, "GET", cluster, nil, &out)
		return found
	}
	report := func(a *api.Agent, hosts ...api.Host) []api.BulkResult {
		t.Helper()
		return must(a.ReportHosts(ctx, api.Hosts{ActivationCode: code, Hosts: hosts}))(t)
	}
	w.ok(agent.ReportCluster(ctx, api.ClusterDetails{Nodes: []api.ClusterNode{{Name: "n1"}, {Name: "n2"}}}))
	if r := report(agent, node("n1", "m1", "10.0.0.1"), node("n2", "m1", "10.0.0.2")); r[0].Err() != nil || r[1].Token != "duplicate_machine_id" {
		t.Fatalf("%+v", r)
	}
	again := func() {
		if r := report(agent, node("n2", "m1", "10.0.0.2")); r[0].Token != "duplicate_machine_id" {
			t.Fatalf("%+v", r)
		}
	}
	w.writesNothing("the duplicate", again)
	found := errorsOn(lab.Href)
	if len(found) != 1 || found[0].Type != "duplicate_machine_id" || found[0].Duplicates[0] != "m1" {
		t.Fatalf("%+v", found)
	}
	var event seenEvent
	w.answered(200, "GET", found[0].Event.Href, nil, &event)
	if event.Type != "container_cluster.update_hosts" {
		t.Fatalf("the event is %s", event.Type)
	}
	if r := report(other, node("n1", "m1", "10.9.0.1")); r[0].Token != "duplicate_machine_id" || len(errorsOn(far.Href)) != 1 || len(errorsOn(lab.Href)) != 1 {
		t.Fatalf("%+v", r)
	}
	if r := report(agent, node("n2", "m2", "10.0.0.2")); r[0].Err() != nil || len(errorsOn(lab.Href)) != 0 {
		t.Fatalf("with a machine of its own: %+v, errors %+v", r, errorsOn(lab.Href))
	}
	w.ok(other.ReportCluster(ctx, api.ClusterDetails{Nodes: []api.ClusterNode{{Name: "n7"}}}))
	if left := errorsOn(far.Href); len(left) != 0 {
		t.Fatalf("a node that is gone leaves %+v", left)
	}
	w.ok(agent.ReportCluster(ctx, api.ClusterDetails{Nodes: []api.ClusterNode{{Name: "new"}, {Name: "n2"}}}))
	if r := report(agent, node("new", "m1", "10.0.0.1")); r[0].Status != "updated" {
		t.Fatalf("a machine whose node has another name: %+v", r)
	}
}
