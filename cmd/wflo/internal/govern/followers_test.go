package govern

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/console"
	"github.com/wflo-ai/wflo-go/plugin"
	"github.com/wflo-ai/wflo-go/workflows/testdata/histories"
)

// followers is how many follow a run over HTTP at the same time. One of two never reads
// what it is sent.
const followers = 1000

// follow has them follow a run of the world that waits, until the test ends.
func follow(t testing.TB, w *world) {
	t.Helper()
	run, err := w.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: w.queue + "-watched", TaskQueue: w.queue}, "waits")
	if err != nil {
		t.Fatal(err)
	}
	h := console.NewHandler(console.Config{
		Client: w.Client, Ledger: w.guard.Ledger(), Metrics: http.NotFoundHandler(), Story: w.guard.Story(w.Client), Insecure: true, Rate: 1_000_000,
	})
	server := httptest.NewServer(h)
	ctx, leave := context.WithCancel(context.WithoutCancel(t.Context()))
	var reading sync.WaitGroup
	t.Cleanup(func() {
		leave()
		reading.Wait()
		server.Close()
		h.Wait()
	})
	for i := range followers {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/api/v1/runs/"+run.GetID()+"/events", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := (&http.Transport{}).RoundTrip(req)
		if err != nil {
			t.Fatalf("follower %d: %v", i, err)
		}
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("follower %d: %s", i, resp.Status)
		}
		reading.Go(func() {
			defer func() { _ = resp.Body.Close() }()
			if i%2 == 1 {
				<-ctx.Done()
				return
			}
			buf := make([]byte, 512)
			for {
				if _, err := resp.Body.Read(buf); err != nil {
					return
				}
			}
		})
	}
}

func watchedWorld(t testing.TB) *world {
	return newWorld(t, config{
		queue:    queueOf(t) + "-followed",
		plugin:   func(c *plugin.Config) { c.Database = "" },
		register: func(r worker.Registry) { r.RegisterWorkflowWithOptions(waits, workflow.RegisterOptions{Name: "waits"}) },
	})
}

// TestAThousandFollow has runs do their work while a thousand follow one of the worker's,
// half of whom take nothing off the line.
func TestAThousandFollow(t *testing.T) {
	w := watchedWorld(t)
	follow(t, w)
	var runs []client.WorkflowRun
	for i := range 20 {
		runs = append(runs, w.startAs(fmt.Sprintf("%s-%d", w.queue, i), wflo.Run{User: "ann"}, histories.Plain, 5))
	}
	for _, run := range runs {
		if err := w.wait(run, nil); err != nil {
			t.Error(err)
		}
	}
}

// BenchmarkFollowed is the workflow of BenchmarkPluginOverhead in a process whose console a
// thousand follow, and in one that nobody does.
func BenchmarkFollowed(b *testing.B) {
	alone := governedRunner(b, server)
	w := watchedWorld(b)
	follow(b, w)
	followed := &runner{b: b, c: w.Client, queue: w.queue}
	interleave(b, 10, followed, alone)
	b.ReportMetric(ms(p50(followed.took)), "followed-p50-ms")
	b.ReportMetric(ms(p50(alone.took)), "alone-p50-ms")
	b.ReportMetric(float64(p50(followed.took))/float64(p50(alone.took)), "ratio")
}
