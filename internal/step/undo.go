package step

import "github.com/wflo-ai/wflo-go"

// UndoCall is the header wflo.HeaderUndoOf of the calls that undo an effect. The result
// of one that undoes is the wflo.CompensationState that the effect is in afterwards.
type UndoCall struct {
	wflo.Undo
	// Probe says that the call only asks whether the effect happened.
	Probe bool `json:"probe,omitempty"`
}

// UndoBegin says that the effect of these compensations begins, where no activity of
// the run brings it about. wflo.CodeConflict means that it must not any more.
const UndoBegin Of[[]string, None] = PrefixUndo + "Begin"
