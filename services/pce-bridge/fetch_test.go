package pcebridge

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/libs/pce"
)

// answers are what a console answers with, by path below the organisation; a number is a status. It serves nothing else.
type answers map[string]string

func (a answers) fetcher(t *testing.T, pairing string) *fetcher {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch body := a[strings.TrimPrefix(r.URL.Path, "/api/v2/orgs/1/")]; body {
		case "":
			w.WriteHeader(http.StatusNotFound)
		case "403":
			w.WriteHeader(http.StatusForbidden)
		default:
			_, _ = io.WriteString(w, body)
		}
	}))
	t.Cleanup(server.Close)
	client, err := pce.New(pce.Config{URL: server.URL, OrgID: 1, User: "c", Secret: "1_a", Cluster: "c"})
	if err != nil {
		t.Fatal(err)
	}
	return &fetcher{client: client, cluster: "/orgs/1/container_clusters/c", pairing: pairing}
}

// oldest is a console of the first release: it serves nothing that came later.
func oldest() answers {
	return answers{
		"sec_policy/active": `{"version":3}`, "sec_policy/active/ip_lists": `[]`, "sec_policy/active/services": `[]`,
		"sec_policy/active/rule_sets": `[{"href":"/orgs/1/sec_policy/active/rule_sets/1","scopes":[[]]}]`, "labels": `[{"href":"/orgs/1/labels/1","key":"app","value":"x"}]`,
		"container_clusters/c/container_workload_profiles": `[]`, "pairing_profiles": "403",
	}
}

func TestCollectionsThatTheConsoleDoesNotServe(t *testing.T) {
	p, err := oldest().fetcher(t, "").fetch(t.Context())
	if err != nil || len(p.objects) != 1 || len(p.labels) != 1 || len(p.dimensions)+len(p.workloads) != 0 || p.pairing != nil {
		t.Fatalf("%+v, %v", p, err)
	}
	if len(p.notes) != 1 || !strings.Contains(p.notes[0], "does not let this cluster read pairing profiles") {
		t.Errorf("notes %q", p.notes)
	}
	for path := range oldest() { // what every console serves is needed
		a := oldest()
		delete(a, path)
		if _, err := a.fetcher(t, "").fetch(t.Context()); (err == nil) != (path == "pairing_profiles") {
			t.Errorf("without %s: %v", path, err)
		}
	}
	a := oldest()
	a["sec_policy/active/enforcement_boundaries"] = "403"
	if _, err := a.fetcher(t, "").fetch(t.Context()); pce.KindOf(err) != pce.Unauthorized {
		t.Errorf("boundaries that may not be read were taken for none: %v", err)
	}
}

func TestEveryCollectionIsRead(t *testing.T) {
	a := oldest()
	a["sec_policy/active/label_groups"] = `[{"href":"/orgs/1/sec_policy/active/label_groups/g","key":"env"}]`
	a["sec_policy/active/enforcement_boundaries"] = `[{"href":"/orgs/1/sec_policy/active/enforcement_boundaries/2"}]`
	a["sec_policy/active/virtual_services"] = `[{"href":"/orgs/1/sec_policy/active/virtual_services/v","external_data_set":"c|shop","external_data_reference":"uid"}]`
	a["service_bindings"] = `[{"href":"/b","virtual_service":{"href":"/orgs/1/sec_policy/active/virtual_services/v"},"workload":{"href":"/orgs/1/workloads/w"}}]`
	a["label_dimensions"] = `[{"href":"/orgs/1/label_dimensions/role","key":"role"}]`
	a["workloads"] = `[{"href":"/orgs/1/workloads/w","hostname":"db"},{"href":"/orgs/1/workloads/x","deleted":true}]`
	a["kubernetes_workloads"] = `[{"href":"/orgs/1/kubernetes_workloads/1","namespace":"shop","kind":"Deployment","name":"web"},
		{"href":"/orgs/1/kubernetes_workloads/2","namespace":"shop","kind":"Deployment","name":"other","container_cluster":{"href":"/orgs/1/container_clusters/another"}},
		{"href":"/orgs/1/kubernetes_workloads/3","namespace":"shop","kind":"","name":"odd"}]`
	f := a.fetcher(t, "")
	p, err := f.fetch(t.Context())
	if err == nil {
		err = f.readAcknowledged(t.Context(), p)
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(p.objects) != 4 || len(p.dimensions) != 1 || len(p.workloads) != 1 || len(p.acknowledged) != 1 || p.acknowledged[0].GetName() != "web" {
		t.Errorf("%d objects, %d dimensions, %d workloads, acknowledged %v", len(p.objects), len(p.dimensions), len(p.workloads), p.acknowledged)
	}
	virtual := func(p *picture) []string {
		v := p.objects["/orgs/1/sec_policy/active/virtual_services/v"].fact.GetVirtualService()
		return append([]string{v.GetServiceUid()}, v.GetWorkloads()...)
	}
	if diff := cmp.Diff([]string{"uid", "/orgs/1/workloads/w"}, virtual(p)); diff != "" {
		t.Error(diff)
	}
	// Bindings act at once: the version is the same, and the virtual service is another.
	before := p.policy
	if p, err = f.fetch(t.Context()); err != nil || p.policy != before {
		t.Errorf("a version was read again for nothing: %v", err)
	}
	a["service_bindings"] = `[]`
	if p, err = f.fetch(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"uid"}, virtual(p)); diff != "" {
		t.Error(diff)
	}
}

// Which pairing profile is the nodes' must not be a guess.
func TestPairingProfileOfTheNodes(t *testing.T) {
	const nodes = `{"href":"/orgs/1/pairing_profiles/1","name":"nodes","enabled":true,"enforcement_mode":"full"}`
	const servers = `{"href":"/orgs/1/pairing_profiles/2","name":"servers","enabled":true,"enforcement_mode":"idle"}`
	const off = `{"href":"/orgs/1/pairing_profiles/3","name":"off","enabled":false,"enforcement_mode":"idle"}`
	for _, test := range []struct{ list, asked, want, note string }{
		{"", "", "", ""},
		{nodes, "", "nodes", ""},
		{nodes + "," + off, "", "nodes", ""},
		{nodes + "," + servers, "", "", "2 enabled pairing profiles"},
		{nodes + "," + servers, "servers", "servers", ""},
		{nodes + "," + servers, "/orgs/1/pairing_profiles/1", "nodes", ""},
		{nodes + "," + off, "off", "off", ""},
		{nodes, "absent", "", `0 pairing profiles "absent"`},
	} {
		a := oldest()
		a["pairing_profiles"] = "[" + test.list + "]"
		p, err := a.fetcher(t, test.asked).fetch(t.Context())
		if err != nil || p.pairing.GetName() != test.want {
			t.Errorf("%s of %s: %v, %v", test.asked, test.list, p.pairing, err)
		}
		if notes := strings.Join(p.notes, "\n"); (test.note == "") != (notes == "") || !strings.Contains(notes, test.note) {
			t.Errorf("%s of %s: notes %q", test.asked, test.list, notes)
		}
	}
}

// A collection that the console had is not taken for empty by an answer of 404, which may be a proxy's.
func TestACollectionDoesNotVanish(t *testing.T) {
	groups := "sec_policy/active/label_groups"
	a := oldest()
	a[groups] = `[]`
	f := a.fetcher(t, "")
	if _, err := f.fetch(t.Context()); err != nil {
		t.Fatal(err)
	}
	delete(a, groups)
	f.forget()
	if _, err := f.fetch(t.Context()); pce.KindOf(err) != pce.Missing || !strings.Contains(err.Error(), "the console had label_groups before, and what it had stays in force") {
		t.Errorf("served before: %v", err)
	}
	f = a.fetcher(t, "")
	f.holds = func(kind string) bool { return kind == "label_groups" }
	if _, err := f.fetch(t.Context()); pce.KindOf(err) != pce.Missing {
		t.Errorf("in the log: %v", err)
	}
	f.holds = func(string) bool { return false }
	if _, err := f.fetch(t.Context()); err != nil {
		t.Errorf("never served: %v", err)
	}
}
