// Package recoverytest has runs that can go back, without a Temporal server: [Runs] is
// the part of Temporal's client that a console uses for recovery, over a real store, and
// [Runs.Fill] gives it runs with snapshots and compensations. What workflows would do is
// done at once: restores and undoing end as the test says.
package recoverytest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/desk/desktest"
	"github.com/wflo-ai/wflo-go/internal/step"
)

// Runs are runs that wait at gates and can go back. Set its fields before the first
// call.
type Runs struct {
	*desktest.Runs
	// Store is where everything is kept. Required.
	Store activities.Recovery
	// Plan is what each restore would do; its Snapshot and Mode are filled in.
	Plan wflo.RestorePlan
	// Refuse fails restores and plans, with an error as workflows give it; nil does not.
	Refuse error
	// Fails makes undoing fail again.
	Fails bool
	// Hold leaves restores, plans and snapshots under way until it is closed; nil does
	// not.
	Hold chan struct{}

	mu       sync.Mutex
	started  map[string]*restore
	shots    map[string]wflo.Snapshot
	orders   []wflo.Restore
	runs     map[string]wflo.Run
	ended    map[string]bool
	sequence int
	queries  []string
}

// restore is a workflow that was started.
type restore struct {
	client.WorkflowRun
	id   string
	memo map[string]any
	hold chan struct{}
	out  any
	err  error
}

// GetID implements client.WorkflowRun.
func (r *restore) GetID() string { return r.id }

// Get implements client.WorkflowRun.
func (r *restore) Get(ctx context.Context, into any) error {
	if r.hold != nil {
		select {
		case <-r.hold:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if r.err != nil {
		return r.err
	}
	p, err := converter.GetDefaultDataConverter().ToPayload(r.out)
	if err != nil {
		return err
	}
	return converter.GetDefaultDataConverter().FromPayload(p, into)
}

// New makes runs over a store.
func New(runs *desktest.Runs, store activities.Recovery) *Runs {
	return &Runs{
		Runs: runs, Store: store, started: map[string]*restore{}, shots: map[string]wflo.Snapshot{}, runs: map[string]wflo.Run{}, ended: map[string]bool{},
	}
}

// Add makes a run known, open or closed.
func (r *Runs) Add(run wflo.Run, open bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.runs[run.WorkflowID], r.ended[run.WorkflowID] = run, !open
}

// Orders are the restores and plans that were started.
func (r *Runs) Orders() []wflo.Restore {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]wflo.Restore(nil), r.orders...)
}

// Refusal is an error as it comes from a workflow.
func Refusal(err error) error {
	message, hint := wflo.Explain(err)
	return temporal.NewApplicationErrorWithOptions(message, string(wflo.CodeOf(err)), temporal.ApplicationErrorOptions{NonRetryable: true, Details: []any{hint}})
}

// ExecuteWorkflow restores a run, or undoes what is a dead letter, at once.
func (r *Runs) ExecuteWorkflow(ctx context.Context, o client.StartWorkflowOptions, _ any, args ...any) (client.WorkflowRun, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, taken := r.started[o.ID]; taken && strings.HasPrefix(o.ID, wflo.RestorePrefix) {
		return nil, serviceerror.NewWorkflowExecutionAlreadyStarted("taken", "", "")
	}
	w := &restore{id: o.ID, memo: o.Memo, hold: r.Hold}
	r.started[o.ID] = w
	switch order := args[0].(type) {
	case wflo.Restore:
		r.orders = append(r.orders, order)
		w.out, w.err = r.goBack(ctx, order)
	case wflo.CompensationOrder:
		w.out, w.err = r.compensate(ctx, order)
	default:
		return nil, fmt.Errorf("nobody starts a workflow with a %T", order)
	}
	return w, nil
}

func (r *Runs) goBack(ctx context.Context, order wflo.Restore) (wflo.Restored, error) {
	run := r.runs[order.WorkflowID]
	mode := order.Mode
	if mode == "" {
		mode = wflo.RestoreInPlace
		if r.ended[order.WorkflowID] {
			mode = wflo.RestoreReopen
		}
	}
	out := wflo.Restored{Restore: order, State: wflo.RestorePlanned, Plan: r.Plan, From: run.ID(), Into: run.ID(), Epoch: run.Epoch + 1}
	out.Plan.Mode = mode
	if order.AcceptIrreversible {
		out.Plan.Refusals = nil
	}
	if mode == wflo.RestoreFork {
		out.Into = cmp.Or(order.NewID, order.WorkflowID+"-"+order.ID) + "/forked"
	}
	if order.To.Snapshot != "" {
		if s, err := r.Store.Snapshot(ctx, order.To.Snapshot); err == nil {
			out.Plan.Snapshot, out.Plan.At = &s, s.At
		} else if found, err := r.Store.ListSnapshots(ctx, activities.SnapshotQuery{WorkflowID: order.WorkflowID, Name: order.To.Snapshot, Limit: 1}); err == nil && len(found) > 0 {
			out.Plan.Snapshot, out.Plan.At = &found[0], found[0].At
		} else {
			return out, Refusal(wflo.Errorf(wflo.CodeInvalid, "list those of the run: wflo snapshot list", "run %s has no snapshot %q", run.ID(), order.To.Snapshot))
		}
	}
	switch {
	case r.Refuse != nil:
		return out, r.Refuse
	case order.DryRun:
		return out, nil
	case len(out.Plan.Irreversible) > 0 && !order.AcceptIrreversible:
		return out, Refusal(wflo.Errorf(wflo.CodeConflict, "look at the plan, and restore with accept_irreversible if it may happen twice",
			"the restore would do again what cannot be undone: %s", out.Plan.Irreversible[0].Key))
	}
	kept, err := r.Store.BeginRestore(ctx, out)
	if err != nil || r.Hold != nil {
		return kept, err
	}
	kept.State = wflo.RestoreDone
	return r.Store.NoteRestore(ctx, kept)
}

func (r *Runs) compensate(ctx context.Context, order wflo.CompensationOrder) (all []wflo.CompensationRecord, err error) {
	for _, id := range order.IDs {
		c, err := r.Store.BeginUndo(ctx, id, order.By)
		if err != nil {
			return all, err
		}
		mark := step.CompensationMark{ID: id, State: wflo.CompensationDone}
		if r.Fails {
			mark.State, mark.Error = wflo.CompensationDead, "the provider is still down"
		}
		if err := r.Store.NoteCompensations(ctx, c.Run, step.CompensationNotes{Marks: []step.CompensationMark{mark}}); err != nil {
			return all, err
		}
		c.State = mark.State
		all = append(all, c)
	}
	return all, nil
}

// GetWorkflow gives a workflow that was started.
func (r *Runs) GetWorkflow(_ context.Context, id, _ string) client.WorkflowRun {
	r.mu.Lock()
	defer r.mu.Unlock()
	if w := r.started[id]; w != nil {
		return w
	}
	return &restore{id: id, err: serviceerror.NewNotFound("no such workflow")}
}

// DescribeWorkflowExecution implements client.Client.
func (r *Runs) DescribeWorkflowExecution(ctx context.Context, id, runID string) (*workflowservice.DescribeWorkflowExecutionResponse, error) {
	r.mu.Lock()
	w, run, known := r.started[id], r.runs[id], r.runs[id].WorkflowID != ""
	r.mu.Unlock()
	switch {
	case w != nil:
		return w.describe()
	case known && runID != "" && runID != run.FirstRunID:
		return nil, serviceerror.NewNotFound("no such run")
	case known:
		return r.describe(run)
	}
	return r.Runs.DescribeWorkflowExecution(ctx, id, runID)
}

func (r *restore) describe() (*workflowservice.DescribeWorkflowExecutionResponse, error) {
	fields := map[string]*commonpb.Payload{}
	for name, value := range r.memo {
		p, err := converter.GetDefaultDataConverter().ToPayload(value)
		if err != nil {
			return nil, err
		}
		fields[name] = p
	}
	status := enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED
	if r.hold != nil {
		select {
		case <-r.hold:
		default:
			status = enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING
		}
	}
	return &workflowservice.DescribeWorkflowExecutionResponse{WorkflowExecutionInfo: &workflowpb.WorkflowExecutionInfo{
		Execution: &commonpb.WorkflowExecution{WorkflowId: r.id, RunId: "run"}, Status: status, Memo: &commonpb.Memo{Fields: fields},
	}}, nil
}

func (r *Runs) describe(run wflo.Run) (*workflowservice.DescribeWorkflowExecutionResponse, error) {
	status := enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING
	if r.ended[run.WorkflowID] {
		status = enumspb.WORKFLOW_EXECUTION_STATUS_TERMINATED
	}
	fields := map[string]*commonpb.Payload{}
	for name, value := range map[string]string{wflo.AttrOrg: run.Org, wflo.AttrUser: run.User, wflo.AttrTeam: run.Team} {
		if value == "" {
			continue
		}
		p, err := converter.GetDefaultDataConverter().ToPayload(value)
		if err != nil {
			return nil, err
		}
		fields[name] = p
	}
	return &workflowservice.DescribeWorkflowExecutionResponse{WorkflowExecutionInfo: &workflowpb.WorkflowExecutionInfo{
		Execution: &commonpb.WorkflowExecution{WorkflowId: run.WorkflowID, RunId: "run"}, Type: &commonpb.WorkflowType{Name: cmp.Or(run.Workflow, "wf")}, TaskQueue: "q",
		StartTime: timestamppb.New(began), Status: status, FirstRunId: run.FirstRunID, SearchAttributes: &commonpb.SearchAttributes{IndexedFields: fields},
	}}, nil
}

// began is when every run began.
var began = time.Date(2026, 11, 22, 9, 58, 0, 0, time.UTC)

// ListWorkflow lists the runs that were added, by id, in pages. Of the query it knows the
// org alone; Queries has it whole.
func (r *Runs) ListWorkflow(_ context.Context, req *workflowservice.ListWorkflowExecutionsRequest) (*workflowservice.ListWorkflowExecutionsResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queries = append(r.queries, req.GetQuery())
	out := &workflowservice.ListWorkflowExecutionsResponse{}
	for _, id := range slices.Sorted(maps.Keys(r.runs)) {
		run := r.runs[id]
		if strings.Contains(req.GetQuery(), wflo.AttrOrg) && !strings.Contains(req.GetQuery(), "'"+run.Org+"'") || id <= string(req.GetNextPageToken()) {
			continue
		}
		if len(out.Executions) == int(req.GetPageSize()) {
			out.NextPageToken = []byte(out.Executions[len(out.Executions)-1].GetExecution().GetWorkflowId())
			break
		}
		d, err := r.describe(run)
		if err != nil {
			return nil, err
		}
		out.Executions = append(out.Executions, d.GetWorkflowExecutionInfo())
	}
	return out, nil
}

// Queries are those of the lists that were asked for.
func (r *Runs) Queries() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.queries)
}

// UpdateWorkflow takes a snapshot; other updates are for the gates.
func (r *Runs) UpdateWorkflow(ctx context.Context, o client.UpdateWorkflowOptions) (client.WorkflowUpdateHandle, error) {
	if o.UpdateName != wflo.UpdateSnapshot {
		return r.Runs.UpdateWorkflow(ctx, o)
	}
	if r.Hold != nil {
		select {
		case <-r.Hold:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s, done := r.shots[o.UpdateID]
	if !done {
		order, ok := o.Args[0].(wflo.SnapshotOrder)
		if !ok {
			return nil, errors.New("a snapshot without an order")
		}
		if r.Refuse != nil {
			return nil, r.Refuse
		}
		var err error
		if s, err = r.shoot(ctx, r.runs[o.WorkflowID], order.Name, wflo.SnapshotManual, time.Now()); err != nil {
			return nil, err
		}
		r.shots[o.UpdateID] = s
	}
	return &shot{s: s}, nil
}

// shot is an update that is done.
type shot struct {
	client.WorkflowUpdateHandle
	s wflo.Snapshot
}

// Get implements client.WorkflowUpdateHandle.
func (u *shot) Get(_ context.Context, out any) error {
	if s, ok := out.(*wflo.Snapshot); ok {
		*s = u.s
	}
	return nil
}
