package docker

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/wflo-ai/wflo-go/internal/frame"
)

// window is how much may still be sent on a stream.
type window struct {
	mu     sync.Mutex
	change sync.Cond
	credit int
	most   int // of credit
	closed bool
}

func newWindow() *window { return newWindowOf(frame.InitialWindow) }

func newWindowOf(most int) *window {
	w := &window{credit: most, most: most}
	w.change.L = &w.mu
	return w
}

// spend waits for n of credit and takes it, which is less than there ever is. It
// says no when the window is closed.
func (w *window) spend(n int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.credit < n && !w.closed {
		w.change.Wait()
	}
	w.credit -= n
	return !w.closed
}

// take waits for credit and gives at most n of it; 0 when the window is closed.
func (w *window) take(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.credit == 0 && !w.closed {
		w.change.Wait()
	}
	if w.closed {
		return 0
	}
	n = min(n, w.credit)
	w.credit -= n
	return n
}

func (w *window) grant(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n > 0 && n <= w.most {
		w.credit = min(w.credit+n, w.most)
	}
	w.change.Broadcast()
}

func (w *window) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.change.Broadcast()
}

// maxTunnels is how many connections a program may have open.
const maxTunnels = 256

// tunnels carries the connections that a program makes to its proxy. The other
// end of each is a stream of frames, so who connects cannot be forged: the
// frames come from the sandbox's own PID 1.
type tunnels struct {
	w     *frame.Writer
	serve func(net.Conn)
	mu    sync.Mutex
	open  map[uint32]*tunnel
	over  bool
	wg    sync.WaitGroup
}

func newTunnels(w *frame.Writer, serve func(net.Conn)) *tunnels {
	return &tunnels{w: w, serve: serve, open: map[uint32]*tunnel{}}
}

// take handles a frame of a stream other than 0. It never waits.
func (ts *tunnels) take(f frame.Frame) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	t := ts.open[f.Stream]
	switch {
	case f.Type == frame.NetOpen && t == nil && !ts.over && len(ts.open) < maxTunnels:
		t = &tunnel{id: f.Stream, ts: ts, credit: newWindow()}
		t.change.L = &t.mu
		ts.open[f.Stream] = t
		ts.wg.Go(t.run)
	case f.Type == frame.NetOpen:
		ts.wg.Go(func() { _ = ts.w.Write(frame.NetReset, f.Stream, nil) }) // if it cannot be said, the sandbox is gone
	case t == nil: // it is over on this side
	case f.Type == frame.NetData:
		t.push(f.Data)
	case f.Type == frame.NetEnd:
		t.finish(io.EOF)
	case f.Type == frame.NetReset:
		t.abort()
	case f.Type == frame.Window:
		var m frame.WindowMsg
		if f.Decode(&m) == nil {
			t.credit.grant(m.Bytes)
		}
	}
}

// close ends all connections and waits for them.
func (ts *tunnels) close() {
	ts.mu.Lock()
	ts.over = true
	for _, t := range ts.open {
		t.abort()
	}
	ts.mu.Unlock()
	ts.wg.Wait()
}

// tunnel is one connection.
type tunnel struct {
	id     uint32
	ts     *tunnels
	credit *window // for what goes to the program

	mu     sync.Mutex
	change sync.Cond
	queue  []byte // from the program, not yet read by the proxy
	end    error  // after queue
	conns  []net.Conn
	dead   bool
}

var errReset = errors.New("connection reset")

func (t *tunnel) push(p []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.queue)+len(p) > frame.InitialWindow {
		t.kill() // more than it was allowed
		return
	}
	t.queue = append(t.queue, p...)
	t.change.Broadcast()
}

func (t *tunnel) finish(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.end == nil {
		t.end = err
	}
	t.change.Broadcast()
}

func (t *tunnel) abort() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kill()
}

func (t *tunnel) kill() {
	t.dead = true
	for _, c := range t.conns {
		_ = c.Close() // a pipe's Close cannot fail
	}
	t.credit.close()
	t.change.Broadcast()
}

// run hands the proxy its end and moves bytes until both directions are over.
func (t *tunnel) run() {
	inProxy, in := net.Pipe()
	outProxy, out := net.Pipe()
	t.mu.Lock()
	t.conns = []net.Conn{in, inProxy, out, outProxy}
	if t.dead {
		t.kill()
	}
	t.mu.Unlock()
	var wg sync.WaitGroup
	wg.Go(func() { t.inbound(in) })
	wg.Go(func() { t.outbound(out) })
	t.ts.serve(&duplex{in: inProxy, out: outProxy})
	_ = inProxy.Close()
	_ = outProxy.Close()
	wg.Wait()
	t.ts.mu.Lock()
	delete(t.ts.open, t.id)
	t.ts.mu.Unlock()
	_ = t.ts.w.Write(frame.NetReset, t.id, nil)
}

// inbound brings what the program sent to the proxy.
func (t *tunnel) inbound(to net.Conn) {
	defer to.Close()
	for {
		p, err := t.pop()
		if len(p) > 0 {
			if _, werr := to.Write(p); werr != nil {
				return
			}
			if t.ts.w.SendTo(frame.Window, t.id, frame.WindowMsg{Bytes: len(p)}) != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (t *tunnel) pop() ([]byte, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.queue) == 0 && t.end == nil && !t.dead {
		t.change.Wait()
	}
	if t.dead {
		return nil, errReset
	}
	p, err := t.queue, t.end
	t.queue = nil
	return p, err
}

// outbound brings what the proxy sends to the program.
func (t *tunnel) outbound(from net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		for p := buf[:n]; len(p) > 0; {
			k := t.credit.take(len(p))
			if k == 0 || t.ts.w.Write(frame.NetData, t.id, p[:k]) != nil {
				_ = from.Close()
				return
			}
			p = p[k:]
		}
		if err != nil {
			_ = t.ts.w.Write(frame.NetEnd, t.id, nil)
			return
		}
	}
}

// duplex is a connection whose directions end one by one, as those of TCP do.
type duplex struct{ in, out net.Conn }

func (d *duplex) Read(p []byte) (int, error)  { return d.in.Read(p) }
func (d *duplex) Write(p []byte) (int, error) { return d.out.Write(p) }
func (d *duplex) CloseWrite() error           { return d.out.Close() }
func (d *duplex) Close() error                { return errors.Join(d.in.Close(), d.out.Close()) }
func (d *duplex) LocalAddr() net.Addr         { return d.in.LocalAddr() }
func (d *duplex) RemoteAddr() net.Addr        { return d.in.RemoteAddr() }

func (d *duplex) SetDeadline(at time.Time) error {
	return errors.Join(d.in.SetDeadline(at), d.out.SetDeadline(at))
}
func (d *duplex) SetReadDeadline(at time.Time) error  { return d.in.SetReadDeadline(at) }
func (d *duplex) SetWriteDeadline(at time.Time) error { return d.out.SetWriteDeadline(at) }
