package tree

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/objectstore/file"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// noise is content that does not compress.
func noise(seed uint64, n int) []byte {
	var key [32]byte
	key[0], key[1], key[2] = byte(seed), byte(seed>>8), byte(seed>>16)
	b := make([]byte, n)
	rand.NewChaCha8(key).Read(b)
	return b
}

func must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// odd fills a directory with what trips programs.
func odd(t testing.TB, b *workbench) {
	t.Helper()
	b.write(t, map[string]string{
		"empty": "", "one": "1", "dir/deep/er/file": "x", "big": string(noise(1, 3*pieceSize+17)), "exactly": string(noise(2, 2*pieceSize)),
		"piece": string(noise(3, pieceSize)), "same": "1", "new\nline": "n", "sp ace \t": "s", "\xff\xfe not utf-8": "b", "-rf": "r", "*": "star",
		"dir/" + strings.Repeat("n", 255): "long", "ümläut": "u", "suid": "s", "locked": "l",
	})
	at := func(name string) string { return filepath.Join(b.dir, name) }
	must(t, os.Mkdir(at("hollow"), 0o755), os.Symlink("one", at("to-one")), os.Symlink("/etc/passwd", at("out")), os.Symlink("nowhere\xff", at("dangling")),
		os.Symlink("dir", at("to-dir")), os.Link(at("big"), at("dir/again")), os.Link(at("big"), at("zz-again")))
	f, err := os.Create(at("sparse"))
	must(t, err)
	_, err = f.WriteAt(noise(4, 5000), 3<<20)
	must(t, err, f.Truncate(64<<20), f.Close())
	f, err = os.Create(at("all-hole"))
	must(t, err, f.Truncate(5<<20), f.Close())
	past := time.Date(1969, 12, 31, 23, 59, 59, 123456789, time.UTC)
	must(t, os.Chtimes(at("one"), past, past), os.Chmod(at("suid"), 0o4755|fs.ModeSetuid), os.Chmod(at("locked"), 0o400), os.Chmod(at("dir/deep"), 0o1777|fs.ModeSticky),
		os.Chtimes(at("hollow"), past, past))
}

func TestRoundTripOfWhatIsOdd(t *testing.T) {
	b := newWorkbench(t, Config{})
	odd(t, b)
	want := seen(t, b.dir)
	p := b.save(t, nil)
	if p.Kind != wflo.PartWorkspace || p.Count != int64(len(want)) || !p.Quiesced || p.Stored == 0 || p.Bytes < 6*pieceSize || p.Bytes > 8*pieceSize {
		t.Errorf("the part is %+v", p)
	}
	must(t, b.Check(t.Context(), b.in, p), os.RemoveAll(b.dir))
	b.restore(t, p)
	if diff := cmp.Diff(want, seen(t, b.dir)); diff != "" {
		t.Errorf("restored otherwise (-saved +restored):\n%s", diff)
	}
	a, err := os.Stat(filepath.Join(b.dir, "big"))
	must(t, err)
	z, err := os.Stat(filepath.Join(b.dir, "zz-again"))
	if must(t, err); !os.SameFile(a, z) {
		t.Error("a hard link became a file of its own")
	}
	// All stamps are others now; the content is not, and neither is what it says.
	again := b.save(t, &p)
	if again.SHA256 != p.SHA256 || len(b.host.asked) == 0 {
		t.Errorf("saved again: hash %s, was %s; read %q", again.SHA256, p.SHA256, b.host.asked)
	}
	d, err := b.Diff(t.Context(), b.in, p, nil)
	if must(t, err); len(d.Changes) > 0 || d.Problem != "" {
		t.Errorf("differs: %+v", d)
	}
}

func TestSecondSaveReadsAndStoresWhatChanged(t *testing.T) {
	b := newWorkbench(t, Config{})
	files := map[string]string{}
	for i := range 500 {
		files[fmt.Sprintf("d%d/f%d", i%7, i)] = string(noise(uint64(i), 4000))
	}
	b.write(t, files)
	first := b.save(t, nil)
	if len(b.host.asked) != 500 || first.Stored < 500*4000 {
		t.Errorf("the first save read %d files and stored %d bytes", len(b.host.asked), first.Stored)
	}
	puts := b.blobs.puts
	if p := b.save(t, &first); len(b.host.asked) != 0 || p.Stored != 0 || p.SHA256 != first.SHA256 || b.blobs.puts-puts != len(p.Blobs) {
		t.Errorf("without a change it read %q and stored %d", b.host.asked, p.Stored)
	}
	b.write(t, map[string]string{"d1/f1": "changed", "new": string(noise(1, 4000))}) // new has what d1/f1 had
	must(t, os.Rename(filepath.Join(b.dir, "d2/f2"), filepath.Join(b.dir, "moved")))
	want := seen(t, b.dir)
	second := b.save(t, &first)
	slices.Sort(b.host.asked)
	if diff := cmp.Diff([]string{"d1/f1", "moved", "new"}, b.host.asked); diff != "" {
		t.Errorf("read otherwise (-want +got):\n%s", diff)
	}
	if second.Stored > 100_000 {
		t.Errorf("stored %d bytes", second.Stored)
	}
	must(t, os.RemoveAll(b.dir))
	b.restore(t, second)
	if diff := cmp.Diff(want, seen(t, b.dir)); diff != "" {
		t.Errorf("restored otherwise (-saved +restored):\n%s", diff)
	}
	b.restore(t, first)
	if got, err := os.ReadFile(filepath.Join(b.dir, "d1/f1")); err != nil || !bytes.Equal(got, noise(1, 4000)) {
		t.Errorf("the first snapshot has another d1/f1: %v", err)
	}
}

func TestManyFilesAreFewBlobs(t *testing.T) {
	b := newWorkbench(t, Config{})
	files := map[string]string{}
	for i := range 1500 {
		files[fmt.Sprintf("d%d/f%d", i%50, i)] = string(noise(uint64(i), 16_000))
	}
	b.write(t, files)
	p := b.save(t, nil)
	refs, err := b.Refs(t.Context(), p)
	must(t, err)
	if len(refs) > 6 {
		t.Errorf("24 MB in 1,500 files are %d blobs", len(refs))
	}
	got := slices.Sorted(slices.Values(refs))
	for key := range b.blobs.blobs {
		if _, ok := slices.BinarySearch(got, key); !ok {
			t.Errorf("blob %s is not among the refs", key)
		}
	}
}

// corrupt are ways in which a blob goes bad.
var corrupt = map[string]func([]byte) []byte{
	"missing":   nil,
	"empty":     func([]byte) []byte { return nil },
	"cut off":   func(b []byte) []byte { return b[:len(b)-1] },
	"longer":    func(b []byte) []byte { return append(bytes.Clone(b), 0) },
	"one bit":   func(b []byte) []byte { b = bytes.Clone(b); b[len(b)/2] ^= 4; return b },
	"first bit": func(b []byte) []byte { b = bytes.Clone(b); b[0] ^= 1; return b },
	"last bit":  func(b []byte) []byte { b = bytes.Clone(b); b[len(b)-1] ^= 0x80; return b },
}

func TestDamageIsNoticedAndChangesNothing(t *testing.T) {
	b := newWorkbench(t, Config{})
	b.write(t, map[string]string{"a": string(noise(1, 9<<20)), "b/c": string(noise(2, 5<<20)), "text": strings.Repeat("hello, ", 300_000)})
	p := b.save(t, nil)
	b.write(t, map[string]string{"after": "the snapshot"})
	now := seen(t, b.dir)
	refs, err := b.Refs(t.Context(), p)
	must(t, err)
	if len(refs) < 3 {
		t.Fatalf("%d blobs prove little", len(refs))
	}
	for i, key := range refs {
		whole := b.blobs.blobs[key]
		for how, change := range corrupt {
			if delete(b.blobs.blobs, key); change != nil {
				b.blobs.blobs[key] = change(whole)
			}
			for name, err := range map[string]error{"check": b.Check(t.Context(), b.in, p), "restore": b.Restore(t.Context(), b.in, p)} {
				if wflo.CodeOf(err) != wflo.CodeConflict || wflo.HintOf(err) == "" {
					t.Errorf("blob %d %s: %s gave %v", i, how, name, err)
				} else if i >= len(p.Blobs) && !strings.Contains(err.Error(), `"a"`) && !strings.Contains(err.Error(), `"b/c"`) && !strings.Contains(err.Error(), `"text"`) {
					t.Errorf("blob %d %s: %s names no file: %v", i, how, name, err)
				} else if change == nil && !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("blob %d %s: %s gave %v", i, how, name, err)
				}
			}
			b.blobs.blobs[key] = whole
		}
	}
	if diff := cmp.Diff(now, seen(t, b.dir)); diff != "" {
		t.Errorf("a refused restore changed the workspace:\n%s", diff)
	}
	must(t, b.Check(t.Context(), b.in, p))
}

func TestPartThatIsAnother(t *testing.T) {
	b := newWorkbench(t, Config{})
	b.write(t, map[string]string{"a": "1"})
	p := b.save(t, nil)
	b.write(t, map[string]string{"a": "2"})
	q := b.save(t, nil)
	q.SHA256 = p.SHA256
	if err := b.Check(t.Context(), b.in, q); wflo.CodeOf(err) != wflo.CodeConflict {
		t.Errorf("a manifest of another snapshot gave %v", err)
	}
	p.Kind = wflo.PartTables
	if _, err := b.Refs(t.Context(), p); wflo.CodeOf(err) != wflo.CodeInvalid {
		t.Errorf("tables gave %v", err)
	}
}

func TestStoreThatIsAwayIsWorthARetry(t *testing.T) {
	b := newWorkbench(t, Config{})
	b.write(t, map[string]string{"a": string(noise(1, 1000))})
	p := b.save(t, nil)
	away := errors.New("connection refused")
	b.blobs.get = func(string) error { return away }
	for name, err := range map[string]error{"check": b.Check(t.Context(), b.in, p), "restore": b.Restore(t.Context(), b.in, p)} {
		if !errors.Is(err, away) || wflo.CodeOf(err) != "" {
			t.Errorf("%s gave %v", name, err)
		}
	}
	// Without its manifest a snapshot before is of no use, and no reason to fail.
	if q := b.save(t, &p); q.SHA256 != p.SHA256 || len(b.host.asked) != 1 {
		t.Errorf("saved %+v, read %q", q, b.host.asked)
	}
}

func TestStoreThatFailsInTheMiddle(t *testing.T) {
	b := newWorkbench(t, Config{})
	b.write(t, map[string]string{"a": string(noise(1, 20<<20)), "b": string(noise(2, 20<<20))})
	p := b.save(t, nil)
	total := b.blobs.puts
	full := errors.New("no space")
	for fail := 1; fail <= total; fail++ {
		b.blobs.blobs, b.blobs.puts = map[string][]byte{}, 0
		b.blobs.put = func(n int) error {
			if n == fail {
				return full
			}
			return nil
		}
		got, ok, err := b.Save(t.Context(), b.in, nil)
		if !errors.Is(err, full) || ok || len(got.Blobs) > 0 {
			t.Errorf("put %d of %d failed: %+v, %v, %v", fail, total, got, ok, err)
		}
		b.blobs.put = nil
		if again := b.save(t, nil); again.SHA256 != p.SHA256 {
			t.Errorf("after put %d failed another save has the hash %s", fail, again.SHA256)
		}
	}
}

func TestCancel(t *testing.T) {
	b := newWorkbench(t, Config{})
	b.write(t, map[string]string{"a": string(noise(1, 40<<20)), "b": string(noise(2, 40<<20))})
	p := b.save(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	b.blobs.put = func(int) error { cancel(); return nil }
	if _, ok, err := b.Save(ctx, b.in, nil); !errors.Is(err, context.Canceled) || ok {
		t.Errorf("a cancelled save gave %v, %v", ok, err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	b.blobs.get = func(key string) error {
		if !slices.Contains(p.Blobs, key) {
			cancel()
		}
		return ctx.Err()
	}
	if err := b.Restore(ctx, b.in, p); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled restore gave %v", err)
	}
}

func TestLimits(t *testing.T) {
	for name, c := range map[string]struct {
		limits sandbox.TreeLimits
		says   string
	}{
		"entries": {sandbox.TreeLimits{Entries: 3}, "entries"},
		"bytes":   {sandbox.TreeLimits{Bytes: 2999}, "3000 bytes of content"},
		"depth":   {sandbox.TreeLimits{Depth: 2}, "3 levels"},
	} {
		b := newWorkbench(t, Config{Limits: c.limits})
		free := newWorkbench(t, Config{})
		for _, w := range []*workbench{b, free} {
			w.write(t, map[string]string{"a": strings.Repeat("a", 1000), "b": strings.Repeat("b", 1000), "c/d/e": strings.Repeat("c", 1000)})
		}
		_, _, err := b.Save(t.Context(), b.in, nil)
		if wflo.CodeOf(err) != wflo.CodeInvalid || !strings.Contains(err.Error(), c.says) || wflo.HintOf(err) == "" {
			t.Errorf("%s: save gave %v", name, err)
		}
		p := free.save(t, nil)
		b.blobs.blobs = free.blobs.blobs
		if err := b.Restore(t.Context(), b.in, p); wflo.CodeOf(err) != wflo.CodeInvalid || !strings.Contains(err.Error(), "more than") {
			t.Errorf("%s: restore gave %v", name, err)
		}
	}
}

func TestConfig(t *testing.T) {
	for name, c := range map[string]Config{
		"no store": {}, "limits": {Blobs: newMemory(), Limits: sandbox.TreeLimits{Entries: -1}},
		"pattern": {Blobs: newMemory(), Exclude: []string{"a", "[a"}}, "rooted": {Blobs: newMemory(), Exclude: []string{"/a"}},
	} {
		if _, err := New(c); wflo.CodeOf(err) != wflo.CodeInvalid || wflo.HintOf(err) == "" {
			t.Errorf("%s gave %v", name, err)
		}
	}
}

// given is a sandbox.Archiver that shows one tree.
type given struct {
	entries []sandbox.TreeEntry
	file    func(i int) (sandbox.TreeEntry, io.Reader)
}

func (g given) Save(_ context.Context, _ string, _ sandbox.TreeLimits, s sandbox.TreeSaver) (quiesced, ok bool, err error) {
	want, err := s.Tree(g.entries)
	for _, i := range want {
		if err == nil && g.file != nil {
			e, r := g.file(i)
			err = s.File(i, e, r)
		}
	}
	return true, err == nil, err
}

func (given) Replace(context.Context, string, string, sandbox.TreeSource) error {
	return errors.New("not here")
}

func TestWhatIsNoTreeIsRefused(t *testing.T) {
	file := func(name string) sandbox.TreeEntry {
		return sandbox.TreeEntry{Name: []byte(name), Kind: sandbox.TreeFile, Size: 5}
	}
	five := func(int) (sandbox.TreeEntry, io.Reader) { return file("x"), strings.NewReader("12345") }
	for name, g := range map[string]given{
		"a device":  {entries: []sandbox.TreeEntry{{Name: []byte("null"), Kind: "device"}}},
		"no kind":   {entries: []sandbox.TreeEntry{{Name: []byte("null")}}},
		"a way out": {entries: []sandbox.TreeEntry{file("../x")}, file: five},
		"twice":     {entries: []sandbox.TreeEntry{file("x"), file("x")}, file: five},
		"not a dir": {entries: []sandbox.TreeEntry{file("x"), file("x/y")}, file: five},
		"not given": {entries: []sandbox.TreeEntry{file("x")}},
		"too short": {entries: []sandbox.TreeEntry{file("x")}, file: func(int) (sandbox.TreeEntry, io.Reader) { return file("x"), strings.NewReader("1234") }},
		"too long":  {entries: []sandbox.TreeEntry{file("x")}, file: func(int) (sandbox.TreeEntry, io.Reader) { return file("x"), strings.NewReader("123456") }},
		"another one": {entries: []sandbox.TreeEntry{file("x")}, file: func(int) (sandbox.TreeEntry, io.Reader) {
			e := file("x")
			e.Kind = sandbox.TreeDir
			return e, strings.NewReader("")
		}},
	} {
		b := newWorkbench(t, Config{Runner: g})
		if p, ok, err := b.Save(t.Context(), b.in, nil); err == nil || ok || len(p.Blobs) > 0 {
			t.Errorf("%s: gave %+v, %v, %v", name, p, ok, err)
		}
	}
}

func TestNoWorkspace(t *testing.T) {
	b := newWorkbench(t, Config{})
	b.write(t, map[string]string{"a": "1"})
	p := b.save(t, nil)
	must(t, os.RemoveAll(b.dir))
	if _, ok, err := b.Save(t.Context(), b.in, nil); ok || err != nil {
		t.Errorf("without a workspace: %v, %v", ok, err)
	}
	if d, err := b.Diff(t.Context(), b.in, p, nil); err != nil || d.Problem == "" {
		t.Errorf("without a workspace: %+v, %v", d, err)
	}
	none, err := New(Config{Blobs: b.blobs})
	must(t, err)
	if _, ok, err := none.Save(t.Context(), b.in, nil); ok || err != nil {
		t.Errorf("without a runner: %v, %v", ok, err)
	}
	if err := none.Restore(t.Context(), b.in, p); wflo.CodeOf(err) != wflo.CodeInvalid {
		t.Errorf("without a runner: %v", err)
	}
	if d, err := none.Diff(t.Context(), b.in, p, nil); err != nil || d.Problem == "" {
		t.Errorf("without a runner: %+v, %v", d, err)
	}
}

func TestTwoSavesAtTheSameTime(t *testing.T) {
	store, err := file.Open(file.Config{Dir: t.TempDir()})
	must(t, err)
	t.Cleanup(func() { must(t, store.Close()) })
	root := t.TempDir()
	b := newWorkbench(t, Config{Blobs: store})
	odd(t, b)
	want := seen(t, b.dir)
	first := b.save(t, nil)
	b.write(t, map[string]string{"more": "than before"})
	want["more"] = seen(t, b.dir)["more"]
	parts := make([]wflo.SnapshotPart, 4)
	var wg sync.WaitGroup
	for i := range parts {
		wg.Go(func() {
			// Each with a runner of its own, which remembers what it was asked.
			w, err := New(Config{Runner: &host{root: b.host.root}, Blobs: store})
			if err == nil {
				parts[i], _, err = w.Save(t.Context(), b.in, []*wflo.SnapshotPart{nil, &first}[i%2])
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for i, p := range parts {
		if p.SHA256 != parts[0].SHA256 {
			t.Errorf("save %d has the hash %s, not %s", i, p.SHA256, parts[0].SHA256)
		}
		in := activities.PartRequest{Run: wflo.Run{WorkflowID: "other", FirstRunID: fmt.Sprint(i)}}
		there := &host{root: root}
		w, err := New(Config{Runner: there, Blobs: store})
		must(t, err, w.Restore(t.Context(), in, p))
		if diff := cmp.Diff(want, seen(t, there.dir(in.Run.ID()))); diff != "" {
			t.Errorf("save %d (-saved +restored):\n%s", i, diff)
		}
	}
}

func TestListAndReadFiles(t *testing.T) {
	b := newWorkbench(t, Config{})
	odd(t, b)
	p := b.save(t, nil)
	w, err := New(Config{Blobs: b.blobs})
	must(t, err)
	entries, err := w.ListFiles(t.Context(), p)
	must(t, err)
	if len(entries) != len(seen(t, b.dir)) {
		t.Errorf("%d entries are listed", len(entries))
	}
	for _, e := range entries {
		var got bytes.Buffer
		_, err := w.ReadFile(t.Context(), p, string(e.Name), &got)
		if e.Kind != sandbox.TreeFile && e.Kind != sandbox.TreeLink {
			if wflo.CodeOf(err) != wflo.CodeInvalid {
				t.Errorf("%q gave %v", e.Name, err)
			}
			continue
		}
		want, readErr := os.ReadFile(filepath.Join(b.dir, string(e.Name)))
		must(t, err, readErr)
		if sha256.Sum256(want) != sha256.Sum256(got.Bytes()) {
			t.Errorf("%q has other content", e.Name)
		}
	}
	if _, err := w.ReadFile(t.Context(), p, "nothing", io.Discard); wflo.CodeOf(err) != wflo.CodeInvalid {
		t.Errorf("a name that is not there gave %v", err)
	}
}
