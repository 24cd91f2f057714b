package devserver

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/plugin"
)

// The Temporal server leaves goroutines of its own behind, so there is no leak
// check here; ours is waited for in Stop.

func start(t *testing.T, cfg Config) *Server {
	t.Helper()
	begin := time.Now()
	s, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatalf("Start: %v", err)
	}
	t.Cleanup(s.Stop)
	t.Logf("started in %s", time.Since(begin).Round(time.Millisecond))
	return s
}

func dial(t *testing.T, s *Server) client.Client {
	t.Helper()
	c, err := client.DialContext(t.Context(), client.Options{
		HostPort: s.HostPort(), Namespace: s.Namespace(), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatalf("dial: %v", err)
	}
	t.Cleanup(c.Close)
	return c
}

func hello(workflow.Context, string) (string, error) { return "hello", nil }

func run(t *testing.T, c client.Client, id string) {
	t.Helper()
	w := worker.New(c, "q", worker.Options{})
	w.RegisterWorkflowWithOptions(hello, workflow.RegisterOptions{Name: "hello"})
	if err := w.Start(); err != nil {
		t.Fatalf("worker: %v", err)
	}
	defer w.Stop()
	r, err := c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: id, TaskQueue: "q"}, "hello", "x")
	if err != nil {
		t.Fatalf("start workflow: %v", err)
	}
	var got string
	if err := r.Get(t.Context(), &got); err != nil || got != "hello" {
		t.Fatalf("result %q, %v", got, err)
	}
}

func TestKeepsRunsOverRestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "here")
	s := start(t, Config{DataDir: dir})
	c := dial(t, s)
	run(t, c, "first")
	checkAttributes(t, c)
	ns, err := c.WorkflowService().DescribeNamespace(t.Context(), &workflowservice.DescribeNamespaceRequest{Namespace: "default"})
	if err != nil {
		t.Fatal(err)
	}
	if got := ns.Config.WorkflowExecutionRetentionTtl.AsDuration(); got != DefaultRetention {
		t.Errorf("retention %s, want %s", got, DefaultRetention)
	}
	resp, err := http.Get(s.UIURL() + "/api/v1/namespaces")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(body), `"default"`) {
		t.Errorf("UI API: %s %v %s", resp.Status, err, body)
	}
	info, err := os.Stat(s.File())
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("database mode %v, %v", info.Mode(), err)
	}
	c.Close()
	s.Stop()
	s.Stop() // a second call does nothing

	s = start(t, Config{DataDir: dir})
	c = dial(t, s)
	if err := c.GetWorkflow(t.Context(), "first", "").Get(t.Context(), nil); err != nil {
		t.Errorf("the run of before: %v", err)
	}
	run(t, c, "second")
}

func checkAttributes(t *testing.T, c client.Client) {
	t.Helper()
	resp, err := c.OperatorService().ListSearchAttributes(t.Context(), &operatorservice.ListSearchAttributesRequest{Namespace: "default"})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]enumspb.IndexedValueType{}
	for name := range plugin.SearchAttributes() {
		got[name] = resp.CustomAttributes[name]
	}
	if diff := cmp.Diff(plugin.SearchAttributes(), got); diff != "" {
		t.Errorf("search attributes (-want +got):\n%s", diff)
	}
}

// An older namespace gets the attributes that it lacks.
func TestAddsAttributesToOlderNamespace(t *testing.T) {
	dir := t.TempDir()
	s := start(t, Config{DataDir: dir})
	c := dial(t, s)
	_, err := c.OperatorService().RemoveSearchAttributes(t.Context(), &operatorservice.RemoveSearchAttributesRequest{
		Namespace: "default", SearchAttributes: []string{wflo.AttrCost, wflo.AttrGates},
	})
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	s.Stop()
	checkAttributes(t, dial(t, start(t, Config{DataDir: dir})))
}

func TestMemoryAndStock(t *testing.T) {
	for name, cfg := range map[string]Config{
		"memory": {Namespace: "other", Logger: slog.New(slog.DiscardHandler)},
		"stock":  {Stock: true, DataDir: t.TempDir()},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, cfg)
			run(t, dial(t, s), "one")
			if (s.File() == "") != (cfg.DataDir == "") {
				t.Errorf("file %q for data dir %q", s.File(), cfg.DataDir)
			}
		})
	}
}

func TestPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := l.Addr().(*net.TCPAddr).Port
	for flag, cfg := range map[string]Config{
		"--port":      {Port: taken},
		"--ui-port":   {UIPort: taken},
		"--http-port": {HTTPPort: taken},
	} {
		cfg.DataDir = filepath.Join(t.TempDir(), "untouched")
		_, err := Start(t.Context(), cfg)
		wantError(t, err, wflo.CodeConflict, "is taken", flag)
		if _, err := os.Stat(cfg.DataDir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: the data directory was made before the ports were checked", flag)
		}
	}
	_, err = Start(t.Context(), Config{Port: taken, UIPort: taken})
	wantError(t, err, wflo.CodeConflict, "is taken", "--port")
}

func TestRefusesConfig(t *testing.T) {
	for name, tc := range map[string]struct {
		cfg  Config
		text string
	}{
		"ip":        {Config{IP: "localhost"}, "--ip"},
		"port":      {Config{Port: 70000}, "--port"},
		"retention": {Config{Retention: time.Minute}, "retention"},
		"dir":       {Config{DataDir: filepath.Join(t.TempDir(), "what?")}, "must not hold"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Start(t.Context(), tc.cfg)
			wantError(t, err, wflo.CodeInvalid, tc.text, "")
		})
	}
}

// Files that are not ours are refused and left exactly as they are.
func TestRefusesForeignFiles(t *testing.T) {
	for name, tc := range map[string]struct {
		make func(t *testing.T, file string)
		text string
	}{
		"text":   {writer([]byte("this is not a database, it is a letter")), "is not a SQLite database"},
		"empty":  {writer(nil), "is not a SQLite database"},
		"header": {writer(append([]byte("SQLite format 3\x00"), make([]byte, 200)...)), "is damaged"},
		"foreign": {func(t *testing.T, file string) {
			execSQL(t, file, "CREATE TABLE diary (entry TEXT)")
		}, "wflo did not make it"},
		"older": {func(t *testing.T, file string) {
			if err := createFile(t.Context(), file); err != nil {
				t.Fatal(err)
			}
			execSQL(t, file, "PRAGMA user_version = 1031")
		}, "made for Temporal server 1.31"},
		"damaged": {func(t *testing.T, file string) {
			if err := createFile(t.Context(), file); err != nil {
				t.Fatal(err)
			}
			f, err := os.OpenFile(file, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := f.WriteAt([]byte(strings.Repeat("garbage!", 4096)), 4096); err != nil {
				t.Fatal(err)
			}
		}, "is damaged"},
		"directory": {func(t *testing.T, file string) {
			if err := os.Mkdir(file, 0o700); err != nil {
				t.Fatal(err)
			}
		}, "not a regular file"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, fileName())
			tc.make(t, file)
			before, _ := os.ReadFile(file)
			_, err := Start(t.Context(), Config{DataDir: dir})
			wantError(t, err, wflo.CodeConflict, tc.text, "--data-dir")
			if !strings.Contains(err.Error(), file) {
				t.Errorf("%v does not name %s", err, file)
			}
			after, _ := os.ReadFile(file)
			if !cmp.Equal(before, after) {
				t.Error("the file was changed")
			}
		})
	}
}

func TestOneProcessPerDirectory(t *testing.T) {
	dir := t.TempDir()
	lock, err := lockDir(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Start(t.Context(), Config{DataDir: dir})
	wantError(t, err, wflo.CodeConflict, "in use by another process", "--data-dir")
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	start(t, Config{DataDir: dir})
}

func TestStartGivesUpWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Start(ctx, Config{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Start = %v, want context.Canceled", err)
	}
}

func writer(data []byte) func(*testing.T, string) {
	return func(t *testing.T, file string) {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func execSQL(t *testing.T, file, query string) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+file)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), query); err != nil {
		t.Fatal(err)
	}
}

func wantError(t *testing.T, err error, code wflo.Code, text, hint string) {
	t.Helper()
	if wflo.CodeOf(err) != code || !strings.Contains(err.Error(), text) || !strings.Contains(wflo.HintOf(err), hint) {
		t.Errorf("error %v (code %s), want code %s, %q, hint with %q", err, wflo.CodeOf(err), code, text, hint)
	}
}
