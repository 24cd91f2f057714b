package plugin

import (
	"context"
	"errors"
	"fmt"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

const (
	// alertEvery is how often alerts are looked for where the configuration does
	// not say.
	alertEvery = 2 * time.Second
	// alertLease is how long a worker has to hand over the alerts that it took;
	// after that another one takes them.
	alertLease = time.Minute
	// alertBatch is how many alerts are taken at once.
	alertBatch = 20
	// alertID is what the ids of alerts' workflows begin with.
	alertID = "wflo-alert/"
)

// starter is the part of a client that hands alerts over.
type starter interface {
	ExecuteWorkflow(ctx context.Context, options client.StartWorkflowOptions, workflow any, args ...any) (client.WorkflowRun, error)
}

// alerts hands alerts of the ledger over to Temporal: each becomes one workflow,
// whose id is that of the alert, so that whatever crashes between taking it and
// saying that it is done, the handlers are called by one workflow only.
type alerts struct {
	ledger activities.Alerts
	starts starter
	queue  string
}

// handOver empties the ledger's list of alerts.
func (d *alerts) handOver(ctx context.Context) error {
	for {
		taken, err := d.ledger.ClaimAlerts(ctx, alertBatch, alertLease)
		if err != nil {
			return fmt.Errorf("take alerts: %w", err)
		}
		var errs []error
		for _, a := range taken {
			errs = append(errs, d.start(ctx, a))
		}
		if err := errors.Join(errs...); err != nil || len(taken) < alertBatch {
			return err
		}
	}
}

func (d *alerts) start(ctx context.Context, a wflo.BudgetAlert) error {
	_, err := d.starts.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID: alertID + a.ID, TaskQueue: d.queue,
		WorkflowIDReusePolicy:                    enumspb.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE,
		WorkflowExecutionErrorWhenAlreadyStarted: true,
		StaticSummary:                            fmt.Sprintf("%s: %s of %s spent", a.Budget, a.Spent, a.Limit),
	}, wflo.WorkflowBudgetAlert, a)
	var started *serviceerror.WorkflowExecutionAlreadyStarted
	if err != nil && !errors.As(err, &started) {
		return fmt.Errorf("start the workflow of alert %s: %w", a.ID, err)
	}
	if err := d.ledger.AlertDone(ctx, a.ID); err != nil {
		return fmt.Errorf("alert %s is handed over, but not marked so: %w", a.ID, err)
	}
	return nil
}
