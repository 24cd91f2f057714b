package egress

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/wflo-ai/wflo-go/sandbox"
)

// linger is how long a refused program gets to read why.
const linger = time.Second

// link is one connection of the program, or the inside of a tunnel whose TLS ends
// here.
type link struct {
	session *Session
	conn    net.Conn
	r       *bufio.Reader
	dog     *watchdog
	ctx     context.Context
	cancel  context.CancelFunc
	// inside is the destination of the tunnel, nil outside of one.
	inside *sandbox.Destination
	// busy says that the transport may still be reading a body here.
	busy bool
}

func newLink(s *Session, conn net.Conn) *link {
	l := &link{session: s, conn: conn, r: bufio.NewReaderSize(conn, s.proxy.config.Limits.HeaderBytes)}
	l.ctx, l.cancel = context.WithCancel(s.ctx)
	l.dog = newWatchdog(func() {
		l.cancel()
		_ = conn.Close()
	})
	return l
}

func (l *link) end() {
	l.dog.disarm()
	l.cancel()
}

// next serves one request and says whether another may follow.
func (l *link) next() bool {
	raw, err := l.readHead()
	switch {
	case errors.Is(err, errHeadTooLong):
		l.refuse(&refusal{status: http.StatusRequestHeaderFieldsTooLarge, to: unknown, reason: "was asked for with too long a head", fix: "send fewer or shorter headers"})
		return false
	case errors.Is(err, errNotHTTP):
		l.refuse(malformed)
		return false
	case err != nil:
		return false
	}
	h, bad := parseHead(raw)
	if bad != nil {
		l.refuse(bad)
		return false
	}
	if h.method == http.MethodConnect {
		l.connect(h, len(raw))
		return false
	}
	to, scheme, bad := h.destination(l.inside, l.session.rules)
	if bad == nil && h.method == http.MethodTrace {
		bad = &refusal{status: http.StatusMethodNotAllowed, to: to.String(), reason: "was asked for with TRACE", fix: "use another method: a TRACE gives back headers that the program must not see"}
	}
	if bad != nil {
		l.refuse(bad)
		return false
	}
	req, err := http.ReadRequest(l.r)
	if err != nil {
		l.refuse(malformed)
		return false
	}
	return l.forward(req, to, scheme)
}

// refuse counts, logs and tells the program. Nothing follows on the connection.
func (l *link) refuse(r *refusal) {
	if r.status < 500 || r.status == http.StatusServiceUnavailable {
		l.session.traffic.refuse(l.session.log, r)
	}
	// Many clients show nothing but this line of what answers a CONNECT.
	phrase := fmt.Sprintf("wflo: %s %s", r.to, r.reason)
	body := fmt.Sprintf("%s; %s\n", phrase, r.fix)
	l.dog.arm(linger)
	_, err := fmt.Fprintf(l.conn, "HTTP/1.1 %d %s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", r.status, phrase, len(body), body)
	if err != nil {
		return
	}
	// Closing with bytes unread would reset the connection under the answer.
	if !l.busy && closeWrite(l.conn) == nil {
		_, _ = io.CopyN(io.Discard, l.r, 1<<20)
	}
}

// connect serves CONNECT, whose head has size bytes.
func (l *link) connect(h head, size int) {
	if l.inside != nil || h.hasBody {
		l.refuse(malformed)
		return
	}
	to, bad := parseTarget(h.target, 0)
	if bad == nil && h.hasHost {
		// Clients name the host with or without its port.
		named, wrong := parseTarget(h.host, to.Port)
		if wrong != nil || named != to {
			bad = &refusal{status: http.StatusBadRequest, to: to.String(), reason: "was asked for under another Host", fix: "send the Host header of the destination"}
		}
	}
	if bad == nil {
		bad = l.session.rules.admit(to)
	}
	if bad != nil {
		l.refuse(bad)
		return
	}
	if _, err := l.r.Discard(size); err != nil {
		return
	}
	if len(l.session.rules.inject[to]) > 0 {
		l.terminate(to)
		return
	}
	up, err := l.session.dial(l.ctx, to)
	if err != nil {
		l.refuseError(to, err)
		return
	}
	defer up.Close()
	if !l.established() {
		return
	}
	if to.Port == 443 && !l.checkHello(to) {
		return
	}
	l.tunnel(up)
}

func (l *link) established() bool {
	l.dog.arm(l.session.proxy.config.Limits.HeaderTimeout)
	_, err := io.WriteString(l.conn, "HTTP/1.1 200 Connection established\r\n\r\n")
	return err == nil
}

// refuseError tells of what dialling or a round trip came to. Errors of others
// are not passed on: they can quote what was sent.
func (l *link) refuseError(to sandbox.Destination, err error) {
	var r *refusal
	switch {
	case errors.As(err, &r):
	case l.ctx.Err() != nil:
		return
	case l.session.spent():
		r = l.session.overspent(to)
	default:
		r = unreachable(to, explain(err))
	}
	l.refuse(r)
}

// checkHello holds what goes into a tunnel to port 443 to TLS for the host of the
// tunnel. The program has its 200 by then, so a refusal is an end without words.
func (l *link) checkHello(to sandbox.Destination) bool {
	name, err := serverName(l.r)
	l.dog.disarm()
	switch {
	case errors.Is(err, errProgramGone):
	case err != nil:
		l.session.traffic.refuse(l.session.log, &refusal{
			status: http.StatusForbidden, to: to.String(), reason: "was sent something else than TLS on port 443",
		})
	case !sameHost(name, to):
		l.session.traffic.refuse(l.session.log, otherName(to))
	default:
		return true
	}
	return false
}

// sameHost says whether a server's name of TLS is that of a destination. Without a
// name it is.
func sameHost(name string, to sandbox.Destination) bool {
	return name == "" || strings.TrimSuffix(strings.ToLower(name), ".") == to.Host
}

// watchdog ends a connection on which nothing moves. It is a timer and no deadline
// because one connection's idleness is judged by what moves on another.
type watchdog struct{ timer *time.Timer }

func newWatchdog(bite func()) *watchdog {
	w := &watchdog{timer: time.AfterFunc(time.Hour, bite)}
	w.disarm()
	return w
}

func (w *watchdog) arm(d time.Duration) { w.timer.Reset(d) }
func (w *watchdog) disarm()             { w.timer.Stop() }
