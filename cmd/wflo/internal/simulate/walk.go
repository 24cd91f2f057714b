package simulate

import (
	"iter"
	"slices"
	"strings"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
)

// walk goes through a history and keeps what the run knew at each point.
type walk struct {
	reader Reader
	hash   func(wflo.Facts) string
	past   Past

	run   wflo.Run
	spent wflo.Money
	calls int
	// children is what the runs that it started have spent. readChild reads one, and
	// gives nil where it cannot; without it they are not looked at.
	children  wflo.Money
	readChild func(workflowID, runID string) *walk
	// nows are the latest times that the workflow saw, the present one last.
	nows []time.Time
	// asked are the scheduled model calls, and tools what the last reply wants.
	asked map[int64]bool
	tools []string
}

// carried is what of a run's header about its predecessor matters here.
type carried struct {
	Spent  wflo.Money `json:"spent"`
	Calls  int        `json:"calls"`
	Regime *struct {
		Started time.Time `json:"started"`
	} `json:"regime"`
}

func (w *walk) see(e *historypb.HistoryEvent) {
	at := e.GetEventTime().AsTime()
	w.past.Ended = at
	switch e.GetEventType() {
	case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED:
		w.start(e.GetWorkflowExecutionStartedEventAttributes(), at)
	case enumspb.EVENT_TYPE_WORKFLOW_TASK_STARTED:
		w.tick(at)
	case enumspb.EVENT_TYPE_MARKER_RECORDED:
		w.marker(e)
	case enumspb.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
		w.scheduled(e)
	case enumspb.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
		w.completed(e.GetActivityTaskCompletedEventAttributes())
	case enumspb.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_COMPLETED:
		a := e.GetChildWorkflowExecutionCompletedEventAttributes()
		w.child(a.GetWorkflowExecution(), a.GetWorkflowType().GetName() == wflo.WorkflowAgent)
	case enumspb.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_FAILED:
		w.child(e.GetChildWorkflowExecutionFailedEventAttributes().GetWorkflowExecution(), false)
	default: // says nothing that policies could look at
	}
}

func (w *walk) start(a *historypb.WorkflowExecutionStartedEventAttributes, at time.Time) {
	w.past.Began, w.past.Workflow = at, a.GetWorkflowType().GetName()
	if w.past.RunID == "" {
		w.past.RunID = a.GetOriginalExecutionRunId()
	}
	w.header(a.GetHeader(), wflo.HeaderRun, &w.run)
	var c carried
	if w.header(a.GetHeader(), wflo.HeaderCarry, &c) {
		w.spent, w.calls = c.Spent, c.Calls
		if c.Regime != nil && !c.Regime.Started.IsZero() {
			w.past.Began = c.Regime.Started
		}
	}
	w.run.Namespace, w.run.WorkflowID = w.reader.Namespace, w.past.WorkflowID
	w.run.FirstRunID, w.run.Workflow = a.GetFirstExecutionRunId(), w.past.Workflow
	w.tick(at)
}

// header reads one header and says whether it is there.
func (w *walk) header(h *commonpb.Header, name string, into any) bool {
	p, ok := h.GetFields()[name]
	return ok && w.reader.Converter.FromPayload(p, into) == nil
}

// mostNows bounds how far before its answer a question to the policies may lie.
const mostNows = 4

func (w *walk) tick(at time.Time) {
	if at.IsZero() {
		return
	}
	w.nows = append(w.nows, at)
	w.nows = w.nows[max(0, len(w.nows)-mostNows):]
}

// The names that the SDK gives to the parts of a local activity's marker.
const (
	markerLocal  = "LocalActivity"
	markerData   = "data"
	markerResult = "result"
)

// localActivity is what the SDK writes about a local activity.
type localActivity struct {
	ActivityType string
	ReplayTime   time.Time
}

// marker reads a ruling.
func (w *walk) marker(e *historypb.HistoryEvent) {
	a := e.GetMarkerRecordedEventAttributes()
	if a.GetMarkerName() != markerLocal {
		return
	}
	var data localActivity
	if w.payloads(a.GetDetails()[markerData], &data) != nil {
		return
	}
	if data.ActivityType == string(step.PolicyJudge) {
		r := Ruling{Event: e.GetEventId(), At: e.GetEventTime().AsTime(), nows: slices.Clone(w.nows)}
		if w.payloads(a.GetDetails()[markerResult], &r.Ruling) == nil && r.Ruling.Effect != "" {
			if p := e.GetUserMetadata().GetSummary(); p != nil {
				_ = w.reader.Converter.FromPayload(p, &r.About) // or it stays empty
			}
			w.past.Rulings = append(w.past.Rulings, r)
		}
	}
	w.tick(data.ReplayTime)
}

func (w *walk) payloads(p *commonpb.Payloads, into any) error {
	return w.reader.Converter.FromPayloads(p, into)
}

// scheduled reads one call of an activity.
func (w *walk) scheduled(e *historypb.HistoryEvent) {
	a := e.GetActivityTaskScheduledEventAttributes()
	name := a.GetActivityType().GetName()
	if name == string(step.LLMChat) {
		w.asked[e.GetEventId()] = true
	}
	if _, undo := a.GetHeader().GetFields()[wflo.HeaderUndo]; undo {
		return
	}
	var run wflo.Run
	if !w.header(a.GetHeader(), wflo.HeaderRun, &run) {
		run = w.run
	}
	f := w.facts(run, name)
	f.Activity = name
	var err error
	switch {
	case name == string(step.ApprovalOpen):
		var ours bool
		if f, ours, err = w.gate(f, a.GetInput()); ours {
			return // the policies asked it themselves
		}
	case bookkeeping(name):
		return
	default:
		err = w.call(&f, name, a.GetInput())
	}
	if err != nil {
		w.past.Unread++
		return
	}
	c := Call{Event: e.GetEventId(), At: e.GetEventTime().AsTime(), Step: run.Step, Facts: f}
	w.match(&c)
	w.past.Calls = append(w.past.Calls, c)
}

// bookkeeping says that policies are never asked about an activity.
func bookkeeping(name string) bool {
	for _, own := range []string{
		step.PrefixApproval, step.PrefixPolicy, step.PrefixBudget,
		string(step.SandboxClose), string(step.SandboxRead), string(step.SandboxWrite),
	} {
		if strings.HasPrefix(name, own) {
			return true
		}
	}
	return false
}

// effects are the classes that a step may declare, which history does not say.
var effects = []wflo.EffectClass{"", wflo.EffectPure, wflo.EffectRead, wflo.EffectReversible, wflo.EffectVerifiable, wflo.EffectIrreversible}

// match looks for the ruling that was given on the call, whose hash proves the time,
// the tool, and what the step declares.
func (w *walk) match(c *Call) {
	tools := []string{""}
	if w.past.Workflow == wflo.WorkflowAgent && c.Facts.Kind != wflo.FactsModel {
		tools = append(slices.Clone(w.tools), "")
	}
	for i := range w.past.Rulings {
		r := &w.past.Rulings[i]
		operation, ok := strings.CutPrefix(r.About, "policies: "+string(c.Facts.Kind)+" ")
		if !ok || r.taken {
			continue
		}
		for f := range w.variants(c, r.nows, tools) {
			if f.Operation = operation; w.hash(f) == r.Ruling.Facts {
				c.Facts, c.Exact, r.taken = f, true, true
				return
			}
		}
	}
	if len(w.tools) == 1 {
		c.Facts.Tool = tools[0]
	}
}

// variants are what the facts of a call may have been.
func (w *walk) variants(c *Call, nows []time.Time, tools []string) iter.Seq[wflo.Facts] {
	return func(yield func(wflo.Facts) bool) {
		for _, now := range slices.Backward(nows) {
			for _, name := range scopes(c.Step, c.Facts.Activity) {
				for _, effect := range effects {
					for _, tool := range tools {
						f := w.timed(c.Facts, now)
						f.Step, f.Effect, f.Tool = name, effect, tool
						if !yield(f) {
							return
						}
					}
				}
			}
		}
	}
}

// child adds what a child spent to what the run's budget was charged, and the calls
// of an agent that answered to the run's own, as the run counted them.
func (w *walk) child(x *commonpb.WorkflowExecution, answered bool) {
	if w.readChild == nil {
		return
	}
	c := w.readChild(x.GetWorkflowId(), x.GetRunId())
	if c == nil {
		w.past.Unread++ // its history is gone, or not for us
		return
	}
	w.children += c.spent + c.children
	if answered {
		w.calls += c.calls
	}
}

// completed reads what a model call cost.
func (w *walk) completed(a *historypb.ActivityTaskCompletedEventAttributes) {
	if !w.asked[a.GetScheduledEventId()] {
		return
	}
	var r wflo.Reply
	if w.payloads(a.GetResult(), &r) != nil {
		w.past.Unread++
		return
	}
	w.spent += r.Cost
	w.calls++
	w.tools = nil
	for _, t := range r.ToolCalls {
		if !slices.Contains(w.tools, t.Name) {
			w.tools = append(w.tools, t.Name)
		}
	}
	for i := range w.past.Calls {
		if c := &w.past.Calls[i]; c.Event == a.GetScheduledEventId() && !c.Exact {
			// Who answered is the best that is known of who was to be asked.
			c.Facts.Provider = r.Provider
		}
	}
}
