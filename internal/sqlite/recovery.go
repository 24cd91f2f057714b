package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/rewind"
)

// recovery is an activities.Recovery in the ledger's file, over the same writer.
type recovery struct{ records }

var _ activities.Recovery = recovery{}

// Recovery gives the snapshots, restores and compensations in the same file. They
// live as long as the ledger.
func (l *Ledger) Recovery() activities.Recovery { return recovery{records{l}} }

// oftenRecovery are the statements of every effect that can be undone.
var oftenRecovery = []string{insertCompensation, queryState, beginEffect}

// all reads the rows of a query in a transaction of the writer.
func all[T any](t *tx, scan func(row interface{ Scan(...any) error }) (T, error), query string, args ...any) ([]T, error) {
	rows, err := t.query(query, args...) //nolint:sqlclosecheck // collect closes it
	return collect(rows, err, scan)
}

// filters collects a WHERE and its arguments.
type filters struct {
	all  []string
	args []any
}

func (f *filters) add(condition string, args ...any) {
	f.all, f.args = append(f.all, condition), append(f.args, args...)
}

// equal adds a filter by a text, unless that is empty.
func (f *filters) equal(column, value string) {
	if value != "" {
		f.add(column+" = ?", value)
	}
}

// page writes a query of what comes after a place in a descending order of a column
// and the id; a nil place is the beginning.
func (f *filters) page(columns, table, order string, place *int64, after string, limit int) (string, []any) {
	if place != nil {
		f.add("("+order+", id) < (?, ?)", *place, after)
	}
	where := ""
	if len(f.all) > 0 {
		where = " WHERE " + strings.Join(f.all, " AND ")
	}
	return fmt.Sprintf("SELECT %s FROM %s%s ORDER BY %s DESC, id DESC LIMIT ?", columns, table, where, order), append(f.args, limited(limit, 100))
}

// place is where a list is read on: the order of the entry that was seen last.
func (r recovery) place(ctx context.Context, table, order, after string) (*int64, error) {
	if after == "" {
		return nil, nil
	}
	var at int64
	err := r.read.QueryRowContext(ctx, "SELECT "+order+" FROM "+table+" WHERE id = ?", after).Scan(&at)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, rewind.NoSuch(after)
	}
	return &at, err
}

// ask has work done in the writer and gives its answer. What work refuses because
// something is not there ends no transaction that others share, so work must decide
// before it changes anything.
func ask[T any](ctx context.Context, r recovery, what string, work func(*tx) (T, error)) (none T, _ error) {
	var got struct {
		value T
		err   error
	}
	err := r.do(ctx, func(t *tx) error {
		if got.value, got.err = work(t); errors.Is(got.err, fs.ErrNotExist) {
			return nil
		}
		return got.err
	})
	if err == nil { // else the work may be under way still
		err = got.err
	}
	if err != nil {
		return none, doing(what, err)
	}
	return got.value, nil
}

// nothing is what work answers that only changes something.
type nothing = struct{}

// SaveSnapshot implements activities.Snapshots.
func (r recovery) SaveSnapshot(ctx context.Context, s wflo.Snapshot) (wflo.Snapshot, error) {
	manifest, err := rewind.Manifest(s)
	if err != nil {
		return wflo.Snapshot{}, err
	}
	return ask(ctx, r, "save snapshot "+s.ID, func(t *tx) (none wflo.Snapshot, _ error) {
		if err := t.exec(`INSERT INTO snapshots (id, at_nano, org, workflow_id, first_run_id, name, kind, pinned, digest, manifest)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING`, s.ID, rewind.Nanos(s.At), s.Run.Org, s.Run.WorkflowID,
			s.Run.FirstRunID, s.Name, string(s.Kind), s.Pinned, s.Digest, string(manifest)); err != nil {
			return none, err
		}
		found, err := all(t, scanSnapshot, "SELECT "+snapshotColumns+" FROM snapshots WHERE id = ?", s.ID)
		if err != nil {
			return none, err
		}
		return found[0], rewind.SameSnapshot(found[0], s)
	})
}

const snapshotColumns = "id, manifest, digest, pinned"

func scanSnapshot(row interface{ Scan(...any) error }) (s wflo.Snapshot, err error) {
	var id, manifest, digest string
	var pinned bool
	if err := row.Scan(&id, &manifest, &digest, &pinned); err != nil {
		return s, err
	}
	return rewind.Snapshot(id, []byte(manifest), digest, pinned)
}

// Snapshot implements activities.Snapshots.
func (r recovery) Snapshot(ctx context.Context, id string) (wflo.Snapshot, error) {
	return only(ctx, r, "read snapshot "+id, scanSnapshot, "SELECT "+snapshotColumns+" FROM snapshots WHERE id = ?", id)
}

// ListSnapshots implements activities.Snapshots.
func (r recovery) ListSnapshots(ctx context.Context, q activities.SnapshotQuery) ([]wflo.Snapshot, error) {
	const order = "at_nano"
	place, err := r.place(ctx, "snapshots", order, q.After)
	if err != nil {
		return nil, doing("list snapshots", err)
	}
	f := &filters{}
	f.equal("org", q.Org)
	f.equal("workflow_id", q.WorkflowID)
	f.equal("first_run_id", q.FirstRunID)
	f.equal("name", q.Name)
	f.equal("kind", string(q.Kind))
	if !q.Before.IsZero() {
		f.add(order+" <= ?", rewind.Nanos(q.Before))
	}
	query, args := f.page(snapshotColumns, "snapshots", order, place, q.After, q.Limit)
	rows, err := r.read.QueryContext(ctx, query, args...) //nolint:sqlclosecheck // collect closes it
	found, err := collect(rows, err, scanSnapshot)
	return found, doing("list snapshots", err)
}

// PinSnapshot implements activities.Snapshots.
func (r recovery) PinSnapshot(ctx context.Context, id string, pinned bool) error {
	_, err := ask(ctx, r, "pin snapshot "+id, func(t *tx) (nothing, error) {
		done, err := all(t, scanText, "UPDATE snapshots SET pinned = ? WHERE id = ? RETURNING id", pinned, id)
		if err == nil && len(done) == 0 {
			err = fs.ErrNotExist
		}
		return nothing{}, err
	})
	return err
}

// DropSnapshots implements activities.Snapshots.
func (r recovery) DropSnapshots(ctx context.Context, ids ...string) error {
	list := encodeList(ids)
	_, err := ask(ctx, r, "drop snapshots", func(t *tx) (none nothing, _ error) {
		pinned, err := all(t, scanText, "SELECT id FROM snapshots WHERE pinned AND id IN (SELECT value FROM json_each(?)) ORDER BY id LIMIT 1", list)
		if err != nil {
			return none, err
		}
		if len(pinned) > 0 {
			return none, rewind.Pinned(pinned[0])
		}
		return none, t.exec("DELETE FROM snapshots WHERE id IN (SELECT value FROM json_each(?))", list)
	})
	return err
}

func scanText(row interface{ Scan(...any) error }) (s string, err error) { return s, row.Scan(&s) }
