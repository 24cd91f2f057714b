package tree

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/objectstore/file"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// model is a workspace in memory: entries, parents first, and what files have.
type model struct {
	entries []sandbox.TreeEntry
	data    map[string][]byte
}

func (m *model) Save(_ context.Context, _ string, _ sandbox.TreeLimits, s sandbox.TreeSaver) (quiesced, ok bool, err error) {
	want, err := s.Tree(slices.Clone(m.entries))
	for _, i := range want {
		if err == nil {
			err = s.File(i, m.entries[i], bytes.NewReader(m.data[string(m.entries[i].Name)]))
		}
	}
	return false, err == nil, err
}

func (m *model) Replace(_ context.Context, _, _ string, src sandbox.TreeSource) error {
	fresh := &model{entries: src.Tree(), data: map[string][]byte{}}
	for i, e := range fresh.entries {
		if e.Kind != sandbox.TreeFile {
			continue
		}
		r, err := src.File(i)
		if err != nil {
			return err
		}
		data, err := io.ReadAll(r)
		if err = errors.Join(err, r.Close()); err != nil {
			return err
		}
		fresh.data[string(e.Name)] = data
	}
	*m = *fresh
	return nil
}

// drawTree makes a tree, or changes one: what is kept of before keeps its stamp.
func drawTree(t *rapid.T, before *model, stamp *int) *model {
	m := &model{entries: []sandbox.TreeEntry{}, data: map[string][]byte{}}
	dirs, files := []string{""}, []string{}
	taken := map[string]bool{}
	if before != nil {
		for _, e := range before.entries {
			if e.Kind == sandbox.TreeFile && rapid.Bool().Draw(t, "keep") && !strings.Contains(string(e.Name), "/") {
				m.entries = append(m.entries, e)
				m.data[string(e.Name)] = before.data[string(e.Name)]
				taken[string(e.Name)] = true
				files = append(files, string(e.Name))
			}
		}
	}
	part := rapid.OneOf(rapid.StringMatching(`[a-c]{1,2}`), rapid.Map(rapid.SliceOfN(rapid.ByteRange(1, 255), 1, 20), func(b []byte) string {
		return string(bytes.ReplaceAll(b, []byte("/"), []byte("_")))
	}))
	for range rapid.IntRange(0, 25).Draw(t, "entries") {
		name := part.Draw(t, "name")
		if name == "." || name == ".." {
			continue
		}
		if dir := rapid.SampledFrom(dirs).Draw(t, "in"); dir != "" {
			name = dir + "/" + name
		}
		if taken[name] {
			continue
		}
		taken[name] = true
		*stamp++
		e := sandbox.TreeEntry{Name: []byte(name), Mode: rapid.Uint32Range(0, 0o7777).Draw(t, "mode"), Stamp: fmt.Sprint(*stamp),
			MTime: time.Unix(rapid.Int64Range(-1<<33, 1<<33).Draw(t, "seconds"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanoseconds")).UTC()}
		switch kind := rapid.SampledFrom(kindCodes).Draw(t, "kind"); {
		case kind == sandbox.TreeDir:
			dirs = append(dirs, name)
			e.Kind = kind
		case kind == sandbox.TreeSymlink:
			e.Kind, e.Target = kind, []byte(part.Draw(t, "target"))
		case kind == sandbox.TreeLink && len(files) > 0:
			e.Kind, e.Target = kind, []byte(rapid.SampledFrom(files).Draw(t, "of"))
		default:
			files = append(files, name)
			e.Kind = sandbox.TreeFile
			m.data[name] = drawContent(t, &e)
		}
		m.entries = append(m.entries, e)
	}
	return m
}

// drawContent fills in size and extents.
func drawContent(t *rapid.T, e *sandbox.TreeEntry) []byte {
	size := rapid.OneOf(rapid.IntRange(0, 3), rapid.IntRange(0, 200), rapid.IntRange(0, 5000), rapid.IntRange(0, 5000), rapid.IntRange(0, 90_000), rapid.SampledFrom([]int{pieceSize - 1, pieceSize, pieceSize + 1, 2*pieceSize + 9})).Draw(t, "size")
	// A few seeds, so that files share content and pieces.
	data := noise(rapid.Uint64Range(0, 5).Draw(t, "seed"), size)
	e.Size = int64(size)
	if rapid.IntRange(0, 4).Draw(t, "sparse") == 0 {
		e.Extents = []sandbox.Extent{}
		at := int64(0)
		for left := int64(size); left > 0; {
			at += rapid.Int64Range(0, 1<<30).Draw(t, "hole")
			n := rapid.Int64Range(1, left).Draw(t, "length")
			e.Extents = append(e.Extents, sandbox.Extent{Offset: at, Length: n})
			at, left = at+n, left-n
		}
		e.Size = at + rapid.Int64Range(0, 1<<30).Draw(t, "end")
	}
	return data
}

// TestAnyTreeComesBack saves, changes, saves again and restores both.
func TestAnyTreeComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		stamp := 0
		live := drawTree(t, nil, &stamp)
		blobs := newMemory()
		w, err := New(Config{Runner: live, Blobs: blobs})
		if err != nil {
			t.Fatal(err)
		}
		in := (&workbench{}).in
		var before *wflo.SnapshotPart
		var parts []wflo.SnapshotPart
		var trees []model
		for range 3 {
			p, ok, err := w.Save(context.Background(), in, before)
			if err != nil || !ok {
				t.Fatalf("save: %v, %v", ok, err)
			}
			parts, trees, before = append(parts, p), append(trees, *live), &p
			*live = *drawTree(t, live, &stamp)
		}
		for i, p := range parts {
			if err := errors.Join(w.Check(context.Background(), in, p), w.Restore(context.Background(), in, p)); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(trees[i].entries, live.entries); diff != "" {
				t.Fatalf("entries of tree %d (-saved +restored):\n%s", i, diff)
			}
			for name, data := range trees[i].data {
				if !bytes.Equal(data, live.data[name]) {
					t.Fatalf("tree %d: %q has other content", i, name)
				}
			}
			if again, _, err := w.Save(context.Background(), in, nil); err != nil || again.SHA256 != p.SHA256 {
				t.Fatalf("tree %d: stored anew it has the hash %s, not %s (%v)", i, again.SHA256, p.SHA256, err)
			}
		}
	})
}

func FuzzSection(f *testing.F) {
	b := newWorkbench(f, Config{})
	b.write(f, map[string]string{"a/b": "1", "a/c": string(noise(1, 3*pieceSize)), "d": "2"})
	p := b.save(f, nil)
	for _, key := range p.Blobs {
		section, err := b.section(f.Context(), key)
		must(f, err)
		f.Add(section)
		f.Add(section[:len(section)/2])
	}
	f.Add([]byte(magic))
	f.Add(binary.AppendUvarint([]byte(magic), 1<<40))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		d := newDecoder(1000)
		if d.section(data) != nil {
			return
		}
		m := &manifest{nodes: d.nodes}
		if (sandbox.TreeLimits{}).Check(m.entries()) != nil {
			return
		}
		// What is read can be written, and is then the same again.
		again := newDecoder(1000)
		if err := m.encode(again.section); err != nil {
			t.Fatal(err)
		}
		back := &manifest{nodes: again.nodes}
		if m.digest() != back.digest() {
			t.Error("written and read again it has another hash")
		}
		for i := range m.nodes {
			for j, p := range m.nodes[i].pieces {
				q := back.nodes[i].pieces[j]
				if *p.in.pack != *q.in.pack || p.at != q.at || p.in.at != q.in.at || p.in.n != q.in.n || p.in.raw != q.in.raw {
					t.Errorf("piece %d of entry %d is elsewhere", j, i)
				}
			}
		}
	})
}

func TestSectionsAreBounded(t *testing.T) {
	b := newWorkbench(t, Config{})
	b.write(t, map[string]string{"a": "1"})
	p := b.save(t, nil)
	bomb := b.codec.enc.EncodeAll(make([]byte, maxSection+1), nil)
	key, err := b.blobs.Put(t.Context(), bomb)
	must(t, err)
	p.Blobs = []string{key}
	if err := b.Check(t.Context(), b.in, p); wflo.CodeOf(err) != wflo.CodeConflict {
		t.Errorf("a section of more than its bound gave %v", err)
	}
	names := append([]byte(magic), 0, 0)
	names = binary.AppendUvarint(names, 900)
	for i := range uint64(900) {
		// Each name is the one before and 10 bytes more.
		names = binary.AppendUvarint(append(names, 0), i*10)
		names = append(append(append(names, 10), "/nnnnnnnnn"...), 0, 0, 0, 0)
	}
	if err := newDecoder(1000).section(names); wflo.CodeOf(err) != wflo.CodeInvalid || !strings.Contains(err.Error(), "bytes of names") {
		t.Errorf("names without end gave %v", err)
	}
	for name, section := range map[string][]byte{
		"packs":   binary.AppendUvarint([]byte(magic), 1<<50),
		"frames":  append([]byte(magic), 0, 0xff, 0xff, 0xff, 0x7f),
		"entries": append([]byte(magic), 0, 0, 0xff, 0xff, 0xff, 0x7f),
		"more":    append([]byte(magic), 0, 0, 0, 1),
		"version": append([]byte("wflotree\x03"), 0, 0, 0),
	} {
		if err := newDecoder(1000).section(section); err == nil {
			t.Errorf("%s: was read", name)
		}
	}
}

// small is a workspace of many files that are made while they are read.
type small struct {
	n    int
	size int
	peak uint64 // of the heap, in bytes
	seen int    // files that came back as they were
}

func (s *small) name(i int) []byte { return fmt.Appendf(nil, "d%03d/f%06d", i*1000/s.n, i) }

func (s *small) look(i int) {
	if i%5000 == 4999 {
		var m runtime.MemStats
		runtime.GC() // so that the heap has what is in use and nothing else
		runtime.ReadMemStats(&m)
		s.peak = max(s.peak, m.HeapAlloc)
	}
}

func (s *small) Save(_ context.Context, _ string, _ sandbox.TreeLimits, t sandbox.TreeSaver) (quiesced, ok bool, err error) {
	var entries []sandbox.TreeEntry
	for i := range s.n {
		if i*1000/s.n != (i-1)*1000/s.n || i == 0 {
			entries = append(entries, sandbox.TreeEntry{Name: s.name(i)[:4], Kind: sandbox.TreeDir, Mode: 0o755})
		}
		entries = append(entries, sandbox.TreeEntry{Name: s.name(i), Kind: sandbox.TreeFile, Mode: 0o644, Size: int64(s.size), Stamp: fmt.Sprint(i), MTime: time.Unix(int64(i), 0)})
	}
	want, err := t.Tree(entries)
	for k, i := range want {
		if err == nil {
			s.look(k)
			err = t.File(i, entries[i], bytes.NewReader(s.content(entries[i].Name)))
		}
	}
	return true, err == nil, err
}

func (s *small) content(name []byte) []byte {
	var seed uint64
	for _, c := range name {
		seed = seed*31 + uint64(c)
	}
	return noise(seed%(1<<24), s.size)
}

func (s *small) Replace(_ context.Context, _, _ string, src sandbox.TreeSource) error {
	for i, e := range src.Tree() {
		if e.Kind != sandbox.TreeFile {
			continue
		}
		s.look(i)
		r, err := src.File(i)
		if err != nil {
			return err
		}
		got, err := io.ReadAll(r)
		if err = errors.Join(err, r.Close()); err != nil {
			return err
		}
		if !bytes.Equal(got, s.content(e.Name)) {
			return fmt.Errorf("%s has other content", e.Name)
		}
		s.seen++
	}
	return nil
}

func TestHundredThousandFilesInBoundedMemory(t *testing.T) {
	s := &small{n: 100_000, size: 2500}
	store, err := file.Open(file.Config{Dir: t.TempDir()})
	must(t, err)
	t.Cleanup(func() { must(t, store.Close()) })
	w, err := New(Config{Runner: s, Blobs: store})
	must(t, err)
	in := (&workbench{}).in
	p, ok, err := w.Save(t.Context(), in, nil)
	if must(t, err); !ok || p.Count != 101_000 || p.Bytes != int64(s.n)*int64(s.size) {
		t.Fatalf("saved %v, %+v", ok, p)
	}
	saving := s.peak
	s.peak = 0
	must(t, w.Restore(t.Context(), in, p))
	restoring := s.peak
	s.peak = 0
	if again, _, err := w.Save(t.Context(), in, &p); err != nil || again.Stored != 0 {
		t.Errorf("saved again: %+v, %v", again, err)
	}
	t.Logf("%d bytes in %d blobs of the manifest; heap at most %d MiB while saving, %d while restoring", p.Stored, len(p.Blobs), saving>>20, restoring>>20)
	if s.seen != s.n {
		t.Errorf("%d files came back", s.seen)
	}
	// The content alone is 240 MiB, and the entries take some 100 more: whoever holds it
	// all is far above. What is read ahead varies by some dozens.
	const most = 240 << 20
	if saving > most || restoring > most {
		t.Errorf("the heap had %d MiB while saving and %d while restoring", saving>>20, restoring>>20)
	}
}
