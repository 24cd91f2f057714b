package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/notify/render"
)

const (
	// maxAttempts and maxAge are when trying ends.
	maxAttempts = 10
	maxAge      = 24 * time.Hour
	// firstDelay doubles after each attempt, up to maxDelay.
	firstDelay = 5 * time.Second
	maxDelay   = 10 * time.Minute
	// maxReason bounds why an attempt failed, in bytes.
	maxReason = 500
	// fallbackMark ends the ID of what a fallback channel gets.
	fallbackMark = "/fallback"
)

// nextAttempt says when a notice that failed is tried again, or that it is dead.
// spread is from 0 to 1, and takes up to a fifth off the delay, so that what failed
// together does not come back together. What the receiver asks for is a minimum.
func nextAttempt(n wflo.NoticeRecord, err error, now time.Time, spread float64) (due time.Time, dead bool) {
	attempts := max(n.Attempts, 0) + 1
	if errors.Is(err, ErrRefused) || attempts >= maxAttempts {
		return time.Time{}, true
	}
	delay := maxDelay
	if shift := attempts - 1; shift < 20 {
		delay = min(firstDelay<<shift, maxDelay)
	}
	delay -= time.Duration(spread * float64(delay/5))
	var later *Later
	if errors.As(err, &later) {
		delay = max(delay, later.After)
	}
	due = now.Add(delay)
	if !n.At.IsZero() && due.Sub(n.At) > maxAge {
		return time.Time{}, true
	}
	return due, false
}

// reason is an error for the store: one escaped line of bounded length.
func reason(err error) string { return render.Short(render.Line(err.Error()), maxReason) }

// bury makes a notice a dead letter. What must happen is written down first, so
// that a crash in between repeats it and loses nothing.
func (d *Deliverer) bury(ctx context.Context, n wflo.NoticeRecord, why string) {
	log := d.config.Logger.With("notice", n.ID, "channel", n.Channel)
	if copied, ok := d.fallback(n); ok {
		if err := d.config.Outbox.Enqueue(ctx, copied); err != nil {
			log.Error("enqueue for the fallback channel", "error", err)
			return
		}
	}
	event, err := deadEvent(n, why, d.config.Now())
	if err == nil {
		err = d.config.Audit.Append(ctx, event)
	}
	if err != nil {
		log.Error("audit dead notice", "error", err)
		return
	}
	if err := d.config.Outbox.NoticeFailed(ctx, n.ID, why, time.Time{}); err != nil {
		log.Error("record dead notice", "error", err)
		return
	}
	d.config.Observer.NoticeDead(n.Channel, n.Kind)
	log.Warn("notice is a dead letter", "kind", n.Kind, "reason", why)
}

// fallback is the notice for the channel that stands in. It stands in once: a
// chain of channels that all fail would only hide that.
func (d *Deliverer) fallback(n wflo.NoticeRecord) (wflo.Notice, bool) {
	to := d.config.Fallback[n.Channel]
	if to == "" || strings.HasSuffix(n.ID, fallbackMark) {
		return wflo.Notice{}, false
	}
	c := n.Notice
	c.ID += fallbackMark
	c.Channel = to
	c.At = d.config.Now()
	note := fmt.Sprintf("Sent here because %s could not be reached.", n.Channel)
	c.Text = strings.TrimSpace(c.Text + "\n" + note)
	return c, true
}

// deadEvent is the record of a dead letter. It names attempts in its ID because a
// dead letter that is tried again may die again.
func deadEvent(n wflo.NoticeRecord, why string, now time.Time) (wflo.AuditEvent, error) {
	data, err := json.Marshal(map[string]any{
		"notice": n.ID, "channel": n.Channel, "kind": n.Kind, "thread": n.Thread, "attempts": n.Attempts + 1, "error": why,
	})
	if err != nil {
		return wflo.AuditEvent{}, fmt.Errorf("encode dead notice: %w", err)
	}
	e := wflo.AuditEvent{
		ID: fmt.Sprintf("notice.dead/%s/%d", n.ID, n.Attempts+1), Chain: n.Chain, At: now, Type: wflo.AuditNoticeDead,
		Severity: wflo.SeverityError, Actor: "worker", Data: data,
	}
	if e.Chain == "" {
		e.Chain = "main"
	}
	if g := n.Gate; g != nil {
		e.Namespace, e.WorkflowID, e.FirstRunID, e.Step, e.Gate = g.Namespace, g.WorkflowID, g.FirstRunID, g.Step, g.ID
	}
	return e, nil
}
