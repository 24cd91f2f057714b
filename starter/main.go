// Command starter runs one agent and waits for its answer. It needs nothing but
// a Temporal client and wflo's words: copy it into the program that starts your
// agents. The worker of this repository (go run ./worker) does the work.
//
//	go run ./starter -model gpt-5.4-mini -budget 0.50 "Which primes are below 50?"
package main

import (
	"context"
	"flag"
	"fmt"
	"os"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/envelope"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "starter:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("starter", flag.ContinueOnError)
	model := flags.String("model", "gpt-5.4-mini", "language model")
	budget := flags.String("budget", "1.00", "the most that the run may cost, in dollars")
	queue := flags.String("queue", "wflo", "task queue of the worker")
	if err := flags.Parse(args); err != nil {
		return err
	}
	limit, err := wflo.ParseMoney(*budget)
	if err != nil || limit <= 0 {
		return fmt.Errorf("-budget %q: want a positive amount of dollars", *budget)
	}
	opts, err := envconfig.LoadDefaultClientOptions()
	if err != nil {
		return fmt.Errorf("read Temporal's configuration: %w", err)
	}
	// With WFLO_PAYLOAD_KEYS, what the run is asked and what it answers is sealed.
	if err := envelope.FromEnv(&opts); err != nil {
		return err
	}
	c, err := client.DialContext(ctx, opts)
	if err != nil {
		return fmt.Errorf("dial Temporal: %w", err)
	}
	defer c.Close()
	task := wflo.Task{
		Name: "starter", Model: *model, Prompt: flags.Arg(0), Budget: wflo.Budget{Limit: limit},
		Tools: []string{wflo.ToolPython, wflo.ToolShell, wflo.ToolRead, wflo.ToolWrite, wflo.ToolAskHuman},
	}
	if err := task.Validate(); err != nil {
		return err
	}
	run, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{TaskQueue: *queue}, wflo.WorkflowAgent, task)
	if err != nil {
		return fmt.Errorf("start agent: %w", err)
	}
	fmt.Fprintln(os.Stderr, "started", run.GetID())
	var answer wflo.Answer
	if err := run.Get(ctx, &answer); err != nil {
		return err
	}
	fmt.Printf("%s\n\n%d turns, %d tool calls, %s\n", answer.Text, answer.Turns, answer.Tools, answer.Cost)
	return nil
}
