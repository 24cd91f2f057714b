package storetest

import (
	"fmt"
	"strings"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/step"
)

var allStates = []wflo.CompensationState{
	wflo.CompensationRegistered, wflo.CompensationExecuted, wflo.CompensationUnknown, wflo.CompensationKept,
	wflo.CompensationRunning, wflo.CompensationDone, wflo.CompensationSkipped, wflo.CompensationDead,
}

func compensationsComeBackAsTheyWere(p *past) {
	_, err := p.Compensation(p.Context(), "nothing")
	p.missing("read of nothing", err)
	for _, name := range odd {
		run := of(name, name)
		c := undo("u"+name, 1)
		c.Name, c.Activity, c.Group, c.Cause, c.Error, c.By, c.Reason = name, name, name, name, name, name, name
		p.note(run, c)
		got := p.undoes("u" + name)
		p.recent("registered", got.At)
		if !got.ChangedAt.Equal(got.At) {
			p.Errorf("registered at %s, changed at %s", got.At, got.ChangedAt)
		}
		c.State, c.Run, c.At, c.ChangedAt = wflo.CompensationRegistered, run, got.At, got.ChangedAt
		p.written("compensation", got, c)
		p.compensations(activities.CompensationQuery{Org: name, WorkflowID: name, Run: run.ID()}, "u"+name)
		began, err := p.BeginUndo(p.Context(), "u"+name, "")
		p.ok("begin to undo", err)
		p.written("what is kept", p.undoes("u"+name), began)
	}
	// One that has nothing comes back with nothing.
	p.note(of("w", ""), wflo.CompensationRecord{ID: "bare", Activity: "A", Input: []byte{}})
	if got := p.undoes("bare"); got.Input != nil || got.ProbeInput != nil || got.Begun || got.State != wflo.CompensationRegistered {
		p.Errorf("a bare one is %+v", got)
	}
}

func compensationsAreNotedOnce(p *past) {
	run := of("wf", "acme")
	p.ok("note nothing", p.NoteCompensations(p.Context(), run, step.CompensationNotes{}))
	p.note(run, undo("a", 1), undo("a", 9))
	p.marked(run, "a", wflo.CompensationExecuted)
	other := undo("a", 2)
	other.Activity, other.State = "Other", wflo.CompensationDone
	p.note(of("other", "other"), undo("b", 1), other)
	if got := p.undoes("a"); got.Height != 1 || got.Activity != "Refund" || got.Run.Org != "acme" || got.State != wflo.CompensationExecuted {
		p.Errorf("noted again it is %+v", got)
	}
	p.compensations(activities.CompensationQuery{WorkflowID: "other"}, "b")
	// What happened before it was written down has begun.
	c := undo("c", 3)
	c.State = wflo.CompensationExecuted
	p.note(run, c)
	if got := p.undoes("c"); got.State != wflo.CompensationExecuted || !got.Begun {
		p.Errorf("noted as executed it is %+v", got)
	}
}

// compensationsMarked keeps what was said first, until the state is another.
func compensationsMarked(p *past) {
	run := of("wf", "acme")
	p.ok("note and mark", p.NoteCompensations(p.Context(), run, step.CompensationNotes{
		New: []wflo.CompensationRecord{undo("a", 1), undo("b", 2)}, Marks: []step.CompensationMark{{ID: "a", State: wflo.CompensationExecuted}}}))
	p.states(map[string]wflo.CompensationState{"a": wflo.CompensationExecuted, "b": wflo.CompensationRegistered})
	if !p.undoes("a").Begun || p.undoes("b").Begun {
		p.Error("what was executed has not begun, or what was not has")
	}
	before := p.undoes("a")
	p.ok("mark again", p.marks(run, step.CompensationMark{ID: "a", State: wflo.CompensationExecuted, Cause: "c1", By: "bob", Reason: "r"}))
	got := p.undoes("a")
	if got.Cause != "c1" || got.By != "" || got.Reason != "" || !got.ChangedAt.Equal(before.ChangedAt) {
		p.Errorf("marked with what it is, it is %+v", got)
	}
	p.ok("mark again", p.marks(run, step.CompensationMark{ID: "a", State: wflo.CompensationExecuted, Cause: "c2", Error: "e1\x00"}))
	if got := p.undoes("a"); got.Cause != "c1" || got.Error != "e1\x00" {
		p.Errorf("what was said first is gone: %+v", got)
	}
	p.ok("mark", p.marks(run, step.CompensationMark{ID: "a", State: wflo.CompensationRunning, Cause: "c3"}))
	p.ok("mark", p.marks(run, step.CompensationMark{ID: "a", State: wflo.CompensationDead, Error: "e2"}))
	got = p.undoes("a")
	if got.Cause != "c3" || got.Error != "e2" || got.ChangedAt.Before(before.ChangedAt) {
		p.Errorf("a dead letter is %+v", got)
	}
	p.ok("mark", p.marks(run, step.CompensationMark{ID: "a", State: wflo.CompensationSkipped, By: "ann", Reason: "by hand"}))
	if got := p.undoes("a"); got.By != "ann" || got.Reason != "by hand" || got.Cause != "c3" || got.Error != "e2" {
		p.Errorf("ended by hand it is %+v", got)
	}
	// A repetition of several marks that went through is fine.
	twice := []step.CompensationMark{{ID: "b", State: wflo.CompensationRunning}, {ID: "b", State: wflo.CompensationDone}}
	p.ok("mark twice", p.marks(run, twice...))
	p.ok("mark twice again", p.marks(run, twice...))
	p.states(map[string]wflo.CompensationState{"b": wflo.CompensationDone})
}

// compensationsMay goes from each state to each.
func compensationsMay(p *past) {
	run := of("wf", "acme")
	for i, from := range allStates {
		for j, to := range allStates {
			id := fmt.Sprint("u", i, "-", j)
			c := undo(id, 1)
			c.State = from
			p.note(run, c)
			err := p.marks(run, step.CompensationMark{ID: id, State: to})
			want := to
			if !from.May(to) {
				want = from
				p.code(id, err, wflo.CodeConflict)
				if !strings.Contains(fmt.Sprint(err), string(from)) || !strings.Contains(fmt.Sprint(err), string(to)) {
					p.Errorf("from %s to %s gave %v, want both in it", from, to, err)
				}
			} else {
				p.ok(fmt.Sprint("from ", from, " to ", to), err)
			}
			p.states(map[string]wflo.CompensationState{id: want})
		}
	}
}

func compensationsAllOrNone(p *past) {
	run := of("wf", "acme")
	p.note(run, undo("a", 1), undo("b", 2), undo("done", 3))
	p.marked(run, "done", wflo.CompensationRunning, wflo.CompensationDone)
	executed := step.CompensationMark{ID: "a", State: wflo.CompensationExecuted}
	p.missing("a mark of nothing", p.NoteCompensations(p.Context(), run, step.CompensationNotes{
		New: []wflo.CompensationRecord{undo("new", 4)}, Marks: []step.CompensationMark{executed, {ID: "nothing", State: wflo.CompensationDone}}}))
	p.code("a mark that may not be", p.NoteCompensations(p.Context(), run, step.CompensationNotes{
		New: []wflo.CompensationRecord{undo("new", 4)}, Marks: []step.CompensationMark{executed, {ID: "done", State: wflo.CompensationExecuted}}, Closed: true}), wflo.CodeConflict)
	p.states(map[string]wflo.CompensationState{"a": wflo.CompensationRegistered, "b": wflo.CompensationRegistered, "done": wflo.CompensationDone})
	_, err := p.Compensation(p.Context(), "new")
	p.missing("what was noted with it", err)
}

// compensationsClosed ends what a run does not know of: it is from a branch that a
// reset gave up. Whether it should be undone is for a person to say.
func compensationsClosed(p *past) {
	run, other := of("wf", "acme"), of("other", "acme")
	for i, s := range allStates {
		for _, id := range []string{"kept-", "left-"} {
			c := undo(id+string(s), i)
			c.State, c.Begun = s, true
			p.note(run, c)
		}
	}
	p.note(run, undo("never", 9))
	p.note(other, undo("other", 1))
	end := step.CompensationNotes{Closed: true, New: []wflo.CompensationRecord{undo("late", 10), undo("known", 11)}, Kept: []string{"known", "nothing"}}
	for _, s := range allStates {
		end.Kept = append(end.Kept, "kept-"+string(s))
	}
	end.Marks = []step.CompensationMark{{ID: "kept-executed", State: wflo.CompensationKept}, {ID: "known", State: wflo.CompensationKept}}
	for range 2 {
		p.ok("close", p.NoteCompensations(p.Context(), run, end))
		want := map[string]wflo.CompensationState{"never": wflo.CompensationSkipped, "other": wflo.CompensationRegistered,
			"late": wflo.CompensationSkipped, "known": wflo.CompensationKept}
		for _, s := range allStates {
			want["kept-"+string(s)], want["left-"+string(s)] = s, s
			if !s.Ended() {
				want["left-"+string(s)] = wflo.CompensationDead
			}
		}
		want["kept-executed"] = wflo.CompensationKept
		p.states(want)
	}
	if got := p.undoes("left-executed"); !strings.Contains(got.Error, "reset") {
		p.Errorf("what was left says %q, want why", got.Error)
	}
	p.code("the effect of what never began", p.BeginEffect(p.Context(), "never"), wflo.CodeConflict)
}

func compensationsRefuseNonsense(p *past) {
	run := of("wf", "acme")
	for what, c := range map[string]wflo.CompensationRecord{
		"no id": {Activity: "A"}, "no activity": {ID: "a"}, "no such state": {ID: "a", Activity: "A", State: "perhaps"},
	} {
		p.code(what, p.NoteCompensations(p.Context(), run, step.CompensationNotes{New: []wflo.CompensationRecord{undo("b", 1), c}}), wflo.CodeInvalid)
	}
	p.compensations(activities.CompensationQuery{})
	p.note(run, undo("a", 1))
	p.code("a mark of no such state", p.marks(run, step.CompensationMark{ID: "a", State: "perhaps"}), wflo.CodeInvalid)
	p.states(map[string]wflo.CompensationState{"a": wflo.CompensationRegistered})
}

func effectsBegin(p *past) {
	ctx, run := p.Context(), of("wf", "acme")
	p.ok("begin nothing", p.BeginEffect(ctx))
	p.missing("begin of nothing", p.BeginEffect(ctx, "nothing"))
	for _, s := range allStates {
		c := undo(string(s), 1)
		c.State = s
		p.note(run, c)
		err := p.BeginEffect(ctx, string(s))
		switch s {
		case wflo.CompensationRegistered, wflo.CompensationExecuted, wflo.CompensationUnknown, wflo.CompensationKept:
			p.ok("begin when "+string(s), err)
			p.ok("begin again", p.BeginEffect(ctx, string(s), string(s)))
		default:
			p.code("begin when "+string(s), err, wflo.CodeConflict)
		}
		got := p.undoes(string(s))
		if got.Begun != (err == nil) || got.State != s || !got.ChangedAt.Equal(got.At) {
			p.Errorf("after that it is %+v", got)
		}
	}
}

func effectsAllOrNone(p *past) {
	ctx, run := p.Context(), of("wf", "acme")
	p.note(run, undo("a", 1), undo("b\x00", 2), undo("undone", 3))
	_, err := p.BeginUndo(ctx, "undone", "")
	p.ok("begin to undo", err)
	p.code("begin with one that was undone", p.BeginEffect(ctx, "a", "undone", "b\x00"), wflo.CodeConflict)
	p.missing("begin with one that is not there", p.BeginEffect(ctx, "a", "nothing", "b\x00"))
	if p.undoes("a").Begun || p.undoes("b\x00").Begun {
		p.Error("one of them has begun")
	}
	p.ok("begin", p.BeginEffect(ctx, "b\x00", "a"))
	if !p.undoes("a").Begun || !p.undoes("b\x00").Begun {
		p.Error("one of them has not begun")
	}
}

func undoBegins(p *past) {
	ctx, run := p.Context(), of("wf", "acme")
	_, err := p.BeginUndo(ctx, "nothing", "")
	p.missing("undo of nothing", err)
	for _, s := range []wflo.CompensationState{wflo.CompensationRegistered, wflo.CompensationExecuted, wflo.CompensationUnknown, wflo.CompensationRunning, wflo.CompensationDead} {
		id := "u-" + string(s)
		c := undo(id, 1)
		c.State = s
		p.note(run, c)
		if s == wflo.CompensationRegistered || s == wflo.CompensationUnknown {
			p.ok("begin", p.BeginEffect(ctx, id))
		} else {
			c.ID, c.Begun = id+"2", true
			p.note(run, c)
			id = c.ID
		}
		for _, cause := range []string{"failed\x00", "later"} {
			got, err := p.BeginUndo(ctx, id, cause)
			p.ok("begin to undo", err)
			if got.State != wflo.CompensationRunning || got.Cause != "failed\x00" || string(got.Input) != string(c.Input) || got.Run.Org != "acme" {
				p.Errorf("%s, being undone, is %+v", s, got)
			}
			p.written("what is kept", p.undoes(id), got)
		}
		p.code("the effect, after that", p.BeginEffect(ctx, id), wflo.CodeConflict)
		p.marked(run, id, wflo.CompensationDone)
	}
	// An executed one has begun, whoever forgot to say so.
	c := undo("e", 1)
	c.State = wflo.CompensationExecuted
	p.note(run, c)
	if got, err := p.BeginUndo(ctx, "e", ""); err != nil || got.State != wflo.CompensationRunning {
		p.Errorf("undo of what was executed is %s, %v", got.State, err)
	}
}

// undoOfWhatNeverBegan leaves what refuses a call that is late.
func undoOfWhatNeverBegan(p *past) {
	ctx, run := p.Context(), of("wf", "acme")
	for _, s := range []wflo.CompensationState{wflo.CompensationRegistered, wflo.CompensationUnknown, wflo.CompensationDead, wflo.CompensationRunning} {
		c := undo(string(s), 1)
		c.State = s
		p.note(run, c)
		for range 2 {
			got, err := p.BeginUndo(ctx, string(s), "terminated")
			p.ok("begin to undo", err)
			if got.State != wflo.CompensationSkipped || got.Cause != "terminated" {
				p.Errorf("%s that never began is %+v, want it skipped", s, got)
			}
			p.written("what is kept", p.undoes(string(s)), got)
		}
		p.code("the late effect", p.BeginEffect(ctx, string(s)), wflo.CodeConflict)
		if p.undoes(string(s)).Begun {
			p.Error("the late effect has begun")
		}
	}
	// What was kept without having begun counts again, and has not begun for that.
	p.note(run, undo("k", 1))
	p.marked(run, "k", wflo.CompensationKept, wflo.CompensationExecuted)
	if got, err := p.BeginUndo(ctx, "k", ""); err != nil || got.State != wflo.CompensationSkipped {
		p.Errorf("it is %s, %v; want it skipped", got.State, err)
	}
}

func undoOfWhatHasEnded(p *past) {
	ctx, run := p.Context(), of("wf", "acme")
	for _, s := range []wflo.CompensationState{wflo.CompensationKept, wflo.CompensationDone, wflo.CompensationSkipped} {
		c := undo(string(s), 1)
		c.State, c.Begun = s, true
		p.note(run, c)
		before := p.undoes(string(s))
		got, err := p.BeginUndo(ctx, string(s), "again")
		p.ok("begin to undo", err)
		p.written("what is given", got, before)
		p.written("what is kept", p.undoes(string(s)), before)
	}
}

func compensationsFilter(p *past) {
	ctx := p.Context()
	acme, other := of("wf", "acme"), of("wf2", "other")
	second := acme
	second.FirstRunID = "f2"
	p.compensations(activities.CompensationQuery{})
	for _, c := range []struct {
		run    wflo.Run
		id     string
		height int
	}{{acme, "a", 1}, {acme, "b", 2}, {other, "c", 1}, {second, "d", 1}, {acme, "e", 10}} {
		p.note(c.run, undo(c.id, c.height))
		p.later()
	}
	p.compensations(activities.CompensationQuery{}, "e", "d", "c", "b", "a")
	p.marked(acme, "b", wflo.CompensationExecuted)
	p.later()
	p.marked(acme, "a", wflo.CompensationUnknown)
	p.compensations(activities.CompensationQuery{}, "a", "b", "e", "d", "c")
	p.compensations(activities.CompensationQuery{Org: "acme"}, "a", "b", "e", "d")
	p.compensations(activities.CompensationQuery{Org: "nobody"})
	p.compensations(activities.CompensationQuery{WorkflowID: "wf2"}, "c")
	p.compensations(activities.CompensationQuery{Run: acme.ID()}, "e", "b", "a")
	p.compensations(activities.CompensationQuery{Run: second.ID()}, "d")
	p.compensations(activities.CompensationQuery{Run: acme.ID(), Org: "other"})
	p.compensations(activities.CompensationQuery{States: []wflo.CompensationState{wflo.CompensationExecuted, wflo.CompensationUnknown}}, "a", "b")
	p.compensations(activities.CompensationQuery{States: []wflo.CompensationState{wflo.CompensationRegistered}, Org: "acme", Limit: 1}, "e")
	b := p.undoes("b")
	p.compensations(activities.CompensationQuery{Quiet: b.ChangedAt}, "b", "e", "d", "c")
	p.compensations(activities.CompensationQuery{Quiet: b.ChangedAt.Add(-time.Microsecond)}, "e", "d", "c")
	all, err := p.ListCompensations(ctx, activities.CompensationQuery{Run: acme.ID(), Limit: 1})
	p.ok("list", err)
	p.written("listed", all[0], p.undoes("e"))
}

// later waits until the store's clock has gone on. It is the real one.
func (p *past) later() {
	for start := time.Now(); time.Since(start) < 2*time.Microsecond; {
	}
}

func compensationsPaging(p *past) {
	const many = 130
	run := of("wf", "acme")
	var want []string
	for at := 0; at < many; at += 10 {
		var some []wflo.CompensationRecord
		for i := at; i < at+10; i++ {
			some = append(some, undo(numbered("u", i), i/3))
			want = append([]string{numbered("u", i)}, want...)
		}
		p.note(run, some...)
		p.later()
	}
	p.note(of("other", "acme"), undo("other", 1))
	p.compensations(activities.CompensationQuery{WorkflowID: "wf"}, want[:100]...)
	for _, q := range []activities.CompensationQuery{{Run: run.ID()}, {WorkflowID: "wf"}, {Org: "acme", WorkflowID: "wf"}} {
		q.Limit, q.After = 7, ""
		for at := 0; at < many; at += 7 {
			p.compensations(q, want[at:min(at+7, many)]...)
			q.After = want[min(at+7, many)-1]
		}
		p.compensations(q)
	}
	_, err := p.ListCompensations(p.Context(), activities.CompensationQuery{After: "nothing"})
	p.code("reading on after nothing", err, wflo.CodeInvalid)
}

func compensationsAdopted(p *past) {
	ctx, from, to := p.Context(), of("wf", "acme"), of(`next\`, "beta")
	to.Step, to.Epoch, to.Generation = "g0/wflo.snapshot.Load#1", 0, 0
	for i, s := range allStates {
		c := undo(string(s), i)
		c.State, c.Begun = s, true
		p.note(from, c)
	}
	p.note(from, undo("at", 20), undo("above", 21))
	p.note(of("other", "acme"), undo("other", 1))
	p.ok("adopt nothing", p.AdoptCompensations(ctx, of("nobody", ""), to, 100))
	before := p.undoes("executed")
	for range 2 {
		p.ok("adopt", p.AdoptCompensations(ctx, from, to, 20))
		p.compensations(activities.CompensationQuery{Run: to.ID(), Org: "beta", WorkflowID: to.WorkflowID},
			"at", "dead_letter", "compensating", "unknown", "executed", "registered")
		p.compensations(activities.CompensationQuery{Run: from.ID(), Org: "acme"}, "above", "skipped", "compensated", "kept")
	}
	// They were registered under keys of their own, and are undone under those.
	before.Run, before.Run.Step, before.Run.Epoch, before.Run.Generation = to, from.Step, from.Epoch, from.Generation
	p.written("adopted", p.undoes("executed"), before)
}

func compensationsLarge(p *past) {
	c := undo("large", 1)
	c.Input, c.ProbeInput = large(), large()
	p.note(of("wf", "acme"), c)
	p.ok("begin", p.BeginEffect(p.Context(), "large"))
	got, err := p.BeginUndo(p.Context(), "large", "")
	p.ok("begin to undo", err)
	if string(got.Input) != string(c.Input) || string(got.ProbeInput) != string(c.ProbeInput) {
		p.Errorf("%d and %d bytes came back, want %d of each", len(got.Input), len(got.ProbeInput), len(c.Input))
	}
	p.marked(of("wf", "acme"), "large", wflo.CompensationDone)
	all, err := p.ListCompensations(p.Context(), activities.CompensationQuery{})
	p.ok("list", err)
	if len(all) != 1 || string(all[0].Input) != string(c.Input) {
		p.Error("the list has another input")
	}
}

// compensationsKeepSecrets: what users give is in no error.
func compensationsKeepSecrets(p *past) {
	const secret = "hunter2"
	ctx, run := p.Context(), of("wf", "acme")
	c := undo("s", 1)
	c.Input, c.ProbeInput = []byte(secret), []byte(secret)
	p.note(run, c)
	bad := c
	bad.State = "perhaps"
	_, undone := p.BeginUndo(ctx, "s", "")
	for _, err := range []error{
		p.NoteCompensations(ctx, run, step.CompensationNotes{New: []wflo.CompensationRecord{bad}}),
		p.NoteCompensations(ctx, run, step.CompensationNotes{New: []wflo.CompensationRecord{c}, Marks: []step.CompensationMark{{ID: "s", State: wflo.CompensationKept}}}),
		p.NoteCompensations(ctx, run, step.CompensationNotes{New: []wflo.CompensationRecord{c}, Marks: []step.CompensationMark{{ID: "x", State: wflo.CompensationKept}}}),
		p.BeginEffect(ctx, "s"),
	} {
		if err == nil || undone != nil || strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), secret) {
			p.Errorf("the error is %v, after %v", err, undone)
		}
	}
}
