//go:build linux

package warden

import (
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/wflo-ai/wflo-go/internal/frame"
)

// host is what PID 1 knows of its own process.
type host struct {
	children chan os.Signal // SIGCHLD
	oom      *os.File       // oom_score_adj, opened while that was allowed
	oomSelf  []byte         // its content
}

// harden makes this process safe from programs of the same user.
func harden() *host {
	h := &host{children: make(chan os.Signal, 1)}
	// Nobody else is here yet. Afterwards /proc/self belongs to root.
	if f, err := os.OpenFile("/proc/self/oom_score_adj", os.O_RDWR, 0); err == nil {
		b := make([]byte, 16)
		n, _ := f.Read(b)
		h.oom, h.oomSelf = f, b[:n]
	}
	// Without it a program could open /proc/1/fd/1 and forge frames.
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	unix.Umask(0o022)
	keepDescriptors()
	runtime.GOMAXPROCS(2)
	debug.SetGCPercent(50)
	signal.Notify(h.children, unix.SIGCHLD)
	ignoreSignals()
	for n := 1; ownThreads() < frame.PID1Threads && n < 4*frame.PID1Threads; n++ {
		warmThreads(n)
	}
	return h
}

// keepDescriptors makes sure that no program inherits what PID 1 was given.
func keepDescriptors() {
	const most = 1024
	if unix.CloseRange(3, ^uint(0)>>1&0xffffffff, unix.CLOSE_RANGE_CLOEXEC) == nil {
		return
	}
	for fd := 3; fd < most; fd++ {
		unix.CloseOnExec(fd)
	}
}

// ignoreSignals ignores all signals that the Go runtime would act on, in the
// kernel: the runtime ends the process for a SIGSEGV that sigqueue sent, because
// it looks like a fault of its own. SIGCHLD is needed, SIGURG is the runtime's
// own and harmless. The others that are left alone are so by the runtime too,
// which gives programs the default actions of its own signals back when it forks
// and no others; the kernel drops them for PID 1.
func ignoreSignals() {
	type action struct {
		handler, flags, restorer uintptr
		mask                     uint64
	}
	ignore := action{handler: 1}
	for n := unix.Signal(1); n <= 64; n++ {
		switch n {
		case unix.SIGKILL, unix.SIGSTOP, unix.SIGCHLD, unix.SIGURG, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU, unix.SIGCONT, 32, 34:
			continue
		}
		_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(n), uintptr(unsafe.Pointer(&ignore)), 0, 8, 0, 0) //nolint:gosec // the kernel's interface
	}
}

// warmThreads makes the runtime have n threads for goroutines, which it never
// ends: a program that has used up all process IDs would otherwise end PID 1 with
// the next thread that it needs. There are more than calls that block at the same
// time.
func warmThreads(n int) {
	var ready, done sync.WaitGroup
	release := make(chan struct{})
	ready.Add(n)
	for range n {
		done.Go(func() {
			runtime.LockOSThread()
			ready.Done()
			<-release
			runtime.UnlockOSThread()
		})
	}
	ready.Wait()
	close(release)
	done.Wait()
}

// ownThreads counts the threads of this process.
func ownThreads() int64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return frame.PID1Threads
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "Threads:"); ok {
			if n, err := strconv.ParseInt(strings.TrimSpace(rest), 10, 64); err == nil {
				return n
			}
		}
	}
	return frame.PID1Threads
}

// volunteer makes the next child the kernel's first choice when memory runs out,
// and gives back what undoes it for this process.
func (h *host) volunteer() (undo func()) {
	if h.oom == nil {
		return func() {}
	}
	_, _ = h.oom.WriteAt([]byte("1000"), 0)
	return func() { _, _ = h.oom.WriteAt(h.oomSelf, 0) }
}

// stream gives a standard stream for use with the network poller, so that
// waiting for it costs no thread. The copy keeps a closed pipe from ending the
// process, as the runtime does for descriptor 1.
func stream(fd int, name string) (*os.File, error) {
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, os.NewSyscallError("dup "+name, err)
	}
	if err := unix.SetNonblock(dup, true); err != nil {
		return nil, os.NewSyscallError("fcntl "+name, err)
	}
	widen(dup)
	return os.NewFile(uintptr(dup), name), nil
}

// widen makes a pipe hold more, so that bulk needs fewer turns of writer and
// reader. A kernel that has no room left for the user's pipes leaves it.
func widen(fd int) { _, _ = unix.FcntlInt(uintptr(fd), unix.F_SETPIPE_SZ, 512<<10) }
