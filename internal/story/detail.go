package story

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	commonpb "go.temporal.io/api/common/v1"
	failurepb "go.temporal.io/api/failure/v1"
	historypb "go.temporal.io/api/history/v1"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// Output is the whole of what came out of a row, for downloads.
type Output struct {
	// Name is a file name for it; Type its media type.
	Name, Type string
	Data       []byte
}

// Detail reads one row in full. A row that is not there is fs.ErrNotExist. Content that
// is kept in a store that is not reached is Cut, with nothing but its Size.
func (t *Teller) Detail(ctx context.Context, workflowID, runID, rowID string) (Detail, error) {
	p, r, err := t.find(ctx, workflowID, runID, rowID)
	if err != nil {
		return Detail{}, err
	}
	d := Detail{Row: t.dresser(ctx, r).row(p)}
	in, out, failure, err := t.payloads(ctx, p)
	if err != nil {
		return Detail{}, err
	}
	if d.Input, err = t.read.content(ctx, in); err != nil {
		t.lack(ctx, r, "the input of "+rowID, err)
	}
	if d.Kind == KindSandbox && out != nil {
		return d, t.program(ctx, r, &d, out)
	}
	if d.Output, err = t.read.content(ctx, out); err != nil {
		t.lack(ctx, r, "the output of "+rowID, err)
	}
	if failure == nil && r.open {
		failure = lastFailure(r, p)
	}
	d.Trace = t.read.traceOf(failure)
	return d, nil
}

// lastFailure is why the last attempt of a call failed that goes on.
func lastFailure(r run, p picked) *failurepb.Failure {
	p.a.mu.Lock()
	id := p.a.rows[p.i].activityID
	p.a.mu.Unlock()
	for _, a := range r.GetPendingActivities() {
		if id != "" && a.GetActivityId() == id {
			return a.GetLastFailure()
		}
	}
	return nil
}

// program shows what a program wrote and changed.
func (t *Teller) program(ctx context.Context, r run, d *Detail, out *commonpb.Payloads) error {
	var res sandbox.Result
	if err := t.read.into(ctx, first(out), &res); err != nil {
		t.lack(ctx, r, "the result of "+d.ID, err)
		d.Output = &Content{Size: size(first(out)), Cut: true}
		return nil
	}
	d.Stdout, d.Stderr = headOf(res.Stdout), headOf(res.Stderr)
	d.Stdout.Size += res.StdoutTruncated
	d.Stderr.Size += res.StderrTruncated
	d.Stdout.Cut, d.Stderr.Cut = d.Stdout.Cut || res.StdoutTruncated > 0, d.Stderr.Cut || res.StderrTruncated > 0
	for _, c := range res.Changed {
		d.Files = append(d.Files, c.Op+" "+c.Name)
	}
	if res.ChangedMore > 0 {
		d.Files = append(d.Files, fmt.Sprintf("and %d more", res.ChangedMore))
	}
	for _, f := range res.Artifacts {
		d.Files = append(d.Files, "artifact "+f.Name)
	}
	return nil
}

// Output reads the whole of what came out of a row: of a program its standard output.
// Where nothing came out it is fs.ErrNotExist.
func (t *Teller) Output(ctx context.Context, workflowID, runID, rowID string) (Output, error) {
	p, _, err := t.find(ctx, workflowID, runID, rowID)
	if err != nil {
		return Output{}, err
	}
	_, out, _, err := t.payloads(ctx, p)
	if err != nil {
		return Output{}, err
	}
	if len(out.GetPayloads()) == 0 {
		return Output{}, fmt.Errorf("output of %s: %w", rowID, fs.ErrNotExist)
	}
	p.a.mu.Lock()
	kind := p.a.rows[p.i].Kind
	p.a.mu.Unlock()
	if kind == KindSandbox {
		var res sandbox.Result
		if err := t.read.into(ctx, first(out), &res); err != nil {
			return Output{}, unreached(err)
		}
		return Output{Name: rowID + ".txt", Type: "text/plain; charset=utf-8", Data: []byte(res.Stdout)}, nil
	}
	text, err := t.read.whole(ctx, out)
	if err != nil {
		return Output{}, unreached(err)
	}
	return Output{Name: rowID + ".json", Type: "application/json", Data: []byte(text)}, nil
}

func unreached(err error) error {
	if errors.Is(err, errKept) {
		return wflo.Errorf(wflo.CodeInvalid, "ask a worker's own API, or give this program the workers' store", "%w", err)
	}
	return fmt.Errorf("read output: %w", err)
}

// find finds a row by its ID, whose first part is the run that it is of.
func (t *Teller) find(ctx context.Context, workflowID, runID, rowID string) (picked, run, error) {
	i := strings.LastIndexByte(rowID, '-')
	if i <= 0 {
		return picked{}, run{}, noRow(rowID)
	}
	latest, err := t.describe(ctx, workflowID, runID)
	if err != nil {
		return picked{}, run{}, err
	}
	of := rowID[:i]
	ids, _, err := t.chain(ctx, latest)
	if err != nil {
		return picked{}, run{}, err
	}
	for _, id := range ids {
		if id != of {
			continue
		}
		a, err := t.account(ctx, latest.of(id))
		if err != nil {
			return picked{}, run{}, err
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		for i := range a.rows {
			if a.rows[i].ID == rowID {
				return picked{a, i}, latest, nil
			}
		}
	}
	return picked{}, run{}, noRow(rowID)
}

func noRow(id string) error { return fmt.Errorf("no row %s: %w", line(id), fs.ErrNotExist) }

// payloads reads what a row was about from its events. Of steps nothing is recorded.
func (t *Teller) payloads(ctx context.Context, p picked) (in, out *commonpb.Payloads, failure *failurepb.Failure, err error) {
	p.a.mu.Lock()
	e := p.a.rows[p.i]
	last, closed := p.a.last, p.a.closed
	p.a.mu.Unlock()
	if e.Kind == KindStep {
		return nil, nil, nil, nil
	}
	ids := []int64{e.EventID}
	switch {
	case e.result > 0:
		ids = append(ids, e.result)
	case p.i == 0 && closed:
		ids = append(ids, last)
	}
	events, err := t.again(ctx, p.a, ids...)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("read row %s again: %w", e.ID, err)
	}
	if began := events[e.EventID]; began != nil {
		in = inputOf(began)
		out, failure = resultOf(began) // of markers
	}
	if over := events[ids[len(ids)-1]]; over != nil && len(ids) > 1 {
		out, failure = resultOf(over)
	}
	return in, out, failure, nil
}

// inputOf is what something that began was given.
func inputOf(e *historypb.HistoryEvent) *commonpb.Payloads {
	switch x := e.GetAttributes().(type) {
	case *historypb.HistoryEvent_WorkflowExecutionStartedEventAttributes:
		return x.WorkflowExecutionStartedEventAttributes.GetInput()
	case *historypb.HistoryEvent_ActivityTaskScheduledEventAttributes:
		return x.ActivityTaskScheduledEventAttributes.GetInput()
	case *historypb.HistoryEvent_StartChildWorkflowExecutionInitiatedEventAttributes:
		return x.StartChildWorkflowExecutionInitiatedEventAttributes.GetInput()
	case *historypb.HistoryEvent_WorkflowExecutionSignaledEventAttributes:
		return x.WorkflowExecutionSignaledEventAttributes.GetInput()
	case *historypb.HistoryEvent_SignalExternalWorkflowExecutionInitiatedEventAttributes:
		return x.SignalExternalWorkflowExecutionInitiatedEventAttributes.GetInput()
	case *historypb.HistoryEvent_WorkflowExecutionUpdateAcceptedEventAttributes:
		return x.WorkflowExecutionUpdateAcceptedEventAttributes.GetAcceptedRequest().GetInput().GetArgs()
	case *historypb.HistoryEvent_NexusOperationScheduledEventAttributes:
		return one(x.NexusOperationScheduledEventAttributes.GetInput())
	}
	return nil
}

// resultOf is how something ended.
func resultOf(e *historypb.HistoryEvent) (*commonpb.Payloads, *failurepb.Failure) {
	switch x := e.GetAttributes().(type) {
	case *historypb.HistoryEvent_WorkflowExecutionCompletedEventAttributes:
		return x.WorkflowExecutionCompletedEventAttributes.GetResult(), nil
	case *historypb.HistoryEvent_WorkflowExecutionFailedEventAttributes:
		return nil, x.WorkflowExecutionFailedEventAttributes.GetFailure()
	case *historypb.HistoryEvent_ActivityTaskCompletedEventAttributes:
		return x.ActivityTaskCompletedEventAttributes.GetResult(), nil
	case *historypb.HistoryEvent_ActivityTaskFailedEventAttributes:
		return nil, x.ActivityTaskFailedEventAttributes.GetFailure()
	case *historypb.HistoryEvent_ActivityTaskTimedOutEventAttributes:
		return nil, x.ActivityTaskTimedOutEventAttributes.GetFailure()
	case *historypb.HistoryEvent_ChildWorkflowExecutionCompletedEventAttributes:
		return x.ChildWorkflowExecutionCompletedEventAttributes.GetResult(), nil
	case *historypb.HistoryEvent_ChildWorkflowExecutionFailedEventAttributes:
		return nil, x.ChildWorkflowExecutionFailedEventAttributes.GetFailure()
	case *historypb.HistoryEvent_WorkflowExecutionUpdateCompletedEventAttributes:
		o := x.WorkflowExecutionUpdateCompletedEventAttributes.GetOutcome()
		return o.GetSuccess(), o.GetFailure()
	case *historypb.HistoryEvent_NexusOperationCompletedEventAttributes:
		return one(x.NexusOperationCompletedEventAttributes.GetResult()), nil
	case *historypb.HistoryEvent_NexusOperationFailedEventAttributes:
		return nil, x.NexusOperationFailedEventAttributes.GetFailure()
	case *historypb.HistoryEvent_MarkerRecordedEventAttributes:
		m := x.MarkerRecordedEventAttributes
		return m.GetDetails()["result"], m.GetFailure()
	}
	return nil, nil
}

func one(p *commonpb.Payload) *commonpb.Payloads {
	if p == nil {
		return nil
	}
	return &commonpb.Payloads{Payloads: []*commonpb.Payload{p}}
}
