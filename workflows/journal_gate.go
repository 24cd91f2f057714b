package workflows

import (
	"fmt"
	"slices"
	"strings"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
)

// gateRecord is a closed gate as it stands in the journal.
type gateRecord struct {
	Gate wflo.Gate `json:"gate"`
	Auto bool      `json:"auto,omitempty"`
}

// gateKey names a gate in the journal; empty for gates that have no outcome of their
// own: what policies or a budget asked for belongs to the call.
func (st *state) gateKey(ctx workflow.Context, key, gate string) string {
	if _, asked := ctx.Value(policyGateKey{}).([]string); asked || !st.journaled(ctx) {
		return ""
	}
	if key != stepOf(ctx) {
		return fmt.Sprintf("%s/wflo.gate/%s#0", key, gate) // before the step
	}
	return st.nextKey(ctx, "wflo.gate/"+gate)
}

// recallGate gives a gate that closed before the run was restored. Where something else
// was asked then, it gives nothing and people are asked again.
func (st *state) recallGate(ctx workflow.Context, name string, a wflo.Approval) (*openGate, error) {
	j := st.journal
	if j == nil || undoing(ctx) {
		return nil, nil
	}
	if name == "" {
		return nil, j.unknown(ctx, "gate "+a.Gate)
	}
	o, err := j.recall(ctx, step.OutcomeGate, name, "")
	if err != nil {
		return nil, err
	}
	if o == nil || o.Input != inputOfCall([]any{a}) {
		return nil, j.unknown(ctx, "gate "+name)
	}
	var r gateRecord
	if err := st.decode(onlyPayload(o.Result), &r); err != nil {
		return nil, fmt.Errorf("gate %s: read its recorded end: %w", a.Gate, err)
	}
	// Whoever acted on it is in the journal, too.
	g := &openGate{Gate: r.Gate, auto: r.Auto, called: true, over: true, recordedAs: name}
	if st.taken == nil {
		st.taken = map[string]bool{}
	}
	st.taken[g.ID] = true
	return g, fromWire(errorOf(o.Failure))
}

// keepGate writes down how a gate ended.
func (st *state) keepGate(ctx workflow.Context, name string, a wflo.Approval, g *openGate, err error) {
	if name == "" || g == nil || st.stopping() || st.ended || err != nil && temporal.IsCanceledError(err) {
		return
	}
	p, encodeErr := st.encode(gateRecord{g.Gate, g.auto})
	if encodeErr != nil {
		workflow.GetLogger(st.journal.root).Error("record gate", "gate", g.ID, "error", encodeErr.Error())
		return // people are asked again
	}
	g.recordedAs = name
	if s, ok := ctx.Value(stepKey{}).(*scope); ok {
		g.around = append([]string{s.base}, s.around()...)
	}
	st.journal.add(step.Outcome{
		Kind: step.OutcomeGate, Key: name, Input: inputOfCall([]any{a}), Bound: a.Activity,
		Result: &commonpb.Payloads{Payloads: []*commonpb.Payload{p}}, Failure: failureOf(err),
	})
}

// unspent leaves out approvals that nobody has acted on: people are asked again. One for a
// call was acted on where the call has an outcome. One that a step waited for was, where
// anything else that happened in the step since has; snapshots count for nothing, and are
// taken again with it.
func unspent(all []step.Outcome) []step.Outcome {
	drop, again := make([]bool, len(all)), map[string]bool{}
	var since []*step.Outcome
	for i := len(all) - 1; i >= 0; i-- {
		switch o := &all[i]; {
		case o.Kind == step.OutcomeGate:
			of := stepOfGate(o.Key)
			switch {
			case o.Bound != "":
				drop[i] = !slices.ContainsFunc(all, func(p step.Outcome) bool { return p.Grant == o.Key })
			case of != "":
				drop[i] = !slices.ContainsFunc(since, func(p *step.Outcome) bool { return inside(p, of) })
			}
			again[of] = again[of] || drop[i] && of != ""
		case o.Kind != step.OutcomeSignal && !isSnapshot(o):
			since = append(since, o)
		}
	}
	kept := make([]step.Outcome, 0, len(all))
	for i := range all {
		o := &all[i]
		if drop[i] || isSnapshot(o) && slices.ContainsFunc(stepsOf(o), func(of string) bool { return again[of] }) {
			continue
		}
		kept = append(kept, *o)
	}
	return kept
}

// stepOfGate is the key of the step that a gate is of; empty for those outside of steps.
func stepOfGate(key string) string {
	of, _, _ := strings.Cut(key, "/wflo.gate/")
	if digits, ok := strings.CutPrefix(of, "g"); ok && strings.Trim(digits, "0123456789") == "" {
		return "" // the generation
	}
	return baseOf(of)
}

// inside says that an outcome is of a step, at any depth.
func inside(o *step.Outcome, of string) bool {
	return o.Kind == step.OutcomeStep && o.In == of || within(o, of) || slices.Contains(o.Around, of)
}

func isSnapshot(o *step.Outcome) bool {
	return o.Kind == step.OutcomeActivity && strings.Contains(o.Key, "/wflo.snapshot#")
}

// stepsOf are the keys of the steps that a snapshot was taken in.
func stepsOf(o *step.Outcome) []string {
	of, _, _ := strings.Cut(o.Key, "/wflo.snapshot#")
	return append([]string{baseOf(of)}, o.Around...)
}
