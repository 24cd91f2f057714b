package workflows

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
)

type (
	stateKey        struct{}
	stepKey         struct{}
	fixedKey        struct{}
	compensatingKey struct{}
)

// errNoPlugin is what verbs answer in a worker that lacks the interceptor:
// without it there is no budget, no identity and no undo, so nothing may run.
var errNoPlugin = wflo.Invalid("worker", "runs workflows without wflo's plugin",
	"pass plugin.New(...) to client.Options.Plugins or worker.Options.Plugins")

// state is what one run knows about itself. It lives in workflow code: every
// change to it follows from history, never from a clock or another goroutine.
type state struct {
	conv  converter.DataConverter
	run   wflo.Run
	phase wflo.RunState
	doing string

	occurrences map[string]int
	steps       []wflo.StepRecord
	memo        map[string]*commonpb.Payload
	stack       []*compensation
	// journal is nil in runs that cannot be taken back. rolled counts the tries of a step
	// that were rolled back.
	journal *journal
	rolled  map[string]int
	// arrived are signals that came before the code began. back is how the run came to be
	// restored, restoring where it goes; seeking is the ID of a restore that is looked at,
	// returning that of the one that the run comes back from, until it has.
	arrived   []*interceptor.HandleSignalInput
	coding    bool
	back      *back
	restoring *restoring
	seeking   string
	returning string
	seq       int // of the last outcome of the run before
	// salt tells the compensations of a retried run apart from those of the run before.
	salt string
	desk
	talks talks
	// raises are the latest questions about budgets, by budget; turn orders them.
	raises map[string]*raise
	turn   int

	spent wflo.Money
	calls int
	// account is the budget that is limited as the run's own; empty means that of its ID.
	account string
	// bundle are the policies of the run that this one goes on for.
	bundle  string
	boxed   bool // the run has a sandbox to close
	halted  *wflo.Halt
	stop    workflow.CancelFunc
	started bool
	ended   bool // what follows is undoing and tidying
	// regime is what policies make of the run; nil where none govern it.
	regime *regime
	// attributes says that search attributes may be set.
	attributes bool
	observer   Observer // may be nil
}

func newState(conv converter.DataConverter) *state {
	return &state{
		conv: conv, phase: wflo.StateRunning,
		occurrences: map[string]int{}, memo: map[string]*commonpb.Payload{}, raises: map[string]*raise{}, rolled: map[string]int{},
		desk: desk{lapsed: map[string]string{}},
	}
}

// stateOf finds the state of the run that ctx belongs to.
func stateOf(ctx workflow.Context) (*state, error) {
	if st, ok := ctx.Value(stateKey{}).(*state); ok {
		return st, nil
	}
	return nil, errNoPlugin
}

// open fills the state from the headers that the run was started with. The regime
// is what policies made of the run before it continued as new.
func (st *state) open(ctx workflow.Context) (*carriedRegime, error) {
	header := interceptor.WorkflowHeader(ctx)
	if err := st.decode(header[wflo.HeaderRun], &st.run); err != nil {
		return nil, fmt.Errorf("read header %s: %w", wflo.HeaderRun, err)
	}
	c, err := st.carried(ctx)
	if err != nil {
		return nil, err
	}
	st.spent, st.calls, st.boxed, st.stack, st.salt, st.account = c.Spent, c.Calls, c.Boxed, c.Stack, c.Salt, c.Account
	st.takeOver(ctx, c)
	if c.Memo != nil {
		st.memo = c.Memo
	}
	if c.Rolled != nil {
		st.rolled = c.Rolled
	}
	st.back, st.seq = c.Back, c.Seq
	carried := make([]*interceptor.HandleSignalInput, len(c.Signals))
	for i, s := range c.Signals {
		carried[i] = &interceptor.HandleSignalInput{SignalName: s.Name, Arg: s.Args}
	}
	st.arrived = slices.Concat(carried, st.arrived)
	if c.Lapsed != nil {
		st.lapsed = c.Lapsed
	}
	if st.halted == nil {
		st.halted = c.Halted
	}
	info := workflow.GetInfo(ctx)
	st.run.Namespace, st.run.Workflow = info.Namespace, info.WorkflowType.Name
	st.run.WorkflowID, st.run.FirstRunID = info.WorkflowExecution.ID, info.FirstRunID
	if st.run.Correlation == "" {
		st.run.Correlation = st.run.FirstRunID
	}
	st.started = true
	if err := st.run.Validate(); err != nil {
		return nil, err
	}
	return c.Regime, st.limit(st.run.Budget)
}

// limit adds the run's own line to the budgets that its calls must fit, or
// lowers it: of a run that was reopened, that of the first one. A line without a limit
// only counts. What b says about thresholds and excess replaces what was said before.
func (st *state) limit(b wflo.Budget) error {
	if err := b.ValidateOwn(); err != nil {
		return err
	}
	id := st.accountID()
	i := slices.IndexFunc(st.run.Lines, func(l wflo.BudgetLine) bool { return l.ID == id })
	if i < 0 {
		st.run.Lines = append(st.run.Lines, lineOf(id, b))
		return nil
	}
	line := &st.run.Lines[i]
	if b.Limit > 0 && (line.Limit == 0 || b.Limit < line.Limit) {
		line.Limit = b.Limit
	}
	if b.Thresholds != nil {
		line.Thresholds = b.Thresholds
	}
	if b.OnExceeded != "" {
		line.OnExceeded = b.OnExceeded
	}
	return nil
}

// accountID names the budget that is limited as the run's own.
func (st *state) accountID() string {
	if st.account != "" {
		return st.account
	}
	return wflo.RunBudgetID(st.run.ID())
}

func lineOf(id string, b wflo.Budget) wflo.BudgetLine {
	return wflo.BudgetLine{ID: id, Limit: b.Limit, Thresholds: b.Thresholds, OnExceeded: b.OnExceeded}
}

// next numbers the occurrences of a name, so that the nth call of an activity
// has the same key whenever the code takes the same path. The generation keeps
// the keys of runs apart that continue as new with the same first run id.
func (st *state) next(name string) string {
	st.occurrences[name]++
	return "g" + strconv.Itoa(st.run.Generation) + "/" + name + "#" + strconv.Itoa(st.occurrences[name])
}

// scope is one run of a step. It numbers the step's activities itself, so that a
// step with a key of its own that failed and is tried again asks the world with
// the same effect keys: what had happened after all is not done twice.
type scope struct {
	key         string
	occurrences map[string]int
	// base is the key without what tells tries apart; snapshot was taken before it, or
	// unsaved says why it was not.
	base     string
	snapshot *wflo.Snapshot
	unsaved  string
	// outer is the step around this one; grants are the approvals that its calls may
	// act on.
	outer  *scope
	ended  bool
	grants []*openGate
	// lines are the budgets of the step and of those around it.
	lines []wflo.BudgetLine
	// The rest is for policies: what the step is, and the rules that were approved
	// for all of it.
	name, operation string
	effect          wflo.EffectClass
	// undo are the compensations that were registered in it, own is the step's own.
	undo     []*compensation
	own      *compensation
	approved map[string]bool
}

// count numbers what is done under a name within the step, from one.
func (s *scope) count(name string) int {
	if s.occurrences == nil {
		s.occurrences = map[string]int{}
	}
	s.occurrences[name]++
	return s.occurrences[name]
}

// lines are the budgets that a call in ctx must fit: the run's, and those of the
// steps that it is within.
func (st *state) lines(ctx workflow.Context) []wflo.BudgetLine {
	if s, ok := ctx.Value(stepKey{}).(*scope); ok && len(s.lines) > 0 {
		return slices.Concat(st.run.Lines, s.lines)
	}
	return st.run.Lines
}

// fixed keeps the step key of a call that is tried again by workflow code, such
// as after its budget was raised: it is the same effect.
type fixed struct{ key string }

// key is the step key of the next call of an activity.
func (st *state) key(ctx workflow.Context, activity string) string {
	f, ok := ctx.Value(fixedKey{}).(*fixed)
	if !ok {
		return st.nextKey(ctx, activity)
	}
	if f.key == "" {
		f.key = st.nextKey(ctx, activity)
	}
	return f.key
}

func (st *state) nextKey(ctx workflow.Context, activity string) string {
	if s, ok := ctx.Value(stepKey{}).(*scope); ok {
		return fmt.Sprintf("%s/%s#%d", s.key, activity, s.count(activity))
	}
	return st.next(activity)
}

// refusal is why the run may not start anything new, or nil.
func (st *state) refusal(ctx workflow.Context) error {
	if st.stopping() && !undoing(ctx) {
		return wflo.Errorf(wflo.CodeConflict, "let it end", "run %s is being restored", st.run.WorkflowID)
	}
	if st.halted == nil {
		return nil
	}
	if undoing(ctx) {
		return nil
	}
	if st.halted.Policy != "" {
		return &wflo.Error{
			Code:    wflo.CodePolicyDenied,
			Message: fmt.Sprintf("policy %s halted run %s: %s", st.halted.Policy, st.run.WorkflowID, st.halted.Reason),
			Hint:    "change the request, or the policy for runs that begin later",
		}
	}
	return &wflo.Error{
		Code:    wflo.CodeHalted,
		Message: fmt.Sprintf("run %s was halted by %s: %s", st.run.WorkflowID, st.halted.By, st.halted.Reason),
		Hint:    "start it again when the reason is gone",
	}
}

func (st *state) halt(h wflo.Halt) {
	if st.halted != nil {
		return
	}
	st.halted, st.phase = &h, wflo.StateHalted
	if st.stop != nil {
		st.stop()
	}
}

func (st *state) status() wflo.Status {
	s := wflo.Status{
		Run: st.run, State: st.phase, Doing: st.doing, Spent: st.spent, Calls: st.calls,
		Gates: st.publicGates(), Steps: slices.Clone(st.steps), Halted: st.halted,
	}
	if st.journal != nil {
		s.Snapshots = slices.Clone(st.journal.refs)
	}
	s.Restoring = st.returning
	if st.restoring != nil {
		s.Restoring = st.restoring.order.ID
	}
	for i, c := range st.stack {
		s.Compensations = append(s.Compensations, c.record(i+1))
	}
	return s
}

func (st *state) decode(p *commonpb.Payload, out any) error {
	if p == nil {
		return nil
	}
	return st.conv.FromPayload(p, out)
}

// encode writes values that are structs of ours; that cannot fail but for a
// programming error, which must surface and not lose a header.
func (st *state) encode(v any) (*commonpb.Payload, error) {
	p, err := st.conv.ToPayload(v)
	if err == nil && p == nil {
		err = errors.New("no payload")
	}
	return p, err
}
