package scripted_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/wflotest/scripted"
)

// post sends a body as it is, for what no official client would send.
func post(t *testing.T, srv *scripted.Server, path, body string, header map[string]string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(within(t), http.MethodPost, srv.URL()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for k, v := range header {
		req.Header.Set(k, v)
	}
	resp, err := linkTo(t, srv, "", "").http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

var version = map[string]string{"anthropic-version": "2023-06-01"}

const (
	geminiPath = "/v1beta/models/gemini-3-flash:generateContent"
	hello      = `"messages":[{"role":"user","content":"hi"}]`
)

func TestRefusalsInTheVendorsWords(t *testing.T) {
	tests := []struct {
		name, path, body string
		header           map[string]string
		status           int
		want             string // in the body
	}{
		{"openai no key", "/v1/chat/completions", `{"model":"m",` + hello + `}`, map[string]string{"Authorization": ""}, 401, `{"error":{"code":null,"message":"You didn't provide an API key.","param":null,"type":"invalid_request_error"}}`},
		{"openai not JSON", "/v1/chat/completions", `{`, nil, 400, "could not be parsed as JSON"},
		{"openai not an object", "/v1/chat/completions", `[]`, nil, 400, "request body: expected a JSON object"},
		{"openai content type", "/v1/chat/completions", `{}`, map[string]string{"Content-Type": "text/plain"}, 400, "Content-Type"},
		{"openai no model", "/v1/chat/completions", `{` + hello + `}`, nil, 400, `"param":"model"`},
		{"openai no messages", "/v1/chat/completions", `{"model":"m"}`, nil, 400, "messages: field required"},
		{"openai unknown field", "/chat/completions", `{"model":"m","maxtokens":1,` + hello + `}`, nil, 400, "Unrecognized request argument supplied: maxtokens"},
		{"openai field in capitals", "/chat/completions", `{"MODEL":"m",` + hello + `}`, nil, 400, "Unrecognized request argument supplied: MODEL"},
		{"openai both limits", "/v1/chat/completions", `{"model":"gpt-4o","max_tokens":1,"max_completion_tokens":1,` + hello + `}`, nil, 400, "at the same time"},
		{"openai zero limit", "/v1/chat/completions", `{"model":"m","max_completion_tokens":0,` + hello + `}`, nil, 400, "must be at least 1"},
		{"openai text limit", "/v1/chat/completions", `{"model":"m","max_completion_tokens":"9",` + hello + `}`, nil, 400, "expected an integer"},
		{"openai stream options", "/v1/chat/completions", `{"model":"m","stream_options":{"include_usage":true},` + hello + `}`, nil, 400, "only allowed when 'stream' is enabled"},
		{"openai two choices", "/v1/chat/completions", `{"model":"m","n":2,` + hello + `}`, nil, 400, "one choice"},
		{"openai role", "/v1/chat/completions", `{"model":"m","messages":[{"role":"robot","content":"x"}]}`, nil, 400, `"param":"messages[0].role"`},
		{"openai image", "/v1/chat/completions", `{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","text":""}]}]}`, nil, 400, "only text is"},
		{"openai schema", "/v1/chat/completions", `{"model":"m","tools":[{"type":"function","function":{"name":"f","parameters":{"type":"string"}}}],` + hello + `}`, nil, 400, `JSON Schema of type`},
		{"openai same id twice", "/v1/chat/completions", `{"model":"m","messages":[{"role":"assistant","tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":""}},{"id":"a","type":"function","function":{"name":"f","arguments":""}}]}]}`, nil, 400, "used twice"},
		{"openai call without result", "/v1/chat/completions", `{"model":"m","messages":[{"role":"assistant","tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":""}}]}]}`, nil, 400, "these have none: a"},
		{"no such endpoint", "/v1/embeddings", `{}`, nil, 404, "no such endpoint: POST /v1/embeddings"},
		{"anthropic no key", "/v1/messages", `{}`, map[string]string{"Authorization": ""}, 401, `{"error":{"message":"x-api-key header is required","type":"authentication_error"},"request_id":"req_refused","type":"error"}`},
		{"anthropic no version", "/v1/messages", `{}`, nil, 400, "anthropic-version: header is required"},
		{"anthropic no limit", "/v1/messages", `{"model":"m",` + hello + `}`, version, 400, "max_tokens: field required"},
		{"anthropic unknown field", "/v1/messages", `{"model":"m","max_tokens":9,"n":1,` + hello + `}`, version, 400, "n: Extra inputs are not permitted"},
		{"anthropic temperature", "/v1/messages", `{"model":"m","max_tokens":9,"temperature":1.5,` + hello + `}`, version, 400, "between 0 and 1"},
		{"anthropic assistant first", "/v1/messages", `{"model":"m","max_tokens":9,"messages":[{"role":"assistant","content":"x"}]}`, version, 400, "first message"},
		{"anthropic empty text", "/v1/messages", `{"model":"m","max_tokens":9,"messages":[{"role":"user","content":""}]}`, version, 400, "non-empty"},
		{"anthropic result after text", "/v1/messages", `{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"x"},{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":{}}]},{"role":"user","content":[{"type":"text","text":"x"},{"type":"tool_result","tool_use_id":"a"}]}]}`, version, 400, "tool_result blocks must come first"},
		{"anthropic input", "/v1/messages", `{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"x"},{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":"text"}]}]}`, version, 400, "messages.1.content.0.input: expected a JSON object"},
		{"gemini no key", geminiPath, `{}`, map[string]string{"Authorization": ""}, 403, `"status":"PERMISSION_DENIED"`},
		{"gemini wrong key", geminiPath, `{}`, map[string]string{"X-Goog-Api-Key": "wrong"}, 400, `"reason":"API_KEY_INVALID"`},
		{"gemini no contents", geminiPath + "?key=key", `{}`, nil, 400, "contents: field required"},
		{"gemini unknown field", geminiPath + "?key=key", `{"contents":[],"messages":[]}`, nil, 400, `Unknown name \"messages\": Cannot find field.`},
		{"gemini unsigned call", geminiPath + "?key=key", `{"contents":[{"parts":[{"text":"x"}]},{"role":"model","parts":[{"functionCall":{"name":"f"}}]}]}`, nil, 400, "missing a thought_signature"},
		{"gemini bad signature", geminiPath + "?key=key", `{"contents":[{"role":"model","parts":[{"thoughtSignature":"%","text":"x","functionCall":{"name":"f"}}]}]}`, nil, 400, "Base64 decoding failed"},
		{"gemini stream as array", "/v1beta/models/m:streamGenerateContent?key=key", `{}`, nil, 400, "alt=sse"},
		{"gemini method", "/v1beta/models/m:embedContent?key=key", `{}`, nil, 404, "no such method"},
		{"gemini role", geminiPath + "?key=key", `{"contents":[{"role":"assistant","parts":[{"text":"x"}]}]}`, nil, 400, "valid role"},
		{"cohere no key", "/v2/chat", `{}`, map[string]string{"Authorization": ""}, 401, `{"id":"refused","message":"no api key supplied"}`},
		{"cohere unknown field", "/v2/chat", `{"model":"m","message":"x",` + hello + `}`, nil, 400, "unknown field message"},
		{"cohere tool without schema", "/v2/chat", `{"model":"m","tools":[{"type":"function","function":{"name":"f"}}],` + hello + `}`, nil, 400, "parameters: field required"},
	}
	srv := start(t, scripted.Config{Script: scripted.Echo, APIKey: "key"})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			header := map[string]string{"Authorization": "Bearer key"}
			for k, v := range tt.header {
				header[k] = v
			}
			status, body := post(t, srv, tt.path, tt.body, header)
			if status != tt.status || !strings.Contains(body, tt.want) || !json.Valid([]byte(body)) {
				t.Errorf("got %d %s\nwant %d with %s", status, body, tt.status, tt.want)
			}
		})
	}
	if n := len(srv.Calls()); n != 0 {
		t.Errorf("%d refused requests were logged as calls", n)
	}
}

// What the official clients do not send, but vendors take.
func TestOtherSpellings(t *testing.T) {
	tool := func(id, name, text string, failed bool) wflo.Message {
		return wflo.Message{Role: wflo.RoleTool, ToolCallID: id, ToolName: name, Text: text, ToolFailed: failed}
	}
	asked := wflo.Message{Role: wflo.RoleUser, Text: "go on"}
	calls := func(calls ...wflo.ToolCall) wflo.Message {
		return wflo.Message{Role: wflo.RoleAssistant, ToolCalls: calls}
	}
	tests := []struct {
		name, path, body string
		want             []wflo.Message
	}{
		{"openai parts and developer", "/chat/completions",
			`{"model":"m","messages":[{"role":"developer","content":"s"},{"role":"user","content":[{"type":"text","text":"go "},{"type":"text","text":"on"}]}]}`,
			[]wflo.Message{asked}},
		{"openai error object", "/chat/completions",
			`{"model":"m","messages":[{"role":"system","content":"s"},{"role":"assistant","content":null,"tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"a","content":"{\"error\":\"x\"}"}]}`,
			[]wflo.Message{calls(wflo.ToolCall{ID: "a", Name: "f", Arguments: "{}"}), tool("a", "f", `{"error":"x"}`, true)}},
		{"anthropic results and text in one message", "/v1/messages",
			`{"model":"m","max_tokens":9,"system":"s","messages":[{"role":"user","content":"go on"},{"role":"assistant","content":[{"type":"thinking","thinking":"t","signature":"s"},{"type":"tool_use","id":"a","name":"f","input":{ "x": 1 }}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"a","is_error":true,"content":[{"type":"text","text":"x"}]},{"type":"text","text":"go on"}]}]}`,
			[]wflo.Message{asked, calls(wflo.ToolCall{ID: "a", Name: "f", Arguments: `{"x":1}`}), tool("a", "f", "x", true), asked}},
		{"gemini snake case without ids", "/v1beta/models/gemini-2.5-flash:generateContent",
			`{"system_instruction":{"parts":[{"text":"s"}]},"contents":[{"parts":[{"text":"go on"}]},{"role":"model","parts":[{"function_call":{"name":"f","args":{"my_arg":1}}},{"function_call":{"name":"f"}}]},{"role":"function","parts":[{"function_response":{"name":"f","response":{"result":"one"}}},{"function_response":{"name":"f","response":{"a":1,"b":2}}}]}]}`,
			[]wflo.Message{asked, calls(wflo.ToolCall{ID: "position_1", Name: "f", Arguments: `{"my_arg":1}`}, wflo.ToolCall{ID: "position_2", Name: "f", Arguments: "{}"}),
				tool("position_1", "f", "one", false), tool("position_2", "f", `{"a":1,"b":2}`, false)}},
		{"cohere documents and plan", "/v2/chat",
			`{"model":"m","messages":[{"role":"system","content":"s"},{"role":"user","content":"go on"},{"role":"assistant","tool_plan":"p","tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"a","content":[{"type":"document","document":{"data":{"x":1}}},{"type":"text","text":"y"}]}]}`,
			[]wflo.Message{asked, {Role: wflo.RoleAssistant, Text: "p", ToolCalls: []wflo.ToolCall{{ID: "a", Name: "f", Arguments: "{}"}}}, tool("a", "f", `{"x":1}y`, false)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			srv := start(t, scripted.Config{Script: scripted.Echo})
			if status, body := post(t, srv, tt.path, tt.body, version); status != http.StatusOK {
				t.Fatalf("got %d %s", status, body)
			}
			turn := lastCall(t, srv).Turn
			if diff := cmp.Diff(tt.want, turn.Messages); diff != "" || turn.System != "s" {
				t.Errorf("system %q, messages (-want +got):\n%s", turn.System, diff)
			}
		})
	}
}

func TestAnthropicToolsAreKept(t *testing.T) {
	srv := start(t, scripted.Config{Script: scripted.Echo})
	status, body := post(t, srv, "/v1/messages",
		`{"model":"m","max_tokens":9,"tools":[{"name":"lookup","description":"Finds an order.","input_schema":`+string(lookup.Parameters)+`}],`+hello+`}`, version)
	if status != http.StatusOK {
		t.Fatalf("got %d %s", status, body)
	}
	if diff := cmp.Diff([]wflo.Tool{lookup}, lastCall(t, srv).Turn.Tools); diff != "" {
		t.Errorf("tools (-want +got):\n%s", diff)
	}
}

// Equal calls give equal bytes: the demo and recorded tests depend on it.
func TestRepliesAreDeterministic(t *testing.T) {
	var first string
	for i := range 3 {
		srv := start(t, scripted.Config{Script: toolAgent})
		_, body := post(t, srv, "/v1/chat/completions", `{"model":"m","stream":true,"stream_options":{"include_usage":true},`+hello+`}`, nil)
		if i == 0 {
			first = body
		}
		if body != first {
			t.Errorf("run %d differs:\n%s\n%s", i, first, body)
		}
	}
	if !strings.HasSuffix(first, "data: [DONE]\n\n") {
		t.Errorf("the stream does not end with [DONE]:\n%s", first)
	}
}
