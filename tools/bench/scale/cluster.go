package scale

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/tools/bench/workload"
)

// seed of the order in which pods are replaced.
const seed = 20261126

// cluster is a city and its two producers.
type cluster struct {
	log     *eventlog.Log
	nc      *nats.Conn
	watcher *eventlog.Producer
	bridge  *eventlog.Producer

	facts   *workload.Log
	changes *workload.Changes
	order   []int // pods that were not replaced yet
}

// newCluster makes the facts of a city and connects its producers.
func newCluster(ctx context.Context, url string, shape workload.Shape) (*cluster, error) {
	nc, err := eventlog.Dialer{URL: url, Name: "bench-producers", Log: zerolog.Nop()}.Dial(ctx)
	if err != nil {
		return nil, err
	}
	c := &cluster{nc: nc, facts: workload.City(shape).Log()}
	if err := c.lead(ctx); err != nil {
		nc.Close()
		return nil, err
	}
	c.changes = c.facts.Changes()
	c.order = rand.New(rand.NewPCG(seed, 0)).Perm(shape.Pods)
	return c, nil
}

// lead opens the log and takes both producers over.
func (c *cluster) lead(ctx context.Context) (err error) {
	if c.log, err = eventlog.Open(ctx, c.nc); err != nil {
		return err
	}
	if c.watcher, err = c.log.Lead(ctx, "watcher", "bench"); err != nil {
		return err
	}
	c.bridge, err = c.log.Lead(ctx, "pce-bridge", "bench")
	return err
}

// part is how many facts are decoded and published at once.
const part = 5000

// fill writes the whole city, each producer its own facts, and says that both are in sync. It gives the last sequence.
func (c *cluster) fill(ctx context.Context) (uint64, error) {
	writing, writingCtx := errgroup.WithContext(ctx)
	for producer, prefix := range map[*eventlog.Producer]string{c.watcher: "facts.k8s.", c.bridge: "facts.pce."} {
		writing.Go(func() error { return c.publish(writingCtx, producer, prefix) })
	}
	if err := writing.Wait(); err != nil {
		return 0, fmt.Errorf("fill: %w", err)
	}
	for _, producer := range []*eventlog.Producer{c.watcher, c.bridge} {
		if err := producer.Synced(ctx); err != nil {
			return 0, fmt.Errorf("fill: %w", err)
		}
	}
	return c.log.LastSequence(ctx)
}

func (c *cluster) publish(ctx context.Context, p *eventlog.Producer, prefix string) error {
	var own []workload.Message
	for _, m := range c.facts.Messages {
		if strings.HasPrefix(m.Subject, prefix) {
			own = append(own, m)
		}
	}
	for at := 0; at < len(own); at += part {
		entries, err := workload.Decode(own[at:min(at+part, len(own))])
		if err == nil {
			err = p.PublishAll(ctx, drafts(entries))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func drafts(entries []workload.Entry) []eventlog.Draft {
	out := make([]eventlog.Draft, len(entries))
	for i, e := range entries {
		out[i] = eventlog.Draft{Subject: e.Subject, Fact: e.Fact}
	}
	return out
}

// replace gives the two facts by which a pod takes the place of another.
func (c *cluster) replace() ([]eventlog.Draft, error) {
	if len(c.order) == 0 {
		return nil, fmt.Errorf("every pod of the cluster was replaced")
	}
	pod := c.order[0]
	c.order = c.order[1:]
	var out []eventlog.Draft
	for _, step := range c.changes.Replace(pod) {
		out = append(out, drafts(step.Facts)...)
	}
	return out, nil
}

// provision gives the facts of a rule set that is provisioned.
func (c *cluster) provision() []eventlog.Draft { return drafts(c.changes.Policy()[0].Facts) }
