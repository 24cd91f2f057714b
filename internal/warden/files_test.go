//go:build linux

package warden

import (
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/wflo-ai/wflo-go/internal/frame"
)

// yard is a workspace full of traps, in a folder that must not change.
func yard(t *testing.T) (root string, r *receiver) {
	t.Helper()
	root = t.TempDir()
	for _, dir := range []string{"ws/dir", "scratch", "outside"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(root+"/outside/secret", []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	for link, to := range map[string]string{
		"up": "..", "out": "../outside", "file": "../outside/secret", "abs": root + "/outside", "dir/deep": "../../outside", "self": "self",
	} {
		if err := os.Symlink(to, filepath.Join(root, "ws", link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(root+"/outside/secret", root+"/ws/hard"); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(root+"/ws/pipe", 0o600); err != nil {
		t.Fatal(err)
	}
	return root, &receiver{places: map[string]string{frame.Workspace: root + "/ws", frame.Scratch: root + "/scratch"}}
}

// intact says what changed outside of the places.
func intact(t *testing.T, root string) {
	t.Helper()
	var names []string
	_ = filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(root, p)
		if err == nil && !strings.HasPrefix(rel, "ws/") && !strings.HasPrefix(rel, "scratch/") {
			names = append(names, rel)
		}
		return err
	})
	if got := strings.Join(names, " "); got != ". outside outside/secret scratch ws" {
		t.Errorf("outside there is now: %s", got)
	}
	if content, err := os.ReadFile(root + "/outside/secret"); err != nil || string(content) != "kept" {
		t.Errorf("the file outside holds %q, %v", content, err)
	}
}

func TestTraps(t *testing.T) {
	for name, ok := range map[string]bool{
		"plain": true, "new/folder/file": true, "up/x": true, "out/x": true, "out/secret": true, "file": true, "file/x": true, "abs/x": true,
		"dir/deep/x": true, "self": true, "self/x": true, "hard": true, "pipe": true, "pipe/x": true,
		"dir": false, "../x": false, "/x": false, "a/../../x": false, "": false, ".": false, strings.Repeat("a/", 40) + "a": false,
	} {
		root, r := yard(t)
		r.begin(frame.FileMsg{Name: name, Size: 4, Mode: 0o7777})
		r.data([]byte("evil"))
		r.end()
		if err := r.finish(); (err == nil) != ok {
			t.Errorf("%q: %v, want success %v", name, err, ok)
		}
		intact(t, root)
		if !ok {
			continue
		}
		st, err := os.Lstat(filepath.Join(root, "ws", name))
		if err != nil || !st.Mode().IsRegular() || st.Size() != 4 || st.Mode()&^0o755 != 0 {
			t.Errorf("%q became %v, %v, want a regular file", name, st, err)
		}
	}
}

// FuzzFiles sends whatever a broken worker could. The fuzzed text is a list of
// steps: a letter, and what goes with it, up to a newline.
func FuzzFiles(f *testing.F) {
	f.Add("b4 plain\ndabcd\ne\n")
	f.Add("b4 out/x\ndabcdef\ne\nb1 file\ndx\ne")
	f.Add("b0 up/x\ne\ne\ndx\nb1 a\nb1 b")
	f.Add("s1 ../x\ndx\ne\nb1 ws\ndx\ne\nb9999999999999 x\nb-1 y\na\n")
	f.Fuzz(func(t *testing.T, steps string) {
		root, r := yard(t)
		for step := range strings.SplitSeq(steps, "\n") {
			if step == "" {
				continue
			}
			rest := step[1:]
			switch step[0] {
			case 'b', 's':
				size, name, _ := strings.Cut(rest, " ")
				n, _ := strconv.ParseInt(size, 10, 64)
				where := map[byte]string{'b': frame.Workspace, 's': frame.Scratch}[step[0]]
				r.begin(frame.FileMsg{Name: name, Where: where, Size: n, Mode: uint32(n)})
			case 'd':
				r.data([]byte(rest))
			case 'e':
				r.end()
			case 'a':
				r.abort()
			case 'c':
				r.err = nil // another request
			}
		}
		_ = r.finish()
		r.abort()
		intact(t, root)
		_ = filepath.WalkDir(root, func(p string, _ fs.DirEntry, _ error) error {
			if strings.HasPrefix(filepath.Base(p), ".wflo-") {
				t.Errorf("left behind: %s", p)
			}
			return nil
		})
	})
}

func TestEmpty(t *testing.T) {
	root := t.TempDir()
	dir := root + "/tmp"
	if err := os.MkdirAll(dir+"/wide/locked", 0o700); err != nil {
		t.Fatal(err)
	}
	for i := range 2000 {
		if err := os.WriteFile(dir+"/wide/"+strconv.Itoa(i), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(root+"/outside", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(root, dir+"/link"); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir+"/wide/locked", 0); err != nil {
		t.Fatal(err)
	}
	// Deeper than there are descriptors, and longer than a path may be.
	fd, err := unix.Open(dir, unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	name := strings.Repeat("d", 200)
	for range 3000 {
		if err := unix.Mkdirat(fd, name, 0o700); err != nil {
			t.Fatal(err)
		}
		next, err := unix.Openat(fd, name, unix.O_DIRECTORY, 0)
		_ = unix.Close(fd)
		if err != nil {
			t.Fatal(err)
		}
		fd = next
	}
	_ = unix.Close(fd)
	if walk(dir, func(string, *unix.Stat_t) bool { return true }) {
		t.Error("a tree without end was walked to its end")
	}
	if err := empty(dir); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	if _, err := os.Stat(root + "/outside"); err != nil {
		t.Errorf("a link was followed: %v", err)
	}
	if err := empty(root + "/nosuch"); err != nil {
		t.Errorf("a folder that is not there: %v", err)
	}
}
