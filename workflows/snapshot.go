package workflows

import (
	"fmt"
	"slices"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
)

// mostRefs bounds the snapshots that a run lists itself; the store has all.
const mostRefs = 50

// earlier is Outcome.In of results that the run had before it continued as new.
const earlier = "an earlier run"

// saving is what a run knows of its snapshots.
type saving struct {
	// input and header are what the code began with.
	input  *interceptor.ExecuteWorkflowInput
	header map[string]*commonpb.Payload
	// inherited are results of the run before, by key.
	inherited map[string]*commonpb.Payload
	// base are the pieces that are saved, up to the outcome saved; last is the latest
	// snapshot. whole is the outcome that says that it was taken, where it missed nothing
	// else: zero where it did.
	base   []string
	saved  int
	whole  int
	last   *wflo.Snapshot
	taking bool
	refs   []wflo.SnapshotRef
}

// errNoJournal is what going back answers in runs that cannot.
var errNoJournal = wflo.Invalid("run", "keeps no journal, so it cannot be saved or taken back",
	"let its worker keep snapshots, and start the run again; runs that began before that have none")

// TakeSnapshot saves the run under a name, which may be empty: what its code knows until
// now, and the parts. Without parts that is the workspace, where the run has a sandbox.
// Of several snapshots with one name the latest counts. Code that is restored to a moment
// after the snapshot gets the same one again.
//
// Children, and updates that a user's handlers took, are no part of a snapshot: a restore
// to a moment after them runs the children again, and has not seen the updates. Nobody
// can tell which of several branches received a signal: where a step and a branch next to
// it receive signals of one name, the branch may get the step's after a restore, and none
// is left over or missing.
func TakeSnapshot(ctx workflow.Context, name string, parts ...wflo.Parts) (wflo.Snapshot, error) {
	st, err := stateOf(ctx)
	if err != nil {
		return wflo.Snapshot{}, err
	}
	j := st.journal
	if j == nil {
		return wflo.Snapshot{}, errNoJournal
	}
	snap, err := j.snapshotOnce(ctx, wflo.Snapshot{Name: name, Kind: wflo.SnapshotManual}, j.wanted(parts))
	if err != nil {
		return wflo.Snapshot{}, fmt.Errorf("take snapshot %s: %w", name, err)
	}
	return snap, nil
}

// wanted joins the parts; none means the workspace, where there is one.
func (j *journal) wanted(parts []wflo.Parts) wflo.Parts {
	if len(parts) == 0 {
		return wflo.Parts{Workspace: j.st.boxed}
	}
	var all wflo.Parts
	for _, p := range parts {
		all.Workspace = all.Workspace || p.Workspace
		all.Tables = append(all.Tables, p.Tables...)
	}
	return all
}

// snapshotOnce takes a snapshot whose outcome is in the journal.
func (j *journal) snapshotOnce(ctx workflow.Context, s wflo.Snapshot, parts wflo.Parts) (wflo.Snapshot, error) {
	key := j.st.nextKey(ctx, "wflo.snapshot")
	o, err := j.recall(ctx, step.OutcomeActivity, key, "")
	if err != nil {
		return s, j.wasUnsaved(err)
	}
	if o != nil {
		err := j.st.decode(onlyPayload(o.Result), &s)
		if err == nil {
			j.list(s)
		}
		return s, err
	}
	if err := j.unknown(ctx, "snapshot "+key); err != nil {
		return s, err
	}
	if err := j.st.refusal(ctx); err != nil {
		return s, err
	}
	if s, err = j.take(ctx, key, s, parts); err != nil {
		return s, j.unsaved(ctx, key, err)
	}
	p, err := j.st.encode(s)
	if err != nil {
		return s, err
	}
	whole := j.saved == j.seq
	in, _ := ctx.Value(stepKey{}).(*scope)
	j.add(step.Outcome{Kind: step.OutcomeActivity, Key: key, Result: &commonpb.Payloads{Payloads: []*commonpb.Payload{p}}, Around: in.around()})
	if whole {
		j.whole = j.seq // which the next snapshot has to have
	}
	return s, nil
}

// take saves the run as it is now.
func (j *journal) take(ctx workflow.Context, key string, s wflo.Snapshot, parts wflo.Parts) (wflo.Snapshot, error) {
	if err := workflow.Await(ctx, func() bool { return !j.taking }); err != nil {
		return s, err
	}
	j.taking = true
	defer func() { j.taking = false }()
	c, err := j.capture(s, parts)
	if err != nil {
		return s, err
	}
	taken, err := j.write(ctx, key, c)
	if wflo.CodeOf(err) == wflo.CodeConflict && len(c.Base) > 0 {
		return j.writeWhole(ctx, key, s, parts)
	}
	return taken, err
}

func (j *journal) write(ctx workflow.Context, key string, c step.Capture) (wflo.Snapshot, error) {
	ctx = workflow.WithValue(ctx, fixedKey{}, &fixed{key: key})
	s, err := step.SnapshotTake.Do(saver(ctx, "snapshot "+firstName(c.Snapshot.Name, string(c.Snapshot.Kind))), c)
	if err != nil {
		return s, fromWire(err)
	}
	if p := s.Part(wflo.PartState, ""); p != nil && c.Inherit == "" {
		j.base, j.saved = slices.Clone(p.Blobs), s.Seq
	}
	j.last = &s
	j.list(s)
	return s, nil
}

func firstName(names ...string) string {
	for _, n := range names {
		if n != "" {
			return n
		}
	}
	return ""
}

func (j *journal) list(s wflo.Snapshot) {
	if n := len(j.refs); n == mostRefs {
		j.refs = slices.Clone(j.refs[1:])
	}
	j.refs = append(j.refs, wflo.SnapshotRef{ID: s.ID, Name: s.Name, At: s.At, Kind: s.Kind})
}

// capture is what a snapshot of now asks for.
func (j *journal) capture(s wflo.Snapshot, parts wflo.Parts) (step.Capture, error) {
	st := j.st
	info := workflow.GetInfo(j.root)
	s.Run, s.RunID, s.TaskQueue = st.run, info.WorkflowExecution.RunID, info.TaskQueueName
	s.Run.Lines, s.Run.Step = nil, ""
	s.Build = info.GetCurrentBuildID()
	s.Spent, s.Calls = st.spent, st.calls
	if s.At.IsZero() {
		s.At, s.Seq, s.Height = workflow.Now(j.root), j.seq, len(st.stack)
		for _, g := range st.gates {
			if !g.Closed() && !g.auto {
				s.Gates = append(s.Gates, g.Nonce)
			}
		}
	}
	state, err := j.stateNow()
	if err != nil {
		return step.Capture{}, err
	}
	state.Outcomes = nil
	for _, o := range j.all {
		if o.Seq > j.saved {
			state.Outcomes = append(state.Outcomes, o)
		}
	}
	if len(j.base) == 0 {
		state.Outcomes = slices.Concat(j.before(), state.Outcomes)
	}
	return step.Capture{Snapshot: s, Base: j.base, State: state, Parts: parts}, nil
}

// stateNow is all that the code knows but the outcomes.
func (j *journal) stateNow() (step.State, error) {
	input, err := j.st.conv.ToPayloads(j.input.Args...)
	if err != nil {
		return step.State{}, fmt.Errorf("encode the run's input: %w", err)
	}
	s := step.State{Workflow: j.st.run.Workflow, Input: input, Generation: j.st.run.Generation, Started: j.started, Floor: j.floor, Header: j.header}
	s.Lines, s.Account = j.st.run.Lines, j.st.account
	for _, c := range j.calls {
		if c.kind == step.OutcomeActivity {
			s.Pending = append(s.Pending, c.key)
		}
	}
	return s, nil
}

// before are the results that the run had when its code began.
func (j *journal) before() []step.Outcome {
	var all []step.Outcome
	for _, key := range workflow.DeterministicKeys(j.inherited) {
		all = append(all, step.Outcome{
			Kind: step.OutcomeStep, Key: key, In: earlier, At: j.started,
			Result: &commonpb.Payloads{Payloads: []*commonpb.Payload{j.inherited[key]}},
		})
	}
	return all
}

type insistKey struct{}

// insisted is how often an activity is tried of which insist says why it fails.
const insisted = 3

// saver are the options of activities of going back: they are tried until they succeed
// or say that they cannot.
func saver(ctx workflow.Context, summary string) workflow.Context {
	var attempts int32
	if ctx.Value(insistKey{}) != nil {
		attempts = insisted
	}
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: time.Hour, HeartbeatTimeout: time.Minute, WaitForCancellation: true, Summary: summary,
		RetryPolicy: &temporal.RetryPolicy{InitialInterval: time.Second, BackoffCoefficient: 2, MaximumInterval: time.Minute, MaximumAttempts: attempts},
	})
}

// snapshotBefore saves the run before a step that may be rolled back, or that cannot be
// undone. It gives nil where nothing has to be saved.
func (st *state) snapshotBefore(ctx workflow.Context, s *scope, opts *StepOptions) (*wflo.Snapshot, error) {
	j := st.journal
	if j == nil || undoing(ctx) || opts.Rollback == nil && opts.Effect != wflo.EffectIrreversible {
		return nil, nil
	}
	parts := wflo.Parts{Workspace: st.boxed}
	if opts.Rollback != nil {
		parts = wflo.Parts{Workspace: opts.Rollback.Workspace && st.boxed, Tables: opts.Rollback.Tables}
		parts.Workspace = parts.Workspace || st.boxed && opts.Effect == wflo.EffectIrreversible
	}
	if last := j.last; last != nil && !j.draining() && (j.saved == j.seq || j.whole == j.seq) && len(j.calls) == 0 && len(parts.Tables) == 0 &&
		last.Height == len(st.stack) && (!parts.Workspace || last.Part(wflo.PartWorkspace, "") != nil) {
		return last, nil
	}
	snap, err := j.snapshotOnce(workflow.WithValue(ctx, stepKey{}, s), wflo.Snapshot{Kind: wflo.SnapshotAuto, Step: s.key}, parts)
	if err != nil && s.goesOn(ctx, opts, err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("snapshot before it: %w", err)
	}
	return &snap, nil
}

// bringBack brings the parts of a step that is rolled back to what they were before.
func (st *state) bringBack(ctx workflow.Context, snap *wflo.Snapshot, r *Rollback) error {
	if snap == nil {
		return nil
	}
	parts := wflo.Parts{Workspace: r.Workspace && snap.Part(wflo.PartWorkspace, "") != nil, Tables: r.Tables}
	if !parts.Workspace && len(parts.Tables) == 0 {
		return nil
	}
	ctx = st.unstoppable(ctx)
	if _, err := step.SnapshotBring.Do(saver(ctx, "bring back "+snap.ID), step.Bring{Snapshot: snap.ID, Parts: parts}); err != nil {
		return fmt.Errorf("bring back snapshot %s: %w", snap.ID, fromWire(err))
	}
	return nil
}

// snapshotByUpdate is what an operator asks for.
func (st *state) snapshotByUpdate(ctx workflow.Context, o wflo.SnapshotOrder) (wflo.Snapshot, error) {
	j := st.journal
	if err := j.drained(ctx); err != nil {
		return wflo.Snapshot{}, toWire(err)
	}
	var asked []wflo.Parts
	if o.Parts.Workspace || len(o.Parts.Tables) > 0 {
		asked = []wflo.Parts{o.Parts}
	}
	s, err := j.take(ctx, st.next("wflo.snapshot/update"), wflo.Snapshot{Name: o.Name, Kind: wflo.SnapshotManual}, j.wanted(asked))
	return s, toWire(err)
}

// maySave refuses a snapshot that cannot be taken now.
func (st *state) maySave(ctx workflow.Context, o wflo.SnapshotOrder) error {
	switch {
	case st.journal == nil:
		return toWire(errNoJournal)
	case st.journal.loading:
		return toWire(errComingBack)
	case st.ended || st.stopping():
		return toWire(wflo.Errorf(wflo.CodeConflict, "wait until it goes on", "run %s ends or is being restored", st.run.WorkflowID))
	}
	return nil
}
