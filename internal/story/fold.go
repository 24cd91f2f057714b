package story

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	failurepb "go.temporal.io/api/failure/v1"
	historypb "go.temporal.io/api/history/v1"

	"github.com/wflo-ai/wflo-go"
)

// fold adds one event to the account.
func (a *account) fold(ctx context.Context, e *historypb.HistoryEvent) {
	a.size += 40
	if a.foldRun(e) || a.foldActivity(ctx, e) || a.foldOthers(e) || a.foldMessages(ctx, e) {
		return
	}
	switch e.GetEventType() {
	case enumspb.EVENT_TYPE_MARKER_RECORDED:
		a.marker(ctx, e)
	case enumspb.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED, enumspb.EVENT_TYPE_WORKFLOW_TASK_STARTED,
		enumspb.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES, enumspb.EVENT_TYPE_WORKFLOW_PROPERTIES_MODIFIED,
		enumspb.EVENT_TYPE_WORKFLOW_PROPERTIES_MODIFIED_EXTERNALLY, enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_OPTIONS_UPDATED,
		enumspb.EVENT_TYPE_ACTIVITY_PROPERTIES_MODIFIED_EXTERNALLY:
	default:
		a.unknown++
	}
}

// row makes a row that begins with an event.
func (a *account) row(e *historypb.HistoryEvent, kind Kind, name string) *entry {
	at := e.GetEventTime().AsTime()
	r := entry{
		Row: Row{
			ID: a.runID + "-" + strconv.FormatInt(e.GetEventId(), 10), Kind: kind, Name: line(name), State: StateRunning,
			Start: at, RunID: a.runID, EventID: e.GetEventId(),
		},
		parent: -1,
	}
	return &r
}

// add puts a row at the end, within another one; -1 means the run itself.
func (a *account) add(r *entry, parent int) int {
	if parent < 0 && len(a.rows) > 0 {
		parent = 0 // the run's own row is the first
	}
	r.parent = parent
	if parent >= 0 {
		r.Parent = a.rows[parent].ID
	}
	for p := parent; p >= 0 && r.Kind != KindStep; p = a.rows[p].parent {
		a.rows[p].within++
	}
	a.rows = append(a.rows, *r)
	i := len(a.rows) - 1
	a.events[r.EventID] = i
	if r.State != StateRunning && r.State != StateWaiting {
		a.left(i)
	}
	return i
}

// end says how a row ended.
func (a *account) end(i int, at time.Time, w wrong) {
	r := &a.rows[i]
	if !r.End.IsZero() {
		return
	}
	r.State, r.End = w.state, at
	r.Error, r.Hint, r.Code = w.message, w.hint, w.code
	if w.state == StateDone {
		r.Error = ""
	}
	a.left(i)
}

// left says to the rows around one that it is over.
func (a *account) left(i int) {
	r := &a.rows[i]
	if r.Kind == KindStep {
		return
	}
	at := r.End
	if at.IsZero() {
		at = r.Start
	}
	for p := r.parent; p >= 0; p = a.rows[p].parent {
		around := &a.rows[p]
		around.within--
		if around.Kind != KindStep || r.Kind == KindCompensation {
			continue
		}
		if at.After(around.until) {
			around.until = at
		}
		around.State, around.Error, around.Hint, around.Code = r.State, r.Error, r.Hint, r.Code
	}
}

// done is how rows end that end well.
var done = wrong{state: StateDone}

// foldRun takes what happens to the run itself.
func (a *account) foldRun(e *historypb.HistoryEvent) bool {
	at := e.GetEventTime().AsTime()
	switch e.GetEventType() {
	case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED:
		a.start(e)
	case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED:
		a.finish(e, enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED, done, e.GetWorkflowExecutionCompletedEventAttributes().GetNewExecutionRunId())
	case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED:
		f := e.GetWorkflowExecutionFailedEventAttributes()
		a.finish(e, enumspb.WORKFLOW_EXECUTION_STATUS_FAILED, a.read.wrongOf(f.GetFailure()), f.GetNewExecutionRunId())
	case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT:
		a.finish(e, enumspb.WORKFLOW_EXECUTION_STATUS_TIMED_OUT, wrong{state: StateTimedOut, message: "the run timed out"}, e.GetWorkflowExecutionTimedOutEventAttributes().GetNewExecutionRunId())
	case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED:
		a.finish(e, enumspb.WORKFLOW_EXECUTION_STATUS_CANCELED, wrong{state: StateCancelled}, "")
	case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED:
		x := e.GetWorkflowExecutionTerminatedEventAttributes()
		a.asked = byWhom(line(x.GetIdentity()), line(x.GetReason()))
		a.finish(e, enumspb.WORKFLOW_EXECUTION_STATUS_TERMINATED, wrong{state: StateCancelled, message: line("terminated" + a.asked)}, "")
	case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW:
		x := e.GetWorkflowExecutionContinuedAsNewEventAttributes()
		a.finish(e, enumspb.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW, done, x.GetNewExecutionRunId())
	case enumspb.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
		a.stuck = ""
	case enumspb.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT:
		a.stuck = "the worker did not answer in time"
	case enumspb.EVENT_TYPE_WORKFLOW_TASK_FAILED:
		a.taskFailed(e, at)
	default:
		return false
	}
	return true
}

// byWhom says who did something, and why.
func byWhom(who, why string) string {
	out := ""
	if who != "" {
		out = " by " + who
	}
	if why != "" {
		out += ": " + why
	}
	return out
}

func (a *account) start(e *historypb.HistoryEvent) {
	x := e.GetWorkflowExecutionStartedEventAttributes()
	a.workflow, a.queue = x.GetWorkflowType().GetName(), x.GetTaskQueue().GetName()
	a.first, a.before, a.started = x.GetFirstExecutionRunId(), x.GetContinuedExecutionRunId(), e.GetEventTime().AsTime()
	a.header(x.GetHeader())
	r := a.row(e, KindRun, a.workflow)
	switch x.GetInitiator() {
	case enumspb.CONTINUE_AS_NEW_INITIATOR_RETRY:
		r.Summary = "tried again after " + a.read.wrongOf(x.GetContinuedFailure()).message
		r.Attempts = int(x.GetAttempt())
	case enumspb.CONTINUE_AS_NEW_INITIATOR_CRON_SCHEDULE:
		r.Summary = "by its schedule " + x.GetCronSchedule()
	case enumspb.CONTINUE_AS_NEW_INITIATOR_WORKFLOW:
		r.Summary = "continues " + x.GetContinuedExecutionRunId()
	}
	if a.workflow == wflo.WorkflowAgent {
		var task wflo.Task
		if a.read.near(first(x.GetInput()), &task) {
			a.tools = map[string]string{}
			for _, tool := range task.Activities {
				a.tools[tool.Activity] = tool.Name
			}
		}
	}
	a.add(r, -1)
}

// finish ends the run, and all that it leaves behind.
func (a *account) finish(e *historypb.HistoryEvent, status enumspb.WorkflowExecutionStatus, w wrong, next string) {
	at := e.GetEventTime().AsTime()
	a.status, a.ended, a.ending, a.next, a.closed = status, at, w, next, true
	left := wrong{state: StateCancelled}
	if status == enumspb.WORKFLOW_EXECUTION_STATUS_TIMED_OUT {
		left.state = StateTimedOut
	}
	for i := len(a.rows) - 1; i > 0; i-- {
		r := &a.rows[i]
		if r.Kind != KindStep && r.End.IsZero() && (r.State == StateRunning || r.State == StateWaiting) {
			a.end(i, at, left)
		}
	}
	if len(a.rows) > 0 {
		a.end(0, at, w)
		if a.next != "" && a.rows[0].Error == "" {
			a.rows[0].Summary = strings.TrimSpace(strings.TrimSuffix(a.rows[0].Summary, ";") + " goes on as " + a.next)
		}
	}
}

// taskFailed notes why the run cannot go on, and resets, which are no failures.
func (a *account) taskFailed(e *historypb.HistoryEvent, at time.Time) {
	x := e.GetWorkflowTaskFailedEventAttributes()
	if x.GetCause() != enumspb.WORKFLOW_TASK_FAILED_CAUSE_RESET_WORKFLOW {
		a.stuck, a.stuckCause = a.read.wrongOf(x.GetFailure()).message, x.GetCause()
		if a.stuck == "" {
			a.stuck = strings.ToLower(strings.ReplaceAll(x.GetCause().String(), "_", " "))
		}
		return
	}
	a.stuck = ""
	r := a.row(e, KindRun, "reset")
	r.State, r.End = StateDone, at
	r.Summary = line("what run " + x.GetBaseRunId() + " did after this moment was given up" + byWhom(x.GetIdentity(), x.GetFailure().GetMessage()))
	a.add(r, -1)
}

// header takes from a header who the run acts for, and its trace.
func (a *account) header(h *commonpb.Header) (run wflo.Run, ok bool) {
	fields := h.GetFields()
	if a.trace == "" {
		var carrier map[string]string
		if a.read.near(fields["_tracer-data"], &carrier) {
			if parts := strings.Split(carrier["traceparent"], "-"); len(parts) == 4 {
				a.trace = parts[1]
			}
		}
	}
	if !a.read.near(fields[wflo.HeaderRun], &run) {
		return run, false
	}
	seen := run
	seen.Step, seen.Lines = "", nil
	a.run = seen
	if run.Bundle != "" {
		a.bundle = run.Bundle
	}
	return run, true
}

// summaryOf is what the code said about an event.
func (a *account) summaryOf(e *historypb.HistoryEvent) string {
	var s string
	a.read.near(e.GetUserMetadata().GetSummary(), &s)
	return s
}

// marker takes local activities, and what policies ruled in one.
func (a *account) marker(ctx context.Context, e *historypb.HistoryEvent) {
	x := e.GetMarkerRecordedEventAttributes()
	switch x.GetMarkerName() {
	case "LocalActivity":
	case "Version", "SideEffect", "MutableSideEffect":
		return
	default:
		a.unknown++
		return
	}
	var local struct {
		ActivityType string
		Attempt      int
	}
	if !a.read.near(first(x.GetDetails()["data"]), &local) {
		a.unknown++
		return
	}
	if a.ownResult(ctx, e, local.ActivityType, first(x.GetDetails()["result"])) || own(local.ActivityType) {
		return
	}
	r := a.row(e, KindActivity, local.ActivityType)
	r.Attempts, r.Began, r.End, r.State = local.Attempt, r.Start, r.Start, StateDone
	r.result = r.EventID
	if f := x.GetFailure(); f != nil {
		r.fail(a.read, f)
	}
	a.add(r, -1)
}

func (r *entry) fail(read reader, f *failurepb.Failure) {
	w := read.wrongOf(f)
	r.State, r.Error, r.Hint, r.Code = w.state, w.message, w.hint, w.code
}

// ruled adds what policies said, unless they just allowed it.
func (a *account) ruled(e *historypb.HistoryEvent, r wflo.Ruling) {
	if r.Bundle != "" {
		a.bundle = r.Bundle
	}
	if (r.Effect == "" || r.Effect == wflo.EffectAllow) && r.Model == "" && r.Limit == 0 {
		return
	}
	about := strings.TrimPrefix(a.summaryOf(e), "policies: ")
	row := a.row(e, KindPolicy, string(r.Effect))
	row.State, row.End, row.Summary = StateDone, row.Start, line(about)
	row.Policy = &Policy{Verdict: string(r.Effect), Bundle: r.Bundle}
	inputs := map[string]map[string]string{}
	for _, m := range r.Matches {
		row.Policy.Rules = append(row.Policy.Rules, m.Rule)
		if len(m.Inputs) > 0 {
			inputs[m.Rule] = m.Inputs
		}
	}
	if len(r.Matches) > 0 {
		row.Name = line(r.Matches[0].Rule)
	}
	if data, err := json.Marshal(inputs); err == nil && len(inputs) > 0 && len(data) <= MostDetail {
		row.Policy.Inputs = data
	}
	if h := r.Halt; r.Effect == wflo.EffectHalt && h != nil {
		row.State, row.Error = StateRejected, line(h.Reason)
		halt := *h
		if halt.Policy == "" {
			halt.Policy = row.Name
		}
		a.halted = &halt
	}
	a.add(row, -1)
}
