package policystore

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/ringfence/ringfence/libs/eventlog"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

const (
	// silence is how long a node is waited for that does not report. Its pods may run, behind the policy that it had; who
	// waits for policy must not wait for a node that is gone.
	silence = time.Minute
	// settleInterval is the least time between two messages that say nothing but which window is settled.
	settleInterval = 500 * time.Millisecond
)

// settlement follows which window the nodes enforce: a window is settled once all of them do. It comes from what they report,
// and never becomes an input of policy. It is safe for concurrent use.
type settlement struct {
	mu    sync.Mutex
	nodes map[string]nodeReport // of those that have a plan
	news  chan struct{}         // holds a token when somebody reported another window
}

// nodeReport is what a node said last, and when; before it said anything, when it was given a plan.
type nodeReport struct {
	window      uint64
	incarnation string
	at          time.Time
}

func newSettlement() *settlement {
	return &settlement{nodes: map[string]nodeReport{}, news: make(chan struct{}, 1)}
}

// planned takes in that a node has a plan, or has none any more.
func (s *settlement) planned(plan *ringfencev1.NodePlan, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if plan.GetRemoved() {
		delete(s.nodes, plan.GetNode())
		return
	}
	if _, known := s.nodes[plan.GetNode()]; !known {
		s.nodes[plan.GetNode()] = nodeReport{at: at}
	}
}

// reported takes in what a node says. Nodes without a plan enforce nothing that anybody waits for.
func (s *settlement) reported(status *ringfencev1.NodeStatus, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, known := s.nodes[status.GetNode()]
	if !known {
		return
	}
	now := nodeReport{window: status.GetWindow(), incarnation: status.GetVersion().GetIncarnation(), at: at}
	s.nodes[status.GetNode()] = now
	if now.window == before.window && now.incarnation == before.incarnation {
		return
	}
	select {
	case s.news <- struct{}{}:
	default:
	}
}

// window gives the newest window of an incarnation that every node enforces, as far as the nodes are not silent; newest is
// the one that was published last.
func (s *settlement) window(incarnation string, newest uint64, at time.Time) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	settled := newest
	for r := range maps.Values(s.nodes) {
		switch {
		case at.Sub(r.at) > silence:
		case r.incarnation != incarnation:
			return 0
		default:
			settled = min(settled, r.window)
		}
	}
	return settled
}

// lagging names the nodes that do not enforce a window yet, sorted; silent ones, too.
func (s *settlement) lagging(incarnation string, window uint64) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for name, r := range s.nodes {
		if r.incarnation != incarnation || r.window < window {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// listen takes in what the nodes report until stop is called.
func (s *settlement) listen(nc *nats.Conn) (stop func(), err error) {
	sub, err := nc.Subscribe(eventlog.StatusSubjects, func(msg *nats.Msg) {
		status := &ringfencev1.NodeStatus{}
		if proto.Unmarshal(msg.Data, status) == nil && status.GetNode() != "" && eventlog.IsStatusOf(msg.Subject, status.GetNode()) {
			s.reported(status, time.Now())
		}
	})
	if err != nil {
		return nil, err
	}
	return func() { _ = sub.Unsubscribe() }, nil // it fails only with the connection, which closes next
}
