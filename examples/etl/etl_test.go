package etl_test

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/examples/etl"
	"github.com/wflo-ai/wflo-go/examples/etl/shop"
	"github.com/wflo-ai/wflo-go/plugin"
	"github.com/wflo-ai/wflo-go/sandbox"
	"github.com/wflo-ai/wflo-go/sandbox/sandboxtest"
	"github.com/wflo-ai/wflo-go/wflotest"
	"github.com/wflo-ai/wflo-go/wflotest/scripted"
)

// night is a worker of the example with its database.
type night struct {
	*wflotest.Env
	t      *testing.T
	db     *sql.DB
	public string
	box    *sandboxtest.Fake
	// orders is what each program found in orders.csv.
	orders []string
	// registered is called at the end of Register.
	registered func(e *wflotest.Env)
}

func newNight(t *testing.T, script scripted.Script, decide func(wflo.Gate) wflo.Decision) *night {
	t.Helper()
	n := &night{t: t, public: t.TempDir(), registered: func(*wflotest.Env) {}}
	n.box = &sandboxtest.Fake{Do: n.python}
	var err error
	if n.db, err = sql.Open("sqlite", filepath.Join(t.TempDir(), "shop.db")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.db.Close() })
	if err := shop.Fill(t.Context(), n.db); err != nil {
		t.Fatal(err)
	}
	n.Env = wflotest.New(t, wflotest.Config{
		Script: script, Decide: decide, Plugin: func(c *plugin.Config) { c.Sandbox = n.box },
		Register: func(e *wflotest.Env) {
			etl.Register(e, &etl.Activities{DB: n.db, Public: n.public})
			n.registered(e)
		},
	})
	return n
}

// python does what the two programs of the shop do.
func (n *night) python(ctx context.Context, spec sandbox.Spec) (sandbox.Result, error) {
	orders, err := n.box.ReadFile(ctx, spec.Box, "orders.csv", 1<<20)
	if err != nil {
		return sandbox.Result{}, err
	}
	n.orders = append(n.orders, string(orders))
	var files []wflo.File
	switch spec.Source {
	case shop.Tidy:
		files = []wflo.File{
			{Name: "orders.csv", Data: []byte("tidied up\n")},
			{Name: "sales.csv", Data: []byte("customer,cents\nArbor Ltd,15700\nBirch & Sons,24500\nCedar GmbH,99000\nDogwood SA,1250\n")},
		}
	case shop.Right:
		arbor := "15700"
		if strings.Contains(string(orders), "\n7,") {
			arbor = "16000"
		}
		files = []wflo.File{{Name: "sales.csv", Data: []byte("customer,cents\nArbor Ltd," + arbor + "\nBirch & Sons,24500\n")}}
	default:
		return sandbox.Result{Outcome: sandbox.Nonzero, ExitCode: 1, Stderr: "SyntaxError"}, nil
	}
	return sandbox.Result{Outcome: sandbox.Succeeded}, n.box.WriteFiles(ctx, spec.Box, files)
}

// sold is what the table sales has, in cents.
func (n *night) sold() (cents int64) {
	n.t.Helper()
	if err := n.db.QueryRowContext(context.Background(), `SELECT coalesce(sum(cents), 0) FROM sales`).Scan(&cents); err != nil {
		n.t.Fatal(err)
	}
	return cents
}

func (n *night) published() []string {
	n.t.Helper()
	files, err := os.ReadDir(n.public)
	if err != nil {
		n.t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		names = append(names, f.Name())
	}
	return names
}

// undo are the compensations of the run, the latest first.
func (n *night) undo() (states []string) {
	n.t.Helper()
	all, err := n.Recovery().ListCompensations(context.Background(), activities.CompensationQuery{Run: n.Status().Run.ID()})
	if err != nil {
		n.t.Fatal(err)
	}
	for _, c := range all {
		states = append(states, c.Name+" "+string(c.State))
	}
	return states
}

// TestWrongProgramIsRolledBack: the second program finds the orders that the first one
// has overwritten, and the rows of the first one are gone.
func TestWrongProgramIsRolledBack(t *testing.T) {
	n := newNight(t, shop.Model, nil)
	before := int64(-1)
	n.registered = func(e *wflotest.Env) {
		e.SetOnActivityStartedListener(func(info *activity.Info, _ context.Context, _ converter.EncodedValues) {
			if info.ActivityType.Name == etl.ActivityMerge {
				before = n.sold()
			}
		})
	}
	n.registered(n.Env)
	if err := n.Run(etl.Load, etl.Input{Day: shop.Day}); err != nil {
		t.Fatal(err)
	}
	var report etl.Report
	n.Result(&report)
	if report != (etl.Report{Figures: etl.Figures{Day: shop.Day, Orders: 6, Cents: shop.Paid}, Customers: 2}) {
		t.Errorf("report %+v", report)
	}
	if len(n.orders) != 2 || n.orders[0] != n.orders[1] || strings.Count(n.orders[1], "\n") != 7 {
		t.Errorf("the programs found %q", n.orders)
	}
	if before != 0 || n.sold() != shop.Paid {
		t.Errorf("sales had %d cents before the second program, and have %d", before, n.sold())
	}
	if got := n.undo(); !slices.Equal(got, []string{
		"published figures of " + shop.Day + " kept", "rows of " + shop.Day + " kept", "rows of " + shop.Day + " compensated",
	}) {
		t.Errorf("compensations: %q", got)
	}
	if n.Spent() == 0 || len(n.Calls()) != 2 {
		t.Errorf("%d programs for %s", len(n.Calls()), n.Spent())
	}
}

// TestLateOrders: an order comes after the figures were published. They are withdrawn,
// the day is loaded again, and people are asked about the new figures.
func TestLateOrders(t *testing.T) {
	n := newNight(t, shop.Model, nil)
	runs := 0
	n.registered = func(e *wflotest.Env) {
		if runs++; runs > 1 {
			return
		}
		e.RegisterDelayedCallback(func() {
			if got := n.published(); !slices.Equal(got, []string{shop.Day + ".json"}) {
				t.Errorf("published %q", got)
			}
			if err := shop.Order(context.Background(), n.db, 7, "Arbor Ltd", 300, "paid"); err != nil {
				t.Error(err)
			}
		}, etl.DefaultSettle/2)
	}
	n.registered(n.Env)
	if err := n.Run(etl.Load, etl.Input{Day: shop.Day}); err != nil {
		t.Fatal(err)
	}
	var report etl.Report
	n.Result(&report)
	if report.Figures != (etl.Figures{Day: shop.Day, Orders: 7, Cents: shop.Paid + 300}) || n.sold() != shop.Paid+300 {
		t.Errorf("report %+v, and %d cents in the table", report, n.sold())
	}
	if got := n.published(); runs != 2 || !slices.Equal(got, []string{shop.Day + ".json"}) {
		t.Errorf("%d runs published %q", runs, got)
	}
	if len(n.Gates()) != 2 || n.Gates()[0].Digest == n.Gates()[1].Digest {
		t.Errorf("gates %+v", n.Gates())
	}
	restores, err := n.Recovery().ListRestores(t.Context(), n.Status().Run.ID())
	if err != nil || len(restores) != 1 || restores[0].State != wflo.RestoreDone || restores[0].PreRestore == "" {
		t.Errorf("restores %+v; %v", restores, err)
	}
}

// TestRejectedFigures leaves neither rows nor a file.
func TestRejectedFigures(t *testing.T) {
	n := newNight(t, shop.Model, func(g wflo.Gate) wflo.Decision { return wflotest.Reject(g, "ann", "too low") })
	if err := n.Run(etl.Load, etl.Input{Day: shop.Day}); err == nil || !strings.Contains(err.Error(), "too low") {
		t.Errorf("got %v", err)
	}
	if n.sold() != 0 || len(n.published()) != 0 {
		t.Errorf("%d cents are left, and %q", n.sold(), n.published())
	}
	all, err := n.Recovery().ListSnapshots(t.Context(), activities.SnapshotQuery{Name: etl.BeforePublish})
	if err != nil || len(all) != 1 || all[0].Part(wflo.PartWorkspace, "") == nil {
		t.Errorf("snapshots %+v; %v", all, err)
	}
}

// TestModelNeverGetsItRight gives up after three programs, with nothing left behind.
func TestModelNeverGetsItRight(t *testing.T) {
	for name, program := range map[string]string{"wrong sums": shop.Tidy, "no program": "I cannot do that."} {
		t.Run(name, func(t *testing.T) {
			n := newNight(t, func(scripted.Turn) scripted.Answer { return scripted.Answer{Text: program} }, nil)
			if err := n.Run(etl.Load, etl.Input{Day: shop.Day}); err == nil {
				t.Error("it ended well")
			}
			if n.sold() != 0 || len(n.Calls()) != 3 || len(n.Gates()) != 0 {
				t.Errorf("%d cents, %d programs, %d gates", n.sold(), len(n.Calls()), len(n.Gates()))
			}
		})
	}
}

// TestDirectoryIsMissing: figures that cannot be withdrawn are a dead letter, and not
// forgotten.
func TestDirectoryIsMissing(t *testing.T) {
	n := newNight(t, shop.Model, nil)
	n.RegisterDelayedCallback(func() {
		if err := os.Rename(n.public, n.public+".away"); err != nil {
			t.Error(err)
		}
		n.CancelWorkflow()
	}, etl.DefaultSettle/2)
	if err := n.Run(etl.Load, etl.Input{Day: shop.Day}); err == nil {
		t.Error("it ended well")
	}
	if got := n.undo(); len(got) == 0 || got[0] != "published figures of "+shop.Day+" dead_letter" {
		t.Errorf("compensations: %q", got)
	}
	a := &etl.Activities{DB: n.db, Public: n.public}
	if err := a.Unpublish(t.Context(), etl.Figures{Day: shop.Day}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if err := a.Unpublish(t.Context(), etl.Figures{Day: "../../etc/passwd"}); err == nil || errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}
