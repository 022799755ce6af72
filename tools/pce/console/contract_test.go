package console_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/rs/zerolog"

	api "github.com/ringfence/ringfence/libs/pce"
	"github.com/ringfence/ringfence/tools/pce/console"
	"github.com/ringfence/ringfence/tools/pce/journal"
	"github.com/ringfence/ringfence/tools/pce/openapi/conform"
)

const testKey, testSecret = "api_test", "0123456789abcdef"

// world is a console over a journal on disk with a client of each kind.
type world struct {
	t       *testing.T
	dir     string
	journal *journal.Journal
	console *console.Console
	server  *httptest.Server
	user    *api.Client
}

func newWorld(t *testing.T, options ...console.Option) *world {
	w := &world{t: t, dir: t.TempDir()}
	w.open(options...)
	t.Cleanup(func() { w.close() })
	return w
}

func (w *world) open(options ...console.Option) {
	w.t.Helper()
	var err error
	if w.journal, err = journal.Open(w.t.Context(), w.dir, 64); err != nil {
		w.t.Fatal(err)
	}
	if w.console, err = console.Open(w.t.Context(), w.journal, zerolog.Nop(), options...); err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.console.EnsureKey(w.t.Context(), console.APIKey{ID: testKey, Secret: testSecret}); err != nil {
		w.t.Fatal(err)
	}
	w.server = httptest.NewServer(conform.Handler(w.console, func(err error) { w.t.Error(err) }))
	w.user = w.client(api.Config{User: testKey, Secret: testSecret})
}

func (w *world) close() {
	w.server.Close()
	w.journal.Close()
}

func (w *world) client(config api.Config) *api.Client {
	w.t.Helper()
	config.URL, config.OrgID = w.server.URL, 1
	c, err := api.New(config)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// onboard makes a cluster and gives its client and its agent.
func (w *world) onboard(name string) (api.ContainerCluster, *api.Client, *api.Agent) {
	w.t.Helper()
	cluster := must(w.user.CreateContainerCluster(w.t.Context(), api.ContainerCluster{Name: name}))(w.t)
	id := api.ID(cluster.Href)
	c := w.client(api.Config{User: id, Secret: cluster.Token, Cluster: id})
	return cluster, c, c.Agent(id)
}

func must[T any](value T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// refused asserts a refusal of this kind whose sentence holds text.
func (w *world) refused(err error, kind api.Kind, text string) {
	w.t.Helper()
	if api.KindOf(err) != kind || !strings.Contains(err.Error(), text) {
		w.t.Fatalf("got %v (%s), want a refusal of kind %s with %q", err, api.KindOf(err), kind, text)
	}
}

func (w *world) label(key, value string) api.Label {
	w.t.Helper()
	return must(w.user.CreateLabel(w.t.Context(), api.Label{Key: key, Value: value}))(w.t)
}

func labelled(l api.Label) []api.Actor { return []api.Actor{{Label: &api.Ref{Href: l.Href}}} }

func onPort(port int) []api.IngressService {
	tcp := 6
	return []api.IngressService{{ServicePort: api.ServicePort{Port: &port, Proto: &tcp}}}
}

func everywhere() [][]api.Actor { return [][]api.Actor{{}} }

var ignoreAudit = cmpopts.IgnoreTypes(api.Audit{})

func TestBuiltinsAreActiveAtFirstStart(t *testing.T) {
	w := newWorld(t)
	lists := must(w.user.IPLists(t.Context(), api.Active))(t)
	services := must(w.user.Services(t.Context(), api.Active))(t)
	all := -1
	wantLists := []api.IPList{{Href: "/orgs/1/sec_policy/active/ip_lists/1", Name: api.AnyIPList,
		IPRanges: []api.IPRange{{FromIP: "0.0.0.0/0"}, {FromIP: "::/0"}}, FQDNs: []api.FQDN{}}}
	wantServices := []api.Service{{Href: "/orgs/1/sec_policy/active/services/2", Name: api.AllServices, ServicePorts: []api.ServicePort{{Proto: &all}}}}
	if diff := cmp.Diff(wantLists, lists, ignoreAudit); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(wantServices, services, ignoreAudit); diff != "" {
		t.Error(diff)
	}
	if v := must(w.user.ActiveVersion(t.Context()))(t); v.Version != 1 || v.CreatedAt == "" {
		t.Errorf("active version %+v, want 1", v)
	}
	if v := must(w.user.ProductVersion(t.Context()))(t); v == "" {
		t.Error("no product version")
	}
}

func TestLabels(t *testing.T) {
	w := newWorld(t)
	web := w.label("app", "web")
	w.label("env", "web")
	_, err := w.user.CreateLabel(t.Context(), api.Label{Key: "app", Value: "web"})
	w.refused(err, api.Refused, "406: key and value \"web\": "+web.Href+" has it already")
	_, err = w.user.CreateLabel(t.Context(), api.Label{Key: "colour", Value: "red"})
	w.refused(err, api.Refused, `key: "colour" is not the key of a label dimension (input_validation_error)`)
	w.ok(w.user.Update(t.Context(), web.Href, api.Label{Value: "www"}))
	if _, found, err := w.user.FindLabel(t.Context(), "app", "web"); found || err != nil {
		t.Fatalf("the old value is still found (%v)", err)
	}
	if l, found, err := w.user.FindLabel(t.Context(), "app", "www"); !found || err != nil || l.Href != web.Href {
		t.Fatalf("the new value is not found (%v)", err)
	}
	w.ok(w.user.Delete(t.Context(), web.Href))
	w.refused(w.user.Delete(t.Context(), web.Href), api.Missing, "404")
	if next := w.label("app", "next"); next.Href == web.Href {
		t.Fatal("an id was used twice")
	}
	if dims := must(w.user.LabelDimensions(t.Context()))(t); len(dims) != 4 {
		t.Fatalf("%d dimensions", len(dims))
	}
}

// The life of a policy object: a draft, provisioned, changed, deleted; and what clients see at each step.
func TestDraftToActive(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	web, db := w.label("app", "web"), w.label("app", "db")
	set := must(w.user.CreateRuleSet(ctx, api.RuleSet{Name: "shop", Scopes: everywhere()}))(t)
	if set.UpdateType != "create" || !*set.Enabled {
		t.Fatalf("a new draft: %+v", set)
	}
	list := must(w.user.CreateIPList(ctx, api.IPList{Name: "office", IPRanges: []api.IPRange{{FromIP: "10.1.0.0/16"}}}))(t)
	rule := must(w.user.CreateRule(ctx, set.Href, api.Rule{Consumers: append(labelled(web), api.Actor{IPList: &api.Ref{Href: list.Href}}), Providers: labelled(db), IngressServices: onPort(5432)}))(t)
	if active := must(w.user.RuleSets(ctx, api.Active))(t); len(active) != 0 {
		t.Fatal("a draft is active")
	}

	_, err := w.user.Provision(ctx, api.Provisioning{ChangeSubset: api.ChangeSubset{RuleSets: []api.Ref{{Href: set.Href}}}})
	w.refused(err, api.Refused, rule.Href+" needs "+list.Href+": provision both (missing_dependency)")
	v := must(w.user.Provision(ctx, api.Provisioning{UpdateDescription: "first"}))(t)
	if v.Version != 2 || v.CommitMessage != "first" {
		t.Fatalf("provisioned %+v", v)
	}
	active := must(w.user.RuleSets(ctx, api.Active))(t)
	if len(active) != 1 || len(active[0].Rules) != 1 || active[0].UpdateType != "" ||
		active[0].Rules[0].Consumers[1].IPList.Href != strings.Replace(list.Href, "draft", "active", 1) {
		t.Fatalf("active: %+v", active)
	}
	_, err = w.user.Provision(ctx, api.Provisioning{})
	w.refused(err, api.Refused, "nothing_to_provision")

	off := false
	w.ok(w.user.Update(ctx, rule.Href, struct {
		Enabled *bool `json:"enabled"`
	}{&off}))
	if r := must(w.user.RuleSet(ctx, set.Href))(t); r.UpdateType != "update" || r.Rules[0].UpdateType != "update" || *r.Rules[0].Enabled {
		t.Fatalf("changed: %+v", r)
	}
	w.refused(w.user.Delete(ctx, list.Href), api.Refused, list.Href+" is used by "+rule.Href+" (ip_list_in_use)")
	w.refused(w.user.Delete(ctx, web.Href), api.Refused, "label_in_use")
	w.refused(w.user.Delete(ctx, active[0].Href), api.Refused, "active_policy_is_read_only")
	w.ok(w.user.Delete(ctx, set.Href))
	w.ok(w.user.Delete(ctx, list.Href))
	if r := must(w.user.RuleSet(ctx, set.Href))(t); r.UpdateType != "delete" {
		t.Fatalf("deleted draft: %+v", r)
	}
	if p := must(w.user.Pending(ctx))(t); len(p.RuleSets) != 1 || len(p.IPLists) != 1 {
		t.Fatalf("pending: %+v", p)
	}
	if active := must(w.user.RuleSets(ctx, api.Active))(t); len(active) != 1 || !*active[0].Rules[0].Enabled {
		t.Fatal("drafts changed the active policy")
	}
	must(w.user.Provision(ctx, api.Provisioning{}))(t)
	for _, version := range []string{api.Draft, api.Active} {
		if left := must(w.user.RuleSets(ctx, version))(t); len(left) != 0 {
			t.Fatalf("%s: %+v", version, left)
		}
	}
	w.ok(w.user.Delete(ctx, web.Href))
}

func TestRuleSetsRefuseWhatCannotBe(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	web := w.label("app", "web")
	set := must(w.user.CreateRuleSet(ctx, api.RuleSet{Name: "shop", Scopes: everywhere()}))(t)
	anyList := []api.Actor{{IPList: &api.Ref{Href: "/orgs/1/sec_policy/active/ip_lists/1"}}}
	ams := []api.Actor{{Actors: "ams"}}
	for text, rule := range map[string]api.Rule{
		"consumers: must not be empty":                                  {Providers: ams, IngressServices: onPort(1)},
		"providers.label: /orgs/1/labels/99 does not exist":             {Consumers: ams, Providers: labelled(api.Label{Href: "/orgs/1/labels/99"}), IngressServices: onPort(1)},
		"an IP list on one side needs workloads on the other":           {Consumers: anyList, Providers: anyList, IngressServices: onPort(1)},
		"ingress_services: must not be empty":                           {Consumers: ams, Providers: ams},
		"ingress_services.port: 70000 is not a port":                    {Consumers: ams, Providers: ams, IngressServices: onPort(70000)},
		`providers.workload: "w" is not the href of one of workloads`:   {Consumers: ams, Providers: []api.Actor{{Workload: &api.Ref{Href: "w"}}}, IngressServices: onPort(1)},
		"providers: want one of label, label_group, ip_list":            {Consumers: ams, Providers: []api.Actor{{}}, IngressServices: onPort(1)},
		"providers.exclusion: only labels":                              {Consumers: ams, Providers: []api.Actor{{Actors: "ams", Exclusion: true}}, IngressServices: onPort(1)},
		`ingress_services.href: "x" is not the href of one of services`: {Consumers: ams, Providers: ams, IngressServices: []api.IngressService{{Href: "x"}}},
	} {
		_, err := w.user.CreateRule(ctx, set.Href, rule)
		w.refused(err, api.Refused, text)
	}
	_, err := w.user.CreateRuleSet(ctx, api.RuleSet{Name: "shop", Scopes: everywhere()})
	w.refused(err, api.Refused, "name_must_be_unique")
	_, err = w.user.CreateRuleSet(ctx, api.RuleSet{Name: "x"})
	w.refused(err, api.Refused, "scopes: must be given")
	_, err = w.user.CreateRuleSet(ctx, api.RuleSet{Name: "x", Scopes: everywhere(), Rules: []api.Rule{{}}})
	w.refused(err, api.Refused, "consumers: must not be empty")
	if sets := must(w.user.RuleSets(ctx, api.Draft))(t); len(sets) != 1 || len(sets[0].Rules) != 0 {
		t.Fatalf("what was refused left a trace: %+v", sets)
	}
	whole := must(w.user.CreateRuleSet(ctx, api.RuleSet{Name: "whole", Scopes: [][]api.Actor{labelled(web)},
		Rules: []api.Rule{{Consumers: ams, Providers: anyList, IngressServices: onPort(1)}}, DenyRules: []api.Rule{{Consumers: ams, Providers: ams, IngressServices: onPort(2)}}}))(t)
	if len(whole.Rules) != 1 || len(whole.DenyRules) != 1 || !strings.HasPrefix(whole.DenyRules[0].Href, whole.Href+"/deny_rules/") {
		t.Fatalf("rules given with their set: %+v", whole)
	}
}

func TestIPListsAndServicesRefuseWhatCannotBe(t *testing.T) {
	w := newWorld(t)
	for text, r := range map[string]api.IPRange{
		`ip_ranges.from_ip: "10.0.0"`:        {FromIP: "10.0.0"},
		`ip_ranges.from_ip: "10.0.0.0/8"`:    {FromIP: "10.0.0.0/8", ToIP: "10.0.0.9"},
		`ip_ranges.to_ip: "10.0.0.1" is not`: {FromIP: "10.0.0.2", ToIP: "10.0.0.1"},
		`ip_ranges.to_ip: "::1" is not`:      {FromIP: "10.0.0.2", ToIP: "::1"},
	} {
		_, err := w.user.CreateIPList(t.Context(), api.IPList{Name: "x", IPRanges: []api.IPRange{r}})
		w.refused(err, api.Refused, text)
	}
	six, low, high := 6, 80, 70
	for text, p := range map[string]api.ServicePort{
		"service_ports.proto: must be given":  {Port: &low},
		"service_ports.to_port: 70 is not":    {Proto: &six, Port: &low, ToPort: &high},
		"service_ports.to_port: 70 is not a ": {Proto: &six, ToPort: &high},
	} {
		_, err := w.user.CreateService(t.Context(), api.Service{Name: "x", ServicePorts: []api.ServicePort{p}})
		w.refused(err, api.Refused, text)
	}
	w.refused(w.user.Update(t.Context(), "/orgs/1/sec_policy/draft/ip_lists/1", map[string]any{"ip_ranges": 7}), api.Refused,
		"ip_ranges: holds a JSON number")
}

// A list longer than the cap is whole all the same.
func TestLongListsAreWhole(t *testing.T) {
	w := newWorld(t)
	_, _, agent := w.onboard("lab")
	items := make([]api.KubernetesWorkload, 700)
	for i := range items {
		items[i] = api.KubernetesWorkload{Name: fmt.Sprintf("w%03d", i), Kind: "Deployment", Namespace: "shop"}
	}
	must(agent.CreateWorkloads(t.Context(), items))(t)
	got := must(w.user.KubernetesWorkloads(t.Context()))(t)
	names := map[string]bool{}
	for _, g := range got {
		names[g.Name] = true
	}
	if len(got) != 700 || len(names) != 700 {
		t.Fatalf("%d workloads, %d names", len(got), len(names))
	}
	_, err := agent.CreateWorkloads(t.Context(), make([]api.KubernetesWorkload, 1001))
	w.refused(err, api.Refused, "1001 items, want at most 1000")
}

func TestClusterTokenSeesItsOwn(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	mine, token, agent := w.onboard("mine")
	other, _, otherAgent := w.onboard("other")
	if !strings.HasPrefix(mine.Token, "1_") || len(mine.Token) != 66 {
		t.Fatalf("token %q", mine.Token)
	}
	if again := must(w.user.ContainerCluster(ctx, mine.Href))(t); again.Token != "" {
		t.Fatal("the token is shown twice")
	}
	must(otherAgent.CreateWorkloads(ctx, []api.KubernetesWorkload{{Name: "a", Kind: "Deployment", Namespace: "x"}}))(t)
	for _, read := range []func() error{
		func() error { _, err := token.Labels(ctx); return err },
		func() error { _, err := token.RuleSets(ctx, api.Active); return err },
		func() error { _, err := token.ActiveVersion(ctx); return err },
		func() error { _, err := token.Profiles(ctx, mine.Href); return err },
		func() error { _, err := token.ContainerCluster(ctx, mine.Href); return err },
		func() error { return agent.Heartbeat(ctx) },
	} {
		w.ok(read())
	}
	if seen := must(token.KubernetesWorkloads(ctx))(t); len(seen) != 0 {
		t.Fatalf("another cluster's workloads: %+v", seen)
	}
	_, err := token.Profiles(ctx, other.Href)
	w.refused(err, api.Unauthorized, "403")
	_, err = token.CreateLabel(ctx, api.Label{Key: "app", Value: "x"})
	w.refused(err, api.Unauthorized, "403")
	_, err = token.ContainerClusters(ctx)
	w.refused(err, api.Unauthorized, "403")
	w.refused(token.Agent(api.ID(other.Href)).Heartbeat(ctx), api.Unauthorized, "403")
	w.refused(w.user.Agent(api.ID(mine.Href)).Heartbeat(ctx), api.Unauthorized, "403")
	wrong := w.client(api.Config{User: api.ID(mine.Href), Secret: "1_00", Cluster: "c"})
	_, err = wrong.Labels(ctx)
	w.refused(err, api.Unauthorized, "401: the PCE refused cluster token of cluster c")
	w.ok(w.user.Delete(ctx, mine.Href))
	_, err = token.Labels(ctx)
	w.refused(err, api.Unauthorized, "401")
}

func TestNobodyWritesSecrets(t *testing.T) {
	w := newWorld(t)
	cluster, _, _ := w.onboard("lab")
	w.refused(w.user.Update(t.Context(), cluster.Href, map[string]string{"nodes": "x"}), api.Refused, "nodes: cannot be set")
	w.ok(w.user.Update(t.Context(), cluster.Href, map[string]string{"_secret_sha256": strings.Repeat("0", 64), "description": "d"}))
	c := w.client(api.Config{User: api.ID(cluster.Href), Secret: cluster.Token})
	w.ok(c.Agent(api.ID(cluster.Href)).Heartbeat(t.Context()))
}

func TestProfilesFollowNamespaces(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	cluster, token, agent := w.onboard("lab")
	profiles := must(token.Profiles(ctx, cluster.Href))(t)
	if len(profiles) != 1 || profiles[0].Namespace != nil || *profiles[0].Managed || *profiles[0].Name != "Default Profile" {
		t.Fatalf("a new cluster's profiles: %+v", profiles)
	}
	shop, dev := w.label("app", "shop"), w.label("env", "dev")
	w.refused(w.user.Update(ctx, profiles[0].Href, map[string]any{"labels": []api.ProfileLabel{{Key: "app", Assignment: &api.LabelRef{Href: shop.Href}}}}),
		api.Refused, "labels_on_unmanaged_profile")
	w.ok(w.user.Update(ctx, profiles[0].Href, map[string]any{"managed": true, "enforcement_mode": "visibility_only"}))
	w.ok(agent.ReportNamespaces(ctx, []string{"shop", "kube-system", "shop"}))
	w.ok(agent.ReportNamespaces(ctx, []string{"shop"}))
	profiles = must(token.Profiles(ctx, cluster.Href))(t)
	byName := map[string]api.ContainerWorkloadProfile{}
	for _, p := range profiles {
		if p.Namespace != nil {
			byName[*p.Namespace] = p
		}
	}
	if len(profiles) != 3 || !byName["shop"].Linked || byName["kube-system"].Linked || !*byName["shop"].Managed || byName["shop"].EnforcementMode != "visibility_only" {
		t.Fatalf("profiles: %+v", profiles)
	}
	at := byName["shop"].Href
	w.refused(w.user.Update(ctx, at, map[string]any{"namespace": "other"}), api.Refused, "namespace: cannot be changed")
	w.refused(w.user.Update(ctx, at, map[string]any{"enforcement_mode": "maximal"}), api.Refused, `enforcement_mode: "maximal"`)
	w.refused(w.user.Update(ctx, at, map[string]any{"labels": []api.ProfileLabel{{Key: "app", Assignment: &api.LabelRef{Href: dev.Href}}}}), api.Refused,
		dev.Href+` is a label of key "env", not "app"`)
	w.ok(w.user.Update(ctx, at, map[string]any{"enforcement_mode": "full", "labels": []api.ProfileLabel{
		{Key: "app", Assignment: &api.LabelRef{Href: shop.Href}}, {Key: "env", Restriction: &[]api.LabelRef{{Href: dev.Href}}}, {Key: "role", Restriction: &[]api.LabelRef{}}}}))
	w.label("env", "prod")
	w.label("role", "db")
	result := must(agent.CreateWorkloads(ctx, []api.KubernetesWorkload{
		{Name: "a", Kind: "Deployment", Namespace: "shop", Metadata: annotated("app", "x", "env", "dev", "role", "db")},
		{Name: "b", Kind: "Deployment", Namespace: "shop", Metadata: annotated("env", "prod")},
		{Name: "c", Kind: "Deployment", Namespace: "elsewhere", Metadata: annotated("env", "prod", "loc", "unheard-of")},
		{Name: "", Kind: "Deployment", Namespace: "shop"},
	}))(t)
	if result[0].Status != "created" || result[3].Err() == nil {
		t.Fatalf("results: %+v", result)
	}
	got := map[string]string{}
	for _, k := range must(token.KubernetesWorkloads(ctx))(t) {
		var labels []string
		for _, l := range k.Labels {
			labels = append(labels, l.Key+"="+l.Value)
		}
		got[k.Name] = k.EnforcementMode + " " + strings.Join(labels, ",")
	}
	want := map[string]string{"a": "full app=shop,env=dev", "b": "full app=shop", "c": "visibility_only env=prod"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}
	w.refused(w.user.Delete(ctx, dev.Href), api.Refused, "label_in_use")
	w.ok(w.user.Delete(ctx, dev.Href+"?force=true"))
}

func annotated(pairs ...string) api.KubernetesMetadata {
	m := api.KubernetesMetadata{Annotations: map[string]string{}}
	for i := 0; i < len(pairs); i += 2 {
		m.Annotations["com.illumio."+pairs[i]] = pairs[i+1]
	}
	return m
}

func TestAgentReports(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	cluster, token, agent := w.onboard("lab")
	w.ok(agent.ReportCluster(ctx, api.ClusterDetails{ManagerType: "Kubernetes v1.37.2", ContainerRuntime: "containerd", ClusterMode: "clas",
		Nodes: []api.ClusterNode{{Name: "n1", PodSubnet: "10.42.0.0/24"}}}))
	w.ok(agent.SecurityPolicyApplied(ctx, 7))
	got := must(w.user.ContainerCluster(ctx, cluster.Href))(t)
	if got.ManagerType != "Kubernetes v1.37.2" || !got.ClasMode || !got.Online || len(got.Nodes) != 1 {
		t.Fatalf("cluster: %+v", got)
	}
	made := must(agent.CreateWorkloads(ctx, []api.KubernetesWorkload{{Name: "a", Kind: "Deployment", Namespace: "x"}, {Name: "b", Kind: "Service", Namespace: "x"}}))(t)
	again := must(agent.CreateWorkloads(ctx, []api.KubernetesWorkload{{Name: "a", Kind: "Deployment", Namespace: "x"}}))(t)
	if again[0].Href != made[0].Href || again[0].Status != "updated" {
		t.Fatalf("made twice: %+v and %+v", made, again)
	}
	must(agent.UpdateWorkloads(ctx, []api.KubernetesWorkload{{Href: made[0].Href, Metadata: annotated("app", "z")}}))(t)
	gone := must(agent.DeleteWorkloads(ctx, []string{made[1].Href, "/orgs/1/kubernetes_workloads/none"}))(t)
	if gone[0].Status != "deleted" || gone[1].Err() == nil {
		t.Fatalf("deleted: %+v", gone)
	}
	left := must(token.KubernetesWorkloads(ctx))(t)
	if len(left) != 1 || left[0].Metadata.Annotations["com.illumio.app"] != "z" {
		t.Fatalf("left: %+v", left)
	}
}

// What matters to an agent ends its poll; what does not, does not.
func TestLongPoll(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	cluster, _, agent := w.onboard("lab")
	other, _, _ := w.onboard("other")
	state := must(agent.WaitForChanges(ctx, "", 0))(t)
	if state.Cursor == "" || state.PolicyVersion != 1 {
		t.Fatalf("state: %+v", state)
	}
	must(w.user.CreateRuleSet(ctx, api.RuleSet{Name: "s", Scopes: everywhere()}))(t)
	w.ok(w.user.Update(ctx, must(w.user.Profiles(ctx, other.Href))(t)[0].Href, map[string]any{"managed": true}))
	if now := must(agent.WaitForChanges(ctx, state.Cursor, 0))(t); now != state {
		t.Fatalf("a draft or another cluster's profile moved the cursor: %+v then %+v", state, now)
	}
	for what, change := range map[string]func(){
		"provisioning": func() { must(w.user.Provision(ctx, api.Provisioning{}))(t) },
		"label":        func() { w.label("app", "a") },
		"pairing profile": func() {
			must(w.user.CreatePairingProfile(ctx, api.PairingProfile{Name: "nodes", Enabled: true}))(t)
		},
		"profile": func() {
			w.ok(w.user.Update(ctx, must(w.user.Profiles(ctx, cluster.Href))(t)[0].Href, map[string]any{"managed": true}))
		},
	} {
		state = must(agent.WaitForChanges(ctx, "", 0))(t)
		ended := make(chan api.Changes, 1)
		go func() { // the poll outlives the change: it must end by it, long before its hour
			now, _ := agent.WaitForChanges(ctx, state.Cursor, time.Hour)
			ended <- now
		}()
		change()
		if now := <-ended; now.Cursor == state.Cursor || now.Cursor == "" {
			t.Fatalf("%s: the poll ended with %+v", what, now)
		}
	}
	if now := must(agent.WaitForChanges(ctx, "", 0))(t); now.PolicyVersion != 2 {
		t.Fatalf("policy version %d", now.PolicyVersion)
	}
}

func TestPairing(t *testing.T) {
	w := newWorld(t)
	p := must(w.user.CreatePairingProfile(t.Context(), api.PairingProfile{Name: "nodes", Enabled: true}))(t)
	a := must(w.user.CreatePairingKey(t.Context(), p.Href))(t)
	b := must(w.user.CreatePairingKey(t.Context(), p.Href))(t)
	if len(a) != 64 || a == b {
		t.Fatalf("keys %q and %q", a, b)
	}
	if all := must(w.user.PairingProfiles(t.Context()))(t); len(all) != 1 {
		t.Fatalf("%+v", all)
	}
	_, asCluster, _ := w.onboard("lab") // its nodes are what the profile says
	if all := must(asCluster.PairingProfiles(t.Context()))(t); len(all) != 1 {
		t.Fatalf("a cluster sees %+v", all)
	}
	_, err := asCluster.CreatePairingKey(t.Context(), p.Href)
	w.refused(err, api.Unauthorized, "403")
	_, err = w.user.CreatePairingKey(t.Context(), "/orgs/1/pairing_profiles/99")
	w.refused(err, api.Missing, "404")
}

// A restart folds the same edits to the same state, byte for byte, and unknown fields survive.
func TestRestartGivesTheSameState(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	cluster, _, agent := w.onboard("lab")
	web := w.label("app", "web")
	set := must(w.user.CreateRuleSet(ctx, api.RuleSet{Name: "s", Scopes: [][]api.Actor{labelled(web)}}))(t)
	must(w.user.CreateRule(ctx, set.Href, api.Rule{Consumers: labelled(web), Providers: labelled(web), IngressServices: onPort(80)}))(t)
	must(w.user.Provision(ctx, api.Provisioning{}))(t)
	w.ok(w.user.Update(ctx, set.Href, map[string]any{"description": "<later>", "from_the_future": []int{1}}))
	w.ok(agent.ReportNamespaces(ctx, []string{"a", "b"}))
	must(agent.CreateWorkloads(ctx, []api.KubernetesWorkload{{Name: "a", Kind: "Deployment", Namespace: "a"}}))(t)
	paths := []string{"/labels", "/sec_policy/draft/rule_sets", "/sec_policy/active/rule_sets", "/sec_policy/active/ip_lists", "/sec_policy/pending", "/sec_policy",
		"/kubernetes_workloads", "/events", strings.TrimPrefix(cluster.Href, "/orgs/1") + "/container_workload_profiles"}
	before := w.bodies(paths)
	if !strings.Contains(before[1], "from_the_future") || !strings.Contains(before[4], set.Href) {
		t.Fatal("the change is not there")
	}
	w.close()
	w.open()
	if diff := cmp.Diff(before, w.bodies(paths)); diff != "" {
		t.Fatalf("after the restart (-before +after):\n%s", diff)
	}
	w.ok(w.client(api.Config{User: api.ID(cluster.Href), Secret: cluster.Token}).Agent(api.ID(cluster.Href)).Heartbeat(ctx))
	if next := w.label("app", "next"); next.Href == web.Href {
		t.Fatal("an id was used twice")
	}
}

func (w *world) bodies(paths []string) []string {
	w.t.Helper()
	bodies := make([]string, len(paths))
	for i, path := range paths {
		bodies[i] = string(get(w.t, w.server.URL+"/api/v2/orgs/1"+path))
	}
	return bodies
}

func TestUnknownPathsAnswerInKind(t *testing.T) {
	w := newWorld(t)
	w.refused(w.user.Delete(t.Context(), "/orgs/1/nothing/1"), api.Missing, "does not exist (not_found)")
	w.refused(w.user.Delete(t.Context(), "/orgs/2/labels/1"), api.Missing, "organisation 2 does not exist")
	_, err := w.user.RuleSets(context.Background(), "7")
	w.refused(err, api.Missing, "policy version 7")
}
