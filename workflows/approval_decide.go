package workflows

import (
	"errors"
	"fmt"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
)

const (
	// maxEarly bounds the gates whose early decisions are counted, maxLate the
	// rejections that wait for the store to decide. Signals cost their sender nothing.
	maxEarly = 100
	maxLate  = 100
	// maxRefusal bounds, in bytes, what a gate keeps of why a decision did not count.
	maxRefusal = 500
	// loudRefusals are how many refusals of one gate are logged one by one.
	loudRefusals = 10
)

// lateDecision is a rejection that came by signal after the approval.
type lateDecision struct {
	wflo.Decision
	at time.Time
}

// admit says why a decision would not count, without changing anything.
func (st *state) admit(ctx workflow.Context, d wflo.Decision) error {
	g, err := st.gateOf(d)
	if err == nil {
		err = g.Admit(d, g.terms, workflow.Now(ctx))
	}
	if err == nil {
		err = g.takes(d)
	}
	return err
}

// weigh is admit with the gate as it is after the decision. Verifying signatures is most
// of what either costs, so only one of them is asked.
func (st *state) weigh(ctx workflow.Context, d wflo.Decision) (g *openGate, next wflo.Gate, err error) {
	if g, err = st.gateOf(d); err == nil {
		next, err = g.Apply(d, g.terms, workflow.Now(ctx))
	}
	if err == nil {
		err = g.takes(d)
	}
	return g, next, err
}

// gateOf is the gate that a decision names; nil with the error where there is none, and
// the gate with an error where nobody waits for the answer any more.
func (st *state) gateOf(d wflo.Decision) (*openGate, error) {
	g := st.gate(d.Gate)
	if g == nil {
		return nil, wflo.Errorf(wflo.CodeUnopened, "list the gates with wflo approvals", "decision.gate is %q, which this run has not opened", clip(d.Gate, 200))
	}
	if g.unasked() {
		return g, wflo.Invalid("decision", fmt.Sprintf("comes late: gate %s ends with what asked, which was halted or cancelled", g.ID), "nothing was changed")
	}
	return g, nil
}

// unasked says that nobody waits for the answer any more. A halt or a cancellation ends
// the waiting only when the waiting coroutine gets its turn: a decision that comes later
// in the same workflow task must not count for a run that was stopped before.
func (g *openGate) unasked() bool {
	return g.Version > 0 && !g.Closed() && g.asker != nil && g.asker.Err() != nil
}

// takes refuses what this gate cannot do, and answers that do not fit its form.
func (g *openGate) takes(d wflo.Decision) error {
	if err := g.fits(d); err != nil || g.accepts == nil {
		return err
	}
	return g.accepts(d)
}

// decideByUpdate applies a decision, and waits for the store where an activity may
// have begun to act on the approval. Admit has been asked before, in the validator.
func (st *state) decideByUpdate(ctx workflow.Context, d wflo.Decision) (wflo.Gate, error) {
	g, late, err := st.decide(ctx, d)
	if err == nil && late {
		err = st.revoke(ctx, g, d, workflow.Now(ctx))
	}
	if err != nil {
		return wflo.Gate{}, toWire(err)
	}
	return g.Gate, nil
}

// decideBySignal is decideByUpdate for senders who can only signal. What cannot be
// read is counted and dropped, so that a malformed signal wedges nothing. It runs
// before the workflow task begins, when the run's clock is still that of the task
// before: the decision waits until takeSignals judges it.
func (st *state) decideBySignal(ctx workflow.Context, arg *commonpb.Payloads) {
	var d wflo.Decision
	if err := st.readDecision(arg, &d); err != nil {
		workflow.GetLogger(ctx).Warn("decision signal cannot be read", "error", clip(err.Error(), maxRefusal))
		return
	}
	st.signalled = append(st.signalled, d)
}

// takeSignals judges the decisions that came by signal, in their order, for as long as
// the run goes on.
func (st *state) takeSignals(ctx workflow.Context) {
	workflow.GoNamed(st.unstoppable(ctx), "decisions by signal", func(ctx workflow.Context) {
		for {
			if workflow.Await(ctx, func() bool { return len(st.signalled) > 0 }) != nil {
				return
			}
			for range min(len(st.signalled), atOnce) {
				d := st.signalled[0]
				st.signalled = st.signalled[1:]
				st.take(ctx, d)
			}
			breathe(ctx)
		}
	})
}

// atOnce is how many decisions are judged before other parts of the run get their
// turn: Temporal gives up on workflow code that goes on for a second.
const atOnce = 100

// breathe gives every other coroutine a turn.
func breathe(ctx workflow.Context) {
	done := false
	workflow.Go(ctx, func(workflow.Context) { done = true })
	_ = workflow.Await(ctx, func() bool { return done }) // nothing cancels ctx
}

func (st *state) take(ctx workflow.Context, d wflo.Decision) {
	g, late, err := st.decide(ctx, d)
	switch {
	case err == nil && late && len(g.late) < maxLate:
		g.late = append(g.late, lateDecision{d, workflow.Now(ctx)})
	case err != nil && g != nil && g.Refused <= loudRefusals:
		workflow.GetLogger(ctx).Warn("decision refused", "gate", g.ID, "by", wflo.VisibleLine(clip(d.By, 200)), "error", g.LastRefusal)
	}
}

// maxSignal bounds a decision that comes as a signal, in bytes: a payload that is
// edited, what people write, and a form.
const maxSignal = 1 << 20

func (st *state) readDecision(arg *commonpb.Payloads, d *wflo.Decision) error {
	switch {
	case len(arg.GetPayloads()) != 1:
		return fmt.Errorf("has %d arguments", len(arg.GetPayloads()))
	case len(arg.Payloads[0].GetData()) > maxSignal:
		return fmt.Errorf("has %d bytes", len(arg.Payloads[0].GetData()))
	}
	return st.conv.FromPayload(arg.Payloads[0], d)
}

// decide applies a decision that counts, and counts one that does not. late says that
// it is a rejection about which the store must decide: see revoke. It never blocks.
func (st *state) decide(ctx workflow.Context, d wflo.Decision) (g *openGate, late bool, err error) {
	g, next, err := st.weigh(ctx, d)
	switch {
	case err != nil:
		st.refuse(g, d, err)
		return g, false, err
	case next.Changes == g.Changes, d.Verdict == wflo.VerdictAck && g.AckedBy == d.By:
		return g, false, nil // it counted before
	case next.Status == wflo.GateRevoked && g.called:
		return g, true, nil
	}
	edited, raised := next.Revision > g.Revision, next.Level > g.Level
	g.Gate = next
	switch {
	case next.Status == wflo.GateRevoked:
		// Its end is on record as an approval already, or will be before this.
		g.late = append(g.late, lateDecision{d, workflow.Now(ctx)})
	case next.Closed():
	case edited:
		g.note(wflo.NoticeAsked, &d)
	case raised:
		g.note(wflo.NoticeEscalated, &d)
	default:
		g.note(wflo.NoticeDecided, &d)
	}
	return g, false, nil
}

// tellRefused has a refusal put on record outside: one in a validator is in no history.
func (st *state) tellRefused(ctx workflow.Context, d wflo.Decision, reason error) {
	if st.observer == nil || workflow.IsReplaying(ctx) {
		return
	}
	info := workflow.GetInfo(ctx)
	g := wflo.Gate{
		ID: clip(d.Gate, 200), Namespace: info.Namespace, WorkflowID: info.WorkflowExecution.ID, FirstRunID: info.FirstRunID, Org: st.run.Org,
	}
	if open := st.gate(d.Gate); open != nil {
		g = open.Gate
	}
	st.observer.DecisionRefused(g, d, wflo.VisibleLine(clip(reason.Error(), maxRefusal)))
}

// refuse counts a decision that did not count, at its gate or for the time when that
// opens.
func (st *state) refuse(g *openGate, d wflo.Decision, reason error) {
	if g != nil {
		refused := g.Refuse(errors.New(wflo.VisibleLine(clip(reason.Error(), maxRefusal))))
		if g.Version == 0 {
			refused.Changes = g.Changes
		}
		g.Gate = refused
		return
	}
	if st.early == nil {
		st.early = map[string]int{}
	}
	if _, known := st.early[d.Gate]; known || len(st.early) < maxEarly && len(d.Gate) <= maxRefusal {
		st.early[d.Gate]++
	}
}

// revoke takes an approval back for a rejection that came after it. Where an activity
// was called, it may begin at any moment on some machine: the store decides which of
// the two was first. at is when the rejection arrived.
func (st *state) revoke(ctx workflow.Context, g *openGate, d wflo.Decision, at time.Time) error {
	done, set := workflow.NewFuture(ctx)
	st.awaited(done)
	defer set.SetValue(nil)
	ctx = st.unstoppable(ctx)
	next := g.Gate
	if g.Granted() {
		var err error
		if next, err = g.Apply(d, g.terms, at); err != nil {
			st.refuse(g, d, err)
			return err
		}
	}
	ok, err := step.ApprovalRevoke.Do(quick(ctx, "revoke gate "+g.ID), step.Revocation{Gate: next, Decision: d})
	if err != nil {
		err = fmt.Errorf("revoke gate %s: %w", g.ID, fromWire(err))
		st.refuse(g, d, err)
		return err
	}
	if g.Status == wflo.GateRevoked {
		return nil
	}
	if !ok || g.Used {
		g.Used = true
		err := wflo.Invalid("decision", fmt.Sprintf("comes late: the action of gate %s has begun", g.ID), "halt the run to stop what follows")
		st.refuse(g, d, err)
		return err
	}
	g.Gate = next
	if g.cancel != nil {
		g.cancel()
	}
	workflow.SetCurrentDetails(ctx, st.details(g))
	return nil
}

// guard takes rejections that come by signal while an approval waits for its activity,
// until that has ended.
func (st *state) guard(ctx workflow.Context, g *openGate) {
	g.guarded = true
	workflow.Go(st.unstoppable(ctx), func(ctx workflow.Context) {
		for {
			err := workflow.Await(ctx, func() bool { return len(g.late) > 0 || g.over })
			if err != nil || len(g.late) == 0 {
				return
			}
			d := g.late[0]
			g.late = g.late[1:]
			if err := st.revoke(ctx, g, d.Decision, d.at); err != nil {
				workflow.GetLogger(ctx).Warn("decision refused", "gate", g.ID, "error", clip(err.Error(), maxRefusal))
			}
		}
	})
}
