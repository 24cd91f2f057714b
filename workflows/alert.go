package workflows

import (
	"fmt"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
)

// alertPatience is how long handlers of an alert are tried; alertTimeout bounds
// one attempt of all of them.
const (
	alertPatience = 7 * 24 * time.Hour
	alertTimeout  = 5 * time.Minute
)

// RunBudgetAlert is the workflow that is registered as
// wflo.WorkflowBudgetAlert. It hands one alert to the worker's handlers and
// tries those that fail again for a week.
func RunBudgetAlert(ctx workflow.Context, a wflo.BudgetAlert) error {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout:    alertTimeout,
		ScheduleToCloseTimeout: alertPatience,
		Summary:                fmt.Sprintf("alert: %s at %d %%", a.Budget, a.Percent),
		RetryPolicy:            &temporal.RetryPolicy{InitialInterval: time.Second, BackoffCoefficient: 2, MaximumInterval: 10 * time.Minute},
	})
	_, err := step.BudgetAlert.Do(ctx, a)
	return fromWire(err)
}
