package workflows

import (
	"fmt"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
)

// toolTimeout bounds one call of an activity that an agent uses as a tool.
const toolTimeout = 5 * time.Minute

// heartbeat is how long a worker may be silent before its activity is given to
// another: the time that a killed worker costs.
const heartbeat = 10 * time.Second

// Ask calls a language model. The worst case of the call is reserved on every
// budget of the run first, and the answer is cut to what they can pay; a call
// that does not fit is not made and gives an error that matches
// wflo.ErrBudgetExceeded and has a *wflo.Refusal as its cause. Where the budget
// asks (wflo.ExceedAsk), the run first waits at the gate "budget/BUDGET" for an
// approval that raises it, and then goes on with the call. Provider faults are
// retried by Temporal, as the provider asked. Options of ctx that are not set get
// defaults for models.
func Ask(ctx workflow.Context, p wflo.Prompt) (wflo.Reply, error) {
	st, err := stateOf(ctx)
	if err != nil {
		return wflo.Reply{}, err
	}
	if err := p.Validate(); err != nil {
		return wflo.Reply{}, err
	}
	call := withDefaults(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: 10 * time.Minute,
		HeartbeatTimeout:    heartbeat,
		Summary:             fmt.Sprintf("ask %s: %s", p.Model, oneLine(lastText(p), 80)),
		RetryPolicy: &temporal.RetryPolicy{
			InitialInterval: time.Second, BackoffCoefficient: 2, MaximumInterval: time.Minute, MaximumAttempts: 8,
		},
	})
	var reply wflo.Reply
	known := false
	call = workflow.WithValue(call, knownKey{}, &known)
	err = st.parked(call, func(ctx workflow.Context) error {
		var err error
		reply, err = st.chat(ctx, p)
		return err
	})
	if err != nil {
		return wflo.Reply{}, fmt.Errorf("ask %s: %w", p.Model, err)
	}
	if !known { // what was answered before a restore is counted
		st.calls++
		st.spent += reply.Cost
	}
	return reply, nil
}

// withDefaults sets the options that the caller's ctx does not set.
func withDefaults(ctx workflow.Context, d workflow.ActivityOptions) workflow.Context {
	o := workflow.GetActivityOptions(ctx)
	if o.StartToCloseTimeout == 0 && o.ScheduleToCloseTimeout == 0 {
		o.StartToCloseTimeout = d.StartToCloseTimeout
	}
	if o.HeartbeatTimeout == 0 {
		o.HeartbeatTimeout = d.HeartbeatTimeout
	}
	if o.RetryPolicy == nil {
		o.RetryPolicy = d.RetryPolicy
	}
	if o.Summary == "" {
		o.Summary = d.Summary
	}
	o.WaitForCancellation = o.WaitForCancellation || d.WaitForCancellation
	return workflow.WithActivityOptions(ctx, o)
}

func lastText(p wflo.Prompt) string {
	last := p.Messages[len(p.Messages)-1]
	if last.Role == wflo.RoleTool {
		return "result of " + last.ToolName
	}
	return last.Text
}
