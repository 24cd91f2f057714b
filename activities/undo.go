package activities

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
)

// Undo writes down what becomes of compensations. Its methods are registered as
// activities, and may be repeated.
type Undo struct {
	// Store keeps compensations. Nil means that this worker keeps none: then none can be
	// registered, and no effect that has one begins.
	Store Compensations
	// Records has the trail, in which dead letters stand. Nil means no trail.
	Records Audit
	// Logger gets one line for every dead letter. Required.
	Logger *slog.Logger
}

// undoBatch bounds what one answer of List holds.
const undoBatch = 100

// Note writes down what a run says about its compensations. Where the store knows
// better, because a sweep or a person was there before, that stays: such changes are
// left out.
func (u *Undo) Note(ctx context.Context, n step.CompensationNotes) (step.None, error) {
	if u.Store == nil {
		return step.None{}, keepsNone()
	}
	run, _ := wflo.RunFrom(ctx)
	n, err := u.own(ctx, run, n)
	if err != nil {
		return step.None{}, err
	}
	err = u.Store.NoteCompensations(ctx, run, n)
	if errors.Is(err, wflo.ErrConflict) && (len(n.Marks) > 0 || len(n.Kept) > 0) {
		// New ones first: no mark may keep them out.
		if err = u.Store.NoteCompensations(ctx, run, step.CompensationNotes{New: n.New}); err == nil {
			n.New = nil
			if n, err = u.possible(ctx, n); err == nil {
				err = u.Store.NoteCompensations(ctx, run, n)
			}
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return step.None{}, wflo.Errorf(wflo.CodeConflict, "find out who changed the database", "a compensation of run %s is not there any more: %w", run.ID(), err)
	}
	if err != nil {
		return step.None{}, fmt.Errorf("note compensations of run %s: %w", run.ID(), err)
	}
	return step.None{}, u.mourn(ctx, n.Marks)
}

// own leaves dead letters out that another run has taken over meanwhile: that its undoing
// was refused here says nothing of them.
func (u *Undo) own(ctx context.Context, run wflo.Run, n step.CompensationNotes) (step.CompensationNotes, error) {
	var marks []step.CompensationMark
	for _, m := range n.Marks {
		if m.State == wflo.CompensationDead {
			r, err := u.Store.Compensation(ctx, m.ID)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return n, fmt.Errorf("read compensation %s: %w", m.ID, err)
			}
			if err == nil && r.Run.ID() != run.ID() {
				continue
			}
		}
		marks = append(marks, m)
	}
	n.Marks = marks
	return n, nil
}

// possible leaves out what cannot come after what the store has.
func (u *Undo) possible(ctx context.Context, n step.CompensationNotes) (step.CompensationNotes, error) {
	out := step.CompensationNotes{New: n.New, Closed: n.Closed}
	for _, m := range n.Marks {
		r, err := u.Store.Compensation(ctx, m.ID)
		if err != nil {
			return n, fmt.Errorf("read compensation %s: %w", m.ID, err)
		}
		if r.State.May(m.State) {
			out.Marks = append(out.Marks, m)
		}
	}
	for _, id := range n.Kept {
		r, err := u.Store.Compensation(ctx, id)
		if err != nil {
			return n, fmt.Errorf("read compensation %s: %w", id, err)
		}
		if r.State.May(wflo.CompensationKept) {
			out.Kept = append(out.Kept, id)
		}
	}
	return out, nil
}

// mourn puts dead letters into the trail.
func (u *Undo) mourn(ctx context.Context, marks []step.CompensationMark) error {
	for _, m := range marks {
		if m.State != wflo.CompensationDead {
			continue
		}
		r, err := u.Store.Compensation(ctx, m.ID)
		if err != nil {
			return fmt.Errorf("read compensation %s: %w", m.ID, err)
		}
		u.Logger.ErrorContext(ctx, "a compensation failed for good, and waits for a person", "compensation", r.ID, "name", r.Name, "run", r.Run.ID(), "error", m.Error)
		if u.Records == nil {
			continue
		}
		if err := u.Records.Append(ctx, CompensationEvent(r, wflo.AuditCompensationDead, workerName, m.Error, r.ChangedAt)); err != nil {
			return fmt.Errorf("record the dead letter %s: %w", m.ID, err)
		}
	}
	return nil
}

// CompensationEvent is what the trail has about a compensation: what happened to it,
// when, by whom, and why. Two of one type, actor and time are the same.
func CompensationEvent(r wflo.CompensationRecord, t wflo.AuditType, by, reason string, at time.Time) wflo.AuditEvent {
	severity := wflo.SeverityWarning
	if t == wflo.AuditCompensationDead {
		severity = wflo.SeverityError
	}
	detail, err := json.Marshal(wflo.AuditCompensation{
		ID: r.ID, Name: r.Name, Activity: r.Activity, State: r.State, Height: r.Height, Reason: reason,
	})
	if err != nil {
		panic(err) // text and numbers only
	}
	return wflo.AuditEvent{
		ID:    fmt.Sprintf("undo:%s:%s:%s:%d", r.ID, t, by, at.UnixNano()),
		Chain: r.Run.AuditChain(), At: at, Type: t, Severity: severity, Actor: by,
		Namespace: r.Run.Namespace, WorkflowID: r.Run.WorkflowID, FirstRunID: r.Run.FirstRunID, Step: r.Step, Data: detail,
	}
}

// List reads what an order is about: the compensations with its IDs that somebody may
// still have undone, or what a run has left, at most 100 at a time, the highest first.
func (u *Undo) List(ctx context.Context, o wflo.CompensationOrder) ([]wflo.CompensationRecord, error) {
	if u.Store == nil {
		return nil, keepsNone()
	}
	if err := o.Validate(); err != nil {
		return nil, err
	}
	var out []wflo.CompensationRecord
	for _, id := range o.IDs {
		r, err := u.Store.Compensation(ctx, id)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, wflo.Errorf(wflo.CodeInvalid, "list compensations, and take the ID of one", "there is no compensation %s", id)
		}
		if err != nil {
			return nil, fmt.Errorf("read compensation %s: %w", id, err)
		}
		if !r.State.Ended() {
			out = append(out, r)
		}
	}
	if o.RunID == "" {
		return out, nil
	}
	return u.left(ctx, o)
}

// Open are the states of compensations that nobody has given up on, and that have not
// ended.
func Open() []wflo.CompensationState {
	return []wflo.CompensationState{wflo.CompensationRegistered, wflo.CompensationExecuted, wflo.CompensationUnknown, wflo.CompensationRunning}
}

// left reads what a run has left above a height.
func (u *Undo) left(ctx context.Context, o wflo.CompensationOrder) ([]wflo.CompensationRecord, error) {
	q := CompensationQuery{Run: o.RunID, States: Open(), Limit: undoBatch}
	if o.Kept {
		q.States = append(q.States, wflo.CompensationKept)
	}
	rows, err := u.Store.ListCompensations(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("list compensations of run %s: %w", o.RunID, err)
	}
	for i, r := range rows {
		if r.Height <= o.Above { // the highest are first
			return rows[:i], nil
		}
	}
	return rows, nil
}

// Begin says that an effect begins which no activity of the run brings about.
func (u *Undo) Begin(ctx context.Context, ids []string) (step.None, error) {
	return step.None{}, beginEffect(ctx, u.Store, ids)
}

func beginEffect(ctx context.Context, store Compensations, ids []string) error {
	if store == nil {
		return keepsNone()
	}
	err := store.BeginEffect(ctx, ids...)
	switch {
	case errors.Is(err, wflo.ErrConflict):
		return wflo.Errorf(wflo.CodeConflict, "start a new run, or restore this one: that gives its effects new keys",
			"the effect was undone before it began: %w", err)
	case errors.Is(err, fs.ErrNotExist):
		return wflo.Errorf(wflo.CodeConflict, "let all workers of the task queue have the same database", "an effect begins whose compensation is not kept here: %w", err)
	case err != nil:
		return fmt.Errorf("begin an effect that can be undone: %w", err)
	}
	return nil
}

func keepsNone() error {
	return wflo.Errorf(wflo.CodeInvalid, "give the worker a database that keeps compensations", "this worker keeps no compensations")
}
