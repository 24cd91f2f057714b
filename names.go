package wflo

import "time"

// Names on the wire. Approval tools, `temporal workflow signal` and dashboards
// depend on them; they never change once released.
const (
	// SignalDecide carries a Decision to a run, as a signal or as an update.
	// The update answers synchronously and refuses a decision that does not
	// count; the signal is for tools that can only signal.
	SignalDecide = "wflo.decide"
	// UpdateDecide is SignalDecide as an update.
	UpdateDecide = "wflo.decide"
	// SignalHalt carries a Halt: new activities are refused, running ones are
	// cancelled, compensations run.
	SignalHalt = "wflo.halt"
	// QueryStatus answers a Status.
	QueryStatus = "wflo.status"
	// QueryGates answers []Gate, oldest first.
	QueryGates = "wflo.gates"
	// UpdateRestore carries a Restore to an open run. UpdateSnapshot carries a
	// SnapshotOrder, and is answered by the Snapshot.
	UpdateRestore  = "wflo.restore"
	UpdateSnapshot = "wflo.snapshot"
	// QueryPlan answers a RestorePlan for a Restore and the Snapshot that it names, nil
	// for a time; QueryState answers a page of a run's state. Both work on closed runs.
	QueryPlan  = "wflo.plan"
	QueryState = "wflo.state"
	// WorkflowRestore carries out a Restore, its argument, and answers a Restored.
	// WorkflowCompensate carries out a CompensationOrder and answers the
	// []CompensationRecord that it touched.
	WorkflowRestore    = "wflo.Restore"
	WorkflowCompensate = "wflo.Compensate"
	// WorkflowAgent is the tool-calling agent; its argument is a Task.
	WorkflowAgent = "wflo.Agent"
	// WorkflowBudgetAlert delivers one BudgetAlert, its argument, to the worker's
	// handlers. Its workflow id is "wflo-alert/" and the alert's ID.
	WorkflowBudgetAlert = "wflo.BudgetAlert"
	// HeaderRun is the Temporal header that carries a Run; HeaderCarry carries
	// what a run hands to its successor when it continues as new.
	HeaderRun   = "wflo-run"
	HeaderCarry = "wflo-carry"
	// HeaderGate carries the granted Gate to the activity that acts on it.
	HeaderGate = "wflo-gate"
	// HeaderTime tells a child when its outermost run began, for policies about time.
	HeaderTime = "wflo-time"
	// HeaderUndo is on the calls of a run that is being undone or tidied up, which
	// nothing may keep from happening.
	HeaderUndo = "wflo-undo"
	// HeaderEffect names the compensations of the effect that a call may have, so that
	// it does not begin once they are undone. HeaderUndoOf carries an Undo.
	HeaderEffect = "wflo-effect"
	HeaderUndoOf = "wflo-undo-of"
	// HeaderRestore names the restore that a run begins with; what it brings back is
	// read from the worker's own store.
	HeaderRestore = "wflo-restore"
)

// Search attributes that wflo sets on runs. Keyword values unless noted.
const (
	AttrState = "WfloState" // see RunState
	AttrGates = "WfloGates" // keyword list: the open gates
	AttrUser  = "WfloUser"
	AttrTeam  = "WfloTeam"
	AttrCost  = "WfloCostUSD" // double: dollars spent so far, for sorting
	AttrOrg   = "WfloOrg"
	AttrRisk  = "WfloRisk" // the highest Risk of the open gates
	// AttrApprovers is a keyword list: who is asked at the open gates, and
	// AttrDeadline a datetime: when the first of them times out.
	AttrApprovers = "WfloApprovers"
	AttrDeadline  = "WfloDeadline"
)

// RunState is the value of AttrState and Status.State.
type RunState string

// The states that Temporal's own status does not tell apart.
const (
	StateRunning      RunState = "running"
	StateWaiting      RunState = "waiting_approval"
	StateCompensating RunState = "compensating"
	StateRestoring    RunState = "restoring"
	StateHalted       RunState = "halted"
	StateCompleted    RunState = "completed"
	StateFailed       RunState = "failed"
)

// Halt stops a run.
type Halt struct {
	By     string `json:"by"`
	Reason string `json:"reason"`
	// Policy is the policy that halted it; empty for a person.
	Policy string `json:"policy,omitempty"`
	// KeepEffects leaves what the run did as it is: compensations do not run.
	KeepEffects bool `json:"keep_effects,omitempty"`
}

// Status answers QueryStatus: what a run is doing, in words.
type Status struct {
	Run   Run      `json:"run"`
	State RunState `json:"state"`
	// Doing is the step or gate that the run is at.
	Doing string `json:"doing,omitempty"`
	// Spent sums the costs of the model calls whose results this run has seen.
	// The ledger has the authoritative figure.
	Spent Money  `json:"spent"`
	Calls int    `json:"calls"` // model calls
	Gates []Gate `json:"gates,omitempty"`
	// Steps lists the steps that finished, oldest first.
	Steps []StepRecord `json:"steps,omitempty"`
	// Compensations lists the registered undo actions, oldest first.
	Compensations []CompensationRecord `json:"compensations,omitempty"`
	Halted        *Halt                `json:"halted,omitempty"`
	// Snapshots are the latest that the run took, oldest first.
	Snapshots []SnapshotRef `json:"snapshots,omitempty"`
	// Restoring is the ID of the restore that is under way; empty without one.
	Restoring string `json:"restoring,omitempty"`
}

// SnapshotRef names a snapshot of a run.
type SnapshotRef struct {
	ID   string       `json:"id"`
	Name string       `json:"name,omitempty"`
	At   time.Time    `json:"at"`
	Kind SnapshotKind `json:"kind"`
}

// StepRecord is one finished step.
type StepRecord struct {
	Key    string      `json:"key"`
	Effect EffectClass `json:"effect,omitempty"`
	Error  string      `json:"error,omitempty"`
	// Unused is the activity that people approved for the step, and that it did not
	// call.
	Unused string `json:"unused,omitempty"`
	// Unsaved is why no snapshot could be taken before a step that is irreversible; empty
	// where there is one, or none was to be taken.
	Unsaved string `json:"unsaved,omitempty"`
}
