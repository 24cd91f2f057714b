package storetest

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

// Spender is a ledger that reads several budgets at once, as lists of runs do.
type Spender interface {
	activities.Ledger
	// Spends gives what Spend gives for each of the budgets, in their order.
	Spends(ctx context.Context, budgets []string) ([]wflo.Spend, error)
}

// TestSpends holds an empty ledger to it: several budgets read at once are what each of
// them is by itself, whether they exist, are asked for twice, or have no possible name.
func TestSpends(t *testing.T, l Spender) {
	b := &books{T: t, Ledger: l}
	if err := l.SetBudget(t.Context(), wflo.Budget{Scope: wflo.ScopeTeam, Name: "ops", Limit: 5 * wflo.USD, Period: wflo.PeriodDaily}, "ann"); err != nil {
		t.Fatal(err)
	}
	b.reserve(ask("k", 1, 7, line("run:r1/first", 100)))
	ids := []string{"run:r2/none", "team:ops", "run:r1/first", "team:ops", "run:\x00", "a\xff", ""}
	var want []wflo.Spend
	for _, id := range ids {
		want = append(want, b.read(id))
	}
	got, err := l.Spends(t.Context(), ids)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Fatalf("%v, (-one by one +at once)\n%s", err, diff)
	}
	if got[1].Limit != 5*wflo.USD || got[2].Reserved != 7 {
		t.Errorf("%+v, %+v", got[1], got[2])
	}
	if none, err := l.Spends(t.Context(), nil); err != nil || len(none) != 0 {
		t.Errorf("none: %+v, %v", none, err)
	}
}
