package faulty

import (
	"context"
	"strings"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/faultpoint"
)

// Records puts points around gates, grants, the trail and the outbox.
func Records(r activities.Records) activities.Records {
	if !faultpoint.Armed() {
		return r
	}
	return &records{r}
}

type records struct{ activities.Records }

func (r *records) SaveGate(ctx context.Context, g wflo.Gate) error {
	return alone("gates.Save", func() error { return r.Records.SaveGate(ctx, g) })
}

func (r *records) Gate(ctx context.Context, nonce string) (wflo.Gate, error) {
	return around("gates.Get", func() (wflo.Gate, error) { return r.Records.Gate(ctx, nonce) })
}

func (r *records) ListGates(ctx context.Context, q activities.GateQuery) ([]wflo.Gate, error) {
	return around("gates.List", func() ([]wflo.Gate, error) { return r.Records.ListGates(ctx, q) })
}

func (r *records) UseGrant(ctx context.Context, nonce string, effect wflo.EffectKey) error {
	return alone("gates.UseGrant", func() error { return r.Records.UseGrant(ctx, nonce, effect) })
}

func (r *records) RevokeGrant(ctx context.Context, nonce, by string) (bool, error) {
	return around("gates.RevokeGrant", func() (bool, error) { return r.Records.RevokeGrant(ctx, nonce, by) })
}

func (r *records) Append(ctx context.Context, events ...wflo.AuditEvent) error {
	return alone("audit.Append", func() error { return r.Records.Append(ctx, events...) })
}

func (r *records) Enqueue(ctx context.Context, notices ...wflo.Notice) error {
	return alone("outbox.Enqueue", func() error { return r.Records.Enqueue(ctx, notices...) })
}

func (r *records) ClaimNotices(ctx context.Context, n int, lease time.Duration) ([]wflo.NoticeRecord, error) {
	return around("outbox.Claim", func() ([]wflo.NoticeRecord, error) { return r.Records.ClaimNotices(ctx, n, lease) })
}

func (r *records) NoticeDelivered(ctx context.Context, id, receipt string) error {
	return alone("outbox.Delivered", func() error { return r.Records.NoticeDelivered(ctx, id, receipt) })
}

func (r *records) NoticeFailed(ctx context.Context, id, reason string, due time.Time) error {
	return alone("outbox.Failed", func() error { return r.Records.NoticeFailed(ctx, id, reason, due) })
}

// Deliverer is what sends a notice: a notify.Channel.
type Deliverer interface {
	Deliver(ctx context.Context, n wflo.NoticeRecord) (receipt string, err error)
}

// Channel puts points around sending a notice.
func Channel[C Deliverer](c C) Deliverer {
	if !faultpoint.Armed() {
		return c
	}
	return &channel{c}
}

type channel struct{ Deliverer }

func (c *channel) Deliver(ctx context.Context, n wflo.NoticeRecord) (string, error) {
	return around("notify.Deliver", func() (string, error) { return c.Deliverer.Deliver(ctx, n) })
}

// Round puts points around one round of what a worker does in the background, named by
// what it does, with dashes.
func Round(what string, round func(context.Context) error) func(context.Context) error {
	if !faultpoint.Armed() {
		return round
	}
	name := strings.ReplaceAll(what, " ", "-")
	return func(ctx context.Context) error {
		return alone("round."+name, func() error { return round(ctx) })
	}
}
