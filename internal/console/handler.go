package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/auth"
	"github.com/wflo-ai/wflo-go/internal/desk"
)

const deadline = 15 * time.Second

// Handler is the console without a listener. Wait for it after the last request.
type Handler struct {
	cfg   Config
	mux   http.Handler
	limit *limit
	// changes bounds what one person changes.
	changes *limit
	// attempts slows down who guesses passwords.
	attempts *auth.Limiter
	// formToken is what forms repeat where there are no sessions.
	formToken string
	login     string
	clicks    clicks
	back      *back // nil where nothing is kept to go back to
	tells     teller
	streams   *streams
}

// NewHandler makes the console without a listener.
func NewHandler(cfg Config) *Handler {
	h := newHandler(cfg)
	if counts, ok := cfg.Metrics.(interface{ EventStreams(now func() int) }); ok {
		counts.EventStreams(h.streams.following)
	}
	mux := http.NewServeMux()
	for _, rt := range h.routes() {
		mux.HandleFunc(rt.Pattern, h.guard(rt))
	}
	if cfg.Gateway != nil {
		mux.HandleFunc("/v1/", func(w http.ResponseWriter, r *http.Request) {
			// A stream lasts; the connection may have served a page before.
			_ = http.NewResponseController(w).SetWriteDeadline(time.Time{})
			cfg.Gateway.ServeHTTP(w, r)
		})
	}
	h.mux = http.NewCrossOriginProtection().Handler(mux)
	return h
}

func newHandler(cfg Config) *Handler {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Ambient != nil && cfg.Auth == nil {
		cfg.Auth = auth.Nobody // else everybody beside the proxy would be let in
	}
	return &Handler{
		cfg: cfg, limit: newLimit(cfg.Rate), changes: changing(cfg.Rate), attempts: auth.NewLimiter(auth.LimiterConfig{Now: cfg.Now}),
		formToken: token(), login: osLogin(), clicks: newClicks(), back: recoveryOf(cfg), tells: tellerOf(cfg), streams: newStreams(cfg.Logger),
	}
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	secure(w, r) // what no route answers, too
	h.mux.ServeHTTP(w, r)
}

// Wait ends what follows runs, and returns when that is done and every decision that
// came from Slack is through.
func (h *Handler) Wait() {
	h.streams.wait()
	h.clicks.wait()
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
func (h *Handler) json(fn func(ctx context.Context, r *http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		out, err := fn(r.Context(), r)
		status := http.StatusOK
		if err != nil {
			var p Problem
			status, p = problem(err)
			out = p
			if status == http.StatusInternalServerError {
				h.cfg.Logger.ErrorContext(r.Context(), "API", "path", r.URL.Path, "error", err.Error())
			}
		}
		h.write(w, r, status, out)
	}
}

func (h *Handler) write(w http.ResponseWriter, r *http.Request, status int, out any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(out); err != nil {
		h.cfg.Logger.WarnContext(r.Context(), "write answer", "error", err.Error())
	}
}

func problem(err error) (int, Problem) {
	var gone *serviceerror.NotFound
	var app *temporal.ApplicationError
	var own *wflo.Error
	var nothing *absent
	var late *clash
	var slow *auth.LimitedError
	switch {
	case errors.Is(err, errNobody):
		return http.StatusUnauthorized, Problem{Code: "unauthenticated", Message: "log in first", Hint: "send an API key as Authorization: Bearer wflo_..., or log in at /login"}
	case errors.As(err, &slow):
		return http.StatusTooManyRequests, Problem{Code: "limited", Message: slow.Error()}
	case errors.Is(err, auth.ErrNoRole), errors.Is(err, errDenied), errors.Is(err, desk.ErrForbidden):
		return http.StatusForbidden, worded("forbidden", err)
	case errors.Is(err, auth.ErrRefused):
		return http.StatusUnauthorized, worded("unauthenticated", err)
	case errors.Is(err, desk.ErrUnavailable), errors.Is(err, auth.ErrUnavailable), errors.Is(err, errCrowded):
		return http.StatusServiceUnavailable, worded("unavailable", err)
	case errors.Is(err, desk.ErrUnconfirmed), errors.Is(err, errWaiting):
		return http.StatusGatewayTimeout, worded("unconfirmed", err)
	case errors.Is(err, desk.ErrNotFound):
		return http.StatusNotFound, worded("not_found", err)
	case errors.As(err, &nothing):
		return http.StatusNotFound, Problem{Code: "not_found", Message: nothing.message, Hint: nothing.hint}
	case errors.As(err, &late):
		return http.StatusConflict, Problem{Code: string(wflo.CodeConflict), Message: late.message, Hint: late.hint}
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

// worded is the problem of an error that says itself what is wrong and what to do.
func worded(code string, err error) Problem {
	var own *wflo.Error
	if !errors.As(err, &own) {
		return Problem{Code: code, Message: "the request was refused"}
	}
	return Problem{Code: code, Message: own.Message, Hint: own.Hint}
}

func (h *Handler) health(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
	defer cancel()
	if _, err := h.cfg.Client.CheckHealth(ctx, &client.CheckHealthRequest{}); err != nil {
		http.Error(w, "Temporal does not answer", http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

func (h *Handler) run(ctx context.Context, r *http.Request) (any, error) {
	id := r.PathValue("id")
	d, err := h.cfg.Client.DescribeWorkflowExecution(ctx, id, "")
	if err != nil {
		return nil, fmt.Errorf("describe %s: %w", id, err)
	}
	info := d.GetWorkflowExecutionInfo()
	if err := ownRun(ctx, info); err != nil {
		return nil, err
	}
	out := RunDetail{Run: runOf(info)}
	var s wflo.Status
	if h.query(ctx, id, wflo.QueryStatus, &s) == nil {
		out.Detail = &s
	}
	budget := wflo.RunBudgetID(id + "/" + info.GetFirstRunId())
	if out.Detail != nil && out.Detail.Run.WorkflowID == id {
		budget = s.Run.BudgetID()
	}
	out.Spend, err = h.cfg.Ledger.Spend(ctx, budget)
	if err != nil {
		return nil, fmt.Errorf("read spend of %s: %w", id, err)
	}
	return out, nil
}

func (h *Handler) ledger(ctx context.Context, r *http.Request) (any, error) {
	id := r.PathValue("id")
	d, err := h.cfg.Client.DescribeWorkflowExecution(ctx, id, "")
	if err != nil {
		return nil, fmt.Errorf("describe %s: %w", id, err)
	}
	if err := ownRun(ctx, d.GetWorkflowExecutionInfo()); err != nil {
		return nil, err
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

func (h *Handler) query(ctx context.Context, id, name string, out any) error {
	v, err := h.cfg.Client.QueryWorkflow(ctx, id, "", name)
	if err != nil {
		return err
	}
	return v.Get(out)
}
