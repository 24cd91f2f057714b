package workflows_test

import (
	"cmp"
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/plugin"
	"github.com/wflo-ai/wflo-go/policy"
	"github.com/wflo-ai/wflo-go/workflows"
)

// startChild starts the workflow "child" and waits for it.
func startChild(ctx workflow.Context) error {
	return workflow.ExecuteChildWorkflow(ctx, "child").Get(ctx, nil)
}

// TestChildrenCountTheTimeOfTheirParents halts a child that takes a minute, because all
// of it has taken more than ten.
func TestChildrenCountTheTimeOfTheirParents(t *testing.T) {
	set, err := policy.New(policy.Rules{Default: wflo.EffectAllow, Policies: []policy.Rule{
		{Name: "long", When: tenMinutes + " and workflow.type == 'child'", On: onTime, Halt: &policy.Halt{Reason: "it takes too long"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	g := underSet(t, func(c *plugin.Config) { c.Policies = set }, nil)
	if err := g.Records().PutBundle(t.Context(), set.Hash(), set.Source()); err != nil {
		t.Fatal(err)
	}
	// The parent has gone on for nine and a half minutes when it continues here. The
	// environment has children start at the present time, whatever its own clock says.
	begun := time.Date(2021, 1, 1, 12, 0, 0, 0, time.UTC)
	g.SetStartTime(begun.Add(9*time.Minute + 30*time.Second))
	g.SetContinuedExecutionRunID("the-one-before")
	setRun(t, g.Env, wflo.Run{User: "ann", Bundle: set.Hash()}, map[string]any{
		"run_id": "the-one-before", "regime": map[string]any{"pin": set.Pin(), "started": begun},
	})
	var stopped time.Duration
	g.RegisterWorkflowWithOptions(func(ctx workflow.Context) error {
		err := workflow.Sleep(ctx, time.Minute)
		stopped = workflow.Now(ctx).Sub(begun)
		if err != nil {
			return err
		}
		_, err = charge(ctx, order{Amount: 5})
		return err
	}, workflow.RegisterOptions{Name: "child"})
	wantType(t, g.Run(startChild), wflo.CodePolicyDenied, "policy long halted")
	wantHaltedAt(t, stopped)
	if len(g.charged) != 0 {
		t.Errorf("charged %v", g.charged)
	}
}

// TestChildrenWaitWhileTheRunIsHeld: no child starts before people say that the run may
// go on, and the child does not ask them the same again.
func TestChildrenWaitWhileTheRunIsHeld(t *testing.T) {
	rules := policy.Rules{Policies: []policy.Rule{{Name: "long", When: tenMinutes, On: onTime, Approval: needs("ben")}}}
	for verdict, want := range map[wflo.Verdict]int{wflo.VerdictApprove: 1, wflo.VerdictReject: 0} {
		t.Run(string(verdict), func(t *testing.T) {
			g := under(t, rules, func(g wflo.Gate) []wflo.Decision {
				return []wflo.Decision{g.Decide(wflo.VerdictAck, "ben"), g.Decide(wflo.VerdictAck, "ben"), g.Decide(verdict, "ben")}
			})
			var begun []time.Duration
			start := time.Date(2031, 1, 1, 12, 0, 0, 0, time.UTC)
			g.SetStartTime(start)
			g.RegisterWorkflowWithOptions(func(ctx workflow.Context) error {
				begun = append(begun, workflow.Now(ctx).Sub(start))
				_, err := charge(ctx, order{Amount: 5})
				return err
			}, workflow.RegisterOptions{Name: "child"})
			err := g.Run(func(ctx workflow.Context) error {
				return cmp.Or(workflow.Sleep(ctx, 10*time.Minute+30*time.Second), startChild(ctx))
			})
			if (err == nil) != (want == 1) || len(begun) != want || len(g.charged) != want || len(g.Gates()) != 1 {
				t.Errorf("%v, children began at %v, charged %v, %d gates", err, begun, g.amounts(), len(g.Gates()))
			}
			if want == 1 && begun[0] < 12*time.Minute {
				t.Errorf("the child began at %s", begun[0])
			}
		})
	}
}

// TestStartersDoNotChooseTheTime: a run without a parent counts from its own start.
func TestStartersDoNotChooseTheTime(t *testing.T) {
	g := under(t, haltAfterTenMinutes(), nil)
	later := time.Date(2131, 1, 1, 0, 0, 0, 0, time.UTC)
	setHeader(t, g.Env, map[string]any{wflo.HeaderRun: wflo.Run{}, wflo.HeaderTime: map[string]any{"started": later, "passed": []string{"long"}}})
	var took time.Duration
	err := g.Run(func(ctx workflow.Context) error {
		defer func() { took = since(ctx) }()
		return workflow.Sleep(ctx, time.Hour)
	})
	wantType(t, err, wflo.CodePolicyDenied, "policy long halted")
	wantHaltedAt(t, took)
}

// TestTimePolicyAfterACancellation: a workflow that goes on after it was asked to stop is
// under the same policies.
func TestTimePolicyAfterACancellation(t *testing.T) {
	g := under(t, haltAfterTenMinutes(), nil)
	g.RegisterDelayedCallback(g.CancelWorkflow, time.Minute)
	var took time.Duration
	err := g.Run(func(ctx workflow.Context) error {
		defer func() { took = since(ctx) }()
		_ = workflow.Sleep(ctx, time.Hour)
		on, cancel := workflow.NewDisconnectedContext(ctx)
		defer cancel()
		for range 20 {
			if _, err := charge(on, order{Amount: 1}); err != nil {
				return err
			}
			if err := workflow.Sleep(on, time.Minute); err != nil {
				return err
			}
		}
		return nil
	})
	wantType(t, err, wflo.CodePolicyDenied, "policy long halted")
	if len(g.charged) < 9 || len(g.charged) > 10 || took > 12*time.Minute {
		t.Errorf("charged %v, took %s", g.amounts(), took)
	}
}

// TestPoliciesAreAskedAgainAfterALongWait: while people thought, another part of the run
// did what a policy does not allow together with this.
func TestPoliciesAreAskedAgainAfterALongWait(t *testing.T) {
	rules := policy.Rules{Policies: []policy.Rule{
		{Name: "dear", When: "kind == 'gate' or args.amount > 100", On: []wflo.FactsKind{wflo.FactsActivity, wflo.FactsGate, wflo.FactsStep}, Approval: needs("ben")},
		{Name: "late", When: "time.hour >= 13", On: []wflo.FactsKind{wflo.FactsActivity, wflo.FactsGate, wflo.FactsStep}, Halt: &policy.Halt{Reason: "the shop is closed"}},
	}}
	for name, run := range map[string]func(workflow.Context) (int, error){
		"a call": chargeOf(200),
		"a step": func(ctx workflow.Context) (int, error) {
			return workflows.Step(ctx, "pay", workflows.StepOptions{Args: order{Amount: 200}}, func(workflow.Context) (int, error) { return 1, nil })
		},
		"a gate": func(ctx workflow.Context) (int, error) {
			_, err := workflows.RequireApproval(ctx, wflo.Approval{Gate: "refund", Action: "Refund"})
			return 0, err
		},
	} {
		for after, halted := range map[time.Duration]bool{30 * time.Minute: true, time.Second: false} {
			t.Run(name+" after "+after.String(), func(t *testing.T) {
				g := under(t, rules, nobody)
				g.SetStartTime(time.Date(2031, 1, 1, 12, 45, 0, 0, time.UTC))
				g.RegisterDelayedCallback(func() {
					for _, gate := range g.Status().Gates {
						g.SignalWorkflow(wflo.SignalDecide, gate.Decide(wflo.VerdictApprove, "ben"))
					}
				}, after)
				err := g.Run(run)
				if !halted {
					if err != nil {
						t.Error(err)
					}
					return
				}
				wantType(t, err, wflo.CodePolicyDenied, "policy late halted")
				if len(g.charged) != 0 {
					t.Errorf("charged %v", g.charged)
				}
			})
		}
	}
}

// TestLongWaitsDoNotAskForEver: whom a policy names is asked once, however long that takes.
func TestLongWaitsDoNotAskForEver(t *testing.T) {
	g := under(t, policy.Rules{Default: wflo.EffectApproval, Policies: []policy.Rule{{Name: "dear", When: dear, On: onActivities, Approval: needs("ben")}}}, nobody)
	for i := range 5 {
		g.RegisterDelayedCallback(func() {
			for _, gate := range g.Status().Gates {
				if !gate.Closed() {
					g.SignalWorkflow(wflo.SignalDecide, gate.Decide(wflo.VerdictApprove, "ben"))
				}
			}
		}, time.Duration(i+1)*30*time.Minute)
	}
	if err := g.Run(chargeOf(5)); err != nil || len(g.charged) != 1 || len(g.Gates()) != 1 {
		t.Errorf("%v, charged %v after %d gates", err, g.amounts(), len(g.Gates()))
	}
}

// TestRoutedModelHasNoOther: a model that a policy chose does not fall back to models
// that it did not.
func TestRoutedModelHasNoOther(t *testing.T) {
	g := under(t, policy.Rules{Policies: []policy.Rule{
		{Name: "small", When: "model == 'gpt-5.4'", On: []wflo.FactsKind{wflo.FactsModel}, RouteModel: "gpt-5.4-mini"},
	}}, nil)
	var asked wflo.Prompt
	g.SetOnActivityStartedListener(func(info *activity.Info, _ context.Context, args converter.EncodedValues) {
		if info.ActivityType.Name == "wflo.llm.Chat" {
			if err := args.Get(&asked); err != nil {
				t.Error(err)
			}
		}
	})
	err := g.Run(func(ctx workflow.Context) error {
		_, err := workflows.Ask(ctx, wflo.Prompt{
			Model: "gpt-5.4", Fallback: []string{"gpt-5.4"}, MaxTokens: 100, Messages: []wflo.Message{{Role: wflo.RoleUser, Text: "Hello"}},
		})
		return err
	})
	if err != nil || asked.Model != "gpt-5.4-mini" || len(asked.Fallback) != 0 {
		t.Errorf("%v, asked %s and then %v", err, asked.Model, asked.Fallback)
	}
}

// TestAgentsHaveNoToolsOfTheRuntime: whoever starts an agent chooses its tools, and those
// of the runtime itself are judged by nobody.
func TestAgentsHaveNoToolsOfTheRuntime(t *testing.T) {
	for _, name := range []string{"wflo.budget.TopUp", "wflo.approval.Revoke", "wflo.policy.Judge", "wflo.llm.Chat"} {
		work := task()
		work.Activities = []wflo.ActivityTool{{Tool: wflo.Tool{Name: "t", Parameters: json.RawMessage(`{"type":"object"}`)}, Activity: name}}
		if err := work.Validate(); wflo.CodeOf(err) != wflo.CodeInvalid || !strings.Contains(err.Error(), "task.activities[0].activity") {
			t.Errorf("%s: %v", name, err)
		}
	}
	work := task()
	work.Activities = []wflo.ActivityTool{{Tool: wflo.Tool{Name: "t"}, Activity: "wflow.Mine"}}
	if err := work.Validate(); err != nil {
		t.Error(err)
	}
}
