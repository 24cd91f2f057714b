package activities

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"time"

	"go.temporal.io/sdk/activity"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
)

// Approval opens and closes gates. Its methods are registered as activities.
type Approval struct {
	// Terms are the worker's conditions for decisions.
	Terms wflo.Terms
	// Logger gets one line when a gate opens and one when it ends. Required.
	Logger *slog.Logger
	// Observer counts. Required.
	Observer Observer
}

// Open draws the gate's nonce and computes its digest. The nonce follows from
// the step's effect and Temporal's run id: every attempt of this opening gives
// the same gate, and a run that was reset to before it gives another, for which
// old decisions do not count.
func (a *Approval) Open(ctx context.Context, g wflo.Gate) (step.Opening, error) {
	if len(a.Terms.Keys) == 0 && !a.Terms.AllowUnsigned {
		return step.Opening{}, wflo.Errorf(wflo.CodeInvalid, "configure approver keys, or allow unsigned decisions for development",
			"gate %s could never be decided: the worker trusts no approver key", g.ID)
	}
	run, _ := wflo.RunFrom(ctx)
	sum := sha256.Sum256([]byte(string(run.EffectKey()) + ":" + activity.GetInfo(ctx).WorkflowExecution.RunID))
	g.Nonce = hex.EncodeToString(sum[:16])
	g.Digest = g.ComputeDigest()
	a.Observer.ApprovalOpened()
	a.Logger.InfoContext(ctx, "gate opened", "gate", g.ID, "action", g.Approval.Action, "digest", g.Digest, "expires", g.ExpiresAt)
	return step.Opening{Gate: g, Terms: a.Terms}, nil
}

// Close records how a gate ended.
func (a *Approval) Close(ctx context.Context, g wflo.Gate) (step.None, error) {
	status, by := string(g.Status), ""
	if g.Decision != nil {
		by = g.Decision.By
	}
	a.Observer.ApprovalClosed(g.Status, time.Since(g.OpenedAt))
	a.Logger.InfoContext(ctx, "gate closed", "gate", g.ID, "status", status, "by", by, "refused", g.Refused)
	return step.None{}, nil
}
