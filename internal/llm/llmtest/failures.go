package llmtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

// verdict is what a CallError says, without its text.
type verdict struct {
	Status     int
	Retryable  bool
	RetryAfter time.Duration
	Billable   bool
}

func judge(t *testing.T, err error) verdict {
	t.Helper()
	var e *activities.CallError
	if !errors.As(err, &e) {
		t.Fatalf("error is %T (%v), want *activities.CallError", err, err)
	}
	if strings.Contains(err.Error(), Key) || strings.Contains(fmt.Sprintf("%+v %#v", e, e.Err), Key) {
		t.Errorf("the key is in the error: %v", err)
	}
	if len(err.Error()) > 500 {
		t.Errorf("the error has %d bytes, want at most 500", len(err.Error()))
	}
	if strings.Contains(err.Error(), "tried to repeat") {
		t.Errorf("only the transport stopped the SDK: %v", err)
	}
	if wflo.CodeOf(err) == "" {
		t.Errorf("error %v has no code", err)
	}
	return verdict{e.Status, e.Retryable, e.RetryAfter, e.Billable}
}

// both runs a test once whole and once streaming.
func both(t *testing.T, s Suite, f func(t *testing.T, fix fixture)) {
	for _, name := range []string{s.Whole, s.Stream} {
		t.Run(name, func(t *testing.T) { f(t, load(t, name)) })
	}
}

func failures(t *testing.T, s Suite) {
	both(t, s, func(t *testing.T, f fixture) { statuses(t, s, f) })
	both(t, s, func(t *testing.T, f fixture) { connections(t, s, f) })
	both(t, s, func(t *testing.T, f fixture) { cancellations(t, s, f) })
	both(t, s, func(t *testing.T, f fixture) { noUsage(t, s, f) })
	both(t, s, func(t *testing.T, f fixture) { wrongServer(t, s, f) })
	t.Run("words", func(t *testing.T) { words(t, s) })
	t.Run("redirect", func(t *testing.T) { redirect(t, s) })
	t.Run("prompt", func(t *testing.T) { badPrompts(t, s) })
	t.Run("config", func(t *testing.T) { badConfigs(t, s) })
}

func statuses(t *testing.T, s Suite, f fixture) {
	date := http.Header{"Retry-After": {time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)}}
	tests := []struct {
		status    int
		header    http.Header
		retryable bool
		after     time.Duration
	}{
		{status: 400}, {status: 401}, {status: 402}, {status: 403}, {status: 404}, {status: 413}, {status: 422}, {status: 498}, {status: 499},
		{status: 408, retryable: true}, {status: 409, retryable: true},
		{status: 429, retryable: true},
		{status: 429, header: http.Header{"Retry-After": {"7"}}, retryable: true, after: 7 * time.Second},
		{status: 429, header: http.Header{"Retry-After": {"7"}, "Retry-After-Ms": {"250"}}, retryable: true, after: 250 * time.Millisecond},
		{status: 503, header: date, retryable: true, after: time.Hour},
		{status: 500, retryable: true}, {status: 502, retryable: true}, {status: 504, retryable: true}, {status: 529, retryable: true},
		// An SDK that listens to this header would retry.
		{status: 400, header: http.Header{"X-Should-Retry": {"true"}}},
	}
	for _, tt := range tests {
		srv := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			for k, v := range tt.header {
				w.Header()[k] = v
			}
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(tt.status)
			_, _ = fmt.Fprint(w, `{"error":{"message":"no luck"},"message":"no luck"}`)
		})
		_, _, err := f.call(context.Background(), s.driver(t, srv.URL))
		got := judge(t, err)
		// Dates have whole seconds and the clock goes on.
		if tt.after >= time.Minute && got.RetryAfter <= tt.after && got.RetryAfter > tt.after-30*time.Second {
			got.RetryAfter = tt.after
		}
		if diff := cmp.Diff(verdict{Status: tt.status, Retryable: tt.retryable, RetryAfter: tt.after}, got); diff != "" {
			t.Errorf("status %d %v (-want +got):\n%s", tt.status, tt.header, diff)
		}
		if !strings.Contains(err.Error(), "no luck") || !strings.Contains(err.Error(), f.prompt.Model) || !errors.Is(err, wflo.ErrProvider) {
			t.Errorf("status %d: the error %q lacks the provider's words, the model or the code", tt.status, err)
		}
		if n, _, _ := srv.seen(); n != 1 {
			t.Errorf("status %d: %d requests were sent, want 1", tt.status, n)
		}
	}
}

func connections(t *testing.T, s Suite, f fixture) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := "http://" + l.Addr().String()
	_ = l.Close()
	_, _, err = f.call(context.Background(), s.driver(t, closed))
	if diff := cmp.Diff(verdict{Retryable: true}, judge(t, err)); diff != "" {
		t.Errorf("nobody listens (-want +got):\n%s", diff)
	}

	srv := serve(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	_, _, err = f.call(context.Background(), s.driver(t, srv.URL))
	if diff := cmp.Diff(verdict{Retryable: true, Billable: true}, judge(t, err)); diff != "" {
		t.Errorf("broken before the answer (-want +got):\n%s", diff)
	}
	if n, _, _ := srv.seen(); n != 1 {
		t.Errorf("%d requests were sent, want 1", n)
	}

	srv = serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", f.contentType())
		_, _ = fmt.Fprint(w, f.response[:len(f.response)/2])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	_, _, err = f.call(context.Background(), s.driver(t, srv.URL))
	if diff := cmp.Diff(verdict{Status: 200, Retryable: true, Billable: true}, judge(t, err)); diff != "" {
		t.Errorf("broken within the answer (-want +got):\n%s", diff)
	}
}

func cancellations(t *testing.T, s Suite, f fixture) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	srv := serve(t, f.answer)
	_, _, err := f.call(ctx, s.driver(t, srv.URL))
	if diff := cmp.Diff(verdict{Retryable: true}, judge(t, err)); diff != "" || !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled before: %v (-want +got):\n%s", err, diff)
	}
	if n, _, _ := srv.seen(); n != 0 {
		t.Errorf("%d requests were sent after the cancellation", n)
	}

	for _, begun := range []bool{false, true} {
		ctx, cancel := context.WithCancel(context.Background())
		srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if begun {
				w.Header().Set("Content-Type", f.contentType())
				_, _ = fmt.Fprint(w, f.response[:len(f.response)/2])
				w.(http.Flusher).Flush()
			}
			cancel()
			<-r.Context().Done()
		})
		_, _, err := f.call(ctx, s.driver(t, srv.URL))
		got := judge(t, err)
		got.Status = 0 // the response may or may not have been noticed
		if diff := cmp.Diff(verdict{Retryable: true, Billable: true}, got); diff != "" || !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled after sending (answer begun: %v): %v (-want +got):\n%s", begun, err, diff)
		}
		cancel()
	}
}

func noUsage(t *testing.T, s Suite, f fixture) {
	if !strings.Contains(f.response, s.UsageKey) {
		t.Fatalf("the fixture has no %q", s.UsageKey)
	}
	f.response = without(t, f, s.UsageKey)
	srv := serve(t, f.answer)
	_, _, err := f.call(context.Background(), s.driver(t, srv.URL))
	if diff := cmp.Diff(verdict{Status: 200, Billable: true}, judge(t, err)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// wrongServer answers as the base URL of something else would; a retry is in vain.
func wrongServer(t *testing.T, s Suite, f fixture) {
	for mediaType, body := range map[string]string{
		"text/html": "<html>hello</html>", "application/json": `{"hello":"world"}`, "": "hello",
	} {
		srv := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = []string{mediaType}
			_, _ = fmt.Fprint(w, body)
		})
		_, _, err := f.call(context.Background(), s.driver(t, srv.URL))
		if diff := cmp.Diff(verdict{Status: 200, Billable: true}, judge(t, err)); diff != "" {
			t.Errorf("%q: %v (-want +got):\n%s", mediaType, err, diff)
		}
	}
}

// words sends everything that a server can say badly.
func words(t *testing.T, s Suite) {
	f := load(t, s.Whole)
	long := strings.Repeat("é", 3000)
	for _, body := range []string{
		"", "null", "[]", `"text"`, `{"error":`, "\xff\xfe" + long,
		`{"error":{"message":"` + long + `"}}`,
		`{"error":"bad key ` + Key + `"}`, `{"detail":"bad key ` + Key + `"}`, "bad key " + Key,
		`{"error":{"message":"` + strings.Repeat("x", 440) + Key + `"}}`,
	} {
		srv := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = fmt.Fprint(w, body)
		})
		_, _, err := f.call(context.Background(), s.driver(t, srv.URL))
		if got := judge(t, err); got != (verdict{Status: 401}) {
			t.Errorf("body %.40q: verdict is %+v", body, got)
		}
		if strings.Contains(err.Error(), Key[:12]) {
			t.Errorf("body %.40q: part of the key is in the error: %v", body, err)
		}
	}
}

func redirect(t *testing.T, s Suite) {
	f := load(t, s.Whole)
	other := serve(t, f.answer)
	for _, status := range []int{301, 302, 303, 307, 308} {
		srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other.URL+r.URL.Path, status)
		})
		_, _, err := f.call(context.Background(), s.driver(t, srv.URL))
		if got := judge(t, err); got != (verdict{Status: status}) {
			t.Errorf("status %d: verdict is %+v", status, got)
		}
	}
	if n, _, _ := other.seen(); n != 0 {
		t.Errorf("%d redirects were followed, with the key", n)
	}
}

func badPrompts(t *testing.T, s Suite) {
	f := load(t, s.Whole)
	srv := serve(t, f.answer)
	for name, change := range map[string]func(*wflo.Prompt){
		"no model":      func(p *wflo.Prompt) { p.Model = "" },
		"no messages":   func(p *wflo.Prompt) { p.Messages = nil },
		"no bound":      func(p *wflo.Prompt) { p.MaxTokens = 0 },
		"huge bound":    func(p *wflo.Prompt) { p.MaxTokens = 1 << 31 },
		"unknown role":  func(p *wflo.Prompt) { p.Messages = []wflo.Message{{Role: "boss", Text: "go"}} },
		"orphan result": func(p *wflo.Prompt) { p.Messages = []wflo.Message{{Role: wflo.RoleTool, Text: "ok"}} },
		"bad schema":    func(p *wflo.Prompt) { p.Tools = []wflo.Tool{{Name: "x", Parameters: json.RawMessage(`[]`)}} },
		"null schema":   func(p *wflo.Prompt) { p.Tools = []wflo.Tool{{Name: "x", Parameters: json.RawMessage(`null`)}} },
		"nameless tool": func(p *wflo.Prompt) { p.Tools = []wflo.Tool{{}} },
	} {
		bad := f
		change(&bad.prompt)
		_, _, err := bad.call(context.Background(), s.driver(t, srv.URL))
		if got := judge(t, err); got != (verdict{}) || !errors.Is(err, wflo.ErrInvalid) {
			t.Errorf("%s: %v, verdict %+v, want invalid", name, err, got)
		}
	}
	if n, _, _ := srv.seen(); n != 0 {
		t.Errorf("%d bad prompts were sent", n)
	}
}

func badConfigs(t *testing.T, s Suite) {
	if _, err := s.New("", "", nil); !errors.Is(err, wflo.ErrMissingKey) || !strings.Contains(wflo.HintOf(err), "_API_KEY") {
		t.Errorf("no key: %v, want a missing key and the variable to set", err)
	}
	for _, base := range []string{"ftp://host", "host/v1", "http://", "http://user:secret@host", "http://host?key=secret", "http://host#secret", ":secret"} {
		_, err := s.New(base, Key, nil)
		if !errors.Is(err, wflo.ErrInvalid) || strings.Contains(err.Error(), "secret") {
			t.Errorf("base URL %q: %v, want invalid without the URL", base, err)
		}
	}
}
