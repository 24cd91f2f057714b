//go:build linux

package warden

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wflo-ai/wflo-go/internal/frame"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// plot is an empty workspace beside what must not change.
func plot(t *testing.T) (root string, f *filler) {
	t.Helper()
	root = t.TempDir()
	for _, dir := range []string{"ws", "scratch", "outside"} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(root+"/outside/secret", []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	f = newFiller(root + "/ws")
	if err := f.open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.trail.close)
	return root, f
}

func node(kind sandbox.TreeKind, name, target string) frame.Node {
	return frame.Node{Kind: kind, Mode: 0o755, Name: []byte(name), Target: []byte(target)}
}

func made(kind sandbox.TreeKind, name, target string) frame.TreeRecord {
	return frame.TreeRecord{Op: frame.OpMake, Node: node(kind, name, target)}
}

// file gives the records of a file.
func file(name, data string) []frame.TreeRecord {
	n := node(sandbox.TreeFile, name, "")
	n.Size = int64(len(data))
	return []frame.TreeRecord{{Op: frame.OpFile, Node: n}, {Op: frame.OpData, Data: []byte(data)}, {Op: frame.OpEnd}}
}

func take(t *testing.T, f *filler, records ...frame.TreeRecord) error {
	t.Helper()
	var b []byte
	for _, rec := range records {
		b = rec.AppendTo(b)
	}
	if _, err := f.Write(b); err != nil {
		t.Fatal(err)
	}
	return f.err
}

// TestFillRefuses sends trees that the worker refuses already, as a broken one
// could.
func TestFillRefuses(t *testing.T) {
	short := file("f", "123")
	short[1].Data = []byte("12")
	long := file("f", "123")
	long[1].Data = []byte("1234")
	beyond := file("f", "123")
	beyond[0].Node.Extents = []sandbox.Extent{{Offset: 3, Length: 1}}
	dir, symlink, link := sandbox.TreeDir, sandbox.TreeSymlink, sandbox.TreeLink
	for name, records := range map[string][]frame.TreeRecord{
		"a parent's name":        file("../x", "evil"),
		"a parent's name inside": append([]frame.TreeRecord{made(dir, "d", "")}, file("d/../../x", "evil")...),
		"an absolute name":       file("/x", "evil"),
		"no name":                file("", "evil"),
		"the workspace itself":   {made(dir, ".", "")},
		"a NUL byte":             file("a\x00b", "evil"),
		"below a symlink":        append([]frame.TreeRecord{made(symlink, "out", "../outside")}, file("out/secret", "evil")...),
		"below an absolute link": append([]frame.TreeRecord{made(symlink, "out", "/tmp")}, file("out/x", "evil")...),
		"below a file":           append(file("f", "x"), file("f/x", "evil")...),
		"below nothing":          file("nosuch/x", "evil"),
		"through a symlink":      append([]frame.TreeRecord{made(symlink, "f", "../outside/secret")}, file("f", "evil")...),
		"a file twice":           append(file("f", "x"), file("f", "y")...),
		"a directory twice":      {made(dir, "d", ""), made(dir, "d", "")},
		"a link to nothing":      {made(link, "l", "nosuch")},
		"a link to outside":      {made(link, "l", "../outside/secret")},
		"a link to a symlink":    {made(symlink, "s", "../outside/secret"), made(link, "l", "s")},
		"a link below a symlink": {made(symlink, "s", "../outside"), made(link, "l", "s/secret")},
		"a link to a directory":  {made(dir, "d", ""), made(link, "l", "d")},
		"a file without content": {made(sandbox.TreeFile, "f", "")},
		"a file in a file":       append(file("f", "x")[:2], file("g", "y")...),
		"content of no file":     {{Op: frame.OpData, Data: []byte("x")}},
		"the end of no file":     {{Op: frame.OpEnd}},
		"too little":             short,
		"too much":               long,
		"data after the end":     beyond,
		"the mode of a symlink":  {made(symlink, "s", "../outside"), {Op: frame.OpSet, Node: node(dir, "s", "")}},
		"the mode of nothing":    {{Op: frame.OpSet, Node: node(dir, "d", "")}},
		"what PID 1 says":        {{Op: frame.OpGone}},
	} {
		root, f := plot(t)
		if err := take(t, f, records...); err == nil {
			t.Errorf("%s is made", name)
		}
		intact(t, root)
		if f.file != nil {
			t.Errorf("%s: a file stays open", name)
		}
		if err := take(t, f, file("after", "x")...); err == nil {
			t.Errorf("%s is forgotten", name)
		}
		if _, err := os.Lstat(root + "/ws/after"); err == nil {
			t.Errorf("%s: what comes after it is made", name)
		}
	}
}

// FuzzFill sends whatever a broken worker could. Nothing outside changes.
func FuzzFill(f *testing.F) {
	for _, records := range [][]frame.TreeRecord{
		file("f", "x"), append([]frame.TreeRecord{made(sandbox.TreeSymlink, "out", "../outside")}, file("out/secret", "evil")...),
		{made(sandbox.TreeDir, "d", ""), made(sandbox.TreeLink, "d/l", "../outside/secret"), {Op: frame.OpSet, Node: node(sandbox.TreeDir, "d", "")}},
	} {
		var b []byte
		for _, rec := range records {
			b = rec.AppendTo(b)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for r := frame.NewTreeReader(b); ; {
			rec, ok, err := r.Next()
			if err != nil || !ok {
				break
			}
			if rec.Node.Size > 1<<20 || len(rec.Node.Extents) > 100 {
				return // the disk is not what is under test
			}
		}
		root, fl := plot(t)
		if _, err := fl.Write(b); err != nil {
			t.Fatal(err)
		}
		fl.fail(errProtocol)
		intact(t, root)
	})
}

func TestFillNotEmpty(t *testing.T) {
	root, _ := plot(t)
	if err := os.WriteFile(root+"/ws/there", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := newFiller(root + "/ws").open(); err == nil {
		t.Error("a workspace with something in it is filled")
	}
}

// grown is a workspace for a Scan.
func grown(t *testing.T) *child {
	t.Helper()
	c := spawnChild(t, nil)
	for _, name := range []string{"a", "d/b", "d/e/c"} {
		at := filepath.Join(c.o.Workspace, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte("content of "+name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc", c.o.Workspace+"/link"); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(c.o.Workspace+"/pipe", 0o600); err != nil {
		t.Fatal(err)
	}
	return c
}

// tree reads records up to the end.
func (c *child) tree() (all []frame.TreeRecord, end frame.Frame) {
	c.t.Helper()
	for {
		f, err := c.r.Read()
		if err != nil {
			c.t.Fatal(err)
		}
		if f.Type != frame.Tree {
			return all, f
		}
		b := slices.Clone(f.Data)
		for r := frame.NewTreeReader(b); ; {
			rec, ok, err := r.Next()
			if err != nil {
				c.t.Fatal(err)
			}
			if !ok {
				break
			}
			all = append(all, rec)
		}
		if err := c.w.SendTo(frame.Window, frame.TreeStream, frame.WindowMsg{Bytes: len(b)}); err != nil {
			c.t.Fatal(err)
		}
	}
}

func (c *child) scan() ([]frame.TreeRecord, frame.Frame) {
	c.t.Helper()
	if err := c.w.SendTo(frame.Scan, frame.TreeStream, frame.ScanMsg{Entries: 100, Bytes: 1 << 20, Depth: 10}); err != nil {
		c.t.Fatal(err)
	}
	return c.tree()
}

func TestScanAndWant(t *testing.T) {
	c := grown(t)
	records, end := c.scan()
	var m frame.ScannedMsg
	if err := end.Decode(&m); end.Type != frame.TreeEnd || err != nil || m.Left != 1 {
		t.Fatalf("a scan ends with frame %d, %v, %+v", end.Type, err, m)
	}
	var names []string
	for _, rec := range records {
		names = append(names, fmt.Sprintf("%s %s", rec.Node.Kind, rec.Node.Name))
		if strings.Contains(string(rec.Node.Name), "/") && !slices.Contains(names, "dir "+filepath.Dir(string(rec.Node.Name))) {
			t.Errorf("%s comes before its directory", rec.Node.Name)
		}
	}
	slices.Sort(names)
	if got := strings.Join(names, ", "); got != "dir d, dir d/e, file a, file d/b, file d/e/c, symlink link" {
		t.Errorf("the workspace has %s", got)
	}
	var b []byte
	for i, name := range []string{"a", "d/e/c", "nosuch", "link/passwd", "d", "../ws", "pipe"} {
		rec := frame.TreeRecord{Op: frame.OpWant, Index: uint64(i), Data: []byte(name)}
		b = rec.AppendTo(b)
	}
	if err := c.w.Write(frame.Want, frame.TreeStream, b); err != nil {
		t.Fatal(err)
	}
	records, _ = c.tree()
	var got []string
	for _, rec := range records {
		got = append(got, fmt.Sprint(rec.Op, rec.Index, string(rec.Data)))
	}
	want := []string{
		fmt.Sprint(frame.OpFile, 0), fmt.Sprint(frame.OpData, 0, "content of a"), fmt.Sprint(frame.OpEnd, 0),
		fmt.Sprint(frame.OpFile, 1), fmt.Sprint(frame.OpData, 0, "content of d/e/c"), fmt.Sprint(frame.OpEnd, 0),
		fmt.Sprint(frame.OpGone, 2), fmt.Sprint(frame.OpGone, 3), fmt.Sprint(frame.OpGone, 4), fmt.Sprint(frame.OpFailed, 5, "is no clean relative name"), fmt.Sprint(frame.OpGone, 6),
	}
	for i := range want {
		want[i] = strings.ReplaceAll(want[i], " ", "")
	}
	for i := range got {
		got[i] = strings.ReplaceAll(got[i], " ", "")
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// TestTreeProtocol holds that nothing of a tree happens at the wrong time.
func TestTreeProtocol(t *testing.T) {
	c := grown(t)
	refused := func(what string) {
		t.Helper()
		var m frame.RefusedMsg
		if err := c.until(frame.Refused).Decode(&m); err != nil || m.Code != "protocol" {
			t.Errorf("%s: %+v, %v", what, m, err)
		}
	}
	c.write(frame.Want, "x")
	refused("Want before Scan")
	c.send(frame.Scan, frame.ScanMsg{})
	refused("Scan without limits")
	c.write(frame.Tree, "x") // of no Fill: nobody waits for an answer
	c.write(frame.TreeEnd, "")
	c.write(frame.Fill, "")
	c.write(frame.TreeEnd, "")
	var m frame.RefusedMsg
	if err := c.until(frame.Refused).Decode(&m); err != nil || m.Code != "failed" || !strings.Contains(m.Message, "not empty") {
		t.Errorf("Fill of a workspace with something in it: %+v, %v", m, err)
	}
	c.send(frame.Job, shell("sleep 1000"))
	c.send(frame.Scan, frame.ScanMsg{Entries: 1, Bytes: 1, Depth: 1})
	refused("Scan before a job starts")
	c.write(frame.Start, "")
	c.until(frame.Started)
	c.write(frame.Fill, "")
	refused("Fill under a job")
	c.send(frame.Kill, frame.KillMsg{Reason: sandbox.Cancelled})
	c.exit()
	if _, end := c.scan(); end.Type != frame.TreeEnd {
		t.Errorf("a scan after the job ends with frame %d", end.Type)
	}
}

func TestScanLimits(t *testing.T) {
	c := grown(t)
	for _, limits := range []frame.ScanMsg{{Entries: 5, Bytes: 1 << 20, Depth: 10}, {Entries: 100, Bytes: 10, Depth: 10}, {Entries: 100, Bytes: 1 << 20, Depth: 2}} {
		if err := c.w.SendTo(frame.Scan, frame.TreeStream, limits); err != nil {
			t.Fatal(err)
		}
		var m frame.RefusedMsg
		if _, end := c.tree(); end.Type != frame.Refused || end.Decode(&m) != nil || m.Code != "large" {
			t.Errorf("%+v: frame %d, %+v", limits, end.Type, m)
		}
	}
}

// TestTrail holds that what nobody may read is as it was after it was read, unless
// its program has changed it.
func TestTrail(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(root+"/a/b", 0o700); err != nil {
		t.Fatal(err)
	}
	l := lock{mode: 0o100}
	fd, err := unix.Open(root+"/a", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ now, want fs.FileMode }{{0o700, 0o100}, {0o750, 0o750}} {
		if err := os.Chmod(root+"/a", c.now); err != nil {
			t.Fatal(err)
		}
		if l.fd, err = unix.Dup(fd); err != nil {
			t.Fatal(err)
		}
		l.put()
		if st, err := os.Stat(root + "/a"); err != nil || st.Mode().Perm() != c.want {
			t.Errorf("a directory of mode %o becomes %v, %v, want %o", c.now, st.Mode(), err, c.want)
		}
	}
	_ = unix.Close(fd)
	tr, err := openTrail(root)
	if err != nil {
		t.Fatal(err)
	}
	defer tr.close()
	if _, err := tr.open("a/b"); err != nil {
		t.Error(err)
	}
	if _, err := tr.open("a/nosuch"); !vanished(err) || tr.name != "" {
		t.Errorf("%v, at %q", err, tr.name)
	}
	if err := os.Symlink("/etc", root+"/link"); err != nil {
		t.Fatal(err)
	}
	if _, err := tr.open("link"); !vanished(err) {
		t.Errorf("a link is followed: %v", err)
	}
}

// TestUnsettled holds that a file is not trusted to show every change until its
// file system's clock has moved on.
func TestUnsettled(t *testing.T) {
	for _, c := range []struct {
		age  time.Duration
		wait bool
	}{{0, true}, {time.Second, false}, {-time.Hour, false}} {
		at := time.Now().Add(-c.age)
		st := unix.Stat_t{Ctim: unix.NsecToTimespec(at.UnixNano())}
		if got := unsettled(&st); (got > 0) != c.wait || got > tick {
			t.Errorf("a change %v ago is waited for for %v", c.age, got)
		}
	}
}

// TestFillTorn holds that a tree with a part missing is not there.
func TestFillTorn(t *testing.T) {
	var ts trees
	_, f := plot(t)
	ts.fill = f
	ts.fail(frame.ErrDamaged)
	if got := f.torn.Load(); ts.fill != nil || got == nil || !errors.Is(*got, frame.ErrDamaged) || !f.in.whole() {
		t.Errorf("a torn tree: %v", got)
	}
}
