package govern

import (
	"encoding/json"
	"slices"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/workflows"
)

const (
	storyteller  = "storyteller"
	queryPauses  = "pauses"
	signalGo     = "go-"
	undoTogether = "together"
)

// teller is the code of a drawn agent: it does what the story says.
type teller struct {
	pauses []string
}

// tellStory gives the IDs of the charges that it knows to stand.
func tellStory(ctx workflow.Context, all []op) ([]string, error) {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: time.Minute, RetryPolicy: &temporal.RetryPolicy{InitialInterval: 10 * time.Millisecond, MaximumAttempts: 3},
	})
	a := &teller{}
	if err := workflow.SetQueryHandler(ctx, queryPauses, func() ([]string, error) { return a.pauses, nil }); err != nil {
		return nil, err
	}
	return a.all(ctx, all)
}

func (a *teller) all(ctx workflow.Context, all []op) ([]string, error) {
	var got []string
	for _, o := range all {
		more, err := a.one(ctx, o)
		switch {
		case err == nil:
			got = append(got, more...)
		case ctx.Err() != nil || !o.Catch:
			return got, err
		}
	}
	return got, nil
}

func (a *teller) one(ctx workflow.Context, o op) ([]string, error) {
	switch o.Kind {
	case opSnapshot:
		_, err := workflows.TakeSnapshot(ctx, o.Name)
		return nil, err
	case opPause:
		return nil, a.pause(ctx, o.Name)
	case opLanes:
		return a.lanes(ctx, o.Lanes)
	case opStep:
		opts := workflows.StepOptions{Key: o.Name}
		if o.Roll {
			opts.Rollback = &workflows.Rollback{}
		}
		return workflows.Step(ctx, o.Name, opts, func(ctx workflow.Context) ([]string, error) { return a.all(ctx, o.Body) })
	}
	return a.effect(ctx, o)
}

func (a *teller) pause(ctx workflow.Context, name string) error {
	a.pauses = append(a.pauses, name)
	defer func() { a.pauses = slices.DeleteFunc(a.pauses, func(p string) bool { return p == name }) }()
	pick := workflow.NewSelector(ctx)
	pick.AddReceive(workflow.GetSignalChannel(ctx, signalGo+name), func(c workflow.ReceiveChannel, _ bool) { c.Receive(ctx, nil) })
	pick.AddReceive(ctx.Done(), func(workflow.ReceiveChannel, bool) {})
	pick.Select(ctx)
	return ctx.Err()
}

func (a *teller) lanes(ctx workflow.Context, lanes [][]op) ([]string, error) {
	got, errs := make([][]string, len(lanes)), make([]error, len(lanes))
	all := workflow.NewWaitGroup(ctx)
	for i, lane := range lanes {
		all.Add(1)
		workflow.Go(ctx, func(ctx workflow.Context) {
			defer all.Done()
			got[i], errs[i] = a.all(ctx, lane)
		})
	}
	all.Wait(ctx)
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return slices.Concat(got...), nil
}

func (a *teller) effect(ctx workflow.Context, o op) ([]string, error) {
	opts := workflows.StepOptions{Key: o.Name, Effect: o.Class}
	switch o.Class {
	case wflo.EffectReversible:
		opts.Compensation = &workflows.Compensation{Name: o.Name, Activity: actUndo, Input: o, Attempts: 2, Undoes: actDo}
		if o.Probe {
			opts.Compensation.Probe, opts.Compensation.ProbeInput = actAsk, o
		}
		if o.Group {
			opts.Compensation.Group = undoTogether
		}
	case wflo.EffectVerifiable:
		opts.Probe, opts.ProbeInput = actAsk, o
	}
	if o.Gated {
		payload, err := json.Marshal(o)
		if err != nil {
			return nil, err
		}
		opts.Approval = &wflo.Approval{Gate: o.Name, Action: "do " + o.Name, Payload: payload, Activity: actDo}
	}
	return workflows.Step(ctx, o.Name, opts, func(ctx workflow.Context) ([]string, error) {
		var id string
		err := workflow.ExecuteActivity(ctx, actDo, o).Get(ctx, &id)
		return []string{id}, err
	})
}
