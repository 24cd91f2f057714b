package cli

import (
	"cmp"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/wflo-ai/wflo-go"
)

func (a *app) alertsCmd() *cobra.Command {
	var budget string
	var limit int
	cmd := &cobra.Command{
		Use:   "alerts",
		Short: "List the latest alerts of budgets",
		Long: `List the latest alerts of budgets, the latest first. A budget gives one per window
when what is spent reaches a threshold, and one when a call does not fit, with what
happens then: halt, ask, or alert, where the call is made.`,
		Example: "  wflo alerts\n  wflo alerts --budget team:payments --limit 100 -o json",
		Args:    args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 1 || limit > 1000 {
				return Usage("give a number from 1 to 1000", "--limit is %d", limit)
			}
			q := url.Values{"n": {strconv.Itoa(limit)}}
			if budget != "" {
				if err := checkBudgetID(budget); err != nil {
					return err
				}
				q.Set("budget", budget)
			}
			c, err := a.api()
			if err != nil {
				return err
			}
			var all []wflo.BudgetAlert
			if err := c.get(cmd.Context(), "/alerts", q, &all); err != nil {
				return err
			}
			if len(all) == 0 && a.format == formatText {
				a.note("no alerts; budgets give them, see: wflo budget list")
			}
			return a.printAlerts(all)
		},
	}
	cmd.Flags().StringVar(&budget, "budget", "", "only alerts of this budget, such as team:payments")
	cmd.Flags().IntVar(&limit, "limit", 20, "at most so many")
	if err := cmd.RegisterFlagCompletionFunc("budget", func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		return a.completeBudgets(cmd, nil, typed)
	}); err != nil {
		panic(err) // the flag was added above
	}
	return cmd
}

func (a *app) printAlerts(all []wflo.BudgetAlert) error {
	return printAll(a, all, []string{"AT", "BUDGET", "ALERT", "SPENT", "RESERVED", "LIMIT", "RUN"}, func(b wflo.BudgetAlert) []string {
		why := fmt.Sprintf("%d%%", b.Percent)
		if b.Kind == wflo.AlertExceeded {
			why = "did not fit: " + string(cmp.Or(b.OnExceeded, wflo.ExceedHalt))
		}
		return []string{b.At.UTC().Format(time.RFC3339), b.Budget, why, b.Spent.String(), b.Reserved.String(), b.Limit.String(), b.Run.WorkflowID}
	})
}
