package doctor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/serviceerror"
	taskqueuepb "go.temporal.io/api/taskqueue/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/console"
	"github.com/wflo-ai/wflo-go/internal/sqlite"
	"github.com/wflo-ai/wflo-go/plugin"
	"github.com/wflo-ai/wflo-go/pricing"
	"github.com/wflo-ai/wflo-go/sandbox/docker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// frontend is a Temporal server as far as the doctor asks one.
type frontend struct {
	workflowservice.UnimplementedWorkflowServiceServer
	operatorservice.UnimplementedOperatorServiceServer

	namespace  string
	attributes map[string]enumspb.IndexedValueType
	pollers    int
	skew       time.Duration
	old        bool
	hosted     bool

	mu     sync.Mutex
	polled string
	at     time.Time
}

func (f *frontend) GetSystemInfo(context.Context, *workflowservice.GetSystemInfoRequest) (*workflowservice.GetSystemInfoResponse, error) {
	return &workflowservice.GetSystemInfoResponse{ServerVersion: "1.9.0", Capabilities: &workflowservice.GetSystemInfoResponse_Capabilities{SdkMetadata: !f.old}}, nil
}

func (f *frontend) DescribeNamespace(_ context.Context, r *workflowservice.DescribeNamespaceRequest) (*workflowservice.DescribeNamespaceResponse, error) {
	if r.Namespace != f.namespace {
		return nil, serviceerror.ToStatus(serviceerror.NewNamespaceNotFound(r.Namespace)).Err()
	}
	return &workflowservice.DescribeNamespaceResponse{}, nil
}

func (f *frontend) ListSearchAttributes(context.Context, *operatorservice.ListSearchAttributesRequest) (*operatorservice.ListSearchAttributesResponse, error) {
	if f.hosted {
		return nil, serviceerror.ToStatus(serviceerror.NewPermissionDenied("hosted", "")).Err()
	}
	return &operatorservice.ListSearchAttributesResponse{CustomAttributes: f.attributes}, nil
}

func (f *frontend) DescribeTaskQueue(_ context.Context, r *workflowservice.DescribeTaskQueueRequest) (*workflowservice.DescribeTaskQueueResponse, error) {
	var all []*taskqueuepb.PollerInfo
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.TaskQueue.Name == ClockQueue {
		all = append(all, &taskqueuepb.PollerInfo{Identity: f.polled, LastAccessTime: timestamppb.New(f.at)})
	} else {
		for i := range f.pollers {
			all = append(all, &taskqueuepb.PollerInfo{Identity: fmt.Sprint("worker-", i)})
		}
	}
	return &workflowservice.DescribeTaskQueueResponse{Pollers: all}, nil
}

func (f *frontend) PollActivityTaskQueue(ctx context.Context, r *workflowservice.PollActivityTaskQueueRequest) (*workflowservice.PollActivityTaskQueueResponse, error) {
	f.mu.Lock()
	f.polled, f.at = r.Identity, time.Now().Add(f.skew)
	f.mu.Unlock()
	<-ctx.Done()
	return nil, ctx.Err()
}

// serves starts the server and gives a way to reach it.
func (f *frontend) serves(t *testing.T) func(context.Context) (Temporal, error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	workflowservice.RegisterWorkflowServiceServer(server, f)
	operatorservice.RegisterOperatorServiceServer(server, f)
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		// A test that asks nothing may stop it before it began.
		if err := <-done; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Error(err)
		}
	})
	return func(ctx context.Context) (Temporal, error) {
		c, err := client.DialContext(ctx, client.Options{HostPort: listener.Addr().String(), Namespace: "default", Logger: slog.New(slog.DiscardHandler)})
		return Temporal{Client: c, Address: listener.Addr().String(), Namespace: "default"}, err
	}
}

func healthy() *frontend {
	return &frontend{namespace: "default", attributes: plugin.SearchAttributes(), pollers: 2}
}

// sound is the configuration of an installation in which all is well.
func sound(t *testing.T, f *frontend) Config {
	t.Helper()
	t.Setenv("WFLO_CONFIG", "")
	dir := t.TempDir()
	l, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(dir, "wflo.db"), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		e := wflo.AuditEvent{ID: fmt.Sprint("e", i), Chain: "c", Type: wflo.AuditGateOpened, Data: []byte(`{}`), At: time.Now(), WorkflowID: "w"}
		if err := l.Records().Append(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "snapshots"), 0o700); err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(dir, "approver.key")
	if err := os.WriteFile(key, []byte("key"), 0o600); err != nil {
		t.Fatal(err)
	}
	return Config{
		Dial: f.serves(t), TaskQueue: "wflo", DataDir: dir, Keys: []string{key, "/does/not/exist"}, Version: "v1",
		API:    func(context.Context) error { return nil },
		Health: func(context.Context) error { return nil },
		Versions: func(context.Context) (console.Version, error) {
			return console.Version{Program: "v1", API: console.APIVersion, Schema: &console.SchemaVersion{Have: 8, Known: 8}}, nil
		},
		Defences: func(context.Context) ([]docker.Defence, error) {
			return []docker.Defence{{Name: "seccomp", OK: true, Required: true}, {Name: "gvisor", Hint: "install runsc"}}, nil
		},
		Settings: func() (plugin.Config, error) { return plugin.Config{}, nil },
		Now:      time.Now,
	}
}

func examine(t *testing.T, cfg Config) map[string][]Finding {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	found := map[string][]Finding{}
	for _, f := range Run(ctx, Checks(ctx, cfg)) {
		found[f.Check] = append(found[f.Check], f)
	}
	return found
}

// An installation in which all is well has no fault, and every check looked.
func TestSound(t *testing.T) {
	found := examine(t, sound(t, healthy()))
	for _, c := range Checks(t.Context(), Config{}) {
		if len(found[c.Name]) == 0 || c.About == "" {
			t.Errorf("check %s says nothing", c.Name)
		}
		for _, f := range found[c.Name] {
			if f.State == Fault || f.State == Absent && c.Name != "engine" && c.Name != "policies" {
				t.Errorf("%+v", f)
			}
		}
	}
	if n := len(found["engine"]); n != 2 || found["engine"][1].State != Absent {
		t.Errorf("engine: %+v", found["engine"])
	}
}

// Each fault is found by its own check alone, and has a command that mends it.
func TestFaults(t *testing.T) {
	for name, tt := range map[string]struct {
		spoil  func(t *testing.T, f *frontend, c *Config)
		detail string
		fix    string
	}{
		"config": {func(_ *testing.T, _ *frontend, c *Config) {
			c.Settings = func() (plugin.Config, error) { return plugin.Config{}, wflo.Invalid("WFLO_X", "is odd", "use y") }
		}, "WFLO_X is odd", "use y"},
		"temporal": {func(_ *testing.T, _ *frontend, c *Config) {
			c.Dial = func(context.Context) (Temporal, error) { return Temporal{}, errors.New("nobody answers") }
		}, "nobody answers", "wflo dev"},
		"temporal namespace": {func(_ *testing.T, f *frontend, _ *Config) { f.namespace = "other" }, "has no namespace default", "temporal operator namespace create"},
		"attributes": {func(_ *testing.T, f *frontend, _ *Config) {
			f.attributes = map[string]enumspb.IndexedValueType{wflo.AttrState: enumspb.INDEXED_VALUE_TYPE_KEYWORD}
		}, "lacks " + wflo.AttrApprovers, "--name " + wflo.AttrTeam + " --type Keyword"},
		"worker":       {func(_ *testing.T, f *frontend, _ *Config) { f.pollers = 0 }, "no worker takes workflow or activity tasks from task queue wflo", "wflo dev"},
		"clock":        {func(_ *testing.T, f *frontend, _ *Config) { f.skew = -time.Hour }, "clock is 1h0m0s ahead of Temporal's", "timedatectl"},
		"clock behind": {func(_ *testing.T, f *frontend, _ *Config) { f.skew = time.Minute }, "behind Temporal's", "timedatectl"},
		"health": {func(_ *testing.T, _ *frontend, c *Config) {
			c.Health = func(context.Context) error { return errors.New("the API is not well: 503") }
		}, "is not well", "wflo console"},
		"api": {func(_ *testing.T, _ *frontend, c *Config) {
			c.API = func(context.Context) error { return wflo.Errorf("", "wflo login", "who are you") }
		}, "who are you", "wflo login"},
		"database": {func(t *testing.T, _ *frontend, c *Config) {
			write(t, filepath.Join(c.DataDir, "wflo.db"), strings.Repeat("no database ", 1000))
		}, "is not a database", "move the file away"},
		"disk": {func(_ *testing.T, _ *frontend, c *Config) {
			c.Settings = func() (plugin.Config, error) { return plugin.Config{Database: "memory", DataDir: "/proc/self/fd"}, nil }
		}, "MiB left", "du -xh"},
		"keys": {func(t *testing.T, _ *frontend, c *Config) {
			if err := os.Chmod(c.Keys[0], 0o644); err != nil {
				t.Fatal(err)
			}
		}, "its mode is 0644", "chmod 600 "},
		"policies": {func(t *testing.T, _ *frontend, c *Config) {
			file := filepath.Join(t.TempDir(), "p.yaml")
			write(t, file, "policies: [{name: x, when: nonsense > 1, do: [halt: {}]}]\n")
			c.Settings = func() (plugin.Config, error) { return plugin.Config{PolicyFile: file}, nil }
		}, "p.yaml", "wflo policy check "},
		"prices": {func(t *testing.T, _ *frontend, c *Config) {
			date, err := time.Parse(time.DateOnly, pricing.Default().Date())
			if err != nil {
				t.Fatal(err)
			}
			c.Now = func() time.Time { return date.Add(oldPrices + 25*time.Hour) }
		}, "181 days old", "wflo prices"},
		"engine": {func(_ *testing.T, _ *frontend, c *Config) {
			c.Defences = func(context.Context) ([]docker.Defence, error) {
				return []docker.Defence{{Name: "seccomp", Required: true, Detail: "off", Hint: "use another kernel"}}, nil
			}
		}, "seccomp: off", "use another kernel"},
		"engine away": {func(_ *testing.T, _ *frontend, c *Config) {
			c.Defences = func(context.Context) ([]docker.Defence, error) { return nil, errors.New("no socket") }
		}, "no socket", "wflo sandbox check"},
		"versions": {func(_ *testing.T, f *frontend, _ *Config) { f.old = true }, "version 1.9.0", "temporal operator"},
		"versions newer schema": {func(_ *testing.T, _ *frontend, c *Config) {
			c.Versions = says(console.Version{Program: "v0", API: "v1", Schema: &console.SchemaVersion{Have: 9, Known: 8}})
		}, "the database has schema 9, and wflo v0 behind the API knows 8", "newest"},
		"versions older schema": {func(_ *testing.T, _ *frontend, c *Config) {
			c.Versions = says(console.Version{Program: "v2", API: "v1", Schema: &console.SchemaVersion{Have: 7, Known: 8}})
		}, "has schema 7, and wflo v2 behind the API needs 8", "wflo db migrate"},
		"versions other API": {func(_ *testing.T, _ *frontend, c *Config) {
			c.Versions = says(console.Version{Program: "v9", API: "v2"})
		}, "the API is of version v2, this wflo speaks v1", "use the wflo that the API has: v9"},
		"versions old API": {func(_ *testing.T, _ *frontend, c *Config) {
			c.Versions = func(context.Context) (console.Version, error) { return console.Version{}, ErrOldAPI }
		}, "older than wflo v1", "run the worker"},
	} {
		t.Run(name, func(t *testing.T) {
			f := healthy()
			cfg := sound(t, f)
			tt.spoil(t, f, &cfg)
			check, _, _ := strings.Cut(name, " ")
			for c, all := range examine(t, cfg) {
				for _, f := range all {
					switch {
					case f.State != Fault:
					case c != check && !(check == "prices" && c == "clock"): // another clock is another time
						t.Errorf("another fault: %+v", f)
					case c == check && (!strings.Contains(f.Detail, tt.detail) || !strings.Contains(f.Fix, tt.fix)):
						t.Errorf("%+v", f)
					}
				}
				if c == check && !anyFault(all) {
					t.Errorf("not found: %+v", all)
				}
			}
		})
	}
}

func says(v console.Version) func(context.Context) (console.Version, error) {
	return func(context.Context) (console.Version, error) { return v, nil }
}

// Versions that fit are told, whatever else does not answer.
func TestVersionsAreTold(t *testing.T) {
	cfg := sound(t, healthy())
	if got := examine(t, cfg)["versions"]; len(got) != 1 || got[0].Detail != "wflo v1, API v1 of wflo v1 with schema 8, Temporal 1.9.0" {
		t.Errorf("%+v", got)
	}
	cfg.Versions = func(context.Context) (console.Version, error) { return console.Version{}, errors.New("no API") }
	if got := examine(t, cfg)["versions"]; len(got) != 1 || got[0].State != OK || got[0].Detail != "wflo v1, Temporal 1.9.0" {
		t.Errorf("%+v", got)
	}
}

func anyFault(all []Finding) bool {
	for _, f := range all {
		if f.State == Fault {
			return true
		}
	}
	return false
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A chain whose last record was changed does not hold, whatever else it says.
func TestBrokenChain(t *testing.T) {
	cfg := sound(t, healthy())
	ctx := t.Context()
	trail, err := sqlite.OpenTrail(ctx, filepath.Join(cfg.DataDir, "wflo.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := trail.Close(); err != nil {
			t.Error(err)
		}
	}()
	heads, err := trail.AuditHeads(ctx)
	if err != nil || len(heads) != 1 {
		t.Fatalf("%d heads, %v", len(heads), err)
	}
	last, err := trail.ReadAudit(ctx, wflo.AuditQuery{Chain: "c", After: 1, Limit: 2})
	if err != nil || len(last) != 2 {
		t.Fatalf("%d records, %v", len(last), err)
	}
	if why := broken(last, heads[0]); why != "" {
		t.Error(why)
	}
	changed := append([]wflo.AuditRecord(nil), last...)
	changed[1].WorkflowID = "other"
	unlinked := append([]wflo.AuditRecord(nil), last...)
	unlinked[0].Hash = strings.Repeat("0", 64)
	for name, all := range map[string][]wflo.AuditRecord{"changed": changed, "unlinked": unlinked, "cut": last[:1], "gone": nil} {
		if broken(all, heads[0]) == "" {
			t.Errorf("%s passes", name)
		}
	}
}

// A hosted namespace does not let everybody ask for its attributes.
func TestHosted(t *testing.T) {
	f := healthy()
	f.hosted = true
	if got := examine(t, sound(t, f))["attributes"]; len(got) != 1 || got[0].State != Absent {
		t.Errorf("%+v", got)
	}
}
