package sqlite

import (
	"context"
	"io/fs"
	"slices"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/rewind"
)

const queryRestored = "SELECT restored FROM restores WHERE id = ?"

// BeginRestore implements activities.Restores.
func (r recovery) BeginRestore(ctx context.Context, asked wflo.Restored) (wflo.Restored, error) {
	return ask(ctx, r, "begin restore "+asked.Restore.ID, func(t *tx) (none wflo.Restored, _ error) {
		begun, e, err := rewind.Begin(asked, fromMicros(micros(t.now)))
		if err != nil || asked.Restore.DryRun {
			return begun, err
		}
		found, err := all(t, scanRestored, queryRestored, e.ID)
		if err != nil {
			return none, err
		}
		if len(found) > 0 {
			return found[0], rewind.SameRestore(found[0].Restore, asked.Restore)
		}
		others, err := all(t, scanText, "SELECT id FROM restores WHERE open = 1 AND from_run = ? AND NOT (fork AND ?) LIMIT 1", e.From, e.Fork)
		if err != nil {
			return none, err
		}
		if len(others) > 0 {
			return none, rewind.Busy(e.From, others[0])
		}
		return begun, t.exec(`INSERT INTO restores (id, from_run, from_workflow, into_run, into_workflow, fork, open, restored)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?)`, e.ID, e.From, e.FromWorkflow, e.Into, e.IntoWorkflow, e.Fork, e.Open, string(e.Doc))
	})
}

func scanRestored(row interface{ Scan(...any) error }) (r wflo.Restored, err error) {
	var text string
	if err := row.Scan(&text); err != nil {
		return r, err
	}
	return r, decode(text, &r)
}

// only reads the one row that must be there.
func only[T any](ctx context.Context, r recovery, what string, scan func(row interface{ Scan(...any) error }) (T, error), query string, args ...any) (none T, _ error) {
	rows, err := r.read.QueryContext(ctx, query, args...) //nolint:sqlclosecheck // collect closes it
	found, err := collect(rows, err, scan)
	if err == nil && len(found) == 0 {
		err = fs.ErrNotExist
	}
	if err != nil {
		return none, doing(what, err)
	}
	return found[0], nil
}

// NoteRestore implements activities.Restores.
func (r recovery) NoteRestore(ctx context.Context, noted wflo.Restored) (wflo.Restored, error) {
	return ask(ctx, r, "note restore "+noted.Restore.ID, func(t *tx) (none wflo.Restored, _ error) {
		found, err := all(t, scanRestored, queryRestored, noted.Restore.ID)
		switch {
		case err != nil:
			return none, err
		case len(found) == 0:
			return none, fs.ErrNotExist
		case rewind.Over(found[0]):
			return found[0], nil
		}
		next, e, err := rewind.Note(found[0], noted, fromMicros(micros(t.now)))
		if err != nil {
			return none, err
		}
		return next, t.exec("UPDATE restores SET into_run = ?, into_workflow = ?, open = ?, restored = ? WHERE id = ?",
			e.Into, e.IntoWorkflow, e.Open, string(e.Doc), e.ID)
	})
}

// Restored implements activities.Restores.
func (r recovery) Restored(ctx context.Context, id string) (wflo.Restored, error) {
	return only(ctx, r, "read restore "+id, scanRestored, queryRestored, id)
}

// ListRestores implements activities.Restores.
func (r recovery) ListRestores(ctx context.Context, run string) ([]wflo.Restored, error) {
	query, args := "SELECT restored FROM restores ORDER BY n DESC LIMIT 100", []any(nil)
	if run != "" {
		query = "SELECT restored FROM restores WHERE from_run = ?1 OR from_workflow = ?1 OR into_run = ?1 OR into_workflow = ?1 ORDER BY n DESC"
		args = []any{run}
	}
	rows, err := r.read.QueryContext(ctx, query, args...) //nolint:sqlclosecheck // collect closes it
	found, err := collect(rows, err, scanRestored)
	slices.Reverse(found)
	return found, doing("list restores", err)
}
