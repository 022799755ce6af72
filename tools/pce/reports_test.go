package pce_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ringfence/ringfence/libs/eventlog"
	api "github.com/ringfence/ringfence/libs/pce"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// stock writes a small cluster: a node, a Deployment with two pods, a Service inside and one for outsiders, and a LabelMap that
// may make labels.
func (s *scene) stock(watcher *eventlog.Producer) {
	s.Helper()
	t, running := s.T, ringfencev1.PodPhase_POD_PHASE_RUNNING
	subject := func(kind, name string) string { return eventlog.KubernetesSubject(kind, "shop", name) }
	fact(watcher, t, eventlog.KubernetesSubject("namespace", "", "shop"), &ringfencev1.Fact{Body: &ringfencev1.Fact_Namespace{Namespace: &ringfencev1.Namespace{Name: "shop"}}})
	fact(watcher, t, eventlog.KubernetesSubject("node", "", "n1"), &ringfencev1.Fact{Body: &ringfencev1.Fact_Node{Node: &ringfencev1.Node{
		Name: "n1", MachineId: "4a5b", Addresses: []string{"10.9.0.1"}, Labels: map[string]string{"zone": "z1"}, KubeletVersion: "v1.37.2", PodCidrs: []string{"10.1.0.0/24"}}}})
	web := deployment("web", map[string]string{"meta.illumio.podIPObservability": "true"})
	web.GetKubernetesWorkload().Labels = map[string]string{"tier": "front"}
	fact(watcher, t, subject("deployment", "web"), web)
	for i, name := range []string{"web-1", "web-2"} {
		fact(watcher, t, subject("pod", name), &ringfencev1.Fact{Body: &ringfencev1.Fact_Pod{Pod: &ringfencev1.Pod{
			Namespace: "shop", Name: name, Uid: "uid-" + name, Node: "n1", Phase: running, Addresses: []string{fmt.Sprintf("10.1.0.%d", i+1)},
			Labels: map[string]string{"tier": "front"}, Controller: &ringfencev1.ObjectRef{Kind: "Deployment", Name: "web", Uid: "uid-web"}}}})
	}
	fact(watcher, t, subject("service", "inner"), &ringfencev1.Fact{Body: &ringfencev1.Fact_Service{Service: &ringfencev1.Service{
		Namespace: "shop", Name: "inner", Uid: "uid-inner", Type: "ClusterIP", ClusterIps: []string{"10.2.0.1"}, Ports: []*ringfencev1.ServicePort{{Protocol: 6, Port: 80}}}}})
	fact(watcher, t, subject("service", "outer"), &ringfencev1.Fact{Body: &ringfencev1.Fact_Service{Service: &ringfencev1.Service{
		Namespace: "shop", Name: "outer", Uid: "uid-outer", Type: "NodePort", ClusterIps: []string{"10.2.0.2"}, Labels: map[string]string{"tier": "front"},
		ExternalTrafficPolicy: "Cluster", Ports: []*ringfencev1.ServicePort{{Protocol: 6, Port: 80, NodePort: 30080}}}}})
	fact(watcher, t, eventlog.KubernetesSubject("labelmap", "", "default"), &ringfencev1.Fact{Body: &ringfencev1.Fact_LabelMap{LabelMap: &ringfencev1.LabelMap{
		Name: "default", NodeLabelMap: []*ringfencev1.LabelMapping{{FromKey: "zone", ToKey: "loc", AllowCreate: true}},
		WorkloadLabelMap: []*ringfencev1.LabelMapping{{FromKey: "tier", ToKey: "role", AllowCreate: true}}}}})
	s.must(watcher.Synced(t.Context()))
}

// pairingKey makes a key of a pairing profile whose machines get a label.
func (s *scene) pairingKey() (code string, label api.Label) {
	s.Helper()
	label, err := s.user.CreateLabel(s.Context(), api.Label{Key: "env", Value: "prod"})
	s.must(err)
	profile, err := s.user.CreatePairingProfile(s.Context(), api.PairingProfile{Name: "nodes", Enabled: true, EnforcementMode: "visibility_only", Labels: []api.Ref{{Href: label.Href}}})
	s.must(err)
	code, err = s.user.CreatePairingKey(s.Context(), profile.Href)
	s.must(err)
	return code, label
}

// manage makes the cluster's namespaces managed.
func (s *scene) manage() {
	s.Helper()
	profiles, err := s.user.Profiles(s.Context(), s.cluster.Href)
	s.must(err)
	s.must(s.user.Update(s.Context(), profiles[0].Href, map[string]any{"managed": true, "enforcement_mode": "full"}))
}

// The console learns all of a cluster: nodes as machines, Services for outsiders, addresses that are asked for, labels that the LabelMap
// makes, how workloads stand, flows by windows, and what goes wrong. What it makes of that comes down again.
func TestAllOfAClusterIsReported(t *testing.T) {
	s := newScene(t)
	s.manage()
	code, env := s.pairingKey()
	s.startBridge("--cluster-code", code, "--flow-window", "10s")
	s.stock(s.log.Producer("watcher"))

	machine := func() (found api.Workload) {
		listed, err := s.user.Workloads(t.Context())
		s.must(err)
		for _, w := range listed {
			if w.MachineID == "4a5b" {
				found = w
			}
		}
		return found
	}
	s.eventually("the node as a machine", func() bool { return machine().Hostname == "n1" })
	m := machine()
	if m.EnforcementMode != "visibility_only" || len(m.Interfaces) != 1 || m.Interfaces[0].Address != "10.9.0.1" || m.VEN == nil || !slices.Contains(m.Labels, api.Ref{Href: env.Href}) {
		t.Errorf("machine %+v", m)
	}
	s.eventually("the machine comes down", func() bool {
		w := s.latest(eventlog.PceWorkloadSubject(api.ID(m.Href))).GetPceWorkload()
		return w.GetManaged() && w.GetMachineId() == "4a5b"
	})
	virtual := func() (found []api.VirtualService) {
		listed, err := s.user.VirtualServices(t.Context(), api.Active)
		s.must(err)
		return listed
	}
	s.eventually("the Service for outsiders", func() bool { return len(virtual()) == 1 })
	if v := virtual()[0]; v.ExternalDataReference != "uid-outer" || v.ExternalDataSet != api.ID(s.cluster.Href)+"|shop" {
		t.Errorf("virtual service %+v", v)
	}
	var role api.Label
	s.eventually("the label that the LabelMap makes", func() (ok bool) {
		var err error
		role, ok, err = s.user.FindLabel(t.Context(), "role", "front")
		s.must(err)
		return ok
	})
	s.eventually("the label comes down", func() bool { return s.latest(eventlog.LabelSubject(api.ID(role.Href))) != nil })
	workload := func(kind, name string) (found api.KubernetesWorkload) {
		listed, err := s.user.KubernetesWorkloads(t.Context())
		s.must(err)
		for _, w := range listed {
			if w.Kind == kind && w.Name == name {
				found = w
			}
		}
		return found
	}
	s.eventually("the workload has its label, its mode and its addresses", func() bool {
		w := workload("Deployment", "web")
		return slices.ContainsFunc(w.Labels, func(l api.Label) bool { return l.Href == role.Href }) && len(w.Interfaces) == 2 && w.EnforcementMode == "full"
	})

	enforcers := s.server.Conn("enforcer")
	pod := func(name string, state ringfencev1.PodState) *ringfencev1.PodStatus {
		return &ringfencev1.PodStatus{Uid: "uid-" + name, Namespace: "shop", Name: name, State: state}
	}
	enforced := ringfencev1.PodState_POD_STATE_ENFORCED
	status := func(problems []string, pods ...*ringfencev1.PodStatus) {
		s.must(eventlog.PublishStatus(enforcers, &ringfencev1.NodeStatus{Node: "n1", ProvisionedVersion: 1, Pods: pods, Problems: problems,
			ReportedAt: timestamppb.Now(), EnforcerVersion: "v9"}))
	}
	status(nil, pod("web-1", enforced), pod("web-2", ringfencev1.PodState_POD_STATE_PENDING))
	s.eventually("the workload is on its way", func() bool { return workload("Deployment", "web").SecurityPolicySyncState == api.SyncSyncing })
	status([]string{"tampering: the table of pod shop/web-1 was changed"}, pod("web-1", enforced), pod("web-2", enforced))
	s.eventually("the workload is there", func() bool { return workload("Deployment", "web").SecurityPolicySyncState == api.SyncApplied })
	s.eventually("the event", func() bool {
		return strings.Contains(s.text("/orgs/1/events?event_type=agent.tampering"), "the table of pod shop/web-1 was changed")
	})
	s.eventually("versions of the parts", func() bool { return strings.Contains(s.text(s.cluster.Href), `"enforcer":"v9"`) })

	address := func(text string) []byte { return netip.MustParseAddr(text).AsSlice() }
	s.must(eventlog.PublishFlows(enforcers, &ringfencev1.FlowBatch{Node: "n1", From: timestamppb.Now(), To: timestamppb.Now(), Flows: []*ringfencev1.Flow{{
		PodUid: "uid-web-1", PodNamespace: "shop", PodName: "web-1", Direction: ringfencev1.FlowDirection_FLOW_DIRECTION_OUTBOUND,
		Source: address("10.1.0.1"), Destination: address("10.9.0.1"), Protocol: 6, Port: 6443, Connections: 3, Decision: ringfencev1.FlowDecision_FLOW_DECISION_BLOCKED}}}))
	s.eventuallyWithin(40*time.Second, "the flow", func() bool {
		var rows []struct {
			Src, Dst struct {
				Workload struct{ Href, Name string }
			}
			Decision    string `json:"policy_decision"`
			Connections int    `json:"num_connections"`
		}
		s.post("/orgs/1/traffic_flows/traffic_analysis_queries", map[string]any{}, &rows)
		return len(rows) == 1 && rows[0].Connections == 3 && rows[0].Decision == "blocked" && rows[0].Dst.Workload.Href == m.Href &&
			rows[0].Src.Workload.Href == workload("Deployment", "web").Href
	})
}

// Whatever mode a cluster goes to from whichever, the console has what that mode tells it, and nothing of the mode before.
func TestClusterModesLeaveNoOrphans(t *testing.T) {
	s := newScene(t)
	s.manage()
	code, _ := s.pairingKey()
	watcher := s.log.Producer("watcher")
	s.stock(watcher)
	count := func(path string) int {
		var listed []json.RawMessage
		s.must(json.Unmarshal([]byte(s.text(path)), &listed))
		return len(listed)
	}
	for _, step := range []struct {
		mode                                   string
		workloads, containers, services, hosts int
	}{
		{"clas", 3, 0, 1, 1}, {"migrateClasToLegacy", 3, 2, 2, 1}, {"legacy", 0, 2, 2, 1},
		{"migrateLegacyToClas", 3, 2, 2, 1}, {"clas", 3, 0, 1, 1}, {"unpair", 0, 0, 0, 0}, {"clas", 3, 0, 1, 1},
	} {
		b := s.startBridge("--cluster-mode", step.mode, "--cluster-code", code)
		var got [4]int
		want := [4]int{step.workloads, step.containers, step.services, step.hosts}
		s.eventually(fmt.Sprintf("what mode %s tells", step.mode), func() bool {
			got = [4]int{count("/orgs/1/kubernetes_workloads"), count("/orgs/1/container_workloads"), count("/orgs/1/sec_policy/active/virtual_services"), count("/orgs/1/workloads")}
			t.Logf("%s: %v, want %v", step.mode, got, want)
			return got == want && strings.Contains(s.text(s.cluster.Href), `"cluster_mode":"`+step.mode+`"`)
		})
		if b.logged(`"level":"error"`) > 0 {
			t.Fatal("errors were logged")
		}
		s.must(b.Process.Kill())
		_, _ = b.Process.Wait()
	}
}
