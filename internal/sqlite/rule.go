package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/ledger"
)

// rule is a budget that was declared or set.
type rule struct {
	wflo.Budget
	since int64
}

// window is the one that now is in, and the account of a budget in it.
func (r *rule) window(budget string, now time.Time) (account string, start, end time.Time, err error) {
	start, end, err = ledger.Window(r.Period, r.TimeZone, now)
	if err != nil {
		return "", start, end, fmt.Errorf("window of budget %q: %w", budget, err)
	}
	return ledger.AccountID(budget, r.Period, start), start, end, nil
}

// ruleBook is the rules by ID.
type ruleBook map[string]*rule

// find is the rule that counts for a budget: its own, or else the one for each.
func (b ruleBook) find(budget string) *rule {
	if len(b) == 0 {
		return nil
	}
	scope, name, err := wflo.SplitBudgetID(budget)
	if err != nil || name == wflo.Each {
		return nil
	}
	if r := b[budget]; r != nil {
		return r
	}
	return b[each(scope)]
}

func each(scope wflo.Scope) string { return string(scope) + ":" + wflo.Each }

// rules are the rules as this transaction sees them.
func (t *tx) rules() (ruleBook, error) {
	if t.ledger.rules == nil {
		all, err := readRules(t.ctx, t.Tx)
		if err != nil {
			return nil, err
		}
		t.ledger.rules = all
	}
	return t.ledger.rules, nil
}

type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func readRules(ctx context.Context, q querier) (ruleBook, error) {
	rows, err := q.QueryContext(ctx, "SELECT id, rule, since FROM rules WHERE rule IS NOT NULL")
	if err != nil {
		return nil, fmt.Errorf("read rules: %w", err)
	}
	defer rows.Close()
	all := ruleBook{}
	for rows.Next() {
		var id, text string
		r := &rule{}
		err := rows.Scan(&id, &text, &r.since)
		if err == nil {
			err = decode(text, &r.Budget)
		}
		if err != nil {
			return nil, fmt.Errorf("read rules: %w", err)
		}
		all[id] = r
	}
	return all, rows.Err()
}

// terms are what a budget asks for.
type terms struct {
	Limit      wflo.Money      `json:"limit,omitempty"`
	Thresholds []int           `json:"thresholds,omitzero"`
	OnExceeded wflo.OnExceeded `json:"on_exceeded,omitempty"`
}

func termsOf(b wflo.Budget) terms         { return terms{b.Limit, b.Thresholds, b.OnExceeded} }
func termsOfLine(l wflo.BudgetLine) terms { return terms{l.Limit, l.Thresholds, l.OnExceeded} }

// strict says whether calls that do not fit are kept from being made.
func (t terms) strict() bool {
	return t.Limit > 0 && t.OnExceeded != wflo.ExceedAlert && t.OnExceeded != wflo.ExceedIgnore
}

// lower are the terms with the lower limit. One that only alerts does not take
// the place of one that halts, whatever the limits are: nothing would halt then.
func (t terms) lower(u terms) terms {
	switch {
	case u.Limit == 0, t.strict() && !u.strict():
		return t
	case t.Limit == 0, u.strict() && !t.strict():
		return u
	case u.Limit < t.Limit:
		return u
	}
	return t
}

// calendar says whether a period's windows are those of a calendar.
func calendar(p wflo.Period) bool {
	_, rolls := p.Rolling()
	return !rolls && p != wflo.PeriodNone
}
