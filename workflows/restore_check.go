package workflows

import (
	"fmt"

	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
)

// changeCheck is the version since which the parts of a snapshot are checked before the
// run's code is stopped.
const changeCheck = "wflo-restore-checks-parts"

func checks(ctx workflow.Context) bool {
	return workflow.GetVersion(ctx, changeCheck, workflow.DefaultVersion, 1) >= 1
}

// canBring refuses what the code asks to go back to, where it has no such snapshot or parts
// of it cannot be brought back.
func (st *state) canBring(ctx workflow.Context, idOrName string) error {
	if err := st.journal.unknown(ctx, "restore to "+idOrName); err != nil {
		return err
	}
	ctx = st.unstoppable(ctx)
	if !checks(ctx) {
		return nil
	}
	snap, err := step.SnapshotFind.Do(saver(ctx, "find snapshot "+idOrName), step.Find{Run: st.run, To: wflo.RestorePoint{Snapshot: idOrName}})
	if err != nil {
		return fromWire(err)
	}
	return st.check(ctx, snap.ID, partsOf(&snap, nil))
}

// checkParts refuses a restore whose parts cannot be brought back, or not now.
func (st *state) checkParts(ctx workflow.Context, g *restoring) error {
	if g.found == nil {
		return nil // the state alone comes back
	}
	parts := partsOf(g.found, nil)
	if g.order.Parts != nil {
		parts = *g.order.Parts // one that the snapshot does not have refuses, too
	}
	if !checks(ctx) {
		return nil
	}
	return st.check(ctx, g.found.ID, parts)
}

func (st *state) check(ctx workflow.Context, id string, parts wflo.Parts) error {
	if !parts.Workspace && len(parts.Tables) == 0 {
		return nil
	}
	// A store that is away refuses, after some tries: the code goes on.
	ctx = workflow.WithValue(ctx, insistKey{}, true)
	if _, err := step.SnapshotCheck.Do(saver(ctx, "check snapshot "+id), step.Bring{Snapshot: id, Parts: parts}); err != nil {
		return fmt.Errorf("its parts cannot be brought back: %w", fromWire(err))
	}
	return nil
}
