package clas_test

import (
	"fmt"
	"slices"
	"testing"

	pb "github.com/ringfence/ringfence/proto/ringfence/v1"

	"github.com/ringfence/ringfence/libs/clas"
)

// state is a whole world with what must be allowed in it. Every path to a state must lead to the same policy, so that one
// list of states, walked in many ways, tests every transition that the ways contain.
type state struct {
	name    string
	objects []entry
	version int64
	console []*pb.PceObject
	// allowed are the ordered pairs of pods that may talk on tcp/80, out of the pods that are there.
	allowed []string
}

// with gives a state that differs from s.
func (s state) with(name string, change func(*state), allowed ...string) state {
	s.name, s.objects, s.allowed = name, slices.Clone(s.objects), allowed
	change(&s)
	return s
}

// without drops the object of a subject.
func (s *state) without(subject string) {
	s.objects = slices.DeleteFunc(s.objects, func(e entry) bool { return e.subject == subject })
}

// put adds objects, or replaces those of the same subject.
func (s *state) put(entries ...entry) {
	for _, e := range entries {
		s.without(e.subject)
		s.objects = append(s.objects, e)
	}
}

func worldStates() []state {
	empty := state{name: "empty"}
	base := empty.with("a town without rules", func(s *state) { s.put(town()...) })
	webToDB := &pb.Rule{Href: ruleHref("s", "1"), Enabled: true, Consumers: actors("web"), Providers: actors("db"), Services: on(tcp(80))}
	set := func(scopes []*pb.Scope, rules ...*pb.Rule) []*pb.PceObject {
		return []*pb.PceObject{ruleSet(&pb.RuleSet{Href: setHref("s"), Enabled: true, Scopes: scopes, Rules: rules})}
	}
	inProd := base.with("a rule in prod", func(s *state) { s.version, s.console = 1, set([]*pb.Scope{scope("prod")}, webToDB) }, "pweb>pdb")
	anyList := ipList("any", span("10.0.0.0/8", ""))
	return []state{
		empty, base, inProd,
		inProd.with("another web in prod", func(s *state) { s.put(podFact(runningPod("prod", "pweb2", "web", "n2", "10.0.1.9"))) },
			"pweb2>pdb", "pweb>pdb"),
		inProd.with("web and db swap addresses", func(s *state) {
			s.put(podFact(runningPod("prod", "pweb", "web", "n1", "10.0.1.2")), podFact(runningPod("prod", "pdb", "db", "n1", "10.0.1.1")))
		}, "pweb>pdb"),
		inProd.with("web moves to another node and is db there", func(s *state) {
			s.put(podFact(runningPod("prod", "pweb", "db", "n2", "10.0.1.1")))
		}),
		inProd.with("db ends", func(s *state) {
			p := runningPod("prod", "pdb", "db", "n1", "10.0.1.2")
			p.Phase = pb.PodPhase_POD_PHASE_SUCCEEDED
			s.put(podFact(p))
		}),
		inProd.with("the rule in both environments", func(s *state) {
			s.version, s.console = 2, set([]*pb.Scope{scope("prod"), scope("dev")}, webToDB)
		}, "dweb>ddb", "pweb>pdb"),
		inProd.with("the rule beside an IP list", func(s *state) {
			both := &pb.Rule{Href: ruleHref("s", "2"), Enabled: true, Consumers: actors("list:any"), Providers: actors("web"), Services: on(tcp(80))}
			s.version, s.console = 3, append(set([]*pb.Scope{scope("prod")}, webToDB, both), anyList)
		}, "pweb>pdb"),
		inProd.with("the other environment unmanaged", func(s *state) {
			s.put(profileFact("dev", &pb.ContainerWorkloadProfile{Namespace: "dev"}))
		}, "ddb>dweb", "dweb>ddb", "pweb>pdb"),
		inProd.with("prod is visible only", func(s *state) {
			s.put(profileFact("prod", managed("prod", pb.EnforcementMode_ENFORCEMENT_MODE_VISIBILITY_ONLY, "env=prod")))
		}, "pweb>pdb"),
		inProd.with("prod is called dev", func(s *state) { s.put(profileFact("prod", managed("prod", full, "env=dev"))) }),
		inProd.with("a Service in front of db", func(s *state) {
			s.put(serviceFact(&pb.Service{Namespace: "prod", Name: "db", ClusterIps: []string{"10.96.0.9"}, Selector: map[string]string{"app": "pdb"},
				Ports: []*pb.ServicePort{{Protocol: 6, Port: 5432, TargetPort: 80}}}))
		}, "pweb>pdb"),
	}
}

// change gives the facts that lead from one state to the next, tombstones first.
func (s state) change(next state) []entry {
	var out []entry
	find := func(in state, subject string) (entry, bool) {
		i := slices.IndexFunc(in.objects, func(e entry) bool { return e.subject == subject })
		if i < 0 {
			return entry{}, false
		}
		return in.objects[i], true
	}
	for _, e := range s.objects {
		if _, stays := find(next, e.subject); !stays {
			out = append(out, gone(e, ""))
		}
	}
	for _, e := range next.objects {
		if before, there := find(s, e.subject); !there || before.fact.String() != e.fact.String() {
			out = append(out, e)
		}
	}
	if s.version != next.version {
		out = append(out, provisioned(next.version, 1, next.console...)...)
	}
	return out
}

// walk is a way through states; flush says after which of them somebody looks at the deltas.
type walk struct {
	name  string
	steps []int
	flush func(step int) bool
	// repeat applies every fact twice.
	repeat bool
}

// walks expands a list of n states into the ways to walk it.
func walks(n int) []walk {
	always, never := func(int) bool { return true }, func(int) bool { return false }
	var forward, thereAndBack []int
	for i := range n {
		forward = append(forward, i)
		thereAndBack = append(thereAndBack, i, (i+n/2)%n, i)
	}
	backward := slices.Clone(forward)
	slices.Reverse(backward)
	out := []walk{
		{name: "forward", steps: forward, flush: always},
		{name: "backward", steps: backward, flush: always},
		{name: "forward and backward", steps: append(slices.Clone(forward), backward...), flush: always},
		{name: "each fact twice", steps: forward, flush: always, repeat: true},
		{name: "squashed", steps: forward, flush: never},
		{name: "squashed in threes", steps: append(slices.Clone(forward), backward...), flush: func(i int) bool { return i%3 == 2 }},
		{name: "back and forth", steps: thereAndBack, flush: func(i int) bool { return i%2 == 1 }},
	}
	for i := range n {
		out = append(out, walk{name: fmt.Sprintf("state %d alone", i), steps: []int{i}, flush: always},
			walk{name: fmt.Sprintf("state %d between empty ones", i), steps: []int{0, i, 0, i}, flush: always})
	}
	return out
}

func TestEveryWayToAStateEndsInTheSamePolicy(t *testing.T) {
	states := worldStates()
	alone := make([]string, len(states))
	for i, s := range states {
		e := clas.New()
		apply(t, e, state{}.change(s)...)
		alone[i] = e.Digest()
		for j := range i {
			if alone[j] == alone[i] {
				t.Errorf("states %q and %q have one policy: one of them tests nothing", states[j].name, s.name)
			}
		}
	}
	for _, w := range walks(len(states)) {
		t.Run(w.name, func(t *testing.T) { w.run(t, states, alone) })
	}
}

func (w walk) run(t *testing.T, states []state, alone []string) {
	e, reader, here := clas.New(), newReader(), state{}
	for i, n := range w.steps {
		next := states[n]
		for _, x := range here.change(next) {
			apply(t, e, x)
			if w.repeat {
				apply(t, e, x)
			}
		}
		here = next
		if got := e.Digest(); got != alone[n] {
			t.Fatalf("step %d: %q has another policy than alone: %+v", i, next.name, e.Policy())
		}
		expectAllowed(t, e, next)
		if w.flush(i) || i == len(w.steps)-1 {
			if err := reader.apply(e.Flush()); err != nil {
				t.Fatalf("step %d: to %q: %v", i, next.name, err)
			}
			if err := reader.equal(e.Policy()); err != nil {
				t.Fatalf("step %d: to %q: %v", i, next.name, err)
			}
		}
	}
}

func expectAllowed(t *testing.T, e *clas.Engine, s state) {
	t.Helper()
	var pods []string
	for _, x := range s.objects {
		if p := x.fact.GetPod(); p != nil && p.GetPhase() == pb.PodPhase_POD_PHASE_RUNNING {
			pods = append(pods, p.GetNamespace()+"/"+p.GetName())
		}
	}
	if got := allowedPairs(t, e, pods...); !slices.Equal(got, s.allowed) {
		t.Errorf("%q allows %v, want %v", s.name, got, s.allowed)
	}
}
