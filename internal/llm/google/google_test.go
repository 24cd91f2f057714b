package google

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
		Env:   map[string]string{"GOOGLE_GEMINI_BASE_URL": "http://127.0.0.1:9", "GOOGLE_API_KEY": "sk-wrong", "GOOGLE_GENAI_USE_VERTEXAI": "true", "GOOGLE_CLOUD_PROJECT": "wrong", "GOOGLE_CLOUD_LOCATION": "wrong"},
		Whole: "text", Stream: "text_stream",
		UsageKey: "usageMetadata",
	})
}

func TestErrorWithinStream(t *testing.T) {
	llmtest.InStream(t, llmtest.Suite{New: suiteNew, Stream: "text_stream"},
		"data: {\"error\":{\"code\":503,\"message\":\"model overloaded\",\"status\":\"UNAVAILABLE\"}}\n\n", "model overloaded")
}
