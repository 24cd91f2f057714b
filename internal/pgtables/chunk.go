package pgtables

import (
	"bytes"
	"context"
	"fmt"
	"hash/crc32"
	"runtime"
	"slices"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/wflo-ai/wflo-go/activities"
)

const (
	// minChunk, meanChunk and maxChunk say where chunks end: at a row, at the earliest
	// after minChunk bytes, on average meanChunk bytes later, and at the latest with the
	// row that reaches maxChunk. Smaller ones would store less for a change, at a round
	// trip to the blob store each. They are part of what makes a table store nothing
	// twice, and nothing else depends on them.
	minChunk  = 256 << 10
	meanChunk = 768 << 10
	maxChunk  = 4 << 20
	// usualRaw is what few chunks go beyond.
	usualRaw = 2 << 20
	// maxRaw is what no chunk goes beyond.
	maxRaw = maxChunk + maxRowBytes
)

// codec compresses, from any number of goroutines.
type codec struct {
	enc *zstd.Encoder
	dec *zstd.Decoder
}

// workers is how many chunks are compressed and stored at the same time: more than
// there are processors, because stores wait for disks and networks.
func workers() int { return min(2*runtime.GOMAXPROCS(0), 8) }

func newCodec() (*codec, error) {
	// The fastest level, because a save is held up by it. S2, which the contents of
	// workspaces are compressed by, stores half as much again of rows that are half hex
	// digits as a Huffman code does in the same time: see packer. Without checksums:
	// manifests have the SHA-256 of blobs.
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(1<<20),
		zstd.WithEncoderCRC(false), zstd.WithEncoderConcurrency(workers()))
	if err != nil {
		return nil, err
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderMaxMemory(maxRaw), zstd.WithDecoderMaxWindow(maxRaw),
		zstd.WithDecoderConcurrency(workers()), zstd.IgnoreChecksum(true))
	return &codec{enc: enc, dec: dec}, err
}

// chunker cuts the rows that are written to it into chunks.
type chunker struct {
	most Limits // what is left of them
	buf  []byte
	row  int // where the row begins that has not ended yet
	rows int64

	sum         *rowSum // of all rows; nil where nobody asks for it
	total, size int64
	// cut takes over a chunk, and gives a buffer for the next one.
	cut func(raw []byte, rows int64) ([]byte, error)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Write takes a piece of what COPY gives: rows that end with a newline, which does not
// occur inside of them.
func (c *chunker) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		end := bytes.IndexByte(p, '\n') + 1
		piece := p
		if end > 0 {
			piece = p[:end]
		}
		if len(c.buf)-c.row+len(piece) > c.most.RowBytes {
			return 0, errTooMuch("a row is larger than %d bytes", c.most.RowBytes)
		}
		c.buf = append(c.roomFor(piece), piece...)
		p = p[len(piece):]
		if end == 0 {
			break
		}
		if err := c.endRow(); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// roomFor grows the buffer by a few large steps, which copy less than many small ones.
func (c *chunker) roomFor(piece []byte) []byte {
	if len(c.buf)+len(piece) <= cap(c.buf) || len(c.buf) < usualRaw/32 {
		return c.buf
	}
	return slices.Grow(c.buf, max(usualRaw, len(c.buf)+len(piece)))
}

func (c *chunker) endRow() error {
	row := c.buf[c.row:]
	c.row = len(c.buf)
	c.rows++
	c.total++
	if c.sum != nil {
		c.sum.add(row)
	}
	if c.total > c.most.Rows {
		return errTooMuch("there are more than %d rows", c.most.Rows)
	}
	if len(c.buf) < minChunk || !endsChunk(row) && len(c.buf) < maxChunk {
		return nil
	}
	return c.flush()
}

// endsChunk depends on the row alone, so that chunks end at the same rows again
// whatever changes before them. The chance is as large as the row, so that the mean
// size of a chunk does not depend on that of rows.
func endsChunk(row []byte) bool {
	const spread = 0x9e3779b1 // the golden ratio: the high bits of a CRC alone are no good hash
	h := crc32.Checksum(row, castagnoli) * spread
	return uint64(h)*meanChunk < uint64(len(row))<<32
}

func (c *chunker) flush() error {
	if len(c.buf) == 0 {
		return nil
	}
	c.size += int64(len(c.buf))
	if c.size > c.most.Bytes {
		return errTooMuch("the rows have more than %d bytes", c.most.Bytes)
	}
	next, err := c.cut(c.buf, c.rows)
	c.buf, c.row, c.rows = next[:0], 0, 0
	return err
}

// finish ends the table.
func (c *chunker) finish() error {
	if c.row != len(c.buf) {
		return fmt.Errorf("the last row has no end")
	}
	return c.flush()
}

// counting is a chunker that keeps nothing. The sum may be nil.
func counting(most Limits, sum *rowSum) *chunker {
	return &chunker{most: most, sum: sum, cut: func(raw []byte, _ int64) ([]byte, error) { return raw, nil }}
}

// storer compresses chunks and stores them, some at the same time, and bounds how many
// are in memory by the buffers that it has.
type storer struct {
	ctx    context.Context
	fail   context.CancelCauseFunc
	blobs  activities.Blobs
	codec  *codec
	free   chan []byte
	todo   chan storing
	wg     sync.WaitGroup
	mu     sync.Mutex
	stored int64
	known  map[string]bool
}

type storing struct {
	raw []byte
	to  *chunk
}

// newStorer starts one, which the caller ends. known are the keys of blobs that are
// there already.
func newStorer(ctx context.Context, k *Keeper, known map[string]bool) *storer {
	s := &storer{blobs: k.blobs, codec: k.codec, known: known}
	s.ctx, s.fail = context.WithCancelCause(ctx)
	n := workers()
	s.free, s.todo = make(chan []byte, n+1), make(chan storing)
	for range n + 1 {
		s.free <- nil
	}
	for range n {
		s.wg.Go(s.work)
	}
	return s
}

func (s *storer) work() {
	var out []byte
	p := packer{codec: s.codec}
	for c := range s.todo {
		if s.ctx.Err() == nil {
			out = p.pack(c.raw, out[:0])
			if err := s.put(out, c.to); err != nil {
				s.fail(&blobError{fmt.Errorf("store rows: %w", err)})
			}
		}
		s.free <- c.raw
	}
}

// put stores a chunk even when the snapshot before has it: that makes it young again
// for the collector, which may take the other snapshot before this one is written down.
func (s *storer) put(data []byte, to *chunk) error {
	key, err := s.blobs.Put(s.ctx, data)
	if err != nil {
		return err
	}
	to.Key, to.Size, to.SHA256 = key, int64(len(data)), hashOf(data)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.known[key] {
		s.known[key] = true
		s.stored += int64(len(data))
	}
	return nil
}

// add takes over a chunk and gives a buffer for the next one.
func (s *storer) add(raw []byte, to *chunk) ([]byte, error) {
	select {
	case s.todo <- storing{raw, to}:
	case <-s.ctx.Done():
		return raw, context.Cause(s.ctx)
	}
	return <-s.free, nil
}

// end waits for what was added, and gives the first error.
func (s *storer) end() error {
	close(s.todo)
	s.wg.Wait()
	err := context.Cause(s.ctx)
	s.fail(nil)
	return err
}

// table gives a chunker that stores the rows of a table. Chunks are in chunks, in
// order, after end.
func (s *storer) table(most Limits, chunks *[]*chunk) *chunker {
	buf := <-s.free
	return &chunker{most: most, buf: buf[:0], cut: func(raw []byte, rows int64) ([]byte, error) {
		c := &chunk{Raw: int64(len(raw)), Rows: rows}
		*chunks = append(*chunks, c)
		return s.add(raw, c)
	}}
}

// release gives the buffer of a chunker back.
func (s *storer) release(c *chunker) { s.free <- c.buf }
