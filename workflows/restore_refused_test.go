package workflows_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/workflows"
)

// full are blobs of which none can be written while broken is set.
type full struct {
	activities.Blobs
	broken bool
}

func (f *full) Put(ctx context.Context, b []byte) (string, error) {
	if f.broken {
		return "", wflo.Errorf(wflo.CodePayloadTooLarge, "", "the workspace has more files than the limit")
	}
	return f.Blobs.Put(ctx, b)
}

// bookAndWait books A, saves, and waits for an hour.
func bookAndWait(ctx workflow.Context) error {
	if err := book(ctx, "A"); err != nil {
		return err
	}
	if _, err := workflows.TakeSnapshot(ctx, "s1"); err != nil {
		return err
	}
	return workflow.Sleep(ctx, time.Hour)
}

func toS1(id string) wflo.Restore {
	return wflo.Restore{ID: id, WorkflowID: anywhere, To: wflo.RestorePoint{Snapshot: "s1"}, By: "ann", Reason: "x", AcceptIrreversible: true}
}

// TestRestoreThatCannotBeginChangesNothing: what is given up cannot be saved, so the
// update is refused, and the run goes on.
func TestRestoreThatCannotBeginChangesNothing(t *testing.T) {
	p := newPast(t)
	var late answerOf
	p.begin = func(n int) {
		if n == 1 {
			p.RegisterDelayedCallback(func() { p.snapshot.Blobs = &full{p.snapshot.Blobs, true} }, time.Minute)
			p.restoreAfter(2*time.Minute, toS1("r1"), &late)
		}
	}
	if err := p.run(bookAndWait); err != nil || !slices.Equal(p.did, []string{"A"}) || p.runs != 1 {
		t.Errorf("%v, did %v in %d runs", err, p.did, p.runs)
	}
	if late.err == nil || !strings.Contains(late.err.Error(), "more files than the limit") {
		t.Errorf("the update answered %+v", late)
	}
}

// TestRestoreWaitsForWhatItMustSave: once the code has stopped, the run waits until what is
// given up can be saved. Whoever does not want to wait halts or cancels it.
func TestRestoreWaitsForWhatItMustSave(t *testing.T) {
	for name, tt := range map[string]struct {
		act  func(*past, *full)
		did  []string
		ends wflo.RestoreState
		is   func(error) bool
	}{
		"repaired": {
			act: func(_ *past, f *full) { f.broken = false },
			did: []string{"A", "B", "undo B", "B"}, ends: wflo.RestoreDone, is: func(err error) bool { return err == nil },
		},
		"cancelled": {
			act: func(p *past, _ *full) { p.CancelWorkflow() },
			did: []string{"A", "B", "undo B", "undo A"}, ends: wflo.RestoreFailed, is: temporal.IsCanceledError,
		},
		"halted": {
			act: func(p *past, _ *full) {
				p.SignalWorkflow(wflo.SignalHalt, wflo.Halt{By: "bob", Reason: "enough", KeepEffects: true})
			},
			did: []string{"A", "B"}, ends: wflo.RestoreFailed, is: func(err error) bool { return err != nil && strings.Contains(err.Error(), "enough") },
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPast(t)
			blobs := &full{Blobs: p.snapshot.Blobs}
			p.snapshot.Blobs = blobs
			p.begin = func(n int) {
				if n > 1 {
					return
				}
				p.RegisterDelayedCallback(func() {
					s := p.status()
					if s.State != wflo.StateRestoring || !strings.Contains(s.Doing, "more files than the limit") || slices.Contains(p.did, "undo B") {
						t.Errorf("while it waits it is %s, %q, and did %v", s.State, s.Doing, p.did)
					}
					tt.act(p, blobs)
				}, time.Minute)
			}
			err := p.run(func(ctx workflow.Context) error {
				if err := book(ctx, "A"); err != nil {
					return err
				}
				if _, err := workflows.TakeSnapshot(ctx, "s1"); err != nil {
					return err
				}
				if err := book(ctx, "B"); err != nil || p.runs > 1 {
					return err
				}
				blobs.broken = true
				return workflows.Restore(ctx, "s1")
			})
			if !tt.is(err) || !slices.Equal(p.did, tt.did) {
				t.Errorf("%v, did %v, want %v", err, p.did, tt.did)
			}
			all, err := p.ledger.Recovery().ListRestores(t.Context(), "")
			if err != nil || len(all) > 0 && all[0].State != tt.ends || len(all) == 0 && tt.ends == wflo.RestoreDone {
				t.Errorf("restores %+v, %v", all, err)
			}
		})
	}
}

// TestCancelWhileTheRunGoesBack: who cancels a run while it goes back means all of it.
func TestCancelWhileTheRunGoesBack(t *testing.T) {
	p := newPast(t)
	var a answerOf
	p.fail["undo B"] = errors.New("not yet")
	p.begin = func(int) {
		p.restoreAfter(time.Minute, toS1("r1"), &a)
		p.RegisterDelayedCallback(p.CancelWorkflow, time.Minute+100*time.Millisecond)
		p.RegisterDelayedCallback(func() { p.mu.Lock(); delete(p.fail, "undo B"); p.mu.Unlock() }, time.Minute+30*time.Second)
	}
	err := p.run(func(ctx workflow.Context) error {
		if _, err := workflows.TakeSnapshot(ctx, "s1"); err != nil {
			return err
		}
		if err := book(ctx, "B"); err != nil {
			return err
		}
		return workflow.Sleep(ctx, time.Hour)
	})
	if !temporal.IsCanceledError(err) || p.runs != 1 || a.err != nil {
		t.Errorf("%v after %d runs, did %v, the restore answered %+v", err, p.runs, p.did, a)
	}
	r, err := p.ledger.Recovery().Restored(t.Context(), "r1")
	if err != nil || r.State != wflo.RestoreFailed {
		t.Errorf("the restore is %+v, %v", r, err)
	}
}

// TestRestoreTakesEffectOnce: a restore that has ended does not begin again, however late
// it is asked for.
func TestRestoreTakesEffectOnce(t *testing.T) {
	p := newPast(t)
	var answers [3]answerOf
	p.begin = func(n int) {
		if n <= 3 {
			p.restoreAfter(time.Minute, toS1([]string{"r1", "r2", "r1"}[n-1]), &answers[n-1])
		}
	}
	if err := p.run(bookAndWait); err != nil || p.runs != 3 || !slices.Equal(p.did, []string{"A"}) {
		t.Errorf("%v, %d runs, did %v", err, p.runs, p.did)
	}
	if answers[0].err != nil || answers[1].err != nil || answers[2].err == nil || !strings.Contains(answers[2].err.Error(), "has ended") {
		t.Errorf("the updates answered %+v", answers)
	}
}

// TestRestoreWithTheIDOfAnotherRun is refused, and the run goes on.
func TestRestoreWithTheIDOfAnotherRun(t *testing.T) {
	p := newPast(t)
	var a answerOf
	if _, err := p.ledger.Recovery().BeginRestore(t.Context(), wflo.Restored{Restore: wflo.Restore{ID: "r1", WorkflowID: "other"}, From: "other/x", State: wflo.RestorePlanned}); err != nil {
		t.Fatal(err)
	}
	p.begin = func(int) { p.restoreAfter(time.Minute, toS1("r1"), &a) }
	if err := p.run(bookAndWait); err != nil || p.runs != 1 || !slices.Equal(p.did, []string{"A"}) {
		t.Errorf("%v, %d runs, did %v", err, p.runs, p.did)
	}
	if a.err == nil || !strings.Contains(a.err.Error(), "is not one of run") {
		t.Errorf("the update answered %+v", a)
	}
}
