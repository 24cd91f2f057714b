package workflows

import (
	"fmt"
	"slices"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	failurepb "go.temporal.io/api/failure/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
)

// rerunPatience is how long a restored run whose code neither asks for the next outcome
// nor waits for anything else may stay so, before the code is taken for another one.
const rerunPatience = 10 * time.Second

// rerun is what a restored run still has to give to its code before the code does
// anything new.
type rerun struct {
	in *inbound
	// kept are the outcomes, of which the first at ones are given. asked has the answers
	// that code waits for, by their place; open the places that nobody has asked for, by
	// kind and key.
	kept  []step.Outcome
	at    int
	asked map[int]workflow.Settable
	open  map[string][]int
	// now is the time of the outcome that was given last.
	now time.Time
	// held are signals that came meanwhile; loading says that kept is not known yet, and
	// that the code has not begun.
	held    []*interceptor.HandleSignalInput
	loading bool
	// waiting are verbs that have no outcome, and wait until all is given; later are calls
	// that do.
	waiting []string
	later   []laterCall
	// busy are things under way that have no outcome of their own.
	busy []interface{ IsReady() bool }
	// conflict is why the code cannot go on: it is not the one that was recorded.
	conflict error
}

// draining says that there are outcomes to give.
func (r *rerun) draining() bool { return r.at < len(r.kept) }

// keep makes outcomes the run's past.
func (j *journal) keep(outcomes []step.Outcome, of step.State) {
	all := unspent(compact(outcomes))
	ends := map[string]int{}
	for i, o := range all {
		if o.Kind == step.OutcomeStep {
			ends[o.Key] = i
		}
	}
	j.asked, j.open = map[int]workflow.Settable{}, map[string][]int{}
	for i, o := range all {
		j.seq, j.until = max(j.seq, o.Seq), o.At
		if end, ok := ends[o.In]; o.In != "" && ok && end > i {
			// The step around it answers; only its key is still good for others.
			if o.Failure == nil && ends[o.Key] == i {
				j.st.memo[o.Key] = onlyPayload(o.Result)
				j.append(o)
			}
			continue
		}
		j.open[place(o.Kind, o.Key)] = append(j.open[place(o.Kind, o.Key)], len(j.kept))
		j.kept = append(j.kept, o)
	}
	if !of.Started.IsZero() {
		j.started, j.floor = of.Started, min(of.Floor, len(j.st.stack))
	}
	j.now = j.started
}

func place(kind step.OutcomeKind, key string) string { return string(kind) + " " + key }

func onlyPayload(p *commonpb.Payloads) *commonpb.Payload {
	if all := p.GetPayloads(); len(all) > 0 {
		return all[0]
	}
	return nil
}

// find gives the place of the outcome that a call asks for; -1 where it has none. The
// error says that it was recorded for another input.
func (j *journal) find(kind step.OutcomeKind, key, input string) (int, error) {
	if j.conflict != nil {
		return -1, j.conflict
	}
	if !j.draining() {
		return -1, nil
	}
	open := j.open[place(kind, key)]
	if len(open) == 0 {
		return -1, nil
	}
	o := &j.kept[open[0]]
	if o.Input != "" && input != "" && o.Input != input {
		j.conflict = wflo.Errorf(wflo.CodeConflict, "restore to a moment before it, or run the code that was recorded",
			"%s %s: its input is not the recorded one", kind, key)
		j.beginLater()
		return -1, j.conflict
	}
	j.open[place(kind, key)] = open[1:]
	return open[0], nil
}

// answered answers a call from the journal, when its turn comes.
func (j *journal) answered(ctx workflow.Context, c *call) (workflow.Future, bool) {
	i, err := j.find(c.kind, c.key, c.input)
	if err != nil {
		return failed(ctx, toWire(err)), true
	}
	if i < 0 {
		return nil, false
	}
	future, set := workflow.NewFuture(ctx)
	j.asked[i] = set
	return future, true
}

// recall gives the recorded outcome of a verb when its turn comes; nil where it has
// none, and then all that was recorded has been given.
func (j *journal) recall(ctx workflow.Context, kind step.OutcomeKind, key, input string) (*step.Outcome, error) {
	j.moves++
	i, err := j.find(kind, key, input)
	if err != nil {
		return nil, err
	}
	if i < 0 {
		return nil, nil
	}
	o := j.kept[i]
	future, set := workflow.NewFuture(ctx)
	j.asked[i] = set
	// Neither cancellation nor another order changes what was.
	if err := future.Get(ctx, nil); err != nil {
		return nil, firstOf(j.conflict, err)
	}
	return &o, nil
}

// drained waits until all that was recorded is given.
func (j *journal) drained(ctx workflow.Context) error {
	if !j.draining() && j.conflict == nil {
		return nil
	}
	err := workflow.Await(ctx, func() bool { return !j.draining() || j.conflict != nil })
	return firstOf(j.conflict, err)
}

// unknown is drained for a verb that has no outcome.
func (j *journal) unknown(ctx workflow.Context, verb string) error {
	j.waiting = append(j.waiting, verb)
	defer func() { j.waiting = slices.DeleteFunc(j.waiting, func(v string) bool { return v == verb }) }()
	return j.drained(ctx)
}

// wait makes a call that has no outcome when all others have been given theirs.
func (j *journal) wait(ctx workflow.Context, c *call, begin func() workflow.Future) {
	if j.turn > 0 {
		j.later = append(j.later, laterCall{ctx, c, begin})
		return
	}
	workflow.GoNamed(ctx, "later: "+c.key, func(ctx workflow.Context) {
		if err := j.drained(ctx); err != nil {
			j.calls = slices.DeleteFunc(j.calls, func(o *call) bool { return o == c })
			c.set.SetError(toWire(err))
			return
		}
		c.inner = begin()
	})
}

// due says that the next outcome can be given.
func (j *journal) due() bool {
	if !j.draining() {
		return false
	}
	_, asked := j.asked[j.at]
	return asked || j.kept[j.at].Kind == step.OutcomeSignal
}

// drainOne gives the next outcome, or finds out that the code does not want it.
func (j *journal) drainOne(ctx workflow.Context) {
	if !j.due() {
		at := j.at
		j.quiet(ctx)
		if j.draining() && !j.due() && j.at == at {
			j.linger(ctx)
		}
		j.caughtUp()
		return
	}
	j.give()
	for j.draining() && j.atOnce() && j.due() {
		j.give()
	}
	j.pause(ctx)
	j.caughtUp()
}

// caughtUp delivers what came meanwhile, when all that was recorded is given.
func (j *journal) caughtUp() {
	if j.draining() {
		return
	}
	j.kept, j.at, j.asked, j.open, j.busy, j.now = nil, 0, nil, nil, nil, time.Time{}
	if n := len(j.all); n > 0 && j.turn > 0 {
		j.turn = max(j.turn, j.all[n-1].Turn) + quietRounds
	}
	j.beginLater()
	held := j.held
	j.held = nil
	for _, s := range held {
		if err := j.deliver(j.root, j.in, s); err != nil {
			workflow.GetLogger(j.root).Error("deliver a signal", "signal", s.SignalName, "error", err.Error())
		}
	}
}

// linger waits for code that does not ask for the next outcome: it may be waiting for a
// child, or for people. Where it waits for nothing but what is not recorded, it is
// another code, and is told so.
func (j *journal) linger(ctx workflow.Context) {
	at, moves := j.at, j.moves
	on := func() bool { j.endCancelled(); return j.due() || j.at != at }
	woken, err := workflow.AwaitWithOptions(silent(ctx), workflow.AwaitOptions{
		Timeout: rerunPatience, TimerOptions: workflow.TimerOptions{Summary: "restored code does not ask for what was recorded"},
	}, on)
	if woken || err != nil {
		return
	}
	if len(j.calls)+len(j.waiting) > 0 && !j.occupied() {
		j.disagree()
		return
	}
	workflow.GetLogger(ctx).Warn("the restored code has not asked for what was recorded", "next", j.kept[at].Key)
	was := j.occupied()
	_ = workflow.Await(ctx, func() bool { return on() || j.moves != moves || was != j.occupied() })
}

// occupied says that something is under way whose end the code may wait for.
func (j *journal) occupied() bool {
	return slices.ContainsFunc(j.busy, func(f interface{ IsReady() bool }) bool { return !f.IsReady() })
}

// disagree ends the calls that wait: what was recorded is not what the code does.
func (j *journal) disagree() {
	next := j.kept[j.at]
	instead := slices.Clone(j.waiting)
	for _, c := range j.calls {
		instead = append(instead, fmt.Sprintf("%s %s", c.kind, c.key))
	}
	j.conflict = wflo.Errorf(wflo.CodeConflict, "restore to a moment before it, or run the code that was recorded",
		"%s %s was recorded and is not asked for; the code asks for %s instead", next.Kind, next.Key, clip(fmt.Sprint(instead), 300))
	// What was recorded is not given any more, and signals wait for nobody.
	for i := j.at; i < len(j.kept); i++ {
		if set, ok := j.asked[i]; ok {
			set.SetError(toWire(j.conflict))
		}
	}
	j.kept = j.kept[:j.at]
}

// unwanted is why a run whose code has ended did not do what was recorded.
func (j *journal) unwanted() error {
	if j.conflict != nil || !j.draining() {
		return j.conflict
	}
	next := j.kept[j.at]
	return wflo.Errorf(wflo.CodeConflict, "restore to a moment before it, or run the code that was recorded",
		"%s %s was recorded, and the code ended without asking for it", next.Kind, next.Key)
}

// give gives the next outcome.
func (j *journal) give() {
	i := j.at
	o := j.kept[i]
	j.past(o)
	switch o.Kind {
	case step.OutcomeSignal:
		j.delivered[o.Key]++
		if err := j.in.Next.HandleSignal(j.root, &interceptor.HandleSignalInput{SignalName: o.Key, Arg: o.Result}); err != nil {
			workflow.GetLogger(j.root).Error("deliver a signal", "signal", o.Key, "error", err.Error())
		}
	case step.OutcomeActivity:
		if err := errorOf(o.Failure); err != nil {
			j.asked[i].SetError(err)
			return
		}
		if o.Result == nil {
			j.asked[i].SetValue(nil)
			return
		}
		j.asked[i].SetValue(o.Result)
	default:
		for _, name := range workflow.DeterministicKeys(o.Signals) {
			// What code that runs again has received is not there any more.
			ch := workflow.GetSignalChannel(j.root, name)
			for range o.Signals[name] - (j.delivered[name] - ch.Len()) {
				ch.ReceiveAsync(nil)
			}
		}
		j.asked[i].SetValue(nil)
	}
}

// past moves an outcome into the journal.
func (j *journal) past(o step.Outcome) {
	j.at++
	j.moves++
	j.now = o.At
	j.seq = max(j.seq, o.Seq)
	j.append(o)
}

// side makes a side effect, or gives the recorded one.
func (j *journal) side(ctx workflow.Context, key string, do func() converter.EncodedValue) converter.EncodedValue {
	j.moves++
	i, err := j.find(step.OutcomeSide, key, "")
	if err == nil && i < 0 {
		err = j.unknown(ctx, string(step.OutcomeSide)+" "+key)
	}
	if err != nil {
		return recalled{err: toWire(err)}
	}
	if i >= 0 {
		o := j.kept[i]
		_ = workflow.Await(j.st.unstoppable(ctx), func() bool { return j.at == i || j.conflict != nil })
		if j.conflict != nil {
			return recalled{err: toWire(j.conflict)}
		}
		j.past(o)
		return recalled{conv: j.st.conv, value: onlyPayload(o.Result)}
	}
	v := do()
	var raw converter.RawValue
	if v.HasValue() {
		if err := v.Get(&raw); err != nil {
			return recalled{err: err}
		}
	}
	s, _ := ctx.Value(stepKey{}).(*scope)
	j.add(step.Outcome{Kind: step.OutcomeSide, Key: key, Result: payloads(raw), Around: s.around()})
	return v
}

// recalled is the value of a side effect that was recorded.
type recalled struct {
	conv  converter.DataConverter
	value *commonpb.Payload
	err   error
}

// HasValue says whether there is something to get.
func (r recalled) HasValue() bool { return r.value != nil }

// Get decodes it.
func (r recalled) Get(out any) error {
	if r.err != nil {
		return r.err
	}
	if r.value == nil {
		return temporal.ErrNoData
	}
	return r.conv.FromPayload(r.value, out)
}

func failureOf(err error) *failurepb.Failure {
	if err == nil {
		return nil
	}
	return temporal.GetDefaultFailureConverter().ErrorToFailure(toWire(err))
}

func errorOf(f *failurepb.Failure) error {
	if f == nil {
		return nil
	}
	return temporal.GetDefaultFailureConverter().FailureToError(f)
}
