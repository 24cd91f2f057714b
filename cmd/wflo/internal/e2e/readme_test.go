//go:build integration

package e2e

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// TestFirstTenMinutes does what README.md tells newcomers to do, command by command and
// to the letter, in the source tree, and so on the ports that are wflo dev's own.
func TestFirstTenMinutes(t *testing.T) {
	root, err := filepath.Abs("../../../..")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "\n## The first ten minutes\n")
	section, _, closed := strings.Cut(section, "\n## ")
	if !ok || !closed {
		t.Fatal("README.md has no such section")
	}
	var lines []string
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(section, -1) {
		lines = append(lines, strings.Split(strings.TrimSpace(block[1]), "\n")...)
	}
	if len(lines) < 8 || lines[0] != "bin/wflo dev" {
		t.Fatalf("the section does not begin with wflo dev: %q", lines)
	}
	forget := func() {
		for _, name := range []string{"/tmp/invoices", "/tmp/first.json"} {
			if err := os.RemoveAll(name); err != nil {
				t.Error(err)
			}
		}
	}
	forget()
	t.Cleanup(forget)
	env := environment(t.TempDir(), goSettings(t)...)
	dev := shell(t, root, env, "exec "+lines[0])
	await(t, "wflo dev on its own ports", func() bool {
		select {
		case <-dev.ended:
			t.Fatalf("wflo dev ended; is another one running?\n%s", dev.said())
		default:
		}
		resp, err := http.Get("http://127.0.0.1:7244/healthz")
		if err != nil {
			return false
		}
		_ = resp.Body.Close() // nothing is read
		return resp.StatusCode == http.StatusOK
	})
	for _, line := range lines[1:] {
		if strings.Contains(line, "wflo approve ") {
			// People read before they decide; meanwhile the run comes to its gate.
			await(t, "the gate", func() bool {
				return strings.Contains(shell(t, root, env, "bin/wflo approvals -o json").wait(t).out.String(), "first")
			})
		}
		p := shell(t, root, env, line)
		<-p.ended // the go command compiles, for minutes on a busy machine
		if p.wait(t); p.code != 0 {
			t.Fatalf("%s: exit code %d\n%s", line, p.code, p.said())
		}
		if strings.Contains(line, "wflo doctor") && p.out.String()+p.errOut.String() != "" {
			t.Errorf("the doctor is not silent:\n%s", p.said())
		}
	}
	if err := dev.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	dev.want(t, 0, "stopping")
}

// shell runs a line in the source tree, as people type it.
func shell(t *testing.T, dir string, env []string, line string) *program {
	t.Helper()
	return start(t, env, "bash", "-c", "cd "+dir+" && "+line)
}

// goSettings lead the go command to this machine's caches, whatever the home is.
func goSettings(t *testing.T) []string {
	t.Helper()
	var env []string
	for _, name := range []string{"GOCACHE", "GOMODCACHE", "GOFLAGS", "GOPROXY"} {
		out, err := exec.Command("go", "env", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		if v := strings.TrimSpace(string(out)); v != "" {
			env = append(env, name+"="+v)
		}
	}
	return env
}
