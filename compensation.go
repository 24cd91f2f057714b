package wflo

import (
	"context"
	"fmt"
	"time"
)

// CompensationState says what became of a registered undo action and of the effect that
// it undoes.
type CompensationState string

// The states of a compensation. Only a dead letter waits for a person.
const (
	// CompensationRegistered is before the effect; if the run ends here, whether it
	// happened is unknown.
	CompensationRegistered CompensationState = "registered"
	// CompensationExecuted says that the effect happened, CompensationUnknown that its
	// call failed in a way that does not tell.
	CompensationExecuted CompensationState = "executed"
	CompensationUnknown  CompensationState = "unknown"
	// CompensationKept says that the run ended well, and the effect stays.
	CompensationKept CompensationState = "kept"
	// CompensationRunning says that the effect is being undone.
	CompensationRunning CompensationState = "compensating"
	CompensationDone    CompensationState = "compensated"
	// CompensationSkipped says that there was nothing to undo: the effect never began,
	// its probe says that it did not happen, or a person said so.
	CompensationSkipped CompensationState = "skipped"
	CompensationDead    CompensationState = "dead_letter"
)

// Ended says that nobody has anything left to do.
func (s CompensationState) Ended() bool {
	switch s {
	case CompensationKept, CompensationDone, CompensationSkipped:
		return true
	}
	return false
}

// May says whether a compensation goes from one state to the other. The same again is
// always fine.
func (s CompensationState) May(next CompensationState) bool {
	if s == next {
		return true
	}
	switch s {
	case CompensationRegistered:
		return true
	case CompensationExecuted, CompensationUnknown:
		return next != CompensationRegistered
	case CompensationRunning:
		return next == CompensationDone || next == CompensationSkipped || next == CompensationDead
	case CompensationDead:
		return next == CompensationRunning || next == CompensationDone || next == CompensationSkipped
	case CompensationKept:
		// A run that is opened again may undo what it had kept.
		return next == CompensationRunning || next == CompensationExecuted
	}
	return false
}

// CompensationRecord is one registered undo action.
type CompensationRecord struct {
	// ID is "undo-" and the first 20 hex digits of the effect key of its registration.
	ID       string `json:"id,omitempty"`
	Name     string `json:"name"`
	Activity string `json:"activity"`
	// Run is whose effect it is; TaskQueue is where its worker polls.
	Run       Run    `json:"run,omitzero"`
	TaskQueue string `json:"task_queue,omitempty"`
	// Height orders the compensations of a run: the highest runs first, those of one
	// Group at the same time.
	Height int    `json:"height,omitempty"`
	Group  string `json:"group,omitempty"`
	// Step is the key of the step that the effect is part of, and Undoes the activity
	// whose effect it is; empty means any within the step.
	Step   string `json:"step,omitempty"`
	Undoes string `json:"undoes,omitempty"`
	// Seq is the number of the last outcome that the run had when it was registered: its
	// effect came later.
	Seq int `json:"seq,omitempty"`
	// Input is the encoded argument of Activity; Probe and ProbeInput are those that say
	// whether the effect happened.
	Input      []byte        `json:"input,omitempty"`
	Probe      string        `json:"probe,omitempty"`
	ProbeInput []byte        `json:"probe_input,omitempty"`
	Timeout    time.Duration `json:"timeout,omitempty"`
	Attempts   int           `json:"attempts,omitempty"`

	State CompensationState `json:"state"`
	// Begun says that an attempt of the effect began. While it is false the effect
	// cannot have happened.
	Begun bool `json:"begun,omitempty"`
	// Cause is why it was undone: the error of the run, or who restored it. Error is
	// why undoing failed last.
	Cause string `json:"cause,omitempty"`
	Error string `json:"error,omitempty"`
	// By and Reason are of a person who ended it by hand.
	By     string `json:"by,omitempty"`
	Reason string `json:"reason,omitempty"`
	// At is when it was registered, ChangedAt when its state changed, by the clock of
	// the database.
	At        time.Time `json:"at,omitzero"`
	ChangedAt time.Time `json:"changed_at,omitzero"`
}

// Undo tells the activity that undoes an effect what is known of it. Get it with
// [UndoFrom].
type Undo struct {
	// ID is the compensation's, the same in every attempt: a key for providers that
	// refuse to do a thing twice.
	ID string `json:"id"`
	// Outcome is executed or unknown.
	Outcome CompensationState `json:"outcome"`
	// Cause is why it is undone.
	Cause string `json:"cause,omitempty"`
}

type undoKey struct{}

// WithUndo returns a context that carries u; the runtime sets it.
func WithUndo(ctx context.Context, u Undo) context.Context {
	return context.WithValue(ctx, undoKey{}, u)
}

// UndoFrom gives what the current activity undoes; ok is false in activities that do
// not run as a compensation.
func UndoFrom(ctx context.Context) (u Undo, ok bool) {
	u, ok = ctx.Value(undoKey{}).(Undo)
	return u, ok
}

// Probed is what a probe answers: whether an effect of unknown outcome happened.
type Probed struct {
	Happened bool `json:"happened"`
	// Result is what the step would have returned, as JSON; it may be empty where the
	// probe does not know it.
	Result []byte `json:"result,omitempty"`
}

// CompensatePrefix is what the ids of workflows begin with that undo what others have left.
const CompensatePrefix = "wflo-compensate/"

// CompensateWorkflowID is the id of the workflow that undoes what a run ("workflow id/first
// run id") has left, or one compensation (its ID): only one is at it at a time.
func CompensateWorkflowID(of string) string { return CompensatePrefix + of }

// CompensationOrder is what a person, or the sweep, does about compensations: the
// argument of WorkflowCompensate.
type CompensationOrder struct {
	// IDs are single ones that are tried again. Or:
	IDs []string `json:"ids,omitempty"`
	// RunID names a run, as "workflow id/first run id": all that it left is undone, the
	// highest first.
	RunID string `json:"run_id,omitempty"`
	// Above is the height from which on compensations of the run are undone.
	Above int `json:"above,omitempty"`
	// Kept undoes what the run kept when it ended well, too: for a run that is opened
	// again.
	Kept   bool   `json:"kept,omitempty"`
	By     string `json:"by"`
	Reason string `json:"reason,omitempty"`
}

// Validate says what is wrong with the order, if anything.
func (o *CompensationOrder) Validate() error {
	if (len(o.IDs) == 0) == (o.RunID == "") {
		return Invalid("compensation", fmt.Sprintf("order names %d ids and the run %q", len(o.IDs), o.RunID), "name compensations, or one run")
	}
	return nil
}
