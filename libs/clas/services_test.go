package clas_test

import (
	"maps"
	"slices"
	"testing"

	pb "github.com/ringfence/ringfence/proto/ringfence/v1"

	"github.com/ringfence/ringfence/libs/addresses"
	"github.com/ringfence/ringfence/libs/clas"
)

// apiService exposes the api pods of the shop: 80 -> 8080, 443 -> "tls", 53 as UDP.
func apiService(annotations map[string]string) *pb.Service {
	return &pb.Service{Namespace: "shop", Name: "api", Uid: "s", Type: "ClusterIP", ClusterIps: []string{"10.96.0.1", "fd96::1"},
		Selector: map[string]string{"app": "api"}, Annotations: annotations, Ports: []*pb.ServicePort{
			{Protocol: 6, Port: 80, TargetPort: 8080}, {Protocol: 6, Port: 443, TargetPortName: "tls"}, {Protocol: 17, Port: 53}}}
}

func webToAPI(services ...*pb.PortRange) *pb.PceObject {
	return ruleSet(&pb.RuleSet{Href: setHref("s"), Name: "S", Enabled: true, Scopes: []*pb.Scope{scope("prod")}, Rules: []*pb.Rule{
		{Href: ruleHref("s", "1"), Enabled: true, Consumers: actors("web"), Providers: actors("api"), Services: on(services...)}}})
}

// shopWithService has a Service in front of the api pod, whose port "tls" is 8443.
func shopWithService(t *testing.T, ports ...*pb.PortRange) *clas.Engine {
	t.Helper()
	e := clas.New()
	apply(t, e, shop()...)
	api := runningPod("shop", "api", "api", "n2", "10.0.0.2", "fd00::2")
	api.Ports = []*pb.ContainerPort{{Name: "tls", Port: 8443, Protocol: 6}, {Name: "tls", Port: 1, Protocol: 17}}
	apply(t, e, podFact(api), serviceFact(apiService(nil)))
	apply(t, e, provisioned(1, 1, webToAPI(ports...))...)
	return e
}

func TestARuleReachesServicesByServicePortOrTargetPort(t *testing.T) {
	cases := []struct {
		name  string
		ports []*pb.PortRange
		open  []uint16 // of the ClusterIP, among 80, 443, 53
	}{
		{"the target port", []*pb.PortRange{tcp(8080)}, []uint16{80}},
		{"the service port", []*pb.PortRange{tcp(80)}, []uint16{80}},
		{"a named target port", []*pb.PortRange{tcp(8443)}, []uint16{443}},
		{"a range over both targets", []*pb.PortRange{tcpRange(8000, 9000)}, []uint16{80, 443}},
		{"every port of the protocol", []*pb.PortRange{{Protocol: 6}}, []uint16{80, 443}},
		{"the other protocol", []*pb.PortRange{{Protocol: 17}}, nil},
		{"all services", []*pb.PortRange{allPorts()}, []uint16{80, 443}},
		{"another port", []*pb.PortRange{tcp(81)}, nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			e := shopWithService(t, c.ports...)
			var open []uint16
			for _, port := range []uint16{80, 443, 54} {
				x, err := e.Explain(clas.Query{Source: "shop/web", Destination: "10.96.0.1", Port: port, Protocol: 6})
				if err != nil {
					t.Fatal(err)
				}
				if x.Outbound.Decision == clas.DecisionAllowed {
					open = append(open, port)
				}
			}
			if !slices.Equal(open, c.open) {
				t.Errorf("open %v, want %v", open, c.open)
			}
		})
	}
}

func TestAServiceIsExplainedThroughToItsBackend(t *testing.T) {
	e := shopWithService(t, tcp(8080))
	if got := ask(t, e, "shop/web", "shop/service/api", 80); got != clas.Allowed {
		t.Errorf("by target port: %s", got)
	}
	// The rule names the service port: the way out is open, but the backend listens on another port.
	e = shopWithService(t, tcp(80))
	x, err := e.Explain(clas.Query{Source: "shop/web", Destination: "shop/service/api", Port: 80, Protocol: 6})
	if err != nil {
		t.Fatal(err)
	}
	if x.Verdict != clas.Blocked || x.Outbound.Decision != clas.DecisionAllowed || x.Paths[0].Backend != "shop/api" || x.Paths[0].BackendPort != 8080 {
		t.Errorf("by service port: %s", x.Text())
	}
	if len(x.Paths) != 2 {
		t.Errorf("%d paths, want one a family: %+v", len(x.Paths), x.Paths)
	}
}

func TestAServiceWithoutLabelsInheritsThoseOfItsBackends(t *testing.T) {
	e := shopWithService(t, tcp(8080))
	labels := func() map[string]string {
		out := map[string]string{}
		x, err := e.Explain(clas.Query{Source: "shop/web", Destination: "shop/service/api", Port: 80, Protocol: 6})
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range x.Destination.Labels {
			out[l.Key] = l.Value + " from " + string(l.Source)
		}
		return out
	}
	inherited := map[string]string{"app": "shop from backends", "env": "prod from backends", "role": "api from backends"}
	if got := labels(); !maps.Equal(got, inherited) {
		t.Errorf("with one backend: %v", got)
	}
	second := runningPod("shop", "api-2", "db", "n1", "10.0.0.9")
	second.Labels["app"] = "api"
	apply(t, e, podFact(second))
	own := map[string]string{"app": "shop from profile", "env": "prod from profile"}
	if got := labels(); !maps.Equal(got, own) {
		t.Errorf("with backends that disagree: %v", got)
	}
	second.Phase = pb.PodPhase_POD_PHASE_SUCCEEDED
	apply(t, e, podFact(second))
	if got := labels(); !maps.Equal(got, inherited) {
		t.Errorf("once the other came to its end: %v", got)
	}
	apply(t, e, serviceFact(apiService(map[string]string{"com.illumio.role": "db"})))
	own["role"] = "db from annotation"
	if got := labels(); !maps.Equal(got, own) {
		t.Errorf("with an annotation: %v", got)
	}
	// A controller that is relabelled takes the Service along.
	apply(t, e, serviceFact(apiService(nil)))
	api := runningPod("shop", "api", "api", "n2", "10.0.0.2")
	api.Controller = &pb.ObjectRef{Kind: "Deployment", Name: "api"}
	workload := &pb.KubernetesWorkload{Namespace: "shop", Kind: "Deployment", Name: "api", Annotations: map[string]string{"com.illumio.role": "db"}}
	apply(t, e, podFact(api), workloadFact(workload))
	inherited["role"] = "db from backends"
	if got := labels(); !maps.Equal(got, inherited) {
		t.Errorf("with the controller's annotation: %v", got)
	}
	apply(t, e, gone(workloadFact(workload), ""))
	inherited["role"] = "api from backends"
	if got := labels(); !maps.Equal(got, inherited) {
		t.Errorf("once the controller is gone: %v", got)
	}
}

func TestAnAddressOfAServiceIsADeltaAndANewPortAPolicy(t *testing.T) {
	e := shopWithService(t, allPorts())
	e.Flush()
	more := apiService(nil)
	more.ClusterIps = []string{"10.96.0.1", "10.96.0.2"}
	apply(t, e, serviceFact(more))
	d := e.Flush()
	if len(d.Sets) != 3 || len(d.Policies) > 0 {
		t.Errorf("another address: %d sets, policies %v", len(d.Sets), d.Policies)
	}
	for _, s := range d.Sets {
		if addresses.Len(s.GetAdded()) != 1 || addresses.Len(s.GetRemoved()) != 1 {
			t.Errorf("set delta %v", s)
		}
	}
	more.Ports = append(slices.Clone(more.GetPorts()), &pb.ServicePort{Protocol: 6, Port: 9000})
	apply(t, e, serviceFact(more))
	d = e.Flush()
	if len(d.Sets) != 1 || d.Sets[0].GetReplace() == nil || len(d.Policies) != 1 {
		t.Errorf("another port: sets %v, policies %v", d.Sets, d.Policies)
	}
	apply(t, e, gone(serviceFact(more), "s"))
	d = e.Flush()
	if len(d.Sets) != 4 || !d.Sets[0].GetDeleted() || len(d.Policies) != 1 {
		t.Errorf("the Service gone: sets %v, policies %v", d.Sets, d.Policies)
	}
}

func TestServicesOfUnmanagedNamespacesAreNoActors(t *testing.T) {
	e := shopWithService(t, allPorts())
	apply(t, e, profileFact("shop", &pb.ContainerWorkloadProfile{Namespace: "shop"}))
	p := e.Policy()
	if len(p.Policies)+len(p.Sets) > 0 {
		t.Errorf("policies %v, sets %v", p.Policies, p.Sets)
	}
	for _, plan := range p.Plans {
		if len(plan.GetPods()) > 0 {
			t.Errorf("plan %v", plan)
		}
	}
}

func TestABackendWithoutTheFamilyOfTheClusterIPIsNotOnTheWay(t *testing.T) {
	e := shopWithService(t, tcp(8080))
	apply(t, e, podFact(runningPod("shop", "api", "api", "n2", "10.0.0.2"))) // IPv4 alone
	x, err := e.Explain(clas.Query{Source: "shop/web", Destination: "fd96::1", Port: 80, Protocol: 6})
	if err != nil || x.Inbound.Decision != clas.DecisionNoPolicy || len(x.Paths) != 1 || x.Paths[0].Backend != "" {
		t.Errorf("%+v, %v", x, err)
	}
}
