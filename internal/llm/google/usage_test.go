package google

import (
	"testing"

	"github.com/wflo-ai/wflo-go/internal/llm/llmtest"
)

func TestBillsOnTheWire(t *testing.T) {
	llmtest.Wire(t, llmtest.Reader{
		Provider: "google", New: func() llmtest.Counter { return &Counter{} }, UsageOf: UsageOf,
	})
}
