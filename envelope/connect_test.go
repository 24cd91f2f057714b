package envelope

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	commandpb "go.temporal.io/api/command/v1"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	failurepb "go.temporal.io/api/failure/v1"
	querypb "go.temporal.io/api/query/v1"
	sdkpb "go.temporal.io/api/sdk/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
)

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// frontend is a Temporal frontend that keeps what it got, and answers with what it was
// given.
type frontend struct {
	workflowservice.UnimplementedWorkflowServiceServer
	mu       sync.Mutex
	got      []proto.Message
	headers  []metadata.MD
	workflow *workflowservice.PollWorkflowTaskQueueResponse
	activity *workflowservice.PollActivityTaskQueueResponse
	describe *workflowservice.DescribeWorkflowExecutionResponse
}

func (f *frontend) keep(ctx context.Context, m proto.Message) {
	md, _ := metadata.FromIncomingContext(ctx)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.got, f.headers = append(f.got, proto.Clone(m)), append(f.headers, md)
}

func (f *frontend) last(t *testing.T) proto.Message {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.got) == 0 {
		t.Fatal("the server got nothing")
	}
	return f.got[len(f.got)-1]
}

func (f *frontend) StartWorkflowExecution(ctx context.Context, in *workflowservice.StartWorkflowExecutionRequest) (*workflowservice.StartWorkflowExecutionResponse, error) {
	f.keep(ctx, in)
	return &workflowservice.StartWorkflowExecutionResponse{RunId: "r"}, nil
}

func (f *frontend) RespondWorkflowTaskCompleted(ctx context.Context, in *workflowservice.RespondWorkflowTaskCompletedRequest) (*workflowservice.RespondWorkflowTaskCompletedResponse, error) {
	f.keep(ctx, in)
	return &workflowservice.RespondWorkflowTaskCompletedResponse{WorkflowTask: f.workflow}, nil
}

func (f *frontend) PollWorkflowTaskQueue(context.Context, *workflowservice.PollWorkflowTaskQueueRequest) (*workflowservice.PollWorkflowTaskQueueResponse, error) {
	return f.workflow, nil
}

func (f *frontend) PollActivityTaskQueue(context.Context, *workflowservice.PollActivityTaskQueueRequest) (*workflowservice.PollActivityTaskQueueResponse, error) {
	return f.activity, nil
}

func (f *frontend) DescribeWorkflowExecution(context.Context, *workflowservice.DescribeWorkflowExecutionRequest) (*workflowservice.DescribeWorkflowExecutionResponse, error) {
	return f.describe, nil
}

func (f *frontend) RespondWorkflowTaskFailed(ctx context.Context, in *workflowservice.RespondWorkflowTaskFailedRequest) (*workflowservice.RespondWorkflowTaskFailedResponse, error) {
	f.keep(ctx, in)
	return &workflowservice.RespondWorkflowTaskFailedResponse{}, nil
}

func (f *frontend) RespondQueryTaskCompleted(ctx context.Context, in *workflowservice.RespondQueryTaskCompletedRequest) (*workflowservice.RespondQueryTaskCompletedResponse, error) {
	f.keep(ctx, in)
	return &workflowservice.RespondQueryTaskCompletedResponse{}, nil
}

func (f *frontend) RespondActivityTaskFailed(ctx context.Context, in *workflowservice.RespondActivityTaskFailedRequest) (*workflowservice.RespondActivityTaskFailedResponse, error) {
	f.keep(ctx, in)
	return &workflowservice.RespondActivityTaskFailedResponse{}, nil
}

// connect gives a client of the frontend, with the keys, and its log.
func connect(t *testing.T, f *frontend, c *Codec) (workflowservice.WorkflowServiceClient, *bytes.Buffer) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	workflowservice.RegisterWorkflowServiceServer(server, f)
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }()
	t.Cleanup(func() { server.Stop(); <-done })
	var log bytes.Buffer
	c.log = slog.New(slog.NewTextHandler(&log, nil))
	opts := client.Options{HostPort: l.Addr().String(), Logger: slog.New(slog.DiscardHandler), Credentials: client.NewAPIKeyStaticCredentials("key of mine")}
	opts.ConnectionOptions.TLSDisabled = true
	c.Configure(&opts)
	sdk, err := client.NewLazyClient(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sdk.Close)
	return sdk.WorkflowService(), &log
}

const canary = "CANARY-5f1e"

func TestEverythingSentIsSealed(t *testing.T) {
	f := &frontend{}
	c := codec(t, freshKey(t, "a"))
	service, _ := connect(t, f, c)
	words := func() *commonpb.Payload { return payload(canary) }
	all := &commonpb.Payloads{Payloads: []*commonpb.Payload{words(), words()}}
	start := &workflowservice.StartWorkflowExecutionRequest{
		Namespace: "default", WorkflowId: "w", Input: all, Header: &commonpb.Header{Fields: map[string]*commonpb.Payload{"h": words()}},
		Memo:         &commonpb.Memo{Fields: map[string]*commonpb.Payload{"m": words()}},
		UserMetadata: &sdkpb.UserMetadata{Summary: words(), Details: words()},
		SearchAttributes: &commonpb.SearchAttributes{IndexedFields: map[string]*commonpb.Payload{
			"WfloUser": payload(`"ann"`),
		}},
	}
	before := proto.Clone(start)
	if _, err := service.StartWorkflowExecution(t.Context(), start); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, proto.Message(start), protocmp.Transform()); diff != "" {
		t.Error("the request of the caller was changed:", diff)
	}
	text := f.last(t).(*workflowservice.StartWorkflowExecutionRequest)
	if bytes.Contains(wire(t, text), []byte(canary)) || string(text.SearchAttributes.IndexedFields["WfloUser"].Data) != `"ann"` {
		t.Errorf("%v", text)
	}
	failed := &workflowservice.RespondWorkflowTaskCompletedRequest{Commands: []*commandpb.Command{{
		Attributes: &commandpb.Command_FailWorkflowExecutionCommandAttributes{FailWorkflowExecutionCommandAttributes: &commandpb.FailWorkflowExecutionCommandAttributes{
			Failure: &failurepb.Failure{
				Message: canary, StackTrace: canary,
				Cause: &failurepb.Failure{Message: canary, FailureInfo: &failurepb.Failure_ApplicationFailureInfo{ApplicationFailureInfo: &failurepb.ApplicationFailureInfo{
					Type: "MyError", Details: all,
				}}},
			},
		}},
	}}}
	f.workflow = &workflowservice.PollWorkflowTaskQueueResponse{}
	if _, err := service.RespondWorkflowTaskCompleted(t.Context(), failed); err != nil {
		t.Fatal(err)
	}
	got := f.last(t)
	if bytes.Contains(wire(t, got), []byte(canary)) || !bytes.Contains(wire(t, got), []byte("MyError")) {
		t.Errorf("%v", got)
	}
	// The way back.
	if err := c.openAll(t.Context(), got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(proto.Message(failed), got, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
}

func wire(t *testing.T, m proto.Message) []byte {
	t.Helper()
	data, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func sealedPayloads(t *testing.T, key string) *commonpb.Payloads {
	t.Helper()
	return &commonpb.Payloads{Payloads: []*commonpb.Payload{sealedBy(t, codec(t, key), payload(canary))}}
}

// A task that cannot be read goes back to the server in a way that loses nothing, and the
// worker sees no task.
func TestTasksThatCannotBeRead(t *testing.T) {
	strange := sealedPayloads(t, freshKey(t, "lost"))
	task := &workflowservice.PollWorkflowTaskQueueResponse{
		TaskToken: []byte("w"), WorkflowExecution: &commonpb.WorkflowExecution{WorkflowId: "run-7"},
		Query: nil, Queries: map[string]*querypb.WorkflowQuery{"q": {QueryType: "x", QueryArgs: strange}},
	}
	asked := proto.CloneOf(task)
	asked.Query, asked.Queries = &querypb.WorkflowQuery{QueryType: "x", QueryArgs: strange}, nil
	f := &frontend{activity: &workflowservice.PollActivityTaskQueueResponse{
		TaskToken: []byte("a"), Input: strange, WorkflowExecution: &commonpb.WorkflowExecution{WorkflowId: "run-7"},
	}}
	service, log := connect(t, f, codec(t, freshKey(t, "here")))
	check := func(m proto.Message, token string) {
		t.Helper()
		text := string(wire(t, m))
		if !strings.Contains(text, `"lost"`) || !strings.Contains(text, token) || strings.Contains(text, canary) {
			t.Errorf("the server is told %v", m)
		}
		if !strings.Contains(log.String(), "run-7") || !strings.Contains(log.String(), "lost") || !strings.Contains(log.String(), "WFLO_PAYLOAD_KEYS") || strings.Contains(log.String(), canary) {
			t.Error(log)
		}
		log.Reset()
		f.mu.Lock()
		defer f.mu.Unlock()
		if keys := f.headers[len(f.headers)-1].Get("authorization"); len(keys) != 1 {
			t.Errorf("%d times authorization", len(keys))
		}
	}
	f.workflow = task
	got, err := service.PollWorkflowTaskQueue(t.Context(), &workflowservice.PollWorkflowTaskQueueRequest{Namespace: "default", Identity: "me"})
	if err != nil || len(got.GetTaskToken()) != 0 {
		t.Fatal(got, err)
	}
	failed := f.last(t).(*workflowservice.RespondWorkflowTaskFailedRequest)
	check(failed, "w")
	if failed.Namespace != "default" || failed.Identity != "me" {
		t.Error(failed)
	}
	completed, err := service.RespondWorkflowTaskCompleted(t.Context(), &workflowservice.RespondWorkflowTaskCompletedRequest{Namespace: "default"})
	if err != nil || completed.GetWorkflowTask() != nil {
		t.Error(completed, err)
	}
	check(f.last(t).(*workflowservice.RespondWorkflowTaskFailedRequest), "w")
	f.workflow = asked
	if got, err = service.PollWorkflowTaskQueue(t.Context(), &workflowservice.PollWorkflowTaskQueueRequest{}); err != nil || len(got.GetTaskToken()) != 0 {
		t.Fatal(got, err)
	}
	query := f.last(t).(*workflowservice.RespondQueryTaskCompletedRequest)
	check(query, "w")
	if query.CompletedType != enumspb.QUERY_RESULT_TYPE_FAILED {
		t.Error(query)
	}
	activity, err := service.PollActivityTaskQueue(t.Context(), &workflowservice.PollActivityTaskQueueRequest{})
	if err != nil || len(activity.GetTaskToken()) != 0 {
		t.Fatal(activity, err)
	}
	info := f.last(t).(*workflowservice.RespondActivityTaskFailedRequest)
	check(info, "a")
	if app := info.GetFailure().GetApplicationFailureInfo(); app.GetNonRetryable() || app.GetNextRetryDelay().AsDuration() != retryAfter {
		t.Error(app)
	}
}

// To those who look, what cannot be opened stays sealed, and all else is shown.
func TestReadersSeeTheRest(t *testing.T) {
	key := freshKey(t, "here")
	good, bad := sealedPayloads(t, key).Payloads[0], sealedPayloads(t, freshKey(t, "lost")).Payloads[0]
	f := &frontend{describe: &workflowservice.DescribeWorkflowExecutionResponse{
		WorkflowExecutionInfo: &workflowpb.WorkflowExecutionInfo{
			Memo: &commonpb.Memo{Fields: map[string]*commonpb.Payload{"good": good, "bad": bad, "plain": payload("plain")}},
		},
	}}
	strict, err := New(Config{Keys: key, RefusePlain: true})
	if err != nil {
		t.Fatal(err)
	}
	service, _ := connect(t, f, strict)
	out, err := service.DescribeWorkflowExecution(t.Context(), &workflowservice.DescribeWorkflowExecutionRequest{})
	if err != nil {
		t.Fatal(err)
	}
	memo := out.GetWorkflowExecutionInfo().GetMemo().GetFields()
	if string(memo["good"].Data) != canary || !Sealed(memo["bad"]) || !Sealed(memo["plain"]) || len(memo["plain"].Data) > 0 {
		t.Error(memo)
	}
}
