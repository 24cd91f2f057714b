package workflows

import (
	"time"

	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
)

// callKey carries the *call that an activity is made for.
type callKey struct{}

// begin makes a call: through the journal, where it has an outcome of its own.
func (st *state) begin(ctx workflow.Context, key, activity string, args []any, do func(workflow.Context) workflow.Future) workflow.Future {
	j := st.journal
	if j == nil {
		return do(ctx)
	}
	if partOfVerb(activity) || !st.journaled(ctx) {
		f := do(ctx)
		if j.draining() {
			j.busy = append(j.busy, f)
		}
		return f
	}
	c := &call{kind: step.OutcomeActivity, key: key, input: inputOfCall(args)}
	if c.scope, _ = ctx.Value(stepKey{}).(*scope); c.scope != nil {
		c.effect = c.scope.effect
	}
	ctx = workflow.WithValue(ctx, callKey{}, c)
	f := j.follow(ctx, c, func() workflow.Future { return do(ctx) })
	if known, ok := ctx.Value(knownKey{}).(*bool); ok {
		*known = c.set == nil
	}
	return f
}

// knownKey carries a *bool that says whether a call was answered from the journal.
type knownKey struct{}

// NewTimer is NewTimerWithOptions.
func (o *outbound) NewTimer(ctx workflow.Context, d time.Duration) workflow.Future {
	if !o.state.journaled(ctx) {
		return o.Next.NewTimer(ctx, d)
	}
	return o.NewTimerWithOptions(ctx, d, workflow.TimerOptions{})
}

// NewTimerWithOptions answers timers that had fired when the run was restored. Sleep and
// waiting with a timeout come here, too.
func (o *outbound) NewTimerWithOptions(ctx workflow.Context, d time.Duration, opts workflow.TimerOptions) workflow.Future {
	st := o.state
	if !st.journaled(ctx) || d <= 0 {
		return o.Next.NewTimerWithOptions(ctx, d, opts)
	}
	c := &call{kind: step.OutcomeTimer, key: st.nextKey(ctx, "wflo.timer")}
	c.scope, _ = ctx.Value(stepKey{}).(*scope)
	return st.journal.follow(ctx, c, func() workflow.Future { return o.Next.NewTimerWithOptions(ctx, d, opts) })
}

// SideEffect is SideEffectWithOptions.
func (o *outbound) SideEffect(ctx workflow.Context, f func(workflow.Context) any) converter.EncodedValue {
	return o.sideEffect(ctx, func() converter.EncodedValue { return o.Next.SideEffect(ctx, f) })
}

// SideEffectWithOptions gives the value that was recorded before the run was restored.
func (o *outbound) SideEffectWithOptions(ctx workflow.Context, opts workflow.SideEffectOptions, f func(workflow.Context) any) converter.EncodedValue {
	return o.sideEffect(ctx, func() converter.EncodedValue { return o.Next.SideEffectWithOptions(ctx, opts, f) })
}

// MutableSideEffect is like SideEffect.
func (o *outbound) MutableSideEffect(ctx workflow.Context, id string, f func(workflow.Context) any, equals func(a, b any) bool) converter.EncodedValue {
	return o.sideEffect(ctx, func() converter.EncodedValue { return o.Next.MutableSideEffect(ctx, id, f, equals) })
}

// MutableSideEffectWithOptions is like SideEffectWithOptions.
func (o *outbound) MutableSideEffectWithOptions(ctx workflow.Context, id string, opts workflow.MutableSideEffectOptions, f func(workflow.Context) any, equals func(a, b any) bool) converter.EncodedValue {
	return o.sideEffect(ctx, func() converter.EncodedValue {
		return o.Next.MutableSideEffectWithOptions(ctx, id, opts, f, equals)
	})
}

func (o *outbound) sideEffect(ctx workflow.Context, do func() converter.EncodedValue) converter.EncodedValue {
	st := o.state
	if !st.journaled(ctx) {
		return do()
	}
	return st.journal.side(ctx, st.nextKey(ctx, "wflo.side"), do)
}

// Now is the time of the outcome that was given last while a restored run is given what
// it knew, so that code which computes with time asks for the same.
func (o *outbound) Now(ctx workflow.Context) time.Time {
	if j := o.state.journal; j != nil && j.draining() && o.state.journaled(ctx) {
		return j.now
	}
	return o.Next.Now(ctx)
}

// Go tells the pump that the code does something.
func (o *outbound) Go(ctx workflow.Context, name string, f func(workflow.Context)) workflow.Context {
	if j := o.state.journal; j != nil {
		j.moves++
	}
	return o.Next.Go(ctx, name, f)
}

// childRan notes a child: it runs again after a restore.
func (st *state) childRan(ctx workflow.Context, child string, f workflow.ChildWorkflowFuture) {
	j := st.journal
	if j == nil {
		return
	}
	j.moves++
	if j.draining() {
		j.busy = append(j.busy, f)
	}
	j.unkept = append(j.unkept, wflo.PlanItem{Key: st.nextKey(ctx, "wflo.child/"+child), Kind: "child", At: workflow.Now(ctx), Note: "it runs again"})
}

// ExecuteUpdate notes a user's update: a run that is restored to a moment after it has
// not seen it.
func (in *inbound) ExecuteUpdate(ctx workflow.Context, u *interceptor.UpdateInput) (any, error) {
	j := in.state.journal
	switch u.Name {
	case wflo.UpdateDecide, wflo.UpdateRestore, wflo.UpdateSnapshot:
	default:
		if j != nil {
			j.moves++
			j.unkept = append(j.unkept, wflo.PlanItem{Key: u.Name, Kind: "update", At: workflow.Now(ctx), Note: "the restored run has not seen it"})
		}
	}
	return in.Next.ExecuteUpdate(ctx, u)
}
