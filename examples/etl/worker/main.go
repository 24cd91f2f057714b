// Command worker runs the nightly load. With -scripted it needs no key of a model.
// DATABASE is a file of SQLite, which is made with the orders of a day where there is
// none; figures are published in the directory PUBLIC. The variables of workers count as
// always, and Temporal is found as its own tools find it.
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

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/examples/etl"
	"github.com/wflo-ai/wflo-go/examples/etl/shop"
	"github.com/wflo-ai/wflo-go/plugin"
	"github.com/wflo-ai/wflo-go/wflotest/scripted"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		message, hint := wflo.Explain(err)
		fmt.Fprintln(os.Stderr, "worker:", message)
		if hint != "" {
			fmt.Fprintln(os.Stderr, "hint:", hint)
		}
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
	if *standIn {
		model, err := scripted.New(scripted.Config{Script: shop.Model})
		if err != nil {
			return err
		}
		defer func() { _ = model.Close() }() // the worker has stopped
		cfg.Providers = []plugin.Provider{{Kind: plugin.KindOpenAI, APIKey: "scripted", BaseURL: model.BaseURL(scripted.OpenAI)}}
	}
	// The plugin brings the driver along.
	db, err := sql.Open("sqlite", cmp.Or(os.Getenv("DATABASE"), "shop.db"))
	if err != nil {
		return fmt.Errorf("open the database: %w", err)
	}
	defer func() { _ = db.Close() }() // the worker has stopped
	if err := shop.Fill(ctx, db); err != nil {
		return err
	}
	public := cmp.Or(os.Getenv("PUBLIC"), "public")
	if err := os.MkdirAll(public, 0o750); err != nil {
		return fmt.Errorf("make the directory of published figures: %w", err)
	}
	return serve(ctx, cfg, &etl.Activities{DB: db, Public: public})
}

func serve(ctx context.Context, cfg plugin.Config, activities *etl.Activities) error {
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
	w := worker.New(c, etl.TaskQueue, worker.Options{})
	etl.Register(w, activities)
	if err := w.Start(); err != nil {
		return err
	}
	<-ctx.Done()
	w.Stop()
	return nil
}
