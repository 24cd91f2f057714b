package workflows_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/step"
	"github.com/wflo-ai/wflo-go/workflows"
)

// locked are tables that can be saved, and brought back only while there is no problem.
type locked struct{ problem error }

func (l *locked) Save(context.Context, activities.PartRequest, *wflo.SnapshotPart) (wflo.SnapshotPart, bool, error) {
	return wflo.SnapshotPart{Blobs: []string{"rows"}, SHA256: "rows"}, true, nil
}

func (l *locked) Check(context.Context, activities.PartRequest, wflo.SnapshotPart) error {
	return l.problem
}

func (l *locked) Restore(context.Context, activities.PartRequest, wflo.SnapshotPart) error {
	return l.problem
}

func (l *locked) Diff(context.Context, activities.PartRequest, wflo.SnapshotPart, *wflo.SnapshotPart) (wflo.PartDiff, error) {
	return wflo.PartDiff{}, nil
}

func (l *locked) Refs(context.Context, wflo.SnapshotPart) ([]string, error) { return nil, nil }

// newLocked is a past with tables whose schema is another one by now.
func newLocked(t *testing.T) (*past, *locked) {
	p, l := newPast(t), &locked{problem: wflo.Errorf(wflo.CodeConflict, "migrate it back", "the schema of orders has changed")}
	p.snapshot.Parts[wflo.PartTables] = l
	return p, l
}

func takeTables(ctx workflow.Context) error {
	_, err := workflows.TakeSnapshot(ctx, "s1", wflo.Parts{Tables: []string{"orders"}})
	return err
}

// TestPartsAreCheckedBeforeTheCodeIsStopped, also where nobody has asked for a plan.
func TestPartsAreCheckedBeforeTheCodeIsStopped(t *testing.T) {
	p, l := newLocked(t)
	var dry, refused, unknown, done answerOf
	p.begin = func(n int) {
		if n > 1 {
			return
		}
		order := toS1("r0")
		order.DryRun = true
		p.restoreAfter(time.Minute, order, &dry)
		p.restoreAfter(2*time.Minute, toS1("r1"), &refused)
		order = toS1("r2")
		order.Parts = &wflo.Parts{Tables: []string{"stock"}}
		p.restoreAfter(3*time.Minute, order, &unknown)
		p.RegisterDelayedCallback(func() {
			if s := p.status(); s.State != wflo.StateRunning || s.Restoring != "" {
				t.Errorf("after it was refused the run is %s, restoring %q", s.State, s.Restoring)
			}
			l.problem = nil
		}, 4*time.Minute)
		p.restoreAfter(5*time.Minute, toS1("r3"), &done)
	}
	err := p.run(func(ctx workflow.Context) error {
		if err := takeTables(ctx); err != nil {
			return err
		}
		if err := book(ctx, "A"); err != nil || p.runs > 1 {
			return err
		}
		return workflow.Sleep(ctx, time.Hour)
	})
	if err != nil || !slices.Equal(p.did, []string{"A", "undo A", "A"}) || p.runs != 2 {
		t.Errorf("%v, did %v in %d runs", err, p.did, p.runs)
	}
	for name, tt := range map[string]struct {
		got  answerOf
		want string
	}{"changed": {refused, "the schema of orders has changed"}, "not saved": {unknown, "stock"}} {
		if tt.got.err == nil || !strings.Contains(tt.got.err.Error(), tt.want) {
			t.Errorf("%s: the update answered %v, want %q", name, tt.got.err, tt.want)
		}
	}
	if r, ok := dry.value.(wflo.Restored); !ok || len(r.Plan.Refusals) != 1 || !strings.Contains(r.Plan.Refusals[0], "the schema of orders") || done.err != nil {
		t.Errorf("the dry run answered %+v (%v), the last one %v", dry.value, dry.err, done.err)
	}
}

// TestCodeHearsThatItCannotGoBack: workflows.Restore gives an error that the code can go
// on from.
func TestCodeHearsThatItCannotGoBack(t *testing.T) {
	p, l := newLocked(t)
	var heard []string
	err := p.run(func(ctx workflow.Context) error {
		if err := takeTables(ctx); err != nil {
			return err
		}
		if err := book(ctx, "A"); err != nil || p.runs > 1 {
			return err
		}
		for _, to := range []string{"s1", "s7"} {
			if err := workflows.Restore(ctx, to); err != nil {
				heard = append(heard, err.Error())
			}
		}
		l.problem = nil
		return workflows.Restore(ctx, "s1")
	})
	if err != nil || !slices.Equal(p.did, []string{"A", "undo A", "A"}) || p.runs != 2 {
		t.Errorf("%v, did %v in %d runs", err, p.did, p.runs)
	}
	if len(heard) != 2 || !strings.Contains(heard[0], "the schema of orders") || !strings.Contains(heard[1], `no snapshot "s7"`) {
		t.Errorf("the code heard %q", heard)
	}
}

// plan asks the run what a restore would do.
func (p *past) plan(r wflo.Restore) (out wflo.RestorePlan) {
	p.t.Helper()
	snap := p.latest(r.To.Snapshot)
	v, err := p.QueryWorkflow(wflo.QueryPlan, step.PlanQuery{Restore: r, Snapshot: &snap})
	if err == nil {
		err = v.Get(&out)
	}
	if err != nil {
		p.t.Error(err)
	}
	return out
}

// TestRestoreIsOfThePlanThatWasShown: while nothing happens the plan stays what it is; when
// the run went on, who has seen the old one is refused.
func TestRestoreIsOfThePlanThatWasShown(t *testing.T) {
	p := newPast(t)
	var late, again answerOf
	shown := toS1("r1")
	p.begin = func(n int) {
		if n > 1 {
			return
		}
		p.RegisterDelayedCallback(func() { shown.Plan = p.plan(shown).Digest }, time.Minute)
		p.RegisterDelayedCallback(func() {
			if shown.Plan == "" || p.plan(shown).Digest != shown.Plan {
				t.Errorf("the plan %q is another one though nothing happened", shown.Plan)
			}
		}, 2*time.Minute)
		p.RegisterDelayedCallback(func() { p.UpdateWorkflow(wflo.UpdateRestore, "r1", &late, shown) }, 30*time.Minute)
		p.RegisterDelayedCallback(func() {
			fresh := toS1("r2")
			fresh.Plan = p.plan(fresh).Digest
			p.UpdateWorkflow(wflo.UpdateRestore, "r2", &again, fresh)
		}, 40*time.Minute)
	}
	err := p.run(func(ctx workflow.Context) error {
		if _, err := workflows.TakeSnapshot(ctx, "s1"); err != nil {
			return err
		}
		for i := range 2 {
			if err := book(ctx, fmt.Sprint("room ", i)); err != nil {
				return err
			}
			if p.runs > 1 {
				return nil
			}
			if err := workflow.Sleep(ctx, 20*time.Minute); err != nil {
				return err
			}
		}
		return workflow.Sleep(ctx, time.Hour)
	})
	if want := []string{"room 0", "room 1", "undo room 1", "undo room 0", "room 0"}; err != nil || !slices.Equal(p.did, want) {
		t.Errorf("%v, did %v, want %v", err, p.did, want)
	}
	if late.err == nil || !strings.Contains(late.err.Error(), "the run went on since") || again.err != nil || again.rejected != nil {
		t.Errorf("the plan of before: %+v, that of now: %+v", late, again)
	}
}

// TestPlansAreBounded: they count what they leave out, and a digest is over all of it.
func TestPlansAreBounded(t *testing.T) {
	p := newPast(t)
	const n = 260
	var plans [2]wflo.RestorePlan
	err := p.run(func(ctx workflow.Context) error {
		if _, err := workflows.TakeSnapshot(ctx, "s1"); err != nil {
			return err
		}
		for i := range n {
			if err := book(ctx, fmt.Sprint("room ", i)); err != nil {
				return err
			}
			if i >= n-2 {
				plans[i-n+2] = p.plan(toS1("r"))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	last := plans[1]
	if len(last.Undo) != 200 || last.More.Undo != n-200 || len(last.Again) != 200 || last.More.Again != n-200 || last.Stay == nil || *last.Stay != 0 {
		t.Errorf("the plan has %d to undo and %+v more, %d stay", len(last.Undo), last.More, *last.Stay)
	}
	if last.Undo[0].Name != fmt.Sprint("room ", n-1) || plans[0].Digest == last.Digest {
		t.Errorf("the plan begins with %s, and has the digest of the one before: %v", last.Undo[0].Name, plans[0].Digest == last.Digest)
	}
}
