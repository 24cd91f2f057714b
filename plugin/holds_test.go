package plugin

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/activity"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

func registerAs(name string) activity.RegisterOptions { return activity.RegisterOptions{Name: name} }

// aged is a ledger whose open holds have an age.
type aged struct {
	activities.Ledger
	open   map[time.Duration][]wflo.Hold
	marked map[wflo.EffectKey]int
}

func (a *aged) OpenHolds(_ context.Context, age time.Duration, n int) ([]wflo.Hold, error) {
	var out []wflo.Hold
	for have, holds := range a.open {
		if have >= age {
			out = append(out, holds...)
		}
	}
	return out[:min(n, len(out))], nil
}

func (a *aged) MarkUnknown(_ context.Context, key wflo.EffectKey, attempt int) error {
	a.marked[key] = attempt
	return nil
}

// answers is a server that says what it was told to.
type answers struct {
	asked map[string]int
	say   map[string]func() (*workflowservice.DescribeWorkflowExecutionResponse, error)
}

func (a *answers) describe(_ context.Context, namespace, id string) (*workflowservice.DescribeWorkflowExecutionResponse, error) {
	a.asked[namespace+"/"+id]++
	return a.say[id]()
}

func described(status enumspb.WorkflowExecutionStatus, firstRun string, activities int) func() (*workflowservice.DescribeWorkflowExecutionResponse, error) {
	return func() (*workflowservice.DescribeWorkflowExecutionResponse, error) {
		return &workflowservice.DescribeWorkflowExecutionResponse{
			WorkflowExecutionInfo: &workflowpb.WorkflowExecutionInfo{Status: status, FirstRunId: firstRun},
			PendingActivities:     make([]*workflowpb.PendingActivityInfo, activities),
		}, nil
	}
}

func failedWith(err error) func() (*workflowservice.DescribeWorkflowExecutionResponse, error) {
	return func() (*workflowservice.DescribeWorkflowExecutionResponse, error) { return nil, err }
}

func hold(key, workflow string, within time.Duration) wflo.Hold {
	h := wflo.Hold{Reservation: wflo.Reservation{Key: wflo.EffectKey(key), Attempt: 2, Within: within}, State: wflo.HoldOpen}
	if workflow != "" {
		h.Run = wflo.Run{Namespace: "ns", WorkflowID: workflow, FirstRunID: "r1"}
	}
	return h
}

func TestHoldsThatNobodyClosesAreDecided(t *testing.T) {
	const running = enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING
	server := &answers{asked: map[string]int{}, say: map[string]func() (*workflowservice.DescribeWorkflowExecutionResponse, error){
		"busy":     described(running, "r1", 1),
		"idle":     described(running, "r1", 0),
		"replaced": described(running, "r2", 1),
		"over":     described(enumspb.WORKFLOW_EXECUTION_STATUS_TERMINATED, "r1", 0),
		"gone":     failedWith(serviceerror.NewNotFound("no such run")),
		"nowhere":  failedWith(serviceerror.NewNamespaceNotFound("ns")),
		"hidden":   failedWith(serviceerror.NewPermissionDenied("no", "")),
		"away":     failedWith(serviceerror.NewUnavailable("away")),
	}}
	book := &aged{marked: map[wflo.EffectKey]int{}, open: map[time.Duration][]wflo.Hold{
		// Younger than what the sweep looks at.
		time.Minute: {hold("young", "over", 0)},
		10 * time.Minute: {
			hold("busy", "busy", 0), hold("busy too", "busy", 0), hold("idle", "idle", 0), hold("replaced", "replaced", 0), hold("over", "over", 0),
			hold("gone", "gone", 0), hold("nowhere", "nowhere", 0), hold("hidden", "hidden", 0), hold("away", "away", 0),
			hold("unowned, short", "", time.Minute), hold("unowned, long", "", 20*time.Minute), hold("unowned", "", 0),
		},
		2 * time.Hour: {hold("unowned, old", "", 0), hold("unowned, old and long", "", 3*time.Hour)},
	}}
	counts := map[string]int{}
	h := &holds{
		ledger: book, runs: server, age: 3 * time.Minute, logger: slog.New(slog.DiscardHandler),
		count: func(found string) { counts[found]++ },
	}
	err := h.sweep(t.Context())
	var denied *serviceerror.PermissionDenied
	var away *serviceerror.Unavailable
	if !errors.As(err, &denied) || !errors.As(err, &away) {
		t.Errorf("error = %v; want both that Temporal gave", err)
	}
	want := map[wflo.EffectKey]int{"idle": 2, "replaced": 2, "over": 2, "gone": 2, "nowhere": 2, "unowned, short": 2, "unowned, old": 2}
	if diff := cmp.Diff(want, book.marked); diff != "" {
		t.Errorf("charged (-want +got):\n%s", diff)
	}
	wantCounts := map[string]int{"busy": 5, "unclear": 2, "idle": 1, "closed": 2, "gone": 2, "expired": 2}
	if diff := cmp.Diff(wantCounts, counts); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
	if n := server.asked["ns/busy"]; n != 1 {
		t.Errorf("asked %d times about one run", n)
	}
}
