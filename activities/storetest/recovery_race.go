package storetest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
)

// raceOfEffectAndUndo: either the effect begins, and is undone, or it never does.
// It cannot be that nothing is undone and the effect happens.
func raceOfEffectAndUndo(p *past) {
	run := of("wf", "acme")
	for round := range rounds * 4 {
		a, b := numbered("a", round), numbered("b", round)
		p.note(run, undo(a, 1), undo(b, 2))
		var began, refused, skipped, undone atomic.Int64
		p.race(16, func(ctx context.Context, racer int) error {
			if racer%2 == 0 {
				// The effect of both, of which one is being undone.
				if err := p.BeginEffect(ctx, []string{a, b, a}[racer/2%2:][:2]...); err != nil {
					p.code("begin", err, wflo.CodeConflict)
					refused.Add(1)
					return nil
				}
				began.Add(1)
				return nil
			}
			c, err := p.BeginUndo(ctx, a, "cancelled")
			switch c.State {
			case wflo.CompensationSkipped:
				skipped.Add(1)
			case wflo.CompensationRunning:
				undone.Add(1)
			default:
				return fmt.Errorf("undo is %q, %w", c.State, err)
			}
			return err
		})
		one, other := p.undoes(a), p.undoes(b)
		if (skipped.Load() > 0) == (undone.Load() > 0) || (began.Load() > 0) != (undone.Load() > 0) ||
			one.Begun != (began.Load() > 0) || other.Begun != one.Begun {
			p.Errorf("%d began, %d were refused, %d skipped, %d undid; then begun is %v and %v",
				began.Load(), refused.Load(), skipped.Load(), undone.Load(), one.Begun, other.Begun)
		}
	}
}

// raceOfCrowds has many runs do all there is at the same time, on each other's
// compensations, in any order: nobody waits in a circle, and nothing is lost.
func raceOfCrowds(p *past) {
	const shared = 8
	run := of("wf", "acme")
	var all []string
	for i := range shared {
		all = append(all, fmt.Sprint("shared", i))
		p.note(run, undo(all[i], i))
	}
	p.race(racers, func(ctx context.Context, racer int) error {
		own := of(fmt.Sprint("wf", racer), "acme")
		id, at := numbered("own", racer), racer%shared
		mine := append(append([]string{id}, all[at:]...), all[:at]...)
		marks := []step.CompensationMark{{ID: all[(at+3)%shared], State: wflo.CompensationExecuted}, {ID: all[at], State: wflo.CompensationExecuted}}
		if err := p.NoteCompensations(ctx, own, step.CompensationNotes{New: []wflo.CompensationRecord{undo(id, 1), undo("together", 1)}, Marks: marks}); err != nil {
			return err
		}
		if err := p.BeginEffect(ctx, mine...); err != nil {
			return err
		}
		if err := p.AdoptCompensations(ctx, run, run, shared); err != nil {
			return err
		}
		if c, err := p.BeginUndo(ctx, id, ""); err != nil || c.State != wflo.CompensationRunning {
			return fmt.Errorf("undo is %s, %w", c.State, err)
		}
		return p.NoteCompensations(ctx, own, step.CompensationNotes{Closed: true, Kept: []string{"together"}, Marks: []step.CompensationMark{{ID: id, State: wflo.CompensationDone}}})
	})
	for i := range racers {
		if c := p.undoes(numbered("own", i)); c.State != wflo.CompensationDone {
			p.Errorf("%s is %s", c.ID, c.State)
		}
	}
	for _, id := range all {
		if c := p.undoes(id); c.State != wflo.CompensationExecuted || !c.Begun {
			p.Errorf("%s is %s, begun %v", c.ID, c.State, c.Begun)
		}
	}
}

// raceOfMarks: of the ends that many give a dead letter one is kept, and only its own
// teller is told that it counts.
func raceOfMarks(p *past) {
	run := of("wf", "acme")
	for round := range rounds {
		id := numbered("d", round)
		c := undo(id, 1)
		c.State = wflo.CompensationDead
		p.note(run, c)
		var mu sync.Mutex
		told := map[wflo.CompensationState]int{}
		p.race(16, func(ctx context.Context, racer int) error {
			end := []wflo.CompensationState{wflo.CompensationDone, wflo.CompensationSkipped}[racer%2]
			err := p.NoteCompensations(ctx, run, step.CompensationNotes{Marks: []step.CompensationMark{{ID: id, State: end, By: fmt.Sprint(racer)}}})
			if err != nil {
				p.code("mark", err, wflo.CodeConflict)
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			told[end]++
			return nil
		})
		if got := p.undoes(id); len(told) != 1 || told[got.State] != 8 || got.By == "" {
			p.Errorf("told %v, and it is %s by %q", told, got.State, got.By)
		}
	}
}
