package telemetry

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

	"go.opentelemetry.io/otel"
	"go.temporal.io/sdk/workflow"
)

// broken is a collector that does not do what it should.
type broken struct {
	*httptest.Server
	reached chan struct{} // closed when the first export arrives
	release chan struct{} // closed when it may answer
}

func newBroken(t *testing.T, answer http.HandlerFunc, waits bool) *broken {
	b := &broken{reached: make(chan struct{}), release: make(chan struct{})}
	var once sync.Once
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // so that the server notices when the client leaves
		once.Do(func() { close(b.reached) })
		if waits {
			select {
			case <-b.release:
			case <-r.Context().Done():
				return
			}
		}
		answer(w, r)
	}))
	t.Cleanup(b.Close)
	return b
}

// many calls an activity so often that the spans do not fit into the queue.
func many(ctx workflow.Context) error {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: 1e9})
	for range 40 {
		if err := workflow.ExecuteActivity(ctx, "work").Get(ctx, nil); err != nil {
			return err
		}
	}
	return nil
}

// An agent goes on, to its end, while the collector has not answered anything: the queue
// has room for a few spans, the others are dropped.
func TestBrokenCollectorHoldsUpNobody(t *testing.T) {
	fine := func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Type", "application/x-protobuf") }
	tests := []struct {
		name   string
		answer http.HandlerFunc
		waits  bool // it answers only when the run is over
		closed bool // nobody listens
	}{
		{name: "refuses", answer: fine, closed: true},
		{name: "hangs", answer: fine, waits: true},
		{name: "fails", answer: func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "full", http.StatusInternalServerError) }},
		{name: "is busy", answer: func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "later", http.StatusServiceUnavailable) }},
		{name: "breaks off", answer: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
		{name: "answers nonsense", answer: func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cleanEnv(t)
			t.Setenv("OTEL_BSP_MAX_QUEUE_SIZE", "8")
			t.Setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")
			t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "1") // milliseconds
			t.Setenv("OTEL_BSP_EXPORT_TIMEOUT", "200")
			b := newBroken(t, tt.answer, tt.waits)
			if tt.closed {
				b.Close()
			}
			var lost atomic.Int64
			tp, shutdown, err := NewTracing(t.Context(), Config{Endpoint: b.URL, Logger: slog.New(slog.DiscardHandler), SpansDropped: func(_ string, n int) { lost.Add(int64(n)) }})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { otel.SetErrorHandler(otel.ErrorHandlerFunc(func(error) {})) })
			env := tracedEnv(t, tp, nil)
			env.ExecuteWorkflow(many)
			if err := env.GetWorkflowError(); err != nil {
				t.Errorf("the run: %v", err)
			}
			if !tt.closed {
				<-b.reached // what was dropped was not lost for want of trying
			}
			// Nor does it hold up the end of a worker: it has not answered yet.
			_ = shutdown(t.Context()) // that not everything was exported is what the test is about
			close(b.release)
			if lost.Load() == 0 {
				t.Error("nobody was told that spans were lost")
			}
		})
	}
}

// A collector that is slow gets what the queue still has when it answers at last.
func TestSlowCollectorGetsTheRest(t *testing.T) {
	cleanEnv(t)
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "1")
	c := newCollector(t)
	release := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-release
		if err := c.receive(r); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(slow.Close)
	tp, shutdown, err := NewTracing(t.Context(), Config{Endpoint: slow.URL})
	if err != nil {
		t.Fatal(err)
	}
	env := tracedEnv(t, tp, nil)
	env.ExecuteWorkflow(many)
	if err := env.GetWorkflowError(); err != nil {
		t.Errorf("the run: %v", err)
	}
	if n := len(c.named("call")); n != 0 {
		t.Fatalf("%d spans arrived before the collector answered", n)
	}
	close(release)
	if err := shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if n := len(c.named("call")); n != 40 {
		t.Errorf("%d spans arrived, want 40", n)
	}
}
