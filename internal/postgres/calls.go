package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/ledger"
)

// Reserve implements activities.Ledger.
func (l *Ledger) Reserve(ctx context.Context, r wflo.Reservation) (wflo.Hold, error) {
	if err := ledger.CheckReservation(r); err != nil {
		return wflo.Hold{}, err
	}
	r.Provider, r.Model = ledger.Text(r.Provider), ledger.Text(r.Model)
	budgets, err := json.Marshal(r.Budgets)
	if err != nil {
		return wflo.Hold{}, fmt.Errorf("encode budgets: %w", err)
	}
	run, err := json.Marshal(r.Run)
	if err != nil {
		return wflo.Hold{}, fmt.Errorf("encode run: %w", err)
	}
	a, err := l.batches.do(ctx, &call{key: r.Key, reserve: &reserveCall{Reservation: r, budgets: string(budgets), run: string(run)}})
	if err != nil {
		return wflo.Hold{}, ledger.Wrap("reserve", r.Key, r.Attempt, err)
	}
	switch a.verdict {
	case "conflict":
		return wflo.Hold{}, ledger.Conflict(r.Key, r.Attempt, "reserved", wflo.Money(*a.hold.amount), r.Amount)
	case "refused":
		return wflo.Hold{}, a.refusal(r)
	}
	if a.fresh {
		return wflo.Hold{Reservation: r, State: wflo.HoldOpen, Granted: wflo.Money(*a.granted), At: a.at.UTC(), Room: wflo.Money(*a.room)}, nil
	}
	h, err := a.hold.words()
	h.Room, h.Repeated = wflo.Money(*a.room), true
	return h, err
}

// refusal is the error for the account that has no room. One without a limit
// that counts has none when the sum would not fit into wflo.Money.
func (a *answer) refusal(r wflo.Reservation) error {
	asked := r.Amount
	if r.Least > 0 {
		asked = r.Least
	}
	does := wflo.OnExceeded(*a.exceeded)
	if *a.limit == 0 || does != wflo.ExceedHalt && does != wflo.ExceedAsk {
		return ledger.OutOfRange(fmt.Sprintf("%s on budget %q", asked, *a.refused))
	}
	return ledger.Refuse(wflo.Refusal{Budget: *a.refused, Limit: wflo.Money(*a.limit), Spent: wflo.Money(*a.spent),
		Reserved: wflo.Money(*a.reserved), Asked: asked, WindowEnd: utc(a.ends), OnExceeded: does})
}

// utc is a time that may be NULL.
func utc(at *time.Time) time.Time {
	if at == nil {
		return time.Time{}
	}
	return at.UTC()
}

// Settle implements activities.Ledger.
func (l *Ledger) Settle(ctx context.Context, s wflo.Settlement) error {
	if err := ledger.CheckSettlement(s); err != nil {
		return err
	}
	c, err := encodeSettlement(s)
	if err != nil {
		return err
	}
	a, err := l.batches.do(ctx, &call{key: s.Key, settle: c})
	switch {
	case err != nil:
		return ledger.Wrap("settle", s.Key, s.Attempt, err)
	case a.verdict == "missing":
		return ledger.Missing(s.Key, s.Attempt)
	case a.verdict == "released":
		return ledger.Given(s.Key, s.Attempt)
	case a.verdict == "conflict":
		return ledger.Conflict(s.Key, s.Attempt, "settled", wflo.Money(*a.hold.settled), s.Amount)
	}
	return nil
}

func encodeSettlement(s wflo.Settlement) (*settleCall, error) {
	usage, err := json.Marshal(s.Usage)
	if err != nil {
		return nil, fmt.Errorf("encode usage: %w", err)
	}
	price, err := json.Marshal(s.Price)
	if err != nil {
		return nil, fmt.Errorf("encode price: %w", err)
	}
	if len(s.Outcome) == 0 {
		s.Outcome = nil // an empty outcome is NULL
	}
	s.Provider, s.Model, s.ResponseID = ledger.Text(s.Provider), ledger.Text(s.Model), ledger.Text(s.ResponseID)
	s.By, s.Reason = ledger.Text(s.By), ledger.Text(s.Reason)
	return &settleCall{Settlement: s, usage: string(usage), price: string(price)}, nil
}

// Release implements activities.Ledger.
func (l *Ledger) Release(ctx context.Context, key wflo.EffectKey, attempt int) error {
	return ledger.Wrap("release", key, attempt, l.giveUp(ctx, key, attempt, false))
}

// MarkUnknown implements activities.Ledger.
func (l *Ledger) MarkUnknown(ctx context.Context, key wflo.EffectKey, attempt int) error {
	return ledger.Wrap("mark as unknown", key, attempt, l.giveUp(ctx, key, attempt, true))
}

func (l *Ledger) giveUp(ctx context.Context, key wflo.EffectKey, attempt int, charge bool) error {
	if err := ledger.CheckHold(key, attempt); err != nil {
		return err
	}
	_, err := l.batches.do(ctx, &call{key: key, giveUp: &giveUpCall{attempt: attempt, charge: charge}})
	return err
}

// Save implements activities.Ledger.
func (l *Ledger) Save(ctx context.Context, s wflo.Saving) error {
	if err := ledger.CheckSaving(s); err != nil {
		return err
	}
	run, err := json.Marshal(s.Run)
	if err != nil {
		return fmt.Errorf("encode run: %w", err)
	}
	c, err := encodeSettlement(wflo.Settlement{Usage: s.Usage, Price: s.Price, Provider: s.Provider, Model: s.Model, Outcome: s.Outcome})
	if err != nil {
		return err
	}
	s.Provider, s.Model, s.Outcome = c.Provider, c.Model, c.Outcome
	_, err = l.batches.do(ctx, &call{key: s.Key, save: &saveCall{Saving: s, run: string(run), usage: c.usage, price: c.price}})
	return ledger.Wrap("save", s.Key, s.Attempt, err)
}

// texts is never nil, which would be NULL.
func texts(all []string) []string { return append([]string{}, all...) }

// literal is a text[] as text, for arrays of arrays of different lengths.
func literal(all []string) string {
	quote := strings.NewReplacer(`\`, `\\`, `"`, `\"`)
	var b strings.Builder
	b.WriteByte('{')
	for i, s := range all {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('"')
		b.WriteString(quote.Replace(s))
		b.WriteByte('"')
	}
	b.WriteByte('}')
	return b.String()
}

// percents is an integer[] as text.
func percents(all []int) string {
	return "{" + strings.Trim(strings.ReplaceAll(fmt.Sprint(all), " ", ","), "[]") + "}"
}

// storedHold is a row of the table holds, or NULLs.
type storedHold struct {
	key                    *string
	attempt                *int
	amount, least, granted *int64
	state                  *string
	settled                *int64
	at                     *time.Time
	budgets                []byte
	scopes                 []string
	run                    []byte
	provider, model        *string
	within                 *int64
	outcome                []byte
}

// columns are where the columns of holdColumns go.
func (s *storedHold) columns() []any {
	return []any{&s.key, &s.attempt, &s.amount, &s.least, &s.granted, &s.state, &s.settled, &s.at, &s.budgets, &s.scopes, &s.run,
		&s.provider, &s.model, &s.within, &s.outcome}
}

// words is the hold in the words of package wflo.
func (s *storedHold) words() (wflo.Hold, error) {
	h := wflo.Hold{
		Reservation: wflo.Reservation{Key: wflo.EffectKey(*s.key), Attempt: *s.attempt, Amount: wflo.Money(*s.amount), Least: wflo.Money(*s.least),
			Scopes: s.scopes, Provider: *s.provider, Model: *s.model, Within: time.Duration(*s.within)},
		State: wflo.HoldState(*s.state), Granted: wflo.Money(*s.granted), At: s.at.UTC(), Outcome: s.outcome,
	}
	if err := errors.Join(json.Unmarshal(s.budgets, &h.Budgets), json.Unmarshal(s.run, &h.Run)); err != nil {
		return wflo.Hold{}, fmt.Errorf("read hold %s attempt %d: %w", *s.key, *s.attempt, err)
	}
	return h, nil
}

func scanHold(row pgx.CollectableRow) (wflo.Hold, error) {
	var s storedHold
	if err := row.Scan(s.columns()...); err != nil {
		return wflo.Hold{}, err
	}
	return s.words()
}
