package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"github.com/wflo-ai/wflo-go"
)

// Bounds of one request.
const (
	maxBody  = 64 << 10
	maxRuns  = 100
	deadline = 15 * time.Second
)

// NewHandler is the API without a listener.
func NewHandler(cfg Config) http.Handler {
	h := &handler{cfg: cfg}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", h.health)
	mux.Handle("GET /metrics", cfg.Metrics)
	mux.HandleFunc("GET /api/v1/runs", h.json(h.runs))
	mux.HandleFunc("GET /api/v1/runs/{id}", h.json(h.run))
	mux.HandleFunc("GET /api/v1/runs/{id}/ledger", h.json(h.ledger))
	mux.HandleFunc("GET /api/v1/approvals", h.json(h.approvals))
	mux.HandleFunc("POST /api/v1/runs/{id}/decisions", h.json(h.decide))
	h.budgetRoutes(mux)
	h.holdRoutes(mux)
	if cfg.Gateway != nil {
		mux.Handle("/v1/", cfg.Gateway)
	}
	return http.NewCrossOriginProtection().Handler(mux)
}

type handler struct{ cfg Config }

// Run is one run in a list.
type Run struct {
	ID       string    `json:"id"`
	RunID    string    `json:"run_id"`
	Workflow string    `json:"workflow"`
	Status   string    `json:"status"` // Temporal's: Running, Completed, ...
	Started  time.Time `json:"started"`
	Closed   time.Time `json:"closed,omitzero"`
}

// RunDetail is one run in full.
type RunDetail struct {
	Run
	// Detail is the run's own account; absent when no worker answers for it.
	Detail *wflo.Status `json:"detail,omitempty"`
	// Spend is the run's budget in the ledger.
	Spend wflo.Spend `json:"spend"`
}

// Problem is the body of every failure.
type Problem struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// json answers with what fn returns, or with a Problem.
func (h *handler) json(fn func(ctx context.Context, r *http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), deadline)
		defer cancel()
		out, err := fn(ctx, r)
		status := http.StatusOK
		if err != nil {
			var p Problem
			status, p = problem(err)
			out = p
			if status == http.StatusInternalServerError {
				h.cfg.Logger.ErrorContext(ctx, "API", "path", r.URL.Path, "error", err.Error())
			}
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.WriteHeader(status)
		if err := json.NewEncoder(w).Encode(out); err != nil {
			h.cfg.Logger.WarnContext(ctx, "write answer", "error", err.Error())
		}
	}
}

func problem(err error) (int, Problem) {
	var gone *serviceerror.NotFound
	var app *temporal.ApplicationError
	var own *wflo.Error
	var nothing *absent
	switch {
	case errors.As(err, &nothing):
		return http.StatusNotFound, Problem{Code: "not_found", Message: nothing.message, Hint: nothing.hint}
	case errors.As(err, &gone):
		return http.StatusNotFound, Problem{Code: "not_found", Message: "no such run", Hint: "list the runs at /api/v1/runs"}
	case errors.As(err, &own):
		return http.StatusUnprocessableEntity, Problem{Code: string(own.Code), Message: own.Message, Hint: own.Hint}
	case errors.As(err, &app):
		var hint string
		if app.HasDetails() {
			_ = app.Details(&hint) // another kind of detail is not for here
		}
		return http.StatusUnprocessableEntity, Problem{Code: app.Type(), Message: app.Message(), Hint: hint}
	}
	return http.StatusInternalServerError, Problem{Code: "internal", Message: "the request failed; the worker's log says why"}
}

func (h *handler) health(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
	defer cancel()
	if _, err := h.cfg.Client.CheckHealth(ctx, &client.CheckHealthRequest{}); err != nil {
		http.Error(w, "Temporal does not answer", http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

func (h *handler) runs(ctx context.Context, _ *http.Request) (any, error) {
	return h.list(ctx, "")
}

func (h *handler) list(ctx context.Context, query string) ([]Run, error) {
	res, err := h.cfg.Client.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{PageSize: maxRuns, Query: query})
	if err != nil {
		return nil, fmt.Errorf("list runs: %w", err)
	}
	runs := make([]Run, 0, len(res.GetExecutions()))
	for _, e := range res.GetExecutions() {
		run := Run{
			ID: e.GetExecution().GetWorkflowId(), RunID: e.GetExecution().GetRunId(),
			Workflow: e.GetType().GetName(), Status: e.GetStatus().String(), Started: e.GetStartTime().AsTime(),
		}
		if e.GetCloseTime() != nil {
			run.Closed = e.GetCloseTime().AsTime()
		}
		runs = append(runs, run)
	}
	return runs, nil
}

func (h *handler) run(ctx context.Context, r *http.Request) (any, error) {
	id := r.PathValue("id")
	d, err := h.cfg.Client.DescribeWorkflowExecution(ctx, id, "")
	if err != nil {
		return nil, fmt.Errorf("describe %s: %w", id, err)
	}
	info := d.GetWorkflowExecutionInfo()
	out := RunDetail{Run: Run{
		ID: id, RunID: info.GetExecution().GetRunId(), Workflow: info.GetType().GetName(),
		Status: info.GetStatus().String(), Started: info.GetStartTime().AsTime(),
	}}
	if info.GetCloseTime() != nil {
		out.Closed = info.GetCloseTime().AsTime()
	}
	var s wflo.Status
	if h.query(ctx, id, wflo.QueryStatus, &s) == nil {
		out.Detail = &s
	}
	out.Spend, err = h.cfg.Ledger.Spend(ctx, wflo.RunBudgetID(id+"/"+info.GetFirstRunId()))
	if err != nil {
		return nil, fmt.Errorf("read spend of %s: %w", id, err)
	}
	return out, nil
}

func (h *handler) ledger(ctx context.Context, r *http.Request) (any, error) {
	id := r.PathValue("id")
	d, err := h.cfg.Client.DescribeWorkflowExecution(ctx, id, "")
	if err != nil {
		return nil, fmt.Errorf("describe %s: %w", id, err)
	}
	entries, err := h.cfg.Ledger.Entries(ctx, id+"/"+d.GetWorkflowExecutionInfo().GetFirstRunId())
	if err != nil {
		return nil, fmt.Errorf("read ledger of %s: %w", id, err)
	}
	if entries == nil {
		entries = []wflo.Entry{}
	}
	return entries, nil
}

func (h *handler) approvals(ctx context.Context, _ *http.Request) (any, error) {
	runs, err := h.list(ctx, fmt.Sprintf("ExecutionStatus = '%s' AND %s = '%s'",
		enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, wflo.AttrState, wflo.StateWaiting))
	if err != nil {
		return nil, err
	}
	gates := []wflo.Gate{}
	for _, r := range runs {
		var of []wflo.Gate
		if err := h.query(ctx, r.ID, wflo.QueryGates, &of); err != nil {
			return nil, fmt.Errorf("ask %s for its gates: %w", r.ID, err)
		}
		for _, g := range of {
			if g.Status == wflo.GateOpen {
				gates = append(gates, g)
			}
		}
	}
	return gates, nil
}

func (h *handler) decide(ctx context.Context, r *http.Request) (any, error) {
	var d wflo.Decision
	if err := body(r, "decision", "send a JSON decision with gate, epoch, digest, verdict and by", &d); err != nil {
		return nil, err
	}
	u, err := h.cfg.Client.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{
		WorkflowID: r.PathValue("id"), UpdateName: wflo.UpdateDecide, Args: []any{d}, WaitForStage: client.WorkflowUpdateStageCompleted,
	})
	if err != nil {
		return nil, fmt.Errorf("decide: %w", err)
	}
	var g wflo.Gate
	if err := u.Get(ctx, &g); err != nil {
		return nil, fmt.Errorf("decide: %w", err)
	}
	return g, nil
}

func (h *handler) query(ctx context.Context, id, name string, out any) error {
	v, err := h.cfg.Client.QueryWorkflow(ctx, id, "", name)
	if err != nil {
		return err
	}
	return v.Get(out)
}
