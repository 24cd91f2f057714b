package telemetry

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"

	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.temporal.io/sdk/contrib/opentelemetry"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/workflow"
)

// TemporalInterceptor makes spans of what Temporal's client and workers do and
// carries them in Temporal's headers: client.Options.Interceptors is where it
// goes, and a worker of that client takes it from there.
//
// It is the interceptor of Temporal's own OpenTelemetry package, with the span
// of a workflow run made durable. A run is replayed on every worker that it
// moves to, and the plain interceptor would make another RunWorkflow span each
// time, and another trace when nobody traced the start. Here trace and span ids
// of that span follow from the run, and the span is exported once: by the worker
// on which the run really ended. That needs a provider of NewTracing.
func TemporalInterceptor(tp trace.TracerProvider) (interceptor.Interceptor, error) {
	t := tp.Tracer("github.com/wflo-ai/wflo-go")
	inner, err := opentelemetry.NewTracer(opentelemetry.TracerOptions{Tracer: t})
	if err != nil {
		return nil, fmt.Errorf("trace Temporal: %w", err)
	}
	return &runInterceptor{Interceptor: interceptor.NewTracingInterceptor(&runTracer{Tracer: inner, otel: t})}, nil
}

// Names that Temporal's tracing interceptor uses.
const (
	operationRun  = "RunWorkflow"
	tagWorkflowID = "temporalWorkflowID"
	tagRunID      = "temporalRunID"
)

// runTracer gives the spans of workflow runs stable ids.
type runTracer struct {
	interceptor.Tracer
	otel trace.Tracer
}

// StartSpan implements interceptor.Tracer.
//
// The options' IdempotencyKey is not used: it counts signals only when they are
// not replayed, so after a replay two spans could have the same key.
func (t *runTracer) StartSpan(options *interceptor.TracerStartSpanOptions) (interceptor.TracerSpan, error) {
	if options.Operation != operationRun || options.Tags[tagRunID] == "" {
		return t.Tracer.StartSpan(options)
	}
	ids := idsOf(options.Tags[tagWorkflowID], options.Tags[tagRunID])
	once, err := opentelemetry.NewTracer(opentelemetry.TracerOptions{
		Tracer: t.otel,
		SpanStarter: func(ctx context.Context, tracer trace.Tracer, name string, opts ...trace.SpanStartOption) trace.Span {
			_, span := tracer.Start(context.WithValue(ctx, idsKey{}, ids), name, opts...)
			return &runSpan{Span: span}
		},
	})
	if err != nil {
		return nil, err
	}
	return once.StartSpan(options)
}

// runSpan is the span of a workflow run. Temporal ends it also when the run
// only leaves this worker's cache, and that must not export it.
type runSpan struct {
	trace.Span
	closed    bool // the run ended, here and now
	continued bool // and goes on as a new one, which is no error
}

// RecordError implements trace.Span.
func (s *runSpan) RecordError(err error, options ...trace.EventOption) {
	if !s.continued {
		s.Span.RecordError(err, options...)
	}
}

// SetStatus implements trace.Span.
func (s *runSpan) SetStatus(code codes.Code, description string) {
	if !s.continued {
		s.Span.SetStatus(code, description)
	}
}

// End implements trace.Span.
func (s *runSpan) End(options ...trace.SpanEndOption) {
	if s.closed {
		s.Span.End(options...)
	}
}

// runInterceptor tells run spans how their run ended: it sits right inside the
// tracing interceptor.
type runInterceptor struct{ interceptor.Interceptor }

// InterceptWorkflow implements interceptor.WorkerInterceptor.
func (i *runInterceptor) InterceptWorkflow(ctx workflow.Context, next interceptor.WorkflowInboundInterceptor) interceptor.WorkflowInboundInterceptor {
	w := &runInbound{}
	w.Next = next
	return i.Interceptor.InterceptWorkflow(ctx, w)
}

type runInbound struct {
	interceptor.WorkflowInboundInterceptorBase
}

// ExecuteWorkflow implements interceptor.WorkflowInboundInterceptor. When the
// run is evicted, or panics and will be tried again, Next does not return.
func (w *runInbound) ExecuteWorkflow(ctx workflow.Context, in *interceptor.ExecuteWorkflowInput) (any, error) {
	ret, err := w.Next.ExecuteWorkflow(ctx, in)
	if span, ok := opentelemetry.SpanFromWorkflowContext(ctx); ok {
		if s, ok := span.(*runSpan); ok {
			s.continued = workflow.IsContinueAsNewError(err)
			// A run that ended long ago is replayed for a query.
			s.closed = !workflow.IsReplaying(ctx)
		}
	}
	return ret, err
}

type idsKey struct{}

type ids struct {
	trace trace.TraceID
	span  trace.SpanID
}

// idsOf derives the ids of a run's span from what names the run.
func idsOf(workflowID, runID string) ids {
	sum := sha256.Sum256([]byte("wflo run span\x00" + workflowID + "\x00" + runID))
	var i ids
	copy(i.trace[:], sum[:16])
	copy(i.span[:], sum[16:24])
	return i
}

// idGenerator takes ids from the context where StartSpan put them, and draws
// random ones otherwise.
type idGenerator struct{}

var _ sdktrace.IDGenerator = idGenerator{}

// NewIDs implements sdktrace.IDGenerator.
func (g idGenerator) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	if i, ok := ctx.Value(idsKey{}).(ids); ok {
		return i.trace, i.span
	}
	var t trace.TraceID
	for !t.IsValid() {
		binary.BigEndian.PutUint64(t[:8], rand.Uint64())
		binary.BigEndian.PutUint64(t[8:], rand.Uint64())
	}
	return t, g.NewSpanID(ctx, t)
}

// NewSpanID implements sdktrace.IDGenerator.
func (idGenerator) NewSpanID(ctx context.Context, _ trace.TraceID) trace.SpanID {
	if i, ok := ctx.Value(idsKey{}).(ids); ok {
		return i.span
	}
	var s trace.SpanID
	for !s.IsValid() {
		binary.BigEndian.PutUint64(s[:], rand.Uint64())
	}
	return s
}
