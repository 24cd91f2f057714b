package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/wflo-ai/wflo-go"
)

// Trail reads the audit trail over connections that cannot write: for auditors, who
// have no right to. Its methods may be called at the same time.
type Trail struct{ from *records }

// OpenTrail connects for reading. Nothing is made or migrated; a database without a
// trail is an *wflo.Error with wflo.CodeInvalid. The role needs SELECT on the tables
// audit and audit_heads only. The caller closes the trail.
func OpenTrail(ctx context.Context, c Config) (*Trail, error) {
	conf, err := c.parse()
	if err != nil {
		return nil, err
	}
	if c.Schema == "" {
		c.Schema = DefaultSchema
	}
	conf.ConnConfig.RuntimeParams["default_transaction_read_only"] = "on"
	l, err := connect(ctx, conf, c.Schema)
	if err != nil {
		return nil, err
	}
	t := &Trail{l.records}
	if _, err := t.AuditHeads(ctx); err != nil {
		_ = t.Close() // never fails
		var said *pgconn.PgError
		if errors.As(err, &said) && (said.Code == undefinedTable || said.Code == undefinedSchema) {
			return nil, wflo.Errorf(wflo.CodeInvalid, "name the database of a worker that has this version of wflo or a newer one", "schema %s has no audit trail", c.Schema)
		}
		return nil, err
	}
	return t, nil
}

// What PostgreSQL says of a database that no worker has migrated.
const (
	undefinedTable  = "42P01"
	undefinedSchema = "3F000"
)

// ReadAudit is that of activities.Audit.
func (t *Trail) ReadAudit(ctx context.Context, q wflo.AuditQuery) ([]wflo.AuditRecord, error) {
	return t.from.ReadAudit(ctx, q)
}

// AuditHeads is that of activities.Audit.
func (t *Trail) AuditHeads(ctx context.Context) ([]wflo.AuditRecord, error) {
	return t.from.AuditHeads(ctx)
}

// Close closes the connections.
func (t *Trail) Close() error { return t.from.l.Close() }
