package sqlite

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/ledger"
)

// Costs implements activities.Ledger. Rows are made in Go and not in SQL: SQLite
// knows no time zones, and continues an overflowing sum as a float.
func (l *Ledger) Costs(ctx context.Context, q wflo.CostQuery) (rows []wflo.CostRow, err error) {
	if err := ledger.CheckCostQuery(q); err != nil {
		return nil, err
	}
	err = l.view(ctx, func(from querier, _ time.Time) error {
		costs, err := ledger.NewCosts(q)
		if err != nil {
			return err
		}
		if err := addEntries(ctx, from, costs, q); err != nil {
			return err
		}
		open, err := readHolds(ctx, from, "state = 'open'")
		if err != nil {
			return err
		}
		for _, h := range open {
			if err := costs.AddHold(h.export()); err != nil {
				return err
			}
		}
		rows, err = costs.Rows()
		return err
	})
	if err != nil {
		return nil, doing("add up costs", err)
	}
	return rows, nil
}

func addEntries(ctx context.Context, from querier, costs *ledger.Costs, q wflo.CostQuery) (err error) {
	query := "SELECT " + entryColumns + `, e.adjusts, e.state = 'unknown' AND h.state = 'unknown' FROM entries e
		JOIN holds h ON h.key = e.key AND h.attempt = e.attempt WHERE true`
	var args []any
	if !q.From.IsZero() {
		query, args = query+" AND e.at >= ?", append(args, q.From.UnixNano())
	}
	if !q.To.IsZero() {
		query, args = query+" AND e.at < ?", append(args, q.To.UnixNano())
	}
	for _, scope := range q.Scopes {
		query, args = query+" AND e.id IN (SELECT entry FROM entry_budgets WHERE budget = ?)", append(args, scope)
	}
	rows, err := from.QueryContext(ctx, query, args...)
	if err != nil {
		return fmt.Errorf("read entries: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var adjusts, open bool
		e, err := scanEntry(rows, &adjusts, &open)
		if err != nil {
			return fmt.Errorf("read entries: %w", err)
		}
		if err := costs.AddEntry(e, adjusts, open); err != nil {
			return err
		}
	}
	return rows.Err()
}
