// Command worker moderates posts, with the example's policies. Set the model's key
// first, such as OPENAI_API_KEY; Temporal is found as its own tools find it.
// WFLO_APPROVER_KEYS and the other variables of workers count as always. Posts are
// published to standard output.
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

	"github.com/wflo-ai/wflo-go/examples/moderation"
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
	cfg, err := plugin.FromEnv()
	if err != nil {
		return err
	}
	if cfg.PolicyFile == "" {
		if cfg.Policies, err = moderation.Policies(); err != nil {
			return err
		}
	}
	guard, err := plugin.New(cfg)
	if err != nil {
		return err
	}
	defer guard.Close()
	opts, err := envconfig.LoadDefaultClientOptions()
	if err != nil {
		return fmt.Errorf("read Temporal's settings: %w", err)
	}
	opts.Plugins = append(opts.Plugins, guard)
	c, err := client.DialContext(ctx, opts)
	if err != nil {
		return fmt.Errorf("dial Temporal: %w", err)
	}
	defer c.Close()
	w := worker.New(c, moderation.TaskQueue, worker.Options{})
	moderation.Register(w, &moderation.Posts{Show: func(_ context.Context, p moderation.Post) error {
		_, err := fmt.Printf("published %s by %s: %q\n", p.ID, p.Author, p.Text)
		return err
	}})
	if err := w.Start(); err != nil {
		return err
	}
	<-ctx.Done()
	w.Stop()
	return nil
}
