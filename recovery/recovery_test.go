package recovery_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/recovery"
)

// temporalFake is a Temporal whose workflows end at once.
type temporalFake struct {
	started []string // "type id queue"
	args    map[string]any
	answers map[string]any // by workflow type, or update
	err     error
	memo    map[string]string
}

// answer is a run, or an update, that has ended.
type answer struct {
	client.WorkflowRun
	value any
	err   error
}

func (a answer) Get(_ context.Context, out any) error {
	if a.err != nil {
		return a.err
	}
	data, err := json.Marshal(a.value)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, out)
}

type updated struct {
	client.WorkflowUpdateHandle
	answer answer
}

func (u updated) Get(ctx context.Context, out any) error { return u.answer.Get(ctx, out) }

func (f *temporalFake) ExecuteWorkflow(_ context.Context, o client.StartWorkflowOptions, workflow any, args ...any) (client.WorkflowRun, error) {
	if _, taken := f.args[o.ID]; taken {
		return nil, serviceerror.NewWorkflowExecutionAlreadyStarted("taken", "", "")
	}
	if f.args == nil {
		f.args = map[string]any{}
	}
	f.args[o.ID] = args[0]
	f.started = append(f.started, fmt.Sprintf("%s %s %s", workflow, o.ID, o.TaskQueue))
	return f.GetWorkflow(context.Background(), o.ID, ""), nil
}

func (f *temporalFake) GetWorkflow(_ context.Context, id, _ string) client.WorkflowRun {
	if r, ok := f.args[id].(wflo.Restore); ok {
		return answer{value: wflo.Restored{Restore: r, State: wflo.RestoreDone, Plan: wflo.RestorePlan{Kept: 3}}, err: f.err}
	}
	return answer{value: f.answers[wflo.WorkflowCompensate], err: f.err}
}

func (f *temporalFake) UpdateWorkflow(_ context.Context, o client.UpdateWorkflowOptions) (client.WorkflowUpdateHandle, error) {
	return updated{answer: answer{value: f.answers[o.UpdateName], err: f.err}}, nil
}

func (f *temporalFake) DescribeWorkflowExecution(_ context.Context, id, _ string) (*workflowservice.DescribeWorkflowExecutionResponse, error) {
	if id == "nobody" {
		return nil, serviceerror.NewNotFound("no such run")
	}
	info := &workflowpb.WorkflowExecutionInfo{TaskQueue: "queue-of-" + id, Memo: &commonpb.Memo{Fields: map[string]*commonpb.Payload{}}}
	for name, text := range f.memo {
		p, err := converter.GetDefaultDataConverter().ToPayload(text)
		if err != nil {
			return nil, err
		}
		info.Memo.Fields[name] = p
	}
	return &workflowservice.DescribeWorkflowExecutionResponse{WorkflowExecutionInfo: info}, nil
}

func TestDo(t *testing.T) {
	f := &temporalFake{}
	c := recovery.New(recovery.Config{Client: f})
	r := wflo.Restore{ID: "r", WorkflowID: "wf", To: wflo.RestorePoint{Time: time.Date(2026, 11, 22, 11, 0, 0, 0, time.FixedZone("CET", 3600))}, By: "ann", Reason: "x"}
	for range 2 {
		out, err := c.Do(t.Context(), r)
		if err != nil || out.State != wflo.RestoreDone {
			t.Fatalf("got %+v (%v)", out, err)
		}
	}
	if want := []string{"wflo.Restore wflo-restore/r queue-of-wf"}; !slices.Equal(f.started, want) {
		t.Errorf("started %v, want %v", f.started, want)
	}
	other := r
	other.Reason = "another"
	if _, err := c.Do(t.Context(), other); !errors.Is(err, wflo.ErrConflict) {
		t.Errorf("another request under the same id: %v", err)
	}
	for name, wrong := range map[string]wflo.Restore{
		"no run":      {ID: "x", WorkflowID: "nobody", To: wflo.RestorePoint{Snapshot: "a"}, Reason: "x"},
		"no reason":   {ID: "x", WorkflowID: "wf", To: wflo.RestorePoint{Snapshot: "a"}},
		"no snapshot": {ID: "x", WorkflowID: "wf", Reason: "x"},
	} {
		if _, err := c.Do(t.Context(), wrong); !errors.Is(err, wflo.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPlanNeedsNoReasonAndIsDry(t *testing.T) {
	f := &temporalFake{}
	plan, err := recovery.New(recovery.Config{Client: f, TaskQueue: "agents"}).Plan(t.Context(), wflo.Restore{WorkflowID: "wf", To: wflo.RestorePoint{Snapshot: "a"}})
	if err != nil || plan.Kept != 3 {
		t.Fatalf("got %+v (%v)", plan, err)
	}
	for id, arg := range f.args {
		if r := arg.(wflo.Restore); !r.DryRun || !strings.HasPrefix(id, "wflo-restore/plan-") {
			t.Errorf("started %s with %+v", id, r)
		}
	}
}

func TestRefusalKeepsItsCodeAndHint(t *testing.T) {
	f := &temporalFake{err: temporal.NewNonRetryableApplicationError("the run is closed", string(wflo.CodeConflict), nil, "fork it")}
	_, err := recovery.New(recovery.Config{Client: f}).Do(t.Context(), wflo.Restore{WorkflowID: "wf", To: wflo.RestorePoint{Snapshot: "a"}, Reason: "x"})
	if !errors.Is(err, wflo.ErrConflict) || wflo.HintOf(err) != "fork it" {
		t.Errorf("got %v", err)
	}
}

func TestSnapshotAndCompensate(t *testing.T) {
	f := &temporalFake{answers: map[string]any{
		wflo.UpdateSnapshot:     wflo.Snapshot{ID: "snap-1"},
		wflo.WorkflowCompensate: []wflo.CompensationRecord{{ID: "undo-1", State: wflo.CompensationDone}},
	}}
	c := recovery.New(recovery.Config{Client: f})
	if s, err := c.Snapshot(t.Context(), "wf", wflo.SnapshotOrder{Name: "n"}); err != nil || s.ID != "snap-1" {
		t.Errorf("snapshot %+v (%v)", s, err)
	}
	if all, err := c.Compensate(t.Context(), wflo.CompensationOrder{RunID: "a/b/first", By: "ann"}); err != nil || len(all) != 1 {
		t.Errorf("touched %+v (%v)", all, err)
	}
	if want := []string{"wflo.Compensate wflo-compensate/a/b/first queue-of-a/b"}; !slices.Equal(f.started, want) {
		t.Errorf("started %v, want %v", f.started, want)
	}
	if _, err := c.Compensate(t.Context(), wflo.CompensationOrder{IDs: []string{"undo-1"}}); !errors.Is(err, wflo.ErrInvalid) {
		t.Errorf("a single one without a queue: %v", err)
	}
	c = recovery.New(recovery.Config{Client: f, TaskQueue: "agents"})
	if all, err := c.Compensate(t.Context(), wflo.CompensationOrder{IDs: []string{"undo-1", "undo-2"}}); err != nil || len(all) != 2 {
		t.Errorf("touched %+v (%v)", all, err)
	}
}

func TestOrigin(t *testing.T) {
	f := &temporalFake{memo: map[string]string{"wflo_restore": "r", "wflo_forked_from": "wf/first"}}
	if o, err := recovery.New(recovery.Config{Client: f}).Origin(t.Context(), "fork"); err != nil || o != (recovery.Origin{Restore: "r", ForkedFrom: "wf/first"}) {
		t.Errorf("got %+v (%v)", o, err)
	}
}

// A restore is planned first: what it would undo, and what cannot be undone, is known
// before anything happens.
func Example() {
	c := recovery.New(recovery.Config{Client: &temporalFake{}}) // client.Dial's, in a program
	to := wflo.Restore{ID: "7f3a", WorkflowID: "refund-17", To: wflo.RestorePoint{Snapshot: "before-refund"}, By: "ann", Reason: "wrong account"}
	plan, err := c.Plan(context.Background(), to)
	if err != nil || len(plan.Refusals) > 0 || len(plan.Irreversible) > 0 {
		fmt.Println("not like this:", err, plan.Refusals)
		return
	}
	done, err := c.Do(context.Background(), to)
	fmt.Println(plan.Kept, "outcomes are kept; the restore is", done.State, err)
	// Output: 3 outcomes are kept; the restore is done <nil>
}
