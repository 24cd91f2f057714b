package activities_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"go.temporal.io/sdk/testsuite"
	"go.uber.org/goleak"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/telemetry"
	"github.com/wflo-ai/wflo-go/pricing"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// vendor is a provider whose answers the test chooses.
type vendor struct {
	name   string // empty means openai
	mu     sync.Mutex
	answer func(p wflo.Prompt) (wflo.Reply, error)
	seen   []wflo.Prompt
}

func (v *vendor) Name() string {
	if v.name == "" {
		return "openai"
	}
	return v.name
}

func (v *vendor) Chat(_ context.Context, p wflo.Prompt, _ func(string)) (wflo.Reply, error) {
	v.mu.Lock()
	v.seen = append(v.seen, p)
	answer := v.answer
	v.mu.Unlock()
	return answer(p)
}

func (v *vendor) calls() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.seen)
}

func answered(wflo.Prompt) (wflo.Reply, error) {
	return wflo.Reply{
		Text: "hello", Stop: wflo.StopEnd, Provider: "openai", Model: "gpt-5.4-mini", ResponseID: "r1",
		Usage: wflo.Usage{Input: 1000, Output: 500},
	}, nil
}

type bench struct {
	t      *testing.T
	llm    *activities.LLM
	vendor *vendor
	ledger *book
	run    wflo.Run
}

func newBench(t *testing.T, limit wflo.Money) *bench {
	t.Helper()
	ledger := newBook()
	b := &bench{t: t, vendor: &vendor{answer: answered}, ledger: ledger}
	b.run = wflo.Run{Namespace: "n", WorkflowID: "w", FirstRunID: "r", Step: "s#1", Workflow: "wf"}
	b.run.Lines = []wflo.BudgetLine{{ID: wflo.RunBudgetID(b.run.ID()), Limit: limit}}
	b.llm = &activities.LLM{
		Providers: map[string]activities.Provider{"openai": b.vendor}, Prices: pricing.Default(),
		Ledger: ledger, Observer: telemetry.NewMetrics(telemetry.Config{}),
	}
	return b
}

func ask(text string) wflo.Prompt {
	return wflo.Prompt{Model: "gpt-5.4-mini", Messages: []wflo.Message{{Role: wflo.RoleUser, Text: text}}}
}

// chat runs the activity once, for the bench's step.
func (b *bench) chat(p wflo.Prompt) (wflo.Reply, error) {
	b.t.Helper()
	return b.chatAs(b.run, p)
}

// chatAs is chat for another run or step.
func (b *bench) chatAs(run wflo.Run, p wflo.Prompt) (wflo.Reply, error) {
	b.t.Helper()
	return b.chatCtx(context.Background(), run, p)
}

// chatCtx is chatAs with the deadline of parent.
func (b *bench) chatCtx(parent context.Context, run wflo.Run, p wflo.Prompt) (wflo.Reply, error) {
	b.t.Helper()
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestActivityEnvironment()
	env.SetTestTimeout(time.Minute)
	var reply wflo.Reply
	var failure error
	call := func(ctx context.Context) error {
		if end, ok := parent.Deadline(); ok {
			var cancel context.CancelFunc
			ctx, cancel = context.WithDeadline(ctx, end)
			defer cancel()
		}
		reply, failure = b.llm.Chat(wflo.WithRun(ctx, run), p)
		return nil
	}
	env.RegisterActivity(call)
	if _, err := env.ExecuteActivity(call); err != nil {
		b.t.Error(err)
	}
	return reply, failure
}

func (b *bench) spend() wflo.Spend {
	b.t.Helper()
	s, err := b.llm.Ledger.Spend(context.Background(), b.run.Lines[0].ID)
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

func TestChatSettlesWhatItCost(t *testing.T) {
	b := newBench(t, wflo.USD)
	reply, err := b.chat(ask("hi"))
	if err != nil {
		t.Fatal(err)
	}
	price, err := pricing.Default().Find("openai", "gpt-5.4-mini", time.Now(), 1000)
	if err != nil {
		t.Fatal(err)
	}
	want := pricing.Cost(price, reply.Usage)
	if s := b.spend(); reply.Cost != want || s.Spent != want || s.Reserved != 0 {
		t.Errorf("cost %s, spend %+v; want %s", reply.Cost, s, want)
	}
	if got := b.vendor.seen[0].MaxTokens; got != activities.DefaultMaxTokens {
		t.Errorf("max_tokens = %d", got)
	}
}

// TestChatNeverPaysTwice is a worker that died after it paid, and a run that
// was reset: the same effect again.
func TestChatNeverPaysTwice(t *testing.T) {
	b := newBench(t, wflo.USD)
	first, err := b.chat(ask("hi"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := b.chat(ask("hi"))
	if err != nil {
		t.Fatal(err)
	}
	if len(b.vendor.seen) != 1 || again.Text != first.Text || again.Cost != first.Cost || b.spend().Spent != first.Cost {
		t.Errorf("%d calls, %+v then %+v, spent %s", len(b.vendor.seen), first, again, b.spend().Spent)
	}
	// Even when the repeat plans another amount, because the book changed.
	p := ask("hi")
	p.MaxTokens = 100
	if _, err := b.chat(p); err != nil || len(b.vendor.seen) != 1 {
		t.Errorf("%v, %d calls", err, len(b.vendor.seen))
	}
}

func TestChatClosesHolds(t *testing.T) {
	tests := []struct {
		name    string
		err     error
		unknown bool
	}{
		{"refused by status", &activities.CallError{Status: 500, Retryable: true, Err: errors.New("boom")}, false},
		{"cut while answering", &activities.CallError{Retryable: true, Billable: true, Err: errors.New("reset")}, true},
		{"an error that says nothing", errors.New("odd"), true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, wflo.USD)
			b.vendor.answer = func(wflo.Prompt) (wflo.Reply, error) { return wflo.Reply{}, tt.err }
			if _, err := b.chat(ask("hi")); !errors.Is(err, tt.err) {
				t.Fatalf("error = %v", err)
			}
			s := b.spend()
			if s.Reserved != 0 || (s.Unknown > 0) != tt.unknown || s.Spent != s.Unknown {
				t.Errorf("spend = %+v; unknown = %v wanted", s, tt.unknown)
			}
			// The next try is a new attempt with money of its own.
			b.vendor.answer = answered
			if _, err := b.chat(ask("hi")); err != nil {
				t.Errorf("retry: %v", err)
			}
			if after := b.spend(); after.Reserved != 0 || after.Spent <= s.Spent {
				t.Errorf("after the retry %+v", after)
			}
		})
	}
}

func TestChatCutsTheAnswerToTheBudget(t *testing.T) {
	b := newBench(t, 5*wflo.MicroUSD*1000)
	if _, err := b.chat(ask("hi")); err != nil {
		t.Fatal(err)
	}
	if got := b.vendor.seen[0].MaxTokens; got >= activities.DefaultMaxTokens || got < 64 {
		t.Errorf("max_tokens = %d; want less than %d", got, activities.DefaultMaxTokens)
	}
}

func TestChatRefusesBeforeItCalls(t *testing.T) {
	tests := []struct {
		name   string
		limit  wflo.Money
		prompt wflo.Prompt
		want   error
	}{
		{"no room", 10 * wflo.MicroUSD, ask("hi"), wflo.ErrBudgetExceeded},
		{"unknown model", wflo.USD, wflo.Prompt{Model: "no-such-model", Messages: ask("").Messages}, wflo.ErrUnknownModel},
		{"provider without key", wflo.USD, wflo.Prompt{Model: "claude-haiku-4-5", Messages: ask("").Messages}, wflo.ErrMissingKey},
		{"no messages", wflo.USD, wflo.Prompt{Model: "gpt-5.4-mini"}, wflo.ErrInvalid},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, tt.limit)
			_, err := b.chat(tt.prompt)
			if !errors.Is(err, tt.want) || wflo.HintOf(err) == "" {
				t.Errorf("error = %v; want %v with a hint", err, tt.want)
			}
			if len(b.vendor.seen) != 0 || b.spend().Spent != 0 {
				t.Errorf("%d calls, spend %+v", len(b.vendor.seen), b.spend())
			}
		})
	}
}

// TestChatWaitsForOthersHolds is a budget that has money, though reserved by a
// call that is still running: that is no reason to fail the run.
func TestChatWaitsForOthersHolds(t *testing.T) {
	b := newBench(t, wflo.Cent)
	_, err := b.ledger.Reserve(context.Background(), wflo.Reservation{
		Key: "other", Attempt: 1, Amount: wflo.Cent, Budgets: b.run.Lines, Run: b.run,
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.chat(ask("hi")); !errors.Is(err, wflo.ErrBudgetExceeded) || !activities.Retryable(err) {
		t.Fatalf("error = %v; want a retryable ErrBudgetExceeded", err)
	}
	if err := b.ledger.Release(context.Background(), "other", 1); err != nil {
		t.Fatal(err)
	}
	if _, err := b.chat(ask("hi")); err != nil {
		t.Errorf("after the release: %v", err)
	}
	b = newBench(t, 10*wflo.MicroUSD)
	if _, err := b.chat(ask("hi")); activities.Retryable(err) {
		t.Errorf("an empty budget is retried: %v", err)
	}
}

func TestChatRefusesAbsurdUsage(t *testing.T) {
	b := newBench(t, wflo.USD)
	b.vendor.answer = func(p wflo.Prompt) (wflo.Reply, error) {
		r, _ := answered(p)
		r.Usage.Output = -5
		return r, nil
	}
	if _, err := b.chat(ask("hi")); err == nil || !strings.Contains(err.Error(), "usage.output") {
		t.Errorf("error = %v", err)
	}
	if s := b.spend(); s.Unknown == 0 || s.Reserved != 0 {
		t.Errorf("spend = %+v; the call was billed, so it must be charged", s)
	}
}
