//go:build integration

package hosts

import (
	"path/filepath"
	"strings"
	"testing"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"

	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/clitest"
)

// deployment is what the tests say of builds.
type deployment struct {
	t *testing.T
	client.WorkerDeploymentHandle
}

// current waits until the server knows a build, and makes new runs its.
func (d deployment) current(build string) {
	d.t.Helper()
	clitest.Await(d.t, "build "+build, func() bool {
		_, err := d.SetCurrentVersion(d.t.Context(), client.WorkerDeploymentSetCurrentVersionOptions{BuildID: build})
		return err == nil
	})
}

func begin(t *testing.T, c client.Client, queue, id string) client.WorkflowRun {
	t.Helper()
	run, err := c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: id, TaskQueue: queue}, deployName)
	if err != nil {
		t.Fatal(err)
	}
	return run
}

// marked waits until a run has done its step, so that a build has begun it.
func marked(t *testing.T, c client.Client, run client.WorkflowRun) {
	t.Helper()
	clitest.Await(t, "the step of "+run.GetID(), func() bool {
		return happened(t, c, run, enumspb.EVENT_TYPE_ACTIVITY_TASK_COMPLETED) != ""
	})
}

// happened gives the last event of a kind; empty without one.
func happened(t *testing.T, c client.Client, run client.WorkflowRun, kind enumspb.EventType) string {
	t.Helper()
	found := ""
	for it := c.GetWorkflowHistory(t.Context(), run.GetID(), run.GetRunID(), false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT); it.HasNext(); {
		e, err := it.Next()
		if err != nil {
			return ""
		}
		if e.GetEventType() == kind {
			found = e.String()
		}
	}
	return found
}

// ends lets a run go on, and wants the code that it ends with.
func ends(t *testing.T, c client.Client, run client.WorkflowRun, want string) {
	t.Helper()
	signal(t, c, run, "go", nil)
	var got string
	if err := run.Get(t.Context(), &got); err != nil || got != want {
		t.Errorf("%s ended with %q, %v; want the code %q", run.GetID(), got, err, want)
	}
}

// TestDeploy: two builds of a worker side by side, of which the new one could not go on
// with what the old one began. Runs end with the build that they began with, whichever
// is current: before, after and during a ramp, and after going back.
func TestDeploy(t *testing.T) {
	t.Parallel()
	server := startTemporal(t, filepath.Join(t.TempDir(), "temporal.db"))
	c := server.dial(t)
	build := func(id, code string) *clitest.Program {
		return server.worker(t, "deploy", t.TempDir(), "TEMPORAL_DEPLOYMENT_NAME=agents", "TEMPORAL_WORKER_BUILD_ID="+id, workerCode+"="+code)
	}
	build("1", "old")
	d := deployment{t, c.WorkerDeploymentClient().GetHandle("agents")}
	d.current("1")
	first, early := begin(t, c, "deploy", "first"), begin(t, c, "deploy", "early")
	marked(t, c, first)
	marked(t, c, early)

	build("2", "new")
	clitest.Await(t, "a ramp to build 2", func() bool {
		_, err := d.SetRampingVersion(t.Context(), client.WorkerDeploymentSetRampingVersionOptions{BuildID: "2", Percentage: 100})
		return err == nil
	})
	ramped := begin(t, c, "deploy", "ramped")
	marked(t, c, ramped)
	d.current("2")
	second := begin(t, c, "deploy", "second")
	marked(t, c, second)
	ends(t, c, first, "old")

	d.current("1")
	third := begin(t, c, "deploy", "third")
	marked(t, c, third)
	ends(t, c, third, "old")
	ends(t, c, second, "new")
	ends(t, c, ramped, "new")
	ends(t, c, early, "old")
}

// TestDeployWithoutVersions: new code that cannot go on with what old code began, and
// that nobody gave a version. The task of the workflow fails, where everybody can see
// it, again and again; the run does not, and ends when the old code is back.
func TestDeployWithoutVersions(t *testing.T) {
	t.Parallel()
	server := startTemporal(t, filepath.Join(t.TempDir(), "temporal.db"))
	c := server.dial(t)
	old := server.worker(t, "bare", t.TempDir(), workerCode+"=old")
	run := begin(t, c, "bare", "stuck")
	marked(t, c, run)
	old.Kill()
	broken := server.worker(t, "bare", t.TempDir(), workerCode+"=new")
	signal(t, c, run, "go", nil)
	clitest.Await(t, "a failed task", func() bool {
		return happened(t, c, run, enumspb.EVENT_TYPE_WORKFLOW_TASK_FAILED) != ""
	})
	failed := happened(t, c, run, enumspb.EVENT_TYPE_WORKFLOW_TASK_FAILED)
	if !strings.Contains(failed, "NON_DETERMINISTIC_ERROR") && !strings.Contains(failed, "ondeterministic") {
		t.Errorf("the task failed with %s", failed)
	}
	clitest.Await(t, "what the worker says of it", func() bool { return strings.Contains(broken.Said(), "ondeterminis") })
	got, err := c.DescribeWorkflowExecution(t.Context(), run.GetID(), run.GetRunID())
	if err != nil || got.GetWorkflowExecutionInfo().GetStatus() != enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING {
		t.Errorf("the run is %v, %v", got.GetWorkflowExecutionInfo().GetStatus(), err)
	}
	broken.Kill()
	server.worker(t, "bare", t.TempDir(), workerCode+"=old")
	var ended string
	if err := run.Get(t.Context(), &ended); err != nil || ended != "old" {
		t.Errorf("it ended with %q, %v", ended, err)
	}
}
