package notify_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/notify"
	"github.com/wflo-ai/wflo-go/internal/notify/notifytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// script is a channel that does what a test says.
type script struct {
	mu   sync.Mutex
	got  []wflo.NoticeRecord
	then func(ctx context.Context, n wflo.NoticeRecord) (string, error)
}

func (s *script) Deliver(ctx context.Context, n wflo.NoticeRecord) (string, error) {
	s.mu.Lock()
	s.got = append(s.got, n)
	then := s.then
	s.mu.Unlock()
	if then == nil {
		return "", nil
	}
	return then(ctx, n)
}

func (s *script) ids() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []string
	for _, n := range s.got {
		ids = append(ids, n.ID)
	}
	return ids
}

// counts is an Observer.
type counts struct {
	mu                      sync.Mutex
	delivered, failed, dead int
}

func (c *counts) NoticeDelivered(string, wflo.NoticeKind, time.Duration) { c.add(&c.delivered) }
func (c *counts) NoticeFailed(string, wflo.NoticeKind)                   { c.add(&c.failed) }
func (c *counts) NoticeDead(string, wflo.NoticeKind)                     { c.add(&c.dead) }

func (c *counts) add(n *int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	*n++
}

func deliverer(t *testing.T, o *notifytest.Outbox, c notify.Config) (*notify.Deliverer, *counts) {
	t.Helper()
	seen := &counts{}
	c.Outbox, c.Audit, c.Observer, c.Now = o, o, seen, o.Now
	d, err := notify.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return d, seen
}

func enqueue(t *testing.T, o *notifytest.Outbox, notices ...wflo.NoticeRecord) {
	t.Helper()
	for _, n := range notices {
		if err := o.Enqueue(t.Context(), n.Notice); err != nil {
			t.Fatal(err)
		}
	}
}

func round(t *testing.T, d *notify.Deliverer) {
	t.Helper()
	if err := d.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestDeliversInTheOrderOfAThreadWithItsReceipt(t *testing.T) {
	o := notifytest.NewOutbox(notifytest.At)
	ops := &script{then: func(_ context.Context, n wflo.NoticeRecord) (string, error) {
		if n.Kind == wflo.NoticeAsked {
			return "receipt-1", nil
		}
		return "", nil
	}}
	d, seen := deliverer(t, o, notify.Config{Channels: map[string]notify.Channel{"ops": ops}})
	g := notifytest.Gate()
	asked, closed := notifytest.Notice("ops", wflo.NoticeAsked, 0, g), notifytest.Notice("ops", wflo.NoticeClosed, 1, g)
	enqueue(t, o, asked, closed)
	round(t, d)
	round(t, d)
	if got := ops.ids(); len(got) != 2 || got[0] != asked.ID || got[1] != closed.ID {
		t.Fatalf("delivered %v", got)
	}
	if got := ops.got[1].Receipt; got != "receipt-1" {
		t.Errorf("the later notice has the receipt %q", got)
	}
	if seen.delivered != 2 || o.Record(closed.ID).State != wflo.NoticeDelivered {
		t.Errorf("counted %d, state %s", seen.delivered, o.Record(closed.ID).State)
	}
}

func TestTriesAgainUntilItIsDead(t *testing.T) {
	o := notifytest.NewOutbox(notifytest.At)
	down := &script{then: func(context.Context, wflo.NoticeRecord) (string, error) { return "", errors.New("no\x1b[2Jroute") }}
	d, seen := deliverer(t, o, notify.Config{Channels: map[string]notify.Channel{"ops": down}})
	n := notifytest.Notice("ops", wflo.NoticeAsked, 0, notifytest.Gate())
	enqueue(t, o, n)
	for range 30 {
		round(t, d)
		o.Pass(10 * time.Minute)
	}
	r := o.Record(n.ID)
	if len(down.ids()) != 10 || r.State != wflo.NoticeDead || r.Attempts != 10 {
		t.Fatalf("%d attempts, record %+v", len(down.ids()), r)
	}
	if r.Error != `no\x1b[2Jroute` {
		t.Errorf("reason %q is not escaped", r.Error)
	}
	if seen.failed != 9 || seen.dead != 1 {
		t.Errorf("counted %d failures and %d dead", seen.failed, seen.dead)
	}
	events := o.Events()
	if len(events) != 1 || events[0].Type != wflo.AuditNoticeDead || events[0].Chain != "main" || events[0].WorkflowID != "refund-7" {
		t.Errorf("audited %+v", events)
	}
}

func TestRefusedAndUnknownAreDeadAtOnce(t *testing.T) {
	o := notifytest.NewOutbox(notifytest.At)
	wrong := &script{then: func(context.Context, wflo.NoticeRecord) (string, error) {
		return "", fmt.Errorf("bad key: %w", notify.ErrRefused)
	}}
	d, seen := deliverer(t, o, notify.Config{Channels: map[string]notify.Channel{"ops": wrong}})
	g := notifytest.Gate()
	refused, unknown := notifytest.Notice("ops", wflo.NoticeAsked, 0, g), notifytest.Notice("slack://nowhere", wflo.NoticeAsked, 0, g)
	enqueue(t, o, refused, unknown)
	round(t, d)
	if r := o.Record(refused.ID); r.State != wflo.NoticeDead || r.Attempts != 1 {
		t.Errorf("refused: %+v", r)
	}
	r := o.Record(unknown.ID)
	if r.State != wflo.NoticeDead || !strings.Contains(r.Error, `"slack://nowhere" is not configured`) || !strings.Contains(r.Error, "under channels") {
		t.Errorf("unknown: %s %q", r.State, r.Error)
	}
	if seen.dead != 2 || len(o.Events()) != 2 {
		t.Errorf("counted %d dead, audited %d", seen.dead, len(o.Events()))
	}
}

func TestFallbackGetsWhatIsDead(t *testing.T) {
	o := notifytest.NewOutbox(notifytest.At)
	refuse := func(context.Context, wflo.NoticeRecord) (string, error) { return "", notify.ErrRefused }
	a, b := &script{then: refuse}, &script{}
	channels := map[string]notify.Channel{"a": a, "b": b}
	d, _ := deliverer(t, o, notify.Config{Channels: channels, Fallback: map[string]string{"a": "b", "b": "a"}})
	n := notifytest.Notice("a", wflo.NoticeAsked, 0, notifytest.Gate())
	enqueue(t, o, n)
	round(t, d)
	round(t, d)
	if got := b.ids(); len(got) != 1 || !strings.Contains(b.got[0].Text, "a could not be reached") || b.got[0].Thread != n.Thread {
		t.Fatalf("the fallback got %v", got)
	}
	// A fallback that fails too goes nowhere else.
	b.then = refuse
	m := notifytest.Notice("a", wflo.NoticeReminder, 1, notifytest.Gate())
	enqueue(t, o, m)
	for range 4 {
		round(t, d)
	}
	if got := len(a.ids()); got != 2 {
		t.Errorf("the first channel was tried %d times", got)
	}
	if r := o.Record(m.ID + "/fallback"); r.State != wflo.NoticeDead {
		t.Errorf("the fallback's notice is %s", r.State)
	}
}

func TestRetryAfterIsAMinimum(t *testing.T) {
	o := notifytest.NewOutbox(notifytest.At)
	busy := &script{then: func(context.Context, wflo.NoticeRecord) (string, error) {
		h := http.Header{"Retry-After": {"90"}}
		return "", notify.RetryAfter(h, o.Now(), notify.Status("it", 429))
	}}
	d, _ := deliverer(t, o, notify.Config{Channels: map[string]notify.Channel{"ops": busy}})
	n := notifytest.Notice("ops", wflo.NoticeAsked, 0, notifytest.Gate())
	enqueue(t, o, n)
	round(t, d)
	if due := o.Record(n.ID).Due.Sub(o.Now()); due != 90*time.Second {
		t.Errorf("due in %s", due)
	}
	o.Pass(89 * time.Second)
	round(t, d)
	if got := len(busy.ids()); got != 1 {
		t.Errorf("tried %d times before it was due", got)
	}
}

// Who dies between sending and writing that down sends again, and the receiver can
// tell by the ID.
func TestCrashAfterSendingSendsTheSameAgain(t *testing.T) {
	o := notifytest.NewOutbox(notifytest.At)
	ops := &script{}
	d, _ := deliverer(t, o, notify.Config{Channels: map[string]notify.Channel{"ops": ops}})
	n := notifytest.Notice("ops", wflo.NoticeAsked, 0, notifytest.Gate())
	enqueue(t, o, n)
	o.Break(errors.New("the worker is gone"))
	round(t, d)
	round(t, d) // the lease still holds
	if got := len(ops.ids()); got != 1 {
		t.Fatalf("sent %d times within the lease", got)
	}
	o.Break(nil)
	o.Pass(10 * time.Minute)
	round(t, d)
	if got := ops.ids(); len(got) != 2 || got[0] != got[1] || o.Record(n.ID).State != wflo.NoticeDelivered {
		t.Errorf("sent %v, state %s", got, o.Record(n.ID).State)
	}
}

func TestASlowChannelHoldsUpNobodyElse(t *testing.T) {
	o := notifytest.NewOutbox(notifytest.At)
	stuck := make(chan struct{})
	slow := &script{then: func(ctx context.Context, _ wflo.NoticeRecord) (string, error) {
		select {
		case <-stuck:
			return "", nil
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}}
	told := make(chan string, 1)
	fast := &script{then: func(_ context.Context, n wflo.NoticeRecord) (string, error) { told <- n.ID; return "", nil }}
	d, _ := deliverer(t, o, notify.Config{
		Channels: map[string]notify.Channel{"slow": slow, "fast": fast}, PerChannel: 2, Batch: 5, Every: time.Millisecond,
	})
	for i := range 100 {
		g := notifytest.Gate().Seal(fmt.Sprint("slow-", i))
		enqueue(t, o, notifytest.Notice("slow", wflo.NoticeAsked, 0, g))
	}
	n := notifytest.Notice("fast", wflo.NoticeAsked, 0, notifytest.Gate())
	enqueue(t, o, n)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); d.Run(ctx) }()
	if id := <-told; id != n.ID {
		t.Errorf("told %s", id)
	}
	if got := len(slow.ids()); got > 2 {
		t.Errorf("%d deliveries of one channel at once", got)
	}
	// What comes later is not held up either.
	later := notifytest.Notice("fast", wflo.NoticeReminder, 1, notifytest.Gate())
	enqueue(t, o, later)
	if id := <-told; id != later.ID {
		t.Errorf("told %s", id)
	}
	cancel()
	<-done
	if r := o.Record(slow.ids()[0]); r.Attempts != 0 {
		t.Errorf("stopping counted as %d failed attempts", r.Attempts)
	}
}

func TestConfigIsChecked(t *testing.T) {
	o := notifytest.NewOutbox(notifytest.At)
	ops := map[string]notify.Channel{"ops": &script{}}
	for name, c := range map[string]notify.Config{
		"no store":         {Channels: ops},
		"short lease":      {Outbox: o, Audit: o, Lease: time.Second},
		"negative":         {Outbox: o, Audit: o, Batch: -1},
		"fallback to none": {Outbox: o, Audit: o, Channels: ops, Fallback: map[string]string{"ops": "x"}},
		"fallback of none": {Outbox: o, Audit: o, Channels: ops, Fallback: map[string]string{"x": "ops"}},
		"fallback to self": {Outbox: o, Audit: o, Channels: ops, Fallback: map[string]string{"ops": "ops"}},
	} {
		if _, err := notify.New(c); !errors.Is(err, wflo.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSentForgetsTheOldest(t *testing.T) {
	var s notify.Sent
	for i := range 1025 {
		s.Add(fmt.Sprint(i), "a")
	}
	if s.Has("0", "a") || !s.Has("1", "a") || !s.Has("1024", "a") || s.Has("1024", "b") {
		t.Error("remembers the wrong notices")
	}
}
