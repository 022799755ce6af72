package clas_test

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	pb "github.com/ringfence/ringfence/proto/ringfence/v1"
	"google.golang.org/protobuf/proto"

	"github.com/ringfence/ringfence/libs/clas"
)

// readerState is what somebody knows who only ever saw deltas. It is strict: a delta that adds what is there, removes what is not,
// or refers to what nobody sent is an error.
type readerState struct {
	sets       map[string]*pb.AddressSet
	policies   map[string]*pb.WorkloadPolicy
	plans      map[string]*pb.NodePlan
	namespaces *pb.Namespaces
	version    int64
}

func newReader() *readerState {
	return &readerState{sets: map[string]*pb.AddressSet{}, policies: map[string]*pb.WorkloadPolicy{}, plans: map[string]*pb.NodePlan{}}
}

func (r *readerState) apply(d clas.Delta) error {
	for _, s := range d.Sets {
		if err := r.set(s); err != nil {
			return fmt.Errorf("set %s: %w", s.GetId(), err)
		}
	}
	for _, p := range d.Policies {
		if proto.Equal(r.policies[p.GetId()], p) {
			return fmt.Errorf("policy %s did not change", p.GetId())
		}
		r.policies[p.GetId()] = p
	}
	for _, p := range d.Plans {
		if err := r.plan(p); err != nil {
			return fmt.Errorf("plan %s: %w", p.GetNode(), err)
		}
	}
	for _, id := range d.RemovedPolicies {
		if r.policies[id] == nil {
			return fmt.Errorf("policy %s is removed and was never there", id)
		}
		delete(r.policies, id)
	}
	if d.Namespaces != nil {
		r.namespaces = d.Namespaces
	}
	r.version = d.ProvisionedVersion
	return r.whole()
}

func (r *readerState) set(d *pb.AddressSetDelta) error {
	old := r.sets[d.GetId()]
	switch {
	case d.GetDeleted() && old == nil:
		return fmt.Errorf("deleted and was never there")
	case d.GetDeleted():
		delete(r.sets, d.GetId())
		return nil
	case d.GetReplace() != nil && proto.Equal(d.GetReplace(), old):
		return fmt.Errorf("replaced by itself")
	case d.GetReplace() != nil:
		r.sets[d.GetId()] = proto.CloneOf(d.GetReplace())
		return nil
	case old == nil:
		return fmt.Errorf("changed and was never there")
	}
	members := map[string]bool{}
	for _, a := range old.GetAddresses() {
		members[string(a)] = true
	}
	for _, a := range d.GetRemoved() {
		if !members[string(a)] {
			return fmt.Errorf("removes %x, which is not in it", a)
		}
		delete(members, string(a))
	}
	for _, a := range d.GetAdded() {
		if members[string(a)] {
			return fmt.Errorf("adds %x, which is in it", a)
		}
		members[string(a)] = true
	}
	next := &pb.AddressSet{Id: old.GetId(), Description: old.GetDescription(), Prefixes: old.GetPrefixes()}
	for _, a := range slices.SortedFunc(maps.Keys(members), compareBytes) {
		next.Addresses = append(next.Addresses, []byte(a))
	}
	r.sets[d.GetId()] = next
	return nil
}

func compareBytes(a, b string) int {
	x, _ := netip.AddrFromSlice([]byte(a))
	y, _ := netip.AddrFromSlice([]byte(b))
	return x.Compare(y)
}

func (r *readerState) plan(p *pb.NodePlan) error {
	old := r.plans[p.GetNode()]
	switch {
	case p.GetRemoved() && old == nil:
		return fmt.Errorf("removed and was never there")
	case p.GetRemoved():
		delete(r.plans, p.GetNode())
	case proto.Equal(old, p):
		return fmt.Errorf("did not change")
	default:
		r.plans[p.GetNode()] = p
	}
	return nil
}

// whole tells whether nothing refers to what is not there, and nothing is there in vain.
func (r *readerState) whole() error {
	used := map[string]bool{}
	for id, p := range r.policies {
		for _, rule := range slices.Concat(p.GetInbound(), p.GetOutbound()) {
			for _, t := range rule.GetTerms() {
				if used[t.GetAddressSet()] = true; r.sets[t.GetAddressSet()] == nil {
					return fmt.Errorf("policy %s refers to set %s, which is not there", id, t.GetAddressSet())
				}
			}
		}
	}
	for id := range r.sets {
		if !used[id] {
			return fmt.Errorf("set %s is there in vain", id)
		}
	}
	used = map[string]bool{}
	for node, plan := range r.plans {
		for _, p := range plan.GetPods() {
			if used[p.GetPolicy()] = true; r.policies[p.GetPolicy()] == nil {
				return fmt.Errorf("plan %s: pod %s refers to policy %q, which is not there", node, p.GetName(), p.GetPolicy())
			}
		}
	}
	for id := range r.policies {
		if !used[id] {
			return fmt.Errorf("policy %s is there in vain", id)
		}
	}
	return nil
}

// equal compares the reader's knowledge with the whole policy.
func (r *readerState) equal(p clas.Policy) error {
	if r.version != p.ProvisionedVersion {
		return fmt.Errorf("version %d, want %d", r.version, p.ProvisionedVersion)
	}
	if !proto.Equal(r.namespaces, p.Namespaces) {
		return fmt.Errorf("namespaces %v, want %v", r.namespaces, p.Namespaces)
	}
	if err := same(r.sets, p.Sets, (*pb.AddressSet).GetId); err != nil {
		return err
	}
	if err := same(r.policies, p.Policies, (*pb.WorkloadPolicy).GetId); err != nil {
		return err
	}
	return same(r.plans, p.Plans, (*pb.NodePlan).GetNode)
}

func same[M proto.Message](have map[string]M, want []M, id func(M) string) error {
	if len(have) != len(want) {
		return fmt.Errorf("%d objects, want %d: %v, want %v", len(have), len(want), have, want)
	}
	for _, m := range want {
		if got := have[id(m)]; !proto.Equal(got, m) {
			return fmt.Errorf("%s: %v, want %v", id(m), got, m)
		}
	}
	return nil
}

// allows evaluates one direction of a policy as an enforcer does.
func (r *readerState) allows(rules []*pb.PolicyRule, peer string, protocol, port uint32) bool {
	for _, rule := range rules {
		for _, t := range rule.GetTerms() {
			if !inSet(r.sets[t.GetAddressSet()], peer) {
				continue
			}
			for _, p := range t.GetPorts() {
				if portNamed(p, protocol, port) {
					return true
				}
			}
		}
	}
	return false
}

func inSet(s *pb.AddressSet, peer string) bool {
	addr := netip.MustParseAddr(peer)
	for _, a := range s.GetAddresses() {
		if member, ok := netip.AddrFromSlice(a); ok && member == addr {
			return true
		}
	}
	for _, p := range s.GetPrefixes() {
		if netip.MustParsePrefix(p).Contains(addr) {
			return true
		}
	}
	return false
}
