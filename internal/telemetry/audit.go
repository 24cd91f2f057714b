package telemetry

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

// appendBuckets are in seconds: an append is one transaction, which waits for the one
// before it on the same chain.
var appendBuckets = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}

// trail are the metrics of writing the audit trail.
type trail struct {
	took   prometheus.Histogram
	failed prometheus.Counter
}

func (t *trail) register(add func(name string, c prometheus.Collector)) {
	t.took = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "wflo_audit_append_seconds", Help: "How long appends to the audit trail took, failed ones too.", Buckets: appendBuckets,
	})
	add("wflo_audit_append_seconds", t.took)
	t.failed = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "wflo_audit_append_failures_total", Help: "Appends to the audit trail that the store did not take. What must be recorded waits or is refused meanwhile.",
	})
	add("wflo_audit_append_failures_total", t.failed)
}

// Audited gives the same records, whose appends to the trail are counted and timed.
func (m *Metrics) Audited(r activities.Records) activities.Records {
	return &audited{Records: r, metrics: m}
}

type audited struct {
	activities.Records
	metrics *Metrics
}

// Append implements activities.Audit.
func (a *audited) Append(ctx context.Context, events ...wflo.AuditEvent) error {
	begun := time.Now()
	err := a.Records.Append(ctx, events...)
	a.metrics.observe(ctx, a.metrics.trail.took, time.Since(begun))
	// An event that is no event, and a caller who left, say nothing about the store.
	if err != nil && wflo.CodeOf(err) != wflo.CodeInvalid && ctx.Err() == nil {
		a.metrics.trail.failed.Inc()
	}
	return err
}
