package frame

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/wflo-ai/wflo-go/sandbox"
)

// MaxTree is the longest payload of a frame with a part of a tree: longer than
// others, because every frame is handed on by the engine and wakes somebody.
const MaxTree = 256 << 10

// TreeStream is the number of the one stream on which trees travel, and TreeWindow
// its window in both directions. No connection has that number.
const (
	TreeStream = 1 << 31
	TreeWindow = 4 << 20
)

// MaxExtents is how many extents a file is told with; what comes after them counts
// as data, zeros or not.
const MaxExtents = 4096

// ScanMsg asks what the workspace has. The answer are [OpNode] records, in no
// order but directories before what they hold. The limits are those of
// sandbox.TreeLimits and never zero. Refused has the codes "large", "device" and
// "failed".
type ScanMsg struct {
	Entries int   `json:"entries"`
	Bytes   int64 `json:"bytes"`
	Depth   int   `json:"depth"`
}

// ScannedMsg ends the answer to Scan. Left counts sockets and pipes.
type ScannedMsg struct {
	Left int `json:"left,omitempty"`
}

// TreeOp says what a record is.
type TreeOp byte

// What records say. Those of one file follow each other, without others between.
const (
	OpNode    TreeOp = 1 + iota // Node: something that there is
	OpWant                      // Index, Data: the content of the file of that name is wanted
	OpFile                      // Index, Node with extents: its content follows
	OpData                      // Data: the next part of it
	OpEnd                       // that was the content
	OpChanged                   // it changed meanwhile and comes again
	OpGone                      // Index: there is no such file any more
	OpFailed                    // Index, Data: why it cannot be read
	OpMake                      // Node: a directory, symlink or link to make
	OpSet                       // Node: a directory to give its mode and time
)

// TreeRecord is a record of a Want or Tree frame. Which fields it has stands with
// its Op.
type TreeRecord struct {
	Op    TreeOp
	Index uint64
	Node  Node
	Data  []byte
}

// Restless is the Data of OpFailed for a file that changes all the time.
const Restless = "it changes all the time"

// Room is how many bytes the record takes at most.
func (r *TreeRecord) Room() int {
	const numbers, extent = 160, 2 * binary.MaxVarintLen64
	return numbers + extent*len(r.Node.Extents) + len(r.Node.Name) + len(r.Node.Target) + len(r.Data)
}

// Node is what a file system knows of a name.
type Node struct {
	Kind sandbox.TreeKind
	Mode uint32 // with set-user-id, set-group-id and sticky
	Size int64
	// MTime and CTime are when content and entry changed last.
	MTime, CTime Moment
	// Room is how many bytes it takes on the disk.
	Room            int64
	Dev, Ino, Links uint64
	// Name is relative to the workspace. Target is where a symlink leads, or the
	// name of the file that a link names.
	Name, Target []byte
	// Extents are where a file has data; nil means everywhere.
	Extents []sandbox.Extent
}

// Moment is a point in Unix time, of any year.
type Moment struct {
	Sec  int64
	Nsec int64
}

// kinds in the order of their numbers on the wire.
var kinds = []sandbox.TreeKind{"", sandbox.TreeDir, sandbox.TreeFile, sandbox.TreeSymlink, sandbox.TreeLink}

// TreeDataHeader is how long an OpData record is without its data, so that these
// can be read into place behind it.
const TreeDataHeader = 5

// PutTreeData writes the beginning of an OpData record of n bytes to the first
// TreeDataHeader bytes of b.
func PutTreeData(b []byte, n int) {
	b[0] = byte(OpData)
	binary.BigEndian.PutUint32(b[1:TreeDataHeader], uint32(n))
}

// AppendTo appends the record to b.
func (r *TreeRecord) AppendTo(b []byte) []byte {
	b = append(b, byte(r.Op))
	switch r.Op {
	case OpData:
		b = binary.BigEndian.AppendUint32(b, uint32(len(r.Data)))
		return append(b, r.Data...)
	case OpWant, OpFailed:
		return appendBytes(binary.AppendUvarint(b, r.Index), r.Data)
	case OpGone:
		return binary.AppendUvarint(b, r.Index)
	case OpFile:
		b = binary.AppendUvarint(b, r.Index)
		return r.Node.appendTo(b)
	case OpNode, OpMake, OpSet:
		return r.Node.appendTo(b)
	}
	return b
}

func (n *Node) appendTo(b []byte) []byte {
	kind := byte(0)
	for i, k := range kinds {
		if k == n.Kind {
			kind = byte(i)
		}
	}
	b = append(b, kind)
	b = binary.AppendUvarint(b, uint64(n.Mode))
	for _, v := range []int64{n.Size, n.MTime.Sec, n.MTime.Nsec, n.CTime.Sec, n.CTime.Nsec, n.Room} {
		b = binary.AppendVarint(b, v)
	}
	for _, v := range []uint64{n.Dev, n.Ino, n.Links} {
		b = binary.AppendUvarint(b, v)
	}
	b = appendBytes(appendBytes(b, n.Name), n.Target)
	if n.Extents == nil {
		return binary.AppendUvarint(b, 0)
	}
	b = binary.AppendUvarint(b, uint64(len(n.Extents))+1)
	for _, x := range n.Extents {
		b = binary.AppendVarint(binary.AppendVarint(b, x.Offset), x.Length)
	}
	return b
}

func appendBytes(b, p []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(p))), p...)
}

// TreeReader reads the records of a frame. The zero value has none.
type TreeReader struct {
	b   []byte
	bad bool
}

// NewTreeReader returns a reader of a frame's payload. What it gives out is a part
// of b.
func NewTreeReader(b []byte) TreeReader { return TreeReader{b: b} }

// Next gives the next record; ok is false after the last.
func (r *TreeReader) Next() (rec TreeRecord, ok bool, err error) {
	if len(r.b) == 0 {
		return TreeRecord{}, false, nil
	}
	rec.Op = TreeOp(r.b[0])
	r.b = r.b[1:]
	switch rec.Op {
	case OpNode, OpMake, OpSet:
		rec.Node = r.node()
	case OpWant, OpFailed:
		rec.Index, rec.Data = r.uvarint(), r.bytes(r.uvarint())
	case OpGone:
		rec.Index = r.uvarint()
	case OpFile:
		rec.Index, rec.Node = r.uvarint(), r.node()
	case OpData:
		if len(r.b) < 4 {
			r.bad = true
			break
		}
		n := binary.BigEndian.Uint32(r.b)
		r.b = r.b[4:]
		rec.Data = r.bytes(uint64(n))
	case OpEnd, OpChanged:
	default:
		return TreeRecord{}, false, fmt.Errorf("tree: unknown record %d", rec.Op)
	}
	if r.bad {
		return TreeRecord{}, false, errors.New("tree: a record is cut off or makes no sense")
	}
	return rec, true, nil
}

func (r *TreeReader) node() (n Node) {
	if kind := r.bytes(1); len(kind) == 1 && int(kind[0]) < len(kinds) {
		n.Kind = kinds[kind[0]]
	} else {
		r.bad = true
	}
	mode := r.uvarint()
	if mode > 0o7777 {
		r.bad = true
	}
	n.Mode = uint32(mode & 0o7777)
	for _, v := range []*int64{&n.Size, &n.MTime.Sec, &n.MTime.Nsec, &n.CTime.Sec, &n.CTime.Nsec, &n.Room} {
		*v = r.varint()
	}
	for _, v := range []*uint64{&n.Dev, &n.Ino, &n.Links} {
		*v = r.uvarint()
	}
	n.Name = r.bytes(r.uvarint())
	n.Target = r.bytes(r.uvarint())
	n.Extents = r.extents()
	if n.Size < 0 || n.Room < 0 || !n.MTime.valid() || !n.CTime.valid() {
		r.bad = true
	}
	return n
}

func (m Moment) valid() bool { return m.Nsec >= 0 && m.Nsec < 1_000_000_000 }

// extents reads extents that are in order and do not touch what is no file.
func (r *TreeReader) extents() []sandbox.Extent {
	count := r.uvarint()
	if count == 0 || r.bad {
		return nil
	}
	if count--; count > MaxExtents {
		r.bad = true
		return nil
	}
	all := make([]sandbox.Extent, 0, min(count, uint64(len(r.b))))
	end := int64(0)
	for range count {
		x := sandbox.Extent{Offset: r.varint(), Length: r.varint()}
		if r.bad || x.Offset < end || x.Length <= 0 || x.Length > math.MaxInt64-x.Offset {
			r.bad = true
			return nil
		}
		end = x.Offset + x.Length
		all = append(all, x)
	}
	return all
}

func (r *TreeReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *TreeReader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *TreeReader) bytes(n uint64) []byte {
	if r.bad || n > uint64(len(r.b)) {
		r.bad = true
		return nil
	}
	p := r.b[:n]
	r.b = r.b[n:]
	return p
}
