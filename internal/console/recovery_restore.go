package console

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/recovery"
)

const (
	// The memo of a restore that was asked for here: until it is on record, it is all that
	// says whose it is.
	memoRestoreOf, memoRestoreOrg = "wflo_restore_of", "wflo_restore_org"
)

// errWaiting is the cause of errors about what goes on without the request.
var errWaiting = errors.New("it goes on")

// RestoreStatus is a restore as far as it is.
type RestoreStatus struct {
	wflo.Restored
	// Planning says that nothing is on record yet: the plan is being made.
	Planning bool `json:"planning,omitempty"`
	// Problem says why it was refused or failed, where it was.
	Problem *Problem `json:"problem,omitempty"`
}

// Over says that nothing about it changes any more.
func (s RestoreStatus) Over() bool {
	return s.State == wflo.RestoreDone || s.State == wflo.RestoreFailed || s.Restore.DryRun && !s.Planning
}

// restore takes a run back, or says what that would do. A dry run answers 200 with the
// plan; what takes longer, and every restore, answers 202 with the ID to look for.
func (h *Handler) restore(w http.ResponseWriter, r *http.Request) {
	var status RestoreStatus
	order, err := h.restoreOrder(r)
	if err == nil {
		status, err = h.beginRestore(r.Context(), order)
	}
	if err != nil {
		h.json(func(context.Context, *http.Request) (any, error) { return nil, err })(w, r)
		return
	}
	code := http.StatusAccepted
	if status.Over() {
		code = http.StatusOK
	}
	h.write(w, r, code, status)
}

// restoreOrder reads what is asked for. Who asks is not for the body to say.
func (h *Handler) restoreOrder(r *http.Request) (order wflo.Restore, err error) {
	by, err := user(r)
	if err != nil {
		return order, err
	}
	if err := body(r, "restore", "send JSON with to, and mode, parts, dry_run, accept_irreversible, new_id and reason where they are needed", &order); err != nil {
		return order, err
	}
	id := r.PathValue("id")
	if order.WorkflowID != "" && order.WorkflowID != id {
		return order, wflo.Invalid("restore.workflow_id", "is not that of the path", "leave it out, or name the same run")
	}
	order.WorkflowID, order.By = id, by
	return order, checkOrder(r.Context(), &order)
}

// checkOrder completes an order, and refuses one that is wrong or not the caller's to
// give.
func checkOrder(ctx context.Context, order *wflo.Restore) error {
	order.ID = cmp.Or(order.ID, recovery.NewID())
	for name, value := range map[string]string{"id": order.ID, "reason": order.Reason, "new_id": order.NewID, "to": order.To.Snapshot, "first_run_id": order.FirstRunID} {
		if err := text("restore."+name, value); err != nil {
			return err
		}
	}
	if err := order.Validate(); err != nil {
		return err
	}
	if c := callerOf(ctx); order.AcceptIrreversible && !order.DryRun && !c.id.May(admin) {
		return denied(c.id.Subject+" may not accept that what cannot be undone happens again: the role admin is missing", "ask an administrator")
	}
	return nil
}

// beginRestore starts the workflow that does it, once per ID. A plan is waited for, for a
// while.
func (h *Handler) beginRestore(ctx context.Context, order wflo.Restore) (RestoreStatus, error) {
	info, queue, err := h.describe(ctx, order.WorkflowID, order.FirstRunID)
	if err != nil {
		return RestoreStatus{}, err
	}
	if own := callerOf(ctx).id.Org; own != "" && order.FirstRunID == "" {
		order.FirstRunID = info.GetFirstRunId() // whose it is was asked of this one
	}
	run, err := h.cfg.Client.ExecuteWorkflow(wflo.WithRun(ctx, wflo.Run{User: order.By, Org: callerOf(ctx).id.Org}), client.StartWorkflowOptions{
		ID: wflo.RestoreWorkflowID(order.ID), TaskQueue: queue, WorkflowIDReusePolicy: enumspb.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE,
		WorkflowExecutionErrorWhenAlreadyStarted: true, StaticSummary: "restore of " + order.WorkflowID,
		Memo: map[string]any{memoRestoreOf: order.WorkflowID, memoRestoreOrg: callerOf(ctx).id.Org},
	}, wflo.WorkflowRestore, order)
	if temporal.IsWorkflowExecutionAlreadyStartedError(err) {
		return h.askedBefore(ctx, order)
	}
	if err != nil {
		return RestoreStatus{}, fmt.Errorf("start the restore of %s: %w", order.WorkflowID, err)
	}
	pending := RestoreStatus{Restored: wflo.Restored{Restore: order, State: wflo.RestorePlanned}, Planning: true}
	if !order.DryRun {
		return pending, nil
	}
	wait, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var out wflo.Restored
	if err := run.Get(wait, &out); err != nil {
		if wait.Err() != nil {
			return pending, ctx.Err()
		}
		return RestoreStatus{}, fmt.Errorf("plan the restore of %s: %w", order.WorkflowID, err)
	}
	return RestoreStatus{Restored: out}, nil
}

// askedBefore gives the restore that was begun under the same ID. Another request under
// it is refused.
func (h *Handler) askedBefore(ctx context.Context, order wflo.Restore) (RestoreStatus, error) {
	found, err := h.findRestore(ctx, order.ID)
	if err != nil {
		return found, err
	}
	was := found.Restore
	known := !found.Planning && found.Problem == nil // else the request itself is not at hand
	if was.WorkflowID != order.WorkflowID || known && (was.To.Snapshot != order.To.Snapshot || !was.To.Time.Equal(order.To.Time) || was.DryRun != order.DryRun) {
		return RestoreStatus{}, wflo.Errorf(wflo.CodeConflict, "draw another id", "restore %s was asked for before, with another request", order.ID)
	}
	return found, nil
}

func (h *Handler) restored(ctx context.Context, r *http.Request) (any, error) {
	if _, err := queryOf(r); err != nil {
		return nil, err
	}
	return h.findRestore(ctx, r.PathValue("id"))
}

// findRestore says how far a restore is: by what is on record, and else by its
// workflow, which alone knows of plans and of what was refused at once.
func (h *Handler) findRestore(ctx context.Context, id string) (RestoreStatus, error) {
	kept, err := h.back.store.Restored(ctx, id)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return h.restoreWorkflow(ctx, id)
	case err != nil:
		return RestoreStatus{}, fmt.Errorf("read restore: %w", err)
	}
	if callerOf(ctx).id.Org != "" {
		i := strings.LastIndexByte(kept.From, '/')
		if _, _, err := h.describe(ctx, kept.From[:max(i, 0)], kept.From[i+1:]); err != nil {
			return RestoreStatus{}, noRestore(err)
		}
	}
	out := RestoreStatus{Restored: kept}
	if kept.State == wflo.RestoreFailed {
		out.Problem = &Problem{Code: string(wflo.CodeConflict), Message: kept.Error, Hint: "the run is what it was, unless the lineage says more; restore again"}
	}
	return out, nil
}

// noRestore answers for a restore that is not there, or not the caller's.
func noRestore(err error) error {
	var gone *serviceerror.NotFound
	var hidden *absent
	if errors.As(err, &gone) || errors.As(err, &hidden) {
		return &absent{"no such restore", "see the lineage of the run"}
	}
	return err
}

func (h *Handler) restoreWorkflow(ctx context.Context, id string) (out RestoreStatus, err error) {
	d, err := h.cfg.Client.DescribeWorkflowExecution(ctx, wflo.RestoreWorkflowID(id), "")
	if err != nil {
		return out, noRestore(fmt.Errorf("describe restore %s: %w", id, err))
	}
	info := d.GetWorkflowExecutionInfo()
	if own := callerOf(ctx).id.Org; own != "" && memo(info, memoRestoreOrg) != own {
		return out, noRestore(&absent{})
	}
	out.Restore = wflo.Restore{ID: id, WorkflowID: memo(info, memoRestoreOf)}
	out.State, out.Planning = wflo.RestorePlanned, true
	if isOpen(info) {
		return out, nil
	}
	var done wflo.Restored
	if err := h.cfg.Client.GetWorkflow(ctx, wflo.RestoreWorkflowID(id), info.GetExecution().GetRunId()).Get(ctx, &done); err != nil {
		if ctx.Err() != nil {
			return out, ctx.Err()
		}
		_, p := problem(err)
		out.State, out.Error, out.Planning, out.Problem = wflo.RestoreFailed, p.Message, false, &p
		return out, nil
	}
	return RestoreStatus{Restored: done}, nil
}

func memo(info *workflowpb.WorkflowExecutionInfo, name string) (value string) {
	if p := info.GetMemo().GetFields()[name]; p != nil {
		if err := converter.GetDefaultDataConverter().FromPayload(p, &value); err != nil {
			return ""
		}
	}
	return value
}

// Lineage is how a run and others come from each other.
type Lineage struct {
	// Run is the one that was asked about, as "workflow id/first run id".
	Run string `json:"run"`
	// Steps are the restores that made them, the oldest first.
	Steps []LineageStep `json:"steps"`
}

// LineageStep is one restore: from one run into the same, or into another one.
type LineageStep struct {
	ID    string            `json:"id"`
	State wflo.RestoreState `json:"state"`
	Mode  wflo.RestoreMode  `json:"mode"`
	From  string            `json:"from"`
	Into  string            `json:"into,omitempty"`
	Epoch int               `json:"epoch,omitempty"`
	// Moment is what was gone back to, Snapshot the snapshot of it, with its name.
	Moment   time.Time `json:"moment,omitzero"`
	Snapshot string    `json:"snapshot,omitempty"`
	Name     string    `json:"name,omitempty"`
	// PreRestore is the snapshot of what was given up.
	PreRestore string `json:"pre_restore,omitempty"`
	// Undone and Dead count the compensations that it meant, and those that failed.
	Undone int       `json:"undone,omitempty"`
	Dead   int       `json:"dead,omitempty"`
	By     string    `json:"by"`
	Reason string    `json:"reason"`
	Error  string    `json:"error,omitempty"`
	Asked  time.Time `json:"asked,omitzero"`
	Ended  time.Time `json:"ended,omitzero"`
}

func stepOf(r wflo.Restored) LineageStep {
	s := LineageStep{
		ID: r.Restore.ID, State: r.State, Mode: r.Plan.Mode, From: r.From, Into: r.Into, Epoch: r.Epoch, Moment: r.Plan.At,
		PreRestore: r.PreRestore, Undone: len(r.Plan.Undo), Dead: len(r.Dead), By: r.Restore.By, Reason: r.Restore.Reason, Error: r.Error, Asked: r.Asked, Ended: r.Ended,
	}
	if p := r.Plan.Snapshot; p != nil {
		s.Snapshot, s.Name = p.ID, p.Name
	}
	return s
}

// mostRelatives bounds how many runs of one lineage are looked at.
const mostRelatives = 200

func (h *Handler) lineage(ctx context.Context, r *http.Request) (any, error) {
	q, err := queryOf(r, "first_run")
	if err != nil {
		return nil, err
	}
	return h.lineageOf(ctx, r.PathValue("id"), q.Get("first_run"))
}

// lineageOf follows restores from run to run. They never lead out of an org, so that
// whoever may see one run of a lineage may see all. It begins at exactly that run: others
// may have had the same workflow id.
func (h *Handler) lineageOf(ctx context.Context, id, first string) (Lineage, error) {
	info, _, err := h.describe(ctx, id, first)
	if err != nil {
		return Lineage{}, err
	}
	out := Lineage{Run: id + "/" + cmp.Or(first, info.GetFirstRunId()), Steps: []LineageStep{}}
	todo, seen, known := []string{out.Run}, map[string]bool{out.Run: true}, map[string]bool{}
	for len(todo) > 0 && len(seen) <= mostRelatives {
		all, err := h.back.store.ListRestores(ctx, todo[0])
		if err != nil {
			return out, fmt.Errorf("read the lineage of %s: %w", id, err)
		}
		todo = todo[1:]
		for _, one := range all {
			if known[one.Restore.ID] {
				continue
			}
			known[one.Restore.ID] = true
			out.Steps = append(out.Steps, stepOf(one))
			for _, next := range []string{one.From, one.Into} {
				if next != "" && !seen[next] {
					seen[next] = true
					todo = append(todo, next)
				}
			}
		}
	}
	slices.SortStableFunc(out.Steps, func(a, b LineageStep) int { return a.Asked.Compare(b.Asked) })
	return out, nil
}
