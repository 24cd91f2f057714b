package govern

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/recovery"
	"github.com/wflo-ai/wflo-go/workflows"
)

// TestAnEffectUnderWayEndsBeforeItIsUndone, also with Temporal's own options, under which
// a call that is cancelled counts as over at once while the activity goes on. Only a real
// server can show that.
func TestAnEffectUnderWayEndsBeforeItIsUndone(t *testing.T) {
	var mu sync.Mutex
	var did []string
	say := func(s string) { mu.Lock(); did = append(did, s); mu.Unlock() }
	lines := func() []string { mu.Lock(); defer mu.Unlock(); return slices.Clone(did) }
	landed := make(chan struct{})
	code := func(ctx workflow.Context) error {
		ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Minute, RetryPolicy: &temporal.RetryPolicy{MaximumAttempts: 1}})
		if _, err := workflows.TakeSnapshot(ctx, "s"); err != nil {
			return err
		}
		if len(lines()) > 0 {
			return nil // restored
		}
		_, err := workflows.Step(ctx, "pay", workflows.StepOptions{
			Effect: wflo.EffectReversible, Compensation: &workflows.Compensation{Name: "pay", Activity: "slow-refund"},
		}, func(ctx workflow.Context) (string, error) {
			return "", workflow.ExecuteActivity(ctx, "slow-charge").Get(ctx, nil)
		})
		return err
	}
	w := newWorld(t, config{register: func(r worker.Registry) {
		r.RegisterWorkflowWithOptions(code, workflow.RegisterOptions{Name: "slow"})
		r.RegisterActivityWithOptions(func(context.Context) error {
			say("charge begins")
			<-landed // it hears of no cancellation
			say("charge lands")
			return nil
		}, activity.RegisterOptions{Name: "slow-charge"})
		r.RegisterActivityWithOptions(func(context.Context) error {
			say("refund")
			return nil
		}, activity.RegisterOptions{Name: "slow-refund"})
	}})
	run := w.start(wflo.Run{User: "ann", Org: "acme"}, "slow")
	eventually(t, "the charge", func() bool { return slices.Contains(lines(), "charge begins") })
	back := recovery.New(recovery.Config{Client: w.Client})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var out wflo.Restored
	var err error
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		out, err = back.Do(ctx, wflo.Restore{ID: "back-" + w.queue, WorkflowID: run.GetID(), To: wflo.RestorePoint{Snapshot: "s"}, By: "bob", Reason: "x", AcceptIrreversible: true})
	}()
	// What the run does when it takes the call for over is in the events of the very task
	// that cancels the call.
	asked := func(e *historypb.HistoryEvent) bool {
		return e.EventType == enumspb.EVENT_TYPE_ACTIVITY_TASK_CANCEL_REQUESTED
	}
	var events []*historypb.HistoryEvent
	eventually(t, "the charge being asked to stop", func() bool {
		events = w.history(run.GetID(), run.GetRunID()).Events
		return slices.ContainsFunc(events, asked)
	})
	for _, e := range events[slices.IndexFunc(events, asked):] {
		if a := e.GetActivityTaskScheduledEventAttributes(); a != nil {
			t.Errorf("%s was called while the charge was under way", a.ActivityType.Name)
		}
	}
	close(landed)
	<-ended
	if err != nil || out.State != wflo.RestoreDone {
		t.Errorf("the restore is %s, %v", out.State, err)
	}
	all := lines()
	if want := []string{"charge begins", "charge lands", "refund"}; !slices.Equal(all, want) {
		t.Errorf("did %v, want %v", all, want)
	}
}
