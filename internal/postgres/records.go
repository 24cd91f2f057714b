package postgres

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/wflo-ai/wflo-go/activities"
)

var _ activities.Records = (*records)(nil)

// records is the governance half of a ledger: gates, the audit trail, notices,
// policies, keys and sessions, in the same database and over the same connections.
type records struct {
	l       *Ledger
	sql     recordStatements
	appends appender
}

// Records gives what governance keeps in the same database. It is closed with the
// ledger.
func (l *Ledger) Records() activities.Records { return l.records }

func newRecords(l *Ledger, schema string) *records {
	r := &records{l: l, sql: recordStatementsFor(schema)}
	r.appends.send = r.sendAppends
	return r
}

// recordStatements are the calls with the schema's name in them, as statements.
type recordStatements struct {
	schema string // as a prefix of names

	saveGate, gate, gateAt, useGrant, grant, revokeGrant      string
	makeHeads, lockHeads, known, addRecords, moveHeads, heads string
	enqueue, claim, delivered, failed, retry, list, listIn    string
	putBundle, bundle                                         string
	putKey, key, keys, revokeKey, keyUsed                     string
	putSession, session, dropSession, dropSessions            string
}

const (
	auditColumns  = `id, chain, at, type, severity, actor, namespace, workflow_id, first_run_id, step, gate, data, seq, prev, hash`
	noticeColumns = `doc, state, attempts, due, error, coalesce(receipt, ''), delivered_at`
	keyColumns    = `id, name, hash, subject, groups, roles, org, made_by, made_at, expires, revoked, used_at`
)

func recordStatementsFor(schema string) recordStatements {
	prefix := pgx.Identifier{schema}.Sanitize() + "."
	in := func(query string) string { return strings.ReplaceAll(query, "wflo.", prefix) }
	return recordStatements{
		schema:   prefix,
		saveGate: in(`SELECT wflo.save_gate($1, $2, $3, $4, $5, $6, $7, $8, $9)`),
		gate:     in(`SELECT doc FROM wflo.gates WHERE nonce = $1`),
		gateAt:   in(`SELECT CASE WHEN $2::boolean THEN closed_at ELSE expires_at END FROM wflo.gates WHERE nonce = $1`),
		useGrant: in(`INSERT INTO wflo.grants AS g (nonce, effect, at) VALUES ($1, $2, wflo.clock())
			ON CONFLICT (nonce) DO UPDATE SET effect = excluded.effect WHERE g.effect = excluded.effect`),
		grant: in(`SELECT coalesce(revoked_by, ''), effect IS NOT NULL FROM wflo.grants WHERE nonce = $1`),
		revokeGrant: in(`INSERT INTO wflo.grants AS g (nonce, revoked_by, at) VALUES ($1, $2, wflo.clock())
			ON CONFLICT (nonce) DO UPDATE SET revoked_by = g.revoked_by WHERE g.effect IS NULL`),

		makeHeads: in(`INSERT INTO wflo.audit_heads (chain, seq, hash)
			SELECT chain, 0, '' FROM unnest($1::text[]) AS chain ORDER BY chain COLLATE "C" ON CONFLICT (chain) DO NOTHING`),
		lockHeads: in(`SELECT chain, seq, hash FROM wflo.audit_heads WHERE chain = ANY ($1) ORDER BY chain FOR UPDATE`),
		known:     in(`SELECT chain, id FROM wflo.audit_known($1, $2)`),
		addRecords: in(`INSERT INTO wflo.audit (` + auditColumns + `) SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[],
			$4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[],
			$13::bigint[], $14::text[], $15::text[])`),
		moveHeads: in(`UPDATE wflo.audit_heads h SET seq = t.seq, hash = t.hash
			FROM unnest($1::text[], $2::bigint[], $3::text[]) AS t(chain, seq, hash) WHERE h.chain = t.chain`),
		heads: in(`SELECT a.id, a.chain, a.at, a.type, a.severity, a.actor, a.namespace, a.workflow_id, a.first_run_id, a.step, a.gate, NULL,
			a.seq, a.prev, a.hash FROM wflo.audit_heads h
			CROSS JOIN LATERAL (SELECT * FROM wflo.audit WHERE chain = h.chain ORDER BY seq DESC LIMIT 1) AS a ORDER BY a.chain`),

		enqueue: in(`SELECT wflo.add_notices($1, $2, $3, $4, $5)`),
		claim: in(`SELECT ` + noticeColumns + ` FROM wflo.claim_notices($1, $2::interval)
			LEFT JOIN wflo.notice_receipts USING (thread, channel) ORDER BY n`),
		delivered: in(`SELECT wflo.notice_delivered($1, $2)`),
		failed: in(`UPDATE wflo.notices SET error = $2, due = coalesce(wflo.clock() + $3::interval, due), state = CASE WHEN $3::interval IS NULL THEN 'dead_letter' ELSE state END
			WHERE id = $1 AND state = 'pending'`),
		retry: in(`UPDATE wflo.notices SET state = 'pending', due = wflo.clock() WHERE id = $1 AND state = 'dead_letter'`),
		list: in(`SELECT ` + noticeColumns + ` FROM wflo.notices LEFT JOIN wflo.notice_receipts USING (thread, channel)
			ORDER BY n DESC LIMIT $1`),
		listIn: in(`SELECT ` + noticeColumns + ` FROM wflo.notices LEFT JOIN wflo.notice_receipts USING (thread, channel)
			WHERE state = $2 ORDER BY n DESC LIMIT $1`),

		putBundle: in(`INSERT INTO wflo.bundles (hash, source, made_at) VALUES ($1, $2, wflo.clock()) ON CONFLICT (hash) DO NOTHING`),
		bundle:    in(`SELECT source FROM wflo.bundles WHERE hash = $1`),

		putKey: in(`INSERT INTO wflo.api_keys (` + keyColumns + `) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
			ON CONFLICT (id) DO NOTHING`),
		key:       in(`SELECT ` + keyColumns + ` FROM wflo.api_keys WHERE id = $1`),
		keys:      in(`SELECT ` + keyColumns + ` FROM wflo.api_keys ORDER BY made_at, id`),
		revokeKey: in(`UPDATE wflo.api_keys SET revoked = coalesce(revoked, wflo.clock()), revoked_by = CASE WHEN revoked IS NULL THEN $2 ELSE revoked_by END WHERE id = $1`),
		keyUsed: in(`UPDATE wflo.api_keys SET used_at = date_trunc('minute', wflo.clock(), 'UTC')
			WHERE id = $1 AND (used_at IS NULL OR used_at < date_trunc('minute', wflo.clock(), 'UTC'))`),

		putSession: in(`INSERT INTO wflo.sessions (id, subject, doc, expires) VALUES ($1, $2, $3, $4)
			ON CONFLICT (id) DO UPDATE SET subject = excluded.subject, doc = excluded.doc, expires = excluded.expires`),
		session:      in(`SELECT doc FROM wflo.sessions WHERE id = $1 AND expires > wflo.clock()`),
		dropSession:  in(`DELETE FROM wflo.sessions WHERE id = $1`),
		dropSessions: in(`DELETE FROM wflo.sessions WHERE subject = $1 OR expires <= wflo.clock()`),
	}
}

// exec sends one idempotent statement and says how many rows it changed. what is
// for the error.
func (r *records) exec(ctx context.Context, what, query string, args ...any) (int64, error) {
	var rows int64
	err := r.l.call(ctx, func() error {
		tag, err := r.l.pool.Exec(ctx, query, args...)
		rows = tag.RowsAffected()
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("%s: %w", what, err)
	}
	return rows, nil
}

// word makes text storable without making two the same: PostgreSQL's text has no
// NUL. Text that is not UTF-8 never comes this far, because no JSON holds it.
func word(s string) string {
	if !strings.ContainsAny(s, "\\\x00") {
		return strings.ToValidUTF8(s, "\uFFFD")
	}
	return strings.NewReplacer(`\`, `\\`, "\x00", `\0`).Replace(strings.ToValidUTF8(s, "\uFFFD"))
}

// unword gives what word was given.
func unword(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	return strings.NewReplacer(`\\`, `\`, `\0`, "\x00").Replace(s)
}
