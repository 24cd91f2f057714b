package activities_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/pricing"
)

// says is a provider's answer by another name.
func says(provider, model string) func(wflo.Prompt) (wflo.Reply, error) {
	return func(wflo.Prompt) (wflo.Reply, error) {
		return wflo.Reply{
			Text: "I am " + model, Stop: wflo.StopEnd, Provider: provider, Model: model, ResponseID: "r-" + model,
			Usage: wflo.Usage{Input: 100, Output: 50},
		}, nil
	}
}

func fails(status int) func(wflo.Prompt) (wflo.Reply, error) {
	return func(wflo.Prompt) (wflo.Reply, error) {
		retryable := status == 0 || status == 408 || status == 429 || status >= 500
		return wflo.Reply{}, &activities.CallError{Status: status, Retryable: retryable, Err: errors.New("it failed")}
	}
}

const (
	haiku  = "claude-haiku-4-5"
	flash  = "gemini-2.5-flash"
	claude = "anthropic/" + haiku
)

// newVendors is a bench with two more providers, which answer.
func newVendors(t *testing.T, limit wflo.Money) (b *bench, anthropic, google *vendor) {
	t.Helper()
	b = newBench(t, limit)
	b.llm.Observer = newHeard()
	anthropic, google = &vendor{name: "anthropic", answer: says("anthropic", haiku)}, &vendor{name: "google", answer: says("google", flash)}
	b.llm.Providers["anthropic"], b.llm.Providers["google"] = anthropic, google
	return b, anthropic, google
}

// TestFailover is what another provider can mend, and what it cannot.
func TestFailover(t *testing.T) {
	tests := []struct {
		status int
		mended bool
	}{
		{500, true}, {503, true}, {529, true}, {429, true}, {408, true}, {0, true}, {401, true},
		{400, false}, {404, false}, {413, false}, {422, false},
	}
	for _, tt := range tests {
		b, anthropic, _ := newVendors(t, wflo.USD)
		b.vendor.answer = fails(tt.status)
		p := ask("hi")
		p.Fallback = []string{haiku}
		reply, err := b.chat(p)
		if !tt.mended {
			if err == nil || anthropic.calls() != 0 {
				t.Errorf("%d: %v, %d calls of the other", tt.status, err, anthropic.calls())
			}
			continue
		}
		if err != nil || reply.Provider != "anthropic" || reply.Model != haiku {
			t.Errorf("%d: %+v, %v", tt.status, reply, err)
			continue
		}
		if s := b.spend(); s.Reserved != 0 || s.Spent != reply.Cost || s.Unknown != 0 {
			t.Errorf("%d: %+v; want only the %s of the one that answered", tt.status, s, reply.Cost)
		}
		r := b.ledger.reserved
		if len(r) != 2 || r[1].Attempt != 2 || r[1].Provider != "anthropic" || r[1].Model != haiku || r[0].Amount == r[1].Amount {
			t.Errorf("%d: reservations %+v", tt.status, r)
		}
		if diff := cmp.Diff([]string{"openai/gpt-5.4-mini"}, b.llm.Observer.(*heard).failovers); diff != "" {
			t.Errorf("%d: %s", tt.status, diff)
		}
	}
}

// TestFailoverAfterACutStream charges the call that may have been billed.
func TestFailoverAfterACutStream(t *testing.T) {
	b, _, _ := newVendors(t, wflo.USD)
	b.vendor.answer = func(wflo.Prompt) (wflo.Reply, error) {
		return wflo.Reply{}, &activities.CallError{Retryable: true, Billable: true, Err: errors.New("reset")}
	}
	p := ask("hi")
	p.Fallback = []string{haiku}
	reply, err := b.chat(p)
	if s := b.spend(); err != nil || s.Unknown == 0 || s.Spent != s.Unknown+reply.Cost || s.Reserved != 0 {
		t.Errorf("%+v, %v", s, err)
	}
}

// TestFailoverThatIsTooDear reports the provider, which recovers, and not the
// budget, which would end the run.
func TestFailoverThatIsTooDear(t *testing.T) {
	b, _, _ := newVendors(t, 2*wflo.MicroUSD*1000)
	b.vendor.answer = fails(503)
	p := ask("hi")
	p.Model = "gpt-5.4-nano"
	p.Fallback = []string{"gpt-5.4-pro", haiku}
	_, err := b.chat(p)
	var call *activities.CallError
	if !errors.As(err, &call) || call.Status != 503 || !activities.Retryable(err) || !strings.Contains(err.Error(), "gpt-5.4-pro") {
		t.Errorf("error = %v", err)
	}
	if s := b.spend(); s.Spent != 0 || s.Reserved != 0 || b.vendor.calls() != 1 {
		t.Errorf("%+v, %d calls", s, b.vendor.calls())
	}
}

// TestAllFail reports what a retry can help.
func TestAllFail(t *testing.T) {
	b, anthropic, google := newVendors(t, wflo.USD)
	b.vendor.answer, anthropic.answer, google.answer = fails(401), fails(429), fails(503)
	p := ask("hi")
	p.Fallback = []string{haiku, flash}
	_, err := b.chat(p)
	if !activities.Retryable(err) || !strings.Contains(err.Error(), "openai/gpt-5.4-mini") || !strings.Contains(err.Error(), "anthropic/"+haiku) {
		t.Errorf("error = %v", err)
	}
	if s := b.spend(); s.Spent != 0 || s.Reserved != 0 {
		t.Errorf("spend %+v", s)
	}
}

// TestRetryFindsTheOtherModelsAnswer is a worker that died after the fallback
// was paid: nobody is asked again.
func TestRetryFindsTheOtherModelsAnswer(t *testing.T) {
	b, anthropic, _ := newVendors(t, wflo.USD)
	b.vendor.answer = fails(503)
	p := ask("hi")
	p.Fallback = []string{haiku}
	first, err := b.chat(p)
	if err != nil {
		t.Fatal(err)
	}
	again, err := b.chat(p)
	if err != nil || again.Text != first.Text || b.vendor.calls() != 1 || anthropic.calls() != 1 {
		t.Errorf("%+v, %v; %d and %d calls", again, err, b.vendor.calls(), anthropic.calls())
	}
}

func TestModelsThatCannotBeUsed(t *testing.T) {
	tests := []struct {
		name     string
		model    string
		fallback []string
		want     string
		err      error
	}{
		{"no key for the first", "command-a-03-2025", []string{haiku}, "anthropic", nil},
		{"unknown fallback", "gpt-5.4-mini", []string{"no-such-model", haiku}, "openai", nil},
		{"a slip of the pen", "gtp-5.4-mini", []string{haiku}, "", wflo.ErrUnknownModel},
		{"no key for any", "command-a-03-2025", []string{"no-such-model"}, "", wflo.ErrMissingKey},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b, _, _ := newVendors(t, wflo.USD)
			p := ask("hi")
			p.Model, p.Fallback = tt.model, tt.fallback
			reply, err := b.chat(p)
			if reply.Provider != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("%+v, %v", reply, err)
			}
		})
	}
}

func TestRoutes(t *testing.T) {
	run := wflo.Run{Namespace: "n", WorkflowID: "w", FirstRunID: "r", Step: "s#1", Workflow: "wf", Team: "payments", Tags: map[string]string{"env": "dev"}}
	tests := []struct {
		name   string
		routes []activities.Route
		model  string
		text   string
		want   string // provider/model
	}{
		{"none", nil, "gpt-5.4", "hi", "openai/gpt-5.4"},
		{"all", []activities.Route{{To: []string{haiku}}}, "gpt-5.4", "hi", claude},
		{"by name", []activities.Route{{Model: "gpt-5.4", To: []string{haiku}}}, "gpt-5.4", "hi", claude},
		{"by pattern", []activities.Route{{Model: "gpt-*", To: []string{haiku}}}, "gpt-5.4", "hi", claude},
		{"by provider", []activities.Route{{Model: "openai/*", To: []string{haiku}}}, "gpt-5.4", "hi", claude},
		{"without provider", []activities.Route{{Model: "gpt-5.4", To: []string{haiku}}}, "openai/gpt-5.4", "hi", claude},
		{"another name", []activities.Route{{Model: "gpt-5.4-*", To: []string{haiku}}}, "gpt-5.4", "hi", "openai/gpt-5.4"},
		{"a name of one's own", []activities.Route{{Model: "cheap", To: []string{haiku}}}, "cheap", "hi", claude},
		{"first that matches", []activities.Route{{Model: "o3", To: []string{flash}}, {Model: "gpt-*", To: []string{haiku}}, {To: []string{flash}}}, "gpt-5.4", "hi", claude},
		{"first that can be used", []activities.Route{{To: []string{"command-a-03-2025", "no-such-model", haiku, flash}}}, "gpt-5.4", "hi", claude},
		{"scopes", []activities.Route{{Scopes: []string{"team:payments", "tag:env=dev"}, To: []string{haiku}}}, "gpt-5.4", "hi", claude},
		{"not all scopes", []activities.Route{{Scopes: []string{"team:payments", "tag:env=prod"}, To: []string{haiku}}}, "gpt-5.4", "hi", "openai/gpt-5.4"},
		{"model scope", []activities.Route{{Scopes: []string{"model:openai/gpt-5.4"}, To: []string{haiku}}}, "gpt-5.4", "hi", claude},
		{"small prompts", []activities.Route{{MaxInput: 500, To: []string{haiku}}}, "gpt-5.4", "hi", claude},
		{"large prompt", []activities.Route{{MaxInput: 500, To: []string{haiku}}}, "gpt-5.4", strings.Repeat("word ", 2000), "openai/gpt-5.4"},
		{"budget untouched", []activities.Route{{Above: 50, To: []string{haiku}}}, "gpt-5.4", "hi", "openai/gpt-5.4"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b, _, _ := newVendors(t, wflo.USD)
			b.vendor.answer = says("openai", "gpt-5.4")
			b.llm.Routes = tt.routes
			run.Lines = b.run.Lines
			p := ask(tt.text)
			p.Model = tt.model
			reply, err := b.chatAs(run, p)
			if got := reply.Provider + "/" + reply.Model; err != nil || got != tt.want {
				t.Errorf("%s answered, %v; want %s", got, err, tt.want)
			}
			if last := b.ledger.reserved[len(b.ledger.reserved)-1]; last.Provider+"/"+last.Model != tt.want {
				t.Errorf("reserved for %s/%s", last.Provider, last.Model)
			}
		})
	}
}

// TestRouteAboveABudget changes the model when the tightest budget is at its
// threshold, also when that one is a team's.
func TestRouteAboveABudget(t *testing.T) {
	for _, tt := range []struct {
		spent wflo.Money
		want  string
	}{{74 * wflo.Cent, "openai"}, {75 * wflo.Cent, "anthropic"}} {
		b, _, _ := newVendors(t, 5*wflo.USD)
		b.run.Team = "payments"
		b.llm.Routes = []activities.Route{{Model: "gpt-*", Above: 75, To: []string{haiku}}}
		b.ledger.spends["team:payments"] = &wflo.Spend{Budget: "team:payments", Limit: wflo.USD, Spent: tt.spent}
		reply, err := b.chat(ask("hi"))
		if err != nil || reply.Provider != tt.want {
			t.Errorf("at %s: %+v, %v; want %s", tt.spent, reply, err, tt.want)
		}
		// The next call does not read the budgets again.
		before := b.ledger.trips
		b.run.Step = "s#2"
		if _, err := b.chat(ask("hi")); err != nil || b.ledger.trips != before+2 {
			t.Errorf("%d round trips for the second call, %v", b.ledger.trips-before, err)
		}
	}
}

// TestCircuit is a provider that is down for many calls: after some of them it
// is not asked first any more, and a call without another choice still tries.
func TestCircuit(t *testing.T) {
	b, anthropic, _ := newVendors(t, 10*wflo.USD)
	b.vendor.answer = fails(503)
	p := ask("hi")
	p.Fallback = []string{haiku}
	for range 20 {
		b.run.Step += "x"
		if reply, err := b.chat(p); err != nil || reply.Provider != "anthropic" {
			t.Fatalf("%+v, %v", reply, err)
		}
	}
	if b.vendor.calls() != 5 || anthropic.calls() != 20 {
		t.Errorf("%d calls of the one that fails, %d of the other", b.vendor.calls(), anthropic.calls())
	}
	anthropic.answer, b.vendor.answer = fails(503), answered
	b.run.Step += "x"
	if reply, err := b.chat(p); err != nil || reply.Provider != "openai" {
		t.Errorf("when the other fails too: %+v, %v", reply, err)
	}
}

// TestFailoverEndsWithTheRun does not go on for a run that was cancelled.
func TestFailoverEndsWithTheRun(t *testing.T) {
	b, anthropic, _ := newVendors(t, wflo.USD)
	p := ask("hi")
	p.Fallback = []string{haiku}
	cancelled := func(wflo.Prompt) (wflo.Reply, error) {
		return wflo.Reply{}, &activities.CallError{Retryable: true, Billable: true, Err: context.Canceled}
	}
	ctx, cancel := context.WithCancel(t.Context())
	b.vendor.answer = func(p wflo.Prompt) (wflo.Reply, error) {
		cancel()
		return cancelled(p)
	}
	if _, err := b.llm.Chat(wflo.WithRun(ctx, b.run), p); !errors.Is(err, context.Canceled) || anthropic.calls() != 0 {
		t.Errorf("%v, %d calls of the other", err, anthropic.calls())
	}
}

func TestValidateRoutes(t *testing.T) {
	tests := []struct {
		route activities.Route
		want  string
	}{
		{activities.Route{To: []string{haiku}}, ""},
		{activities.Route{Model: "gpt-*", Scopes: []string{"team:payments"}, MaxInput: 1, Above: 100, To: []string{haiku, "openai/gpt-5.4"}}, ""},
		{activities.Route{}, "routes[1]: route.to is empty"},
		{activities.Route{To: []string{""}}, "route.to[0]"},
		{activities.Route{To: []string{haiku, "gpt-*"}}, "route.to[1]"},
		{activities.Route{To: []string{"no-such-model"}}, "routes[1]: to[0]"},
		{activities.Route{To: []string{haiku}, Above: 101}, "route.above"},
		{activities.Route{To: []string{haiku}, Above: -1}, "route.above"},
		{activities.Route{To: []string{haiku}, MaxInput: -1}, "route.max_input"},
		{activities.Route{To: []string{haiku}, Scopes: []string{"payments"}}, "route.scopes[0]"},
		{activities.Route{To: []string{haiku}, Scopes: []string{"user:*"}}, "route.scopes[0]"},
	}
	for _, tt := range tests {
		err := activities.ValidateRoutes([]activities.Route{{To: []string{haiku}}, tt.route}, pricing.Default())
		if tt.want == "" {
			if err != nil {
				t.Errorf("%+v: %v", tt.route, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) || wflo.HintOf(err) == "" {
			t.Errorf("%+v: %v; want %s and a hint", tt.route, err, tt.want)
		}
	}
}
