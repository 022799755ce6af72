package pcebridge

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/pce"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// stocked gives an inventory of a small cluster in a cluster mode.
func stocked(mode string, hostNetwork bool, facts ...*ringfencev1.Fact) *inventory {
	i := newInventory("x", (&Config{ClusterMode: mode, ReportHostNetwork: hostNetwork}).reporting())
	for _, f := range append(facts, kube()...) {
		i.apply(eventlog.Entry{Subject: subjectOf(f), Fact: f})
	}
	return i
}

func kube() []*ringfencev1.Fact {
	shows := map[string]string{observability: "true"}
	web := &ringfencev1.ObjectRef{Kind: "Deployment", Name: "web", Uid: "d1"}
	running := ringfencev1.PodPhase_POD_PHASE_RUNNING
	return []*ringfencev1.Fact{
		{Body: &ringfencev1.Fact_Namespace{Namespace: &ringfencev1.Namespace{Name: "shop"}}},
		{Body: &ringfencev1.Fact_Node{Node: &ringfencev1.Node{Name: "n1", MachineId: "m1", Addresses: []string{"10.9.0.1", "fd00::1"}, Labels: map[string]string{"zone": "z1"}}}},
		{Body: &ringfencev1.Fact_KubernetesWorkload{KubernetesWorkload: &ringfencev1.KubernetesWorkload{
			Namespace: "shop", Kind: "Deployment", Name: "web", Uid: "d1", Annotations: shows, Labels: map[string]string{"tier": "front"}}}},
		{Body: &ringfencev1.Fact_KubernetesWorkload{KubernetesWorkload: &ringfencev1.KubernetesWorkload{Namespace: "shop", Kind: "DaemonSet", Name: "agent", Uid: "d2", HostNetwork: true}}},
		{Body: &ringfencev1.Fact_Pod{Pod: &ringfencev1.Pod{Namespace: "shop", Name: "web-1", Uid: "p1", Controller: web, Phase: running, Addresses: []string{"10.1.0.1", "fd01::1"}}}},
		{Body: &ringfencev1.Fact_Pod{Pod: &ringfencev1.Pod{Namespace: "shop", Name: "web-2", Uid: "p2", Controller: web, Phase: running, Addresses: []string{"10.1.0.2"}}}},
		{Body: &ringfencev1.Fact_Pod{Pod: &ringfencev1.Pod{Namespace: "shop", Name: "agent-1", Uid: "p3", Phase: running, HostNetwork: true, Addresses: []string{"10.9.0.1"},
			Controller: &ringfencev1.ObjectRef{Kind: "DaemonSet", Name: "agent", Uid: "d2"}}}},
		{Body: &ringfencev1.Fact_Service{Service: &ringfencev1.Service{Namespace: "shop", Name: "inner", Uid: "s1", Type: "ClusterIP", ClusterIps: []string{"10.2.0.1"}}}},
		{Body: &ringfencev1.Fact_Service{Service: &ringfencev1.Service{Namespace: "shop", Name: "outer", Uid: "s2", Type: "LoadBalancer", ClusterIps: []string{"10.2.0.2"},
			ExternalAddresses: []string{"192.0.2.7"}, ExternalTrafficPolicy: "Local", Annotations: map[string]string{"com.illumio.app": "shop", "com.illumio.role": "ignored"},
			Labels: map[string]string{"tier": "front"}, Ports: []*ringfencev1.ServicePort{{Protocol: 6, Port: 80, NodePort: 30080}}}}},
		{Body: &ringfencev1.Fact_Service{Service: &ringfencev1.Service{Namespace: "shop", Name: "headless", Uid: "s3", Type: "ClusterIP"}}},
		{Body: &ringfencev1.Fact_LabelMap{LabelMap: &ringfencev1.LabelMap{Name: "default",
			NodeLabelMap:     []*ringfencev1.LabelMapping{{FromKey: "zone", ToKey: "loc"}},
			WorkloadLabelMap: []*ringfencev1.LabelMapping{{FromKey: "tier", ToKey: "bu"}, {FromKey: "tier", ToKey: "role", AllowCreate: true, ValuesMap: []*ringfencev1.LabelValueMapping{{From: "front", To: "web"}}}}}}},
	}
}

func subjectOf(f *ringfencev1.Fact) string {
	switch b := f.GetBody().(type) {
	case *ringfencev1.Fact_Namespace:
		return eventlog.KubernetesSubject("namespace", "", b.Namespace.GetName())
	case *ringfencev1.Fact_Node:
		return eventlog.KubernetesSubject("node", "", b.Node.GetName())
	case *ringfencev1.Fact_KubernetesWorkload:
		return eventlog.KubernetesSubject(b.KubernetesWorkload.GetKind(), b.KubernetesWorkload.GetNamespace(), b.KubernetesWorkload.GetName())
	case *ringfencev1.Fact_Pod:
		return eventlog.KubernetesSubject("pod", b.Pod.GetNamespace(), b.Pod.GetName())
	case *ringfencev1.Fact_Service:
		return eventlog.KubernetesSubject("service", b.Service.GetNamespace(), b.Service.GetName())
	default:
		return eventlog.KubernetesSubject("labelmap", "", "default")
	}
}

// What the console is told depends on the cluster mode. Between two modes both kinds are there.
func TestClusterModesReport(t *testing.T) {
	for _, test := range []struct {
		mode                                   string
		hostNetwork                            bool
		workloads, services, containers, hosts []string
	}{
		{modeClas, false, []string{"shop/Deployment/web", "shop/Service/inner", "shop/Service/outer"}, []string{"s2"}, nil, []string{"n1"}},
		{modeClas, true, []string{"shop/DaemonSet/agent", "shop/Deployment/web", "shop/Service/inner", "shop/Service/outer"}, []string{"s2"}, nil, []string{"n1"}},
		{modeLegacy, false, nil, []string{"s1", "s2"}, []string{"p1", "p2"}, []string{"n1"}},
		{modeLegacy, true, nil, []string{"s1", "s2"}, []string{"p1", "p2", "p3"}, []string{"n1"}},
		{modeToClas, false, []string{"shop/Deployment/web", "shop/Service/inner", "shop/Service/outer"}, []string{"s1", "s2"}, []string{"p1", "p2"}, []string{"n1"}},
		{modeToLegacy, false, []string{"shop/Deployment/web", "shop/Service/inner", "shop/Service/outer"}, []string{"s1", "s2"}, []string{"p1", "p2"}, []string{"n1"}},
		{modeUnpair, false, nil, nil, nil, nil},
	} {
		c, _ := stocked(test.mode, test.hostNetwork).cluster(labels{})
		for what, pair := range map[string][2][]string{
			"workloads": {test.workloads, slices.Sorted(maps.Keys(c.workloads))}, "services": {test.services, slices.Sorted(maps.Keys(c.services))},
			"containers": {test.containers, slices.Sorted(maps.Keys(c.containers))}, "hosts": {test.hosts, slices.Sorted(maps.Keys(c.hosts))},
		} {
			if diff := cmp.Diff(pair[0], pair[1], cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("%s, hostNetwork %v: %s: %s", test.mode, test.hostNetwork, what, diff)
			}
		}
	}
}

// Labels come from the LabelMap as the engine takes them: a key that the console does not have is passed over, and a value that it
// does not have is made where that is allowed.
func TestMappedLabels(t *testing.T) {
	known := labels{keys: map[string]bool{"role": true, "loc": true, "app": true}, labels: map[pce.Label]bool{}}
	web := pce.Label{Key: "role", Value: "web"}
	c, _ := stocked(modeClas, false).cluster(known)
	if diff := cmp.Diff(map[pce.Label]bool{web: true}, c.wanted); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]pce.Label{web}, c.workloads["shop/Deployment/web"].Labels); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]pce.Label{{Key: "app", Value: "shop"}, web}, c.services["s2"].Labels); diff != "" {
		t.Errorf("the LabelMap comes before annotations: %s", diff)
	}
	if labels := c.hosts["n1"].Labels; len(labels) != 0 {
		t.Errorf("a label that may not be made was given: %v", labels)
	}
	known.labels[web], known.labels[pce.Label{Key: "loc", Value: "z1"}], known.keys["bu"] = true, true, true
	known.labels[pce.Label{Key: "bu", Value: "front"}] = true
	c, _ = stocked(modeClas, false).cluster(known)
	if len(c.wanted) != 0 {
		t.Errorf("labels that are there are wanted: %v", c.wanted)
	}
	if diff := cmp.Diff([]pce.Label{{Key: "bu", Value: "front"}, web}, c.workloads["shop/Deployment/web"].Labels); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]pce.Label{{Key: "loc", Value: "z1"}}, c.hosts["n1"].Labels); diff != "" {
		t.Error(diff)
	}
}

// A Service for outsiders is told with all its addresses, and a workload that asks for it with those of its pods.
func TestAddressesThatAreTold(t *testing.T) {
	i := stocked(modeClas, false)
	c, _ := i.cluster(labels{})
	port, tcp := 80, 6
	want := pce.ClusterService{
		UID: "s2", Name: "outer", Namespace: "shop", ServiceType: "LoadBalancer", ExternalTrafficPolicy: "Local", NodePorts: []int{30080},
		Addresses: []pce.ServiceAddress{{IP: "10.2.0.2"}, {IP: "192.0.2.7"}}, Ports: []pce.ServicePort{{Port: &port, Proto: &tcp}},
		Labels: []pce.Label{{Key: "app", Value: "shop"}, {Key: "role", Value: "ignored"}},
	}
	if diff := cmp.Diff(want, c.services["s2"]); diff != "" {
		t.Error(diff)
	}
	addresses := func() (out []string) {
		c, _ := i.cluster(labels{})
		for _, n := range c.workloads["shop/Deployment/web"].Interfaces {
			out = append(out, n.Address)
		}
		return out
	}
	if diff := cmp.Diff([]string{"10.1.0.1", "10.1.0.2", "fd01::1"}, addresses()); diff != "" {
		t.Error(diff)
	}
	<-i.changed
	i.apply(eventlog.Entry{Subject: eventlog.KubernetesSubject("pod", "shop", "web-1"), Fact: &ringfencev1.Fact{Body: &ringfencev1.Fact_Gone{Gone: &ringfencev1.Gone{Uid: "p1"}}}})
	if diff := cmp.Diff([]string{"10.1.0.2"}, addresses()); diff != "" || len(i.changed) != 1 {
		t.Errorf("changed %d, %s", len(i.changed), diff)
	}
	workloads, nodes := i.owners()
	if got := workloads[addressesOf([]string{"10.1.0.2"})[0]]; got != "shop/Deployment/web" {
		t.Errorf("the pod's address is %q's", got)
	}
	if got := workloads[addressesOf([]string{"10.2.0.1"})[0]]; got != "shop/Service/inner" {
		t.Errorf("the Service's address is %q's", got)
	}
	if got := nodes[addressesOf([]string{"fd00::1"})[0]]; got != "n1" {
		t.Errorf("the node's address is %q's", got)
	}
	if diff := cmp.Diff(map[string][]string{"shop/Deployment/web": {"p2"}}, i.members()); diff != "" {
		t.Error(diff)
	}
}
