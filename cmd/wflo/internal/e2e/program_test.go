//go:build integration

package e2e

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/clitest"
)

// await polls until ok.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	clitest.Await(t, what, ok)
}

// environment is clitest.Environment.
func environment(home string, more ...string) []string {
	return clitest.Environment(home, more...)
}

// program is a program that was started.
type program struct {
	cmd         *exec.Cmd
	run         *clitest.Program
	out, errOut *clitest.Buffer
	ended       <-chan struct{}
	code        int // once it was waited for; -1 when a signal ended it
}

// start runs a program until it ends by itself, by kill, or with the test.
func start(t *testing.T, env []string, argv ...string) *program {
	t.Helper()
	p := clitest.Start(t, env, argv...)
	return &program{cmd: p.Cmd, run: p, out: &p.Out, errOut: &p.Err, ended: p.Ended()}
}

func clipped(argv []string) []string { return clitest.Clipped(argv) }

func (p *program) kill() { p.run.Kill() }

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
	return p.run.Match(t, pattern)
}
