package govern

import (
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"testing"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"golang.org/x/sync/errgroup"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/desk"
	"github.com/wflo-ai/wflo-go/plugin"
)

// waited is what became of runs that waited.
type waited struct {
	heap    int64 // bytes that the worker's cache held for each run
	inbox   []time.Duration
	drained time.Duration // from the end of the time to the end of the last run
	lost    int           // runs that neither timed out nor were decided
}

// wait has n runs wait at gates of one worker until a moment that is the same for
// all, looks at the inbox, replaces the worker, decides some, and sees the rest end.
func wait(t testing.TB, n int, patient time.Duration) waited {
	w, sign := guardedWorld(t, func(c *plugin.Config) { c.Database = "" })
	o := w.open(sign)
	until := time.Now().Add(patient)
	runs := make([]client.WorkflowRun, n)
	var begin errgroup.Group
	begin.SetLimit(64)
	for i := range n {
		begin.Go(func() error {
			ask := deletion(fmt.Sprint("line ", i), func(a *wflo.Approval) { a.Timeout = time.Until(until) })
			run, err := w.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: fmt.Sprintf("%s-%d", w.queue, i), TaskQueue: w.queue}, guardedWorkflow, order{Approval: ask})
			runs[i] = run
			return err
		})
	}
	if err := begin.Wait(); err != nil {
		t.Fatal(err)
	}
	open := fmt.Sprintf("WfloState = '%s' AND TaskQueue = '%s'", wflo.StateWaiting, w.queue)
	for tick := time.NewTicker(100 * time.Millisecond); w.counts(open) < int64(n); <-tick.C {
		if time.Now().After(until) {
			t.Fatalf("%d of %d gates were open in %s", w.counts(open), n, patient)
		}
	}
	var out waited
	for range 100 {
		at := time.Now()
		var items []desk.Item
		o.call(http.MethodGet, "/api/v1/approvals?mine=true", nil, &items)
		out.inbox = append(out.inbox, time.Since(at))
		if len(items) != min(n, 100) {
			t.Fatalf("%d items in the inbox", len(items))
		}
	}
	cached := heap()
	w.worker.Stop()
	worker.PurgeStickyWorkflowCache()
	out.heap = (cached - heap()) / int64(n)
	w.restart()
	decided := map[int]bool{}
	for i := 0; i < n; i += max(n/20, 1) {
		decided[i] = true
		if g := o.approve(w.gate(runs[i], 1)); g.Status != wflo.GateApproved {
			t.Errorf("gate is %s", g.Status)
		}
	}
	out.lost = lost(t, runs, decided)
	out.drained = time.Since(until)
	return out
}

// lost counts runs that did not end as they had to.
func lost(t testing.TB, runs []client.WorkflowRun, decided map[int]bool) int {
	n := 0
	for i, run := range runs {
		err := run.Get(t.Context(), nil)
		var app *temporal.ApplicationError
		timedOut := errors.As(err, &app) && app.Type() == string(wflo.CodeApprovalTimeout)
		if decided[i] && err != nil || !decided[i] && !timedOut {
			t.Errorf("run %d, decided %v, ended with %v", i, decided[i], err)
			n++
		}
	}
	return n
}

// heap is what is in use after garbage is gone, in bytes.
func heap() int64 {
	runtime.GC()
	runtime.GC() // what finalizers held
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestRunsThatWaitOutliveTheirWorker is the benchmark of the same, small.
func TestRunsThatWaitOutliveTheirWorker(t *testing.T) {
	const runs = 100
	got := wait(t, runs, 20*time.Second)
	if got.lost != 0 {
		t.Errorf("%d of %d runs were lost", got.lost, runs)
	}
}
