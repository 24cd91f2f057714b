package sandboxtest

// exhaustionAttacks take what the kernel counts per user or for the whole host,
// and keep it. A neighbour that has a user of its own does not notice; what
// counts for the whole host must be out of reach or bounded.
var exhaustionAttacks = []attack{
	{name: "inotify instances", holds: true, spec: holder(`
kept = 0
while kept < 1000 and libc.inotify_init1(0) >= 0: kept += 1
`)},
	{name: "inotify watches", holds: true, spec: holder(`
fd = libc.inotify_init1(0)
os.chdir("/tmp")
for i in range(2000):
    try: os.mkdir(str(i))
    except OSError: break
    if libc.inotify_add_watch(fd, str(i).encode(), 0xfff) < 0: break
`)},
	{name: "message queues", holds: true, spec: holder(`
for i in range(1000):
    if libc.mq_open(b"/q%d" % i, 0o102, 0o600, None) < 0: break
`)},
	{name: "pending signals", holds: true, spec: holder(`
signal.pthread_sigmask(signal.SIG_BLOCK, range(34, 65))
n = 0
while n < 500000 and libc.sigqueue(os.getpid(), 40, None) == 0: n += 1
`)},
	{name: "timers", virtual: exhausted, holds: true, spec: holder(`
t = ctypes.c_int(0)
n = 0
while n < 500000 and call(222, 1, None, ctypes.byref(t)) == 0: n += 1
`)},
	{name: "pipe pages", holds: true, spec: holder(`
import fcntl
kept = []
try:
    while True:
        kept.append(os.pipe())
        fcntl.fcntl(kept[-1][1], 1031, 1 << 20)
except OSError: pass
`)},
	{name: "asynchronous contexts", virtual: exhausted, holds: true, spec: holder(`
c = ctypes.c_ulong(0)
events = 1 << 17
while events >= 1:
    c.value = 0
    if call(206, events, ctypes.byref(c)) != 0: events >>= 1
`)},
	{name: "epoll", holds: true, spec: holder(`
import select
kept, eps = [], []
try:
    for i in range(200): kept.append(os.eventfd(0))
    while True:
        e = select.epoll(); eps.append(e)
        for k in kept: e.register(k, 1)
except OSError: pass
`)},
	{name: "descriptors on their way", virtual: exhausted, holds: true, spec: holder(`
import socket
kept = []
try:
    while True:
        a, b = socket.socketpair(); kept.append((a, b))
        a.setblocking(False)
        try:
            while True: socket.send_fds(a, [b"x"], [0] * 250)
        except OSError: pass
except OSError: pass
`)},
	{name: "file locks", holds: true, spec: holder(`
import fcntl
f = open("/tmp/l", "wb")
try:
    for i in range(5000): fcntl.lockf(f, fcntl.LOCK_EX, 1, 2 * i)
except OSError: pass
`)},
	{name: "keys", holds: true, spec: holder(`
n = 0
while n < 1000 and call(248, b"user", b"k%d" % n, bytes(100), 100, -3) >= 0: n += 1
`)},
	{name: "System V shared memory", holds: true, spec: limited(holder(`
libc.shmat.restype = ctypes.c_void_p
for i in range(4096):
    k = libc.shmget(i + 1, ctypes.c_size_t(4096), 0o1600)
    if k < 0: break
    libc.shmat(k, None, 0)
for i in range(4096):
    if libc.semget(i + 1, 250, 0o1600) < 0: break
for i in range(4096):
    if libc.msgget(i + 1, 0o1600) < 0: break
`), nil)},
	{name: "loopback connections", holds: true, spec: holder(`
import socket
l = socket.create_server(("127.0.0.1", 0), backlog=4096); kept = []
try:
    while len(kept) < 2000: kept.append(socket.create_connection(l.getsockname(), 1))
except OSError: pass
`)},
	{name: "terminals", holds: true, spec: holder(`
kept = []
try:
    while True: kept.append(os.openpty())
except OSError: pass
`)},
	{name: "threads, held", virtual: exhausted, holds: true, spec: limited(holder(`
import threading
try:
    while True: threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
except RuntimeError: pass
`), nil)},
	{name: "CPU, held", holds: true, spec: limited(bash("for i in 1 2 3 4 5 6 7 8; do while :; do :; done & done; echo ready; wait"), nil)},
	{name: "disk, held", holds: true, spec: limited(bash("while :; do head -c 4000000 /dev/zero >f; sync f; [ -e said ] || { echo ready; touch said; }; done"), nil)},
	{name: "memory, held", holds: true, spec: limited(holder("kept = b'a' * (90 << 20)"), nil)},
	{name: "random numbers, held", holds: true, spec: limited(bash("head -c 100000000 /dev/random >/dev/null & echo ready; wait; sleep 600"), nil)},
	{name: "raising limits", spec: probe(`
import resource
for name in dir(resource):
    if not name.startswith("RLIMIT_"): continue
    which = getattr(resource, name)
    soft, hard = resource.getrlimit(which)
    if hard == resource.RLIM_INFINITY: continue
    for to in hard + 1, resource.RLIM_INFINITY:
        try: resource.setrlimit(which, (soft, to))
        except (OSError, ValueError): continue
        print("breach:", name, "from", hard, "to", to)
`)},
	{name: "limits in force", spec: probe(`
import resource
for name, most in ("NOFILE", 1024), ("CORE", 0), ("FSIZE", 256 << 20):
    hard = resource.getrlimit(getattr(resource, "RLIMIT_" + name))[1]
    if not 0 <= hard <= most: print("breach:", name, "is", hard)
`)},
	{name: "priority", spec: probe(`
if not VIRTUAL:
    closed("nice", lambda: os.nice(-5))
    closed("setpriority", lambda: os.setpriority(os.PRIO_PROCESS, 0, -5))
for policy in os.SCHED_FIFO, os.SCHED_RR: closed("scheduler %d" % policy, lambda: os.sched_setscheduler(0, policy, os.sched_param(1)))
attr = ctypes.create_string_buffer(b"\x30\0\0\0\x06" + bytes(19) + b"\0\0\x10\0\0\0\0\0" + b"\0\0\x20\0\0\0\0\0" * 2, 48)
refused("deadline scheduler", call(314, 0, attr, 0), errno.EINVAL)
refused("real-time input and output", call(251, 1, 0, 1 << 13 | 0), errno.EINVAL)
`)},
	{name: "killed last", spec: probe(`
def dear(value):
    with open("/proc/self/oom_score_adj", "w") as f: f.write(str(value))
start = int(open("/proc/self/oom_score_adj").read())
if not VIRTUAL:
    closed("-1000", lambda: dear(-1000))
    closed("less than the host's", lambda: dear(-1))
if start <= 0 and not VIRTUAL: print("breach: programs are killed no sooner than the host's")
`)},
}
