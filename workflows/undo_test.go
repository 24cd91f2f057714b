package workflows_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/wflotest"
	"github.com/wflo-ai/wflo-go/workflows"
)

var errTold = errors.New("told to")

// stored is what the store has about the run's compensations, the lowest first.
func stored(t *testing.T, env *wflotest.Env) []wflo.CompensationRecord {
	t.Helper()
	rows, err := env.Recovery().ListCompensations(t.Context(), activities.CompensationQuery{Run: env.Status().Run.ID()})
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(rows)
	return rows
}

// wantStates compares states in the store and in the run's own account.
func wantStates(t *testing.T, env *wflotest.Env, want ...wflo.CompensationState) {
	t.Helper()
	rows, own := stored(t, env), env.Status().Compensations
	if len(rows) != len(want) || len(own) != len(want) {
		t.Fatalf("%d rows and %d entries, want %d: %+v", len(rows), len(own), len(want), rows)
	}
	for i, r := range rows {
		if r.State != want[i] || own[i].State != want[i] || r.ID != own[i].ID {
			t.Errorf("%s is %s in the store and %s in the run, want %s (%s)", r.Name, r.State, own[i].State, want[i], r.Error)
		}
	}
}

// undone records what the activity test.Undo was told.
type undone struct {
	mu   sync.Mutex
	all  []wflo.Undo
	keys []wflo.EffectKey
}

func (u *undone) do(ctx context.Context, _ string) (string, error) {
	what, ok := wflo.UndoFrom(ctx)
	if !ok {
		return "", errors.New("not a compensation")
	}
	run, _ := wflo.RunFrom(ctx)
	u.mu.Lock()
	defer u.mu.Unlock()
	u.all, u.keys = append(u.all, what), append(u.keys, run.EffectKey())
	return "what it returns is dropped", nil
}

func TestCompensationsAreKeptOutsideOfTheRun(t *testing.T) {
	env, _ := newEnv(t, wflotest.Config{})
	var before []wflo.CompensationRecord
	env.RegisterActivityWithOptions(func(context.Context) error {
		rows, err := env.Recovery().ListCompensations(t.Context(), activities.CompensationQuery{})
		before = rows
		return err
	}, activity.RegisterOptions{Name: "test.Look"})
	err := env.Run(func(ctx workflow.Context) error {
		ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Minute})
		opts := workflows.StepOptions{Compensation: &workflows.Compensation{Name: "order 17", Activity: "test.Do", Input: "undo", Group: "g"}}
		_, err := workflows.Step(ctx, "charge", opts, func(ctx workflow.Context) (int, error) {
			return 0, workflow.ExecuteActivity(ctx, "test.Look").Get(ctx, nil)
		})
		return err
	})
	if err != nil || len(before) != 1 {
		t.Fatalf("%v, %d rows before the effect", err, len(before))
	}
	r := before[0]
	if r.State != wflo.CompensationRegistered || !r.Begun || r.Height != 1 || r.Step != "g0/charge#1" || r.Group != "g" ||
		r.TaskQueue == "" || len(r.Input) == 0 || r.Attempts != 10 || r.Timeout != time.Minute {
		t.Errorf("row before the effect: %+v", r)
	}
	if want := "undo-" + string(r.Run.EffectKey())[:20]; r.ID != want {
		t.Errorf("ID %s, want %s, of its registration's key", r.ID, want)
	}
	wantStates(t, env, wflo.CompensationKept)
}

func TestOutcomesReachTheUndoingActivity(t *testing.T) {
	env, _ := newEnv(t, wflotest.Config{})
	u := &undone{}
	env.RegisterActivityWithOptions(u.do, activity.RegisterOptions{Name: "test.Undo"})
	err := env.Run(func(ctx workflow.Context) error {
		for _, line := range []string{"one", "fail two"} {
			opts := workflows.StepOptions{Compensation: &workflows.Compensation{Name: line, Activity: "test.Undo", Input: line}}
			if _, err := workflows.Step(ctx, line, opts, func(ctx workflow.Context) (string, error) { return do(ctx, line) }); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil || len(u.all) != 2 {
		t.Fatalf("%v, undone %+v", err, u.all)
	}
	rows := stored(t, env)
	for i, want := range []wflo.CompensationState{wflo.CompensationUnknown, wflo.CompensationExecuted} {
		r := rows[1-i]
		if got := u.all[i]; got.ID != r.ID || got.Outcome != want || got.Cause != "told to" || r.Cause != "told to" {
			t.Errorf("undo %+v of %+v, want %s", got, r, want)
		}
		if want := "undo-" + string(u.keys[i])[:20]; r.ID != want {
			t.Errorf("it was undone under another effect key than that of its registration")
		}
	}
	wantStates(t, env, wflo.CompensationDone, wflo.CompensationDone)
}

// TestWhatNeverBeganIsNotUndone fails a step before its effect.
func TestWhatNeverBeganIsNotUndone(t *testing.T) {
	env, j := newEnv(t, wflotest.Config{})
	err := env.Run(func(ctx workflow.Context) error {
		opts := workflows.StepOptions{Compensation: &workflows.Compensation{Name: "x", Activity: "test.Do", Input: "undo"}}
		_, err := workflows.Step(ctx, "x", opts, func(workflow.Context) (int, error) { return 0, errTold })
		return err
	})
	if err == nil || len(j.lines) != 0 {
		t.Errorf("%v, ran %v", err, j.lines)
	}
	wantStates(t, env, wflo.CompensationSkipped)
}

// TestEffectIsRefusedOnceItWasUndone is the other side: an operator, or a sweep, was
// there before the call.
func TestEffectIsRefusedOnceItWasUndone(t *testing.T) {
	env, j := newEnv(t, wflotest.Config{})
	env.RegisterActivityWithOptions(func(ctx context.Context) error {
		rows, err := env.Recovery().ListCompensations(ctx, activities.CompensationQuery{})
		if err == nil {
			_, err = env.Recovery().BeginUndo(ctx, rows[0].ID, "an operator")
		}
		return err
	}, activity.RegisterOptions{Name: "test.Operator"})
	err := env.Run(func(ctx workflow.Context) error {
		ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Minute})
		if err := workflows.Compensate(ctx, workflows.Compensation{Name: "x", Activity: "test.Do", Input: "undo", Undoes: "test.Do"}); err != nil {
			return err
		}
		if err := workflow.ExecuteActivity(ctx, "test.Operator").Get(ctx, nil); err != nil {
			return err
		}
		_, err := do(ctx, "x")
		return err
	})
	app := wantCode(t, err, wflo.CodeConflict)
	if !strings.Contains(app.Message(), "was undone before it began") || len(j.lines) != 0 {
		t.Errorf("%v, ran %v", err, j.lines)
	}
	wantStates(t, env, wflo.CompensationSkipped)
}

// TestOnlyTheNextCallIsTheEffect registers in a loop outside of steps.
func TestOnlyTheNextCallIsTheEffect(t *testing.T) {
	env, j := newEnv(t, wflotest.Config{})
	err := env.Run(func(ctx workflow.Context) error {
		for _, line := range []string{"one", "two"} {
			if err := workflows.Compensate(ctx, workflows.Compensation{Name: line, Activity: "test.Do", Input: "undo " + line, Undoes: "test.Do"}); err != nil {
				return err
			}
			if line == "two" {
				break // its effect never begins
			}
			if _, err := do(ctx, line); err != nil {
				return err
			}
		}
		return errTold
	})
	if want := []string{"one", "undo one"}; err == nil || !slices.Equal(j.lines, want) {
		t.Errorf("%v, ran %v, want %v", err, j.lines, want)
	}
	wantStates(t, env, wflo.CompensationDone, wflo.CompensationSkipped)
}

// TestGroupsAreUndoneAtTheSameTime has the members of a group wait for each other.
func TestGroupsAreUndoneAtTheSameTime(t *testing.T) {
	env, _ := newEnv(t, wflotest.Config{})
	var mu sync.Mutex
	var order []string
	both := make(chan struct{})
	waiting := 0
	env.RegisterActivityWithOptions(func(ctx context.Context, line string) error {
		mu.Lock()
		order = append(order, line)
		if strings.HasPrefix(line, "g") {
			if waiting++; waiting == 2 {
				close(both)
			}
		}
		mu.Unlock()
		if !strings.HasPrefix(line, "g") {
			return nil
		}
		select {
		case <-both:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}, activity.RegisterOptions{Name: "test.Undo"})
	err := env.Run(func(ctx workflow.Context) error {
		for _, c := range []struct{ name, group string }{{"first", ""}, {"g1", "g"}, {"g2", "g"}, {"last", ""}} {
			if err := workflows.Compensate(ctx, workflows.Compensation{Name: c.name, Activity: "test.Undo", Input: c.name, Group: c.group}); err != nil {
				return err
			}
		}
		return errTold
	})
	if err == nil || len(order) != 4 || order[0] != "last" || order[3] != "first" {
		t.Errorf("%v, undone in the order %v", err, order)
	}
}

// TestRollbackLeavesBranchesNextToItAlone: a branch finishes a step while another one is
// rolled back, which undoes what its own steps did.
func TestRollbackLeavesBranchesNextToItAlone(t *testing.T) {
	env, j := newEnv(t, wflotest.Config{})
	err := env.Run(func(ctx workflow.Context) error {
		other, settle := workflow.NewFuture(ctx)
		_, err := workflows.Step(ctx, "slow", workflows.StepOptions{Rollback: &workflows.Rollback{}}, func(inner workflow.Context) (int, error) {
			workflow.Go(ctx, func(ctx workflow.Context) { settle.Set(nil, undoable(ctx, "next to it", workflows.StepOptions{})) })
			if err := undoable(inner, "inside", workflows.StepOptions{}); err != nil {
				return 0, err
			}
			if err := other.Get(inner, nil); err != nil {
				return 0, err
			}
			return 0, errTold
		})
		if !errors.Is(err, errTold) {
			return fmt.Errorf("the step: %w", err)
		}
		return undoable(ctx, "after", workflows.StepOptions{})
	})
	slices.Sort(j.lines[:2])
	if want := []string{"inside", "next to it", "undo inside", "after"}; err != nil || !slices.Equal(j.lines, want) {
		t.Errorf("%v, ran %v, want %v", err, j.lines, want)
	}
	rows := stored(t, env)
	if len(rows) != 3 {
		t.Fatalf("rows %+v", rows)
	}
	for _, r := range rows {
		want := wflo.CompensationKept
		if r.Name == "inside" {
			want = wflo.CompensationDone
		}
		if r.State != want {
			t.Errorf("%s is %s, want %s", r.Name, r.State, want)
		}
	}
}

func TestDeadLettersAreOnRecord(t *testing.T) {
	env, _ := newEnv(t, wflotest.Config{})
	err := env.Run(func(ctx workflow.Context) error {
		if err := workflows.Compensate(ctx, workflows.Compensation{Name: "stuck", Activity: "test.Do", Input: "fail undo", Attempts: 2}); err != nil {
			return err
		}
		return errTold
	})
	if err == nil || !strings.Contains(err.Error(), `"stuck" is a dead letter`) {
		t.Errorf("error = %v", err)
	}
	wantStates(t, env, wflo.CompensationDead)
	trail, err := env.Records().ReadAudit(t.Context(), wflo.AuditQuery{Type: wflo.AuditCompensationDead})
	if err != nil || len(trail) != 1 || trail[0].Severity != wflo.SeverityError {
		t.Errorf("trail %+v, %v", trail, err)
	}
}

func TestHaltThatKeepsEffects(t *testing.T) {
	env, j := newEnv(t, wflotest.Config{})
	env.RegisterDelayedCallback(func() {
		env.SignalWorkflow(wflo.SignalHalt, wflo.Halt{By: "ann", Reason: "leave it", KeepEffects: true})
	}, time.Minute)
	err := env.Run(func(ctx workflow.Context) error {
		if err := undoable(ctx, "one", workflows.StepOptions{}); err != nil {
			return err
		}
		return workflow.Sleep(ctx, time.Hour)
	})
	wantCode(t, err, wflo.CodeHalted)
	if !slices.Equal(j.lines, []string{"one"}) {
		t.Errorf("ran %v", j.lines)
	}
	wantStates(t, env, wflo.CompensationKept)
}

func TestClassesHoldWhatTheyPromise(t *testing.T) {
	for _, tt := range []struct {
		opts workflows.StepOptions
		want string
	}{
		{workflows.StepOptions{Effect: wflo.EffectReversible}, "nothing undoes it"},
		{workflows.StepOptions{Effect: wflo.EffectVerifiable}, "nothing asks"},
		{workflows.StepOptions{ProbeInput: 1}, "has an input"},
	} {
		env, j := newEnv(t, wflotest.Config{})
		err := env.Run(func(ctx workflow.Context) error {
			_, err := workflows.Step(ctx, "x", tt.opts, func(ctx workflow.Context) (string, error) { return do(ctx, "x") })
			return err
		})
		app := wantCode(t, err, wflo.CodeInvalid)
		if !strings.Contains(app.Message(), tt.want) || len(j.lines) != 0 {
			t.Errorf("%+v: %v, ran %v", tt.opts, err, j.lines)
		}
	}
}

// probing is a step whose call fails, and a probe that gives an answer.
func probing(t *testing.T, answer wflo.Probed, fail bool) (*wflotest.Env, *journal, error) {
	t.Helper()
	env, j := newEnv(t, wflotest.Config{})
	env.RegisterActivityWithOptions(func(_ context.Context, order int) (wflo.Probed, error) {
		if order != 17 {
			return wflo.Probed{}, temporal.NewNonRetryableApplicationError("another order", "test", nil)
		}
		if fail {
			return wflo.Probed{}, temporal.NewNonRetryableApplicationError("cannot tell", "test", nil)
		}
		return answer, nil
	}, activity.RegisterOptions{Name: "test.Probe"})
	err := env.Run(func(ctx workflow.Context) (string, error) {
		return workflows.Step(ctx, "charge", workflows.StepOptions{
			Effect: wflo.EffectVerifiable, Probe: "test.Probe", ProbeInput: 17,
			Compensation: &workflows.Compensation{Name: "charge", Activity: "test.Do", Input: "undo"},
		}, func(ctx workflow.Context) (string, error) { return do(ctx, "fail") })
	})
	return env, j, err
}

func TestProbes(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer wflo.Probed
		fail   bool
		ok     bool
		ran    []string
		state  wflo.CompensationState
	}{
		{"it happened, with its result", wflo.Probed{Happened: true, Result: []byte(`"found"`)}, false, true, []string{"fail"}, wflo.CompensationKept},
		{"it happened", wflo.Probed{Happened: true}, false, false, []string{"fail", "undo"}, wflo.CompensationDone},
		{"it did not", wflo.Probed{}, false, false, []string{"fail"}, wflo.CompensationSkipped},
		{"it cannot tell", wflo.Probed{}, true, false, []string{"fail", "undo"}, wflo.CompensationDone},
	} {
		t.Run(tt.name, func(t *testing.T) {
			env, j, err := probing(t, tt.answer, tt.fail)
			if (err == nil) != tt.ok || !slices.Equal(j.lines, tt.ran) {
				t.Errorf("%v, ran %v, want %v", err, j.lines, tt.ran)
			}
			if tt.ok {
				var out string
				if env.Result(&out); out != "found" {
					t.Errorf("result %q", out)
				}
			} else if !strings.Contains(err.Error(), "told to") {
				t.Errorf("the cause was lost: %v", err)
			}
			wantStates(t, env, tt.state)
		})
	}
}

// TestUnknownOutcomeIsProbedFirst has the run fail while an effect is under way.
func TestUnknownOutcomeIsProbedFirst(t *testing.T) {
	for happened, state := range map[bool]wflo.CompensationState{true: wflo.CompensationDone, false: wflo.CompensationSkipped} {
		env, _ := newEnv(t, wflotest.Config{})
		u := &undone{}
		env.RegisterActivityWithOptions(u.do, activity.RegisterOptions{Name: "test.Undo"})
		env.RegisterActivityWithOptions(func(ctx context.Context, _ any) (wflo.Probed, error) {
			rows, err := env.Recovery().ListCompensations(ctx, activities.CompensationQuery{})
			if err == nil && rows[0].State != wflo.CompensationRunning {
				err = errors.New("the effect may still begin while it is asked about")
			}
			return wflo.Probed{Happened: happened}, err
		}, activity.RegisterOptions{Name: "test.Probe"})
		err := env.Run(func(ctx workflow.Context) error {
			if err := workflows.Compensate(ctx, workflows.Compensation{Name: "x", Activity: "test.Undo", Probe: "test.Probe"}); err != nil {
				return err
			}
			return errTold
		})
		if err == nil || len(u.all) != map[bool]int{true: 1}[happened] {
			t.Errorf("%v, undone %+v", err, u.all)
		}
		if happened && u.all[0].Outcome != wflo.CompensationExecuted {
			t.Errorf("undone as %s, though the probe knew", u.all[0].Outcome)
		}
		wantStates(t, env, state)
	}
}
