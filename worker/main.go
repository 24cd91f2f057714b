// Command worker is the production worker: wflo's own workflows and activities
// on one task queue. Copy it and register your own beside them.
//
// It is configured by the environment: Temporal's own variables and profiles
// for the connection (TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE, ...), the variables
// of plugin.FromEnv, of which WFLO_CONFIG names a file with budgets, routes, the
// response cache, keys of the OpenAI-compatible endpoint, approvals, policies and
// channels (docs/wflo.example.yaml), and
//
//	WFLO_TASK_QUEUE   the task queue, "wflo" when unset
//	WFLO_LISTEN       address for /healthz, /metrics, the API and, where WFLO_CONFIG
//	                  has keys for it, the OpenAI-compatible endpoint; off when unset
//	WFLO_METRICS_LISTEN  address for /metrics alone, which other machines may reach, such
//	                  as :9464; off when unset
//	WFLO_LOG_LEVEL    debug, info (default), warn or error; the signal SIGUSR1 and
//	                  `wflo logs level` change it
//	SENTRY_DSN        where errors that end activities for good are reported, without
//	                  content; SENTRY_ENVIRONMENT and SENTRY_RELEASE are shown with them
//
// It holds no key that signs decisions: people decide in `wflo console`, which is
// another program.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // budgets have time zones, and small images have no zone files

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/connect"
	"github.com/wflo-ai/wflo-go/internal/console"
	"github.com/wflo-ai/wflo-go/internal/telemetry"
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
	logger, level, err := newLogger()
	if err != nil {
		return err
	}
	cfg, err := plugin.FromEnv()
	if err != nil {
		return err
	}
	deployment, err := plugin.DeploymentFromEnv()
	if err != nil {
		return err
	}
	cfg.Logger = logger
	guard, err := plugin.New(cfg)
	if err != nil {
		return fmt.Errorf("set up wflo: %w", err)
	}
	defer guard.Close()
	// With the ids of runs, without secrets, and kept for `wflo logs`; also what activities
	// write with package slog.
	logger = guard.Logger()
	slog.SetDefault(logger)
	defer telemetry.ToggleOnSignal(ctx, level, logger)()
	opts, err := connect.Load("")
	if err != nil {
		return err
	}
	opts.Plugins = append(opts.Plugins, guard)
	c, err := client.DialContext(ctx, opts)
	if err != nil {
		return fmt.Errorf("dial Temporal at %s: %w", opts.HostPort, connect.Explain(ctx, err, opts))
	}
	defer c.Close()
	api, err := console.Start(console.Config{
		Addr: os.Getenv("WFLO_LISTEN"), Client: c, Metrics: guard.Metrics(), Ledger: guard.Ledger(), Gateway: guard.Gateway(), Logger: logger,
		Compare: guard.CompareSnapshots, Story: guard.Story(c),
	})
	if err != nil {
		return err
	}
	defer api.Stop()
	if guard.Gateway() != nil && api.URL() == "" {
		logger.WarnContext(ctx, "the OpenAI-compatible endpoint has keys but no address; set WFLO_LISTEN")
	}
	stopMetrics, err := serveMetrics(os.Getenv("WFLO_METRICS_LISTEN"), guard.Metrics(), logger)
	if err != nil {
		return err
	}
	defer stopMetrics()
	w := worker.New(c, taskQueue(), worker.Options{DeploymentOptions: deployment})
	if err := w.Start(); err != nil {
		return fmt.Errorf("start worker: %w", err)
	}
	defer w.Stop()
	logger.InfoContext(ctx, "worker started", "task_queue", taskQueue(), "api", api.URL())
	<-ctx.Done()
	return nil
}

func taskQueue() string {
	if q := os.Getenv("WFLO_TASK_QUEUE"); q != "" {
		return q
	}
	return "wflo"
}

func newLogger() (*slog.Logger, *telemetry.Level, error) {
	level := slog.LevelInfo
	if v := os.Getenv("WFLO_LOG_LEVEL"); v != "" {
		if err := level.UnmarshalText([]byte(v)); err != nil {
			return nil, nil, wflo.Invalid("WFLO_LOG_LEVEL", fmt.Sprintf("is %q", v), "use debug, info, warn or error")
		}
	}
	changeable := telemetry.NewLevel(level)
	return telemetry.NewLogger(os.Stderr, telemetry.Config{Level: changeable, RunFromContext: wflo.RunFrom}), changeable, nil
}
