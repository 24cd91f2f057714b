package postgres

import (
	"context"
	"fmt"
	"io/fs"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/faultpoint"
	"github.com/wflo-ai/wflo-go/internal/rewind"
)

var _ activities.Recovery = (*recovery)(nil)

// recovery is what going back is written down in, in the same database and over the
// same connections as the ledger.
type recovery struct {
	l      *Ledger
	schema string // as a prefix of names
}

// Recovery gives the snapshots, restores and compensations in the same database. It is
// closed with the ledger.
func (l *Ledger) Recovery() activities.Recovery { return &recovery{l: l, schema: l.records.sql.schema} }

// in puts the schema's name into a statement.
func (r *recovery) in(query string) string { return strings.ReplaceAll(query, "wflo.", r.schema) }

// within has work done in one transaction, again when that can help. Rows are locked
// in the order of their ids.
func (r *recovery) within(ctx context.Context, what string, work func(pgx.Tx) error) error {
	err := r.l.call(ctx, func() error {
		return pgx.BeginTxFunc(ctx, r.l.pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, uncommitted(work))
	})
	return doing(what, err)
}

// uncommitted is work with a fault point after it, where all is done and nothing is
// committed.
func uncommitted(work func(pgx.Tx) error) func(pgx.Tx) error {
	return func(tx pgx.Tx) error {
		if err := work(tx); err != nil {
			return err
		}
		return faultpoint.Hit("postgres.Commit:before")
	}
}

// doing says what was being done, except of refusals.
func doing(what string, err error) error {
	if err == nil || wflo.CodeOf(err) != "" {
		return err
	}
	return fmt.Errorf("%s: %w", what, err)
}

// rows sends a query of one statement and collects what it gives.
func rows[T any](ctx context.Context, r *recovery, what string, scan pgx.RowToFunc[T], query string, args ...any) ([]T, error) {
	found, err := read(ctx, r.l, scan, r.in(query), args...)
	return found, doing(what, err)
}

// only is rows for the one row that must be there.
func only[T any](ctx context.Context, r *recovery, what string, scan pgx.RowToFunc[T], query string, args ...any) (none T, _ error) {
	found, err := rows(ctx, r, what, scan, query, args...)
	switch {
	case err != nil:
		return none, err
	case len(found) == 0:
		return none, fmt.Errorf("%s: %w", what, fs.ErrNotExist)
	}
	return found[0], nil
}

// inside reads rows in a transaction.
func inside[T any](ctx context.Context, r *recovery, tx pgx.Tx, scan pgx.RowToFunc[T], query string, args ...any) ([]T, error) {
	found, err := tx.Query(ctx, r.in(query), args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(found, scan)
}

// equal adds a filter by a text, unless that is empty.
func (c *conditions) equal(column, value string) {
	if value != "" {
		c.add(column+" = %s", word(value))
	}
}

// page writes a query of what comes after a place in a descending order of a column
// and the id; no place is the beginning.
func (c *conditions) page(columns, table, order string, place []any, limit int) (string, []any) {
	if len(place) > 0 {
		c.add("("+order+", id) < (%v, %v)", place...)
	}
	if len(c.all) == 0 {
		c.all = append(c.all, "true")
	}
	if limit <= 0 {
		limit = defaultPage
	}
	return fmt.Sprintf("SELECT %s FROM wflo.%s WHERE %s ORDER BY %s DESC, id DESC LIMIT %s", columns, table, c, order, c.arg(limit)), c.args
}

// defaultPage is how many entries are listed when the limit is zero.
const defaultPage = 100

// place is where a list is read on: the order of the entry that was seen last, as T,
// and its id.
func place[T any](ctx context.Context, r *recovery, table, order, after string) ([]any, error) {
	if after == "" {
		return nil, nil
	}
	at, err := rows(ctx, r, "read on", pgx.RowTo[T], "SELECT "+order+" FROM wflo."+table+" WHERE id = $1", word(after))
	switch {
	case err != nil:
		return nil, err
	case len(at) == 0:
		return nil, rewind.NoSuch(after)
	}
	return []any{at[0], word(after)}, nil
}

const snapshotColumns = "id, manifest, digest, pinned"

func scanSnapshot(row pgx.CollectableRow) (s wflo.Snapshot, err error) {
	var id, digest string
	var manifest []byte
	var pinned bool
	if err := row.Scan(&id, &manifest, &digest, &pinned); err != nil {
		return s, err
	}
	return rewind.Snapshot(unword(id), manifest, digest, pinned)
}

// SaveSnapshot implements activities.Snapshots.
func (r *recovery) SaveSnapshot(ctx context.Context, s wflo.Snapshot) (kept wflo.Snapshot, err error) {
	manifest, err := rewind.Manifest(s)
	if err != nil {
		return kept, err
	}
	err = r.within(ctx, "save snapshot "+s.ID, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, r.in(`INSERT INTO wflo.snapshots (id, at_nano, org, workflow_id, first_run_id, name, kind, pinned, digest, manifest)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (id) DO NOTHING`), word(s.ID), rewind.Nanos(s.At), word(s.Run.Org),
			word(s.Run.WorkflowID), word(s.Run.FirstRunID), word(s.Name), word(string(s.Kind)), s.Pinned, s.Digest, manifest); err != nil {
			return err
		}
		found, err := inside(ctx, r, tx, scanSnapshot, "SELECT "+snapshotColumns+" FROM wflo.snapshots WHERE id = $1", word(s.ID))
		if err != nil {
			return err
		}
		if len(found) == 0 { // somebody has dropped it at this moment
			return fmt.Errorf("it went away: %w", fs.ErrNotExist)
		}
		kept = found[0]
		return rewind.SameSnapshot(kept, s)
	})
	return kept, err
}

// Snapshot implements activities.Snapshots.
func (r *recovery) Snapshot(ctx context.Context, id string) (wflo.Snapshot, error) {
	return only(ctx, r, "read snapshot "+id, scanSnapshot, "SELECT "+snapshotColumns+" FROM wflo.snapshots WHERE id = $1", word(id))
}

// ListSnapshots implements activities.Snapshots.
func (r *recovery) ListSnapshots(ctx context.Context, q activities.SnapshotQuery) ([]wflo.Snapshot, error) {
	const order = "at_nano"
	from, err := place[int64](ctx, r, "snapshots", order, q.After)
	if err != nil {
		return nil, doing("list snapshots", err)
	}
	c := &conditions{}
	c.equal("org", q.Org)
	c.equal("workflow_id", q.WorkflowID)
	c.equal("first_run_id", q.FirstRunID)
	c.equal("name", q.Name)
	c.equal("kind", string(q.Kind))
	if !q.Before.IsZero() {
		c.add(order+" <= %v", rewind.Nanos(q.Before))
	}
	query, args := c.page(snapshotColumns, "snapshots", order, from, q.Limit)
	return rows(ctx, r, "list snapshots", scanSnapshot, query, args...)
}

// PinSnapshot implements activities.Snapshots.
func (r *recovery) PinSnapshot(ctx context.Context, id string, pinned bool) error {
	_, err := only(ctx, r, "pin snapshot "+id, pgx.RowTo[bool], "UPDATE wflo.snapshots SET pinned = $2 WHERE id = $1 RETURNING pinned", word(id), pinned)
	return err
}

// DropSnapshots implements activities.Snapshots.
func (r *recovery) DropSnapshots(ctx context.Context, ids ...string) error {
	return r.within(ctx, "drop snapshots", func(tx pgx.Tx) error {
		batch := &pgx.Batch{}
		sorted := words(ids)
		for _, id := range sorted {
			batch.Queue(r.in("SELECT pinned FROM wflo.snapshots WHERE id = $1 FOR UPDATE"), id)
		}
		held := tx.SendBatch(ctx, batch)
		for _, id := range sorted {
			pinned, err := collectBatch(held, pgx.RowTo[bool])
			if err == nil && len(pinned) > 0 && pinned[0] {
				err = rewind.Pinned(unword(id))
			}
			if err != nil {
				return closing(held, err)
			}
		}
		if err := held.Close(); err != nil {
			return err
		}
		batch = &pgx.Batch{}
		for _, id := range sorted {
			batch.Queue(r.in("DELETE FROM wflo.snapshots WHERE id = $1"), id)
		}
		return tx.SendBatch(ctx, batch).Close()
	})
}
