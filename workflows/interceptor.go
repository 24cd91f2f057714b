package workflows

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
)

// Observer hears how runs end, to count them. It is called from workflow code,
// though never during replay, so it must not block and must not fail.
type Observer interface {
	// WorkflowClosed says that a run ended in a state: completed, failed or halted.
	WorkflowClosed(r wflo.Run, state string, d time.Duration)
	// LoopStopped says that an agent repeated itself and was ended.
	LoopStopped(agent string)
	// DecisionRefused says that a decision did not count at a gate, and why. Where the
	// run has no gate of that name, g only names it and the run.
	DecisionRefused(g wflo.Gate, d wflo.Decision, reason string)
}

// InterceptorConfig sets up the workflow half of the interceptor.
type InterceptorConfig struct {
	// Converter encodes headers; nil means Temporal's default. Workers and
	// clients of one namespace must agree.
	Converter converter.DataConverter
	// Observer may be nil.
	Observer Observer
	// Tracer may be nil.
	Tracer Tracer
	// Begun hears which run a run id of Temporal belongs to before its code begins, also
	// in replays; nil means nobody. It must not block.
	Begun func(runID string, r wflo.Run)
	// Policies says that the worker has policies, so that runs which begin on it
	// are governed by them. A worker without replays such runs all the same.
	Policies bool
	// Snapshots says that the worker keeps snapshots, so that runs which begin on it keep
	// a journal and can be taken back. A worker without replays such runs all the same.
	Snapshots bool
	// SearchAttributes says that the namespace knows wflo's search attributes,
	// so runs may set them. It decides over commands: workers of one task queue
	// must agree.
	SearchAttributes bool
}

// NewInterceptor returns the workflow half of the interceptor, which gives each
// run its identity, budget lines, gates, memo and undo stack, answers wflo's
// queries, signals and updates, and puts a stable key on every activity.
func NewInterceptor(cfg InterceptorConfig) interceptor.WorkerInterceptor {
	if cfg.Converter == nil {
		cfg.Converter = converter.GetDefaultDataConverter()
	}
	return &workerInterceptor{cfg: cfg}
}

type workerInterceptor struct {
	interceptor.WorkerInterceptorBase
	cfg InterceptorConfig
}

// InterceptWorkflow makes one inbound per run; its state is the run's.
func (w *workerInterceptor) InterceptWorkflow(_ workflow.Context, next interceptor.WorkflowInboundInterceptor) interceptor.WorkflowInboundInterceptor {
	in := &inbound{cfg: w.cfg, state: newState(w.cfg.Converter)}
	in.Next = next
	return in
}

type inbound struct {
	interceptor.WorkflowInboundInterceptorBase
	cfg   InterceptorConfig
	state *state
}

func (in *inbound) Init(next interceptor.WorkflowOutboundInterceptor) error {
	out := &outbound{state: in.state}
	out.Next = next
	return in.Next.Init(out)
}

func (in *inbound) ExecuteWorkflow(ctx workflow.Context, input *interceptor.ExecuteWorkflowInput) (any, error) {
	st := in.state
	st.attributes, st.observer = in.cfg.SearchAttributes, in.cfg.Observer
	regime, err := st.open(ctx)
	if err != nil {
		return nil, toWire(err)
	}
	ctx = workflow.WithValue(ctx, tracerKey{}, in.cfg.Tracer)
	st.tracing(ctx).Run(ctx, st.run)
	if in.cfg.Begun != nil {
		in.cfg.Begun(workflow.GetInfo(ctx).WorkflowExecution.RunID, st.run)
	}
	whole := ctx
	ctx = workflow.WithValue(ctx, stateKey{}, st)
	ctx, st.stop = workflow.WithCancel(ctx)
	if st.halted != nil {
		st.stop()
	}
	if err := st.handlers(ctx); err != nil {
		return nil, err
	}
	st.takeSignals(ctx)
	var out any
	if err = st.pin(ctx, in.cfg.Policies, regime); err == nil {
		out, err = in.run(ctx, input)
	}
	if st.askedBack(err) || st.stopping() {
		out, err = nil, st.goBack(ctx, whole, err)
	}
	if workflow.IsContinueAsNewError(err) {
		st.settle(ctx)
		return out, st.handSignals(ctx, err)
	}
	err = st.end(ctx, err)
	st.abandon(ctx)
	st.settle(ctx)
	st.tracing(whole).Closed(whole, st.run, st.phase, st.spent)
	if o := in.cfg.Observer; o != nil && !workflow.IsReplaying(ctx) {
		o.WorkflowClosed(st.run, string(st.phase), workflow.Now(ctx).Sub(workflow.GetInfo(ctx).WorkflowStartTime))
	}
	return out, toWire(err)
}

// HandleSignal takes wflo's own signals; a payload that cannot be read is
// logged and dropped, so that a malformed signal can wedge nothing.
func (in *inbound) HandleSignal(ctx workflow.Context, s *interceptor.HandleSignalInput) error {
	st := in.state
	switch s.SignalName {
	case wflo.SignalDecide:
		st.decideBySignal(ctx, s.Arg)
		return nil
	case wflo.SignalHalt:
		var h wflo.Halt
		if err := st.conv.FromPayloads(s.Arg, &h); err != nil || h.Reason == "" {
			// An emergency stop that was asked for badly is still one.
			h.Reason = "halt signal without a readable reason"
		}
		st.halt(h)
		return nil
	}
	return in.userSignal(ctx, s)
}

// handlers registers what operators and approval tools call.
func (st *state) handlers(ctx workflow.Context) error {
	if err := workflow.SetQueryHandler(ctx, wflo.QueryStatus, func() (wflo.Status, error) {
		return st.status(), nil
	}); err != nil {
		return fmt.Errorf("set query %s: %w", wflo.QueryStatus, err)
	}
	if err := workflow.SetQueryHandler(ctx, wflo.QueryGates, func() ([]wflo.Gate, error) {
		return st.publicGates(), nil
	}); err != nil {
		return fmt.Errorf("set query %s: %w", wflo.QueryGates, err)
	}
	err := workflow.SetUpdateHandlerWithOptions(ctx, wflo.UpdateDecide,
		st.decideByUpdate,
		workflow.UpdateHandlerOptions{
			Description: "Decide on an open approval gate",
			// Refusing in the validator leaves no trace in history and tells
			// the caller why.
			Validator: func(ctx workflow.Context, d wflo.Decision) error {
				err := st.admit(ctx, d)
				if err != nil {
					st.tellRefused(ctx, d, err)
				}
				return toWire(err)
			},
		})
	if err != nil {
		return fmt.Errorf("set update %s: %w", wflo.UpdateDecide, err)
	}
	return st.recoveryHandlers(ctx)
}

type outbound struct {
	interceptor.WorkflowOutboundInterceptorBase
	state *state
}

// ExecuteActivity gives the call its effect key and identity, or refuses it.
func (o *outbound) ExecuteActivity(ctx workflow.Context, activity string, args ...any) workflow.Future {
	return o.execute(ctx, activity, args, false)
}

// ExecuteLocalActivity is ExecuteActivity for local ones.
func (o *outbound) ExecuteLocalActivity(ctx workflow.Context, activity string, args ...any) workflow.Future {
	if key, ok := ctx.Value(judgedKey{}).(string); ok && (strings.HasPrefix(activity, step.PrefixPolicy) || strings.HasPrefix(activity, step.PrefixUndo)) {
		// A question about a call, or a note about its undoing, is not a call.
		if err := o.identify(ctx, key); err != nil {
			return failed(ctx, err)
		}
		return o.Next.ExecuteLocalActivity(ctx, activity, args...)
	}
	return o.execute(ctx, activity, args, true)
}

// execute names a call and makes it. Calls are judged
// at the same time, so that none waits at another one's gate.
func (o *outbound) execute(ctx workflow.Context, activity string, args []any, local bool) workflow.Future {
	st, call := o.state, caller(o.activity)
	if local {
		call = o.localActivity
	}
	call = st.fenced(call)
	if err := st.refusal(ctx); err != nil {
		return failed(ctx, toWire(err))
	}
	key := st.key(ctx, activity)
	// What is asked about the call is no part of it, and has keys of its own.
	ctx = workflow.WithValue(ctx, fixedKey{}, nil)
	return st.begin(ctx, key, activity, args, func(ctx workflow.Context) workflow.Future {
		return o.govern(ctx, call, key, activity, args, local)
	})
}

// govern has the policies of the run judge a call, and makes it.
func (o *outbound) govern(ctx workflow.Context, call caller, key, activity string, args []any, local bool) workflow.Future {
	st := o.state
	if err := st.refusal(ctx); err != nil {
		return failed(ctx, toWire(err))
	}
	if !st.regime.governs(activity) {
		return call(ctx, key, activity, args)
	}
	future, set := workflow.NewFuture(ctx)
	workflow.GoNamed(ctx, "policies of "+key, func(ctx workflow.Context) {
		ctx, args, err := st.govern(ctx, key, activity, args, local)
		if err == nil {
			err = st.refusal(ctx)
		}
		if err != nil {
			set.SetError(toWire(err))
			return
		}
		set.Chain(call(ctx, key, activity, args))
	})
	return future
}

// mayBeUndone says that a call may be an effect that is undone: whoever cancels it must not
// go on, and undo it, before it is over.
func (st *state) mayBeUndone(ctx workflow.Context) bool {
	if st.journal == nil || undoing(ctx) {
		return false
	}
	return interceptor.WorkflowHeader(ctx)[wflo.HeaderEffect] != nil ||
		slices.ContainsFunc(st.stack, func(c *compensation) bool { return c.Step == "" && c.Undoes == "" && c.open() })
}

func (o *outbound) activity(ctx workflow.Context, key, activity string, args []any) workflow.Future {
	if err := o.identify(ctx, key); err != nil {
		return failed(ctx, err)
	}
	if opts := workflow.GetActivityOptions(ctx); opts.Summary == "" {
		opts.Summary = key
		ctx = workflow.WithActivityOptions(ctx, opts)
	}
	if o.state.mayBeUndone(ctx) {
		ctx = workflow.WithWaitForCancellation(ctx, true)
	}
	g, err := o.state.grantFor(ctx, activity, args)
	if err != nil {
		return failed(ctx, toWire(err))
	}
	if c, ok := ctx.Value(callKey{}).(*call); ok && g != nil {
		c.grant = g.recordedAs
	}
	if g != nil && g.auto {
		g.called, g.over = true, true
		return o.Next.ExecuteActivity(ctx, activity, args...)
	}
	if g != nil {
		return o.state.act(ctx, g, func(ctx workflow.Context) workflow.Future { return o.Next.ExecuteActivity(ctx, activity, args...) })
	}
	return o.Next.ExecuteActivity(ctx, activity, o.state.shortened(activity, args)...)
}

// localActivity refuses what people were asked about: a local activity begins without
// looking at the approval again, and nothing could take it back.
func (o *outbound) localActivity(ctx workflow.Context, key, activity string, args []any) workflow.Future {
	if err := o.identify(ctx, key); err != nil {
		return failed(ctx, err)
	}
	if all := o.state.grantsFor(ctx, activity); len(all) > 0 {
		return failed(ctx, toWire(wflo.Errorf(wflo.CodeConflict, "call it with workflow.ExecuteActivity",
			"gate %s: activity %s acts on an approval, and is called as a local activity", all[0].ID, activity)))
	}
	if err := o.state.strayed(ctx, activity); err != nil {
		return failed(ctx, toWire(err))
	}
	return o.Next.ExecuteLocalActivity(ctx, activity, args...)
}

// identify puts the run into the header of one activity call.
func (o *outbound) identify(ctx workflow.Context, key string) error {
	st := o.state
	if undoing(ctx) {
		if err := st.header(ctx, wflo.HeaderUndo, true); err != nil {
			return err
		}
	}
	run := st.run
	run.Step, run.Lines = key, st.lines(ctx)
	run = undoneFor(ctx, run)
	return st.header(ctx, wflo.HeaderRun, run)
}

// ExecuteChildWorkflow hands identity and budgets to the child: what it spends
// counts against every line of its parents.
func (o *outbound) ExecuteChildWorkflow(ctx workflow.Context, child string, args ...any) workflow.ChildWorkflowFuture {
	st := o.state
	run := wflo.Run{
		Root: st.run.RootID(), User: st.run.User, Team: st.run.Team, Org: st.run.Org,
		Agent: st.run.Agent, Tags: st.run.Tags, Principals: st.run.Principals, Bundle: st.run.Bundle,
		Correlation: st.run.Correlation, Lines: st.lines(ctx),
	}
	if opts := workflow.GetChildWorkflowOptions(ctx); st.attributes && opts.TypedSearchAttributes.Size() == 0 {
		opts.TypedSearchAttributes = identity(run)
		ctx = workflow.WithChildOptions(ctx, opts)
	}
	if st.journal != nil && len(st.effectsOf(ctx, child)) > 0 {
		opts := workflow.GetChildWorkflowOptions(ctx)
		opts.WaitForCancellation = true
		ctx = workflow.WithChildOptions(ctx, opts)
	}
	err := st.mayStart(ctx)
	if err == nil {
		err = st.beginEffect(ctx, child)
	}
	if err == nil {
		err = st.header(ctx, wflo.HeaderRun, run)
	}
	if g := st.regime; err == nil && g != nil {
		err = st.header(ctx, wflo.HeaderTime, handed{Started: g.started, Passed: workflow.DeterministicKeys(g.passed)})
	}
	if err != nil {
		// A child future cannot be made here; a cancelled context makes the
		// call fail without starting anything.
		var cancel workflow.CancelFunc
		ctx, cancel = workflow.WithCancel(ctx)
		cancel()
	}
	f := o.Next.ExecuteChildWorkflow(ctx, child, args...)
	st.childRan(ctx, child, f)
	return f
}

// mayStart waits while a policy about time holds the run, since a child would do what
// the run may not.
func (st *state) mayStart(ctx workflow.Context) error {
	if st.regime == nil || undoing(ctx) {
		return st.refusal(ctx)
	}
	return st.released(ctx)
}

// identity makes a child as easy to find by user and team as its parent.
func identity(r wflo.Run) temporal.SearchAttributes {
	set := []temporal.SearchAttributeUpdate{attrState.ValueSet(string(wflo.StateRunning))}
	if r.User != "" {
		set = append(set, attrUser.ValueSet(r.User))
	}
	if r.Team != "" {
		set = append(set, attrTeam.ValueSet(r.Team))
	}
	return temporal.NewSearchAttributes(set...)
}

// NewContinueAsNewError hands the run's identity, undo stack and memo on. It waits for
// gates that are open, which the next run would know nothing of.
func (o *outbound) NewContinueAsNewError(ctx workflow.Context, wfn any, args ...any) error {
	st := o.state
	if st.restoring == nil { // else what runs was stopped, and awaited as long as it may be
		st.drain(ctx)
	}
	run := st.run
	run.Generation++
	c := st.handOver(ctx)
	if st.restoring != nil {
		run, c = st.handBack(run, c)
	}
	if err := st.header(ctx, wflo.HeaderRun, run); err != nil {
		return err
	}
	if err := st.header(ctx, wflo.HeaderCarry, c); err != nil {
		return err
	}
	return o.Next.NewContinueAsNewError(ctx, wfn, args...)
}

// GetLogger adds what joins log lines of one request.
func (o *outbound) GetLogger(ctx workflow.Context) log.Logger {
	l := o.Next.GetLogger(ctx)
	if !o.state.started {
		return l
	}
	r := o.state.run
	return log.With(l, "workflow_id", r.WorkflowID, "execution_id", r.FirstRunID, "user_id", r.User, "team", r.Team, "correlation_id", r.Correlation)
}

func (st *state) header(ctx workflow.Context, name string, v any) error {
	p, err := st.encode(v)
	if err != nil {
		return fmt.Errorf("write header %s: %w", name, err)
	}
	interceptor.WorkflowHeader(ctx)[name] = p
	return nil
}

func failed(ctx workflow.Context, err error) workflow.Future {
	f, set := workflow.NewFuture(ctx)
	set.SetError(err)
	return f
}
