package docker

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// usage is what the kernel counted for a container.
type usage struct {
	peak  int64 // bytes
	cpu   time.Duration
	kills int64 // processes killed for memory
}

// meter reads a container's control group while it lives, because the counts go
// with it. The files stay open, so that the last reading needs no lookup.
type meter struct {
	peak, cpu, kills *os.File
	last             usage
}

// cgroupRoot is where control groups are mounted.
const cgroupRoot = "/sys/fs/cgroup"

// openMeter finds the container's control group in the places where engines put
// it, in version 1 and 2. On another host nothing is found and all reads zero.
func openMeter(root, id string) *meter {
	open := func(controller, file string) *os.File {
		for _, dir := range []string{"docker/" + id, "system.slice/docker-" + id + ".scope"} {
			if f, err := os.Open(filepath.Join(root, controller, dir, file)); err == nil {
				return f
			}
		}
		return nil
	}
	m := &meter{peak: open("", "memory.peak"), cpu: open("", "cpu.stat"), kills: open("", "memory.events")}
	if m.cpu == nil {
		m.cpu = open("cpuacct", "cpuacct.usage")
	}
	if m.peak == nil {
		m.peak = open("memory", "memory.max_usage_in_bytes")
	}
	if m.kills == nil {
		m.kills = open("memory", "memory.oom_control")
	}
	return m
}

// read takes the counts that can still be read.
func (m *meter) read() {
	if p := field(m.peak, ""); p > 0 {
		m.last.peak = p
	}
	if us := field(m.cpu, "usage_usec"); us > 0 {
		m.last.cpu = time.Duration(us) * time.Microsecond
	} else if ns := field(m.cpu, ""); ns > 0 {
		m.last.cpu = time.Duration(ns)
	}
	if k := field(m.kills, "oom_kill"); k > 0 {
		m.last.kills = k
	}
}

func (m *meter) close() {
	for _, f := range []*os.File{m.peak, m.cpu, m.kills} {
		if f != nil {
			_ = f.Close() // read only: nothing can be lost
		}
	}
}

// field reads the number after a name at the start of a line, or with an empty
// name the file's only number. Anything else is 0.
func field(f *os.File, name string) int64 {
	if f == nil {
		return 0
	}
	var buf [4096]byte
	n, err := f.ReadAt(buf[:], 0)
	if n == 0 && err != nil {
		return 0
	}
	lines := bufio.NewScanner(bytes.NewReader(buf[:n]))
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if name == "" && len(words) == 1 || len(words) == 2 && words[0] == name {
			v, err := strconv.ParseInt(words[len(words)-1], 10, 64)
			if err != nil {
				return 0
			}
			return v
		}
	}
	return 0
}
