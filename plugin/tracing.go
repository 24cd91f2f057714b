package plugin

import (
	"context"

	"go.opentelemetry.io/otel/trace"
	"go.temporal.io/sdk/interceptor"

	"github.com/wflo-ai/wflo-go/internal/telemetry"
)

// NewTraceInterceptor returns what a client needs that only starts runs and has spans
// of its own, so that a run belongs to the trace of who started it: the span that is in
// the context of ExecuteWorkflow, such as one that an HTTP server made of a request's
// traceparent. Clients with the plugin have it. tp makes the client's spans; nil uses
// none and still hands on what is in the context.
func NewTraceInterceptor(tp trace.TracerProvider) (interceptor.ClientInterceptor, error) {
	return telemetry.ClientInterceptor(tp)
}

// TracerProvider makes spans that go where the plugin's go: for what a worker traces
// itself. It makes none where no variable asks for traces.
func (p *Plugin) TracerProvider() trace.TracerProvider { return p.spans.Provider() }

// tracing opens what makes and exports spans.
func (p *Plugin) tracing(ctx context.Context) (*telemetry.Spans, func(context.Context) error, error) {
	tp, stop, err := telemetry.NewTracing(ctx, telemetry.Config{ServiceName: "wflo", Logger: p.cfg.Logger, SpansDropped: p.metrics.SpansDropped})
	if err != nil {
		return nil, stop, err
	}
	spans, err := telemetry.TemporalInterceptor(tp)
	return spans, stop, err
}
