//go:build integration

package e2e

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long anything may take: much, because the machine may be busy.
const patience = 90 * time.Second

// await polls until ok.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// buffer may be read while a program writes to it.
type buffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
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
	out, errOut buffer
	ended       chan struct{}
	code        int // once it has ended; -1 when a signal did it
}

// start runs a program until it ends by itself, by kill, or with the test.
func start(t *testing.T, env []string, argv ...string) *program {
	t.Helper()
	p := &program{cmd: exec.Command(argv[0], argv[1:]...), ended: make(chan struct{})}
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = env, &p.out, &p.errOut
	// A group of its own, so that nothing it starts is left over.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		err := p.cmd.Wait()
		if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
			p.code = -2
			return
		}
		p.code = p.cmd.ProcessState.ExitCode()
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("%s:\n%s", strings.Join(clipped(argv), " "), p.said())
		}
	})
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
	select {
	case <-p.ended:
	case <-time.After(patience):
		t.Fatalf("%s does not end:\n%s", clipped(p.cmd.Args), p.said())
	}
	return p
}

// want checks how the program ended and what it said.
func (p *program) want(t *testing.T, code int, parts ...string) *program {
	t.Helper()
	p.wait(t)
	if p.code != code {
		t.Errorf("%s: exit code %d, want %d:\n%s", clipped(p.cmd.Args), p.code, code, p.said())
	}
	for _, part := range parts {
		if !strings.Contains(p.said(), part) {
			t.Errorf("%s lacks %q:\n%s", clipped(p.cmd.Args), part, p.said())
		}
	}
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

func (p *program) said() string {
	return p.out.String() + "--- standard error ---\n" + p.errOut.String()
}

// find waits for something in what the program says.
func (p *program) find(t *testing.T, pattern string) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	var m []string
	await(t, pattern, func() bool {
		m = re.FindStringSubmatch(p.said())
		select {
		case <-p.ended:
			if m == nil {
				t.Fatalf("%s ended:\n%s", clipped(p.cmd.Args), p.said())
			}
		default:
		}
		return m != nil
	})
	return m[1]
}
