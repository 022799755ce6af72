package policystore

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of the service. Those of the log itself are read from the server when they are scraped.
type metrics struct {
	facts      prometheus.Counter
	foldErrors prometheus.Counter
	garbage    prometheus.Counter
	windows    prometheus.Counter
	latency    prometheus.Histogram
	retries    prometheus.Counter
	sequence   prometheus.Gauge
	window     prometheus.Gauge
	inSync     prometheus.Gauge
	snapshots  *prometheus.CounterVec
	starts     prometheus.Counter
	silences   prometheus.Counter
	syncs      prometheus.Gauge
	churn      prometheus.Gauge
	history    prometheus.Gauge
	refused    *prometheus.CounterVec
	graced     prometheus.Counter
	withdrawn  prometheus.Counter
	scrubbed   prometheus.Gauge
	damage     prometheus.Counter
}

func newMetrics(r *prometheus.Registry, server func() (bytes, connections float64), keys func() time.Time) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "ringfence", Subsystem: "policy_store", Name: name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "ringfence", Subsystem: "policy_store", Name: name, Help: help})
	}
	m := &metrics{
		facts:      counter("facts_folded_total", "Facts that the engine took."),
		foldErrors: counter("fold_errors_total", "Facts that the engine refused; the object's last good state stays."),
		garbage:    counter("facts_garbage_total", "Messages on fact subjects that could not be decoded."),
		windows:    counter("windows_published_total", "Windows of policy changes."),
		retries:    counter("publish_retries_total", "Publications that failed and were tried again."),
		sequence:   gauge("facts_sequence", "Sequence of the last fact that was folded."),
		window:     gauge("window_number", "Number of the last window."),
		inSync:     gauge("policy_in_sync", "1 when watcher and pce-bridge are in sync in this incarnation of the log."),
		syncs:      gauge("disk_syncs_per_second", "Small writes a second that the log's disk makes durable, as measured at the start."),
		churn:      gauge("facts_per_second", "Facts a second of the last hour."),
		history:    gauge("history_hours", "Hours of history that the log holds at that rate."),
		scrubbed:   gauge("log_scrubbed_timestamp_seconds", "When all files of the log were last read through, while it was served; 0 before the first time."),
		damage:     counter("log_damaged_files_total", "Files that were damaged while the log was served, for each of which it was started anew."),
		silences:   counter("bridge_silences_total", "Times that pce-bridge was not heard of, and the console counted as away therefore."),
		starts:     counter("log_starts_total", "Starts of the log server."),
		graced:     counter("expired_tokens_taken_total", "Clients let in with an expired token because the cluster's keys could not be fetched. Alarm on any."),
		withdrawn:  counter("connections_withdrawn_total", "Connections that were ended because the pod of their token was gone."),
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "ringfence", Subsystem: "policy_store", Name: "window_latency_seconds", Help: "From the first fact of a window to its publication.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10},
		}),
		snapshots: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "ringfence", Subsystem: "policy_store", Name: "snapshots_total", Help: "Snapshots, by result: written, failed, set_aside, dropped.",
		}, []string{"result"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "ringfence", Subsystem: "policy_store", Name: "clients_refused_total", Help: "Clients that were not let in, by reason.",
		}, []string{"reason"}),
	}
	r.MustRegister(m.facts, m.foldErrors, m.garbage, m.windows, m.retries, m.sequence, m.window, m.inSync, m.starts, m.silences, m.latency, m.snapshots, m.syncs, m.churn, m.history, m.refused, m.graced, m.withdrawn, m.scrubbed, m.damage,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "ringfence", Subsystem: "policy_store", Name: "log_bytes", Help: "Bytes that the log takes."},
			func() float64 { b, _ := server(); return b }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "ringfence", Subsystem: "policy_store", Name: "log_connections", Help: "Clients that are connected to the log."},
			func() float64 { _, c := server(); return c }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "ringfence", Subsystem: "policy_store", Name: "token_keys_fetched_timestamp_seconds", Help: "When the cluster's token keys were last fetched; 0 before the first time, and where clients are not asked who they are."},
			func() float64 { return max(0, float64(keys().Unix())) }))
	return m
}

func (m *metrics) tellCapacity(c Capacity) {
	m.syncs.Set(c.Syncs)
	m.churn.Set(c.Facts)
	m.history.Set(c.History)
}
