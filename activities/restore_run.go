package activities

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
)

// forkID is the workflow id of the run that a fork starts.
func forkID(r wflo.Restore) string {
	if r.NewID != "" {
		return r.NewID
	}
	return r.WorkflowID + "-" + r.ID
}

// Begin writes the restore down. One that the plan refuses is CodeConflict, and so is one
// of a run that another restore is taking back; one that died, because its workflow was
// terminated, is ended first. One that has begun before goes on as it is.
func (a *Restoring) Begin(ctx context.Context, in step.Restoring) (step.Restoring, error) {
	r, store := in.Restored, a.Snapshot.Recovery
	if refused, err := refuses(ctx, store, r); err != nil {
		return in, err
	} else if refused {
		return in, wflo.Errorf(wflo.CodeConflict, "see all of it with a dry run", "run %s is not taken back: %s", r.From, strings.Join(r.Plan.Refusals, "; "))
	}
	r.State, r.Epoch = wflo.RestorePlanned, in.Run.Epoch+1
	switch r.Plan.Mode {
	case wflo.RestoreFork:
		r.Into = unbound(forkID(r.Restore))
	case wflo.RestoreReopen:
		r.Into = unbound(in.Run.WorkflowID)
	default:
		r.Into = r.From
	}
	kept, err := store.BeginRestore(ctx, r)
	if errors.Is(err, wflo.ErrConflict) {
		buried, buryErr := a.bury(ctx, in.Run, r.Restore.ID)
		if buryErr != nil {
			return in, buryErr
		}
		if buried {
			kept, err = store.BeginRestore(ctx, r)
		}
	}
	if err != nil {
		return in, fmt.Errorf("begin restore %s: %w", r.Restore.ID, err)
	}
	if err := recordRestore(ctx, a.Snapshot.Audit, in.Run, kept); err != nil {
		return in, err
	}
	in.Restored = kept
	return in, nil
}

// refuses says that the plan refuses the restore. One that has begun was not refused then.
func refuses(ctx context.Context, s Restores, r wflo.Restored) (bool, error) {
	if len(r.Plan.Refusals) == 0 {
		return false, nil
	}
	_, err := s.Restored(ctx, r.Restore.ID)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return err != nil, nil
	}
	return false, fmt.Errorf("read restore %s: %w", r.Restore.ID, err)
}

// bury ends restores of a run whose workflow is over and that nobody carries on: of those
// in place the run itself does, once it was asked.
func (a *Restoring) bury(ctx context.Context, run wflo.Run, but string) (buried bool, err error) {
	all, err := a.Snapshot.Recovery.ListRestores(ctx, run.ID())
	if err != nil {
		return false, fmt.Errorf("read the restores of run %s: %w", run.ID(), err)
	}
	for _, r := range all {
		if r.Restore.ID == but || r.From != run.ID() || ended(r) {
			continue
		}
		alive, err := a.carried(ctx, r)
		if err != nil {
			return false, err
		}
		if alive {
			continue
		}
		r.State, r.Error = wflo.RestoreFailed, "its workflow ended before it was done"
		if err := note(ctx, a.Snapshot.Recovery, a.Snapshot.Audit, run, r); err != nil {
			return false, err
		}
		buried = true
	}
	return buried, nil
}

func ended(r wflo.Restored) bool {
	return r.State == wflo.RestoreDone || r.State == wflo.RestoreFailed
}

// carried says that somebody is there to end a restore.
func (a *Restoring) carried(ctx context.Context, r wflo.Restored) (bool, error) {
	own, err := a.Runs.Describe(ctx, wflo.RestoreWorkflowID(r.Restore.ID), "")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return true, fmt.Errorf("describe restore %s: %w", r.Restore.ID, err)
	}
	if err == nil && own.Open {
		return true, nil
	}
	if r.State == wflo.RestorePlanned && r.Plan.Mode != "" {
		return false, nil // the run has not begun to go back
	}
	open, _, err := a.goesOn(ctx, r)
	return open, err
}

// goesOn says that the run is open which a restore leads to, if there is one yet.
func (a *Restoring) goesOn(ctx context.Context, r wflo.Restored) (open, known bool, err error) {
	workflowID, firstRunID := splitRunID(r.Into)
	info, err := a.Runs.Describe(ctx, workflowID, firstRunID)
	if errors.Is(err, fs.ErrNotExist) {
		return false, false, nil
	}
	if err != nil {
		return false, false, fmt.Errorf("describe run %s: %w", r.Into, err)
	}
	if firstRunID == "" && info.Restore != r.Restore.ID {
		return false, false, nil // a run before it
	}
	return info.Open, true, nil
}

// Ask hands an in-place restore to its run, unless the run is at it already. It returns
// when the run has begun to go back, or has refused.
func (a *Restoring) Ask(ctx context.Context, in step.Restoring) (step.Restoring, error) {
	stop := beating(ctx)
	defer stop()
	for {
		kept, err := a.Snapshot.Recovery.Restored(ctx, in.Restored.Restore.ID)
		if err != nil {
			return in, fmt.Errorf("read restore %s: %w", in.Restored.Restore.ID, err)
		}
		if kept.State != wflo.RestorePlanned {
			in.Restored = kept
			return in, nil
		}
		info, err := a.Runs.Describe(ctx, in.Run.WorkflowID, in.Run.FirstRunID)
		if err != nil {
			return in, fmt.Errorf("describe run %s: %w", in.Run.ID(), err)
		}
		if !info.Open {
			return in, wflo.Errorf(wflo.CodeConflict, "open it again with the mode reopen", "run %s ended before it was taken back", in.Run.ID())
		}
		order := kept.Restore
		order.Mode = wflo.RestoreInPlace
		if order.Plan != "" {
			order.Plan = in.Digest // the run knows its own plan, without what the stores add
		}
		err = a.Runs.Update(ctx, info, order.ID, wflo.UpdateRestore, order)
		if err == nil {
			in.Restored = kept
			return in, nil
		}
		// A run that continued as new meanwhile has another run of Temporal's.
		if !errors.Is(err, fs.ErrNotExist) {
			return in, fmt.Errorf("ask run %s to go back: %w", in.Run.ID(), err)
		}
		if err := pause(ctx, a.poll()); err != nil {
			return in, err
		}
	}
}

func (a *Restoring) poll() time.Duration {
	if a.Poll == 0 {
		return 250 * time.Millisecond
	}
	return a.Poll
}

// maxPoll is how seldom a restore under way is looked at.
const maxPoll = 15 * time.Second

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// Follow waits until the restore has ended. Where the run ends instead that it leads to,
// it has failed.
func (a *Restoring) Follow(ctx context.Context, in step.Restoring) (wflo.Restored, error) {
	stop := beating(ctx)
	defer stop()
	id := in.Restored.Restore.ID
	gone := false
	for wait := a.poll(); ; wait = min(2*wait, maxPoll) {
		kept, err := a.Snapshot.Recovery.Restored(ctx, id)
		if err != nil {
			return kept, fmt.Errorf("read restore %s: %w", id, err)
		}
		if ended(kept) {
			return kept, nil
		}
		if gone { // and it has not noted anything in between
			kept.State, kept.Error = wflo.RestoreFailed, "the run "+kept.Into+" ended before it had gone back"
			return kept, note(ctx, a.Snapshot.Recovery, a.Snapshot.Audit, in.Run, kept)
		}
		open, known, err := a.goesOn(ctx, kept)
		if err != nil {
			return kept, err
		}
		if gone = known && !open; gone {
			continue
		}
		if err := pause(ctx, wait); err != nil {
			return kept, err
		}
	}
}

// Fail notes why a restore ended before its run had gone back. One that has ended, or that its
// run carries out, stays as it is, and one that never began is nowhere.
func (a *Restoring) Fail(ctx context.Context, r wflo.Restored) (wflo.Restored, error) {
	store := a.Snapshot.Recovery
	kept, err := store.Restored(ctx, r.Restore.ID)
	if errors.Is(err, fs.ErrNotExist) {
		r.State = wflo.RestoreFailed
		return r, nil
	}
	if err != nil {
		return r, fmt.Errorf("read restore %s: %w", r.Restore.ID, err)
	}
	// A run that goes back itself says so before, and ends the record.
	if ended(kept) || kept.State != wflo.RestorePlanned && kept.From == kept.Into {
		return kept, nil
	}
	kept.State, kept.Error = wflo.RestoreFailed, r.Error
	if len(r.Dead) > 0 {
		kept.Dead = r.Dead
	}
	run, _ := wflo.RunFrom(ctx)
	if s := kept.Plan.Snapshot; s != nil {
		run = s.Run
	}
	if err := note(ctx, store, a.Snapshot.Audit, run, kept); err != nil {
		return kept, err
	}
	return store.Restored(ctx, r.Restore.ID)
}
