package plugin

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/wflotest/scripted"
)

func said(s tracetest.SpanStub) map[string]attribute.Value {
	all := map[string]attribute.Value{}
	for _, a := range s.Attributes {
		all[string(a.Key)] = a.Value
	}
	return all
}

// A call that an SDK makes is a span of the activity that makes it, with what it cost;
// one that is refused says why. Neither key nor question is in it.
func TestTransportIsTraced(t *testing.T) {
	exported := tracetest.NewInMemoryExporter()
	tp := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exported))
	p := newPlugin(t, nil)
	client := through(t, p)
	client.Transport.(*tracedTransport).provider = tp
	url := vendor(t).BaseURL(scripted.OpenAI) + "/chat/completions?key=" + vendorKey
	ctx, parent := tp.Tracer("test").Start(wflo.WithRun(t.Context(), wflo.Run{WorkflowID: "w", FirstRunID: "1", Step: "ask"}), "activity")
	resp, err := client.Do(post(ctx, t, url, vendorKey, question))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(exported.GetSpans()); n != 0 {
		t.Fatal("the span ended before what it cost was known")
	}
	if _, err := io.ReadAll(resp.Body); err != nil {
		t.Error(err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Error(err)
	}
	if _, err := client.Do(post(ctx, t, url, vendorKey, `{"model":"nobody-sells-this","messages":[]}`)); err == nil { //nolint:bodyclose // there is none
		t.Error("a model without a price was called")
	}
	spans := exported.GetSpans()
	if len(spans) != 2 {
		t.Fatalf("got %d spans", len(spans))
	}
	paid := said(spans[0])
	if spans[0].Name != "HTTP POST" || spans[0].Parent.SpanID() != parent.SpanContext().SpanID() || paid["http.response.status_code"].AsInt64() != http.StatusOK ||
		paid["wflo.cost.nano_usd"].AsInt64() <= 0 || paid["gen_ai.usage.input_tokens"].AsInt64() <= 0 || paid["gen_ai.response.model"].AsString() == "" {
		t.Errorf("got %+v", spans[0])
	}
	if said(spans[1])["error.type"].AsString() == "" || spans[1].Status.Description == "" {
		t.Errorf("got %+v", spans[1])
	}
	for _, s := range spans {
		for _, v := range said(s) {
			if strings.Contains(v.String(), vendorKey) || strings.Contains(v.String(), "hello") {
				t.Errorf("%s has content: %v", s.Name, s.Attributes)
			}
		}
	}
}

// A request to the endpoint belongs to the trace of who makes it.
func TestGatewayIsTraced(t *testing.T) {
	exported := tracetest.NewInMemoryExporter()
	p := newPlugin(t, func(c *Config) {
		c.Providers = []Provider{{Kind: KindOpenAI, APIKey: vendorKey, BaseURL: vendor(t).BaseURL(scripted.OpenAI)}}
		c.GatewayKeys = []GatewayKey{{Name: "ci", Secret: callerKey, Run: wflo.Run{Team: "build"}}}
	})
	p.gateway.next.(*tracedHandler).provider = sdktrace.NewTracerProvider(sdktrace.WithSyncer(exported))
	req := post(t.Context(), t, "/v1/chat/completions", callerKey, question)
	req.Header.Set("traceparent", "00-0102030405060708090a0b0c0d0e0f10-0102030405060708-01")
	rec := httptest.NewRecorder()
	p.Gateway().ServeHTTP(rec, req)
	spans := exported.GetSpans()
	if rec.Code != http.StatusOK || len(spans) != 1 {
		t.Fatalf("%d, %d spans", rec.Code, len(spans))
	}
	s := spans[0]
	if s.SpanContext.TraceID().String() != "0102030405060708090a0b0c0d0e0f10" || s.Parent.SpanID().String() != "0102030405060708" || s.SpanKind != trace.SpanKindServer {
		t.Errorf("got %+v", s)
	}
	if said(s)["wflo.cost.nano_usd"].AsInt64() <= 0 {
		t.Errorf("it does not say what it cost: %v", s.Attributes)
	}
}
