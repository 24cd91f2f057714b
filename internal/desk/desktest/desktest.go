// Package desktest has runs that wait at gates without a Temporal server: [Runs] is
// the part of Temporal's client that a desk and a console use, over gates that judge
// decisions as workflows do.
package desktest

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"slices"
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
	"google.golang.org/grpc"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

// KeyName is the name of the key that the runs trust.
const KeyName = "console"

// Runs are runs that wait at gates. What it does not implement panics.
type Runs struct {
	client.Client
	// Terms are those of the gates; New makes them trust Sign's key.
	Terms wflo.Terms
	// Now is the clock of the runs.
	Now func() time.Time

	mu      sync.Mutex
	records activities.Records
	key     ed25519.PrivateKey
	gates   []wflo.Gate
	results map[string]wflo.Gate // by update
	ended   map[string]bool      // by workflow
	down    bool
	silent  bool
	unaware int // updates that find no gate open
	updates []client.UpdateWorkflowOptions
	told    []Told
}

// Told is that a run was told to stop.
type Told struct {
	WorkflowID, RunID string
	// Halt is what the signal carried; nil says that it was cancelled.
	Halt *wflo.Halt
}

// New makes runs whose gates are indexed in records.
func New(records activities.Records, now func() time.Time) (*Runs, error) {
	public, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	return &Runs{
		Terms: wflo.Terms{Keys: map[string]string{KeyName: base64.StdEncoding.EncodeToString(public)}},
		Now:   now, records: records, key: key, results: map[string]wflo.Gate{}, ended: map[string]bool{},
	}, nil
}

// Sign signs with the key that the runs trust.
func (r *Runs) Sign(d wflo.Decision) wflo.Decision { return d.Sign(KeyName, r.key) }

// Ask opens a gate and puts it into the index.
func (r *Runs) Ask(ctx context.Context, run wflo.Run, nonce string, a wflo.Approval) (wflo.Gate, error) {
	if err := a.Validate(); err != nil {
		return wflo.Gate{}, err
	}
	g := run.Ask(a.Gate, a, r.Now()).Seal(nonce)
	r.mu.Lock()
	r.gates = append(r.gates, g)
	r.mu.Unlock()
	return g, r.records.SaveGate(ctx, g)
}

// Change changes a gate without the index knowing, as time and other people do.
func (r *Runs) Change(nonce string, change func(wflo.Gate) wflo.Gate) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.IndexFunc(r.gates, func(g wflo.Gate) bool { return g.Nonce == nonce })
	r.gates[i] = change(r.gates[i])
}

// Gate is the gate as its run has it.
func (r *Runs) Gate(nonce string) wflo.Gate {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.IndexFunc(r.gates, func(g wflo.Gate) bool { return g.Nonce == nonce })
	return r.gates[i]
}

// StopWorkers makes every run unable to answer.
func (r *Runs) StopWorkers() { r.set(func() { r.down = true }) }

// StayAway makes updates arrive and be done, and their answers get lost.
func (r *Runs) StayAway(yes bool) { r.set(func() { r.silent = yes }) }

// Lag has the next n updates come before the runs have learnt that their gates are open.
func (r *Runs) Lag(n int) { r.set(func() { r.unaware = n }) }

// End ends a run while its gates are open.
func (r *Runs) End(workflowID string) { r.set(func() { r.ended[workflowID] = true }) }

func (r *Runs) set(do func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	do()
}

// Updates are those that were sent.
func (r *Runs) Updates() []client.UpdateWorkflowOptions {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.updates)
}

// ServerVersion is what the runs say of their server.
const ServerVersion = "1.32.1"

// WorkflowService implements client.Client for a server that says its version.
func (r *Runs) WorkflowService() workflowservice.WorkflowServiceClient { return service{} }

type service struct {
	workflowservice.WorkflowServiceClient
}

// GetSystemInfo implements workflowservice.WorkflowServiceClient.
func (service) GetSystemInfo(context.Context, *workflowservice.GetSystemInfoRequest, ...grpc.CallOption) (*workflowservice.GetSystemInfoResponse, error) {
	return &workflowservice.GetSystemInfoResponse{ServerVersion: ServerVersion}, nil
}

// Stops are the runs that were told to stop, in their order.
func (r *Runs) Stops() []Told {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.told)
}

// SignalWorkflow implements client.Client for wflo.SignalHalt.
func (r *Runs) SignalWorkflow(_ context.Context, workflowID, runID, name string, arg any) error {
	halt, ok := arg.(wflo.Halt)
	if !ok || name != wflo.SignalHalt {
		return errors.New("the runs of desktest are halted only")
	}
	return r.tell(Told{WorkflowID: workflowID, RunID: runID, Halt: &halt})
}

// CancelWorkflow implements client.Client.
func (r *Runs) CancelWorkflow(_ context.Context, workflowID, runID string) error {
	return r.tell(Told{WorkflowID: workflowID, RunID: runID})
}

func (r *Runs) tell(t Told) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended[t.WorkflowID] {
		return serviceerror.NewNotFound("workflow execution already completed")
	}
	r.told = append(r.told, t)
	return nil
}

// CheckHealth implements client.Client.
func (r *Runs) CheckHealth(context.Context, *client.CheckHealthRequest) (*client.CheckHealthResponse, error) {
	return &client.CheckHealthResponse{}, nil
}

// QueryWorkflow implements client.Client for wflo.QueryGates.
func (r *Runs) QueryWorkflow(_ context.Context, workflowID, _, name string, _ ...any) (converter.EncodedValue, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if name != wflo.QueryGates || r.down {
		return nil, errors.New("no worker polls the queue of host 10.1.2.3")
	}
	of := []wflo.Gate{}
	for _, g := range r.gates {
		if g.WorkflowID == workflowID {
			of = append(of, g)
		}
	}
	payloads, err := converter.GetDefaultDataConverter().ToPayloads(of)
	return client.NewValue(payloads), err
}

// UpdateWorkflow implements client.Client for wflo.UpdateDecide.
func (r *Runs) UpdateWorkflow(_ context.Context, o client.UpdateWorkflowOptions) (client.WorkflowUpdateHandle, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.updates = append(r.updates, o)
	if r.down {
		return nil, client.NewWorkflowUpdateServiceTimeoutOrCanceledError(context.DeadlineExceeded)
	}
	d, ok := o.Args[0].(wflo.Decision)
	if !ok || o.UpdateName != wflo.UpdateDecide || r.ended[o.WorkflowID] {
		return nil, serviceerror.NewNotFound("workflow execution already completed")
	}
	g, err := r.decide(o, d)
	if r.silent {
		return nil, client.NewWorkflowUpdateServiceTimeoutOrCanceledError(context.DeadlineExceeded)
	}
	return &handle{gate: g, err: err, id: o.UpdateID}, nil
}

func (r *Runs) decide(o client.UpdateWorkflowOptions, d wflo.Decision) (wflo.Gate, error) {
	if g, done := r.results[o.UpdateID]; done && o.UpdateID != "" {
		return g, nil
	}
	i := slices.IndexFunc(r.gates, func(g wflo.Gate) bool {
		return g.WorkflowID == o.WorkflowID && g.ID == d.Gate && (d.Nonce == "" || d.Nonce == g.Nonce)
	})
	if r.unaware--; i < 0 || r.unaware >= 0 {
		return wflo.Gate{}, refusal(wflo.Errorf(wflo.CodeUnopened, "look again", "decision.gate is not one of this run"))
	}
	g, err := r.gates[i].Apply(d, r.Terms, r.Now())
	if err != nil {
		return wflo.Gate{}, refusal(err)
	}
	r.gates[i] = g
	r.results[o.UpdateID] = g
	return g, nil
}

// refusal is how an update's error comes over the wire.
func refusal(err error) error {
	message, hint := wflo.Explain(err)
	return temporal.NewApplicationErrorWithOptions(message, string(wflo.CodeOf(err)), temporal.ApplicationErrorOptions{NonRetryable: true, Details: []any{hint}})
}

// DescribeWorkflowExecution implements client.Client.
func (r *Runs) DescribeWorkflowExecution(_ context.Context, workflowID, _ string) (*workflowservice.DescribeWorkflowExecutionResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.IndexFunc(r.gates, func(g wflo.Gate) bool { return g.WorkflowID == workflowID })
	if i < 0 {
		return nil, serviceerror.NewNotFound("no such workflow")
	}
	status := enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING
	if r.ended[workflowID] {
		status = enumspb.WORKFLOW_EXECUTION_STATUS_TERMINATED
	}
	fields := map[string]*commonpb.Payload{}
	if org := r.gates[i].Org; org != "" {
		p, err := converter.GetDefaultDataConverter().ToPayload(org)
		if err != nil {
			return nil, err
		}
		fields[wflo.AttrOrg] = p
	}
	return &workflowservice.DescribeWorkflowExecutionResponse{WorkflowExecutionInfo: &workflowpb.WorkflowExecutionInfo{
		Execution: &commonpb.WorkflowExecution{WorkflowId: workflowID, RunId: "run"}, Type: &commonpb.WorkflowType{Name: "wf"},
		Status: status, FirstRunId: cmp.Or(r.gates[i].FirstRunID, "first"), SearchAttributes: &commonpb.SearchAttributes{IndexedFields: fields},
	}}, nil
}

// ListWorkflow implements client.Client: it lists nothing, and refuses queries that
// are none.
func (r *Runs) ListWorkflow(context.Context, *workflowservice.ListWorkflowExecutionsRequest) (*workflowservice.ListWorkflowExecutionsResponse, error) {
	return &workflowservice.ListWorkflowExecutionsResponse{}, nil
}

// handle is an update that is done.
type handle struct {
	client.WorkflowUpdateHandle
	gate wflo.Gate
	err  error
	id   string
}

// UpdateID implements client.WorkflowUpdateHandle.
func (h *handle) UpdateID() string { return h.id }

// Get implements client.WorkflowUpdateHandle.
func (h *handle) Get(_ context.Context, out any) error {
	if h.err != nil {
		return h.err
	}
	if g, ok := out.(*wflo.Gate); ok {
		*g = h.gate
	}
	return nil
}
