package workflows_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/step"
	"github.com/wflo-ai/wflo-go/workflows"
)

// booked does a line in a step, with a compensation that undoes it.
func booked(ctx workflow.Context, line string) error {
	_, err := workflows.Step(ctx, line, workflows.StepOptions{
		Effect: wflo.EffectReversible, Compensation: &workflows.Compensation{Name: line, Activity: "do", Input: "undo " + line},
	}, func(ctx workflow.Context) (string, error) { return must(ctx, line) })
	return err
}

func saved(ctx workflow.Context, name string) error {
	_, err := workflows.TakeSnapshot(ctx, name)
	return err
}

// left counts the effects of a line that nothing has undone.
func (p *past) left(line string) int {
	n := 0
	for _, d := range p.did {
		switch d {
		case line:
			n++
		case "undo " + line:
			n--
		}
	}
	return n
}

// A run goes back, does its work again, and then goes to a snapshot of the branch that it
// gave up: what it did in between is undone.
func TestRestoreToABranchThatWasGivenUpUndoesThePresentOne(t *testing.T) {
	loose := func(undoes string) func(workflow.Context, string) error {
		return func(ctx workflow.Context, line string) error {
			c := workflows.Compensation{Name: line, Activity: "do", Input: "undo " + line, Undoes: undoes}
			if err := workflows.Compensate(ctx, c); err != nil {
				return err
			}
			_, err := must(ctx, line)
			return err
		}
	}
	for name, book := range map[string]func(workflow.Context, string) error{
		"in a step": booked, "for a call": loose("do"), "outside of steps": loose(""),
	} {
		for _, fails := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, fails %v", name, fails), func(t *testing.T) { forwardAgain(t, book, fails) })
		}
	}
}

func forwardAgain(t *testing.T, book func(workflow.Context, string) error, fails bool) {
	p := newPast(t)
	var later string
	err := p.run(func(ctx workflow.Context) error {
		if err := saved(ctx, "s1"); err != nil {
			return err
		}
		if err := book(ctx, "A"); err != nil {
			return err
		}
		s, err := workflows.TakeSnapshot(ctx, "s2")
		if err != nil {
			return err
		}
		switch {
		case p.runs == 1:
			later = s.ID
			return workflows.Restore(ctx, "s1")
		case p.runs == 2:
			return workflows.Restore(ctx, later)
		case fails:
			return errors.New("fails in the end")
		}
		return nil
	})
	want := 1
	if fails {
		want = 0
	}
	if (err != nil) != fails || p.runs != 3 {
		t.Fatalf("%v after %d runs", err, p.runs)
	}
	if n := p.left("A"); n != want {
		t.Errorf("%d effects of A are left, want %d: %v", n, want, p.did)
	}
}

// A name means the snapshot of the branch that the run is on, not a later one that it gave up.
func TestRestoreToANameOfTwoBranches(t *testing.T) {
	p := newPast(t)
	var first, second string
	err := p.run(func(ctx workflow.Context) error {
		for _, name := range []string{"x", "between"} {
			s, err := workflows.TakeSnapshot(ctx, name)
			if err != nil {
				return err
			}
			if name == "x" && p.runs == 1 {
				first = s.ID
			}
			if err := workflow.Sleep(ctx, time.Minute); err != nil {
				return err
			}
		}
		switch p.runs {
		case 1:
			s, err := workflows.TakeSnapshot(ctx, "x")
			if err != nil {
				return err
			}
			second = s.ID
			return workflows.Restore(ctx, "between")
		case 2:
			return workflows.Restore(ctx, "x")
		}
		return nil
	})
	if err != nil || p.runs != 3 {
		t.Fatalf("%v after %d runs", err, p.runs)
	}
	all, err := p.ledger.Recovery().ListRestores(t.Context(), p.status().Run.ID())
	if err != nil {
		t.Fatal(err)
	}
	to := map[string]int{}
	for _, r := range all {
		to[r.Plan.Snapshot.ID]++
	}
	if len(all) != 2 || to[first] != 1 || to[second] != 0 {
		t.Errorf("the run went back to %v, want %s and not %s", to, first, second)
	}
}

// One approval of a step is one execution of it: the snapshot that is taken between the
// approval and the step does not carry the approval.
func TestRestoreAsksAgainForAStepThatIsDoneAgain(t *testing.T) {
	p := newPast(t)
	var back answerOf
	p.begin = func(n int) {
		if n == 1 {
			p.RegisterDelayedCallback(func() {
				refs := p.status().Snapshots
				p.UpdateWorkflow(wflo.UpdateRestore, "r1", &back, wflo.Restore{
					ID: "r1", WorkflowID: anywhere, To: wflo.RestorePoint{Snapshot: refs[0].ID}, By: "ann", Reason: "x", AcceptIrreversible: true,
				})
			}, 90*time.Minute)
		}
	}
	err := p.run(func(ctx workflow.Context) error {
		_, err := workflows.Step(ctx, "wire", workflows.StepOptions{
			Effect:   wflo.EffectIrreversible,
			Approval: &wflo.Approval{Gate: "wire", Action: "wire 1000", OnTimeout: wflo.OnTimeoutApprove, Timeout: time.Hour, Risk: wflo.RiskLow},
		}, func(ctx workflow.Context) (string, error) { return must(ctx, "wire") })
		if err != nil {
			return err
		}
		return workflow.Sleep(ctx, 2*time.Hour)
	})
	if err != nil || back.err != nil || back.rejected != nil || p.runs != 2 {
		t.Fatalf("%v, %v, %v after %d runs", err, back.err, back.rejected, p.runs)
	}
	gates, err := p.ledger.Records().ListGates(t.Context(), activities.GateQuery{Closed: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(p.did) != 2 || len(gates) != 2 {
		t.Errorf("people were asked %d times, and it was done %d times", len(gates), len(p.did))
	}
	restored, ok := back.value.(wflo.Restored)
	if !ok || len(restored.Plan.Void) != 1 || !strings.HasSuffix(restored.Plan.Void[0].Key, "/wflo.gate/wire#0") {
		t.Errorf("the plan says of approvals %+v", restored.Plan.Void)
	}
}

// What a restored run was given keeps the height that it had: a time before a
// compensation was registered undoes it.
func TestRestoreToATimeBeforeTheRestoreBefore(t *testing.T) {
	p := newPast(t)
	var begun time.Time
	var second answerOf
	p.begin = func(n int) {
		switch n {
		case 1:
			begun = p.Now()
		case 2:
			p.SetStartTime(begun.Add(61 * time.Minute))
			p.restoreAfter(30*time.Minute, wflo.Restore{
				ID: "t2", WorkflowID: anywhere, To: wflo.RestorePoint{Time: begun.Add(30 * time.Minute)}, By: "ann", Reason: "earlier", AcceptIrreversible: true,
			}, &second)
		case 3:
			p.SetStartTime(begun.Add(92 * time.Minute))
		}
	}
	err := p.run(func(ctx workflow.Context) error {
		if err := workflow.Sleep(ctx, time.Hour); err != nil {
			return err
		}
		if err := workflows.Compensate(ctx, workflows.Compensation{Name: "A", Activity: "do", Input: "undo A"}); err != nil {
			return err
		}
		if _, err := must(ctx, "A"); err != nil {
			return err
		}
		if err := saved(ctx, "s"); err != nil {
			return err
		}
		if p.runs == 1 {
			return workflows.Restore(ctx, "s")
		}
		if err := workflow.Sleep(ctx, time.Hour); err != nil {
			return err
		}
		return errors.New("fails in the end")
	})
	if err == nil || p.runs != 3 || second.err != nil || second.rejected != nil {
		t.Fatalf("%v after %d runs; %v, %v", err, p.runs, second.err, second.rejected)
	}
	if n := p.left("A"); n != 0 {
		t.Errorf("the run failed, and %d effects of A are left: %v", n, p.did)
	}
}

// A time of a branch that was given up takes state and parts from one and the same
// branch.
func TestRestoreToATimeOfABranchThatWasGivenUp(t *testing.T) {
	p := newPast(t)
	var begun time.Time
	var first, second answerOf
	p.begin = func(n int) {
		switch n {
		case 1:
			begun = p.Now().Add(-10 * time.Hour) // the store has another clock than the test
			p.SetStartTime(begun)
			p.restoreAfter(130*time.Minute, wflo.Restore{
				ID: "t1", WorkflowID: anywhere, To: wflo.RestorePoint{Snapshot: "s0"}, By: "ann", Reason: "x", AcceptIrreversible: true,
			}, &first)
		case 2:
			p.SetStartTime(begun.Add(131 * time.Minute))
			p.restoreAfter(30*time.Minute, wflo.Restore{
				ID: "t2", WorkflowID: anywhere, To: wflo.RestorePoint{Time: begun.Add(110 * time.Minute)}, By: "ann", Reason: "x", AcceptIrreversible: true,
			}, &second)
		case 3:
			p.SetStartTime(begun.Add(170 * time.Minute))
		}
	}
	err := p.run(func(ctx workflow.Context) error {
		if err := saved(ctx, "s0"); err != nil {
			return err
		}
		if err := workflow.Sleep(ctx, time.Hour); err != nil {
			return err
		}
		if _, err := must(ctx, "a"); err != nil {
			return err
		}
		if err := saved(ctx, "s1"); err != nil {
			return err
		}
		return workflow.Sleep(ctx, 2*time.Hour)
	})
	if err != nil || first.err != nil || second.err != nil || second.rejected != nil {
		t.Fatalf("%v; %v, %v, %v", err, first.err, second.err, second.rejected)
	}
	r, ok := second.value.(wflo.Restored)
	if !ok || r.Plan.Snapshot == nil {
		t.Fatalf("answered %+v", second.value)
	}
	// The branch that was given up had slept, done a, and taken both snapshots.
	if r.Plan.Snapshot.Name != "s1" || r.Plan.Kept < 3 {
		t.Errorf("kept %d outcomes with the parts of %q", r.Plan.Kept, r.Plan.Snapshot.Name)
	}
	if len(p.did) != 1 {
		t.Errorf("what the branch had done is done again: %v", p.did)
	}
}

// What a run that has failed answers about a snapshot of it: what it undid is done again,
// and so is all that came after, which nothing undoes.
func TestPlanOfAFailedRunNamesWhatCannotBeUndone(t *testing.T) {
	p := newPast(t)
	var snap wflo.Snapshot
	err := p.run(func(ctx workflow.Context) (err error) {
		if err := booked(ctx, "A"); err != nil {
			return err
		}
		_, err = workflows.Step(ctx, "mail", workflows.StepOptions{Effect: wflo.EffectIrreversible}, func(ctx workflow.Context) (string, error) { return must(ctx, "mail") })
		if err != nil {
			return err
		}
		if snap, err = workflows.TakeSnapshot(ctx, "s"); err != nil {
			return err
		}
		return errors.New("fails")
	})
	if err == nil {
		t.Fatal("the run did not fail")
	}
	v, err := p.QueryWorkflow(wflo.QueryPlan, step.PlanQuery{
		Restore:  wflo.Restore{ID: "x", WorkflowID: anywhere, To: wflo.RestorePoint{Snapshot: "s"}, Mode: wflo.RestoreReopen, Reason: "x"},
		Snapshot: &snap,
	})
	var plan wflo.RestorePlan
	if err == nil {
		err = v.Get(&plan)
	}
	if err != nil {
		t.Fatal(err)
	}
	if plan.Moved == "" || len(plan.Irreversible) != 1 || !strings.Contains(plan.Irreversible[0].Key, "mail") {
		t.Errorf("moved %q, irreversible %+v", plan.Moved, plan.Irreversible)
	}
}
