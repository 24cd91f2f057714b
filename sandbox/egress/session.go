package egress

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
)

var errClosed = errors.New("the session is closed")

// Session is the network of one execution. Its methods may be called at the same
// time.
type Session struct {
	proxy     *Proxy
	log       *slog.Logger
	rules     rules
	authority *authority // nil unless TLS ends here for some destination
	transport *http.Transport
	own       map[netip.Addr]bool
	traffic   traffic
	bytes     atomic.Int64

	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup // connections being served and dialled

	mu      sync.Mutex
	closed  bool
	serving int
	conns   map[net.Conn]struct{} // both sides of everything
}

// Open prepares the network n of an execution and looks up the secrets of its
// injections. ctx bounds that alone; the session lasts until Close. A network that
// is not of mode "allow", a value that no header may have and a rule that cannot
// hold are an *wflo.Error with CodeInvalid; an unknown secret is one with
// CodeMissingKey.
func (p *Proxy) Open(ctx context.Context, n sandbox.Network, origin sandbox.Origin) (*Session, error) {
	if n.Mode != sandbox.NetworkAllow {
		return nil, wflo.Invalid("spec.network.mode", fmt.Sprintf("is %.40q", n.Mode), `the proxy serves mode "allow"`)
	}
	if err := n.Validate(); err != nil {
		return nil, err
	}
	list, err := p.compile(ctx, n)
	if err != nil {
		return nil, err
	}
	s := &Session{
		proxy: p, rules: list, conns: map[net.Conn]struct{}{},
		log: p.config.Logger.With("run", origin.Run, "step", origin.Step, "tenant", origin.Tenant),
	}
	if s.own, err = ownAddresses(); err != nil {
		return nil, err
	}
	if hosts := list.secure(); len(hosts) > 0 {
		if s.authority, err = newAuthority(hosts); err != nil {
			return nil, err
		}
	}
	s.ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	s.transport = s.newTransport()
	return s, nil
}

// Serve speaks with one connection of the program until it is over, and closes
// it. Where conn has a CloseWrite, as TCP has, either side of a tunnel may end its
// half first; a program that does so after a request for the proxy has hung up, as
// it has for net/http's servers. Read deadlines of conn are used to notice that
// while a destination thinks; all other things work without.
func (s *Session) Serve(conn net.Conn) {
	if !s.begin() {
		_ = conn.Close()
		return
	}
	defer s.running.Done()
	if !s.track(conn) {
		_ = conn.Close()
		return
	}
	defer s.untrack(conn)
	defer conn.Close()
	l := newLink(s, conn)
	defer l.end()
	s.mu.Lock()
	s.serving++
	many := s.serving > s.proxy.config.Limits.Connections
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.serving--
		s.mu.Unlock()
	}()
	if many {
		l.refuse(&refusal{
			status: http.StatusServiceUnavailable, to: unknown, reason: "has too many connections open",
			fix: fmt.Sprintf("use at most %d at once", s.proxy.config.Limits.Connections),
		})
		return
	}
	for l.next() {
	}
}

// Environment gives the variables that lead programs to the proxy, and to the
// certificates in CAFile if Session.CA has any.
func (s *Session) Environment() map[string]string {
	const proxy, direct = "http://" + Listen, "localhost,127.0.0.1,::1"
	env := map[string]string{
		"HTTP_PROXY": proxy, "HTTPS_PROXY": proxy, "NO_PROXY": direct,
		"http_proxy": proxy, "https_proxy": proxy, "no_proxy": direct,
		"NODE_USE_ENV_PROXY": "1", // Node reads the others only then
	}
	if s.authority != nil {
		for _, name := range []string{"SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT", "NODE_EXTRA_CA_CERTS", "GIT_SSL_CAINFO"} {
			env[name] = CAFile
		}
	}
	return env
}

// CA gives what CAFile must hold, in PEM: the session's authority, and the roots
// that all other destinations are verified by. It is nil where no TLS ends here.
func (s *Session) CA() []byte {
	if s.authority == nil {
		return nil
	}
	return append(append([]byte(nil), s.authority.pem...), s.proxy.roots...)
}

// Traffic says what went through until now: at most 1000 flows and 1000 refusals
// by destination, and the rest under "other". Bytes are those of the connections
// with destinations, TLS included.
func (s *Session) Traffic() *sandbox.Traffic { return s.traffic.snapshot() }

// Close ends all connections and waits until Serve has returned for them. Later
// connections are closed at once. It is idempotent and always nil.
func (s *Session) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.endAll()
	s.running.Wait()
	// What a dial or a tunnel had in hand has ended; idle connections had not.
	s.endAll()
	return nil
}

func (s *Session) endAll() {
	s.cancel()
	s.mu.Lock()
	all := make([]net.Conn, 0, len(s.conns))
	for conn := range s.conns {
		all = append(all, conn)
	}
	s.mu.Unlock()
	for _, conn := range all {
		_ = conn.Close()
	}
	s.transport.CloseIdleConnections()
}

func (s *Session) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.running.Add(1)
	return true
}

func (s *Session) track(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.conns[conn] = struct{}{}
	return true
}

func (s *Session) untrack(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, conn)
}

func (s *Session) spent() bool {
	most := s.proxy.config.Limits.Bytes
	return most > 0 && s.bytes.Load() >= most
}

func (s *Session) overspent(to sandbox.Destination) *refusal {
	return &refusal{
		status: http.StatusForbidden, to: to.String(), reason: "is refused because the bytes of this execution are used up",
		fix: fmt.Sprintf("exchange at most %s", sandbox.FormatSize(s.proxy.config.Limits.Bytes)),
	}
}

// upstream is a connection with a destination.
type upstream struct {
	net.Conn
	session *Session
	to      sandbox.Destination
	flow    *flow
}

func (u *upstream) Read(p []byte) (int, error) {
	if u.session.spent() {
		return 0, u.session.overspent(u.to)
	}
	n, err := u.Conn.Read(p)
	u.flow.received.Add(int64(n))
	u.session.bytes.Add(int64(n))
	return n, err
}

func (u *upstream) Write(p []byte) (int, error) {
	if u.session.spent() {
		return 0, u.session.overspent(u.to)
	}
	// A destination that takes nothing must not hold a connection for ever; the
	// transport has no bound of its own for this.
	if err := u.SetWriteDeadline(time.Now().Add(u.session.proxy.config.Limits.IdleTimeout)); err != nil {
		return 0, err
	}
	n, err := u.Conn.Write(p)
	u.flow.sent.Add(int64(n))
	u.session.bytes.Add(int64(n))
	return n, err
}

func (u *upstream) Close() error {
	u.session.untrack(u)
	return u.Conn.Close()
}

func (u *upstream) CloseWrite() error { return closeWrite(u.Conn) }

func closeWrite(conn net.Conn) error {
	half, ok := conn.(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	return half.CloseWrite()
}
