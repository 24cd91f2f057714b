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

// account is what a budget has in one window.
type account struct {
	id, budget       string
	period           wflo.Period
	start, end       int64 // of calendar windows
	terms            terms // the limit with what was topped up
	topped           wflo.Money
	spent            wflo.Money
	reserved         wflo.Money
	unknown          wflo.Money
	own              string
	ruleID, rule     string
	alerted          int
	exceeded, filled int64
	expired          int64 // the transaction in which it was last expired
	changed          bool
}

const (
	accountColumns = `id, budget, period, window_start, window_end, limit_nano, topped_nano, spent_nano, reserved_nano, unknown_nano,
		terms, own, rule_id, rule, alerted, exceeded_at, filled_at`
	queryAccount  = "SELECT " + accountColumns + " FROM accounts WHERE id = ?"
	insertAccount = "INSERT INTO accounts (" + accountColumns + ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
	updateAccount = `UPDATE accounts SET limit_nano = ?, topped_nano = ?, spent_nano = ?, reserved_nano = ?, unknown_nano = ?,
		alerted = ?, exceeded_at = ?, filled_at = ? WHERE id = ?`
)

func scanAccount(row interface{ Scan(...any) error }) (*account, error) {
	a := &account{}
	var limit wflo.Money
	var text string
	err := row.Scan(&a.id, &a.budget, &a.period, &a.start, &a.end, &limit, &a.topped, &a.spent, &a.reserved, &a.unknown,
		&text, &a.own, &a.ruleID, &a.rule, &a.alerted, &a.exceeded, &a.filled)
	if err != nil {
		return nil, err
	}
	if err := decode(text, &a.terms); err != nil {
		return nil, err
	}
	a.terms.Limit = limit
	return a, nil
}

// termsText is the terms as they are stored, without the limit. It is empty in
// the usual case, which need not be decoded.
func (a *account) termsText() string {
	if a.terms.Thresholds == nil && a.terms.OnExceeded == "" {
		return ""
	}
	return encode(terms{Thresholds: a.terms.Thresholds, OnExceeded: a.terms.OnExceeded})
}

// readAccount gives nil for an account that does not exist.
func readAccount(ctx context.Context, q querier, id string) (*account, error) {
	a, err := scanAccount(q.QueryRowContext(ctx, queryAccount, id))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read account %q: %w", id, err)
	}
	return a, nil
}

// account gives nil for an account that does not exist.
func (t *tx) account(id string) (*account, error) {
	if a := t.accounts[id]; a != nil {
		return a, t.expire(a)
	}
	a, err := scanAccount(t.queryRow(queryAccount, id))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read account %q: %w", id, err)
	}
	if err := t.expire(a); err != nil {
		return nil, err
	}
	t.accounts[id] = a
	return a, nil
}

// cutoff is the time before which a rolling account forgets.
func (a *account) cutoff(now time.Time) (int64, bool) {
	if a.period == wflo.PeriodNone {
		return 0, false
	}
	d, ok := a.period.Rolling()
	return now.Add(-d).UnixNano(), ok
}

// expire forgets what a rolling window has left behind.
func (t *tx) expire(a *account) error {
	cutoff, rolls := a.cutoff(t.now)
	if !rolls || a.expired == t.at {
		return nil
	}
	a.expired = t.at
	spent, unknown, err := expired(t.ctx, t.Tx, a.id, cutoff)
	if err != nil {
		return err
	}
	if a.exceeded != 0 && a.exceeded < cutoff {
		a.exceeded, a.changed = 0, true
	}
	if spent == 0 {
		return nil
	}
	if err := t.exec("DELETE FROM spendings WHERE account = ? AND at < ?", a.id, cutoff); err != nil {
		return fmt.Errorf("expire account %q: %w", a.id, err)
	}
	a.spent, a.unknown, a.changed = a.spent-spent, a.unknown-unknown, true
	a.alerted = ledger.StillAlerted(a.spent, a.terms.Limit, a.terms.Thresholds, a.alerted)
	return nil
}

const queryExpired = "SELECT coalesce(sum(amount_nano), 0), coalesce(sum(unknown_nano), 0) FROM spendings WHERE account = ? AND at < ?"

func expired(ctx context.Context, q querier, id string, cutoff int64) (spent, unknown wflo.Money, err error) {
	err = q.QueryRowContext(ctx, queryExpired, id, cutoff).Scan(&spent, &unknown)
	if err != nil {
		return 0, 0, fmt.Errorf("read what left account %q: %w", id, err)
	}
	return spent, unknown, nil
}

// open makes an account that does not exist yet.
func (t *tx) open(a *account) error {
	a.filled = t.at
	err := t.exec(insertAccount, a.id, a.budget, a.period, a.start, a.end, a.terms.Limit, a.topped, a.spent, a.reserved, a.unknown,
		a.termsText(), a.own, a.ruleID, a.rule, a.alerted, a.exceeded, a.filled)
	if err != nil {
		return fmt.Errorf("make account %q: %w", a.id, err)
	}
	t.accounts[a.id] = a
	return nil
}

// flush writes the accounts that changed.
func (t *tx) flush() error {
	for _, a := range t.accounts {
		if !a.changed {
			continue
		}
		err := t.exec(updateAccount, a.terms.Limit, a.topped, a.spent, a.reserved, a.unknown, a.alerted, a.exceeded, a.filled, a.id)
		if err != nil {
			return fmt.Errorf("write account %q: %w", a.id, err)
		}
		a.changed = false
	}
	return nil
}

// room is what is left of a limit; it is negative after an overdraft.
func (a *account) room() wflo.Money { return minus(minus(a.terms.Limit, a.spent), a.reserved) }

// capacity is what the sums can still count, so that no later settlement
// overflows them.
func (a *account) capacity() wflo.Money { return minus(math.MaxInt64-a.spent, a.reserved) }

// minus stops at the smallest amount. b is not negative.
func minus(a, b wflo.Money) wflo.Money {
	if a < math.MinInt64+b {
		return math.MinInt64
	}
	return a - b
}

// apply has the terms of a rule count for an account, with the top-ups kept.
func (t *tx) apply(a *account, r *rule, asked terms) error {
	a.ruleID, a.rule = r.ID(), encode(r.Budget)
	return t.setTerms(a, asked)
}

func (t *tx) setTerms(a *account, asked terms) error {
	before := a.terms.Limit
	a.terms, a.changed = asked, true
	if a.terms.Limit > 0 {
		a.terms.Limit += min(a.topped, math.MaxInt64-a.terms.Limit)
	}
	if a.terms.Limit > before || a.terms.Limit == 0 {
		a.rearm()
	}
	err := t.exec("UPDATE accounts SET terms = ?, own = ?, rule_id = ?, rule = ?, window_end = ? WHERE id = ?",
		a.termsText(), a.own, a.ruleID, a.rule, a.end, a.id)
	if err != nil {
		return fmt.Errorf("change account %q: %w", a.id, err)
	}
	return nil
}

// rearm lets an account alert again after its limit was raised.
func (a *account) rearm() {
	a.alerted = ledger.StillAlerted(a.spent, a.terms.Limit, a.terms.Thresholds, a.alerted)
	if a.terms.Limit == 0 || a.spent < a.terms.Limit {
		a.exceeded = 0
	}
	a.changed = true
}

// windowOf is the account of a budget in the current window of its rule. own are
// the terms that a line asks for besides; they count where the account is made.
func (t *tx) windowOf(r *rule, budget string, own *terms) (*account, error) {
	id, start, end, err := r.window(budget, t.now)
	if err != nil {
		return nil, err
	}
	a, err := t.account(id)
	if err != nil {
		return nil, err
	}
	asked := termsOf(r.Budget)
	if a == nil {
		a = &account{id: id, budget: budget, period: r.Period, ruleID: r.ID(), rule: encode(r.Budget)}
		if _, rolls := r.Period.Rolling(); !rolls && r.Period != wflo.PeriodNone {
			a.start, a.end = start.UnixNano(), end.UnixNano()
		}
		if own != nil {
			a.own = encode(*own)
			asked = own.lower(asked)
		}
		a.terms = asked
		if err := t.open(a); err != nil {
			return nil, err
		}
		if r.since > a.start {
			err = t.fill(a)
		}
		return a, err
	}
	if a.ruleID == r.ID() && a.filled >= r.since {
		return a, t.meet(a, r, own)
	}
	// The rule is newer than the account, which a line made, or the same rule
	// before it had other windows meanwhile.
	if a.ruleID == "" && a.own == "" && a.terms.Limit > 0 {
		a.own = encode(a.base())
	}
	if err := a.withOwn(&asked); err != nil {
		return nil, err
	}
	if err := t.apply(a, r, asked); err != nil {
		return nil, err
	}
	return a, t.fill(a)
}

// base are the terms of an account without what was topped up.
func (a *account) base() terms {
	base := a.terms
	if base.Limit > 0 {
		base.Limit -= a.topped
	}
	return base
}

// meet has a line's own terms count for an account that a rule made before it.
// It does so once: then whoever sets the budget changes its limit for the line
// too.
func (t *tx) meet(a *account, r *rule, own *terms) error {
	if own == nil || a.own != "" {
		return nil
	}
	a.own = encode(*own)
	return t.apply(a, r, own.lower(termsOf(r.Budget)))
}

// withOwn lowers what a rule asks for to what a line asked for.
func (a *account) withOwn(asked *terms) error {
	var own terms
	if err := decode(a.own, &own); err != nil {
		return fmt.Errorf("read account %q: %w", a.id, err)
	}
	*asked = own.lower(*asked)
	return nil
}

// accountsOf are all that a call is charged to, in the order in which they refuse.
func (t *tx) accountsOf(r wflo.Reservation) ([]*account, error) {
	book, err := t.rules()
	if err != nil {
		return nil, err
	}
	var all []*account
	add := func(a *account, err error) error {
		for _, b := range all {
			if a == b {
				return err
			}
		}
		if a != nil {
			all = append(all, a)
		}
		return err
	}
	for _, line := range r.Budgets {
		own := termsOfLine(line)
		rule := book.find(line.ID)
		switch {
		case rule != nil && rule.Period == wflo.PeriodNone:
			err = add(t.windowOf(rule, line.ID, &own))
		case rule != nil:
			// What starts again cannot stand for a limit that does not.
			if err = add(t.windowOf(rule, line.ID, &own)); err == nil && line.Limit > 0 {
				err = add(t.lineOf(line.ID, own))
			}
		default:
			err = add(t.lineOf(line.ID, own))
		}
		if err != nil {
			return nil, err
		}
	}
	for _, scope := range r.Scopes {
		if rule := book.find(scope); rule != nil {
			if err := add(t.windowOf(rule, scope, nil)); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// lineOf is the account of a line without a rule.
func (t *tx) lineOf(budget string, asked terms) (*account, error) {
	id := ledger.AccountID(budget, wflo.PeriodNone, time.Time{})
	a, err := t.account(id)
	if err != nil || a != nil {
		return a, err
	}
	a = &account{id: id, budget: budget, terms: asked}
	return a, t.open(a)
}
