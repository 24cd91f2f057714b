package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/ledger"
)

var _ activities.Ledger = (*Ledger)(nil)

// tries is how often a call is sent when the connection breaks or the database
// asks for a repetition. Repeating is safe because every call is idempotent.
const tries = 3

// statements are the calls with the schema's name in them: nothing depends on
// the session's search path, which poolers do not keep.
type statements struct{ reserve, settle, giveUp, spend, entries string }

func statementsFor(schema string) statements {
	in := func(query string) string {
		return strings.ReplaceAll(query, "wflo.", pgx.Identifier{schema}.Sanitize()+".")
	}
	return statements{
		reserve: in(`SELECT verdict, hold_attempt, hold_amount, hold_state, hold_budgets, hold_run, hold_provider, hold_model,
			hold_outcome, room, refused, refused_limit, refused_spent, refused_reserved
			FROM wflo.reserve($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`),
		settle: in(`SELECT verdict, coalesce(before, 0) FROM wflo.settle($1, $2, $3, $4, $5, $6, $7, $8, $9)`),
		giveUp: in(`SELECT wflo.give_up($1, $2, $3)`),
		spend:  in(`SELECT limit_nano, spent_nano, reserved_nano, unknown_nano FROM wflo.budgets WHERE id = $1`),
		entries: in(`SELECT key, attempt, at, state, run, provider, model, response_id, usage, price,
			reserved_nano, amount_nano, overdraft_nano FROM wflo.entries WHERE root_run = $1 ORDER BY id`),
	}
}

// answer is what the function reserve returns; most of it may be NULL.
type answer struct {
	verdict         string
	attempt         *int
	amount          *int64
	state           *string
	budgets, run    []byte
	provider, model *string
	outcome         []byte
	room            *int64
	refused         *string
	limit           *int64
	spent           *int64
	reserved        *int64
}

// Reserve implements activities.Ledger.
func (l *Ledger) Reserve(ctx context.Context, r wflo.Reservation) (wflo.Hold, error) {
	if err := ledger.CheckReservation(r); err != nil {
		return wflo.Hold{}, err
	}
	ids, limits := make([]string, len(r.Budgets)), make([]int64, len(r.Budgets))
	for i, line := range r.Budgets {
		ids[i], limits[i] = line.ID, int64(line.Limit)
	}
	lines, err := json.Marshal(r.Budgets)
	if err != nil {
		return wflo.Hold{}, fmt.Errorf("encode budgets: %w", err)
	}
	run, err := json.Marshal(r.Run)
	if err != nil {
		return wflo.Hold{}, fmt.Errorf("encode run: %w", err)
	}
	var a answer
	err = l.call(ctx, func() error {
		return l.pool.QueryRow(ctx, l.sql.reserve, string(r.Key), r.Attempt, int64(r.Amount), ids, limits, string(lines),
			r.Run.RootID(), string(run), ledger.Text(r.Provider), ledger.Text(r.Model)).
			Scan(&a.verdict, &a.attempt, &a.amount, &a.state, &a.budgets, &a.run, &a.provider, &a.model,
				&a.outcome, &a.room, &a.refused, &a.limit, &a.spent, &a.reserved)
	})
	if err != nil {
		return wflo.Hold{}, ledger.Wrap("reserve", r.Key, r.Attempt, err)
	}
	switch a.verdict {
	case "conflict":
		return wflo.Hold{}, ledger.Conflict(r.Key, r.Attempt, "reserved", wflo.Money(*a.amount), r.Amount)
	case "refused":
		return wflo.Hold{}, ledger.Refused(wflo.Spend{Budget: *a.refused, Limit: wflo.Money(*a.limit),
			Spent: wflo.Money(*a.spent), Reserved: wflo.Money(*a.reserved)}, r.Amount)
	}
	return a.hold(r.Key)
}

func (a answer) hold(key wflo.EffectKey) (wflo.Hold, error) {
	h := wflo.Hold{
		Reservation: wflo.Reservation{Key: key, Attempt: *a.attempt, Amount: wflo.Money(*a.amount),
			Provider: *a.provider, Model: *a.model},
		State: wflo.HoldState(*a.state), Outcome: a.outcome, Room: wflo.Money(*a.room),
	}
	if err := errors.Join(json.Unmarshal(a.budgets, &h.Budgets), json.Unmarshal(a.run, &h.Run)); err != nil {
		return wflo.Hold{}, fmt.Errorf("read hold %s attempt %d: %w", key, *a.attempt, err)
	}
	return h, nil
}

// Settle implements activities.Ledger.
func (l *Ledger) Settle(ctx context.Context, s wflo.Settlement) error {
	if err := ledger.CheckSettlement(s); err != nil {
		return err
	}
	usage, err := json.Marshal(s.Usage)
	if err != nil {
		return fmt.Errorf("encode usage: %w", err)
	}
	price, err := json.Marshal(s.Price)
	if err != nil {
		return fmt.Errorf("encode price: %w", err)
	}
	outcome := s.Outcome
	if len(outcome) == 0 {
		outcome = nil // an empty outcome is NULL
	}
	var verdict string
	var before int64
	err = l.call(ctx, func() error {
		return l.pool.QueryRow(ctx, l.sql.settle, string(s.Key), s.Attempt, int64(s.Amount), string(usage), string(price),
			ledger.Text(s.Provider), ledger.Text(s.Model), ledger.Text(s.ResponseID), outcome).Scan(&verdict, &before)
	})
	switch {
	case err != nil:
		return ledger.Wrap("settle", s.Key, s.Attempt, err)
	case verdict == "missing":
		return ledger.Missing(s.Key, s.Attempt)
	case verdict == "released":
		return ledger.Given(s.Key, s.Attempt)
	case verdict == "conflict":
		return ledger.Conflict(s.Key, s.Attempt, "settled", wflo.Money(before), s.Amount)
	}
	return nil
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
	return l.call(ctx, func() error {
		_, err := l.pool.Exec(ctx, l.sql.giveUp, string(key), attempt, charge)
		return err
	})
}

// Spend implements activities.Ledger.
func (l *Ledger) Spend(ctx context.Context, budget string) (wflo.Spend, error) {
	var limit, spent, reserved, unknown int64
	err := l.call(ctx, func() error {
		return l.pool.QueryRow(ctx, l.sql.spend, ledger.Text(budget)).Scan(&limit, &spent, &reserved, &unknown)
	})
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return wflo.Spend{Budget: budget}, fmt.Errorf("read budget %q: %w", budget, err)
	}
	return wflo.Spend{Budget: budget, Limit: wflo.Money(limit), Spent: wflo.Money(spent),
		Reserved: wflo.Money(reserved), Unknown: wflo.Money(unknown)}, nil
}

// Entries implements activities.Ledger.
func (l *Ledger) Entries(ctx context.Context, rootRun string) ([]wflo.Entry, error) {
	var entries []wflo.Entry
	err := l.call(ctx, func() error {
		rows, err := l.pool.Query(ctx, l.sql.entries, ledger.Text(rootRun))
		if err != nil {
			return err
		}
		entries, err = pgx.CollectRows(rows, scanEntry)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read entries of %s: %w", rootRun, err)
	}
	return entries, nil
}

func scanEntry(row pgx.CollectableRow) (wflo.Entry, error) {
	var e wflo.Entry
	var key, state string
	var at time.Time
	var run, usage, price []byte
	var reserved, amount, overdraft int64
	err := row.Scan(&key, &e.Attempt, &at, &state, &run, &e.Provider, &e.Model, &e.ResponseID, &usage, &price,
		&reserved, &amount, &overdraft)
	if err != nil {
		return wflo.Entry{}, err
	}
	e.Key, e.State, e.At = wflo.EffectKey(key), wflo.HoldState(state), at.UTC()
	e.Reserved, e.Amount, e.Overdraft = wflo.Money(reserved), wflo.Money(amount), wflo.Money(overdraft)
	return e, errors.Join(json.Unmarshal(run, &e.Run), json.Unmarshal(usage, &e.Usage), json.Unmarshal(price, &e.Price))
}

// call sends one idempotent call, again when that can help.
func (l *Ledger) call(ctx context.Context, send func() error) error {
	var err error
	for range tries {
		if err = send(); err == nil || ctx.Err() != nil || !transient(err) {
			break
		}
	}
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Code == "22003" { // numeric_value_out_of_range
		return ledger.OutOfRange("a sum of these budgets")
	}
	return err
}

// transient says that the same call may succeed at once: the connection was
// closed under us, or the server asks for a repetition. A server that cannot be
// reached is left to the caller's retry policy.
func transient(err error) bool {
	var answered *pgconn.PgError
	if errors.As(err, &answered) {
		switch answered.Code {
		case "40001", "40P01", "57P01", "57P02": // serialization, deadlock, shutdown, crash
			return true
		}
		return strings.HasPrefix(answered.Code, "08") // connection exception
	}
	var unreachable *pgconn.ConnectError
	return !errors.As(err, &unreachable) && !errors.Is(err, pgx.ErrNoRows)
}
