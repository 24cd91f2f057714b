package egress

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"
)

// grace lets the transport's own bound on silence speak first: it gives a reason.
const grace = 5 * time.Second

// exchange is one request and its answer, as the program's side sees it: the body
// on its way out, and whether the program is still there.
type exchange struct {
	link   *link
	ctx    context.Context
	cancel context.CancelFunc
	body   io.Reader

	mu       sync.Mutex
	expects  bool // waits for "100 Continue" before it sends the body
	whole    bool // the body was read to its end
	over     bool
	watching chan struct{} // closed when the watch has ended
}

// newExchange begins one. There is a body if req says so; the exchange is its
// reader.
func newExchange(l *link, req *http.Request) *exchange {
	x := &exchange{link: l, body: req.Body, expects: req.Header.Get("Expect") != ""}
	x.ctx, x.cancel = context.WithCancel(l.ctx)
	l.dog.arm(l.session.proxy.config.Limits.IdleTimeout + grace)
	if req.ContentLength == 0 {
		x.finish()
	}
	return x
}

// Read is for the transport, which may still call it when it has given an answer.
func (x *exchange) Read(p []byte) (int, error) {
	if err := x.invite(); err != nil {
		return 0, err
	}
	n, err := x.body.Read(p)
	x.touch()
	if err == io.EOF {
		x.finish()
	}
	return n, err
}

// Close leaves the body alone: whether its connection lives is not up to the
// transport.
func (x *exchange) Close() error { return nil }

func (x *exchange) touch() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.over {
		x.link.dog.arm(x.link.session.proxy.config.Limits.IdleTimeout + grace)
	}
}

// invite asks the program for the body that it holds back.
func (x *exchange) invite() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.over {
		return errClosed
	}
	if !x.expects {
		return nil
	}
	x.expects = false
	_, err := io.WriteString(x.link.conn, "HTTP/1.1 100 Continue\r\n\r\n")
	return err
}

// complete says whether the body was read to its end.
func (x *exchange) complete() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.whole
}

// answered keeps an invitation from getting into the answer.
func (x *exchange) answered() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.expects = false
}

// finish notes that the request is whole, and watches from now on whether the
// program hangs up, so that nobody works for one that is gone.
func (x *exchange) finish() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.whole, x.expects = true, false
	if x.over || x.watching != nil || x.link.conn.SetReadDeadline(time.Time{}) != nil {
		return
	}
	done := make(chan struct{})
	x.watching = done
	go func() {
		defer close(done)
		if _, err := x.link.r.Peek(1); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			x.cancel()
		}
	}()
}

// end says whether the connection may carry another request: not before the body
// of this one was read, by nobody else any more.
func (x *exchange) end() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.over {
		x.over = true
		if x.watching != nil {
			x.stopWatch()
		}
		x.cancel()
	}
	return x.whole
}

func (x *exchange) stopWatch() {
	conn := x.link.conn
	if conn.SetReadDeadline(time.Unix(1, 0)) != nil {
		_ = conn.Close()
	}
	<-x.watching
	if conn.SetReadDeadline(time.Time{}) != nil {
		_ = conn.Close()
	}
}
