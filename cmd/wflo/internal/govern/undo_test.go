package govern

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/undo"
	"github.com/wflo-ai/wflo-go/plugin"
	"github.com/wflo-ai/wflo-go/workflows"
	"github.com/wflo-ai/wflo-go/workflows/testdata/histories"
)

// swept has the sweep look often.
func swept(c *plugin.Config) { c.SweepEvery = 100 * time.Millisecond }

// twoSteps does one and two, and then waits for an hour, or ends badly.
func twoSteps(ctx workflow.Context, fail bool) error {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Minute, RetryPolicy: &temporal.RetryPolicy{MaximumAttempts: 1}})
	for _, line := range []string{"one", "two"} {
		opts := workflows.StepOptions{Effect: wflo.EffectReversible, Compensation: &workflows.Compensation{Name: line, Activity: histories.Do, Input: "undo " + line}}
		if _, err := workflows.Step(ctx, line, opts, func(ctx workflow.Context) (string, error) {
			var out string
			err := workflow.ExecuteActivity(ctx, histories.Do, line).Get(ctx, &out)
			return out, err
		}); err != nil {
			return err
		}
	}
	if fail {
		return errors.New("it ends badly")
	}
	return workflow.Sleep(ctx, time.Hour)
}

func registerTwoSteps(r worker.Registry) {
	r.RegisterWorkflowWithOptions(twoSteps, workflow.RegisterOptions{Name: "two-steps"})
}

// compensations are those of the run in the store, the highest first.
func (w *world) compensations(run client.WorkflowRun) []wflo.CompensationRecord {
	w.t.Helper()
	rows, err := w.guard.Recovery().ListCompensations(w.t.Context(), activities.CompensationQuery{WorkflowID: run.GetID()})
	if err != nil {
		w.t.Fatal(err)
	}
	slices.SortStableFunc(rows, func(a, b wflo.CompensationRecord) int { return b.Height - a.Height })
	return rows
}

// undoneTo waits until all compensations of the run are in a state.
func (w *world) undoneTo(run client.WorkflowRun, n int, want wflo.CompensationState) {
	w.t.Helper()
	eventually(w.t, "the state "+string(want), func() bool {
		rows := w.compensations(run)
		return len(rows) == n && !slices.ContainsFunc(rows, func(r wflo.CompensationRecord) bool { return r.State != want })
	})
}

// waiting begins the run and waits until both effects are there.
func (w *world) waiting(run client.WorkflowRun) client.WorkflowRun {
	w.t.Helper()
	eventually(w.t, "both effects", func() bool { return len(w.status(run).Steps) == 2 })
	return run
}

// TestSweepUndoesWhatRunsLeave ends runs in the ways in which none of their code runs.
func TestSweepUndoesWhatRunsLeave(t *testing.T) {
	for name, end := range map[string]func(w *world) client.WorkflowRun{
		"terminated": func(w *world) client.WorkflowRun {
			run := w.waiting(w.start(wflo.Run{Org: "acme"}, "two-steps", false))
			if err := w.TerminateWorkflow(w.t.Context(), run.GetID(), "", "an operator"); err != nil {
				w.t.Fatal(err)
			}
			return run
		},
		"timed out": func(w *world) client.WorkflowRun {
			run, err := w.ExecuteWorkflow(w.t.Context(), client.StartWorkflowOptions{
				ID: w.queue, TaskQueue: w.queue, WorkflowRunTimeout: 3 * time.Second,
			}, "two-steps", false)
			if err != nil {
				w.t.Fatal(err)
			}
			return w.waiting(run)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, config{plugin: swept, register: registerTwoSteps})
			run := end(w)
			w.undoneTo(run, 2, wflo.CompensationDone)
			w.wantLines("one", "two", "undo two", "undo one")
			rows := w.compensations(run)
			if !strings.Contains(rows[0].Cause, "sweep: the run ended") {
				t.Errorf("cause %q", rows[0].Cause)
			}
			// The effect keys are those that the run itself would have undone with.
			if _, keys := w.did(); "undo-"+string(keys[2])[:20] != rows[0].ID || "undo-"+string(keys[3])[:20] != rows[1].ID {
				t.Errorf("undone under other keys than registered")
			}
		})
	}
}

// TestCancelledRunUndoesItself leaves nothing to the sweep.
func TestCancelledRunUndoesItself(t *testing.T) {
	w := newWorld(t, config{plugin: swept, register: registerTwoSteps})
	run := w.waiting(w.start(wflo.Run{}, "two-steps", false))
	if err := w.CancelWorkflow(t.Context(), run.GetID(), ""); err != nil {
		t.Fatal(err)
	}
	if err := w.wait(run, nil); !temporal.IsCanceledError(err) {
		t.Errorf("the run ended with %v", err)
	}
	w.wantLines("one", "two", "undo two", "undo one")
	w.undoneTo(run, 2, wflo.CompensationDone)
}

// TestResetRefusesWhatWasUndone resets a run with Temporal's own means after it had
// undone its effects. They have the same keys, so that providers would take them for
// those that were undone: they are refused, and nothing is done or undone twice.
func TestResetRefusesWhatWasUndone(t *testing.T) {
	w := newWorld(t, config{plugin: swept, register: registerTwoSteps})
	run := w.start(wflo.Run{}, "two-steps", true)
	if err := w.wait(run, nil); err == nil {
		t.Fatal("the run did not fail")
	}
	again := w.reset(run)
	wantCode(t, w.wait(again, nil), wflo.CodeConflict)
	w.wantLines("one", "two", "undo two", "undo one")
	w.undoneTo(run, 2, wflo.CompensationDone)
}

// TestResetOfAnOpenRun goes back to before the effects while they stand.
func TestResetOfAnOpenRun(t *testing.T) {
	w := newWorld(t, config{plugin: swept, register: registerTwoSteps})
	run := w.waiting(w.start(wflo.Run{}, "two-steps", false))
	again := w.waiting(w.reset(run))
	lines, keys := w.did()
	if len(lines) != 4 || keys[0] != keys[2] || keys[1] != keys[3] {
		t.Errorf("did %v with %v", lines, keys)
	}
	if err := w.TerminateWorkflow(t.Context(), again.GetID(), "", "an operator"); err != nil {
		t.Fatal(err)
	}
	w.undoneTo(run, 2, wflo.CompensationDone)
	w.wantLines("one", "two", "one", "two", "undo two", "undo one")
}

// branching does "left" only before it was reset.
func branching(first *bool) func(ctx workflow.Context) error {
	return func(ctx workflow.Context) error {
		ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Minute})
		var before bool
		if err := workflow.SideEffect(ctx, func(workflow.Context) any { was := *first; *first = false; return was }).Get(&before); err != nil {
			return err
		}
		if !before {
			return nil
		}
		if err := workflows.Compensate(ctx, workflows.Compensation{Name: "left", Activity: histories.Do, Input: "undo left", Undoes: histories.Do}); err != nil {
			return err
		}
		if err := workflow.ExecuteActivity(ctx, histories.Do, "left").Get(ctx, nil); err != nil {
			return err
		}
		return workflow.Sleep(ctx, time.Hour)
	}
}

// TestBranchThatAResetGaveUp leaves an effect that the new branch knows nothing of, and
// that ends well: nobody but a person can say what is to become of it.
func TestBranchThatAResetGaveUp(t *testing.T) {
	first := true
	w := newWorld(t, config{plugin: swept, register: func(r worker.Registry) {
		r.RegisterWorkflowWithOptions(branching(&first), workflow.RegisterOptions{Name: "branching"})
	}})
	run := w.start(wflo.Run{Org: "acme"}, "branching")
	eventually(t, "the effect", func() bool { lines, _ := w.did(); return len(lines) == 1 })
	eventually(t, "the row", func() bool { return len(w.compensations(run)) == 1 })
	if err := w.wait(w.reset(run), nil); err != nil {
		t.Fatal(err)
	}
	w.undoneTo(run, 1, wflo.CompensationDead)
	r := w.compensations(run)[0]
	if r.Error != "left by a branch that a reset gave up" {
		t.Errorf("error %q", r.Error)
	}
	desk := &undo.Desk{Client: w.Client, Store: w.guard.Recovery(), Records: w.guard.Records()}
	retried, err := desk.Retry(t.Context(), r.ID, "ann")
	if err != nil {
		t.Fatal(err)
	}
	var records []wflo.CompensationRecord
	if err := w.wait(retried, &records); err != nil || len(records) != 1 || records[0].State != wflo.CompensationDone {
		t.Errorf("%+v, %v", records, err)
	}
	w.wantLines("left", "undo left")
	w.undoneTo(run, 1, wflo.CompensationDone)
	trail, err := w.guard.Records().ReadAudit(t.Context(), wflo.AuditQuery{Chain: "acme", Type: wflo.AuditCompensationRetried})
	if err != nil || len(trail) != 1 || trail[0].Actor != "ann" {
		t.Errorf("trail %+v, %v", trail, err)
	}
}

// TestWorkerDiesWhileItUndoes stops the worker in the middle of undoing; another one
// goes on with the rest, and does not undo twice what is on record as undone.
func TestWorkerDiesWhileItUndoes(t *testing.T) {
	dir := t.TempDir()
	database := func(c *plugin.Config) { swept(c); c.DataDir, c.Database = dir, "" }
	held, going := make(chan struct{}), make(chan struct{})
	hold := func(ctx context.Context, line string) error {
		close(going)
		select {
		case <-held:
		case <-ctx.Done():
		}
		return ctx.Err()
	}
	flow := func(ctx workflow.Context) error {
		ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Minute})
		for _, c := range []workflows.Compensation{
			{Name: "one", Activity: histories.Do, Input: "undo one"},
			{Name: "two", Activity: "hold", Input: "undo two", Timeout: 2 * time.Second},
			{Name: "three", Activity: histories.Do, Input: "undo three"},
		} {
			if err := workflows.Compensate(ctx, c); err != nil {
				return err
			}
		}
		return errors.New("it ends badly")
	}
	lost := newWorld(t, config{plugin: database, register: func(r worker.Registry) {
		r.RegisterWorkflowWithOptions(flow, workflow.RegisterOptions{Name: "dying"})
		registerActivity(r, "hold", hold)
	}})
	run := lost.start(wflo.Run{}, "dying")
	<-going
	lost.worker.Stop()
	lost.wantLines("undo three")
	w := newWorld(t, config{plugin: database, register: func(r worker.Registry) {
		r.RegisterWorkflowWithOptions(flow, workflow.RegisterOptions{Name: "dying"})
		registerActivity(r, "hold", func(context.Context, string) error { return nil })
	}})
	if err := w.wait(run, nil); err == nil || !strings.Contains(err.Error(), "it ends badly") {
		t.Errorf("the run ended with %v", err)
	}
	w.wantLines("undo one")
	w.undoneTo(run, 3, wflo.CompensationDone)
	close(held)
}

// TestLateAttemptIsRefused has an attempt of an effect fail, and the run terminated
// while the next one waits for its turn: after the sweep it must not begin.
func TestLateAttemptIsRefused(t *testing.T) {
	attempts := make(chan int32, 10)
	w := newWorld(t, config{plugin: swept, register: func(r worker.Registry) {
		r.RegisterWorkflowWithOptions(func(ctx workflow.Context) error {
			ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Minute})
			if err := workflows.Compensate(ctx, workflows.Compensation{Name: "late", Activity: histories.Do, Input: "undo", Undoes: "late"}); err != nil {
				return err
			}
			return workflow.ExecuteActivity(ctx, "late").Get(ctx, nil)
		}, workflow.RegisterOptions{Name: "suspended"})
		registerActivity(r, "late", func(context.Context) error {
			attempts <- 1
			return temporal.NewApplicationErrorWithOptions("once more", "test", temporal.ApplicationErrorOptions{NextRetryDelay: 2 * time.Second})
		})
	}})
	run := w.start(wflo.Run{}, "suspended")
	<-attempts
	r := w.compensations(run)[0]
	if _, err := w.guard.Recovery().BeginUndo(t.Context(), r.ID, "an operator"); err != nil {
		t.Fatal(err)
	}
	wantCode(t, w.wait(run, nil), wflo.CodeConflict)
	if len(attempts) != 0 {
		t.Errorf("the effect began again after its undoing")
	}
	w.wantLines("undo")
	w.undoneTo(run, 1, wflo.CompensationDone)
}

// TestSweepLeavesOpenRunsAlone, however long they are quiet.
func TestSweepLeavesOpenRunsAlone(t *testing.T) {
	w := newWorld(t, config{plugin: swept, register: registerTwoSteps})
	run := w.waiting(w.start(wflo.Run{}, "two-steps", false))
	other := w.waiting(w.startAs(w.queue+"-other", wflo.Run{}, "two-steps", false))
	if err := w.TerminateWorkflow(t.Context(), other.GetID(), "", "an operator"); err != nil {
		t.Fatal(err)
	}
	w.undoneTo(other, 2, wflo.CompensationDone) // the sweep came by
	for _, r := range w.compensations(run) {
		if r.State.Ended() || r.State == wflo.CompensationRunning {
			t.Errorf("%s of a run that goes on is %s", r.Name, r.State)
		}
	}
	if d, err := w.DescribeWorkflowExecution(t.Context(), run.GetID(), ""); err != nil || d.GetWorkflowExecutionInfo().GetStatus() != enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING {
		t.Errorf("the run does not go on: %v", err)
	}
}
