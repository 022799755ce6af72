package clas_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	pb "github.com/ringfence/ringfence/proto/ringfence/v1"

	"github.com/ringfence/ringfence/libs/clas"
)

// explained is a shop with rules and some odd ends.
func explained(t *testing.T) *clas.Engine {
	t.Helper()
	e := clas.New()
	apply(t, e, shop()...)
	host := runningPod("shop", "host", "web", "n1", "192.168.0.1")
	host.HostNetwork = true
	done := runningPod("shop", "done", "web", "n1", "10.0.0.8")
	done.Phase = pb.PodPhase_POD_PHASE_FAILED
	named := func(name, role, address string) *pb.Pod {
		p := runningPod("shop", name, role, "n1", address)
		p.Controller = &pb.ObjectRef{Kind: "ReplicaSet", Name: "front"}
		return p
	}
	odd := runningPod("shop", "odd", "unheard-of", "n1", "10.0.0.30")
	apply(t, e, podFact(host), podFact(done), podFact(odd), podFact(runningPod("shop", "new", "web", "n1")),
		podFact(runningPod("shop", "floating", "web", "", "10.0.0.31")),
		podFact(runningPod("else", "unmanaged", "web", "n1", "10.0.0.7")),
		podFact(named("front-2", "web", "10.0.0.41")), podFact(named("front-1", "web", "10.0.0.40")), podFact(named("front-3", "db", "10.0.0.42")),
		serviceFact(apiService(nil)), serviceFact(&pb.Service{Namespace: "shop", Name: "headless"}),
		workloadFact(&pb.KubernetesWorkload{Namespace: "shop", Kind: "Deployment", Name: "scaled-to-zero"}))
	set := webToAPI(tcp(8080), &pb.PortRange{Protocol: 1, IcmpType: new(uint32(8))})
	set.GetRuleSet().Rules = append(set.GetRuleSet().Rules, &pb.Rule{Href: ruleHref("s", "2"), Enabled: true, Consumers: actors("db"),
		Providers: actors("never"), Services: on(tcp(1))})
	apply(t, e, provisioned(4, 1, set)...)
	return e
}

func TestExplainInWords(t *testing.T) {
	cases := []struct {
		query clas.Query
		want  string
	}{
		{clas.Query{Source: "shop/web", Destination: "shop/api", Port: 8080, Protocol: 6}, `
allowed: shop/web -> shop/api tcp/8080
  outbound, at shop/web: allowed by rule /orgs/1/sec_policy/active/rule_sets/s/sec_rules/1 of rule set "S" (mode full)
  inbound, at shop/api: allowed by rule /orgs/1/sec_policy/active/rule_sets/s/sec_rules/1 of rule set "S" (mode full)
  source pod shop/web is labelled app=shop (profile), env=prod (profile), role=web (annotation)
  destination pod shop/api is labelled app=shop (profile), env=prod (profile), role=api (annotation)`},
		{clas.Query{Source: "shop/odd", Destination: "shop/db", Port: 5432, Protocol: 6}, `
blocked: shop/odd -> shop/db tcp/5432
  outbound, at shop/odd: blocked, no rule allows it, and enforcement is full (mode full)
  inbound, at shop/db: blocked, no rule allows it, and enforcement is full (mode full)
  source pod shop/odd is labelled app=shop (profile), env=prod (profile); ignored: annotation com.illumio.role: "unheard-of": the console has no such label
  destination pod shop/db is labelled app=shop (profile), env=prod (profile), role=db (annotation)
  warning: rule set S (/orgs/1/sec_policy/active/rule_sets/s): rule /orgs/1/sec_policy/active/rule_sets/s/sec_rules/2: providers: label /orgs/1/labels/never is gone; it and the labels beside it match nothing`},
		{clas.Query{Source: "shop/web", Destination: "shop/service/api", Port: 80, Protocol: 6}, `
allowed: shop/web -> shop/api tcp/80
  outbound, at shop/web: allowed by rule /orgs/1/sec_policy/active/rule_sets/s/sec_rules/1 of rule set "S" (mode full)
  inbound, at shop/api port 8080, behind the Service: allowed by rule /orgs/1/sec_policy/active/rule_sets/s/sec_rules/1 of rule set "S" (mode full)
  source pod shop/web is labelled app=shop (profile), env=prod (profile), role=web (annotation)
  destination service shop/api is labelled app=shop (backends), env=prod (backends), role=api (backends)`},
		{clas.Query{Source: "shop/replicaset/front", Destination: "10.0.0.2", Port: 8, Protocol: 1}, `
blocked: shop/front-3 -> shop/api icmp/8 code 0
  outbound, at shop/front-3: blocked, no rule allows it, and enforcement is full (mode full)
  inbound, at shop/api: blocked, no rule allows it, and enforcement is full (mode full)
  source pod shop/front-3 is labelled app=shop (profile), env=prod (profile), role=db (annotation)
  destination pod shop/api is labelled app=shop (profile), env=prod (profile), role=api (annotation)
  but allowed by way of 10.0.0.40 -> 10.0.0.2
  warning: rule set S (/orgs/1/sec_policy/active/rule_sets/s): rule /orgs/1/sec_policy/active/rule_sets/s/sec_rules/2: providers: label /orgs/1/labels/never is gone; it and the labels beside it match nothing`},
		{clas.Query{Source: "192.0.2.1", Destination: "else/pod/unmanaged", Port: 1, Protocol: 47}, `
allowed: 192.0.2.1 -> else/unmanaged protocol 47
  outbound, at 192.0.2.1: no policy, not a workload of the cluster
  inbound, at else/unmanaged: no policy, the namespace is not managed
  source 192.0.2.1 is an address outside of what Ringfence manages
  destination pod else/unmanaged is in a namespace that is not managed`},
		{clas.Query{Source: "shop/host", Destination: "shop/floating", Port: 1, Protocol: 6}, `
allowed: shop/host -> shop/floating tcp/1
  outbound, at shop/host: no policy, the pod shares its node's network, and the node is not managed
  inbound, at shop/floating: no policy, the pod is on no node yet
  source pod shop/host shares the network of its node, which is not managed
  destination pod shop/floating is labelled app=shop (profile), env=prod (profile), role=web (annotation)`},
		{clas.Query{Source: "shop/web", Destination: "192.0.2.53", Port: 53, Protocol: 17}, `
allowed: shop/web -> 192.0.2.53 udp/53
  outbound, at shop/web: allowed, DNS outbound is always allowed (mode full)
  inbound, at 192.0.2.53: no policy, not a workload of the cluster
  source pod shop/web is labelled app=shop (profile), env=prod (profile), role=web (annotation)
  destination 192.0.2.53 is an address outside of what Ringfence manages`},
		{clas.Query{Source: "192.168.0.2", Destination: "shop/db", Port: 80, Protocol: 6}, `
allowed: n2 -> shop/db tcp/80
  outbound, at n2: no policy, the node is not managed
  inbound, at shop/db: allowed, the pod's own node is always allowed, for probes (mode full)
  source node n2 is not managed
  destination pod shop/db is labelled app=shop (profile), env=prod (profile), role=db (annotation)
  warning: rule set S (/orgs/1/sec_policy/active/rule_sets/s): rule /orgs/1/sec_policy/active/rule_sets/s/sec_rules/2: providers: label /orgs/1/labels/never is gone; it and the labels beside it match nothing`},
		{clas.Query{Source: "192.168.0.1", Destination: "shop/service/api", Port: 81, Protocol: 6}, `
allowed: n1 -> shop/api tcp/81
  outbound, at n1: no policy, the node is not managed
  inbound, at shop/api: no policy, the Service has no backend on this port
  source node n1 is not managed
  destination service shop/api is labelled app=shop (backends), env=prod (backends), role=api (backends)`},
	}
	e := explained(t)
	for _, c := range cases {
		x, err := e.Explain(c.query)
		if err != nil {
			t.Errorf("%+v: %v", c.query, err)
			continue
		}
		if got := reasons(x.Text()); got != strings.TrimPrefix(c.want, "\n") {
			t.Errorf("got\n%s\nwant%s", got, c.want)
		}
	}
}

// reasons leaves out of a text the address sets and what would turn it round.
func reasons(text string) string {
	lines := strings.Split(text, "\n")
	return strings.Join(slices.DeleteFunc(lines, func(line string) bool {
		return strings.HasPrefix(line, "  address set ") || strings.HasPrefix(line, "  for the opposite verdict: ")
	}), "\n")
}

func TestExplainRefusesWhatItCannotAnswer(t *testing.T) {
	e := explained(t)
	cases := []struct {
		source, destination string
		want                error
		text                string
	}{
		{"nonsense", "shop/db", clas.ErrUnknownEndpoint, "source nonsense: no such endpoint: neither namespace/pod"},
		{"shop/web", "shop/nobody", clas.ErrUnknownEndpoint, "destination shop/nobody: no such endpoint"},
		{"shop/web", "shop/service/nobody", clas.ErrUnknownEndpoint, "destination shop/service/nobody"},
		{"shop/deployment/nobody", "shop/db", clas.ErrUnknownEndpoint, "source shop/deployment/nobody"},
		{"shop/deployment/scaled-to-zero", "shop/db", clas.ErrNoAddress, "has no address: none of its pods has one"},
		{"shop/new", "shop/db", clas.ErrNoAddress, "source shop/new: has no address yet"},
		{"shop/done", "shop/db", clas.ErrNoAddress, "has no address: the pod came to its end"},
		{"shop/web", "shop/service/headless", clas.ErrNoAddress, "a headless Service is its pods"},
		{"shop/odd", "fd00::1", clas.ErrNoCommonFamily, "shop/odd to fd00::1: no common address family"},
	}
	for _, c := range cases {
		_, err := e.Explain(clas.Query{Source: c.source, Destination: c.destination, Port: 1, Protocol: 6})
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s -> %s: %v, want %q", c.source, c.destination, err, c.text)
		}
	}
}

func TestExplainAsJSON(t *testing.T) {
	x, err := explained(t).Explain(clas.Query{Source: "shop/front-1", Destination: "shop/api", Port: 8080, Protocol: 6})
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := json.Marshal(x)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"verdict":"allowed"`, `"rule_href":"` + ruleHref("s", "1") + `"`, `"source":"annotation"`,
		`"workload":"shop/replicaset/front"`, `"node":"n1"`, `"mode":"full"`} {
		if !strings.Contains(string(encoded), want) {
			t.Errorf("%s lacks %s", encoded, want)
		}
	}
}
