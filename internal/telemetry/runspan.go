package telemetry

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	"go.temporal.io/sdk/contrib/opentelemetry"
	"go.temporal.io/sdk/interceptor"
)

// TemporalInterceptor makes spans of what Temporal's client and workers do and
// carries them in Temporal's headers: client.Options.Interceptors is where it
// goes, and a worker of that client takes it from there.
//
// It is the interceptor of Temporal's own OpenTelemetry package, with spans that
// are durable. A run is replayed on every worker that it moves to, and the plain
// interceptor would make another RunWorkflow span each time, and another trace when
// nobody traced the start. Here the ids of what workflow code makes follow from the
// run, and a span is exported once: by the worker on which it really ended. That
// needs a provider of NewTracing.
//
// Queries are not traced: whoever looks at a run would make a trace each time.
func TemporalInterceptor(tp trace.TracerProvider) (*Spans, error) {
	t := tp.Tracer("github.com/wflo-ai/wflo-go")
	inner, err := opentelemetry.NewTracer(opentelemetry.TracerOptions{
		Tracer: t, DisableQueryTracing: true,
		SpanStarter: func(ctx context.Context, tracer trace.Tracer, name string, opts ...trace.SpanStartOption) trace.Span {
			_, span := tracer.Start(ctx, name, opts...)
			return &errorSpan{Span: span}
		},
	})
	if err != nil {
		return nil, fmt.Errorf("trace Temporal: %w", err)
	}
	tracer := &runTracer{Tracer: inner, otel: t}
	return &Spans{
		Interceptor: interceptor.NewTracingInterceptor(tracer), tracer: tracer, provider: tp,
		key: inner.Options().SpanContextKey, header: inner.Options().HeaderKey,
	}, nil
}

// ClientInterceptor is the part of TemporalInterceptor for a client that has no
// workers. A nil provider makes no spans and hands on the one in the context.
func ClientInterceptor(tp trace.TracerProvider) (interceptor.ClientInterceptor, error) {
	if tp == nil {
		tp = noop.NewTracerProvider()
	}
	s, err := TemporalInterceptor(tp)
	if err != nil {
		return nil, err
	}
	return &clientOnly{next: s.Interceptor}, nil
}

// clientOnly keeps workers of a client from being traced by it, because they are by
// another one.
type clientOnly struct {
	interceptor.ClientInterceptorBase
	next interceptor.ClientInterceptor
}

// InterceptClient implements interceptor.ClientInterceptor.
func (c *clientOnly) InterceptClient(next interceptor.ClientOutboundInterceptor) interceptor.ClientOutboundInterceptor {
	return c.next.InterceptClient(next)
}

// Names that Temporal's tracing interceptor uses.
const (
	operationRun    = "RunWorkflow"
	operationUpdate = "HandleUpdate"
	tagWorkflowID   = "temporalWorkflowID"
	tagRunID        = "temporalRunID"
	tagUpdateID     = "temporalUpdateID"
)

// runTracer gives the spans of workflow code stable ids.
type runTracer struct {
	interceptor.Tracer
	otel trace.Tracer
}

// origin is what a run without a parent begins with. It stands in the context for the
// parent that there is not.
type origin struct {
	firstRunID string
	restore    string            // the ID of the restore that started the run
	link       trace.SpanContext // of the run that was restored
}

// Finish implements interceptor.TracerSpan.
func (*origin) Finish(*interceptor.TracerFinishSpanOptions) {}

// named is a parent whose next child has an id of its own choice.
type named struct {
	interceptor.TracerSpan
	child trace.SpanID
}

// StartSpan implements interceptor.Tracer.
//
// The options' IdempotencyKey is not used: it counts signals only when they are
// not replayed, so after a replay two spans could have the same key.
func (t *runTracer) StartSpan(given *interceptor.TracerStartSpanOptions) (interceptor.TracerSpan, error) {
	options, s := *given, start{}
	from := &origin{}
	switch p := options.Parent.(type) {
	case *named:
		options.Parent, s.ids.span = p.TracerSpan, p.child
	case *origin:
		options.Parent, from = nil, p
	}
	run := options.Tags[tagRunID]
	switch {
	case options.Operation == operationRun && run != "":
		s.ids = idsOf(options.Tags[tagWorkflowID], run)
		if from.firstRunID != "" {
			// The runs of a chain, such as retries, are one trace.
			s.ids.trace = idsOf(options.Tags[tagWorkflowID], from.firstRunID).trace
		}
		s.durable, s.options = true, from.options()
	case options.Operation == operationUpdate && options.Tags[tagUpdateID] != "":
		s.ids = idsOf(options.Tags[tagWorkflowID], run)
		s.ids.span, s.durable = spanID("update", run, options.Tags[tagUpdateID]), true
	case !s.ids.span.IsValid():
		return t.Tracer.StartSpan(&options)
	}
	return t.start(options, s)
}

// options link a run that a restore started with the one that was restored.
func (o *origin) options() []trace.SpanStartOption {
	if o.restore == "" {
		return nil
	}
	restore := attribute.String("wflo.restore", o.restore)
	options := []trace.SpanStartOption{trace.WithAttributes(restore)}
	if o.link.IsValid() {
		options = append(options, trace.WithLinks(trace.Link{SpanContext: o.link, Attributes: []attribute.KeyValue{restore}}))
	}
	return options
}

// start says how a span begins that is not Temporal's own.
type start struct {
	ids     ids
	name    string // instead of Temporal's; empty keeps that
	durable bool   // it is ended by what it belongs to, and not by leaving the worker
	options []trace.SpanStartOption
}

func (t *runTracer) start(options interceptor.TracerStartSpanOptions, s start) (interceptor.TracerSpan, error) {
	once, err := opentelemetry.NewTracer(opentelemetry.TracerOptions{
		Tracer: t.otel,
		SpanStarter: func(ctx context.Context, tracer trace.Tracer, name string, opts ...trace.SpanStartOption) trace.Span {
			if s.name != "" {
				name = s.name
			}
			_, span := tracer.Start(context.WithValue(ctx, idsKey{}, s.ids), name, append(opts, s.options...)...)
			span = &errorSpan{Span: span}
			if s.durable {
				return &durableSpan{Span: span}
			}
			return span
		},
	})
	if err != nil {
		return nil, err
	}
	return once.StartSpan(&options)
}

// durableSpan is the span of a run, or of an update. Temporal ends it also when the
// run only leaves this worker's cache, and that must not export it.
type durableSpan struct {
	trace.Span
	closed    bool // it ended, here and now
	continued bool // the run goes on as a new one, which is no error
}

// RecordError implements trace.Span.
func (s *durableSpan) RecordError(err error, options ...trace.EventOption) {
	if !s.continued {
		s.Span.RecordError(err, options...)
	}
}

// SetStatus implements trace.Span.
func (s *durableSpan) SetStatus(code codes.Code, description string) {
	if !s.continued {
		s.Span.SetStatus(code, description)
	}
}

// End implements trace.Span.
func (s *durableSpan) End(options ...trace.SpanEndOption) {
	if s.closed {
		s.Span.End(options...)
	}
}

type idsKey struct{}

type ids struct {
	trace trace.TraceID // counts for spans without a parent
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

// spanID derives the id of a span from what names it.
func spanID(kind string, names ...string) (id trace.SpanID) {
	sum := sha256.Sum256([]byte("wflo " + kind + " span\x00" + strings.Join(names, "\x00")))
	copy(id[:], sum[:])
	return id
}

// idGenerator takes ids from the context where StartSpan put them, and draws
// random ones otherwise.
type idGenerator struct{}

var _ sdktrace.IDGenerator = idGenerator{}

// NewIDs implements sdktrace.IDGenerator.
func (g idGenerator) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	if i, ok := ctx.Value(idsKey{}).(ids); ok && i.trace.IsValid() {
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
