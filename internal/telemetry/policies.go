package telemetry

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wflo-ai/wflo-go"
)

// rulingBuckets are in seconds: judging takes microseconds.
var rulingBuckets = []float64{1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 1e-2, .1}

// policies are the metrics of what policies decide.
type policies struct {
	rulings *prometheus.CounterVec
	took    prometheus.Histogram
	failed  *prometheus.GaugeVec
}

func (p *policies) register(add func(name string, c prometheus.Collector)) {
	p.rulings = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "wflo_policy_rulings_total", Help: "What policies ruled about steps, calls, gates and time, by effect.",
	}, []string{"effect"})
	add("wflo_policy_rulings_total", p.rulings)
	p.took = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "wflo_policy_ruling_seconds", Help: "How long judging took, without recording it.", Buckets: rulingBuckets,
	})
	add("wflo_policy_ruling_seconds", p.took)
	p.failed = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "wflo_policy_reload_failed", Help: "1 while a changed file of policies cannot be loaded and the one before it counts.",
	}, []string{"kind"})
	add("wflo_policy_reload_failed", p.failed)
}

// PolicyRuled counts a ruling, and how long it took to come to it.
func (m *Metrics) PolicyRuled(ctx context.Context, effect wflo.Effect, d time.Duration) {
	m.inc(ctx, m.policies.rulings.WithLabelValues(m.states.admit(string(effect))))
	m.observe(ctx, m.policies.took, d)
}

// PolicyReload says whether the file of a kind of policies, run or emergency, was
// loaded when it was looked at last.
func (m *Metrics) PolicyReload(kind string, ok bool) {
	failed := 1.0
	if ok {
		failed = 0
	}
	m.policies.failed.WithLabelValues(m.states.admit(kind)).Set(failed)
}
