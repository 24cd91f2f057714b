package plugin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/step"
)

const (
	// undoPage is how many compensations are read at once, undoHops how many runs of one
	// chain are followed.
	undoPage = 100
	undoHops = 10_000
)

// unfinished finds compensations of runs that ended without saying what becomes of
// them, because they were terminated or timed out, and has them undone.
type unfinished struct {
	client    client.Client
	namespace string
	queue     string
	store     activities.Recovery
	records   activities.Audit
	logger    *slog.Logger
	// quiet is how long a compensation is left alone after its state changed.
	quiet time.Duration
}

// sweep looks once at what is not finished.
func (u *unfinished) sweep(ctx context.Context) error {
	runs, ids, err := u.left(ctx)
	errs := []error{err}
	for _, run := range runs {
		if err := u.finish(ctx, run, ids[run.ID()]); err != nil {
			errs = append(errs, fmt.Errorf("compensations of run %s: %w", run.ID(), err))
		}
	}
	return errors.Join(errs...)
}

// left gives the runs of the namespace that have compensations left, and their IDs.
func (u *unfinished) left(ctx context.Context) (runs []wflo.Run, ids map[string][]string, err error) {
	ids = map[string][]string{}
	q := activities.CompensationQuery{States: activities.Open(), Quiet: time.Now().Add(-u.quiet), Limit: undoPage}
	for {
		rows, err := u.store.ListCompensations(ctx, q)
		if err != nil {
			return runs, ids, fmt.Errorf("list compensations that are left: %w", err)
		}
		for _, r := range rows {
			if r.Run.Namespace != u.namespace {
				continue
			}
			if ids[r.Run.ID()] == nil {
				runs = append(runs, r.Run)
			}
			ids[r.Run.ID()] = append(ids[r.Run.ID()], r.ID)
		}
		if len(rows) < undoPage {
			return runs, ids, nil
		}
		q.After = rows[len(rows)-1].ID
	}
}

// finish does what the end of a run says about its compensations.
func (u *unfinished) finish(ctx context.Context, run wflo.Run, ids []string) error {
	last, err := u.last(ctx, run)
	var gone *serviceerror.NotFound
	switch {
	case errors.As(err, &gone):
		return u.bury(ctx, run, ids)
	case err != nil:
		return err
	}
	info := last.GetWorkflowExecutionInfo()
	status := info.GetStatus()
	if status == enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING || status == enumspb.WORKFLOW_EXECUTION_STATUS_PAUSED {
		return nil
	}
	s, err := u.status(ctx, run.WorkflowID, info.GetExecution().GetRunId())
	keeps := err == nil && s.Halted != nil && s.Halted.KeepEffects
	if status == enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED {
		if err != nil {
			return fmt.Errorf("ask the run what it kept: %w", err)
		}
		keeps = true
	}
	// What is asked last counts: a run that is being opened again says itself what it undoes.
	if reopening, err := u.reopening(ctx, run); err != nil || reopening {
		return err
	}
	if !keeps {
		return u.undo(ctx, run, status)
	}
	n := step.CompensationNotes{Closed: true}
	for _, c := range s.Compensations {
		if slices.Contains(ids, c.ID) {
			n.Kept = append(n.Kept, c.ID)
			n.Marks = append(n.Marks, step.CompensationMark{ID: c.ID, State: wflo.CompensationKept})
		}
	}
	if err := u.store.NoteCompensations(ctx, run, n); err != nil {
		return fmt.Errorf("note that they are kept: %w", err)
	}
	return nil
}

// reopening says that a restore is about to open the run again, or has opened it and
// another run takes over what this one left.
func (u *unfinished) reopening(ctx context.Context, run wflo.Run) (bool, error) {
	all, err := u.store.ListRestores(ctx, run.ID())
	if err != nil {
		return false, fmt.Errorf("read its restores: %w", err)
	}
	for _, r := range all {
		if r.From != run.ID() || r.Plan.Mode != wflo.RestoreReopen || r.State == wflo.RestoreDone || r.State == wflo.RestoreFailed {
			continue
		}
		// One whose workflow was terminated holds nobody up.
		d, err := u.client.DescribeWorkflowExecution(ctx, wflo.RestoreWorkflowID(r.Restore.ID), "")
		var gone *serviceerror.NotFound
		switch {
		case errors.As(err, &gone):
		case err != nil:
			return false, fmt.Errorf("describe restore %s: %w", r.Restore.ID, err)
		case d.GetWorkflowExecutionInfo().GetStatus() == enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING:
			return true, nil
		}
	}
	return false, nil
}

// last describes the last execution of a run, over continuing as new and resets.
func (u *unfinished) last(ctx context.Context, run wflo.Run) (*workflowservice.DescribeWorkflowExecutionResponse, error) {
	d, err := u.client.DescribeWorkflowExecution(ctx, run.WorkflowID, "")
	if err == nil && d.GetWorkflowExecutionInfo().GetFirstRunId() == run.FirstRunID {
		return d, nil
	}
	id := run.FirstRunID
	for range undoHops {
		if d, err = u.client.DescribeWorkflowExecution(ctx, run.WorkflowID, id); err != nil {
			return nil, fmt.Errorf("describe it: %w", err)
		}
		next := d.GetWorkflowExtendedInfo().GetResetRunId()
		if next == "" {
			if next, err = u.next(ctx, d); err != nil {
				return nil, err
			}
		}
		if next == "" || next == id {
			return d, nil
		}
		id = next
	}
	return nil, fmt.Errorf("the chain of its executions does not end after %d", undoHops)
}

// next is the execution that follows a closed one of the same run, or "".
func (u *unfinished) next(ctx context.Context, d *workflowservice.DescribeWorkflowExecutionResponse) (string, error) {
	info := d.GetWorkflowExecutionInfo()
	if info.GetStatus() == enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING {
		return "", nil
	}
	events := u.client.GetWorkflowHistory(ctx, info.GetExecution().GetWorkflowId(), info.GetExecution().GetRunId(), false, enumspb.HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT)
	if !events.HasNext() {
		return "", nil
	}
	e, err := events.Next()
	if err != nil {
		return "", fmt.Errorf("read how it ended: %w", err)
	}
	for _, next := range []string{
		e.GetWorkflowExecutionContinuedAsNewEventAttributes().GetNewExecutionRunId(),
		e.GetWorkflowExecutionCompletedEventAttributes().GetNewExecutionRunId(),
		e.GetWorkflowExecutionFailedEventAttributes().GetNewExecutionRunId(),
		e.GetWorkflowExecutionTimedOutEventAttributes().GetNewExecutionRunId(),
	} {
		if next != "" {
			return next, nil
		}
	}
	return "", nil
}

// statusPatience is how long a run has to say what it kept: a worker replays it.
const statusPatience = 10 * time.Second

func (u *unfinished) status(ctx context.Context, workflowID, runID string) (s wflo.Status, err error) {
	ctx, cancel := context.WithTimeout(ctx, statusPatience)
	defer cancel()
	v, err := u.client.QueryWorkflow(ctx, workflowID, runID, wflo.QueryStatus)
	if err == nil {
		err = v.Get(&s)
	}
	return s, err
}

// undo has what the run left undone. The workflow may have run before, for an execution
// that was reset since: it asks what is left, so that one time more does no harm.
func (u *unfinished) undo(ctx context.Context, run wflo.Run, status enumspb.WorkflowExecutionStatus) error {
	o := wflo.CompensationOrder{RunID: run.ID(), By: "sweep", Reason: "the run ended: " + status.String()}
	ctx = wflo.WithRun(ctx, wflo.Run{User: run.User, Team: run.Team, Org: run.Org, Correlation: run.Correlation})
	_, err := u.client.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID: wflo.CompensateWorkflowID(run.ID()), TaskQueue: u.queue, StaticSummary: "undo what " + run.WorkflowID + " left",
		WorkflowIDReusePolicy:                    enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
		WorkflowExecutionErrorWhenAlreadyStarted: true,
	}, wflo.WorkflowCompensate, o)
	var started *serviceerror.WorkflowExecutionAlreadyStarted
	if err != nil && !errors.As(err, &started) {
		return fmt.Errorf("start the workflow that undoes them: %w", err)
	}
	if err == nil {
		u.logger.WarnContext(ctx, "undo what a run left that ended on its own", "run", run.ID(), "status", status.String())
	}
	return nil
}

// bury makes dead letters of what a run left that Temporal does not know any more: it
// may have ended well, so that a person has to decide.
func (u *unfinished) bury(ctx context.Context, run wflo.Run, ids []string) error {
	note := &activities.Undo{Store: u.store, Records: u.records, Logger: u.logger}
	var n step.CompensationNotes
	for _, id := range ids {
		n.Marks = append(n.Marks, step.CompensationMark{ID: id, State: wflo.CompensationDead, Error: "its run is gone, and nobody knows how it ended"})
	}
	_, err := note.Note(wflo.WithRun(ctx, run), n)
	return err
}
