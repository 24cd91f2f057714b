package activities_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/sqlite"
)

// onSQLite gives the bench a real ledger in place of the tests' own.
func onSQLite(t *testing.T, b *bench) activities.Ledger {
	t.Helper()
	ledger, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(t.TempDir(), "ledger.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ledger.Close(); err != nil {
			t.Error(err)
		}
	})
	b.llm.Ledger = ledger
	return ledger
}

// entries reads the ledger of the bench's run, and checks that it adds up to
// what the run's budget says.
func entries(t *testing.T, b *bench) []wflo.Entry {
	t.Helper()
	all, err := b.llm.Ledger.Entries(context.Background(), b.run.RootID())
	if err != nil {
		t.Fatal(err)
	}
	var sum wflo.Money
	for _, e := range all {
		sum += e.Amount
	}
	if s := b.spend(); sum != s.Spent || s.Reserved != 0 || s.Spent > s.Limit {
		t.Errorf("entries add up to %s, the budget says %+v", sum, s)
	}
	return all
}

// TestManyCallsOnSQLite is 40 calls at the same time, half of which ask the same,
// with a budget that cannot pay for the worst case of all: each is made, answered
// by the cache, or refused to be tried again, and the money adds up.
func TestManyCallsOnSQLite(t *testing.T) {
	b, _ := newCached(t, 25*wflo.Cent)
	onSQLite(t, b)
	var wg sync.WaitGroup
	var mu sync.Mutex
	made, hits := 0, 0
	for i := range 40 {
		wg.Go(func() {
			text := "the same"
			if i%2 == 0 {
				text = fmt.Sprint("another ", i)
			}
			for {
				reply, err := b.chatAs(b.step(i), ask(text))
				if activities.Retryable(err) {
					continue // as Temporal does
				}
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err != nil:
					t.Error(err)
				case reply.Cached:
					hits++
				default:
					made++
				}
				return
			}
		})
	}
	wg.Wait()
	cached, settled := 0, 0
	for _, e := range entries(t, b) {
		switch e.State {
		case wflo.HoldCached:
			cached++
			if e.Amount != 0 || e.Saved <= 0 || e.Source == "" || e.Source == e.Key {
				t.Errorf("entry %+v", e)
			}
		case wflo.HoldSettled:
			settled++
		default:
			t.Errorf("entry %+v", e)
		}
	}
	if made != 21 || hits != 19 || cached != hits || settled != made || b.vendor.calls() != made {
		t.Errorf("%d calls made and %d settled, %d hits and %d kept, %d calls of the provider", made, settled, hits, cached, b.vendor.calls())
	}
}

// TestRulesOnSQLite is a team whose budget, which no run knows of, cuts an
// answer and then refuses.
func TestRulesOnSQLite(t *testing.T) {
	b := newBench(t, wflo.USD)
	b.run.Team = "payments"
	ledger := onSQLite(t, b)
	limit := 5 * wflo.MicroUSD * 1000
	if err := ledger.SetBudget(t.Context(), wflo.Budget{Scope: wflo.ScopeTeam, Name: "payments", Limit: limit}, "ann"); err != nil {
		t.Fatal(err)
	}
	b.llm.Strict = true
	b.vendor.answer = func(p wflo.Prompt) (wflo.Reply, error) {
		r, err := answered(p)
		r.Usage = wflo.Usage{Input: 20, Output: p.MaxTokens}
		return r, err
	}
	if _, err := b.chatAs(b.step(1), ask("hi")); err != nil {
		t.Fatal(err)
	}
	if got := b.vendor.seen[0].MaxTokens; got >= activities.DefaultMaxTokens || got < 64 {
		t.Errorf("max_tokens = %d", got)
	}
	var err error
	for i := 2; err == nil && i < 10; i++ {
		_, err = b.chatAs(b.step(i), ask("hi"))
	}
	var refusal *wflo.Refusal
	if !errors.As(err, &refusal) || refusal.Budget != "team:payments" || refusal.Limit != limit || activities.Retryable(err) {
		t.Errorf("error = %v", err)
	}
	s, err := ledger.Spend(t.Context(), "team:payments")
	if err != nil || s.Spent > limit || s.Reserved != 0 {
		t.Errorf("%+v, %v", s, err)
	}
	entries(t, b)
}

// TestFailoverOnSQLite is a call that three models are asked for, then a retry of
// it, then its like from the cache, then a reset of that.
func TestFailoverOnSQLite(t *testing.T) {
	b, h := newCached(t, wflo.USD)
	onSQLite(t, b)
	anthropic, google := &vendor{name: "anthropic", answer: fails(529)}, &vendor{name: "google", answer: says("google", flash)}
	b.llm.Providers["anthropic"], b.llm.Providers["google"] = anthropic, google
	b.vendor.answer = func(wflo.Prompt) (wflo.Reply, error) {
		return wflo.Reply{}, &activities.CallError{Retryable: true, Billable: true, Err: errors.New("reset")}
	}
	p := ask("hi")
	p.Fallback = []string{haiku, flash}
	for range 2 {
		reply, err := b.chatAs(b.step(1), p)
		if err != nil || reply.Provider != "google" || reply.Cached {
			t.Fatalf("%+v, %v", reply, err)
		}
	}
	b.llm.Routes = []activities.Route{{To: []string{flash}}}
	for range 2 {
		if reply, err := b.chatAs(b.step(2), p); err != nil || !reply.Cached || reply.Cost != 0 {
			t.Fatalf("%+v, %v", reply, err)
		}
	}
	var states []string
	for _, e := range entries(t, b) {
		states = append(states, fmt.Sprint(e.State, " ", e.Model))
	}
	want := "unknown gpt-5.4-mini, settled " + flash + ", cached " + flash
	if got := strings.Join(states, ", "); got != want || h.cache["hit"] != 1 {
		t.Errorf("entries are %s; want %s; %v", got, want, h.cache)
	}
	if b.vendor.calls() != 1 || anthropic.calls() != 1 || google.calls() != 1 {
		t.Errorf("%d, %d and %d calls", b.vendor.calls(), anthropic.calls(), google.calls())
	}
}
