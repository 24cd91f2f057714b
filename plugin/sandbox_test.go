package plugin

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/telemetry"
	"github.com/wflo-ai/wflo-go/sandbox"
	"github.com/wflo-ai/wflo-go/sandbox/admission"
	"github.com/wflo-ai/wflo-go/sandbox/docker"
	"github.com/wflo-ai/wflo-go/workflows"
)

var _ docker.Observer = (*telemetry.Sandboxes)(nil)

const digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestSandboxConfigRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*Config)
		want   string // in the error; empty means that it is fine
	}{
		"pinned": {func(c *Config) {
			c.PinImages, c.Docker.Image, c.Docker.Images = true, "r.example:5000/a@"+digest, []string{digest}
		}, ""},
		"a tag":          {func(c *Config) { c.PinImages, c.Docker.Image = true, "python:3.13" }, "python:3.13"},
		"default image":  {func(c *Config) { c.PinImages = true }, "PinImages"},
		"any image":      {func(c *Config) { c.PinImages, c.Docker.Image, c.Docker.Images = true, digest, []string{"*"} }, `"*"`},
		"a cut digest":   {func(c *Config) { c.PinImages, c.Docker.Image = true, "a@"+digest[:20] }, "PinImages"},
		"everybody":      {func(c *Config) { c.Owner = "*" }, "Owner"},
		"every owner":    {func(c *Config) { c.Docker.Owner = "*" }, "Owner"},
		"cap too small":  {func(c *Config) { c.Docker.Max.Memory = 1 }, "limits.memory"},
		"odd quota":      {func(c *Config) { c.Docker.Admission.Default.Concurrent = -1 }, "admission.default"},
		"no pool size":   {func(c *Config) { c.Docker.Pool.Max = -1 }, "docker.pool"},
		"odd address":    {func(c *Config) { c.Docker.Host = "nowhere" }, "docker.host"},
		"odd image":      {func(c *Config) { c.Docker.Images = []string{"A B"} }, "docker.image"},
		"negative sweep": {func(c *Config) { c.SweepEvery = -1 }, "SweepEvery"},
		"no directory":   {func(c *Config) { c.SecretsDir = filepath.Join(c.DataDir, "missing") }, "secrets"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := Config{DataDir: t.TempDir(), Database: "memory", Providers: []Provider{}}
			tt.change(&cfg)
			p, err := New(cfg)
			if err == nil {
				p.Close()
			}
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("New = %v", err)
			case tt.want != "" && (!errors.Is(err, wflo.ErrInvalid) || !strings.Contains(err.Error(), tt.want) || wflo.HintOf(err) == ""):
				t.Errorf("New = %v; want an error about %s with a hint", err, tt.want)
			}
		})
	}
}

// sandboxEnv is every variable of the sandbox with what it stands for.
var sandboxEnv = []struct {
	name, value string
	set         func(c *Config)
	wrong       string // refused; empty means that nothing is
}{
	{"HOST", "unix:///x.sock", func(c *Config) { c.Docker.Host = "unix:///x.sock" }, ""},
	{"IMAGE", "a:1", func(c *Config) { c.Docker.Image = "a:1" }, ""},
	{"IMAGES", "b:1, c@sha256:x,", func(c *Config) { c.Docker.Images = []string{"b:1", "c@sha256:x"} }, ""},
	{"PIN_IMAGES", "true", func(c *Config) { c.PinImages = true }, "maybe"},
	{"RUNTIME", "runsc", func(c *Config) { c.Docker.Runtime = "runsc" }, ""},
	{"RUNTIMES", "runc", func(c *Config) { c.Docker.Runtimes = []string{"runc"} }, ""},
	{"REQUIRE_APPARMOR", "1", func(c *Config) { c.Docker.RequireAppArmor = true }, "yes"},
	{"ALLOW_OPEN_NETWORK", "true", func(c *Config) { c.Docker.AllowOpenNetwork = true }, "on"},
	{"ALLOW_ENGINE_PROFILE", "true", func(c *Config) { c.Docker.AllowEngineProfile = true }, "2"},
	{"PRIVATE_NETWORKS", "10.1.0.0/16, fd00::/8", func(c *Config) {
		c.Docker.Egress.Private = []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd00::/8")}
	}, "10.1.0.1"},
	{"MAX_MEMORY", "2g", func(c *Config) { c.Docker.Max.Memory = 2 << 30 }, "lots"},
	{"MAX_CPUS", "1.5", func(c *Config) { c.Docker.Max.CPUs = 1.5 }, "two"},
	{"MAX_PIDS", "64", func(c *Config) { c.Docker.Max.PIDs = 64 }, "1.5"},
	{"MAX_TIMEOUT", "10m", func(c *Config) { c.Docker.Max.Timeout = 10 * time.Minute }, "600"},
	{"MAX_CPU_TIME", "5m", func(c *Config) { c.Docker.Max.CPUTime = 5 * time.Minute }, "x"},
	{"MAX_TMP", "1m", func(c *Config) { c.Docker.Max.Tmp = 1 << 20 }, "-1"},
	{"MAX_WORKSPACE", "3g", func(c *Config) { c.Docker.Max.Workspace = 3 << 30 }, "x"},
	{"MAX_FILE", "4m", func(c *Config) { c.Docker.Max.File = 4 << 20 }, "x"},
	{"MAX_OPEN", "99", func(c *Config) { c.Docker.Max.Open = 99 }, "x"},
	{"MAX_OUTPUT", "5m", func(c *Config) { c.Docker.Max.Output = 5 << 20 }, "x"},
	{"MAX_OUTPUT_TOTAL", "6m", func(c *Config) { c.Docker.Max.OutputTotal = 6 << 20 }, "x"},
	{"MAX_ARTIFACTS", "7m", func(c *Config) { c.Docker.Max.Artifacts = 7 << 20 }, "x"},
	{"POOL", "-1", func(c *Config) { c.Docker.Pool.Size = -1 }, "x"},
	{"POOL_MAX", "3", func(c *Config) { c.Docker.Pool.Max = 3 }, "x"},
	{"POOL_AGE", "1h", func(c *Config) { c.Docker.Pool.MaxAge = time.Hour }, "x"},
	{"IDLE", "-1s", func(c *Config) { c.Docker.Idle = -time.Second }, "x"},
	{"HOST_MEMORY", "8g", func(c *Config) { c.Docker.Admission.Memory = 8 << 30 }, "x"},
	{"HOST_CPUS", "4", func(c *Config) { c.Docker.Admission.CPUs = 4 }, "x"},
	{"OVERCOMMIT", "2", func(c *Config) { c.Docker.Admission.Overcommit = 2 }, "x"},
	{"CONCURRENT", "20", func(c *Config) { c.Docker.Admission.Sandboxes = 20 }, "x"},
	{"QUEUE", "50", func(c *Config) { c.Docker.Admission.Queue = 50 }, "x"},
	{"QUOTAS", "*=8, books=4/30m/2h,a=b=0/1h", func(c *Config) {
		c.Docker.Admission.Default = admission.Quota{Concurrent: 8}
		c.Docker.Admission.Tenants = map[string]admission.Quota{
			"books": {Concurrent: 4, CPUSeconds: 1800, Window: 2 * time.Hour}, "a=b": {CPUSeconds: 3600},
		}
	}, "books"},
	{"STARTS", "3", func(c *Config) { c.Docker.Starts = 3 }, "x"},
	{"ENGINE_TIMEOUT", "20s", func(c *Config) { c.Docker.EngineTimeout = 20 * time.Second }, "x"},
	{"SWEEP", "30s", func(c *Config) { c.SweepEvery = 30 * time.Second }, "x"},
}

// TestSandboxFromEnv sets each variable alone, wrong, and all together.
func TestSandboxFromEnv(t *testing.T) {
	clear := func(t *testing.T) {
		for _, v := range os.Environ() {
			if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "WFLO_") {
				t.Setenv(name, "")
			}
		}
	}
	options := cmp.Options{
		cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Prefix{}), cmpopts.IgnoreFields(Config{}, "Approvals"),
		cmpopts.IgnoreFields(admission.Config{}, "Now"),
	}
	var all Config
	for _, v := range sandboxEnv {
		t.Run(v.name, func(t *testing.T) {
			clear(t)
			var want Config
			v.set(&want)
			v.set(&all)
			t.Setenv("WFLO_SANDBOX_"+v.name, v.value)
			got, err := FromEnv()
			if diff := cmp.Diff(want, got, options); diff != "" || err != nil {
				t.Errorf("FromEnv: %v, (-want +got):\n%s", err, diff)
			}
			if v.wrong == "" {
				return
			}
			t.Setenv("WFLO_SANDBOX_"+v.name, v.wrong)
			if _, err := FromEnv(); !errors.Is(err, wflo.ErrInvalid) || !strings.HasPrefix(err.Error(), "WFLO_SANDBOX_"+v.name) || wflo.HintOf(err) == "" {
				t.Errorf("%s gives %v", v.wrong, err)
			}
		})
	}
	t.Run("all", func(t *testing.T) {
		clear(t)
		for _, v := range sandboxEnv {
			t.Setenv("WFLO_SANDBOX_"+v.name, v.value)
		}
		t.Setenv("WFLO_SECRETS_DIR", "/s")
		t.Setenv("WFLO_MAX_RESULT", "8m")
		all.SecretsDir, all.MaxResult = "/s", 8<<20
		got, err := FromEnv()
		if diff := cmp.Diff(all, got, options); diff != "" || err != nil {
			t.Errorf("FromEnv: %v, (-want +got):\n%s", err, diff)
		}
	})
}

// TestVariablesAreDocumented: an operator cannot guess them.
func TestVariablesAreDocumented(t *testing.T) {
	guide, err := os.ReadFile("../docs/sandbox.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range sandboxEnv {
		if !strings.Contains(string(guide), "`WFLO_SANDBOX_"+v.name+"`") {
			t.Errorf("docs/sandbox.md does not mention WFLO_SANDBOX_%s", v.name)
		}
	}
	for _, name := range []string{"WFLO_SECRETS_DIR", "WFLO_SECRET_", "WFLO_MAX_RESULT", "WFLO_OWNER"} {
		if !strings.Contains(string(guide), "`"+name) {
			t.Errorf("docs/sandbox.md does not mention %s", name)
		}
	}
}

// TestEngine runs programs through the door, on a real engine: caps, secrets,
// metrics, and nothing left behind.
func TestEngine(t *testing.T) {
	const value = "s3cret-of-the-door"
	t.Setenv("WFLO_SECRET_door", value)
	owner := "plugin-test-" + rand.Text()
	p := newPlugin(t, func(c *Config) {
		c.Owner = owner
		c.Docker = docker.Config{Max: sandbox.Limits{Memory: 128 << 20}, Pool: docker.Pool{Size: -1}}
	})
	engine := p.parts.sandbox.Runner
	ctx := context.Background()
	t.Cleanup(func() {
		if err := engine.Close(ctx, "w/r"); err != nil {
			t.Error(err)
		}
		p.Close()
		left(t, owner)
	})
	res, err := engine.Run(ctx, sandbox.Spec{
		Box: "w/r", Language: sandbox.Bash, Source: `echo "${#TOKEN} $TOKEN"; echo kept > f`, Secrets: map[string]string{"TOKEN": "door"},
	}, nil)
	if err != nil || !res.OK() || !strings.HasPrefix(res.Stdout, "18 ") || strings.Contains(res.Stdout, value) {
		t.Fatalf("Run = %+v, %v", res, err)
	}
	if data, err := engine.ReadFile(ctx, "w/r", "f", 100); err != nil || string(data) != "kept\n" {
		t.Errorf("ReadFile = %q, %v", data, err)
	}
	for field, spec := range map[string]sandbox.Spec{
		"limits.memory": {Argv: []string{"true"}, Limits: sandbox.Limits{Memory: 256 << 20}},
		"image":         {Argv: []string{"true"}, Image: "alpine:3"},
		"network":       {Argv: []string{"true"}, Network: sandbox.Open()},
		"secret":        {Argv: []string{"true"}, Secrets: map[string]string{"A": "nobody"}},
	} {
		if _, err := engine.Run(ctx, spec, nil); wflo.CodeOf(err) == "" || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: Run = %v", field, err)
		}
	}
	if got := scraped(p); !strings.Contains(got, `wflo_sandbox_creations_total{how="cold"}`) {
		t.Errorf("the creation of a sandbox is not counted:\n%s", got)
	}
	boxes, err := p.Boxes(ctx)
	if diff := cmp.Diff([]string{"w/r"}, boxes); diff != "" || err != nil {
		t.Errorf("Boxes: %v, (-want +got):\n%s", err, diff)
	}
}

// TestSeriesOfALiveSandbox: while a program runs on a real engine, /metrics has what it
// uses of CPU and memory, and no longer when its sandbox is gone.
func TestSeriesOfALiveSandbox(t *testing.T) {
	owner := "plugin-test-" + rand.Text()
	p := newPlugin(t, func(c *Config) {
		c.Owner, c.Docker.Pool.Size = owner, -1
	})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	type end struct {
		res sandbox.Result
		err error
	}
	ended := make(chan end, 1)
	go func() {
		res, err := p.parts.sandbox.Runner.Run(ctx, sandbox.Spec{Language: sandbox.Python, Source: "x = b'a' * (32 << 20)\nwhile True: pass"}, nil)
		ended <- end{res, err}
	}()
	// Two samples make a rate, and the first ones are of the interpreter's start.
	for busy := false; !busy; {
		select {
		case e := <-ended:
			t.Fatalf("the program ended before its series showed what it does: %+v\n%s", e, scraped(p))
		case <-time.After(50 * time.Millisecond):
			all := scraped(p)
			busy = series(t, all, "wflo_sandbox_cpu_usage_percent") > 20 && series(t, all, "wflo_sandbox_memory_usage_bytes") > 32<<20
		}
	}
	cancel()
	if e := <-ended; e.err == nil && e.res.OK() {
		t.Errorf("a program without end came to one: %+v", e.res)
	}
	p.Close()
	left(t, owner)
	if all := scraped(p); strings.Contains(all, "sandbox_id=") {
		t.Errorf("of a sandbox that is gone there is still:\n%s", all)
	}
}

func scraped(p *Plugin) string {
	w := httptest.NewRecorder()
	p.Metrics().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	return w.Body.String()
}

// series is the value of a metric that one sandbox has at most; 0 where none has.
func series(t *testing.T, all, name string) float64 {
	t.Helper()
	found := regexp.MustCompile(name+`\{sandbox_id="[^"]+"\} (\S+)`).FindAllStringSubmatch(all, -1)
	if len(found) == 0 {
		return 0
	}
	v, err := strconv.ParseFloat(found[0][1], 64)
	if err != nil || len(found) > 1 {
		t.Fatalf("%s: %q, %v; want one number", name, found, err)
	}
	return v
}

// left reports what an owner still has on the engine.
func left(t *testing.T, owner string) {
	t.Helper()
	// A runner for everybody starts nothing of its own.
	r, err := docker.New(context.Background(), docker.Config{Owner: docker.AnyOwner})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Shutdown(context.Background()) }()
	all, err := r.List(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		if s.Owner == owner {
			t.Errorf("left on the engine: %+v", s)
		}
	}
}

// TestRunOnTheEngine goes all the way: from a workflow's verbs through the
// activity to real containers and back.
func TestRunOnTheEngine(t *testing.T) {
	owner := "plugin-test-" + rand.Text()
	p := newPlugin(t, func(c *Config) {
		c.Owner, c.MaxResult = owner, 64<<10
		c.Docker.Pool.Size = -1
	})
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestWorkflowEnvironment()
	env.SetTestTimeout(2 * time.Minute)
	env.SetWorkerOptions(worker.Options{Interceptors: p.Interceptors(), DeadlockDetectionTimeout: time.Minute})
	Register(env, p)
	type results struct{ First, Second, Alone sandbox.Result }
	env.RegisterWorkflowWithOptions(func(ctx workflow.Context) (r results, err error) {
		ctx = workflows.WithSandbox(ctx, sandbox.Spec{
			Env: map[string]string{"WHO": "everybody"}, Artifacts: []string{"out/**"}, Limits: sandbox.Limits{Memory: 64 << 20},
		})
		bash := sandbox.Spec{
			Language: sandbox.Bash, Files: []wflo.File{{Name: "in", Data: []byte("7")}},
			Source: "mkdir -p out; echo $WHO $(cat in) >out/a; head -c 100000 /dev/urandom >out/big; touch f",
		}
		if r.First, err = workflows.RunSandboxed(ctx, bash); err != nil {
			return r, err
		}
		look := sandbox.Spec{Language: sandbox.Bash, Source: "ls", Artifacts: []string{}}
		if r.Second, err = workflows.RunSandboxed(ctx, look); err != nil {
			return r, err
		}
		look.Box = sandbox.OneShot
		r.Alone, err = workflows.RunSandboxed(ctx, look)
		return r, err
	}, workflow.RegisterOptions{Name: "test"})
	env.ExecuteWorkflow("test")
	var r results
	if err := env.GetWorkflowResult(&r); err != nil {
		t.Fatal(err)
	}
	if len(r.First.Artifacts) != 1 || r.First.Artifacts[0].Name != "out/a" || string(r.First.Artifacts[0].Data) != "everybody 7\n" {
		t.Errorf("artifacts %v of %+v", r.First.Artifacts, r.First)
	}
	if diff := cmp.Diff([]string{"out/big"}, r.First.ArtifactsMissed); diff != "" {
		t.Errorf("artifacts that a result cannot carry (-want +got):\n%s", diff)
	}
	if r.Second.Stdout != "f\nin\nout\n" || r.Alone.Stdout != "" || !r.Alone.OK() {
		t.Errorf("the run's workspace holds %q, that of a one-shot %q (%+v)", r.Second.Stdout, r.Alone.Stdout, r.Alone)
	}
	boxes, err := p.Boxes(context.Background())
	if err != nil || len(boxes) > 0 {
		t.Errorf("boxes after the run: %v, %v", boxes, err)
	}
	p.Close()
	left(t, owner)
}
