package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
)

func TestSandboxUsage(t *testing.T) {
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "mine"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		line []string
		want []string
	}{
		{[]string{"lst"}, []string{`unknown command "lst"`, "hint: did you mean ls"}},
		{[]string{"run"}, []string{"there is nothing to run", "hint: such as: wflo sandbox run"}},
		{[]string{"run", "--nope", "true"}, []string{"unknown flag: --nope", "hint: see: wflo sandbox run --help"}},
		{[]string{"run", "--memory", "lots", "true"}, []string{`--memory is "lots"`, "hint: write it like 512m"}},
		{[]string{"run", "--memory", "1k", "true"}, []string{"limits.memory is 1 KiB", "hint: use 16 MiB to 64 GiB"}},
		{[]string{"run", "--cpus", "65", "true"}, []string{"limits.cpus is 65"}},
		{[]string{"run", "--timeout", "1", "true"}, []string{"invalid argument", "--timeout"}},
		{[]string{"run", "--timeout", "1ms", "true"}, []string{"limits.timeout is 1ms"}},
		{[]string{"run", "--allow", "example.com", "true"}, []string{"without a port", "hint: write it as api.example.com:443"}},
		{[]string{"run", "--allow", "a.b:1", "--open-network", "true"}, []string{"exclude each other"}},
		{[]string{"run", "--seccomp", "off", "true"}, []string{"spec.security.profile", "hint: use strict or engine"}},
		{[]string{"run", "--require", "luck", "true"}, []string{"spec.security.require[0]", "apparmor"}},
		{[]string{"run", "--env", "WFLO_UNSET_HERE", "true"}, []string{"this environment has no WFLO_UNSET_HERE"}},
		{[]string{"run", "--env", "A=1", "--env", "A=2", "true"}, []string{"A is there twice"}},
		{[]string{"run", "--env", "A=1", "--secret", "A=HOME", "true"}, []string{"is in spec.env too"}},
		{[]string{"run", "--secret", "WFLO_UNSET_HERE", "true"}, []string{"this environment has no WFLO_UNSET_HERE", "hint: export it"}},
		{[]string{"run", "--file", "/does/not/exist", "true"}, []string{"no such file", "LOCAL:NAME"}},
		{[]string{"run", "--file", full, "true"}, []string{"is not a regular file", "tar"}},
		{[]string{"run", "--file", filepath.Join(full, "mine") + ":../x", "true"}, []string{"files[0].name", `no ".."`}},
		{[]string{"run", "--language", "python"}, []string{"--language and --source-file go together"}},
		{[]string{"run", "--language", "ruby", "--source-file", "-"}, []string{`--language is "ruby"`, "hint: use python, bash or node"}},
		{[]string{"run", "--language", "bash", "--source-file", "-", "true"}, []string{"exclude each other"}},
		{[]string{"run", "--language", "bash", "--source-file", "/does/not/exist"}, []string{"no such file"}},
		{[]string{"run", "--artifact", "*", "true"}, []string{"there is no place for them", "--artifacts-dir"}},
		{[]string{"run", "--artifact", "/etc/*", "-o", "json", "true"}, []string{"spec.artifacts[0]"}},
		{[]string{"run", "--artifacts-dir", "x", "true"}, []string{"no --artifact is"}},
		{[]string{"run", "--artifact", "*", "--artifacts-dir", full, "true"}, []string{"is not empty", "--overwrite"}},
		{[]string{"ls", "--owner", "x", "--all-owners"}, []string{"exclude each other"}},
		{[]string{"ls", "x"}, []string{"too many arguments"}},
		{[]string{"kill"}, []string{"wflo sandbox kill: ID is missing", "hint: see: wflo sandbox ls"}},
		{[]string{"kill", "x", "--run", "y"}, []string{"exclude each other"}},
		{[]string{"stats", "--watch", "--every", "1ms"}, []string{"--every is 1ms"}},
		{[]string{"check", "x"}, []string{"too many arguments"}},
	} {
		t.Run(strings.Join(tc.line, " "), func(t *testing.T) {
			f := &fakeSandboxes{}
			f.invoke(t, strings.NewReader(""), tc.line...).want(t, ExitUsage, nil, tc.want)
			if f.spec.Argv != nil || f.shut != 0 {
				t.Errorf("the engine was asked: %+v", f)
			}
		})
	}
}

func TestSandboxSpec(t *testing.T) {
	dir := t.TempDir()
	script, colon := filepath.Join(dir, "job.py"), filepath.Join(dir, "a:b")
	for _, name := range []string{script, colon} {
		if err := os.WriteFile(name, []byte("1"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("WFLO_TEST_HERE", "here")
	t.Setenv("WFLO_TEST_TOO", "too")
	minute := time.Minute
	for name, tc := range map[string]struct {
		line []string
		want sandbox.Spec
	}{
		"program":              {[]string{"--", "echo", "-n", "--", "a"}, sandbox.Spec{Argv: []string{"echo", "-n", "--", "a"}}},
		"flags of the program": {[]string{"sh", "-c", "--env"}, sandbox.Spec{Argv: []string{"sh", "-c", "--env"}}},
		"limits": {
			[]string{"--memory", "64m", "--cpus", "0.25", "--pids", "9", "--timeout", "1m", "--cpu-time", "1m", "--workspace", "32m", "--tmp", "1m", "--output-limit", "2k", "--output-total", "1g", "x"},
			sandbox.Spec{Argv: []string{"x"}, Limits: sandbox.Limits{
				Memory: 64 * sandbox.MiB, CPUs: 0.25, PIDs: 9, Timeout: minute, CPUTime: minute, Workspace: 32 * sandbox.MiB,
				Tmp: sandbox.MiB, Output: 2 * sandbox.KiB, OutputTotal: sandbox.GiB,
			}},
		},
		"network": {
			[]string{"--allow", "a.example:443", "--allow", "*.b.example:80", "x"},
			sandbox.Spec{Argv: []string{"x"}, Network: sandbox.Allow("a.example:443", "*.b.example:80")},
		},
		"open network": {[]string{"--open-network", "x"}, sandbox.Spec{Argv: []string{"x"}, Network: sandbox.Open()}},
		"security": {
			[]string{"--runtime", "runsc", "--seccomp", "engine", "--require", "apparmor,gvisor", "--image", "debian:12", "x"},
			sandbox.Spec{Argv: []string{"x"}, Image: "debian:12", Security: sandbox.Security{Runtime: "runsc", Profile: "engine", Require: []string{"apparmor", "gvisor"}}},
		},
		"variables": {
			[]string{"-e", "A=1=2", "-e", "WFLO_TEST_HERE", "--env", "E=", "--secret", "T=WFLO_TEST_HERE", "--secret", "WFLO_TEST_TOO", "x"},
			sandbox.Spec{
				Argv: []string{"x"}, Env: map[string]string{"A": "1=2", "WFLO_TEST_HERE": "here", "E": ""},
				Secrets: map[string]string{"T": "WFLO_TEST_HERE", "WFLO_TEST_TOO": "WFLO_TEST_TOO"},
			},
		},
		"files": {
			[]string{"--file", script, "--file", colon + ":in/b", "x"},
			sandbox.Spec{Argv: []string{"x"}, Files: []wflo.File{{Name: "job.py", Data: []byte("1")}, {Name: "in/b", Data: []byte("1")}}},
		},
		"script": {[]string{"--language", "python", "--source-file", script}, sandbox.Spec{Language: sandbox.Python, Source: "1"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fakeSandboxes{res: sandbox.Result{Outcome: sandbox.Succeeded}}
			f.invoke(t, strings.NewReader("in"), append([]string{"run"}, tc.line...)...).want(t, 0, nil, nil)
			tc.want.Stdin = []byte("in")
			empty := func(m map[string]string) bool { return len(m) == 0 }
			if diff := cmp.Diff(tc.want, f.spec, cmp.FilterValues(func(x, y map[string]string) bool { return empty(x) && empty(y) }, cmp.Ignore())); diff != "" {
				t.Errorf("spec (-want +got):\n%s", diff)
			}
			if f.config.Pool.Size != -1 || f.shut != 1 {
				t.Errorf("pool of %d, shut down %d times", f.config.Pool.Size, f.shut)
			}
		})
	}
}

func TestSandboxStdin(t *testing.T) {
	f := &fakeSandboxes{res: sandbox.Result{Outcome: sandbox.Succeeded}}
	f.invoke(t, strings.NewReader("print(1)"), "run", "--language", "python", "--source-file", "-").want(t, 0, nil, nil)
	if f.spec.Source != "print(1)" || f.spec.Stdin != nil {
		t.Errorf("source %q, stdin %q", f.spec.Source, f.spec.Stdin)
	}
	f.invoke(t, strings.NewReader("x"), "run", "--no-stdin", "cat").want(t, 0, nil, nil)
	if f.spec.Stdin != nil {
		t.Errorf("stdin %q", f.spec.Stdin)
	}
	// A little more than fits, without the memory for it.
	much := io.LimitReader(zeros{}, sandbox.MaxStdin+1)
	f.invoke(t, much, "run", "cat").want(t, ExitUsage, nil, []string{"standard input has more than 64 MiB", "hint: put what is larger into a file"})
	f.invoke(t, broken{}, "run", "cat").want(t, ExitUsage, nil, []string{"read standard input: torn"})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("torn") }

// A reader that nobody writes to does not hold up an interrupt.
func TestSandboxStdinInterrupted(t *testing.T) {
	r, w := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	a := &app{deps: Deps{Stdin: r}}
	if _, err := a.stdin(ctx, 1, ""); !errors.Is(err, context.Canceled) {
		t.Errorf("stdin = %v", err)
	}
	_ = w.Close() // lets go of the reader
}

func TestSandboxEnds(t *testing.T) {
	lost := wflo.Errorf(wflo.CodeSandboxUnavailable, "start Docker", "no container engine answers")
	for name, tc := range map[string]struct {
		res  sandbox.Result
		err  error
		code int
		want []string
	}{
		"fine":        {res: sandbox.Result{Outcome: sandbox.Succeeded}, code: 0},
		"nonzero":     {res: sandbox.Result{Outcome: sandbox.Nonzero, ExitCode: 3}, code: 3},
		"limit hit":   {res: sandbox.Result{Outcome: sandbox.Nonzero, ExitCode: 1, Hit: []string{"pids", "tmp"}}, code: 1, want: []string{"wflo: sandbox: ran into the limit on pids and tmp\n"}},
		"signal":      {res: sandbox.Result{Outcome: sandbox.Signalled, ExitCode: 139, Signal: 11}, code: 139, want: []string{"wflo: sandbox: ended by signal 11 (segmentation fault)\n"}},
		"memory":      {res: sandbox.Result{Outcome: sandbox.OutOfMemory, ExitCode: 137}, code: 137, want: []string{"wflo: sandbox: out of memory: the limit is 512 MiB\n"}},
		"timeout":     {res: sandbox.Result{Outcome: sandbox.Timeout, ExitCode: 137}, code: 124, want: []string{"wflo: sandbox: timeout after 60s\n"}},
		"cpu":         {res: sandbox.Result{Outcome: sandbox.CPUTimeout, ExitCode: 137}, code: 124, want: []string{"CPU time used up: the limit is 30s"}},
		"output":      {res: sandbox.Result{Outcome: sandbox.OutputLimit, ExitCode: 137}, code: 137, want: []string{"too much output: the limit is 4 GiB"}},
		"disk":        {res: sandbox.Result{Outcome: sandbox.DiskFull, ExitCode: 1}, code: 1, want: []string{"/workspace has 256 MiB"}},
		"not started": {res: sandbox.Result{Outcome: sandbox.StartFailed, ExitCode: 126, Reason: "not a\nprogram"}, code: 126, want: []string{`could not be started: not a\x0aprogram`}},
		"absent":      {res: sandbox.Result{Outcome: sandbox.StartFailed, ExitCode: 127}, code: 127, want: []string{"could not be started\n"}},
		"odd code":    {res: sandbox.Result{Outcome: sandbox.DiskFull, ExitCode: 0}, code: 1, want: []string{"disk"}},
		"cancelled":   {res: sandbox.Result{Outcome: sandbox.Cancelled}, code: 130},
		"refusals": {
			res:  sandbox.Result{Outcome: sandbox.Succeeded, Traffic: &sandbox.Traffic{Refused: []sandbox.Refusal{{To: "x.example:443", Reason: "is not on the allow-list", Count: 2}}}},
			code: 0, want: []string{"wflo: sandbox: refused 2 x: x.example:443 is not on the allow-list\n"},
		},
		"missed":    {res: sandbox.Result{Outcome: sandbox.Succeeded, ArtifactsMissed: []string{"a"}}, code: 0, want: []string{"artifact a is left out: all together may have 16 MiB"}},
		"no engine": {err: lost, code: 125, want: []string{"wflo: no container engine answers\nhint: start Docker\n"}},
		"lost":      {err: wflo.Errorf(wflo.CodeSandboxLost, "it is run again", "sandbox 1 is gone"), code: 125, want: []string{"wflo: sandbox 1 is gone\nhint: run it again; if nobody"}},
		"denied":    {err: wflo.Errorf(wflo.CodePolicyDenied, "h", "apparmor is missing"), code: 125, want: []string{"apparmor is missing"}},
		"invalid":   {err: wflo.Invalid("spec.image", "declares volumes", "h"), code: 2, want: []string{"declares volumes"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fakeSandboxes{res: tc.res, err: tc.err}
			f.invoke(t, strings.NewReader(""), "run", "--timeout", "60s", "x").want(t, tc.code, nil, tc.want)
		})
	}
}

func TestSandboxOutput(t *testing.T) {
	f := &fakeSandboxes{
		says: map[sandbox.Stream]string{sandbox.Stdout: "out\x1b[2J\n", sandbox.Stderr: "err"},
		res:  sandbox.Result{Outcome: sandbox.Nonzero, ExitCode: 4, Stdout: "out\x1b[2J\n", Artifacts: []wflo.File{{Name: "a", Data: []byte("x")}}},
	}
	// Files and pipes get what the program wrote.
	f.invoke(t, strings.NewReader(""), "run", "x").want(t, 4, []string{"out\x1b[2J\n"}, []string{"err"})

	var got sandbox.Result
	r := f.invoke(t, strings.NewReader(""), "run", "-o", "json", "--artifact", "a", "x")
	if err := json.Unmarshal([]byte(r.out), &got); err != nil || r.code != 4 || r.errOut != "" {
		t.Fatalf("exit code %d, stderr %q: %v", r.code, r.errOut, err)
	}
	if diff := cmp.Diff(f.res, got); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
}

// On a terminal nothing that a program writes can move the cursor, also where
// the engine hands a character over in two parts.
func TestSandboxEcho(t *testing.T) {
	for name, tc := range map[string]struct {
		parts []string
		want  string
	}{
		"plain":           {[]string{"a\n", "\tb"}, "a\n\tb"},
		"escape":          {[]string{"\x1b[", "31m"}, `\x1b[31m`},
		"parted":          {[]string{"h\xc3", "\xa9 \xe2", "\x82", "\xac"}, "hé €"},
		"parted control":  {[]string{"\xe2\x80", "\xae"}, `\u202e`},
		"torn":            {[]string{"a\xe2\x82"}, `a\xe2\x82`},
		"not a beginning": {[]string{"\x80\x80\x80\x80", "a"}, `\x80\x80\x80\x80a`},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			e := newEcho(&out, io.Discard, false, func() { t.Error("stopped") })
			e.streams[sandbox.Stdout].plain = true
			for _, p := range tc.parts {
				e.write(sandbox.Stdout, []byte(p))
			}
			e.flush()
			if out.String() != tc.want || e.err != nil {
				t.Errorf("shows %q, want %q; %v", out.String(), tc.want, e.err)
			}
		})
	}
}

// Whoever stops reading ends the program.
func TestSandboxReaderGone(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Close()
	defer func() { _ = w.Close() }()
	f := &fakeSandboxes{says: map[sandbox.Stream]string{sandbox.Stdout: "x"}, res: sandbox.Result{Outcome: sandbox.Cancelled}}
	var errOut bytes.Buffer
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	code := Main(t.Context(), Deps{Stdin: strings.NewReader(""), Stdout: w, Stderr: &errOut, Sandboxes: f.connect}, []string{"sandbox", "run", "yes"})
	if code != 141 || errOut.Len() > 0 {
		t.Errorf("exit code %d, stderr %q", code, errOut.String())
	}
}

func TestSandboxArtifacts(t *testing.T) {
	f := &fakeSandboxes{res: sandbox.Result{Outcome: sandbox.Succeeded, Artifacts: []wflo.File{
		{Name: "out/a.csv", Data: []byte("1")}, {Name: "b", Data: []byte("2")},
	}}}
	dir := filepath.Join(t.TempDir(), "new")
	line := []string{"run", "--artifact", "**", "--artifacts-dir", dir, "x"}
	f.invoke(t, strings.NewReader(""), line...).want(t, 0, nil, nil)
	for name, want := range map[string]string{"out/a.csv": "1", "b": "2"} {
		if data, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(data) != want {
			t.Errorf("%s: %q, %v", name, data, err)
		}
	}
	f.invoke(t, strings.NewReader(""), line...).want(t, ExitUsage, nil, []string{"is not empty"})
	f.res.Artifacts[1].Data = []byte("3")
	r := f.invoke(t, strings.NewReader(""), append([]string{"run", "--overwrite", "-o", "jsonl"}, line[1:]...)...)
	r.want(t, 0, []string{`"artifacts":[{"name":"out/a.csv","data":null}`}, nil)
	if data, err := os.ReadFile(filepath.Join(dir, "b")); err != nil || string(data) != "3" {
		t.Errorf("b: %q, %v", data, err)
	}
}

// Neither a name nor a link that is there leads an artifact out of its
// directory.
func TestSandboxArtifactsStayInside(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink(t.TempDir(), filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"../x", "/tmp/x", "a/../../x", "link/x", "x\n"} {
		if err := storeArtifacts(dir, []wflo.File{{Name: name}}, true); err == nil {
			t.Errorf("%q is written", name)
		}
	}
}
