package govern

import (
	"fmt"
	"testing"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	tale "github.com/wflo-ai/wflo-go/internal/story"
	"github.com/wflo-ai/wflo-go/workflows"
	"github.com/wflo-ai/wflo-go/workflows/testdata/histories"
)

// manySteps does that many steps, each with one activity, some at the same time.
func manySteps(ctx workflow.Context, n int) error {
	const lanes = 25
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Minute})
	var failed error
	all := workflow.NewWaitGroup(ctx)
	for lane := range lanes {
		all.Add(1)
		workflow.Go(ctx, func(ctx workflow.Context) {
			defer all.Done()
			for i := range n / lanes {
				_, err := workflows.Step(ctx, "work", workflows.StepOptions{Key: fmt.Sprintf("work-%d-%d", lane, i)}, func(ctx workflow.Context) (string, error) {
					var out string
					err := workflow.ExecuteActivity(ctx, histories.Do, "work").Get(ctx, &out)
					return out, err
				})
				if err != nil {
					failed = err
				}
			}
		})
	}
	all.Wait(ctx)
	return failed
}

// BenchmarkStory reads the story of a run of 5,000 steps that is closed: its first page,
// its last page and its head, by a teller that has not read anything before and by one
// that has.
func BenchmarkStory(b *testing.B) {
	const steps = 5000
	w := newWorld(b, config{register: func(r worker.Registry) {
		r.RegisterWorkflowWithOptions(manySteps, workflow.RegisterOptions{Name: "many-steps"})
	}})
	run, err := w.ExecuteWorkflow(wflo.WithRun(b.Context(), wflo.Run{User: "ann"}), client.StartWorkflowOptions{ID: w.queue, TaskQueue: w.queue}, "many-steps", steps)
	if err != nil {
		b.Fatal(err)
	}
	if err := run.Get(b.Context(), nil); err != nil {
		b.Fatal(err)
	}
	read := map[string]func(*tale.Teller) error{
		"head": func(t *tale.Teller) error {
			h, err := t.Head(b.Context(), run.GetID(), "")
			if err == nil && h.Steps != steps {
				return fmt.Errorf("%d steps", h.Steps)
			}
			return err
		},
		"first": func(t *tale.Teller) error { return page(b, t, run.GetID(), false) },
		"last":  func(t *tale.Teller) error { return page(b, t, run.GetID(), true) },
	}
	for _, name := range []string{"head", "first", "last"} {
		b.Run(name+"/cold", func(b *testing.B) {
			for b.Loop() {
				if err := read[name](w.guard.Story(w.Client)); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/warm", func(b *testing.B) {
			teller := w.guard.Story(w.Client)
			if err := read[name](teller); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if err := read[name](teller); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func page(b *testing.B, t *tale.Teller, id string, latest bool) error {
	p, err := t.Rows(b.Context(), tale.Query{WorkflowID: id, Latest: latest})
	if err == nil && len(p.Rows) != 200 {
		return fmt.Errorf("%d rows", len(p.Rows))
	}
	return err
}
