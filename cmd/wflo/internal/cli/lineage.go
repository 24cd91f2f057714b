package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/console"
)

func (a *app) lineageCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "lineage RUN",
		Short: "Show how a run and others come from each other",
		Long: `Show how a run and others come from each other by restores, as a tree, the oldest
first. The run that was asked about has a star.`,
		Example:           "  wflo lineage refund-k3f9",
		Args:              args("RUN"),
		ValidArgsFunction: a.completeRuns,
		RunE: func(cmd *cobra.Command, given []string) error {
			c, err := a.api()
			if err != nil {
				return err
			}
			var l console.Lineage
			if err := c.get(cmd.Context(), "/runs"+segment(given[0])+"/lineage", nil, &l); err != nil {
				return err
			}
			if a.format != formatText {
				return a.printJSON(l)
			}
			if len(l.Steps) == 0 {
				a.note("the run began by itself, and was never taken back")
			}
			_, err = fmt.Fprint(a.deps.Stdout, lineageText(l))
			return err
		},
	}
}

// lineageText is the tree. Where restores lead in a circle, or the beginning is not on
// record, a run that none of the shown ones led to is a root of its own.
func lineageText(l console.Lineage) string {
	t := &tree{asked: l.Run, steps: l.Steps, seen: map[string]bool{}}
	for _, s := range l.Steps {
		if !slices.ContainsFunc(l.Steps, func(o console.LineageStep) bool { return o.Into == s.From && o.From != s.From }) {
			t.root(s.From)
		}
	}
	t.root(l.Run)
	return t.String()
}

// tree writes runs with the restores that began at them.
type tree struct {
	strings.Builder
	asked string
	steps []console.LineageStep
	seen  map[string]bool
}

func (t *tree) root(run string) {
	if t.seen[run] {
		return
	}
	fmt.Fprintf(t, "%s%s\n", escapeLine(run), t.star(run))
	t.below(run, "")
}

func (t *tree) star(run string) string {
	if run == t.asked {
		return " *"
	}
	return ""
}

func (t *tree) below(run, indent string) {
	t.seen[run] = true
	own := slices.DeleteFunc(slices.Clone(t.steps), func(s console.LineageStep) bool { return s.From != run })
	for i, s := range own {
		branch, rest := "├─ ", "│  "
		if i == len(own)-1 {
			branch, rest = "└─ ", "   "
		}
		t.WriteString(wrapped(restoreLine(s)+t.star(leads(s)), indent+branch, indent+rest+"  "))
		t.WriteString(wrapped(restoreWhy(s), indent+rest+"  ", indent+rest+"  "))
		if next := leads(s); next != "" && !t.seen[next] {
			t.below(next, indent+rest)
		}
	}
}

// leads is another run that a restore led to; empty where the run went on itself.
func leads(s console.LineageStep) string {
	if s.Into == s.From {
		return ""
	}
	return s.Into
}

func restoreLine(s console.LineageStep) string {
	text := string(s.Mode)
	if next := leads(s); next != "" {
		text += " into " + next
	}
	if !s.Moment.IsZero() {
		text += ", to " + s.Moment.UTC().Format(time.RFC3339)
	}
	if s.Name != "" {
		text += " (" + s.Name + ")"
	}
	if s.State != wflo.RestoreDone {
		text += ": " + string(s.State)
	}
	return text
}

func restoreWhy(s console.LineageStep) string {
	text := "by " + s.By
	if !s.Asked.IsZero() {
		text += ", " + s.Asked.UTC().Format(time.RFC3339)
	}
	text += ": " + s.Reason
	if s.Dead > 0 {
		text += fmt.Sprintf("; %s could not be undone", plural(s.Dead, "effect"))
	}
	if s.Error != "" {
		text += "; it failed: " + s.Error
	}
	return text
}
