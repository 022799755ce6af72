package enforcer

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"github.com/rs/zerolog"

	"github.com/ringfence/ringfence/libs/eventlog"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
	"github.com/ringfence/ringfence/services/enforcer/cri"
)

// node is everything that is known of the node, and gives each sandbox its order. What it is told comes from several
// goroutines; every change ends in assign.
type node struct {
	name        string
	programming bool
	shared      *shared
	log         zerolog.Logger
	// ctx is the life of the keepers.
	ctx context.Context

	mu       sync.Mutex
	compiler *compiler
	keepers  map[string]*keeper
	// unclear are sandboxes without a keeper, by id: on the host network, or the runtime does not say where they are.
	unclear map[string]cri.Sandbox
	own     []netip.Addr
	glass   bool
	runtime error
	policy  *eventlog.NodePolicy
	// planned are the pods of the plan by UID.
	planned map[string]*ringfencev1.PodPlan
	// generation counts the policies that came; marks tell what each was.
	generation uint64
	marks      []mark
	// listed is the newest generation that came before a listing which is complete.
	listed uint64
	// addressProblem says why the node's own addresses are not known, planProblem why the last policy was not taken.
	addressProblem, planProblem error
}

// mark is what a status may say once a generation is in force everywhere.
type mark struct {
	generation  uint64
	version     *ringfencev1.Version
	window      uint64
	provisioned int64
}

func newNode(ctx context.Context, cfg Config, sh *shared, log zerolog.Logger) *node {
	return &node{
		name: cfg.NodeName, programming: cfg.Programming, shared: sh, log: log, ctx: ctx, compiler: newCompiler(),
		keepers: map[string]*keeper{}, unclear: map[string]cri.Sandbox{}, planned: map[string]*ringfencev1.PodPlan{},
		runtime: errors.New("it was not asked yet"),
	}
}

// takePolicy takes a policy of the log. One without a plan for the node is no reason to open anything: what is in force
// stays, and the status says so.
func (n *node) takePolicy(p eventlog.NodePolicy) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.usable(p.Plan); err != nil {
		if n.planProblem == nil {
			n.log.Error().Err(err).Str("node", n.name).Msg("what is in force stays")
		}
		n.planProblem = err
		n.shared.changed()
		return
	}
	n.planProblem = nil
	n.policy = &p
	n.planned = map[string]*ringfencev1.PodPlan{}
	for _, pod := range p.Plan.GetPods() {
		n.planned[pod.GetUid()] = pod
	}
	n.generation++
	n.marks = append(n.marks, mark{n.generation, p.Version, p.Window, p.ProvisionedVersion})
	n.marks = thin(n.marks)
	n.compiler.forget(&p)
	n.assign()
}

func (n *node) usable(plan *ringfencev1.NodePlan) error {
	switch {
	case plan == nil || plan.GetWindow() == 0:
		return errors.New("the log has no plan for this node")
	case plan.GetRemoved():
		return errors.New("the plan says that this node is gone from the cluster")
	}
	return nil
}

// maxMarks bounds the marks that wait for a pod which cannot be brought up to date.
const maxMarks = 1024

// thin keeps the oldest mark, which the status reports, and the newest ones.
func thin(marks []mark) []mark {
	if len(marks) > maxMarks {
		return slices.Delete(marks, 1, len(marks)-maxMarks/2)
	}
	return marks
}

// takeListing takes what the runtime says, asked for when the node's policy was at a generation.
func (n *node) takeListing(sandboxes []cri.Sandbox, asked uint64, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.runtime = err
	if err != nil {
		n.shared.metrics.runtime.Inc()
		n.shared.changed()
		return
	}
	n.listed = max(n.listed, asked)
	running := map[string]bool{}
	n.unclear = map[string]cri.Sandbox{}
	for _, s := range sandboxes {
		running[s.ID] = true
		switch {
		case s.Err != nil || s.HostNetwork:
			n.unclear[s.ID] = s
		case n.keepers[s.ID] == nil:
			n.keepers[s.ID] = startKeeper(n.ctx, s, n.shared, n.log)
		}
	}
	for id, k := range n.keepers {
		if !running[id] {
			k.stop()
			delete(n.keepers, id)
		}
	}
	n.assign()
}

// takeAddresses takes the addresses of the node's own network namespace.
func (n *node) takeAddresses(own []netip.Addr, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.addressProblem = err
	if err != nil || slices.Equal(own, n.own) {
		return
	}
	n.own = own
	n.assign()
}

// takeBreakGlass takes whether the break-glass file is there.
func (n *node) takeBreakGlass(there bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if there == n.glass {
		return
	}
	n.glass = there
	if there {
		n.log.Warn().Msg("the break-glass file is there: every pod of the node is opened until it is removed")
	} else {
		n.log.Warn().Msg("the break-glass file is gone: policy is enforced again")
	}
	n.assign()
}

// at is the generation of the policy.
func (n *node) at() uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.generation
}

// assign gives every keeper its order. The caller holds the lock.
func (n *node) assign() {
	var addressing error
	if n.policy != nil {
		addressing = n.compiler.setNode(n.nodeAddresses())
	}
	for _, k := range n.keepers {
		o := n.orderFor(k.sandbox, addressing)
		o.generation = n.generation
		k.give(o)
	}
	n.shared.changed()
}

// orderFor decides what a sandbox gets.
func (n *node) orderFor(s cri.Sandbox, addressing error) order {
	pod := n.planned[s.UID]
	switch {
	case !n.programming:
		return order{kind: leaveAlone, problem: problemSwitchedOff}
	case n.glass:
		return order{kind: openUp, problem: problemBreakGlass}
	case n.policy == nil:
		return order{kind: leaveAlone, problem: "no policy was received yet"}
	case pod == nil:
		return order{kind: openUp, settles: true}
	case addressing != nil:
		return order{kind: refuse, problem: addressing.Error(), fault: true}
	}
	policy, err := n.compiler.policy(n.policy, pod.GetPolicy())
	if err != nil {
		return order{kind: refuse, problem: fmt.Sprintf("pod %s/%s: %v", s.Namespace, s.Name, err), fault: true}
	}
	return order{kind: enforce, policy: policy, settles: true}
}

// nodeAddresses joins the node's own addresses with those that the plan names, sorted.
func (n *node) nodeAddresses() []netip.Addr {
	all := slices.Clone(n.own)
	for _, text := range n.policy.Plan.GetNodeAddresses() {
		a, err := netip.ParseAddr(text)
		if err != nil {
			n.log.Error().Err(err).Str("node", n.name).Msg("the plan names a node address that is none; it is left out")
			continue
		}
		all = append(all, a.Unmap().WithZone(""))
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all)
}

// stop ends all keepers. What is programmed stays.
func (n *node) stop() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for id, k := range n.keepers {
		k.stop()
		delete(n.keepers, id)
	}
}
