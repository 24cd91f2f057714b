package meter_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	sdk "github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"go.uber.org/goleak"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/llm/anthropic"
	"github.com/wflo-ai/wflo-go/internal/llm/cohere"
	"github.com/wflo-ai/wflo-go/internal/llm/google"
	"github.com/wflo-ai/wflo-go/internal/llm/openai"
	"github.com/wflo-ai/wflo-go/internal/meter"
	"github.com/wflo-ai/wflo-go/internal/meter/metertest"
	"github.com/wflo-ai/wflo-go/pricing"
	"github.com/wflo-ai/wflo-go/wflotest/scripted"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		http.DefaultClient.CloseIdleConnections()
	}))
}

// desk is a transport over books, and a run to call for.
type desk struct {
	books *metertest.Books
	http  *http.Client
	run   wflo.Run
	cfg   meter.Config
}

// newDesk opens a run with a budget; change, if not nil, changes the transport.
func newDesk(t *testing.T, limit wflo.Money, change func(*meter.Config)) *desk {
	t.Helper()
	d := &desk{books: &metertest.Books{}}
	d.run = wflo.Run{WorkflowID: "w", FirstRunID: t.Name(), User: "ann", Team: "payments", Step: "ask"}
	d.run.Lines = []wflo.BudgetLine{{ID: wflo.RunBudgetID(d.run.ID()), Limit: limit}}
	base := http.DefaultTransport.(*http.Transport).Clone()
	t.Cleanup(base.CloseIdleConnections)
	d.cfg = meter.Config{Ledger: d.books, Prices: pricing.Default(), Base: base}
	if change != nil {
		change(&d.cfg)
	}
	d.http = &http.Client{Transport: meter.New(d.cfg)}
	return d
}

func (d *desk) ctx(t *testing.T) context.Context { return wflo.WithRun(t.Context(), d.run) }

func (d *desk) spend() wflo.Spend { return d.books.Spend(d.run.Lines[0].ID) }

func (d *desk) check(t *testing.T) {
	t.Helper()
	if err := d.books.Check(); err != nil {
		t.Error(err)
	}
}

func startModel(t *testing.T, script scripted.Script) *scripted.Server {
	t.Helper()
	srv, err := scripted.New(scripted.Config{Script: script})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
	})
	return srv
}

// vendors are the four SDKs, through the drivers that use them.
var vendors = []struct {
	name, model string
	new         func(base string, client *http.Client) (activities.Provider, error)
}{
	{scripted.OpenAI, "gpt-5.4-mini", func(base string, c *http.Client) (activities.Provider, error) {
		return openai.New(openai.Config{APIKey: "k", BaseURL: base, HTTPClient: c})
	}},
	{scripted.Anthropic, "claude-haiku-4-5", func(base string, c *http.Client) (activities.Provider, error) {
		return anthropic.New(anthropic.Config{APIKey: "k", BaseURL: base, HTTPClient: c})
	}},
	{scripted.Google, "gemini-2.5-flash", func(base string, c *http.Client) (activities.Provider, error) {
		return google.New(google.Config{APIKey: "k", BaseURL: base, HTTPClient: c})
	}},
	{scripted.Cohere, "command-a-03-2025", func(base string, c *http.Client) (activities.Provider, error) {
		return cohere.New(cohere.Config{APIKey: "k", BaseURL: base, HTTPClient: c})
	}},
}

func question(model string) wflo.Prompt {
	return wflo.Prompt{Model: model, MaxTokens: 200, Messages: []wflo.Message{{Role: wflo.RoleUser, Text: "How are you today, and what is the weather like?"}}}
}

// TestEveryVendorIsChargedWhatItBilled calls through each SDK, whole and
// streamed, and compares the ledger with the vendor's books.
func TestEveryVendorIsChargedWhatItBilled(t *testing.T) {
	for _, v := range vendors {
		for _, stream := range []bool{false, true} {
			name := v.name
			if stream {
				name += " stream"
			}
			t.Run(name, func(t *testing.T) {
				srv := startModel(t, func(scripted.Turn) scripted.Answer {
					return scripted.Answer{Text: strings.Repeat("fine weather ", 10), Reasoning: "thinking it over", CachedInput: 5}
				})
				d := newDesk(t, 5*wflo.USD, nil)
				client, err := v.new(srv.BaseURL(v.name), d.http)
				if err != nil {
					t.Fatal(err)
				}
				var delta func(string)
				if stream {
					delta = func(string) {}
				}
				reply, err := client.Chat(d.ctx(t), question(v.model), delta)
				if err != nil {
					t.Fatal(err)
				}
				entries := d.books.Entries()
				if len(entries) != 1 || entries[0].State != wflo.HoldSettled {
					t.Fatalf("entries: %+v", entries)
				}
				e, billed := entries[0], srv.Calls()[0].Usage
				if diff := cmp.Diff(billed, e.Usage); diff != "" {
					t.Errorf("usage (-vendor +ledger):\n%s", diff)
				}
				if e.Provider != v.name || e.Amount == 0 || e.Amount != pricing.Cost(e.Price, billed) || e.Overdraft != 0 || reply.Usage != e.Usage {
					t.Errorf("entry %+v, reply %+v", e, reply)
				}
				if got := d.spend(); got.Spent != e.Amount || got.Reserved != 0 {
					t.Errorf("budget %+v, want %s spent", got, e.Amount)
				}
				d.check(t)
			})
		}
	}
}

// TestAnswerIsCutToTheHeadroom gives a budget that pays for a part of the answer
// that is asked for.
func TestAnswerIsCutToTheHeadroom(t *testing.T) {
	for _, v := range vendors {
		t.Run(v.name, func(t *testing.T) {
			srv := startModel(t, func(scripted.Turn) scripted.Answer { return scripted.Answer{Text: strings.Repeat("word ", 20000)} })
			d := newDesk(t, wflo.Cent, nil)
			client, err := v.new(srv.BaseURL(v.name), d.http)
			if err != nil {
				t.Fatal(err)
			}
			p := question(v.model)
			p.MaxTokens = 30000
			reply, err := client.Chat(d.ctx(t), p, nil)
			if err != nil {
				t.Fatal(err)
			}
			sent := srv.Calls()[0].Turn.MaxTokens
			if sent < 64 || sent >= p.MaxTokens || reply.Stop != wflo.StopMaxTokens {
				t.Errorf("sent max_tokens %d of %d, stopped for %q", sent, p.MaxTokens, reply.Stop)
			}
			if got := d.spend(); got.Spent <= 0 || got.Spent > wflo.Cent {
				t.Errorf("budget %+v", got)
			}
			d.check(t)
			// What is left pays for no further answer.
			_, err = client.Chat(d.ctx(t), p, nil)
			if err == nil || len(srv.Calls()) != 1 {
				t.Errorf("second call: %v after %d calls", err, len(srv.Calls()))
			}
			d.check(t)
		})
	}
}

func (d *desk) openAI(base string) sdk.Client {
	return sdk.NewClient(option.WithBaseURL(base), option.WithAPIKey("sk-secret"), option.WithHTTPClient(d.http), option.WithMaxRetries(0))
}

func ask(text string) sdk.ChatCompletionNewParams {
	return sdk.ChatCompletionNewParams{Model: "gpt-5.4-mini", Messages: []sdk.ChatCompletionMessageParamUnion{sdk.UserMessage(text)}}
}

// TestRefusalReachesTheCallerThroughTheSDK is what lets an activity fail for
// good, and workflow code read the numbers.
func TestRefusalReachesTheCallerThroughTheSDK(t *testing.T) {
	srv := startModel(t, scripted.Echo)
	d := newDesk(t, 10*wflo.MicroUSD, nil)
	client := d.openAI(srv.BaseURL(scripted.OpenAI))
	_, err := client.Chat.Completions.New(d.ctx(t), ask("hello"))
	var refusal *wflo.Refusal
	if wflo.CodeOf(err) != wflo.CodeBudgetExceeded || !errors.As(err, &refusal) {
		t.Fatalf("error %v", err)
	}
	if refusal.Limit != 10*wflo.MicroUSD || refusal.Budget != d.run.Lines[0].ID {
		t.Errorf("refusal %+v", refusal)
	}
	if n := len(srv.Calls()); n != 0 {
		t.Errorf("%d calls were made", n)
	}
}

// TestBoundIsSetWhereTheRequestHasNone, with the field that the host knows.
func TestBoundIsSetWhereTheRequestHasNone(t *testing.T) {
	srv := startModel(t, scripted.Echo)
	d := newDesk(t, wflo.USD, func(c *meter.Config) { c.MaxTokens = 321 })
	client := d.openAI(srv.BaseURL(scripted.OpenAI))
	if _, err := client.Chat.Completions.New(d.ctx(t), ask("hello")); err != nil {
		t.Fatal(err)
	}
	if got := srv.Calls()[0].Turn.MaxTokens; got != 321 {
		t.Errorf("max tokens %d, want 321", got)
	}
}

// TestFailuresCloseTheHold runs through what can happen to a response.
func TestFailuresCloseTheHold(t *testing.T) {
	tests := []struct {
		name   string
		fault  scripted.Fault
		stream bool
		want   wflo.HoldState
	}{
		{"429", scripted.Fault{Status: 429}, false, wflo.HoldReleased},
		{"500", scripted.Fault{Status: 500}, true, wflo.HoldReleased},
		{"400", scripted.Fault{Status: 400}, false, wflo.HoldReleased},
		{"cut before the status", scripted.Fault{DropAfter: -1}, false, wflo.HoldUnknown},
		{"cut whole", scripted.Fault{DropAfter: 20}, false, wflo.HoldUnknown},
		{"cut stream", scripted.Fault{DropAfter: 300}, true, wflo.HoldUnknown},
		{"no usage", scripted.Fault{OmitUsage: true}, false, wflo.HoldUnknown},
		{"no usage in stream", scripted.Fault{OmitUsage: true}, true, wflo.HoldUnknown},
		{"not JSON", scripted.Fault{Body: "<html>"}, false, wflo.HoldUnknown},
		{"malformed", scripted.Fault{MalformedJSON: true}, false, wflo.HoldUnknown},
	}
	for _, v := range vendors {
		for _, tt := range tests {
			t.Run(v.name+" "+tt.name, func(t *testing.T) {
				srv := startModel(t, func(scripted.Turn) scripted.Answer {
					return scripted.Answer{Text: strings.Repeat("some text ", 100), Fault: tt.fault}
				})
				d := newDesk(t, wflo.USD, nil)
				client, err := v.new(srv.BaseURL(v.name), d.http)
				if err != nil {
					t.Fatal(err)
				}
				var delta func(string)
				if tt.stream {
					delta = func(string) {}
				}
				if _, err := client.Chat(d.ctx(t), question(v.model), delta); err == nil {
					t.Error("the call succeeded")
				}
				holds := d.books.Holds()
				if len(holds) != 1 || holds[0].State != tt.want {
					t.Errorf("holds %+v, want one that is %s", holds, tt.want)
				}
				d.check(t)
			})
		}
	}
}

// TestNobodyListens refuses a connection: nothing was sent, so nothing is charged.
func TestNobodyListens(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	d := newDesk(t, wflo.USD, nil)
	client := d.openAI(gone.URL + "/v1")
	if _, err := client.Chat.Completions.New(d.ctx(t), ask("hello")); err == nil {
		t.Fatal("the call succeeded")
	}
	if h := d.books.Holds(); len(h) != 1 || h[0].State != wflo.HoldReleased {
		t.Errorf("holds %+v", h)
	}
}

// TestClosedStreamIsCharged: whoever stops listening has still asked.
func TestClosedStreamIsCharged(t *testing.T) {
	srv := startModel(t, func(scripted.Turn) scripted.Answer { return scripted.Answer{Text: strings.Repeat("some text ", 200)} })
	d := newDesk(t, wflo.USD, nil)
	client := d.openAI(srv.BaseURL(scripted.OpenAI))
	stream := client.Chat.Completions.NewStreaming(d.ctx(t), ask("hello"))
	if !stream.Next() {
		t.Fatal(stream.Err())
	}
	if err := stream.Close(); err != nil {
		t.Fatal(err)
	}
	if h := d.books.Holds(); len(h) != 1 || h[0].State != wflo.HoldUnknown {
		t.Errorf("holds %+v", h)
	}
	d.check(t)
}

// TestConcurrentCallsNeverOverspend lets many calls race for a budget that pays
// for some of them.
func TestConcurrentCallsNeverOverspend(t *testing.T) {
	srv := startModel(t, func(scripted.Turn) scripted.Answer { return scripted.Answer{Text: strings.Repeat("word ", 300)} })
	d := newDesk(t, 2*wflo.Cent, func(c *meter.Config) { c.MaxTokens = 400 })
	client := d.openAI(srv.BaseURL(scripted.OpenAI))
	var wg sync.WaitGroup
	var mu sync.Mutex
	var made, refused int
	for range 64 {
		wg.Go(func() {
			_, err := client.Chat.Completions.New(d.ctx(t), ask("hello"))
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				made++
			case errors.Is(err, wflo.ErrBudgetExceeded):
				refused++
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if made == 0 || refused == 0 || made != len(srv.Calls()) || made != len(d.books.Entries()) {
		t.Errorf("%d made, %d refused, %d billed, %d entries", made, refused, len(srv.Calls()), len(d.books.Entries()))
	}
	d.check(t)
}

// TestLedgerThatFails keeps the answer away: a call that is not accounted for
// must not look like one that is.
func TestLedgerThatFails(t *testing.T) {
	srv := startModel(t, scripted.Echo)
	d := newDesk(t, wflo.USD, nil)
	down := wflo.Errorf(wflo.CodeConflict, "", "books are closed")
	d.books.Fail = func(op string) error {
		if op == "settle" {
			return down
		}
		return nil
	}
	client := d.openAI(srv.BaseURL(scripted.OpenAI))
	if _, err := client.Chat.Completions.New(d.ctx(t), ask("hello")); !errors.Is(err, down) {
		t.Errorf("error %v", err)
	}
	if h := d.books.Holds(); len(h) != 1 || h[0].State != wflo.HoldOpen {
		t.Errorf("holds %+v, want one open for the sweep", h)
	}
}

// TestPassing lets through what nobody bills, and refuses the rest.
func TestPassing(t *testing.T) {
	var seen []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Method+" "+r.URL.Path)
		_, _ = io.WriteString(w, "{}")
	}))
	defer srv.Close()
	d := newDesk(t, wflo.USD, func(c *meter.Config) { c.Allow = []string{"/v1/files", "/v1/responses/*/cancel"} })
	tests := []struct {
		method, path, upgrade string
		ok                    bool
	}{
		{"GET", "/v1/models", "", true},
		{"POST", "/v1/files", "", true},
		{"POST", "/v1/responses/r1/cancel", "", true},
		{"POST", "/v1/messages/count_tokens", "", true},
		{"GET", "/v1/realtime", "websocket", false},
		{"POST", "/v1/audio/speech", "", false},
		{"POST", "/v1/files/../chat/completions", "", false},
		{"DELETE", "/v1/models/x", "", false},
		{"POST", "/v1/images/generations", "", false},
	}
	for _, tt := range tests {
		t.Run(tt.method+tt.path, func(t *testing.T) {
			seen = nil
			req, err := http.NewRequestWithContext(d.ctx(t), tt.method, srv.URL+tt.path, strings.NewReader(`{"model":"gpt-5.4-mini"}`))
			if err != nil {
				t.Fatal(err)
			}
			if tt.upgrade != "" {
				req.Header.Set("Upgrade", tt.upgrade)
			}
			resp, err := d.http.Do(req)
			if err == nil {
				resp.Body.Close()
			}
			if (err == nil) != tt.ok || (len(seen) == 1) != tt.ok {
				t.Errorf("error %v, seen %q", err, seen)
			}
			if !tt.ok && !errors.Is(err, wflo.ErrInvalid) {
				t.Errorf("error %v is not CodeInvalid", err)
			}
		})
	}
}

// TestWithoutRunNothingIsSent fails closed outside of activities.
func TestWithoutRunNothingIsSent(t *testing.T) {
	srv := startModel(t, scripted.Echo)
	d := newDesk(t, wflo.USD, nil)
	client := d.openAI(srv.BaseURL(scripted.OpenAI))
	if _, err := client.Chat.Completions.New(t.Context(), ask("hello")); !errors.Is(err, wflo.ErrInvalid) || len(srv.Calls()) != 0 {
		t.Errorf("error %v after %d calls", err, len(srv.Calls()))
	}
	d = newDesk(t, wflo.USD, func(c *meter.Config) {
		c.Run = func(*http.Request) (wflo.Run, bool) { return wflo.Run{WorkflowID: "batch", FirstRunID: "1"}, true }
	})
	client = d.openAI(srv.BaseURL(scripted.OpenAI))
	if _, err := client.Chat.Completions.New(t.Context(), ask("hello")); err != nil || len(d.books.Entries()) != 1 {
		t.Errorf("error %v, entries %+v", err, d.books.Entries())
	}
	if h := d.books.Holds(); h[0].Within != meter.DefaultTimeout {
		t.Errorf("hold within %s: the sweep would not know when it is over", h[0].Within)
	}
}

// TestIncompleteConfigRefuses: without books nothing is bought.
func TestIncompleteConfigRefuses(t *testing.T) {
	srv := startModel(t, scripted.Echo)
	d := newDesk(t, wflo.USD, func(c *meter.Config) { c.Ledger = nil })
	client := d.openAI(srv.BaseURL(scripted.OpenAI))
	if _, err := client.Chat.Completions.New(d.ctx(t), ask("hello")); !errors.Is(err, wflo.ErrInvalid) || len(srv.Calls()) != 0 {
		t.Errorf("error %v after %d calls", err, len(srv.Calls()))
	}
}
