package sandboxtest

// privilegeAttacks try to become somebody else, to leave the namespaces, and to
// change what the host keeps for all.
var privilegeAttacks = []attack{
	{name: "identity", spec: probe(`
if 0 in os.getresuid() + os.getresgid() or 0 in os.getgroups(): print("breach: root", os.getresuid(), os.getresgid(), os.getgroups())
for what, action in (("setuid", lambda: os.setuid(0)), ("setgid", lambda: os.setgid(0)), ("seteuid", lambda: os.seteuid(0)),
        ("setresuid", lambda: os.setresuid(0, 0, 0)), ("setresgid", lambda: os.setresgid(0, 0, 0)), ("setreuid", lambda: os.setreuid(0, 0)),
        ("setgroups", lambda: os.setgroups([0])), ("setuid of a neighbour", lambda: os.setuid(os.getuid() + 1)), ("setuid of nobody", lambda: os.setuid(65533))):
    closed(what, action, errno.EINVAL)
libc.setfsuid(0); libc.setfsgid(0)
if libc.setfsuid(-1) == 0 or libc.setfsgid(-1) == 0: print("breach: root for files")
`)},
	{name: "a user of its own", spec: probe(`
if os.getuid() in (65534, 1000) or os.getuid() < 100000: print("breach: the user", os.getuid(), "is one that others may be")
`)},
	{name: "capabilities", spec: probe(`
for line in open("/proc/self/status"):
    name, value = line.split(":", 1)
    if name.startswith("Cap") and int(value, 16): print("breach:", line)
    if name == "NoNewPrivs" and int(value) != 1: print("breach:", line)
    if name == "Seccomp" and int(value) != 2 and not VIRTUAL: print("breach:", line)
class Header(ctypes.Structure): _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]
for i in range(41):
    data = (ctypes.c_uint32 * 6)(); data[i // 32 * 3] = data[i // 32 * 3 + 1] = data[i // 32 * 3 + 2] = 1 << i % 32
    r = call(126, ctypes.byref(Header(0x20080522, 0)), data)
    if not VIRTUAL or i != 13: refused("capset %d" % i, r)  # gVisor leaves CAP_NET_RAW out of what is asked for
    refused("ambient %d" % i, call(157, 47, 2, i, 0, 0), errno.EINVAL)
    if libc.prctl(23, i, 0, 0, 0) == 1: print("breach: in the bounding set:", i)
for line in open("/proc/self/status"):
    if line.startswith("Cap") and int(line.split()[1], 16): print("breach: afterwards", line)
refused("taking no new privileges back", call(157, 38, 0, 0, 0, 0), errno.EINVAL)
refused("secure bits", call(157, 28, 1, 0, 0, 0))
refused("turning the filter off", call(157, 22, 0, 0, 0, 0), errno.EINVAL)
`)},
	{name: "setuid programs", spec: probe(`
import shutil, subprocess
shutil.copy("/bin/bash", "/workspace/sh")
os.chmod("/workspace/sh", 0o6755)
out = subprocess.run(["/workspace/sh", "-p", "-c", "id -u; id -g; grep CapEff /proc/self/status"], capture_output=True, text=True).stdout.split()
if out and (out[0] != str(os.getuid()) or out[1] != str(os.getgid()) or int(out[3], 16)): print("breach:", out)
closed("giving a file away", lambda: os.chown("/workspace/sh", 0, 0))
closed("file capabilities", lambda: os.setxattr("/workspace/sh", "security.capability", bytes.fromhex("0100000200200000000000000000000000000000")), errno.ENOTSUP, errno.EINVAL)
closed("trusted attributes", lambda: os.setxattr("/workspace/sh", "trusted.x", b"x"), errno.ENOTSUP)
for top, dirs, files in os.walk("/"):
    dirs[:] = [d for d in dirs if os.path.join(top, d) not in ("/proc", "/sys", "/workspace")]
    for f in files:
        try: mode = os.lstat(os.path.join(top, f)).st_mode
        except OSError: continue
        if mode & 0o6000: print("breach:", os.path.join(top, f))
`)},
	{name: "helpers that ask for rights", spec: bash(`for c in "su -c id" "sudo -n id" "pkexec id" "newgrp root" "mount -t tmpfs x /tmp" "umount /tmp" "nsenter -t 1 -m id" "unshare -m true" "chroot / id" "chown root /tmp" "mknod /tmp/x b 8 0" "dmesg" "sysctl -w kernel.panic=1" "modprobe x" "hostname x" "date -s 2000-01-01" "swapon /tmp/x" "ip link set lo down" "iptables -L" "capsh --print"; do
  [ -n "$VIRTUAL" ] && case $c in unshare*|mknod*|dmesg|chroot*|hostname*|ip*|mount*|umount*) continue;; esac
  if out=$($c 2>&1 </dev/null); then echo "breach: $c: $out"; fi
done; echo held`)},
	{name: "mounts", spec: probe(`
for what, r in (("mount", call(165, b"none", b"/tmp", b"tmpfs", 0, None)), ("bind", call(165, b"/", b"/tmp", None, 4096, None)),
        ("remount", call(165, b"none", b"/", None, 32 | 4096, None)), ("proc", call(165, b"proc", b"/tmp", b"proc", 0, None)),
        ("cgroup", call(165, b"cgroup", b"/tmp", b"cgroup", 0, b"memory")), ("overlay", call(165, b"overlay", b"/tmp", b"overlay", 0, b"lowerdir=/etc:/usr")),
        ("propagation", call(165, None, b"/", None, 1 << 20 | 16384, None)), ("umount of a mask", call(166, b"/proc/kcore", 2)), ("umount", call(166, b"/proc/sys", 2)),
        ("pivot_root", call(155, b"/tmp", b"/tmp")), ("chroot", call(161, b"/tmp")), ("fsopen", call(430, b"tmpfs", 0)), ("fsconfig", call(431, -1, 0, None, None, 0)),
        ("fsmount", call(432, -1, 0, 0)), ("fspick", call(433, -100, b"/", 0)), ("open_tree", call(428, -100, b"/", 1)),
        ("move_mount", call(429, -100, b"/tmp", -100, b"/mnt", 0)), ("mount_setattr", call(442, -100, b"/", 0, bytes(32), 32))):
    refused(what, r)
`)},
	{name: "new namespaces", spec: probe(`
for name, flag in dict(mount=0x20000, cgroup=0x2000000, uts=0x4000000, ipc=0x8000000, user=0x10000000, pid=0x20000000, net=0x40000000, time=0x80).items():
    if VIRTUAL: continue
    def leave():
        refused("unshare " + name, call(272, flag), errno.EINVAL)
    child(leave)
    r = call(56, (flag | 17) & ~0x80, 0, 0, 0, 0) if name != "time" else -1
    if r == 0: os._exit(0)
    refused("clone " + name, r, errno.EINVAL)
class Args(ctypes.Structure): _fields_ = [(n, ctypes.c_uint64) for n in "flags pidfd child parent exit stack size tls tid tids cgroup".split()]
a = Args(flags=0x10000000, exit=17)
r = call(435, ctypes.byref(a), ctypes.sizeof(a))
if r == 0: os._exit(0)
if not VIRTUAL: refused("clone3", r)
`)},
	{name: "other namespaces", spec: probe(`
for pid in "self", "1":
    for ns in "mnt net pid user uts ipc cgroup time".split():
        try: fd = os.open("/proc/%s/ns/%s" % (pid, ns), os.O_RDONLY)
        except OSError: continue
        if pid == "self" and VIRTUAL: continue
        refused("setns " + pid + " " + ns, call(308, fd, 0), errno.EINVAL)
        closed("the parent of " + ns, lambda: os.close(call(16, fd, 0xb702) if call(16, fd, 0xb702) >= 0 else -1), errno.EBADF)
fd = call(434, 1, 0)
if fd >= 0: refused("setns of a process", call(308, fd, 0x20000 | 0x40000000), errno.EINVAL)
`)},
	{name: "files by handle", spec: probe(`
handle = ctypes.create_string_buffer(b"\x80\0\0\0" + bytes(140)); mount = ctypes.c_int()
refused("name_to_handle_at", call(303, -100, b"/workspace", handle, ctypes.byref(mount), 0), errno.EOPNOTSUPP)
root = ctypes.create_string_buffer(b"\x08\0\0\0\x01\0\0\0\x02\0\0\0\0\0\0\0")
for d in "/workspace", "/etc/hosts", "/":
    refused("open_by_handle_at " + d, call(304, os.open(d, os.O_RDONLY), root, 0), errno.EBADF)
`)},
	{name: "the host's file by its path", spec: probe(`
path = os.environ["CANARY_PATH"]
for p in path, "/proc/1/root" + path, "/proc/self/root" + path, "../" * 50 + path, "/host" + path, "/mnt" + path, "/rootfs" + path, "/proc/1/cwd/../.." + path, "/dev/fd/../../../.." + path:
    try: print("breach:", p, open(p).read())
    except OSError: pass
for n in range(3, 200):
    for p in "/proc/self/fd/%d/../../../.." % n, "/proc/self/fd/%d" % n:
        try: print("breach:", p, open(p + path).read())
        except OSError: pass
for line in open("/proc/self/mountinfo"):
    f = line.split()
    if f[3] not in ("/", "/null") and f[4].startswith(("/tmp", "/root", "/home")): print("breach:", line)
`)},
	{name: "devices", spec: probe(`
for name, mode, dev in ("disk", 0o60666, (8, 0)), ("vda", 0o60666, (254, 0)), ("mem", 0o20666, (1, 1)), ("kmsg", 0o20666, (1, 11)), ("null", 0o20666, (1, 3)), ("fuse", 0o20666, (10, 229)), ("tun", 0o20666, (10, 200)):
    for d in "/tmp", "/workspace", "/dev/shm":
        if VIRTUAL:
            # A node of gVisor's own kernel, which has no such device behind it.
            try: os.mknod(d + "/" + name, mode, os.makedev(*dev))
            except OSError: continue
            if name not in ("null", "fuse", "tun"): closed("opening " + name + " in " + d, lambda: os.open(d + "/" + name, os.O_RDWR), errno.ENXIO, errno.ENODEV)
            continue
        closed("mknod " + name + " in " + d, lambda: os.mknod(d + "/" + name, mode, os.makedev(*dev)))
for d in "mem kmem port kmsg sda vda nvme0n1 dm-0 loop0 loop-control kvm fuse net/tun vhost-net vhost-vsock vsock mapper/control userfaultfd uinput cpu/0/msr autofs btrfs-control snapshot watchdog rtc0 hpet dri/card0 nvidia0 binder rfkill uhid input/event0 console tty0 tty1".split():
    if VIRTUAL and d in ("fuse", "net/tun"): continue  # of its own kernel, which has no network of the host's
    if os.path.lexists("/dev/" + d):
        closed("/dev/" + d, lambda: os.open("/dev/" + d, os.O_RDWR), errno.ENXIO, errno.ENODEV)
`)},
	{name: "terminals of others", spec: probe(`
import fcntl, termios
for fd in 0, 1, 2:
    if os.isatty(fd): print("breach: a terminal is", fd)
    for what, request in ("TIOCSTI", 0x5412), ("TIOCLINUX", 0x541c), ("TIOCCONS", 0x541d), ("TIOCSETD", 0x5423):
        closed(what, lambda: fcntl.ioctl(fd, request, b"x"), errno.ENOTTY, errno.EINVAL, errno.EBADF)
closed("/dev/tty", lambda: os.open("/dev/tty", os.O_RDWR), errno.ENXIO)
mine, other = os.openpty()
if not VIRTUAL: closed("typing into a terminal", lambda: fcntl.ioctl(other, 0x5412, b"x"), errno.EIO)
names = [n for n in os.listdir("/dev/pts") if n not in ("ptmx", os.path.basename(os.ttyname(other)))]
if names: print("breach: others' terminals", names)
`)},
	{name: "settings of the kernel", spec: probe(`
import stat
n = 0
for top in "/proc/sys", "/sys/kernel", "/sys/fs", "/sys/power", "/sys/module", "/sys/class", "/sys/bus", "/proc/irq", "/proc/bus", "/proc/fs", "/proc/asound", "/proc/scsi", "/proc/acpi":
    for d, dirs, files in os.walk(top):
        for f in files:
            p = os.path.join(d, f)
            try:
                if not os.lstat(p).st_mode & 0o222 or stat.S_ISLNK(os.lstat(p).st_mode): continue
                fd = os.open(p, os.O_WRONLY | os.O_NONBLOCK)
            except OSError: continue
            os.close(fd); n += 1
            if not VIRTUAL: print("breach: to be written:", p)
for p in "/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/vm/drop_caches", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/fs/binfmt_misc/register", "/sys/kernel/uevent_helper", "/sys/kernel/mm/ksm/run", "/proc/mtrr", "/proc/timer_list", "/proc/kallsyms", "/sys/power/state", "/proc/acpi/wakeup":
    try:
        if stat.S_ISCHR(os.stat(p).st_mode): continue  # masked by /dev/null
        with open(p, "w") as f: f.write("0")
    except OSError: continue
    if not VIRTUAL: print("breach: written", p)
`)},
	{name: "control groups", spec: probe(`
for d, dirs, files in os.walk("/sys/fs/cgroup"):
    for f in files:
        try: os.close(os.open(os.path.join(d, f), os.O_WRONLY))
        except OSError: continue
        print("breach: to be written:", os.path.join(d, f))
    closed("a group in " + d, lambda: os.mkdir(d + "/mine"))
    if "release_agent" in files: print("breach:", d, "has a release_agent")
`)},
	{name: "what the kernel tells", spec: probe(`
for p, most in ("/proc/kcore", 0), ("/proc/keys", 0), ("/proc/timer_list", 0), ("/proc/sched_debug", 0), ("/proc/latency_stats", 0), ("/proc/vmallocinfo", 0), ("/proc/slabinfo", 0), ("/proc/kpageflags", 0), ("/proc/kpagecount", 0), ("/proc/self/pagemap", 1 << 20), ("/sys/firmware/dmi/entries", 0):
    try:
        with open(p, "rb") as f: n = len(f.read(64))
    except OSError: continue
    if n > most: print("breach:", p)
for p in "/proc/kallsyms", "/proc/modules", "/proc/iomem":
    try: lines = open(p).read().splitlines()
    except OSError: continue
    for line in lines:
        words = line.replace("-", " ").split()
        if p != "/proc/modules": words = words[:1]
        for w in words:
            w = w.removeprefix("0x")
            if len(w) >= 8 and all(c in "0123456789abcdef" for c in w) and int(w, 16) and any(c.isalpha() for c in w): print("breach:", line); break
        else: continue
        break
try: page = open("/proc/self/pagemap", "rb").read(8)
except OSError: page = b""
if page and int.from_bytes(page, "little") & (1 << 55) - 1: print("breach: addresses of physical memory")
if not VIRTUAL: refused("the kernel's log", call(103, 3, ctypes.create_string_buffer(4096), 4096))
`)},
}
