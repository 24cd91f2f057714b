package telemetry

import (
	"context"
	"testing"

	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"

	"github.com/wflo-ai/wflo-go"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type runKey struct{}

// withRun and runFromContext stand in for the interceptor's.
func withRun(ctx context.Context, run wflo.Run) context.Context {
	return context.WithValue(ctx, runKey{}, run)
}

func runFromContext(ctx context.Context) (wflo.Run, bool) {
	run, ok := ctx.Value(runKey{}).(wflo.Run)
	return run, ok
}

const (
	testTraceID = "0102030405060708090a0b0c0d0e0f10"
	testSpanID  = "0102030405060708"
)

func withSpan(t *testing.T, ctx context.Context, flags trace.TraceFlags) context.Context {
	t.Helper()
	traceID, err := trace.TraceIDFromHex(testTraceID)
	if err != nil {
		t.Fatal(err)
	}
	spanID, err := trace.SpanIDFromHex(testSpanID)
	if err != nil {
		t.Fatal(err)
	}
	return trace.ContextWithSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{TraceID: traceID, SpanID: spanID, TraceFlags: flags}))
}
