package govern

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/recovery"
	"github.com/wflo-ai/wflo-go/workflows"
	"github.com/wflo-ai/wflo-go/workflows/testdata/histories"
)

const (
	// longRun is how many steps are memoised in the run that is restored.
	longRun = 1000
	// restores is how often it is, whatever -benchtime says.
	restores = 7
	// pairRun is how many steps are compared with as many activities.
	pairRun = 50
	// longest bounds what the benchmarks wait for, on a machine with other work, too.
	longest = 5 * time.Minute

	beginActivity = "begin"
	readySnapshot = "ready"
)

func quick(ctx workflow.Context) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Minute, RetryPolicy: &temporal.RetryPolicy{MaximumAttempts: 1}})
}

// oneStep is a step around an activity that does nothing.
func oneStep(ctx workflow.Context, name, activity string) error {
	_, err := workflows.Step(ctx, name, workflows.StepOptions{Effect: wflo.EffectRead}, func(ctx workflow.Context) (string, error) {
		var out string
		err := workflow.ExecuteActivity(ctx, activity, name).Get(ctx, &out)
		return out, err
	})
	return err
}

// stepping does n steps, is saved, begins another one and waits.
func stepping(ctx workflow.Context, n int) error {
	ctx = quick(ctx)
	for i := range n {
		if err := oneStep(ctx, fmt.Sprintf("step-%d", i), histories.Do); err != nil {
			return err
		}
	}
	if _, err := workflows.TakeSnapshot(ctx, readySnapshot); err != nil {
		return err
	}
	if err := oneStep(ctx, "begin", beginActivity); err != nil {
		return err
	}
	workflow.GetSignalChannel(ctx, "end").Receive(ctx, nil)
	return nil
}

// inSteps does n activities in a step each, and bare does them on their own.
func inSteps(ctx workflow.Context, n int) error {
	ctx = quick(ctx)
	for i := range n {
		if err := oneStep(ctx, fmt.Sprintf("step-%d", i), histories.Do); err != nil {
			return err
		}
	}
	return nil
}

func bare(ctx workflow.Context, n int) error {
	ctx = quick(ctx)
	for i := range n {
		var out string
		if err := workflow.ExecuteActivity(ctx, histories.Do, fmt.Sprintf("step-%d", i)).Get(ctx, &out); err != nil {
			return err
		}
	}
	return nil
}

// stepper is a run of n steps that is taken back to the snapshot behind them, time and
// again.
type stepper struct {
	b     *testing.B
	w     *world
	back  *recovery.Client
	begun <-chan time.Time
	id    string
	// first is from the request until the step behind the snapshot begins, done until the
	// restore says that it is done.
	first, done []time.Duration
}

func (s *stepper) start(n int) {
	s.b.Helper()
	s.id = fmt.Sprintf("%s-%d", s.w.queue, n)
	_, err := s.w.ExecuteWorkflow(wflo.WithRun(s.b.Context(), wflo.Run{User: "ann"}), client.StartWorkflowOptions{ID: s.id, TaskQueue: s.w.queue}, "stepping", n)
	if err != nil {
		s.b.Fatal(err)
	}
	s.await()
}

func (s *stepper) restore() {
	s.b.Helper()
	from := time.Now()
	out, err := s.back.Do(s.b.Context(), wflo.Restore{
		ID: fmt.Sprintf("r-%s-%d", s.id, len(s.done)), WorkflowID: s.id, To: wflo.RestorePoint{Snapshot: readySnapshot},
		Mode: wflo.RestoreInPlace, By: "bob", Reason: "to see how long it takes",
	})
	if err != nil || out.State != wflo.RestoreDone {
		s.b.Fatalf("restore %s: %+v, %v", s.id, out, err)
	}
	s.done = append(s.done, time.Since(from))
	s.first = append(s.first, s.await().Sub(from))
}

// await gives when the step behind the snapshot began.
func (s *stepper) await() time.Time {
	s.b.Helper()
	select {
	case at := <-s.begun:
		return at
	case <-time.After(longest):
		s.b.Fatalf("the last step of %s did not begin", s.id)
		return time.Time{}
	}
}

func (s *stepper) end() {
	s.b.Helper()
	err := s.w.SignalWorkflow(s.b.Context(), s.id, "", "end", nil)
	if err == nil {
		err = s.w.GetWorkflow(s.b.Context(), s.id, "").Get(s.b.Context(), nil)
	}
	if err != nil {
		s.b.Fatal(err)
	}
}

// BenchmarkRestoreSteps takes a run with 1,000 memoised steps back to the snapshot
// behind them, in place, and reports how long it takes from the request until the first
// new step begins, and until the restore says that it is done. Most of what the request
// waits for does not depend on the steps, so a run with one takes turns with it.
func BenchmarkRestoreSteps(b *testing.B) {
	begun := make(chan time.Time, 1)
	w := newWorld(b, config{register: func(r worker.Registry) {
		r.RegisterWorkflowWithOptions(stepping, workflow.RegisterOptions{Name: "stepping"})
		registerActivity(r, beginActivity, func(context.Context, string) (string, error) {
			begun <- time.Now()
			return "", nil
		})
	}})
	one := &stepper{b: b, w: w, back: recovery.New(recovery.Config{Client: w.Client}), begun: begun}
	many := *one
	one.start(1)
	many.start(longRun)
	for i := 0; b.Loop(); i++ {
		if i < restores {
			one.restore()
			many.restore()
		}
	}
	one.end()
	many.end()
	if lines, _ := w.did(); len(lines) != longRun+1 {
		b.Fatalf("%d steps were done for the %d of two runs: they are not memoised", len(lines), longRun+1)
	}
	b.ReportMetric(ms(p50(many.first)), "first-step-p50-ms")
	b.ReportMetric(ms(slices.Max(many.first)), "first-step-max-ms")
	b.ReportMetric(ms(p50(many.done)), "done-p50-ms")
	b.ReportMetric(ms(p50(one.first)), "of-one-step-p50-ms")
	b.ReportMetric(0, "ns/op") // the restores are not b.N
}

// pairs times runs of two workflows, and sees how long their histories are.
type pairs struct {
	b      *testing.B
	w      *world
	took   map[string][]time.Duration
	events map[string]int64
	bytes  map[string]int64
}

func (p *pairs) run(name string) {
	p.b.Helper()
	begin := time.Now()
	run, err := p.w.ExecuteWorkflow(p.b.Context(), client.StartWorkflowOptions{TaskQueue: p.w.queue}, name, pairRun)
	if err == nil {
		err = run.Get(p.b.Context(), nil)
	}
	if err != nil {
		p.b.Fatal(err)
	}
	p.took[name] = append(p.took[name], time.Since(begin))
	d, err := p.w.DescribeWorkflowExecution(p.b.Context(), run.GetID(), run.GetRunID())
	if err != nil {
		p.b.Fatal(err)
	}
	p.events[name] = d.GetWorkflowExecutionInfo().GetHistoryLength()
	p.bytes[name] = d.GetWorkflowExecutionInfo().GetHistorySizeBytes()
}

// BenchmarkStepMemo is what a step costs besides the activity in it: runs of 50 steps
// with an activity each, next to runs of the same activities on their own, with the same
// worker, plugin and server. A step makes no command of its own, so what it adds is less
// than what runs of one kind differ by, and the fastest runs say most.
func BenchmarkStepMemo(b *testing.B) {
	w := newWorld(b, config{register: func(r worker.Registry) {
		r.RegisterWorkflowWithOptions(inSteps, workflow.RegisterOptions{Name: "in-steps"})
		r.RegisterWorkflowWithOptions(bare, workflow.RegisterOptions{Name: "bare"})
	}})
	p := &pairs{b: b, w: w, took: map[string][]time.Duration{}, events: map[string]int64{}, bytes: map[string]int64{}}
	order := []string{"in-steps", "bare"}
	for _, name := range order {
		p.run(name)
	}
	clear(p.took)
	for b.Loop() {
		for _, name := range order {
			p.run(name)
		}
		slices.Reverse(order)
	}
	with, without := p.took["in-steps"], p.took["bare"]
	b.ReportMetric(ms(p50(with))/pairRun, "step-p50-ms")
	b.ReportMetric(ms(p50(without))/pairRun, "activity-p50-ms")
	b.ReportMetric(float64(p50(with))/float64(p50(without)), "ratio")
	b.ReportMetric(float64(with[0])/float64(without[0]), "best-ratio") // p50 has sorted them
	b.ReportMetric(float64(p.events["in-steps"]-p.events["bare"])/pairRun, "added-events/step")
	b.ReportMetric(float64(p.bytes["in-steps"]-p.bytes["bare"])/pairRun, "added-history-B/step")
}
