package workflows

import (
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
)

// Tracer makes spans of what workflow code does. It is called during replay too, so what
// it does follows from the run alone: it makes no command, does not block and does not
// fail. end is called once, with how the piece of work ended.
type Tracer interface {
	// Run says who a run is, before its code begins.
	Run(ctx workflow.Context, r wflo.Run)
	// Closed says how a run ended that does not go on as a new one.
	Closed(ctx workflow.Context, r wflo.Run, state wflo.RunState, spent wflo.Money)
	// Step says that a try of a step begins. What is called with inner belongs to it.
	Step(ctx workflow.Context, name, key string, effect wflo.EffectClass) (inner workflow.Context, end func(error))
	// Tool is Step for a call that a model asked for; id is the model's.
	Tool(ctx workflow.Context, name, id string) (inner workflow.Context, end func(error))
}

type tracerKey struct{}

// untraced is a Tracer that makes no spans.
type untraced struct{}

func (untraced) Run(workflow.Context, wflo.Run) {}

func (untraced) Closed(workflow.Context, wflo.Run, wflo.RunState, wflo.Money) {}

func (untraced) Step(ctx workflow.Context, _, _ string, _ wflo.EffectClass) (workflow.Context, func(error)) {
	return ctx, func(error) {}
}

func (untraced) Tool(ctx workflow.Context, _, _ string) (workflow.Context, func(error)) {
	return ctx, func(error) {}
}

// tracing is the run's Tracer; it makes no spans of what a restored run only remembers.
func (st *state) tracing(ctx workflow.Context) Tracer {
	t, _ := ctx.Value(tracerKey{}).(Tracer)
	if t == nil || st.journal != nil && st.journal.draining() {
		return untraced{}
	}
	return t
}
