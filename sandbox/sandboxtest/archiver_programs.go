package sandboxtest

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// archivePrograms use what programs leave in a workspace, and what they do to it
// meanwhile.
var archivePrograms = map[string]func(*testing.T, *archive){
	"Kinds": testKinds, "Restored": testRestored, "Meanwhile": testMeanwhile, "Growing": testGrowing, "Vanishing": testVanishing, "Ended": testReplaceEnds,
	"Escapes": testEscapes,
}

func (y *archive) run(t *testing.T, box, source string) sandbox.Result {
	t.Helper()
	res := run(t, y.r, sandbox.Spec{Box: box, Language: sandbox.Python, Source: "import os, sys, time, socket\n" + source})
	if !res.OK() {
		t.Fatalf("%s: %s%s", res.Outcome, res.Stdout, res.Stderr)
	}
	return res
}

// testKinds saves what a program made, byte for byte.
func testKinds(t *testing.T, y *archive) {
	y.box(t, "kinds", func(box string) {
		y.run(t, box, `
os.mkdir("d"); open("d/f", "w").write("deep"); open(b"\xff\n", "w").write("odd"); open("n" * 255, "w").close()
os.symlink("/etc/passwd", "absolute"); os.symlink("..", "up"); os.symlink("no/such", "dangling")
os.link("d/f", "again"); os.mkfifo("pipe"); socket.socket(socket.AF_UNIX).bind("socket")
open("secret", "w").write("mine"); os.chmod("secret", 0); os.mkdir("shut"); open("shut/f", "w").write("in"); os.mkdir("shut/in"); open("shut/in/g", "w").write("more"); os.chmod("shut/in", 0); os.chmod("shut", 0)
open("set", "w").close(); os.chmod("set", 0o4755); os.mkdir("sticky"); os.chmod("sticky", 0o1777)
f = open("sparse", "wb"); f.seek(8 << 20); f.write(b"end"); f.close()
os.utime("d/f", ns=(1, 981173106789000000)); os.utime("d", ns=(1, 981173106789000000))
`)
		s := y.save(t, box)
		if got, want := s.names(), []string{
			"absolute", "again", "d", "d/f", "dangling", strings.Repeat("n", 255), "secret", "set", "shut", "shut/f", "shut/in", "shut/in/g", "sparse", "sticky", "up", "\xff\n",
		}; !slices.Equal(got, want) {
			t.Fatalf("saved %q, want %q", got, want)
		}
		for name, want := range map[string]string{"again": "deep", "\xff\n": "odd", "secret": "mine", "shut/f": "in", "shut/in/g": "more"} {
			if got := s.Content[name]; string(got) != want {
				t.Errorf("%q holds %q, want %q", name, got, want)
			}
		}
		for name, want := range map[string]string{
			"absolute": "symlink 777 /etc/passwd", "up": "symlink 777 ..", "dangling": "symlink 777 no/such", "d/f": "link 644 again",
			"secret": "file 0 ", "shut": "dir 0 ", "shut/in": "dir 0 ", "set": "file 4755 ", "sticky": "dir 1777 ",
		} {
			e := s.entry(name)
			if got := fmt.Sprintf("%s %o %s", e.Kind, e.Mode, e.Target); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
		if at := s.entry("d").MTime; !at.Equal(when) {
			t.Errorf("the directory changed at %v, want %v", at, when)
		}
		if e := s.entry("sparse"); !y.o.Virtual && (len(e.Extents) != 1 || len(s.Content["sparse"]) > 1<<20) {
			t.Errorf("the sparse file has data at %v, %d bytes", e.Extents, len(s.Content["sparse"]))
		}
		// The program's files are as they were.
		res := y.run(t, box, `print(oct(os.stat("secret").st_mode), oct(os.stat("shut").st_mode)); os.chmod("shut", 0o700); print(oct(os.stat("shut/in").st_mode))`)
		if res.Stdout != "0o100000 0o40000\n0o40000\n" {
			t.Errorf("after the save modes are %s", res.Stdout)
		}
	})
}

// testRestored has a program look at what was brought back.
func testRestored(t *testing.T, y *archive) {
	y.box(t, "restored", func(box string) {
		src := oddTree()
		y.replace(t, box, "k", src)
		res := y.run(t, box, fmt.Sprintf("virtual = %d", map[bool]int{true: 1}[y.o.Virtual])+`
st = os.lstat
print(oct(st("mode 4755").st_mode), oct(st("open").st_mode), oct(st("shut").st_mode), oct(st("mode 000").st_mode))
print(st("a file").st_nlink, st("a file").st_ino == st("other name").st_ino, os.readlink(b"raw"), os.readlink("up"), os.path.exists("dangling"))
print(st("a file").st_mtime_ns, st("empty").st_mtime_ns, st("up").st_mtime_ns, st("shut").st_mtime_ns)
s = st("sparse"); print(s.st_size, virtual == 1 or s.st_blocks * 512 < 1 << 20, open("sparse", "rb").read().count(b"x"))
open("a file", "a").write("!"); print(open("other name").read())
open("empty/new", "w").write("mine"); os.rename("empty/new", "new"); os.unlink("large")
`)
		want := "0o104755 0o41777 0o40000 0o100000\n3 True b'\\xff\\n' .. False\n" + strings.TrimSpace(strings.Repeat("981173106789000000 ", 4)) + "\n67108864 True 131072\ncontent!\n"
		if res.Stdout != want {
			t.Errorf("a program sees\n%s, want\n%s", res.Stdout, want)
		}
	})
}

// testMeanwhile saves while a program runs, which goes on.
func testMeanwhile(t *testing.T, y *archive) {
	y.box(t, "meanwhile", func(box string) {
		ready, ended := make(chan struct{}), make(chan error, 1)
		go func() {
			spec := sandbox.Spec{Box: box, Language: sandbox.Bash, Source: "echo x > f; echo ready; until [ -e go ]; do sleep 0.05; done; echo over"}
			res, err := y.r.Run(t.Context(), spec, onceReady(func() { close(ready) }))
			if err == nil && res.Stdout != "ready\nover\n" {
				err = fmt.Errorf("%s: %q", res.Outcome, res.Stdout)
			}
			ended <- err
		}()
		select {
		case <-ready:
		case err := <-ended:
			t.Fatal(err)
		}
		s := &Saved{}
		if quiesced, ok, err := y.a.Save(t.Context(), box, sandbox.TreeLimits{}, s); quiesced || !ok || err != nil || string(s.Content["f"]) != "x\n" {
			t.Errorf("Save = %v, %v, %v with %q", quiesced, ok, err, s.Content["f"])
		}
		if err := y.r.WriteFiles(t.Context(), box, []wflo.File{{Name: "go"}}); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// beside runs a program while test does something, and ends it.
func (y *archive) beside(t *testing.T, box, source string, test func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		res, err := y.r.Run(ctx, sandbox.Spec{Box: box, Language: sandbox.Python, Source: source}, onceReady(func() { close(ready) }))
		if err == nil && res.Outcome != sandbox.Cancelled {
			err = fmt.Errorf("the program ended: %s %q %q", res.Outcome, res.Stdout, res.Stderr)
		}
		ended <- err
	}()
	select {
	case <-ready:
		test()
	case err := <-ended:
		t.Fatal(err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// testGrowing saves a file that never stays the same, and one that is only small.
func testGrowing(t *testing.T, y *archive) {
	y.box(t, "growing", func(box string) {
		y.beside(t, box, `
import os
open("large", "wb").write(b"x" * (30 << 20)); open("still", "w").write("here")
fd = os.open("large", os.O_WRONLY); print("ready", flush=True); n = 0
while True: os.pwrite(fd, b"%016d" % n, n % 1000 * 16384); n += 1
`, func() {
			s := &Saved{}
			_, _, err := y.a.Save(t.Context(), box, sandbox.TreeLimits{}, s)
			if wflo.CodeOf(err) != wflo.CodeInvalid || !strings.Contains(err.Error(), `"large" changes all the time`) {
				t.Errorf("Save of a file that changes all the time: %v", err)
			}
			s = &Saved{Want: func(e sandbox.TreeEntry) bool { return string(e.Name) == "still" }}
			if _, _, err := y.a.Save(t.Context(), box, sandbox.TreeLimits{}, s); err != nil || string(s.Content["still"]) != "here" {
				t.Errorf("Save without it: %v", err)
			}
		})
	})
}

// testVanishing saves while files come and go.
func testVanishing(t *testing.T, y *archive) {
	y.box(t, "vanishing", func(box string) {
		y.beside(t, box, `
import os
for d in range(50): os.mkdir("d%d" % d); open("d%d/f" % d, "w").write("x")
open("still", "w").write("here"); print("ready", flush=True)
while True:
    for d in range(50):
        os.rename("d%d" % d, "e"); os.rename("e/f", "g"); os.symlink("/etc", "d%d" % d); os.unlink("d%d" % d); os.rename("g", "e/f"); os.rename("e", "d%d" % d)
`, func() {
			rounds := 20
			if y.o.Virtual {
				rounds = 8 // each starts a kernel
			}
			for range rounds {
				s := &Saved{}
				_, _, err := y.a.Save(t.Context(), box, sandbox.TreeLimits{}, s)
				if err != nil && (wflo.CodeOf(err) != wflo.CodeInvalid || !strings.Contains(err.Error(), "changes all the time")) {
					t.Errorf("Save: %v", err)
				}
				if err == nil && string(s.Content["still"]) != "here" {
					t.Errorf("a file that stays has %q", s.Content["still"])
				}
				for name, data := range s.Content {
					if bytes.Contains(data, []byte("root:")) {
						t.Fatalf("%s was read through a link", name)
					}
				}
			}
		})
	})
}

// testReplaceEnds replaces a workspace under a program, which is ended first.
func testReplaceEnds(t *testing.T, y *archive) {
	y.box(t, "ended", func(box string) {
		src := &Source{}
		src.add("new", 0o644, "x")
		y.beside(t, box, `
import time
open("old", "w").close(); print("ready", flush=True)
while True: time.sleep(60)
`, func() { y.replace(t, box, "k", src) })
		if got := y.save(t, box).names(); !slices.Equal(got, []string{"new"}) {
			t.Errorf("the workspace has %q", got)
		}
		y.replace(t, box, "k", src)
	})
}

// testEscapes saves what a hostile program made to lead out of the workspace.
func testEscapes(t *testing.T, y *archive) {
	y.box(t, "escapes", func(box string) {
		y.run(t, box, `
os.symlink("/", "root"); os.symlink("/proc/self/environ", "environ"); os.mkdir("d"); os.symlink("../..", "d/up"); os.symlink("/dev/zero", "zero"); os.symlink(".", "self")
for n in range(100): os.mkdir("t" * 50); os.chdir("t" * 50)
`)
		s := &Saved{}
		if _, _, err := y.a.Save(t.Context(), box, sandbox.TreeLimits{Depth: 99}, s); wflo.CodeOf(err) != wflo.CodeInvalid || !strings.Contains(err.Error(), "levels") {
			t.Errorf("Save of 100 levels: %v", err)
		}
		if _, _, err := y.a.Save(t.Context(), box, sandbox.TreeLimits{}, s); err != nil || len(s.Content) != 0 || len(s.Entries) != 106 {
			t.Errorf("Save = %v with %d entries, contents %q", err, len(s.Entries), s.Content)
		}
	})
}
