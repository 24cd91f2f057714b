package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/approver"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/cli"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/devworker"
	"github.com/wflo-ai/wflo-go/examples/dbcleanup/customers"
	"github.com/wflo-ai/wflo-go/examples/refund"
	"github.com/wflo-ai/wflo-go/examples/refund/data"
	"github.com/wflo-ai/wflo-go/examples/refund/payments"
	"github.com/wflo-ai/wflo-go/examples/refund/script"
	"github.com/wflo-ai/wflo-go/internal/audit"
)

// What the demo's people and budgets are.
const (
	reviewer      = "demo-reviewer"
	refundBudget  = wflo.USD
	runawayBudget = 2 * wflo.Cent
	loopTask      = "demo-loop"
)

type demo struct {
	*show
	worker *devworker.Worker
	key    approver.Key
	ui     string
	model  string
	// dir is for the data of the fourth and the fifth part, which have workers of their
	// own, and the rest leads to the server.
	dir, hostPort, namespace string
}

// ended is what came of one run.
type ended struct {
	id     string
	status wflo.Status
	spend  wflo.Spend
	err    error
}

// start begins a run for the demo's user.
func (d *demo) start(ctx context.Context, id, workflow string, budget wflo.Budget, input any) (client.WorkflowRun, error) {
	ctx = wflo.WithRun(ctx, wflo.Run{User: "demo", Team: "finance", Budget: budget})
	run, err := d.worker.Client.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID: id, TaskQueue: cli.DefaultTaskQueue, StaticSummary: "wflo demo",
	}, workflow, input)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", workflow, err)
	}
	d.line("  watch it at %s%s/%s", d.ui, run.GetID(), run.GetRunID())
	return run, nil
}

// refunds is the first agent.
func (d *demo) refunds(ctx context.Context, file string) (ended, error) {
	csv := data.Orders()
	if file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return ended{}, wflo.Errorf(wflo.CodeInvalid, "give --csv a file of charges", "read charges: %w", err)
		}
		csv = string(text)
	}
	d.title("1. An agent finds and refunds duplicate charges among %d orders", strings.Count(csv, "\n")-1)
	run, err := d.start(ctx, "demo-refund", refund.Name, wflo.Budget{Limit: refundBudget}, refund.Input{CSV: csv, Model: d.model})
	if err != nil {
		return ended{}, err
	}
	e, err := d.follow(ctx, run)
	if err != nil {
		return e, err
	}
	if e.err == nil {
		d.at("the run succeeded")
	} else {
		d.at("the run failed: %s", root(e.err))
	}
	return e, nil
}

// count is an agent that is told never to be sure.
func (d *demo) count(name string, repeats int) wflo.Task {
	model := d.model
	if model == "" {
		model = script.RunawayModel
	}
	return wflo.Task{
		Name: name, Model: model, MaxTurns: wflo.MaxTurnsLimit, MaxTokens: 2000, MaxRepeats: repeats,
		System: "You are never sure. Run the program again and again to compare; do not answer.",
		Prompt: "Count the rows of orders.csv until you are certain.",
		Files:  []wflo.File{{Name: "orders.csv", Data: []byte(data.Orders())}},
		Tools:  []string{wflo.ToolPython},
	}
}

// runaway is the second agent. It may repeat itself, so only its budget stops it.
func (d *demo) runaway(ctx context.Context) (ended, error) {
	d.title("2. An agent spends its budget of %s; it is topped up once, and then stopped", runawayBudget)
	budget := wflo.Budget{Limit: runawayBudget, OnExceeded: wflo.ExceedAsk}
	run, err := d.start(ctx, "demo-runaway", wflo.WorkflowAgent, budget, d.count("runaway", wflo.MaxTurnsLimit))
	if err != nil {
		return ended{}, err
	}
	e, err := d.follow(ctx, run)
	if err != nil {
		return e, err
	}
	if !errors.Is(known(e.err), wflo.ErrBudgetExceeded) {
		return e, errors.Join(errors.New("the runaway agent was not stopped by its budget"), e.err)
	}
	d.at("stopped: %v", known(e.err))
	return e, nil
}

// loop is the third agent: the same as the second, without leave to repeat
// itself.
func (d *demo) loop(ctx context.Context) (ended, error) {
	d.title("3. The same agent is stopped when it repeats itself, long before its money is spent")
	run, err := d.start(ctx, loopTask, wflo.WorkflowAgent, wflo.Budget{Limit: runawayBudget}, d.count("loop", wflo.DefaultMaxRepeats))
	if err != nil {
		return ended{}, err
	}
	e, err := d.follow(ctx, run)
	if err != nil {
		return e, err
	}
	if !errors.Is(known(e.err), wflo.ErrLoop) {
		return e, errors.Join(errors.New("the agent was not stopped when it repeated itself"), e.err)
	}
	d.at("stopped: %v", known(e.err))
	return e, nil
}

// root is the innermost cause that Temporal recorded: what happened, without the
// envelopes of activity and workflow around it.
func root(err error) string {
	text := err.Error()
	for ; err != nil; err = errors.Unwrap(err) {
		if app, ok := err.(*temporal.ApplicationError); ok { //nolint:errorlint // every link of the chain is looked at
			text = app.Message()
		}
	}
	return text
}

// known finds wflo's error in a run's failure.
func known(err error) error {
	var app *temporal.ApplicationError
	if errors.As(err, &app) && wflo.Code(app.Type()).Sentinel() != nil {
		return &wflo.Error{Code: wflo.Code(app.Type()), Message: app.Message()}
	}
	return err
}

// summary checks the books of all sides.
func (d *demo) summary(first, second, third ended, fourth judged, fifth takenBack) error {
	d.title("What happened")
	standing := refund.StandingOf(first.status)
	made := d.worker.Payments.Refunds()
	stand := 0
	for _, r := range made {
		if r.Status == payments.Succeeded {
			stand++
		}
	}
	ok := d.check(len(first.status.Gates) == 1 && first.status.Gates[0].Status == wflo.GateApproved,
		"nothing was refunded before the approval of exactly these refunds (digest %.12s…)", digestOf(first.status))
	ok = d.check(len(standing.Refused) > 0 == (first.err != nil),
		"%d refunds were made, %d refused by the payment provider", len(made), len(standing.Refused)) && ok
	ok = d.check(first.err == nil || (stand == 0 && len(standing.Undone) == len(made)),
		"%d refunds were undone; the provider's book says that %d stand", len(standing.Undone), stand) && ok
	ok = d.check(first.spend.Spent <= refundBudget && first.spend.Reserved == 0,
		"the refund agent spent %s of %s on %d model calls; nothing is left reserved", first.spend.Spent, refundBudget, first.status.Calls) && ok
	ok = d.check(second.spend.Spent <= second.spend.Limit && second.spend.Reserved == 0,
		"the runaway agent was stopped at %s of %s (%s topped up) after %d calls: not a nano-dollar over",
		second.spend.Spent, second.spend.Limit, second.spend.ToppedUp, second.status.Calls) && ok
	alerts, once, err := d.alerts(second)
	if err != nil {
		return err
	}
	ok = d.check(once && alerts > 0, "its budget gave %d alerts, each of them once", alerts) && ok
	ok = d.check(third.status.Calls <= wflo.DefaultMaxRepeats+1, "the agent that repeated itself was stopped after %d calls", third.status.Calls) && ok
	if s := d.worker.Scripted; s != nil {
		var billed, booked int64
		for _, c := range s.Calls() {
			billed += c.Usage.Total()
		}
		for _, e := range []ended{first, second, third} {
			n, err := d.tokens(e)
			if err != nil {
				return err
			}
			booked += n
		}
		ok = d.check(billed == booked, "the model server billed %d tokens, the ledger has %d", billed, booked) && ok
	}
	ok = d.decided(fourth) && ok
	ok = d.wentBack(fifth) && ok
	left, err := d.worker.Boxes(context.Background())
	ok = d.check(err == nil && len(left)+fifth.boxes == 0, "no container and no workspace is left behind") && ok
	if !ok {
		return errors.New("the books do not agree")
	}
	d.line("\nNext: wflo dev keeps it all running; then, in another terminal, wflo run refund")
	return nil
}

// decided checks the books of the fourth agent.
func (d *demo) decided(j judged) bool {
	whole, changed, cut := j.trail.whole, j.trail.changed, j.trail.cut
	ok := d.check(j.gate.Level == 1 && j.gate.Granted() && len(j.gate.Votes) == 2 && j.selfRefused,
		"a timer asked the directors; two people decided, and not the one who asked")
	ok = d.check(j.voided && j.editorRefused && j.gate.Revision == 1,
		"an edit voided the vote before it, and its editor could not approve it") && ok
	ok = d.check(j.report.Deleted == 3 && slices.Equal(j.left, []int64{1, customers.Loyal}),
		"the database lost exactly the %d rows that were approved", j.report.Deleted) && ok
	ok = d.check(whole.Class() == audit.OK && whole.Uses == 1 && changed.Class() == audit.Altered && cut.Class() == audit.Altered,
		"the audit trail is whole; a forged and a shortened copy of it are not") && ok
	return ok
}

// alerts counts what the budget of a run has alerted, and says whether each
// alert was given once: a threshold may alert again only for another limit.
func (d *demo) alerts(e ended) (n int, once bool, err error) {
	given, err := d.worker.Plugin.Ledger().ListAlerts(context.Background(), e.spend.Budget, 100)
	if err != nil {
		return 0, false, fmt.Errorf("read the alerts: %w", err)
	}
	seen := map[string]bool{}
	for _, a := range given {
		seen[fmt.Sprint(a.Kind, a.Percent, a.Limit)] = true
	}
	return len(given), len(seen) == len(given), nil
}

func digestOf(s wflo.Status) string {
	if len(s.Gates) == 0 {
		return "none"
	}
	return s.Gates[0].Digest
}

func (d *demo) tokens(e ended) (int64, error) {
	entries, err := d.worker.Plugin.Ledger().Entries(context.Background(), e.status.Run.RootID())
	if err != nil {
		return 0, fmt.Errorf("read the ledger: %w", err)
	}
	var n int64
	for _, entry := range entries {
		n += entry.Usage.Total()
	}
	return n, nil
}
