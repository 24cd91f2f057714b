package story

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	commonpb "go.temporal.io/api/common/v1"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
)

// opened says that people are asked.
func (a *account) opened(ctx context.Context, i int, result *commonpb.Payload) {
	var o step.Opening
	if a.read.into(ctx, result, &o) != nil || o.Gate.Nonce == "" {
		a.rows[i].State = StateWaiting
		return
	}
	g := o.Gate
	r := &a.rows[i]
	a.showGate(r, g)
	r.State, r.gate = StateWaiting, &g
	r.Gate = gateOf(g)
	a.gates[g.Nonce] = i
	a.size += int64(len(g.Approval.Payload) + len(g.Approval.Details))
}

// showGate fills in what a gate asks.
func (a *account) showGate(r *entry, g wflo.Gate) {
	r.Name, r.Summary, r.Step = line(g.ID), line(g.Approval.Action), line(g.Step)
	r.forKey = g.Step
}

// gateSeen takes over a later state of a gate.
func (a *account) gateSeen(g wflo.Gate, at time.Time) {
	i, ok := a.gates[g.Nonce]
	if !ok {
		return
	}
	r := &a.rows[i]
	if g.Changes < r.changes {
		return
	}
	r.changes, r.Gate, r.gate = g.Changes, gateOf(g), &g
	if !g.Closed() {
		return
	}
	r.gate = nil
	if !g.ClosedAt.IsZero() && !g.ClosedAt.After(at) && !g.ClosedAt.Before(r.Start) {
		at = g.ClosedAt
	}
	w := gateEnd(g)
	if !r.End.IsZero() { // it ended in another way after all
		r.State, r.Error = w.state, w.message
		return
	}
	a.end(i, at, w)
}

// gateEnd is how a gate ended.
func gateEnd(g wflo.Gate) wrong {
	why := ""
	if d := g.Decision; d != nil {
		why = line(strings.TrimSpace(byWhom(d.By, d.Reason)))
	}
	switch g.Status {
	case wflo.GateApproved, wflo.GateAnswered:
		return done
	case wflo.GateRejected:
		return wrong{state: StateRejected, message: "rejected " + why, code: wflo.CodeApprovalRejected}
	case wflo.GateRevoked:
		return wrong{state: StateRejected, message: "taken back " + why, code: wflo.CodeApprovalExpired}
	case wflo.GateTimedOut:
		return wrong{state: StateTimedOut, message: "nobody decided in time", code: wflo.CodeApprovalTimeout}
	case wflo.GateExpired:
		return wrong{state: StateTimedOut, message: "the approval was not used in time", code: wflo.CodeApprovalExpired}
	}
	return wrong{state: StateCancelled}
}

func gateOf(g wflo.Gate) *Gate {
	out := &Gate{Nonce: g.Nonce, Status: g.Status, Risk: string(g.Approval.Risk)}
	for _, v := range g.Votes {
		out.By = union(out.By, v.By)
	}
	if d := g.Decision; d != nil {
		out.By = union(out.By, d.By)
	}
	return out
}

// risks, from none to the highest.
var risks = []wflo.Risk{"", wflo.RiskLow, wflo.RiskMedium, wflo.RiskHigh, wflo.RiskCritical}

// highest is the highest risk of gates.
func highest(gates []wflo.Gate) string {
	most := 0
	for _, g := range gates {
		most = max(most, slices.Index(risks, g.Approval.Risk))
	}
	return string(risks[most])
}

// who says who may decide at a gate.
func who(g wflo.Gate) string {
	var sets []string
	for _, f := range g.Asked() {
		names := strings.Join(f.Approvers, ", ")
		if f.Quorum > 1 {
			names = fmt.Sprintf("%d of %s", f.Quorum, names)
		}
		if len(f.Approvers) > 0 {
			sets = append(sets, names)
		}
	}
	return cmp.Or(strings.Join(sets, " and "), "anybody who may approve")
}
