package enforcer

import (
	"time"

	"github.com/ringfence/ringfence/services/enforcer/datapath"
)

// orderKind is what a keeper must do with its pod.
type orderKind int

const (
	// leaveAlone changes nothing and keeps what is open open.
	leaveAlone orderKind = iota
	// openUp lets everything pass, where a table is.
	openUp
	// enforce programs a policy.
	enforce
	// refuse keeps the previous policy, because the new one makes no sense.
	refuse
)

// order is what the node wants of a pod.
type order struct {
	kind orderKind
	// policy is set for enforce. The same policy is the same pointer.
	policy *datapath.Policy
	// problem says in words why the pod has not what the plan says, for every kind but enforce.
	problem string
	// fault is set where the problem is a failure, and not a state that is waited out.
	fault bool
	// generation of the node's policy that the order follows. With it in force, or where the order leaves nothing to
	// do, the pod counts as being at that generation.
	generation uint64
	// settles tells that carrying the order out brings the pod to the generation.
	settles bool
}

// same tells whether carrying out o after other would change nothing.
func (o order) same(other order) bool { return o.kind == other.kind && o.policy == other.policy }

// standing is what a keeper has achieved.
type standing struct {
	// ordered is the newest order.
	ordered order
	// done is the last order that was carried out.
	done order
	// reached is the newest generation that is in force.
	reached uint64
	// err is why the last attempt failed.
	err error
	// enforcedAt is when the pod's table was first programmed, by this process.
	enforcedAt time.Time
}

// current tells whether the newest order is carried out.
func (s standing) current() bool {
	return s.err == nil && s.ordered.kind == enforce && s.done.same(s.ordered) && s.done.generation == s.ordered.generation
}
