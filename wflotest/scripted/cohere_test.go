package scripted_test

import (
	"context"
	"errors"
	"io"
	"testing"

	cohere "github.com/cohere-ai/cohere-go/v2"
	cohereclient "github.com/cohere-ai/cohere-go/v2/client"
	"github.com/cohere-ai/cohere-go/v2/core"
	"github.com/cohere-ai/cohere-go/v2/option"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/wflotest/scripted"
)

type cohereClient struct{ sdk *cohereclient.Client }

func newCohere(_ *testing.T, l link) client {
	return cohereClient{cohereclient.NewClient(option.WithBaseURL(l.base), option.WithToken(l.key), option.WithHTTPClient(l.http), option.WithMaxAttempts(1))}
}

func (cohereClient) provider() string { return scripted.Cohere }
func (cohereClient) model() string    { return "command-a-03-2025" }

func (cohereClient) status(err error) int {
	var e *core.APIError
	if errors.As(err, &e) {
		return e.StatusCode
	}
	return 0
}

func (cohereClient) messages(q talk) cohere.ChatMessages {
	var all cohere.ChatMessages
	if q.system != "" {
		all = append(all, &cohere.ChatMessageV2{Role: "system", System: &cohere.SystemMessageV2{Content: &cohere.SystemMessageV2Content{String: q.system}}})
	}
	for _, m := range q.messages {
		switch m.Role {
		case wflo.RoleUser:
			all = append(all, &cohere.ChatMessageV2{Role: "user", User: &cohere.UserMessageV2{Content: &cohere.UserMessageV2Content{String: m.Text}}})
		case wflo.RoleTool:
			all = append(all, &cohere.ChatMessageV2{Role: "tool", Tool: &cohere.ToolMessageV2{
				ToolCallId: m.ToolCallID, Content: &cohere.ToolMessageV2Content{String: m.Text},
			}})
		case wflo.RoleAssistant:
			said := &cohere.AssistantMessage{}
			if m.Text != "" {
				said.Content = &cohere.AssistantMessageV2Content{String: m.Text}
			}
			for _, c := range m.ToolCalls {
				said.ToolCalls = append(said.ToolCalls, &cohere.ToolCallV2{
					Id: &c.ID, Type: cohere.String("function"), Function: &cohere.ToolCallV2Function{Name: &c.Name, Arguments: &c.Arguments},
				})
			}
			all = append(all, &cohere.ChatMessageV2{Role: "assistant", Assistant: said})
		}
	}
	return all
}

func (cohereClient) tools(q talk) []*cohere.ToolV2 {
	var all []*cohere.ToolV2
	for _, tool := range q.tools {
		all = append(all, &cohere.ToolV2{Type: cohere.String("function"), Function: &cohere.ToolV2Function{
			Name: tool.Name, Description: &tool.Description, Parameters: schemaMap(tool.Parameters),
		}})
	}
	return all
}

func (c cohereClient) ask(ctx context.Context, q talk, stream bool) (said, error) {
	var limit *int
	if q.maxTokens > 0 {
		limit = cohere.Int(int(q.maxTokens))
	}
	var opts []option.RequestOption
	if q.extra {
		opts = append(opts, option.WithBodyProperties(map[string]any{"surprise": true}))
	}
	if stream {
		return c.stream(ctx, &cohere.V2ChatStreamRequest{Model: q.model, Messages: c.messages(q), Tools: c.tools(q), MaxTokens: limit}, opts)
	}
	reply, err := c.sdk.V2.Chat(ctx, &cohere.V2ChatRequest{Model: q.model, Messages: c.messages(q), Tools: c.tools(q), MaxTokens: limit}, opts...)
	if err != nil {
		return said{}, err
	}
	got := said{id: reply.Id, stop: stopOf(string(reply.FinishReason)), usage: cohereUsage(reply.Usage), text: deref(reply.Message.ToolPlan)}
	for _, item := range reply.Message.Content {
		if item.Text != nil {
			got.text += item.Text.Text
		}
		if item.Thinking != nil {
			got.reasoning += item.Thinking.Thinking
		}
	}
	for _, tc := range reply.Message.ToolCalls {
		got.calls = append(got.calls, wflo.ToolCall{ID: *tc.Id, Name: *tc.Function.Name, Arguments: *tc.Function.Arguments})
	}
	return got, nil
}

func (c cohereClient) stream(ctx context.Context, q *cohere.V2ChatStreamRequest, opts []option.RequestOption) (said, error) {
	events, err := c.sdk.V2.ChatStream(ctx, q, opts...)
	if err != nil {
		return said{}, err
	}
	defer events.Close()
	var got said
	for {
		e, err := events.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return said{}, err
		}
		got.addCohere(e)
	}
	if got.stop == "" {
		return said{}, errNoReply
	}
	return got, nil
}

func (s *said) addCohere(e cohere.V2ChatStreamResponse) {
	switch {
	case e.MessageStart != nil:
		s.id = *e.MessageStart.Id
	case e.ContentDelta != nil:
		content := e.ContentDelta.Delta.Message.Content
		s.text += deref(content.Text)
		s.reasoning += deref(content.Thinking)
	case e.ToolPlanDelta != nil:
		s.text += deref(e.ToolPlanDelta.Delta.Message.ToolPlan)
	case e.ToolCallStart != nil:
		tc := e.ToolCallStart.Delta.Message.ToolCalls
		s.calls = append(s.calls, wflo.ToolCall{ID: *tc.Id, Name: *tc.Function.Name})
	case e.ToolCallDelta != nil:
		s.calls[*e.ToolCallDelta.Index].Arguments += *e.ToolCallDelta.Delta.Message.ToolCalls.Function.Arguments
	case e.MessageEnd != nil:
		s.stop = stopOf(string(*e.MessageEnd.Delta.FinishReason))
		s.usage = cohereUsage(e.MessageEnd.Delta.Usage)
	}
}

func cohereUsage(u *cohere.Usage) wflo.Usage {
	if u == nil {
		return wflo.Usage{}
	}
	return wflo.Usage{Input: int64(*u.BilledUnits.InputTokens), Output: int64(*u.BilledUnits.OutputTokens)}
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
