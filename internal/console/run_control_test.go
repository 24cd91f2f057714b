package console

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"testing"

	"github.com/google/go-cmp/cmp"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/desk"
	"github.com/wflo-ai/wflo-go/internal/desk/desktest"
)

// stops gives the trail's records of runs that were stopped.
func (o *office) stops(chain string) (all []wflo.AuditRecord) {
	o.t.Helper()
	records, err := o.records.ReadAudit(o.t.Context(), wflo.AuditQuery{Chain: chain})
	if err != nil {
		o.t.Fatal(err)
	}
	for _, r := range records {
		if r.Type == wflo.AuditRunHalted || r.Type == wflo.AuditRunCancelAsked {
			all = append(all, r)
		}
	}
	return all
}

func TestStopByAPI(t *testing.T) {
	b := newBackOffice(t, nil)
	halt, cancel := "/api/v1/runs/refund-17/halt", "/api/v1/runs/refund-17/cancel"
	for range 2 { // the same again is the same
		wants(t, "halt", b.api(b.op, "POST", halt, `{"reason":"wrong customer"}`), 200, `"state":"halting"`, `"by":"olga"`, `"run_id":"run"`, `"recorded":true`)
	}
	wants(t, "cancel", b.api(b.op, "POST", cancel, ""), 200, `"state":"cancelling"`, `"recorded":true`)
	want := []desktest.Told{
		{WorkflowID: "refund-17", RunID: "run", Halt: &wflo.Halt{By: "olga", Reason: "wrong customer"}},
		{WorkflowID: "refund-17", RunID: "run", Halt: &wflo.Halt{By: "olga", Reason: "wrong customer"}},
		{WorkflowID: "refund-17", RunID: "run"},
	}
	if diff := cmp.Diff(want, b.runs.Stops()); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	records := b.stops("acme")
	if len(records) != 2 {
		t.Fatalf("the trail has %+v", records)
	}
	if r := records[0]; r.Type != wflo.AuditRunHalted || r.Actor != "olga" || r.WorkflowID != "refund-17" || r.FirstRunID != "first-17" ||
		string(r.Data) != `{"address":"127.0.0.1","channel":"api","reason":"wrong customer","run_id":"run"}` {
		t.Errorf("%+v: %s", r, r.Data)
	}
	if r := records[1]; r.Type != wflo.AuditRunCancelAsked {
		t.Errorf("%+v", r)
	}
}

func TestStopIsRefused(t *testing.T) {
	b := newBackOffice(t, nil)
	b.runs.Add(wflo.Run{WorkflowID: "over", FirstRunID: "f", Org: "acme"}, false)
	halt := "/api/v1/runs/refund-17/halt"
	for _, bad := range []string{"", "{}", `{"reason":"  "}`, `{"reason":"a\u0001"}`, `{"raeson":"x"}`, `{"reason":"x"} {}`} {
		wants(t, bad, b.api(b.op, "POST", halt, bad), 422, "hint")
	}
	wants(t, "with a parameter", b.api(b.op, "POST", halt+"?run=x", `{"reason":"x"}`), 422, "run")
	wants(t, "by who only looks", b.api(b.looks, "POST", halt, `{"reason":"x"}`), 403)
	wants(t, "by nobody", b.api("", "POST", halt, `{"reason":"x"}`), 401)
	wants(t, "unknown", b.api(b.op, "POST", "/api/v1/runs/none/halt", `{"reason":"x"}`), 404, "no such run")
	wants(t, "of another org", b.api(b.key("rita", "rival", wflo.RoleOperator), "POST", halt, `{"reason":"x"}`), 404, "no such run")
	wants(t, "of one's own org", b.api(b.key("amy", "acme", wflo.RoleOperator), "POST", "/api/v1/runs/over/halt", `{"reason":"x"}`), 409, `"code":"wflo.Conflict"`, "has ended")
	wants(t, "cancel what is over", b.api(b.op, "POST", "/api/v1/runs/over/cancel", ""), 409, "has ended")
	if told := b.runs.Stops(); len(told)+len(b.stops("acme"))+len(b.stops("main")) != 0 {
		t.Errorf("refused, and told %+v, recorded %+v", told, b.stops("acme"))
	}
}

// turns are runs that end or go on at the moment at which they are told to stop.
type turns struct {
	*desktest.Runs
	status []enumspb.WorkflowExecutionStatus // one for each look
	state  wflo.RunState
	looked int
	told   []string
}

func (s *turns) DescribeWorkflowExecution(_ context.Context, id, _ string) (*workflowservice.DescribeWorkflowExecutionResponse, error) {
	status := s.status[min(s.looked, len(s.status)-1)]
	s.looked++
	info := &workflowpb.WorkflowExecutionInfo{
		Execution: &commonpb.WorkflowExecution{WorkflowId: id, RunId: "run-" + string(rune('0'+s.looked))}, FirstRunId: "first",
		Type: &commonpb.WorkflowType{Name: "wf"}, Status: status, SearchAttributes: &commonpb.SearchAttributes{IndexedFields: map[string]*commonpb.Payload{}},
	}
	if s.state != "" {
		info.SearchAttributes.IndexedFields[wflo.AttrState] = payloads(s.state).GetPayloads()[0]
	}
	return &workflowservice.DescribeWorkflowExecutionResponse{WorkflowExecutionInfo: info}, nil
}

func (s *turns) SignalWorkflow(_ context.Context, _, runID, _ string, _ any) error {
	s.told = append(s.told, runID)
	if runID == "run-1" {
		return serviceerror.NewNotFound("workflow execution already completed")
	}
	return nil
}

func (s *turns) CancelWorkflow(context.Context, string, string) error {
	return serviceerror.NewCancellationAlreadyRequested("cancellation already requested")
}

// What a run does at the moment of the request changes neither that it is told nor what
// is said about it.
func TestStopWhileTheRunTurns(t *testing.T) {
	const running, failed, cancelled = enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, enumspb.WORKFLOW_EXECUTION_STATUS_FAILED, enumspb.WORKFLOW_EXECUTION_STATUS_CANCELED
	for name, tt := range map[string]struct {
		what   string
		status []enumspb.WorkflowExecutionStatus
		state  wflo.RunState
		code   int
		want   string
		told   []string
	}{
		"it goes on as a new run":      {"halt", []enumspb.WorkflowExecutionStatus{running, running}, "", 200, `"run_id":"run-2"`, []string{"run-1", "run-2"}},
		"it ends":                      {"halt", []enumspb.WorkflowExecutionStatus{running, failed}, "", 409, "has ended", []string{"run-1"}},
		"it was halted already":        {"halt", []enumspb.WorkflowExecutionStatus{failed}, wflo.StateHalted, 200, `"state":"halted"`, nil},
		"it was cancelled already":     {"cancel", []enumspb.WorkflowExecutionStatus{cancelled}, "", 200, `"state":"cancelled"`, nil},
		"it is being cancelled":        {"cancel", []enumspb.WorkflowExecutionStatus{running}, "", 200, `"state":"cancelling"`, nil},
		"it failed before it was told": {"cancel", []enumspb.WorkflowExecutionStatus{failed}, "", 409, "has ended", nil},
	} {
		s := &turns{status: tt.status, state: tt.state}
		o := newOffice(t, func(c *Config) { c.Client = s })
		s.Runs = o.runs
		wants(t, name, o.api(o.key("olga-"+tt.what, "", wflo.RoleOperator), "POST", "/api/v1/runs/r1/"+tt.what, `{"reason":"x"}`), tt.code, tt.want)
		if diff := cmp.Diff(tt.told, s.told); diff != "" {
			t.Errorf("%s: told (-want +got):\n%s", name, diff)
		}
	}
}

// full is a trail on a disk that is full.
type full struct{ activities.Records }

func (full) Append(context.Context, ...wflo.AuditEvent) error { return errors.New("no space left") }

// An emergency stop does not wait for a database, and says so; another change does.
func TestHaltWithoutTrail(t *testing.T) {
	var broken *desk.Desk
	o := newOffice(t, func(c *Config) { broken = c.Desk })
	o.gate("n1", "", nil)
	key := o.key("olga", "", wflo.RoleOperator)
	broken.Records = full{broken.Records}
	run := o.runs.Gate("n1").WorkflowID
	wants(t, "halt", o.api(key, "POST", "/api/v1/runs/"+run+"/halt", `{"reason":"x"}`), 200, `"recorded":false`)
	wants(t, "cancel", o.api(key, "POST", "/api/v1/runs/"+run+"/cancel", ""), 500, "!space")
	if told := o.runs.Stops(); len(told) != 1 || told[0].Halt == nil {
		t.Errorf("told %+v", told)
	}
}

// The page stops a run without a script, and only for who says so twice.
func TestStopOnPage(t *testing.T) {
	s := someTale()
	o := telling(t, s, nil)
	o.gate("n1", "", nil)
	run := o.runs.Gate("n1").WorkflowID
	page, olga := "/runs/"+run, o.logIn(o.key("olga", "", wflo.RoleOperator))
	wants(t, "run page", o.send(olga, http.MethodGet, page, ""), 200, `href="`+page+`/stop"`)
	form := o.send(olga, http.MethodGet, page+"/stop", "")
	wants(t, "stop page", form, 200, `action="`+page+`/stop"`, "(1 effect)", `name="sure"`)
	csrf := o.formTo(form.body, page+"/stop").Get("csrf")
	post := func(more url.Values) answered {
		more.Set("csrf", csrf)
		return o.post(olga, page+"/stop", more)
	}
	wants(t, "without the box", post(url.Values{"what": {"halt"}, "reason": {"wrong customer"}}), 422, "not ticked", `value="wrong customer"`)
	wants(t, "without a reason", post(url.Values{"what": {"halt"}, "sure": {"yes"}}), 422, "reason is missing")
	wants(t, "without a choice", post(url.Values{"sure": {"yes"}, "reason": {"x"}}), 422, "halt or to cancel")
	wants(t, "without the token", o.post(olga, page+"/stop", url.Values{"what": {"halt"}, "sure": {"yes"}, "reason": {"x"}}), 403)
	if told := o.runs.Stops(); len(told) != 0 {
		t.Fatalf("told %+v", told)
	}
	wants(t, "halt", post(url.Values{"what": {"halt"}, "sure": {"yes"}, "reason": {"wrong customer"}}), 303)
	wants(t, "cancel", post(url.Values{"what": {"cancel"}, "sure": {"yes"}}), 303)
	if told := o.runs.Stops(); len(told) != 2 || told[0].Halt == nil || told[0].Halt.Reason != "wrong customer" || told[1].Halt != nil {
		t.Errorf("told %+v", told)
	}
	if records := o.stops("main"); len(records) != 2 || records[0].Actor != "olga" {
		t.Errorf("trail %+v", records)
	}

	vic := o.logIn(o.key("vic", "", wflo.RoleViewer))
	wants(t, "run page of who only looks", o.send(vic, http.MethodGet, page, ""), 200, "!"+page+"/stop")
	wants(t, "stop page of who only looks", o.send(vic, http.MethodGet, page+"/stop", ""), 403)
	o.runs.End(run)
	wants(t, "what is over", o.send(olga, http.MethodGet, page+"/stop", ""), 409, "has ended")
}
