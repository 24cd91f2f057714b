// Package recovery takes runs back from outside, with nothing but a Temporal client:
// what a command line, a server or a test of yours calls. [New] gives a [Client];
// [Client.Plan] says what a restore would undo, repeat and cost, and [Client.Do] does it.
//
//	back, err := recovery.New(recovery.Config{Client: c})
//	plan, err := back.Plan(ctx, wflo.Restore{WorkflowID: "refund-17", To: wflo.RestorePoint{Snapshot: "before-refund"}})
//	...
//	done, err := back.Do(ctx, wflo.Restore{WorkflowID: "refund-17", To: wflo.RestorePoint{Snapshot: "before-refund"}, By: "ann", Reason: "wrong account"})
//
// The work is done by workflows on the workers of the run, so that it goes on whatever
// becomes of the caller. The package decides about nothing and keeps nothing; who may
// take a run back is for the caller to know, since Temporal lets everybody who may start
// workflows.
package recovery

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"

	"github.com/wflo-ai/wflo-go"
)

// Temporal is what the package needs of Temporal's client.
type Temporal interface {
	ExecuteWorkflow(ctx context.Context, options client.StartWorkflowOptions, workflow any, args ...any) (client.WorkflowRun, error)
	GetWorkflow(ctx context.Context, workflowID, runID string) client.WorkflowRun
	UpdateWorkflow(ctx context.Context, o client.UpdateWorkflowOptions) (client.WorkflowUpdateHandle, error)
	DescribeWorkflowExecution(ctx context.Context, workflowID, runID string) (*workflowservice.DescribeWorkflowExecutionResponse, error)
}

// Config says over what runs are taken back.
type Config struct {
	// Client is connected to the runs' namespace. Required.
	Client Temporal
	// TaskQueue is where a worker with wflo's plugin polls; empty means the run's own.
	TaskQueue string
	// Converter reads memos; nil means Temporal's default.
	Converter converter.DataConverter
}

// Client takes runs back. Its methods may be called at the same time.
type Client struct{ cfg Config }

// New returns a Client.
func New(cfg Config) *Client {
	if cfg.Converter == nil {
		cfg.Converter = converter.GetDefaultDataConverter()
	}
	return &Client{cfg: cfg}
}

// The memo of a run that goes on from a snapshot.
const memoRestore, memoForkedFrom = "wflo_restore", "wflo_forked_from"

// NewID draws the ID of a restore.
func NewID() string {
	var b [10]byte
	_, _ = rand.Read(b[:]) // it never fails
	return hex.EncodeToString(b[:])
}

// Plan says what the restore would do, and changes nothing. ID, By and Reason may be
// empty. A plan with Refusals is one that Do would refuse. Errors are *wflo.Error where
// the request is wrong: wflo.CodeInvalid and wflo.CodeConflict.
func (c *Client) Plan(ctx context.Context, r wflo.Restore) (wflo.RestorePlan, error) {
	r.ID, r.DryRun = "plan-"+NewID(), true
	out, err := c.restore(ctx, r)
	return out.Plan, err
}

// Do takes the run back and waits until that has ended. The same request with the same
// ID takes effect once, and gives the same answer each time; an empty ID is drawn. When
// ctx ends, the restore goes on. Errors are *wflo.Error where the restore was refused or
// failed.
func (c *Client) Do(ctx context.Context, r wflo.Restore) (wflo.Restored, error) {
	if r.ID == "" {
		r.ID = NewID()
	}
	r.DryRun = false
	return c.restore(ctx, r)
}

func (c *Client) restore(ctx context.Context, r wflo.Restore) (out wflo.Restored, err error) {
	if err := r.Validate(); err != nil {
		return out, err
	}
	queue, err := c.queueOf(ctx, r.WorkflowID)
	if err != nil {
		return out, err
	}
	run, err := c.cfg.Client.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID: wflo.RestoreWorkflowID(r.ID), TaskQueue: queue, WorkflowIDReusePolicy: enumspb.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE,
		WorkflowExecutionErrorWhenAlreadyStarted: true, StaticSummary: "restore of " + r.WorkflowID,
	}, wflo.WorkflowRestore, r)
	if temporal.IsWorkflowExecutionAlreadyStartedError(err) {
		run, err = c.cfg.Client.GetWorkflow(ctx, wflo.RestoreWorkflowID(r.ID), ""), nil
	}
	if err == nil {
		err = run.Get(ctx, &out)
	}
	if err != nil {
		return out, fmt.Errorf("restore %s: %w", r.WorkflowID, told(err))
	}
	if !same(r, out.Restore) {
		return wflo.Restored{}, wflo.Errorf(wflo.CodeConflict, "draw another id", "restore %s was asked for before, with another request", r.ID)
	}
	return out, nil
}

// same compares two requests as they travel: times lose their zone's name on the way.
func same(a, b wflo.Restore) bool {
	a.To.Time, b.To.Time = a.To.Time.UTC(), b.To.Time.UTC()
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}

// queueOf is where a worker polls that knows the run.
func (c *Client) queueOf(ctx context.Context, workflowID string) (string, error) {
	if c.cfg.TaskQueue != "" {
		return c.cfg.TaskQueue, nil
	}
	d, err := c.cfg.Client.DescribeWorkflowExecution(ctx, workflowID, "")
	if err != nil {
		return "", fmt.Errorf("describe run %s: %w", workflowID, told(err))
	}
	if q := d.GetWorkflowExecutionInfo().GetTaskQueue(); q != "" {
		return q, nil
	}
	return d.GetExecutionConfig().GetTaskQueue().GetName(), nil
}

// Snapshot has an open run take a snapshot of itself. A workflow id means its latest run.
func (c *Client) Snapshot(ctx context.Context, workflowID string, o wflo.SnapshotOrder) (s wflo.Snapshot, err error) {
	h, err := c.cfg.Client.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{
		WorkflowID: workflowID, UpdateName: wflo.UpdateSnapshot, Args: []any{o}, WaitForStage: client.WorkflowUpdateStageCompleted,
	})
	if err == nil {
		err = h.Get(ctx, &s)
	}
	if err != nil {
		return s, fmt.Errorf("snapshot of run %s: %w", workflowID, told(err))
	}
	return s, nil
}

// Compensate undoes what a run has left, or tries single compensations again, and waits
// for that. What is being undone already is waited for. Config.TaskQueue is required for
// single ones. It gives the records that were touched; look at their states.
func (c *Client) Compensate(ctx context.Context, o wflo.CompensationOrder) (all []wflo.CompensationRecord, err error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if o.RunID != "" {
		i := strings.LastIndexByte(o.RunID, '/')
		queue, err := c.queueOf(ctx, o.RunID[:max(i, 0)])
		if err != nil {
			return nil, err
		}
		return c.compensate(ctx, o.RunID, queue, o)
	}
	if c.cfg.TaskQueue == "" {
		return nil, wflo.Invalid("recovery.Config.TaskQueue", "is empty", "name the task queue of a worker with wflo's plugin")
	}
	for _, id := range o.IDs {
		one := o
		one.IDs = []string{id}
		touched, err := c.compensate(ctx, id, c.cfg.TaskQueue, one)
		if err != nil {
			return all, err
		}
		all = append(all, touched...)
	}
	return all, nil
}

func (c *Client) compensate(ctx context.Context, what, queue string, o wflo.CompensationOrder) (out []wflo.CompensationRecord, err error) {
	run, err := c.cfg.Client.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID: wflo.CompensateWorkflowID(what), TaskQueue: queue, WorkflowIDReusePolicy: enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
		WorkflowIDConflictPolicy: enumspb.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING, StaticSummary: "undo " + what,
	}, wflo.WorkflowCompensate, o)
	if err == nil {
		err = run.Get(ctx, &out)
	}
	if err != nil {
		return out, fmt.Errorf("undo %s: %w", what, told(err))
	}
	return out, nil
}

// Origin says where a run comes from.
type Origin struct {
	// Restore is the ID of the restore that it began with; empty for a run that began by
	// itself, or that went back in place.
	Restore string
	// ForkedFrom is the run that it is a fork of, as "workflow id/first run id"; empty for
	// others.
	ForkedFrom string
}

// Origin reads where the latest run of a workflow id comes from, as far as Temporal knows.
// The whole lineage is in the database of the workers.
func (c *Client) Origin(ctx context.Context, workflowID string) (o Origin, err error) {
	d, err := c.cfg.Client.DescribeWorkflowExecution(ctx, workflowID, "")
	if err != nil {
		return o, fmt.Errorf("describe run %s: %w", workflowID, told(err))
	}
	for name, into := range map[string]*string{memoRestore: &o.Restore, memoForkedFrom: &o.ForkedFrom} {
		p := d.GetWorkflowExecutionInfo().GetMemo().GetFields()[name]
		if p == nil {
			continue
		}
		if err := c.cfg.Converter.FromPayload(p, into); err != nil {
			return o, fmt.Errorf("read the memo %s of run %s: %w", name, workflowID, err)
		}
	}
	return o, nil
}

// told puts what comes back from Temporal into our words.
func told(err error) error {
	var gone *serviceerror.NotFound
	if errors.As(err, &gone) {
		return wflo.Errorf(wflo.CodeInvalid, "name a run that Temporal still knows", "there is no such run: %w", err)
	}
	var app *temporal.ApplicationError
	if !errors.As(err, &app) || wflo.Code(app.Type()).Sentinel() == nil {
		return err
	}
	var hint string
	if app.HasDetails() {
		_ = app.Details(&hint) // without one there is none
	}
	return &wflo.Error{Code: wflo.Code(app.Type()), Message: app.Message(), Hint: hint, Err: err}
}
