package workflows

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
)

// changeRollback is the version since which a step that is rolled back leaves alone what
// others registered meanwhile.
const changeRollback = "wflo-rollback-undoes-its-own"

// unwind runs compensations, the last one first, and joins what became of them to the
// error that caused it.
func (st *state) unwind(ctx workflow.Context, stack []*compensation, reason error) error {
	if st.halted != nil && st.halted.KeepEffects {
		return reason
	}
	if err := st.undoAll(ctx, stack, cause(reason)); err != nil {
		// Not errors.Join: Temporal records one chain of causes.
		return fmt.Errorf("%w; %s", reason, err.Error())
	}
	return reason
}

// ofStep are the compensations that were registered within a step, or within steps of it,
// the oldest first; mark is how many there were before the step. What branches next to the
// step registered meanwhile stands: their steps are done.
func (st *state) ofStep(ctx workflow.Context, s *scope, mark int) []*compensation {
	var own []*compensation
	for _, c := range st.stack {
		if c.in(s) {
			own = append(own, c)
		}
	}
	since := slices.Clone(st.stack[mark:])
	if slices.Equal(own, since) || workflow.GetVersion(ctx, changeRollback, workflow.DefaultVersion, 1) >= 1 {
		return own
	}
	return since
}

// in says that the compensation was registered within a step, or within a step of it.
func (c *compensation) in(s *scope) bool {
	for at := c.within; at != nil; at = at.outer {
		if at == s {
			return true
		}
	}
	return false
}

// undoAbove undoes what was registered after the first height compensations.
func (st *state) undoAbove(ctx workflow.Context, height int, why string) error {
	return st.undoAll(ctx, st.stack[min(height, len(st.stack)):], why)
}

// undoAll undoes compensations, the last one first, also where the run is cancelled. The
// error names the dead letters.
func (st *state) undoAll(ctx workflow.Context, stack []*compensation, why string) error {
	ctx, cancel := workflow.NewDisconnectedContext(ctx)
	defer cancel()
	ctx = workflow.WithValue(ctx, compensatingKey{}, true)
	phase := st.phase
	var dead []string
	for _, together := range rounds(stack) {
		st.phase, st.doing = wflo.StateCompensating, "undo "+together[0].Name
		dead = append(dead, st.undoRound(ctx, together, why)...)
	}
	st.phase, st.doing = phase, ""
	if len(dead) == 0 {
		return nil
	}
	return fmt.Errorf("%s", strings.Join(dead, "; ")) //nolint:err113 // the parts have said what they are
}

// undoRound undoes compensations at the same time, and names the dead letters.
func (st *state) undoRound(ctx workflow.Context, together []*compensation, why string) []string {
	errs := make([]error, len(together))
	if len(together) == 1 {
		errs[0] = st.undo(ctx, together[0], why)
	} else {
		all := workflow.NewWaitGroup(ctx)
		all.Add(len(together))
		for i, c := range together {
			workflow.GoNamed(ctx, "undo "+c.Name, func(ctx workflow.Context) {
				defer all.Done()
				errs[i] = st.undo(ctx, c, why)
			})
		}
		all.Wait(ctx)
	}
	var dead []string
	for _, err := range errs {
		if err != nil {
			dead = append(dead, err.Error())
		}
	}
	return dead
}

// undo undoes one effect. The error says that it is a dead letter.
func (st *state) undo(ctx workflow.Context, c *compensation, why string) error {
	if c.ID != "" {
		ctx = st.about(ctx, c, why)
		if c.Probe != "" && ctx.Value(undoCallKey{}).(*undoCall).undo.Outcome != wflo.CompensationExecuted && st.nothing(ctx, c) {
			return nil
		}
	}
	f := workflow.ExecuteActivity(c.options(ctx, "undo: "), c.Activity, converter.NewRawValue(c.Input))
	err := f.Get(ctx, nil)
	if err == nil {
		c.State = wflo.CompensationDone
		// The store has what became of it: that there was nothing to undo, perhaps.
		var end wflo.CompensationState
		if c.ID != "" && f.Get(ctx, &end) == nil && end.Ended() {
			c.State = end
		}
		c.Told = c.State
		return nil
	}
	c.State, c.Error = wflo.CompensationDead, cause(err)
	if c.ID != "" {
		st.tellUndo(ctx, c)
	}
	return fmt.Errorf("compensation %q is a dead letter: %w", c.Name, err)
}

// about is the context of the calls that undo c.
func (st *state) about(ctx workflow.Context, c *compensation, why string) workflow.Context {
	c.learn(ctx)
	u := &undoCall{run: c.run(st)}
	u.undo.Undo = wflo.Undo{ID: c.ID, Outcome: wflo.CompensationUnknown, Cause: why}
	if c.State == wflo.CompensationExecuted {
		u.undo.Outcome = wflo.CompensationExecuted
	}
	c.State = wflo.CompensationRunning
	return workflow.WithValue(ctx, undoCallKey{}, u)
}

// nothing asks the probe whether there is something to undo, and says true where there
// is not. The effect cannot begin any more meanwhile: the probe's call says in the store
// that undoing begins, as undoing does itself.
func (st *state) nothing(ctx workflow.Context, c *compensation) bool {
	u := *ctx.Value(undoCallKey{}).(*undoCall)
	u.undo.Probe = true
	p, err := c.asked(workflow.WithValue(ctx, undoCallKey{}, &u))
	switch {
	case err != nil:
		workflow.GetLogger(ctx).Warn("whether the effect happened is not known, it is undone", "compensation", c.Name, "error", err.Error())
		return false
	case p.Happened:
		ctx.Value(undoCallKey{}).(*undoCall).undo.Outcome = wflo.CompensationExecuted
		return false
	}
	c.State = wflo.CompensationSkipped
	st.tellUndo(ctx, c)
	return true
}

// tellUndo writes down what became of one compensation. What cannot be written down stays
// compensating in the store, where the worker's sweep finds it.
func (st *state) tellUndo(ctx workflow.Context, c *compensation) {
	n := step.CompensationNotes{Marks: []step.CompensationMark{{ID: c.ID, State: c.State, Error: c.Error}}}
	if _, err := step.UndoNote.DoLocal(recording(ctx, c.Key, clip(string(c.State)+": "+c.Name, 200)), n); err != nil {
		workflow.GetLogger(ctx).Error("what became of a compensation is not written down", "compensation", c.Name, "state", string(c.State), "error", err.Error())
		return
	}
	c.Told = c.State
}

// options are those of the calls that undo c, or ask about it.
func (c *compensation) options(ctx workflow.Context, what string) workflow.Context {
	timeout, attempts := c.Timeout, c.Attempts
	if timeout == 0 {
		timeout = time.Minute
	}
	if attempts == 0 {
		attempts = 10
	}
	opts := workflow.ActivityOptions{
		StartToCloseTimeout: timeout,
		Summary:             what + c.Name,
		RetryPolicy: &temporal.RetryPolicy{
			InitialInterval: time.Second, BackoffCoefficient: 2, MaximumInterval: time.Minute,
			MaximumAttempts: int32(attempts),
		},
	}
	if c.of != nil {
		opts.TaskQueue = c.of.TaskQueue
	}
	return workflow.WithActivityOptions(ctx, opts)
}

// end undoes and tidies after a run that does not continue as new.
func (st *state) end(ctx workflow.Context, err error) error {
	st.ended = true
	if refused := st.refusal(ctx); refused != nil {
		err = refused
	}
	if err != nil {
		err = st.unwind(ctx, st.stack, err)
	}
	keep := err == nil || st.halted != nil && st.halted.KeepEffects
	switch {
	case st.halted != nil:
		st.phase = wflo.StateHalted
	case err != nil:
		st.phase = wflo.StateFailed
	default:
		st.phase = wflo.StateCompleted
	}
	st.doing = ""
	clean, cancel := workflow.NewDisconnectedContext(ctx)
	defer cancel()
	clean = workflow.WithValue(clean, compensatingKey{}, true)
	st.closeUndo(clean, keep)
	if st.boxed {
		if _, closeErr := step.SandboxClose.Do(quick(clean, "remove the sandbox"), step.None{}); closeErr != nil {
			// The worker's sweep removes it later; the run's outcome stands.
			workflow.GetLogger(ctx).Warn("sandbox not removed", "error", closeErr.Error())
		}
	}
	// A run that was never marked as running need not be marked as ended.
	_, marked := workflow.GetTypedSearchAttributes(ctx).GetKeyword(attrState)
	stopped := st.halted != nil && st.halted.Policy != ""
	if marked || stopped || st.calls > 0 || len(st.gates) > 0 {
		if pubErr := st.publish(clean); pubErr != nil {
			workflow.GetLogger(ctx).Error("publish run", "error", pubErr.Error())
		}
	}
	return err
}
