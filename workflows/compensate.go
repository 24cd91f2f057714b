package workflows

import (
	"fmt"
	"strings"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
)

// Compensation undoes one effect by calling an activity.
type Compensation struct {
	// Name says what is undone, such as "refund of order 17". Required.
	Name string
	// Activity is the registered name of the activity that undoes it. It must
	// be idempotent and must cope with an effect that never happened: it is
	// registered before the effect, and called at least once. Required.
	Activity string
	// Input is the activity's argument.
	Input any
	// Timeout bounds one attempt; zero means one minute.
	Timeout time.Duration
	// Attempts bounds the tries before the compensation is a dead letter; zero
	// means 10.
	Attempts int
}

// compensation is a Compensation as it stands in the undo stack and in the
// header of a run that continues as new.
type compensation struct {
	Name     string                 `json:"name"`
	Activity string                 `json:"activity"`
	Input    *commonpb.Payload      `json:"input,omitempty"`
	Timeout  time.Duration          `json:"timeout"`
	Attempts int                    `json:"attempts"`
	State    wflo.CompensationState `json:"state"`
	Error    string                 `json:"error,omitempty"`
}

// Compensate registers how to undo an effect. Call it before the effect: an
// effect whose outcome is unknown is undone as well. When the workflow fails,
// is cancelled or is halted, the registered compensations run last-in first-out
// on a context that cancellation does not reach; one that keeps failing becomes
// a dead letter, is reported in the workflow's error, and the rest still run.
func Compensate(ctx workflow.Context, c Compensation) error {
	st, err := stateOf(ctx)
	if err != nil {
		return err
	}
	if c.Name == "" || c.Activity == "" {
		return wflo.Invalid("compensation", "lacks a name or an activity", "set both")
	}
	if c.Timeout == 0 {
		c.Timeout = time.Minute
	}
	if c.Attempts == 0 {
		c.Attempts = 10
	}
	input, err := st.encode(c.Input)
	if err != nil {
		return fmt.Errorf("compensation %s: %w", c.Name, err)
	}
	st.stack = append(st.stack, &compensation{
		Name: c.Name, Activity: c.Activity, Input: input,
		Timeout: c.Timeout, Attempts: c.Attempts, State: wflo.CompensationRegistered,
	})
	return nil
}

func (c *compensation) record() wflo.CompensationRecord {
	return wflo.CompensationRecord{Name: c.Name, Activity: c.Activity, State: c.State, Error: c.Error}
}

// unwind runs the compensations above mark, newest first, and joins what
// became of them to the error that caused it.
func (st *state) unwind(ctx workflow.Context, mark int, reason error) error {
	if st.halted != nil && st.halted.KeepEffects {
		return reason
	}
	ctx, cancel := workflow.NewDisconnectedContext(ctx)
	defer cancel()
	ctx = workflow.WithValue(ctx, compensatingKey{}, true)
	phase := st.phase
	var dead []string
	for i := len(st.stack) - 1; i >= mark; i-- {
		c := st.stack[i]
		if c.State != wflo.CompensationRegistered {
			continue
		}
		st.phase, st.doing = wflo.StateCompensating, "undo "+c.Name
		if err := c.run(ctx); err != nil {
			dead = append(dead, err.Error())
		}
	}
	st.phase, st.doing = phase, ""
	if len(dead) == 0 {
		return reason
	}
	// Not errors.Join: Temporal records one chain of causes.
	return fmt.Errorf("%w; %s", reason, strings.Join(dead, "; "))
}

func (c *compensation) run(ctx workflow.Context) error {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: c.Timeout,
		Summary:             "undo: " + c.Name,
		RetryPolicy: &temporal.RetryPolicy{
			InitialInterval: time.Second, BackoffCoefficient: 2, MaximumInterval: time.Minute,
			MaximumAttempts: int32(c.Attempts),
		},
	})
	err := workflow.ExecuteActivity(ctx, c.Activity, converter.NewRawValue(c.Input)).Get(ctx, nil)
	if err == nil {
		c.State = wflo.CompensationDone
		return nil
	}
	c.State, c.Error = wflo.CompensationDead, cause(err)
	return fmt.Errorf("compensation %q is a dead letter: %w", c.Name, err)
}

// end undoes and tidies after a run that does not continue as new.
func (st *state) end(ctx workflow.Context, err error) error {
	st.ended = true
	if refused := st.refusal(ctx); refused != nil {
		err = refused
	}
	if err != nil {
		err = st.unwind(ctx, 0, err)
	}
	switch {
	case st.halted != nil:
		st.phase = wflo.StateHalted
	case err != nil:
		st.phase = wflo.StateFailed
	default:
		st.phase = wflo.StateCompleted
	}
	st.doing = ""
	clean, cancel := workflow.NewDisconnectedContext(ctx)
	defer cancel()
	clean = workflow.WithValue(clean, compensatingKey{}, true)
	if st.boxed {
		if _, closeErr := step.SandboxClose.Do(quick(clean, "remove the sandbox"), step.None{}); closeErr != nil {
			// The worker's sweep removes it later; the run's outcome stands.
			workflow.GetLogger(ctx).Warn("sandbox not removed", "error", closeErr.Error())
		}
	}
	// A run that was never marked as running need not be marked as ended.
	_, marked := workflow.GetTypedSearchAttributes(ctx).GetKeyword(attrState)
	stopped := st.halted != nil && st.halted.Policy != ""
	if marked || stopped || st.calls > 0 || len(st.gates) > 0 {
		if pubErr := st.publish(clean); pubErr != nil {
			workflow.GetLogger(ctx).Error("publish run", "error", pubErr.Error())
		}
	}
	return err
}
