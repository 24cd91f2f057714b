package cli

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/console"
)

type reconcileFlags struct {
	amount, reason    string
	attempt           int
	yes               bool
	invoice, provider string
	span              spanFlags
}

func (a *app) costReconcileCmd() *cobra.Command {
	var f reconcileFlags
	cmd := &cobra.Command{
		Use:   "reconcile [KEY]",
		Short: "Settle calls whose cost is unknown, or compare with a provider's invoice",
		Long: `A call whose worker died may have been billed. It is charged with all that was
reserved for it, and flagged as unknown, until somebody says what it really cost.
Without anything, list these calls. With KEY, which may be a beginning that no other
call has, settle one at --amount dollars, or 0 when the provider did not bill it.

With --invoice, compare a time in the ledger with what the provider billed for it,
by model. The file is CSV with the columns model and amount, in dollars, and if you
like calls; - reads standard input. Nothing is changed. The residual is what was
billed and is not in the ledger; below zero, the ledger has more.`,
		Example: `  wflo cost reconcile
  wflo cost reconcile 3f9a1c20b7de --amount 0.012 --reason "invoice of 2 December"
  wflo cost reconcile --invoice openai.csv --provider openai --from 2026-11-01 --to 2026-12-01`,
		Args: func(cmd *cobra.Command, given []string) error {
			if len(given) == 0 {
				return nil
			}
			return args("KEY")(cmd, given)
		},
		RunE: func(cmd *cobra.Command, given []string) error {
			switch {
			case f.invoice != "" && len(given) > 0:
				return Usage("give one of them", "--invoice and KEY exclude each other")
			case f.invoice != "":
				return a.compareInvoice(cmd.Context(), f)
			case len(given) > 0:
				return a.reconcile(cmd, given[0], f)
			}
			return a.unknownHolds(cmd.Context())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.amount, "amount", "", "what the provider billed, in dollars; 0 for nothing")
	flags.StringVar(&f.reason, "reason", "", "how the amount is known; required with KEY")
	flags.IntVar(&f.attempt, "attempt", 0, "which try, when KEY has several")
	flags.BoolVarP(&f.yes, "yes", "y", false, "do not ask")
	flags.StringVar(&f.invoice, "invoice", "", "CSV file with what the provider billed")
	flags.StringVar(&f.provider, "provider", "", "the provider of models that the invoice names without one")
	f.span.add(flags, "")
	return withCSV(cmd)
}

// unknowns lists the calls whose cost is unknown, the latest first.
func (c *api) unknowns(ctx context.Context) ([]wflo.Hold, error) {
	var all []wflo.Hold
	err := c.get(ctx, "/holds", url.Values{"state": {string(wflo.HoldUnknown)}, "n": {strconv.Itoa(maxRows)}}, &all)
	return all, err
}

func (a *app) unknownHolds(ctx context.Context) error {
	c, err := a.api()
	if err != nil {
		return err
	}
	all, err := c.unknowns(ctx)
	if err != nil {
		return err
	}
	if a.format == formatCSV {
		var rows [][]string
		for _, h := range all {
			rows = append(rows, []string{string(h.Key), h.Run.RootID(), h.Run.StepName(), h.Provider, h.Model, strconv.Itoa(h.Attempt), h.Granted.Decimal(), h.At.UTC().Format(time.RFC3339Nano)})
		}
		return a.printCSV([]string{"key", "run", "step", "provider", "model", "attempt", "amount", "at"}, 5, rows)
	}
	if len(all) == 0 && a.format == formatText {
		a.note("every call's cost is known")
	}
	if err := printAll(a, all, []string{"KEY", "TRY", "RUN", "STEP", "MODEL", "CHARGED", "AGE"}, func(h wflo.Hold) []string {
		return []string{shortKey(h.Key, all), strconv.Itoa(h.Attempt), h.Run.WorkflowID, h.Run.StepName(), h.Provider + "/" + h.Model, h.Granted.String(), since(h.At)}
	}); err != nil || len(all) == 0 || a.format != formatText {
		return err
	}
	var sum wflo.Money
	for _, h := range all {
		sum += h.Granted
	}
	a.note("%s charged for %s, which the provider may not have billed; settle one with:\n        wflo cost reconcile %s --attempt %d --amount 0.00 --reason \"...\"",
		sum, plural(len(all), "call"), shellWord(shortKey(all[0].Key, all)), all[0].Attempt)
	return nil
}

// shortKey is as much of a key as tells it from the others, and not less than
// twelve characters.
func shortKey(key wflo.EffectKey, all []wflo.Hold) string {
	n := min(len(key), 12)
	for _, h := range all {
		for h.Key != key && n < len(key) && strings.HasPrefix(string(h.Key), string(key[:n])) {
			n++
		}
	}
	return string(key[:n])
}

func (a *app) reconcile(cmd *cobra.Command, key string, f reconcileFlags) error {
	ctx := cmd.Context()
	paid, err := wflo.ParseMoney(f.amount)
	switch {
	case !cmd.Flags().Changed("amount"):
		return Usage("such as --amount 0.012, or 0 when the provider did not bill the call", "--amount is missing")
	case err != nil:
		return Usage("give an amount of dollars, such as 0.012", "--amount: %w", err)
	case paid < 0:
		return Usage("give what was billed, or 0 for nothing", "--amount is %s", paid)
	case strings.TrimSpace(f.reason) == "":
		return Usage("such as: --reason \"invoice of 2 December\"", "--reason is missing")
	}
	if err := a.canAsk(f.yes); err != nil {
		return err
	}
	c, err := a.api()
	if err != nil {
		return err
	}
	all, err := c.unknowns(ctx)
	if err != nil {
		return err
	}
	hold, err := pickHold(all, key, f.attempt)
	if err != nil {
		return err
	}
	a.note("try %d of %s in run %s, %s ago: charged %s, becomes %s", hold.Attempt, escapeLine(hold.Provider+"/"+hold.Model), escapeLine(hold.Run.WorkflowID), since(hold.At), hold.Granted, paid)
	if err := a.confirmChange(ctx, c, f.yes, "settle this call at "+paid.String()); err != nil {
		return err
	}
	var done console.Reconciled
	if err := c.write(ctx, http.MethodPost, "/holds"+segment(string(hold.Key))+"/"+strconv.Itoa(hold.Attempt)+"/settlement",
		console.Reconciliation{Amount: &paid, Reason: f.reason}, &done); err != nil {
		return err
	}
	if a.format != formatText {
		return a.printJSON(done)
	}
	_, err = fmt.Fprintf(a.deps.Stdout, "settled %s, attempt %d: %s instead of %s\n", escapeLine(shortKey(done.Key, all)), done.Attempt, done.Amount, done.Charged)
	return err
}

// pickHold finds the one hold that a key, or the beginning of one, means.
func pickHold(all []wflo.Hold, key string, attempt int) (wflo.Hold, error) {
	var found []wflo.Hold
	for _, h := range all {
		if strings.HasPrefix(string(h.Key), key) && (attempt == 0 || h.Attempt == attempt) {
			found = append(found, h)
		}
	}
	switch {
	case len(found) == 1 && key != "":
		return found[0], nil
	case len(found) == 0:
		return wflo.Hold{}, wflo.Errorf("", "it may have been settled meanwhile; see: wflo cost reconcile", "no call %s has an unknown cost", key)
	}
	var names []string
	for _, h := range found[:min(len(found), 5)] {
		names = append(names, fmt.Sprintf("%s --attempt %d", shellWord(shortKey(h.Key, all)), h.Attempt))
	}
	return wflo.Hold{}, Usage("name one: "+strings.Join(names, ", "), "%q fits %s", key, plural(len(found), "call"))
}
