package activities_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/pricing"
)

// heard is an observer that remembers what calls told.
type heard struct {
	activities.Observer
	mu        sync.Mutex
	cache     map[string]int
	overdraft wflo.Money
	failovers []string
	reserved  []int64
	counted   []int64
	exceeded  int
	calls     int
}

func newHeard() *heard { return &heard{cache: map[string]int{}} }

func (h *heard) LLMCall(context.Context, string, string, wflo.Usage, wflo.Money) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls++
}

func (h *heard) LLMEstimate(_ context.Context, _, _ string, reserved, counted int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reserved, h.counted = append(h.reserved, reserved), append(h.counted, counted)
}

func (h *heard) LLMOverdraft(_ context.Context, _, _ string, over wflo.Money) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.overdraft += over
}

func (h *heard) LLMFailover(_ context.Context, provider, model string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failovers = append(h.failovers, provider+"/"+model)
}

func (h *heard) LLMCache(_ context.Context, outcome string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cache[outcome]++
}

func (h *heard) BudgetExceeded(string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.exceeded++
}

// TestOneRoundTripPerPhase counts the ledger's transactions: one to reserve and
// one to settle, however many budgets there are.
func TestOneRoundTripPerPhase(t *testing.T) {
	b := newBench(t, wflo.USD)
	b.run.User, b.run.Team = "ann", "payments"
	b.run.Lines = append(b.run.Lines, wflo.BudgetLine{ID: "run:parent", Limit: wflo.USD})
	if _, err := b.chat(ask("hi")); err != nil {
		t.Fatal(err)
	}
	if b.ledger.trips != 2 {
		t.Errorf("%d round trips", b.ledger.trips)
	}
	r := b.ledger.reserved[0]
	scopes := strings.Join(r.Scopes, " ")
	if len(r.Budgets) != 2 || scopes != "run:w/r step:s workflow:wf user:ann team:payments model:openai/gpt-5.4-mini" {
		t.Errorf("budgets %+v, scopes %s", r.Budgets, scopes)
	}
	if r.Least <= 0 || r.Least >= r.Amount {
		t.Errorf("least %s of %s", r.Least, r.Amount)
	}
}

// TestGrantedIsNeverExceeded cuts calls to many budgets: what the provider may
// answer then costs at most what is held.
func TestGrantedIsNeverExceeded(t *testing.T) {
	sent := 0
	for micro := wflo.Money(100); micro < 30_000; micro += 700 {
		b := newBench(t, micro*wflo.MicroUSD)
		b.llm.Strict = true
		_, err := b.chat(ask("hi"))
		if errors.Is(err, wflo.ErrBudgetExceeded) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		sent++
		p := b.vendor.seen[0]
		price, err := pricing.Default().FindWorst("openai", p.Model, time.Now(), pricing.InputBound(p))
		if err != nil {
			t.Fatal(err)
		}
		if worst, _ := pricing.Estimate(price, p); worst > micro*wflo.MicroUSD || p.MaxTokens < 64 {
			t.Errorf("a budget of %s pays for %d tokens, at most %s", micro*wflo.MicroUSD, p.MaxTokens, worst)
		}
	}
	if sent < 10 {
		t.Errorf("only %d budgets were enough", sent)
	}
}

// TestRefusalTellsBusyFromSpent is the rule for both kinds of budgets: money
// that others hold comes back, money that is spent does not.
func TestRefusalTellsBusyFromSpent(t *testing.T) {
	for _, onExceeded := range []wflo.OnExceeded{wflo.ExceedHalt, wflo.ExceedAsk} {
		for _, tt := range []struct {
			name                   string
			limit, spent, reserved wflo.Money
			busy                   bool
		}{
			{"others hold it", wflo.Cent, 0, wflo.Cent, true},
			{"spent", wflo.Cent, wflo.Cent, 0, false},
			{"spent, and the rest is held", wflo.Cent, wflo.Cent - 10, 10, false},
			{"too small for the call", 10, 0, 5, false},
			{"nobody holds anything", 10, 0, 0, false},
		} {
			t.Run(string(onExceeded)+" "+tt.name, func(t *testing.T) {
				b := newBench(t, tt.limit)
				b.ledger.onExceed = onExceeded
				b.llm.Observer = newHeard()
				id := b.run.Lines[0].ID
				b.ledger.spends[id] = &wflo.Spend{Budget: id, Limit: tt.limit, Spent: tt.spent, Reserved: tt.reserved}
				_, err := b.chat(ask("hi"))
				var refusal *wflo.Refusal
				if !errors.As(err, &refusal) || refusal.OnExceeded != onExceeded || activities.Retryable(err) != tt.busy {
					t.Errorf("%v, retryable %v; want %v", err, activities.Retryable(err), tt.busy)
				}
				if h := b.llm.Observer.(*heard); h.exceeded != 1 || b.vendor.calls() != 0 {
					t.Errorf("%d refusals counted, %d calls", h.exceeded, b.vendor.calls())
				}
			})
		}
	}
}

// TestResetAfterRefusals is a call whose first attempts found no room and that
// was paid later: the run before its reset and the one after it count alike.
func TestResetAfterRefusals(t *testing.T) {
	b := newBench(t, wflo.Cent)
	id := b.run.Lines[0].ID
	b.ledger.spends[id] = &wflo.Spend{Budget: id, Limit: wflo.Cent, Reserved: wflo.Cent}
	if _, err := b.chat(ask("hi")); !errors.Is(err, wflo.ErrBudgetExceeded) {
		t.Fatal(err)
	}
	b.ledger.spends[id].Reserved = 0
	for range 3 {
		if _, err := b.chat(ask("hi")); err != nil {
			t.Fatal(err)
		}
	}
	if b.vendor.calls() != 1 || len(b.ledger.settled) != 1 {
		t.Errorf("%d calls, %d settled", b.vendor.calls(), len(b.ledger.settled))
	}
}

// TestEstimatesLearn asks the same kind of thing again and again: what is
// reserved comes close to what is counted, and never above the bound.
func TestEstimatesLearn(t *testing.T) {
	b := newBench(t, 100*wflo.USD)
	h := newHeard()
	b.llm.Observer = h
	prompt := ask(strings.Repeat("word ", 800)) // 4,000 bytes
	b.vendor.answer = func(wflo.Prompt) (wflo.Reply, error) {
		r, _ := answered(wflo.Prompt{})
		r.Usage.Input = 900
		return r, nil
	}
	for range 20 {
		b.run.FirstRunID += "x" // the same step of another run
		if _, err := b.chat(prompt); err != nil {
			t.Fatal(err)
		}
	}
	bound := pricing.InputBound(prompt)
	first, last := h.reserved[0], h.reserved[19]
	if first <= 900 || first >= bound || last < 900 || last >= 1000 {
		t.Errorf("reserved for %d, then for %d; 900 were counted and %d are the bound", first, last, bound)
	}
	b.llm.Strict = true
	b.run.FirstRunID += "x"
	if _, err := b.chat(prompt); err != nil || h.reserved[20] != bound {
		t.Errorf("strict: reserved for %d of %d, %v", h.reserved[20], bound, err)
	}
}

// TestOverdraftIsToldAndBooked is a prompt that counts for more than was
// estimated, with a budget that had just enough.
func TestOverdraftIsToldAndBooked(t *testing.T) {
	b := newBench(t, wflo.USD)
	h := newHeard()
	b.llm.Observer = h
	b.vendor.answer = func(p wflo.Prompt) (wflo.Reply, error) {
		r, _ := answered(p)
		r.Usage = wflo.Usage{Input: 1_000_000, Output: p.MaxTokens}
		return r, nil
	}
	reply, err := b.chat(ask("hi"))
	if err != nil {
		t.Fatal(err)
	}
	granted := b.ledger.reserved[0].Amount
	if h.overdraft != reply.Cost-granted || h.overdraft <= 0 || b.spend().Spent != reply.Cost {
		t.Errorf("overdraft %s; cost %s, held %s, spent %s", h.overdraft, reply.Cost, granted, b.spend().Spent)
	}
}

// TestLedgerThatHoldsTooLittle must not lead to a call without a bound.
func TestLedgerThatHoldsTooLittle(t *testing.T) {
	b := newBench(t, wflo.USD)
	b.llm.Ledger = stingy{b.ledger}
	if _, err := b.chat(ask("hi")); err == nil || b.vendor.calls() != 0 {
		t.Errorf("%v, %d calls", err, b.vendor.calls())
	}
}

// stingy is a ledger with a mistake.
type stingy struct{ *book }

func (s stingy) Reserve(ctx context.Context, r wflo.Reservation) (wflo.Hold, error) {
	h, err := s.book.Reserve(ctx, r)
	h.Granted = 0
	return h, err
}

// TestBilledByTime is a server that is paid for by the second: the time that a
// call may take is reserved, and the time that it took is charged.
func TestBilledByTime(t *testing.T) {
	prices, err := pricing.Parse(strings.NewReader(`{"version": 1, "currency": "USD", "models": [
		{"provider": "openai", "id": "own", "mode": "chat", "status": "current", "unit": "second", "rates": [{"per_second": "0.001"}]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t, 10*wflo.USD)
	b.llm.Prices = prices
	b.vendor.answer = func(wflo.Prompt) (wflo.Reply, error) {
		return wflo.Reply{Text: "hello", Stop: wflo.StopEnd, Provider: "openai", Model: "own", Usage: wflo.Usage{Input: 10, Output: 5, Millis: 2500}}, nil
	}
	p := ask("hi")
	p.Model = "own"
	reply, err := b.chat(p)
	if err != nil {
		t.Fatal(err)
	}
	if held := b.ledger.reserved[0].Amount; reply.Cost != 2500*wflo.MicroUSD || held < reply.Cost {
		t.Errorf("cost %s of %s held", reply.Cost, held)
	}
	if got := b.vendor.seen[0].MaxTokens; got != activities.DefaultMaxTokens {
		t.Errorf("max_tokens = %d", got)
	}
}

// TestChargedTier is a provider that served the call in a dearer tier than was
// asked for, because the account says so.
func TestChargedTier(t *testing.T) {
	b := newBench(t, wflo.USD)
	b.vendor.answer = func(p wflo.Prompt) (wflo.Reply, error) {
		r, _ := answered(p)
		r.Tier = "flex"
		return r, nil
	}
	reply, err := b.chat(ask("hi"))
	if err != nil {
		t.Fatal(err)
	}
	price, err := pricing.Default().Find("openai", pricing.WithTier("gpt-5.4-mini", "flex"), time.Now(), 1000)
	if err != nil {
		t.Fatal(err)
	}
	if want := pricing.Cost(price, reply.Usage); reply.Cost != want {
		t.Errorf("cost %s; want %s", reply.Cost, want)
	}
	p := ask("hi")
	p.Model = "gpt-5.4-mini#flex"
	if _, err := b.chat(p); !errors.Is(err, wflo.ErrInvalid) {
		t.Errorf("a tier in the model's name gave %v", err)
	}
}

func TestChatNeedsARun(t *testing.T) {
	b := newBench(t, wflo.USD)
	if _, err := b.llm.Chat(t.Context(), ask("hi")); !errors.Is(err, wflo.ErrInvalid) || b.vendor.calls() != 0 {
		t.Errorf("%v, %d calls", err, b.vendor.calls())
	}
}
