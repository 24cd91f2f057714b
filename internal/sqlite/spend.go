package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/ledger"
)

// Spend implements activities.Ledger.
func (l *Ledger) Spend(ctx context.Context, budget string) (got wflo.Spend, err error) {
	err = l.view(ctx, func(q querier, now time.Time) error {
		rules, err := readRulesOf(ctx, q, budget)
		if err != nil {
			return err
		}
		got, err = readSpend(ctx, q, rules, budget, now)
		return err
	})
	if err != nil {
		return wflo.Spend{Budget: budget}, fmt.Errorf("read budget %q: %w", budget, err)
	}
	return got, nil
}

// Spends reads several budgets at one moment, in the order in which they are asked for.
func (l *Ledger) Spends(ctx context.Context, budgets []string) (all []wflo.Spend, err error) {
	err = l.view(ctx, func(q querier, now time.Time) error {
		for _, id := range budgets {
			rules, err := readRulesOf(ctx, q, id)
			if err != nil {
				return err
			}
			one, err := readSpend(ctx, q, rules, id, now)
			if err != nil {
				return err
			}
			all = append(all, one)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read %d budgets: %w", len(budgets), err)
	}
	return all, nil
}

// view runs read in one transaction that sees one moment of the ledger.
func (l *Ledger) view(ctx context.Context, read func(q querier, now time.Time) error) error {
	t, err := l.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	err = read(snapshot{t, l.reading}, l.now())
	if end := t.Rollback(); !errors.Is(end, sql.ErrTxDone) {
		err = errors.Join(err, end)
	}
	return cut(ctx, err)
}

// snapshot is a transaction that reads with prepared statements where there are
// such.
type snapshot struct {
	*sql.Tx
	prepared map[string]*sql.Stmt
}

func (s snapshot) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if p := s.prepared[query]; p != nil {
		return s.StmtContext(ctx, p).QueryContext(ctx, args...) //nolint:sqlclosecheck // the transaction closes it
	}
	return s.Tx.QueryContext(ctx, query, args...)
}

func (s snapshot) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	if p := s.prepared[query]; p != nil {
		return s.StmtContext(ctx, p).QueryRowContext(ctx, args...) //nolint:sqlclosecheck // the transaction closes it
	}
	return s.Tx.QueryRowContext(ctx, query, args...)
}

const queryRule = "SELECT rule, since FROM rules WHERE id = ? AND rule IS NOT NULL"

// readRulesOf reads the rules that may count for one budget.
func readRulesOf(ctx context.Context, q querier, budget string) (ruleBook, error) {
	scope, _, err := wflo.SplitBudgetID(budget)
	if err != nil {
		return nil, nil //nolint:nilerr // no rule can be of such a name
	}
	all := ruleBook{}
	for _, id := range []string{budget, each(scope)} {
		r := &rule{}
		var text string
		err := q.QueryRowContext(ctx, queryRule, id).Scan(&text, &r.since)
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err == nil {
			err = decode(text, &r.Budget)
		}
		if err != nil {
			return nil, fmt.Errorf("read rule %q: %w", id, err)
		}
		all[id] = r
	}
	return all, nil
}

// readSpend is what a budget has now, as the next reservation would find it.
func readSpend(ctx context.Context, q querier, book ruleBook, budget string, now time.Time) (wflo.Spend, error) {
	r := book.find(budget)
	if r == nil && book[budget] != nil { // a rule for each, by its own ID
		return book[budget].unused(budget, now)
	}
	if r == nil {
		a, err := readAccount(ctx, q, ledger.AccountID(budget, wflo.PeriodNone, time.Time{}))
		if err != nil || a == nil {
			return wflo.Spend{Budget: budget}, err
		}
		return a.export(now)
	}
	id, start, _, err := r.window(budget, now)
	if err != nil {
		return wflo.Spend{}, err
	}
	a, err := readAccount(ctx, q, id)
	if err != nil {
		return wflo.Spend{}, err
	}
	if a != nil && a.ruleID == r.ID() && a.filled >= r.since {
		if cutoff, rolls := a.cutoff(now); rolls {
			spent, unknown, err := expired(ctx, q, id, cutoff)
			if err != nil {
				return wflo.Spend{}, err
			}
			a.spent, a.unknown = a.spent-spent, a.unknown-unknown
		}
		return a.export(now)
	}
	return r.foreseen(ctx, q, a, budget, start, now)
}

// unused is a budget of the rule that nobody has used.
func (r *rule) unused(budget string, now time.Time) (wflo.Spend, error) {
	_, start, end, err := r.window(budget, now)
	b := r.Budget
	return wflo.Spend{Budget: budget, Limit: b.Limit, Rule: &b, WindowStart: start, WindowEnd: end}, err
}

// foreseen is what the account of a rule will be once a call uses it; a is what
// there is so far, or nil.
func (r *rule) foreseen(ctx context.Context, q querier, a *account, budget string, start, now time.Time) (wflo.Spend, error) {
	got, err := r.unused(budget, now)
	if err != nil {
		return got, err
	}
	next := account{budget: budget, period: r.Period}
	if calendar(r.Period) {
		next.start = start.UnixNano()
	}
	if a != nil {
		asked := termsOf(r.Budget)
		if a.ruleID == "" && a.own == "" {
			asked = a.base().lower(asked)
		} else if err := a.withOwn(&asked); err != nil {
			return got, err
		}
		got.Limit, got.ToppedUp = asked.Limit, a.topped
		if got.Limit > 0 {
			got.Limit += a.topped
		}
	} else if r.since <= next.start {
		return got, nil
	}
	p, err := readPast(ctx, q, &next, now)
	got.Spent, got.Reserved, got.Unknown = p.spent, p.reserved, p.unknown
	return got, err
}

// export is the account as callers see it.
func (a *account) export(now time.Time) (wflo.Spend, error) {
	s := wflo.Spend{Budget: a.budget, Limit: a.terms.Limit, Spent: a.spent, Reserved: a.reserved, Unknown: a.unknown, ToppedUp: a.topped}
	if a.rule != "" {
		s.Rule = &wflo.Budget{}
		if err := decode(a.rule, s.Rule); err != nil {
			return s, fmt.Errorf("read account %q: %w", a.id, err)
		}
	}
	s.WindowStart, s.WindowEnd = a.window(now)
	return s, nil
}

// window is the account's window, zero where it has none.
func (a *account) window(now time.Time) (start, end time.Time) {
	if d, rolls := a.period.Rolling(); rolls {
		return now.Add(-d).UTC(), now.UTC()
	}
	if a.end == 0 {
		return time.Time{}, time.Time{}
	}
	return time.Unix(0, a.start).UTC(), time.Unix(0, a.end).UTC()
}

// ListBudgets implements activities.Ledger.
func (l *Ledger) ListBudgets(ctx context.Context) (all []wflo.Spend, err error) {
	err = l.view(ctx, func(q querier, now time.Time) error {
		rules, err := readRules(ctx, q)
		if err != nil {
			return err
		}
		budgets := map[string]bool{}
		for id, r := range rules {
			used, err := r.budgets(ctx, q, now)
			if err != nil {
				return err
			}
			for _, budget := range append(used, id) {
				budgets[budget] = true
			}
		}
		for _, budget := range slices.Sorted(maps.Keys(budgets)) {
			s, err := readSpend(ctx, q, rules, budget, now)
			if err != nil {
				return err
			}
			all = append(all, s)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list budgets: %w", err)
	}
	return all, nil
}

// budgets are those that the rule has an account of in the current window.
func (r *rule) budgets(ctx context.Context, q querier, now time.Time) (ids []string, err error) {
	_, start, _, err := r.window(r.ID(), now)
	if err != nil {
		return nil, err
	}
	began := int64(0)
	if calendar(r.Period) {
		began = start.UnixNano()
	}
	rows, err := q.QueryContext(ctx, "SELECT budget FROM accounts WHERE rule_id = ? AND rule_id <> '' AND window_start = ? AND period = ?",
		r.ID(), began, r.Period)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}

// cut names the context's end as the cause of an error that came of it: when
// database/sql rolls back under us, all that we see is that the transaction is
// over.
func cut(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil || errors.Is(err, ctx.Err()) || wflo.CodeOf(err) != "" {
		return err
	}
	return fmt.Errorf("%w: %w", ctx.Err(), err)
}
