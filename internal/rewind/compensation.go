package rewind

import (
	"cmp"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
)

// LeftOver is the error of compensations that a run does not know when it ends: those
// of a branch that a reset gave up.
const LeftOver = "left by a branch that a reset gave up"

var states = []wflo.CompensationState{
	wflo.CompensationRegistered, wflo.CompensationExecuted, wflo.CompensationUnknown, wflo.CompensationKept,
	wflo.CompensationRunning, wflo.CompensationDone, wflo.CompensationSkipped, wflo.CompensationDead,
}

// Ended are the states in which nobody has anything left to do.
func Ended() []string { return these(wflo.CompensationState.Ended) }

// Late are the states in which the effect must not begin any more. A dead letter is
// one of them: part of the effect may be undone.
func Late() []string {
	return these(func(s wflo.CompensationState) bool {
		return s == wflo.CompensationRunning || s == wflo.CompensationDead || s == wflo.CompensationDone || s == wflo.CompensationSkipped
	})
}

func these(is func(wflo.CompensationState) bool) (all []string) {
	for _, s := range states {
		if is(s) {
			all = append(all, string(s))
		}
	}
	return all
}

// MayBegin refuses the beginning of the effect of these compensations, of which there
// are those that have a state.
func MayBegin(ids []string, kept map[string]wflo.CompensationState) error {
	for _, id := range ids {
		if _, ok := kept[id]; !ok {
			return Missing(id)
		}
	}
	for _, id := range ids {
		if slices.Contains(Late(), string(kept[id])) {
			return wflo.Errorf(wflo.CodeConflict, "do the step again under a new epoch",
				"compensation %s is %s: its effect must not begin any more", id, string(kept[id]))
		}
	}
	return nil
}

// Missing says that there is no compensation of that ID.
func Missing(id string) error { return fmt.Errorf("compensation %.100q: %w", id, fs.ErrNotExist) }

// New completes a record that a run registers: its run and its first state. What
// happened already has begun.
func New(run wflo.Run, c wflo.CompensationRecord) (wflo.CompensationRecord, error) {
	if c.ID == "" || c.Activity == "" {
		return c, wflo.Invalid("compensation", fmt.Sprintf("%.100q of activity %.100q lacks its id or its activity", c.ID, c.Activity), "name both")
	}
	if c.State == "" {
		c.State = wflo.CompensationRegistered
	}
	if err := known(c.ID, c.State); err != nil {
		return c, err
	}
	c.Run = run
	c.Begun = c.Begun || c.State == wflo.CompensationExecuted
	return c, nil
}

// Registration is what of a run stays with a compensation, whoever takes it over: under
// which key it was registered.
func Registration(run wflo.Run) wflo.Run {
	return wflo.Run{Step: run.Step, Epoch: run.Epoch, Generation: run.Generation}
}

// Owned is the run that owns a compensation, with the key under which it was registered:
// that keeps its undoing apart from every other one. Records of before have none of
// their own.
func Owned(owner, registration wflo.Run) wflo.Run {
	if registration.Step != "" {
		owner.Step, owner.Epoch, owner.Generation = registration.Step, registration.Epoch, registration.Generation
	}
	return owner
}

func known(id string, s wflo.CompensationState) error {
	if slices.Contains(states, s) {
		return nil
	}
	return wflo.Invalid("compensation "+id, fmt.Sprintf("has the state %.40q, which there is not", string(s)), "use one of wflo's states")
}

// Apply makes the changes that notes ask for, and gives the records that change, by
// ID; on an error none do. kept are the records under the IDs of the marks, new ones
// among them, and, where the notes are Closed, those of the run that have not ended.
// When the run's list ends, what it does not know of is a dead letter, or skipped
// where its effect never began.
func Apply(kept map[string]wflo.CompensationRecord, run string, n step.CompensationNotes) ([]wflo.CompensationRecord, error) {
	now := maps.Clone(kept)
	last := map[string]wflo.CompensationState{}
	for _, m := range n.Marks {
		last[m.ID] = m.State
	}
	for _, m := range n.Marks {
		c, ok := now[m.ID]
		if !ok {
			return nil, Missing(m.ID)
		}
		if err := known(m.ID, m.State); err != nil {
			return nil, err
		}
		// A repetition of notes that went through finds the last of several marks, or
		// what the list's end made of that.
		if m.State != c.State && (kept[m.ID].State == last[m.ID] || n.Closed && !c.State.May(m.State) && left(kept[m.ID], run, last[m.ID], n.Kept)) {
			continue
		}
		if err := mark(&c, m); err != nil {
			return nil, err
		}
		now[m.ID] = c
	}
	if n.Closed {
		leave(now, run, n.Kept)
	}
	var all []wflo.CompensationRecord
	for _, id := range slices.Sorted(maps.Keys(now)) {
		if !same(now[id], kept[id]) {
			all = append(all, now[id])
		}
	}
	return all, nil
}

// leave ends what is left of a run's list.
func leave(now map[string]wflo.CompensationRecord, run string, keeps []string) {
	for id, c := range now {
		if c.Run.ID() != run || c.State.Ended() || c.State == wflo.CompensationDead || slices.Contains(keeps, id) {
			continue
		}
		c.State, c.Error = wflo.CompensationSkipped, cmp.Or(c.Error, LeftOver)
		if c.Begun {
			c.State = wflo.CompensationDead
		}
		now[id] = c
	}
}

// left says that the end of a run's list has been at a record that was marked so.
func left(c wflo.CompensationRecord, run string, marked wflo.CompensationState, keeps []string) bool {
	open := !marked.Ended() && marked != wflo.CompensationDead && !slices.Contains(keeps, c.ID)
	return open && c.Run.ID() == run && (c.State == wflo.CompensationDead || c.State == wflo.CompensationSkipped)
}

// mark changes one record.
func mark(c *wflo.CompensationRecord, m step.CompensationMark) error {
	if c.State == m.State {
		c.Cause, c.Error = cmp.Or(c.Cause, m.Cause), cmp.Or(c.Error, m.Error)
		return nil
	}
	if !c.State.May(m.State) {
		return wflo.Errorf(wflo.CodeConflict, "look at it with wflo compensations", "compensation %s is %s and cannot be %s", c.ID, string(c.State), string(m.State))
	}
	// What was kept and counts again is no news of whether it ever began.
	if m.State == wflo.CompensationExecuted && c.State != wflo.CompensationKept {
		c.Begun = true
	}
	c.State = m.State
	c.Cause, c.Error = cmp.Or(m.Cause, c.Cause), cmp.Or(m.Error, c.Error)
	c.By, c.Reason = cmp.Or(m.By, c.By), cmp.Or(m.Reason, c.Reason)
	return nil
}

func same(a, b wflo.CompensationRecord) bool {
	return a.State == b.State && a.Begun == b.Begun && a.Cause == b.Cause && a.Error == b.Error && a.By == b.By && a.Reason == b.Reason
}

// Undo begins to undo, and says whether the record changes: one whose effect never
// began is skipped, one that has ended stays.
func Undo(c *wflo.CompensationRecord, cause string) bool {
	if c.State.Ended() {
		return false
	}
	before, next := *c, wflo.CompensationRunning
	if !c.Begun {
		next = wflo.CompensationSkipped
	}
	if c.State != next {
		c.State, c.Cause = next, cmp.Or(cause, c.Cause)
	}
	c.Cause = cmp.Or(c.Cause, cause)
	return !same(*c, before)
}
