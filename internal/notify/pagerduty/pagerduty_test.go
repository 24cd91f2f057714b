package pagerduty

import (
	"errors"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/notify"
	"github.com/wflo-ai/wflo-go/internal/notify/notifytest"
	"github.com/wflo-ai/wflo-go/internal/notify/render"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const canary = "canary00000000000000000000000000"

func open(t *testing.T) (*notifytest.PagerDuty, *Channel) {
	t.Helper()
	p := notifytest.NewPagerDuty(t, canary)
	c, err := New(Config{RoutingKey: canary, Console: "https://wflo.example", URL: p.URL + "/v2/enqueue", Outbound: notifytest.Local()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.http.CloseIdleConnections)
	return p, c
}

func TestOneIncidentPerThread(t *testing.T) {
	p, c := open(t)
	g := notifytest.Gate()
	acked, closed := g, g
	acked.AckedBy = "alice"
	closed.Status, closed.AckedBy = wflo.GateApproved, "alice"
	for i, step := range []struct {
		n    wflo.NoticeRecord
		want string
	}{
		{notifytest.Notice("ops", wflo.NoticeAsked, 0, g), "triggered"},
		{notifytest.Notice("ops", wflo.NoticeEscalated, 1, acked), "acknowledged"},
		{notifytest.Notice("ops", wflo.NoticeEscalated, 2, g), "triggered"},
		{notifytest.Notice("ops", wflo.NoticeClosed, 3, closed), "resolved"},
		{notifytest.Notice("ops", wflo.NoticeClosed, 3, closed), "resolved"}, // sent again
	} {
		if _, err := c.Deliver(t.Context(), step.n); err != nil {
			t.Fatal(err)
		}
		if got := p.Incidents(); len(got) != 1 || got["nonce-1"] != step.want {
			t.Errorf("after step %d: %v", i, got)
		}
	}
	e := p.Events()[0]
	if e.Payload.Severity != "error" || e.Payload.Source != "refund-7" || e.Payload.Class != "approval.requested" ||
		e.Payload.Timestamp != "2026-11-23T09:30:00Z" || e.ClientURL != "https://wflo.example/gates/nonce-1" {
		t.Errorf("event %+v", e)
	}
	if e.Payload.CustomDetails["What will be done"] != render.JSON(g.Approval.Payload) || e.Payload.CustomDetails["Risk"] != "high" {
		t.Errorf("details %v", e.Payload.CustomDetails)
	}
	if got := p.Problems(); got != nil {
		t.Errorf("not as PagerDuty documents it: %v", got)
	}
}

func TestSeverities(t *testing.T) {
	for risk, want := range map[wflo.Risk]wflo.Severity{
		wflo.RiskLow: "info", wflo.RiskMedium: "warning", wflo.RiskHigh: "error", wflo.RiskCritical: "critical", "": "warning",
	} {
		g := notifytest.Gate()
		g.Approval.Risk = risk
		if e := newEvent(notifytest.Notice("ops", wflo.NoticeAsked, 0, g).Notice, ""); e.Payload.Severity != want {
			t.Errorf("risk %q: %s", risk, e.Payload.Severity)
		}
	}
	n := wflo.Notice{ID: "1", Kind: wflo.NoticeBudget, Title: "half is spent", Severity: wflo.SeverityCritical}
	if e := newEvent(n, ""); e.Payload.Severity != "critical" || e.DedupKey != "1" {
		t.Errorf("event %+v", e)
	}
}

func TestLongAndHostile(t *testing.T) {
	p, c := open(t)
	g := notifytest.Gate()
	g.Approval.Action = strings.Repeat("\u202e", 3000)
	n := notifytest.Notice("ops", wflo.NoticeAsked, 0, g)
	n.Thread, n.Title = strings.Repeat("t", 300), "a\nb"
	if _, err := c.Deliver(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	e := p.Events()[0]
	if len(e.DedupKey) != 64 || strings.ContainsAny(e.Payload.Summary, "\n\u202e") {
		t.Errorf("event %+v", e)
	}
}

func TestErrors(t *testing.T) {
	p, c := open(t)
	n := notifytest.Notice("ops", wflo.NoticeAsked, 0, notifytest.Gate())
	for _, a := range []struct {
		answer  notifytest.Answer
		refused bool
		after   time.Duration
	}{
		{answer: notifytest.Answer{Status: 400, Body: canary}, refused: true},
		{answer: notifytest.Answer{Status: 429, Header: map[string]string{"Retry-After": "60"}}, after: time.Minute},
		{answer: notifytest.Answer{Status: 500, Body: canary}},
		{answer: notifytest.Answer{Status: 200}}, // a page of somebody else's
	} {
		p.Script(a.answer)
		_, err := c.Deliver(t.Context(), n)
		var later *notify.Later
		if err == nil || errors.Is(err, notify.ErrRefused) != a.refused || strings.Contains(err.Error(), "canary") ||
			errors.As(err, &later) != (a.after > 0) || later != nil && later.After != a.after {
			t.Errorf("status %d: %v", a.answer.Status, err)
		}
	}
	c.config.RoutingKey = "x"
	if _, err := c.Deliver(t.Context(), n); !errors.Is(err, notify.ErrRefused) {
		t.Errorf("a wrong key: %v", err)
	}
}

func TestValidate(t *testing.T) {
	for name, c := range map[string]Config{
		"no key":     {},
		"short key":  {RoutingKey: canary[:31]},
		"plain":      {RoutingKey: canary, URL: "http://events.pagerduty.com/v2/enqueue"},
		"no console": {RoutingKey: canary, Console: "x"},
	} {
		if err := c.Validate(); !errors.Is(err, wflo.ErrInvalid) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if c, err := New(Config{RoutingKey: canary}); err != nil || c.config.URL != defaultURL {
		t.Error(err)
	}
}
