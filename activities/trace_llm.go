package activities

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/wflo-ai/wflo-go"
)

// maxContent bounds the messages that are put on one attribute of a span, in bytes of
// text.
const maxContent = 32 << 10

// chatSpan is the span of one call of a provider, by OpenTelemetry's conventions for
// generative AI, version 1.41, whose package would let others reach more than they may:
// a test compares the names. It covers the call, and is exported once it is known what that cost.
type chatSpan struct {
	trace.Span
	content bool
	ended   time.Time
}

// traceChat begins the span of a call that is about to be sent.
func (l *LLM) traceChat(ctx context.Context, run wflo.Run, c *call, hold wflo.Hold) (context.Context, *chatSpan) {
	p := c.prompt
	ctx, span := startSpan(ctx, "chat "+p.Model, trace.WithSpanKind(trace.SpanKindClient))
	s := &chatSpan{Span: span, content: l.CaptureContent}
	if !span.IsRecording() {
		return ctx, s
	}
	span.SetAttributes(
		attribute.String("gen_ai.operation.name", "chat"), attribute.String("gen_ai.provider.name", providerName(c.provider.Name())),
		attribute.String("gen_ai.request.model", p.Model), attribute.Int64("gen_ai.request.max_tokens", c.affordable(hold.Granted)),
		attribute.String("gen_ai.conversation.id", run.RootID()), attribute.Int("wflo.llm.attempt", hold.Attempt),
	)
	span.SetAttributes(costOf("wflo.budget.reserved", hold.Granted)...)
	if run.Agent != "" {
		span.SetAttributes(attribute.String("gen_ai.agent.name", run.Agent))
	}
	if s.content {
		span.SetAttributes(attribute.String("gen_ai.input.messages", messagesText(p.Messages)))
		if p.System != "" {
			span.SetAttributes(attribute.String("gen_ai.system_instructions", encodeContent([]part{{Type: "text", Content: clipText(p.System, maxContent)}})))
		}
	}
	return ctx, s
}

// answered says what the provider answered; the span ends here, whenever it is exported.
func (s *chatSpan) answered(reply wflo.Reply, err error) {
	s.ended = time.Now()
	if !s.IsRecording() || err != nil {
		return
	}
	u := reply.Usage
	s.SetAttributes(
		attribute.String("gen_ai.response.model", reply.Model), attribute.String("gen_ai.response.id", reply.ResponseID),
		attribute.StringSlice("gen_ai.response.finish_reasons", []string{finishReason(reply.Stop)}),
		attribute.Int64("gen_ai.usage.input_tokens", u.Prompt()), attribute.Int64("gen_ai.usage.output_tokens", u.Output+u.Reasoning),
		attribute.Int64("gen_ai.usage.cache_read.input_tokens", u.CacheRead),
		attribute.Int64("gen_ai.usage.cache_creation.input_tokens", u.CacheWrite5m+u.CacheWrite1h),
		attribute.Int64("gen_ai.usage.reasoning.output_tokens", u.Reasoning),
	)
	if reply.Tier != "" {
		s.SetAttributes(attribute.String("wflo.llm.tier", reply.Tier))
	}
	if s.content {
		s.SetAttributes(attribute.String("gen_ai.output.messages", outputText(reply)))
	}
}

// finish exports the span with what the call cost, or why it failed.
func (s *chatSpan) finish(cost wflo.Money, err error) {
	if err != nil {
		kind := callErrorType(err)
		message, _ := wflo.Explain(err)
		message = clipText(message, 4<<10)
		s.SetAttributes(attribute.String("error.type", kind))
		s.AddEvent("exception", trace.WithTimestamp(s.ended), trace.WithAttributes(attribute.String("exception.type", kind), attribute.String("exception.message", message)))
		s.SetStatus(codes.Error, message)
	} else {
		s.SetAttributes(costOf("wflo.cost", cost)...)
	}
	s.End(trace.WithTimestamp(s.ended))
}

// callErrorType is error.type: the HTTP status of a provider, or wflo's code.
func callErrorType(err error) string {
	var call *CallError
	switch code := wflo.CodeOf(err); {
	case errors.As(err, &call) && call.Status != 0:
		return strconv.Itoa(call.Status)
	case code != "":
		return string(code)
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case errors.Is(err, context.Canceled):
		return "cancelled"
	}
	return "_OTHER"
}

// providerName is what the conventions call a provider.
func providerName(name string) string {
	switch name {
	case "google":
		return "gcp.gemini"
	case "mistral":
		return "mistral_ai"
	case "xai":
		return "x_ai"
	}
	return name
}

// finishReason is what the conventions call the end of an answer.
func finishReason(r wflo.StopReason) string {
	switch r {
	case wflo.StopEnd:
		return "stop"
	case wflo.StopTools:
		return "tool_call"
	case wflo.StopMaxTokens:
		return "length"
	case wflo.StopFiltered:
		return "content_filter"
	}
	return string(r)
}

// part and message are the conventions' form of content.
type part struct {
	Type      string `json:"type"`
	Content   string `json:"content,omitempty"`
	ID        string `json:"id,omitempty"`
	Name      string `json:"name,omitempty"`
	Arguments string `json:"arguments,omitempty"`
	Response  string `json:"response,omitempty"`
}

type message struct {
	Role   string `json:"role"`
	Parts  []part `json:"parts"`
	Finish string `json:"finish_reason,omitempty"`
}

// messagesText is a conversation, the latest messages whole as long as there is room,
// because the earlier ones are on earlier spans.
func messagesText(all []wflo.Message) string {
	left := maxContent
	var kept []message
	for i := len(all) - 1; i >= 0 && left > 0; i-- {
		m := messageOf(all[i], &left)
		kept = append([]message{m}, kept...)
	}
	return encodeContent(kept)
}

func messageOf(m wflo.Message, left *int) message {
	take := func(s string) string {
		s = clipText(s, *left)
		*left -= len(s)
		return s
	}
	out := message{Role: string(m.Role), Parts: []part{}}
	switch {
	case m.Role == wflo.RoleTool:
		out.Parts = append(out.Parts, part{Type: "tool_call_response", ID: m.ToolCallID, Response: take(m.Text)})
	case m.Text != "":
		out.Parts = append(out.Parts, part{Type: "text", Content: take(m.Text)})
	}
	for _, c := range m.ToolCalls {
		out.Parts = append(out.Parts, part{Type: "tool_call", ID: c.ID, Name: c.Name, Arguments: take(c.Arguments)})
	}
	return out
}

func outputText(r wflo.Reply) string {
	left := maxContent
	m := messageOf(r.Message(), &left)
	m.Finish = finishReason(r.Stop)
	return encodeContent([]message{m})
}

func encodeContent(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		return "" // strings always encode
	}
	return string(data)
}
