package workflows_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/step"
	"github.com/wflo-ai/wflo-go/workflows"
)

// damaged are blobs that cannot be read while broken is set.
type damaged struct {
	activities.Blobs
	broken error
	asked  int
}

func (d *damaged) Get(ctx context.Context, key string) ([]byte, error) {
	d.asked++
	if d.broken != nil {
		return nil, d.broken
	}
	return d.Blobs.Get(ctx, key)
}

// book does something that can be undone.
func book(ctx workflow.Context, line string) error {
	_, err := workflows.Step(ctx, line, workflows.StepOptions{
		Effect: wflo.EffectReversible, Compensation: &workflows.Compensation{Name: line, Activity: "do", Input: "undo " + line},
	}, func(ctx workflow.Context) (string, error) { return must(ctx, line) })
	return err
}

// TestRestoredRunWaitsForItsPast: that its snapshot cannot be read is no reason to undo
// what the run did. It says what it waits for, and goes on when it is there; a halt ends
// it, and decides itself what is undone.
func TestRestoredRunWaitsForItsPast(t *testing.T) {
	wrong := wflo.Errorf(wflo.CodeConflict, "restore another snapshot", "a piece of the state is not the one that was saved")
	for name, tt := range map[string]struct {
		broken error
		halt   *wflo.Halt
		did    []string
		ends   wflo.RestoreState
		state  wflo.RunState
	}{
		"damaged, and repaired": {broken: wrong, did: []string{"flight", "room", "undo room", "room"}, ends: wflo.RestoreDone, state: wflo.StateCompleted},
		"away, and back": {
			broken: errors.New("connection refused"), did: []string{"flight", "room", "undo room", "room"}, ends: wflo.RestoreDone, state: wflo.StateCompleted,
		},
		"halted": {
			broken: wrong, halt: &wflo.Halt{By: "ann", Reason: "enough"}, did: []string{"flight", "room", "undo room", "undo flight"},
			ends: wflo.RestoreFailed, state: wflo.StateHalted,
		},
		"halted, and kept": {
			broken: wrong, halt: &wflo.Halt{By: "ann", Reason: "enough", KeepEffects: true}, did: []string{"flight", "room", "undo room"},
			ends: wflo.RestoreFailed, state: wflo.StateHalted,
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPast(t)
			blobs := &damaged{Blobs: p.snapshot.Blobs}
			p.snapshot.Blobs = blobs
			var snap, back answerOf
			p.begin = func(n int) {
				if n == 1 {
					return
				}
				blobs.broken = tt.broken
				p.RegisterDelayedCallback(func() {
					s := p.status()
					if s.State != wflo.StateRestoring || s.Restoring == "" || !strings.Contains(s.Doing, tt.broken.Error()) && !strings.Contains(s.Doing, "not the one that was saved") {
						t.Errorf("while it waits: %s, restoring %q, doing %q", s.State, s.Restoring, s.Doing)
					}
					if len(s.Compensations) != 1 || s.Compensations[0].State.Ended() {
						t.Errorf("while it waits: compensations %+v", s.Compensations)
					}
					p.UpdateWorkflow(wflo.UpdateSnapshot, "s", &snap, wflo.SnapshotOrder{Name: "of nothing"})
					p.UpdateWorkflow(wflo.UpdateRestore, "r", &back, wflo.Restore{ID: "r9", WorkflowID: anywhere, To: wflo.RestorePoint{Time: p.Now()}, By: "ann", Reason: "x"})
				}, time.Hour)
				p.RegisterDelayedCallback(func() {
					if tt.halt != nil {
						p.SignalWorkflow(wflo.SignalHalt, *tt.halt)
						return
					}
					blobs.broken = nil
				}, 48*time.Hour)
			}
			err := p.run(func(ctx workflow.Context) error {
				if err := book(ctx, "flight"); err != nil {
					return err
				}
				if _, err := workflows.TakeSnapshot(ctx, "here"); err != nil {
					return err
				}
				if err := book(ctx, "room"); err != nil || p.runs > 1 {
					return err
				}
				return workflows.Restore(ctx, "here")
			})
			if (err != nil) != (tt.halt != nil) || !slices.Equal(p.did, tt.did) {
				t.Errorf("%v, did %v, want %v", err, p.did, tt.did)
			}
			if snap.rejected == nil || back.rejected == nil || blobs.asked < 20 || blobs.asked > 900 {
				t.Errorf("saved meanwhile: %v, restored meanwhile: %v, asked %d times", snap.rejected, back.rejected, blobs.asked)
			}
			if s := p.status(); s.State != tt.state || s.Doing != "" {
				t.Errorf("it ends %s, doing %q", s.State, s.Doing)
			}
			all, err := p.ledger.Recovery().ListRestores(t.Context(), "")
			if err != nil || len(all) != 1 || all[0].State != tt.ends {
				t.Errorf("%v, restores %+v", err, all)
			}
		})
	}
}

// headerOf starts a run with the header of a restore.
func headerOf(t *testing.T, id string) *commonpb.Header {
	t.Helper()
	p, err := converter.GetDefaultDataConverter().ToPayload(id)
	if err != nil {
		t.Fatal(err)
	}
	return &commonpb.Header{Fields: map[string]*commonpb.Payload{wflo.HeaderRestore: p}}
}

// trip is code that books, is saved, books again, and says so.
func trip(fail func() error) func(ctx workflow.Context) error {
	return func(ctx workflow.Context) error {
		if err := book(ctx, "flight"); err != nil {
			return err
		}
		if _, err := workflows.TakeSnapshot(ctx, "here"); err != nil {
			return err
		}
		if err := book(ctx, "room"); err != nil {
			return err
		}
		return fail()
	}
}

// latest is the latest snapshot of a name.
func (p *past) latest(name string) wflo.Snapshot {
	p.t.Helper()
	all, err := p.ledger.Recovery().ListSnapshots(p.t.Context(), activities.SnapshotQuery{Name: name})
	if err != nil || len(all) == 0 {
		p.t.Fatalf("no snapshot %s: %v", name, err)
	}
	return all[0]
}

// TestForkAndReopenByHeader: the run that a restore started knows what the snapshot has,
// goes on under the next epoch, and has the compensations to undo only where it goes on
// for the first run.
func TestForkAndReopenByHeader(t *testing.T) {
	for mode, undone := range map[wflo.RestoreMode][]string{
		wflo.RestoreFork:   {"room", "undo room"},
		wflo.RestoreReopen: {"room", "undo room", "undo flight"},
	} {
		t.Run(string(mode), func(t *testing.T) {
			p := newPast(t)
			p.id = "first"
			if err := p.run(trip(func() error { return nil })); err != nil {
				t.Fatal(err)
			}
			snap := p.latest("here")
			r := wflo.Restored{
				Restore: wflo.Restore{ID: "r1", WorkflowID: "first", To: wflo.RestorePoint{Snapshot: snap.ID}, Mode: mode, By: "ann", Reason: "again"},
				State:   wflo.RestoreRestoring, Plan: wflo.RestorePlan{Mode: mode, Snapshot: &snap}, From: snap.Run.ID(), Into: "second/", Epoch: 4,
			}
			if _, err := p.ledger.Recovery().BeginRestore(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			p.did, p.id, p.header = nil, "second", headerOf(t, "r1")
			err := p.run(trip(func() error { return temporal.NewNonRetryableApplicationError("no room", "test", nil) }))
			if err == nil || !strings.Contains(err.Error(), "no room") || !slices.Equal(p.did, undone) {
				t.Errorf("%v, did %v, want %v", err, p.did, undone)
			}
			if k := p.keys["room"]; len(k) != 2 || k[0] == k[1] {
				t.Errorf("rooms are booked under %v", k)
			}
			if s := p.status(); s.Run.Epoch != 4 {
				t.Errorf("the epoch is %d", s.Run.Epoch)
			}
			kept, err := p.ledger.Recovery().Restored(t.Context(), "r1")
			if err != nil || kept.State != wflo.RestoreDone || kept.Into != "second/" {
				t.Errorf("%v, the restore is %+v", err, kept)
			}
		})
	}
}

// TestForgedRestoreHeader: what a starter writes counts only as far as the store has it.
// The run ends at once, and undoes nothing.
func TestForgedRestoreHeader(t *testing.T) {
	for name, id := range map[string]string{
		"nobody asked": "made-up", "another's": "r1", "over": "r2", "a snapshot": "",
	} {
		t.Run(name, func(t *testing.T) {
			p := newPast(t)
			p.id = "first"
			if err := p.run(trip(func() error { return nil })); err != nil {
				t.Fatal(err)
			}
			snap := p.latest("here")
			if id == "" {
				id = snap.ID
			}
			for _, r := range []wflo.Restored{
				{Restore: wflo.Restore{ID: "r1", WorkflowID: "first"}, State: wflo.RestoreRestoring, Into: "another/"},
				{Restore: wflo.Restore{ID: "r2", WorkflowID: "first"}, State: wflo.RestorePlanned, Into: "thief/"},
			} {
				r.From, r.Plan = snap.Run.ID(), wflo.RestorePlan{Mode: wflo.RestoreReopen, Snapshot: &snap}
				r.Restore.Mode, r.Restore.To, r.Restore.By, r.Restore.Reason = wflo.RestoreFork, wflo.RestorePoint{Snapshot: snap.ID}, "ann", "x"
				r.Plan.Mode = wflo.RestoreFork
				if r.Restore.ID == "r2" {
					r.State = wflo.RestoreFailed
				}
				if _, err := p.ledger.Recovery().BeginRestore(t.Context(), r); err != nil {
					t.Fatal(err)
				}
			}
			p.did, p.id, p.header = nil, "thief", headerOf(t, id)
			err := p.run(trip(func() error { return nil }))
			var app *temporal.ApplicationError
			if !errors.As(err, &app) || app.Type() != string(wflo.CodeInvalid) || len(p.did) > 0 {
				t.Errorf("%v, did %v", err, p.did)
			}
			rows, err := p.ledger.Recovery().ListCompensations(t.Context(), activities.CompensationQuery{Run: snap.Run.ID()})
			if err != nil || len(rows) != 2 || rows[0].State != wflo.CompensationKept || rows[1].State != wflo.CompensationKept {
				t.Errorf("%v, compensations %+v", err, rows)
			}
		})
	}
}

// keeper notes which parts are saved and brought back, and of what.
type keeper struct {
	kind    wflo.PartKind
	saved   int
	brought []string
	fails   []error // of the next tries
	keys    []string
}

func (k *keeper) Save(_ context.Context, in activities.PartRequest, _ *wflo.SnapshotPart) (wflo.SnapshotPart, bool, error) {
	k.saved++
	return wflo.SnapshotPart{Kind: k.kind, Name: in.Name, SHA256: string(rune('a' + k.saved - 1))}, true, nil
}

func (k *keeper) Check(context.Context, activities.PartRequest, wflo.SnapshotPart) error {
	if len(k.fails) == 0 {
		return nil
	}
	err := k.fails[0]
	k.fails = k.fails[1:]
	return err
}

func (k *keeper) Restore(_ context.Context, in activities.PartRequest, p wflo.SnapshotPart) error {
	k.brought, k.keys = append(k.brought, string(p.Kind)+" "+in.Name+" "+p.SHA256), append(k.keys, in.Key)
	return nil
}

func (k *keeper) Diff(context.Context, activities.PartRequest, wflo.SnapshotPart, *wflo.SnapshotPart) (wflo.PartDiff, error) {
	return wflo.PartDiff{}, nil
}

func (k *keeper) Refs(context.Context, wflo.SnapshotPart) ([]string, error) { return nil, nil }

// withTables makes the worker keep tables.
func (p *past) withTables() *keeper {
	k := &keeper{kind: wflo.PartTables}
	p.snapshot.Parts[wflo.PartTables] = k
	return k
}

// TestPartsComeBack with a restore: all of the snapshot, or those that were asked for,
// once; a part that cannot come back now is waited for, under the same key.
func TestPartsComeBack(t *testing.T) {
	all := wflo.Parts{Tables: []string{"orders", "stock"}}
	for name, tt := range map[string]struct {
		parts *wflo.Parts
		fails []error
		want  []string
	}{
		"all":   {want: []string{"tables orders a", "tables stock b"}},
		"some":  {parts: &wflo.Parts{Tables: []string{"stock"}}, want: []string{"tables stock b"}},
		"none":  {parts: &wflo.Parts{}},
		"later": {fails: []error{wflo.Errorf(wflo.CodeConflict, "", "the schema changed"), errors.New("away")}, want: []string{"tables orders a", "tables stock b"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPast(t)
			k := p.withTables()
			var got answerOf
			p.begin = func(n int) {
				if n == 1 {
					p.restoreAfter(time.Minute, wflo.Restore{ID: "r1", WorkflowID: anywhere, To: wflo.RestorePoint{Snapshot: "here"}, Parts: tt.parts, By: "ann", Reason: "x"}, &got)
					return
				}
				k.fails = slices.Clone(tt.fails)
			}
			err := p.run(func(ctx workflow.Context) error {
				if _, err := workflows.TakeSnapshot(ctx, "here", all); err != nil {
					return err
				}
				return workflow.Sleep(ctx, time.Hour)
			})
			if err != nil || got.err != nil || p.runs != 2 || !slices.Equal(k.brought, tt.want) {
				t.Errorf("%v, %v, %d runs, brought back %q, want %q", err, got.err, p.runs, k.brought, tt.want)
			}
			if len(k.keys) > 1 && k.keys[0] != k.keys[1] {
				t.Errorf("the parts are brought back under %q", k.keys)
			}
			if k.saved != 8 { // the restore tries to save before it stops the code, and the restored run takes its snapshot again
				t.Errorf("saved %d parts, want two, four before the restore, and two after", k.saved)
			}
		})
	}
}

// TestPartsOfARolledBackStep are those of the snapshot before it, and no others.
func TestPartsOfARolledBackStep(t *testing.T) {
	p := newPast(t)
	k := p.withTables()
	p.fail["pay"] = temporal.NewNonRetryableApplicationError("declined", "test", nil)
	err := p.run(func(ctx workflow.Context) error {
		if _, err := workflows.TakeSnapshot(ctx, "long before", wflo.Parts{Tables: []string{"orders", "stock"}}); err != nil {
			return err
		}
		_, err := workflows.Step(ctx, "pay", workflows.StepOptions{
			Rollback: &workflows.Rollback{Tables: []string{"stock"}}, Effect: wflo.EffectReversible,
			Compensation: &workflows.Compensation{Name: "pay", Activity: "do", Input: "refund"},
		}, func(ctx workflow.Context) (string, error) { return must(ctx, "pay") })
		if err == nil {
			return errors.New("the step did not fail")
		}
		_, err = must(ctx, "after")
		return err
	})
	if err != nil || !slices.Equal(k.brought, []string{"tables stock c"}) || !slices.Equal(p.did, []string{"pay", "refund", "after"}) {
		t.Errorf("%v, brought back %q, did %v", err, k.brought, p.did)
	}
}

// TestStateInPages: a state that no message could hold is read in pages, and none of it
// is missing, or there twice.
func TestStateInPages(t *testing.T) {
	p := newPast(t)
	large := strings.Repeat("x", 200<<10)
	err := p.run(func(ctx workflow.Context) error {
		for range 8 {
			if _, err := must(ctx, large); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var seqs []int
	pages, size := 0, 0
	for from := 0; pages == 0 || from > 0; pages++ {
		var page step.StatePage
		v, err := p.QueryWorkflow(wflo.QueryState, step.PageQuery{From: from})
		if err == nil {
			err = v.Get(&page)
		}
		if err != nil || pages > 8 {
			t.Fatalf("page %d: %v", pages, err)
		}
		one := 0
		for _, o := range page.State.Outcomes {
			seqs, one = append(seqs, o.Seq), one+o.Result.Size()
		}
		if one > 600<<10 || page.Next != 0 && page.Next <= from {
			t.Errorf("page %d has %d bytes, and the next begins at %d", pages, one, page.Next)
		}
		from, size = page.Next, size+one
	}
	if !slices.Equal(seqs, []int{1, 2, 3, 4, 5, 6, 7, 8}) || size < 8*len(large) || pages < 3 {
		t.Errorf("%d pages with %d bytes have the outcomes %v", pages, size, seqs)
	}
	for _, from := range []int{-1, 9} {
		if _, err := p.QueryWorkflow(wflo.QueryState, step.PageQuery{From: from}); err == nil {
			t.Errorf("there is a page from %d", from)
		}
	}
}
