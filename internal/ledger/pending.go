package ledger

import (
	"context"
	"errors"
	"time"

	"github.com/wflo-ai/wflo-go"
)

// Pending stands for what a driver has not built yet.
type Pending struct{}

var errPending = errors.New("not built yet")

func (Pending) Save(context.Context, wflo.Saving) error              { return errPending }
func (Pending) ListBudgets(context.Context) ([]wflo.Spend, error)    { return nil, errPending }
func (Pending) SetBudget(context.Context, wflo.Budget, string) error { return errPending }
func (Pending) DeclareBudgets(context.Context, []wflo.Budget) error  { return errPending }
func (Pending) RemoveBudget(context.Context, string) error           { return errPending }
func (Pending) TopUp(context.Context, wflo.TopUp) (wflo.Spend, error) {
	return wflo.Spend{}, errPending
}
func (Pending) Costs(context.Context, wflo.CostQuery) ([]wflo.CostRow, error) { return nil, errPending }
func (Pending) OpenHolds(context.Context, time.Duration, int) ([]wflo.Hold, error) {
	return nil, errPending
}
func (Pending) UnknownHolds(context.Context, int) ([]wflo.Hold, error) { return nil, errPending }
func (Pending) ClaimAlerts(context.Context, int, time.Duration) ([]wflo.BudgetAlert, error) {
	return nil, errPending
}
func (Pending) AlertDone(context.Context, string) error { return errPending }
func (Pending) ListAlerts(context.Context, string, int) ([]wflo.BudgetAlert, error) {
	return nil, errPending
}
