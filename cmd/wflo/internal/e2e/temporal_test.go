//go:build integration

package e2e

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"go.temporal.io/sdk/client"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/examples/refund"
)

// atGate starts a refund and returns when it waits for a decision.
func (d *dev) atGate(t *testing.T, c client.Client, name string) (id string, gate wflo.Gate) {
	t.Helper()
	id = unique(name)
	d.wflo(t, "run", "refund", "--detach", "--id", id, "--budget", "1.00", "--input", refundInput(t, id)).want(t, 0, id)
	return id, awaitGate(t, c, id)
}

// decision is what an approval tool sends, as JSON.
func decision(t *testing.T, g wflo.Gate, digest string, v wflo.Verdict) string {
	t.Helper()
	data, err := json.Marshal(wflo.Decision{Gate: g.ID, Epoch: g.Epoch, Digest: digest, Verdict: v, By: "tom", Reason: "seen in Temporal"})
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// wantRefunds waits for the end of a refund run and checks how many it made.
func wantRefunds(t *testing.T, c client.Client, id, by string, n int) {
	t.Helper()
	var report refund.Report
	if err := c.GetWorkflow(t.Context(), id, "").Get(t.Context(), &report); err != nil {
		t.Fatalf("run %s: %v", id, err)
	}
	if len(report.Refunds) != n || report.ApprovedBy != by {
		t.Errorf("run %s: got %+v", id, report)
	}
}

// Temporal's own command line is enough to watch a run and to decide.
func (d *dev) testTemporalSignal(t *testing.T) {
	t.Parallel()
	c := d.client(t)
	id, gate := d.atGate(t, c, "signal")

	await(t, "the run in the list of those that wait", func() bool {
		return strings.Contains(d.temporal(t, "workflow", "list", "--query", `WfloState="waiting_approval"`, "-o", "json").out.String(), id)
	})
	d.temporal(t, "workflow", "list").want(t, 0, id, refund.Name, wflo.WorkflowAgent)
	d.temporal(t, "workflow", "list", "--query", `WfloGates="refunds" AND WfloUser="ann"`).want(t, 0, id)
	d.temporal(t, "workflow", "describe", "-w", id).want(t, 0, "WfloState", "waiting_approval", "WfloUser")
	d.temporal(t, "workflow", "query", "-w", id, "--type", wflo.QueryStatus).want(t, 0, "waiting_approval", gate.Digest)

	send := func(input string) {
		t.Helper()
		d.temporal(t, "workflow", "signal", "-w", id, "--name", wflo.SignalDecide, "--input", input).want(t, 0)
	}
	send(decision(t, gate, strings.Repeat("0", 64), wflo.VerdictApprove))
	send(`"approve"`)
	var s wflo.Status
	await(t, "the refusal of a decision on something else", func() bool {
		s, _ = status(t, c, id)
		return s.Gates[0].Refused > 0
	})
	if g := s.Gates[0]; g.Refused != 1 || g.Status != wflo.GateOpen || !strings.Contains(g.LastRefusal, "digest") {
		t.Errorf("got %+v", g)
	}
	send(decision(t, gate, gate.Digest, wflo.VerdictApprove))
	wantRefunds(t, c, id, "tom", 2)
	// Too late: the run has ended, and says so.
	late := d.temporal(t, "workflow", "signal", "-w", id, "--name", wflo.SignalDecide, "--input", decision(t, gate, gate.Digest, wflo.VerdictReject))
	if late.code == 0 {
		t.Errorf("a signal to a run that has ended was taken:\n%s", late.said())
	}
}

// As an update the decision is answered: what does not count is refused at once.
func (d *dev) testTemporalUpdate(t *testing.T) {
	t.Parallel()
	c := d.client(t)
	id, gate := d.atGate(t, c, "update")
	send := func(input string) *program {
		return d.temporal(t, "workflow", "update", "execute", "-w", id, "--name", wflo.UpdateDecide, "--input", input)
	}
	for name, input := range map[string]string{
		"another digest": decision(t, gate, strings.Repeat("0", 64), wflo.VerdictApprove),
		"another gate":   strings.Replace(decision(t, gate, gate.Digest, wflo.VerdictApprove), `"refunds"`, `"payments"`, 1),
		"another epoch":  strings.Replace(decision(t, gate, gate.Digest, wflo.VerdictApprove), `"epoch":0`, `"epoch":1`, 1),
		"no verdict":     decision(t, gate, gate.Digest, ""),
		"nobody":         strings.Replace(decision(t, gate, gate.Digest, wflo.VerdictApprove), `"tom"`, `""`, 1),
	} {
		if p := send(input); p.code == 0 || !strings.Contains(p.said(), "decision.") {
			t.Errorf("%s: exit code %d:\n%s", name, p.code, p.said())
		}
	}
	if s, ok := status(t, c, id); !ok || s.Gates[0].Status != wflo.GateOpen || s.Gates[0].Refused != 0 {
		t.Errorf("refused decisions changed the gate: %+v", s.Gates)
	}
	send(decision(t, gate, gate.Digest, wflo.VerdictApprove)).want(t, 0, "approved")
	wantRefunds(t, c, id, "tom", 2)
}

// chromium is what deploy/setup.sh tests installs.
const chromium = "/usr/bin/chromium"

// webUI is a person's browser at Temporal's Web UI.
type webUI struct {
	t   *testing.T
	ctx context.Context
}

func newWebUI(t *testing.T) *webUI {
	t.Helper()
	if !exists(chromium) {
		t.Fatal("Chromium is missing; run deploy/setup.sh tests, or apt-get install chromium")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	ctx, stop := chromedp.NewExecAllocator(ctx, append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(chromium), chromedp.NoSandbox, chromedp.WindowSize(1400, 1600))...)
	t.Cleanup(stop)
	ctx, quit := chromedp.NewContext(ctx)
	t.Cleanup(quit)
	return &webUI{t, ctx}
}

func (w *webUI) do(steps ...chromedp.Action[chromedp.Void]) {
	w.t.Helper()
	if err := chromedp.Do(w.ctx, steps...); err != nil {
		w.t.Fatal(err)
	}
}

// shows waits until the page, together with the frames in it in which the Web UI
// renders what workflows wrote, shows all of the words.
func (w *webUI) shows(what string, words ...string) {
	w.t.Helper()
	const everything = `[document, ...[...document.querySelectorAll("iframe")].map(f => f.contentDocument)].map(d => d?.body?.innerText ?? "").join("\n")`
	for _, word := range words {
		await(w.t, what+" to show "+word, func() bool {
			text, err := chromedp.Run(w.ctx, chromedp.Evaluate[string](everything))
			if err != nil {
				w.t.Fatal(err)
			}
			return strings.Contains(text, word)
		})
	}
}

// A person who has only Temporal's Web UI sees what a gate asks, of whom, until when
// and where to decide: on the page of the run, its tab of metadata, and in the list.
func TestWebUIShowsTheGate(t *testing.T) {
	t.Parallel()
	_, env := vendor(t, cast)
	d := startDev(t, t.TempDir(), env...)
	t.Cleanup(func() { d.stop(t) })
	id, g := d.atGate(t, d.client(t), "webui")
	w := newWebUI(t)
	w.do(chromedp.Navigate(d.UI + "/namespaces/default/workflows/" + id))
	w.shows("the page of the run", id, refund.Name, "gate "+g.ID+" times out")
	w.do(chromedp.Click(chromedp.CSS(`a[href$="/user-metadata"]`)))
	w.shows("the current details", g.ID, g.Approval.Action, g.Digest, "wflo approve")
	w.do(chromedp.Click(chromedp.CSS(`a[href$="/search-attributes"]`)))
	w.shows("the search attributes", "WfloState", string(wflo.StateWaiting), "WfloGates", g.ID)
}
