package pgtables

import (
	"context"
	"io"
	"sync"
)

// pouring reads the rows of a table, one chunk ahead.
type pouring struct {
	ctx    context.Context
	cancel context.CancelFunc
	chunks chan []byte
	used   chan []byte
	sum    *rowSum // of the rows that were read; complete when chunks is closed
	wg     sync.WaitGroup
	mu     sync.Mutex
	err    error

	at  []byte // what is left of buf
	buf []byte
}

// pour starts reading, which the caller ends. The rows are added to a sum.
func (k *Keeper) pour(ctx context.Context, t *table, sum *rowSum) *pouring {
	p := &pouring{sum: sum, chunks: make(chan []byte), used: make(chan []byte, 2)}
	p.ctx, p.cancel = context.WithCancel(ctx)
	p.used <- nil
	p.used <- nil
	p.wg.Go(func() {
		defer close(p.chunks)
		for _, c := range t.Chunks {
			var buf []byte
			select {
			case buf = <-p.used:
			case <-p.ctx.Done():
				return
			}
			raw, err := k.open(p.ctx, t, c, buf)
			if err == nil && p.sum.addAll(raw) != c.Rows {
				err = damaged("a part of table %s is damaged: blob %.12s has other rows", t.show(), c.Key)
			}
			if err != nil {
				p.fail(err)
				return
			}
			select {
			case p.chunks <- raw:
			case <-p.ctx.Done():
				return
			}
		}
	})
	return p
}

func (p *pouring) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = err
}

// failure is why reading ended early; nil where it did not.
func (p *pouring) failure() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// Read implements io.Reader.
func (p *pouring) Read(b []byte) (int, error) {
	for len(p.at) == 0 {
		if p.buf != nil {
			p.used <- p.buf
			p.buf = nil
		}
		raw, ok := <-p.chunks
		if !ok {
			if err := p.failure(); err != nil {
				// The server logs what it is told, so that is not what happened.
				return 0, io.ErrUnexpectedEOF
			}
			if err := p.ctx.Err(); err != nil {
				return 0, err
			}
			return 0, io.EOF
		}
		p.at, p.buf = raw, raw
	}
	n := copy(b, p.at)
	p.at = p.at[n:]
	return n, nil
}

// end stops reading and waits for it.
func (p *pouring) end() {
	p.cancel()
	p.wg.Wait()
}
