package tree

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/wflo-ai/wflo-go/sandbox"
)

// errUnsteady is for a tree that changed in a way that only another save can show.
var errUnsteady = errors.New("the workspace changed while it was saved")

// saver takes a workspace in for a save. Content that is the same as before, by the
// stamp, is not asked for.
type saver struct {
	limits  sandbox.TreeLimits
	exclude exclusion
	before  *manifest // may be nil
	// open starts storing; known are the pieces that are there.
	open func(known map[sum]*piece) *writer
	w    *writer

	nodes   []node
	waiting map[int]int // what is still to come: place in the scan, to place in nodes
	links   map[string]bool
}

// Tree implements sandbox.TreeSaver.
func (s *saver) Tree(scanned []sandbox.TreeEntry) ([]int, error) {
	nodes, from := s.exclude.kept(scanned)
	s.nodes = nodes
	if err := checkNodes(nodes, s.limits); err != nil {
		return nil, err
	}
	names := s.before.byName()
	same := make([]*node, len(nodes))
	for i := range nodes {
		if b := names[string(nodes[i].Name)]; b.same(&nodes[i]) {
			same[i] = b
		}
	}
	known, again := reuse(s.before, same)
	s.waiting, s.links = map[int]int{}, map[string]bool{}
	var want []int
	for i := range nodes {
		switch {
		case nodes[i].Kind == sandbox.TreeLink:
			s.links[string(nodes[i].Target)] = true
		case nodes[i].Kind != sandbox.TreeFile:
		case same[i] != nil && !same[i].in(again):
			// The extents too: a hole may be seen as data, or not, without a change.
			nodes[i].Extents, nodes[i].pieces = same[i].Extents, same[i].pieces
		default:
			want = append(want, from[i])
			s.waiting[from[i]] = i
		}
	}
	slices.Sort(want)
	s.w = s.open(known)
	return want, nil
}

// checkNodes refuses a tree that could not be read again.
func checkNodes(nodes []node, limits sandbox.TreeLimits) error {
	names := 0
	for i := range nodes {
		names += len(nodes[i].Name)
	}
	if names > maxNames(limits.Entries) {
		return errNames(names)
	}
	return limits.Check((&manifest{nodes}).entries())
}

// same says whether a file is as it was.
func (n *node) same(now *node) bool {
	return n != nil && n.Kind == sandbox.TreeFile && now.Kind == n.Kind && now.Size == n.Size && now.Stamp == n.Stamp && n.Stamp != ""
}

// in says whether any of the content is in one of the packs.
func (n *node) in(packs map[*pack]bool) bool {
	return len(packs) > 0 && slices.ContainsFunc(n.pieces, func(p piece) bool { return packs[p.in.pack] })
}

const (
	// smallPack is the size below which a pack counts as small, and manyPacks how many
	// of those are left alone.
	smallPack = packSize / 8
	manyPacks = 16
)

// reuse says which pieces of before can be used again, and from which packs nothing
// may be, so that what is referred to stays in proportion to what is in use: packs
// of which the files that are the same have less than half, and all small ones when
// they are many.
func reuse(before *manifest, same []*node) (known map[sum]*piece, again map[*pack]bool) {
	known, again = map[sum]*piece{}, map[*pack]bool{}
	if before == nil {
		return known, again
	}
	live := map[*pack]int64{}
	counted := map[sum]bool{}
	for _, n := range same {
		if n == nil {
			continue
		}
		for _, p := range n.pieces {
			if !counted[p.sum] {
				counted[p.sum] = true
				live[p.in.pack] += int64(p.n)
			}
		}
	}
	small := map[*pack]bool{}
	for p, n := range live {
		if n < p.raw/2 {
			again[p] = true
		}
		if p.size < smallPack {
			small[p] = true
		}
	}
	if len(small) > manyPacks {
		for p := range small {
			again[p] = true
		}
	}
	for i := range before.nodes {
		for j := range before.nodes[i].pieces {
			if p := &before.nodes[i].pieces[j]; !again[p.in.pack] {
				known[p.sum] = p
			}
		}
	}
	return known, again
}

// File implements sandbox.TreeSaver.
func (s *saver) File(i int, e sandbox.TreeEntry, r io.Reader) error {
	at, ok := s.waiting[i]
	if !ok {
		return fmt.Errorf("the sandbox gave file %d, which was not asked for", i)
	}
	n := &s.nodes[at]
	if e.Kind == "" {
		if s.links[string(n.Name)] {
			return fmt.Errorf("%w: %.80q is gone, and has other names", errUnsteady, n.Name)
		}
		n.Kind = ""
		delete(s.waiting, i)
		return nil
	}
	e.Name = n.Name
	pieces, err := s.read(e, r)
	if err != nil {
		return fmt.Errorf("save %.80q: %w", n.Name, err)
	}
	n.TreeEntry, n.pieces = e, pieces
	delete(s.waiting, i)
	return nil
}

// read stores the content of a file.
func (s *saver) read(e sandbox.TreeEntry, r io.Reader) ([]piece, error) {
	if e.Kind != sandbox.TreeFile {
		return nil, fmt.Errorf("it is of kind %.20q now", string(e.Kind))
	}
	if err := s.limits.Check([]sandbox.TreeEntry{{Name: []byte("file"), Kind: e.Kind, Mode: e.Mode, Size: e.Size, Extents: e.Extents}}); err != nil {
		return nil, err
	}
	content := e.Content()
	pieces := make([]piece, countPieces(content))
	for i := range pieces {
		n := min(content, pieceSize)
		if err := s.w.add(r, int(n), &pieces[i]); err != nil {
			return nil, tooShort(err)
		}
		content -= n
	}
	return pieces, atEnd(r)
}

func tooShort(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("it has less content than its entry says")
	}
	return err
}

// atEnd refuses a reader that has more.
func atEnd(r io.Reader) error {
	var b [1]byte
	switch n, err := io.ReadFull(r, b[:]); {
	case n > 0:
		return errors.New("it has more content than its entry says")
	case errors.Is(err, io.EOF):
		return nil
	default:
		return err
	}
}

// manifest gives what was saved, after the writer has finished.
func (s *saver) manifest() (*manifest, error) {
	if len(s.waiting) > 0 {
		return nil, fmt.Errorf("the sandbox did not give %d files that were asked for", len(s.waiting))
	}
	m := &manifest{nodes: slices.DeleteFunc(s.nodes, func(n node) bool { return n.Kind == "" })}
	// Once more, because files may have grown since they were listed.
	return m, s.limits.Check(m.entries())
}
