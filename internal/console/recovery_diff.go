package console

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"github.com/wflo-ai/wflo-go"
)

// SnapshotDiff is what differs between two snapshots, the older one first.
type SnapshotDiff struct {
	From  wflo.Snapshot   `json:"from"`
	To    wflo.Snapshot   `json:"to"`
	Diffs []wflo.PartDiff `json:"diffs"`
}

// snapshotData is what the trail keeps of a snapshot that somebody changed.
func snapshotData(s wflo.Snapshot) json.RawMessage {
	data, err := json.Marshal(map[string]string{"snapshot": s.ID, "name": s.Name, "digest": s.Digest})
	if err != nil {
		return nil // strings are always encoded
	}
	return data
}

// snapshotDiff compares two snapshots of the same workflow id. What a run is like now is
// for the plan of a restore, which asks the run.
func (h *Handler) snapshotDiff(ctx context.Context, r *http.Request) (any, error) {
	q, err := queryOf(r, "to")
	if err != nil {
		return nil, err
	}
	if q.Get("to") == "" {
		return nil, wflo.Invalid("to", "is empty", "name another snapshot of the run; for what a run is like now, plan a restore")
	}
	out, err := h.diffSnapshots(ctx, r.PathValue("id"), q.Get("to"))
	if err != nil {
		return nil, err
	}
	return out, nil
}

// diffSnapshots compares two snapshots of one run, in either order.
func (h *Handler) diffSnapshots(ctx context.Context, one, other string) (out SnapshotDiff, err error) {
	from, err := h.ownSnapshot(ctx, one)
	if err != nil {
		return out, err
	}
	to, err := h.ownSnapshot(ctx, other)
	if err != nil {
		return out, err
	}
	if from.Run.WorkflowID != to.Run.WorkflowID || from.Run.Org != to.Run.Org {
		return out, wflo.Invalid("to", "is a snapshot of another run", "compare snapshots of one run")
	}
	if to.At.Before(from.At) {
		from, to = to, from
	}
	out = SnapshotDiff{From: from, To: to}
	if h.cfg.Compare != nil {
		out.Diffs, err = h.cfg.Compare(ctx, from, to)
	} else {
		out.Diffs = compareManifests(from, to)
	}
	if err != nil {
		return out, fmt.Errorf("compare %s with %s: %w", from.ID, to.ID, err)
	}
	out.Diffs = append([]wflo.PartDiff{}, out.Diffs...)
	return out, nil
}

// compareManifests says which parts differ, as far as manifests tell: not what within
// them.
func compareManifests(from, to wflo.Snapshot) (diffs []wflo.PartDiff) {
	var all []wflo.SnapshotPart
	for _, p := range slices.Concat(from.Parts, to.Parts) {
		if !slices.ContainsFunc(all, func(a wflo.SnapshotPart) bool { return a.Kind == p.Kind && a.Name == p.Name }) {
			all = append(all, p)
		}
	}
	for _, p := range all {
		d := wflo.PartDiff{Kind: p.Kind, Name: p.Name}
		change := wflo.PartChange{Name: cmp.Or(p.Name, string(p.Kind)), Op: "changed"}
		old, now := from.Part(p.Kind, p.Name), to.Part(p.Kind, p.Name)
		switch {
		case old == nil:
			change.Op, change.After = "added", now.Bytes
		case now == nil:
			change.Op, change.Before = "removed", old.Bytes
		case old.SHA256 == now.SHA256:
			diffs = append(diffs, d)
			continue
		default:
			change.Before, change.After = old.Bytes, now.Bytes
			change.Detail = fmt.Sprintf("%d entries before, %d after", old.Count, now.Count)
		}
		d.Changes = []wflo.PartChange{change}
		diffs = append(diffs, d)
	}
	return diffs
}
