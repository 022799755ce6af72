package pcebridge

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ringfence/ringfence/libs/eventlog"
)

// metrics of the bridge, all named ringfence_pce_bridge_*.
type metrics struct {
	polls     prometheus.Counter
	failures  *prometheus.CounterVec
	version   prometheus.Gauge
	applied   prometheus.Gauge
	facts     *prometheus.CounterVec
	workloads prometheus.Gauge
	reports   *prometheus.CounterVec
	linkUp    prometheus.Gauge
	lostFlows prometheus.Counter
	publish   *eventlog.PublishMetrics
}

func newMetrics(registry prometheus.Registerer) *metrics {
	const ns, sub = "ringfence", "pce_bridge"
	counter := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: name, Help: help}
	}
	gauge := func(name, help string) prometheus.GaugeOpts {
		return prometheus.GaugeOpts{Namespace: ns, Subsystem: sub, Name: name, Help: help}
	}
	m := &metrics{
		publish:   eventlog.NewPublishMetrics(registry),
		polls:     prometheus.NewCounter(counter("polls_total", "Times the console was asked for changes.")),
		failures:  prometheus.NewCounterVec(counter("failures_total", "Failures by kind: those of the console's client, malformed, log."), []string{"kind"}),
		version:   prometheus.NewGauge(gauge("policy_version", "Version of the policy that was committed to the log last.")),
		applied:   prometheus.NewGauge(gauge("applied_version", "Version of the policy that every node enforces, as last reported.")),
		facts:     prometheus.NewCounterVec(counter("facts_written_total", "Facts written, by kind."), []string{"kind"}),
		workloads: prometheus.NewGauge(gauge("workloads_reported", "Kubernetes workloads that the console was told of.")),
		reports:   prometheus.NewCounterVec(counter("reports_total", "Reports to the console, by kind."), []string{"kind"}),
		linkUp:    prometheus.NewGauge(gauge("link_up", "1 while the console answers.")),
	}
	m.lostFlows = prometheus.NewCounter(counter("flows_lost_total", "Flows that the console was not told of: too many different ones in a window, of no sense, or refused."))
	registry.MustRegister(m.lostFlows, m.polls, m.failures, m.version, m.applied, m.facts, m.workloads, m.reports, m.linkUp)
	return m
}
