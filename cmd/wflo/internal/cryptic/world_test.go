//go:build integration

package cryptic

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/client"
	sdkworker "go.temporal.io/sdk/worker"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/clitest"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/devserver"
	"github.com/wflo-ai/wflo-go/envelope"
	"github.com/wflo-ai/wflo-go/plugin"
)

// quiet keeps the test's own environment out: keys are given, not found.
func quiet(t *testing.T) {
	t.Helper()
	for _, name := range []string{"WFLO_PAYLOAD_KEYS", "WFLO_PAYLOAD_KEYS_FILE", "WFLO_PAYLOAD_REFUSE_PLAIN", "WFLO_CONFIG"} {
		t.Setenv(name, "")
	}
}

func newKey(t *testing.T, id string) string {
	t.Helper()
	line, err := envelope.NewKey(id)
	if err != nil {
		t.Fatal(err)
	}
	return line
}

func serve(t *testing.T, dir string) *devserver.Server {
	t.Helper()
	s, err := devserver.Start(t.Context(), devserver.Config{DataDir: dir, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

// site is one worker with its client, its keys, its data and its log.
type site struct {
	client.Client
	guard *plugin.Plugin
	log   *clitest.Buffer
	stop  func()
}

// begin starts a worker of the queue.
func begin(t *testing.T, s *devserver.Server, dir, queue string, p plugin.Payloads) *site {
	t.Helper()
	if dir == "" {
		dir = t.TempDir()
	}
	out := &site{log: &clitest.Buffer{}}
	log := slog.New(slog.NewTextHandler(out.log, nil))
	guard, err := plugin.New(plugin.Config{
		DataDir: dir, Database: "memory", Payloads: p, Logger: log, Approvals: wflo.Terms{AllowUnsigned: true}, Providers: []plugin.Provider{},
	})
	if err != nil {
		t.Fatal(err)
	}
	out.guard = guard
	out.Client, err = client.DialContext(t.Context(), client.Options{HostPort: s.HostPort(), Namespace: s.Namespace(), Plugins: []client.Plugin{guard}})
	if err != nil {
		guard.Close()
		t.Fatal(err)
	}
	w := sdkworker.New(out.Client, queue, sdkworker.Options{WorkerStopTimeout: time.Second})
	w.RegisterWorkflow(everything)
	w.RegisterWorkflow(child)
	w.RegisterWorkflow(waiting)
	w.RegisterActivity(&work{})
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	out.stop = sync.OnceFunc(func() { w.Stop(); out.Client.Close(); guard.Close() })
	t.Cleanup(out.stop)
	return out
}

// bare is a client that knows nothing of keys: what it sees, whoever runs the server sees.
func bare(t *testing.T, s *devserver.Server) client.Client {
	t.Helper()
	c, err := client.DialContext(t.Context(), client.Options{HostPort: s.HostPort(), Namespace: s.Namespace(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func history(t *testing.T, c client.Client, id, runID string) []*historypb.HistoryEvent {
	t.Helper()
	var events []*historypb.HistoryEvent
	for i := c.GetWorkflowHistory(t.Context(), id, runID, false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT); i.HasNext(); {
		e, err := i.Next()
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	return events
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	clitest.Await(t, what, ok)
}

func ends(t *testing.T, run client.WorkflowRun, into any) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return run.Get(ctx, into)
}

func mustContain(t *testing.T, what, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("%s lacks %q:\n%.3000s", what, p, text)
		}
	}
}
