package clas_test

import (
	"fmt"
	"testing"

	pb "github.com/ringfence/ringfence/proto/ringfence/v1"
	"google.golang.org/protobuf/proto"

	"github.com/ringfence/ringfence/libs/clas"
)

// A city is a cluster of the design's size: label sets spread over app, role and env, pods spread over label sets and nodes,
// and for each app rules from every role to the next, in one rule set a piece.

const (
	cityApps, cityRoles = 100, 5
	cityNodes           = 1000
)

func cityPod(i int) *pb.Pod {
	app, role := i%cityApps, i/cityApps%cityRoles
	return &pb.Pod{Namespace: fmt.Sprintf("ns%d", app), Name: fmt.Sprintf("pod%d", i), Uid: fmt.Sprintf("uid%d", i),
		Node: fmt.Sprintf("node%d", i%cityNodes), Phase: pb.PodPhase_POD_PHASE_RUNNING,
		Addresses:   []string{fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&0xff, i&0xff), fmt.Sprintf("fd00::%x:%x", i>>16, i&0xffff)},
		Labels:      map[string]string{"role": fmt.Sprint(role)},
		Annotations: map[string]string{"com.illumio.role": fmt.Sprintf("role%d", role)}}
}

// city gives the facts of everything but the pods, with the number of rules.
func city(rules int) []entry {
	out := []entry{labelFact("prod", "env", "prod")}
	for r := range cityRoles {
		out = append(out, labelFact(fmt.Sprintf("role%d", r), "role", fmt.Sprintf("role%d", r)))
	}
	perApp := rules / cityApps
	var sets []*pb.PceObject
	for a := range cityApps {
		app := fmt.Sprintf("app%d", a)
		out = append(out, labelFact(app, "app", app),
			profileFact(app, managed(fmt.Sprintf("ns%d", a), full, "env=prod", "app="+app)),
			serviceFact(&pb.Service{Namespace: fmt.Sprintf("ns%d", a), Name: "s", ClusterIps: []string{fmt.Sprintf("10.255.0.%d", a)},
				Selector: map[string]string{"role": "1"}, Ports: []*pb.ServicePort{{Protocol: 6, Port: 80, TargetPort: 8080}}}))
		set := &pb.RuleSet{Href: setHref(app), Name: app, Enabled: true, Scopes: []*pb.Scope{scope(app, "prod")}}
		for r := range perApp {
			set.Rules = append(set.Rules, &pb.Rule{Href: ruleHref(app, fmt.Sprint(r)), Enabled: true,
				Consumers: actors(fmt.Sprintf("role%d", r%cityRoles)), Providers: actors(fmt.Sprintf("role%d", (r+1+r/cityRoles)%cityRoles)),
				Services: on(tcp(uint32(8000 + r)))})
		}
		sets = append(sets, ruleSet(set))
	}
	return append(out, provisioned(1, 1, sets...)...)
}

// BenchmarkFold builds the policy of a whole cluster from its log: 20,000 pods, 500 label sets, 1,000 rules.
func BenchmarkFold(b *testing.B) {
	const pods = 20000
	facts := city(1000)
	for i := range pods {
		facts = append(facts, podFact(cityPod(i)))
	}
	b.ResetTimer()
	for b.Loop() {
		e := clas.New()
		apply(b, e, facts...)
		if d := e.Flush(); len(d.Policies) != cityApps*cityRoles {
			b.Fatalf("%d policies", len(d.Policies))
		}
	}
	b.ReportMetric(float64(len(facts)*b.N)/b.Elapsed().Seconds(), "facts/s")
}

// BenchmarkPodEvent replaces one pod's address and flushes, in a cluster of 20,000 pods and 1,000 rules.
func BenchmarkPodEvent(b *testing.B) {
	e := clas.New()
	apply(b, e, city(1000)...)
	for i := range 20000 {
		apply(b, e, podFact(cityPod(i)))
	}
	e.Flush()
	for i := 0; b.Loop(); i++ {
		p := cityPod(7)
		p.Addresses = []string{fmt.Sprintf("10.200.%d.%d", i>>8&0xff, i&0xff)}
		apply(b, e, podFact(p))
		if d := e.Flush(); len(d.Plans) != 1 || len(d.Policies) > 0 {
			b.Fatalf("%d plans, %d policies", len(d.Plans), len(d.Policies))
		}
	}
}

// BenchmarkProvision puts a version with one changed rule set in force, of 1,000 rules over 500 label sets.
func BenchmarkProvision(b *testing.B) {
	e := clas.New()
	facts := city(1000)
	apply(b, e, facts...)
	for i := range 5000 {
		apply(b, e, podFact(cityPod(i)))
	}
	e.Flush()
	for i := int64(2); b.Loop(); i++ {
		var objects []*pb.PceObject
		for _, x := range facts {
			if o := x.fact.GetPceObject(); o != nil {
				objects = append(objects, o)
			}
		}
		objects[0] = proto.CloneOf(objects[0])
		objects[0].GetRuleSet().Rules[0].Services = on(tcp(uint32(9000 + i%1000)))
		apply(b, e, provisioned(i, 1, objects...)...)
		if d := e.Flush(); len(d.Policies) == 0 || len(d.Policies) > 2*cityRoles {
			b.Fatalf("%d policies", len(d.Policies))
		}
	}
}
