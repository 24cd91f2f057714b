// Command worker runs the refund example's workflow and activities. Copy it for
// a worker of your own.
//
// It finds Temporal as every tool of Temporal does (TEMPORAL_ADDRESS and so on;
// without them localhost:7233) and models by their keys (OPENAI_API_KEY and so
// on). With -scripted it needs no key: a stand-in on loopback plays the model.
// PAYMENTS_URL is the payment provider; without it a small one starts in the
// worker, at which one of the duplicate charges is disputed.
//
//	go run ./examples/refund/worker -scripted
//	go run ./examples/refund/starter
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
	"go.temporal.io/sdk/worker"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/examples/refund"
	"github.com/wflo-ai/wflo-go/examples/refund/data"
	"github.com/wflo-ai/wflo-go/examples/refund/payments"
	"github.com/wflo-ai/wflo-go/examples/refund/script"
	"github.com/wflo-ai/wflo-go/plugin"
	"github.com/wflo-ai/wflo-go/wflotest/scripted"
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
	standIn := flag.Bool("scripted", false, "play the model on loopback, without a key")
	flag.Parse()
	// Unsigned decisions are for development. In production list the public keys
	// of those who sign decisions: wflo.Terms{Keys: …}.
	cfg := plugin.Config{Approvals: wflo.Terms{AllowUnsigned: true}}
	if *standIn {
		model, err := scripted.New(scripted.Config{Scripts: map[string]scripted.Script{
			refund.DefaultModel: script.Accountant, script.RunawayModel: script.Runaway,
		}})
		if err != nil {
			return err
		}
		defer func() { _ = model.Close() }() // the worker has stopped
		cfg.Providers = []plugin.Provider{{Kind: plugin.KindOpenAI, APIKey: "scripted", BaseURL: model.BaseURL(scripted.OpenAI)}}
	}
	provider := os.Getenv("PAYMENTS_URL")
	if provider == "" {
		server, err := payments.Start(payments.Config{Disputed: []string{data.Disputed}})
		if err != nil {
			return err
		}
		defer func() { _ = server.Close() }() // the worker has stopped
		provider = server.URL()
	}
	return serve(ctx, cfg, &refund.Activities{URL: provider})
}

// serve is all that a worker needs: the plugin, a client that has it, and what
// you register.
func serve(ctx context.Context, cfg plugin.Config, activities *refund.Activities) error {
	opts, err := envconfig.LoadDefaultClientOptions()
	if err != nil {
		return fmt.Errorf("read Temporal's settings: %w", err)
	}
	guard, err := plugin.New(cfg)
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
	w := worker.New(c, refund.TaskQueue, worker.Options{})
	refund.Register(w, activities)
	if err := w.Start(); err != nil {
		return err
	}
	<-ctx.Done()
	w.Stop()
	return nil
}
