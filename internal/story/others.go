package story

import (
	"cmp"
	"context"
	"strings"

	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
)

// foldOthers takes timers, children and operations of other services.
func (a *account) foldOthers(e *historypb.HistoryEvent) bool {
	switch e.GetEventType() {
	case enumspb.EVENT_TYPE_TIMER_STARTED:
		a.timer(e)
	case enumspb.EVENT_TYPE_TIMER_FIRED:
		a.over(e, e.GetTimerFiredEventAttributes().GetStartedEventId(), done)
	case enumspb.EVENT_TYPE_TIMER_CANCELED:
		a.over(e, e.GetTimerCanceledEventAttributes().GetStartedEventId(), wrong{state: StateCancelled})
	case enumspb.EVENT_TYPE_NEXUS_OPERATION_SCHEDULED:
		x := e.GetNexusOperationScheduledEventAttributes()
		a.add(a.row(e, KindActivity, x.GetService()+"."+x.GetOperation()), -1)
	case enumspb.EVENT_TYPE_NEXUS_OPERATION_STARTED:
		if i, ok := a.events[e.GetNexusOperationStartedEventAttributes().GetScheduledEventId()]; ok {
			a.rows[i].Began = e.GetEventTime().AsTime()
		}
	case enumspb.EVENT_TYPE_NEXUS_OPERATION_COMPLETED:
		a.over(e, e.GetNexusOperationCompletedEventAttributes().GetScheduledEventId(), done)
	case enumspb.EVENT_TYPE_NEXUS_OPERATION_FAILED:
		x := e.GetNexusOperationFailedEventAttributes()
		a.failed(e, x.GetScheduledEventId(), x.GetFailure())
	case enumspb.EVENT_TYPE_NEXUS_OPERATION_TIMED_OUT:
		x := e.GetNexusOperationTimedOutEventAttributes()
		a.failed(e, x.GetScheduledEventId(), x.GetFailure())
	case enumspb.EVENT_TYPE_NEXUS_OPERATION_CANCELED:
		a.over(e, e.GetNexusOperationCanceledEventAttributes().GetScheduledEventId(), wrong{state: StateCancelled})
	case enumspb.EVENT_TYPE_NEXUS_OPERATION_CANCEL_REQUESTED, enumspb.EVENT_TYPE_NEXUS_OPERATION_CANCEL_REQUEST_COMPLETED,
		enumspb.EVENT_TYPE_NEXUS_OPERATION_CANCEL_REQUEST_FAILED:
	default:
		return a.foldChild(e)
	}
	return true
}

// timer begins the row of a timer of the run's code. Those of gates and policies belong
// to these.
func (a *account) timer(e *historypb.HistoryEvent) {
	summary := a.summaryOf(e)
	if a.run.WorkflowID != "" || len(a.gates) > 0 || a.bundle != "" { // else the words are the author's
		for _, prefix := range []string{"gate ", "policy: ", "restore: ", "restored code ", "try again to "} {
			if strings.HasPrefix(summary, prefix) {
				return
			}
		}
	}
	r := a.row(e, KindTimer, cmp.Or(summary, "timer"))
	r.Summary = e.GetTimerStartedEventAttributes().GetStartToFireTimeout().AsDuration().String()
	a.add(r, -1)
}

// foldChild takes child workflows, and what the run sends to other runs.
func (a *account) foldChild(e *historypb.HistoryEvent) bool {
	switch e.GetEventType() {
	case enumspb.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_INITIATED:
		x := e.GetStartChildWorkflowExecutionInitiatedEventAttributes()
		r := a.row(e, KindChild, x.GetWorkflowType().GetName())
		r.Summary = line(x.GetWorkflowId())
		a.add(r, -1)
	case enumspb.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED:
		if i, ok := a.events[e.GetChildWorkflowExecutionStartedEventAttributes().GetInitiatedEventId()]; ok {
			a.rows[i].Began = e.GetEventTime().AsTime()
		}
	case enumspb.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_FAILED:
		x := e.GetStartChildWorkflowExecutionFailedEventAttributes()
		a.over(e, x.GetInitiatedEventId(), wrong{state: StateFailed, message: "not started: " + words(x.GetCause())})
	case enumspb.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_COMPLETED:
		i := e.GetChildWorkflowExecutionCompletedEventAttributes().GetInitiatedEventId()
		if at, ok := a.events[i]; ok {
			a.rows[at].result = e.GetEventId()
		}
		a.over(e, i, done)
	case enumspb.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_FAILED:
		x := e.GetChildWorkflowExecutionFailedEventAttributes()
		a.failed(e, x.GetInitiatedEventId(), x.GetFailure())
	case enumspb.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_CANCELED:
		a.over(e, e.GetChildWorkflowExecutionCanceledEventAttributes().GetInitiatedEventId(), wrong{state: StateCancelled})
	case enumspb.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_TIMED_OUT:
		a.over(e, e.GetChildWorkflowExecutionTimedOutEventAttributes().GetInitiatedEventId(), wrong{state: StateTimedOut, message: "the child timed out"})
	case enumspb.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_TERMINATED:
		a.over(e, e.GetChildWorkflowExecutionTerminatedEventAttributes().GetInitiatedEventId(), wrong{state: StateCancelled, message: "terminated"})
	default:
		return a.foldSent(e)
	}
	return true
}

// foldSent takes what the run asks of other runs.
func (a *account) foldSent(e *historypb.HistoryEvent) bool {
	switch e.GetEventType() {
	case enumspb.EVENT_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED:
		x := e.GetSignalExternalWorkflowExecutionInitiatedEventAttributes()
		a.sent(e, x.GetSignalName(), "sent to "+x.GetWorkflowExecution().GetWorkflowId())
	case enumspb.EVENT_TYPE_EXTERNAL_WORKFLOW_EXECUTION_SIGNALED:
		a.over(e, e.GetExternalWorkflowExecutionSignaledEventAttributes().GetInitiatedEventId(), done)
	case enumspb.EVENT_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_FAILED:
		x := e.GetSignalExternalWorkflowExecutionFailedEventAttributes()
		a.over(e, x.GetInitiatedEventId(), wrong{state: StateFailed, message: words(x.GetCause())})
	case enumspb.EVENT_TYPE_REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED:
		x := e.GetRequestCancelExternalWorkflowExecutionInitiatedEventAttributes()
		a.sent(e, "cancel", "sent to "+x.GetWorkflowExecution().GetWorkflowId())
	case enumspb.EVENT_TYPE_EXTERNAL_WORKFLOW_EXECUTION_CANCEL_REQUESTED:
		a.over(e, e.GetExternalWorkflowExecutionCancelRequestedEventAttributes().GetInitiatedEventId(), done)
	case enumspb.EVENT_TYPE_REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_FAILED:
		x := e.GetRequestCancelExternalWorkflowExecutionFailedEventAttributes()
		a.over(e, x.GetInitiatedEventId(), wrong{state: StateFailed, message: words(x.GetCause())})
	default:
		return false
	}
	return true
}

func (a *account) sent(e *historypb.HistoryEvent, name, summary string) {
	r := a.row(e, KindSignal, name)
	r.Summary = line(summary)
	a.add(r, -1)
}

// words are those of a name of Temporal's.
func words(s interface{ String() string }) string {
	var b strings.Builder
	for i, c := range s.String() {
		if i > 0 && c >= 'A' && c <= 'Z' {
			b.WriteByte(' ')
		}
		b.WriteRune(c)
	}
	return strings.ToLower(b.String())
}

// foldMessages takes signals, updates and requests to cancel.
func (a *account) foldMessages(ctx context.Context, e *historypb.HistoryEvent) bool {
	switch e.GetEventType() {
	case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED:
		a.signalled(e)
	case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED:
		x := e.GetWorkflowExecutionCancelRequestedEventAttributes()
		a.asked = byWhom(line(x.GetIdentity()), line(x.GetCause()))
		a.came(e, "cancel", strings.TrimSpace(a.asked))
	case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED:
		a.updated(e)
	case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_COMPLETED:
		x := e.GetWorkflowExecutionUpdateCompletedEventAttributes()
		if name := a.quiet[x.GetAcceptedEventId()]; name == wflo.UpdateDecide {
			var g wflo.Gate
			if a.read.into(ctx, first(x.GetOutcome().GetSuccess()), &g) == nil {
				a.gateSeen(g, e.GetEventTime().AsTime())
			}
		}
		delete(a.quiet, x.GetAcceptedEventId())
		w := done
		if f := x.GetOutcome().GetFailure(); f != nil {
			w = a.read.wrongOf(f)
		}
		if i, ok := a.events[x.GetAcceptedEventId()]; ok {
			a.rows[i].result = e.GetEventId()
		}
		a.over(e, x.GetAcceptedEventId(), w)
	case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ADMITTED, enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_REJECTED:
	case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_PAUSED:
		x := e.GetWorkflowExecutionPausedEventAttributes()
		a.came(e, "pause", strings.TrimSpace(byWhom(x.GetIdentity(), x.GetReason())))
	case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_UNPAUSED:
		x := e.GetWorkflowExecutionUnpausedEventAttributes()
		a.came(e, "unpause", strings.TrimSpace(byWhom(x.GetIdentity(), x.GetReason())))
	default:
		return false
	}
	return true
}

// came adds something that came from outside, and was over at once.
func (a *account) came(e *historypb.HistoryEvent, name, summary string) {
	r := a.row(e, KindSignal, name)
	r.State, r.End, r.Summary = StateDone, r.Start, line(summary)
	a.add(r, -1)
}

func (a *account) signalled(e *historypb.HistoryEvent) {
	x := e.GetWorkflowExecutionSignaledEventAttributes()
	switch x.GetSignalName() {
	case wflo.SignalDecide: // it is told by its gate
	case wflo.SignalHalt:
		h := wflo.Halt{Reason: "halt signal without a readable reason"}
		a.read.near(first(x.GetInput()), &h)
		if a.halted == nil {
			a.halted = &h
		}
		a.came(e, "halt", strings.TrimSpace(byWhom(h.By, h.Reason)))
	default:
		a.came(e, x.GetSignalName(), strings.TrimSpace(byWhom(x.GetIdentity(), "")))
	}
}

// updated begins the row of an update, but for decisions and snapshots, which are told by
// their gates and snapshots.
func (a *account) updated(e *historypb.HistoryEvent) {
	x := e.GetWorkflowExecutionUpdateAcceptedEventAttributes()
	in := x.GetAcceptedRequest().GetInput()
	switch name := in.GetName(); name {
	case wflo.UpdateDecide, wflo.UpdateSnapshot:
		a.quiet[e.GetEventId()] = name
	case wflo.UpdateRestore:
		r := a.row(e, KindRestore, "restore")
		var asked wflo.Restore
		if a.read.near(first(in.GetArgs()), &asked) {
			r.Summary = line(strings.TrimSpace(byWhom(asked.By, asked.Reason)))
		}
		a.add(r, -1)
	default:
		r := a.row(e, KindSignal, name)
		r.Summary = line(strings.TrimSpace(byWhom(x.GetAcceptedRequest().GetMeta().GetIdentity(), "")))
		a.add(r, -1)
	}
}

// serves takes from the call of one of wflo's own activities what it says about the row
// that it belongs to.
func (a *account) serves(ctx context.Context, e *historypb.HistoryEvent, name string, input *commonpb.Payload) {
	at := e.GetEventTime().AsTime()
	switch name {
	case string(step.ApprovalClose):
		var g wflo.Gate
		if a.read.into(ctx, input, &g) == nil {
			a.gateSeen(g, at)
		}
	case string(step.ApprovalTell):
		var t step.Telling
		if a.read.into(ctx, input, &t) == nil {
			a.gateSeen(t.Gate, at)
		}
	case string(step.ApprovalRevoke):
		var r step.Revocation
		if a.read.into(ctx, input, &r) == nil {
			a.gateSeen(r.Gate, at)
		}
	}
}

// ownResult takes what one of wflo's own activities answered, local or not; false for
// what has nothing to tell.
func (a *account) ownResult(ctx context.Context, e *historypb.HistoryEvent, name string, result *commonpb.Payload) bool {
	switch name {
	case string(step.PolicyJudge):
		var r wflo.Ruling
		if a.read.into(ctx, result, &r) == nil {
			a.ruled(e, r)
		}
	case string(step.PolicyPin):
		var p wflo.Pin
		if a.read.into(ctx, result, &p) == nil && p.Bundle != "" {
			a.bundle = p.Bundle
		}
	default:
		return false
	}
	return true
}
