//go:build integration

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/faultpoint"
	"github.com/wflo-ai/wflo-go/plugin"
	"github.com/wflo-ai/wflo-go/sandbox"
	"github.com/wflo-ai/wflo-go/workflows"
)

// Variables that make this test binary a worker that breaks at a point.
const (
	faultQueue    = "WFLO_E2E_FAULT"
	faultPoint    = "WFLO_E2E_FAULT_POINT"  // empty: none
	faultCount    = "WFLO_E2E_FAULT_COUNT"  // at which hit of the point
	faultAction   = "WFLO_E2E_FAULT_ACTION" // exit or fail
	faultProvider = "WFLO_E2E_FAULT_PROVIDER"
	faultShop     = "WFLO_E2E_FAULT_SHOP" // URL of a database with a table "marks"

	faultAgent = "e2e.Faulty"
	faultDo    = "e2e.Do"
	faultUndo  = "e2e.Undo"
	faultMark  = "e2e.Mark"
	faultMarks = "e2e.Marks"

	// faultTables is the name of the set that the shop's table is in.
	faultTables = "shop"
)

// faulty looks, is saved, pays and books, and ends badly when it is told to. Paying can
// be undone, and booking only says so. With parts it also writes into files and a table,
// and tells the provider what it finds there after it was saved.
func faulty(ctx workflow.Context, parts bool) error {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: 5 * time.Second, RetryPolicy: &temporal.RetryPolicy{InitialInterval: 100 * time.Millisecond, BackoffCoefficient: 1},
	})
	if err := faultStep(ctx, "look", parts, workflows.StepOptions{Effect: wflo.EffectRead}); err != nil {
		return err
	}
	saved := []wflo.Parts{}
	if parts {
		saved = append(saved, wflo.Parts{Workspace: true, Tables: []string{faultTables}})
	}
	if _, err := workflows.TakeSnapshot(ctx, "base", saved...); err != nil {
		return err
	}
	if parts {
		if err := faultSee(ctx); err != nil {
			return err
		}
	}
	for _, what := range []string{"pay", "book"} {
		err := faultStep(ctx, what, parts, workflows.StepOptions{Effect: wflo.EffectReversible, Compensation: &workflows.Compensation{
			Name: what, Activity: faultUndo, Input: what, Timeout: 5 * time.Second, Undoes: faultDo,
		}})
		if err != nil {
			return err
		}
	}
	workflow.GetSignalChannel(ctx, "end").Receive(ctx, nil)
	return errors.New("it ends badly")
}

// faultStep does one thing at the provider, and with parts leaves a mark of it in the
// workspace and in the table, which it may do twice.
func faultStep(ctx workflow.Context, what string, parts bool, opts workflows.StepOptions) error {
	_, err := workflows.Step(ctx, what, opts, func(ctx workflow.Context) (id string, err error) {
		if parts {
			if _, err := faultShell(ctx, "touch "+what); err != nil {
				return "", err
			}
			if err := workflow.ExecuteActivity(ctx, faultMark, what).Get(ctx, nil); err != nil {
				return "", err
			}
		}
		err = workflow.ExecuteActivity(ctx, faultDo, what).Get(ctx, &id)
		return id, err
	})
	return err
}

// faultSee tells the provider which marks there are.
func faultSee(ctx workflow.Context) error {
	_, err := workflows.Step(ctx, "see", workflows.StepOptions{Effect: wflo.EffectRead}, func(ctx workflow.Context) (string, error) {
		files, err := faultShell(ctx, "echo *")
		if err != nil {
			return "", err
		}
		var rows, id string
		if err := workflow.ExecuteActivity(ctx, faultMarks).Get(ctx, &rows); err != nil {
			return "", err
		}
		err = workflow.ExecuteActivity(ctx, faultDo, files+"and "+rows).Get(ctx, &id)
		return id, err
	})
	return err
}

func faultShell(ctx workflow.Context, script string) (string, error) {
	res, err := workflows.RunSandboxed(ctx, sandbox.Spec{Argv: []string{"sh", "-c", script}})
	if err == nil && !res.OK() {
		err = fmt.Errorf("%s: %s %s", script, res.Outcome, res.Reason)
	}
	return strings.TrimSpace(res.Stdout) + " ", err
}

// arm has the worker break where its variables say.
func arm() error {
	log := faultpoint.Log(func(point string, n int) { fmt.Printf("hit %s %d\n", point, n) })
	broken := func(string) error { return nil }
	if point := os.Getenv(faultPoint); point != "" {
		n, err := strconv.Atoi(os.Getenv(faultCount))
		if err != nil {
			return err
		}
		then, ok := map[string]faultpoint.Fault{"fail": faultpoint.Fail, "exit": faultpoint.Exit, "wait": held}[os.Getenv(faultAction)]
		if !ok {
			return fmt.Errorf("%s is %q", faultAction, os.Getenv(faultAction))
		}
		broken = faultpoint.At(point, n, func(p string) error {
			fmt.Println("broken at", p)
			return then(p)
		})
	}
	faultpoint.Arm(func(p string) error { return errors.Join(log(p), broken(p)) })
	return nil
}

// held stops whoever comes by until the provider lets go of it: meanwhile the test does
// something to the servers.
func held(string) error {
	resp, err := http.Get(os.Getenv(faultProvider) + "/hold")
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// faultyWorker is a worker that breaks where its variables say.
func faultyWorker(queue string) error {
	if err := arm(); err != nil {
		return err
	}
	cfg, err := plugin.FromEnv()
	if err != nil {
		return err
	}
	cfg.SweepEvery = 2 * time.Second
	cfg.Snapshots.Tables = map[string]plugin.TableSet{faultTables: {URL: os.Getenv(faultShop), Tables: []plugin.Table{{Name: "marks"}}}}
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
	worker.SetStickyWorkflowCacheSize(0) // tasks of a dead worker's cache would wait for it
	w := worker.New(c, queue, worker.Options{})
	w.RegisterWorkflowWithOptions(faulty, workflow.RegisterOptions{Name: faultAgent})
	w.RegisterActivityWithOptions(asks("do"), activity.RegisterOptions{Name: faultDo})
	w.RegisterActivityWithOptions(asks("undo"), activity.RegisterOptions{Name: faultUndo})
	w.RegisterActivityWithOptions(mark, activity.RegisterOptions{Name: faultMark})
	w.RegisterActivityWithOptions(marks, activity.RegisterOptions{Name: faultMarks})
	if err := w.Start(); err != nil {
		return err
	}
	fmt.Println("faulty worker started")
	select {} // until it is killed
}

// mark puts a row into the shop's table, unless it is there.
func mark(ctx context.Context, what string) error {
	return inShop(ctx, func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "INSERT INTO marks VALUES ($1) ON CONFLICT DO NOTHING", what)
		return err
	})
}

// marks gives the rows of the shop's table.
func marks(ctx context.Context) (all string, err error) {
	err = inShop(ctx, func(conn *pgx.Conn) error {
		return conn.QueryRow(ctx, "SELECT coalesce(string_agg(what, ' ' ORDER BY what), '') FROM marks").Scan(&all)
	})
	return all, err
}

func inShop(ctx context.Context, do func(*pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, os.Getenv(faultShop))
	if err != nil {
		return err
	}
	return errors.Join(do(conn), conn.Close(ctx))
}

// asks is an activity that asks the provider.
func asks(verb string) func(ctx context.Context, what string) (string, error) {
	return func(ctx context.Context, what string) (string, error) {
		run, _ := wflo.RunFrom(ctx)
		u, _ := wflo.UndoFrom(ctx)
		q := url.Values{"what": {what}, "key": {string(run.EffectKey())}, "undo": {u.ID}, "run": {run.WorkflowID}}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, os.Getenv(faultProvider)+"/"+verb+"?"+q.Encode(), http.NoBody)
		if err != nil {
			return "", err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err == nil && resp.StatusCode == http.StatusForbidden {
			err = temporal.NewNonRetryableApplicationError("the provider refuses", "e2e", nil)
		}
		return string(body), err
	}
}
