package workflows

import (
	"fmt"
	"slices"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
)

// StepOptions say how a step behaves. The zero value runs it as it is.
type StepOptions struct {
	// Key identifies the step within the run; a second step with the same key
	// returns the first one's result and does nothing. Empty means the name
	// and the number of its occurrence.
	Key string
	// Effect declares what the step does to the world. The run is saved before a step
	// that is irreversible. Where that is not possible, for a reason that no retry mends,
	// the step is done all the same, and its record says why, unless it has a Rollback.
	Effect wflo.EffectClass
	// Operation says for policies what the step does, such as "delete"; it counts
	// for the activities of the step too. Empty means the name.
	Operation string
	// Args are what conditions of policies on args see of the step: a value that is
	// a JSON object. Nil means the payload of Approval.
	Args any
	// Approval, when set, must be granted before the step runs. Policies may add to
	// it, and may ask for one where it is nil. Where it names an Activity, that must be
	// called with the context that the step's function gets: elsewhere in the run, calls
	// of it are refused until the approval is used or too old. A step that ends well and
	// never called it is logged, and its record says so.
	Approval *wflo.Approval
	// Compensation, when set, is registered before the step runs. It counts as executed
	// when the step ends well, and as unknown when it fails.
	Compensation *Compensation
	// Probe is the registered name of an activity that answers wflo.Probed: whether the
	// effect of the step happened. It is asked when the step fails. If it says yes and
	// knows the Result, the step succeeds with that; if it says no, nothing is undone.
	// ProbeInput is its argument. The step's Compensation is asked about the same
	// way, unless it has a probe of its own.
	Probe      string
	ProbeInput any
	// Budget limits what the step may spend in this run, however often it is
	// tried, on top of the run's budgets; it has neither scope, name nor period.
	// A zero limit means none.
	Budget wflo.Budget
	// Rollback runs the compensations that were registered during the step,
	// its own included, as soon as the step fails. Without it they run when
	// the workflow fails. Nil means none; &Rollback{} runs compensations only.
	Rollback *Rollback
}

// Rollback says what is brought back when a step fails, besides the effects that its
// compensations undo. A snapshot is taken before the step, which fails where that is not
// possible. A step that is tried again after it was rolled back asks the world with new
// effect keys.
type Rollback struct {
	// Workspace brings back the files of the run's sandbox.
	Workspace bool
	// Tables brings back sets of tables, by their names in the worker's configuration.
	Tables []string
}

// Step runs fn as a named piece of work and memoises its result: a step whose
// key has finished before, in this run or in the run that it continues, returns
// the recorded result without running fn. Activities that fn calls take their
// effect keys from the step. Errors of fn are returned as they are and are not
// memoised: a step with a Key may be tried again, with the same effect keys.
func Step[T any](ctx workflow.Context, name string, opts StepOptions, fn func(workflow.Context) (T, error)) (T, error) {
	var zero T
	st, err := stateOf(ctx)
	if err != nil {
		return zero, err
	}
	if err := opts.Effect.Validate(); err != nil {
		return zero, fmt.Errorf("step %s: %w", name, err)
	}
	if err := opts.declared(ctx, st); err != nil {
		return zero, fmt.Errorf("step %s: %w", name, err)
	}
	if err := opts.Budget.ValidateOwn(); err != nil {
		return zero, fmt.Errorf("step %s: %w", name, err)
	}
	if err := opts.Rollback.possible(st); err != nil {
		return zero, fmt.Errorf("step %s: %w", name, err)
	}
	key := opts.Key
	if key == "" {
		key = st.stepKey(ctx, name)
	}
	if p, ok := st.memo[key]; ok {
		return recorded[T](st, p, name, key)
	}
	o, err := st.recallStep(ctx, key, &opts)
	if err != nil {
		return zero, fmt.Errorf("step %s: %w", name, err)
	}
	if o != nil {
		if o.Failure != nil {
			return zero, fromWire(errorOf(o.Failure))
		}
		return recorded[T](st, onlyPayload(o.Result), name, key)
	}
	return takeStep(ctx, st, st.newScope(ctx, key, name, &opts), opts, fn)
}

// recorded reads what a step returned before.
func recorded[T any](st *state, p *commonpb.Payload, name, key string) (T, error) {
	var out T
	if err := st.decode(p, &out); err != nil {
		var zero T
		return zero, wflo.Errorf(wflo.CodeConflict, "give the step another key; its type or meaning changed", "step %s: recorded result of key %s: %w", name, key, err)
	}
	return out, nil
}

// takeStep runs a step that has no result yet.
func takeStep[T any](ctx workflow.Context, st *state, s *scope, opts StepOptions, fn func(workflow.Context) (T, error)) (T, error) {
	begun := st.stepBegins(s, &opts)
	mark := len(st.stack)
	ctx, end := st.tracing(ctx).Step(ctx, s.name, s.key, s.effect)
	out, err := runStep(ctx, st, s, opts, fn)
	record := wflo.StepRecord{Key: s.base, Effect: opts.Effect, Unsaved: s.unsaved}
	if err != nil {
		record.Error = cause(err)
		err = st.rollBack(ctx, s, mark, opts.Rollback, err)
	} else if err = st.remember(s.base, out); err != nil {
		end(err)
		var zero T
		return zero, fmt.Errorf("step %s: %w", s.name, err)
	} else if record.Unused = st.unused(s.base); record.Unused != "" {
		workflow.GetLogger(ctx).Warn("the step asked about an activity and did not call it", "step", s.base, "activity", record.Unused)
	}
	st.stepEnds(s, begun, err)
	st.steps = append(st.steps, record)
	end(err)
	return out, err
}

// newScope is one try of a step.
func (st *state) newScope(ctx workflow.Context, key, name string, opts *StepOptions) *scope {
	s := &scope{
		base: key, key: st.tryKey(key), name: name, operation: opts.Operation, effect: opts.Effect,
	}
	s.outer, _ = ctx.Value(stepKey{}).(*scope)
	return s
}

// rollBack undoes what a step that failed did.
func (st *state) rollBack(ctx workflow.Context, s *scope, mark int, r *Rollback, err error) error {
	if r == nil || st.stopping() {
		return err
	}
	err = st.unwind(ctx, st.ofStep(ctx, s, mark), err)
	if st.journal == nil {
		return err
	}
	st.rolled[s.base]++
	if failed := st.bringBack(ctx, s.snapshot, r); failed != nil {
		// Not errors.Join: Temporal records one chain of causes.
		return fmt.Errorf("%w; %s", err, failed.Error())
	}
	return err
}

func runStep[T any](ctx workflow.Context, st *state, inner *scope, opts StepOptions, fn func(workflow.Context) (T, error)) (T, error) {
	var zero T
	key := inner.base
	// What was approved for an earlier try of the step went with its context.
	st.issued = slices.DeleteFunc(st.issued, func(g *openGate) bool { return g.Step == key })
	ctx, err := st.permit(ctx, opts, inner)
	if err != nil {
		return zero, err
	}
	if inner.snapshot, err = st.snapshotBefore(ctx, inner, &opts); err != nil {
		return zero, err
	}
	if err := opts.compensate(ctx, st, inner); err != nil {
		return zero, err
	}
	st.doing = key
	defer func() { st.doing = "" }()
	if inner.outer != nil {
		inner.lines = inner.outer.lines
	}
	if opts.Budget.Limit > 0 {
		id := wflo.Budget{Scope: wflo.ScopeStep, Name: st.run.ID() + "/" + key}.ID()
		inner.lines = append(slices.Clip(inner.lines), lineOf(id, opts.Budget))
	}
	return conclude(workflow.WithValue(ctx, stepKey{}, inner), st, inner, opts, fn)
}

// unused is the activity that a step was approved for, and that nobody has called.
func (st *state) unused(key string) string {
	for _, g := range st.issued {
		if g.Step == key && !g.called && !g.covered && g.Granted() {
			return g.Approval.Activity
		}
	}
	return ""
}

func (st *state) remember(key string, v any) error {
	p, err := st.encode(v)
	if err != nil {
		return fmt.Errorf("memoise %s: %w", key, err)
	}
	st.memo[key] = p
	return nil
}
