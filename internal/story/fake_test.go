package story

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/serviceerror"
	taskqueuepb "go.temporal.io/api/taskqueue/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/wflo-ai/wflo-go"
)

// server stands for Temporal: it has the histories of one chain, the oldest first, and
// gives them in pages.
type server struct {
	mu        sync.Mutex
	histories [][]*historypb.HistoryEvent
	page      int // events of a page
	shown     int // of the latest history; zero means all
	status    *wflo.Status
	statusErr error
	pollers   int
	pending   []*workflowpb.PendingActivityInfo
	task      *workflowpb.PendingWorkflowTaskInfo
	gone      bool // the histories are forgotten
	reads     int  // pages that were given
	asked     int  // queries
}

var _ Temporal = (*server)(nil)

func (s *server) WorkflowService() workflowservice.WorkflowServiceClient { return &service{s: s} }

// service is the half of it that has no client.
type service struct {
	workflowservice.WorkflowServiceClient
	s *server
}

func idOf(h []*historypb.HistoryEvent) string {
	return h[0].GetWorkflowExecutionStartedEventAttributes().GetOriginalExecutionRunId()
}

func workflowIDOf(h []*historypb.HistoryEvent) string {
	return h[0].GetWorkflowExecutionStartedEventAttributes().GetWorkflowId()
}

func (s *server) find(runID string) ([]*historypb.HistoryEvent, error) {
	for i, h := range s.histories {
		if runID == "" && i == len(s.histories)-1 || idOf(h) == runID {
			if i == len(s.histories)-1 && s.shown > 0 {
				return h[:s.shown], nil
			}
			return h, nil
		}
	}
	return nil, serviceerror.NewNotFound("no such run")
}

func (s *server) DescribeWorkflowExecution(_ context.Context, workflowID, runID string) (*workflowservice.DescribeWorkflowExecutionResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h, err := s.find(runID)
	if err != nil || workflowID != workflowIDOf(h) {
		return nil, serviceerror.NewNotFound("no such run")
	}
	x := h[0].GetWorkflowExecutionStartedEventAttributes()
	info := &workflowpb.WorkflowExecutionInfo{
		Execution: &commonpb.WorkflowExecution{WorkflowId: workflowID, RunId: idOf(h)}, Type: x.GetWorkflowType(),
		FirstRunId: x.GetFirstExecutionRunId(), StartTime: h[0].GetEventTime(), HistoryLength: int64(len(h)),
		TaskQueue: x.GetTaskQueue().GetName(), Status: enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING,
	}
	if status, at := closing(h[len(h)-1]); at != nil {
		info.Status, info.CloseTime = status, at
	}
	return &workflowservice.DescribeWorkflowExecutionResponse{WorkflowExecutionInfo: info, PendingActivities: s.pending, PendingWorkflowTask: s.task}, nil
}

func closing(e *historypb.HistoryEvent) (enumspb.WorkflowExecutionStatus, *timestamppb.Timestamp) {
	status, ok := map[enumspb.EventType]enumspb.WorkflowExecutionStatus{
		enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED:        enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED,
		enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED:           enumspb.WORKFLOW_EXECUTION_STATUS_FAILED,
		enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED:         enumspb.WORKFLOW_EXECUTION_STATUS_CANCELED,
		enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED:       enumspb.WORKFLOW_EXECUTION_STATUS_TERMINATED,
		enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT:        enumspb.WORKFLOW_EXECUTION_STATUS_TIMED_OUT,
		enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW: enumspb.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW,
	}[e.GetEventType()]
	if !ok {
		return enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, nil
	}
	return status, e.GetEventTime()
}

func (c *service) GetWorkflowExecutionHistory(_ context.Context, r *workflowservice.GetWorkflowExecutionHistoryRequest, _ ...grpc.CallOption) (*workflowservice.GetWorkflowExecutionHistoryResponse, error) {
	s := c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	h, err := s.find(r.GetExecution().GetRunId())
	if err == nil && s.gone {
		err = serviceerror.NewNotFound("history is gone")
	}
	if err != nil {
		return nil, err
	}
	s.reads++
	from := 0
	if len(r.GetNextPageToken()) > 0 {
		if from, err = strconv.Atoi(string(r.GetNextPageToken())); err != nil {
			return nil, fmt.Errorf("token: %w", err)
		}
	}
	if from >= len(h) {
		return nil, errors.New("somebody waits for an event that does not come")
	}
	to := min(from+min(s.page, int(r.GetMaximumPageSize())), len(h))
	out := &workflowservice.GetWorkflowExecutionHistoryResponse{History: &historypb.History{Events: h[from:to]}}
	_, closed := closing(h[len(h)-1])
	if to < len(h) || r.GetWaitNewEvent() && closed == nil {
		out.NextPageToken = []byte(strconv.Itoa(to))
	}
	return out, nil
}

func (c *service) DescribeTaskQueue(context.Context, *workflowservice.DescribeTaskQueueRequest, ...grpc.CallOption) (*workflowservice.DescribeTaskQueueResponse, error) {
	s := c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	return &workflowservice.DescribeTaskQueueResponse{Pollers: make([]*taskqueuepb.PollerInfo, s.pollers)}, nil
}

func (s *server) QueryWorkflow(context.Context, string, string, string, ...any) (converter.EncodedValue, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	if s.statusErr != nil {
		return nil, s.statusErr
	}
	p, err := converter.GetDefaultDataConverter().ToPayloads(s.status)
	if err != nil {
		return nil, err
	}
	return client.NewValue(p), nil
}

// recorded reads a history that was recorded from a real server.
func recorded(t testing.TB, name string) []*historypb.HistoryEvent {
	t.Helper()
	f, err := os.Open(filepath.Join("..", "..", "workflows", "testdata", "histories", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h, err := client.HistoryFromJSON(f, client.HistoryJSONOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return h.GetEvents()
}

// tape is a server with recorded histories of one chain.
func tape(t testing.TB, names ...string) *server {
	t.Helper()
	s := &server{page: 7, pollers: 1}
	for _, name := range names {
		s.histories = append(s.histories, recorded(t, name))
	}
	return s
}

func (s *server) id() string { return workflowIDOf(s.histories[0]) }

// latest is when the histories end, and somewhat later.
func (s *server) now() time.Time {
	h := s.histories[len(s.histories)-1]
	return h[len(h)-1].GetEventTime().AsTime().Add(time.Second)
}

func teller(t testing.TB, s *server, change ...func(*Config)) *Teller {
	t.Helper()
	cfg := Config{Client: s, Now: s.now, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}
	for _, f := range change {
		f(&cfg)
	}
	return New(cfg)
}
