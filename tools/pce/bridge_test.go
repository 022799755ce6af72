package pce_test

import (
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ringfence/ringfence/libs/eventlog"
	api "github.com/ringfence/ringfence/libs/pce"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// A cluster is onboarded, policy comes down, changes and goes; only differences are written.
func TestOnboardingAndProvisioning(t *testing.T) {
	s := newScene(t)
	b := s.startBridge()
	s.inForce(1)
	if got := s.latest(eventlog.SettingsSubject).GetSettings(); got.GetClusterId() != api.ID(s.cluster.Href) || got.GetClusterMode() != "clas" || !got.GetEnforceNodePortTraffic() {
		t.Fatalf("settings: %v", got)
	}
	s.eventually("synced and linked", func() bool {
		return s.latest(eventlog.SyncedSubject("pce-bridge")).GetSynced().GetIncarnation() == s.log.Incarnation() && s.latest(eventlog.LinkSubject).GetPceLink().GetUp()
	})
	set, label := s.draftRule("db")
	s.eventually("the label acts at once", func() bool {
		return s.latest(eventlog.LabelSubject(api.ID(label.Href))).GetLabel().GetValue() == "db"
	})
	version := s.provision()
	provisioned := time.Now()
	s.eventually("the manifest", func() bool { return s.latest("facts.pce.provisioned.0").GetProvisioned().GetVersion() == version })
	t.Logf("provisioned to committed: %s", time.Since(provisioned).Round(time.Millisecond))
	if warnings := s.inForce(version).Policy().Warnings; len(warnings) > 0 {
		t.Fatalf("warnings: %v", warnings)
	}
	profiles, err := s.user.Profiles(t.Context(), s.cluster.Href)
	s.must(err)
	s.must(s.user.Update(t.Context(), profiles[0].Href, map[string]any{"managed": true, "enforcement_mode": "full"}))
	s.eventually("the profile acts at once", func() bool {
		p := s.latest(eventlog.ProfileSubject(api.ID(profiles[0].Href))).GetContainerWorkloadProfile()
		return p.GetManaged() && p.GetEnforcementMode() == ringfencev1.EnforcementMode_ENFORCEMENT_MODE_FULL
	})
	objects := s.count("facts.pce.object.>")
	s.must(s.user.Update(t.Context(), set.Href, map[string]any{"enabled": false}))
	s.inForce(s.provision())
	if now := s.count("facts.pce.object.>"); now != objects+1 {
		t.Fatalf("one object changed and %d were written", now-objects)
	}
	s.must(s.user.Delete(t.Context(), set.Href))
	s.inForce(s.provision())
	s.must(s.user.Delete(t.Context(), label.Href))
	s.eventually("the label's tombstone", func() bool { return s.latest(eventlog.LabelSubject(api.ID(label.Href))) == nil })

	// A restart, even after kill -9, finds nothing to write but that it took over.
	written := func() int { return s.count("facts.>") - s.count("facts.ctl.epoch.>") }
	s.must(b.Process.Kill())
	facts := written()
	again := s.startBridge()
	s.eventually("the bridge is back", func() bool { return again.logged("the provisioned policy is in the log") == 1 })
	if now := written(); now != facts {
		t.Fatalf("%d facts written for nothing", now-facts)
	}
	version = s.provisionSomething()
	s.inForce(version)
	if now := written(); now != facts+3 {
		t.Fatalf("%d facts written for a label, an object and a manifest", now-facts)
	}
	if b.logged(`"level":"error"`)+again.logged(`"level":"error"`) > 0 {
		t.Fatal("errors were logged")
	}
}

// Bad input of every kind gives one clear line, and what is committed stays; when it is over, all goes on.
func TestBadInputKeepsTheLastGoodVersion(t *testing.T) {
	body := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
	}
	for name, test := range map[string]struct {
		path   string
		answer http.HandlerFunc
		want   string
	}{
		"HTML":           {"/rule_sets", body("<html><body>Please sign in</body></html>"), `/orgs/1/sec_policy/active/rule_sets: the answer is not JSON (text/html; charset=utf-8, begins \"<html>`},
		"truncated JSON": {"/rule_sets", body(`[{"href":"/orgs/1/sec_policy/active/rule_sets/3","na`), `/orgs/1/sec_policy/active/rule_sets: the JSON ends early, after 52 bytes`},
		"wrong type":     {"/ip_lists", body(`[{"href":"/orgs/1/sec_policy/active/ip_lists/7","name":7}]`), `/orgs/1/sec_policy/active/ip_lists/7: field name holds a JSON number`},
		"bad address":    {"/ip_lists", body(`[{"href":"/orgs/1/sec_policy/active/ip_lists/7","name":"office","ip_ranges":[{"from_ip":"10.0.0.999"}]}]`), `IP list /orgs/1/sec_policy/active/ip_lists/7 (office): ip_ranges[0].from_ip: \"10.0.0.999\" is not an IP address`},
		"bad port":       {"/services", body(`[{"href":"/orgs/1/sec_policy/active/services/8","name":"web","service_ports":[{"proto":6,"port":99999}]}]`), `service /orgs/1/sec_policy/active/services/8 (web): service_ports[0].port: 99999 is not a port`},
		"bad mode":       {"/container_workload_profiles", body(`[{"href":"/orgs/1/container_clusters/c/container_workload_profiles/p","namespace":"shop","managed":true,"enforcement_mode":"maximal"}]`), `p (shop): enforcement_mode: \"maximal\" is unknown`},
		"refused token":  {"/changes", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }, `401: the PCE refused cluster token of cluster `},
		"server error":   {"/labels", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }, `/orgs/1/labels: 500: the PCE refused: Internal Server Error`},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			b := s.startBridge()
			s.inForce(1)
			s.wire.breaks(test.path, test.answer)
			version := s.provisionSomething()
			s.eventually("a line that names "+test.want, func() bool { return b.logged(test.want) > 0 })
			manifests := s.count("facts.pce.provisioned.>")
			time.Sleep(1500 * time.Millisecond) // another try or two, which must neither write nor repeat the line
			s.inForce(1)
			if now := s.count("facts.pce.provisioned.>"); now != manifests || manifests != 1 {
				t.Fatalf("%d manifests, then %d", manifests, now)
			}
			if lines := b.logged(`"level":"error"`, test.want); lines != 1 {
				t.Fatalf("%d lines, want one", lines)
			}
			s.wire.breaks("", nil)
			s.inForce(version)
			s.eventually("the end of it is said", func() bool { return b.logged("the PCE answers again") == 1 })
		})
	}
}

func TestWrongTokenIsOneClearLine(t *testing.T) {
	s := newScene(t)
	b := s.startBridge("--cluster-token", "1_00ff")
	s.eventually("a line", func() bool {
		return b.logged("401: the PCE refused cluster token of cluster "+api.ID(s.cluster.Href)+"; check cluster_id and cluster_token") > 0
	})
	time.Sleep(2500 * time.Millisecond) // more tries, by every loop, which are no news
	if n := b.logged(`"level":"error"`); n != 1 {
		t.Fatalf("%d error lines, want one", n)
	}
	if s.count("facts.pce.>") != 0 || s.latest(eventlog.SyncedSubject("pce-bridge")) != nil {
		t.Fatal("facts without an answer of the console")
	}
	if again := s.startBridge("--cluster-token", "hello"); again.Wait() == nil || again.logged("cluster_token does not begin with an organisation's number") != 1 {
		t.Fatal("a token of another form was taken")
	}
}

// A rule may name a label that is gone: it goes through as it is, the engine says what it means.
func TestRuleNamingAGoneLabel(t *testing.T) {
	s := newScene(t)
	s.startBridge()
	s.inForce(1)
	_, label := s.draftRule("db")
	version := s.provision()
	s.inForce(version)
	s.must(s.user.Delete(t.Context(), label.Href+"?force=true"))
	s.eventually("the tombstone", func() bool { return s.latest(eventlog.LabelSubject(api.ID(label.Href))) == nil })
	warnings := strings.Join(s.inForce(version).Policy().Warnings, "\n")
	if !strings.Contains(warnings, label.Href+" is gone") || !strings.Contains(warnings, "rule set to db") {
		t.Fatalf("warnings: %s", warnings)
	}
}

// What cannot be expressed is named, once, and matches nothing.
func TestUnsupportedIsNamed(t *testing.T) {
	s := newScene(t)
	set, _ := s.draftRule("db")
	rule := set.Rules[0]
	_, err := s.user.CreateDenyRule(t.Context(), set.Href, api.Rule{Consumers: rule.Consumers, Providers: rule.Providers, IngressServices: rule.IngressServices, NetworkType: "non_brn"})
	s.must(err)
	version := s.provision()
	b := s.startBridge()
	s.inForce(version)
	s.provisionSomething()
	s.inForce(version + 1)
	if n := b.logged(`"level":"warn"`, "rule set /orgs/1/sec_policy/active/rule_sets/", "(to db): rule ", "/deny_rules/", `network_type \"non_brn\" is not supported`); n != 1 {
		t.Fatalf("%d warnings", n)
	}
}

// Deny rules and the pairing profile come down like everything else.
func TestDenyRulesAndPairingProfile(t *testing.T) {
	s := newScene(t)
	set, label := s.draftRule("db")
	rule := set.Rules[0]
	deny, err := s.user.CreateDenyRule(t.Context(), set.Href, api.Rule{Consumers: rule.Consumers, Providers: rule.Providers, IngressServices: rule.IngressServices, Override: true})
	s.must(err)
	version := s.provision()
	b := s.startBridge()
	s.inForce(version)
	var denied []*ringfencev1.DenyRule
	for entry, err := range s.log.Latest(t.Context(), "facts.pce.object.>") {
		s.must(err)
		denied = append(denied, entry.Fact.GetPceObject().GetRuleSet().GetDenyRules()...)
	}
	if len(denied) != 1 || !denied[0].GetOverride() || denied[0].GetRule().GetHref() != strings.Replace(deny.Href, "/draft/", "/active/", 1) {
		t.Fatalf("deny rules in the log: %v", denied)
	}
	pairing, err := s.user.CreatePairingProfile(t.Context(), api.PairingProfile{Name: "nodes", Enabled: true, EnforcementMode: "full", Labels: []api.Ref{{Href: label.Href}}})
	s.must(err)
	subject := eventlog.PairingProfileSubject(api.ID(pairing.Href))
	s.eventually("the pairing profile acts at once", func() bool {
		p := s.latest(subject).GetPairingProfile()
		return p.GetEnforcementMode() == ringfencev1.EnforcementMode_ENFORCEMENT_MODE_FULL && slices.Equal(p.GetLabels(), []string{label.Href})
	})
	second, err := s.user.CreatePairingProfile(t.Context(), api.PairingProfile{Name: "others", Enabled: true})
	s.must(err)
	s.eventually("two are one too many", func() bool { return s.latest(subject) == nil && b.logged("say with --pairing-profile") == 1 })
	s.must(s.user.Delete(t.Context(), second.Href))
	s.eventually("one again", func() bool { return s.latest(subject) != nil })
	if b.logged(`"level":"error"`) > 0 {
		t.Fatal("errors were logged")
	}
}

// Provisioning while the bridge reads: the number moved, so it reads again, and never commits a mixture.
func TestProvisioningDuringTheFetch(t *testing.T) {
	s := newScene(t)
	var once sync.Once
	var moved int64
	upstream, err := url.Parse("http://" + s.address)
	s.must(err)
	s.wire.breaks("/active/services", func(w http.ResponseWriter, r *http.Request) {
		// By now the bridge has read the IP lists, and not yet the rule sets.
		once.Do(func() {
			_, err := s.user.CreateIPList(t.Context(), api.IPList{Name: "late", IPRanges: []api.IPRange{{FromIP: "10.9.0.0/16"}}})
			s.must(err)
			moved = s.provisionSomething()
		})
		proxy := httputil.NewSingleHostReverseProxy(upstream)
		r.SetBasicAuth(userKey, userSecret)
		proxy.ServeHTTP(w, r)
	})
	s.startBridge()
	s.eventually("a manifest", func() bool { return s.count("facts.pce.provisioned.>") > 0 })
	if moved == 0 {
		t.Fatal("nothing was provisioned during the fetch: the test shows nothing")
	}
	manifest := s.latest("facts.pce.provisioned.0").GetProvisioned()
	if manifest.GetVersion() != moved || s.count("facts.pce.provisioned.>") != 1 || len(manifest.GetEntries()) != 4 {
		t.Fatalf("committed %v, want version %d whole", manifest, moved)
	}
}

// The console goes away and comes back, on its old data: the link is down and up in the log, and nothing else is written.
func TestConsoleRestart(t *testing.T) {
	s := newScene(t)
	b := s.startBridge("--link-down-after", "1s")
	s.inForce(1)
	s.eventually("up", func() bool { return s.latest(eventlog.LinkSubject).GetPceLink().GetUp() })
	facts := s.count("facts.pce.>")
	s.stopConsole()
	s.eventually("down", func() bool {
		l := s.latest(eventlog.LinkSubject).GetPceLink()
		return !l.GetUp() && l.GetReason() != ""
	})
	s.startConsole(s.address)
	s.eventually("up again", func() bool { return s.latest(eventlog.LinkSubject).GetPceLink().GetUp() })
	if now := s.count("facts.pce.>"); now != facts {
		t.Fatalf("%d facts were written for a restart", now-facts)
	}
	s.inForce(s.provisionSomething())
	if b.logged(`"level":"error"`, "connection refused") > 2 {
		t.Fatal("the same failure was told again and again")
	}
}

// The bridge waits for a console that is not there yet.
func TestStartBeforeTheConsole(t *testing.T) {
	s := newScene(t)
	s.stopConsole()
	b := s.startBridge("--pce-api-min-backoff", "10m", "--pce-api-max-backoff", "20m")
	s.eventually("a line", func() bool { return b.logged("the PCE does not answer") > 0 })
	s.startConsole(s.address)
	s.inForce(1)
}

// The log's disk is lost: in the new incarnation everything is written anew, then Synced.
func TestNewIncarnation(t *testing.T) {
	s := newScene(t)
	_, label := s.draftRule("db")
	version := s.provision()
	s.startBridge()
	s.inForce(version)
	s.server.Wipe()
	before := s.log.Incarnation()
	s.log = s.server.Create()
	if s.log.Incarnation() == before {
		t.Fatal("the incarnation is the same")
	}
	s.inForce(version)
	s.eventually("synced", func() bool {
		return s.latest(eventlog.SyncedSubject("pce-bridge")).GetSynced().GetIncarnation() == s.log.Incarnation()
	})
	if s.latest(eventlog.LabelSubject(api.ID(label.Href))) == nil || s.latest(eventlog.SettingsSubject) == nil {
		t.Fatal("not everything is there")
	}
	s.eventually("the link", func() bool { return s.latest(eventlog.LinkSubject).GetPceLink().GetUp() })
}

// A console without our agent API is polled.
func TestConsoleWithoutAgentAPI(t *testing.T) {
	s := newScene(t)
	answer := func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/agent/") || strings.HasSuffix(r.URL.Path, "security_policy_applied") {
			w.WriteHeader(http.StatusNotFound)
			return true
		}
		return false
	}
	// Somebody else tells it of the cluster's workloads.
	agent, err := api.New(api.Config{URL: "http://" + s.address, OrgID: 1, User: api.ID(s.cluster.Href), Secret: s.cluster.Token})
	s.must(err)
	_, err = agent.Agent(api.ID(s.cluster.Href)).CreateWorkloads(t.Context(), []api.KubernetesWorkload{{Namespace: "shop", Kind: "Deployment", Name: "web"}})
	s.must(err)
	s.wire.mu.Lock()
	s.wire.answer = answer
	s.wire.mu.Unlock()
	b := s.startBridge("--pce-api-policy-interval", "10s", "--pce-api-key", userKey, "--pce-api-secret", userSecret)
	s.inForce(1)
	s.eventually("what the console knows anyway", func() bool { return slices.Equal(s.known(), []string{"shop/Deployment/web"}) })
	s.eventually("said", func() bool {
		return b.logged("the PCE has no agent API for clusters: policy is read with API key") == 1
	})
}

// What the watcher saw goes up: nothing before it is in sync, differences after, also over a restart of the bridge.
func TestReportsOfTheCluster(t *testing.T) {
	s := newScene(t)
	s.startBridge()
	watcher := s.log.Producer("watcher")
	subject := func(kind, name string) string { return eventlog.KubernetesSubject(kind, "shop", name) }
	fact(watcher, t, eventlog.KubernetesSubject("namespace", "", "shop"), &ringfencev1.Fact{Body: &ringfencev1.Fact_Namespace{Namespace: &ringfencev1.Namespace{Name: "shop"}}})
	for _, node := range []string{"n1", "n2"} {
		fact(watcher, t, eventlog.KubernetesSubject("node", "", node), &ringfencev1.Fact{Body: &ringfencev1.Fact_Node{Node: &ringfencev1.Node{
			Name: node, KubeletVersion: "v1.37.2", PodCidrs: []string{"10.42.0.0/24", "fd00::/64"}}}})
	}
	fact(watcher, t, subject("deployment", "web"), deployment("web", nil))
	fact(watcher, t, subject("deployment", "old"), deployment("old", nil))
	fact(watcher, t, subject("service", "web"), &ringfencev1.Fact{Body: &ringfencev1.Fact_Service{Service: &ringfencev1.Service{Namespace: "shop", Name: "web", ClusterIps: []string{"10.96.0.1"}}}})
	fact(watcher, t, subject("service", "headless"), &ringfencev1.Fact{Body: &ringfencev1.Fact_Service{Service: &ringfencev1.Service{Namespace: "shop", Name: "headless"}}})
	s.inForce(1)
	time.Sleep(time.Second)
	if told := s.workloads(); len(told) != 0 {
		t.Fatalf("told before the watcher was in sync: %v", told)
	}
	s.must(watcher.Synced(t.Context()))
	s.eventually("the workloads", func() bool {
		return slices.Equal(s.workloads(), []string{"Deployment/old ", "Deployment/web ", "Service/web "})
	})
	cluster, err := s.user.ContainerCluster(t.Context(), s.cluster.Href)
	s.must(err)
	if cluster.ManagerType != "Kubernetes v1.37.2" || len(cluster.Nodes) != 4 || !cluster.Online || cluster.ContainerRuntime != "containerd" {
		t.Fatalf("cluster: %+v", cluster)
	}
	profiles, err := s.user.Profiles(t.Context(), s.cluster.Href)
	s.must(err)
	if len(profiles) != 2 || *profiles[1].Namespace != "shop" {
		t.Fatalf("profiles: %+v", profiles)
	}
	s.eventually("the new profile came back", func() bool {
		return s.latest(eventlog.ProfileSubject(api.ID(profiles[1].Href))).GetContainerWorkloadProfile().GetNamespace() == "shop"
	})
	fact(watcher, t, subject("deployment", "web"), deployment("web", map[string]string{"com.illumio.app": "x"}))
	fact(watcher, t, subject("deployment", "old"), tombstone())
	s.eventually("the difference", func() bool { return slices.Equal(s.workloads(), []string{"Deployment/web x", "Service/web "}) })
}

// What the console took of the reported workloads is in the log, so that degraded mode tells them from new ones: while the
// console is away nothing more is known, and a lost log knows it before it counts as complete.
func TestAcknowledgements(t *testing.T) {
	s := newScene(t)
	_, label := s.draftRule("db") // rules and labels as of before
	profiles, err := s.user.Profiles(t.Context(), s.cluster.Href)
	s.must(err)
	s.must(s.user.Update(t.Context(), profiles[0].Href, map[string]any{"managed": true, "enforcement_mode": "full"}))
	s.startBridge("--link-down-after", "1s")
	watcher := s.log.Producer("watcher")
	subject := func(kind, name string) string { return eventlog.KubernetesSubject(kind, "shop", name) }
	pod := func(name, controller string) *ringfencev1.Fact {
		p := &ringfencev1.Pod{Namespace: "shop", Name: name, Uid: "uid-" + name, Node: "n1"}
		if controller != "" {
			p.Controller = &ringfencev1.ObjectRef{Kind: "Deployment", Name: controller}
		}
		return &ringfencev1.Fact{Body: &ringfencev1.Fact_Pod{Pod: p}}
	}
	fact(watcher, t, subject("deployment", "web"), deployment("web", nil))
	fact(watcher, t, subject("pod", "web-1"), pod("web-1", "web"))
	fact(watcher, t, subject("pod", "bare"), pod("bare", ""))
	s.must(watcher.Synced(t.Context()))
	s.eventually("what the console took", func() bool { return slices.Equal(s.known(), []string{"shop/Deployment/web", "shop/Pod/bare"}) })
	fact(watcher, t, subject("deployment", "api"), deployment("api", nil))
	fact(watcher, t, subject("pod", "bare"), tombstone())
	s.eventually("the difference", func() bool { return slices.Equal(s.known(), []string{"shop/Deployment/api", "shop/Deployment/web"}) })

	s.stopConsole()
	s.eventually("down", func() bool { l := s.latest(eventlog.LinkSubject).GetPceLink(); return l != nil && !l.GetUp() })
	fact(watcher, t, subject("deployment", "new"), deployment("new", map[string]string{"com.illumio.app": label.Value}))
	fact(watcher, t, subject("pod", "new-1"), pod("new-1", "new"))
	time.Sleep(2 * time.Second)
	if known := s.known(); !slices.Equal(known, []string{"shop/Deployment/api", "shop/Deployment/web"}) {
		t.Fatalf("known without an answer of the console: %v", known)
	}
	if got := s.standing(); got["web-1"] != "full" || got["new-1"] != "visibility_only, degraded" {
		t.Fatalf("while the console is away: %v", got)
	}
	s.startConsole(s.address)
	s.eventually("the new one", func() bool { return slices.Contains(s.known(), "shop/Deployment/new") })
	s.eventually("everybody by the rules", func() bool { got := s.standing(); return got["web-1"] == "full" && got["new-1"] == "full" })

	s.server.Wipe()
	s.log = s.server.Create()
	s.eventually("synced", func() bool {
		return s.latest(eventlog.SyncedSubject("pce-bridge")).GetSynced().GetIncarnation() == s.log.Incarnation()
	})
	if known := s.known(); len(known) != 3 { // the watcher has not written a single fact yet
		t.Fatalf("known in the new log: %v", known)
	}
}

// The applied version is the oldest of all nodes of the facts, and waits for the last of them.
func TestAppliedVersion(t *testing.T) {
	s := newScene(t)
	s.startBridge()
	watcher := s.log.Producer("watcher")
	for _, node := range []string{"n1", "n2"} {
		fact(watcher, t, eventlog.KubernetesSubject("node", "", node), &ringfencev1.Fact{Body: &ringfencev1.Fact_Node{Node: &ringfencev1.Node{Name: node}}})
	}
	s.must(watcher.Synced(t.Context()))
	s.provisionSomething()
	s.inForce(2)
	enforcers := s.server.Conn("enforcer")
	report := func(node string, version int64) {
		s.must(eventlog.PublishStatus(enforcers, &ringfencev1.NodeStatus{Node: node, ProvisionedVersion: version}))
	}
	report("n1", 2)
	report("gone-node", 1)
	time.Sleep(2500 * time.Millisecond)
	if got := s.applied(); got != "" {
		t.Fatalf("applied %s while a node has not reported", got)
	}
	report("n2", 1)
	s.eventually("the oldest", func() bool { return s.applied() == "1" })
	report("n2", 2)
	s.eventually("all", func() bool { return s.applied() == "2" })
}
