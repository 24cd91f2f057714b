package console

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/sdk/client"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/undo"
)

// Bounds of lists of recovery.
const (
	someRecovery = 100
	mostRecovery = 1000
)

// patience is how long a request waits for what goes on without it, such as a snapshot
// or a plan. It leaves time to answer before the request's own deadline.
const patience = 10 * time.Second

// back is the console's half of going back: what is kept, and who writes down what
// people do.
type back struct {
	store activities.Recovery
	trail activities.Audit
	undo  *undo.Desk
}

// recoveryOf finds where the installation keeps what recovery needs; nil where it keeps
// nothing, or where nobody could account for what people do.
func recoveryOf(cfg Config) *back {
	b := &back{store: cfg.Recovery}
	if l, ok := cfg.Ledger.(interface{ Recovery() activities.Recovery }); ok && b.store == nil {
		b.store = l.Recovery()
	}
	if l, ok := cfg.Ledger.(interface{ Records() activities.Records }); ok {
		b.trail = l.Records()
	}
	if cfg.Desk != nil {
		b.trail = cfg.Desk.Records
	}
	if b.store == nil || b.trail == nil {
		return nil
	}
	b.undo = &undo.Desk{Client: cfg.Client, Store: b.store, Records: b.trail}
	return b
}

func (h *Handler) recoveryRoutes() []Route {
	all := []Route{
		{Pattern: "GET /api/v1/snapshots", Role: viewer, Tenants: true, serve: h.json(h.snapshots)},
		{Pattern: "GET /api/v1/snapshots/{id}", Role: viewer, Tenants: true, serve: h.json(h.snapshot)},
		{Pattern: "GET /api/v1/snapshots/{id}/diff", Role: viewer, Tenants: true, serve: h.json(h.snapshotDiff)},
		{Pattern: "POST /api/v1/runs/{id}/snapshots", Role: operator, Tenants: true, serve: h.json(h.takeSnapshot)},
		{Pattern: "POST /api/v1/snapshots/{id}/pin", Role: operator, Tenants: true, serve: h.json(h.pin(true))},
		{Pattern: "DELETE /api/v1/snapshots/{id}/pin", Role: operator, Tenants: true, serve: h.json(h.pin(false))},
		{Pattern: "DELETE /api/v1/snapshots/{id}", Role: admin, Tenants: true, serve: h.json(h.dropSnapshot)},

		{Pattern: "POST /api/v1/runs/{id}/restores", Role: operator, Tenants: true, serve: h.restore},
		{Pattern: "GET /api/v1/restores/{id}", Role: viewer, Tenants: true, serve: h.json(h.restored)},
		{Pattern: "GET /api/v1/runs/{id}/lineage", Role: viewer, Tenants: true, serve: h.json(h.lineage)},

		{Pattern: "GET /api/v1/compensations", Role: viewer, Tenants: true, serve: h.json(h.compensations)},
		{Pattern: "GET /api/v1/compensations/{id}", Role: viewer, Tenants: true, serve: h.json(h.compensation)},
		{Pattern: "POST /api/v1/compensations/{id}/retry", Role: operator, Tenants: true, serve: h.json(h.decideUndo(undoRetry))},
		{Pattern: "POST /api/v1/compensations/{id}/resolve", Role: admin, Tenants: true, serve: h.json(h.decideUndo(undoResolve))},
		{Pattern: "POST /api/v1/compensations/{id}/skip", Role: admin, Tenants: true, serve: h.json(h.decideUndo(undoSkip))},
	}
	if h.cfg.Desk != nil {
		all = append(all, h.recoveryPages()...)
	}
	return all
}

// mayUse says that the caller may use what is an org's; empty is nobody's, and for
// callers of all orgs only.
func mayUse(ctx context.Context, org string) bool {
	own := callerOf(ctx).id.Org
	return own == "" || own == org
}

// describe gives a run that the caller may know of. Without a first run id it is the
// latest of its workflow id.
func (h *Handler) describe(ctx context.Context, id, first string) (*workflowpb.WorkflowExecutionInfo, string, error) {
	d, err := h.cfg.Client.DescribeWorkflowExecution(ctx, id, first)
	if err != nil {
		return nil, "", fmt.Errorf("describe %s: %w", id, err)
	}
	info := d.GetWorkflowExecutionInfo()
	queue := info.GetTaskQueue()
	if queue == "" {
		queue = d.GetExecutionConfig().GetTaskQueue().GetName()
	}
	return info, queue, ownRun(ctx, info)
}

func isOpen(info *workflowpb.WorkflowExecutionInfo) bool {
	return info.GetStatus() == enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING
}

// snapshotQuery reads what both the list and its page take.
func snapshotQuery(ctx context.Context, q url.Values) (query activities.SnapshotQuery, err error) {
	query = activities.SnapshotQuery{
		Org: callerOf(ctx).id.Org, WorkflowID: q.Get("run"), FirstRunID: q.Get("first_run"), Name: q.Get("name"),
		Kind: wflo.SnapshotKind(q.Get("kind")), After: q.Get("after"),
	}
	switch query.Kind {
	case "", wflo.SnapshotAuto, wflo.SnapshotManual, wflo.SnapshotPreRestore:
	default:
		return query, wflo.Invalid("kind", fmt.Sprintf("is %q", q.Get("kind")), "use auto, manual or pre_restore")
	}
	if given := q.Get("before"); given != "" {
		if query.Before, err = time.Parse(time.RFC3339, given); err != nil {
			return query, wflo.Invalid("before", fmt.Sprintf("is %q", given), "write a time as in 2026-12-01T13:00:00Z")
		}
	}
	query.Limit, err = count(q, "limit", someRecovery, mostRecovery)
	return query, err
}

// snapshots lists manifests, the latest first.
func (h *Handler) snapshots(ctx context.Context, r *http.Request) (any, error) {
	q, err := queryOf(r, "run", "first_run", "name", "kind", "before", "after", "limit")
	if err != nil {
		return nil, err
	}
	query, err := snapshotQuery(ctx, q)
	if err != nil {
		return nil, err
	}
	all, err := h.back.store.ListSnapshots(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	return append([]wflo.Snapshot{}, all...), nil
}

// ownSnapshot reads one; one of another org is as absent as none.
func (h *Handler) ownSnapshot(ctx context.Context, id string) (wflo.Snapshot, error) {
	s, err := h.back.store.Snapshot(ctx, id)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !mayUse(ctx, s.Run.Org) {
		return wflo.Snapshot{}, &absent{"no such snapshot", "list them at /api/v1/snapshots"}
	}
	if err != nil {
		return s, fmt.Errorf("read snapshot: %w", err)
	}
	return s, nil
}

func (h *Handler) snapshot(ctx context.Context, r *http.Request) (any, error) {
	if _, err := queryOf(r); err != nil {
		return nil, err
	}
	return h.ownSnapshot(ctx, r.PathValue("id"))
}

// SnapshotRequest is the body that asks a run for a snapshot of itself.
type SnapshotRequest struct {
	// ID makes asking again harmless: the same one gives the same snapshot. Required.
	ID    string     `json:"id"`
	Name  string     `json:"name,omitempty"`
	Parts wflo.Parts `json:"parts,omitzero"`
}

// errSlow says that something goes on which the request does not wait for any longer.
func errSlow(what, hint string) error {
	return &wflo.Error{Message: what, Hint: hint, Err: errWaiting}
}

// takeSnapshot has an open run take a snapshot of itself. Where that takes longer than
// a request may, the same request again waits on.
func (h *Handler) takeSnapshot(ctx context.Context, r *http.Request) (any, error) {
	by, err := user(r)
	if err != nil {
		return nil, err
	}
	var given SnapshotRequest
	if err := body(r, "snapshot", "send JSON with id, and name and parts where they are wanted", &given); err != nil {
		return nil, err
	}
	if given.ID == "" || len(given.ID) > maxText {
		return nil, wflo.Invalid("id", "is empty or too long", "draw one at random, and send it again with the same request")
	}
	for _, t := range append([]string{given.ID, given.Name}, given.Parts.Tables...) {
		if err := text("snapshot", t); err != nil {
			return nil, err
		}
	}
	id := r.PathValue("id")
	info, _, err := h.describe(ctx, id, "")
	if err != nil {
		return nil, err
	}
	if !isOpen(info) {
		return nil, wflo.Errorf(wflo.CodeConflict, "restore it from a snapshot that it has, with the mode reopen or fork", "run %s has ended, and takes no more snapshots", id)
	}
	return h.askForSnapshot(ctx, id, info.GetExecution().GetRunId(), given, by)
}

func (h *Handler) askForSnapshot(ctx context.Context, id, runID string, given SnapshotRequest, by string) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var s wflo.Snapshot
	// The run is named by its workflow id alone: it may go on as new meanwhile.
	u, err := h.cfg.Client.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{
		UpdateID: "snapshot/" + given.ID, WorkflowID: id, UpdateName: wflo.UpdateSnapshot, WaitForStage: client.WorkflowUpdateStageCompleted,
		Args: []any{wflo.SnapshotOrder{Name: given.Name, Parts: given.Parts, By: by}},
	})
	if err == nil {
		err = u.Get(ctx, &s)
	}
	switch {
	case err == nil:
		return s, nil
	case ctx.Err() != nil:
		return nil, errSlow("the snapshot of run "+id+" is not taken yet", "ask again with the same id, or list the snapshots of the run")
	}
	return nil, fmt.Errorf("snapshot of %s (%s): %w", id, runID, err)
}

// pin keeps a snapshot from retention, or gives it back to it.
func (h *Handler) pin(pinned bool) func(context.Context, *http.Request) (any, error) {
	return func(ctx context.Context, r *http.Request) (any, error) {
		by, err := user(r)
		if err != nil {
			return nil, err
		}
		return h.setPin(ctx, r, pinned, by)
	}
}

func (h *Handler) setPin(ctx context.Context, r *http.Request, pinned bool, by string) (wflo.Snapshot, error) {
	kind := wflo.AuditSnapshotUnpinned
	if pinned {
		kind = wflo.AuditSnapshotPinned
	}
	s, err := h.changeSnapshot(ctx, r, kind, by)
	if err != nil {
		return s, err
	}
	if err := h.back.store.PinSnapshot(ctx, s.ID, pinned); err != nil {
		return s, fmt.Errorf("pin snapshot %s: %w", s.ID, err)
	}
	s.Pinned = pinned
	return s, nil
}

// dropSnapshot removes a manifest. What it needs is left to the collector.
func (h *Handler) dropSnapshot(ctx context.Context, r *http.Request) (any, error) {
	by, err := user(r)
	if err != nil {
		return nil, err
	}
	s, err := h.ownSnapshot(ctx, r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	if s.Pinned {
		return nil, wflo.Errorf(wflo.CodeConflict, "unpin it first", "snapshot %s is pinned", s.ID)
	}
	if s, err = h.changeSnapshot(ctx, r, wflo.AuditSnapshotDropped, by); err != nil {
		return nil, err
	}
	if err := h.back.store.DropSnapshots(ctx, s.ID); err != nil {
		return nil, fmt.Errorf("remove snapshot %s: %w", s.ID, err)
	}
	return s, nil
}

// changeSnapshot reads the snapshot of the path and records who changes it, before
// they do: a change that nobody can account for is not made.
func (h *Handler) changeSnapshot(ctx context.Context, r *http.Request, kind wflo.AuditType, by string) (wflo.Snapshot, error) {
	if _, err := queryOf(r); err != nil {
		return wflo.Snapshot{}, err
	}
	s, err := h.ownSnapshot(ctx, r.PathValue("id"))
	if err != nil {
		return s, err
	}
	if err := h.back.trail.Append(ctx, wflo.AuditEvent{
		// Pins come and go: each is an event of its own.
		ID: s.ID + "/" + string(kind) + "/" + token(), Chain: s.Run.AuditChain(), At: h.cfg.Now(), Type: kind, Severity: wflo.SeverityInfo, Actor: by,
		Namespace: s.Run.Namespace, WorkflowID: s.Run.WorkflowID, FirstRunID: s.Run.FirstRunID, Data: snapshotData(s),
	}); err != nil {
		return s, fmt.Errorf("record what %s does with snapshot %s: %w", by, s.ID, err)
	}
	return s, nil
}
