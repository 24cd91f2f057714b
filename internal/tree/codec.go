package tree

import (
	"context"
	"runtime"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// codec compresses, from any number of goroutines.
type codec struct {
	enc              *zstd.Encoder
	frames, sections *zstd.Decoder
}

// workers is how many goroutines compress, decompress or hash at the same time.
func workers() int { return min(max(runtime.GOMAXPROCS(0), 2), 8) }

func newCodec() (*codec, error) {
	// The fastest level, because a save is held up by it, and better ones gain little
	// on what workspaces hold. Without checksums: all content has a SHA-256.
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
