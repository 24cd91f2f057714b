package telemetry

import (
	"context"
	"runtime/debug"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/contrib/opentelemetry"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
)

// Spans is the interceptor of [TemporalInterceptor], and makes the spans of what
// workflow code does besides: it is the workflows.Tracer of a worker.
type Spans struct {
	interceptor.Interceptor
	tracer   *runTracer
	provider trace.TracerProvider
	key      any    // of the span in a workflow's context
	header   string // of Temporal's, that carries it
}

// Provider makes other spans that go the same way.
func (s *Spans) Provider() trace.TracerProvider { return s.provider }

// InterceptWorkflow implements interceptor.WorkerInterceptor. One interceptor sits
// around Temporal's, one within it.
func (s *Spans) InterceptWorkflow(ctx workflow.Context, next interceptor.WorkflowInboundInterceptor) interceptor.WorkflowInboundInterceptor {
	run := &tracedRun{spans: s, counts: map[string]int{}}
	inner := &runInbound{run: run}
	inner.Next = next
	outer := &originInbound{run: run}
	outer.Next = s.Interceptor.InterceptWorkflow(ctx, inner)
	return outer
}

// InterceptActivity implements interceptor.WorkerInterceptor.
func (s *Spans) InterceptActivity(ctx context.Context, next interceptor.ActivityInboundInterceptor) interceptor.ActivityInboundInterceptor {
	inner := &panicInbound{}
	inner.Next = next
	return s.Interceptor.InterceptActivity(ctx, inner)
}

// tracedRun is what tracing knows of one run on one worker. All of it follows from
// the run's history.
type tracedRun struct {
	spans  *Spans
	span   interceptor.TracerSpan // of the run, once it has begun
	counts map[string]int         // of what was named alike
	// held is the header of the span that a restore took from the run.
	held *commonpb.Payload
}

type tracedKey struct{}

// next is the id of what the run does next under a name: the same on every worker.
func (r *tracedRun) next(ctx workflow.Context, kind, name string) trace.SpanID {
	key := kind + "\x00" + name
	r.counts[key]++
	info := workflow.GetInfo(ctx)
	return spanID(kind, info.WorkflowExecution.ID, info.WorkflowExecution.RunID, name, strconv.Itoa(r.counts[key]))
}

// parent is the span in a workflow's context.
func (r *tracedRun) parent(ctx workflow.Context) interceptor.TracerSpan {
	span, _ := ctx.Value(r.spans.key).(interceptor.TracerSpan)
	if n, ok := span.(*named); ok {
		return n.TracerSpan
	}
	return span
}

// naming gives the span that Temporal makes next within ctx an id that does not change
// when the workflow task is tried again.
func (r *tracedRun) naming(ctx workflow.Context, kind, name string) workflow.Context {
	id := r.next(ctx, kind, name)
	if parent := r.parent(ctx); parent != nil {
		return workflow.WithValue(ctx, r.spans.key, &named{TracerSpan: parent, child: id})
	}
	return ctx
}

// originInbound sits around Temporal's tracing, and says what begins a trace.
type originInbound struct {
	interceptor.WorkflowInboundInterceptorBase
	run *tracedRun
}

// ExecuteWorkflow implements interceptor.WorkflowInboundInterceptor. A run that a
// restore started is a trace of its own: what its header names is not its parent, but
// the run that was restored.
func (o *originInbound) ExecuteWorkflow(ctx workflow.Context, in *interceptor.ExecuteWorkflowInput) (any, error) {
	from := &origin{firstRunID: workflow.GetInfo(ctx).FirstRunID}
	header := interceptor.WorkflowHeader(ctx)
	if p, ok := header[wflo.HeaderRestore]; ok {
		// The ID says what the new trace is of; one that cannot be read is for others to refuse.
		_ = converter.GetDefaultDataConverter().FromPayload(p, &from.restore)
		if held, ok := header[o.run.spans.header]; ok {
			o.run.held = held
			from.link = o.run.spans.contextOf(held)
			delete(header, o.run.spans.header)
		}
	}
	return o.Next.ExecuteWorkflow(workflow.WithValue(ctx, o.run.spans.key, from), in)
}

// HandleSignal implements interceptor.WorkflowInboundInterceptor: a signal that nobody
// traced belongs to the run.
func (o *originInbound) HandleSignal(ctx workflow.Context, in *interceptor.HandleSignalInput) error {
	return o.Next.HandleSignal(o.within(ctx), in)
}

// ValidateUpdate implements interceptor.WorkflowInboundInterceptor, like HandleSignal.
func (o *originInbound) ValidateUpdate(ctx workflow.Context, in *interceptor.UpdateInput) error {
	return o.Next.ValidateUpdate(o.within(ctx), in)
}

// ExecuteUpdate implements interceptor.WorkflowInboundInterceptor, like HandleSignal.
func (o *originInbound) ExecuteUpdate(ctx workflow.Context, in *interceptor.UpdateInput) (any, error) {
	return o.Next.ExecuteUpdate(o.within(ctx), in)
}

func (o *originInbound) within(ctx workflow.Context) workflow.Context {
	if o.run.span == nil {
		return ctx
	}
	return workflow.WithValue(ctx, o.run.spans.key, o.run.span)
}

// runInbound sits right inside Temporal's tracing, and tells spans how what they are of
// ended.
type runInbound struct {
	interceptor.WorkflowInboundInterceptorBase
	run *tracedRun
}

// Init implements interceptor.WorkflowInboundInterceptor.
func (w *runInbound) Init(out interceptor.WorkflowOutboundInterceptor) error {
	o := &runOutbound{run: w.run}
	o.Next = out
	return w.Next.Init(o)
}

// ExecuteWorkflow implements interceptor.WorkflowInboundInterceptor. When the
// run is evicted, or panics and will be tried again, Next does not return.
func (w *runInbound) ExecuteWorkflow(ctx workflow.Context, in *interceptor.ExecuteWorkflowInput) (any, error) {
	w.run.span = w.run.parent(ctx)
	w.run.spans.mark(ctx, w.run)
	ret, err := w.Next.ExecuteWorkflow(workflow.WithValue(ctx, tracedKey{}, w.run), in)
	if s := durableIn(ctx); s != nil {
		s.continued = workflow.IsContinueAsNewError(err)
		// A run that ended long ago is replayed for a query.
		s.closed = !workflow.IsReplaying(ctx)
	}
	return ret, err
}

// ExecuteUpdate implements interceptor.WorkflowInboundInterceptor.
func (w *runInbound) ExecuteUpdate(ctx workflow.Context, in *interceptor.UpdateInput) (any, error) {
	ret, err := w.Next.ExecuteUpdate(workflow.WithValue(ctx, tracedKey{}, w.run), in)
	if s := durableIn(ctx); s != nil {
		s.closed = !workflow.IsReplaying(ctx)
	}
	return ret, err
}

func durableIn(ctx workflow.Context) *durableSpan {
	span, _ := opentelemetry.SpanFromWorkflowContext(ctx)
	s, _ := span.(*durableSpan)
	return s
}

// runOutbound names the spans of what workflow code starts, and sits around Temporal's
// tracing.
type runOutbound struct {
	interceptor.WorkflowOutboundInterceptorBase
	run *tracedRun
}

// ExecuteActivity implements interceptor.WorkflowOutboundInterceptor.
func (o *runOutbound) ExecuteActivity(ctx workflow.Context, activity string, args ...any) workflow.Future {
	o.run.gate(ctx, activity, args)
	return o.Next.ExecuteActivity(o.run.naming(ctx, "activity", activity), activity, args...)
}

// ExecuteLocalActivity implements interceptor.WorkflowOutboundInterceptor.
func (o *runOutbound) ExecuteLocalActivity(ctx workflow.Context, activity string, args ...any) workflow.Future {
	return o.Next.ExecuteLocalActivity(o.run.naming(ctx, "local activity", activity), activity, args...)
}

// ExecuteChildWorkflow implements interceptor.WorkflowOutboundInterceptor.
func (o *runOutbound) ExecuteChildWorkflow(ctx workflow.Context, child string, args ...any) workflow.ChildWorkflowFuture {
	return o.Next.ExecuteChildWorkflow(o.run.naming(ctx, "child", child), child, args...)
}

// SignalExternalWorkflow implements interceptor.WorkflowOutboundInterceptor.
func (o *runOutbound) SignalExternalWorkflow(ctx workflow.Context, workflowID, runID, signal string, arg any) workflow.Future {
	return o.Next.SignalExternalWorkflow(o.run.naming(ctx, "signal", signal), workflowID, runID, signal, arg)
}

// panicInbound records panics of activities, which the SDK turns into errors where no
// interceptor sees them.
type panicInbound struct {
	interceptor.ActivityInboundInterceptorBase
}

// ExecuteActivity implements interceptor.ActivityInboundInterceptor.
func (p *panicInbound) ExecuteActivity(ctx context.Context, in *interceptor.ExecuteActivityInput) (any, error) {
	panics := true
	defer func() {
		if !panics {
			return
		}
		// What was said in panic is left out: nobody chose it for others to read.
		span := trace.SpanFromContext(ctx)
		span.AddEvent("exception", trace.WithAttributes(
			attribute.String("exception.type", "panic"), attribute.String("exception.stacktrace", bounded(string(debug.Stack()), maxStack)),
			attribute.Bool("exception.escaped", true),
		))
		span.SetStatus(codes.Error, "the activity panicked")
	}()
	out, err := p.Next.ExecuteActivity(ctx, in)
	panics = false
	return out, err
}

// child starts a span of ours within ctx at a time of the run, and gives the context
// within it. It is nil where nothing is traced.
func (r *tracedRun) child(ctx workflow.Context, id trace.SpanID, name string, at time.Time, attributes ...attribute.KeyValue) (workflow.Context, trace.Span) {
	parent := r.parent(ctx)
	if parent == nil {
		return ctx, nil
	}
	span, err := r.spans.tracer.start(interceptor.TracerStartSpanOptions{Parent: parent, Time: at}, start{
		ids: ids{span: id}, name: name,
		options: []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindInternal), trace.WithAttributes(attributes...)},
	})
	if err != nil {
		return ctx, nil
	}
	ctx = workflow.WithValue(ctx, r.spans.key, span)
	made, _ := opentelemetry.SpanFromWorkflowContext(ctx)
	return ctx, made
}
