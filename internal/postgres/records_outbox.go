package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/wflo-ai/wflo-go"
)

// Enqueue implements activities.Outbox.
func (r *records) Enqueue(ctx context.Context, notices ...wflo.Notice) error {
	if len(notices) == 0 {
		return nil
	}
	ids, channels, threads := []string{}, []string{}, []string{}
	seqs, docs := []int64{}, [][]byte{}
	for _, n := range notices {
		doc, err := json.Marshal(n)
		if err != nil {
			return wflo.Invalid("notice "+n.ID, "cannot be kept: "+err.Error(), "give a gate whose payload is JSON")
		}
		ids, channels, threads = append(ids, word(n.ID)), append(channels, word(n.Channel)), append(threads, word(n.Thread))
		seqs, docs = append(seqs, int64(n.Seq)), append(docs, doc)
	}
	_, err := r.exec(ctx, "add notices", r.sql.enqueue, ids, channels, threads, seqs, docs)
	return err
}

// ClaimNotices implements activities.Outbox. It is sent once: a claim whose answer
// was lost counts as an attempt, and another try would take others.
func (r *records) ClaimNotices(ctx context.Context, n int, lease time.Duration) ([]wflo.NoticeRecord, error) {
	rows, err := r.l.pool.Query(ctx, r.sql.claim, max(0, n), lease)
	if err != nil {
		return nil, fmt.Errorf("claim notices: %w", err)
	}
	claimed, err := pgx.CollectRows(rows, scanNotice)
	if err != nil {
		return nil, fmt.Errorf("claim notices: %w", err)
	}
	return claimed, nil
}

// NoticeDelivered implements activities.Outbox.
func (r *records) NoticeDelivered(ctx context.Context, id, receipt string) error {
	_, err := r.exec(ctx, "mark notice "+id+" as delivered", r.sql.delivered, word(id), word(receipt))
	return err
}

// NoticeFailed implements activities.Outbox.
func (r *records) NoticeFailed(ctx context.Context, id, reason string, due time.Time) error {
	// When an attempt is due is told by the worker's clock, and looked at by the database's:
	// what both agree on is how long that is.
	var again *time.Duration
	if !due.IsZero() {
		wait := time.Until(due)
		again = &wait
	}
	_, err := r.exec(ctx, "mark notice "+id+" as failed", r.sql.failed, word(id), word(reason), again)
	return err
}

// RetryNotice implements activities.Outbox.
func (r *records) RetryNotice(ctx context.Context, id string) error {
	changed, err := r.exec(ctx, "retry notice "+id, r.sql.retry, word(id))
	if err == nil && changed == 0 {
		return wflo.Invalid("notice", fmt.Sprintf("%q is no dead letter", id), "list them with wflo notify")
	}
	return err
}

// ListNotices implements activities.Outbox.
func (r *records) ListNotices(ctx context.Context, state wflo.NoticeState, n int) ([]wflo.NoticeRecord, error) {
	query, args := r.sql.list, []any{max(0, n)}
	if state != "" {
		query, args = r.sql.listIn, append(args, word(string(state)))
	}
	all, err := read(ctx, r.l, scanNotice, query, args...)
	if err != nil {
		return nil, fmt.Errorf("list notices: %w", err)
	}
	return all, nil
}

func scanNotice(row pgx.CollectableRow) (wflo.NoticeRecord, error) {
	var n wflo.NoticeRecord
	var doc []byte
	var state string
	var delivered *time.Time
	if err := row.Scan(&doc, &state, &n.Attempts, &n.Due, &n.Error, &n.Receipt, &delivered); err != nil {
		return n, err
	}
	n.State, n.Due, n.DeliveredAt = wflo.NoticeState(state), n.Due.UTC(), utc(delivered)
	n.Error, n.Receipt = unword(n.Error), unword(n.Receipt)
	return n, json.Unmarshal(doc, &n.Notice)
}
