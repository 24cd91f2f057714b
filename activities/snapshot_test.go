package activities_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	commonpb "go.temporal.io/api/common/v1"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/objectstore/file"
	"github.com/wflo-ai/wflo-go/internal/sqlite"
	"github.com/wflo-ai/wflo-go/internal/step"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// rewinding is a worker's half of restores, over a database in memory.
type rewinding struct {
	t     *testing.T
	db    *sqlite.Ledger
	store activities.Recovery
	blobs *file.Store
	files *partFake
	snap  *activities.Snapshot
}

func newRewinding(t *testing.T) *rewinding {
	t.Helper()
	logger := slog.New(slog.NewTextHandler(t.Output(), nil))
	db, err := sqlite.Open(t.Context(), sqlite.Config{Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	blobs, err := file.Open(file.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = blobs.Close() })
	w := &rewinding{t: t, db: db, store: db.Recovery(), blobs: blobs, files: &partFake{now: map[string]string{}}}
	w.snap = &activities.Snapshot{
		Recovery: w.store, Blobs: blobs, Audit: db.Records(), Logger: logger,
		Parts: map[wflo.PartKind]activities.PartKeeper{wflo.PartWorkspace: w.files, wflo.PartTables: w.files},
	}
	return w
}

// runOf is a run of the tests.
func runOf(workflowID string) wflo.Run {
	return wflo.Run{Namespace: "default", WorkflowID: workflowID, FirstRunID: "first-of-" + workflowID, Workflow: "Agent", Org: "books", User: "ann"}
}

// in is the context of an activity of a run.
func in(t *testing.T, run wflo.Run, key string) context.Context {
	run.Step = key
	return wflo.WithRun(t.Context(), run)
}

// did is the outcome of a step that ended well.
func did(seq int, key string) step.Outcome {
	return step.Outcome{
		Seq: seq, Kind: step.OutcomeStep, Key: key, At: noon.Add(time.Duration(seq) * time.Minute),
		Result: &commonpb.Payloads{Payloads: []*commonpb.Payload{{Data: fmt.Appendf(nil, "%q", key)}}},
	}
}

func keys(outcomes []step.Outcome) (all []string) {
	for _, o := range outcomes {
		all = append(all, o.Key)
	}
	return all
}

// take takes a snapshot of a run whose outcomes since base are new.
func (w *rewinding) take(run wflo.Run, name string, base []string, height int, outcomes ...step.Outcome) wflo.Snapshot {
	w.t.Helper()
	s, err := w.snap.Take(in(w.t, run, "take "+name), captureOf(run, name, base, height, outcomes...))
	if err != nil {
		w.t.Fatalf("take %s: %v", name, err)
	}
	return s
}

func captureOf(run wflo.Run, name string, base []string, height int, outcomes ...step.Outcome) step.Capture {
	seq, at := 0, noon
	if n := len(outcomes); n > 0 {
		seq, at = outcomes[n-1].Seq, outcomes[n-1].At
	}
	return step.Capture{
		Snapshot: wflo.Snapshot{Name: name, Kind: wflo.SnapshotManual, Run: run, RunID: "r1", TaskQueue: "agents", At: at, Seq: seq, Height: height},
		Base:     base, Parts: wflo.Parts{Workspace: true},
		State: step.State{
			Workflow: run.Workflow, Generation: run.Generation, Outcomes: outcomes,
			Input: &commonpb.Payloads{Payloads: []*commonpb.Payload{{Data: []byte(`"in"`)}}},
		},
	}
}

func (w *rewinding) load(run wflo.Run, id string) step.Loaded {
	w.t.Helper()
	out, err := w.snap.Load(in(w.t, run, "load"), id)
	if err != nil {
		w.t.Fatalf("load %s: %v", id, err)
	}
	return out
}

// partFake keeps texts, by run and name.
type partFake struct {
	mu       sync.Mutex
	now      map[string]string
	saved    []string
	restored []string
	keys     []string // of what was restored
	refuse   error
}

func (f *partFake) Save(_ context.Context, r activities.PartRequest, before *wflo.SnapshotPart) (wflo.SnapshotPart, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	text, ok := f.now[r.Run.ID()+r.Name]
	f.saved = append(f.saved, fmt.Sprintf("%s after %v", text, before != nil))
	return wflo.SnapshotPart{Blobs: []string{text}, SHA256: text}, ok, nil
}

func (f *partFake) Check(context.Context, activities.PartRequest, wflo.SnapshotPart) error {
	return f.refuse
}

func (f *partFake) Restore(_ context.Context, r activities.PartRequest, p wflo.SnapshotPart) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now[r.Run.ID()+r.Name] = p.SHA256
	f.restored, f.keys = append(f.restored, p.SHA256), append(f.keys, r.Key)
	return nil
}

func (f *partFake) Diff(_ context.Context, r activities.PartRequest, from wflo.SnapshotPart, _ *wflo.SnapshotPart) (wflo.PartDiff, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return wflo.PartDiff{Kind: from.Kind, Name: from.Name, Changes: []wflo.PartChange{{Name: from.SHA256 + " -> " + f.now[r.Run.ID()+r.Name], Op: "changed"}}}, nil
}

func (f *partFake) Refs(_ context.Context, p wflo.SnapshotPart) ([]string, error) {
	return p.Blobs, nil
}

func TestTakeAndLoad(t *testing.T) {
	w, run := newRewinding(t), runOf("wf")
	w.files.now[run.ID()] = "one"
	first := w.take(run, "a", nil, 0, did(1, "g0/a#1"))
	again := w.take(run, "a", nil, 0, did(1, "g0/a#1"))
	if again.Digest != first.Digest || len(w.files.saved) != 1 {
		t.Errorf("an attempt that was repeated gave %s after %v, want the first one", again.ID, w.files.saved)
	}
	w.files.now[run.ID()] = "two"
	// The step b was under way in the middle: what its outcome stands for is for the run to
	// leave out.
	inner := did(2, "g0/b#1/call#1")
	inner.Kind = step.OutcomeActivity
	middle := w.take(run, "m", first.Part(wflo.PartState, "").Blobs, 0, inner)
	second := w.take(run, "b", middle.Part(wflo.PartState, "").Blobs, 1, did(3, "g0/b#1"))
	if got := w.files.saved; !slices.Equal(got, []string{"one after false", "two after true", "two after true"}) {
		t.Errorf("parts were saved as %v", got)
	}
	if p := second.Part(wflo.PartState, ""); len(p.Blobs) != 3 || p.Stored >= p.Bytes || p.Count != 3 {
		t.Errorf("the state of the third snapshot is %+v, want what is new on top of two pieces", p)
	}
	out := w.load(run, second.ID)
	if got := keys(out.State.Outcomes); !slices.Equal(got, []string{"g0/a#1", "g0/b#1/call#1", "g0/b#1"}) || string(out.State.Input.Payloads[0].Data) != `"in"` {
		t.Errorf("loaded %v with input %v", got, out.State.Input)
	}
	if got := keys(w.load(run, first.ID).State.Outcomes); !slices.Equal(got, []string{"g0/a#1"}) {
		t.Errorf("the first snapshot has %v", got)
	}
	if got := keys(w.load(run, middle.ID).State.Outcomes); !slices.Equal(got, []string{"g0/a#1", "g0/b#1/call#1"}) {
		t.Errorf("the one in the middle of a step has %v", got)
	}
}

// A raw reset gives the branch that it begins the same effect keys.
// deadTrail is the trail of a worker that dies before it records anything.
type deadTrail struct{ activities.Audit }

func (deadTrail) Append(context.Context, ...wflo.AuditEvent) error { return errors.New("it died") }

// A snapshot whose worker died between saving and recording it is recorded by the next
// attempt, once.
func TestSnapshotIsRecordedAfterADeath(t *testing.T) {
	w, run := newRewinding(t), runOf("w")
	trail := w.snap.Audit
	capture := step.Capture{Snapshot: wflo.Snapshot{Name: "base", Kind: wflo.SnapshotManual, Run: run, RunID: "r1", At: noon}}
	w.snap.Audit = deadTrail{trail}
	if _, err := w.snap.Take(in(t, run, "key"), capture); err == nil {
		t.Fatal("nobody noticed that it died")
	}
	w.snap.Audit = trail
	for range 2 {
		if _, err := w.snap.Take(in(t, run, "key"), capture); err != nil {
			t.Fatal(err)
		}
	}
	records, err := trail.ReadAudit(t.Context(), wflo.AuditQuery{Type: wflo.AuditSnapshotTaken})
	if err != nil || len(records) != 1 {
		t.Errorf("the trail has the snapshot %d times, %v", len(records), err)
	}
}

func TestSnapshotsOfAResetStayApart(t *testing.T) {
	w, run := newRewinding(t), runOf("wf")
	old := w.take(run, "a", nil, 0, did(1, "g0/a#1"))
	c := captureOf(run, "a", nil, 0, did(1, "g0/other#1"))
	c.Snapshot.RunID = "r2"
	for range 2 {
		s, err := w.snap.Take(in(t, run, "take a"), c)
		if err != nil || s.ID == old.ID {
			t.Fatalf("got %s (%v), want another one than %s", s.ID, err, old.ID)
		}
		if got := keys(w.load(run, s.ID).State.Outcomes); !slices.Equal(got, []string{"g0/other#1"}) {
			t.Errorf("it has %v", got)
		}
	}
}

func TestPiecesAreMerged(t *testing.T) {
	w, run := newRewinding(t), runOf("wf")
	var base, want []string
	for i := 1; i <= 70; i++ {
		key := fmt.Sprintf("g0/s#%d", i)
		want = append(want, key)
		s := w.take(run, key, base, 0, did(i, key))
		base = s.Part(wflo.PartState, "").Blobs
		if len(base) > 32 {
			t.Fatalf("snapshot %d has %d pieces", i, len(base))
		}
		if i == 70 {
			if got := keys(w.load(run, s.ID).State.Outcomes); !slices.Equal(got, want) {
				t.Errorf("loaded %d outcomes: %v", len(got), got)
			}
		}
	}
}

func TestTakeRefuses(t *testing.T) {
	w, run := newRewinding(t), runOf("wf")
	for name, tt := range map[string]struct {
		change func(c *step.Capture)
		want   string
	}{
		"another run":      {func(c *step.Capture) { c.Snapshot.Run = runOf("other") }, "is asked for by run"},
		"a base that went": {func(c *step.Capture) { c.Base = []string{strings.Repeat("0", 64)} }, "is gone"},
		"too much": {func(c *step.Capture) {
			big := did(1, "g0/big#1")
			big.Result.Payloads[0].Data = make([]byte, 20<<20)
			c.State.Outcomes = []step.Outcome{big, did(2, "g0/b#1")}
			c.State.Outcomes[1].Result = big.Result
		}, "the limit is 48.0 MiB"},
		"another run's parts": {func(c *step.Capture) { c.Inherit = w.take(runOf("other"), "x", nil, 0).ID }, "is not one of run"},
	} {
		c := captureOf(run, name, nil, 0, did(1, "g0/a#1"))
		tt.change(&c)
		if _, err := w.snap.Take(in(t, run, name), c); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
	}
	if _, err := w.snap.Load(in(t, runOf("thief"), "load"), w.take(run, "own", nil, 0).ID); !errors.Is(err, wflo.ErrInvalid) {
		t.Errorf("another run loads it: %v", err)
	}
}

func TestFind(t *testing.T) {
	w, run := newRewinding(t), runOf("wf")
	a := w.take(run, "same", nil, 0, did(1, "g0/a#1"))
	b := w.take(run, "b", nil, 0, did(2, "g0/b#1"))
	w.take(runOf("other"), "same", nil, 0, did(9, "g0/a#1"))
	for name, tt := range map[string]struct {
		to   wflo.RestorePoint
		want string
	}{
		"id":           {wflo.RestorePoint{Snapshot: a.ID}, a.ID},
		"name":         {wflo.RestorePoint{Snapshot: "same"}, a.ID},
		"time":         {wflo.RestorePoint{Time: noon.Add(90 * time.Second)}, a.ID},
		"later time":   {wflo.RestorePoint{Time: noon.Add(time.Hour)}, b.ID},
		"before first": {wflo.RestorePoint{Time: noon}, ""},
	} {
		s, err := w.snap.Find(in(t, run, "find"), step.Find{Run: run, To: tt.to})
		if tt.want == "" && errors.Is(err, wflo.ErrInvalid) {
			continue
		}
		if err != nil || s.ID != tt.want {
			t.Errorf("%s: got %s (%v), want %s", name, s.ID, err, tt.want)
		}
	}
	if _, err := w.snap.Find(in(t, run, "find"), step.Find{Run: run, To: wflo.RestorePoint{Snapshot: "nobody"}}); !errors.Is(err, wflo.ErrInvalid) {
		t.Errorf("a name that nobody gave: %v", err)
	}
	// The run goes back to a: b is of the branch that was given up, and b2 of the one that
	// came then.
	if _, err := w.store.BeginRestore(t.Context(), wflo.Restored{Restore: wflo.Restore{ID: "r", WorkflowID: "wf"}, From: run.ID(), Into: run.ID(), Epoch: 1, Plan: wflo.RestorePlan{At: a.At}}); err != nil {
		t.Fatal(err)
	}
	r, _ := w.store.Restored(t.Context(), "r")
	r.State = wflo.RestoreDone
	if _, err := w.store.NoteRestore(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if s, err := w.snap.Find(in(t, run, "find"), step.Find{Run: run, To: wflo.RestorePoint{Time: noon.AddDate(100, 0, 0)}}); err != nil || s.ID != a.ID {
		t.Errorf("after going back to a, the latest is %s (%v), want %s", s.ID, err, a.ID)
	}
}

func TestBring(t *testing.T) {
	w, run := newRewinding(t), runOf("wf")
	w.files.now[run.ID()], w.files.now[run.ID()+"orders"] = "files", "rows"
	c := captureOf(run, "a", nil, 0)
	c.Parts.Tables = []string{"orders"}
	s, err := w.snap.Take(in(t, run, "take"), c)
	if err != nil {
		t.Fatal(err)
	}
	w.files.now[run.ID()], w.files.now[run.ID()+"orders"] = "spoilt", "spoilt"
	want := wflo.Parts{Workspace: true, Tables: []string{"orders"}}
	w.files.refuse = errors.New("damaged")
	if _, err := w.snap.Bring(in(t, run, "bring"), step.Bring{Snapshot: s.ID, Parts: want}); err == nil || len(w.files.restored) != 0 {
		t.Fatalf("a part that cannot be brought back: %v, after %v", err, w.files.restored)
	}
	w.files.refuse = nil
	if _, err := w.snap.Bring(in(t, run, "bring"), step.Bring{Snapshot: s.ID, Parts: want}); err != nil || !slices.Equal(w.files.restored, []string{"files", "rows"}) {
		t.Errorf("brought back %v (%v)", w.files.restored, err)
	}
	if _, err := w.snap.Bring(in(t, run, "bring"), step.Bring{Snapshot: s.ID, Parts: wflo.Parts{Tables: []string{"more"}}}); !errors.Is(err, wflo.ErrInvalid) {
		t.Errorf("tables that it does not have: %v", err)
	}
	if _, err := w.snap.Bring(in(t, runOf("thief"), "bring"), step.Bring{Snapshot: s.ID, Parts: want}); !errors.Is(err, wflo.ErrInvalid) {
		t.Errorf("another run brings it back: %v", err)
	}
}

// A run believes the header that names a restore only as far as the store has it.
func TestLoadByARestoreThatIsNotThere(t *testing.T) {
	w, run := newRewinding(t), runOf("wf")
	s := w.take(run, "a", nil, 0, did(1, "g0/a#1"))
	if _, err := w.snap.Load(in(t, runOf("fork"), "load"), "made-up"); !errors.Is(err, wflo.ErrInvalid) {
		t.Errorf("a restore that nobody asked for: %v", err)
	}
	fork := wflo.Restored{
		Restore: wflo.Restore{ID: "r", WorkflowID: "wf", Mode: wflo.RestoreFork, NewID: "fork"}, From: run.ID(), Into: "fork/",
		State: wflo.RestoreRestoring, Plan: wflo.RestorePlan{Mode: wflo.RestoreFork, Snapshot: &s},
	}
	if _, err := w.store.BeginRestore(t.Context(), fork); err != nil {
		t.Fatal(err)
	}
	if _, err := w.snap.Load(in(t, runOf("stranger"), "load"), "r"); !errors.Is(err, wflo.ErrInvalid) {
		t.Errorf("a run of another workflow id: %v", err)
	}
	if out := w.load(runOf("fork"), "r"); !slices.Equal(keys(out.State.Outcomes), []string{"g0/a#1"}) || !out.Parts.Workspace && s.Part(wflo.PartWorkspace, "") != nil {
		t.Errorf("the fork loads %+v", out)
	}
	w.load(runOf("fork"), "r") // its own retry
	late := runOf("fork")
	late.FirstRunID = "another"
	if _, err := w.snap.Load(in(t, late, "load"), "r"); !errors.Is(err, wflo.ErrInvalid) {
		t.Errorf("a second run of the same workflow id: %v", err)
	}
	r, err := w.store.Restored(t.Context(), "r")
	if err != nil || r.Into != runOf("fork").ID() {
		t.Errorf("the restore leads to %s (%v)", r.Into, err)
	}
}

// A step that was rolled back and tried again has compensations of both tries.
func TestLoadKeepsASecondTry(t *testing.T) {
	w, run := newRewinding(t), runOf("wf")
	for i, key := range []string{"pay", "pay~1"} {
		row := wflo.CompensationRecord{
			ID: fmt.Sprintf("undo-%d", i), Name: key, Activity: "refund", Run: run, Height: 1, Step: key, State: wflo.CompensationRegistered,
		}
		if err := w.store.NoteCompensations(t.Context(), run, step.CompensationNotes{New: []wflo.CompensationRecord{row}}); err != nil {
			t.Fatal(err)
		}
		if err := w.store.BeginEffect(t.Context(), row.ID); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			if _, err := w.store.BeginUndo(t.Context(), row.ID, "rolled back"); err != nil {
				t.Fatal(err)
			}
		}
	}
	s := w.take(run, "a", nil, 1, did(1, "look"), did(2, "pay"))
	if out := w.load(run, s.ID); len(out.State.Outcomes) != 2 || out.Moved != "" {
		t.Errorf("%v are kept (%s), want the second try", keys(out.State.Outcomes), out.Moved)
	}
}

// What was undone since the snapshot is not answered from it: code would build on an
// effect that is gone.
func TestLoadCutsWhatWasUndone(t *testing.T) {
	w, run := newRewinding(t), runOf("wf")
	pay := wflo.CompensationRecord{ID: "undo-1", Name: "pay", Activity: "refund", Run: run, Height: 1, Step: "g0/pay#1", State: wflo.CompensationRegistered}
	if err := w.store.NoteCompensations(t.Context(), run, step.CompensationNotes{New: []wflo.CompensationRecord{pay}}); err != nil {
		t.Fatal(err)
	}
	s := w.take(run, "a", nil, 1, did(1, "g0/look#1"), did(2, "g0/pay#1"), did(3, "g0/tell#1"))
	if out := w.load(run, s.ID); len(out.State.Outcomes) != 3 || out.Moved != "" {
		t.Fatalf("before anything was undone, %v are kept (%s)", keys(out.State.Outcomes), out.Moved)
	}
	if err := w.store.BeginEffect(t.Context(), "undo-1"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.store.BeginUndo(t.Context(), "undo-1", "test"); err != nil {
		t.Fatal(err)
	}
	out := w.load(run, s.ID)
	if got := keys(out.State.Outcomes); !slices.Equal(got, []string{"g0/look#1"}) || !strings.Contains(out.Moved, "g0/pay#1") {
		t.Errorf("%v are kept (%s), want what was before the payment", got, out.Moved)
	}
}

func TestNoteOfAnotherRun(t *testing.T) {
	w, run := newRewinding(t), runOf("wf")
	own := wflo.Restored{Restore: wflo.Restore{ID: "r", WorkflowID: "wf", By: "ann"}, State: wflo.RestoreRestoring}
	if _, err := w.snap.Note(in(t, run, "note"), own); err != nil {
		t.Fatal(err)
	}
	own.State, own.From = wflo.RestoreDone, run.ID()
	if _, err := w.snap.Note(in(t, runOf("thief"), "note"), own); !errors.Is(err, wflo.ErrConflict) {
		t.Errorf("another run notes it: %v", err)
	}
	if _, err := w.snap.Note(in(t, run, "note"), own); err != nil {
		t.Fatal(err)
	}
	if r, err := w.store.Restored(t.Context(), "r"); err != nil || r.State != wflo.RestoreDone || r.From != run.ID() {
		t.Errorf("kept is %+v (%v)", r, err)
	}
	if _, err := w.store.Restored(t.Context(), "other"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a restore that is not there: %v", err)
	}
}
