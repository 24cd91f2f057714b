// Package undo is what operators do about compensations, whoever shows them: a desk
// lists them, and has dead letters tried again or ended by hand. [Desk.Retry] undoes;
// [Desk.Resolve] says that somebody has undone it; [Desk.Skip] says that there is
// nothing to undo, or that it is to stay. Everything that a person does is in the
// trail of the run's tenant before it takes effect. The desk does not undo anything
// itself: a workflow does, on a worker that has the activity.
package undo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/step"
)

// Client is the part of a Temporal client that a desk needs.
type Client interface {
	ExecuteWorkflow(ctx context.Context, options client.StartWorkflowOptions, workflow any, args ...any) (client.WorkflowRun, error)
}

// Desk is where people decide about compensations. Its methods may be called at the same
// time.
type Desk struct {
	// Client starts the workflow of Retry, in the namespace of the runs. Required for it.
	Client Client
	// Store has the compensations, Records the trail. Required.
	Store   activities.Compensations
	Records activities.Audit
}

// List reads compensations, see activities.CompensationQuery.
func (d *Desk) List(ctx context.Context, q activities.CompensationQuery) ([]wflo.CompensationRecord, error) {
	rows, err := d.Store.ListCompensations(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("list compensations: %w", err)
	}
	return rows, nil
}

// Show reads one. One that is not there is CodeInvalid.
func (d *Desk) Show(ctx context.Context, id string) (wflo.CompensationRecord, error) {
	r, err := d.Store.Compensation(ctx, id)
	if errors.Is(err, fs.ErrNotExist) {
		return r, wflo.Errorf(wflo.CodeInvalid, "list them, and take the ID of one", "there is no compensation %.60q", id)
	}
	if err != nil {
		return r, fmt.Errorf("read compensation %s: %w", id, err)
	}
	return r, nil
}

// Retry has a dead letter undone once more, with all its attempts, by a workflow that it
// starts on the run's task queue. It does not wait for it: await the given run, whose
// result is []wflo.CompensationRecord. One that is being tried already is CodeConflict.
func (d *Desk) Retry(ctx context.Context, id, by string) (client.WorkflowRun, error) {
	r, err := d.dead(ctx, id, by)
	if err != nil {
		return nil, err
	}
	if err := d.record(ctx, r, wflo.AuditCompensationRetried, by, ""); err != nil {
		return nil, err
	}
	ctx = wflo.WithRun(ctx, wflo.Run{User: r.Run.User, Team: r.Run.Team, Org: r.Run.Org, Correlation: r.Run.Correlation})
	run, err := d.Client.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID: wflo.CompensateWorkflowID(id), TaskQueue: r.TaskQueue, StaticSummary: "undo again: " + r.Name,
		WorkflowIDReusePolicy:                    enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
		WorkflowExecutionErrorWhenAlreadyStarted: true,
	}, wflo.WorkflowCompensate, wflo.CompensationOrder{IDs: []string{id}, By: by, Reason: "tried again by hand"})
	var started *serviceerror.WorkflowExecutionAlreadyStarted
	if errors.As(err, &started) {
		return nil, wflo.Errorf(wflo.CodeConflict, "wait for it", "compensation %s is being tried again already", id)
	}
	if err != nil {
		return nil, fmt.Errorf("start to undo %s again: %w", id, err)
	}
	return run, nil
}

// Resolve ends a dead letter whose effect a person has undone by hand.
func (d *Desk) Resolve(ctx context.Context, id, by, reason string) (wflo.CompensationRecord, error) {
	return d.end(ctx, id, by, reason, wflo.CompensationDone, wflo.AuditCompensationResolved)
}

// Skip ends a dead letter whose effect is to stay, or never happened.
func (d *Desk) Skip(ctx context.Context, id, by, reason string) (wflo.CompensationRecord, error) {
	return d.end(ctx, id, by, reason, wflo.CompensationSkipped, wflo.AuditCompensationSkipped)
}

func (d *Desk) end(ctx context.Context, id, by, reason string, state wflo.CompensationState, t wflo.AuditType) (wflo.CompensationRecord, error) {
	if strings.TrimSpace(reason) == "" {
		return wflo.CompensationRecord{}, wflo.Invalid("reason", "is empty", "say why; it is recorded")
	}
	r, err := d.dead(ctx, id, by)
	if err != nil {
		return r, err
	}
	if err := d.record(ctx, r, t, by, reason); err != nil {
		return r, err
	}
	mark := step.CompensationMark{ID: id, State: state, By: by, Reason: reason}
	if err := d.Store.NoteCompensations(ctx, r.Run, step.CompensationNotes{Marks: []step.CompensationMark{mark}}); err != nil {
		return r, fmt.Errorf("end compensation %s: %w", id, err)
	}
	return d.Show(ctx, id)
}

// dead reads one that waits for a person.
func (d *Desk) dead(ctx context.Context, id, by string) (wflo.CompensationRecord, error) {
	if strings.TrimSpace(by) == "" {
		return wflo.CompensationRecord{}, wflo.Invalid("by", "is empty", "say who decides; it is recorded")
	}
	r, err := d.Show(ctx, id)
	if err != nil {
		return r, err
	}
	if r.State != wflo.CompensationDead {
		return r, wflo.Errorf(wflo.CodeConflict, "only dead letters wait for a person", "compensation %s is %s", id, string(r.State))
	}
	return r, nil
}

func (d *Desk) record(ctx context.Context, r wflo.CompensationRecord, t wflo.AuditType, by, reason string) error {
	if err := d.Records.Append(ctx, activities.CompensationEvent(r, t, by, reason, time.Now())); err != nil {
		return fmt.Errorf("record what %s decides about %s: %w", by, r.ID, err)
	}
	return nil
}
