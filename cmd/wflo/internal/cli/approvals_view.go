package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/desk"
)

// viewWidth is where the values of a gate begin, in columns.
const viewWidth = 14

// viewer writes the names and values of a gate.
type viewer struct{ strings.Builder }

func (w *viewer) line(name, value string) {
	if value != "" {
		fmt.Fprintf(w, "%-*s%s\n", viewWidth, name, escapeLine(value))
	}
}

// lines writes text of several lines that is escaped already.
func (w *viewer) lines(name, text string) {
	if text != "" {
		fmt.Fprintf(w, "%-*s%s\n", viewWidth, name, strings.ReplaceAll(text, "\n", "\n"+strings.Repeat(" ", viewWidth)))
	}
}

// viewText is everything about a gate. page is where it can be decided in a browser.
func viewText(v desk.View, page string) string {
	var w viewer
	g := v.Gate
	w.line("gate", g.ID)
	w.line("action", g.Approval.Action)
	w.line("risk", string(g.Approval.Risk))
	w.line("run", g.WorkflowID)
	w.line("workflow", g.Workflow)
	w.line("step", g.Step)
	w.line("asked for", g.User)
	w.line("org", g.Org)
	w.line("status", statusText(g))
	w.line("note", v.Note)
	viewPayload(&w, g)
	w.lines("details", Escape(strings.TrimSpace(g.Approval.Details)))
	if len(g.Approval.Form) > 0 {
		w.lines("form", pretty(g.Approval.Form, ""))
	}
	w.line("rules", strings.Join(g.Approval.Rules, ", "))
	viewPeople(&w, v)
	viewTimes(&w, g)
	w.line("nonce", g.Nonce)
	w.line("digest", g.Digest)
	if !g.Closed() || over(wflo.VerdictReject)(g) {
		w.lines("decide with", strings.TrimSpace(unindent(decideHelp(g))))
		w.line("", page)
	}
	return strings.TrimSuffix(w.String(), "\n")
}

func unindent(text string) string { return strings.ReplaceAll(text, "\n        ", "\n") }

func statusText(g wflo.Gate) string {
	if g.Status == wflo.GateOpen {
		return "open since " + g.OpenedAt.UTC().Format(time.RFC3339)
	}
	text := gateOutcome(g)
	if !g.ClosedAt.IsZero() {
		text += ", " + g.ClosedAt.UTC().Format(time.RFC3339)
	}
	switch {
	case g.Used:
		text += "; the action has begun"
	case g.Granted() && !g.UseBy.IsZero():
		text += "; the action must begin " + until(g.UseBy)
	}
	return text
}

func viewPayload(w *viewer, g wflo.Gate) {
	if len(g.Approval.Payload) > 0 {
		w.lines("payload", pretty(g.Approval.Payload, ""))
		if sum, err := wflo.CanonicalSHA256(g.Approval.Payload); err == nil {
			w.line("sha256", sum)
		}
	}
	w.line("acted on by", g.Approval.Activity)
	if g.Revision > 0 {
		w.lines("changed", fmt.Sprintf("%s, from what was asked first:\n%s", howOften(g.Revision), diffText(g.Original, g.Approval.Payload, "")))
	}
}

func howOften(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

func viewPeople(w *viewer, v desk.View) {
	g := v.Gate
	for _, s := range v.Sets {
		text := fmt.Sprintf("%d of %d by %s", s.Have, s.Need, strings.Join(s.Approvers, ", "))
		if len(s.Approvers) == 0 {
			text = fmt.Sprintf("%d of %d by anybody", s.Have, s.Need)
		}
		if s.Rule != "" {
			text += " (rule " + s.Rule + ")"
		}
		w.line("approvals", text)
	}
	if g.Approval.Denials > 1 {
		w.line("denials", fmt.Sprintf("%d end it", g.Approval.Denials))
	}
	w.line("four eyes", fourEyes(g))
	for _, d := range g.Votes {
		w.line("vote", voteText(d))
	}
	w.line("acked by", g.AckedBy)
	w.line("you", youText(v.You))
	if g.Refused > 0 {
		w.line("refused", fmt.Sprintf("%s; the last one: %s", plural(g.Refused, "attempt"), g.LastRefusal))
	}
}

// fourEyes names who may not approve; empty where anybody who is asked may.
func fourEyes(g wflo.Gate) string {
	if !g.Approval.FourEyes || len(g.Requesters) == 0 {
		return ""
	}
	return strings.Join(g.Requesters, ", ") + " may reject and not approve"
}

func voteText(d wflo.Decision) string {
	text := string(d.Verdict) + " by " + d.By
	if d.Method != "" {
		text += " (" + d.Method + ")"
	}
	if !d.At.IsZero() {
		text += ", " + d.At.UTC().Format(time.RFC3339)
	}
	if d.Reason != "" {
		text += ": " + d.Reason
	}
	return text
}

func youText(s desk.Standing) string {
	if s.Why != "" {
		return s.Why
	}
	if s.Eligible {
		return "you may decide"
	}
	return ""
}

func viewTimes(w *viewer, g wflo.Gate) {
	end := map[wflo.OnTimeout]string{
		"": "rejects it", wflo.OnTimeoutReject: "rejects it", wflo.OnTimeoutEscalate: "asks the next level, and rejects after the last",
		wflo.OnTimeoutHalt: "halts the run", wflo.OnTimeoutApprove: "approves it",
	}
	if g.Status == wflo.GateOpen && !g.ExpiresAt.IsZero() {
		w.line("deadline", until(g.ExpiresAt)+" ("+g.ExpiresAt.UTC().Format(time.RFC3339)+"), which "+end[g.Approval.OnTimeout])
	}
	for i, l := range g.Approval.Escalation {
		when := "when the time is up, or when somebody escalates"
		switch {
		case i < g.Level:
			when = "asked"
		case l.After > 0:
			when = "after " + l.After.String()
		}
		w.line(fmt.Sprintf("level %d", i+1), people(l.Approvers)+": "+when)
	}
	if g.Approval.Expiry > 0 {
		w.line("good for", g.Approval.Expiry.String()+" once it is approved")
	}
}

// afterText says what became of a gate by a decision.
func afterText(v desk.View, d wflo.Decision) string {
	g := v.Gate
	if g.Closed() {
		return gateOutcome(g)
	}
	name := escapeLine(g.ID)
	switch d.Verdict {
	case wflo.VerdictEscalate:
		return fmt.Sprintf("%s escalated to level %d: asks %s, %s", name, g.Level, escapeLine(waitsFor(v)), until(g.ExpiresAt))
	case wflo.VerdictAck:
		return fmt.Sprintf("%s is being looked at by %s; its time is up %s", name, escapeLine(g.AckedBy), until(g.ExpiresAt))
	case wflo.VerdictReject:
		denials := len(filteredVotes(g, wflo.VerdictReject))
		return fmt.Sprintf("%s has %d of %d rejections; it stays open", name, denials, max(g.Approval.Denials, 1))
	case wflo.VerdictEdit:
		return fmt.Sprintf("%s has another payload, digest %.12s; earlier votes are void. %d of %s; waits for %s",
			name, g.Digest, v.Have, plural(v.Need, "approval"), escapeLine(waitsFor(v)))
	}
	return fmt.Sprintf("%s has %d of %s; waits for %s", name, v.Have, plural(v.Need, "approval"), escapeLine(waitsFor(v)))
}

func filteredVotes(g wflo.Gate, verdict wflo.Verdict) []wflo.Decision {
	return slices.DeleteFunc(slices.Clone(g.Votes), func(d wflo.Decision) bool { return d.Verdict != verdict })
}

// waitsFor names whose approvals are missing.
func waitsFor(v desk.View) string {
	var missing []string
	for _, s := range v.Sets {
		if s.Have < s.Need {
			missing = append(missing, fmt.Sprintf("%d of %s", s.Need-s.Have, people(s.Approvers)))
		}
	}
	return strings.Join(missing, " and ")
}

// diffText compares two payloads line by line, as people read them. What is the same
// begins with two blanks.
func diffText(before, after json.RawMessage, indent string) string {
	lines := func(data json.RawMessage) []string {
		var b bytes.Buffer
		if json.Indent(&b, data, "", "  ") != nil {
			return strings.Split(Escape(string(data)), "\n")
		}
		return strings.Split(string(escapeJSON(b.Bytes())), "\n")
	}
	var out []string
	for _, l := range diffLines(lines(before), lines(after)) {
		out = append(out, indent+l)
	}
	return strings.Join(out, "\n")
}

// mostDiff bounds the work of a comparison, in pairs of lines.
const mostDiff = 1 << 20

// diffLines marks lines that went with - and those that came with +.
func diffLines(a, b []string) []string {
	var head, tail []string
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		head, a, b = append(head, "  "+a[0]), a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		tail, a, b = append(tail, "  "+a[len(a)-1]), a[:len(a)-1], b[:len(b)-1]
	}
	slices.Reverse(tail)
	return slices.Concat(head, diffMiddle(a, b), tail)
}

// diffMiddle compares by the longest common subsequence. Where that is too much work,
// all of it counts as different.
func diffMiddle(a, b []string) []string {
	var out []string
	if len(a)*len(b) > mostDiff {
		for _, l := range a {
			out = append(out, "- "+l)
		}
		for _, l := range b {
			out = append(out, "+ "+l)
		}
		return out
	}
	longest := make([][]int, len(a)+1) // of what a and b have in common from there on
	for i := range longest {
		longest[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			longest[i][j] = max(longest[i+1][j], longest[i][j+1])
			if a[i] == b[j] {
				longest[i][j] = longest[i+1][j+1] + 1
			}
		}
	}
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			out, i, j = append(out, "  "+a[i]), i+1, j+1
		case j == len(b) || i < len(a) && longest[i+1][j] >= longest[i][j+1]:
			out, i = append(out, "- "+a[i]), i+1
		default:
			out, j = append(out, "+ "+b[j]), j+1
		}
	}
	return out
}
