package plugin

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
)

// sweepEvery is how long a sandbox may outlive a run that was terminated, where
// the configuration does not say.
const sweepEvery = time.Minute

// collectEvery is how often snapshots are cleaned up after.
const collectEvery = time.Hour

// sweepOnce removes the sandboxes of runs that ended without their own clean-up:
// terminated, or timed out.
func (p *Plugin) sweepOnce(ctx context.Context, c client.Client) error {
	runner := p.parts.sandbox.Runner
	boxes, err := runner.Boxes(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, box := range boxes {
		open, err := isOpen(ctx, c, box)
		if err == nil && !open {
			p.cfg.Logger.Info("remove sandbox of a run that ended", "box", box)
			err = runner.Close(ctx, box)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// isOpen says whether the run that a box is named after still runs. When
// Temporal does not know, the box stays.
func isOpen(ctx context.Context, c client.Client, box string) (bool, error) {
	i := strings.LastIndexByte(box, '/')
	if i < 0 {
		return true, nil // not a run's
	}
	d, err := c.DescribeWorkflowExecution(ctx, box[:i], "")
	var gone *serviceerror.NotFound
	if errors.As(err, &gone) {
		return false, nil
	}
	if err != nil {
		return true, fmt.Errorf("describe %s: %w", box[:i], err)
	}
	info := d.GetWorkflowExecutionInfo()
	return info.GetStatus() == enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING && info.GetFirstRunId() == box[i+1:], nil
}
