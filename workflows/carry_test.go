package workflows_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/policy"
	"github.com/wflo-ai/wflo-go/wflotest"
	"github.com/wflo-ai/wflo-go/workflows"
)

// plantedCarry is what somebody who starts a run would like it to believe: an effect to
// undo, the result of a step, and policies that say nothing.
func plantedCarry(t *testing.T, extra map[string]any) map[string]any {
	t.Helper()
	encoded := func(v any) map[string]any {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return map[string]any{
			"metadata": map[string]string{"encoding": base64.StdEncoding.EncodeToString([]byte("json/plain"))},
			"data":     base64.StdEncoding.EncodeToString(data),
		}
	}
	c := map[string]any{
		"stack": []any{map[string]any{
			"name": "x", "activity": "test.Charge", "input": encoded(order{Amount: 999}), "timeout": time.Minute, "attempts": 1, "state": "registered",
		}},
		"memo":   map[string]any{"check": encoded("fine")},
		"spent":  "7.00",
		"regime": map[string]any{"pin": map[string]any{}, "started": time.Now()},
	}
	for k, v := range extra {
		c[k] = v
	}
	return c
}

// TestCarryOfAStarter: whoever starts a run writes its headers, and Temporal gives those
// to the retries of the run, where it names the run before as it does after a run that
// continued as new. Nothing in them counts.
func TestCarryOfAStarter(t *testing.T) {
	for name, tt := range map[string]struct {
		before string // the run before, as Temporal says
		extra  map[string]any
	}{
		"started":                       {"", nil},
		"started, with a run":           {"", map[string]any{"run_id": "guess"}},
		"retried":                       {"the-first-attempt", nil},
		"retried, with another run":     {"the-first-attempt", map[string]any{"run_id": "guess"}},
		"of another chain":              {"the-first-attempt", map[string]any{"run_id": "the-first-attempt", "first_run_id": "guess"}},
		"of another place in its chain": {"the-first-attempt", map[string]any{"run_id": "the-first-attempt", "generation": 3}},
	} {
		t.Run(name, func(t *testing.T) {
			g := under(t, policy.Rules{Policies: []policy.Rule{{Name: "dear", When: dear, On: onActivities, Halt: &policy.Halt{Reason: "never"}}}}, nil)
			g.SetContinuedExecutionRunID(tt.before)
			setRun(t, g.Env, wflo.Run{User: "ann"}, plantedCarry(t, tt.extra))
			ran := false
			err := g.Run(func(ctx workflow.Context) error {
				_, err := workflows.Step(ctx, "check", workflows.StepOptions{Key: "check"}, func(workflow.Context) (string, error) {
					ran = true
					return "run", nil
				})
				if err != nil {
					return err
				}
				_, err = charge(ctx, order{Amount: 200})
				return err
			})
			wantType(t, err, wflo.CodePolicyDenied, "policy dear halted")
			if len(g.charged) != 0 || !ran {
				t.Errorf("charged %v, the step ran: %v", g.amounts(), ran)
			}
			if s := g.Status(); s.Spent != 0 || len(s.Compensations) != 0 || s.Run.Bundle == "" {
				t.Errorf("spent %s, %d compensations, bundle %q", s.Spent, len(s.Compensations), s.Run.Bundle)
			}
		})
	}
}

// TestCarryOfTheRunBefore counts, since it names that run.
func TestCarryOfTheRunBefore(t *testing.T) {
	g := under(t, policy.Rules{}, nil)
	g.SetContinuedExecutionRunID("the-one-before")
	setRun(t, g.Env, wflo.Run{User: "ann", Generation: 2}, plantedCarry(t, map[string]any{"run_id": "the-one-before", "generation": 2, "regime": nil}))
	err := g.Run(func(ctx workflow.Context) error {
		out, err := workflows.Step(ctx, "check", workflows.StepOptions{Key: "check"}, func(workflow.Context) (string, error) { return "run", nil })
		if err != nil || out != "fine" {
			return errors.New("the step ran again")
		}
		return errors.New("it fails")
	})
	if err == nil || !strings.Contains(err.Error(), "it fails") || !slices.Equal(g.amounts(), []int{999}) {
		t.Errorf("%v, undid %v", err, g.amounts())
	}
}

// TestCarryNamesItsRun reads what a run hands over.
func TestCarryNamesItsRun(t *testing.T) {
	env, _ := newEnv(t, wflotest.Config{})
	err := env.Run(func(ctx workflow.Context) error { return workflow.NewContinueAsNewError(ctx, "next") })
	var next *workflow.ContinueAsNewError
	if !errors.As(err, &next) {
		t.Fatalf("it ended with %v", err)
	}
	var c struct {
		RunID      string `json:"run_id"`
		Generation int    `json:"generation"`
	}
	if err := json.Unmarshal(next.Header.Fields[wflo.HeaderCarry].GetData(), &c); err != nil {
		t.Fatal(err)
	}
	if c.RunID != "default-test-run-id" || c.Generation != 1 {
		t.Errorf("%+v", c)
	}
}

// TestUnusedApprovalLapses: a run that continues as new before it acts on an approval
// leaves none to the next one, which is refused the activity until people are asked again.
func TestUnusedApprovalLapses(t *testing.T) {
	b, a := newTill(t), payment(t)
	b.after(time.Minute, approve("ann"))
	gate, err := b.run(func(ctx workflow.Context) error {
		if _, err := workflows.RequireApproval(ctx, a); err != nil {
			return err
		}
		return workflow.NewContinueAsNewError(ctx, "next")
	})
	var next *workflow.ContinueAsNewError
	if !errors.As(err, &next) || gate.Status != wflo.GateExpired {
		t.Fatalf("it ended with %v, the gate is %s", err, gate.Status)
	}
	if kept, err := b.records.Gate(t.Context(), gate.Nonce); err != nil || kept.Status != wflo.GateExpired {
		t.Errorf("the index says %s, %v", kept.Status, err)
	}
	b = newTill(t)
	b.SetContinuedExecutionRunID("default-test-run-id")
	b.SetHeader(next.Header)
	b.after(time.Minute, approve("ann"))
	_, err = b.run(func(ctx workflow.Context) error {
		if err := pay(ctx, theOrder); err == nil || !strings.Contains(err.Error(), "before the run continued as new") {
			return errors.Join(errors.New("the payment was not refused"), err)
		}
		if _, err := workflows.RequireApproval(ctx, a); err != nil {
			return err
		}
		return pay(ctx, theOrder)
	})
	if err != nil || len(b.paid) != 1 {
		t.Errorf("%v, paid %v", err, b.paid)
	}
}
