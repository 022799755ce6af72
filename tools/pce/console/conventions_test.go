package console_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	api "github.com/ringfence/ringfence/libs/pce"
)

// collections are the paths of everything that the common pattern serves, with a body that is taken.
func (w *world) collections() map[string]map[string]any {
	w.t.Helper()
	ams := []api.Actor{{Actors: "ams"}}
	set := must(w.user.CreateRuleSet(w.t.Context(), api.RuleSet{Name: "home of rules", Scopes: everywhere()}))(w.t)
	rule := func() map[string]any {
		return map[string]any{"consumers": ams, "providers": ams, "ingress_services": onPort(1)}
	}
	return map[string]map[string]any{
		"/labels":                                               {"key": "app"},
		"/label_dimensions":                                     {"display_name": "Some"},
		"/pairing_profiles":                                     {"enabled": true},
		"/workloads":                                            {},
		"/sec_policy/draft/ip_lists":                            {},
		"/sec_policy/draft/services":                            {"service_ports": ports(1)},
		"/sec_policy/draft/rule_sets":                           {"scopes": everywhere()},
		"/sec_policy/draft/label_groups":                        {"key": "app"},
		"/sec_policy/draft/virtual_services":                    {"service_ports": ports(1)},
		"/sec_policy/draft/enforcement_boundaries":              rule(),
		strings.TrimPrefix(set.Href, "/orgs/1") + "/sec_rules":  rule(),
		strings.TrimPrefix(set.Href, "/orgs/1") + "/deny_rules": rule(),
	}
}

// fill makes a body a new object's, distinct by n.
func fill(path string, body map[string]any, n int) map[string]any {
	filled := map[string]any{}
	for k, v := range body {
		filled[k] = v
	}
	switch path {
	case "/labels":
		filled["value"] = fmt.Sprint("value ", n)
	case "/label_dimensions":
		filled["key"] = fmt.Sprint("key", n)
	default:
		if !strings.Contains(path, "_rules") {
			filled["name"] = fmt.Sprint("name ", n)
		}
	}
	return filled
}

// Every collection keeps the conventions that clients lean on.
func TestEveryCollectionIsAlike(t *testing.T) {
	w := newWorld(t)
	for path, body := range w.collections() {
		t.Run(path, func(t *testing.T) {
			w := &world{t: t, server: w.server}
			first := fill(path, body, 1)
			first["external_data_set"], first["external_data_reference"], first["unheard_of"] = "set", "one", []int{1}
			made := w.do("POST", path, first)
			w.want(http.StatusCreated, made, `"unheard_of":[1]`)
			object := made.decoded(t)
			href, _ := object["href"].(string)
			at := strings.TrimPrefix(href, "/orgs/1")
			if made.header.Get("Location") != href || !strings.HasPrefix(href, "/orgs/1"+path+"/") {
				t.Fatalf("Location %s, href %s", made.header.Get("Location"), href)
			}
			for _, field := range []string{"created_at", "created_by", "updated_at", "updated_by", "caps"} {
				if object[field] == nil {
					t.Errorf("no %s", field)
				}
			}
			second := fill(path, body, 2)
			second["external_data_set"], second["external_data_reference"] = "set", "one"
			w.want(http.StatusNotAcceptable, w.do("POST", path, second), href+" has them already")
			w.want(http.StatusNotAcceptable, w.do("POST", path, second), "external_reference_not_unique")
			second["external_data_reference"] = nil
			other := w.do("POST", path, second)
			w.want(http.StatusCreated, other, "")
			w.want(http.StatusNotAcceptable, w.do("PUT", strings.TrimPrefix(other.header.Get("Location"), "/orgs/1"), map[string]any{"external_data_reference": "one"}), "external_reference_not_unique")

			w.want(http.StatusNotAcceptable, w.do("PUT", at, map[string]any{"external_data_set": 7}), "external_data_set")
			w.want(http.StatusNoContent, w.do("PUT", at, object), "") // as it was read
			w.want(http.StatusNoContent, w.do("PUT", at, map[string]any{"external_data_set": nil, "external_data_reference": nil}), "")
			w.want(http.StatusOK, w.do("GET", at, nil), `"external_data_set":null`)
			w.want(http.StatusCreated, w.do("POST", path, func() map[string]any {
				third := fill(path, body, 3)
				third["external_data_set"], third["external_data_reference"] = "set", "one"
				return third
			}()), "")
			none := w.do("GET", path+"?max_results=0&representation=full", nil)
			if string(none.body) != "[]" || none.header.Get("X-Total-Count") == "0" {
				t.Fatalf("max_results=0: %s of %s", none.body, none.header.Get("X-Total-Count"))
			}
			if found := w.do("GET", path+"?external_data_set=set&external_data_reference=one", nil).list(t); len(found) != 1 {
				t.Fatalf("found by external data: %v", found)
			}
			w.want(http.StatusNotAcceptable, w.do("POST", path, []int{1}), "want a JSON object")
			w.want(http.StatusNotFound, w.do("GET", path+"/99999", nil), "not_found")
			wrong := w.do("PATCH", at, nil)
			w.want(http.StatusMethodNotAllowed, wrong, "method_not_allowed")
			if wrong.header.Get("Allow") != "GET, PUT, DELETE" {
				t.Errorf("Allow: %s", wrong.header.Get("Allow"))
			}
			w.want(http.StatusNoContent, w.do("DELETE", at, nil), "")
			w.want(http.StatusNotFound, w.do("DELETE", at, nil), "not_found")
		})
	}
}

// A list that is asked to be longer than the cap is.
func TestLimits(t *testing.T) {
	w := newWorld(t)
	many := make([]api.Workload, 600)
	for i := range many {
		many[i].Name = fmt.Sprint("w", i)
	}
	must(w.user.BulkWorkloads(t.Context(), "create", many))(t)
	for query, want := range map[string]int{"": 500, "?max_results=600": 600, "?max_results=999999": 600, "?max_results=7": 7} {
		answer := w.do("GET", "/workloads"+query, nil)
		if got := len(answer.list(t)); got != want || answer.header.Get("X-Total-Count") != "600" {
			t.Errorf("%s: %d of %s, want %d", query, got, answer.header.Get("X-Total-Count"), want)
		}
	}
	w.want(http.StatusNotAcceptable, w.do("GET", "/workloads?max_results=many", nil), "max_results")
}

func TestJobs(t *testing.T) {
	w := newWorld(t)
	w.label("app", "web")
	started := w.do("GET", "/labels", nil, "Prefer", "respond-async")
	at := strings.TrimPrefix(started.header.Get("Location"), "/orgs/1")
	if started.status != http.StatusAccepted || !strings.HasPrefix(at, "/jobs/") || started.header.Get("Retry-After") == "" {
		t.Fatalf("%d, at %s", started.status, at)
	}
	jobs := w.do("GET", "/jobs", nil).list(t)
	if len(jobs) != 1 || jobs[0]["href"] != "/orgs/1"+at || jobs[0]["requested_at"] == nil || jobs[0]["terminated_at"] == nil {
		t.Fatalf("jobs: %v", jobs)
	}
	w.want(http.StatusNoContent, w.do("DELETE", at, nil), "")
	w.want(http.StatusNotFound, w.do("GET", at, nil), "not_found")
	w.want(http.StatusNotFound, w.do("GET", strings.Replace(at, "jobs", "datafiles", 1), nil), "not_found")
}

// A label dimension is an object like others, unless it is built in, and labels may be of it.
func TestLabelDimensions(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	dims := must(w.user.LabelDimensions(ctx))(t)
	var keys []string
	for _, d := range dims {
		keys = append(keys, d.Key)
	}
	if got := strings.Join(keys, " "); got != "role app env loc" {
		t.Fatalf("built in: %s", got)
	}
	w.refused(w.user.Delete(ctx, dims[0].Href), api.Refused, "label_dimension_is_built_in")
	w.ok(w.user.Update(ctx, dims[0].Href, map[string]any{"display_name": "Part"}))
	for text, bad := range map[string]api.LabelDimension{
		`key: "a b" is not`:                  {Key: "a b", DisplayName: "x"},
		"display_name: must not be empty":    {Key: "team"},
		dims[1].Href + " has it already (ke": {Key: "app", DisplayName: "x"},
	} {
		_, err := w.user.CreateLabelDimension(ctx, bad)
		w.refused(err, api.Refused, text)
	}
	team := must(w.user.CreateLabelDimension(ctx, api.LabelDimension{Key: "team", DisplayName: "Team"}))(t)
	w.refused(w.user.Update(ctx, team.Href, map[string]any{"key": "crew"}), api.Refused, "key: cannot be changed")
	red := w.label("team", "red")
	w.refused(w.user.Delete(ctx, team.Href), api.Refused, `there are labels of key "team" (label_dimension_in_use)`)
	w.want(http.StatusOK, w.do("GET", "/label_dimensions?key=team&usage=true", nil), `"usage":{"label_groups":false,"labels":true}`)
	cluster, token, agent := w.onboard("lab")
	w.ok(w.user.Update(ctx, must(w.user.Profiles(ctx, cluster.Href))(t)[0].Href, map[string]any{"managed": true, "enforcement_mode": "full"}))
	must(agent.CreateWorkloads(ctx, []api.KubernetesWorkload{{Name: "a", Kind: "Deployment", Namespace: "x", Metadata: annotated("team", "red")}}))(t)
	if got := must(token.KubernetesWorkloads(ctx))(t); len(got[0].Labels) != 1 || got[0].Labels[0].Href != red.Href {
		t.Fatalf("labels by annotation: %+v", got)
	}
	w.close()
	w.open()
	if dims := must(w.user.LabelDimensions(ctx))(t); len(dims) != 5 || dims[0].DisplayName != "Part" {
		t.Fatalf("after a restart: %+v", dims)
	}
	w.ok(w.user.Delete(ctx, red.Href))
	w.ok(w.user.Delete(ctx, team.Href))
}

func TestLabelUsage(t *testing.T) {
	w := newWorld(t)
	web := w.label("app", "web")
	must(w.user.CreateWorkload(t.Context(), api.Workload{Name: "x", Labels: refs(web.Href)}))(t)
	w.want(http.StatusOK, w.do("GET", "/labels?usage=true", nil), `"workload":true`)
	w.want(http.StatusOK, w.do("GET", "/labels?usage=true", nil), `"label_group":false`)
}

// What acts at once ends the polls of all clusters.
func TestMachinesWakeClusters(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	_, _, agent := w.onboard("lab")
	vs := must(w.user.CreateVirtualService(ctx, api.VirtualService{Name: "shop", ServicePorts: ports(80)}))(t)
	must(w.user.Provision(ctx, api.Provisioning{}))(t)
	var machine api.Workload
	var binding api.ServiceBinding
	for _, step := range []struct {
		what   string
		change func()
	}{
		{"label dimension", func() {
			must(w.user.CreateLabelDimension(ctx, api.LabelDimension{Key: "team", DisplayName: "Team"}))(t)
		}},
		{"workload", func() { machine = must(w.user.CreateWorkload(ctx, api.Workload{Name: "one"}))(t) }},
		{"change of a workload", func() {
			w.ok(w.user.Update(ctx, machine.Href, map[string]any{"labels": refs(w.label("app", "a").Href)}))
		}},
		{"service binding", func() {
			binding = must(w.user.CreateServiceBinding(ctx, api.ServiceBinding{VirtualService: &api.Ref{Href: active(vs.Href)}, Workload: &api.Ref{Href: machine.Href}}))(t)
		}},
		{"removal of a binding", func() { w.ok(w.user.Delete(ctx, binding.Href)) }},
		{"removal of a workload", func() { w.ok(w.user.Delete(ctx, machine.Href)) }},
	} {
		before := must(agent.WaitForChanges(ctx, "", 0))(t)
		step.change()
		if now := must(agent.WaitForChanges(ctx, before.Cursor, time.Second))(t); now.Cursor == before.Cursor {
			t.Errorf("%s: the cursor stayed", step.what)
		}
	}
}

// Profiles of a cluster are changed together, all or none.
func TestProfilesTogether(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	cluster, _, agent := w.onboard("lab")
	w.ok(agent.ReportNamespaces(ctx, []string{"a", "b"}))
	at := strings.TrimPrefix(cluster.Href, "/orgs/1") + "/container_workload_profiles"
	var hrefs []string
	for _, p := range must(w.user.Profiles(ctx, cluster.Href))(t) {
		hrefs = append(hrefs, p.Href)
	}
	w.want(http.StatusNotAcceptable, w.do("PUT", at+"/update", map[string]any{"container_workload_profiles": refs(hrefs...), "enforcement_mode": "none"}), "enforcement_mode")
	w.want(http.StatusNoContent, w.do("PUT", at+"/update", map[string]any{"container_workload_profiles": refs(hrefs...), "managed": true, "enforcement_mode": "full"}), "")
	for query, want := range map[string]int{"": 3, "?enforcement_mode=full": 3, "?managed=false": 0, "?linked=true": 2, "?namespace=a": 1} {
		if list := w.do("GET", at+query, nil).list(t); len(list) != want {
			t.Errorf("%s: %v", query, list)
		}
	}
	if list := w.do("GET", strings.TrimPrefix(cluster.Href, "/orgs/1")+"/service_backends", nil).list(t); len(list) != 0 {
		t.Errorf("backends: %v", list)
	}
}

// Public clients make profiles by name alone, with their labels in the older form.
func TestProfilesInTheOlderForm(t *testing.T) {
	w := newWorld(t)
	cluster, _, _ := w.onboard("lab")
	web, dev := w.label("app", "web"), w.label("env", "dev")
	at := strings.TrimPrefix(cluster.Href, "/orgs/1") + "/container_workload_profiles"
	made := w.do("POST", at, map[string]any{"name": "shop", "managed": true, "enforcement_mode": "full", "assign_labels": refs(web.Href)})
	w.want(http.StatusCreated, made, `"namespace":"shop"`)
	w.want(http.StatusCreated, made, `"labels":[{"key":"app","assignment":{"href":"`+web.Href+`"}}]`)
	w.want(http.StatusCreated, made, `"assign_labels":[{"href":"`+web.Href+`"}]`)
	one := strings.TrimPrefix(made.header.Get("Location"), "/orgs/1")
	w.want(http.StatusNoContent, w.do("PUT", one, map[string]any{"labels": []api.ProfileLabel{
		{Key: "app", Assignment: &api.LabelRef{Href: web.Href}}, {Key: "env", Restriction: &[]api.LabelRef{{Href: dev.Href}}}}}), "")
	w.want(http.StatusNoContent, w.do("PUT", one, w.do("GET", one, nil).decoded(t)), "") // as it was read
	w.want(http.StatusOK, w.do("GET", one, nil), `"restriction":[{"href":"`+dev.Href+`"}]`)
	w.want(http.StatusNoContent, w.do("PUT", one, map[string]any{"assign_labels": []api.Ref{}}), "")
	got := w.do("GET", one, nil)
	w.want(http.StatusOK, got, `"assign_labels":[]`)
	w.want(http.StatusOK, got, `"restriction":[{"href":"`+dev.Href+`"}]`)
	w.want(http.StatusNotAcceptable, w.do("PUT", one, map[string]any{"assign_labels": refs("/orgs/1/labels/99")}), "assign_labels: /orgs/1/labels/99 does not exist")
	w.want(http.StatusNotAcceptable, w.do("POST", at, map[string]any{"managed": true}), "namespace_must_be_unique")
}

// A port is found in ranges, and a rule set without scopes is one that covers nothing.
func TestWhatPublicClientsSend(t *testing.T) {
	w := newWorld(t)
	six, low, high := 6, 1, 1023
	must(w.user.CreateService(t.Context(), api.Service{Name: "well known", ServicePorts: []api.ServicePort{{Proto: &six, Port: &low, ToPort: &high}}}))(t)
	for port, want := range map[string]int{"443": 1, "1023": 1, "1024": 0} {
		if list := w.do("GET", "/sec_policy/draft/services?port="+port, nil).list(t); len(list) != want {
			t.Errorf("port %s: %v", port, list)
		}
	}
	w.want(http.StatusNotAcceptable, w.do("GET", "/sec_policy/draft/services?port=x", nil), "port")
	w.want(http.StatusCreated, w.do("POST", "/sec_policy/draft/rule_sets", map[string]any{"name": "none", "scopes": []any{}}), `"scopes":[]`)
}
