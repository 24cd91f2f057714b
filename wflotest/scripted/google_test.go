package scripted_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"testing"

	"google.golang.org/genai"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/wflotest/scripted"
)

type googleClient struct{ sdk *genai.Client }

func newGoogle(t *testing.T, l link) client {
	sdk, err := genai.NewClient(t.Context(), &genai.ClientConfig{
		APIKey: l.key, Backend: genai.BackendGeminiAPI, HTTPClient: l.http, HTTPOptions: genai.HTTPOptions{BaseURL: l.base},
	})
	if err != nil {
		t.Fatal(err)
	}
	return googleClient{sdk}
}

func (googleClient) provider() string { return scripted.Google }
func (googleClient) model() string    { return "gemini-3-flash" }

func (googleClient) status(err error) int {
	var e genai.APIError
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}

func (googleClient) params(q talk) ([]*genai.Content, *genai.GenerateContentConfig) {
	cfg := &genai.GenerateContentConfig{
		MaxOutputTokens: int32(q.maxTokens), ThinkingConfig: &genai.ThinkingConfig{IncludeThoughts: true},
	}
	if q.extra {
		cfg.HTTPOptions = &genai.HTTPOptions{ExtraBody: map[string]any{"surprise": true}}
	}
	if q.system != "" {
		cfg.SystemInstruction = genai.NewContentFromText(q.system, genai.RoleUser)
	}
	for _, tool := range q.tools {
		cfg.Tools = append(cfg.Tools, &genai.Tool{FunctionDeclarations: []*genai.FunctionDeclaration{{
			Name: tool.Name, Description: tool.Description, ParametersJsonSchema: tool.Parameters,
		}}})
	}
	var contents []*genai.Content
	for _, m := range q.messages {
		content := &genai.Content{Role: genai.RoleUser}
		switch m.Role {
		case wflo.RoleTool:
			key := "output"
			if m.ToolFailed {
				key = "error"
			}
			content.Parts = []*genai.Part{{FunctionResponse: &genai.FunctionResponse{
				ID: m.ToolCallID, Name: m.ToolName, Response: map[string]any{key: m.Text},
			}}}
		default:
			if m.Role == wflo.RoleAssistant {
				content.Role = genai.RoleModel
			}
			if m.Text != "" {
				content.Parts = append(content.Parts, &genai.Part{Text: m.Text})
			}
			for _, c := range m.ToolCalls {
				signature, err := base64.StdEncoding.DecodeString(c.Opaque)
				if err != nil {
					panic(err)
				}
				content.Parts = append(content.Parts, &genai.Part{
					FunctionCall:     &genai.FunctionCall{ID: c.ID, Name: c.Name, Args: schemaMap(json.RawMessage(c.Arguments))},
					ThoughtSignature: signature,
				})
			}
		}
		contents = append(contents, content)
	}
	return contents, cfg
}

func (c googleClient) ask(ctx context.Context, q talk, stream bool) (said, error) {
	contents, cfg := c.params(q)
	var got said
	if !stream {
		reply, err := c.sdk.Models.GenerateContent(ctx, q.model, contents, cfg)
		if err != nil {
			return said{}, err
		}
		got.addGoogle(reply)
		return got, nil
	}
	for reply, err := range c.sdk.Models.GenerateContentStream(ctx, q.model, contents, cfg) {
		if err != nil {
			return said{}, err
		}
		got.addGoogle(reply)
	}
	// The SDK reports neither a cut stream nor a missing end.
	if got.stop == "" {
		return said{}, errNoReply
	}
	return got, nil
}

func (s *said) addGoogle(reply *genai.GenerateContentResponse) {
	s.id = reply.ResponseID
	if u := reply.UsageMetadata; u != nil {
		s.usage = wflo.Usage{
			Input:     int64(u.PromptTokenCount - u.CachedContentTokenCount),
			CacheRead: int64(u.CachedContentTokenCount),
			Output:    int64(u.CandidatesTokenCount),
			Reasoning: int64(u.ThoughtsTokenCount),
		}
	}
	for _, candidate := range reply.Candidates {
		if candidate.FinishReason != "" {
			s.stop = stopOf(string(candidate.FinishReason))
		}
		for _, p := range candidate.Content.Parts {
			switch {
			case p.FunctionCall != nil:
				args, err := json.Marshal(p.FunctionCall.Args)
				if err != nil {
					panic(err)
				}
				s.calls = append(s.calls, wflo.ToolCall{
					ID: p.FunctionCall.ID, Name: p.FunctionCall.Name, Arguments: string(args),
					Opaque: base64.StdEncoding.EncodeToString(p.ThoughtSignature),
				})
			case p.Thought:
				s.reasoning += p.Text
			default:
				s.text += p.Text
			}
		}
	}
	// Gemini stops for tools with STOP.
	if len(s.calls) > 0 && s.stop == wflo.StopEnd {
		s.stop = wflo.StopTools
	}
}
