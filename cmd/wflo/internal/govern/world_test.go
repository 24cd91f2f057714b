package govern

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/devserver"
	"github.com/wflo-ai/wflo-go/plugin"
	"github.com/wflo-ai/wflo-go/sandbox/sandboxtest"
	"github.com/wflo-ai/wflo-go/wflotest"
	"github.com/wflo-ai/wflo-go/wflotest/scripted"
	"github.com/wflo-ai/wflo-go/workflows/testdata/histories"
)

var update = flag.Bool("update", false, "record the histories that are missing in workflows/testdata/histories")

const model = "gpt-5.4-mini"

// patience bounds what a test waits for; nothing takes this long.
const patience = 2 * time.Minute

// server is shared by the tests of this package: a start costs a second. The
// Temporal server leaves goroutines behind, so there is no leak check.
var server *devserver.Server

func TestMain(m *testing.M) { os.Exit(runMain(m)) }

func runMain(m *testing.M) int {
	flag.Parse()
	dir, err := os.MkdirTemp("", "govern")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if server, err = devserver.Start(context.Background(), devserver.Config{DataDir: dir}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer server.Stop()
	return m.Run()
}

// world is one worker under the plugin, with everything around it.
type world struct {
	client.Client
	t      testing.TB
	guard  *plugin.Plugin
	worker worker.Worker
	queue  string
	box    *sandboxtest.Fake
	model  *scripted.Server
	*journal
	// taskTimeout is that of the workflow tasks of runs; 0 is the server's 10 seconds,
	// of which a task that waits for records asks for more.
	taskTimeout time.Duration
}

// config says how a world differs from the usual one.
type config struct {
	server    *devserver.Server // nil: the shared one
	namespace string            // "": the server's own
	queue     string            // "": the test's name
	script    scripted.Script   // nil: scripted.Echo
	box       *sandboxtest.Fake // nil: succeeds silently
	plugin    func(*plugin.Config)
	register  func(worker.Registry)
}

func newWorld(t testing.TB, cfg config) *world {
	t.Helper()
	if cfg.server == nil {
		cfg.server = server
	}
	if cfg.script == nil {
		cfg.script = scripted.Echo
	}
	if cfg.box == nil {
		cfg.box = &sandboxtest.Fake{}
	}
	if cfg.queue == "" {
		cfg.queue = queueOf(t)
	}
	w := &world{t: t, box: cfg.box, queue: cfg.queue, journal: &journal{}}
	var err error
	if w.model, err = scripted.New(scripted.Config{Script: cfg.script, APIKey: wflotest.APIKey}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.model.Close() })
	pc := plugin.Config{
		DataDir: t.TempDir(), Database: "memory", Sandbox: w.box, Providers: wflotest.Providers(w.model),
		Approvals: wflo.Terms{AllowUnsigned: true}, Logger: logger(t),
	}
	if cfg.plugin != nil {
		cfg.plugin(&pc)
	}
	if w.guard, err = plugin.New(pc); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.guard.Close)
	w.Client = dial(t, cfg.server, cfg.namespace, w.guard)
	w.worker = worker.New(w.Client, w.queue, worker.Options{WorkerStopTimeout: time.Second})
	w.worker.RegisterActivityWithOptions(w.do, activity.RegisterOptions{Name: histories.Do})
	histories.Register(w.worker)
	if cfg.register != nil {
		cfg.register(w.worker)
	}
	start(t, w.worker)
	return w
}

func start(t testing.TB, w worker.Worker) {
	t.Helper()
	if err := w.Start(); err != nil {
		t.Fatalf("start the worker: %v", err)
	}
	t.Cleanup(w.Stop)
}

// dial gives a client with the plugin or, when guard is nil, without. An empty
// namespace is the server's own.
func dial(t testing.TB, s *devserver.Server, namespace string, guard *plugin.Plugin) client.Client {
	t.Helper()
	if namespace == "" {
		namespace = s.Namespace()
	}
	opts := client.Options{
		HostPort: s.HostPort(), Namespace: namespace, Logger: logger(t),
		Identity: "govern", // or histories would name the machine
	}
	if guard != nil {
		opts.Plugins = []client.Plugin{guard}
	}
	c, err := client.DialContext(t.Context(), opts)
	if err != nil {
		t.Fatalf("dial: %v", err)
	}
	t.Cleanup(c.Close)
	return c
}

// logger shows warnings when the test fails, or with -v. A benchmark would show
// them always, between its figures.
func logger(t testing.TB) *slog.Logger {
	if _, ok := t.(*testing.B); ok {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
}

func queueOf(t testing.TB) string { return strings.NewReplacer("/", "-", " ", "-").Replace(t.Name()) }

// start begins a run for r, whose workflow id is the test's name.
func (w *world) start(r wflo.Run, workflow any, args ...any) client.WorkflowRun {
	w.t.Helper()
	return w.startAs(w.queue, r, workflow, args...)
}

func (w *world) startAs(id string, r wflo.Run, workflow any, args ...any) client.WorkflowRun {
	w.t.Helper()
	run, err := w.ExecuteWorkflow(wflo.WithRun(w.t.Context(), r), client.StartWorkflowOptions{
		ID: id, TaskQueue: w.queue, WorkflowExecutionTimeout: 5 * time.Minute, WorkflowTaskTimeout: w.taskTimeout,
		WorkflowIDConflictPolicy: enumspb.WORKFLOW_ID_CONFLICT_POLICY_FAIL,
	}, workflow, args...)
	if err != nil {
		w.t.Fatalf("start %v: %v", workflow, err)
	}
	return run
}

// wait gives the run's error; out may be nil.
func (w *world) wait(run client.WorkflowRun, out any) error {
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	return run.Get(ctx, out)
}

func (w *world) status(run client.WorkflowRun) wflo.Status {
	w.t.Helper()
	var s wflo.Status
	v, err := w.QueryWorkflow(w.t.Context(), run.GetID(), "", wflo.QueryStatus)
	if err == nil {
		err = v.Get(&s)
	}
	if err != nil {
		w.t.Fatalf("query %s: %v", run.GetID(), err)
	}
	return s
}

// gate waits for the nth open gate of the run, counted from 1.
func (w *world) gate(run client.WorkflowRun, n int) wflo.Gate {
	w.t.Helper()
	var g wflo.Gate
	eventually(w.t, fmt.Sprintf("gate %d", n), func() bool {
		gates := w.status(run).Gates
		if len(gates) < n || gates[n-1].Status != wflo.GateOpen {
			return false
		}
		g = gates[n-1]
		return true
	})
	return g
}

func (w *world) signal(run client.WorkflowRun, name string, arg any) {
	w.t.Helper()
	if err := w.SignalWorkflow(w.t.Context(), run.GetID(), "", name, arg); err != nil {
		w.t.Fatalf("signal %s: %v", name, err)
	}
}

// entries are the ledger's lines of the run.
func (w *world) entries(run client.WorkflowRun, firstRunID string) []wflo.Entry {
	w.t.Helper()
	entries, err := w.guard.Ledger().Entries(w.t.Context(), wflo.Run{WorkflowID: run.GetID(), FirstRunID: firstRunID}.ID())
	if err != nil {
		w.t.Fatal(err)
	}
	return entries
}

// journal records what the activity histories.Do was called with.
type journal struct {
	mu    sync.Mutex
	lines []string
	keys  []wflo.EffectKey
}

func (j *journal) do(ctx context.Context, line string) (string, error) {
	run, _ := wflo.RunFrom(ctx)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, line)
	j.keys = append(j.keys, run.EffectKey())
	if strings.HasPrefix(line, "fail") {
		return "", temporal.NewNonRetryableApplicationError("told to", "test", nil)
	}
	return "did " + line, nil
}

// did copies what was done so far, and under which effect keys.
func (j *journal) did() (lines []string, keys []wflo.EffectKey) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append([]string{}, j.lines...), append([]wflo.EffectKey{}, j.keys...)
}

// eventually polls until ok, for things that the server does in its own time.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s did not happen within %s", what, patience)
		}
	}
}

// wantCode fails unless err is an application error of the code.
func wantCode(t testing.TB, err error, code wflo.Code) *temporal.ApplicationError {
	t.Helper()
	var app *temporal.ApplicationError
	if !errors.As(err, &app) || app.Type() != string(code) {
		t.Fatalf("error = %v; want type %s", err, code)
	}
	return app
}

// wantLines compares what was done.
func (w *world) wantLines(want ...string) {
	w.t.Helper()
	if got, _ := w.did(); fmt.Sprint(got) != fmt.Sprint(want) {
		w.t.Errorf("did %q, want %q", got, want)
	}
}

func asJSON(t testing.TB, v any) string {
	t.Helper()
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func registerActivity(r worker.Registry, name string, fn any) {
	r.RegisterActivityWithOptions(fn, activity.RegisterOptions{Name: name})
}
