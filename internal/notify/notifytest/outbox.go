package notifytest

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/wflo-ai/wflo-go"
)

// Outbox is a store in memory with a clock that tests set.
type Outbox struct {
	mu       sync.Mutex
	now      time.Time
	records  []*wflo.NoticeRecord
	receipts map[[2]string]string
	// Events are what was audited.
	events []wflo.AuditEvent
	// broken, if not nil, is what NoticeDelivered and NoticeFailed answer.
	broken error
}

// NewOutbox makes a store whose clock stands at a moment.
func NewOutbox(now time.Time) *Outbox {
	return &Outbox{now: now, receipts: map[[2]string]string{}}
}

// Now is the store's clock.
func (o *Outbox) Now() time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.now
}

// Pass lets time pass.
func (o *Outbox) Pass(d time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.now = o.now.Add(d)
}

// Break makes outcomes impossible to write down; nil mends it.
func (o *Outbox) Break(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.broken = err
}

// Events are what was audited.
func (o *Outbox) Events() []wflo.AuditEvent {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.events)
}

// Record is the notice with the ID.
func (o *Outbox) Record(id string) wflo.NoticeRecord {
	o.mu.Lock()
	defer o.mu.Unlock()
	if r := o.find(id); r != nil {
		return *r
	}
	return wflo.NoticeRecord{}
}

func (o *Outbox) find(id string) *wflo.NoticeRecord {
	for _, r := range o.records {
		if r.ID == id {
			return r
		}
	}
	return nil
}

// Enqueue adds notices.
func (o *Outbox) Enqueue(_ context.Context, notices ...wflo.Notice) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, n := range notices {
		if o.find(n.ID) == nil {
			o.records = append(o.records, &wflo.NoticeRecord{Notice: n, State: wflo.NoticePending, Due: o.now})
		}
	}
	return nil
}

// ClaimNotices takes due notices.
func (o *Outbox) ClaimNotices(_ context.Context, n int, lease time.Duration) ([]wflo.NoticeRecord, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var claimed []wflo.NoticeRecord
	ahead := map[[2]string]bool{}
	for _, r := range o.records {
		key := [2]string{r.Thread, r.Channel}
		if r.State != wflo.NoticePending || ahead[key] || len(claimed) == n {
			continue
		}
		ahead[key] = true
		if r.Due.After(o.now) {
			continue
		}
		r.Due = o.now.Add(lease)
		given := *r
		given.Receipt = o.receipts[key]
		claimed = append(claimed, given)
	}
	return claimed, nil
}

// NoticeDelivered ends a notice.
func (o *Outbox) NoticeDelivered(_ context.Context, id, receipt string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.broken != nil {
		return o.broken
	}
	r := o.find(id)
	r.State, r.DeliveredAt = wflo.NoticeDelivered, o.now
	if receipt != "" {
		o.receipts[[2]string{r.Thread, r.Channel}] = receipt
	}
	return nil
}

// NoticeFailed says when a notice is due again, or that it is dead.
func (o *Outbox) NoticeFailed(_ context.Context, id, reason string, due time.Time) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.broken != nil {
		return o.broken
	}
	r := o.find(id)
	r.Attempts++
	r.Error, r.Due = reason, due
	if due.IsZero() {
		r.State = wflo.NoticeDead
	}
	return nil
}

// RetryNotice makes a dead letter due now.
func (o *Outbox) RetryNotice(_ context.Context, id string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	r := o.find(id)
	if r == nil || r.State != wflo.NoticeDead {
		return wflo.Invalid("notice", "is no dead letter", "list them with wflo notify")
	}
	r.State, r.Attempts, r.Due = wflo.NoticePending, 0, o.now
	return nil
}

// ListNotices reads notices.
func (o *Outbox) ListNotices(_ context.Context, state wflo.NoticeState, n int) ([]wflo.NoticeRecord, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var list []wflo.NoticeRecord
	for _, r := range slices.Backward(o.records) {
		if (state == "" || r.State == state) && len(list) < n {
			list = append(list, *r)
		}
	}
	return list, nil
}

// Append keeps events; one whose ID is there is left out.
func (o *Outbox) Append(_ context.Context, events ...wflo.AuditEvent) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, e := range events {
		if !slices.ContainsFunc(o.events, func(have wflo.AuditEvent) bool { return have.ID == e.ID }) {
			o.events = append(o.events, e)
		}
	}
	return nil
}

// ReadAudit reads nothing: tests look at Events.
func (o *Outbox) ReadAudit(context.Context, wflo.AuditQuery) ([]wflo.AuditRecord, error) {
	return nil, nil
}

// AuditHeads reads nothing.
func (o *Outbox) AuditHeads(context.Context) ([]wflo.AuditRecord, error) { return nil, nil }
