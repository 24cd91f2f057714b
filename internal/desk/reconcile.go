package desk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

// slack is how long past its time a gate is left to its own run.
const slack = time.Minute

// Reconcile looks after gates whose time was up and that the index still has open:
// those of runs that are over are marked as cancelled. It gives how many. Call it now
// and then; nothing depends on it but what people see.
func (d *Desk) Reconcile(ctx context.Context) (int, error) {
	n, after := 0, ""
	for {
		gates, err := d.Records.ListGates(ctx, activities.GateQuery{Expired: d.now().Add(-slack), After: after, Limit: MostItems})
		if err != nil {
			return n, fmt.Errorf("list gates that nobody closed: %w", err)
		}
		for _, g := range gates {
			if d.over(ctx, g) && d.cancelled(ctx, g).Status == wflo.GateCancelled {
				n++
			}
			after = g.Nonce
		}
		if len(gates) < MostItems {
			return n, nil
		}
	}
}

// over says that the run of a gate has ended, or that another has its name.
func (d *Desk) over(ctx context.Context, g wflo.Gate) bool {
	if d.Namespace != "" && g.Namespace != d.Namespace {
		return false // the client cannot know
	}
	info, err := d.Client.DescribeWorkflowExecution(ctx, g.WorkflowID, "")
	var gone *serviceerror.NotFound
	switch {
	case errors.As(err, &gone):
		return true
	case err != nil:
		return false
	}
	run := info.GetWorkflowExecutionInfo()
	if first := run.GetFirstRunId(); first != "" && first != g.FirstRunID {
		return true
	}
	return run.GetStatus() != enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING && run.GetStatus() != enumspb.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW
}

// cancelled closes a gate whose run cannot. Where that cannot be written down, the
// gate stays as it is.
func (d *Desk) cancelled(ctx context.Context, g wflo.Gate) wflo.Gate {
	closed := g
	closed.Status, closed.ClosedAt = wflo.GateCancelled, d.now().UTC()
	closed.Changes++
	err := d.recordCancelled(ctx, closed)
	if err == nil {
		err = d.Records.SaveGate(ctx, closed)
	}
	if err != nil {
		d.log().ErrorContext(ctx, "close a gate whose run is over", "gate", g.ID, "nonce", g.Nonce, "error", err.Error())
		return g
	}
	return closed
}

func (d *Desk) recordCancelled(ctx context.Context, g wflo.Gate) error {
	data, err := json.Marshal(wflo.AuditGate{Gate: g})
	if err != nil {
		return fmt.Errorf("encode gate: %w", err)
	}
	return d.Records.Append(ctx, event(g, wflo.AuditGateClosed, g.Nonce+":closed:"+string(g.Status), "console", d.now(), data))
}
