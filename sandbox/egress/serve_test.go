package egress

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go/sandbox"
)

// script is a connection that says one thing and listens to everything.
type script struct {
	in  io.Reader
	out *bytes.Buffer
}

func (s *script) Read(p []byte) (int, error)       { return s.in.Read(p) }
func (s *script) Write(p []byte) (int, error)      { return s.out.Write(p) }
func (s *script) Close() error                     { return nil }
func (s *script) CloseWrite() error                { return nil }
func (s *script) LocalAddr() net.Addr              { return nil }
func (s *script) RemoteAddr() net.Addr             { return nil }
func (s *script) SetDeadline(time.Time) error      { return nil }
func (s *script) SetReadDeadline(time.Time) error  { return errors.ErrUnsupported }
func (s *script) SetWriteDeadline(time.Time) error { return nil }

type everywhere struct{}

// LookupNetIP gives names that are listed another address than all others.
func (everywhere) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	switch strings.TrimSuffix(host, ".") {
	case "good.test", "inj.test":
		return []netip.Addr{netip.MustParseAddr("93.184.216.34")}, nil
	}
	return []netip.Addr{netip.MustParseAddr("93.184.216.99"), netip.MustParseAddr("10.0.0.1")}, nil
}

// FuzzServe: whatever a program sends, nothing panics, nothing that is not listed
// is dialled, and no secret comes back.
func FuzzServe(f *testing.F) {
	for _, s := range []string{
		"GET http://good.test/ HTTP/1.1\r\nHost: good.test\r\n\r\n",
		"POST http://inj.test/ HTTP/1.1\r\nHost: inj.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET http://good.test/ HTTP/1.1\r\nHost: good.test\r\n\r\n",
		"POST http://good.test/ HTTP/1.1\r\nHost: good.test\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc",
		"CONNECT good.test:443 HTTP/1.1\r\nHost: good.test:443\r\n\r\n\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03",
		"CONNECT good.test:7000 HTTP/1.1\r\nHost: good.test\r\n\r\nGET http://evil.test/ HTTP/1.1\r\n\r\n",
		"CONNECT inj.test:80 HTTP/1.1\r\nHost: inj.test:80\r\n\r\nGET /a HTTP/1.1\r\nHost: inj.test\r\n\r\n",
		"CONNECT inj.test:80 HTTP/1.1\r\nHost: inj.test\r\n\r\n\x16\x03\x01\x00\x05\x01",
		"GET http://evil.test@good.test/ HTTP/1.1\r\nHost: good.test\r\n\r\n",
		"GET http://good.test\\@evil.test/ HTTP/1.1\r\nHost: evil.test\r\n\r\n",
		"GET http://[::ffff:93.184.216.99]/ HTTP/1.1\r\nHost: x\r\n\r\n",
		"TRACE http://inj.test/ HTTP/1.0\r\n\r\n",
		"GET / HTTP/1.1\r\n\r\n", "\x05\x01\x00", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	hello := clientHello(f, "evil.test")
	f.Add(append([]byte("CONNECT good.test:443 HTTP/1.1\r\nHost: good.test:443\r\n\r\n"), hello...))
	f.Fuzz(func(t *testing.T, raw []byte) {
		config := Config{
			Secrets: fakeSecrets{"token": token}, Resolver: everywhere{}, Roots: []byte{}, Logger: slog.New(slog.DiscardHandler),
			Dial: func(_ context.Context, network, address string) (net.Conn, error) {
				switch address {
				case "93.184.216.34:80", "93.184.216.34:443", "93.184.216.34:7000":
				default:
					t.Errorf("dialled %s %s", network, address)
				}
				return &script{in: strings.NewReader("HTTP/1.1 200 OK\r\nContent-Length: 29\r\nX: " + token + "\r\n\r\nxx " + token), out: new(bytes.Buffer)}, nil
			},
		}
		p, err := New(config)
		if err != nil {
			t.Fatal(err)
		}
		s, err := p.Open(t.Context(), sandbox.Network{
			Mode: sandbox.NetworkAllow, Allow: []string{"good.test:80", "good.test:443", "good.test:7000"},
			Inject: []sandbox.Injection{{To: "inj.test:80", Header: "Authorization", Secret: "token"}},
		}, sandbox.Origin{})
		if err != nil {
			t.Fatal(err)
		}
		conn := &script{in: bytes.NewReader(raw), out: new(bytes.Buffer)}
		s.Serve(conn)
		s.Close()
		for _, flow := range s.Traffic().Flows {
			if host, _, _ := strings.Cut(flow.To, ":"); host != "good.test" && host != "inj.test" {
				t.Errorf("traffic with %s", flow.To)
			}
			if flow.To == "inj.test:80" && len(s.Traffic().Flows) == 1 && strings.Contains(conn.out.String(), token) {
				t.Errorf("the secret came back: %q", conn.out)
			}
		}
	})
}

func BenchmarkTunnel(b *testing.B) {
	w := newWorld()
	w.place("good.test", 7000, listener(b, func(conn *net.TCPConn) { _, _ = io.Copy(io.Discard, conn) }))
	s := w.open(b, sandbox.Allow("good.test:7000"))
	conn, r := dialTunnel(b, s, "good.test:7000")
	chunk := make([]byte, 64<<10)
	b.SetBytes(int64(len(chunk)))
	for b.Loop() {
		if _, err := conn.Write(chunk); err != nil {
			b.Fatal(err)
		}
	}
	conn.CloseWrite()
	if _, err := io.ReadAll(r); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkRequests(b *testing.B) {
	w := newWorld()
	hit := server(b, http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprint(rw, "hello") }))
	w.place("good.test", 80, hit.Listener.Addr())
	s := w.open(b, sandbox.Allow("good.test:80"))
	c := client(b, s, nil)
	for b.Loop() {
		resp, err := c.Get("http://good.test/")
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			b.Fatal(err)
		}
		resp.Body.Close()
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
}

func BenchmarkOpen(b *testing.B) {
	w := newWorld()
	p, err := New(w.config)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		s, err := p.Open(b.Context(), injected("inj.test:443"), sandbox.Origin{})
		if err != nil {
			b.Fatal(err)
		}
		s.Close()
	}
}
