package workflows_test

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/workflows"
)

// forgetful is a blob store from which blobs can be removed.
type forgetful struct {
	activities.Blobs
	keys []string
	gone []string
	full error // what Put says
}

func (f *forgetful) Put(ctx context.Context, data []byte) (string, error) {
	if f.full != nil {
		return "", f.full
	}
	key, err := f.Blobs.Put(ctx, data)
	f.keys = append(f.keys, key)
	f.gone = slices.DeleteFunc(f.gone, func(k string) bool { return k == key })
	return key, err
}

func (f *forgetful) Get(ctx context.Context, key string) ([]byte, error) {
	if slices.Contains(f.gone, key) {
		return nil, fmt.Errorf("blob %s: %w", key, fs.ErrNotExist)
	}
	return f.Blobs.Get(ctx, key)
}

// A run whose earlier snapshots were removed, with their blobs, can be saved again, and
// taken back.
func TestSnapshotAfterTheLastOneWasRemoved(t *testing.T) {
	p := newPast(t)
	blobs := &forgetful{Blobs: p.snapshot.Blobs}
	p.snapshot.Blobs = blobs
	runs := 0
	err := p.run(func(ctx workflow.Context) error {
		runs++
		for _, name := range []string{"a", "b", "c"} {
			if _, err := must(ctx, name); err != nil {
				return err
			}
			s, err := workflows.TakeSnapshot(ctx, name)
			if err != nil {
				return err
			}
			if name == "a" && runs == 1 {
				blobs.gone = slices.Clone(blobs.keys)
				if err := p.ledger.Recovery().DropSnapshots(context.Background(), s.ID); err != nil {
					return err
				}
			}
		}
		if runs == 1 {
			return workflows.Restore(ctx, "b")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := "[a b c c]"; fmt.Sprint(p.did) != want {
		t.Errorf("did %v, want %s", p.did, want)
	}
}

// A state that is too large does not keep a run from an irreversible step whose author
// never asked for snapshots; people see that there is none. A step that is to be rolled
// back needs it, and fails before anything is done.
func TestIrreversibleStepWithoutASnapshot(t *testing.T) {
	full := wflo.Errorf(wflo.CodePayloadTooLarge, "return references", "the state of the run is too large")
	for name, tt := range map[string]struct {
		rollback *workflows.Rollback
		did      string
	}{
		"goes on":     {did: "[mail]"},
		"rolled back": {rollback: &workflows.Rollback{}, did: "[]"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPast(t)
			p.snapshot.Blobs = &forgetful{Blobs: p.snapshot.Blobs, full: full}
			err := p.run(func(ctx workflow.Context) error {
				_, err := workflows.Step(ctx, "mail", workflows.StepOptions{Effect: wflo.EffectIrreversible, Rollback: tt.rollback},
					func(ctx workflow.Context) (string, error) { return must(ctx, "mail") })
				return err
			})
			if (err != nil) != (tt.rollback != nil) || err != nil && !strings.Contains(err.Error(), "too large") || fmt.Sprint(p.did) != tt.did {
				t.Errorf("%v, did %v, want %s", err, p.did, tt.did)
			}
			steps := p.status().Steps
			if len(steps) != 1 || (steps[0].Unsaved == "") != (tt.rollback != nil) || tt.rollback == nil && !strings.Contains(steps[0].Unsaved, "too large") {
				t.Errorf("steps %+v", steps)
			}
		})
	}
}

// Code that went on without a snapshot goes on without it when it runs again, and finds
// the outcomes that came after it.
func TestCodeGoesOnWithoutTheSnapshotAgain(t *testing.T) {
	p := newPast(t)
	blobs := &forgetful{Blobs: p.snapshot.Blobs}
	p.snapshot.Blobs = blobs
	runs := 0
	err := p.run(func(ctx workflow.Context) error {
		runs++
		if runs == 1 {
			blobs.full = wflo.Errorf(wflo.CodePayloadTooLarge, "return references", "the state of the run is too large")
		}
		_, missing := workflows.TakeSnapshot(ctx, "missing")
		if wflo.CodeOf(missing) != wflo.CodePayloadTooLarge {
			return fmt.Errorf("run %d: the first snapshot: %w", runs, missing)
		}
		blobs.full = nil
		if _, err := must(ctx, "a"); err != nil {
			return err
		}
		if _, err := workflows.TakeSnapshot(ctx, "here"); err != nil {
			return err
		}
		if _, err := must(ctx, "b"); err != nil || runs > 1 {
			return err
		}
		return workflows.Restore(ctx, "here")
	})
	if want := "[a b b]"; err != nil || fmt.Sprint(p.did) != want {
		t.Errorf("%v, did %v, want %s", err, p.did, want)
	}
}
