package sandboxtest

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/wflo-ai/wflo-go/sandbox"
)

// settings are what a program would change on its host if it could. Those that
// this host does not have are compared as such.
var settings = []string{
	"/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/kernel/hostname", "/proc/sys/kernel/domainname",
	"/proc/sys/kernel/panic", "/proc/sys/kernel/randomize_va_space", "/proc/sys/kernel/perf_event_paranoid", "/proc/sys/kernel/kptr_restrict",
	"/proc/sys/kernel/dmesg_restrict", "/proc/sys/kernel/unprivileged_bpf_disabled", "/proc/sys/kernel/sysrq", "/proc/sys/kernel/yama/ptrace_scope",
	"/proc/sys/kernel/threads-max", "/proc/sys/kernel/pid_max", "/proc/sys/fs/suid_dumpable", "/proc/sys/fs/protected_symlinks",
	"/proc/sys/fs/protected_hardlinks", "/proc/sys/fs/binfmt_misc/status", "/proc/sys/fs/aio-max-nr", "/proc/sys/vm/overcommit_memory",
	"/proc/sys/vm/mmap_min_addr", "/proc/sys/vm/swappiness", "/proc/sys/vm/panic_on_oom", "/proc/sys/net/core/bpf_jit_enable",
	"/proc/sys/user/max_user_namespaces", "/proc/swaps", "/sys/kernel/uevent_helper", "/sys/kernel/mm/transparent_hugepage/enabled",
}

// host is this machine with its canaries: things that no program may see or
// change. Where the engine is on another machine, the canaries are still not to
// be seen.
type host struct {
	token    string
	path     string            // of the file
	content  string            // of the file, what must not be seen
	variable string            // of the environment, what must not be seen
	places   map[string]string // variables that tell programs where to look
	callers  atomic.Int32      // who got through to our sockets
	settings map[string]string
}

// newHost puts the canaries out.
func newHost(t *testing.T, token string) *host {
	t.Helper()
	h := &host{token: token, path: filepath.Join(t.TempDir(), "canary"), content: "canary-" + rand.Text(), variable: "canary-" + rand.Text()}
	if err := os.WriteFile(h.path, []byte(h.content), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SANDBOXTEST_CANARY", h.variable)
	abstract := h.listen(t, "unix", "@"+token+"-host")
	socket := h.listen(t, "unix", filepath.Join(t.TempDir(), "s"))
	port := h.listen(t, "tcp", "0.0.0.0:0")
	h.places = map[string]string{
		"CANARY_PATH": h.path, "CANARY_ABSTRACT": abstract.String()[1:], "CANARY_SOCKET": socket.String(),
		"CANARY_PORT": fmt.Sprint(port.(*net.TCPAddr).Port),
	}
	h.settings = readSettings()
	return h
}

// listen counts connections.
func (h *host) listen(t *testing.T, network, address string) net.Addr {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), network, address)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			h.callers.Add(1)
			_ = c.Close() // a caller is a failure already
		}
	}()
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		<-done
	})
	return l.Addr()
}

// leaked says which canaries a result shows.
func (h *host) leaked(res sandbox.Result) []string {
	var wrong []string
	texts := map[string]string{"stdout": res.Stdout, "stderr": res.Stderr, "reason": res.Reason}
	for _, f := range res.Artifacts {
		texts["artifact "+f.Name] = string(f.Data)
	}
	for where, text := range texts {
		if strings.Contains(text, h.content) {
			wrong = append(wrong, where+" holds what is in a file of the host")
		}
		if strings.Contains(text, h.variable) {
			wrong = append(wrong, where+" holds a variable of the worker")
		}
	}
	return wrong
}

// changes says what is no longer as it was.
func (h *host) changes() []string {
	var wrong []string
	if data, err := os.ReadFile(h.path); err != nil || string(data) != h.content {
		wrong = append(wrong, fmt.Sprintf("the canary is %.80q, %v", data, err))
	}
	if n := h.callers.Swap(0); n > 0 {
		wrong = append(wrong, fmt.Sprintf("programs got through to the host's sockets %d times", n))
	}
	now := readSettings()
	for name, was := range h.settings {
		if now[name] != was {
			wrong = append(wrong, fmt.Sprintf("%s is %q and was %q", name, now[name], was))
		}
	}
	h.settings = now
	return wrong
}

func readSettings() map[string]string {
	all := make(map[string]string, len(settings))
	for _, name := range settings {
		data, err := os.ReadFile(name)
		if err != nil {
			data = []byte("not to be read")
		}
		all[name] = strings.TrimSpace(string(data))
	}
	return all
}

// processes lists this host's processes that a program of the suite left: they
// have the token in their environment, and not the mark. What the test process
// may not read it does not see.
func (h *host) processes(mark string) []string {
	var found []string
	names, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return nil
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended, or it is somebody else's
		}
		if bytes.Contains(data, []byte("TOKEN="+h.token)) && !bytes.Contains(data, []byte(mark)) {
			command, _ := os.ReadFile(filepath.Join(filepath.Dir(name), "cmdline")) //nolint:errcheck // it may have ended
			found = append(found, fmt.Sprintf("process %.200q", command))
		}
	}
	return found
}
