package activities

import (
	"context"
	"fmt"
	"slices"

	"github.com/wflo-ai/wflo-go"
)

// before is the latest snapshot with less than so many outcomes that s goes on from; nil
// without one: then nothing but the state is brought back. Where s has a workspace, one
// that has a workspace too goes first.
func (a *Restoring) before(ctx context.Context, s wflo.Snapshot, seq int) (*wflo.Snapshot, error) {
	files := s.Part(wflo.PartWorkspace, "") != nil
	var without *wflo.Snapshot
	q := SnapshotQuery{Org: s.Run.Org, WorkflowID: s.Run.WorkflowID, Before: s.At}
	for {
		found, err := a.Snapshot.Recovery.ListSnapshots(ctx, q)
		if err != nil {
			return nil, fmt.Errorf("find an earlier snapshot: %w", err)
		}
		for i := range found {
			f := &found[i]
			if f.Seq >= seq || f.Run.Org != s.Run.Org || !sameBranch(f.Run, s.Run) && !ancestor(*f, s) {
				continue
			}
			if !files || f.Part(wflo.PartWorkspace, "") != nil {
				return f, nil
			}
			if without == nil {
				without = f
			}
		}
		if len(found) == 0 {
			return without, nil
		}
		q.After = found[len(found)-1].ID
	}
}

// ancestor says that s goes on from what another snapshot has, in another epoch or run: a
// run that was restored adds to the pieces that it was restored to. What was saved right
// before a restore is of the branch that was left.
func ancestor(of, s wflo.Snapshot) bool {
	early, late := of.Part(wflo.PartState, ""), s.Part(wflo.PartState, "")
	if of.Kind == wflo.SnapshotPreRestore || early == nil || late == nil || len(early.Blobs) == 0 || len(early.Blobs) > len(late.Blobs) {
		return false
	}
	return slices.Equal(early.Blobs, late.Blobs[:len(early.Blobs)])
}

// takeParts gives a snapshot the parts of an earlier one, besides the state.
func takeParts(m *wflo.Snapshot, from wflo.Snapshot) {
	for _, p := range from.Parts {
		if p.Kind != wflo.PartState {
			p.Stored = 0
			m.Parts = append(m.Parts, p)
		}
	}
}

// warnOfFiles says in the plan that a run which goes on from an earlier moment than that of
// the snapshot has no files, though the snapshot has some.
func (a *Restoring) warnOfFiles(ctx context.Context, plan *wflo.RestorePlan, to wflo.Snapshot, parts wflo.Parts, seq int) error {
	if !parts.Workspace || to.Part(wflo.PartWorkspace, "") == nil || to.Seq < seq {
		return nil
	}
	from, err := a.before(ctx, to, seq)
	if err != nil {
		return err
	}
	if from == nil || from.Part(wflo.PartWorkspace, "") == nil {
		plan.Warnings = append(plan.Warnings, "no snapshot from before then has the workspace: the run goes on without files, though steps that are kept may have written some")
	}
	return nil
}
