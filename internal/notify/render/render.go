// Package render makes of a notice what people are shown: [New] gives a [Message]
// that every channel shows in its own form. There is one renderer so that a mail,
// a Slack message and a webhook show the same bytes of what will be done, and so
// that hidden characters are dealt with in one place. What an agent wrote is
// labelled as such, and nothing is cut without saying how much is missing.
package render

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/wflo-ai/wflo-go"
)

const (
	// PayloadLimit is how much of the payload is shown, in bytes. It is what the
	// channel with the least room (Slack) takes, for all of them.
	PayloadLimit = 2500
	detailsLimit = 1500 // bytes of the text for the reviewer
	lineLimit    = 600  // bytes of the action
	factLimit    = 300  // bytes of a fact
	titleLimit   = 140  // bytes of the title
)

// Message is a notice, ready to be shown. All its text is escaped for plain text;
// a channel with a markup of its own escapes that markup besides.
type Message struct {
	ID       string
	Title    string // one line
	Text     string // a few lines, or none
	Severity wflo.Severity
	// Action is what will be done, in one line; empty where no gate asks.
	Action string
	Facts  []Fact
	// Agent is text that the agent or its author wrote, which nobody checked, and
	// AgentMore how many bytes of it are not shown.
	Agent     string
	AgentMore int
	Payload   Payload
	// Approve and Reject say whether the message may offer that answer. A payload
	// that is not shown as a whole is not approved from here.
	Approve, Reject bool
	// Link is where the console shows more; empty for nowhere.
	Link string
	// At is when it was written down, in UTC.
	At string
}

// Fact is a line of a message.
type Fact struct{ Name, Value string }

// Payload is what will be done, as far as it is shown.
type Payload struct {
	// Text is the JSON, indented, with hidden characters as JSON escapes.
	Text string
	// More is how many bytes are missing after Text.
	More int
	// SHA256 is the hash, in hex, of all of it in canonical form.
	SHA256 string
}

// Note says what is missing, or "".
func (p Payload) Note() string {
	if p.More == 0 {
		return ""
	}
	return fmt.Sprintf("%d more bytes, sha256 %s; open the console to read all of it and to approve", p.More, p.SHA256)
}

// AgentLabel stands above what nobody checked.
const AgentLabel = "Written by the agent, not checked by wflo"

// New renders a notice. console is the address of the console, such as
// https://wflo.example.com; without it messages have no link.
func New(n wflo.Notice, console string) Message {
	m := Message{
		ID: n.ID, Title: Short(Line(n.Title), titleLimit), Text: Short(Text(n.Text), detailsLimit),
		Severity: severity(n), Link: Link(console, n.Link), At: UTC(n.At),
	}
	if m.Title == "" {
		m.Title = Line(string(n.Kind))
	}
	if n.Gate == nil {
		return m
	}
	g := *n.Gate
	m.Action = Short(Line(g.Approval.Action), lineLimit)
	m.Facts = facts(g)
	m.Agent, m.AgentMore = Cut(Text(g.Approval.Details), detailsLimit)
	m.Payload = payload(g)
	if asks(n.Kind) && !g.Closed() {
		answers := g.Answers()
		m.Approve = slices.Contains(answers, wflo.VerdictApprove) && m.Payload.More == 0
		m.Reject = slices.Contains(answers, wflo.VerdictReject)
	}
	return m
}

// asks says that a notice of the kind wants an answer.
func asks(k wflo.NoticeKind) bool {
	return k == wflo.NoticeAsked || k == wflo.NoticeReminder || k == wflo.NoticeEscalated
}

func payload(g wflo.Gate) Payload {
	if len(g.Approval.Payload) == 0 {
		return Payload{}
	}
	var p Payload
	p.Text, p.More = Cut(JSON(g.Approval.Payload), PayloadLimit)
	sum, err := wflo.CanonicalSHA256(g.Approval.Payload)
	if err != nil { // nothing that people could agree to
		return Payload{Text: "(not shown: the payload " + Line(err.Error()) + ")", More: len(g.Approval.Payload), SHA256: "unknown"}
	}
	p.SHA256 = sum
	return p
}

// UTC is how times are shown.
func UTC(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

// facts are what wflo knows of a gate, in the order of what matters.
func facts(g wflo.Gate) []Fact {
	have, need := votes(g)
	list := []Fact{
		{"Status", status(g)},
		{"Risk", string(g.Approval.Risk)},
		{"Requested by", strings.Join(g.Requesters, ", ")},
		{"Run", g.WorkflowID},
		{"Workflow", g.Workflow},
		{"Step", g.Step},
		{"Gate", g.ID},
		{"Approvers", strings.Join(g.Approval.Approvers, ", ")},
		{"Approvals", fmt.Sprintf("%d of %d%s", have, need, voters(g))},
		{"Rules", strings.Join(g.Approval.Rules, ", ")},
	}
	if !g.Closed() {
		list = append(list, Fact{"Decide until", UTC(g.ExpiresAt)})
	}
	if g.Granted() {
		list = append(list, Fact{"Use until", UTC(g.UseBy)})
	}
	if g.Revision > 0 {
		list = append(list, Fact{"Edited", fmt.Sprintf("%d times", g.Revision)})
	}
	if d := g.Decision; d != nil {
		list = append(list, Fact{"Decided by", d.By}, Fact{"Reason", d.Reason})
	}
	list = slices.DeleteFunc(list, func(f Fact) bool { return f.Value == "" })
	for i := range list {
		list[i].Value = Short(Line(list[i].Value), factLimit)
	}
	return list
}

func status(g wflo.Gate) string {
	s := string(g.Status)
	if g.Level > 0 && !g.Closed() {
		s += fmt.Sprintf(", escalation level %d", g.Level)
	}
	if g.AckedBy != "" && !g.Closed() {
		s += ", " + g.AckedBy + " looks at it"
	}
	return s
}

// votes counts as the gate did when it took them. The worker's terms are not here;
// what they proved is in the votes already, because no other vote gets in.
func votes(g wflo.Gate) (have, need int) {
	g.Approval.SignedOnly = false
	g.Votes = slices.Clone(g.Votes)
	for i := range g.Votes {
		g.Votes[i].Signature = ""
	}
	return g.Need(wflo.Terms{AllowUnsigned: true})
}

func voters(g wflo.Gate) string {
	var names []string
	for _, v := range g.Votes {
		names = append(names, v.By+": "+string(v.Verdict))
	}
	if len(names) == 0 {
		return ""
	}
	return " (" + strings.Join(names, ", ") + ")"
}

// severity is the notice's own, or follows from what is at stake.
func severity(n wflo.Notice) wflo.Severity {
	if n.Severity.Validate() == nil {
		return n.Severity
	}
	if n.Gate == nil {
		return wflo.SeverityInfo
	}
	switch n.Gate.Approval.Risk {
	case wflo.RiskLow:
		return wflo.SeverityInfo
	case wflo.RiskHigh:
		return wflo.SeverityError
	case wflo.RiskCritical:
		return wflo.SeverityCritical
	case wflo.RiskMedium:
	}
	return wflo.SeverityWarning
}

// Link joins the address of the console and a path of it. A path that would lead
// elsewhere gives no link.
func Link(console, path string) string {
	base, err := url.Parse(console)
	if console == "" || err != nil || base.Host == "" || !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") {
		return ""
	}
	ref, err := url.Parse(path)
	if err != nil || ref.Host != "" || ref.Scheme != "" || strings.Contains(path, `\`) {
		return ""
	}
	joined := base.JoinPath(ref.EscapedPath())
	joined.RawQuery = ref.RawQuery
	joined.Fragment = ""
	return joined.String()
}

// Plain is the message as plain text, for mails and logs.
func (m Message) Plain() string {
	var b strings.Builder
	fmt.Fprintln(&b, m.Title)
	for _, part := range []string{m.Action, m.Text} {
		if part != "" {
			fmt.Fprintf(&b, "\n%s\n", part)
		}
	}
	if len(m.Facts) > 0 {
		fmt.Fprintln(&b)
	}
	for _, f := range m.Facts {
		fmt.Fprintf(&b, "%s: %s\n", f.Name, f.Value)
	}
	if m.Payload.Text != "" {
		fmt.Fprintf(&b, "\nWhat will be done, sha256 %s:\n%s\n", m.Payload.SHA256, m.Payload.Text)
		if note := m.Payload.Note(); note != "" {
			fmt.Fprintf(&b, "[%s]\n", note)
		}
	}
	if m.Agent != "" {
		fmt.Fprintf(&b, "\n%s:\n> %s\n", AgentLabel, strings.ReplaceAll(m.Agent, "\n", "\n> "))
		if note := m.AgentNote(); note != "" {
			fmt.Fprintf(&b, "[%s]\n", note)
		}
	}
	if m.Link != "" {
		fmt.Fprintf(&b, "\nOpen in the console: %s\n", m.Link)
	}
	return b.String()
}

// AgentNote says how much of the agent's text is missing, or "".
func (m Message) AgentNote() string {
	if m.AgentMore == 0 {
		return ""
	}
	return fmt.Sprintf("%d more bytes; open the console to read them", m.AgentMore)
}
