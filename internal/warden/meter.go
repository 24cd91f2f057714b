//go:build linux

package warden

import (
	"sync"
	"time"

	"github.com/wflo-ai/wflo-go/internal/frame"
)

// meter measures a job by the counters of its sandbox, which count from the
// sandbox's beginning.
type meter struct {
	cgroup cgroup
	family *family

	mu             sync.Mutex
	cpu            time.Duration
	own            time.Duration
	peak, oom, max int64
	seen           int64 // the most memory that was sampled
	last           time.Duration
}

// usage is what a job has used.
type usage struct {
	cpu                    time.Duration
	peak                   int64
	oomKills, forksRefused int64
}

func newMeter(c cgroup, f *family) *meter { return &meter{cgroup: c, family: f} }

// begin remembers where the counters stand.
func (m *meter) begin() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.family.forget()
	m.cpu, m.peak, m.oom, m.max = m.cgroup.cpuTime(), m.cgroup.peak.read(), m.cgroup.oom.read(), m.cgroup.pidsMax.read()
	m.own, _ = m.family.used()
}

func (m *meter) spent() time.Duration {
	if m.cpu >= 0 {
		return m.cgroup.cpuTime() - m.cpu
	}
	used, _ := m.family.used()
	return used - m.own
}

// sample looks at the counters that only show the moment, and gives the CPU time
// so far.
func (m *meter) sample() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.seen = max(m.seen, m.cgroup.memory.read())
	m.last = max(m.last, m.spent())
	return m.last
}

func (m *meter) now() frame.UsageMsg {
	cpu := m.sample()
	return frame.UsageMsg{
		Memory: max(0, m.cgroup.memory.read()), CPUTime: cpu,
		PIDs: max(0, m.cgroup.pids.read()-ownThreads()),
	}
}

func (m *meter) end() usage {
	cpu := m.sample()
	u := usage{cpu: cpu, peak: m.seen, oomKills: since(m.oom, m.cgroup.oom.read()), forksRefused: since(m.max, m.cgroup.pidsMax.read())}
	if _, rss := m.family.used(); rss > u.peak {
		u.peak = rss
	}
	if peak := m.cgroup.peak.read(); peak > m.peak {
		u.peak = peak
	}
	return u
}

func since(before, after int64) int64 {
	if before < 0 || after < before {
		return 0
	}
	return after - before
}
