package eventlog

import (
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

func seed(f *testing.F, messages ...proto.Message) {
	f.Add([]byte("garbage"))
	f.Add([]byte{})
	for _, m := range messages {
		data, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
		f.Add(data[:len(data)/2])
	}
}

func FuzzFact(f *testing.F) {
	seed(f,
		&ringfencev1.Fact{Producer: "watcher", Counter: 1, Body: &ringfencev1.Fact_Gone{Gone: &ringfencev1.Gone{Uid: "u"}}},
		&ringfencev1.Fact{Body: &ringfencev1.Fact_Synced{Synced: &ringfencev1.Synced{Producer: "watcher", Incarnation: "i"}}},
		&ringfencev1.Fact{Producer: "no body"},
	)
	var log Log
	f.Fuzz(func(t *testing.T, data []byte) {
		fact, err := log.decodeFact(data)
		if (err == nil) != (fact != nil && fact.GetBody() != nil) {
			t.Fatalf("fact %v with error %v", fact, err)
		}
	})
}

// FuzzWindow gives two messages to a follower's state: whatever they are, the state stays whole and only moves forward by
// one, and what is split comes together again.
func FuzzWindow(f *testing.F) {
	version := &ringfencev1.Version{Incarnation: "i", Sequence: 9}
	set := &ringfencev1.AddressSet{Id: "s", Addresses: setOf(1).Addresses}
	for _, w := range []*ringfencev1.Window{
		{Number: 2, Version: version, Parts: 1, Sets: []*ringfencev1.AddressSetDelta{{Id: "s", Replace: set}}},
		{Number: 2, Version: version, Parts: 1, Sets: []*ringfencev1.AddressSetDelta{{Id: "s", Added: setOf(2).Addresses, Removed: set.Addresses}}},
		{Number: 2, Version: version, Part: 1, Parts: 2},
		{Number: 1, Version: version},
		{Number: 2, Version: version, Parts: 1, Policies: []*ringfencev1.WorkloadPolicy{{Id: "p"}}, RemovedPolicies: []string{"q"}},
		{Number: 2, Version: version, Parts: 1, Sets: []*ringfencev1.AddressSetDelta{{Id: "s", Replace: &ringfencev1.AddressSet{Id: "s", Fqdns: []string{"*.example.com"}}}}},
		{Number: 2, Version: version, Parts: 1, Policies: []*ringfencev1.WorkloadPolicy{{Id: "p", InboundDeny: []*ringfencev1.PolicyRule{{Terms: []*ringfencev1.PeerTerm{{AddressSet: "s"}}}}}}},
	} {
		data, err := proto.Marshal(w)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, data)
		f.Add(data, data[:len(data)/2])
	}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		s := newNodeState("n", &ringfencev1.PolicyHead{Window: 1, Version: &ringfencev1.Version{Incarnation: "i", Sequence: 1}})
		s.plan.Pods, s.plan.NodePolicy = []*ringfencev1.PodPlan{{Uid: "u", Policy: "p"}}, "q"
		s.sets.put("s", set)
		before := proto.CloneOf(set)
		var parts assembly
		for _, data := range [][]byte{first, second} {
			w, err := decodeWindow(data)
			if err != nil {
				continue
			}
			if w.GetParts() == 0 {
				_, _ = s.heartbeat(w)
				continue
			}
			whole, err := parts.add(w)
			if err != nil || whole == nil {
				continue
			}
			window := s.window
			if applied, err := s.applyWindow(whole); applied != (s.window == window+1) || (applied && err != nil) {
				t.Fatalf("window %d after %d: applied %v, %v", s.window, window, applied, err)
			}
			if _, _, err := s.missing(); err != nil && !errors.Is(err, errJoinAnew) {
				t.Fatal(err)
			}
			for id, h := range s.sets.held {
				if h.GetId() != id {
					t.Fatalf("set %q is held as %q", h.GetId(), id)
				}
			}
		}
		if !proto.Equal(before, set) {
			t.Fatal("a set that was delivered has changed")
		}
	})
}

func FuzzPlan(f *testing.F) {
	version := &ringfencev1.Version{Incarnation: "i", Sequence: 1}
	seed(f,
		&ringfencev1.NodePlan{Node: "n", Version: version, Window: 1, Pods: []*ringfencev1.PodPlan{{Uid: "u", Policy: "p"}}},
		&ringfencev1.NodePlan{Node: "n", Version: version, Window: 99},
		&ringfencev1.NodePlan{Node: "other", Version: version},
		&ringfencev1.NodePlan{Node: "n", Version: version, Pods: []*ringfencev1.PodPlan{{}}},
	)
	f.Fuzz(func(t *testing.T, data []byte) {
		plan, err := decodePlan("n", data)
		if err != nil {
			return
		}
		s := newNodeState("n", &ringfencev1.PolicyHead{Window: 5, Version: version})
		if inForce, err := s.applyPlan(plan); inForce && (err != nil || s.plan.GetWindow() > s.window) {
			t.Fatalf("plan of window %d in force at %d, %v", s.plan.GetWindow(), s.window, err)
		}
	})
}
