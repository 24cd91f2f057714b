package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/console"
)

// costFlags say what a report of costs is about.
type costFlags struct {
	by     string
	span   spanFlags
	scopes []string
	limit  int
}

func (a *app) costCmd() *cobra.Command {
	var f costFlags
	cmd := &cobra.Command{
		Use:   "cost [RUN]",
		Short: "Say what was spent on model calls, and what calls would cost",
		Long: `Say what was spent on model calls, as the worker's ledger has it: a row for each
of what --by names, the dearest first, or the latest first when it is a time.
With RUN, list what that run paid, entry by entry.

  SPENT     was charged, with UNKNOWN and with what was billed over a reservation
  UNKNOWN   is the part of it where nobody knows what the provider billed, because
            a worker died during the call; see wflo cost reconcile
  RESERVED  is held now by calls that are running, whatever times are asked about
  SAVED     is what answers from the cache would have cost
  IN, OUT   are the tokens of prompts and of answers

Without anything, it is the total of each of the last 7 days.`,
		Example: `  wflo cost
  wflo cost --by team --since 30d
  wflo cost --by model --from 2026-11-01 --to 2026-12-01 --scope user:ann -o csv
  wflo cost refund-k3f9`,
		Args: func(cmd *cobra.Command, given []string) error {
			if len(given) == 0 {
				return nil
			}
			return args("RUN")(cmd, given)
		},
		RunE: func(cmd *cobra.Command, given []string) error {
			if len(given) == 0 {
				return a.costs(cmd, f)
			}
			for _, name := range []string{"by", "since", "from", "to", "zone", "scope", "limit"} {
				if cmd.Flags().Changed(name) {
					return Usage("leave RUN out, or see: wflo cost --by step --scope run:ID", "--%s is not for the entries of one run", name)
				}
			}
			return a.runCost(cmd, given[0])
		},
	}
	f.add(cmd)
	cmd.AddCommand(a.costEstimateCmd(), a.costCompareCmd(), a.costReconcileCmd())
	return withCSV(cmd)
}

func (f *costFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.by, "by", "day", "a row for each: "+strings.Join(console.Bys, ", "))
	f.span.add(flags, " (default 7d)")
	flags.StringArrayVar(&f.scopes, "scope", nil, "only what counts for this, such as user:ann or tag:env=prod; repeat it for both")
	flags.IntVar(&f.limit, "limit", 1000, "at most so many rows; the rest is one more, named (others)")
	if err := cmd.RegisterFlagCompletionFunc("by", cobra.FixedCompletions(console.Bys, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the flag was added above
	}
}

// query checks the flags and gives the API's parameters.
func (f costFlags) query(now time.Time) (url.Values, error) {
	if err := oneOf("--by", f.by, console.Bys...); err != nil {
		return nil, err
	}
	if f.limit < 1 || f.limit > maxRows {
		return nil, Usage(fmt.Sprintf("give a number from 1 to %d", maxRows), "--limit is %d", f.limit)
	}
	from, to, err := f.span.bounds(now, 7*day)
	if err != nil {
		return nil, err
	}
	if err := checkScopes(f.scopes); err != nil {
		return nil, err
	}
	q := url.Values{"by": {f.by}, "limit": {strconv.Itoa(f.limit)}, "scope": f.scopes}
	bound(q, from, to)
	if f.span.zone != "" {
		q.Set("zone", f.span.zone)
	}
	return q, nil
}

// maxRows is the most that the API gives.
const maxRows = 10_000

func bound(q url.Values, from, to time.Time) {
	if !from.IsZero() {
		q.Set("from", from.UTC().Format(time.RFC3339Nano))
	}
	if !to.IsZero() {
		q.Set("to", to.UTC().Format(time.RFC3339Nano))
	}
}

func checkScopes(scopes []string) error {
	for _, s := range scopes {
		if _, name, err := wflo.SplitBudgetID(s); err != nil || name == wflo.Each {
			return Usage("name one, such as user:ann or tag:env=prod", "--scope is %q", s)
		}
	}
	return nil
}

func (a *app) costs(cmd *cobra.Command, f costFlags) error {
	q, err := f.query(time.Now())
	if err != nil {
		return err
	}
	c, err := a.api()
	if err != nil {
		return err
	}
	var report console.Costs
	if err := c.get(cmd.Context(), "/costs", q, &report); err != nil {
		return err
	}
	switch a.format {
	case formatJSON:
		return a.printJSON(report)
	case formatJSONL:
		return printAll(a, report.Rows, nil, nil)
	case formatCSV:
		return a.costCSV(report)
	}
	if err := a.costTable(report); err != nil {
		return err
	}
	if cmd.Flags().NFlag() == 0 && len(report.Rows) > 0 {
		a.note("by day, of the last 7 days; for more: wflo cost --by team --since 30d, wflo cost RUN, wflo cost --help")
	}
	return nil
}

func (a *app) costTable(r console.Costs) error {
	if len(r.Rows) == 0 {
		a.note("nothing was spent%s; ask for a longer time with --since 30d, or start something:\n"+
			"        wflo run agent --model gpt-5.4 --prompt \"What is 17 times 23?\"", within(r.Query))
		return nil
	}
	w := tabwriter.NewWriter(a.deps.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.ToUpper(r.Query.By)+"\tCALLS\tCACHED\tSPENT\tUNKNOWN\tRESERVED\tSAVED\tIN\tOUT")
	names := shortNames(r)
	for i, row := range append(r.Rows, r.Total) {
		fmt.Fprintf(w, "%s\t%d\t%d\t%s\t%s\t%s\t%s\t%d\t%d\n", escapeLine(cmp.Or(names[i], "-")), row.Calls, row.Hits,
			row.Spent, row.Unknown, row.Reserved, row.Saved, row.Usage.Prompt(), row.Usage.Output+row.Usage.Reasoning)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if r.Query.By == string(wflo.ScopeTag) {
		a.note("what has several tags is in several rows, and once in the total")
	}
	if r.Total.Overdraft > 0 {
		a.note("%s of it was billed above what was reserved", r.Total.Overdraft)
	}
	if r.Total.Unknown > 0 {
		a.note("%s of it is unknown; see: wflo cost reconcile", r.Total.Unknown)
	}
	return nil
}

// shortNames are the names of the rows and of the total. A run goes by its workflow
// id alone where no other one in the report has that.
func shortNames(r console.Costs) []string {
	names, seen := make([]string, len(r.Rows)), map[string]int{}
	for i, row := range r.Rows {
		names[i] = row.Key
		if j := strings.LastIndexByte(row.Key, '/'); j > 0 && r.Query.By == string(wflo.ScopeRun) {
			names[i] = row.Key[:j]
		}
		seen[names[i]]++
	}
	for i, row := range r.Rows {
		if seen[names[i]] > 1 {
			names[i] = row.Key
		}
	}
	return append(names, r.Total.Key)
}

// within says which time a report is about.
func within(q wflo.CostQuery) string {
	text := ""
	if !q.From.IsZero() {
		text += " from " + moment(q.From, q.TimeZone)
	}
	if !q.To.IsZero() {
		text += " until " + moment(q.To, q.TimeZone)
	}
	return text
}

// costCSV has no total: whoever adds up a column would count it twice.
func (a *app) costCSV(r console.Costs) error {
	header := []string{
		cmp.Or(r.Query.By, "total"), "calls", "cached", "spent", "unknown", "overdraft", "reserved", "saved",
		"input", "cache_read", "cache_write_5m", "cache_write_1h", "output", "reasoning", "millis",
	}
	var rows [][]string
	for _, row := range r.Rows {
		cells := []string{row.Key, strconv.FormatInt(row.Calls, 10), strconv.FormatInt(row.Hits, 10)}
		for _, m := range []wflo.Money{row.Spent, row.Unknown, row.Overdraft, row.Reserved, row.Saved} {
			cells = append(cells, m.Decimal())
		}
		u := row.Usage
		for _, n := range []int64{u.Input, u.CacheRead, u.CacheWrite5m, u.CacheWrite1h, u.Output, u.Reasoning, u.Millis} {
			cells = append(cells, strconv.FormatInt(n, 10))
		}
		rows = append(rows, cells)
	}
	return a.printCSV(header, 1, rows)
}

// runCost lists what one run paid.
func (a *app) runCost(cmd *cobra.Command, id string) error {
	c, err := a.api()
	if err != nil {
		return err
	}
	var entries []wflo.Entry
	err = c.get(cmd.Context(), "/runs"+segment(id)+"/ledger", nil, &entries)
	if errors.Is(err, errNotThere) {
		hint := "see: wflo list"
		if names := strings.Fields(strings.TrimPrefix(strings.TrimSpace(suggested(cmd, id)), "Did you mean this?")); len(names) > 0 {
			hint = "did you mean: wflo cost " + strings.Join(names, " or ") + "?"
		}
		return wflo.Errorf("", hint, "no run %s", id)
	}
	if err != nil {
		return err
	}
	if a.format == formatCSV {
		return a.entriesCSV(entries)
	}
	if len(entries) == 0 && a.format == formatText {
		a.note("run %s has paid for nothing; see what it does with: wflo status %s", escapeLine(id), shellWord(id))
	}
	if err := printAll(a, entries, []string{"AT", "STATE", "STEP", "MODEL", "IN", "OUT", "SPENT", "SAVED"}, func(e wflo.Entry) []string {
		return []string{
			e.At.UTC().Format(time.RFC3339), string(e.State), e.Run.StepName(), e.Provider + "/" + e.Model,
			strconv.FormatInt(e.Usage.Prompt(), 10), strconv.FormatInt(e.Usage.Output+e.Usage.Reasoning, 10), e.Amount.String(), e.Saved.String(),
		}
	}); err != nil || a.format != formatText || len(entries) == 0 {
		return err
	}
	return a.entriesTotal(cmd.Context(), c, id, entries)
}

// entriesTotal adds up what a run paid, and says how much of its budget that is.
func (a *app) entriesTotal(ctx context.Context, c *api, id string, entries []wflo.Entry) error {
	var spent, saved wflo.Money
	for _, e := range entries {
		spent, saved = spent+e.Amount, saved+e.Saved
	}
	text := fmt.Sprintf("total %s in %s, saved %s", spent, plural(len(entries), "line"), saved)
	if s, err := c.runSpend(ctx, id); err == nil && s.Limit > 0 {
		text += fmt.Sprintf("; %s reserved, limit %s", s.Reserved, s.Limit)
	}
	a.note("%s", text)
	return nil
}

func (a *app) entriesCSV(entries []wflo.Entry) error {
	header := []string{"run", "step", "provider", "model", "price", "state", "at", "attempt", "reserved", "amount", "overdraft", "saved", "tokens_in", "tokens_out"}
	var rows [][]string
	for _, e := range entries {
		rows = append(rows, []string{
			e.Run.ID(), e.Run.StepName(), e.Provider, e.Model, e.Price.ID, string(e.State), e.At.UTC().Format(time.RFC3339Nano), strconv.Itoa(e.Attempt),
			e.Reserved.Decimal(), e.Amount.Decimal(), e.Overdraft.Decimal(), e.Saved.Decimal(),
			strconv.FormatInt(e.Usage.Prompt(), 10), strconv.FormatInt(e.Usage.Output+e.Usage.Reasoning, 10),
		})
	}
	return a.printCSV(header, 6, rows)
}

// runSpend is a run's own budget by its workflow id.
func (c *api) runSpend(ctx context.Context, id string) (wflo.Spend, error) {
	ctx, cancel := context.WithTimeout(ctx, glanceLimit)
	defer cancel()
	var detail console.RunDetail
	err := c.get(ctx, "/runs"+segment(id), nil, &detail)
	return detail.Spend, err
}
