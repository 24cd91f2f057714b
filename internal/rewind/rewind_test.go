package rewind

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
)

func TestNanos(t *testing.T) {
	now := time.Date(2026, 11, 23, 8, 0, 0, 123, time.UTC)
	for _, c := range []struct {
		at   time.Time
		want int64
	}{
		{time.Time{}, math.MinInt64}, {time.Unix(0, 1), 1}, {time.Unix(-1, 5), -999_999_995}, {now, now.UnixNano()},
		{time.Date(1500, 1, 1, 0, 0, 0, 0, time.UTC), math.MinInt64}, {time.Date(2500, 1, 1, 0, 0, 0, 0, time.UTC), math.MaxInt64},
	} {
		if got := Nanos(c.at); got != c.want {
			t.Errorf("%s is %d, want %d", c.at, got, c.want)
		}
	}
}

// TestStates: every state is known, and whoever adds one has to say whether an effect
// may begin in it.
func TestStates(t *testing.T) {
	want := map[wflo.CompensationState][2]bool{ // ended, late
		wflo.CompensationRegistered: {}, wflo.CompensationExecuted: {}, wflo.CompensationUnknown: {}, wflo.CompensationKept: {true, false},
		wflo.CompensationRunning: {false, true}, wflo.CompensationDead: {false, true}, wflo.CompensationDone: {true, true}, wflo.CompensationSkipped: {true, true},
	}
	got := map[wflo.CompensationState][2]bool{}
	for _, s := range states {
		got[s] = [2]bool{}
	}
	for i, some := range [][]string{Ended(), Late()} {
		for _, s := range some {
			is := got[wflo.CompensationState(s)]
			is[i] = true
			got[wflo.CompensationState(s)] = is
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
}

// TestApplyLeavesWhatItWasGiven: a store that decides again, because its transaction
// was undone, has what it read.
func TestApplyLeavesWhatItWasGiven(t *testing.T) {
	kept := map[string]wflo.CompensationRecord{"a": {ID: "a", State: wflo.CompensationExecuted, Begun: true}}
	changes, err := Apply(kept, "/", step.CompensationNotes{Closed: true, Marks: []step.CompensationMark{{ID: "a", State: wflo.CompensationUnknown, Cause: "c"}}})
	want := []wflo.CompensationRecord{{ID: "a", State: wflo.CompensationDead, Begun: true, Cause: "c", Error: LeftOver}}
	if diff := cmp.Diff(want, changes); err != nil || diff != "" {
		t.Errorf("%v; changes (-want +got):\n%s", err, diff)
	}
	if kept["a"].State != wflo.CompensationExecuted || kept["a"].Cause != "" {
		t.Errorf("what was given is %+v", kept["a"])
	}
}

// TestApplyAgain repeats the notes with which a run's list ended, as a worker does whose
// answer was lost: they change nothing, and are no conflict.
func TestApplyAgain(t *testing.T) {
	for _, marked := range []wflo.CompensationState{wflo.CompensationExecuted, wflo.CompensationUnknown, wflo.CompensationRegistered, wflo.CompensationRunning, wflo.CompensationDone} {
		for _, begun := range []bool{false, true} {
			kept := map[string]wflo.CompensationRecord{"a": {ID: "a", State: wflo.CompensationRegistered, Begun: begun}}
			notes := step.CompensationNotes{Closed: true, Marks: []step.CompensationMark{{ID: "a", State: wflo.CompensationExecuted}, {ID: "a", State: marked}}}
			if marked == wflo.CompensationRegistered {
				notes.Marks = notes.Marks[1:]
			}
			for _, c := range must(Apply(kept, "/", notes))(t) {
				kept[c.ID] = c
			}
			if again := must(Apply(kept, "/", notes))(t); len(again) != 0 {
				t.Errorf("%s, begun %t: the repetition changes %+v", marked, begun, again)
			}
		}
	}
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestIntoWorkflow(t *testing.T) {
	for _, c := range []struct{ from, newID, into, want string }{
		{"wf", "", "wf/f", "wf"}, {"a/b", "", "a/b/f", "a/b"}, {"wf", "x/y", "x/y/f", "x/y"}, {"wf", "x/y", "x/y", "x/y"},
		{"wf", "", "", ""}, {"wf", "", "wf-r1/f", "wf-r1"}, {"wf", "", "wf-r1", "wf-r1"}, {"a", "a/b", "a/b/f", "a/b"},
	} {
		r := wflo.Restored{Restore: wflo.Restore{WorkflowID: c.from, NewID: c.newID}, Into: c.into}
		if got := intoWorkflow(r, c.from); got != c.want {
			t.Errorf("into %q from %q, new id %q: workflow is %q, want %q", c.into, c.from, c.newID, got, c.want)
		}
	}
}
