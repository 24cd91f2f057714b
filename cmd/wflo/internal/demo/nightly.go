package demo

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/examples/etl"
	"github.com/wflo-ai/wflo-go/examples/etl/shop"
	"github.com/wflo-ai/wflo-go/internal/undo"
	"github.com/wflo-ai/wflo-go/plugin"
	"github.com/wflo-ai/wflo-go/recovery"
	"github.com/wflo-ai/wflo-go/wflotest"
	"github.com/wflo-ai/wflo-go/wflotest/scripted"
)

const (
	nightID  = "demo-nightly"
	operator = "demo-operator"
)

// nightly is a worker of the nightly load with its shop, and what an operator takes runs
// back with: all that the commands are wiring over.
type nightly struct {
	*demo
	client client.Client
	guard  *plugin.Plugin
	db     *sql.DB
	// public is where figures are published.
	public string
	back   *recovery.Client
	desk   *undo.Desk
	stops
}

// openNight starts it all against the server that the demo runs on.
func (d *demo) openNight(ctx context.Context) (*nightly, error) {
	n := &nightly{demo: d, public: filepath.Join(d.dir, "public")}
	if err := errors.Join(n.openShop(ctx), n.openWorker(ctx)); err != nil {
		n.close()
		return nil, err
	}
	return n, nil
}

func (n *nightly) openShop(ctx context.Context) (err error) {
	if err := os.MkdirAll(n.public, 0o700); err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	if n.db, err = sql.Open("sqlite", filepath.Join(n.dir, "shop.db")); err != nil {
		return fmt.Errorf("open the shop's database: %w", err)
	}
	n.add(func() { _ = n.db.Close() })
	return shop.Fill(ctx, n.db)
}

func (n *nightly) openWorker(ctx context.Context) error {
	model, err := scripted.New(scripted.Config{Script: shop.Model, APIKey: wflotest.APIKey})
	if err != nil {
		return fmt.Errorf("start the scripted model: %w", err)
	}
	n.add(func() { _ = model.Close() })
	n.guard, err = plugin.New(plugin.Config{
		DataDir: filepath.Join(n.dir, "night"), Database: "memory", Providers: wflotest.Providers(model), Logger: quiet(),
		// Another demo on this machine must not take these sandboxes for its own.
		Owner:      "demo-etl-" + n.hostPort[strings.LastIndexByte(n.hostPort, ':')+1:],
		Approvals:  wflo.Terms{Keys: map[string]string{n.key.Name: n.key.Public()}},
		SweepEvery: time.Second, // a minute is long for those who watch
	})
	if err != nil {
		return err
	}
	n.add(n.guard.Close)
	n.client, err = client.DialContext(ctx, client.Options{HostPort: n.hostPort, Namespace: n.namespace, Plugins: []client.Plugin{n.guard}})
	if err != nil {
		return fmt.Errorf("dial the demo's server: %w", err)
	}
	n.add(n.client.Close)
	w := worker.New(n.client, etl.TaskQueue, worker.Options{})
	etl.Register(w, &etl.Activities{DB: n.db, Public: n.public})
	if err := w.Start(); err != nil {
		return fmt.Errorf("start the fifth agent's worker: %w", err)
	}
	n.add(w.Stop)
	n.back = recovery.New(recovery.Config{Client: n.client})
	n.desk = &undo.Desk{Client: n.client, Store: n.guard.Recovery(), Records: n.guard.Records()}
	return nil
}

// until asks again and again, until what must come within seconds is there.
func (n *nightly) until(ctx context.Context, what string, there func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := there()
		if err == nil && ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("wait for %s: %w", what, ctx.Err()), err)
		case <-tick.C:
		}
	}
}

func (n *nightly) status(ctx context.Context) (s wflo.Status, err error) {
	v, err := n.client.QueryWorkflow(ctx, nightID, "", wflo.QueryStatus)
	if err == nil {
		err = v.Get(&s)
	}
	return s, err
}

// asked waits until the run asks about its figures in an epoch.
func (n *nightly) asked(ctx context.Context, epoch int) (g wflo.Gate, err error) {
	err = n.until(ctx, "a gate", func() (bool, error) {
		s, err := n.status(ctx)
		if err != nil || s.Run.Epoch != epoch {
			return false, err
		}
		for _, g = range s.Gates {
			if g.ID == etl.Gate && g.Status == wflo.GateOpen {
				return true, nil
			}
		}
		return false, nil
	})
	return g, err
}

// approve decides as a person would, and waits until the figures are published.
func (n *nightly) approve(ctx context.Context, g wflo.Gate) error {
	d := g.Decide(wflo.VerdictApprove, reviewer)
	d.At = time.Now()
	d = d.Sign(n.key.Name, n.key.Private)
	u, err := n.client.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{
		WorkflowID: nightID, UpdateName: wflo.UpdateDecide, Args: []any{d}, WaitForStage: client.WorkflowUpdateStageCompleted,
	})
	if err == nil {
		err = u.Get(ctx, nil)
	}
	if err != nil {
		return fmt.Errorf("approve %s: %w", g.ID, err)
	}
	if err := n.until(ctx, "the published figures", n.published); err != nil {
		return err
	}
	// The run knows it, too, when its step has ended.
	return n.until(ctx, "the step publish", func() (bool, error) {
		s, err := n.status(ctx)
		return err == nil && len(s.Steps) > 0 && s.Steps[len(s.Steps)-1].Key == "publish", err
	})
}

// published says whether the figures are there for everybody.
func (n *nightly) published() (bool, error) {
	_, err := os.Stat(filepath.Join(n.public, shop.Day+".json"))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// sold is what the table sales has, in cents.
func (n *nightly) sold(ctx context.Context) (cents int64, err error) {
	if err := n.db.QueryRowContext(ctx, `SELECT coalesce(sum(cents), 0) FROM sales`).Scan(&cents); err != nil {
		return 0, fmt.Errorf("add up sales: %w", err)
	}
	return cents, nil
}

// compensations of the run, the latest first.
func (n *nightly) compensations(ctx context.Context, run wflo.Run) ([]wflo.CompensationRecord, error) {
	all, err := n.desk.List(ctx, activities.CompensationQuery{Run: run.ID()})
	if err != nil {
		return nil, fmt.Errorf("list compensations: %w", err)
	}
	return all, nil
}
