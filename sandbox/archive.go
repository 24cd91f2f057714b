package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/wflo-ai/wflo-go"
)

// Archiver is a Runner that can save the workspaces of boxes and replace them.
type Archiver interface {
	// Save shows s the workspace of a box: first all entries, then the content of those
	// that it wants. Programs of the box that begin meanwhile wait; those that are at
	// work go on, and quiesced is then false. A file that changes while it is read is
	// read again, a few times. ok is false for a box without a workspace. What has more
	// than the limits is an *wflo.Error with CodeInvalid that says how much it has.
	Save(ctx context.Context, box string, limits TreeLimits, s TreeSaver) (quiesced, ok bool, err error)
	// Replace makes a fresh workspace with what src has and gives it to the box in place
	// of its own, all at once: whatever happens, the box has the one or the other. The
	// box's programs are ended first. The same key again, while the box still has what
	// it brought, does nothing. The limits of a tree are those of its Save: a tree that
	// could not be is refused, and none for its size.
	Replace(ctx context.Context, box, key string, src TreeSource) error
}

// TreeLimits bound a tree. Zero means the default.
type TreeLimits struct {
	Entries int   // default 1,000,000
	Bytes   int64 // of content without holes; default 64 GiB
	Depth   int   // default 256
}

// TreeSaver takes a workspace in. Its methods are called from one goroutine.
type TreeSaver interface {
	// Tree gets all entries, parents before what they hold, and answers which contents it
	// wants, by index, in ascending order: of regular files.
	Tree(entries []TreeEntry) (want []int, err error)
	// File gets one of them. e is the entry as it was when it was read; r has the data
	// of e.Extents one after the other, or the whole content where there are none. A
	// file that is gone by then, or something else now, comes with an e without a Kind
	// and an empty r, and is left out. Where r fails with ErrChanged, File forgets what
	// it has got of the file and returns an error; it is then called for it again.
	File(i int, e TreeEntry, r io.Reader) error
}

// ErrChanged is how TreeSaver.File hears that a file changed while it was read.
var ErrChanged = errors.New("the file changed while it was read")

// TreeSource gives a workspace out.
type TreeSource interface {
	// Tree gives all entries, parents first.
	Tree() []TreeEntry
	// File gives the content of an entry, as TreeSaver.File gets it. It is called in
	// ascending order.
	File(i int) (io.ReadCloser, error)
}

// TreeKind is what an entry is. Sockets, pipes and devices have none: they are refused
// (devices) or left out and counted (sockets and pipes, which mean nothing without
// their programs).
type TreeKind string

// The kinds of entries.
const (
	TreeDir     TreeKind = "dir"
	TreeFile    TreeKind = "file"
	TreeSymlink TreeKind = "symlink"
	TreeLink    TreeKind = "link" // another name of an earlier regular file
)

// TreeEntry is one name of a workspace.
type TreeEntry struct {
	// Name is relative to the workspace, without "." or ".."; bytes, because names need
	// not be UTF-8.
	Name []byte   `json:"name"`
	Kind TreeKind `json:"kind"`
	// Mode are the permission bits with set-user-id, set-group-id and sticky.
	Mode uint32 `json:"mode"`
	// Size is the length of a file, holes included.
	Size int64 `json:"size,omitempty"`
	// MTime is when the content changed last.
	MTime time.Time `json:"mtime,omitzero"`
	// Stamp changes whenever the entry does, content included, and no program can keep it
	// from changing: of file and device numbers and the time of the last change.
	Stamp string `json:"stamp,omitempty"`
	// Target is where a symlink leads, or the Name of the file that a link names.
	Target []byte `json:"target,omitempty"`
	// Extents are where a sparse file has data; nil means everywhere.
	Extents []Extent `json:"extents,omitempty"`
}

// Extent is a piece of a file that has data, in bytes.
type Extent struct {
	Offset int64 `json:"offset"`
	Length int64 `json:"length"`
}

// The bounds of names and links, in bytes: what kernels allow.
const (
	maxNamePart = 255
	maxTarget   = 4095
)

// WithDefaults fills the zero limits.
func (l TreeLimits) WithDefaults() TreeLimits {
	if l.Entries == 0 {
		l.Entries = 1_000_000
	}
	if l.Bytes == 0 {
		l.Bytes = 64 * GiB
	}
	if l.Depth == 0 {
		l.Depth = 256
	}
	return l
}

// Validate refuses negative limits, and a depth above 1,000.
func (l TreeLimits) Validate() error {
	const deepest = 1000
	switch {
	case l.Entries < 0:
		return wflo.Invalid("limits.entries", fmt.Sprintf("is %d", l.Entries), "use 0 for the default")
	case l.Bytes < 0:
		return wflo.Invalid("limits.bytes", fmt.Sprintf("is %d", l.Bytes), "use 0 for the default")
	case l.Depth < 0 || l.Depth > deepest:
		return wflo.Invalid("limits.depth", fmt.Sprintf("is %d", l.Depth), fmt.Sprintf("use 1 to %d, or 0 for the default", deepest))
	}
	return nil
}

// Exceeded is the error for a tree of so many entries, bytes of content and levels
// if that is more than l, whose zeros are the defaults. Whoever stopped counting
// gives what was seen so far, and least is true.
func (l TreeLimits) Exceeded(entries int, content int64, depth int, least bool) error {
	l = l.WithDefaults()
	about := ""
	if least {
		about = "at least "
	}
	for _, c := range []struct {
		got, most   int64
		has, atMost string
		hint        string
	}{
		{int64(entries), int64(l.Entries), fmt.Sprintf("%d entries", entries), fmt.Sprint(l.Entries),
			"remove what can be made again, such as caches and installed packages, or pack many small files into one"},
		{content, l.Bytes, fmt.Sprintf("%d bytes of content", content), fmt.Sprint(l.Bytes), "remove large files, or raise the limit"},
		{int64(depth), int64(l.Depth), fmt.Sprintf("%d levels", depth), fmt.Sprint(l.Depth), "remove directories that hold each other"},
	} {
		if c.got > c.most {
			return wflo.Invalid("the workspace", fmt.Sprintf("has %s%s, more than %s", about, c.has, c.atMost), c.hint)
		}
	}
	return nil
}

// Check refuses a tree that is more than l, whose zeros are the defaults, or that
// could not be: names that leave the workspace or come twice, entries below
// anything but a directory that came before, links to anything but a file that
// came before, extents outside of their file.
func (l TreeLimits) Check(entries []TreeEntry) error {
	kinds := make(map[string]TreeKind, len(entries))
	var content int64
	depth := 0
	for i := range entries {
		e := &entries[i]
		levels, err := checkEntry(e, kinds)
		if err != nil {
			return wflo.Invalid(fmt.Sprintf("tree[%d]", i), fmt.Sprintf("%.80q %v", e.Name, err), "the snapshot is damaged or forged; use another")
		}
		kinds[string(e.Name)] = e.Kind
		depth = max(depth, levels)
		content += min(e.Content(), math.MaxInt64-content)
	}
	return l.Exceeded(len(entries), content, depth, false)
}

// Content is how many bytes of data the entry has, holes left out.
func (e *TreeEntry) Content() int64 {
	if e.Kind != TreeFile {
		return 0
	}
	if e.Extents == nil {
		return e.Size
	}
	var n int64
	for _, x := range e.Extents {
		n += min(x.Length, math.MaxInt64-n)
	}
	return n
}

// checkEntry says what is wrong with an entry after those of which it has the
// kinds, and how deep it is.
func checkEntry(e *TreeEntry, kinds map[string]TreeKind) (levels int, err error) {
	if err := CheckTreeName(e.Name); err != nil {
		return 0, err
	}
	if _, twice := kinds[string(e.Name)]; twice {
		return 0, errors.New("is there twice")
	}
	if slash := bytes.LastIndexByte(e.Name, '/'); slash >= 0 && kinds[string(e.Name[:slash])] != TreeDir {
		return 0, errors.New("is not below a directory that came before")
	}
	if e.Mode&^0o7777 != 0 {
		return 0, fmt.Errorf("has mode %o", e.Mode)
	}
	if e.Kind != TreeFile && (e.Size != 0 || e.Extents != nil) {
		return 0, errors.New("is no file but has a size")
	}
	levels = bytes.Count(e.Name, []byte("/")) + 1
	switch e.Kind {
	case TreeDir:
		return levels, nil
	case TreeFile:
		return levels, checkExtents(e.Size, e.Extents)
	case TreeSymlink:
		if len(e.Target) == 0 || len(e.Target) > maxTarget || bytes.IndexByte(e.Target, 0) >= 0 {
			return 0, errors.New("is a link to what cannot be named")
		}
		return levels, nil
	case TreeLink:
		if kinds[string(e.Target)] != TreeFile {
			return 0, errors.New("is another name of no file that came before")
		}
		return levels, nil
	}
	return 0, fmt.Errorf("is of kind %.20q", string(e.Kind))
}

// CheckTreeName refuses a name that no entry below the workspace can have: with an
// empty part, "." or "..", a NUL byte, or a part of more than 255 bytes.
func CheckTreeName(name []byte) error {
	for part := range bytes.SplitSeq(name, []byte("/")) {
		switch {
		case len(part) == 0 || string(part) == "." || string(part) == "..":
			return errors.New("is no clean relative name")
		case len(part) > maxNamePart:
			return errors.New("has too long a part")
		case bytes.IndexByte(part, 0) >= 0:
			return errors.New("holds a NUL byte")
		}
	}
	return nil
}

func checkExtents(size int64, extents []Extent) error {
	if size < 0 {
		return fmt.Errorf("has size %d", size)
	}
	end := int64(0)
	for _, x := range extents {
		if x.Length <= 0 || x.Offset < end || x.Length > size-x.Offset {
			return fmt.Errorf("has %d bytes at %d in %d", x.Length, x.Offset, size)
		}
		end = x.Offset + x.Length
	}
	return nil
}
