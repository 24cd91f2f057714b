package tree

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// maxChanges is how many changes a diff names.
const maxChanges = 1000

// Diff implements activities.PartKeeper. What differs is what people see: kinds,
// modes, sizes, contents and targets; not times. Of what is there now only files whose
// stamp is another are read.
func (w *Workspace) Diff(ctx context.Context, in activities.PartRequest, from wflo.SnapshotPart, to *wflo.SnapshotPart) (wflo.PartDiff, error) {
	d := wflo.PartDiff{Kind: wflo.PartWorkspace}
	before, err := w.load(ctx, from)
	if err != nil {
		return d, fmt.Errorf("compare workspaces: %w", err)
	}
	if to != nil {
		after, err := w.load(ctx, *to)
		if err != nil {
			return d, fmt.Errorf("compare workspaces: %w", err)
		}
		d.Changes, d.More = compare(before.nodes, after.nodes)
		return d, nil
	}
	if w.runner == nil {
		d.Problem = "this worker has no sandboxes to compare with"
		return d, nil
	}
	before.nodes = w.exclude.without(before.nodes)
	s := &scan{limits: w.limits, exclude: w.exclude, before: before.byName()}
	_, ok, err := w.runner.Save(ctx, in.Run.ID(), w.limits, s)
	if err != nil {
		return d, fmt.Errorf("compare with the workspace of %s: %w", in.Run.ID(), err)
	}
	if !ok {
		d.Problem = "the run has no workspace now"
		return d, nil
	}
	d.Changes, d.More = compare(before.nodes, s.result())
	return d, nil
}

// scan is a sandbox.TreeSaver that stores nothing, and hashes what may be the same
// as before although its stamp is not.
type scan struct {
	limits  sandbox.TreeLimits
	exclude exclusion
	before  map[string]*node
	nodes   []node
	places  map[int]int
}

// Tree implements sandbox.TreeSaver.
func (s *scan) Tree(scanned []sandbox.TreeEntry) ([]int, error) {
	nodes, from := s.exclude.kept(scanned)
	s.nodes, s.places = nodes, map[int]int{}
	if err := s.limits.Check((&manifest{nodes}).entries()); err != nil {
		return nil, err
	}
	var want []int
	for i := range nodes {
		n := &nodes[i]
		b := s.before[string(n.Name)]
		switch {
		case b == nil || n.Kind != sandbox.TreeFile || b.Kind != n.Kind || b.Size != n.Size:
		case b.same(n):
			n.Extents, n.pieces = b.Extents, b.pieces
		default:
			want = append(want, from[i])
			s.places[from[i]] = i
		}
	}
	slices.Sort(want)
	return want, nil
}

// File implements sandbox.TreeSaver.
func (s *scan) File(i int, e sandbox.TreeEntry, r io.Reader) error {
	at, ok := s.places[i]
	if !ok {
		return fmt.Errorf("the sandbox gave file %d, which was not asked for", i)
	}
	e.Name = s.nodes[at].Name
	if e.Kind == "" {
		s.nodes[at].Kind = ""
		return nil
	}
	var pieces []piece
	for left := e.Content(); left > 0; left -= pieceSize {
		h := sha256.New()
		if _, err := io.CopyN(h, r, min(left, pieceSize)); err != nil {
			return fmt.Errorf("read %.80q: %w", e.Name, tooShort(err))
		}
		pieces = append(pieces, piece{sum: sum(h.Sum(nil))})
	}
	s.nodes[at] = node{TreeEntry: e, pieces: pieces}
	return atEnd(r)
}

func (s *scan) result() []node {
	return slices.DeleteFunc(s.nodes, func(n node) bool { return n.Kind == "" })
}

// compare lists what differs, by name, and counts what is more than maxChanges.
func compare(before, after []node) (changes []wflo.PartChange, more int) {
	then, now := (&manifest{before}).byName(), (&manifest{after}).byName()
	for i := range before {
		b := &before[i]
		if a := now[string(b.Name)]; a == nil {
			changes = append(changes, wflo.PartChange{Op: "removed", Name: shown(b.Name), Before: b.Size, Detail: b.describe()})
		} else if detail := b.differs(a); detail != "" {
			changes = append(changes, wflo.PartChange{Op: "changed", Name: shown(b.Name), Before: b.Size, After: a.Size, Detail: detail})
		}
	}
	for i := range after {
		if a := &after[i]; then[string(a.Name)] == nil {
			changes = append(changes, wflo.PartChange{Op: "added", Name: shown(a.Name), After: a.Size, Detail: a.describe()})
		}
	}
	slices.SortFunc(changes, func(a, b wflo.PartChange) int { return strings.Compare(a.Name, b.Name) })
	if len(changes) > maxChanges {
		changes, more = changes[:maxChanges], len(changes)-maxChanges
	}
	return changes, more
}

// describe says what an entry is.
func (n *node) describe() string {
	switch n.Kind {
	case sandbox.TreeFile:
		return fmt.Sprintf("file, mode %04o", n.Mode)
	case sandbox.TreeDir:
		return fmt.Sprintf("directory, mode %04o", n.Mode)
	case sandbox.TreeLink:
		return "another name of " + shown(n.Target)
	}
	return "link to " + shown(n.Target)
}

// differs says what differs in words; empty if nothing does.
func (n *node) differs(now *node) string {
	if n.Kind != now.Kind {
		return "was " + n.describe() + "; is " + now.describe()
	}
	var what []string
	switch {
	case n.Kind != sandbox.TreeFile:
		if string(n.Target) != string(now.Target) {
			what = append(what, "was "+n.describe()+", is "+now.describe())
		}
	case n.Size != now.Size:
		what = append(what, "content")
	case !slices.Equal(n.Extents, now.Extents):
		// Where the holes are others, the hashes say nothing about the content.
		what = append(what, "content or holes")
	case n.content() != now.content():
		what = append(what, "content")
	}
	if n.Mode != now.Mode && (n.Kind == sandbox.TreeFile || n.Kind == sandbox.TreeDir) {
		what = append(what, fmt.Sprintf("mode %04o to %04o", n.Mode, now.Mode))
	}
	return strings.Join(what, ", ")
}

// shown is a name as people see it: in quotes where it is no plain text.
func shown(name []byte) string {
	s := string(name)
	if utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return s
	}
	return strconv.Quote(s)
}
