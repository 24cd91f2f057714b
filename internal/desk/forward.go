package desk

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

// Forward hands a decision that somebody else made to a run: one that is signed by a
// key of its own, or, where the gate takes that, one without a signature. by is who
// brings it. Without a signature it must be their own, and counts with the groups that
// the desk knows of them; a signed one proves itself.
func (d *Desk) Forward(ctx context.Context, by wflo.Identity, workflowID string, dec wflo.Decision, from Origin) (wflo.Gate, error) {
	a := attempt{
		id: by, origin: from, decision: dec,
		update: hash("wflo.forward.v1", workflowID, dec.Gate, dec.Digest, dec.By, string(dec.Verdict), dec.ID, dec.Signature),
	}
	g, err := d.meant(ctx, by, workflowID, dec)
	if err != nil {
		return wflo.Gate{}, err
	}
	a.gate = g
	if err := admitForward(by, g, dec); err != nil {
		return wflo.Gate{}, d.refuse(ctx, a, err)
	}
	if dec.Signature == "" {
		// Nothing proves what it says of its groups; whoever brings it is proved.
		a.decision.Groups, a.decision.Method = d.groups(by), by.Method
	}
	a.gate.WorkflowID = workflowID
	return d.deliver(ctx, a)
}

func admitForward(by wflo.Identity, g wflo.Gate, dec wflo.Decision) error {
	switch {
	case by.Subject == "" || !by.May(wflo.RoleApprover):
		return refused(ErrForbidden, named(by)+" may not decide: the role approver is missing", "ask an administrator for it")
	case by.Org != "" && g.Nonce == "":
		return noGate(dec.Nonce)
	case dec.Signature == "" && dec.By != by.Subject:
		return refused(ErrForbidden, fmt.Sprintf("%s cannot decide as %q without a signature", by.Subject, short(dec.By)), "decide in your own name, or sign the decision")
	}
	// What cannot be recorded is not sent.
	data, err := json.Marshal(dec)
	if err == nil {
		_, err = wflo.Canonical(data)
	}
	if err != nil {
		return wflo.Invalid("decision", err.Error(), "send plain text and JSON that cannot be read in two ways")
	}
	return nil
}

// meant is the gate of the index that the decision names, or the zero value where
// the index has none: the run knows better, and refuses what it does not ask.
func (d *Desk) meant(ctx context.Context, by wflo.Identity, workflowID string, dec wflo.Decision) (wflo.Gate, error) {
	for _, closed := range []bool{false, true} {
		gates, err := d.Records.ListGates(ctx, activities.GateQuery{Org: by.Org, WorkflowID: workflowID, Closed: closed, Limit: MostItems})
		if err != nil {
			return wflo.Gate{}, fmt.Errorf("list gates: %w", err)
		}
		for _, g := range gates {
			if g.WorkflowID == workflowID && g.ID == dec.Gate && g.Epoch == dec.Epoch && (dec.Nonce == "" || dec.Nonce == g.Nonce) && visible(by, g) == nil {
				return g, nil
			}
		}
	}
	return wflo.Gate{}, nil
}
