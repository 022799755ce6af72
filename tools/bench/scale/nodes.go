package scale

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ringfence/ringfence/libs/clas"
	"github.com/ringfence/ringfence/libs/eventlog"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
	"github.com/ringfence/ringfence/tools/bench/load"
	"github.com/ringfence/ringfence/tools/bench/process"
)

// nodes are the processes that the nodes are in.
type nodes struct {
	processes []*process.Process
	count     int
}

// startNodes starts the processes, and returns once all nodes are connected.
func (b *Bench) startNodes(address string) (*nodes, error) {
	n := &nodes{count: b.Followers}
	share := (b.Followers + b.Processes - 1) / b.Processes
	for from := 0; from < b.Followers; from += share {
		to := min(from+share, b.Followers)
		p, err := process.Start(fmt.Sprintf("nodes %d to %d", from, to-1), b.Nodes(address, from, to))
		if err != nil {
			n.stop()
			return nil, err
		}
		n.processes = append(n.processes, p)
	}
	for _, p := range n.processes {
		if err := p.Expect("ready"); err != nil {
			n.stop()
			return nil, err
		}
	}
	return n, nil
}

func (n *nodes) stop() {
	for _, p := range n.processes {
		p.Stop()
	}
}

// answerTime bounds how long an answer may take; the nodes themselves give up before.
const answerTime = 5 * time.Minute

// ask sends every process a request, and gives the answers in the order of the processes.
func ask[T any](n *nodes, request string) ([]T, error) {
	answers := make([]T, len(n.processes))
	var asking errgroup.Group
	for i, p := range n.processes {
		asking.Go(func() error {
			ctx, cancel := context.WithTimeout(context.Background(), answerTime)
			defer cancel()
			defer p.EndWith(ctx)()
			if err := p.Tell(request); err != nil {
				return err
			}
			return p.Answer(&answers[i])
		})
	}
	return answers, asking.Wait()
}

// until waits until every node has a version, and gives the time at which the last got it, and the fewest and most sets that a
// node holds.
func (n *nodes) until(version uint64) (at time.Time, fewest, most int, err error) {
	answers, err := ask[load.Arrived](n, fmt.Sprintf("until %d", version))
	if err != nil || len(answers) == 0 {
		return at, 0, 0, err
	}
	last := slices.MaxFunc(answers, func(a, b load.Arrived) int { return cmp.Compare(a.At, b.At) })
	fewest = answers[0].Fewest
	for _, a := range answers {
		fewest, most = min(fewest, a.Fewest), max(most, a.Most)
	}
	return time.Unix(0, last.At), fewest, most, nil
}

// arrivals gives when the last node had each version, and the sums of what came.
func (n *nodes) arrivals() (windows []load.Arrival, sum load.Arrivals, err error) {
	answers, err := ask[load.Arrivals](n, "arrivals")
	if err != nil {
		return nil, sum, err
	}
	byVersion := map[uint64]load.Arrival{}
	for _, answer := range answers {
		sum.Deliveries, sum.Bytes, sum.Messages = sum.Deliveries+answer.Deliveries, sum.Bytes+answer.Bytes, sum.Messages+answer.Messages
		for _, a := range answer.Windows {
			known := byVersion[a.Version]
			byVersion[a.Version] = load.Arrival{Version: a.Version, At: max(known.At, a.At), Nodes: known.Nodes + a.Nodes}
		}
	}
	for _, a := range byVersion {
		windows = append(windows, a)
	}
	slices.SortFunc(windows, func(a, b load.Arrival) int { return cmp.Compare(a.Version, b.Version) })
	return complete(windows, n.count), sum, nil
}

// complete takes in that a node which was not given a version got it with the next: the version has arrived everywhere only
// when that has.
func complete(windows []load.Arrival, nodes int) []load.Arrival {
	for i := len(windows) - 2; i >= 0; i-- {
		if windows[i].Nodes < nodes {
			windows[i].At = max(windows[i].At, windows[i+1].At)
		}
	}
	return windows
}

// verify compares what every node holds with what an engine computes from the log.
func (n *nodes) verify(ctx context.Context, l *eventlog.Log) error {
	states, err := ask[load.States](n, "states")
	if err != nil {
		return err
	}
	e := clas.New()
	for entry, err := range l.Read(ctx, l.Base(), 0) {
		if err == nil {
			err = e.Apply(entry.Subject, entry.Sequence, entry.Fact)
		}
		if err != nil {
			return fmt.Errorf("verify: %w", err)
		}
	}
	head, err := l.Head(ctx)
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	if head.GetDigest() != e.Digest() {
		return fmt.Errorf("verify: policy-store published the policy %s, the log gives %s", head.GetDigest(), e.Digest())
	}
	plans, objects, err := hashes(e)
	if err != nil {
		return err
	}
	return compare(states, plans, objects)
}

// compare names the first differences between what nodes hold and what the log gives.
func compare(states []load.States, plans, objects map[string]string) error {
	var differ []error
	for _, s := range states {
		for _, id := range s.Differ {
			differ = append(differ, fmt.Errorf("two nodes hold different content of %s", id))
		}
		for node, hash := range s.Plans {
			want, err := planHash(plans, node)
			if err != nil {
				return err
			}
			if want != hash {
				differ = append(differ, fmt.Errorf("%s has another plan than the log gives", node))
			}
		}
		for id, hash := range s.Objects {
			if objects[id] != hash {
				differ = append(differ, fmt.Errorf("a node holds another %s than the log gives", id))
			}
		}
	}
	if len(differ) > 0 {
		return fmt.Errorf("%d differences: %w", len(differ), errors.Join(differ[:min(len(differ), 5)]...))
	}
	return nil
}

// hashes are those of all plans, by node, and of all policies and sets, by id.
func hashes(e *clas.Engine) (plans, objects map[string]string, err error) {
	plans, objects = map[string]string{}, map[string]string{}
	policy := e.Policy()
	for _, p := range policy.Plans {
		if plans[p.GetNode()], err = load.HashPlan(p); err != nil {
			return nil, nil, err
		}
	}
	for _, p := range policy.Policies {
		if objects[p.GetId()], err = load.HashObject(p); err != nil {
			return nil, nil, err
		}
	}
	for _, s := range policy.Sets {
		if objects[s.GetId()], err = load.HashObject(s); err != nil {
			return nil, nil, err
		}
	}
	return plans, objects, nil
}

// planHash is that of a node's plan; a node without one has one without pods.
func planHash(plans map[string]string, node string) (string, error) {
	if hash, has := plans[node]; has {
		return hash, nil
	}
	return load.HashPlan(&ringfencev1.NodePlan{Node: node})
}
