package demo

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/examples/dbcleanup"
	"github.com/wflo-ai/wflo-go/examples/dbcleanup/customers"
	"github.com/wflo-ai/wflo-go/internal/desk"
	"github.com/wflo-ai/wflo-go/plugin"
	"github.com/wflo-ai/wflo-go/policy"
	"github.com/wflo-ai/wflo-go/wflotest"
	"github.com/wflo-ai/wflo-go/wflotest/scripted"
)

//go:embed policies.yaml
var policies []byte

// office is a worker that policies govern, its database of customers, and the desk at
// which people decide. The worker trusts the desk's key and does not have it.
type office struct {
	*demo
	client client.Client
	guard  *plugin.Plugin
	db     *sql.DB
	desk   *desk.Desk
	stops
}

// stops end what was started.
type stops []func()

// add has f called in the end.
func (s *stops) add(f func()) { *s = append(*s, f) }

// close ends everything in reverse order and waits.
func (s *stops) close() {
	for i := len(*s) - 1; i >= 0; i-- {
		(*s)[i]()
	}
	*s = nil
}

// openOffice starts it all against the server that the demo runs on.
func (d *demo) openOffice(ctx context.Context) (*office, error) {
	o := &office{demo: d}
	if err := errors.Join(o.openDatabase(ctx), o.openDesk(ctx)); err != nil {
		o.close()
		return nil, err
	}
	return o, nil
}

// openDatabase makes a real one, in a file. The plugin brings the driver along.
func (o *office) openDatabase(ctx context.Context) (err error) {
	if err := os.MkdirAll(o.dir, 0o700); err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	if o.db, err = sql.Open("sqlite", filepath.Join(o.dir, "customers.db")); err != nil {
		return fmt.Errorf("open the customers' database: %w", err)
	}
	o.add(func() { _ = o.db.Close() })
	return customers.Fill(ctx, o.db)
}

// openDesk starts the worker, and the desk beside it.
func (o *office) openDesk(ctx context.Context) error {
	set, err := policy.Load("policies.yaml", policies)
	if err != nil {
		return fmt.Errorf("load the demo's policies: %w", err)
	}
	model, err := scripted.New(scripted.Config{Script: customers.Model, APIKey: wflotest.APIKey})
	if err != nil {
		return fmt.Errorf("start the scripted model: %w", err)
	}
	o.add(func() { _ = model.Close() })
	o.guard, err = plugin.New(plugin.Config{
		DataDir: o.dir, Database: "memory", Owner: "demo-" + dbcleanup.TaskQueue, Providers: wflotest.Providers(model), Policies: set,
		Approvals: o.terms(), Logger: quiet(),
		SweepEvery: time.Hour, // it has no sandboxes
	})
	if err != nil {
		return err
	}
	o.add(o.guard.Close)
	o.client, err = client.DialContext(ctx, client.Options{HostPort: o.hostPort, Namespace: o.namespace, Plugins: []client.Plugin{o.guard}})
	if err != nil {
		return fmt.Errorf("dial the demo's server: %w", err)
	}
	o.add(o.client.Close)
	w := worker.New(o.client, dbcleanup.TaskQueue, worker.Options{})
	dbcleanup.Register(w, &dbcleanup.Activities{DB: o.db})
	if err := w.Start(); err != nil {
		return fmt.Errorf("start the fourth agent's worker: %w", err)
	}
	o.add(w.Stop)
	o.desk = &desk.Desk{Client: o.client, Records: o.guard.Records(), Logger: quiet(), Sign: func(dec wflo.Decision) wflo.Decision {
		return dec.Sign(o.key.Name, o.key.Private)
	}}
	return nil
}

// terms are those by which votes count.
func (o *office) terms() wflo.Terms {
	return wflo.Terms{Keys: map[string]string{o.key.Name: o.key.Public()}}
}
