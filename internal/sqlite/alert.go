package sqlite

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/ledger"
)

// alertCrossed gives an alert for each threshold that an account's spending has
// crossed.
func (t *tx) alertCrossed(a *account, run wflo.Run) error {
	for _, percent := range ledger.Crossed(a.spent, a.terms.Limit, a.terms.Thresholds, a.alerted) {
		a.alerted, a.changed = percent, true
		if err := t.alert(a, wflo.AlertThreshold, percent, run); err != nil {
			return err
		}
	}
	return nil
}

// alertExceeded gives an alert where a call needs more than what is not spent,
// once until there was room again. What other calls hold comes back for the most
// part, and alerts nobody.
func (t *tx) alertExceeded(a *account, run wflo.Run, need wflo.Money) error {
	if a.terms.Limit == 0 || a.terms.OnExceeded == wflo.ExceedIgnore || a.exceeded != 0 || a.terms.Limit-a.spent >= need {
		return nil
	}
	a.exceeded, a.changed = t.at, true
	return t.alert(a, wflo.AlertExceeded, 100, run)
}

func (t *tx) alert(a *account, kind wflo.AlertKind, percent int, run wflo.Run) error {
	// The ID is not derived: it names a workflow too, which may be remembered
	// longer than a ledger that somebody deletes.
	b := wflo.BudgetAlert{ID: rand.Text(), Kind: kind, Budget: a.budget, Percent: percent, Limit: a.terms.Limit, Spent: a.spent,
		Reserved: a.reserved, OnExceeded: a.terms.OnExceeded, At: t.now.UTC(), Run: run}
	b.WindowStart, b.WindowEnd = a.window(t.now)
	if err := t.exec("INSERT INTO alerts (id, budget, alert) VALUES (?, ?, ?)", b.ID, b.Budget, encode(b)); err != nil {
		return fmt.Errorf("alert of budget %q: %w", a.budget, err)
	}
	return nil
}

// ClaimAlerts implements activities.Ledger.
func (l *Ledger) ClaimAlerts(ctx context.Context, n int, lease time.Duration) ([]wflo.BudgetAlert, error) {
	var claimed []wflo.BudgetAlert
	err := l.do(ctx, func(t *tx) (err error) {
		claimed, err = scanAlerts(t.query("SELECT alert FROM alerts WHERE done_at IS NULL AND leased_until <= ? ORDER BY n LIMIT ?", t.at, max(n, 0)))
		if err != nil {
			return err
		}
		for _, a := range claimed {
			if err := t.exec("UPDATE alerts SET leased_until = ? WHERE id = ?", t.now.Add(lease).UnixNano(), a.ID); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, doing("claim alerts", err)
	}
	return claimed, nil
}

// AlertDone implements activities.Ledger.
func (l *Ledger) AlertDone(ctx context.Context, id string) error {
	return doing("close alert "+id, l.do(ctx, func(t *tx) error {
		return t.exec("UPDATE alerts SET done_at = ? WHERE id = ? AND done_at IS NULL", t.at, id)
	}))
}

// ListAlerts implements activities.Ledger.
func (l *Ledger) ListAlerts(ctx context.Context, budget string, n int) ([]wflo.BudgetAlert, error) {
	query, args := "SELECT alert FROM alerts ORDER BY n DESC LIMIT ?", []any{max(n, 0)}
	if budget != "" {
		query, args = "SELECT alert FROM alerts WHERE budget = ? ORDER BY n DESC LIMIT ?", []any{budget, max(n, 0)}
	}
	return scanAlerts(l.read.QueryContext(ctx, query, args...))
}

func scanAlerts(rows *sql.Rows, err error) (all []wflo.BudgetAlert, _ error) {
	if err != nil {
		return nil, fmt.Errorf("read alerts: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var text string
		var a wflo.BudgetAlert
		err := rows.Scan(&text)
		if err == nil {
			err = decode(text, &a)
		}
		if err != nil {
			return nil, fmt.Errorf("read alerts: %w", err)
		}
		all = append(all, a)
	}
	return all, rows.Err()
}
