package govern

import (
	"compress/gzip"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// receiver is a real collector, and what it passed on.
type receiver struct {
	http, grpc string // addresses, as host:port
	mu         sync.Mutex
	spans      []*tracepb.Span
}

// newReceiver starts a collector that takes OTLP over HTTP and gRPC. Whatever
// arrived there has been decoded and encoded again by code that is not ours.
func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{}
	sink := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if err := r.take(req); err != nil {
			t.Errorf("what the collector passed on: %v", err)
			w.WriteHeader(http.StatusBadRequest)
		}
	}))
	t.Cleanup(sink.Close)
	program, err := filepath.Abs("../../../../bin/otelcol")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(program); err != nil {
		t.Fatalf("this test sends traces to a real collector: %v\nhint: make bin/otelcol", err)
	}
	for range 5 {
		if r.start(t, program, sink.URL) {
			return r
		}
	}
	t.Fatal("the collector does not start; its output says why")
	return nil
}

// start starts the collector on two ports that were free. It is false where somebody
// else was quicker to take one.
func (r *receiver) start(t *testing.T, program, sink string) bool {
	t.Helper()
	r.http, r.grpc = freePort(t), freePort(t)
	file := filepath.Join(t.TempDir(), "otelcol.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, collectorConfig, r.http, r.grpc, sink), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "--config", file)
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // in the end it says that it was killed
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // unless it has ended
		<-ended
	})
	left := false
	eventually(t, "the collector", func() bool {
		select {
		case <-ended:
			left = true
			return true
		default:
		}
		resp, err := http.Post("http://"+r.http+"/v1/traces", "application/x-protobuf", nil)
		return err == nil && resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
	})
	return !left
}

// collectorConfig has neither queues nor retries, so that what was accepted has been
// passed on.
const collectorConfig = `
receivers:
  otlp:
    protocols: {http: {endpoint: %q}, grpc: {endpoint: %q}}
exporters:
  otlp_http: {endpoint: %q, sending_queue: {enabled: false}, retry_on_failure: {enabled: false}}
service:
  telemetry: {metrics: {level: none}, logs: {level: warn}}
  pipelines:
    traces: {receivers: [otlp], exporters: [otlp_http]}
`

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (r *receiver) take(req *http.Request) error {
	body := io.Reader(req.Body)
	if req.Header.Get("Content-Encoding") == "gzip" {
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
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, resource := range request.ResourceSpans {
		for _, scope := range resource.ScopeSpans {
			r.spans = append(r.spans, scope.Spans...)
		}
	}
	return nil
}

// forest is what a receiver has, by trace.
type forest map[string][]*tracepb.Span

func (r *receiver) forest() forest {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := forest{}
	for _, s := range r.spans {
		id := hex.EncodeToString(s.TraceId)
		f[id] = append(f[id], s)
	}
	return f
}

// named lists the spans of a name, in all traces, the earliest first.
func (f forest) named(name string) []*tracepb.Span {
	var found []*tracepb.Span
	for _, spans := range f {
		for _, s := range spans {
			if s.Name == name {
				found = append(found, s)
			}
		}
	}
	slices.SortFunc(found, func(a, b *tracepb.Span) int { return int(a.StartTimeUnixNano) - int(b.StartTimeUnixNano) })
	return found
}

// one is the span of a name that there is one of.
func (f forest) one(t *testing.T, name string) *tracepb.Span {
	t.Helper()
	found := f.named(name)
	if len(found) != 1 {
		t.Fatalf("%d spans are called %s, want one; there are:\n%s", len(found), name, f)
	}
	return found[0]
}

// wantWhole fails where a span was exported twice, or its parent never was. above are
// spans that were not ours to export.
func (f forest) wantWhole(t *testing.T, above ...string) {
	t.Helper()
	for trace, spans := range f {
		ids := map[string]int{}
		for _, s := range spans {
			ids[hex.EncodeToString(s.SpanId)]++
		}
		for _, s := range spans {
			parent := hex.EncodeToString(s.ParentSpanId)
			if parent != "" && ids[parent] == 0 && !slices.Contains(above, parent) {
				t.Errorf("the parent %s of %s in trace %s was never exported", parent, s.Name, trace)
			}
			if n := ids[hex.EncodeToString(s.SpanId)]; n > 1 {
				t.Errorf("%s was exported %d times", s.Name, n)
			}
			if s.EndTimeUnixNano < s.StartTimeUnixNano {
				t.Errorf("%s ends before it begins", s.Name)
			}
		}
	}
	if t.Failed() {
		t.Logf("the spans are:\n%s", f)
	}
}

// String draws the traces as trees.
func (f forest) String() string {
	var b strings.Builder
	for trace, spans := range f {
		fmt.Fprintf(&b, "trace %s\n", trace)
		var draw func(parent string, depth int)
		draw = func(parent string, depth int) {
			for _, s := range spans {
				if hex.EncodeToString(s.ParentSpanId) == parent {
					fmt.Fprintf(&b, "%s%s %s\n", strings.Repeat("  ", depth), s.Name, s.Kind)
					draw(hex.EncodeToString(s.SpanId), depth+1)
				}
			}
		}
		known := map[string]bool{}
		for _, s := range spans {
			known[hex.EncodeToString(s.SpanId)] = true
		}
		roots := map[string]bool{}
		for _, s := range spans {
			if parent := hex.EncodeToString(s.ParentSpanId); !known[parent] && !roots[parent] {
				roots[parent] = true
				draw(parent, 1)
			}
		}
	}
	return b.String()
}

// attribute is a span's value of a name as text; "" where it has none.
func attribute(s *tracepb.Span, name string) string {
	for _, a := range s.Attributes {
		if a.Key == name {
			return valueText(a.Value)
		}
	}
	return ""
}

func valueText(v *commonpb.AnyValue) string {
	switch v := v.GetValue().(type) {
	case *commonpb.AnyValue_StringValue:
		return v.StringValue
	case *commonpb.AnyValue_IntValue:
		return fmt.Sprint(v.IntValue)
	case *commonpb.AnyValue_DoubleValue:
		return fmt.Sprint(v.DoubleValue)
	case *commonpb.AnyValue_BoolValue:
		return fmt.Sprint(v.BoolValue)
	case *commonpb.AnyValue_ArrayValue:
		var all []string
		for _, e := range v.ArrayValue.GetValues() {
			all = append(all, valueText(e))
		}
		return strings.Join(all, ",")
	}
	return ""
}

// wantAttributes compares some attributes; "*" stands for any value but none.
func wantAttributes(t *testing.T, s *tracepb.Span, want map[string]string) {
	t.Helper()
	for name, value := range want {
		if got := attribute(s, name); got != value && (value != "*" || got == "") {
			t.Errorf("%s has %s = %q, want %q", s.Name, name, got, value)
		}
	}
}
