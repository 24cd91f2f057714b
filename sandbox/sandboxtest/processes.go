package sandboxtest

import (
	"strings"
	"testing"

	"github.com/wflo-ai/wflo-go/sandbox"
)

// mortal are the ends of a program that ends or stops PID 1, which gVisor does not
// prevent.
var mortal = []sandbox.Outcome{sandbox.Signalled, sandbox.Timeout}

// processAttacks turn on PID 1 of their own sandbox: the process that reports
// how they end, and that knows what the worker told it.
var processAttacks = []attack{
	{name: "signals for PID 1", virtual: mortal, spec: probe(`
for s in range(1, 65):
    try: os.kill(1, s)
    except OSError: pass
    try: libc.sigqueue(1, s, None)
    except OSError: pass
`)},
	{name: "signals for the threads of PID 1", virtual: mortal, spec: probe(`
try: threads = [int(t) for t in os.listdir("/proc/1/task")]
except OSError: threads = [1]
for s in range(1, 65):
    for t in threads: call(234, 1, t, s); call(200, t, s); call(297, 1, t, s, (ctypes.c_int * 32)(s, 0, -1))
fd = call(434, 1, 0)
for s in range(1, 65):
    if fd >= 0: call(424, fd, s, None, 0)
`)},
	{name: "a storm of signals for PID 1", virtual: mortal, spec: probe(`
end = time.monotonic() + 1
while time.monotonic() < end:
    for s in 1, 2, 10, 12, 13, 15, 17, 20, 21, 22, 23, 29, 34: os.kill(1, s)
`)},
	{name: "tracing PID 1", spec: probe(`
local = ctypes.create_string_buffer(8); a = (ctypes.c_uint64 * 2)(ctypes.addressof(local), 8); far = (ctypes.c_uint64 * 2)(0x400000, 8)
for what, r in (("attach", call(101, 16, 1, 0, 0)), ("seize", call(101, 0x4206, 1, 0, 0)), ("reading its memory", call(310, 1, a, 1, far, 1, 0)), ("writing its memory", call(311, 1, a, 1, far, 1, 0)),
        ("its descriptors", call(438, call(434, 1, 0), 0, 0)), ("comparing", call(312, 1, os.getpid(), 2, 0, 0))):
    refused(what, r)
`)},
	{name: "the files of PID 1", spec: probe(`
for f in ("mem" if VIRTUAL else "mem environ maps smaps auxv pagemap stack syscall personality wchan io").split():
    try: data = open("/proc/1/" + f, "rb").read(64)
    except OSError: continue
    if f == "wchan" and data in (b"0", b""): continue
    if data: print("breach: /proc/1/" + f, data)
for f in "fd fdinfo map_files".split():
    if VIRTUAL: break
    try: print("breach: /proc/1/" + f, os.listdir("/proc/1/" + f))
    except OSError: pass
for f in "root cwd exe".split():
    if VIRTUAL: break
    try: print("breach: /proc/1/" + f, os.readlink("/proc/1/" + f))
    except OSError: pass
for f, data in dict(mem=b"x", oom_score_adj=b"1000", coredump_filter=b"ff", timerslack_ns=b"1", clear_refs=b"1", autogroup=b"19", comm=b"x", loginuid=b"0", uid_map=b"0 0 1", setgroups=b"deny", sched=b"0").items():
    try:
        with open("/proc/1/" + f, "wb", 0) as o: o.write(data)
    except OSError: continue
    if not VIRTUAL or f == "mem": print("breach: written /proc/1/" + f)
`)},
	{name: "the descriptors of PID 1", spec: probe(`
for n in range(0, 64):
    for flags in os.O_RDONLY, os.O_WRONLY, os.O_RDWR:
        try: fd = os.open("/proc/1/fd/%d" % n, flags | os.O_NONBLOCK)
        except OSError: continue
        if not VIRTUAL: print("breach: /proc/1/fd/%d" % n)
        os.close(fd)
`)},
	{name: "the program of PID 1", spec: probe(`
for p in "/proc/1/exe", "/proc/1/root/bin/bash", "/sbin/docker-init", "/.wflo", "/proc/self/exe":
    for mode in "r+b", "ab":
        closed(p, lambda: open(p, mode), errno.ETXTBSY)
`)},
	{
		// The kernel lets a process set the limits of another of the same user.
		// What becomes of the sandbox is its own affair; the result is not.
		name: "limits for PID 1", virtual: mortal, spec: probe(`
for which in range(16):
    for soft, hard in (0, 0), (1, 1): call(302, 1, which, (ctypes.c_uint64 * 2)(soft, hard), None)
end = time.process_time() + 0.3
while time.process_time() < end: pass
print("x" * 200000)
`),
	},
	{name: "priority for PID 1", spec: probe(`
try: os.setpriority(os.PRIO_PROCESS, 1, 19)
except OSError: pass
for pid in [1] + [int(t) for t in os.listdir("/proc/1/task")]:
    for action in lambda: os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0)), lambda: os.sched_setaffinity(pid, [0]):
        try: action()
        except OSError: pass
call(251, 1, 1, 3 << 13)
for i in range(2):
    if os.fork() == 0:
        end = time.monotonic() + 1
        while time.monotonic() < end: pass
        os._exit(0)
for i in range(2): os.wait()
`)},
	{name: "core dump of PID 1", virtual: mortal, spec: probe(`
for s in 3, 4, 5, 6, 7, 8, 11, 24, 25, 31: os.kill(1, s)
time.sleep(0.2)
found = [n for n in os.listdir("/workspace") + os.listdir("/tmp") if "core" in n]
if found: print("breach:", found)
`)},
	{name: "only its own processes", spec: probe(`
pids = [int(n) for n in os.listdir("/proc") if n.isdigit()]
if len(pids) > 3: print("breach:", len(pids), "processes", [open("/proc/%d/cmdline" % p).read() for p in pids])
for p in pids:
    if p not in (1, os.getpid()) and open("/proc/%d/cmdline" % p).read().count("python") == 0: print("breach:", open("/proc/%d/cmdline" % p).read())
`)},
	{name: "the command line of PID 1", spec: probe(`
line = open("/proc/1/cmdline").read()
for word in "TOKEN", "CANARY", os.environ["TOKEN"]:
    if word in line: print("breach:", line)
`)},
	{name: "ends in front of PID 1", spec: limited(bash("kill -9 -1; kill -STOP -1; kill -9 $$"), nil), outcome: sandbox.Signalled, signal: 9},
	{name: "closes everything", spec: probe(`
print("held", flush=True)
os.closerange(0, 1024)
time.sleep(0.3)
os._exit(0)
`)},
}

// processTests are those that need more than one execution.
var processTests = map[string]func(*testing.T, *siege){
	"what PID 1 is left with": testNextInBox,
}

// testNextInBox spoils what one execution can spoil, and looks at the next one
// in the same box.
func testNextInBox(t *testing.T, s *siege) {
	name := box(t, s.r, s.token+"-next")
	for _, source := range []string{
		"for which in range(16): call(302, 1, which, (ctypes.c_uint64 * 2)(1, 1), None)",
		"for s in range(1, 65): os.kill(1, s)",
		"os.setpriority(os.PRIO_PROCESS, 0, 19); os.umask(0o777); os.chmod('/workspace', 0o000) if os.stat('/workspace').st_uid == os.getuid() else None",
		"for d in '/tmp', '/dev/shm':\n  if os.stat(d).st_uid == os.getuid(): os.chmod(d, 0)",
	} {
		spoil := probe(source)
		spoil.Box = name
		if s.opts.Virtual && strings.Contains(source, "call(302") || s.opts.Virtual && strings.Contains(source, "os.kill(1") {
			continue // see mortal
		}
		if res := s.exec(t, spoil); res.Stdout != "held\n" {
			t.Errorf("%s: %s %q %q", source, res.Outcome, res.Stdout, res.Stderr)
		}
		next := probe(`
import resource
for name, least in ("NOFILE", 1024), ("FSIZE", 256 << 20), ("NPROC", 64), ("AS", 1 << 30), ("STACK", 1 << 20), ("DATA", 1 << 28):
    soft = resource.getrlimit(getattr(resource, "RLIMIT_" + name))[0]
    if soft != resource.RLIM_INFINITY and soft < least: print("breach:", name, "is", soft)
open("/workspace/f", "w").write("x"); open("/tmp/f", "w").write("x"); open("/dev/shm/f", "w").write("x")
child(lambda: 0)
if os.getpriority(os.PRIO_PROCESS, 0) > 10: print("breach: a low priority")
`)
		next.Box = name
		if res := s.exec(t, next); res.Stdout != "held\n" {
			t.Errorf("the execution after %s: %s %q %q", source, res.Outcome, res.Stdout, res.Stderr)
		}
	}
	if err := s.r.Close(t.Context(), name); err != nil {
		t.Errorf("Close: %v", err)
	}
}
