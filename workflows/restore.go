package workflows

import (
	"errors"
	"fmt"
	"slices"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
)

const (
	// maxRestores bounds how often a run is taken back: a run that fails in the same way
	// each time would go on for ever.
	maxRestores = 10
	// stopPatience is how long a restore waits for activities that were asked to stop.
	stopPatience = 10 * time.Minute
)

// back is how a run came to be restored, as its predecessor wrote it.
type back struct {
	Restored wflo.Restored `json:"restored"`
	Snapshot string        `json:"snapshot"`
	Keep     int           `json:"keep"` // the last outcome that is kept
	Parts    wflo.Parts    `json:"parts,omitzero"`
	// Refs are the snapshots that the run knew of.
	Refs []wflo.SnapshotRef `json:"refs,omitempty"`
}

// restoring is a restore that is under way.
type restoring struct {
	order wflo.Restore
	plan  wflo.RestorePlan
	state step.State
	// snap is what the parts are of; nil for a time before the first. at is the time that
	// is gone back to, where there is no snapshot of it.
	snap *wflo.Snapshot
	at   time.Time
	// found is the snapshot that was asked for, or the latest until the time that was.
	found *wflo.Snapshot
	// keep is the last outcome that is kept, height how many compensations are.
	keep, height int
	pre          string
	// whole is the context of the whole run, which the restore does not stop; cancelled
	// says that somebody had cancelled it before.
	whole     workflow.Context
	cancelled bool
}

// restoreError is what Restore gives to code, to return it.
type restoreError struct{ to string }

func (e *restoreError) Error() string { return "the run goes back to snapshot " + e.to }

// Restore takes the run back to a snapshot of its own, by ID or name. The workflow
// returns the error that it gets, like one of continuing as new:
//
//	return workflows.Restore(ctx, snap.ID)
//
// What was registered since is undone, parts are brought back, and the code runs again
// from its top: what it did before the snapshot is answered from the journal. Money
// stays spent. A run goes back at most 10 times. Where there is no such snapshot, or its
// parts cannot be brought back, the error is another one, and the code may go on.
func Restore(ctx workflow.Context, idOrName string) error {
	st, err := stateOf(ctx)
	switch {
	case err != nil:
		return err
	case st.journal == nil:
		return errNoJournal
	case idOrName == "":
		return wflo.Invalid("workflows.Restore", "names no snapshot", "give the ID or the name of one that the run took")
	}
	if err := st.canBring(ctx, idOrName); err != nil {
		return fmt.Errorf("restore %s: %w", idOrName, err)
	}
	return &restoreError{idOrName}
}

// stopping says that the run is being restored.
func (st *state) stopping() bool { return st.restoring != nil }

// askedBack says that the code returned what Restore gave it.
func (st *state) askedBack(err error) bool {
	var r *restoreError
	return errors.As(err, &r) && st.journal != nil
}

// recoveryHandlers registers what takes a run back from outside.
func (st *state) recoveryHandlers(ctx workflow.Context) error {
	if err := workflow.SetQueryHandler(ctx, wflo.QueryPlan, st.planByQuery); err != nil {
		return fmt.Errorf("set query %s: %w", wflo.QueryPlan, err)
	}
	if err := workflow.SetQueryHandler(ctx, wflo.QueryState, st.statePage); err != nil {
		return fmt.Errorf("set query %s: %w", wflo.QueryState, err)
	}
	if err := workflow.SetUpdateHandlerWithOptions(ctx, wflo.UpdateSnapshot, st.snapshotByUpdate, workflow.UpdateHandlerOptions{
		Description: "Take a snapshot of the run", Validator: st.maySave,
	}); err != nil {
		return fmt.Errorf("set update %s: %w", wflo.UpdateSnapshot, err)
	}
	if err := workflow.SetUpdateHandlerWithOptions(ctx, wflo.UpdateRestore, st.restoreByUpdate, workflow.UpdateHandlerOptions{
		Description: "Take the run back to an earlier moment", Validator: st.mayRestore,
	}); err != nil {
		return fmt.Errorf("set update %s: %w", wflo.UpdateRestore, err)
	}
	return nil
}

// mayRestore refuses a restore that cannot be, without a trace in history.
func (st *state) mayRestore(_ workflow.Context, r wflo.Restore) error {
	if err := r.Validate(); err != nil {
		return toWire(err)
	}
	return toWire(st.restorable(r))
}

func (st *state) restorable(r wflo.Restore) error {
	if st.journal == nil {
		return errNoJournal
	}
	same := st.restoring != nil && st.restoring.order.ID == r.ID || st.back != nil && st.back.Restored.Restore.ID == r.ID
	switch {
	case same:
		return nil
	case st.journal.loading && !st.ended:
		return errComingBack
	case r.Mode != "" && r.Mode != wflo.RestoreInPlace:
		return wflo.Invalid("restore.mode", fmt.Sprintf("is %q", string(r.Mode)), "start the workflow wflo.Restore for forks and for closed runs")
	case r.WorkflowID != st.run.WorkflowID || r.FirstRunID != "" && r.FirstRunID != st.run.FirstRunID:
		return wflo.Invalid("restore.workflow_id", "is another run", "send it to the run that it names")
	case st.ended:
		return wflo.Errorf(wflo.CodeConflict, "reopen it when it has ended", "run %s is ending", st.run.WorkflowID)
	case st.halted != nil:
		return st.haltedError()
	case st.stopping() || st.seeking != "" && st.seeking != r.ID:
		return wflo.Errorf(wflo.CodeConflict, "wait until it has ended", "run %s is being restored by another request", st.run.WorkflowID)
	case st.run.Epoch >= maxRestores && !r.DryRun:
		return wflo.Errorf(wflo.CodeConflict, "fork it instead", "run %s was restored %d times, which is as often as it may be", st.run.WorkflowID, st.run.Epoch)
	case r.To.Time.After(workflow.Now(st.journal.root)):
		return wflo.Invalid("restore.to", "is in the future", "give a time that has been")
	}
	return nil
}

// restoreByUpdate looks at what an operator asks for, and has the run go back.
func (st *state) restoreByUpdate(ctx workflow.Context, r wflo.Restore) (wflo.Restored, error) {
	_ = workflow.Await(st.unstoppable(ctx), func() bool { return st.seeking != r.ID }) // it may be asked for twice at once
	if err := st.restorable(r); err != nil {                                           // something else may have begun since
		return wflo.Restored{}, toWire(err)
	}
	if b := st.back; b != nil && b.Restored.Restore.ID == r.ID {
		return b.Restored, nil
	}
	if st.restoring == nil {
		g, err := st.seek(ctx, r)
		if err != nil {
			return wflo.Restored{}, toWire(err)
		}
		if r.DryRun {
			return g.record(st, wflo.RestorePlanned), nil
		}
		st.restoring = g
	}
	return st.restoring.record(st, wflo.RestorePlanned), nil
}

// seek prepares a restore and does what may refuse it, while the code still runs: from
// here on the run goes back.
func (st *state) seek(ctx workflow.Context, r wflo.Restore) (*restoring, error) {
	st.seeking = r.ID
	defer func() { st.seeking = "" }()
	cancelled := ctx.Err() != nil
	ctx = st.unstoppable(ctx)
	g, err := st.prepare(ctx, r)
	if err != nil {
		return g, err
	}
	if r.DryRun {
		if err := st.checkParts(ctx, g); err != nil {
			g.plan.Refusals = append(g.plan.Refusals, err.Error())
		}
		return g, nil
	}
	g.cancelled = cancelled
	if err := st.checkParts(ctx, g); err != nil {
		return nil, err
	}
	// What is given up is saved when the code has stopped. That it can be is tried now.
	if _, err := st.journal.take(ctx, st.next("wflo.snapshot/try"), wflo.Snapshot{Kind: wflo.SnapshotAuto}, st.givenUp(g)); err != nil {
		return nil, fmt.Errorf("save what is given up: %w", err)
	}
	if err := st.restorable(r); err != nil {
		return nil, err
	}
	// The ID may be that of another restore, or of one that has ended.
	if err := st.noteRestore(ctx, g.record(st, wflo.RestoreCompensating)); err != nil {
		return nil, err
	}
	if err = st.restorable(r); err == nil {
		err = st.planNow(g) // the code went on meanwhile
	}
	if err != nil {
		st.noteFailed(ctx, g.record(st, wflo.RestoreFailed), err)
		return nil, err
	}
	return g, nil
}

// record is how far the restore is.
func (g *restoring) record(st *state, state wflo.RestoreState) wflo.Restored {
	plan := g.plan
	plan.Shorten()
	return wflo.Restored{
		Restore: g.order, State: state, Plan: plan, From: st.run.ID(), Into: st.run.ID(), Epoch: st.run.Epoch + 1, PreRestore: g.pre,
	}
}

// prepare finds where a restore goes, and what it means. It changes nothing.
func (st *state) prepare(ctx workflow.Context, r wflo.Restore) (*restoring, error) {
	j := st.journal
	if err := j.drained(ctx); err != nil {
		return nil, err
	}
	g := &restoring{order: r}
	snap, err := step.SnapshotFind.Do(saver(ctx, "find where to restore to"), step.Find{Run: st.run, To: r.To})
	err = fromWire(err)
	if err == nil {
		g.snap, g.found = &snap, &snap
	}
	past := st.knows(r, g.snap)
	if err != nil && (!past || wflo.CodeOf(err) != wflo.CodeInvalid) {
		return nil, err
	}
	if past {
		g.at = r.To.Time
		if g.state, err = j.stateAt(g.at); err != nil {
			return nil, err
		}
		g.keep, g.height = j.heightAt(g.at)
	} else {
		loaded, err := step.SnapshotLoad.Do(saver(ctx, "load snapshot "+snap.ID), snap.ID)
		if err != nil {
			return nil, fromWire(err)
		}
		g.state, g.keep, g.height = loaded.State, snap.Seq, snap.Height
		if g.plan.Moved = loaded.Moved; g.plan.Moved != "" {
			g.keep = lastOf(g.state.Outcomes)
		}
	}
	return g, st.planNow(g)
}

// planNow says what the restore means now, and whether that is what somebody looked at.
func (st *state) planNow(g *restoring) error {
	g.plan = wflo.RestorePlan{Moved: g.plan.Moved}
	st.planFor(g)
	shown, err := st.planByQuery(step.PlanQuery{Restore: g.order, Snapshot: g.found})
	if err == nil {
		g.plan.Digest = shown.Digest
		err = g.order.PlanChanged(shown.Digest)
	}
	if err != nil && !g.order.DryRun {
		return err
	}
	if len(g.plan.Irreversible) > 0 && !g.order.AcceptIrreversible && !g.order.DryRun {
		return refuseIrreversible(g.plan.Irreversible)
	}
	return nil
}

// stopCode ends what the run does, as far as it lets itself be ended.
func (st *state) stopCode(ctx workflow.Context, done func() bool) error {
	st.phase = wflo.StateRestoring
	st.stop()
	j := st.journal
	_, err := workflow.AwaitWithOptions(silent(j.root), workflow.AwaitOptions{
		Timeout: stopPatience, TimerOptions: workflow.TimerOptions{Summary: "restore: wait for what is running"},
	}, func() bool {
		return (done() || !slices.ContainsFunc(j.calls, func(c *call) bool { return c.inner != nil })) &&
			workflow.AllHandlersFinished(ctx)
	})
	return err
}

// goBack takes the run back, and gives the error that continues it as new. reason is
// what the code returned.
func (st *state) goBack(ctx, whole workflow.Context, reason error) error {
	ctx = st.unstoppable(ctx)
	if st.restoring == nil {
		var r *restoreError
		errors.As(reason, &r)
		order := wflo.Restore{
			ID: fmt.Sprintf("%s-%d", workflow.GetInfo(ctx).WorkflowExecution.RunID, st.run.Epoch+1), WorkflowID: st.run.WorkflowID, FirstRunID: st.run.FirstRunID,
			To: wflo.RestorePoint{Snapshot: r.to}, Mode: wflo.RestoreInPlace, AcceptIrreversible: true,
			By: "workflow", Reason: "its code asked for it",
		}
		err := st.restorable(order)
		var g *restoring
		if err == nil {
			g, err = st.prepare(ctx, order)
		}
		if err == nil {
			err = refuseDeclared(g.plan.Irreversible)
		}
		if err != nil {
			return fmt.Errorf("restore %s: %w", r.to, err)
		}
		g.cancelled = whole.Err() != nil
		st.restoring = g
		if err := st.stopCode(ctx, func() bool { return true }); err != nil {
			return err
		}
	}
	g := st.restoring
	g.whole, st.phase = whole, wflo.StateRestoring
	st.abandon(ctx)
	next, err := st.leave(ctx, g)
	if err == nil {
		return next
	}
	err = fmt.Errorf("restore %s: %w", g.order.ID, err)
	st.noteFailed(ctx, g.record(st, wflo.RestoreFailed), err)
	st.restoring = nil
	return err
}

// leave ends the branch that is given up. next continues the run as new, unless the run
// is to end: who cancels it means all of it, and the run that goes on would not know.
func (st *state) leave(ctx workflow.Context, g *restoring) (next, err error) {
	if err := st.giveUpAfter(st.untilEnded(ctx, g), g); err != nil {
		return nil, err
	}
	next = workflow.NewContinueAsNewError(ctx, g.state.Workflow, rawArgs(g.state.Input)...)
	st.settle(ctx)
	if g.ending() {
		return nil, g.whole.Err()
	}
	return next, nil
}

// ending says that somebody cancelled the run while it goes back.
func (g *restoring) ending() bool { return g.whole.Err() != nil && !g.cancelled }

// untilEnded is ctx until the run is halted, or cancelled.
func (st *state) untilEnded(ctx workflow.Context, g *restoring) workflow.Context {
	ctx, cancel := workflow.WithCancel(ctx)
	workflow.GoNamed(ctx, "end of the restore", func(ctx workflow.Context) {
		if err := workflow.Await(ctx, func() bool { return st.halted != nil || g.ending() }); err == nil {
			cancel()
		}
	})
	return ctx
}

// noteFailed writes down why a restore ends without having taken the run back.
func (st *state) noteFailed(ctx workflow.Context, r wflo.Restored, why error) {
	r.State, r.Error = wflo.RestoreFailed, cause(why)
	if _, err := step.RestoreNote.Do(saver(ctx, "the restore failed"), r); err != nil {
		workflow.GetLogger(ctx).Error("note the restore's end", "error", err.Error())
	}
}

// givenUp are the parts of which the restore gives up what is newer.
func (st *state) givenUp(g *restoring) wflo.Parts {
	parts := wflo.Parts{Workspace: st.boxed}
	if g.snap != nil {
		for _, p := range g.snap.Parts {
			if p.Kind == wflo.PartTables {
				parts.Tables = append(parts.Tables, p.Name)
			}
		}
	}
	return parts
}

// giveUpAfter saves what the restore gives up, and undoes it. The code has stopped: what
// cannot be saved or written down is waited for, since failing would undo everything.
func (st *state) giveUpAfter(ctx workflow.Context, g *restoring) error {
	key, past := st.next("wflo.snapshot/pre_restore"), st.next("wflo.snapshot/past")
	err := st.insist(ctx, "save what is given up", func(ctx workflow.Context) error {
		pre, err := st.journal.take(ctx, key, wflo.Snapshot{Kind: wflo.SnapshotPreRestore}, st.givenUp(g))
		g.pre = pre.ID
		return err
	})
	if err == nil && !g.at.IsZero() {
		err = st.insist(ctx, "save the moment "+g.at.UTC().Format(time.RFC3339), func(ctx workflow.Context) error {
			return st.journal.takePast(ctx, past, g)
		})
	}
	if err == nil {
		err = st.insistNoted(ctx, g.record(st, wflo.RestoreCompensating))
	}
	if err != nil {
		return err
	}
	why := fmt.Sprintf("restored by %s: %s", g.order.By, g.order.Reason)
	if err := st.undoAbove(ctx, g.height, why); err != nil {
		workflow.GetLogger(ctx).Error("undo what came after", "error", err.Error())
	}
	st.phase = wflo.StateRestoring
	restored := g.record(st, wflo.RestoreRestoring)
	restored.Dead = st.deadAbove(g.height)
	return st.insistNoted(ctx, restored)
}

func (st *state) insistNoted(ctx workflow.Context, r wflo.Restored) error {
	return st.insist(ctx, "note how far restore "+r.Restore.ID+" is", func(ctx workflow.Context) error { return st.noteRestore(ctx, r) })
}

func (st *state) deadAbove(height int) []wflo.CompensationRecord {
	var dead []wflo.CompensationRecord
	for i := height; i < len(st.stack); i++ {
		if st.stack[i].State == wflo.CompensationDead {
			dead = append(dead, st.stack[i].record(i+1))
		}
	}
	return dead
}

func (st *state) noteRestore(ctx workflow.Context, r wflo.Restored) error {
	if _, err := step.RestoreNote.Do(saver(ctx, "restore: "+string(r.State)), r); err != nil {
		return fmt.Errorf("note how far it is: %w", fromWire(err))
	}
	return nil
}

// takePast saves the state of an earlier moment; its parts are those of the snapshot
// before.
func (j *journal) takePast(ctx workflow.Context, key string, g *restoring) error {
	s := wflo.Snapshot{Kind: wflo.SnapshotAuto, At: g.at, Seq: g.keep, Height: g.height}
	c, err := j.capture(s, wflo.Parts{})
	if err != nil {
		return err
	}
	c.Base, c.State = nil, g.state
	if g.snap != nil {
		c.Inherit = g.snap.ID
	}
	saved, err := j.write(ctx, key, c)
	if err != nil {
		return err
	}
	g.snap, g.plan.Snapshot = &saved, &saved
	return nil
}

// handBack is what the restored run gets.
func (st *state) handBack(run wflo.Run, c carry) (wflo.Run, carry) {
	g := st.restoring
	run.Epoch, run.Generation = st.run.Epoch+1, g.state.Generation
	c.Generation, c.Memo, c.Rolled, c.Lapsed = run.Generation, nil, nil, nil
	c.Stack = c.Stack[:min(g.height, len(c.Stack))]
	c.Back = &back{Restored: g.record(st, wflo.RestoreRestoring), Snapshot: g.snap.ID, Keep: g.keep, Refs: st.journal.refs}
	c.Back.Parts = partsOf(g.snap, g.order.Parts)
	return run, c
}

// partsOf are the parts of a snapshot that are brought back.
func partsOf(s *wflo.Snapshot, wanted *wflo.Parts) wflo.Parts {
	var out wflo.Parts
	for _, p := range s.Parts {
		switch {
		case p.Kind == wflo.PartWorkspace && (wanted == nil || wanted.Workspace):
			out.Workspace = true
		case p.Kind == wflo.PartTables && (wanted == nil || slices.Contains(wanted.Tables, p.Name)):
			out.Tables = append(out.Tables, p.Name)
		}
	}
	return out
}

func rawArgs(p *commonpb.Payloads) []any {
	args := make([]any, len(p.GetPayloads()))
	for i, arg := range p.GetPayloads() {
		args[i] = converter.NewRawValue(arg)
	}
	return args
}

// signalsAfter are the signals that came after an outcome and are not read by what is
// kept.
func (j *journal) signalsAfter(keep int) []carriedSignal {
	var all []carriedSignal
	for _, o := range j.all {
		if o.Kind == step.OutcomeSignal && o.Seq > keep {
			all = append(all, carriedSignal{o.Key, o.Result})
		}
	}
	for _, s := range j.held {
		all = append(all, carriedSignal{s.SignalName, s.Arg})
	}
	return all
}
