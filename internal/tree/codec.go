package tree

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
)

// A frame begins with a byte that says how it is compressed; the byte with which zstd
// begins stands for itself.
const (
	markS2   = 0x01 // a block of S2 follows
	markZstd = 0x28 // what manifests of the first version have
)

// codec compresses, from any number of goroutines: frames by S2, sections by zstd.
type codec struct {
	enc              *zstd.Encoder
	frames, sections *zstd.Decoder
}

// workers is how many goroutines compress, decompress or hash at the same time.
func workers() int { return min(max(runtime.GOMAXPROCS(0), 2), 8) }

func newCodec() (*codec, error) {
	// Without checksums: all content has a SHA-256.
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(pieceSize),
		zstd.WithEncoderCRC(false), zstd.WithEncoderConcurrency(workers()))
	if err != nil {
		return nil, err
	}
	frames, err := newDecompressor(pieceSize)
	if err != nil {
		return nil, err
	}
	sections, err := newDecompressor(maxSection)
	return &codec{enc: enc, frames: frames, sections: sections}, err
}

// newDecompressor makes one that refuses to give more than most bytes.
func newDecompressor(most uint64) (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecoderMaxMemory(most), zstd.WithDecoderMaxWindow(max(most, pieceSize)),
		zstd.WithDecoderConcurrency(workers()), zstd.IgnoreChecksum(true))
}

// shut compresses a frame, into buf where that is large enough. A first save is held
// up by nothing as much as by this, which is why it is S2: twice as fast as the fastest
// zstd, for a sixth more of what a workspace takes.
func (c *codec) shut(raw, buf []byte) []byte {
	if most := 1 + s2.MaxEncodedLen(len(raw)); cap(buf) < most {
		buf = make([]byte, most)
	}
	buf = buf[:cap(buf)]
	buf[0] = markS2
	return buf[:1+len(s2.Encode(buf[1:], raw))]
}

// open decompresses a frame of n bytes into buf, which has room for them. It gives no
// more than n, whatever the frame says.
func (c *codec) open(frame, buf []byte, n int) ([]byte, error) {
	switch {
	case len(frame) == 0:
		return nil, errors.New("it is empty")
	case frame[0] == markZstd:
		raw, err := c.frames.DecodeAll(frame, buf[:0])
		return raw, another(len(raw), n, err)
	case frame[0] != markS2:
		return nil, fmt.Errorf("it begins with %#02x", frame[0])
	}
	has, err := s2.DecodedLen(frame[1:])
	if err := another(has, n, err); err != nil {
		return nil, err
	}
	return s2.Decode(buf[:cap(buf)], frame[1:])
}

// another is the error of a frame that has another size than it should have.
func another(has, want int, err error) error {
	if err == nil && has != want {
		err = fmt.Errorf("it has %d bytes, not %d", has, want)
	}
	return err
}

// each calls do with 0 to n-1, from several goroutines, until one gives an error,
// which it returns, or the context ends.
func each(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	todo := make(chan int)
	var wg sync.WaitGroup
	for range min(n, workers()) {
		wg.Go(func() {
			for i := range todo {
				if ctx.Err() != nil {
					continue
				}
				if err := do(ctx, i); err != nil {
					fail(err)
				}
			}
		})
	}
	for i := 0; i < n && ctx.Err() == nil; i++ {
		todo <- i
	}
	close(todo)
	wg.Wait()
	return context.Cause(ctx)
}
