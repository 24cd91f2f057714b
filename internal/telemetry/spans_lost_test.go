package telemetry

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

// gated exports when it is let, and fails while it has an error.
type gated struct {
	*tracetest.InMemoryExporter
	begun chan struct{} // one for each export
	gate  chan error    // what becomes of it
}

func (g *gated) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	g.begun <- struct{}{}
	if err := <-g.gate; err != nil {
		return err
	}
	return g.InMemoryExporter.ExportSpans(ctx, spans)
}

// Each span that ended is exported or counted as lost, and none is both: what does not fit
// while a collector hangs, and what it does not take in the end.
func TestSpansThatAreLostAreCounted(t *testing.T) {
	t.Setenv("OTEL_BSP_MAX_QUEUE_SIZE", "8")
	t.Setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "3600000")
	m := NewMetrics(Config{})
	lost := func(reason string) float64 { return testutil.ToFloat64(m.spansDropped.WithLabelValues(reason)) }
	out := &gated{InMemoryExporter: tracetest.NewInMemoryExporter(), begun: make(chan struct{}, 100), gate: make(chan error)}
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(newSpanQueue(out, m.SpansDropped)))
	end := func(n int) {
		var all sync.WaitGroup
		for range n {
			all.Go(func() {
				_, span := provider.Tracer("t").Start(t.Context(), "s")
				span.End()
			})
		}
		all.Wait()
	}
	end(4) // a batch
	<-out.begun
	end(20) // four fit beside those that are under way
	if lost(dropQueue) != 16 || lost(dropExport) != 0 {
		t.Errorf("%v and %v lost while the collector hangs, want 16 and 0", lost(dropQueue), lost(dropExport))
	}
	out.gate <- errors.New("no room")
	<-out.begun
	if lost(dropExport) != 4 {
		t.Errorf("%v lost by an export that failed, want 4", lost(dropExport))
	}
	end(6)
	out.gate <- nil
	<-out.begun // of those six, four fit
	out.gate <- nil
	if err := provider.ForceFlush(t.Context()); err != nil {
		t.Error(err)
	}
	if got := len(out.GetSpans()); got != 8 || lost(dropQueue) != 18 || lost(dropExport) != 4 {
		t.Errorf("%d exported, %v and %v lost, of 30", got, lost(dropQueue), lost(dropExport))
	}
	close(out.gate)
	if err := provider.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}
