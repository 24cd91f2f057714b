package step

import (
	"encoding/json"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	failurepb "go.temporal.io/api/failure/v1"

	"github.com/wflo-ai/wflo-go"
)

// OutcomeKind says what an Outcome is of.
type OutcomeKind string

// The kinds of outcomes.
const (
	OutcomeStep     OutcomeKind = "step"
	OutcomeActivity OutcomeKind = "activity" // local ones too
	OutcomeTimer    OutcomeKind = "timer"    // that fired
	OutcomeGate     OutcomeKind = "gate"
	OutcomeSignal   OutcomeKind = "signal"
	OutcomeSide     OutcomeKind = "side_effect"
)

// Outcome is one thing that a run knows happened, as it stands in its journal. A run
// that is restored gets the outcomes that it keeps again, in their order, and does not
// do the work.
type Outcome struct {
	// Seq numbers the outcomes of a run; it only grows, with gaps.
	Seq  int         `json:"seq"`
	Kind OutcomeKind `json:"kind"`
	// Key is the step key; of signals, the name.
	Key string `json:"key"`
	// At is the workflow's time.
	At time.Time `json:"at"`
	// Result or Failure is how it ended; a signal's Result are its arguments.
	Result  *commonpb.Payloads `json:"result,omitempty"`
	Failure *failurepb.Failure `json:"failure,omitempty"`
	// Input is the SHA-256, in hex, of what it was asked; empty means anything.
	Input string `json:"input,omitempty"`
	// Effect is the step's class.
	Effect wflo.EffectClass `json:"effect,omitempty"`
	// Signals says how many signals of a name the run's code had taken when a step ended,
	// where some were taken while it ran: a step that does not run again takes none.
	Signals map[string]int `json:"signals,omitempty"`
	// In is the key of the step that a step is within; empty for others.
	In string `json:"in,omitempty"`
	// Turn is how many turns all code of the run had had when it came: what comes in one
	// turn is given in one. Rest is how many it had until it was quiet, whatever else came
	// meanwhile. Zero means that nobody counted.
	Turn int `json:"turn,omitempty"`
	Rest int `json:"rest,omitempty"`
	// Together says of a signal that code had no turn between the outcome before and it.
	Together bool `json:"together,omitempty"`
	// Bound is the activity that a gate's approval is for, and Grant the key of the gate
	// on whose approval an activity acted.
	Bound string `json:"bound,omitempty"`
	Grant string `json:"grant,omitempty"`
	// Height is how many compensations there were.
	Height int `json:"height,omitempty"`
	// Around are the keys of the steps around the one that it is of, or within, the
	// innermost first.
	Around []string `json:"around,omitempty"`
}

// plainOutcome is an Outcome whose failure is in its wire format: it holds an
// interface, which encoding/json writes and cannot read.
type plainOutcome struct {
	outcome
	Failure []byte `json:"failure,omitempty"`
}

type outcome Outcome

// MarshalJSON writes the failure in its wire format.
func (o Outcome) MarshalJSON() ([]byte, error) {
	p := plainOutcome{outcome: outcome(o)}
	if o.Failure != nil {
		var err error
		if p.Failure, err = o.Failure.Marshal(); err != nil {
			return nil, err
		}
	}
	return json.Marshal(p)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (o *Outcome) UnmarshalJSON(data []byte) error {
	var p plainOutcome
	if err := json.Unmarshal(data, &p); err != nil {
		return err
	}
	*o = Outcome(p.outcome)
	if len(p.Failure) == 0 {
		return nil
	}
	o.Failure = &failurepb.Failure{}
	return o.Failure.Unmarshal(p.Failure)
}

// State is what a snapshot keeps of a run's own knowledge.
type State struct {
	// Workflow and Input start the run's code again, Generation numbers it.
	Workflow   string             `json:"workflow"`
	Input      *commonpb.Payloads `json:"input,omitempty"`
	Generation int                `json:"generation"`
	// Started is when its code began, by the workflow's time.
	Started time.Time `json:"started,omitzero"`
	// Floor is how many compensations there were then.
	Floor int `json:"floor,omitempty"`
	// Header holds the run's other headers, by name, that its code began with.
	Header   map[string]*commonpb.Payload `json:"header,omitempty"`
	Outcomes []Outcome                    `json:"outcomes,omitempty"`
	// Pending are the keys of activities that had been called and not answered.
	Pending []string `json:"pending,omitempty"`
	// Lines are the run's budgets, and Account the one of them that is limited as its own;
	// empty means that which has the run's ID.
	Lines   []wflo.BudgetLine `json:"lines,omitempty"`
	Account string            `json:"account,omitempty"`
}

// Capture asks for a snapshot. Its ID is made of the effect key.
type Capture struct {
	// Snapshot is the manifest without ID, Parts and Digest.
	Snapshot wflo.Snapshot `json:"snapshot"`
	// Base are the pieces of state that were saved before and count still: the blobs of
	// a part. State adds to them.
	Base  []string   `json:"base,omitempty"`
	State State      `json:"state"`
	Parts wflo.Parts `json:"parts,omitzero"`
	// Inherit takes the parts besides the state from this snapshot instead of capturing
	// them: for a moment that is past.
	Inherit string `json:"inherit,omitempty"`
}

// Find asks for the snapshot that a restore of a run names.
type Find struct {
	Run wflo.Run          `json:"run"`
	To  wflo.RestorePoint `json:"to"`
}

// Bring asks for parts of a snapshot to be brought back for the run that asks.
type Bring struct {
	Snapshot string     `json:"snapshot"`
	Parts    wflo.Parts `json:"parts"`
}

// Loaded is the state of a snapshot, with its manifest. The outcomes end before the
// first successful step whose effect was undone meanwhile; Moved says so then.
type Loaded struct {
	Snapshot wflo.Snapshot `json:"snapshot"`
	State    State         `json:"state"`
	Moved    string        `json:"moved,omitempty"`
	// The rest is for a run that a fork or a reopening started, which loads by the ID of
	// its restore: what was asked, its epoch, the parts that it brings back, and
	// the compensations that it takes over, the lowest first.
	Restore *wflo.Restore             `json:"restore,omitempty"`
	Epoch   int                       `json:"epoch,omitempty"`
	Parts   wflo.Parts                `json:"parts,omitzero"`
	Stack   []wflo.CompensationRecord `json:"stack,omitempty"`
	// Inherits is what else it has from the run before; nil where nobody wrote it down.
	Inherits *wflo.Inheritance `json:"inherits,omitempty"`
}

// PlanQuery is the argument of wflo.QueryPlan.
type PlanQuery struct {
	Restore  wflo.Restore   `json:"restore"`
	Snapshot *wflo.Snapshot `json:"snapshot,omitempty"`
}

// PageQuery is the argument of wflo.QueryState, StatePage its answer: outcomes from the
// From-th on, as many as fit into a message. Next is zero at the end.
type PageQuery struct {
	From int `json:"from"`
}

// StatePage is one page of a run's state.
type StatePage struct {
	State  State      `json:"state"`
	Run    wflo.Run   `json:"run"`
	Seq    int        `json:"seq"`
	Height int        `json:"height"`
	Spent  wflo.Money `json:"spent"`
	Calls  int        `json:"calls"`
	Next   int        `json:"next,omitempty"`
}

// CompensationMark is one change of a compensation's state.
type CompensationMark struct {
	ID    string                 `json:"id"`
	State wflo.CompensationState `json:"state"`
	Cause string                 `json:"cause,omitempty"`
	Error string                 `json:"error,omitempty"`
	By    string                 `json:"by,omitempty"`
	// Reason is of a person.
	Reason string `json:"reason,omitempty"`
}

// CompensationNotes are what a run has to say about its compensations: new ones, and
// changes. Closed ends the run's list: those of the run that are neither in Kept nor
// ended are left over from a branch that a reset gave up.
type CompensationNotes struct {
	New    []wflo.CompensationRecord `json:"new,omitempty"`
	Marks  []CompensationMark        `json:"marks,omitempty"`
	Closed bool                      `json:"closed,omitempty"`
	Kept   []string                  `json:"kept,omitempty"`
}

// Prefixes of recovery.
const (
	PrefixSnapshot = "wflo.snapshot."
	PrefixUndo     = "wflo.undo."
	PrefixRecovery = "wflo.recovery."
)

// The activities of recovery that runs call themselves.
const (
	SnapshotTake  Of[Capture, wflo.Snapshot]                            = PrefixSnapshot + "Take"
	SnapshotFind  Of[Find, wflo.Snapshot]                               = PrefixSnapshot + "Find"
	SnapshotLoad  Of[string, Loaded]                                    = PrefixSnapshot + "Load"  // of a snapshot's ID, or of the restore's that started the run
	SnapshotCheck Of[Bring, None]                                       = PrefixSnapshot + "Check" // that Bring would be possible
	SnapshotBring Of[Bring, None]                                       = PrefixSnapshot + "Bring"
	RestoreNote   Of[wflo.Restored, None]                               = PrefixSnapshot + "Note" // how far a restore is
	UndoNote      Of[CompensationNotes, None]                           = PrefixUndo + "Note"
	UndoList      Of[wflo.CompensationOrder, []wflo.CompensationRecord] = PrefixUndo + "List"
)
