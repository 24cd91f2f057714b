package activities

import (
	"context"
	"strings"
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/interceptor"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
)

// startSpan begins a span within the activity's. It goes where that one goes, and is
// nothing where nothing is traced.
func startSpan(ctx context.Context, name string, options ...trace.SpanStartOption) (context.Context, trace.Span) {
	return trace.SpanFromContext(ctx).TracerProvider().Tracer("github.com/wflo-ai/wflo-go").Start(ctx, name, options...)
}

// endSpan ends a span with how its work ended.
func endSpan(span trace.Span, err error) {
	if err != nil {
		message, _ := wflo.Explain(err)
		message = clipText(message, 4<<10)
		kind := callErrorType(err)
		span.SetAttributes(attribute.String("error.type", kind))
		span.AddEvent("exception", trace.WithAttributes(attribute.String("exception.type", kind), attribute.String("exception.message", message)))
		span.SetStatus(codes.Error, message)
	}
	span.End()
}

// clipText is valid text of at most so many bytes.
func clipText(s string, most int) string {
	if len(s) > most {
		for most > 0 && !utf8.RuneStart(s[most]) {
			most--
		}
		s = s[:most]
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// traceRun puts on the activity's span whom it acts for, and what it is part of.
func traceRun(ctx context.Context, run wflo.Run, info activity.Info) {
	span := trace.SpanFromContext(ctx)
	if !span.IsRecording() {
		return
	}
	span.SetAttributes(
		attribute.String("wflo.run", run.ID()), attribute.String("wflo.workflow", run.Workflow), attribute.String("wflo.step", run.Step),
		attribute.String("wflo.effect", string(run.EffectKey())), attribute.String("wflo.correlation", run.Correlation),
		attribute.Int("wflo.epoch", run.Epoch), attribute.Int("wflo.attempt", int(info.Attempt)), attribute.Bool("wflo.local", info.IsLocalActivity),
	)
	for _, f := range []struct{ key, value string }{
		{"wflo.user", run.User}, {"wflo.team", run.Team}, {"wflo.org", run.Org}, {"wflo.agent", run.Agent}, {"wflo.policy.bundle", run.Bundle},
	} {
		if f.value != "" {
			span.SetAttributes(attribute.String(f.key, f.value))
		}
	}
	header := interceptor.Header(ctx)
	if _, ok := header[wflo.HeaderUndo]; ok {
		span.SetAttributes(attribute.Bool("wflo.undoing", true))
	}
	if _, ok := header[wflo.HeaderGate]; ok {
		span.SetAttributes(attribute.Bool("wflo.approved", true))
	}
}

// traceOutcome adds what is worth knowing of what an activity of wflo's was given and
// answered: names, states and numbers, never content.
func traceOutcome(ctx context.Context, args []any, out any) {
	span := trace.SpanFromContext(ctx)
	if !span.IsRecording() {
		return
	}
	if len(args) == 1 {
		span.SetAttributes(aboutOf(args[0])...)
	}
	span.SetAttributes(aboutOf(out)...)
}

func aboutOf(v any) []attribute.KeyValue {
	switch v := v.(type) {
	case wflo.Reply:
		return append(costOf("wflo.cost", v.Cost), attribute.Bool("wflo.llm.cached", v.Cached))
	case wflo.Gate:
		return aboutGate(v)
	case step.Opening:
		return aboutGate(v.Gate)
	case wflo.Ruling:
		return aboutRuling(v)
	case wflo.Pin:
		return []attribute.KeyValue{attribute.String("wflo.policy.bundle", v.Bundle)}
	case step.Capture:
		return []attribute.KeyValue{attribute.String("wflo.snapshot.kind", string(v.Snapshot.Kind))}
	case wflo.Snapshot:
		return aboutSnapshot(v)
	case step.Loaded:
		return aboutSnapshot(v.Snapshot)
	case step.Bring:
		return []attribute.KeyValue{attribute.String("wflo.snapshot", v.Snapshot)}
	case wflo.Restore:
		return []attribute.KeyValue{attribute.String("wflo.restore", v.ID)}
	case step.Restoring:
		return aboutRestored(v.Restored)
	case wflo.Restored:
		return aboutRestored(v)
	case step.CompensationNotes:
		return []attribute.KeyValue{attribute.Int("wflo.compensations.new", len(v.New)), attribute.Int("wflo.compensations.changed", len(v.Marks))}
	}
	return nil
}

// aboutGate leaves out what the gate asks about and what people wrote.
func aboutGate(g wflo.Gate) []attribute.KeyValue {
	return []attribute.KeyValue{
		attribute.String("wflo.approval.gate", g.ID), attribute.String("wflo.approval.status", string(g.Status)),
		attribute.String("wflo.approval.digest", g.Digest), attribute.Int("wflo.approval.approvers", len(g.Approval.Approvers)),
	}
}

func aboutRuling(r wflo.Ruling) []attribute.KeyValue {
	rules := make([]string, 0, len(r.Matches))
	for _, m := range r.Matches {
		rules = append(rules, m.Rule)
	}
	return []attribute.KeyValue{
		attribute.String("wflo.policy.bundle", r.Bundle), attribute.StringSlice("wflo.policy.rules", rules),
		attribute.String("wflo.policy.verdict", string(r.Effect)), attribute.String("wflo.policy.facts", r.Facts),
	}
}

func aboutSnapshot(s wflo.Snapshot) []attribute.KeyValue {
	var size int64
	parts := make([]string, 0, len(s.Parts))
	for _, p := range s.Parts {
		parts, size = append(parts, string(p.Kind)), size+p.Bytes
	}
	return []attribute.KeyValue{
		attribute.String("wflo.snapshot", s.ID), attribute.String("wflo.snapshot.kind", string(s.Kind)),
		attribute.StringSlice("wflo.snapshot.parts", parts), attribute.Int64("wflo.snapshot.bytes", size),
	}
}

func aboutRestored(r wflo.Restored) []attribute.KeyValue {
	return []attribute.KeyValue{
		attribute.String("wflo.restore", r.Restore.ID), attribute.String("wflo.restore.mode", string(r.Plan.Mode)),
		attribute.String("wflo.restore.state", string(r.State)), attribute.String("wflo.restore.from", r.From), attribute.String("wflo.restore.into", r.Into),
	}
}

// costOf is an amount in dollars, to be added up by who shows it, and exact.
func costOf(name string, m wflo.Money) []attribute.KeyValue {
	return []attribute.KeyValue{attribute.Float64(name+".usd", m.Float()), attribute.Int64(name+".nano_usd", int64(m))}
}
