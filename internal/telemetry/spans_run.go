package telemetry

import (
	"context"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/contrib/opentelemetry"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
)

// contextOf reads what a header says of a span; what cannot be read is no span.
func (s *Spans) contextOf(p *commonpb.Payload) trace.SpanContext {
	var data map[string]string
	if err := converter.GetDefaultDataConverter().FromPayload(p, &data); err != nil {
		return trace.SpanContext{}
	}
	return trace.SpanContextFromContext(opentelemetry.DefaultTextMapPropagator.Extract(context.Background(), propagation.MapCarrier(data)))
}

// mark leaves the run's own span in its header, where snapshots take it from: a run
// that is started from one is linked with it.
func (s *Spans) mark(ctx workflow.Context, r *tracedRun) {
	header := interceptor.WorkflowHeader(ctx)
	if header == nil {
		return
	}
	if r.held != nil {
		header[s.header] = r.held
	}
	if r.span == nil {
		return
	}
	data, err := s.tracer.MarshalSpan(r.span)
	if err != nil || len(data) == 0 {
		return
	}
	if p, err := converter.GetDefaultDataConverter().ToPayload(data); err == nil {
		header[s.header] = p
	}
}

// Run says who a run is, once that is known.
func (s *Spans) Run(ctx workflow.Context, r wflo.Run) {
	span, ok := opentelemetry.SpanFromWorkflowContext(ctx)
	if !ok || !span.IsRecording() {
		return
	}
	span.SetAttributes(runAttributes(r)...)
}

// runAttributes name a run, and whom it acts for.
func runAttributes(r wflo.Run) []attribute.KeyValue {
	all := []attribute.KeyValue{
		attribute.String("wflo.run", r.ID()), attribute.String("wflo.correlation", r.Correlation),
		attribute.Int("wflo.generation", r.Generation), attribute.Int("wflo.epoch", r.Epoch),
	}
	for _, f := range []struct{ key, value string }{
		{"wflo.user", r.User}, {"wflo.team", r.Team}, {"wflo.org", r.Org}, {"wflo.agent", r.Agent}, {"wflo.policy.bundle", r.Bundle},
	} {
		if f.value != "" {
			all = append(all, attribute.String(f.key, f.value))
		}
	}
	if r.Workflow == wflo.WorkflowAgent {
		all = append(all, attribute.String("gen_ai.operation.name", "invoke_agent"), attribute.String("gen_ai.conversation.id", r.RootID()))
		if r.Agent != "" {
			all = append(all, attribute.String("gen_ai.agent.name", r.Agent))
		}
	}
	return all
}

// Closed says how a run ended, and what it spent.
func (s *Spans) Closed(ctx workflow.Context, r wflo.Run, state wflo.RunState, spent wflo.Money) {
	s.Run(ctx, r)
	if span, ok := opentelemetry.SpanFromWorkflowContext(ctx); ok && span.IsRecording() {
		span.SetAttributes(attribute.String("wflo.state", string(state)))
		span.SetAttributes(money("wflo.cost", spent)...)
	}
}

// money is an amount in dollars, to be added up by who shows it, and exact.
func money(name string, m wflo.Money) []attribute.KeyValue {
	return []attribute.KeyValue{attribute.Float64(name+".usd", m.Float()), attribute.Int64(name+".nano_usd", int64(m))}
}

// Step makes the span of one try of a step. What is called with the context that it
// gives is the step's; end takes how it ended.
func (s *Spans) Step(ctx workflow.Context, name, key string, effect wflo.EffectClass) (inner workflow.Context, end func(error)) {
	return s.piece(ctx, "step", key, "step "+name, attribute.String("wflo.step", key), attribute.String("wflo.step.name", name), attribute.String("wflo.step.effect", string(effect)))
}

// Tool makes the span of a call that a model asked for. Arguments and result are
// content, and no part of it.
func (s *Spans) Tool(ctx workflow.Context, name, id string) (inner workflow.Context, end func(error)) {
	return s.piece(ctx, "tool", name+"\x00"+id, "execute_tool "+bounded(name, maxValueBytes),
		attribute.String("gen_ai.operation.name", "execute_tool"), attribute.String("gen_ai.tool.name", bounded(name, maxValueBytes)),
		attribute.String("gen_ai.tool.call.id", bounded(id, maxValueBytes)), attribute.String("gen_ai.tool.type", "function"))
}

func (s *Spans) piece(ctx workflow.Context, kind, key, name string, attributes ...attribute.KeyValue) (workflow.Context, func(error)) {
	nothing := func(error) {}
	run, ok := ctx.Value(tracedKey{}).(*tracedRun)
	if !ok {
		return ctx, nothing
	}
	inner, span := run.child(ctx, run.next(ctx, kind, key), name, workflow.Now(ctx), attributes...)
	if span == nil {
		return ctx, nothing
	}
	return inner, func(err error) {
		if workflow.IsReplaying(ctx) {
			return // exported when it ended
		}
		if err != nil {
			span.RecordError(err)
			span.SetStatus(codes.Error, bounded(err.Error(), maxMessage))
		}
		span.End(trace.WithTimestamp(workflow.Now(ctx)))
	}
}

// gate makes the span of the time that people took, when the gate's end is written
// down.
func (r *tracedRun) gate(ctx workflow.Context, activity string, args []any) {
	if activity != string(step.ApprovalClose) || len(args) != 1 || workflow.IsReplaying(ctx) {
		return
	}
	g, ok := args[0].(wflo.Gate)
	if !ok {
		return
	}
	end := g.ClosedAt
	if end.IsZero() {
		end = workflow.Now(ctx)
	}
	_, span := r.child(ctx, spanID("gate", g.Nonce, strconv.Itoa(g.Changes)), "approval "+g.ID, g.OpenedAt, gateAttributes(g, end)...)
	if span == nil {
		return
	}
	span.End(trace.WithTimestamp(end))
}

// gateAttributes say how a gate ended, without what it asked about and what people
// wrote.
func gateAttributes(g wflo.Gate, end time.Time) []attribute.KeyValue {
	people := map[string]bool{}
	for _, v := range g.Votes {
		people[v.By] = true
	}
	return []attribute.KeyValue{
		attribute.String("wflo.approval.gate", g.ID), attribute.String("wflo.approval.status", string(g.Status)),
		attribute.String("wflo.approval.digest", g.Digest), attribute.String("wflo.step", g.Step),
		attribute.Int("wflo.approval.approvers", len(g.Approval.Approvers)), attribute.Int("wflo.approval.decided_by", len(people)),
		attribute.Int("wflo.approval.escalations", g.Level), attribute.Int("wflo.approval.edits", g.Revision),
		attribute.Float64("wflo.approval.wait_seconds", end.Sub(g.OpenedAt).Seconds()),
	}
}
