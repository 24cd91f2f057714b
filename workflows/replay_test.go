package workflows_test

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/plugin"
	"github.com/wflo-ai/wflo-go/sandbox/sandboxtest"
	"github.com/wflo-ai/wflo-go/workflows"
	"github.com/wflo-ai/wflo-go/workflows/testdata/histories"
)

// recorded reads the histories by name.
func recorded(t *testing.T) map[string]*historypb.History {
	t.Helper()
	files, err := filepath.Glob("testdata/histories/*.json")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]*historypb.History{}
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		h, err := client.HistoryFromJSON(f, client.HistoryJSONOptions{})
		f.Close()
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		out[strings.TrimSuffix(filepath.Base(file), ".json")] = h
	}
	return out
}

// replay runs today's code over a history, with the plugin or without.
func replay(t *testing.T, h *historypb.History, plugins ...worker.Plugin) error {
	t.Helper()
	r, err := worker.NewWorkflowReplayerWithOptions(worker.WorkflowReplayerOptions{Plugins: plugins})
	if err != nil {
		t.Fatal(err)
	}
	histories.Register(r)
	if len(plugins) == 0 {
		r.RegisterWorkflowWithOptions(workflows.RunAgent, workflow.RegisterOptions{Name: wflo.WorkflowAgent})
	}
	started := h.Events[0].GetWorkflowExecutionStartedEventAttributes()
	quiet := log.NewStructuredLogger(slog.New(slog.DiscardHandler))
	return r.ReplayWorkflowHistoryWithOptions(quiet, h, worker.ReplayWorkflowHistoryOptions{
		OriginalExecution: workflow.Execution{ID: started.GetWorkflowId(), RunID: started.GetOriginalExecutionRunId()},
	})
}

func guard(t *testing.T) *plugin.Plugin {
	t.Helper()
	p, err := plugin.New(plugin.Config{
		DataDir: t.TempDir(), Database: "memory", Sandbox: &sandboxtest.Fake{}, Providers: []plugin.Provider{},
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// TestReplay holds the workflow half to what it has done before. When it fails,
// runs that are open at the next deploy would fail too: put the change behind
// workflow.GetVersion, and record its history under a new name.
func TestReplay(t *testing.T) {
	p := guard(t)
	all := recorded(t)
	for _, name := range []string{
		"agent", "agent-loop", "agent-over-budget", "agent-refused", "agent-repeats", "budget-raised", "budget-refused-by-a-reviewer",
		"chain", "chain-next", "gate-approved", "gate-approved-by-update", "gate-rejected", "gate-timed-out",
		"halted", "parent-of-an-agent", "plain", "saga", "step-budget",
	} {
		if all[name] == nil {
			t.Errorf("history %s is gone", name)
		}
	}
	for name, h := range all {
		t.Run(name, func(t *testing.T) {
			if err := replay(t, h, p); err != nil {
				t.Errorf("runs like this one would fail after a deploy: %v", err)
			}
		})
	}
}

// TestReplayNotices renames one scheduled activity: the replay above would notice
// a changed command.
func TestReplayNotices(t *testing.T) {
	for name, activity := range map[string]string{
		"gate-approved":                "wflo.approval.Open",
		"budget-raised":                "wflo.budget.TopUp",
		"budget-refused-by-a-reviewer": "wflo.approval.Open",
		"step-budget":                  histories.Do,
	} {
		h, found := recorded(t)[name], 0
		for _, e := range h.Events {
			if a := e.GetActivityTaskScheduledEventAttributes(); a.GetActivityType().GetName() == activity {
				a.ActivityType.Name = "another"
				found++
			}
		}
		if err := replay(t, h, guard(t)); found != 1 || err == nil || !strings.Contains(err.Error(), "TMPRL1100") {
			t.Errorf("%s with %d changes of %s: replay = %v; want a non-determinism error", name, found, activity, err)
		}
	}
}

// TestReplayKeepsWhatLoopsDid holds the detection of loops to the version that it
// is behind: an agent that did one thing seven times before there was such a
// detection goes on when it is replayed, and one that was stopped stays so.
func TestReplayKeepsWhatLoopsDid(t *testing.T) {
	for name, want := range map[string]struct{ programs, versions int }{
		"agent-repeats": {7, 0},
		"agent-loop":    {wflo.DefaultMaxRepeats, 1},
	} {
		programs, versions := 0, 0
		for _, e := range recorded(t)[name].Events {
			if e.GetActivityTaskScheduledEventAttributes().GetActivityType().GetName() == "wflo.sandbox.Run" {
				programs++
			}
			if e.GetMarkerRecordedEventAttributes().GetMarkerName() == "Version" {
				versions++
			}
		}
		if programs != want.programs || versions != want.versions {
			t.Errorf("%s ran %d programs with %d versions, want %+v", name, programs, versions, want)
		}
		if err := replay(t, recorded(t)[name], guard(t)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestReplayNeedsThePlugin shows that the plugin is workflow code: taking it out
// of a worker breaks open runs, as does adding it to a worker that has some.
func TestReplayNeedsThePlugin(t *testing.T) {
	all := recorded(t)
	for _, name := range []string{"gate-approved", "saga", "halted", "chain-next", "agent", "plain", "budget-raised"} {
		err := replay(t, all[name])
		if err == nil || !strings.Contains(err.Error(), "TMPRL1100") {
			t.Errorf("%s replays without the plugin: %v", name, err)
		}
	}
}

// TestHistoriesNameNoMachine keeps what Temporal records about a machine out of
// the repository.
func TestHistoriesNameNoMachine(t *testing.T) {
	for name, h := range recorded(t) {
		text, err := json.Marshal(h)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range h.Events {
			// A task that the server begins itself, for an update, has none.
			if a := e.GetWorkflowTaskStartedEventAttributes(); a.GetIdentity() != "" && a.GetIdentity() != "govern" {
				t.Errorf("%s: event %d has identity %q", name, e.EventId, a.Identity)
			}
			if a := e.GetWorkflowTaskScheduledEventAttributes(); a.GetTaskQueue().GetNormalName() != "" && a.GetTaskQueue().GetName() != "sticky" {
				t.Errorf("%s: event %d has task queue %q", name, e.EventId, a.GetTaskQueue().GetName())
			}
		}
		if len(text) > 100<<10 {
			t.Errorf("%s: %d bytes; record something shorter", name, len(text))
		}
	}
}
