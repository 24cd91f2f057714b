package govern

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/plugin"
	"github.com/wflo-ai/wflo-go/workflows/testdata/histories"
)

// restart ends the worker, if it has not ended, and starts another, which knows
// nothing but what the server and the records have.
func (w *world) restart() {
	w.t.Helper()
	w.worker.Stop()
	worker.PurgeStickyWorkflowCache()
	w.worker = worker.New(w.Client, w.queue, worker.Options{WorkerStopTimeout: time.Second})
	w.worker.RegisterActivityWithOptions(w.do, activity.RegisterOptions{Name: histories.Do})
	histories.Register(w.worker)
	registerGuarded(w.worker)
	start(w.t, w.worker)
}

// TestWorkersEndAtEveryStepOfAGate has a new worker after each thing that happens.
func TestWorkersEndAtEveryStepOfAGate(t *testing.T) {
	w, n := guardedWorld(t, nil)
	run := w.start(wflo.Run{}, guardedWorkflow, order{Approval: deletion("delete", func(a *wflo.Approval) { a.Quorum = 2 }), Then: "act"})
	g := w.gate(run, 1)
	w.restart()
	w.must(run, n.approve(g, "ann"))
	w.restart()
	w.mustNot(run, n.approve(g, "ann"), "comes twice")
	if got := w.must(run, n.approve(g, "ben")); got.Status != wflo.GateApproved {
		t.Errorf("gate is %s", got.Status)
	}
	w.restart()
	w.mustNot(run, n.approve(g, "ann"), "comes")
	w.worker.Stop()
	w.signal(run, "act", nil)
	w.restart()
	if err := w.wait(run, nil); err != nil {
		t.Fatal(err)
	}
	w.wantLines("delete")
	if err := w.replay(w.history(run.GetID(), run.GetRunID())); err != nil {
		t.Errorf("replay: %v", err)
	}
}

// TestVotesThatCameWhileNoWorkerWasThere count when one is.
func TestVotesThatCameWhileNoWorkerWasThere(t *testing.T) {
	w, n := guardedWorld(t, nil)
	run := w.start(wflo.Run{}, guardedWorkflow, order{Approval: deletion("delete", func(a *wflo.Approval) { a.Quorum = 2 })})
	g := w.gate(run, 1)
	w.worker.Stop()
	w.signal(run, wflo.SignalDecide, n.approve(g, "ann"))
	w.signal(run, wflo.SignalDecide, n.approve(g, "ben"))
	w.restart()
	if err := w.wait(run, nil); err != nil {
		t.Fatal(err)
	}
	w.wantLines("delete")
}

// TestARetriedActivityKeepsItsApproval loses the worker in the middle of the action:
// the next attempt acts on the same approval, and nobody is asked again.
func TestARetriedActivityKeepsItsApproval(t *testing.T) {
	began := make(chan struct{}, 10)
	w, n := guardedWorld(t, nil)
	act := &journal{}
	actors := func(first bool) worker.Worker {
		queue := worker.New(w.Client, w.queue+"-act", worker.Options{WorkerStopTimeout: time.Second})
		queue.RegisterActivityWithOptions(func(ctx context.Context, line string) (string, error) {
			out, err := act.do(ctx, line)
			began <- struct{}{}
			if first {
				return "", errors.Join(err, beatUntilCancelled(ctx))
			}
			return out, err
		}, activity.RegisterOptions{Name: histories.Do})
		start(t, queue)
		return queue
	}
	lost := actors(true)
	run := w.start(wflo.Run{}, guardedWorkflow, order{Approval: deletion("delete", nil), Queue: w.queue + "-act"})
	g := w.gate(run, 1)
	w.must(run, n.approve(g, "ann"))
	<-began
	w.mustNot(run, n.reject(g, "ben"), "comes late")
	lost.Stop()
	actors(false)
	if err := w.wait(run, nil); err != nil {
		t.Fatal(err)
	}
	lines, keys := act.did()
	if len(lines) < 2 || keys[0] != keys[len(keys)-1] {
		t.Errorf("%d attempts under %v", len(lines), keys)
	}
	if got := w.recorded(wflo.AuditGrantUsed, run.GetID()); got != 1 {
		t.Errorf("%d records of the use, want 1", got)
	}
}

// TestAnApprovalExpiresWhileNoWorkerActs starts the activity's worker after the
// approval is too old.
func TestAnApprovalExpiresWhileNoWorkerActs(t *testing.T) {
	dir := t.TempDir()
	file := func(c *plugin.Config) { c.Database, c.DataDir = "", dir }
	w, n := guardedWorld(t, file)
	ask := deletion("delete", func(a *wflo.Approval) { a.Expiry = 300 * time.Millisecond })
	run := w.start(wflo.Run{}, guardedWorkflow, order{Approval: ask, Queue: w.queue + "-act"})
	got := w.must(run, n.approve(w.gate(run, 1), "ann"))
	eventually(t, "the approval's end", func() bool { return time.Now().After(got.UseBy) })
	late := newWorld(t, config{queue: w.queue + "-act", plugin: func(c *plugin.Config) { n.trusted(c); file(c) }})
	wantCode(t, w.wait(run, nil), wflo.CodeApprovalExpired)
	late.wantLines()
	if got := w.recorded(wflo.AuditGrantRefused, run.GetID()); got != 1 {
		t.Errorf("%d records of the refusal, want 1", got)
	}
}

// TestAnApproverWhoWasRemovedDoesNotCountWhenItActs changes the terms between the
// approval and the action: the worker that acts looks at its own, present ones.
func TestAnApproverWhoWasRemovedDoesNotCountWhenItActs(t *testing.T) {
	person := newNotary(t)
	dir := t.TempDir()
	under := func(terms wflo.Terms) func(*plugin.Config) {
		return func(c *plugin.Config) { c.Database, c.DataDir, c.Approvals = "", dir, terms }
	}
	signer := wflo.Signer{Public: person.terms.Keys["console"], Subject: "ann", Groups: []string{"owners"}}
	terms := wflo.Terms{Signers: map[string]wflo.Signer{"console": signer}}
	gone := signer
	gone.Groups = []string{"alumni"}
	for name, later := range map[string]wflo.Terms{
		"the key is gone":        newNotary(t).terms,
		"she left the group":     {Signers: map[string]wflo.Signer{"console": gone}},
		"the key is another now": {Signers: map[string]wflo.Signer{"console": {Public: newNotary(t).terms.Keys["console"], Subject: "ann", Groups: signer.Groups}}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, config{register: func(r worker.Registry) { registerGuarded(r) }, plugin: under(terms)})
			ask := deletion("delete", func(a *wflo.Approval) { a.Approvers = []string{"group:owners"} })
			run := w.start(wflo.Run{}, guardedWorkflow, order{Approval: ask, Queue: w.queue + "-act"})
			if got := w.must(run, person.approve(w.gate(run, 1), "ann")); got.Status != wflo.GateApproved {
				t.Fatalf("gate is %s", got.Status)
			}
			later := newWorld(t, config{queue: w.queue + "-act", plugin: under(later)})
			wantCode(t, w.wait(run, nil), wflo.CodeApprovalRejected)
			later.wantLines()
			if got := w.recorded(wflo.AuditGrantRefused, run.GetID()); got != 1 {
				t.Errorf("%d records of the refusal, want 1", got)
			}
		})
	}
}

// resetTo starts the run again from the nth workflow task that completed, counted
// from 1 or, below it, from the last.
func (w *world) resetTo(run client.WorkflowRun, n int, without ...enumspb.ResetReapplyExcludeType) client.WorkflowRun {
	w.t.Helper()
	var points []int64
	for _, e := range w.history(run.GetID(), run.GetRunID()).Events {
		if e.GetEventType() == enumspb.EVENT_TYPE_WORKFLOW_TASK_COMPLETED {
			points = append(points, e.GetEventId())
		}
	}
	if n < 1 {
		n += len(points)
	}
	r, err := w.ResetWorkflowExecution(w.t.Context(), &workflowservice.ResetWorkflowExecutionRequest{
		Namespace: server.Namespace(), Reason: "a test", RequestId: run.GetRunID(), WorkflowTaskFinishEventId: points[n-1],
		WorkflowExecution:        &commonpb.WorkflowExecution{WorkflowId: run.GetID(), RunId: run.GetRunID()},
		ResetReapplyExcludeTypes: without,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return w.GetWorkflow(w.t.Context(), run.GetID(), r.GetRunId())
}

// decidedBy are the two ways by which decisions come.
func decidedBy(w *world) map[string]func(run client.WorkflowRun, d wflo.Decision) {
	return map[string]func(run client.WorkflowRun, d wflo.Decision){
		"by update": func(run client.WorkflowRun, d wflo.Decision) { w.must(run, d) },
		"by signal": func(run client.WorkflowRun, d wflo.Decision) { w.signal(run, wflo.SignalDecide, d) },
	}
}

// TestResetBeforeTheRequestAsksAgain, whatever the server sends once more, and after a
// second reset too, whose base has what the first one sent.
func TestResetBeforeTheRequestAsksAgain(t *testing.T) {
	none := []enumspb.ResetReapplyExcludeType{enumspb.RESET_REAPPLY_EXCLUDE_TYPE_SIGNAL, enumspb.RESET_REAPPLY_EXCLUDE_TYPE_UPDATE}
	for name, exclude := range map[string][]enumspb.ResetReapplyExcludeType{"all sent again": nil, "nothing sent again": none} {
		for _, how := range []string{"by update", "by signal"} {
			t.Run(name+" "+how, func(t *testing.T) {
				w, n := guardedWorld(t, nil)
				run := w.start(wflo.Run{}, guardedWorkflow, order{Approval: deletion("delete", nil)})
				first := w.gate(run, 1)
				yes := n.approve(first, "ann")
				decidedBy(w)[how](run, yes)
				if err := w.wait(run, nil); err != nil {
					t.Fatal(err)
				}
				again := w.resetTo(run, 1, exclude...)
				second := w.gate(again, 1)
				w.mustNot(again, yes, "decision.nonce")
				// A second time, from where the first reset's own events are in the base.
				third := w.resetTo(again, 0, none...)
				g := w.gate(third, 1)
				if first.Nonce == second.Nonce || first.Nonce == g.Nonce || len(g.Votes) != 0 {
					t.Errorf("nonces %s, %s, %s; %d votes", first.Nonce, second.Nonce, g.Nonce, len(g.Votes))
				}
				w.mustNot(third, yes, "decision.nonce")
				w.wantLines("delete")
				w.must(third, n.reject(g, "ben"))
				wantCode(t, w.wait(third, nil), wflo.CodeApprovalRejected)
				w.wantLines("delete")
			})
		}
	}
}

// TestResetAfterTheApprovalKeepsIt asks nobody again, and the action has the effect
// key that it had.
func TestResetAfterTheApprovalKeepsIt(t *testing.T) {
	for _, how := range []string{"by update", "by signal"} {
		t.Run(how, func(t *testing.T) {
			w, n := guardedWorld(t, nil)
			run := w.start(wflo.Run{}, guardedWorkflow, order{Approval: deletion("delete", nil), Then: "act"})
			g := w.gate(run, 1)
			decidedBy(w)[how](run, n.approve(g, "ann"))
			eventually(t, "the approval", func() bool { return w.status(run).Gates[0].Status == wflo.GateApproved })
			w.signal(run, "act", nil)
			if err := w.wait(run, nil); err != nil {
				t.Fatal(err)
			}
			again := w.resetTo(run, 0)
			if err := w.wait(again, nil); err != nil {
				t.Fatal(err)
			}
			gates := w.status(again).Gates
			if len(gates) != 1 || gates[0].Nonce != g.Nonce || gates[0].Status != wflo.GateApproved {
				t.Errorf("gates %s", asJSON(t, gates))
			}
			lines, keys := w.did()
			for _, k := range keys {
				if k != keys[0] {
					t.Errorf("effect keys %v of %q", keys, lines)
				}
			}
			if got := w.recorded(wflo.AuditGrantUsed, run.GetID()); got != 1 {
				t.Errorf("%d records of the use, want 1", got)
			}
		})
	}
}

const askingWorkflow = "asking"

// asking continues as new as soon as its gate is open.
func asking(ctx workflow.Context, a wflo.Approval, generation int) error {
	if generation > 0 {
		return nil
	}
	workflow.Go(ctx, func(ctx workflow.Context) {
		_ = guarded(ctx, order{Approval: a}) // the run's own end does not depend on it
	})
	workflow.GetSignalChannel(ctx, "continue").Receive(ctx, nil)
	return workflow.NewContinueAsNewError(ctx, askingWorkflow, a, generation+1)
}

// TestARunWithAnOpenGateContinuesWhenItIsDecided loses no decision and does not leave
// a gate behind that nobody answers for.
func TestARunWithAnOpenGateContinuesWhenItIsDecided(t *testing.T) {
	for name, approve := range map[string]bool{"approved": true, "rejected": false} {
		t.Run(name, func(t *testing.T) {
			w, n := guardedWorld(t, nil)
			ask := deletion("delete", func(a *wflo.Approval) { a.Quorum = 2 })
			run := w.start(wflo.Run{}, askingWorkflow, ask, 0)
			first := run.GetRunID()
			g := w.gate(run, 1)
			w.must(run, n.approve(g, "ann"))
			w.signal(run, "continue", nil)
			eventually(t, "the signal's task", func() bool {
				h := w.history(run.GetID(), first)
				last := h.Events[len(h.Events)-1].GetEventType()
				return last != enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED && count(h, enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED) == 1 &&
					last != enumspb.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED && last != enumspb.EVENT_TYPE_WORKFLOW_TASK_STARTED
			})
			if approve {
				w.must(run, n.approve(g, "ben"))
			} else {
				w.must(run, n.reject(g, "ben"))
			}
			if err := w.wait(run, nil); err != nil {
				t.Fatal(err)
			}
			want := map[bool][]string{true: {"delete"}, false: nil}[approve]
			w.wantLines(want...)
			h := w.history(run.GetID(), first)
			if successor(h) == "" {
				t.Error("the run did not continue as new")
			}
			if err := w.replay(h); err != nil {
				t.Errorf("replay: %v", err)
			}
			if kept := w.indexed(g.Nonce); !kept.Closed() {
				t.Errorf("index has the gate as %s", kept.Status)
			}
		})
	}
}

// TestARunThatEndsClosesItsGates leaves none in the inbox that nobody can decide.
func TestARunThatEndsClosesItsGates(t *testing.T) {
	n := newNotary(t)
	w := newWorld(t, config{plugin: n.trusted, register: func(r worker.Registry) {
		r.RegisterWorkflowWithOptions(func(ctx workflow.Context, a wflo.Approval) error {
			workflow.Go(ctx, func(ctx workflow.Context) { _ = guarded(ctx, order{Approval: a}) })
			workflow.GetSignalChannel(ctx, "end").Receive(ctx, nil)
			return nil
		}, workflow.RegisterOptions{Name: "ending"})
	}})
	run := w.start(wflo.Run{}, "ending", deletion("delete", nil))
	g := w.gate(run, 1)
	w.signal(run, "end", nil)
	if err := w.wait(run, nil); err != nil {
		t.Fatal(err)
	}
	if kept := w.indexed(g.Nonce); kept.Status != wflo.GateCancelled {
		t.Errorf("index has the gate as %s", kept.Status)
	}
	w.wantLines()
}

// copyOf is a deep copy, by the wire.
func copyOf[T any](t testing.TB, v T) T {
	t.Helper()
	var out T
	if err := json.Unmarshal([]byte(asJSON(t, v)), &out); err != nil {
		t.Fatal(err)
	}
	return out
}
