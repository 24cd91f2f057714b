package sandboxtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// controlAttacks come with the specification instead of the program.
var controlAttacks = []attack{
	{name: "variables for loaders and interpreters", spec: withEnv(bash("echo held"), map[string]string{
		"LD_PRELOAD": "/no/such.so", "LD_LIBRARY_PATH": "/workspace", "LD_DEBUG": "", "BASH_ENV": "/dev/null", "ENV": "/dev/null", "IFS": "x", "PS4": "$(id)",
		"PYTHONSTARTUP": "/no/such", "PYTHONHASHSEED": "0", "SHELLOPTS": "xtrace", "GLIBC_TUNABLES": "glibc.malloc.check=3",
	}), stdout: "held\n"},
	{name: "variables for PID 1", spec: withEnv(bash("echo held"), map[string]string{
		"GODEBUG": "inittrace=1", "GOTRACEBACK": "crash", "GOMAXPROCS": "0", "GOMEMLIMIT": "1", "GOGC": "off", "GOCOVERDIR": "/workspace", "DOCKER_HOST": "tcp://127.0.0.1:1",
		"WFLO_KEY": "x", "WFLO_INIT": "x", "container": "x", "NOTIFY_SOCKET": "/workspace/x", "LISTEN_FDS": "3", "LISTEN_PID": "1",
	})},
	{name: "no path", spec: withEnv(sandbox.Spec{Argv: []string{"/bin/echo", "held"}}, map[string]string{"PATH": "", "HOME": "/no/such", "USER": "root", "TMPDIR": "/no/such"})},
	{name: "another path", spec: withEnv(sandbox.Spec{Argv: []string{"/bin/bash", "-c", "echo held"}}, map[string]string{"PATH": "/workspace:."})},
	{name: "another directory", spec: withEnv(bash(`[ "$(pwd -P)" = /workspace ] && echo held`), map[string]string{"PWD": "/proc/self/fd/7", "OLDPWD": "/proc/self/fd/8"})},
	{name: "arguments that look like flags", spec: sandbox.Spec{Argv: []string{"printf", "%s ", "--privileged", "-v", "/:/host", "--", "held\n"}}, stdout: "--privileged -v /:/host -- held\n"},
	{name: "a program called as a flag", spec: sandbox.Spec{Argv: []string{"--privileged"}}, outcome: sandbox.StartFailed},
	{name: "a program with a line end", spec: sandbox.Spec{Argv: []string{"true\n"}}, outcome: sandbox.StartFailed},
	{name: "a program with slashes", spec: sandbox.Spec{Argv: []string{"../../../../bin/echo", "held"}}},
	{name: "a directory", spec: sandbox.Spec{Argv: []string{"/"}}, outcome: sandbox.StartFailed},
	{name: "a file of the kernel", spec: sandbox.Spec{Argv: []string{"/proc/self/environ"}}, outcome: sandbox.StartFailed},
	{name: "PID 1's own program", spec: limited(sandbox.Spec{Argv: []string{"/proc/1/exe"}}, soon), either: []sandbox.Outcome{sandbox.StartFailed, sandbox.Nonzero, sandbox.Timeout, sandbox.Signalled, sandbox.Succeeded}},
	{name: "a long source", spec: bash("echo held; exit 0\n" + strings.Repeat("#", sandbox.MaxSource-100))},
}

func withEnv(spec sandbox.Spec, env map[string]string) sandbox.Spec {
	spec.Env = env
	return spec
}

// controlTests play with the Runner's own calls.
var controlTests = map[string]func(*testing.T, *siege){
	"refused":             testRefusedSpecs,
	"same key at once":    testSameKey,
	"storm of cancelling": testCancelStorm,
	"cancel while making": testCancelBox,
	"closing a box":       testCloseStorm,
}

// testRefusedSpecs must not reach the engine.
func testRefusedSpecs(t *testing.T, s *siege) {
	huge := map[string]string{}
	for i := range 40 {
		huge[fmt.Sprint("V", i)] = strings.Repeat("x", 100<<10)
	}
	echo := []string{"echo", "breach"}
	specs := map[string]sandbox.Spec{
		"huge environment":  {Argv: echo, Env: huge},
		"long variable":     {Argv: echo, Env: map[string]string{"A": strings.Repeat("x", 3<<20)}},
		"long argument":     {Argv: []string{"echo", strings.Repeat("x", 200<<10)}},
		"bytes in argument": {Argv: []string{"echo", "\xff\xfe"}},
		"bytes in program":  {Argv: []string{"/bin/\xff\xfe"}},
		"NUL in argument":   {Argv: []string{"echo", "a\x00b"}},
		"variable A=B":      {Argv: echo, Env: map[string]string{"A=B": "x"}},
		"no network mode":   {Argv: echo, Network: sandbox.Network{Mode: "host"}},
		"host's network":    {Argv: echo, Network: sandbox.Open()},
		"runtime":           {Argv: echo, Security: sandbox.Security{Runtime: "../../bin/sh"}},
		"other runtime":     {Argv: echo, Security: sandbox.Security{Runtime: "io.containerd.runtime.v1.linux"}},
		"no profile":        {Argv: echo, Security: sandbox.Security{Profile: "unconfined"}},
		"engine's profile":  {Argv: echo, Security: sandbox.Security{Profile: sandbox.Engine}},
		"artifact outside":  {Argv: echo, Artifacts: []string{"../*"}},
		"artifact by path":  {Argv: echo, Artifacts: []string{"/etc/passwd"}},
		"file outside":      {Argv: echo, Files: []wflo.File{{Name: "../etc/x"}}},
		"file by path":      {Argv: echo, Files: []wflo.File{{Name: "/etc/x"}}},
		"secret unknown":    {Argv: echo, Secrets: map[string]string{"A": "no-such-secret"}},
		"memory for ever":   {Argv: echo, Limits: sandbox.Limits{Memory: -1}},
		"box of bytes":      {Argv: echo, Box: "\xff"},
		"key of lines":      {Argv: echo, Key: "a\nb"},
		"tenant of lines":   {Argv: echo, Origin: sandbox.Origin{Tenant: "a\nb"}},
	}
	for _, image := range []string{
		"--privileged", "host:1/../x", "-v", "wflo/sandbox:1 --privileged", "wflo/sandbox:1\n", "../../etc", "/etc/passwd", "https://example.com/x", "x@sha256:short", "wflo/sandbox:../1",
		"scratch", "docker.io/library/alpine:latest", "127.0.0.1:1/x", "localhost:5000/x:1", "x\x00y", "WFLO/SANDBOX:1", "{{.Image}}", "$(id)", "sha256:" + strings.Repeat("a", 64), strings.Repeat("a", 300),
	} {
		specs["image "+image] = sandbox.Spec{Argv: echo, Image: image}
	}
	for name, spec := range specs {
		res, err := s.r.Run(t.Context(), spec, nil)
		if sandbox.OutcomeOf(res, err) != sandbox.Denied && !slices.Contains([]wflo.Code{wflo.CodeMissingKey, wflo.CodeSandboxUnavailable}, wflo.CodeOf(err)) || wflo.HintOf(err) == "" {
			t.Errorf("%s: Run = %s %.100q, %v, want it refused with a hint", name, res.Outcome, res.Stdout, err)
		}
		if err != nil && len(err.Error()) > 1000 {
			t.Errorf("%s: an error of %d bytes", name, len(err.Error()))
		}
	}
}

// testSameKey starts one execution twice at the same time. Whether the second
// adopts the first or ends it: never are there two.
func testSameKey(t *testing.T, s *siege) {
	name := box(t, s.r, s.token+"-key")
	spec := withBox(probe(`
import fcntl
f = open("/workspace/lock", "a")
try: fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError: print("breach: two at once"); open("/workspace/twice", "w").close()
print("ready", flush=True); time.sleep(0.5)
`), name)
	spec.Key = s.token + "-key"
	var wg sync.WaitGroup
	var mu sync.Mutex
	good, ends := 0, []string{}
	for range 3 {
		wg.Go(func() {
			res, err := s.r.Run(t.Context(), s.arm(spec), nil)
			mu.Lock()
			defer mu.Unlock()
			ends = append(ends, fmt.Sprintf("%s %q %v", res.Outcome, res.Stdout, err))
			switch {
			case err == nil && res.OK() && res.Stdout == "ready\nheld\n":
				good++
			case err == nil && res.Outcome != sandbox.Cancelled:
				t.Errorf("Run = %s %q %q", res.Outcome, res.Stdout, res.Stderr)
			}
		})
	}
	wg.Wait()
	if good == 0 {
		t.Errorf("none of them succeeded: %q", ends)
	}
	if _, err := s.r.ReadFile(t.Context(), name, "twice", 10); wflo.CodeOf(err) != wflo.CodeInvalid {
		t.Errorf("two ran at once: %v", err)
	}
	if err := s.r.Close(t.Context(), name); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// storm is when executions are cancelled, after their begin.
var storm = []time.Duration{0, time.Millisecond, 3 * time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 30 * time.Millisecond, 100 * time.Millisecond}

func (s *siege) cancelled(t *testing.T, spec sandbox.Spec, after time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), after)
	defer cancel()
	res, err := s.r.Run(ctx, s.arm(spec), nil)
	if outcome := sandbox.OutcomeOf(res, err); outcome != sandbox.Cancelled || err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled after %v: Run = %s, %v", after, outcome, err)
	}
}

func testCancelStorm(t *testing.T, s *siege) {
	var wg sync.WaitGroup
	for i, after := range slices.Concat(storm, storm, storm) {
		spec := sandbox.Spec{Argv: []string{"sleep", "600"}}
		switch i % 3 {
		case 1:
			spec = withStdin(bash("sleep 600 & setsid sleep 600 & wait"), 4<<20)
		case 2:
			spec = limited(bash("trap '' TERM; while :; do echo x; done"), nil)
		}
		if i%2 == 0 {
			spec.Key = fmt.Sprintf("%s-storm-%d", s.token, i)
		}
		wg.Go(func() { s.cancelled(t, spec, after) })
	}
	wg.Wait()
}

// testCancelBox cancels while a box comes to be, and closes it.
func testCancelBox(t *testing.T, s *siege) {
	for i, after := range storm {
		name := box(t, s.r, fmt.Sprintf("%s-cancel-%d", s.token, i))
		spec := withBox(sandbox.Spec{Argv: []string{"sleep", "600"}}, name)
		spec.Files = []wflo.File{{Name: "f", Data: make([]byte, 1<<20)}}
		s.cancelled(t, spec, after)
		if err := s.r.Close(t.Context(), name); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
}

// testCloseStorm closes a box while executions begin in it. They end, one way or
// another, and after a last close nothing of the box is left.
func testCloseStorm(t *testing.T, s *siege) {
	name := box(t, s.r, s.token+"-closing")
	var wg sync.WaitGroup
	for i := range 6 {
		spec := withBox(bash("sleep 2; echo held"), name)
		if i%2 == 0 {
			spec.Files = []wflo.File{{Name: fmt.Sprint("f", i), Data: []byte("x")}}
		}
		wg.Go(func() {
			res, err := s.r.Run(t.Context(), s.arm(spec), nil)
			if outcome := sandbox.OutcomeOf(res, err); outcome != sandbox.Cancelled && outcome != sandbox.Succeeded {
				t.Errorf("Run = %s (%s), %v, want it cancelled or done", outcome, res.Reason, err)
			}
		})
		if err := s.r.Close(t.Context(), name); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	wg.Wait()
	if err := s.r.Close(t.Context(), name); err != nil {
		t.Errorf("Close: %v", err)
	}
}
