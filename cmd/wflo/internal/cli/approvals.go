package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/desk"
)

func (a *app) approvalsCmd() *cobra.Command {
	var f gateFilter
	cmd := &cobra.Command{
		Use:   "approvals",
		Short: "List the gates that wait for a decision",
		Long: `List the gates that wait for a decision, those that time out first first. They come
from the index of the API where it answers, and else from the runs, by Temporal.

HAVE counts the approvals of all sets of approvers that must approve. A list leaves
payloads out; wflo approvals show has them.`,
		Example: `  wflo approvals --mine
  wflo approvals --group ops -o json
  wflo approvals show refunds`,
		Args: groupArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.validate(); err != nil {
				return err
			}
			return a.approvals(cmd.Context(), f)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.mine, "mine", false, "those that ask you, one of your groups, or anybody")
	flags.StringVar(&f.run, "run", "", "those of this run")
	flags.StringVar(&f.group, "group", "", "those that ask this group, or anybody")
	flags.BoolVar(&f.closed, "closed", false, "those that are over, the latest first")
	cmd.AddCommand(a.approvalsShowCmd())
	return cmd
}

func (a *app) approvals(ctx context.Context, f gateFilter) error {
	src, err := a.gateSource(ctx, decideFlags{}, true)
	if err != nil {
		return err
	}
	defer src.close()
	items, err := src.list(ctx, f)
	if err != nil && len(items) == 0 {
		return err
	}
	if len(items) == 0 && a.format == formatText {
		a.note("%s", map[bool]string{false: "nothing waits for a decision", true: "nothing is over"}[f.closed])
	}
	header, row := []string{"GATE", "RUN", "ACTION", "RISK", "FOR", "HAVE", "EXPIRES", "WHO MAY"}, openRow
	if f.closed {
		header, row = []string{"GATE", "RUN", "ACTION", "STATUS", "BY", "HAVE", "CLOSED"}, closedRow
	}
	printed := printAll(a, items, header, row)
	if len(items) > 0 && a.format == formatText && !f.closed {
		a.note("decide with:\n%s", decideHelp(items[0].Gate))
	}
	return errors.Join(printed, err)
}

func openRow(i desk.Item) []string {
	who := i.MayDecide()
	return []string{
		i.ID, i.WorkflowID, i.Approval.Action, string(i.Approval.Risk), i.User, fmt.Sprintf("%d/%d", i.Have, i.Need),
		until(i.ExpiresAt), people(who),
	}
}

func closedRow(i desk.Item) []string {
	by := ""
	if i.Decision != nil {
		by = i.Decision.By
	}
	return []string{
		i.ID, i.WorkflowID, i.Approval.Action, string(i.Status), by, fmt.Sprintf("%d/%d", i.Have, i.Need), since(i.ClosedAt) + " ago",
	}
}

// until is a moment as seen from now.
func until(at time.Time) string {
	switch left := time.Until(at); {
	case at.IsZero():
		return "never"
	case left < 0:
		return "overdue by " + short(-left)
	default:
		return "in " + short(left)
	}
}

// people names approvers; none means anybody.
func people(names []string) string {
	if len(names) == 0 {
		return "anybody"
	}
	const most = 4
	if len(names) > most {
		return strings.Join(names[:most-1], ", ") + fmt.Sprintf(" and %d more", len(names)-most+1)
	}
	return strings.Join(names, ", ")
}

func (a *app) approvalsShowCmd() *cobra.Command {
	var f decideFlags
	cmd := &cobra.Command{
		Use:   "show GATE",
		Short: "Show all that there is to know of a gate",
		Long: `Show all that there is to know of a gate: the payload exactly as it will be acted
on, who may decide and who has, what was changed, what was refused, and how to
decide. GATE is the gate's name, its nonce, or the id of a run with one gate.`,
		Example: "  wflo approvals show refunds --run refund-k3f9",
		Args:    args("GATE"),
		RunE: func(cmd *cobra.Command, names []string) error {
			src, err := a.gateSource(cmd.Context(), decideFlags{}, true)
			if err != nil {
				return err
			}
			defer src.close()
			v, err := src.find(cmd.Context(), names[0], f.run, func(wflo.Gate) bool { return true })
			if err != nil {
				return err
			}
			if a.format != formatText {
				return a.printJSON(v)
			}
			_, err = fmt.Fprintln(a.deps.Stdout, viewText(v, src.page(v.Gate)))
			return err
		},
	}
	cmd.Flags().StringVar(&f.run, "run", "", "the run, when the gate's name is not enough")
	return cmd
}
