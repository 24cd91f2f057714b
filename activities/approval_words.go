package activities

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/wflo-ai/wflo-go"
)

// Who did what nobody decided.
const (
	workerName = "worker"
	timerName  = "timer"
)

// gateEvent is an audit event about a gate. what tells the events of one gate apart.
func gateEvent(g wflo.Gate, kind wflo.AuditType, what, by string) wflo.AuditEvent {
	return wflo.AuditEvent{
		ID: g.Nonce + ":" + what, Chain: g.AuditChain(), At: time.Now(), Type: kind, Severity: wflo.SeverityInfo, Actor: by,
		Namespace: g.Namespace, WorkflowID: g.WorkflowID, FirstRunID: g.FirstRunID, Step: g.Step, Gate: g.ID,
		Data: data(wflo.AuditGate{Gate: g}),
	}
}

// decisionEvent says that a decision counted.
func decisionEvent(g wflo.Gate, d wflo.Decision) wflo.AuditEvent {
	e := gateEvent(g, wflo.AuditGateDecided, "", d.By)
	e.ID = d.RecordID(g.Nonce)
	e.Data = data(wflo.AuditDecision{Gate: g.Nonce, Digest: d.Digest, Decision: d})
	return e
}

// closingEvents are the votes of a gate, and its end.
func closingEvents(g wflo.Gate) []wflo.AuditEvent {
	var events []wflo.AuditEvent
	for _, v := range g.Votes {
		events = append(events, decisionEvent(g, v))
	}
	if g.Decision != nil {
		events = append(events, decisionEvent(g, *g.Decision))
	}
	return append(events, gateEvent(g, wflo.AuditGateClosed, "closed:"+string(g.Status), closedBy(g)))
}

// closedBy is who ended the gate.
func closedBy(g wflo.Gate) string {
	switch {
	case g.Status == wflo.GateCancelled || g.Status == wflo.GateExpired:
		return workerName
	case g.Decision != nil:
		return g.Decision.By
	}
	return timerName
}

// data writes one of the root's own structs, of which no field can fail.
func data(v any) json.RawMessage {
	out, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	return out
}

func payloadHash(g wflo.Gate) string {
	sum, err := wflo.CanonicalSHA256(g.Approval.Payload)
	if err != nil {
		return ""
	}
	return sum
}

// channelsNow are those that the present level asks.
func channelsNow(g wflo.Gate) []string {
	if g.Level > 0 && g.Level <= len(g.Approval.Escalation) {
		if own := g.Approval.Escalation[g.Level-1].Notify; len(own) > 0 {
			return unique(own)
		}
	}
	return unique(g.Approval.Notify)
}

// channelsOf are all that have been told of the gate.
func channelsOf(g wflo.Gate) []string {
	all := slices.Clone(g.Approval.Notify)
	for _, l := range g.Approval.Escalation[:min(g.Level, len(g.Approval.Escalation))] {
		all = append(all, l.Notify...)
	}
	return unique(all)
}

func unique(names []string) []string {
	var out []string
	for _, name := range names {
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// noticeOf tells one channel about a gate. Its Seq is the gate's count of changes, so
// that a channel takes what came later for later.
func noticeOf(g wflo.Gate, kind wflo.NoticeKind, channel string) wflo.Notice {
	return wflo.Notice{
		ID:      fmt.Sprintf("%s:%s:%d:%s", g.Nonce, kind, g.Changes, channel),
		Channel: channel, Kind: kind, Thread: g.Nonce, Seq: g.Changes, Severity: severityOf(g.Approval.Risk),
		Title: title(g, kind), Text: text(g), Link: "/gates/" + g.Nonce, Gate: &g, Chain: g.AuditChain(), At: time.Now(),
	}
}

func severityOf(r wflo.Risk) wflo.Severity {
	switch r {
	case wflo.RiskCritical:
		return wflo.SeverityCritical
	case wflo.RiskHigh:
		return wflo.SeverityError
	case wflo.RiskMedium:
		return wflo.SeverityWarning
	}
	return wflo.SeverityInfo
}

// maxTitle bounds the one line of a notice, in bytes.
const maxTitle = 300

// title is what happened and to which action, on one line.
func title(g wflo.Gate, kind wflo.NoticeKind) string {
	what := "Approval needed"
	switch kind {
	case wflo.NoticeReminder:
		what = "Reminder: approval needed"
	case wflo.NoticeEscalated:
		what = fmt.Sprintf("Escalated to level %d: approval needed", g.Level)
	case wflo.NoticeClosed:
		what = "Gate " + string(g.Status)
	case wflo.NoticeAsked:
		if g.Revision > 0 {
			what = "Edited: approval needed"
		}
	}
	return what + ": " + shorten(wflo.VisibleLine(g.Approval.Action), maxTitle)
}

// text says what people need to know to decide, or how it ended.
func text(g wflo.Gate) string {
	var b strings.Builder
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s: %s\n", name, wflo.VisibleLine(value))
		}
	}
	line("Action", g.Approval.Action)
	line("Gate", g.ID)
	line("Workflow", g.WorkflowID)
	line("Risk", string(g.Approval.Risk))
	line("On behalf of", g.User)
	if g.Closed() {
		line("Result", string(g.Status))
		line("By", closedBy(g))
		if g.Decision != nil {
			line("Reason", g.Decision.Reason)
		}
		return b.String()
	}
	for _, f := range g.Asked() {
		who := strings.Join(f.Approvers, ", ")
		if who == "" {
			who = "anybody whom the worker admits"
		}
		line("Approvers", fmt.Sprintf("%d of %s", max(f.Quorum, 1), who))
	}
	line("Deadline", g.ExpiresAt.UTC().Format(time.RFC3339))
	line("Digest", g.Digest)
	return b.String()
}

// shorten cuts s to about n bytes and says how much is missing.
func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	head := strings.ToValidUTF8(s[:n], "")
	return fmt.Sprintf("%s … (%d more bytes)", head, len(s)-len(head))
}
