package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"strings"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/audit"
)

const (
	auditColumns = "seq, event, data, prev, hash"
	queryHead    = "SELECT seq, hash FROM audit WHERE chain = ? ORDER BY seq DESC LIMIT 1"
	queryEvent   = "SELECT 1 FROM audit WHERE chain = ? AND id = ?"
	insertEvent  = "INSERT INTO audit (chain, seq, id, at, type, workflow_id, event, data, prev, hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
	// queryHeads steps from chain to chain along the primary key, so that it takes
	// as long as there are chains, not records.
	queryHeads = `WITH RECURSIVE chains (chain) AS (
			SELECT min(chain) FROM audit
			UNION ALL SELECT (SELECT min(chain) FROM audit WHERE chain > chains.chain) FROM chains WHERE chains.chain IS NOT NULL)
		SELECT a.seq, a.event, '', a.prev, a.hash FROM chains JOIN audit a ON a.chain = chains.chain
		WHERE a.seq = (SELECT max(seq) FROM audit WHERE chain = chains.chain) ORDER BY chains.chain`
)

// Append implements activities.Audit.
func (r records) Append(ctx context.Context, events ...wflo.AuditEvent) error {
	if len(events) == 0 {
		return nil
	}
	// The work in the transaction must not fail half way, so all that can be wrong
	// with an event is found before.
	ready := make([]audit.Ready, len(events))
	for i, e := range events {
		var err error
		if ready[i], err = audit.Prepare(e); err != nil {
			return err
		}
	}
	return doing("append to the audit trail", r.do(ctx, func(t *tx) error {
		heads := map[string]wflo.AuditRecord{}
		for _, e := range ready {
			if err := t.record(heads, e); err != nil {
				return err
			}
		}
		return nil
	}))
}

// record adds an event to its chain. heads are the last records of the chains that
// the call has touched.
func (t *tx) record(heads map[string]wflo.AuditRecord, e audit.Ready) error {
	var there int
	switch err := t.queryRow(queryEvent, e.Chain, e.ID).Scan(&there); {
	case err == nil:
		return nil
	case !errors.Is(err, sql.ErrNoRows):
		return err
	}
	head, ok := heads[e.Chain]
	if !ok {
		if err := t.queryRow(queryHead, e.Chain).Scan(&head.Seq, &head.Hash); err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
	}
	sealed := e.After(head)
	bare := sealed.AuditEvent
	bare.Data = nil
	heads[e.Chain] = sealed
	return t.exec(insertEvent, sealed.Chain, sealed.Seq, sealed.ID, micros(sealed.At), sealed.Type, sealed.WorkflowID, encode(bare),
		string(sealed.Data), sealed.Prev, sealed.Hash)
}

func scanRecord(row interface{ Scan(...any) error }) (a wflo.AuditRecord, err error) {
	var seq int64
	var event, data, prev, hash string
	if err := row.Scan(&seq, &event, &data, &prev, &hash); err != nil {
		return a, err
	}
	err = decode(event, &a.AuditEvent)
	if data != "" {
		a.Data = []byte(data)
	}
	a.Seq, a.Prev, a.Hash = seq, prev, hash
	return a, err
}

// ReadAudit implements activities.Audit.
func (r records) ReadAudit(ctx context.Context, q wflo.AuditQuery) ([]wflo.AuditRecord, error) {
	if q.After != 0 && q.Chain == "" {
		return nil, wflo.Invalid("after", "is set without a chain", "name the chain to read on in")
	}
	where, args := []string{"TRUE"}, []any{}
	also := func(condition string, value any) { where, args = append(where, condition), append(args, value) }
	if q.Chain != "" {
		also("chain = ?", q.Chain)
	}
	if q.WorkflowID != "" {
		also("workflow_id = ?", q.WorkflowID)
	}
	if q.Type != "" {
		also("type = ?", q.Type)
	}
	if !q.From.IsZero() {
		also("at >= ?", micros(q.From))
	}
	if !q.To.IsZero() {
		also("at < ?", micros(q.To))
	}
	order, after := "at, chain, seq", "seq > ?"
	if q.Chain != "" {
		order = "seq"
	}
	if q.Latest {
		order, after = strings.ReplaceAll(order, ",", " DESC,")+" DESC", "seq < ?"
	}
	if q.After != 0 {
		also(after, q.After)
	}
	query := "SELECT " + auditColumns + " FROM audit WHERE " + strings.Join(where, " AND ") + " ORDER BY " + order + " LIMIT ?" //nolint:gosec // of our own words only
	rows, err := r.read.QueryContext(ctx, query, append(args, limited(q.Limit, 1000))...)                                       //nolint:sqlclosecheck // collect closes it
	found, err := collect(rows, err, scanRecord)
	return found, doing("read the audit trail", err)
}

// AuditHeads implements activities.Audit.
func (r records) AuditHeads(ctx context.Context) ([]wflo.AuditRecord, error) {
	rows, err := r.read.QueryContext(ctx, queryHeads) //nolint:sqlclosecheck // collect closes it
	heads, err := collect(rows, err, scanRecord)
	return heads, doing("read the heads of the audit trail", err)
}
