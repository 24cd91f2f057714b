package plugin

import (
	"context"
	"errors"
	"fmt"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	taskqueuepb "go.temporal.io/api/taskqueue/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/step"
)

const (
	// countEvery is how old the gauges of what waits may be: as old as a scrape.
	countEvery = 15 * time.Second
	// countMost bounds what is read to count it. A gauge that stands there means so many
	// or more.
	countMost = 1000
)

// counted counts what the activities of recovery did. They are repeated until they
// succeed, and only a success is counted, so each fact counts once.
func (p *Plugin) counted(ctx context.Context, info activity.Info, args []any, result any, took time.Duration) {
	// A call that undid says so, whatever it is called; the run notes it once more.
	if state, ok := result.(wflo.CompensationState); ok && state == wflo.CompensationDone {
		p.metrics.Compensation(ctx, state)
		return
	}
	switch info.ActivityType.Name {
	case string(step.SnapshotTake):
		if s, ok := result.(wflo.Snapshot); ok {
			p.metrics.SnapshotTaken(ctx, s, took)
		}
	case string(step.RestoreNote):
		if r, ok := first[wflo.Restored](args); ok && (r.State == wflo.RestoreDone || r.State == wflo.RestoreFailed) {
			p.metrics.Restored(ctx, modeOf(r), r.State)
		}
	case string(step.RestoreFollow), string(step.RestoreFail):
		r, ok := result.(wflo.Restored)
		if !ok {
			return
		}
		// A run that went back says so itself; what was given up has nobody else.
		if info.ActivityType.Name == string(step.RestoreFail) && r.State == wflo.RestoreFailed {
			p.metrics.Restored(ctx, modeOf(r), r.State)
		}
		if !r.Asked.IsZero() && !r.Ended.IsZero() {
			p.metrics.RestoreTook(ctx, modeOf(r), r.Ended.Sub(r.Asked))
		}
	case string(step.UndoNote):
		if n, ok := first[step.CompensationNotes](args); ok {
			for range n.New {
				p.metrics.Compensation(ctx, wflo.CompensationRegistered)
			}
			for _, m := range n.Marks {
				if m.State != wflo.CompensationDone {
					p.metrics.Compensation(ctx, m.State)
				}
			}
		}
	}
}

// first is the input of an activity that takes a T.
func first[T any](args []any) (v T, ok bool) {
	if len(args) == 0 {
		return v, false
	}
	v, ok = args[0].(T)
	return v, ok
}

// modeOf is the mode that the plan settled on, where nobody asked for one.
func modeOf(r wflo.Restored) wflo.RestoreMode {
	if r.Restore.Mode != "" {
		return r.Restore.Mode
	}
	if r.Plan.Mode != "" {
		return r.Plan.Mode
	}
	return wflo.RestoreInPlace
}

// countWaiting shows what waits: for people, and for workers.
func (p *Plugin) countWaiting(ctx context.Context, c client.Client, namespace, queue string) error {
	open, gatesErr := p.parts.records.ListGates(ctx, activities.GateQuery{Limit: countMost})
	if gatesErr == nil {
		p.metrics.GatesWaiting(open, time.Now())
	} else {
		gatesErr = fmt.Errorf("list gates: %w", gatesErr)
	}
	var deadErr error
	if store := p.recovery(); store != nil {
		dead, err := store.ListCompensations(ctx, activities.CompensationQuery{States: []wflo.CompensationState{wflo.CompensationDead}, Limit: countMost})
		if err == nil {
			p.metrics.DeadLetters(len(dead))
		} else {
			deadErr = fmt.Errorf("list dead letters: %w", err)
		}
	}
	return errors.Join(gatesErr, deadErr, p.countTasks(ctx, c, namespace, queue))
}

// countTasks asks Temporal how much waits in the worker's queue.
func (p *Plugin) countTasks(ctx context.Context, c client.Client, namespace, queue string) error {
	for kind, of := range map[string]enumspb.TaskQueueType{
		"workflow": enumspb.TASK_QUEUE_TYPE_WORKFLOW, "activity": enumspb.TASK_QUEUE_TYPE_ACTIVITY,
	} {
		answer, err := c.WorkflowService().DescribeTaskQueue(ctx, &workflowservice.DescribeTaskQueueRequest{
			Namespace: namespace, TaskQueue: &taskqueuepb.TaskQueue{Name: queue, Kind: enumspb.TASK_QUEUE_KIND_NORMAL},
			TaskQueueType: of, ReportStats: true,
		})
		if err != nil {
			return fmt.Errorf("describe task queue %s: %w", queue, err)
		}
		stats := answer.GetStats()
		p.metrics.Backlog(queue, kind, stats.GetApproximateBacklogCount(), stats.GetApproximateBacklogAge().AsDuration())
	}
	return nil
}
