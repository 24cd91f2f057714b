//go:build integration

package e2e

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/clitest"
)

// await polls until ok.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	clitest.Await(t, what, ok)
}

// environment is what a program needs of ours: no key, address or data of the
// person who runs the tests reaches it. home is its home directory.
func environment(home string, more ...string) []string {
	env := []string{"HOME=" + home, "XDG_DATA_HOME=" + home, "TERM=dumb", "WFLO_USER=ann"}
	for _, name := range []string{"PATH", "TMPDIR", "DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"} {
		if v := os.Getenv(name); v != "" {
			env = append(env, name+"="+v)
		}
	}
	return append(env, more...)
}

// program is a program that was started.
type program struct {
	cmd         *exec.Cmd
	run         *clitest.Command
	out, errOut *clitest.Buffer
	ended       <-chan struct{}
	code        int // once it was waited for; -1 when a signal ended it
}

// start runs a program until it ends by itself, by kill, or with the test.
func start(t *testing.T, env []string, argv ...string) *program {
	t.Helper()
	p := &program{cmd: exec.Command(argv[0], argv[1:]...)}
	p.cmd.Env = env
	// A group of its own, so that nothing it starts is left over.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	started := make(chan error, 1)
	p.run = clitest.Begin(t, strings.Join(clipped(argv), " "), func(out, errOut io.Writer) int {
		p.cmd.Stdout, p.cmd.Stderr = out, errOut
		err := p.cmd.Start()
		started <- err
		if err != nil {
			return -2
		}
		if err, exit := p.cmd.Wait(), new(exec.ExitError); err != nil && !errors.As(err, &exit) {
			return -2
		}
		return p.cmd.ProcessState.ExitCode()
	}, func() {
		if p.cmd.Process != nil {
			p.kill()
		}
	})
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	p.out, p.errOut, p.ended = &p.run.Out, &p.run.Err, p.run.Ended()
	return p
}

func clipped(argv []string) []string {
	words := slices.Clone(argv)
	words[0] = filepath.Base(words[0])
	for i, w := range words {
		words[i] = w[:min(len(w), 60)]
	}
	return words
}

// kill is SIGKILL to the program and all that it started; it returns when the
// program is gone.
func (p *program) kill() {
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // it may be gone
	<-p.ended
}

// wait returns when the program has ended by itself.
func (p *program) wait(t *testing.T) *program {
	t.Helper()
	p.code = p.run.Wait(t)
	return p
}

// want checks how the program ended and what it said.
func (p *program) want(t *testing.T, code int, parts ...string) *program {
	t.Helper()
	p.wait(t)
	p.run.Want(t, code, parts...)
	return p
}

// wantHint checks that the program ended with an error that a person can act on.
func (p *program) wantHint(t *testing.T, code int, message, hint string) {
	t.Helper()
	p.want(t, code)
	text := p.errOut.String()
	for _, line := range []string{`(?m)^wflo: .*` + regexp.QuoteMeta(message), `(?m)^hint: .*` + regexp.QuoteMeta(hint)} {
		if !regexp.MustCompile(line).MatchString(text) {
			t.Errorf("%s: standard error does not match %s:\n%s", clipped(p.cmd.Args), line, text)
		}
	}
	if strings.Contains(text, "panic") || strings.Contains(text, "goroutine ") {
		t.Errorf("%s panicked:\n%s", clipped(p.cmd.Args), text)
	}
}

func (p *program) said() string { return p.run.Said() }

// find waits for something in what the program says.
func (p *program) find(t *testing.T, pattern string) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	return p.run.Find(t, pattern, func(said string) (string, bool) {
		m := re.FindStringSubmatch(said)
		if m == nil {
			return "", false
		}
		return m[1], true
	})
}
