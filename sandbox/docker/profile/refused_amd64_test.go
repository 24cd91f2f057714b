package profile

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
)

// How the probe makes a call.
const (
	direct  = 0
	child   = 1 // in a process of its own, since the filter may end it
	entry32 = 2 // through int 0x80

	x32 = 0x40000000 // the bit of the x32 calls
)

// probe is a system call and what comes of it under the profile: "ok", the
// number of an error, or of a signal.
type probe struct {
	name string
	kind int
	nr   uint64
	args []uint64
	want string
}

func (p probe) line() string {
	args := append(append([]uint64{}, p.args...), make([]uint64, 6-len(p.args))...)
	return fmt.Sprintln(p.kind, p.nr, args[0], args[1], args[2], args[3], args[4], args[5])
}

const (
	refused = "errno 1"  // EPERM
	unknown = "errno 38" // ENOSYS: programs take another way
	fault   = "errno 14" // EFAULT: past the filter, at a null pointer
	badFile = "errno 9"  // EBADF: past the filter, at a file that is not open
	ended   = "signal 31"
)

// call is a direct probe.
func call(name string, nr uint64, want string, args ...uint64) probe {
	return probe{name, direct, nr, args, want}
}

const none = 1<<64 - 1 // -1, a file that is not open or a process that is not there

// probes are the calls that have let programs out of containers, or that see
// or change what is not theirs, and beside them those that must work. Their
// arguments do no harm where nothing refuses them.
var probes = []probe{
	call("mount", 165, refused),
	call("umount2", 166, refused),
	call("pivot_root", 155, refused),
	call("chroot", 161, refused),
	call("fsopen", 430, refused),
	call("fsconfig", 431, refused, none),
	call("fsmount", 432, refused, none),
	call("fspick", 433, refused, none),
	call("move_mount", 429, refused, none, 0, none),
	call("open_tree", 428, refused, none),
	call("mount_setattr", 442, refused, none),
	call("open_tree_attr", 467, unknown, none),
	call("unshare", 272, refused),
	call("unshare CLONE_NEWUSER", 272, refused, 0x10000000),
	call("setns", 308, refused, none),
	call("clone CLONE_NEWUSER", 56, refused, 0x10000000|17),
	call("clone CLONE_NEWNS", 56, refused, 0x20000|17),
	call("clone CLONE_NEWNET", 56, refused, 0x40000000|17),
	call("clone CLONE_NEWPID", 56, refused, 0x20000000|17),
	call("clone CLONE_NEWIPC", 56, refused, 0x8000000|17),
	call("clone CLONE_NEWUTS", 56, refused, 0x4000000|17),
	call("clone CLONE_NEWCGROUP", 56, refused, 0x2000000|17),
	call("clone3", 435, unknown),
	call("prlimit64 of another process", 302, refused, 1, 7),
	call("io_setup", 206, unknown, 1),
	call("ptrace PTRACE_ATTACH", 101, refused, 16, none),
	call("process_vm_readv", 310, refused),
	call("process_vm_writev", 311, refused),
	call("process_madvise", 440, refused, none),
	call("process_mrelease", 448, refused, none),
	call("kcmp", 312, refused),
	call("pidfd_getfd", 438, refused, none),
	call("perf_event_open", 298, refused),
	call("bpf", 321, refused, none),
	call("userfaultfd", 323, refused, 1),
	call("add_key", 248, refused),
	call("request_key", 249, refused),
	call("keyctl", 250, refused),
	call("io_uring_setup", 425, unknown),
	call("io_uring_enter", 426, unknown, none),
	call("io_uring_register", 427, unknown, none),
	call("modify_ldt", 154, refused),
	call("personality ADDR_NO_RANDOMIZE", 135, refused, 0x40000),
	call("ioperm", 173, refused),
	call("iopl", 172, refused),
	call("kexec_load", 246, refused, 0, 17),
	call("kexec_file_load", 320, refused, none, none, 0, 0, 128),
	call("init_module", 175, refused),
	call("finit_module", 313, refused, none),
	call("delete_module", 176, refused),
	call("quotactl", 179, refused, none),
	call("quotactl_fd", 443, refused, none),
	call("acct", 163, refused, 1),
	call("swapon", 167, refused),
	call("swapoff", 168, refused),
	call("reboot", 169, refused),
	call("settimeofday", 164, refused),
	call("clock_settime", 227, refused),
	call("clock_adjtime", 305, refused),
	call("adjtimex", 159, refused),
	call("name_to_handle_at", 303, refused, none),
	call("open_by_handle_at", 304, refused, none),
	call("fanotify_init", 300, refused, 1<<31),
	call("fanotify_mark", 301, refused, none),
	call("lookup_dcookie", 212, refused),
	call("syslog", 103, refused, 10),
	call("vhangup", 153, refused),
	call("nfsservctl", 180, refused),
	call("uselib", 134, refused),
	call("ustat", 136, refused),
	call("sysfs", 139, refused, 3),
	call("_sysctl", 156, refused),
	call("mbind", 237, unknown, 1),
	call("set_mempolicy", 238, unknown, 99),
	call("get_mempolicy", 239, unknown),
	call("move_pages", 279, unknown, 0, 1),
	call("migrate_pages", 256, unknown),
	call("memfd_secret", 447, unknown, 1<<20),
	call("vmsplice", 278, unknown, none),
	call("statmount", 457, unknown),
	call("listmount", 458, unknown),
	call("sethostname", 170, refused),
	call("setdomainname", 171, refused),
	call("a call of the future", 600, unknown),

	call("socket AF_ALG", 41, refused, 38, 5),
	call("socket AF_VSOCK", 41, refused, 40, 1),
	call("socket AF_PACKET", 41, refused, 17, 3),
	call("socket AF_BLUETOOTH", 41, refused, 31, 3),
	call("socket AF_KEY", 41, refused, 15, 3, 2),
	call("socket AF_XDP", 41, refused, 44, 3),
	call("socket AF_TIPC", 41, refused, 30, 2),
	call("socket AF_CAN", 41, refused, 29, 3, 1),
	call("socket AF_RDS", 41, refused, 21, 5),
	call("socket AF_INET raw", 41, refused, 2, 3, 1),
	call("socket AF_INET6 raw", 41, refused, 10, 3, 58),
	call("socket AF_INET raw, close on exec", 41, refused, 2, 3|0x80000, 255),
	call("socket AF_INET DCCP", 41, refused, 2, 6, 33),
	call("socket AF_INET SCTP", 41, refused, 2, 1, 132),
	call("socket AF_INET ping", 41, refused, 2, 2, 1),
	call("socket AF_NETLINK audit", 41, refused, 16, 3, 9),
	call("socket AF_NETLINK netfilter", 41, refused, 16, 3, 12),
	call("socket AF_NETLINK generic", 41, refused, 16, 3, 16),
	call("socket AF_UNIX with bits above 32", 41, "ok", 1<<32|1, 1),
	call("socket AF_ALG with bits above 32", 41, refused, 1<<32|38, 5),
	call("socket multipath TCP", 41, "errno 93", 2, 1, 262),
	call("socketpair AF_TIPC", 53, refused, 30, 1),
	call("ioctl TIOCSTI", 16, refused, none, 0x5412),
	call("ioctl TIOCSTI with bits above 32", 16, refused, none, 1<<32|0x5412),
	call("ioctl TIOCLINUX", 16, refused, none, 0x541c),
	call("ioctl TIOCSETD", 16, refused, none, 0x5423),
	call("ioctl TIOCCONS", 16, refused, none, 0x541d),
	call("ioctl KVM_CREATE_VM", 16, refused, none, 0xae01),
	call("ioctl BLKFLSBUF", 16, refused, none, 0x1261),
	call("ioctl FIFREEZE", 16, refused, none, 0xc0045877),
	call("mknod of a block device", 133, refused, 0, 0x6000),
	call("mknod of a character device", 133, refused, 0, 0x2000),
	call("mknodat of a block device", 259, refused, 0, 0, 0x6000),

	{"x32 getpid", child, x32 | 39, nil, ended},
	{"x32 io_uring_setup", child, x32 | 425, nil, ended},
	{"int 0x80 getpid", entry32, 20, nil, ended},
	{"int 0x80 mount", entry32, 21, nil, ended},
	{"int 0x80 socketcall", entry32, 102, nil, ended},

	call("clone3 beside clone", 56, "ok", 17),
	call("socket AF_UNIX", 41, "ok", 1, 5|0x80000),
	call("socket TCP", 41, "ok", 2, 1|0x80800, 6),
	call("socket UDP over IPv6", 41, "ok", 10, 2),
	call("socket AF_NETLINK route", 41, "ok", 16, 3|0x80000),
	call("ioctl FIONREAD", 16, badFile, none, 0x541b),
	call("ioctl TIOCGPTN, sign-extended as musl does", 16, badFile, none, 0xffffffff_80045430),
	call("mknodat of a FIFO", 259, fault, none, 0, 0x1000),
	call("personality, asking", 135, "ok", 0xffffffff),
	call("prctl PR_SET_DUMPABLE", 157, "ok", 4, 0),
	call("seccomp, asking for a mode that is not", 317, "errno 22", 99),
	call("landlock_create_ruleset, asking for the version", 444, "ok", 0, 0, 1),
	call("openat2", 437, "errno 22", none),
	call("pidfd_open", 434, "errno 22", none),
	call("prlimit64", 302, "ok", 0, 7),
	call("setuid to the user's own", 105, "ok", 1234567890),
}

// TestRefused makes every call as a hardened sandbox would, and again as root
// with the capabilities for them: what holds then is the filter and nothing else. The
// log has what the engine's own profile and no profile say, for the guide.
func TestRefused(t *testing.T) {
	built := built(t, "probe")
	run := func(flags ...string) []string {
		var lines strings.Builder
		for _, p := range probes {
			lines.WriteString(p.line())
		}
		out, err := docker(t, lines.String(), append(flags, built...), "/bin/probe")
		got := strings.Split(strings.TrimSpace(out), "\n")
		if err != nil || len(got) != len(probes) {
			t.Fatalf("probe: %v\n%s", err, out)
		}
		return got
	}
	root := []string{"--user", "0:0", "--network", "none"}
	// Not "ALL", which an engine that lacks one itself cannot give.
	for _, c := range strings.Fields("SYS_ADMIN SYS_PTRACE SYS_MODULE SYS_RAWIO SYS_TIME SYS_BOOT SYS_TTY_CONFIG SYSLOG NET_ADMIN DAC_READ_SEARCH SYS_PACCT SYS_NICE IPC_LOCK") {
		root = append(root, "--cap-add", c)
	}
	ours := run(append(filtered(t), hardened...)...)
	capable := run(append(filtered(t), root...)...)
	engines := run(hardened...)
	nothing := run(append(root, "--security-opt", "seccomp=unconfined")...)
	for i, p := range probes {
		t.Logf("%-46s ours %-10s engine %-10s unfiltered root %s", p.name, inWords(ours[i]), inWords(engines[i]), inWords(nothing[i]))
		if ours[i] != p.want {
			t.Errorf("%s: %s, want %s", p.name, inWords(ours[i]), inWords(p.want))
		}
		if (p.want == refused || p.want == unknown || p.want == ended) && capable[i] != p.want {
			t.Errorf("%s as root with capabilities: %s, want %s", p.name, inWords(capable[i]), inWords(p.want))
		}
	}
}

// inWords puts the system's words for the number of an error or a signal.
func inWords(s string) string {
	var n int
	if _, err := fmt.Sscanf(s, "errno %d", &n); err == nil {
		return syscall.Errno(n).Error()
	}
	if _, err := fmt.Sscanf(s, "signal %d", &n); err == nil {
		return syscall.Signal(n).String()
	}
	return s
}
