package postgres

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/activities/storetest"
)

// mustShare opens a database several times, as several workers do.
func mustShare(t testing.TB, url string, n int) []activities.Ledger {
	t.Helper()
	ledgers := make([]activities.Ledger, n)
	for i := range ledgers {
		ledgers[i] = mustOpen(t, Config{URL: url, MaxConns: 4})
	}
	return ledgers
}

func TestOverspendOverWorkers(t *testing.T) {
	url := server.Database(t)
	t.Cleanup(func() { noDeadlocks(t, url) })
	storetest.TestOverspend(t, mustShare(t, url, 4)...)
}

// TestLateSettlementWaitsForANewAccount lets a rule take a call of unknown
// outcome into its new account while that call is settled. The settlement must
// not have locked the accounts before that it knew of then, because whoever sets
// the rule may lock them next.
func TestLateSettlementWaitsForANewAccount(t *testing.T) {
	url := server.Database(t)
	t.Cleanup(func() { noDeadlocks(t, url) })
	l := mustOpen(t, Config{URL: url, MaxConns: 4})
	ctx := t.Context()
	if _, err := l.Reserve(ctx, wflo.Reservation{Key: "k", Attempt: 1, Amount: 30, Budgets: []wflo.BudgetLine{{ID: "a"}}, Scopes: []string{"user:ann"}}); err != nil {
		t.Fatal(err)
	}
	if err := l.MarkUnknown(ctx, "k", 1); err != nil {
		t.Fatal(err)
	}
	tx, err := l.pool.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(ctx)
	within := func(statement string) {
		t.Helper()
		if _, err := tx.Exec(ctx, statement); err != nil {
			t.Fatal(err)
		}
	}
	within("SET LOCAL search_path = wflo")
	within(`SELECT set_rule('user:ann', 100, '', 'UTC', NULL, '{}', 'halt', '{"scope":"user","name":"ann"}', NULL, 'ops')`)
	within("SELECT make_account('user:ann', 'user:ann', 'user:ann', 0, NULL, NULL)")
	settled := make(chan error, 1)
	go func() { settled <- l.Settle(ctx, wflo.Settlement{Key: "k", Attempt: 1, Amount: 10}) }()
	awaitLock(t, l)
	within("SELECT lock_accounts('{a}')")
	if err := tx.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-settled; err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"a", "user:ann"} {
		got, err := l.Spend(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		want := wflo.Spend{Budget: id, Spent: 10, Limit: got.Limit, Rule: got.Rule}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("budget (-want +got):\n%s", diff)
		}
	}
}

// awaitLock returns when somebody in the ledger's database waits for a lock.
func awaitLock(t *testing.T, l *Ledger) {
	t.Helper()
	for waiting := 0; waiting == 0; {
		err := l.pool.QueryRow(t.Context(), `SELECT count(*) FROM pg_locks k JOIN pg_stat_activity a USING (pid)
			WHERE NOT k.granted AND a.datname = current_database()`, pgx.QueryExecModeExec).Scan(&waiting)
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestSettlementByHand(t *testing.T) {
	l := mustOpen(t, Config{})
	ctx := t.Context()
	for _, key := range []wflo.EffectKey{"late", "open"} {
		r := wflo.Reservation{Key: key, Attempt: 1, Amount: 30, Run: wflo.Run{WorkflowID: "w", FirstRunID: "f"}}
		if _, err := l.Reserve(ctx, r); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.MarkUnknown(ctx, "late", 1); err != nil {
		t.Fatal(err)
	}
	for _, key := range []wflo.EffectKey{"late", "open"} {
		if err := l.Settle(ctx, wflo.Settlement{Key: key, Attempt: 1, Amount: 10, By: "ann", Reason: "invoice " + string(key)}); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := l.Entries(ctx, "w/f")
	if err != nil || len(entries) != 3 {
		t.Fatalf("entries are %+v, %v", entries, err)
	}
	var got [][2]string
	for _, e := range entries {
		got = append(got, [2]string{e.By, e.Reason})
	}
	if diff := cmp.Diff([][2]string{{}, {"ann", "invoice late"}, {"ann", "invoice open"}}, got); diff != "" {
		t.Errorf("who and why (-want +got):\n%s", diff)
	}
}
