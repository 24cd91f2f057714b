// Command starter starts a run of the refund example and follows it to its end.
// While it waits at the gate, decide with `wflo approve` or `wflo reject`.
//
//	go run ./examples/refund/starter -user ann -budget 0.50
//	go run ./examples/refund/starter -model gpt-5.4-nano -budget 0.01 -repeats 1000
//
// The second line, with a worker that was started with -scripted, is an agent
// that never finishes: its budget stops it. Without -repeats it is stopped for
// repeating itself.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/envelope"
	"github.com/wflo-ai/wflo-go/examples/refund"
	"github.com/wflo-ai/wflo-go/examples/refund/data"
	"github.com/wflo-ai/wflo-go/plugin"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "starter:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	user := flag.String("user", "", "for whom the run acts")
	model := flag.String("model", refund.DefaultModel, "the language model")
	budget := flag.String("budget", "0.50", "what the run may spend, in dollars")
	repeats := flag.Int("repeats", 0, "how often the agent may do the same one after the other; 0 means the default")
	reviewers := flag.String("reviewers", "", "who may approve, separated by commas; empty means anybody")
	flag.Parse()
	limit, err := wflo.ParseMoney(*budget)
	if err != nil {
		return err
	}
	if limit <= 0 {
		return wflo.Invalid("-budget", "is "+limit.String(), "give a positive amount of dollars, such as 0.50")
	}
	in := refund.Input{CSV: data.Orders(), Model: *model, MaxRepeats: *repeats}
	if *reviewers != "" {
		in.Reviewers = strings.Split(*reviewers, ",")
	}
	opts, err := envconfig.LoadDefaultClientOptions()
	if err != nil {
		return fmt.Errorf("read Temporal's settings: %w", err)
	}
	// A client that only starts runs needs no more of wflo than this.
	opts.Interceptors = append(opts.Interceptors, plugin.NewClientInterceptor())
	if err := envelope.FromEnv(&opts); err != nil {
		return fmt.Errorf("read payload keys: %w", err)
	}
	c, err := client.DialContext(ctx, opts)
	if err != nil {
		return fmt.Errorf("dial Temporal: %w", err)
	}
	defer c.Close()
	return follow(wflo.WithRun(ctx, wflo.Run{User: *user, Budget: wflo.Budget{Limit: limit}}), c, in)
}

// follow starts the run and says what came of it.
func follow(ctx context.Context, c client.Client, in refund.Input) error {
	started, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{TaskQueue: refund.TaskQueue}, refund.Name, in)
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	fmt.Printf("run %s is under way; decide on gate %s when it opens\n", started.GetID(), refund.Gate)
	var report refund.Report
	if err := started.Get(ctx, &report); err != nil {
		return explain(ctx, c, started, err)
	}
	for _, t := range report.Totals {
		fmt.Printf("refunded %s %s in %d refunds\n", t.Amount, t.Currency, t.Refunds)
	}
	fmt.Printf("%d refunds, approved by %s; the agent took %d turns for %s\n", len(report.Refunds), report.ApprovedBy, report.Turns, report.Cost)
	return nil
}

// explain adds to the error where the refunds of a failed run stand.
func explain(ctx context.Context, c client.Client, run client.WorkflowRun, cause error) error {
	var status wflo.Status
	answer, err := c.QueryWorkflow(ctx, run.GetID(), run.GetRunID(), wflo.QueryStatus)
	if err == nil {
		err = answer.Get(&status)
	}
	if err != nil {
		return fmt.Errorf("%w; where its refunds stand could not be asked: %w", cause, err)
	}
	s := refund.StandingOf(status)
	if len(s.Refused)+len(s.Undone)+len(s.Issued)+len(s.Stuck) == 0 {
		return fmt.Errorf("%w\nnothing was refunded", cause)
	}
	return fmt.Errorf("%w\nrefused: %v\ntaken back: %v\nstanding: %v\nnot taken back, look at these: %v", cause, s.Refused, s.Undone, s.Issued, s.Stuck)
}
