package tree

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// decoder reads sections. Packs and frames that several sections name are the same
// ones.
type decoder struct {
	most  int // entries of all sections
	names int // bytes of their names so far
	nodes []node
	packs map[string]*pack
	all   map[frameAt]*frame
}

// maxNames bounds the names of a tree of at most so many entries, in bytes. Names are
// written without what they share, so without a bound a small section could have
// names without end.
func maxNames(entries int) int { return 1<<20 + 512*entries }

func errNames(total int) error {
	return wflo.Invalid("the workspace", fmt.Sprintf("has %d bytes of names or more", total), "use shorter names, or directories that are less deep")
}

type frameAt struct {
	pack *pack
	at   uint32
}

func newDecoder(most int) *decoder {
	return &decoder{most: most, packs: map[string]*pack{}, all: map[frameAt]*frame{}}
}

// cursor reads numbers and strings; after the first thing that is wrong it reads
// nothing any more.
type cursor struct {
	b   []byte
	err error
}

func (c *cursor) fail(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf(format, args...)
		c.b = nil
	}
}

// number reads one up to a bound.
func (c *cursor) number(most uint64) uint64 {
	v, n := binary.Uvarint(c.b)
	switch {
	case n <= 0:
		c.fail("a number is cut off")
		return 0
	case v > most:
		c.fail("a number is %d and may be %d", v, most)
		return 0
	}
	c.b = c.b[n:]
	return v
}

// count reads how many things follow, each of at least so many bytes.
func (c *cursor) count(least int) int {
	return int(c.number(uint64(len(c.b) / least))) //nolint:gosec // bounded by a length
}

func (c *cursor) signed() int64 {
	v, n := binary.Varint(c.b)
	if n <= 0 {
		c.fail("a number is cut off")
		return 0
	}
	c.b = c.b[n:]
	return v
}

// take reads n bytes without copying them; nil when there are fewer.
func (c *cursor) take(n int) []byte {
	if n > len(c.b) {
		c.fail("it is cut off")
		return nil
	}
	v := c.b[:n:n]
	c.b = c.b[n:]
	return v
}

// bytes reads a string with its length.
func (c *cursor) bytes() []byte { return c.take(c.count(1)) }

func (c *cursor) small() uint32 { return uint32(c.number(math.MaxUint32)) } //nolint:gosec // bounded

func (c *cursor) time() time.Time {
	seconds := c.signed()
	return time.Unix(seconds, int64(c.number(999_999_999))).UTC() //nolint:gosec // bounded
}

// section reads one, of which nothing is kept.
func (d *decoder) section(b []byte) error {
	c := &cursor{b: b}
	if head := string(c.take(min(len(magic), len(b)))); head != magic && head != firstMagic {
		return errors.New("it does not begin like a manifest of a version that is known")
	}
	packs := make([]*pack, c.count(len(sum{})+2))
	for i := range packs {
		packs[i] = d.pack(c)
	}
	frames := make([]*frame, c.count(4))
	for i := range frames {
		frames[i] = d.frame(c, packs)
	}
	count := c.count(7)
	if have := len(d.nodes); count > d.most-have {
		return sandbox.TreeLimits{Entries: d.most}.Exceeded(have+count, 0, 0, true)
	}
	var last []byte
	for range count {
		n := readNode(c, last, frames)
		if c.err != nil {
			return c.err
		}
		if d.names += len(n.Name); d.names > maxNames(d.most) {
			return errNames(d.names)
		}
		d.nodes = append(d.nodes, n)
		last = n.Name
	}
	if c.err == nil && len(c.b) > 0 {
		c.fail("%d bytes follow its end", len(c.b))
	}
	return c.err
}

func (d *decoder) pack(c *cursor) *pack {
	p := &pack{key: hex.EncodeToString(c.take(len(sum{})))}
	p.size = c.small()
	p.raw = int64(c.number(math.MaxInt64)) //nolint:gosec // bounded
	if p.size > maxPack {
		c.fail("a pack has %d bytes", p.size)
	}
	if known := d.packs[p.key]; known != nil {
		if *known != *p {
			c.fail("pack %.12s is described in two ways", p.key)
		}
		return known
	}
	d.packs[p.key] = p
	return p
}

func (d *decoder) frame(c *cursor, packs []*pack) *frame {
	in, at, n, raw := c.number(math.MaxInt32), c.small(), c.small(), c.small()
	if c.err != nil {
		return nil
	}
	if in >= uint64(len(packs)) || n == 0 || uint64(at)+uint64(n) > uint64(packs[in].size) || raw == 0 || raw > pieceSize {
		c.fail("a frame is not within its pack")
		return nil
	}
	f := &frame{pack: packs[in], at: at, n: n, raw: raw}
	where := frameAt{f.pack, at}
	if known := d.all[where]; known != nil {
		if *known != *f {
			c.fail("a frame of pack %.12s is described in two ways", f.pack.key)
		}
		return known
	}
	d.all[where] = f
	return f
}

func readNode(c *cursor, last []byte, frames []*frame) node {
	var n node
	kind := c.take(1)
	if c.err != nil {
		return n
	}
	if int(kind[0]) >= len(kindCodes) {
		c.fail("an entry is of kind %d", kind[0])
		return n
	}
	n.Kind = kindCodes[kind[0]]
	shared := int(c.number(uint64(len(last)))) //nolint:gosec // bounded by a length
	rest := c.bytes()
	n.Name = append(append(make([]byte, 0, shared+len(rest)), last[:shared]...), rest...)
	n.Mode = uint32(c.number(0o7777)) //nolint:gosec // bounded
	n.MTime = c.time()
	n.Stamp = string(c.bytes())
	switch n.Kind {
	case sandbox.TreeSymlink, sandbox.TreeLink:
		n.Target = bytes.Clone(c.bytes())
	case sandbox.TreeFile:
		n.Size = int64(c.number(math.MaxInt64)) //nolint:gosec // bounded
		n.Extents = readExtents(c, n.Size)
		n.pieces = readPieces(c, n.Content(), frames)
	}
	return n
}

func readExtents(c *cursor, size int64) []sandbox.Extent {
	count := int(c.number(uint64(len(c.b)/2 + 1))) //nolint:gosec // bounded by a length
	if count == 0 {
		return nil
	}
	extents := make([]sandbox.Extent, count-1)
	left := size
	for i := range extents {
		gap := int64(c.number(uint64(left))) //nolint:gosec // never negative
		left -= gap
		n := int64(c.number(uint64(left))) //nolint:gosec // never negative
		if n == 0 {
			c.fail("an extent is empty")
		}
		extents[i] = sandbox.Extent{Offset: size - left, Length: n}
		left -= n
	}
	return extents
}

// readPieces reads where so much content is.
func readPieces(c *cursor, content int64, frames []*frame) []piece {
	count := countPieces(content)
	if count > int64(len(c.b)/(len(sum{})+2)) {
		c.fail("%d bytes of content are not all there", content)
	}
	if count == 0 || c.err != nil {
		return nil
	}
	pieces := make([]piece, count)
	for i := range pieces {
		in, at := c.number(math.MaxInt32), c.small()
		got := c.take(len(sum{}))
		n := min(content, pieceSize)
		if c.err != nil {
			return nil
		}
		if in >= uint64(len(frames)) || int64(at)+n > int64(frames[in].raw) {
			c.fail("a piece is not within its frame")
			return nil
		}
		pieces[i] = piece{sum: sum(got), in: frames[in], at: at, n: uint32(n)} //nolint:gosec // at most 1 MiB
		content -= n
	}
	return pieces
}
