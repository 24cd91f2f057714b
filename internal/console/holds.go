package console

import (
	"context"
	"fmt"
	"net/http"
	"strconv"

	"github.com/wflo-ai/wflo-go"
)

// mostHolds is how many holds are listed, and searched for one to settle.
const mostHolds = 10_000

// holds lists reservations that are not settled. What a call answered is left
// out: it is the run's business and not the accountant's.
func (h *Handler) holds(ctx context.Context, r *http.Request) (any, error) {
	q, err := queryOf(r, "state", "n")
	if err != nil {
		return nil, err
	}
	n, err := count(q, "n", 1000, mostHolds)
	if err != nil {
		return nil, err
	}
	var all []wflo.Hold
	switch state := wflo.HoldState(q.Get("state")); state {
	case wflo.HoldOpen:
		all, err = h.cfg.Ledger.OpenHolds(ctx, 0, n)
	case wflo.HoldUnknown:
		all, err = h.cfg.Ledger.UnknownHolds(ctx, n)
	default:
		return nil, wflo.Invalid("state", fmt.Sprintf("is %q", string(state)), "use open or unknown")
	}
	if err != nil {
		return nil, fmt.Errorf("list holds: %w", err)
	}
	listed := append([]wflo.Hold{}, all...)
	for i := range listed {
		listed[i].Outcome = nil
	}
	return listed, nil
}

// Reconciliation is the body of a settlement by hand: what the provider billed
// for a call whose outcome is unknown.
type Reconciliation struct {
	Amount *wflo.Money `json:"amount"` // required; zero when nothing was billed
	Reason string      `json:"reason"` // required
}

// Reconciled is a hold that was settled by hand.
type Reconciled struct {
	Key     wflo.EffectKey `json:"key"`
	Attempt int            `json:"attempt"`
	// Charged is what the budgets were charged before, Amount what it is now.
	Charged wflo.Money `json:"charged"`
	Amount  wflo.Money `json:"amount"`
}

func (h *Handler) settle(ctx context.Context, r *http.Request) (any, error) {
	by, err := user(r)
	if err != nil {
		return nil, err
	}
	var given Reconciliation
	if err := body(r, "settlement", "send JSON with amount and reason", &given); err != nil {
		return nil, err
	}
	switch {
	case given.Amount == nil || *given.Amount < 0:
		return nil, wflo.Invalid("settlement.amount", "is missing or negative", "give what the provider billed in dollars, such as 0.12, or 0 for nothing")
	case given.Reason == "":
		return nil, wflo.Invalid("settlement.reason", "is empty", "say how the amount is known")
	}
	if err := text("settlement.reason", given.Reason); err != nil {
		return nil, err
	}
	hold, err := h.unknown(ctx, r.PathValue("key"), r.PathValue("attempt"))
	if err != nil {
		return nil, err
	}
	err = h.cfg.Ledger.Settle(ctx, wflo.Settlement{
		Key: hold.Key, Attempt: hold.Attempt, Amount: *given.Amount, Provider: hold.Provider, Model: hold.Model,
		By: by, Reason: given.Reason,
	})
	if err != nil {
		return nil, fmt.Errorf("settle %s: %w", hold.Key, err)
	}
	h.cfg.Logger.InfoContext(ctx, "hold reconciled", "key", string(hold.Key), "attempt", hold.Attempt,
		"charged", hold.Granted.String(), "amount", given.Amount.String(), "by", by, "reason", given.Reason)
	return Reconciled{Key: hold.Key, Attempt: hold.Attempt, Charged: hold.Granted, Amount: *given.Amount}, nil
}

// unknown finds a hold whose outcome is unknown. One that is open belongs to
// the worker that made it, so nobody else may settle it.
func (h *Handler) unknown(ctx context.Context, key, attempt string) (wflo.Hold, error) {
	n, err := strconv.Atoi(attempt)
	if err != nil || n < 1 {
		return wflo.Hold{}, wflo.Invalid("attempt", fmt.Sprintf("is %q", attempt), "use the number that /api/v1/holds?state=unknown gives")
	}
	all, err := h.cfg.Ledger.UnknownHolds(ctx, mostHolds)
	if err != nil {
		return wflo.Hold{}, fmt.Errorf("list holds: %w", err)
	}
	for _, hold := range all {
		if string(hold.Key) == key && hold.Attempt == n {
			return hold, nil
		}
	}
	return wflo.Hold{}, &absent{
		fmt.Sprintf("no hold %s, attempt %d, whose outcome is unknown", key, n),
		"it may have been settled meanwhile; list them at /api/v1/holds?state=unknown",
	}
}
