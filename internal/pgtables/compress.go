package pgtables

import (
	"encoding/binary"
	"errors"

	"github.com/klauspost/compress/huff0"
	"github.com/klauspost/compress/s2"
)

const (
	// probed is how much of a chunk is asked whether strings come again in it.
	probed = 64 << 10
	// blockSize is the most that a block of zstd may hold.
	blockSize = 128 << 10
)

// packer compresses chunks, one at a time.
type packer struct {
	codec *codec
	huff  huff0.Scratch
	probe [2 * probed]byte
}

// pack appends a chunk to out as a frame of zstd, and depends on the chunk alone. To look
// for strings that come again takes most of a save's time, so where S2, which is several
// times faster, finds few of them in the beginning (rows of numbers, keys and hashes), the
// letters get a Huffman code and nothing else.
func (p *packer) pack(chunk, out []byte) []byte {
	if p.repeats(chunk) {
		return p.codec.enc.EncodeAll(chunk, out)
	}
	return p.literals(chunk, out)
}

// repeats says that S2 takes a quarter off.
func (p *packer) repeats(chunk []byte) bool {
	some := chunk[:min(len(chunk), probed)]
	return len(some) < probed || len(s2.Encode(p.probe[:], some))*4 <= len(some)*3
}

// literals writes a frame without sequences: RFC 8878, sections 3.1.1 and 4.2.
func (p *packer) literals(chunk, out []byte) []byte {
	const (
		magic         = 0xfd2fb528
		singleSegment = 2<<6 | 1<<5 // with a size of 4 bytes, which is the window too
	)
	out = binary.LittleEndian.AppendUint32(out, magic)
	out = binary.LittleEndian.AppendUint32(append(out, singleSegment), uint32(len(chunk)))
	for len(chunk) > 0 {
		n := min(len(chunk), blockSize)
		out = p.block(chunk[:n], n == len(chunk), out)
		chunk = chunk[n:]
	}
	return out
}

func (p *packer) block(data []byte, last bool, out []byte) []byte {
	const (
		raw, repeated, compressed = 0, 1, 2
		// Four streams, and 18 bits for each of two sizes.
		fourStreams = 3 << 2
	)
	header := func(kind, size int) {
		h := uint32(size)<<3 | uint32(kind)<<1
		if last {
			h |= 1
		}
		out = append(out, byte(h), byte(h>>8), byte(h>>16))
	}
	p.huff.Reuse = huff0.ReusePolicyNone
	code, _, err := huff0.Compress4X(data, &p.huff)
	switch {
	case errors.Is(err, huff0.ErrUseRLE):
		header(repeated, len(data))
		return append(out, data[0])
	case err != nil || len(code)+6 >= len(data):
		header(raw, len(data))
		return append(out, data...)
	}
	header(compressed, 5+len(code)+1)
	sizes := uint64(compressed | fourStreams | len(data)<<4 | len(code)<<22)
	out = append(out, byte(sizes), byte(sizes>>8), byte(sizes>>16), byte(sizes>>24), byte(sizes>>32))
	return append(append(out, code...), 0) // no sequences
}
