package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/ledger"
)

// defaultRows bounds a report that does not say.
const defaultRows = 1000

// Entries implements activities.Ledger.
func (l *Ledger) Entries(ctx context.Context, rootRun string) ([]wflo.Entry, error) {
	entries, err := read(ctx, l, scanEntry, l.sql.entries, ledger.Text(rootRun))
	if err != nil {
		return nil, fmt.Errorf("read entries of %s: %w", rootRun, err)
	}
	return entries, nil
}

func scanEntry(row pgx.CollectableRow) (wflo.Entry, error) {
	var e wflo.Entry
	var key, state, source string
	var at time.Time
	var run, usage, price []byte
	var reserved, amount, overdraft, saved int64
	err := row.Scan(&key, &e.Attempt, &at, &state, &run, &e.Provider, &e.Model, &e.ResponseID, &usage, &price,
		&reserved, &amount, &overdraft, &e.Scopes, &saved, &source, &e.By, &e.Reason)
	if err != nil {
		return wflo.Entry{}, err
	}
	e.Key, e.State, e.At, e.Source = wflo.EffectKey(key), wflo.HoldState(state), at.UTC(), wflo.EffectKey(source)
	e.Reserved, e.Amount, e.Overdraft, e.Saved = wflo.Money(reserved), wflo.Money(amount), wflo.Money(overdraft), wflo.Money(saved)
	if len(e.Scopes) == 0 {
		e.Scopes = nil
	}
	return e, errors.Join(json.Unmarshal(run, &e.Run), json.Unmarshal(usage, &e.Usage), json.Unmarshal(price, &e.Price))
}

// Costs implements activities.Ledger.
func (l *Ledger) Costs(ctx context.Context, q wflo.CostQuery) ([]wflo.CostRow, error) {
	if err := ledger.CheckCostQuery(q); err != nil {
		return nil, err
	}
	zone, limit := q.TimeZone, q.Limit
	if zone == "" {
		zone = "UTC"
	}
	if limit == 0 {
		limit = defaultRows
	}
	rows, err := read(ctx, l, scanCost, l.sql.costs, q.By, zone, null(q.From), null(q.To), texts(q.Scopes), int64(limit))
	if err != nil {
		return nil, fmt.Errorf("add up costs: %w", err)
	}
	return rows, nil
}

// null is NULL for the zero time.
func null(at time.Time) *time.Time {
	if at.IsZero() {
		return nil
	}
	return &at
}

func scanCost(row pgx.CollectableRow) (wflo.CostRow, error) {
	var c wflo.CostRow
	var spent, unknown, overdraft, reserved, saved int64
	var usage []int64
	if err := row.Scan(&c.Key, &c.Calls, &c.Hits, &spent, &unknown, &overdraft, &reserved, &saved, &usage); err != nil {
		return c, err
	}
	c.Spent, c.Unknown, c.Overdraft = wflo.Money(spent), wflo.Money(unknown), wflo.Money(overdraft)
	c.Reserved, c.Saved = wflo.Money(reserved), wflo.Money(saved)
	c.Usage = wflo.Usage{Input: usage[0], CacheRead: usage[1], CacheWrite5m: usage[2], CacheWrite1h: usage[3],
		Output: usage[4], Reasoning: usage[5], Millis: usage[6]}
	return c, nil
}

// OpenHolds implements activities.Ledger.
func (l *Ledger) OpenHolds(ctx context.Context, age time.Duration, n int) ([]wflo.Hold, error) {
	holds, err := read(ctx, l, scanHold, l.sql.openHolds, age, max(0, n))
	if err != nil {
		return nil, fmt.Errorf("list open holds: %w", err)
	}
	return holds, nil
}

// UnknownHolds implements activities.Ledger.
func (l *Ledger) UnknownHolds(ctx context.Context, n int) ([]wflo.Hold, error) {
	holds, err := read(ctx, l, scanHold, l.sql.unknownHolds, max(0, n))
	if err != nil {
		return nil, fmt.Errorf("list unknown holds: %w", err)
	}
	return holds, nil
}
