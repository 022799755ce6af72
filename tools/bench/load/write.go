package load

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"github.com/ringfence/ringfence/libs/eventlog"
)

// producer is who writes.
const producer = "bench"

// written is how many different pods single writes are of.
const written = 10_000

// Write has so many goroutines publish facts of pods through one producer that leads, as those of services do, each the next once its last is stored, for as
// long as is asked.
func (c Client) Write(ctx context.Context, writers int, during time.Duration) error {
	h, err := NewHistory(written)
	if err != nil {
		return err
	}
	nc, l, err := c.open(ctx, "bench-writer")
	if err != nil {
		return err
	}
	defer nc.Close()
	p, err := l.Lead(ctx, producer, producer)
	if err != nil {
		return err
	}
	registry := prometheus.NewRegistry()
	p.Observe(eventlog.NewPublishMetrics(registry))
	done, err := c.gate()
	if err != nil {
		return err
	}
	var next atomic.Int64
	var all times
	writing, ctx := errgroup.WithContext(ctx)
	start := time.Now()
	for range writers {
		writing.Go(func() error {
			var own []time.Duration
			for time.Since(start) < during {
				n := int(next.Add(1) - 1)
				draft := h.Draft(n%h.Pods(), n/h.Pods())
				begun := time.Now()
				if _, err := p.Publish(ctx, draft); err != nil {
					return fmt.Errorf("write: %w", err)
				}
				own = append(own, time.Since(begun))
			}
			all.add(own...)
			return nil
		})
	}
	err = writing.Wait()
	r := Result{Seconds: time.Since(start).Seconds()}
	if err == nil {
		err = all.into(&r)
	}
	if err == nil {
		r.Together, err = together(registry)
	}
	if err != nil {
		return err
	}
	return done(r)
}

// together is how many facts shared a sync of the disk, in the mean, by the producer's own metrics.
func together(registry *prometheus.Registry) (float64, error) {
	families, err := registry.Gather()
	if err != nil {
		return 0, fmt.Errorf("metrics of the producer: %w", err)
	}
	for _, f := range families {
		if h := f.GetMetric()[0].GetHistogram(); f.GetName() == "ringfence_publish_batch_facts" && h.GetSampleCount() > 0 {
			return h.GetSampleSum() / float64(h.GetSampleCount()), nil
		}
	}
	return 0, errors.New("metrics of the producer: there is no size of batches")
}

// part is how many facts are published at once by Fill, as a relist does.
const part = 5000

// Fill writes revisions of a city, from one to before another, as producers do that write much: with PublishAll. Revision 0
// is the whole city, the others are of its pods.
func (c Client) Fill(ctx context.Context, pods, from, to int) error {
	h, err := NewHistory(pods)
	if err != nil {
		return err
	}
	nc, l, err := c.open(ctx, "bench-writer")
	if err != nil {
		return err
	}
	defer nc.Close()
	p, err := l.Lead(ctx, producer, producer)
	if err != nil {
		return err
	}
	done, err := c.gate()
	if err != nil {
		return err
	}
	start, r := time.Now(), Result{}
	for revision := from; revision < to; revision++ {
		facts, of := h.Pods(), h.later(revision)
		if revision == 0 {
			facts, of = h.Facts(), h.first
			r.Keys = h.Facts()
		}
		for at := 0; at < facts; at += part {
			drafts, err := of(at, min(at+part, facts))
			if err == nil {
				err = p.PublishAll(ctx, drafts)
			}
			if err != nil {
				return fmt.Errorf("fill: revision %d: %w", revision, err)
			}
			r.Operations += len(drafts)
			r.Bytes += sizes(drafts)
		}
	}
	r.Seconds = time.Since(start).Seconds()
	return done(r)
}

// later gives the pods at a revision, from one to before another.
func (h *History) later(revision int) func(from, to int) ([]eventlog.Draft, error) {
	return func(from, to int) ([]eventlog.Draft, error) {
		drafts := make([]eventlog.Draft, 0, to-from)
		for pod := from; pod < to; pod++ {
			drafts = append(drafts, h.Draft(pod, revision))
		}
		return drafts, nil
	}
}

// sizes sums subjects and facts as they are stored, but for what the producer adds, about thirty bytes a fact.
func sizes(drafts []eventlog.Draft) int64 {
	var n int64
	for _, d := range drafts {
		n += int64(len(d.Subject) + proto.Size(d.Fact))
	}
	return n
}
