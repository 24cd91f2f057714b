package workflows

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
)

// changePolicy is the version marker of runs that policies govern. Runs that
// began without it go on without policies.
const changePolicy = "wflo-policy"

// judgedKey marks the context of a question to the policies; its value is the
// step key that is asked about.
type judgedKey struct{}

// regime is what governs one run: the policies that it was pinned to when it
// began, and what became of them since.
type regime struct {
	pin wflo.Pin
	// started is when the first run of the chain began.
	started time.Time
	// fired counts the moments of pin.Timers that are done with.
	fired int
	// asking are the moments whose gates are open.
	asking []int
	// held counts what new activities wait for.
	held int
	// approved are the rules that were approved for the rest of the run.
	approved map[string]bool
	// passed are those of them that are about time.
	passed map[string]bool
	// unwatch ends what watches the run's time; nil where nothing does.
	unwatch workflow.CancelFunc
}

// carriedRegime is a regime as it stands in the header of a run that continues
// as new.
type carriedRegime struct {
	Pin      wflo.Pin  `json:"pin"`
	Started  time.Time `json:"started"`
	Fired    int       `json:"fired,omitempty"`
	Approved []string  `json:"approved,omitempty"`
	Passed   []string  `json:"passed,omitempty"`
}

// pin decides which policies govern the run, once and for all: those that its
// parent has, those that it had before it continued as new, or the worker's.
func (st *state) pin(ctx workflow.Context, policies bool, carried *carriedRegime) error {
	info := workflow.GetInfo(ctx)
	// Whoever starts a run does not choose the policies that govern it.
	if info.ParentWorkflowExecution == nil && carried == nil {
		st.run.Bundle = ""
	}
	if info.WorkflowType.Name == wflo.WorkflowBudgetAlert {
		return nil
	}
	// A worker without policies replays the runs of one that has some. Its marker
	// says so; without one nothing is recorded here.
	if !policies && st.run.Bundle == "" && carried == nil && !workflow.IsReplaying(ctx) {
		return nil
	}
	if workflow.GetVersion(ctx, changePolicy, workflow.DefaultVersion, 1) < 1 {
		st.run.Bundle = ""
		return nil
	}
	g := newRegime(ctx)
	if carried != nil {
		g.pin, g.started, g.fired = carried.Pin, carried.Started, carried.Fired
		for _, rule := range carried.Approved {
			g.approved[rule] = true
		}
		for _, rule := range carried.Passed {
			g.passed[rule] = true
		}
	} else {
		pin, err := step.PolicyPin.DoLocal(recording(ctx, "policy/pin", "pin policies"), step.PinRequest{Bundle: st.run.Bundle})
		if err != nil {
			return unasked("pin the run's policies", err)
		}
		g.pin = pin
		if err := st.inherit(ctx, g); err != nil {
			return err
		}
	}
	if st.run.Bundle = g.pin.Bundle; g.pin.Bundle == "" {
		return nil
	}
	st.regime = g
	st.watchTime(ctx)
	return nil
}

func newRegime(ctx workflow.Context) *regime {
	return &regime{started: workflow.GetInfo(ctx).WorkflowStartTime, approved: map[string]bool{}, passed: map[string]bool{}}
}

// end stops what watches the run's time: another regime takes over.
func (g *regime) end() {
	if g != nil && g.unwatch != nil {
		g.unwatch()
	}
}

// carry is what the regime hands to the run's successor. A moment whose gate is
// still open comes again there.
func (g *regime) carry() *carriedRegime {
	if g == nil {
		return nil
	}
	c := &carriedRegime{Pin: g.pin, Started: g.started, Fired: g.fired, Approved: workflow.DeterministicKeys(g.approved), Passed: workflow.DeterministicKeys(g.passed)}
	for _, i := range g.asking {
		c.Fired = min(c.Fired, i)
	}
	return c
}

// bookkeeping are activities of our own that no policy is asked about.
var bookkeeping = []string{
	step.PrefixApproval, step.PrefixPolicy, step.PrefixBudget,
	string(step.SandboxClose), string(step.SandboxRead), string(step.SandboxWrite),
}

// governs says that a call of the activity is judged or may be held.
func (g *regime) governs(activity string) bool {
	return g != nil && !slices.ContainsFunc(bookkeeping, func(own string) bool { return strings.HasPrefix(activity, own) }) &&
		(!g.pin.Quiet || g.held > 0)
}

// judges says that there is a policy that could have something to say about steps
// and gates.
func (g *regime) judges() bool { return g != nil && !g.pin.Quiet }

// recording are the options of questions to the policies: answers take
// microseconds, and what cannot be written down is tried for an hour.
func recording(ctx workflow.Context, key, summary string) workflow.Context {
	ctx = workflow.WithLocalActivityOptions(ctx, workflow.LocalActivityOptions{
		StartToCloseTimeout:    10 * time.Second,
		ScheduleToCloseTimeout: time.Hour,
		Summary:                summary,
		RetryPolicy:            &temporal.RetryPolicy{InitialInterval: 100 * time.Millisecond, BackoffCoefficient: 2, MaximumInterval: time.Minute},
	})
	return workflow.WithValue(ctx, judgedKey{}, key)
}

// undoPatience is how long a compensation waits for its record.
const undoPatience = 10 * time.Second

// judge asks the policies of the run about facts. The answer is recorded in
// history, and so is what follows from it.
func (st *state) judge(ctx workflow.Context, key string, f wflo.Facts, prompt *wflo.Prompt) (wflo.Ruling, error) {
	g := st.regime
	ctx = recording(ctx, key, clip("policies: "+string(f.Kind)+" "+f.Operation, 200))
	if undoing(ctx) {
		opts := workflow.GetLocalActivityOptions(ctx)
		opts.ScheduleToCloseTimeout = undoPatience
		ctx = workflow.WithLocalActivityOptions(ctx, opts)
	}
	r, err := step.PolicyJudge.DoLocal(ctx, step.Question{Bundle: g.pin.Bundle, Facts: f, Prompt: prompt})
	switch {
	case err != nil:
		return r, unasked("judge "+f.Operation, err)
	case r.Bundle != g.pin.Bundle:
		return r, wflo.Errorf(wflo.CodePolicyDenied, "the worker's policy activity is not wflo's", "judge %s: the answer is of bundle %q, the run has %q", f.Operation, r.Bundle, g.pin.Bundle)
	case !slices.Contains(wflo.Effects(), r.Effect):
		return r, wflo.Errorf(wflo.CodePolicyDenied, "let all workers of the task queue have the same version", "judge %s: unknown effect %q", f.Operation, string(r.Effect))
	case r.Effect == wflo.EffectApproval && len(r.Approvals) == 0:
		return r, wflo.Errorf(wflo.CodePolicyDenied, "say who approves in the policy", "judge %s: approval is required, and nobody is named", f.Operation)
	}
	return r, nil
}

// unasked is what happens where no answer can be had: nothing.
func unasked(what string, err error) error {
	err = fromWire(err)
	var canceled *temporal.CanceledError
	if errors.As(err, &canceled) || wflo.CodeOf(err) != "" {
		return fmt.Errorf("%s: %w", what, err)
	}
	return wflo.Errorf(wflo.CodePolicyDenied, "look at the worker's log; without an answer nothing runs", "%s: %w", what, err)
}

// facts are what policies may know of the run whatever they are asked about.
func (st *state) facts(ctx workflow.Context, kind wflo.FactsKind) wflo.Facts {
	now := workflow.Now(ctx)
	f := wflo.Facts{
		Kind: kind, User: st.run.User, Team: st.run.Team, Org: st.run.Org, Agent: st.run.Agent, Tags: st.run.Tags,
		Cost: st.spent, Calls: st.calls, ExecutionTime: now.Sub(st.regime.started).Seconds(),
		Workflow: wflo.WorkflowFacts{
			ID: st.run.WorkflowID, Type: st.run.Workflow, Namespace: st.run.Namespace,
			Generation: st.run.Generation, Epoch: st.run.Epoch,
		},
		Time: wflo.TimeFactsAt(now), Args: noArgs,
	}
	f.Tool, _ = ctx.Value(toolKey{}).(string)
	if s, ok := ctx.Value(stepKey{}).(*scope); ok {
		f.Step, f.Operation, f.Effect = s.name, s.operation, s.effect
	}
	id := st.accountID()
	for _, line := range st.run.Lines {
		if line.ID == id {
			f.Budget = wflo.BudgetFacts{Limit: line.Limit, Spent: st.spent}
		}
	}
	return f
}

// undoing says that ctx is that of a compensation, or of what follows the end of
// a run.
func undoing(ctx workflow.Context) bool {
	u, _ := ctx.Value(compensatingKey{}).(bool)
	return u
}

// obey does what a ruling says about the run itself: halting it, or lowering its
// budget. It returns why nothing more may happen.
func (st *state) obey(ctx workflow.Context, r wflo.Ruling) error {
	if r.Limit > 0 {
		if err := st.limit(wflo.Budget{Limit: r.Limit}); err != nil {
			return fmt.Errorf("lower the run's budget: %w", err)
		}
	}
	if r.Effect != wflo.EffectHalt {
		return nil
	}
	h := wflo.Halt{Reason: "it forbids this"}
	if r.Halt != nil {
		h = *r.Halt
	}
	if h.Policy == "" {
		h.Policy = strings.Join(rulesOf(r), ", ")
	}
	h.By = "policy " + h.Policy
	st.halt(h)
	return st.refusal(ctx)
}

// rulesOf names the policies that gave a ruling its effect.
func rulesOf(r wflo.Ruling) []string {
	var names []string
	for _, m := range r.Matches {
		if m.Effect == r.Effect && !m.Observed {
			names = append(names, m.Rule)
		}
	}
	if len(names) == 0 {
		return []string{"default"}
	}
	return names
}

// asks are the approvals of a ruling that nobody has given yet: not for the run,
// not for the step that ctx is in, and not among those that are met.
func (st *state) asks(ctx workflow.Context, r wflo.Ruling, met []string) []wflo.Approval {
	s, _ := ctx.Value(stepKey{}).(*scope)
	given := func(rule string) bool {
		return slices.Contains(met, rule) || st.regime.approved[rule] || s != nil && s.approved[rule]
	}
	var open []wflo.Approval
	for _, a := range r.Approvals {
		if len(a.Rules) == 0 || slices.ContainsFunc(a.Rules, func(rule string) bool { return !given(rule) }) {
			open = append(open, a)
		}
	}
	return open
}

// given records how far the approval of some rules reaches.
func (st *state) given(s *scope, r wflo.Ruling, rules []string) {
	for _, m := range r.Matches {
		if !slices.Contains(rules, m.Rule) {
			continue
		}
		switch {
		case m.Per == wflo.ReachRun:
			st.regime.approved[m.Rule] = true
		case m.Per == wflo.ReachStep && s != nil:
			if s.approved == nil {
				s.approved = map[string]bool{}
			}
			s.approved[m.Rule] = true
		}
	}
}
