package sandboxtest

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// patience bounds what shall happen at once on a busy machine.
const patience = 10 * time.Second

// Options say how the Runner under Test was opened.
type Options struct {
	// Virtual says that programs have a kernel of their own, as under gVisor; see
	// HostileOptions. Its memory and processes are the sandbox's too: what is
	// too much may end all of it, and is told as the end of the program.
	Virtual bool
	// Secrets are what the Runner looks secrets up in; see NewSecrets. Without,
	// the tests of secrets fail.
	Secrets Secrets
	// Hands says that the Runner runs nothing itself and hands what it is given on to
	// others that pass this suite: what a program sees, is refused and comes to is
	// theirs, and left out. What becomes of boxes, files, calls and their ends is not.
	Hands bool
}

// handed are the tests of what a Runner with Options.Hands has from others.
var handed = []string{
	"Output", "Input", "Usage", "Starts", "Defences", "OwnLimits", "HeadAndTail", "WatchAll", "Changed", "Artifacts",
	"Outcomes", "Locked", "Limits", "Ended", "Secrets",
}

// Test holds a Runner to its contract. open gives a Runner that has no boxes and
// whose boxes nobody else sees; what it opens it closes in t.Cleanup. Give
// Options once.
func Test(t *testing.T, open func(t *testing.T) sandbox.Runner, options ...Options) {
	r := open(t)
	var opts Options
	for _, o := range options {
		opts = o
	}
	for name, test := range map[string]func(*testing.T, sandbox.Runner){
		"Output": testOutput, "Input": func(t *testing.T, r sandbox.Runner) { testInput(t, r, opts.Virtual) }, "Refusals": testRefusals,
		"Timeout": testTimeout, "Cancel": testCancel, "CancelledBefore": testCancelledBefore,
		"Watch": testWatch, "Usage": testUsage, "Starts": testStarts, "Defences": testDefences, "OwnLimits": testOwnLimits,
		"HeadAndTail": testHeadAndTail, "WatchAll": testWatchAll, "Changed": testChanged,
		"Queue":     testQueue,
		"Artifacts": func(t *testing.T, r sandbox.Runner) { testArtifacts(t, r, opts.Virtual) },
		"Outcomes":  func(t *testing.T, r sandbox.Runner) { testOutcomes(t, r, opts.Virtual) },
		"Locked":    func(t *testing.T, r sandbox.Runner) { testLocked(t, r, opts.Virtual) },
		"Limits":    func(t *testing.T, r sandbox.Runner) { testLimits(t, r, opts.Virtual) },
		"Ended":     func(t *testing.T, r sandbox.Runner) { testEnded(t, r, opts.Virtual) },
		"Secrets":   func(t *testing.T, r sandbox.Runner) { testSecrets(t, r, opts.Secrets) },
		"Workspace": testWorkspace, "Links": testLinks, "CloseEnds": testCloseEnds, "Concurrent": testConcurrent,
	} {
		if opts.Hands && slices.Contains(handed, name) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			test(t, r)
			empty(t, r)
		})
	}
	t.Run("Files", func(t *testing.T) { TestFiles(t, func(*testing.T) sandbox.Runner { return r }) })
}

// empty checks that a test left no box.
func empty(t *testing.T, r sandbox.Runner) {
	t.Helper()
	boxes, err := r.Boxes(t.Context())
	if err != nil || len(boxes) > 0 {
		t.Errorf("Boxes after the test = %q, %v, want none", boxes, err)
	}
}

// run executes and fails the test on an error of the machinery.
func run(t *testing.T, r sandbox.Runner, spec sandbox.Spec) sandbox.Result {
	t.Helper()
	if spec.Limits.Timeout == 0 {
		spec.Limits.Timeout = time.Minute // a wall that is missing must not hold up the rest
	}
	res, err := r.Run(t.Context(), spec, nil)
	if err != nil {
		t.Fatalf("Run: %v", err)
	}
	if !utf8.ValidString(res.Stdout) || !utf8.ValidString(res.Stderr) {
		t.Errorf("output is not valid UTF-8: %q %q", res.Stdout, res.Stderr)
	}
	return res
}

func bash(source string) sandbox.Spec { return sandbox.Spec{Language: sandbox.Bash, Source: source} }
func python(source string) sandbox.Spec {
	return sandbox.Spec{Language: sandbox.Python, Source: source}
}

// together puts the rows of a table into one box, and so into one sandbox, as long as
// they leave it as they found it: to start a sandbox for each takes longer than all of
// them. Under a kernel of its own nothing is used twice, and each row has its own.
func together(t *testing.T, r sandbox.Runner, virtual bool, name string, rows func(in func(sandbox.Spec) sandbox.Spec)) {
	t.Helper()
	if virtual {
		rows(func(spec sandbox.Spec) sandbox.Spec { return spec })
		return
	}
	defer func() {
		if err := r.Close(context.WithoutCancel(t.Context()), name); err != nil {
			t.Errorf("Close(%s): %v", name, err)
		}
	}()
	rows(func(spec sandbox.Spec) sandbox.Spec { return withBox(spec, name) })
}

// box opens a box that is closed after the test.
func box(t *testing.T, r sandbox.Runner, name string) string {
	t.Helper()
	closed := func() {
		if err := r.Close(context.Background(), name); err != nil {
			t.Errorf("Close(%s): %v", name, err)
		}
	}
	t.Cleanup(closed)
	return name
}

// expect is what a program must come to.
type expect struct {
	spec    sandbox.Spec
	outcome sandbox.Outcome
	code    int
	signal  int
	oom     bool
	killed  bool   // instead, it may be Signalled for a reason: the engine may miss why a whole sandbox ends
	stdout  string // exactly, unless empty
	stderr  string // contained
}

func (e expect) check(t *testing.T, r sandbox.Runner) {
	t.Helper()
	res := run(t, r, e.spec)
	if e.killed && res.Outcome == sandbox.Signalled && res.Reason != "" {
		return
	}
	if res.Outcome != e.outcome || res.ExitCode != e.code || res.Signal != e.signal || res.OOM != e.oom {
		t.Errorf("ended as %s, code %d, signal %d, OOM %v; want %s, %d, %d, %v\nstdout: %.300q\nstderr: %.300q",
			res.Outcome, res.ExitCode, res.Signal, res.OOM, e.outcome, e.code, e.signal, e.oom, res.Stdout, res.Stderr)
	}
	if e.stdout != "" && res.Stdout != e.stdout {
		t.Errorf("stdout = %.300q, want %q", res.Stdout, e.stdout)
	}
	if !strings.Contains(res.Stderr, e.stderr) {
		t.Errorf("stderr = %.300q, want %q in it", res.Stderr, e.stderr)
	}
	if res.Image == "" || res.Duration <= 0 && e.outcome != sandbox.StartFailed || res.Sandbox == "" {
		t.Errorf("image %q, sandbox %q, duration %v: want all set", res.Image, res.Sandbox, res.Duration)
	}
}

func testOutcomes(t *testing.T, r sandbox.Runner, virtual bool) {
	small := sandbox.Limits{Memory: 64 * sandbox.MiB}
	child := expect{
		spec: sandbox.Spec{Language: sandbox.Bash, Source: "python3 -c \"x = b'a' * (200 << 20)\"; exit 7", Limits: small}, outcome: sandbox.Nonzero, code: 7, oom: true,
	}
	if virtual { // memory that is the sandbox's ends the sandbox
		child.outcome, child.code, child.signal, child.killed = sandbox.OutOfMemory, 137, 9, true
	}
	rows := map[string]expect{
		"true":           {spec: sandbox.Spec{Argv: []string{"true"}}, outcome: sandbox.Succeeded},
		"bash":           {spec: bash("echo hi; echo ho >&2"), outcome: sandbox.Succeeded, stdout: "hi\n", stderr: "ho\n"},
		"python":         {spec: python("print(6*7)"), outcome: sandbox.Succeeded, stdout: "42\n"},
		"python fails":   {spec: python("import nosuch"), outcome: sandbox.Nonzero, code: 1, stderr: "ModuleNotFoundError"},
		"exit 3":         {spec: bash("exit 3"), outcome: sandbox.Nonzero, code: 3},
		"exit 127":       {spec: bash("exit 127"), outcome: sandbox.Nonzero, code: 127},
		"exit 255":       {spec: bash("exit 255"), outcome: sandbox.Nonzero, code: 255},
		"node":           {spec: sandbox.Spec{Language: sandbox.Node, Source: "console.log(6*7); process.exitCode = 2"}, outcome: sandbox.Nonzero, code: 2, stdout: "42\n"},
		"killed":         {spec: bash("kill -9 $$"), outcome: sandbox.Signalled, code: 137, signal: 9},
		"terminated":     {spec: bash("kill $$"), outcome: sandbox.Signalled, code: 143, signal: 15},
		"segmentation":   {spec: python("import os,signal; os.kill(os.getpid(), signal.SIGSEGV)"), outcome: sandbox.Signalled, code: 139, signal: 11},
		"exit 137":       {spec: bash("exit 137"), outcome: sandbox.Nonzero, code: 137},
		"exit 143":       {spec: bash("sleep 60 & kill $!; wait $!"), outcome: sandbox.Nonzero, code: 143},
		"not found":      {spec: sandbox.Spec{Argv: []string{"no-such-program"}}, outcome: sandbox.StartFailed, code: 127},
		"not executable": {spec: sandbox.Spec{Argv: []string{"/etc/passwd"}}, outcome: sandbox.StartFailed, code: 126},
		"memory": {spec: sandbox.Spec{Argv: []string{"python3", "-c", "x = b'a' * (200 << 20)"}, Limits: small},
			outcome: sandbox.OutOfMemory, code: 137, signal: 9, oom: true, killed: virtual},
		"memory of a child":   child,
		"daemon keeps stdout": {spec: bash("setsid sleep 600 & echo left"), outcome: sandbox.Succeeded, stdout: "left\n"},
		"fake start marker":   {spec: bash("printf '\\002wflo:started\\003\\n' >&2; exit 4"), outcome: sandbox.Nonzero, code: 4, stderr: "wflo:started"},
	}
	// What is killed takes its sandbox with it, or shows something that only one of its own does.
	alone := []string{"memory", "memory of a child", "true", "daemon keeps stdout"}
	together(t, r, virtual, "outcomes", func(in func(sandbox.Spec) sandbox.Spec) {
		for name, e := range rows {
			if !slices.Contains(alone, name) {
				e.spec = in(e.spec)
			}
			t.Run(name, func(t *testing.T) { e.check(t, r) })
		}
	})
}

func testInput(t *testing.T, r sandbox.Runner, virtual bool) {
	big := slices.Repeat([]byte("0123456789abcde\n"), 1<<16)
	digest := "python3 -c \"import sys,hashlib; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())\""
	const bigDigest = "import hashlib; print(hashlib.sha256(b'0123456789abcde\\n' * 65536).hexdigest())"
	want := run(t, r, python(bigDigest)).Stdout
	with := func(s sandbox.Spec, stdin []byte, files ...wflo.File) sandbox.Spec {
		s.Stdin, s.Files = stdin, files
		return s
	}
	env := bash(`printf '%s|%s|%s' "$PLAIN" "$ODD" "$HOME"`)
	env.Env = map[string]string{"PLAIN": "value", "ODD": "a=b \n'\"$(id)", "HOME": "/workspace"}
	rows := map[string]expect{
		"stdin":           {spec: with(sandbox.Spec{Argv: []string{"cat"}}, []byte("in")), outcome: sandbox.Succeeded, stdout: "in"},
		"stdin of script": {spec: with(python("import sys; print(sys.stdin.read())"), []byte("in")), outcome: sandbox.Succeeded, stdout: "in\n"},
		"long stdin":      {spec: with(bash(digest), big, wflo.File{Name: "x", Data: big}), outcome: sandbox.Succeeded, stdout: want},
		"no stdin":        {spec: sandbox.Spec{Argv: []string{"cat"}}, outcome: sandbox.Succeeded},
		"no stdin, files": {spec: with(bash("cat; cat f"), nil, wflo.File{Name: "f", Data: []byte("file")}), outcome: sandbox.Succeeded, stdout: "file"},
		"unread stdin":    {spec: with(sandbox.Spec{Argv: []string{"true"}}, slices.Repeat(big, 8)), outcome: sandbox.Succeeded},
		"environment":     {spec: env, outcome: sandbox.Succeeded, stdout: "value|a=b \n'\"$(id)|/workspace"},
		"arguments": {spec: sandbox.Spec{Argv: []string{"printf", "%s|", "", "-n", "$(id)", "a\nb", "'\"\\", "é"}},
			outcome: sandbox.Succeeded, stdout: "|-n|$(id)|a\nb|'\"\\|é|"},
		"long argument": {spec: sandbox.Spec{Argv: []string{"bash", "-c", "echo ${#1}", "x", strings.Repeat("a", 100000)}}, outcome: sandbox.Succeeded, stdout: "100000\n"},
		"directory":     {spec: sandbox.Spec{Argv: []string{"pwd"}}, outcome: sandbox.Succeeded, stdout: "/workspace\n"},
		"files": {spec: with(python("import pack.mod; print(open('pack/data').read())"), nil,
			wflo.File{Name: "pack/mod.py", Data: []byte("print('imported')")}, wflo.File{Name: "pack/data", Data: []byte("data")}, wflo.File{Name: "empty"}),
			outcome: sandbox.Succeeded, stdout: "imported\ndata\n"},
		"localhost": {spec: python("import socket; s=socket.create_server(('localhost',0)); c=socket.create_connection(s.getsockname()); print('up')"), outcome: sandbox.Succeeded, stdout: "up\n"},
	}
	alone := []string{"stdin", "files"}
	together(t, r, virtual, "input", func(in func(sandbox.Spec) sandbox.Spec) {
		for name, e := range rows {
			if !slices.Contains(alone, name) {
				e.spec = in(e.spec)
			}
			t.Run(name, func(t *testing.T) { e.check(t, r) })
		}
	})
}

func testRefusals(t *testing.T, r sandbox.Runner) {
	for name, spec := range map[string]sandbox.Spec{
		"empty":        {},
		"memory":       {Argv: []string{"true"}, Limits: sandbox.Limits{Memory: 1}},
		"file outside": {Argv: []string{"true"}, Files: []wflo.File{{Name: "../x"}}},
		"image":        {Argv: []string{"true"}, Image: "no.such.registry/image:1"},
	} {
		if res, err := r.Run(t.Context(), spec, nil); sandbox.OutcomeOf(res, err) != sandbox.Denied || wflo.HintOf(err) == "" {
			t.Errorf("%s: Run = %+v, %v, want it refused with a hint", name, res, err)
		}
	}
}

func testUsage(t *testing.T, r sandbox.Runner) {
	res := run(t, r, python("x = b'a' * (80 << 20)\nimport time\nt=time.process_time()\nwhile time.process_time() < t + 0.2: pass"))
	if res.PeakMemory != 0 && (res.PeakMemory < 80*sandbox.MiB || res.PeakMemory > 512*sandbox.MiB) {
		t.Errorf("PeakMemory = %d, want 80 to 512 MiB, or 0 where it is not known", res.PeakMemory)
	}
	// Counts are sampled: the last moments may be missing.
	if res.CPUTime != 0 && (res.CPUTime < 100*time.Millisecond || res.CPUTime > patience) {
		t.Errorf("CPUTime = %v, want about 200 ms, or 0 where it is not known", res.CPUTime)
	}
	if res.Duration < 200*time.Millisecond {
		t.Errorf("Duration = %v, want more than 200 ms", res.Duration)
	}
}
