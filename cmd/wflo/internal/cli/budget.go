package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/wflo-ai/wflo-go"
)

func (a *app) budgetCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "budget",
		Aliases: []string{"budgets"},
		Short:   "See, set and raise budgets",
		Long: `See, set and raise budgets. A budget is named SCOPE:NAME, such as team:payments,
or user:* for one that each user has. Scopes are run, step, agent, workflow, user,
team, org, model (model:openai/gpt-5.4) and tag (tag:env=prod). A model call must
fit every budget that it is in, or it is not made.

Budgets live in the worker's ledger, which its API knows (see --api).`,
		Args: groupArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.budgetListCmd(), a.budgetShowCmd(), a.budgetSetCmd(), a.budgetRemoveCmd(), a.budgetTopUpCmd())
	return cmd
}

func (a *app) budgetListCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List budgets with what is spent in their current windows",
		Example: "  wflo budget list\n  wflo budget list -o jsonl",
		Args:    args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.api()
			if err != nil {
				return err
			}
			var all []wflo.Spend
			if err := c.get(cmd.Context(), "/budgets", nil, &all); err != nil {
				return err
			}
			if len(all) == 0 && a.format == formatText {
				a.note("no budgets; set one with: wflo budget set team:payments --limit 50.00 --period monthly")
			}
			return a.printBudgets(all)
		},
	}
}

func (a *app) printBudgets(all []wflo.Spend) error {
	now := time.Now()
	return printAll(a, all, []string{"BUDGET", "LIMIT", "SPENT", "RESERVED", "USED", "PERIOD", "STARTS AGAIN", "EXCEEDED"}, func(s wflo.Spend) []string {
		rule := ruleOf(s)
		limit := "none"
		if s.Limit > 0 {
			limit = s.Limit.String()
		}
		return []string{s.Budget, limit, s.Spent.String(), s.Reserved.String(), usedBar(s), period(rule), againSoon(s, now), string(cmp.Or(rule.OnExceeded, wflo.ExceedHalt))}
	})
}

func (a *app) budgetShowCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "show ID",
		Short: "Show one budget with its window and the alerts that it gave",
		Long: `Show one budget with its window and the alerts that it gave. The budget of a run
is run:ID.`,
		Example:           "  wflo budget show team:payments\n  wflo budget show run:refund-k3f9\n  wflo budget show user:* -o json",
		Args:              args("ID"),
		ValidArgsFunction: a.completeBudgets,
		RunE: func(cmd *cobra.Command, given []string) error {
			return a.budgetShow(cmd.Context(), given[0])
		},
	}
}

// shownBudget is the data of `wflo budget show`.
type shownBudget struct {
	wflo.Spend
	Alerts []wflo.BudgetAlert `json:"alerts"` // the latest first
}

// someAlerts is how many alerts of a budget are shown.
const someAlerts = 20

func (a *app) budgetShow(ctx context.Context, id string) error {
	c, err := a.api()
	if err != nil {
		return err
	}
	var b shownBudget
	if b.Spend, err = c.budget(ctx, id); err != nil {
		return err
	}
	if err := c.get(ctx, "/alerts", url.Values{"budget": {b.Budget}, "n": {fmt.Sprint(someAlerts)}}, &b.Alerts); err != nil {
		return err
	}
	if a.format != formatText {
		return a.printJSON(b)
	}
	return a.printBudget(b)
}

func (a *app) printBudget(b shownBudget) error {
	w := tabwriter.NewWriter(a.deps.Stdout, 0, 0, 2, ' ', 0)
	line := func(name, value string) { fmt.Fprintf(w, "%s\t%s\n", name, escapeLine(value)) }
	rule := ruleOf(b.Spend)
	line("budget", b.Budget)
	if b.Rule != nil && rule.ID() != b.Budget {
		line("declared as", rule.ID())
	}
	limit := "none"
	if b.Limit > 0 {
		limit = b.Limit.String()
	}
	if b.ToppedUp > 0 {
		limit += ", of which " + b.ToppedUp.String() + " was added for this window"
	}
	line("limit", limit)
	spent := b.Spent.String()
	if b.Unknown > 0 {
		spent += ", of which " + b.Unknown.String() + " is unknown (see: wflo cost reconcile)"
	}
	line("spent", spent)
	line("reserved", b.Reserved.String()+" by calls that are running")
	if b.Limit > 0 {
		line("used", usedBar(b.Spend))
		if left := b.Limit - b.Spent - b.Reserved; left >= 0 {
			line("left", left.String())
		} else {
			line("over", (-left).String())
		}
	}
	line("period", period(rule))
	line("starts again", startsAgain(b.Spend, time.Now()))
	line("alerts at", thresholds(rule))
	line("when exceeded", exceededWords(rule.OnExceeded))
	for i, alert := range b.Alerts {
		name := ""
		if i == 0 {
			name = "alerts"
		}
		line(name, fmt.Sprintf("%s  %s: spent %s of %s, by run %s", moment(alert.At, rule.TimeZone), alertWords(alert), alert.Spent, alert.Limit, cmp.Or(alert.Run.WorkflowID, "-")))
	}
	return w.Flush()
}

// budget reads a budget. Of a run's, the id of the run is enough.
func (c *api) budget(ctx context.Context, id string) (wflo.Spend, error) {
	var s wflo.Spend
	if err := checkBudgetID(id); err != nil {
		return s, err
	}
	err := c.get(ctx, "/budgets"+segment(id), nil, &s)
	run, isRun := strings.CutPrefix(id, string(wflo.ScopeRun)+":")
	if isRun && run != wflo.Each && errors.Is(err, errNotThere) {
		var detail struct {
			Spend wflo.Spend `json:"spend"`
		}
		if c.get(ctx, "/runs"+segment(run), nil, &detail) == nil && detail.Spend.Budget != "" {
			return detail.Spend, nil
		}
	}
	if errors.Is(err, errNotThere) {
		return s, wflo.Errorf("", "see: wflo budget list", "no budget %s", id)
	}
	return s, err
}

func checkBudgetID(id string) error {
	if _, _, err := wflo.SplitBudgetID(id); err != nil {
		return &exitError{ExitUsage, err}
	}
	return nil
}

type budgetFlags struct {
	limit, period, zone, thresholds, onExceeded string
	yes                                         bool
}

func (a *app) budgetSetCmd() *cobra.Command {
	var f budgetFlags
	cmd := &cobra.Command{
		Use:   "set ID",
		Short: "Make a budget, or change one",
		Long: `Make a budget, or change one: of a budget that exists, what is not given stays.
A new limit counts at once, for what was spent before in the current window too.`,
		Example: `  wflo budget set team:payments --limit 50.00 --period monthly --zone Europe/Berlin
  wflo budget set user:* --limit 2.00 --period daily --on-exceeded ask
  wflo budget set tag:env=dev --limit 5 --period rolling:24h --thresholds 80,95 --yes`,
		Args:              args("ID"),
		ValidArgsFunction: a.completeBudgets,
		RunE: func(cmd *cobra.Command, given []string) error {
			return a.budgetSet(cmd, given[0], f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.limit, "limit", "", "the most that may be spent per period, in dollars, such as 50.00, or none")
	flags.StringVar(&f.period, "period", "", "when it starts again: none, daily, weekly, monthly, or rolling:24h")
	flags.StringVar(&f.zone, "zone", "", "IANA time zone of the period, such as Europe/Berlin (default UTC)")
	flags.StringVar(&f.thresholds, "thresholds", "", "percentages that alert, such as 50,75,90, or none (default 50,75,90)")
	flags.StringVar(&f.onExceeded, "on-exceeded", "", "what happens to a call that does not fit: halt, ask, alert or ignore (default halt)")
	flags.BoolVarP(&f.yes, "yes", "y", false, "do not ask")
	completeOnExceeded(cmd)
	return cmd
}

// change is the rule as the flags make it from what it was.
func (f budgetFlags) change(cmd *cobra.Command, rule wflo.Budget, made bool) (wflo.Budget, error) {
	given := cmd.Flags().Changed
	if !made && !given("limit") {
		return rule, Usage("such as --limit 50.00, or --limit none to count only", "--limit is missing for the new budget %s", rule.ID())
	}
	var err error
	if given("limit") {
		if rule.Limit, err = parseLimit(f.limit); err != nil {
			return rule, err
		}
	}
	if given("period") {
		if rule.Period, err = parsePeriod(f.period); err != nil {
			return rule, err
		}
	}
	if given("thresholds") {
		if rule.Thresholds, err = parseThresholds(f.thresholds); err != nil {
			return rule, err
		}
	}
	if given("zone") {
		rule.TimeZone = f.zone
	}
	if given("on-exceeded") {
		if rule.OnExceeded, err = parseOnExceeded(f.onExceeded); err != nil {
			return rule, err
		}
	}
	if err := rule.Validate(); err != nil {
		return rule, &exitError{ExitUsage, err}
	}
	return rule, nil
}

func parseLimit(text string) (wflo.Money, error) {
	const hint = "give a positive amount of dollars, such as 50.00, or none for no limit"
	if text == "none" {
		return 0, nil
	}
	limit, err := wflo.ParseMoney(text)
	if err != nil {
		return 0, Usage(hint, "--limit: %w", err)
	}
	if limit <= 0 {
		return 0, Usage(hint, "--limit is %s", limit)
	}
	return limit, nil
}

func (a *app) budgetSet(cmd *cobra.Command, id string, f budgetFlags) error {
	scope, name, err := wflo.SplitBudgetID(id)
	if err != nil {
		return &exitError{ExitUsage, err}
	}
	if err := a.canAsk(f.yes); err != nil {
		return err
	}
	// What is wrong with the flags needs no worker to say so.
	if _, err := f.change(cmd, wflo.Budget{Scope: scope, Name: name}, true); err != nil {
		return err
	}
	c, err := a.api()
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	rule, made, err := c.ruleNow(ctx, wflo.Budget{Scope: scope, Name: name})
	if err != nil {
		return err
	}
	after, err := f.change(cmd, rule, made)
	if err != nil {
		return err
	}
	if made {
		a.note("was  %s", escapeLine(ruleWords(rule)))
	}
	a.note("now  %s", escapeLine(ruleWords(after)))
	if err := a.confirmChange(ctx, c, f.yes, "set budget "+id); err != nil {
		return err
	}
	var now wflo.Spend
	if err := c.write(ctx, http.MethodPut, "/budgets"+segment(id), after, &now); err != nil {
		return err
	}
	return a.printChanged(now, "set")
}

// ruleNow is the rule of a budget as it is, and whether there is one. Who has
// the budget for each gets one of their own, which begins as that one.
func (c *api) ruleNow(ctx context.Context, b wflo.Budget) (wflo.Budget, bool, error) {
	var now wflo.Spend
	err := c.get(ctx, "/budgets"+segment(b.ID()), nil, &now)
	if errors.Is(err, errNotThere) || err == nil && now.Rule == nil {
		return b, false, nil
	}
	if err != nil {
		return b, false, err
	}
	rule := *now.Rule
	rule.Scope, rule.Name = b.Scope, b.Name
	return rule, true, nil
}

// printChanged tells what a change made of a budget.
func (a *app) printChanged(s wflo.Spend, what string) error {
	if a.format != formatText {
		return a.printJSON(s)
	}
	limit := "no limit"
	if s.Limit > 0 {
		limit = fmt.Sprintf("%s of %s used", s.Spent+s.Reserved, s.Limit)
	}
	a.note("see: wflo budget show %s", shellWord(s.Budget))
	_, err := fmt.Fprintf(a.deps.Stdout, "%s %s: %s\n", what, escapeLine(s.Budget), limit)
	return err
}

func (a *app) budgetRemoveCmd() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:               "rm ID",
		Aliases:           []string{"remove"},
		Short:             "Remove a budget",
		Long:              "Remove a budget: nothing is limited by it any more. What was spent stays in the\nledger, and in wflo cost.",
		Example:           "  wflo budget rm team:payments\n  wflo budget rm user:* --yes",
		Args:              args("ID"),
		ValidArgsFunction: a.completeBudgets,
		RunE: func(cmd *cobra.Command, given []string) error {
			id := given[0]
			if err := errors.Join(checkBudgetID(id), a.canAsk(yes)); err != nil {
				return err
			}
			c, err := a.api()
			if err != nil {
				return err
			}
			if err := a.confirmChange(cmd.Context(), c, yes, "remove budget "+id); err != nil {
				return err
			}
			var removed struct {
				Budget string `json:"budget"`
			}
			if err := c.write(cmd.Context(), http.MethodDelete, "/budgets"+segment(id), nil, &removed); err != nil {
				return err
			}
			if a.format != formatText {
				return a.printJSON(removed)
			}
			_, err = fmt.Fprintf(a.deps.Stdout, "removed %s\n", escapeLine(removed.Budget))
			return err
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

// completeBudgets offers the budgets that the API lists.
func (a *app) completeBudgets(cmd *cobra.Command, given []string, _ string) ([]string, cobra.ShellCompDirective) {
	const no = cobra.ShellCompDirectiveNoFileComp
	if len(given) > 0 {
		return nil, no
	}
	c, err := a.api()
	if err != nil {
		return nil, no
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), glanceLimit)
	defer cancel()
	var all []wflo.Spend
	if c.get(ctx, "/budgets", nil, &all) != nil {
		return nil, no
	}
	var ids []string
	for _, s := range all {
		// A name with odd characters could not be told from the shell's own.
		if !strings.ContainsFunc(s.Budget, func(r rune) bool { return wflo.Hidden(r) || r == ' ' }) {
			ids = append(ids, s.Budget)
		}
	}
	slices.Sort(ids)
	return ids, no
}
