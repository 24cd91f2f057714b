package postgres

import (
	"context"
	"fmt"

	"github.com/wflo-ai/wflo-go/internal/ledger"
)

// SchemaVersion says which schema the database has now, and which is the newest that
// this program knows. They differ after a newer program has migrated it.
func (l *Ledger) SchemaVersion(ctx context.Context) (have, known int64, err error) {
	if known, err = ledger.NewestMigration(migrations, "migrations"); err != nil {
		return 0, 0, err
	}
	if err := l.pool.QueryRow(ctx, "SELECT max(version_id) FROM "+l.schema+".migrations WHERE is_applied").Scan(&have); err != nil {
		return 0, known, fmt.Errorf("read the version of the schema: %w", err)
	}
	return have, known, nil
}
