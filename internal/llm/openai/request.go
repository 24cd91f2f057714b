package openai

import (
	sdk "github.com/openai/openai-go/v3"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/llm"
)

// params translates a prompt that llm.Check passed.
func (c *Client) params(p wflo.Prompt) (sdk.ChatCompletionNewParams, error) {
	out := sdk.ChatCompletionNewParams{Model: p.Model, ServiceTier: sdk.ChatCompletionNewParamsServiceTier(c.serviceTier)}
	if c.tokenField == FieldMaxTokens {
		out.MaxTokens = sdk.Int(p.MaxTokens)
	} else {
		out.MaxCompletionTokens = sdk.Int(p.MaxTokens)
	}
	if p.Temperature != nil {
		out.Temperature = sdk.Float(*p.Temperature)
	}
	if p.System != "" {
		// "system" and not "developer": compatible servers know only the former,
		// and OpenAI reads it as the latter where that matters.
		out.Messages = append(out.Messages, sdk.SystemMessage(p.System))
	}
	for _, m := range p.Messages {
		out.Messages = append(out.Messages, message(m))
	}
	for _, t := range p.Tools {
		schema, err := llm.Schema(t)
		if err != nil {
			return out, err
		}
		f := sdk.FunctionDefinitionParam{Name: t.Name, Parameters: schema}
		if t.Description != "" {
			f.Description = sdk.String(t.Description)
		}
		out.Tools = append(out.Tools, sdk.ChatCompletionFunctionTool(f))
	}
	return out, nil
}

func message(m wflo.Message) sdk.ChatCompletionMessageParamUnion {
	switch m.Role {
	case wflo.RoleTool:
		return sdk.ToolMessage(llm.ToolText(m), m.ToolCallID)
	case wflo.RoleAssistant:
		var a sdk.ChatCompletionAssistantMessageParam
		// The API wants content unless there are calls.
		if m.Text != "" || len(m.ToolCalls) == 0 {
			a.Content.OfString = sdk.String(m.Text)
		}
		for _, call := range m.ToolCalls {
			a.ToolCalls = append(a.ToolCalls, sdk.ChatCompletionMessageToolCallUnionParam{
				OfFunction: &sdk.ChatCompletionMessageFunctionToolCallParam{
					ID: call.ID,
					Function: sdk.ChatCompletionMessageFunctionToolCallFunctionParam{
						Name: call.Name, Arguments: call.Arguments,
					},
				},
			})
		}
		return sdk.ChatCompletionMessageParamUnion{OfAssistant: &a}
	}
	return sdk.UserMessage(m.Text)
}
