package sqlite

import (
	"context"
	"fmt"
	"math"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/ledger"
)

// Settle implements activities.Ledger.
func (l *Ledger) Settle(ctx context.Context, s wflo.Settlement) error {
	if err := ledger.CheckSettlement(s); err != nil {
		return err
	}
	return ledger.Wrap("settle", s.Key, s.Attempt, l.do(ctx, func(t *tx) error { return t.settle(s) }))
}

func (t *tx) settle(s wflo.Settlement) error {
	h, err := t.hold(s.Key, s.Attempt)
	if err != nil {
		return err
	}
	e := wflo.Entry{State: wflo.HoldSettled, Provider: s.Provider, Model: s.Model, ResponseID: s.ResponseID,
		Usage: s.Usage, Price: s.Price, Amount: s.Amount, Overdraft: ledger.Overdraft(h.granted, s.Amount), By: s.By, Reason: s.Reason}
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
		e.Amount = s.Amount - h.granted
	}
	if err := t.charge(h, s.Amount, 0); err != nil {
		return err
	}
	if err := t.close(h, wflo.HoldSettled, s.Amount, s.Outcome); err != nil {
		return err
	}
	return t.addEntry(h, e)
}

// chargeUnknown charges an open hold in full.
func (t *tx) chargeUnknown(h hold) error {
	if err := t.charge(h, h.granted, h.granted); err != nil {
		return err
	}
	if err := t.close(h, wflo.HoldUnknown, nil, nil); err != nil {
		return err
	}
	return t.addEntry(h, wflo.Entry{State: wflo.HoldUnknown, Provider: h.provider, Model: h.model, Amount: h.granted})
}

// charge moves what an open or unknown hold holds to what was spent, of which
// some may be unknown. It changes all accounts or, where a sum would overflow,
// none.
func (t *tx) charge(h hold, amount, unknown wflo.Money) error {
	all, err := t.held(h)
	if err != nil {
		return err
	}
	freed, more := h.granted, amount
	if h.state == wflo.HoldUnknown {
		freed, more = 0, amount-h.granted
	}
	for _, a := range all {
		if more > 0 && a.spent > math.MaxInt64-more {
			return ledger.OutOfRange(fmt.Sprintf("%s more on budget %q", more, a.budget))
		}
	}
	for _, a := range all {
		counts := true
		if a.rolls() {
			if counts, err = t.chargeRolling(a, h, amount, unknown); err != nil {
				return err
			}
		}
		a.reserved, a.changed = a.reserved-freed, true
		if !counts {
			continue
		}
		a.spent += more
		a.unknown += unknown
		if h.state == wflo.HoldUnknown {
			a.unknown -= h.granted
		}
		if err := t.alertCrossed(a, h.run); err != nil {
			return err
		}
	}
	return nil
}

// chargeRolling records a charge, or corrects it at the time at which it was
// made. It is false for a correction of what the window has left behind.
func (t *tx) chargeRolling(a *account, h hold, amount, unknown wflo.Money) (bool, error) {
	if h.state != wflo.HoldUnknown {
		return true, t.addSpending(a, charge{h.key, h.attempt, t.at, amount, unknown})
	}
	done, err := t.ExecContext(t.ctx, "UPDATE spendings SET amount_nano = ?, unknown_nano = 0 WHERE account = ? AND key = ? AND attempt = ?",
		amount, a.id, h.key, h.attempt)
	if err != nil {
		return false, fmt.Errorf("correct account %q: %w", a.id, err)
	}
	n, err := done.RowsAffected()
	return n > 0, err
}

// Save implements activities.Ledger.
func (l *Ledger) Save(ctx context.Context, s wflo.Saving) error {
	if err := ledger.CheckSaving(s); err != nil {
		return err
	}
	return ledger.Wrap("save", s.Key, s.Attempt, l.do(ctx, func(t *tx) error {
		h, err := t.hold(s.Key, s.Attempt)
		if err != nil || h.state != "" {
			return err
		}
		h = hold{key: s.Key, attempt: s.Attempt, state: wflo.HoldSettled, scopes: s.Scopes, run: s.Run, provider: ledger.Text(s.Provider),
			model: ledger.Text(s.Model), outcome: s.Outcome, at: t.at}
		if err := t.insert(h); err != nil {
			return err
		}
		return t.addEntry(h, wflo.Entry{State: wflo.HoldCached, Provider: s.Provider, Model: s.Model, Usage: s.Usage, Price: s.Price,
			Saved: s.Saved, Source: s.Source})
	}))
}
