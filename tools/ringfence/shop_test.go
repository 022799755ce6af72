package ringfence_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"iter"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ringfence/ringfence/libs/eventlog"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
	"github.com/ringfence/ringfence/tools/ringfence"
)

var update = flag.Bool("update", false, "write testdata/shop.* anew")

// The shop's log, as an export and as the lines that facts prints.
const (
	shopFile  = "testdata/shop.rflog"
	shopLines = "testdata/shop.jsonl"
)

// exportShop writes the shop's log as an export.
func exportShop(t testing.TB) []byte {
	t.Helper()
	var out bytes.Buffer
	entries := shop(t)
	done, err := ringfence.Write(&out, ringfence.Header{Incarnation: "shop", Last: uint64(len(entries))}, sequence(entries))
	if err != nil || len(done.Refused) > 0 {
		t.Fatalf("%v, refused %q", err, done.Refused)
	}
	return out.Bytes()
}

// TestShopFiles keeps the files equal to what shop says. Compressed bytes are another library's business.
func TestShopFiles(t *testing.T) {
	var lines bytes.Buffer
	for _, e := range shop(t) {
		line, err := ringfence.Line(e)
		if err != nil {
			t.Fatal(err)
		}
		lines.Write(append(line, '\n'))
	}
	if *update {
		for name, data := range map[string][]byte{shopFile: exportShop(t), shopLines: lines.Bytes()} {
			if err := os.WriteFile(name, data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	data, err := os.ReadFile(shopLines)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(data), lines.String()); diff != "" {
		t.Errorf("%s is not what shop_test.go says; run go test -update: %s", shopLines, diff)
	}
	file, err := ringfence.OpenFile(shopFile)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	want := memory(t, exportShop(t))
	if diff := cmp.Diff(want.Header, file.Header); diff != "" {
		t.Errorf("%s: header: %s", shopFile, diff)
	}
	if diff := cmp.Diff(want.Trailer, file.Trailer); diff != "" {
		t.Errorf("%s: trailer: %s", shopFile, diff)
	}
	if diff := cmp.Diff(shop(t), collect(t, file.Read(t.Context(), 0, 0)), protocmp.Transform()); diff != "" {
		t.Errorf("%s: facts: %s", shopFile, diff)
	}
}

// memory opens an export in memory.
func memory(t testing.TB, data []byte) *ringfence.File {
	t.Helper()
	file, err := ringfence.NewFile(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// collect wants facts without error.
func collect(t testing.TB, facts iter.Seq2[eventlog.Entry, error]) (all []eventlog.Entry) {
	t.Helper()
	for e, err := range facts {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

func sequence(entries []eventlog.Entry) iter.Seq2[eventlog.Entry, error] {
	return func(yield func(eventlog.Entry, error) bool) {
		for _, e := range entries {
			if !yield(e, nil) {
				return
			}
		}
	}
}

const org = "/orgs/1/"

// story writes a log.
type story struct {
	t       testing.TB
	now     time.Time
	entries []eventlog.Entry
}

func (s *story) fact(subject string, fact *ringfencev1.Fact) {
	s.now = s.now.Add(time.Second)
	s.entries = append(s.entries, eventlog.Entry{
		Subject: subject, Sequence: uint64(len(s.entries)) + 1, StoredAt: s.now, Fact: fact,
	})
}

func (s *story) label(id, key, value string) {
	s.fact(eventlog.LabelSubject(id), &ringfencev1.Fact{Body: &ringfencev1.Fact_Label{
		Label: &ringfencev1.Label{Href: org + "labels/" + id, Key: key, Value: value},
	}})
}

func (s *story) profile(id, namespace string, mode ringfencev1.EnforcementMode, labels ...*ringfencev1.ProfileLabel) {
	s.fact(eventlog.ProfileSubject(id), &ringfencev1.Fact{Body: &ringfencev1.Fact_ContainerWorkloadProfile{
		ContainerWorkloadProfile: &ringfencev1.ContainerWorkloadProfile{
			Href: org + "container_clusters/c/container_workload_profiles/" + id, Namespace: namespace, Name: "of " + namespace,
			Managed: mode != ringfencev1.EnforcementMode_ENFORCEMENT_MODE_UNSPECIFIED, EnforcementMode: mode, Labels: labels,
		},
	}})
}

func assign(key, id string) *ringfencev1.ProfileLabel {
	return &ringfencev1.ProfileLabel{Key: key, Assignment: org + "labels/" + id}
}

// provision writes objects and a version of them.
func (s *story) provision(version int64, objects map[string]*ringfencev1.PceObject, hrefs ...string) {
	manifest := &ringfencev1.Provisioned{Version: version, Chunks: 1, ProvisionedAt: timestamppb.New(s.now)}
	for _, href := range hrefs {
		encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(objects[href])
		if err != nil {
			s.t.Fatal(err)
		}
		sum := sha256.Sum256(encoded)
		digest := hex.EncodeToString(sum[:])
		s.fact(eventlog.ObjectSubject(digest), &ringfencev1.Fact{Body: &ringfencev1.Fact_PceObject{PceObject: objects[href]}})
		manifest.Entries = append(manifest.Entries, &ringfencev1.ManifestEntry{Href: href, Sha256: digest})
	}
	s.fact(eventlog.ProvisionedSubject(0), &ringfencev1.Fact{Body: &ringfencev1.Fact_Provisioned{Provisioned: manifest}})
}

func (s *story) synced(producer string) {
	s.fact(eventlog.SyncedSubject(producer), &ringfencev1.Fact{Body: &ringfencev1.Fact_Synced{
		Synced: &ringfencev1.Synced{Producer: producer, Incarnation: "shop"},
	}})
}

func (s *story) namespace(name string) {
	s.fact(eventlog.KubernetesSubject("namespace", "", name), &ringfencev1.Fact{Body: &ringfencev1.Fact_Namespace{
		Namespace: &ringfencev1.Namespace{Name: name, Uid: "ns-" + name},
	}})
}

func (s *story) node(name, address string) {
	s.fact(eventlog.KubernetesSubject("node", "", name), &ringfencev1.Fact{Body: &ringfencev1.Fact_Node{
		Node: &ringfencev1.Node{Name: name, Uid: "node-" + name, Addresses: []string{address}},
	}})
}

func (s *story) workload(kind, namespace, name string) {
	s.fact(eventlog.KubernetesSubject(kind, namespace, name), &ringfencev1.Fact{Body: &ringfencev1.Fact_KubernetesWorkload{
		KubernetesWorkload: &ringfencev1.KubernetesWorkload{
			Namespace: namespace, Kind: kind, Name: name, Uid: kind + "-" + name, Annotations: map[string]string{"com.illumio.role": name},
		},
	}})
}

// pod writes a running pod; a pod without a controller is a workload of its own.
func (s *story) pod(namespace, name, node, kind, controller string, addresses ...string) {
	pod := &ringfencev1.Pod{
		Namespace: namespace, Name: name, Uid: "pod-" + name, Node: node, Addresses: addresses, Ready: true,
		Phase: ringfencev1.PodPhase_POD_PHASE_RUNNING, Labels: map[string]string{"app": name},
	}
	if controller != "" {
		pod.Labels = map[string]string{"app": controller}
		pod.Controller = &ringfencev1.ObjectRef{Kind: kind, Name: controller, Uid: kind + "-" + controller}
	}
	s.fact(eventlog.KubernetesSubject("pod", namespace, name), &ringfencev1.Fact{Body: &ringfencev1.Fact_Pod{Pod: pod}})
}

func (s *story) service(namespace, name, address string, port, target uint32) {
	s.fact(eventlog.KubernetesSubject("service", namespace, name), &ringfencev1.Fact{Body: &ringfencev1.Fact_Service{
		Service: &ringfencev1.Service{
			Namespace: namespace, Name: name, Uid: "service-" + name, Type: "ClusterIP", ClusterIps: []string{address},
			Selector: map[string]string{"app": name}, Ports: []*ringfencev1.ServicePort{{Protocol: 6, Port: port, TargetPort: target}},
		},
	}})
}

func label(id string) []*ringfencev1.Actor {
	return []*ringfencev1.Actor{{Actor: &ringfencev1.Actor_Label{Label: org + "labels/" + id}}}
}

func httpService() *ringfencev1.PceObject {
	return &ringfencev1.PceObject{Object: &ringfencev1.PceObject_Service{Service: &ringfencev1.PceService{
		Href: org + "sec_policy/active/services/1", Name: "HTTP", Ports: []*ringfencev1.PortRange{{Protocol: 6, Port: 8080}},
	}}}
}

func ruleSet(rules ...*ringfencev1.Rule) *ringfencev1.PceObject {
	return &ringfencev1.PceObject{Object: &ringfencev1.PceObject_RuleSet{RuleSet: &ringfencev1.RuleSet{
		Href: org + "sec_policy/active/rule_sets/1", Name: "Shop", Enabled: true, Rules: rules,
		Scopes: []*ringfencev1.Scope{{Entries: append(label("4"), label("5")...)}},
	}}}
}

func rule(id, consumer, provider string, service *ringfencev1.IngressService) *ringfencev1.Rule {
	return &ringfencev1.Rule{
		Href: org + "sec_policy/active/rule_sets/1/sec_rules/" + id, Enabled: true,
		Consumers: label(consumer), Providers: label(provider), Services: []*ringfencev1.IngressService{service},
	}
}

// shop is a log of two provisioned versions: the first lets web reach api, in a shop that only watches; the second lets
// api reach the database too, and the shop is enforced. ops has one bare pod that no rule knows.
func shop(t testing.TB) []eventlog.Entry {
	s := &story{t: t, now: time.Date(2026, 1, 31, 11, 59, 59, 0, time.UTC)}
	for i, l := range [][2]string{{"role", "web"}, {"role", "api"}, {"role", "db"}, {"app", "shop"}, {"env", "prod"}, {"app", "ops"}} {
		s.label(string(rune('1'+i)), l[0], l[1])
	}
	s.profile("p0", "", ringfencev1.EnforcementMode_ENFORCEMENT_MODE_UNSPECIFIED)
	s.profile("p1", "shop", ringfencev1.EnforcementMode_ENFORCEMENT_MODE_VISIBILITY_ONLY, assign("app", "4"), assign("env", "5"))
	s.profile("p2", "ops", ringfencev1.EnforcementMode_ENFORCEMENT_MODE_VISIBILITY_ONLY, assign("app", "6"))

	services, rules := org+"sec_policy/active/services/1", org+"sec_policy/active/rule_sets/1"
	http := &ringfencev1.IngressService{Service: &ringfencev1.IngressService_Href{Href: services}}
	postgres := &ringfencev1.IngressService{Service: &ringfencev1.IngressService_Port{Port: &ringfencev1.PortRange{Protocol: 6, Port: 5432}}}
	webToAPI, apiToDB := rule("1", "1", "2", http), rule("2", "2", "3", postgres)
	s.provision(1, map[string]*ringfencev1.PceObject{services: httpService(), rules: ruleSet(webToAPI)}, services, rules)
	s.synced("pce-bridge")

	for _, name := range []string{"shop", "ops", "kube-system"} {
		s.namespace(name)
	}
	s.node("node-1", "192.0.2.1")
	s.node("node-2", "192.0.2.2")
	s.workload("Deployment", "shop", "web")
	s.workload("Deployment", "shop", "api")
	s.workload("StatefulSet", "shop", "db")
	s.pod("shop", "web-1", "node-1", "Deployment", "web", "10.0.1.1", "fd00::1:1")
	s.pod("shop", "web-2", "node-2", "Deployment", "web", "10.0.2.1", "fd00::2:1")
	s.pod("shop", "api-1", "node-1", "Deployment", "api", "10.0.1.2")
	s.pod("shop", "db-0", "node-2", "StatefulSet", "db", "10.0.2.2")
	s.pod("ops", "intruder", "node-1", "", "", "10.0.1.9")
	s.service("shop", "api", "10.96.0.10", 80, 8080)
	s.service("shop", "db", "10.96.0.11", 5432, 5432)
	s.synced("watcher")

	s.now = s.now.Add(time.Hour)
	s.provision(2, map[string]*ringfencev1.PceObject{rules: ruleSet(webToAPI, apiToDB), services: httpService()}, rules, services)
	s.profile("p1", "shop", ringfencev1.EnforcementMode_ENFORCEMENT_MODE_FULL, assign("app", "4"), assign("env", "5"))
	s.pod("shop", "web-3", "node-1", "Deployment", "web", "10.0.1.3")
	return s.entries
}
