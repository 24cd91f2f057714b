package sqlite

import (
	"context"
	"fmt"
	"time"

	"github.com/wflo-ai/wflo-go"
)

const (
	insertNotice = `INSERT INTO notices (id, channel, thread, seq, state, due_at, notice) VALUES (?, ?, ?, ?, 'pending', ?, ?)
		ON CONFLICT (id) DO NOTHING`
	noticeColumns = `n.id, n.notice, n.state, n.attempts, n.due_at, n.error, n.delivered_at,
		coalesce((SELECT receipt FROM receipts r WHERE r.thread = n.thread AND r.channel = n.channel), '')`
	// queryDue leaves out what has something before it in its thread and channel
	// that is not delivered.
	queryDue = "SELECT " + noticeColumns + ` FROM notices n WHERE n.state = 'pending' AND n.due_at <= ?
		AND NOT EXISTS (SELECT 1 FROM notices o WHERE o.state = 'pending' AND o.thread = n.thread AND o.channel = n.channel
			AND (o.seq, o.n) < (n.seq, n.n))
		ORDER BY n.due_at, n.n LIMIT ?`
)

// Enqueue implements activities.Outbox.
func (r records) Enqueue(ctx context.Context, notices ...wflo.Notice) error {
	if len(notices) == 0 {
		return nil
	}
	texts := make([]string, len(notices))
	for i, n := range notices {
		var err error
		if texts[i], err = written("notice "+n.ID, n); err != nil {
			return err
		}
	}
	return doing("enqueue notices", r.do(ctx, func(t *tx) error {
		for i, n := range notices {
			if err := t.exec(insertNotice, n.ID, n.Channel, n.Thread, n.Seq, micros(t.now), texts[i]); err != nil {
				return err
			}
		}
		return nil
	}))
}

// ClaimNotices implements activities.Outbox.
func (r records) ClaimNotices(ctx context.Context, n int, lease time.Duration) ([]wflo.NoticeRecord, error) {
	var claimed []wflo.NoticeRecord
	err := r.do(ctx, func(t *tx) (err error) {
		rows, err := t.query(queryDue, micros(t.now), max(n, 0)) //nolint:sqlclosecheck // collect closes it
		if claimed, err = collect(rows, err, scanNotice); err != nil {
			return err
		}
		for i := range claimed {
			c := &claimed[i]
			c.Attempts++
			c.Due = t.now.Add(lease).UTC()
			if err := t.exec("UPDATE notices SET attempts = ?, due_at = ? WHERE id = ?", c.Attempts, micros(c.Due), c.ID); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, doing("claim notices", err)
	}
	return claimed, nil
}

func scanNotice(row interface{ Scan(...any) error }) (n wflo.NoticeRecord, err error) {
	var id, notice string
	var due, delivered int64
	if err := row.Scan(&id, &notice, &n.State, &n.Attempts, &due, &n.Error, &delivered, &n.Receipt); err != nil {
		return n, err
	}
	n.Due, n.DeliveredAt = fromMicros(due), since(delivered)
	return n, decode(notice, &n.Notice)
}

// NoticeDelivered implements activities.Outbox.
func (r records) NoticeDelivered(ctx context.Context, id, receipt string) error {
	return doing("close notice "+id, r.do(ctx, func(t *tx) error {
		err := t.exec("UPDATE notices SET state = 'delivered', delivered_at = ?, error = '' WHERE id = ? AND state <> 'delivered'", micros(t.now), id)
		if err != nil || receipt == "" {
			return err
		}
		return t.exec(`INSERT INTO receipts (thread, channel, receipt) SELECT thread, channel, ? FROM notices WHERE id = ?
			ON CONFLICT (thread, channel) DO UPDATE SET receipt = excluded.receipt`, receipt, id)
	}))
}

// NoticeFailed implements activities.Outbox.
func (r records) NoticeFailed(ctx context.Context, id, reason string, due time.Time) error {
	state := wflo.NoticePending
	if due.IsZero() {
		state = wflo.NoticeDead
	}
	return r.change(ctx, "note the failure of notice "+id,
		"UPDATE notices SET state = ?, error = ?, due_at = ? WHERE id = ? AND state = 'pending'", state, reason, micros(due), id)
}

// RetryNotice implements activities.Outbox.
func (r records) RetryNotice(ctx context.Context, id string) error {
	return doing("retry notice "+id, r.do(ctx, func(t *tx) error {
		done, err := t.ExecContext(t.ctx, "UPDATE notices SET state = 'pending', due_at = ? WHERE id = ? AND state = 'dead_letter'", micros(t.now), id)
		if err != nil {
			return err
		}
		n, err := done.RowsAffected()
		if err == nil && n == 0 {
			return wflo.Invalid("notice", fmt.Sprintf("%.100q is no dead letter", id), "list them with wflo notify")
		}
		return err
	}))
}

// ListNotices implements activities.Outbox.
func (r records) ListNotices(ctx context.Context, state wflo.NoticeState, n int) ([]wflo.NoticeRecord, error) {
	where, args := "", []any{}
	if state != "" {
		where, args = "WHERE n.state = ? ", []any{state}
	}
	query := "SELECT " + noticeColumns + " FROM notices n " + where + "ORDER BY n.n DESC LIMIT ?" //nolint:gosec // of our own words only
	rows, err := r.read.QueryContext(ctx, query, append(args, max(n, 0))...)                      //nolint:sqlclosecheck // collect closes it
	found, err := collect(rows, err, scanNotice)
	return found, doing("list notices", err)
}
