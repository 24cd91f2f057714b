package storetest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/step"
	"pgregory.net/rapid"
)

// undoModel is the contract of compensations in a plain map, for one caller at a time.
type undoModel map[string]modelUndo

type modelUndo struct {
	state           wflo.CompensationState
	begun           bool
	run, cause, who string
	height          int
}

var (
	errModelMissing  = errors.New("missing")
	errModelConflict = errors.New("conflict")
)

// note is NoteCompensations.
func (m undoModel) note(run string, n step.CompensationNotes) (undoModel, error) {
	next := maps.Clone(m)
	for _, c := range n.New {
		if _, ok := next[c.ID]; !ok {
			next[c.ID] = modelUndo{state: wflo.CompensationRegistered, run: run, height: c.Height}
		}
	}
	for _, k := range n.Marks {
		c, ok := next[k.ID]
		switch {
		case !ok:
			return m, errModelMissing
		case c.state == k.State && c.cause == "":
			c.cause = k.Cause
		case c.state == k.State:
		case n.Closed && !c.state.May(k.State) && c.leftBy(run, k, n.Kept):
			// The same notes have ended the run's list before.
		case !c.state.May(k.State):
			return m, errModelConflict
		default:
			if k.State == wflo.CompensationExecuted && c.state != wflo.CompensationKept {
				c.begun = true
			}
			if k.Cause != "" {
				c.cause = k.Cause
			}
			c.state, c.who = k.State, k.By
		}
		next[k.ID] = c
	}
	for id, c := range next {
		if !n.Closed || c.run != run || c.state.Ended() || c.state == wflo.CompensationDead || slices.Contains(n.Kept, id) {
			continue
		}
		if c.state = wflo.CompensationSkipped; c.begun {
			c.state = wflo.CompensationDead
		}
		next[id] = c
	}
	return next, nil
}

// leftBy says that a list which ended after the mark would have left this.
func (c modelUndo) leftBy(run string, k step.CompensationMark, keeps []string) bool {
	if k.State.Ended() || k.State == wflo.CompensationDead || slices.Contains(keeps, k.ID) {
		return false // the end leaves it as it is marked
	}
	return c.run == run && (c.state == wflo.CompensationDead || c.state == wflo.CompensationSkipped)
}

// effect is BeginEffect.
func (m undoModel) effect(ids []string) error {
	for _, id := range ids {
		if _, ok := m[id]; !ok {
			return errModelMissing
		}
	}
	for _, id := range ids {
		switch m[id].state {
		case wflo.CompensationRunning, wflo.CompensationDone, wflo.CompensationSkipped, wflo.CompensationDead:
			return errModelConflict
		}
	}
	for _, id := range ids {
		c := m[id]
		c.begun = true
		m[id] = c
	}
	return nil
}

// undo is BeginUndo.
func (m undoModel) undo(id, cause string) error {
	c, ok := m[id]
	if !ok {
		return errModelMissing
	}
	if c.state.Ended() {
		return nil
	}
	next := wflo.CompensationRunning
	if !c.begun {
		next = wflo.CompensationSkipped
	}
	if c.cause == "" || c.state != next {
		c.cause = cause
	}
	c.state = next
	m[id] = c
	return nil
}

type undoWalk struct {
	p     *past
	model undoModel
	walk  int
}

// compensationsModel takes random steps in the store and in the model.
func compensationsModel(p *past) {
	walk := 0
	rapid.Check(p.T, func(t *rapid.T) {
		walk++
		w := &undoWalk{p: p, model: undoModel{}, walk: walk}
		t.Repeat(map[string]func(*rapid.T){
			"note": w.note, "mark": w.note, "effect": w.effect, "undo": w.undo, "adopt": w.adopt, "": w.check,
		})
	})
}

func (w *undoWalk) id(t *rapid.T) string {
	return fmt.Sprint("u", w.walk, "-", rapid.IntRange(0, 5).Draw(t, "id"))
}

func (w *undoWalk) run(t *rapid.T) wflo.Run {
	return of(fmt.Sprint("w", w.walk, "-", rapid.IntRange(0, 1).Draw(t, "run")), "acme")
}

// agree compares what the store and the model say.
func (w *undoWalk) agree(t *rapid.T, what string, got, want error) {
	ok := errors.Is(want, errModelMissing) && errors.Is(got, fs.ErrNotExist) ||
		errors.Is(want, errModelConflict) && wflo.CodeOf(got) == wflo.CodeConflict || want == nil && got == nil
	if !ok {
		t.Fatalf("%s gave %v, want %v", what, got, want)
	}
}

func (w *undoWalk) note(t *rapid.T) {
	run := w.run(t)
	var n step.CompensationNotes
	for range rapid.IntRange(0, 2).Draw(t, "new") {
		n.New = append(n.New, undo(w.id(t), rapid.IntRange(0, 3).Draw(t, "height")))
	}
	// One mark of each: that a repeated pair is fine has a test of its own.
	marked := map[string]bool{}
	for range rapid.IntRange(0, 2).Draw(t, "marks") {
		m := step.CompensationMark{ID: w.id(t), State: rapid.SampledFrom(allStates).Draw(t, "state"),
			Cause: rapid.SampledFrom([]string{"", "c1", "c2"}).Draw(t, "cause"), By: "ann"}
		if !marked[m.ID] {
			n.Marks = append(n.Marks, m)
		}
		marked[m.ID] = true
	}
	if n.Closed = rapid.IntRange(0, 7).Draw(t, "closed") == 0; n.Closed {
		n.Kept = []string{w.id(t), w.id(t)}
	}
	next, want := w.model.note(run.ID(), n)
	w.agree(t, "note", w.p.NoteCompensations(t.Context(), run, n), want)
	w.model = next
}

func (w *undoWalk) effect(t *rapid.T) {
	ids := []string{w.id(t), w.id(t)}[:rapid.IntRange(1, 2).Draw(t, "n")]
	w.agree(t, "begin effect", w.p.BeginEffect(t.Context(), ids...), w.model.effect(ids))
}

func (w *undoWalk) undo(t *rapid.T) {
	id, cause := w.id(t), rapid.SampledFrom([]string{"c1", "c2"}).Draw(t, "cause")
	got, err := w.p.BeginUndo(t.Context(), id, cause)
	w.agree(t, "begin undo", err, w.model.undo(id, cause))
	if err == nil {
		w.same(t, got)
	}
}

func (w *undoWalk) adopt(t *rapid.T) {
	from, to, upTo := w.run(t), w.run(t), rapid.IntRange(0, 3).Draw(t, "up to")
	if err := w.p.AdoptCompensations(t.Context(), from, to, upTo); err != nil {
		t.Fatal(err)
	}
	for id, c := range w.model {
		if c.run == from.ID() && c.height <= upTo && !c.state.Ended() {
			c.run = to.ID()
			w.model[id] = c
		}
	}
}

func (w *undoWalk) same(t *rapid.T, c wflo.CompensationRecord) {
	want := w.model[c.ID]
	if got := (modelUndo{c.State, c.Begun, c.Run.ID(), c.Cause, c.By, c.Height}); got != want {
		t.Fatalf("%s is %+v, want %+v", c.ID, got, want)
	}
}

// check reads every run of the walk, which has to be in its order.
func (w *undoWalk) check(t *rapid.T) {
	found := 0
	for i := range 2 {
		found += w.checkRun(t, t.Context(), of(fmt.Sprint("w", w.walk, "-", i), "acme").ID())
	}
	if found != len(w.model) {
		t.Fatalf("there are %d, want %d", found, len(w.model))
	}
}

func (w *undoWalk) checkRun(t *rapid.T, ctx context.Context, run string) int {
	all, err := w.p.ListCompensations(ctx, activities.CompensationQuery{Run: run})
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range all {
		w.same(t, c)
		if i > 0 && all[i-1].Height < c.Height {
			t.Fatalf("%s is listed after %s", c.ID, all[i-1].ID)
		}
	}
	return len(all)
}
