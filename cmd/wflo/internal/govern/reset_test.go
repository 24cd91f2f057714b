package govern

import (
	"testing"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/wflotest"
	"github.com/wflo-ai/wflo-go/workflows"
	"github.com/wflo-ai/wflo-go/workflows/testdata/histories"
)

// payout does something, asks a model, asks a person, and does something else.
func payout(ctx workflow.Context) error {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Minute})
	if err := workflow.ExecuteActivity(ctx, histories.Do, "charge").Get(ctx, nil); err != nil {
		return err
	}
	_, err := workflows.Ask(ctx, wflo.Prompt{Model: model, MaxTokens: 100, Messages: []wflo.Message{{Role: wflo.RoleUser, Text: "is it due?"}}})
	if err != nil {
		return err
	}
	if _, err := workflows.RequireApproval(ctx, wflo.Approval{Gate: "payout", Action: "Pay 5 USD", Payload: []byte(`{"usd":5}`)}); err != nil {
		return err
	}
	return workflow.ExecuteActivity(ctx, histories.Do, "pay").Get(ctx, nil)
}

// reset starts the run again from its beginning with Temporal's own means, which
// sends it the old signals and updates once more.
func (w *world) reset(run client.WorkflowRun) client.WorkflowRun {
	w.t.Helper()
	var point int64
	for _, e := range w.history(run.GetID(), run.GetRunID()).Events {
		if e.GetEventType() == enumspb.EVENT_TYPE_WORKFLOW_TASK_COMPLETED {
			point = e.GetEventId()
			break
		}
	}
	r, err := w.ResetWorkflowExecution(w.t.Context(), &workflowservice.ResetWorkflowExecutionRequest{
		Namespace: server.Namespace(), Reason: "a test", RequestId: w.queue, WorkflowTaskFinishEventId: point,
		WorkflowExecution: &commonpb.WorkflowExecution{WorkflowId: run.GetID(), RunId: run.GetRunID()},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return w.GetWorkflow(w.t.Context(), run.GetID(), r.GetRunId())
}

// TestReset makes Temporal's reset harmless: the same effects keep their keys,
// so that providers can refuse to do them twice; a model call that was paid is
// not paid again; and the old approval, which Temporal sends again, does not
// open the new gate.
func TestReset(t *testing.T) {
	for name, decide := range map[string]func(w *world, run client.WorkflowRun, d wflo.Decision){
		"approved by signal": func(w *world, run client.WorkflowRun, d wflo.Decision) { w.signal(run, wflo.SignalDecide, d) },
		"approved by update": func(w *world, run client.WorkflowRun, d wflo.Decision) {
			if _, err := w.decide(run, "", d); err != nil {
				w.t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, config{register: func(r worker.Registry) {
				r.RegisterWorkflowWithOptions(payout, workflow.RegisterOptions{Name: "payout"})
			}})
			run := w.start(wflo.Run{Budget: wflo.Budget{Limit: wflo.USD}}, "payout")
			old := w.gate(run, 1)
			decide(w, run, wflotest.Approve(old, "ann"))
			if err := w.wait(run, nil); err != nil {
				t.Fatal(err)
			}
			before := w.spend(run, run.GetRunID())

			again := w.reset(run)
			gate := w.gate(again, 1)
			if gate.Nonce == old.Nonce || gate.Digest == old.Digest || gate.ID != old.ID {
				t.Errorf("the new gate is the old one: %s", asJSON(t, gate))
			}
			// The old decision, sent by hand now that the gate is open.
			w.signal(again, wflo.SignalDecide, wflotest.Approve(old, "ann"))
			eventually(t, "the refusal", func() bool { return w.status(again).Gates[0].Refused > 0 })
			w.wantLines("charge", "pay", "charge")
			decide(w, again, wflotest.Approve(gate, "ann"))
			if err := w.wait(again, nil); err != nil {
				t.Fatal(err)
			}
			w.wantLines("charge", "pay", "charge", "pay")
			if _, keys := w.did(); !cmp.Equal(keys[:2], keys[2:]) || keys[0] == keys[1] {
				t.Errorf("effect keys before and after: %v", keys)
			}
			if calls, entries := w.model.Calls(), w.entries(run, run.GetRunID()); len(calls) != 1 || len(entries) != 1 {
				t.Errorf("%d calls of the model and %d entries, want 1 of each", len(calls), len(entries))
			}
			if diff := cmp.Diff(before, w.spend(run, run.GetRunID())); diff != "" {
				t.Errorf("the budget changed (-before +after):\n%s", diff)
			}
		})
	}
}
