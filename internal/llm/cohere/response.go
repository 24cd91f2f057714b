package cohere

import (
	"errors"
	"math"
	"strings"

	sdk "github.com/cohere-ai/cohere-go/v2"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/llm"
)

// reply translates a whole answer. When the model calls tools its text is the
// plan it made for them.
func reply(a *sdk.V2ChatResponse) wflo.Reply {
	r := wflo.Reply{Stop: stop(a.FinishReason), ResponseID: a.Id, Usage: usage(a.Usage)}
	if a.Message == nil {
		return r
	}
	r.Text = value(a.Message.ToolPlan)
	for _, c := range a.Message.Content {
		if c != nil && c.Text != nil {
			r.Text += c.Text.Text
		}
	}
	for i, call := range a.Message.ToolCalls {
		if call != nil {
			r.ToolCalls = append(r.ToolCalls, toolCall(a.Id, i, call))
		}
	}
	return r
}

func toolCall(responseID string, index int, call *sdk.ToolCallV2) wflo.ToolCall {
	out := wflo.ToolCall{ID: value(call.Id)}
	if out.ID == "" {
		out.ID = llm.CallID(responseID, index)
	}
	if call.Function != nil {
		out.Name, out.Arguments = value(call.Function.Name), value(call.Function.Arguments)
	}
	return out
}

func stop(reason sdk.ChatFinishReason) wflo.StopReason {
	switch reason {
	case sdk.ChatFinishReasonComplete, sdk.ChatFinishReasonStopSequence:
		return wflo.StopEnd
	case sdk.ChatFinishReasonToolCall:
		return wflo.StopTools
	case sdk.ChatFinishReasonMaxTokens:
		return wflo.StopMaxTokens
	}
	return wflo.StopOther
}

// usage is the SDK's count in buckets.
func usage(u *sdk.Usage) wflo.Usage {
	if u == nil {
		return wflo.Usage{}
	}
	var billed, counted *wireUnits
	if b := u.BilledUnits; b != nil {
		billed = &wireUnits{Input: b.InputTokens, Output: b.OutputTokens}
	}
	if t := u.Tokens; t != nil {
		counted = &wireUnits{Input: t.InputTokens, Output: t.OutputTokens}
	}
	buckets, _ := bucketsOf(billed, counted)
	return buckets
}

// tokens rounds up; what is no count becomes a negative one, which llm refuses.
func tokens(n float64) int64 {
	if math.IsNaN(n) || n < 0 || n > math.MaxInt32 {
		return -1
	}
	return int64(math.Ceil(n))
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// gathering puts a stream's events together.
type gathering struct {
	id     string
	finish sdk.ChatFinishReason // set when the answer is complete
	text   strings.Builder
	calls  []*sdk.ToolCallV2
	usage  *sdk.Usage
}

// add takes an event and returns the text it brought.
func (g *gathering) add(e sdk.V2ChatStreamResponse) (string, error) {
	var text string
	switch {
	case e.MessageStart != nil:
		g.id = value(e.MessageStart.Id)
	case e.ToolPlanDelta != nil:
		if d := e.ToolPlanDelta.Delta; d != nil && d.Message != nil {
			text = value(d.Message.ToolPlan)
		}
	case e.ContentDelta != nil:
		if d := e.ContentDelta.Delta; d != nil && d.Message != nil && d.Message.Content != nil {
			text = value(d.Message.Content.Text)
		}
	case e.ToolCallStart != nil:
		if d := e.ToolCallStart.Delta; d != nil && d.Message != nil && d.Message.ToolCalls != nil {
			g.calls = append(g.calls, d.Message.ToolCalls)
		}
	case e.ToolCallDelta != nil:
		g.extend(e.ToolCallDelta)
	case e.MessageEnd != nil:
		return "", g.end(e.MessageEnd)
	}
	g.text.WriteString(text)
	return text, nil
}

// extend appends a piece of arguments. Calls come one after the other, so it is
// the last one's.
func (g *gathering) extend(e *sdk.ChatToolCallDeltaEvent) {
	d := e.Delta
	if len(g.calls) == 0 || d == nil || d.Message == nil || d.Message.ToolCalls == nil || d.Message.ToolCalls.Function == nil {
		return
	}
	call := g.calls[len(g.calls)-1]
	if call.Function == nil {
		call.Function = &sdk.ToolCallV2Function{}
	}
	whole := value(call.Function.Arguments) + value(d.Message.ToolCalls.Function.Arguments)
	call.Function.Arguments = &whole
}

func (g *gathering) end(e *sdk.ChatMessageEndEvent) error {
	if e.Delta == nil {
		return errors.New("the last event is empty")
	}
	if e.Delta.Error != nil {
		return errors.New(*e.Delta.Error)
	}
	if e.Delta.FinishReason != nil {
		g.finish = *e.Delta.FinishReason
	}
	g.usage = e.Delta.Usage
	return nil
}

func (g *gathering) reply() wflo.Reply {
	r := wflo.Reply{Text: g.text.String(), Stop: stop(g.finish), ResponseID: g.id, Usage: usage(g.usage)}
	for i, call := range g.calls {
		r.ToolCalls = append(r.ToolCalls, toolCall(g.id, i, call))
	}
	return r
}
