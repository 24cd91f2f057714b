package llm

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

// wireFunc is a transport that, unlike net/http's, says nothing of its progress.
type wireFunc func(*http.Request) (*http.Response, error)

func (f wireFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func begin(t *testing.T, wire wireFunc) (*Call, func() (*http.Response, error)) {
	t.Helper()
	ctx, call := Vendor{Name: "acme", Key: "sk-secret", Env: "ACME_KEY"}.Begin(context.Background(), "m1")
	client := HTTPClient(&http.Client{Transport: wire})
	return call, func() (*http.Response, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://acme.test/", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		return client.Do(req)
	}
}

func callError(t *testing.T, err error) *activities.CallError {
	t.Helper()
	var e *activities.CallError
	if !errors.As(err, &e) {
		t.Fatalf("error is %T, want *activities.CallError", err)
	}
	return e
}

// A transport of somebody else's may fail before or after sending; nobody can
// tell, so it counts as sent.
func TestUnobservedFailureIsBillable(t *testing.T) {
	call, send := begin(t, func(*http.Request) (*http.Response, error) { return nil, errors.New("broken pipe of sk-secret") })
	_, err := send()
	e := callError(t, call.Failed(err))
	if !e.Billable || !e.Retryable || e.Status != 0 {
		t.Errorf("%+v, want billable and retryable", e)
	}
	if got, want := e.Error(), "acme m1: broken pipe of [key]"; got != want {
		t.Errorf("text is %q, want %q", got, want)
	}
}

func TestOneRequestPerCall(t *testing.T) {
	var sent int
	call, send := begin(t, func(*http.Request) (*http.Response, error) {
		sent++
		return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader("{}"))}, nil
	})
	resp, err := send()
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if _, err := send(); !errors.Is(err, errSecond) || sent != 1 {
		t.Errorf("second request: %v, %d sent", err, sent)
	}
	if e := callError(t, call.Failed(errSecond)); !e.Billable || !strings.Contains(e.Error(), "tried to repeat") {
		t.Errorf("%+v, want billable, and the reason", e)
	}
}

func TestAccept(t *testing.T) {
	_, call := Vendor{Name: "acme"}.Begin(context.Background(), "m1")
	got, err := call.Accept(wflo.Reply{Stop: wflo.StopEnd, ToolCalls: []wflo.ToolCall{{ID: "1"}}, Usage: wflo.Usage{CacheRead: 1}})
	if err != nil || got.Provider != "acme" || got.Model != "m1" || got.Stop != wflo.StopTools {
		t.Errorf("%+v, %v", got, err)
	}
	for _, u := range []wflo.Usage{
		{}, {Output: 5}, {Input: -1}, {Input: 5, CacheRead: -5}, {Input: 5, Output: -1}, {Input: 5, Reasoning: -1},
		{Input: 5, CacheWrite5m: maxTokens + 1}, {CacheWrite1h: 1 << 62, Input: 1 << 62},
	} {
		_, err := call.Accept(wflo.Reply{Usage: u})
		if e := callError(t, err); !e.Billable || e.Retryable {
			t.Errorf("usage %+v: %+v, want billable and final", u, e)
		}
	}
}

func TestRefusalHints(t *testing.T) {
	for status, want := range map[int]string{
		401: "check the key in ACME_KEY", 498: "check the key in ACME_KEY", 404: "check the model's name and the base URL",
		307: "set the base URL to where it redirects; redirects are not followed", 500: "",
	} {
		call, send := begin(t, func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(`{"message":"no"}`))}, nil
		})
		_, err := send()
		if got := wflo.HintOf(call.Failed(err)); got != want {
			t.Errorf("status %d: hint %q, want %q", status, got, want)
		}
	}
}

// Whatever a vendor counts, no counted token is lost.
func TestCountsNeverShrink(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(0, 1<<30)
		total, a, b := n.Draw(t, "total"), n.Draw(t, "a"), n.Draw(t, "b")
		if rest := Rest(total, a, b); rest < 0 || rest+a+b < max(total, a+b) {
			t.Fatalf("Rest(%d, %d, %d) = %d", total, a, b, rest)
		}
		prompt, answer, reasoning := n.Draw(t, "prompt"), n.Draw(t, "answer"), n.Draw(t, "reasoning")
		text, thought := Output(prompt, answer, reasoning, total)
		if text < 0 || thought != reasoning || text+thought < max(answer, reasoning, total-prompt) {
			t.Fatalf("Output(%d, %d, %d, %d) = %d, %d", prompt, answer, reasoning, total, text, thought)
		}
	})
}

func TestOutput(t *testing.T) {
	tests := []struct{ prompt, answer, reasoning, total, text, thought int64 }{
		{100, 50, 20, 150, 30, 20}, // within the answer
		{100, 50, 20, 0, 30, 20},   // no total
		{100, 50, 20, 170, 50, 20}, // besides the answer
		{100, 5, 20, 0, 5, 20},     // besides, as it is larger
		{100, 50, 0, 170, 70, 0},   // a surplus without name
		{100, 50, 20, 160, 40, 20}, // a surplus smaller than the reasoning
		{100, 50, 20, 140, 30, 20}, // a total that is too small
	}
	for _, tt := range tests {
		if text, thought := Output(tt.prompt, tt.answer, tt.reasoning, tt.total); text != tt.text || thought != tt.thought {
			t.Errorf("%+v: got %d, %d", tt, text, thought)
		}
	}
}

func TestArguments(t *testing.T) {
	for text, want := range map[string]string{
		"": "{}", " \n": "{}", `{"a":1}`: `{"a":1}`, ` {"a":12345678901234567890} `: `{"a":12345678901234567890}`,
		"null": `{"_malformed":"null"}`, "[1]": `{"_malformed":"[1]"}`, `{"a":`: `{"_malformed":"{\"a\":"}`, `{} {}`: `{"_malformed":"{} {}"}`,
	} {
		if got := string(Arguments(text)); got != want {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
}

func TestSeal(t *testing.T) {
	sealed := Seal("google", []byte("sig\x00nature"))
	if got := string(Open("google", sealed)); got != "sig\x00nature" {
		t.Errorf("got %q", got)
	}
	if got := Open("goo", sealed); got != nil {
		t.Errorf("another provider opened it: %q", got)
	}
	if Seal("google", nil) != "" || Open("google", "%%") != nil || Open("google", "") != nil {
		t.Error("nothing must stay nothing")
	}
}

func TestCallID(t *testing.T) {
	for _, response := range []string{"", "mAi-taL_1", strings.Repeat("é/", 300)} {
		id := CallID(response, 12)
		if !Synthetic(id) || len(id) > 64 || strings.ContainsFunc(id, func(r rune) bool {
			return r != '_' && (r < '0' || r > 'z' || r > '9' && r < 'A' || r > 'Z' && r < 'a')
		}) {
			t.Errorf("%q gives the id %q", response, id)
		}
		if id != CallID(response, 12) || id == CallID(response, 11) {
			t.Errorf("%q: ids are not stable and distinct", response)
		}
	}
}

func TestBaseURL(t *testing.T) {
	for configured, want := range map[string]string{
		"": "https://std/v1", "http://localhost:11434/v1/": "http://localhost:11434/v1", "https://h": "https://h",
	} {
		u, err := BaseURL(configured, "https://std/v1")
		if err != nil || u.String() != want {
			t.Errorf("%q: %v, %v, want %s", configured, u, err, want)
		}
	}
}

func TestShortenKeepsRunes(t *testing.T) {
	if diff := cmp.Diff("ab...", shorten("abéé", 5)); diff != "" {
		t.Error(diff)
	}
	for n := range 20 {
		if s := shorten(strings.Repeat("é", 30), 3+n); len(s) > 3+n || strings.ContainsRune(s, '\uFFFD') {
			t.Errorf("room %d: %q", 3+n, s)
		}
	}
}
