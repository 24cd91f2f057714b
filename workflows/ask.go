package workflows

import (
	"fmt"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// toolTimeout bounds one call of an activity that an agent uses as a tool.
const toolTimeout = 5 * time.Minute

// heartbeat is how long a worker may be silent before its activity is given to
// another: the time that a killed worker costs.
const heartbeat = 10 * time.Second

// Ask calls a language model. The worst case of the call is reserved on every
// budget of the run first, and the answer is cut to what they can pay; a call
// that does not fit is not made and gives an error that matches
// wflo.ErrBudgetExceeded. Provider faults are retried by Temporal, as the
// provider asked. Options of ctx that are not set get defaults for models.
func Ask(ctx workflow.Context, p wflo.Prompt) (wflo.Reply, error) {
	st, err := stateOf(ctx)
	if err != nil {
		return wflo.Reply{}, err
	}
	if err := p.Validate(); err != nil {
		return wflo.Reply{}, err
	}
	reply, err := step.LLMChat.Do(withDefaults(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: 10 * time.Minute,
		HeartbeatTimeout:    heartbeat,
		Summary:             fmt.Sprintf("ask %s: %s", p.Model, oneLine(lastText(p), 80)),
		RetryPolicy: &temporal.RetryPolicy{
			InitialInterval: time.Second, BackoffCoefficient: 2, MaximumInterval: time.Minute, MaximumAttempts: 8,
		},
	}), p)
	if err != nil {
		return wflo.Reply{}, fmt.Errorf("ask %s: %w", p.Model, fromWire(err))
	}
	st.calls++
	st.spent += reply.Cost
	return reply, nil
}

// RunSandboxed runs a program in the run's sandbox, whose workspace lasts until
// the run ends. A program that fails, is killed for memory or runs out of time
// is a Result; errors are faults of the machinery (after Temporal retried them)
// and specifications that cannot work.
func RunSandboxed(ctx workflow.Context, spec sandbox.Spec) (sandbox.Result, error) {
	st, err := stateOf(ctx)
	if err != nil {
		return sandbox.Result{}, err
	}
	if err := spec.Validate(); err != nil {
		return sandbox.Result{}, err
	}
	st.boxed = true
	limit := spec.Limits.WithDefaults().Timeout
	res, err := step.SandboxRun.Do(withDefaults(ctx, boxOptions(limit+2*time.Minute, "sandbox: "+describe(spec))), spec)
	if err != nil {
		return sandbox.Result{}, fmt.Errorf("run sandboxed: %w", fromWire(err))
	}
	return res, nil
}

// ReadFile reads a file of the run's workspace, at most limit bytes.
func ReadFile(ctx workflow.Context, name string, limit int64) ([]byte, error) {
	st, err := stateOf(ctx)
	if err != nil {
		return nil, err
	}
	st.boxed = true
	data, err := step.SandboxRead.Do(withDefaults(ctx, boxOptions(2*time.Minute, "read "+name)), step.Read{Name: name, Limit: limit})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, fromWire(err))
	}
	return data, nil
}

// WriteFiles puts files into the run's workspace.
func WriteFiles(ctx workflow.Context, files ...wflo.File) error {
	st, err := stateOf(ctx)
	if err != nil {
		return err
	}
	st.boxed = true
	if _, err := step.SandboxWrite.Do(withDefaults(ctx, boxOptions(2*time.Minute, fmt.Sprintf("write %d files", len(files)))), files); err != nil {
		return fmt.Errorf("write files: %w", fromWire(err))
	}
	return nil
}

func boxOptions(timeout time.Duration, summary string) workflow.ActivityOptions {
	return workflow.ActivityOptions{
		StartToCloseTimeout: timeout,
		HeartbeatTimeout:    heartbeat,
		// Cancelling waits until the program is dead, so that nothing that is
		// undone afterwards can still be running.
		WaitForCancellation: true,
		Summary:             summary,
		RetryPolicy: &temporal.RetryPolicy{
			InitialInterval: time.Second, BackoffCoefficient: 2, MaximumInterval: 30 * time.Second, MaximumAttempts: 5,
		},
	}
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

func describe(spec sandbox.Spec) string {
	if spec.Source != "" {
		return string(spec.Language) + ": " + oneLine(spec.Source, 80)
	}
	return oneLine(fmt.Sprint(spec.Argv), 80)
}
