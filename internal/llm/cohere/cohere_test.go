package cohere

import (
	"net/http"
	"testing"

	"go.uber.org/goleak"

	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/llm/llmtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func suiteNew(base, key string, client *http.Client) (activities.Provider, error) {
	return New(Config{APIKey: key, BaseURL: base, HTTPClient: client})
}

func TestProvider(t *testing.T) {
	llmtest.Run(t, llmtest.Suite{
		New:   suiteNew,
		Env:   map[string]string{"CO_API_URL": "http://127.0.0.1:9", "CO_API_KEY": "sk-wrong"},
		Whole: "text", Stream: "text_stream",
		UsageKey: "usage",
	})
}

func TestErrorWithinStream(t *testing.T) {
	llmtest.InStream(t, llmtest.Suite{New: suiteNew, Stream: "text_stream"},
		"event: message-end\ndata: {\"type\":\"message-end\",\"delta\":{\"error\":\"engine lost\",\"finish_reason\":\"ERROR\"}}\n\n", "engine lost")
	llmtest.InStream(t, llmtest.Suite{New: suiteNew, Stream: "text_stream"},
		"data: {\"message\":\"no type\"}\n\n", "no type")
}
