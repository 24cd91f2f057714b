package egress

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/wflo-ai/wflo-go/sandbox"
)

var (
	errProgramGone = errors.New("the program hung up")
	errSeen        = errors.New("the server's name is known")
)

// serverName waits for a TLS ClientHello and gives the server's name in it, which
// may be empty. Everything stays in the reader. It is crypto/tls that reads: a
// hello that it cannot read counts as none.
func serverName(r *bufio.Reader) (string, error) {
	peek := &peeker{r: r}
	name := ""
	server := tls.Server(peek, &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		name = hello.ServerName
		return nil, errSeen
	}})
	err := server.HandshakeContext(context.Background())
	switch {
	case errors.Is(err, errSeen):
		return name, nil
	case peek.err != nil && !errors.Is(peek.err, bufio.ErrBufferFull):
		return "", errProgramGone
	}
	return "", err
}

// peeker reads ahead without consuming, and swallows what is written.
type peeker struct {
	r   *bufio.Reader
	at  int
	err error
}

func (p *peeker) Read(b []byte) (int, error) {
	if _, err := p.r.Peek(p.at + 1); err != nil {
		p.err = err
		return 0, err
	}
	got, _ := p.r.Peek(p.r.Buffered())
	n := copy(b, got[p.at:])
	p.at += n
	return n, nil
}

func (p *peeker) Write(b []byte) (int, error)      { return len(b), nil }
func (p *peeker) Close() error                     { return nil }
func (p *peeker) LocalAddr() net.Addr              { return nil }
func (p *peeker) RemoteAddr() net.Addr             { return nil }
func (p *peeker) SetDeadline(time.Time) error      { return nil }
func (p *peeker) SetReadDeadline(time.Time) error  { return nil }
func (p *peeker) SetWriteDeadline(time.Time) error { return nil }

// buffers are what tunnels copy with.
var buffers = sync.Pool{New: func() any { return new([64 << 10]byte) }}

// tunnel copies both ways until both have ended, or nothing moved for long.
func (l *link) tunnel(up net.Conn) {
	l.dog.arm(l.session.proxy.config.Limits.IdleTimeout)
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.pour(up, l.r, l.conn)
	}()
	l.pour(l.conn, up, up)
	<-done
}

// pour copies what from has into to, and passes the end on. Whenever an end cannot
// be passed on alone, both connections are over.
func (l *link) pour(to net.Conn, from io.Reader, source net.Conn) {
	buf := buffers.Get().(*[64 << 10]byte)
	defer buffers.Put(buf)
	for {
		n, err := from.Read(buf[:])
		l.dog.arm(l.session.proxy.config.Limits.IdleTimeout)
		if n > 0 {
			if _, failed := to.Write(buf[:n]); failed != nil {
				l.broken(failed, to, source)
				return
			}
		}
		if err == nil {
			continue
		}
		if err != io.EOF || closeWrite(to) != nil {
			l.broken(err, to, source)
		}
		return
	}
}

func (l *link) broken(err error, to, source net.Conn) {
	var r *refusal
	if errors.As(err, &r) {
		l.session.traffic.refuse(l.session.log, r)
	}
	_ = to.Close()
	_ = source.Close()
}

// terminate serves a tunnel to a destination that gets a secret: the TLS in it
// ends here, and its requests are forwarded one by one. Clients that send plain
// HTTP through a tunnel get the same.
func (l *link) terminate(to sandbox.Destination) {
	if !l.established() {
		return
	}
	first, err := l.r.Peek(1)
	if err != nil {
		return
	}
	inner := *l
	inner.inside = &to
	const handshakeRecord = 22
	if first[0] == handshakeRecord && l.session.authority != nil && to.Port != plainPort {
		server := tls.Server(&unread{Conn: l.conn, r: l.r}, l.serverConfig(to))
		if err := server.HandshakeContext(l.ctx); err != nil {
			l.session.log.Debug("no TLS with the program: it may not trust "+CAFile, "to", to.String())
			return
		}
		inner.conn = server
		inner.r = bufio.NewReaderSize(server, l.session.proxy.config.Limits.HeaderBytes)
	}
	for inner.next() {
	}
	if server, ok := inner.conn.(*tls.Conn); ok {
		l.dog.arm(linger)
		_ = server.Close()
	}
}

var errOtherName = errors.New("another name")

func otherName(to sandbox.Destination) *refusal {
	return &refusal{status: http.StatusForbidden, to: to.String(), reason: "was sent TLS for another name"}
}

func (l *link) serverConfig(to sandbox.Destination) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"http/1.1"},
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if !sameHost(hello.ServerName, to) {
				l.session.traffic.refuse(l.session.log, otherName(to))
				return nil, errOtherName
			}
			return l.session.authority.certificate(to.Host)
		},
	}
}

// unread is a connection whose first bytes are in a reader.
type unread struct {
	net.Conn
	r io.Reader
}

func (u *unread) Read(p []byte) (int, error) { return u.r.Read(p) }
