package activities

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
)

// Restoring takes runs back from outside of them. Its methods are registered as
// activities, which wflo.WorkflowRestore calls one after the other; all may be repeated.
type Restoring struct {
	// Snapshot has the stores and keepers, and derives snapshots. Required.
	Snapshot *Snapshot
	// Runs reaches the runs. Required.
	Runs Runs
	// Ledger says what runs have spent, Gates which approvals they have. Required.
	Ledger Reports
	Gates  Gates
	// Logger is the worker's. Required.
	Logger *slog.Logger
	// Poll is how often a restore under way is looked at, at first; zero means 250
	// milliseconds. It is looked at less and less often, up to every 15 seconds.
	Poll time.Duration
}

// Plan finds the run and the snapshot, and says what the restore would do. It changes
// nothing.
func (a *Restoring) Plan(ctx context.Context, r wflo.Restore) (step.Restoring, error) {
	if err := r.Validate(); err != nil {
		return step.Restoring{}, err
	}
	if isSnapshotID(r.ID) {
		return step.Restoring{}, wflo.Invalid("restore.id", "looks like that of a snapshot", "draw one at random")
	}
	stop := beating(ctx)
	defer stop()
	in, info, page, err := a.find(ctx, r)
	if err != nil {
		return in, err
	}
	to, err := findSnapshot(ctx, a.Snapshot.Recovery, in.Run, r.To)
	if err != nil {
		return in, err
	}
	mode, err := modeOf(r, info)
	if err != nil {
		return in, err
	}
	if err := a.ask(ctx, &in, info, to, mode); err != nil {
		return in, err
	}
	plan := &in.Restored.Plan
	plan.Snapshot, plan.Mode = to, mode
	if err := a.complete(ctx, &in, to); err != nil {
		return in, err
	}
	if in.Restored.Inherits, err = a.inheritance(ctx, in, page); err != nil {
		return in, err
	}
	in.Height = heightOf(in, to)
	if len(plan.Irreversible)+plan.More.Irreversible > 0 && !r.AcceptIrreversible {
		plan.Refusals = append(plan.Refusals, irreversibleText(plan.Irreversible))
	}
	return in, settle(&in)
}

// settle ends a plan: with its digest, which the request may name, and as long as a plan
// may be.
func settle(in *step.Restoring) error {
	plan := &in.Restored.Plan
	in.Digest = plan.Digest
	if err := plan.Seal(); err != nil {
		return err
	}
	plan.Shorten()
	if err := in.Restored.Restore.PlanChanged(plan.Digest); err != nil {
		plan.Refusals = append(plan.Refusals, err.Error())
	}
	return nil
}

// mostNamed is how many items a refusal names.
const mostNamed = 20

func irreversibleText(items []wflo.PlanItem) string {
	text := "what cannot be undone would be done again:"
	for i, item := range items {
		if i > 0 {
			text += ","
		}
		if i == mostNamed {
			text += " and more"
			break
		}
		text += " " + item.Key
	}
	return text + "; accept that (accept_irreversible) to go back all the same"
}

// find describes the run and says who it is, as far as somebody knows.
func (a *Restoring) find(ctx context.Context, r wflo.Restore) (in step.Restoring, info RunInfo, page step.StatePage, err error) {
	in = step.Restoring{Restored: wflo.Restored{Restore: r, State: wflo.RestorePlanned}}
	info, err = a.Runs.Describe(ctx, r.WorkflowID, r.FirstRunID)
	if errors.Is(err, fs.ErrNotExist) {
		return in, info, page, wflo.Errorf(wflo.CodeInvalid, "name a run that Temporal still knows", "there is no run %s/%s: %w", r.WorkflowID, r.FirstRunID, err)
	}
	if err != nil {
		return in, info, page, fmt.Errorf("describe run %s: %w", r.WorkflowID, err)
	}
	err = a.Runs.Query(ctx, info, wflo.QueryState, step.PageQuery{}, &page)
	switch {
	case errors.Is(err, ErrUnanswered):
		in.Unknown = true
		found, err := a.Snapshot.Recovery.ListSnapshots(ctx, SnapshotQuery{WorkflowID: info.WorkflowID, FirstRunID: info.FirstRunID, Limit: 1})
		if err != nil {
			return in, info, page, fmt.Errorf("read the snapshots of run %s: %w", info.WorkflowID, err)
		}
		if len(found) == 0 {
			return in, info, page, wflo.Errorf(wflo.CodeConflict, "start a worker that has its code, then try again", "run %s/%s cannot be asked, and has no snapshot", info.WorkflowID, info.FirstRunID)
		}
		page.Run, page.Height, page.Spent, page.Calls = found[0].Run, found[0].Height, found[0].Spent, found[0].Calls
	case err != nil:
		return in, info, page, fmt.Errorf("ask run %s what it knows: %w", info.WorkflowID, err)
	}
	in.Run, in.RunID, in.TaskQueue, in.Open, in.Height = page.Run, info.RunID, info.TaskQueue, info.Open, page.Height
	in.Run.WorkflowID, in.Run.FirstRunID, in.Run.Lines, in.Run.Step = info.WorkflowID, info.FirstRunID, nil, ""
	in.Restored.From = in.Run.ID()
	return in, info, page, allowed(ctx, in.Run)
}

// allowed keeps callers of an organisation to its own runs.
func allowed(ctx context.Context, run wflo.Run) error {
	if caller, ok := wflo.RunFrom(ctx); ok && caller.Org != "" && caller.Org != run.Org {
		return wflo.Errorf(wflo.CodeInvalid, "name a run that Temporal still knows", "there is no run %s", run.ID())
	}
	return nil
}

// modeOf fills in the mode, and refuses one that the run does not allow.
func modeOf(r wflo.Restore, info RunInfo) (wflo.RestoreMode, error) {
	mode := r.Mode
	if mode == "" {
		mode = wflo.RestoreInPlace
		if !info.Open {
			mode = wflo.RestoreReopen
		}
	}
	run := info.WorkflowID + "/" + info.FirstRunID
	switch {
	case mode == wflo.RestoreInPlace && !info.Open:
		return mode, wflo.Errorf(wflo.CodeConflict, "use the mode reopen, or fork", "run %s is closed, and cannot go back in place", run)
	case mode == wflo.RestoreReopen && info.Open:
		return mode, wflo.Errorf(wflo.CodeConflict, "use the mode in-place, or fork", "run %s is open", run)
	case mode == wflo.RestoreReopen && !info.Latest:
		return mode, wflo.Errorf(wflo.CodeConflict, "use the mode fork", "a later run of workflow %s took the place of %s", info.WorkflowID, run)
	}
	return mode, nil
}

// ask has the run plan, which knows best; where nobody answers for it, the plan is made
// from what was stored, and says so.
func (a *Restoring) ask(ctx context.Context, in *step.Restoring, info RunInfo, to *wflo.Snapshot, mode wflo.RestoreMode) error {
	r := in.Restored.Restore
	r.Mode = mode
	if !in.Unknown {
		err := a.Runs.Query(ctx, info, wflo.QueryPlan, step.PlanQuery{Restore: r, Snapshot: to}, &in.Restored.Plan)
		switch {
		case errors.Is(err, ErrUnanswered):
			in.Unknown = true
		case err != nil:
			return fmt.Errorf("ask run %s for a plan: %w", in.Run.ID(), err)
		}
	}
	if !in.Unknown {
		return nil
	}
	if mode == wflo.RestoreInPlace {
		return wflo.Errorf(wflo.CodeConflict, "start a worker that has its code, or fork it", "run %s cannot be asked, and so cannot go back in place", in.Run.ID())
	}
	if to == nil {
		return wflo.Errorf(wflo.CodeConflict, "start a worker that has its code, or name a later time", "run %s cannot be asked, and has no snapshot of that time", in.Run.ID())
	}
	plan, err := a.storedPlan(ctx, in, *to)
	in.Restored.Plan = plan
	return err
}

// storedPlan is what can be known without the run.
func (a *Restoring) storedPlan(ctx context.Context, in *step.Restoring, to wflo.Snapshot) (wflo.RestorePlan, error) {
	plan := wflo.RestorePlan{At: to.At, Warnings: []string{
		"the run cannot be asked: what it did after its last snapshot is known only from its compensations and gates",
	}}
	last, err := a.Snapshot.Recovery.ListSnapshots(ctx, SnapshotQuery{WorkflowID: in.Run.WorkflowID, FirstRunID: in.Run.FirstRunID, Limit: 1})
	if err != nil || len(last) == 0 {
		return plan, err
	}
	kept, err := readState(ctx, a.Snapshot.Blobs, to)
	if err != nil {
		return plan, err
	}
	now, err := readState(ctx, a.Snapshot.Blobs, last[0])
	if err != nil {
		return plan, err
	}
	has := map[string]bool{}
	for _, o := range kept.Outcomes {
		has[o.Key] = true
	}
	plan.Kept = len(kept.Outcomes)
	for _, o := range now.Outcomes {
		if has[o.Key] || o.Kind != step.OutcomeStep && o.Kind != step.OutcomeActivity && o.Kind != step.OutcomeGate {
			continue
		}
		item := wflo.PlanItem{Key: o.Key, Kind: string(o.Kind), Effect: o.Effect, At: o.At}
		plan.Again = withItem(plan.Again, item)
		if o.Kind == step.OutcomeStep && o.Effect == wflo.EffectIrreversible {
			plan.Irreversible = append(plan.Irreversible, item)
		}
	}
	plan.Void, err = a.void(ctx, in.Run, to.At)
	return plan, err
}

// void are the approvals of the run that were given, or asked for, after a moment.
func (a *Restoring) void(ctx context.Context, run wflo.Run, since time.Time) (items []wflo.PlanItem, err error) {
	for _, closed := range []bool{false, true} {
		q := GateQuery{Org: run.Org, WorkflowID: run.WorkflowID, Closed: closed}
		for {
			gates, err := a.Gates.ListGates(ctx, q)
			if err != nil {
				return nil, fmt.Errorf("read the gates of run %s: %w", run.ID(), err)
			}
			for _, g := range gates {
				if g.FirstRunID == run.FirstRunID && (!closed || g.Granted()) && (g.OpenedAt.After(since) || g.ClosedAt.After(since)) {
					items = append(items, wflo.PlanItem{Key: g.Step, Kind: "gate", At: g.OpenedAt, Note: g.Approval.Action})
				}
			}
			if len(gates) == 0 {
				break
			}
			q.After = gates[len(gates)-1].Nonce
		}
	}
	return items, nil
}

// complete adds what only the stores and the other parts know.
func (a *Restoring) complete(ctx context.Context, in *step.Restoring, to *wflo.Snapshot) error {
	plan := &in.Restored.Plan
	var err error
	if plan.SpentTotal, err = a.spent(ctx, in.Run); err != nil {
		return err
	}
	if in.Unknown && to != nil {
		plan.Spent = max(plan.SpentTotal-to.Spent, 0)
	}
	rows, err := allCompensations(ctx, a.Snapshot.Recovery, in.Run)
	if err != nil {
		return err
	}
	height, again, err := a.cut(ctx, in, to, rows)
	if err != nil {
		return err
	}
	if plan.Mode != wflo.RestoreInPlace {
		plan.Irreversible = without(plan.Irreversible, rows)
	}
	switch {
	case plan.Mode == wflo.RestoreFork:
		plan.Undo, plan.Skipped, plan.Stay = nil, nil, nil // they stay the first run's
		plan.More.Undo, plan.More.Skipped = 0, 0
	case plan.Mode == wflo.RestoreReopen && to != nil && in.Restored.Restore.To.Time.IsZero():
		plan.Undo, plan.Skipped = undoable(rows, height)
		plan.Stay, plan.More.Undo, plan.More.Skipped = nil, 0, 0
	case plan.Mode == wflo.RestoreReopen && plan.Stay != nil:
		// Of what a run has kept that ended well, it does not say that it can be undone.
		plan.Undo, plan.Skipped = undoable(rows, *plan.Stay)
		plan.More.Undo, plan.More.Skipped = 0, 0
	}
	again()
	plan.Undo, plan.Skipped = bare(plan.Undo), bare(plan.Skipped)
	if to == nil {
		return nil
	}
	return a.compare(ctx, in, *to)
}

// without leaves out effects that have a compensation: a run that has ended looks at its
// own list only, from which what it kept and what it undid are gone. A dead letter's
// effect stays.
func without(items []wflo.PlanItem, rows []wflo.CompensationRecord) []wflo.PlanItem {
	return slices.DeleteFunc(slices.Clone(items), func(item wflo.PlanItem) bool {
		return slices.ContainsFunc(rows, func(r wflo.CompensationRecord) bool {
			return r.Step != "" && tryOf(r.Step) == tryOf(item.Key) && r.State != wflo.CompensationDead
		})
	})
}

// undoable are the compensations above a height that a reopening undoes, the highest
// first, and those whose effect never began.
func undoable(rows []wflo.CompensationRecord, above int) (undo, skipped []wflo.CompensationRecord) {
	for _, r := range rows {
		switch {
		case r.Height <= above || r.State.Ended() && r.State != wflo.CompensationKept:
		case r.Begun:
			undo = append(undo, r)
		default:
			skipped = append(skipped, r)
		}
	}
	return undo, skipped
}

// cut says where the journal ends because of what was undone meanwhile, and how many
// compensations stay registered then. again completes the plan with what is done again for
// that reason.
func (a *Restoring) cut(ctx context.Context, in *step.Restoring, to *wflo.Snapshot, rows []wflo.CompensationRecord) (height int, again func(), err error) {
	plan := &in.Restored.Plan
	if to == nil || !in.Restored.Restore.To.Time.IsZero() && !in.Unknown {
		return 0, func() {}, nil // the run has said what it keeps
	}
	state, err := readState(ctx, a.Snapshot.Blobs, *to)
	if err != nil {
		return 0, nil, err
	}
	if to.Run.ID() != in.Run.ID() {
		more, err := allCompensations(ctx, a.Snapshot.Recovery, to.Run)
		if err != nil {
			return 0, nil, err
		}
		rows = append(slices.Clone(rows), more...)
	}
	kept, at := cutUndone(*to, state.Outcomes, rows)
	if height = to.Height; plan.Mode == wflo.RestoreReopen {
		kept, height = cutAbove(*to, state.Outcomes, rows)
	}
	if at == nil {
		return height, func() {}, nil
	}
	at = &state.Outcomes[len(kept)]
	plan.Kept, plan.Moved = len(kept), movedText(at)
	if len(kept) > 0 {
		plan.At = kept[len(kept)-1].At
	}
	if err := a.warnOfFiles(ctx, plan, *to, partsOf(in.Restored.Restore, *to), at.Seq); err != nil {
		return 0, nil, err
	}
	return height, func() { cutAgain(plan, *to, state.Outcomes, len(kept), rows) }, nil
}

// compare checks that the parts can be brought back, and says what differs.
func (a *Restoring) compare(ctx context.Context, in *step.Restoring, to wflo.Snapshot) error {
	plan := &in.Restored.Plan
	parts, err := a.Snapshot.present(to, partsOf(in.Restored.Restore, to))
	if err != nil {
		plan.Refusals = append(plan.Refusals, err.Error())
		return nil //nolint:nilerr // it is in the plan
	}
	for _, p := range parts {
		req := PartRequest{Run: in.Run, Name: p.Name, Key: in.Restored.Restore.ID}
		keeper := a.Snapshot.Parts[p.Kind]
		if err := keeper.Check(ctx, req, p); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			plan.Refusals = append(plan.Refusals, fmt.Sprintf("%s cannot be brought back: %s", partText(p), err.Error()))
			continue
		}
		d, err := keeper.Diff(ctx, req, p, nil)
		if err != nil {
			d = wflo.PartDiff{Kind: p.Kind, Name: p.Name, Problem: err.Error()}
		}
		plan.Diffs = append(plan.Diffs, d)
	}
	if in.Restored.Restore.Mode == wflo.RestoreFork && in.Restored.Restore.Parts == nil {
		for _, p := range to.Parts {
			if p.Kind == wflo.PartTables {
				plan.Warnings = append(plan.Warnings, "a fork leaves tables as they are, which the first run uses; name "+p.Name+" under parts to bring it back")
			}
		}
	}
	return nil
}

// heightOf is how many compensations stay registered: as many as there were.
func heightOf(in step.Restoring, to *wflo.Snapshot) int {
	height := in.Height
	if to != nil && (in.Unknown || in.Restored.Restore.To.Snapshot != "") {
		height = to.Height
	}
	if stay := in.Restored.Plan.Stay; stay != nil {
		height = min(height, *stay)
	}
	for _, c := range slices.Concat(in.Restored.Plan.Undo, in.Restored.Plan.Skipped) {
		if c.Height > 0 {
			height = min(height, c.Height-1)
		}
	}
	return height
}
