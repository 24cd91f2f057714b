package sqlite

import (
	"database/sql"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pressly/goose/v3"
	"github.com/wflo-ai/wflo-go"
)

// TestMigrateFirstSchema opens a database that the first schema has written, with
// holds in every state.
func TestMigrateFirstSchema(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	writeFirstSchema(t, path)
	l := mustOpenFile(t, path)
	defer closeLedger(t, l)

	want := wflo.Spend{Budget: "run:wf/f", Limit: 100, Spent: 37, Reserved: 7, Unknown: 30}
	if got, err := l.Spend(t.Context(), "run:wf/f"); err != nil || !cmp.Equal(got, want) {
		t.Errorf("budget is %+v, %v; want %+v", got, err, want)
	}
	entries, err := l.Entries(t.Context(), "wf/f")
	if err != nil || len(entries) != 2 || entries[0].Amount != 7 || entries[1].State != wflo.HoldUnknown {
		t.Fatalf("entries are %+v, %v", entries, err)
	}
	scopes := []string{"run:wf/f", "step:chat", "user:ann", "model:openai/gpt", "tag:env=prod"}
	if diff := cmp.Diff(scopes, entries[0].Scopes); diff != "" {
		t.Errorf("scopes of an old entry (-want +got):\n%s", diff)
	}
	if _, err := l.write.Exec("UPDATE entries SET amount_nano = 0"); err == nil {
		t.Error("entries can be changed")
	}
	// What was open goes on where it was made.
	if err := l.Settle(t.Context(), wflo.Settlement{Key: "open", Attempt: 1, Amount: 5}); err != nil {
		t.Error(err)
	}
	if err := l.Settle(t.Context(), wflo.Settlement{Key: "unknown", Attempt: 1, Amount: 10}); err != nil {
		t.Error(err)
	}
	if got, err := l.Spend(t.Context(), "run:wf/f"); err != nil || got.Spent != 22 || got.Reserved != 0 || got.Unknown != 0 {
		t.Errorf("budget is %+v, %v", got, err)
	}
	// A new rule finds what was spent before it.
	if err := l.SetBudget(t.Context(), wflo.Budget{Scope: wflo.ScopeUser, Name: "ann", Limit: 50}, "ops"); err != nil {
		t.Fatal(err)
	}
	if got, err := l.Spend(t.Context(), "user:ann"); err != nil || got.Spent != 22 {
		t.Errorf("the user's budget is %+v, %v", got, err)
	}
}

// writeFirstSchema makes a database as the first release did.
func writeFirstSchema(t *testing.T, path string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	p, err := goose.NewProvider(goose.DialectSQLite3, db, os.DirFS("migrations"), goose.WithTableName("migrations"),
		goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.UpTo(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	const run = `{"workflow_id":"wf","first_run_id":"f","step":"g2/chat#3/wflo.Chat","user":"ann","tags":{"env":"prod"}}`
	const lines = `[{"id":"run:wf/f","limit":"0.0000001"}]`
	for _, statement := range []string{
		`PRAGMA application_id = 2003201135`,
		`INSERT INTO budgets VALUES ('run:wf/f', 100, 37, 7, 30, 1)`,
		`INSERT INTO holds VALUES ('settled', 1, 9, 'settled', 7, '` + lines + `', '` + run + `', 'wf/f', 'openai', 'gpt', x'6869', 1, 2)`,
		`INSERT INTO holds VALUES ('unknown', 1, 30, 'unknown', NULL, '` + lines + `', '` + run + `', 'wf/f', 'openai', 'gpt', NULL, 1, 3)`,
		`INSERT INTO holds VALUES ('open', 1, 7, 'open', NULL, '` + lines + `', '` + run + `', 'wf/f', 'openai', 'gpt', NULL, 1, NULL)`,
		`INSERT INTO holds VALUES ('released', 1, 7, 'released', NULL, 'null', '` + run + `', 'wf/f', 'openai', 'gpt', NULL, 1, 4)`,
		`INSERT INTO entries VALUES (4, 'settled', 1, 2, 'settled', 0, 'wf/f', '` + run + `', 'openai', 'gpt', 'r', '{"input":1,"output":2}', '{}', 9, 7, 0)`,
		`INSERT INTO entries VALUES (5, 'unknown', 1, 3, 'unknown', 0, 'wf/f', '` + run + `', 'openai', 'gpt', '', '{}', '{}', 30, 30, 0)`,
	} {
		if _, err := db.Exec(statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}
