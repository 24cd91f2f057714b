package workflows

import (
	"fmt"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
)

// RunRestore is the workflow that is registered as wflo.WorkflowRestore. It plans, writes
// the restore down, and has the run go back, or starts the run that goes on. Every phase
// may be repeated and is on record, so that the worker may be killed at any moment: the
// restore ends done, or failed with the run as it was before.
func RunRestore(ctx workflow.Context, r wflo.Restore) (wflo.Restored, error) {
	if err := r.Validate(); err != nil {
		return wflo.Restored{}, err
	}
	if id := workflow.GetInfo(ctx).WorkflowExecution.ID; id != wflo.RestoreWorkflowID(r.ID) {
		return wflo.Restored{}, wflo.Invalid("restore.id", fmt.Sprintf("is %q in the workflow %q", r.ID, id), "start it under the id "+wflo.RestoreWorkflowID(r.ID))
	}
	// What is asked of the restore itself was asked before: no policy and no gate is in its way.
	ctx = workflow.WithValue(ctx, compensatingKey{}, true)
	in, err := step.RestorePlan.Do(planning(ctx), r)
	if err != nil {
		return wflo.Restored{}, fromWire(err)
	}
	if r.DryRun {
		return in.Restored, nil
	}
	// What is refused here is not on record under this ID, or is another request's.
	if in, err = step.RestoreBegin.Do(patient(ctx, "write the restore down"), in); err != nil {
		return wflo.Restored{}, fromWire(err)
	}
	if !hasEnded(in.Restored) {
		if in, err = carryOut(ctx, in); err != nil {
			return wflo.Restored{}, giveUp(ctx, in.Restored, err)
		}
	}
	out, err := step.RestoreFollow.Do(patient(ctx, "wait for run "+in.Restored.Into), in)
	if err != nil {
		return wflo.Restored{}, fromWire(err)
	}
	if out.State == wflo.RestoreFailed {
		return out, wflo.Errorf(wflo.CodeConflict, "see what became of it with wflo lineage, and restore again", "restore %s failed: %s", r.ID, out.Error)
	}
	return out, nil
}

func hasEnded(r wflo.Restored) bool {
	return r.State == wflo.RestoreDone || r.State == wflo.RestoreFailed
}

// carryOut does all that comes before the run can go back by itself. On an error, a run
// that is open is what it was. Of a closed one that is opened again, effects may have been
// undone by then: somebody else may take its workflow id meanwhile, and another restore
// goes on from there.
func carryOut(ctx workflow.Context, in step.Restoring) (step.Restoring, error) {
	mode := in.Restored.Plan.Mode
	if mode == wflo.RestoreInPlace {
		return keep(in)(step.RestoreAsk.Do(patient(ctx, "ask run "+in.Restored.From), in))
	}
	in, err := keep(in)(step.RestoreClaim.Do(patient(ctx, "save what is left behind"), in))
	if err != nil {
		return in, err
	}
	// Also where nothing is left to undo: whoever undoes under that id now is waited for.
	if mode == wflo.RestoreReopen && (len(in.Restored.Plan.Undo)+len(in.Restored.Plan.Skipped) > 0 || waits(ctx)) {
		dead, err := undoLater(ctx, in)
		if err != nil {
			return in, err
		}
		in.Restored.Dead = dead
	}
	return keep(in)(step.RestoreStart.Do(patient(ctx, "start the run that goes on"), in))
}

// changeReopen marks restores that wait for whoever undoes what their run left, also where
// nothing is left.
const changeReopen = "wflo-reopen-waits"

func waits(ctx workflow.Context) bool {
	return workflow.GetVersion(ctx, changeReopen, workflow.DefaultVersion, 1) >= 1
}

// keep gives what was known before where a phase failed.
func keep(in step.Restoring) func(step.Restoring, error) (step.Restoring, error) {
	return func(out step.Restoring, err error) (step.Restoring, error) {
		if err != nil {
			return in, err
		}
		return out, nil
	}
}

// compensateRetry is how long a restore waits for whoever else undoes what the run left.
const compensateRetry = 5 * time.Second

// undoLater undoes what the run did after the moment that it goes back to, and gives the
// dead letters. The worker's sweep may be at it already, under the same workflow id.
func undoLater(ctx workflow.Context, in step.Restoring) (dead []wflo.CompensationRecord, err error) {
	r := in.Restored
	for {
		var touched []wflo.CompensationRecord
		child := workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
			WorkflowID: wflo.CompensateWorkflowID(r.From), // where it dies with its parent, the worker's sweep goes on
		})
		err := workflow.ExecuteChildWorkflow(child, wflo.WorkflowCompensate, wflo.CompensationOrder{
			RunID: r.From, Above: in.Height, Kept: true, By: r.Restore.By, Reason: "restore " + r.Restore.ID + ": " + r.Restore.Reason,
		}).Get(ctx, &touched)
		if temporal.IsWorkflowExecutionAlreadyStartedError(err) {
			if err := workflow.Sleep(ctx, compensateRetry); err != nil {
				return nil, err
			}
			continue
		}
		for _, c := range touched {
			if c.State == wflo.CompensationDead {
				dead = append(dead, c)
			}
		}
		return dead, err
	}
}

// giveUp notes why the restore failed, also where it was cancelled.
func giveUp(ctx workflow.Context, r wflo.Restored, err error) error {
	ctx, cancel := workflow.NewDisconnectedContext(ctx)
	defer cancel()
	r.Error = cause(err)
	if _, noteErr := step.RestoreFail.Do(patient(ctx, "note that it failed"), r); noteErr != nil {
		workflow.GetLogger(ctx).Error("a restore that failed is not on record as such", "restore", r.Restore.ID, "error", noteErr.Error())
	}
	return fromWire(err)
}

// planning are the options of what changes nothing and somebody waits for.
func planning(ctx workflow.Context) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: 30 * time.Minute, HeartbeatTimeout: 30 * time.Second, Summary: "plan",
		RetryPolicy: &temporal.RetryPolicy{InitialInterval: time.Second, BackoffCoefficient: 2, MaximumInterval: 10 * time.Second, MaximumAttempts: 5},
	})
}

// patient are the options of what must come to an end: a database or a worker that is
// away is waited for.
func patient(ctx workflow.Context, summary string) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: 24 * time.Hour, HeartbeatTimeout: 30 * time.Second, Summary: clip(summary, 200), WaitForCancellation: true,
		RetryPolicy: &temporal.RetryPolicy{InitialInterval: time.Second, BackoffCoefficient: 2, MaximumInterval: 30 * time.Second},
	})
}
