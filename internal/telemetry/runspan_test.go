package telemetry

import (
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	taskqueuepb "go.temporal.io/api/taskqueue/v1"
	"go.temporal.io/sdk/contrib/opentelemetry"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
)

// A run has the same span on every worker, so that what later workers add has a
// parent, and another span than any other run.
func TestRunSpanIDs(t *testing.T) {
	start := func(operation, runID string) string {
		exported := tracetest.NewInMemoryExporter()
		tp := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exported), sdktrace.WithIDGenerator(idGenerator{}))
		tracer := tp.Tracer("test")
		inner, err := opentelemetry.NewTracer(opentelemetry.TracerOptions{Tracer: tracer})
		if err != nil {
			t.Fatal(err)
		}
		span, err := (&runTracer{Tracer: inner, otel: tracer}).StartSpan(&interceptor.TracerStartSpanOptions{
			Operation: operation, Name: "Refund", Time: time.Now(), Tags: map[string]string{tagWorkflowID: "refund-42", tagRunID: runID},
		})
		if err != nil {
			t.Fatal(err)
		}
		header, err := inner.MarshalSpan(span)
		if err != nil {
			t.Fatal(err)
		}
		return header["traceparent"]
	}
	first := start(operationRun, "run-1")
	if again := start(operationRun, "run-1"); first != again || first == "" {
		t.Errorf("the run is %q on one worker and %q on another", first, again)
	}
	if other := start(operationRun, "run-2"); first == other {
		t.Errorf("two runs are both %q", first)
	}
	if a, b := start("RunActivity", "run-1"), start("RunActivity", "run-1"); a == b {
		t.Errorf("two activities are both %q", a)
	}
}

// The runs of a chain that nobody traced are one trace, with a span each.
func TestRetriedRunsAreOneTrace(t *testing.T) {
	spans, err := TemporalInterceptor(sdktrace.NewTracerProvider(sdktrace.WithIDGenerator(idGenerator{})))
	if err != nil {
		t.Fatal(err)
	}
	contexts := map[string]trace.SpanContext{}
	for _, run := range []string{"run-1", "run-2"} {
		span, err := spans.tracer.StartSpan(&interceptor.TracerStartSpanOptions{
			Operation: operationRun, Name: "Refund", Tags: map[string]string{tagWorkflowID: "refund-42", tagRunID: run}, Parent: &origin{firstRunID: "run-1"},
		})
		if err != nil {
			t.Fatal(err)
		}
		contexts[run] = span.(interface{ SpanContext() trace.SpanContext }).SpanContext()
	}
	if contexts["run-1"].TraceID() != contexts["run-2"].TraceID() || contexts["run-1"].SpanID() == contexts["run-2"].SpanID() {
		t.Errorf("got %v", contexts)
	}
}

// A run that is only replayed, for a query or because it moved here, exports
// nothing: the worker where it ends does.
func TestRunSpanIsNotExportedByReplay(t *testing.T) {
	tests := []struct {
		name   string
		sleeps bool
	}{
		{"ended", false},
		{"still waiting", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			exported := tracetest.NewInMemoryExporter()
			tp := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exported), sdktrace.WithIDGenerator(idGenerator{}))
			i, err := TemporalInterceptor(tp)
			if err != nil {
				t.Fatal(err)
			}
			outer := &leaving{left: make(chan struct{})}
			replayer, err := worker.NewWorkflowReplayerWithOptions(worker.WorkflowReplayerOptions{Interceptors: []interceptor.WorkerInterceptor{outer, i}})
			if err != nil {
				t.Fatal(err)
			}
			replayer.RegisterWorkflowWithOptions(func(ctx workflow.Context) error {
				if tt.sleeps {
					return workflow.Sleep(ctx, time.Hour)
				}
				return nil
			}, workflowNamed("Replayed"))
			if err := replayer.ReplayWorkflowHistory(slog.New(slog.DiscardHandler), history(tt.sleeps)); err != nil {
				t.Fatal(err)
			}
			<-outer.left // after the spans ended: an eviction does not wait for that
			var names []string
			for _, s := range exported.GetSpans() {
				names = append(names, s.Name)
			}
			if diff := cmp.Diff([]string(nil), names); diff != "" {
				t.Errorf("exported (-want +got):\n%s", diff)
			}
		})
	}
}

// leaving closes left when a run has left the worker, also by an eviction.
type leaving struct {
	interceptor.WorkerInterceptorBase
	left chan struct{}
}

type leavingInbound struct {
	interceptor.WorkflowInboundInterceptorBase
	left chan struct{}
}

func (l *leaving) InterceptWorkflow(_ workflow.Context, next interceptor.WorkflowInboundInterceptor) interceptor.WorkflowInboundInterceptor {
	w := &leavingInbound{left: l.left}
	w.Next = next
	return w
}

func (w *leavingInbound) ExecuteWorkflow(ctx workflow.Context, in *interceptor.ExecuteWorkflowInput) (any, error) {
	defer close(w.left)
	return w.Next.ExecuteWorkflow(ctx, in)
}

// history is that of a run which ended at once, or which waits for a timer.
func history(sleeps bool) *historypb.History {
	queue := &taskqueuepb.TaskQueue{Name: "q"}
	last := &historypb.HistoryEvent{EventId: 5, EventType: enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED,
		Attributes: &historypb.HistoryEvent_WorkflowExecutionCompletedEventAttributes{
			WorkflowExecutionCompletedEventAttributes: &historypb.WorkflowExecutionCompletedEventAttributes{WorkflowTaskCompletedEventId: 4}}}
	if sleeps {
		last = &historypb.HistoryEvent{EventId: 5, EventType: enumspb.EVENT_TYPE_TIMER_STARTED,
			Attributes: &historypb.HistoryEvent_TimerStartedEventAttributes{
				TimerStartedEventAttributes: &historypb.TimerStartedEventAttributes{TimerId: "5", WorkflowTaskCompletedEventId: 4}}}
	}
	return &historypb.History{Events: []*historypb.HistoryEvent{
		{EventId: 1, EventType: enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED, Attributes: &historypb.HistoryEvent_WorkflowExecutionStartedEventAttributes{
			WorkflowExecutionStartedEventAttributes: &historypb.WorkflowExecutionStartedEventAttributes{
				WorkflowType: &commonpb.WorkflowType{Name: "Replayed"}, TaskQueue: queue, OriginalExecutionRunId: "run-1", FirstExecutionRunId: "run-1"}}},
		{EventId: 2, EventType: enumspb.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED, Attributes: &historypb.HistoryEvent_WorkflowTaskScheduledEventAttributes{
			WorkflowTaskScheduledEventAttributes: &historypb.WorkflowTaskScheduledEventAttributes{TaskQueue: queue}}},
		{EventId: 3, EventType: enumspb.EVENT_TYPE_WORKFLOW_TASK_STARTED, Attributes: &historypb.HistoryEvent_WorkflowTaskStartedEventAttributes{
			WorkflowTaskStartedEventAttributes: &historypb.WorkflowTaskStartedEventAttributes{ScheduledEventId: 2}}},
		{EventId: 4, EventType: enumspb.EVENT_TYPE_WORKFLOW_TASK_COMPLETED, Attributes: &historypb.HistoryEvent_WorkflowTaskCompletedEventAttributes{
			WorkflowTaskCompletedEventAttributes: &historypb.WorkflowTaskCompletedEventAttributes{ScheduledEventId: 2, StartedEventId: 3}}},
		last,
	}}
}
