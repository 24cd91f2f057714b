package console

import (
	"context"
	"fmt"
	"net/http"
	"strconv"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/desk"
)

// Channels by which decisions come in, as the trail names them.
const (
	channelAPI   = "api"
	channelPage  = "page"
	channelSlack = "slack"
)

// approvals lists gates: from the index, or without a desk from the runs that wait.
// The item that was seen last is where a client reads on, with after.
func (h *Handler) approvals(ctx context.Context, r *http.Request) (any, error) {
	if h.cfg.Desk == nil {
		return h.openGates(ctx)
	}
	q, err := queryOf(r, "mine", "closed", "workflow", "approver", "after", "limit")
	if err != nil {
		return nil, err
	}
	query := desk.Query{WorkflowID: q.Get("workflow"), Approver: q.Get("approver"), After: q.Get("after")}
	if query.Limit, err = count(q, "limit", 100, desk.MostItems); err != nil {
		return nil, err
	}
	for name, into := range map[string]*bool{"mine": &query.Mine, "closed": &query.Closed} {
		if *into, err = yes(q.Get(name)); err != nil {
			return nil, wflo.Invalid(name, fmt.Sprintf("is %q", q.Get(name)), "use true or false")
		}
	}
	return h.cfg.Desk.Inbox(ctx, callerOf(ctx).id, query)
}

func yes(value string) (bool, error) {
	if value == "" {
		return false, nil
	}
	return strconv.ParseBool(value)
}

// openGates asks every run that waits. Callers of one org need the index, which
// knows whose a gate is.
func (h *Handler) openGates(ctx context.Context) (any, error) {
	if callerOf(ctx).id.Org != "" {
		return nil, denied("this worker does not keep gates apart by org", "ask an administrator to configure its records")
	}
	runs, _, err := h.list(ctx, fmt.Sprintf("ExecutionStatus = '%s' AND %s = '%s'",
		enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, wflo.AttrState, wflo.StateWaiting), someRuns, nil)
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

func (h *Handler) approval(_ context.Context, r *http.Request) (any, error) {
	if _, err := queryOf(r); err != nil {
		return nil, err
	}
	return h.look(r)
}

// decide makes a decision of the caller and signs it.
func (h *Handler) decide(ctx context.Context, r *http.Request) (any, error) {
	if err := h.maySign(ctx); err != nil {
		return nil, err
	}
	var req desk.Request
	if err := body(r, "decision", "send JSON with digest and verdict, and reason, text, form, edit or id where they are needed", &req); err != nil {
		return nil, err
	}
	nonce := r.PathValue("nonce")
	if req.Nonce != "" && req.Nonce != nonce {
		return nil, wflo.Invalid("decision.nonce", "is not that of the path", "leave it out, or name the same gate")
	}
	req.Nonce, req.Origin = nonce, desk.Origin{Channel: channelAPI, Address: address(r)}
	g, err := h.cfg.Desk.Decide(ctx, callerOf(ctx).id, req)
	if err != nil {
		return nil, err
	}
	return g, nil
}

// maySign refuses to sign for somebody who has proved nothing, but in development.
func (h *Handler) maySign(ctx context.Context) error {
	if callerOf(ctx).proved || h.cfg.Insecure {
		return nil
	}
	return denied("nobody has proved who decides", "configure how people log in, or decide with `wflo approve` and a key of your own")
}

// forward passes a decision on that is signed already, or that its gate takes
// without a signature.
func (h *Handler) forward(ctx context.Context, r *http.Request) (any, error) {
	var d wflo.Decision
	if err := body(r, "decision", "send a JSON decision with gate, epoch, digest, verdict and by", &d); err != nil {
		return nil, err
	}
	c := callerOf(ctx)
	if h.cfg.Desk != nil {
		if !c.proved {
			c.id.Subject = d.By // nobody can prove anything here; the gate judges
		}
		return h.cfg.Desk.Forward(ctx, c.id, r.PathValue("id"), d, desk.Origin{Channel: channelAPI, Address: address(r)})
	}
	if c.proved && (c.id.Org != "" || d.Signature == "" && d.By != c.id.Subject) {
		return nil, denied(c.id.Subject+" cannot pass this decision on", "decide in your own name, or sign the decision")
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
