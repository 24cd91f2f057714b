//go:build integration

package e2e

import (
	"compress/gzip"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/examples/refund"
)

// collector is an OTLP collector that keeps the names of spans by trace.
type collector struct {
	t     *testing.T
	mu    sync.Mutex
	spans map[string][]string
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			c.t.Errorf("read spans: %v", err)
			return
		}
		body = z
	}
	data, err := io.ReadAll(body)
	var request collectorpb.ExportTraceServiceRequest
	if err == nil {
		err = proto.Unmarshal(data, &request)
	}
	if err != nil {
		c.t.Errorf("read spans: %v", err)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, resource := range request.GetResourceSpans() {
		for _, scope := range resource.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				id := hex.EncodeToString(s.GetTraceId())
				c.spans[id] = append(c.spans[id], s.GetName())
			}
		}
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}

// TestOneTracePerRun follows a run with a child, a sandbox, a gate and refunds:
// everything that it caused is in one trace.
func TestOneTracePerRun(t *testing.T) {
	t.Parallel()
	c := &collector{t: t, spans: map[string][]string{}}
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	d := startDev(t, t.TempDir(), "OTEL_EXPORTER_OTLP_ENDPOINT="+server.URL, "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf")
	id := unique("traced")
	run := d.begin(t, "run", "refund", "--id", id)
	awaitGate(t, d.client(t), id)
	d.wflo(t, "approve", refund.Gate, "--run", id, "--yes").want(t, 0)
	run.wait(t)
	d.stop(t) // which sends what is left

	c.mu.Lock()
	defer c.mu.Unlock()
	for trace, names := range c.spans {
		seen := map[string]int{}
		for _, n := range names {
			seen[n]++
		}
		if seen["RunWorkflow:"+refund.Name] == 0 {
			continue
		}
		for _, want := range []string{
			"RunWorkflow:" + wflo.WorkflowAgent, "StartActivity:wflo.llm.Chat", "RunActivity:wflo.llm.Chat",
			"RunActivity:wflo.sandbox.Run", "RunActivity:wflo.approval.Open", "RunActivity:" + refund.ActivityIssue, "RunActivity:" + refund.ActivityCancel,
		} {
			if seen[want] == 0 {
				t.Errorf("trace %s lacks %s; it has %v", trace, want, seen)
			}
		}
		if n := seen["RunWorkflow:"+refund.Name]; n != 1 {
			t.Errorf("the run has %d spans of its own", n)
		}
		return
	}
	t.Errorf("no trace has the run; there are %d traces", len(c.spans))
}
