// Package runs reaches runs over a Temporal client, for restores: it describes them,
// asks them, and starts the ones that go on from a snapshot. [New] gives a [Client],
// which implements activities.Runs.
//
// A run is looked at along its chain: what continued as new is one run for us. What comes
// back from Temporal is told apart here, once: a run that is not known is fs.ErrNotExist,
// one that nobody answers for is activities.ErrUnanswered, and what the run's own code
// said is an *wflo.Error with its code.
//
// The package starts nothing but what it is told to, and never ends a run.
package runs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/temporal"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

// What the memo of a run that goes on from a snapshot says.
const (
	// MemoRestore is the ID of the restore that it began with.
	MemoRestore = "wflo_restore"
	// MemoForkedFrom is the run that it is a fork of, as "workflow id/first run id".
	MemoForkedFrom = "wflo_forked_from"
)

// queryTime is how long a run has to answer a query: a worker may have to replay it first.
const queryTime = 30 * time.Second

// Temporal is what the package needs of Temporal's client.
type Temporal interface {
	ExecuteWorkflow(ctx context.Context, options client.StartWorkflowOptions, workflow any, args ...any) (client.WorkflowRun, error)
	QueryWorkflow(ctx context.Context, workflowID, runID, queryType string, args ...any) (converter.EncodedValue, error)
	UpdateWorkflow(ctx context.Context, o client.UpdateWorkflowOptions) (client.WorkflowUpdateHandle, error)
	DescribeWorkflowExecution(ctx context.Context, workflowID, runID string) (*workflowservice.DescribeWorkflowExecutionResponse, error)
	ListWorkflow(ctx context.Context, r *workflowservice.ListWorkflowExecutionsRequest) (*workflowservice.ListWorkflowExecutionsResponse, error)
}

// Config says over what runs are reached.
type Config struct {
	// Client needs the interceptor of [Headers]. Required.
	Client Temporal
	// Namespace is the client's.
	Namespace string
	// Converter reads memos and writes headers; nil means Temporal's default.
	Converter converter.DataConverter
}

// Client is an activities.Runs.
type Client struct{ cfg Config }

var _ activities.Runs = (*Client)(nil)

// New returns a Client; nothing is connected.
func New(cfg Config) *Client {
	if cfg.Converter == nil {
		cfg.Converter = converter.GetDefaultDataConverter()
	}
	return &Client{cfg: cfg}
}

// Describe implements activities.Runs. Temporal gives the latest run of a workflow id;
// an earlier chain is looked for in its index, which knows it some moments after it began.
func (c *Client) Describe(ctx context.Context, workflowID, firstRunID string) (activities.RunInfo, error) {
	d, err := c.cfg.Client.DescribeWorkflowExecution(ctx, workflowID, "")
	if err != nil {
		return activities.RunInfo{}, told(err)
	}
	latest := d.GetWorkflowExecutionInfo().GetFirstRunId()
	if firstRunID == "" || firstRunID == latest {
		return c.info(d, latest), nil
	}
	runID, err := c.lastOf(ctx, workflowID, firstRunID)
	if err != nil {
		return activities.RunInfo{}, err
	}
	if d, err = c.cfg.Client.DescribeWorkflowExecution(ctx, workflowID, runID); err != nil {
		return activities.RunInfo{}, told(err)
	}
	return c.info(d, latest), nil
}

// lastOf is the last run of a chain that is not the latest one.
func (c *Client) lastOf(ctx context.Context, workflowID, firstRunID string) (string, error) {
	req := &workflowservice.ListWorkflowExecutionsRequest{
		Namespace: c.cfg.Namespace, PageSize: 1000, Query: "WorkflowId = '" + quoted(workflowID) + "'",
	}
	var last *workflowpb.WorkflowExecutionInfo
	for {
		page, err := c.cfg.Client.ListWorkflow(ctx, req)
		if err != nil {
			return "", told(err)
		}
		for _, e := range page.GetExecutions() {
			if chainOf(e) == firstRunID && (last == nil || e.GetStartTime().AsTime().After(last.GetStartTime().AsTime())) {
				last = e
			}
		}
		if req.NextPageToken = page.GetNextPageToken(); len(req.NextPageToken) == 0 {
			break
		}
	}
	if last == nil {
		return firstRunID, nil // its first run may be there although the index does not have it
	}
	return last.GetExecution().GetRunId(), nil
}

func chainOf(e *workflowpb.WorkflowExecutionInfo) string {
	if first := e.GetFirstRunId(); first != "" {
		return first
	}
	return e.GetExecution().GetRunId()
}

func (c *Client) info(d *workflowservice.DescribeWorkflowExecutionResponse, latest string) activities.RunInfo {
	e, conf := d.GetWorkflowExecutionInfo(), d.GetExecutionConfig()
	out := activities.RunInfo{
		WorkflowID: e.GetExecution().GetWorkflowId(), RunID: e.GetExecution().GetRunId(), FirstRunID: chainOf(e),
		Workflow: e.GetType().GetName(), TaskQueue: e.GetTaskQueue(),
		Open:             e.GetStatus() == enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING,
		ExecutionTimeout: conf.GetWorkflowExecutionTimeout().AsDuration(), RunTimeout: conf.GetWorkflowRunTimeout().AsDuration(),
		TaskTimeout: conf.GetDefaultWorkflowTaskTimeout().AsDuration(),
	}
	if out.TaskQueue == "" {
		out.TaskQueue = conf.GetTaskQueue().GetName()
	}
	out.Latest = out.FirstRunID == latest
	if p := e.GetMemo().GetFields()[MemoRestore]; p != nil {
		// A memo that is not text is not ours.
		_ = c.cfg.Converter.FromPayload(p, &out.Restore)
	}
	return out
}

// Query implements activities.Runs.
func (c *Client) Query(ctx context.Context, run activities.RunInfo, query string, arg, out any) error {
	ctx, cancel := context.WithTimeout(ctx, queryTime)
	defer cancel()
	v, err := c.cfg.Client.QueryWorkflow(ctx, run.WorkflowID, run.RunID, query, arg)
	if err != nil {
		return unanswered(err)
	}
	if err := v.Get(out); err != nil {
		return fmt.Errorf("read the answer of %s: %w", query, err)
	}
	return nil
}

// Update implements activities.Runs.
func (c *Client) Update(ctx context.Context, run activities.RunInfo, updateID, update string, arg any) error {
	h, err := c.cfg.Client.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{
		UpdateID: updateID, WorkflowID: run.WorkflowID, RunID: run.RunID, UpdateName: update, Args: []any{arg},
		WaitForStage: client.WorkflowUpdateStageCompleted,
	})
	if err == nil {
		err = h.Get(ctx, nil)
	}
	return told(err)
}

// Start implements activities.Runs.
func (c *Client) Start(ctx context.Context, s activities.RunStart) (string, error) {
	header := map[string]*commonpb.Payload{}
	for name, p := range s.Header {
		if !ours[name] {
			header[name] = p
		}
	}
	p, err := c.cfg.Converter.ToPayload(s.Restore)
	if err != nil {
		return "", fmt.Errorf("write header %s: %w", wflo.HeaderRestore, err)
	}
	header[wflo.HeaderRestore] = p
	opts := client.StartWorkflowOptions{
		ID: s.WorkflowID, TaskQueue: s.TaskQueue, Memo: map[string]any{MemoRestore: s.Restore},
		WorkflowExecutionTimeout: s.ExecutionTimeout, WorkflowRunTimeout: s.RunTimeout, WorkflowTaskTimeout: s.TaskTimeout,
		WorkflowIDReusePolicy: enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE, WorkflowExecutionErrorWhenAlreadyStarted: true,
	}
	if s.ForkedFrom != "" {
		opts.Memo[MemoForkedFrom] = s.ForkedFrom
	}
	if s.Fresh {
		opts.WorkflowIDReusePolicy = enumspb.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE
	}
	var args []any
	for _, p := range s.Input.GetPayloads() {
		args = append(args, converter.NewRawValue(p))
	}
	ctx = wflo.WithRun(context.WithValue(ctx, headerKey{}, header), s.Run)
	run, err := c.cfg.Client.ExecuteWorkflow(ctx, opts, s.Workflow, args...)
	if temporal.IsWorkflowExecutionAlreadyStartedError(err) {
		return "", wflo.Errorf(wflo.CodeConflict, "choose another id", "the workflow id %s is taken", s.WorkflowID)
	}
	if err != nil {
		return "", told(err)
	}
	return run.GetRunID(), nil
}

// ours are the headers that a starter of a run may not hand on: whom it acts for is set
// anew, and the rest is between runs.
var ours = map[string]bool{
	wflo.HeaderRun: true, wflo.HeaderCarry: true, wflo.HeaderGate: true, wflo.HeaderTime: true, wflo.HeaderUndo: true, wflo.HeaderEffect: true,
	wflo.HeaderUndoOf: true, wflo.HeaderRestore: true,
}

type headerKey struct{}

// Headers writes the headers of runs that are started, which Temporal's client does only
// through an interceptor. It goes before all others of the client.
func Headers() interceptor.ClientInterceptor { return &headers{} }

type headers struct {
	interceptor.ClientInterceptorBase
}

// InterceptClient wraps a client's calls.
func (*headers) InterceptClient(next interceptor.ClientOutboundInterceptor) interceptor.ClientOutboundInterceptor {
	out := &headersOutbound{}
	out.Next = next
	return out
}

type headersOutbound struct {
	interceptor.ClientOutboundInterceptorBase
}

// ExecuteWorkflow adds the headers.
func (o *headersOutbound) ExecuteWorkflow(ctx context.Context, in *interceptor.ClientExecuteWorkflowInput) (client.WorkflowRun, error) {
	if all, ok := ctx.Value(headerKey{}).(map[string]*commonpb.Payload); ok {
		for name, p := range all {
			interceptor.Header(ctx)[name] = p
		}
	}
	return o.Next.ExecuteWorkflow(ctx, in)
}

// told puts what Temporal says into our words.
func told(err error) error {
	if err == nil {
		return nil
	}
	var gone *serviceerror.NotFound
	if errors.As(err, &gone) {
		return fmt.Errorf("%s: %w", gone.Error(), fs.ErrNotExist)
	}
	var app *temporal.ApplicationError
	if errors.As(err, &app) {
		var hint string
		if app.HasDetails() {
			_ = app.Details(&hint) // of another's error they are something else
		}
		code := wflo.Code(app.Type())
		if code.Sentinel() == nil {
			code = wflo.CodeConflict
		}
		return &wflo.Error{Code: code, Message: app.Message(), Hint: hint, Err: err}
	}
	var invalid *serviceerror.InvalidArgument
	if errors.As(err, &invalid) {
		return wflo.Errorf(wflo.CodeInvalid, "", "Temporal refuses: %w", err)
	}
	return err
}

// unanswered tells a run that does not know our queries, or that nobody replays, from one
// that refuses.
func unanswered(err error) error {
	var (
		failed   *serviceerror.QueryFailed
		rejected *serviceerror.FailedPrecondition
		late     *serviceerror.DeadlineExceeded
		gone     *serviceerror.NotFound
		busy     *serviceerror.WorkflowNotReady
	)
	if errors.As(err, &failed) {
		f := failed.Failure
		if code := wflo.Code(f.GetApplicationFailureInfo().GetType()); code.Sentinel() != nil {
			return &wflo.Error{Code: code, Message: f.GetMessage(), Err: err}
		}
		for _, lost := range []string{"unknown queryType", "Workflow panic", "TMPRL1100"} {
			if strings.Contains(failed.Message, lost) { // code without wflo, or other code than the run began with
				return fmt.Errorf("%w: %s", activities.ErrUnanswered, err.Error())
			}
		}
		return &wflo.Error{Code: wflo.CodeConflict, Message: failed.Message, Err: err}
	}
	switch {
	case errors.As(err, &rejected), errors.As(err, &late), errors.As(err, &gone), errors.As(err, &busy),
		errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: %s", activities.ErrUnanswered, err.Error())
	}
	return told(err)
}

// quoted is text within the quotes of a query of Temporal's index.
func quoted(s string) string {
	return strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s)
}
