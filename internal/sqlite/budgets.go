package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/ledger"
)

// SetBudget implements activities.Ledger.
func (l *Ledger) SetBudget(ctx context.Context, b wflo.Budget, by string) error {
	b, err := ledger.CheckBudget(b)
	if err != nil {
		return err
	}
	return doing("set budget "+b.ID(), l.do(ctx, func(t *tx) error { return t.setRule(b, ledger.Text(by), "") }))
}

// byDeclaration is who sets what a worker's configuration declares.
const byDeclaration = "declaration"

// DeclareBudgets implements activities.Ledger.
func (l *Ledger) DeclareBudgets(ctx context.Context, declared []wflo.Budget) error {
	rules := make([]wflo.Budget, len(declared))
	seen := map[string]bool{}
	for i, b := range declared {
		var err error
		if rules[i], err = ledger.CheckBudget(b); err != nil {
			return fmt.Errorf("budgets[%d]: %w", i, err)
		}
		if id := rules[i].ID(); seen[id] {
			return wflo.Invalid(fmt.Sprintf("budgets[%d]", i), fmt.Sprintf("repeats %q", id), "declare every budget once")
		}
		seen[rules[i].ID()] = true
	}
	return doing("declare budgets", l.do(ctx, func(t *tx) error {
		for _, b := range rules {
			text := encode(b)
			var last sql.NullString
			err := t.QueryRowContext(t.ctx, "SELECT declared FROM rules WHERE id = ?", b.ID()).Scan(&last)
			if err != nil && !errors.Is(err, sql.ErrNoRows) {
				return fmt.Errorf("read declaration of %q: %w", b.ID(), err)
			}
			if last.Valid && last.String == text {
				continue
			}
			if err := t.setRule(b, byDeclaration, text); err != nil {
				return err
			}
		}
		return nil
	}))
}

// doing says what failed, where the error does not say it itself.
func doing(what string, err error) error {
	if err == nil || wflo.CodeOf(err) != "" {
		return err
	}
	return fmt.Errorf("%s: %w", what, err)
}

// setRule makes or replaces a rule; declared is its declaration, or empty where
// somebody sets it.
func (t *tx) setRule(b wflo.Budget, by, declared string) error {
	book, err := t.rules()
	if err != nil {
		return err
	}
	r := &rule{b, t.at}
	old := book[b.ID()]
	moved := old != nil && (old.Period != b.Period || old.TimeZone != b.TimeZone)
	if old != nil && !moved {
		r.since = old.since
	}
	err = t.exec(`INSERT INTO rules (id, rule, since, declared, updated_by, updated_at) VALUES (?, ?, ?, nullif(?, ''), ?, ?)
		ON CONFLICT (id) DO UPDATE SET rule = excluded.rule, since = excluded.since, declared = coalesce(excluded.declared, declared),
		updated_by = excluded.updated_by, updated_at = excluded.updated_at`, b.ID(), encode(b), r.since, declared, by, t.at)
	if err != nil {
		return fmt.Errorf("write rule %q: %w", b.ID(), err)
	}
	t.ledger.rules = nil // to be read again
	if moved {
		if err := t.free(b.ID()); err != nil {
			return err
		}
	}
	if b.Name != wflo.Each {
		return t.govern(r, b.ID())
	}
	return t.governAll(r)
}

// govern has a rule count for one budget from now on, whatever counted before.
func (t *tx) govern(r *rule, budget string) error {
	id, _, _, err := r.window(budget, t.now)
	if err != nil {
		return err
	}
	before, err := t.account(id)
	if err != nil {
		return err
	}
	stale := before != nil && (before.ruleID != r.ID() || before.filled < r.since)
	a, err := t.windowOf(r, budget, nil)
	if err != nil {
		return err
	}
	if before != nil {
		if a.own != "" {
			// Whoever sets a budget by its name means it, whatever a line asked for.
			a.own = encode(terms{})
		}
		if err := t.setWindow(a, r); err != nil {
			return err
		}
	}
	if stale {
		return t.fill(a)
	}
	return nil
}

func (t *tx) setWindow(a *account, r *rule) error {
	asked := termsOf(r.Budget)
	if err := a.withOwn(&asked); err != nil {
		return err
	}
	if calendar(a.period) {
		_, start, end, err := r.window(a.budget, t.now)
		if err != nil {
			return err
		}
		a.start, a.end = start.UnixNano(), end.UnixNano()
	}
	return t.apply(a, r, asked)
}

// governAll changes the current windows that a rule for each has made.
func (t *tx) governAll(r *rule) error {
	ids, err := t.accountsOfRule(r.ID())
	if err != nil {
		return err
	}
	for _, id := range ids {
		a, err := t.account(id)
		if err != nil {
			return err
		}
		current, _, _, err := r.window(a.budget, t.now)
		if err != nil {
			return err
		}
		if id != current {
			continue
		}
		if err := t.setWindow(a, r); err != nil {
			return err
		}
	}
	return nil
}

func (t *tx) accountsOfRule(rule string) (ids []string, err error) {
	rows, err := t.query("SELECT id FROM accounts WHERE rule_id = ? AND rule_id <> ''", rule)
	if err != nil {
		return nil, fmt.Errorf("read accounts of %q: %w", rule, err)
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, fmt.Errorf("read accounts of %q: %w", rule, err)
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}

// free takes the limit of a rule from all windows that it made. What a line asked
// for besides counts again.
func (t *tx) free(rule string) error {
	ids, err := t.accountsOfRule(rule)
	if err != nil {
		return err
	}
	for _, id := range ids {
		a, err := t.account(id)
		if err != nil {
			return err
		}
		var own terms
		if err := decode(a.own, &own); err != nil {
			return fmt.Errorf("read account %q: %w", a.id, err)
		}
		a.own, a.ruleID, a.rule = "", "", ""
		if err := t.setTerms(a, own); err != nil {
			return err
		}
	}
	return nil
}

// RemoveBudget implements activities.Ledger.
func (l *Ledger) RemoveBudget(ctx context.Context, id string) error {
	return doing("remove budget "+id, l.do(ctx, func(t *tx) error {
		book, err := t.rules()
		if err != nil {
			return err
		}
		r := book[id]
		if r == nil {
			return wflo.Invalid("budget", fmt.Sprintf("%q has no rule", id), "list the rules with wflo budget list")
		}
		// The declaration stays: a worker that starts again does not bring the
		// rule back.
		if err := t.exec("UPDATE rules SET rule = NULL, updated_at = ? WHERE id = ?", t.at, id); err != nil {
			return fmt.Errorf("write rule %q: %w", id, err)
		}
		t.ledger.rules = nil // to be read again
		if err := t.free(id); err != nil {
			return err
		}
		if next := book[each(r.Scope)]; next != nil && r.Name != wflo.Each {
			return t.succeed(next, id)
		}
		return nil
	}))
}

// succeed has the rule for each count for a budget whose own rule is gone, where
// something was spent that it has not counted. Else the next call will do it.
func (t *tx) succeed(r *rule, budget string) error {
	_, start, _, err := r.window(budget, t.now)
	if err != nil {
		return err
	}
	next := &account{budget: budget, period: r.Period}
	if calendar(r.Period) {
		next.start = start.UnixNano()
	}
	p, err := readPast(t.ctx, t.Tx, next, t.now)
	if err != nil || len(p.charges) == 0 && len(p.unsettled) == 0 {
		return err
	}
	a, err := t.windowOf(r, budget, nil)
	if err != nil {
		return err
	}
	return t.fill(a)
}

// TopUp implements activities.Ledger.
func (l *Ledger) TopUp(ctx context.Context, u wflo.TopUp) (wflo.Spend, error) {
	if err := ledger.CheckTopUp(u); err != nil {
		return wflo.Spend{}, err
	}
	var got wflo.Spend
	err := l.do(ctx, func(t *tx) (err error) {
		got, err = t.topUp(u)
		return err
	})
	if err != nil {
		return wflo.Spend{}, doing("top up budget "+u.Budget, err)
	}
	return got, nil
}

func (t *tx) topUp(u wflo.TopUp) (wflo.Spend, error) {
	all, err := t.limited(u.Budget)
	if err != nil {
		return wflo.Spend{}, err
	}
	var budget string
	var amount wflo.Money
	err = t.QueryRowContext(t.ctx, "SELECT budget, amount_nano FROM top_ups WHERE key = ?", u.Key).Scan(&budget, &amount)
	switch {
	case err == nil && (budget != u.Budget || amount != u.Amount):
		return wflo.Spend{}, wflo.Errorf(wflo.CodeConflict, "give each top-up a key of its own",
			"top-up %q was %s for budget %q, not %s for %q", u.Key, amount, budget, u.Amount, u.Budget)
	case err == nil && len(all) == 0:
		return wflo.Spend{Budget: u.Budget}, nil
	case err == nil:
		return all[0].export(t.now)
	case !errors.Is(err, sql.ErrNoRows):
		return wflo.Spend{}, fmt.Errorf("read top-up: %w", err)
	}
	if len(all) == 0 {
		return wflo.Spend{}, wflo.Invalid("topup.budget", fmt.Sprintf("%q has no limit in its current window", u.Budget),
			"see wflo budget list; wflo budget set makes a budget")
	}
	for _, a := range all {
		if a.terms.Limit > math.MaxInt64-u.Amount {
			return wflo.Spend{}, ledger.OutOfRange(fmt.Sprintf("%s more for budget %q", u.Amount, u.Budget))
		}
	}
	err = t.exec("INSERT INTO top_ups (key, budget, amount_nano, made_by, reason, at) VALUES (?, ?, ?, ?, ?, ?)",
		u.Key, u.Budget, u.Amount, ledger.Text(u.By), ledger.Text(u.Reason), t.at)
	if err != nil {
		return wflo.Spend{}, fmt.Errorf("write top-up: %w", err)
	}
	for _, a := range all {
		a.terms.Limit += u.Amount
		a.topped += u.Amount
		a.rearm()
	}
	return all[0].export(t.now)
}

// limited are the accounts that keep a budget's calls from being made now: that
// of its rule, and of a run that of its own line too.
func (t *tx) limited(budget string) ([]*account, error) {
	book, err := t.rules()
	if err != nil {
		return nil, err
	}
	var all []*account
	if r := book.find(budget); r != nil {
		a, err := t.topped(r, budget)
		if err != nil {
			return nil, err
		}
		if a != nil {
			all = append(all, a)
		}
	}
	own, err := t.account(ledger.AccountID(budget, wflo.PeriodNone, time.Time{}))
	if err != nil {
		return nil, err
	}
	if own != nil && (len(all) == 0 || all[0] != own) {
		all = append(all, own)
	}
	limited := all[:0]
	for _, a := range all {
		if a.terms.Limit > 0 {
			limited = append(limited, a)
		}
	}
	return limited, nil
}

// topped is the account of a budget in the current window of its rule, or nil
// where there is none and the rule has no limit to raise.
func (t *tx) topped(r *rule, budget string) (*account, error) {
	if r.Limit == 0 {
		id, _, _, err := r.window(budget, t.now)
		if err != nil {
			return nil, err
		}
		if a, err := t.account(id); a == nil {
			return nil, err
		}
	}
	return t.windowOf(r, budget, nil)
}
