package cli

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/clitest"
	"github.com/wflo-ai/wflo-go/sandbox"
	"github.com/wflo-ai/wflo-go/sandbox/docker"
)

// These tests run `wflo sandbox` against the container engine of this host.

// ownSandboxes gives the test an owner of its own, and in the end removes
// whatever that still has.
func ownSandboxes(t *testing.T) {
	t.Helper()
	owner := "test-cli-" + rand.Text()
	t.Setenv("WFLO_OWNER", owner)
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		r, err := docker.New(ctx, docker.Config{Owner: docker.AnyOwner})
		if err != nil {
			t.Error(err)
			return
		}
		list, err := r.List(ctx)
		if err != nil {
			t.Error(err)
		}
		for _, s := range list {
			if s.Owner != owner {
				continue
			}
			t.Errorf("left behind: %+v", s)
			if err := r.Kill(ctx, s.ID); err != nil {
				t.Error(err)
			}
		}
		if err := r.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
}

// invocation is one `wflo sandbox` that runs beside the test.
type invocation struct {
	*clitest.Command
	stop context.CancelFunc
}

func beginSandbox(t *testing.T, input io.Reader, line ...string) invocation {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	return invocation{clitest.Begin(t, "wflo sandbox "+strings.Join(line, " "), func(out, errOut io.Writer) int {
		return Main(ctx, Deps{Stdin: input, Stdout: out, Stderr: errOut}, append([]string{"sandbox"}, line...))
	}, cancel), cancel}
}

// end waits for the end.
func (v invocation) end(t *testing.T) result {
	t.Helper()
	return result{v.Wait(t), v.Out.String(), v.Err.String()}
}

func realSandbox(t *testing.T, input string, line ...string) result {
	t.Helper()
	return beginSandbox(t, strings.NewReader(input), line...).end(t)
}

func TestEngineRun(t *testing.T) {
	ownSandboxes(t)
	t.Setenv("WFLO_TEST_SECRET", "hunter2hunter2")
	for name, tc := range map[string]struct {
		input       string
		line        []string
		code        int
		out, errOut []string
	}{
		"streams":    {"", []string{"run", "--", "sh", "-c", "echo out; echo err >&2; exit 7"}, 7, []string{"out\n"}, []string{"err\n"}},
		"stdin":      {"b\na\n", []string{"run", "sort"}, 0, []string{"a\nb\n"}, nil},
		"script":     {"import sys; print(sys.version_info.major)", []string{"run", "--language", "python", "--source-file", "-"}, 0, []string{"3\n"}, nil},
		"variables":  {"", []string{"run", "-e", "A=1 2", "sh", "-c", "echo $A"}, 0, []string{"1 2\n"}, nil},
		"secret":     {"", []string{"run", "--secret", "S=WFLO_TEST_SECRET", "sh", "-c", `echo "$S"; echo ${#S}`}, 0, []string{"14\n"}, nil},
		"timeout":    {"", []string{"run", "--timeout", "1s", "sleep", "600"}, ExitSandboxTime, nil, []string{"wflo: sandbox: timeout after 1s\n"}},
		"CPU time":   {"", []string{"run", "--cpu-time", "200ms", "sh", "-c", "while :; do :; done"}, ExitSandboxTime, nil, []string{"CPU time used up: the limit is 0.2s"}},
		"memory":     {"", []string{"run", "--memory", "64m", "python3", "-c", "x = bytearray(10**9)"}, 137, nil, []string{"out of memory: the limit is 64 MiB"}},
		"signal":     {"", []string{"run", "sh", "-c", "kill -SEGV $$"}, 139, nil, []string{"ended by signal 11 (segmentation fault)"}},
		"absent":     {"", []string{"run", "no-such-program"}, ExitSandboxAbsent, nil, []string{"could not be started"}},
		"not a file": {"", []string{"run", "/etc"}, ExitSandboxStart, nil, []string{"could not be started"}},
		"no network": {"", []string{"run", "sh", "-c", "grep -c : /proc/net/dev"}, 0, []string{"1\n"}, nil},
		"refusal": {
			"", []string{"run", "--allow", "a.example:443", "--", "python3", "-c", "import urllib.request as u; u.urlopen('http://b.example/')"}, 1, nil,
			[]string{"403", "wflo: sandbox: refused 1 x: b.example:80 is not on the allow-list\n"},
		},
		"no image": {"", []string{"run", "--image", "no-such-image:1", "true"}, ExitSandbox, nil, []string{"no-such-image:1", "hint: "}},
		"refused":  {"", []string{"run", "--runtime", "no-such-runtime", "true"}, ExitSandbox, nil, []string{"no-such-runtime", "hint: "}},
	} {
		t.Run(name, func(t *testing.T) {
			r := realSandbox(t, tc.input, tc.line...)
			r.want(t, tc.code, tc.out, tc.errOut)
			if strings.Contains(r.out, "hunter2") {
				t.Errorf("the secret is shown: %s", r.out)
			}
		})
	}
}

func TestEngineFiles(t *testing.T) {
	ownSandboxes(t)
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in.txt"), filepath.Join(dir, "out")
	if err := os.WriteFile(in, []byte("abc"), 0o600); err != nil {
		t.Fatal(err)
	}
	realSandbox(t, "", "run", "--file", in+":data/in", "--artifact", "out/*", "--artifacts-dir", out, "--",
		"sh", "-c", "mkdir out && tr a-c A-C <data/in >out/up && echo no >left").want(t, 0, nil, nil)
	if data, err := os.ReadFile(filepath.Join(out, "out", "up")); err != nil || string(data) != "ABC" {
		t.Errorf("artifact %q, %v", data, err)
	}
	if _, err := os.Stat(filepath.Join(out, "left")); err == nil {
		t.Error("a file that no pattern names came back")
	}
}

func TestEngineJSON(t *testing.T) {
	ownSandboxes(t)
	r := realSandbox(t, "", "run", "-o", "json", "--artifact", "a", "--", "sh", "-c", "echo out; echo err >&2; printf x >a; exit 3")
	var res sandbox.Result
	if err := json.Unmarshal([]byte(r.out), &res); err != nil || r.code != 3 || r.errOut != "" {
		t.Fatalf("exit code %d, stderr %q, %v:\n%s", r.code, r.errOut, err, r.out)
	}
	if res.Outcome != sandbox.Nonzero || res.ExitCode != 3 || res.Stdout != "out\n" || res.Stderr != "err\n" || len(res.Artifacts) != 1 || string(res.Artifacts[0].Data) != "x" {
		t.Errorf("got %+v", res)
	}
}

// Output arrives while the program runs, and Ctrl-C ends it.
func TestEngineInterrupt(t *testing.T) {
	ownSandboxes(t)
	v := beginSandbox(t, strings.NewReader(""), "run", "--", "sh", "-c", "echo ready; exec sleep 600")
	v.Says(t, "ready\n")
	v.stop()
	v.end(t).want(t, ExitInterrupted, []string{"ready\n"}, nil)
	realSandbox(t, "", "ls", "--all").want(t, 0, nil, []string{"no sandboxes of owner test-cli-"})
}

// One process runs a program; others see it, measure it and end it.
func TestEngineLookAfter(t *testing.T) {
	ownSandboxes(t)
	v := beginSandbox(t, strings.NewReader(""), "run", "--memory", "64m", "--", "sh", "-c", "echo ready; exec sleep 600")
	v.Says(t, "ready\n")

	// What ends soon after it began is never listed as running, so this may
	// take a moment.
	var list []docker.Sandbox
	for len(list) == 0 {
		r := realSandbox(t, "", "ls", "-o", "json")
		if err := json.Unmarshal([]byte(r.out), &list); err != nil || r.code != 0 {
			t.Fatalf("exit code %d, %v in\n%s%s", r.code, err, r.out, r.errOut)
		}
		// One that did not suit is being removed meanwhile.
		list = slices.DeleteFunc(list, func(s docker.Sandbox) bool { return s.State != "running" })
		if len(list) > 1 {
			t.Fatalf("%d sandboxes run: %s", len(list), r.out)
		}
	}
	id := list[0].ID
	realSandbox(t, "", "ls").want(t, 0, []string{shortID(id) + "  running"}, nil)
	realSandbox(t, "", "ls", "--all-owners").want(t, 0, []string{shortID(id) + "  running", os.Getenv("WFLO_OWNER")}, nil)
	realSandbox(t, "", "ls", "--owner", "nobody-"+rand.Text()).want(t, 0, nil, []string{"no sandboxes of owner nobody-"})
	realSandbox(t, "", "stats").want(t, 0, []string{shortID(id), " MiB", " / "}, nil)
	// Others use this engine too, and may have left something.
	if r := realSandbox(t, "", "gc", "--dry-run", "-o", "json"); r.code != 0 || r.errOut != "" || !strings.Contains(r.out, `"dry_run": true`) || strings.Contains(r.out, id) {
		t.Errorf("exit code %d for\n%s%s", r.code, r.out, r.errOut)
	}

	realSandbox(t, "", "kill", "zz").want(t, ExitError, nil, []string{`"zz"`, "hint: "})
	realSandbox(t, "", "kill", shortID(id)).want(t, 0, []string{"killed " + shortID(id)}, nil)
	end := v.end(t)
	end.want(t, ExitSandbox, []string{"ready\n"}, []string{"wflo: "})
	realSandbox(t, "", "ls", "--all").want(t, 0, nil, []string{"no sandboxes"})
}

func TestEngineCheck(t *testing.T) {
	ownSandboxes(t)
	realSandbox(t, "", "check").want(t, 0, []string{"DEFENCE", "seccomp"}, nil)
	var defences []docker.Defence
	r := realSandbox(t, "", "check", "-o", "json")
	if err := json.Unmarshal([]byte(r.out), &defences); err != nil || len(defences) == 0 {
		t.Errorf("%v in\n%s", err, r.out)
	}
	for _, d := range defences {
		if d.OK != (d.Hint == "") {
			t.Errorf("a hint belongs to what is missing: %+v", d)
		}
	}
}

func TestEngineAbsent(t *testing.T) {
	ownSandboxes(t)
	t.Setenv("DOCKER_HOST", "unix://"+filepath.Join(t.TempDir(), "none.sock"))
	hint := []string{"no container engine answers", "hint: "}
	realSandbox(t, "", "check").want(t, ExitError, []string{"engine   MISSING"}, hint)
	realSandbox(t, "", "ls").want(t, ExitError, nil, hint)
	realSandbox(t, "", "gc").want(t, ExitError, nil, hint)
	realSandbox(t, "", "run", "true").want(t, ExitSandbox, nil, hint)
}

// A worker's sandbox says which run it is for, and is ended by that.
func TestEngineKillRun(t *testing.T) {
	ownSandboxes(t)
	worker, err := docker.New(t.Context(), docker.Config{Owner: os.Getenv("WFLO_OWNER"), Pool: docker.Pool{Size: -1}})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := worker.Run(t.Context(), sandbox.Spec{
			Argv: []string{"sleep", "600"}, Key: rand.Text(), Origin: sandbox.Origin{Run: "refund-7", Step: "charge", Tenant: "billing", Attempt: 1},
		}, nil)
		ended <- errors.Join(err, worker.Shutdown(context.WithoutCancel(t.Context())))
	}()
	for !strings.Contains(realSandbox(t, "", "ls").out, "running  refund-7  charge  billing") {
		select {
		case err := <-ended:
			t.Fatalf("ends before it is listed: %v", err)
		default:
		}
	}
	realSandbox(t, "", "kill", "--run", "refund-8").want(t, ExitError, nil, []string{"run refund-8 has no sandbox"})
	realSandbox(t, "", "kill", "--run", "refund-7").want(t, 0, []string{"killed "}, nil)
	if err := <-ended; !errors.Is(err, wflo.ErrSandboxLost) {
		t.Errorf("the worker sees %v", err)
	}
}
