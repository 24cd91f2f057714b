package workflows

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
)

// routed is what the policies make of an approval that a workflow asks for: they
// add to it, and where it lets them route it (Approval.Routed) they say who decides,
// or that nobody needs to (auto). It fails where they forbid the action.
func (st *state) routed(ctx workflow.Context, a wflo.Approval) (merged wflo.Approval, auto bool, err error) {
	met, asked := ctx.Value(policyGateKey{}).([]string)
	a.Rules = met
	if !st.regime.judges() || asked && strings.HasPrefix(a.Gate, "policy/") {
		return a, false, nil
	}
	r, err := st.judgeGate(ctx, a, a.Payload)
	if err != nil {
		return a, false, err
	}
	asks := st.asks(ctx, r, met)
	if a.Routed && len(asks) == 0 && r.AutoApprove {
		a.Rules = append(slices.Clone(a.Rules), r.Risk)
		return a, true, nil
	}
	if len(asks) == 0 {
		return a, false, nil
	}
	if a.Routed && slices.ContainsFunc(asks, func(t wflo.Approval) bool { return slices.Contains(t.Rules, r.Risk) }) {
		a.Approvers, a.Quorum, a.Factors, a.Escalation = nil, 0, nil, nil
	}
	return union(&a, asks), false, nil
}

// routedPast is the gate of an approval that a risk rule gives without asking
// anybody. It is in no index: the ruling is its record. The run holds the activity to the
// payload that was judged; no worker checks that again, because there is no signature.
func (st *state) routedPast(ctx workflow.Context, key string, a wflo.Approval) *openGate {
	run := st.run
	run.Step = key
	now := workflow.Now(ctx)
	g := &openGate{Gate: run.Ask(a.Gate, a, now), auto: true}
	d := g.Decide(wflo.VerdictApprove, "policy "+a.Rules[len(a.Rules)-1])
	g.Status, g.Used, g.Gate.Decision, g.ClosedAt = wflo.GateApproved, true, &d, now
	g.UseBy = now.Add(cmp.Or(a.Expiry, wflo.DefaultApprovalExpiry))
	return g
}

// judgeGate asks the policies about an approval.
func (st *state) judgeGate(ctx workflow.Context, a wflo.Approval, payload json.RawMessage) (wflo.Ruling, error) {
	f := st.facts(ctx, wflo.FactsGate)
	if f.Operation == "" {
		f.Operation = a.Gate
	}
	f.Activity, f.Risk = a.Activity, a.Risk
	if len(payload) > 0 {
		var err error
		if f.Args, err = argsOf([]any{payload}); err != nil {
			return wflo.Ruling{}, err
		}
	}
	r, err := st.judge(ctx, st.nextKey(ctx, "policy/gate/"+a.Gate), f, nil)
	if err != nil {
		return r, err
	}
	return r, st.obey(ctx, r)
}

// rejudge asks the policies about what a reviewer made of a payload or what time made of
// the run, and asks whom they name besides.
func (st *state) rejudge(ctx workflow.Context, key string, g *openGate) error {
	if _, asked := ctx.Value(policyGateKey{}).([]string); asked || !st.regime.judges() {
		return nil // whoever opened the gate judges anew
	}
	return st.settled(ctx, key, g, g.Approval.Rules, func(met []string) ([]wflo.Approval, error) {
		r, err := st.judgeGate(ctx, g.Approval, g.Approval.Payload)
		if err != nil {
			return nil, err
		}
		return st.asks(ctx, r, met), nil
	})
}

// permit asks the policies about a step before it runs, and people where the
// step's own approval or a policy wants that. The result is the context for the
// step.
func (st *state) permit(ctx workflow.Context, opts StepOptions, inner *scope) (workflow.Context, error) {
	if !st.regime.judges() || undoing(ctx) {
		if opts.Approval == nil {
			return ctx, nil
		}
		return st.approveStep(ctx, inner.key, *opts.Approval)
	}
	if err := st.released(ctx); err != nil {
		return ctx, err
	}
	payload, err := stepPayload(opts)
	if err != nil {
		return ctx, fmt.Errorf("step %s: %w", inner.name, err)
	}
	within := workflow.WithValue(ctx, stepKey{}, inner)
	r, err := st.judgeStep(ctx, opts, inner, payload)
	if err != nil {
		return ctx, err
	}
	asks := st.asks(within, r, nil)
	if len(asks) == 0 && opts.Approval == nil {
		return ctx, nil
	}
	a := stepApproval(opts.Approval, asks, inner.name, payload)
	g, err := st.askPolicies(ctx, inner.key, a)
	if err != nil {
		return ctx, err
	}
	st.given(inner, r, a.Rules)
	err = st.settled(ctx, inner.key, g, a.Rules, func(met []string) ([]wflo.Approval, error) {
		r, err := st.judgeStep(ctx, opts, inner, g.Approval.Payload)
		if err != nil {
			return nil, err
		}
		return st.asks(within, r, met), nil
	})
	if err != nil {
		return ctx, err
	}
	return st.issue(ctx, g), nil
}

// stepApproval is the one question before a step.
func stepApproval(own *wflo.Approval, asks []wflo.Approval, name string, payload json.RawMessage) wflo.Approval {
	if own == nil {
		a := union(nil, asks)
		a.Gate, a.Action, a.Payload = gateName(a.Rules), "Run step "+name, payload
		return a
	}
	a := *own
	a.Rules = nil
	if len(asks) == 0 {
		return a
	}
	return union(&a, asks)
}

func (st *state) judgeStep(ctx workflow.Context, opts StepOptions, inner *scope, payload json.RawMessage) (wflo.Ruling, error) {
	f := st.facts(workflow.WithValue(ctx, stepKey{}, inner), wflo.FactsStep)
	if f.Operation == "" {
		f.Operation = inner.name
	}
	if opts.Approval != nil {
		f.Risk, f.Activity = opts.Approval.Risk, opts.Approval.Activity
	}
	if len(payload) > 0 {
		var err error
		if f.Args, err = argsOf([]any{payload}); err != nil {
			return wflo.Ruling{}, fmt.Errorf("step %s: %w", inner.name, err)
		}
	}
	r, err := st.judge(ctx, inner.key, f, nil)
	if err != nil {
		return r, err
	}
	return r, st.obey(ctx, r)
}

// stepPayload is what conditions on a step's arguments, and people, look at.
func stepPayload(opts StepOptions) (json.RawMessage, error) {
	switch {
	case opts.Args != nil:
		return jsonOf(opts.Args)
	case opts.Approval != nil:
		return opts.Approval.Payload, nil
	}
	return nil, nil
}
