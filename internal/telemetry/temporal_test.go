package telemetry

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// frontend answers a real client and worker just enough that they poll; all
// else is Unimplemented, which the SDK counts as failures with another tag set.
type frontend struct {
	workflowservice.UnimplementedWorkflowServiceServer
	polled chan struct{}
	once   sync.Once
}

func (f *frontend) GetSystemInfo(context.Context, *workflowservice.GetSystemInfoRequest) (*workflowservice.GetSystemInfoResponse, error) {
	return &workflowservice.GetSystemInfoResponse{}, nil
}

func (f *frontend) DescribeNamespace(context.Context, *workflowservice.DescribeNamespaceRequest) (*workflowservice.DescribeNamespaceResponse, error) {
	return &workflowservice.DescribeNamespaceResponse{}, nil
}

func (f *frontend) PollWorkflowTaskQueue(ctx context.Context, _ *workflowservice.PollWorkflowTaskQueueRequest) (*workflowservice.PollWorkflowTaskQueueResponse, error) {
	f.once.Do(func() { close(f.polled) })
	<-ctx.Done()
	return nil, status.FromContextError(ctx.Err()).Err()
}

func (f *frontend) PollActivityTaskQueue(ctx context.Context, _ *workflowservice.PollActivityTaskQueueRequest) (*workflowservice.PollActivityTaskQueueResponse, error) {
	<-ctx.Done()
	return nil, status.FromContextError(ctx.Err()).Err()
}

func (f *frontend) SignalWorkflowExecution(context.Context, *workflowservice.SignalWorkflowExecutionRequest) (*workflowservice.SignalWorkflowExecutionResponse, error) {
	return nil, status.Error(codes.NotFound, "no such run")
}

// The real SDK, with its interceptors, its pollers and their tag sets.
func TestTemporalHandlerWithSDK(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &frontend{polled: make(chan struct{})}
	server := grpc.NewServer()
	workflowservice.RegisterWorkflowServiceServer(server, f)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()

	m := NewMetrics(Config{})
	quiet := slog.New(slog.DiscardHandler)
	c, err := client.Dial(client.Options{HostPort: listener.Addr().String(), MetricsHandler: m.TemporalHandler(), Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	w := worker.New(c, "orders", worker.Options{WorkerStopTimeout: 0})
	w.RegisterActivityWithOptions(func(context.Context) error { return nil }, activityNamed("noop"))
	w.RegisterWorkflowWithOptions(emptyWorkflow, workflowNamed("Empty"))
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	<-f.polled
	if err := c.SignalWorkflow(t.Context(), "id", "", "s", nil); err == nil {
		t.Error("signal to a run that is not there: no error")
	}
	w.Stop()
	c.Close()
	server.Stop()
	if err := <-served; err != nil {
		t.Fatal(err)
	}
	got := scrape(t, m, openMetrics)
	wantLines(t, got,
		`temporal_worker_start_total{`,
		`temporal_request_total{activity_type="none",client_name="temporal_go",namespace="_unknown_",operation="GetSystemInfo"`,
		`temporal_request_failure_total{activity_type="none",client_name="temporal_go",namespace="default",operation="SignalWorkflowExecution",status_code="NOT_FOUND"`,
		`temporal_request_latency_seconds_bucket{`,
		`temporal_long_request_total{`,
		`temporal_num_pollers{`,
		`temporal_worker_task_slots_available{`)
}

// The same metric with different tags, values that only grow per tag set, and
// many goroutines at once: how the SDK calls it.
func TestTemporalHandlerTags(t *testing.T) {
	m := NewMetrics(Config{})
	root := m.TemporalHandler().WithTags(map[string]string{"namespace": "default", "workflow_type": "none"})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 100 {
				h := root.WithTags(map[string]string{"workflow_type": "Refund"})
				h.Counter("temporal_request").Inc(1)
				h.WithTags(map[string]string{"status_code": "NOT_FOUND"}).Counter("temporal_request").Inc(1)
				h.Gauge("temporal_num_pollers").Update(float64(i))
				h.Timer("temporal_request_latency").Record(30 * time.Millisecond)
				m.TemporalHandler().Counter("temporal_request").Inc(-1)
			}
		})
	}
	scrape(t, m, "text/plain")
	wg.Wait()
	wantLines(t, scrape(t, m, "text/plain"),
		`temporal_request_total 0`,
		`temporal_request_total{namespace="default",workflow_type="Refund"} 800`,
		`temporal_request_total{namespace="default",status_code="NOT_FOUND",workflow_type="Refund"} 800`,
		`temporal_num_pollers{namespace="default",workflow_type="Refund"} `,
		`temporal_request_latency_seconds_count{namespace="default",workflow_type="Refund"} 800`,
		`temporal_request_latency_seconds_bucket{namespace="default",workflow_type="Refund",le="0.05"} 800`,
		`temporal_request_latency_seconds_bucket{namespace="default",workflow_type="Refund",le="0.025"} 0`)
}

// Workflow code chooses names and tags freely; none may panic, spoil the
// scrape, or pass for one of wflo's metrics.
func TestTemporalHandlerHostileNames(t *testing.T) {
	var logs bytes.Buffer
	m := NewMetrics(Config{Logger: slog.New(slog.NewTextHandler(&logs, nil))})
	h := m.TemporalHandler()
	for _, tag := range []string{"le", "__name__", "", "9", "ü b", "quantile", "\xff"} {
		tagged := h.WithTags(map[string]string{tag: "v\xff"})
		tagged.Counter("c").Inc(1)
		tagged.Gauge("g").Update(1)
		tagged.Timer("t").Record(time.Second)
	}
	for _, name := range []string{"", "9 lives", "a-b.c", "\xff", strings.Repeat("n", 500)} {
		h.Counter(name).Inc(1)
	}
	for range 3 {
		h.Counter("wflo_llm_api_calls").Inc(1000)
		h.Gauge("wflo_workflow_cost_usd").Update(1e9)
		h.Counter("orders").Inc(1)
		h.Gauge("orders_total").Update(5)
	}
	got := scrape(t, m, openMetrics)
	wantLines(t, got, `c_total{tag_le="v`, `c_total{tag_name__="v`, `c_total{unknown="v`, `c_total{_9="v`, `c_total{tag_b="v`,
		`unknown_total 1`, `_9_lives_total 1`, `a_b_c_total 1`, `orders_total 3`)
	for line := range strings.Lines(got) {
		if strings.HasPrefix(line, "wflo_llm_api_calls_total") || strings.HasPrefix(line, "wflo_workflow_cost_usd") {
			t.Errorf("workflow code wrote a metric of wflo: %s", line)
		}
	}
	if n := strings.Count(logs.String(), "metric dropped"); n != 3 {
		t.Errorf("%d warnings, want one per clash:\n%s", n, &logs)
	}
	if strings.Contains(logs.String(), "metrics incomplete") {
		t.Errorf("the scrape had errors:\n%s", &logs)
	}
}

func TestTemporalHandlerIsBounded(t *testing.T) {
	m := NewMetrics(Config{})
	h := m.TemporalHandler()
	for i := range maxSeries + 50 {
		h.WithTags(map[string]string{"user": fmt.Sprint(i)}).Counter("seen").Inc(1)
	}
	for i := range maxFamilies + 50 {
		h.Counter(fmt.Sprintf("family%d", i)).Inc(1)
	}
	wantLines(t, scrape(t, m, "text/plain"), `seen_total{overflow="true"} 50`)
	if n := len(m.temporal.families); n > maxFamilies {
		t.Errorf("%d families, want at most %d", n, maxFamilies)
	}
}

func BenchmarkTemporalCounter(b *testing.B) {
	root := NewMetrics(Config{}).TemporalHandler().WithTags(map[string]string{
		"namespace": "default", "client_name": "temporal_go", "worker_type": "none", "workflow_type": "none", "activity_type": "none", "task_queue": "none",
	})
	for b.Loop() {
		root.WithTags(map[string]string{"workflow_type": "Refund", "operation": "RespondWorkflowTaskCompleted"}).Counter("temporal_request").Inc(1)
	}
}
