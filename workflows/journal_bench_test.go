package workflows_test

import (
	"fmt"
	"testing"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go/workflows"
)

func inc(n int) (int, error) { return n + 1, nil }

// BenchmarkStepMemo is what a step costs that only computes, with a journal, against a
// plain call of the function.
func BenchmarkStepMemo(b *testing.B) {
	b.Run("step", func(b *testing.B) {
		p := newPast(b)
		b.ReportAllocs()
		err := p.run(func(ctx workflow.Context) error {
			b.ResetTimer()
			for i := range b.N {
				if _, err := workflows.Step(ctx, "inc", workflows.StepOptions{}, func(workflow.Context) (int, error) { return inc(i) }); err != nil {
					return err
				}
			}
			b.StopTimer()
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	})
	b.Run("call", func(b *testing.B) {
		b.ReportAllocs()
		sum := 0
		for i := range b.N {
			n, err := inc(i)
			if err != nil {
				b.Fatal(err)
			}
			sum += n
		}
		_ = fmt.Sprint(sum)
	})
}

// BenchmarkRestoreOfSteps is the time from the beginning of a restored run to its first
// new step, after 1,000 that are answered; it includes reading the snapshot.
func BenchmarkRestoreOfSteps(b *testing.B) {
	var spent time.Duration
	for range b.N {
		p := newPast(b)
		var begun time.Time
		p.begin = func(int) { begun = time.Now() }
		err := p.run(func(ctx workflow.Context) error {
			for i := range 1000 {
				if _, err := workflows.Step(ctx, "inc", workflows.StepOptions{}, func(workflow.Context) (int, error) { return inc(i) }); err != nil {
					return err
				}
			}
			if p.runs == 2 {
				spent += time.Since(begun) //nolint:forbidigo // it is what is measured
				return nil
			}
			if _, err := workflows.TakeSnapshot(ctx, "here"); err != nil {
				return err
			}
			return workflows.Restore(ctx, "here")
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(spent.Microseconds())/1000/float64(b.N), "ms/restore")
}

// BenchmarkRestoreOfBranches is the time from the beginning of a restored run until each of
// its branches has its recorded step; each has a timer under way.
func BenchmarkRestoreOfBranches(b *testing.B) {
	for name, do := range map[string]func(workflow.Context, int) error{"compute": nothing, "ask": askEach} {
		for _, n := range []int{200, 400, 800} {
			b.Run(fmt.Sprint(name, "/", n), func(b *testing.B) {
				var spent time.Duration
				for range b.N {
					p := newPast(b)
					var begun time.Time
					p.begin = func(int) { begun = time.Now() }
					err := p.run(func(ctx workflow.Context) error {
						if err := branches(ctx, n, do, func() {}); err != nil {
							return err
						}
						if p.runs == 2 {
							spent += time.Since(begun) //nolint:forbidigo // it is what is measured
							return nil
						}
						if _, err := workflows.TakeSnapshot(ctx, "here"); err != nil {
							return err
						}
						return workflows.Restore(ctx, "here")
					})
					if err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(spent.Microseconds())/1000/float64(b.N), "ms/restore")
			})
		}
	}
}

// BenchmarkForwardOfBranches is a run of branches with three timers each, with a journal and
// without.
func BenchmarkForwardOfBranches(b *testing.B) {
	for _, n := range []int{200, 400} {
		for _, journal := range []bool{false, true} {
			b.Run(fmt.Sprintf("%d/journal=%v", n, journal), func(b *testing.B) {
				for range b.N {
					turns := 0
					forward(b, journal, timers(n, &turns))
				}
			})
		}
	}
}
