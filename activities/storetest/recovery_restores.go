package storetest

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/wflo-ai/wflo-go"
)

func restoresComeBackAsTheyWere(p *past) {
	_, err := p.Restored(p.Context(), "nothing")
	p.missing("read of nothing", err)
	for _, name := range odd {
		s, c := p.snapshot("s", 0), undo("undo-1", 1)
		c.State, c.Run = wflo.CompensationExecuted, of("wf", "acme")
		r := restored("r"+name, name, "f", wflo.RestoreInPlace)
		r.Plan = wflo.RestorePlan{Snapshot: &s, Mode: wflo.RestoreInPlace, At: noon, Moved: "\x00", Kept: 3, Spent: 5, SpentTotal: 12345678901234567,
			Undo: []wflo.CompensationRecord{c}, Void: []wflo.PlanItem{{Key: "k", Kind: "gate", At: noon}}, Warnings: []string{name}}
		r.Asked, r.Ended = noon, noon // which the database knows better
		kept := p.begun(r)
		p.recent("asked", kept.Asked)
		got, err := p.Restored(p.Context(), "r"+name)
		p.ok("read", err)
		p.written("what is kept", got, kept)
		r.Asked, r.Ended = kept.Asked, time.Time{}
		p.written("restore", got, r)
	}
}

func restoresBeginOnce(p *past) {
	r := restored("r", "wf", "f", wflo.RestoreInPlace)
	first := p.begun(r)
	noted := first
	noted.State, noted.Epoch = wflo.RestoreCompensating, 2
	_, err := p.NoteRestore(p.Context(), noted)
	p.ok("note", err)
	// Who asks again has another plan by now, and gets what is kept.
	r.Plan.Kept = 99
	r.Restore.To.Time = r.Restore.To.Time.In(time.FixedZone("", 3600))
	again := p.begun(r)
	if again.State != wflo.RestoreCompensating || again.Epoch != 2 || again.Plan.Kept != 0 || !again.Asked.Equal(first.Asked) {
		p.Errorf("asked again gave %+v", again)
	}
	r.Restore.Reason = "another"
	_, err = p.BeginRestore(p.Context(), r)
	p.code("another request under the ID", err, wflo.CodeConflict)
	r.Restore.Reason = first.Restore.Reason
	noted.State = wflo.RestoreDone
	_, err = p.NoteRestore(p.Context(), noted)
	p.ok("note", err)
	if again := p.begun(r); again.State != wflo.RestoreDone {
		p.Errorf("asked again after the end gave %+v", again)
	}
}

// restoresOneAtATime: of a run, because two of them would undo each other's work.
func restoresOneAtATime(p *past) {
	ctx := p.Context()
	p.begun(restored("a", "wf", "f", wflo.RestoreInPlace))
	_, err := p.BeginRestore(ctx, restored("b", "wf", "f", wflo.RestoreReopen))
	p.code("a second one", err, wflo.CodeConflict)
	_, err = p.BeginRestore(ctx, restored("b", "wf", "f", wflo.RestoreFork))
	p.code("a fork meanwhile", err, wflo.CodeConflict)
	_, err = p.Restored(ctx, "b")
	p.missing("the refused one", err)
	p.begun(restored("b", "wf", "f2", wflo.RestoreInPlace)) // another run
	dry := restored("dry", "wf", "f", wflo.RestoreInPlace)
	dry.Restore.DryRun = true
	p.begun(dry)
	_, err = p.Restored(ctx, "dry")
	p.missing("a dry run", err)
	for _, end := range []wflo.RestoreState{wflo.RestoreDone, wflo.RestoreFailed} {
		r := restored("a", "wf", "f", wflo.RestoreInPlace)
		r.Restore.ID = map[wflo.RestoreState]string{wflo.RestoreDone: "a", wflo.RestoreFailed: "c"}[end]
		r.State = end
		_, err = p.NoteRestore(ctx, r)
		p.ok("end "+r.Restore.ID, err)
		if end == wflo.RestoreDone {
			p.begun(restored("c", "wf", "f", wflo.RestoreInPlace))
		}
	}
	// The plan knows better than the request, which may leave the mode open.
	planned := restored("fork1", "wf", "f", "")
	planned.Plan.Mode = wflo.RestoreFork
	p.begun(planned)
	p.begun(restored("fork2", "wf", "f", wflo.RestoreFork))
	_, err = p.BeginRestore(ctx, restored("d", "wf", "f", ""))
	p.code("one that is no fork, during forks", err, wflo.CodeConflict)
}

func restoresNoted(p *past) {
	ctx := p.Context()
	_, err := p.NoteRestore(ctx, restored("r", "wf", "f", ""))
	p.missing("note of nothing", err)
	asked := p.begun(restored("r", "wf", "f", ""))
	next := asked
	next.State, next.Into, next.PreRestore, next.Epoch = wflo.RestoreRestoring, "wf/f", "snap-1", 1
	kept, err := p.NoteRestore(ctx, next)
	p.ok("note", err)
	p.written("what is kept", kept, next)
	// What was asked for, of which run and when stays.
	other := wflo.Restored{Restore: wflo.Restore{ID: "r", WorkflowID: "mine"}, From: "mine/f", State: wflo.RestoreFailed, Error: "no\x00", Asked: noon}
	kept, err = p.NoteRestore(ctx, other)
	p.ok("note", err)
	p.recent("ended", kept.Ended)
	p.written("what is kept", kept, wflo.Restored{Restore: asked.Restore, From: asked.From, State: wflo.RestoreFailed, Error: "no\x00", Asked: asked.Asked, Ended: kept.Ended})
	late, err := p.NoteRestore(ctx, next)
	p.ok("note after the end", err)
	p.written("what is kept after the end", late, kept)
	got, err := p.Restored(ctx, "r")
	p.ok("read", err)
	p.written("restore", got, kept)
}

func (p *past) restores(run string, want ...string) {
	p.Helper()
	got, err := p.ListRestores(p.Context(), run)
	p.ok("list restores", err)
	ids := []string{}
	for _, r := range got {
		ids = append(ids, r.Restore.ID)
	}
	p.is("restores of "+run, ids, append([]string{}, want...))
}

// restoresListed gives lineage both ways, for workflow ids with slashes as well.
func restoresListed(p *past) {
	p.restores("")
	p.restores("wf")
	end := func(r wflo.Restored, into string) {
		p.Helper()
		p.begun(r)
		r.Into, r.State = into, wflo.RestoreDone
		_, err := p.NoteRestore(p.Context(), r)
		p.ok("end", err)
	}
	end(restored("1", "wf", "f", wflo.RestoreInPlace), "wf/f")
	end(restored("2", "wf", "f", wflo.RestoreReopen), "wf/f2")
	fork := restored("3", "wf", "f2", wflo.RestoreFork)
	fork.Restore.NewID = "team/fork"
	end(fork, "team/fork/f3")
	end(restored("4", "team/fork", "f3", wflo.RestoreInPlace), "team/fork/f3")
	bare := restored("5", "wf%", "f", wflo.RestoreFork)
	bare.Restore.NewID = "a/b"
	end(bare, "a/b") // its first run is not known yet
	end(restored("6", `wf\`, "f\x00", wflo.RestoreFork), "own-6/f6")
	p.restores("", "1", "2", "3", "4", "5", "6")
	p.restores("wf", "1", "2", "3")
	p.restores("wf/f", "1", "2")
	p.restores("wf/f2", "2", "3")
	p.restores("team/fork", "3", "4")
	p.restores("team/fork/f3", "3", "4")
	p.restores("team")
	p.restores("a/b", "5")
	p.restores("a")
	p.restores("own-6", "6")
	p.restores(`wf\`, "6")
	p.restores("wf\\/f\x00", "6")
	p.restores("w_")
	for i := range 120 {
		end(restored(numbered("r", i), fmt.Sprint("many", i), "f", ""), "")
	}
	got, err := p.ListRestores(p.Context(), "")
	p.ok("list", err)
	if len(got) != 100 || got[0].Restore.ID != numbered("r", 20) || got[99].Restore.ID != numbered("r", 119) {
		p.Errorf("the latest are %d, from %s on", len(got), got[0].Restore.ID)
	}
}

func restoresRefuseNonsense(p *past) {
	for what, r := range map[string]wflo.Restored{
		"no id": restored("", "wf", "f", ""), "no run": {Restore: wflo.Restore{ID: "r", WorkflowID: "wf"}},
		"no such state": {Restore: wflo.Restore{ID: "r", WorkflowID: "wf"}, From: "wf/f", State: "perhaps"},
	} {
		_, err := p.BeginRestore(p.Context(), r)
		p.code(what, err, wflo.CodeInvalid)
	}
	r := restored("r", "wf", "f", "")
	r.State = ""
	if kept := p.begun(r); kept.State != wflo.RestorePlanned {
		p.Errorf("state is %q, want planned", kept.State)
	}
	r.State = "perhaps"
	_, err := p.NoteRestore(p.Context(), r)
	p.code("note of no such state", err, wflo.CodeInvalid)
}

// raceOfRestores: of many who restore a run at once, one may.
func raceOfRestores(p *past) {
	for round := range rounds {
		var won atomic.Int64
		p.race(16, func(ctx context.Context, racer int) error {
			mode := []wflo.RestoreMode{wflo.RestoreInPlace, wflo.RestoreReopen}[racer%2]
			_, err := p.BeginRestore(ctx, restored(fmt.Sprint("r", round, "/", racer), "wf", fmt.Sprint("f", round), mode))
			if err == nil {
				won.Add(1)
				return nil
			}
			p.code("begin", err, wflo.CodeConflict)
			return nil
		})
		if won.Load() != 1 {
			p.Errorf("%d restores of a run began, want 1", won.Load())
		}
	}
}

// raceOfOneRestore: the same request is the same restore, and under one ID no other.
func raceOfOneRestore(p *past) {
	for round := range rounds {
		id := numbered("r", round)
		var began [2]atomic.Int64
		p.race(16, func(ctx context.Context, racer int) error {
			kept, err := p.BeginRestore(ctx, restored(id, fmt.Sprint("wf", racer%2), "f"+id, ""))
			switch {
			case err != nil:
				p.code("begin", err, wflo.CodeConflict)
			case kept.Restore.WorkflowID != fmt.Sprint("wf", racer%2):
				return fmt.Errorf("got %+v", kept)
			default:
				began[racer%2].Add(1)
			}
			return nil
		})
		if a, b := began[0].Load(), began[1].Load(); a+b != 8 || a*b != 0 {
			p.Errorf("%d began the one and %d the other, want all of one", a, b)
		}
	}
}
