//go:build integration

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/faultpoint"
	"github.com/wflo-ai/wflo-go/plugin"
	"github.com/wflo-ai/wflo-go/workflows"
)

// Variables that make this test binary a worker that breaks at a point.
const (
	faultQueue    = "WFLO_E2E_FAULT"
	faultPoint    = "WFLO_E2E_FAULT_POINT"  // empty: none
	faultCount    = "WFLO_E2E_FAULT_COUNT"  // at which hit of the point
	faultAction   = "WFLO_E2E_FAULT_ACTION" // exit or fail
	faultProvider = "WFLO_E2E_FAULT_PROVIDER"

	faultAgent = "e2e.Faulty"
	faultDo    = "e2e.Do"
	faultUndo  = "e2e.Undo"
)

// faulty looks, is saved, pays and books, and ends badly when it is told to. Paying can
// be undone, and booking only says so.
func faulty(ctx workflow.Context) error {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: 5 * time.Second, RetryPolicy: &temporal.RetryPolicy{InitialInterval: 100 * time.Millisecond, BackoffCoefficient: 1},
	})
	do := func(what string, opts workflows.StepOptions) error {
		_, err := workflows.Step(ctx, what, opts, func(ctx workflow.Context) (string, error) {
			var id string
			err := workflow.ExecuteActivity(ctx, faultDo, what).Get(ctx, &id)
			return id, err
		})
		return err
	}
	undoable := func(what string) workflows.StepOptions {
		return workflows.StepOptions{Effect: wflo.EffectReversible, Compensation: &workflows.Compensation{
			Name: what, Activity: faultUndo, Input: what, Timeout: 5 * time.Second, Undoes: faultDo,
		}}
	}
	if err := do("look", workflows.StepOptions{Effect: wflo.EffectRead}); err != nil {
		return err
	}
	if _, err := workflows.TakeSnapshot(ctx, "base"); err != nil {
		return err
	}
	if err := do("pay", undoable("pay")); err != nil {
		return err
	}
	if err := do("book", undoable("book")); err != nil {
		return err
	}
	workflow.GetSignalChannel(ctx, "end").Receive(ctx, nil)
	return errors.New("it ends badly")
}

// faultyWorker is a worker that breaks where its variables say.
func faultyWorker(queue string) error {
	hit := func(point string, n int) { fmt.Printf("hit %s %d\n", point, n) }
	log := faultpoint.Log(hit)
	broken := func(string) error { return nil }
	if point := os.Getenv(faultPoint); point != "" {
		n, err := strconv.Atoi(os.Getenv(faultCount))
		if err != nil {
			return err
		}
		then := faultpoint.Fail
		if os.Getenv(faultAction) == "exit" {
			then = faultpoint.Exit
		}
		broken = faultpoint.At(point, n, func(p string) error {
			fmt.Println("broken at", p)
			return then(p)
		})
	}
	faultpoint.Arm(func(p string) error { return errors.Join(log(p), broken(p)) })
	cfg, err := plugin.FromEnv()
	if err != nil {
		return err
	}
	cfg.SweepEvery = 2 * time.Second
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
	if err := w.Start(); err != nil {
		return err
	}
	fmt.Println("faulty worker started")
	select {} // until it is killed
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

// till is the provider: a process of its own as far as workers are concerned, with a log
// of what it was asked.
type till struct {
	*httptest.Server
	mu  sync.Mutex
	log []asked
}

type asked struct{ Verb, Run, What, Key, Undo string }

func newTill(t *testing.T) *till {
	t.Helper()
	p := &till{}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		a := asked{r.URL.Path[1:], q.Get("run"), q.Get("what"), q.Get("key"), q.Get("undo")}
		p.mu.Lock()
		p.log = append(p.log, a)
		p.mu.Unlock()
		if a.Verb == "undo" && a.What == "book" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		fmt.Fprint(w, a.Key)
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *till) asked() []asked {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]asked{}, p.log...)
}
