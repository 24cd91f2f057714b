package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/converter"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/audit"
	"github.com/wflo-ai/wflo-go/internal/step"
)

// mostRuns bounds the runs of one workflow id that are looked at.
const mostRuns = 1000

// pastDecisions reads from Temporal's histories which decisions counted.
type pastDecisions struct {
	conn *connection
	// converter reads payloads; nil means Temporal's default.
	converter converter.DataConverter
}

var _ audit.History = (*pastDecisions)(nil)

// Decisions gives what the runs of a chain accepted: those that continued the first
// one, retried it, or are what a reset made of it.
func (p *pastDecisions) Decisions(ctx context.Context, workflowID, firstRunID string) ([]wflo.Decision, error) {
	first, err := p.events(ctx, workflowID, firstRunID)
	if err != nil {
		return nil, err
	}
	runs, err := p.conn.list(ctx, "WorkflowId = "+quoted(workflowID), mostRuns+1)
	if err != nil {
		return nil, err
	}
	if len(runs) > mostRuns {
		return nil, fmt.Errorf("workflow id %s has more than %d runs", workflowID, mostRuns)
	}
	all := p.counted(first)
	for _, r := range runs {
		if r.RunID == firstRunID {
			continue
		}
		events, err := p.events(ctx, workflowID, r.RunID)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it went away between the list and now
		}
		if err != nil {
			return nil, err
		}
		if len(events) > 0 && events[0].GetWorkflowExecutionStartedEventAttributes().GetFirstExecutionRunId() == firstRunID {
			all = append(all, p.counted(events)...)
		}
	}
	return all, nil
}

func (p *pastDecisions) events(ctx context.Context, workflowID, runID string) (events []*historypb.HistoryEvent, err error) {
	for it := p.conn.GetWorkflowHistory(ctx, workflowID, runID, false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT); it.HasNext(); {
		e, err := it.Next()
		if err != nil {
			var missing *serviceerror.NotFound
			return nil, goneIf(err, errors.As(err, &missing))
		}
		events = append(events, e)
	}
	return events, nil
}

// counted are the decisions of a history that counted: those that came as updates
// which were carried out, and those that came as signals and that the run took into a
// gate's votes.
func (p *pastDecisions) counted(events []*historypb.HistoryEvent) (all []wflo.Decision) {
	admitted, accepted := map[string]wflo.Decision{}, map[int64]wflo.Decision{}
	var signalled []wflo.Decision
	taken := map[string]bool{}
	for _, e := range events {
		var d wflo.Decision
		switch e.GetEventType() {
		case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ADMITTED:
			r := e.GetWorkflowExecutionUpdateAdmittedEventAttributes().GetRequest()
			if r.GetInput().GetName() == wflo.UpdateDecide && p.decode(r.GetInput().GetArgs(), &d) {
				admitted[r.GetMeta().GetUpdateId()] = d
			}
		case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED:
			a := e.GetWorkflowExecutionUpdateAcceptedEventAttributes()
			if in := a.GetAcceptedRequest().GetInput(); in.GetName() == wflo.UpdateDecide && p.decode(in.GetArgs(), &d) {
				accepted[e.GetEventId()] = d
			} else if d, ok := admitted[a.GetProtocolInstanceId()]; ok {
				accepted[e.GetEventId()] = d
			}
		case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_COMPLETED:
			c := e.GetWorkflowExecutionUpdateCompletedEventAttributes()
			if d, ok := accepted[c.GetAcceptedEventId()]; ok && c.GetOutcome().GetFailure() == nil {
				all = append(all, d)
			}
		case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED:
			a := e.GetWorkflowExecutionSignaledEventAttributes()
			if a.GetSignalName() == wflo.SignalDecide && p.decode(a.GetInput(), &d) {
				signalled = append(signalled, d)
			}
		case enumspb.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
			p.votes(e.GetActivityTaskScheduledEventAttributes(), taken)
		default: // says nothing of decisions
		}
	}
	for _, d := range signalled {
		if taken[likeness(d)] {
			all = append(all, d)
		}
	}
	return all
}

// votes notes the decisions that the run told the index of gates about.
func (p *pastDecisions) votes(a *historypb.ActivityTaskScheduledEventAttributes, taken map[string]bool) {
	name := a.GetActivityType().GetName()
	if !strings.HasPrefix(name, step.PrefixApproval) {
		return
	}
	var said struct {
		wflo.Gate
		Told *wflo.Gate `json:"gate"`
		// Decision hides that of the gate, which has the same name and form.
		Decision *wflo.Decision `json:"decision"`
	}
	if !p.decode(a.GetInput(), &said) {
		return
	}
	for _, g := range []*wflo.Gate{&said.Gate, said.Told} {
		if g == nil {
			continue
		}
		for _, d := range g.Votes {
			taken[likeness(d)] = true
		}
		if g.Decision != nil {
			taken[likeness(*g.Decision)] = true
		}
	}
	if said.Decision != nil {
		taken[likeness(*said.Decision)] = true
	}
}

// likeness is the same for the same decision only.
func likeness(d wflo.Decision) string { return d.Signature + "\n" + string(d.SignedBytes()) }

func (p *pastDecisions) decode(in *commonpb.Payloads, into any) bool {
	conv := p.converter
	if conv == nil {
		conv = converter.GetDefaultDataConverter()
	}
	return len(in.GetPayloads()) == 1 && conv.FromPayloads(in, into) == nil
}
