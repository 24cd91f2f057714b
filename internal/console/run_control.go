package console

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

// What a person tells a run, as paths and forms name it.
const (
	tellHalt   = "halt"
	tellCancel = "cancel"
)

// tellTries is how often a run is told again that went on as a new one meanwhile.
const tellTries = 3

// ControlRequest is the body that halts or cancels a run.
type ControlRequest struct {
	// Reason is required to halt; it is recorded.
	Reason string `json:"reason,omitempty"`
}

// RunControl says what became of a halt or a cancellation.
type RunControl struct {
	ID string `json:"id"`
	// RunID is that of the run that was told.
	RunID string `json:"run_id"`
	// State is halting or cancelling, as long as the run has not ended by it; then it is
	// halted or cancelled.
	State  string `json:"state"`
	By     string `json:"by"`
	Reason string `json:"reason,omitempty"`
	// Recorded says that the trail has it. An emergency stop does not wait for a database
	// that is down; a cancellation does.
	Recorded bool `json:"recorded"`
}

// clash is the error for what can no longer be done: status 409.
type clash struct{ message, hint string }

func (e *clash) Error() string { return e.message }

// trailOf is where the installation writes down what people do; nil for nowhere.
func trailOf(cfg Config) activities.Audit {
	if cfg.Desk != nil {
		return cfg.Desk.Records
	}
	if l, ok := cfg.Ledger.(interface{ Records() activities.Records }); ok {
		return l.Records()
	}
	return nil
}

// controlRoutes are for those who stop runs. Where nobody could account for it, nobody
// can.
func (h *Handler) controlRoutes() []Route {
	if trailOf(h.cfg) == nil {
		return nil
	}
	all := []Route{
		{Pattern: "POST /api/v1/runs/{id}/cancel", Role: operator, Tenants: true, serve: h.json(h.control(tellCancel))},
		{Pattern: "POST /api/v1/runs/{id}/halt", Role: operator, Tenants: true, serve: h.json(h.control(tellHalt))},
	}
	if h.cfg.Desk != nil && h.tells != nil {
		all = append(all,
			Route{Pattern: "GET /runs/{id}/stop", Role: operator, Tenants: true, page: true, serve: h.stopPage},
			Route{Pattern: "POST /runs/{id}/stop", Role: operator, Tenants: true, page: true, serve: h.stopOnPage})
	}
	return all
}

// control halts or cancels a run, as the API is asked.
func (h *Handler) control(what string) func(context.Context, *http.Request) (any, error) {
	return func(ctx context.Context, r *http.Request) (any, error) {
		if _, err := queryOf(r); err != nil {
			return nil, err
		}
		by, err := user(r)
		if err != nil {
			return nil, err
		}
		var given ControlRequest
		if r.ContentLength != 0 {
			if err := body(r, "request", "send JSON with reason", &given); err != nil {
				return nil, err
			}
		}
		return h.tell(ctx, r, what, by, given.Reason, channelAPI)
	}
}

// tell has a run halt or asks it to end, once it is on record who wanted that and why.
// The same again changes nothing.
func (h *Handler) tell(ctx context.Context, r *http.Request, what, by, reason, channel string) (out RunControl, err error) {
	reason = strings.TrimSpace(reason)
	if err := text("reason", reason); err != nil {
		return out, err
	}
	if reason == "" && what == tellHalt {
		return out, wflo.Invalid("reason", "is missing", "say why, for whoever finds the run halted")
	}
	out = RunControl{ID: r.PathValue("id"), By: by, Reason: reason}
	for range tellTries {
		info, _, err := h.describe(ctx, out.ID, "")
		if err != nil {
			return out, err
		}
		out.RunID = info.GetExecution().GetRunId()
		if !isOpen(info) {
			return ended(what, out, info)
		}
		about := wflo.AuditControl{RunID: out.RunID, Reason: reason, Channel: channel, Address: address(r)}
		if err := h.recordControl(ctx, what, by, about, info); err != nil {
			h.cfg.Logger.ErrorContext(ctx, "a stop is not on record", "what", what, "run", out.ID, "by", by, "error", err.Error())
			if what != tellHalt {
				return out, err
			}
		} else {
			out.Recorded = true
		}
		if out.State, err = h.send(ctx, what, out); err == nil {
			return out, nil
		}
		var gone *serviceerror.NotFound
		if !errors.As(err, &gone) {
			return out, fmt.Errorf("%s %s: %w", what, out.ID, err)
		}
		// It has ended, or goes on as a new run: look again.
	}
	return out, &clash{"run " + out.ID + " goes on as a new run again and again, and was not told", "try again"}
}

// send tells the one run. Its id keeps another one of the same name, which may be
// somebody else's, from being told.
func (h *Handler) send(ctx context.Context, what string, c RunControl) (state string, err error) {
	if what == tellHalt {
		return "halting", h.cfg.Client.SignalWorkflow(ctx, c.ID, c.RunID, wflo.SignalHalt, wflo.Halt{By: c.By, Reason: c.Reason})
	}
	err = h.cfg.Client.CancelWorkflow(ctx, c.ID, c.RunID)
	var asked *serviceerror.CancellationAlreadyRequested
	if errors.As(err, &asked) {
		err = nil
	}
	return "cancelling", err
}

// ended answers about a run that cannot be told any more. One that ended in the way that
// was asked for is as good as told, so that a request can be repeated.
func ended(what string, out RunControl, info *workflowpb.WorkflowExecutionInfo) (RunControl, error) {
	now := runOf(info)
	switch {
	case what == tellHalt && now.State == wflo.StateHalted:
		out.State = string(wflo.StateHalted)
	case what == tellCancel && info.GetStatus() == enumspb.WORKFLOW_EXECUTION_STATUS_CANCELED:
		out.State = "cancelled"
	default:
		return out, &clash{fmt.Sprintf("run %s has ended: %s", out.ID, strings.ToLower(now.Status)), "there is nothing to stop; see: wflo status " + out.ID}
	}
	return out, nil
}

// recordControl writes down who stops a run. The id of the event is the same for the
// same request of the same person, which is on record once.
func (h *Handler) recordControl(ctx context.Context, what, by string, about wflo.AuditControl, info *workflowpb.WorkflowExecutionInfo) error {
	kind := wflo.AuditRunCancelAsked
	if what == tellHalt {
		kind = wflo.AuditRunHalted
	}
	data, err := json.Marshal(about)
	if err != nil {
		return fmt.Errorf("encode what %s does: %w", by, err)
	}
	id := sha256.Sum256([]byte(strings.Join([]string{string(kind), about.RunID, by, about.Reason}, "\x00")))
	if err := trailOf(h.cfg).Append(ctx, wflo.AuditEvent{
		ID: string(kind) + "/" + hex.EncodeToString(id[:16]), Chain: wflo.Run{Org: runOf(info).Org}.AuditChain(), At: h.cfg.Now(), Type: kind,
		Severity: wflo.SeverityWarning, Actor: by, WorkflowID: info.GetExecution().GetWorkflowId(), FirstRunID: info.GetFirstRunId(), Data: data,
	}); err != nil {
		return fmt.Errorf("record who stops the run: %w", err)
	}
	return nil
}

type stopView struct {
	page
	ID, Workflow string
	// Undo is how many effects would be undone by halting.
	Undo   int
	Reason string
	What   string // what was chosen
	// Wrong is what the form lacks.
	Wrong *wflo.Error
}

// stopPage asks how a run is to be stopped. Nothing happens by looking at it.
func (h *Handler) stopPage(w http.ResponseWriter, r *http.Request) {
	if _, err := queryOf(r); err != nil {
		h.pageError(w, r, err)
		return
	}
	h.showStop(w, r, http.StatusOK, stopView{What: tellHalt})
}

func (h *Handler) showStop(w http.ResponseWriter, r *http.Request, status int, v stopView) {
	ctx, id := r.Context(), r.PathValue("id")
	info, _, err := h.describe(ctx, id, "")
	if err == nil && !isOpen(info) {
		_, err = ended("", RunControl{ID: id}, info)
	}
	if err != nil {
		h.pageError(w, r, err)
		return
	}
	v.page, v.ID, v.Workflow = h.page(r, "Stop "+id), id, info.GetType().GetName()
	if head, err := h.tells.Head(ctx, id, info.GetExecution().GetRunId()); err == nil { // the page can do without
		v.Undo = head.Undo[wflo.CompensationExecuted] + head.Undo[wflo.CompensationUnknown]
	}
	h.show(w, r, status, "stop", v)
}

// stopOnPage halts or cancels a run, for a form that says so twice: by its choice, and
// by a box that nobody ticks in passing.
func (h *Handler) stopOnPage(w http.ResponseWriter, r *http.Request) {
	what, reason := r.PostFormValue("what"), strings.ReplaceAll(strings.TrimSpace(r.PostFormValue("reason")), "\r\n", " ")
	var err error
	switch {
	case what != tellHalt && what != tellCancel:
		err = wflo.Invalid("what", fmt.Sprintf("is %q", what), "choose whether to halt or to cancel")
	case r.PostFormValue("sure") == "":
		err = wflo.Invalid("the box", "is not ticked", "tick it, or go back to the run")
	default:
		_, err = h.tell(r.Context(), r, what, callerOf(r.Context()).id.Subject, reason, channelPage)
	}
	var wrong *wflo.Error
	if errors.As(err, &wrong) && wflo.CodeOf(err) == wflo.CodeInvalid {
		h.showStop(w, r, http.StatusUnprocessableEntity, stopView{Wrong: wrong, Reason: reason, What: cmp.Or(what, tellHalt)})
		return
	}
	h.backTo(w, r, storyPath(r.PathValue("id")), err)
}
