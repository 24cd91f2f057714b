package govern

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/plugin"
	"github.com/wflo-ai/wflo-go/sandbox/sandboxtest"
	"github.com/wflo-ai/wflo-go/wflotest"
	"github.com/wflo-ai/wflo-go/workflows"
	"github.com/wflo-ai/wflo-go/workflows/testdata/histories"
)

// bareNamespace makes a namespace that has none of wflo's search attributes.
func bareNamespace(t *testing.T) string {
	t.Helper()
	c := dial(t, server, "", nil)
	name := strings.ToLower(t.Name())
	if _, err := c.WorkflowService().RegisterNamespace(t.Context(), &workflowservice.RegisterNamespaceRequest{
		Namespace: name, WorkflowExecutionRetentionPeriod: durationpb.New(24 * time.Hour),
	}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the namespace", func() bool {
		_, err := c.OperatorService().ListSearchAttributes(t.Context(), &operatorservice.ListSearchAttributesRequest{Namespace: name})
		return err == nil
	})
	if got := customAttributes(t, name); len(got) != 0 {
		t.Fatalf("the namespace is not bare: %v", got)
	}
	return name
}

// customAttributes lists wflo's search attributes that the namespace has.
func customAttributes(t *testing.T, namespace string) map[string]enumspb.IndexedValueType {
	t.Helper()
	have, err := dial(t, server, "", nil).OperatorService().ListSearchAttributes(t.Context(), &operatorservice.ListSearchAttributesRequest{Namespace: namespace})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]enumspb.IndexedValueType{}
	for name, kind := range have.CustomAttributes {
		if strings.HasPrefix(name, "Wflo") {
			got[name] = kind
		}
	}
	return got
}

// TestWorkerMakesSearchAttributes starts a worker in a namespace that lacks
// them, and finds a run by the gate that it waits at.
func TestWorkerMakesSearchAttributes(t *testing.T) {
	ns := bareNamespace(t)
	w := newWorld(t, config{namespace: ns})
	if got := customAttributes(t, ns); len(got) != len(plugin.SearchAttributes()) || got[wflo.AttrGates] != enumspb.INDEXED_VALUE_TYPE_KEYWORD_LIST {
		t.Errorf("attributes %v", got)
	}
	run := w.start(wflo.Run{User: "ann", Team: "books"}, histories.Gated, time.Minute)
	w.gate(run, 1)
	waiting := "WfloState = 'waiting_approval' AND WfloGates = 'delete' AND WfloUser = 'ann' AND WfloTeam = 'books'"
	eventually(t, "finding the gate", func() bool { return w.counts(waiting) == 1 })
	w.signal(run, wflo.SignalDecide, wflotest.Approve(w.gate(run, 1), "ann"))
	if err := w.wait(run, nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end of waiting", func() bool { return w.counts(waiting) == 0 })
	eventually(t, "finding the completed run", func() bool {
		return w.counts("WfloState = 'completed' AND WfloGates IS NULL AND WfloUser = 'ann'") == 1
	})
}

// counts is how many runs match, or -1 while the server does not know the
// attributes yet.
func (w *world) counts(query string) int64 {
	r, err := w.CountWorkflow(w.t.Context(), &workflowservice.CountWorkflowExecutionsRequest{Query: query})
	if err != nil {
		return -1
	}
	return r.GetCount()
}

// TestNoSearchAttributes needs nothing of its namespace.
func TestNoSearchAttributes(t *testing.T) {
	ns := bareNamespace(t)
	w := newWorld(t, config{namespace: ns, plugin: func(c *plugin.Config) { c.NoSearchAttributes = true }})
	run := w.start(wflo.Run{User: "ann", Team: "books"}, histories.Gated, time.Minute)
	w.signal(run, wflo.SignalDecide, wflotest.Approve(w.gate(run, 1), "ann"))
	if err := w.wait(run, nil); err != nil {
		t.Fatal(err)
	}
	w.wantLines("delete")
	if got := customAttributes(t, ns); len(got) != 0 {
		t.Errorf("attributes %v", got)
	}
}

// TestLargeResultIsClaimed passes 300 KiB through history without being in it.
func TestLargeResultIsClaimed(t *testing.T) {
	dir := t.TempDir()
	data := strings.Repeat("0123456789abcde\n", 300<<10/16)
	w := newWorld(t, config{
		plugin: func(c *plugin.Config) { c.DataDir = dir },
		register: func(r worker.Registry) {
			registerActivity(r, "big", func(context.Context) (string, error) { return data, nil })
			r.RegisterWorkflowWithOptions(func(ctx workflow.Context) (string, error) {
				ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Minute})
				var out string
				err := workflow.ExecuteActivity(ctx, "big").Get(ctx, &out)
				sum := sha256.Sum256([]byte(out))
				return hex.EncodeToString(sum[:]), err
			}, workflow.RegisterOptions{Name: "reader"})
		},
	})
	run := w.start(wflo.Run{}, "reader")
	var got string
	if err := w.wait(run, &got); err != nil {
		t.Fatal(err)
	}
	if want := sha256.Sum256([]byte(data)); got != hex.EncodeToString(want[:]) {
		t.Error("the result arrived changed")
	}
	if n := len(blobs(t, dir)); n != 1 {
		t.Errorf("%d blobs, want 1", n)
	}
	// A client without the plugin sees what the server stores.
	h := (&world{Client: dial(t, server, "", nil), t: t}).history(run.GetID(), run.GetRunID())
	if n := proto.Size(h); n > 20<<10 {
		t.Errorf("history holds %d bytes", n)
	}
	if err := w.replay(w.history(run.GetID(), run.GetRunID())); err == nil {
		t.Error("replayed a workflow that is not registered")
	}
}

func blobs(t *testing.T, dir string) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(filepath.Join(dir, "blobs"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && d.Name() != "lock" { // the store's own
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// report is a result with one field that is far too large.
type report struct {
	Title string `json:"title"`
	Body  string `json:"body"`
}

// TestTooLargeResultFailsOnce must not be retried: the activity may have paid.
func TestTooLargeResultFailsOnce(t *testing.T) {
	var calls atomic.Int32
	w := newWorld(t, config{register: func(r worker.Registry) {
		registerActivity(r, "huge", func(context.Context) (report, error) {
			calls.Add(1)
			return report{Title: "numbers", Body: strings.Repeat("x", 5<<20)}, nil
		})
		r.RegisterWorkflowWithOptions(func(ctx workflow.Context) error {
			ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Minute}) // retries for ever
			return workflow.ExecuteActivity(ctx, "huge").Get(ctx, nil)
		}, workflow.RegisterOptions{Name: "reader"})
	}})
	run := w.start(wflo.Run{}, "reader")
	app := wantCode(t, w.wait(run, nil), wflo.CodePayloadTooLarge)
	if !app.NonRetryable() || !strings.Contains(app.Error(), "field body holds 5.0 MiB") {
		t.Errorf("retryable %v: %v", !app.NonRetryable(), app)
	}
	if n := calls.Load(); n != 1 {
		t.Errorf("%d attempts, want 1", n)
	}
	for _, e := range w.history(run.GetID(), run.GetRunID()).Events {
		if a := e.GetActivityTaskStartedEventAttributes(); a != nil && a.Attempt != 1 {
			t.Errorf("attempt %d in history", a.Attempt)
		}
	}
}

// TestWorkerRefusesForeignClient: headers, payload store and identity are the
// client's, so half a plugin would govern nothing.
func TestWorkerRefusesForeignClient(t *testing.T) {
	guard, err := plugin.New(plugin.Config{
		DataDir: t.TempDir(), Database: "memory", Sandbox: &sandboxtest.Fake{}, Providers: []plugin.Provider{}, Logger: logger(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(guard.Close)
	w := worker.New(dial(t, server, "", nil), queueOf(t), worker.Options{Plugins: []worker.Plugin{guard}})
	if err := w.Start(); err == nil {
		w.Stop()
		t.Fatal("the worker started")
	} else if wflo.CodeOf(err) != wflo.CodeInvalid || !strings.Contains(err.Error(), "its client has not") || wflo.HintOf(err) == "" {
		t.Errorf("error = %v", err)
	}
}

// TestSweep removes the sandboxes of runs that could not do it themselves, when
// the next worker starts, and no other.
func TestSweep(t *testing.T) {
	w := newWorld(t, config{register: func(r worker.Registry) {
		r.RegisterWorkflowWithOptions(func(ctx workflow.Context) error {
			if err := workflows.WriteFiles(ctx, wflo.File{Name: "a.txt", Data: []byte("x")}); err != nil {
				return err
			}
			return workflow.Sleep(ctx, time.Hour)
		}, workflow.RegisterOptions{Name: "writer"})
	}})
	box := func(run client.WorkflowRun) string {
		return wflo.Run{WorkflowID: run.GetID(), FirstRunID: run.GetRunID()}.ID()
	}
	boxes := func() string {
		got, err := w.guard.Boxes(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(got, " ")
	}
	dead, alive := w.startAs("sweep-dead", wflo.Run{}, "writer"), w.startAs("sweep-alive", wflo.Run{}, "writer")
	eventually(t, "both sandboxes", func() bool { return boxes() == box(alive)+" "+box(dead) })
	if err := w.TerminateWorkflow(t.Context(), dead.GetID(), "", "to see what is left"); err != nil {
		t.Fatal(err)
	}
	never := "sweep-never/01a204fd-0000-7000-8000-000000000000"
	for _, other := range []string{"by-hand", never} {
		if err := w.box.WriteFiles(t.Context(), other, []wflo.File{{Name: "a.txt"}}); err != nil {
			t.Fatal(err)
		}
	}
	start(t, worker.New(w.Client, w.queue+"-second", worker.Options{}))
	want := "by-hand " + box(alive)
	eventually(t, "the sweep", func() bool { return boxes() == want })
	// A new run of the same id is another run: the old one's sandbox goes.
	if err := w.TerminateWorkflow(t.Context(), alive.GetID(), "", "to start it again"); err != nil {
		t.Fatal(err)
	}
	again := w.startAs("sweep-alive", wflo.Run{}, "writer")
	eventually(t, "its sandbox", func() bool { return strings.Contains(boxes(), box(again)) })
	start(t, worker.New(w.Client, w.queue+"-third", worker.Options{}))
	eventually(t, "the second sweep", func() bool { return boxes() == "by-hand "+box(again) })
	if err := w.TerminateWorkflow(t.Context(), again.GetID(), "", "the test is over"); err != nil {
		t.Fatal(err)
	}
}
