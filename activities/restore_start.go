package activities

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
)

// Claim saves what the run leaves behind, before a fork or a reopening touches anything:
// the journal of a closed run, and the parts that will be brought back. It says which
// compensations are left to undo.
func (a *Restoring) Claim(ctx context.Context, in step.Restoring) (step.Restoring, error) {
	stop := beating(ctx)
	defer stop()
	kept, err := a.Snapshot.Recovery.Restored(ctx, in.Restored.Restore.ID)
	if err != nil {
		return in, fmt.Errorf("read restore %s: %w", in.Restored.Restore.ID, err)
	}
	in.Restored = kept
	if ended(kept) || kept.State == wflo.RestoreRestoring {
		return in, nil
	}
	if err := a.free(ctx, kept); err != nil {
		return in, err
	}
	if kept.PreRestore == "" {
		if kept.PreRestore, err = a.leave(ctx, in); err != nil {
			return in, fmt.Errorf("save what run %s leaves behind: %w", in.Run.ID(), err)
		}
	}
	kept.State = wflo.RestoreCompensating
	if kept.Plan.Mode == wflo.RestoreReopen {
		rows, err := allCompensations(ctx, a.Snapshot.Recovery, in.Run)
		if err != nil {
			return in, err
		}
		undo, skipped := undoable(rows, in.Height)
		kept.Plan.Undo, kept.Plan.Skipped, kept.Plan.More.Undo, kept.Plan.More.Skipped = bare(undo), bare(skipped), 0, 0
		kept.Plan.Shorten()
	}
	in.Restored = kept
	return in, note(ctx, a.Snapshot.Recovery, a.Snapshot.Audit, in.Run, kept)
}

// free refuses a restore whose run could not be started, before anything is undone: its
// workflow id is another run's by now. Start may still find that somebody was faster.
func (a *Restoring) free(ctx context.Context, r wflo.Restored) error {
	workflowID, _ := splitRunID(r.Into)
	latest, err := a.Runs.Describe(ctx, workflowID, "")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("describe %s: %w", workflowID, err)
	case latest.Restore != r.Restore.ID && (latest.Open || r.Plan.Mode == wflo.RestoreFork):
		return wflo.Errorf(wflo.CodeConflict, "choose another id, or wait until that run has ended", "the workflow id %s is taken", workflowID)
	}
	return nil
}

// leave takes the snapshot before the restore. Its ID is empty where the run cannot be
// asked and nothing else is brought back: its last snapshot is all that there is.
func (a *Restoring) leave(ctx context.Context, in step.Restoring) (string, error) {
	r := in.Restored
	var parts wflo.Parts
	if r.Plan.Snapshot != nil {
		parts = partsOf(r.Restore, *r.Plan.Snapshot)
	}
	if in.Unknown && !parts.Workspace && len(parts.Tables) == 0 {
		return "", nil
	}
	m := wflo.Snapshot{
		ID: derivedID("leave", r.Restore.ID), Kind: wflo.SnapshotPreRestore, Run: in.Run, RunID: in.RunID, TaskQueue: in.TaskQueue,
	}
	if done, err := a.Snapshot.Recovery.Snapshot(ctx, m.ID); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return done.ID, err
	}
	page, err := a.present(ctx, in)
	if err != nil {
		return "", err
	}
	m.Seq, m.Height, m.Spent, m.Calls, m.At = page.Seq, page.Height, page.Spent, page.Calls, r.Asked
	c := step.Capture{Snapshot: m, State: page.State, Parts: parts}
	if err := a.Snapshot.capture(ctx, &m, c, derivedID("key", r.Restore.ID)); err != nil {
		return "", err
	}
	saved, err := a.Snapshot.save(ctx, m)
	return saved.ID, err
}

// present is what the run knows now: its journal, or the state of its last snapshot where
// it cannot be asked.
func (a *Restoring) present(ctx context.Context, in step.Restoring) (all step.StatePage, err error) {
	if !in.Unknown {
		return a.journal(ctx, in)
	}
	last, err := a.Snapshot.Recovery.ListSnapshots(ctx, SnapshotQuery{WorkflowID: in.Run.WorkflowID, FirstRunID: in.Run.FirstRunID, Limit: 1})
	if err != nil {
		return all, fmt.Errorf("read the snapshots of run %s: %w", in.Run.ID(), err)
	}
	if len(last) == 0 {
		return all, wflo.Errorf(wflo.CodeConflict, "start a worker that has its code", "run %s cannot be asked, and has no snapshot", in.Run.ID())
	}
	s := last[0]
	all = step.StatePage{Run: s.Run, Seq: s.Seq, Height: s.Height, Spent: s.Spent, Calls: s.Calls}
	all.State, err = readState(ctx, a.Snapshot.Blobs, s)
	return all, err
}

// journalTries is how often a journal is read that grows meanwhile.
const journalTries = 20

// journal reads all pages of what the run knows. They are of one moment: one that the run
// goes on from in between is read again.
func (a *Restoring) journal(ctx context.Context, in step.Restoring) (all step.StatePage, err error) {
	for range journalTries {
		all, whole, err := a.pages(ctx, in)
		if err != nil || whole {
			return all, err
		}
		if err := pause(ctx, a.poll()); err != nil {
			return all, err
		}
	}
	return all, wflo.Errorf(wflo.CodeConflict, "pause the run, or name a snapshot", "run %s went on each time while its journal was read", in.Run.ID())
}

// pages reads the pages one after the other; whole says that the run stood still.
func (a *Restoring) pages(ctx context.Context, in step.Restoring) (all step.StatePage, whole bool, err error) {
	info := RunInfo{WorkflowID: in.Run.WorkflowID, FirstRunID: in.Run.FirstRunID, RunID: in.RunID, TaskQueue: in.TaskQueue, Open: in.Open}
	for from := 0; ; {
		var page step.StatePage
		if err := a.Runs.Query(ctx, info, wflo.QueryState, step.PageQuery{From: from}, &page); err != nil {
			return all, false, fmt.Errorf("read the journal of run %s: %w", in.Run.ID(), err)
		}
		switch {
		case from == 0:
			all = page
		case page.Seq != all.Seq || page.Height != all.Height:
			return all, false, nil
		default:
			all.State.Outcomes = append(all.State.Outcomes, page.State.Outcomes...)
		}
		if page.Next <= from {
			all.Next = 0
			return all, true, nil
		}
		from = page.Next
	}
}

// Start starts the run that goes on: a fork under its own id, a reopened run under the
// id of the closed one. It begins with the snapshot, or with one that is derived from it
// and ends earlier, which is then the plan's.
func (a *Restoring) Start(ctx context.Context, in step.Restoring) (step.Restoring, error) {
	stop := beating(ctx)
	defer stop()
	store := a.Snapshot.Recovery
	kept, err := store.Restored(ctx, in.Restored.Restore.ID)
	if err != nil {
		return in, fmt.Errorf("read restore %s: %w", in.Restored.Restore.ID, err)
	}
	dead := in.Restored.Dead
	in.Restored = kept
	workflowID, firstRunID := splitRunID(kept.Into)
	if ended(kept) || firstRunID != "" {
		return in, nil // it has been started
	}
	base, moved, err := a.base(ctx, in)
	if err != nil {
		return in, err
	}
	kept.Plan.Snapshot, kept.Plan.At, kept.State, kept.Dead = &base, base.At, wflo.RestoreRestoring, dead
	if moved != "" {
		kept.Plan.Moved = moved
	}
	if err := note(ctx, store, a.Snapshot.Audit, in.Run, kept); err != nil {
		return in, err
	}
	in.Restored = kept
	return in, a.start(ctx, in, base, workflowID)
}

func (a *Restoring) start(ctx context.Context, in step.Restoring, base wflo.Snapshot, workflowID string) error {
	r := in.Restored
	if latest, err := a.Runs.Describe(ctx, workflowID, ""); err == nil && latest.Restore == r.Restore.ID {
		return nil
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("describe %s: %w", workflowID, err)
	}
	state, err := readState(ctx, a.Snapshot.Blobs, base)
	if err != nil {
		return err
	}
	s := RunStart{
		WorkflowID: workflowID, Workflow: state.Workflow, TaskQueue: in.TaskQueue, Run: in.Run, Input: state.Input, Header: state.Header,
		Restore: r.Restore.ID,
	}
	if r.Plan.Mode == wflo.RestoreFork {
		s.Fresh, s.ForkedFrom = true, r.From
	}
	if from, err := a.Runs.Describe(ctx, in.Run.WorkflowID, in.Run.FirstRunID); err == nil {
		s.ExecutionTimeout, s.RunTimeout, s.TaskTimeout = from.ExecutionTimeout, from.RunTimeout, from.TaskTimeout
	}
	_, err = a.Runs.Start(ctx, s)
	if errors.Is(err, wflo.ErrConflict) {
		if latest, descErr := a.Runs.Describe(ctx, workflowID, ""); descErr == nil && latest.Restore == r.Restore.ID {
			return nil // an earlier attempt started it
		}
	}
	if err != nil {
		return fmt.Errorf("start run %s: %w", workflowID, err)
	}
	return nil
}

// base is the snapshot that the run begins with, and why it is of an earlier moment.
func (a *Restoring) base(ctx context.Context, in step.Restoring) (s wflo.Snapshot, moved string, err error) {
	r := in.Restored
	store := a.Snapshot.Recovery
	id := derivedID("base", r.Restore.ID)
	if s, err = store.Snapshot(ctx, id); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return s, r.Plan.Moved, err
	}
	m, state, timed, err := a.outcomes(ctx, in)
	if err != nil {
		return s, "", err
	}
	rows, err := rowsOf(ctx, store, m.Run, in.Run)
	if err != nil {
		return s, "", err
	}
	kept, at := cutUndone(m, state.Outcomes, rows)
	if at == nil && !timed {
		return m, "", nil
	}
	from := r.Plan.Snapshot
	if at != nil && from != nil && from.Seq >= at.Seq {
		if from, err = a.before(ctx, *from, at.Seq); err != nil {
			return s, "", err
		}
	}
	state.Outcomes = kept
	m.ID, m.Name, m.Kind, m.Step, m.Digest, m.Height = id, "", wflo.SnapshotAuto, "", "", in.Height
	m.Seq, m.Parts, m.Gates = 0, nil, nil
	if n := len(kept); n > 0 {
		m.Seq, m.At = kept[n-1].Seq, kept[n-1].At
	}
	if err := a.Snapshot.capture(ctx, &m, step.Capture{Snapshot: m, State: state}, id); err != nil {
		return s, "", err
	}
	if from != nil {
		takeParts(&m, *from)
	}
	s, err = a.Snapshot.save(ctx, m)
	return s, movedText(at), err
}

// outcomes are what the run knew at the moment that the restore names, with a manifest
// that describes them. timed says that they are not just those of that snapshot.
func (a *Restoring) outcomes(ctx context.Context, in step.Restoring) (m wflo.Snapshot, state step.State, timed bool, err error) {
	to, at := in.Restored.Plan.Snapshot, in.Restored.Restore.To.Time
	if !at.IsZero() && !in.Unknown {
		page, err := a.journal(ctx, in)
		if err != nil {
			return m, state, false, err
		}
		if to != nil && sameBranch(to.Run, page.Run) || to == nil && page.Run.Generation == 0 && page.Run.Epoch == 0 {
			if plan := in.Restored.Plan; plan.Moved != "" && !plan.At.IsZero() {
				at = plan.At // the run knows why it cannot go on from later
			}
			return live(in, to, page), until(page.State, at), true, nil
		}
	}
	if to == nil {
		return m, state, false, wflo.Errorf(wflo.CodeConflict, "name a later time, or a snapshot", "nothing is kept of what run %s was at %s", in.Run.ID(), at.UTC().Format(time.RFC3339))
	}
	state, err = readState(ctx, a.Snapshot.Blobs, *to)
	return *to, state, false, err
}

// sameBranch says that what one of the two knew is part of what the other one knows.
func sameBranch(a, b wflo.Run) bool {
	return a.ID() == b.ID() && a.Generation == b.Generation && a.Epoch == b.Epoch
}

// live is a manifest for the journal of the run.
func live(in step.Restoring, to *wflo.Snapshot, page step.StatePage) wflo.Snapshot {
	m := wflo.Snapshot{Run: page.Run, RunID: in.RunID, TaskQueue: in.TaskQueue, At: page.State.Started}
	if to != nil {
		m.Spent, m.Calls, m.At = to.Spent, to.Calls, to.At
	}
	return m
}

// until leaves out what was later than a moment, or within a step that ended later: of what
// else happened in that step nothing is left. Activities and steps that ended later may have
// begun before.
func until(s step.State, at time.Time) step.State {
	steps := map[string]bool{}
	var kept []step.Outcome
	for _, o := range slices.Backward(s.Outcomes) {
		if !o.At.After(at) && (o.In == "" || !steps[o.In]) {
			kept = append(kept, o)
			continue
		}
		if o.Kind == step.OutcomeStep {
			steps[o.Key] = true
		}
		if o.Kind == step.OutcomeActivity || o.Kind == step.OutcomeStep {
			s.Pending = append(s.Pending, o.Key)
		}
	}
	slices.Reverse(kept)
	s.Outcomes = kept
	return s
}
