package meter

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/llm"
	"github.com/wflo-ai/wflo-go/pricing"
)

var paths = []string{
	"/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/v1/messages", "/v2/chat", "/v2/embed",
	"/v1beta/models/gemini-2.5-flash:generateContent", "/v1beta/models/gemini-2.5-flash:batchEmbedContents",
}

// FuzzRequest holds the reader of requests to this: it never panics, and what it
// lets through is sent with the bound that was reserved, whatever the body was.
func FuzzRequest(f *testing.F) {
	for _, body := range []string{
		`{"model":"gpt-5.4-mini","messages":[{"role":"user","content":"hi"}],"max_tokens":500}`,
		`{"model":"gpt-5.4-mini","input":"hi","tools":[{"type":"function"}],"max_output_tokens":500,"stream":true}`,
		`{"model":"claude-haiku-4-5","max_tokens":500,"thinking":{"budget_tokens":300},"messages":[{"role":"user","content":[{"type":"tool_result","content":[{"type":"text"}]}]}]}`,
		`{"model":"command-a-03-2025","messages":[],"max_tokens":7}`,
		`{"contents":[{"parts":[{"text":"x"}]}],"generationConfig":{"maxOutputTokens":500,"candidateCount":2}}`,
		`{"model":"gpt-5.4-mini","max_tokens":5,"max_tokens":6}`, `{"a":{"b":[{"c":1,"c":2}]}}`, `[`, ``, `{"model":null}`,
	} {
		for i := range paths {
			f.Add(i, []byte(body))
		}
	}
	t0 := New(Config{Prices: pricing.Default(), OutsideTokens: 1000})
	f.Fuzz(func(t *testing.T, which int, body []byte) {
		p := paths[uint(which)%uint(len(paths))]
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://model.test"+p, nil)
		if err != nil {
			t.Fatal(err)
		}
		a, err := t0.read(req, body, wflo.Run{})
		if err != nil {
			return
		}
		if a.input < int64(len(body)) || a.answers < 1 || a.least > a.output || a.api.answers && a.output < 1 {
			t.Fatalf("ask %+v of %q", a, body)
		}
		const most = 3
		out, err := a.bounded(most)
		if err != nil {
			t.Fatalf("%v for %q", err, body)
		}
		if a.api.answers {
			checkBound(t, a, out, min(most, a.output))
		}
	})
}

// checkBound reads the request that would be sent as a vendor would.
func checkBound(t *testing.T, a *ask, out []byte, most int64) {
	t.Helper()
	var sent map[string]any
	dec := json.NewDecoder(bytes.NewReader(out))
	dec.UseNumber()
	if err := dec.Decode(&sent); err != nil {
		t.Fatalf("%v in %q", err, out)
	}
	for _, field := range a.limits {
		var v any = sent
		for _, key := range field {
			object, ok := v.(map[string]any)
			if !ok {
				t.Fatalf("no %v in %q", field, out)
			}
			v = object[key]
		}
		if got := fmt.Sprint(v); got != fmt.Sprint(most) {
			t.Fatalf("%v is %s in %q, want %d", field, got, out, most)
		}
	}
}

// FuzzEvents holds the reader of streams to this: however a stream is cut into
// pieces, its events are those that the whole has.
func FuzzEvents(f *testing.F) {
	for _, s := range []string{
		"data: {\"a\":1}\n\ndata: [DONE]\n\n", "event: x\r\ndata: a\r\ndata: b\r\n\r\n", ": comment\n\ndata\n\ndata:\n\n", "data: unfinished", "data: x\n",
		"id: 1\ndata:  two spaces\n\n\n\n",
	} {
		f.Add([]byte(s), uint8(1))
		f.Add([]byte(s), uint8(7))
	}
	f.Fuzz(func(t *testing.T, stream []byte, piece uint8) {
		var got []string
		e := &events{emit: func(data []byte) { got = append(got, string(data)) }}
		for rest := stream; len(rest) > 0; {
			n := min(len(rest), int(piece)+1)
			e.write(rest[:n])
			rest = rest[n:]
		}
		e.close()
		var want []string
		for data, err := range llm.Events(bytes.NewReader(stream)) {
			if err != nil {
				return
			}
			want = append(want, string(data))
		}
		// The other reader leaves out lines without data at the start of an event.
		full := got[:0:0]
		for _, g := range got {
			if g = strings.TrimLeft(g, "\n"); g != "" {
				full = append(full, g)
			}
		}
		if strings.Join(full, "\x00") != strings.Join(want, "\x00") {
			t.Fatalf("%q in pieces of %d: %q, want %q", stream, int(piece)+1, full, want)
		}
	})
}
