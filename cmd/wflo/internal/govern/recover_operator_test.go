package govern

import (
	"slices"
	"testing"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/recovery"
	"github.com/wflo-ai/wflo-go/wflotest"
	"github.com/wflo-ai/wflo-go/workflows"
	"github.com/wflo-ai/wflo-go/workflows/testdata/histories"
)

// shipment reserves, is saved, ships when a person approves, and waits.
func shipment(ctx workflow.Context) error {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Minute, RetryPolicy: &temporal.RetryPolicy{MaximumAttempts: 1}})
	do := func(line string, approval *wflo.Approval) error {
		opts := workflows.StepOptions{
			Effect: wflo.EffectReversible, Approval: approval,
			Compensation: &workflows.Compensation{Name: line, Activity: histories.Do, Input: "undo " + line, Undoes: histories.Do},
		}
		_, err := workflows.Step(ctx, line, opts, func(ctx workflow.Context) (string, error) {
			var out string
			err := workflow.ExecuteActivity(ctx, histories.Do, line).Get(ctx, &out)
			return out, err
		})
		return err
	}
	if err := do("reserve", nil); err != nil {
		return err
	}
	if _, err := workflows.TakeSnapshot(ctx, "reserved"); err != nil {
		return err
	}
	if err := do("ship", &wflo.Approval{Gate: "ship", Action: "ship it", Payload: []byte(`"ship"`), Activity: histories.Do}); err != nil {
		return err
	}
	return workflow.Sleep(ctx, time.Hour)
}

// ordered is a run that has reserved and waits for its approval.
func ordered(t *testing.T) (*world, client.WorkflowRun, wflo.Gate) {
	w := newWorld(t, config{plugin: swept, register: func(r worker.Registry) {
		r.RegisterWorkflowWithOptions(shipment, workflow.RegisterOptions{Name: "order"})
	}})
	run := w.start(wflo.Run{User: "ann", Org: "acme"}, "order")
	return w, run, w.gate(run, 1)
}

// shipped approves and waits until it is shipped.
func (w *world) shipped(run client.WorkflowRun, g wflo.Gate) {
	w.t.Helper()
	w.signal(run, wflo.SignalDecide, wflotest.Approve(g, "bob"))
	eventually(w.t, "the shipment", func() bool { return len(w.status(run).Steps) == 2 })
}

// TestOperatorsEndWhatWaits uses Temporal's own means on a run with an effect, a
// snapshot and an open approval: what was approved does not count any more, nothing is
// lost, and the run can be opened again.
func TestOperatorsEndWhatWaits(t *testing.T) {
	for name, end := range map[string]func(w *world, run client.WorkflowRun) error{
		"cancel": func(w *world, run client.WorkflowRun) error { return w.CancelWorkflow(w.t.Context(), run.GetID(), "") },
		"terminate": func(w *world, run client.WorkflowRun) error {
			return w.TerminateWorkflow(w.t.Context(), run.GetID(), "", "an operator")
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, run, old := ordered(t)
			if err := end(w, run); err != nil {
				t.Fatal(err)
			}
			if err := w.wait(run, nil); err == nil {
				t.Fatal("the run ended well")
			}
			w.undoneTo(run, 1, wflo.CompensationDone)
			w.wantLines("reserve", "undo reserve")
			out, err := recovery.New(recovery.Config{Client: w.Client}).Do(t.Context(), wflo.Restore{
				WorkflowID: run.GetID(), To: wflo.RestorePoint{Snapshot: "reserved"}, By: "bob", Reason: "it was ended by mistake",
			})
			if err != nil || out.State != wflo.RestoreDone {
				t.Fatalf("reopened: %+v, %v", out, err)
			}
			again := w.GetWorkflow(t.Context(), run.GetID(), "")
			fresh := w.gate(again, 1)
			if fresh.Nonce == old.Nonce {
				t.Error("the reopened run asks with the old gate")
			}
			w.signal(again, wflo.SignalDecide, wflotest.Approve(old, "bob"))
			w.signal(again, wflo.SignalDecide, wflotest.Approve(fresh, "bob"))
			eventually(t, "the shipment", func() bool { lines, _ := w.did(); return slices.Contains(lines, "ship") })
			lines, keys := w.did()
			if want := []string{"reserve", "undo reserve", "reserve", "ship"}; !slices.Equal(lines, want) || keys[0] == keys[2] {
				t.Errorf("did %v with the keys %v", lines, keys)
			}
		})
	}
}

// TestOperatorResetsTwice resets a run that has shipped, and the run that came of it:
// the same effects have the same keys, the old approval opens nothing, and what stands in
// the end is undone once.
func TestOperatorResetsTwice(t *testing.T) {
	w, run, first := ordered(t)
	w.shipped(run, first)
	nonces := []string{first.Nonce}
	for range 2 {
		run = w.resetOnce(run)
		g := w.gate(run, 1)
		if slices.Contains(nonces, g.Nonce) {
			t.Fatal("the run asks with an old gate")
		}
		nonces = append(nonces, g.Nonce)
		w.signal(run, wflo.SignalDecide, wflotest.Approve(first, "bob"))
		eventually(t, "the refusal", func() bool { return w.status(run).Gates[0].Refused > 0 })
		w.shipped(run, g)
	}
	_, keys := w.did()
	if len(keys) != 6 || keys[0] != keys[2] || keys[2] != keys[4] || keys[1] != keys[3] || keys[3] != keys[5] {
		t.Errorf("the effects have the keys %v", keys)
	}
	if err := w.TerminateWorkflow(t.Context(), run.GetID(), "", "an operator"); err != nil {
		t.Fatal(err)
	}
	w.undoneTo(run, 2, wflo.CompensationDone)
	w.wantLines("reserve", "ship", "reserve", "ship", "reserve", "ship", "undo ship", "undo reserve")
}

// resetOnce is reset for a run that was reset before: under another request.
func (w *world) resetOnce(run client.WorkflowRun) client.WorkflowRun {
	w.t.Helper()
	queue := w.queue
	w.queue += "/" + run.GetRunID() // it names the request
	defer func() { w.queue = queue }()
	d, err := w.DescribeWorkflowExecution(w.t.Context(), run.GetID(), "")
	if err != nil {
		w.t.Fatal(err)
	}
	return w.reset(w.GetWorkflow(w.t.Context(), run.GetID(), d.GetWorkflowExecutionInfo().GetExecution().GetRunId()))
}
