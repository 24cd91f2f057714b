package activities

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/wflo-ai/wflo-go/sandbox"
)

// traceSpec puts what was asked for on the activity's span: never programs,
// files, variables or destinations, which are the user's.
func traceSpec(ctx context.Context, spec sandbox.Spec) {
	span := trace.SpanFromContext(ctx)
	if !span.IsRecording() {
		return
	}
	limits := spec.WithDefaults().Limits
	mode := spec.Network.Mode
	if mode == sandbox.NetworkNone {
		mode = "none"
	}
	span.SetAttributes(
		attribute.Int64("wflo.sandbox.limit.memory", limits.Memory),
		attribute.Float64("wflo.sandbox.limit.cpus", limits.CPUs),
		attribute.Int64("wflo.sandbox.limit.pids", limits.PIDs),
		attribute.Float64("wflo.sandbox.limit.timeout_seconds", limits.Timeout.Seconds()),
		attribute.String("wflo.sandbox.network", mode),
		attribute.Bool("wflo.sandbox.one_shot", spec.Box == ""),
	)
}

// traceResult adds what came out. A program that failed is no error of the
// span, as it is none of the activity.
func traceResult(ctx context.Context, res sandbox.Result, err error) {
	span := trace.SpanFromContext(ctx)
	if !span.IsRecording() {
		return
	}
	span.SetAttributes(attribute.String("wflo.sandbox.outcome", string(sandbox.OutcomeOf(res, err))))
	if err != nil {
		return // the interceptor records it
	}
	span.SetAttributes(
		attribute.String("wflo.sandbox.id", res.Sandbox),
		attribute.String("wflo.sandbox.image", res.Image),
		attribute.String("wflo.sandbox.runtime", res.Runtime),
		attribute.StringSlice("wflo.sandbox.profiles", res.Profiles),
		attribute.StringSlice("wflo.sandbox.missing", res.Missing),
		attribute.StringSlice("wflo.sandbox.hit", res.Hit),
		attribute.Int("wflo.sandbox.exit_code", res.ExitCode),
		attribute.Bool("wflo.sandbox.warm", res.Warm),
		attribute.Bool("wflo.sandbox.adopted", res.Adopted),
		attribute.Float64("wflo.sandbox.queued_seconds", res.Queued.Seconds()),
		attribute.Float64("wflo.sandbox.duration_seconds", res.Duration.Seconds()),
		attribute.Float64("wflo.sandbox.cpu_seconds", res.CPUTime.Seconds()),
		attribute.Int64("wflo.sandbox.peak_memory", res.PeakMemory),
	)
}
