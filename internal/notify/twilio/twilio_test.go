package twilio

import (
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"go.uber.org/goleak"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/notify"
	"github.com/wflo-ai/wflo-go/internal/notify/notifytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	account = "AC00000000000000000000000000000001"
	key     = "SK00000000000000000000000000000002"
	canary  = "canary-secret"
	from    = "+15005550006"
)

func open(t *testing.T, to ...string) (*notifytest.Twilio, *Channel) {
	t.Helper()
	s := notifytest.NewTwilio(t, account, key, canary)
	c, err := New(Config{
		AccountSID: account, KeySID: key, Secret: canary, From: from, To: to, Console: "https://wflo.example",
		API: s.URL, Outbound: notifytest.Local(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.http.CloseIdleConnections)
	return s, c
}

func TestSaysWhatWaitsAndNotWhatWillBeDone(t *testing.T) {
	s, c := open(t, "+15005550001")
	if _, err := c.Deliver(t.Context(), notifytest.Notice("sms", wflo.NoticeAsked, 0, notifytest.Gate())); err != nil {
		t.Fatal(err)
	}
	want := "wflo: Approval needed: refunds, run refund-7, risk high, decide until 2026-11-23 10:30:00 UTC https://wflo.example/gates/nonce-1"
	if got := s.Sent(); len(got) != 1 || got[0] != (notifytest.SMS{From: from, To: "+15005550001", Body: want}) {
		t.Errorf("sent %+v", got)
	}
	if p := s.Problems(); p != nil {
		t.Errorf("not as Twilio documents it: %v", p)
	}
}

func TestTextsStayShort(t *testing.T) {
	for _, title := range []string{strings.Repeat("漢", 500), strings.Repeat("🎉", 500), strings.Repeat("\u202e", 500), ""} {
		for _, link := range []string{"/gates/1", "/" + strings.Repeat("x", 400), ""} {
			n := notifytest.Notice("sms", wflo.NoticeAsked, 0, notifytest.Gate())
			n.Title, n.Link = title, link
			n.Gate.WorkflowID = strings.Repeat("é", 300)
			got := text(n.Notice, "https://wflo.example")
			if units(got) > MaxText || !utf8.ValidString(got) || strings.Contains(got, "250.00") {
				t.Errorf("%d units: %s", units(got), got)
			}
			if link == "/gates/1" && !strings.HasSuffix(got, " https://wflo.example/gates/1") {
				t.Errorf("the link is cut: %s", got)
			}
		}
	}
}

// One phone that fails must not make the others ring again.
func TestOthersAreNotBotheredAgain(t *testing.T) {
	s, c := open(t, "+15005550001", "+15005550002")
	n := notifytest.Notice("sms", wflo.NoticeAsked, 0, notifytest.Gate())
	s.Script(notifytest.Answer{Status: 503})
	if _, err := c.Deliver(t.Context(), n); err == nil || errors.Is(err, notify.ErrRefused) {
		t.Fatalf("error %v", err)
	}
	if _, err := c.Deliver(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	if got := s.Sent(); len(got) != 2 || got[0].To != "+15005550002" || got[1].To != "+15005550001" {
		t.Errorf("sent %+v", got)
	}
	// A number that does not exist does not stop the other.
	m := notifytest.Notice("sms", wflo.NoticeReminder, 1, notifytest.Gate())
	s.Script(notifytest.Answer{Status: 400, Body: `{"code":21211}`})
	if _, err := c.Deliver(t.Context(), m); err != nil {
		t.Errorf("error %v", err)
	}
}

func TestErrors(t *testing.T) {
	s, c := open(t, "+15005550001")
	n := notifytest.Notice("sms", wflo.NoticeAsked, 0, notifytest.Gate())
	for _, a := range []struct {
		answer  notifytest.Answer
		refused bool
		after   time.Duration
		says    string
	}{
		{answer: notifytest.Answer{Status: 400, Body: `{"code":21211,"message":"` + canary + `"}`}, refused: true, says: "error 21211"},
		{answer: notifytest.Answer{Status: 401, Body: canary}, refused: true, says: "401"},
		{answer: notifytest.Answer{Status: 429, Header: map[string]string{"Retry-After": "3"}, Body: `{"code":20429}`}, after: 3 * time.Second, says: "20429"},
		{answer: notifytest.Answer{Status: 500}, says: "500"},
		{answer: notifytest.Answer{Status: 200, Body: "{}"}, says: "200"},
	} {
		s.Script(a.answer)
		_, err := c.Deliver(t.Context(), n)
		var later *notify.Later
		if err == nil || errors.Is(err, notify.ErrRefused) != a.refused || !strings.Contains(err.Error(), a.says) || strings.Contains(err.Error(), "canary") ||
			errors.As(err, &later) != (a.after > 0) || later != nil && later.After != a.after {
			t.Errorf("status %d: %v", a.answer.Status, err)
		}
	}
	c.config.Secret = "another"
	if _, err := c.Deliver(t.Context(), n); !errors.Is(err, notify.ErrRefused) {
		t.Errorf("a wrong secret: %v", err)
	}
}

func TestValidate(t *testing.T) {
	good := Config{AccountSID: account, Secret: canary, From: from, To: []string{"+15005550001"}}
	if c, err := New(good); err != nil || c.config.API != defaultAPI {
		t.Error(err)
	}
	for name, change := range map[string]func(*Config){
		"account":     func(c *Config) { c.AccountSID = "AC/../x" },
		"key":         func(c *Config) { c.KeySID = account },
		"no secret":   func(c *Config) { c.Secret = "" },
		"no sender":   func(c *Config) { c.From = "" },
		"two senders": func(c *Config) { c.MessagingServiceSID = "MG00000000000000000000000000000001" },
		"service":     func(c *Config) { c.From, c.MessagingServiceSID = "", "MG1" },
		"sender":      func(c *Config) { c.From = "015005550006" },
		"nobody":      func(c *Config) { c.To = nil },
		"phone":       func(c *Config) { c.To = []string{"+1 500"} },
		"plain":       func(c *Config) { c.API = "http://api.twilio.com" },
	} {
		c := good
		change(&c)
		if err := c.Validate(); !errors.Is(err, wflo.ErrInvalid) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
