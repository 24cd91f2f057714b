package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/ledger"
)

// Spend implements activities.Ledger.
func (l *Ledger) Spend(ctx context.Context, budget string) (wflo.Spend, error) {
	all, err := read(ctx, l, scanSpend, l.sql.spend, ledger.Text(budget))
	if err != nil {
		return wflo.Spend{Budget: budget}, fmt.Errorf("read budget %q: %w", budget, err)
	}
	all[0].Budget = budget
	return all[0], nil
}

// Spends reads several budgets in one query, in the order in which they are asked for.
func (l *Ledger) Spends(ctx context.Context, budgets []string) ([]wflo.Spend, error) {
	ids := make([]string, len(budgets))
	for i, id := range budgets {
		ids[i] = ledger.Text(id)
	}
	all, err := read(ctx, l, scanSpend, l.sql.several, ids)
	if err != nil {
		return nil, fmt.Errorf("read %d budgets: %w", len(budgets), err)
	}
	for i := range all {
		all[i].Budget = budgets[i]
	}
	return all, nil
}

// ListBudgets implements activities.Ledger.
func (l *Ledger) ListBudgets(ctx context.Context) ([]wflo.Spend, error) {
	all, err := read(ctx, l, scanSpend, l.sql.list)
	if err != nil {
		return nil, fmt.Errorf("list budgets: %w", err)
	}
	return all, nil
}

// storedSpend is a row of what the function spend_of returns.
type storedSpend struct {
	budget                                    string
	limit, spent, reserved, unknown, toppedUp int64
	rule                                      []byte
	starts, ends                              *time.Time
}

func (s *storedSpend) columns() []any {
	return []any{&s.budget, &s.limit, &s.spent, &s.reserved, &s.unknown, &s.toppedUp, &s.rule, &s.starts, &s.ends}
}

func (s *storedSpend) words() (wflo.Spend, error) {
	spend := wflo.Spend{Budget: s.budget, Limit: wflo.Money(s.limit), Spent: wflo.Money(s.spent), Reserved: wflo.Money(s.reserved),
		Unknown: wflo.Money(s.unknown), ToppedUp: wflo.Money(s.toppedUp), WindowStart: utc(s.starts), WindowEnd: utc(s.ends)}
	if s.rule == nil {
		return spend, nil
	}
	return spend, json.Unmarshal(s.rule, &spend.Rule)
}

func scanSpend(row pgx.CollectableRow) (wflo.Spend, error) {
	var s storedSpend
	if err := row.Scan(s.columns()...); err != nil {
		return wflo.Spend{}, err
	}
	return s.words()
}

// SetBudget implements activities.Ledger.
func (l *Ledger) SetBudget(ctx context.Context, b wflo.Budget, by string) error {
	b, err := ledger.CheckBudget(b)
	if err != nil {
		return err
	}
	if err := l.setRules(ctx, []wflo.Budget{b}, false, by); err != nil {
		return fmt.Errorf("set budget %q: %w", b.ID(), err)
	}
	return nil
}

// DeclareBudgets implements activities.Ledger.
func (l *Ledger) DeclareBudgets(ctx context.Context, declared []wflo.Budget) error {
	rules := make([]wflo.Budget, len(declared))
	seen := make(map[string]bool)
	for i, b := range declared {
		b, err := ledger.CheckBudget(b)
		if err != nil {
			return fmt.Errorf("budgets[%d]: %w", i, err)
		}
		if seen[b.ID()] {
			return wflo.Invalid(fmt.Sprintf("budgets[%d]", i), fmt.Sprintf("repeats %q", b.ID()), "declare every budget once")
		}
		seen[b.ID()] = true
		rules[i] = b
	}
	// In one order, although the lock on rules would do.
	slices.SortFunc(rules, func(a, b wflo.Budget) int { return strings.Compare(a.ID(), b.ID()) })
	if err := l.setRules(ctx, rules, true, "declaration"); err != nil {
		return fmt.Errorf("declare budgets: %w", err)
	}
	return nil
}

// setRules sets all or none.
func (l *Ledger) setRules(ctx context.Context, rules []wflo.Budget, declared bool, by string) error {
	n := len(rules)
	ids, limits, periods, zones := make([]string, n), make([]int64, n), make([]string, n), make([]string, n)
	slides, thresholds, exceeded := make([]*int64, n), make([]string, n), make([]string, n)
	texts, declarations := make([]string, n), make([]*string, n)
	for i, b := range rules {
		text, err := json.Marshal(b)
		if err != nil {
			return fmt.Errorf("encode budget: %w", err)
		}
		ids[i], limits[i], periods[i], zones[i], texts[i] = b.ID(), int64(b.Limit), string(b.Period), b.TimeZone, string(text)
		if zones[i] == "" {
			zones[i] = "UTC"
		}
		if d, ok := b.Period.Rolling(); ok {
			seconds := int64(d / time.Second)
			slides[i] = &seconds
		}
		thresholds[i], exceeded[i] = percents(ledger.Thresholds(b.Thresholds)), string(exceeds(b.OnExceeded))
		if declared {
			declarations[i] = &texts[i]
		}
	}
	err := l.call(ctx, func() error {
		_, err := l.pool.Exec(ctx, l.sql.set, ids, limits, periods, zones, slides, thresholds, exceeded, texts, declarations, ledger.Text(by))
		return err
	})
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Code == "22023" { // invalid_parameter_value
		return wflo.Invalid("budget.time_zone", "is not known to the database: "+strings.Join(zones, ", "),
			"use a zone that its tzdata has, or update that")
	}
	return err
}

// RemoveBudget implements activities.Ledger.
func (l *Ledger) RemoveBudget(ctx context.Context, id string) error {
	var removed bool
	err := l.call(ctx, func() error { return l.pool.QueryRow(ctx, l.sql.remove, ledger.Text(id)).Scan(&removed) })
	if err != nil {
		return fmt.Errorf("remove budget %q: %w", id, err)
	}
	if !removed {
		return wflo.Invalid("budget", fmt.Sprintf("%q has no rule", id), "list the budgets to see their names")
	}
	return nil
}

// TopUp implements activities.Ledger.
func (l *Ledger) TopUp(ctx context.Context, t wflo.TopUp) (wflo.Spend, error) {
	if err := ledger.CheckTopUp(t); err != nil {
		return wflo.Spend{}, err
	}
	var verdict string
	var s storedSpend
	err := l.call(ctx, func() error {
		return l.pool.QueryRow(ctx, l.sql.topUp, t.Key, t.Budget, int64(t.Amount), ledger.Text(t.By), ledger.Text(t.Reason)).
			Scan(append([]any{&verdict}, s.columns()...)...)
	})
	switch {
	case err != nil:
		return wflo.Spend{}, fmt.Errorf("top up budget %q: %w", t.Budget, err)
	case verdict == "conflict":
		return wflo.Spend{}, wflo.Errorf(wflo.CodeConflict, "give every top-up a key of its own", "top-up %q was made for another budget or amount", t.Key)
	case verdict == "missing":
		return wflo.Spend{}, wflo.Invalid("topup.budget", fmt.Sprintf("%q has no limit", t.Budget), "top up a budget that has one; list the budgets to see their names")
	}
	return s.words()
}
