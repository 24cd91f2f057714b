package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wflo-ai/wflo-go"
)

// noticeBuckets are in seconds: a delivery ends after twenty.
var noticeBuckets = []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 20}

// notices are the metrics of what people are told, and of what is written down about
// gates beside the runs.
type notices struct {
	channels    *names
	outcomes    *prometheus.CounterVec
	took        *prometheus.HistogramVec
	refusals    *prometheus.CounterVec
	checkpoints prometheus.Counter
	failed      prometheus.Gauge
}

func (n *notices) register(add func(name string, c prometheus.Collector)) {
	n.outcomes = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "wflo_notices_total", Help: "Attempts to deliver a notice, by what became of them: delivered, failed, dead_letter.",
	}, []string{"channel", "outcome"})
	add("wflo_notices_total", n.outcomes)
	n.took = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "wflo_notice_delivery_seconds", Help: "How long successful deliveries took.", Buckets: noticeBuckets,
	}, []string{"channel"})
	add("wflo_notice_delivery_seconds", n.took)
	n.refusals = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "wflo_decisions_refused_total", Help: "Decisions that runs refused, by whether the trail has them: recorded, lost.",
	}, []string{"outcome"})
	add("wflo_decisions_refused_total", n.refusals)
	for _, outcome := range []string{refusalRecorded, refusalLost} {
		n.refusals.WithLabelValues(outcome)
	}
	n.checkpoints = prometheus.NewCounter(prometheus.CounterOpts{Name: "wflo_audit_checkpoints_total", Help: "Checkpoints of the trail that were signed and kept."})
	add("wflo_audit_checkpoints_total", n.checkpoints)
	n.failed = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "wflo_audit_checkpoint_failed", Help: "1 while checkpoints cannot be made, or a chain is shorter than its last one.",
	})
	add("wflo_audit_checkpoint_failed", n.failed)
}

// NoticeDelivered counts a delivery.
func (m *Metrics) NoticeDelivered(channel string, _ wflo.NoticeKind, took time.Duration) {
	m.notices.count(channel, wflo.NoticeDelivered)
	m.notices.took.WithLabelValues(m.notices.channels.admit(channel)).Observe(seconds(took))
}

// NoticeFailed counts an attempt that will be repeated.
func (m *Metrics) NoticeFailed(channel string, _ wflo.NoticeKind) {
	m.notices.count(channel, "failed")
}

// NoticeDead counts a notice that nobody will get.
func (m *Metrics) NoticeDead(channel string, _ wflo.NoticeKind) {
	m.notices.count(channel, wflo.NoticeDead)
}

func (n *notices) count(channel string, outcome wflo.NoticeState) {
	n.outcomes.WithLabelValues(n.channels.admit(channel), string(outcome)).Inc()
}

const (
	refusalRecorded = "recorded"
	refusalLost     = "lost"
)

// RefusalsRecorded counts refused decisions that are in the trail.
func (m *Metrics) RefusalsRecorded(n int) {
	m.notices.refusals.WithLabelValues(refusalRecorded).Add(float64(n))
}

// RefusalsLost counts refused decisions that are not in the trail: they came too
// fast, or nothing could be written.
func (m *Metrics) RefusalsLost(n int) {
	m.notices.refusals.WithLabelValues(refusalLost).Add(float64(n))
}

// Checkpointed counts checkpoints, and says whether the round that made them failed.
func (m *Metrics) Checkpointed(made int, failed bool) {
	m.notices.checkpoints.Add(float64(made))
	m.notices.failed.Set(0)
	if failed {
		m.notices.failed.Set(1)
	}
}
