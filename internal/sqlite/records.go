package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/wflo-ai/wflo-go/activities"
)

// records are an activities.Records in the ledger's file. They share its writer, so
// that calls which come together share a transaction and its flush to the disk.
type records struct{ *Ledger }

var _ activities.Records = records{}

// Records gives the records of governance in the same file. They live as long as
// the ledger.
func (l *Ledger) Records() activities.Records { return records{l} }

// micros is how times are kept here. Unlike nanoseconds it has room for the zero
// time.
func micros(t time.Time) int64 { return t.UnixMicro() }

func fromMicros(n int64) time.Time { return time.UnixMicro(n).UTC() }

// since is fromMicros for what may not have happened yet.
func since(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return fromMicros(n)
}

// change runs one statement in the writer.
func (r records) change(ctx context.Context, what, query string, args ...any) error {
	return doing(what, r.do(ctx, func(t *tx) error { return t.exec(query, args...) }))
}

// one reads a row; one that is not there matches fs.ErrNotExist.
func (r records) one(ctx context.Context, what, query string, args, into []any) error {
	row := r.read.QueryRowContext
	if prepared := r.reading[query]; prepared != nil { //nolint:sqlclosecheck // closed with the connection
		row = func(ctx context.Context, _ string, args ...any) *sql.Row {
			return prepared.QueryRowContext(ctx, args...)
		}
	}
	err := row(ctx, query, args...).Scan(into...)
	if errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("%s: %w", what, fs.ErrNotExist)
	}
	return doing(what, err)
}

// collect reads all rows of a query.
func collect[T any](rows *sql.Rows, err error, scan func(row interface{ Scan(...any) error }) (T, error)) (all []T, _ error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		one, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, rows.Err()
}

// written is the JSON of what a caller gave, which may hold raw JSON that is none.
func written(what string, v any) (string, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("encode %s: %w", what, err)
	}
	return string(data), nil
}

// limited is a limit with its default.
func limited(limit, otherwise int) int {
	if limit == 0 {
		return otherwise
	}
	return max(limit, 0)
}
