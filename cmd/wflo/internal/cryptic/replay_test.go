//go:build integration

package cryptic

import (
	"encoding/json"
	"log/slog"
	"strings"
	"testing"

	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
	sdkworker "go.temporal.io/sdk/worker"

	"github.com/wflo-ai/wflo-go/plugin"
)

// A history that was saved as the server has it replays with the keys, and without them
// the replay says which one is missing.
func TestReplayOfWhatTheServerHas(t *testing.T) {
	quiet(t)
	s := serve(t, "")
	keys := newKey(t, "k1")
	dir := t.TempDir()
	w := begin(t, s, dir, "replays", plugin.Payloads{Keys: keys})
	drive(t, w, "replays")
	run, err := w.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: "saved", TaskQueue: "replays"}, child, canary("input"))
	if err != nil {
		t.Fatal(err)
	}
	if err := ends(t, run, nil); err != nil {
		t.Fatal(err)
	}
	saved := &historypb.History{Events: history(t, bare(t, s), "saved", "")}
	replay := func(p plugin.Payloads) error {
		guard, err := plugin.New(plugin.Config{DataDir: dir, Database: "memory", Payloads: p, Providers: []plugin.Provider{}, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		defer guard.Close()
		r, err := sdkworker.NewWorkflowReplayerWithOptions(sdkworker.WorkflowReplayerOptions{Plugins: []sdkworker.Plugin{guard}})
		if err != nil {
			t.Fatal(err)
		}
		r.RegisterWorkflow(child)
		return r.ReplayWorkflowHistory(log.NewStructuredLogger(slog.New(slog.DiscardHandler)), saved)
	}
	if err := replay(plugin.Payloads{}); err == nil || !strings.Contains(err.Error(), `"k1"`) {
		t.Errorf("without a key: %v", err)
	}
	if err := replay(plugin.Payloads{Keys: keys}); err != nil {
		t.Error(err)
	}
	var tale strings.Builder
	for row, err := range w.guard.Story(w.Client).All(t.Context(), "replays-nput", "") {
		if err != nil {
			t.Fatal(err)
		}
		data, err := json.Marshal(row)
		if err != nil {
			t.Fatal(err)
		}
		tale.Write(data)
	}
	mustContain(t, "the story", tale.String(), canary("activity-failure"))
}
