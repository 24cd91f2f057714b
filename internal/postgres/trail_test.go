package postgres

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/audit"
)

// An auditor with the right to read two tables reads the trail, and can do nothing
// else; the connection refuses to write whatever the role may.
func TestAnAuditorReadsTheTrail(t *testing.T) {
	address := server.Database(t)
	if _, err := OpenTrail(t.Context(), Config{URL: address}); !errors.Is(err, wflo.ErrInvalid) || !strings.Contains(err.Error(), "has no audit trail") {
		t.Errorf("an empty database: %v", err)
	}
	owner := mustOpen(t, Config{URL: address, MaxConns: 2})
	for i := range 3 {
		if err := owner.Records().Append(t.Context(), wflo.AuditEvent{ID: fmt.Sprint(i), Chain: "main", Type: wflo.AuditLogin, Actor: "ann"}); err != nil {
			t.Fatal(err)
		}
	}
	role := fmt.Sprint("wflo_test_auditor_", os.Getpid())
	if err := server.Exec(t.Context(), "CREATE ROLE "+role); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := owner.pool.Exec(context.Background(), "DROP OWNED BY "+role+"; DROP ROLE "+role, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Error(err)
		}
	})
	grant := "GRANT USAGE ON SCHEMA wflo TO " + role + "; GRANT SELECT ON wflo.audit, wflo.audit_heads TO " + role
	if _, err := owner.pool.Exec(t.Context(), grant, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	query := u.Query()
	query.Set("role", role)
	u.RawQuery = query.Encode()
	trail, err := OpenTrail(t.Context(), Config{URL: u.String(), MaxConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer trail.Close()
	report, err := audit.Verify(t.Context(), audit.Records(t.Context(), trail, ""), audit.Options{})
	if err != nil || report.Records != 3 || report.Class() != audit.Incomplete { // there are no checkpoints
		t.Errorf("got %+v, %v", report, err)
	}

	all, err := OpenTrail(t.Context(), Config{URL: address, MaxConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer all.Close()
	if err := all.from.Append(t.Context(), wflo.AuditEvent{ID: "x", Chain: "main", Type: wflo.AuditLogin}); err == nil || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("the owner's trail takes a record: %v", err)
	}
}
