package telemetry

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/trace"
	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
	"google.golang.org/protobuf/proto"

	"github.com/wflo-ai/wflo-go"
)

func activityNamed(name string) activity.RegisterOptions { return activity.RegisterOptions{Name: name} }
func workflowNamed(name string) workflow.RegisterOptions { return workflow.RegisterOptions{Name: name} }
func emptyWorkflow(workflow.Context) error               { return nil }

// collector is an OTLP/HTTP collector that keeps what it gets.
type collector struct {
	*httptest.Server
	mu      sync.Mutex
	spans   []*tracepb.Span
	service string
}

func newCollector(t *testing.T) *collector {
	c := &collector{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := c.receive(r); err != nil {
			t.Errorf("collector: %v", err)
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *collector) receive(r *http.Request) error {
	if r.Method != http.MethodPost || r.URL.Path != "/v1/traces" {
		return errors.New("unexpected " + r.Method + " " + r.URL.Path)
	}
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(body)
		if err != nil {
			return err
		}
		body = z
	}
	data, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	var request collectorpb.ExportTraceServiceRequest
	if err := proto.Unmarshal(data, &request); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, rs := range request.ResourceSpans {
		for _, a := range rs.Resource.Attributes {
			if a.Key == "service.name" {
				c.service = a.Value.GetStringValue()
			}
		}
		for _, ss := range rs.ScopeSpans {
			c.spans = append(c.spans, ss.Spans...)
		}
	}
	return nil
}

// named returns the spans of a name.
func (c *collector) named(name string) []*tracepb.Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	var found []*tracepb.Span
	for _, s := range c.spans {
		if s.Name == name {
			found = append(found, s)
		}
	}
	return found
}

// cleanEnv takes away what the machine's environment says about tracing.
func cleanEnv(t *testing.T) {
	for _, name := range []string{
		"OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_PROTOCOL",
		"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG", "OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES",
	} {
		t.Setenv(name, "")
	}
}

func TestNewTracingExports(t *testing.T) {
	tests := []struct {
		name    string
		env     func(url string) map[string]string
		config  func(url string) Config
		service string // "" when nothing may arrive
	}{
		{"off by default", nil, nil, ""},
		{"endpoint in env", func(u string) map[string]string {
			return map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": u}
		}, func(string) Config { return Config{ServiceName: "orders", ServiceVersion: "1.2"} }, "orders"},
		{"traces endpoint and name in env", func(u string) map[string]string {
			return map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": u + "/v1/traces", "OTEL_SERVICE_NAME": "from-env"}
		}, func(string) Config { return Config{ServiceName: "orders"} }, "from-env"},
		{"config", nil, func(u string) Config { return Config{Endpoint: u + "/"} }, "wflo"},
		{"env wins over config", func(u string) map[string]string {
			return map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": u}
		}, func(string) Config { return Config{Endpoint: "http://192.0.2.1:4318"} }, "wflo"},
		{"none", func(string) map[string]string { return map[string]string{"OTEL_TRACES_EXPORTER": "none"} },
			func(u string) Config { return Config{Endpoint: u} }, ""},
		{"disabled", func(u string) map[string]string {
			return map[string]string{"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": u}
		}, nil, ""},
		{"sampler", func(u string) map[string]string {
			return map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": u, "OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}
		}, func(string) Config { return Config{SampleRate: 1} }, ""},
		{"sample rate", nil, func(u string) Config { return Config{Endpoint: u, SampleRate: 1e-18} }, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cleanEnv(t)
			c := newCollector(t)
			if tt.env != nil {
				for name, value := range tt.env(c.URL) {
					t.Setenv(name, value)
				}
			}
			var config Config
			if tt.config != nil {
				config = tt.config(c.URL)
			}
			tp, shutdown, err := NewTracing(t.Context(), config)
			if err != nil {
				t.Fatal(err)
			}
			_, span := tp.Tracer("test").Start(t.Context(), "work")
			span.End()
			if err := shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := len(c.named("work")) > 0; got != (tt.service != "") || c.service != tt.service {
				t.Errorf("arrived %v as %q, want %q", got, c.service, tt.service)
			}
		})
	}
}

// A parent that is sampled keeps its children whatever the rate for new traces.
func TestNewTracingFollowsParent(t *testing.T) {
	cleanEnv(t)
	c := newCollector(t)
	tp, shutdown, err := NewTracing(t.Context(), Config{Endpoint: c.URL, SampleRate: 1e-18})
	if err != nil {
		t.Fatal(err)
	}
	_, span := tp.Tracer("test").Start(withSpan(t, t.Context(), trace.FlagsSampled), "child")
	span.End()
	if err := shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := c.named("child"); len(got) != 1 || trace.SpanID(got[0].ParentSpanId).String() != testSpanID {
		t.Errorf("got %v", got)
	}
}

func TestNewTracingRefuses(t *testing.T) {
	tests := []struct {
		name   string
		env    map[string]string
		config Config
		hint   string
	}{
		{"unknown exporter", map[string]string{"OTEL_TRACES_EXPORTER": "carrier-pigeon"}, Config{}, "otlp, console or none"},
		{"unknown protocol", map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "smtp"}, Config{}, "http/protobuf or grpc"},
		{"jaeger", map[string]string{"OTEL_TRACES_EXPORTER": "jaeger"}, Config{}, "http://jaeger:4318"},
		{"zipkin", map[string]string{"OTEL_TRACES_EXPORTER": "zipkin"}, Config{}, "http://zipkin:4318"},
		{"resource", map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_RESOURCE_ATTRIBUTES": "nonsense"}, Config{}, "name=value"},
		{"endpoint", nil, Config{Endpoint: "user:hunter2@localhost:4318"}, "http://localhost:4318"},
		{"rate", nil, Config{Endpoint: "http://localhost:4318", SampleRate: 1.5}, "one trace in ten"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cleanEnv(t)
			for name, value := range tt.env {
				t.Setenv(name, value)
			}
			_, shutdown, err := NewTracing(t.Context(), tt.config)
			if !errors.Is(err, wflo.ErrInvalid) || !strings.Contains(wflo.HintOf(err), tt.hint) {
				t.Errorf("error %v, want one with the hint %q", err, tt.hint)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("password in %v", err)
			}
			if err := shutdown(t.Context()); err != nil {
				t.Errorf("shutdown: %v", err)
			}
		})
	}
}

// A collector that is down is told to the logger; the worker goes on.
func TestNewTracingCollectorDown(t *testing.T) {
	cleanEnv(t)
	c := newCollector(t)
	c.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "200") // milliseconds
	var logs bytes.Buffer
	tp, shutdown, err := NewTracing(t.Context(), Config{Endpoint: c.URL, Logger: slog.New(slog.NewTextHandler(&logs, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { otel.SetErrorHandler(otel.ErrorHandlerFunc(func(error) {})) })
	_, span := tp.Tracer("test").Start(t.Context(), "work")
	span.End()
	if err := shutdown(t.Context()); err == nil && !strings.Contains(logs.String(), "telemetry incomplete") {
		t.Errorf("nobody was told; log: %s", &logs)
	}
}

// tracedEnv makes a test environment with the interceptor of a provider.
func tracedEnv(t *testing.T, tp trace.TracerProvider, header *commonpb.Header) *testsuite.TestWorkflowEnvironment {
	t.Helper()
	i, err := TemporalInterceptor(tp)
	if err != nil {
		t.Fatal(err)
	}
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(slog.New(slog.DiscardHandler))
	suite.SetHeader(header)
	env := suite.NewTestWorkflowEnvironment()
	env.SetWorkerOptions(worker.Options{Interceptors: []interceptor.WorkerInterceptor{i}})
	env.RegisterActivityWithOptions(func(ctx context.Context) error {
		_, span := tp.Tracer("test").Start(ctx, "call")
		span.End()
		return nil
	}, activityNamed("work"))
	return env
}

func onceMore(ctx workflow.Context, left int) error {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: 1e9})
	if err := workflow.ExecuteActivity(ctx, "work").Get(ctx, nil); err != nil {
		return err
	}
	if left == 0 {
		return nil
	}
	return workflow.NewContinueAsNewError(ctx, onceMore, left-1)
}

// One trace covers a run: its activities on one worker, and what it continues
// as on another, with another provider.
func TestTemporalInterceptorOneTrace(t *testing.T) {
	cleanEnv(t)
	c := newCollector(t)
	var header *commonpb.Header
	for left := 1; left >= 0; left-- {
		tp, shutdown, err := NewTracing(t.Context(), Config{Endpoint: c.URL})
		if err != nil {
			t.Fatal(err)
		}
		env := tracedEnv(t, tp, header)
		env.ExecuteWorkflow(onceMore, left)
		err = env.GetWorkflowError()
		var next *workflow.ContinueAsNewError
		if left == 1 {
			if !errors.As(err, &next) {
				t.Fatalf("first run: %v", err)
			}
			header = next.Header
		} else if err != nil {
			t.Fatalf("second run: %v", err)
		}
		if err := shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"RunWorkflow:onceMore", "StartActivity:work", "RunActivity:work", "call"} {
		spans := c.named(name)
		if len(spans) != 2 {
			t.Fatalf("%d spans %s, want one of each run", len(spans), name)
		}
		for _, s := range spans {
			if !bytes.Equal(s.TraceId, c.spans[0].TraceId) {
				t.Errorf("span %s is in another trace", name)
			}
			if s.Status.GetCode() == tracepb.Status_STATUS_CODE_ERROR || len(s.Events) > 0 {
				t.Errorf("span %s has an error: %v", name, s)
			}
		}
	}
	runs, starts := c.named("RunWorkflow:onceMore"), c.named("StartActivity:work")
	if !bytes.Equal(runs[1].ParentSpanId, runs[0].SpanId) {
		t.Error("the second run is not a child of the first")
	}
	if !bytes.Equal(starts[0].ParentSpanId, runs[0].SpanId) {
		t.Error("the activity is not a child of its run")
	}
}

func TestTemporalInterceptorFailedRun(t *testing.T) {
	cleanEnv(t)
	c := newCollector(t)
	tp, shutdown, err := NewTracing(t.Context(), Config{Endpoint: c.URL})
	if err != nil {
		t.Fatal(err)
	}
	env := tracedEnv(t, tp, nil)
	env.RegisterWorkflowWithOptions(func(workflow.Context) error {
		return temporal.NewApplicationError("no", "refused")
	}, workflowNamed("Fails"))
	env.ExecuteWorkflow("Fails")
	if err := shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := c.named("RunWorkflow:Fails"); len(got) != 1 || got[0].Status.GetCode() != tracepb.Status_STATUS_CODE_ERROR {
		t.Errorf("got %v, want one span with an error", got)
	}
}

// Without a collector the interceptor must neither fail nor write headers.
func TestTemporalInterceptorNoop(t *testing.T) {
	cleanEnv(t)
	tp, _, err := NewTracing(t.Context(), Config{})
	if err != nil {
		t.Fatal(err)
	}
	env := tracedEnv(t, tp, nil)
	env.ExecuteWorkflow(onceMore, 1)
	var next *workflow.ContinueAsNewError
	if err := env.GetWorkflowError(); !errors.As(err, &next) {
		t.Fatalf("run: %v", err)
	}
	if got := next.Header.GetFields()["_tracer-data"]; got != nil {
		t.Errorf("header %v", got)
	}
}
