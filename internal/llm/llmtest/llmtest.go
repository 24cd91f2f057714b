// Package llmtest is the suite that every driver for language models must pass:
// [Run] with a [Suite] that says how to make the driver and where its fixtures
// are. It needs no network besides the loopback interface.
//
// Fixtures are folders below testdata: prompt.json is the wflo.Prompt,
// request.json what must be sent, response.json or response.sse what the vendor
// answers, reply.json the wflo.Reply that must come out. bill.json is what that
// costs; see [Wire]. Folders without a prompt.json are answers of calls that the
// driver does not make.
package llmtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

var update = flag.Bool("update", false, "write request.json and reply.json of the fixtures; review the difference")

// Key is the credential that the suite uses, and looks for where it must not be.
const Key = "sk-canary-7f3a9c51e0d24b68"

// Suite describes one driver.
type Suite struct {
	// New makes the driver for a server with the key.
	New func(baseURL, key string, client *http.Client) (activities.Provider, error)
	// Env holds the variables that the SDK would read, with hostile values.
	Env map[string]string
	// Whole and Stream name the fixtures that the failure tests build on; each
	// must have text and usage.
	Whole, Stream string
	// UsageKey is the JSON key of the usage in responses and streams.
	UsageKey string
	// CutUsage says that a cleanly ended stream without usage cannot be told
	// from a server that reports none, so that it is not worth a retry.
	CutUsage bool
}

// Run runs the whole suite. Fixtures are read from ./testdata.
func Run(t *testing.T, s Suite) {
	for k, v := range s.Env {
		t.Setenv(k, v)
	}
	t.Run("golden", func(t *testing.T) { golden(t, s) })
	t.Run("failures", func(t *testing.T) { failures(t, s) })
	t.Run("streams", func(t *testing.T) { streams(t, s) })
	t.Run("limits", func(t *testing.T) { limits(t, s) })
}

// fixture is one folder below testdata.
type fixture struct {
	dir      string
	prompt   wflo.Prompt
	response string
	streamed bool
	reply    wflo.Reply
}

func load(t *testing.T, name string) fixture {
	t.Helper()
	f := fixture{dir: filepath.Join("testdata", name)}
	decode(t, filepath.Join(f.dir, "prompt.json"), &f.prompt)
	data, err := os.ReadFile(filepath.Join(f.dir, "response.json"))
	if errors.Is(err, os.ErrNotExist) {
		f.streamed = true
		data, err = os.ReadFile(filepath.Join(f.dir, "response.sse"))
	}
	if err != nil {
		t.Fatal(err)
	}
	f.response = string(data)
	if _, err := os.Stat(filepath.Join(f.dir, "reply.json")); err == nil || !*update {
		decode(t, filepath.Join(f.dir, "reply.json"), &f.reply)
	}
	return f
}

func decode(t *testing.T, path string, into any) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

func (f fixture) contentType() string {
	if f.streamed {
		return "text/event-stream"
	}
	return "application/json"
}

// answer serves the fixture's response.
func (f fixture) answer(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", f.contentType())
	_, _ = io.WriteString(w, f.response)
}

// call calls the driver as the fixture wants it: with delta if it streams.
func (f fixture) call(ctx context.Context, p activities.Provider) (wflo.Reply, string, error) {
	var text strings.Builder
	var delta func(string)
	if f.streamed {
		delta = func(s string) { text.WriteString(s) }
	}
	reply, err := p.Chat(ctx, f.prompt, delta)
	return reply, text.String(), err
}

// server starts a server that counts requests and keeps the last one's body.
type server struct {
	*httptest.Server
	mu       sync.Mutex
	requests int
	header   http.Header
	body     []byte
}

func serve(t *testing.T, h http.HandlerFunc) *server {
	t.Helper()
	s := &server{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		s.requests++
		s.header, s.body = r.Header.Clone(), body
		s.mu.Unlock()
		h(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *server) seen() (int, http.Header, []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests, s.header, s.body
}

func (s Suite) driver(t *testing.T, base string) activities.Provider {
	t.Helper()
	p, err := s.New(base, Key, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func golden(t *testing.T, s Suite) {
	entries, err := os.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) == 0 {
		t.Fatal("no fixtures")
	}
	for _, e := range entries {
		if _, err := os.Stat(filepath.Join("testdata", e.Name(), "prompt.json")); errors.Is(err, os.ErrNotExist) {
			continue // for Wire
		}
		t.Run(e.Name(), func(t *testing.T) { goldenCase(t, s, load(t, e.Name())) })
	}
}

func goldenCase(t *testing.T, s Suite, f fixture) {
	srv := serve(t, f.answer)
	reply, text, err := f.call(context.Background(), s.driver(t, srv.URL))
	if err != nil {
		t.Fatal(err)
	}
	_, header, body := srv.seen()
	if *update {
		write(t, filepath.Join(f.dir, "request.json"), body)
		data, _ := json.Marshal(reply)
		write(t, filepath.Join(f.dir, "reply.json"), data)
	}
	want, err := os.ReadFile(filepath.Join(f.dir, "request.json"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(canonical(t, want), canonical(t, body)); diff != "" {
		t.Errorf("request (-want +got):\n%s", diff)
	}
	if !*update {
		if diff := cmp.Diff(f.reply, reply); diff != "" {
			t.Errorf("reply (-want +got):\n%s", diff)
		}
	}
	if f.streamed && text != reply.Text {
		t.Errorf("the pieces were %q, the reply's text is %q", text, reply.Text)
	}
	// net/http repeats requests with this header after it has sent them.
	for _, name := range []string{"Idempotency-Key", "X-Idempotency-Key"} {
		if header.Get(name) != "" {
			t.Errorf("the request has %s", name)
		}
	}
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, []byte(canonical(t, data)), 0o644); err != nil {
		t.Fatal(err)
	}
}

// canonical is data with sorted keys and one field per line; numbers keep their
// digits.
func canonical(t *testing.T, data []byte) string {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		t.Fatalf("%v in %s", err, data)
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// without is a response or a stream from which every field of that name is
// removed.
func without(t *testing.T, f fixture, key string) string {
	t.Helper()
	if !f.streamed {
		return dropKey(t, f.response, key)
	}
	lines := strings.SplitAfter(f.response, "\n")
	for i, line := range lines {
		data, isData := strings.CutPrefix(line, "data: {")
		if isData {
			lines[i] = "data: " + dropKey(t, "{"+data, key) + "\n"
		}
	}
	return strings.Join(lines, "")
}

func dropKey(t *testing.T, text, key string) string {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	prune(v, key)
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func prune(v any, key string) {
	switch v := v.(type) {
	case map[string]any:
		delete(v, key)
		for _, child := range v {
			prune(child, key)
		}
	case []any:
		for _, child := range v {
			prune(child, key)
		}
	}
}
