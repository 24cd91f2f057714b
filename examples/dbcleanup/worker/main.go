// Command worker runs the clean-up, with the example's policies. With -scripted it
// needs no key of a model. DATABASE is a file of SQLite, which is made with a few
// customers where there is none; WFLO_APPROVER_KEYS and the other variables of
// workers count as always. Temporal is found as its own tools find it.
package main

import (
	"cmp"
	"context"
	"database/sql"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"
	"go.temporal.io/sdk/worker"

	"github.com/wflo-ai/wflo-go/examples/dbcleanup"
	"github.com/wflo-ai/wflo-go/examples/dbcleanup/customers"
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
	cfg, err := plugin.FromEnv()
	if err != nil {
		return err
	}
	if cfg.PolicyFile == "" {
		if cfg.Policies, err = dbcleanup.Policies(); err != nil {
			return err
		}
	}
	if *standIn {
		model, err := scripted.New(scripted.Config{Script: customers.Model})
		if err != nil {
			return err
		}
		defer func() { _ = model.Close() }() // the worker has stopped
		cfg.Providers = []plugin.Provider{{Kind: plugin.KindOpenAI, APIKey: "scripted", BaseURL: model.BaseURL(scripted.OpenAI)}}
	}
	// The plugin brings the driver along.
	db, err := sql.Open("sqlite", cmp.Or(os.Getenv("DATABASE"), "customers.db"))
	if err != nil {
		return fmt.Errorf("open the database: %w", err)
	}
	defer func() { _ = db.Close() }() // the worker has stopped
	if err := customers.Fill(ctx, db); err != nil {
		return err
	}
	return serve(ctx, cfg, &dbcleanup.Activities{DB: db})
}

func serve(ctx context.Context, cfg plugin.Config, activities *dbcleanup.Activities) error {
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
	w := worker.New(c, dbcleanup.TaskQueue, worker.Options{})
	dbcleanup.Register(w, activities)
	if err := w.Start(); err != nil {
		return err
	}
	<-ctx.Done()
	w.Stop()
	return nil
}
