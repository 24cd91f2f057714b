package tree

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/wflo-ai/wflo-go/activities"
)

// storers is how many packs are on their way to the store at the same time.
const storers = 3

// writer stores content. Reading (by whoever calls add), hashing, compressing and
// storing happen at the same time, in stages with a fixed number of buffers between
// them:
//
//	add ─ filled ─► hash ─┬─ jobs ──► compress (several)
//	 ▲                    └─ ordered ───► pack ─ full ─► store (several)
//	 └─────────── free ◄──────────────────┘   ◄─ empty ──┘
//
// Every channel has room for all buffers there are, so only who wants a free one
// waits. Frames are packed in the order in which they were read: the same tree makes
// the same packs.
type writer struct {
	ctx   context.Context
	fail  context.CancelCauseFunc
	blobs activities.Blobs
	codec *codec
	// known are the pieces that need not be stored. Only the hashing goroutine uses it.
	known map[sum]*piece

	cur                         *batch
	free, filled, jobs, ordered chan *batch
	empty, full                 chan *filling
	wg                          sync.WaitGroup
	stop                        sync.Once
	stored                      atomic.Int64 // bytes
}

// batch becomes a frame.
type batch struct {
	raw   []byte
	items []item
	out   []byte
	done  chan struct{} // has one when out is there
	frame *frame
}

// item is a piece in a batch, and where to write down what becomes of it.
type item struct {
	at, n int
	to    *piece
}

// filling is a pack that is being filled.
type filling struct {
	data []byte
	pack *pack
}

// newWriter starts the goroutines. Its end does away with them.
func newWriter(ctx context.Context, blobs activities.Blobs, codec *codec, known map[sum]*piece) *writer {
	ctx, fail := context.WithCancelCause(ctx)
	batches, packs := workers()+4, storers+1
	w := &writer{ctx: ctx, fail: fail, blobs: blobs, codec: codec, known: known,
		free: make(chan *batch, batches), filled: make(chan *batch, batches), jobs: make(chan *batch, batches), ordered: make(chan *batch, batches),
		empty: make(chan *filling, packs), full: make(chan *filling, packs)}
	for range batches {
		w.free <- &batch{done: make(chan struct{}, 1)}
	}
	for range packs {
		w.empty <- &filling{}
	}
	w.wg.Go(w.hash)
	for range workers() {
		w.wg.Go(w.compress)
	}
	w.wg.Go(w.pack)
	for range storers {
		w.wg.Go(w.store)
	}
	return w
}

// add reads n bytes, at most pieceSize, and fills in the piece by the time that
// finish returns. When it returns an error it has forgotten what it read.
func (w *writer) add(r io.Reader, n int, to *piece) error {
	if w.cur != nil && len(w.cur.raw)+n > pieceSize {
		w.flush()
	}
	if w.cur == nil {
		select {
		case w.cur = <-w.free:
			w.cur.reset()
		case <-w.ctx.Done():
			return context.Cause(w.ctx)
		}
	}
	b := w.cur
	at := len(b.raw)
	if _, err := io.ReadFull(r, b.raw[at:at+n]); err != nil {
		return err
	}
	b.raw = b.raw[:at+n]
	b.items = append(b.items, item{at, n, to})
	return nil
}

func (b *batch) reset() {
	if b.raw == nil {
		b.raw = make([]byte, 0, pieceSize)
	}
	b.raw, b.items, b.frame = b.raw[:0], b.items[:0], &frame{}
}

func (w *writer) flush() {
	if w.cur != nil {
		w.filled <- w.cur
		w.cur = nil
	}
}

// finish waits until all content is stored.
func (w *writer) finish() error {
	w.close()
	return context.Cause(w.ctx)
}

// end gives up what is not stored yet.
func (w *writer) end() {
	w.fail(context.Canceled)
	w.close()
}

// close ends the goroutines, at once if the context is over.
func (w *writer) close() {
	w.stop.Do(func() {
		w.flush()
		close(w.filled)
		w.wg.Wait()
	})
}

func (w *writer) hash() {
	defer close(w.jobs)
	defer close(w.ordered)
	for b := range w.filled {
		if w.ctx.Err() == nil {
			w.dedupe(b)
		}
		if len(b.raw) == 0 || w.ctx.Err() != nil {
			w.free <- b
			continue
		}
		w.ordered <- b
		w.jobs <- b
	}
}

// dedupe hashes the pieces and keeps those in the batch that are new.
func (w *writer) dedupe(b *batch) {
	kept := 0
	for _, it := range b.items {
		data := b.raw[it.at : it.at+it.n]
		s := sum(sha256.Sum256(data))
		if p := w.known[s]; p != nil {
			*it.to = *p
			continue
		}
		if kept != it.at {
			copy(b.raw[kept:], data)
		}
		*it.to = piece{sum: s, in: b.frame, at: uint32(kept), n: uint32(it.n)} //nolint:gosec // at most 1 MiB
		w.known[s] = it.to
		kept += it.n
	}
	b.raw = b.raw[:kept]
	b.frame.raw = uint32(kept) //nolint:gosec // at most 1 MiB
}

func (w *writer) compress() {
	for b := range w.jobs {
		if w.ctx.Err() == nil {
			b.out = w.codec.shut(b.raw, b.out)
		}
		b.done <- struct{}{}
	}
}

func (w *writer) pack() {
	defer close(w.full)
	var p *filling
	for b := range w.ordered {
		<-b.done
		if p == nil {
			select {
			case p = <-w.empty:
				p.data, p.pack = p.data[:0], &pack{}
			case <-w.ctx.Done():
			}
		}
		if w.ctx.Err() == nil {
			p.add(b)
			if len(p.data) >= packSize {
				w.full <- p
				p = nil
			}
		}
		w.free <- b
	}
	if p != nil && w.ctx.Err() == nil {
		w.full <- p
	}
}

func (p *filling) add(b *batch) {
	if need := len(p.data) + len(b.out); need > cap(p.data) && len(p.data) > 0 {
		// A second frame is often followed by more, and growing by and by copies them all.
		p.data = slices.Grow(p.data, maxPack-len(p.data))
	}
	b.frame.pack, b.frame.at, b.frame.n = p.pack, uint32(len(p.data)), uint32(len(b.out)) //nolint:gosec // at most maxPack
	p.data = append(p.data, b.out...)
	p.pack.raw += int64(len(b.raw))
	p.pack.size = uint32(len(p.data)) //nolint:gosec // at most maxPack
}

func (w *writer) store() {
	for p := range w.full {
		if w.ctx.Err() == nil {
			key, err := put(w.ctx, w.blobs, p.data)
			if err != nil {
				w.fail(fmt.Errorf("store content of the workspace: %w", err))
			}
			p.pack.key = key
			w.stored.Add(int64(len(p.data)))
		}
		w.empty <- p
	}
}

// put stores a blob and refuses a key that could not be written down.
func put(ctx context.Context, blobs activities.Blobs, data []byte) (string, error) {
	key, err := blobs.Put(ctx, data)
	if err != nil {
		return "", err
	}
	if b, err := hex.DecodeString(key); err != nil || len(b) != sha256.Size {
		return "", fmt.Errorf("the blob store gave the key %.80q, which is not 64 hex digits", key)
	}
	return key, nil
}
