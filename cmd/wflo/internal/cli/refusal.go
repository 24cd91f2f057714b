package cli

import (
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"go.temporal.io/sdk/temporal"

	"github.com/wflo-ai/wflo-go"
)

// refusalIn is the refusal of a budget that made err, or nil.
func refusalIn(err error) *wflo.Refusal {
	var r *wflo.Refusal
	if errors.As(err, &r) {
		return r
	}
	return nil
}

// refusalDetail is the refusal that a failure carries as its second detail, or
// nil.
func refusalDetail(app *temporal.ApplicationError) *wflo.Refusal {
	var hint string
	var r wflo.Refusal
	if wflo.Code(app.Type()) == wflo.CodeBudgetExceeded && app.HasDetails() && app.Details(&hint, &r) == nil && r.Budget != "" {
		return &r
	}
	return nil // the details are something else
}

// refusalText shows the refusal that ended a run, with what to type next.
func refusalText(r *wflo.Refusal, now time.Time) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	line := func(name, value string) { fmt.Fprintf(w, "  %s\t%s\n", name, value) }
	line("budget", escapeLine(r.Budget))
	line("limit", r.Limit.String())
	line("spent", r.Spent.String())
	line("reserved", r.Reserved.String())
	line("needed", "at least "+r.Asked.String())
	if !r.WindowEnd.IsZero() {
		line("starts again", windowEnd(r.WindowEnd, "", now))
	}
	if strings.HasPrefix(r.Budget, string(wflo.ScopeRun)+":") {
		// The run has ended, so raising its own budget would help nobody.
		line("again with", "wflo run ... --budget "+(max(r.Limit, 0)+missing(r)).Decimal()+" or more")
	} else {
		line("raise it", fmt.Sprintf("wflo budget topup %s %s --reason \"...\"", shellWord(r.Budget), missing(r).Decimal()))
	}
	_ = w.Flush() // a strings.Builder takes everything
	return b.String()
}

// missing is the least top-up with which the call fits, in whole cents.
func missing(r *wflo.Refusal) wflo.Money {
	need := r.Spent + r.Reserved + r.Asked - r.Limit
	return max((need+wflo.Cent-1)/wflo.Cent, 1) * wflo.Cent
}
