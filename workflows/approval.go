package workflows

import (
	"encoding/json"
	"fmt"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
)

// openGate is a gate with what the run needs to know about it besides.
type openGate struct {
	wflo.Gate
	terms wflo.Terms
	// accepts refuses decisions that say what this gate cannot do. It may be nil.
	accepts func(wflo.Decision) error
	// form is what answers must fit; nil where the gate has none.
	form *form
	// news are for the gate's channels and the trail, oldest first; late are
	// rejections that came by signal after the approval. A signal may not block, so
	// a coroutine of the gate takes both from here.
	news []step.Telling
	late []lateDecision
	// recordedAs is the key of the gate in the journal, around are those of the steps
	// around it.
	recordedAs string
	around     []string
	// told is ready when all news so far have been told.
	told workflow.Future
	// called says that an activity acts, or will act, on the approval; over that it
	// has ended. cancel ends it before.
	called, over bool
	cancel       workflow.CancelFunc
	// auto says that a risk rule approved it and nobody was asked: it is in no index,
	// and only the run holds its activity to the payload.
	auto bool
	// ofCall says that policies asked about one call of an activity; covered that the
	// call which this approval is for acted on such a gate.
	ofCall, covered bool
	// abandoned says that the run ended while the gate was open.
	abandoned bool
	// guarded says that a coroutine takes late rejections.
	guarded bool
	// asker is the context of what waits for the answer.
	asker workflow.Context
}

// desk is what a run keeps about its gates.
type desk struct {
	gates []*openGate
	// taken are the names of gates that were asked for, open or not yet.
	taken map[string]bool
	// signalled are decisions that came by signal and are not judged yet.
	signalled []wflo.Decision
	// early counts decisions by gates that had not opened when they came.
	early map[string]int
	// grants are the gates whose approval an activity may act on, outside of steps.
	grants []*openGate
	// issued are the gates whose approval was given to code to act on.
	issued []*openGate
	// lapsed are activities that people approved in the run before, which did not call
	// them; the values are the gates.
	lapsed map[string]string
	// telling are the futures of bookkeeping that nobody waits for until the run ends.
	telling []workflow.Future
	// asking counts the coroutines that wait for a gate.
	asking int
	// levelled says that there was a gate that has levels, votes and revisions. Runs
	// that were recorded before have none, and make other commands.
	levelled bool
}

// RequireApproval opens a gate and waits until enough people have decided, the time
// is up, or ctx is cancelled. It returns the decision that was the last to count when
// the action may happen; Decision.Edit is then the payload to act on, where people
// changed it. Errors say that the action must not happen: they match
// wflo.ErrApprovalRejected, wflo.ErrApprovalTimeout where nobody decided, and
// wflo.ErrApprovalExpired where the approval is older than a.Expiry.
//
// Where a.Activity is set, the next call of that activity in the same step (in the
// run, outside of steps) acts on the approval: its input must be the payload, and
// the worker that runs it checks that again. A second call needs another approval, and
// until this one is used or too old, calls of the activity elsewhere in the run are
// refused. An approval that is not used before the run continues as new has expired
// there: the next run must ask again before it calls the activity.
//
// Who may decide, and how decisions are authenticated, is the worker's
// configuration and a.Approvers.
func RequireApproval(ctx workflow.Context, a wflo.Approval) (wflo.Decision, error) {
	st, err := stateOf(ctx)
	if err != nil {
		return wflo.Decision{}, err
	}
	g, err := st.ask(ctx, stepOf(ctx), a, nil)
	if g == nil {
		return wflo.Decision{}, err
	}
	if err == nil && g.Approval.Activity != "" {
		st.keepGrant(ctx, g)
	}
	return g.decision(), err
}

// Approved reads what people approved, as they may have edited it: within the
// function of a step, the payload of its StepOptions.Approval.
func Approved[T any](ctx workflow.Context) (T, error) {
	var out T
	held, ok := ctx.Value(grantKey{}).(*held)
	if !ok {
		return out, wflo.Invalid("workflows.Approved", "is called outside of a step with an approval", "call it in the function of a step whose options have an Approval")
	}
	st, err := stateOf(ctx)
	if err != nil {
		return out, err
	}
	if err := st.decode(jsonPayload(held.gate.Approval.Payload), &out); err != nil {
		return out, wflo.Errorf(wflo.CodeConflict, "ask for the type that the payload was made from", "gate %s: read the approved payload: %w", held.gate.ID, err)
	}
	return out, nil
}

func jsonPayload(data json.RawMessage) *commonpb.Payload {
	if len(data) == 0 {
		data = json.RawMessage("null")
	}
	return &commonpb.Payload{Metadata: map[string][]byte{converter.MetadataEncoding: []byte(converter.MetadataEncodingJSON)}, Data: data}
}

// stepOf is the key of the step that ctx is within, or "".
func stepOf(ctx workflow.Context) string {
	if s, ok := ctx.Value(stepKey{}).(*scope); ok {
		return s.key
	}
	return ""
}

// ask opens a gate in the name of a step and waits for its end. The gate is nil where
// it could not be opened. An error says that the action must not happen.
func (st *state) ask(ctx workflow.Context, key string, a wflo.Approval, accepts func(wflo.Decision) error) (*openGate, error) {
	if err := a.Validate(); err != nil {
		return nil, err
	}
	name := st.gateKey(ctx, key, a.Gate)
	g, err := st.recallGate(ctx, name, a)
	if g == nil && err == nil {
		g, err = st.askPeople(silent(ctx), key, a, accepts)
		st.keepGate(ctx, name, a, g, err)
	}
	return g, err
}

// askPeople is ask where nobody has been asked before.
func (st *state) askPeople(ctx workflow.Context, key string, a wflo.Approval, accepts func(wflo.Decision) error) (*openGate, error) {
	a, auto, err := st.routed(ctx, a)
	if err != nil {
		return nil, err
	}
	if auto {
		return st.routedPast(ctx, key, a), nil
	}
	form, err := compileForm(a.Form)
	if err != nil {
		return nil, err
	}
	st.asking++
	defer func() { st.asking-- }()
	g, err := st.openGate(ctx, key, a)
	if err != nil {
		return nil, err
	}
	g.accepts, g.form = accepts, form
	waitErr := st.await(ctx, g)
	if waitErr == nil {
		waitErr = g.outcome(workflow.Now(ctx))
	}
	if waitErr == nil && (g.Revision > 0 || g.waited(workflow.Now(ctx))) {
		waitErr = st.rejudge(ctx, key, g)
	}
	if waitErr == nil && a.Activity == "" {
		g.Used = true // the workflow acts from here on
	}
	st.closeGate(ctx, g)
	return g, waitErr
}

func (st *state) openGate(ctx workflow.Context, key string, a wflo.Approval) (*openGate, error) {
	id := st.nameGate(a.Gate)
	run := st.run
	run.Step = key
	asked := run.Ask(id, a, workflow.Now(ctx))
	asked.Approval.Timeout = a.Timeout // zero is for the worker to fill in
	opened, err := step.ApprovalOpen.Do(quick(ctx, "open gate "+id), asked)
	if err != nil {
		return nil, fmt.Errorf("open gate %s: %w", id, fromWire(err))
	}
	g := &openGate{Gate: opened.Gate, terms: opened.Terms}
	if g.Digest != g.ComputeDigest() {
		return nil, wflo.Errorf(wflo.CodeInvalid, "the worker's approval activity is not wflo's", "open gate %s: digest does not match what is shown", id)
	}
	if n := st.early[g.ID]; n > 0 && g.Version > 0 {
		g.Refused, g.LastRefusal = n, "a decision came before the gate was open"
	}
	st.levelled = st.levelled || g.Version > 0
	st.gates = append(st.gates, g)
	st.phase, st.doing = wflo.StateWaiting, "gate "+g.ID
	workflow.SetCurrentDetails(ctx, st.details(g))
	return g, st.publish(ctx)
}

// nameGate gives every gate of the run an ID of its own, also where several of one
// name are asked for at the same time.
func (st *state) nameGate(name string) string {
	id := name
	for n := 2; st.taken[id]; n++ {
		id = fmt.Sprintf("%s#%d", name, n)
	}
	if st.taken == nil {
		st.taken = map[string]bool{}
	}
	st.taken[id] = true
	return id
}

// outcome is why the action must not happen after the gate has closed, or nil.
func (g *openGate) outcome(now time.Time) error {
	if g.Granted() {
		return g.stale(now)
	}
	switch {
	case g.Status == wflo.GateRejected || g.Status == wflo.GateRevoked:
		return g.rejected()
	case g.Status == wflo.GateExpired:
		return g.expired()
	}
	return wflo.Errorf(wflo.CodeApprovalTimeout, "run it again, or give the gate more time",
		"gate %s: nobody decided on %q within %s", g.ID, g.Approval.Action, g.Approval.Timeout)
}

func (g *openGate) rejected() error {
	by, reason := "somebody", ""
	if d := g.Gate.Decision; d != nil {
		by, reason = d.By, d.Reason
	}
	return wflo.Errorf(wflo.CodeApprovalRejected, "", "gate %s: %s rejected %q: %s", g.ID, by, g.Approval.Action, orNone(reason))
}

// stale ends an approval that comes too late for its action.
func (g *openGate) stale(now time.Time) error {
	if g.UseBy.IsZero() || !now.After(g.UseBy) {
		return nil
	}
	g.Status = wflo.GateExpired
	g.Changes++
	return g.expired()
}

func (g *openGate) expired() error {
	return wflo.Errorf(wflo.CodeApprovalExpired, "ask again, or give the gate more time (expiry)",
		"gate %s: the approval of %q was good until %s", g.ID, g.Approval.Action, g.UseBy.UTC().Format(time.RFC3339))
}

// decision is the one that was the last to count, with the payload where it was
// edited. Where time approved, it says so.
func (g *openGate) decision() wflo.Decision {
	var d wflo.Decision
	switch {
	case g.Gate.Decision != nil:
		d = *g.Gate.Decision
	case g.Granted():
		d = g.Decide(wflo.VerdictApprove, timerName)
	}
	if g.Revision > 0 {
		d.Edit = g.Approval.Payload
	}
	return d
}

// timerName is who acts when the time of a gate is up.
const timerName = "timer"

func orNone(reason string) string {
	if reason == "" {
		return "no reason given"
	}
	return reason
}

func (st *state) gate(id string) *openGate {
	for _, g := range st.gates {
		if g.ID == id {
			return g
		}
	}
	return nil
}

// quick are the options of bookkeeping activities: short, and retried for an
// hour, because a gate must survive a database that is down for a while.
func quick(ctx workflow.Context, summary string) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout:    30 * time.Second,
		ScheduleToCloseTimeout: time.Hour,
		Summary:                summary,
		RetryPolicy:            &temporal.RetryPolicy{InitialInterval: time.Second, MaximumInterval: time.Minute},
	})
}
