package console

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/story"
)

// teller tells what happened to runs, as *story.Teller does.
type teller interface {
	Head(ctx context.Context, workflowID, runID string) (story.Head, error)
	Rows(ctx context.Context, q story.Query) (story.Page, error)
	Detail(ctx context.Context, workflowID, runID, rowID string) (story.Detail, error)
}

// Links lead elsewhere. In each, {namespace}, {workflow_id}, {run_id} and {trace_id} stand
// for those of a run, escaped as parts of a path.
type Links struct {
	// Temporal is a run in Temporal's Web UI, such as
	// http://127.0.0.1:8233/namespaces/{namespace}/workflows/{workflow_id}/{run_id}.
	Temporal string
	// Trace is a trace, such as https://jaeger.example.com/trace/{trace_id}.
	Trace string
}

// runPages are those of runs.
func (h *Handler) runPages() []Route {
	all := []Route{{Pattern: "GET /runs", Role: viewer, Tenants: true, page: true, serve: h.runsPage}}
	if h.tells == nil {
		return all
	}
	return append(all,
		Route{Pattern: "GET /runs/{id}", Role: viewer, Tenants: true, page: true, serve: h.storyPage},
		Route{Pattern: "GET /runs/{id}/rows/{row}", Role: viewer, Tenants: true, page: true, serve: h.rowPage},
	)
}

const runsPageSize = 50

type runsView struct {
	page
	Filter runFilter
	// From and To are the times as they were given.
	From, To string
	Filtered bool
	States   []wflo.RunState
	Runs     []runRow
	Now      time.Time
	First    string // the address of the first page; empty there
	Next     string // that of the next; empty on the last
}

// runRow is a run in the list.
type runRow struct {
	Run
	// Ledger is the run's budget; nil where the ledger has none.
	Ledger *meterBar
	Took   string
	Left   string // until the first gate times out
}

func (h *Handler) runsPage(w http.ResponseWriter, r *http.Request) {
	f, err := runFilterOf(r, runsPageSize)
	if err != nil {
		h.pageError(w, r, err)
		return
	}
	runs, after, err := h.listRuns(r.Context(), f)
	if err != nil {
		h.pageError(w, r, err)
		return
	}
	q := r.URL.Query()
	v := runsView{page: h.page(r, "Runs"), Filter: f, From: q.Get("from"), To: q.Get("to"), States: States, Now: h.cfg.Now()}
	v.Wide = true
	v.Runs = h.runRows(r.Context(), runs, v.Now)
	if after != "" {
		v.Next = pageAfter(r.URL, after)
	}
	if len(f.After) > 0 {
		q.Del("after")
		v.First = "/runs?" + q.Encode()
	}
	for _, name := range runFilterNames {
		v.Filtered = v.Filtered || name != "after" && q.Get(name) != ""
	}
	h.show(w, r, http.StatusOK, "runs", v)
}

// runRows adds what the ledger knows. A list is shown without what cannot be read.
func (h *Handler) runRows(ctx context.Context, runs []Run, now time.Time) (rows []runRow) {
	ids := make([]string, len(runs))
	for i, run := range runs {
		ids[i] = wflo.RunBudgetID(wflo.Run{WorkflowID: run.ID, FirstRunID: cmp.Or(run.FirstRunID, run.RunID)}.ID())
	}
	spends, err := spendsOf(ctx, h.cfg.Ledger, ids)
	if err != nil {
		h.cfg.Logger.WarnContext(ctx, "read spend for the list of runs", "error", err.Error())
	}
	for i, run := range runs {
		row := runRow{Run: run, Took: took(now.Sub(run.Started))}
		if !run.Closed.IsZero() {
			row.Took = took(run.Closed.Sub(run.Started))
		}
		if !run.Deadline.IsZero() {
			row.Left = left(run.Deadline, now)
		}
		if err == nil && (spends[i].Limit != 0 || spends[i].Spent != 0 || spends[i].Reserved != 0) {
			bar := barOf(spends[i])
			row.Ledger = &bar
		}
		rows = append(rows, row)
	}
	return rows
}

// spendsOf reads several budgets: at once, where the ledger can.
func spendsOf(ctx context.Context, l activities.Ledger, ids []string) (all []wflo.Spend, err error) {
	if at, ok := l.(interface {
		Spends(ctx context.Context, budgets []string) ([]wflo.Spend, error)
	}); ok {
		return at.Spends(ctx, ids)
	}
	for _, id := range ids {
		s, err := l.Spend(ctx, id)
		if err != nil {
			return nil, fmt.Errorf("read budget %s: %w", id, err)
		}
		all = append(all, s)
	}
	return all, nil
}

// mild is a state as a class of the style: how bad it is.
func mild(state any) string {
	switch strings.ToLower(stateText(state)) {
	case "completed", "done", "approved", "answered", "compensated", "allow", "ok":
		return "good"
	case "failed", "halted", "rejected", "timed out", "timeout", "revoked", "dead letter", "terminated", "halt", "deny", "denied":
		return "bad"
	case "waiting approval", "waiting", "open", "compensating", "restoring", "approval":
		return "wait"
	case "running":
		return "busy"
	}
	return "plain"
}
