package postgres

import (
	"context"
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/wflo-ai/wflo-go"
)

// together sends calls in one batch and gives their answers.
func together(t testing.TB, l *Ledger, calls ...*call) []result {
	t.Helper()
	for _, c := range calls {
		c.answer = make(chan result, 1)
	}
	if err := l.sendBatch(t.Context(), calls); err != nil {
		t.Fatal(err)
	}
	results := make([]result, len(calls))
	for i, c := range calls {
		results[i] = <-c.answer
	}
	return results
}

func asking(key wflo.EffectKey, amount wflo.Money, lines ...wflo.BudgetLine) *call {
	return &call{key: key, reserve: &reserveCall{budgets: "[]", run: "{}",
		Reservation: wflo.Reservation{Key: key, Attempt: 1, Amount: amount, Budgets: lines}}}
}

// TestNoCallOfABatchHurtsAnother puts a denial, a conflict, a missing hold and a
// sum that is no Money into one batch with calls that are in order.
func TestNoCallOfABatchHurtsAnother(t *testing.T) {
	l := mustOpen(t, Config{})
	full, wide := wflo.BudgetLine{ID: "full", Limit: 10}, wflo.BudgetLine{ID: "wide"}
	together(t, l, asking("before", 10, full), asking("large", math.MaxInt64-5, wide), asking("small", 1, wide))
	settle := func(key wflo.EffectKey, amount wflo.Money) *call {
		return &call{key: key, settle: &settleCall{usage: "{}", price: "{}", Settlement: wflo.Settlement{Key: key, Attempt: 1, Amount: amount}}}
	}
	got := together(t, l, asking("good", 1, wide), asking("denied", 1, full, wide), asking("before", 11, full),
		settle("large", math.MaxInt64-5), settle("small", math.MaxInt64), settle("never", 1))
	for i, want := range []string{"held", "refused", "conflict", "done", "", "missing"} {
		if got[i].answer.verdict != want {
			t.Errorf("call %d was %q, %v; want %q", i, got[i].answer.verdict, got[i].err, want)
		}
	}
	if !errors.Is(got[4].err, wflo.ErrInvalid) {
		t.Errorf("the overflow gave %v", got[4].err)
	}
	if s, err := l.Spend(t.Context(), "wide"); err != nil || s.Spent != math.MaxInt64-5 || s.Reserved != 2 {
		t.Errorf("wide is %+v, %v", s, err)
	}
}

// TestABatchIsFilledToTheLimit asks for more than there is in one batch: what
// fits is held, and no more.
func TestABatchIsFilledToTheLimit(t *testing.T) {
	l := mustOpen(t, Config{})
	var calls []*call
	for i := range 20 {
		calls = append(calls, asking(wflo.EffectKey(fmt.Sprint(i)), 10, wflo.BudgetLine{ID: "x", Limit: 95}))
	}
	held := 0
	for _, r := range together(t, l, calls...) {
		if r.answer.verdict == "held" {
			held++
		}
	}
	if s, err := l.Spend(t.Context(), "x"); err != nil || held != 9 || s.Reserved != 90 {
		t.Errorf("%d were held and %s is reserved, %v; want 9", held, s.Reserved, err)
	}
}

// TestTakeKeepsTheOrderOfAKey: of calls about one effect each batch has one.
func TestTakeKeepsTheOrderOfAKey(t *testing.T) {
	left, cancel := context.WithCancel(t.Context())
	cancel()
	var b batcher
	for i, key := range []wflo.EffectKey{"a", "b", "a", "gone", "a"} {
		c := &call{key: key, ctx: t.Context(), giveUp: &giveUpCall{attempt: i}}
		if key == "gone" {
			c.ctx = left
		}
		b.waiting = append(b.waiting, c)
	}
	b.flying = 1
	for _, want := range []string{"[0 1]", "[2]", "[4]", "[]"} {
		var got []int
		for _, c := range b.take(cancel) {
			got = append(got, c.giveUp.attempt)
		}
		if fmt.Sprint(got) != want {
			t.Errorf("took %v, want %s", got, want)
		}
	}
	if b.flying != 0 {
		t.Error("the flight did not end")
	}
}

func TestClosedLedgerRefuses(t *testing.T) {
	l := mustOpen(t, Config{})
	l.batches.close()
	if err := l.Release(t.Context(), "k", 1); !errors.Is(err, errClosed) {
		t.Errorf("error is %v", err)
	}
}
