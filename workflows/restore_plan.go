package workflows

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
)

// pageBytes bounds a page of the state, below what a message may have.
const pageBytes = 512 << 10

// outcomes are all that the run has, given to its code or not.
func (j *journal) outcomes() []step.Outcome {
	if !j.draining() {
		return j.all
	}
	return slices.Concat(j.all, j.kept[j.at:])
}

// stateAt is the state of an earlier moment of this run of the code.
func (j *journal) stateAt(at time.Time) (step.State, error) {
	s, err := j.stateNow()
	if err != nil {
		return s, err
	}
	s.Outcomes = j.before()
	for i, later := range laterThan(j.all, at) {
		o := j.all[i]
		if !later {
			s.Outcomes = append(s.Outcomes, o)
			continue
		}
		if o.Kind == step.OutcomeActivity || o.Kind == step.OutcomeStep {
			s.Pending = append(s.Pending, o.Key) // it may have begun before
		}
	}
	return s, nil
}

// laterThan says of each outcome whether it is later than a moment, or within a step that
// ended later: of what else happened in that step nothing is left.
func laterThan(all []step.Outcome, at time.Time) []bool {
	later, steps := make([]bool, len(all)), map[string]bool{}
	for i, o := range slices.Backward(all) {
		later[i] = o.At.After(at) || o.In != "" && steps[o.In]
		if later[i] && o.Kind == step.OutcomeStep {
			steps[o.Key] = true
		}
	}
	return later
}

// heightAt is the last outcome of that moment, and how many compensations there were.
func (j *journal) heightAt(at time.Time) (keep, height int) {
	height = j.floor
	for i, later := range laterThan(j.all, at) {
		if !later {
			keep, height = j.all[i].Seq, j.all[i].Height
		}
	}
	return keep, height
}

// knows says that a moment is one of the branch that the run is on, as far as its own
// journal has it: one that a restore gave up is that of its snapshot. snap is the latest
// snapshot until the moment, nil without.
func (st *state) knows(r wflo.Restore, snap *wflo.Snapshot) bool {
	j, at := st.journal, r.To.Time
	switch {
	case at.IsZero() || at.Before(j.started):
		return false
	case snap != nil && snap.Run.ID() == st.run.ID() && snap.Run.Epoch == st.run.Epoch && snap.Run.Generation == st.run.Generation,
		snap == nil && st.run.Epoch == 0:
		return true
	case r.Mode != "" && r.Mode != wflo.RestoreInPlace:
		return false
	}
	// Before the first snapshot all branches are one.
	return !at.Before(j.born) || snap == nil && !at.After(j.until)
}

// lastOf is the number of the last outcome that code was given.
func lastOf(all []step.Outcome) int {
	last := 0
	for _, o := range all {
		if o.In != earlier {
			last = max(last, o.Seq)
		}
	}
	return last
}

// planFor finds the moment that can be gone back to, and says what that means.
func (st *state) planFor(g *restoring) {
	kept := g.reach(st.stack, st.ended)
	p := &g.plan
	p.Mode, p.Snapshot, p.Kept = wflo.RestoreInPlace, g.snap, len(kept)
	p.SpentTotal, p.Spent, p.At = st.spent, st.spent, g.at
	stay := g.height
	p.Stay = &stay
	if g.snap != nil {
		if s := st.spent - g.snap.Spent; s >= 0 { // a fork has not spent what the first run had
			p.Spent = s
		}
		if g.at.IsZero() {
			p.At = g.snap.At
		}
	}
	if n := len(kept); p.Moved != "" && n > 0 {
		p.At = kept[n-1].At
	}
	for i := len(st.stack) - 1; i >= g.height; i-- {
		switch c := st.stack[i]; {
		case c.open():
			p.Undo = append(p.Undo, c.record(i+1))
		case c.State == wflo.CompensationSkipped:
			p.Skipped = append(p.Skipped, c.record(i+1))
		}
	}
	st.planAgain(g)
	st.planVoid(p, unspent(kept))
	if r := g.order.Parts; g.snap != nil && g.snap.Part(wflo.PartWorkspace, "") == nil && st.boxed && (r == nil || r.Workspace) {
		p.Warnings = append(p.Warnings, "the snapshot has no workspace: files stay as they are")
	}
	if g.state.Generation != st.run.Generation {
		p.Warnings = append(p.Warnings, "the snapshot is of a run before this one: signals that came in between and were read are gone")
	}
}

// planAgain lists what is done again, and what of that cannot be undone.
func (st *state) planAgain(g *restoring) {
	j, p := st.journal, &g.plan
	loose := 0
	for _, o := range j.outcomes() {
		if o.Seq <= g.keep && g.state.Generation == st.run.Generation {
			continue
		}
		item := wflo.PlanItem{Key: o.Key, Kind: string(o.Kind), Effect: o.Effect, At: o.At}
		switch o.Kind {
		case step.OutcomeGate:
			item.Note = "people are asked again"
			p.Void = append(p.Void, item)
		case step.OutcomeActivity:
			if !strings.Contains(o.Key, "/wflo.snapshot#") {
				loose++
				st.addAgain(p, item)
			}
		case step.OutcomeStep:
			st.addAgain(p, item)
		}
	}
	for _, c := range j.calls {
		if c.kind == step.OutcomeActivity {
			st.addAgain(p, wflo.PlanItem{Key: c.key, Kind: string(c.kind), Effect: c.effect, Note: "it is under way, and is stopped"})
		}
	}
	if loose > 0 {
		p.Warnings = append(p.Warnings, fmt.Sprintf("%d activities outside of finished steps are called again", loose))
	}
	for _, u := range j.unkept {
		if u.At.After(p.At) {
			p.Again = append(p.Again, u)
		}
		p.Warnings = append(p.Warnings, fmt.Sprintf("%s %s is not in the journal: %s", u.Kind, u.Key, u.Note))
	}
}

// planVoid lists the approvals that do not hold any more: the journal answers neither
// their gate nor the step that it was of.
func (st *state) planVoid(p *wflo.RestorePlan, kept []step.Outcome) {
	for _, g := range st.gates {
		key := g.recordedAs
		if key == "" || !g.Granted() || slices.ContainsFunc(p.Void, func(i wflo.PlanItem) bool { return i.Key == key }) {
			continue
		}
		of := stepOfGate(key)
		answered := func(o step.Outcome) bool {
			return o.Kind == step.OutcomeGate && o.Key == key ||
				o.Kind == step.OutcomeStep && of != "" && (o.Key == of || slices.Contains(g.around, o.Key))
		}
		if !slices.ContainsFunc(kept, answered) {
			p.Void = append(p.Void, wflo.PlanItem{Key: key, Kind: string(step.OutcomeGate), At: g.ClosedAt, Note: "people are asked again"})
		}
	}
}

// addAgain adds what is done again. Its effect stays where nothing undoes it.
func (st *state) addAgain(p *wflo.RestorePlan, item wflo.PlanItem) {
	p.Again = withLatest(p.Again, item)
	switch item.Effect {
	case wflo.EffectPure, wflo.EffectRead:
		return
	}
	if strings.Contains(item.Key, "/"+step.PrefixLLM) || strings.Contains(item.Key, "/"+step.PrefixSandbox) {
		return // what it costs stays spent; files are a part of snapshots
	}
	if slices.ContainsFunc(p.Undo, func(c wflo.CompensationRecord) bool { return undoes(&c, item.Key) }) {
		return
	}
	stands := func(c *compensation) bool {
		return baseOf(c.Step) == item.Key && c.State != wflo.CompensationDone && c.State != wflo.CompensationSkipped
	}
	i := slices.IndexFunc(st.stack, stands)
	if item.Effect == wflo.EffectReversible && i < 0 {
		return // it was undone, or ended before its compensation was registered, and so before it did anything
	}
	if i >= 0 && st.stack[i].State == wflo.CompensationDead {
		item.Note = firstName(item.Note, "its undoing failed")
	}
	item.Note = firstName(item.Note, "nothing undoes it")
	if item.Effect == "" {
		item.Note += "; its effect is not declared"
	}
	p.Irreversible = withLatest(p.Irreversible, item)
}

// withLatest adds an item in place of an earlier try of the same: it is done again once.
func withLatest(items []wflo.PlanItem, item wflo.PlanItem) []wflo.PlanItem {
	i := slices.IndexFunc(items, func(have wflo.PlanItem) bool { return have.Kind == item.Kind && have.Key == item.Key })
	if i < 0 {
		return append(items, item)
	}
	items[i] = item
	return items
}

// undoes says that a compensation is of a step, or of a call.
func undoes(c *wflo.CompensationRecord, key string) bool {
	of := baseOf(c.Step)
	return of != "" && (of == key || within(&step.Outcome{Key: key}, of)) || c.Undoes != "" && strings.Contains(key, "/"+c.Undoes+"#")
}

// reach moves the restore to a moment at which no kept outcome is of an effect that is
// undone, and every effect that is not undone has an outcome that is kept. ended says that
// the run has ended, and undid what it did.
func (g *restoring) reach(stack []*compensation, ended bool) []step.Outcome {
	kept := compact(slices.DeleteFunc(slices.Clone(g.state.Outcomes), func(o step.Outcome) bool { return o.Seq > g.keep || o.In == earlier }))
	g.height = min(g.height, len(stack))
	if g.snap != nil && g.at.IsZero() {
		// What was registered since the snapshot's branch was given up is not of that branch.
		if i := slices.IndexFunc(stack[:g.height], func(c *compensation) bool { return c.Epoch > g.snap.Run.Epoch }); i >= 0 {
			g.height = i
		}
	}
	for moved := true; moved; {
		moved = false
		for i, c := range stack[:g.height] {
			if !covered(c, kept, g.state.Pending) {
				g.height, moved = i, true
				break
			}
		}
		for at, c := range stack {
			if at < g.height && !(ended && c.undone(stack[at+1:g.height])) {
				continue
			}
			i := slices.IndexFunc(kept, func(o step.Outcome) bool { return isOf(&o, c) })
			if i < 0 {
				continue
			}
			g.plan.Moved = fmt.Sprintf("%s %s is done again, because its effect %q is undone", kept[i].Kind, kept[i].Key, c.Name)
			g.keep, moved = kept[i].Seq-1, true
			kept = kept[:i]
		}
	}
	return kept
}

// undone says that the effect does not count any more, and was not made anew by what was
// registered later.
func (c *compensation) undone(later []*compensation) bool {
	if c.State != wflo.CompensationDone && c.State != wflo.CompensationDead {
		return false
	}
	return c.Step == "" || !slices.ContainsFunc(later, func(l *compensation) bool { return baseOf(l.Step) == baseOf(c.Step) })
}

// isOf says that an outcome is of an effect that the compensation undoes.
func isOf(o *step.Outcome, c *compensation) bool {
	of := baseOf(c.Step)
	if of == "" {
		return c.Undoes != "" && o.Kind == step.OutcomeActivity && strings.Contains(o.Key, "/"+c.Undoes+"#") && c.Called
	}
	return o.Kind == step.OutcomeStep && o.Key == of && o.Failure == nil || within(o, of)
}

// covered says that what became of an effect is known to the kept outcomes. That its call
// had not been made at that moment does not count: it may have been made since.
func covered(c *compensation, kept []step.Outcome, pending []string) bool {
	of := baseOf(c.Step)
	named := func(key string) bool { return c.Undoes != "" && strings.Contains(key, "/"+c.Undoes+"#") }
	if of == "" {
		return !slices.ContainsFunc(pending, named)
	}
	return slices.ContainsFunc(kept, func(o step.Outcome) bool {
		return o.Kind == step.OutcomeStep && o.Key == of || o.Kind == step.OutcomeActivity && within(&o, of) && named(o.Key)
	})
}

func refuseIrreversible(items []wflo.PlanItem) error {
	var names []string
	for _, i := range items {
		names = append(names, fmt.Sprintf("%s %s (%s)", i.Kind, i.Key, i.Note))
	}
	return wflo.Errorf(wflo.CodeConflict, "look at the plan, and restore with accept_irreversible if it may happen twice",
		"the restore would do again what cannot be undone: %s", clip(strings.Join(names, ", "), 1000))
}

// refuseDeclared refuses what the author of the code declared irreversible. What is not
// declared he takes back knowingly.
func refuseDeclared(items []wflo.PlanItem) error {
	items = slices.DeleteFunc(slices.Clone(items), func(i wflo.PlanItem) bool { return i.Effect != wflo.EffectIrreversible })
	if len(items) == 0 {
		return nil
	}
	return refuseIrreversible(items)
}

// planByQuery answers what a restore would do. It looks at the run's own memory.
func (st *state) planByQuery(q step.PlanQuery) (wflo.RestorePlan, error) {
	j := st.journal
	if j == nil {
		return wflo.RestorePlan{}, errNoJournal
	}
	if j.loading && !st.ended {
		return wflo.RestorePlan{}, errComingBack
	}
	g := &restoring{order: q.Restore, snap: q.Snapshot}
	g.state.Generation = st.run.Generation
	var err error
	switch {
	case st.knows(q.Restore, q.Snapshot):
		g.at = q.Restore.To.Time
		g.keep, g.height = j.heightAt(g.at)
		g.state, err = j.stateAt(g.at)
	case q.Snapshot == nil:
		return wflo.RestorePlan{}, wflo.Invalid("restore.to", "is before the run's first snapshot", "name a later time")
	default:
		g.keep, g.height = q.Snapshot.Seq, q.Snapshot.Height
		g.state.Outcomes = j.outcomes()
		g.state.Generation = q.Snapshot.Run.Generation
	}
	if err != nil {
		return wflo.RestorePlan{}, err
	}
	st.planFor(g)
	g.plan.Mode = firstMode(q.Restore.Mode)
	if err := g.plan.Seal(); err != nil {
		return wflo.RestorePlan{}, err
	}
	g.plan.Shorten()
	return g.plan, nil
}

func firstMode(m wflo.RestoreMode) wflo.RestoreMode {
	if m == "" {
		return wflo.RestoreInPlace
	}
	return m
}

// statePage answers a part of the state, for a snapshot of a run that has ended.
func (st *state) statePage(q step.PageQuery) (step.StatePage, error) {
	j := st.journal
	if j == nil {
		return step.StatePage{}, errNoJournal
	}
	if j.loading && !st.ended {
		return step.StatePage{}, errComingBack
	}
	state, err := j.stateNow()
	if err != nil {
		return step.StatePage{}, err
	}
	page := step.StatePage{State: state, Run: st.run, Seq: j.seq, Height: len(st.stack), Spent: st.spent, Calls: st.calls}
	all := slices.Concat(j.before(), j.outcomes())
	if q.From < 0 || q.From > len(all) {
		return page, wflo.Invalid("from", fmt.Sprintf("is %d of %d", q.From, len(all)), "begin at 0, and go on with next")
	}
	size := 0
	for i := q.From; i < len(all); i++ {
		o := all[i]
		size += 300 + len(o.Key) + o.Result.Size() + o.Failure.Size()
		if size > pageBytes && i > q.From {
			page.Next = i
			break
		}
		page.State.Outcomes = append(page.State.Outcomes, o)
	}
	return page, nil
}

// haltedError is why a run that was halted does not go back.
func (st *state) haltedError() error {
	return wflo.Errorf(wflo.CodeHalted, "reopen it when it has ended", "run %s was halted by %s: %s", st.run.WorkflowID, st.halted.By, st.halted.Reason)
}
