package govern

import (
	"testing"

	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/recovery"
	"github.com/wflo-ai/wflo-go/workflows"
)

// spendthrift is saved, and asks the model until its budget is spent.
func spendthrift(ctx workflow.Context) error {
	if _, err := workflows.TakeSnapshot(ctx, "start"); err != nil {
		return err
	}
	for {
		if _, err := workflows.Ask(ctx, wflo.Prompt{Model: model, MaxTokens: 100, Messages: []wflo.Message{{Role: wflo.RoleUser, Text: "more"}}}); err != nil {
			return err
		}
	}
}

// TestReopenedRunsSpendOneBudget: a run that spent its budget has nothing to spend when it
// is opened again, however often.
func TestReopenedRunsSpendOneBudget(t *testing.T) {
	w := newWorld(t, config{register: func(r worker.Registry) {
		r.RegisterWorkflowWithOptions(spendthrift, workflow.RegisterOptions{Name: "spendthrift"})
	}})
	const limit = wflo.Cent / 10
	run := w.start(wflo.Run{User: "ann", Budget: wflo.Budget{Limit: limit}}, "spendthrift")
	if err := w.wait(run, nil); err == nil {
		t.Fatal("it pays for ever")
	}
	first := w.spend(run, run.GetRunID())
	calls := len(w.model.Calls())
	if calls == 0 || first.Spent > limit {
		t.Fatalf("%d calls have spent %s of %s", calls, first.Spent, limit)
	}
	back := recovery.New(recovery.Config{Client: w.Client})
	for range 2 {
		out, err := back.Do(t.Context(), wflo.Restore{
			WorkflowID: run.GetID(), To: wflo.RestorePoint{Snapshot: "start"}, By: "bob", Reason: "once more", AcceptIrreversible: true,
		})
		if err != nil || out.State != wflo.RestoreDone {
			t.Fatalf("reopened: %+v, %v", out, err)
		}
		again := w.GetWorkflow(t.Context(), run.GetID(), "")
		if err := w.wait(again, nil); err == nil {
			t.Fatal("it pays for ever")
		}
		if s := w.status(again); s.Spent != first.Spent || s.Run.Root != out.Inherits.Root || len(s.Run.Lines) != 2 {
			t.Errorf("the reopened run has spent %s under %+v", s.Spent, s.Run.Lines)
		}
	}
	if now := w.spend(run, run.GetRunID()); now.Spent != first.Spent || len(w.model.Calls()) != calls {
		t.Errorf("after it was opened twice the runs have spent %s of %s in %d calls, before it was %s in %d", now.Spent, limit, len(w.model.Calls()), first.Spent, calls)
	}
}
