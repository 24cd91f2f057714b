// Package tree keeps trees of files in a blob store: the workspaces of sandboxes.
// [New] gives a [Workspace], whose Save and Restore are the workspace part of
// snapshots.
//
// Content is cut into pieces of at most 1 MiB, which are known by their SHA-256 and
// stored once. Pieces that come together share a frame, which S2 compresses, and
// frames fill packs of about 8 MiB, which are blobs: 10,000 small files are some
// dozens of blobs, and one file is read back by decompressing one frame. The manifest
// lists entries and where their pieces are. It is cut into sections by the names in
// it, so that a section in which nothing changed is the same blob again.
//
// Pieces begin every 1 MiB of a file, not where its content says. What agents keep in
// larger files grows at its end, changes in place or is made anew, and all of that
// is found without. Only an insertion early in a large file stores the rest again.
//
// A tree is saved relative to the one before: a file whose stamp is the same is not
// read, and content that is there is not stored. What falls apart that way is stored
// again in time: a pack of which less than half is in use, and small packs once there
// are many.
//
// The package hashes everything that it reads again and gives out nothing that
// differs. It refuses manifests that are not exactly what it writes, trees above their
// limits, and entries that are neither directories, files nor links.
//
// A save holds at most some 60 MiB besides the entries (some 500 bytes each), a
// restore some 100 MiB, whatever the size of the tree.
package tree

import (
	"fmt"

	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/sandbox"
)

var _ activities.PartKeeper = (*Workspace)(nil)

// Config says whose workspaces are kept, and where.
type Config struct {
	// Runner has the workspaces. Without one snapshots can be compared and read, but
	// nothing is saved.
	Runner sandbox.Archiver
	// Blobs keeps them. Required.
	Blobs activities.Blobs
	// Limits bound a workspace; zeros mean the defaults.
	Limits sandbox.TreeLimits
	// Exclude leaves out what matches one of these patterns, in the language of
	// path.Match, with everything below. One without a slash is for a name at any
	// depth, others are for the path from the workspace. A restore makes the workspace
	// anew, so what was left out is gone then.
	Exclude []string
}

// Workspace is the activities.PartKeeper of workspaces. Its methods may be called at
// the same time.
type Workspace struct {
	runner  sandbox.Archiver
	blobs   activities.Blobs
	limits  sandbox.TreeLimits
	exclude exclusion
	codec   *codec
}

// New makes a keeper. A Config that cannot be used is an *wflo.Error with
// wflo.CodeInvalid.
func New(c Config) (*Workspace, error) {
	if c.Blobs == nil {
		return nil, errNoBlobs()
	}
	if err := c.Limits.Validate(); err != nil {
		return nil, err
	}
	exclude, err := newExclusion(c.Exclude)
	if err != nil {
		return nil, err
	}
	codec, err := newCodec()
	if err != nil {
		return nil, fmt.Errorf("set up compression: %w", err)
	}
	return &Workspace{runner: c.Runner, blobs: c.Blobs, limits: c.Limits.WithDefaults(), exclude: exclude, codec: codec}, nil
}
