package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/wflo-ai/wflo-go"
)

// stepLine is one finished step.
func stepLine(s wflo.StepRecord) string {
	if s.Error != "" {
		return fmt.Sprintf("  step  %s failed: %s", escapeLine(s.Key), escapeLine(s.Error))
	}
	if s.Effect != "" {
		return fmt.Sprintf("  step  %s (%s)", escapeLine(s.Key), escapeLine(string(s.Effect)))
	}
	return "  step  " + escapeLine(s.Key)
}

// stepText is stepLine where there is room for an error of several lines.
func stepText(s wflo.StepRecord) string {
	failure := s.Error
	if failure == "" {
		return stepLine(s) + "\n"
	}
	return "  step  " + escapeLine(s.Key) + " failed" + problemText(failure) + "\n"
}

// problemText is an error after what it is of: on the same line where it has one, else
// indented below it, so that no line of it looks like another step.
func problemText(text string) string {
	text = strings.TrimSpace(text)
	if !strings.Contains(text, "\n") {
		return ": " + escapeLine(text)
	}
	const indent = "\n        | "
	return ":" + indent + strings.ReplaceAll(Escape(text), "\n", indent)
}

// gateText shows everything that a decision covers.
func gateText(g wflo.Gate) string {
	var b strings.Builder
	fmt.Fprintf(&b, "  gate  %s: %s\n", escapeLine(g.ID), escapeLine(g.Approval.Action))
	line := func(name, text string) {
		if text != "" {
			fmt.Fprintf(&b, "        %-10s %s\n", name, escapeLine(text))
		}
	}
	line("run", g.WorkflowID)
	line("for", g.User)
	line("risk", string(g.Approval.Risk))
	if len(g.Approval.Payload) > 0 {
		fmt.Fprintf(&b, "        %-10s %s\n", "payload", pretty(g.Approval.Payload, strings.Repeat(" ", 19)))
	}
	if g.Approval.Details != "" {
		details := strings.ReplaceAll(Escape(strings.TrimSpace(g.Approval.Details)), "\n", "\n"+strings.Repeat(" ", 19))
		fmt.Fprintf(&b, "        %-10s %s\n", "details", details)
	}
	if len(g.Approval.Form) > 0 {
		fmt.Fprintf(&b, "        %-10s %s\n", "form", pretty(g.Approval.Form, strings.Repeat(" ", 19)))
	}
	if g.Revision > 0 {
		line("changed", howOften(g.Revision)+"; see: wflo approvals show "+shellWord(g.ID))
	}
	line("approvers", strings.Join(g.MayDecide(), ", "))
	if have, need := forShow(g).Need(shownTerms); need > 1 {
		line("approvals", fmt.Sprintf("%d of %d", have, need))
	}
	line("four eyes", fourEyes(g))
	if !g.ExpiresAt.IsZero() {
		line("expires", "in "+short(time.Until(g.ExpiresAt)))
	}
	if len(g.Digest) >= 12 {
		line("digest", g.Digest[:12])
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// decideHelp is what to type at an open gate.
func decideHelp(g wflo.Gate) string {
	target := shellWord(g.ID) + " --run " + shellWord(g.WorkflowID)
	answers := g.Approval.Answers
	if len(answers) == 0 {
		answers = []wflo.Verdict{wflo.VerdictApprove, wflo.VerdictReject}
	}
	var lines []string
	for _, v := range []struct {
		verdict wflo.Verdict
		rest    string
	}{
		{wflo.VerdictApprove, ""}, {wflo.VerdictEdit, " --edit FILE"}, {wflo.VerdictReject, ` --reason "..."`}, {wflo.VerdictRespond, answerHelp(g)},
	} {
		if slices.Contains(answers, v.verdict) && (!g.Closed() || v.verdict == wflo.VerdictReject) {
			name := v.verdict
			if name == wflo.VerdictEdit {
				name = wflo.VerdictApprove
			}
			lines = append(lines, fmt.Sprintf("        wflo %s %s%s", name, target, v.rest))
		}
	}
	if !g.Closed() && g.Level < len(g.Approval.Escalation) {
		lines = append(lines, "        wflo escalate "+target)
	}
	return strings.Join(lines, "\n")
}

func answerHelp(g wflo.Gate) string {
	if len(g.Approval.Form) > 0 {
		return " --form FILE"
	}
	return ` --text "..."`
}

// gateOutcome says how a gate was closed.
func gateOutcome(g wflo.Gate) string {
	text := escapeLine(g.ID) + " " + escapeLine(string(g.Status))
	if d := g.Decision; d != nil {
		text += " by " + escapeLine(d.By)
		if d.Reason != "" {
			text += ": " + escapeLine(d.Reason)
		}
	}
	return text
}

// shellWord quotes a word for a POSIX shell where it needs that, because people
// copy the commands that we print, and ids may come from strangers.
func shellWord(s string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:@"
	if s != "" && !strings.HasPrefix(s, "-") && strings.Trim(s, plain) == "" {
		return s
	}
	return "'" + strings.ReplaceAll(escapeLine(s), "'", `'\''`) + "'"
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
