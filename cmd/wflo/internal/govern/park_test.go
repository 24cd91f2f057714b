package govern

import (
	"context"
	"strings"
	"testing"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/worker"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/plugin"
	"github.com/wflo-ai/wflo-go/wflotest"
)

// TestRunParksAtItsBudget waits on a real server, outlives a worker, goes on with
// what an approver granted, and replays.
func TestRunParksAtItsBudget(t *testing.T) {
	const limit = wflo.Cent / 10
	w := newWorld(t, config{script: countOnce, plugin: func(c *plugin.Config) { c.Strict = true }})
	task := agentTask()
	task.System = strings.Repeat("Count slowly. ", 1000)
	run := w.start(wflo.Run{Team: "books", Budget: wflo.Budget{Limit: limit, OnExceeded: wflo.ExceedAsk}}, wflo.WorkflowAgent, task)
	first := run.GetRunID()
	g := w.gate(run, 1)
	if g.ID != "budget/"+wflo.RunBudgetID(wflo.Run{WorkflowID: run.GetID(), FirstRunID: first}.ID()) || len(w.model.Calls()) != 0 {
		t.Errorf("gate %s after %d calls", g.ID, len(w.model.Calls()))
	}
	if s := w.status(run); s.State != wflo.StateWaiting || s.Spent != 0 {
		t.Errorf("status %s", asJSON(t, s))
	}
	w.worker.Stop()
	second := worker.New(w.Client, w.queue, worker.Options{})
	start(t, second)
	w.signal(run, wflo.SignalDecide, wflotest.Respond(g, "ann", "1.00"))
	var answer wflo.Answer
	if err := w.wait(run, &answer); err != nil {
		t.Fatal(err)
	}
	spend := w.spend(run, first)
	w.books(w.entries(run, first), spend)
	if answer.Text != "three" || spend.Limit != limit+wflo.USD || spend.ToppedUp != wflo.USD || spend.Spent != answer.Cost {
		t.Errorf("answer %+v, budget %+v", answer, spend)
	}
	h := w.history(run.GetID(), first)
	if err := w.replay(h); err != nil {
		t.Errorf("replay: %v", err)
	}
	raised := 0
	for _, e := range h.Events {
		if e.GetActivityTaskScheduledEventAttributes().GetActivityType().GetName() == "wflo.budget.TopUp" {
			raised++
		}
	}
	if raised != 1 || count(h, enumspb.EVENT_TYPE_TIMER_STARTED) != 1 {
		t.Errorf("%d top-ups, %d timers", raised, count(h, enumspb.EVENT_TYPE_TIMER_STARTED))
	}
}

// TestParkedRunIsRejected ends with the budget's error and spends nothing.
func TestParkedRunIsRejected(t *testing.T) {
	w := newWorld(t, config{script: countOnce, plugin: func(c *plugin.Config) { c.Strict = true }})
	run := w.start(wflo.Run{Budget: wflo.Budget{Limit: wflo.MicroUSD, OnExceeded: wflo.ExceedAsk}}, wflo.WorkflowAgent, agentTask())
	w.signal(run, wflo.SignalDecide, wflotest.Reject(w.gate(run, 1), "ann", "too dear"))
	app := wantCode(t, w.wait(run, nil), wflo.CodeBudgetExceeded)
	if !strings.Contains(app.Error(), "too dear") || len(w.model.Calls()) != 0 {
		t.Errorf("%v after %d calls", app, len(w.model.Calls()))
	}
}

// TestHoldOfATerminatedRunIsDecided charges what a run held that was terminated
// while nobody could close it.
func TestHoldOfATerminatedRunIsDecided(t *testing.T) {
	w := newWorld(t, config{plugin: func(c *plugin.Config) { c.HoldSweepEvery = holdRound }})
	ledger := w.guard.Ledger()
	gone := wflo.Run{Namespace: server.Namespace(), WorkflowID: w.queue, FirstRunID: "01a204fd-0000-7000-8000-000000000000", Step: "s"}
	r := wflo.Reservation{
		Key: gone.EffectKey(), Attempt: 1, Amount: wflo.Cent, Run: gone,
		Budgets: []wflo.BudgetLine{{ID: wflo.RunBudgetID(gone.ID()), Limit: wflo.USD}},
	}
	if _, err := ledger.Reserve(context.Background(), r); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the sweep of holds", func() bool {
		s, err := ledger.Spend(t.Context(), wflo.RunBudgetID(gone.ID()))
		if err != nil {
			t.Fatal(err)
		}
		return s.Unknown == wflo.Cent && s.Reserved == 0 && s.Spent == wflo.Cent
	})
}
