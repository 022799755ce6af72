package watcher

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ringfence/ringfence/libs/eventlog"
)

type metrics struct {
	facts   *prometheus.CounterVec
	refused *prometheus.CounterVec
	queue   prometheus.Gauge
	relists prometheus.Counter
	lag     prometheus.Histogram
	leader  prometheus.Gauge
	publish *eventlog.PublishMetrics
}

func newMetrics(registry prometheus.Registerer) *metrics {
	m := &metrics{
		publish: eventlog.NewPublishMetrics(registry),
		facts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ringfence_watcher_facts_total",
			Help: "Facts written, by kind of object and by whether it was seen or is gone.",
		}, []string{"kind", "change"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ringfence_watcher_refused_total",
			Help: "Objects that gave no fact because something in them cannot be right, by kind.",
		}, []string{"kind"}),
		queue: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "ringfence_watcher_queue_length",
			Help: "Objects that wait to be compared with the log.",
		}),
		relists: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ringfence_watcher_relists_total",
			Help: "Times that the whole cluster was compared with the log.",
		}),
		lag: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "ringfence_watcher_lag_seconds",
			Help:    "Time from the news of a change to its fact being on disk in the log.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 16),
		}),
		leader: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "ringfence_watcher_leader",
			Help: "1 while this watcher holds the lease and writes.",
		}),
	}
	registry.MustRegister(m.facts, m.refused, m.queue, m.relists, m.lag, m.leader)
	return m
}
