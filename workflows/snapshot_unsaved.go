package workflows

import (
	"errors"

	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
)

// unsavedError is that a snapshot could not be taken, for a reason that no retry mends.
// It is an outcome: code that goes on without the snapshot goes on without it again.
type unsavedError struct{ err error }

func (e *unsavedError) Error() string { return e.err.Error() }
func (e *unsavedError) Unwrap() error { return e.err }

// unsaved writes down that a snapshot could not be taken. What only ended with the run,
// or may be over the next time, has no outcome.
func (j *journal) unsaved(ctx workflow.Context, key string, err error) error {
	if wflo.CodeOf(err) == "" || ctx.Err() != nil || j.st.stopping() || j.st.halted != nil {
		return err
	}
	in, _ := ctx.Value(stepKey{}).(*scope)
	j.add(step.Outcome{Kind: step.OutcomeActivity, Key: key, Failure: failureOf(err), Around: in.around()})
	return &unsavedError{err}
}

// wasUnsaved tells what was recorded from what keeps the journal from answering.
func (j *journal) wasUnsaved(err error) error {
	if err = fromWire(err); j.conflict != nil || wflo.CodeOf(err) == "" {
		return err
	}
	return &unsavedError{err}
}

// goesOn says that a step is done although the run could not be saved before it: nothing
// that its author asked for needs the snapshot. People see it in the log, and in the
// record of the step.
func (s *scope) goesOn(ctx workflow.Context, opts *StepOptions, err error) bool {
	var unsaved *unsavedError
	if opts.Rollback != nil || !errors.As(err, &unsaved) {
		return false
	}
	s.unsaved = cause(unsaved.err)
	workflow.GetLogger(ctx).Warn("the run could not be saved before an irreversible step, which is done all the same", "step", s.key, "error", s.unsaved)
	return true
}

// writeWhole saves the run without what it saved before, which is gone where somebody
// removed the snapshots that had it. The run has all of it.
func (j *journal) writeWhole(ctx workflow.Context, key string, s wflo.Snapshot, parts wflo.Parts) (wflo.Snapshot, error) {
	base, saved := j.base, j.saved
	j.base, j.saved = nil, 0
	c, err := j.capture(s, parts)
	if err == nil {
		s, err = j.write(ctx, key, c)
	}
	if err != nil {
		j.base, j.saved = base, saved
	}
	return s, err
}
