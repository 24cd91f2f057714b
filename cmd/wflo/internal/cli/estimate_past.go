package cli

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/console"
)

// pastFlags say which runs an estimate is from.
type pastFlags struct {
	workflow string
	span     spanFlags
	scopes   []string
}

func (f *pastFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.workflow, "workflow", "", "a workflow type, such as wflo.Agent: estimate from its past runs")
	f.span.add(flags, " (--workflow; default 30d)")
	flags.StringArrayVar(&f.scopes, "scope", nil, "--workflow: only what counts for this, such as team:payments; repeat it for both")
}

// pastEstimate is what runs of a workflow type have cost.
type pastEstimate struct {
	Workflow string     `json:"workflow"`
	From     time.Time  `json:"from,omitzero"`
	To       time.Time  `json:"to,omitzero"`
	Runs     int        `json:"runs"`
	Least    wflo.Money `json:"least"`
	P50      wflo.Money `json:"p50"`
	P90      wflo.Money `json:"p90"`
	Most     wflo.Money `json:"most"`
	Spent    wflo.Money `json:"spent"` // of all runs
	Unknown  wflo.Money `json:"unknown,omitempty"`
}

// estimatePast reads what runs have cost from the ledger. Runs that paid for
// nothing are not in it.
func (a *app) estimatePast(cmd *cobra.Command, f pastFlags) error {
	for _, name := range []string{"model", "prompt-file", "max-tokens", "calls", "tier", "at", "prices"} {
		if cmd.Flags().Changed(name) {
			return Usage("leave one out", "--workflow estimates from past runs, and --%s is about one call", name)
		}
	}
	if err := checkScopes(f.scopes); err != nil {
		return err
	}
	scopes := append([]string{string(wflo.ScopeWorkflow) + ":" + f.workflow}, f.scopes...)
	from, to, err := f.span.bounds(time.Now(), 30*day)
	if err != nil {
		return err
	}
	c, err := a.api()
	if err != nil {
		return err
	}
	q := url.Values{"by": {string(wflo.ScopeRun)}, "scope": scopes, "limit": {strconv.Itoa(maxRows)}}
	bound(q, from, to)
	var report console.Costs
	if err := c.get(cmd.Context(), "/costs", q, &report); err != nil {
		return err
	}
	e, err := pastOf(f.workflow, report)
	if err != nil {
		return err
	}
	if a.format != formatText {
		return a.printJSON(e)
	}
	return a.printPast(e, report.Query)
}

func pastOf(workflow string, report console.Costs) (pastEstimate, error) {
	e := pastEstimate{Workflow: workflow, From: report.Query.From, To: report.Query.To, Spent: report.Total.Spent, Unknown: report.Total.Unknown}
	var costs []wflo.Money
	for _, row := range report.Rows {
		if row.Key == wflo.CostOthers {
			// The cheap runs are missing, so every percentile would be too high.
			return e, wflo.Errorf("", "ask for a shorter time, such as --since 1d", "there are more than %d runs of %s", maxRows, workflow)
		}
		if row.Calls+row.Hits > 0 { // a run whose first call is running has only a reservation
			costs = append(costs, row.Spent)
		}
	}
	if len(costs) == 0 {
		return e, wflo.Errorf("", "check the type with wflo list, ask for a longer time with --since, or estimate a call with --model", "no run of %s has paid for anything in that time", workflow)
	}
	slices.Sort(costs)
	e.Runs, e.Least, e.Most = len(costs), costs[0], costs[len(costs)-1]
	e.P50, e.P90 = rank(costs, 50), rank(costs, 90)
	return e, nil
}

// rank is the nearest-rank percentile: the least of the sorted amounts that p
// per cent of them do not exceed.
func rank(sorted []wflo.Money, p int) wflo.Money {
	return sorted[max((len(sorted)*p+99)/100, 1)-1]
}

func (a *app) printPast(e pastEstimate, q wflo.CostQuery) error {
	w := tabwriter.NewWriter(a.deps.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "workflow\t%s\nruns\t%d\n", escapeLine(e.Workflow), e.Runs)
	fmt.Fprintf(w, "p50\t%s\np90\t%s\nmost\t%s\n", e.P50, e.P90, e.Most)
	if err := w.Flush(); err != nil {
		return err
	}
	a.note("runs that paid for something%s; %s in all. What child workflows of other types paid is not in it", within(q), e.Spent)
	if e.Unknown > 0 {
		a.note("%s of it is unknown, charged in full; see: wflo cost reconcile", e.Unknown)
	}
	if e.Runs < 10 {
		a.note("few runs: p90 is one of the dearest of %d", e.Runs)
	}
	return nil
}
