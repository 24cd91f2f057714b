package govern

import (
	"os"
	"strings"
	"testing"

	"go.temporal.io/sdk/client"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/devserver"
	"github.com/wflo-ai/wflo-go/plugin"
)

// TestTemporalIsOlderThanTheStore loses what Temporal wrote since its backup, as a
// restore of its database does. Nobody knows any more how the run ended, so its effects
// wait for a person, once each; the run itself may begin again under its name.
func TestTemporalIsOlderThanTheStore(t *testing.T) {
	data, store := t.TempDir(), t.TempDir()
	database := func(c *plugin.Config) { swept(c); c.DataDir, c.Database = store, "" }
	serve := func(dir string) *devserver.Server {
		s, err := devserver.Start(t.Context(), devserver.Config{DataDir: dir})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Stop)
		return s
	}
	backup := t.TempDir()
	s := serve(data)
	s.Stop()
	if err := os.CopyFS(backup, os.DirFS(data)); err != nil {
		t.Fatal(err)
	}
	s = serve(data)
	before := newWorld(t, config{server: s, plugin: database, register: registerTwoSteps})
	run := before.waiting(before.start(wflo.Run{Org: "acme"}, "two-steps", false))
	before.worker.Stop()
	before.guard.Close()
	before.Close()
	s.Stop()
	w := newWorld(t, config{server: serve(backup), queue: before.queue, plugin: database, register: registerTwoSteps})
	// The run before is on the disk of the server that is lost, and not in the backup.
	if _, err := w.DescribeWorkflowExecution(t.Context(), run.GetID(), run.GetRunID()); err == nil {
		t.Fatal("Temporal still knows the run")
	}
	w.undoneTo(run, 2, wflo.CompensationDead)
	if rows := w.compensations(run); !strings.Contains(rows[0].Error, "its run is gone") {
		t.Errorf("a dead letter says %q", rows[0].Error)
	}
	w.wantLines() // nothing is undone that nobody decided
	dead, err := w.guard.Recovery().ListCompensations(t.Context(), activities.CompensationQuery{States: []wflo.CompensationState{wflo.CompensationDead}})
	if err != nil || len(dead) != 2 {
		t.Errorf("dead letters %+v, %v", dead, err)
	}
	again, err := w.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: run.GetID(), TaskQueue: w.queue}, "two-steps", false)
	if err != nil {
		t.Fatal(err)
	}
	w.waiting(again)
}
