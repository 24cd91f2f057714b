package workflows

import (
	"fmt"
	"strings"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
)

var (
	attrState = temporal.NewSearchAttributeKeyKeyword(wflo.AttrState)
	attrGates = temporal.NewSearchAttributeKeyKeywordList(wflo.AttrGates)
	attrUser  = temporal.NewSearchAttributeKeyKeyword(wflo.AttrUser)
	attrTeam  = temporal.NewSearchAttributeKeyKeyword(wflo.AttrTeam)
	attrCost  = temporal.NewSearchAttributeKeyFloat64(wflo.AttrCost)
)

// openGate is a gate with the terms that decisions must meet.
type openGate struct {
	wflo.Gate
	terms wflo.Terms
	// accepts refuses decisions that say what this gate cannot do. It may be nil.
	accepts func(wflo.Decision) error
}

// RequireApproval opens a gate and waits until somebody decides, the time is
// up, or ctx is cancelled. It returns the decision when the verdict is approve
// or respond. A rejection is an error that matches wflo.ErrApprovalRejected, a
// gate that nobody answered wflo.ErrApprovalTimeout; the action must not happen
// then. Who may decide, and how decisions are authenticated, is the worker's
// configuration and a.Approvers.
func RequireApproval(ctx workflow.Context, a wflo.Approval) (wflo.Decision, error) {
	st, err := stateOf(ctx)
	if err != nil {
		return wflo.Decision{}, err
	}
	return st.requireApproval(ctx, a, nil)
}

func (st *state) requireApproval(ctx workflow.Context, a wflo.Approval, accepts func(wflo.Decision) error) (wflo.Decision, error) {
	if err := a.Validate(); err != nil {
		return wflo.Decision{}, err
	}
	g, err := st.openGate(ctx, a, accepts)
	if err != nil {
		return wflo.Decision{}, err
	}
	waitErr := st.await(ctx, g)
	st.closeGate(ctx, g)
	if waitErr != nil {
		return wflo.Decision{}, waitErr
	}
	return g.outcome()
}

func (st *state) openGate(ctx workflow.Context, a wflo.Approval, accepts func(wflo.Decision) error) (*openGate, error) {
	if a.Timeout == 0 {
		a.Timeout = wflo.DefaultApprovalTimeout
	}
	id := a.Gate
	if n := st.countGates(a.Gate); n > 0 {
		id = fmt.Sprintf("%s#%d", a.Gate, n+1)
	}
	now := workflow.Now(ctx)
	asked := wflo.Gate{
		ID: id, Epoch: st.run.Epoch, WorkflowID: st.run.WorkflowID, FirstRunID: st.run.FirstRunID,
		Approval: a, User: st.run.User, OpenedAt: now, ExpiresAt: now.Add(a.Timeout), Status: wflo.GateOpen,
	}
	opened, err := step.ApprovalOpen.Do(quick(ctx, "open gate "+id), asked)
	if err != nil {
		return nil, fmt.Errorf("open gate %s: %w", id, fromWire(err))
	}
	g := &openGate{Gate: opened.Gate, terms: opened.Terms, accepts: accepts}
	if g.Digest != g.ComputeDigest() {
		return nil, wflo.Errorf(wflo.CodeInvalid, "the worker's approval activity is not wflo's", "open gate %s: digest does not match what is shown", id)
	}
	st.gates = append(st.gates, g)
	st.phase, st.doing = wflo.StateWaiting, "gate "+id
	workflow.SetCurrentDetails(ctx, g.markdown())
	return g, st.publish(ctx)
}

// await blocks until the gate is no longer open.
func (st *state) await(ctx workflow.Context, g *openGate) error {
	_, err := workflow.AwaitWithOptions(ctx, workflow.AwaitOptions{
		Timeout:      g.ExpiresAt.Sub(g.OpenedAt),
		TimerOptions: workflow.TimerOptions{Summary: "gate " + g.ID + " times out"},
	}, func() bool { return g.Status != wflo.GateOpen })
	switch {
	case err != nil && g.Status == wflo.GateOpen:
		g.Status = wflo.GateCancelled
		if refused := st.refusal(ctx); refused != nil {
			return refused
		}
		return err
	case g.Status == wflo.GateOpen:
		g.Status = wflo.GateTimedOut
	}
	return nil
}

// closeGate records the end of a gate. It runs on a disconnected context,
// because a cancelled run's gates end too; failing to record must not undo a
// decision that was made.
func (st *state) closeGate(ctx workflow.Context, g *openGate) {
	ctx, cancel := workflow.NewDisconnectedContext(ctx)
	defer cancel()
	ctx = workflow.WithValue(ctx, compensatingKey{}, true)
	if st.halted == nil {
		st.phase = wflo.StateRunning
	}
	st.doing = ""
	workflow.SetCurrentDetails(ctx, g.markdown())
	if err := st.publish(ctx); err != nil {
		workflow.GetLogger(ctx).Error("publish gate", "gate", g.ID, "error", err.Error())
	}
	if _, err := step.ApprovalClose.Do(quick(ctx, "close gate "+g.ID+": "+string(g.Status)), g.Gate); err != nil {
		workflow.GetLogger(ctx).Error("close gate", "gate", g.ID, "error", err.Error())
	}
}

func (g *openGate) outcome() (wflo.Decision, error) {
	switch g.Status {
	case wflo.GateApproved, wflo.GateAnswered:
		return *g.Decision, nil
	case wflo.GateRejected:
		return *g.Decision, wflo.Errorf(wflo.CodeApprovalRejected, "", "gate %s: %s rejected %q: %s",
			g.ID, g.Decision.By, g.Approval.Action, orNone(g.Decision.Reason))
	}
	return wflo.Decision{}, wflo.Errorf(wflo.CodeApprovalTimeout, "run it again, or give the gate more time",
		"gate %s: nobody decided on %q within %s", g.ID, g.Approval.Action, g.Approval.Timeout)
}

func orNone(reason string) string {
	if reason == "" {
		return "no reason given"
	}
	return reason
}

// admit says why a decision would not count, without changing anything.
func (st *state) admit(ctx workflow.Context, d wflo.Decision) error {
	g := st.gate(d.Gate)
	if g == nil {
		return wflo.Invalid("decision.gate", fmt.Sprintf("is %q, which this run has not opened", d.Gate), "list the gates with wflo approvals")
	}
	if err := g.Admit(d, g.terms, workflow.Now(ctx)); err != nil || g.accepts == nil {
		return err
	}
	return g.accepts(d)
}

// decide applies a decision that counts, and counts one that does not.
func (st *state) decide(ctx workflow.Context, d wflo.Decision) error {
	if err := st.admit(ctx, d); err != nil {
		if g := st.gate(d.Gate); g != nil {
			g.Refused++
			g.LastRefusal = err.Error()
		}
		return err
	}
	g := st.gate(d.Gate)
	g.Decision = &d
	switch d.Verdict {
	case wflo.VerdictApprove:
		g.Status = wflo.GateApproved
	case wflo.VerdictRespond:
		g.Status = wflo.GateAnswered
	default:
		g.Status = wflo.GateRejected
	}
	return nil
}

func (st *state) gate(id string) *openGate {
	for _, g := range st.gates {
		if g.ID == id {
			return g
		}
	}
	return nil
}

func (st *state) countGates(name string) int {
	n := 0
	for _, g := range st.gates {
		if g.Approval.Gate == name {
			n++
		}
	}
	return n
}

func (st *state) publicGates() []wflo.Gate {
	gates := make([]wflo.Gate, 0, len(st.gates))
	for _, g := range st.gates {
		gates = append(gates, g.Gate)
	}
	return gates
}

// publish puts the run's state and open gates where operators can search.
func (st *state) publish(ctx workflow.Context) error {
	if !st.attributes {
		return nil
	}
	open := []string{}
	for _, g := range st.gates {
		if g.Status == wflo.GateOpen {
			open = append(open, g.ID)
		}
	}
	gates := attrGates.ValueUnset()
	if len(open) > 0 {
		gates = attrGates.ValueSet(open)
	}
	return workflow.UpsertTypedSearchAttributes(ctx, attrState.ValueSet(string(st.phase)), gates, attrCost.ValueSet(st.spent.Float()))
}

// markdown is what the Temporal Web UI shows about the gate.
func (g *openGate) markdown() string {
	var b strings.Builder
	if g.Status == wflo.GateOpen {
		fmt.Fprintf(&b, "### Waiting for approval: %s\n\n**%s**\n\n", g.ID, g.Approval.Action)
		fmt.Fprintf(&b, "Decide before %s with `wflo approve %s --run %s`, or reject it with `wflo reject`.\n\n",
			g.ExpiresAt.UTC().Format(time.RFC3339), g.ID, g.WorkflowID)
		if g.Approval.Details != "" {
			fmt.Fprintf(&b, "%s\n\n", g.Approval.Details)
		}
		if len(g.Approval.Payload) > 0 {
			fmt.Fprintf(&b, "```json\n%s\n```\n\n", clip(string(g.Approval.Payload), 4000))
		}
		fmt.Fprintf(&b, "Digest `%s`\n", g.Digest)
		return b.String()
	}
	fmt.Fprintf(&b, "### Gate %s: %s\n\n%s\n\n", g.ID, g.Status, g.Approval.Action)
	if d := g.Decision; d != nil {
		fmt.Fprintf(&b, "Decided by %s: %s\n", d.By, orNone(d.Reason))
	}
	return b.String()
}

// quick are the options of bookkeeping activities: short, and retried for an
// hour, because a gate must survive a database that is down for a while.
func quick(ctx workflow.Context, summary string) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout:    30 * time.Second,
		ScheduleToCloseTimeout: time.Hour,
		Summary:                summary,
		RetryPolicy:            &temporal.RetryPolicy{InitialInterval: time.Second, MaximumInterval: time.Minute},
	})
}
