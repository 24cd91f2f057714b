package activities

import (
	"context"
	"fmt"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/interceptor"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
)

// attempt makes one attempt of an activity, fenced against the undoing of its effect:
// an effect does not begin once it was undone, and what never began is not undone.
func (in *inbound) attempt(ctx context.Context, info activity.Info, input *interceptor.ExecuteActivityInput) (any, error) {
	header := interceptor.Header(ctx)
	if p, ok := header[wflo.HeaderEffect]; ok {
		var ids []string
		if err := in.cfg.Converter.FromPayload(p, &ids); err != nil || len(ids) == 0 {
			return nil, unreadable(info, wflo.HeaderEffect)
		}
		if err := beginEffect(ctx, in.store(), ids); err != nil {
			return nil, fmt.Errorf("activity %s: %w", info.ActivityType.Name, err)
		}
	}
	p, ok := header[wflo.HeaderUndoOf]
	if !ok {
		return in.Next.ExecuteActivity(ctx, input)
	}
	var u step.UndoCall
	if err := in.cfg.Converter.FromPayload(p, &u); err != nil || u.ID == "" {
		return nil, unreadable(info, wflo.HeaderUndoOf)
	}
	return in.undo(ctx, u, input)
}

// undo makes one attempt of undoing, or of asking what there is to undo.
func (in *inbound) undo(ctx context.Context, u step.UndoCall, input *interceptor.ExecuteActivityInput) (any, error) {
	store := in.store()
	if store == nil {
		return nil, keepsNone()
	}
	run, _ := wflo.RunFrom(ctx)
	if err := owned(ctx, store, run, u.ID); err != nil {
		return nil, err
	}
	r, err := store.BeginUndo(ctx, u.ID, u.Cause)
	if err != nil {
		return nil, fmt.Errorf("begin to undo %s: %w", u.ID, err)
	}
	if r.State.Ended() {
		if u.Probe {
			return wflo.Probed{Happened: r.State != wflo.CompensationSkipped}, nil
		}
		return r.State, nil
	}
	if u.Probe {
		return in.Next.ExecuteActivity(ctx, input)
	}
	if _, err := in.Next.ExecuteActivity(wflo.WithUndo(ctx, u.Undo), input); err != nil {
		return nil, err
	}
	// Written down before the run knows: an attempt whose end got lost is not made again.
	err = store.NoteCompensations(ctx, run, step.CompensationNotes{Marks: []step.CompensationMark{{ID: u.ID, State: wflo.CompensationDone}}})
	if err != nil {
		return nil, fmt.Errorf("note that %s was undone: %w", u.ID, err)
	}
	return wflo.CompensationDone, nil
}

// owned refuses to undo for a run what another one has taken over since: that one goes on
// as if it had not been undone.
func owned(ctx context.Context, store Compensations, run wflo.Run, id string) error {
	r, err := store.Compensation(ctx, id)
	if err != nil {
		return fmt.Errorf("read compensation %s: %w", id, err)
	}
	if r.Run.ID() != run.ID() {
		return wflo.Errorf(wflo.CodeConflict, "see what the run that goes on does with it", "compensation %s is run %s's now, and is not undone for run %s", id, r.Run.ID(), run.ID())
	}
	return nil
}

// store is what compensations are kept in, or nil.
func (in *inbound) store() Compensations {
	if in.cfg.Recovery == nil {
		return nil
	}
	return in.cfg.Recovery
}

func unreadable(info activity.Info, header string) error {
	return wflo.Errorf(wflo.CodeConflict, "let all workers and clients have the same data converter", "activity %s: its header %s cannot be read", info.ActivityType.Name, header)
}
