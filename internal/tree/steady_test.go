package tree

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
)

func TestFileThatChangesWhileItIsRead(t *testing.T) {
	b := newWorkbench(t, Config{})
	b.write(t, map[string]string{"a": "before", "big": string(noise(1, 3*pieceSize)), "z": "last"})
	plain := b.save(t, nil)
	b.host.reading = func(name string, tries int) error {
		if name == "big" && tries < 2 || name == "a" && tries < 1 {
			return sandbox.ErrChanged
		}
		return nil
	}
	p := b.save(t, nil)
	if p.SHA256 != plain.SHA256 {
		t.Errorf("the hash is %s, not %s", p.SHA256, plain.SHA256)
	}
	must(t, b.Check(t.Context(), b.in, p))
	b.host.reading = func(string, int) error { return sandbox.ErrChanged }
	if _, ok, err := b.Save(t.Context(), b.in, nil); !errors.Is(err, sandbox.ErrChanged) || ok {
		t.Errorf("a file that never rests gave %v, %v", ok, err)
	}
}

func TestFileThatGoesWhileTheTreeIsRead(t *testing.T) {
	b := newWorkbench(t, Config{})
	b.write(t, map[string]string{"a": "1", "dir/gone": "2", "z": "3"})
	b.host.reading = func(name string, _ int) error {
		if name == "dir/gone" {
			return os.RemoveAll(filepath.Join(b.dir, name))
		}
		return nil
	}
	p := b.save(t, nil)
	must(t, os.RemoveAll(b.dir))
	b.restore(t, p)
	if got := seen(t, b.dir); len(got) != 3 || got["z"] == "" || got["dir/gone"] != "" {
		t.Errorf("restored %v", got)
	}
}

func TestFileThatGoesAndHasOtherNames(t *testing.T) {
	b := newWorkbench(t, Config{})
	b.write(t, map[string]string{"a": "1"})
	must(t, os.Link(filepath.Join(b.dir, "a"), filepath.Join(b.dir, "b")))
	tries := 0
	b.host.reading = func(name string, _ int) error {
		if tries++; tries == 1 {
			return os.Remove(filepath.Join(b.dir, name))
		}
		return nil
	}
	p := b.save(t, nil)
	must(t, os.RemoveAll(b.dir))
	b.restore(t, p)
	if got, err := os.ReadFile(filepath.Join(b.dir, "b")); string(got) != "1" || err != nil {
		t.Errorf("its other name has %q, %v", got, err)
	}
}

func TestTreeThatNeverRestsIsAnError(t *testing.T) {
	b := newWorkbench(t, Config{Runner: given{
		entries: []sandbox.TreeEntry{{Name: []byte("a"), Kind: sandbox.TreeFile}, {Name: []byte("b"), Kind: sandbox.TreeLink, Target: []byte("a")}},
		file:    func(int) (sandbox.TreeEntry, io.Reader) { return sandbox.TreeEntry{}, strings.NewReader("") },
	}})
	if _, ok, err := b.Save(t.Context(), b.in, nil); !errors.Is(err, errUnsteady) || ok {
		t.Errorf("gave %v, %v", ok, err)
	}
}

func TestExclude(t *testing.T) {
	b := newWorkbench(t, Config{Exclude: []string{"node_modules", "*.pyc", "build/*/tmp"}})
	b.write(t, map[string]string{
		"node_modules/a/b": "1", "src/node_modules/c": "2", "src/x.pyc": "3", "src/x.py": "4", "build/a/tmp/x": "5", "build/a/keep": "6",
		"node_modules/shared": "one content, many names", "build/tmp": "7",
	})
	for _, name := range []string{"src/shared", "src/zz"} {
		must(t, os.Link(filepath.Join(b.dir, "node_modules/shared"), filepath.Join(b.dir, name)))
	}
	p := b.save(t, nil)
	d, err := b.Diff(t.Context(), b.in, p, nil)
	if must(t, err); len(d.Changes) > 0 {
		t.Errorf("what is left out differs: %+v", d.Changes)
	}
	if b.save(t, &p); len(b.host.asked) > 0 {
		t.Errorf("the second save read %q", b.host.asked)
	}
	must(t, os.RemoveAll(b.dir))
	b.restore(t, p)
	var names []string
	entries, err := b.ListFiles(t.Context(), p)
	must(t, err)
	for _, e := range entries {
		names = append(names, string(e.Name))
	}
	want := []string{"build", "build/a", "build/a/keep", "build/tmp", "src", "src/shared", "src/x.py", "src/zz"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("kept otherwise (-want +got):\n%s", diff)
	}
	one, err := os.Stat(filepath.Join(b.dir, "src/shared"))
	must(t, err)
	two, err := os.Stat(filepath.Join(b.dir, "src/zz"))
	if must(t, err); !os.SameFile(one, two) || one.Size() == 0 {
		t.Error("two names of a file whose first name was left out are not one file")
	}
}

func TestDiff(t *testing.T) {
	b := newWorkbench(t, Config{})
	b.write(t, map[string]string{"same": "1", "touched": "2", "edited": "aaaa", "grown": "1", "mode": "m", "gone": "22", "kind": "k", "big": string(noise(1, 2*pieceSize+5))})
	at := func(name string) string { return filepath.Join(b.dir, name) }
	must(t, os.Symlink("same", at("link")))
	before := b.save(t, nil)
	b.write(t, map[string]string{"touched": "2", "edited": "bbbb", "grown": "123", "new\n\xff": "55555"})
	f, err := os.OpenFile(at("big"), os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteAt([]byte{0xff, 0xee}, 2*pieceSize)
	must(t, err, f.Close(), os.Chmod(at("mode"), 0o755), os.Remove(at("gone")), os.Remove(at("kind")), os.Mkdir(at("kind"), 0o755), os.Remove(at("link")), os.Symlink("grown", at("link")))
	want := []wflo.PartChange{
		{Name: `"new\n\xff"`, Op: "added", After: 5, Detail: "file, mode 0644"},
		{Name: "big", Op: "changed", Before: 2*pieceSize + 5, After: 2*pieceSize + 5, Detail: "content"},
		{Name: "edited", Op: "changed", Before: 4, After: 4, Detail: "content"},
		{Name: "gone", Op: "removed", Before: 2, Detail: "file, mode 0644"},
		{Name: "grown", Op: "changed", Before: 1, After: 3, Detail: "content"},
		{Name: "kind", Op: "changed", Before: 1, Detail: "was file, mode 0644; is directory, mode 0755"},
		{Name: "link", Op: "changed", Detail: "was link to same, is link to grown"},
		{Name: "mode", Op: "changed", Before: 1, After: 1, Detail: "mode 0644 to 0755"},
	}
	now, err := b.Diff(t.Context(), b.in, before, nil)
	must(t, err)
	if diff := cmp.Diff(wflo.PartDiff{Kind: wflo.PartWorkspace, Changes: want}, now); diff != "" {
		t.Errorf("with what is there now (-want +got):\n%s", diff)
	}
	// Contents are read only where the size is the same and the stamp is not.
	if diff := cmp.Diff([]string{"big", "edited", "mode", "touched"}, b.host.asked); diff != "" {
		t.Errorf("read otherwise (-want +got):\n%s", diff)
	}
	after := b.save(t, &before)
	none, err := New(Config{Blobs: b.blobs})
	must(t, err)
	saved, err := none.Diff(t.Context(), b.in, before, &after)
	if must(t, err); cmp.Diff(now, saved) != "" {
		t.Errorf("between two snapshots (-now +saved):\n%s", cmp.Diff(now, saved))
	}
}

func TestDiffCountsWhatItLeavesOut(t *testing.T) {
	b := newWorkbench(t, Config{})
	before := b.save(t, nil)
	files := map[string]string{}
	for i := range maxChanges + 7 {
		files[fmt.Sprint(i)] = ""
	}
	b.write(t, files)
	d, err := b.Diff(t.Context(), b.in, before, nil)
	if must(t, err); len(d.Changes) != maxChanges || d.More != 7 {
		t.Errorf("%d changes and %d more", len(d.Changes), d.More)
	}
}

// fill is how much of what the packs of a part hold the part needs, in percent.
func (b *workbench) fill(t *testing.T, p wflo.SnapshotPart) (percent int64, packs int) {
	t.Helper()
	m, err := b.load(t.Context(), p)
	must(t, err)
	live, total := int64(0), int64(0)
	counted := map[piece]bool{}
	for i := range m.nodes {
		for _, p := range m.nodes[i].pieces {
			if !counted[p] {
				counted[p] = true
				live += int64(p.n)
			}
		}
	}
	for _, p := range m.packs() {
		total += p.raw
	}
	return live * 100 / total, len(m.packs())
}

func TestWhatFallsApartIsStoredAgain(t *testing.T) {
	b := newWorkbench(t, Config{})
	files := map[string]string{}
	for i := range 1000 {
		files[fmt.Sprintf("f%03d", i)] = string(noise(uint64(i), 10_000))
	}
	b.write(t, files)
	p := b.save(t, nil)
	seed := uint64(1000)
	for range 30 {
		changed := map[string]string{}
		for range 25 {
			seed++
			changed[fmt.Sprintf("f%03d", seed*7%1000)] = string(noise(seed, 10_000))
		}
		b.write(t, changed)
		p = b.save(t, &p)
		// A pack may fall below half in the save that makes it so, not after.
		if percent, packs := b.fill(t, p); percent < 40 || packs > manyPacks+10 {
			t.Fatalf("%d %% of %d packs are in use", percent, packs)
		}
	}
	want := seen(t, b.dir)
	must(t, os.RemoveAll(b.dir))
	b.restore(t, p)
	if diff := cmp.Diff(want, seen(t, b.dir)); diff != "" {
		t.Errorf("restored otherwise (-saved +restored):\n%s", diff)
	}
}
