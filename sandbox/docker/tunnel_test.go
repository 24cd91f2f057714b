package docker

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"github.com/wflo-ai/wflo-go/internal/frame"
)

// peer is the other end of tunnels: the PID 1 of a sandbox, as it should not be.
type peer struct {
	t  testing.TB
	ts *tunnels

	mu  sync.Mutex
	buf bytes.Buffer
	r   *frame.Reader
	err error // of writing to it

	conns chan net.Conn // what was handed to the proxy
	hold  chan struct{} // closed to let the proxy's ends go
}

// newPeer makes tunnels that hand their connections to the test.
func newPeer(t testing.TB) *peer {
	p := &peer{t: t, conns: make(chan net.Conn, 2*maxTunnels), hold: make(chan struct{})}
	p.r = frame.NewReader(&p.buf)
	p.ts = newTunnels(frame.NewWriter(p), func(c net.Conn) {
		p.conns <- c
		<-p.hold
	})
	return p
}

// Write takes what the worker sends; it never makes it wait.
func (p *peer) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return 0, p.err
	}
	return p.buf.Write(b)
}

// said gives the frames that have come since it was asked last, when everything
// that can happen has happened.
func (p *peer) said() []frame.Frame {
	p.t.Helper()
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []frame.Frame
	for {
		f, err := p.r.Read()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			p.t.Fatal(err)
		}
		f.Data = bytes.Clone(f.Data)
		all = append(all, f)
	}
}

// data joins the frames of data on a stream, and says what else was on it.
func data(all []frame.Frame, stream uint32) (data []byte, other []frame.Type) {
	for _, f := range all {
		switch {
		case f.Stream != stream:
		case f.Type == frame.NetData:
			data = append(data, f.Data...)
		default:
			other = append(other, f.Type)
		}
	}
	return data, other
}

// granted adds up the windows of a stream.
func (p *peer) granted(all []frame.Frame, stream uint32) (n int) {
	for _, f := range all {
		var m frame.WindowMsg
		if f.Stream != stream || f.Type != frame.Window {
			continue
		}
		if err := f.Decode(&m); err != nil {
			p.t.Fatal(err)
		}
		n += m.Bytes
	}
	return n
}

func (p *peer) send(t frame.Type, stream uint32, data []byte) {
	p.ts.take(frame.Frame{Type: t, Stream: stream, Data: data})
}

func (p *peer) grant(stream uint32, n int) {
	data, err := frame.Encode(frame.WindowMsg{Bytes: n})
	if err != nil {
		p.t.Fatal(err)
	}
	p.send(frame.Window, stream, data)
}

// open opens a stream and gives the proxy's end of it.
func (p *peer) open(stream uint32) net.Conn {
	p.t.Helper()
	p.send(frame.NetOpen, stream, nil)
	synctest.Wait()
	select {
	case c := <-p.conns:
		return c
	default:
		p.t.Fatalf("stream %d was not opened", stream)
		return nil
	}
}

// over ends everything; the bubble fails the test for goroutines that are left.
func (p *peer) over() {
	close(p.hold)
	p.ts.close()
}

func (p *peer) fill(stream uint32, n int) {
	for n > 0 {
		k := min(n, frame.MaxData)
		p.send(frame.NetData, stream, make([]byte, k))
		n -= k
	}
}

func TestTunnelWindowToProgram(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		c := p.open(1)
		written := make(chan error, 1)
		go func() {
			_, err := c.Write(make([]byte, 3*frame.InitialWindow))
			written <- err
		}()
		if got, other := data(p.said(), 1); len(got) != frame.InitialWindow || len(other) != 0 {
			t.Fatalf("without a word of the program %d bytes came and %v, want %d", len(got), other, frame.InitialWindow)
		}
		for _, hostile := range []int{0, -1, frame.InitialWindow + 1, 1 << 62} {
			p.grant(1, hostile)
			if got, _ := data(p.said(), 1); len(got) > 0 {
				t.Fatalf("a window of %d brought %d bytes", hostile, len(got))
			}
		}
		p.grant(1, 100)
		if got, _ := data(p.said(), 1); len(got) != 100 {
			t.Fatalf("a window of 100 brought %d bytes", len(got))
		}
		p.grant(1, frame.InitialWindow)
		p.grant(1, frame.InitialWindow)
		if got, _ := data(p.said(), 1); len(got) < frame.InitialWindow || len(got) > 2*frame.InitialWindow {
			t.Fatalf("two whole windows brought %d bytes", len(got))
		}
		p.grant(1, frame.InitialWindow)
		p.said()
		if err := <-written; err != nil {
			t.Error(err)
		}
		p.over()
	})
}

func TestTunnelWindowFromProgram(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		c := p.open(1)
		p.fill(1, frame.InitialWindow)
		// The pipe takes the first piece out of the queue, but nobody has read it.
		if got := p.granted(p.said(), 1); got != 0 {
			t.Fatalf("a window of %d for what the proxy has not read", got)
		}
		if _, err := io.ReadFull(c, make([]byte, frame.InitialWindow)); err != nil {
			t.Fatal(err)
		}
		if got := p.granted(p.said(), 1); got != frame.InitialWindow {
			t.Errorf("granted %d after everything was read, want %d", got, frame.InitialWindow)
		}
		p.over()
	})
}

// TestTunnelBeyondWindow holds that a program that sends more than it may loses
// that connection and no other, and never fills the worker's memory.
func TestTunnelBeyondWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		bad, good := p.open(1), p.open(2)
		// One queue may be on its way to the proxy besides the one that waits.
		p.fill(1, 2*frame.InitialWindow+1)
		if _, err := io.ReadAll(bad); err == nil {
			t.Error("the connection goes on")
		}
		if _, err := bad.Write([]byte("a")); err == nil {
			t.Error("it can be written to")
		}
		p.send(frame.NetData, 2, []byte("hello"))
		if _, err := io.ReadFull(good, make([]byte, 5)); err != nil {
			t.Errorf("another connection: %v", err)
		}
		p.over()
		if _, other := data(p.said(), 1); len(other) == 0 || other[len(other)-1] != frame.NetReset {
			t.Errorf("the program was told %v, want a reset at last", other)
		}
	})
}

func TestTunnelHalfClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		first, second := p.open(1), p.open(2)
		// The program ends its half; the answer still comes.
		p.send(frame.NetData, 1, []byte("ask"))
		p.send(frame.NetEnd, 1, nil)
		p.send(frame.NetData, 2, []byte("as"))
		if got, err := io.ReadAll(first); string(got) != "ask" || err != nil {
			t.Errorf("read %q, %v, want all and the end", got, err)
		}
		if _, err := first.Write([]byte("answer")); err != nil {
			t.Error(err)
		}
		if got, other := data(p.said(), 1); string(got) != "answer" || len(other) != 1 || other[0] != frame.Window {
			t.Errorf("after the program's end came %q and %v", got, other)
		}
		// The proxy ends its half; what the program says still arrives.
		half, ok := second.(interface{ CloseWrite() error })
		if !ok {
			t.Fatal("a connection's directions cannot be ended one by one")
		}
		if err := half.CloseWrite(); err != nil {
			t.Error(err)
		}
		p.send(frame.NetData, 2, []byte("k"))
		if _, err := io.ReadFull(second, make([]byte, 3)); err != nil {
			t.Error(err)
		}
		if _, other := data(p.said(), 2); len(other) == 0 || !contains(other, frame.NetEnd) || contains(other, frame.NetReset) {
			t.Errorf("after the proxy's end came %v, want an end and no reset", other)
		}
		p.over()
	})
}

func contains(all []frame.Type, t frame.Type) bool {
	for _, got := range all {
		if got == t {
			return true
		}
	}
	return false
}

func TestTunnelReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		c := p.open(1)
		read := make(chan error, 1)
		go func() {
			_, err := c.Read(make([]byte, 1))
			read <- err
		}()
		synctest.Wait()
		p.send(frame.NetReset, 1, nil)
		if err := <-read; err == nil {
			t.Error("a read that waited goes on after a reset")
		}
		if _, err := c.Write([]byte("a")); err == nil {
			t.Error("a reset connection can be written to")
		}
		p.over()
	})
}

func TestTunnelsAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		for i := range uint32(maxTunnels) {
			p.open(i + 1)
		}
		p.send(frame.NetOpen, maxTunnels+1, nil)
		p.send(frame.NetOpen, 1, nil) // one that is open
		all := p.said()
		for _, stream := range []uint32{maxTunnels + 1, 1} {
			if _, other := data(all, stream); len(other) != 1 || other[0] != frame.NetReset {
				t.Errorf("stream %d was told %v, want a reset", stream, other)
			}
		}
		if n := len(p.conns); n != 0 {
			t.Errorf("the proxy got %d connections more", n)
		}
		p.over()
		if n := len(p.ts.open); n != 0 {
			t.Errorf("%d connections are still known", n)
		}
		p.send(frame.NetOpen, 1000, nil)
		synctest.Wait()
		if n := len(p.conns); n != 0 {
			t.Error("a connection is opened after the end")
		}
		p.ts.wg.Wait()
	})
}

// TestTunnelAgain holds that a stream that is over is free for another.
func TestTunnelAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &peer{t: t}
		p.r = frame.NewReader(&p.buf)
		p.ts = newTunnels(frame.NewWriter(p), func(c net.Conn) {
			_, _ = io.Copy(c, c)
			_ = c.Close()
		})
		for range 3 {
			p.send(frame.NetOpen, 1, nil)
			p.send(frame.NetData, 1, []byte("echo"))
			p.send(frame.NetEnd, 1, nil)
			if got, other := data(p.said(), 1); string(got) != "echo" || other[len(other)-1] != frame.NetReset {
				t.Fatalf("came %q and %v, want the echo and the end", got, other)
			}
		}
		p.ts.close()
	})
}

// TestTunnelsClose holds that close ends connections in whatever state, also
// when nothing can be written any more.
func TestTunnelsClose(t *testing.T) {
	for name, broken := range map[string]error{"whole": nil, "sandbox gone": errors.New("broken pipe")} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPeer(t)
				reading, writing := p.open(1), p.open(2)
				p.open(3)
				p.fill(3, frame.InitialWindow)
				var wg sync.WaitGroup
				wg.Go(func() { _, _ = reading.Read(make([]byte, 1)) })
				wg.Go(func() { _, _ = writing.Write(make([]byte, 2*frame.InitialWindow)) })
				synctest.Wait()
				p.mu.Lock()
				p.err = broken
				p.mu.Unlock()
				p.over()
				wg.Wait()
			})
		})
	}
}

// FuzzTunnels throws frames in any order at tunnels whose proxy echoes.
func FuzzTunnels(f *testing.F) {
	f.Add([]byte{0, 1, 1, 1, 2, 1})
	f.Add([]byte{0, 1, 3, 1, 1, 1, 0, 1, 4, 1, 0, 0, 2, 0})
	f.Fuzz(func(t *testing.T, script []byte) {
		p := &peer{t: t}
		p.ts = newTunnels(frame.NewWriter(p), func(c net.Conn) {
			_, _ = io.Copy(c, c)
			_ = c.Close()
		})
		types := []frame.Type{frame.NetOpen, frame.NetData, frame.NetEnd, frame.NetReset, frame.Window, frame.Stdout}
		for i := 0; i+1 < len(script) && i < 200; i += 2 {
			p.send(types[int(script[i])%len(types)], uint32(script[i+1]%4), bytes.Repeat(script[i:i+1], frame.MaxData))
		}
		p.ts.close()
	})
}

// TestWindow holds that a window never gives more than was granted.
func TestWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, credit := newWindow(), frame.InitialWindow
		for _, n := range rapid.SliceOf(rapid.IntRange(-10, frame.InitialWindow+10)).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "grant") {
				w.grant(n)
				if n > 0 && n <= frame.InitialWindow {
					credit = min(credit+n, frame.InitialWindow)
				}
				continue
			}
			if n <= 0 || credit == 0 {
				continue
			}
			got := w.take(n)
			if want := min(n, credit); got != want {
				t.Fatalf("take(%d) = %d, want %d", n, got, want)
			}
			credit -= got
		}
		w.close()
		if got := w.take(1); got != 0 {
			t.Fatalf("a closed window gives %d", got)
		}
	})
}
