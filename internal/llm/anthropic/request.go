package anthropic

import (
	"encoding/json"

	sdk "github.com/anthropics/anthropic-sdk-go"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/llm"
)

// translate is for a prompt that llm.Check passed.
func translate(p wflo.Prompt) (sdk.MessageNewParams, error) {
	out := sdk.MessageNewParams{Model: p.Model, MaxTokens: p.MaxTokens, Messages: turns(p.Messages)}
	if p.System != "" {
		out.System = []sdk.TextBlockParam{{Text: p.System}}
	}
	if p.Temperature != nil {
		out.Temperature = sdk.Float(*p.Temperature)
	}
	for _, t := range p.Tools {
		schema, err := llm.Schema(t)
		if err != nil {
			return out, err
		}
		// The SDK writes the type itself, and the API takes no other.
		delete(schema, "type")
		offered := sdk.ToolParam{Name: t.Name, InputSchema: sdk.ToolInputSchemaParam{ExtraFields: schema}}
		if t.Description != "" {
			offered.Description = sdk.String(t.Description)
		}
		out.Tools = append(out.Tools, sdk.ToolUnionParam{OfTool: &offered})
	}
	return out, nil
}

// turns translates the conversation. Everything between two answers goes into
// one message: the API wants the results of all calls of one answer together.
func turns(messages []wflo.Message) []sdk.MessageParam {
	var out []sdk.MessageParam
	var pending []sdk.ContentBlockParamUnion
	flush := func() {
		if len(pending) > 0 {
			out = append(out, sdk.NewUserMessage(pending...))
			pending = nil
		}
	}
	for _, m := range messages {
		switch m.Role {
		case wflo.RoleTool:
			pending = append(pending, toolResult(m))
		case wflo.RoleAssistant:
			flush()
			if blocks := assistant(m); len(blocks) > 0 {
				out = append(out, sdk.NewAssistantMessage(blocks...))
			}
		default:
			pending = append(pending, sdk.NewTextBlock(m.Text))
		}
	}
	flush()
	return out
}

// toolResult leaves out empty content, because the API refuses empty text.
func toolResult(m wflo.Message) sdk.ContentBlockParamUnion {
	r := sdk.ToolResultBlockParam{ToolUseID: m.ToolCallID}
	if m.Text != "" {
		r.Content = []sdk.ToolResultBlockParamContentUnion{{OfText: &sdk.TextBlockParam{Text: m.Text}}}
	}
	if m.ToolFailed {
		r.IsError = sdk.Bool(true)
	}
	return sdk.ContentBlockParamUnion{OfToolResult: &r}
}

// assistant translates an answer: thoughts first, as the model had them.
func assistant(m wflo.Message) []sdk.ContentBlockParamUnion {
	var out []sdk.ContentBlockParamUnion
	for _, call := range m.ToolCalls {
		out = append(out, thoughts(call.Opaque)...)
	}
	if m.Text != "" {
		out = append(out, sdk.NewTextBlock(m.Text))
	}
	for _, call := range m.ToolCalls {
		out = append(out, sdk.NewToolUseBlock(call.ID, llm.Arguments(call.Arguments), call.Name))
	}
	return out
}

// thought is a thinking block as it is kept in wflo.ToolCall.Opaque: the API
// demands it back, unchanged, with the results of the tools it led to.
type thought struct {
	Text      string `json:"t,omitempty"`
	Signature string `json:"s,omitempty"`
	// Redacted replaces the others when the vendor hid the thought.
	Redacted string `json:"r,omitempty"`
}

func seal(kept []thought) string {
	if len(kept) == 0 {
		return ""
	}
	data, err := json.Marshal(kept)
	if err != nil {
		// Strings always marshal.
		panic(err)
	}
	return llm.Seal(name, data)
}

func thoughts(opaque string) []sdk.ContentBlockParamUnion {
	var kept []thought
	if json.Unmarshal(llm.Open(name, opaque), &kept) != nil {
		// Another vendor's state: this one never had these thoughts.
		return nil
	}
	var out []sdk.ContentBlockParamUnion
	for _, t := range kept {
		if t.Redacted != "" {
			out = append(out, sdk.NewRedactedThinkingBlock(t.Redacted))
		} else {
			out = append(out, sdk.NewThinkingBlock(t.Signature, t.Text))
		}
	}
	return out
}
