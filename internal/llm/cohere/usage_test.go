package cohere

import (
	"testing"

	"github.com/wflo-ai/wflo-go/internal/llm/llmtest"
)

func TestBillsOnTheWire(t *testing.T) {
	llmtest.Wire(t, llmtest.Reader{
		Provider: "cohere", New: func() llmtest.Counter { return &Counter{} }, UsageOf: UsageOf,
	})
}

// What a response claims is charged only if it can be: no bucket is negative.
func FuzzUsageOf(f *testing.F) {
	f.Add([]byte(`{"id":"e","usage":{"billed_units":{"input_tokens":1.5,"output_tokens":2}},"finish_reason":"COMPLETE"}`), []byte(`{"meta":{"billed_units":{"input_tokens":7}}}`))
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
