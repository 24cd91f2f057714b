package workflows

import (
	"encoding/json"
	"fmt"
	"slices"
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
	if g.Approval.Activity != "" && !g.auto && !g.over {
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
	return st.issue(ctx, g), nil
}

// issue is withGrant where code of others holds the context, and may call the activity
// with another one.
func (st *state) issue(ctx workflow.Context, g *openGate) workflow.Context {
	st.track(g)
	return st.withGrant(ctx, g)
}

func (st *state) track(g *openGate) {
	if g.Approval.Activity != "" {
		st.issued = append(slices.DeleteFunc(st.issued, func(g *openGate) bool { return g.called || g.covered || !g.Granted() }), g)
		delete(st.lapsed, g.Approval.Activity)
	}
}

// keepGrant gives it to the calls that follow in the same step.
func (st *state) keepGrant(ctx workflow.Context, g *openGate) {
	st.track(g)
	if !g.auto && !g.over {
		st.guard(ctx, g)
	}
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
		return nil, st.strayed(ctx, activity)
	}
	sum, err := st.inputHash(args)
	if err != nil {
		return nil, err
	}
	var unused, meant, also *openGate
	for _, g := range all {
		if g.called || g.covered || g.Status == wflo.GateExpired {
			continue
		}
		if unused == nil {
			unused = g
		}
		if want, err := wflo.CanonicalSHA256(g.Approval.Payload); err != nil || want != sum {
			continue
		}
		if meant != nil {
			also = g
			break
		}
		if meant = g; !g.ofCall {
			break
		}
	}
	if meant != nil {
		err := st.mayAct(ctx, meant)
		if err == nil && also != nil {
			also.covered = true
		}
		return meant, err
	}
	if unused == nil {
		return nil, wflo.Errorf(wflo.CodeApprovalExpired, "ask again; an approval covers one call",
			"gate %s: its approval of activity %s is used up", all[0].ID, activity)
	}
	return nil, wflo.Errorf(wflo.CodeConflict, "call it with the approved payload, as workflows.Approved or Decision.Edit gives it",
		"gate %s: activity %s is called with an input that was not approved", unused.ID, activity)
}

// strayed refuses a call that no approval covers where it is made, while the run has
// one for the activity that was not used: it was made with the context from outside of
// the step, in another step, or by a run that has continued since people were asked.
func (st *state) strayed(ctx workflow.Context, activity string) error {
	if undoing(ctx) {
		return nil
	}
	for _, g := range st.issued {
		if g.Approval.Activity == activity && !g.called && !g.covered && g.Granted() && !workflow.Now(ctx).After(g.UseBy) {
			return wflo.Errorf(wflo.CodeConflict, "call it with the context that the step's function gets, or ask about this call too",
				"gate %s: activity %s was approved, and is called outside of where the approval holds", g.ID, activity)
		}
	}
	if gate, ok := st.lapsed[activity]; ok {
		return wflo.Errorf(wflo.CodeApprovalExpired, "ask again after the run has continued as new",
			"gate %s: activity %s was approved before the run continued as new, and was not called there", gate, activity)
	}
	return nil
}

// mayAct says why the approval does not let its activity be called now.
func (st *state) mayAct(ctx workflow.Context, g *openGate) error {
	if g.Status == wflo.GateRevoked {
		return g.rejected()
	}
	if err := g.stale(workflow.Now(ctx)); err != nil {
		if !g.auto {
			st.recordEnd(ctx, g)
		}
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
