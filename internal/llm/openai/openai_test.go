package openai

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/wflo-ai/wflo-go"
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
		Env:   map[string]string{"OPENAI_BASE_URL": "http://127.0.0.1:9", "OPENAI_API_KEY": "sk-wrong", "OPENAI_ORG_ID": "org-wrong", "OPENAI_CUSTOM_HEADERS": "X-Wrong: 1"},
		Whole: "text", Stream: "text_stream",
		UsageKey: "usage",
		CutUsage: true,
	})
}

// openaiHost answers for api.openai.com without any network, and keeps the request.
type openaiHost struct {
	response string
	request  *http.Request
	body     []byte
}

func (h *openaiHost) RoundTrip(r *http.Request) (*http.Response, error) {
	h.request = r
	h.body, _ = io.ReadAll(r.Body)
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(strings.NewReader(h.response)),
	}, nil
}

const shortAnswer = `{"id":"c","model":"m","choices":[{"message":{"content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}`

func TestHosts(t *testing.T) {
	tests := []struct {
		name     string
		cfg      Config
		url      string
		auth     string
		field    string
		provider string
		tier     string
	}{
		{"OpenAI", Config{APIKey: "k"}, "https://api.openai.com/v1/chat/completions", "Bearer k", FieldMaxCompletionTokens, "openai", "default"},
		{"OpenAI's flex", Config{APIKey: "k", ServiceTier: "flex"}, "https://api.openai.com/v1/chat/completions", "Bearer k", FieldMaxCompletionTokens, "openai", "flex"},
		{"local without key", Config{BaseURL: "http://localhost:11434/v1", Name: "ollama"}, "http://localhost:11434/v1/chat/completions", "", FieldMaxTokens, "ollama", ""},
		{"gateway", Config{APIKey: "k", BaseURL: "https://gw/openai/v1/", TokenField: FieldMaxCompletionTokens}, "https://gw/openai/v1/chat/completions", "Bearer k", FieldMaxCompletionTokens, "openai", ""},
	}
	t.Setenv("OPENAI_API_KEY", "sk-wrong")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			host := &openaiHost{response: shortAnswer}
			tt.cfg.HTTPClient = &http.Client{Transport: host}
			c, err := New(tt.cfg)
			if err != nil {
				t.Fatal(err)
			}
			prompt := wflo.Prompt{Model: "m", Messages: []wflo.Message{{Role: wflo.RoleUser, Text: "hi"}}, MaxTokens: 77}
			reply, err := c.Chat(t.Context(), prompt, nil)
			if err != nil {
				t.Fatal(err)
			}
			if reply.Provider != tt.provider || c.Name() != tt.provider {
				t.Errorf("provider is %q, %q, want %q", reply.Provider, c.Name(), tt.provider)
			}
			if got := host.request.URL.String(); got != tt.url {
				t.Errorf("URL is %s, want %s", got, tt.url)
			}
			if got := host.request.Header.Get("Authorization"); got != tt.auth {
				t.Errorf("Authorization is %q, want %q", got, tt.auth)
			}
			if want := `"` + tt.field + `":77`; !strings.Contains(string(host.body), want) {
				t.Errorf("request %s lacks %s", host.body, want)
			}
			var sent struct {
				Tier string `json:"service_tier"`
			}
			if err := json.Unmarshal(host.body, &sent); err != nil || sent.Tier != tt.tier {
				t.Errorf("request %s asks for the tier %q, want %q, %v", host.body, sent.Tier, tt.tier, err)
			}
		})
	}
}

func TestKeyIsRequiredOnlyByOpenAI(t *testing.T) {
	for base, want := range map[string]error{"": wflo.ErrMissingKey, "https://api.openai.com/v1": wflo.ErrMissingKey, "http://localhost:1/v1": nil} {
		if _, err := New(Config{BaseURL: base}); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", base, err, want)
		}
	}
	if _, err := New(Config{APIKey: "k", TokenField: "max"}); !errors.Is(err, wflo.ErrInvalid) {
		t.Errorf("unknown token field: %v", err)
	}
}

func TestErrorWithinStream(t *testing.T) {
	llmtest.InStream(t, llmtest.Suite{New: suiteNew, Stream: "text_stream"},
		"data: {\"error\":{\"message\":\"engine lost\",\"type\":\"server_error\"}}\n\n", "engine lost")
}
