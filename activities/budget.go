package activities

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"go.temporal.io/sdk/activity"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
)

// AlertHandler is told about an alert of a budget. It may be called again for
// the same alert, after a crash of the worker or an error of its own: an ID that
// was handled should be skipped. An error is retried with growing pauses.
type AlertHandler = func(ctx context.Context, a wflo.BudgetAlert) error

// BudgetObserver hears what becomes of budgets, to count it. Its methods may be
// called at the same time and must not block.
type BudgetObserver interface {
	// BudgetAlert says that the handlers of an alert are done.
	BudgetAlert(kind wflo.AlertKind, percent int)
	// BudgetRaised says that an approver raised a budget for a waiting run.
	BudgetRaised()
}

// Budget raises budgets and delivers their alerts. Its methods are registered as
// activities.
type Budget struct {
	// Ledger has the budgets. Required.
	Ledger Budgets
	// OnAlert are called for thresholds that were crossed, OnExceeded for calls
	// that did not fit, in this order.
	OnAlert, OnExceeded []AlertHandler
	// Logger gets a line per alert and top-up. Required.
	Logger *slog.Logger
	// Observer counts. Required.
	Observer BudgetObserver
}

// TopUp raises a budget for the run that waits for it, once: the key is that of
// the step's effect, so a worker that dies after it raised does not raise again.
func (b *Budget) TopUp(ctx context.Context, t wflo.TopUp) (wflo.Spend, error) {
	run, _ := wflo.RunFrom(ctx)
	t.Key = string(run.EffectKey())
	s, err := b.Ledger.TopUp(ctx, t)
	if err != nil {
		return wflo.Spend{}, fmt.Errorf("raise budget %s: %w", t.Budget, err)
	}
	b.Observer.BudgetRaised()
	b.Logger.InfoContext(ctx, "budget raised", "budget", t.Budget, "amount", t.Amount.String(), "by", t.By, "limit", s.Limit.String())
	return s, nil
}

// Alert calls the handlers of an alert, one by one. One that fails does not keep
// the others from being called; the attempt then fails, and the next one calls
// only those that have not succeeded yet.
func (b *Budget) Alert(ctx context.Context, a wflo.BudgetAlert) (step.None, error) {
	handlers := b.OnAlert
	if a.Kind == wflo.AlertExceeded {
		handlers = b.OnExceeded
	}
	done := b.handled(ctx, len(handlers))
	var errs []error
	for i, handle := range handlers {
		if done[i] {
			continue
		}
		if err := handle(ctx, a); err != nil {
			errs = append(errs, fmt.Errorf("handler %d: %w", i, err))
			continue
		}
		done[i] = true
		activity.RecordHeartbeat(ctx, done)
	}
	if err := errors.Join(errs...); err != nil {
		return step.None{}, fmt.Errorf("alert of budget %s: %w", a.Budget, err)
	}
	b.Observer.BudgetAlert(a.Kind, a.Percent)
	b.Logger.WarnContext(ctx, "budget alert", "budget", a.Budget, "kind", string(a.Kind), "percent", a.Percent,
		"limit", a.Limit.String(), "spent", a.Spent.String(), "reserved", a.Reserved.String(), "alert", a.ID, "handlers", len(handlers))
	return step.None{}, nil
}

// handled says which handlers an earlier attempt was done with. A worker with
// other handlers than the last one's begins anew: telling somebody twice is
// better than never.
func (b *Budget) handled(ctx context.Context, n int) []bool {
	if activity.HasHeartbeatDetails(ctx) {
		var before []bool
		if err := activity.GetHeartbeatDetails(ctx, &before); err == nil && len(before) == n {
			return before
		}
	}
	return make([]bool, n)
}
