package workflows

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
)

// toolKey marks the calls that an agent's tool makes; its value is the tool's name.
type toolKey struct{}

// policyGateKey marks a gate that policies have been asked about already; its value
// is the []string of the rules that it meets.
type policyGateKey struct{}

var noArgs = json.RawMessage("{}")

// govern asks the policies of the run about one call and waits until it may be
// made. It returns the arguments to make it with, which a reviewer may have edited
// and whose model a policy may have replaced, and the context to make it in.
func (st *state) govern(ctx workflow.Context, key, activity string, args []any, local bool) (workflow.Context, []any, error) {
	if undoing(ctx) {
		// What undoes is recorded, and never kept from happening.
		if f, prompt, err := st.callFacts(ctx, activity, args); err == nil && st.regime.judges() {
			if _, err := st.judge(ctx, key, f, prompt); err != nil {
				workflow.GetLogger(ctx).Error("record a compensation", "activity", activity, "error", err.Error())
			}
		}
		return ctx, args, nil
	}
	if err := st.released(ctx); err != nil || !st.regime.judges() {
		return ctx, args, err
	}
	c := &judged{st: st, key: key, activity: activity, args: args, local: local}
	asks, err := c.judge(ctx, nil)
	if err != nil || len(asks) == 0 {
		return ctx, c.args, firstOf(err, st.released(ctx))
	}
	g, err := c.ask(ctx, asks)
	if err != nil {
		return ctx, nil, err
	}
	ctx = st.withGrant(ctx, g)
	if g.Revision > 0 {
		if err := c.edit(g.Approval.Payload); err != nil {
			return ctx, nil, err
		}
	}
	err = st.settled(ctx, key, g, g.Approval.Rules, func(met []string) ([]wflo.Approval, error) { return c.judge(ctx, met) })
	return ctx, c.args, firstOf(err, st.released(ctx))
}

// released waits while a policy about time holds the run.
func (st *state) released(ctx workflow.Context) error {
	if st.regime.held > 0 {
		if err := workflow.Await(ctx, func() bool { return st.regime.held == 0 }); err != nil {
			if refused := st.refusal(ctx); refused != nil {
				return refused
			}
			return err
		}
	}
	return st.refusal(ctx)
}

// judged is one call that policies are asked about.
type judged struct {
	st            *state
	key, activity string
	args          []any
	// local says that the call is made within the workflow task, where no other
	// worker checks the approval again.
	local  bool
	facts  wflo.Facts
	ruling wflo.Ruling
}

// judge asks, and gives the approvals that the call needs besides those of the
// rules that are met.
func (c *judged) judge(ctx workflow.Context, met []string) ([]wflo.Approval, error) {
	f, prompt, err := c.st.callFacts(ctx, c.activity, c.args)
	if err != nil {
		return nil, err
	}
	r, err := c.st.judge(ctx, c.key, f, prompt)
	if err != nil {
		return nil, err
	}
	if err := c.st.obey(ctx, r); err != nil {
		return nil, err
	}
	if prompt != nil && r.Model != "" {
		p := *prompt
		p.Model, p.Fallback = r.Model, nil // the policy chose this one, and no other
		c.args, f.Model = []any{p}, r.Model
	}
	c.facts, c.ruling = f, r
	return c.st.asks(ctx, r, met), nil
}

// ask opens the gate of the call.
func (c *judged) ask(ctx workflow.Context, asks []wflo.Approval) (*openGate, error) {
	st, f := c.st, c.facts
	a := union(nil, asks)
	if a.Gate = gateName(a.Rules); !c.local {
		a.Activity = c.activity
	}
	switch {
	case f.Tool != "":
		a.Action = fmt.Sprintf("Run activity %s for the tool %s", f.Activity, f.Tool)
	case f.Kind == wflo.FactsModel:
		a.Action = "Ask the model " + f.Model
	case f.Kind == wflo.FactsSandbox:
		a.Action = "Run a program in the sandbox"
	default:
		a.Action = "Run activity " + f.Activity
	}
	if len(st.grantsFor(ctx, c.activity)) > 0 {
		a.Answers = yesOrNo // others approved just this
	}
	var err error
	if a.Payload, err = inputOf(c.args); err != nil {
		return nil, err
	}
	g, err := st.askPolicies(ctx, c.key, a)
	if err == nil {
		g.ofCall = true
		s, _ := ctx.Value(stepKey{}).(*scope)
		st.given(s, c.ruling, a.Rules)
	}
	return g, err
}

// yesOrNo are the answers to what is fixed already.
var yesOrNo = []wflo.Verdict{wflo.VerdictApprove, wflo.VerdictReject}

// askPolicies opens a gate in the name of the run's policies, and waits for it.
func (st *state) askPolicies(ctx workflow.Context, key string, a wflo.Approval) (*openGate, error) {
	return st.ask(workflow.WithValue(ctx, policyGateKey{}, a.Rules), key, a, nil)
}

// askAgain asks whom the policies name for what a reviewer made of an approval that
// was granted.
func (st *state) askAgain(ctx workflow.Context, key string, done wflo.Approval, asks []wflo.Approval) (*openGate, error) {
	a := union(nil, asks)
	a.Gate, a.Action, a.Payload, a.Answers = gateName(a.Rules), done.Action, done.Payload, yesOrNo
	return st.askPolicies(ctx, key, a)
}

// staleAfter is how long a gate may wait before the policies are asked anew: by then
// what the run has spent, and who else has acted, may be something else than they judged.
const staleAfter = time.Minute

func (g *openGate) waited(now time.Time) bool {
	return g.Version > 0 && now.Sub(g.OpenedAt) > staleAfter
}

// settled judges anew what was approved after it was edited or had waited, and asks whom
// the policies name besides the rules that are met, until nothing has changed meanwhile.
func (st *state) settled(ctx workflow.Context, key string, g *openGate, met []string, judge func(met []string) ([]wflo.Approval, error)) error {
	done := g.Approval
	for edited := g.Revision > 0; edited || g.waited(workflow.Now(ctx)); edited = false {
		asks, err := judge(met)
		if err != nil || len(asks) == 0 {
			return err
		}
		if g, err = st.askAgain(ctx, key, done, asks); err != nil {
			return err
		}
		met = slices.Concat(met, g.Approval.Rules)
	}
	return nil
}

// firstOf is the first error that there is.
func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// gateName is the gate of policies: "policy/RULE", or of several joined by "+".
func gateName(rules []string) string {
	if len(rules) == 0 {
		rules = []string{"default"}
	}
	return "policy/" + strings.Join(rules, "+")
}

// edit makes the arguments what a reviewer made of them.
func (c *judged) edit(payload json.RawMessage) error {
	if c.facts.Kind == wflo.FactsModel {
		var p wflo.Prompt
		if err := json.Unmarshal(payload, &p); err != nil {
			return wflo.Invalid("the edited prompt", "cannot be read: "+err.Error(), "edit the values, and keep the form")
		}
		c.args = []any{p}
		return p.Validate()
	}
	if len(c.args) == 1 {
		c.args = []any{payload}
		return nil
	}
	var parts []json.RawMessage
	if err := json.Unmarshal(payload, &parts); err != nil || len(parts) != len(c.args) {
		return wflo.Invalid("the edited input", fmt.Sprintf("is not an array of %d values", len(c.args)), "edit the values, and keep the form")
	}
	c.args = make([]any, len(parts))
	for i, part := range parts {
		c.args[i] = part
	}
	return nil
}
