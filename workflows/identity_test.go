package workflows_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/wflotest"
	"github.com/wflo-ai/wflo-go/workflows"
)

// TestIdentityReachesChildren follows who pays into the activities of a run and
// of its child.
func TestIdentityReachesChildren(t *testing.T) {
	tags := map[string]string{"env": "prod"}
	env := wflotest.New(t, wflotest.Config{
		User: "ann", Team: "books", Org: "acme", Tags: tags, Budget: wflo.USD, Thresholds: []int{10}, OnExceeded: wflo.ExceedAlert,
	})
	err := env.Run(func(ctx workflow.Context) error {
		if _, err := ask(ctx); err != nil {
			return err
		}
		_, err := workflows.Agent(ctx, task())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	entries := env.Entries()
	if len(entries) != 2 {
		t.Fatalf("%d entries", len(entries))
	}
	for _, e := range entries {
		if e.Run.User != "ann" || e.Run.Team != "books" || e.Run.Org != "acme" || cmp.Diff(tags, e.Run.Tags) != "" {
			t.Errorf("entry of %+v", e.Run)
		}
		own := e.Run.Lines[0]
		if own.Limit != wflo.USD || cmp.Diff([]int{10}, own.Thresholds) != "" || own.OnExceeded != wflo.ExceedAlert {
			t.Errorf("line %+v", own)
		}
	}
	if a, b := entries[0].Run.Agent, entries[1].Run.Agent; a != "" || b != "tester" {
		t.Errorf("agents %q and %q", a, b)
	}
}

func TestRunThatSaysNonsenseDoesNotBegin(t *testing.T) {
	for name, cfg := range map[string]wflotest.Config{
		"run.user": {User: "ann\x00"},
		"run.org":  {Org: strings.Repeat("x", 2000)},
		"run.tags": {Tags: map[string]string{"": "x"}},
		"budget":   {Budget: wflo.USD, OnExceeded: "panic"},
	} {
		env, j := newEnv(t, cfg)
		app := wantCode(t, env.Run(gated), wflo.CodeInvalid)
		if !strings.Contains(app.Message(), name) || len(j.lines) != 0 {
			t.Errorf("%s: %v, ran %v", name, app, j.lines)
		}
	}
}

// TestStepHasABudgetOfItsOwn looks at the lines that activities within a step
// carry, and at those after it.
func TestStepHasABudgetOfItsOwn(t *testing.T) {
	env := wflotest.New(t, wflotest.Config{Budget: wflo.USD})
	var lines [][]wflo.BudgetLine
	env.RegisterActivityWithOptions(func(ctx context.Context) error {
		run, _ := wflo.RunFrom(ctx)
		lines = append(lines, run.Lines)
		return nil
	}, activity.RegisterOptions{Name: "test.Look"})
	look := func(ctx workflow.Context) (int, error) {
		ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Minute})
		return 0, workflow.ExecuteActivity(ctx, "test.Look").Get(ctx, nil)
	}
	step := func(ctx workflow.Context, key string, b wflo.Budget, fn func(workflow.Context) (int, error)) (int, error) {
		return workflows.Step(ctx, key, workflows.StepOptions{Key: key, Budget: b}, fn)
	}
	err := env.Run(func(ctx workflow.Context) error {
		_, err := step(ctx, "outer", wflo.Budget{Limit: 5 * wflo.Cent, OnExceeded: wflo.ExceedAsk}, func(ctx workflow.Context) (int, error) {
			for _, key := range []string{"inner", "other"} {
				if _, err := step(ctx, key, wflo.Budget{Limit: wflo.Cent}, look); err != nil {
					return 0, err
				}
			}
			return step(ctx, "unlimited", wflo.Budget{}, look)
		})
		if err == nil {
			_, err = look(ctx)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	id := env.Status().Run.ID()
	own := wflo.BudgetLine{ID: "run:" + id, Limit: wflo.USD}
	outer := wflo.BudgetLine{ID: "step:" + id + "/outer", Limit: 5 * wflo.Cent, OnExceeded: wflo.ExceedAsk}
	want := [][]wflo.BudgetLine{
		{own, outer, {ID: "step:" + id + "/inner", Limit: wflo.Cent}},
		{own, outer, {ID: "step:" + id + "/other", Limit: wflo.Cent}},
		{own, outer},
		{own},
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("difference (-want +got):\n%s", diff)
	}
}

// TestStepBudgetStopsTheStep and leaves the run's money alone.
func TestStepBudgetStopsTheStep(t *testing.T) {
	cfg := parking(nil)
	cfg.Budget, cfg.OnExceeded = wflo.USD, ""
	env := wflotest.New(t, cfg)
	err := env.Run(func(ctx workflow.Context) error {
		_, err := workflows.Step(ctx, "summary", workflows.StepOptions{Budget: wflo.Budget{Limit: smallBudget}}, ask)
		var refusal *wflo.Refusal
		if !errors.As(err, &refusal) || !strings.HasPrefix(refusal.Budget, "step:") {
			return errors.New("the step was not stopped by its budget")
		}
		_, err = ask(ctx)
		return err
	})
	if err != nil || len(env.Calls()) != 1 {
		t.Errorf("%v, %d calls", err, len(env.Calls()))
	}
}

func TestStepRefusesABudgetWithAName(t *testing.T) {
	env, _ := newEnv(t, wflotest.Config{})
	wantCode(t, env.Run(func(ctx workflow.Context) error {
		_, err := workflows.Step(ctx, "s", workflows.StepOptions{Budget: wflo.Budget{Scope: wflo.ScopeTeam, Name: "books", Limit: wflo.USD}}, ask)
		return err
	}), wflo.CodeInvalid)
}
