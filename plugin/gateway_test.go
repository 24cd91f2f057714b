package plugin

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/gateway"
	"github.com/wflo-ai/wflo-go/wflotest/scripted"
)

const (
	callerKey = "gw-0123456789abcdef"
	vendorKey = "sk-vendor-0123456789"
	reply     = `{"id":"a","object":"chat.completion","model":"gpt-5.4-mini","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}}`
	question  = `{"model":"gpt-5.4-mini","messages":[{"role":"user","content":"hello"}],"max_tokens":100}`
)

func vendor(t *testing.T) *scripted.Server {
	t.Helper()
	s, err := scripted.New(scripted.Config{Script: scripted.Echo, APIKey: vendorKey})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func post(ctx context.Context, t *testing.T, url, key, body string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/json")
	return req
}

// through sends requests by way of the plugin's transport.
func through(t *testing.T, p *Plugin) *http.Client {
	t.Helper()
	base := http.DefaultTransport.(*http.Transport).Clone()
	t.Cleanup(base.CloseIdleConnections)
	return &http.Client{Transport: p.Transport(base)}
}

// TestGateway forwards to the providers of the plugin and charges its ledger.
func TestGateway(t *testing.T) {
	p := newPlugin(t, func(c *Config) {
		c.Providers = []Provider{{Kind: KindOpenAI, APIKey: vendorKey, BaseURL: vendor(t).BaseURL(scripted.OpenAI)}}
		c.Budgets = []wflo.Budget{{Scope: wflo.ScopeTeam, Name: "build", Limit: wflo.USD}}
		c.GatewayKeys = []GatewayKey{{Name: "ci", Secret: callerKey, Run: wflo.Run{Team: "build"}}}
	})
	rec := httptest.NewRecorder()
	p.Gateway().ServeHTTP(rec, post(t.Context(), t, "/v1/chat/completions", callerKey, question))
	if rec.Code != http.StatusOK || !strings.Contains(rec.Body.String(), "echo: hello") {
		t.Fatalf("%d %s", rec.Code, rec.Body)
	}
	s, err := p.Ledger().Spend(t.Context(), "team:build")
	if err != nil || s.Spent == 0 || s.Spent.Decimal() != rec.Header().Get(gateway.HeaderCost) || s.Reserved != 0 {
		t.Errorf("spend %+v, %v; the answer says %s", s, err, rec.Header().Get(gateway.HeaderCost))
	}
}

func TestNoGatewayWithoutKeys(t *testing.T) {
	if g := newPlugin(t, nil).Gateway(); g != nil {
		t.Errorf("got %v", g)
	}
}

// TestCloseWaitsForTheGateway: a call that is being answered still needs the
// ledger.
func TestCloseWaitsForTheGateway(t *testing.T) {
	asked, answer := make(chan struct{}), make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		close(asked)
		<-answer
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, reply)
	}))
	defer slow.Close()
	p := newPlugin(t, func(c *Config) {
		c.Providers = []Provider{{Kind: KindOpenAI, APIKey: vendorKey, BaseURL: slow.URL + "/v1"}}
		c.GatewayKeys = []GatewayKey{{Name: "ci", Secret: callerKey}}
	})
	rec, answered, closed := httptest.NewRecorder(), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(answered)
		p.Gateway().ServeHTTP(rec, post(t.Context(), t, "/v1/chat/completions", callerKey, question))
	}()
	<-asked
	go func() {
		defer close(closed)
		p.Close()
	}()
	for p.gateway.inside.TryRLock() { // until Close is at the door
		p.gateway.inside.RUnlock()
		select {
		case <-closed:
			t.Fatal("Close did not wait")
		default:
			runtime.Gosched()
		}
	}
	close(answer)
	<-answered
	<-closed
	if rec.Code != http.StatusOK {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}

func TestUpstreams(t *testing.T) {
	carrier := &http.Transport{}
	got := upstreams([]Provider{
		{Kind: KindOpenAI, APIKey: "a"},
		{Kind: KindOpenAI, Name: "vllm", BaseURL: "http://llm.internal:8000/v1/", HTTPClient: &http.Client{Transport: carrier}},
		{Kind: KindAnthropic, APIKey: "b"},
		{Kind: KindAnthropic, Name: "mirror", APIKey: "c", BaseURL: "https://mirror/anthropic"},
		{Kind: KindGoogle, APIKey: "d", BaseURL: "https://mirror"},
		{Kind: KindCohere, APIKey: "e", BaseURL: "https://mirror"},
		{Name: "own", Custom: struct{ activities.Provider }{}},
	})
	want := []gateway.Upstream{
		{Provider: "openai", APIKey: "a", BaseURL: "https://api.openai.com/v1"},
		{Provider: "vllm", BaseURL: "http://llm.internal:8000/v1", Base: carrier},
		{Provider: "anthropic", APIKey: "b", BaseURL: "https://api.anthropic.com/v1"},
		{Provider: "mirror", APIKey: "c", BaseURL: "https://mirror/anthropic/v1"},
		{Provider: "google", APIKey: "d", BaseURL: "https://mirror/v1beta/openai"},
		{Provider: "cohere", APIKey: "e", BaseURL: "https://mirror/compatibility/v1"},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(gateway.Upstream{}, "Base")); diff != "" || got[1].Base != carrier {
		t.Errorf("difference (-want +got):\n%s", diff)
	}
}

func TestHosts(t *testing.T) {
	c := Config{
		Providers: []Provider{
			{Kind: KindOpenAI, BaseURL: "http://localhost:11434/v1"}, {Kind: KindOpenAI, Name: "vllm", BaseURL: "http://127.0.0.1:11434/v1"},
			{Kind: KindOpenAI, Name: "shared", BaseURL: "https://mirror/v1"}, {Kind: KindAnthropic, BaseURL: "https://mirror"},
			{Kind: KindCohere, BaseURL: "https://c.internal"}, {Kind: KindOpenAI, BaseURL: "https://o.internal"},
		},
		Meter: Meter{Hosts: map[string]string{"o.internal": "vllm"}},
	}
	want := map[string]string{
		"localhost:11434": "ollama", "127.0.0.1:11434": "vllm", "[::1]:11434": "ollama", "c.internal": "cohere", "o.internal": "vllm",
	}
	if diff := cmp.Diff(want, c.hosts()); diff != "" {
		t.Errorf("difference (-want +got):\n%s", diff)
	}
}

// TestMeter: what is set reaches the transport.
func TestMeter(t *testing.T) {
	srv := vendor(t)
	p := newPlugin(t, func(c *Config) {
		c.Meter = Meter{
			Hosts: map[string]string{strings.TrimPrefix(srv.URL(), "http://"): "ollama"}, Models: map[string]string{"gpt-5.4-mini": "qwen3:8b"},
			Allow: []string{"/v1/files"},
		}
	})
	ctx := wflo.WithRun(t.Context(), wflo.Run{WorkflowID: "w", FirstRunID: "r", User: "ann"})
	resp, err := through(t, p).Do(post(ctx, t, srv.BaseURL(scripted.OpenAI)+"/chat/completions", vendorKey, question))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("%s, %v", resp.Status, err)
	}
	_ = resp.Body.Close()
	entries, err := p.Ledger().Entries(ctx, "w/r")
	if err != nil || len(entries) != 1 || entries[0].Provider != "ollama" || entries[0].Amount != 0 {
		t.Errorf("entries %+v, %v", entries, err)
	}
	// Without a run: nobody would pay for a call, and this one costs nothing.
	resp, err = through(t, p).Do(post(t.Context(), t, srv.BaseURL(scripted.OpenAI)+"/files", vendorKey, "{}"))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
}

// TestStrict: the transport holds as much as the model activity would.
func TestStrict(t *testing.T) {
	srv := vendor(t)
	reserved := map[bool]wflo.Money{}
	for _, strict := range []bool{true, false} {
		p := newPlugin(t, func(c *Config) { c.Strict = strict })
		ctx := wflo.WithRun(t.Context(), wflo.Run{WorkflowID: "w", FirstRunID: "r"})
		resp, err := through(t, p).Do(post(ctx, t, srv.BaseURL(scripted.OpenAI)+"/chat/completions", vendorKey, question))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		entries, err := p.Ledger().Entries(ctx, "w/r")
		if err != nil || len(entries) != 1 {
			t.Fatalf("entries %+v, %v", entries, err)
		}
		reserved[strict] = entries[0].Reserved
	}
	if reserved[false] == 0 || reserved[true] <= reserved[false] {
		t.Errorf("strict reserved %s, learned %s", reserved[true], reserved[false])
	}
}

// TestOutsideTokens: images are refused unless it is set.
func TestOutsideTokens(t *testing.T) {
	eye := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, reply)
	}))
	defer eye.Close()
	const seen = `{"model":"gpt-5.4-mini","max_tokens":100,"messages":[{"role":"user","content":[` +
		`{"type":"text","text":"what is this?"},{"type":"image_url","image_url":{"url":"https://example.com/cat.png"}}]}]}`
	for tokens, want := range map[int64]int{0: http.StatusBadRequest, 2000: http.StatusOK} {
		p := newPlugin(t, func(c *Config) {
			c.Providers = []Provider{{Kind: KindOpenAI, APIKey: vendorKey, BaseURL: eye.URL + "/v1"}}
			c.GatewayKeys = []GatewayKey{{Name: "ci", Secret: callerKey}}
			c.Meter.OutsideTokens = tokens
		})
		rec := httptest.NewRecorder()
		p.Gateway().ServeHTTP(rec, post(t.Context(), t, "/v1/chat/completions", callerKey, seen))
		if rec.Code != want {
			t.Errorf("%d tokens: %d %s", tokens, rec.Code, rec.Body)
		}
	}
}

func TestNewRefusesMeter(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"OutsideTokens":     func(c *Config) { c.Meter.OutsideTokens = -1 },
		"Hosts":             func(c *Config) { c.Meter.Hosts = map[string]string{"http://a": "b"} },
		"Models":            func(c *Config) { c.Meter.Models = map[string]string{"a": ""} },
		"Allow":             func(c *Config) { c.Meter.Allow = []string{"/v1/[files"} },
		"gateway.keys.ci":   func(c *Config) { c.GatewayKeys = []GatewayKey{{Name: "ci", Secret: "hunter2"}} },
		"gateway.keys.name": func(c *Config) { c.GatewayKeys = []GatewayKey{{Secret: callerKey}} },
	} {
		cfg := Config{DataDir: t.TempDir(), Database: "memory", Providers: []Provider{}}
		change(&cfg)
		p, err := New(cfg)
		if err == nil {
			p.Close()
		}
		if !errors.Is(err, wflo.ErrInvalid) || !strings.Contains(err.Error(), name) || wflo.HintOf(err) == "" || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: New = %v", name, err)
		}
	}
}
