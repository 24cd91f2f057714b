//go:build integration

package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/postgres"
	"github.com/wflo-ai/wflo-go/internal/postgres/pgtest"
	"github.com/wflo-ai/wflo-go/internal/sqlite"
	"github.com/wflo-ai/wflo-go/plugin"
	"github.com/wflo-ai/wflo-go/pricing"
	"github.com/wflo-ai/wflo-go/wflotest/scripted"
	"github.com/wflo-ai/wflo-go/workflows"
)

const (
	// soakQueue makes this test binary a worker on the queue that it names.
	soakQueue = "WFLO_E2E_SOAK"
	soakName  = "e2e.Soak"
	soakCalls = 200
	soakLanes = 4
	soakKills = 100
)

// soak makes so many model calls, a few at a time, and survives any number of
// dead workers: short timeouts, and tries without end.
func soak(ctx workflow.Context, calls int) (int, error) {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: 2 * time.Second, HeartbeatTimeout: time.Minute,
		RetryPolicy: &temporal.RetryPolicy{InitialInterval: 10 * time.Millisecond, BackoffCoefficient: 1},
	})
	lanes := workflow.NewWaitGroup(ctx)
	done := 0
	var failed error
	for lane := range soakLanes {
		lanes.Add(1)
		workflow.Go(ctx, func(ctx workflow.Context) {
			defer lanes.Done()
			for n := lane; n < calls && failed == nil; n += soakLanes {
				_, err := workflows.Ask(ctx, wflo.Prompt{
					Model: modelName, MaxTokens: 200, Messages: []wflo.Message{{Role: wflo.RoleUser, Text: "call " + strconv.Itoa(n)}},
				})
				if err != nil {
					failed = err
					return
				}
				done++
			}
		})
	}
	lanes.Wait(ctx)
	return done, failed
}

// soakWorker is the worker that is killed again and again. It keeps no workflow
// in memory: the tasks of a dead worker's cache would wait for it.
func soakWorker(queue string) error {
	cfg, err := plugin.FromEnv()
	if err != nil {
		return err
	}
	guard, err := plugin.New(cfg)
	if err != nil {
		return err
	}
	opts, err := envconfig.LoadDefaultClientOptions()
	if err != nil {
		return err
	}
	opts.Plugins = append(opts.Plugins, guard)
	c, err := client.Dial(opts)
	if err != nil {
		return err
	}
	worker.SetStickyWorkflowCacheSize(0)
	w := worker.New(c, queue, worker.Options{})
	w.RegisterWorkflowWithOptions(soak, workflow.RegisterOptions{Name: soakName})
	if err := w.Start(); err != nil {
		return err
	}
	fmt.Println("soak worker started")
	select {} // until it is killed
}

// slow is a model that takes up to 150 ms.
func slow(t scripted.Turn) scripted.Answer {
	<-time.After(rand.N(150 * time.Millisecond)) //nolint:gosec // no secret
	return scripted.Answer{Text: t.Messages[len(t.Messages)-1].Text + " is answered"}
}

// A worker is killed a hundred times at random moments of a run of 200 calls.
// Every call of the provider is then in the ledger once: settled at what was
// billed, or flagged as unknown.
func (d *dev) testKillsLeaveNothing(database func(t *testing.T) (env string, open func(context.Context) (activities.Ledger, error))) func(t *testing.T) {
	return func(t *testing.T) {
		t.Parallel()
		id := unique("soak")
		t.Cleanup(func() { removeAll(t, id) }) // what the killed workers tried the engine with
		setting, open := database(t)
		model, env := vendor(t, slow)
		env = append(env, "WFLO_DATA_DIR="+t.TempDir(), setting, soakQueue+"="+id, "WFLO_OWNER="+id, "WFLO_SANDBOX_POOL=-1")
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		ctx := wflo.WithRun(t.Context(), wflo.Run{User: "ann", Budget: wflo.Budget{Limit: 100 * wflo.USD}})
		c := d.client(t)
		run, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: id, TaskQueue: id, WorkflowTaskTimeout: 2 * time.Second}, soakName, soakCalls)
		if err != nil {
			t.Fatal(err)
		}
		for range soakKills {
			w := start(t, d.env(env...), self)
			w.find(t, "soak worker (started)")
			<-time.After(rand.N(700 * time.Millisecond)) //nolint:gosec // no secret
			w.kill()
		}
		early := len(model.Calls())
		start(t, d.env(env...), self)
		var done int
		if err := run.Get(t.Context(), &done); err != nil || done != soakCalls {
			t.Fatalf("%d calls are done, %v", done, err)
		}
		l, err := open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		unknown := checkBooks(t, l, model.Calls(), run)
		t.Logf("%d kills; %d calls before the last, %d in all, %d of unknown outcome", soakKills, early, len(model.Calls()), unknown)
	}
}

// checkBooks compares the ledger of a run with the vendor's books, and gives how
// many calls are unknown.
func checkBooks(t *testing.T, l activities.Ledger, calls []scripted.Call, run client.WorkflowRun) int {
	t.Helper()
	root := run.GetID() + "/" + run.GetRunID()
	entries, err := l.Entries(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	invoices := map[string]wflo.Usage{}
	for _, c := range calls {
		if c.Status == http.StatusOK {
			invoices[c.ResponseID] = c.Usage
		}
	}
	settled := map[wflo.EffectKey]bool{}
	unknown := map[string]wflo.Money{}
	var sum, known, billed wflo.Money
	var price wflo.Price
	for _, e := range entries {
		sum += e.Amount
		hold := fmt.Sprint(e.Key, e.Attempt)
		if e.State == wflo.HoldUnknown {
			unknown[hold] = e.Amount
			continue
		}
		if settled[e.Key] {
			t.Errorf("the effect %s is settled twice", e.Key)
		}
		settled[e.Key], price = true, e.Price
		usage, ok := invoices[e.ResponseID]
		if !ok || usage != e.Usage {
			t.Errorf("the ledger has %+v, the vendor billed %+v", e, usage)
		}
		delete(invoices, e.ResponseID)
		delete(unknown, hold) // what was known late is corrected
		known += pricing.Cost(e.Price, e.Usage)
	}
	var flagged wflo.Money
	for _, amount := range unknown {
		flagged += amount
	}
	for _, usage := range invoices { // nobody heard the answer
		billed += pricing.Cost(price, usage)
	}
	if len(settled) != soakCalls || sum != known+flagged || len(invoices) > len(unknown) || billed > flagged {
		t.Errorf("%d effects are settled; %s is booked: %s of invoices and %s of %d unknown calls; %d invoices of %s are in no entry",
			len(settled), sum, known, flagged, len(unknown), len(invoices), billed)
	}
	spend, err := l.Spend(t.Context(), wflo.RunBudgetID(root))
	if err != nil || spend.Spent != sum || spend.Reserved != 0 || spend.Unknown != flagged {
		t.Errorf("the entries sum to %s, the budget says %+v, %v", sum, spend, err)
	}
	listed, err := l.UnknownHolds(t.Context(), 10*soakKills)
	if err != nil || len(listed) != len(unknown) {
		t.Errorf("%d unknown calls are listed, want %d, %v", len(listed), len(unknown), err)
	}
	if open, err := l.OpenHolds(t.Context(), 0, 10); err != nil || len(open) != 0 {
		t.Errorf("holds are open: %+v, %v", open, err)
	}
	return len(unknown)
}

func onSQLite(t *testing.T) (string, func(context.Context) (activities.Ledger, error)) {
	dir := t.TempDir()
	return "WFLO_DATA_DIR=" + dir, func(ctx context.Context) (activities.Ledger, error) {
		return sqlite.Open(ctx, sqlite.Config{Path: filepath.Join(dir, "wflo.db")})
	}
}

func onPostgres(t *testing.T) (string, func(context.Context) (activities.Ledger, error)) {
	server, err := pgtest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	url := server.Database(t)
	return "WFLO_DATABASE=" + url, func(ctx context.Context) (activities.Ledger, error) {
		return postgres.Open(ctx, postgres.Config{URL: url})
	}
}
