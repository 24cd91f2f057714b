package scripted_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/option"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/wflotest/scripted"
)

type anthropicClient struct{ sdk anthropic.Client }

func newAnthropic(_ *testing.T, l link) client {
	return anthropicClient{anthropic.NewClient(option.WithBaseURL(l.base), option.WithAPIKey(l.key), option.WithHTTPClient(l.http), option.WithMaxRetries(0))}
}

func (anthropicClient) provider() string { return scripted.Anthropic }
func (anthropicClient) model() string    { return "claude-haiku-4-5" }

func (anthropicClient) status(err error) int {
	var e *anthropic.Error
	if errors.As(err, &e) {
		return e.StatusCode
	}
	return 0
}

func (anthropicClient) params(q talk) anthropic.MessageNewParams {
	p := anthropic.MessageNewParams{Model: q.model, MaxTokens: 1000}
	if q.maxTokens > 0 {
		p.MaxTokens = q.maxTokens
	}
	if q.system != "" {
		p.System = []anthropic.TextBlockParam{{Text: q.system}}
	}
	for _, m := range q.messages {
		var blocks []anthropic.ContentBlockParamUnion
		if m.Role != wflo.RoleTool && m.Text != "" {
			blocks = append(blocks, anthropic.NewTextBlock(m.Text))
		}
		switch m.Role {
		case wflo.RoleUser:
			p.Messages = append(p.Messages, anthropic.NewUserMessage(blocks...))
		case wflo.RoleTool:
			result := anthropic.NewToolResultBlock(m.ToolCallID, m.Text, m.ToolFailed)
			p.Messages = append(p.Messages, anthropic.NewUserMessage(result))
		case wflo.RoleAssistant:
			for _, c := range m.ToolCalls {
				blocks = append(blocks, anthropic.NewToolUseBlock(c.ID, json.RawMessage(c.Arguments), c.Name))
			}
			p.Messages = append(p.Messages, anthropic.NewAssistantMessage(blocks...))
		}
	}
	for _, tool := range q.tools {
		schema := schemaMap(tool.Parameters)
		p.Tools = append(p.Tools, anthropic.ToolUnionParam{OfTool: &anthropic.ToolParam{
			Name: tool.Name, Description: anthropic.String(tool.Description),
			InputSchema: anthropic.ToolInputSchemaParam{Properties: schema["properties"]},
		}})
	}
	return p
}

func (c anthropicClient) ask(ctx context.Context, q talk, stream bool) (said, error) {
	p := c.params(q)
	var opts []option.RequestOption
	if q.extra {
		opts = append(opts, option.WithJSONSet("surprise", true))
	}
	if !stream {
		reply, err := c.sdk.Messages.New(ctx, p, opts...)
		if err != nil {
			return said{}, err
		}
		return anthropicSaid(*reply), nil
	}
	events := c.sdk.Messages.NewStreaming(ctx, p, opts...)
	defer events.Close()
	var all anthropic.Message
	for events.Next() {
		if err := all.Accumulate(events.Current()); err != nil {
			return said{}, err
		}
	}
	if err := events.Err(); err != nil {
		return said{}, err
	}
	return anthropicSaid(all), nil
}

func anthropicSaid(reply anthropic.Message) said {
	u := reply.Usage
	got := said{id: reply.ID, stop: stopOf(string(reply.StopReason)), usage: wflo.Usage{
		Input:     u.InputTokens,
		CacheRead: u.CacheReadInputTokens,
		Output:    u.OutputTokens - u.OutputTokensDetails.ThinkingTokens,
		Reasoning: u.OutputTokensDetails.ThinkingTokens,
	}}
	for _, b := range reply.Content {
		switch b.Type {
		case "text":
			got.text += b.Text
		case "thinking":
			got.reasoning += b.Thinking
		case "tool_use":
			got.calls = append(got.calls, wflo.ToolCall{ID: b.ID, Name: b.Name, Arguments: string(b.Input)})
		}
	}
	return got
}
