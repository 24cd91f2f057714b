package workflows_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/plugin"
	"github.com/wflo-ai/wflo-go/wflotest"
	"github.com/wflo-ai/wflo-go/wflotest/scripted"
	"github.com/wflo-ai/wflo-go/workflows"
)

// smallBudget pays for no call of the tests' agents, with the size of prompts
// bounded by their bytes.
const smallBudget = wflo.Cent / 10

// parking is a world whose run's budget asks.
func parking(decide func(wflo.Gate) wflo.Decision) wflotest.Config {
	return wflotest.Config{
		Script: scripted.Echo, Budget: smallBudget, OnExceeded: wflo.ExceedAsk, Decide: decide,
		Plugin: func(c *plugin.Config) { c.Strict = true },
	}
}

func hello() wflo.Prompt {
	return wflo.Prompt{
		Model: model, MaxTokens: 500,
		System:   strings.Repeat("Be brief. ", 1000),
		Messages: []wflo.Message{{Role: wflo.RoleUser, Text: "hello"}},
	}
}

func ask(ctx workflow.Context) (string, error) {
	r, err := workflows.Ask(ctx, hello())
	return r.Text, err
}

func TestBudgetIsRaisedAndTheRunGoesOn(t *testing.T) {
	for name, tt := range map[string]struct {
		decide func(wflo.Gate) wflo.Decision
		limit  wflo.Money // afterwards; zero for at least twice as much
	}{
		"approved":             {func(g wflo.Gate) wflo.Decision { return wflotest.Approve(g, "ann") }, 0},
		"another amount":       {func(g wflo.Gate) wflo.Decision { return wflotest.Respond(g, "ann", "$2.50") }, smallBudget + 250*wflo.Cent},
		"approved with amount": {func(g wflo.Gate) wflo.Decision { d := wflotest.Approve(g, "ann"); d.Text = "3"; return d }, smallBudget + 3*wflo.USD},
	} {
		t.Run(name, func(t *testing.T) {
			env := wflotest.New(t, parking(tt.decide))
			if err := env.Run(ask); err != nil {
				t.Fatal(err)
			}
			var text string
			if env.Result(&text); text != "echo: hello" {
				t.Errorf("answer %q", text)
			}
			gates := env.Gates()
			if len(gates) != 1 || !strings.HasPrefix(gates[0].ID, "budget/run:") || !strings.Contains(string(gates[0].Approval.Payload), `"top_up"`) {
				t.Fatalf("gates %+v", gates)
			}
			s := env.RunBudget()
			if tt.limit > 0 && s.Limit != tt.limit || s.Limit < 2*smallBudget || s.ToppedUp != s.Limit-smallBudget {
				t.Errorf("budget %+v, want a limit of %s", s, tt.limit)
			}
			if entries := env.Entries(); len(entries) != 1 || entries[0].Attempt != 1 || s.Spent != entries[0].Amount || s.Reserved != 0 {
				t.Errorf("budget %+v, entries %+v", s, entries)
			}
			if st := env.Status(); st.Calls != 1 || st.State != wflo.StateCompleted || len(env.Calls()) != 1 {
				t.Errorf("status %+v, %d calls of the model", st, len(env.Calls()))
			}
		})
	}
}

// TestBudgetThatIsNotRaised ends the call with the budget's error, whose cause
// workflow code can read.
func TestBudgetThatIsNotRaised(t *testing.T) {
	for name, tt := range map[string]struct {
		decide func(wflo.Gate) wflo.Decision
		why    string
	}{
		"rejected":      {func(g wflo.Gate) wflo.Decision { return wflotest.Reject(g, "ann", "too dear") }, "ann rejected"},
		"nobody":        {func(wflo.Gate) wflo.Decision { return wflo.Decision{} }, "nobody decided"},
		"no amount":     {func(g wflo.Gate) wflo.Decision { return wflotest.Respond(g, "ann", "plenty") }, "nobody decided"},
		"nothing":       {func(g wflo.Gate) wflo.Decision { return wflotest.Respond(g, "ann", "0") }, "nobody decided"},
		"less":          {func(g wflo.Gate) wflo.Decision { return wflotest.Respond(g, "ann", "-5") }, "nobody decided"},
		"amount and no": {func(g wflo.Gate) wflo.Decision { d := wflotest.Reject(g, "ann", "no"); d.Text = "5"; return d }, "ann rejected"},
	} {
		t.Run(name, func(t *testing.T) {
			env := wflotest.New(t, parking(tt.decide))
			var refusal *wflo.Refusal
			app := wantCode(t, env.Run(func(ctx workflow.Context) error {
				_, err := ask(ctx)
				if !errors.As(err, &refusal) || !errors.Is(err, wflo.ErrBudgetExceeded) {
					return fmt.Errorf("the cause is lost: %w", err)
				}
				return err
			}), wflo.CodeBudgetExceeded)
			var hint string
			var sent wflo.Refusal
			if err := app.Details(&hint, &sent); err != nil || hint == "" || sent.Budget != refusal.Budget || sent.Limit != smallBudget {
				t.Errorf("details %v: hint %q, %+v", err, hint, sent)
			}
			if !strings.Contains(app.Message(), tt.why) || !strings.Contains(app.Message(), "has no room") {
				t.Errorf("error %q; want the reason %q", app.Message(), tt.why)
			}
			if s := env.RunBudget(); len(env.Gates()) != 1 || len(env.Calls()) != 0 || s.Limit != smallBudget || s.Spent != 0 {
				t.Errorf("%d gates, %d calls, budget %+v", len(env.Gates()), len(env.Calls()), s)
			}
		})
	}
}

// TestNobodyTrustedMeansNoRaise: a gate that cannot be opened is no way around.
func TestNobodyTrustedMeansNoRaise(t *testing.T) {
	cfg := parking(nil)
	cfg.Plugin = noTrust
	env := wflotest.New(t, cfg)
	app := wantCode(t, env.Run(ask), wflo.CodeBudgetExceeded)
	if !strings.Contains(app.Message(), "trusts no approver key") || len(env.Calls()) != 0 {
		t.Errorf("error %v, %d calls", app, len(env.Calls()))
	}
}

// asks makes n calls at the same time and says how each ended.
func asks(ctx workflow.Context, n int) (failed []string, err error) {
	done := workflow.NewWaitGroup(ctx)
	for range n {
		done.Add(1)
		workflow.Go(ctx, func(ctx workflow.Context) {
			defer done.Done()
			if _, err := ask(ctx); err != nil {
				failed = append(failed, string(wflo.CodeOf(err)))
			}
		})
	}
	done.Wait(ctx)
	return failed, nil
}

func TestParallelCallsShareOneGate(t *testing.T) {
	for name, tt := range map[string]struct {
		decide func(wflo.Gate) wflo.Decision
		calls  int
	}{
		"approved": {func(g wflo.Gate) wflo.Decision { return wflotest.Respond(g, "ann", "5") }, 4},
		"rejected": {func(g wflo.Gate) wflo.Decision { return wflotest.Reject(g, "ann", "no") }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			env := wflotest.New(t, parking(tt.decide))
			if err := env.Run(asks, 4); err != nil {
				t.Fatal(err)
			}
			var failed []string
			env.Result(&failed)
			if len(env.Gates()) != 1 || len(env.Calls()) != tt.calls || len(failed) != 4-tt.calls {
				t.Errorf("%d gates, %d calls, failed %q", len(env.Gates()), len(env.Calls()), failed)
			}
		})
	}
}

// TestAnotherCallAsksWhenTheFirstWasCancelled: whoever opened the gate may give
// up without deciding for the others.
func TestAnotherCallAsksWhenTheFirstWasCancelled(t *testing.T) {
	opened := 0
	env := wflotest.New(t, parking(func(g wflo.Gate) wflo.Decision {
		if opened++; opened == 1 {
			return wflo.Decision{}
		}
		return wflotest.Approve(g, "ann")
	}))
	err := env.Run(func(ctx workflow.Context) error {
		var cancel workflow.CancelFunc
		var gaveUp, err error
		done := workflow.NewWaitGroup(ctx)
		done.Add(2)
		workflow.Go(ctx, func(ctx workflow.Context) {
			defer done.Done()
			ctx, cancel = workflow.WithCancel(ctx)
			_, gaveUp = ask(ctx)
		})
		workflow.Go(ctx, func(ctx workflow.Context) {
			defer done.Done()
			// The other call opens the gate.
			if err = workflow.Sleep(ctx, time.Second); err == nil {
				_, err = ask(ctx)
			}
		})
		if err := workflow.Sleep(ctx, time.Minute); err != nil {
			return err
		}
		cancel()
		done.Wait(ctx)
		if gaveUp == nil {
			return errors.New("the cancelled call succeeded")
		}
		return err
	})
	if err != nil || opened != 2 || len(env.Calls()) != 1 {
		t.Errorf("%v, %d gates, %d calls", err, opened, len(env.Calls()))
	}
}

func TestHaltEndsTheWait(t *testing.T) {
	env := wflotest.New(t, parking(func(wflo.Gate) wflo.Decision { return wflo.Decision{} }))
	env.RegisterDelayedCallback(func() {
		env.SignalWorkflow(wflo.SignalHalt, wflo.Halt{By: "ann", Reason: "enough"})
	}, time.Minute)
	wantCode(t, env.Run(ask), wflo.CodeHalted)
	if len(env.Calls()) != 0 {
		t.Error("a model was called")
	}
}

// TestParkedChildAgent waits in the child; its parent's budget is raised.
func TestParkedChildAgent(t *testing.T) {
	env := wflotest.New(t, parking(nil))
	in := task()
	in.System = strings.Repeat("Be brief. ", 1000)
	err := env.Run(func(ctx workflow.Context) (string, error) {
		a, err := workflows.Agent(ctx, in)
		return a.Text, err
	})
	if err != nil {
		t.Fatal(err)
	}
	if s := env.RunBudget(); s.Limit < 2*smallBudget || s.Spent == 0 || len(env.Gates()) != 1 {
		t.Errorf("budget %+v, gates %+v", s, env.Gates())
	}
}

// TestRaiseWaitsNoLongerThanTheWindow: a budget that starts again before anybody
// answered needs nobody.
func TestRaiseWaitsNoLongerThanTheWindow(t *testing.T) {
	asked := 0
	cfg := parking(func(g wflo.Gate) wflo.Decision {
		if asked++; asked < 3 {
			return wflo.Decision{}
		}
		return wflotest.Reject(g, "ann", "") // the database's clock does not turn with the environment's
	})
	cfg.Budget, cfg.OnExceeded, cfg.Team = 0, "", "books"
	strict := cfg.Plugin
	cfg.Plugin = func(c *plugin.Config) {
		strict(c)
		c.Budgets = []wflo.Budget{{Scope: wflo.ScopeTeam, Name: "books", Limit: smallBudget, Period: wflo.PeriodDaily, OnExceeded: wflo.ExceedAsk}}
	}
	env := wflotest.New(t, cfg)
	if err := env.Run(ask); err == nil {
		t.Fatal("the call fits")
	}
	gates := env.Gates()
	if len(gates) != 3 || gates[0].ID != "budget/team:books" || gates[0].Approval.Timeout > 24*time.Hour ||
		!strings.Contains(gates[0].Approval.Details, "starts again from zero at") {
		t.Errorf("gates %+v", gates)
	}
}
