package console_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	api "github.com/ringfence/ringfence/libs/pce"
	"github.com/ringfence/ringfence/tools/pce/console"
)

func seenFlow(src, dst string, port int) api.FlowSummary {
	now := time.Now().UTC().Format(time.RFC3339)
	return api.FlowSummary{
		Src: api.FlowEnd{IP: src}, Dst: api.FlowEnd{IP: dst}, Service: api.FlowService{Port: &port, Proto: 6}, Direction: "inbound",
		Decision: "blocked", State: "closed", Connections: 2, Range: api.TimeRange{First: now, Last: now},
	}
}

type seenEnd struct {
	IP       string
	Workload *struct {
		Href, Name  string
		Managed     bool
		Enforcement string `json:"enforcement_mode"`
		Labels      []api.Label
	}
	IPLists []struct{ Href, Name string } `json:"ip_lists"`
}

type seenRow struct {
	Src, Dst    seenEnd
	Service     struct{ Port, Proto int }
	Decision    string `json:"policy_decision"`
	Direction   string `json:"flow_direction"`
	Connections int    `json:"num_connections"`
	Network     struct{ Href, Name string }
}

type seenQuery struct {
	Href, Status, Result string
	Flows                int            `json:"flows_count"`
	Matches              int            `json:"matches_count"`
	Parameters           map[string]any `json:"query_parameters"`
}

// ask runs a query to its end and downloads what it gave.
func (w *world) ask(body any) (q seenQuery, rows []seenRow) {
	w.t.Helper()
	w.answered(202, "POST", "/orgs/1/traffic_flows/async_queries", body, &q)
	for range 500 {
		if w.answered(200, "GET", q.Href, nil, &q); q.Status == "completed" {
			w.answered(200, "GET", q.Result, nil, &rows)
			return q, rows
		}
		time.Sleep(10 * time.Millisecond)
	}
	w.t.Fatalf("the query is %s", q.Status)
	return q, nil
}

// From a cluster's report to a row with the labels that its ends have when it is asked for.
func TestTraffic(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	cluster, token, agent := w.onboard("lab")
	shop, dev := w.label("app", "shop"), w.label("env", "dev")
	must(w.user.CreateIPList(ctx, api.IPList{Name: "office", IPRanges: []api.IPRange{{FromIP: "192.168.0.0/16"}, {FromIP: "192.168.1.1", Exclusion: true}}}))(t)
	must(w.user.Provision(ctx, api.Provisioning{}))(t)
	w.ok(agent.ReportNamespaces(ctx, []string{"shop"}))
	made := must(agent.CreateWorkloads(ctx, []api.KubernetesWorkload{{Name: "web", Kind: "Deployment", Namespace: "shop"}}))(t)
	flow := seenFlow("192.168.7.7", "10.42.0.9", 443)
	flow.Dst.Workload = &api.Ref{Href: made[0].Href}
	wrong := seenFlow("192.168.7.7", "nowhere", 443)
	upload := api.FlowUpload{Batch: "w1/0", Flows: []api.FlowSummary{flow, seenFlow("192.168.1.1", "10.42.0.9", 80), wrong}}
	for range 2 { // a part that was taken is not taken twice
		if receipt := must(agent.ReportFlows(ctx, upload))(t); receipt.Received != 3 || receipt.Failed != 1 {
			t.Fatalf("%+v", receipt)
		}
	}
	label := func(l api.Label) map[string]any {
		return map[string]any{"destinations": map[string]any{"include": [][]any{{map[string]any{"label": api.Ref{Href: l.Href}}}}, "exclude": []any{}}, "max_results": 100}
	}
	if q, rows := w.ask(label(shop)); q.Matches != 0 || len(rows) != 0 {
		t.Fatalf("before it had the label: %+v", rows)
	}
	for _, p := range must(token.Profiles(ctx, cluster.Href))(t) {
		if p.Namespace != nil {
			w.ok(w.user.Update(ctx, p.Href, map[string]any{"managed": true, "enforcement_mode": "full", "labels": []api.ProfileLabel{{Key: "app", Assignment: &api.LabelRef{Href: shop.Href}}}}))
		}
	}
	q, rows := w.ask(label(shop))
	if q.Matches != 1 || q.Flows != 1 || len(rows) != 1 || q.Parameters["max_results"] != 100.0 {
		t.Fatalf("%+v %+v", q, rows)
	}
	r := rows[0]
	if r.Dst.Workload.Name != "web" || !r.Dst.Workload.Managed || r.Dst.Workload.Enforcement != "full" || r.Dst.Workload.Labels[0].Value != "shop" ||
		r.Src.Workload != nil || r.Src.IPLists[0].Name != "office" || r.Service.Port != 443 || r.Connections != 2 || r.Decision != "blocked" ||
		r.Network.Name != "lab container network" {
		t.Fatalf("%+v", r)
	}
	if _, rows := w.ask(label(dev)); len(rows) != 0 {
		t.Fatalf("another label: %+v", rows)
	}
	w.close()
	w.open()
	w.answered(404, "GET", q.Href, nil, nil) // queries are kept in memory
	w.answered(200, "POST", "/orgs/1/traffic_flows/traffic_analysis_queries", map[string]any{}, &rows)
	if len(rows) != 2 || len(rows[0].Src.IPLists)+len(rows[1].Src.IPLists) != 1 {
		t.Fatalf("after a restart: %+v", rows)
	}
	w.ok(w.user.Delete(ctx, cluster.Href))
	var left []seenRow
	w.answered(200, "POST", "/orgs/1/traffic_flows/traffic_analysis_queries", map[string]any{}, &left)
	if len(left) != 2 || left[0].Dst.Workload != nil || left[1].Dst.Workload != nil {
		t.Fatalf("without the cluster: %+v", left)
	}
}

func TestTrafficIsNoEdit(t *testing.T) {
	w := newWorld(t)
	_, _, agent := w.onboard("lab")
	w.writesNothing("traffic", func() {
		must(agent.ReportFlows(t.Context(), api.FlowUpload{Batch: "1", Flows: []api.FlowSummary{seenFlow("10.0.0.1", "10.0.0.2", 1)}}))(t)
	})
	_, err := agent.ReportFlows(t.Context(), api.FlowUpload{Flows: []api.FlowSummary{seenFlow("10.0.0.1", "10.0.0.2", 1)}})
	w.refused(err, api.Refused, "batch: want 1 to 200 characters")
	_, err = agent.ReportFlows(t.Context(), api.FlowUpload{Batch: "2", Flows: make([]api.FlowSummary, 1001)})
	w.refused(err, api.Refused, "flows: 1001 items, want at most 1000")
}

// Many flows push out the oldest, and a console that starts later keeps the room it was given.
func TestTrafficHasItsRoom(t *testing.T) {
	w := newWorld(t, console.TrafficRoom(1))
	cluster, _, agent := w.onboard("lab")
	flows := make([]api.FlowSummary, 1000)
	count := func() (n int) {
		var rows []seenRow
		w.answered(200, "POST", "/orgs/1/traffic_flows/traffic_analysis_queries", map[string]any{}, &rows)
		return len(rows)
	}
	for round := range 15 {
		for i := range flows {
			flows[i] = seenFlow(fmt.Sprintf("10.%d.%d.%d", round, i/250, i%250), "172.16.0.1", 443)
			flows[i].Dst.FQDN = rand.Text() + rand.Text() + rand.Text() + rand.Text() + rand.Text() + rand.Text() // does not compress
		}
		must(agent.ReportFlows(t.Context(), api.FlowUpload{Batch: fmt.Sprint(round), Flows: flows}))(t)
	}
	kept := count()
	if kept == 0 || kept >= 15_000 {
		t.Fatalf("%d flows of 15,000 in 1 MiB", kept)
	}
	w.close()
	w.open()
	again := w.client(api.Config{User: api.ID(cluster.Href), Secret: cluster.Token}).Agent(api.ID(cluster.Href))
	must(again.ReportFlows(t.Context(), api.FlowUpload{Batch: "next", Flows: flows[:1]}))(t)
	if n := count(); n > kept+1 || n < kept-2000 {
		t.Fatalf("%d flows after a restart, %d before", n, kept)
	}
}

func TestQueriesOfUsers(t *testing.T) {
	w := newWorld(t)
	w.ok(w.console.EnsureUser(t.Context(), "ada", "correct horse"))
	ada := w.signIn("ada", "correct horse")
	q, _ := w.ask(map[string]any{"query_name": "mine"})
	var list []seenQuery
	w.answered(200, "GET", "/orgs/1/traffic_flows/async_queries", nil, &list)
	if len(list) != 1 || list[0].Href != q.Href {
		t.Fatalf("%+v", list)
	}
	w.answeredTo(ada.sign, 200, "GET", "/orgs/1/traffic_flows/async_queries", nil, &list)
	w.answeredTo(ada.sign, 404, "GET", q.Href+"/download", nil, nil)
	w.answered(406, "PUT", q.Href, map[string]any{"status": "done"}, nil)
	w.answered(204, "PUT", q.Href, map[string]any{"status": "cancel_requested"}, nil)
	w.answered(204, "DELETE", q.Href, nil, nil)
	w.answered(404, "GET", q.Href, nil, nil)
	for body, want := range map[string]string{
		`{"sources":{"include":[[{"planet":1}]]}}`: `include: {\"planet\":1} is not a condition`, `{"max_results":-1}`: "max_results: -1",
		`{"max_results":"many"}`: "max_results: holds a JSON string", `[`: "the body: ",
		`{"sources":{"include":[[{"label_group":{"href":"/orgs/1/sec_policy/active/label_groups/none"}}]]}}`: "sources.include.label_group",
	} {
		req, err := http.NewRequestWithContext(t.Context(), "POST", w.server.URL+"/api/v2/orgs/1/traffic_flows/async_queries", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth(testKey, testSecret)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		var answer bytes.Buffer
		_, err = answer.ReadFrom(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != 406 || !strings.Contains(answer.String(), want) {
			t.Errorf("%s: %d %s, want %s", body, resp.StatusCode, answer.String(), want)
		}
	}
	for range 70 { // the oldest go
		w.answered(202, "POST", "/orgs/1/traffic_flows/async_queries", map[string]any{}, nil)
	}
	w.answered(200, "GET", "/orgs/1/traffic_flows/async_queries", nil, &list)
	if len(list) != 64 {
		t.Fatalf("%d queries are kept", len(list))
	}
}

func TestPeopleUploadFlows(t *testing.T) {
	w := newWorld(t)
	req, err := http.NewRequestWithContext(t.Context(), "POST", w.server.URL+"/api/v2/orgs/1/agents/bulk_traffic_flows",
		strings.NewReader("10.0.0.1,10.0.0.2,443,6\n\n10.0.0.1, 10.0.0.3, 53, 17\r\nnonsense\n10.0.0.1,10.0.0.2,x,6\n"))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(testKey, testSecret)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	var answer bytes.Buffer
	_, err = answer.ReadFrom(resp.Body)
	_ = resp.Body.Close()
	want := `{"failed_flows":["nonsense","10.0.0.1,10.0.0.2,x,6"],"num_flows_failed":2,"num_flows_received":4}`
	if err != nil || resp.StatusCode != 201 || answer.String() != want {
		t.Fatalf("%d %s", resp.StatusCode, answer.String())
	}
	var rows []seenRow
	w.answered(200, "POST", "/orgs/1/traffic_flows/traffic_analysis_queries", map[string]any{"policy_decisions": []string{"unknown"}}, &rows)
	if len(rows) != 2 || rows[0].Network.Name != "Corporate" {
		t.Fatalf("%+v", rows)
	}
}

// Machines are found by their addresses, unless several have the same; label groups stand for the labels in them.
func TestTrafficOfMachines(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	_, _, agent := w.onboard("lab")
	vm, db := w.label("role", "vm"), w.label("role", "db")
	for name, address := range map[string]string{"one": "192.168.0.1", "two": "192.168.0.2", "twin": "192.168.0.2"} {
		w.answered(201, "POST", "/orgs/1/workloads", map[string]any{"name": name, "labels": []api.Ref{{Href: vm.Href}},
			"interfaces": []api.Interface{{Name: "eth0", Address: address}, {Name: "eth1", Address: "10.8.0." + strings.TrimPrefix(address, "192.168.0.")}}}, nil)
	}
	var inner, outer api.LabelGroup
	w.answered(201, "POST", "/orgs/1/sec_policy/draft/label_groups", api.LabelGroup{Name: "inner", Key: "role", Labels: []api.Ref{{Href: vm.Href}}}, &inner)
	w.answered(201, "POST", "/orgs/1/sec_policy/draft/label_groups", api.LabelGroup{Name: "outer", Key: "role", Labels: []api.Ref{{Href: db.Href}}, SubGroups: []api.Ref{{Href: inner.Href}}}, &outer)
	must(w.user.Provision(ctx, api.Provisioning{}))(t)
	if last := must(agent.LastFlows(ctx))(t); last != "" {
		t.Fatalf("before any flows the last batch is %q", last)
	}
	flows := []api.FlowSummary{seenFlow("192.168.0.1", "10.0.0.1", 1), seenFlow("192.168.0.2", "10.0.0.1", 2), seenFlow("10.0.0.1", "10.8.0.1", 3)}
	must(agent.ReportFlows(ctx, api.FlowUpload{Batch: "b1", Flows: flows}))(t)
	if last := must(agent.LastFlows(ctx))(t); last != "b1" {
		t.Fatalf("the last batch is %q", last)
	}
	group := api.TrafficEnd{LabelGroup: &api.Ref{Href: outer.Href}}
	found := must(w.user.Traffic(ctx, api.TrafficQuery{Sources: api.TrafficEnds{Include: [][]api.TrafficEnd{{group}}}}))(t)
	if len(found) != 1 || found[0].Src.Workload.Name != "one" || found[0].Src.Workload.Managed || found[0].Src.Workload.Labels[0].Value != "vm" {
		t.Fatalf("%+v", found)
	}
	if all := must(w.user.Traffic(ctx, api.TrafficQuery{}))(t); len(all) != 3 {
		t.Fatalf("%d of three flows", len(all))
	}
	if happened := must(w.user.Events(ctx, url.Values{"event_type": {"label_group.create"}}))(t); len(happened) != 2 || happened[0].CreatedBy["user"] == nil {
		t.Fatalf("%+v", happened)
	}
	_, rows := w.ask(map[string]any{"destinations": map[string]any{"include": [][]any{{map[string]any{"label": api.Ref{Href: vm.Href}}}}}})
	if len(rows) != 1 || rows[0].Service.Port != 3 {
		t.Fatalf("%+v", rows)
	}
}
