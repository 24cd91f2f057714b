package telemetry

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

// trailShelf is a trail that says what it was told to say.
type trailShelf struct {
	activities.Records
	events int
	err    error
}

func (s *trailShelf) Append(_ context.Context, events ...wflo.AuditEvent) error {
	if s.err == nil {
		s.events += len(events)
	}
	return s.err
}

// Appends are timed, those that the store did not take are counted, and errors reach who
// appends as they are.
func TestAppendsAreCounted(t *testing.T) {
	m, s := NewMetrics(Config{}), &trailShelf{}
	trail := m.Audited(s)
	if err := trail.Append(t.Context(), wflo.AuditEvent{}, wflo.AuditEvent{}); err != nil || s.events != 2 {
		t.Fatalf("%d events, %v", s.events, err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tc := range []struct {
		ctx    context.Context
		err    error
		failed float64
	}{
		{t.Context(), errors.New("disk full"), 1},
		{t.Context(), wflo.Invalid("audit event", "lacks a chain", "set it"), 1},
		{gone, context.Canceled, 1},
		{t.Context(), context.DeadlineExceeded, 2}, // of the store's own
	} {
		s.err = tc.err
		if err := trail.Append(tc.ctx, wflo.AuditEvent{}); !errors.Is(err, tc.err) {
			t.Errorf("%v, want %v", err, tc.err)
		}
		if got := testutil.ToFloat64(m.trail.failed); got != tc.failed {
			t.Errorf("%v failures after %v, want %v", got, tc.err, tc.failed)
		}
	}
	for _, want := range []string{"wflo_audit_append_seconds_count 5\n", "wflo_audit_append_failures_total 2\n"} {
		if text := scraped(t, m.Handler()); !strings.Contains(text, want) {
			t.Errorf("lacks %q:\n%s", want, text)
		}
	}
}

// The streams of all consoles of a process are one gauge.
func TestEventStreamsAreCounted(t *testing.T) {
	m := NewMetrics(Config{})
	h := m.Handler()
	if text := scraped(t, h); !strings.Contains(text, "wflo_event_streams 0\n") {
		t.Errorf("without a console:\n%s", text)
	}
	e, ok := h.(interface{ EventStreams(now func() int) })
	if !ok {
		t.Fatal("consoles have nowhere to tell of their streams")
	}
	n := 3
	e.EventStreams(func() int { return n })
	e.EventStreams(func() int { return 4 })
	n = 5
	if text := scraped(t, h); !strings.Contains(text, "wflo_event_streams 9\n") {
		t.Errorf("of two consoles:\n%s", text)
	}
}

func scraped(t *testing.T, h http.Handler) string {
	t.Helper()
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", http.NoBody))
	return rec.Body.String()
}
