package sandboxtest

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"testing"
	"unicode/utf8"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// fileAttacks leave a workspace that is hard to read, in a sandbox of their own.
var fileAttacks = []attack{
	{name: "names", spec: collect(`
for n in b"new\nline", b"tab\t", b"\xff\xfe", b"bell\a", b"esc\x1b[2J", b" ", b"-rf", b"*", b"$(id)", b"a\\b", "\u202egnp.exe".encode(), b"x" * 255, b"'\"", b"..x", b"...", b"con", b"C:", b"%00":
    open(n, "wb").write(n)
`)},
	{name: "deep tree", spec: collect(`
for i in range(3000):
    try: os.mkdir("d" * 100); os.chdir("d" * 100)
    except OSError: break
open("bottom", "w").write("x") if i else None
os.chdir("/workspace")
`)},
	{name: "links", spec: collect(`
os.symlink("/etc/passwd", "passwd"); os.symlink("/proc/1/environ", "environ"); os.symlink(os.environ["CANARY_PATH"], "canary"); os.symlink("/", "root"); os.symlink(".", "self")
os.symlink("loop2", "loop1"); os.symlink("loop1", "loop2"); os.symlink("/dev/zero", "zero"); os.symlink("/proc/self/fd/0", "stdin"); os.mkdir("d"); os.symlink("../..", "d/up"); os.symlink("nowhere", "dangling")
`)},
	{name: "FIFOs and sockets", spec: collect(`
import socket
os.mkfifo("fifo"); os.mkfifo("fifo.csv")
s = socket.socket(socket.AF_UNIX); s.bind("socket")
`)},
	{name: "hard links", spec: collect(`
open("f", "w").write("x" * 1000)
for i in range(500): os.link("f", "l%d" % i)
for p in "/etc/passwd", "/bin/bash", "/proc/self/environ":
    try: os.link(p, "hard"); print("breach:", p)
    except OSError: pass
`)},
	{name: "no rights", spec: collect(`
os.mkdir("d"); open("d/f", "w").write("x"); open("secret", "w").write("x"); os.chmod("secret", 0); os.chmod("d", 0)
`)},
	{name: "the workspace itself", spec: collect(`
for action in lambda: os.rmdir("/workspace"), lambda: os.rename("/workspace", "/w"), lambda: os.chmod("/workspace", 0o500), lambda: os.symlink("/etc", "/workspace"):
    try: action()
    except OSError: pass
`)},
	{name: "10,000 files", spec: wide(collect(`
for i in range(10000): os.close(os.open("f%d" % i, os.O_CREAT | os.O_WRONLY))
`))},
	{name: "a huge file", spec: wide(collect(`
f = open("huge", "wb"); f.truncate(200 << 20); f.close()
open("large", "wb").write(b"x" * (40 << 20))
`))},
	{name: "files that go and come", spec: collect(`
if os.fork() == 0:
    os.setsid()
    while True:
        open("f", "w").write("x"); os.rename("f", "g"); os.unlink("g"); os.symlink("/etc/passwd", "f"); os.unlink("f")
time.sleep(0.3)
`)},
	{name: "times", spec: collect(`
for i, when in enumerate((0, -1 << 40, 1 << 33, 1 << 40, -1)):
    open("t%d" % i, "w").write("x")
    try: os.utime("t%d" % i, (when, when))
    except (OSError, OverflowError): pass
`)},
	{name: "attributes", spec: collect(`
open("f", "w").write("x")
for i in range(100):
    try: os.setxattr("f", "user.a%d" % i, b"x" * 1000)
    except OSError: break
os.chmod("f", 0o6777)
`)},
	{
		// In memory there is no more than there is; when the program has ended,
		// nothing shows that it took all of it.
		name: "deleted, but open", spec: limited(probe(deletedButOpen), nil), either: []sandbox.Outcome{sandbox.DiskFull, sandbox.Nonzero},
	},
}

// deletedButOpen takes 64 MiB under no name, and keeps them.
const deletedButOpen = `
kept = []
for i in range(32):
    f = open("gone", "wb", 0); os.unlink("gone"); kept.append(f)
    if f.write(b"x" * (2 << 20)) < 2 << 20: sys.exit(1)
time.sleep(60)
`

// hoards take more of a box than Limits.Workspace, and hide it from who would
// measure it by looking: boxes are on the host's disk.
var hoards = map[string]string{
	"in one place": `
for i in range(32): open("f%d" % i, "wb").write(bytes(2 << 20))
time.sleep(60)
`,
	"deleted, but open":                      deletedButOpen,
	"deleted, open, and not to be looked at": "libc.prctl(4, 0, 0, 0, 0)\n" + deletedButOpen,
	"deleted, but mapped": `
import mmap
kept = []
for i in range(32):
    fd = os.open("gone", os.O_CREAT | os.O_RDWR); os.write(fd, bytes(2 << 20)); kept.append(mmap.mmap(fd, 2 << 20)); os.close(fd); os.unlink("gone")
time.sleep(60)
`,
	"deleted, but on its way": `
import socket
a, b = socket.socketpair()
for i in range(32):
    fd = os.open("gone", os.O_CREAT | os.O_RDWR); os.write(fd, bytes(2 << 20)); socket.send_fds(a, [b"x"], [fd]); os.close(fd); os.unlink("gone")
time.sleep(60)
`,
	"behind a directory without rights": `
os.mkdir("d")
for i in range(32): open("d/f%d" % i, "wb").write(bytes(2 << 20))
os.chmod("d", 0)
time.sleep(60)
`,
	"in many directories": `
for i in range(400):
    os.makedirs("d%d/e/f" % i); open("d%d/e/f/g" % i, "wb").write(bytes(160 << 10))
time.sleep(60)
`,
	"far below": `
for i in range(300): os.mkdir("d"); os.chdir("d")
for i in range(32): open("f%d" % i, "wb").write(bytes(2 << 20))
time.sleep(60)
`,
	"beyond the end of a file": `
fd = os.open("f", os.O_CREAT | os.O_RDWR)
for i in range(32):
    g = os.open("f%d" % i, os.O_CREAT | os.O_RDWR)
    try: os.posix_fallocate(g, 0, 2 << 20); libc.fallocate(g, 1, ctypes.c_long(2 << 20), ctypes.c_long(1 << 20))
    except OSError: pass
time.sleep(60)
`,
}

// collect asks for all files of the workspace to come back.
func collect(source string) sandbox.Spec {
	spec := probe(source)
	spec.Artifacts = []string{"**/*", "*", "**"}
	return spec
}

// wide gives room for many and large files.
func wide(spec sandbox.Spec) sandbox.Spec {
	spec.Limits = sandbox.Limits{Memory: sandbox.GiB}
	return spec
}

// fileTests use the files from outside.
var fileTests = map[string]func(*testing.T, *siege){
	"more than may come back":          testTooMany,
	"what comes back":                  testComesBack,
	"links that change while we read":  testRacingRead,
	"links that change while we write": testRacingWrite,
	"a box that is hard to remove":     testHardToRemove,
	"boxes that hold too much":         testHoards,
	"links in the way":                 testPlanted,
}

func testComesBack(t *testing.T, s *siege) {
	spec := collect(`
os.symlink("/etc/passwd", "link"); os.mkfifo("fifo"); open("ok", "w").write("fine"); os.mkdir("d"); open("d/f", "w").write("deep"); open("large", "wb").write(b"x" * 3000000); os.symlink("d", "alias")
open(b"new\nline", "w").write("x"); open(b"\xff", "w").write("x"); os.symlink("/proc/self/environ", "d/e")
`)
	spec.Limits.Artifacts = sandbox.MiB
	res := s.exec(t, spec)
	got := map[string]string{}
	for _, f := range res.Artifacts {
		got[f.Name] = string(f.Data)
		if sandbox.ValidateName(f.Name) != nil {
			t.Errorf("an artifact is called %q", f.Name)
		}
	}
	if got["ok"] != "fine" || got["d/f"] != "deep" || len(got) != 2 {
		t.Errorf("artifacts %q, want ok and d/f", got)
	}
	if !slices.Contains(res.ArtifactsMissed, "large") {
		t.Errorf("missed %q, want large among them", res.ArtifactsMissed)
	}
	for _, c := range res.Changed {
		if !utf8.ValidString(c.Name) {
			t.Errorf("a change is called %q", c.Name)
		}
	}
}

func testTooMany(t *testing.T, s *siege) {
	source := fmt.Sprintf(`for i in range(%d): open("f" + str(i), "w").write("x")`, sandbox.MaxArtifacts+500)
	res := s.exec(t, wide(collect(source)))
	if res.Stdout != "held\n" || len(res.Artifacts) != sandbox.MaxArtifacts || len(res.ArtifactsMissed) == 0 {
		t.Errorf("%s %q: %d artifacts and %d missed, want %d and some", res.Outcome, res.Stderr, len(res.Artifacts), len(res.ArtifactsMissed), sandbox.MaxArtifacts)
	}
}

// racing runs a program that changes what a name is as fast as it can, while
// touch is called again and again.
func racing(t *testing.T, s *siege, source string, touch func(ctx context.Context, box string) error) {
	t.Helper()
	name := box(t, s.r, s.token+"-"+t.Name())
	spec := probe(source)
	spec.Box = name
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() {
		res, err := s.r.Run(ctx, s.arm(spec), onceReady(func() { close(ready) }))
		if err == nil && res.Outcome != sandbox.Cancelled {
			err = fmt.Errorf("the program ended: %s %q %q", res.Outcome, res.Stdout, res.Stderr)
		}
		done <- err
	}()
	select {
	case <-ready:
	case err := <-done:
		t.Fatal(err)
	}
	for range 40 {
		if err := touch(ctx, name); err != nil {
			t.Error(err)
			break
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := s.r.Close(t.Context(), name); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func testRacingRead(t *testing.T, s *siege) {
	racing(t, s, `
os.mkdir("real"); open("real/passwd", "w").write("mine"); os.symlink("/etc", "link"); open("own", "w").write("mine"); os.symlink("/etc/passwd", "other")
os.rename("real", "d"); os.rename("own", "f"); print("ready", flush=True)
def swap(a, b): call(316, -100, a, -100, b, 2)
while True: swap(b"d", b"link"); swap(b"f", b"other")
`, func(ctx context.Context, name string) error {
		for _, file := range []string{"d/passwd", "f"} {
			data, err := s.r.ReadFile(ctx, name, file, 1<<20)
			if err == nil && string(data) != "mine" || err != nil && wflo.CodeOf(err) != wflo.CodeInvalid {
				return fmt.Errorf("ReadFile(%s) = %.60q, %w, want the file or CodeInvalid", file, data, err)
			}
		}
		return nil
	})
}

func testRacingWrite(t *testing.T, s *siege) {
	racing(t, s, `
os.mkdir("d"); os.mkdir("/tmp/out"); os.symlink("/tmp/out", "link"); open("f", "w").write("mine"); os.symlink("/tmp/out/f", "other"); print("ready", flush=True)
def again(make, *where):
    try: make(*where)
    except FileExistsError: pass # the other side was there first
while True:
    for a, b in (b"d", b"link"), (b"f", b"other"): call(316, -100, a, -100, b, 2)
    if os.listdir("/tmp/out"): print("breach:", os.listdir("/tmp/out"), flush=True); sys.exit(3)
    again(os.symlink, "/tmp/out", "link"); again(os.symlink, "/tmp/out/f", "other"); again(os.mkdir, "d"); again(open, "f", "x")
`, func(ctx context.Context, name string) error {
		err := s.r.WriteFiles(ctx, name, []wflo.File{{Name: "d/g", Data: []byte("x")}, {Name: "f", Data: []byte("y")}})
		// A directory in the place of a file is refused; it may be one by turns.
		if err != nil && wflo.CodeOf(err) != wflo.CodeInvalid {
			return fmt.Errorf("WriteFiles: %w", err)
		}
		return nil
	})
}

func testHardToRemove(t *testing.T, s *siege) {
	name := box(t, s.r, s.token+"-hard")
	res := s.exec(t, withBox(probe(`
for i in range(3000): open("f%d" % i, "w").close()
os.mkdir("locked"); open("locked/f", "w").close(); os.chmod("locked", 0); os.mkfifo("fifo"); os.symlink("/", "root"); os.mkdir(b"\xff\n")
`), name))
	if res.Stdout != "held\n" {
		t.Errorf("%s: %q %q", res.Outcome, res.Stdout, res.Stderr)
	}
	if len(res.Changed) != sandbox.MaxChanged || res.ChangedMore < 2000 {
		t.Errorf("%d changes and %d more, want %d and the rest", len(res.Changed), res.ChangedMore, sandbox.MaxChanged)
	}
	// So deep that a runner may give up measuring it, and says so.
	deep := s.exec(t, withBox(probe(`
for i in range(2000):
    os.mkdir("deep"); os.chdir("deep")
os.chmod("/workspace", 0) if os.stat("/workspace").st_uid == os.getuid() else None
`), name))
	if !deep.OK() && (deep.Outcome != sandbox.DiskFull || deep.Reason == "") {
		t.Errorf("deep: %s, %q, %q %q", deep.Outcome, deep.Reason, deep.Stdout, deep.Stderr)
	}
	if _, err := s.r.ReadFile(t.Context(), name, "locked/f", 10); err != nil && wflo.CodeOf(err) != wflo.CodeInvalid {
		t.Errorf("ReadFile: %v, want the file or CodeInvalid", err)
	}
	if err := s.r.Close(t.Context(), name); err != nil {
		t.Errorf("Close: %v", err)
	}
	if res := s.exec(t, withBox(bash("[ -z \"$(ls -A)\" ] && echo held"), name)); res.Stdout != "held\n" {
		t.Errorf("the box of the same name: %s %q", res.Outcome, res.Stdout)
	}
	if err := s.r.Close(t.Context(), name); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func withBox(spec sandbox.Spec, name string) sandbox.Spec {
	spec.Box = name
	return spec
}

// testHoards fills boxes, each in its own way. A few more bytes may be written
// before it is noticed; that it goes on is the breach.
func testHoards(t *testing.T, s *siege) {
	for how, source := range hoards {
		if s.opts.Virtual && how == "deleted, but on its way" {
			continue // gVisor does not say what a socket holds
		}
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			name := box(t, s.r, s.token+"-hoard-"+how)
			s.make(t, attack{spec: withBox(limited(probe(source), nil), name), outcome: sandbox.DiskFull, hit: "workspace"})
			if err := s.r.Close(t.Context(), name); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
}

// testPlanted starts a program over what an earlier one planted.
func testPlanted(t *testing.T, s *siege) {
	name := box(t, s.r, s.token+"-planted")
	plant := withBox(probe(`
os.symlink("/etc/passwd", "in"); os.symlink("/tmp", "dir"); os.mkfifo("pipe"); os.mkdir("full"); open("full/x", "w").close()
os.symlink("/proc/1/fd/1", "out")
`), name)
	if res := s.exec(t, plant); res.Stdout != "held\n" {
		t.Fatalf("plant: %s %q %q", res.Outcome, res.Stdout, res.Stderr)
	}
	files := []wflo.File{{Name: "in", Data: []byte("in")}, {Name: "dir/f", Data: []byte("f")}, {Name: "pipe", Data: []byte("p")}, {Name: "out", Data: []byte("o")}}
	next := withBox(bash("cat in dir/f pipe out; [ ! -L in ] && [ ! -L dir ] && [ ! -p pipe ] && [ -z \"$(ls /tmp)\" ] && echo held"), name)
	next.Files = files
	if res := s.exec(t, next); res.Stdout != "infpoheld\n" {
		t.Errorf("with files: %s %q %q", res.Outcome, res.Stdout, res.Stderr)
	}
	for _, f := range files {
		if data, err := s.r.ReadFile(t.Context(), name, f.Name, 10); err != nil || !bytes.Equal(data, f.Data) {
			t.Errorf("ReadFile(%s) = %q, %v", f.Name, data, err)
		}
	}
	if err := s.r.WriteFiles(t.Context(), name, []wflo.File{{Name: "full", Data: []byte("x")}}); wflo.CodeOf(err) != wflo.CodeInvalid {
		t.Errorf("WriteFiles over a full directory: %v, want CodeInvalid", err)
	}
	if err := s.r.Close(t.Context(), name); err != nil {
		t.Errorf("Close: %v", err)
	}
}
