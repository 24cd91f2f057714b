package sandbox

import (
	"context"
	"io"
	"time"
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
	// it brought, does nothing.
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
	// of e.Extents one after the other, or the whole content where there are none.
	File(i int, e TreeEntry, r io.Reader) error
}

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
