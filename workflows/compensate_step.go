package workflows

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
)

// undoCallKey marks the calls that undo an effect; its value is the *undoCall.
type undoCallKey struct{}

// undoCall is such a call: for which run it is made, and what its header says.
type undoCall struct {
	run  wflo.Run
	undo step.UndoCall
}

// declared refuses a step whose class promises what its options do not hold. Only a run
// that would be refused asks which version it is of.
func (o *StepOptions) declared(ctx workflow.Context, st *state) error {
	var err error
	switch {
	case o.Effect == wflo.EffectReversible && o.Compensation == nil:
		err = wflo.Invalid("step.effect", "is reversible, and nothing undoes it", "set StepOptions.Compensation, or declare it irreversible")
	case o.Effect == wflo.EffectVerifiable && o.probe() == "":
		err = wflo.Invalid("step.effect", "is verifiable, and nothing asks whether it happened", "set StepOptions.Probe, or declare it irreversible")
	case o.Probe == "" && o.ProbeInput != nil:
		err = wflo.Invalid("step.probe", "is empty, and has an input", "name the activity that asks whether the effect happened")
	}
	if err == nil || !st.keeps(ctx) {
		return nil
	}
	return err
}

// probe is the activity that says whether the step's effect happened, if any does.
func (o *StepOptions) probe() string {
	if o.Probe == "" && o.Compensation != nil {
		return o.Compensation.Probe
	}
	return o.Probe
}

// compensate registers the step's own compensation, in the scope of the step.
func (o *StepOptions) compensate(ctx workflow.Context, st *state, s *scope) error {
	if o.Compensation == nil {
		return nil
	}
	c := *o.Compensation
	if c.Probe == "" {
		c.Probe, c.ProbeInput = o.Probe, o.ProbeInput
	}
	var err error
	s.own, err = st.register(workflow.WithValue(ctx, stepKey{}, s), c)
	return err
}

// conclude runs a step's function and says what is known of its effects then. Where the
// function fails and a probe knows more, that counts.
func conclude[T any](ctx workflow.Context, st *state, s *scope, opts StepOptions, fn func(workflow.Context) (T, error)) (T, error) {
	out, err := fn(ctx)
	for _, c := range s.undo {
		c.learn(ctx)
		switch {
		case c.ID == "" || c.State != wflo.CompensationRegistered && c.State != wflo.CompensationUnknown:
		case err == nil && c.Undoes == "":
			c.State = wflo.CompensationExecuted
		case err != nil:
			// Whatever the error says: only the fence or a probe knows what it did not do.
			c.State = wflo.CompensationUnknown
		}
	}
	if err == nil || opts.probe() == "" || ctx.Err() != nil || st.refusal(ctx) != nil || !st.keeps(ctx) {
		return out, err
	}
	p, probeErr := opts.ask(ctx, st)
	switch {
	case probeErr != nil:
		workflow.GetLogger(ctx).Warn("whether the effect happened is not known", "step", s.key, "error", probeErr.Error())
	case !p.Happened:
		s.own.set(wflo.CompensationSkipped)
	default:
		s.own.set(wflo.CompensationExecuted)
		if len(p.Result) > 0 {
			var found T
			if jsonErr := json.Unmarshal(p.Result, &found); jsonErr != nil {
				return out, fmt.Errorf("%w; its effect happened, and the result that the probe found cannot be read: %s", err, jsonErr.Error())
			}
			return found, nil
		}
	}
	return out, err
}

// ask has the step's probe say whether the effect happened.
func (o *StepOptions) ask(ctx workflow.Context, st *state) (wflo.Probed, error) {
	c := compensation{Name: "the step", Probe: o.Probe}
	in := o.ProbeInput
	if o.Compensation != nil {
		c.Name, c.Timeout, c.Attempts = o.Compensation.Name, o.Compensation.Timeout, o.Compensation.Attempts
		if o.Probe == "" {
			c.Probe, in = o.Compensation.Probe, o.Compensation.ProbeInput
		}
	}
	input, err := st.encode(in)
	if err != nil {
		return wflo.Probed{}, fmt.Errorf("probe %s: %w", c.Probe, err)
	}
	c.ProbeInput = input
	return c.asked(workflow.WithValue(ctx, undoCallKey{}, &undoCall{}))
}

// asked calls the probe.
func (c *compensation) asked(ctx workflow.Context) (p wflo.Probed, err error) {
	err = workflow.ExecuteActivity(c.options(ctx, "probe: "), c.Probe, converter.NewRawValue(c.ProbeInput)).Get(ctx, &p)
	return p, err
}

func (c *compensation) set(s wflo.CompensationState) {
	if c != nil && c.ID != "" {
		c.State = s
	}
}

// learn takes over what became of the call that the compensation undoes.
func (c *compensation) learn(ctx workflow.Context) {
	if c.call == nil || c.State != wflo.CompensationRegistered || !c.call.IsReady() {
		return
	}
	c.State = wflo.CompensationExecuted
	if c.call.Get(ctx, nil) != nil {
		c.State = wflo.CompensationUnknown
	}
}

type caller func(ctx workflow.Context, key, activity string, args []any) workflow.Future

// fenced makes calls that may be the effect of compensations carry their names, so that
// no attempt begins once the effect was undone.
func (st *state) fenced(call caller) caller {
	return func(ctx workflow.Context, key, activity string, args []any) workflow.Future {
		if u, ok := ctx.Value(undoCallKey{}).(*undoCall); ok {
			if err := st.undoHeader(ctx, u); err != nil {
				return failed(ctx, err)
			}
			return call(ctx, key, activity, args)
		}
		effects := st.effectsOf(ctx, activity)
		if len(effects) > 0 {
			if err := st.header(ctx, wflo.HeaderEffect, idsOf(effects)); err != nil {
				return failed(ctx, err)
			}
		}
		f := call(ctx, key, activity, args)
		for _, c := range effects {
			if c.Undoes != "" {
				c.Called, c.call = true, f
			}
		}
		return f
	}
}

func (st *state) undoHeader(ctx workflow.Context, u *undoCall) error {
	if u.undo.ID == "" {
		return nil // a probe of a step that goes on
	}
	return st.header(ctx, wflo.HeaderUndoOf, u.undo)
}

// effectsOf are the compensations whose effect a call of an activity may be.
func (st *state) effectsOf(ctx workflow.Context, activity string) []*compensation {
	if undoing(ctx) || effectless(activity) {
		return nil
	}
	var all []*compensation
	add := func(c *compensation) {
		if c.ID != "" && c.State != wflo.CompensationSkipped && (c.Undoes == "" || c.Undoes == activity && !c.Called) {
			all = append(all, c)
		}
	}
	inner, _ := ctx.Value(stepKey{}).(*scope)
	for s := inner; s != nil; s = s.outer {
		for _, c := range s.undo {
			add(c)
		}
	}
	for _, c := range st.stack {
		adopted := !c.seen && c.State == wflo.CompensationDead // of an effect that is left to people
		if c.Step == "" && c.Undoes == activity && !adopted {
			add(c)
		}
	}
	return all
}

func idsOf(all []*compensation) []string {
	ids := make([]string, len(all))
	for i, c := range all {
		ids[i] = c.ID
	}
	return ids
}

// effectless are wflo's own activities that ask, record and tidy up.
func effectless(activity string) bool {
	for _, prefix := range []string{step.PrefixApproval, step.PrefixPolicy, step.PrefixBudget, step.PrefixSnapshot, step.PrefixUndo, step.PrefixRecovery} {
		if strings.HasPrefix(activity, prefix) {
			return true
		}
	}
	return activity == string(step.SandboxClose)
}

// beginEffect says that an effect of the step begins which no activity of this run
// brings about: in a child, say, whose calls do not carry the step's compensations.
func (st *state) beginEffect(ctx workflow.Context, name string) error {
	ids := idsOf(st.effectsOf(ctx, name))
	if len(ids) == 0 {
		return nil
	}
	_, err := step.UndoBegin.DoLocal(recording(ctx, "undo/begin", clip("an effect begins: "+name, 200)), ids)
	return fromWire(err)
}

// foreign is a name that no activity has, for effects that are not activities.
const foreign = "\x00"

// SignalExternalWorkflow is what may be an effect of a step, like an activity.
func (o *outbound) SignalExternalWorkflow(ctx workflow.Context, workflowID, runID, name string, arg any) workflow.Future {
	if err := o.state.beginEffect(ctx, foreign); err != nil {
		return failed(ctx, toWire(err))
	}
	return o.Next.SignalExternalWorkflow(ctx, workflowID, runID, name, arg)
}

// SignalChildWorkflow is like SignalExternalWorkflow.
func (o *outbound) SignalChildWorkflow(ctx workflow.Context, workflowID, name string, arg any) workflow.Future {
	if err := o.state.beginEffect(ctx, foreign); err != nil {
		return failed(ctx, toWire(err))
	}
	return o.Next.SignalChildWorkflow(ctx, workflowID, name, arg)
}

// keyAfterUndo is the key that the calls of a step are named by: with the number of the
// times that its effects were undone, if any were.
func (st *state) keyAfterUndo(key string) string {
	if n := st.redone(key); n > 0 {
		return fmt.Sprintf("%s~%d", key, n)
	}
	return key
}

// baseOf is the key of a step without that number.
func baseOf(key string) string {
	if i := strings.LastIndexByte(key, '~'); i > 0 && i+1 < len(key) && strings.Trim(key[i+1:], "0123456789") == "" {
		return key[:i]
	}
	return key
}

// rounds are the compensations that are to be undone, in the order of undoing; those of
// one round at the same time.
func rounds(stack []*compensation) [][]*compensation {
	var all [][]*compensation
	for _, c := range slices.Backward(stack) {
		if !c.open() {
			continue
		}
		if n := len(all) - 1; n >= 0 && c.Group != "" && all[n][0].Group == c.Group {
			all[n] = append(all[n], c)
			continue
		}
		all = append(all, []*compensation{c})
	}
	return all
}
