package clas_test

import (
	"slices"
	"strings"
	"testing"

	pb "github.com/ringfence/ringfence/proto/ringfence/v1"

	"github.com/ringfence/ringfence/libs/clas"
)

// town has two environments: web and db in prod, web and db in dev, and a pod without labels in a namespace of its own.
func town() []entry {
	return []entry{
		labelFact("web", "role", "web"), labelFact("db", "role", "db"), labelFact("api", "role", "api"),
		labelFact("prod", "env", "prod"), labelFact("dev", "env", "dev"),
		profileFact("prod", managed("prod", full, "env=prod")),
		profileFact("dev", managed("dev", full, "env=dev")),
		profileFact("bare", managed("bare", full)),
		podFact(runningPod("prod", "pweb", "web", "n1", "10.0.1.1")),
		podFact(runningPod("prod", "pdb", "db", "n1", "10.0.1.2")),
		podFact(runningPod("dev", "dweb", "web", "n1", "10.0.2.1")),
		podFact(runningPod("dev", "ddb", "db", "n2", "10.0.2.2")),
		podFact(runningPod("bare", "none", "", "n2", "10.0.3.1")),
	}
}

var townPods = []string{"prod/pweb", "prod/pdb", "dev/dweb", "dev/ddb", "bare/none"}

// allowedPairs asks about every ordered pair of different pods, on tcp/80.
func allowedPairs(t testing.TB, e *clas.Engine, pods ...string) []string {
	t.Helper()
	var out []string
	for _, from := range pods {
		for _, to := range pods {
			if from != to && ask(t, e, from, to, 80) == clas.Allowed {
				out = append(out, from[strings.Index(from, "/")+1:]+">"+to[strings.Index(to, "/")+1:])
			}
		}
	}
	slices.Sort(out)
	return out
}

func TestRules(t *testing.T) {
	everyone := []string{"ddb>dweb", "ddb>none", "ddb>pdb", "ddb>pweb", "dweb>ddb", "dweb>none", "dweb>pdb", "dweb>pweb",
		"none>ddb", "none>dweb", "none>pdb", "none>pweb", "pdb>ddb", "pdb>dweb", "pdb>none", "pdb>pweb", "pweb>ddb", "pweb>dweb",
		"pweb>none", "pweb>pdb"}
	on80 := on(tcp(80))
	cases := []struct {
		name    string
		scopes  []*pb.Scope
		rule    *pb.Rule
		want    []string
		warning string // that Policy must carry, besides the rule's href
	}{
		{name: "an empty scope covers everything", scopes: []*pb.Scope{scope()},
			rule: &pb.Rule{Consumers: actors("web"), Providers: actors("db")},
			want: []string{"dweb>ddb", "dweb>pdb", "pweb>ddb", "pweb>pdb"}},
		{name: "a scope narrows both sides", scopes: []*pb.Scope{scope("prod")},
			rule: &pb.Rule{Consumers: actors("web"), Providers: actors("db")}, want: []string{"pweb>pdb"}},
		{name: "both ends match the same of several scopes", scopes: []*pb.Scope{scope("prod"), scope("dev")},
			rule: &pb.Rule{Consumers: actors("web"), Providers: actors("db")}, want: []string{"dweb>ddb", "pweb>pdb"}},
		{name: "one scope with two labels of a key offers alternatives", scopes: []*pb.Scope{scope("prod", "dev")},
			rule: &pb.Rule{Consumers: actors("web"), Providers: actors("db")},
			want: []string{"dweb>ddb", "dweb>pdb", "pweb>ddb", "pweb>pdb"}},
		{name: "an extra-scope rule leaves consumers free", scopes: []*pb.Scope{scope("prod")},
			rule: &pb.Rule{Consumers: actors("web"), Providers: actors("db"), UnscopedConsumers: true},
			want: []string{"dweb>pdb", "pweb>pdb"}},
		{name: "all workloads are those of the scope", scopes: []*pb.Scope{scope("prod")},
			rule: &pb.Rule{Consumers: actors("ams"), Providers: actors("ams")}, want: []string{"pdb>pweb", "pweb>pdb"}},
		{name: "all workloads as extra-scope consumers are those of the organisation", scopes: []*pb.Scope{scope("prod")},
			rule: &pb.Rule{Consumers: actors("ams"), Providers: actors("db"), UnscopedConsumers: true},
			want: []string{"ddb>pdb", "dweb>pdb", "none>pdb", "pweb>pdb"}},
		{name: "all workloads without a scope are everyone", scopes: []*pb.Scope{scope()},
			rule: &pb.Rule{Consumers: actors("ams"), Providers: actors("ams")}, want: everyone},
		{name: "labels of one key are alternatives, of two keys demands", scopes: []*pb.Scope{scope()},
			rule: &pb.Rule{Consumers: actors("web", "db", "prod"), Providers: actors("db", "dev")},
			want: []string{"pdb>ddb", "pweb>ddb"}},
		{name: "all workloads beside a label are all workloads", scopes: []*pb.Scope{scope("dev")},
			rule: &pb.Rule{Consumers: actors("ams", "web"), Providers: actors("web")}, want: []string{"ddb>dweb"}},
		{name: "a scope and an actor that contradict match nothing", scopes: []*pb.Scope{scope("prod")},
			rule: &pb.Rule{Consumers: actors("dev"), Providers: actors("db")}},
		{name: "a label that is gone leaves the others of its key", scopes: []*pb.Scope{scope("prod")},
			rule: &pb.Rule{Consumers: actors("web", "gone-role"), Providers: actors("db")}, want: []string{"pweb>pdb"},
			warning: "consumers: label /orgs/1/labels/gone-role is gone; it matches nothing"},
		{name: "a label that is gone and alone matches nothing", scopes: []*pb.Scope{scope("prod")},
			rule:    &pb.Rule{Consumers: actors("gone-role"), Providers: actors("db")},
			warning: "consumers: label /orgs/1/labels/gone-role is gone; it matches nothing"},
		{name: "a label that is gone still demands its key", scopes: []*pb.Scope{scope()},
			rule:    &pb.Rule{Consumers: actors("prod", "gone-role"), Providers: actors("db")},
			warning: "consumers: label /orgs/1/labels/gone-role is gone; it matches nothing"},
		{name: "a label that was never known closes the labels beside it", scopes: []*pb.Scope{scope()},
			rule:    &pb.Rule{Consumers: actors("web", "never"), Providers: actors("db")},
			warning: "consumers: label /orgs/1/labels/never is gone; it and the labels beside it match nothing"},
		{name: "a label that was never known leaves all workloads", scopes: []*pb.Scope{scope("prod")},
			rule: &pb.Rule{Consumers: actors("ams", "never"), Providers: actors("db")}, want: []string{"pweb>pdb"},
			warning: "consumers: label /orgs/1/labels/never is gone; it and the labels beside it match nothing"},
		{name: "a scope with a label that is gone covers nothing", scopes: []*pb.Scope{scope("gone-role"), scope("dev")},
			rule: &pb.Rule{Consumers: actors("web"), Providers: actors("db")}, want: []string{"dweb>ddb"},
			warning: "scope 1: label /orgs/1/labels/gone-role is gone; it matches nothing"},
		{name: "a scope with anything but labels covers nothing", scopes: []*pb.Scope{scope("prod", "list:gone"), scope("dev")},
			rule: &pb.Rule{Consumers: actors("web"), Providers: actors("db")}, want: []string{"dweb>ddb"},
			warning: "scope 1: IP list /orgs/1/sec_policy/active/ip_lists/gone cannot narrow a scope; the scope covers nothing"},
		{name: "a scope with what is not supported covers nothing", scopes: []*pb.Scope{scope("prod", "!label group 7")},
			rule:    &pb.Rule{Consumers: actors("web"), Providers: actors("db")},
			warning: "scope 1: label group 7 cannot narrow a scope; the scope covers nothing"},
		{name: "a scope with all workloads covers nothing", scopes: []*pb.Scope{scope("ams")},
			rule:    &pb.Rule{Consumers: actors("web"), Providers: actors("db")},
			warning: "scope 1: all workloads cannot narrow a scope"},
		{name: "an actor that is not supported closes the labels beside it", scopes: []*pb.Scope{scope()},
			rule:    &pb.Rule{Consumers: actors("web", "!label group 7"), Providers: actors("db")},
			warning: "consumers: label group 7 is not supported; it and the labels beside it match nothing"},
		{name: "an actor of an unknown kind closes the labels beside it", scopes: []*pb.Scope{scope()},
			rule:    &pb.Rule{Consumers: append(actors("web"), &pb.Actor{}), Providers: actors("db")},
			warning: "consumers: an actor of an unknown kind is not supported"},
		{name: "no consumers", scopes: []*pb.Scope{scope()}, rule: &pb.Rule{Providers: actors("db")},
			warning: "consumers: none are named; the rule matches nothing"},
		{name: "no providers", scopes: []*pb.Scope{scope()}, rule: &pb.Rule{Consumers: actors("db")},
			warning: "providers: none are named; the rule matches nothing"},
		{name: "no scope at all", rule: &pb.Rule{Consumers: actors("ams"), Providers: actors("ams")},
			warning: "has no scope; none of its rules matches anything"},
		{name: "no service", scopes: []*pb.Scope{scope()},
			rule:    &pb.Rule{Consumers: actors("ams"), Providers: actors("ams"), Services: []*pb.IngressService{}},
			warning: "no service is named; the rule matches nothing"},
		{name: "a service that is gone", scopes: []*pb.Scope{scope("prod")},
			rule:    &pb.Rule{Consumers: actors("web"), Providers: actors("db"), Services: append(on(tcp(80)), byHref("gone"))},
			want:    []string{"pweb>pdb"},
			warning: "service /orgs/1/sec_policy/active/services/gone is gone; it covers no port"},
		{name: "an IP list that is gone", scopes: []*pb.Scope{scope("prod")},
			rule: &pb.Rule{Consumers: actors("web", "list:gone"), Providers: actors("db")}, want: []string{"pweb>pdb"},
			warning: "consumers: IP list /orgs/1/sec_policy/active/ip_lists/gone is gone; it matches nothing"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			e := clas.New()
			lost := labelFact("gone-role", "role", "gone")
			apply(t, e, append(town(), lost, gone(lost, ""))...)
			c.rule.Href, c.rule.Enabled = ruleHref("s", "1"), true
			if c.rule.Services == nil {
				c.rule.Services = on80
			}
			apply(t, e, provisioned(1, 1, ruleSet(&pb.RuleSet{Href: setHref("s"), Name: "S", Enabled: true, Scopes: c.scopes,
				Rules: []*pb.Rule{c.rule}}))...)
			if got := allowedPairs(t, e, townPods...); !slices.Equal(got, c.want) {
				t.Errorf("allowed %v, want %v", got, c.want)
			}
			expectWarnings(t, e.Policy(), c.warning)
		})
	}
}

// expectWarnings wants exactly one warning with the text, or none at all for an empty text.
func expectWarnings(t *testing.T, p clas.Policy, text string) {
	t.Helper()
	if text == "" {
		if len(p.Warnings) > 0 {
			t.Errorf("warnings: %q", p.Warnings)
		}
		return
	}
	if len(p.Warnings) != 1 || !strings.Contains(p.Warnings[0], text) || !strings.Contains(p.Warnings[0], setHref("s")) {
		t.Errorf("warnings %q, want one with %q and the rule set", p.Warnings, text)
	}
}

func TestAGoneLabelWarnsThePoliciesThatItsRuleConcerns(t *testing.T) {
	e := clas.New()
	apply(t, e, town()...)
	apply(t, e, provisioned(1, 1, ruleSet(&pb.RuleSet{Href: setHref("s"), Name: "S", Enabled: true, Scopes: []*pb.Scope{scope()},
		Rules: []*pb.Rule{{Href: ruleHref("s", "1"), Enabled: true, Consumers: actors("web"), Providers: actors("db"), Services: on(tcp(80))}}}))...)
	apply(t, e, gone(labelFact("db", "role", "db"), ""))
	want := "rule set S (/orgs/1/sec_policy/active/rule_sets/s): rule /orgs/1/sec_policy/active/rule_sets/s/sec_rules/1: " +
		"providers: label /orgs/1/labels/db is gone; it matches nothing"
	for _, p := range e.Policy().Policies {
		concerned := slices.Contains(p.GetLabels(), "role=web")
		if got := slices.Contains(p.GetWarnings(), want); got != concerned {
			t.Errorf("policy of %v: warnings %q", p.GetLabels(), p.GetWarnings())
		}
	}
	if got := e.Policy().Warnings; !slices.Equal(got, []string{want}) {
		t.Errorf("warnings %q, want %q", got, want)
	}
	apply(t, e, labelFact("db", "role", "db"))
	expectWarnings(t, e.Policy(), "")
	if got := ask(t, e, "prod/pweb", "prod/pdb", 80); got != clas.Allowed {
		t.Errorf("after the label came back: %s", got)
	}
}

func TestWhatIsDisabledDoesNotCount(t *testing.T) {
	for _, c := range []struct{ set, rule bool }{{false, true}, {true, false}} {
		e := clas.New()
		apply(t, e, town()...)
		apply(t, e, provisioned(1, 1, ruleSet(&pb.RuleSet{Href: setHref("s"), Enabled: c.set, Scopes: []*pb.Scope{scope()},
			Rules: []*pb.Rule{{Href: ruleHref("s", "1"), Enabled: c.rule, Consumers: actors("ams", "never"), Providers: actors("ams"),
				Services: on(allPorts())}}}))...)
		if got := allowedPairs(t, e, townPods...); len(got) > 0 {
			t.Errorf("set enabled %v, rule enabled %v: allowed %v", c.set, c.rule, got)
		}
		expectWarnings(t, e.Policy(), "")
	}
}

func TestModes(t *testing.T) {
	cases := []struct {
		mode    pb.EnforcementMode
		ruled   clas.Verdict
		unruled clas.Verdict
		rules   bool
	}{
		{pb.EnforcementMode_ENFORCEMENT_MODE_IDLE, clas.Allowed, clas.Allowed, false},
		{pb.EnforcementMode_ENFORCEMENT_MODE_VISIBILITY_ONLY, clas.Allowed, clas.PotentiallyBlocked, true},
		{pb.EnforcementMode_ENFORCEMENT_MODE_SELECTIVE, clas.Allowed, clas.Allowed, true},
		{pb.EnforcementMode_ENFORCEMENT_MODE_FULL, clas.Allowed, clas.Blocked, true},
	}
	for _, c := range cases {
		t.Run(c.mode.String(), func(t *testing.T) {
			e := clas.New()
			apply(t, e, town()...)
			apply(t, e, profileFact("prod", managed("prod", c.mode, "env=prod")))
			apply(t, e, provisioned(1, 1, ruleSet(&pb.RuleSet{Href: setHref("s"), Enabled: true, Scopes: []*pb.Scope{scope("prod")},
				Rules: []*pb.Rule{{Href: ruleHref("s", "1"), Enabled: true, Consumers: actors("web"), Providers: actors("db"), Services: on(tcp(80))}}}))...)
			if got := ask(t, e, "prod/pweb", "prod/pdb", 80); got != c.ruled {
				t.Errorf("with a rule: %s, want %s", got, c.ruled)
			}
			if got := ask(t, e, "prod/pdb", "prod/pweb", 80); got != c.unruled {
				t.Errorf("without a rule: %s, want %s", got, c.unruled)
			}
			for _, p := range e.Policy().Policies {
				if slices.Equal(p.GetLabels(), []string{"env=prod", "role=web"}) && (len(p.GetOutbound()) > 0) != c.rules {
					t.Errorf("outbound rules: %v", p.GetOutbound())
				}
			}
		})
	}
}

func TestEachEndDecidesByItsOwnMode(t *testing.T) {
	e := clas.New()
	apply(t, e, town()...)
	apply(t, e, profileFact("dev", managed("dev", pb.EnforcementMode_ENFORCEMENT_MODE_VISIBILITY_ONLY, "env=dev")))
	if got := ask(t, e, "dev/dweb", "prod/pdb", 80); got != clas.Blocked {
		t.Errorf("into full: %s", got)
	}
	if got := ask(t, e, "dev/dweb", "dev/ddb", 80); got != clas.PotentiallyBlocked {
		t.Errorf("within visibility: %s", got)
	}
	x, err := e.Explain(clas.Query{Source: "dev/dweb", Destination: "192.0.2.1", Port: 80, Protocol: 6})
	if err != nil || x.Inbound.Decision != clas.DecisionNoPolicy || x.Verdict != clas.PotentiallyBlocked {
		t.Errorf("to the outside: %+v, %v", x, err)
	}
}
