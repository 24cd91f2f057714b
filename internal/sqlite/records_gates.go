package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

const (
	upsertGate = `INSERT INTO gates (nonce, changes, open, rank, expires_at, closed_at, org, workflow_id, gate)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (nonce) DO UPDATE SET changes = excluded.changes, open = excluded.open, rank = excluded.rank,
			expires_at = excluded.expires_at, closed_at = excluded.closed_at, org = excluded.org,
			workflow_id = excluded.workflow_id, gate = excluded.gate
		WHERE gates.changes <= excluded.changes
		RETURNING 1`
	queryGate     = "SELECT gate FROM gates WHERE nonce = ?"
	dropApprovers = "DELETE FROM gate_approvers WHERE nonce = ?"
	addApprovers  = "INSERT INTO gate_approvers (approver, open, rank, nonce) SELECT DISTINCT value, ?, ?, ? FROM json_each(?)"
	// eachApprover bounds the parts of a query; SQLite takes 500.
	eachApprover = 100
)

// anybody stands in the index for gates that name nobody.
const anybody = ""

// rank is a gate's place in its list: ascending, also for the latest first.
func rank(g wflo.Gate) int64 {
	if g.Closed() {
		return -micros(g.ClosedAt)
	}
	return micros(g.ExpiresAt)
}

// SaveGate implements activities.Gates.
func (r records) SaveGate(ctx context.Context, g wflo.Gate) error {
	text, err := written("gate "+g.Nonce, g)
	if err != nil {
		return err
	}
	approvers := g.MayDecide()
	if len(approvers) == 0 {
		approvers = []string{anybody}
	}
	return doing("save gate "+g.Nonce, r.do(ctx, func(t *tx) error {
		var saved int
		err := t.queryRow(upsertGate, g.Nonce, g.Changes, !g.Closed(), rank(g), micros(g.ExpiresAt), micros(g.ClosedAt), g.Org, g.WorkflowID, text).Scan(&saved)
		if errors.Is(err, sql.ErrNoRows) {
			return nil // a newer state is kept
		}
		if err != nil {
			return err
		}
		if err := t.exec(dropApprovers, g.Nonce); err != nil {
			return err
		}
		return t.exec(addApprovers, !g.Closed(), rank(g), g.Nonce, encode(approvers))
	}))
}

// Gate implements activities.Gates.
func (r records) Gate(ctx context.Context, nonce string) (g wflo.Gate, err error) {
	var text string
	what := "read gate " + nonce
	if err := r.one(ctx, what, queryGate, []any{nonce}, []any{&text}); err != nil {
		return g, err
	}
	return g, doing(what, decode(text, &g))
}

// ListGates implements activities.Gates.
func (r records) ListGates(ctx context.Context, q activities.GateQuery) ([]wflo.Gate, error) {
	var after *int64
	if q.After != "" {
		rank, err := r.rankOf(ctx, q)
		if err != nil {
			return nil, err
		}
		after = &rank
	}
	query, args := gateList(q, after)
	rows, err := r.read.QueryContext(ctx, query, args...) //nolint:sqlclosecheck // collect closes it
	gates, err := collect(rows, err, func(row interface{ Scan(...any) error }) (g wflo.Gate, _ error) {
		var text string
		if err := row.Scan(&text); err != nil {
			return g, err
		}
		return g, decode(text, &g)
	})
	return gates, doing("list gates", err)
}

// rankOf is the place of the gate to read on after. It may have left the list since.
func (r records) rankOf(ctx context.Context, q activities.GateQuery) (int64, error) {
	var expires, closed int64
	err := r.read.QueryRowContext(ctx, "SELECT expires_at, closed_at FROM gates WHERE nonce = ?", q.After).Scan(&expires, &closed)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return 0, wflo.Invalid("after", fmt.Sprintf("is %.100q, which is no gate", q.After), "list from the start")
	case err != nil:
		return 0, fmt.Errorf("list gates: %w", err)
	case q.Closed:
		return -closed, nil
	}
	return expires, nil
}

// gateList gives the query of a list. For each approver it reads no more of the
// index than a page, however many gates name them.
func gateList(q activities.GateQuery, after *int64) (query string, args []any) {
	where, filter := []string{"g.open = ?"}, []any{!q.Closed}
	also := func(condition string, values ...any) {
		where, filter = append(where, condition), append(filter, values...)
	}
	if q.Org != "" {
		also("g.org = ?", q.Org)
	}
	if q.WorkflowID != "" {
		also("g.workflow_id = ?", q.WorkflowID)
	}
	if !q.Expired.IsZero() {
		also("g.expires_at < ?", micros(q.Expired))
	}
	limit := limited(q.Limit, 100)
	place := "g"
	if len(q.Approvers) > 0 {
		place = "a"
	}
	if after != nil {
		also(fmt.Sprintf("(%s.rank, %[1]s.nonce) > (?, ?)", place), *after, q.After)
	}
	if len(q.Approvers) == 0 {
		return "SELECT g.gate FROM gates g WHERE " + strings.Join(where, " AND ") + " ORDER BY g.rank, g.nonce LIMIT ?", append(filter, limit)
	}
	part := `SELECT * FROM (SELECT a.rank, a.nonce FROM gate_approvers a CROSS JOIN gates g ON g.nonce = a.nonce
		WHERE a.%s AND a.open = ? AND ` + strings.Join(where, " AND ") + " ORDER BY a.rank, a.nonce LIMIT ?)"
	var parts []string
	add := func(who string, value any) {
		parts = append(parts, fmt.Sprintf(part, who))
		args = append(append(append(args, value, !q.Closed), filter...), limit)
	}
	names := append([]string{anybody}, q.Approvers...)
	if len(names) > eachApprover {
		add("approver IN (SELECT value FROM json_each(?))", encode(names))
	} else {
		for _, name := range names {
			add("approver = ?", name)
		}
	}
	return `WITH found AS (` + strings.Join(parts, " UNION ") + `), page AS (SELECT DISTINCT rank, nonce FROM found ORDER BY rank, nonce LIMIT ?)
		SELECT g.gate FROM page JOIN gates g ON g.nonce = page.nonce ORDER BY page.rank, page.nonce`, append(args, limit)
}

const (
	insertGrant = "INSERT INTO grants (nonce, effect, revoked_by, at) VALUES (?, ?, ?, ?) ON CONFLICT (nonce) DO NOTHING"
	queryGrant  = "SELECT effect FROM grants WHERE nonce = ?"
)

// UseGrant implements activities.Gates.
func (r records) UseGrant(ctx context.Context, nonce string, effect wflo.EffectKey) error {
	if nonce == "" || effect == "" {
		return wflo.Invalid("grant", "has no nonce or no effect", "pass on the gate that was granted")
	}
	winner, err := r.takeGrant(ctx, nonce, string(effect), "")
	switch {
	case err != nil:
		return doing("use approval "+nonce, err)
	case winner == "":
		return wflo.Errorf(wflo.CodeApprovalExpired, "ask again", "the approval %s was taken back", nonce)
	case winner != string(effect):
		return wflo.Errorf(wflo.CodeApprovalExpired, "ask again for each action", "the approval %s was used by another action", nonce)
	}
	return nil
}

// RevokeGrant implements activities.Gates.
func (r records) RevokeGrant(ctx context.Context, nonce, by string) (ok bool, err error) {
	if nonce == "" {
		return false, wflo.Invalid("grant", "has no nonce", "pass on the gate that was granted")
	}
	winner, err := r.takeGrant(ctx, nonce, "", by)
	return err == nil && winner == "", doing("revoke approval "+nonce, err)
}

// takeGrant gives the effect that has the grant now, or "" where it was taken back.
func (r records) takeGrant(ctx context.Context, nonce, effect, by string) (winner string, err error) {
	err = r.do(ctx, func(t *tx) error {
		if err := t.exec(insertGrant, nonce, effect, by, micros(t.now)); err != nil {
			return err
		}
		return t.queryRow(queryGrant, nonce).Scan(&winner)
	})
	return winner, err
}
