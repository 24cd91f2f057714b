package google

import (
	"encoding/json"

	"google.golang.org/genai"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/llm"
)

// The conversation and the tools are written in types of our own: the SDK's pass
// through map[string]any, which turns a tool's 64-bit id into a float and
// another id.
type content struct {
	Role  string `json:"role"`
	Parts []part `json:"parts"`
}

type part struct {
	Text             *string         `json:"text,omitempty"`
	FunctionCall     *functionCall   `json:"functionCall,omitempty"`
	FunctionResponse *functionResult `json:"functionResponse,omitempty"`
	ThoughtSignature []byte          `json:"thoughtSignature,omitempty"`
}

type functionCall struct {
	ID   string          `json:"id,omitempty"`
	Name string          `json:"name"`
	Args json.RawMessage `json:"args"`
}

type functionResult struct {
	ID       string            `json:"id,omitempty"`
	Name     string            `json:"name"`
	Response map[string]string `json:"response"`
}

type tool struct {
	Declarations []declaration `json:"functionDeclarations"`
}

type declaration struct {
	Name        string         `json:"name"`
	Description string         `json:"description,omitempty"`
	Schema      map[string]any `json:"parametersJsonSchema"`
}

// placeholder stands where the SDK wants contents; config replaces it.
func placeholder() []*genai.Content { return genai.Text("-") }

// config translates a prompt that llm.Check passed. The SDK calls the hook on the
// finished body, just before it is written.
func config(p wflo.Prompt) (*genai.GenerateContentConfig, error) {
	declared, err := declarations(p.Tools)
	if err != nil {
		return nil, err
	}
	conversation := contents(p.Messages)
	out := &genai.GenerateContentConfig{
		MaxOutputTokens:       int32(p.MaxTokens),
		AutomaticContinuation: genai.Ptr(false),
		HTTPOptions: &genai.HTTPOptions{ExtrasRequestProvider: func(body map[string]any) map[string]any {
			body["contents"] = conversation
			if len(declared) > 0 {
				body["tools"] = []tool{{Declarations: declared}}
			}
			return body
		}},
	}
	if p.System != "" {
		out.SystemInstruction = &genai.Content{Parts: []*genai.Part{{Text: p.System}}}
	}
	if p.Temperature != nil {
		out.Temperature = genai.Ptr(float32(*p.Temperature))
	}
	return out, nil
}

func declarations(tools []wflo.Tool) ([]declaration, error) {
	var out []declaration
	for _, t := range tools {
		schema, err := llm.Schema(t)
		if err != nil {
			return nil, err
		}
		out = append(out, declaration{Name: t.Name, Description: t.Description, Schema: schema})
	}
	return out, nil
}

// contents translates the conversation. Everything between two answers goes into
// one turn: the API wants as many results in it as the answer had calls.
func contents(messages []wflo.Message) []content {
	names := make(map[string]string) // of the tools, by the id of the call
	var out []content
	for _, m := range messages {
		role := "user"
		if m.Role == wflo.RoleAssistant {
			role = "model"
		}
		parts := translate(m, names)
		if len(parts) == 0 {
			continue
		}
		if last := len(out) - 1; last >= 0 && out[last].Role == role {
			out[last].Parts = append(out[last].Parts, parts...)
			continue
		}
		out = append(out, content{Role: role, Parts: parts})
	}
	return out
}

func translate(m wflo.Message, names map[string]string) []part {
	if m.Role == wflo.RoleTool {
		return []part{{FunctionResponse: result(m, names)}}
	}
	var out []part
	if m.Text != "" || m.Role == wflo.RoleUser {
		out = append(out, part{Text: &m.Text})
	}
	for _, call := range m.ToolCalls {
		names[call.ID] = call.Name
		out = append(out, part{
			FunctionCall:     &functionCall{ID: vendorID(call.ID), Name: call.Name, Args: llm.Arguments(call.Arguments)},
			ThoughtSignature: llm.Open(name, call.Opaque),
		})
	}
	return out
}

// result answers a call by the tool's name, which the API goes by.
func result(m wflo.Message, names map[string]string) *functionResult {
	r := &functionResult{ID: vendorID(m.ToolCallID), Name: m.ToolName}
	if r.Name == "" {
		r.Name = names[m.ToolCallID]
	}
	key := "output"
	if m.ToolFailed {
		key = "error"
	}
	r.Response = map[string]string{key: m.Text}
	return r
}

// vendorID leaves out ids that the vendor did not give.
func vendorID(id string) string {
	if llm.Synthetic(id) {
		return ""
	}
	return id
}
