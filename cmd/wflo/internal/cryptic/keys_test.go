//go:build integration

package cryptic

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go/envelope"
	"github.com/wflo-ai/wflo-go/plugin"
)

// waiting answers with what a signal brings, by way of an activity on another queue.
func waiting(ctx workflow.Context, elsewhere string) (string, error) {
	var signal, done string
	workflow.GetSignalChannel(ctx, "go").Receive(ctx, &signal)
	var w work
	act := workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Minute, TaskQueue: elsewhere})
	err := workflow.ExecuteActivity(act, w.Do, signal, 1).Get(ctx, &done)
	return done, err
}

// Without its key a run waits: its tasks fail, the log says which key is missing, and with
// the key it goes on. So does an activity. Keys are changed meanwhile.
func TestKeyGoesAndComesBack(t *testing.T) {
	quiet(t)
	s := serve(t, t.TempDir())
	k1, k2 := newKey(t, "k1"), newKey(t, "k2")
	queue, elsewhere := "forgetful", "elsewhere"
	dir := t.TempDir() // large payloads are shared, as workers of one host do
	before := begin(t, s, dir, queue, plugin.Payloads{Keys: k1})
	run, err := before.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: "forgetful", TaskQueue: queue}, waiting, elsewhere)
	if err != nil {
		t.Fatal(err)
	}
	raw := bare(t, s)
	await(t, "the run to wait for its signal", func() bool {
		return slices.ContainsFunc(history(t, raw, run.GetID(), ""), func(e *historypb.HistoryEvent) bool {
			return e.GetEventType() == enumspb.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
		})
	})
	before.stop()

	// The worker that comes next has no key, and neither has that of the activity.
	keyless := begin(t, s, "", queue, plugin.Payloads{})
	deaf := begin(t, s, "", elsewhere, plugin.Payloads{})
	during := begin(t, s, dir, "nothing", plugin.Payloads{Keys: k2 + "\n" + k1})
	if err := during.SignalWorkflow(t.Context(), run.GetID(), "", "go", "secret"); err != nil {
		t.Fatal(err)
	}
	await(t, "a failed task that names the key", func() bool {
		for _, e := range history(t, raw, run.GetID(), "") {
			if f := e.GetWorkflowTaskFailedEventAttributes().GetFailure(); strings.Contains(f.GetMessage(), `"k1"`) {
				return f.GetApplicationFailureInfo().GetType() == envelope.FailureType
			}
		}
		return false
	})
	await(t, "a line of the log", func() bool { return strings.Contains(keyless.log.String(), "a workflow task cannot be read") })
	mustContain(t, "the log", keyless.log.String(), "forgetful", "k1", "WFLO_PAYLOAD_KEYS")
	d, err := raw.DescribeWorkflowExecution(t.Context(), run.GetID(), "")
	if err != nil || d.GetWorkflowExecutionInfo().GetStatus() != enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING {
		t.Fatalf("the run is %s, %v", d.GetWorkflowExecutionInfo().GetStatus(), err)
	}
	keyless.stop()

	// The key comes back, below a new one.
	after := begin(t, s, dir, queue, plugin.Payloads{Keys: k2 + "," + k1})
	await(t, "an attempt of the activity that names the key", func() bool {
		d, err := raw.DescribeWorkflowExecution(t.Context(), run.GetID(), "")
		if err != nil || len(d.GetPendingActivities()) != 1 {
			return false
		}
		f := d.GetPendingActivities()[0].GetLastFailure()
		return strings.Contains(f.GetMessage(), `"k2"`) && !f.GetApplicationFailureInfo().GetNonRetryable()
	})
	await(t, "a line of the log", func() bool { return strings.Contains(deaf.log.String(), "the input of an activity cannot be read") })
	mustContain(t, "the log", deaf.log.String(), "k2")
	deaf.stop()
	begin(t, s, "", elsewhere, plugin.Payloads{Keys: k2 + "," + k1})
	var done string
	if err := ends(t, after.GetWorkflow(t.Context(), run.GetID(), ""), &done); err != nil || done != "secret"+canary("activity-result") {
		t.Errorf("%q, %v", done, err)
	}
	// One that knows only the old key reads what the old key sealed, and says what it lacks.
	late := begin(t, s, dir, "late", plugin.Payloads{Keys: k1})
	err = late.GetWorkflow(context.Background(), run.GetID(), "").Get(t.Context(), &done)
	if err == nil || !strings.Contains(err.Error(), `"k2"`) || strings.Contains(err.Error(), k1[3:]) {
		t.Errorf("a reader without the key is told %v", err)
	}
}

// A worker that refuses plain payloads leaves runs alone that somebody without keys began.
func TestPlainIsRefused(t *testing.T) {
	quiet(t)
	s := serve(t, "")
	keys := newKey(t, "k1")
	strict := begin(t, s, "", "strict", plugin.Payloads{Keys: keys, RefusePlain: true})
	raw := bare(t, s)
	run, err := raw.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: "strict", TaskQueue: "strict"}, "child", "plain")
	if err != nil {
		t.Fatal(err)
	}
	await(t, "the refusal", func() bool { return strings.Contains(strict.log.String(), "not sealed, and plain ones are refused") })
	own, err := strict.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: "own", TaskQueue: "strict"}, child, "sealed")
	if err != nil {
		t.Fatal(err)
	}
	var said string
	if err := ends(t, own, &said); err != nil || said != "sealed" {
		t.Errorf("%q, %v", said, err)
	}
	strict.stop()
	with := begin(t, s, "", "strict", plugin.Payloads{Keys: keys})
	if err := ends(t, with.GetWorkflow(t.Context(), run.GetID(), ""), &said); err != nil || said != "plain" {
		t.Errorf("%q, %v", said, err)
	}
}
