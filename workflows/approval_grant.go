package workflows

import (
	"encoding/json"
	"fmt"
	"strings"

	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
)

type grantKey struct{}

// held is an approval that calls within a context may act on, and those around it.
type held struct {
	gate  *openGate
	outer *held
}

// withGrant gives the calls of the gate's activity in ctx its approval to act on.
func (st *state) withGrant(ctx workflow.Context, g *openGate) workflow.Context {
	outer, _ := ctx.Value(grantKey{}).(*held)
	if g.Approval.Activity != "" {
		st.guard(ctx, g)
	}
	return workflow.WithValue(ctx, grantKey{}, &held{gate: g, outer: outer})
}

// approveStep asks before a step and gives its function the approval to act on.
func (st *state) approveStep(ctx workflow.Context, key string, a wflo.Approval) (workflow.Context, error) {
	g, err := st.ask(ctx, key, a, nil)
	if err != nil {
		return nil, err
	}
	return st.withGrant(ctx, g), nil
}

// keepGrant gives it to the calls that follow in the same step.
func (st *state) keepGrant(ctx workflow.Context, g *openGate) {
	st.guard(ctx, g)
	if s, ok := ctx.Value(stepKey{}).(*scope); ok {
		s.grants = append(s.grants, g)
		return
	}
	st.grants = append(st.grants, g)
}

// grantsFor are the approvals that a call of the activity in ctx may mean, the
// nearest first.
func (st *state) grantsFor(ctx workflow.Context, activity string) []*openGate {
	var found []*openGate
	add := func(g *openGate) {
		if g.Approval.Activity == activity && activity != "" {
			found = append(found, g)
		}
	}
	h, _ := ctx.Value(grantKey{}).(*held)
	for ; h != nil; h = h.outer {
		add(h.gate)
	}
	s, _ := ctx.Value(stepKey{}).(*scope)
	for ; s != nil; s = s.outer {
		for _, g := range s.grants {
			add(g)
		}
	}
	for _, g := range st.grants {
		add(g)
	}
	return found
}

// grantFor finds the approval that a call acts on; nil where nobody was asked about
// the activity here. Who was asked is bound by the answer: another input, a second
// call, and an approval that was taken back or is too old are errors.
func (st *state) grantFor(ctx workflow.Context, activity string, args []any) (*openGate, error) {
	all := st.grantsFor(ctx, activity)
	if len(all) == 0 {
		return nil, nil
	}
	sum, err := st.inputHash(args)
	if err != nil {
		return nil, err
	}
	var unused *openGate
	for _, g := range all {
		if g.called || g.Status == wflo.GateExpired {
			continue
		}
		if unused == nil {
			unused = g
		}
		if want, err := wflo.CanonicalSHA256(g.Approval.Payload); err == nil && want == sum {
			return g, st.mayAct(ctx, g)
		}
	}
	if unused == nil {
		return nil, wflo.Errorf(wflo.CodeApprovalExpired, "ask again; an approval covers one call",
			"gate %s: its approval of activity %s is used up", all[0].ID, activity)
	}
	return nil, wflo.Errorf(wflo.CodeConflict, "call it with the approved payload, as workflows.Approved or Decision.Edit gives it",
		"gate %s: activity %s is called with an input that was not approved", unused.ID, activity)
}

// mayAct says why the approval does not let its activity be called now.
func (st *state) mayAct(ctx workflow.Context, g *openGate) error {
	if g.Status == wflo.GateRevoked {
		return g.rejected()
	}
	if err := g.stale(workflow.Now(ctx)); err != nil {
		st.recordEnd(ctx, g)
		return err
	}
	return nil
}

// inputHash is the hash of what an activity is called with: its one argument, or the
// array of several.
func (st *state) inputHash(args []any) (string, error) {
	parts := make([]string, len(args))
	for i, arg := range args {
		data, err := st.inputJSON(arg)
		if err != nil {
			return "", wflo.Errorf(wflo.CodeConflict, "approve an activity whose arguments are JSON", "argument %d of an approved activity: %w", i, err)
		}
		parts[i] = string(data)
	}
	input := "[" + strings.Join(parts, ",") + "]"
	if len(parts) == 1 {
		input = parts[0]
	}
	sum, err := wflo.CanonicalSHA256([]byte(input))
	if err != nil {
		return "", wflo.Errorf(wflo.CodeConflict, "approve an activity whose arguments are plain JSON", "input of an approved activity %w", err)
	}
	return sum, nil
}

// inputJSON is an argument as it goes over the wire, where that is JSON.
func (st *state) inputJSON(arg any) (json.RawMessage, error) {
	p, err := st.encode(arg)
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	if json.Valid(p.GetData()) {
		return p.GetData(), nil
	}
	data, err := json.Marshal(arg)
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return data, nil
}

// act calls the gate's activity with its approval in the header. Until the activity
// has begun, a rejection cancels it, and the call ends as rejected.
func (st *state) act(ctx workflow.Context, g *openGate, call func(workflow.Context) workflow.Future) workflow.Future {
	if err := st.header(ctx, wflo.HeaderGate, g.Gate); err != nil {
		return failed(ctx, err)
	}
	ctx, cancel := workflow.WithCancel(ctx)
	g.called, g.cancel = true, cancel
	inner := call(ctx)
	outer, set := workflow.NewFuture(ctx)
	workflow.Go(st.unstoppable(ctx), func(ctx workflow.Context) {
		err := inner.Get(ctx, nil)
		g.over = true
		if g.Status == wflo.GateRevoked && err != nil {
			set.SetError(toWire(g.rejected()))
			return
		}
		g.Used = g.Used || !grantRefused(err)
		set.Chain(inner)
	})
	return outer
}

// grantRefused says that the activity was not begun because the approval did not
// cover it.
func grantRefused(err error) bool {
	switch wflo.CodeOf(fromWire(err)) {
	case wflo.CodeApprovalExpired, wflo.CodeApprovalRejected, wflo.CodeConflict:
		return true
	}
	return false
}
