package sandboxtest

import (
	"time"

	"github.com/wflo-ai/wflo-go/sandbox"
)

// prelude is what the programs that ask the kernel begin with. Numbers of system
// calls are those of x86-64.
const prelude = `
import ctypes, errno, os, signal, sys, time
VIRTUAL = "VIRTUAL" in os.environ
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
assert os.uname().machine == "x86_64", "the suite knows the system calls of x86-64 only"

def call(number, *args):
    """Makes a system call; gives what it returned, or minus the error's number."""
    ctypes.set_errno(0)
    r = libc.syscall(ctypes.c_long(number), *(ctypes.c_long(a) if isinstance(a, int) else a for a in args))
    return r if r != -1 else -ctypes.get_errno()

def refused(what, r, *also):
    """Complains unless the kernel refused for lack of a right, or as also says."""
    if r >= 0: print("breach:", what, "was allowed and gave", r, flush=True)
    elif not VIRTUAL and -r not in (errno.EPERM, errno.EACCES, errno.ENOSYS, *also):
        print("breach:", what, "was not refused but failed:", errno.errorcode.get(-r, r), flush=True)

def closed(what, action, *also):
    """The same for a function that raises OSError."""
    try: r = action()
    except OSError as e: refused(what, -(e.errno or 1), errno.EROFS, errno.ENOENT, *also)
    else: print("breach:", what, "was allowed and gave", repr(r)[:100], flush=True)

def child(action):
    """Runs a function in a child; gives minus the signal that ended it, or its code."""
    p = os.fork()
    if p == 0:
        code = 99
        try: code = action() or 0
        finally: os._exit(code)
    s = os.waitpid(p, 0)[1]
    return -os.WTERMSIG(s) if os.WIFSIGNALED(s) else os.WEXITSTATUS(s)

def until(condition, seconds=10):
    """Waits for a condition and says whether it came."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end: return False
        time.sleep(0.01)
    return True

def hold():
    """Says that everything is taken, and keeps it."""
    print("ready", flush=True)
    while True: time.sleep(60)
`

// probe is a program with the prelude. It says "held" in the end by itself.
func probe(source string) sandbox.Spec {
	return python(prelude + source + "\nprint('held')\n")
}

// holder is a program with the prelude that keeps what it took.
func holder(source string) sandbox.Spec {
	return python(prelude + source + "\nhold()\n")
}

// tight are limits that a program runs into within a moment. The others differ
// from them as little as possible, because a runner may keep sandboxes ready by
// their limits.
var tight = sandbox.Limits{
	Memory: 128 * sandbox.MiB, PIDs: 32, Tmp: 4 * sandbox.MiB, File: 4 * sandbox.MiB, Open: 64, CPUs: 1,
	Workspace: 8 * sandbox.MiB, OutputTotal: 16 * sandbox.MiB, Timeout: 20 * time.Second,
}

// limited gives a program tight limits, changed as change says.
func limited(spec sandbox.Spec, change func(*sandbox.Limits)) sandbox.Spec {
	spec.Limits = tight
	if change != nil {
		change(&spec.Limits)
	}
	return spec
}
