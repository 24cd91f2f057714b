package activities_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/step"
)

// runsFake is a Temporal with the runs that tests put into it.
type runsFake struct {
	runs    map[string]activities.RunInfo // the latest, by workflow id
	pages   map[string][]step.StatePage   // by workflow id
	plans   map[string]wflo.RestorePlan
	started []activities.RunStart
	updates []string
	// onUpdate is what the run does when it is asked to go back, onStart what a run does
	// that was started, onDescribe what happens meanwhile.
	onUpdate   func(r wflo.Restore) error
	onStart    func(info activities.RunInfo)
	onDescribe func(workflowID string)
	// lost are answers to starts that the caller does not see.
	lost int
}

func (f *runsFake) Describe(_ context.Context, workflowID, firstRunID string) (activities.RunInfo, error) {
	if f.onDescribe != nil {
		f.onDescribe(workflowID)
	}
	info, ok := f.runs[workflowID]
	if !ok || firstRunID != "" && firstRunID != info.FirstRunID {
		return info, fmt.Errorf("%s: %w", workflowID, fs.ErrNotExist)
	}
	return info, nil
}

func (f *runsFake) Query(_ context.Context, run activities.RunInfo, query string, arg, out any) error {
	pages, ok := f.pages[run.WorkflowID]
	if !ok {
		return activities.ErrUnanswered
	}
	var answer any
	switch query {
	case wflo.QueryState:
		answer = pages[arg.(step.PageQuery).From]
	case wflo.QueryPlan:
		answer = f.plans[run.WorkflowID]
	}
	data, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, out)
}

func (f *runsFake) Update(_ context.Context, _ activities.RunInfo, updateID, update string, arg any) error {
	f.updates = append(f.updates, update+" "+updateID)
	return f.onUpdate(arg.(wflo.Restore))
}

func (f *runsFake) Start(_ context.Context, s activities.RunStart) (string, error) {
	if before, taken := f.runs[s.WorkflowID]; taken && (s.Fresh || before.Open) {
		return "", wflo.Errorf(wflo.CodeConflict, "", "taken")
	}
	f.started = append(f.started, s)
	info := activities.RunInfo{
		WorkflowID: s.WorkflowID, FirstRunID: fmt.Sprintf("started-%d", len(f.started)), Workflow: s.Workflow, TaskQueue: s.TaskQueue,
		Open: true, Latest: true, Restore: s.Restore,
	}
	f.runs[s.WorkflowID] = info
	if f.lost > 0 {
		f.lost--
		return "", errors.New("the connection broke")
	}
	if f.onStart != nil {
		f.onStart(info)
	}
	return info.FirstRunID, nil
}

// goingBack is a worker that carries out restores, and a run "wf" with two snapshots: a
// after step look, b after steps pay (which can be undone) and tell.
type goingBack struct {
	*rewinding
	run  wflo.Run
	a, b wflo.Snapshot
	runs *runsFake
	act  *activities.Restoring
}

func newGoingBack(t *testing.T, open bool) *goingBack {
	t.Helper()
	w := &goingBack{rewinding: newRewinding(t), run: runOf("wf")}
	w.files.now[w.run.ID()] = "early"
	w.a = w.take(w.run, "a", nil, 0, did(1, "g0/look#1"))
	w.files.now[w.run.ID()] = "late"
	pay := wflo.CompensationRecord{
		ID: "undo-1", Name: "pay", Activity: "refund", Run: w.run, Height: 1, Step: "g0/pay#1", Input: []byte("a secret"), State: wflo.CompensationRegistered,
	}
	w.note(step.CompensationNotes{New: []wflo.CompensationRecord{pay}})
	if err := w.store.BeginEffect(t.Context(), "undo-1"); err != nil {
		t.Fatal(err)
	}
	w.note(step.CompensationNotes{Marks: []step.CompensationMark{{ID: "undo-1", State: wflo.CompensationExecuted}}})
	w.b = w.take(w.run, "b", w.a.Part(wflo.PartState, "").Blobs, 1, did(2, "g0/pay#1"), did(3, "g0/tell#1"))
	w.runs = &runsFake{
		runs: map[string]activities.RunInfo{"wf": {
			WorkflowID: "wf", FirstRunID: w.run.FirstRunID, RunID: "r1", Workflow: "Agent", TaskQueue: "agents", Open: open, Latest: true, RunTimeout: time.Hour,
		}},
		pages: map[string][]step.StatePage{"wf": {
			{State: captureOf(w.run, "", nil, 0, did(1, "g0/look#1"), did(2, "g0/pay#1")).State, Run: w.run, Seq: 3, Height: 1, Next: 1},
			{State: step.State{Outcomes: []step.Outcome{did(3, "g0/tell#1")}}, Run: w.run, Seq: 3, Height: 1},
		}},
		plans: map[string]wflo.RestorePlan{"wf": {At: noon.Add(time.Minute), Kept: 1, Undo: []wflo.CompensationRecord{pay}}},
	}
	w.act = &activities.Restoring{Snapshot: w.snap, Runs: w.runs, Ledger: w.db, Gates: w.db.Records(), Logger: w.snap.Logger, Poll: time.Microsecond}
	return w
}

func (w *goingBack) note(n step.CompensationNotes) {
	w.t.Helper()
	if err := w.store.NoteCompensations(w.t.Context(), w.run, n); err != nil {
		w.t.Fatal(err)
	}
}

func (w *goingBack) ctx() context.Context {
	return in(w.t, wflo.Run{WorkflowID: "wflo-restore/r", FirstRunID: "f"}, "s")
}

func (w *goingBack) ask(mode wflo.RestoreMode, to wflo.RestorePoint) wflo.Restore {
	return wflo.Restore{ID: "r", WorkflowID: "wf", To: to, Mode: mode, By: "ann", Reason: "a bad answer"}
}

// begin plans and begins.
func (w *goingBack) begin(r wflo.Restore) step.Restoring {
	w.t.Helper()
	planned, err := w.act.Plan(w.ctx(), r)
	if err != nil {
		w.t.Fatalf("plan: %v", err)
	}
	begun, err := w.act.Begin(w.ctx(), planned)
	if err != nil {
		w.t.Fatalf("begin: %v", err)
	}
	return begun
}

// phase runs one twice, as after a crash, and gives what the second one says.
func (w *goingBack) phase(name string, do func(context.Context, step.Restoring) (step.Restoring, error), in step.Restoring) step.Restoring {
	w.t.Helper()
	if _, err := do(w.ctx(), in); err != nil {
		w.t.Fatalf("%s: %v", name, err)
	}
	out, err := do(w.ctx(), in)
	if err != nil {
		w.t.Fatalf("%s again: %v", name, err)
	}
	return out
}

// noteDone has the run that a restore led to say that it is back.
func (w *goingBack) noteDone(run wflo.Run) {
	r, err := w.store.Restored(w.t.Context(), "r")
	if err != nil {
		w.t.Fatal(err)
	}
	r.State = wflo.RestoreDone
	if _, err := w.snap.Note(in(w.t, run, "note"), r); err != nil {
		w.t.Fatal(err)
	}
}

func TestPlanOfTheRunAndOfTheStores(t *testing.T) {
	w := newGoingBack(t, true)
	got, err := w.act.Plan(w.ctx(), w.ask("", wflo.RestorePoint{Snapshot: "a"}))
	if err != nil {
		t.Fatal(err)
	}
	p := got.Restored.Plan
	if p.Mode != wflo.RestoreInPlace || p.Snapshot.ID != w.a.ID || p.Kept != 1 || len(p.Undo) != 1 || p.Undo[0].Input != nil || len(p.Refusals) != 0 ||
		len(p.Diffs) != 1 || p.Diffs[0].Changes[0].Name != "early -> late" || got.Height != 0 {
		t.Errorf("the plan is %+v", p)
	}
	if got, err = w.act.Plan(w.ctx(), w.ask(wflo.RestoreFork, wflo.RestorePoint{Snapshot: "b"})); err != nil || got.Restored.Plan.Undo != nil || got.Height != 1 {
		t.Errorf("a fork undoes %+v (%v): what the first run did stays its own", got.Restored.Plan.Undo, err)
	}
	delete(w.runs.pages, "wf")
	if got, err = w.act.Plan(w.ctx(), w.ask(wflo.RestoreFork, wflo.RestorePoint{Snapshot: "a"})); err != nil {
		t.Fatal(err)
	}
	p = got.Restored.Plan
	if !got.Unknown || len(p.Warnings) == 0 || p.Kept != 1 || len(p.Again) != 2 || got.Run.Org != "books" {
		t.Errorf("the plan for a run that nobody answers for is %+v", p)
	}
}

func TestPlanRefuses(t *testing.T) {
	w := newGoingBack(t, false)
	for name, tt := range map[string]struct {
		r    wflo.Restore
		want error
	}{
		"in place, closed":   {w.ask(wflo.RestoreInPlace, wflo.RestorePoint{Snapshot: "a"}), wflo.ErrConflict},
		"no such run":        {wflo.Restore{ID: "r", WorkflowID: "nobody", To: wflo.RestorePoint{Snapshot: "a"}, Reason: "x"}, wflo.ErrInvalid},
		"no such snapshot":   {w.ask("", wflo.RestorePoint{Snapshot: "nothing"}), wflo.ErrInvalid},
		"an id of snapshots": {wflo.Restore{ID: w.a.ID, WorkflowID: "wf", To: wflo.RestorePoint{Snapshot: "a"}, Reason: "x"}, wflo.ErrInvalid},
	} {
		if _, err := w.act.Plan(w.ctx(), tt.r); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", name, err, tt.want)
		}
	}
	stranger := in(t, wflo.Run{WorkflowID: "wflo-restore/r", FirstRunID: "f", Org: "rivals"}, "s")
	if _, err := w.act.Plan(stranger, w.ask("", wflo.RestorePoint{Snapshot: "a"})); !errors.Is(err, wflo.ErrInvalid) || strings.Contains(err.Error(), "books") {
		t.Errorf("another organisation: %v", err)
	}
	plan := w.runs.plans["wf"]
	plan.Irreversible = []wflo.PlanItem{{Key: "g0/mail#1", Kind: "step"}}
	w.runs.plans["wf"] = plan
	got, err := w.act.Plan(w.ctx(), w.ask("", wflo.RestorePoint{Snapshot: "a"}))
	if err != nil || len(got.Restored.Plan.Refusals) != 1 {
		t.Fatalf("an effect that cannot be undone: %v, %v", got.Restored.Plan.Refusals, err)
	}
	if _, err := w.act.Begin(w.ctx(), got); !errors.Is(err, wflo.ErrConflict) || !strings.Contains(err.Error(), "g0/mail#1") {
		t.Errorf("it begins: %v", err)
	}
	if _, err := w.store.Restored(t.Context(), "r"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what was refused is on record: %v", err)
	}
	accepted := w.ask("", wflo.RestorePoint{Snapshot: "a"})
	accepted.AcceptIrreversible = true
	if got, err = w.act.Plan(w.ctx(), accepted); err != nil || len(got.Restored.Plan.Refusals) != 0 {
		t.Errorf("accepted: %v, %v", got.Restored.Plan.Refusals, err)
	}
}

func TestInPlace(t *testing.T) {
	w := newGoingBack(t, true)
	w.runs.onUpdate = func(r wflo.Restore) error {
		if r.Mode != wflo.RestoreInPlace || r.ID != "r" {
			t.Errorf("the run is asked for %+v", r)
		}
		kept, err := w.store.Restored(t.Context(), "r")
		if err != nil {
			return err
		}
		kept.State = wflo.RestoreCompensating
		_, err = w.snap.Note(in(t, w.run, "note"), kept)
		return err
	}
	begun := w.phase("begin", w.act.Begin, w.begin(w.ask("", wflo.RestorePoint{Snapshot: "a"})))
	asked := w.phase("ask", w.act.Ask, begun)
	if len(w.runs.updates) != 1 {
		t.Errorf("the run was asked %v, want once", w.runs.updates)
	}
	w.runs.onDescribe = func(string) { w.runs.onDescribe = nil; w.noteDone(w.run) }
	out, err := w.act.Follow(w.ctx(), asked)
	if err != nil || out.State != wflo.RestoreDone || out.Into != w.run.ID() || out.Epoch != 1 {
		t.Errorf("it ended as %+v (%v)", out, err)
	}
	events, err := w.db.Records().ReadAudit(t.Context(), wflo.AuditQuery{Chain: "books"})
	if err != nil {
		t.Fatal(err)
	}
	var kinds []wflo.AuditType
	for _, e := range events {
		kinds = append(kinds, e.Type)
		if strings.Contains(string(e.Data), "YSBzZWNyZXQ") { // "a secret" in base64
			t.Errorf("the trail has an input: %s", e.Data)
		}
	}
	if want := []wflo.AuditType{wflo.AuditSnapshotTaken, wflo.AuditSnapshotTaken, wflo.AuditRestoreAsked, wflo.AuditRestoreNoted, wflo.AuditRestoreEnded}; !slices.Equal(kinds, want) {
		t.Errorf("the trail has %v, want %v", kinds, want)
	}
}

func TestRunEndsInsteadOfGoingBack(t *testing.T) {
	w := newGoingBack(t, true)
	begun := w.begin(w.ask("", wflo.RestorePoint{Snapshot: "a"}))
	info := w.runs.runs["wf"]
	info.Open = false
	w.runs.runs["wf"] = info
	if _, err := w.act.Ask(w.ctx(), begun); !errors.Is(err, wflo.ErrConflict) {
		t.Errorf("a run that is closed is asked: %v", err)
	}
	out, err := w.act.Follow(w.ctx(), begun)
	if err != nil || out.State != wflo.RestoreFailed || !strings.Contains(out.Error, "ended before") {
		t.Errorf("it ended as %+v (%v)", out, err)
	}
}

func TestOneRestoreAtATime(t *testing.T) {
	w := newGoingBack(t, true)
	w.runs.runs["wflo-restore/r"] = activities.RunInfo{WorkflowID: "wflo-restore/r", Open: true}
	w.begin(w.ask("", wflo.RestorePoint{Snapshot: "a"}))
	other := w.ask("", wflo.RestorePoint{Snapshot: "b"})
	other.ID = "other"
	planned, err := w.act.Plan(w.ctx(), other)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.act.Begin(w.ctx(), planned); !errors.Is(err, wflo.ErrConflict) {
		t.Fatalf("a second restore at once: %v", err)
	}
	// The first one is terminated: the second takes its place.
	w.runs.runs["wflo-restore/r"] = activities.RunInfo{WorkflowID: "wflo-restore/r"}
	if _, err := w.act.Begin(w.ctx(), planned); err != nil {
		t.Fatalf("after the first one died: %v", err)
	}
	if r, err := w.store.Restored(t.Context(), "r"); err != nil || r.State != wflo.RestoreFailed {
		t.Errorf("the first one is %s (%v)", r.State, err)
	}
}

func TestFork(t *testing.T) {
	w := newGoingBack(t, true)
	w.runs.lost = 1
	r := w.ask(wflo.RestoreFork, wflo.RestorePoint{Snapshot: "b"})
	claimed := w.phase("claim", w.act.Claim, w.begin(r))
	if _, err := w.act.Start(w.ctx(), claimed); err == nil {
		t.Fatal("the answer was lost, and nobody noticed")
	}
	started := w.phase("start", w.act.Start, claimed)
	if len(w.runs.started) != 1 {
		t.Fatalf("%d runs were started", len(w.runs.started))
	}
	s := w.runs.started[0]
	if s.WorkflowID != "wf-r" || s.ForkedFrom != w.run.ID() || !s.Fresh || s.Restore != "r" || s.RunTimeout != time.Hour || s.Run.User != "ann" || s.TaskQueue != "agents" || string(s.Input.Payloads[0].Data) != `"in"` {
		t.Errorf("started %+v", s)
	}
	fork := wflo.Run{Namespace: "default", WorkflowID: "wf-r", FirstRunID: "started-1", Org: "books"}
	out := w.load(fork, "r")
	if len(out.State.Outcomes) != 3 || out.Epoch != 1 || len(out.Stack) != 0 || !out.Parts.Workspace {
		t.Errorf("the fork loads %+v", out)
	}
	if _, err := w.snap.Bring(in(t, fork, "bring"), step.Bring{Snapshot: out.Snapshot.ID, Parts: out.Parts}); err != nil || w.files.now[fork.ID()] != "late" {
		t.Errorf("the fork's files are %q (%v)", w.files.now[fork.ID()], err)
	}
	w.noteDone(fork)
	if end, err := w.act.Follow(w.ctx(), started); err != nil || end.State != wflo.RestoreDone || end.Into != fork.ID() {
		t.Errorf("it ended as %+v (%v)", end, err)
	}
	if rows, err := w.store.ListCompensations(t.Context(), activities.CompensationQuery{Run: w.run.ID()}); err != nil || len(rows) != 1 {
		t.Errorf("the first run has %d compensations (%v), want its own", len(rows), err)
	}
}

func TestReopen(t *testing.T) {
	w := newGoingBack(t, false)
	w.note(step.CompensationNotes{Marks: []step.CompensationMark{{ID: "undo-1", State: wflo.CompensationKept}}}) // the run ended well
	plan := w.runs.plans["wf"]
	plan.Irreversible = []wflo.PlanItem{{Key: "g0/pay#1"}} // as far as the run knows
	w.runs.plans["wf"] = plan
	begun := w.begin(w.ask("", wflo.RestorePoint{Snapshot: "b"}))
	if begun.Restored.Plan.Mode != wflo.RestoreReopen || len(begun.Restored.Plan.Undo) != 0 {
		t.Fatalf("the plan is %+v", begun.Restored.Plan)
	}
	claimed := w.phase("claim", w.act.Claim, begun)
	pre, err := w.store.Snapshot(t.Context(), claimed.Restored.PreRestore)
	if err != nil || pre.Kind != wflo.SnapshotPreRestore || pre.Part(wflo.PartState, "").Count != 3 {
		t.Errorf("left behind is %+v (%v)", pre, err)
	}
	w.phase("start", w.act.Start, claimed)
	again := w.run
	again.FirstRunID = "started-1"
	out := w.load(again, "r")
	if len(out.State.Outcomes) != 3 || len(out.Stack) != 1 || out.Stack[0].State != wflo.CompensationExecuted || out.Epoch != 1 {
		t.Errorf("the run that goes on loads %+v", out)
	}
	// Back once more, to a snapshot of the run before.
	if s, err := w.snap.Find(in(t, again, "find"), step.Find{Run: again, To: wflo.RestorePoint{Snapshot: w.a.ID}}); err != nil || s.ID != w.a.ID {
		t.Errorf("the snapshot of the run before: %s (%v)", s.ID, err)
	}
}

// A run that failed has undone what it did: what was undone is done again.
func TestReopenAfterFailure(t *testing.T) {
	w := newGoingBack(t, false)
	if _, err := w.store.BeginUndo(t.Context(), "undo-1", "failed"); err != nil {
		t.Fatal(err)
	}
	w.note(step.CompensationNotes{Marks: []step.CompensationMark{{ID: "undo-1", State: wflo.CompensationDone}}})
	r := w.ask("", wflo.RestorePoint{Snapshot: "b"})
	r.AcceptIrreversible = true // what came after the payment is done again, and is not declared
	begun := w.begin(r)
	if p := begun.Restored.Plan; !strings.Contains(p.Moved, "g0/pay#1") || p.Kept != 1 || len(p.Irreversible) != 1 || p.Irreversible[0].Key != "g0/tell#1" {
		t.Errorf("the plan keeps %d: %s", p.Kept, p.Moved)
	}
	started := w.phase("start", w.act.Start, w.phase("claim", w.act.Claim, begun))
	base := started.Restored.Plan.Snapshot
	again := w.run
	again.FirstRunID = "started-1"
	out := w.load(again, "r")
	if out.Snapshot.ID != base.ID || base.ID == w.b.ID || !slices.Equal(keys(out.State.Outcomes), []string{"g0/look#1"}) {
		t.Errorf("the run that goes on begins with %v of %s", keys(out.State.Outcomes), out.Snapshot.ID)
	}
	if p := out.Snapshot.Part(wflo.PartWorkspace, ""); p == nil || p.SHA256 != "early" {
		t.Errorf("its files are %+v, want those from before the payment", p)
	}
}

// A run that went back in place goes on in another epoch; what it went back to is still
// what it comes from. What was saved of the branch that it left is not.
func TestReopenAfterGoingBackInPlace(t *testing.T) {
	for name, tt := range map[string]struct {
		early bool // a snapshot from before the payment is among what the run comes from
		want  string
	}{
		"it comes from one with files": {true, "early"},
		"nothing has files":            {false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newGoingBack(t, false)
			later := w.run
			later.Epoch = 1
			var base []string
			say := did(4, "g0/say#1")
			say.Effect = wflo.EffectPure
			outcomes := []step.Outcome{did(1, "g0/look#1"), did(2, "g0/pay#1"), say}
			if tt.early {
				base, outcomes = w.a.Part(wflo.PartState, "").Blobs, outcomes[1:]
			}
			w.files.now[w.run.ID()] = "after"
			c := w.take(later, "c", base, 1, outcomes...)
			if _, err := w.store.BeginUndo(t.Context(), "undo-1", "terminated"); err != nil {
				t.Fatal(err)
			}
			w.note(step.CompensationNotes{Marks: []step.CompensationMark{{ID: "undo-1", State: wflo.CompensationDone}}})
			begun := w.begin(w.ask("", wflo.RestorePoint{Snapshot: c.ID}))
			p := begun.Restored.Plan
			if warned := slices.ContainsFunc(p.Warnings, func(s string) bool { return strings.Contains(s, "without files") }); p.Moved == "" || warned != (tt.want == "") {
				t.Errorf("the plan is %+v", p)
			}
			started := w.phase("start", w.act.Start, w.phase("claim", w.act.Claim, begun))
			got := ""
			if p := started.Restored.Plan.Snapshot.Part(wflo.PartWorkspace, ""); p != nil {
				got = p.SHA256
			}
			if got != tt.want {
				t.Errorf("the run goes on with the files %q, want %q", got, tt.want)
			}
		})
	}
}

func TestForkOfATime(t *testing.T) {
	w := newGoingBack(t, true)
	started := w.phase("start", w.act.Start, w.phase("claim", w.act.Claim, w.begin(w.ask(wflo.RestoreFork, wflo.RestorePoint{Time: noon.Add(150 * time.Second)}))))
	fork := wflo.Run{Namespace: "default", WorkflowID: "wf-r", FirstRunID: "started-1", Org: "books"}
	out := w.load(fork, "r")
	if got := keys(out.State.Outcomes); !slices.Equal(got, []string{"g0/look#1", "g0/pay#1"}) {
		t.Errorf("the fork begins with %v", got)
	}
	if p := out.Snapshot.Part(wflo.PartWorkspace, ""); p == nil || p.SHA256 != "early" || !started.Restored.Plan.At.Equal(noon.Add(2*time.Minute)) {
		t.Errorf("its files are %+v, of %s: want those of the snapshot before", p, started.Restored.Plan.At)
	}
}

func TestFailAfterTheFact(t *testing.T) {
	w := newGoingBack(t, true)
	begun := w.begin(w.ask("", wflo.RestorePoint{Snapshot: "a"}))
	r := begun.Restored
	r.Error = "no"
	if out, err := w.act.Fail(w.ctx(), r); err != nil || out.State != wflo.RestoreFailed || out.Error != "no" {
		t.Errorf("it ended as %+v (%v)", out, err)
	}
	r.Error = "later"
	if out, err := w.act.Fail(w.ctx(), r); err != nil || out.Error != "no" {
		t.Errorf("what has ended is changed to %+v (%v)", out, err)
	}
}
