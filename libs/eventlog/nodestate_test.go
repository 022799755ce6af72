package eventlog

import (
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/ringfence/ringfence/libs/addresses"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

func windowOf(number uint64, sets ...*ringfencev1.AddressSetDelta) *ringfencev1.EncodedWindow {
	return &ringfencev1.EncodedWindow{Number: number, Parts: 1, Version: &ringfencev1.Version{Incarnation: "i", Sequence: number}, Sets: sets}
}

func setOf(last ...byte) *ringfencev1.AddressSet {
	set := &ringfencev1.AddressSet{Id: "s", Addresses: &ringfencev1.Addresses{}}
	for _, b := range last {
		set.Addresses.Ipv4 = append(set.Addresses.Ipv4, 10, 0, 0, b)
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
		window  *ringfencev1.EncodedWindow
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
		if n := addresses.Len(s.sets.held["s"].GetAddresses()); n != 1 || s.settled() != step.settled {
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

// What the plan refers to in any field is fetched, and what only signatures name is not: that would be the whole cluster's.
func TestEveryKindOfRuleAndTheNodesOwnPolicyAreFollowed(t *testing.T) {
	ruleFor := func(set string) []*ringfencev1.PolicyRule {
		return []*ringfencev1.PolicyRule{{Id: "r", Terms: []*ringfencev1.PeerTerm{{AddressSet: set}}}}
	}
	s := newNodeState("n", &ringfencev1.PolicyHead{Window: 3, Version: &ringfencev1.Version{Incarnation: "i", Sequence: 3}})
	s.plan.NodePolicy, s.plan.Pods = "p-node", []*ringfencev1.PodPlan{{Uid: "u", Policy: "p"}}
	s.namespaces = &ringfencev1.Namespaces{Namespaces: []*ringfencev1.NamespacePolicy{
		{Namespace: "shop", Signatures: []*ringfencev1.PodSignature{{Hash: "0123456789abcdef", Policy: "elsewhere"}}},
	}}
	if policies, _, err := s.missing(); err != nil || !slices.Equal(policies, []string{"p", "p-node"}) {
		t.Errorf("missing policies %v", policies)
	}
	for _, p := range []*ringfencev1.WorkloadPolicy{
		{Id: "p", InboundDeny: ruleFor("a"), OutboundDeny: ruleFor("b"), InboundOverrideDeny: ruleFor("c"), OutboundOverrideDeny: ruleFor("d")},
		{Id: "p-node", Inbound: ruleFor("e"), Outbound: ruleFor("f")},
	} {
		if err := s.addPolicy(p.GetId(), &ringfencev1.StoredWorkloadPolicy{Window: 3, Policy: p}); err != nil {
			t.Fatal(err)
		}
	}
	if policies, sets, err := s.missing(); err != nil || len(policies) > 0 || !slices.Equal(sets, []string{"a", "b", "c", "d", "e", "f"}) {
		t.Errorf("missing policies %v, sets %v", policies, sets)
	}
}

// A change of addresses leaves everything else of a set as it is, and so do cutting and joining.
func TestASetKeepsWhatItsDeltaDoesNotName(t *testing.T) {
	set := setOf(1, 2)
	set.Description, set.Prefixes, set.Fqdns = "d", []string{"10.0.0.0/8"}, []string{"*.example.com"}
	want := proto.CloneOf(set)
	want.Addresses = setOf(2, 3).Addresses
	got := ChangeSet(set, &ringfencev1.AddressSetDelta{Id: "s", Added: setOf(3).Addresses, Removed: setOf(1).Addresses})
	if !proto.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	joined := joinSet(&ringfencev1.AddressSet{Id: "s", Description: "d"}, set)
	if !proto.Equal(joined, set) {
		t.Errorf("joined %v, want %v", joined, set)
	}
}

// A plan is stored with whatever fields it has.
func TestAPlanOfAWindowKeepsEveryField(t *testing.T) {
	plan := &ringfencev1.NodePlan{
		Node: "n", Pods: []*ringfencev1.PodPlan{{Uid: "u", Policy: "p"}}, NodeAddresses: []string{"192.0.2.1"},
		ProvisionedVersion: 7, Removed: true, NodePolicy: "p-node", Features: []string{"deny"},
	}
	w := &ringfencev1.Window{Number: 4, Version: &ringfencev1.Version{Incarnation: "i", Sequence: 4}}
	want := proto.CloneOf(plan)
	want.Window, want.Version = 4, w.GetVersion()
	fields := 0
	want.ProtoReflect().Range(func(protoreflect.FieldDescriptor, protoreflect.Value) bool { fields++; return true })
	if all := want.ProtoReflect().Descriptor().Fields().Len(); fields != all {
		t.Fatalf("the test fills %d of %d fields", fields, all)
	}
	if got := ofWindow(plan, w); !proto.Equal(got, want) || plan.GetWindow() != 0 {
		t.Errorf("got %v, want %v", got, want)
	}
}

// A plan that was fetched may be ahead of the windows that are still to come; those between have plans of their own.
func TestAPlanAheadLeavesThoseBefore(t *testing.T) {
	version := &ringfencev1.Version{Incarnation: "i", Sequence: 1}
	plan := func(window uint64, pods int) *ringfencev1.NodePlan {
		p := &ringfencev1.NodePlan{Node: "n", Window: window, Version: version}
		for range pods {
			p.Pods = append(p.Pods, &ringfencev1.PodPlan{Uid: "u", Policy: "p"})
		}
		return p
	}
	s := newNodeState("n", &ringfencev1.PolicyHead{Window: 1, Version: version})
	step := func(window uint64, settled bool, pods int) {
		t.Helper()
		if window > 1 {
			if _, err := s.applyWindow(&ringfencev1.EncodedWindow{Number: window, Parts: 1, Version: version}); err != nil {
				t.Fatal(err)
			}
		}
		if s.settled() != settled || settled && len(s.plan.GetPods()) != pods {
			t.Errorf("window %d: settled %v with %d pods, want %v with %d", window, s.settled(), len(s.plan.GetPods()), settled, pods)
		}
	}
	if err := s.fetchedPlan(plan(5, 5)); err != nil {
		t.Fatal(err)
	}
	step(1, false, 0) // there was one for window 1, and it was replaced
	step(2, false, 0)
	if _, err := s.applyPlan(plan(3, 3)); err != nil {
		t.Fatal(err)
	}
	step(3, true, 3)
	step(4, true, 3)
	step(5, true, 5)
}
