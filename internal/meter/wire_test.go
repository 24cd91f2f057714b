package meter_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/meter"
)

// TestWires sends requests of formats that no SDK here speaks, to servers that
// answer as their vendors document it.
func TestWires(t *testing.T) {
	tests := []struct {
		name, path, request string
		media, response     string
		sent                map[string]any // what must stand in the request
		provider, model     string
		usage               wflo.Usage
	}{
		{
			"responses", "/v1/responses", `{"model":"gpt-5.4","input":"hi"}`,
			"application/json", `{"id":"resp_1","object":"response","status":"completed","model":"gpt-5.4-2026-03-05","output":[],
			 "usage":{"input_tokens":100,"input_tokens_details":{"cached_tokens":40},"output_tokens":50,"output_tokens_details":{"reasoning_tokens":20},"total_tokens":150}}`,
			map[string]any{"max_output_tokens": 4096.0}, "openai", "gpt-5.4-2026-03-05",
			wflo.Usage{Input: 60, CacheRead: 40, Output: 30, Reasoning: 20},
		},
		{
			"responses stream", "/v1/responses", `{"model":"gpt-5.4","input":[{"role":"user","content":[{"type":"input_text","text":"hi"}]}],"stream":true,"max_output_tokens":99}`,
			"text/event-stream", "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"id\":\"resp_1\",\"model\":\"gpt-5.4\",\"status\":\"in_progress\",\"usage\":null}}\n\n" +
				"event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"hi\"}\n\n" +
				"event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"id\":\"resp_1\",\"model\":\"gpt-5.4\",\"status\":\"completed\",\"usage\":{\"input_tokens\":10,\"output_tokens\":5,\"total_tokens\":15}}}\n\n",
			map[string]any{"max_output_tokens": 99.0}, "openai", "gpt-5.4", wflo.Usage{Input: 10, Output: 5},
		},
		{
			"embeddings", "/v1/embeddings", `{"model":"text-embedding-3-small","input":["a",[1,2,3]]}`,
			"application/json", `{"object":"list","data":[{"embedding":[0.1]}],"model":"text-embedding-3-small","usage":{"prompt_tokens":8,"total_tokens":8}}`,
			nil, "openai", "text-embedding-3-small", wflo.Usage{Input: 8},
		},
		{
			"azure deployment", "/openai/deployments/our-mini/chat/completions", `{"messages":[{"role":"user","content":"hi"}],"model":"gpt-5.4-nano"}`,
			"application/json", `{"id":"1","object":"chat.completion","model":"gpt-5.4-mini-2026-03-17","choices":[{"message":{"content":"x"},"finish_reason":"stop"}],"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}}`,
			map[string]any{"max_tokens": 4096.0}, "openai", "gpt-5.4-mini-2026-03-17", wflo.Usage{Input: 10, Output: 5},
		},
		{
			"anthropic with caches", "/v1/messages", `{"model":"claude-haiku-4-5","max_tokens":100,"messages":[{"role":"user","content":"hi"}]}`,
			"application/json", `{"id":"msg_1","type":"message","model":"claude-haiku-4-5-20251001","content":[],"stop_reason":"end_turn","usage":{"input_tokens":10,"cache_read_input_tokens":300,
			 "cache_creation_input_tokens":50,"cache_creation":{"ephemeral_5m_input_tokens":20,"ephemeral_1h_input_tokens":30},"output_tokens":7}}`,
			map[string]any{"max_tokens": 100.0}, "anthropic", "claude-haiku-4-5-20251001",
			wflo.Usage{Input: 10, CacheRead: 300, CacheWrite5m: 20, CacheWrite1h: 30, Output: 7},
		},
		{
			"gemini in an array", "/v1beta/models/gemini-2.5-flash:streamGenerateContent", `{"contents":[{"parts":[{"text":"hi"}]}],"generation_config":{"max_output_tokens":77}}`,
			"application/json", `[{"candidates":[{"content":{"parts":[{"text":"a"}]}}],"usageMetadata":{"promptTokenCount":9,"candidatesTokenCount":1,"totalTokenCount":10},"modelVersion":"gemini-2.5-flash"},
			 {"candidates":[{"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":9,"candidatesTokenCount":4,"thoughtsTokenCount":6,"totalTokenCount":19},"modelVersion":"gemini-2.5-flash"}]`,
			map[string]any{"generation_config": map[string]any{"max_output_tokens": 77.0}}, "google", "gemini-2.5-flash", wflo.Usage{Input: 9, Output: 4, Reasoning: 6},
		},
		{
			"cohere embed", "/v2/embed", `{"model":"embed-v4.0","texts":["a"],"input_type":"search_query"}`,
			"application/json", `{"id":"e1","embeddings":{"float":[[0.1]]},"meta":{"billed_units":{"input_tokens":3}}}`,
			nil, "cohere", "embed-v4.0", wflo.Usage{Input: 3},
		},
		{
			"compatible server that counts along", "/v1/chat/completions", `{"model":"gpt-5.4-mini","stream":true,"messages":[{"role":"user","content":"hi"}],"stream_options":{"x":1}}`,
			"text/event-stream", `data: {"id":"1","model":"gpt-5.4-mini","choices":[{"delta":{"content":"a"}}],"usage":{"prompt_tokens":5,"completion_tokens":1,"total_tokens":6}}` + "\r\n\r\n" +
				`data: {"id":"1","model":"gpt-5.4-mini","choices":[{"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}}` + "\r\n\r\ndata: [DONE]\r\n\r\n",
			map[string]any{"stream_options": map[string]any{"x": 1.0, "include_usage": true}}, "openai", "gpt-5.4-mini", wflo.Usage{Input: 5, Output: 2},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var sent map[string]any
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if err := json.NewDecoder(r.Body).Decode(&sent); err != nil {
					t.Error(err)
				}
				w.Header().Set("Content-Type", tt.media)
				_, _ = io.WriteString(w, tt.response)
			}))
			defer srv.Close()
			d := newDesk(t, wflo.USD, func(c *meter.Config) { c.Models = map[string]string{"our-mini": "gpt-5.4-mini"} })
			body, err := d.post(t, srv.URL+tt.path, tt.request)
			if err != nil || body != tt.response {
				t.Fatalf("%v, body %q", err, body)
			}
			for key, want := range tt.sent {
				if diff := cmp.Diff(want, sent[key]); diff != "" {
					t.Errorf("%s (-want +sent):\n%s", key, diff)
				}
			}
			entries := d.books.Entries()
			if len(entries) != 1 {
				t.Fatalf("entries %+v", entries)
			}
			e := entries[0]
			if diff := cmp.Diff(tt.usage, e.Usage); diff != "" || e.State != wflo.HoldSettled {
				t.Errorf("%s, usage (-want +got):\n%s", e.State, diff)
			}
			if e.Provider != tt.provider || e.Model != tt.model {
				t.Errorf("billed by %s/%s", e.Provider, e.Model)
			}
			d.check(t)
		})
	}
}

// post sends a JSON body and reads the answer to its end.
func (d *desk) post(t *testing.T, url, body string) (string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(d.ctx(t), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := d.http.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	return string(got), err
}

// TestWhatCannotBeMeteredIsRefused, before anything is sent.
func TestWhatCannotBeMeteredIsRefused(t *testing.T) {
	const user = `"messages":[{"role":"user","content":"hi"}]`
	tests := []struct{ name, path, body string }{
		{"no JSON", "/v1/chat/completions", `hello`},
		{"two values", "/v1/chat/completions", `{"model":"gpt-5.4-mini"} {"model":"gpt-5.4"}`},
		{"list", "/v1/chat/completions", `[]`},
		{"null", "/v1/chat/completions", `null`},
		{"no model", "/v1/chat/completions", `{` + user + `}`},
		{"model twice", "/v1/chat/completions", `{"model":"gpt-5.4-mini","model":"gpt-5.4-pro",` + user + `}`},
		{"model in two spellings", "/v1/chat/completions", `{"model":"gpt-5.4-mini","Model":"gpt-5.4-pro",` + user + `}`},
		{"key twice within", "/v1/chat/completions", `{"model":"gpt-5.4-mini","messages":[{"role":"user","content":"a","content":[{"type":"image_url"}]}]}`},
		{"negative limit", "/v1/chat/completions", `{"model":"gpt-5.4-mini","max_tokens":-1,` + user + `}`},
		{"limit as text", "/v1/chat/completions", `{"model":"gpt-5.4-mini","max_tokens":"5",` + user + `}`},
		{"limit with exponent", "/v1/chat/completions", `{"model":"gpt-5.4-mini","max_tokens":1e9,` + user + `}`},
		{"search", "/v1/chat/completions", `{"model":"gpt-5.4-mini","web_search_options":{},` + user + `}`},
		{"audio", "/v1/chat/completions", `{"model":"gpt-5.4-mini","modalities":["text","audio"],` + user + `}`},
		{"image", "/v1/chat/completions", `{"model":"gpt-5.4-mini","messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"image_url","image_url":{}}]}]}`},
		{"earlier response", "/v1/responses", `{"model":"gpt-5.4","input":"hi","previous_response_id":"r"}`},
		{"in the background", "/v1/responses", `{"model":"gpt-5.4","input":"hi","background":true}`},
		{"code interpreter", "/v1/responses", `{"model":"gpt-5.4","input":"hi","tools":[{"type":"code_interpreter"}]}`},
		{"file in a tool's result", "/v1/responses", `{"model":"gpt-5.4","input":[{"type":"function_call_output","output":[{"type":"input_file","file_id":"f"}]}]}`},
		{"item elsewhere", "/v1/responses", `{"model":"gpt-5.4","input":[{"type":"item_reference","id":"x"}]}`},
		{"anthropic search", "/v1/messages", `{"model":"claude-haiku-4-5","max_tokens":9,"tools":[{"type":"web_search_20250305","name":"s"}],` + user + `}`},
		{"anthropic MCP", "/v1/messages", `{"model":"claude-haiku-4-5","max_tokens":9,"mcp_servers":[{"url":"x"}],` + user + `}`},
		{"anthropic document in a tool's result", "/v1/messages", `{"model":"claude-haiku-4-5","max_tokens":9,"messages":[{"role":"user","content":[{"type":"tool_result","content":[{"type":"document"}]}]}]}`},
		{"gemini search", "/v1beta/models/gemini-2.5-flash:generateContent", `{"contents":[],"tools":[{"googleSearch":{}}]}`},
		{"gemini file", "/v1beta/models/gemini-2.5-flash:generateContent", `{"contents":[{"parts":[{"file_data":{"file_uri":"x"}}]}]}`},
		{"gemini cache", "/v1beta/models/gemini-2.5-flash:generateContent", `{"contents":[],"cachedContent":"c"}`},
		{"gemini limit in both spellings", "/v1beta/models/gemini-2.5-flash:generateContent", `{"contents":[],"generationConfig":{"maxOutputTokens":5,"max_output_tokens":50000}}`},
		{"gemini picture", "/v1beta/models/gemini-2.5-flash:generateContent", `{"contents":[],"generationConfig":{"responseModalities":["IMAGE"]}}`},
		{"cohere images", "/v2/embed", `{"model":"embed-v4.0","images":["data:"]}`},
		{"cohere v1 chat", "/v1/chat", `{"model":"command-a-03-2025","message":"hi"}`},
		{"legacy completions", "/v1/completions", `{"model":"gpt-3.5-turbo","prompt":"hi"}`},
	}
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("%s was sent", r.URL.Path) }))
	defer srv.Close()
	d := newDesk(t, wflo.USD, nil)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := d.post(t, srv.URL+tt.path, tt.body); wflo.CodeOf(err) != wflo.CodeInvalid {
				t.Errorf("error %v", err)
			}
		})
	}
	if _, err := d.post(t, srv.URL+"/v1/chat/completions", `{"model":"nobody-knows",`+user+`}`); wflo.CodeOf(err) != wflo.CodeUnknownModel {
		t.Errorf("unknown model: %v", err)
	}
	if _, err := d.post(t, srv.URL+"/v1/chat/completions", `{"model":"ollama/free",`+user+`}`); wflo.CodeOf(err) != wflo.CodeUnknownModel {
		t.Errorf("a free model of another provider: %v", err)
	}
	if h := d.books.Holds(); len(h) != 0 {
		t.Errorf("holds %+v", h)
	}
}

// TestOutsideTokens lets an operator say what a part may take that its bytes do
// not bound.
func TestOutsideTokens(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"id":"1","object":"chat.completion","model":"gpt-5.4-mini","choices":[{"finish_reason":"stop"}],"usage":{"prompt_tokens":1500,"completion_tokens":5,"total_tokens":1505}}`)
	}))
	defer srv.Close()
	d := newDesk(t, wflo.USD, func(c *meter.Config) { c.OutsideTokens = 50000 })
	body := `{"model":"gpt-5.4-mini","max_tokens":10,"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://x/y.png"}},{"type":"image_url","image_url":{"url":"https://x/z.png"}}]}]}`
	if _, err := d.post(t, srv.URL+"/v1/chat/completions", body); err != nil {
		t.Fatal(err)
	}
	// 100,000 prompt tokens at $0.75 per million.
	if e := d.books.Entries()[0]; e.Reserved < 7*wflo.Cent || e.Overdraft != 0 {
		t.Errorf("reserved %s", e.Reserved)
	}
	d.check(t)
}

// TestSeveralAnswersAreReserved: each of them may be as long as the limit.
func TestSeveralAnswersAreReserved(t *testing.T) {
	var sent struct {
		Max int64 `json:"max_tokens"`
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewDecoder(r.Body).Decode(&sent)
		w.WriteHeader(http.StatusTeapot)
	}))
	defer srv.Close()
	d := newDesk(t, wflo.Cent, nil)
	body := `{"model":"gpt-5.4-mini","max_tokens":10000,"n":4,"messages":[{"role":"user","content":"hi"}]}`
	if _, err := d.post(t, srv.URL+"/v1/chat/completions", body); err != nil {
		t.Fatal(err)
	}
	// A cent buys 2,222 tokens at $4.50 per million, without the prompt.
	if sent.Max < 400 || sent.Max > 555 {
		t.Errorf("max_tokens %d of each of four answers", sent.Max)
	}
	d.check(t)
	rich := newDesk(t, wflo.USD, nil)
	if _, err := rich.post(t, srv.URL+"/v1/chat/completions", body); err != nil {
		t.Fatal(err)
	}
	if h := rich.books.Holds()[0]; h.Amount < 18*wflo.Cent || sent.Max != 10000 {
		t.Errorf("%s were reserved for 40,000 tokens, max_tokens %d", h.Amount, sent.Max)
	}
}

// TestServiceTiers are priced by what billed, and refused where they have no price.
func TestServiceTiers(t *testing.T) {
	answer := func(tier string) *httptest.Server {
		return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"id":"1","object":"chat.completion","model":"gpt-5.4-mini","service_tier":"`+tier+
				`","choices":[{"finish_reason":"stop"}],"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}}`)
		}))
	}
	const body = `{"model":"gpt-5.4-mini","max_tokens":10,"messages":[]}`
	srv := answer("unheard-of")
	defer srv.Close()
	d := newDesk(t, wflo.USD, nil)
	if _, err := d.post(t, srv.URL+"/v1/chat/completions", body); err != nil {
		t.Fatal(err)
	}
	if h := d.books.Holds(); h[0].State != wflo.HoldUnknown {
		t.Errorf("hold %+v: nobody knows what that tier costs", h[0])
	}
	asked := strings.Replace(body, "{", `{"service_tier":"unheard-of",`, 1)
	if _, err := d.post(t, srv.URL+"/v1/chat/completions", asked); wflo.CodeOf(err) != wflo.CodeUnknownModel {
		t.Errorf("error %v", err)
	}
	standard := answer("default")
	defer standard.Close()
	if _, err := d.post(t, standard.URL+"/v1/chat/completions", strings.Replace(body, "{", `{"service_tier":"auto",`, 1)); err != nil {
		t.Fatal(err)
	}
	if h := d.books.Holds(); len(h) != 2 || h[1].State != wflo.HoldSettled {
		t.Errorf("holds %+v", h)
	}
	d.check(t)
}

// TestSchemaKeepsItsOrder: models follow the order of keys.
func TestSchemaKeepsItsOrder(t *testing.T) {
	const schema = `{"type":"object","properties":{"zebra":{"type":"string"},"apple":{"type":"string","description":"<b> & more"}}}`
	var got string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		got = string(raw)
		w.WriteHeader(http.StatusTeapot)
	}))
	defer srv.Close()
	d := newDesk(t, wflo.USD, nil)
	body := `{"model":"gpt-5.4-mini","messages":[],"response_format":{"json_schema":{"schema":` + schema + `}}}`
	if _, err := d.post(t, srv.URL+"/v1/chat/completions", body); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(got, schema) || !strings.Contains(got, `"max_tokens":4096`) {
		t.Errorf("sent %s", got)
	}
}
