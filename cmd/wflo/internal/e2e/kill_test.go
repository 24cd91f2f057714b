//go:build integration

package e2e

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"go.temporal.io/sdk/client"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/examples/refund"
	"github.com/wflo-ai/wflo-go/examples/refund/payments"
	"github.com/wflo-ai/wflo-go/examples/refund/script"
	"github.com/wflo-ai/wflo-go/internal/sqlite"
	"github.com/wflo-ai/wflo-go/wflotest/scripted"
)

// paused is a model that runs one program, which pauses, and then says what the
// program printed.
func paused(t scripted.Turn) scripted.Answer {
	if text, _, ok := scripted.LastToolResult(t, wflo.ToolPython); ok {
		return scripted.Answer{Text: text}
	}
	return scripted.CallTool("", wflo.ToolPython, map[string]string{"code": pause + "print(6 * 7)"})
}

// runPaused starts the agent whose model is paused. Of a test that fails it tells
// how far the run came.
func (d *dev) runPaused(t *testing.T, id, queue string) {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s\nsandboxes: %+v", d.wflo(t, "status", id).said(), sandboxes(t))
		}
	})
	d.wflo(t, "run", "agent", "--detach", "--id", id, "--task-queue", queue, "--model", modelName,
		"--tools", "run_python", "--budget", "0.50", "--prompt", "how much is six times seven?").want(t, 0, id)
}

// wantPausedDone checks what is left of a paused run that was interrupted.
func (d *dev) wantPausedDone(t *testing.T, api, id string, b box, model *scripted.Server) {
	t.Helper()
	if a := answer(t, d.client(t), id); !strings.Contains(a.Text, "stdout:\n42") || a.Turns != 2 || a.Tools != 1 {
		t.Errorf("got %+v", a)
	}
	b.wantGone(t)
	calls := model.Calls()
	if len(calls) != 2 {
		t.Errorf("the model was called %d times, want 2: what was paid for is not bought again", len(calls))
	}
	entries, spend := books(t, api, id)
	checkInvoices(t, calls, entries, spend)
}

// The whole of `wflo dev` dies, server and worker, while a program is running.
func TestKillEverythingInSandboxStep(t *testing.T) {
	t.Parallel()
	home, id := t.TempDir(), unique("kill-all")
	model, env := vendor(t, paused)
	d := startDev(t, home, env...)
	d.runPaused(t, id, "wflo")
	b := awaitPause(t, id)
	d.kill()
	if !b.running(t) {
		t.Fatal("the program was not in the middle of its work")
	}
	t.Cleanup(func() { removeAll(t, b.owner) })
	// The ready file of the dead server is still there and must not mislead.
	d = startDev(t, home, env...)
	b.resume(t)
	d.wantPausedDone(t, d.api, id, b, model)
	d.stop(t)
	if exists(filepath.Join(home, "ready.json")) {
		t.Error("the ready file outlives the server")
	}
}

// worker starts the production worker on a queue of its own.
func (d *dev) worker(t *testing.T, dir, queue string, env ...string) (*program, string) {
	t.Helper()
	t.Cleanup(func() { removeAll(t, queue) })
	p := start(t, d.env(append(env, "WFLO_TASK_QUEUE="+queue, "WFLO_OWNER="+queue, "WFLO_DATA_DIR="+dir,
		"WFLO_ALLOW_UNSIGNED=true", "WFLO_LISTEN=127.0.0.1:0")...), bin.worker)
	return p, p.find(t, `worker started.*(http://127\.0\.0\.1:\d+)`)
}

// Only the worker dies; the server gives its step to the next one.
func (d *dev) testKillWorkerInSandboxStep(t *testing.T) {
	t.Parallel()
	dir, id := t.TempDir(), unique("kill-worker")
	model, env := vendor(t, paused)
	w, _ := d.worker(t, dir, id, env...)
	d.runPaused(t, id, id)
	b := awaitPause(t, id)
	w.kill()
	if !b.running(t) {
		t.Fatal("the program was not in the middle of its work")
	}
	_, api := d.worker(t, dir, id, env...)
	b.resume(t)
	d.wantPausedDone(t, api, id, b, model)
}

// The worker dies while it waits for the model: nobody knows whether that call
// was billed, so it is charged in full and flagged, and the run goes on.
func (d *dev) testKillWorkerInModelCall(t *testing.T) {
	t.Parallel()
	dir, id := t.TempDir(), unique("kill-call")
	model, env := vendor(t, func(turn scripted.Turn) scripted.Answer {
		if turn.Call == 1 {
			return scripted.Answer{Fault: scripted.Fault{Hang: true}}
		}
		return scripted.Answer{Text: "here I am"}
	})
	w, _ := d.worker(t, dir, id, env...)
	d.wflo(t, "run", "agent", "--detach", "--id", id, "--task-queue", id, "--model", modelName, "--budget", "0.50", "--prompt", "hello?").want(t, 0)
	await(t, "the model call", func() bool { return len(model.Calls()) == 1 })
	w.kill()
	_, api := d.worker(t, dir, id, env...)
	if a := answer(t, d.client(t), id); a.Text != "here I am" {
		t.Errorf("got %+v", a)
	}
	entries, spend := books(t, api, id)
	checkInvoices(t, model.Calls(), entries, spend)
	if len(entries) != 2 || entries[0].State != wflo.HoldUnknown || entries[0].Amount != entries[0].Reserved || entries[0].Amount == 0 ||
		entries[1].State != wflo.HoldSettled || entries[0].Key != entries[1].Key || entries[0].Attempt == entries[1].Attempt {
		t.Errorf("want an unknown entry that is charged in full, then a settled one of the same effect, got %+v", entries)
	}
	if len(entries) > 0 && (spend.Unknown != entries[0].Amount || spend.Limit != wflo.USD/2) {
		t.Errorf("the budget does not flag %s: %+v", entries[0].Amount, spend)
	}
}

// orders is a file with two duplicate charges; TAG keeps the charges of runs apart,
// because the provider refunds each only once.
const orders = `order_id,charge_id,customer,card_last4,amount,currency,charged_at,status
o1,ch_A1_TAG,cus_a,1111,10.00,EUR,2026-03-01T10:00:00Z,captured
o2,ch_A2_TAG,cus_a,1111,10.00,EUR,2026-03-01T10:01:00Z,captured
o3,ch_B1_TAG,cus_b,2222,20.50,EUR,2026-03-01T11:00:00Z,captured
o4,ch_B2_TAG,cus_b,2222,20.50,EUR,2026-03-01T11:02:00Z,captured
o5,ch_C1_TAG,cus_c,3333,5.00,EUR,2026-03-01T12:00:00Z,captured
`

// refundInput is the file that a refund run of the id works on, for --input.
func refundInput(t *testing.T, id string) string {
	t.Helper()
	in, err := json.Marshal(refund.Input{CSV: strings.ReplaceAll(orders, "TAG", id)})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "input.json")
	if err := os.WriteFile(path, in, 0o600); err != nil {
		t.Fatal(err)
	}
	return "@" + path
}

// slowAccountant is the accountant of the example, whose first program pauses.
func slowAccountant(t scripted.Turn) scripted.Answer {
	a := script.Accountant(t)
	if len(t.Messages) == 1 && len(a.ToolCalls) == 1 {
		var args struct {
			Code string `json:"code"`
		}
		if err := json.Unmarshal([]byte(a.ToolCalls[0].Arguments), &args); err != nil {
			panic(err) // the server makes it a 500
		}
		return scripted.CallTool("", wflo.ToolPython, map[string]string{"code": pause + args.Code})
	}
	return a
}

// silentOnce passes requests on to the provider, and keeps the answer to the
// second refund for itself, the first time: the refund is made and its caller
// does not know.
func silentOnce(t *testing.T, provider string) (address string, swallowed *atomic.Bool) {
	t.Helper()
	target, err := url.Parse(provider)
	if err != nil {
		t.Fatal(err)
	}
	pass := httputil.NewSingleHostReverseProxy(target)
	swallowed = new(atomic.Bool)
	var refunds atomic.Int32
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && r.URL.Path == "/refunds" && refunds.Add(1) == 2 {
			pass.ServeHTTP(httptest.NewRecorder(), r)
			swallowed.Store(true)
			<-r.Context().Done() // until the worker is dead
			panic(http.ErrAbortHandler)
		}
		pass.ServeHTTP(w, r)
	}))
	t.Cleanup(proxy.Close)
	return proxy.URL, swallowed
}

// The refund example's worker dies twice: while the agent's program runs, and
// after a refund was made of which nobody heard.
func (d *dev) testKillRefundWorker(t *testing.T) {
	t.Parallel()
	id := unique("kill-refund")
	model, env := vendor(t, slowAccountant)
	provider, err := payments.Start(payments.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = provider.Close() })
	address, swallowed := silentOnce(t, provider.URL())
	home := t.TempDir() // the example's worker keeps its data in the default place
	env = append(env, "PAYMENTS_URL="+address, "XDG_DATA_HOME="+home)
	t.Cleanup(func() { removeAll(t, d.Address+"/default") })
	w := start(t, d.env(env...), bin.refund)
	d.wflo(t, "run", "refund", "--detach", "--id", id, "--task-queue", refund.TaskQueue, "--budget", "1.00", "--input", refundInput(t, id)).want(t, 0)
	b := awaitPause(t, d.Address+"/default") // the agent is a run of its own
	w.kill()
	w = start(t, d.env(env...), bin.refund)
	b.resume(t)
	c := d.client(t)
	gate := awaitGate(t, c, id)
	if log := provider.Log(); len(log) != 0 {
		t.Errorf("before the approval of %q the provider was asked for %+v", gate.Approval.Action, log)
	}
	d.wflo(t, "approve", "refunds", "--run", id, "--yes").want(t, 0, "refunds approved by ann")
	await(t, "the silent refund", swallowed.Load)
	w.kill()
	start(t, d.env(env...), bin.refund)
	var report refund.Report
	if err := c.GetWorkflow(t.Context(), id, "").Get(t.Context(), &report); err != nil {
		t.Fatal(err)
	}
	made := map[string]int{}
	for _, e := range provider.Log() {
		if e.Outcome == "done" {
			made[e.Op+" "+e.ChargeID]++
		}
	}
	if len(report.Refunds) != 2 || len(made) != 2 || made["refund ch_A2_"+id] != 1 || made["refund ch_B2_"+id] != 1 {
		t.Errorf("the report has %+v, the provider made %v", report.Refunds, made)
	}
	b.wantGone(t)
	entries, spend := exampleBooks(t, c, home, id)
	checkInvoices(t, model.Calls(), entries, spend)
	if other, _ := books(t, d.api, id); len(entries) != 3 || len(other) != 0 {
		t.Errorf("the run has %d entries, want 3; the ledger of another installation has %+v", len(entries), other)
	}
}

// exampleBooks reads the ledger of the example's worker, which has no API.
func exampleBooks(t *testing.T, c client.Client, home, id string) ([]wflo.Entry, wflo.Spend) {
	t.Helper()
	about, err := c.DescribeWorkflowExecution(t.Context(), id, "")
	if err != nil {
		t.Fatal(err)
	}
	run := id + "/" + about.GetWorkflowExecutionInfo().GetFirstRunId()
	ledger, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(home, "wflo", "wflo.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ledger.Close() })
	entries, err := ledger.Entries(t.Context(), run)
	if err != nil {
		t.Fatal(err)
	}
	spend, err := ledger.Spend(t.Context(), wflo.RunBudgetID(run))
	if err != nil {
		t.Fatal(err)
	}
	return entries, spend
}

// An orderly stop in the middle of a program ends the program, which must not
// outlive the worker that watches it, and does not fail the run.
func (d *dev) testWorkerStopsOrderly(t *testing.T) {
	t.Parallel()
	dir, id := t.TempDir(), unique("stop-worker")
	model, env := vendor(t, paused)
	w, _ := d.worker(t, dir, id, env...)
	d.runPaused(t, id, id)
	b := awaitPause(t, id)
	if err := w.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	w.want(t, 0)
	if b.running(t) {
		t.Error("the program outlived its worker")
	}
	_, api := d.worker(t, dir, id, env...)
	d.wantPausedDone(t, api, id, b, model)
}
