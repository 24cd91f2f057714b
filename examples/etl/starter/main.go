// Command starter starts tonight's load, and waits until it has ended:
//
//	go run ./examples/etl/starter -user ann -id nightly-2026-11-22 -settle 10m
//
// The run waits for an approval, and again for orders that come late. Meanwhile
// `wflo snapshot list` and `wflo restore` work on it.
package main

import (
	"cmp"
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
	"github.com/wflo-ai/wflo-go/examples/etl"
	"github.com/wflo-ai/wflo-go/examples/etl/shop"
	"github.com/wflo-ai/wflo-go/plugin"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		message, hint := wflo.Explain(err)
		fmt.Fprintln(os.Stderr, "starter:", message)
		if hint != "" {
			fmt.Fprintln(os.Stderr, "hint:", hint)
		}
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	user := flag.String("user", "", "for whom the run acts")
	day := flag.String("day", shop.Day, "the day to load")
	id := flag.String("id", "", "the workflow id; empty means nightly- and the day")
	model := flag.String("model", "", "the language model; empty means the example's default")
	settle := flag.Duration("settle", etl.DefaultSettle, "how long orders may come late")
	tables := flag.String("tables", "", "sets of tables in the worker's configuration, separated by commas")
	flag.Parse()
	in := etl.Input{Day: *day, Model: *model, Settle: *settle}
	if *tables != "" {
		in.Tables = strings.Split(*tables, ",")
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
	ctx = wflo.WithRun(ctx, wflo.Run{User: *user})
	started, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID: cmp.Or(*id, "nightly-"+*day), TaskQueue: etl.TaskQueue, WorkflowExecutionErrorWhenAlreadyStarted: true,
	}, etl.Name, in)
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	fmt.Println("run", started.GetID(), "is under way; `wflo approvals` shows whether it waits")
	var report etl.Report
	if err := started.Get(ctx, &report); err != nil {
		return err
	}
	fmt.Printf("%s: %d orders of %d customers, %d cents\n", report.Figures.Day, report.Figures.Orders, report.Customers, report.Figures.Cents)
	return nil
}
