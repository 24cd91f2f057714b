package console

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// never is longer than any test.
const never = time.Hour

// soon is for bounds that a test waits for. Nothing is said about how long that takes.
const soon = 50 * time.Millisecond

// gatewayThatWaits tells of each request, and answers when it may.
type gatewayThatWaits struct{ began, may chan struct{} }

func (g gatewayThatWaits) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	g.began <- struct{}{}
	<-g.may
	_, _ = io.WriteString(w, "done")
}

// served is a server of each kind: as a worker has it, as the console has it, and
// that with TLS.
func served(t *testing.T, change func(*Config)) map[string]*Server {
	t.Helper()
	own := newOffice(t, nil).cfg
	cert, key := certificate(t)
	worker := Config{Client: own.Client, Ledger: own.Ledger, Metrics: own.Metrics, Logger: own.Logger}
	withTLS := own
	withTLS.TLSCert, withTLS.TLSKey = cert, key
	all := map[string]*Server{}
	for name, cfg := range map[string]Config{"a worker": worker, "the console": own, "the console with TLS": withTLS} {
		cfg.Addr = "127.0.0.1:0"
		cfg.Patience = Patience{never, never, never}
		change(&cfg)
		s, err := Start(cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Stop)
		all[name] = s
	}
	return all
}

// dial connects, and speaks TLS where the server does. Whoever waits too long for
// what does not come fails.
func (s *Server) dial(t *testing.T) net.Conn {
	t.Helper()
	scheme, address, _ := strings.Cut(s.URL(), "://")
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if scheme == "https" {
		return tls.Client(conn, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // who it is does not matter here
	}
	return conn
}

const (
	wholeRequest = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
	halfHeader   = "GET /healthz HTTP/1.1\r\nHost: x\r\n"
	halfForm     = "POST /login/key HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\nkey="
	halfJSON     = "POST /api/v1/runs/r1/decisions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
)

// wantClosed reads until the server ends the connection.
func wantClosed(t *testing.T, who string, conn net.Conn) {
	t.Helper()
	if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%s keeps the connection", who)
	}
}

func say(conn net.Conn, text string) { _, _ = io.WriteString(conn, text) } // it may be closed by now

// Clients that are slow at anything are not waited for.
func TestSlowClients(t *testing.T) {
	drip := func(text string) func(*testing.T, net.Conn) {
		return func(t *testing.T, conn net.Conn) {
			say(conn, text)
			tick := time.NewTicker(soon / 10)
			done := make(chan struct{})
			go func() {
				defer close(done)
				for range tick.C {
					if _, err := io.WriteString(conn, "a"); err != nil {
						return
					}
				}
			}()
			t.Cleanup(func() {
				_ = conn.Close()
				<-done
				tick.Stop()
			})
		}
	}
	once := func(text string) func(*testing.T, net.Conn) {
		return func(_ *testing.T, conn net.Conn) { say(conn, text) }
	}
	for _, tt := range []struct {
		name     string
		patience Patience
		do       func(*testing.T, net.Conn)
	}{
		{"nothing", Patience{soon, never, never}, func(*testing.T, net.Conn) {}},
		{"half a header", Patience{soon, never, never}, once(halfHeader)},
		{"a header by the byte", Patience{soon, never, never}, drip(halfHeader + "X-Long: ")},
		{"half a form", Patience{never, soon, never}, once(halfForm)},
		{"half a decision", Patience{never, soon, never}, once(halfJSON)},
		{"a body by the byte", Patience{never, soon, never}, drip(strings.Replace(halfForm, ": 100", ": 9000", 1))},
		{"no second request", Patience{never, never, soon}, once(wholeRequest)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for name, s := range served(t, func(c *Config) { c.Patience = tt.patience }) {
				conn := s.dial(t)
				tt.do(t, conn)
				wantClosed(t, name, conn)
			}
		})
	}
}

// visit is somebody who asks for something, and has it. Where everybody else is just
// being answered they come again.
func (s *Server) visit(t *testing.T) {
	t.Helper()
	for range 1000 {
		conn := s.dial(t)
		say(conn, wholeRequest)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		_ = conn.Close()
		if err == nil && resp.StatusCode == http.StatusOK {
			return
		}
	}
	t.Fatal("a visitor is not served")
}

// However many connections wait, for as long as they like, others are served: they
// take the place of those that wait.
func TestConnectionsAreBounded(t *testing.T) {
	const most, many = 8, 100
	for name, text := range map[string]string{
		"nothing": "", "half a header": halfHeader, "half a form": halfForm, "half a decision": halfJSON, "no second request": wholeRequest,
	} {
		t.Run(name, func(t *testing.T) {
			for name, s := range served(t, func(c *Config) { c.Conns = most }) {
				var all []net.Conn
				for range many {
					conn := s.dial(t)
					if text != "" || strings.HasPrefix(s.URL(), "http:") {
						say(conn, text)
					}
					all = append(all, conn)
				}
				s.visit(t)
				if n := s.conns.count(); n > most {
					t.Errorf("%s has %d connections, %d are allowed", name, n, most)
				}
				for _, conn := range all {
					_ = conn.Close()
				}
			}
		})
	}
}

// Two thousand connections without a word cost no more than those that may be open.
func TestTwoThousandIdle(t *testing.T) {
	const most, many = 64, 2000
	s := served(t, func(c *Config) { c.Conns = most })["a worker"]
	var all []net.Conn
	for range many {
		all = append(all, s.dial(t))
	}
	s.visit(t)
	if n := s.conns.count(); n > most {
		t.Errorf("%d connections are open", n)
	}
	for _, conn := range all[:many-most] {
		wantClosed(t, "the server", conn)
	}
}

// What is being answered is never ended to make room.
func TestAnswersAreFinished(t *testing.T) {
	gate := gatewayThatWaits{began: make(chan struct{}), may: make(chan struct{})}
	for name, s := range served(t, func(c *Config) { c.Conns, c.Gateway = 2, gate }) {
		var busy []net.Conn
		for range 2 {
			conn := s.dial(t)
			say(conn, strings.Replace(wholeRequest, "/healthz", "/v1/models", 1))
			<-gate.began
			busy = append(busy, conn)
		}
		refused := s.dial(t)
		say(refused, wholeRequest)
		wantClosed(t, name, refused)
		for _, conn := range busy {
			gate.may <- struct{}{}
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "done" {
				t.Errorf("%s: %q, %v", name, body, err)
			}
		}
		s.visit(t)
	}
}

// from is a connection from somewhere.
type from struct {
	net.Conn
	address string
}

func (f from) RemoteAddr() net.Addr {
	a, _ := net.ResolveTCPAddr("tcp", f.address)
	return a
}

func (f from) Close() error { return nil }

// Whoever has most connections loses one of theirs, the one that has waited longest.
func TestWhoMakesRoom(t *testing.T) {
	l := newConnections(nil, 5, slog.New(slog.DiscardHandler))
	admit := func(address string) (c, ended *connection) { return l.admit(from{address: address}) }
	visitor, _ := admit("192.0.2.1:1")
	first, _ := admit("[2001:db8::1]:1")
	second, _ := admit("[2001:db8::2]:1") // the same customer: one /64
	admit("[2001:db8::3]:1")
	admit("198.51.100.1:1")
	first.works(1)
	if _, ended := admit("203.0.113.1:1"); ended != second {
		t.Errorf("%+v made room, want the second", ended)
	}
	if len(l.open) != 5 || l.from[visitor.customer] != 1 || l.from[first.customer] != 2 {
		t.Errorf("%d open, %v", len(l.open), l.from)
	}
	for c := range l.open {
		if c.working == 0 {
			c.works(1)
		}
	}
	if c, ended := admit("203.0.113.2:1"); c != nil || ended != nil || !l.full {
		t.Errorf("let in %+v for %+v where all are at work", c, ended)
	}
	if err := errors.Join(visitor.Close(), visitor.Close()); err != nil {
		t.Fatal(err)
	}
	if c, ended := admit("203.0.113.2:1"); c == nil || ended != nil || len(l.open) != 5 || l.full {
		t.Errorf("did not let in %+v, or ended %+v, where there is room", c, ended)
	}
}

// A bound below zero is a mistake.
func TestPatienceIsPositive(t *testing.T) {
	for _, c := range []Config{{Conns: -1}, {Patience: Patience{Header: -1}}, {Patience: Patience{Request: -1}}, {Patience: Patience{Idle: -1}}} {
		c.Addr, c.Metrics = "127.0.0.1:0", http.NotFoundHandler()
		if s, err := Start(c); err == nil {
			s.Stop()
			t.Errorf("%+v was taken", c.Patience)
		}
	}
}
