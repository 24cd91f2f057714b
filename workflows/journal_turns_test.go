package workflows_test

import (
	"fmt"
	"testing"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/step"
	"github.com/wflo-ai/wflo-go/workflows"
)

// branches does a step in each of n branches, which then wait for an hour, and calls half
// when all steps are done.
func branches(ctx workflow.Context, n int, do func(ctx workflow.Context, i int) error, half func()) error {
	done := 0
	for i := range n {
		workflow.Go(ctx, func(ctx workflow.Context) {
			_, _ = workflows.Step(ctx, fmt.Sprint("s", i), workflows.StepOptions{}, func(ctx workflow.Context) (int, error) { return i, do(ctx, i) })
			done++
			_ = workflow.Sleep(ctx, time.Hour) // under way when it is saved
		})
	}
	err := workflow.Await(ctx, func() bool { half(); return done == n })
	return err
}

func nothing(workflow.Context, int) error { return nil }

func askEach(ctx workflow.Context, i int) error {
	_, err := must(ctx, fmt.Sprint(i))
	return err
}

// TestManyBranchesComeBackInFewTurns: Temporal gives all branches their turn each time, so
// a restore that needs many turns for each outcome does not fit into a task.
func TestManyBranchesComeBackInFewTurns(t *testing.T) {
	const n = 60
	for name, tt := range map[string]struct {
		do   func(workflow.Context, int) error
		most int
	}{
		"steps that compute": {nothing, 10},
		"steps that ask":     {askEach, 2*n + 10},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPast(t)
			turns := map[int]int{}
			err := p.run(func(ctx workflow.Context) error {
				if err := branches(ctx, n, tt.do, func() { turns[p.runs]++ }); err != nil || p.runs > 1 {
					return err
				}
				if _, err := workflows.TakeSnapshot(ctx, "s"); err != nil {
					return err
				}
				return workflows.Restore(ctx, "s")
			})
			if err != nil || p.runs != 2 {
				t.Fatalf("%v in %d runs", err, p.runs)
			}
			if turns[2] > tt.most {
				t.Errorf("%d steps came back in %d turns of all code, want at most %d", n, turns[2], tt.most)
			}
		})
	}
}

// timers runs n branches with three timers each, all of another length, and counts the
// turns of all code.
func timers(n int, turns *int) func(workflow.Context) error {
	return func(ctx workflow.Context) error {
		left := n
		for i := range n {
			workflow.Go(ctx, func(ctx workflow.Context) {
				for j := range 3 {
					_ = workflow.Sleep(ctx, time.Duration(1+i*3+j)*time.Second)
				}
				left--
			})
		}
		return workflow.Await(ctx, func() bool { *turns++; return left == 0 })
	}
}

// forward runs code in an environment with a journal, or without.
func forward(t testing.TB, journal bool, code func(workflow.Context) error) {
	t.Helper()
	p := newPast(t)
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(log.NewStructuredLogger(p.logger))
	e := suite.NewTestWorkflowEnvironment()
	e.SetTestTimeout(time.Minute)
	e.SetWorkerOptions(worker.Options{DeadlockDetectionTimeout: 30 * time.Second, Interceptors: []interceptor.WorkerInterceptor{
		workflows.NewInterceptor(workflows.InterceptorConfig{Snapshots: journal}),
		activities.NewInterceptor(activities.InterceptorConfig{Logger: p.logger, Observer: p.metrics, Recovery: p.ledger.Recovery()}),
	}})
	e.RegisterActivityWithOptions(p.snapshot, activity.RegisterOptions{Name: step.PrefixSnapshot})
	e.RegisterWorkflowWithOptions(code, workflow.RegisterOptions{Name: "code"})
	e.ExecuteWorkflow("code")
	if err := e.GetWorkflowError(); err != nil {
		t.Fatal(err)
	}
}

// TestJournalTakesFewTurns: a run that can be taken back gives its code hardly more turns
// than one that cannot.
func TestJournalTakesFewTurns(t *testing.T) {
	turns := map[bool]int{}
	for _, journal := range []bool{false, true} {
		n := 0
		forward(t, journal, timers(40, &n))
		turns[journal] = n
	}
	if turns[false] == 0 || 2*turns[true] > 3*turns[false] {
		t.Errorf("all code had %d turns with a journal, and %d without", turns[true], turns[false])
	}
}
