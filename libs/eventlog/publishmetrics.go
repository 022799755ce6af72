package eventlog

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// PublishMetrics tell how a service's facts get into the log. Nil counts nothing.
type PublishMetrics struct {
	queue   prometheus.Gauge
	batch   prometheus.Histogram
	latency prometheus.Histogram
	retries prometheus.Counter
	refused prometheus.Counter
}

// NewPublishMetrics registers the metrics of the one producer of a service.
func NewPublishMetrics(r prometheus.Registerer) *PublishMetrics {
	m := &PublishMetrics{
		queue: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: "ringfence", Subsystem: "publish", Name: "queue_facts", Help: "Facts that wait to be stored.",
		}),
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "ringfence", Subsystem: "publish", Name: "batch_facts", Help: "Facts that were stored with one sync of the disk.",
			Buckets: []float64{1, 8, 32, 64, 128, 256, batchSize},
		}),
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "ringfence", Subsystem: "publish", Name: "latency_seconds", Help: "From the wish to publish a fact to its acknowledgement.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5, 30},
		}),
		retries: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "ringfence", Subsystem: "publish", Name: "retries_total", Help: "Tries to store facts that found no log.",
		}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "ringfence", Subsystem: "publish", Name: "refused_total", Help: "Facts that were not stored; whoever published them was told.",
		}),
	}
	r.MustRegister(m.queue, m.batch, m.latency, m.retries, m.refused)
	return m
}

// Observe has the producer's facts counted. Call it before the first is published.
func (p *Producer) Observe(m *PublishMetrics) { p.metrics = m }

func (m *PublishMetrics) queued(facts int) {
	if m != nil {
		m.queue.Set(float64(facts))
	}
}

func (m *PublishMetrics) retried() {
	if m != nil {
		m.retries.Inc()
	}
}

func (m *PublishMetrics) published(facts []*pending, err error) {
	switch {
	case m == nil:
	case err != nil:
		m.refused.Add(float64(len(facts)))
	default:
		m.batch.Observe(float64(len(facts)))
		for _, f := range facts {
			m.latency.Observe(time.Since(f.since).Seconds())
		}
	}
}
