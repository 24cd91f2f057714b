package postgres

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/wflo-ai/wflo-go"
)

// bookings are all writes of a ledger, each once, in an order in which they make sense.
func bookings(ctx context.Context, l *Ledger) []func() error {
	run := wflo.Run{WorkflowID: "w", FirstRunID: "f", User: "ann"}
	reserve := func(key wflo.EffectKey, attempt int) func() error {
		r := wflo.Reservation{Key: key, Attempt: attempt, Amount: 30, Run: run, Budgets: []wflo.BudgetLine{{ID: "x", Limit: 1000}}, Scopes: []string{"user:ann"}}
		return func() error { _, err := l.Reserve(ctx, r); return err }
	}
	settle := func(key wflo.EffectKey) func() error {
		return func() error {
			return l.Settle(ctx, wflo.Settlement{Key: key, Attempt: 1, Amount: 20, Outcome: []byte("answer")})
		}
	}
	return []func() error{
		func() error {
			return l.SetBudget(ctx, wflo.Budget{Scope: wflo.ScopeUser, Name: "ann", Limit: 500, Thresholds: []int{1}}, "ops")
		},
		reserve("paid", 1), settle("paid"),
		reserve("unclear", 1), func() error { return l.MarkUnknown(ctx, "unclear", 1) }, settle("unclear"),
		reserve("refused", 1), func() error { return l.Release(ctx, "refused", 1) },
		reserve("again", 1), reserve("again", 2), // which makes the first one unknown
		func() error {
			_, err := l.TopUp(ctx, wflo.TopUp{Key: "more", Budget: "user:ann", Amount: 100, By: "ben"})
			return err
		},
		func() error {
			return l.Save(ctx, wflo.Saving{Key: "hit", Attempt: 1, Source: "paid", Saved: 20, Run: run, Scopes: []string{"user:ann"}})
		},
	}
}

// kept is what a ledger has in the end.
type kept struct {
	Spends  []wflo.Spend
	Entries []wflo.Entry
	Holds   []wflo.Hold
	Alerts  []wflo.BudgetAlert
}

func keptBy(t *testing.T, l *Ledger) kept {
	t.Helper()
	var k kept
	var err error
	must := func() {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	k.Spends, err = l.ListBudgets(t.Context())
	must()
	k.Entries, err = l.Entries(t.Context(), "w/f")
	must()
	k.Holds, err = l.OpenHolds(t.Context(), 0, 100)
	must()
	k.Alerts, err = l.ListAlerts(t.Context(), "", 100)
	must()
	return k
}

// TestCommitsWhoseAnswersAreLost makes each write while the connection breaks between
// its commit and its answer, once and so often that the caller hears of it and makes
// it again: the books are those of a ledger that lost nothing.
func TestCommitsWhoseAnswersAreLost(t *testing.T) {
	database := server.Database(t)
	w, near := newWire(t, database)
	var want kept
	for lost, schema := range []string{"lost0", "lost1", "lost2", "lost3"} {
		l := mustOpen(t, Config{URL: near, Schema: schema})
		for i, write := range bookings(t.Context(), l) {
			w.next(lost)
			err := write()
			if lost == tries {
				if err == nil {
					t.Errorf("write %d was answered, although all %d answers were lost", i, lost)
				}
				err = write()
			}
			if err != nil {
				t.Errorf("write %d, %d answers lost: %v", i, lost, err)
			}
			if got := w.next(0); got != lost {
				t.Errorf("write %d lost %d answers, want %d: the test shows nothing", i, got, lost)
			}
		}
		got := keptBy(t, l)
		if lost == 0 {
			want = got
			if len(want.Entries) != 5 || len(want.Spends) == 0 || len(want.Alerts) == 0 {
				t.Fatalf("the books are %+v", want)
			}
		}
		if diff := cmp.Diff(want, got, cmpopts.IgnoreTypes(time.Time{}), cmpopts.IgnoreFields(wflo.BudgetAlert{}, "ID")); diff != "" {
			t.Errorf("books after %d lost answers (-want +got):\n%s", lost, diff)
		}
	}
}

// TestRecordsWhoseAnswersAreLost does the same with what governance writes: an event is
// in the trail once, a notice goes out once, and an approval is used by whoever used it.
func TestRecordsWhoseAnswersAreLost(t *testing.T) {
	w, near := newWire(t, server.Database(t))
	l := mustOpen(t, Config{URL: near})
	r, ctx := l.Records(), t.Context()
	gate := wflo.Gate{Nonce: "nonce", Org: "acme", WorkflowID: "w", FirstRunID: "f"}
	for name, write := range map[string]func() error{
		"append":  func() error { return r.Append(ctx, login("x", "a"), login("y", "b")) },
		"enqueue": func() error { return r.Enqueue(ctx, wflo.Notice{ID: "n", Channel: "c", Thread: "t"}) },
		"gate":    func() error { return r.SaveGate(ctx, gate) },
		"grant":   func() error { return r.UseGrant(ctx, "nonce", "effect") },
		"revoke":  func() error { _, err := r.RevokeGrant(ctx, "other", "ann"); return err },
		"bundle":  func() error { return r.PutBundle(ctx, "hash", []byte("source")) },
	} {
		for lost := range tries {
			w.next(lost)
			if err := write(); err != nil {
				t.Errorf("%s, %d answers lost: %v", name, lost, err)
			}
			if got := w.next(0); got != lost {
				t.Errorf("%s lost %d answers, want %d: the test shows nothing", name, got, lost)
			}
		}
	}
	unbroken(t, r, "x", 1)
	unbroken(t, r, "y", 1)
	if got, err := r.ClaimNotices(ctx, 10, time.Minute); err != nil || len(got) != 1 {
		t.Errorf("notices are %+v, %v; want one", got, err)
	}
	if err := r.UseGrant(ctx, "nonce", "another effect"); wflo.CodeOf(err) != wflo.CodeApprovalExpired {
		t.Errorf("another effect used the approval: %v", err)
	}
}
