package workflows

import (
	"cmp"
	"fmt"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// Beyond a program's own timeout: what making and removing a sandbox may take,
// and how long one attempt waits for room on a host. A worker that is gone is
// noticed by its heartbeats, long before.
const (
	boxTime   = 2 * time.Minute
	queueTime = 30 * time.Minute
)

type sandboxKey struct{}

// WithSandbox returns a context in which [RunSandboxed] fills the zero fields of
// its specifications from defaults: image, box, limits and security one by one,
// variables and secrets name by name, and the network and the artifacts as a
// whole. A specification that sets a field decides over it. Another WithSandbox
// replaces the defaults altogether, so a step without the network of its
// workflow runs in WithSandbox(ctx, sandbox.Spec{}).
//
// Defaults do not say what runs: program, standard input, files and key must be
// zero. What is wrong with them is an error of RunSandboxed. An [Agent] is a run
// of its own, with the sandbox of its Task.
func WithSandbox(ctx workflow.Context, defaults sandbox.Spec) workflow.Context {
	return workflow.WithValue(ctx, sandboxKey{}, defaults)
}

// RunSandboxed runs a program in the run's sandbox, whose workspace lasts until
// the run ends, or with the box sandbox.OneShot in one of its own. A program that
// fails, is killed for memory or runs out of time is a Result; errors are faults
// of the machinery (after Temporal retried them) and specifications that cannot
// work. An attempt may wait half an hour for room on the host; a longer
// StartToCloseTimeout in the options of ctx lets it wait longer.
func RunSandboxed(ctx workflow.Context, spec sandbox.Spec) (sandbox.Result, error) {
	st, err := stateOf(ctx)
	if err != nil {
		return sandbox.Result{}, err
	}
	if defaults, ok := ctx.Value(sandboxKey{}).(sandbox.Spec); ok {
		if err := checkDefaults(defaults); err != nil {
			return sandbox.Result{}, err
		}
		spec = over(spec, defaults)
	}
	if err := spec.Validate(); err != nil {
		return sandbox.Result{}, err
	}
	st.boxed = st.boxed || spec.Box != sandbox.OneShot
	limit := spec.Limits.WithDefaults().Timeout
	res, err := step.SandboxRun.Do(withDefaults(ctx, boxOptions(limit+boxTime+queueTime, "sandbox: "+describe(spec))), spec)
	if err != nil {
		return sandbox.Result{}, fmt.Errorf("run sandboxed: %w", fromWire(err))
	}
	return res, nil
}

// checkDefaults refuses defaults that would run, or be, the same in every step.
func checkDefaults(d sandbox.Spec) error {
	if d.Source == "" && d.Language == "" && d.Key == "" && len(d.Argv)+len(d.Stdin)+len(d.Files) == 0 && d.Origin == (sandbox.Origin{}) {
		return nil
	}
	return wflo.Invalid("the defaults of workflows.WithSandbox", "say what to run",
		"set image, box, env, secrets, artifacts, network, security and limits there, and the rest in each step")
}

// over fills what spec leaves open.
func over(spec, defaults sandbox.Spec) sandbox.Spec {
	spec.Box = cmp.Or(spec.Box, defaults.Box)
	spec.Image = cmp.Or(spec.Image, defaults.Image)
	env, secrets := spec.Env, spec.Secrets
	spec.Env, spec.Secrets = overlay(env, defaults.Env, secrets), overlay(secrets, defaults.Secrets, env)
	if spec.Artifacts == nil {
		spec.Artifacts = defaults.Artifacts
	}
	if n := spec.Network; n.Mode == sandbox.NetworkNone && len(n.Allow)+len(n.Inject) == 0 {
		spec.Network = defaults.Network
	}
	spec.Security.Runtime = cmp.Or(spec.Security.Runtime, defaults.Security.Runtime)
	spec.Security.Profile = cmp.Or(spec.Security.Profile, defaults.Security.Profile)
	if spec.Security.Require == nil {
		spec.Security.Require = defaults.Security.Require
	}
	spec.Limits = limitsOver(spec.Limits, defaults.Limits)
	return spec
}

// overlay fills above with what below has more, without the names of except: a
// variable that the step sets in one way is not set in the other too.
func overlay(above, below, except map[string]string) map[string]string {
	if len(below) == 0 {
		return above
	}
	out := map[string]string{}
	for _, name := range workflow.DeterministicKeys(below) {
		if _, ok := except[name]; !ok {
			out[name] = below[name]
		}
	}
	for _, name := range workflow.DeterministicKeys(above) {
		out[name] = above[name]
	}
	return out
}

func limitsOver(l, defaults sandbox.Limits) sandbox.Limits {
	return sandbox.Limits{
		Memory: cmp.Or(l.Memory, defaults.Memory), CPUs: cmp.Or(l.CPUs, defaults.CPUs), PIDs: cmp.Or(l.PIDs, defaults.PIDs),
		Timeout: cmp.Or(l.Timeout, defaults.Timeout), CPUTime: cmp.Or(l.CPUTime, defaults.CPUTime),
		Tmp: cmp.Or(l.Tmp, defaults.Tmp), Workspace: cmp.Or(l.Workspace, defaults.Workspace),
		File: cmp.Or(l.File, defaults.File), Open: cmp.Or(l.Open, defaults.Open),
		Output: cmp.Or(l.Output, defaults.Output), OutputTotal: cmp.Or(l.OutputTotal, defaults.OutputTotal),
		Artifacts: cmp.Or(l.Artifacts, defaults.Artifacts),
	}
}

// ReadFile reads a file of the run's workspace, at most limit bytes.
func ReadFile(ctx workflow.Context, name string, limit int64) ([]byte, error) {
	st, err := stateOf(ctx)
	if err != nil {
		return nil, err
	}
	st.boxed = true
	data, err := step.SandboxRead.Do(withDefaults(ctx, boxOptions(boxTime, "read "+name)), step.Read{Name: name, Limit: limit})
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
	if _, err := step.SandboxWrite.Do(withDefaults(ctx, boxOptions(boxTime, fmt.Sprintf("write %d files", len(files)))), files); err != nil {
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

func describe(spec sandbox.Spec) string {
	if spec.Source != "" {
		return string(spec.Language) + ": " + oneLine(spec.Source, 80)
	}
	return oneLine(fmt.Sprint(spec.Argv), 80)
}
