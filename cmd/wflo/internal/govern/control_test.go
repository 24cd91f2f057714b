package govern

import (
	"context"
	"testing"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
	"github.com/wflo-ai/wflo-go/sandbox/sandboxtest"
	"github.com/wflo-ai/wflo-go/wflotest"
	"github.com/wflo-ai/wflo-go/workflows"
	"github.com/wflo-ai/wflo-go/workflows/testdata/histories"
)

// decide sends a decision as an update and waits for the answer. An empty id is
// a new update each time.
func (w *world) decide(run client.WorkflowRun, id string, d wflo.Decision) (wflo.Gate, error) {
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	var g wflo.Gate
	h, err := w.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{
		WorkflowID: run.GetID(), UpdateID: id, UpdateName: wflo.UpdateDecide, Args: []any{d},
		WaitForStage: client.WorkflowUpdateStageCompleted,
	})
	if err == nil {
		err = h.Get(ctx, &g)
	}
	return g, err
}

// TestUpdateDecidesOnce sends one update twice, as a tool does whose connection
// broke: the second answer is the first one's, and nothing is decided again.
func TestUpdateDecidesOnce(t *testing.T) {
	w := newWorld(t, config{})
	run := w.start(wflo.Run{}, histories.Gated, time.Minute)
	d := wflotest.Approve(w.gate(run, 1), "ann")
	first, err := w.decide(run, "click-1", d)
	if err != nil {
		t.Fatal(err)
	}
	// The same update with other contents is still the same update.
	d.Verdict = wflo.VerdictReject
	again, err := w.decide(run, "click-1", d)
	if err != nil {
		t.Fatal(err)
	}
	if first.Status != wflo.GateApproved || asJSON(t, first) != asJSON(t, again) {
		t.Errorf("answers %s\nand %s", asJSON(t, first), asJSON(t, again))
	}
	if err := w.wait(run, nil); err != nil {
		t.Fatal(err)
	}
	w.wantLines("delete")
	h := w.history(run.GetID(), run.GetRunID())
	if n := count(h, enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED); n != 1 {
		t.Errorf("%d updates in history, want 1", n)
	}
	if g := w.status(run).Gates[0]; g.Refused != 0 {
		t.Errorf("gate %+v", g)
	}
}

// TestUpdateRefusedLeavesNoTrace refuses a decision before it reaches history.
func TestUpdateRefusedLeavesNoTrace(t *testing.T) {
	w := newWorld(t, config{})
	run := w.start(wflo.Run{}, histories.Gated, time.Minute)
	good := wflotest.Approve(w.gate(run, 1), "ann")
	bad := good
	bad.Digest = "0000"
	_, err := w.decide(run, "", bad)
	wantCode(t, err, wflo.CodeInvalid)
	if _, err := w.decide(run, "", good); err != nil {
		t.Fatal(err)
	}
	if err := w.wait(run, nil); err != nil {
		t.Fatal(err)
	}
	if n := count(w.history(run.GetID(), run.GetRunID()), enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED); n != 1 {
		t.Errorf("%d updates in history, want 1", n)
	}
}

// TestHaltEndsWhatRuns halts a run whose program would run for an hour: the
// program is cancelled, and what was done before is undone after it is dead.
func TestHaltEndsWhatRuns(t *testing.T) {
	running, ended := make(chan struct{}), make(chan struct{})
	box := &sandboxtest.Fake{Do: func(ctx context.Context, _ sandbox.Spec) (sandbox.Result, error) {
		close(running)
		<-ctx.Done()
		close(ended)
		return sandbox.Result{}, nil
	}}
	var undone, dead bool
	w := newWorld(t, config{box: box, register: func(r worker.Registry) {
		r.RegisterWorkflowWithOptions(func(ctx workflow.Context) error {
			if err := workflows.Compensate(ctx, workflows.Compensation{Name: "table", Activity: "undo"}); err != nil {
				return err
			}
			_, err := workflows.RunSandboxed(ctx, sandbox.Spec{Argv: []string{"sleep", "3600"}, Limits: sandbox.Limits{Timeout: time.Hour}})
			return err
		}, workflow.RegisterOptions{Name: "sleeper"})
		registerActivity(r, "undo", func(context.Context, any) error {
			undone = true
			select {
			case <-ended:
				dead = true
			default:
			}
			return nil
		})
	}})
	run := w.start(wflo.Run{}, "sleeper")
	<-running
	begin := time.Now()
	w.signal(run, wflo.SignalHalt, wflo.Halt{By: "ann", Reason: "it mines coins"})
	wantCode(t, w.wait(run, nil), wflo.CodeHalted)
	t.Logf("halted within %s", time.Since(begin).Round(time.Millisecond))
	if !undone || !dead {
		t.Errorf("undone %v, program dead before that %v", undone, dead)
	}
	boxes, err := w.guard.Boxes(t.Context())
	if err != nil || len(boxes) != 0 {
		t.Errorf("boxes left: %v, %v", boxes, err)
	}
	if s := w.status(run); s.State != wflo.StateHalted || s.Compensations[0].State != wflo.CompensationDone {
		t.Errorf("status %s", asJSON(t, s))
	}
}
