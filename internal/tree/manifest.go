package tree

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	"github.com/wflo-ai/wflo-go/sandbox"
)

const (
	// pieceSize bounds a piece, and a frame before it is compressed. It is part of the
	// format: the hash of a larger file is over the hashes of its pieces.
	pieceSize = 1 << 20
	// packSize is at which size a pack is full. The frame that fills it may go beyond.
	packSize = 8 << 20
	// maxPack is what no pack reaches.
	maxPack = packSize + 2*pieceSize
)

// sum is a SHA-256.
type sum [sha256.Size]byte

// manifest is a tree with where its content is.
type manifest struct {
	nodes []node
}

// node is an entry with its content, in pieces.
type node struct {
	sandbox.TreeEntry
	pieces []piece
}

// piece is a part of a file's content: n bytes at a place of a decompressed frame.
// Where content was only hashed it has no frame.
type piece struct {
	sum sum
	in  *frame
	at  uint32
	n   uint32
}

// frame is what is compressed together: n bytes at a place of a pack, raw before.
type frame struct {
	pack *pack
	at   uint32
	n    uint32
	raw  uint32
}

// pack is a blob of frames. raw counts what they hold.
type pack struct {
	key  string
	size uint32
	raw  int64
}

// countPieces is how many pieces so much content has.
func countPieces(content int64) int64 { return (content + pieceSize - 1) / pieceSize }

// content is the hash of a file's content.
func (n *node) content() sum {
	switch len(n.pieces) {
	case 0:
		return sha256.Sum256(nil)
	case 1:
		return n.pieces[0].sum
	}
	h := sha256.New()
	h.Write([]byte("wflo.tree.pieces.v1\n"))
	for i := range n.pieces {
		h.Write(n.pieces[i].sum[:])
	}
	return sum(h.Sum(nil))
}

// digest is the hash of a tree, in hex: of all but stamps, and without regard to how
// the content is stored.
func (m *manifest) digest() string {
	h := sha256.New()
	h.Write([]byte("wflo.tree.v1\n"))
	var b []byte
	for i := range m.nodes {
		b = m.nodes[i].appendCanonical(b[:0])
		h.Write(b)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func (n *node) appendCanonical(b []byte) []byte {
	b = appendBytes(b, n.Name)
	b = appendBytes(b, []byte(n.Kind))
	b = binary.AppendUvarint(b, uint64(n.Mode))
	b = appendTime(b, n.MTime)
	b = appendBytes(b, n.Target)
	if n.Kind != sandbox.TreeFile {
		return b
	}
	b = binary.AppendVarint(b, n.Size)
	b = appendExtents(b, n.Extents)
	content := n.content()
	return append(b, content[:]...)
}

// bytes counts the content of all files.
func (m *manifest) bytes() int64 {
	var total int64
	for i := range m.nodes {
		total += m.nodes[i].Content()
	}
	return total
}

// entries are the nodes without their pieces.
func (m *manifest) entries() []sandbox.TreeEntry {
	entries := make([]sandbox.TreeEntry, len(m.nodes))
	for i := range m.nodes {
		entries[i] = m.nodes[i].TreeEntry
	}
	return entries
}

// byName finds nodes.
func (m *manifest) byName() map[string]*node {
	if m == nil {
		return nil
	}
	names := make(map[string]*node, len(m.nodes))
	for i := range m.nodes {
		names[string(m.nodes[i].Name)] = &m.nodes[i]
	}
	return names
}

// packs lists the packs that the tree needs, in the order of use.
func (m *manifest) packs() []*pack {
	var all []*pack
	seen := map[*pack]bool{}
	for i := range m.nodes {
		for _, p := range m.nodes[i].pieces {
			if !seen[p.in.pack] {
				seen[p.in.pack] = true
				all = append(all, p.in.pack)
			}
		}
	}
	return all
}
