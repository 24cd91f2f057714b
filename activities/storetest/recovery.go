package storetest

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/step"
)

// TestRecovery runs the suite of what going back is written down in. open gives an
// empty store that is closed when the test it was opened for ends; it is called once
// for each subtest. The store's clock is the real one.
func TestRecovery(t *testing.T, open func(t *testing.T) activities.Recovery) {
	for _, c := range []struct {
		name string
		test func(*past)
	}{
		{"SnapshotsComeBackAsTheyWere", snapshotsComeBackAsTheyWere},
		{"SnapshotsAreSavedOnce", snapshotsAreSavedOnce},
		{"SnapshotsMustBeSealed", snapshotsMustBeSealed},
		{"SnapshotsFilter", snapshotsFilter},
		{"SnapshotsBefore", snapshotsBefore},
		{"SnapshotsPaging", snapshotsPaging},
		{"SnapshotsPinned", snapshotsPinned},
		{"SnapshotsLarge", snapshotsLarge},
		{"RaceOfDropAndPin", raceOfDropAndPin},
		{"RaceOfSaves", raceOfSaves},
		{"RestoresComeBackAsTheyWere", restoresComeBackAsTheyWere},
		{"RestoresBeginOnce", restoresBeginOnce},
		{"RestoresOneAtATime", restoresOneAtATime},
		{"RestoresNoted", restoresNoted},
		{"RestoresListed", restoresListed},
		{"RestoresRefuseNonsense", restoresRefuseNonsense},
		{"RaceOfRestores", raceOfRestores},
		{"RaceOfOneRestore", raceOfOneRestore},
		{"CompensationsComeBackAsTheyWere", compensationsComeBackAsTheyWere},
		{"CompensationsAreNotedOnce", compensationsAreNotedOnce},
		{"CompensationsMarked", compensationsMarked},
		{"CompensationsMay", compensationsMay},
		{"CompensationsAllOrNone", compensationsAllOrNone},
		{"CompensationsClosed", compensationsClosed},
		{"CompensationsRefuseNonsense", compensationsRefuseNonsense},
		{"EffectsBegin", effectsBegin},
		{"EffectsAllOrNone", effectsAllOrNone},
		{"UndoBegins", undoBegins},
		{"UndoOfWhatNeverBegan", undoOfWhatNeverBegan},
		{"UndoOfWhatHasEnded", undoOfWhatHasEnded},
		{"CompensationsFilter", compensationsFilter},
		{"CompensationsPaging", compensationsPaging},
		{"CompensationsAdopted", compensationsAdopted},
		{"CompensationsLarge", compensationsLarge},
		{"CompensationsKeepSecrets", compensationsKeepSecrets},
		{"RaceOfEffectAndUndo", raceOfEffectAndUndo},
		{"RaceOfCrowds", raceOfCrowds},
		{"RaceOfMarks", raceOfMarks},
		{"CompensationsModel", compensationsModel},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(&past{files{T: t}, open(t)}) })
	}
}

// past is a store of recovery with a test's complaints, which it has from files.
type past struct {
	files
	activities.Recovery
}

// odd are names that have to be kept apart, and kept.
var odd = []string{"a", "A", "a/b", "a%", "a_", `a\`, `a\0`, "a\x00", "a\u2028<b>&", "Zoë", "'; DROP TABLE snapshots; --", strings.Repeat("x", 1000)}

func (p *past) is(what string, got, want any) {
	p.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		p.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// recent refuses a time of the database that is not about now.
func (p *past) recent(what string, at time.Time) {
	p.Helper()
	if now := time.Now(); at.Before(now.Add(-patience)) || at.After(now.Add(patience)) || at.Location() != time.UTC {
		p.Errorf("%s at %s, want about now in UTC", what, at)
	}
}

// of is a run that has all that a run may have.
func of(workflow, org string) wflo.Run {
	return wflo.Run{
		Namespace: "default", WorkflowID: workflow, FirstRunID: "f-" + workflow, Workflow: "Agent", Generation: 2, Epoch: 1, Step: "g2/refund#1",
		User: "ann", Team: "ops", Org: org, Agent: "bot <&>\u2028", Tags: map[string]string{"env": "prod", "Zoë": "\x00"}, Principals: []string{"bob"},
		Budget: wflo.Budget{Limit: 12_345_678_901}, Lines: []wflo.BudgetLine{{ID: "run:x", Limit: 5}},
	}
}

// snapshot is a sealed manifest that was taken so many seconds after noon.
func (p *past) snapshot(id string, seconds int, change ...func(*wflo.Snapshot)) wflo.Snapshot {
	p.Helper()
	r := of("wf", "acme")
	r.Lines = nil
	s := wflo.Snapshot{
		ID: id, Name: "before <b>&\u2028", Kind: wflo.SnapshotManual, Run: r, RunID: "r", TaskQueue: "q", Step: "g2/refund#1",
		At: noon.Add(time.Duration(seconds)*time.Second + 789), Seq: 7, Height: 3, Spent: 12345678901234567, Calls: 4,
		Parts: []wflo.SnapshotPart{{Kind: wflo.PartState, Blobs: []string{"b1", "b2"}, Bytes: 1 << 60, Stored: 9, Count: 7, SHA256: "aa"},
			{Kind: wflo.PartTables, Name: "orders\x00", SHA256: "bb"}},
		Gates: []string{"n1"}, Build: "v1",
	}
	for _, c := range change {
		c(&s)
	}
	p.ok("seal", s.Seal())
	return s
}

func (p *past) saved(all ...wflo.Snapshot) {
	p.Helper()
	for _, s := range all {
		_, err := p.SaveSnapshot(p.Context(), s)
		p.ok("save "+s.ID, err)
	}
}

func (p *past) snapshots(q activities.SnapshotQuery, want ...string) {
	p.Helper()
	got, err := p.ListSnapshots(p.Context(), q)
	p.ok("list snapshots", err)
	ids := []string{}
	for _, s := range got {
		ids = append(ids, s.ID)
	}
	p.is(fmt.Sprintf("snapshots of %+v", q), ids, append([]string{}, want...))
}

// restored is a restore of a run, "workflow id/first run id".
func restored(id, workflow, first string, mode wflo.RestoreMode) wflo.Restored {
	return wflo.Restored{
		Restore: wflo.Restore{ID: id, WorkflowID: workflow, To: wflo.RestorePoint{Time: noon}, Mode: mode, By: "ann", Reason: "why <b>&\u2028\x00",
			Parts: &wflo.Parts{Workspace: true, Tables: []string{"orders"}}},
		From: workflow + "/" + first, State: wflo.RestorePlanned,
	}
}

func (p *past) begun(r wflo.Restored) wflo.Restored {
	p.Helper()
	kept, err := p.BeginRestore(p.Context(), r)
	p.ok("begin restore "+r.Restore.ID, err)
	return kept
}

// undo is a compensation that has all that one may have.
func undo(id string, height int) wflo.CompensationRecord {
	return wflo.CompensationRecord{
		ID: id, Name: "refund <b>&\u2028", Activity: "Refund", TaskQueue: "q", Height: height, Group: "g", Step: "g2/pay#1", Undoes: "Pay", Seq: 41,
		Input: []byte{0, 1, 255, '"'}, Probe: "DidPay", ProbeInput: []byte("probe"), Timeout: time.Hour + time.Nanosecond, Attempts: 7,
	}
}

func (p *past) note(run wflo.Run, all ...wflo.CompensationRecord) {
	p.Helper()
	p.ok("note", p.NoteCompensations(p.Context(), run, step.CompensationNotes{New: all}))
}

func (p *past) marks(run wflo.Run, marks ...step.CompensationMark) error {
	return p.NoteCompensations(p.Context(), run, step.CompensationNotes{Marks: marks})
}

func (p *past) marked(run wflo.Run, id string, states ...wflo.CompensationState) {
	p.Helper()
	for _, s := range states {
		p.ok("mark "+id, p.marks(run, step.CompensationMark{ID: id, State: s}))
	}
}

func (p *past) undoes(id string) wflo.CompensationRecord {
	p.Helper()
	c, err := p.Compensation(p.Context(), id)
	p.ok("read compensation "+id, err)
	return c
}

func (p *past) states(want map[string]wflo.CompensationState) {
	p.Helper()
	got := map[string]wflo.CompensationState{}
	for id := range want {
		got[id] = p.undoes(id).State
	}
	p.is("states", got, want)
}

func (p *past) compensations(q activities.CompensationQuery, want ...string) {
	p.Helper()
	got, err := p.ListCompensations(p.Context(), q)
	p.ok("list compensations", err)
	p.is(fmt.Sprintf("compensations of %+v", q), undoIDs(got), append([]string{}, want...))
}

func undoIDs(all []wflo.CompensationRecord) []string {
	ids := []string{}
	for _, c := range all {
		ids = append(ids, c.ID)
	}
	return ids
}

// large is more than a message of Temporal holds.
func large() []byte { return bytes.Repeat([]byte("\x00\xffwflo\n"), 2<<20/7+1) }
