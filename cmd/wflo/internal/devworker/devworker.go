// Package devworker is the worker of `wflo dev` and `wflo demo`: wflo's own
// workflows and the examples refund and etl on one task queue, the API and the pages of the
// console, a payment provider that refunds play money, and models. [Start] runs it all.
//
// Models are those of the vendors whose keys are in the environment. Where there
// is no key at all, a scripted model answers in the vendors' own wire formats,
// so that everything can be tried without an account; the command says which.
//
// Budgets, routes, the response cache, prices, limits, policies, channels and what
// holds for gates come from the environment where the command asks for that, see
// plugin.FromEnv.
package devworker

import (
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/cli"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/dev"
	"github.com/wflo-ai/wflo-go/examples/etl"
	"github.com/wflo-ai/wflo-go/examples/etl/shop"
	"github.com/wflo-ai/wflo-go/examples/refund"
	"github.com/wflo-ai/wflo-go/examples/refund/data"
	"github.com/wflo-ai/wflo-go/examples/refund/payments"
	"github.com/wflo-ai/wflo-go/examples/refund/script"
	"github.com/wflo-ai/wflo-go/internal/auth/apikey"
	"github.com/wflo-ai/wflo-go/internal/console"
	"github.com/wflo-ai/wflo-go/internal/desk"
	"github.com/wflo-ai/wflo-go/plugin"
	"github.com/wflo-ai/wflo-go/sandbox/docker"
	"github.com/wflo-ai/wflo-go/wflotest"
	"github.com/wflo-ai/wflo-go/wflotest/scripted"
)

// Worker is a running worker with what belongs to it.
type Worker struct {
	// Client has the plugin.
	Client client.Client
	// Plugin governs the worker.
	Plugin *plugin.Plugin
	// Payments is the provider that refunds go to.
	Payments *payments.Server
	// Scripted is the stand-in for model vendors, or nil when real ones are used.
	Scripted *scripted.Server

	stops []func()
}

// Start runs a worker against the dev server of info. Stop it in the end.
func Start(ctx context.Context, info dev.Info) (*Worker, error) {
	w := &Worker{}
	if err := w.start(ctx, info); err != nil {
		w.Stop()
		return nil, err
	}
	return w, nil
}

// Stop ends everything in reverse order and waits.
func (w *Worker) Stop() {
	for i := len(w.stops) - 1; i >= 0; i-- {
		w.stops[i]()
	}
	w.stops = nil
}

func (w *Worker) start(ctx context.Context, info dev.Info) error {
	cfg, err := configuration(info)
	if err != nil {
		return err
	}
	if cfg.Providers, err = w.models(info); err != nil {
		return err
	}
	if w.Payments, err = payments.Start(payments.Config{Disputed: []string{data.Disputed}}); err != nil {
		return fmt.Errorf("start the payment provider: %w", err)
	}
	w.stops = append(w.stops, func() { _ = w.Payments.Close() })
	if w.Plugin, err = plugin.New(cfg); err != nil {
		return err
	}
	w.stops = append(w.stops, w.Plugin.Close)
	w.Client, err = client.DialContext(ctx, client.Options{
		HostPort: info.HostPort, Namespace: info.Namespace, Plugins: []client.Plugin{w.Plugin},
	})
	if err != nil {
		return fmt.Errorf("dial the dev server: %w", err)
	}
	w.stops = append(w.stops, w.Client.Close)
	tw := worker.New(w.Client, cli.DefaultTaskQueue, worker.Options{})
	refund.Register(tw, &refund.Activities{URL: w.Payments.URL()})
	loads, err := w.shop(ctx, info)
	if err != nil {
		return err
	}
	etl.Register(tw, loads)
	if err := tw.Start(); err != nil {
		return fmt.Errorf("start the worker: %w", err)
	}
	w.stops = append(w.stops, tw.Stop)
	info.Announce("Worker", "task queue "+cli.DefaultTaskQueue)
	if err := w.serve(info, cfg.Approvals); err != nil {
		return err
	}
	info.Announce("Payments", w.Payments.URL()+"/refunds (play money)")
	info.Announce("Shop", loads.Public+" (figures of wflo run etl)")
	info.Announce("Sandbox", engine(ctx, cfg.Docker))
	return nil
}

// shop opens the database of orders that the nightly load works on, and the directory
// that it publishes in.
func (w *Worker) shop(ctx context.Context, info dev.Info) (*etl.Activities, error) {
	public := filepath.Join(info.DataDir, "shop", "public")
	if err := os.MkdirAll(public, 0o700); err != nil {
		return nil, fmt.Errorf("make the shop's directory: %w", err)
	}
	// The plugin brings the driver along.
	db, err := sql.Open("sqlite", filepath.Join(info.DataDir, "shop", "shop.db"))
	if err != nil {
		return nil, fmt.Errorf("open the shop's database: %w", err)
	}
	w.stops = append(w.stops, func() { _ = db.Close() })
	if err := shop.Fill(ctx, db); err != nil {
		return nil, err
	}
	return &etl.Activities{DB: db, Public: public}, nil
}

// accountant is the scripted model of both examples: it does what it is asked for.
func accountant(t scripted.Turn) scripted.Answer {
	if shop.Asked(t) {
		return shop.Model(t)
	}
	return script.Accountant(t)
}

// serve starts the API, the pages on which people decide and, where it has keys, the
// OpenAI-compatible endpoint. Everybody on this machine is who they say they are, and
// what they decide is signed with the key that the worker was told to trust.
func (w *Worker) serve(info dev.Info, terms wflo.Terms) error {
	records := w.Plugin.Records()
	keys, err := apikey.New(apikey.Config{Store: records, Logger: info.Logger})
	if err != nil {
		return err
	}
	sign := func(d wflo.Decision) wflo.Decision { return d.Sign(info.Approver.Name, info.Approver.Private) }
	api, err := console.Start(console.Config{
		Addr:   net.JoinHostPort(info.IP, strconv.Itoa(info.APIPort)),
		Client: w.Client, Metrics: w.Plugin.Metrics(), Ledger: w.Plugin.Ledger(), Gateway: w.Plugin.Gateway(), Logger: w.Plugin.Logger(),
		Insecure: true, Keys: keys, Compare: w.Plugin.CompareSnapshots, Story: w.Plugin.Story(w.Client),
		Links: console.Links{Temporal: info.UIURL + "/namespaces/{namespace}/workflows/{workflow_id}/{run_id}/history"},
		Desk:  &desk.Desk{Client: w.Client, Namespace: info.Namespace, Records: records, Sign: sign, Terms: terms, Logger: info.Logger},
	})
	if err != nil {
		return hint(err)
	}
	w.stops = append(w.stops, api.Stop)
	info.Announce("Console", api.URL()+"/")
	info.Announce("API", api.URL()+"/api/v1/runs")
	info.Announce("Metrics", api.URL()+"/metrics")
	if w.Plugin.Gateway() != nil {
		info.Announce("Gateway", api.URL()+"/v1")
	}
	return nil
}

// Boxes lists the sandboxes that still exist, for the books at the end.
func (w *Worker) Boxes(ctx context.Context) ([]string, error) { return w.Plugin.Boxes(ctx) }

// configuration is the plugin's, without providers. What names an installation is
// ours, whatever the environment says: the ledger, the sandboxes and the approvers
// of a worker in production are not to be touched from here.
func configuration(info dev.Info) (cfg plugin.Config, err error) {
	if info.Configured {
		if cfg, err = plugin.FromEnv(); err != nil {
			return cfg, err
		}
	}
	cfg.DataDir, cfg.Database, cfg.Owner, cfg.Logger = info.DataDir, "", owner(info), info.Logger
	if info.Ephemeral {
		cfg.Database = "memory"
	}
	// Whose keys count, and whose trail is vouched for, is another installation's
	// business; who is in a group, and what holds for gates, is tried here.
	cfg.Checkpoints = plugin.Checkpoints{}
	cfg.Approvals = wflo.Terms{
		Groups:        cfg.Approvals.Groups,
		Keys:          map[string]string{info.Approver.Name: info.Approver.Public()},
		AllowUnsigned: true, // so that temporal workflow signal can decide
	}
	return cfg, nil
}

// owner names the installation to the container engine. No two that run at the
// same time may share it, because each removes the sandboxes whose runs it does
// not know; and a restart should find its own again. Runs that are kept belong to
// their directory, which one process can use at a time; runs in memory belong to
// the address.
func owner(info dev.Info) string {
	if !info.Ephemeral {
		return cli.DevOwner(info.DataDir, info.Namespace)
	}
	sum := sha256.Sum256([]byte(info.HostPort + "\n" + info.Namespace))
	return "dev-" + hex.EncodeToString(sum[:8])
}

// models are the vendors with keys, or the scripted ones.
func (w *Worker) models(info dev.Info) ([]plugin.Provider, error) {
	if providers := plugin.ProvidersFromEnv(); len(providers) > 0 && !info.Scripted {
		names := ""
		for _, p := range providers {
			names += " " + p.Kind
		}
		info.Announce("Models", "from the environment:"+names)
		return providers, nil
	}
	server, err := scripted.New(scripted.Config{
		Script: scripted.Echo, APIKey: wflotest.APIKey,
		Scripts: map[string]scripted.Script{refund.DefaultModel: accountant, script.RunawayModel: script.Runaway},
	})
	if err != nil {
		return nil, fmt.Errorf("start the scripted model: %w", err)
	}
	w.Scripted = server
	w.stops = append(w.stops, func() { _ = server.Close() })
	info.Announce("Models", "scripted, with real prices (set OPENAI_API_KEY, ANTHROPIC_API_KEY, GEMINI_API_KEY or CO_API_KEY for real ones)")
	return wflotest.Providers(server), nil
}

// engine says in words whether sandboxed steps can run. Nothing waits for it:
// an engine that comes up later is found.
func engine(ctx context.Context, conf docker.Config) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	r, err := docker.New(ctx, docker.Config{Host: conf.Host})
	if err == nil {
		defer func() { _ = r.Shutdown(context.WithoutCancel(ctx)) }() // it only looked
		var e docker.Engine
		if e, err = r.Check(ctx); err == nil {
			return "Docker " + e.Version + ", image " + cmp.Or(conf.Image, docker.DefaultImage)
		}
	}
	message, hint := wflo.Explain(err)
	if hint != "" {
		message += " (" + hint + ")"
	}
	return "not available, sandboxed steps will fail: " + message
}

// hint names the flag that chooses the API's port.
func hint(err error) error {
	var e *wflo.Error
	if errors.As(err, &e) && e.Hint != "" {
		return wflo.Errorf(e.Code, "stop what listens there, or choose a port with --api-port (0: a free one)", "%s", e.Message)
	}
	return err
}
