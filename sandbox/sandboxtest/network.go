package sandboxtest

import "github.com/wflo-ai/wflo-go/sandbox"

// networkAttacks look for anybody beside themselves. None of the specifications
// asks for a network.
var networkAttacks = []attack{
	{name: "every family", spec: probe(`
import socket
UNIX, INET, INET6, NETLINK = 1, 2, 10, 16
for family in range(0, 50):
    for kind in 1, 2, 3, 4, 5, 6, 10:
        if family == UNIX or family in (INET, INET6) and kind in (1, 2) or family == NETLINK and kind in (2, 3): continue
        for protocol in 0, 1, 255, 0x300:
            r = call(41, family, kind, protocol)
            if r >= 0: os.close(r)
            if r >= 0 and not VIRTUAL or r >= 0 and family not in (INET, INET6, NETLINK, 17): print("breach: a socket of family", family, "kind", kind)
for family in INET, INET6:
    for protocol in 33, 132, 136, 47, 50, 115:
        for kind in 1, 2, 5, 6:
            r = call(41, family, kind, protocol)
            if r >= 0 and not VIRTUAL: print("breach: protocol", protocol)
`)},
	{name: "raw sockets", spec: probe(`
import socket
for family, kind, protocol in (2, 3, 1), (2, 3, 255), (10, 3, 58), (17, 3, 0x300), (17, 2, 0x300), (44, 3, 0):
    r = call(41, family, kind, protocol)
    refused("a raw socket", r, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT)
`)},
	{name: "netlink", spec: probe(`
import socket, struct
for protocol in range(1, 23):
    for kind in 2, 3:
        r = call(41, 16, kind, protocol)
        if r >= 0 and not VIRTUAL: print("breach: netlink protocol", protocol)
s = socket.socket(16, 3, 0)
s.settimeout(5)
def ask(kind, body):
    s.send(struct.pack("IHHII", 16 + len(body), kind, 5, 1, 0) + body)
    reply = s.recv(65536)
    return struct.unpack("i", reply[16:20])[0] if struct.unpack("H", reply[4:6])[0] == 2 else 0
for what, kind, body in (("a new link", 16, bytes(16)), ("a link down", 16, struct.pack("BxHiII", 0, 0, 1, 0, 1)), ("an address", 20, struct.pack("BBBBI", 2, 24, 0, 0, 1)), ("a route", 24, bytes(12)), ("a rule", 32, bytes(12))):
    try: r = ask(kind, body)
    except OSError as e: r = -e.errno
    if r >= 0: print("breach:", what)
`)},
	{name: "interfaces", spec: probe(`
import fcntl, socket, struct
names = [n for _, n in socket.if_nameindex()]
if names != ["lo"]: print("breach:", names)
for p in "/proc/net/route", "/proc/net/ipv6_route":
    try: lines = [l for l in open(p) if "lo" not in l.split()[-1:] and not l.startswith("Iface")]
    except OSError: continue
    if lines: print("breach:", p, lines)
s = socket.socket()
for what, request in ("address", 0x8916), ("flags", 0x8914), ("name", 0x8923), ("route", 0x890b), ("hardware address", 0x8924), ("MTU", 0x8922), ("bridge", 0x89a0):
    closed(what, lambda: fcntl.ioctl(s, request, struct.pack("16sH22x", b"lo", 2) + bytes(40)), errno.EINVAL, errno.EOPNOTSUPP, errno.ENODEV, errno.ENOTTY, errno.EFAULT, errno.EBUSY)
for what, level, option, value in (("transparent", 0, 19, 1), ("mark", 1, 36, 1), ("buffer beyond the limit", 1, 33, 1 << 30), ("priority", 1, 12, 7), ("debug", 1, 1, 1), ("netfilter", 0, 64, 1), ("eBPF", 1, 50, 3)):
    if not VIRTUAL: closed(what, lambda: s.setsockopt(level, option, value), errno.EINVAL, errno.EBADF, errno.ENOPROTOOPT, errno.EOPNOTSUPP)
`)},
	{name: "addresses", spec: probe(`
import socket, threading
def reach(family, kind, address):
    s = socket.socket(family, kind); s.settimeout(5)
    try:
        s.connect(address)
        if kind == socket.SOCK_DGRAM: s.send(b"x")
        print("breach: reached", address)
    except socket.timeout: print("breach: sent to", address)
    except OSError: pass
all = []
for host in "169.254.169.254", "169.254.170.2", "100.100.100.200", "1.1.1.1", "8.8.8.8", "10.0.0.1", "10.96.0.1", "172.17.0.1", "172.17.0.2", "172.18.0.1", "192.168.0.1", "192.168.65.2", "100.64.0.1", "224.0.0.1", "255.255.255.255":
    for kind, port in (1, 80), (1, 2375), (1, 22), (2, 53): all.append((2, kind, (host, port)))
for host in "fd00:ec2::254", "2606:4700:4700::1111", "fe80::1", "ff02::1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe":
    for kind, port in (1, 80), (2, 53): all.append((10, kind, (host, port)))
for a in all: reach(*a)
`)},
	{name: "names", spec: probe(`
import socket
for name in "example.com", "metadata.google.internal", "host.docker.internal", "gateway.docker.internal", "kubernetes.default", "wflo.invalid", "postgres", "temporal":
    try: print("breach:", name, socket.getaddrinfo(name, 80))
    except OSError: pass
`)},
	{name: "ports of the host", spec: probe(`
import socket
port = int(os.environ["CANARY_PORT"])
for host in "127.0.0.1", "0.0.0.0", "127.1.2.3", "172.17.0.1", "localhost", "::1", "::ffff:127.0.0.1":
    try: socket.create_connection((host, port), 2); print("breach:", host)
    except OSError: pass
for port in 22, 53, 80, 443, 2375, 2376, 3128, 5432, 6443, 7233, 8080, 8233, 9090, 10250:
    for host in "127.0.0.1", "::1":
        try: socket.create_connection((host, port), 2); print("breach:", host, port)
        except OSError: pass
`)},
	{name: "the neighbour", spec: probe(`
import socket
for host in "127.0.0.1", "0.0.0.0", "::1", "sandbox", "localhost":
    try: socket.create_connection((host, 4567), 2); print("breach:", host)
    except OSError: pass
s = socket.socket(socket.AF_UNIX)
try: s.connect("\0" + os.environ["TOKEN"] + "-neighbour"); print("breach: the neighbour's abstract socket")
except OSError: pass
`)},
	{name: "sockets of the host", spec: probe(`
import glob, socket
try: others = [l for l in open("/proc/net/unix") if "@" in l or "/" in l]
except OSError: others = []
if others: print("breach:", others)
for name in "\0" + os.environ["CANARY_ABSTRACT"], "\0/containerd-shim/x.sock", os.environ["CANARY_SOCKET"]:
    for kind in 1, 2, 5:
        s = socket.socket(socket.AF_UNIX, kind)
        try: s.connect(name); print("breach:", name)
        except OSError: pass
for p in "/var/run/docker.sock /run/docker.sock /run/containerd/containerd.sock /run/crio/crio.sock /run/podman/podman.sock /run/dbus/system_bus_socket /run/systemd/private /run/snapd.socket /var/run/secrets /run/secrets /.wflo.sock".split():
    if os.path.lexists(p): print("breach:", p)
import stat
for d in "/run", "/tmp", "/var/run", "/dev", "/workspace":
    for top, dirs, files in os.walk(d):
        for f in files:
            try:
                if stat.S_ISSOCK(os.lstat(os.path.join(top, f)).st_mode): print("breach:", os.path.join(top, f))
            except OSError: pass
`)},
	{name: "no proxy", spec: bash("env | grep -i _proxy && echo breach; echo held")},
	{name: "loopback", spec: probe(`
import socket
for family, host in (2, "127.0.0.1"), (2, "localhost"):
    l = socket.create_server((host, 0), family=family); c = socket.create_connection(l.getsockname()); a = l.accept()[0]
    c.send(b"x"); assert a.recv(1) == b"x"
u = socket.socket(2, 2); u.bind(("127.0.0.1", 0)); v = socket.socket(2, 2); v.sendto(b"y", u.getsockname()); assert u.recv(1) == b"y"
a, b = socket.socketpair(); a.send(b"z"); assert b.recv(1) == b"z"
s = socket.socket(socket.AF_UNIX); s.bind("\0mine"); s.listen()
`)},
	{name: "a flood of packets", spec: limited(probe(`
import socket
s = socket.socket(2, 2); s.setblocking(False)
t = socket.socket(2, 2); t.bind(("127.0.0.1", 0))
end = time.monotonic() + 1
while time.monotonic() < end:
    try: s.sendto(bytes(60000), t.getsockname())
    except OSError: pass
`), nil), either: []sandbox.Outcome{sandbox.Succeeded}, stdout: "held\n"},
}
