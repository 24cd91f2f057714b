package clitest

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"unsafe"
)

// Environment is what a program needs of ours: no key, address or data of the person who
// runs the tests reaches it. home is its home directory.
func Environment(home string, more ...string) []string {
	env := []string{"HOME=" + home, "XDG_DATA_HOME=" + home, "TERM=dumb", "WFLO_USER=ann"}
	for _, name := range []string{"PATH", "TMPDIR", "DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"} {
		if v := os.Getenv(name); v != "" {
			env = append(env, name+"="+v)
		}
	}
	return append(env, more...)
}

// Program is a program that was started in a group of its own, so that nothing that it
// starts is left over.
type Program struct {
	*Command
	Cmd *exec.Cmd

	mu   sync.Mutex
	gone bool // its number may be another's
}

// Start runs a program until it ends by itself, by Kill, or with the test.
func Start(t testing.TB, env []string, argv ...string) *Program {
	t.Helper()
	p := &Program{Cmd: exec.Command(argv[0], argv[1:]...)}
	p.Cmd.Env = env
	p.Cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	started := make(chan error, 1)
	p.Command = Begin(t, strings.Join(Clipped(argv), " "), func(out, errOut io.Writer) int {
		p.Cmd.Stdout, p.Cmd.Stderr = out, errOut
		err := p.Cmd.Start()
		started <- err
		if err != nil {
			return -2
		}
		p.last()
		if err, exit := p.Cmd.Wait(), new(exec.ExitError); err != nil && !errors.As(err, &exit) {
			return -2
		}
		return p.Cmd.ProcessState.ExitCode()
	}, func() {
		if p.Cmd.Process != nil {
			p.Kill()
		}
	})
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	return p
}

// Clipped is a command line as failures show it.
func Clipped(argv []string) []string {
	words := slices.Clone(argv)
	words[0] = filepath.Base(words[0])
	for i, w := range words {
		words[i] = w[:min(len(w), 60)]
	}
	return words
}

// Kill is SIGKILL to the program and all that it started; it returns when the program is
// gone.
func (p *Program) Kill() {
	p.Signal(syscall.SIGKILL)
	<-p.Ended()
}

// Signal sends a signal to the program and all that it started, unless it has ended.
func (p *Program) Signal(s syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.gone {
		_ = syscall.Kill(-p.Cmd.Process.Pid, s) // it may be on its way out
	}
}

// last waits until the program has ended, and ends what it started. It leaves the program
// to be waited for: until then nobody gets its number, which is that of the group. A signal
// to the group of a number that is another's hits whatever leads a group of its own, such
// as a process of PostgreSQL.
func (p *Program) last() {
	const byPID = 1
	var info [128]byte // a siginfo_t, which says nothing new
	for {
		_, _, errno := syscall.Syscall6(syscall.SYS_WAITID, byPID, uintptr(p.Cmd.Process.Pid),
			uintptr(unsafe.Pointer(&info)), syscall.WEXITED|syscall.WNOWAIT, 0, 0)
		if errno != syscall.EINTR {
			break
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = syscall.Kill(-p.Cmd.Process.Pid, syscall.SIGKILL)
	p.gone = true
}

// Match waits until the program has said what a pattern matches, and gives its first
// group.
func (p *Program) Match(t testing.TB, pattern string) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	return p.Find(t, pattern, func(said string) (string, bool) {
		m := re.FindStringSubmatch(said)
		if m == nil {
			return "", false
		}
		return m[1], true
	})
}
