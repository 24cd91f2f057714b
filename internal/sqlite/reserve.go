package sqlite

import (
	"context"
	"fmt"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/ledger"
)

// Reserve implements activities.Ledger.
func (l *Ledger) Reserve(ctx context.Context, r wflo.Reservation) (wflo.Hold, error) {
	if err := ledger.CheckReservation(r); err != nil {
		return wflo.Hold{}, err
	}
	var got wflo.Hold
	err := l.do(ctx, func(t *tx) (err error) {
		got, err = t.reserve(r)
		return err
	})
	if err != nil {
		return wflo.Hold{}, ledger.Wrap("reserve", r.Key, r.Attempt, err)
	}
	return got, nil
}

func (t *tx) reserve(r wflo.Reservation) (wflo.Hold, error) {
	attempts, err := scanHolds(t.query(queryAttempts, r.Key, r.Attempt))
	if err != nil {
		return wflo.Hold{}, err
	}
	if n := len(attempts); n > 0 && attempts[n-1].attempt == r.Attempt {
		same := attempts[n-1]
		if same.amount != r.Amount {
			return wflo.Hold{}, ledger.Conflict(r.Key, r.Attempt, "reserved", same.amount, r.Amount)
		}
		return t.answer(same, true)
	}
	var settled hold
	for _, h := range attempts {
		switch h.state {
		case wflo.HoldSettled:
			settled = h
		case wflo.HoldOpen:
			if err := t.chargeUnknown(h); err != nil {
				return wflo.Hold{}, err
			}
		}
	}
	if settled.state != "" {
		return t.answer(settled, true)
	}
	return t.admit(r)
}

// admit makes a new hold, or refuses it. What a refusal leaves behind is kept:
// earlier attempts that became unknown, alerts, and the accounts, so that
// operators see the limit that refused.
func (t *tx) admit(r wflo.Reservation) (wflo.Hold, error) {
	all, err := t.accountsOf(r)
	if err != nil {
		return wflo.Hold{}, err
	}
	granted, refusal := grant(all, r)
	need := granted
	if refusal != nil {
		need = leastOf(r)
	}
	for _, a := range all {
		if err := t.alertExceeded(a, r.Run, need); err != nil {
			return wflo.Hold{}, err
		}
	}
	if refusal != nil {
		return wflo.Hold{}, refusal
	}
	h := hold{key: r.Key, attempt: r.Attempt, amount: r.Amount, least: r.Least, granted: granted, state: wflo.HoldOpen, lines: r.Budgets,
		scopes: r.Scopes, run: r.Run, provider: ledger.Text(r.Provider), model: ledger.Text(r.Model), within: int64(r.Within), at: t.at}
	for _, a := range all {
		a.reserved, a.changed = a.reserved+granted, true
		h.accounts = append(h.accounts, a.id)
	}
	if err := t.insert(h); err != nil {
		return wflo.Hold{}, err
	}
	return t.answer(h, false)
}

func leastOf(r wflo.Reservation) wflo.Money {
	if r.Least == 0 {
		return r.Amount
	}
	return r.Least
}

// grant is what there is room for, or the refusal of the first account that has
// too little.
func grant(all []*account, r wflo.Reservation) (wflo.Money, error) {
	granted, least := r.Amount, leastOf(r)
	for _, a := range all {
		room := a.capacity()
		if a.terms.strict() {
			room = min(room, a.room())
			if room < least {
				return 0, ledger.Refuse(a.refusal(least))
			}
		}
		if room < least {
			return 0, ledger.OutOfRange(fmt.Sprintf("%s on budget %q", least, a.budget))
		}
		granted = min(granted, room)
	}
	return granted, nil
}

func (a *account) refusal(asked wflo.Money) wflo.Refusal {
	r := wflo.Refusal{Budget: a.budget, Limit: a.terms.Limit, Spent: a.spent, Reserved: a.reserved, Asked: asked, OnExceeded: a.terms.OnExceeded}
	if a.end != 0 {
		r.WindowEnd = time.Unix(0, a.end).UTC()
	}
	return r
}
