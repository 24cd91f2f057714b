package workflows

import (
	"slices"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go/internal/step"
)

// laterCall is one that has no outcome: it begins when all others have been given theirs.
type laterCall struct {
	ctx   workflow.Context
	call  *call
	begin func() workflow.Future
}

// beginLater begins the calls that have waited, in the order in which they were made. Where
// the code is not the one that was recorded, they end instead.
func (j *journal) beginLater() {
	all := j.later
	j.later = nil
	for _, l := range all {
		err := j.conflict
		if err == nil {
			err = l.ctx.Err()
		}
		if err != nil {
			j.giveUp(l.call, err)
			continue
		}
		l.call.inner = l.begin()
	}
}

// endCancelled ends the calls that wait and that the code does not want any more.
func (j *journal) endCancelled() {
	if !slices.ContainsFunc(j.later, func(l laterCall) bool { return l.ctx.Err() != nil }) {
		return
	}
	j.later = slices.DeleteFunc(j.later, func(l laterCall) bool {
		if err := l.ctx.Err(); err != nil {
			j.giveUp(l.call, err)
			return true
		}
		return false
	})
}

func (j *journal) giveUp(c *call, err error) {
	j.calls = slices.DeleteFunc(j.calls, func(o *call) bool { return o == c })
	c.set.SetError(toWire(err))
}

// task tells Temporal's tasks of a run apart.
type task struct {
	at     time.Time
	length int
}

// rested notes how many turns the code had until it was quiet, which it was when the task
// ended.
func (j *journal) rested() {
	if j.turn == 0 {
		return
	}
	now := task{workflow.Now(j.root), workflow.GetInfo(j.root).GetCurrentHistoryLength()}
	if now == j.task {
		return
	}
	j.task = now
	for i := len(j.all) - 1; i >= 0 && j.all[i].Turn > 0 && j.all[i].Rest == 0; i-- {
		j.all[i].Rest = max(0, j.turn-j.all[i].Turn)
	}
}

// atOnce says that the next outcome came in the same turn as the one before it.
func (j *journal) atOnce() bool {
	next := &j.kept[j.at]
	if turns, ok := j.turnsBefore(next); ok {
		return turns == 0
	}
	return next.Kind == step.OutcomeSignal && next.Together
}

// turnsBefore counts the turns that the code had between the outcome that was given last
// and the next one, or until it was quiet, where somebody counted.
func (j *journal) turnsBefore(next *step.Outcome) (turns int, ok bool) {
	if j.turn == 0 || j.at == 0 {
		return 0, false
	}
	last := &j.kept[j.at-1]
	if next.Turn == 0 || last.Turn == 0 {
		return 0, false
	}
	turns = max(0, next.Turn-last.Turn)
	if last.Rest > 0 {
		turns = min(turns, last.Rest)
	}
	return turns, true
}

// longRounds are quietRounds where it is known that the code had more turns, though not how
// many of them it needed.
const longRounds = 16

// pause gives the code as many turns as it had before the next outcome.
func (j *journal) pause(ctx workflow.Context) {
	if !j.draining() {
		j.quiet(ctx)
		return
	}
	at := j.at
	turns, ok := j.turnsBefore(&j.kept[at])
	if !ok {
		j.quiet(ctx)
		return
	}
	exact := j.kept[at-1].Rest > 0
	for still := 0; turns > 0 && (exact || still < longRounds) && j.at == at; turns-- {
		before := j.moves
		j.round(ctx)
		if still++; j.moves != before {
			still = 0
		}
	}
	// The code may need longer to ask for it than it did, where it is answered from the journal.
	for still := 0; still < quietRounds && j.at == at && !j.due() && j.draining(); {
		before := j.moves
		j.round(ctx)
		if still++; j.moves != before {
			still = 0
		}
	}
}
