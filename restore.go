package wflo

import (
	"encoding/json"
	"fmt"
	"time"
)

// RestorePrefix is what the workflow ids of restores begin with.
const RestorePrefix = "wflo-restore/"

// RestoreWorkflowID is the workflow id of a restore: whoever asks for it twice gets the
// same one.
func RestoreWorkflowID(id string) string { return RestorePrefix + id }

// Restore takes a run back to an earlier moment of it. It is the argument of the
// workflow WorkflowRestore, whose id is RestoreWorkflowID of the restore's ID: one
// restore takes effect once.
type Restore struct {
	// ID names the restore; whoever asks chooses it, at random. Required.
	ID string `json:"id"`
	// WorkflowID is the run's; FirstRunID may name one of several with that id, else
	// it is the latest.
	WorkflowID string `json:"workflow_id"`
	FirstRunID string `json:"first_run_id,omitempty"`
	// To is where to. Required.
	To RestorePoint `json:"to"`
	// Mode is how; empty means in place for a run that is open, and reopen for one that
	// is closed.
	Mode RestoreMode `json:"mode,omitempty"`
	// Parts are those that are brought back besides the state; nil means all that the
	// snapshot has, and for a fork no tables, which the first run goes on using.
	Parts *Parts `json:"parts,omitempty"`
	// DryRun only plans.
	DryRun bool `json:"dry_run,omitempty"`
	// AcceptIrreversible goes back behind effects that cannot be undone. Without it the
	// restore is refused and names them.
	AcceptIrreversible bool `json:"accept_irreversible,omitempty"`
	// Plan is the Digest of the plan that somebody has looked at: where the plan is
	// another one by now, the restore is refused with CodeConflict. Empty means any.
	Plan string `json:"plan,omitempty"`
	// NewID is the workflow id of a fork; empty means the run's own with the restore's ID.
	NewID string `json:"new_id,omitempty"`
	// By and Reason say who and why. Reason is required unless DryRun is set.
	By     string `json:"by"`
	Reason string `json:"reason"`
}

// RestorePoint is a moment of a run: exactly one of the fields.
type RestorePoint struct {
	// Snapshot is a snapshot's ID, or its name.
	Snapshot string `json:"snapshot,omitempty"`
	// Time restores the outcomes that were there at that time, to the boundary of
	// steps, and the other parts from the latest snapshot before it.
	Time time.Time `json:"time,omitzero"`
}

// RestoreMode says what becomes of the run.
type RestoreMode string

// The modes.
const (
	// RestoreInPlace goes on in the run itself, which must be open.
	RestoreInPlace RestoreMode = "in-place"
	// RestoreFork starts another run from there; the first one is left alone, and keeps
	// its compensations.
	RestoreFork RestoreMode = "fork"
	// RestoreReopen starts a new run of a closed one's id, after what came later was
	// undone.
	RestoreReopen RestoreMode = "reopen"
)

// Validate says what is wrong with the request, if anything.
func (r *Restore) Validate() error {
	switch {
	case r.ID == "" || nameProblem(r.ID) != "":
		return Invalid("restore.id", "is empty or not a short plain name", "draw one at random")
	case r.WorkflowID == "":
		return Invalid("restore.workflow_id", "is empty", "name the run")
	case (r.To.Snapshot == "") == r.To.Time.IsZero():
		return Invalid("restore.to", "names both or neither of a snapshot and a time", "give the ID or name of a snapshot, or a time such as 2026-11-22T10:00:00Z")
	case r.Reason == "" && !r.DryRun:
		return Invalid("restore.reason", "is empty", "say why the run is taken back; it is recorded")
	case r.NewID != "" && r.Mode != RestoreFork:
		return Invalid("restore.new_id", "is set", "only a fork has another id")
	}
	switch r.Mode {
	case "", RestoreInPlace, RestoreFork, RestoreReopen:
		return nil
	}
	return Invalid("restore.mode", fmt.Sprintf("is %q", string(r.Mode)), "use in-place, fork or reopen")
}

// RestorePlan says what a restore would do, or did.
type RestorePlan struct {
	// Snapshot is the one that parts come from; nil for a time before the first.
	Snapshot *Snapshot   `json:"snapshot,omitempty"`
	Mode     RestoreMode `json:"mode"`
	// At is the moment that the state is of: that of the snapshot, or of the last
	// outcome that is kept.
	At time.Time `json:"at,omitzero"`
	// Moved says why At is earlier than was asked for; empty where it is not.
	Moved string `json:"moved,omitempty"`
	// Kept counts outcomes that the run keeps. Again are those that it gives up: the
	// work is done again.
	Kept  int        `json:"kept"`
	Again []PlanItem `json:"again,omitempty"`
	// Undo are the compensations that will run, in this order. Skipped are those whose
	// effect is known not to have happened.
	Undo    []CompensationRecord `json:"undo,omitempty"`
	Skipped []CompensationRecord `json:"skipped,omitempty"`
	// Irreversible are effects that stay although what caused them is done again.
	// Without Restore.AcceptIrreversible they refuse the restore.
	Irreversible []PlanItem `json:"irreversible,omitempty"`
	// Void are approvals that do not count any more: people are asked again.
	Void []PlanItem `json:"void,omitempty"`
	// Spent is what the run has spent since; it stays spent. SpentTotal is all of it.
	Spent      Money `json:"spent"`
	SpentTotal Money `json:"spent_total"`
	// Warnings say what a restore cannot bring back, in words.
	Warnings []string `json:"warnings,omitempty"`
	// Refusals say why the restore would not be done, in words; none means that it would.
	Refusals []string `json:"refusals,omitempty"`
	// Diffs are between the snapshot and now, by part.
	Diffs []PartDiff `json:"diffs,omitempty"`
	// Stay is how many compensations stay registered, where the run itself has said so.
	Stay *int `json:"stay,omitempty"`
	// More counts what the lists leave out.
	More PlanMore `json:"more,omitzero"`
	// Digest names what the plan says would be undone, done again, void, or could not be
	// undone, and the snapshot; see Seal.
	Digest string `json:"digest,omitempty"`
}

// PlanMore counts the items that the lists of a plan leave out.
type PlanMore struct {
	Again        int `json:"again,omitempty"`
	Undo         int `json:"undo,omitempty"`
	Skipped      int `json:"skipped,omitempty"`
	Irreversible int `json:"irreversible,omitempty"`
	Void         int `json:"void,omitempty"`
	Warnings     int `json:"warnings,omitempty"`
}

// mostListed bounds the lists of a plan: it travels in messages, and people read it.
const mostListed = 200

// Shorten leaves out what is over 200 items in a list, and counts it in More.
func (p *RestorePlan) Shorten() {
	p.Again = shorten(p.Again, &p.More.Again)
	p.Undo = shorten(p.Undo, &p.More.Undo)
	p.Skipped = shorten(p.Skipped, &p.More.Skipped)
	p.Irreversible = shorten(p.Irreversible, &p.More.Irreversible)
	p.Void = shorten(p.Void, &p.More.Void)
	p.Warnings = shorten(p.Warnings, &p.More.Warnings)
}

func shorten[T any](all []T, more *int) []T {
	if len(all) <= mostListed {
		return all
	}
	*more += len(all) - mostListed
	return all[:mostListed:mostListed]
}

// Seal sets Digest: the SHA-256, in hex, of the canonical JSON of what matters to whoever
// decides. It is called before Shorten. A digest that the plan has already is part of the
// new one: that of the run's own plan, to which the stores have added.
func (p *RestorePlan) Seal() error {
	type named struct {
		Key, Kind string
		State     CompensationState `json:",omitempty"`
	}
	items := func(all []PlanItem) []named {
		out := make([]named, len(all))
		for i, item := range all {
			out[i] = named{Key: item.Key, Kind: item.Kind}
		}
		return out
	}
	undo := make([]named, len(p.Undo))
	for i, c := range p.Undo {
		undo[i] = named{Key: c.ID, Kind: c.Name, State: c.State}
	}
	var snapshot string
	if p.Snapshot != nil {
		snapshot = p.Snapshot.ID
	}
	b, err := json.Marshal(map[string]any{
		"of": p.Digest, "mode": p.Mode, "snapshot": snapshot, "more": p.More, "kept": p.Kept,
		"undo": undo, "again": items(p.Again), "irreversible": items(p.Irreversible), "void": items(p.Void),
	})
	if err == nil {
		b, err = Canonical(b)
	}
	if err != nil {
		return fmt.Errorf("plan: %w", err)
	}
	p.Digest = hashParts("wflo.plan.v1", string(b))
	return nil
}

// PlanChanged refuses a restore whose plan is not the one that somebody looked at; nil
// where it is, or where Restore.Plan names none.
func (r *Restore) PlanChanged(digest string) error {
	if r.Plan == "" || r.Plan == digest {
		return nil
	}
	return Errorf(CodeConflict, "look at the plan again", "the run went on since: the plan is not the one that was shown")
}

// PlanItem names a step, a call, a gate or a child of a run.
type PlanItem struct {
	Key    string      `json:"key"`
	Kind   string      `json:"kind"` // step, activity, child, gate, update
	Effect EffectClass `json:"effect,omitempty"`
	At     time.Time   `json:"at,omitzero"`
	// Note says why it is in the list.
	Note string `json:"note,omitempty"`
}

// RestoreState is how far a restore is.
type RestoreState string

// The states of a restore.
const (
	RestorePlanned      RestoreState = "planned"
	RestoreCompensating RestoreState = "compensating"
	RestoreRestoring    RestoreState = "restoring"
	RestoreDone         RestoreState = "done"
	RestoreFailed       RestoreState = "failed"
)

// Restored is the result of WorkflowRestore, and what is kept of it.
type Restored struct {
	Restore Restore      `json:"restore"`
	State   RestoreState `json:"state"`
	Plan    RestorePlan  `json:"plan"`
	// From is the run that was taken back, as "workflow id/first run id"; Into is the
	// run that goes on: the same, or the new one. Epoch is its epoch.
	From  string `json:"from"`
	Into  string `json:"into,omitempty"`
	Epoch int    `json:"epoch,omitempty"`
	// PreRestore is the snapshot of what was given up; empty where there was nothing.
	PreRestore string `json:"pre_restore,omitempty"`
	// Dead are compensations that failed for good.
	Dead  []CompensationRecord `json:"dead,omitempty"`
	Error string               `json:"error,omitempty"`
	// Inherits is what the run that a fork or a reopening starts has from the run before.
	Inherits *Inheritance `json:"inherits,omitempty"`
	// Asked and Ended are by the clock of the database.
	Asked time.Time `json:"asked,omitzero"`
	Ended time.Time `json:"ended,omitzero"`
}

// Inheritance is what a run that goes on from a snapshot has from the run before it, and
// could not claim in a header. A reopened run is the same run for money: it goes on under
// the same budgets and from what was spent. A fork has a budget of its own under those of
// the first run's parents, and has spent nothing.
type Inheritance struct {
	// Root is the outermost run; empty means the new run itself.
	Root string `json:"root,omitempty"`
	// Lines are the budgets that every paid call must fit, besides the new run's own.
	Lines []BudgetLine `json:"lines,omitempty"`
	// Account is the one of Lines that is limited as the run's own: that of the first run
	// of several that were reopened. Empty means a line of its own.
	Account string `json:"account,omitempty"`
	// Bundle is the hash of the policies that govern the run; empty means the worker's.
	Bundle string `json:"bundle,omitempty"`
	// Spent and Calls are those of the run before; zero for a fork.
	Spent Money `json:"spent,omitempty"`
	Calls int   `json:"calls,omitempty"`
}

// SnapshotOrder asks an open run for a snapshot of itself.
type SnapshotOrder struct {
	Name  string `json:"name,omitempty"`
	Parts Parts  `json:"parts,omitzero"`
	By    string `json:"by,omitempty"`
}
