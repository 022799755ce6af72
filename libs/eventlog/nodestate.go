package eventlog

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/ringfence/ringfence/libs/addresses"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// NodePolicy is everything that one node needs to know of the policy, consistent as of one window. It is immutable.
type NodePolicy struct {
	// Plan of the node; where the log has none for it, one without pods and of window 0.
	Plan *ringfencev1.NodePlan
	// Policies and Sets are those that the plan refers to, directly and indirectly, by id.
	Policies           map[string]*ringfencev1.WorkloadPolicy
	Sets               map[string]*ringfencev1.AddressSet
	Namespaces         *ringfencev1.Namespaces
	Version            *ringfencev1.Version
	Window             uint64
	ProvisionedVersion int64
	// Settled is the newest window that every node enforces, but for nodes that have been silent for a minute.
	Settled uint64
}

// errJoinAnew says that what is held does not fit what came, so that only a new join helps.
var errJoinAnew = errors.New("join anew")

// nodeState is what a follower holds between messages. It is pure: it is told what came and says what it lacks.
// Objects are never changed in place, for they are shared with the states that were delivered.
type nodeState struct {
	node        string
	version     *ringfencev1.Version
	window      uint64
	provisioned int64
	everywhere  uint64 // the window that is settled

	plan       *ringfencev1.NodePlan   // of window 0 until the log's is known
	pending    []*ringfencev1.NodePlan // of windows that have not come yet, in their order
	unsure     bool                    // the plan was replaced before it was seen: it is known again at one of the pending ones
	policies   objects[*ringfencev1.WorkloadPolicy]
	sets       objects[*ringfencev1.AddressSet]
	namespaces *ringfencev1.Namespaces
	listed     uint64 // the last window that is in namespaces
	// complete says that just what the plan refers to is held. Most windows change addresses alone, and leave it so.
	complete bool
	// recent is the window that was applied last: what it brought whole need not be fetched.
	recent *ringfencev1.EncodedWindow
	// refers is what the plan refers to, nil where it must be found anew.
	refers *references
}

// references are the ids that a plan refers to, directly and through policies.
type references struct{ policies, sets map[string]bool }

func newNodeState(node string, head *ringfencev1.PolicyHead) *nodeState {
	return &nodeState{
		node: node, version: head.GetVersion(), window: head.GetWindow(), provisioned: head.GetProvisionedVersion(), everywhere: head.GetSettled(),
		plan: &ringfencev1.NodePlan{
			Node: node, Version: head.GetVersion(), ProvisionedVersion: head.GetProvisionedVersion(),
		},
	}
}

// heartbeat takes in that the policy of a window still holds at a version, and says whether that is news.
func (s *nodeState) heartbeat(w *ringfencev1.EncodedWindow) (bool, error) {
	switch {
	case w.GetNumber() != s.window:
		return false, fmt.Errorf("%w: the newest window is %d, held is %d", errJoinAnew, w.GetNumber(), s.window)
	case w.GetVersion().GetIncarnation() != s.version.GetIncarnation():
		return false, fmt.Errorf("%w: incarnation %s", errJoinAnew, w.GetVersion().GetIncarnation())
	}
	later := w.GetVersion().GetSequence() > s.version.GetSequence()
	if later {
		s.version = w.GetVersion()
	}
	settled := w.GetSettled() > s.everywhere
	s.everywhere = max(s.everywhere, w.GetSettled())
	return later || settled, nil
}

// recall takes from a window that came before the join, if it is just the one that is joined at, what it brought whole.
func (s *nodeState) recall(w *ringfencev1.EncodedWindow) {
	if w.GetNumber() == s.window && w.GetVersion().GetIncarnation() == s.version.GetIncarnation() {
		s.recent = w
	}
}

// applyWindow applies a whole window, and says whether it was new.
func (s *nodeState) applyWindow(w *ringfencev1.EncodedWindow) (bool, error) {
	switch {
	case w.GetVersion().GetIncarnation() != s.version.GetIncarnation():
		return false, fmt.Errorf("%w: incarnation %s", errJoinAnew, w.GetVersion().GetIncarnation())
	case w.GetNumber() == s.window && w.GetVersion().GetSequence() <= s.version.GetSequence():
		return false, nil // the window of the head that was joined at
	case w.GetNumber() != s.window+1:
		return false, fmt.Errorf("%w: window %d after %d", errJoinAnew, w.GetNumber(), s.window)
	}
	s.applySets(w)
	if err := s.applyPolicies(w); err != nil {
		return false, err
	}
	if ns := w.GetNamespaces(); ns != nil && s.listed < w.GetNumber() {
		s.namespaces, s.listed = ns, w.GetNumber()
	}
	s.everywhere = max(s.everywhere, w.GetSettled())
	s.window, s.version, s.provisioned, s.recent = w.GetNumber(), w.GetVersion(), w.GetProvisionedVersion(), w
	s.policies.reached(s.window)
	s.sets.reached(s.window)
	s.promote()
	return true, nil
}

func (s *nodeState) applyPolicies(w *ringfencev1.EncodedWindow) error {
	for _, encoded := range w.GetPolicies() {
		if id := encodedID(encoded); s.policies.takesFrom(id, w.GetNumber()) {
			if err := s.putPolicy(id, encoded); err != nil {
				return err
			}
		}
	}
	for _, id := range w.GetRemovedPolicies() {
		if s.policies.takesFrom(id, w.GetNumber()) {
			s.policies.remove(id)
			s.refersAnew()
		}
	}
	return nil
}

// putPolicy holds a policy of the window that the node is at.
func (s *nodeState) putPolicy(id string, encoded []byte) error {
	p := &ringfencev1.WorkloadPolicy{}
	if err := proto.Unmarshal(encoded, p); err != nil {
		return fmt.Errorf("%w: workload policy %s: %w", errJoinAnew, id, err)
	}
	s.policies.put(id, p)
	s.refersAnew()
	return nil
}

func (s *nodeState) applySets(w *ringfencev1.EncodedWindow) {
	for _, d := range w.GetSets() {
		switch {
		case !s.sets.takesFrom(d.GetId(), w.GetNumber()):
		case d.GetDeleted():
			s.sets.remove(d.GetId())
			s.complete = false
		default:
			s.sets.put(d.GetId(), ChangeSet(s.sets.held[d.GetId()], d))
		}
	}
}

// ChangeSet gives the set after a delta, which must not delete it. It changes neither.
func ChangeSet(set *ringfencev1.AddressSet, d *ringfencev1.AddressSetDelta) *ringfencev1.AddressSet {
	if d.GetReplace() != nil {
		set = d.GetReplace()
	}
	if addresses.Len(d.GetAdded())+addresses.Len(d.GetRemoved()) == 0 {
		return set
	}
	return &ringfencev1.AddressSet{
		Id: set.GetId(), Description: set.GetDescription(), Prefixes: set.GetPrefixes(), Fqdns: set.GetFqdns(),
		Addresses: addresses.Change(set.GetAddresses(), d.GetAdded(), d.GetRemoved()),
	}
}

// applyPlan takes a plan in, and says whether it is in force; a plan that needs a later window waits for it.
func (s *nodeState) applyPlan(plan *ringfencev1.NodePlan) (bool, error) {
	switch {
	case plan.GetVersion().GetIncarnation() != s.version.GetIncarnation():
		return false, fmt.Errorf("%w: plan of incarnation %s", errJoinAnew, plan.GetVersion().GetIncarnation())
	case plan.GetWindow() < s.plan.GetWindow():
		return false, nil
	}
	at, there := slices.BinarySearchFunc(s.pending, plan.GetWindow(), func(p *ringfencev1.NodePlan, window uint64) int {
		return cmp.Compare(p.GetWindow(), window)
	})
	if there {
		s.pending[at] = plan
	} else {
		s.pending = slices.Insert(s.pending, at, plan)
	}
	return s.promote(), nil
}

// fetchedPlan takes in the plan that is stored. Where it is ahead of the window, the one for now was replaced.
func (s *nodeState) fetchedPlan(plan *ringfencev1.NodePlan) error {
	if plan.GetWindow() > s.window {
		s.unsure = true
	}
	_, err := s.applyPlan(plan)
	return err
}

func (s *nodeState) promote() bool {
	n := 0
	for n < len(s.pending) && s.pending[n].GetWindow() <= s.window {
		n++
	}
	if n == 0 {
		return false
	}
	s.plan, s.pending, s.unsure = s.pending[n-1], s.pending[n:], false
	if s.refers == nil || !maps.Equal(s.refers.policies, policiesOf(s.plan)) {
		s.refersAnew()
	} // else a pod took the place of one like it
	return true
}

// missing gives the ids of what the plan refers to and is not held, sorted: policies first, for only they tell which
// sets are needed. What the latest window brought whole is taken from there.
func (s *nodeState) missing() (policies, sets []string, err error) {
	if s.complete {
		return nil, nil, nil
	}
	if err := s.takeRecent(); err != nil {
		return nil, nil, err
	}
	wantPolicies, wantSets := s.wanted()
	policies, sets = s.policies.lacking(wantPolicies), s.sets.lacking(wantSets)
	if len(policies)+len(sets) == 0 {
		s.policies.keepOnly(wantPolicies)
		s.sets.keepOnly(wantSets)
		s.complete = true
	}
	return policies, sets, nil
}

// refersAnew forgets what the plan refers to, because it, or a policy that it names, is another.
func (s *nodeState) refersAnew() { s.refers, s.complete = nil, false }

// wanted gives the ids that the plan refers to, as far as the policies are held; they must not be changed. The signatures of
// namespaces name policies of the whole cluster, and are not followed: those that the node uses are in its plan.
func (s *nodeState) wanted() (policies, sets map[string]bool) {
	if s.refers == nil {
		s.refers = s.references()
	}
	return s.refers.policies, s.refers.sets
}

func (s *nodeState) references() *references {
	policies, sets := policiesOf(s.plan), map[string]bool{}
	for id := range policies {
		for _, rule := range rulesOf(s.policies.held[id]) {
			for _, term := range rule.GetTerms() {
				sets[term.GetAddressSet()] = true
			}
		}
	}
	return &references{policies, sets}
}

// policiesOf gives the ids of the policies that a plan names.
func policiesOf(plan *ringfencev1.NodePlan) map[string]bool {
	policies := map[string]bool{}
	for _, pod := range plan.GetPods() {
		policies[pod.GetPolicy()] = true
	}
	if id := plan.GetNodePolicy(); id != "" {
		policies[id] = true
	}
	return policies
}

// rulesOf lists the rules of every kind and direction.
func rulesOf(p *ringfencev1.WorkloadPolicy) []*ringfencev1.PolicyRule {
	return slices.Concat(
		p.GetInbound(), p.GetOutbound(), p.GetInboundDeny(), p.GetOutboundDeny(),
		p.GetInboundOverrideDeny(), p.GetOutboundOverrideDeny())
}

func (s *nodeState) takeRecent() error {
	policies, _ := s.wanted()
	for _, encoded := range s.recent.GetPolicies() {
		id := encodedID(encoded)
		if _, ok := s.policies.held[id]; !ok && policies[id] {
			if err := s.putPolicy(id, encoded); err != nil {
				return err
			}
		}
	}
	_, sets := s.wanted()
	for i, d := range s.recent.GetSets() {
		if _, ok := s.sets.held[d.GetId()]; ok || !sets[d.GetId()] || d.GetReplace() == nil {
			continue
		}
		set := d.GetReplace()
		for _, more := range s.recent.GetSets()[i:] {
			if more.GetId() == d.GetId() {
				set = ChangeSet(set, more)
			}
		}
		s.sets.put(d.GetId(), set)
	}
	return nil
}

func (s *nodeState) addPolicy(id string, stored *ringfencev1.StoredWorkloadPolicy) error {
	if stored.GetPolicy().GetId() != id {
		return fmt.Errorf("workload policy %s: holds %q", id, stored.GetPolicy().GetId())
	}
	s.policies.fetched(id, stored.GetPolicy(), stored.GetWindow(), s.window)
	s.refersAnew()
	return nil
}

func (s *nodeState) addSet(id string, window uint64, set *ringfencev1.AddressSet) error {
	if set.GetId() != id {
		return fmt.Errorf("address set %s: holds %q", id, set.GetId())
	}
	if err := addresses.Check(set.GetAddresses()); err != nil {
		return fmt.Errorf("address set %s: %w", id, err)
	}
	s.sets.fetched(id, set, window, s.window)
	return nil
}

// settled says whether all that is held is of one window: an object that was fetched can be ahead of it. Call it when
// nothing is missing.
func (s *nodeState) settled() bool {
	if s.unsure || s.plan.GetWindow() == 0 && len(s.pending) > 0 {
		return false // there is a plan, only not for this window any more
	}
	return s.listed <= s.window && len(s.policies.ahead) == 0 && len(s.sets.ahead) == 0
}

func (s *nodeState) snapshot() NodePolicy {
	return NodePolicy{
		Plan: s.plan, Namespaces: s.namespaces, Version: s.version, Window: s.window, ProvisionedVersion: s.provisioned, Settled: s.everywhere,
		Policies: s.policies.share(), Sets: s.sets.share(),
	}
}
