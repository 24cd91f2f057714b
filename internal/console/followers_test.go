package console

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/story"
	"github.com/wflo-ai/wflo-go/internal/telemetry"
)

// crowd is a console that many follow one run of.
type crowd struct {
	tale    *tale
	handler *Handler
	server  *httptest.Server
	heard   chan int // a number for each event that carries one
	closed  sync.WaitGroup
	stop    context.CancelFunc
	ctx     context.Context //nolint:containedctx // of all clients
}

func newCrowd(t testing.TB, every time.Duration) *crowd {
	t.Helper()
	c := &crowd{tale: someTale(), heard: make(chan int, 4096)}
	c.handler = NewHandler(Config{Client: &server{}, Metrics: telemetry.NewMetrics(telemetry.Config{}).Handler(), tells: told{c.tale}, Ledger: newBooks()})
	c.handler.streams.every = every
	c.server = httptest.NewServer(c.handler)
	c.ctx, c.stop = context.WithCancel(context.WithoutCancel(t.Context()))
	t.Cleanup(func() {
		c.stop()
		c.closed.Wait()
		c.server.Close()
		c.handler.Wait()
	})
	return c
}

// join follows run r1 until the crowd ends, and returns when the stream has begun.
func (c *crowd) join(t testing.TB) {
	t.Helper()
	req, err := http.NewRequestWithContext(c.ctx, http.MethodGet, c.server.URL+"/api/v1/runs/r1/events", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s after %d", resp.Status, c.handler.streams.following())
	}
	c.closed.Go(func() {
		defer func() { _ = resp.Body.Close() }()
		lines := bufio.NewReaderSize(resp.Body, 512)
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				return
			}
			if _, after, ok := strings.Cut(line, `"name":"change `); ok {
				var n int
				if _, err := fmt.Sscan(after[:strings.IndexByte(after, '"')], &n); err == nil {
					c.heard <- n
				}
			}
		}
	})
}

// change changes the run so that its next event carries a number.
func (c *crowd) change(n int) {
	c.tale.mu.Lock()
	defer c.tale.mu.Unlock()
	c.tale.rows[0] = story.Row{ID: "r1", Kind: story.KindRun, Name: fmt.Sprintf("change %d", n), State: story.StateDone}
}

// metrics is what the console shows to Prometheus.
func (c *crowd) metrics(t testing.TB) string {
	t.Helper()
	rec := httptest.NewRecorder()
	c.handler.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1/metrics", http.NoBody))
	return rec.Body.String()
}

// reads is how often the story was read.
func (c *crowd) reads() int {
	c.tale.mu.Lock()
	defer c.tale.mu.Unlock()
	return len(c.tale.queries)
}

// However many follow a run, one reader looks at it, and all hear what it sees.
func TestOneReaderForAll(t *testing.T) {
	const clients = 40
	c := newCrowd(t, time.Hour) // the watch looks once, when it begins
	c.change(1)
	for range clients {
		c.join(t)
	}
	for range clients {
		<-c.heard
	}
	// Once by the watch, and at most twice for those who joined: before its first event was
	// out, and after the one about the head.
	if n := c.reads(); n > 3 {
		t.Errorf("%d clients had the story read %d times", clients, n)
	}
	c.handler.streams.mu.Lock()
	watches := len(c.handler.streams.watches)
	c.handler.streams.mu.Unlock()
	if watches != 1 || c.handler.streams.following() != clients {
		t.Errorf("%d watches for %d who follow", watches, c.handler.streams.following())
	}
	if text := c.metrics(t); !strings.Contains(text, "wflo_event_streams 40\n") {
		t.Errorf("/metrics of %d streams:\n%s", clients, text)
	}
	c.stop()
	c.closed.Wait()
	c.server.Close() // waits for the answers
	if n := c.handler.streams.following(); n != 0 {
		t.Errorf("%d follow after all have gone", n)
	}
	if text := c.metrics(t); !strings.Contains(text, "wflo_event_streams 0\n") {
		t.Errorf("/metrics after all have gone:\n%s", text)
	}
}

// One client too many is told so, and has a place once another goes.
func TestTooManyFollow(t *testing.T) {
	s := newStreams(nil)
	s.most, s.each = 4, 2
	var leave []func()
	person := func(name string) wflo.Identity {
		org, subject, _ := strings.Cut(name, "/")
		return wflo.Identity{Org: org, Subject: subject}
	}
	// An ann of another org is another person.
	for _, who := range []string{"acme/ann", "acme/ann", "acme/ben", "umbrella/ann"} {
		l, err := s.enter(person(who))
		if err != nil {
			t.Fatal(err)
		}
		leave = append(leave, l)
	}
	if _, err := s.enter(person("acme/eve")); err == nil {
		t.Error("a fifth of four")
	}
	leave[2]()
	if _, err := s.enter(person("acme/ann")); err == nil || !strings.Contains(err.Error(), "2 clients of ann") {
		t.Errorf("a third of ann's two: %v", err)
	}
	last, err := s.enter(person("acme/eve"))
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range append([]func(){leave[0], leave[1], leave[3]}, last) {
		l()
	}
	if s.following() != 0 || len(s.of) != 0 {
		t.Errorf("%d follow, of %v", s.following(), s.of)
	}

	o := telling(t, someTale(), nil)
	o.gate("n1", "", nil)
	o.handler.streams.most = 0
	rec := httptest.NewRecorder()
	req := httptest.NewRequest(http.MethodGet, "/api/v1/runs/"+o.runs.Gate("n1").WorkflowID+"/events", http.NoBody)
	req.Header.Set("Authorization", "Bearer "+o.key("vic", "", wflo.RoleViewer))
	o.handler.ServeHTTP(rec, req)
	if rec.Code != http.StatusServiceUnavailable || rec.Header().Get("Retry-After") == "" || !strings.Contains(rec.Body.String(), `"code":"unavailable"`) {
		t.Errorf("%d %v %s", rec.Code, rec.Header(), rec.Body)
	}
}

// BenchmarkFollowers has 1,000 clients follow one run over real connections. An operation
// is a change until all have heard of it; the watch looks once a second in production,
// and all the time here. bytes/client is what the process keeps for both ends.
func BenchmarkFollowers(b *testing.B) {
	const clients = 1000
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	c := newCrowd(b, time.Millisecond)
	for range clients {
		c.join(b)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	n := 0
	for b.Loop() {
		n++
		c.change(n)
		for heard := 0; heard < clients; {
			if <-c.heard == n {
				heard++
			}
		}
	}
	b.ReportMetric(float64(after.HeapInuse+after.StackInuse-before.HeapInuse-before.StackInuse)/clients, "bytes/client")
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N)*1000, "ms/change")
}
