package sandboxtest

import (
	"time"

	"github.com/wflo-ai/wflo-go/sandbox"
)

// unlucky are the ends of a program of whose processes the kernel kills some.
var unlucky = []sandbox.Outcome{sandbox.Succeeded, sandbox.Nonzero, sandbox.Signalled, sandbox.OutOfMemory}

// exhausted are the ends of a program that takes what bounds gVisor itself: its
// memory, processes of the host, and time, of which the same costs more.
var exhausted = []sandbox.Outcome{sandbox.OutOfMemory, sandbox.Signalled, sandbox.CPUTimeout, sandbox.Timeout, sandbox.Succeeded}

// felled are the ends of a program that takes the memory of its whole sandbox: it
// is refused more, or all is killed, and the engine may miss why.
var felled = []sandbox.Outcome{sandbox.OutOfMemory, sandbox.Signalled, sandbox.Nonzero}

// resourceAttacks take memory, disks and output.
var resourceAttacks = []attack{
	{name: "memory", spec: limited(python("x = b'a' * (1 << 30)"), nil), outcome: sandbox.OutOfMemory, hit: "memory", oom: true, virtual: felled},
	{name: "memory slowly", spec: limited(python("l = []\nwhile True: l.append(bytearray(b'a' * (1 << 20)))"), nil), outcome: sandbox.OutOfMemory, hit: "memory", oom: true, virtual: felled},
	{
		name: "memory of a child",
		spec: limited(bash(`python3 -c "x = b'a' * (1 << 30)"; echo "child $?"; exit 7`), nil), outcome: sandbox.Nonzero, code: 7,
		hit: "memory", oom: true, stdout: "child 137\n", virtual: felled,
	},
	{
		// The kernel may choose any of them, and the one that is asked about.
		name: "memory of many children",
		spec: limited(probe(`
for i in range(8):
    if os.fork() == 0:
        x = b'a' * (100 << 20); time.sleep(60); os._exit(0)
for i in range(7): os.wait()
`), nil), either: unlucky, hit: "memory", oom: true, virtual: felled,
	},
	{name: "memory by files of /dev/shm and pages", spec: limited(python(`
import os
try:
    for i in range(1000):
        with open(f"/dev/shm/{i}", "wb") as f: f.write(b"a" * (1 << 20))
except OSError: pass
l = []
while True: l.append(bytearray(b"a" * (1 << 20)))`), nil), outcome: sandbox.OutOfMemory, hit: "memory", virtual: felled},
	{name: "memory by memfd", spec: limited(python(`
import os
fd = os.memfd_create("x")
while True: os.write(fd, b"a" * (1 << 20))`), func(l *sandbox.Limits) { l.File = sandbox.GiB }), either: []sandbox.Outcome{sandbox.OutOfMemory, sandbox.Nonzero}, virtual: felled},
	{name: "memory by pipes, held", holds: true, spec: limited(holder(`
import fcntl
kept = []
try:
    while True:
        r, w = os.pipe(); kept += [r, w]
        try: fcntl.fcntl(w, 1031, 1 << 20)
        except OSError: pass
        os.set_blocking(w, False)
        try:
            while True: os.write(w, bytes(1 << 16))
        except BlockingIOError: pass
except OSError: pass
`), nil)},
	{name: "locked memory", spec: limited(probe(`
libc.mmap.restype = ctypes.c_void_p
size = 64 << 20
a = libc.mmap(None, ctypes.c_size_t(size), 3, 0x22, -1, 0)
libc.mlock(ctypes.c_void_p(a), ctypes.c_size_t(size))
`), nil)},
	{name: "fork bomb", virtual: exhausted, holds: true, spec: limited(holder(`
top = os.getpid()
n = 0
try:
    while n < 500:
        if os.fork() == 0:
            while True:
                try: os.fork()
                except OSError: time.sleep(0.05)
        n += 1
except OSError: pass
if n > 32 and not VIRTUAL: print("breach:", n, "processes")
`), nil)},
	{name: "fork bomb of a shell", spec: limited(bash(`b() { b | b & }; b; echo held; exit 0`), func(l *sandbox.Limits) { l.Timeout = 3 * time.Second }),
		either: []sandbox.Outcome{sandbox.Succeeded, sandbox.Nonzero, sandbox.Timeout, sandbox.OutOfMemory, sandbox.Signalled}},
	{name: "processes", virtual: exhausted, spec: limited(probe(`
n = 0
try:
    while n < 500:
        if os.fork() == 0: time.sleep(60)
        n += 1
except OSError as e: print(e.errno, 20 <= n <= 32 or VIRTUAL)
`), nil), stdout: "11 True\nheld\n", hit: "pids"},
	{name: "threads", virtual: exhausted, spec: limited(probe(`
import threading
n = 0
try:
    while n < 500:
        threading.Thread(target=time.sleep, args=(600,), daemon=True).start(); n += 1
except RuntimeError: print("stopped", 20 <= n <= 32 or VIRTUAL)
print("held", flush=True); os._exit(0)
`), nil), stdout: "stopped True\nheld\n", hit: "pids"},
	{name: "zombies", virtual: exhausted, spec: limited(probe(`
n = 0
try:
    while n < 500:
        if os.fork() == 0: os._exit(0)
        n += 1
except OSError as e: print(e.errno, n <= 32 or VIRTUAL)
`), nil), stdout: "11 True\nheld\n"},
	{name: "orphans are reaped", virtual: exhausted, spec: limited(probe(`
def orphan():
    try:
        if os.fork() == 0: os._exit(0)
    except OSError: return 1
def again():
    try: return child(orphan) == 0
    except OSError: return False
for i in range(200):
    if not until(again):
        print("breach: no process after", i, "orphans")
        break
`), nil)},
	{name: "/tmp", spec: limited(bash("for i in $(seq 9); do head -c 1000000 /dev/zero >/tmp/$i || exit 1; done"), nil), outcome: sandbox.DiskFull, hit: "tmp"},
	{name: "/dev/shm", spec: limited(probe(`
total = 0
try:
    for i in range(200):
        with open(f"/dev/shm/{i}", "wb", 0) as f: total += f.write(bytes(1 << 20))
except OSError as e: closed("/dev/shm", lambda: (_ for _ in ()).throw(e), errno.ENOSPC)
if total > 64 << 20: print("breach: /dev/shm holds", total)
`), nil)},
	{name: "workspace in memory", spec: limited(bash("for i in $(seq 64); do head -c 1000000 /dev/zero >f$i || exit 1; done; echo full; sleep 600"), nil), outcome: sandbox.DiskFull, hit: "workspace"},
	{name: "inodes of /tmp", virtual: exhausted, spec: limited(probe(inodes("/tmp")), nil)},
	{name: "inodes of /dev/shm", virtual: exhausted, spec: limited(probe(inodes("/dev/shm")), nil)},
	{name: "inodes of the workspace", spec: limited(python(prelude+inodes("/workspace")+"print('held')"), nil), either: []sandbox.Outcome{sandbox.Succeeded, sandbox.DiskFull}, virtual: exhausted},
	{name: "sparse file", spec: limited(probe(`
f = os.open("big", os.O_CREAT | os.O_WRONLY)
closed("1 TiB", lambda: os.ftruncate(f, 1 << 40), errno.EFBIG, errno.ENOSPC, errno.EINVAL)
closed("1 TiB at once", lambda: os.posix_fallocate(f, 0, 1 << 40), errno.EFBIG, errno.ENOSPC)
closed("beyond the limit", lambda: os.pwrite(f, b"x", 1 << 40), errno.EFBIG, errno.ENOSPC)
`), nil)},
	{name: "file size by signal", spec: limited(bash(`trap '' XFSZ; head -c 5000000 /dev/zero >big; [ $(stat -c %s big) -le 4194304 ] && echo held`), nil)},
	{name: "root file system", spec: probe(`
for d in "/", "/etc", "/usr", "/usr/bin", "/var", "/var/tmp", "/root", "/home", "/opt", "/srv", "/mnt", "/lib", "/boot", "/dev", "/dev/pts", "/run", "/proc", "/sys", "/run/lock":
    if os.path.isdir(d): closed("a file in " + d, lambda: open(d + "/x", "w"), errno.EINVAL)
for f in "/etc/hosts", "/etc/resolv.conf", "/etc/hostname", "/etc/passwd", "/usr/bin/python3", "/bin/bash", "/.dockerenv":
    if os.path.exists(f): closed(f, lambda: open(f, "r+b"), errno.ETXTBSY)
`)},
	{name: "flood of one stream", spec: limited(sandbox.Spec{Argv: []string{"yes"}}, nil), outcome: sandbox.OutputLimit, hit: "output"},
	{name: "flood of stderr", spec: limited(bash("yes >&2"), nil), outcome: sandbox.OutputLimit, hit: "output"},
	{name: "flood of both", spec: limited(bash("yes & yes no >&2"), nil), outcome: sandbox.OutputLimit, hit: "output"},
	{name: "line without an end", spec: limited(bash("tr '\\0' x </dev/zero"), nil), outcome: sandbox.OutputLimit, hit: "output"},
	{name: "flood of zeros", spec: limited(sandbox.Spec{Argv: []string{"cat", "/dev/zero"}}, nil), outcome: sandbox.OutputLimit, hit: "output"},
	{name: "flood of noise", spec: limited(sandbox.Spec{Argv: []string{"cat", "/dev/urandom"}}, nil), outcome: sandbox.OutputLimit, hit: "output"},
	{name: "flood by a child", spec: limited(bash("yes & wait"), nil), outcome: sandbox.OutputLimit, hit: "output"},
	{name: "terminal codes and broken UTF-8", spec: bash(`printf '\377\376\000\033[2J\033]0;title\007\200\302held\n\355\240\200'`)},
	{name: "single bytes", spec: limited(probe(`
for i in range(20000): os.write(1, b"x"); os.write(2, b"y")
print()
`), nil), stdout: "xx\nheld\n", stderr: "yyyy"},
	{name: "stdin that nobody reads", spec: withStdin(bash("echo held"), 32<<20)},
	{name: "stdin that is closed", spec: withStdin(bash("exec <&-; sleep 0.3; echo held"), 32<<20)},
	{name: "stdin that is half read", spec: withStdin(bash("head -c 100000 >/dev/null; sleep 0.3; echo held"), 32<<20)},
}

func withStdin(spec sandbox.Spec, n int) sandbox.Spec {
	spec.Stdin = make([]byte, n)
	return spec
}

// inodes makes files without content until there is no room for more.
func inodes(dir string) string {
	return `
n = 0
try:
    while n < 50000: os.close(os.open("` + dir + `/n%d" % n, os.O_CREAT | os.O_WRONLY)); n += 1
    if not VIRTUAL: print("breach:", n, "files")
except OSError as e:
    if e.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES): print("breach: failed with", e)
`
}
