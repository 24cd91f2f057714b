package tree

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// memory is a blob store. put and get, where set, may refuse.
type memory struct {
	mu    sync.Mutex
	blobs map[string][]byte
	puts  int
	gets  int
	put   func(n int) error
	get   func(key string) error
}

func newMemory() *memory { return &memory{blobs: map[string][]byte{}} }

func (m *memory) Put(_ context.Context, data []byte) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.puts++
	if m.put != nil {
		if err := m.put(m.puts); err != nil {
			return "", err
		}
	}
	s := sha256.Sum256(data)
	key := hex.EncodeToString(s[:])
	m.blobs[key] = bytes.Clone(data)
	return key, nil
}

// Get does not verify, so that the tests of damage meet the package's own checks.
func (m *memory) Get(_ context.Context, key string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gets++
	if m.get != nil {
		if err := m.get(key); err != nil {
			return nil, err
		}
	}
	data, ok := m.blobs[key]
	if !ok {
		return nil, fmt.Errorf("blob %s: %w", key, fs.ErrNotExist)
	}
	return data, nil
}

// host is a sandbox.Archiver over directories of this machine, one per box.
type host struct {
	root string
	// reading, where set, is called before a file is read.
	reading func(name string, tries int) error
	asked   []string // what the last save wanted
}

func (h *host) dir(box string) string {
	s := sha256.Sum256([]byte(box))
	return filepath.Join(h.root, hex.EncodeToString(s[:8]))
}

func (h *host) Save(ctx context.Context, box string, _ sandbox.TreeLimits, s sandbox.TreeSaver) (quiesced, ok bool, err error) {
	dir := h.dir(box)
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return false, false, nil
	}
	entries, err := scanDir(dir)
	if err != nil {
		return false, false, err
	}
	want, err := s.Tree(entries)
	if err != nil {
		return false, false, err
	}
	if !slices.IsSorted(want) {
		return false, false, errors.New("what is wanted does not ascend")
	}
	h.asked = nil
	for _, i := range want {
		h.asked = append(h.asked, string(entries[i].Name))
		if err := ctx.Err(); err != nil {
			return false, false, err
		}
		if err := h.give(dir, i, entries[i], s); err != nil {
			return false, false, err
		}
	}
	return true, true, nil
}

func (h *host) give(dir string, i int, e sandbox.TreeEntry, s sandbox.TreeSaver) error {
	for tries := 0; ; tries++ {
		var failing error
		if h.reading != nil {
			failing = h.reading(string(e.Name), tries)
		}
		f, err := os.Open(filepath.Join(dir, string(e.Name)))
		if errors.Is(err, fs.ErrNotExist) {
			return s.File(i, sandbox.TreeEntry{Name: e.Name}, bytes.NewReader(nil))
		}
		if err != nil {
			return err
		}
		info, err := f.Stat()
		if err != nil {
			return err
		}
		now := entryOf(string(e.Name), info, f)
		err = s.File(i, now, contentOf(f, now, failing))
		if err = errors.Join(err, f.Close()); !errors.Is(err, sandbox.ErrChanged) || tries == 3 {
			return err
		}
	}
}

// contentOf reads what an entry has; failing, where set, comes after half of it.
func contentOf(f *os.File, e sandbox.TreeEntry, failing error) io.Reader {
	if failing != nil {
		return io.MultiReader(io.LimitReader(f, e.Size/2), broken{failing})
	}
	if e.Extents == nil {
		return f
	}
	var parts []io.Reader
	for _, x := range e.Extents {
		parts = append(parts, io.NewSectionReader(f, x.Offset, x.Length))
	}
	return io.MultiReader(parts...)
}

type broken struct{ err error }

func (b broken) Read([]byte) (int, error) { return 0, b.err }

func (h *host) Replace(ctx context.Context, box, _ string, src sandbox.TreeSource) error {
	dir := h.dir(box)
	fresh := dir + ".new"
	if err := os.RemoveAll(fresh); err != nil {
		return err
	}
	if err := writeDir(ctx, fresh, src); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.Rename(fresh, dir)
}

func scanDir(dir string) ([]sandbox.TreeEntry, error) {
	var entries []sandbox.TreeEntry
	first := map[[2]uint64]string{} // names of files with several
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		e := entryOf(path[len(dir)+1:], info, nil)
		st := info.Sys().(*syscall.Stat_t)
		switch {
		case e.Kind == sandbox.TreeSymlink:
			target, err := os.Readlink(path)
			e.Target = []byte(target)
			entries = append(entries, e)
			return err
		case e.Kind == sandbox.TreeFile && st.Nlink > 1:
			id := [2]uint64{st.Dev, st.Ino}
			if name, ok := first[id]; ok {
				e = sandbox.TreeEntry{Name: e.Name, Kind: sandbox.TreeLink, Target: []byte(name), Mode: e.Mode, MTime: e.MTime}
			} else {
				first[id] = string(e.Name)
			}
		}
		if e.Kind == sandbox.TreeFile && st.Blocks*512 < st.Size {
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			e.Extents = extentsOf(f, e.Size)
			entries = append(entries, e)
			return f.Close()
		}
		entries = append(entries, e)
		return nil
	})
	return entries, err
}

// entryOf describes what has a name. f, where set, is the open file.
func entryOf(name string, info fs.FileInfo, f *os.File) sandbox.TreeEntry {
	st := info.Sys().(*syscall.Stat_t)
	e := sandbox.TreeEntry{Name: []byte(name), Mode: st.Mode & 0o7777, MTime: info.ModTime().UTC(),
		Stamp: fmt.Sprintf("%x.%x.%x", st.Dev, st.Ino, time.Unix(st.Ctim.Unix()).UnixNano())}
	switch st.Mode & syscall.S_IFMT {
	case syscall.S_IFDIR:
		e.Kind = sandbox.TreeDir
	case syscall.S_IFLNK:
		e.Kind = sandbox.TreeSymlink
	case syscall.S_IFREG:
		e.Kind, e.Size = sandbox.TreeFile, st.Size
		if f != nil && st.Blocks*512 < st.Size {
			e.Extents = extentsOf(f, e.Size)
		}
	default:
		e.Kind = "device"
	}
	return e
}

// extentsOf asks the kernel where a file has data.
func extentsOf(f *os.File, size int64) []sandbox.Extent {
	const seekData, seekHole = 3, 4
	extents := []sandbox.Extent{}
	for at := int64(0); at < size; {
		data, err := f.Seek(at, seekData)
		if err != nil {
			break
		}
		hole, err := f.Seek(data, seekHole)
		if err != nil {
			break
		}
		extents = append(extents, sandbox.Extent{Offset: data, Length: hole - data})
		at = hole
	}
	if len(extents) == 1 && extents[0].Length == size {
		extents = nil
	}
	_, err := f.Seek(0, io.SeekStart)
	if err != nil {
		panic(err)
	}
	return extents
}

// writeDir makes a directory of a source.
func writeDir(ctx context.Context, dir string, src sandbox.TreeSource) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	entries := src.Tree()
	for i := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := writeEntry(dir, i, &entries[i], src); err != nil {
			return fmt.Errorf("write %q: %w", entries[i].Name, err)
		}
	}
	for _, e := range slices.Backward(entries) {
		path := filepath.Join(dir, string(e.Name))
		if e.Kind != sandbox.TreeDir {
			continue
		}
		if err := errors.Join(syscall.Chmod(path, e.Mode), os.Chtimes(path, e.MTime, e.MTime)); err != nil {
			return err
		}
	}
	return nil
}

func writeEntry(dir string, i int, e *sandbox.TreeEntry, src sandbox.TreeSource) error {
	path := filepath.Join(dir, string(e.Name))
	switch e.Kind {
	case sandbox.TreeDir:
		return os.Mkdir(path, 0o700)
	case sandbox.TreeSymlink:
		at := unix.NsecToTimespec(e.MTime.UnixNano())
		return errors.Join(os.Symlink(string(e.Target), path), unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{at, at}, unix.AT_SYMLINK_NOFOLLOW))
	case sandbox.TreeLink:
		return os.Link(filepath.Join(dir, string(e.Target)), path)
	}
	r, err := src.File(i)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if e.Extents == nil {
		_, err = r.(io.WriterTo).WriteTo(f)
	} else {
		err = f.Truncate(e.Size)
		for _, x := range e.Extents {
			if err == nil {
				_, err = io.CopyN(io.NewOffsetWriter(f, x.Offset), r, x.Length)
			}
		}
	}
	return errors.Join(err, r.Close(), f.Close(), syscall.Chmod(path, e.Mode), os.Chtimes(path, e.MTime, e.MTime))
}

// workbench is a keeper over a directory, with one run in it.
type workbench struct {
	*Workspace
	host  *host
	blobs *memory
	in    activities.PartRequest
	dir   string
}

func newWorkbench(t testing.TB, c Config) *workbench {
	t.Helper()
	b := &workbench{host: &host{root: t.TempDir()}, blobs: newMemory(), in: activities.PartRequest{Run: wflo.Run{WorkflowID: "w", FirstRunID: "r"}, Key: "k"}}
	if c.Runner == nil {
		c.Runner = b.host
	}
	if c.Blobs == nil {
		c.Blobs = b.blobs
	}
	w, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	b.Workspace, b.dir = w, b.host.dir(b.in.Run.ID())
	if err := os.Mkdir(b.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *workbench) save(t testing.TB, before *wflo.SnapshotPart) wflo.SnapshotPart {
	t.Helper()
	p, ok, err := b.Save(t.Context(), b.in, before)
	if err != nil || !ok {
		t.Fatalf("save gave %v, %v", ok, err)
	}
	return p
}

func (b *workbench) restore(t testing.TB, p wflo.SnapshotPart) {
	t.Helper()
	if err := b.Restore(t.Context(), b.in, p); err != nil {
		t.Fatal(err)
	}
}

// write makes files below the box's directory.
func (b *workbench) write(t testing.TB, files map[string]string) {
	t.Helper()
	for name, data := range files {
		path := filepath.Join(b.dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(data), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
}

// seen is all that there is to see of a directory, stamps apart.
func seen(t testing.TB, dir string) map[string]string {
	t.Helper()
	entries, err := scanDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, e := range entries {
		what := fmt.Sprintf("%s %o %d %d %q %v", e.Kind, e.Mode, e.Size, e.MTime.UnixNano(), e.Target, e.Extents)
		if e.Kind == sandbox.TreeFile {
			data, err := os.ReadFile(filepath.Join(dir, string(e.Name)))
			if err != nil {
				t.Fatal(err)
			}
			what += fmt.Sprintf(" %x", sha256.Sum256(data))
		}
		all[string(e.Name)] = what
	}
	return all
}
