package claims

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	schedulepb "go.temporal.io/api/schedule/v1"
	sdkpb "go.temporal.io/api/sdk/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/converter"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/envelope"
)

var now = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

func daysAgo(n int) time.Time { return now.AddDate(0, 0, -n) }

// shelf is a store of blobs: when each was stored.
type shelf map[string]time.Time

func (shelf) Put(context.Context, []byte) (string, error) { return "", errors.ErrUnsupported }
func (shelf) Get(context.Context, string) ([]byte, error) { return nil, errors.ErrUnsupported }

func (s shelf) List(_ context.Context, before time.Time, each func(string, int64) error) error {
	for key, at := range s {
		if at.Before(before) {
			if err := each(key, 10); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s shelf) Delete(_ context.Context, key string, before time.Time) error {
	if s[key].Before(before) {
		delete(s, key)
	}
	return nil
}

// server is a Temporal with runs and schedules; one run on each page, one event on each.
type server struct {
	workflowservice.WorkflowServiceClient
	runs      []*run
	schedules map[string]*commonpb.Payload
	seen      func() // after the runs were listed
	err       error
}

type run struct {
	id      string
	open    bool
	gone    bool
	events  []*historypb.HistoryEvent
	pending *commonpb.Payload
}

func (s *server) ListWorkflowExecutions(_ context.Context, req *workflowservice.ListWorkflowExecutionsRequest, _ ...grpc.CallOption) (*workflowservice.ListWorkflowExecutionsResponse, error) {
	at, out := len(req.GetNextPageToken()), &workflowservice.ListWorkflowExecutionsResponse{}
	if req.GetNamespace() != "agents" {
		return out, nil
	}
	if at < len(s.runs) {
		status := enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED
		if s.runs[at].open {
			status = enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING
		}
		out.Executions = []*workflowpb.WorkflowExecutionInfo{{Execution: &commonpb.WorkflowExecution{WorkflowId: s.runs[at].id}, Status: status}}
		out.NextPageToken = make([]byte, at+1)
	}
	if at == len(s.runs)-1 && s.seen != nil {
		s.seen()
	}
	return out, nil
}

func (s *server) find(id string) (*run, error) {
	at := slices.IndexFunc(s.runs, func(r *run) bool { return r.id == id })
	if s.runs[at].gone {
		return nil, serviceerror.NewNotFound("no such run")
	}
	return s.runs[at], s.err
}

func (s *server) GetWorkflowExecutionHistory(_ context.Context, req *workflowservice.GetWorkflowExecutionHistoryRequest, _ ...grpc.CallOption) (*workflowservice.GetWorkflowExecutionHistoryResponse, error) {
	r, err := s.find(req.GetExecution().GetWorkflowId())
	if err != nil {
		return nil, err
	}
	at := len(req.GetNextPageToken())
	out := &workflowservice.GetWorkflowExecutionHistoryResponse{History: &historypb.History{Events: r.events[at : at+1]}}
	if at+1 < len(r.events) {
		out.NextPageToken = make([]byte, at+1)
	}
	return out, nil
}

func (s *server) DescribeWorkflowExecution(_ context.Context, req *workflowservice.DescribeWorkflowExecutionRequest, _ ...grpc.CallOption) (*workflowservice.DescribeWorkflowExecutionResponse, error) {
	r, err := s.find(req.GetExecution().GetWorkflowId())
	if err != nil {
		return nil, err
	}
	return &workflowservice.DescribeWorkflowExecutionResponse{
		PendingActivities: []*workflowpb.PendingActivityInfo{{HeartbeatDetails: &commonpb.Payloads{Payloads: []*commonpb.Payload{r.pending}}}},
	}, nil
}

func (s *server) ListSchedules(_ context.Context, req *workflowservice.ListSchedulesRequest, _ ...grpc.CallOption) (*workflowservice.ListSchedulesResponse, error) {
	out := &workflowservice.ListSchedulesResponse{}
	for id := range s.schedules {
		if req.GetNamespace() == "agents" {
			out.Schedules = append(out.Schedules, &schedulepb.ScheduleListEntry{ScheduleId: id})
		}
	}
	return out, nil
}

func (s *server) DescribeSchedule(_ context.Context, req *workflowservice.DescribeScheduleRequest, _ ...grpc.CallOption) (*workflowservice.DescribeScheduleResponse, error) {
	return &workflowservice.DescribeScheduleResponse{Schedule: &schedulepb.Schedule{Action: &schedulepb.ScheduleAction{Action: &schedulepb.ScheduleAction_StartWorkflow{
		StartWorkflow: &workflowpb.NewWorkflowExecutionInfo{Input: &commonpb.Payloads{Payloads: []*commonpb.Payload{s.schedules[req.GetScheduleId()]}}},
	}}}}, nil
}

// claim is what the SDK writes into a history in a blob's place.
func claim(t *testing.T, name, key string) *commonpb.Payload {
	t.Helper()
	p, err := converter.NewProtoJSONPayloadConverter().ToPayload(&sdkpb.ExternalStorageReference{DriverName: name, ClaimData: map[string]string{field: key}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func began(at time.Time, input *commonpb.Payload) *historypb.HistoryEvent {
	return &historypb.HistoryEvent{EventTime: timestamppb.New(at), Attributes: &historypb.HistoryEvent_WorkflowExecutionStartedEventAttributes{
		WorkflowExecutionStartedEventAttributes: &historypb.WorkflowExecutionStartedEventAttributes{Input: &commonpb.Payloads{Payloads: []*commonpb.Payload{input}}},
	}}
}

func failed(at time.Time, details *commonpb.Payload) *historypb.HistoryEvent {
	return &historypb.HistoryEvent{EventTime: timestamppb.New(at), Attributes: &historypb.HistoryEvent_WorkflowExecutionFailedEventAttributes{
		WorkflowExecutionFailedEventAttributes: &historypb.WorkflowExecutionFailedEventAttributes{},
	}, UserMetadata: &sdkpb.UserMetadata{Details: details}}
}

// world has a blob for each way in which one can be needed, and some that are not.
func world(t *testing.T) (*server, shelf) {
	c := func(key string) *commonpb.Payload { return claim(t, driver, key) }
	s := &server{
		runs: []*run{
			{id: "long", open: true, events: []*historypb.HistoryEvent{began(daysAgo(90), c("long/input")), failed(daysAgo(60), c("long/later"))}, pending: c("long/heartbeat")},
			{id: "closed", events: []*historypb.HistoryEvent{began(daysAgo(50), c("closed/input")), failed(daysAgo(45), c("closed/end"))}},
			{id: "retry", open: true, events: []*historypb.HistoryEvent{began(daysAgo(1), c("retry/input"))}},
			{id: "gone", gone: true},
			{id: "edge", events: []*historypb.HistoryEvent{began(daysAgo(30).Add(time.Second), c("edge/input")), failed(daysAgo(30).Add(time.Second), c("edge/signal"))}},
			{id: "strange", events: []*historypb.HistoryEvent{began(daysAgo(2), claim(t, "s3driver", "free/strange"))}},
		},
		schedules: map[string]*commonpb.Payload{"yearly": c("schedule/input")},
	}
	blobs := shelf{"young": daysAgo(29), "edge/input": daysAgo(30).Add(-time.Second), "edge/signal": daysAgo(30).Add(-time.Second), "free/old": daysAgo(31), "free/strange": daysAgo(300)}
	for _, key := range []string{"long/input", "long/later", "long/heartbeat", "closed/input", "closed/end", "retry/input", "schedule/input"} {
		blobs[key] = daysAgo(400)
	}
	return s, blobs
}

func config(s *server, blobs shelf) Config {
	return Config{Service: s, Namespaces: []string{"other", "agents"}, Blobs: blobs, Now: func() time.Time { return now }}
}

// TestClean has every blob stay that a run or a schedule needs, however old it is, and the
// others go.
func TestClean(t *testing.T) {
	s, blobs := world(t)
	all := maps.Clone(blobs)
	c := config(s, blobs)
	c.DryRun = true
	want := Report{Old: 11, Needed: 9, Runs: 6, Read: 3, Schedules: 1, Deleted: 2, Freed: 20}
	if got, err := Clean(t.Context(), c); err != nil || got != want || !maps.Equal(blobs, all) {
		t.Fatalf("a dry run: %+v, %v; %d blobs are left", got, err, len(blobs))
	}
	c.DryRun = false
	if got, err := Clean(t.Context(), c); err != nil || got != want {
		t.Fatalf("%+v, %v", got, err)
	}
	for key := range all {
		if _, kept := blobs[key]; kept == strings.HasPrefix(key, "free/") {
			t.Errorf("%s: kept is %v", key, kept)
		}
	}
}

// TestStoredAgain: a blob that is stored again while its readers are looked for stays.
func TestStoredAgain(t *testing.T) {
	s, blobs := world(t)
	s.seen = func() { blobs["free/old"] = now }
	if _, err := Clean(t.Context(), config(s, blobs)); err != nil || blobs["free/old"].IsZero() || !blobs["free/strange"].IsZero() {
		t.Errorf("%v, %v", blobs, err)
	}
}

// TestNothingGoesBlindly has nothing be deleted where it is not known what is needed.
func TestNothingGoesBlindly(t *testing.T) {
	sealed := &commonpb.Payload{Metadata: map[string][]byte{converter.MetadataEncoding: []byte(envelope.Encoding)}}
	broken := claim(t, driver, "x")
	broken.Data = []byte("{")
	for name, change := range map[string]func(*server){
		"the server is away": func(s *server) { s.err = serviceerror.NewUnavailable("away") },
		"a key is missing":   func(s *server) { s.runs[2].events[0] = began(daysAgo(1), sealed) },
		"a claim is broken":  func(s *server) { s.runs[1].events[1] = failed(daysAgo(45), broken) },
		"a claim is empty":   func(s *server) { s.schedules["yearly"] = claim(t, driver, "") },
		"a claim of a preview": func(s *server) {
			s.runs[0].pending = &commonpb.Payload{Metadata: map[string][]byte{"encoding": []byte("json/external-storage-reference")}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, blobs := world(t)
			all := maps.Clone(blobs)
			change(s)
			report, err := Clean(t.Context(), config(s, blobs))
			if err == nil || report.Deleted != 0 || !maps.Equal(blobs, all) {
				t.Errorf("%+v, %v; %d of %d blobs are left", report, err, len(blobs), len(all))
			}
		})
	}
}

func TestConfig(t *testing.T) {
	s, blobs := world(t)
	for name, change := range map[string]func(*Config){
		"no namespace":   func(c *Config) { c.Namespaces = nil },
		"no store":       func(c *Config) { c.Blobs = nil },
		"no server":      func(c *Config) { c.Service = nil },
		"too short":      func(c *Config) { c.Keep = time.Hour },
		"a negative age": func(c *Config) { c.Keep = -time.Hour },
	} {
		c := config(s, blobs)
		change(&c)
		if _, err := Clean(t.Context(), c); !errors.Is(err, wflo.ErrInvalid) || wflo.HintOf(err) == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}
