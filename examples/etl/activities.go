package etl

import (
	"context"
	"database/sql"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"go.temporal.io/sdk/temporal"
)

// maxOrders bounds what one run loads, in rows.
const maxOrders = 10_000

// Activities read and write the database and the directory of published files. They may
// run at the same time.
type Activities struct {
	// DB has the tables orders(id, day, customer, cents, status) and
	// sales(day, customer, cents). Required.
	DB *sql.DB
	// Public is the directory that files are published in; it must be there. Required.
	Public string
}

// Sales are rows of a day, as the program made them: customer,cents with a header.
type Sales struct {
	Day string `json:"day"`
	CSV string `json:"csv"`
}

// Totals are of a day: how many orders there are, the cents of those that are paid, and
// the cents in sales.
type Totals struct {
	Orders int64 `json:"orders"`
	Paid   int64 `json:"paid"`
	Sales  int64 `json:"sales"`
}

// Extract gives the orders of a day as CSV, at most 10,000.
func (a *Activities) Extract(ctx context.Context, day string) (text string, err error) {
	rows, err := a.DB.QueryContext(ctx, `SELECT id, customer, cents, status FROM orders WHERE day = $1 ORDER BY id LIMIT $2`, day, maxOrders+1)
	if err != nil {
		return "", fmt.Errorf("read orders: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var out strings.Builder
	w := csv.NewWriter(&out)
	_ = w.Write([]string{"id", "customer", "cents", "status"}) // Error below has what went wrong
	n := 0
	for rows.Next() {
		var id, cents int64
		var customer, status string
		if err := rows.Scan(&id, &customer, &cents, &status); err != nil {
			return "", fmt.Errorf("read an order: %w", err)
		}
		if n++; n > maxOrders {
			return "", refuse("%s has more than %d orders", day, maxOrders)
		}
		_ = w.Write([]string{strconv.FormatInt(id, 10), customer, strconv.FormatInt(cents, 10), status})
	}
	w.Flush()
	return out.String(), errors.Join(rows.Err(), w.Error())
}

// Merge makes the rows of the day those of s, and gives their number. What a program
// wrote is not believed: a row that is no customer and a number refuses all.
func (a *Activities) Merge(ctx context.Context, s Sales) (n int, err error) {
	records, err := csv.NewReader(strings.NewReader(s.CSV)).ReadAll()
	if err != nil || len(records) == 0 {
		return 0, temporal.NewNonRetryableApplicationError(fmt.Sprintf("sales.csv is no table: %v", err), ErrTypeWrong, nil)
	}
	err = a.change(ctx, s.Day, func(tx *sql.Tx) error {
		for _, r := range records[1:] {
			cents, err := strconv.ParseInt(r[len(r)-1], 10, 64)
			if err != nil || len(r) != 2 {
				return temporal.NewNonRetryableApplicationError(fmt.Sprintf("sales.csv has the row %.100q", r), ErrTypeWrong, nil)
			}
			if _, err := tx.ExecContext(ctx, `INSERT INTO sales (day, customer, cents) VALUES ($1, $2, $3)`, s.Day, r[0], cents); err != nil {
				return fmt.Errorf("add a row of sales: %w", err)
			}
		}
		return nil
	})
	return len(records) - 1, err
}

// Unmerge takes the rows of a day out.
func (a *Activities) Unmerge(ctx context.Context, day string) error {
	return a.change(ctx, day, func(*sql.Tx) error { return nil })
}

// change puts other rows in the place of a day's, or leaves all as it is.
func (a *Activities) change(ctx context.Context, day string, add func(tx *sql.Tx) error) error {
	tx, err := a.DB.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("change sales: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // after Commit it does nothing
	if _, err := tx.ExecContext(ctx, `DELETE FROM sales WHERE day = $1`, day); err != nil {
		return fmt.Errorf("change sales: %w", err)
	}
	if err := add(tx); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("change sales: %w", err)
	}
	return nil
}

// Check adds up a day.
func (a *Activities) Check(ctx context.Context, day string) (t Totals, err error) {
	err = a.DB.QueryRowContext(ctx, `SELECT
		(SELECT count(*) FROM orders WHERE day = $1),
		(SELECT coalesce(sum(cents), 0) FROM orders WHERE day = $1 AND status = 'paid'),
		(SELECT coalesce(sum(cents), 0) FROM sales WHERE day = $1)`, day).Scan(&t.Orders, &t.Paid, &t.Sales)
	if err != nil {
		return t, fmt.Errorf("add up %s: %w", day, err)
	}
	return t, nil
}

// Publish writes the file with the figures and gives its name. Again it writes the same.
func (a *Activities) Publish(_ context.Context, f Figures) (string, error) {
	name, err := a.file(f.Day)
	if err != nil {
		return "", err
	}
	data, err := json.Marshal(f)
	if err != nil {
		return "", fmt.Errorf("encode the figures: %w", err)
	}
	if err := os.WriteFile(name+".new", data, 0o600); err != nil {
		return "", fmt.Errorf("publish: %w", err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		return "", fmt.Errorf("publish: %w", err)
	}
	return filepath.Base(name), nil
}

// Unpublish withdraws the figures. What is not there is withdrawn; where the directory
// itself is missing nobody can say so, and it is an error.
func (a *Activities) Unpublish(_ context.Context, f Figures) error {
	name, err := a.file(f.Day)
	if err != nil {
		return err
	}
	if _, err := os.Stat(a.Public); err != nil {
		return fmt.Errorf("withdraw: %w", err)
	}
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("withdraw: %w", err)
	}
	return nil
}

// file is where a day is published. Only a day can be part of the name.
func (a *Activities) file(day string) (string, error) {
	if _, err := time.Parse(time.DateOnly, day); err != nil {
		return "", refuse("%.40q is no day", day)
	}
	return filepath.Join(a.Public, day+".json"), nil
}

// refuse is an error that no retry can help.
func refuse(format string, args ...any) error {
	return temporal.NewNonRetryableApplicationError(fmt.Sprintf(format, args...), prefix+"Refused", nil)
}
