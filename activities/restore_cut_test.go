package activities_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/step"
)

// A reopening that has to begin before what was undone does again what came after it:
// what of that is irreversible has to be accepted.
func TestReopeningNamesWhatTheCutDoesAgain(t *testing.T) {
	w := newGoingBack(t, false)
	tell := did(4, "g0/mail#1")
	tell.Effect = wflo.EffectIrreversible
	c := w.take(w.run, "c", w.b.Part(wflo.PartState, "").Blobs, 1, tell)
	if _, err := w.store.BeginUndo(t.Context(), "undo-1", "failed"); err != nil {
		t.Fatal(err)
	}
	w.note(step.CompensationNotes{Marks: []step.CompensationMark{{ID: "undo-1", State: wflo.CompensationDone}}})
	planned, err := w.act.Plan(w.ctx(), w.ask("", wflo.RestorePoint{Snapshot: c.ID}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.act.Begin(w.ctx(), planned); err == nil {
		t.Error("a reopening that sends the mail again was not refused")
	}
}

// A dead letter's effect is there: doing the step again does it twice.
func TestReopeningNamesDeadLettersThatAreDoneAgain(t *testing.T) {
	w := newGoingBack(t, false)
	if _, err := w.store.BeginUndo(t.Context(), "undo-1", "failed"); err != nil {
		t.Fatal(err)
	}
	w.note(step.CompensationNotes{Marks: []step.CompensationMark{{ID: "undo-1", State: wflo.CompensationDead, Error: "bank closed"}}})
	planned, err := w.act.Plan(w.ctx(), w.ask("", wflo.RestorePoint{Snapshot: w.b.ID}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.act.Begin(w.ctx(), planned); err == nil {
		t.Error("a reopening that pays again although the payment stands was not refused")
	}
}

// A journal that is read while its run goes on has no holes.
func TestPagesOfARunThatGoesOn(t *testing.T) {
	w := newGoingBack(t, true)
	all := []step.Outcome{did(1, "g0/s#1/a#1"), did(2, "g0/s#1/b#1"), did(3, "g0/x#1"), did(4, "g0/y#1")}
	later := []step.Outcome{did(3, "g0/x#1"), did(4, "g0/y#1"), did(5, "g0/s#1")} // the step ended and stands for a and b
	runs := &pagedRuns{runsFake: w.runs, all: all, later: later, run: w.run}
	w.act.Runs = runs
	begun := w.begin(w.ask(wflo.RestoreFork, wflo.RestorePoint{Snapshot: w.a.ID}))
	runs.moving = true
	claimed, err := w.act.Claim(w.ctx(), begun)
	if err != nil {
		t.Fatal(err)
	}
	out := w.load(w.run, claimed.Restored.PreRestore)
	got := keys(out.State.Outcomes)
	if !slices.Contains(got, "g0/x#1") || !slices.Contains(got, "g0/y#1") {
		t.Errorf("the journal has holes: %v", got)
	}
}

type pagedRuns struct {
	*runsFake
	all, later []step.Outcome
	run        wflo.Run
	// moving runs go on between the first page and the second one, and have moved then.
	moving, moved bool
}

func (f *pagedRuns) Query(ctx context.Context, run activities.RunInfo, query string, arg, out any) error {
	if query != wflo.QueryState {
		return f.runsFake.Query(ctx, run, query, arg, out)
	}
	from := arg.(step.PageQuery).From
	f.moved = f.moved || f.moving && from > 0
	all := f.all
	if f.moved {
		all = f.later
	}
	page := step.StatePage{State: captureOf(f.run, "", nil, 0).State, Run: f.run, Seq: all[len(all)-1].Seq}
	end := min(from+2, len(all))
	page.State.Outcomes = all[min(from, len(all)):end]
	if end < len(all) {
		page.Next = end
	}
	*out.(*step.StatePage) = page
	return nil
}

// The restore that a run begins with names a snapshot that is gone: that is no reason to
// try for ever.
func TestLoadOfWhatIsGoneSaysSo(t *testing.T) {
	w := newGoingBack(t, false)
	begun := w.begin(w.ask("", wflo.RestorePoint{Snapshot: w.a.ID}))
	w.phase("start", w.act.Start, w.phase("claim", w.act.Claim, begun))
	if err := w.store.DropSnapshots(t.Context(), w.a.ID); err != nil {
		t.Fatal(err)
	}
	again := w.run
	again.FirstRunID = "started-1"
	_, err := w.snap.Load(in(t, again, "load"), "r")
	if wflo.CodeOf(err) == "" {
		t.Error("an error without a code is retried for ever, and the run hangs in restoring")
	}
}

// A run of another organisation that takes the workflow id first gets nothing.
func TestLoadIsForTheOrganisation(t *testing.T) {
	w := newGoingBack(t, false)
	begun := w.begin(w.ask("", wflo.RestorePoint{Snapshot: w.a.ID}))
	w.phase("start", w.act.Start, w.phase("claim", w.act.Claim, begun))
	other := w.run
	other.FirstRunID, other.Org = "started-1", "rivals"
	if _, err := w.snap.Load(in(t, other, "load"), "r"); wflo.CodeOf(err) != wflo.CodeInvalid {
		t.Errorf("the state is given to a run of another organisation: %v", err)
	}
	if _, err := w.snap.Load(in(t, func() wflo.Run { w.run.FirstRunID = "started-1"; return w.run }(), "load"), "r"); err != nil {
		t.Errorf("the restore is bound to the run that was refused: %v", err)
	}
}

// A sweep that had listed what a terminated run left goes on while the run is opened
// again: what the new run has taken over is not its to undo any more, and is no dead letter
// because it was refused.
func TestSweepThatListedBeforeAReopeningIsRefused(t *testing.T) {
	w := newGoingBack(t, false)
	if err := activities.Owned(t.Context(), w.store, w.run, "undo-1"); err != nil {
		t.Fatalf("nobody has taken it over: %v", err)
	}
	begun := w.begin(w.ask("", wflo.RestorePoint{Snapshot: w.b.ID}))
	w.phase("start", w.act.Start, w.phase("claim", w.act.Claim, begun))
	again := w.run
	again.FirstRunID = "started-1"
	w.load(again, "r")
	if err := activities.Owned(t.Context(), w.store, w.run, "undo-1"); wflo.CodeOf(err) != wflo.CodeConflict {
		t.Errorf("the sweep may undo what the new run takes for done: %v", err)
	}
	if err := activities.Owned(t.Context(), w.store, again, "undo-1"); err != nil {
		t.Errorf("the new run may not undo what it took over: %v", err)
	}
	undo := &activities.Undo{Store: w.store, Logger: w.snap.Logger}
	dead := step.CompensationNotes{Marks: []step.CompensationMark{{ID: "undo-1", State: wflo.CompensationDead, Error: "refused"}}}
	if _, err := undo.Note(wflo.WithRun(t.Context(), w.run), dead); err != nil {
		t.Fatal(err)
	}
	if c, err := w.store.Compensation(t.Context(), "undo-1"); err != nil || c.State != wflo.CompensationExecuted {
		t.Errorf("it is %s after the sweep was refused (%v)", c.State, err)
	}
	if _, err := undo.Note(wflo.WithRun(t.Context(), again), dead); err != nil {
		t.Fatal(err)
	}
	if c, err := w.store.Compensation(t.Context(), "undo-1"); err != nil || c.State != wflo.CompensationDead {
		t.Errorf("it is %s after its own run gave up (%v)", c.State, err)
	}
}

// A part that a later moment replaced is brought back again by a branch that a reset began:
// its keys are those of before, its run of Temporal's is not.
func TestBringAfterAResetHasAnotherKey(t *testing.T) {
	w := newGoingBack(t, true)
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestActivityEnvironment()
	env.SetWorkerOptions(worker.Options{BackgroundActivityContext: in(t, w.run, "bring")})
	env.RegisterActivity(w.snap.Bring)
	if _, err := env.ExecuteActivity(w.snap.Bring, step.Bring{Snapshot: w.a.ID, Parts: wflo.Parts{Workspace: true}}); err != nil {
		t.Fatal(err)
	}
	run, _ := wflo.RunFrom(in(t, w.run, "bring"))
	want := string(run.EffectKey()) + "-default-test-run-id"
	if got := w.files.keys; !slices.Equal(got, []string{want}) {
		t.Errorf("it was brought back under %q, want %q", got, want)
	}
}

// TestReopeningIsRefusedBeforeAnythingIsUndone where its workflow id is another run's by now.
func TestReopeningIsRefusedBeforeAnythingIsUndone(t *testing.T) {
	w := newGoingBack(t, false)
	begun := w.begin(w.ask("", wflo.RestorePoint{Snapshot: "b"}))
	w.runs.runs["wf"] = activities.RunInfo{WorkflowID: "wf", FirstRunID: "somebody-else", Open: true, Latest: true}
	if _, err := w.act.Claim(w.ctx(), begun); !errors.Is(err, wflo.ErrConflict) || !strings.Contains(err.Error(), "is taken") {
		t.Errorf("claim: %v", err)
	}
	if kept, err := w.store.Restored(t.Context(), "r"); err != nil || kept.State != wflo.RestorePlanned {
		t.Errorf("the restore is %s (%v)", kept.State, err)
	}
}

// TestRestoreIsOfThePlanThatWasShown whoever made the plan: the run's part of it goes to
// the run.
func TestRestoreIsOfThePlanThatWasShown(t *testing.T) {
	w := newGoingBack(t, true)
	plan := w.runs.plans["wf"]
	plan.Digest = "of the run"
	w.runs.plans["wf"] = plan
	r := w.ask("", wflo.RestorePoint{Snapshot: "a"})
	dry := r
	dry.DryRun = true
	shown, err := w.act.Plan(w.ctx(), dry)
	if err != nil {
		t.Fatal(err)
	}
	r.Plan = shown.Restored.Plan.Digest
	w.runs.onUpdate = func(asked wflo.Restore) error {
		if asked.Plan != "of the run" {
			t.Errorf("the run is bound to the plan %q", asked.Plan)
		}
		return nil
	}
	begun := w.begin(r)
	if _, err := w.act.Ask(w.ctx(), begun); err != nil || len(w.runs.updates) != 1 {
		t.Errorf("ask: %v", err)
	}
	// The same request again is the same restore, whatever the plan is by now.
	plan.Again = append(plan.Again, wflo.PlanItem{Key: "g0/more#1", Kind: "step"})
	w.runs.plans["wf"] = plan
	w.begin(r)
	r.ID = "r2"
	in, err := w.act.Plan(w.ctx(), r)
	if err != nil || in.Restored.Plan.Digest == r.Plan {
		t.Fatalf("the plan did not change: %v", err)
	}
	if _, err := w.act.Begin(w.ctx(), in); !errors.Is(err, wflo.ErrConflict) || !strings.Contains(err.Error(), "the run went on since") {
		t.Errorf("begin with another plan: %v", err)
	}
}

// TestReopenedToATime undoes what a run had kept after that moment: the run alone says how
// many of its compensations stay.
func TestReopenedToATime(t *testing.T) {
	w := newGoingBack(t, false)
	w.note(step.CompensationNotes{Marks: []step.CompensationMark{{ID: "undo-1", State: wflo.CompensationKept}}})
	plan, none := w.runs.plans["wf"], 0
	plan.Undo, plan.Stay = nil, &none
	w.runs.plans["wf"] = plan
	begun := w.begin(w.ask("", wflo.RestorePoint{Time: noon.Add(90 * time.Second)}))
	if p := begun.Restored.Plan; begun.Height != 0 || len(p.Undo) != 1 || p.Undo[0].ID != "undo-1" {
		t.Errorf("%d compensations stay, the plan undoes %+v", begun.Height, p.Undo)
	}
}

// TestReopeningAtABranchThatWasGivenUp undoes what was done since on the other one: it is
// done again.
func TestReopeningAtABranchThatWasGivenUp(t *testing.T) {
	w := newGoingBack(t, false)
	if _, err := w.store.BeginUndo(t.Context(), "undo-1", "restored"); err != nil {
		t.Fatal(err)
	}
	later := w.run
	later.Epoch = 1
	w.note(step.CompensationNotes{Marks: []step.CompensationMark{{ID: "undo-1", State: wflo.CompensationDone}}})
	again := wflo.CompensationRecord{
		ID: "undo-2", Name: "pay", Activity: "refund", Run: later, Height: 1, Step: "g0/pay#1", State: wflo.CompensationRegistered,
	}
	if err := w.store.NoteCompensations(t.Context(), later, step.CompensationNotes{New: []wflo.CompensationRecord{again}}); err != nil {
		t.Fatal(err)
	}
	if err := w.store.BeginEffect(t.Context(), "undo-2"); err != nil {
		t.Fatal(err)
	}
	w.note(step.CompensationNotes{Marks: []step.CompensationMark{{ID: "undo-2", State: wflo.CompensationKept}}})
	r := w.ask("", wflo.RestorePoint{Snapshot: "b"}) // of epoch 0
	r.AcceptIrreversible = true
	begun := w.begin(r)
	if p := begun.Restored.Plan; begun.Height != 0 || len(p.Undo) != 1 || p.Undo[0].ID != "undo-2" || p.Kept != 1 {
		t.Errorf("%d compensations stay, and the plan is %+v", begun.Height, p)
	}
}
