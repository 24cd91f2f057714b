// Command worker writes reports, within the budgets that it declares. Set the
// model's key first, such as OPENAI_API_KEY; Temporal is found as its own tools
// find it. Letters about budgets go to the log.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/examples/budgets"
	"github.com/wflo-ai/wflo-go/plugin"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if err := run(ctx, log); err != nil {
		fmt.Fprintln(os.Stderr, "worker:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, log *slog.Logger) error {
	opts, err := envconfig.LoadDefaultClientOptions()
	if err != nil {
		return fmt.Errorf("read Temporal's settings: %w", err)
	}
	post := &budgets.Post{Send: func(ctx context.Context, l budgets.Letter) error {
		log.InfoContext(ctx, "letter", "id", l.ID, "to", l.To, "text", l.Text)
		return nil
	}}
	guard, err := plugin.New(plugin.Config{
		Budgets:          budgets.Declared(),
		OnBudgetAlert:    []func(context.Context, wflo.BudgetAlert) error{post.Threshold},
		OnBudgetExceeded: []func(context.Context, wflo.BudgetAlert) error{post.Exceeded},
		// For development; in production list approvers' keys: wflo.Terms{Keys: …}.
		Approvals: wflo.Terms{AllowUnsigned: true},
		Logger:    log,
	})
	if err != nil {
		return err
	}
	defer guard.Close()
	opts.Plugins = append(opts.Plugins, guard)
	c, err := client.DialContext(ctx, opts)
	if err != nil {
		return fmt.Errorf("dial Temporal: %w", err)
	}
	defer c.Close()
	w := worker.New(c, budgets.TaskQueue, worker.Options{})
	w.RegisterWorkflowWithOptions(budgets.Write, workflow.RegisterOptions{Name: budgets.Name})
	if err := w.Start(); err != nil {
		return err
	}
	<-ctx.Done()
	w.Stop()
	return nil
}
