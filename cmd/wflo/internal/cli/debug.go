package cli

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/story"
)

// account is the data of `wflo debug`.
type account struct {
	Head story.Head `json:"head"`
	// Rows are those worth looking at, and what they happened within, in order.
	Rows []story.Row `json:"rows"`
	// Read is how many rows were looked at: the last ones of the story.
	Read int `json:"read"`
}

func (a *app) debugCmd() *cobra.Command {
	var f storyFlags
	last := 12
	cmd := &cobra.Command{
		Use:   "debug RUN",
		Short: "Show the whole story of a run: what happened, why it stopped, what to do next",
		Long: `Show the whole story of a run on one screen: its state, why it stopped or waits,
the command that gets it going again, what it spent of its budget, the gates that
are open, what could not be undone, and a tree of what it did last and of
what failed or is tried again. The rest of the tree: wflo trace RUN.`,
		Example: "  wflo debug refund-k3f9\n  wflo debug refund-k3f9 -o json\n  wflo debug refund-k3f9 --jq .head.next",
		Args:    args("RUN"),
		RunE: func(cmd *cobra.Command, names []string) error {
			if last < 1 {
				return Usage("give a positive number", "--last is %d", last)
			}
			return a.debug(cmd.Context(), names[0], f.run, last)
		},
		ValidArgsFunction: a.completeRuns,
	}
	cmd.Flags().StringVar(&f.run, "run", "", "Temporal's id of one run, where the workflow id has had several; default: the latest")
	cmd.Flags().IntVar(&last, "last", last, "so many of the last rows, besides those that failed")
	return cmd
}

func (a *app) debug(ctx context.Context, run, runID string, last int) error {
	c, err := a.api()
	if err != nil {
		return err
	}
	head, err := c.head(ctx, run, runID)
	if err != nil {
		return err
	}
	page, err := c.rows(ctx, story.Query{WorkflowID: run, RunID: runID, Latest: true})
	if err != nil {
		return err
	}
	if page.Rows, _, err = c.withChildren(ctx, page.Rows, nil, true); err != nil {
		return err
	}
	acc := account{Head: head, Rows: telling(page, last), Read: len(page.Rows)}
	if a.format != formatText {
		return a.printJSON(acc)
	}
	if head.Note != "" {
		a.note("note: %s", Escape(head.Note))
	}
	return a.printAccount(acc, time.Now())
}

// mostTelling bounds the rows that are shown because something is wrong with them.
const mostTelling = 20

// telling picks the last rows and the latest of those that failed, are under way or were
// tried again, with everything that they happened within.
func telling(p story.Page, last int) []story.Row {
	all := slices.Concat(p.Parents, p.Rows)
	index := make(map[string]int, len(all))
	for i, r := range all {
		index[r.ID] = i
	}
	keep, told := map[int]bool{}, 0
	for i := len(all) - 1; i >= len(p.Parents); i-- {
		r := all[i]
		wanted := len(all)-i <= last
		if !wanted && told < mostTelling && (bad(r) || r.Attempts > 1 || r.State == story.StateRunning || r.State == story.StateWaiting) {
			wanted, told = true, told+1
		}
		for at, ok := i, wanted; ok && !keep[at]; at, ok = index[all[at].Parent] {
			keep[at] = true
		}
	}
	rows := []story.Row{} // scripts expect an array
	for _, i := range slices.Sorted(maps.Keys(keep)) {
		rows = append(rows, all[i])
	}
	return rows
}

func (a *app) printAccount(acc account, now time.Time) error {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, f := range headFacts(acc.Head, now) {
		fields(w, f.name, f.text)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	b.WriteString(gatesText(acc.Head.Gates))
	if len(acc.Rows) > 0 {
		fmt.Fprintf(&b, "\n%s\n", a.styled(styleBold, happenedTitle(acc)))
		for _, br := range branches(acc.Rows) {
			b.WriteString(a.storyLine(br, now))
		}
	}
	_, err := fmt.Fprint(a.deps.Stdout, b.String())
	return err
}

func happenedTitle(acc account) string {
	if len(acc.Rows) >= acc.Read {
		return "What happened"
	}
	return fmt.Sprintf("What happened last, and what failed (%d of %d rows; all: wflo trace %s)", len(acc.Rows), acc.Read, shellWord(acc.Head.WorkflowID))
}

// said is one line of what is known of a run.
type said struct{ name, text string }

// headFacts is what the top of a run's page says, in the order in which people ask.
func headFacts(h story.Head, now time.Time) []said {
	state := string(h.State)
	if h.Status != "" && !strings.EqualFold(h.Status, state) {
		state += " (" + h.Status + ")"
	}
	took := ""
	if !h.Closed.IsZero() {
		took = short(h.Closed.Sub(h.Started))
	}
	who := cmp.Or(h.Run.User, "-")
	if h.Run.Team != "" {
		who += ", team " + h.Run.Team
	}
	if h.Run.Org != "" {
		who += ", of " + h.Run.Org
	}
	halted := ""
	if h.Halted != nil {
		halted = "by " + h.Halted.By + ": " + h.Halted.Reason
	}
	failed := h.Error
	if h.Code == "" && strings.Contains(h.Why, failed) {
		failed = "" // it is said already
	}
	if h.Code != "" && failed != "" {
		failed += " [" + string(h.Code) + "]"
	}
	return []said{
		{"run", h.WorkflowID}, {"workflow", h.Workflow}, {"where", "task queue " + h.TaskQueue + " of namespace " + h.Namespace},
		{"state", state}, {"why", h.Why}, {"next", h.Next},
		{"error", failed}, {"hint", h.Hint}, {"halted", halted},
		{"for", who}, {"agent", h.Run.Agent}, {"started", short(now.Sub(h.Started)) + " ago, " + h.Started.UTC().Format(time.RFC3339)},
		{"took", took}, {"spent", headSpend(h)}, {"did", didText(h)}, {"risk", h.Risk},
		{"undo", undoStates(h.Undo)}, {"snapshots", snapshotNames(h.Snapshots)}, {"policies", clip(h.Bundle, 12)}, {"trace", h.TraceID},
	}
}

func didText(h story.Head) string {
	calls := plural(h.Calls, "model call") + ", "
	if h.Calls == 0 && h.Spend.Spent > 0 {
		calls = "" // runs that it started made them
	}
	return plural(h.Steps, "step") + ", " + calls + plural(int(h.Events), "event") + " of history"
}

func headSpend(h story.Head) string {
	s := h.Spend
	text := s.Spent.String()
	if s.Reserved != 0 {
		text += ", " + s.Reserved.String() + " reserved"
	}
	if s.Unknown != 0 {
		text += ", " + s.Unknown.String() + " of it by calls whose outcome nobody knows"
	}
	if s.Limit > 0 {
		text += ", of " + s.Limit.String() + " " + usedBar(s)
	}
	return text
}

// undoStates counts compensations, those that wait for a person first.
func undoStates(counts map[wflo.CompensationState]int) string {
	var parts []string
	if n := counts[wflo.CompensationDead]; n > 0 {
		parts = append(parts, plural(n, "dead letter")+", which a person must settle")
	}
	for _, s := range slices.Sorted(maps.Keys(counts)) {
		if s != wflo.CompensationDead && counts[s] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", counts[s], s))
		}
	}
	return strings.Join(parts, ", ")
}

func snapshotNames(all []wflo.SnapshotRef) string {
	const most = 5
	names := make([]string, 0, most+1)
	for i, s := range slices.Backward(all) {
		if len(names) == most {
			names = append(names, fmt.Sprintf("and %d before", i+1))
			break
		}
		names = append(names, cmp.Or(s.Name, s.ID))
	}
	return strings.Join(names, ", ")
}

// clip is the beginning of an id that nobody reads to its end.
func clip(text string, most int) string {
	if r := []rune(text); len(r) > most {
		return string(r[:most])
	}
	return text
}

// gatesText has each open gate in brief: what is asked, who may answer, and how. The whole
// of it would push everything else off the screen.
func gatesText(gates []wflo.Gate) string {
	var b strings.Builder
	for _, g := range gates {
		fmt.Fprintf(&b, "\n  gate  %s: %s\n", escapeLine(g.ID), escapeLine(g.Approval.Action))
		for _, f := range []said{
			{"risk", string(g.Approval.Risk)}, {"approvers", strings.Join(g.MayDecide(), ", ")}, {"expires", expiry(g)},
			{"whole", "wflo approvals show " + shellWord(g.ID) + " --run " + shellWord(g.WorkflowID)},
		} {
			if f.text != "" {
				fmt.Fprintf(&b, "        %-10s %s\n", f.name, escapeLine(f.text))
			}
		}
		fmt.Fprintf(&b, "%s\n", decideHelp(g))
	}
	return b.String()
}

func expiry(g wflo.Gate) string {
	if g.ExpiresAt.IsZero() {
		return ""
	}
	return "in " + short(time.Until(g.ExpiresAt))
}

// storyLine is a row of the tree, with its error below it.
func (a *app) storyLine(br branch, now time.Time) string {
	r := br.Row
	line := fmt.Sprintf("%s%s %s", br.lead, a.styled(stateStyle(r.State), stateSign(r.State)), escapeLine(rowName(r)))
	if took := rowTook(r, now); took > 0 {
		line += "  " + a.styled(styleFaint, short(took))
	}
	if cost := rowCost(r); cost != "" {
		line += "  " + cost
	}
	if facts := rowFacts(r); facts != "" {
		line += "  " + a.styled(styleFaint, escapeLine(facts))
	}
	line += "\n"
	if r.Error != "" {
		line += br.rest + a.styled(styleBad, escapeLine(r.Error)) + "\n"
	}
	if r.Hint != "" {
		line += br.rest + "hint: " + escapeLine(r.Hint) + "\n"
	}
	return line
}
