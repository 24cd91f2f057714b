package openai

import (
	"testing"

	"github.com/wflo-ai/wflo-go/internal/llm/llmtest"
)

func TestBillsOnTheWire(t *testing.T) {
	llmtest.Wire(t, llmtest.Reader{
		Provider: "openai", New: func() llmtest.Counter { return &Counter{} }, UsageOf: UsageOf,
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
