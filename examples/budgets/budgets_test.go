package budgets_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/examples/budgets"
	"github.com/wflo-ai/wflo-go/plugin"
	"github.com/wflo-ai/wflo-go/wflotest"
	"github.com/wflo-ai/wflo-go/wflotest/scripted"
)

// desk is a worker with the declared budgets, and a model that answers questions
// that begin with "long" at more length than a section pays for.
func desk(t *testing.T, cfg wflotest.Config) *wflotest.Env {
	cfg.Plugin = func(c *plugin.Config) { c.Budgets = budgets.Declared() }
	cfg.Script = func(turn scripted.Turn) scripted.Answer {
		switch text := scripted.UserText(turn); {
		case strings.HasPrefix(turn.System, "Correct"):
			return scripted.Answer{Text: "better: " + text}
		case strings.HasPrefix(text, "long"):
			return scripted.Answer{Text: strings.Repeat("word ", 2000)}
		default:
			return scripted.Answer{Text: "short"}
		}
	}
	return wflotest.New(t, cfg)
}

func write(t *testing.T, env *wflotest.Env, questions ...string) budgets.Report {
	t.Helper()
	if err := env.Run(budgets.Write, questions); err != nil {
		t.Fatal(err)
	}
	var report budgets.Report
	env.Result(&report)
	return report
}

func TestSectionGoesWithoutReview(t *testing.T) {
	env := desk(t, wflotest.Config{User: "ann", Team: budgets.Team})
	report := write(t, env, "how much?", "long story?")
	if len(report.Sections) != 2 || report.Refusal != nil {
		t.Fatalf("report %+v", report)
	}
	if s := report.Sections[0]; s.Text != "better: short" || !s.Reviewed || s.Cut {
		t.Errorf("section %+v", s)
	}
	if s := report.Sections[1]; s.Reviewed || !s.Cut || s.Text == "" {
		t.Errorf("section %+v", s)
	}
	spent, each := env.Spent(), env.Budget("user:ann")
	if spent == 0 || env.Budget("team:desk").Spent != spent || each.Spent != spent || each.Limit != wflo.USD || len(env.Calls()) != 3 {
		t.Errorf("%d calls for %s; the user's budget is %+v", len(env.Calls()), spent, each)
	}
	id := string(wflo.ScopeStep) + ":" + env.Status().Run.ID() + "/section/1"
	if own := env.Budget(id); own.Limit != budgets.SectionLimit || own.Spent > own.Limit || own.Spent == 0 {
		t.Errorf("budget of the section: %+v", own)
	}
}

// long are questions that cost more than the team's budget.
var long = []string{"long 1", "long 2", "long 3", "long 4", "long 5"}

func TestTeamIsToppedUp(t *testing.T) {
	env := desk(t, wflotest.Config{User: "ann", Team: budgets.Team})
	report := write(t, env, long...)
	team := env.Budget("team:desk")
	if len(report.Sections) != len(long) || report.Refusal != nil || team.ToppedUp != 2*wflo.Cent || team.Limit != 4*wflo.Cent {
		t.Errorf("%d sections, refusal %v, budget %+v", len(report.Sections), report.Refusal, team)
	}
	if team.Spent != env.Spent() || team.Spent <= 2*wflo.Cent || team.Spent > team.Limit || team.Reserved != 0 {
		t.Errorf("spent %s, budget %+v", env.Spent(), team)
	}
	if gates := env.Gates(); len(gates) != 1 || gates[0].Approval.Gate != "budget/team:desk" {
		t.Errorf("gates %+v", gates)
	}
}

func TestAmountOfAnApprover(t *testing.T) {
	env := desk(t, wflotest.Config{Team: budgets.Team, Decide: func(g wflo.Gate) wflo.Decision { return wflotest.Respond(g, "finance", "0.50") }})
	report := write(t, env, long...)
	if team := env.Budget("team:desk"); len(report.Sections) != len(long) || team.ToppedUp != 50*wflo.Cent {
		t.Errorf("%d sections, budget %+v", len(report.Sections), team)
	}
}

func TestRejectedTopUpKeepsWhatIsPaid(t *testing.T) {
	env := desk(t, wflotest.Config{Team: budgets.Team, Decide: func(g wflo.Gate) wflo.Decision { return wflotest.Reject(g, "finance", "not this month") }})
	report := write(t, env, long...)
	team := env.Budget("team:desk")
	if r := report.Refusal; r == nil || r.Budget != "team:desk" || r.Limit != 2*wflo.Cent || r.Spent != team.Spent {
		t.Fatalf("refusal %+v, budget %+v", r, team)
	}
	if n := len(report.Sections); n == 0 || n == len(long) || team.Spent > team.Limit || team.ToppedUp != 0 {
		t.Errorf("%d sections, budget %+v", n, team)
	}
}

func TestExperimentsEndAtTheirBudget(t *testing.T) {
	env := desk(t, wflotest.Config{Tags: map[string]string{"kind": "experiment"}})
	report := write(t, env, slices.Concat(long, long, long)...)
	spent := env.Budget("tag:kind=experiment")
	if r := report.Refusal; r == nil || r.Budget != "tag:kind=experiment" || r.OnExceeded != wflo.ExceedHalt || env.Gates() != nil {
		t.Errorf("refusal %+v, gates %v", r, env.Gates())
	}
	if len(report.Sections) == 0 || spent.Spent != env.Spent() || spent.Spent > 5*wflo.Cent {
		t.Errorf("%d sections, budget %+v", len(report.Sections), spent)
	}
}

// TestLetters runs what the plugin starts for an alert, with a post office that
// is closed at first.
func TestLetters(t *testing.T) {
	alert := wflo.BudgetAlert{
		ID: "a1", Kind: wflo.AlertThreshold, Budget: "team:desk", Percent: 90, Limit: 2 * wflo.Cent, Spent: 19 * wflo.Cent / 10,
		OnExceeded: wflo.ExceedAsk, WindowEnd: time.Date(2026, 11, 30, 23, 0, 0, 0, time.UTC),
	}
	const until = " (until 30 November 23:00 UTC)"
	for name, c := range map[string]struct {
		kind wflo.AlertKind
		on   wflo.OnExceeded
		want budgets.Letter
	}{
		"threshold":  {wflo.AlertThreshold, wflo.ExceedAsk, budgets.Letter{ID: "a1", To: "desk", Text: "team:desk is at 90 %: $0.019 of $0.02" + until}},
		"waits":      {wflo.AlertExceeded, wflo.ExceedAsk, budgets.Letter{ID: "a1", To: "finance", Text: "team:desk has no room, with $0.019 of $0.02 spent; the run waits for approval: wflo approvals" + until}},
		"goes on":    {wflo.AlertExceeded, wflo.ExceedAlert, budgets.Letter{ID: "a1", To: "finance", Text: "team:desk has no room, with $0.019 of $0.02 spent; the call was made all the same" + until}},
		"is refused": {wflo.AlertExceeded, wflo.ExceedHalt, budgets.Letter{ID: "a1", To: "finance", Text: "team:desk has no room, with $0.019 of $0.02 spent; the call was refused" + until}},
	} {
		t.Run(name, func(t *testing.T) {
			var sent []budgets.Letter
			tries := 0
			post := &budgets.Post{Send: func(_ context.Context, l budgets.Letter) error {
				if tries++; tries < 3 {
					return errors.New("closed")
				}
				sent = append(sent, l)
				return nil
			}}
			env := wflotest.New(t, wflotest.Config{Plugin: func(c *plugin.Config) {
				c.OnBudgetAlert = []func(context.Context, wflo.BudgetAlert) error{post.Threshold}
				c.OnBudgetExceeded = []func(context.Context, wflo.BudgetAlert) error{post.Exceeded}
			}})
			alert.Kind, alert.OnExceeded = c.kind, c.on
			if err := env.Run(wflo.WorkflowBudgetAlert, alert); err != nil {
				t.Fatal(err)
			}
			if fmt.Sprint(sent) != fmt.Sprint([]budgets.Letter{c.want}) || tries != 3 {
				t.Errorf("after %d tries %+v, want %+v", tries, sent, c.want)
			}
		})
	}
}
