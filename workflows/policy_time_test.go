package workflows_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/plugin"
	"github.com/wflo-ai/wflo-go/policy"
	"github.com/wflo-ai/wflo-go/wflotest"
	"github.com/wflo-ai/wflo-go/wflotest/scripted"
	"github.com/wflo-ai/wflo-go/workflows"
)

var onTime = []wflo.FactsKind{wflo.FactsTime}

const tenMinutes = "execution_time > 600"

func haltAfterTenMinutes() policy.Rules {
	return policy.Rules{Policies: []policy.Rule{{Name: "long", When: tenMinutes, On: onTime, Halt: &policy.Halt{Reason: "it takes too long"}}}}
}

// since is how long the run in ctx has gone on.
func since(ctx workflow.Context) time.Duration {
	return workflow.Now(ctx).Sub(workflow.GetInfo(ctx).WorkflowStartTime)
}

// wantHaltedAt fails unless the run ended at ten minutes of its own clock.
func wantHaltedAt(t *testing.T, took time.Duration) {
	t.Helper()
	if took < 10*time.Minute || took > 10*time.Minute+time.Second {
		t.Errorf("it went on for %s", took)
	}
}

// TestTimePolicyFiresWhileAGateWaits ends a run at a gate that would wait for days.
func TestTimePolicyFiresWhileAGateWaits(t *testing.T) {
	g := under(t, haltAfterTenMinutes(), nobody)
	var took time.Duration
	err := g.Run(func(ctx workflow.Context) error {
		_, err := workflows.RequireApproval(ctx, wflo.Approval{Gate: "slow", Action: "Wait", Timeout: 48 * time.Hour})
		took = since(ctx)
		return err
	})
	wantType(t, err, wflo.CodePolicyDenied, "policy long halted")
	wantHaltedAt(t, took)
}

// TestTimePolicyFiresWhileTheRunSleeps does the same without any gate or call, and
// undoes what was done.
func TestTimePolicyFiresWhileTheRunSleeps(t *testing.T) {
	g := under(t, haltAfterTenMinutes(), nil)
	var took time.Duration
	err := g.Run(func(ctx workflow.Context) error {
		if err := workflows.Compensate(ctx, workflows.Compensation{Name: "stock", Activity: "test.Do", Input: "undo"}); err != nil {
			return err
		}
		err := workflow.Sleep(ctx, 5*time.Hour)
		took = since(ctx)
		return err
	})
	wantType(t, err, wflo.CodePolicyDenied, "policy long halted")
	wantHaltedAt(t, took)
	if !slices.Equal(g.lines, []string{"undo"}) {
		t.Errorf("did %v", g.lines)
	}
}

// TestTimePolicyDoesNotOutliveTheRun ends before its moment: nothing is asked.
func TestTimePolicyDoesNotOutliveTheRun(t *testing.T) {
	g := under(t, haltAfterTenMinutes(), nil)
	err := g.Run(func(ctx workflow.Context) error { return workflow.Sleep(ctx, 9*time.Minute) })
	if err != nil || len(g.ruled()) != 0 {
		t.Errorf("%v, rulings %+v", err, g.ruled())
	}
}

// TestTimePolicyHolds asks whether to go on: no call begins until somebody says so,
// and one that is rejected halts the run.
func TestTimePolicyHolds(t *testing.T) {
	rules := policy.Rules{Policies: []policy.Rule{{Name: "long", When: tenMinutes, Approval: needs("ben")}}}
	late := func(verdict wflo.Verdict) people {
		return func(g wflo.Gate) []wflo.Decision {
			d := g.Decide(verdict, "ben")
			return []wflo.Decision{g.Decide(wflo.VerdictApprove, "nobody who may"), g.Decide(wflo.VerdictAck, "ben"), d}
		}
	}
	work := func(ctx workflow.Context) (time.Duration, error) {
		if _, err := do(ctx, "early"); err != nil {
			return 0, err
		}
		if err := workflow.Sleep(ctx, 10*time.Minute+30*time.Second); err != nil {
			return 0, err
		}
		_, err := do(ctx, "late")
		return since(ctx), err
	}
	g := under(t, rules, late(wflo.VerdictApprove))
	if err := g.Run(work); err != nil {
		t.Fatal(err)
	}
	var at time.Duration
	if g.Result(&at); at < 12*time.Minute || len(g.Gates()) != 1 || g.Gates()[0].ID != "policy/long" {
		t.Errorf("the call was made at %s, after %d gates", at, len(g.Gates()))
	}
	g = under(t, rules, late(wflo.VerdictReject))
	wantType(t, g.Run(work), wflo.CodePolicyDenied, "policy long halted")
	if !slices.Equal(g.lines, []string{"early"}) {
		t.Errorf("did %v", g.lines)
	}
}

// TestTimePoliciesComeWhilePeopleThink halts at the second moment while the gate of
// the first is open.
func TestTimePoliciesComeWhilePeopleThink(t *testing.T) {
	g := under(t, policy.Rules{Policies: []policy.Rule{
		{Name: "long", When: "execution_time > 300", On: onTime, Approval: &wflo.Approval{Approvers: []string{"ben"}, Timeout: 24 * time.Hour}},
		{Name: "longer", When: tenMinutes, On: onTime, Halt: &policy.Halt{Reason: "enough"}},
	}}, nobody)
	var took time.Duration
	err := g.Run(func(ctx workflow.Context) error {
		defer func() { took = since(ctx) }()
		return workflow.Sleep(ctx, 40*time.Hour)
	})
	wantType(t, err, wflo.CodePolicyDenied, "policy longer halted")
	wantHaltedAt(t, took)
}

// TestDefaultIsNotAboutTime has a default that asks about everything: the passing of
// time alone asks nobody.
func TestDefaultIsNotAboutTime(t *testing.T) {
	g := under(t, policy.Rules{Default: wflo.EffectHalt, Policies: []policy.Rule{
		{Name: "dear and long", When: tenMinutes + " and cost > 100", On: onTime, Halt: &policy.Halt{Reason: "enough"}},
	}}, nil)
	if err := g.Run(func(ctx workflow.Context) error { return workflow.Sleep(ctx, time.Hour) }); err != nil {
		t.Error(err)
	}
}

// TestParallelCallsDoNotWaitForEachOther makes three calls, of which one waits at a
// gate: the others are done long before.
func TestParallelCallsDoNotWaitForEachOther(t *testing.T) {
	g := under(t, policy.Rules{Policies: []policy.Rule{{Name: "dear", When: dear, On: onActivities, Approval: needs("ben")}}},
		func(g wflo.Gate) []wflo.Decision {
			return []wflo.Decision{g.Decide(wflo.VerdictAck, "ben"), g.Decide(wflo.VerdictApprove, "ben")} // a minute later
		})
	err := g.Run(func(ctx workflow.Context) ([]int, error) {
		ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Minute})
		var got []int
		s := workflow.NewSelector(ctx)
		for _, n := range []int{200, 1, 2} {
			s.AddFuture(workflow.ExecuteActivity(ctx, "test.Charge", order{Amount: n}), func(f workflow.Future) {
				var out int
				if f.Get(ctx, &out) == nil {
					got = append(got, out)
				}
			})
		}
		for range 3 {
			s.Select(ctx)
		}
		return got, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []int
	if g.Result(&got); len(got) != 3 || got[2] != 200 {
		t.Errorf("ended in the order %v", got)
	}
}

// TestPoliciesDoNotHoldUpUndoing runs a compensation that every policy forbids.
func TestPoliciesDoNotHoldUpUndoing(t *testing.T) {
	g := under(t, policy.Rules{Policies: []policy.Rule{
		{Name: "no undo", When: "args['0'] == 'undo'", On: onActivities, Halt: &policy.Halt{Reason: "not that"}},
	}}, nil)
	err := g.Run(func(ctx workflow.Context) error {
		if err := workflows.Compensate(ctx, workflows.Compensation{Name: "stock", Activity: "test.Do", Input: "undo"}); err != nil {
			return err
		}
		return errors.New("it failed")
	})
	if err == nil || !strings.Contains(err.Error(), "it failed") || !slices.Equal(g.lines, []string{"undo"}) {
		t.Errorf("did %v, %v", g.lines, err)
	}
	if r := g.ruled(); len(r) != 1 {
		t.Errorf("rulings %+v", r)
	}
}

// TestPolicyGovernsLocalActivities judges them as the others.
func TestPolicyGovernsLocalActivities(t *testing.T) {
	g := under(t, policy.Rules{Policies: []policy.Rule{
		{Name: "dear", When: dear, On: onActivities, Approval: needs("ben")},
		{Name: "too dear", When: "args.amount > 1000", On: onActivities, Halt: &policy.Halt{Reason: "never"}},
	}}, approvedBy("ben"))
	local := func(ctx workflow.Context, amount int) error {
		ctx = workflow.WithLocalActivityOptions(ctx, workflow.LocalActivityOptions{StartToCloseTimeout: time.Minute})
		return workflow.ExecuteLocalActivity(ctx, "test.Charge", order{Amount: amount}).Get(ctx, nil)
	}
	err := g.Run(func(ctx workflow.Context) error {
		for _, n := range []int{1, 200, 2000} {
			if err := local(ctx, n); err != nil {
				return err
			}
		}
		return nil
	})
	wantType(t, err, wflo.CodePolicyDenied, "never")
	if !slices.Equal(g.amounts(), []int{1, 200}) || len(g.Gates()) != 1 {
		t.Errorf("charged %v after %d gates", g.amounts(), len(g.Gates()))
	}
}

// TestChildrenInheritPolicies has a child judged by its parent's bundle.
func TestChildrenInheritPolicies(t *testing.T) {
	g := under(t, policy.Rules{Policies: []policy.Rule{{Name: "dear", When: dear, On: onActivities, Halt: &policy.Halt{Reason: "never"}}}}, nil)
	var bundle string
	g.RegisterActivityWithOptions(func(ctx context.Context, _ order) error {
		run, _ := wflo.RunFrom(ctx)
		bundle = run.Bundle
		return nil
	}, activity.RegisterOptions{Name: "test.Bundle"})
	child := func(ctx workflow.Context) error {
		ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Minute})
		if err := workflow.ExecuteActivity(ctx, "test.Bundle", order{}).Get(ctx, nil); err != nil {
			return err
		}
		_, err := charge(ctx, order{Amount: 200})
		return err
	}
	g.RegisterWorkflowWithOptions(child, workflow.RegisterOptions{Name: "child"})
	err := g.Run(func(ctx workflow.Context) error {
		return workflow.ExecuteChildWorkflow(ctx, "child").Get(ctx, nil)
	})
	wantType(t, err, wflo.CodePolicyDenied, "policy dear halted")
	if own := g.Status().Run.Bundle; own == "" || bundle != own {
		t.Errorf("the child's bundle is %q, the parent's %q", bundle, own)
	}
}

// TestStartersDoNotChoosePolicies gives a run a bundle by its header, as a client
// could: the worker's policies count.
func TestStartersDoNotChoosePolicies(t *testing.T) {
	lax, err := policy.New(policy.Rules{Default: wflo.EffectAllow})
	if err != nil {
		t.Fatal(err)
	}
	g := under(t, policy.Rules{Policies: []policy.Rule{{Name: "dear", When: dear, Halt: &policy.Halt{Reason: "never"}}}}, nil)
	if err := g.Records().PutBundle(t.Context(), lax.Hash(), lax.Source()); err != nil {
		t.Fatal(err)
	}
	setRun(t, g.Env, wflo.Run{User: "ann", Bundle: lax.Hash()}, map[string]any{"regime": map[string]any{"pin": lax.Pin(), "started": time.Now()}})
	wantType(t, g.Run(chargeOf(200)), wflo.CodePolicyDenied, "policy dear halted")
}

// TestAgentsAreHalted ends an agent whose tool a policy forbids, instead of letting
// it try another way.
func TestAgentsAreHalted(t *testing.T) {
	g := under(t, policy.Rules{Policies: []policy.Rule{
		{Name: "dear", When: "tool == 'charge' and args.amount > 100", On: onActivities, Halt: &policy.Halt{Reason: "never"}},
	}}, nil, func(c *wflotest.Config) { c.Script = chargeTwice })
	err := g.Run(wflo.WorkflowAgent, wflo.Task{
		Name: "clerk", Model: "gpt-5.4-mini", Prompt: "Charge it.",
		Activities: []wflo.ActivityTool{{Tool: wflo.Tool{Name: "charge", Parameters: json.RawMessage(`{"type":"object"}`)}, Activity: "test.Charge"}},
	})
	wantType(t, err, wflo.CodePolicyDenied, "policy dear halted")
	if !slices.Equal(g.amounts(), []int{5}) {
		t.Errorf("charged %v", g.amounts())
	}
}

// TestContinuedRunsKeepTheirPolicies begins a run that continues another one, on a
// worker without policies: it has the bundle, how long the chain has gone on, and
// what was approved for it.
func TestContinuedRunsKeepTheirPolicies(t *testing.T) {
	set, err := policy.New(policy.Rules{Default: wflo.EffectAllow, Policies: []policy.Rule{
		{Name: "dear", When: dear, On: onActivities, Per: wflo.ReachRun, Approval: needs("ben")},
		{Name: "long", When: tenMinutes, On: onTime, Halt: &policy.Halt{Reason: "enough"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	g := underSet(t, func(*plugin.Config) {}, nil)
	if err := g.Records().PutBundle(t.Context(), set.Hash(), set.Source()); err != nil {
		t.Fatal(err)
	}
	begun := time.Date(2031, 1, 1, 12, 0, 0, 0, time.UTC)
	g.SetStartTime(begun.Add(9 * time.Minute))
	g.SetContinuedExecutionRunID("the-one-before")
	setRun(t, g.Env, wflo.Run{User: "ann", Bundle: set.Hash()}, map[string]any{
		"run_id": "the-one-before",
		"regime": map[string]any{"pin": set.Pin(), "started": begun, "approved": []string{"dear"}},
	})
	var took time.Duration
	err = g.Run(func(ctx workflow.Context) error {
		if _, err := charge(ctx, order{Amount: 200}); err != nil {
			return err
		}
		err := workflow.Sleep(ctx, time.Hour)
		took = since(ctx)
		return err
	})
	wantType(t, err, wflo.CodePolicyDenied, "policy long halted")
	if took < time.Minute || took > 61*time.Second || !slices.Equal(g.amounts(), []int{200}) {
		t.Errorf("it went on for %s and charged %v", took, g.amounts())
	}
}

// TestMomentsThatPassedComeFirst continues a run after its moment, before which its
// gate was not decided: no call begins before that is.
func TestMomentsThatPassedComeFirst(t *testing.T) {
	set, err := policy.New(policy.Rules{Default: wflo.EffectAllow, Policies: []policy.Rule{
		{Name: "long", When: tenMinutes, On: onTime, Halt: &policy.Halt{Reason: "enough"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	g := underSet(t, func(c *plugin.Config) { c.Policies = set }, nil)
	begun := time.Date(2031, 1, 1, 12, 0, 0, 0, time.UTC)
	g.SetStartTime(begun.Add(11 * time.Minute))
	g.SetContinuedExecutionRunID("the-one-before")
	if err := g.Records().PutBundle(t.Context(), set.Hash(), set.Source()); err != nil {
		t.Fatal(err)
	}
	setRun(t, g.Env, wflo.Run{Bundle: set.Hash()}, map[string]any{"run_id": "the-one-before", "regime": map[string]any{"pin": set.Pin(), "started": begun}})
	wantType(t, g.Run(chargeOf(1)), wflo.CodePolicyDenied, "policy long halted")
	if len(g.charged) != 0 {
		t.Errorf("charged %v", g.charged)
	}
}

// setRun gives the run its headers: who it is for, and what the run before it left.
func setRun(t *testing.T, env *wflotest.Env, r wflo.Run, carried map[string]any) {
	t.Helper()
	setHeader(t, env, map[string]any{wflo.HeaderRun: r, wflo.HeaderCarry: carried})
}

func setHeader(t *testing.T, env *wflotest.Env, values map[string]any) {
	t.Helper()
	fields := map[string]*commonpb.Payload{}
	for name, v := range values {
		p, err := converter.GetDefaultDataConverter().ToPayload(v)
		if err != nil {
			t.Fatal(err)
		}
		fields[name] = p
	}
	env.SetHeader(&commonpb.Header{Fields: fields})
}

// chargeTwice is an agent that charges a little, then much, then tries to end well.
func chargeTwice(turn scripted.Turn) scripted.Answer {
	if _, _, ok := scripted.LastToolResult(turn, "charge"); !ok {
		return scripted.CallTool("c1", "charge", map[string]int{"amount": 5})
	}
	return scripted.CallTool("c2", "charge", map[string]int{"amount": 500})
}
