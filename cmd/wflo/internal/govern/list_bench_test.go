package govern

import (
	"database/sql"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/devserver"
	"github.com/wflo-ai/wflo-go/internal/console"
)

// listed is how many runs there are to list.
const listed = 100_000

// more makes many runs of one in Temporal's visibility store, as if they had been started
// one second after the other by a thousand users: starting them would take an hour. Every
// third is waiting and the others are done.
const more = `
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
INSERT INTO executions_visibility (namespace_id, run_id, _version, start_time, execution_time, workflow_id, workflow_type_name, status, close_time,
	history_length, history_size_bytes, execution_duration, state_transition_count, memo, encoding, task_queue, search_attributes, root_workflow_id, root_run_id)
SELECT namespace_id, printf('%s-%06d', run_id, i), _version, strftime('%Y-%m-%d %H:%M:%f+00:00', start_time, -i || ' seconds'),
	strftime('%Y-%m-%d %H:%M:%f+00:00', execution_time, -i || ' seconds'), printf('%s-%06d', workflow_id, i), workflow_type_name, status,
	strftime('%Y-%m-%d %H:%M:%f+00:00', close_time, -i || ' seconds'), history_length, history_size_bytes, execution_duration, state_transition_count,
	memo, encoding, task_queue, replace(search_attributes, '"ann"', printf('"user-%d"', i % 1000)), root_workflow_id, root_run_id
FROM n JOIN executions_visibility ON workflow_id = CASE WHEN i % 3 = 0 THEN 'waits' ELSE 'done' END`

// waits does nothing until it is told to.
func waits(ctx workflow.Context) error {
	workflow.GetSignalChannel(ctx, "go").Receive(ctx, nil)
	return nil
}

// BenchmarkListRuns asks the API for pages of 100 of 100,000 runs, which a real Temporal
// server has in SQLite. p95-ms is what 95 of 100 answers take at most.
func BenchmarkListRuns(b *testing.B) {
	dir := b.TempDir()
	s, err := devserver.Start(b.Context(), devserver.Config{DataDir: dir})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(s.Stop) // after the worker
	w := newWorld(b, config{server: s, register: func(r worker.Registry) {
		r.RegisterWorkflowWithOptions(waits, workflow.RegisterOptions{Name: "waits"})
	}})
	for _, id := range []string{"waits", "done"} {
		run, err := w.ExecuteWorkflow(wflo.WithRun(b.Context(), wflo.Run{User: "ann", Team: "ops"}), client.StartWorkflowOptions{ID: id, TaskQueue: w.queue}, "waits")
		if err != nil {
			b.Fatal(err)
		}
		if id == "done" {
			if err := w.SignalWorkflow(b.Context(), id, "", "go", nil); err != nil {
				b.Fatal(err)
			}
			if err := run.Get(b.Context(), nil); err != nil {
				b.Fatal(err)
			}
		}
	}
	h := console.NewHandler(console.Config{Client: w.Client, Ledger: w.guard.Ledger(), Metrics: http.NotFoundHandler(), Insecure: true})
	defer h.Wait()
	multiply(b, dir, h)
	deep := "/api/v1/runs?limit=100"
	for range 20 {
		deep = nextOf(b, h, deep)
	}
	for _, list := range [][2]string{
		{"all", "/api/v1/runs?limit=100"}, {"page21", deep}, {"running", "/api/v1/runs?limit=100&state=running"}, {"user", "/api/v1/runs?limit=100&user=user-7"},
		{"id", "/api/v1/runs?limit=100&id=done-05"}, {"since", "/api/v1/runs?limit=100&from=2020-01-01"},
	} {
		b.Run(list[0], func(b *testing.B) {
			var took []time.Duration
			for b.Loop() {
				begin := time.Now()
				ask(b, h, list[1])
				took = append(took, time.Since(begin))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)*95/100].Microseconds())/1000, "p95-ms")
		})
	}
}

// multiply waits until the store has both runs, and makes many of them.
func multiply(b *testing.B, dir string, h http.Handler) {
	b.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "*", "temporal-*.db"))
	top, topErr := filepath.Glob(filepath.Join(dir, "temporal-*.db"))
	if found = append(found, top...); err != nil || topErr != nil || len(found) != 1 {
		b.Fatalf("files of the server: %v, %v, %v", found, err, topErr)
	}
	db, err := sql.Open("sqlite", "file:"+found[0]+"?_pragma=busy_timeout(60000)")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	for n := 0; n < 2; {
		if err := db.QueryRowContext(b.Context(), "SELECT count(*) FROM executions_visibility WHERE workflow_id = 'waits' OR workflow_id = 'done' AND close_time IS NOT NULL").Scan(&n); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := db.ExecContext(b.Context(), more, listed); err != nil {
		b.Fatal(err)
	}
	if got := len(ask(b, h, "/api/v1/runs?limit=100").Body.Bytes()); got < 1000 {
		b.Fatalf("the list has %d bytes", got)
	}
}

func ask(b *testing.B, h http.Handler, path string) *httptest.ResponseRecorder {
	b.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://127.0.0.1"+path, http.NoBody))
	if w.Code != http.StatusOK {
		b.Fatalf("%s: %d %s", path, w.Code, w.Body)
	}
	return w
}

// nextOf is the address of the page after one.
func nextOf(b *testing.B, h http.Handler, path string) string {
	b.Helper()
	link := ask(b, h, path).Header().Get("Link")
	var next string
	if _, err := fmt.Sscanf(link, "<%s", &next); err != nil {
		b.Fatalf("%s: link %q: %v", path, link, err)
	}
	u, err := url.Parse(next[:len(next)-2])
	if err != nil {
		b.Fatal(err)
	}
	return u.RequestURI()
}
