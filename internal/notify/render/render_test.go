package render

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/notify/notifytest"
)

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		"plain é 漢 🎉": "plain é 漢 🎉",
		"a\r\nb":      "a\nb",
		"a\rb\tc\x00": `a\x0db\x09c\x00`,
		"\x1b[31mred": `\x1b[31mred`,
		"\u202egpj":   `\u202egpj`,
		"\u2066\u2069\u200b\u200d\ufeff\u00ad\u2028\u2029": `\u2066\u2069\u200b\u200d\ufeff\u00ad\u2028\u2029`,
		"\u00a0\u3000\u2003\u115f\u3164\u2800\u034f":       `\u00a0\u3000\u2003\u115f\u3164\u2800\u034f`,
		"\ufe0f\U000e0041\U000e0100\ue000":                 `\ufe0f\U000e0041\U000e0100\ue000`,
		"bad\xff":                                          `bad\xff`,
	} {
		if got := Text(in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
	if got := Line("a\nb"); got != `a\x0ab` {
		t.Errorf("line %q", got)
	}
}

// What people read must be the value that they approve.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{`{"a":"\u202e"}`, "{\"a\":\"\u202e\u200b\U000e0041\"}", `[1,2.50,"x"]`, "0\r", "nonsense\x1b", "\"\xff\""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		shown := JSON(data)
		for _, r := range shown {
			if r != '\n' && wflo.Hidden(r) {
				t.Fatalf("%q is shown with the hidden %U", data, r)
			}
		}
		want, err := wflo.Canonical(data)
		if err != nil {
			return
		}
		got, err := wflo.Canonical([]byte(shown))
		if err != nil || string(got) != string(want) {
			t.Fatalf("%q is shown as %q: %v", data, shown, err)
		}
	})
}

func TestCut(t *testing.T) {
	for limit := range 12 {
		head, more := Cut("aé漢🎉", limit)
		if !utf8.ValidString(head) || len(head) > limit || more != 10-len(head) {
			t.Errorf("limit %d: %q and %d more", limit, head, more)
		}
	}
	if got := Short(strings.Repeat("é", 10), 10); got != "ééé ..." {
		t.Errorf("short %q", got)
	}
}

func TestMessage(t *testing.T) {
	g := notifytest.Gate()
	g.Votes = []wflo.Decision{g.Decide(wflo.VerdictApprove, "alice")}
	g.Votes[0].Signature = "AAAA"
	m := New(notifytest.Notice("ops", wflo.NoticeAsked, 0, g).Notice, "https://wflo.example/console/")
	want := []Fact{
		{"Status", "open"}, {"Risk", "high"}, {"Requested by", "carol"}, {"Run", "refund-7"}, {"Workflow", "Refunds"}, {"Gate", "refunds"},
		{"Approvers", "alice, group:finance"}, {"Approvals", "1 of 2 (alice: approve)"}, {"Decide until", "2026-11-23 10:30:00 UTC"},
	}
	if diff := cmp.Diff(want, m.Facts); diff != "" {
		t.Errorf("facts: %s", diff)
	}
	if m.Link != "https://wflo.example/console/gates/nonce-1" || !m.Approve || !m.Reject || m.Severity != wflo.SeverityError {
		t.Errorf("message %+v", m)
	}
	sum, _ := wflo.CanonicalSHA256(g.Approval.Payload)
	if m.Payload.SHA256 != sum || m.Payload.More != 0 || !strings.Contains(m.Payload.Text, `"amount": "250.00"`) {
		t.Errorf("payload %+v", m.Payload)
	}
	plain := m.Plain()
	for _, part := range []string{m.Action, sum, AgentLabel + ":\n> The customer", m.Link, "Risk: high"} {
		if !strings.Contains(plain, part) {
			t.Errorf("the plain text lacks %q:\n%s", part, plain)
		}
	}
}

func TestALongPayloadIsNotApprovedFromAMessage(t *testing.T) {
	run := wflo.Run{WorkflowID: "w", User: "carol"}
	payload, _ := json.Marshal(map[string]string{"text": strings.Repeat("x", 2*PayloadLimit)})
	g := run.Ask("g", wflo.Approval{Gate: "g", Action: "act", Payload: payload}, notifytest.At).Seal("n")
	m := New(notifytest.Notice("ops", wflo.NoticeAsked, 0, g).Notice, "")
	whole := JSON(payload)
	if m.Payload.Text+whole[len(m.Payload.Text):] != whole || m.Payload.More != len(whole)-PayloadLimit {
		t.Errorf("cut at %d, %d more of %d", len(m.Payload.Text), m.Payload.More, len(whole))
	}
	if m.Approve || !m.Reject {
		t.Errorf("approve %v, reject %v", m.Approve, m.Reject)
	}
	note := fmt.Sprintf("%d more bytes, sha256 %s; open the console", m.Payload.More, m.Payload.SHA256)
	if !strings.HasPrefix(m.Payload.Note(), note) || !strings.Contains(m.Plain(), note) {
		t.Errorf("note %q", m.Payload.Note())
	}
}

func TestAnswersFollowTheGate(t *testing.T) {
	g := notifytest.Gate()
	closed := g
	closed.Status = wflo.GateRejected
	respond := g
	respond.Approval.Answers = []wflo.Verdict{wflo.VerdictRespond}
	for name, c := range map[string]struct {
		kind            wflo.NoticeKind
		gate            wflo.Gate
		approve, reject bool
	}{
		"asked":    {wflo.NoticeAsked, g, true, true},
		"reminder": {wflo.NoticeReminder, g, true, true},
		"closed":   {wflo.NoticeClosed, closed, false, false},
		"late":     {wflo.NoticeAsked, closed, false, false},
		"respond":  {wflo.NoticeAsked, respond, false, false},
		"policy":   {wflo.NoticePolicy, g, false, false},
	} {
		m := New(notifytest.Notice("ops", c.kind, 0, c.gate).Notice, "")
		if m.Approve != c.approve || m.Reject != c.reject {
			t.Errorf("%s: approve %v, reject %v", name, m.Approve, m.Reject)
		}
	}
}

func TestLinkStaysAtTheConsole(t *testing.T) {
	for path, want := range map[string]string{
		"/gates/1": "https://c.example/gates/1", "/gates/1?x=a%20b": "https://c.example/gates/1?x=a%20b",
		"": "", "gates": "", "//evil.example/x": "", "https://evil.example": "", `/\evil.example`: "", "javascript:alert(1)": "",
		"/\nX: y": "", "/%zz": "",
	} {
		if got := Link("https://c.example", path); got != want {
			t.Errorf("%q: %q, want %q", path, got, want)
		}
	}
	if Link("", "/x") != "" || Link("nonsense", "/x") != "" {
		t.Error("a link without a console")
	}
}
