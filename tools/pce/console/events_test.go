package console_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	api "github.com/ringfence/ringfence/libs/pce"
)

type seenEvent struct {
	Href, Status, Severity string
	Type                   string         `json:"event_type"`
	At                     time.Time      `json:"timestamp"`
	CreatedBy              map[string]any `json:"created_by"`
	FQDN                   string         `json:"pce_fqdn"`
	Action                 *struct {
		Method   string `json:"api_method"`
		Endpoint string `json:"api_endpoint"`
		Address  string `json:"src_ip"`
		Key      string `json:"api_key"`
		Status   int    `json:"http_status_code"`
	}
	Changes []struct {
		Resource map[string]map[string]any
		Type     string `json:"change_type"`
		Changes  map[string]struct{ Before, After any }
	} `json:"resource_changes"`
	Notifications []struct {
		Type string `json:"notification_type"`
		Info struct{ Message, Node string }
	}
}

func (w *world) events(query string) (found []seenEvent) {
	w.t.Helper()
	w.answered(200, "GET", "/orgs/1/events"+query, nil, &found)
	return found
}

// An edit is an event: who did what, from where, and what was before.
func TestEventsOfEdits(t *testing.T) {
	w := newWorld(t)
	l := w.label("app", "web")
	w.ok(w.user.Update(t.Context(), l.Href, map[string]string{"value": "www"}))
	w.ok(w.user.Delete(t.Context(), l.Href))
	var kinds []string
	for _, e := range w.events("") {
		kinds = append(kinds, e.Type)
	}
	if diff := cmp.Diff([]string{"label.delete", "label.update", "label.create", "api_key.create", "org.create", "user.create"}, kinds); diff != "" {
		t.Fatal(diff)
	}
	e := w.events("?event_type=label.update")[0]
	if e.Action == nil || e.Action.Method != "PUT" || e.Action.Endpoint != "/api/v2"+l.Href || e.Action.Address != "127.0.0.1" || e.Action.Key != testKey {
		t.Fatalf("action %+v", e.Action)
	}
	if c := e.Changes[0]; c.Type != "update" || c.Resource["label"]["href"] != l.Href || c.Changes["value"].Before != "web" || c.Changes["value"].After != "www" || len(c.Changes) != 1 {
		t.Fatalf("changes %+v", e.Changes)
	}
	if user, _ := e.CreatedBy["user"].(map[string]any); user["href"] != "/users/0" || user["username"] != "owner" || e.FQDN != "127.0.0.1" {
		t.Fatalf("by %v on %s", e.CreatedBy, e.FQDN)
	}
	var one seenEvent
	w.answered(200, "GET", e.Href, nil, &one)
	if diff := cmp.Diff(e, one); diff != "" {
		t.Fatal(diff)
	}
	w.answered(404, "GET", "/orgs/1/events/none", nil, nil)
	all := w.events("")
	w.close()
	w.open()
	if diff := cmp.Diff(all, w.events("")); diff != "" {
		t.Fatalf("after a restart: %s", diff)
	}
}

func TestEventFilters(t *testing.T) {
	w := newWorld(t)
	w.label("app", "a")
	time.Sleep(5 * time.Millisecond) // times are kept in milliseconds
	between := url.QueryEscape(time.Now().Format(time.RFC3339Nano))
	time.Sleep(5 * time.Millisecond)
	w.label("app", "b")
	w.answeredTo(basic(testKey, "wrong"), 401, "GET", "/orgs/1/labels", nil, nil)
	for query, want := range map[string]int{
		"?event_type=label.create": 2, "?event_type=label.create&timestamp[gte]=" + between: 1, "?event_type=label.create&timestamp[lte]=" + between: 1,
		"?severity=warning": 1, "?status=failure": 1, "?status=failure&severity=info": 0, "?max_results=1": 1, "?max_results=0": 0,
	} {
		if got := w.events(query); len(got) != want {
			t.Errorf("%s: %d events, want %d", query, len(got), want)
		}
	}
	w.answered(406, "GET", "/orgs/1/events?timestamp[gte]=yesterday", nil, nil)
}

// Refusals are written down, once a minute each, and never the secret.
func TestRefusalsAreEvents(t *testing.T) {
	w := newWorld(t)
	cluster, _, _ := w.onboard("lab")
	for range 5 {
		w.answeredTo(basic(testKey, "guessed-secret"), 401, "GET", "/orgs/1/labels", nil, nil)
		w.answeredTo(basic("ada", "guessed-secret"), 401, "POST", "/login_users/authenticate", nil, nil)
		w.answeredTo(basic(api.ID(cluster.Href), cluster.Token), 403, "GET", "/users", nil, nil)
	}
	w.answeredTo(nobody, 401, "GET", "/orgs/1/labels", nil, nil)
	if n := len(w.events("?event_type=request.authentication_failed")); n < 2 || n > 4 { // a minute may end in between
		t.Fatalf("%d refused credentials", n)
	}
	forbidden := w.events("?event_type=request.authorization_failed")
	if len(forbidden) < 1 || forbidden[0].CreatedBy["container_cluster"].(map[string]any)["name"] != "lab" || forbidden[0].Action.Status != 403 ||
		forbidden[0].Notifications[0].Info.Message != "not allowed: GET /api/v2/users" {
		t.Fatalf("forbidden: %+v", forbidden)
	}
	w.close()
	w.open()
	body := string(get(t, w.server.URL+"/api/v2/orgs/1/events"))
	if strings.Contains(body, "guessed-secret") || !strings.Contains(body, "the credentials of api_test are not accepted") {
		t.Fatalf("after a restart: %s", body)
	}
}

func TestAgentEvents(t *testing.T) {
	w := newWorld(t)
	_, _, agent := w.onboard("lab")
	_, _, other := w.onboard("other")
	at := time.Now().Add(-time.Hour).UTC().Truncate(time.Second)
	tampered := api.AgentEvent{ID: "e1", Type: "agent.tampering", Severity: "warning", Status: "success", Timestamp: at.Format(time.RFC3339), Node: "n1", Message: "a table was gone"}
	early := tampered
	early.ID, early.Timestamp = "e2", time.Now().Add(time.Hour).Format(time.RFC3339)
	wrong := []api.AgentEvent{{}, tampered, tampered, tampered, tampered}
	wrong[1].Type, wrong[2].Severity, wrong[3].Status, wrong[4].Timestamp = "Tampering!", "loud", "maybe", "today"
	results := must(agent.ReportEvents(t.Context(), append([]api.AgentEvent{tampered, early, tampered}, wrong...)))(t)
	for i, r := range results {
		if (r.Err() != nil) != (i > 2) {
			t.Errorf("item %d: %+v", i, r)
		}
	}
	again := must(agent.ReportEvents(t.Context(), []api.AgentEvent{tampered}))(t)
	if again[0].Href != results[0].Href || results[2].Href != results[0].Href {
		t.Fatalf("said again: %+v", again)
	}
	_, err := agent.ReportEvents(t.Context(), make([]api.AgentEvent, 1001))
	w.refused(err, api.Refused, "1001 items, want at most 1000")
	must(other.ReportEvents(t.Context(), []api.AgentEvent{tampered}))(t)
	w.close()
	w.open()
	seen := w.events("?event_type=agent.tampering")
	if len(seen) != 3 || !seen[2].At.Equal(at) || seen[0].At.After(time.Now()) {
		t.Fatalf("%d events: %+v", len(seen), seen)
	}
	var one seenEvent
	w.answered(200, "GET", results[0].Href, nil, &one)
	by, _ := one.CreatedBy["agent"].(map[string]any)
	if by["hostname"] != "n1" || by["container_cluster"].(map[string]any)["name"] != "lab" || one.Severity != "warning" || one.Notifications[0].Info.Message != "a table was gone" {
		t.Fatalf("the event: %+v", one)
	}
}

// Many events push out the oldest, of a bulk edit only some objects are named, and long values are not repeated.
func TestEventsAreBounded(t *testing.T) {
	w := newWorld(t)
	_, _, agent := w.onboard("lab")
	items := make([]api.KubernetesWorkload, 100)
	for i := range items {
		items[i] = api.KubernetesWorkload{Name: fmt.Sprint(i), Kind: "Deployment", Namespace: "x", Metadata: annotated("app", strings.Repeat("x", 5000))}
	}
	must(agent.CreateWorkloads(t.Context(), items))(t)
	bulk := w.events("?event_type=container_cluster.kubernetes_workloads_bulk_create")[0]
	if len(bulk.Changes) != 20 || bulk.Changes[0].Changes["metadata"].After != "…" {
		t.Fatalf("%d changes: %+v", len(bulk.Changes), bulk.Changes[0])
	}
	batch := make([]api.AgentEvent, 1000)
	for round := range 4 {
		for i := range batch {
			batch[i] = api.AgentEvent{ID: fmt.Sprint(round, "-", i), Type: "agent.x", Severity: "info", Status: "success", Timestamp: time.Now().Format(time.RFC3339), Message: "m"}
		}
		must(agent.ReportEvents(t.Context(), batch))(t)
	}
	resp, _ := w.call("GET", "/orgs/1/events?event_type=agent.x&max_results=0", nil, basic(testKey, testSecret))
	if total := resp.Header.Get("X-Total-Count"); total != "2000" {
		t.Fatalf("%s of 4000 events are kept", total)
	}
}
