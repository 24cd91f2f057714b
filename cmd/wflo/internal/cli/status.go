package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/wflo-ai/wflo-go"
)

// runStatus is the data of `wflo status`.
type runStatus struct {
	runSummary
	// Detail is what the run says of itself; nil when it says nothing.
	Detail *wflo.Status `json:"detail,omitempty"`
	// Note says why Detail is missing.
	Note string `json:"note,omitempty"`
}

func (a *app) statusCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "status ID",
		Short: "Show what a run is doing, did and spent",
		Args:  args("ID"),
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
	if a.format != formatText {
		return a.printJSON(st)
	}
	return a.printStatus(st)
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
	if st.Spent != nil {
		spent := st.Spent.String()
		if d := st.Detail; d != nil {
			spent += " in " + plural(d.Calls, "model call")
			if limit := d.Run.Budget.Limit; limit > 0 {
				spent += ", of " + limit.String()
			}
		}
		line("spent", spent)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if st.Note != "" {
		a.note("note: %s", Escape(st.Note))
	}
	if st.Detail == nil {
		return nil
	}
	_, err := fmt.Fprint(a.deps.Stdout, detailText(*st.Detail))
	return err
}

// detailText lists steps, gates and compensations.
func detailText(st wflo.Status) string {
	var b strings.Builder
	if h := st.Halted; h != nil {
		fmt.Fprintf(&b, "halted by %s: %s\n", escapeLine(h.By), escapeLine(h.Reason))
	}
	for _, s := range st.Steps {
		fmt.Fprintln(&b, stepLine(s))
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
		if u.Error != "" {
			fmt.Fprintf(&b, ": %s", escapeLine(u.Error))
		}
		b.WriteByte('\n')
	}
	return b.String()
}
