package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/ledger"
)

// hold is a row of the table holds. Its zero value, with no state, is a hold
// that does not exist.
type hold struct {
	key             wflo.EffectKey
	attempt         int
	amount, least   wflo.Money
	granted         wflo.Money
	state           wflo.HoldState
	settled         wflo.Money
	lines           []wflo.BudgetLine
	scopes          []string
	accounts        []string // that it is counted in
	run             wflo.Run
	provider, model string
	outcome         []byte
	within, at      int64
	// The JSON of scopes and run as it was read; empty in a new hold.
	scopesText, runText string
}

// counted are the budgets that count the hold, where there are such.
func (h hold) counted() []string {
	all := slices.Clone(h.scopes)
	for _, line := range h.lines {
		if !slices.Contains(all, line.ID) {
			all = append(all, line.ID)
		}
	}
	return all
}

const (
	holdColumns = `key, attempt, amount_nano, least_nano, granted_nano, state, coalesce(settled_nano, 0), budgets, scopes, accounts, run,
		provider, model, outcome, within, created_at`
	queryHolds    = "SELECT " + holdColumns + " FROM holds h WHERE "
	queryAttempts = queryHolds + "key = ? AND attempt <= ? ORDER BY attempt"
	queryHold     = queryHolds + "key = ? AND attempt = ?"
	insertHold    = `INSERT INTO holds (key, attempt, amount_nano, least_nano, granted_nano, state, budgets, scopes, accounts, run, root_run,
		provider, model, within, created_at, settled_nano, outcome, closed_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
	closeHold = "UPDATE holds SET state = ?, settled_nano = ?, outcome = ?, closed_at = ? WHERE key = ? AND attempt = ?"
)

func scanHolds(rows *sql.Rows, err error) (found []hold, _ error) {
	if err != nil {
		return nil, fmt.Errorf("read holds: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var h hold
		var lines, accounts string
		err := rows.Scan(&h.key, &h.attempt, &h.amount, &h.least, &h.granted, &h.state, &h.settled, &lines, &h.scopesText, &accounts, &h.runText,
			&h.provider, &h.model, &h.outcome, &h.within, &h.at)
		if err == nil {
			err = errors.Join(decode(lines, &h.lines), decode(h.scopesText, &h.scopes), decode(accounts, &h.accounts), decode(h.runText, &h.run))
		}
		if err != nil {
			return nil, fmt.Errorf("read holds: %w", err)
		}
		found = append(found, h)
	}
	return found, rows.Err()
}

// readHolds lists the holds that match; where may order and limit them.
func readHolds(ctx context.Context, q querier, where string, args ...any) ([]hold, error) {
	return scanHolds(q.QueryContext(ctx, queryHolds+where, args...))
}

func (t *tx) hold(key wflo.EffectKey, attempt int) (hold, error) {
	found, err := scanHolds(t.query(queryHold, key, attempt))
	if err != nil || len(found) == 0 {
		return hold{}, err
	}
	return found[0], nil
}

func (t *tx) insert(h hold) error {
	var settled, outcome, closed any
	if h.state != wflo.HoldOpen {
		settled, closed = h.settled, t.at
		if len(h.outcome) > 0 {
			outcome = h.outcome // an empty one is NULL
		}
	}
	err := t.exec(insertHold, h.key, h.attempt, h.amount, h.least, h.granted, h.state, encodeList(h.lines), encodeList(h.scopes),
		encodeList(h.accounts), encode(h.run), h.run.RootID(), h.provider, h.model, h.within, h.at, settled, outcome, closed)
	if err != nil {
		return fmt.Errorf("make hold: %w", err)
	}
	return nil
}

// encodeList is encode, where no list is an empty one.
func encodeList[T any](list []T) string {
	if len(list) == 0 {
		return "[]"
	}
	return encode(list)
}

// close ends a hold; settled is nil or the actual amount.
func (t *tx) close(h hold, state wflo.HoldState, settled any, outcome []byte) error {
	var kept any // an empty outcome is NULL
	if len(outcome) > 0 {
		kept = outcome
	}
	if err := t.exec(closeHold, state, settled, kept, t.at, h.key, h.attempt); err != nil {
		return fmt.Errorf("close hold: %w", err)
	}
	return nil
}

// held are the accounts that a hold is counted in.
func (t *tx) held(h hold) ([]*account, error) {
	all := make([]*account, 0, len(h.accounts))
	for _, id := range h.accounts {
		a, err := t.account(id)
		if err != nil {
			return nil, err
		}
		if a == nil {
			return nil, fmt.Errorf("account %q of effect %s attempt %d is gone", id, h.key, h.attempt)
		}
		all = append(all, a)
	}
	return all, nil
}

// export is the hold as callers see it.
func (h hold) export() wflo.Hold {
	return wflo.Hold{
		Reservation: wflo.Reservation{Key: h.key, Attempt: h.attempt, Amount: h.amount, Least: h.least, Budgets: h.lines, Scopes: h.scopes,
			Run: h.run, Provider: h.provider, Model: h.model, Within: time.Duration(h.within)},
		State: h.state, Granted: h.granted, At: time.Unix(0, h.at).UTC(), Outcome: h.outcome,
	}
}

// answer is the hold with the room that its budgets have now.
func (t *tx) answer(h hold, repeated bool) (wflo.Hold, error) {
	all, err := t.held(h)
	if err != nil {
		return wflo.Hold{}, err
	}
	got := h.export()
	got.Room, got.Repeated = math.MaxInt64, repeated
	for _, a := range all {
		if a.terms.strict() {
			got.Room = min(got.Room, a.room())
		}
	}
	return got, nil
}

// Release implements activities.Ledger.
func (l *Ledger) Release(ctx context.Context, key wflo.EffectKey, attempt int) error {
	if err := ledger.CheckHold(key, attempt); err != nil {
		return err
	}
	return ledger.Wrap("release", key, attempt, l.do(ctx, func(t *tx) error {
		h, err := t.hold(key, attempt)
		if err != nil || h.state != wflo.HoldOpen {
			return err
		}
		all, err := t.held(h)
		if err != nil {
			return err
		}
		for _, a := range all {
			a.reserved, a.changed = a.reserved-h.granted, true
		}
		return t.close(h, wflo.HoldReleased, nil, nil)
	}))
}

// MarkUnknown implements activities.Ledger.
func (l *Ledger) MarkUnknown(ctx context.Context, key wflo.EffectKey, attempt int) error {
	if err := ledger.CheckHold(key, attempt); err != nil {
		return err
	}
	return ledger.Wrap("mark as unknown", key, attempt, l.do(ctx, func(t *tx) error {
		h, err := t.hold(key, attempt)
		if err != nil || h.state != wflo.HoldOpen {
			return err
		}
		return t.chargeUnknown(h)
	}))
}

// OpenHolds implements activities.Ledger.
func (l *Ledger) OpenHolds(ctx context.Context, age time.Duration, n int) ([]wflo.Hold, error) {
	return l.listHolds(ctx, "state = 'open' AND created_at <= ? ORDER BY created_at, key, attempt LIMIT ?", l.now().Add(-age).UnixNano(), max(n, 0))
}

// UnknownHolds implements activities.Ledger.
func (l *Ledger) UnknownHolds(ctx context.Context, n int) ([]wflo.Hold, error) {
	return l.listHolds(ctx, "state = 'unknown' ORDER BY closed_at DESC, rowid DESC LIMIT ?", max(n, 0))
}

func (l *Ledger) listHolds(ctx context.Context, where string, args ...any) ([]wflo.Hold, error) {
	found, err := readHolds(ctx, l.read, where, args...)
	if err != nil {
		return nil, err
	}
	holds := make([]wflo.Hold, len(found))
	for i, h := range found {
		holds[i] = h.export()
	}
	return holds, nil
}
