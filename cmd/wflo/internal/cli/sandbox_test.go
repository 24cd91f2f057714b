package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/deploy"
	"github.com/wflo-ai/wflo-go/sandbox"
	"github.com/wflo-ai/wflo-go/sandbox/docker"
)

// fakeSandboxes stands for a container engine.
type fakeSandboxes struct {
	config   docker.Config
	spec     sandbox.Spec
	says     map[sandbox.Stream]string
	res      sandbox.Result
	err      error
	list     []docker.Sandbox
	stats    map[string]docker.Stats
	killed   []string
	got      docker.Collected
	dry      bool
	defences []docker.Defence
	shut     int
}

func (f *fakeSandboxes) connect(_ context.Context, c docker.Config) (Sandboxes, error) {
	f.config = c
	return f, nil
}

func (f *fakeSandboxes) Run(_ context.Context, spec sandbox.Spec, watch func(sandbox.Stream, []byte)) (sandbox.Result, error) {
	f.spec = spec
	for _, s := range []sandbox.Stream{sandbox.Stdout, sandbox.Stderr} {
		if watch != nil && f.says[s] != "" {
			watch(s, []byte(f.says[s]))
		}
	}
	return f.res, f.err
}

func (f *fakeSandboxes) List(context.Context) ([]docker.Sandbox, error) {
	return slices.Clone(f.list), f.err
}

func (f *fakeSandboxes) Stats(_ context.Context, id string) (docker.Stats, error) {
	if s, ok := f.stats[id]; ok {
		return s, nil
	}
	return docker.Stats{}, wflo.Invalid("id", "is unknown", "see: wflo sandbox ls")
}

func (f *fakeSandboxes) Kill(_ context.Context, id string) error {
	if id == "gone" {
		return wflo.Invalid("id", `"gone" is no sandbox`, "see: wflo sandbox ls")
	}
	f.killed = append(f.killed, id)
	return nil
}

func (f *fakeSandboxes) Collect(_ context.Context, dry bool) (docker.Collected, error) {
	f.dry = dry
	return f.got, f.err
}

func (f *fakeSandboxes) Defences(context.Context) ([]docker.Defence, error) {
	return f.defences, f.err
}

func (f *fakeSandboxes) Shutdown(context.Context) error { f.shut++; return nil }

// invoke runs `wflo sandbox` against the fake, with input that is no terminal.
func (f *fakeSandboxes) invoke(t *testing.T, input io.Reader, line ...string) result {
	t.Helper()
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	t.Setenv("TEMPORAL_CONFIG_FILE", "")
	var out, errOut bytes.Buffer
	code := Main(t.Context(), Deps{Stdin: input, Stdout: &out, Stderr: &errOut, Sandboxes: f.connect}, append([]string{"sandbox"}, line...))
	return result{code, out.String(), errOut.String()}
}

func TestSandboxOwner(t *testing.T) {
	data := t.TempDir()
	for name, tc := range map[string]struct {
		line []string
		env  map[string]string
		want string
	}{
		"flag":        {[]string{"--owner", "blue"}, map[string]string{"WFLO_OWNER": "red"}, "blue"},
		"environment": {nil, map[string]string{"WFLO_OWNER": "red", "TEMPORAL_ADDRESS": "t:1"}, "red"},
		"address":     {[]string{"--address", "t:7233"}, map[string]string{"TEMPORAL_ADDRESS": "u:1"}, "t:7233/default"},
		"temporal":    {nil, map[string]string{"TEMPORAL_ADDRESS": "u:1", "TEMPORAL_NAMESPACE": "prod"}, "u:1/prod"},
		"wflo dev":    {nil, map[string]string{"WFLO_DATA_DIR": data}, DevOwner(data, "default")},
	} {
		t.Run(name, func(t *testing.T) {
			for _, v := range []string{"WFLO_OWNER", "TEMPORAL_ADDRESS", "TEMPORAL_NAMESPACE", "WFLO_DATA_DIR"} {
				t.Setenv(v, tc.env[v])
			}
			f := &fakeSandboxes{list: []docker.Sandbox{{ID: "1", State: "running", Owner: tc.want}, {ID: "2", State: "running", Owner: "other"}}}
			r := f.invoke(t, nil, append([]string{"ls"}, tc.line...)...)
			r.want(t, 0, []string{"1   running"}, nil)
			if strings.Contains(r.out, "2   running") {
				t.Errorf("shows another owner's:\n%s", r.out)
			}
			f.invoke(t, strings.NewReader(""), append(append([]string{"run"}, tc.line...), "x")...)
			if f.config.Owner != tc.want {
				t.Errorf("runs as %q, want %q", f.config.Owner, tc.want)
			}
		})
	}
	// What is on engines already was made under this name.
	if got := DevOwner("/nowhere/wflo", "default"); got != "dev-41a077433e83bf77" {
		t.Errorf("DevOwner = %q", got)
	}
}

func someSandboxes() []docker.Sandbox {
	now := time.Now()
	list := []docker.Sandbox{
		{ID: "0123456789abcdef", State: "running", Run: "refund-1", Step: "charge\x1b", Tenant: "billing", Runtime: "runc", Created: now.Add(-90 * time.Second), Expires: now.Add(time.Hour)},
		{ID: "1123456789abcdef", State: "kept", Box: "box-2", Created: now},
		{ID: "2123456789abcdef", State: "idle", Created: now},
		{ID: "3123456789abcdef", State: "exited", Created: now},
	}
	for i := range list {
		list[i].Owner = "blue"
	}
	return list
}

func TestSandboxList(t *testing.T) {
	t.Setenv("WFLO_OWNER", "blue")
	f := &fakeSandboxes{list: someSandboxes()}
	r := f.invoke(t, nil, "ls")
	r.want(t, 0, []string{"ID", "EXPIRES\n", "0123456789ab  running  refund-1  charge\\x1b  billing  runc", "1m30s", "1123456789ab  kept"}, nil)
	if strings.Contains(r.out, "idle") || strings.Index(r.out, "112345") > strings.Index(r.out, "012345") {
		t.Errorf("order or choice:\n%s", r.out)
	}
	var all []docker.Sandbox
	r = f.invoke(t, nil, "ls", "--all", "-o", "json")
	if err := json.Unmarshal([]byte(r.out), &all); err != nil || len(all) != 4 || r.code != 0 {
		t.Errorf("%d sandboxes, %v:\n%s", len(all), err, r.out)
	}
	f.invoke(t, nil, "ls", "--all-owners").want(t, 0, []string{"OWNER", "blue\n"}, nil)
	f.list = f.list[2:]
	f.invoke(t, nil, "ls").want(t, 0, nil, []string{"2 wait or have ended"})
	f.invoke(t, nil, "ls", "-o", "json").want(t, 0, []string{"[]\n"}, nil)
	f.err = wflo.Errorf(wflo.CodeSandboxUnavailable, "start Docker", "no container engine answers")
	f.invoke(t, nil, "ls").want(t, ExitError, nil, []string{"no container engine answers", "hint: start Docker"})
}

func TestSandboxStats(t *testing.T) {
	t.Setenv("WFLO_OWNER", "blue")
	f := &fakeSandboxes{list: someSandboxes(), stats: map[string]docker.Stats{
		"0123456789abcdef": {ID: "0123456789abcdef", CPUPercent: 49.96, Memory: 3 * sandbox.MiB / 2, MemoryLimit: 512 * sandbox.MiB, PIDs: 2, PIDLimit: 128, CPUTime: 4200 * time.Millisecond},
	}}
	// The kept one is gone by now.
	f.invoke(t, nil, "stats").want(t, 0, []string{"0123456789ab  refund-1  50.0   1.5 / 512 MiB  2 / 128  4.2s"}, nil)
	f.invoke(t, nil, "stats", "-o", "jsonl").want(t, 0, []string{`"cpu_percent":49.96,"memory":1572864,`, `"cpu_time":4200000000,"run":"refund-1"`}, nil)
	f.invoke(t, nil, "stats", "0123", "1").want(t, ExitError, []string{"0123456789ab"}, []string{"id is unknown"})
	f.invoke(t, nil, "stats", "0123", "nope").want(t, ExitError, nil, []string{`"nope" does not exist`})
	f.stats = nil
	f.invoke(t, nil, "stats").want(t, ExitError, nil, []string{"id is unknown"})
	f.list = nil
	f.invoke(t, nil, "stats").want(t, 0, nil, []string{"no sandbox is at work"})
}

func TestSandboxKill(t *testing.T) {
	t.Setenv("WFLO_OWNER", "blue")
	f := &fakeSandboxes{list: someSandboxes()}
	f.list = append(f.list, docker.Sandbox{ID: "4", Owner: "red"}, docker.Sandbox{ID: "22", Owner: "blue", Name: "wflo-b"}, docker.Sandbox{ID: "gone", Owner: "blue"})
	f.invoke(t, nil, "kill", "0123", "gone", "wflo-b").want(t, ExitError, []string{"killed 0123456789ab\nkilled 22\n"}, []string{`"gone" is no sandbox`})
	f.invoke(t, nil, "kill", "2").want(t, ExitError, nil, []string{`"2" is the beginning of 2 ids`, "hint: give more of it"})
	f.invoke(t, nil, "kill", "4").want(t, ExitError, nil, []string{`"4" does not exist`, "--all-owners"})
	f.invoke(t, nil, "kill", "4", "--all-owners").want(t, 0, []string{"killed 4\n"}, nil)
	f.invoke(t, nil, "kill", "--run", "refund-1", "-o", "json").want(t, 0, []string{`"0123456789abcdef"`}, nil)
	f.invoke(t, nil, "kill", "--run", "box-2").want(t, 0, []string{"killed 1123456789ab\n"}, nil)
	f.invoke(t, nil, "kill", "--run", "other").want(t, ExitError, nil, []string{"run other has no sandbox", "hint: "})
	if diff := cmp.Diff([]string{"0123456789abcdef", "22", "4", "0123456789abcdef", "1123456789abcdef"}, f.killed); diff != "" {
		t.Errorf("killed (-want +got):\n%s", diff)
	}
}

func TestSandboxCollect(t *testing.T) {
	f := &fakeSandboxes{}
	f.invoke(t, nil, "gc").want(t, 0, nil, []string{"nothing to remove"})
	f.invoke(t, nil, "gc", "-o", "json").want(t, 0, []string{`"containers": []`, `"volumes": []`}, nil)
	f.got = docker.Collected{Containers: []string{"0123456789abcdef"}, Volumes: []string{"wflo-x"}}
	f.invoke(t, nil, "gc", "--dry-run").want(t, 0, []string{"would remove container 0123456789ab\nwould remove volume wflo-x\n"}, nil)
	if !f.dry {
		t.Error("not dry")
	}
	f.err = errors.New("torn")
	f.invoke(t, nil, "gc").want(t, ExitError, []string{"removed volume wflo-x"}, []string{"torn"})
}

// Commands ask the engine that the worker uses.
func TestSandboxHost(t *testing.T) {
	t.Setenv("WFLO_SANDBOX_HOST", "unix:///run/other.sock")
	f := &fakeSandboxes{}
	f.invoke(t, nil, "ls").want(t, 0, nil, []string{"no sandboxes"})
	if f.config.Host != "unix:///run/other.sock" {
		t.Errorf("host %q", f.config.Host)
	}
}

func TestSandboxCheck(t *testing.T) {
	f := &fakeSandboxes{defences: []docker.Defence{
		{Name: "seccomp", OK: true, Detail: "strict", Required: true, Hint: "not shown"},
		{Name: "engine", Detail: "torn (mend it)", Hint: "mend it"},
		{Name: "apparmor", Detail: "the kernel has none", Hint: "boot with apparmor=1"},
	}}
	f.invoke(t, nil, "check").want(t, 0, []string{"DEFENCE   THERE  DETAIL\nseccomp   yes    strict\nengine    no     torn; mend it\napparmor  no     the kernel has none; boot with apparmor=1\n"}, nil)
	f.invoke(t, nil, "check", "-o", "json").want(t, 0, []string{`"name": "apparmor"`, `"ok": false`, `"hint": "boot with apparmor=1"`}, nil)
	f.defences[0].OK = false
	f.invoke(t, nil, "check").want(t, ExitError, []string{"seccomp   MISSING"}, []string{"it lacks seccomp", "hint: "})
	f.err = wflo.Errorf(wflo.CodeSandboxUnavailable, "start Docker", "no container engine answers")
	f.invoke(t, nil, "check").want(t, ExitError, []string{"seccomp   MISSING"}, []string{"wflo: no container engine answers\nhint: start Docker\n"})
	f.defences = nil
	f.invoke(t, nil, "check").want(t, ExitError, nil, []string{"no container engine answers", "hint: start Docker"})
}

func TestSandboxImageBuild(t *testing.T) {
	var errOut bytes.Buffer
	a := &app{deps: Deps{Stderr: &errOut}}
	if err := a.buildImage(t.Context(), 1000); err == nil || !strings.Contains(err.Error(), "only root") || wflo.HintOf(err) == "" {
		t.Errorf("as somebody: %v", err)
	}
	bin := t.TempDir()
	path := os.Getenv("PATH")
	t.Setenv("PATH", bin)
	if err := a.buildImage(t.Context(), 0); err == nil || !strings.Contains(err.Error(), "needs bash") {
		t.Errorf("with an empty path: %v", err)
	}
	// Tools that fail, so that nothing is built.
	for _, name := range []string{"mmdebstrap", "docker"} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\necho no mirror today\nexit 1\n"), 0o700); err != nil { //nolint:gosec // a program
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", bin+":"+path)
	if err := a.buildImage(t.Context(), 0); err == nil || !strings.Contains(err.Error(), "recipe") {
		t.Errorf("with tools that fail: %v", err)
	}
	if !strings.Contains(errOut.String(), "no mirror today") {
		t.Errorf("what the recipe says is not shown: %s", errOut.String())
	}
	// Tools that do as little as they can.
	for name, text := range map[string]string{"mmdebstrap": `for a; do case $a in *.tar) : >"$a";; esac; done`, "docker": "exit 0"} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil { //nolint:gosec // a program
			t.Fatal(err)
		}
	}
	errOut.Reset()
	if err := a.buildImage(t.Context(), 0); err != nil || !strings.Contains(errOut.String(), "built wflo/sandbox:1") {
		t.Errorf("with tools that work: %v\n%s", err, errOut.String())
	}
}

// The recipe inside is the one in the tree, down to the hash that tells
// deploy/setup.sh when to build again.
func TestSandboxImageRecipe(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, deploy.SandboxImage()); err != nil {
		t.Fatal(err)
	}
	hash := func(dir string) string {
		var out bytes.Buffer
		a := &app{deps: Deps{Stderr: &out}}
		if err := a.recipe(t.Context(), dir, "--hash").Run(); err != nil {
			t.Fatalf("%v: %s", err, out.String())
		}
		return out.String()
	}
	if inside, tree := hash(dir), hash("../../../../deploy/sandbox-image"); inside != tree || len(inside) < 9 {
		t.Errorf("hash %q inside, %q in the tree", inside, tree)
	}
}
