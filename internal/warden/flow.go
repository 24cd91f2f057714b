//go:build linux

package warden

import (
	"io"
	"sync"
)

// inflow is what the worker has sent and a program has not read yet. The frame
// loop puts, and never waits; run writes.
type inflow struct {
	mu     sync.Mutex
	more   sync.Cond
	chunks [][]byte
	size   int
	most   int  // of size
	ended  bool // nothing more will come
	closed bool // nothing more will be written
}

func newInflow(most int) *inflow {
	q := &inflow{most: most}
	q.more.L = &q.mu
	return q
}

// put says false when the sender ignores its window.
func (q *inflow) put(p []byte) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || q.ended || len(p) == 0 {
		return true
	}
	if q.size+len(p) > q.most {
		return false
	}
	q.size += len(p)
	q.chunks = append(q.chunks, append([]byte(nil), p...))
	q.more.Signal()
	return true
}

func (q *inflow) end() {
	q.mu.Lock()
	q.ended = true
	q.mu.Unlock()
	q.more.Broadcast()
}

func (q *inflow) close() {
	q.mu.Lock()
	q.closed, q.chunks = true, nil
	q.mu.Unlock()
	q.more.Broadcast()
}

// whole says that the sender has sent everything.
func (q *inflow) whole() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.ended
}

func (q *inflow) next() []byte {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.chunks) == 0 && !q.ended && !q.closed {
		q.more.Wait()
	}
	if len(q.chunks) == 0 {
		return nil
	}
	p := q.chunks[0]
	q.chunks[0] = nil
	q.chunks = q.chunks[1:]
	return p
}

// run writes to w until the end or close, and acknowledges. What w does not take
// is thrown away and acknowledged, so that the sender is never stuck; the first
// error is returned.
func (q *inflow) run(w io.Writer, ack func(n int)) error {
	var failed error
	for {
		p := q.next()
		if p == nil {
			return failed
		}
		if failed == nil {
			_, failed = w.Write(p)
		}
		q.mu.Lock()
		q.size -= len(p)
		q.mu.Unlock()
		ack(len(p))
	}
}

// window is how much may be sent.
type window struct {
	mu     sync.Mutex
	more   sync.Cond
	n      int
	most   int // of n
	closed bool
}

func newWindow(most int) *window {
	w := &window{n: most, most: most}
	w.more.L = &w.mu
	return w
}

// wait waits until something may be sent, and says how much, at most; zero means
// that the window is closed.
func (w *window) wait(most int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.n == 0 && !w.closed {
		w.more.Wait()
	}
	if w.closed {
		return 0
	}
	return min(w.n, most)
}

// spend waits until n may be sent, which is less than the window ever is, and
// counts it as sent. It says no when the window is closed.
func (w *window) spend(n int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.n < n && !w.closed {
		w.more.Wait()
	}
	w.n -= n
	return !w.closed
}

// add changes the window, within what one may ever be.
func (w *window) add(n int) {
	w.mu.Lock()
	w.n = max(0, min(w.n+n, w.most))
	w.mu.Unlock()
	w.more.Broadcast()
}

func (w *window) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.more.Broadcast()
}
