package sandboxtest

// kernelAttacks try the system calls that have let programs out before, and the
// ways around a filter of system calls.
var kernelAttacks = []attack{
	{name: "system calls", spec: probe(`
buf = ctypes.create_string_buffer(4096)
for what, *args in (
    ("ptrace of its parent", 101, 0, 0, 0, 0), ("bpf", 321, 0, buf, 64), ("bpf load", 321, 5, buf, 64), ("perf_event_open", 298, buf, 0, -1, -1, 0),
    ("userfaultfd", 323, 0), ("userfaultfd for user memory", 323, 1), ("add_key", 248, b"user", b"x", b"y", 1, -3), ("request_key", 249, b"user", b"x", None, -3), ("keyctl", 250, 0, -3, 1),
    ("keyctl join", 250, 1, None), ("io_uring_setup", 425, 8, ctypes.create_string_buffer(120)), ("io_uring_enter", 426, -1, 0, 0, 0, None, 0), ("io_uring_register", 427, -1, 0, None, 0),
    ("init_module", 175, buf, 64, b""), ("finit_module", 313, 0, b"", 0), ("delete_module", 176, b"x", 0), ("create_module", 174, b"x", 1),
    ("kexec_load", 246, 0, 0, None, 0), ("kexec_file_load", 320, -1, -1, 0, None, 0), ("reboot", 169, 0xfee1dead, 672274793, 0x1234567, None), ("reboot by the keyboard", 169, 0xfee1dead, 672274793, 0, None),
    ("swapon", 167, b"/workspace/x", 0), ("swapoff", 168, b"/x"), ("acct", 163, b"/workspace/x"), ("quotactl", 179, 0x80000100, b"/dev/sda", 0, buf), ("quotactl_fd", 443, 0, 0x80000100, 0, buf),
    ("fanotify_init", 300, 0, 0), ("fanotify_init for files", 300, 0x200, 0), ("clock_settime", 227, 0, bytes(16)), ("settimeofday", 164, bytes(16), None),
    ("sethostname", 170, b"x", 1), ("setdomainname", 171, b"x", 1), ("open_by_handle_at", 304, -1, buf, 0),
    ("ioperm", 173, 0x80, 1, 1), ("iopl", 172, 3), ("syslog clear", 103, 5, None, 0), ("vhangup", 153), ("nfsservctl", 180, 0, None, None),
    ("lookup_dcookie", 212, 0, buf, 64), ("uselib", 134, b"/lib/x"), ("_sysctl", 156, buf), ("vserver", 236, 0, 0, 0), ("migrate_pages", 256, 1, 1, buf, buf),
    ("set_mempolicy", 238, 1, buf, 64), ("mbind", 237, 0, 4096, 1, buf, 64, 0), ("move_pages of PID 1", 279, 1, 0, None, None, None, 0), ("process_madvise", 440, -1, buf, 1, 21, 0),
    ("process_mrelease", 448, -1, 0), ("kcmp", 312, 1, os.getpid(), 0, 0, 0), ("pidfd_getfd", 438, call(434, 1, 0), 0, 0), ("lsm_set_self_attr", 460, 100, buf, 64, 0)):
    if VIRTUAL and what in ("ptrace of its parent", "sethostname", "setdomainname", "syslog clear", "set_mempolicy", "mbind", "keyctl", "keyctl join"): continue
    refused(what, call(*args))
`)},
	{name: "rare system calls", spec: probe(`
for what, *args in (("modify_ldt", 154, 0, ctypes.create_string_buffer(64), 64), ("modify_ldt write", 154, 0x11, bytes(16), 16), ("adjtimex", 159, ctypes.create_string_buffer(208)),
        ("clock_adjtime", 305, 0, ctypes.create_string_buffer(208)), ("memfd_secret", 447, 0), ("fanotify_mark", 301, 0, 0, 0, 0, None), ("statmount", 457, bytes(64), ctypes.create_string_buffer(512), 512, 0),
        ("cachestat", 451, 0, bytes(16), ctypes.create_string_buffer(64), 0), ("sysfs", 139, 3), ("ustat", 136, 1, ctypes.create_string_buffer(64)), ("vmsplice", 278, 1, None, 0, 0)):
    if not VIRTUAL: refused(what, call(*args))
`)},
	{name: "every number", spec: probe(`
# Any number may come; none may end more than the process that makes it. Calls
# that end, stop or block the caller by design are left out.
leave_out = {13, 14, 15, 23, 34, 35, 37, 38, 56, 57, 58, 59, 60, 61, 62, 65, 69, 70, 127, 128, 129, 130, 200, 202, 219, 230, 231, 232, 234, 240, 241, 242, 243, 247, 270, 271, 281, 297, 322, 424, 435, 441, 449, 454, 455, 456}
def all_of_them():
    devnull = os.open("/dev/null", os.O_RDWR)
    for fd in 0, 1, 2: os.dup2(devnull, fd)
    for number in range(0, 480):
        if number in leave_out: continue
        for args in (0, 0, 0, 0, 0, 0), (-1, -1, -1, -1, -1, -1), (1, 1, 1, 1, 1, 1): call(number, *args)
    os._exit(0)
p = os.fork()
if p == 0: all_of_them()
if not until(lambda: os.waitpid(p, os.WNOHANG)[0] == p, 20): os.kill(p, 9); print("breach: one of them blocks:", open("/proc/%d/syscall" % p).read())
`)},
	{name: "the 32-bit calls", spec: probe(`
import mmap
def machine(code, bits):
    m = mmap.mmap(-1, 4096, prot=7); m.write(code)
    r = ctypes.CFUNCTYPE(ctypes.c_int32)(ctypes.addressof(ctypes.c_char.from_buffer(m)))()
    return 1 if r > 0 else 0
for what, code in (
    ("getpid by int 0x80", "b814000000cd80c3"), ("socketcall by int 0x80", "b866000000cd80c3"), ("getuid by int 0x80", "b8c7000000cd80c3"), ("keyctl by int 0x80", "b820010000cd80c3"),
    ("getpid of x32", "b8270000400f05c3"), ("getuid of x32", "b8660000400f05c3"), ("ptrace of x32", "b8090200400f05c3")):
    if child(lambda: machine(bytes.fromhex(code), 64)) == 1: print("breach:", what)
`)},
	{name: "far jumps to 32 bits", spec: probe(`
import mmap
# Code of another size runs, but its calls do not: push 0x23, push the address, far return, then int 0x80 for exit(1).
def go():
    libc.mmap.restype = ctypes.c_void_p
    low = libc.mmap(ctypes.c_void_p(0x10000000), ctypes.c_size_t(8192), 7, 0x32, -1, 0)
    if low in (None, ctypes.c_void_p(-1).value): return 0
    there = bytes.fromhex("b814000000cd80" "85c0" "7e05" "b801000000" "90" "bb2a000000" "b801000000" "cd80")
    ctypes.memmove(low + 256, there, len(there))
    here = bytes.fromhex("6a23" "68") + (low + 256).to_bytes(4, "little") + bytes.fromhex("48cb")
    ctypes.memmove(low, here, len(here))
    ctypes.CFUNCTYPE(None)(low)()
if child(go) == 42: print("breach: a 32-bit call ended the program")
`)},
	{name: "personality", spec: probe(`
for what, p in (("no randomisation", 0x40000), ("readable means executable", 0x400000), ("page zero", 0x100000), ("32 bits", 0x8000000)):
    if not VIRTUAL: refused(what, call(135, p))
`)},
	{name: "page zero", spec: probe(`
libc.mmap.restype = ctypes.c_void_p
if libc.mmap(ctypes.c_void_p(0), ctypes.c_size_t(4096), 7, 0x32, -1, 0) in (None, 0): print("breach: page zero")
`)},
	{name: "tracing a child", spec: probe(`
p = os.fork()
if p == 0:
    time.sleep(60); os._exit(0)
if not VIRTUAL:
    refused("attach", call(101, 16, p, 0, 0)); refused("seize", call(101, 0x4206, p, 0, 0))
    local = ctypes.create_string_buffer(8); a = (ctypes.c_uint64 * 2)(ctypes.addressof(local), 8)
    refused("reading a child", call(310, p, a, 1, a, 1, 0)); refused("writing a child", call(311, p, a, 1, a, 1, 0))
os.kill(p, 9)
`)},
	{
		// Programs that are mounted without the right to execute them run from
		// memory all the same. That is no boundary: what they may do is the same.
		name: "a program from memory", spec: probe(`
fd = os.memfd_create("t", 0)
with open("/bin/true", "rb") as f: os.write(fd, f.read())
def run():
    try: os.execve(fd, ["true"], {})
    except OSError: return 0
if child(run) != 0: print("breach: it ended badly")
`)},
	{name: "programs of /tmp", spec: probe(`
import shutil
for d in "/tmp", "/dev/shm":
    shutil.copy("/bin/true", d + "/t"); os.chmod(d + "/t", 0o755)
    def run():
        try: os.execv(d + "/t", ["t"])
        except OSError: return 7
    if child(run) == 0: print("breach: ran from", d)
`)},
	{name: "a filter on top", spec: probe(`
class Filter(ctypes.Structure): _fields_ = [("n", ctypes.c_ushort), ("p", ctypes.c_void_p)]
allow = ctypes.create_string_buffer(bytes.fromhex("06000000" "0000ff7f"))
f = Filter(1, ctypes.addressof(allow))
call(317, 1, 0, ctypes.byref(f))
refused("io_uring_setup", call(425, 8, ctypes.create_string_buffer(120)))
if not VIRTUAL: refused("unshare", call(272, 0x10000000))
`)},
	{name: "asking a supervisor", spec: probe(`
class Filter(ctypes.Structure): _fields_ = [("n", ctypes.c_ushort), ("p", ctypes.c_void_p)]
allow = ctypes.create_string_buffer(bytes.fromhex("06000000" "0000ff7f"))
f = Filter(1, ctypes.addressof(allow))
call(317, 1, 8, ctypes.byref(f))
refused("bpf", call(321, 0, ctypes.create_string_buffer(128), 64))
`)},
	{name: "crashes of the machine's kind", spec: probe(`
import mmap
for what, code in (("hlt", "f4"), ("cli", "fa"), ("in", "e480"), ("out", "e680"), ("rdmsr", "0f32"), ("wrmsr", "0f30"), ("invd", "0f08"), ("lgdt", "0f0110"), ("mov cr3", "0f20d8"), ("ud2", "0f0b"), ("vmcall", "0f01c1"), ("sysenter", "0f34"), ("syscall -1", "48c7c0ffffffff0f05c3"), ("int3", "cc"), ("int 1", "cd01")):
    def run():
        m = mmap.mmap(-1, 4096, prot=7); m.write(bytes.fromhex(code) + b"\xc3" * 16)
        ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(m)))()
    child(run)
`)},
}
