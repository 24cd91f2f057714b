// Command starter has idle customers looked for, and waits until people have decided:
//
//	go run ./examples/dbcleanup/starter -user ana -before 2025-01-01
//
// The user is the one for whom the run acts, and cannot approve what it wants.
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
	"github.com/wflo-ai/wflo-go/examples/dbcleanup"
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
	before := flag.String("before", "2025-01-01", "look at customers without an order since this day")
	flag.Parse()
	if *user == "" {
		return wflo.Invalid("-user", "is empty", "say for whom the run acts; four eyes need to know")
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
	started, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{TaskQueue: dbcleanup.TaskQueue}, dbcleanup.Name, dbcleanup.Input{Before: *before})
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	fmt.Println("run", started.GetID(), "is under way; `wflo approvals` shows whether it waits")
	var report dbcleanup.Report
	if err := started.Get(ctx, &report); err != nil {
		return err
	}
	fmt.Printf("looked at %d customers, deleted %d\n", report.Looked, report.Deleted)
	return nil
}
