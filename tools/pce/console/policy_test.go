package console_test

import (
	"encoding/json"
	"strings"
	"testing"

	api "github.com/ringfence/ringfence/libs/pce"
)

// decoded is an answer's body as an object.
func (r reply) decoded(t *testing.T) map[string]any {
	t.Helper()
	var out map[string]any
	if err := json.Unmarshal(r.body, &out); err != nil {
		t.Fatalf("%d %s: %v", r.status, r.body, err)
	}
	return out
}

// list is an answer's body as a list of objects.
func (r reply) list(t *testing.T) []map[string]any {
	t.Helper()
	var out []map[string]any
	if err := json.Unmarshal(r.body, &out); err != nil {
		t.Fatalf("%d %s: %v", r.status, r.body, err)
	}
	return out
}

func (w *world) want(status int, r reply, text string) {
	w.t.Helper()
	if r.status != status || !strings.Contains(string(r.body), text) {
		w.t.Fatalf("got %d %s, want %d with %q", r.status, r.body, status, text)
	}
}

// A version of the policy can be read after others followed, with references to objects of the same version.
func TestPastVersions(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	list := must(w.user.CreateIPList(ctx, api.IPList{Name: "office", IPRanges: []api.IPRange{{FromIP: "10.0.0.0/8"}}}))(t)
	set := must(w.user.CreateRuleSet(ctx, api.RuleSet{Name: "first", Scopes: everywhere(), Rules: []api.Rule{
		{Consumers: []api.Actor{{IPList: &api.Ref{Href: list.Href}}}, Providers: []api.Actor{{Actors: "ams"}}, IngressServices: onPort(1)}}}))(t)
	must(w.user.Provision(ctx, api.Provisioning{}))(t)
	w.ok(w.user.Update(ctx, set.Href, map[string]any{"name": "second"}))
	w.ok(w.user.Update(ctx, "/orgs/1/sec_policy/draft/firewall_settings", map[string]any{"allow_igmp": false}))
	must(w.user.Provision(ctx, api.Provisioning{}))(t)
	w.ok(w.user.Delete(ctx, set.Href))
	must(w.user.Provision(ctx, api.Provisioning{}))(t)
	for round := range 2 { // a restart forgets nothing
		for version, name := range map[string]string{"1": "", "2": "first", "3": "second", "4": "", "active": ""} {
			sets := must(w.user.RuleSets(ctx, version))(t)
			switch {
			case name == "" && len(sets) == 0:
			case name == "" || len(sets) != 1 || sets[0].Name != name || len(sets[0].Rules) != 1:
				t.Fatalf("round %d, version %s: %+v", round, version, sets)
			default:
				want := "/orgs/1/sec_policy/" + version + "/ip_lists/" + api.ID(list.Href)
				if got := sets[0].Rules[0].Consumers[0].IPList.Href; got != want {
					t.Fatalf("version %s refers to %s, want %s", version, got, want)
				}
				w.want(200, w.do("GET", strings.TrimPrefix(want, "/orgs/1"), nil), `"office"`)
			}
		}
		w.want(200, w.do("GET", "/sec_policy/2/firewall_settings", nil), `"allow_igmp":true`)
		w.want(200, w.do("GET", "/sec_policy/3/firewall_settings", nil), `"allow_igmp":false`)
		w.want(404, w.do("GET", "/sec_policy/5/rule_sets", nil), "policy version 5")
		w.want(404, w.do("GET", "/sec_policy/02/rule_sets", nil), "policy version 02")
		w.want(405, w.do("PUT", "/sec_policy/2/ip_lists/"+api.ID(list.Href), map[string]string{}), "policy_version_is_read_only")
		w.close()
		w.open()
	}
}

// Reverting gives a draft back what is active; a draft that was never active goes.
func TestRevert(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	ams := []api.Actor{{Actors: "ams"}}
	set := must(w.user.CreateRuleSet(ctx, api.RuleSet{Name: "s", Scopes: everywhere(), Rules: []api.Rule{{Consumers: ams, Providers: ams, IngressServices: onPort(1)}}}))(t)
	must(w.user.Provision(ctx, api.Provisioning{}))(t)
	list := must(w.user.CreateIPList(ctx, api.IPList{Name: "new"}))(t)
	w.ok(w.user.Update(ctx, set.Href, map[string]any{"name": "changed"}))
	w.ok(w.user.Delete(ctx, set.Rules[0].Href))
	added := must(w.user.CreateRule(ctx, set.Href, api.Rule{Consumers: []api.Actor{{IPList: &api.Ref{Href: list.Href}}}, Providers: ams, IngressServices: onPort(2)}))(t)
	only := func(c api.ChangeSubset) map[string]any { return map[string]any{"change_subset": c} }
	w.want(406, w.do("PUT", "/sec_policy/delete", only(api.ChangeSubset{IPLists: refs(list.Href)})), added.Href+" needs "+list.Href+": revert both")
	w.want(204, w.do("PUT", "/sec_policy/delete", only(api.ChangeSubset{RuleSets: refs(set.Href)})), "")
	got := must(w.user.RuleSet(ctx, set.Href))(t)
	if got.Name != "s" || got.UpdateType != "" || len(got.Rules) != 1 || got.Rules[0].Href != set.Rules[0].Href {
		t.Fatalf("reverted: %+v", got)
	}
	if p := must(w.user.Pending(ctx))(t); len(p.RuleSets) != 0 || len(p.IPLists) != 1 {
		t.Fatalf("pending: %+v", p)
	}
	w.want(406, w.do("PUT", "/sec_policy/delete", only(api.ChangeSubset{})), "change_subset: must not be empty")
	w.want(204, w.do("DELETE", "/sec_policy/pending", nil), "")
	w.want(404, w.do("GET", strings.TrimPrefix(list.Href, "/orgs/1"), nil), "not_found")
	w.close()
	w.open()
	if p := must(w.user.Pending(ctx))(t); len(p.RuleSets)+len(p.IPLists) != 0 {
		t.Fatalf("pending after a restart: %+v", p)
	}
}

// What a change subset needs beside itself is told before it is provisioned.
func TestDependencies(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	web := w.label("app", "web")
	inner := must(w.user.CreateLabelGroup(ctx, api.LabelGroup{Name: "inner", Key: "app", Labels: refs(web.Href)}))(t)
	outer := must(w.user.CreateLabelGroup(ctx, api.LabelGroup{Name: "outer", Key: "app", SubGroups: refs(inner.Href)}))(t)
	set := must(w.user.CreateRuleSet(ctx, api.RuleSet{Name: "s", Scopes: everywhere(), Rules: []api.Rule{
		{Consumers: []api.Actor{{LabelGroup: &api.Ref{Href: outer.Href}}}, Providers: []api.Actor{{Actors: "ams"}}, IngressServices: onPort(1)}}}))(t)
	var needed api.ChangeSubset
	answer := w.do("POST", "/sec_policy/draft/dependencies", map[string]any{"change_subset": api.ChangeSubset{RuleSets: refs(set.Href)}})
	if err := json.Unmarshal(answer.body, &needed); err != nil || len(needed.LabelGroups) != 2 || len(needed.RuleSets) != 0 {
		t.Fatalf("needed: %d %s", answer.status, answer.body)
	}
	needed.RuleSets = refs(set.Href)
	must(w.user.Provision(ctx, api.Provisioning{ChangeSubset: needed}))(t)
}

func TestFirewallSettings(t *testing.T) {
	w := newWorld(t)
	web := w.label("app", "web")
	at := "/sec_policy/draft/firewall_settings"
	got := w.do("GET", at, nil).decoded(t)
	if got["href"] != "/orgs/1/sec_policy/draft/firewall_settings" || got["update_type"] != nil || got["ike_authentication_type"] != "psk" {
		t.Fatalf("at first: %v", got)
	}
	for text, body := range map[string]any{
		"want labels and label groups only":                   map[string]any{"static_policy_scopes": [][]api.Actor{{{Actors: "ams"}}}},
		"static_policy_scopes: want lists of labels":          map[string]any{"static_policy_scopes": 7},
		"firewall_coexistence.illumio_primary: must be given": map[string]any{"firewall_coexistence": []any{map[string]any{"scope": refs(web.Href)}}},
		"firewall_coexistence.scope: /orgs/1/labels/99":       map[string]any{"firewall_coexistence": []any{map[string]any{"illumio_primary": true, "scope": refs("/orgs/1/labels/99")}}},
		`ike_authentication_type: "magic"`:                    map[string]any{"ike_authentication_type": "magic"},
	} {
		w.want(406, w.do("PUT", at, body), strings.ReplaceAll(text, `"`, `\"`))
	}
	w.want(204, w.do("PUT", at, map[string]any{"allow_igmp": false, "static_policy_scopes": [][]api.Actor{labelled(web)}, "firewall_coexistence": []any{
		map[string]any{"illumio_primary": false, "scope": refs(web.Href), "workload_mode": "enforced"}}}), "")
	w.want(200, w.do("GET", at, nil), `"update_type":"update"`)
	w.want(200, w.do("GET", "/sec_policy/pending", nil), `"firewall_settings":[{`)
	w.want(200, w.do("GET", "/sec_policy/active/firewall_settings", nil), `"allow_igmp":true`)
	w.refused(w.user.Delete(t.Context(), web.Href), api.Refused, "is used by /orgs/1/sec_policy/draft/firewall_settings")
	must(w.user.Provision(t.Context(), api.Provisioning{ChangeSubset: api.ChangeSubset{FirewallSettings: refs("/orgs/1" + at)}}))(t)
	w.want(200, w.do("GET", "/sec_policy/active/firewall_settings", nil), `"allow_igmp":false`)
	w.want(405, w.do("PUT", "/sec_policy/active/firewall_settings", map[string]any{}), "active_policy_is_read_only")
	w.want(405, w.do("DELETE", at, nil), "method_not_allowed")
}

func TestVirtualServices(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	web, db := w.label("app", "web"), w.label("app", "db")
	service := must(w.user.CreateService(ctx, api.Service{Name: "https", ServicePorts: ports(443)}))(t)
	port := 101
	vs := must(w.user.CreateVirtualService(ctx, api.VirtualService{Name: "shop", Service: &api.Ref{Href: service.Href}, Labels: refs(web.Href), IPOverrides: []string{"10.0.0.1", "10.1.0.0/16"},
		ServiceAddresses: []api.ServiceAddress{{IP: "1.1.1.1", Port: &port}, {FQDN: "*.example.com"}}}))(t)
	for text, bad := range map[string]api.VirtualService{
		"service_ports: want either service_ports or service": {Name: "x"},
		"service: /orgs/1/sec_policy/draft/services/99":       {Name: "x", Service: &api.Ref{Href: "/orgs/1/sec_policy/draft/services/99"}},
		`ip_overrides: "here" is neither`:                     {Name: "x", ServicePorts: ports(1), IPOverrides: []string{"here"}},
		"service_addresses: want either ip or fqdn":           {Name: "x", ServicePorts: ports(1), ServiceAddresses: []api.ServiceAddress{{}}},
		`service_addresses.ip: "x" is not an address`:         {Name: "x", ServicePorts: ports(1), ServiceAddresses: []api.ServiceAddress{{IP: "x"}}},
		`are both of key "app"`:                               {Name: "x", ServicePorts: ports(1), Labels: refs(web.Href, db.Href)},
	} {
		_, err := w.user.CreateVirtualService(ctx, bad)
		w.refused(err, api.Refused, text)
	}
	_, err := w.user.Provision(ctx, api.Provisioning{ChangeSubset: api.ChangeSubset{VirtualServices: refs(vs.Href)}})
	w.refused(err, api.Refused, vs.Href+" needs "+service.Href)
	must(w.user.Provision(ctx, api.Provisioning{}))(t)
	got := must(w.user.VirtualServices(ctx, api.Active))(t)
	if got[0].Service.Href != active(service.Href) || got[0].Labels[0].Href != web.Href || len(got[0].ServiceAddresses) != 2 {
		t.Fatalf("active: %+v", got)
	}
	at := strings.TrimPrefix(vs.Href, "/orgs/1")
	w.want(204, w.do("PUT", at, map[string]any{"service": nil, "service_ports": ports(80), "k8s_service_info": map[string]any{"service_type": "NodePort"}}), "")
	w.want(200, w.do("GET", at, nil), `"k8s_service_info":{"service_type":"NodePort"}`)
	for query, want := range map[string]int{"service_ports.port=80": 1, "service_ports.port=81": 0, "service_addresses.fqdn=example": 1, "name=SHO": 1, "description=x": 0} {
		if list := w.do("GET", "/sec_policy/draft/virtual_services?"+query, nil).list(t); len(list) != want {
			t.Errorf("%s: %v", query, list)
		}
	}
	bulk := w.do("PUT", "/sec_policy/draft/virtual_services/bulk_create", []any{map[string]any{"name": "a", "service_ports": ports(1)}, map[string]any{"name": "a", "service_ports": ports(1)}}).list(t)
	if bulk[0]["status"] != "created" || bulk[1]["token"] != "name_must_be_unique" {
		t.Fatalf("bulk: %v", bulk)
	}
}

func ports(port int) []api.ServicePort { return []api.ServicePort{onPort(port)[0].ServicePort} }

// A rule about virtual services takes its ports from them.
func TestRulesOfVirtualServices(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	vs := must(w.user.CreateVirtualService(ctx, api.VirtualService{Name: "shop", ServicePorts: ports(80)}))(t)
	set := must(w.user.CreateRuleSet(ctx, api.RuleSet{Name: "s", Scopes: everywhere()}))(t)
	as := &api.ResolveLabelsAs{Providers: []string{"virtual_services"}, Consumers: []string{"workloads"}}
	rule := api.Rule{Consumers: []api.Actor{{Actors: "ams"}}, Providers: []api.Actor{{VirtualService: &api.Ref{Href: active(vs.Href)}}}, ResolveLabelsAs: as}
	made := must(w.user.CreateRule(ctx, set.Href, rule))(t)
	if made.Providers[0].VirtualService.Href != vs.Href || len(made.IngressServices) != 0 {
		t.Fatalf("made %+v", made)
	}
	rule.IngressServices = onPort(80)
	_, err := w.user.CreateRule(ctx, set.Href, rule)
	w.refused(err, api.Refused, "ingress_services: must be empty where providers are virtual services")
	rule.ResolveLabelsAs = &api.ResolveLabelsAs{Providers: []string{"clouds"}, Consumers: []string{"workloads"}}
	_, err = w.user.CreateRule(ctx, set.Href, rule)
	w.refused(err, api.Refused, `resolve_labels_as.providers: "clouds" is not one of`)
	deny := must(w.user.CreateDenyRule(ctx, set.Href, api.Rule{Consumers: rule.Consumers, Providers: rule.Consumers, IngressServices: onPort(1), Override: true}))(t)
	if !deny.Override {
		t.Fatalf("deny rule: %+v", deny)
	}
	whole := w.do("GET", strings.TrimPrefix(made.Href, "/orgs/1"), nil).decoded(t)
	for _, field := range []string{"href", "enabled", "description", "update_type", "consumers", "providers", "ingress_services", "resolve_labels_as", "sec_connect", "stateless",
		"machine_auth", "unscoped_consumers", "network_type", "consuming_security_principals", "external_data_set", "external_data_reference", "created_at", "created_by", "updated_at",
		"updated_by", "deleted_at", "caps"} {
		if _, there := whole[field]; !there {
			t.Errorf("a rule has no %s: %v", field, whole)
		}
	}
}

func TestRuleSearch(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	web, db := w.label("app", "web"), w.label("app", "db")
	off := false
	set := must(w.user.CreateRuleSet(ctx, api.RuleSet{Name: "s", Scopes: everywhere(), Rules: []api.Rule{
		{Description: "to the database", Consumers: labelled(web), Providers: labelled(db), IngressServices: onPort(5432)},
		{Consumers: labelled(web), Providers: labelled(web), IngressServices: onPort(161), Enabled: &off},
	}, DenyRules: []api.Rule{{Consumers: labelled(db), Providers: labelled(web), IngressServices: onPort(1)}}}))(t)
	must(w.user.Provision(ctx, api.Provisioning{}))(t)
	for _, test := range []struct {
		query any
		want  int
	}{
		{map[string]any{}, 3},
		{map[string]any{"consumers": labelled(web)}, 2},
		{map[string]any{"consumers": labelled(web), "providers": labelled(db)}, 1},
		{map[string]any{"providers_or_consumers": labelled(db)}, 2},
		{map[string]any{"ingress_services": onPort(161)}, 1},
		{map[string]any{"ingress_services": []any{map[string]any{"href": "/orgs/1/sec_policy/draft/services/2"}}}, 0},
		{map[string]any{"enabled": false}, 1},
		{map[string]any{"description": "DATABASE"}, 1},
		{map[string]any{"consumers": []api.Actor{{Label: &api.Ref{Href: web.Href}, Exclusion: true}}}, 0},
	} {
		for _, version := range []string{"draft", "active", "2"} {
			found := w.do("POST", "/sec_policy/"+version+"/rule_search", test.query)
			if list := found.list(t); len(list) != test.want {
				t.Errorf("%s, %v: %s", version, test.query, found.body)
			} else if len(list) > 0 && list[0]["rule_set"].(map[string]any)["name"] != set.Name {
				t.Errorf("no rule set: %v", list[0])
			}
		}
	}
	w.want(406, w.do("POST", "/sec_policy/draft/rule_search", map[string]any{"providers": 7}), "providers")
	started := w.do("POST", "/sec_policy/draft/rule_search", map[string]any{}, "Prefer", "respond-async")
	w.want(202, started, "")
	job := w.do("GET", strings.TrimPrefix(started.header.Get("Location"), "/orgs/1"), nil).decoded(t)
	result := job["result"].(map[string]any)["href"].(string)
	if list := w.do("GET", strings.TrimPrefix(result, "/orgs/1"), nil).list(t); job["status"] != "done" || len(list) != 3 {
		t.Fatalf("job %v gave %v", job, list)
	}
}

// Kinds that the console has none of are empty lists, for clients that load everything.
func TestWhatThereIsNoneOf(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/networks", "/security_principals", "/sec_policy/draft/virtual_servers", "/sec_policy/active/secure_connect_gateways"} {
		if list := w.do("GET", path+"?max_results=0", nil); string(list.body) != "[]" || list.header.Get("X-Total-Count") != "0" {
			t.Errorf("%s: %d %s", path, list.status, list.body)
		}
	}
}

// A rule set is written as it was read, with its rules; other rules are not taken with it.
func TestRuleSetsAreWrittenAsRead(t *testing.T) {
	w := newWorld(t)
	ams := []api.Actor{{Actors: "ams"}}
	set := must(w.user.CreateRuleSet(t.Context(), api.RuleSet{Name: "s", Scopes: everywhere(), Rules: []api.Rule{{Consumers: ams, Providers: ams, IngressServices: onPort(1)}}}))(t)
	at := strings.TrimPrefix(set.Href, "/orgs/1")
	read := w.do("GET", at, nil).decoded(t)
	read["description"] = "new"
	w.want(204, w.do("PUT", at, read), "")
	w.want(200, w.do("GET", at, nil), `"description":"new"`)
	read["rules"].([]any)[0].(map[string]any)["enabled"] = false
	w.want(406, w.do("PUT", at, read), "rules: can be given only when the rule set is created")
}

// What clients look up by name is there for good.
func TestBuiltinsStay(t *testing.T) {
	w := newWorld(t)
	w.refused(w.user.Delete(t.Context(), "/orgs/1/sec_policy/draft/ip_lists/1"), api.Refused, "ip_list_is_built_in")
	w.refused(w.user.Delete(t.Context(), "/orgs/1/sec_policy/draft/services/2"), api.Refused, "service_is_built_in")
}

// A rule may name a single controller of a cluster, and a version with it is provisioned; one that does not exist is refused.
func TestRulesOfSingleKubernetesWorkloads(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	_, _, agent := w.onboard("lab")
	made := must(agent.CreateWorkloads(ctx, []api.KubernetesWorkload{{Namespace: "shop", Kind: "Deployment", Name: "web"}}))(t)[0]
	set := must(w.user.CreateRuleSet(ctx, api.RuleSet{Name: "single", Scopes: everywhere()}))(t)
	rule := api.Rule{Consumers: []api.Actor{{Actors: "ams"}}, Providers: []api.Actor{{Workload: &api.Ref{Href: made.Href}}}, IngressServices: onPort(443)}
	must(w.user.CreateRule(ctx, set.Href, rule))(t)
	must(w.user.Provision(ctx, api.Provisioning{}))(t)
	rule.Providers[0].Workload.Href += "0"
	_, err := w.user.CreateRule(ctx, set.Href, rule)
	w.refused(err, api.Refused, "does not exist")
}
