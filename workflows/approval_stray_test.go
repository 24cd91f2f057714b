package workflows_test

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/plugin"
	"github.com/wflo-ai/wflo-go/policy"
	"github.com/wflo-ai/wflo-go/wflotest"
	"github.com/wflo-ai/wflo-go/workflows"
)

// TestStrayedCalls makes the slips that would go around an approval: the context from
// outside of the step, another step, and a local activity.
func TestStrayedCalls(t *testing.T) {
	other := bill{ID: "17", Amount: 5000}
	inStep := func(fn func(outer, inner workflow.Context) error) func(workflow.Context, wflo.Approval) error {
		return func(ctx workflow.Context, a wflo.Approval) error {
			_, err := workflows.Step(ctx, "pay", workflows.StepOptions{Approval: &a}, func(inner workflow.Context) (int, error) {
				return 0, fn(ctx, inner)
			})
			return err
		}
	}
	for name, act := range map[string]func(workflow.Context, wflo.Approval) error{
		"the outer context":                 inStep(func(outer, _ workflow.Context) error { return pay(outer, other) }),
		"the outer context, the same input": inStep(func(outer, _ workflow.Context) error { return pay(outer, theOrder) }),
		"as a local activity": inStep(func(outer, _ workflow.Context) error {
			outer = workflow.WithLocalActivityOptions(outer, workflow.LocalActivityOptions{ScheduleToCloseTimeout: time.Minute})
			return workflow.ExecuteLocalActivity(outer, "pay", other).Get(outer, nil)
		}),
		"another step": func(ctx workflow.Context, a wflo.Approval) error {
			_, err := workflows.Step(ctx, "ask", workflows.StepOptions{}, func(ctx workflow.Context) (int, error) {
				_, err := workflows.RequireApproval(ctx, a)
				return 0, err
			})
			if err != nil {
				return err
			}
			_, err = workflows.Step(ctx, "pay", workflows.StepOptions{}, func(ctx workflow.Context) (int, error) { return 0, pay(ctx, other) })
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			b, a := newTill(t), payment(t)
			b.after(time.Minute, approve("ann"))
			_, err := b.run(func(ctx workflow.Context) error { return act(ctx, a) })
			if wantCode(t, err, wflo.CodeConflict); err == nil || !strings.Contains(err.Error(), "outside of where the approval holds") || len(b.paid) != 0 {
				t.Errorf("%v, paid %v", err, b.paid)
			}
		})
	}
	t.Run("after its time", func(t *testing.T) {
		b, a := newTill(t), payment(t)
		b.after(time.Minute, approve("ann"))
		_, err := b.run(func(ctx workflow.Context) error {
			_, err := workflows.Step(ctx, "ask", workflows.StepOptions{Approval: &a}, func(workflow.Context) (int, error) { return 0, nil })
			return cmp.Or(err, workflow.Sleep(ctx, 2*time.Hour), pay(ctx, other))
		})
		if err != nil || len(b.paid) != 1 {
			t.Errorf("%v, paid %v", err, b.paid)
		}
	})
}

// TestUnusedApprovalIsOnRecord: a step that asked about one activity and called another,
// whose name was misspelt, says so.
func TestUnusedApprovalIsOnRecord(t *testing.T) {
	b, a := newTill(t), payment(t)
	b.after(time.Minute, approve("ann"))
	a.Activity = "Pay"
	_, err := b.run(func(ctx workflow.Context) error {
		_, err := workflows.Step(ctx, "misspelt", workflows.StepOptions{Approval: &a}, func(ctx workflow.Context) (int, error) { return 0, pay(ctx, theOrder) })
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	v, err := b.QueryWorkflow(wflo.QueryStatus)
	var s wflo.Status
	if err == nil {
		err = v.Get(&s)
	}
	if err != nil || len(s.Steps) != 1 || s.Steps[0].Unused != "Pay" {
		t.Errorf("steps %+v, %v", s.Steps, err)
	}
	b, a = newTill(t), payment(t)
	b.after(time.Minute, approve("ann"))
	if _, err := b.run(func(ctx workflow.Context) error {
		_, err := workflows.Step(ctx, "right", workflows.StepOptions{Approval: &a}, func(ctx workflow.Context) (int, error) { return 0, pay(ctx, theOrder) })
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if v, err = b.QueryWorkflow(wflo.QueryStatus); err == nil {
		s = wflo.Status{}
		err = v.Get(&s)
	}
	if err != nil || len(s.Steps) != 1 || s.Steps[0].Unused != "" {
		t.Errorf("steps %+v, %v", s.Steps, err)
	}
}

// TestRequiredActivities do not begin without an approval, whatever the workflow says:
// the worker refuses them, and writes it down.
func TestRequiredActivities(t *testing.T) {
	required := func(c *wflotest.Config) {
		rest := c.Plugin
		c.Plugin = func(p *plugin.Config) {
			rest(p)
			p.RequireApproval = []string{"test.Charge"}
		}
	}
	rules := policy.Rules{Risk: []policy.RiskRule{{Name: "low", When: "*", AutoApprove: true, Audit: wflo.SeverityInfo}}}
	asked := func(routed bool) func(workflow.Context) (int, error) {
		return func(ctx workflow.Context) (int, error) {
			a := wflo.Approval{Gate: "charge", Action: "Charge", Payload: json.RawMessage(`{"amount":5}`), Activity: "test.Charge", Routed: routed}
			return workflows.Step(ctx, "charge", workflows.StepOptions{Approval: &a}, func(ctx workflow.Context) (int, error) { return charge(ctx, order{Amount: 5}) })
		}
	}
	local := func(ctx workflow.Context) (int, error) {
		ctx = workflow.WithLocalActivityOptions(ctx, workflow.LocalActivityOptions{StartToCloseTimeout: time.Minute})
		return 0, workflow.ExecuteLocalActivity(ctx, "test.Charge", order{Amount: 5}).Get(ctx, nil)
	}
	undo := func(ctx workflow.Context) (int, error) {
		err := workflows.Compensate(ctx, workflows.Compensation{Name: "x", Activity: "test.Charge", Input: order{Amount: 5}, Attempts: 1})
		return 0, cmp.Or(err, errors.New("it fails"))
	}
	for name, tt := range map[string]struct {
		run func(workflow.Context) (int, error)
		ok  bool
	}{
		"as it is": {chargeOf(5), false}, "local": {local, false}, "undoing": {undo, false},
		"by a risk rule": {asked(true), false}, "approved": {asked(false), true},
	} {
		t.Run(name, func(t *testing.T) {
			g := under(t, rules, approvedBy("ben"), required)
			err := g.Run(tt.run)
			refused, auditErr := g.Records().ReadAudit(t.Context(), wflo.AuditQuery{Type: wflo.AuditGrantRefused})
			if auditErr != nil {
				t.Fatal(auditErr)
			}
			if tt.ok {
				if err != nil || len(g.charged) != 1 || len(refused) != 0 {
					t.Errorf("%v, charged %v, refused %d", err, g.amounts(), len(refused))
				}
				return
			}
			var use wflo.AuditUse
			if err == nil || !strings.Contains(err.Error(), "begins only with an approval") || len(g.charged) != 0 || len(refused) != 1 {
				t.Fatalf("%v, charged %v, refused %d", err, g.amounts(), len(refused))
			}
			if err := json.Unmarshal(refused[0].Data, &use); err != nil || use.Activity != "test.Charge" || use.Error == "" {
				t.Errorf("%+v, %v", use, err)
			}
		})
	}
}

// TestAutoApprovedIsBound: what a risk rule lets pass without asking anybody is the
// payload that it judged, once.
func TestAutoApprovedIsBound(t *testing.T) {
	rules := policy.Rules{Risk: []policy.RiskRule{{Name: "low", When: "*", AutoApprove: true, Audit: wflo.SeverityInfo}}}
	for name, tt := range map[string]struct {
		amounts []int
		code    wflo.Code
		paid    int
	}{
		"as judged": {[]int{5}, "", 1}, "another amount": {[]int{5000}, wflo.CodeConflict, 0}, "twice": {[]int{5, 5}, wflo.CodeApprovalExpired, 1},
	} {
		for _, where := range []string{"step", "run"} {
			t.Run(fmt.Sprint(name, " in the ", where), func(t *testing.T) {
				a := wflo.Approval{Gate: "refund", Action: "Refund", Payload: json.RawMessage(`{"amount":5}`), Activity: "test.Charge", Routed: true}
				g := under(t, rules, nil)
				err := g.Run(func(ctx workflow.Context) (int, error) {
					if where == "step" {
						return workflows.Step(ctx, "refund", workflows.StepOptions{Approval: &a}, chargeOf(tt.amounts...))
					}
					if _, err := workflows.RequireApproval(ctx, a); err != nil {
						return 0, err
					}
					return chargeOf(tt.amounts...)(ctx)
				})
				if tt.code != "" {
					wantCode(t, err, tt.code)
				} else if err != nil {
					t.Error(err)
				}
				if len(g.charged) != tt.paid {
					t.Errorf("charged %v", g.amounts())
				}
			})
		}
	}
}

// TestOneApprovalAndOnePolicyGateAreOneCall: where people approved the step and a policy
// asks about the call itself, the two approvals cover one call.
func TestOneApprovalAndOnePolicyGateAreOneCall(t *testing.T) {
	a := wflo.Approval{Gate: "refund", Action: "Refund", Payload: json.RawMessage(`{"amount":200}`), Activity: "test.Charge"}
	g := under(t, policy.Rules{Policies: []policy.Rule{{Name: "dear", When: dear, On: onActivities, Approval: needs("ben")}}}, approvedBy("ben"))
	wantCode(t, g.Run(func(ctx workflow.Context) (int, error) {
		return workflows.Step(ctx, "refund", workflows.StepOptions{Approval: &a}, chargeOf(200, 200))
	}), wflo.CodeApprovalExpired)
	if len(g.charged) != 1 || len(g.Gates()) != 2 {
		t.Errorf("charged %v after %d gates", g.amounts(), len(g.Gates()))
	}
}

// TestManyGates: however many gates have closed, the run answers what it is asked.
func TestManyGates(t *testing.T) {
	const gates = 60
	big, err := json.Marshal(map[string]string{"text": strings.Repeat("x", 20<<10)})
	if err != nil {
		t.Fatal(err)
	}
	env, _ := newEnv(t, wflotest.Config{Decide: func(g wflo.Gate) wflo.Decision {
		if g.ID == "last" {
			return wflo.Decision{}
		}
		d := g.Decide(wflo.VerdictEdit, "ann")
		d.Edit, d.Reason = json.RawMessage(strings.Replace(string(big), "xx", "yy", 1)), strings.Repeat("because ", 1000)
		return d
	}})
	env.RegisterDelayedCallback(func() {
		s := env.Status()
		if len(s.Gates) != 51 || s.Gates[0].ID != "page#11" || s.Gates[50].ID != "last" {
			t.Errorf("it shows %d gates, from %s to %s", len(s.Gates), s.Gates[0].ID, s.Gates[len(s.Gates)-1].ID)
		}
		if g := s.Gates[50]; string(g.Approval.Payload) != string(big) || g.Digest != g.ComputeDigest() {
			t.Error("the open gate does not show what it asks")
		}
		data, err := json.Marshal(s.Gates[:50])
		if err != nil || len(data) > 256<<10 {
			t.Errorf("the closed ones take %d bytes, %v", len(data), err)
		}
	}, 30*time.Minute)
	err = env.Run(func(ctx workflow.Context) error {
		for range gates {
			a := wflo.Approval{Gate: "page", Action: "Publish", Payload: big, Answers: editable}
			if _, err := workflows.RequireApproval(ctx, a); err != nil {
				return err
			}
		}
		_, err := workflows.RequireApproval(ctx, wflo.Approval{Gate: "last", Action: "Publish", Payload: big})
		return err
	})
	wantCode(t, err, wflo.CodeApprovalTimeout)
}

// TestNoncesOfOneCall: the gates of one model call are different ones, so that the index,
// the trail and the use of an approval keep them apart.
func TestNoncesOfOneCall(t *testing.T) {
	onModels := []wflo.FactsKind{wflo.FactsModel}
	g := under(t, policy.Rules{Policies: []policy.Rule{
		{Name: "m", When: "*", On: onModels, Approval: &wflo.Approval{Approvers: []string{"ben"}, Answers: editable}},
		{Name: "big", When: "args.max_tokens > 1000", On: onModels, Approval: needs("cat")},
	}}, func(g wflo.Gate) []wflo.Decision {
		if g.ID != "policy/m" {
			return []wflo.Decision{g.Decide(wflo.VerdictApprove, "cat")}
		}
		d := g.Decide(wflo.VerdictEdit, "ben")
		d.Edit = json.RawMessage(strings.Replace(string(g.Approval.Payload), `"max_tokens":100`, `"max_tokens":2000`, 1))
		return []wflo.Decision{d}
	})
	err := g.Run(func(ctx workflow.Context) (string, error) {
		reply, err := workflows.Ask(ctx, wflo.Prompt{Model: model, MaxTokens: 100, Messages: []wflo.Message{{Role: wflo.RoleUser, Text: "Hello"}}})
		return reply.Text, err
	})
	if err != nil {
		t.Fatal(err)
	}
	nonces := map[string]string{}
	for _, gate := range g.Gates() {
		nonces[gate.Nonce] = gate.ID
	}
	opened, err := g.Records().ReadAudit(t.Context(), wflo.AuditQuery{Type: wflo.AuditGateOpened})
	if err != nil || len(g.Gates()) != 2 || len(nonces) != 2 || len(opened) != 2 {
		t.Errorf("%d gates, nonces %v, %d on record, %v", len(g.Gates()), nonces, len(opened), err)
	}
}
