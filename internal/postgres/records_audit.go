package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/audit"
)

// defaultRecords is how many records are read when AuditQuery.Limit is zero.
const defaultRecords = 1000

// Append implements activities.Audit. A chain that could not be recorded is refused
// here, before it gets a head.
func (r *records) Append(ctx context.Context, events ...wflo.AuditEvent) error {
	if len(events) == 0 {
		return nil
	}
	for _, e := range events {
		if e.Chain == "" || strings.ContainsRune(e.Chain, utf8.RuneError) {
			_, err := audit.Seal(wflo.AuditRecord{}, e)
			return err
		}
	}
	err := r.appends.do(ctx, events)
	if err != nil && wflo.CodeOf(err) == "" {
		return fmt.Errorf("append to the audit trail: %w", err)
	}
	return err
}

// chainKey names an event in the trail.
type chainKey struct{ chain, id string }

// appendAll makes calls in one transaction, each of them all or none, and gives
// what is wrong with which. It is two round trips: one locks the ends of the chains
// and looks which events are there, the other writes and commits, so that a chain
// is not locked for longer than it must be.
func (r *records) appendAll(ctx context.Context, calls []*appendCall) ([]error, error) {
	conn, err := r.l.pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	// A transaction that an error left open ends with its connection, which the pool
	// does not take back then.
	defer conn.Release()
	trail, err := r.lockChains(ctx, conn.Conn(), calls)
	if err != nil {
		return nil, err
	}
	refusals := make([]error, len(calls))
	for i, c := range calls {
		refusals[i] = trail.add(c.events)
	}
	end := &pgx.Batch{}
	if len(trail.added.seq) == 0 {
		end.Queue("ROLLBACK")
		return refusals, conn.SendBatch(ctx, end).Close()
	}
	end.Queue(r.sql.addRecords, trail.added.args()...)
	end.Queue(r.sql.moveHeads, trail.moved()...)
	end.Queue("COMMIT")
	return refusals, conn.SendBatch(ctx, end).Close()
}

// trail is what a transaction knows of the trail: the ends of its chains, and which
// of its events are there.
type trail struct {
	heads map[string]wflo.AuditRecord
	known map[chainKey]bool
	added auditTable
}

// add seals the events of one call, all or none.
func (t *trail) add(events []wflo.AuditEvent) error {
	heads, known := map[string]wflo.AuditRecord{}, map[chainKey]bool{}
	var sealed []wflo.AuditRecord
	for _, e := range events {
		key := chainKey{e.Chain, e.ID}
		if t.known[key] || known[key] {
			continue
		}
		prev, ok := heads[e.Chain]
		if !ok {
			prev = t.heads[e.Chain]
		}
		next, err := audit.Seal(prev, e)
		if err != nil {
			return err
		}
		heads[e.Chain], known[key] = next, true
		sealed = append(sealed, next)
	}
	maps.Copy(t.heads, heads)
	maps.Copy(t.known, known)
	for _, a := range sealed {
		t.added.add(a)
	}
	return nil
}

// moved are the new ends of the chains, by column.
func (t *trail) moved() []any {
	var chains, hashes []string
	var seqs []int64
	for _, h := range t.heads {
		if h.ID != "" { // it was sealed here
			chains, seqs, hashes = append(chains, word(h.Chain)), append(seqs, h.Seq), append(hashes, h.Hash)
		}
	}
	return []any{chains, seqs, hashes}
}

// lockChains begins a transaction and gives the ends of the calls' chains, and which
// of their events are in them already. The ends are locked in the order of their
// names. What follows must see what was committed while the locks were waited
// for, so the isolation is not left to the database's settings.
func (r *records) lockChains(ctx context.Context, conn *pgx.Conn, calls []*appendCall) (*trail, error) {
	var chains, of, ids []string
	for _, c := range calls {
		for _, e := range c.events {
			of, ids = append(of, word(e.Chain)), append(ids, word(e.ID))
		}
	}
	chains = slices.Clone(of)
	slices.Sort(chains)
	chains = slices.Compact(chains)

	t := &trail{heads: map[string]wflo.AuditRecord{}, known: map[chainKey]bool{}}
	begin := &pgx.Batch{}
	begin.Queue("BEGIN ISOLATION LEVEL READ COMMITTED")
	begin.Queue(r.sql.makeHeads, chains)
	begin.Queue(r.sql.lockHeads, chains).Query(func(rows pgx.Rows) error {
		var chain, hash string
		var seq int64
		_, err := pgx.ForEachRow(rows, []any{&chain, &seq, &hash}, func() error {
			t.heads[unword(chain)] = wflo.AuditRecord{Seq: seq, Hash: hash}
			return nil
		})
		return err
	})
	begin.Queue(r.sql.known, of, ids).Query(func(rows pgx.Rows) error {
		var chain, id string
		_, err := pgx.ForEachRow(rows, []any{&chain, &id}, func() error {
			t.known[chainKey{unword(chain), unword(id)}] = true
			return nil
		})
		return err
	})
	err := conn.SendBatch(ctx, begin).Close()
	if err == nil && len(t.heads) != len(chains) {
		err = fmt.Errorf("%d of %d audit chains have a head", len(t.heads), len(chains))
	}
	return t, err
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

// AuditHeads implements activities.Audit. It looks at the records and not at what
// the next one will follow, so that a chain whose end was cut off is seen to be
// shorter at once.
func (r *records) AuditHeads(ctx context.Context) ([]wflo.AuditRecord, error) {
	heads, err := read(ctx, r.l, scanRecord, r.sql.heads)
	if err != nil {
		return nil, fmt.Errorf("read the heads of the audit trail: %w", err)
	}
	return heads, nil
}

func scanRecord(row pgx.CollectableRow) (wflo.AuditRecord, error) {
	var a wflo.AuditRecord
	var data *string
	var kind, severity string
	texts := []*string{&a.ID, &a.Chain, &kind, &severity, &a.Actor, &a.Namespace, &a.WorkflowID, &a.FirstRunID, &a.Step, &a.Gate}
	if err := row.Scan(texts[0], texts[1], &a.At, texts[2], texts[3], texts[4], texts[5], texts[6], texts[7], texts[8], texts[9],
		&data, &a.Seq, &a.Prev, &a.Hash); err != nil {
		return a, err
	}
	for _, s := range texts {
		*s = unword(*s)
	}
	a.Type, a.Severity, a.At = wflo.AuditType(kind), wflo.Severity(severity), a.At.UTC()
	if data != nil {
		a.Data = json.RawMessage(*data)
	}
	return a, nil
}
