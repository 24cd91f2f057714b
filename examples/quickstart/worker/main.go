// Command worker runs the quickstart's agent. Set the model's key first, such as
// OPENAI_API_KEY; Temporal is found as its own tools find it.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"
	"go.temporal.io/sdk/worker"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/examples/quickstart"
	"github.com/wflo-ai/wflo-go/plugin"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "worker:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	opts, err := envconfig.LoadDefaultClientOptions()
	if err != nil {
		return fmt.Errorf("read Temporal's settings: %w", err)
	}
	// For development; in production list approvers' keys: wflo.Terms{Keys: …}.
	guard, err := plugin.New(plugin.Config{Approvals: wflo.Terms{AllowUnsigned: true}})
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
	w := worker.New(c, quickstart.TaskQueue, worker.Options{})
	w.RegisterWorkflow(quickstart.Answer)
	if err := w.Start(); err != nil {
		return err
	}
	<-ctx.Done()
	w.Stop()
	return nil
}
