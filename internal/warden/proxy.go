//go:build linux

package warden

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/wflo-ai/wflo-go/internal/frame"
)

// maxConnections is how many connections a program may have at a time.
const maxConnections = 256

// acceptPause is how long to wait when a connection cannot be taken, for want of
// descriptors most likely.
const acceptPause = 20 * time.Millisecond

// proxy passes connections of programs to the worker, which decides about them.
type proxy struct {
	w        *warden
	listener net.Listener
	busy     sync.WaitGroup

	mu     sync.Mutex
	next   uint32
	conns  map[uint32]*connection
	closed bool
}

// connection is one of them. Each side ends on its own.
type connection struct {
	net.Conn
	in  *inflow // from the worker
	out *window // towards it
}

// listen opens the job's network, if it has one.
func (j *job) listen() error {
	if !j.msg.Network {
		return nil
	}
	l, err := net.Listen("tcp", j.w.o.Proxy)
	if err != nil {
		return fmt.Errorf("open the network: %w", err)
	}
	p := &proxy{w: j.w, listener: l, conns: map[uint32]*connection{}, next: 1}
	j.w.mu.Lock()
	j.proxy = p
	j.w.mu.Unlock()
	p.busy.Go(p.accept)
	return nil
}

// hangUp closes the job's network and waits until nobody uses it.
func (j *job) hangUp() {
	j.w.mu.Lock()
	p := j.proxy
	j.proxy = nil
	j.w.mu.Unlock()
	if p == nil {
		return
	}
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	_ = p.listener.Close()
	p.resetAll()
	p.busy.Wait()
}

func (p *proxy) accept() {
	for {
		c, err := p.listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			time.Sleep(acceptPause)
			continue
		}
		p.open(c)
	}
}

func (p *proxy) open(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.conns) >= maxConnections {
		_ = c.Close()
		return
	}
	id := p.next
	p.next++
	conn := &connection{Conn: c, in: newInflow(frame.InitialWindow), out: newWindow(frame.InitialWindow)}
	p.conns[id] = conn
	p.busy.Go(func() {
		// Not as a note: data must not overtake it.
		_ = p.w.out.Write(frame.NetOpen, id, nil)
		var both sync.WaitGroup
		both.Go(func() { p.send(id, conn) })
		both.Go(func() { p.receive(id, conn) })
		both.Wait()
		p.drop(id)
	})
}

// send passes on what the program writes.
func (p *proxy) send(id uint32, c *connection) {
	buf := make([]byte, 16<<10)
	for {
		most := c.out.wait(len(buf))
		if most == 0 {
			return
		}
		n, err := c.Read(buf[:most])
		if n > 0 {
			c.out.add(-n)
			_ = p.w.out.Write(frame.NetData, id, buf[:n])
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			_ = p.w.out.Write(frame.NetEnd, id, nil)
			return
		default:
			p.reset(id)
			return
		}
	}
}

// receive passes on what the worker sends.
func (p *proxy) receive(id uint32, c *connection) {
	err := c.in.run(c, func(n int) { p.w.send(frame.Window, id, frame.WindowMsg{Bytes: n}) })
	if err != nil {
		p.reset(id)
		return
	}
	if t, ok := c.Conn.(*net.TCPConn); ok {
		_ = t.CloseWrite()
	}
}

// handle takes a frame of a connection. Those of connections that are gone are
// of no use.
func (p *proxy) handle(f frame.Frame) {
	p.mu.Lock()
	c := p.conns[f.Stream]
	p.mu.Unlock()
	if c == nil {
		return
	}
	switch f.Type {
	case frame.NetData:
		if !c.in.put(f.Data) {
			p.reset(f.Stream)
		}
	case frame.NetEnd:
		c.in.end()
	case frame.NetReset:
		c.shut()
	case frame.Window:
		var m frame.WindowMsg
		if f.Decode(&m) == nil && m.Bytes > 0 {
			c.out.add(m.Bytes)
		}
	}
}

// shut ends both directions; whoever waits for them returns.
func (c *connection) shut() {
	if t, ok := c.Conn.(*net.TCPConn); ok {
		_ = t.SetLinger(0) // the program shall see a reset and not an end
	}
	c.in.close()
	c.out.close()
	_ = c.Close()
}

// reset ends a connection and tells the worker, once.
func (p *proxy) reset(id uint32) {
	p.mu.Lock()
	c := p.conns[id]
	delete(p.conns, id)
	p.mu.Unlock()
	if c == nil {
		return
	}
	c.shut()
	p.w.note(note{t: frame.NetReset, stream: id})
}

func (p *proxy) resetAll() {
	p.mu.Lock()
	var ids []uint32
	for id := range p.conns {
		ids = append(ids, id)
	}
	p.mu.Unlock()
	for _, id := range ids {
		p.reset(id)
	}
}

// drop forgets a connection whose both sides have ended.
func (p *proxy) drop(id uint32) {
	p.mu.Lock()
	c := p.conns[id]
	delete(p.conns, id)
	p.mu.Unlock()
	if c != nil {
		_ = c.Close()
	}
}
