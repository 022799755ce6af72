package eventlog

import (
	"testing"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

func windowOf(number uint64, sets ...*ringfencev1.AddressSetDelta) *ringfencev1.Window {
	return &ringfencev1.Window{Number: number, Parts: 1, Version: &ringfencev1.Version{Incarnation: "i", Sequence: number}, Sets: sets}
}

func setOf(addresses ...byte) *ringfencev1.AddressSet {
	set := &ringfencev1.AddressSet{Id: "s"}
	for _, a := range addresses {
		set.Addresses = append(set.Addresses, []byte{10, 0, 0, a})
	}
	return set
}

// An object that was fetched can already have the changes of windows that are still on their way: it waits for them, and
// they do not change it.
func TestAnObjectAheadOfTheWindowWaitsForIt(t *testing.T) {
	s := newNodeState("n", &ringfencev1.PolicyHead{Window: 3, Version: &ringfencev1.Version{Incarnation: "i", Sequence: 3}})
	plan := &ringfencev1.NodePlan{Node: "n", Window: 2, Version: s.version, Pods: []*ringfencev1.PodPlan{{Uid: "u", Policy: "p"}}}
	if inForce, err := s.applyPlan(plan); err != nil || !inForce {
		t.Fatal(inForce, err)
	}
	rules := []*ringfencev1.PolicyRule{{Id: "r", Terms: []*ringfencev1.PeerTerm{{AddressSet: "s"}}}}
	if err := s.addPolicy("p", &ringfencev1.StoredWorkloadPolicy{Window: 1, Policy: &ringfencev1.WorkloadPolicy{Id: "p", Inbound: rules}}); err != nil {
		t.Fatal(err)
	}
	if err := s.addSet("s", 5, setOf(1)); err != nil { // 4 added 2, 5 removed it again
		t.Fatal(err)
	}
	for _, step := range []struct {
		window  *ringfencev1.Window
		settled bool
	}{
		{windowOf(4, &ringfencev1.AddressSetDelta{Id: "s", Added: setOf(2).Addresses}), false},
		{windowOf(5, &ringfencev1.AddressSetDelta{Id: "s", Removed: setOf(2).Addresses}), true},
	} {
		if s.settled() {
			t.Errorf("settled before window %d", step.window.GetNumber())
		}
		if _, err := s.applyWindow(step.window); err != nil {
			t.Fatal(err)
		}
		if n := len(s.sets["s"].value.GetAddresses()); n != 1 || s.settled() != step.settled {
			t.Errorf("after window %d: %d addresses, settled %v", step.window.GetNumber(), n, s.settled())
		}
	}
}

// A plan that a joiner finds may be of a window that has not come: without it there is nothing to deliver.
func TestAPlanAheadOfTheWindowWaitsForIt(t *testing.T) {
	s := newNodeState("n", &ringfencev1.PolicyHead{Window: 3, Version: &ringfencev1.Version{Incarnation: "i", Sequence: 3}})
	if inForce, err := s.applyPlan(&ringfencev1.NodePlan{Node: "n", Window: 4, Version: s.version}); err != nil || inForce || s.settled() {
		t.Fatalf("in force %v, settled %v, %v", inForce, s.settled(), err)
	}
	if _, err := s.applyWindow(windowOf(4)); err != nil || !s.settled() || s.plan.GetWindow() != 4 {
		t.Errorf("after window 4: settled %v, plan of %d, %v", s.settled(), s.plan.GetWindow(), err)
	}
}

// After a crash of the publisher a window can come under a number that was used before.
func TestAnotherWindowOfTheSameNumberMeansToJoinAnew(t *testing.T) {
	s := newNodeState("n", &ringfencev1.PolicyHead{Window: 3, Version: &ringfencev1.Version{Incarnation: "i", Sequence: 3}})
	if applied, err := s.applyWindow(windowOf(3)); applied || err != nil {
		t.Errorf("the window of the head: %v, %v", applied, err)
	}
	other := windowOf(3)
	other.Version.Sequence = 8
	if _, err := s.applyWindow(other); err == nil {
		t.Error("another window 3 was taken for the known one")
	}
	for _, number := range []uint64{1, 2, 5} {
		w := windowOf(number)
		w.Version.Sequence = 9
		if _, err := s.applyWindow(w); err == nil {
			t.Errorf("window %d was taken after 3", number)
		}
	}
}
