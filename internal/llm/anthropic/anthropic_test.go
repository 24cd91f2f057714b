package anthropic

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
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
		Env:   map[string]string{"ANTHROPIC_BASE_URL": "http://127.0.0.1:9", "ANTHROPIC_API_KEY": "sk-wrong", "ANTHROPIC_AUTH_TOKEN": "sk-wrong", "ANTHROPIC_PROFILE": "wrong"},
		Whole: "text", Stream: "text_stream",
		UsageKey: "usage",
	})
}

func TestErrorWithinStream(t *testing.T) {
	llmtest.InStream(t, llmtest.Suite{New: suiteNew, Stream: "text_stream"},
		"event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n", "Overloaded")
}

// The API refuses to answer at length without a stream, so the driver streams.
func TestLongAnswersStream(t *testing.T) {
	sse, err := os.ReadFile("testdata/text_stream/response.sse")
	if err != nil {
		t.Fatal(err)
	}
	var body []byte
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ = io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = w.Write(sse)
	}))
	defer srv.Close()
	c, err := suiteNew(srv.URL, "k", nil)
	if err != nil {
		t.Fatal(err)
	}
	prompt := wflo.Prompt{Model: "claude-haiku-4-5", Messages: []wflo.Message{{Role: wflo.RoleUser, Text: "hi"}}, MaxTokens: 60_000}
	reply, err := c.Chat(t.Context(), prompt, nil)
	if err != nil || reply.Text != "Grüße, hello" {
		t.Fatalf("%q, %v", reply.Text, err)
	}
	if !strings.Contains(string(body), `"stream":true`) {
		t.Errorf("request %s does not stream", body)
	}
}

// spanCounter is a tracer provider that only counts.
type spanCounter struct {
	noop.TracerProvider
	tracers int
}

func (s *spanCounter) Tracer(name string, opts ...trace.TracerOption) trace.Tracer {
	s.tracers++
	return s.TracerProvider.Tracer(name, opts...)
}

// The SDK's spans can hold whole prompts, and a variable switches that on.
func TestSDKRecordsNoSpans(t *testing.T) {
	t.Setenv("ANTHROPIC_OPEN_TELEMETRY", "true")
	t.Setenv("ANTHROPIC_OPEN_TELEMETRY_TRACES_CONTENT_MODE", "content")
	before := otel.GetTracerProvider()
	counter := &spanCounter{}
	otel.SetTracerProvider(counter)
	defer otel.SetTracerProvider(before)
	srv := httptest.NewServer(http.NotFoundHandler())
	defer srv.Close()
	c, err := suiteNew(srv.URL, "k", nil)
	if err != nil {
		t.Fatal(err)
	}
	prompt := wflo.Prompt{Model: "m", Messages: []wflo.Message{{Role: wflo.RoleUser, Text: "hi"}}, MaxTokens: 10}
	for _, delta := range []func(string){nil, func(string) {}} {
		if _, err := c.Chat(t.Context(), prompt, delta); err == nil {
			t.Error("no error from an empty server")
		}
	}
	if counter.tracers != 0 {
		t.Errorf("the SDK asked for %d tracers", counter.tracers)
	}
}
