package workflows_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
	"github.com/wflo-ai/wflo-go/workflows"
)

// restoreFake answers for the activities of a restore, and keeps in which order they came.
type restoreFake struct {
	calls []string
	plan  wflo.RestorePlan
	fails map[string]error
	ends  wflo.RestoreState
	noted wflo.Restored
}

func (f *restoreFake) phase(name string) func(context.Context, step.Restoring) (step.Restoring, error) {
	return func(_ context.Context, in step.Restoring) (step.Restoring, error) {
		f.calls = append(f.calls, name)
		return in, f.fails[name]
	}
}

// run carries out a restore in Temporal's test environment.
func (f *restoreFake) run(t *testing.T, id string, r wflo.Restore) (wflo.Restored, error) {
	t.Helper()
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestWorkflowEnvironment()
	env.SetStartWorkflowOptions(client.StartWorkflowOptions{ID: id, TaskQueue: "agents"})
	env.SetWorkerOptions(worker.Options{Interceptors: []interceptor.WorkerInterceptor{workflows.NewInterceptor(workflows.InterceptorConfig{})}})
	register := func(name string, fn any) {
		env.RegisterActivityWithOptions(fn, activity.RegisterOptions{Name: name})
	}
	register(string(step.RestorePlan), func(_ context.Context, r wflo.Restore) (step.Restoring, error) {
		f.calls = append(f.calls, "plan")
		return step.Restoring{Restored: wflo.Restored{Restore: r, Plan: f.plan, From: "wf/first"}, Height: 3}, f.fails["plan"]
	})
	register(string(step.RestoreBegin), f.phase("begin"))
	register(string(step.RestoreAsk), f.phase("ask"))
	register(string(step.RestoreClaim), f.phase("claim"))
	register(string(step.RestoreStart), f.phase("start"))
	register(string(step.RestoreFollow), func(_ context.Context, in step.Restoring) (wflo.Restored, error) {
		f.calls = append(f.calls, "follow")
		in.Restored.State = f.ends
		return in.Restored, nil
	})
	register(string(step.RestoreFail), func(_ context.Context, r wflo.Restored) (wflo.Restored, error) {
		f.calls, f.noted = append(f.calls, "fail"), r
		return r, nil
	})
	env.RegisterWorkflowWithOptions(func(_ workflow.Context, o wflo.CompensationOrder) ([]wflo.CompensationRecord, error) {
		f.calls = append(f.calls, "undo")
		if o.RunID != "wf/first" || o.Above != 3 || !o.Kept {
			t.Errorf("ordered is %+v", o)
		}
		return []wflo.CompensationRecord{{ID: "1", State: wflo.CompensationDone}, {ID: "2", State: wflo.CompensationDead}}, f.fails["undo"]
	}, workflow.RegisterOptions{Name: wflo.WorkflowCompensate})
	env.ExecuteWorkflow(workflows.RunRestore, r)
	var out wflo.Restored
	if err := env.GetWorkflowError(); err != nil {
		return out, err
	}
	return out, env.GetWorkflowResult(&out)
}

func TestRestoreWorkflow(t *testing.T) {
	refusal := temporal.NewNonRetryableApplicationError("it was refused", string(wflo.CodeConflict), nil)
	undo := []wflo.CompensationRecord{{ID: "1"}}
	for name, tt := range map[string]struct {
		fake  restoreFake
		id    string
		dry   bool
		calls []string
		fails bool
	}{
		"dry run":  {dry: true, calls: []string{"plan"}},
		"in place": {fake: restoreFake{plan: wflo.RestorePlan{Mode: wflo.RestoreInPlace}}, calls: []string{"plan", "begin", "ask", "follow"}},
		"fork":     {fake: restoreFake{plan: wflo.RestorePlan{Mode: wflo.RestoreFork, Undo: undo}}, calls: []string{"plan", "begin", "claim", "start", "follow"}},
		"reopen":   {fake: restoreFake{plan: wflo.RestorePlan{Mode: wflo.RestoreReopen, Undo: undo}}, calls: []string{"plan", "begin", "claim", "undo", "start", "follow"}},
		"no undo":  {fake: restoreFake{plan: wflo.RestorePlan{Mode: wflo.RestoreReopen}}, calls: []string{"plan", "begin", "claim", "undo", "start", "follow"}},
		"wrong id": {id: "elsewhere", fails: true},
		"refused":  {fake: restoreFake{fails: map[string]error{"begin": refusal}}, calls: []string{"plan", "begin"}, fails: true},
		"run says no": {
			fake:  restoreFake{plan: wflo.RestorePlan{Mode: wflo.RestoreInPlace}, fails: map[string]error{"ask": refusal}},
			calls: []string{"plan", "begin", "ask", "fail"}, fails: true,
		},
		"cannot start": {
			fake:  restoreFake{plan: wflo.RestorePlan{Mode: wflo.RestoreFork}, fails: map[string]error{"start": refusal}},
			calls: []string{"plan", "begin", "claim", "start", "fail"}, fails: true,
		},
		"run ends": {
			fake:  restoreFake{plan: wflo.RestorePlan{Mode: wflo.RestoreInPlace}, ends: wflo.RestoreFailed},
			calls: []string{"plan", "begin", "ask", "follow"}, fails: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			f, id := &tt.fake, "wflo-restore/r"
			if tt.id != "" {
				id = tt.id
			}
			if f.ends == "" {
				f.ends = wflo.RestoreDone
			}
			out, err := f.run(t, id, wflo.Restore{ID: "r", WorkflowID: "wf", To: wflo.RestorePoint{Snapshot: "a"}, Reason: "x", DryRun: tt.dry})
			if !slices.Equal(f.calls, tt.calls) || (err != nil) != tt.fails {
				t.Errorf("called %v, want %v; error %v", f.calls, tt.calls, err)
			}
			if slices.Contains(f.calls, "undo") && (len(out.Dead) != 1 || out.Dead[0].ID != "2") {
				t.Errorf("dead letters are %+v", out.Dead)
			}
			if slices.Contains(f.calls, "fail") && f.noted.Error != "it was refused" {
				t.Errorf("noted is %q", f.noted.Error)
			}
			var app *temporal.ApplicationError
			if tt.fails && (!errors.As(err, &app) || wflo.Code(app.Type()).Sentinel() == nil) {
				t.Errorf("the error is %v, want one of ours", err)
			}
		})
	}
}
