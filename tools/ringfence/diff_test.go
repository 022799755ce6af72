package ringfence_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/libs/clas"
	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/eventlog/eventlogtest"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
	"github.com/ringfence/ringfence/tools/ringfence"
)

func diff(t *testing.T, source ringfence.Source, from, to uint64, queries ...clas.Query) *ringfence.Difference {
	t.Helper()
	d, err := ringfence.Diff(t.Context(), source, ringfence.Place{Sequence: from}, ringfence.Place{Sequence: to}, queries, nil)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// verdicts gives the verdicts that changed as lines.
func verdicts(d *ringfence.Difference) (lines []string) {
	for _, v := range d.Verdicts {
		lines = append(lines, fmt.Sprintf("%s -> %s %s: %s -> %s", v.Source, v.Destination, strings.Join(v.Ports, " "), v.Before, v.After))
	}
	return lines
}

const (
	web = "app=shop env=prod role=web"
	api = "app=shop env=prod role=api"
	db  = "app=shop env=prod role=db"
	ops = "app=ops"
)

// TestADiffSaysWhatChanged compares the shop's two halves, from a log and from a file.
func TestADiffSaysWhatChanged(t *testing.T) {
	_, log := eventlogtest.StartLog(t)
	publish(t, log)
	snapshot(t, log, 29, computedAt(t, 29))
	for name, source := range map[string]ringfence.Source{"log": log, "file": memory(t, exportShop(t))} {
		t.Run(name, func(t *testing.T) {
			apiToDB := clas.Query{Source: "shop/api-1", Destination: "shop/db-0", Port: 5432, Protocol: 6}
			unknown := clas.Query{Source: "shop/web-3", Destination: "shop/api-1", Port: 8080, Protocol: 6}
			d := diff(t, source, 29, 34, apiToDB, unknown)
			if d.SamePolicy() || d.From.ProvisionedVersion != 1 || d.To.ProvisionedVersion != 2 || d.From.Digest != engineAt(t, 29).Digest() {
				t.Errorf("from %+v to %+v", d.From, d.To)
			}
			wantFacts := []string{"object.2b89 came", "object.04f0 repeated", "provisioned.0 changed", "profile.p1 changed", "pod.shop.web-3 came"}
			var facts []string
			for _, f := range d.Facts {
				tokens := strings.Split(f.Subject, ".")
				last := tokens[len(tokens)-1]
				if len(last) > 40 {
					last = last[:4]
				}
				facts = append(facts, strings.Join(append(slices.Clone(tokens[2:len(tokens)-1]), last), ".")+" "+f.Change)
			}
			slices.Sort(facts)
			slices.Sort(wantFacts)
			if diff := cmp.Diff(wantFacts, facts); diff != "" {
				t.Errorf("facts: %s", diff)
			}
			if len(d.Labels) != 5 || d.Labels[4].Workload != "shop/statefulset/db" && !slices.ContainsFunc(d.Labels, func(l ringfence.LabelChange) bool {
				return l.Workload == "shop/statefulset/db" && l.Before[0].Mode == "visibility_only" && l.After[0].Mode == "full"
			}) {
				t.Errorf("labels: %+v", d.Labels)
			}
			if want := []string{
				api + " -> " + db + " tcp/5432: potentially blocked -> allowed",
			}; !slices.Contains(verdicts(d), want[0]) {
				t.Errorf("verdicts: %q, want %q", verdicts(d), want)
			}
			checkModes(t, d)
			if d.Pairs[0].Before.Verdict() != clas.PotentiallyBlocked || d.Pairs[0].After.Verdict() != clas.Allowed || d.Pairs[0].After.Explanation.Inbound.RuleHref == "" {
				t.Errorf("pair: %+v", d.Pairs[0])
			}
			if d.Pairs[1].Before.Verdict() != "" || !strings.Contains(d.Pairs[1].Before.Unknown, "no such endpoint") || d.Pairs[1].After.Verdict() != clas.Allowed {
				t.Errorf("pair with a pod that came: %+v", d.Pairs[1])
			}
			came := slices.IndexFunc(d.Plans, func(p ringfence.PlanChange) bool { return p.Node == "node-1" })
			if came < 0 || !slices.Equal(d.Plans[came].Came, []string{"shop/web-3"}) || !slices.Contains(d.Plans[came].Changed, "shop/web-1") {
				t.Errorf("plans: %+v", d.Plans)
			}
			if !slices.ContainsFunc(d.Sets, func(s ringfence.SetChange) bool {
				return s.Change == ringfence.Changed && slices.Equal(s.Added, []string{"10.0.1.3"}) && strings.Contains(s.Description, "role=web")
			}) {
				t.Errorf("address sets: %+v", d.Sets)
			}
		})
	}
}

// checkModes wants the policies of the shop to change in mode, and that of the api to gain a rule.
func checkModes(t *testing.T, d *ringfence.Difference) {
	t.Helper()
	for _, c := range d.Policies {
		if c.Change != ringfence.Changed || c.ModeBefore != "visibility_only" || c.ModeAfter != "full" {
			t.Errorf("policy: %+v", c)
		}
		if strings.Join(c.Labels, " ") == api && !slices.ContainsFunc(c.RulesCame, func(r ringfence.RuleTerm) bool {
			return r.Direction == "outbound" && r.Kind == "allow" && strings.HasSuffix(r.Href, "sec_rules/2") && slices.Equal(r.Ports, []string{"tcp/5432"})
		}) {
			t.Errorf("rules of the api that came: %+v", c.RulesCame)
		}
	}
	if len(d.Policies) != 3 {
		t.Errorf("%d policies, want 3", len(d.Policies))
	}
}

func TestADiffOfFactsThatChangeNothing(t *testing.T) {
	file := memory(t, exportShop(t))
	d := diff(t, file, 29, 31)
	if !d.SamePolicy() || len(d.Facts) != 2 {
		t.Errorf("%+v", d)
	}
	if d := diff(t, file, 31, 31); !d.SamePolicy() || len(d.Facts) != 0 {
		t.Errorf("a place and itself: %+v", d)
	}
	if _, err := ringfence.Diff(t.Context(), file, ringfence.Place{Sequence: 31}, ringfence.Place{Sequence: 30}, nil, nil); err == nil || !strings.Contains(err.Error(), "comes after") {
		t.Errorf("backwards: %v", err)
	}
}

// after goes on after the shop's end.
func after(t *testing.T, tell func(*story)) *ringfence.File {
	t.Helper()
	entries := shop(t)
	s := &story{t: t, now: entries[len(entries)-1].StoredAt, entries: entries}
	tell(s)
	return memory(t, write(t, s.entries))
}

func write(t *testing.T, entries []eventlog.Entry) []byte {
	t.Helper()
	var out strings.Builder
	if _, err := ringfence.Write(&out, ringfence.Header{Incarnation: "shop", Last: uint64(len(entries))}, sequence(entries)); err != nil {
		t.Fatal(err)
	}
	return []byte(out.String())
}

func (s *story) gone(subject string) {
	s.fact(subject, &ringfencev1.Fact{Body: &ringfencev1.Fact_Gone{Gone: &ringfencev1.Gone{}}})
}

// TestVerdictsThatChanged has one change after the other, and who gained or lost what by it.
func TestVerdictsThatChanged(t *testing.T) {
	hrefs := []string{org + "sec_policy/active/rule_sets/1", org + "sec_policy/active/services/1", org + "sec_policy/active/ip_lists/1"}
	port := func(from, to uint32) *ringfencev1.IngressService {
		return &ringfencev1.IngressService{Service: &ringfencev1.IngressService_Port{Port: &ringfencev1.PortRange{Protocol: 6, Port: from, ToPort: to}}}
	}
	http := &ringfencev1.IngressService{Service: &ringfencev1.IngressService_Href{Href: hrefs[1]}}
	webToAPI, apiToDB := rule("1", "1", "2", http), rule("2", "2", "3", port(5432, 0))
	list := func(ranges ...string) *ringfencev1.PceObject {
		l := &ringfencev1.IpList{Href: hrefs[2], Name: "Office"}
		for _, r := range ranges {
			l.Ranges = append(l.Ranges, &ringfencev1.IpRange{FromIp: r})
		}
		return &ringfencev1.PceObject{Object: &ringfencev1.PceObject_IpList{IpList: l}}
	}
	fromOffice := rule("3", "1", "2", port(443, 0))
	fromOffice.Consumers = []*ringfencev1.Actor{{Actor: &ringfencev1.Actor_IpList{IpList: hrefs[2]}}}
	provision := func(s *story, version int64, l *ringfencev1.PceObject, rules ...*ringfencev1.Rule) {
		s.provision(version, map[string]*ringfencev1.PceObject{hrefs[0]: ruleSet(rules...), hrefs[1]: httpService(), hrefs[2]: l}, hrefs...)
	}
	for _, c := range []struct {
		name        string
		first, then func(*story)
		want        []string
	}{
		{"a rule goes", nil, func(s *story) { provision(s, 3, list(), webToAPI) },
			[]string{api + " -> " + db + " tcp/5432: allowed -> blocked", api + " -> shop/service/db tcp/5432: allowed -> blocked"}},
		{"a rule gets more ports", nil, func(s *story) { provision(s, 3, list(), webToAPI, rule("2", "2", "3", port(5430, 5439))) },
			[]string{api + " -> " + db + " tcp/5430-5431 tcp/5433-5439: blocked -> allowed"}},
		{"a rule that another one makes up for", nil, func(s *story) {
			provision(s, 3, list(), webToAPI, rule("9", "2", "3", port(5000, 6000)))
		}, []string{api + " -> " + db + " tcp/5000-5431 tcp/5433-6000: blocked -> allowed"}},
		{"a label set comes", nil, func(s *story) {
			s.label("7", "role", "worker")
			s.workload("Deployment", "shop", "worker")
			s.pod("shop", "worker-1", "node-1", "Deployment", "worker", "10.0.1.7")
		}, nil},
		{"the last pod of a label set goes", nil, func(s *story) { s.gone(eventlog.KubernetesSubject("pod", "shop", "api-1")) },
			[]string{web + " -> " + api + " tcp/8080: allowed -> ", web + " -> shop/service/api tcp/80: allowed -> blocked",
				api + " -> " + db + " tcp/5432: allowed -> ", api + " -> shop/service/db tcp/5432: allowed -> "}},
		{"a Service comes", nil, func(s *story) { s.service("shop", "web", "10.96.0.12", 80, 8080) }, nil},
		{"a Service goes", nil, func(s *story) { s.gone(eventlog.KubernetesSubject("service", "shop", "api")) },
			[]string{web + " -> shop/service/api tcp/80: allowed -> "}},
		{"an IP list grows", func(s *story) { provision(s, 3, list("198.51.100.0/24"), webToAPI, apiToDB, fromOffice) },
			func(s *story) {
				provision(s, 4, list("198.51.100.0/24", "203.0.113.0/24"), webToAPI, apiToDB, fromOffice)
			},
			[]string{"203.0.113.0/24 -> " + api + " tcp/443: blocked -> allowed"}},
		{"the mode changes alone", nil, func(s *story) {
			s.profile("p1", "shop", ringfencev1.EnforcementMode_ENFORCEMENT_MODE_VISIBILITY_ONLY, assign("app", "4"), assign("env", "5"))
		}, []string{
			"(whom no rule names) -> " + api + " all services: blocked -> potentially blocked", "(whom no rule names) -> " + db + " all services: blocked -> potentially blocked",
			"(whom no rule names) -> " + web + " all services: blocked -> potentially blocked", api + " -> (whom no rule names) all services: blocked -> potentially blocked",
			db + " -> (whom no rule names) all services: blocked -> potentially blocked", web + " -> (whom no rule names) all services: blocked -> potentially blocked",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := uint64(34)
			file := after(t, func(s *story) {
				if c.first != nil {
					c.first(s)
					before = uint64(len(s.entries))
				}
				c.then(s)
			})
			d := diff(t, file, before, file.Header.Last)
			if d.SamePolicy() || d.Unasked > 0 {
				t.Errorf("the same policy, or %d unasked", d.Unasked)
			}
			got := verdicts(d)
			slices.Sort(got)
			slices.Sort(c.want)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("verdicts: %s\npolicies: %+v", diff, d.Policies)
			}
		})
	}
}

// TestVerdictsAreWhatExplainSays compares each verdict that a diff names with Explain, at both places.
func TestVerdictsAreWhatExplainSays(t *testing.T) {
	d := diff(t, memory(t, exportShop(t)), 12, 34)
	pods := map[string]string{web: "shop/web-1", api: "shop/api-1", db: "shop/db-0", ops: "ops/intruder"}
	now, asked := engineAt(t, 34), 0
	for _, v := range d.Verdicts {
		source, destination := pods[v.Source], pods[v.Destination]
		if source == "" || destination == "" {
			continue
		}
		for _, port := range v.Ports {
			var number uint16
			if _, err := fmt.Sscanf(port, "tcp/%d", &number); err != nil {
				t.Fatalf("%s: %v", port, err)
			}
			answer, err := now.Explain(clas.Query{Source: source, Destination: destination, Port: number, Protocol: 6})
			if err != nil || answer.Verdict != v.After {
				t.Errorf("%+v: explain says %s, %v", v, answer.Verdict, err)
			}
			asked++
		}
	}
	if asked < 2 {
		t.Errorf("only %d verdicts to compare: %+v", asked, d.Verdicts)
	}
}
