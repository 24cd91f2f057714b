package gateway_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	sdk "github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"go.uber.org/goleak"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/gateway"
	"github.com/wflo-ai/wflo-go/internal/meter/metertest"
	"github.com/wflo-ai/wflo-go/pricing"
	"github.com/wflo-ai/wflo-go/wflotest/scripted"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	secret      = "gw-0123456789abcdef"
	vendorKey   = "sk-vendor-0123456789"
	budgetOfRun = "run:gateway/search/default"
)

// counter is a gateway that is open for business.
type counter struct {
	books *metertest.Books
	model *scripted.Server
	front *httptest.Server
	http  *http.Client
}

func open(t *testing.T, limit wflo.Money, script scripted.Script, change func(*gateway.Config)) *counter {
	t.Helper()
	srv, err := scripted.New(scripted.Config{Script: script, APIKey: vendorKey, Scripts: map[string]scripted.Script{"gpt-5.4-mini": script, "nobody-knows": script}})
	if err != nil {
		t.Fatal(err)
	}
	base := http.DefaultTransport.(*http.Transport).Clone()
	c := &counter{books: &metertest.Books{}, model: srv}
	cfg := gateway.Config{
		Ledger: c.books, Prices: pricing.Default(), Base: base,
		Keys: []gateway.Key{{Name: "search", Secret: secret, Run: wflo.Run{
			User: "ann", Team: "payments", Tags: map[string]string{"env": "prod"}, Budget: wflo.Budget{Limit: limit},
		}}},
		Upstreams: []gateway.Upstream{{Provider: "openai", BaseURL: srv.BaseURL(scripted.OpenAI), APIKey: vendorKey}},
	}
	if change != nil {
		change(&cfg)
	}
	g, err := gateway.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	c.front = httptest.NewServer(g)
	front := http.DefaultTransport.(*http.Transport).Clone()
	c.http = &http.Client{Transport: front}
	t.Cleanup(func() {
		front.CloseIdleConnections()
		c.front.Close()
		base.CloseIdleConnections()
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func (c *counter) client() sdk.Client {
	return sdk.NewClient(option.WithBaseURL(c.front.URL+"/v1"), option.WithAPIKey(secret), option.WithHTTPClient(c.http), option.WithMaxRetries(0))
}

// post sends a body and reads the answer.
func (c *counter) post(t *testing.T, path, body string, header ...string) (*http.Response, map[string]any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.front.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+secret)
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := c.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatalf("status %d, body %q: %v", resp.StatusCode, raw, err)
	}
	return resp, out
}

func fault(out map[string]any) map[string]any {
	e, _ := out["error"].(map[string]any)
	return e
}

const hello = `{"model":"gpt-5.4-mini","messages":[{"role":"user","content":"hello"}],"max_tokens":200}`

func TestChatIsForwardedAndCharged(t *testing.T) {
	c := open(t, wflo.USD, scripted.Echo, nil)
	resp, out := c.post(t, "/v1/chat/completions", hello, "X-Wflo-Tags", "feature=search")
	if resp.StatusCode != http.StatusOK || out["object"] != "chat.completion" {
		t.Fatalf("%d %v", resp.StatusCode, out)
	}
	entries := c.books.Entries()
	if len(entries) != 1 || entries[0].State != wflo.HoldSettled {
		t.Fatalf("entries %+v", entries)
	}
	e := entries[0]
	if e.Run.User != "ann" || e.Run.Team != "payments" || e.Run.Tags["env"] != "prod" || e.Run.Tags["feature"] != "search" || e.Run.Namespace != "" {
		t.Errorf("run %+v", e.Run)
	}
	if got := resp.Header.Get(gateway.HeaderCost); got != e.Amount.Decimal() {
		t.Errorf("cost %q, want %s", got, e.Amount.Decimal())
	}
	if got := resp.Header.Get(gateway.HeaderLeft); got != (wflo.USD - e.Amount).Decimal() {
		t.Errorf("left %q, want %s", got, (wflo.USD - e.Amount).Decimal())
	}
	if h := c.books.Holds()[0]; h.Within == 0 {
		t.Error("the sweep would never decide about the hold")
	}
	if err := c.books.Check(); err != nil {
		t.Error(err)
	}
}

func TestStream(t *testing.T) {
	c := open(t, wflo.USD, func(scripted.Turn) scripted.Answer { return scripted.Answer{Text: strings.Repeat("some words ", 50)} }, nil)
	client := c.client()
	stream := client.Chat.Completions.NewStreaming(t.Context(), sdk.ChatCompletionNewParams{
		Model: "openai/gpt-5.4-mini", Messages: []sdk.ChatCompletionMessageParamUnion{sdk.UserMessage("hello")},
	})
	defer stream.Close()
	var all sdk.ChatCompletionAccumulator
	for stream.Next() {
		all.AddChunk(stream.Current())
	}
	if err := stream.Err(); err != nil {
		t.Fatal(err)
	}
	if all.Choices[0].Message.Content != strings.Repeat("some words ", 50) || all.Usage.TotalTokens == 0 {
		t.Errorf("answer %+v", all)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.front.URL+"/v1/chat/completions",
		strings.NewReader(strings.Replace(hello, "{", `{"stream":true,`, 1)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+secret)
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	entries := c.books.Entries()
	if len(entries) != 2 || entries[1].State != wflo.HoldSettled {
		t.Fatalf("entries %+v", entries)
	}
	if got := resp.Trailer.Get(gateway.HeaderCost); got != entries[1].Amount.Decimal() {
		t.Errorf("trailer %q, want %s", got, entries[1].Amount.Decimal())
	}
}

// TestPieceArrivesBeforeTheEnd: the vendor holds the rest of its answer back
// until the first piece is with the caller.
func TestPieceArrivesBeforeTheEnd(t *testing.T) {
	seen := make(chan struct{})
	vendor := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, `data: {"id":"1","model":"gpt-5.4-mini","choices":[{"delta":{"content":"first"}}]}`+"\n\n")
		_ = http.NewResponseController(w).Flush()
		<-seen
		_, _ = io.WriteString(w, `data: {"id":"1","model":"gpt-5.4-mini","choices":[{"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}}`+"\n\ndata: [DONE]\n\n")
	}))
	defer vendor.Close()
	c := open(t, wflo.USD, scripted.Echo, func(cfg *gateway.Config) {
		cfg.Upstreams = []gateway.Upstream{{Provider: "openai", BaseURL: vendor.URL + "/v1"}}
	})
	client := c.client()
	stream := client.Chat.Completions.NewStreaming(t.Context(), sdk.ChatCompletionNewParams{
		Model: "gpt-5.4-mini", Messages: []sdk.ChatCompletionMessageParamUnion{sdk.UserMessage("hello")},
	})
	defer stream.Close()
	if !stream.Next() || stream.Current().Choices[0].Delta.Content != "first" {
		t.Fatalf("first piece: %v", stream.Err())
	}
	close(seen)
	for stream.Next() { //nolint:revive // the rest only has to end
	}
	if e := c.books.Entries(); stream.Err() != nil || len(e) != 1 || e[0].Usage.Total() != 4 {
		t.Errorf("%v, entries %+v", stream.Err(), e)
	}
}

func TestOverBudgetIs402(t *testing.T) {
	c := open(t, 20*wflo.MicroUSD, scripted.Echo, nil)
	resp, out := c.post(t, "/v1/chat/completions", hello)
	e := fault(out)
	if resp.StatusCode != http.StatusPaymentRequired || e["type"] != "budget_exceeded" || e["code"] != "wflo.BudgetExceeded" || e["param"] != nil {
		t.Fatalf("%d %v", resp.StatusCode, out)
	}
	why, _ := e["wflo"].(map[string]any)
	if why["budget"] != budgetOfRun || why["limit"] != "0.00002" || why["spent"] != "0.00" || why["reserved"] != "0.00" || why["window_end"] != nil {
		t.Errorf("reason %v", why)
	}
	if n := len(c.model.Calls()); n != 0 {
		t.Errorf("%d calls were made", n)
	}
	client := c.client()
	_, err := client.Chat.Completions.New(t.Context(), sdk.ChatCompletionNewParams{
		Model: "gpt-5.4-mini", Messages: []sdk.ChatCompletionMessageParamUnion{sdk.UserMessage("hello")},
	})
	var api *sdk.Error
	if !errors.As(err, &api) || api.StatusCode != http.StatusPaymentRequired || api.Code != "wflo.BudgetExceeded" {
		t.Errorf("the SDK says %v", err)
	}
}

// TestRetriedRequestIsPaidOnce by its idempotency key, and only by that.
func TestRetriedRequestIsPaidOnce(t *testing.T) {
	c := open(t, wflo.USD, func(turn scripted.Turn) scripted.Answer {
		return scripted.Answer{Text: strings.Repeat("answer ", turn.Call)}
	}, nil)
	_, first := c.post(t, "/v1/chat/completions", hello, "Idempotency-Key", "k1")
	resp, second := c.post(t, "/v1/chat/completions", hello, "Idempotency-Key", "k1")
	if a, b := marshal(t, first), marshal(t, second); !bytes.Equal(a, b) || resp.Header.Get("X-Wflo-Replayed") != "true" || resp.Header.Get(gateway.HeaderCost) != "0.00" {
		t.Errorf("%s, then %s with %v", a, b, resp.Header)
	}
	if n := len(c.model.Calls()); n != 1 {
		t.Fatalf("%d calls for one key", n)
	}
	c.post(t, "/v1/chat/completions", hello, "Idempotency-Key", "k2")
	c.post(t, "/v1/chat/completions", hello, "Idempotency-Key", "k1", "X-Wflo-Run", "other")
	c.post(t, "/v1/chat/completions", hello)
	c.post(t, "/v1/chat/completions", hello)
	if n := len(c.model.Calls()); n != 5 {
		t.Errorf("%d calls, want 5: another key, another run and two without key are calls of their own", n)
	}
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestKeyInUseIsAConflict: the second request comes while the first one runs.
func TestKeyInUseIsAConflict(t *testing.T) {
	running, done := make(chan struct{}), make(chan struct{})
	c := open(t, wflo.USD, func(scripted.Turn) scripted.Answer {
		close(running)
		<-done
		return scripted.Answer{Text: "late"}
	}, nil)
	first := make(chan error, 1)
	go func() {
		client := c.client()
		_, err := client.Chat.Completions.New(context.WithoutCancel(t.Context()), sdk.ChatCompletionNewParams{
			Model: "gpt-5.4-mini", Messages: []sdk.ChatCompletionMessageParamUnion{sdk.UserMessage("hello")},
		}, option.WithHeader("Idempotency-Key", "k"), option.WithJSONSet("max_tokens", 200))
		first <- err
	}()
	<-running
	// The same body as the SDK sent, as the model saw it, is what the key is for.
	resp, out := c.post(t, "/v1/chat/completions", `{"messages":[{"content":"hello","role":"user"}],"model":"gpt-5.4-mini","max_tokens":200}`, "Idempotency-Key", "k")
	close(done)
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusConflict || fault(out)["code"] != "wflo.Conflict" || len(c.model.Calls()) != 1 {
		t.Errorf("%d %v after %d calls", resp.StatusCode, out, len(c.model.Calls()))
	}
}

// TestRunsHaveBudgetsOfTheirOwn: a session is what the caller says it is.
func TestRunsHaveBudgetsOfTheirOwn(t *testing.T) {
	c := open(t, wflo.USD, scripted.Echo, nil)
	c.post(t, "/v1/chat/completions", hello, "X-Wflo-Run", "talk-1")
	c.post(t, "/v1/chat/completions", hello)
	for _, id := range []string{"run:gateway/search/talk-1", budgetOfRun} {
		if s := c.books.Spend(id); s.Spent == 0 || s.Limit != wflo.USD {
			t.Errorf("budget %+v", s)
		}
	}
}

func TestRefusedRequests(t *testing.T) {
	c := open(t, wflo.USD, scripted.Echo, nil)
	big := `{"model":"gpt-5.4-mini","messages":[{"role":"user","content":"` + strings.Repeat("x", 32<<20) + `"}]}`
	tests := []struct {
		name, path, body string
		header           []string
		status           int
		code             any
	}{
		{"wrong key", "/v1/chat/completions", hello, []string{"Authorization", "Bearer wrong-0123456789abcdef"}, 401, "invalid_api_key"},
		{"no key", "/v1/chat/completions", hello, []string{"Authorization", ""}, 401, "invalid_api_key"},
		{"key without scheme", "/v1/chat/completions", hello, []string{"Authorization", secret}, 401, "invalid_api_key"},
		{"unknown model", "/v1/chat/completions", strings.Replace(hello, "gpt-5.4-mini", "nobody-knows", 1), nil, 404, "wflo.UnknownModel"},
		{"unpriced model of a known provider", "/v1/chat/completions", strings.Replace(hello, "gpt-5.4-mini", "openai/nobody-knows", 1), nil, 404, "wflo.UnknownModel"},
		{"free model elsewhere", "/v1/chat/completions", strings.Replace(hello, "gpt-5.4-mini", "ollama/anything", 1), nil, 404, "wflo.MissingKey"},
		{"provider without access", "/v1/chat/completions", strings.Replace(hello, "gpt-5.4-mini", "claude-haiku-4-5", 1), nil, 404, "wflo.MissingKey"},
		{"no model", "/v1/chat/completions", `{"messages":[]}`, nil, 400, "wflo.Invalid"},
		{"not JSON", "/v1/chat/completions", `hello`, nil, 400, "wflo.Invalid"},
		{"not said to be JSON", "/v1/chat/completions", hello, []string{"Content-Type", "text/plain"}, 400, "wflo.Invalid"},
		{"two limits", "/v1/chat/completions", strings.Replace(hello, "}]", `}],"max_tokens":100000`, 1), nil, 400, "wflo.Invalid"},
		{"limit in capitals", "/v1/chat/completions", strings.Replace(hello, "}]", `}],"MAX_TOKENS":100000`, 1), nil, 400, "wflo.Invalid"},
		{"image", "/v1/chat/completions", `{"model":"gpt-5.4-mini","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"http://x/y.png"}}]}]}`, nil, 400, "wflo.Invalid"},
		{"tool of the vendor", "/v1/responses", `{"model":"gpt-5.4-mini","input":"hi","tools":[{"type":"web_search"}]}`, nil, 400, "wflo.Invalid"},
		{"huge", "/v1/chat/completions", big, nil, 413, "wflo.PayloadTooLarge"},
		{"other endpoint", "/v1/images/generations", hello, nil, 404, nil},
		{"path tricks", "/v1/files/../chat/completions", hello, nil, 404, nil},
		{"run with a slash", "/v1/chat/completions", hello, []string{"X-Wflo-Run", "../../run:w/1"}, 400, "wflo.Invalid"},
		{"long run", "/v1/chat/completions", hello, []string{"X-Wflo-Run", strings.Repeat("r", 200)}, 400, "wflo.Invalid"},
		{"tag that changes", "/v1/chat/completions", hello, []string{"X-Wflo-Tags", "env=dev"}, 400, "wflo.Invalid"},
		{"tag without value", "/v1/chat/completions", hello, []string{"X-Wflo-Tags", "env"}, 400, "wflo.Invalid"},
		{"many tags", "/v1/chat/completions", hello, []string{"X-Wflo-Tags", "a=1,b=1,c=1,d=1,e=1,f=1,g=1,h=1,i=1,j=1,k=1,l=1,m=1,n=1,o=1,p=1,q=1,r=1,s=1,t=1,u=1"}, 400, "wflo.Invalid"},
		{"long idempotency key", "/v1/chat/completions", hello, []string{"Idempotency-Key", strings.Repeat("k", 300)}, 400, "wflo.Invalid"},
		{"compressed", "/v1/chat/completions", hello, []string{"Content-Encoding", "gzip"}, 400, "wflo.Invalid"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			resp, out := c.post(t, tt.path, tt.body, tt.header...)
			e := fault(out)
			if resp.StatusCode != tt.status || e["code"] != tt.code || e["message"] == "" || e["type"] == "" {
				t.Errorf("%d %v, want %d %v", resp.StatusCode, out, tt.status, tt.code)
			}
			if strings.Contains(string(marshal(t, out)), secret) || strings.Contains(string(marshal(t, out)), vendorKey) {
				t.Errorf("a key is shown: %v", out)
			}
		})
	}
	if n, h := len(c.model.Calls()), c.books.Holds(); n != 0 || len(h) != 0 {
		t.Errorf("%d calls, holds %+v", n, h)
	}
}

// TestNothingOfTheCallerReachesTheVendor but what it asks.
func TestNothingOfTheCallerReachesTheVendor(t *testing.T) {
	var got http.Header
	vendor := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header.Clone()
		w.Header().Set("Set-Cookie", "a=b")
		w.Header().Set("Openai-Organization", "ours")
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"object":"list","model":"text-embedding-3-small","data":[],"usage":{"prompt_tokens":3,"total_tokens":3}}`)
	}))
	defer vendor.Close()
	c := open(t, wflo.USD, scripted.Echo, func(cfg *gateway.Config) {
		cfg.Upstreams = []gateway.Upstream{{Provider: "openai", BaseURL: vendor.URL + "/v1", APIKey: vendorKey}}
	})
	resp, out := c.post(t, "/v1/embeddings", `{"model":"text-embedding-3-small","input":["a","b"]}`,
		"Cookie", "session=1", "OpenAI-Organization", "theirs", "X-Forwarded-For", "1.2.3.4", "X-Api-Key", "x", "Host", "evil")
	if resp.StatusCode != http.StatusOK {
		t.Fatal(out)
	}
	if got.Get("Authorization") != "Bearer "+vendorKey {
		t.Errorf("vendor got %v", got)
	}
	for _, name := range []string{"Cookie", "Openai-Organization", "X-Forwarded-For", "X-Api-Key", "X-Wflo-Run"} {
		if got.Get(name) != "" {
			t.Errorf("vendor got %s: %s", name, got.Get(name))
		}
	}
	if resp.Header.Get("Set-Cookie") != "" || resp.Header.Get("Openai-Organization") != "" {
		t.Errorf("caller got %v", resp.Header)
	}
	if e := c.books.Entries(); len(e) != 1 || e[0].Usage.Input != 3 {
		t.Errorf("entries %+v", e)
	}
}

func TestUpstreamErrors(t *testing.T) {
	tests := []struct {
		name   string
		status int
		body   string
		want   int
		says   string
	}{
		{"rate", 429, `{"error":{"message":"slow down","type":"requests"}}`, 429, "slow down"},
		{"gemini's list", 400, `[{"error":{"code":400,"message":"bad schema"}}]`, 400, "bad schema"},
		{"broken", 500, `<html>`, 500, "<html>"},
		{"our key", 401, `{"error":{"message":"Incorrect API key provided: ` + vendorKey + `"}}`, 502, "refused the gateway's key"},
		{"key in other words", 400, `{"error":{"message":"for ` + vendorKey + ` this is bad"}}`, 400, "[key]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := open(t, wflo.USD, func(scripted.Turn) scripted.Answer {
				return scripted.Answer{Fault: scripted.Fault{Status: tt.status, Body: tt.body}}
			}, nil)
			resp, out := c.post(t, "/v1/chat/completions", hello)
			message, _ := fault(out)["message"].(string)
			if resp.StatusCode != tt.want || !strings.Contains(message, tt.says) || strings.Contains(message, vendorKey) {
				t.Errorf("%d %v", resp.StatusCode, out)
			}
			if err := c.books.Check(); err != nil || len(c.books.Entries()) != 0 {
				t.Errorf("%v, entries %+v", err, c.books.Entries())
			}
		})
	}
}

func TestModelsAreThoseWithAPrice(t *testing.T) {
	c := open(t, wflo.USD, scripted.Echo, nil)
	client := c.client()
	page, err := client.Models.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(page.Data) != 1 || page.Data[0].ID != "openai/gpt-5.4-mini" {
		t.Errorf("models %+v", page.Data)
	}
}

// TestProvidersBehindOneHost are billed for what each of them sells, and are two
// calls, whatever their requests share.
func TestProvidersBehindOneHost(t *testing.T) {
	c := open(t, wflo.USD, scripted.Echo, func(cfg *gateway.Config) {
		cfg.Upstreams = append(cfg.Upstreams, gateway.Upstream{Provider: "ollama", BaseURL: cfg.Upstreams[0].BaseURL, APIKey: vendorKey})
	})
	for _, provider := range []string{"openai", "ollama"} {
		body := strings.Replace(hello, "gpt-5.4-mini", provider+"/gpt-5.4-mini", 1)
		if resp, out := c.post(t, "/v1/chat/completions", body, "Idempotency-Key", "k"); resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %d %v", provider, resp.StatusCode, out)
		}
	}
	e := c.books.Entries()
	if len(e) != 2 || e[0].Provider != "openai" || e[0].Amount == 0 || e[1].Provider != "ollama" || e[1].Amount != 0 {
		t.Errorf("entries %+v", e)
	}
	if err := c.books.Check(); err != nil {
		t.Error(err)
	}
}

// TestKeysReserveTheSame: a request with an idempotency key that is sent again
// while it runs must not be taken for another attempt, whatever was learned about
// prompts in between.
func TestKeysReserveTheSame(t *testing.T) {
	var learned activities.Estimator
	c := open(t, wflo.USD, scripted.Echo, func(cfg *gateway.Config) { cfg.Estimator = &learned })
	for range 2 * 8 {
		if resp, out := c.post(t, "/v1/chat/completions", hello); resp.StatusCode != http.StatusOK {
			t.Fatalf("%d %v", resp.StatusCode, out)
		}
	}
	c.post(t, "/v1/chat/completions", hello, "Idempotency-Key", "k")
	holds := c.books.Holds()
	first, last, named := holds[0].Amount, holds[len(holds)-2].Amount, holds[len(holds)-1].Amount
	if last == first || named <= max(first, last) {
		t.Errorf("the first call reserved %s, one from what was learned %s, one with a key %s", first, last, named)
	}
}

func TestOffWithoutKeys(t *testing.T) {
	c := open(t, wflo.USD, scripted.Echo, func(cfg *gateway.Config) { cfg.Keys = nil })
	if resp, out := c.post(t, "/v1/chat/completions", hello); resp.StatusCode != http.StatusNotFound || fault(out) == nil {
		t.Errorf("%d %v", resp.StatusCode, out)
	}
}

func TestConfigIsChecked(t *testing.T) {
	good := gateway.Key{Name: "a", Secret: secret}
	for name, cfg := range map[string]gateway.Config{
		"short secret":    {Keys: []gateway.Key{{Name: "a", Secret: "short"}}},
		"name with slash": {Keys: []gateway.Key{{Name: "a/b", Secret: secret}}},
		"same secret":     {Keys: []gateway.Key{good, {Name: "b", Secret: secret}}},
		"same name":       {Keys: []gateway.Key{good, {Name: "a", Secret: secret + "2"}}},
		"no URL":          {Upstreams: []gateway.Upstream{{Provider: "else"}}},
		"key in URL":      {Upstreams: []gateway.Upstream{{Provider: "x", BaseURL: "https://u:p@host/v1"}}},
		"same provider":   {Upstreams: []gateway.Upstream{{Provider: "x", BaseURL: "https://h/v1"}, {Provider: "x", BaseURL: "https://i/v1"}}},
	} {
		cfg.Ledger, cfg.Prices = &metertest.Books{}, pricing.Default()
		if _, err := gateway.New(cfg); !errors.Is(err, wflo.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := gateway.New(gateway.Config{Keys: []gateway.Key{good}}); !errors.Is(err, wflo.ErrInvalid) {
		t.Errorf("without ledger: %v", err)
	}
}
