package step

import "github.com/wflo-ai/wflo-go"

// Restoring is a restore from outside of its run, as wflo.WorkflowRestore hands it from
// one activity to the next.
type Restoring struct {
	Restored wflo.Restored `json:"restored"`
	// Run is the run that is taken back: its identity, generation and epoch; RunID is
	// Temporal's, of the latest run of the chain. Open says that it goes on.
	Run       wflo.Run `json:"run"`
	RunID     string   `json:"run_id"`
	TaskQueue string   `json:"task_queue"`
	Open      bool     `json:"open,omitempty"`
	// Height is how many compensations stay registered.
	Height int `json:"height"`
	// Unknown says that the run cannot be asked: nobody polls for it, or its history is
	// gone.
	Unknown bool `json:"unknown,omitempty"`
	// Digest is that of the run's own plan; empty where it has none.
	Digest string `json:"digest,omitempty"`
}

// The activities of wflo.WorkflowRestore, in the order in which they are called. All may
// be repeated.
const (
	// RestorePlan finds the run and the snapshot, and says what would be done.
	RestorePlan Of[wflo.Restore, Restoring] = PrefixRecovery + "Plan"
	// RestoreBegin writes the restore down, once per ID, or refuses it.
	RestoreBegin Of[Restoring, Restoring] = PrefixRecovery + "Begin"
	// RestoreAsk hands an in-place restore to its run.
	RestoreAsk Of[Restoring, Restoring] = PrefixRecovery + "Ask"
	// RestoreClaim saves what a closed run leaves behind, and makes what it had kept
	// undoable again.
	RestoreClaim Of[Restoring, Restoring] = PrefixRecovery + "Claim"
	// RestoreStart starts the run that goes on: the fork, or the reopened one.
	RestoreStart Of[Restoring, Restoring] = PrefixRecovery + "Start"
	// RestoreFollow waits until the run has noted how the restore ended.
	RestoreFollow Of[Restoring, wflo.Restored] = PrefixRecovery + "Follow"
	// RestoreFail notes why a restore ended before its run had gone back. A reopening may
	// have undone something by then.
	RestoreFail Of[wflo.Restored, wflo.Restored] = PrefixRecovery + "Fail"
)
