package activities

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/interceptor"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// Emergency holds a worker's activities to policies that no run is pinned to: the
// present ones, before every attempt. They stop what runs already. They see the
// call and whom it is for, and neither costs nor how long the run has gone on.
type Emergency struct {
	// Set gives the present emergency policies; nil where there are none. Required.
	Set func() PolicySet
	// Halt tells the run of the activity in ctx that it is halted. Required.
	Halt func(ctx context.Context, run wflo.Run, h wflo.Halt) error
	// Records keeps the trail. Required.
	Records Audit
	// Logger hears of halts. Required.
	Logger *slog.Logger
}

// Check says why an attempt may not begin, or nil. It is a refusal that is not
// tried again, and the run is halted besides. Only halting and auditing are for
// emergencies: what asks for more halts.
func (e *Emergency) Check(ctx context.Context, f wflo.Facts) error {
	set := e.Set()
	if set == nil {
		return nil
	}
	run, _ := wflo.RunFrom(ctx)
	r := set.Judge(f)
	if quiet(r) {
		return nil
	}
	halts := r.Effect.Above(wflo.EffectNotify)
	events, err := ruled(rulingID("emergency", run, r), run, r, halts)
	if err != nil {
		return err
	}
	err = e.Records.Append(ctx, events...)
	if !halts {
		if err != nil {
			return fmt.Errorf("record the emergency ruling on %s: %w", run.Step, err)
		}
		return nil
	}
	if err != nil {
		// An emergency stop does not wait for a database.
		e.Logger.ErrorContext(ctx, "emergency halt is not on record", "step", run.Step, "error", err.Error())
	}
	h := wflo.Halt{Reason: "an emergency policy forbids it"}
	if r.Halt != nil {
		h = *r.Halt
	}
	h.Policy = ruleNames(r)
	h.By = "policy " + h.Policy
	if err := e.Halt(ctx, run, h); err != nil {
		e.Logger.ErrorContext(ctx, "run is not told of its emergency halt", "workflow", run.WorkflowID, "error", err.Error())
	}
	e.Logger.WarnContext(ctx, "emergency halt", "workflow", run.WorkflowID, "step", run.Step, "policy", h.Policy, "reason", h.Reason)
	return wflo.Errorf(wflo.CodePolicyDenied, "wait until the emergency is over", "emergency policy %s halts %s: %s", h.Policy, f.Operation, h.Reason)
}

// HaltBySignal halts the run of the activity in ctx.
func HaltBySignal(ctx context.Context, run wflo.Run, h wflo.Halt) error {
	info := activity.GetInfo(ctx)
	return activity.GetClient(ctx).SignalWorkflow(ctx, info.WorkflowExecution.ID, info.WorkflowExecution.RunID, wflo.SignalHalt, h)
}

// emergency judges one attempt, unless it is bookkeeping of our own or undoes
// something.
func (in *inbound) emergency(ctx context.Context, info activity.Info, input *interceptor.ExecuteActivityInput) error {
	if in.cfg.Emergency == nil || ours(info.ActivityType.Name) {
		return nil
	}
	if _, undo := interceptor.Header(ctx)[wflo.HeaderUndo]; undo {
		return nil
	}
	run, _ := wflo.RunFrom(ctx)
	f := attemptFacts(run, info.ActivityType.Name, input.Args)
	return in.cfg.Emergency(ctx, f)
}

func ours(name string) bool {
	for _, prefix := range []string{
		step.PrefixApproval, step.PrefixPolicy, step.PrefixBudget,
		string(step.SandboxClose), string(step.SandboxRead), string(step.SandboxWrite),
	} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// attemptFacts are the facts that this half knows by itself.
func attemptFacts(run wflo.Run, name string, args []any) wflo.Facts {
	f := wflo.Facts{
		Kind: wflo.FactsActivity, Operation: name, Activity: name, Step: run.StepName(),
		User: run.User, Team: run.Team, Org: run.Org, Agent: run.Agent, Tags: run.Tags,
		Workflow: wflo.WorkflowFacts{
			ID: run.WorkflowID, Type: run.Workflow, Namespace: run.Namespace, Generation: run.Generation, Epoch: run.Epoch,
		},
		Time: wflo.TimeFactsAt(time.Now()), Args: argsJSON(args),
	}
	switch name {
	case string(step.LLMChat):
		f.Kind = wflo.FactsModel
		if p, ok := one[wflo.Prompt](args); ok {
			f.Model = p.Model
		}
		// The conversation is no argument; see the workflow half.
		f.Args = json.RawMessage("{}")
	case string(step.SandboxRun):
		f.Kind = wflo.FactsSandbox
		if spec, ok := one[sandbox.Spec](args); ok {
			f.Sandbox = sandboxFacts(spec)
		}
	}
	return f
}

func sandboxFacts(spec sandbox.Spec) wflo.SandboxFacts {
	limits := spec.Limits.WithDefaults()
	network := "allow-list"
	switch {
	case spec.Network.Mode == sandbox.NetworkOpen:
		network = "open"
	case spec.Network.Mode == sandbox.NetworkNone && len(spec.Network.Allow)+len(spec.Network.Inject) == 0:
		network = "none"
	}
	return wflo.SandboxFacts{
		Image: spec.Image, Language: string(spec.Language), Network: network, Runtime: spec.Security.Runtime,
		Memory: limits.Memory, CPUs: limits.CPUs, Timeout: limits.Timeout.Seconds(), Secrets: slices.Sorted(maps.Keys(spec.Secrets)),
	}
}

func one[T any](args []any) (T, bool) {
	var zero T
	if len(args) != 1 {
		return zero, false
	}
	v, ok := args[0].(T)
	return v, ok
}

// argsJSON are the arguments as conditions see them. What cannot be written as JSON
// is left out, and a condition that asks for it cannot be judged, which counts.
func argsJSON(args []any) json.RawMessage {
	members := map[string]json.RawMessage{}
	for i, arg := range args {
		p, err := converter.GetDefaultDataConverter().ToPayload(arg)
		if err != nil || !json.Valid(p.GetData()) {
			continue
		}
		if c, err := wflo.Canonical(p.GetData()); err == nil {
			if len(args) == 1 && strings.HasPrefix(string(c), "{") {
				return c
			}
			members[strconv.Itoa(i)] = c
		}
	}
	data, err := json.Marshal(members)
	if err != nil {
		return json.RawMessage("{}")
	}
	return data
}
