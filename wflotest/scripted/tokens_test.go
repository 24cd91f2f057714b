package scripted

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/wflo-ai/wflo-go"
)

func TestCountTokens(t *testing.T) {
	tests := map[string]int64{
		"":                          0,
		" ":                         0,
		"a":                         1,
		"four":                      1,
		"fives":                     2,
		"echo: refund":              4,
		"echo: refund.":             5,
		"a  b":                      3,
		"a\nb":                      3,
		"end ":                      1,
		"fünf":                      2, // five bytes
		"日本語":                       3,
		`{"id":"A-1"}`:              11,
		strings.Repeat(" ", 33):     2,
		strings.Repeat(" ", 34):     3,
		"🙂🙂":                        2,
		"snake_case":                3,
		strings.Repeat("abcd ", 50): 50,
	}
	for text, want := range tests {
		if got := CountTokens(text); got != want {
			t.Errorf("CountTokens(%q) = %d, want %d", text, got, want)
		}
	}
}

func TestTokensAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := strings.ToValidUTF8(rapid.OneOf(rapid.String(), rapid.StringMatching(`[a-z0-9 ,.\n]*`)).Draw(t, "text"), "?")
		n := rapid.Int64Range(0, 40).Draw(t, "n")
		total := CountTokens(text)
		if total > int64(len(text)) {
			t.Fatalf("%d tokens in %d bytes", total, len(text))
		}
		kept, used, lost := cut(text, n)
		if used != min(n, total) || CountTokens(kept) != used || lost != (total > n) || !strings.HasPrefix(text, kept) || !utf8.ValidString(kept) {
			t.Fatalf("cut(%q, %d) = %q, %d, %t of %d", text, n, kept, used, lost, total)
		}
		if !lost && kept != text {
			t.Fatalf("cut lost %q of %q without saying so", text[len(kept):], text)
		}
		var sum int64
		for _, part := range pieces(text) {
			sum += CountTokens(part)
		}
		if strings.Join(pieces(text), "") != text || sum != total {
			t.Fatalf("pieces(%q) = %q: %d tokens of %d", text, pieces(text), sum, total)
		}
	})
}

// FuzzParse holds all four parsers to this: they never panic, what they take is
// a conversation that can be answered, and an answer can be written.
func FuzzParse(f *testing.F) {
	const call = `"tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{"}}]`
	for _, seed := range []string{
		`{"model":"m","messages":[{"role":"system","content":"s"},{"role":"user","content":"hi"}]}`,
		`{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"assistant",` + call + `},{"role":"tool","tool_call_id":"a","content":"x"}]}`,
		`{"model":"m","max_tokens":5,"messages":[{"role":"user","content":"x"},{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":{"_malformed":"{"}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"a","is_error":true}]}]}`,
		`{"model":"m","max_tokens":5,"tools":[{"name":"f","input_schema":{"type":"object"}}],"messages":[{"role":"user","content":[{"type":"text","text":"x"}]}]}`,
		`{"contents":[{"parts":[{"text":"x"}]},{"role":"model","parts":[{"functionCall":{"name":"f","args":{}},"thoughtSignature":"YQ=="}]},{"role":"user","parts":[{"functionResponse":{"name":"f","response":{"error":"x"}}}]}]}`,
		`{"contents":[{"parts":[{"text":"x"}]}],"tools":[{"functionDeclarations":[{"name":"f","parameters":{"type":"OBJECT"}}]}],"generationConfig":{"maxOutputTokens":3}}`,
		`{"model":"m","messages":[{"role":"assistant","tool_plan":"p",` + call + `},{"role":"tool","tool_call_id":"a","content":[{"type":"document","document":{"data":{}}}]}]}`,
		`[]`, `null`, `{"model":null}`, `{"messages":[null]}`, `{"contents":[{"parts":[null]}]}`, `{"_":1,"a__b":2}`,
	} {
		f.Add([]byte(seed))
	}
	answer := Answer{Text: "some text", Reasoning: "why", CachedInput: 2, ToolCalls: []wflo.ToolCall{{Name: "f", Arguments: "{"}, {Name: "g"}}}
	f.Fuzz(func(t *testing.T, body []byte) {
		if !json.Valid(body) {
			return // exchange.read refuses it
		}
		for _, d := range []dialect{openAI{}, anthropic{}, gemini{}, cohere{}} {
			r := httptest.NewRequest(http.MethodPost, "/?alt=sse", nil)
			r.SetPathValue("call", "gemini-3-x:streamGenerateContent")
			q, bad := d.parse(r, body)
			if bad != nil {
				if bad.status < 400 || bad.message == "" {
					t.Fatalf("%s refuses without a reason: %+v", d.provider(), bad)
				}
				continue
			}
			checkTaken(t, d, q, answer)
		}
	})
}

func checkTaken(t *testing.T, d dialect, q request, answer Answer) {
	t.Helper()
	if q.turn.Model == "" || (len(q.turn.Messages) == 0 && q.turn.System == "") {
		t.Fatalf("%s took %+v", d.provider(), q.turn)
	}
	open := map[string]bool{}
	for _, m := range q.turn.Messages {
		for _, c := range m.ToolCalls {
			open[c.ID] = true
		}
		if m.Role == wflo.RoleTool && (!open[m.ToolCallID] || m.ToolName == "") {
			t.Fatalf("%s took a result without a call: %+v", d.provider(), m)
		}
	}
	o := generate(q, answer, d.id(1))
	if q.turn.MaxTokens > 0 && o.output+o.reasoned > q.turn.MaxTokens {
		t.Fatalf("%s: %d tokens, the limit is %d", d.provider(), o.output+o.reasoned, q.turn.MaxTokens)
	}
	if u := d.billed(o); u.Validate() != nil || u.Total() != o.prompt+o.output+o.reasoned {
		t.Fatalf("%s billed %+v for %+v", d.provider(), u, o)
	}
	if _, err := json.Marshal(d.whole(q, o)); err != nil {
		t.Fatal(err)
	}
	if _, err := d.framing().render(d.stream(q, o), false); err != nil {
		t.Fatal(err)
	}
}
