//go:build integration

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/plugin"
)

// What is larger than history should hold is stored beside it; workflow,
// activities and a client with the plugin see the value all the same.
func (d *dev) testLargePayloads(t *testing.T) {
	t.Parallel()
	id := unique("large")
	mark := strings.Repeat("0123456789abcdef", 64)
	task := wflo.Task{Model: modelName, MaxTokens: 100_000, Prompt: "echo " + strings.Repeat(mark, 200)} // 200 KiB
	guard, err := plugin.New(plugin.Config{DataDir: filepath.Join(d.home, "wflo"), Database: "memory"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(guard.Close)
	governed, err := client.DialContext(t.Context(), client.Options{HostPort: d.Address, Plugins: []client.Plugin{guard}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(governed.Close)
	run, err := governed.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: id, TaskQueue: "wflo"}, wflo.WorkflowAgent, task)
	if err != nil {
		t.Fatal(err)
	}
	var a wflo.Answer
	if err := run.Get(t.Context(), &a); err != nil {
		t.Fatal(err)
	}
	if a.Text != task.Prompt {
		t.Errorf("got %d bytes back, sent %d", len(a.Text), len(task.Prompt))
	}
	claims, events := 0, d.client(t).GetWorkflowHistory(t.Context(), id, "", false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		e, err := events.Next()
		if err != nil {
			t.Fatal(err)
		}
		text, err := protojson.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if len(text) > plugin.DefaultInline {
			t.Errorf("%s has %d bytes", e.GetEventType(), len(text))
		}
		if strings.Contains(string(text), "externalPayloads") {
			claims++
		}
	}
	if claims < 4 { // started, scheduled, completed activity, completed run
		t.Errorf("%d events hold claims, want 4 or more", claims)
	}
	// Also a command without the store must say something sensible.
	d.wflo(t, "status", id).want(t, 0, "completed")
}

// A person who starts a large task by hand gets the answer, too.
func (d *dev) testLargeByHand(t *testing.T) {
	t.Parallel()
	task := wflo.Task{Model: modelName, MaxTokens: 100_000, Prompt: "echo " + strings.Repeat("0123456789abcdef", 13000)}
	data, err := json.Marshal(task)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "task.json")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	p := d.wflo(t, "run", "agent", "--input", "@"+path).want(t, 0)
	if got := strings.TrimSpace(p.out.String()); got != task.Prompt {
		t.Errorf("printed %d bytes, want %d: %s", len(got), len(task.Prompt), fmt.Sprintf("%.300q", got))
	}
}
