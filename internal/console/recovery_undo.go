package console

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

// What a person does about a dead letter, as paths name it.
const (
	undoRetry   = "retry"
	undoResolve = "resolve"
	undoSkip    = "skip"
)

// CompensationDecision is the body that decides about a dead letter.
type CompensationDecision struct {
	// Reason is required to resolve and to skip; it is recorded.
	Reason string `json:"reason,omitempty"`
}

var compensationStates = []wflo.CompensationState{
	wflo.CompensationDead, wflo.CompensationRunning, wflo.CompensationRegistered, wflo.CompensationExecuted, wflo.CompensationUnknown,
	wflo.CompensationKept, wflo.CompensationDone, wflo.CompensationSkipped,
}

func compensationQuery(ctx context.Context, q url.Values) (query activities.CompensationQuery, err error) {
	query = activities.CompensationQuery{Org: callerOf(ctx).id.Org, WorkflowID: q.Get("run"), After: q.Get("after")}
	if given := q.Get("state"); given != "" {
		for one := range strings.SplitSeq(given, ",") {
			state := wflo.CompensationState(one)
			if !slices.Contains(compensationStates, state) {
				return query, wflo.Invalid("state", fmt.Sprintf("is %q", one), "use dead_letter, compensating, registered, executed, unknown, kept, compensated or skipped")
			}
			query.States = append(query.States, state)
		}
	}
	query.Limit, err = count(q, "limit", someRecovery, mostRecovery)
	return query, err
}

// shown leaves out what the undoing activity is told: it may be personal, and nobody
// decides by it.
func shown(r wflo.CompensationRecord) wflo.CompensationRecord {
	r.Input, r.ProbeInput, r.Run.Lines = nil, nil, nil
	return r
}

// compensations lists them, the latest changed first.
func (h *Handler) compensations(ctx context.Context, r *http.Request) (any, error) {
	q, err := queryOf(r, "state", "run", "after", "limit")
	if err != nil {
		return nil, err
	}
	query, err := compensationQuery(ctx, q)
	if err != nil {
		return nil, err
	}
	return h.listUndo(ctx, query)
}

func (h *Handler) listUndo(ctx context.Context, q activities.CompensationQuery) ([]wflo.CompensationRecord, error) {
	rows, err := h.back.undo.List(ctx, q)
	if err != nil {
		return nil, err
	}
	out := make([]wflo.CompensationRecord, 0, len(rows))
	for _, r := range rows {
		out = append(out, shown(r))
	}
	return out, nil
}

// ownUndo reads one; one of another org is as absent as none.
func (h *Handler) ownUndo(ctx context.Context, id string) (wflo.CompensationRecord, error) {
	r, err := h.back.store.Compensation(ctx, id)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !mayUse(ctx, r.Run.Org) {
		return wflo.CompensationRecord{}, &absent{"no such compensation", "list them at /api/v1/compensations"}
	}
	if err != nil {
		return r, fmt.Errorf("read compensation: %w", err)
	}
	return shown(r), nil
}

func (h *Handler) compensation(ctx context.Context, r *http.Request) (any, error) {
	if _, err := queryOf(r); err != nil {
		return nil, err
	}
	return h.ownUndo(ctx, r.PathValue("id"))
}

// decideUndo takes what a person decides about a dead letter.
func (h *Handler) decideUndo(what string) func(context.Context, *http.Request) (any, error) {
	return func(ctx context.Context, r *http.Request) (any, error) {
		by, err := user(r)
		if err != nil {
			return nil, err
		}
		var given CompensationDecision
		if r.ContentLength != 0 {
			if err := body(r, "decision", "send JSON with reason", &given); err != nil {
				return nil, err
			}
		}
		return h.doUndo(ctx, r.PathValue("id"), what, by, given.Reason)
	}
}

// doUndo carries a decision out. A retry is begun, not awaited: the record says how it
// went.
func (h *Handler) doUndo(ctx context.Context, id, what, by, reason string) (wflo.CompensationRecord, error) {
	if err := text("reason", reason); err != nil {
		return wflo.CompensationRecord{}, err
	}
	if _, err := h.ownUndo(ctx, id); err != nil {
		return wflo.CompensationRecord{}, err
	}
	var err error
	var r wflo.CompensationRecord
	switch what {
	case undoRetry:
		if _, err = h.back.undo.Retry(ctx, id, by); err == nil {
			r, err = h.ownUndo(ctx, id)
		}
	case undoResolve:
		r, err = h.back.undo.Resolve(ctx, id, by, reason)
	case undoSkip:
		r, err = h.back.undo.Skip(ctx, id, by, reason)
	}
	return shown(r), err
}
