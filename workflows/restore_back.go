package workflows

import (
	"fmt"
	"slices"
	"time"

	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
)

const (
	// firstRetry is how long a restored run that cannot have its past back waits before it
	// asks again, and longestRetry how long it waits in the end: each try is in its history.
	firstRetry   = 5 * time.Second
	longestRetry = 15 * time.Minute
)

// errComingBack is what a run answers that does not know its past yet.
var errComingBack = wflo.Errorf(wflo.CodeConflict, "see what it waits for with wflo status; halt it to restore another snapshot",
	"the run is coming back from a snapshot, and does not know its past yet")

// comeBack makes a restored run know what it keeps, before its code begins.
func (st *state) comeBack(ctx workflow.Context) error {
	// Policies and gates have no say in it; that the run is to end has.
	governed := ctx
	ctx = workflow.WithValue(ctx, compensatingKey{}, true)
	back := st.fromCarry
	if st.back == nil {
		if interceptor.WorkflowHeader(st.journal.root)[wflo.HeaderRestore] == nil || workflow.GetInfo(ctx).ContinuedExecutionRunID != "" {
			return nil
		}
		back = st.fromStore
	}
	st.phase, st.journal.loading = wflo.StateRestoring, true
	r, err := back(ctx)
	if err == nil {
		err = st.pinAgain(governed)
	}
	if err == nil {
		r.State = wflo.RestoreDone
		err = st.insist(ctx, "note that restore "+r.Restore.ID+" is done", func(ctx workflow.Context) error {
			return st.noteRestore(ctx, r)
		})
	}
	if err != nil {
		if r.Restore.ID != "" {
			st.noteFailed(st.unstoppable(ctx), r, err)
		}
		return err
	}
	st.phase, st.journal.loading, st.returning = wflo.StateRunning, false, ""
	return nil
}

// insist does again and again what a run cannot go back, or begin again, without, until it
// is done or the run is to end: that a store cannot be read, or that a blob is damaged, is
// no reason to undo what the run did.
func (st *state) insist(ctx workflow.Context, what string, do func(workflow.Context) error) error {
	ctx = workflow.WithValue(ctx, insistKey{}, true)
	ctx = workflow.WithValue(ctx, fixedKey{}, &fixed{}) // every try is the same effect
	st.doing = what
	for wait := firstRetry; ; wait = min(2*wait, longestRetry) {
		err := do(ctx)
		switch {
		case err == nil:
			st.doing = ""
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("%s: %w", what, firstOf(st.haltedOrNil(), ctx.Err()))
		case isForged(err):
			return err
		}
		st.doing = fmt.Sprintf("wait to %s: %s", what, cause(err))
		workflow.GetLogger(ctx).Error("a run that is being restored waits", "what", what, "error", err.Error(), "again_in", wait.String())
		// That the run is to end is found when it is tried again.
		_ = workflow.NewTimerWithOptions(ctx, wait, workflow.TimerOptions{Summary: "try again to " + clip(what, 150)}).Get(ctx, nil)
	}
}

func (st *state) haltedOrNil() error {
	if st.halted == nil {
		return nil
	}
	return st.haltedError()
}

// forgedError says that the header which names a restore does not count.
type forgedError struct{ err error }

func (e *forgedError) Error() string { return e.err.Error() }
func (e *forgedError) Unwrap() error { return e.err }

func isForged(err error) bool {
	_, ok := err.(*forgedError) //nolint:errorlint // nobody wraps it
	return ok
}

// fromCarry takes over what the run before went back to.
func (st *state) fromCarry(ctx workflow.Context) (wflo.Restored, error) {
	b := st.back
	st.returning = b.Restored.Restore.ID
	var loaded step.Loaded
	err := st.insist(ctx, "load snapshot "+b.Snapshot, func(ctx workflow.Context) (err error) {
		loaded, err = step.SnapshotLoad.Do(saver(ctx, "load snapshot "+b.Snapshot), b.Snapshot)
		return fromWire(err)
	})
	if err != nil {
		return b.Restored, err
	}
	st.journal.refs = b.Refs
	b.Restored.State = wflo.RestoreDone
	return b.Restored, st.resume(ctx, loaded, b.Keep, b.Parts)
}

// fromStore is fromCarry for a run that a fork or a reopening started. Anybody may send
// the header; what it names counts only if the store says so.
func (st *state) fromStore(ctx workflow.Context) (r wflo.Restored, err error) {
	var id string
	if err := st.decode(interceptor.WorkflowHeader(st.journal.root)[wflo.HeaderRestore], &id); err != nil {
		return r, fmt.Errorf("read header %s: %w", wflo.HeaderRestore, err)
	}
	st.returning = id
	var loaded step.Loaded
	var stack []*compensation
	err = st.insist(ctx, "load restore "+id, func(ctx workflow.Context) (err error) {
		if loaded, err = step.SnapshotLoad.Do(saver(ctx, "load restore "+id), id); err != nil {
			return unbelieved(fromWire(err))
		}
		if loaded.Restore == nil {
			return unbelieved(wflo.Invalid("header "+wflo.HeaderRestore, "names a snapshot and no restore", "start runs from snapshots with wflo restore"))
		}
		stack, err = adoptRows(loaded.Stack)
		return err
	})
	if err != nil {
		return r, fmt.Errorf("restore %s: %w", id, err)
	}
	r = wflo.Restored{Restore: *loaded.Restore, Into: st.run.ID(), Epoch: loaded.Epoch, Plan: wflo.RestorePlan{Snapshot: &loaded.Snapshot, Mode: loaded.Restore.Mode}}
	st.run.Epoch, st.run.Generation = loaded.Epoch, loaded.State.Generation
	st.stack = append(st.stack, stack...)
	st.inheritFrom(loaded.Inherits)
	return r, st.resume(ctx, loaded, loaded.Snapshot.Seq, loaded.Parts)
}

// adoptRows are the compensations that a run takes over from the one that it goes on for.
func adoptRows(rows []wflo.CompensationRecord) ([]*compensation, error) {
	stack := make([]*compensation, len(rows))
	for i, r := range rows {
		c, err := adoptRow(r)
		if err != nil {
			return nil, err
		}
		stack[i] = c
	}
	return stack, nil
}

// unbelieved marks the store's refusal of what a header names: waiting does not help.
func unbelieved(err error) error {
	if wflo.CodeOf(err) == wflo.CodeInvalid {
		return &forgedError{err}
	}
	return err
}

// resume gives the run its past and its parts.
func (st *state) resume(ctx workflow.Context, l step.Loaded, keep int, parts wflo.Parts) error {
	j := st.journal
	var kept []step.Outcome
	for _, o := range l.State.Outcomes {
		switch {
		case o.In == earlier:
			p := onlyPayload(o.Result)
			j.inherited[o.Key], st.memo[o.Key] = p, p
		case o.Seq <= keep:
			kept = append(kept, o)
		}
	}
	j.keep(kept, l.State)
	if p := l.Snapshot.Part(wflo.PartState, ""); p != nil && keep >= l.Snapshot.Seq && l.Moved == "" {
		j.base, j.saved = slices.Clone(p.Blobs), l.Snapshot.Seq
	}
	j.seq = max(j.seq, l.Snapshot.Seq)
	if !parts.Workspace && len(parts.Tables) == 0 {
		return nil
	}
	st.boxed = st.boxed || parts.Workspace
	what := "bring back snapshot " + l.Snapshot.ID
	return st.insist(ctx, what, func(ctx workflow.Context) error {
		_, err := step.SnapshotBring.Do(saver(ctx, what), step.Bring{Snapshot: l.Snapshot.ID, Parts: parts})
		return fromWire(err)
	})
}
