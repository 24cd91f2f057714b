package workflows

import (
	"fmt"
	"slices"

	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
)

// await blocks until the gate is no longer open.
func (st *state) await(ctx workflow.Context, g *openGate) error {
	g.asker = ctx
	for !g.Closed() {
		at, what := g.Next()
		wait := at.Sub(workflow.Now(ctx))
		if g.Version == 0 {
			wait = g.ExpiresAt.Sub(g.OpenedAt) // as such gates always did
		}
		if wait > 0 {
			woken, err := workflow.AwaitWithOptions(ctx, workflow.AwaitOptions{
				Timeout: wait, TimerOptions: workflow.TimerOptions{Summary: g.timerSummary(what)},
			}, func() bool {
				next, event := g.Next()
				return g.Closed() || !next.Equal(at) || event != what || len(g.news) > 0
			})
			if err != nil && !g.Closed() {
				return st.giveUp(ctx, g, err)
			}
			if woken {
				st.tell(ctx, g)
				continue
			}
		}
		st.pass(ctx, g, what)
	}
	if g.abandoned {
		return workflow.Await(ctx, func() bool { return false }) // the run is over, and nothing may follow
	}
	st.tell(ctx, g)
	if g.Status == wflo.GateTimedOut && g.Approval.OnTimeout == wflo.OnTimeoutHalt {
		st.halt(wflo.Halt{By: timerName, Reason: fmt.Sprintf("gate %s: nobody decided on %q in time", g.ID, oneLine(g.Approval.Action, 200))})
		return st.refusal(ctx)
	}
	return nil
}

// giveUp ends a gate that nobody waits for any more.
func (st *state) giveUp(ctx workflow.Context, g *openGate, err error) error {
	g.Status = wflo.GateCancelled
	if g.Version > 0 {
		g.Changes++
		g.ClosedAt = workflow.Now(ctx)
	}
	if refused := st.refusal(ctx); refused != nil {
		return refused
	}
	return err
}

// timerSummary says in the Temporal Web UI what the gate waits for.
func (g *openGate) timerSummary(what wflo.GateEvent) string {
	switch {
	case what == wflo.EventReminder:
		return "gate " + g.ID + ": reminder"
	case what == wflo.EventEscalate, g.Approval.OnTimeout == wflo.OnTimeoutEscalate && g.Level < len(g.Approval.Escalation):
		return fmt.Sprintf("gate %s: escalate to level %d", g.ID, g.Level+1)
	}
	return "gate " + g.ID + " times out"
}

// pass does to the gate what time brings.
func (st *state) pass(ctx workflow.Context, g *openGate, what wflo.GateEvent) {
	level := g.Level
	g.Gate = g.Pass(what, workflow.Now(ctx))
	switch {
	case g.Closed() || g.Version == 0:
	case g.Level > level:
		g.note(wflo.NoticeEscalated, nil)
	case what == wflo.EventReminder:
		g.note(wflo.NoticeReminder, nil)
	}
	st.tell(ctx, g)
}

// note puts down something to tell. Gates of old histories tell nothing.
func (g *openGate) note(kind wflo.NoticeKind, d *wflo.Decision) {
	if g.Version > 0 {
		g.news = append(g.news, step.Telling{Gate: g.Gate, Kind: kind, Decision: d})
	}
}

// tell starts to tell the news. Nobody waits for it: a channel or a database that is
// down must not hold up a decision.
func (st *state) tell(ctx workflow.Context, g *openGate) {
	if len(g.news) == 0 {
		return
	}
	all := g.news
	g.news = nil
	for _, n := range all {
		st.aside(ctx, g, fmt.Sprintf("tell of gate %s: %s", g.ID, n.Kind), func(ctx workflow.Context, summary string) error {
			_, err := step.ApprovalTell.Do(quick(ctx, summary), n)
			return err
		})
	}
	if !g.Closed() {
		workflow.SetCurrentDetails(ctx, st.details(g))
		if err := st.publish(ctx); err != nil {
			workflow.GetLogger(ctx).Error("publish gate", "gate", g.ID, "error", err.Error())
		}
	}
}

// aside runs bookkeeping of a gate in a coroutine of its own, after what was begun
// before for the same gate, so that channels and trail learn of things in their
// order. Neither a cancelled run nor a halt stops it; its failure is logged.
func (st *state) aside(ctx workflow.Context, g *openGate, what string, do func(ctx workflow.Context, summary string) error) {
	before := g.told
	done, set := workflow.NewFuture(ctx)
	g.told = done
	st.awaited(done)
	workflow.Go(st.unstoppable(ctx), func(ctx workflow.Context) {
		if before != nil {
			_ = before.Get(ctx, nil) // it is never set to an error
		}
		if err := do(ctx, what); err != nil {
			workflow.GetLogger(ctx).Error(what, "gate", g.ID, "error", err.Error())
		}
		set.SetValue(nil)
	})
}

// awaited keeps the run from ending before f is ready.
func (st *state) awaited(f workflow.Future) {
	open := st.telling[:0]
	for _, t := range st.telling {
		if !t.IsReady() {
			open = append(open, t)
		}
	}
	st.telling = append(open, f)
}

// unstoppable is a context that neither cancellation nor a halt reaches.
func (st *state) unstoppable(ctx workflow.Context) workflow.Context {
	ctx, _ = workflow.NewDisconnectedContext(ctx)
	return workflow.WithValue(ctx, compensatingKey{}, true)
}

// drain waits until people have decided at all gates that somebody waits for, and what
// acts on their approvals is done: the run's successor has none of them, so their
// votes would be lost, and the action could begin with nobody to hear of its end.
func (st *state) drain(ctx workflow.Context) {
	if !st.levelled {
		return
	}
	err := workflow.Await(st.unstoppable(ctx), func() bool {
		return st.asking == 0 && len(st.signalled) == 0 && !slices.ContainsFunc(st.gates, func(g *openGate) bool { return g.called && !g.over })
	})
	if err != nil {
		workflow.GetLogger(ctx).Error("wait for open gates", "error", err.Error())
	}
}

// abandon closes the gates that a run leaves open when it ends, so that nobody is asked
// for what cannot happen any more.
func (st *state) abandon(ctx workflow.Context) {
	for _, g := range st.gates {
		if g.Version > 0 && !g.Closed() {
			g.abandoned = true
			g.Status, g.ClosedAt = wflo.GateCancelled, workflow.Now(ctx)
			g.Changes++
			st.recordEnd(ctx, g)
		}
	}
}

// settle waits until all that was begun aside is done. It is called when the run ends
// or continues as new.
func (st *state) settle(ctx workflow.Context) {
	if !st.levelled {
		return
	}
	ctx = st.unstoppable(ctx)
	for _, g := range st.gates {
		st.tell(ctx, g)
	}
	err := workflow.Await(ctx, func() bool {
		return len(st.signalled) == 0 && !slices.ContainsFunc(st.telling, func(f workflow.Future) bool { return !f.IsReady() }) &&
			!slices.ContainsFunc(st.gates, func(g *openGate) bool { return g.guarded && len(g.late) > 0 })
	})
	if err != nil {
		workflow.GetLogger(ctx).Error("wait for the records of gates", "error", err.Error())
	}
}

// closeGate shows and records the end of a gate. Failing to record must not undo a
// decision that was made, and recording must not hold up what was decided; only
// gates of old histories wait for it, because they did.
func (st *state) closeGate(ctx workflow.Context, g *openGate) {
	ctx = st.unstoppable(ctx)
	st.phase, st.doing = st.phaseNow(), ""
	workflow.SetCurrentDetails(ctx, st.details(g))
	if err := st.publish(ctx); err != nil {
		workflow.GetLogger(ctx).Error("publish gate", "gate", g.ID, "error", err.Error())
	}
	summary := "close gate " + g.ID + ": " + string(g.Status)
	if g.Version > 0 {
		st.recordEnd(ctx, g)
		return
	}
	if _, err := step.ApprovalClose.Do(quick(ctx, summary), g.Gate); err != nil {
		workflow.GetLogger(ctx).Error("close gate", "gate", g.ID, "error", err.Error())
	}
}

// recordEnd records how the gate ended, or that it ended in another way after all.
func (st *state) recordEnd(ctx workflow.Context, g *openGate) {
	closed := g.Gate
	st.aside(ctx, g, "close gate "+g.ID+": "+string(g.Status), func(ctx workflow.Context, summary string) error {
		_, err := step.ApprovalClose.Do(quick(ctx, summary), closed)
		return err
	})
}

// phaseNow is what the run does when one of its gates has closed: it still waits
// where another is open.
func (st *state) phaseNow() wflo.RunState {
	if st.halted != nil {
		return st.phase
	}
	for _, g := range st.gates {
		if !g.Closed() {
			return wflo.StateWaiting
		}
	}
	return wflo.StateRunning
}
