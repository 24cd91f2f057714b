package openai

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/wflo-ai/wflo-go/internal/llm/llmtest"
)

func TestBillsOnTheWire(t *testing.T) {
	llmtest.Wire(t, llmtest.Reader{
		Provider: "openai", New: func() llmtest.Counter { return &Counter{} }, UsageOf: UsageOf,
	})
}

// TestTells is which events of a stream are read: all that say something about
// the cost or the end, and of the others none, because there are thousands.
func TestTells(t *testing.T) {
	for _, tt := range []struct {
		data string
		want bool
	}{
		{`{"choices":[{"delta":{"content":"x"},"finish_reason":null}],"usage":null}`, false},
		{`{"choices":[{"delta":{"content":"x"},"finish_reason" : null}], "usage" :` + "\n\t" + `null }`, false},
		{`{"choices":[{"delta":{"content":"x"}}]}`, false},
		{`{"choices":[{"delta":{"content":"say \"usage\": 5 and \"finish_reason\":\"stop\""},"finish_reason":null}]}`, false},
		{`{"choices":[{"delta":{"content":"usage"},"finish_reason":null}],"usage":null}`, false},
		{`{"type":"response.output_text.delta","delta":"x"}`, false},
		{`{"choices":[{"delta":{},"finish_reason":"stop"}],"usage":null}`, true},
		{`{"choices":[{"finish_reason":null},{"finish_reason":"length"}]}`, true},
		{`{"choices":[],"usage":{"prompt_tokens":1}}`, true},
		{`{"choices":[],"usage": {"prompt_tokens":1}}`, true},
		{`{"note":"usage","usage":{"prompt_tokens":1}}`, true},
		{`{"delta":{"usage":null},"usage":{"prompt_tokens":1}}`, true},
		{`{"type":"response.completed","response":{"usage":{}}}`, true},
		{``, false}, {`[DONE]`, false}, {`{"usage"`, false}, {`{"usage":`, true},
	} {
		if got := tells([]byte(tt.data)); got != tt.want {
			t.Errorf("%s: %v", tt.data, got)
		}
	}
}

// TestPiecesOfTextAreNotParsed counts what a chunk of text costs in memory.
func TestPiecesOfTextAreNotParsed(t *testing.T) {
	chunk := []byte(`{"id":"c","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"content":" word"},"logprobs":null,"finish_reason":null}],"usage":null}`)
	var c Counter
	c.Add(chunk)
	if n := testing.AllocsPerRun(100, func() { c.Add(chunk) }); n != 0 {
		t.Errorf("%v allocations per chunk", n)
	}
	if b := c.Bill(); b.Model != "m" || b.ResponseID != "c" || b.Ended || b.Counted {
		t.Errorf("bill %+v", b)
	}
}

// FuzzSkipping holds the reader to this: what is skipped would have changed
// nothing that is charged.
func FuzzSkipping(f *testing.F) {
	for _, s := range []string{
		`{"choices":[{"finish_reason":null}],"usage":null}`, `{"choices":[{"finish_reason":"stop"}]}`, `{"usage":{"prompt_tokens":3,"completion_tokens":1}}`,
		`{"usage":null,"response":{"usage":{"input_tokens":1}}}`, `{"a":"usage"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if tells(data) || bytes.ContainsRune(data, '\\') || !json.Valid(data) {
			return
		}
		var e struct {
			Usage    *json.RawMessage `json:"usage"`
			Response *json.RawMessage `json:"response"`
			Choices  []struct {
				FinishReason string `json:"finish_reason"`
			} `json:"choices"`
		}
		if json.Unmarshal(data, &e) != nil || !bytes.Equal(data, bytes.ToLower(data)) {
			return // keys match in any case, but no server writes them so
		}
		said := e.Usage != nil || e.Response != nil
		for _, c := range e.Choices {
			said = said || c.FinishReason != ""
		}
		if said {
			t.Fatalf("%s is skipped", data)
		}
	})
}

// What a response claims is charged only if it can be: no bucket is negative.
func FuzzUsageOf(f *testing.F) {
	f.Add([]byte(`{"model":"m","usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"prompt_tokens_details":{"cached_tokens":3}}}`), []byte(`{"type":"response.completed","response":{"model":"m","service_tier":"flex","usage":{"input_tokens":9,"output_tokens":1}}}`))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		u, _, _, ok := UsageOf(first)
		if ok && (u.Validate() != nil || u.Prompt() <= 0 || u.Total() < u.Prompt()) {
			t.Fatalf("%+v is charged", u)
		}
		var c Counter
		c.Add(first)
		c.Add(second)
		if b := c.Bill(); b.OK() && b.Usage.Validate() != nil {
			t.Fatalf("%+v is charged", b)
		}
	})
}
