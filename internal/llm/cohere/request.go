package cohere

import (
	"encoding/json"

	sdk "github.com/cohere-ai/cohere-go/v2"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/llm"
)

// request is what the SDK's two request types have in common.
type request struct {
	model       string
	messages    sdk.ChatMessages
	tools       []*sdk.ToolV2
	maxTokens   *int
	temperature *float64
}

func (r request) whole() *sdk.V2ChatRequest {
	return &sdk.V2ChatRequest{Model: r.model, Messages: r.messages, Tools: r.tools, MaxTokens: r.maxTokens, Temperature: r.temperature}
}

func (r request) stream() *sdk.V2ChatStreamRequest {
	return &sdk.V2ChatStreamRequest{Model: r.model, Messages: r.messages, Tools: r.tools, MaxTokens: r.maxTokens, Temperature: r.temperature}
}

// translate is for a prompt that llm.Check passed.
func translate(p wflo.Prompt) (request, error) {
	limit := int(p.MaxTokens)
	r := request{model: p.Model, maxTokens: &limit, temperature: p.Temperature}
	if p.System != "" {
		content, err := union[sdk.SystemMessageV2Content](p.System)
		if err != nil {
			return r, err
		}
		r.messages = append(r.messages, &sdk.ChatMessageV2{Role: "system", System: &sdk.SystemMessageV2{Content: content}})
	}
	for _, m := range p.Messages {
		translated, err := message(m)
		if err != nil {
			return r, err
		}
		r.messages = append(r.messages, translated)
	}
	for _, t := range p.Tools {
		schema, err := llm.Schema(t)
		if err != nil {
			return r, err
		}
		f := &sdk.ToolV2Function{Name: t.Name, Parameters: schema}
		if t.Description != "" {
			f.Description = &t.Description
		}
		r.tools = append(r.tools, &sdk.ToolV2{Type: sdk.String("function"), Function: f})
	}
	return r, nil
}

func message(m wflo.Message) (*sdk.ChatMessageV2, error) {
	switch m.Role {
	case wflo.RoleTool:
		content, err := union[sdk.ToolMessageV2Content](llm.ToolText(m))
		return &sdk.ChatMessageV2{Role: "tool", Tool: &sdk.ToolMessageV2{ToolCallId: m.ToolCallID, Content: content}}, err
	case wflo.RoleAssistant:
		return assistant(m)
	}
	content, err := union[sdk.UserMessageV2Content](m.Text)
	return &sdk.ChatMessageV2{Role: "user", User: &sdk.UserMessageV2{Content: content}}, err
}

// assistant sends what the model said before its calls back as the plan that it
// was; see reply.
func assistant(m wflo.Message) (*sdk.ChatMessageV2, error) {
	a := &sdk.AssistantMessage{}
	for _, call := range m.ToolCalls {
		a.ToolCalls = append(a.ToolCalls, &sdk.ToolCallV2{
			Id: &call.ID, Type: sdk.String("function"),
			Function: &sdk.ToolCallV2Function{Name: &call.Name, Arguments: &call.Arguments},
		})
	}
	switch {
	case len(a.ToolCalls) > 0 && m.Text != "":
		a.ToolPlan = &m.Text
	case len(a.ToolCalls) == 0:
		content, err := union[sdk.AssistantMessageV2Content](m.Text)
		if err != nil {
			return nil, err
		}
		a.Content = content
	}
	return &sdk.ChatMessageV2{Role: "assistant", Assistant: a}, nil
}

// union makes one of the SDK's unions of text and list. It goes through JSON
// because only that way the SDK accepts an empty text.
func union[T any](s string) (*T, error) {
	quoted, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	var u T
	return &u, json.Unmarshal(quoted, &u)
}
