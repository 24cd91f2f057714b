package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/audit"
)

// defaultRecords is how many records are read when AuditQuery.Limit is zero.
const defaultRecords = 1000

// Append implements activities.Audit. What is wrong with an event is found before
// it joins others, so that it fails nobody else's.
func (r *records) Append(ctx context.Context, events ...wflo.AuditEvent) error {
	if len(events) == 0 {
		return nil
	}
	checked := make([]wflo.AuditEvent, len(events))
	for i, e := range events {
		sealed, err := audit.Seal(wflo.AuditRecord{}, e)
		switch {
		case wflo.CodeOf(err) != "":
			return err
		case err != nil:
			return wflo.Invalid("audit event "+e.ID, "cannot be recorded: "+err.Error(), "give text in UTF-8 and a time of this age")
		}
		checked[i] = sealed.AuditEvent
	}
	if err := r.appends.do(ctx, checked); err != nil {
		return fmt.Errorf("append to the audit trail: %w", err)
	}
	return nil
}

// chainKey names an event in the trail.
type chainKey struct{ chain, id string }

// appendAll adds events in one transaction, all or none. It is two round trips: one
// locks the ends of the chains and looks which events are there, the other writes
// and commits, so that a chain is not locked for longer than it must be.
func (r *records) appendAll(ctx context.Context, events []wflo.AuditEvent) error {
	conn, err := r.l.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	// A transaction that an error left open ends with its connection, which the pool
	// does not take back then.
	defer conn.Release()
	heads, known, err := r.lockChains(ctx, conn.Conn(), events)
	if err != nil {
		return err
	}
	added := newAuditTable(len(events))
	moved := map[string]bool{}
	for _, e := range events {
		key := chainKey{e.Chain, e.ID}
		if known[key] {
			continue
		}
		known[key], moved[e.Chain] = true, true
		sealed, err := audit.Seal(heads[e.Chain], e)
		if err != nil {
			return err
		}
		heads[e.Chain] = sealed
		added.add(sealed)
	}
	var last headColumns
	for chain := range moved {
		last.add(heads[chain])
	}
	write := &pgx.Batch{}
	if len(moved) > 0 {
		write.Queue(r.sql.addRecords, added.args()...)
		write.Queue(r.sql.moveHeads, last.chain, last.seq, last.hash)
	}
	write.Queue("COMMIT")
	return conn.SendBatch(ctx, write).Close()
}

// lockChains begins a transaction and gives the ends of the events' chains, and
// which events are in them already. The ends are locked in the order of their
// names. What follows must see what was committed while the locks were waited
// for, so the isolation is not left to the database's settings.
func (r *records) lockChains(ctx context.Context, conn *pgx.Conn, events []wflo.AuditEvent) (map[string]wflo.AuditRecord, map[chainKey]bool, error) {
	var chains, of, ids []string
	for _, e := range events {
		of, ids = append(of, word(e.Chain)), append(ids, word(e.ID))
	}
	chains = slices.Clone(of)
	slices.Sort(chains)
	chains = slices.Compact(chains)

	heads, known := map[string]wflo.AuditRecord{}, map[chainKey]bool{}
	begin := &pgx.Batch{}
	begin.Queue("BEGIN ISOLATION LEVEL READ COMMITTED")
	begin.Queue(r.sql.makeHeads, chains)
	begin.Queue(r.sql.lockHeads, chains).Query(func(rows pgx.Rows) error {
		var chain, hash string
		var seq int64
		_, err := pgx.ForEachRow(rows, []any{&chain, &seq, &hash}, func() error {
			heads[unword(chain)] = wflo.AuditRecord{Seq: seq, Hash: hash}
			return nil
		})
		return err
	})
	begin.Queue(r.sql.known, of, ids).Query(func(rows pgx.Rows) error {
		var chain, id string
		_, err := pgx.ForEachRow(rows, []any{&chain, &id}, func() error {
			known[chainKey{unword(chain), unword(id)}] = true
			return nil
		})
		return err
	})
	err := conn.SendBatch(ctx, begin).Close()
	if err == nil && len(heads) != len(chains) {
		err = fmt.Errorf("%d of %d audit chains have a head", len(heads), len(chains))
	}
	return heads, known, err
}

type headColumns struct {
	chain []string
	seq   []int64
	hash  []string
}

func (t *headColumns) add(r wflo.AuditRecord) {
	t.chain, t.seq, t.hash = append(t.chain, word(r.Chain)), append(t.seq, r.Seq), append(t.hash, r.Hash)
}

// auditTable is records by column, in the order of auditColumns.
type auditTable struct {
	text [10][]string // before data, but for the time
	at   []time.Time
	data []*string
	seq  []int64
	prev []string
	hash []string
}

func newAuditTable(n int) *auditTable {
	return &auditTable{at: make([]time.Time, 0, n), data: make([]*string, 0, n), seq: make([]int64, 0, n)}
}

func (t *auditTable) add(r wflo.AuditRecord) {
	for i, s := range []string{r.ID, r.Chain, string(r.Type), string(r.Severity), r.Actor, r.Namespace, r.WorkflowID, r.FirstRunID, r.Step, r.Gate} {
		t.text[i] = append(t.text[i], word(s))
	}
	t.at, t.seq = append(t.at, r.At), append(t.seq, r.Seq)
	t.prev, t.hash = append(t.prev, r.Prev), append(t.hash, r.Hash)
	var data *string
	if len(r.Data) > 0 {
		s := string(r.Data)
		data = &s
	}
	t.data = append(t.data, data)
}

func (t *auditTable) args() []any {
	return []any{t.text[0], t.text[1], t.at, t.text[2], t.text[3], t.text[4], t.text[5], t.text[6], t.text[7], t.text[8], t.text[9],
		t.data, t.seq, t.prev, t.hash}
}

// ReadAudit implements activities.Audit.
func (r *records) ReadAudit(ctx context.Context, q wflo.AuditQuery) ([]wflo.AuditRecord, error) {
	if q.After != 0 && q.Chain == "" {
		return nil, wflo.Invalid("after", "is set without a chain", "name the chain; each one counts for itself")
	}
	query, args := readAudit(r.sql.schema, q)
	all, err := read(ctx, r.l, scanRecord, query, args...)
	if err != nil {
		return nil, fmt.Errorf("read the audit trail: %w", err)
	}
	return all, nil
}

func readAudit(schema string, q wflo.AuditQuery) (string, []any) {
	c := &conditions{}
	c.all = append(c.all, "true")
	order, beyond, down := []string{"at", "n"}, ">", ""
	if q.Latest {
		beyond, down = "<", " DESC"
	}
	if q.Chain != "" {
		order = []string{"seq"}
		c.add("chain = %s", word(q.Chain))
	}
	if q.After != 0 {
		c.add("seq "+beyond+" %s", q.After)
	}
	if q.WorkflowID != "" {
		c.add("workflow_id <> '' AND workflow_id = %s", word(q.WorkflowID))
	}
	if q.Type != "" {
		c.add("type = %s", word(string(q.Type)))
	}
	if !q.From.IsZero() {
		c.add("at >= %s", q.From)
	}
	if !q.To.IsZero() {
		c.add("at < %s", q.To)
	}
	limit := q.Limit
	if limit <= 0 {
		limit = defaultRecords
	}
	by := order[0] + down
	if len(order) > 1 {
		by += ", " + order[1] + down
	}
	return fmt.Sprintf("SELECT %s FROM %saudit WHERE %s ORDER BY %s LIMIT %s", auditColumns, schema, c, by, c.arg(limit)), c.args
}

// AuditHeads implements activities.Audit. A head whose record is gone has its seq
// and hash only.
func (r *records) AuditHeads(ctx context.Context) ([]wflo.AuditRecord, error) {
	heads, err := read(ctx, r.l, scanRecord, r.sql.heads)
	if err != nil {
		return nil, fmt.Errorf("read the heads of the audit trail: %w", err)
	}
	return heads, nil
}

func scanRecord(row pgx.CollectableRow) (wflo.AuditRecord, error) {
	var a wflo.AuditRecord
	var at *time.Time
	var data *string
	var kind, severity string
	texts := []*string{&a.ID, &a.Chain, &kind, &severity, &a.Actor, &a.Namespace, &a.WorkflowID, &a.FirstRunID, &a.Step, &a.Gate}
	if err := row.Scan(texts[0], texts[1], &at, texts[2], texts[3], texts[4], texts[5], texts[6], texts[7], texts[8], texts[9],
		&data, &a.Seq, &a.Prev, &a.Hash); err != nil {
		return a, err
	}
	for _, s := range texts {
		*s = unword(*s)
	}
	a.Type, a.Severity, a.At = wflo.AuditType(kind), wflo.Severity(severity), utc(at)
	if data != nil {
		a.Data = json.RawMessage(*data)
	}
	return a, nil
}
