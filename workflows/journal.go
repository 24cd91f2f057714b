package workflows

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
)

// changeJournal is the version marker of runs that keep a journal. Those that began
// without it cannot be taken back.
const changeJournal = "wflo-journal"

const (
	// quietRounds are how often in a row all code of a run is given its turn without doing
	// anything that is seen here, before it is taken to wait.
	quietRounds = 3
	// countsTurns is the version of changeJournal since which outcomes say in which turn
	// they came. Journals before it give one outcome at a time, each when the code is
	// quiet.
	countsTurns = 2
)

// journal holds the outcomes of what the run's code asked for. One coroutine, the pump,
// gives them to the code, in the order of the journal, and counts the turns that the code
// has in between: it comes before all code in each of Temporal's rounds over the run's
// coroutines. A restored run gives them in the same order with as many turns in between,
// so its code does the same.
type journal struct {
	st *state
	// root is the context of the run, for what belongs to no call.
	root workflow.Context
	seq  int
	// all are the outcomes so far.
	all []step.Outcome
	// had has the keys of activities that have, or had, an outcome.
	had map[string]bool
	// calls are under way, in the order in which they were made. moves counts what the
	// code did, so that the pump notices.
	calls []*call
	moves int
	// delivered counts the user's signals by name; alone says that code had its turn
	// since the last outcome.
	delivered map[string]int
	alone     bool
	// turn counts the turns that the code had; zero where nobody counts. task is
	// Temporal's task in which the code had the last one.
	turn int
	task task
	// unkept are children and updates that ran: a restore runs them again.
	unkept []wflo.PlanItem
	// started is when the code began, floor how many compensations there were then; born
	// is when this run began, which may be restored, and until the time of the last outcome
	// that it then had.
	started, born, until time.Time
	floor                int
	rerun
	saving
}

// call is one that was made and is not answered.
type call struct {
	kind       step.OutcomeKind
	key, input string
	effect     wflo.EffectClass
	// grant is the key of the gate on whose approval it acts.
	grant string
	// scope is the step that it is within; nil outside.
	scope *scope
	inner workflow.Future
	set   workflow.Settable
}

func newJournal(st *state, ctx workflow.Context) *journal {
	now := workflow.Now(ctx)
	return &journal{
		st: st, root: st.unstoppable(ctx), seq: st.seq, floor: len(st.stack), delivered: map[string]int{}, had: map[string]bool{}, started: now, born: now,
	}
}

// keepsJournal decides whether the run has a journal, once and for all, and gives its
// version; zero without one.
func (st *state) keepsJournal(ctx workflow.Context, snapshots bool) int {
	name := workflow.GetInfo(ctx).WorkflowType.Name
	if strings.HasPrefix(name, "wflo.") && name != wflo.WorkflowAgent {
		return 0
	}
	// A worker without snapshots replays the runs of one that has some: their marker says so.
	if !snapshots && !workflow.IsReplaying(ctx) {
		return 0
	}
	return max(0, int(workflow.GetVersion(ctx, changeJournal, workflow.DefaultVersion, countsTurns)))
}

type silentKey struct{}

// silent marks what is done in ctx as a part of a verb that has an outcome of its own,
// or none.
func silent(ctx workflow.Context) workflow.Context { return workflow.WithValue(ctx, silentKey{}, true) }

// journaled says that what is called in ctx has an outcome of its own.
func (st *state) journaled(ctx workflow.Context) bool {
	if st.journal == nil || undoing(ctx) {
		return false
	}
	quiet, _ := ctx.Value(silentKey{}).(bool)
	return !quiet
}

// partOfVerbs are activities of ours whose verbs have the outcome.
var partOfVerbs = []string{
	step.PrefixApproval, step.PrefixPolicy, step.PrefixBudget, step.PrefixSnapshot, step.PrefixUndo, step.PrefixRecovery,
	string(step.SandboxClose),
}

func partOfVerb(activity string) bool {
	for _, p := range partOfVerbs {
		if strings.HasPrefix(activity, p) {
			return true
		}
	}
	return false
}

// pump gives outcomes to the run's code, for as long as it runs.
func (j *journal) pump(ctx workflow.Context) {
	for {
		if j.draining() {
			j.drainOne(ctx)
			continue
		}
		if j.turn > 0 {
			j.awaitTurn(ctx)
			for j.settleNext(ctx) {
			}
			continue
		}
		_ = workflow.Await(ctx, func() bool {
			j.alone = true
			return j.draining() || j.ready() >= 0
		})
		j.settleNext(ctx)
		j.quiet(ctx)
	}
}

// awaitTurn counts turns until a call has ended. It does not ask for any: where all code
// waits, Temporal's task ends.
func (j *journal) awaitTurn(ctx workflow.Context) {
	same := true // the turn in which the pump has just done something
	_ = workflow.Await(ctx, func() bool {
		j.rested()
		if j.draining() || j.ready() >= 0 {
			return true
		}
		if !same {
			j.turn++
			j.alone = true
		}
		same = false
		return false
	})
}

func (j *journal) settleNext(ctx workflow.Context) bool {
	i := j.ready()
	if i < 0 {
		return false
	}
	c := j.calls[i]
	j.calls = append(j.calls[:i], j.calls[i+1:]...)
	j.settle(ctx, c)
	return true
}

// ready is the first call that has ended, or -1.
func (j *journal) ready() int {
	for i, c := range j.calls {
		if c.inner != nil && c.inner.IsReady() {
			return i
		}
	}
	return -1
}

// quiet waits until the code has done what it can.
func (j *journal) quiet(ctx workflow.Context) {
	for still := 0; still < quietRounds; {
		before := j.moves
		j.round(ctx)
		if still++; j.moves != before {
			still = 0
		}
	}
}

// round gives all code its turn.
func (j *journal) round(ctx workflow.Context) {
	asked := false
	// A condition that is false at first gives all others their turn.
	_ = workflow.Await(ctx, func() bool { asked = !asked; j.endCancelled(); return !asked })
}

// settle writes down how a call ended and answers it.
func (j *journal) settle(ctx workflow.Context, c *call) {
	o := step.Outcome{Kind: c.kind, Key: c.key, Input: c.input, Effect: c.effect, Grant: c.grant, Around: c.scope.around()}
	var raw converter.RawValue
	err := c.inner.Get(ctx, &raw)
	switch {
	case err != nil && c.kind == step.OutcomeTimer:
		// A timer that was cancelled did not fire.
	case err != nil && j.st.stopping() && temporal.IsCanceledError(err):
		// What a restore stopped has no outcome: it may be done again.
	case c.scope.over():
		// The step that it was within has ended, and stands for it.
	default:
		o.Result, o.Failure = payloads(raw), failureOf(err)
		j.replace(o)
	}
	c.set.Chain(c.inner)
}

// add appends an outcome.
func (j *journal) add(o step.Outcome) {
	j.rested()
	j.seq++
	o.Seq, o.Height, o.Turn = j.seq, len(j.st.stack), j.turn
	if o.At.IsZero() {
		o.At = workflow.Now(j.root)
	}
	j.alone = false
	j.moves++
	j.append(o)
}

func (j *journal) append(o step.Outcome) {
	if o.Kind == step.OutcomeActivity {
		j.had[o.Key] = true
	}
	// A fork has none of the compensations that there were.
	o.Height = min(o.Height, len(j.st.stack))
	j.all = append(j.all, o)
}

// replace appends the outcome of a call in place of an earlier one of the same call,
// which was parked at a budget meanwhile.
func (j *journal) replace(o step.Outcome) {
	if o.Kind == step.OutcomeActivity && j.had[o.Key] {
		for i := len(j.all) - 1; i >= 0; i-- {
			if p := &j.all[i]; p.Kind == step.OutcomeStep && within(&o, p.Key) {
				break
			} else if p.Kind == o.Kind && p.Key == o.Key {
				j.drop(i, func(p *step.Outcome) bool { return p.Kind == o.Kind && p.Key == o.Key })
				break
			}
		}
	}
	j.add(o)
}

// drop takes out what matches, from the ith outcome on.
func (j *journal) drop(i int, match func(*step.Outcome) bool) {
	n := i
	for ; i < len(j.all); i++ {
		if match(&j.all[i]) {
			continue
		}
		j.all[n] = j.all[i]
		n++
	}
	clear(j.all[n:])
	j.all = j.all[:n]
}

// within says that an outcome is of a call within a step, in any of its tries, and good
// for nothing else.
func within(o *step.Outcome, of string) bool {
	if o.Kind == step.OutcomeStep && o.In == of {
		return o.Failure != nil || numbered(o.Key)
	}
	rest, ok := strings.CutPrefix(o.Key, of)
	if !ok || o.Kind == step.OutcomeSignal || o.Kind == step.OutcomeStep {
		return false
	}
	if tries, ok := strings.CutPrefix(rest, "~"); ok {
		rest = strings.TrimLeft(tries, "0123456789")
	}
	return strings.HasPrefix(rest, "/")
}

// numbered says that the key of a step is not one that its author gave.
func numbered(key string) bool {
	generation, _, ok := strings.Cut(key, "/")
	digits, g := strings.CutPrefix(generation, "g")
	return ok && g && digits != "" && strings.Trim(digits, "0123456789") == ""
}

// ended writes down a step, which stands from now on for all calls within it that were
// made since it began, at seq.
func (j *journal) ended(o step.Outcome, s *scope, since int) {
	if j.st.stopping() || s.outer.over() {
		return
	}
	first := len(j.all)
	for first > 0 && j.all[first-1].Seq > since {
		first--
	}
	j.drop(first, func(p *step.Outcome) bool { return within(p, o.Key) })
	j.add(o)
}

// compact drops what later outcomes stand for: a run is saved in pieces, and a piece is
// not written again when the step that it is within ends.
func compact(all []step.Outcome) []step.Outcome {
	gone := make([]bool, len(all))
	inner := map[string][]int{} // by the keys of the steps that they may be within
	last := map[string]int{}
	for i := range all {
		o := &all[i]
		if o.Kind == step.OutcomeStep {
			for _, k := range inner[o.Key] {
				gone[k] = gone[k] || within(&all[k], o.Key)
			}
			delete(inner, o.Key)
		}
		if o.Kind == step.OutcomeActivity {
			if before, ok := last[o.Key]; ok {
				gone[before] = true
			}
			last[o.Key] = i
		}
		for _, of := range around(o) {
			inner[of] = append(inner[of], i)
		}
	}
	kept := make([]step.Outcome, 0, len(all))
	for i, o := range all {
		if !gone[i] {
			kept = append(kept, o)
		}
	}
	return kept
}

// around are the keys that may be those of a step that the outcome is within.
func around(o *step.Outcome) []string {
	switch o.Kind {
	case step.OutcomeSignal:
		return nil
	case step.OutcomeStep:
		return []string{o.In}
	}
	var all []string
	for i := 0; i < len(o.Key); i++ {
		if o.Key[i] == '/' {
			all = append(all, baseOf(o.Key[:i]))
		}
	}
	return all
}

// signal takes a user's signal in, and delivers it.
func (j *journal) signal(ctx workflow.Context, in *inbound, s *interceptor.HandleSignalInput) error {
	if j.draining() {
		j.held = append(j.held, s)
		return nil
	}
	return j.deliver(ctx, in, s)
}

func (j *journal) deliver(ctx workflow.Context, in *inbound, s *interceptor.HandleSignalInput) error {
	together := !j.alone
	j.add(step.Outcome{Kind: step.OutcomeSignal, Key: s.SignalName, Result: s.Arg, Together: together})
	j.delivered[s.SignalName]++
	return in.Next.HandleSignal(ctx, s)
}

// taken counts the signals that code has received, by name.
func (j *journal) taken() map[string]int {
	if len(j.delivered) == 0 {
		return nil
	}
	out := make(map[string]int, len(j.delivered))
	for _, name := range workflow.DeterministicKeys(j.delivered) {
		out[name] = j.delivered[name] - workflow.GetSignalChannel(j.root, name).Len()
	}
	return out
}

// takenSince counts all that were received, of those names of which some were since. How
// many of them a step received itself nobody can tell: branches next to it may receive, too.
func (j *journal) takenSince(before map[string]int) map[string]int {
	var out map[string]int
	now := j.taken()
	for _, name := range workflow.DeterministicKeys(now) {
		if now[name] > before[name] {
			if out == nil {
				out = map[string]int{}
			}
			out[name] = now[name]
		}
	}
	return out
}

// follow makes a call whose outcome goes through the journal. begin makes it, now or,
// where the run is restored, when all that it had known is given.
func (j *journal) follow(ctx workflow.Context, c *call, begin func() workflow.Future) workflow.Future {
	j.moves++
	if f, ok := j.answered(ctx, c); ok {
		return f
	}
	future, set := workflow.NewFuture(ctx)
	c.set = set
	j.calls = append(j.calls, c)
	if !j.draining() {
		c.inner = begin()
		return future
	}
	j.wait(ctx, c, begin)
	return future
}

// inputOfCall is the SHA-256, in hex, of the arguments of a call; empty where they are
// not JSON.
func inputOfCall(args []any) string {
	h := sha256.New()
	for _, a := range args {
		if _, ok := a.(converter.RawValue); ok {
			return ""
		}
		b, err := json.Marshal(a)
		if err != nil {
			return ""
		}
		h.Write(append(b, '\n'))
	}
	return hex.EncodeToString(h.Sum(nil))
}

func payloads(raw converter.RawValue) *commonpb.Payloads {
	if p := raw.Payload(); p != nil {
		return &commonpb.Payloads{Payloads: []*commonpb.Payload{p}}
	}
	return nil
}
