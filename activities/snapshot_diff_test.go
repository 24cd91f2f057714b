package activities_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go"
)

// Two snapshots differ by what happened between them, and what cannot be compared says so.
func TestCompareSnapshots(t *testing.T) {
	w, run := newRewinding(t), runOf("shop")
	first := w.take(run, "first", nil, 0, did(1, "look#1"))
	second := w.take(run, "second", first.Part(wflo.PartState, "").Blobs, 0, did(2, "pay#1"))
	got, err := w.snap.Compare(t.Context(), first, second)
	if err != nil {
		t.Fatal(err)
	}
	want := []wflo.PartChange{{Name: "pay#1", Op: "added", Detail: "step"}}
	if len(got) == 0 || got[0].Kind != wflo.PartState {
		t.Fatalf("compared %+v", got)
	}
	if diff := cmp.Diff(want, got[0].Changes); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
	back, err := w.snap.Compare(t.Context(), second, first)
	if err != nil || len(back[0].Changes) != 1 || back[0].Changes[0].Op != "removed" {
		t.Errorf("the other way round: %+v, %v", back, err)
	}
	lone := first
	lone.Parts = append([]wflo.SnapshotPart{{Kind: wflo.PartTables, Name: "orders"}}, first.Parts...)
	lone.Parts[1].SHA256 = "another"
	broken, err := w.snap.Compare(t.Context(), lone, second)
	if err != nil || broken[0].Name != "orders" || broken[0].Problem != "only the earlier snapshot has it" || broken[1].Problem == "" {
		t.Errorf("broken: %+v, %v", broken, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.snap.Compare(ctx, first, second); !errors.Is(err, context.Canceled) {
		t.Errorf("by somebody who left: %v", err)
	}
}
