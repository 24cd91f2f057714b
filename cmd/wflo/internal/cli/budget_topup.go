package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/console"
)

type topUpFlags struct {
	reason, key string
	yes         bool
}

func (a *app) budgetTopUpCmd() *cobra.Command {
	var f topUpFlags
	cmd := &cobra.Command{
		Use:     "topup ID AMOUNT",
		Aliases: []string{"top-up"},
		Short:   "Raise a budget's limit for its current window",
		Long: `Raise a budget's limit by AMOUNT dollars for its current window; the next one has
the old limit again. The budget of a run is run:ID.

A top-up has a key, and the same key raises once. When it is not known whether one
arrived, repeat it with --key.`,
		Example: `  wflo budget topup team:payments 20.00 --reason "month end"
  wflo budget topup run:refund-k3f9 1.50 --reason "long invoice" --yes`,
		Args:              args("ID", "AMOUNT"),
		ValidArgsFunction: a.completeBudgets,
		RunE: func(cmd *cobra.Command, given []string) error {
			raise, err := wflo.ParseMoney(given[1])
			switch {
			case err != nil:
				return Usage("give a positive amount of dollars, such as 5.00", "AMOUNT: %w", err)
			case raise <= 0:
				return Usage("give a positive amount of dollars, such as 5.00", "AMOUNT is %s", raise)
			case strings.TrimSpace(f.reason) == "":
				return Usage("such as: --reason \"month end\"", "--reason is missing")
			}
			if err := errors.Join(checkBudgetID(given[0]), a.canAsk(f.yes)); err != nil {
				return err
			}
			return a.topUp(cmd.Context(), given[0], raise, f)
		},
	}
	cmd.Flags().StringVar(&f.reason, "reason", "", "why; required")
	cmd.Flags().StringVar(&f.key, "key", "", "the top-up's own name, to repeat it safely (default: made up)")
	cmd.Flags().BoolVarP(&f.yes, "yes", "y", false, "do not ask")
	return cmd
}

func (a *app) topUp(ctx context.Context, id string, raise wflo.Money, f topUpFlags) error {
	c, err := a.api()
	if err != nil {
		return err
	}
	b, err := c.budget(ctx, id)
	if err != nil {
		return err
	}
	switch {
	case b.Limit <= 0:
		return wflo.Errorf(wflo.CodeInvalid, "there is nothing to raise", "budget %s has no limit", b.Budget)
	case raise > math.MaxInt64-b.Limit:
		return Usage("raise it by less", "AMOUNT and the limit together are more than %s", wflo.Money(math.MaxInt64))
	}
	a.note("%s: %s of %s used; the limit becomes %s", escapeLine(b.Budget), b.Spent+b.Reserved, b.Limit, b.Limit+raise)
	if err := a.confirmChange(ctx, c, f.yes, fmt.Sprintf("raise budget %s by %s", b.Budget, raise)); err != nil {
		return err
	}
	if f.key == "" {
		f.key = "wflo-" + rand.Text()
	}
	var now wflo.Spend
	err = c.write(ctx, http.MethodPost, "/budgets"+segment(b.Budget)+"/topups", console.TopUp{Key: f.key, Amount: raise, Reason: f.reason}, &now)
	if err != nil && exitCode(err) == ExitTimeout {
		return &exitError{ExitTimeout, wflo.Errorf("", "repeat it with --key "+f.key+", which raises once", "it is not known whether the top-up arrived: %w", err)}
	}
	if err != nil {
		return err
	}
	return a.printChanged(now, "raised")
}
