package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

// anybody stands for every approver in the table of approvers.
const anybody = ""

// defaultGates is how many gates are listed when GateQuery.Limit is zero.
const defaultGates = 100

// SaveGate implements activities.Gates.
func (r *records) SaveGate(ctx context.Context, g wflo.Gate) error {
	doc, err := json.Marshal(g)
	if err != nil {
		return wflo.Invalid("gate "+g.ID, "cannot be kept: "+err.Error(), "give a payload that is JSON")
	}
	approvers := []string{}
	for _, name := range g.MayDecide() {
		approvers = append(approvers, word(name))
	}
	if len(approvers) == 0 {
		approvers = []string{anybody}
	}
	_, err = r.exec(ctx, "save gate "+g.ID, r.sql.saveGate, word(g.Nonce), g.Changes, word(g.Org), word(g.WorkflowID),
		!g.Closed(), g.ExpiresAt, g.ClosedAt, doc, approvers)
	return err
}

// Gate implements activities.Gates.
func (r *records) Gate(ctx context.Context, nonce string) (wflo.Gate, error) {
	return one(ctx, r, fmt.Sprintf("read gate %q", nonce), scanDoc[wflo.Gate], r.sql.gate, word(nonce))
}

// scanDoc reads what is kept as JSON.
func scanDoc[T any](row pgx.CollectableRow) (T, error) {
	var v T
	var doc []byte
	if err := row.Scan(&doc); err != nil {
		return v, err
	}
	return v, json.Unmarshal(doc, &v)
}

// ListGates implements activities.Gates.
func (r *records) ListGates(ctx context.Context, q activities.GateQuery) ([]wflo.Gate, error) {
	var after time.Time
	if q.After != "" {
		at, err := read(ctx, r.l, pgx.RowTo[time.Time], r.sql.gateAt, word(q.After), q.Closed)
		if err != nil {
			return nil, fmt.Errorf("list gates: %w", err)
		}
		if len(at) == 0 {
			return nil, wflo.Invalid("after", fmt.Sprintf("is %q, and there is no such gate", q.After), "give the nonce of the last gate that was listed")
		}
		after = at[0]
	}
	query, args := listGates(r.sql.schema, q, after)
	gates, err := read(ctx, r.l, scanDoc[wflo.Gate], query, args...)
	if err != nil {
		return nil, fmt.Errorf("list gates: %w", err)
	}
	return gates, nil
}

// conditions collects a WHERE and its arguments.
type conditions struct {
	all  []string
	args []any
}

// arg adds an argument and names it.
func (c *conditions) arg(v any) string {
	c.args = append(c.args, v)
	return fmt.Sprint("$", len(c.args))
}

func (c *conditions) add(format string, args ...any) {
	for i, a := range args {
		args[i] = c.arg(a)
	}
	c.all = append(c.all, fmt.Sprintf(format, args...))
}

func (c *conditions) String() string { return strings.Join(c.all, " AND ") }

// listGates writes the query. Only the conditions that are asked for are in it, so
// that each shape of it has an index of its own. Gates of certain approvers are
// read from each one's own index, as many as can be needed, and then put together.
func listGates(schema string, q activities.GateQuery, after time.Time) (string, []any) {
	c := &conditions{}
	order, beyond := "at, nonce", ">"
	if q.Closed {
		order, beyond = "at DESC, nonce", "<"
		c.add("NOT open")
	} else {
		c.add("open")
	}
	if q.Org != "" {
		c.add("org = %s", word(q.Org))
	}
	if !q.Expired.IsZero() && !q.Closed {
		c.add("at < %s", q.Expired)
	}
	if q.After != "" {
		at := c.arg(after)
		c.add("at "+beyond+"= "+at+" AND (at "+beyond+" "+at+" OR nonce > %s)", word(q.After))
	}
	limit := q.Limit
	if limit <= 0 {
		limit = defaultGates
	}
	who := []string{anybody}
	for _, name := range q.Approvers {
		who = append(who, word(name))
	}
	if len(q.Approvers) > 0 && q.WorkflowID == "" {
		most, names := c.arg(limit), c.arg(who)
		return fmt.Sprintf(`SELECT doc FROM %[1]sgates JOIN (SELECT DISTINCT a.at, a.nonce FROM unnest(%[2]s::text[]) AS who,
			LATERAL (SELECT at, nonce FROM %[1]sgate_approvers WHERE approver = who AND %[3]s ORDER BY %[4]s LIMIT %[5]s) AS a
			ORDER BY %[4]s LIMIT %[5]s) AS page USING (at, nonce) ORDER BY %[4]s`, schema, names, c, order, most), c.args
	}
	if q.WorkflowID != "" {
		c.add("workflow_id = %s", word(q.WorkflowID))
	}
	if len(q.Approvers) > 0 {
		c.add("EXISTS (SELECT 1 FROM "+schema+"gate_approvers a WHERE a.nonce = g.nonce AND a.approver = ANY (%s))", who)
	}
	return fmt.Sprintf("SELECT doc FROM %sgates g WHERE %s ORDER BY %s LIMIT %s", schema, c, order, c.arg(limit)), c.args
}

// UseGrant implements activities.Gates.
func (r *records) UseGrant(ctx context.Context, nonce string, effect wflo.EffectKey) error {
	switch {
	case nonce == "":
		return wflo.Invalid("nonce", "is empty", "give the nonce of the gate")
	case effect == "":
		return wflo.Invalid("effect", "is empty", "name the effect that acts")
	}
	used, err := r.exec(ctx, "use the approval of gate "+nonce, r.sql.useGrant, word(nonce), word(string(effect)))
	if err != nil || used > 0 {
		return err
	}
	type grant struct {
		By   string
		Used bool
	}
	found, err := read(ctx, r.l, pgx.RowToStructByPos[grant], r.sql.grant, word(nonce))
	if err != nil {
		return fmt.Errorf("read the grant of gate %s: %w", nonce, err)
	}
	if len(found) == 1 && !found[0].Used {
		return wflo.Errorf(wflo.CodeApprovalExpired, "ask again", "the approval of gate %s was taken back by %s", nonce, unword(found[0].By))
	}
	return wflo.Errorf(wflo.CodeApprovalExpired, "ask again; an approval is for one action", "the approval of gate %s was used by another action", nonce)
}

// RevokeGrant implements activities.Gates.
func (r *records) RevokeGrant(ctx context.Context, nonce, by string) (bool, error) {
	if nonce == "" {
		return false, wflo.Invalid("nonce", "is empty", "give the nonce of the gate")
	}
	revoked, err := r.exec(ctx, "take back the approval of gate "+nonce, r.sql.revokeGrant, word(nonce), word(by))
	return revoked > 0, err
}
