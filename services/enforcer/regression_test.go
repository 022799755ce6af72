package enforcer

import (
	"net/netip"
	"testing"

	"github.com/ringfence/ringfence/libs/eventlog"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// TestASetSharedByTwoPoliciesReachesBoth: the policy that was compiled second after a change of a shared set kept the
// old members for good, because the set's own cache was already new.
func TestASetSharedByTwoPoliciesReachesBoth(t *testing.T) {
	rule := []*ringfencev1.PolicyRule{{Id: "1", Terms: []*ringfencev1.PeerTerm{{
		AddressSet: "s", Ports: []*ringfencev1.PortRange{{Protocol: 6, Port: 80}},
	}}}}
	policies := map[string]*ringfencev1.WorkloadPolicy{}
	for _, id := range []string{"first", "second"} {
		policies[id] = &ringfencev1.WorkloadPolicy{Id: id, Mode: ringfencev1.EnforcementMode_ENFORCEMENT_MODE_FULL, Inbound: rule}
	}
	c := newCompiler()
	if err := c.setNode([]netip.Addr{netip.MustParseAddr("10.200.0.1")}); err != nil {
		t.Fatal(err)
	}
	for members := 1; members <= 2; members++ {
		set := &ringfencev1.AddressSet{Id: "s", Addresses: &ringfencev1.Addresses{}}
		for i := range members {
			set.Addresses.Ipv4 = append(set.Addresses.Ipv4, 10, 0, 0, byte(i+1))
		}
		state := &eventlog.NodePolicy{Policies: policies, Sets: map[string]*ringfencev1.AddressSet{"s": set}}
		for _, id := range []string{"first", "second"} {
			policy, err := c.policy(state, id)
			if err != nil {
				t.Fatal(err)
			}
			if peers, _ := c.set(state, "s"); policy.Inbound[0].Terms[0].Peers != peers {
				t.Errorf("with %d members, policy %s has another version of the set", members, id)
			}
		}
	}
}
