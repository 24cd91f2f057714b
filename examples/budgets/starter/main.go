// Command starter has a report written, one section for each question, and waits
// for it:
//
//	go run ./examples/budgets/starter -user ann -budget 0.05 "Why is the sea salt?" "Who was Ada Lovelace?"
//
// The run's own budget and the team's both ask. When one of them is used up, add
// to it with `wflo approve`, or with `wflo respond` and an amount; the report
// then goes on where it was.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/envelope"
	"github.com/wflo-ai/wflo-go/examples/budgets"
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
	budget := flag.String("budget", "0.05", "what the run may spend before it asks for more, in dollars")
	experiment := flag.Bool("experiment", false, "count it as an experiment")
	flag.Parse()
	limit, err := wflo.ParseMoney(*budget)
	switch {
	case err != nil:
		return err
	case limit <= 0:
		return wflo.Invalid("-budget", "is "+limit.String(), "give a positive amount of dollars, such as 0.05")
	case flag.NArg() == 0:
		return wflo.Invalid("the report", "has no questions", "give them as arguments")
	}
	r := wflo.Run{User: *user, Team: budgets.Team, Budget: wflo.Budget{Limit: limit, OnExceeded: wflo.ExceedAsk}}
	if *experiment {
		r.Tags = map[string]string{"kind": "experiment"}
	}
	opts, err := envconfig.LoadDefaultClientOptions()
	if err != nil {
		return fmt.Errorf("read Temporal's settings: %w", err)
	}
	opts.Interceptors = append(opts.Interceptors, plugin.NewClientInterceptor())
	if err := envelope.FromEnv(&opts); err != nil {
		return fmt.Errorf("read payload keys: %w", err)
	}
	c, err := client.DialContext(ctx, opts)
	if err != nil {
		return fmt.Errorf("dial Temporal: %w", err)
	}
	defer c.Close()
	return follow(wflo.WithRun(ctx, r), c, flag.Args())
}

func follow(ctx context.Context, c client.Client, questions []string) error {
	started, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{TaskQueue: budgets.TaskQueue}, budgets.Name, questions)
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	fmt.Println("run", started.GetID(), "is under way; `wflo approvals` shows whether it waits")
	var report budgets.Report
	if err := started.Get(ctx, &report); err != nil {
		return err
	}
	for _, s := range report.Sections {
		fmt.Printf("\n%s (reviewed: %t, cut: %t)\n\n%s\n", s.Question, s.Reviewed, s.Cut, s.Text)
	}
	if report.Refusal != nil {
		return fmt.Errorf("%d of %d sections are missing: %w", len(questions)-len(report.Sections), len(questions), report.Refusal)
	}
	return nil
}
