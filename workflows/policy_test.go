package workflows_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/plugin"
	"github.com/wflo-ai/wflo-go/policy"
	"github.com/wflo-ai/wflo-go/sandbox"
	"github.com/wflo-ai/wflo-go/wflotest"
	"github.com/wflo-ai/wflo-go/workflows"
)

// order is what test.Charge gets.
type order struct {
	Amount int    `json:"amount"`
	Note   string `json:"note,omitempty"`
}

// governed is an environment under policies, with the activities test.Do and
// test.Charge, and what they did.
type governed struct {
	*wflotest.Env
	*journal
	t       *testing.T
	charged []order
}

// people answer a gate, one after the other, a minute apart.
type people func(g wflo.Gate) []wflo.Decision

func approvedBy(names ...string) people {
	return func(g wflo.Gate) []wflo.Decision {
		var all []wflo.Decision
		for _, name := range names {
			all = append(all, g.Decide(wflo.VerdictApprove, name))
		}
		return all
	}
}

func nobody(wflo.Gate) []wflo.Decision { return nil }

// under makes an environment whose policies are rules. A rule set without a default
// allows. who may be nil where nobody is to be asked.
func under(t *testing.T, rules policy.Rules, who people, change ...func(*wflotest.Config)) *governed {
	t.Helper()
	if rules.Default == "" {
		rules.Default = wflo.EffectAllow
	}
	set, err := policy.New(rules)
	if err != nil {
		t.Fatal(err)
	}
	return underSet(t, func(c *plugin.Config) { c.Policies = set }, who, change...)
}

func underSet(t *testing.T, set func(*plugin.Config), who people, change ...func(*wflotest.Config)) *governed {
	t.Helper()
	g := &governed{t: t}
	cfg := wflotest.Config{User: "ann", Plugin: set, Decide: func(gate wflo.Gate) wflo.Decision {
		if who == nil {
			t.Errorf("gate %s opened: %s", gate.ID, gate.Approval.Action)
			return gate.Decide(wflo.VerdictReject, "nobody")
		}
		for i, d := range who(gate) {
			g.RegisterDelayedCallback(func() {
				if err := g.SignalWorkflowByID(gate.WorkflowID, wflo.SignalDecide, d); err != nil {
					t.Errorf("decide: %v", err)
				}
			}, time.Duration(i)*time.Minute+time.Millisecond)
		}
		return wflo.Decision{}
	}}
	for _, c := range change {
		c(&cfg)
	}
	g.Env, g.journal = newEnv(t, cfg)
	g.RegisterActivityWithOptions(func(_ context.Context, o order) (int, error) {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.charged = append(g.charged, o)
		return o.Amount, nil
	}, activity.RegisterOptions{Name: "test.Charge"})
	return g
}

// ruled are the rulings on record, by what the trail has.
func (g *governed) ruled() []wflo.Ruling {
	g.t.Helper()
	records, err := g.Records().ReadAudit(context.Background(), wflo.AuditQuery{Type: wflo.AuditPolicyRuled})
	if err != nil {
		g.t.Fatal(err)
	}
	var all []wflo.Ruling
	for _, r := range records {
		var ruling wflo.Ruling
		if err := json.Unmarshal(r.Data, &ruling); err != nil {
			g.t.Fatal(err)
		}
		all = append(all, ruling)
	}
	return all
}

func charge(ctx workflow.Context, o order) (int, error) {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Minute})
	var out int
	err := workflow.ExecuteActivity(ctx, "test.Charge", o).Get(ctx, &out)
	return out, err
}

func chargeOf(amounts ...int) func(workflow.Context) (int, error) {
	return func(ctx workflow.Context) (int, error) {
		sum := 0
		for _, n := range amounts {
			got, err := charge(ctx, order{Amount: n})
			if err != nil {
				return sum, err
			}
			sum += got
		}
		return sum, nil
	}
}

func (g *governed) amounts() []int {
	var all []int
	for _, o := range g.charged {
		all = append(all, o.Amount)
	}
	return all
}

func needs(names ...string) *wflo.Approval { return &wflo.Approval{Approvers: names} }

var onActivities = []wflo.FactsKind{wflo.FactsActivity}

const dear = "args.amount > 100"

// wantType fails unless err is an application error of the code that names what.
func wantType(t *testing.T, err error, code wflo.Code, what string) {
	t.Helper()
	var app *temporal.ApplicationError
	if !errors.As(err, &app) || app.Type() != string(code) || !strings.Contains(err.Error(), what) {
		t.Errorf("error %v; want %s that names %q", err, code, what)
	}
}

func TestPolicyAllows(t *testing.T) {
	g := under(t, policy.Rules{Policies: []policy.Rule{{Name: "dear", When: dear, On: onActivities, Approval: needs("ben")}}}, nil)
	if err := g.Run(chargeOf(5, 100)); err != nil {
		t.Fatal(err)
	}
	var sum int
	g.Result(&sum)
	if sum != 105 || len(g.ruled()) != 0 {
		t.Errorf("sum %d, rulings %+v", sum, g.ruled())
	}
	if s := g.Status(); s.Run.Bundle == "" {
		t.Error("the run names no bundle")
	}
}

func TestPolicyAuditsAndNotifies(t *testing.T) {
	g := under(t, policy.Rules{Policies: []policy.Rule{
		{Name: "note", When: dear, On: onActivities, Audit: wflo.SeverityWarning, Notify: []string{"slack://ops"}},
	}}, nil)
	if err := g.Run(chargeOf(200, 50)); err != nil {
		t.Fatal(err)
	}
	rulings := g.ruled()
	if len(rulings) != 1 || rulings[0].Effect != wflo.EffectNotify || rulings[0].Matches[0].Inputs["args.amount"] != "200" {
		t.Errorf("rulings %+v", rulings)
	}
	notices, err := g.Records().ListNotices(t.Context(), wflo.NoticePending, 10)
	if err != nil || len(notices) != 1 || notices[0].Channel != "slack://ops" || notices[0].Kind != wflo.NoticePolicy {
		t.Errorf("notices %+v, %v", notices, err)
	}
}

func TestPolicyAsks(t *testing.T) {
	g := under(t, policy.Rules{Policies: []policy.Rule{{Name: "dear", When: dear, On: onActivities, Approval: needs("ben")}}}, approvedBy("ben"))
	if err := g.Run(chargeOf(200)); err != nil {
		t.Fatal(err)
	}
	gates := g.Gates()
	if len(gates) != 1 || gates[0].ID != "policy/dear" || gates[0].Approval.Activity != "test.Charge" || !slices.Equal(gates[0].Approval.Rules, []string{"dear"}) {
		t.Fatalf("gates %+v", gates)
	}
	if string(gates[0].Approval.Payload) != `{"amount":200}` || !slices.Equal(g.amounts(), []int{200}) {
		t.Errorf("payload %s, charged %v", gates[0].Approval.Payload, g.amounts())
	}
	used, err := g.Records().ReadAudit(t.Context(), wflo.AuditQuery{Type: wflo.AuditGrantUsed})
	if err != nil || len(used) != 1 {
		t.Errorf("the approval was used %d times on record, %v", len(used), err)
	}
}

func TestPolicyRejected(t *testing.T) {
	g := under(t, policy.Rules{Policies: []policy.Rule{{Name: "dear", When: dear, On: onActivities, Approval: needs("ben")}}},
		func(g wflo.Gate) []wflo.Decision {
			d := g.Decide(wflo.VerdictReject, "ben")
			d.Reason = "too much"
			return []wflo.Decision{d}
		})
	wantType(t, g.Run(chargeOf(5, 200, 6)), wflo.CodeApprovalRejected, "too much")
	if !slices.Equal(g.amounts(), []int{5}) {
		t.Errorf("charged %v", g.amounts())
	}
}

// TestPolicyHalts stops the run at the call, undoes what it did, and says by which
// policy. KeepEffects leaves it.
func TestPolicyHalts(t *testing.T) {
	for name, keep := range map[string]bool{"compensates": false, "keeps": true} {
		t.Run(name, func(t *testing.T) {
			g := under(t, policy.Rules{Policies: []policy.Rule{
				{Name: "note", When: dear, On: onActivities, Audit: wflo.SeverityInfo},
				{Name: "stop", When: dear, On: onActivities, Halt: &policy.Halt{Reason: "nobody pays that", KeepEffects: keep}},
				{Name: "ask", When: dear, On: onActivities, Approval: needs("ben")},
			}}, nil)
			err := g.Run(func(ctx workflow.Context) error {
				if err := workflows.Compensate(ctx, workflows.Compensation{Name: "stock", Activity: "test.Do", Input: "undo"}); err != nil {
					return err
				}
				_, err := charge(ctx, order{Amount: 200})
				if wflo.CodeOf(err) != "" {
					return errors.New("the call's error is not the one of the wire")
				}
				// A workflow that ignores it gets no further.
				_, again := charge(ctx, order{Amount: 1})
				if again == nil {
					return errors.New("a call was made after the halt")
				}
				return nil
			})
			wantType(t, err, wflo.CodePolicyDenied, "policy stop halted")
			if want := map[bool][]string{false: {"undo"}, true: nil}[keep]; !slices.Equal(g.lines, want) || len(g.charged) != 0 {
				t.Errorf("did %v and charged %v", g.lines, g.charged)
			}
			s := g.Status()
			if s.State != wflo.StateHalted || s.Halted.Policy != "stop" || s.Halted.By != "policy stop" || s.Halted.Reason != "nobody pays that" {
				t.Errorf("status %+v", s)
			}
			if r := g.ruled(); len(r) == 0 || r[0].Effect != wflo.EffectHalt || len(r[0].Matches) != 3 {
				t.Errorf("rulings %+v", r)
			}
		})
	}
}

// TestPoliciesAskTogether has two policies that name different people: both must
// agree, at one gate.
func TestPoliciesAskTogether(t *testing.T) {
	rules := policy.Rules{Policies: []policy.Rule{
		{Name: "dear", When: dear, On: onActivities, Approval: needs("ben")},
		{Name: "charges", When: "activity == 'test.Charge'", On: onActivities, Approval: &wflo.Approval{Approvers: []string{"cat", "dan"}, Quorum: 2}},
	}}
	g := under(t, rules, approvedBy("ben", "cat", "dan"))
	if err := g.Run(chargeOf(200)); err != nil {
		t.Fatal(err)
	}
	if gates := g.Gates(); len(gates) != 1 || gates[0].ID != "policy/dear+charges" {
		t.Errorf("gates %+v", gates)
	}
	for _, missing := range [][]string{{"ben", "cat"}, {"cat", "dan"}, {"ben"}} {
		g := under(t, rules, approvedBy(missing...))
		wantType(t, g.Run(chargeOf(200)), wflo.CodeApprovalTimeout, "policy/dear+charges")
		if len(g.charged) != 0 {
			t.Errorf("charged %v with only %v", g.charged, missing)
		}
	}
}

// TestPolicyEditIsJudged has a reviewer change the amount: the policies judge what
// they made of it, and what runs is the edit.
func TestPolicyEditIsJudged(t *testing.T) {
	rules := policy.Rules{Policies: []policy.Rule{
		{Name: "dear", When: dear, On: onActivities, Approval: &wflo.Approval{Approvers: []string{"ben"}, Answers: []wflo.Verdict{wflo.VerdictApprove, wflo.VerdictEdit}}},
		{Name: "very", When: "args.amount > 1000", On: onActivities, Approval: needs("cat")},
		{Name: "most", When: "args.amount > 9000", On: onActivities, Halt: &policy.Halt{Reason: "never"}},
	}}
	edit := func(to string) people {
		return func(g wflo.Gate) []wflo.Decision {
			if g.ID != "policy/dear" {
				return []wflo.Decision{g.Decide(wflo.VerdictApprove, "cat")}
			}
			d := g.Decide(wflo.VerdictEdit, "ben")
			d.Edit = json.RawMessage(to)
			return []wflo.Decision{d}
		}
	}
	g := under(t, rules, edit(`{"amount":150}`))
	if err := g.Run(chargeOf(200)); err != nil || !slices.Equal(g.amounts(), []int{150}) || len(g.Gates()) != 1 {
		t.Errorf("charged %v after %d gates, %v", g.amounts(), len(g.Gates()), err)
	}
	g = under(t, rules, edit(`{"amount":5000}`))
	if err := g.Run(chargeOf(200)); err != nil || !slices.Equal(g.amounts(), []int{5000}) || len(g.Gates()) != 2 || g.Gates()[1].ID != "policy/very" {
		t.Errorf("charged %v after %d gates, %v", g.amounts(), len(g.Gates()), err)
	}
	g = under(t, rules, edit(`{"amount":9999}`))
	wantType(t, g.Run(chargeOf(200)), wflo.CodePolicyDenied, "never")
	if len(g.charged) != 0 {
		t.Errorf("charged %v", g.charged)
	}
}

// TestPolicyReach counts the gates of four calls, two of them in one step.
func TestPolicyReach(t *testing.T) {
	for reach, want := range map[wflo.Reach]int{wflo.ReachCall: 4, wflo.ReachStep: 3, wflo.ReachRun: 1} {
		t.Run(string(reach), func(t *testing.T) {
			g := under(t, policy.Rules{Policies: []policy.Rule{{Name: "all", When: "*", On: onActivities, Per: reach, Approval: needs("ben")}}}, approvedBy("ben"))
			err := g.Run(func(ctx workflow.Context) error {
				_, err := workflows.Step(ctx, "both", workflows.StepOptions{}, chargeOf(1, 2))
				if err != nil {
					return err
				}
				_, err = chargeOf(3, 4)(ctx)
				return err
			})
			if err != nil || len(g.Gates()) != want || !slices.Equal(g.amounts(), []int{1, 2, 3, 4}) {
				t.Errorf("%d gates, want %d; charged %v, %v", len(g.Gates()), want, g.amounts(), err)
			}
		})
	}
}

// TestPolicyFailsClosed has conditions that cannot be judged: they count.
func TestPolicyFailsClosed(t *testing.T) {
	g := under(t, policy.Rules{Policies: []policy.Rule{{Name: "limit", When: "args.ammount > 100", On: onActivities, Halt: &policy.Halt{Reason: "too much"}}}}, nil)
	wantType(t, g.Run(chargeOf(1)), wflo.CodePolicyDenied, "limit")
	if r := g.ruled(); len(r) != 1 || r[0].Matches[0].Error == "" {
		t.Errorf("rulings %+v", r)
	}
	// Two members of one name mean different things to different readers.
	g = under(t, policy.Rules{Policies: []policy.Rule{{Name: "dear", When: dear, On: onActivities, Halt: &policy.Halt{Reason: "too much"}}}}, nil)
	err := g.Run(func(ctx workflow.Context) error {
		ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Minute})
		return workflow.ExecuteActivity(ctx, "test.Charge", json.RawMessage(`{"amount":1,"amount":500}`)).Get(ctx, nil)
	})
	wantType(t, err, wflo.CodePolicyDenied, "twice")
	if len(g.charged) != 0 {
		t.Errorf("charged %v", g.charged)
	}
}

// TestPolicyRoutesModels sends calls to another model, and lowers the budget.
func TestPolicyRoutesModels(t *testing.T) {
	g := under(t, policy.Rules{Policies: []policy.Rule{
		{Name: "small", When: "model == 'gpt-5.4' and estimated_cost > 0", On: []wflo.FactsKind{wflo.FactsModel}, RouteModel: "gpt-5.4-mini"},
		{Name: "cap", When: "kind == 'model'", On: []wflo.FactsKind{wflo.FactsModel}, SetLimit: 2 * wflo.USD},
	}}, nil, func(c *wflotest.Config) { c.Budget = 5 * wflo.USD })
	err := g.Run(func(ctx workflow.Context) (string, error) {
		reply, err := workflows.Ask(ctx, wflo.Prompt{Model: "gpt-5.4", MaxTokens: 100, Messages: []wflo.Message{{Role: wflo.RoleUser, Text: "Hello"}}})
		return reply.Model, err
	})
	if err != nil {
		t.Fatal(err)
	}
	var model string
	g.Result(&model)
	if !strings.HasPrefix(model, "gpt-5.4-mini") {
		t.Errorf("asked %s", model)
	}
	if b := g.RunBudget(); b.Limit != 2*wflo.USD {
		t.Errorf("budget %+v", b)
	}
}

// TestPolicyGovernsSandboxes judges programs by what they may reach.
func TestPolicyGovernsSandboxes(t *testing.T) {
	g := under(t, policy.Rules{Policies: []policy.Rule{
		{Name: "net", When: "sandbox.network == 'open'", On: []wflo.FactsKind{wflo.FactsSandbox}, Halt: &policy.Halt{Reason: "no network"}},
	}}, nil)
	err := g.Run(func(ctx workflow.Context) error {
		if _, err := workflows.RunSandboxed(ctx, sandbox.Spec{Argv: []string{"true"}}); err != nil {
			return err
		}
		_, err := workflows.RunSandboxed(ctx, sandbox.Spec{Argv: []string{"curl"}, Network: sandbox.Open()})
		return err
	})
	wantType(t, err, wflo.CodePolicyDenied, "no network")
	if len(g.Ran()) != 1 {
		t.Errorf("ran %+v", g.Ran())
	}
}

// TestPolicyJudgesSteps asks before a step's function runs, by what it declares.
func TestPolicyJudgesSteps(t *testing.T) {
	rules := policy.Rules{Policies: []policy.Rule{
		{Name: "deletes", When: "operation == 'delete' and args.rows > 10", On: []wflo.FactsKind{wflo.FactsStep}, Approval: needs("ben")},
	}}
	step := func(opts workflows.StepOptions) func(workflow.Context) (string, error) {
		return func(ctx workflow.Context) (string, error) {
			return workflows.Step(ctx, "clean", opts, func(ctx workflow.Context) (string, error) { return do(ctx, "delete") })
		}
	}
	rows := func(n int) map[string]int { return map[string]int{"rows": n} }
	g := under(t, rules, approvedBy("ben"))
	if err := g.Run(step(workflows.StepOptions{Operation: "delete", Args: rows(11)})); err != nil || len(g.Gates()) != 1 || len(g.lines) != 1 {
		t.Errorf("%d gates, did %v, %v", len(g.Gates()), g.lines, err)
	}
	g = under(t, rules, nil)
	if err := g.Run(step(workflows.StepOptions{Operation: "delete", Args: rows(10)})); err != nil || len(g.lines) != 1 {
		t.Errorf("did %v, %v", g.lines, err)
	}
	// The step's own approval and the policy's are one gate, where both count.
	own := workflows.StepOptions{Operation: "delete", Args: rows(11), Approval: &wflo.Approval{Gate: "clean", Action: "Clean up", Approvers: []string{"cat"}}}
	g = under(t, rules, approvedBy("cat", "ben"))
	if err := g.Run(step(own)); err != nil || len(g.Gates()) != 1 || g.Gates()[0].ID != "clean" {
		t.Errorf("gates %+v, %v", g.Gates(), err)
	}
	g = under(t, rules, approvedBy("cat"))
	wantType(t, g.Run(step(own)), wflo.CodeApprovalTimeout, "clean")
	if len(g.lines) != 0 {
		t.Errorf("did %v", g.lines)
	}
}

// TestPolicyRoutesGates lets risk rules say who decides, where the gate lets them,
// and never below what policies say.
func TestPolicyRoutesGates(t *testing.T) {
	rules := policy.Rules{
		Policies: []policy.Rule{{Name: "never alone", When: "args.amount > 1000", On: []wflo.FactsKind{wflo.FactsGate}, Approval: needs("cat")}},
		Risk: []policy.RiskRule{
			{Name: "high", When: dear, Approval: needs("ben")},
			{Name: "low", When: "*", AutoApprove: true, Audit: wflo.SeverityInfo},
		},
	}
	ask := func(amount int, routed bool) func(workflow.Context) (string, error) {
		return func(ctx workflow.Context) (string, error) {
			payload, err := json.Marshal(order{Amount: amount})
			if err != nil {
				return "", err
			}
			d, err := workflows.RequireApproval(ctx, wflo.Approval{Gate: "refund", Action: "Refund", Payload: payload, Routed: routed})
			return d.By, err
		}
	}
	var by string
	g := under(t, rules, nil)
	if err := g.Run(ask(5, true)); err != nil {
		t.Fatal(err)
	}
	if g.Result(&by); by != "policy low" || len(g.ruled()) != 1 || !g.ruled()[0].AutoApprove {
		t.Errorf("approved by %q, rulings %+v", by, g.ruled())
	}
	// A gate that is not routed asks, whatever the risk.
	g = under(t, rules, approvedBy("eve"))
	if err := g.Run(ask(5, false)); err != nil || len(g.Gates()) != 1 {
		t.Errorf("%d gates, %v", len(g.Gates()), err)
	}
	g = under(t, rules, approvedBy("ben"))
	if err := g.Run(ask(200, true)); err != nil || !slices.Equal(g.Gates()[0].Approval.Approvers, []string{"ben"}) {
		t.Errorf("gates %+v, %v", g.Gates(), err)
	}
	g = under(t, rules, approvedBy("ben"))
	wantType(t, g.Run(ask(2000, true)), wflo.CodeApprovalTimeout, "refund")
	g = under(t, rules, approvedBy("ben", "cat"))
	if err := g.Run(ask(2000, true)); err != nil {
		t.Error(err)
	}
}

// TestPolicyHistoriesAreKept holds on to the recordings of runs under policies, which
// TestReplay replays on a worker that has none.
func TestPolicyHistoriesAreKept(t *testing.T) {
	all := recorded(t)
	for _, name := range []string{
		"policy-allows", "policy-asks", "policy-halts", "policy-of-agents", "policy-of-chains", "policy-of-chains-next", "policy-of-gates",
	} {
		if all[name] == nil {
			t.Errorf("history %s is gone", name)
			continue
		}
		pinned := 0
		for _, e := range all[name].Events {
			for _, p := range e.GetMarkerRecordedEventAttributes().GetDetails()["change-id"].GetPayloads() {
				if string(p.GetData()) == `"wflo-policy"` {
					pinned++
				}
			}
		}
		if pinned != 1 {
			t.Errorf("%s has %d markers of policies", name, pinned)
		}
	}
}
