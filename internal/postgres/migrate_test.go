package postgres

import (
	"database/sql"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/wflo-ai/wflo-go"
)

// firstVersion makes the schema as it was before there were rules, with one hold
// of each kind in it.
func firstVersion(t *testing.T, url string) {
	t.Helper()
	db := migratedTo(t, url, 1)
	const run = `{"workflow_id":"w","first_run_id":"f","user":"ann","tags":{"env":"prod"}}`
	const odd = `{"workflow_id":"w","first_run_id":"f","user":"a\u0000b"}`
	for key, who := range map[string]string{"settled": run, "open": run, "unknown": odd, "released": run} {
		exec(t, db, `SELECT reserve($1, 1, 30, '{team,org}', '{1000,0}', '[{"id":"team","limit":"0.000001"},{"id":"org"}]', 'w/f', $2, 'openai', 'gpt')`, key, who)
	}
	exec(t, db, `SELECT settle('settled', 1, 20, '{"input":5,"output":1}', '{}', 'openai', 'gpt-1', 'id', 'answer')`)
	exec(t, db, `SELECT give_up('unknown', 1, true), give_up('released', 1, false)`)
}

func exec(t *testing.T, db *sql.DB, query string, args ...any) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), query, args...); err != nil {
		t.Fatal(err)
	}
}

// TestMigrationKeepsTheBooks: what the first version held and charged can be
// settled, corrected and reported.
func TestMigrationKeepsTheBooks(t *testing.T) {
	url := server.Database(t)
	firstVersion(t, url)
	l := mustOpen(t, Config{URL: url})
	ctx := t.Context()
	for id, limit := range map[string]wflo.Money{"team": 1000, "org": 0} {
		got, err := l.Spend(ctx, id)
		want := wflo.Spend{Budget: id, Limit: limit, Spent: 50, Reserved: 30, Unknown: 30}
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("budget (-want +got):\n%s", diff)
		}
	}
	// A rule counts what was spent before scopes were kept.
	if err := l.SetBudget(ctx, wflo.Budget{Scope: wflo.ScopeUser, Name: "ann", Limit: 100}, "ops"); err != nil {
		t.Fatal(err)
	}
	if got, err := l.Spend(ctx, "user:ann"); err != nil || got.Spent != 20 {
		t.Errorf("the user spent %+v, %v; want 20", got, err)
	}
	for key, amount := range map[wflo.EffectKey]wflo.Money{"open": 7, "unknown": 10} {
		if err := l.Settle(ctx, wflo.Settlement{Key: key, Attempt: 1, Amount: amount}); err != nil {
			t.Error(err)
		}
	}
	h, err := l.Reserve(ctx, wflo.Reservation{Key: "settled", Attempt: 2, Amount: 1, Run: wflo.Run{WorkflowID: "w", FirstRunID: "f"}})
	if err != nil || h.State != wflo.HoldSettled || string(h.Outcome) != "answer" || h.Granted != 30 || len(h.Budgets) != 2 {
		t.Errorf("hold is %+v, %v", h, err)
	}
	got, err := l.Spend(ctx, "team")
	if err != nil || got.Spent != 37 || got.Reserved != 0 || got.Unknown != 0 {
		t.Errorf("team is %+v, %v; want 37 spent and nothing open", got, err)
	}
	rows, err := l.Costs(ctx, wflo.CostQuery{Scopes: []string{"run:w/f"}})
	if err != nil || len(rows) != 1 || rows[0].Spent != 37 || rows[0].Calls != 3 {
		t.Errorf("costs are %+v, %v", rows, err)
	}
}
