package docker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/system"
	"github.com/docker/docker/client"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// broken is the real engine with one call gone wrong.
type broken struct {
	engine
	create func(container.CreateResponse, error) (container.CreateResponse, error)
	start  func() error
	wait   error
}

func (b broken) ContainerCreate(ctx context.Context, c *container.Config, h *container.HostConfig, n *network.NetworkingConfig, p *v1.Platform, name string) (container.CreateResponse, error) {
	resp, err := b.engine.ContainerCreate(ctx, c, h, n, p, name)
	if b.create != nil {
		return b.create(resp, err)
	}
	return resp, err
}

func (b broken) ContainerStart(ctx context.Context, id string, o container.StartOptions) error {
	if b.start != nil {
		return b.start()
	}
	return b.engine.ContainerStart(ctx, id, o)
}

func (b broken) ContainerWait(ctx context.Context, id string, c container.WaitCondition) (<-chan container.WaitResponse, <-chan error) {
	if b.wait != nil {
		errs := make(chan error, 1)
		errs <- b.wait
		return nil, errs
	}
	return b.engine.ContainerWait(ctx, id, c)
}

func TestBrokenEngine(t *testing.T) {
	lost := errors.New("connection lost")
	for name, c := range map[string]struct {
		with broken
		code wflo.Code
		is   error
	}{
		"ignores a limit": {broken{create: func(r container.CreateResponse, err error) (container.CreateResponse, error) {
			r.Warnings = []string{"Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap."}
			return r, err
		}}, wflo.CodeSandboxUnavailable, nil},
		"answer of create is lost": {broken{create: func(container.CreateResponse, error) (container.CreateResponse, error) {
			return container.CreateResponse{}, lost
		}}, "", lost},
		"start fails": {broken{start: func() error { return lost }}, "", lost},
		"wait breaks": {broken{wait: lost}, "", lost},
	} {
		t.Run(name, func(t *testing.T) {
			r := open(t, nil)
			c.with.engine = r.engine
			r.engine = c.with
			_, err := r.Run(t.Context(), sandbox.Spec{Argv: []string{"sleep", "600"}}, nil)
			if err == nil || wflo.CodeOf(err) != c.code || c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("Run = %v, want code %q, cause %v", err, c.code, c.is)
			}
		})
	}
}

func TestHarmlessWarning(t *testing.T) {
	r := open(t, nil)
	r.engine = broken{engine: r.engine, create: func(c container.CreateResponse, err error) (container.CreateResponse, error) {
		c.Warnings = slices.Clone(harmless)
		return c, err
	}}
	if res, err := r.Run(t.Context(), sandbox.Spec{Argv: []string{"true"}}, nil); err != nil || !res.OK() {
		t.Errorf("Run = %s, %v", res.Outcome, err)
	}
}

func TestNoEngine(t *testing.T) {
	r, err := New(t.Context(), Config{Host: "unix:///no/such/docker.sock"})
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	_, runErr := r.Run(t.Context(), sandbox.Spec{Argv: []string{"true"}}, nil)
	_, readErr := r.ReadFile(t.Context(), "b", "f", 1)
	_, boxErr := r.Boxes(t.Context())
	for what, err := range map[string]error{
		"Run": runErr, "ReadFile": readErr, "Boxes": boxErr,
		"WriteFiles": r.WriteFiles(t.Context(), "b", nil), "Close": r.Close(t.Context(), "b"),
	} {
		if wflo.CodeOf(err) != wflo.CodeSandboxUnavailable || !strings.Contains(wflo.HintOf(err), "deploy/setup.sh") {
			t.Errorf("%s = %v, want CodeSandboxUnavailable with a hint", what, err)
		}
	}
}

func TestConfig(t *testing.T) {
	for name, c := range map[string]Config{
		"image": {Image: "--privileged"}, "images": {Images: []string{"a b"}}, "owner": {Owner: "a\nb"}, "starts": {Starts: -1},
		"max": {Max: sandbox.Limits{Memory: 1}}, "host": {Host: "nonsense"}, "timeout": {EngineTimeout: -1},
	} {
		if _, err := New(t.Context(), c); wflo.CodeOf(err) != wflo.CodeInvalid {
			t.Errorf("%s: New = %v, want CodeInvalid", name, err)
		}
	}
}

func TestImages(t *testing.T) {
	r := open(t, func(c *Config) { c.Images = []string{"wflo/no-such-image:1", "wflo/sandbox-test:other"} })
	_, err := r.Run(t.Context(), sandbox.Spec{Argv: []string{"true"}, Image: "wflo/no-such-image:1"}, nil)
	if wflo.CodeOf(err) != wflo.CodeSandboxUnavailable || wflo.HintOf(err) != "docker pull wflo/no-such-image:1" {
		t.Errorf("missing image: %v", err)
	}
	cli := r.engine.(*client.Client)
	if err := cli.ImageTag(t.Context(), DefaultImage, "wflo/sandbox-test:other"); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if _, err := cli.ImageRemove(context.Background(), "wflo/sandbox-test:other", image.RemoveOptions{}); err != nil {
			t.Error(err)
		}
	}()
	res, err := r.Run(t.Context(), sandbox.Spec{Box: "b", Image: "wflo/sandbox-test:other", Argv: []string{"touch", "f"}}, nil)
	if err != nil || !res.OK() {
		t.Errorf("another image in a box: %s %q, %v", res.Outcome, res.Stderr, err)
	}
	if err := r.Close(t.Context(), "b"); err != nil {
		t.Error(err)
	}
}

func TestMax(t *testing.T) {
	r := open(t, func(c *Config) { c.Max = sandbox.Limits{Memory: 64 * sandbox.MiB, Timeout: time.Second} })
	_, err := r.Run(t.Context(), sandbox.Spec{Argv: []string{"true"}, Limits: sandbox.Limits{Memory: 65 * sandbox.MiB}}, nil)
	if wflo.CodeOf(err) != wflo.CodeInvalid || !strings.Contains(err.Error(), "limits.memory") {
		t.Errorf("Run = %v, want limits.memory refused", err)
	}
	res, err := r.Run(t.Context(), sandbox.Spec{Argv: []string{"sleep", "600"}}, nil)
	if err != nil || res.Outcome != sandbox.Timeout {
		t.Errorf("Run = %s, %v, want the lowered default to end it", res.Outcome, err)
	}
}

// leave makes what a worker that died leaves behind: a running container.
func leave(t *testing.T, r *Runner, j job) {
	t.Helper()
	about, err := r.Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c, h := convert(j, about.facts)
	resp, err := r.engine.ContainerCreate(t.Context(), c, h, nil, nil, j.name)
	if err == nil {
		err = r.engine.ContainerStart(t.Context(), resp.ID, container.StartOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
}

func dead(t *testing.T, r *Runner, key, box string, created time.Time) job {
	t.Helper()
	id, err := r.image(t.Context(), DefaultImage)
	if err != nil {
		t.Fatal(err)
	}
	j := r.step(id, box, "sleep", "600")
	j.key, j.name, j.created = key, r.containerName(key), created
	return j
}

func TestAdoption(t *testing.T) {
	r := open(t, nil)
	leave(t, r, dead(t, r, "key", "", time.Now()))
	res, err := r.Run(t.Context(), sandbox.Spec{Key: "key", Argv: []string{"echo", "new"}}, nil)
	if err != nil || res.Stdout != "new\n" {
		t.Errorf("Run = %+v, %v", res, err)
	}
}

func TestSomebodyElsesContainer(t *testing.T) {
	r, other := open(t, nil), open(t, nil)
	j := dead(t, other, "theirs", "box", time.Now())
	j.name = r.containerName("key")
	leave(t, other, j)
	if res, err := r.Run(t.Context(), sandbox.Spec{Key: "key", Argv: []string{"true"}}, nil); err == nil {
		t.Errorf("Run = %+v, want an error: the container of that name is not ours", res)
	}
	if boxes, err := other.Boxes(t.Context()); err != nil || fmt.Sprint(boxes) != "[box]" {
		t.Errorf("the other's boxes = %q, %v: its container is gone", boxes, err)
	}
	if err := other.Close(t.Context(), "box"); err != nil {
		t.Error(err)
	}
}

func TestSweep(t *testing.T) {
	r := open(t, nil)
	leave(t, r, dead(t, r, "old", "", time.Now().Add(-time.Hour)))
	leave(t, r, dead(t, r, "young", "box", time.Now()))
	if boxes, err := r.Boxes(t.Context()); err != nil || fmt.Sprint(boxes) != "[box]" {
		t.Errorf("Boxes = %q, %v", boxes, err)
	}
	list, err := r.engine.ContainerList(t.Context(), container.ListOptions{All: true, Filters: byLabel(r.config.Owner)})
	if err != nil || len(list) != 1 || list[0].Labels[labelKey] != "young" {
		t.Errorf("%d containers after the sweep, %v, want the young one", len(list), err)
	}
	if err := r.Close(t.Context(), "box"); err != nil {
		t.Errorf("Close of a box with a dead worker's container: %v", err)
	}
}

// TestTakenAway removes a running container from outside: a fault of the
// machinery, not an end of the program.
func TestTakenAway(t *testing.T) {
	r := open(t, nil)
	name := r.containerName("key")
	res, err := r.Run(t.Context(), sandbox.Spec{Key: "key", Language: sandbox.Bash, Source: "echo ready; sleep 600"}, func(sandbox.Stream, []byte) {
		if err := r.remove(context.WithoutCancel(t.Context()), name); err != nil {
			t.Error(err)
		}
	})
	if err == nil || wflo.CodeOf(err) != "" {
		t.Errorf("Run = %s, %v, want a plain error", res.Outcome, err)
	}
}

func TestAssess(t *testing.T) {
	good := system.Info{OSType: "linux", SecurityOptions: []string{"name=seccomp,profile=default", "name=apparmor"}, MemoryLimit: true, PidsLimit: true, CPUCfsQuota: true, DefaultRuntime: "runc"}
	for name, c := range map[string]struct {
		change  func(*system.Info, *Config)
		code    wflo.Code
		missing string
	}{
		"good":              {func(*system.Info, *Config) {}, "", "[]"},
		"selinux":           {func(i *system.Info, _ *Config) { i.SecurityOptions[1] = "name=selinux" }, "", "[]"},
		"no apparmor":       {func(i *system.Info, _ *Config) { i.SecurityOptions = i.SecurityOptions[:1] }, "", "[apparmor]"},
		"required apparmor": {func(i *system.Info, c *Config) { i.SecurityOptions, c.RequireAppArmor = i.SecurityOptions[:1], true }, wflo.CodeSandboxUnavailable, ""},
		"no seccomp":        {func(i *system.Info, _ *Config) { i.SecurityOptions = i.SecurityOptions[1:] }, wflo.CodeSandboxUnavailable, ""},
		"no pids":           {func(i *system.Info, _ *Config) { i.PidsLimit = false }, wflo.CodeSandboxUnavailable, ""},
		"no memory":         {func(i *system.Info, _ *Config) { i.MemoryLimit = false }, wflo.CodeSandboxUnavailable, ""},
		"windows":           {func(i *system.Info, _ *Config) { i.OSType = "windows" }, wflo.CodeSandboxUnavailable, ""},
		"runtime":           {func(_ *system.Info, c *Config) { c.Runtime = "runsc" }, wflo.CodeSandboxUnavailable, ""},
	} {
		info, config := good, Config{}
		info.SecurityOptions = slices.Clone(good.SecurityOptions)
		c.change(&info, &config)
		e, err := assess(info, config)
		if wflo.CodeOf(err) != c.code || err == nil && fmt.Sprint(e.Missing) != c.missing {
			t.Errorf("%s: assess = %+v, %v", name, e, err)
		}
	}
}

func TestJudgeProbe(t *testing.T) {
	good := "Uid 65534\t65534\t65534\t65534\nCapPrm 0000000000000000\nCapEff 0000000000000000\nCapBnd 0000000000000000\nCapAmb 0000000000000000\nNoNewPrivs 1\nSeccomp 2\ndev lo\nend\n"
	if wrong := judgeProbe(good); len(wrong) > 0 {
		t.Errorf("good: %q", wrong)
	}
	for name, out := range map[string]string{
		"capability": strings.Replace(good, "CapBnd 0000000000000000", "CapBnd 00000000a80425fb", 1),
		"root":       strings.Replace(good, "Uid 65534", "Uid 0", 1),
		"no seccomp": strings.Replace(good, "Seccomp 2", "Seccomp 0", 1),
		"interface":  "dev eth0\n" + good, "route": "route\n" + good, "writable": "writable\n" + good, "socket": "socket\n" + good,
		"cut": strings.TrimSuffix(good, "end\n"), "nothing": "",
	} {
		if wrong := judgeProbe(out); len(wrong) == 0 {
			t.Errorf("%s passes", name)
		}
	}
}

func BenchmarkRun(b *testing.B) {
	r := open(b, nil)
	for name, spec := range map[string]sandbox.Spec{
		"true":   {Argv: []string{"true"}},
		"box":    {Argv: []string{"true"}, Box: "bench"},
		"python": {Language: sandbox.Python, Source: "print(1)", Limits: sandbox.Limits{CPUs: 2}},
	} {
		b.Run(name, func(b *testing.B) {
			var took []time.Duration
			for b.Loop() {
				begin := time.Now()
				if res, err := r.Run(b.Context(), spec, nil); err != nil || !res.OK() {
					b.Fatalf("%s, %v", res.Outcome, err)
				}
				took = append(took, time.Since(begin))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
		})
	}
	if err := r.Close(b.Context(), "bench"); err != nil {
		b.Error(err)
	}
}
