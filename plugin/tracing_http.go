package plugin

import (
	"context"
	"io"
	"net/http"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.41.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/telemetry"
)

const tracerName = "github.com/wflo-ai/wflo-go"

// paidObserver puts on the span of a metered call what it came to.
type paidObserver struct{ *telemetry.Metrics }

// LLMCall implements activities.Observer.
func (o paidObserver) LLMCall(ctx context.Context, provider, model string, u wflo.Usage, cost wflo.Money) {
	o.Metrics.LLMCall(ctx, provider, model, u, cost)
	span := trace.SpanFromContext(ctx)
	if !span.IsRecording() {
		return
	}
	span.SetAttributes(
		semconv.GenAIProviderNameKey.String(provider), semconv.GenAIResponseModel(model),
		semconv.GenAIUsageInputTokens(int(u.Prompt())), semconv.GenAIUsageOutputTokens(int(u.Output+u.Reasoning)),
		semconv.GenAIUsageCacheReadInputTokens(int(u.CacheRead)), semconv.GenAIUsageCacheCreationInputTokens(int(u.CacheWrite5m+u.CacheWrite1h)),
		attribute.Float64("wflo.cost.usd", cost.Float()), attribute.Int64("wflo.cost.nano_usd", int64(cost)),
	)
}

// tracedTransport makes a span of each request, which ends with the response's body:
// what the call cost is known then.
type tracedTransport struct {
	next     http.RoundTripper
	provider trace.TracerProvider
}

// RoundTrip implements http.RoundTripper. The address is part of the span without path
// and query, which may hold keys and names.
func (t *tracedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, span := t.provider.Tracer(tracerName).Start(r.Context(), "HTTP "+r.Method, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
		attribute.String("http.request.method", r.Method), attribute.String("server.address", r.URL.Hostname()),
	))
	resp, err := t.next.RoundTrip(r.WithContext(ctx))
	if err != nil {
		message, _ := wflo.Explain(err)
		span.SetStatus(codes.Error, message)
		span.SetAttributes(attribute.String("error.type", string(wflo.CodeOf(err))))
		span.End()
		return resp, err
	}
	span.SetAttributes(attribute.Int("http.response.status_code", resp.StatusCode))
	if resp.StatusCode >= http.StatusBadRequest {
		span.SetStatus(codes.Error, resp.Status)
	}
	resp.Body = &tracedBody{ReadCloser: resp.Body, span: span}
	return resp, nil
}

// tracedBody ends the span when the body is closed.
type tracedBody struct {
	io.ReadCloser
	span trace.Span
	once sync.Once
}

// Close implements io.Closer.
func (b *tracedBody) Close() error {
	err := b.ReadCloser.Close()
	b.once.Do(func() { b.span.End() })
	return err
}

// tracedHandler makes a span of each request to the endpoint, within the caller's.
type tracedHandler struct {
	next     http.Handler
	provider trace.TracerProvider
}

// ServeHTTP implements http.Handler.
func (h *tracedHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx := propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
	ctx, span := h.provider.Tracer(tracerName).Start(ctx, "gateway "+r.Method, trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(
		attribute.String("http.request.method", r.Method),
	))
	defer span.End()
	h.next.ServeHTTP(w, r.WithContext(ctx))
}
