package activities

import (
	"context"
	"fmt"
	"slices"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
)

// mostStateChanges bounds the changes of a state that are named.
const mostStateChanges = 1000

// Compare says what differs between two snapshots of a run, within their parts, the
// older one first. It is no activity: a console asks it where it is beside the store. A part that
// only one of them has, or that cannot be read, is a PartDiff with a Problem.
func (a *Snapshot) Compare(ctx context.Context, from, to wflo.Snapshot) (diffs []wflo.PartDiff, err error) {
	for _, p := range slices.Concat(from.Parts, to.Parts) {
		if slices.ContainsFunc(diffs, func(d wflo.PartDiff) bool { return d.Kind == p.Kind && d.Name == p.Name }) {
			continue
		}
		d, err := a.comparePart(ctx, from, to, p)
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil:
			d = wflo.PartDiff{Problem: err.Error()}
		}
		d.Kind, d.Name = p.Kind, p.Name
		diffs = append(diffs, d)
	}
	return diffs, nil
}

func (a *Snapshot) comparePart(ctx context.Context, from, to wflo.Snapshot, p wflo.SnapshotPart) (wflo.PartDiff, error) {
	old, now := from.Part(p.Kind, p.Name), to.Part(p.Kind, p.Name)
	switch {
	case old == nil:
		return wflo.PartDiff{Problem: "only the later snapshot has it"}, nil
	case now == nil:
		return wflo.PartDiff{Problem: "only the earlier snapshot has it"}, nil
	case p.Kind == wflo.PartState:
		return a.compareStates(ctx, from, to)
	}
	keeper := a.Parts[p.Kind]
	if keeper == nil {
		return wflo.PartDiff{}, noKeeper(p)
	}
	d, err := keeper.Diff(ctx, PartRequest{Run: from.Run, Name: p.Name, Key: from.ID + "/" + to.ID}, *old, now)
	if err != nil {
		return d, fmt.Errorf("compare %s: %w", partText(p), err)
	}
	return d, nil
}

// compareStates names the outcomes that one state has and the other one has not, by
// their keys.
func (a *Snapshot) compareStates(ctx context.Context, from, to wflo.Snapshot) (d wflo.PartDiff, err error) {
	old, err := readState(ctx, a.Blobs, from)
	if err != nil {
		return d, err
	}
	now, err := readState(ctx, a.Blobs, to)
	if err != nil {
		return d, err
	}
	add := func(op string, all, without []step.Outcome) {
		has := map[string]bool{}
		for _, o := range without {
			has[stateKey(o)] = true
		}
		for _, o := range all {
			switch {
			case has[stateKey(o)]:
			case len(d.Changes) == mostStateChanges:
				d.More++
			default:
				d.Changes = append(d.Changes, wflo.PartChange{Name: o.Key, Op: op, Detail: string(o.Kind)})
			}
		}
	}
	add("removed", old.Outcomes, now.Outcomes)
	add("added", now.Outcomes, old.Outcomes)
	return d, nil
}

// stateKey tells outcomes of two states apart: what was done again has another number.
func stateKey(o step.Outcome) string { return fmt.Sprintf("%d %s %s", o.Seq, o.Kind, o.Key) }
