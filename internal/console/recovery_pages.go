package console

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/recovery"
)

func (h *Handler) recoveryPages() []Route {
	return []Route{
		{Pattern: "GET /recovery", Role: viewer, Tenants: true, page: true, serve: h.recoveryPage},
		{Pattern: "GET /runs/{id}/recovery", Role: viewer, Tenants: true, page: true, serve: h.runPage},
		{Pattern: "POST /runs/{id}/recovery", Role: operator, Tenants: true, page: true, serve: h.restoreOnPage},
		{Pattern: "POST /runs/{id}/snapshots", Role: operator, Tenants: true, page: true, serve: h.snapshotOnPage},
		{Pattern: "POST /snapshots/{id}/pin", Role: operator, Tenants: true, page: true, serve: h.pinOnPage},
		{Pattern: "GET /restores/{id}", Role: viewer, Tenants: true, page: true, serve: h.restorePage},
		{Pattern: "GET /compensations", Role: viewer, Tenants: true, page: true, serve: h.undoPage},
		{Pattern: "POST /compensations/{id}/retry", Role: operator, Tenants: true, page: true, serve: h.undoOnPage(undoRetry)},
		{Pattern: "POST /compensations/{id}/resolve", Role: admin, Tenants: true, page: true, serve: h.undoOnPage(undoResolve)},
		{Pattern: "POST /compensations/{id}/skip", Role: admin, Tenants: true, page: true, serve: h.undoOnPage(undoSkip)},
	}
}

// may says what the person may do, so that pages show no form that would be refused.
type may struct{ Operate, Administer bool }

func mayOf(ctx context.Context) may {
	id := callerOf(ctx).id
	return may{Operate: id.May(operator), Administer: id.May(admin)}
}

const recoveryPageSize = 50

type recoveryView struct {
	page
	Snapshots []wflo.Snapshot
	Next      string
}

// recoveryPage shows the latest snapshots of all runs, and leads to a run's page.
func (h *Handler) recoveryPage(w http.ResponseWriter, r *http.Request) {
	q, err := queryOf(r, "run", "after")
	if err != nil {
		h.pageError(w, r, err)
		return
	}
	if run := strings.TrimSpace(q.Get("run")); run != "" {
		http.Redirect(w, r, runPath(run), http.StatusSeeOther)
		return
	}
	all, err := h.back.store.ListSnapshots(r.Context(), activities.SnapshotQuery{Org: callerOf(r.Context()).id.Org, After: q.Get("after"), Limit: recoveryPageSize})
	if err != nil {
		h.pageError(w, r, err)
		return
	}
	v := recoveryView{page: h.page(r, "Recovery"), Snapshots: all}
	if len(all) == recoveryPageSize {
		v.Next = "/recovery?after=" + url.QueryEscape(all[len(all)-1].ID)
	}
	h.show(w, r, http.StatusOK, "recovery", v)
}

func runPath(id string) string { return "/runs/" + url.PathEscape(id) + "/recovery" }

type runView struct {
	page
	May       may
	ID        string // the workflow id
	FirstRun  string
	Status    string
	Open      bool
	To        string // what the form is filled with
	Snapshots []wflo.Snapshot
	More      bool // there are more snapshots
	Lineage   Lineage
	Undo      []wflo.CompensationRecord
	Once      string
}

// runPage shows what a run can go back to.
func (h *Handler) runPage(w http.ResponseWriter, r *http.Request) {
	v, err := h.runView(r)
	if err != nil {
		h.pageError(w, r, err)
		return
	}
	h.show(w, r, http.StatusOK, "run", v)
}

func (h *Handler) runView(r *http.Request) (v runView, err error) {
	ctx, id := r.Context(), r.PathValue("id")
	q, err := queryOf(r, "to")
	if err != nil {
		return v, err
	}
	info, _, err := h.describe(ctx, id, "")
	if err != nil {
		return v, err
	}
	v = runView{
		page: h.page(r, "Recovery of "+id), May: mayOf(ctx), ID: id, FirstRun: info.GetFirstRunId(), Status: strings.ToLower(info.GetStatus().String()),
		Open: isOpen(info), To: q.Get("to"), Once: recovery.NewID(),
	}
	if v.Lineage, err = h.lineageOf(ctx, id, ""); err != nil {
		return v, err
	}
	query := activities.SnapshotQuery{Org: callerOf(ctx).id.Org, WorkflowID: id, Limit: someRecovery}
	if v.Snapshots, err = h.back.store.ListSnapshots(ctx, query); err != nil {
		return v, fmt.Errorf("list snapshots of %s: %w", id, err)
	}
	v.More = len(v.Snapshots) == someRecovery
	v.Undo, err = h.listUndo(ctx, activities.CompensationQuery{Org: query.Org, WorkflowID: id})
	return v, err
}

// snapshotOnPage has the run take a snapshot, and shows the run again.
func (h *Handler) snapshotOnPage(w http.ResponseWriter, r *http.Request) {
	ctx, id := r.Context(), r.PathValue("id")
	name := strings.TrimSpace(r.PostFormValue("name"))
	err := text("name", name)
	if err == nil {
		info, _, found := h.describe(ctx, id, "")
		if err = found; err == nil {
			given := SnapshotRequest{ID: r.PostFormValue("id"), Name: name, Parts: wflo.Parts{Workspace: r.PostFormValue("workspace") != ""}}
			if err = text("id", given.ID); err == nil {
				_, err = h.askForSnapshot(ctx, id, info.GetExecution().GetRunId(), given, callerOf(ctx).id.Subject)
			}
		}
	}
	h.backTo(w, r, runPath(id), err)
}

// backTo shows a page again after a change, or says why there was none.
func (h *Handler) backTo(w http.ResponseWriter, r *http.Request, path string, err error) {
	if err != nil {
		h.pageError(w, r, err)
		return
	}
	http.Redirect(w, r, path, http.StatusSeeOther)
}

func (h *Handler) pinOnPage(w http.ResponseWriter, r *http.Request) {
	out, err := h.setPin(r.Context(), r, r.PostFormValue("pinned") == "yes", callerOf(r.Context()).id.Subject)
	h.backTo(w, r, runPath(out.Run.WorkflowID), err)
}

// restoreOnPage plans a restore or begins one, and leads to its page.
func (h *Handler) restoreOnPage(w http.ResponseWriter, r *http.Request) {
	order := formOrder(r)
	err := checkOrder(r.Context(), &order)
	if err == nil {
		var status RestoreStatus
		if status, err = h.beginRestore(r.Context(), order); err == nil {
			order.ID = status.Restore.ID
		}
	}
	h.backTo(w, r, "/restores/"+url.PathEscape(order.ID), err)
}

// formOrder reads the form of a run's page, or of a plan's.
func formOrder(r *http.Request) wflo.Restore {
	field := func(name string) string { return strings.TrimSpace(r.PostFormValue(name)) }
	order := wflo.Restore{
		ID: field("id"), WorkflowID: r.PathValue("id"), FirstRunID: field("first_run"), To: pointOf(field("to")), Mode: wflo.RestoreMode(field("mode")),
		DryRun: field("real") == "", AcceptIrreversible: field("accept") != "", NewID: field("new_id"), Plan: field("plan"),
		By: callerOf(r.Context()).id.Subject, Reason: strings.ReplaceAll(field("reason"), "\r\n", " "),
	}
	if field("parts") == "some" {
		order.Parts = &wflo.Parts{Workspace: field("workspace") != ""}
		order.Parts.Tables = strings.FieldsFunc(field("tables"), func(r rune) bool { return r == ',' || r == ' ' })
	}
	return order
}

// pointOf reads a time, or else the ID or name of a snapshot.
func pointOf(to string) wflo.RestorePoint {
	if at, err := time.Parse(time.RFC3339, to); err == nil {
		return wflo.RestorePoint{Time: at}
	}
	return wflo.RestorePoint{Snapshot: to}
}

type restoreView struct {
	page
	RestoreStatus
	May may
	// To repeats what was asked for, as the form takes it; Some says that only parts of the
	// snapshot are brought back, Tables which.
	To     string
	Some   bool
	Tables string
	Once   string
	RunID  string // the workflow id of the run that goes on
}

// restorePage shows a plan with the form that carries it out, or how far a restore is.
func (h *Handler) restorePage(w http.ResponseWriter, r *http.Request) {
	if _, err := queryOf(r); err != nil {
		h.pageError(w, r, err)
		return
	}
	status, err := h.findRestore(r.Context(), r.PathValue("id"))
	if err != nil {
		h.pageError(w, r, err)
		return
	}
	order := status.Restore
	v := restoreView{
		page: h.page(r, "Restore of "+order.WorkflowID), RestoreStatus: status, May: mayOf(r.Context()), To: order.To.Snapshot, Some: order.Parts != nil, Once: recovery.NewID(),
	}
	if !order.To.Time.IsZero() {
		v.To = order.To.Time.UTC().Format(time.RFC3339Nano)
	}
	if order.Parts != nil {
		v.Tables = strings.Join(order.Parts.Tables, ",")
	}
	if i := strings.LastIndexByte(status.Into, '/'); i > 0 {
		v.RunID = status.Into[:i]
	}
	if !status.Over() {
		w.Header().Set("Refresh", "3") // a page that runs no scripts looks again by itself
	}
	h.show(w, r, http.StatusOK, "restore", v)
}

type undoView struct {
	page
	May    may
	Run    string
	State  string
	States []wflo.CompensationState
	Dead   []wflo.CompensationRecord
	Others []wflo.CompensationRecord
	More   bool
	Done   string
}

// undoPage lists compensations, those that wait for a person first.
func (h *Handler) undoPage(w http.ResponseWriter, r *http.Request) {
	q, err := queryOf(r, "state", "run", "did")
	if err != nil {
		h.pageError(w, r, err)
		return
	}
	v := undoView{page: h.page(r, "Compensations"), May: mayOf(r.Context()), Run: q.Get("run"), State: q.Get("state"), States: compensationStates, Done: undone[q.Get("did")]}
	query, err := compensationQuery(r.Context(), q)
	if err != nil {
		h.pageError(w, r, err)
		return
	}
	if len(query.States) == 0 || slices.Contains(query.States, wflo.CompensationDead) {
		dead := query
		dead.States = []wflo.CompensationState{wflo.CompensationDead}
		if v.Dead, err = h.listUndo(r.Context(), dead); err != nil {
			h.pageError(w, r, err)
			return
		}
	}
	all, err := h.listUndo(r.Context(), query)
	if err != nil {
		h.pageError(w, r, err)
		return
	}
	v.More = len(all) == someRecovery || len(v.Dead) == someRecovery
	v.Others = slices.DeleteFunc(all, func(c wflo.CompensationRecord) bool { return c.State == wflo.CompensationDead })
	h.show(w, r, http.StatusOK, "compensations", v)
}

// undone says what was just decided.
var undone = map[string]string{
	undoRetry: "It is being tried again. Load the page to see how it went.", undoResolve: "It counts as undone.", undoSkip: "The effect stays, and nobody undoes it.",
}

func (h *Handler) undoOnPage(what string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		reason := strings.ReplaceAll(strings.TrimSpace(r.PostFormValue("reason")), "\r\n", " ")
		_, err := h.doUndo(r.Context(), r.PathValue("id"), what, callerOf(r.Context()).id.Subject, reason)
		back := url.Values{"did": {what}}
		if run := r.PostFormValue("run"); run != "" {
			back.Set("run", run)
		}
		h.backTo(w, r, "/compensations?"+back.Encode(), err)
	}
}

// byteCount is a size for people.
func byteCount(n int64) string {
	const unit = 1024
	switch {
	case n < unit:
		return fmt.Sprintf("%d B", n)
	case n < unit*unit:
		return fmt.Sprintf("%d KiB", n/unit)
	case n < unit*unit*unit:
		return fmt.Sprintf("%d MiB", n/unit/unit)
	}
	return fmt.Sprintf("%d GiB", n/unit/unit/unit)
}

// stateText is the state of a compensation or a restore, in words.
func stateText(state any) string {
	text := strings.ReplaceAll(wflo.VisibleLine(fmt.Sprint(state)), "_", " ")
	return cmp.Or(text, "unknown")
}
