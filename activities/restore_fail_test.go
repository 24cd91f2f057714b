package activities_test

import (
	"errors"
	"testing"

	"github.com/wflo-ai/wflo-go"
)

// TestWhoGivesUpARestoreAndTheRunAgree: the record says failed before the run began, and
// then the run must not begin, or the run has begun, and then it ends the record.
func TestWhoGivesUpARestoreAndTheRunAgree(t *testing.T) {
	for name, begun := range map[string]bool{"before the run began": false, "after the run began": true} {
		t.Run(name, func(t *testing.T) {
			w := newGoingBack(t, true)
			r := w.begin(w.ask(wflo.RestoreInPlace, wflo.RestorePoint{Snapshot: w.a.ID})).Restored
			compensating := r
			compensating.State = wflo.RestoreCompensating
			if begun {
				if _, err := w.snap.Note(in(t, w.run, "note"), compensating); err != nil {
					t.Fatal(err)
				}
			}
			r.Error = "cancelled"
			if _, err := w.act.Fail(w.ctx(), r); err != nil {
				t.Fatal(err)
			}
			kept, err := w.store.Restored(t.Context(), r.Restore.ID)
			if want := map[bool]wflo.RestoreState{false: wflo.RestoreFailed, true: wflo.RestoreCompensating}[begun]; err != nil || kept.State != want {
				t.Errorf("the restore is %s, %v, want %s", kept.State, err, want)
			}
			if _, err := w.snap.Note(in(t, w.run, "note"), compensating); errors.Is(err, wflo.ErrConflict) == begun {
				t.Errorf("the run that begins was told %v", err)
			}
		})
	}
}
