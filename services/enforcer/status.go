package enforcer

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
	"github.com/ringfence/ringfence/services/enforcer/cri"
)

// Problems that the status names.
const (
	problemSwitchedOff = "programming is switched off"
	problemBreakGlass  = "the break-glass file is there: nothing is enforced"
	problemHostNetwork = "the pod is on the host network, which has no rules of its own"
	problemNoSandbox   = "the runtime has no sandbox of the pod yet"
)

// status says how the node stands.
func (n *node) status(now time.Time) *ringfencev1.NodeStatus {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := &ringfencev1.NodeStatus{
		Node: n.name, ReportedAt: timestamppb.New(now), EnforcerVersion: version(),
		FlowsLost: n.shared.collector.Lost(), Problems: n.problems(),
	}
	reached := n.listed
	for _, pod := range n.planned {
		state, at := n.podStatus(pod)
		s.Pods = append(s.Pods, state)
		reached = min(reached, at)
	}
	slices.SortFunc(s.Pods, func(a, b *ringfencev1.PodStatus) int {
		return cmp.Or(cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()), cmp.Compare(a.GetUid(), b.GetUid()))
	})
	if m, ok := n.markOf(reached); ok && n.programming { // a version is reported for what is in the kernel, nothing else
		s.Version, s.Window, s.ProvisionedVersion = m.version, m.window, m.provisioned
	}
	return s
}

// markOf gives the newest mark up to a generation, and forgets those before it.
func (n *node) markOf(generation uint64) (mark, bool) {
	i := 0
	for i+1 < len(n.marks) && n.marks[i+1].generation <= generation {
		i++
	}
	n.marks = n.marks[min(i, len(n.marks)):]
	if len(n.marks) == 0 || n.marks[0].generation > generation {
		return mark{}, false
	}
	return n.marks[0], true
}

func (n *node) problems() []string {
	var all []string
	if !n.programming {
		all = append(all, problemSwitchedOff)
	}
	if n.glass {
		all = append(all, problemBreakGlass)
	}
	if n.planProblem != nil {
		all = append(all, n.planProblem.Error())
	}
	if n.runtime != nil {
		all = append(all, fmt.Sprintf("the container runtime does not answer: %v", n.runtime))
	}
	if n.addressProblem != nil {
		all = append(all, fmt.Sprintf("the node's own addresses are not known: %v", n.addressProblem))
	}
	return all
}

// podStatus says how a pod of the plan stands, and which generation is in force for it. A pod that has no
// network namespace of its own here has nothing that could be out of date.
func (n *node) podStatus(pod *ringfencev1.PodPlan) (*ringfencev1.PodStatus, uint64) {
	s := &ringfencev1.PodStatus{
		Uid: pod.GetUid(), Namespace: pod.GetNamespace(), Name: pod.GetName(), Policy: pod.GetPolicy(),
		State: ringfencev1.PodState_POD_STATE_PENDING,
	}
	if k := n.keeperOf(pod.GetUid()); k != nil {
		return s, describe(s, k.standing())
	}
	sandbox, runs := n.unclearOf(pod.GetUid())
	switch {
	case !runs:
		s.Problem = problemNoSandbox
	case sandbox.Err != nil:
		s.State, s.Problem = ringfencev1.PodState_POD_STATE_FAILED, sandbox.Err.Error()
		return s, 0
	default:
		s.State, s.Problem = ringfencev1.PodState_POD_STATE_FAILED, problemHostNetwork
	}
	return s, n.generation
}

// describe fills in what a keeper has achieved.
func describe(s *ringfencev1.PodStatus, is standing) uint64 {
	if !is.enforcedAt.IsZero() {
		s.EnforcedAt = timestamppb.New(is.enforcedAt)
	}
	switch {
	case is.err != nil:
		s.State, s.Problem = ringfencev1.PodState_POD_STATE_FAILED, is.err.Error()
	case is.ordered.fault:
		s.State, s.Problem = ringfencev1.PodState_POD_STATE_FAILED, is.ordered.problem
	case is.ordered.problem != "":
		s.Problem = is.ordered.problem
	case is.current():
		s.State = ringfencev1.PodState_POD_STATE_ENFORCED
	default:
		s.Problem = "the policy is being programmed"
	}
	return is.reached
}

// keeperOf finds the keeper of a pod: of several sandboxes, as while one replaces another, that of the newest.
func (n *node) keeperOf(uid string) *keeper {
	var newest *keeper
	for _, k := range n.keepers {
		if k.sandbox.UID == uid && (newest == nil || k.sandbox.CreatedAt.After(newest.sandbox.CreatedAt)) {
			newest = k
		}
	}
	return newest
}

func (n *node) unclearOf(uid string) (cri.Sandbox, bool) {
	for _, s := range n.unclear {
		if s.UID == uid {
			return s, true
		}
	}
	return cri.Sandbox{}, false
}
