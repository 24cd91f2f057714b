package activities

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"go.temporal.io/sdk/activity"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
)

// Load gives the state of a snapshot of the run, by the snapshot's ID. A run that a fork
// or a reopening started gives the ID of its restore instead: what its header says counts
// only where the store has that restore, and it leads to this workflow and to no other
// run of it. The restore is bound to the run, which takes over the compensations of a run
// that it goes on for.
func (a *Snapshot) Load(ctx context.Context, id string) (step.Loaded, error) {
	run, _ := wflo.RunFrom(ctx)
	if isSnapshotID(id) {
		s, err := findSnapshot(ctx, a.Recovery, run, wflo.RestorePoint{Snapshot: id})
		if err != nil {
			return step.Loaded{}, err
		}
		return a.load(ctx, *s, run)
	}
	r, err := a.bind(ctx, run, id)
	if err != nil {
		return step.Loaded{}, err
	}
	if r.Plan.Snapshot == nil {
		return step.Loaded{}, wflo.Errorf(wflo.CodeConflict, "restore again under another ID", "restore %s names no snapshot", id)
	}
	s, err := a.needed(ctx, r.Plan.Snapshot.ID)
	if err != nil {
		return step.Loaded{}, err
	}
	if s.Run.Org != run.Org {
		return step.Loaded{}, notOf(s, run)
	}
	// Whoever else undoes what the run before left knows from here on whose it is; only
	// then it is settled what was undone.
	var stack []wflo.CompensationRecord
	if r.Plan.Mode == wflo.RestoreReopen {
		if stack, err = a.adopt(ctx, s, r, run); err != nil {
			return step.Loaded{}, err
		}
	}
	out, err := a.load(ctx, s, run)
	if err != nil {
		return out, err
	}
	out.Restore, out.Epoch, out.Parts, out.Stack, out.Inherits = &r.Restore, r.Epoch, partsOf(r.Restore, s), stack, r.Inherits
	return out, nil
}

// needed reads a snapshot that somebody has found before. That it is gone by now does not
// change when it is tried again.
func (a *Snapshot) needed(ctx context.Context, id string) (wflo.Snapshot, error) {
	s, err := a.Recovery.Snapshot(ctx, id)
	if errors.Is(err, fs.ErrNotExist) {
		return s, wflo.Errorf(wflo.CodeConflict, "restore another snapshot; somebody removed this one", "snapshot %s is gone: %w", id, err)
	}
	if err != nil {
		return s, fmt.Errorf("read snapshot %s: %w", id, err)
	}
	return s, nil
}

// partsOf are the parts that a restore brings back besides the state.
func partsOf(r wflo.Restore, s wflo.Snapshot) wflo.Parts {
	if r.Parts != nil {
		return *r.Parts
	}
	var all wflo.Parts
	for _, p := range s.Parts {
		switch {
		case p.Kind == wflo.PartWorkspace:
			all.Workspace = true
		case p.Kind == wflo.PartTables && r.Mode != wflo.RestoreFork:
			all.Tables = append(all.Tables, p.Name)
		}
	}
	return all
}

// load reads the state, without what was undone meanwhile.
func (a *Snapshot) load(ctx context.Context, s wflo.Snapshot, run wflo.Run) (step.Loaded, error) {
	state, err := readState(ctx, a.Blobs, s)
	if err != nil {
		return step.Loaded{}, err
	}
	rows, err := rowsOf(ctx, a.Recovery, s.Run, run)
	if err != nil {
		return step.Loaded{}, err
	}
	kept, at := cutUndone(s, state.Outcomes, rows)
	state.Outcomes = kept
	return step.Loaded{Snapshot: s, State: state, Moved: movedText(at)}, nil
}

// rowsOf reads the compensations of a snapshot's run, and of the one that goes on for it.
func rowsOf(ctx context.Context, r Compensations, of, run wflo.Run) ([]wflo.CompensationRecord, error) {
	rows, err := allCompensations(ctx, r, of)
	if err != nil || of.ID() == run.ID() {
		return rows, err
	}
	more, err := allCompensations(ctx, r, run)
	return append(rows, more...), err
}

// allCompensations reads those of a run, the highest first.
func allCompensations(ctx context.Context, r Compensations, run wflo.Run) (all []wflo.CompensationRecord, err error) {
	q := CompensationQuery{Run: run.ID()}
	for {
		page, err := r.ListCompensations(ctx, q)
		if err != nil {
			return nil, fmt.Errorf("read the compensations of run %s: %w", run.ID(), err)
		}
		if len(page) == 0 {
			return all, nil
		}
		all = append(all, page...)
		q.After = page[len(page)-1].ID
	}
}

// splitRunID takes a Run.ID apart. Run ids have no slash, workflow ids may.
func splitRunID(id string) (workflowID, firstRunID string) {
	i := strings.LastIndexByte(id, '/')
	if i < 0 {
		return id, ""
	}
	return id[:i], id[i+1:]
}

// unbound is Restored.Into before the run that it leads to is known.
func unbound(workflowID string) string { return wflo.Run{WorkflowID: workflowID}.ID() }

// bind gives the restore that leads to the run. It is CodeInvalid where none does, and
// nothing else is: a run that learns that ends, and waits where a store fails it.
func (a *Snapshot) bind(ctx context.Context, run wflo.Run, id string) (wflo.Restored, error) {
	refuse := func(why string) (wflo.Restored, error) {
		return wflo.Restored{}, wflo.Errorf(wflo.CodeInvalid, "start runs from snapshots with wflo restore", "restore %q does not lead to run %s: %s", id, run.ID(), why)
	}
	r, err := a.Recovery.Restored(ctx, id)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return refuse("nobody asked for it")
	case err != nil:
		return r, fmt.Errorf("read restore %s: %w", id, err)
	case r.Plan.Snapshot != nil && r.Plan.Snapshot.Run.Org != run.Org:
		return refuse("nobody asked for it")
	case r.Into == run.ID() && r.State != wflo.RestoreFailed:
		return r, nil
	case r.Into != unbound(run.WorkflowID):
		return refuse("it leads to another one")
	case r.State != wflo.RestoreRestoring:
		return refuse("it is " + string(r.State))
	}
	r.Into = run.ID()
	if r, err = a.Recovery.NoteRestore(ctx, r); err != nil {
		return r, fmt.Errorf("bind restore %s: %w", id, err)
	}
	if r.Into != run.ID() {
		return refuse("it led to another one first")
	}
	return r, nil
}

// adopt makes the compensations of the run before this run's, those that it had kept
// too: what it did may have to be undone after all.
func (a *Snapshot) adopt(ctx context.Context, s wflo.Snapshot, r wflo.Restored, run wflo.Run) ([]wflo.CompensationRecord, error) {
	from := s.Run
	if from.ID() != r.From {
		// The snapshot is of a run before that one, whose compensations it has taken over.
		from.WorkflowID, from.FirstRunID = splitRunID(r.From)
	}
	if err := claimKept(ctx, a.Recovery, from, s.Height); err != nil {
		return nil, err
	}
	if err := a.Recovery.AdoptCompensations(ctx, from, run, s.Height); err != nil {
		return nil, fmt.Errorf("take over the compensations of run %s: %w", from.ID(), err)
	}
	stack, err := allCompensations(ctx, a.Recovery, run)
	slices.Reverse(stack)
	return stack, err
}

// claimKept says of effects that a run which ended well has kept, that they may be undone
// again: those up to a height.
func claimKept(ctx context.Context, r Compensations, run wflo.Run, upTo int) error {
	rows, err := allCompensations(ctx, r, run)
	if err != nil {
		return err
	}
	var notes step.CompensationNotes
	for _, row := range rows {
		if row.State == wflo.CompensationKept && row.Height <= upTo {
			notes.Marks = append(notes.Marks, step.CompensationMark{ID: row.ID, State: wflo.CompensationExecuted, Cause: "the run is opened again"})
		}
	}
	if len(notes.Marks) == 0 {
		return nil
	}
	if err := r.NoteCompensations(ctx, run, notes); err != nil {
		return fmt.Errorf("claim what run %s had kept: %w", run.ID(), err)
	}
	return nil
}

// Bring brings parts of a snapshot back for the run that asks: its own, or those of the
// snapshot that it began with. All are checked before the first one is touched.
func (a *Snapshot) Bring(ctx context.Context, b step.Bring) (step.None, error) {
	run, _ := wflo.RunFrom(ctx)
	s, err := a.mayBring(ctx, run, b.Snapshot)
	if err != nil {
		return step.None{}, err
	}
	stop := beating(ctx)
	defer stop()
	in := PartRequest{Run: run, Key: string(run.EffectKey())}
	if activity.IsActivity(ctx) {
		// A branch that a reset gave up has the same keys, and may have changed what it brought back.
		in.Key += "-" + activity.GetInfo(ctx).WorkflowExecution.RunID
	}
	all, err := a.checked(ctx, *s, b.Parts, in)
	if err != nil {
		return step.None{}, err
	}
	for _, p := range all {
		in.Name = p.Name
		if err := a.Parts[p.Kind].Restore(ctx, in, p); err != nil {
			return step.None{}, fmt.Errorf("bring back %s of snapshot %s: %w", partText(p), s.ID, err)
		}
	}
	return step.None{}, nil
}

// Check refuses what Bring could not do. It changes nothing.
func (a *Snapshot) Check(ctx context.Context, b step.Bring) (step.None, error) {
	run, _ := wflo.RunFrom(ctx)
	s, err := a.mayBring(ctx, run, b.Snapshot)
	if err != nil {
		return step.None{}, err
	}
	stop := beating(ctx)
	defer stop()
	_, err = a.checked(ctx, *s, b.Parts, PartRequest{Run: run, Key: string(run.EffectKey())})
	return step.None{}, err
}

// checked are the parts of a snapshot that are wanted, all of which can be brought back.
func (a *Snapshot) checked(ctx context.Context, s wflo.Snapshot, parts wflo.Parts, in PartRequest) ([]wflo.SnapshotPart, error) {
	all, err := a.present(s, parts)
	if err != nil {
		return nil, err
	}
	for _, p := range all {
		in.Name = p.Name
		if err := a.Parts[p.Kind].Check(ctx, in, p); err != nil {
			return nil, fmt.Errorf("%s of snapshot %s: %w", partText(p), s.ID, err)
		}
	}
	return all, nil
}

// mayBring lets a run have its own snapshots, and those that restores led to it from.
func (a *Snapshot) mayBring(ctx context.Context, run wflo.Run, id string) (*wflo.Snapshot, error) {
	own, err := findSnapshot(ctx, a.Recovery, run, wflo.RestorePoint{Snapshot: id})
	if err == nil || !errors.Is(err, wflo.ErrInvalid) {
		return own, err
	}
	all, listErr := a.Recovery.ListRestores(ctx, run.ID())
	if listErr != nil {
		return nil, fmt.Errorf("read the lineage of run %s: %w", run.ID(), listErr)
	}
	for _, r := range all {
		if r.Into == run.ID() && r.Plan.Snapshot != nil && r.Plan.Snapshot.ID == id {
			s, err := a.needed(ctx, id)
			return &s, err
		}
	}
	return nil, err
}

// present are the parts of a snapshot that are wanted. A workspace that it does not have
// is one that the run did not have.
func (a *Snapshot) present(s wflo.Snapshot, parts wflo.Parts) (all []wflo.SnapshotPart, err error) {
	for _, want := range wanted(parts) {
		p := s.Part(want.Kind, want.Name)
		switch {
		case p == nil && want.Kind == wflo.PartWorkspace:
		case p == nil:
			return nil, wflo.Errorf(wflo.CodeInvalid, "name parts that it has", "snapshot %s does not have %s", s.ID, partText(want))
		case a.Parts[p.Kind] == nil:
			return nil, noKeeper(*p)
		default:
			all = append(all, *p)
		}
	}
	return all, nil
}

// Note writes down how far a restore of the run, or one that led to it, has come. A run
// that goes back by itself begins the record with it. One that has ended does not begin
// again: CodeConflict.
func (a *Snapshot) Note(ctx context.Context, r wflo.Restored) (step.None, error) {
	run, _ := wflo.RunFrom(ctx)
	if r.From == "" {
		r.From = run.ID()
	}
	kept, err := a.Recovery.Restored(ctx, r.Restore.ID)
	if errors.Is(err, fs.ErrNotExist) && r.From == run.ID() {
		kept, err = a.Recovery.BeginRestore(ctx, r)
	}
	if err != nil {
		return step.None{}, fmt.Errorf("note restore %s: %w", r.Restore.ID, err)
	}
	if kept.From != run.ID() && kept.Into != run.ID() {
		return step.None{}, wflo.Errorf(wflo.CodeConflict, "restore again under another ID", "restore %q is not one of run %s", r.Restore.ID, run.ID())
	}
	if r.State == wflo.RestoreCompensating && ended(kept) {
		return step.None{}, wflo.Errorf(wflo.CodeConflict, "restore again under another ID", "restore %q has ended: it is %s", r.Restore.ID, kept.State)
	}
	return step.None{}, note(ctx, a.Recovery, a.Audit, run, progress(kept, r))
}

// progress is what is kept of a restore with what its run says: the plan stays that of
// who planned it, where it says more.
func progress(kept, now wflo.Restored) wflo.Restored {
	out := kept
	out.State = now.State
	if now.Into != "" {
		out.Into = now.Into
	}
	if now.Epoch != 0 {
		out.Epoch = now.Epoch
	}
	if now.PreRestore != "" {
		out.PreRestore = now.PreRestore
	}
	if now.Error != "" {
		out.Error = now.Error
	}
	if len(now.Dead) > 0 {
		out.Dead = now.Dead
	}
	if kept.Plan.Mode == "" {
		out.Plan = now.Plan
	}
	if now.Plan.Snapshot != nil {
		out.Plan.Snapshot = now.Plan.Snapshot
	}
	if !now.Plan.At.IsZero() {
		out.Plan.At = now.Plan.At
	}
	if now.Plan.Moved != "" {
		out.Plan.Moved = now.Plan.Moved
	}
	return out
}

// note keeps a restore and records it on the trail.
func note(ctx context.Context, s Restores, trail Audit, run wflo.Run, r wflo.Restored) error {
	kept, err := s.NoteRestore(ctx, r)
	if err != nil {
		return fmt.Errorf("note restore %s: %w", r.Restore.ID, err)
	}
	return recordRestore(ctx, trail, run, kept)
}

func recordRestore(ctx context.Context, trail Audit, run wflo.Run, r wflo.Restored) error {
	kind := wflo.AuditRestoreNoted
	switch r.State {
	case wflo.RestorePlanned:
		kind = wflo.AuditRestoreAsked
	case wflo.RestoreDone, wflo.RestoreFailed:
		kind = wflo.AuditRestoreEnded
	}
	e := runEvent(run, "restore:"+r.Restore.ID+":"+string(r.State), kind, r.Restore.By, lean(r))
	e.WorkflowID, e.FirstRunID = splitRunID(r.From)
	if err := trail.Append(ctx, e); err != nil {
		return fmt.Errorf("record restore %s: %w", r.Restore.ID, err)
	}
	return nil
}

// lean is a restore for the trail: without the inputs of compensations, which may hold
// secrets, and without what can be read elsewhere.
func lean(r wflo.Restored) wflo.Restored {
	r.Plan.Undo, r.Plan.Skipped, r.Dead = bare(r.Plan.Undo), bare(r.Plan.Skipped), bare(r.Dead)
	r.Plan.Diffs, r.Inherits = nil, nil
	if s := r.Plan.Snapshot; s != nil {
		r.Plan.Snapshot = &wflo.Snapshot{ID: s.ID, Name: s.Name, Kind: s.Kind, At: s.At, Digest: s.Digest}
	}
	return r
}

// bare are compensations without their inputs.
func bare(all []wflo.CompensationRecord) []wflo.CompensationRecord {
	out := slices.Clone(all)
	for i := range out {
		out[i].Input, out[i].ProbeInput, out[i].Run = nil, nil, wflo.Run{WorkflowID: out[i].Run.WorkflowID, FirstRunID: out[i].Run.FirstRunID}
	}
	return out
}
