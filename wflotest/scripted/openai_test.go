package scripted_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/shared"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/wflotest/scripted"
)

type openAIClient struct{ sdk openai.Client }

func newOpenAI(_ *testing.T, l link) client {
	return openAIClient{openai.NewClient(option.WithBaseURL(l.base), option.WithAPIKey(l.key), option.WithHTTPClient(l.http), option.WithMaxRetries(0))}
}

func (openAIClient) provider() string { return scripted.OpenAI }
func (openAIClient) model() string    { return "gpt-5.4-mini" }

func (openAIClient) status(err error) int {
	var e *openai.Error
	if errors.As(err, &e) {
		return e.StatusCode
	}
	return 0
}

func (openAIClient) params(q talk) openai.ChatCompletionNewParams {
	p := openai.ChatCompletionNewParams{Model: q.model}
	if q.maxTokens > 0 {
		p.MaxCompletionTokens = openai.Int(q.maxTokens)
	}
	if q.system != "" {
		p.Messages = append(p.Messages, openai.SystemMessage(q.system))
	}
	for _, m := range q.messages {
		switch m.Role {
		case wflo.RoleUser:
			p.Messages = append(p.Messages, openai.UserMessage(m.Text))
		case wflo.RoleTool:
			p.Messages = append(p.Messages, openai.ToolMessage(m.Text, m.ToolCallID))
		case wflo.RoleAssistant:
			said := openai.AssistantMessage(m.Text)
			for _, c := range m.ToolCalls {
				said.OfAssistant.ToolCalls = append(said.OfAssistant.ToolCalls, openai.ChatCompletionMessageToolCallUnionParam{
					OfFunction: &openai.ChatCompletionMessageFunctionToolCallParam{
						ID:       c.ID,
						Function: openai.ChatCompletionMessageFunctionToolCallFunctionParam{Name: c.Name, Arguments: c.Arguments},
					},
				})
			}
			p.Messages = append(p.Messages, said)
		}
	}
	for _, tool := range q.tools {
		p.Tools = append(p.Tools, openai.ChatCompletionFunctionTool(shared.FunctionDefinitionParam{
			Name: tool.Name, Description: openai.String(tool.Description), Parameters: schemaMap(tool.Parameters),
		}))
	}
	return p
}

func schemaMap(raw json.RawMessage) map[string]any {
	var m map[string]any
	if err := json.Unmarshal(raw, &m); err != nil {
		panic(err)
	}
	return m
}

func (c openAIClient) ask(ctx context.Context, q talk, stream bool) (said, error) {
	p := c.params(q)
	var opts []option.RequestOption
	if q.extra {
		opts = append(opts, option.WithJSONSet("surprise", true))
	}
	if !stream {
		reply, err := c.sdk.Chat.Completions.New(ctx, p, opts...)
		if err != nil {
			return said{}, err
		}
		return openAISaid(*reply)
	}
	if !q.noUsage {
		p.StreamOptions.IncludeUsage = openai.Bool(true)
	}
	events := c.sdk.Chat.Completions.NewStreaming(ctx, p, opts...)
	defer events.Close()
	var all openai.ChatCompletionAccumulator
	for events.Next() {
		if !all.AddChunk(events.Current()) {
			return said{}, errors.New("chunk does not fit")
		}
	}
	if err := events.Err(); err != nil {
		return said{}, err
	}
	return openAISaid(all.ChatCompletion)
}

func openAISaid(reply openai.ChatCompletion) (said, error) {
	if len(reply.Choices) != 1 {
		return said{}, errNoReply
	}
	choice := reply.Choices[0]
	u := reply.Usage
	got := said{id: reply.ID, text: choice.Message.Content, stop: stopOf(choice.FinishReason), usage: wflo.Usage{
		Input:     u.PromptTokens - u.PromptTokensDetails.CachedTokens,
		CacheRead: u.PromptTokensDetails.CachedTokens,
		Output:    u.CompletionTokens - u.CompletionTokensDetails.ReasoningTokens,
		Reasoning: u.CompletionTokensDetails.ReasoningTokens,
	}}
	for _, tc := range choice.Message.ToolCalls {
		got.calls = append(got.calls, wflo.ToolCall{ID: tc.ID, Name: tc.Function.Name, Arguments: tc.Function.Arguments})
	}
	return got, nil
}
