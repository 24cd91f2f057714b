package govern

import (
	"context"
	"strings"
	"testing"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
	"github.com/wflo-ai/wflo-go/sandbox/sandboxtest"
	"github.com/wflo-ai/wflo-go/wflotest/scripted"
	"github.com/wflo-ai/wflo-go/workflows"
	"github.com/wflo-ai/wflo-go/workflows/testdata/histories"
)

// spend reads the budget of the run that started with runID.
func (w *world) spend(run client.WorkflowRun, runID string) wflo.Spend {
	w.t.Helper()
	s, err := w.guard.Ledger().Spend(w.t.Context(), wflo.RunBudgetID(wflo.Run{WorkflowID: run.GetID(), FirstRunID: runID}.ID()))
	if err != nil {
		w.t.Error(err)
	}
	return s
}

// billed is what the model's vendor counted, in tokens.
func (w *world) billed() (tokens int64) {
	for _, c := range w.model.Calls() {
		tokens += c.Usage.Total()
	}
	return tokens
}

// books compares the ledger's lines with the budget and with the vendor.
func (w *world) books(entries []wflo.Entry, s wflo.Spend) {
	w.t.Helper()
	var amount wflo.Money
	var tokens int64
	keys := map[wflo.EffectKey]bool{}
	for _, e := range entries {
		amount += e.Amount
		tokens += e.Usage.Total()
		if keys[e.Key] {
			w.t.Errorf("effect %s is booked twice", e.Run.Step)
		}
		keys[e.Key] = true
	}
	if amount == 0 || amount != s.Spent || s.Reserved != 0 || tokens != w.billed() {
		w.t.Errorf("entries sum to %s and %d tokens, the budget says %+v, the vendor %d tokens", amount, tokens, s, w.billed())
	}
}

// TestBudgetAcrossContinueAsNew runs an agent whose conversation outgrows one
// run's history: the next one continues on the same budget line, with what was
// spent, and with keys that are new.
func TestBudgetAcrossContinueAsNew(t *testing.T) {
	// What a program says is in the history whole, and clipped in the conversation.
	box := &sandboxtest.Fake{Do: func(context.Context, sandbox.Spec) (sandbox.Result, error) {
		return sandbox.Result{Outcome: sandbox.Succeeded, Stdout: strings.Repeat("all work and no play ", 100<<10/21)}, nil
	}}
	const turns = 30
	w := newWorld(t, config{box: box, script: func(turn scripted.Turn) scripted.Answer {
		if scripted.ToolCallsMade(turn) == turns {
			return scripted.Answer{Text: "done"}
		}
		return scripted.CallTool("", wflo.ToolPython, map[string]string{"code": "1"})
	}})
	task := agentTask()
	task.MaxTurns, task.MaxTokens, task.MaxRepeats = 2*turns, 100, turns
	const limit = 5 * wflo.USD
	run := w.start(wflo.Run{User: "ann", Budget: wflo.Budget{Limit: limit}}, wflo.WorkflowAgent, task)
	first := run.GetRunID()
	var answer wflo.Answer
	if err := w.wait(run, &answer); err != nil {
		t.Fatal(err)
	}
	generations := 0
	for id := first; id != ""; generations++ {
		h := w.history(run.GetID(), id)
		if err := w.replay(h); err != nil {
			t.Errorf("replay generation %d: %v", generations, err)
		}
		id = successor(h)
	}
	if generations < 2 || answer.Turns != turns+1 || answer.Tools != turns || answer.Text != "done" {
		t.Errorf("%d generations, answer %+v", generations, answer)
	}
	s := w.status(run)
	if s.Run.Generation != generations-1 || s.Run.FirstRunID != first || len(s.Run.Lines) != 1 || s.Run.User != "ann" {
		t.Errorf("run %s", asJSON(t, s.Run))
	}
	spend := w.spend(run, first)
	w.books(w.entries(run, first), spend)
	if spend.Limit != limit || spend.Spent != answer.Cost || s.Spent != answer.Cost || s.Calls != turns+1 {
		t.Errorf("budget %+v, status %s in %d calls, answer %s", spend, s.Spent, s.Calls, answer.Cost)
	}
}

// crowd runs n agents at the same time as children, and says how many answered.
func crowd(ctx workflow.Context, n int) (answered int, err error) {
	task := agentTask()
	task.MaxTokens, task.MaxRepeats = 100, wflo.DefaultMaxTurns
	done := workflow.NewWaitGroup(ctx)
	for range n {
		done.Add(1)
		workflow.Go(ctx, func(ctx workflow.Context) {
			defer done.Done()
			if _, e := workflows.Agent(ctx, task); e == nil {
				answered++
			} else if wflo.CodeOf(e) != wflo.CodeBudgetExceeded {
				err = e
			}
		})
	}
	done.Wait(ctx)
	return answered, err
}

func registerCrowd(r worker.Registry) {
	r.RegisterWorkflowWithOptions(crowd, workflow.RegisterOptions{Name: "crowd"})
}

// TestChildSpendsItsParentsBudget counts an agent's calls against the run that
// started it, and stops it at that run's limit.
func TestChildSpendsItsParentsBudget(t *testing.T) {
	w := newWorld(t, config{script: countOnce})
	run := w.start(wflo.Run{Team: "books", Budget: wflo.Budget{Limit: wflo.USD}}, histories.Parent, agentTask())
	if err := w.wait(run, nil); err != nil {
		t.Fatal(err)
	}
	entries, spend := w.entries(run, run.GetRunID()), w.spend(run, run.GetRunID())
	w.books(entries, spend)
	if len(entries) != 2 || spend.Limit != wflo.USD {
		t.Errorf("%d entries, budget %+v", len(entries), spend)
	}
	for _, e := range entries {
		if e.Run.Team != "books" || e.Run.WorkflowID == run.GetID() || len(e.Run.Lines) != 2 {
			t.Errorf("entry of %s", asJSON(t, e.Run))
		}
	}
	if s := w.status(run); s.Spent != spend.Spent || s.Calls != 2 {
		t.Errorf("status %s in %d calls, budget %s", s.Spent, s.Calls, spend.Spent)
	}
}

// TestCrowdStaysWithinOneBudget lets eight agents at one budget that pays for a
// few of them, and looks all the time.
func TestCrowdStaysWithinOneBudget(t *testing.T) {
	const limit, agents = wflo.Cent * 8 / 10, 8
	w := newWorld(t, config{register: registerCrowd, script: func(turn scripted.Turn) scripted.Answer {
		if scripted.ToolCallsMade(turn) == 6 {
			return scripted.Answer{Text: "done"}
		}
		return scripted.CallTool("", wflo.ToolPython, map[string]string{"code": "1"})
	}})
	run := w.start(wflo.Run{Budget: wflo.Budget{Limit: limit}}, "crowd", agents)
	stop, watched := make(chan struct{}), make(chan int)
	go func() {
		looks := 0
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				watched <- looks
				return
			case <-tick.C:
			}
			if s := w.spend(run, run.GetRunID()); s.Spent+s.Reserved > limit {
				t.Errorf("over budget: %+v", s)
			}
			looks++
		}
	}()
	var answered int
	err := w.wait(run, &answered)
	close(stop)
	looks := <-watched
	if err != nil {
		t.Fatal(err)
	}
	spend := w.spend(run, run.GetRunID())
	w.books(w.entries(run, run.GetRunID()), spend)
	if spend.Spent > limit || spend.Limit != limit || spend.Unknown != 0 {
		t.Errorf("budget %+v", spend)
	}
	// It is used, though not by all: the last of it never covers a worst case.
	if answered == agents || spend.Spent < limit/2 || looks == 0 {
		t.Errorf("%d of %d answered for %s; %d looks", answered, agents, spend.Spent, looks)
	}
	t.Logf("%d of %d agents answered for %s of %s; %d looks", answered, agents, spend.Spent, spend.Limit, looks)
	if n := count(w.history(run.GetID(), run.GetRunID()), enumspb.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED); n != agents {
		t.Errorf("%d children, want %d", n, agents)
	}
}
