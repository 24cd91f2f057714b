package claims

import (
	"context"
	"errors"
	"fmt"

	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/proxy"
	sdkpb "go.temporal.io/api/sdk/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/wflo-ai/wflo-go/envelope"
)

const (
	// driver and field are what plugin writes into claims.
	driver = "wflo.blobs"
	field  = "sha256"
	// page is how many runs or schedules are asked for at once.
	page = 200
)

// mark takes what a namespace needs out of what is old. Where nothing is left it is done.
func (p *pass) mark(ctx context.Context, namespace string) error {
	if err := p.markSchedules(ctx, namespace); err != nil {
		return err
	}
	req := &workflowservice.ListWorkflowExecutionsRequest{Namespace: namespace, PageSize: page}
	for len(p.old) > 0 {
		reply, err := p.Service.ListWorkflowExecutions(ctx, req)
		if err != nil {
			return fmt.Errorf("list runs: %w", err)
		}
		for _, run := range reply.GetExecutions() {
			if err := p.markRun(ctx, namespace, run); err != nil {
				return fmt.Errorf("run %s: %w", run.GetExecution().GetWorkflowId(), err)
			}
		}
		if req.NextPageToken = reply.GetNextPageToken(); len(req.NextPageToken) == 0 {
			return nil
		}
	}
	return nil
}

// markRun reads the first event of a run, and the rest of one that began long ago.
func (p *pass) markRun(ctx context.Context, namespace string, run *workflowpb.WorkflowExecutionInfo) error {
	p.report.Runs++
	req := &workflowservice.GetWorkflowExecutionHistoryRequest{Namespace: namespace, Execution: run.GetExecution(), MaximumPageSize: 1}
	for first := true; ; first = false {
		reply, err := p.Service.GetWorkflowExecutionHistory(ctx, req)
		if gone(err) {
			return nil // its retention ended just now
		}
		if err != nil {
			return fmt.Errorf("read history: %w", err)
		}
		if err := p.keep(ctx, reply.GetHistory()); err != nil {
			return err
		}
		if events := reply.GetHistory().GetEvents(); first {
			if len(events) == 0 {
				return errors.New("the history has no beginning")
			}
			// The time of the event and not of the run: a reset run has the events of another.
			// What comes with a run is stored a moment before it begins, by another clock.
			if !events[0].GetEventTime().AsTime().Before(p.before.Add(LeastKeep)) {
				return nil
			}
			p.report.Read++
		}
		req.MaximumPageSize = 0
		if req.NextPageToken = reply.GetNextPageToken(); len(req.NextPageToken) == 0 {
			return p.markPending(ctx, namespace, run)
		}
	}
}

// markPending reads what an open run has and its history does not: what activities that
// are under way have reported.
func (p *pass) markPending(ctx context.Context, namespace string, run *workflowpb.WorkflowExecutionInfo) error {
	if run.GetStatus() != enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING {
		return nil
	}
	reply, err := p.Service.DescribeWorkflowExecution(ctx, &workflowservice.DescribeWorkflowExecutionRequest{Namespace: namespace, Execution: run.GetExecution()})
	if gone(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("describe: %w", err)
	}
	return p.keep(ctx, reply)
}

// markSchedules reads what runs to come begin with.
func (p *pass) markSchedules(ctx context.Context, namespace string) error {
	req := &workflowservice.ListSchedulesRequest{Namespace: namespace, MaximumPageSize: page}
	for len(p.old) > 0 {
		reply, err := p.Service.ListSchedules(ctx, req)
		if err != nil {
			return fmt.Errorf("list schedules: %w", err)
		}
		for _, s := range reply.GetSchedules() {
			p.report.Schedules++
			described, err := p.Service.DescribeSchedule(ctx, &workflowservice.DescribeScheduleRequest{Namespace: namespace, ScheduleId: s.GetScheduleId()})
			if gone(err) {
				continue
			}
			if err == nil {
				err = p.keep(ctx, described)
			}
			if err != nil {
				return fmt.Errorf("schedule %s: %w", s.GetScheduleId(), err)
			}
		}
		if req.NextPageToken = reply.GetNextPageToken(); len(req.NextPageToken) == 0 {
			return nil
		}
	}
	return nil
}

func gone(err error) bool {
	var missing *serviceerror.NotFound
	return errors.As(err, &missing)
}

// keep takes what a message claims out of what is old.
func (p *pass) keep(ctx context.Context, message proto.Message) error {
	return proxy.VisitPayloads(ctx, message, proxy.VisitPayloadsOptions{
		SkipSearchAttributes: true,
		Visitor: func(_ *proxy.VisitPayloadsContext, payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
			for _, one := range payloads {
				key, err := claimed(one)
				if err != nil {
					return nil, err
				}
				delete(p.old, key)
			}
			return payloads, nil
		},
	})
}

// claimed is the key that a payload claims, or "" where it is no claim of ours.
func claimed(p *commonpb.Payload) (string, error) {
	if envelope.Sealed(p) {
		return "", errors.New("a payload cannot be opened, and may be a claim: give the keys that sealed it")
	}
	var ref sdkpb.ExternalStorageReference
	switch string(p.GetMetadata()["encoding"]) {
	case "json/protobuf":
		if string(p.GetMetadata()["messageType"]) != string(ref.ProtoReflect().Descriptor().FullName()) {
			return "", nil
		}
		if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(p.GetData(), &ref); err != nil {
			return "", fmt.Errorf("read claim: %w", err)
		}
	case "json/external-storage-reference": // of earlier SDKs
		return "", errors.New("a claim is in the form of a preview of the SDK, which is not read here")
	default:
		return "", nil
	}
	if ref.GetDriverName() != driver {
		return "", nil
	}
	key := ref.GetClaimData()[field]
	if key == "" {
		return "", errors.New("a claim names no payload")
	}
	return key, nil
}
