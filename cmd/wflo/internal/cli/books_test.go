package cli

import (
	"context"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/console"
)

// books stands for a worker's ledger behind the real API. Methods that it does
// not have panic.
type books struct {
	activities.Ledger
	spends  map[string]wflo.Spend
	alerts  []wflo.BudgetAlert
	rows    []wflo.CostRow
	total   wflo.CostRow
	entries []wflo.Entry
	unknown []wflo.Hold

	set     []wflo.Budget
	by      []string
	topUps  []wflo.TopUp
	settled []wflo.Settlement
	queries []wflo.CostQuery
	asked   string
}

func (b *books) ListBudgets(context.Context) ([]wflo.Spend, error) {
	var all []wflo.Spend
	for _, id := range slices.Sorted(maps.Keys(b.spends)) {
		if b.spends[id].Rule != nil {
			all = append(all, b.spends[id])
		}
	}
	return all, nil
}

func (b *books) Spend(_ context.Context, id string) (wflo.Spend, error) {
	s := b.spends[id]
	s.Budget = id
	return s, nil
}

func (b *books) SetBudget(_ context.Context, r wflo.Budget, by string) error {
	b.set, b.by = append(b.set, r), append(b.by, by)
	s := b.spends[r.ID()]
	s.Budget, s.Limit, s.Rule = r.ID(), r.Limit, &r
	b.spends[r.ID()] = s
	return nil
}

func (b *books) RemoveBudget(_ context.Context, id string) error {
	if _, ok := b.spends[id]; !ok {
		return wflo.Invalid("budget", "is not there: "+id, "see: wflo budget list")
	}
	delete(b.spends, id)
	return nil
}

func (b *books) TopUp(_ context.Context, t wflo.TopUp) (wflo.Spend, error) {
	b.topUps = append(b.topUps, t)
	s := b.spends[t.Budget]
	s.Budget, s.Limit, s.ToppedUp = t.Budget, s.Limit+t.Amount, s.ToppedUp+t.Amount
	return s, nil
}

func (b *books) ListAlerts(_ context.Context, id string, n int) ([]wflo.BudgetAlert, error) {
	b.asked = id
	return b.alerts[:min(n, len(b.alerts))], nil
}

func (b *books) Costs(_ context.Context, q wflo.CostQuery) ([]wflo.CostRow, error) {
	b.queries = append(b.queries, q)
	if q.By == "" {
		return []wflo.CostRow{b.total}, nil
	}
	return b.rows, nil
}

func (b *books) Entries(_ context.Context, run string) ([]wflo.Entry, error) {
	b.asked = run
	return b.entries, nil
}

func (b *books) UnknownHolds(context.Context, int) ([]wflo.Hold, error) { return b.unknown, nil }

func (b *books) Settle(_ context.Context, s wflo.Settlement) error {
	b.settled = append(b.settled, s)
	b.unknown = slices.DeleteFunc(b.unknown, func(h wflo.Hold) bool { return h.Key == s.Key && h.Attempt == s.Attempt })
	return nil
}

// serves puts the books behind the API that f's commands talk to.
func (b *books) serves(t *testing.T, f *fakeTemporal) *fakeTemporal {
	t.Helper()
	s := httptest.NewServer(console.NewHandler(console.Config{
		Client: f, Ledger: b, Logger: slog.New(slog.DiscardHandler), Metrics: http.NotFoundHandler(),
	}))
	t.Cleanup(s.Close)
	f.api = s.URL
	return f
}

const (
	keyA = wflo.EffectKey("3f9a1c20b7de11111111111111111111")
	keyB = wflo.EffectKey("3f9a1c20b7de22222222222222222222")
)

// someBooks have a budget of each kind, and two calls of unknown cost.
func someBooks() *books {
	payments := wflo.Budget{Scope: wflo.ScopeTeam, Name: "payments", Limit: 5 * wflo.USD, Period: wflo.PeriodDaily, TimeZone: "Europe/Berlin", OnExceeded: wflo.ExceedAsk}
	users := wflo.Budget{Scope: wflo.ScopeUser, Limit: wflo.USD, Period: wflo.Rolling(7 * day), Thresholds: []int{}}
	hold := func(key wflo.EffectKey, attempt int, ago time.Duration) wflo.Hold {
		return wflo.Hold{
			Reservation: wflo.Reservation{Key: key, Attempt: attempt, Provider: "openai", Model: "gpt-5.4", Run: wflo.Run{WorkflowID: "r1", FirstRunID: "first", Step: "classify#1"}},
			State:       wflo.HoldUnknown, Granted: 3 * wflo.Cent, At: time.Now().Add(-ago), Outcome: []byte("secret"),
		}
	}
	return &books{
		spends: map[string]wflo.Spend{
			"team:payments": {Budget: "team:payments", Limit: 6 * wflo.USD, ToppedUp: wflo.USD, Spent: 3 * wflo.USD, Reserved: 90 * wflo.Cent, Unknown: 3 * wflo.Cent, Rule: &payments,
				WindowStart: time.Now().Add(-time.Hour), WindowEnd: time.Date(2126, 11, 24, 23, 0, 0, 0, time.UTC)},
			"user:*":        {Budget: "user:*", Limit: wflo.USD, Rule: &users},
			"org:e\x1b[2J":  {Budget: "org:e\x1b[2J", Rule: &wflo.Budget{Scope: wflo.ScopeOrg, Name: "e\x1b[2J"}},
			"run:r1/run-r1": {Budget: "run:r1/run-r1", Limit: 5 * wflo.USD, Spent: 2 * wflo.USD, Reserved: wflo.Cent},
		},
		alerts: []wflo.BudgetAlert{
			{ID: "a2", Kind: wflo.AlertExceeded, Budget: "team:payments", Percent: 100, Limit: 5 * wflo.USD, Spent: 499 * wflo.Cent, At: time.Now().Add(-time.Minute), Run: wflo.Run{WorkflowID: "r2\x1b[31m"}},
			{ID: "a1", Kind: wflo.AlertThreshold, Budget: "team:payments", Percent: 50, Limit: 5 * wflo.USD, Spent: 260 * wflo.Cent, At: time.Now().Add(-time.Hour), Run: wflo.Run{WorkflowID: "r1"}},
		},
		rows: []wflo.CostRow{
			{Key: "=cmd|' /C calc'!A0", Calls: 3, Hits: 1, Spent: 2 * wflo.USD, Unknown: 3 * wflo.Cent, Saved: wflo.Cent, Usage: wflo.Usage{Input: 10, CacheRead: 5, Output: 7, Reasoning: 1}},
			{Key: "bob\x1b[2J", Calls: 1, Spent: -wflo.Cent},
		},
		total:   wflo.CostRow{Calls: 4, Hits: 1, Spent: 199 * wflo.Cent, Unknown: 3 * wflo.Cent, Reserved: 5 * wflo.Cent, Saved: wflo.Cent},
		unknown: []wflo.Hold{hold(keyA, 1, time.Minute), hold(keyB, 1, time.Hour), hold(keyB, 2, 2*time.Hour)},
	}
}

// ask runs one command line against the books.
func (b *books) ask(t *testing.T, line ...string) result {
	t.Helper()
	return invoke(t, b.serves(t, &fakeTemporal{}), line...)
}
