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
	takeSignals()
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

// takeSignals decides about every signal, whatever the engine was started with
// (under nohup SIGHUP is ignored, and that is inherited through all of them).
// PID 1 itself ignores all that the Go runtime would act on, in the kernel: the
// runtime ends the process for a SIGSEGV that sigqueue sent, because it looks like
// a fault of its own. SIGCHLD is needed, SIGURG is the runtime's own and harmless.
// A program starts with the default actions: the runtime gives those of the
// signals that it handles back when it forks, and the others have them here
// already, where the kernel drops them for PID 1.
func takeSignals() {
	// Those two the runtime does not handle when they were ignored, unless asked.
	signal.Notify(make(chan os.Signal, 1), unix.SIGHUP, unix.SIGINT)
	for n := unix.Signal(1); n <= 64; n++ {
		switch n {
		case unix.SIGKILL, unix.SIGSTOP, unix.SIGCHLD, unix.SIGURG:
		case unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU, unix.SIGCONT, 32, 34: // the runtime leaves them alone
			setAction(n, actDefault)
		default:
			setAction(n, actIgnore)
		}
	}
}

// The kernel's SIG_DFL and SIG_IGN.
const actDefault, actIgnore = 0, 1

// setAction is sigaction behind the runtime's back. It fails for no signal that
// there is.
func setAction(n unix.Signal, handler uintptr) {
	action := struct {
		handler, flags, restorer uintptr
		mask                     uint64
	}{handler: handler}
	_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(n), uintptr(unsafe.Pointer(&action)), 0, 8, 0, 0) //nolint:gosec // the kernel's interface
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
