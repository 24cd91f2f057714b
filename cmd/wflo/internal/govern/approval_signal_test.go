package govern

import (
	"fmt"
	"strings"
	"testing"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"golang.org/x/sync/errgroup"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/plugin"
)

func rawPayload(encoding, data string) converter.RawValue {
	return converter.NewRawValue(&commonpb.Payload{
		Metadata: map[string][]byte{converter.MetadataEncoding: []byte(encoding)}, Data: []byte(data),
	})
}

// malformed are signals of which no gate can make a decision.
func malformed() map[string]any {
	return map[string]any{
		"nothing":             nil,
		"a number":            7,
		"a word":              "approve",
		"a list":              []string{"approve", "delete"},
		"another object":      map[string]any{"approved": true},
		"a gate of no text":   map[string]any{"gate": 7, "verdict": "approve"},
		"half of JSON":        rawPayload("json/plain", `{"gate":"delete","verdict":"app`),
		"no JSON":             rawPayload("json/plain", "\xff\xfe"),
		"JSON of no length":   rawPayload("json/plain", ""),
		"bytes":               []byte{0, 1, 2, 0xff},
		"encrypted":           rawPayload("binary/encrypted", "\x8f\x02\x11"),
		"no encoding":         rawPayload("", "{}"),
		"an unknown encoding": rawPayload("application/x-made-up", "{}"),
		"protobuf":            rawPayload("binary/protobuf", "\x0a\x02hi"),
		"deep JSON":           rawPayload("json/plain", strings.Repeat("[", 100_000)+strings.Repeat("]", 100_000)),
		"a huge text":         strings.Repeat("x", 1<<20+100),
		"a verdict of no use": map[string]any{"gate": "delete", "verdict": "\u202eevorppa", "by": "ann"},
	}
}

// TestNoSignalWedgesAGate sends every kind of malformed signal, and each alone: the
// gate stays open, no workflow task fails, and the right decision counts after it.
func TestNoSignalWedgesAGate(t *testing.T) {
	w, n := guardedWorld(t, nil)
	raw := dial(t, server, "", nil)
	for name, arg := range malformed() {
		t.Run(name, func(t *testing.T) {
			line := "after " + name
			run := w.startAs(queueOf(t), wflo.Run{}, guardedWorkflow, order{Approval: deletion(line, nil)})
			g := w.gate(run, 1)
			if err := raw.SignalWorkflow(t.Context(), run.GetID(), "", wflo.SignalDecide, arg); err != nil {
				t.Fatal(err)
			}
			w.must(run, n.approve(g, "ann"))
			if err := w.wait(run, nil); err != nil {
				t.Fatal(err)
			}
			h := w.history(run.GetID(), run.GetRunID())
			if failed := count(h, enumspb.EVENT_TYPE_WORKFLOW_TASK_FAILED); failed != 0 {
				t.Errorf("%d workflow tasks failed", failed)
			}
			if err := w.replay(h); err != nil {
				t.Errorf("replay: %v", err)
			}
		})
	}
	if lines, _ := w.did(); len(lines) != len(malformed()) {
		t.Errorf("%d activities ran, want %d", len(lines), len(malformed()))
	}
}

// TestTenThousandSignals sends one more than a Temporal server takes for one run. The
// server stops whoever signals so often; people still decide, because the update does
// not go that way.
func TestTenThousandSignals(t *testing.T) {
	const flood = 10_001
	w, n := guardedWorld(t, nil)
	run := w.start(wflo.Run{}, guardedWorkflow, order{Approval: deletion("delete", nil)})
	g := w.gate(run, 1)
	raw := dial(t, server, "", nil)
	wrong := g.Decide(wflo.VerdictApprove, "ann")
	kinds := []any{wrong, map[string]any{"approved": true}, []byte{0xff}, rawPayload("json/plain", "{"), strings.Repeat("x", 2000)}
	var senders errgroup.Group
	senders.SetLimit(64)
	refused := make(chan error, flood)
	for i := range flood {
		senders.Go(func() error {
			if err := raw.SignalWorkflow(t.Context(), run.GetID(), "", wflo.SignalDecide, kinds[i%len(kinds)]); err != nil {
				refused <- err
			}
			return nil
		})
	}
	_ = senders.Wait()
	w.must(run, n.approve(g, "ann"))
	if err := w.wait(run, nil); err != nil {
		t.Fatal(err)
	}
	w.wantLines("delete")
	h := w.history(run.GetID(), run.GetRunID())
	sent := count(h, enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED)
	if sent+len(refused) != flood || sent < flood/2 {
		t.Errorf("%d signals in history and %d that the server refused, of %d", sent, len(refused), flood)
	}
	for _, e := range h.Events {
		// The server ends a task itself when too many signals came meanwhile, and begins
		// another: no worker has failed.
		if a := e.GetWorkflowTaskFailedEventAttributes(); a != nil && a.GetCause() != enumspb.WORKFLOW_TASK_FAILED_CAUSE_FORCE_CLOSE_COMMAND {
			t.Errorf("a workflow task failed: %s: %s", a.GetCause(), a.GetFailure().GetMessage())
		}
	}
	t.Logf("%d signals in history, %d refused by the server, %d events", sent, len(refused), len(h.Events))
	if err := w.replay(h); err != nil {
		t.Errorf("replay: %v", err)
	}
}

// TestUnsignedSignalsCountWhereTheGateSaysSo sends what `temporal workflow signal`
// would: plain JSON, from a client that knows nothing of wflo.
func TestUnsignedSignalsCountWhereTheGateSaysSo(t *testing.T) {
	for name, tt := range map[string]struct {
		gate       string
		signedOnly bool
		counts     bool
	}{
		"a gate that is listed":                 {gate: "open-1", counts: true},
		"a gate that is not":                    {gate: "delete"},
		"a listed gate that wants a signature":  {gate: "open-1", signedOnly: true},
		"a gate whose name begins like the one": {gate: "open/1"},
	} {
		t.Run(name, func(t *testing.T) {
			w, n := guardedWorld(t, func(c *plugin.Config) { c.Approvals.UnsignedGates = []string{"open-*"} })
			run := w.start(wflo.Run{}, guardedWorkflow, order{Approval: deletion("delete", func(a *wflo.Approval) {
				a.Gate, a.SignedOnly = tt.gate, tt.signedOnly
			})})
			g := w.gate(run, 1)
			text := fmt.Sprintf(`{"gate":%q,"epoch":0,"digest":%q,"verdict":"approve","by":"ann"}`, g.ID, g.Digest)
			raw := dial(t, server, "", nil)
			if err := raw.SignalWorkflow(t.Context(), run.GetID(), "", wflo.SignalDecide, rawPayload("json/plain", text)); err != nil {
				t.Fatal(err)
			}
			if !tt.counts {
				eventually(t, "the refusal", func() bool { return w.status(run).Gates[0].Refused == 1 })
				w.must(run, n.reject(g, "ben"))
				wantCode(t, w.wait(run, nil), wflo.CodeApprovalRejected)
				w.wantLines()
				return
			}
			if err := w.wait(run, nil); err != nil {
				t.Fatal(err)
			}
			w.wantLines("delete")
		})
	}
}

// TestASignalIsJudgedByTheClockOfItsArrival, and not by that of the workflow task
// before it, which may have been hours ago.
func TestASignalIsJudgedByTheClockOfItsArrival(t *testing.T) {
	w, n := guardedWorld(t, nil)
	run := w.start(wflo.Run{}, guardedWorkflow, order{Approval: deletion("delete", nil)})
	g := w.gate(run, 1)
	eventually(t, "a while", func() bool { return time.Since(g.OpenedAt) > time.Second })
	sent := time.Now()
	w.signal(run, wflo.SignalDecide, n.approve(g, "ann"))
	if err := w.wait(run, nil); err != nil {
		t.Fatal(err)
	}
	if got := w.status(run).Gates[0]; got.ClosedAt.Before(sent) {
		t.Errorf("approved %s before the approval was sent", sent.Sub(got.ClosedAt))
	}
}

// TestHaltWhileAGateIsOpen ends the run and the gate, whatever people say after it.
func TestHaltWhileAGateIsOpen(t *testing.T) {
	w, n := guardedWorld(t, nil)
	run := w.start(wflo.Run{}, guardedWorkflow, order{Approval: deletion("delete", nil)})
	g := w.gate(run, 1)
	w.signal(run, wflo.SignalHalt, wflo.Halt{By: "ann", Reason: "stop"})
	w.lateDecision(run, n.approve(g, "ben"))
	wantCode(t, w.wait(run, nil), wflo.CodeHalted)
	w.wantLines()
	eventually(t, "the end in the index", func() bool { return w.indexed(g.Nonce).Status == wflo.GateCancelled })
}

// TestHaltBeforeADecision has one workflow task learn of both: the decision came after
// the halt, so it does not count, though nobody has told the gate of its end yet.
func TestHaltBeforeADecision(t *testing.T) {
	w, n := guardedWorld(t, nil)
	run := w.start(wflo.Run{}, guardedWorkflow, order{Approval: deletion("delete", nil)})
	g := w.gate(run, 1)
	w.worker.Stop()
	w.signal(run, wflo.SignalHalt, wflo.Halt{By: "ann", Reason: "stop"})
	w.signal(run, wflo.SignalDecide, n.approve(g, "ben"))
	w.restart()
	wantCode(t, w.wait(run, nil), wflo.CodeHalted)
	if got := w.status(run).Gates[0]; got.Status != wflo.GateCancelled || got.Refused != 1 {
		t.Errorf("gate is %s, and has refused %d", got.Status, got.Refused)
	}
	w.wantLines()
}

// TestTimeRuleFiresWhileAGateWaits halts a run by a policy on its time.
func TestTimeRuleFiresWhileAGateWaits(t *testing.T) {
	w, n := guardedWorld(t, under(t, haltsAfterASecond))
	run := w.start(wflo.Run{}, guardedWorkflow, order{Approval: deletion("delete", nil)})
	g := w.gate(run, 1)
	app := wantCode(t, w.wait(run, nil), wflo.CodePolicyDenied)
	if !strings.Contains(app.Message(), "too long") {
		t.Errorf("error %q", app.Message())
	}
	w.lateDecision(run, n.approve(g, "ben"))
	w.wantLines()
	if kept := w.indexed(g.Nonce); kept.Status != wflo.GateCancelled {
		t.Errorf("index has the gate as %s", kept.Status)
	}
}

// lateDecision sends what no run may take: it is over, or about to be.
func (w *world) lateDecision(run client.WorkflowRun, d wflo.Decision) {
	w.t.Helper()
	if g, err := w.decide(run, "", d); err == nil {
		w.t.Errorf("the decision counts: gate is %s", g.Status)
	}
}
