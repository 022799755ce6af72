package console_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	api "github.com/ringfence/ringfence/libs/pce"
)

func TestWorkloads(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	web, db, dev := w.label("app", "web"), w.label("app", "db"), w.label("env", "dev")
	made := must(w.user.CreateWorkload(ctx, api.Workload{Name: "one", Hostname: "one.example.com", Labels: refs(web.Href, dev.Href),
		Interfaces: []api.Interface{{Name: "eth0", Address: "10.0.0.1"}}, External: api.External{ExternalDataSet: "cmdb", ExternalDataReference: "1"}}))(t)
	if len(api.ID(made.Href)) != 36 || *made.Managed || made.EnforcementMode != "visibility_only" || len(made.Labels) != 2 {
		t.Fatalf("made %+v", made)
	}
	for text, bad := range map[string]api.Workload{
		"name: want a name or a hostname":                   {},
		`interfaces.address: "here" is not an address`:      {Name: "x", Interfaces: []api.Interface{{Name: "e", Address: "here"}}},
		"interfaces.name: must not be empty":                {Name: "x", Interfaces: []api.Interface{{Address: "10.0.0.1"}}},
		"labels: /orgs/1/labels/99 does not exist":          {Name: "x", Labels: refs("/orgs/1/labels/99")},
		`are both of key "app"`:                             {Name: "x", Labels: refs(web.Href, db.Href)},
		`enforcement_mode: "total" is not one of`:           {Name: "x", EnforcementMode: "total"},
		made.Href + " has them already (external_reference": {Name: "x", External: made.External},
	} {
		_, err := w.user.CreateWorkload(ctx, bad)
		w.refused(err, api.Refused, text)
	}
	w.ok(w.user.Update(ctx, made.Href, map[string]any{"labels": refs(db.Href), "external_data_set": nil, "external_data_reference": nil, "description": "d", "managed": true}))
	all := must(w.user.Workloads(ctx))(t)
	if len(all) != 1 || len(all[0].Labels) != 1 || all[0].ExternalDataSet != "" || *all[0].Managed {
		t.Fatalf("updated: %+v", all)
	}
	w.refused(w.user.Delete(ctx, db.Href), api.Refused, db.Href+" is used by "+made.Href)
	set := must(w.user.CreateRuleSet(ctx, api.RuleSet{Name: "s", Scopes: everywhere()}))(t)
	rule := must(w.user.CreateRule(ctx, set.Href, api.Rule{Consumers: []api.Actor{{Workload: &api.Ref{Href: made.Href}}}, Providers: labelled(web), IngressServices: onPort(1)}))(t)
	w.refused(w.user.Delete(ctx, made.Href), api.Refused, made.Href+" is used by "+rule.Href+" (workload_in_use)")
	w.ok(w.user.Delete(ctx, rule.Href))
	w.ok(w.user.Delete(ctx, made.Href))
	w.refused(w.user.Delete(ctx, made.Href), api.Missing, made.Href)
}

func TestWorkloadFilters(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	web, db, dev := w.label("app", "web"), w.label("app", "db"), w.label("env", "dev")
	for _, m := range []api.Workload{
		{Name: "web-dev", Hostname: "a.example.com", Labels: refs(web.Href, dev.Href), Interfaces: []api.Interface{{Name: "e", Address: "10.0.0.1"}}},
		{Name: "web", Hostname: "b.example.com", Labels: refs(web.Href), EnforcementMode: "full"},
		{Name: "db", Labels: refs(db.Href), External: api.External{ExternalDataSet: "cmdb", ExternalDataReference: "1"}},
	} {
		must(w.user.CreateWorkload(ctx, m))(t)
	}
	sets := func(sets ...[]string) string {
		text, _ := json.Marshal(sets)
		return "labels=" + url.QueryEscape(string(text))
	}
	for query, want := range map[string][]string{
		"name=WEB":                         {"web-dev", "web"},
		"hostname=b.exam":                  {"web"},
		"ip_address=10.0.0":                {"web-dev"},
		"managed=true":                     nil,
		"managed=false":                    {"web-dev", "web", "db"},
		"online=true":                      {"web-dev", "web", "db"},
		"enforcement_mode=full":            {"web"},
		"external_data_set=cmdb":           {"db"},
		"external_data_reference=2":        nil,
		sets([]string{web.Href, dev.Href}): {"web-dev"},
		sets([]string{web.Href, dev.Href}, []string{db.Href}): {"web-dev", "db"},
		"representation=workload_labels":                      {"web-dev", "web", "db"},
	} {
		var got []api.Workload
		if err := json.Unmarshal(get(t, w.server.URL+"/api/v2/orgs/1/workloads?"+query), &got); err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, m := range got {
			names = append(names, m.Name)
		}
		if !slices.Equal(names, want) {
			t.Errorf("%s: %v, want %v", query, names, want)
		}
	}
	resp := w.do("GET", "/workloads?labels=nonsense", nil)
	if resp.status != 406 {
		t.Errorf("a filter that makes no sense: %d %s", resp.status, resp.body)
	}
}

func TestBulkWorkloads(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	pair := api.External{ExternalDataSet: "cmdb", ExternalDataReference: "1"}
	made := must(w.user.BulkWorkloads(ctx, "create", []api.Workload{{Name: "a", External: pair}, {}, {Name: "c", External: pair}, {Name: "d"}}))(t)
	if made[0].Status != "created" || made[1].Err() == nil || made[2].Token != "external_reference_not_unique" || made[3].Href == "" {
		t.Fatalf("created: %+v", made)
	}
	changed := must(w.user.BulkWorkloads(ctx, "update", []api.Workload{{Href: made[0].Href, Hostname: "h"}, {Href: "/orgs/1/workloads/none"}}))(t)
	if changed[0].Status != "updated" || changed[1].Token != "not_found" {
		t.Fatalf("updated: %+v", changed)
	}
	gone := must(w.user.BulkWorkloads(ctx, "delete", []api.Workload{{Href: made[0].Href}, {Href: made[0].Href}}))(t)
	if gone[0].Status != "deleted" || gone[1].Token != "not_found" {
		t.Fatalf("deleted: %+v", gone)
	}
	if left := must(w.user.Workloads(ctx))(t); len(left) != 1 || left[0].Name != "d" {
		t.Fatalf("left: %+v", left)
	}
	many := make([]api.Workload, 1000)
	for i := range many {
		many[i].Name = fmt.Sprint("w", i)
	}
	must(w.user.BulkWorkloads(ctx, "create", many))(t)
	_, err := w.user.BulkWorkloads(ctx, "create", make([]api.Workload, 1001))
	w.refused(err, api.Refused, "1001 items, want at most 1000")
}

// A workload provides a virtual service that is active; both ends may be looked for.
func TestServiceBindings(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	m := must(w.user.CreateWorkload(ctx, api.Workload{Name: "one"}))(t)
	vs := must(w.user.CreateVirtualService(ctx, api.VirtualService{Name: "shop", ServicePorts: []api.ServicePort{onPort(80)[0].ServicePort}}))(t)
	bind := api.ServiceBinding{VirtualService: &api.Ref{Href: active(vs.Href)}, Workload: &api.Ref{Href: m.Href}}
	_, err := w.user.CreateServiceBinding(ctx, bind)
	w.refused(err, api.Refused, "virtual_service: "+active(vs.Href)+" does not exist")
	must(w.user.Provision(ctx, api.Provisioning{}))(t)
	_, err = w.user.CreateServiceBinding(ctx, api.ServiceBinding{VirtualService: &api.Ref{Href: vs.Href}, Workload: bind.Workload})
	w.refused(err, api.Refused, "is not the href of an active virtual service")
	port, to := 80, 8080
	bind.PortOverrides = []api.PortOverride{{Port: &port}}
	_, err = w.user.CreateServiceBinding(ctx, bind)
	w.refused(err, api.Refused, "port_overrides.new_port: must be given")
	bind.PortOverrides[0].NewPort = &to
	made := must(w.user.CreateServiceBinding(ctx, bind))(t)
	if made.VirtualService.Href != active(vs.Href) || made.Workload.Href != m.Href {
		t.Fatalf("made: %+v", made)
	}
	for query, want := range map[string]int{"virtual_service=" + active(vs.Href): 1, "virtual_service=x": 0, "workload=" + m.Href: 1, "workload=x": 0} {
		var got []api.ServiceBinding
		if err := json.Unmarshal(get(t, w.server.URL+"/api/v2/orgs/1/service_bindings?"+query), &got); err != nil || len(got) != want {
			t.Errorf("%s: %+v (%v)", query, got, err)
		}
	}
	w.refused(w.user.Delete(ctx, vs.Href), api.Refused, vs.Href+" is used by "+made.Href+" (virtual_service_in_use)")
	w.ok(w.user.Delete(ctx, m.Href)) // its bindings go with it
	if left := must(w.user.ServiceBindings(ctx))(t); len(left) != 0 {
		t.Fatalf("left: %+v", left)
	}
	single := w.do("POST", "/service_bindings", api.ServiceBinding{VirtualService: bind.VirtualService, Workload: &api.Ref{Href: must(w.user.CreateWorkload(ctx, api.Workload{Name: "two"}))(t).Href}})
	var list []struct{ Href, Status string }
	if err := json.Unmarshal(single.body, &list); err != nil || single.status != 201 || list[0].Status != "created" {
		t.Fatalf("an object in place of a list: %d %s", single.status, single.body)
	}
}

// Interfaces can be written one by one.
func TestInterfaces(t *testing.T) {
	w := newWorld(t)
	m := must(w.user.CreateWorkload(t.Context(), api.Workload{Name: "one", Interfaces: []api.Interface{{Name: "eth0", Address: "10.0.0.1"}}}))(t)
	at := strings.TrimPrefix(m.Href, "/orgs/1") + "/interfaces"
	w.want(406, w.do("POST", at, map[string]any{"name": "eth1", "address": "here"}), "interfaces.address")
	made := w.do("POST", at, map[string]any{"name": "eth1", "address": "10.0.0.2", "cidr_block": 24})
	w.want(201, made, `"cidr_block":24`)
	if made.header.Get("Location") != m.Href+"/interfaces/eth1" {
		t.Fatalf("Location %s", made.header.Get("Location"))
	}
	w.want(200, w.do("GET", at+"/eth1", nil), `"link_state":null`)
	if list := w.do("GET", at, nil).list(t); len(list) != 2 || list[0]["href"] != m.Href+"/interfaces/eth0" {
		t.Fatalf("interfaces: %v", list)
	}
	w.want(204, w.do("DELETE", at+"/eth0", nil), "")
	w.want(404, w.do("DELETE", at+"/eth0", nil), "not_found")
	w.want(404, w.do("GET", at+"/eth0", nil), "not_found")
	if all := must(w.user.Workloads(t.Context()))(t); len(all[0].Interfaces) != 1 || all[0].Interfaces[0].Address != "10.0.0.2" {
		t.Fatalf("workload: %+v", all)
	}
	w.want(404, w.do("GET", "/workloads/none/interfaces", nil), "not_found")
}
