package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
)

func TestErrorSpan(t *testing.T) {
	tests := []struct {
		name, kind string
		err        error
		stack      []string // what it holds, in this order
	}{
		{"wflo's", "budget_exceeded", temporal.NewApplicationError("no room", "budget_exceeded"), []string{"ApplicationError: no room"}},
		{"wrapped", "*errors.errorString", fmt.Errorf("open: %w", errors.New("gone")), []string{"*fmt.wrapError: open: gone", "caused by *errors.errorString: gone"}},
		{"cancelled", "cancelled", fmt.Errorf("ask: %w", context.Canceled), []string{"caused by"}},
		{"long", "*errors.errorString", errors.New(strings.Repeat("ü", 1<<20)), []string{"üüü"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			exported := tracetest.NewInMemoryExporter()
			tp := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exported))
			_, made := tp.Tracer("test").Start(t.Context(), "work")
			span := &errorSpan{Span: made}
			span.RecordError(tt.err)
			span.SetStatus(codes.Error, tt.err.Error())
			span.End()
			got := exported.GetSpans()[0]
			said := map[string]string{}
			for _, a := range append(got.Attributes, got.Events[0].Attributes...) {
				said[string(a.Key)] = a.Value.AsString()
			}
			if said["error.type"] != tt.kind || said["exception.type"] != tt.kind {
				t.Errorf("the type is %q, want %q", said["error.type"], tt.kind)
			}
			rest := said["exception.stacktrace"]
			for _, part := range tt.stack {
				_, after, ok := strings.Cut(rest, part)
				if !ok {
					t.Errorf("the stack lacks %q: %.200s", part, said["exception.stacktrace"])
				}
				rest = after
			}
			if len(got.Status.Description) > maxMessage || len(said["exception.message"]) > maxMessage || len(said["exception.stacktrace"]) > maxStack {
				t.Error("the error is not bounded")
			}
		})
	}
}

// Steps and tool calls of a run have ids that follow from the run, also where a name
// comes twice, and are what their calls are within.
func TestStepSpans(t *testing.T) {
	var first []tracetest.SpanStub
	for range 2 {
		cleanEnv(t)
		exported := tracetest.NewInMemoryExporter()
		tp := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exported), sdktrace.WithIDGenerator(idGenerator{}))
		env := tracedEnv(t, tp, nil)
		spans, err := TemporalInterceptor(tp)
		if err != nil {
			t.Fatal(err)
		}
		env.RegisterWorkflowWithOptions(func(ctx workflow.Context) error {
			for _, failure := range []error{errors.New("no"), nil} {
				inner, end := spans.Step(ctx, "pay", "pay", wflo.EffectRead)
				inner = workflow.WithActivityOptions(inner, workflow.ActivityOptions{StartToCloseTimeout: time.Second})
				if err := workflow.ExecuteActivity(inner, "work").Get(inner, nil); err != nil {
					return err
				}
				end(failure)
			}
			return nil
		}, workflowNamed("Pays"))
		env.ExecuteWorkflow("Pays")
		if err := env.GetWorkflowError(); err != nil {
			t.Fatal(err)
		}
		var steps []tracetest.SpanStub
		calls := map[string]int{}
		for _, s := range exported.GetSpans() {
			switch s.Name {
			case "step pay":
				steps = append(steps, s)
			case "StartActivity:work":
				calls[s.Parent.SpanID().String()]++
			}
		}
		if len(steps) != 2 || steps[0].SpanContext.SpanID() == steps[1].SpanContext.SpanID() {
			t.Fatalf("got %v, want two steps", steps)
		}
		if steps[0].Status.Code != codes.Error || steps[1].Status.Code == codes.Error {
			t.Error("not the first of them failed")
		}
		for _, s := range steps {
			if calls[s.SpanContext.SpanID().String()] != 1 {
				t.Errorf("the step has %d calls, want one", calls[s.SpanContext.SpanID().String()])
			}
		}
		if first != nil && (first[0].SpanContext.SpanID() != steps[0].SpanContext.SpanID() || first[0].SpanContext.TraceID() != steps[0].SpanContext.TraceID()) {
			t.Error("the same run has other ids on another worker")
		}
		first = steps
	}
}

// A failing collector is told of once in a while, with how often since.
func TestExportErrorsAreCounted(t *testing.T) {
	var said strings.Builder
	now := time.Unix(0, 0)
	e := &exportErrors{logger: slog.New(slog.NewTextHandler(&said, nil)), every: time.Minute, now: func() time.Time { return now }}
	for range 10 {
		e.Handle(errors.New("down"))
		now = now.Add(10 * time.Second)
	}
	if got := strings.Count(said.String(), "telemetry incomplete"); got != 2 || !strings.Contains(said.String(), "more_since=5") {
		t.Errorf("said %d times: %s", got, said.String())
	}
}
