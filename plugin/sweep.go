package plugin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"

	"github.com/wflo-ai/wflo-go"
)

// sweepEvery is how long a sandbox may outlive a run that was terminated.
const sweepEvery = time.Minute

// sweep removes, for as long as the worker runs, the sandboxes of runs that
// ended without their own clean-up: terminated, or timed out. It closes c.
func (p *Plugin) sweep(instance string, c client.Client) {
	ctx, cancel := context.WithCancel(context.Background())
	p.mu.Lock()
	p.sweeps[instance] = cancel
	p.mu.Unlock()
	p.running.Go(func() {
		defer c.Close()
		tick := time.NewTicker(sweepEvery)
		defer tick.Stop()
		for {
			if err := p.sweepOnce(ctx, c); err != nil && ctx.Err() == nil && !errors.Is(err, wflo.ErrSandboxUnavailable) {
				p.cfg.Logger.Warn("sweep sandboxes", "error", err.Error())
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
}

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

// attributes are the search attributes that runs set.
var attributes = map[string]enumspb.IndexedValueType{
	wflo.AttrState: enumspb.INDEXED_VALUE_TYPE_KEYWORD,
	wflo.AttrGates: enumspb.INDEXED_VALUE_TYPE_KEYWORD_LIST,
	wflo.AttrUser:  enumspb.INDEXED_VALUE_TYPE_KEYWORD,
	wflo.AttrTeam:  enumspb.INDEXED_VALUE_TYPE_KEYWORD,
	wflo.AttrCost:  enumspb.INDEXED_VALUE_TYPE_DOUBLE,
}

// ensureAttributes adds the search attributes that the namespace lacks: a run
// that sets an unknown one would never get anywhere.
func ensureAttributes(ctx context.Context, c client.Client, namespace string) error {
	op := c.OperatorService()
	have, err := op.ListSearchAttributes(ctx, &operatorservice.ListSearchAttributesRequest{Namespace: namespace})
	if err != nil {
		return fmt.Errorf("list search attributes of %s: %w", namespace, err)
	}
	missing := map[string]enumspb.IndexedValueType{}
	for name, kind := range attributes {
		if _, ok := have.GetCustomAttributes()[name]; !ok {
			missing[name] = kind
		}
	}
	if len(missing) == 0 {
		return nil
	}
	_, err = op.AddSearchAttributes(ctx, &operatorservice.AddSearchAttributesRequest{Namespace: namespace, SearchAttributes: missing})
	if err != nil {
		return wflo.Errorf(wflo.CodeInvalid,
			"create them with temporal operator search-attribute create, or set plugin.Config.NoSearchAttributes",
			"namespace %s lacks search attributes %v: %w", namespace, missing, err)
	}
	return awaitAttributes(ctx, c, namespace)
}

// awaitAttributes waits until the server takes new attributes: it reads them
// from a cache of some seconds, and refuses runs that set them before.
func awaitAttributes(ctx context.Context, c client.Client, namespace string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	names := slices.Sorted(maps.Keys(attributes))
	query := strings.Join(names, " IS NULL AND ") + " IS NULL"
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		_, err := c.CountWorkflow(ctx, &workflowservice.CountWorkflowExecutionsRequest{Namespace: namespace, Query: query})
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the search attributes of %s: %w", namespace, err)
		case <-tick.C:
		}
	}
}
