//go:build linux

package warden

import (
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cgroup reads the counters of the sandbox, of either version. A negative value
// means that the host does not say.
type cgroup struct{ cpu, memory, peak, oom, pids, pidsMax counter }

// counter is a number in a file: its only one, or the one after key.
type counter struct{ path, key string }

func openCgroup(root string) cgroup {
	if _, err := os.Stat(root + "/cgroup.controllers"); err == nil {
		return cgroup{
			cpu:    counter{root + "/cpu.stat", "usage_usec"},
			memory: counter{root + "/memory.current", ""}, peak: counter{root + "/memory.peak", ""},
			oom:  counter{root + "/memory.events", "oom_kill"},
			pids: counter{root + "/pids.current", ""}, pidsMax: counter{root + "/pids.events", "max"},
		}
	}
	return cgroup{
		cpu:    counter{root + "/cpuacct/cpuacct.usage", ""},
		memory: counter{root + "/memory/memory.usage_in_bytes", ""}, peak: counter{root + "/memory/memory.max_usage_in_bytes", ""},
		oom:  counter{root + "/memory/memory.oom_control", "oom_kill"},
		pids: counter{root + "/pids/pids.current", ""}, pidsMax: counter{root + "/pids/pids.events", "max"},
	}
}

func (c counter) read() int64 {
	b, err := os.ReadFile(c.path)
	if err != nil {
		return -1
	}
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(line)
		if c.key != "" && (len(fields) != 2 || fields[0] != c.key) || len(fields) == 0 {
			continue
		}
		if n, err := strconv.ParseInt(fields[len(fields)-1], 10, 64); err == nil {
			return n
		}
	}
	return -1
}

// cpuTime is the CPU time of the whole sandbox.
func (c cgroup) cpuTime() time.Duration {
	n := c.cpu.read()
	if n >= 0 && c.cpu.key != "" {
		n *= int64(time.Microsecond)
	}
	return time.Duration(n)
}

// full says that a file system in memory has no room left. Others are shared
// with the host, and theirs says nothing about the program.
func full(folder string) bool {
	var st unix.Statfs_t
	if unix.Statfs(folder, &st) != nil || st.Type != unix.TMPFS_MAGIC {
		return false
	}
	return st.Blocks > 0 && st.Bavail == 0 || st.Files > 0 && st.Ffree == 0
}
