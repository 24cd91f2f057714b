package govern

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/auth/apikey"
	"github.com/wflo-ai/wflo-go/internal/console"
	"github.com/wflo-ai/wflo-go/internal/desk"
	"github.com/wflo-ai/wflo-go/plugin"
	"github.com/wflo-ai/wflo-go/workflows"
)

// office is a console over HTTP, with a key of somebody who may approve.
type office struct {
	t   testing.TB
	url string
	key string
	web *http.Client
}

// open starts a console for the world, whose decisions the notary signs.
func (w *world) open(n *notary) *office {
	w.t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	keys, err := apikey.New(apikey.Config{Store: w.guard.Records(), Logger: quiet})
	if err != nil {
		w.t.Fatal(err)
	}
	key, _, err := keys.Make(w.t.Context(), apikey.Spec{Name: "test", Subject: "ann", Roles: []wflo.AccessRole{wflo.RoleApprover}, MadeBy: "root"})
	if err != nil {
		w.t.Fatal(err)
	}
	h := console.NewHandler(console.Config{
		Client: w.Client, Metrics: w.guard.Metrics(), Ledger: w.guard.Ledger(), Auth: keys, Keys: keys, Rate: 1_000_000, Logger: quiet,
		Desk: &desk.Desk{Client: w.Client, Records: w.guard.Records(), Logger: quiet, Sign: func(d wflo.Decision) wflo.Decision {
			return d.Sign("console", n.key)
		}},
	})
	server := httptest.NewServer(h)
	w.t.Cleanup(func() {
		server.Close()
		h.Wait()
	})
	return &office{t: w.t, url: server.URL, key: key, web: server.Client()}
}

// call sends a request and reads the whole answer.
func (o *office) call(method, path string, body, out any) {
	o.t.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		o.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(o.t.Context(), method, o.url+path, bytes.NewReader(data))
	if err != nil {
		o.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+o.key)
	req.Header.Set("Content-Type", "application/json")
	resp, err := o.web.Do(req)
	if err != nil {
		o.t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		o.t.Fatalf("%s %s: %d %s, %v", method, path, resp.StatusCode, answer, err)
	}
	if err := json.Unmarshal(answer, out); err != nil {
		o.t.Fatal(err)
	}
}

func (o *office) approve(g wflo.Gate) wflo.Gate {
	var after wflo.Gate
	o.call(http.MethodPost, "/api/v1/approvals/"+g.Nonce+"/decisions", desk.Request{Digest: g.Digest, Verdict: wflo.VerdictApprove}, &after)
	return after
}

// resumed tells when the activity that follows a decision began, by workflow ID.
type resumed struct {
	mu    sync.Mutex
	heard map[string]chan time.Time
}

func (r *resumed) of(id string) chan time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.heard == nil {
		r.heard = map[string]chan time.Time{}
	}
	if r.heard[id] == nil {
		r.heard[id] = make(chan time.Time, 1)
	}
	return r.heard[id]
}

func (r *resumed) act(_ context.Context, id string) error {
	r.of(id) <- time.Now()
	return nil
}

const actActivity = "act"

func resume(ctx workflow.Context) error {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Minute})
	return workflow.ExecuteActivity(ctx, actActivity, workflow.GetInfo(ctx).WorkflowExecution.ID).Get(ctx, nil)
}

// askedFor waits at a gate, and bareUpdate for an update of Temporal as it is.
func askedFor(ctx workflow.Context) error {
	_, err := workflows.RequireApproval(ctx, wflo.Approval{Gate: "delete", Action: "Delete 7 rows", Payload: []byte(`{"rows":7}`), Approvers: []string{"ann"}})
	if err != nil {
		return err
	}
	return resume(ctx)
}

func bareUpdate(ctx workflow.Context) error {
	decided := false
	err := workflow.SetUpdateHandler(ctx, "decide", func(_ workflow.Context, yes bool) (bool, error) { decided = yes; return yes, nil })
	if err != nil {
		return err
	}
	if err := workflow.Await(ctx, func() bool { return decided }); err != nil {
		return err
	}
	return resume(ctx)
}

// decider decides on waiting runs and takes the time.
type decider struct {
	b      testing.TB
	start  func(id string) client.WorkflowRun
	ready  func(run client.WorkflowRun)
	decide func(run client.WorkflowRun)
	heard  *resumed
	name   string
	took   []time.Duration // from the decision to the activity after it
	n      int
}

func (d *decider) once() {
	d.n++
	run := d.start(fmt.Sprintf("%s-%s-%d", queueOf(d.b), d.name, d.n))
	d.ready(run)
	begin := time.Now()
	d.decide(run)
	d.took = append(d.took, (<-d.heard.of(run.GetID())).Sub(begin))
	if err := run.Get(d.b.Context(), nil); err != nil {
		d.b.Fatal(err)
	}
}

func starter(b testing.TB, c client.Client, queue, workflow string) func(id string) client.WorkflowRun {
	return func(id string) client.WorkflowRun {
		run, err := c.ExecuteWorkflow(b.Context(), client.StartWorkflowOptions{ID: id, TaskQueue: queue}, workflow)
		if err != nil {
			b.Fatal(err)
		}
		return run
	}
}

// governedDecider decides on gates: over HTTP, authenticated and in the trail, or by
// an update that is signed here.
func governedDecider(b testing.TB, name string, change func(*plugin.Config)) *decider {
	n, heard := newNotary(b), &resumed{}
	w := newWorld(b, config{
		queue:  queueOf(b) + "-" + name,
		plugin: func(c *plugin.Config) { n.trusted(c); change(c) },
		register: func(r worker.Registry) {
			r.RegisterWorkflowWithOptions(askedFor, workflow.RegisterOptions{Name: "askedFor"})
			registerActivity(r, actActivity, heard.act)
		},
	})
	o, records := w.open(n), w.guard.Records()
	var g wflo.Gate
	return &decider{
		b: b, name: name, heard: heard, start: starter(b, w.Client, w.queue, "askedFor"),
		ready: func(run client.WorkflowRun) {
			eventually(b, "the gate", func() bool {
				gates, err := records.ListGates(b.Context(), activities.GateQuery{WorkflowID: run.GetID()})
				if err != nil || len(gates) == 0 {
					return false
				}
				g = gates[0]
				return atRest(b, w.Client, run)
			})
		},
		decide: func(run client.WorkflowRun) {
			if name == "update" {
				w.must(run, n.approve(g, "ann"))
				return
			}
			if after := o.approve(g); after.Status != wflo.GateApproved {
				b.Fatalf("gate is %s", after.Status)
			}
		},
	}
}

// atRest says that the run waits and no worker has anything to do for it. A query
// would tell as well, and its end would be in the way of the decision that follows.
func atRest(b testing.TB, c client.Client, run client.WorkflowRun) bool {
	d, err := c.DescribeWorkflowExecution(b.Context(), run.GetID(), "")
	return err == nil && d.GetPendingWorkflowTask() == nil && len(d.GetPendingActivities()) == 0
}

func bareDecider(b testing.TB) *decider {
	heard, queue := &resumed{}, queueOf(b)+"-bare"
	c := dial(b, server, "", nil)
	wk := worker.New(c, queue, worker.Options{WorkerStopTimeout: time.Second})
	wk.RegisterWorkflowWithOptions(bareUpdate, workflow.RegisterOptions{Name: "bareUpdate"})
	registerActivity(wk, actActivity, heard.act)
	start(b, wk)
	return &decider{
		b: b, name: "bare", heard: heard, start: starter(b, c, queue, "bareUpdate"),
		ready: func(run client.WorkflowRun) {
			eventually(b, "the first task", func() bool { return atRest(b, c, run) })
		},
		decide: func(run client.WorkflowRun) {
			u, err := c.UpdateWorkflow(b.Context(), client.UpdateWorkflowOptions{
				WorkflowID: run.GetID(), UpdateName: "decide", Args: []any{true}, WaitForStage: client.WorkflowUpdateStageCompleted,
			})
			if err == nil {
				err = u.Get(b.Context(), nil)
			}
			if err != nil {
				b.Fatal(err)
			}
		},
	}
}

// BenchmarkDecide is the time from a click to the activity that follows it, over the
// HTTP API with its trail in a file, by a signed update of such a run, and by a bare
// update of a bare workflow. They take turns at going first.
func BenchmarkDecide(b *testing.B) {
	file := func(c *plugin.Config) { c.Database = "" }
	api, update, bare := governedDecider(b, "api", file), governedDecider(b, "update", file), bareDecider(b)
	all := []*decider{api, update, bare}
	for range 3 {
		for _, d := range all {
			d.once()
		}
	}
	for _, d := range all {
		d.took = nil
	}
	for i := 0; b.Loop(); i++ {
		for k := range all {
			all[(i+k)%len(all)].once()
		}
	}
	b.ReportMetric(ms(p50(update.took)), "update-p50-ms")
	b.ReportMetric(ms(p50(api.took)), "api-p50-ms")
	b.ReportMetric(ms(quantile(api.took, 99)), "api-p99-ms")
	b.ReportMetric(ms(p50(bare.took)), "bare-p50-ms")
	b.ReportMetric(ms(quantile(bare.took, 99)), "bare-p99-ms")
	b.ReportMetric(float64(p50(api.took))/float64(p50(bare.took)), "ratio")
}

// quantile is what so many percent took at most.
func quantile(took []time.Duration, percent int) time.Duration {
	slices.Sort(took)
	return took[min(len(took)*percent/100, len(took)-1)]
}

// waitingRuns is how many runs the benchmark has wait; WFLO_BENCH_WAITING is another
// number.
func waitingRuns(b *testing.B) int {
	n := 10_000
	if text := os.Getenv("WFLO_BENCH_WAITING"); text != "" {
		if _, err := fmt.Sscan(strings.TrimSpace(text), &n); err != nil {
			b.Fatalf("WFLO_BENCH_WAITING: %v", err)
		}
	}
	return n
}

// BenchmarkWaiting has many runs wait at gates on one worker: what one of them takes
// in memory, how long the inbox takes over HTTP, and whether all of them end after the
// worker was replaced. It runs once whatever -benchtime says.
func BenchmarkWaiting(b *testing.B) {
	n := waitingRuns(b)
	var got waited
	for done := false; b.Loop(); done = true {
		if !done {
			got = wait(b, n, time.Duration(n)*60*time.Millisecond+30*time.Second)
		}
	}
	b.ReportMetric(float64(n), "runs")
	b.ReportMetric(float64(got.heap)/1024, "KiB/run")
	b.ReportMetric(ms(quantile(got.inbox, 50)), "inbox-p50-ms")
	b.ReportMetric(ms(quantile(got.inbox, 95)), "inbox-p95-ms")
	b.ReportMetric(got.drained.Seconds(), "all-timed-out-s")
	b.ReportMetric(float64(got.lost), "lost")
	b.ReportMetric(0, "ns/op") // it ran once
}
