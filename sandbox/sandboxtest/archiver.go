package sandboxtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// ArchiverOptions say what kind of Archiver is under test.
type ArchiverOptions struct {
	// Programs says that it really runs programs; a fake does not.
	Programs bool
	// Virtual is as in Options: holes and the time of a change may not be told.
	Virtual bool
	// Many is how many small files are saved and replaced at once; zero means
	// 20,000.
	Many int
}

// ArchivingRunner is what [TestArchiver] tests.
type ArchivingRunner interface {
	sandbox.Runner
	sandbox.Archiver
}

// TestArchiver holds a Runner that is also an Archiver to its contract. open gives
// one that has no boxes; what it opens it closes in t.Cleanup.
func TestArchiver(t *testing.T, open func(t *testing.T) ArchivingRunner, o ArchiverOptions) {
	if o.Many == 0 {
		o.Many = 20_000
	}
	r := open(t)
	y := &archive{a: r, r: r, o: o}
	tests := map[string]func(*testing.T, *archive){
		"RoundTrip": testRoundTrip, "Keys": testKeys, "NoWorkspace": testNoWorkspace, "Forged": testForgedTrees, "Caps": testCaps,
		"Wanted": testWanted, "Many": testMany, "BadSource": testBadSource, "Waiting": testWaiting,
	}
	if o.Programs {
		for name, test := range archivePrograms {
			tests[name] = test
		}
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			test(t, y)
			empty(t, y.r)
		})
	}
}

// archive is an Archiver under test.
type archive struct {
	a sandbox.Archiver
	r sandbox.Runner
	o ArchiverOptions
}

// box opens a box that is closed at the end of the test, before the next begins.
func (y *archive) box(t *testing.T, name string, test func(name string)) {
	t.Helper()
	defer func() {
		if err := y.r.Close(context.WithoutCancel(t.Context()), name); err != nil {
			t.Errorf("Close(%s): %v", name, err)
		}
	}()
	test(name)
}

func (y *archive) save(t *testing.T, box string) *Saved {
	t.Helper()
	s := &Saved{}
	quiesced, ok, err := y.a.Save(t.Context(), box, sandbox.TreeLimits{}, s)
	if err != nil || !ok || !quiesced {
		t.Fatalf("Save = %v, %v, %v, want a quiet workspace", quiesced, ok, err)
	}
	return s
}

func (y *archive) replace(t *testing.T, box, key string, src sandbox.TreeSource) {
	t.Helper()
	if err := y.a.Replace(t.Context(), box, key, src); err != nil {
		t.Fatalf("Replace: %v", err)
	}
}

// when is a time that no file system gives by itself.
var when = time.Date(2001, 2, 3, 4, 5, 6, 789_000_000, time.UTC)

// dir, file, link and symlink make entries.
func dir(name string, mode uint32) sandbox.TreeEntry {
	return sandbox.TreeEntry{Name: []byte(name), Kind: sandbox.TreeDir, Mode: mode, MTime: when}
}

func link(name, to string) sandbox.TreeEntry {
	return sandbox.TreeEntry{Name: []byte(name), Kind: sandbox.TreeLink, Mode: 0o644, MTime: when, Target: []byte(to)}
}

func symlink(name, to string) sandbox.TreeEntry {
	return sandbox.TreeEntry{Name: []byte(name), Kind: sandbox.TreeSymlink, Mode: 0o777, MTime: when, Target: []byte(to)}
}

// add adds a file of a source.
func (s *Source) add(name string, mode uint32, content string) {
	s.Entries = append(s.Entries, sandbox.TreeEntry{Name: []byte(name), Kind: sandbox.TreeFile, Mode: mode, Size: int64(len(content)), MTime: when})
	if s.Content == nil {
		s.Content = map[string][]byte{}
	}
	s.Content[name] = []byte(content)
}

func (s *Source) sorted() *Source {
	slices.SortFunc(s.Entries, func(a, b sandbox.TreeEntry) int { return strings.Compare(string(a.Name), string(b.Name)) })
	return s
}

// oddTree has everything that a workspace can have.
func oddTree() *Source {
	s := &Source{Entries: []sandbox.TreeEntry{
		dir("empty", 0o755), dir("open", 0o1777), dir("shut", 0), dir("readonly", 0o500), dir("blind", 0o300),
		symlink("absolute", "/etc/passwd"), symlink("dangling", "no/such"), symlink("up", ".."), symlink("loop", "loop"), symlink("raw", "\xff\n"),
		link("other name", "a file"), link("shut/third name", "a file"),
	}}
	deep := "deep"
	for range 100 {
		s.Entries = append(s.Entries, dir(deep, 0o750))
		deep += "/d"
	}
	s.add(deep, 0o600, "bottom")
	s.add("a file", 0o644, "content")
	s.add("nothing", 0o644, "")
	for name, mode := range map[string]uint32{"mode 000": 0, "mode 4755": 0o4755, "mode 2755": 0o2755, "mode 7777": 0o7777, "mode 400": 0o400, "mode 200": 0o200} {
		s.add(name, mode, name)
	}
	for _, name := range []string{"new\nline", "\xff\xfe", strings.Repeat("n", 255), "-rf", "*", " ", "\x01", "..x", "...", "'\"", "shut/in", "readonly/in", "blind/in", "open/in"} {
		s.add(name, 0o644, "called "+name)
	}
	s.add("large", 0o644, strings.Repeat("0123456789abcdef", 200_000))
	s.add("sparse", 0o644, "")
	sparse := &s.Entries[len(s.Entries)-1]
	sparse.Size, sparse.Extents = 64<<20, []sandbox.Extent{{Offset: 1 << 20, Length: 1 << 16}, {Offset: 32 << 20, Length: 1 << 16}}
	s.Content["sparse"] = []byte(strings.Repeat("x", 2<<16))
	s.add("hole", 0o644, "")
	hole := &s.Entries[len(s.Entries)-1]
	hole.Size, hole.Extents = 1<<20, []sandbox.Extent{}
	return s.sorted()
}

func testRoundTrip(t *testing.T, y *archive) {
	y.box(t, "round", func(box string) {
		src := oddTree()
		y.replace(t, box, "k", src)
		got := y.save(t, box)
		want := &Saved{Entries: src.Entries, Content: src.Content}
		if y.o.Virtual {
			fillHoles(want)
			fillHoles(got)
		}
		if err := sameTree(want, got); err != nil {
			t.Error(err)
		}
		for _, name := range []string{"sparse", "hole"} {
			if w, g := want.entry(name), got.entry(name); !slices.Equal(w.Extents, g.Extents) || (w.Extents == nil) != (g.Extents == nil) {
				t.Errorf("%s has data at %v, want %v", name, g.Extents, w.Extents)
			}
		}
		// And again out of what was saved, over what is there.
		y.replace(t, box, "k2", got.Source())
		second := y.save(t, box)
		if err := sameTree(got, second); err != nil {
			t.Errorf("the second time: %v", err)
		}
		third := &Saved{Want: func(sandbox.TreeEntry) bool { return false }}
		if _, _, err := y.a.Save(t.Context(), box, sandbox.TreeLimits{}, third); err != nil {
			t.Fatal(err)
		}
		for i, e := range third.Entries {
			if e.Kind == sandbox.TreeFile && e.Stamp != second.Entries[i].Stamp {
				t.Errorf("the stamp of %q changed from %s to %s without a change", e.Name, second.Entries[i].Stamp, e.Stamp)
			}
		}
	})
}

// fillHoles writes the zeros of holes out, for kernels that do not tell of them.
func fillHoles(s *Saved) {
	for i := range s.Entries {
		e := &s.Entries[i]
		n := fakeNode{entry: *e, data: s.Content[string(e.Name)]}
		if e.Extents != nil {
			s.Content[string(e.Name)], e.Extents = n.whole(), nil
		}
	}
}

func testKeys(t *testing.T, y *archive) {
	y.box(t, "keys", func(box string) {
		one, two := &Source{}, &Source{}
		one.add("one", 0o644, "1")
		two.add("two", 0o644, "2")
		has := func(name string) {
			t.Helper()
			if got := y.save(t, box).names(); !slices.Equal(got, []string{name}) {
				t.Errorf("the workspace has %q, want %s", got, name)
			}
		}
		if err := y.r.WriteFiles(t.Context(), box, []wflo.File{{Name: "before", Data: []byte("x")}}); err != nil {
			t.Fatal(err)
		}
		y.replace(t, box, "first", one)
		has("one")
		y.replace(t, box, "first", two) // the same key: nothing
		has("one")
		y.replace(t, box, "second", two)
		has("two")
		y.replace(t, box, "first", one) // it brought what is gone by now
		has("one")
		if data, err := y.r.ReadFile(t.Context(), box, "one", 10); err != nil || string(data) != "1" {
			t.Errorf("ReadFile = %q, %v", data, err)
		}
		if _, err := y.r.ReadFile(t.Context(), box, "before", 10); wflo.CodeOf(err) != wflo.CodeInvalid {
			t.Errorf("what was there before is there still: %v", err)
		}
		if boxes, err := y.r.Boxes(t.Context()); err != nil || !slices.Equal(boxes, []string{box}) {
			t.Errorf("Boxes = %q, %v, want %s once", boxes, err, box)
		}
	})
	// A box that was closed begins anew.
	y.box(t, "keys", func(box string) {
		if _, ok, err := y.a.Save(t.Context(), box, sandbox.TreeLimits{}, &Saved{}); ok || err != nil {
			t.Errorf("the closed box has a workspace: %v", err)
		}
		src := &Source{}
		src.add("three", 0o644, "3")
		y.replace(t, box, "first", src)
		if got := y.save(t, box).names(); !slices.Equal(got, []string{"three"}) {
			t.Errorf("the workspace of the next box has %q", got)
		}
	})
}

func testNoWorkspace(t *testing.T, y *archive) {
	s := &Saved{}
	if _, ok, err := y.a.Save(t.Context(), "nowhere", sandbox.TreeLimits{}, s); ok || err != nil || s.Entries != nil {
		t.Errorf("Save of a box without a workspace = %v, %v", ok, err)
	}
	for _, box := range []string{"", "a\nb"} {
		if _, _, err := y.a.Save(t.Context(), box, sandbox.TreeLimits{}, s); wflo.CodeOf(err) != wflo.CodeInvalid {
			t.Errorf("Save of box %q: %v", box, err)
		}
		if err := y.a.Replace(t.Context(), box, "k", &Source{}); wflo.CodeOf(err) != wflo.CodeInvalid {
			t.Errorf("Replace of box %q: %v", box, err)
		}
	}
	if err := y.a.Replace(t.Context(), "nowhere", "", &Source{}); wflo.CodeOf(err) != wflo.CodeInvalid {
		t.Errorf("Replace without a key: %v", err)
	}
	if _, _, err := y.a.Save(t.Context(), "nowhere", sandbox.TreeLimits{Entries: -1}, s); wflo.CodeOf(err) != wflo.CodeInvalid {
		t.Errorf("Save with a negative limit: %v", err)
	}
	y.box(t, "void", func(box string) {
		y.replace(t, box, "k", &Source{})
		if got := y.save(t, box); len(got.Entries) != 0 {
			t.Errorf("an empty workspace has %q", got.names())
		}
	})
}

// Forged are trees that could not be, each with what is wrong with it.
func Forged() map[string][]sandbox.TreeEntry {
	f := func(name string) sandbox.TreeEntry {
		return sandbox.TreeEntry{Name: []byte(name), Kind: sandbox.TreeFile, Mode: 0o644}
	}
	odd := func(change func(*sandbox.TreeEntry)) []sandbox.TreeEntry {
		e := f("f")
		change(&e)
		return []sandbox.TreeEntry{e}
	}
	return map[string][]sandbox.TreeEntry{
		"a parent's name":             {f("../x")},
		"a parent's name inside":      {dir("d", 0o755), f("d/../x")},
		"an absolute name":            {f("/etc/passwd")},
		"no name":                     {f("")},
		"the workspace itself":        {dir(".", 0o755)},
		"a NUL byte":                  {f("a\x00b")},
		"too long a part":             {f(strings.Repeat("n", 256))},
		"an empty part":               {dir("d", 0o755), f("d//x")},
		"a trailing slash":            {dir("d/", 0o755)},
		"an entry below a symlink":    {symlink("out", "/tmp"), f("out/x")},
		"an entry below a file":       {f("f"), f("f/x")},
		"an entry below nothing":      {f("nosuch/x")},
		"a directory that comes late": {f("d/x"), dir("d", 0o755)},
		"a name twice":                {f("x"), f("x")},
		"a link over a file":          {f("x"), symlink("x", "y")},
		"a link to nothing":           {link("l", "nosuch")},
		"a link to what comes later":  {link("a", "b"), f("b")},
		"a link to a directory":       {dir("d", 0o755), link("l", "d")},
		"a link to a symlink":         {symlink("s", "/etc/passwd"), link("l", "s")},
		"a link to outside":           {link("l", "../../etc/passwd")},
		"a symlink to nothing":        {symlink("s", "")},
		"a symlink with a NUL byte":   {symlink("s", "a\x00b")},
		"a kind of its own":           odd(func(e *sandbox.TreeEntry) { e.Kind = "device" }),
		"no kind":                     odd(func(e *sandbox.TreeEntry) { e.Kind = "" }),
		"a mode with a type":          odd(func(e *sandbox.TreeEntry) { e.Mode = 0o20666 }),
		"a negative size":             odd(func(e *sandbox.TreeEntry) { e.Size = -1 }),
		"data after the end":          odd(func(e *sandbox.TreeEntry) { e.Size, e.Extents = 1, []sandbox.Extent{{Offset: 1, Length: 1}} }),
		"data that overlaps": odd(func(e *sandbox.TreeEntry) {
			e.Size, e.Extents = 9, []sandbox.Extent{{Length: 2}, {Offset: 1, Length: 2}}
		}),
		"a symlink with a size": {{Name: []byte("s"), Kind: sandbox.TreeSymlink, Target: []byte("x"), Size: 1}},
	}
}

func testForgedTrees(t *testing.T, y *archive) {
	y.box(t, "forged", func(box string) {
		keep := &Source{}
		keep.add("keep", 0o644, "me")
		y.replace(t, box, "keep", keep)
		for name, entries := range Forged() {
			src := &Source{Entries: entries, Before: func(int) error { return errors.New("a content was asked for") }}
			if err := y.a.Replace(t.Context(), box, "forged", src); wflo.CodeOf(err) != wflo.CodeInvalid {
				t.Errorf("%s: %v, want CodeInvalid", name, err)
			}
		}
		if got := y.save(t, box).names(); !slices.Equal(got, []string{"keep"}) {
			t.Errorf("the workspace has %q", got)
		}
	})
}

func testBadSource(t *testing.T, y *archive) {
	broken := errors.New("broken")
	y.box(t, "bad", func(box string) {
		keep := &Source{}
		keep.add("keep", 0o644, "me")
		y.replace(t, box, "keep", keep)
		for name, spoil := range map[string]func(*Source){
			"too short": func(s *Source) { s.Content["f"] = []byte("12") },
			"too long":  func(s *Source) { s.Content["f"] = []byte("1234") },
			"an error":  func(s *Source) { s.Before = func(int) error { return broken } },
		} {
			src := &Source{}
			src.add("f", 0o644, "123")
			spoil(src)
			err := y.a.Replace(t.Context(), box, "bad", src)
			if err == nil || name == "an error" && !errors.Is(err, broken) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if got := y.save(t, box); !slices.Equal(got.names(), []string{"keep"}) {
			t.Errorf("the workspace has %q", got.names())
		}
	})
}

func testCaps(t *testing.T, y *archive) {
	y.box(t, "caps", func(box string) {
		src := &Source{Entries: []sandbox.TreeEntry{dir("a", 0o755), dir("a/b", 0o755), dir("a/b/c", 0o755)}}
		for i := range 10 {
			src.add(fmt.Sprint("f", i), 0o644, strings.Repeat("x", 1<<20))
		}
		y.replace(t, box, "k", src)
		for _, c := range []struct {
			limits sandbox.TreeLimits
			says   string
		}{
			{sandbox.TreeLimits{Entries: 12}, "13 entries"},
			{sandbox.TreeLimits{Bytes: 10<<20 - 1}, "10485760 bytes"},
			{sandbox.TreeLimits{Depth: 2}, "3 levels"},
			{sandbox.TreeLimits{Entries: 13, Bytes: 10 << 20, Depth: 3}, ""},
		} {
			s := &Saved{}
			_, _, err := y.a.Save(t.Context(), box, c.limits, s)
			switch {
			case c.says == "" && err != nil:
				t.Errorf("within the limits: %v", err)
			case c.says != "" && (wflo.CodeOf(err) != wflo.CodeInvalid || !strings.Contains(err.Error(), c.says) || s.Entries != nil):
				t.Errorf("%+v: %v, want CodeInvalid with %q and nothing shown", c.limits, err, c.says)
			}
		}
		broken := errors.New("broken")
		if _, _, err := y.a.Save(t.Context(), box, sandbox.TreeLimits{}, brokenSaver{broken}); !errors.Is(err, broken) {
			t.Errorf("Save with a saver that fails: %v", err)
		}
		y.save(t, box) // and the box is as good as before
	})
	const levels = 300 // more than the default
	y.box(t, "deep", func(box string) {
		y.replace(t, box, "k", deepTree(levels))
		s := &Saved{}
		if _, _, err := y.a.Save(t.Context(), box, sandbox.TreeLimits{Depth: levels}, s); err != nil || len(s.Entries) != levels {
			t.Errorf("of %d levels %d came back (%v)", levels, len(s.Entries), err)
		}
	})
	if err := y.a.Replace(t.Context(), "caps", "deep", deepTree(1001)); wflo.CodeOf(err) != wflo.CodeInvalid || !strings.Contains(err.Error(), "1001 levels") {
		t.Errorf("Replace with more levels than any limit allows: %v", err)
	}
}

// deepTree has directories in each other.
func deepTree(levels int) *Source {
	s := &Source{}
	for i := range levels {
		s.Entries = append(s.Entries, dir("d"+strings.Repeat("/d", i), 0o755))
	}
	return s
}

func testWanted(t *testing.T, y *archive) {
	y.box(t, "wanted", func(box string) {
		src := &Source{}
		for i := range 3000 { // more than one request asks for
			src.add(fmt.Sprintf("f%04d", i), 0o644, fmt.Sprint(i))
		}
		y.replace(t, box, "k", src)
		s := &Saved{Want: func(e sandbox.TreeEntry) bool { return strings.HasSuffix(string(e.Name), "7") }}
		if _, _, err := y.a.Save(t.Context(), box, sandbox.TreeLimits{}, s); err != nil || len(s.Entries) != 3000 || len(s.Content) != 300 || string(s.Content["f2997"]) != "2997" {
			t.Errorf("Save of some: %v; %d entries, %d contents", err, len(s.Entries), len(s.Content))
		}
		s = &Saved{Want: func(sandbox.TreeEntry) bool { return false }}
		if _, _, err := y.a.Save(t.Context(), box, sandbox.TreeLimits{}, s); err != nil || len(s.Content) != 0 {
			t.Errorf("Save of none: %v", err)
		}
	})
}

// testMany has long names: what is told of all files together is then more than may be
// under way at a time, without as many files as that would take otherwise.
func testMany(t *testing.T, y *archive) {
	folder, file := strings.Repeat("d", 200), strings.Repeat("f", 100)
	y.box(t, "many", func(box string) {
		src := &Source{}
		for i := range y.o.Many {
			if i%100 == 0 {
				src.Entries = append(src.Entries, dir(fmt.Sprintf("%s%05d", folder, i/100), 0o755))
			}
			src.add(fmt.Sprintf("%s%05d/%s%02d", folder, i/100, file, i%100), 0o644, fmt.Sprintf("file %d", i))
		}
		y.replace(t, box, "k", src)
		if err := sameTree(&Saved{Entries: src.Entries, Content: src.Content}, y.save(t, box)); err != nil {
			t.Error(err)
		}
	})
}

// testWaiting holds that what begins while a workspace is saved waits for the end.
func testWaiting(t *testing.T, y *archive) {
	y.box(t, "waiting", func(box string) {
		src := &Source{}
		src.add("f", 0o644, "x")
		y.replace(t, box, "k", src)
		ran := make(chan error, 1)
		spec := sandbox.Spec{Argv: []string{"true"}, Box: box}
		early := false
		s := &Saved{Begun: func() {
			go func() {
				_, err := y.r.Run(t.Context(), spec, nil)
				ran <- err
			}()
		}}
		s.Want = func(sandbox.TreeEntry) bool {
			select {
			case <-ran:
				early = true
			default:
			}
			return true
		}
		if quiesced, _, err := y.a.Save(t.Context(), box, sandbox.TreeLimits{}, s); err != nil || !quiesced || early {
			t.Errorf("Save = %v, %v; a program was over before: %v", quiesced, err, early)
		}
		if err := <-ran; err != nil {
			t.Errorf("the program that waited: %v", err)
		}
	})
}

// brokenSaver fails at its first file.
type brokenSaver struct{ err error }

func (s brokenSaver) Tree(entries []sandbox.TreeEntry) ([]int, error) {
	for i, e := range entries {
		if e.Kind == sandbox.TreeFile {
			return []int{i}, nil
		}
	}
	return nil, nil
}

func (s brokenSaver) File(int, sandbox.TreeEntry, io.Reader) error { return s.err }
