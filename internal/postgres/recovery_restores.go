package postgres

import (
	"context"
	"errors"
	"hash/fnv"
	"io/fs"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/rewind"
)

// words are the stored forms of texts, each once, in the order of the database.
func words(all []string) []string {
	var some []string
	for _, s := range all {
		some = append(some, word(s))
	}
	slices.Sort(some)
	return slices.Compact(some)
}

// collectBatch reads the rows of the next statement of a batch.
func collectBatch[T any](from pgx.BatchResults, scan pgx.RowToFunc[T]) ([]T, error) {
	found, err := from.Query()
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(found, scan)
}

// closing gives up a batch for an error.
func closing(b pgx.BatchResults, err error) error {
	if also := b.Close(); wflo.CodeOf(err) == "" && !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, also)
	}
	return err
}

// lock waits until nobody else works on what is called so, until the transaction ends.
func (r *recovery) lock(ctx context.Context, tx pgx.Tx, kind, name string) error {
	h := fnv.New64a()
	h.Write([]byte(r.schema + kind + "\x00" + name))
	_, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", int64(h.Sum64())) //nolint:gosec // any 64 bits will do
	return err
}

const queryRestored = "SELECT doc FROM wflo.restores WHERE id = $1"

// BeginRestore implements activities.Restores. Whoever begins holds the restore's name
// and then the run's, in this order, so that nobody waits in a circle.
func (r *recovery) BeginRestore(ctx context.Context, asked wflo.Restored) (kept wflo.Restored, err error) {
	err = r.within(ctx, "begin restore "+asked.Restore.ID, func(tx pgx.Tx) error {
		if err := errors.Join(r.lock(ctx, tx, "restore", asked.Restore.ID), r.lock(ctx, tx, "run", asked.From)); err != nil {
			return err
		}
		now, err := r.now(ctx, tx)
		if err != nil {
			return err
		}
		begun, e, err := rewind.Begin(asked, now)
		if kept = begun; err != nil || asked.Restore.DryRun {
			return err
		}
		found, err := inside(ctx, r, tx, scanDoc[wflo.Restored], queryRestored, word(e.ID))
		if err != nil {
			return err
		}
		if len(found) > 0 {
			kept = found[0]
			return rewind.SameRestore(kept.Restore, asked.Restore)
		}
		others, err := inside(ctx, r, tx, pgx.RowTo[string],
			"SELECT id FROM wflo.restores WHERE open AND from_run = $1 AND NOT (fork AND $2) LIMIT 1", word(e.From), e.Fork)
		if err != nil {
			return err
		}
		if len(others) > 0 {
			return rewind.Busy(e.From, unword(others[0]))
		}
		_, err = tx.Exec(ctx, r.in(`INSERT INTO wflo.restores (id, from_run, from_workflow, into_run, into_workflow, fork, open, doc)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`), word(e.ID), word(e.From), word(e.FromWorkflow), word(e.Into), word(e.IntoWorkflow), e.Fork, e.Open, e.Doc)
		return err
	})
	if err != nil {
		return wflo.Restored{}, err
	}
	return kept, nil
}

// now is the database's clock.
func (r *recovery) now(ctx context.Context, tx pgx.Tx) (time.Time, error) {
	var now time.Time
	err := tx.QueryRow(ctx, r.in("SELECT wflo.clock()")).Scan(&now)
	return now.UTC(), err
}

// NoteRestore implements activities.Restores.
func (r *recovery) NoteRestore(ctx context.Context, noted wflo.Restored) (kept wflo.Restored, err error) {
	err = r.within(ctx, "note restore "+noted.Restore.ID, func(tx pgx.Tx) error {
		found, err := inside(ctx, r, tx, scanDoc[wflo.Restored], queryRestored+" FOR UPDATE", word(noted.Restore.ID))
		switch {
		case err != nil:
			return err
		case len(found) == 0:
			return fs.ErrNotExist
		}
		if kept = found[0]; rewind.Over(kept) {
			return nil
		}
		now, err := r.now(ctx, tx)
		if err != nil {
			return err
		}
		next, e, err := rewind.Note(kept, noted, now)
		if err != nil {
			return err
		}
		kept = next
		_, err = tx.Exec(ctx, r.in("UPDATE wflo.restores SET into_run = $2, into_workflow = $3, open = $4, doc = $5 WHERE id = $1"),
			word(e.ID), word(e.Into), word(e.IntoWorkflow), e.Open, e.Doc)
		return err
	})
	if err != nil {
		return wflo.Restored{}, err
	}
	return kept, nil
}

// Restored implements activities.Restores.
func (r *recovery) Restored(ctx context.Context, id string) (wflo.Restored, error) {
	return only(ctx, r, "read restore "+id, scanDoc[wflo.Restored], queryRestored, word(id))
}

// ListRestores implements activities.Restores. Each way to be found is a query of its
// own, so that each has an index.
func (r *recovery) ListRestores(ctx context.Context, run string) ([]wflo.Restored, error) {
	query, args := "SELECT doc FROM wflo.restores ORDER BY n DESC LIMIT 100", []any(nil)
	if run != "" {
		query = `SELECT doc FROM wflo.restores WHERE n IN (
			SELECT n FROM wflo.restores WHERE from_run = $1 UNION ALL SELECT n FROM wflo.restores WHERE from_workflow = $1 UNION ALL
			SELECT n FROM wflo.restores WHERE into_run = $1 UNION ALL SELECT n FROM wflo.restores WHERE into_workflow = $1) ORDER BY n DESC`
		args = []any{word(run)}
	}
	found, err := rows(ctx, r, "list restores", scanDoc[wflo.Restored], query, args...)
	slices.Reverse(found)
	return found, err
}
