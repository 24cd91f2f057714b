package cli

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"

	"github.com/wflo-ai/wflo-go"
)

// workerGrace is how long a run may wait for a worker before we say so.
const workerGrace = 3 * time.Second

// queryTimeout bounds one look at a run; a worker that is busy or gone must not
// hold up the display.
const queryTimeout = 3 * time.Second

// outcome is how a run ended: the data of `wflo run -o json`.
type outcome struct {
	ID       string          `json:"id"`
	RunID    string          `json:"run_id"`
	Workflow string          `json:"workflow"`
	State    wflo.RunState   `json:"state"`
	Result   json.RawMessage `json:"result,omitempty"`
	Error    string          `json:"error,omitempty"`
	Hint     string          `json:"hint,omitempty"`
	Code     wflo.Code       `json:"code,omitempty"`
	Refusal  *wflo.Refusal   `json:"refusal,omitempty"` // of a budget
	Spent    *wflo.Money     `json:"spent,omitempty"`   // nil: unknown
}

// event is a line of `wflo run -o jsonl`; one of the pointers is set.
type event struct {
	Event string           `json:"event"` // started, step, gate, spend, warning or end
	ID    string           `json:"id"`
	Step  *wflo.StepRecord `json:"step,omitempty"`
	Gate  *wflo.Gate       `json:"gate,omitempty"`
	Spent *wflo.Money      `json:"spent,omitempty"`
	Text  string           `json:"text,omitempty"`
	End   *outcome         `json:"end,omitempty"`
}

// follower shows a run while it runs. Its history says that something happened;
// the query wflo.status then says what.
type follower struct {
	app  *app
	c    *connection
	run  client.WorkflowRun
	plan plan
	out  *progress

	status   *wflo.Status // the last that was seen; nil when the run answers none
	mute     bool         // the workflow does not answer wflo.status
	steps    int          // steps that were shown
	gates    map[string]wflo.GateStatus
	warned   map[string]bool
	fetched  bool // a worker has taken a task
	unserved error
}

// follow shows the run until it ends and prints its result.
func (a *app) follow(ctx context.Context, c *connection, run client.WorkflowRun, p plan) error {
	f := &follower{
		app: a, c: c, run: run, plan: p, out: newProgress(a.deps.Stderr, a.animated()),
		gates: map[string]wflo.GateStatus{}, warned: map[string]bool{},
	}
	f.emit(event{Event: "started"}, "run %s started (%s)", run.GetID(), p.run.Workflow)
	f.out.set("starting")
	err := f.watch(ctx)
	f.out.stop()
	if ctx.Err() != nil {
		a.note("the run goes on; see: wflo status %s", run.GetID())
		return ctx.Err()
	}
	if err != nil {
		return err
	}
	return f.finish(ctx)
}

// watch returns when the run has ended, or cannot be served.
func (f *follower) watch(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	events, failed := make(chan *historypb.HistoryEvent), make(chan error, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		failed <- f.read(ctx, events)
	}()
	defer func() { cancel(); <-done }()

	nobody := time.NewTimer(workerGrace)
	defer nobody.Stop()
	for {
		select {
		case err := <-failed:
			return f.c.explain(err, f.run.GetID())
		case <-nobody.C:
			f.checkWorkers(ctx)
		case e := <-events:
			news := f.note(e)
			for more := true; more; { // what is there already needs one query
				select {
				case e = <-events:
					news = f.note(e) || news
				default:
					more = false
				}
			}
			if f.unserved != nil {
				return f.unserved
			}
			if news {
				f.look(ctx)
			}
		}
	}
}

// read sends the run's history, and that of the runs that continue it, as it
// grows. It returns nil when the last of them has ended.
func (f *follower) read(ctx context.Context, events chan<- *historypb.HistoryEvent) error {
	runID := f.run.GetRunID()
	for {
		next := ""
		history := f.c.GetWorkflowHistory(ctx, f.run.GetID(), runID, true, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
		for history.HasNext() {
			e, err := history.Next()
			if err != nil {
				return err
			}
			select {
			case events <- e:
			case <-ctx.Done():
				return ctx.Err()
			}
			next = successor(e)
		}
		if next == "" {
			return nil
		}
		runID = next
	}
}

// successor is the run id of the run that goes on where this one ended, or "".
func successor(e *historypb.HistoryEvent) string {
	switch e.EventType {
	case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW:
		return e.GetWorkflowExecutionContinuedAsNewEventAttributes().GetNewExecutionRunId()
	case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED:
		return e.GetWorkflowExecutionFailedEventAttributes().GetNewExecutionRunId()
	case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT:
		return e.GetWorkflowExecutionTimedOutEventAttributes().GetNewExecutionRunId()
	case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED:
		return e.GetWorkflowExecutionCompletedEventAttributes().GetNewExecutionRunId()
	}
	return ""
}

// note takes in one event and says whether the status may have changed.
func (f *follower) note(e *historypb.HistoryEvent) bool {
	switch e.EventType {
	case enumspb.EVENT_TYPE_WORKFLOW_TASK_STARTED:
		f.fetched = true
	case enumspb.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
		return true
	case enumspb.EVENT_TYPE_WORKFLOW_TASK_FAILED:
		f.taskFailed(e.GetWorkflowTaskFailedEventAttributes().GetFailure().GetMessage())
	case enumspb.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
		f.out.set(e.GetActivityTaskScheduledEventAttributes().GetActivityType().GetName())
	}
	return false
}

// taskFailed handles a workflow task that the worker could not do. Temporal
// would try again for ever.
func (f *follower) taskFailed(message string) {
	const marker = "unable to find workflow type"
	if !strings.Contains(message, marker) {
		f.warn("the worker failed at the workflow's code and tries again: " + message)
		return
	}
	hint := "start a worker that has it registered"
	if _, list, ok := strings.Cut(message, "Supported types: ["); ok {
		if known := strings.TrimSuffix(strings.TrimSpace(list), "]"); known != "" {
			hint = "the worker on task queue " + f.plan.opts.TaskQueue + " knows: " + known
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), queryTimeout)
	defer cancel()
	f.unserved = Usage(hint, "no workflow is called %s", f.plan.run.Workflow)
	if err := f.c.TerminateWorkflow(ctx, f.run.GetID(), f.run.GetRunID(), "wflo run: the worker does not know this workflow type"); err != nil {
		f.warn(fmt.Sprintf("run %s could not be ended: %v", f.run.GetID(), err))
	}
}

// checkWorkers says so when nobody takes work from the task queue.
func (f *follower) checkWorkers(ctx context.Context) {
	if f.fetched {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	queue := f.plan.opts.TaskQueue
	desc, err := f.c.DescribeTaskQueue(ctx, queue, enumspb.TASK_QUEUE_TYPE_WORKFLOW)
	if err != nil || len(desc.GetPollers()) > 0 {
		return
	}
	f.warn("no worker takes work from task queue " + queue + ", so the run waits; start one with `wflo dev` or your worker program")
	f.out.set("waiting for a worker")
}

// warn shows a text once.
func (f *follower) warn(text string) {
	if f.warned[text] {
		return
	}
	f.warned[text] = true
	f.emit(event{Event: "warning", Text: text}, "warning: %s", Escape(text))
}

// emit writes an event: a line of jsonl on standard output, and text on
// standard error otherwise.
func (f *follower) emit(e event, format string, args ...any) {
	if f.app.format != formatJSONL {
		f.out.line(format, args...)
		return
	}
	e.ID = f.run.GetID()
	if err := f.app.printJSON(e); err != nil {
		f.out.line("warning: %v", err)
	}
}

// look asks the run for its status and shows what is new.
func (f *follower) look(ctx context.Context) {
	if f.mute {
		return
	}
	st, err := f.c.status(ctx, f.run.GetID())
	if err != nil {
		// A plain workflow, or one whose worker has not the plugin.
		f.mute = errors.Is(err, errNoStatus)
		return
	}
	for i := f.steps; i < len(st.Steps); i++ {
		f.emit(event{Event: "step", Step: &st.Steps[i]}, "%s", stepLine(st.Steps[i]))
	}
	f.steps = max(f.steps, len(st.Steps))
	if st.Spent != 0 && (f.status == nil || st.Spent != f.status.Spent) {
		f.emit(event{Event: "spend", Spent: &st.Spent}, "  spent %s in %s", st.Spent, plural(st.Calls, "model call"))
	}
	for i := range st.Gates {
		f.showGate(&st.Gates[i])
	}
	f.status = &st
	f.out.set(doing(st))
}

func (f *follower) showGate(g *wflo.Gate) {
	key := g.ID + "/" + g.Nonce
	if f.gates[key] == g.Status {
		return
	}
	f.gates[key] = g.Status
	if g.Status == wflo.GateOpen {
		f.emit(event{Event: "gate", Gate: g}, "%s\n%s", gateText(*g), decideHelp(*g))
		return
	}
	f.emit(event{Event: "gate", Gate: g}, "  gate  %s", gateOutcome(*g))
}

func doing(st wflo.Status) string {
	if st.State == wflo.StateWaiting {
		return "waiting for approval of " + st.Doing
	}
	if st.Doing != "" {
		return st.Doing
	}
	return string(st.State)
}

// finish prints what came out of a run that has ended.
func (f *follower) finish(ctx context.Context) error {
	f.look(ctx)
	end := outcome{ID: f.run.GetID(), RunID: f.run.GetRunID(), Workflow: f.plan.run.Workflow, State: wflo.StateCompleted}
	if f.status != nil {
		end.Spent = &f.status.Spent
	}
	// The zero run id means the last run of the chain.
	var value converter.RawValue
	failure := f.c.GetWorkflow(ctx, f.run.GetID(), "").Get(ctx, &value)
	if failure != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	if failure == nil {
		end.Result = resultJSON(value)
	} else {
		failure = f.c.describe(failure, f.run.GetID())
		end.State, end.Code = wflo.StateFailed, wflo.CodeOf(failure)
		end.Error, end.Hint = wflo.Explain(failure)
		end.Refusal = refusalIn(failure)
		if end.Code == wflo.CodeHalted {
			end.State = wflo.StateHalted
		}
	}
	return errors.Join(f.printEnd(end), failure)
}

func (f *follower) printEnd(end outcome) error {
	switch f.app.format {
	case formatJSON:
		return f.app.printJSON(end)
	case formatJSONL:
		return f.app.printJSON(event{Event: "end", ID: end.ID, End: &end})
	}
	if end.Error != "" {
		return nil // the caller prints the error
	}
	spent := ""
	if end.Spent != nil {
		spent = ", spent " + end.Spent.String()
	}
	f.out.line("completed in %s%s", since(f.out.begin), spent)
	return f.app.printResult(end.Result)
}

// printResult writes a result for people: text as it is, an agent's answer by
// its text, everything else as indented JSON.
func (a *app) printResult(result json.RawMessage) error {
	var text string
	var answer wflo.Answer
	switch {
	case len(result) == 0 || string(result) == "null":
		return nil
	case json.Unmarshal(result, &text) == nil:
		text = Escape(text)
	case json.Unmarshal(result, &answer) == nil && answer.Text != "" && answer.Turns > 0:
		text = Escape(answer.Text)
	default:
		text = pretty(result, "")
	}
	_, err := fmt.Fprintln(a.deps.Stdout, strings.TrimSuffix(text, "\n"))
	return err
}

// describe says in words why a run ended without a result.
func (c *connection) describe(err error, id string) error {
	var app *temporal.ApplicationError
	var timeout *temporal.TimeoutError
	var terminated *temporal.TerminatedError
	switch {
	case errors.As(err, &app):
		return fmt.Errorf("run %s failed: %w", id, fromWire(app))
	case errors.As(err, &timeout):
		return &exitError{ExitTimeout, wflo.Errorf("", "see: wflo status "+id, "run %s timed out", id)}
	case errors.As(err, &terminated):
		return wflo.Errorf("", "", "run %s was terminated", id)
	case temporal.IsCanceledError(err):
		return wflo.Errorf("", "", "run %s was cancelled", id)
	}
	return c.explain(err, id)
}

// resultJSON is a result as JSON: as it is, or base64 when it is something else.
func resultJSON(value converter.RawValue) json.RawMessage {
	payload := value.Payload()
	if payload == nil || len(payload.GetData()) == 0 {
		return nil
	}
	if json.Valid(payload.GetData()) {
		return payload.GetData()
	}
	text, err := json.Marshal(base64.StdEncoding.EncodeToString(payload.GetData()))
	if err != nil {
		return nil
	}
	return text
}
