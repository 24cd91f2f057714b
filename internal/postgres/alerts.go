package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/ledger"
)

// ClaimAlerts implements activities.Ledger.
func (l *Ledger) ClaimAlerts(ctx context.Context, n int, lease time.Duration) ([]wflo.BudgetAlert, error) {
	alerts, err := read(ctx, l, scanAlert, l.sql.claimAlerts, max(0, n), lease)
	if err != nil {
		return nil, fmt.Errorf("claim alerts: %w", err)
	}
	return alerts, nil
}

// AlertDone implements activities.Ledger.
func (l *Ledger) AlertDone(ctx context.Context, id string) error {
	err := l.call(ctx, func() error {
		_, err := l.pool.Exec(ctx, l.sql.alertDone, ledger.Text(id))
		return err
	})
	if err != nil {
		return fmt.Errorf("mark alert %q as done: %w", id, err)
	}
	return nil
}

// ListAlerts implements activities.Ledger.
func (l *Ledger) ListAlerts(ctx context.Context, budget string, n int) ([]wflo.BudgetAlert, error) {
	query, args := l.sql.listAlerts, []any{max(0, n)}
	if budget != "" {
		query, args = l.sql.alertsOf, append(args, ledger.Text(budget))
	}
	alerts, err := read(ctx, l, scanAlert, query, args...)
	if err != nil {
		return nil, fmt.Errorf("list alerts: %w", err)
	}
	return alerts, nil
}

func scanAlert(row pgx.CollectableRow) (wflo.BudgetAlert, error) {
	var a wflo.BudgetAlert
	var kind, does string
	var limit, spent, reserved int64
	var starts, ends *time.Time
	var run []byte
	if err := row.Scan(&a.ID, &kind, &a.Budget, &a.Percent, &limit, &spent, &reserved, &does, &starts, &ends, &a.At, &run); err != nil {
		return a, err
	}
	a.Kind, a.OnExceeded = wflo.AlertKind(kind), wflo.OnExceeded(does)
	a.Limit, a.Spent, a.Reserved = wflo.Money(limit), wflo.Money(spent), wflo.Money(reserved)
	a.WindowStart, a.WindowEnd, a.At = utc(starts), utc(ends), a.At.UTC()
	return a, json.Unmarshal(run, &a.Run)
}
