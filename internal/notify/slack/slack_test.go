package slack

import (
	"encoding/json"
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

const (
	canary  = "xoxb-canary-3141592653"
	channel = "C0123456789"
)

func open(t *testing.T) (*notifytest.Slack, *Channel) {
	t.Helper()
	s := notifytest.NewSlack(t, canary, channel)
	c, err := New(Config{Token: canary, Channel: channel, Console: "https://wflo.example", API: s.URL + "/api/", Outbound: notifytest.Local()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.http.CloseIdleConnections)
	return s, c
}

func deliver(t *testing.T, c *Channel, n wflo.NoticeRecord) string {
	t.Helper()
	receipt, err := c.Deliver(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	return receipt
}

func TestAThreadFromTheQuestionToItsEnd(t *testing.T) {
	s, c := open(t)
	g := notifytest.Gate()
	receipt := deliver(t, c, notifytest.Notice("ops", wflo.NoticeAsked, 0, g))
	asked := s.Messages()[0]
	if receipt != asked.TS || asked.Thread != "" || asked.NoticeID == "" {
		t.Fatalf("receipt %q of %+v", receipt, asked)
	}
	if got := asked.Preformatted(); len(got) != 2 || got[0] != render.JSON(g.Approval.Payload) || got[1] != g.Approval.Details {
		t.Errorf("code blocks %q", got)
	}
	var actions []string
	for _, b := range asked.Buttons() {
		actions = append(actions, b.ActionID)
		var v button
		if b.ActionID != actionOpen && (json.Unmarshal([]byte(b.Value), &v) != nil || v.Nonce != g.Nonce || v.Digest != g.Digest) {
			t.Errorf("button %+v", b)
		}
		if b.ActionID == actionOpen && b.URL != "https://wflo.example/gates/nonce-1" {
			t.Errorf("opens %s", b.URL)
		}
	}
	if strings.Join(actions, " ") != "wflo_approve wflo_reject wflo_open" {
		t.Errorf("buttons %v", actions)
	}

	reminder := notifytest.Notice("ops", wflo.NoticeReminder, 1, g)
	reminder.Receipt = receipt
	if got := deliver(t, c, reminder); got != "" {
		t.Errorf("a reminder's receipt %q would take the question's place", got)
	}
	g.Status = wflo.GateRejected
	closed := notifytest.Notice("ops", wflo.NoticeClosed, 2, g)
	closed.Receipt = receipt
	deliver(t, c, closed)
	all := s.Messages()
	if len(all) != 2 || all[1].Thread != receipt || all[0].Updates != 1 {
		t.Fatalf("messages %+v", all)
	}
	if b := all[0].Buttons(); len(b) != 1 || b[0].ActionID != actionOpen {
		t.Errorf("a closed gate has the buttons %+v", b)
	}
	if p := s.Problems(); p != nil {
		t.Errorf("not as Slack documents it: %v", p)
	}
}

func TestTheEndIsToldWhereTheMessageIsGone(t *testing.T) {
	s, c := open(t)
	g := notifytest.Gate()
	g.Status = wflo.GateTimedOut
	n := notifytest.Notice("ops", wflo.NoticeClosed, 2, g)
	n.Receipt = "1.000001"
	if got := deliver(t, c, n); got != "1700000000.000001" || len(s.Messages()) != 1 {
		t.Errorf("receipt %q, %d messages", got, len(s.Messages()))
	}
}

// Nothing that an agent writes may mention people, hide links or leave its block,
// and the longest of everything still fits.
func TestHostileAndLongTextStaysText(t *testing.T) {
	s, c := open(t)
	evil := "<!channel> <https://evil.example|ok> ``` *x* \u202e & \x1b[2J"
	run := wflo.Run{WorkflowID: strings.Repeat("w", 4000), User: evil}
	a := wflo.Approval{Gate: "g", Action: evil + strings.Repeat("é", 3000), Details: evil + strings.Repeat("d", 9000), Risk: wflo.RiskLow}
	for range 100 {
		a.Approvers = append(a.Approvers, strings.Repeat("a", 100))
	}
	a.Payload, _ = json.Marshal(map[string]string{"text": strings.Repeat("\u202e\"", 9000)})
	g := run.Ask("g", a, notifytest.At).Seal("n")
	n := notifytest.Notice("ops", wflo.NoticeAsked, 0, g)
	n.Title, n.Text = evil+strings.Repeat("t", 400), evil+strings.Repeat("x", 9000)
	deliver(t, c, n)
	if p := s.Problems(); p != nil {
		t.Fatalf("not as Slack documents it: %v", p)
	}
	m := s.Messages()[0]
	if strings.ContainsAny(m.Text, "<>\u202e\x1b") {
		t.Errorf("the text for notifications is %q", m.Text)
	}
	raw, _ := json.Marshal(m.Blocks)
	if strings.ContainsAny(string(raw), "\u202e\x1b") || strings.Contains(string(raw), "mrkdwn") {
		t.Errorf("blocks %s", raw)
	}
	for _, b := range m.Buttons() {
		if b.ActionID == actionApprove {
			t.Error("what is not shown whole can be approved")
		}
	}
}

func TestErrors(t *testing.T) {
	s, c := open(t)
	n := notifytest.Notice("ops", wflo.NoticeAsked, 0, notifytest.Gate())
	ok := func(body string) notifytest.Answer { return notifytest.Answer{Status: 200, Body: body} }
	for name, a := range map[string]struct {
		answer  notifytest.Answer
		refused bool
		after   time.Duration
		says    string
	}{
		"limited":     {answer: notifytest.Answer{Status: 429, Header: map[string]string{"Retry-After": "30"}}, after: 30 * time.Second, says: "429"},
		"down":        {answer: notifytest.Answer{Status: 503, Body: canary}, says: "503"},
		"revoked":     {answer: ok(`{"ok":false,"error":"token_revoked"}`), refused: true, says: "token_revoked"},
		"hiccup":      {answer: ok(`{"ok":false,"error":"internal_error"}`), says: "internal_error"},
		"echo":        {answer: ok(`{"ok":false,"error":"bad ` + canary + `"}`), says: "ok: false"},
		"not JSON":    {answer: ok("<html>" + canary), says: "slack"},
		"to another":  {answer: notifytest.Answer{Status: 307, Header: map[string]string{"Location": "http://169.254.169.254/" + canary}}, says: "redirect"},
		"not at home": {answer: notifytest.Answer{Status: 404, Body: canary}, says: "404"},
	} {
		s.Script(a.answer)
		_, err := c.Deliver(t.Context(), n)
		var later *notify.Later
		if err == nil || errors.Is(err, notify.ErrRefused) != a.refused || !strings.Contains(err.Error(), a.says) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", name, err)
		}
		if errors.As(err, &later) != (a.after > 0) || later != nil && later.After != a.after {
			t.Errorf("%s: later %+v", name, later)
		}
	}
}

func TestTimeout(t *testing.T) {
	s := notifytest.NewSlack(t, canary, channel)
	s.Script(notifytest.Answer{Hang: true})
	local := notifytest.Local()
	local.Timeout = 50 * time.Millisecond
	c, err := New(Config{Token: canary, Channel: channel, API: s.URL + "/api/", Outbound: local})
	if err != nil {
		t.Fatal(err)
	}
	defer c.http.CloseIdleConnections()
	if _, err := c.Deliver(t.Context(), notifytest.Notice("ops", wflo.NoticeAsked, 0, notifytest.Gate())); err == nil || strings.Contains(err.Error(), "canary") {
		t.Errorf("error %v", err)
	}
}

func TestReply(t *testing.T) {
	_, c := open(t)
	var replies []notifytest.Request
	s := notifytest.NewReplies(t)
	c.config.API = s.URL + "/api/"
	if err := c.Reply(t.Context(), s.URL+"/actions/T/1/secret", "not <yours>", false); err != nil {
		t.Fatal(err)
	}
	if err := c.Reply(t.Context(), s.URL+"/actions/T/1/secret", "done", true); err != nil {
		t.Fatal(err)
	}
	replies = s.Requests()
	if got := replies[0].Body; got != `{"replace_original":false,"response_type":"ephemeral","text":"not \u0026lt;yours\u0026gt;"}` {
		t.Errorf("reply %s", got)
	}
	if got := replies[1].Body; got != `{"replace_original":true,"text":"done"}` {
		t.Errorf("reply %s", got)
	}
	for _, elsewhere := range []string{
		"", "https://evil.example/x", "https://hooks.slack.com.evil.example/x", "https://hooks.slack.com@evil.example/", "http://hooks.slack.com/x",
		"https://evil.example/hooks.slack.com", "https://hooks.slack.com:8443/x", "//hooks.slack.com/x", "http://169.254.169.254/latest",
	} {
		if err := c.Reply(t.Context(), elsewhere, "x", false); !errors.Is(err, wflo.ErrInvalid) {
			t.Errorf("%s: %v", elsewhere, err)
		}
	}
	s.Script(notifytest.Answer{Status: 404, Body: "secret"})
	if err := c.Reply(t.Context(), s.URL+"/actions/T/1/secret", "x", false); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("error %v", err)
	}
	if !c.answers(mustURL(t, "https://hooks.slack.com/actions/T/1/x")) {
		t.Error("Slack's own address is refused")
	}
}

func TestValidate(t *testing.T) {
	good := Config{Token: canary, Channel: channel}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*Config){
		"no token":      func(c *Config) { c.Token = "" },
		"token of two":  func(c *Config) { c.Token = canary + "\n" },
		"name":          func(c *Config) { c.Channel = "#ops" },
		"plain API":     func(c *Config) { c.API = "http://slack.example/" },
		"API in half":   func(c *Config) { c.API = "https://slack.example/api" },
		"console of ''": func(c *Config) { c.Console = "wflo" },
	} {
		c := good
		change(&c)
		err := c.Validate()
		if !errors.Is(err, wflo.ErrInvalid) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := New(Config{}); err == nil {
		t.Error("made without a configuration")
	}
	if c, err := New(good); err != nil || c.config.API != defaultAPI {
		t.Errorf("%v", err)
	}
}
