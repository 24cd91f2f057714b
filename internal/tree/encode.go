package tree

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// A section of a manifest, before it is compressed: the magic, then counted lists of
// packs, of frames, and of entries, each of numbers (varints of encoding/binary) and
// byte strings with their length. Packs are key, size, raw; frames are pack, place,
// size, raw; entries are as appendNode writes them, their names without what they
// share with the name before.
const (
	magic = "wflotree\x02"
	// firstMagic is that of manifests from before frames said how they are compressed.
	firstMagic = "wflotree\x01"
	// maxSection bounds a section before it is compressed.
	maxSection = 64 << 20
	// fullSection is the size at which a section ends.
	fullSection = 4 << 20
	// fewest and most bound the entries of a section between.
	fewest = 1 << 10
	most   = 16 << 10
	// within is the mask of a name's hash that ends a section where it gives 0.
	within = 1<<12 - 1
)

// kindCodes are how kinds are written; they never change.
var kindCodes = []sandbox.TreeKind{sandbox.TreeDir, sandbox.TreeFile, sandbox.TreeSymlink, sandbox.TreeLink}

// encode writes the sections of a manifest and gives them to each, which may not keep
// them.
func (m *manifest) encode(each func(section []byte) error) error {
	var e encoder
	e.reset()
	for i := range m.nodes {
		if err := e.node(&m.nodes[i]); err != nil {
			return err
		}
		if e.full(m.nodes[i].Name) {
			if err := each(e.section()); err != nil {
				return err
			}
			e.reset()
		}
	}
	if e.count == 0 && len(m.nodes) > 0 {
		return nil
	}
	return each(e.section())
}

type encoder struct {
	packs         map[*pack]uint64 // to place
	frames        map[*frame]uint64
	header, table []byte // of packs, of frames
	nodes         []byte
	count         int
	last          []byte // name
}

func (e *encoder) reset() {
	*e = encoder{packs: map[*pack]uint64{}, frames: map[*frame]uint64{}, header: e.header[:0], table: e.table[:0], nodes: e.nodes[:0]}
}

// full says whether the section ends after an entry. It depends on names where it
// can, so that what comes before and after an entry that is new stays as it is.
func (e *encoder) full(name []byte) bool {
	if len(e.nodes) >= fullSection {
		return true
	}
	if e.count < fewest {
		return false
	}
	h := fnv.New32a()
	h.Write(name)
	return h.Sum32()&within == 0 || e.count >= most
}

func (e *encoder) section() []byte {
	b := []byte(magic)
	b = binary.AppendUvarint(b, uint64(len(e.packs)))
	b = append(b, e.header...)
	b = binary.AppendUvarint(b, uint64(len(e.frames)))
	b = append(b, e.table...)
	b = binary.AppendUvarint(b, uint64(e.count)) //nolint:gosec // it counts
	return append(b, e.nodes...)
}

func (e *encoder) node(n *node) error {
	before := len(e.nodes)
	var err error
	if e.nodes, err = e.append(e.nodes, n); err != nil {
		return fmt.Errorf("write down %.80q: %w", n.Name, err)
	}
	if size := len(e.nodes) - before; size > maxSection/4 {
		return wflo.Invalid("the workspace", fmt.Sprintf("has a file in too many pieces: %.80q takes %d bytes to write down", n.Name, size),
			"write the file anew, without so many holes")
	}
	e.count++
	e.last = n.Name
	return nil
}

func (e *encoder) append(b []byte, n *node) ([]byte, error) {
	kind := kindCode(n.Kind)
	if kind < 0 {
		return nil, fmt.Errorf("is of kind %q", string(n.Kind))
	}
	shared := 0
	for shared < min(len(e.last), len(n.Name)) && e.last[shared] == n.Name[shared] {
		shared++
	}
	b = append(b, byte(kind))
	b = binary.AppendUvarint(b, uint64(shared)) //nolint:gosec // a length
	b = appendBytes(b, n.Name[shared:])
	b = binary.AppendUvarint(b, uint64(n.Mode))
	b = appendTime(b, n.MTime)
	b = appendBytes(b, []byte(n.Stamp))
	switch n.Kind {
	case sandbox.TreeSymlink, sandbox.TreeLink:
		return appendBytes(b, n.Target), nil
	case sandbox.TreeFile:
		return e.appendFile(b, n)
	}
	return b, nil
}

func (e *encoder) appendFile(b []byte, n *node) ([]byte, error) {
	b = binary.AppendUvarint(b, uint64(n.Size)) //nolint:gosec // checked not to be negative
	b = appendExtents(b, n.Extents)
	for i := range n.pieces {
		p := &n.pieces[i]
		at, err := e.frame(p.in)
		if err != nil {
			return nil, err
		}
		b = binary.AppendUvarint(b, at)
		b = binary.AppendUvarint(b, uint64(p.at))
		b = append(b, p.sum[:]...)
	}
	return b, nil
}

// frame gives the place of a frame in the section's table.
func (e *encoder) frame(f *frame) (uint64, error) {
	if at, ok := e.frames[f]; ok {
		return at, nil
	}
	in, ok := e.packs[f.pack]
	if !ok {
		in = uint64(len(e.packs))
		e.packs[f.pack] = in
		key, err := hex.DecodeString(f.pack.key)
		if err != nil || len(key) != len(sum{}) {
			return 0, fmt.Errorf("the blob store gave the key %.80q, which is not 64 hex digits", f.pack.key)
		}
		e.header = append(e.header, key...)
		e.header = binary.AppendUvarint(e.header, uint64(f.pack.size))
		e.header = binary.AppendUvarint(e.header, uint64(f.pack.raw)) //nolint:gosec // it counts
	}
	e.table = binary.AppendUvarint(e.table, in)
	for _, v := range []uint32{f.at, f.n, f.raw} {
		e.table = binary.AppendUvarint(e.table, uint64(v))
	}
	at := uint64(len(e.frames))
	e.frames[f] = at
	return at, nil
}

func kindCode(k sandbox.TreeKind) int {
	for i, known := range kindCodes {
		if k == known {
			return i
		}
	}
	return -1
}

func appendBytes(b, v []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}

func appendTime(b []byte, t time.Time) []byte {
	b = binary.AppendVarint(b, t.Unix())
	return binary.AppendUvarint(b, uint64(t.Nanosecond())) //nolint:gosec // 0 to 999,999,999
}

// appendExtents writes how many there are and one more, so that 0 is none, which
// means data everywhere; each is the gap before it and its length.
func appendExtents(b []byte, extents []sandbox.Extent) []byte {
	if extents == nil {
		return append(b, 0)
	}
	b = binary.AppendUvarint(b, uint64(len(extents))+1)
	end := int64(0)
	for _, x := range extents {
		b = binary.AppendUvarint(b, uint64(x.Offset-end)) //nolint:gosec // checked to ascend
		b = binary.AppendUvarint(b, uint64(x.Length))     //nolint:gosec // checked to be positive
		end = x.Offset + x.Length
	}
	return b
}
