package policyfile_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	api "github.com/ringfence/ringfence/libs/pce"
	"github.com/ringfence/ringfence/tools/pce/console"
	"github.com/ringfence/ringfence/tools/pce/journal"
	"github.com/ringfence/ringfence/tools/pce/policyfile"
)

// scene is a console with a cluster called lab, as pce init makes it.
type scene struct {
	*testing.T
	*api.Client
	url string
}

func (s *scene) as(user, secret string) *api.Client {
	s.Helper()
	client, err := api.New(api.Config{URL: s.url, OrgID: 1, User: user, Secret: secret})
	if err != nil {
		s.Fatal(err)
	}
	return client
}

func newScene(t *testing.T, absent ...string) *scene {
	t.Helper()
	j, err := journal.Open(t.Context(), t.TempDir(), 64)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(j.Close)
	c, err := console.Open(t.Context(), j, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	key, err := c.EnsureKey(t.Context(), console.APIKey{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.EnsureCluster(t.Context(), "lab"); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if slices.Contains(absent, path.Base(r.URL.Path)) {
			http.NotFound(w, r)
			return
		}
		c.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	s := &scene{T: t, url: server.URL}
	s.Client = s.as(key.ID, key.Secret)
	return s
}

func (s *scene) export(version string) string {
	s.Helper()
	p, err := policyfile.Export(s.Context(), s.Client, version)
	if err != nil {
		s.Fatal(err)
	}
	var out bytes.Buffer
	if err := p.Write(&out); err != nil {
		s.Fatal(err)
	}
	return out.String()
}

func (s *scene) plan(text string, prune bool) *policyfile.Plan {
	s.Helper()
	wanted, err := policyfile.Parse(map[string][]byte{"policy.yaml": []byte(text)})
	if err != nil {
		s.Fatal(err)
	}
	p, err := policyfile.NewPlan(s.Context(), s.Client, wanted, prune)
	if err != nil {
		s.Fatal(err)
	}
	return p
}

// imports applies a text, and asserts that doing so again would do nothing.
func (s *scene) imports(text string, prune, provision bool) (done []string) {
	s.Helper()
	p := s.plan(text, prune)
	if _, err := p.Apply(s.Context(), provision, "test"); err != nil {
		s.Fatal(err)
	}
	if again := s.plan(text, prune); len(again.Changes) != 0 {
		s.Fatalf("a second import would change:\n%s", table(again))
	}
	for _, c := range p.Changes {
		done = append(done, c.Action+" "+c.Kind+" "+c.Name)
	}
	return done
}

func table(p *policyfile.Plan) string {
	var out bytes.Buffer
	_ = p.WriteTable(&out) // a buffer takes everything
	return out.String()
}

func shop(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("testdata/shop.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func same(t *testing.T, want, got string) {
	t.Helper()
	if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n")); diff != "" {
		t.Fatal(diff)
	}
}

// What is exported, imported into an empty console and exported there is the same, byte for byte: as a draft, and provisioned.
func TestRoundTrip(t *testing.T) {
	first, second := newScene(t), newScene(t)
	first.imports(shop(t), true, true)
	exported := first.export(api.Draft)
	same(t, shop(t), exported)
	second.imports(exported, false, true)
	same(t, exported, second.export(api.Draft))
	same(t, exported, second.export(api.Active))
}

// Comments, order, anchors, several documents and words for numbers are a matter of taste: they change nothing.
func TestWritingDoesNotMatter(t *testing.T) {
	s := newScene(t)
	s.imports(shop(t), false, false)
	other := `
labels: [role=web, role=api, app=shop, env=dev] # in another order
---
services:
  - service_ports: [{port: 443, proto: 6}, {port: 443, proto: 17}]
    name: https
rule_sets:
  - name: infrastructure
    enabled: false
    scopes: [[]]
    rules:
      - consumers: &all [{actors: ams}]
        providers: [{ip_list: "Any (0.0.0.0/0 and ::/0)"}]
        ingress_services: [{service: All Services}]
        unscoped_consumers: false
        network_type: brn
`
	if p := s.plan(other, false); len(p.Changes) != 0 {
		t.Fatalf("it would change:\n%s", table(p))
	}
}

// Changes are what differs and no more; what is not mentioned stays, unless it is pruned; and only what the files name is provisioned.
func TestChanges(t *testing.T) {
	s := newScene(t)
	s.imports(shop(t), false, true)
	others, err := s.CreateIPList(t.Context(), api.IPList{Name: "of somebody else", IPRanges: []api.IPRange{{FromIP: "10.9.0.0/16"}}})
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer(
		"port: 5432}", "port: 5431}", // a rule that changed
		"description: what the shop needs\n", "description: everything that the shop needs\n",
		"      - {proto: icmpv6, icmp_type: 128}\n", "",
		"        override: true\n", "        override: true\n      - consumers: [{actors: ams}]\n        providers: [{label: role=database}]\n        ingress_services: [{proto: tcp, port: 22}]\n",
		"  - role=web\n", "  - role=web\n  - role=cache\n",
		"    enabled: false\n    scopes:\n      - []\n", "    scopes:\n      - []\n", // enabled again
	).Replace(shop(t))
	text = strings.Replace(text, "  - name: updates\n    fqdns:\n      - fqdn: updates.example.com\n        description: '7: mirrors'\n", "", 1)
	p := s.plan(text, false)
	want := []string{
		"create labels role=cache", "update services ping", "update rule_sets infrastructure", "update rule_sets shop",
		"update sec_rules shop: role=api -> role=database (tcp 5431, tcp 5433-5439)", "create deny_rules shop: ams -> role=database (tcp 22)",
	}
	var got []string
	for _, c := range p.Changes {
		got = append(got, c.Action+" "+c.Kind+" "+c.Name)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}
	if out := table(p); !strings.Contains(out, "enabled: false -> default") || !strings.Contains(out, "ingress_services: -{proto: tcp, port: 5432} +{proto: tcp, port: 5431}") || !strings.Contains(out, "2 to create, 4 to update, 0 to delete") {
		t.Fatalf("the table:\n%s", out)
	}
	s.imports(text, false, true)
	pending, err := s.Pending(t.Context())
	if err != nil || len(pending.IPLists) != 1 || pending.IPLists[0].Href != others.Href || len(pending.RuleSets)+len(pending.Services) != 0 {
		t.Fatalf("pending: %+v %v", pending, err)
	}
	if got := s.imports(text, true, true); !cmp.Equal(got, []string{"delete ip_lists of somebody else", "delete ip_lists updates"}) {
		t.Fatalf("pruned: %q", got)
	}
	same(t, s.export(api.Active), s.export(api.Draft))
}

// A label that only the policy of before uses goes once that policy is gone; until then it stays and says why.
func TestPruningWaitsForProvisioning(t *testing.T) {
	s := newScene(t)
	s.imports(shop(t), false, true)
	empty := "label_dimensions: []\nlabels: []\nlabel_groups: []\nvirtual_services: []\nworkloads: []\nrule_sets: []\nservices: []\nip_lists: []\n" +
		"enforcement_boundaries: []\npairing_profiles: []\ncontainer_workload_profiles:\n  - {cluster: lab, namespace: shop}\n" +
		"firewall_settings: {static_policy_scopes: [], firewall_coexistence: []}\n"
	p := s.plan(empty, true)
	if _, err := p.Apply(t.Context(), false, ""); err != nil {
		t.Fatal(err)
	}
	if len(p.Notes) == 0 || !strings.Contains(strings.Join(p.Notes, "\n"), "stays until the policy is provisioned") {
		t.Fatalf("notes: %q", p.Notes)
	}
	s.imports(empty, true, true)
	labels, err := s.Labels(t.Context())
	if err != nil || len(labels) != 0 {
		t.Fatalf("%d labels are left (%v)", len(labels), err)
	}
	if active, err := s.RuleSets(t.Context(), api.Active); err != nil || len(active) != 0 {
		t.Fatalf("active: %v %v", active, err)
	}
}

// Everything that is wrong is said at once, each with file, line, object and field, and nothing is done.
func TestProblems(t *testing.T) {
	text := `labels:
  - web
  - {label: app=shop, colour: red}
  - app=twice
  - app=twice
services:
  - name: https
    service_ports: [{proto: tcp, port: many}]
rule_sets:
  - name: shop
    rules:
      - consumers: [{label: app=shop}]
        providers: {label: app=shop}
        ingress_services: [{service: https}]
machines: []
`
	_, err := policyfile.Parse(map[string][]byte{"policy.yaml": []byte(text)})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		`policy.yaml:2: label "web": "web" is not a key and a value, key=value`,
		`policy.yaml:3: label "app=shop": colour: there is no such field; there are label, external_data_set, external_data_reference`,
		`policy.yaml:5: label "app=twice": is there twice: the other is at policy.yaml:4`,
		`policy.yaml:8: service "https": service_ports[0].port: want a number`,
		`policy.yaml:10: rule_set "shop": scopes: must be given`,
		`policy.yaml:13: rule_set "shop": rules[0].providers: want a list`,
		`policy.yaml:15: machines: there is no such section; there are label_dimensions, labels,`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("it does not say\n%s\nbut\n%v", want, err)
		}
	}

	s := newScene(t)
	wanted, err := policyfile.Parse(map[string][]byte{"policy.yaml": []byte(`rule_sets:
  - name: shop
    scopes: [[{label: app=shop}]]
    rules:
      - consumers: [{label: app=none}, {ip_list: nowhere}]
        providers: [{actors: ams}]
        ingress_services: [{service: All Services}]
container_workload_profiles:
  - {cluster: moon, namespace: sea}
`)})
	if err != nil {
		t.Fatal(err)
	}
	_, err = policyfile.NewPlan(t.Context(), s.Client, wanted, false)
	if err == nil {
		t.Fatal("no error")
	}
	same(t, `policy.yaml:3: rule_set "shop".scopes[0][0].label: label "app=shop" is neither in the files nor in the console
policy.yaml:5: rule_set "shop".rules[0].consumers[0].label: label "app=none" is neither in the files nor in the console
policy.yaml:5: rule_set "shop".rules[0].consumers[1].ip_list: ip_list "nowhere" is neither in the files nor in the console
policy.yaml:9: container_workload_profile "moon/sea".cluster: container cluster "moon" does not exist; make it with: pce init --cluster moon`, err.Error())
}

// What the console refuses names the object; what was done before stays, and the next import goes on.
func TestRefusalNamesTheObject(t *testing.T) {
	s := newScene(t)
	p := s.plan("labels: [app=a, colour=red]\n", false)
	_, err := p.Apply(t.Context(), false, "")
	if err == nil || !strings.Contains(err.Error(), `create label "colour=red": POST /orgs/1/labels: 406: key: "colour" is not the key of a label dimension`) {
		t.Fatal(err)
	}
	if p := s.plan("labels: [app=a]\n", false); len(p.Changes) != 0 {
		t.Fatalf("what was done is lost:\n%s", table(p))
	}
}

// A console without a collection is left without it, and says so.
func TestConsoleWithoutSomeKinds(t *testing.T) {
	s := newScene(t, "label_groups", "workloads", "firewall_settings")
	p := s.plan("labels: [env=dev]\nlabel_groups: [{name: g, key: env, labels: [env=dev]}]\nfirewall_settings: {allow_igmp: false}\n", true)
	if len(p.Changes) != 1 || !slices.Equal(p.Notes, []string{
		"label_groups: the console does not serve them; 1 of the files are left out", "firewall_settings: the console does not serve them; 1 of the files are left out",
	}) {
		t.Fatalf("%s", table(p))
	}
	exported, err := policyfile.Export(t.Context(), s.Client, api.Draft)
	if err != nil || len(exported.Notes) != 3 {
		t.Fatalf("%q %v", exported.Notes, err)
	}
	wanted, err := policyfile.Parse(map[string][]byte{"p.yaml": []byte("label_groups: [{name: g, key: env}]\nrule_sets: [{name: s, scopes: [[{label_group: g}]]}]\n")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := policyfile.NewPlan(t.Context(), s.Client, wanted, false); err == nil || !strings.Contains(err.Error(), `p.yaml:2: rule_set "s".scopes[0][0].label_group: label_group "g"`) {
		t.Fatal(err)
	}
}

// What has no name cannot be written down, and is not left out either.
func TestExportRefusesWhatHasNoName(t *testing.T) {
	s := newScene(t)
	for range 2 {
		if _, err := s.Create(t.Context(), s.Org()+"/workloads", map[string]any{"name": "twin"}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := policyfile.Export(t.Context(), s.Client, api.Draft); err == nil || !strings.Contains(err.Error(), `"twin" is the name of both /orgs/1/workloads/`) {
		t.Fatal(err)
	}
}

// Rules may name workloads of Kubernetes: by cluster, namespace, kind and name.
func TestKubernetesWorkloadsHaveNames(t *testing.T) {
	s := newScene(t)
	made, err := s.CreateContainerCluster(t.Context(), api.ContainerCluster{Name: "other"})
	if err != nil {
		t.Fatal(err)
	}
	id := api.ID(made.Href)
	if _, err := s.as(id, made.Token).Agent(id).CreateWorkloads(t.Context(), []api.KubernetesWorkload{{Name: "web", Kind: "Deployment", Namespace: "shop"}}); err != nil {
		t.Fatal(err)
	}
	p := s.plan("rule_sets: [{name: shop, scopes: [[]], rules: [{consumers: [{workload: other/shop/Deployment/web}], providers: [{actors: ams}]}]}]\n", false)
	if len(p.Changes) != 2 || p.Changes[1].Name != "shop: other/shop/Deployment/web -> ams" {
		t.Fatal(table(p))
	}
}
