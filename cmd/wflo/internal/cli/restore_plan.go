package cli

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/wflo-ai/wflo-go"
)

// planWidth is how wide a plan is, in columns.
const planWidth = 80

// wrapped is text on lines of at most planWidth columns, escaped. The first one begins
// with head, the others with indent.
func wrapped(text, head, indent string) string {
	var b strings.Builder
	line, used := head, utf8.RuneCountInString(head)
	empty := true
	flush := func() {
		b.WriteString(strings.TrimRight(line, " ") + "\n")
		line, used, empty = indent, utf8.RuneCountInString(indent), true
	}
	for _, word := range strings.Fields(escapeLine(text)) {
		n := utf8.RuneCountInString(word)
		if !empty && used+1+n > planWidth {
			flush()
		}
		if !empty {
			line, used = line+" ", used+1
		}
		for used+n > planWidth { // a word that no line holds, such as a long path
			runes := []rune(word)
			room := planWidth - used
			line, word = line+string(runes[:room]), string(runes[room:])
			n -= room
			flush()
		}
		line, used, empty = line+word, used+n, false
	}
	flush()
	return b.String()
}

// point is one entry of a list.
func point(text string) string { return wrapped(text, "  - ", "    ") }

// fact is a name and its value.
func fact(name, value string) string {
	if value == "" {
		return ""
	}
	return wrapped(value, fmt.Sprintf("  %-9s", name), strings.Repeat(" ", 11))
}

// section is a list with its title. Without entries it says so.
func section(title string, entries ...string) string {
	if len(entries) == 0 {
		return "\n" + title + ": nothing\n"
	}
	return "\n" + title + "\n" + strings.Join(entries, "")
}

// planText is what a restore would do, or did.
func planText(r wflo.Restored) string {
	p := r.Plan
	var b strings.Builder
	b.WriteString(wrapped(fmt.Sprintf("restore of %s, %s", r.Restore.WorkflowID, modeText(p.Mode)), "", "  "))
	b.WriteString(factsText(r.Restore, p))
	var undo []string
	for i, c := range p.Undo {
		undo = append(undo, wrapped(undoText(c), fmt.Sprintf("  %d. ", i+1), "     "))
	}
	b.WriteString(section("will be undone, in this order", andMore(undo, p.More.Undo)...))
	if len(p.Skipped) > 0 {
		var skipped []string
		for _, c := range p.Skipped {
			skipped = append(skipped, point(undoText(c)))
		}
		b.WriteString(section("need not be undone, because it never happened", andMore(skipped, p.More.Skipped)...))
	}
	b.WriteString(itemsText("cannot be undone", p.Irreversible, p.More.Irreversible))
	b.WriteString(itemsText("approvals that become void", p.Void, p.More.Void))
	b.WriteString(itemsText("done again", p.Again, p.More.Again))
	if len(p.Diffs) > 0 {
		b.WriteString("\nchanged since\n" + diffsText(p.Diffs))
	}
	b.WriteString(wordsText("mind that", p.Warnings, p.More.Warnings))
	b.WriteString(wordsText("it would be refused", p.Refusals, 0))
	return b.String()
}

func factsText(order wflo.Restore, p wflo.RestorePlan) string {
	to := order.To.Snapshot
	if !order.To.Time.IsZero() {
		to = order.To.Time.UTC().Format(time.RFC3339)
	}
	if s := p.Snapshot; s != nil && s.ID != to {
		to += " (" + s.ID + ")"
	}
	at := ""
	if !p.At.IsZero() {
		at = p.At.UTC().Format(time.RFC3339)
		if p.Moved != "" {
			at += ", earlier than asked: " + p.Moved
		}
	}
	return fact("to", to) + fact("moment", at) + fact("new id", order.NewID) + fact("kept", plural(p.Kept, "outcome")) +
		fact("plan", p.Digest) + fact("money", fmt.Sprintf("%s was spent since and stays spent; %s in all", p.Spent, p.SpentTotal))
}

func modeText(m wflo.RestoreMode) string {
	switch m {
	case wflo.RestoreInPlace:
		return "in place"
	case wflo.RestoreFork:
		return "as a fork"
	case wflo.RestoreReopen:
		return "reopening it"
	}
	return string(m)
}

func undoText(c wflo.CompensationRecord) string {
	text := c.Name + " (" + c.Activity
	if c.Step != "" {
		text += ", of " + c.Step
	}
	return text + "; " + strings.ReplaceAll(string(c.State), "_", " ") + ")"
}

func itemsText(title string, items []wflo.PlanItem, more int) string {
	var lines []string
	for _, i := range items {
		text := i.Kind + " " + i.Key
		if i.Effect != "" {
			text += " (" + string(i.Effect) + ")"
		}
		if i.Note != "" {
			text += ": " + i.Note
		}
		lines = append(lines, point(text))
	}
	return section(title, andMore(lines, more)...)
}

// andMore says how many entries a list leaves out, if any.
func andMore(lines []string, more int) []string {
	if more == 0 {
		return lines
	}
	return append(lines, fmt.Sprintf("  and %d more\n", more))
}

// wordsText is a list of sentences; empty without any.
func wordsText(title string, words []string, more int) string {
	if len(words) == 0 {
		return ""
	}
	var lines []string
	for _, w := range words {
		lines = append(lines, point(w))
	}
	return section(title, andMore(lines, more)...)
}

// diffsText is what differs, by part: + came, - went, ~ changed.
func diffsText(diffs []wflo.PartDiff) string {
	var b strings.Builder
	for _, d := range diffs {
		name := partName(d.Kind, d.Name)
		switch {
		case d.Problem != "":
			b.WriteString(wrapped(name+": "+d.Problem, "  ", "    "))
		case len(d.Changes) == 0:
			b.WriteString(wrapped(name+": nothing", "  ", "    "))
		default:
			b.WriteString(wrapped(name, "  ", "    "))
			for _, c := range d.Changes {
				b.WriteString(changeText(d.Kind, c))
			}
		}
		if d.More > 0 {
			b.WriteString(fmt.Sprintf("    and %d more\n", d.More))
		}
	}
	return b.String()
}

func changeText(kind wflo.PartKind, c wflo.PartChange) string {
	amount := size
	if kind == wflo.PartTables {
		amount = func(n int64) string { return fmt.Sprintf("%d rows", n) }
	}
	sign, text := "~", c.Name
	switch {
	case c.Op == "added":
		sign, text = "+", c.Name+", "+amount(c.After)
	case c.Op == "removed":
		sign, text = "-", c.Name+", "+amount(c.Before)
	case c.Before != c.After:
		text += ", " + amount(c.Before) + " to " + amount(c.After)
	}
	if c.Detail != "" {
		text += " (" + c.Detail + ")"
	}
	return wrapped(text, "    "+sign+" ", "      ")
}

// restoredText is how a restore ended.
func restoredText(r wflo.Restored) string {
	text := fmt.Sprintf("run %s went back", r.Restore.WorkflowID)
	switch {
	case r.Into != "" && r.Into != r.From:
		text = fmt.Sprintf("run %s goes on from there as %s", r.Restore.WorkflowID, r.Into)
	case r.Epoch > 0:
		text += fmt.Sprintf(", and is in epoch %d", r.Epoch)
	}
	out := wrapped(text, "", "  ")
	if n := len(r.Plan.Undo); n > 0 && r.Plan.Mode != wflo.RestoreFork {
		out += wrapped(fmt.Sprintf("%s undone, %d could not be", plural(n-min(len(r.Dead), n), "effect"), len(r.Dead)), "  ", "  ")
	}
	if r.PreRestore != "" {
		out += wrapped("what it gave up is in snapshot "+r.PreRestore, "  ", "  ")
	}
	return out
}
