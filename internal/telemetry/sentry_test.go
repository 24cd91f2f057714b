package telemetry

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/trace"

	"github.com/wflo-ai/wflo-go"
)

// envelopes is a server that takes Sentry's envelopes, and gives the events in them.
func envelopes(t *testing.T) (dsn string, events chan map[string]any) {
	t.Helper()
	events = make(chan map[string]any, 10)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Method != http.MethodPost || r.URL.Path != "/api/42/envelope/" || !strings.Contains(r.Header.Get("X-Sentry-Auth"), "sentry_key=public") {
			t.Errorf("%s %s with %q, %v", r.Method, r.URL, r.Header.Get("X-Sentry-Auth"), err)
		}
		// An envelope is lines of JSON: its header, then a header and a payload for each item.
		parts := bytes.Split(bytes.TrimSpace(body), []byte("\n"))
		if len(parts) != 3 {
			t.Errorf("an envelope of %d lines: %s", len(parts), body)
			return
		}
		var header struct{ Type string }
		var event map[string]any
		if err := json.Unmarshal(parts[1], &header); err != nil || header.Type != "event" {
			t.Errorf("item %s, %v", parts[1], err)
		}
		if err := json.Unmarshal(parts[2], &event); err != nil {
			t.Error(err)
		}
		events <- event
	}))
	t.Cleanup(server.Close)
	return strings.Replace(server.URL, "http://", "http://public@", 1) + "/42", events
}

func TestSentry(t *testing.T) {
	dsn, events := envelopes(t)
	t.Setenv("SENTRY_DSN", dsn)
	t.Setenv("SENTRY_ENVIRONMENT", "staging")
	t.Setenv("SENTRY_RELEASE", "shop@1.2")
	s, err := NewSentry(SentryConfig{RunFromContext: runFromContext})
	if err != nil {
		t.Fatal(err)
	}
	run := wflo.Run{WorkflowID: "refund-42", FirstRunID: "run-1", User: "ana", Team: "billing", Step: "g0/charge#1", Correlation: "req-7"}
	ctx := withSpan(t, withRun(t.Context(), run), trace.FlagsSampled)
	s.ActivityFailed(ctx, ActivityFailure{Activity: "Charge", Workflow: "Refund", Code: "CardDeclined", Attempt: 3})
	s.ActivityFailed(ctx, ActivityFailure{Activity: "Charge", Workflow: "Refund", Code: "no such customer: Ann Smith", Attempt: 1})
	got := <-events
	want := map[string]any{
		"activity": "Charge", "workflow": "Refund", "code": "CardDeclined", "attempt": "3", "workflow_id": "refund-42", "execution_id": "run-1",
		"user_id": "ana", "team": "billing", "step": "g0/charge#1", "correlation_id": "req-7", "trace_id": testTraceID, "span_id": testSpanID,
	}
	if diff := cmp.Diff(want, got["tags"]); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}
	for key, want := range map[string]any{"environment": "staging", "release": "shop@1.2", "transaction": "Charge", "level": "error",
		"exception":   []any{map[string]any{"type": "CardDeclined", "value": "activity Charge failed for good after 3 attempts"}},
		"fingerprint": []any{"Charge", "CardDeclined"}} {
		if diff := cmp.Diff(want, got[key]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", key, diff)
		}
	}
	for _, key := range []string{"modules", "breadcrumbs", "request", "extra"} {
		if got[key] != nil {
			t.Errorf("%s is sent: %v", key, got[key])
		}
	}
	second, err := json.Marshal(<-events)
	if err != nil || bytes.Contains(second, []byte("Smith")) {
		t.Errorf("content is sent: %s, %v", second, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestSentryIsOff(t *testing.T) {
	t.Setenv("SENTRY_DSN", "")
	s, err := NewSentry(SentryConfig{RunFromContext: runFromContext})
	if s != nil || err != nil {
		t.Errorf("%v, %v", s, err)
	}
	s.ActivityFailed(t.Context(), ActivityFailure{})
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	_, err = NewSentry(SentryConfig{DSN: "https://hunter2@", RunFromContext: runFromContext})
	if wflo.CodeOf(err) != wflo.CodeInvalid || strings.Contains(err.Error(), "hunter2") {
		t.Error(err)
	}
}

// TestSentryHoldsNobodyUp: the server takes connections and never answers. Far more is
// reported than can wait, by a goroutine that goes on before a single one is answered.
func TestSentryHoldsNobodyUp(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	s, err := NewSentry(SentryConfig{DSN: "http://public@" + l.Addr().String() + "/42", RunFromContext: runFromContext})
	if err != nil {
		t.Fatal(err)
	}
	for range 10 * sentryQueue {
		s.ActivityFailed(t.Context(), ActivityFailure{Activity: "a", Code: "c", Attempt: 1})
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
