package clas_test

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	pb "github.com/ringfence/ringfence/proto/ringfence/v1"

	"github.com/ringfence/ringfence/libs/addresses"
	"github.com/ringfence/ringfence/libs/clas"
)

// readerState is what somebody knows who only ever saw deltas. It is strict: a delta that adds what is there, removes what is not,
// names what did not change, or refers to what nobody sent is an error.
type readerState struct {
	sets       map[string]*pb.AddressSet
	policies   map[string]*pb.WorkloadPolicy
	plans      map[string]*pb.NodePlan // as Policy gives them
	namespaces map[string]*pb.NamespacePolicy
	start      pb.EnforcementMode
	version    int64
}

func newReader() *readerState {
	return &readerState{sets: map[string]*pb.AddressSet{}, policies: map[string]*pb.WorkloadPolicy{}, plans: map[string]*pb.NodePlan{},
		namespaces: map[string]*pb.NamespacePolicy{}}
}

func (r *readerState) apply(d clas.Delta) error {
	start, version := r.start, r.version
	if err := r.takeIn(d); err != nil {
		return err
	}
	if d.Empty() && (r.start != start || r.version != version) {
		return fmt.Errorf("an empty delta changes start policy or version: %+v", d)
	}
	return r.whole()
}

// takeIn applies a delta in the order in which readers must.
func (r *readerState) takeIn(d clas.Delta) error {
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
	for _, n := range d.Namespaces {
		if err := r.namespace(n); err != nil {
			return fmt.Errorf("namespace %s: %w", n.GetNamespace(), err)
		}
	}
	for _, s := range d.Signatures {
		if err := r.signatures(s); err != nil {
			return fmt.Errorf("signatures of namespace %s: %w", s.GetNamespace(), err)
		}
	}
	for _, p := range d.Plans {
		if err := r.plan(p); err != nil {
			return fmt.Errorf("plan %s: %w", p.GetNode(), err)
		}
	}
	for _, name := range d.RemovedNamespaces {
		if r.namespaces[name] == nil {
			return fmt.Errorf("namespace %s is removed and was never there", name)
		}
		delete(r.namespaces, name)
	}
	for _, id := range d.RemovedPolicies {
		if r.policies[id] == nil {
			return fmt.Errorf("policy %s is removed and was never there", id)
		}
		delete(r.policies, id)
	}
	r.start, r.version = d.StartPolicy, d.ProvisionedVersion
	return sorted(d)
}

// namespace takes in what is said of a namespace; its signatures stay.
func (r *readerState) namespace(n *pb.NamespacePolicy) error {
	n = proto.CloneOf(n)
	if len(n.GetSignatures()) > 0 {
		return fmt.Errorf("comes with signatures: %v", n)
	}
	n.Signatures = r.namespaces[n.GetNamespace()].GetSignatures()
	if proto.Equal(r.namespaces[n.GetNamespace()], n) {
		return errors.New("did not change")
	}
	r.namespaces[n.GetNamespace()] = n
	return nil
}

// signatures takes in how the signatures of a namespace changed.
func (r *readerState) signatures(d *pb.SignaturesDelta) error {
	n := r.namespaces[d.GetNamespace()]
	if n == nil || len(d.GetChanged())+len(d.GetRemoved()) == 0 || !ascending(ids(d.GetChanged(), (*pb.PodSignature).GetHash)) || !ascending(d.GetRemoved()) {
		return fmt.Errorf("of nothing that is there, of nothing, or not sorted: %v", d)
	}
	n = proto.CloneOf(n)
	for _, hash := range d.GetRemoved() {
		before := len(n.Signatures)
		if n.Signatures = slices.DeleteFunc(n.Signatures, func(s *pb.PodSignature) bool { return s.GetHash() == hash }); len(n.Signatures) != before-1 {
			return fmt.Errorf("%s is removed and was never there", hash)
		}
	}
	for _, s := range d.GetChanged() {
		if slices.ContainsFunc(n.Signatures, func(have *pb.PodSignature) bool { return proto.Equal(have, s) }) {
			return fmt.Errorf("%s did not change", s.GetHash())
		}
		n.Signatures = append(slices.DeleteFunc(n.Signatures, func(have *pb.PodSignature) bool { return have.GetHash() == s.GetHash() }), s)
	}
	slices.SortFunc(n.Signatures, func(a, b *pb.PodSignature) int { return strings.Compare(a.GetHash(), b.GetHash()) })
	r.namespaces[d.GetNamespace()] = n
	return nil
}

// sorted tells whether a delta names everything once, in order.
func sorted(d clas.Delta) error {
	for what, names := range map[string][]string{
		"sets": ids(d.Sets, (*pb.AddressSetDelta).GetId), "policies": ids(d.Policies, (*pb.WorkloadPolicy).GetId),
		"removed policies": d.RemovedPolicies, "plans": ids(d.Plans, (*pb.NodePlanDelta).GetNode),
		"signatures": ids(d.Signatures, (*pb.SignaturesDelta).GetNamespace),
		"namespaces": ids(d.Namespaces, (*pb.NamespacePolicy).GetNamespace), "removed namespaces": d.RemovedNamespaces,
	} {
		if !ascending(names) {
			return fmt.Errorf("%s are not sorted: %v", what, names)
		}
	}
	return nil
}

func ids[M any](messages []M, id func(M) string) []string {
	var out []string
	for _, m := range messages {
		out = append(out, id(m))
	}
	return out
}

// ascending tells whether a list is sorted without repeats.
func ascending[T cmp.Ordered](list []T) bool {
	for i := range list {
		if i > 0 && list[i-1] >= list[i] {
			return false
		}
	}
	return true
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
	case d.GetReplace() != nil && old != nil && slices.Equal(old.GetPrefixes(), d.GetReplace().GetPrefixes()) &&
		slices.Equal(old.GetFqdns(), d.GetReplace().GetFqdns()) && old.GetDescription() == d.GetReplace().GetDescription():
		return fmt.Errorf("replaced, and only addresses changed")
	case d.GetReplace() != nil:
		r.sets[d.GetId()] = proto.CloneOf(d.GetReplace())
		return nil
	case old == nil:
		return fmt.Errorf("changed and was never there")
	case addresses.Len(d.GetAdded())+addresses.Len(d.GetRemoved()) == 0:
		return fmt.Errorf("did not change")
	}
	members := map[netip.Addr]bool{}
	for a := range addresses.All(old.GetAddresses()) {
		members[a] = true
	}
	for a := range addresses.All(d.GetRemoved()) {
		if !members[a] {
			return fmt.Errorf("removes %s, which is not in it", a)
		}
		delete(members, a)
	}
	for a := range addresses.All(d.GetAdded()) {
		if members[a] {
			return fmt.Errorf("adds %s, which is in it", a)
		}
		members[a] = true
	}
	next := proto.CloneOf(old)
	next.Addresses = addresses.Of(slices.Collect(maps.Keys(members))...)
	r.sets[d.GetId()] = next
	return nil
}

// plan changes a node's plan: what is the node's own is given whole, pods only where they changed.
func (r *readerState) plan(d *pb.NodePlanDelta) error {
	old := r.plans[d.GetNode()]
	switch {
	case d.GetRemoved() && old == nil:
		return fmt.Errorf("removed and was never there")
	case d.GetRemoved():
		delete(r.plans, d.GetNode())
		return nil
	}
	pods := map[string]*pb.PodPlan{}
	for _, p := range old.GetPods() {
		pods[p.GetUid()] = p
	}
	for _, uid := range d.GetRemovedPods() {
		if pods[uid] == nil {
			return fmt.Errorf("removes pod %s, which is not in it", uid)
		}
		delete(pods, uid)
	}
	for _, p := range d.GetPods() {
		if proto.Equal(pods[p.GetUid()], p) {
			return fmt.Errorf("pod %s did not change", p.GetUid())
		}
		pods[p.GetUid()] = p
	}
	next := &pb.NodePlan{Node: d.GetNode(), NodeAddresses: d.GetNodeAddresses(), NodePolicy: d.GetNodePolicy(), Features: d.GetFeatures(),
		Pods: slices.SortedFunc(maps.Values(pods), comparePods)}
	if old != nil && proto.Equal(old, next) {
		return fmt.Errorf("did not change")
	}
	r.plans[d.GetNode()] = next
	return nil
}

func comparePods(a, b *pb.PodPlan) int {
	return cmp.Or(cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()), cmp.Compare(a.GetUid(), b.GetUid()))
}

// ruleLists are the lists of a policy's rules by the order in which a packet meets them.
func ruleLists(p *pb.WorkloadPolicy) (outbound, inbound [3][]*pb.PolicyRule) {
	return [3][]*pb.PolicyRule{p.GetOutboundOverrideDeny(), p.GetOutbound(), p.GetOutboundDeny()},
		[3][]*pb.PolicyRule{p.GetInboundOverrideDeny(), p.GetInbound(), p.GetInboundDeny()}
}

// whole tells whether nothing refers to what is not there, nothing is there in vain, and everything is well formed.
func (r *readerState) whole() error {
	if err := r.wholePolicies(); err != nil {
		return err
	}
	used := map[string]bool{}
	for node, plan := range r.plans {
		if err := r.wholePlan(plan, used); err != nil {
			return fmt.Errorf("plan %s: %w", node, err)
		}
	}
	for name, n := range r.namespaces {
		if !ascending(ids(n.GetSignatures(), (*pb.PodSignature).GetHash)) {
			return fmt.Errorf("namespace %s: signatures are not sorted: %v", name, n)
		}
		for _, s := range n.GetSignatures() {
			if !used[s.GetPolicy()] {
				return fmt.Errorf("namespace %s: signature %s has policy %q, which no pod has", name, s.GetHash(), s.GetPolicy())
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

func (r *readerState) wholePolicies() error {
	used := map[string]bool{}
	for id, p := range r.policies {
		outbound, inbound := ruleLists(p)
		for _, rules := range slices.Concat(outbound[:], inbound[:]) {
			if !slices.IsSorted(ids(rules, (*pb.PolicyRule).GetId)) {
				return fmt.Errorf("policy %s: rules are not sorted: %v", id, rules)
			}
			for _, t := range terms(rules) {
				if used[t.GetAddressSet()] = true; r.sets[t.GetAddressSet()] == nil {
					return fmt.Errorf("policy %s refers to set %s, which is not there", id, t.GetAddressSet())
				}
			}
		}
		if want := r.features(p); !slices.Equal(p.GetFeatures(), want) {
			return fmt.Errorf("policy %s: features %v, want %v", id, p.GetFeatures(), want)
		}
	}
	for id, s := range r.sets {
		if !used[id] {
			return fmt.Errorf("set %s is there in vain", id)
		}
		if addresses.Check(s.GetAddresses()) != nil || !ascending(s.GetFqdns()) {
			return fmt.Errorf("set %s is not sorted: %v", id, s)
		}
	}
	return nil
}

func terms(rules []*pb.PolicyRule) []*pb.PeerTerm {
	var out []*pb.PeerTerm
	for _, rule := range rules {
		out = append(out, rule.GetTerms()...)
	}
	return out
}

// features are what an enforcer must understand for the policy, sorted.
func (r *readerState) features(p *pb.WorkloadPolicy) []string {
	var out []string
	if len(p.GetInboundDeny())+len(p.GetOutboundDeny()) > 0 {
		out = append(out, "deny")
	}
	outbound, _ := ruleLists(p)
	if slices.ContainsFunc(terms(slices.Concat(outbound[:]...)), func(t *pb.PeerTerm) bool { return len(r.sets[t.GetAddressSet()].GetFqdns()) > 0 }) {
		out = append(out, "fqdn")
	}
	if len(p.GetInboundOverrideDeny())+len(p.GetOutboundOverrideDeny()) > 0 {
		out = append(out, "override_deny")
	}
	return out
}

// wholePlan checks a plan and marks the policies that it uses.
func (r *readerState) wholePlan(plan *pb.NodePlan, used map[string]bool) error {
	var features []string
	for _, p := range plan.GetPods() {
		if used[p.GetPolicy()] = true; r.policies[p.GetPolicy()] == nil {
			return fmt.Errorf("pod %s refers to policy %q, which is not there", p.GetName(), p.GetPolicy())
		}
		features = append(features, r.policies[p.GetPolicy()].GetFeatures()...)
	}
	if id := plan.GetNodePolicy(); id != "" {
		if used[id] = true; r.policies[id] == nil {
			return fmt.Errorf("the node refers to policy %q, which is not there", id)
		}
		features = append(features, r.policies[id].GetFeatures()...)
	}
	slices.Sort(features)
	if features = slices.Compact(features); !slices.Equal(features, plan.GetFeatures()) {
		return fmt.Errorf("features %v, want %v", plan.GetFeatures(), features)
	}
	return nil
}

// equal compares the reader's knowledge with the whole policy.
func (r *readerState) equal(p clas.Policy) error {
	if r.version != p.ProvisionedVersion {
		return fmt.Errorf("version %d, want %d", r.version, p.ProvisionedVersion)
	}
	if r.start != p.Namespaces.GetStartPolicy() {
		return fmt.Errorf("start policy %s, want %s", r.start, p.Namespaces.GetStartPolicy())
	}
	if err := same(r.namespaces, p.Namespaces.GetNamespaces(), (*pb.NamespacePolicy).GetNamespace); err != nil {
		return err
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
	if !ascending(ids(want, id)) {
		return fmt.Errorf("not sorted: %v", ids(want, id))
	}
	extra := maps.Clone(have)
	for _, m := range want {
		if got := have[id(m)]; !proto.Equal(got, m) {
			return fmt.Errorf("%T %s: %v, want %v", m, id(m), got, m)
		}
		delete(extra, id(m))
	}
	for name, m := range extra {
		return fmt.Errorf("%T %s should not be there: %v", m, name, m)
	}
	return nil
}

// holds tells whether a set holds an address, or has a pattern for a DNS name.
func holds(s *pb.AddressSet, peer string) bool {
	addr, err := netip.ParseAddr(peer)
	if err != nil {
		return slices.ContainsFunc(s.GetFqdns(), func(pattern string) bool { return nameMatches(pattern, peer) })
	}
	return slices.Contains(slices.Collect(addresses.All(s.GetAddresses())), addr) ||
		slices.ContainsFunc(s.GetPrefixes(), func(p string) bool { return netip.MustParsePrefix(p).Contains(addr) })
}

// nameMatches is how an enforcer matches a name: labels in any case, a trailing dot or none, * for any run of characters.
func nameMatches(pattern, name string) bool {
	pattern, name = canonicalName(pattern), canonicalName(name)
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == name
	}
	first, last := parts[0], parts[len(parts)-1]
	if len(name) < len(first)+len(last) || !strings.HasPrefix(name, first) || !strings.HasSuffix(name, last) {
		return false
	}
	name = name[len(first) : len(name)-len(last)]
	for _, part := range parts[1 : len(parts)-1] {
		_, rest, found := strings.Cut(name, part)
		if !found {
			return false
		}
		name = rest
	}
	return true
}

func canonicalName(name string) string { return strings.TrimSuffix(strings.ToLower(name), ".") }
