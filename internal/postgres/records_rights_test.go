package postgres

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/wflo-ai/wflo-go"
)

// leastRights are those of a worker that only uses what another role has migrated,
// as docs/audit.md gives them.
const leastRights = `
	GRANT USAGE ON SCHEMA wflo TO wflo_worker;
	GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA wflo TO wflo_worker;
	GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA wflo TO wflo_worker;
	REVOKE UPDATE, DELETE ON wflo.audit FROM wflo_worker;
	REVOKE DELETE ON wflo.audit_heads FROM wflo_worker;
	REVOKE INSERT, UPDATE, DELETE ON wflo.migrations FROM wflo_worker;`

// TestAWorkerNeedsNoRightToChangeTheTrail: what a worker may do is enough for its
// work, and not enough to switch off what keeps the trail.
func TestAWorkerNeedsNoRightToChangeTheTrail(t *testing.T) {
	page, err := os.ReadFile("../../docs/audit.md")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(leastRights) {
		if !strings.Contains(string(page), strings.TrimSpace(line)) {
			t.Errorf("docs/audit.md lacks %s", line)
		}
	}
	address := server.Database(t)
	owner := mustOpen(t, Config{URL: address, MaxConns: 2})
	role := fmt.Sprint("wflo_test_worker_", os.Getpid())
	if err := server.Exec(t.Context(), "CREATE ROLE "+role); err != nil {
		t.Fatal(err)
	}
	// Registered after the database, so that it is dropped before; what the role was
	// granted there goes first.
	t.Cleanup(func() {
		_, err := owner.pool.Exec(context.Background(), "DROP OWNED BY "+role+"; DROP ROLE "+role, pgx.QueryExecModeSimpleProtocol)
		if err != nil {
			t.Error(err)
		}
	})
	if _, err := owner.pool.Exec(t.Context(), strings.ReplaceAll(leastRights, "wflo_worker", role), pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	query := u.Query()
	query.Set("role", role)
	u.RawQuery = query.Encode()
	worker := mustOpen(t, Config{URL: u.String(), MaxConns: 2})
	r, ctx := worker.Records(), t.Context()
	mustAppend(t, r, login("x", "a"))
	mustAppend(t, r, login("x", "b"))
	unbroken(t, r, "x", 2)
	g := wflo.Run{WorkflowID: "w"}.Ask("refunds", wflo.Approval{Action: "a", Approvers: []string{"ann"}}, login("", "").At).Seal("n")
	if err := r.SaveGate(ctx, g); err != nil {
		t.Error(err)
	}
	if err := r.Enqueue(ctx, wflo.Notice{ID: "a", Channel: "c", Thread: "a"}); err != nil {
		t.Error(err)
	}
	if _, err := worker.Reserve(ctx, wflo.Reservation{Key: "k", Attempt: 1, Amount: 1, Budgets: []wflo.BudgetLine{{ID: "b"}}}); err != nil {
		t.Error(err)
	}
	for _, statement := range []string{
		"UPDATE wflo.audit SET actor = 'bob'", "DELETE FROM wflo.audit", "TRUNCATE wflo.audit", "DELETE FROM wflo.audit_heads",
		"ALTER TABLE wflo.audit DISABLE TRIGGER audit_append_only", "DROP TABLE wflo.audit", "DROP FUNCTION wflo.refuse_audit_change CASCADE",
		"CREATE OR REPLACE FUNCTION wflo.refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
	} {
		if _, err := worker.pool.Exec(ctx, statement); err == nil {
			t.Errorf("a worker could do this: %s", statement)
		}
	}
	unbroken(t, r, "x", 2)
}
