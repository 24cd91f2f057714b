package workflows_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/workflows"
)

// TestWorkerWithoutSnapshotsLeavesRestoredRuns to those that keep some: its code would begin
// without its past, and do everything again.
func TestWorkerWithoutSnapshotsLeavesRestoredRuns(t *testing.T) {
	p := newPast(t)
	p.begin = func(n int) {
		if n > 1 {
			p.SetWorkerOptions(worker.Options{Interceptors: []interceptor.WorkerInterceptor{workflows.NewInterceptor(workflows.InterceptorConfig{})}})
		}
	}
	err := p.run(func(ctx workflow.Context) error {
		if err := book(ctx, "A"); err != nil {
			return err
		}
		if _, err := workflows.TakeSnapshot(ctx, "s1"); err != nil {
			return err
		}
		if p.runs > 1 {
			return nil
		}
		return workflows.Restore(ctx, "s1")
	})
	if err == nil || !strings.Contains(err.Error(), "this worker keeps none") || !slices.Equal(p.did, []string{"A"}) {
		t.Errorf("%v, did %v", err, p.did)
	}
}

// TestRestoreDoesNotWaitForAnApprovedAction that never ends, beyond the ten minutes that it
// gives to all that runs.
func TestRestoreDoesNotWaitForAnApprovedAction(t *testing.T) {
	p := newPast(t)
	p.stubborn = 5 * time.Hour
	var got answerOf
	var first, second time.Time
	p.begin = func(n int) {
		if n > 1 {
			return
		}
		first = p.Now()
		p.decideAll()
		p.restoreAfter(15*time.Minute, toS1("r1"), &got)
		p.RegisterDelayedCallback(func() { second = p.Now() }, 30*time.Minute)
	}
	err := p.run(func(ctx workflow.Context) error {
		if _, err := workflows.TakeSnapshot(ctx, "s1"); err != nil || p.runs > 1 {
			return err
		}
		if _, err := workflows.RequireApproval(ctx, wflo.Approval{
			Gate: "go", Action: "do it slowly", Activity: "slow", Payload: []byte(`"order 17"`), Approvers: []string{"ann"}, Timeout: time.Hour,
		}); err != nil {
			return err
		}
		slow := workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: 24 * time.Hour, WaitForCancellation: true})
		return workflow.ExecuteActivity(slow, "slow", "order 17").Get(ctx, nil)
	})
	if err != nil || got.err != nil || got.rejected != nil || p.runs != 2 {
		t.Fatalf("%v, %+v, %d runs", err, got, p.runs)
	}
	if pre := p.latestOf(wflo.SnapshotPreRestore).At.Sub(first); pre < 25*time.Minute || pre > 26*time.Minute {
		t.Errorf("what is given up was saved after %s, want 25 minutes", pre)
	}
	if !second.IsZero() {
		t.Error("the run waited for the action after it had gone back")
	}
}
