package postgres

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/ledger"
)

var _ activities.Ledger = (*Ledger)(nil)

// tries is how often a call is sent when the connection breaks or the database
// asks for a repetition. Repeating is safe because every call is idempotent.
const tries = 3

// statements are the calls with the schema's name in them: nothing depends on
// the session's search path, which poolers do not keep.
type statements struct {
	batch, save                                  string
	spend, list, set, remove, topUp              string
	entries, costs, openHolds, unknownHolds      string
	claimAlerts, alertDone, listAlerts, alertsOf string
}

// holdColumns are what scanHold reads, of the row that prefix names.
func holdColumns(prefix string) string {
	return prefix + strings.Join([]string{"key", "attempt", "amount_nano", "least_nano", "granted_nano", "state", "settled_nano",
		"created_at", "budgets", "scopes", "run", "provider", "model", "within_nano", "outcome"}, ", "+prefix)
}

const (
	spendColumns = `budget, limit_nano, spent_nano, reserved_nano, unknown_nano, topped_nano, rule, starts, ends`
	alertColumns = `id, kind, budget, percent, limit_nano, spent_nano, reserved_nano, on_exceeded, starts, ends, at, run`
)

func statementsFor(schema string) statements {
	in := func(query string) string {
		return strings.ReplaceAll(query, "wflo.", pgx.Identifier{schema}.Sanitize()+".")
	}
	return statements{
		batch: in(`SELECT item, verdict, fresh IS TRUE, granted_nano, at, room, (refused).budget, (refused).limit_nano, (refused).spent_nano,
			(refused).reserved_nano, (refused).on_exceeded, (refused).ends, ` + holdColumns("(h).") + `
			FROM wflo.batch($1::text[], $2::integer[], $3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::text[],
			$9::text[], $10::text[], $11::bigint[], $12::integer[], $13::text[], $14::bigint[], $15::text[], $16::text[],
			$17::text[], $18::integer[], $19::bigint[], $20::text[], $21::text[], $22::text[], $23::text[], $24::text[], $25::bytea[],
			$26::text[], $27::integer[], $28::boolean[])`),
		save:  in(`SELECT wflo.save($1, $2, $3, $4::text::json, $5, $6, $7::text::json, $8::text::json, $9, $10, $11, $12)`),
		spend: in(`SELECT ` + spendColumns + ` FROM wflo.spend_of($1)`),
		list:  in(`SELECT ` + spendColumns + ` FROM wflo.list_budgets() l, wflo.spend_of(l.id) ORDER BY l.id COLLATE "C"`),
		set: in(`SELECT count(wflo.set_rule(r.id, r.most, r.period, r.zone, r.slides, r.thresholds::integer[], r.exceeded, r.rule::json,
			r.declared, $10)) FROM (SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::text[],
			$7::text[], $8::text[], $9::text[]) AS t(id, most, period, zone, slides, thresholds, exceeded, rule, declared)) AS r`),
		remove: in(`SELECT wflo.remove_rule($1)`),
		topUp:  in(`SELECT verdict, ` + spendColumns + ` FROM wflo.topped_up($1, $2, $3, $4, $5)`),
		entries: in(`SELECT key, attempt, at, state, run, provider, model, response_id, usage, price,
			reserved_nano, amount_nano, overdraft_nano, scopes, saved_nano, source_key FROM wflo.entries WHERE root_run = $1 ORDER BY id`),
		costs: in(`SELECT key, calls, hits, spent, unknown, overdraft, reserved, saved, usage FROM wflo.costs($1, $2, $3, $4, $5, $6)`),
		openHolds: in(`SELECT ` + holdColumns("h.") + ` FROM wflo.holds h
			WHERE state = 'open' AND created_at <= wflo.clock() - $1::interval ORDER BY created_at, key COLLATE "C", attempt LIMIT $2`),
		unknownHolds: in(`SELECT ` + holdColumns("h.") + ` FROM wflo.holds h
			WHERE state = 'unknown' ORDER BY closed_at DESC, key COLLATE "C", attempt DESC LIMIT $1`),
		claimAlerts: in(`SELECT ` + alertColumns + ` FROM wflo.claim_alerts($1, $2::interval)`),
		alertDone:   in(`UPDATE wflo.alerts SET done_at = wflo.clock() WHERE id = $1 AND done_at IS NULL`),
		listAlerts:  in(`SELECT ` + alertColumns + ` FROM wflo.alerts ORDER BY seq DESC LIMIT $1`),
		alertsOf:    in(`SELECT ` + alertColumns + ` FROM wflo.alerts WHERE budget = $2 ORDER BY seq DESC LIMIT $1`),
	}
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

// read sends a query and collects its rows.
func read[T any](ctx context.Context, l *Ledger, scan pgx.RowToFunc[T], query string, args ...any) ([]T, error) {
	var all []T
	err := l.call(ctx, func() error {
		rows, err := l.pool.Query(ctx, query, args...)
		if err != nil {
			return err
		}
		all, err = pgx.CollectRows(rows, scan)
		return err
	})
	return all, err
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
