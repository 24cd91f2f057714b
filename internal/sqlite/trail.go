package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/wflo-ai/wflo-go"
)

// Trail reads the audit trail of a file that it never changes: for auditors, who
// have no right to. Its methods may be called at the same time.
type Trail struct{ from records }

// OpenTrail opens a file for reading. Nothing is made or migrated; a file that is not
// there or has no trail is an *wflo.Error with wflo.CodeInvalid. The caller closes
// the trail.
func OpenTrail(ctx context.Context, path string) (*Trail, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, wflo.Errorf(wflo.CodeInvalid, "name the worker's file, or the URL of its PostgreSQL", "open the trail: %w", err)
	}
	options := "mode=ro&_query_only=1"
	if _, err := os.Stat(path + "-wal"); errors.Is(err, fs.ErrNotExist) {
		// Everything is in the file, so it can be read where nothing can be
		// written beside it, too: from a backup, for instance.
		if f, err := os.OpenFile(path, os.O_RDWR, 0); err == nil {
			_ = f.Close() // nothing was written
		} else {
			options += "&immutable=1"
		}
	}
	db, err := sql.Open("sqlite", dsn(path, options))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	if err := hasTrail(ctx, db, path); err != nil {
		return nil, errors.Join(describe(path, err), db.Close())
	}
	return &Trail{records{&Ledger{read: db}}}, nil
}

func hasTrail(ctx context.Context, db *sql.DB, path string) error {
	marked, err := examine(ctx, db, path)
	if err != nil {
		return err
	}
	var tables int
	if err := db.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'audit'").Scan(&tables); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	if !marked || tables == 0 {
		return wflo.Errorf(wflo.CodeInvalid, "name the file of a worker that has this version of wflo or a newer one", "file %s has no audit trail", path)
	}
	return nil
}

// ReadAudit is that of activities.Audit.
func (t *Trail) ReadAudit(ctx context.Context, q wflo.AuditQuery) ([]wflo.AuditRecord, error) {
	return t.from.ReadAudit(ctx, q)
}

// AuditHeads is that of activities.Audit.
func (t *Trail) AuditHeads(ctx context.Context) ([]wflo.AuditRecord, error) {
	return t.from.AuditHeads(ctx)
}

// Close closes the file.
func (t *Trail) Close() error { return t.from.read.Close() }
