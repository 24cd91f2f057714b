package govern

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/workflows/testdata/histories"
)

type loot struct{}

// forger writes headers as wflo would, from a worker that does not have wflo.
type forger struct{}

func (forger) Inject(context.Context, workflow.HeaderWriter) error { return nil }

func (forger) Extract(ctx context.Context, _ workflow.HeaderReader) (context.Context, error) {
	return ctx, nil
}

func (forger) ExtractToWorkflow(ctx workflow.Context, _ workflow.HeaderReader) (workflow.Context, error) {
	return ctx, nil
}

// heist is a call with headers of the caller's choice.
type heist struct {
	Queue string
	Line  string
	Gate  *wflo.Gate
	Run   *wflo.Run
}

func (forger) InjectFromWorkflow(ctx workflow.Context, w workflow.HeaderWriter) error {
	h, ok := ctx.Value(loot{}).(heist)
	if !ok {
		return nil
	}
	for name, v := range map[string]any{wflo.HeaderGate: h.Gate, wflo.HeaderRun: h.Run} {
		p, err := converter.GetDefaultDataConverter().ToPayload(v)
		if err != nil {
			return err
		}
		if string(p.GetData()) != "null" && len(p.GetData()) > 0 {
			w.Set(name, p)
		}
	}
	return nil
}

// steal calls the governed activity from a workflow that nobody governs.
func steal(ctx workflow.Context, h heist) error {
	ctx = workflow.WithValue(ctx, loot{}, h)
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue: h.Queue, StartToCloseTimeout: 5 * time.Second, RetryPolicy: &temporal.RetryPolicy{MaximumAttempts: 3},
	})
	return workflow.ExecuteActivity(ctx, histories.Do, h.Line).Get(ctx, nil)
}

// TestApprovalsThatAreCarriedElsewhere has a worker without wflo, which writes what
// headers it likes, call an activity of a governed one. No approval goes through but
// the one that people gave, for what they gave it, once.
func TestApprovalsThatAreCarriedElsewhere(t *testing.T) {
	w, n := guardedWorld(t, nil)
	who := wflo.Run{User: "eve"}
	used := w.start(who, guardedWorkflow, order{Approval: deletion("delete", nil)})
	w.must(used, n.approve(w.gate(used, 1), "ann"))
	if err := w.wait(used, nil); err != nil {
		t.Fatal(err)
	}
	// One that is approved, and whose run has not acted on it.
	ready := w.startAs(w.queue+"-ready", who, guardedWorkflow, order{Approval: deletion("delete", nil), Then: "act"})
	w.must(ready, n.approve(w.gate(ready, 1), "ann"))
	rejected := w.startAs(w.queue+"-rejected", who, guardedWorkflow, order{Approval: deletion("delete", nil)})
	no := w.gate(rejected, 1)
	w.must(rejected, n.reject(no, "ann"))
	wantCode(t, w.wait(rejected, nil), wflo.CodeApprovalRejected)

	// And one whose run was ended before it could act: its name is free.
	over := w.startAs(w.queue+"-over", who, guardedWorkflow, order{Approval: deletion("delete", nil), Then: "act"})
	w.must(over, n.approve(w.gate(over, 1), "ann"))
	dead, deadRun := w.status(over).Gates[0], w.status(over).Run
	if err := w.TerminateWorkflow(t.Context(), over.GetID(), "", "a test"); err != nil {
		t.Fatal(err)
	}
	// Runs leave out what closed gates asked; whoever reads the index has all of it.
	indexed := func(run client.WorkflowRun) wflo.Gate {
		g, err := w.guard.Records().Gate(t.Context(), w.status(run).Gates[0].Nonce)
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	old, fresh, denied := indexed(used), w.status(ready).Gates[0], indexed(rejected)
	owner, again, deniedRun := w.status(ready).Run, w.status(used).Run, w.status(rejected).Run
	again.Step = "another step"
	turned := denied
	turned.Status, turned.UseBy = wflo.GateApproved, turned.ClosedAt.Add(time.Minute)

	c, err := client.DialContext(t.Context(), client.Options{
		HostPort: server.HostPort(), Namespace: server.Namespace(), Logger: logger(t), ContextPropagators: []workflow.ContextPropagator{forger{}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	thief := worker.New(c, w.queue+"-thief", worker.Options{})
	thief.RegisterWorkflowWithOptions(steal, workflow.RegisterOptions{Name: "steal"})
	start(t, thief)

	forged := func(f func(*wflo.Gate)) heist {
		g := copyOf(t, dead)
		f(&g)
		return heist{Gate: &g, Run: &deadRun, Line: "delete"}
	}
	for name, tt := range map[string]struct {
		heist
		code wflo.Code
		id   string // of the workflow; "" is the test's
	}{
		"an approval that was used":                        {heist{Gate: &old, Line: "delete"}, wflo.CodeConflict, ""},
		"an approval that was used, in a run of that name": {heist{Gate: &old, Run: &again, Line: "delete"}, wflo.CodeApprovalExpired, used.GetID()},
		"another run's approval":                           {heist{Gate: &fresh, Line: "delete"}, wflo.CodeConflict, ""},
		"another run's approval in its own name":           {heist{Gate: &fresh, Run: &owner, Line: "delete"}, wflo.CodeConflict, ""},
		"an approval of a run that is over":                {heist{Gate: &dead, Line: "delete"}, wflo.CodeConflict, over.GetID()},
		"another input":                                    {heist{Gate: &dead, Run: &deadRun, Line: "delete all"}, wflo.CodeConflict, over.GetID()},
		"an edited payload": {forged(func(g *wflo.Gate) {
			g.Approval.Payload = json.RawMessage(`"delete all"`)
		}), wflo.CodeConflict, over.GetID()},
		"an edited payload with its digest": {forged(func(g *wflo.Gate) {
			g.Approval.Payload = json.RawMessage(`"delete all"`)
			g.Digest = g.ComputeDigest()
		}), wflo.CodeConflict, over.GetID()},
		"an edited payload with its digest and votes": {forged(func(g *wflo.Gate) {
			g.Approval.Payload = json.RawMessage(`"delete all"`)
			g.Digest = g.ComputeDigest()
			g.Votes[0].Digest = g.Digest
			g.Votes[0].PayloadSHA256 = ""
		}), wflo.CodeApprovalRejected, over.GetID()},
		"a rejected gate":                    {heist{Gate: &denied, Run: &deniedRun, Line: "delete"}, wflo.CodeApprovalRejected, rejected.GetID()},
		"a rejected gate that says approved": {heist{Gate: &turned, Run: &deniedRun, Line: "delete"}, wflo.CodeApprovalRejected, rejected.GetID()},
		"an approval without votes":          {forged(func(g *wflo.Gate) { g.Votes = nil }), wflo.CodeApprovalRejected, over.GetID()},
		"a vote in another name":             {forged(func(g *wflo.Gate) { g.Votes[0].By = "ben" }), wflo.CodeApprovalRejected, over.GetID()},
		"a gate that nobody opened": {forged(func(g *wflo.Gate) {
			g.Approval.Approvers, g.Votes = nil, nil
			*g = g.Seal("0123456789abcdef")
		}), wflo.CodeApprovalRejected, over.GetID()},
		"a low-risk gate that time approved": {forged(func(g *wflo.Gate) {
			g.Approval.OnTimeout, g.Approval.Risk, g.Decision, g.Votes = wflo.OnTimeoutApprove, wflo.RiskLow, nil, nil
			*g = g.Seal("0123456789abcdef")
		}), wflo.CodeConflict, over.GetID()},
		"one that time is said to have approved": {forged(func(g *wflo.Gate) {
			g.Approval.OnTimeout, g.Approval.Risk, g.Decision, g.Votes = wflo.OnTimeoutApprove, wflo.RiskLow, nil, nil
			g.Digest = g.ComputeDigest() // the nonce is one that the index knows
		}), wflo.CodeConflict, over.GetID()},
	} {
		t.Run(name, func(t *testing.T) {
			tt.Queue = w.queue
			if tt.id == "" {
				tt.id = queueOf(t)
			}
			run, err := c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: tt.id, TaskQueue: w.queue + "-thief"}, "steal", tt.heist)
			if err != nil {
				t.Fatal(err)
			}
			wantCode(t, w.wait(run, nil), tt.code)
			w.wantLines("delete")
		})
	}
	w.signal(ready, "act", nil)
	if err := w.wait(ready, nil); err != nil {
		t.Errorf("the run whose approval it is: %v", err)
	}
	w.wantLines("delete", "delete")
}
