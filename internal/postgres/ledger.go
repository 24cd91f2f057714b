package postgres

import (
	"context"
	"errors"
	"fmt"
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
	batch                                        string
	spend, several, list, set, remove, topUp     string
	entries, costs, openHolds, unknownHolds      string
	claimAlerts, alertDone, listAlerts, alertsOf string
}

// holdColumns are what scanHold reads, of the row that prefix names.
func holdColumns(prefix string) string {
	return prefix + strings.Join([]string{"key", "attempt", "amount_nano", "least_nano", "granted_nano", "state", "settled_nano",
		"created_at", "budgets", "scopes", "run", "provider", "model", "within_nano", "outcome"}, ", "+prefix)
}

// batchTypes are the elements of the arrays that the function batch takes: of
// reservations, what they want to be held on, settlements, holds to give up, and
// savings. See columns.go.
const batchTypes = `text integer bigint bigint text text text text text text bigint
	integer text bigint text text
	text integer bigint text text text text text bytea text text
	text integer boolean
	text integer text text text text text text text text bigint bytea`

// parameters are "$1::text[], $2::integer[]" and so on.
func parameters(types string) string {
	var all []string
	for i, element := range strings.Fields(types) {
		all = append(all, fmt.Sprintf("$%d::%s[]", i+1, element))
	}
	return strings.Join(all, ", ")
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
			FROM wflo.batch(` + parameters(batchTypes) + `)`),
		spend:   in(`SELECT ` + spendColumns + ` FROM wflo.spend_of($1)`),
		several: in(`SELECT ` + spendColumns + ` FROM unnest($1::text[]) WITH ORDINALITY AS asked(id, place), wflo.spend_of(asked.id) ORDER BY place`),
		list:    in(`SELECT ` + spendColumns + ` FROM wflo.list_budgets() l, wflo.spend_of(l.id) ORDER BY l.id COLLATE "C"`),
		set: in(`SELECT count(wflo.set_rule(r.id, r.most, r.period, r.zone, r.slides, r.thresholds::integer[], r.exceeded, r.rule::json,
			r.declared, $10)) FROM (SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::text[],
			$7::text[], $8::text[], $9::text[]) AS t(id, most, period, zone, slides, thresholds, exceeded, rule, declared)) AS r`),
		remove: in(`SELECT wflo.remove_rule($1)`),
		topUp:  in(`SELECT verdict, ` + spendColumns + ` FROM wflo.topped_up($1, $2, $3, $4, $5)`),
		entries: in(`SELECT key, attempt, at, state, run, provider, model, response_id, usage, price,
			reserved_nano, amount_nano, overdraft_nano, scopes, saved_nano, source_key, made_by, reason FROM wflo.entries WHERE root_run = $1 ORDER BY id`),
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
		if readOnly(err) {
			l.pool.Reset()
		}
	}
	var refused *pgconn.PgError
	if !errors.As(err, &refused) {
		return err
	}
	if refused.Code == "22003" { // numeric_value_out_of_range
		return ledger.OutOfRange("a sum of these budgets")
	}
	// These are over when an operator has done something, so they keep their code and
	// are tried again.
	if what := outages[refused.Code]; what != "" {
		return fmt.Errorf("%s: %w", what, err)
	}
	return err
}

// outages says what the server's words do not: what to do.
var outages = map[string]string{
	"25006": "the database cannot be written to (give the ledger's URL all servers of the cluster and target_session_attrs=read-write)",
	"53100": "the database's disk is full (nothing is paid for until there is room)",
	"53300": "the database has no connection left (raise its limit, or lower the ledger's max_conns)",
}

// readOnly says that the server takes no writes. After a failover, a connection to the
// one that was the primary would say so for as long as it is open, so the pool has to
// look again where the primary is.
func readOnly(err error) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && refused.Code == "25006"
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
		case "40001", "40P01", "57P01", "57P02", "25006": // serialization, deadlock, shutdown, crash, read-only
			return true
		}
		return strings.HasPrefix(answered.Code, "08") // connection exception
	}
	var unreachable *pgconn.ConnectError
	return !errors.As(err, &unreachable) && !errors.Is(err, pgx.ErrNoRows)
}
