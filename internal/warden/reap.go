//go:build linux

package warden

import (
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// killPatience is how long killed processes may take to go; those that hang in
// the kernel may take for ever.
const killPatience = 10 * time.Second

// family is everything that programs started. Its processes have PID 1 as parent
// once their own is gone.
type family struct {
	host *host
	// mu also keeps a new program from being reaped before it is known.
	mu     sync.Mutex
	main   int
	ended  chan unix.WaitStatus // of main
	cpu    time.Duration        // of all that were reaped
	rss    int64                // the largest, in bytes
	reaped chan struct{}
}

func newFamily(h *host) *family {
	return &family{host: h, reaped: make(chan struct{}, 1)}
}

// watch reaps whatever ends, for ever.
func (f *family) watch() {
	for range f.host.children {
		f.reap()
		select {
		case f.reaped <- struct{}{}:
		default:
		}
	}
}

// start runs fork, and gives the channel on which its process's end will come.
func (f *family) start(fork func() (int, error)) (<-chan unix.WaitStatus, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	pid, err := fork()
	if err != nil {
		return nil, err
	}
	f.main, f.ended = pid, make(chan unix.WaitStatus, 1)
	return f.ended, nil
}

// reap takes in all that have ended, and says whether there is any left.
func (f *family) reap() (left bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		var status unix.WaitStatus
		var usage unix.Rusage
		pid, err := retry(func() (int, error) { return unix.Wait4(-1, &status, unix.WNOHANG, &usage) })
		if err != nil || pid <= 0 {
			return err == nil
		}
		f.cpu += time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
		f.rss = max(f.rss, usage.Maxrss*1024)
		if pid == f.main {
			f.main = 0
			f.ended <- status
		}
	}
}

// forget begins to count anew.
func (f *family) forget() {
	f.mu.Lock()
	f.cpu, f.rss = 0, 0
	f.mu.Unlock()
}

// used gives CPU time and largest resident size of everything so far, for hosts
// without cgroups.
func (f *family) used() (cpu time.Duration, rss int64) {
	const tick = 10 * time.Millisecond
	f.mu.Lock()
	cpu, rss = f.cpu, f.rss
	f.mu.Unlock()
	for _, p := range processes() {
		cpu += time.Duration(p.ticks) * tick
	}
	return cpu, rss
}

// kill ends everything, however much of it there is, and says whether it is gone.
func (f *family) kill() bool {
	patience := time.NewTimer(killPatience)
	defer patience.Stop()
	for {
		strike()
		if !f.reap() {
			return true
		}
		again := time.NewTimer(5 * time.Millisecond)
		select {
		case <-f.reaped:
		case <-again.C:
		case <-patience.C:
			return false
		}
		again.Stop()
	}
}

// strike sends SIGKILL to everything that programs started. Only PID 1 may use
// kill(-1), which hits the whole machine otherwise.
func strike() {
	if os.Getpid() == 1 {
		_ = unix.Kill(-1, unix.SIGKILL)
		return
	}
	for _, p := range processes() {
		_ = unix.Kill(p.pid, unix.SIGKILL)
	}
}

type process struct {
	pid, parent int
	ticks       int64 // of CPU time, with that of reaped children
}

// processes lists what programs started: in a container all but PID 1,
// elsewhere the descendants of this process.
func processes() []process {
	entries, _ := os.ReadDir("/proc")
	self := os.Getpid()
	var all []process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == self {
			continue
		}
		if p, ok := readProcess(pid); ok {
			all = append(all, p)
		}
	}
	if self == 1 {
		return all
	}
	return descendants(all, self)
}

// Fields of /proc/PID/stat, counted from the state on.
const (
	statState, statParent, statFlags = 0, 1, 6
	statTicks, statTicksEnd          = 11, 15 // those of the process and of children that it reaped
)

// statOf gives them; nil for what is gone.
func statOf(dir string) []string {
	b, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return nil
	}
	// The name in parentheses may hold anything.
	return strings.Fields(string(b)[strings.LastIndexByte(string(b), ')')+1:])
}

func isZombie(stat []string) bool { return stat[statState] == "Z" || stat[statState] == "X" }

func readProcess(pid int) (process, bool) {
	fields := statOf("/proc/" + strconv.Itoa(pid))
	if len(fields) < statTicksEnd {
		return process{}, false
	}
	p := process{pid: pid}
	p.parent, _ = strconv.Atoi(fields[statParent])
	for _, field := range fields[statTicks:statTicksEnd] {
		n, _ := strconv.ParseInt(field, 10, 64)
		p.ticks += n
	}
	return p, true
}

func descendants(all []process, root int) []process {
	mine := map[int]bool{root: true}
	for grew := true; grew; {
		grew = false
		for _, p := range all {
			if mine[p.parent] && !mine[p.pid] {
				mine[p.pid], grew = true, true
			}
		}
	}
	var out []process
	for _, p := range all {
		if mine[p.pid] {
			out = append(out, p)
		}
	}
	return out
}
