// Package histories holds recorded histories of runs under wflo's plugin, and
// the workflows that made them. A change of the workflow half that replays none
// of them differently is safe to deploy under runs that are open; one that does
// belongs behind workflow.GetVersion, and the old history stays.
//
// The histories were recorded from a real server, by
//
//	go test ./cmd/wflo/internal/govern -run TestRecordedHistories -update
//
// which writes those that are not there, and leaves the others as they are: a new
// behaviour gets a new name. A history of what was never released may be removed
// and recorded again. Two agents were recorded by the code that knew neither loops
// nor parking: agent-repeats, which today would be stopped, and agent-over-budget.
// The code lives in testdata because it is data, in both
// senses: the tests of two modules read it, nobody else.
package histories

import (
	"errors"
	"fmt"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/workflows"
)

// Do is the registered name of the only activity that these workflows call:
// text in, text out; text that begins with "fail" is an error that is not retried.
const Do = "histories.Do"

// Names under which the workflows are registered.
const (
	Plain    = "histories.Plain"
	Gated    = "histories.Gated"
	Saga     = "histories.Saga"
	Chain    = "histories.Chain"
	Halted   = "histories.Halted"
	Parent   = "histories.Parent"
	Allotted = "histories.Allotted"
	Granted  = "histories.Granted"
	Saved    = "histories.Saved"
)

// Registry is the part of a worker or a replayer that Register needs.
type Registry interface {
	RegisterWorkflowWithOptions(w any, options workflow.RegisterOptions)
}

// Register registers the workflows, but for wflo.Agent, which the plugin brings.
func Register(r Registry) {
	for name, fn := range map[string]any{
		Plain: plain, Gated: gated, Saga: saga, Chain: chain, Halted: halted, Parent: parent,
		Allotted: allotted, Granted: granted, Saved: saved,
	} {
		r.RegisterWorkflowWithOptions(fn, workflow.RegisterOptions{Name: name})
	}
}

func do(ctx workflow.Context, line string) (string, error) {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: time.Minute,
		RetryPolicy:         &temporal.RetryPolicy{MaximumAttempts: 1},
	})
	var out string
	err := workflow.ExecuteActivity(ctx, Do, line).Get(ctx, &out)
	return out, err
}

// plain calls activities as any workflow does, without a verb of wflo.
func plain(ctx workflow.Context, n int) (string, error) {
	last := ""
	for i := range n {
		var err error
		if last, err = do(ctx, fmt.Sprint("line ", i)); err != nil {
			return "", err
		}
	}
	return last, nil
}

// gated acts only with approval.
func gated(ctx workflow.Context, timeout time.Duration) (string, error) {
	_, err := workflows.RequireApproval(ctx, wflo.Approval{
		Gate: "delete", Action: "Delete 7 rows", Payload: []byte(`{"rows":7}`), Timeout: timeout,
	})
	if err != nil {
		return "", err
	}
	return do(ctx, "delete")
}

// granted does what two people approve, as they may have changed it, when it is told to.
func granted(ctx workflow.Context) (string, error) {
	a := wflo.Approval{
		Gate: "delete", Action: "Delete 7 rows", Payload: []byte(`"delete 7"`), Activity: Do,
		Approvers: []string{"ann", "ben"}, Quorum: 2, Escalation: []wflo.Level{{Approvers: []string{"cat"}}},
		Answers: []wflo.Verdict{wflo.VerdictApprove, wflo.VerdictReject, wflo.VerdictEdit},
	}
	return workflows.Step(ctx, "delete", workflows.StepOptions{Approval: &a}, func(ctx workflow.Context) (string, error) {
		line, err := workflows.Approved[string](ctx)
		if err != nil {
			return "", err
		}
		workflow.GetSignalChannel(ctx, SignalAct).Receive(ctx, nil)
		return do(ctx, line)
	})
}

// SignalAct is what granted waits for between the approval and the action.
const SignalAct = "act"

// saved looks, is saved, books what can be undone, rolls a step back, and ends as it is told.
func saved(ctx workflow.Context) (string, error) {
	look := workflows.StepOptions{Key: "look", Effect: wflo.EffectRead}
	if _, err := workflows.Step(ctx, "look", look, func(ctx workflow.Context) (string, error) { return do(ctx, "look") }); err != nil {
		return "", err
	}
	if _, err := workflows.TakeSnapshot(ctx, "looked"); err != nil {
		return "", err
	}
	if err := undoable(ctx, "book", workflows.StepOptions{}); err != nil {
		return "", err
	}
	if err := undoable(ctx, "fail optional", workflows.StepOptions{Rollback: &workflows.Rollback{}}); err == nil {
		return "", errors.New("the optional step did not fail")
	}
	var end string
	workflow.GetSignalChannel(ctx, SignalAct).Receive(ctx, &end)
	if end == "badly" {
		return "", temporal.NewApplicationError("it ends badly", "test")
	}
	return end, nil
}

// undoable is a step that says how to undo itself.
func undoable(ctx workflow.Context, line string, opts workflows.StepOptions) error {
	opts.Effect = wflo.EffectReversible
	opts.Compensation = &workflows.Compensation{Name: line, Activity: Do, Input: "undo " + line}
	_, err := workflows.Step(ctx, line, opts, func(ctx workflow.Context) (string, error) { return do(ctx, line) })
	return err
}

// saga books, fails to pay, and undoes both; a step of it rolls back alone.
func saga(ctx workflow.Context) error {
	if err := undoable(ctx, "book", workflows.StepOptions{Key: "booking"}); err != nil {
		return err
	}
	// The same key again: the memo answers.
	if err := undoable(ctx, "book", workflows.StepOptions{Key: "booking"}); err != nil {
		return err
	}
	if err := undoable(ctx, "fail optional", workflows.StepOptions{Rollback: &workflows.Rollback{}}); err == nil {
		return errors.New("the optional step did not fail")
	}
	return undoable(ctx, "fail pay", workflows.StepOptions{})
}

// chain continues as new once, with something to undo, and fails then.
func chain(ctx workflow.Context, generation int) error {
	if err := undoable(ctx, fmt.Sprint("reserve ", generation), workflows.StepOptions{}); err != nil {
		return err
	}
	if generation == 0 {
		return workflow.NewContinueAsNewError(ctx, Chain, generation+1)
	}
	_, err := do(ctx, "fail at last")
	return err
}

// halted waits for somebody to halt it.
func halted(ctx workflow.Context) error {
	if err := undoable(ctx, "publish", workflows.StepOptions{}); err != nil {
		return err
	}
	return workflow.Sleep(ctx, time.Hour)
}

// parent leaves its task to an agent.
func parent(ctx workflow.Context, task wflo.Task) (string, error) {
	answer, err := workflows.Agent(ctx, task)
	return answer.Text, err
}

// allotted gives a summary a budget of its own. The step asks until that is used
// up, and the run, which has more, goes on without it.
func allotted(ctx workflow.Context, prompt wflo.Prompt, limit wflo.Money) (string, error) {
	opts := workflows.StepOptions{Key: "summary", Budget: wflo.Budget{Limit: limit}}
	_, err := workflows.Step(ctx, "summary", opts, func(ctx workflow.Context) (wflo.Reply, error) {
		for {
			if reply, err := workflows.Ask(ctx, prompt); err != nil {
				return reply, err
			}
		}
	})
	var refusal *wflo.Refusal
	if !errors.As(err, &refusal) {
		return "", fmt.Errorf("the step ended with %w", err)
	}
	if reply, err := workflows.Ask(ctx, prompt); err != nil || refusal.Limit != limit {
		return "", fmt.Errorf("budget %s with the limit %s, then %q and %w", refusal.Budget, refusal.Limit, reply.Text, err)
	}
	return do(ctx, "without the summary")
}
