package scale

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/ringfence/ringfence/tools/bench/process"
	"github.com/ringfence/ringfence/tools/bench/workload"
)

// Bench is a cluster and what happens to it.
type Bench struct {
	// Server gives the command line of policy-store, Nodes that of a process with nodes of some numbers, the last not included.
	Server func(dir, address string) []string
	Nodes  func(address string, from, to int) []string
	Shape  workload.Shape
	// Followers are the nodes that follow their policy, in so many Processes. Not more than the nodes of the shape.
	Followers, Processes int
	// Rate is how many facts of pods are written each second, During how long.
	Rate   int
	During time.Duration
	// Rolling is how many pods are replaced on top, from a third of the time on, in a tenth of the time; at half of the time a
	// rule set is provisioned. Cut says that every tenth node loses its connection at three quarters.
	Rolling int
	Cut     bool
	// Dir is where policy-store has its folder.
	Dir string
	// Say, where set, is told what is being done.
	Say func(line string)
}

func (b *Bench) say(format string, args ...any) {
	if b.Say != nil {
		b.Say(fmt.Sprintf(format, args...))
	}
}

// Life is what was seen of a cluster.
type Life struct {
	// Cold is the time from the first fact of an empty log until every follower had its policy; Facts is how many those were.
	Cold  time.Duration
	Facts int
	// Fewest and Most are how many address sets a follower holds.
	Fewest, Most int
	// Took is how long the steady state lasted, Changes how many facts were written in it.
	Took    time.Duration
	Changes int
	// CPU is the processor time of policy-store in it, Resident the median and Peak the most of its memory, in bytes.
	CPU            time.Duration
	Resident, Peak int64
	// NodesCPU is the processor time of all nodes.
	NodesCPU time.Duration
	// Latency is from the acknowledgement of a fact until the last follower had it, sorted.
	Latency []time.Duration
	// Windows is how many versions came, Deliveries how many states were given to followers, Bytes what they received.
	Windows, Deliveries int
	Bytes               uint64
	// AfterCut is the longest that a fact of the ten seconds after the cut took, which is how long nodes were away.
	AfterCut time.Duration
}

// Run goes through the life of a cluster.
func (b *Bench) Run(ctx context.Context) (out Life, err error) {
	dir, err := os.MkdirTemp(b.Dir, "ringfence-scale-")
	if err != nil {
		return out, fmt.Errorf("folder for policy-store: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	address, err := process.FreeAddress()
	if err != nil {
		return out, err
	}
	server, err := process.Serve(ctx, "policy-store", address, b.Server(dir, address))
	if err != nil {
		return out, err
	}
	defer server.Stop()
	n, err := b.startNodes(address)
	if err != nil {
		return out, err
	}
	defer n.stop()
	b.say("make the facts of %d pods", b.Shape.Pods)
	c, err := newCluster(ctx, "nats://"+address, b.Shape)
	if err != nil {
		return out, err
	}
	defer c.nc.Close()
	if err := b.cold(ctx, c, n, &out); err != nil {
		return out, err
	}
	if err := server.Rest(ctx); err != nil {
		return out, err
	}
	if err := b.steady(ctx, server, c, n, &out); err != nil {
		return out, err
	}
	if b.Followers == 0 {
		return out, nil
	}
	b.say("compare what the nodes hold with what the log gives")
	return out, n.verify(ctx, c.log)
}

// cold fills an empty log, and waits for the nodes.
func (b *Bench) cold(ctx context.Context, c *cluster, n *nodes, out *Life) error {
	out.Facts = len(c.facts.Messages)
	b.say("cold start: write %d facts; %d nodes wait", out.Facts, b.Followers)
	start := time.Now()
	last, err := c.fill(ctx)
	if err != nil {
		return err
	}
	b.say("cold start: written after %s", time.Since(start).Round(time.Millisecond))
	at, fewest, most, err := n.until(last)
	if err != nil {
		return err
	}
	if b.Followers > 0 {
		out.Cold, out.Fewest, out.Most = at.Sub(start), fewest, most
		b.say("cold start: all nodes have their policy after %s", out.Cold.Round(time.Millisecond))
	}
	return nil
}

// stored is a fact that was acknowledged.
type stored struct {
	sequence uint64
	at       time.Time
}

// steady has the cluster live.
func (b *Bench) steady(ctx context.Context, server *process.Process, c *cluster, n *nodes, out *Life) error {
	if _, _, err := n.arrivals(); err != nil { // those of the cold start
		return err
	}
	before, err := b.usage(server, n)
	if err != nil {
		return err
	}
	_, sumBefore, err := n.arrivals()
	if err != nil {
		return err
	}
	if err := server.ForgetPeak(); err != nil {
		return err
	}
	b.say("steady state: %d facts a second for %s", b.Rate, b.During)
	start := time.Now()
	facts, cut, err := b.churn(ctx, server, c, n, out)
	if err != nil {
		return err
	}
	last, err := c.log.LastSequence(ctx)
	if err != nil {
		return err
	}
	if _, out.Fewest, out.Most, err = n.until(last); err != nil {
		return err
	}
	out.Took, out.Changes = time.Since(start), len(facts)
	after, err := b.usage(server, n)
	if err != nil {
		return err
	}
	out.CPU, out.NodesCPU = after.server-before.server, after.nodes-before.nodes
	if out.Peak, err = server.Peak(); err != nil {
		return err
	}
	windows, sum, err := n.arrivals()
	if err != nil {
		return err
	}
	out.Windows, out.Deliveries, out.Bytes = len(windows), sum.Deliveries-sumBefore.Deliveries, sum.Bytes-sumBefore.Bytes
	out.Latency, out.AfterCut = latencies(facts, windows, cut)
	return nil
}

// usage is processor time.
type usage struct{ server, nodes time.Duration }

func (b *Bench) usage(server *process.Process, n *nodes) (u usage, err error) {
	if u.server, err = server.CPU(); err != nil {
		return u, err
	}
	for _, p := range n.processes {
		used, err := p.CPU()
		if err != nil {
			return u, err
		}
		u.nodes += used
	}
	return u, nil
}
