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
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/plugin"
	"github.com/wflo-ai/wflo-go/sandbox"
	"github.com/wflo-ai/wflo-go/wflotest"
	"github.com/wflo-ai/wflo-go/wflotest/scripted"
	"github.com/wflo-ai/wflo-go/workflows"
)

// journal records what activities did, in order.
// journal is what test.Do was asked for. Activities of a run run at the same time.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) do(_ context.Context, line string) (string, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, line)
	if strings.HasPrefix(line, "fail") {
		return "", temporal.NewNonRetryableApplicationError("told to", "test", nil)
	}
	return "did " + line, nil
}

func newEnv(t *testing.T, cfg wflotest.Config) (*wflotest.Env, *journal) {
	t.Helper()
	j := &journal{}
	env := wflotest.New(t, cfg)
	env.RegisterActivityWithOptions(j.do, activity.RegisterOptions{Name: "test.Do"})
	return env, j
}

func do(ctx workflow.Context, line string) (string, error) {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Minute})
	var out string
	err := workflow.ExecuteActivity(ctx, "test.Do", line).Get(ctx, &out)
	return out, err
}

func TestStepMemoises(t *testing.T) {
	env, j := newEnv(t, wflotest.Config{})
	err := env.Run(func(ctx workflow.Context) ([]string, error) {
		var got []string
		for range 3 {
			out, err := workflows.Step(ctx, "charge", workflows.StepOptions{Key: "order-17"}, func(ctx workflow.Context) (string, error) {
				return do(ctx, "charge")
			})
			if err != nil {
				return nil, err
			}
			got = append(got, out)
		}
		return got, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	env.Result(&got)
	if !slices.Equal(j.lines, []string{"charge"}) || !slices.Equal(got, []string{"did charge", "did charge", "did charge"}) {
		t.Errorf("ran %v, got %v", j.lines, got)
	}
}

// TestKeyedStepRetriesWithTheSameEffect tries a step again after an error that
// may have come after the effect: the world must be asked with the same key.
func TestKeyedStepRetriesWithTheSameEffect(t *testing.T) {
	env, _ := newEnv(t, wflotest.Config{})
	var keys []wflo.EffectKey
	env.RegisterActivityWithOptions(func(ctx context.Context) error {
		run, _ := wflo.RunFrom(ctx)
		keys = append(keys, run.EffectKey())
		return temporal.NewNonRetryableApplicationError("the answer was lost", "test", nil)
	}, activity.RegisterOptions{Name: "test.Charge"})
	err := env.Run(func(ctx workflow.Context) error {
		ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Minute})
		charge := func(ctx workflow.Context) (string, error) {
			return "", workflow.ExecuteActivity(ctx, "test.Charge").Get(ctx, nil)
		}
		for _, opts := range []workflows.StepOptions{{Key: "order-17"}, {Key: "order-17"}, {Key: "order-18"}, {}, {}} {
			if _, err := workflows.Step(ctx, "charge", opts, charge); err == nil {
				return errors.New("the step did not fail")
			}
		}
		return nil
	})
	if err != nil || len(keys) != 5 {
		t.Fatalf("%v, %d calls", err, len(keys))
	}
	if keys[0] != keys[1] {
		t.Error("the same step has two effect keys")
	}
	for i, k := range keys[1:4] {
		if slices.Contains(keys[i+2:], k) {
			t.Errorf("two steps share the effect key of call %d", i+2)
		}
	}
}

func TestStepsWithoutKeyRunEachTime(t *testing.T) {
	env, j := newEnv(t, wflotest.Config{})
	err := env.Run(func(ctx workflow.Context) error {
		for range 2 {
			if _, err := workflows.Step(ctx, "poll", workflows.StepOptions{}, func(ctx workflow.Context) (string, error) {
				return do(ctx, "poll")
			}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil || len(j.lines) != 2 {
		t.Errorf("%v, ran %v", err, j.lines)
	}
	want := []string{"g0/poll#1", "g0/poll#2"}
	for i, s := range env.Status().Steps {
		if s.Key != want[i] {
			t.Errorf("step %d has key %s, want %s", i, s.Key, want[i])
		}
	}
}

// undoable is a step that registers how to undo itself and then does it.
func undoable(ctx workflow.Context, line string, opts workflows.StepOptions) error {
	opts.Effect = wflo.EffectReversible
	opts.Compensation = &workflows.Compensation{Name: line, Activity: "test.Do", Input: "undo " + line}
	_, err := workflows.Step(ctx, line, opts, func(ctx workflow.Context) (string, error) { return do(ctx, line) })
	return err
}

func TestCompensationsRunNewestFirst(t *testing.T) {
	env, j := newEnv(t, wflotest.Config{})
	err := env.Run(func(ctx workflow.Context) error {
		for _, line := range []string{"one", "two", "fail three"} {
			if err := undoable(ctx, line, workflows.StepOptions{}); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), "told to") {
		t.Errorf("the cause was lost: %v", err)
	}
	// The failed effect is undone too: its outcome is not known.
	want := []string{"one", "two", "fail three", "undo fail three", "undo two", "undo one"}
	if !slices.Equal(j.lines, want) {
		t.Errorf("ran %v\nwant %v", j.lines, want)
	}
	for _, c := range env.Status().Compensations {
		if c.State != wflo.CompensationDone {
			t.Errorf("%s is %s", c.Name, c.State)
		}
	}
	if s := env.Status(); s.State != wflo.StateFailed {
		t.Errorf("state = %s", s.State)
	}
}

func TestCompensationsStayWhenTheRunSucceeds(t *testing.T) {
	env, j := newEnv(t, wflotest.Config{})
	if err := env.Run(func(ctx workflow.Context) error { return undoable(ctx, "one", workflows.StepOptions{}) }); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(j.lines, []string{"one"}) {
		t.Errorf("ran %v", j.lines)
	}
}

func TestDeadLetterIsReportedAndTheRestRuns(t *testing.T) {
	env, j := newEnv(t, wflotest.Config{})
	err := env.Run(func(ctx workflow.Context) error {
		if err := undoable(ctx, "one", workflows.StepOptions{}); err != nil {
			return err
		}
		if err := workflows.Compensate(ctx, workflows.Compensation{Name: "stuck", Activity: "test.Do", Input: "fail undo", Attempts: 2}); err != nil {
			return err
		}
		return errors.New("something went wrong")
	})
	if err == nil || !strings.Contains(err.Error(), "something went wrong") || !strings.Contains(err.Error(), `"stuck" is a dead letter`) {
		t.Errorf("error = %v", err)
	}
	if last := j.lines[len(j.lines)-1]; last != "undo one" {
		t.Errorf("ran %v", j.lines)
	}
	if c := env.Status().Compensations; c[1].State != wflo.CompensationDead || c[0].State != wflo.CompensationDone {
		t.Errorf("compensations %+v", c)
	}
}

func TestStepRollsBackAlone(t *testing.T) {
	env, j := newEnv(t, wflotest.Config{})
	err := env.Run(func(ctx workflow.Context) error {
		if err := undoable(ctx, "one", workflows.StepOptions{}); err != nil {
			return err
		}
		if err := undoable(ctx, "fail two", workflows.StepOptions{Rollback: &workflows.Rollback{}}); err == nil {
			return errors.New("the step did not fail")
		}
		_, err := do(ctx, "three")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"one", "fail two", "undo fail two", "three"}; !slices.Equal(j.lines, want) {
		t.Errorf("ran %v, want %v", j.lines, want)
	}
}

func TestCancelUndoesToo(t *testing.T) {
	env, j := newEnv(t, wflotest.Config{})
	env.RegisterDelayedCallback(env.CancelWorkflow, time.Minute)
	err := env.Run(func(ctx workflow.Context) error {
		if err := undoable(ctx, "one", workflows.StepOptions{}); err != nil {
			return err
		}
		return workflow.Sleep(ctx, time.Hour)
	})
	if !slices.Equal(j.lines, []string{"one", "undo one"}) {
		t.Errorf("ran %v (%v)", j.lines, err)
	}
}

func TestHaltRefusesAndUndoes(t *testing.T) {
	env, j := newEnv(t, wflotest.Config{})
	env.RegisterDelayedCallback(func() {
		env.SignalWorkflow(wflo.SignalHalt, wflo.Halt{By: "ann", Reason: "it deletes things"})
	}, time.Minute)
	err := env.Run(func(ctx workflow.Context) error {
		if err := undoable(ctx, "one", workflows.StepOptions{}); err != nil {
			return err
		}
		if err := workflow.Sleep(ctx, time.Hour); err == nil {
			return errors.New("slept through the halt")
		}
		// A workflow that ignores its cancellation must not get anywhere.
		detached, _ := workflow.NewDisconnectedContext(ctx)
		_, err := do(detached, "two")
		return err
	})
	app := wantCode(t, err, wflo.CodeHalted)
	if !strings.Contains(app.Message(), "ann: it deletes things") {
		t.Errorf("error = %v", err)
	}
	if want := []string{"one", "undo one"}; !slices.Equal(j.lines, want) {
		t.Errorf("ran %v, want %v", j.lines, want)
	}
}

func TestHaltThatCannotBeReadStillHalts(t *testing.T) {
	env, j := newEnv(t, wflotest.Config{})
	env.RegisterDelayedCallback(func() { env.SignalWorkflow(wflo.SignalHalt, 17) }, time.Minute)
	err := env.Run(func(ctx workflow.Context) error {
		_ = workflow.Sleep(ctx, time.Hour)
		_, err := do(ctx, "two")
		return err
	})
	wantCode(t, err, wflo.CodeHalted)
	if len(j.lines) != 0 {
		t.Errorf("ran %v", j.lines)
	}
}

func noTrust(cfg *plugin.Config) { cfg.Approvals = wflo.Terms{} }

var loopPython = scripted.Loop(wflo.ToolPython, map[string]string{"code": "print('again')"})

func approval() wflo.Approval {
	return wflo.Approval{Gate: "delete", Action: "delete everything", Payload: []byte(`{"rows":7}`)}
}

func gated(ctx workflow.Context) (string, error) {
	if _, err := workflows.RequireApproval(ctx, approval()); err != nil {
		return "", err
	}
	return do(ctx, "delete")
}

func TestApproval(t *testing.T) {
	tests := []struct {
		name   string
		decide func(wflo.Gate) wflo.Decision
		code   wflo.Code
		ran    int
	}{
		{"approved", func(g wflo.Gate) wflo.Decision { return wflotest.Approve(g, "ann") }, "", 1},
		{"rejected", func(g wflo.Gate) wflo.Decision { return wflotest.Reject(g, "ann", "no") }, wflo.CodeApprovalRejected, 0},
		{"nobody", func(wflo.Gate) wflo.Decision { return wflo.Decision{} }, wflo.CodeApprovalTimeout, 0},
		{"other payload", func(g wflo.Gate) wflo.Decision {
			d := wflotest.Approve(g, "ann")
			d.Digest = strings.Repeat("0", 64)
			return d
		}, wflo.CodeApprovalTimeout, 0},
		{"other epoch", func(g wflo.Gate) wflo.Decision { d := wflotest.Approve(g, "ann"); d.Epoch++; return d }, wflo.CodeApprovalTimeout, 0},
		{"other gate", func(g wflo.Gate) wflo.Decision { d := wflotest.Approve(g, "ann"); d.Gate = "x"; return d }, wflo.CodeApprovalTimeout, 0},
		{"nameless", func(g wflo.Gate) wflo.Decision { return wflotest.Approve(g, "") }, wflo.CodeApprovalTimeout, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			env, j := newEnv(t, wflotest.Config{Decide: tt.decide})
			err := env.Run(gated)
			if tt.code == "" && err != nil {
				t.Fatal(err)
			}
			if tt.code != "" {
				wantCode(t, err, tt.code)
			}
			if len(j.lines) != tt.ran {
				t.Errorf("ran %v", j.lines)
			}
		})
	}
}

func TestNobodyTrustedMeansNoGate(t *testing.T) {
	env, j := newEnv(t, wflotest.Config{Plugin: noTrust})
	err := env.Run(gated)
	if err == nil || !strings.Contains(err.Error(), "trusts no approver key") || len(j.lines) != 0 {
		t.Errorf("error = %v, ran %v", err, j.lines)
	}
}

// TestMalformedDecisionChangesNothing sends what wedges naive gates.
func TestMalformedDecisionChangesNothing(t *testing.T) {
	env, j := newEnv(t, wflotest.Config{Decide: func(wflo.Gate) wflo.Decision { return wflo.Decision{} }})
	for i, junk := range []any{17, "approve", nil, []string{"a"}, map[string]any{"epoch": "x"}} {
		env.RegisterDelayedCallback(func() { env.SignalWorkflow(wflo.SignalDecide, junk) }, time.Duration(i+1)*time.Second)
	}
	wantCode(t, env.Run(gated), wflo.CodeApprovalTimeout)
	if len(j.lines) != 0 {
		t.Errorf("ran %v", j.lines)
	}
}

// TestOldDecisionDoesNotOpenTheNextGate replays the first gate's approval at a
// second opening of the same gate with the same payload.
func TestOldDecisionDoesNotOpenTheNextGate(t *testing.T) {
	var first wflo.Decision
	env, j := newEnv(t, wflotest.Config{Decide: func(g wflo.Gate) wflo.Decision {
		if first.Gate == "" {
			first = wflotest.Approve(g, "ann")
			return first
		}
		stale := first
		stale.Gate = g.ID
		return stale
	}})
	err := env.Run(func(ctx workflow.Context) error {
		if _, err := gated(ctx); err != nil {
			return err
		}
		_, err := gated(ctx)
		return err
	})
	wantCode(t, err, wflo.CodeApprovalTimeout)
	if len(j.lines) != 1 {
		t.Errorf("ran %v", j.lines)
	}
	gates := env.Status().Gates
	if len(gates) != 2 || gates[1].ID != "delete#2" || gates[1].Refused != 1 || gates[1].LastRefusal == "" {
		t.Errorf("gates %+v", gates)
	}
}

func TestUpdateDecides(t *testing.T) {
	env, _ := newEnv(t, wflotest.Config{Decide: func(wflo.Gate) wflo.Decision { return wflo.Decision{} }})
	var refused, accepted error
	answered := false
	env.RegisterDelayedCallback(func() {
		g := env.Gates()[0]
		bad := wflotest.Approve(g, "ann")
		bad.Digest = "no"
		env.UpdateWorkflow(wflo.UpdateDecide, "u1", &testsuite.TestUpdateCallback{
			OnReject:   func(err error) { refused = err },
			OnAccept:   func() {},
			OnComplete: func(any, error) {},
		}, bad)
		env.UpdateWorkflow(wflo.UpdateDecide, "u2", &testsuite.TestUpdateCallback{
			OnReject:   func(err error) { accepted = err },
			OnAccept:   func() { answered = true },
			OnComplete: func(any, error) {},
		}, wflotest.Approve(g, "ann"))
	}, time.Minute)
	if err := env.Run(gated); err != nil {
		t.Fatal(err)
	}
	if refused == nil || accepted != nil || !answered {
		t.Errorf("refused %v, accepted %v %v", refused, answered, accepted)
	}
}

func TestAskWithinPlainWorkflow(t *testing.T) {
	env, _ := newEnv(t, wflotest.Config{Budget: wflo.USD})
	err := env.Run(func(ctx workflow.Context) (string, error) {
		r, err := workflows.Ask(ctx, wflo.Prompt{Model: model, Messages: []wflo.Message{{Role: wflo.RoleUser, Text: "hello"}}})
		return r.Text, err
	})
	var text string
	env.Result(&text)
	if err != nil || text != "echo: hello" {
		t.Errorf("%v, %q", err, text)
	}
	if s := env.Status(); s.Spent != env.Spent() || s.Calls != 1 {
		t.Errorf("status %+v, ledger %s", s, env.Spent())
	}
}

// TestAskRefusesInvalidText keeps broken text from reaching a provider, which
// would bill for the refusal or misread it.
func TestAskRefusesInvalidText(t *testing.T) {
	env, _ := newEnv(t, wflotest.Config{})
	err := env.Run(func(ctx workflow.Context) error {
		_, err := workflows.Ask(ctx, wflo.Prompt{Model: model, Messages: []wflo.Message{{Role: wflo.RoleUser, Text: "a\xffb"}}})
		return err
	})
	if app := wantCode(t, err, wflo.CodeInvalid); !strings.Contains(app.Message(), "prompt.messages[0].text is not valid UTF-8") {
		t.Errorf("error = %v", err)
	}
	if len(env.Calls()) != 0 {
		t.Error("a model was called")
	}
}

// TestChildSpendsFromItsParent runs an agent under a budget that only the
// parent has.
func TestChildSpendsFromItsParent(t *testing.T) {
	const limit = wflo.Cent
	env, _ := newEnv(t, wflotest.Config{
		Budget: limit,
		Script: loopPython,
	})
	err := env.Run(func(ctx workflow.Context) error {
		in := task(wflo.ToolPython)
		in.MaxTurns, in.MaxRepeats = wflo.MaxTurnsLimit, wflo.MaxTurnsLimit
		_, err := workflows.Agent(ctx, in)
		if !errors.Is(err, wflo.ErrBudgetExceeded) {
			return fmt.Errorf("want ErrBudgetExceeded, got %w", err)
		}
		return err
	})
	wantCode(t, err, wflo.CodeBudgetExceeded)
	if spent := env.Spent(); spent == 0 || spent > limit {
		t.Errorf("spent %s of %s", spent, limit)
	}
}

func TestSandboxIsClosedWithTheRun(t *testing.T) {
	for _, fail := range []bool{false, true} {
		env, _ := newEnv(t, wflotest.Config{})
		err := env.Run(func(ctx workflow.Context) error {
			if err := workflows.WriteFiles(ctx, wflo.File{Name: "a.txt", Data: []byte("x")}); err != nil {
				return err
			}
			data, err := workflows.ReadFile(ctx, "a.txt", 10)
			if err != nil || string(data) != "x" {
				return fmt.Errorf("read %q, %w", data, err)
			}
			if _, err := workflows.RunSandboxed(ctx, sandbox.Spec{Argv: []string{"true"}}); err != nil {
				return err
			}
			if fail {
				return errors.New("told to")
			}
			return nil
		})
		if (err != nil) != fail {
			t.Fatal(err)
		}
		if boxes := env.Boxes(); len(boxes) != 0 {
			t.Errorf("fail=%v: boxes left: %v", fail, boxes)
		}
	}
}

func TestVerbsNeedThePlugin(t *testing.T) {
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestWorkflowEnvironment()
	env.ExecuteWorkflow(func(ctx workflow.Context) error {
		_, err := workflows.Ask(ctx, wflo.Prompt{})
		return err
	})
	if err := env.GetWorkflowError(); err == nil || !strings.Contains(err.Error(), "without wflo's plugin") {
		t.Errorf("error = %v", err)
	}
}
