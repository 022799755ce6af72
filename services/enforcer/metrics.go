package enforcer

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// metrics are what Prometheus sees.
type metrics struct {
	pods      *prometheus.GaugeVec
	seconds   prometheus.Histogram
	failures  prometheus.Counter
	elements  prometheus.Counter
	flows     prometheus.Counter
	flowsLost prometheus.Counter
	runtime   prometheus.Counter
}

func newMetrics(r prometheus.Registerer) *metrics {
	opts := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: "ringfence", Subsystem: "enforcer", Name: name, Help: help}
	}
	m := &metrics{
		pods: prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "ringfence", Subsystem: "enforcer", Name: "pods",
			Help: "Pods of the node's plan by state."}, []string{"state"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: "ringfence", Subsystem: "enforcer",
			Name: "programming_seconds", Help: "Time to program one pod, without waiting for a worker.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 4, 9)}),
		failures:  prometheus.NewCounter(opts("programming_failures_total", "Attempts to program a pod that failed.")),
		elements:  prometheus.NewCounter(opts("elements_total", "Set elements sent to the kernel.")),
		flows:     prometheus.NewCounter(opts("flow_events_total", "Packets that the kernel reported.")),
		flowsLost: prometheus.NewCounter(opts("flow_events_lost_total", "Packets that the kernel could not hand over.")),
		runtime:   prometheus.NewCounter(opts("runtime_failures_total", "Listings of the container runtime that failed.")),
	}
	r.MustRegister(m.pods, m.seconds, m.failures, m.elements, m.flows, m.flowsLost, m.runtime)
	return m
}

func (m *metrics) programmed(d time.Duration, err error) {
	m.seconds.Observe(d.Seconds())
	if err != nil {
		m.failures.Inc()
	}
}

// count sets the gauges of pods by state.
func (m *metrics) count(s *ringfencev1.NodeStatus) {
	counts := map[ringfencev1.PodState]int{}
	for _, p := range s.GetPods() {
		counts[p.GetState()]++
	}
	for state, label := range map[ringfencev1.PodState]string{
		ringfencev1.PodState_POD_STATE_ENFORCED: "enforced",
		ringfencev1.PodState_POD_STATE_PENDING:  "pending",
		ringfencev1.PodState_POD_STATE_FAILED:   "failed",
	} {
		m.pods.WithLabelValues(label).Set(float64(counts[state]))
	}
}
