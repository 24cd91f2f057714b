package sandboxtest

import (
	"slices"
	"strings"
	"testing"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// testLocked tries the walls from inside: each program prints "held" when the
// wall is where it should be.
//
// Under gVisor /proc does not tell of ambient capabilities, no_new_privs and
// filters, namespaces and device nodes are made in its own kernel and lead
// nowhere, and an unreachable network is one without a route to the host.
func testLocked(t *testing.T, r sandbox.Runner, virtual bool) {
	programs := map[string]sandbox.Spec{
		"user":          bash(`[ "$(id -u)$(id -g)" != 00 ] && ! id -G | grep -qw 0 && echo held`),
		"read-only":     bash("for f in /x /etc/x /usr/x /root/x /etc/hosts /etc/passwd /etc/resolv.conf; do if (: >>$f) 2>/dev/null; then echo $f; fi; done; echo held"),
		"capabilities":  bash("[ $(grep -c '^Cap[A-Z][a-z]*:.*0000000000000000$' /proc/self/status) = $([ -n \"$VIRTUAL\" ] && grep -c ^Cap /proc/self/status || echo 5) ] && grep -q ^CapBnd /proc/self/status && echo held"),
		"no new rights": bash("[ -n \"$VIRTUAL\" ] && echo held && exit; grep -q '^NoNewPrivs:.*1$' /proc/self/status && grep -q '^Seccomp:.*2$' /proc/self/status && echo held"),
		"setuid":        bash(`[ -z "$(find / -xdev -perm /6000 2>/dev/null)" ] && echo held`),
		"interfaces":    bash(`[ "$(grep -c : /proc/net/dev)$(grep -c lo: /proc/net/dev)$(wc -l </proc/net/route)" = 111 ] && echo held`),
		"network": python(`
import os, socket
VIRTUAL = "VIRTUAL" in os.environ
for address in ("1.1.1.1", "169.254.169.254", "172.17.0.1"):
    try:
        socket.create_connection((address, 80), 5)
        print("reached", address)
    except OSError as e:
        assert e.errno == 101 or VIRTUAL and e.errno in (110, 111, 113), e
print("held")`),
		"names": python(`
import socket
try: socket.getaddrinfo("example.com", 80); print("resolved")
except OSError: print("held")`),
		"raw sockets": python(`
import socket
for family, kind in ((socket.AF_INET, socket.SOCK_RAW), (socket.AF_PACKET, socket.SOCK_RAW)):
    try: socket.socket(family, kind, 1); print("opened")
    except PermissionError: pass
print("held")`),
		"syscalls": python(`
import ctypes, os
VIRTUAL = "VIRTUAL" in os.environ
libc = ctypes.CDLL(None, use_errno=True)
for name, args in {
    "mount": (b"none", b"/tmp", b"tmpfs", 0, None), "unshare": (0x10000000,), "setns": (0, 0), "sethostname": (b"x", 1),
    "chroot": (b"/tmp",), "setuid": (0,), "setgid": (0,), "swapoff": (b"/x",),
    "pivot_root": (b"/tmp", b"/tmp"), "reboot": (0,), "bpf": (0, None, 0), "kexec_load": (0, 0, None, 0)}.items():
    if VIRTUAL and name in ("unshare", "chroot", "sethostname"): continue
    call = getattr(libc, name, None)
    if call and call(*args) != -1: print("allowed", name)
for number in (321, 298, 304, 323, 250):  # bpf, perf_event_open, open_by_handle_at, userfaultfd, keyctl
    if libc.syscall(number, 0, 0, 0, 0, 0) != -1: print("allowed", number)
print("held")`),
		"device nodes": bash("if mknod /tmp/sda b 8 0 2>/dev/null && { [ -z \"$VIRTUAL\" ] || head -c 1 /tmp/sda >/dev/null 2>&1; }; then echo made; fi; for d in /dev/mem /dev/kmsg /dev/sda /dev/vda /dev/kvm; do [ -e $d ] && echo $d; done; echo held"),
		"kernel": bash(`for f in /proc/sysrq-trigger /proc/sys/kernel/core_pattern /proc/sys/kernel/modprobe /sys/kernel/uevent_helper /sys/fs/cgroup/memory/release_agent; do
if (echo x >$f) 2>/dev/null; then echo $f; fi; done; [ ! -s /proc/kcore ] && [ ! -s /proc/keys ] && echo held`),
		"engine":          bash("[ ! -e /var/run/docker.sock ] && [ ! -e /run/containerd ] && echo held"),
		"other processes": bash("ps=0; for d in /proc/[0-9]*; do ps=$((ps+1)); done; [ $ps -le 3 ] && echo held"),
		"no tmp programs": bash("cp /bin/true /tmp/t; if /tmp/t 2>/dev/null; then echo ran; fi; cp /bin/true /dev/shm/t; if /dev/shm/t 2>/dev/null; then echo ran; fi; echo held"),
		"descriptors":     python("import os; extra = [n for n in os.listdir('/proc/self/fd') if int(n) > 3]; print('held' if not extra else extra)"),
	}
	// One sandbox has the same walls for all of them.
	all := bash(`for p in *; do read -r by <"$p/by"; echo "$p:"; "$by" "$p/source"; done`)
	for name, spec := range programs {
		by := map[sandbox.Language]string{sandbox.Bash: "bash\n", sandbox.Python: "python3\n"}[spec.Language]
		all.Files = append(all.Files, wflo.File{Name: name + "/source", Data: []byte(spec.Source)}, wflo.File{Name: name + "/by", Data: []byte(by)})
	}
	if virtual {
		all.Env = map[string]string{"VIRTUAL": "yes"}
	}
	res := run(t, r, all)
	for name := range programs {
		if !strings.Contains("\n"+res.Stdout, "\n"+name+":\nheld\n") {
			t.Errorf("%s is not held: %s, stdout %q, stderr %.500q", name, res.Outcome, res.Stdout, res.Stderr)
		}
	}
}

// boundless are the limits that gVisor does not have. Its memory is the
// sandbox's, and bounds what it keeps for programs: processes, threads, names in
// file systems, message queues. What becomes of the sandbox then, Hostile tries.
var boundless = []string{"fork bomb", "threads", "tmp inodes", "message queues"}

// testLimits runs into every limit.
func testLimits(t *testing.T, r sandbox.Runner, virtual bool) {
	limits := sandbox.Limits{
		Memory: 128 * sandbox.MiB, PIDs: 32, Tmp: 4 * sandbox.MiB, File: 2 * sandbox.MiB, Open: 64, CPUs: 1,
	}
	rows := map[string]struct {
		spec sandbox.Spec
		want string // in stdout
	}{
		"fork bomb": {python(`
import os, time
n = 0
try:
    while n < 500:
        if os.fork() == 0: time.sleep(600)
        n += 1
except BlockingIOError: print("stopped", 20 <= n <= 32)`), "stopped True\n"},
		"threads": {python(`
import threading, time
n = 0
try:
    while n < 500:
        threading.Thread(target=time.sleep, args=(600,), daemon=True).start(); n += 1
except RuntimeError: print("stopped", 20 <= n <= 32, flush=True)
import os; os._exit(0)`), "stopped True\n"},
		"tmp size":        {bash("head -c 1900000 /dev/zero >/tmp/a && for i in 1 2 3; do cp /tmp/a /tmp/b$i 2>&1 || exit 0; done"), "No space left"},
		"tmp inodes":      {python("n = 0\ntry:\n  while n < 100000: open(f'/tmp/{n}', 'w').close(); n += 1\nexcept OSError as e: print(e.errno, n < 5000)"), "28 True\n"},
		"shm size":        {bash("for i in $(seq 40); do head -c 1900000 /dev/zero >/dev/shm/$i 2>/dev/null || { echo full; exit; }; done"), "full\n"},
		"file size":       {python("import os\nf = os.open('big', os.O_CREAT | os.O_WRONLY)\ntry: os.ftruncate(f, 1 << 40)\nexcept OSError as e: print(e.errno)"), "27\n"},
		"open files":      {python("l = []\ntry:\n  while True: l.append(open('/etc/passwd'))\nexcept OSError as e: print(e.errno, len(l) < 64)"), "24 True\n"},
		"workspace size":  {bash("for i in $(seq 100); do head -c 2000000 /dev/zero >w$i 2>/dev/null || { echo full; exit; }; done"), "full\n"},
		"raising a limit": {bash("ulimit -n 65536 2>/dev/null || echo refused; ulimit -c unlimited 2>/dev/null || echo refused"), "refused\nrefused\n"},
		"message queues":  {python("import ctypes\nprint(ctypes.CDLL(None).mq_open(b'/q', 0o102, 0o600, None))"), "-1\n"},
		"few processes":   {sandbox.Spec{Argv: []string{"echo", "ran"}, Limits: sandbox.Limits{PIDs: 1, Memory: 16 * sandbox.MiB}}, "ran\n"},
	}
	together(t, r, virtual, "limits", func(in func(sandbox.Spec) sandbox.Spec) {
		for name, c := range rows {
			if c.spec.Limits.Memory == 0 {
				c.spec.Limits = limits
				if name != "workspace size" { // that of a box is on a disk
					c.spec = in(c.spec)
				}
			}
			if virtual && slices.Contains(boundless, name) {
				continue
			}
			t.Run(name, func(t *testing.T) {
				res := run(t, r, c.spec)
				if !strings.Contains(res.Stdout, c.want) {
					t.Errorf("%s: stdout %q, stderr %.500q, want %q", res.Outcome, res.Stdout, res.Stderr, c.want)
				}
			})
		}
	})
}
