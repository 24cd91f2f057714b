package workflows_test

import (
	"errors"
	"testing"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/workflows"
)

// bookLine does a line in a step, and can undo it.
func bookLine(ctx workflow.Context, line string) error {
	_, err := workflows.Step(ctx, line, workflows.StepOptions{
		Effect: wflo.EffectReversible, Compensation: &workflows.Compensation{Name: line, Activity: "do", Input: "undo " + line},
	}, func(ctx workflow.Context) (string, error) { return must(ctx, line) })
	return err
}

// reopen starts code again from a snapshot, as wflo.Restore does, under another workflow id.
func (p *past) reopen(code any, snap wflo.Snapshot) error {
	r := wflo.Restored{
		Restore: wflo.Restore{ID: "re", WorkflowID: anywhere, Mode: wflo.RestoreReopen, To: wflo.RestorePoint{Snapshot: snap.ID}, By: "ann", Reason: "x"},
		From:    snap.Run.ID(), Into: "other/", State: wflo.RestoreRestoring, Epoch: 1, Plan: wflo.RestorePlan{Mode: wflo.RestoreReopen, Snapshot: &snap, At: snap.At},
	}
	if _, err := p.ledger.Recovery().BeginRestore(p.t.Context(), r); err != nil {
		p.t.Fatal(err)
	}
	p.runs++
	p.env(code)
	id, _ := converter.GetDefaultDataConverter().ToPayload("re")
	p.SetHeader(&commonpb.Header{Fields: map[string]*commonpb.Payload{wflo.HeaderRestore: id}})
	p.SetStartWorkflowOptions(client.StartWorkflowOptions{ID: "other", TaskQueue: "q"})
	p.ExecuteWorkflow("code")
	return p.GetWorkflowError()
}

// A completed run is opened again and then fails: what it had registered is undone once.
func TestReopenedRunRegistersOnce(t *testing.T) {
	p := newPast(t)
	var snap wflo.Snapshot
	code := func(ctx workflow.Context) error {
		for _, line := range []string{"A", "B"} {
			if err := workflows.Compensate(ctx, workflows.Compensation{Name: line, Activity: "do", Input: "undo " + line}); err != nil {
				return err
			}
			if _, err := must(ctx, line); err != nil {
				return err
			}
		}
		s, err := workflows.TakeSnapshot(ctx, "s")
		if err != nil {
			return err
		}
		if p.runs == 1 {
			snap = s
			return nil
		}
		return errors.New("fails")
	}
	if err := p.run(code); err != nil {
		t.Fatal(err)
	}
	if err := p.reopen(code, snap); err == nil {
		t.Fatal("no error")
	}
	undone := map[string]int{}
	for _, d := range p.did {
		undone[d]++
	}
	if undone["undo A"] != 1 || undone["undo B"] != 1 || undone["A"] != 1 {
		t.Errorf("did %v", p.did)
	}
}

// Two effects in steps: after reopening and failing, each undoing has an effect key of its own.
func TestUndoingAfterReopeningHasKeysOfItsOwn(t *testing.T) {
	p := newPast(t)
	var snap wflo.Snapshot
	code := func(ctx workflow.Context) error {
		for _, line := range []string{"A", "B"} {
			if err := bookLine(ctx, line); err != nil {
				return err
			}
		}
		s, err := workflows.TakeSnapshot(ctx, "s")
		if err != nil {
			return err
		}
		if p.runs == 1 {
			snap = s
			return nil
		}
		return errors.New("fails")
	}
	if err := p.run(code); err != nil {
		t.Fatal(err)
	}
	if err := p.reopen(code, snap); err == nil {
		t.Fatal("no error")
	}
	if len(p.keys["undo A"]) != 1 || len(p.keys["undo B"]) != 1 || p.keys["undo A"][0] == p.keys["undo B"][0] {
		t.Errorf("undoing A and undoing B have the effect keys %v and %v", p.keys["undo A"], p.keys["undo B"])
	}
}

// A run fails after a snapshot; what was undone then is done again when it is reopened.
func TestReopenedRunDoesAgainWhatWasUndoneOutsideOfSteps(t *testing.T) {
	for _, undoes := range []string{"do", ""} {
		p := newPast(t)
		var snap wflo.Snapshot
		code := func(ctx workflow.Context) error {
			if err := workflows.Compensate(ctx, workflows.Compensation{Name: "A", Activity: "do", Input: "undo A", Undoes: undoes}); err != nil {
				return err
			}
			if _, err := must(ctx, "A"); err != nil {
				return err
			}
			s, err := workflows.TakeSnapshot(ctx, "s")
			if err != nil {
				return err
			}
			if p.runs == 1 {
				snap = s
				return errors.New("fails the first time")
			}
			return nil
		}
		if err := p.run(code); err == nil {
			t.Fatal("no error")
		}
		err := p.reopen(code, snap)
		net := 0
		for _, d := range p.did {
			switch d {
			case "A":
				net++
			case "undo A":
				net--
			}
		}
		if err != nil || net != 1 {
			t.Errorf("undoes %q: the run ended with %v, and A is there %d times: %v", undoes, err, net, p.did)
		}
	}
}

// What was begun after the snapshot, and could not be undone, is done again by the reopened
// run under a compensation of its own: the dead letter is for people.
func TestReopenedRunDoesAgainWhatIsADeadLetter(t *testing.T) {
	p := newPast(t)
	p.fail["undo A"] = errors.New("the provider is gone")
	var snap wflo.Snapshot
	code := func(ctx workflow.Context) error {
		if err := workflows.Compensate(ctx, workflows.Compensation{Name: "A", Activity: "do", Input: "undo A", Undoes: "do", Attempts: 1}); err != nil {
			return err
		}
		s, err := workflows.TakeSnapshot(ctx, "s")
		if err != nil {
			return err
		}
		if _, err := must(ctx, "A"); err != nil {
			return err
		}
		if p.runs == 1 {
			snap = s
			return errors.New("fails the first time")
		}
		return nil
	}
	if err := p.run(code); err == nil {
		t.Fatal("no error")
	}
	if err := p.reopen(code, snap); err != nil {
		t.Errorf("the reopened run ended with %v, and did %v", err, p.did)
	}
	all := p.status().Compensations
	if len(all) != 2 || all[0].State != wflo.CompensationDead || all[1].State != wflo.CompensationKept {
		t.Errorf("compensations %+v", all)
	}
}
