package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	failurepb "go.temporal.io/api/failure/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/serviceerror"
	taskqueuepb "go.temporal.io/api/taskqueue/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/wflo-ai/wflo-go"
)

// fakeTemporal stands for a server and its worker. Methods that it does not
// have panic, because the embedded client is nil.
type fakeTemporal struct {
	client.Client

	runs     []*workflowpb.WorkflowExecutionInfo
	statuses map[string]wflo.Status
	history  []*historypb.HistoryEvent
	result   any
	failure  error
	pollers  int
	update   error       // of wflo.decide
	terms    *wflo.Terms // of wflo.decide; nil takes everything
	home     string      // for data of the user; empty is an empty one
	api      string      // address of a worker's API; empty is one that nobody serves
	hang     bool        // the history never ends

	run        wflo.Run
	started    client.StartWorkflowOptions
	workflow   string
	args       []any
	decisions  []wflo.Decision
	updates    []client.UpdateWorkflowOptions
	signals    []any
	cancelled  []string
	terminated []string
	queries    []string
}

func (f *fakeTemporal) Close() {}

func (f *fakeTemporal) dial(context.Context, client.Options) (client.Client, error) { return f, nil }

func (f *fakeTemporal) ExecuteWorkflow(ctx context.Context, o client.StartWorkflowOptions, workflow any, args ...any) (client.WorkflowRun, error) {
	f.run, _ = wflo.RunFrom(ctx)
	f.started, f.workflow, f.args = o, workflow.(string), args
	if o.ID == "taken" {
		return nil, serviceerror.NewWorkflowExecutionAlreadyStarted("taken", "", "")
	}
	return fakeRun{f, o.ID}, nil
}

func (f *fakeTemporal) GetWorkflow(_ context.Context, id, _ string) client.WorkflowRun {
	return fakeRun{f, id}
}

type fakeRun struct {
	f  *fakeTemporal
	id string
}

func (r fakeRun) GetID() string    { return r.id }
func (r fakeRun) GetRunID() string { return "run-1" }

func (r fakeRun) GetFirstExecutionRunID() string { return "run-1" }

func (r fakeRun) Get(_ context.Context, into any) error {
	if r.f.failure != nil || r.f.result == nil {
		return r.f.failure
	}
	p, err := converter.GetDefaultDataConverter().ToPayload(r.f.result)
	if err != nil {
		return err
	}
	*into.(*converter.RawValue) = converter.NewRawValue(p)
	return nil
}

func (r fakeRun) GetWithOptions(ctx context.Context, into any, _ client.WorkflowRunGetOptions) error {
	return r.Get(ctx, into)
}

func (f *fakeTemporal) GetWorkflowHistory(ctx context.Context, _, _ string, _ bool, _ enumspb.HistoryEventFilterType) client.HistoryEventIterator {
	return &fakeHistory{ctx: ctx, events: f.history, hang: f.hang}
}

type fakeHistory struct {
	ctx    context.Context
	events []*historypb.HistoryEvent
	hang   bool
}

func (h *fakeHistory) HasNext() bool { return len(h.events) > 0 || h.hang }

func (h *fakeHistory) Next() (*historypb.HistoryEvent, error) {
	if len(h.events) == 0 {
		<-h.ctx.Done()
		return nil, h.ctx.Err()
	}
	e := h.events[0]
	h.events = h.events[1:]
	return e, nil
}

func (f *fakeTemporal) QueryWorkflow(_ context.Context, id, _, query string, _ ...any) (converter.EncodedValue, error) {
	st, ok := f.statuses[id]
	switch {
	case !ok:
		return nil, serviceerror.NewNotFound("workflow not found")
	case st.State == "plain":
		return nil, serviceerror.NewQueryFailed("unknown queryType " + query)
	case st.State == "silent":
		return nil, serviceerror.NewDeadlineExceeded("no poller")
	case query == wflo.QueryGates:
		return encoded(st.Gates)
	}
	return encoded(st)
}

func encoded(v any) (converter.EncodedValue, error) {
	p, err := converter.GetDefaultDataConverter().ToPayloads(v)
	return client.NewValue(p), err
}

func (f *fakeTemporal) ListWorkflow(_ context.Context, r *workflowservice.ListWorkflowExecutionsRequest) (*workflowservice.ListWorkflowExecutionsResponse, error) {
	f.queries = append(f.queries, r.Query)
	return &workflowservice.ListWorkflowExecutionsResponse{Executions: f.runs}, nil
}

func (f *fakeTemporal) DescribeWorkflowExecution(_ context.Context, id, _ string) (*workflowservice.DescribeWorkflowExecutionResponse, error) {
	for _, r := range f.runs {
		if r.Execution.WorkflowId == id {
			return &workflowservice.DescribeWorkflowExecutionResponse{WorkflowExecutionInfo: r}, nil
		}
	}
	return nil, serviceerror.NewNotFound("workflow not found")
}

func (f *fakeTemporal) DescribeTaskQueue(context.Context, string, enumspb.TaskQueueType) (*workflowservice.DescribeTaskQueueResponse, error) {
	return &workflowservice.DescribeTaskQueueResponse{Pollers: make([]*taskqueuepb.PollerInfo, f.pollers)}, nil
}

func (f *fakeTemporal) UpdateWorkflow(_ context.Context, o client.UpdateWorkflowOptions) (client.WorkflowUpdateHandle, error) {
	f.updates = append(f.updates, o)
	d := o.Args[0].(wflo.Decision)
	f.decisions = append(f.decisions, d)
	if f.update != nil {
		return nil, f.update
	}
	if f.terms != nil {
		for _, g := range f.statuses[o.WorkflowID].Gates {
			if err := g.Admit(d, *f.terms, time.Now()); g.ID == d.Gate && err != nil {
				message, hint := wflo.Explain(err)
				return nil, wireInvalid(message, hint)
			}
		}
	}
	for _, g := range f.statuses[o.WorkflowID].Gates {
		if g.ID == d.Gate && g.Status == wflo.GateOpen {
			g.Status = map[wflo.Verdict]wflo.GateStatus{
				wflo.VerdictApprove: wflo.GateApproved, wflo.VerdictReject: wflo.GateRejected, wflo.VerdictRespond: wflo.GateAnswered,
			}[d.Verdict]
			g.Decision = &d
			return fakeUpdate{gate: g}, nil
		}
	}
	return nil, errors.New("no such gate")
}

type fakeUpdate struct {
	client.WorkflowUpdateHandle
	gate wflo.Gate
}

func (u fakeUpdate) Get(_ context.Context, into any) error {
	*into.(*wflo.Gate) = u.gate
	return nil
}

func (f *fakeTemporal) SignalWorkflow(_ context.Context, id, _, name string, arg any) error {
	f.signals = append(f.signals, id, name, arg)
	return nil
}

func (f *fakeTemporal) CancelWorkflow(_ context.Context, id, _ string) error {
	f.cancelled = append(f.cancelled, id)
	return nil
}

func (f *fakeTemporal) TerminateWorkflow(_ context.Context, id, _, _ string, _ ...any) error {
	f.terminated = append(f.terminated, id)
	return nil
}

// ends is the shortest history of a run that a worker served.
func ends(last enumspb.EventType) []*historypb.HistoryEvent {
	return []*historypb.HistoryEvent{
		{EventType: enumspb.EVENT_TYPE_WORKFLOW_TASK_STARTED},
		{EventType: enumspb.EVENT_TYPE_WORKFLOW_TASK_COMPLETED},
		{EventType: last},
	}
}

func taskFailure(text string) *historypb.HistoryEvent {
	return &historypb.HistoryEvent{
		EventType: enumspb.EVENT_TYPE_WORKFLOW_TASK_FAILED,
		Attributes: &historypb.HistoryEvent_WorkflowTaskFailedEventAttributes{
			WorkflowTaskFailedEventAttributes: &historypb.WorkflowTaskFailedEventAttributes{Failure: &failurepb.Failure{Message: text}},
		},
	}
}

func info(id string, status enumspb.WorkflowExecutionStatus, attrs map[string]any) *workflowpb.WorkflowExecutionInfo {
	fields := map[string]*commonpb.Payload{}
	for name, v := range attrs {
		p, err := converter.GetDefaultDataConverter().ToPayload(v)
		if err != nil {
			panic(err)
		}
		fields[name] = p
	}
	return &workflowpb.WorkflowExecutionInfo{
		Execution: &commonpb.WorkflowExecution{WorkflowId: id, RunId: "run-" + id},
		Type:      &commonpb.WorkflowType{Name: "wflo.Agent"}, Status: status,
		StartTime:        timestamppb.New(time.Now().Add(-90 * time.Second)),
		SearchAttributes: &commonpb.SearchAttributes{IndexedFields: fields},
	}
}

func gate(run, id string) wflo.Gate {
	g := wflo.Gate{
		ID: id, WorkflowID: run, FirstRunID: "first", Nonce: "n", Status: wflo.GateOpen, User: "ann",
		Approval: wflo.Approval{Gate: id, Action: "Refund 12 USD", Payload: json.RawMessage(`{"amount":"12.00"}`)},
		OpenedAt: time.Now(), ExpiresAt: time.Now().Add(time.Hour),
	}
	g.Digest = g.ComputeDigest()
	return g
}

// result is what one invocation did.
type result struct {
	code        int
	out, errOut string
}

// invoke runs the command line against the fake, without a terminal.
func invoke(t *testing.T, f *fakeTemporal, line ...string) result {
	t.Helper()
	return invokeCtx(t.Context(), t, f, line...)
}

func invokeCtx(ctx context.Context, t *testing.T, f *fakeTemporal, line ...string) result {
	t.Helper()
	home := f.home
	if home == "" {
		home = t.TempDir()
	}
	t.Setenv("XDG_DATA_HOME", home)
	t.Setenv("XDG_CONFIG_HOME", home)
	t.Setenv("WFLO_USER", "bob")
	t.Setenv("TEMPORAL_CONFIG_FILE", "")
	t.Setenv("WFLO_API", cmp.Or(f.api, "http://127.0.0.1:1"))
	var out, errOut bytes.Buffer
	code := Main(ctx, Deps{
		Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errOut, Dial: f.dial,
		Aliases: []Alias{
			{Name: "agent", Workflow: wflo.WorkflowAgent, About: "the agent"},
			{Name: "refund", Workflow: "wflo.example.Refund", Input: `{"amount":"12.00"}`, About: "an example"},
		},
		Version: "v1.2.3",
	}, line)
	for name, text := range map[string]string{"stdout": out.String(), "stderr": errOut.String()} {
		if strings.ContainsRune(text, 0x1b) {
			t.Errorf("%s has escape sequences though it is no terminal: %q", name, text)
		}
	}
	return result{code, out.String(), errOut.String()}
}

// want checks the exit code and what each stream must hold.
func (r result) want(t *testing.T, code int, out, errOut []string) {
	t.Helper()
	if r.code != code {
		t.Errorf("exit code %d, want %d", r.code, code)
	}
	check := func(name, text string, parts []string) {
		if i := slices.IndexFunc(parts, func(p string) bool { return !strings.Contains(text, p) }); i >= 0 {
			t.Errorf("%s lacks %q:\n%s", name, parts[i], text)
		}
		if len(parts) == 0 && text != "" {
			t.Errorf("%s should be empty: %s", name, text)
		}
	}
	check("stdout", r.out, out)
	check("stderr", r.errOut, errOut)
	if t.Failed() {
		t.Logf("stdout:\n%s\nstderr:\n%s", r.out, r.errOut)
	}
}
