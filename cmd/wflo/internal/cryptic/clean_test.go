//go:build integration

package cryptic

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"

	"github.com/wflo-ai/wflo-go/envelope"
	"github.com/wflo-ai/wflo-go/internal/claims"
	"github.com/wflo-ai/wflo-go/internal/objectstore/file"
	"github.com/wflo-ai/wflo-go/plugin"
)

// TestCleaning runs agents with large payloads, sealed, and cleans as if two months had
// gone by: what an open run, a closed one and a schedule claim stays and is still read, and
// what belonged to a run that the server has forgotten goes. Without the key nothing goes.
func TestCleaning(t *testing.T) {
	quiet(t)
	s, dir := serve(t, ""), t.TempDir()
	keys := newKey(t, "k1")
	w := begin(t, s, dir, "cleaning", plugin.Payloads{Keys: keys})
	large := func(letter string) string { return strings.Repeat(letter, 300<<10) }
	for _, id := range []string{"closed", "forgotten"} {
		run, err := w.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: id, TaskQueue: "cleaning"}, child, large(id[:1]))
		if err != nil {
			t.Fatal(err)
		}
		if err := ends(t, run, nil); err != nil {
			t.Fatal(err)
		}
	}
	open, err := w.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: "open", TaskQueue: "cleaning-nobody"}, child, large("o"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.ScheduleClient().Create(t.Context(), client.ScheduleOptions{
		ID: "yearly", Spec: client.ScheduleSpec{CronExpressions: []string{"0 0 1 1 *"}}, Paused: true,
		Action: &client.ScheduleWorkflowAction{ID: "later", Workflow: child, Args: []any{large("s")}, TaskQueue: "cleaning"},
	})
	if err != nil {
		t.Fatal(err)
	}
	blobs, err := file.Open(file.Config{Dir: filepath.Join(dir, "blobs")})
	if err != nil {
		t.Fatal(err)
	}
	defer blobs.Close()
	cleaner := func(keys string) claims.Config {
		codec, err := envelope.New(envelope.Config{Keys: keys})
		if err != nil {
			t.Fatal(err)
		}
		opts := client.Options{HostPort: s.HostPort(), Namespace: s.Namespace()}
		codec.Configure(&opts)
		c, err := client.DialContext(t.Context(), opts)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		return claims.Config{Service: c.WorkflowService(), Namespaces: []string{s.Namespace()}, Blobs: blobs, Now: func() time.Time { return time.Now().AddDate(0, 2, 0) }}
	}
	all := stored(t, filepath.Join(dir, "blobs"))
	_, err = w.WorkflowService().DeleteWorkflowExecution(t.Context(), &workflowservice.DeleteWorkflowExecutionRequest{Namespace: s.Namespace(), WorkflowExecution: described(t, w, "forgotten")})
	if err != nil {
		t.Fatal(err)
	}
	await(t, "the server forgets a run", func() bool {
		_, err := w.DescribeWorkflowExecution(t.Context(), "forgotten", "")
		return err != nil
	})
	await(t, "the runs are listed", func() bool {
		n, err := w.WorkflowService().CountWorkflowExecutions(t.Context(), &workflowservice.CountWorkflowExecutionsRequest{Namespace: s.Namespace()})
		return err == nil && n.GetCount() == 2
	})
	stranger := cleaner(newKey(t, "k2"))
	if report, err := claims.Clean(t.Context(), stranger); err == nil || report.Deleted != 0 || stored(t, filepath.Join(dir, "blobs")) != all {
		t.Fatalf("without the key: %+v, %v", report, err)
	}
	report, err := claims.Clean(t.Context(), cleaner(keys))
	if err != nil || report.Deleted == 0 || report.Needed < 3 || report.Needed+report.Deleted != all || report.Schedules != 1 || report.Runs != 2 {
		t.Fatalf("%d blobs: %+v, %v", all, report, err)
	}
	// The worker's own cache would hide what is gone: somebody else reads.
	later := begin(t, s, dir, "cleaning-nobody", plugin.Payloads{Keys: keys})
	if err := ends(t, later.GetWorkflow(t.Context(), open.GetID(), open.GetRunID()), nil); err != nil {
		t.Errorf("the open run: %v", err)
	}
	if err := ends(t, later.GetWorkflow(t.Context(), "closed", ""), nil); err != nil {
		t.Errorf("the closed run: %v", err)
	}
	if err := later.ScheduleClient().GetHandle(t.Context(), "yearly").Trigger(t.Context(), client.ScheduleTriggerOptions{}); err != nil {
		t.Fatal(err)
	}
	var started string
	await(t, "the schedule's run", func() bool {
		d, err := later.ScheduleClient().GetHandle(t.Context(), "yearly").Describe(t.Context())
		if err != nil || len(d.Info.RecentActions) == 0 || d.Info.RecentActions[0].StartWorkflowResult == nil {
			return false
		}
		started = d.Info.RecentActions[0].StartWorkflowResult.WorkflowID
		return true
	})
	if err := ends(t, w.GetWorkflow(t.Context(), started, ""), nil); err != nil {
		t.Errorf("the schedule's run: %v", err)
	}
	t.Setenv("TEMPORAL_ADDRESS", s.HostPort())
	t.Setenv("WFLO_DATA_DIR", dir)
	t.Setenv("WFLO_PAYLOAD_KEYS", keys)
	c := command(t, "payloads", "clean", "--dry-run", "-o", "json", "--only", s.Namespace())
	c.Want(t, 0)
	var said claims.Report
	if err := json.Unmarshal([]byte(c.Out.String()), &said); err != nil || said != (claims.Report{}) {
		t.Errorf("nothing is old: %+v, %v, %s", said, err, c.Out.String())
	}
}

// stored counts the blobs of a directory.
func stored(t *testing.T, dir string) int {
	t.Helper()
	n := 0
	folders, err := filepath.Glob(filepath.Join(dir, "??"))
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range folders {
		entries, err := os.ReadDir(folder)
		if err != nil {
			t.Fatal(err)
		}
		n += len(entries)
	}
	return n
}

func described(t *testing.T, w *site, id string) *commonpb.WorkflowExecution {
	t.Helper()
	d, err := w.DescribeWorkflowExecution(t.Context(), id, "")
	if err != nil {
		t.Fatal(err)
	}
	return d.GetWorkflowExecutionInfo().GetExecution()
}
