package plugin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

const (
	// holdSweepEvery is how often open holds are looked at where the
	// configuration does not say. A hold is left alone for its first
	// holdPatience rounds: its activity may be between two attempts.
	holdSweepEvery = time.Minute
	holdPatience   = 3
	// holdBatch bounds what one round looks at, oldest first.
	holdBatch = 1000
	// unownedFor is how long a hold without a workflow is left alone that does
	// not say how long its call may take.
	unownedFor = time.Hour
)

// finding is what the sweep found out about an open hold.
type finding string

const (
	foundBusy    finding = "busy"    // somebody is there to close it
	foundUnclear finding = "unclear" // Temporal did not say
	foundClosed  finding = "closed"  // its run ended
	foundGone    finding = "gone"    // its run is not known any more
	foundIdle    finding = "idle"    // its run does nothing that could close it
	foundExpired finding = "expired" // it has no run, and its call cannot take so long
)

// lost says that nobody will close the hold.
func (f finding) lost() bool { return f != foundBusy && f != foundUnclear }

// describer is the part of Temporal's service that knows what a run does.
type describer interface {
	describe(ctx context.Context, namespace, workflowID string) (*workflowservice.DescribeWorkflowExecutionResponse, error)
}

// holds decides about holds that nobody closed, because their worker died or
// their run was terminated. What may have been billed is charged in full and
// flagged; a call that settles after all corrects it.
type holds struct {
	ledger activities.Ledger
	runs   describer
	count  func(found string)
	logger *slog.Logger
	// age is how long a hold is left alone.
	age time.Duration
}

// sweep looks at the open holds once.
func (h *holds) sweep(ctx context.Context) error {
	open, err := h.ledger.OpenHolds(ctx, h.age, holdBatch)
	if err != nil {
		return fmt.Errorf("list open holds: %w", err)
	}
	known := map[string]finding{}
	expired, err := h.expired(ctx, open)
	errs := []error{err}
	for _, hold := range open {
		if hold.Run.Namespace == "" {
			found := foundBusy
			if expired[holdID{hold.Key, hold.Attempt}] {
				found = foundExpired
			}
			errs = append(errs, h.settle(ctx, hold, found))
			continue
		}
		id := hold.Run.Namespace + "\x00" + hold.Run.ID()
		found, ok := known[id]
		if !ok {
			if found, err = h.look(ctx, hold.Run); err != nil {
				errs = append(errs, err)
			}
			known[id] = found
		}
		errs = append(errs, h.settle(ctx, hold, found))
	}
	return errors.Join(errs...)
}

type holdID struct {
	key     wflo.EffectKey
	attempt int
}

// expired are the holds without a run whose calls cannot take so long. The
// database says how old they are, whose clock made them.
func (h *holds) expired(ctx context.Context, open []wflo.Hold) (map[holdID]bool, error) {
	patience := map[time.Duration]bool{}
	for _, hold := range open {
		if hold.Run.Namespace == "" {
			patience[patienceFor(hold)] = true
		}
	}
	out := map[holdID]bool{}
	for d := range patience {
		old, err := h.ledger.OpenHolds(ctx, max(d, h.age), holdBatch)
		if err != nil {
			return out, fmt.Errorf("list holds that are open for %s: %w", d, err)
		}
		for _, hold := range old {
			if hold.Run.Namespace == "" && patienceFor(hold) <= d {
				out[holdID{hold.Key, hold.Attempt}] = true
			}
		}
	}
	return out, nil
}

func patienceFor(hold wflo.Hold) time.Duration {
	if hold.Within <= 0 {
		return unownedFor
	}
	return 2 * hold.Within
}

// look asks Temporal what became of a run.
func (h *holds) look(ctx context.Context, run wflo.Run) (finding, error) {
	d, err := h.runs.describe(ctx, run.Namespace, run.WorkflowID)
	found := judge(run, d, err)
	if found == foundUnclear {
		return found, fmt.Errorf("describe %s in namespace %s: %w", run.WorkflowID, run.Namespace, err)
	}
	return found, nil
}

// judge says what an answer of Temporal means for the holds of a run.
func judge(run wflo.Run, d *workflowservice.DescribeWorkflowExecutionResponse, err error) finding {
	var gone *serviceerror.NotFound
	var nowhere *serviceerror.NamespaceNotFound
	if errors.As(err, &gone) || errors.As(err, &nowhere) {
		return foundGone
	}
	if err != nil {
		return foundUnclear
	}
	info := d.GetWorkflowExecutionInfo()
	switch {
	case info.GetStatus() != enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING,
		run.FirstRunID != "" && info.GetFirstRunId() != run.FirstRunID: // a later run of the same id
		return foundClosed
	case len(d.GetPendingActivities()) == 0:
		return foundIdle
	}
	return foundBusy
}

// settle does what the finding says, counts it and logs it.
func (h *holds) settle(ctx context.Context, hold wflo.Hold, found finding) error {
	attrs := []any{"found", string(found), "key", string(hold.Key), "attempt", hold.Attempt, "amount", hold.Granted.String(),
		"run", hold.Run.ID(), "model", hold.Model}
	if !found.lost() {
		h.count(string(found))
		h.logger.DebugContext(ctx, "hold left open", attrs...)
		return nil
	}
	if err := h.ledger.MarkUnknown(ctx, hold.Key, hold.Attempt); err != nil {
		return fmt.Errorf("charge hold %s: %w", hold.Key, err)
	}
	h.count(string(found))
	h.logger.WarnContext(ctx, "hold that nobody closed is charged, its outcome is unknown", attrs...)
	return nil
}

// service asks a Temporal server about runs of any namespace.
type service struct {
	workflowservice.WorkflowServiceClient
}

func (s service) describe(ctx context.Context, namespace, workflowID string) (*workflowservice.DescribeWorkflowExecutionResponse, error) {
	return s.DescribeWorkflowExecution(ctx, &workflowservice.DescribeWorkflowExecutionRequest{
		Namespace: namespace, Execution: &commonpb.WorkflowExecution{WorkflowId: workflowID},
	})
}
