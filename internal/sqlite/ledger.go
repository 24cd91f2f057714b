package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/ledger"
)

var _ activities.Ledger = (*Ledger)(nil)

// Reserve implements activities.Ledger.
func (l *Ledger) Reserve(ctx context.Context, r wflo.Reservation) (wflo.Hold, error) {
	if err := ledger.CheckReservation(r); err != nil {
		return wflo.Hold{}, err
	}
	var got wflo.Hold
	// A refusal is kept apart from err: the transaction that refuses still
	// commits, because earlier attempts became unknown in it.
	var refusal error
	err := l.transact(ctx, func(t tx) error {
		var err error
		got, refusal, err = t.reserve(r)
		return err
	})
	if err != nil {
		return wflo.Hold{}, ledger.Wrap("reserve", r.Key, r.Attempt, err)
	}
	return got, refusal
}

// Settle implements activities.Ledger.
func (l *Ledger) Settle(ctx context.Context, s wflo.Settlement) error {
	if err := ledger.CheckSettlement(s); err != nil {
		return err
	}
	return ledger.Wrap("settle", s.Key, s.Attempt, l.transact(ctx, func(t tx) error { return t.settle(s) }))
}

// Release implements activities.Ledger.
func (l *Ledger) Release(ctx context.Context, key wflo.EffectKey, attempt int) error {
	if err := ledger.CheckHold(key, attempt); err != nil {
		return err
	}
	err := l.transact(ctx, func(t tx) error {
		h, err := t.hold(key, attempt)
		if err != nil || h.state != wflo.HoldOpen {
			return err
		}
		return errors.Join(t.close(h, wflo.HoldReleased, nil, nil), t.move(h.lines, change{reserved: -h.amount}))
	})
	return ledger.Wrap("release", key, attempt, err)
}

// MarkUnknown implements activities.Ledger.
func (l *Ledger) MarkUnknown(ctx context.Context, key wflo.EffectKey, attempt int) error {
	if err := ledger.CheckHold(key, attempt); err != nil {
		return err
	}
	err := l.transact(ctx, func(t tx) error {
		h, err := t.hold(key, attempt)
		if err != nil || h.state != wflo.HoldOpen {
			return err
		}
		return t.chargeUnknown(h)
	})
	return ledger.Wrap("mark as unknown", key, attempt, err)
}

// Spend implements activities.Ledger.
func (l *Ledger) Spend(ctx context.Context, budget string) (wflo.Spend, error) {
	b, _, err := spend(ctx, l.read, budget)
	return b, err
}

// Entries implements activities.Ledger.
func (l *Ledger) Entries(ctx context.Context, rootRun string) ([]wflo.Entry, error) {
	rows, err := l.read.QueryContext(ctx, `SELECT key, attempt, at, state, run, provider, model, response_id,
		usage, price, reserved_nano, amount_nano, overdraft_nano FROM entries WHERE root_run = ? ORDER BY id`, rootRun)
	if err != nil {
		return nil, fmt.Errorf("read entries of %s: %w", rootRun, err)
	}
	defer rows.Close()
	var entries []wflo.Entry
	for rows.Next() {
		var e wflo.Entry
		var at int64
		var run, usage, price []byte
		err := rows.Scan(&e.Key, &e.Attempt, &at, &e.State, &run, &e.Provider, &e.Model, &e.ResponseID,
			&usage, &price, &e.Reserved, &e.Amount, &e.Overdraft)
		if err == nil {
			err = errors.Join(json.Unmarshal(run, &e.Run), json.Unmarshal(usage, &e.Usage), json.Unmarshal(price, &e.Price))
		}
		if err != nil {
			return nil, fmt.Errorf("read entries of %s: %w", rootRun, err)
		}
		e.At = time.Unix(0, at).UTC()
		entries = append(entries, e)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read entries of %s: %w", rootRun, err)
	}
	return entries, nil
}

// transact runs fn in one transaction of the writer.
func (l *Ledger) transact(ctx context.Context, fn func(tx) error) error {
	t, err := l.write.BeginTx(ctx, nil)
	if err != nil {
		return cut(ctx, err)
	}
	if err := fn(tx{ctx, t, l.now().UnixNano()}); err != nil {
		if undo := t.Rollback(); !errors.Is(undo, sql.ErrTxDone) {
			err = errors.Join(err, undo)
		}
		return cut(ctx, err)
	}
	return cut(ctx, t.Commit())
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

// tx is one transaction with its context and its time.
type tx struct {
	ctx context.Context
	*sql.Tx
	at int64
}

func (t tx) exec(query string, args ...any) error {
	_, err := t.ExecContext(t.ctx, query, args...)
	return err
}

// hold is a row of the table holds. Its zero value, with no state, is a hold
// that does not exist.
type hold struct {
	key             wflo.EffectKey
	attempt         int
	amount          wflo.Money
	state           wflo.HoldState
	settled         wflo.Money
	lines           []wflo.BudgetLine
	run             wflo.Run
	provider, model string
	outcome         []byte
}

func (t tx) hold(key wflo.EffectKey, attempt int) (hold, error) {
	found, err := t.holds("key = ? AND attempt = ?", key, attempt)
	if err != nil || len(found) == 0 {
		return hold{}, err
	}
	return found[0], nil
}

// holds lists the holds that match, first attempts first.
func (t tx) holds(where string, args ...any) ([]hold, error) {
	rows, err := t.QueryContext(t.ctx, `SELECT key, attempt, amount_nano, state, coalesce(settled_nano, 0), budgets, run,
		provider, model, outcome FROM holds WHERE `+where+` ORDER BY attempt`, args...)
	if err != nil {
		return nil, fmt.Errorf("read holds: %w", err)
	}
	defer rows.Close()
	var found []hold
	for rows.Next() {
		var h hold
		var lines, run []byte
		err := rows.Scan(&h.key, &h.attempt, &h.amount, &h.state, &h.settled, &lines, &run, &h.provider, &h.model, &h.outcome)
		if err == nil {
			err = errors.Join(json.Unmarshal(lines, &h.lines), json.Unmarshal(run, &h.run))
		}
		if err != nil {
			return nil, fmt.Errorf("read holds: %w", err)
		}
		found = append(found, h)
	}
	return found, rows.Err()
}

func (t tx) reserve(r wflo.Reservation) (got wflo.Hold, refusal, err error) {
	attempts, err := t.holds("key = ? AND attempt <= ?", r.Key, r.Attempt)
	if err != nil {
		return wflo.Hold{}, nil, err
	}
	if n := len(attempts); n > 0 && attempts[n-1].attempt == r.Attempt {
		same := attempts[n-1]
		if same.amount != r.Amount {
			return wflo.Hold{}, ledger.Conflict(r.Key, r.Attempt, "reserved", same.amount, r.Amount), nil
		}
		got, err = t.export(same)
		return got, nil, err
	}
	var settled hold
	for _, h := range attempts {
		switch h.state {
		case wflo.HoldSettled:
			settled = h
		case wflo.HoldOpen:
			if err := t.chargeUnknown(h); err != nil {
				return wflo.Hold{}, nil, err
			}
		}
	}
	if settled.state != "" {
		got, err = t.export(settled)
		return got, nil, err
	}
	return t.admit(r)
}

// admit makes a new hold, or refuses it.
func (t tx) admit(r wflo.Reservation) (got wflo.Hold, refusal, err error) {
	for _, line := range r.Budgets {
		b, exists, err := spend(t.ctx, t, line.ID)
		if err != nil {
			return wflo.Hold{}, nil, err
		}
		if !exists {
			b.Limit = line.Limit
			if err := t.exec("INSERT INTO budgets (id, limit_nano, created_at) VALUES (?, ?, ?)", line.ID, line.Limit, t.at); err != nil {
				return wflo.Hold{}, nil, fmt.Errorf("make budget %q: %w", line.ID, err)
			}
		}
		if refusal == nil && room(b) < r.Amount {
			refusal = ledger.Refused(b, r.Amount)
		}
	}
	if refusal != nil {
		return wflo.Hold{}, refusal, nil
	}
	h := hold{key: r.Key, attempt: r.Attempt, amount: r.Amount, state: wflo.HoldOpen, lines: r.Budgets, run: r.Run,
		provider: ledger.Text(r.Provider), model: ledger.Text(r.Model)}
	if err := errors.Join(t.move(h.lines, change{reserved: h.amount}), t.insert(h)); err != nil {
		return wflo.Hold{}, nil, err
	}
	got, err = t.export(h)
	return got, nil, err
}

// room is what a budget still has. Without a limit it is what its sums can
// still count, so that no later settlement overflows them.
func room(b wflo.Spend) wflo.Money {
	limit := b.Limit
	if limit == 0 {
		limit = math.MaxInt64
	}
	return limit - b.Spent - b.Reserved
}

func (t tx) insert(h hold) error {
	lines, err := json.Marshal(h.lines)
	if err != nil {
		return fmt.Errorf("encode budgets: %w", err)
	}
	run, err := json.Marshal(h.run)
	if err != nil {
		return fmt.Errorf("encode run: %w", err)
	}
	return t.exec(`INSERT INTO holds (key, attempt, amount_nano, state, budgets, run, root_run, provider, model, created_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		h.key, h.attempt, h.amount, h.state, string(lines), string(run), h.run.RootID(), h.provider, h.model, t.at)
}

// export is the hold as callers see it, with the room that its budgets have now.
func (t tx) export(h hold) (wflo.Hold, error) {
	tightest := wflo.Money(math.MaxInt64)
	for _, line := range h.lines {
		b, _, err := spend(t.ctx, t, line.ID)
		if err != nil {
			return wflo.Hold{}, err
		}
		if b.Limit > 0 {
			tightest = min(tightest, room(b))
		}
	}
	return wflo.Hold{
		Reservation: wflo.Reservation{Key: h.key, Attempt: h.attempt, Amount: h.amount, Budgets: h.lines, Run: h.run,
			Provider: h.provider, Model: h.model},
		State: h.state, Outcome: h.outcome, Room: tightest,
	}, nil
}

func (t tx) settle(s wflo.Settlement) error {
	h, err := t.hold(s.Key, s.Attempt)
	if err != nil {
		return err
	}
	e := wflo.Entry{State: wflo.HoldSettled, Provider: s.Provider, Model: s.Model, ResponseID: s.ResponseID,
		Usage: s.Usage, Price: s.Price, Amount: s.Amount, Overdraft: ledger.Overdraft(h.amount, s.Amount)}
	c := change{spent: s.Amount}
	switch h.state {
	case "":
		return ledger.Missing(s.Key, s.Attempt)
	case wflo.HoldReleased:
		return ledger.Given(s.Key, s.Attempt)
	case wflo.HoldSettled:
		if h.settled != s.Amount {
			return ledger.Conflict(s.Key, s.Attempt, "settled", h.settled, s.Amount)
		}
		return nil
	case wflo.HoldUnknown:
		e.Amount = s.Amount - h.amount
		c = change{spent: e.Amount, unknown: -h.amount}
	case wflo.HoldOpen:
		c.reserved = -h.amount
	}
	if err := t.move(h.lines, c); err != nil {
		return err
	}
	return errors.Join(t.close(h, wflo.HoldSettled, s.Amount, s.Outcome), t.addEntry(h, e))
}

// chargeUnknown charges an open hold in full.
func (t tx) chargeUnknown(h hold) error {
	e := wflo.Entry{State: wflo.HoldUnknown, Provider: h.provider, Model: h.model, Amount: h.amount}
	return errors.Join(
		t.move(h.lines, change{reserved: -h.amount, spent: h.amount, unknown: h.amount}),
		t.close(h, wflo.HoldUnknown, nil, nil),
		t.addEntry(h, e))
}

// close ends a hold; settled is nil or the actual amount.
func (t tx) close(h hold, state wflo.HoldState, settled any, outcome []byte) error {
	var kept any // an empty outcome is NULL
	if len(outcome) > 0 {
		kept = outcome
	}
	return t.exec("UPDATE holds SET state = ?, settled_nano = ?, outcome = ?, closed_at = ? WHERE key = ? AND attempt = ?",
		state, settled, kept, t.at, h.key, h.attempt)
}

// addEntry writes a line of the ledger for a hold as it was before it closed.
func (t tx) addEntry(h hold, e wflo.Entry) error {
	var texts [3]string
	for i, v := range []any{h.run, e.Usage, e.Price} {
		b, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("encode entry: %w", err)
		}
		texts[i] = string(b)
	}
	adjusts := h.state == wflo.HoldUnknown
	return t.exec(`INSERT INTO entries (key, attempt, at, state, adjusts, root_run, run, provider, model, response_id, usage, price,
		reserved_nano, amount_nano, overdraft_nano) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		h.key, h.attempt, t.at, e.State, adjusts, h.run.RootID(), texts[0], ledger.Text(e.Provider), ledger.Text(e.Model),
		ledger.Text(e.ResponseID), texts[1], texts[2], h.amount, e.Amount, e.Overdraft)
}

// change is what happens to each budget of a hold.
type change struct{ spent, reserved, unknown wflo.Money }

// move applies a change. The sums are made here and not in SQL, because SQLite
// continues an overflowing sum as a float.
func (t tx) move(lines []wflo.BudgetLine, c change) error {
	for _, line := range lines {
		b, _, err := spend(t.ctx, t, line.ID)
		if err != nil {
			return err
		}
		if c.spent > 0 && b.Spent > math.MaxInt64-c.spent {
			return ledger.OutOfRange(fmt.Sprintf("%s more on budget %q", c.spent, line.ID))
		}
		err = t.exec("UPDATE budgets SET spent_nano = ?, reserved_nano = ?, unknown_nano = ? WHERE id = ?",
			b.Spent+c.spent, b.Reserved+c.reserved, b.Unknown+c.unknown, line.ID)
		if err != nil {
			return fmt.Errorf("change budget %q: %w", line.ID, err)
		}
	}
	return nil
}

type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// spend reads a budget, and says whether it exists.
func spend(ctx context.Context, q querier, id string) (wflo.Spend, bool, error) {
	b := wflo.Spend{Budget: id}
	err := q.QueryRowContext(ctx, "SELECT limit_nano, spent_nano, reserved_nano, unknown_nano FROM budgets WHERE id = ?", id).
		Scan(&b.Limit, &b.Spent, &b.Reserved, &b.Unknown)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return b, false, nil
	case err != nil:
		return b, false, fmt.Errorf("read budget %q: %w", id, err)
	}
	return b, true, nil
}
