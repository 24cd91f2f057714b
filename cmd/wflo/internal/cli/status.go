package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"go.temporal.io/sdk/converter"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/console"
)

// runStatus is the data of `wflo status`.
type runStatus struct {
	runSummary
	// Detail is what the run says of itself; nil when it says nothing.
	Detail *wflo.Status `json:"detail,omitempty"`
	// Note says why Detail is missing.
	Note string `json:"note,omitempty"`
	// Error, Hint, Code and Refusal say why the run failed.
	Error   string        `json:"error,omitempty"`
	Hint    string        `json:"hint,omitempty"`
	Code    wflo.Code     `json:"code,omitempty"`
	Refusal *wflo.Refusal `json:"refusal,omitempty"`
}

func (a *app) statusCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "status ID",
		Short: "Show what a run is doing, did and spent",
		Long: `Show what a run is doing, did and spent, as the run itself and Temporal say it. It needs
no API; wflo debug tells more where there is one.`,
		Example:           "  wflo status refund-k3f9\n  wflo status refund-k3f9 --jq .state",
		Args:              args("ID"),
		ValidArgsFunction: a.completeRuns,
		RunE: func(cmd *cobra.Command, names []string) error {
			return a.status(cmd.Context(), names[0])
		},
	}
}

func (a *app) status(ctx context.Context, id string) error {
	c, err := a.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	desc, err := c.DescribeWorkflowExecution(ctx, id, "")
	if err != nil {
		return c.explain(err, id)
	}
	st := runStatus{runSummary: summary(desc.GetWorkflowExecutionInfo())}
	detail, err := c.status(ctx, id)
	switch {
	case err == nil:
		st.Detail, st.Spent = &detail, &detail.Spent
		if st.Closed == nil && detail.State != "" {
			st.State = detail.State
		}
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, errNoStatus):
		st.Note = "the run's worker has not the wflo plugin, so there are no steps, gates and costs to show"
	default:
		st.Note = fmt.Sprintf("the run's worker does not answer, so there are no steps, gates and costs to show: %v", err)
	}
	st.Ledger = a.ledgerOf(ctx, st.runSummary)
	if st.Closed != nil && st.State != wflo.StateCompleted {
		c.failure(ctx, &st)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if a.format != formatText {
		return a.printJSON(st)
	}
	return a.printStatus(st)
}

// failure fills in why a run that has ended has no result.
func (c *connection) failure(ctx context.Context, st *runStatus) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	err := c.GetWorkflow(ctx, st.ID, st.RunID).Get(ctx, new(converter.RawValue))
	if err == nil || ctx.Err() != nil {
		return
	}
	err = c.describe(err, st.ID)
	st.Error, st.Hint = wflo.Explain(err)
	st.Code, st.Refusal = wflo.CodeOf(err), refusalIn(err)
}

// ledgerOf is a run's own budget, or nil when no worker's API is there to say:
// Temporal knows about the run without one.
func (a *app) ledgerOf(ctx context.Context, r runSummary) *wflo.Spend {
	c, err := a.api()
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, glanceLimit)
	defer cancel()
	var detail console.RunDetail
	// An API of another cluster may know another run of that name.
	if c.get(ctx, "/runs"+segment(r.ID), nil, &detail) != nil || detail.RunID != r.RunID || detail.Spend.Budget == "" {
		return nil
	}
	return &detail.Spend
}

// spentWords is what a run spent, from the ledger where that is known.
func spentWords(st runStatus) string {
	var text string
	switch {
	case st.Ledger != nil:
		text = st.Ledger.Spent.String()
	case st.Spent != nil:
		text = st.Spent.String()
	default:
		return ""
	}
	if d := st.Detail; d != nil {
		text += " in " + plural(d.Calls, "model call")
		if limit := d.Run.Budget.Limit; limit > 0 && st.Ledger == nil {
			text += ", of " + limit.String()
		}
	}
	if l := st.Ledger; l != nil {
		text += ", " + l.Reserved.String() + " reserved"
		if l.Limit > 0 {
			text += ", of " + l.Limit.String() + " " + usedBar(*l)
		}
	}
	return text
}

func (a *app) printStatus(st runStatus) error {
	w := tabwriter.NewWriter(a.deps.Stdout, 0, 0, 2, ' ', 0)
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%s\t%s\n", name, escapeLine(value))
		}
	}
	line("run", st.ID)
	line("workflow", st.Workflow)
	line("state", string(st.State))
	if d := st.Detail; d != nil {
		line("doing", d.Doing)
		line("agent", d.Run.Agent)
		st.User, st.Team = cmp.Or(st.User, d.Run.User), cmp.Or(st.Team, d.Run.Team)
	}
	line("user", st.User)
	line("team", st.Team)
	line("started", since(st.Started)+" ago")
	if st.Closed != nil {
		line("took", short(st.Closed.Sub(st.Started)))
	}
	line("spent", spentWords(st))
	fields(w, "error", st.Error)
	line("hint", st.Hint)
	if err := w.Flush(); err != nil {
		return err
	}
	if st.Note != "" {
		a.note("note: %s", Escape(st.Note))
	}
	if st.Refusal != nil {
		fmt.Fprint(a.deps.Stdout, refusalText(st.Refusal, time.Now()))
	}
	if st.Detail == nil {
		return nil
	}
	_, err := fmt.Fprint(a.deps.Stdout, detailText(*st.Detail))
	return err
}

// fields is text of several lines, such as a traceback, in the second column of a table.
func fields(w io.Writer, name, text string) {
	text = strings.ReplaceAll(strings.TrimSpace(text), "\t", "    ")
	if text == "" {
		return
	}
	for line := range strings.SplitSeq(text, "\n") {
		fmt.Fprintf(w, "%s\t%s\n", name, escapeLine(line))
		name = ""
	}
}

// detailText lists steps, gates and compensations.
func detailText(st wflo.Status) string {
	var b strings.Builder
	if h := st.Halted; h != nil {
		fmt.Fprintf(&b, "halted by %s: %s\n", escapeLine(h.By), escapeLine(h.Reason))
	}
	for _, s := range st.Steps {
		b.WriteString(stepText(s))
	}
	for _, g := range st.Gates {
		if g.Status == wflo.GateOpen {
			fmt.Fprintf(&b, "%s\n%s\n", gateText(g), decideHelp(g))
		} else {
			fmt.Fprintf(&b, "  gate  %s\n", gateOutcome(g))
		}
	}
	for _, u := range st.Compensations {
		fmt.Fprintf(&b, "  undo  %s (%s) %s", escapeLine(u.Name), escapeLine(u.Activity), escapeLine(string(u.State)))
		if u.Error != "" && u.State != wflo.CompensationDone {
			b.WriteString(problemText(u.Error))
		}
		b.WriteByte('\n')
	}
	return b.String()
}
