package govern

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/recovery"
	"github.com/wflo-ai/wflo-go/workflows"
	"github.com/wflo-ai/wflo-go/workflows/testdata/histories"
)

// payment looks, is saved, pays (which can be undone), tells, and ends as it is told to.
func payment(ctx workflow.Context) (string, error) {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Minute, RetryPolicy: &temporal.RetryPolicy{MaximumAttempts: 1}})
	do := func(line string, opts workflows.StepOptions) error {
		_, err := workflows.Step(ctx, line, opts, func(ctx workflow.Context) (string, error) {
			var out string
			err := workflow.ExecuteActivity(ctx, histories.Do, line).Get(ctx, &out)
			return out, err
		})
		return err
	}
	if err := do("look", workflows.StepOptions{Effect: wflo.EffectRead}); err != nil {
		return "", err
	}
	if _, err := workflows.TakeSnapshot(ctx, "before-payment"); err != nil {
		return "", err
	}
	if err := do("pay", workflows.StepOptions{
		Effect: wflo.EffectReversible, Compensation: &workflows.Compensation{Name: "pay", Activity: histories.Do, Input: "refund"},
	}); err != nil {
		return "", err
	}
	if err := do("tell", workflows.StepOptions{Effect: wflo.EffectPure}); err != nil {
		return "", err
	}
	var end string
	workflow.GetSignalChannel(ctx, "end").Receive(ctx, &end)
	if end == "badly" {
		return "", errors.New("it ends badly")
	}
	return end, nil
}

// paying is a world with a payment that waits for its end.
type paying struct {
	*world
	run  client.WorkflowRun
	back *recovery.Client
}

func newPaying(t *testing.T) *paying {
	w := newWorld(t, config{register: func(r worker.Registry) {
		r.RegisterWorkflowWithOptions(payment, workflow.RegisterOptions{Name: "payment"})
	}})
	p := &paying{world: w, back: recovery.New(recovery.Config{Client: w.Client})}
	p.run = w.start(wflo.Run{User: "ann", Org: "acme"}, "payment")
	p.waits(p.run)
	return p
}

// waits waits until a run has done its three steps.
func (p *paying) waits(run client.WorkflowRun) {
	p.t.Helper()
	eventually(p.t, "the end of the steps", func() bool {
		s := p.status(run)
		return s.State == wflo.StateRunning && len(s.Steps) == 3
	})
}

func (p *paying) end(run client.WorkflowRun, how string) error {
	p.t.Helper()
	p.signal(run, "end", how)
	return p.wait(p.GetWorkflow(p.t.Context(), run.GetID(), ""), nil)
}

func (p *paying) restore(mode wflo.RestoreMode) wflo.Restored {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	r := wflo.Restore{
		ID: "r-" + p.queue, WorkflowID: p.run.GetID(), To: wflo.RestorePoint{Snapshot: "before-payment"}, Mode: mode, By: "bob", Reason: "wrong account",
	}
	out, err := p.back.Do(ctx, r)
	if err != nil {
		p.t.Fatalf("restore: %v", err)
	}
	again, err := p.back.Do(ctx, r)
	if err != nil || again.Into != out.Into || !again.Asked.Equal(out.Asked) {
		p.t.Errorf("the same restore again gave %+v (%v)", again, err)
	}
	return out
}

// TestRestoreInPlace goes back behind a payment in the run itself.
func TestRestoreInPlace(t *testing.T) {
	p := newPaying(t)
	plan, err := p.back.Plan(t.Context(), wflo.Restore{WorkflowID: p.run.GetID(), To: wflo.RestorePoint{Snapshot: "before-payment"}})
	if err != nil || len(plan.Undo) != 1 || len(plan.Refusals) != 0 || plan.Mode != wflo.RestoreInPlace {
		t.Fatalf("the plan is %+v (%v)", plan, err)
	}
	p.wantLines("look", "pay", "tell")
	out := p.restore("")
	if out.State != wflo.RestoreDone || out.PreRestore == "" || out.Into != out.From {
		t.Errorf("restored %+v", out)
	}
	p.waits(p.run)
	p.wantLines("look", "pay", "tell", "refund", "pay", "tell")
	if _, keys := p.did(); keys[1] == keys[4] {
		t.Error("the second payment has the key of the first one")
	}
	if err := p.end(p.run, "well"); err != nil {
		t.Error(err)
	}
	p.undoneStates(wflo.CompensationKept, wflo.CompensationDone)
}

// undoneStates compares the states of the run's compensations, the latest first.
func (p *paying) undoneStates(want ...wflo.CompensationState) {
	p.t.Helper()
	var got []wflo.CompensationState
	for _, r := range p.compensations(p.run) {
		got = append(got, r.State)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		p.t.Errorf("compensations are %v, want %v", got, want)
	}
}

// TestFork leaves the first run alone.
func TestFork(t *testing.T) {
	p := newPaying(t)
	out := p.restore(wflo.RestoreFork)
	fork := p.GetWorkflow(t.Context(), p.run.GetID()+"-"+out.Restore.ID, "")
	p.waits(fork)
	p.wantLines("look", "pay", "tell", "pay", "tell")
	if s := p.status(fork); s.Run.User != "ann" || s.Run.Org != "acme" || out.Into != s.Run.ID() {
		t.Errorf("the fork is %+v, of %s", s.Run, out.Into)
	}
	if o, err := p.back.Origin(t.Context(), fork.GetID()); err != nil || o.ForkedFrom != out.From || o.Restore != out.Restore.ID {
		t.Errorf("its origin is %+v (%v)", o, err)
	}
	if err := p.end(fork, "badly"); err == nil {
		t.Error("the fork ended well")
	}
	if err := p.end(p.run, "well"); err != nil {
		t.Error(err)
	}
	p.wantLines("look", "pay", "tell", "pay", "tell", "refund")
	p.undoneStates(wflo.CompensationKept)
}

// TestReopen goes on with a run that has ended, whether it kept what it did or undid it.
func TestReopen(t *testing.T) {
	for how, lines := range map[string][]string{
		"well":  {"look", "pay", "tell", "refund", "pay", "tell"},
		"badly": {"look", "pay", "tell", "refund", "pay", "tell"},
	} {
		t.Run(how, func(t *testing.T) {
			p := newPaying(t)
			if err := p.end(p.run, how); (err != nil) != (how == "badly") {
				t.Fatalf("it ended with %v", err)
			}
			out := p.restore("")
			if out.Plan.Mode != wflo.RestoreReopen || out.From == out.Into || out.PreRestore == "" {
				t.Errorf("restored %+v", out)
			}
			again := p.GetWorkflow(t.Context(), p.run.GetID(), "")
			p.waits(again)
			p.wantLines(lines...)
			if err := p.end(again, "well"); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestRestoreIsRefused names what is in the way, and changes nothing.
func TestRestoreIsRefused(t *testing.T) {
	p := newPaying(t)
	for name, r := range map[string]wflo.Restore{
		"no snapshot": {To: wflo.RestorePoint{Snapshot: "nobody"}},
		"still open":  {To: wflo.RestorePoint{Snapshot: "before-payment"}, Mode: wflo.RestoreReopen},
	} {
		r.WorkflowID, r.Reason, r.By = p.run.GetID(), "test", "bob"
		if _, err := p.back.Do(t.Context(), r); wflo.CodeOf(err) == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	p.wantLines("look", "pay", "tell")
}
