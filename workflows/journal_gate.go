package workflows

import (
	"fmt"

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
func (st *state) keepGate(name string, a wflo.Approval, g *openGate, err error) {
	if name == "" || g == nil || st.stopping() || st.ended || err != nil && temporal.IsCanceledError(err) {
		return
	}
	p, encodeErr := st.encode(gateRecord{g.Gate, g.auto})
	if encodeErr != nil {
		workflow.GetLogger(st.journal.root).Error("record gate", "gate", g.ID, "error", encodeErr.Error())
		return // people are asked again
	}
	g.recordedAs = name
	st.journal.add(step.Outcome{
		Kind: step.OutcomeGate, Key: name, Input: inputOfCall([]any{a}), Bound: a.Activity,
		Result: &commonpb.Payloads{Payloads: []*commonpb.Payload{p}}, Failure: failureOf(err),
	})
}
