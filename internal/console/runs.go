package console

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/converter"

	"github.com/wflo-ai/wflo-go"
)

// Bounds of a list of runs.
const (
	someRuns = 100
	mostRuns = 200
)

// Run is one run in a list.
type Run struct {
	ID    string `json:"id"`
	RunID string `json:"run_id"`
	// FirstRunID is that of the first in a chain of runs; empty when Temporal does not
	// say.
	FirstRunID string `json:"first_run_id,omitempty"`
	Workflow   string `json:"workflow"`
	Status     string `json:"status"` // Temporal's: Running, Completed, ...
	// State is the run's own word, as the visibility store has it.
	State wflo.RunState `json:"state"`
	User  string        `json:"user,omitempty"`
	Team  string        `json:"team,omitempty"`
	Org   string        `json:"org,omitempty"`
	// Gates are the open ones, Risk the highest of them, Deadline when the first of them
	// times out.
	Gates    []string  `json:"gates,omitempty"`
	Risk     wflo.Risk `json:"risk,omitempty"`
	Deadline time.Time `json:"deadline,omitzero"`
	// Spent is rounded to a hundredth of a cent; nil means unknown. The ledger has the
	// exact figure.
	Spent   *wflo.Money `json:"spent,omitempty"`
	Started time.Time   `json:"started"`
	Closed  time.Time   `json:"closed,omitzero"`
}

// States are what runs can be listed by.
var States = []wflo.RunState{
	wflo.StateRunning, wflo.StateWaiting, wflo.StateCompensating, wflo.StateRestoring, wflo.StateHalted, wflo.StateCompleted, wflo.StateFailed,
}

// runFilter is what a list of runs takes in its query.
type runFilter struct {
	State                wflo.RunState
	Workflow, User, Team string
	ID                   string // how the id begins
	From, To             time.Time
	Internal             bool // also the runs by which wflo itself works
	After                []byte
	Limit                int
}

// runFilterNames are the parameters of runFilter.
var runFilterNames = []string{"state", "workflow", "user", "team", "id", "from", "to", "internal", "after", "limit"}

// runFilterOf reads a list's query. Times are RFC 3339, or a day.
func runFilterOf(r *http.Request, without int) (f runFilter, err error) {
	q, err := queryOf(r, runFilterNames...)
	if err != nil {
		return f, err
	}
	field := func(name string) string { return strings.TrimSpace(q.Get(name)) }
	f = runFilter{State: wflo.RunState(field("state")), Workflow: field("workflow"), User: field("user"), Team: field("team"), ID: field("id")}
	if f.State != "" && !slices.Contains(States, f.State) {
		return f, wflo.Invalid("state", fmt.Sprintf("is %q", f.State), "use one of "+fmt.Sprint(States))
	}
	for name, value := range map[string]string{"workflow": f.Workflow, "user": f.User, "team": f.Team, "id": f.ID} {
		// Temporal's query language has no way to write these in a string that all stores
		// read alike.
		if strings.ContainsAny(value, `'"\`) || text(name, value) != nil {
			return f, wflo.Invalid(name, fmt.Sprintf("is %q", value), "leave out quotes, backslashes and what cannot be seen")
		}
	}
	for name, into := range map[string]*time.Time{"from": &f.From, "to": &f.To} {
		if *into, err = timeOf(name, field(name)); err != nil {
			return f, err
		}
	}
	if f.Internal, err = yes(field("internal")); err != nil {
		return f, wflo.Invalid("internal", fmt.Sprintf("is %q", field("internal")), "use true or false")
	}
	if f.After, err = base64.RawURLEncoding.DecodeString(q.Get("after")); err != nil {
		return f, errCursor
	}
	f.Limit, err = count(q, "limit", without, mostRuns)
	return f, err
}

var errCursor = wflo.Invalid("after", "is not where a page of runs ends", "follow the link to the next page, or begin again without it")

// timeOf reads a time or a day; empty is the zero time.
func timeOf(name, given string) (time.Time, error) {
	if given == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, given); err == nil {
			return t, nil
		}
	}
	return time.Time{}, wflo.Invalid(name, fmt.Sprintf("is %q", given), "write a time as in 2026-12-01T13:00:00Z, or a day as in 2026-12-01")
}

// query is the filter in Temporal's language, for runs of an org; empty is all orgs.
func (f runFilter) query(org string) (string, error) {
	own, err := ofOrg(org)
	if err != nil {
		return "", err
	}
	var all []string
	add := func(given, format string, args ...any) {
		if given != "" {
			all = append(all, fmt.Sprintf(format, args...))
		}
	}
	add(own, "%s", own)
	if !f.Internal {
		add("own", "WorkflowType != '%s'", wflo.WorkflowBudgetAlert)
	}
	state := StateQuery(f.State)
	add(state, "(%s)", state)
	add(f.Workflow, "WorkflowType = '%s'", f.Workflow)
	add(f.User, "%s = '%s'", wflo.AttrUser, f.User)
	add(f.Team, "%s = '%s'", wflo.AttrTeam, f.Team)
	add(f.ID, "WorkflowId STARTS_WITH '%s'", f.ID)
	if !f.From.IsZero() {
		add("from", "StartTime >= '%s'", f.From.UTC().Format(time.RFC3339Nano))
	}
	if !f.To.IsZero() {
		add("to", "StartTime < '%s'", f.To.UTC().Format(time.RFC3339Nano))
	}
	return strings.Join(all, " AND "), nil
}

// StateQuery is the visibility query for a state. Runs that ended are told by Temporal's
// status, because a run that was terminated cannot say so itself.
func StateQuery(state wflo.RunState) string {
	const running = "ExecutionStatus = 'Running'"
	own := fmt.Sprintf("%s = '%s'", wflo.AttrState, state)
	switch state {
	case "":
		return ""
	case wflo.StateRunning:
		return fmt.Sprintf("%s AND (%s OR %s IS NULL)", running, own, wflo.AttrState)
	case wflo.StateCompleted:
		return "ExecutionStatus = 'Completed'"
	case wflo.StateFailed:
		return fmt.Sprintf("ExecutionStatus IN ('Failed', 'TimedOut', 'Terminated', 'Canceled') AND (%s != '%s' OR %s IS NULL)",
			wflo.AttrState, wflo.StateHalted, wflo.AttrState)
	case wflo.StateHalted:
		return own
	}
	return running + " AND " + own
}

// runs answers the API with a page of runs. A further page is where its header Link says.
func (h *Handler) runs(w http.ResponseWriter, r *http.Request) {
	var next string
	h.json(func(ctx context.Context, r *http.Request) (any, error) {
		f, err := runFilterOf(r, someRuns)
		if err != nil {
			return nil, err
		}
		all, after, err := h.listRuns(ctx, f)
		if err == nil && after != "" {
			next = pageAfter(r.URL, after)
			w.Header().Set("Link", "<"+next+`>; rel="next"`)
		}
		return all, err
	})(w, r)
}

// pageAfter is the address of the page that begins behind a cursor.
func pageAfter(u *url.URL, after string) string {
	q := u.Query()
	q.Set("after", after)
	return u.EscapedPath() + "?" + q.Encode()
}

// listRuns reads a page of the caller's runs, the newest first, and where the next one
// begins; empty on the last.
func (h *Handler) listRuns(ctx context.Context, f runFilter) ([]Run, string, error) {
	query, err := f.query(callerOf(ctx).id.Org)
	if err != nil {
		return nil, "", err
	}
	all, next, err := h.list(ctx, query, f.Limit, f.After)
	var bad *serviceerror.InvalidArgument
	if len(f.After) > 0 && errors.As(err, &bad) {
		return nil, "", errCursor
	}
	return all, base64.RawURLEncoding.EncodeToString(next), err
}

func (h *Handler) list(ctx context.Context, query string, limit int, after []byte) ([]Run, []byte, error) {
	res, err := h.cfg.Client.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{PageSize: int32(min(limit, mostRuns)), Query: query, NextPageToken: after})
	if err != nil {
		return nil, nil, fmt.Errorf("list runs: %w", err)
	}
	runs := make([]Run, 0, len(res.GetExecutions()))
	for _, e := range res.GetExecutions() {
		runs = append(runs, runOf(e))
	}
	return runs, res.GetNextPageToken(), nil
}

// runOf reads what the visibility store has of a run.
func runOf(e *workflowpb.WorkflowExecutionInfo) Run {
	run := Run{
		ID: e.GetExecution().GetWorkflowId(), RunID: e.GetExecution().GetRunId(), FirstRunID: e.GetFirstRunId(),
		Workflow: e.GetType().GetName(), Status: e.GetStatus().String(), Started: e.GetStartTime().AsTime(),
	}
	if e.GetCloseTime() != nil {
		run.Closed = e.GetCloseTime().AsTime()
	}
	attribute := func(name string, into any) bool {
		p, there := e.GetSearchAttributes().GetIndexedFields()[name]
		return there && converter.GetDefaultDataConverter().FromPayload(p, into) == nil
	}
	attribute(wflo.AttrState, &run.State)
	attribute(wflo.AttrUser, &run.User)
	attribute(wflo.AttrTeam, &run.Team)
	attribute(wflo.AttrOrg, &run.Org)
	var dollars float64
	if attribute(wflo.AttrCost, &dollars) {
		const grain = wflo.Cent / 100
		spent := wflo.Money(math.Round(dollars*float64(wflo.USD/grain))) * grain
		run.Spent = &spent
	}
	switch e.GetStatus() {
	case enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, enumspb.WORKFLOW_EXECUTION_STATUS_PAUSED:
		attribute(wflo.AttrGates, &run.Gates)
		if len(run.Gates) > 0 {
			attribute(wflo.AttrRisk, &run.Risk)
			attribute(wflo.AttrDeadline, &run.Deadline)
		}
		run.State = cmp.Or(run.State, wflo.StateRunning)
	case enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED, enumspb.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW:
		run.State = wflo.StateCompleted
	default:
		// What the run last said of itself may be older than its end.
		if run.State != wflo.StateHalted {
			run.State = wflo.StateFailed
		}
	}
	return run
}
