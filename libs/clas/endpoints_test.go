package clas_test

import (
	"errors"
	"slices"
	"testing"

	pb "github.com/ringfence/ringfence/proto/ringfence/v1"

	"github.com/ringfence/ringfence/libs/clas"
)

func TestEndpointsAreWhomExplainKnows(t *testing.T) {
	e := explained(t)
	twin := runningPod("shop", "front-4", "web", "n1", "10.0.0.43")
	first := runningPod("shop", "front-1", "web", "n1", "10.0.0.40")
	for _, p := range []*pb.Pod{first, twin} {
		p.Labels = map[string]string{"app": "front"}
		p.Controller = &pb.ObjectRef{Kind: "ReplicaSet", Name: "front"}
		apply(t, e, podFact(p))
	}
	apply(t, e, nodeFact(&pb.Node{Name: "n9", Uid: "u", Addresses: []string{"192.168.0.9"}}))
	var got []string
	for _, x := range e.Endpoints() {
		got = append(got, x.Kind+" "+x.Name)
		if len(x.Addresses) == 0 {
			continue
		}
		answer, err := e.Explain(clas.Query{Source: x.Query(), Destination: "shop/api", Port: 8080, Protocol: 6})
		if err != nil {
			t.Errorf("%s %s as %s: %v", x.Kind, x.Name, x.Query(), err)
			continue
		}
		if s := answer.Source; s.Kind != x.Kind || s.Name != x.Name || s.Policy != x.Policy || !slices.Equal(s.Labels, x.Labels) {
			t.Errorf("%s %s is %+v among the endpoints, and %+v to explain", x.Kind, x.Name, x, s)
		}
	}
	// Of pods of ReplicaSet front that are alike there is the first; a pod that came to its end is nobody.
	for name, want := range map[string]bool{
		"pod shop/front-1": true, "pod shop/front-3": true, "pod shop/front-4": false, "pod shop/web": true, "pod shop/host": true,
		"pod shop/done": false, "pod else/unmanaged": true, "service shop/api": true, "service shop/headless": true, "node n9": true,
	} {
		if slices.Contains(got, name) != want {
			t.Errorf("%s is listed: %v, want %v, in %q", name, !want, want, got)
		}
	}
	if !slices.IsSorted(got) {
		t.Errorf("not sorted: %q", got)
	}
}

// TestVerdictIsThatOfExplain asks for all pairs.
func TestVerdictIsThatOfExplain(t *testing.T) {
	e := explained(t)
	ends := []string{"shop/web", "shop/api", "shop/db", "shop/odd", "shop/host", "shop/done", "shop/replicaset/front", "shop/service/api",
		"else/unmanaged", "node/n1", "203.0.113.9", "fd00::9", "nobody/at-all", "api.example.com"}
	seen := map[clas.Verdict]int{}
	for _, source := range ends {
		for _, destination := range ends {
			for _, port := range []uint16{53, 80, 8080} {
				q := clas.Query{Source: source, Destination: destination, Port: port, Protocol: 6}
				want, wantErr := e.Explain(q)
				got, err := e.Verdict(q)
				if got != want.Verdict || (err == nil) != (wantErr == nil) || err != nil && err.Error() != wantErr.Error() {
					t.Errorf("%+v: %s, %v; explain says %s, %v", q, got, err, want.Verdict, wantErr)
				}
				seen[got]++
			}
		}
	}
	if seen[clas.Allowed] == 0 || seen[clas.Blocked] == 0 || seen[""] == 0 {
		t.Errorf("not all kinds of answers are among them: %v", seen)
	}
	if _, err := e.Verdict(clas.Query{Source: "10.0.0.1", Destination: "fd00::9", Port: 80, Protocol: 6}); !errors.Is(err, clas.ErrNoCommonFamily) {
		t.Errorf("IPv4 to IPv6: %v", err)
	}
}

func TestByDefaultIsWhatExplainSays(t *testing.T) {
	for _, mode := range []pb.EnforcementMode{pb.EnforcementMode_ENFORCEMENT_MODE_IDLE, pb.EnforcementMode_ENFORCEMENT_MODE_VISIBILITY_ONLY,
		pb.EnforcementMode_ENFORCEMENT_MODE_SELECTIVE, full} {
		e := clas.New()
		apply(t, e, shop()...)
		apply(t, e, profileFact("shop", managed("shop", mode)))
		answer, err := e.Explain(clas.Query{Source: "203.0.113.9", Destination: "shop/db", Port: 5432, Protocol: 6})
		if err != nil || answer.Inbound.Mode == "" {
			t.Fatalf("%s: %+v %v", mode, answer, err)
		}
		if got := clas.ByDefault(mode); got != answer.Verdict {
			t.Errorf("%s: %s, explain says %s", mode, got, answer.Verdict)
		}
	}
}
