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

// readPast adds up the entries and open holds of a budget. Calendar windows count
// the holds that were made since their start, rolling ones what was charged since
// the cutoff.
func readPast(ctx context.Context, q querier, a *account, now time.Time) (past, error) {
	since := a.start
	cutoff, rolls := a.cutoff(now)
	if rolls {
		since = cutoff
	}
	p := past{}
	if err := p.readEntries(ctx, q, a.budget, since, rolls); err != nil {
		return p, fmt.Errorf("read what budget %q spent: %w", a.budget, err)
	}
	word := encode(a.budget)
	where := "state IN ('open', 'unknown') AND (instr(scopes, ?1) OR instr(budgets, ?1))"
	if a.start != 0 {
		where += fmt.Sprintf(" AND created_at >= %d", a.start)
	}
	found, err := readHolds(ctx, q, where, word)
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

func (p *past) readEntries(ctx context.Context, q querier, budget string, since int64, rolls bool) (err error) {
	// A correction counts when the entry did that it corrects.
	rows, err := q.QueryContext(ctx, `SELECT e.key, e.attempt, e.amount_nano, e.state = 'unknown' AND h.state = 'unknown', h.created_at,
		CASE WHEN e.adjusts THEN (SELECT u.at FROM entries u WHERE u.key = e.key AND u.attempt = e.attempt AND u.state = 'unknown') ELSE e.at END
		FROM entry_budgets b JOIN entries e ON e.id = b.entry JOIN holds h ON h.key = e.key AND h.attempt = e.attempt
		WHERE b.budget = ? AND b.at >= ? ORDER BY b.entry`, budget, since)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	index := map[string]int{}
	for rows.Next() {
		var c charge
		var open bool
		var made int64
		if err := rows.Scan(&c.key, &c.attempt, &c.amount, &open, &made, &c.at); err != nil {
			return err
		}
		if rolls && c.at < since || !rolls && made < since {
			continue
		}
		if open {
			c.unknown = c.amount
		}
		if c.amount > math.MaxInt64-p.spent {
			return ledger.OutOfRange(fmt.Sprintf("what budget %q spent", budget))
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
