package activities

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"go.temporal.io/sdk/activity"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
)

// Approval opens and closes gates. Its methods are registered as activities. Each
// writes to the trail first, then to the index of gates, then to the outbox; all
// three leave out what they have already, so that retries are harmless.
type Approval struct {
	// Terms are the worker's conditions for decisions.
	Terms wflo.Terms
	// Defaults fill in what a gate does not say.
	Defaults ApprovalDefaults
	// Records keeps gates, trail and outbox. Nil keeps nothing: gates open, nobody is
	// told, and no activity can act on an approval.
	Records Records
	// Logger gets one line when a gate opens and one when it ends. Required.
	Logger *slog.Logger
	// Observer counts. Required.
	Observer Observer
}

// ApprovalDefaults are the worker's own rules for gates. The zero value adds nothing.
type ApprovalDefaults struct {
	// FourEyes, ReasonRequired and SignedOnly hold at every gate.
	FourEyes, ReasonRequired, SignedOnly bool
	// Notify are the channels of gates that name none.
	Notify []string
	// Timeout and Expiry are those of gates that have none; zero means wflo's.
	Timeout, Expiry time.Duration
}

// fill gives a gate that is about to open what it does not say itself.
func (d ApprovalDefaults) fill(g wflo.Gate) wflo.Gate {
	a := &g.Approval
	a.FourEyes = a.FourEyes || d.FourEyes
	a.ReasonRequired = a.ReasonRequired || d.ReasonRequired
	a.SignedOnly = a.SignedOnly || d.SignedOnly
	if len(a.Notify) == 0 {
		a.Notify = d.Notify
	}
	if a.Timeout == 0 {
		if a.Timeout = d.Timeout; a.Timeout == 0 {
			a.Timeout = wflo.DefaultApprovalTimeout
		}
		g.ExpiresAt = g.OpenedAt.Add(a.Timeout)
	}
	if a.Expiry == 0 {
		a.Expiry = d.Expiry
	}
	return g
}

// Open draws the gate's nonce and computes its digest. The nonce follows from
// the step's effect, Temporal's run id and the gate's ID: every attempt of this opening gives
// the same gate, and a run that was reset to before it gives another, for which
// old decisions do not count. A gate that nobody could ever approve does not open.
func (a *Approval) Open(ctx context.Context, g wflo.Gate) (step.Opening, error) {
	if g.Version > 0 {
		g = a.Defaults.fill(g)
	}
	if err := a.decidable(g); err != nil {
		return step.Opening{}, err
	}
	run, _ := wflo.RunFrom(ctx)
	sum := sha256.Sum256([]byte(string(run.EffectKey()) + ":" + activity.GetInfo(ctx).WorkflowExecution.RunID + ":" + g.ID))
	g = g.Seal(hex.EncodeToString(sum[:16]))
	terms := a.Terms
	if g.Version > 0 {
		if err := a.record(ctx, g, wflo.NoticeAsked, g.Approval.Notify, gateEvent(g, wflo.AuditGateOpened, "opened", workerName)); err != nil {
			return step.Opening{}, fmt.Errorf("open gate %s: %w", g.ID, err)
		}
		terms = terms.Limit(g.Approval)
	}
	a.Observer.ApprovalOpened()
	a.Logger.InfoContext(ctx, "gate opened", "gate", g.ID, "action", g.Approval.Action, "digest", g.Digest, "expires", g.ExpiresAt)
	return step.Opening{Gate: g, Terms: terms}, nil
}

// decidable says why nobody could ever decide at the gate.
func (a *Approval) decidable(g wflo.Gate) error {
	signers := len(a.Terms.Keys) + len(a.Terms.Signers)
	if !a.Terms.Trusts(g.ID) || g.Approval.SignedOnly && signers == 0 {
		return wflo.Errorf(wflo.CodeInvalid, "configure approver keys, or allow unsigned decisions for development",
			"gate %s could never be decided: the worker trusts no approver key", g.ID)
	}
	if g.Version == 0 {
		return nil
	}
	if err := g.Satisfiable(a.Terms); err != nil {
		return fmt.Errorf("gate %s could never be approved: %w", g.ID, err)
	}
	return nil
}

// Tell records what happened to an open gate, and tells the channels that are to know.
func (a *Approval) Tell(ctx context.Context, t step.Telling) (step.None, error) {
	g := t.Gate
	var events []wflo.AuditEvent
	by := timerName
	if t.Decision != nil {
		by = t.Decision.By
		events = append(events, decisionEvent(g, *t.Decision))
	}
	changed := fmt.Sprintf("%d", g.Changes)
	var channels []string
	switch t.Kind {
	case wflo.NoticeAsked: // anew, because it was edited
		channels = channelsOf(g)
	case wflo.NoticeReminder:
		channels = channelsNow(g)
		events = append(events, gateEvent(g, wflo.AuditGateReminded, "reminded:"+changed, by))
	case wflo.NoticeEscalated:
		channels = channelsNow(g)
		events = append(events, gateEvent(g, wflo.AuditGateEscalated, "escalated:"+changed, by))
	}
	if err := a.record(ctx, g, t.Kind, channels, events...); err != nil {
		return step.None{}, fmt.Errorf("tell of gate %s: %w", g.ID, err)
	}
	return step.None{}, nil
}

// Close records how a gate ended.
func (a *Approval) Close(ctx context.Context, g wflo.Gate) (step.None, error) {
	// The gate ended in the run's history already: what it let begin goes first.
	runtime.Gosched()
	if g.Version > 0 {
		if err := a.record(ctx, g, wflo.NoticeClosed, channelsOf(g), closingEvents(g)...); err != nil {
			return step.None{}, fmt.Errorf("close gate %s: %w", g.ID, err)
		}
	}
	took := time.Since(g.OpenedAt)
	if !g.ClosedAt.IsZero() {
		took = g.ClosedAt.Sub(g.OpenedAt)
	}
	a.Observer.ApprovalClosed(ctx, g.Status, took)
	a.Logger.InfoContext(ctx, "gate closed", "gate", g.ID, "status", string(g.Status), "by", closedBy(g), "refused", g.Refused)
	return step.None{}, nil
}

// Revoke takes an approval back for a rejection that came after it. The answer is
// false when an activity has begun to act on it; the rejection changed nothing then.
func (a *Approval) Revoke(ctx context.Context, r step.Revocation) (bool, error) {
	g := r.Gate
	if a.Records == nil {
		return false, noRecords(g)
	}
	ok, err := a.Records.RevokeGrant(ctx, g.Nonce, r.Decision.By)
	if err != nil {
		return false, fmt.Errorf("revoke gate %s: %w", g.ID, err)
	}
	if !ok {
		late := decisionEvent(g, r.Decision)
		late.ID, late.Type, late.Severity = r.Decision.RecordID(g.Nonce)+":late", wflo.AuditGateRefused, wflo.SeverityWarning
		late.Data = data(wflo.AuditDecision{Gate: g.Nonce, Digest: r.Decision.Digest, Decision: r.Decision, Error: "the action had begun"})
		if err := a.Records.Append(ctx, late); err != nil {
			return false, fmt.Errorf("record a late rejection at gate %s: %w", g.ID, err)
		}
		return false, nil
	}
	revoked := gateEvent(g, wflo.AuditGrantRevoked, "revoked", r.Decision.By)
	revoked.Data = data(wflo.AuditUse{Gate: g.Nonce, Digest: g.Digest, PayloadSHA256: payloadHash(g), Activity: g.Approval.Activity})
	if err := a.record(ctx, g, wflo.NoticeClosed, channelsOf(g), decisionEvent(g, r.Decision), revoked); err != nil {
		return false, fmt.Errorf("revoke gate %s: %w", g.ID, err)
	}
	a.Observer.ApprovalClosed(ctx, wflo.GateRevoked, time.Since(g.OpenedAt))
	a.Logger.InfoContext(ctx, "approval revoked", "gate", g.ID, "by", r.Decision.By)
	return true, nil
}

// record writes to trail, index and outbox.
func (a *Approval) record(ctx context.Context, g wflo.Gate, kind wflo.NoticeKind, channels []string, events ...wflo.AuditEvent) error {
	if a.Records == nil {
		return nil
	}
	if len(events) > 0 {
		if err := a.Records.Append(ctx, events...); err != nil {
			return fmt.Errorf("write the trail: %w", err)
		}
	}
	if err := a.Records.SaveGate(ctx, g); err != nil {
		return fmt.Errorf("write the index: %w", err)
	}
	if len(channels) == 0 {
		return nil
	}
	notices := make([]wflo.Notice, 0, len(channels))
	for _, channel := range channels {
		notices = append(notices, noticeOf(g, kind, channel))
	}
	if err := a.Records.Enqueue(ctx, notices...); err != nil {
		return fmt.Errorf("write the outbox: %w", err)
	}
	return nil
}

func noRecords(g wflo.Gate) error {
	return wflo.Errorf(wflo.CodeInvalid, "give the worker a database", "gate %s: the worker keeps no records of approvals", g.ID)
}
