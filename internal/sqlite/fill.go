package sqlite

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/ledger"
)

// past is what the ledger knows of a budget's window, apart from its account.
type past struct {
	spent, unknown, reserved wflo.Money
	// unsettled are the holds of the window that will still be settled or
	// corrected.
	unsettled []hold
	charges   []charge
}

// charge is what one hold spent.
type charge struct {
	key             wflo.EffectKey
	attempt         int
	at              int64
	amount, unknown wflo.Money
}

// elsewhere says that a hold is counted in an earlier window of the same budget,
// where it will be settled.
const elsewhere = `EXISTS (SELECT 1 FROM json_each(h.accounts) c JOIN accounts o ON o.id = c.value
	WHERE o.budget = ?1 AND o.period = ?2 AND o.window_start < ?3)`

// readPast adds up what a budget was charged in the window of an account, which
// need not exist, and the holds that are open.
func readPast(ctx context.Context, q querier, a *account, now time.Time) (past, error) {
	since := a.start
	if cutoff, rolls := a.cutoff(now); rolls {
		since = cutoff
	}
	p := past{}
	if err := p.readEntries(ctx, q, a, since); err != nil {
		return p, fmt.Errorf("read what budget %q spent: %w", a.budget, err)
	}
	word := encode(a.budget)
	found, err := scanHolds(q.QueryContext(ctx, queryHolds+`(state = 'open' OR state = 'unknown' AND closed_at >= ?4)
		AND (instr(scopes, ?5) OR instr(budgets, ?5)) AND NOT `+elsewhere, a.budget, a.period, a.start, since, word))
	if err != nil {
		return p, err
	}
	for _, h := range found {
		if !slices.Contains(h.counted(), a.budget) {
			continue // the word is in another name
		}
		p.unsettled = append(p.unsettled, h)
		if h.state == wflo.HoldOpen {
			p.reserved += min(h.granted, math.MaxInt64-p.reserved)
		}
	}
	return p, nil
}

func (p *past) readEntries(ctx context.Context, q querier, a *account, since int64) (err error) {
	// A correction counts when the entry did that it corrects.
	rows, err := q.QueryContext(ctx, `SELECT e.key, e.attempt, e.amount_nano, e.state = 'unknown' AND h.state = 'unknown',
		CASE WHEN e.adjusts THEN (SELECT u.at FROM entries u WHERE u.key = e.key AND u.attempt = e.attempt AND u.state = 'unknown') ELSE e.at END
		FROM entry_budgets b JOIN entries e ON e.id = b.entry JOIN holds h ON h.key = e.key AND h.attempt = e.attempt
		WHERE b.budget = ?1 AND b.at >= ?4 AND NOT `+elsewhere+` ORDER BY b.entry`, a.budget, a.period, a.start, since)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	index := map[string]int{}
	for rows.Next() {
		var c charge
		var open bool
		if err := rows.Scan(&c.key, &c.attempt, &c.amount, &open, &c.at); err != nil {
			return err
		}
		if c.at < since {
			continue
		}
		if open {
			c.unknown = c.amount
		}
		if c.amount > math.MaxInt64-p.spent {
			return ledger.OutOfRange(fmt.Sprintf("what budget %q spent", a.budget))
		}
		p.spent += c.amount
		p.unknown += c.unknown
		name := fmt.Sprint(c.attempt, " ", c.key)
		if i, ok := index[name]; ok {
			p.charges[i].amount += c.amount
			continue
		}
		index[name] = len(p.charges)
		p.charges = append(p.charges, c)
	}
	return rows.Err()
}

// fill makes the sums of an account those of all of its window, and has the holds
// that are not settled yet counted in it.
func (t *tx) fill(a *account) error {
	p, err := readPast(t.ctx, t.Tx, a, t.now)
	if err != nil {
		return err
	}
	a.spent, a.unknown, a.reserved, a.filled, a.changed = p.spent, p.unknown, p.reserved, t.at, true
	if a.rolls() {
		if err := t.exec("DELETE FROM spendings WHERE account = ?", a.id); err != nil {
			return fmt.Errorf("fill account %q: %w", a.id, err)
		}
		for _, c := range p.charges {
			if err := t.addSpending(a, c); err != nil {
				return err
			}
		}
	}
	for _, h := range p.unsettled {
		if slices.Contains(h.accounts, a.id) {
			continue
		}
		err := t.exec("UPDATE holds SET accounts = ? WHERE key = ? AND attempt = ?", encode(append(h.accounts, a.id)), h.key, h.attempt)
		if err != nil {
			return fmt.Errorf("fill account %q: %w", a.id, err)
		}
	}
	return nil
}

func (a *account) rolls() bool {
	_, rolls := a.period.Rolling()
	return rolls
}

func (t *tx) addSpending(a *account, c charge) error {
	if c.amount == 0 {
		return nil
	}
	err := t.exec("INSERT INTO spendings (account, at, key, attempt, amount_nano, unknown_nano) VALUES (?, ?, ?, ?, ?, ?)",
		a.id, c.at, c.key, c.attempt, c.amount, c.unknown)
	if err != nil {
		return fmt.Errorf("charge account %q: %w", a.id, err)
	}
	return nil
}
