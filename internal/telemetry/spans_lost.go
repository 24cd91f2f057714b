package telemetry

import (
	"context"
	"os"
	"strconv"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// spanQueue hands spans to a batching processor, as many at once as its queue holds, and
// counts those that no collector gets. The processor drops what does not fit by itself
// and tells nobody; with no more under way than its queue has places, it never has to.
type spanQueue struct {
	sdktrace.SpanProcessor
	room    int64
	waiting *atomic.Int64 // handed over, and neither exported nor given up
	lost    func(reason string, spans int)
}

// newSpanQueue makes the processor of an exporter. lost may be nil.
func newSpanQueue(exporter sdktrace.SpanExporter, lost func(reason string, spans int)) *spanQueue {
	if lost == nil {
		lost = func(string, int) {}
	}
	room, waiting := queueRoom(), new(atomic.Int64)
	counted := &countedExporter{SpanExporter: exporter, waiting: waiting, lost: lost}
	return &spanQueue{
		SpanProcessor: sdktrace.NewBatchSpanProcessor(counted, sdktrace.WithMaxQueueSize(room)),
		room:          int64(room), waiting: waiting, lost: lost,
	}
}

// queueRoom is how many spans may wait: what OpenTelemetry's variable says.
func queueRoom() int {
	n, err := strconv.Atoi(os.Getenv("OTEL_BSP_MAX_QUEUE_SIZE"))
	if err != nil || n <= 0 {
		return sdktrace.DefaultMaxQueueSize
	}
	return n
}

// OnEnd implements sdktrace.SpanProcessor. It never waits.
func (q *spanQueue) OnEnd(s sdktrace.ReadOnlySpan) {
	if !s.SpanContext().IsSampled() {
		return
	}
	if q.waiting.Add(1) > q.room {
		q.waiting.Add(-1)
		q.lost(dropQueue, 1)
		return
	}
	q.SpanProcessor.OnEnd(s)
}

// countedExporter counts the spans of exports that failed: nobody sends them again.
type countedExporter struct {
	sdktrace.SpanExporter
	waiting *atomic.Int64
	lost    func(reason string, spans int)
}

// ExportSpans implements sdktrace.SpanExporter.
func (e *countedExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	n := len(spans)
	defer e.waiting.Add(int64(-n))
	err := e.SpanExporter.ExportSpans(ctx, spans)
	if err != nil {
		e.lost(dropExport, n)
	}
	return err
}

// dropExport is why spans are lost that a collector did not take.
const dropExport = "export"

func (m *Metrics) registerSpans(counter func(name, help string, labels ...string) *prometheus.CounterVec) {
	m.spansDropped = counter("wflo_spans_dropped_total", "Spans that no collector got, by why: queue, they came faster than they were taken; export, the collector did not take them.", "reason")
	for _, reason := range []string{dropQueue, dropExport} {
		m.spansDropped.WithLabelValues(reason) // there before the first, so that it can be alerted on
	}
}

// SpansDropped counts spans that no collector got. It is for Config.SpansDropped.
func (m *Metrics) SpansDropped(reason string, spans int) {
	m.spansDropped.WithLabelValues(reason).Add(float64(spans))
}
