//go:build integration

package survive

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/clitest"
)

// memoryGroup is a control group whose memory is short. Of both versions of control groups
// the names differ.
type memoryGroup struct {
	dir, limit, events string
}

func newMemoryGroup(t *testing.T) memoryGroup {
	t.Helper()
	name := unique("wflo-memory")
	g := memoryGroup{filepath.Join("/sys/fs/cgroup", name), "memory.max", "memory.events"}
	if _, err := os.Stat("/sys/fs/cgroup/memory"); err == nil {
		g = memoryGroup{filepath.Join("/sys/fs/cgroup/memory", name), "memory.limit_in_bytes", "memory.oom_control"}
	}
	if err := os.Mkdir(g.dir, 0o755); err != nil { //nolint:gosec // it is the kernel's
		t.Fatalf("make a control group, which takes root: %v", err)
	}
	t.Cleanup(func() {
		await(t, "the end of "+g.dir, func() bool { err := os.Remove(g.dir); return err == nil || os.IsNotExist(err) })
	})
	return g
}

// write writes one of the group's files, or one of a process.
func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil { //nolint:gosec // the kernel says who reads it
		t.Fatal(err)
	}
}

// kills is how often the kernel has killed something in the group because memory was short.
func (g memoryGroup) kills(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(g.dir, g.events))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^oom_kill (\d+)$`).FindSubmatch(text)
	if m == nil {
		t.Fatalf("%s does not tell what the kernel killed:\n%s", g.events, text)
	}
	n, err := strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// shortOfMemory has a neighbour of a worker use up the memory of the group that both are
// in. The worker is what the kernel ends first.
func shortOfMemory(t *testing.T, p *clitest.Program) {
	t.Helper()
	const limit = 64 << 20
	g := newMemoryGroup(t)
	write(t, filepath.Join(g.dir, g.limit), strconv.Itoa(limit))
	write(t, filepath.Join(g.dir, "cgroup.procs"), strconv.Itoa(p.Cmd.Process.Pid))
	write(t, fmt.Sprintf("/proc/%d/oom_score_adj", p.Cmd.Process.Pid), "1000")
	greedy := exec.Command("sh", "-c", fmt.Sprintf("echo $$ > %s/cgroup.procs && exec dd if=/dev/zero of=/dev/null bs=%d count=1", g.dir, 4*limit)) //nolint:gosec // the words are ours
	out, err := greedy.CombinedOutput()
	p.Wait(t)
	if n := g.kills(t); n == 0 {
		t.Errorf("the kernel killed nothing; the neighbour ended with %v:\n%s", err, out)
	}
	if p.Cmd.ProcessState.ExitCode() != -1 {
		t.Errorf("the worker ended with %s, and not by a signal", p.Cmd.ProcessState)
	}
}
