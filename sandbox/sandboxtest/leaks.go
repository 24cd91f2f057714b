package sandboxtest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/wflo-ai/wflo-go"
)

// leakAttacks look for what was never meant for them.
var leakAttacks = []attack{
	{name: "descriptors", spec: probe(`
for n in os.listdir("/proc/self/fd"):
    try: target = os.readlink("/proc/self/fd/" + n)
    except OSError: continue
    if int(n) > 2 and target not in ("/proc/%d/fd" % os.getpid(),): print("breach:", n, target)
    if int(n) < 3 and not target.startswith(("pipe:", "socket:", "/dev/null", "host:")): print("breach:", n, target)
`)},
	{name: "environment", spec: probe(`
known = {"TOKEN", "CANARY_PATH", "CANARY_ABSTRACT", "CANARY_SOCKET", "CANARY_PORT", "VIRTUAL", "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "LC_CTYPE", "HOSTNAME", "TERM", "PWD", "OLDPWD", "SHLVL", "_", "TMPDIR", "TZ", "PYTHONPATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "DEBIAN_FRONTEND"}
for name in os.environ:
    if name not in known: print("breach:", name)
import glob
for p in glob.glob("/proc/[0-9]*/environ") + glob.glob("/proc/[0-9]*/task/*/environ"):
    try: data = open(p, "rb").read()
    except OSError: continue
    for word in b"SANDBOXTEST", b"DOCKER", b"API_KEY", b"GOFLAGS", b"MARK=":
        if word in data: print("breach:", p, word)
`)},
	{name: "paths of the host", spec: probe(`
for p in "/proc/self/cgroup", "/proc/1/cgroup", "/proc/self/mountinfo", "/proc/mounts", "/proc/self/cpuset":
    try: text = open(p).read()
    except OSError: continue
    for word in "/docker/", "/home/", "/root/", os.environ["CANARY_PATH"]:
        if word in text and not ("/var/lib/docker" in text and word == "/docker/"): print("breach:", p, word)
`)},
	{name: "files of others", spec: probe(`
import stat
mine = os.getuid()
for top, dirs, files in os.walk("/"):
    dirs[:] = [d for d in dirs if os.path.join(top, d) not in ("/proc", "/sys")]
    for f in files:
        p = os.path.join(top, f)
        try: s = os.lstat(p)
        except OSError: continue
        if s.st_uid == mine and not p.startswith(("/workspace/", "/run/wflo/", "/tmp/", "/dev/")): print("breach: mine:", p)
        if stat.S_ISREG(s.st_mode) and os.access(p, os.W_OK) and not p.startswith(("/workspace/", "/tmp/", "/dev/shm/", "/run/wflo/")): print("breach: to be written:", p)
for d in "/tmp", "/dev/shm", "/workspace", "/var/tmp", "/run/user", "/var/lib/docker", "/var/lib/containerd":
    if os.path.isdir(d) and os.listdir(d): print("breach:", d, os.listdir(d))
`)},
	{name: "leftover memory", spec: probe(`
libc.mmap.restype = ctypes.c_void_p
a = libc.mmap(None, ctypes.c_size_t(32 << 20), 3, 0x22, -1, 0)
if any(ctypes.string_at(a, 32 << 20)): print("breach: pages that are not empty")
f = open("/tmp/sparse", "w+b"); f.truncate(1 << 20)
if any(f.read()): print("breach: a file that is not empty")
`)},
	{name: "who the host is", spec: probe(`
import socket
if socket.gethostname() != "sandbox" and len(socket.gethostname()) > 64: print("breach:", socket.gethostname())
for p in "/etc/machine-id", "/sys/class/dmi/id/product_uuid", "/sys/class/dmi/id/product_serial", "/sys/class/dmi/id/board_serial":
    try: text = open(p).read().strip()
    except OSError: continue
    if text: print("breach:", p)
`)},
}

// leakTests need an execution that leaves something and one that looks for it.
var leakTests = map[string]func(*testing.T, *siege){
	"an earlier execution":       testEarlier,
	"a secret of an earlier one": testEarlierSecret,
	"a box of another":           testOtherBox,
}

// leaving puts something wherever an execution can, and looking finds it.
const (
	leaving = `
for p in "/tmp/left", "/tmp/.left", "/dev/shm/left", "/run/wflo/left", "/run/left", "/var/tmp/left", "/run/lock/left":
    try: open(p, "w").write(os.environ["LEFT"])
    except OSError: pass
libc.shmat.restype = ctypes.c_void_p
k = libc.shmget(0x77, ctypes.c_size_t(4096), 0o1666)
if k >= 0: ctypes.memmove(libc.shmat(k, None, 0), os.environ["LEFT"].encode(), len(os.environ["LEFT"]))
libc.semget(0x77, 1, 0o1666); libc.msgget(0x77, 0o1666)
libc.mq_open(b"/left", 0o102, 0o666, None)
call(248, b"user", b"left", b"left", 4, -4)
import socket
if os.fork() == 0:
    os.setsid()
    s = socket.socket(socket.AF_UNIX); s.bind("\0left"); s.listen()
    l = socket.create_server(("127.0.0.1", 7777))
    f = open("/workspace/gone", "w"); f.write(os.environ["LEFT"]); os.unlink("/workspace/gone")
    for fd in 0, 1, 2: os.close(fd)
    time.sleep(600)
if not until(lambda: socket.socket().connect_ex(("127.0.0.1", 7777)) == 0): print("breach: not ready")
`
	looking = `
import glob, socket
for p in "/tmp/left", "/tmp/.left", "/dev/shm/left", "/run/wflo/left", "/run/left", "/var/tmp/left", "/run/lock/left", "/workspace/gone":
    if os.path.lexists(p): print("breach:", p)
if libc.shmget(0x77, ctypes.c_size_t(1), 0) >= 0: print("breach: shared memory")
if libc.semget(0x77, 0, 0) >= 0: print("breach: semaphores")
if libc.msgget(0x77, 0) >= 0: print("breach: message queue")
if libc.mq_open(b"/left", 0, 0, None) >= 0: print("breach: POSIX message queue")
if socket.socket().connect_ex(("127.0.0.1", 7777)) == 0: print("breach: a port")
if socket.socket(socket.AF_UNIX).connect_ex("\0left") == 0: print("breach: an abstract socket")
for p in glob.glob("/proc/[0-9]*/cmdline") + glob.glob("/proc/[0-9]*/environ") + glob.glob("/proc/[0-9]*/fd/*"):
    if p.split("/")[2] in (str(os.getpid()), "self", "thread-self") or "/fd/" in p and p.split("/")[2] == "1": continue
    try: data = open(p, "rb").read(1 << 16) if "/fd/" not in p else os.readlink(p).encode()
    except OSError: continue
    if os.environ["LEFT"].encode() in data or b"gone" in data or b"left" in data.split(b"/"): print("breach:", p)
`
)

func testEarlier(t *testing.T, s *siege) {
	name := box(t, s.r, s.token+"-earlier")
	for _, where := range []string{name, ""} {
		for i, source := range []string{leaving, looking, leaving, looking} {
			spec := probe(source)
			spec.Box, spec.Env = where, map[string]string{"LEFT": fmt.Sprintf("left-%d", i/2)}
			if res := s.exec(t, spec); res.Stdout != "held\n" {
				t.Errorf("execution %d in box %q: %s %q %q", i, where, res.Outcome, res.Stdout, res.Stderr)
			}
		}
	}
	if err := s.r.Close(t.Context(), name); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// testEarlierSecret gives a secret to one execution and looks for it in the next
// one of the same box, wherever an execution can look.
func testEarlierSecret(t *testing.T, s *siege) {
	if s.opts.Secrets == nil {
		t.Fatal("open the Runner with the secrets of NewSecrets, and give them in HostileOptions.Secrets")
	}
	name := box(t, s.r, s.token+"-secret")
	first := probe(`
if len(os.environ["KEY"]) < 100 or len(os.environ["TOK"]) < 10: print("breach: no secret came")
print(os.environ["TOK"])
if os.fork() == 0:
    os.setsid(); time.sleep(600)
`)
	first.Box, first.Secrets = name, map[string]string{"KEY": secretKey, "TOK": secretToken}
	res := s.exec(t, first)
	if !strings.HasSuffix(res.Stdout, "held\n") || strings.Contains(res.Stdout, "breach") || strings.Contains(res.Stdout, s.opts.Secrets[secretToken]) {
		t.Errorf("first: %s %q %q, want the secret masked", res.Outcome, res.Stdout, res.Stderr)
	}
	// The program of the second may not hold the secret either, only its parts.
	second := probe(`
import glob
part = bytes.fromhex(os.environ["PART"])
if "KEY" in os.environ or "TOK" in os.environ: print("breach: a variable")
for p in glob.glob("/proc/[0-9]*/environ") + glob.glob("/proc/[0-9]*/cmdline") + glob.glob("/run/**", recursive=True) + glob.glob("/tmp/**", recursive=True) + glob.glob("/dev/shm/**", recursive=True) + glob.glob("/workspace/**", recursive=True):
    try: data = open(p, "rb").read(1 << 20) if not os.path.isdir(p) else b""
    except OSError: continue
    if part in data: print("breach:", p)
`)
	value := s.opts.Secrets[secretToken]
	second.Box, second.Env = name, map[string]string{"PART": fmt.Sprintf("%x", value[:len(value)-2])}
	if res := s.exec(t, second); res.Stdout != "held\n" {
		t.Errorf("second: %s %q %q", res.Outcome, res.Stdout, res.Stderr)
	}
	if err := s.r.Close(t.Context(), name); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// testOtherBox tries names of boxes that could lead to another's files.
func testOtherBox(t *testing.T, s *siege) {
	mine := s.token + "-mine"
	if err := s.r.WriteFiles(t.Context(), box(t, s.r, mine), []wflo.File{{Name: "f", Data: []byte("mine")}}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"../" + mine, "./" + mine, mine + "/", mine + "/.", "/" + mine, strings.ToUpper(mine), mine + ":rw", mine + ",volume", mine + " ", "-" + mine,
		"$(echo " + mine + ")", "*", mine[:len(mine)-1] + "?", "../../etc", "wflo.box=" + mine, mine + "%00", strings.Repeat("x/", 255) + "x", "é\u202e\U0001f4a3",
	} {
		box(t, s.r, name)
		if data, err := s.r.ReadFile(t.Context(), name, "f", 100); wflo.CodeOf(err) != wflo.CodeInvalid {
			t.Errorf("ReadFile in box %q = %q, %v, want CodeInvalid", name, data, err)
		}
		if err := s.r.Close(t.Context(), name); err != nil {
			t.Errorf("Close(%q): %v", name, err)
		}
	}
	odd := box(t, s.r, "../"+mine+" $(id)\u202e*")
	spec := bash("[ -z \"$(ls -A)\" ] && echo theirs >f && echo held")
	spec.Box = odd
	if res := s.exec(t, spec); res.Stdout != "held\n" {
		t.Errorf("in box %q: %s %q %q", odd, res.Outcome, res.Stdout, res.Stderr)
	}
	if data, err := s.r.ReadFile(t.Context(), mine, "f", 100); err != nil || string(data) != "mine" {
		t.Errorf("ReadFile = %q, %v, want what was written", data, err)
	}
	for _, name := range []string{mine, odd} {
		if err := s.r.Close(t.Context(), name); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
}
