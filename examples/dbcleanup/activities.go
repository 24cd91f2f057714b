package dbcleanup

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"go.temporal.io/sdk/temporal"
)

// Table is the one table that is ever deleted from.
const Table = "customers"

// maxIdle bounds what one run looks at, in rows.
const maxIdle = 200

// ErrTypeRefused is the type, on Temporal's wire, of what no retry can help.
const ErrTypeRefused = prefix + "Refused"

// Activities read and delete. They may run at the same time.
type Activities struct {
	// DB has the table customers with id, name, last_order and note. Required.
	DB *sql.DB
}

// Idle gives customers without an order since a day, the oldest first, at most 200.
func (a *Activities) Idle(ctx context.Context, before string) (found []Customer, err error) {
	rows, err := a.DB.QueryContext(ctx, `SELECT id, name, last_order, note FROM customers WHERE last_order < $1 ORDER BY last_order, id LIMIT $2`, before, maxIdle)
	if err != nil {
		return nil, fmt.Errorf("read customers: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var c Customer
		if err := rows.Scan(&c.ID, &c.Name, &c.LastOrder, &c.Note); err != nil {
			return nil, fmt.Errorf("read a customer: %w", err)
		}
		found = append(found, c)
	}
	return found, rows.Err()
}

// Delete deletes exactly the rows that d lists, or none, and gives their number. Again
// it changes nothing: what is not there any more counts as deleted, because an attempt
// before may have done it.
func (a *Activities) Delete(ctx context.Context, d Deletion) (n int64, err error) {
	if d.Table != Table || len(d.IDs) == 0 || len(d.IDs) > maxIdle {
		return 0, temporal.NewNonRetryableApplicationError(fmt.Sprintf("cannot delete %d rows of %q", len(d.IDs), d.Table), ErrTypeRefused, nil)
	}
	tx, err := a.DB.BeginTx(ctx, nil)
	if err != nil {
		return 0, fmt.Errorf("delete customers: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // after Commit it does nothing
	ids := slices.Compact(slices.Sorted(slices.Values(d.IDs)))
	for _, id := range ids {
		if _, err := tx.ExecContext(ctx, `DELETE FROM customers WHERE id = $1`, id); err != nil {
			return 0, fmt.Errorf("delete customer %d: %w", id, err)
		}
	}
	if err := tx.Commit(); err != nil {
		return 0, fmt.Errorf("delete customers: %w", err)
	}
	return int64(len(ids)), nil
}
