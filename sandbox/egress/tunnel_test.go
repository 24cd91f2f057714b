package egress

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go/sandbox"
)

// listener serves each connection with handle, and ends with the test.
func listener(t testing.TB, handle func(*net.TCPConn)) net.Addr {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			handle(conn.(*net.TCPConn))
			conn.Close()
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return ln.Addr()
}

func echo(conn *net.TCPConn) { _, _ = io.Copy(conn, conn) }

// dialTunnel opens a tunnel as a program does.
func dialTunnel(t testing.TB, s *Session, to string) (*net.TCPConn, *bufio.Reader) {
	t.Helper()
	conn := connect(t, s)
	fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", to, to)
	r := bufio.NewReader(conn)
	if status, phrase, _ := receive(t, r, "CONNECT"); status != 200 {
		t.Fatalf("CONNECT %s: %s", to, phrase)
	}
	return conn, r
}

// TestTunnelHalfClose: the destination answers after the program has ended its
// half, and all bytes are counted.
func TestTunnelHalfClose(t *testing.T) {
	w := newWorld()
	w.place("good.test", 7000, listener(t, func(conn *net.TCPConn) {
		all, _ := io.ReadAll(conn)
		fmt.Fprintf(conn, "%d bytes", len(all))
	}))
	s := w.open(t, sandbox.Allow("good.test:7000"))
	conn, r := dialTunnel(t, s, "GOOD.test.:7000")
	if _, err := conn.Write(bytes.Repeat([]byte("x"), 300_000)); err != nil {
		t.Fatal(err)
	}
	conn.CloseWrite()
	if got, err := io.ReadAll(r); err != nil || string(got) != "300000 bytes" {
		t.Fatalf("the answer is %q, %v", got, err)
	}
	want := &sandbox.Traffic{Flows: []sandbox.Flow{{To: "good.test:7000", Connections: 1, Sent: 300_000, Received: 12}}}
	if diff := cmp.Diff(want, s.Traffic()); diff != "" {
		t.Errorf("Traffic (-want +got):\n%s", diff)
	}
}

// TestTunnelPipe: without half ends, one end is the end.
func TestTunnelPipe(t *testing.T) {
	w := newWorld()
	w.place("good.test", 7000, listener(t, func(conn *net.TCPConn) { fmt.Fprint(conn, "hello") }))
	s := w.open(t, sandbox.Allow("good.test:7000"))
	program, worker := net.Pipe()
	go s.Serve(worker)
	fmt.Fprint(program, "CONNECT good.test:7000 HTTP/1.1\r\nHost: good.test\r\n\r\n")
	got, err := io.ReadAll(program)
	if err != nil || !strings.HasSuffix(string(got), "\r\n\r\nhello") {
		t.Fatalf("the answer is %q, %v", got, err)
	}
}

// TestSmuggledSecondHost: what follows a CONNECT at once goes into its tunnel, and
// is never read as another request.
func TestSmuggledSecondHost(t *testing.T) {
	w := newWorld()
	got := make(chan string, 1)
	w.place("good.test", 7000, listener(t, func(conn *net.TCPConn) {
		all, _ := io.ReadAll(conn)
		got <- string(all)
	}))
	w.place("good.test", 443, listener(t, echo))
	w.place("evil.test", 80, listener(t, func(*net.TCPConn) { t.Error("evil.test was reached") }))
	s := w.open(t, sandbox.Allow("good.test:7000", "good.test:443"))
	const second = "GET http://evil.test/ HTTP/1.1\r\nHost: evil.test\r\n\r\n"
	for _, port := range []int{7000, 443} {
		conn := connect(t, s)
		fmt.Fprintf(conn, "CONNECT good.test:%d HTTP/1.1\r\nHost: good.test\r\n\r\n%s", port, second)
		conn.CloseWrite()
		if _, err := io.ReadAll(conn); err != nil && port == 7000 {
			t.Fatal(err)
		}
	}
	if sent := <-got; sent != second {
		t.Errorf("the tunnel carried %q", sent)
	}
	want := map[string]int{"good.test:443 was sent something else than TLS on port 443": 1}
	if diff := cmp.Diff(want, refusals(s)); diff != "" {
		t.Errorf("refusals (-want +got):\n%s", diff)
	}
}

// TestRebinding: an address is checked when it is dialled, and what is dialled is
// what was checked.
func TestRebinding(t *testing.T) {
	hit := server(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "here") }))
	for name, c := range map[string]struct {
		answers [][]string
		dialed  []string
		status  []int
	}{
		"public, then private": {
			[][]string{{"93.184.216.34"}, {"10.0.0.1"}, {"169.254.169.254"}}, []string{"93.184.216.34:80"}, []int{200, 403, 403},
		},
		"mixed": {
			[][]string{{"10.0.0.1", "::1", "93.184.216.34", "169.254.169.254"}}, []string{"93.184.216.34:80", "93.184.216.34:80"}, []int{200, 200},
		},
		"mapped by the resolver": {
			[][]string{{"::ffff:93.184.216.34"}, {"::ffff:10.0.0.1"}}, []string{"93.184.216.34:80"}, []int{200, 403},
		},
		"only private":           {[][]string{{"192.168.0.1", "fd00::1"}}, nil, []int{403}},
		"IPv6 with IPv4 inside":  {[][]string{{"2002:7f00:1::", "64:ff9b::7f00:1", "::7f00:1"}}, nil, []int{403}},
		"first one does not run": {[][]string{{"93.184.216.35", "93.184.216.34"}}, []string{"93.184.216.35:80", "93.184.216.34:80"}, []int{200}},
		"none runs":              {[][]string{{"93.184.216.35"}}, []string{"93.184.216.35:80"}, []int{502}},
		"no answer":              {nil, nil, []int{502}},
		"empty answer":           {[][]string{{}}, nil, []int{502}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			w.names.answers["good.test"] = c.answers
			w.dialer.to["93.184.216.34:80"] = hit.Listener.Addr().String()
			s := w.open(t, sandbox.Allow("good.test:80"))
			for i, want := range c.status {
				// Each asks for its connection to be closed, so that each dials.
				s.transport.CloseIdleConnections()
				status, phrase, _ := send(t, s, "GET http://good.test/ HTTP/1.1\r\nHost: good.test\r\nConnection: close\r\n\r\n")
				if status != want {
					t.Errorf("request %d: %s, want %d", i+1, phrase, want)
				}
			}
			if diff := cmp.Diff(c.dialed, w.dialer.all()); diff != "" {
				t.Errorf("dialled (-want +got):\n%s", diff)
			}
		})
	}
}

// TestServerName: TLS in a tunnel is for the tunnel's host, or the tunnel is over
// before the destination has seen a byte.
func TestServerName(t *testing.T) {
	a, err := newAuthority([]string{"good.test", "other.test"})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ sent, refused string }{
		"same":           {"good.test", ""},
		"other case":     {"GOOD.Test", ""},
		"none":           {"", ""},
		"fronted":        {"other.test", "was sent TLS for another name"},
		"name below":     {"a.good.test", "was sent TLS for another name"},
		"name as prefix": {"good.test.evil.test", "was sent TLS for another name"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			w.place("good.test", 443, listener(t, func(conn *net.TCPConn) {
				cert, err := a.certificate("good.test")
				if err != nil {
					t.Error(err)
					return
				}
				inner := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{*cert}, MinVersion: tls.VersionTLS12})
				if _, err := io.Copy(inner, inner); err == nil {
					inner.CloseWrite()
				}
			}))
			s := w.open(t, sandbox.Allow("good.test:443"))
			conn, _ := dialTunnel(t, s, "good.test:443")
			inner := tls.Client(conn, &tls.Config{ServerName: c.sent, InsecureSkipVerify: true})
			_, err := fmt.Fprint(inner, "hello")
			if (err != nil) != (c.refused != "") {
				t.Fatalf("TLS for %q: %v", c.sent, err)
			}
			if c.refused != "" {
				if got := refusals(s); got["good.test:443 "+c.refused] != 1 {
					t.Errorf("refusals are %v", got)
				}
				if flows := s.Traffic().Flows; len(flows) != 1 || flows[0].Sent != 0 {
					t.Errorf("flows are %v, want none with bytes sent", flows)
				}
				return
			}
			inner.CloseWrite()
			if got, err := io.ReadAll(inner); err != nil || string(got) != "hello" {
				t.Errorf("the echo is %q, %v", got, err)
			}
		})
	}
}

// TestHelloInPieces: a ClientHello may come byte by byte, and in many records.
func TestHelloInPieces(t *testing.T) {
	hello := clientHello(t, "good.test")
	body := hello[5:]
	var records []byte
	for len(body) > 0 {
		n := min(50, len(body))
		records = append(append(records, 22, 3, 1, 0, byte(n)), body[:n]...)
		body = body[n:]
	}
	for name, raw := range map[string][]byte{"one record": hello, "many records": records} {
		t.Run(name, func(t *testing.T) {
			r := bufio.NewReaderSize(&oneByOne{data: raw}, 32<<10)
			if got, err := serverName(r); err != nil || got != "good.test" {
				t.Errorf("serverName = %q, %v", got, err)
			}
			if rest, err := io.ReadAll(r); err != nil || !bytes.Equal(rest, raw) {
				t.Errorf("of %d bytes, %d are left: %v", len(raw), len(rest), err)
			}
		})
	}
	for name, raw := range map[string][]byte{"cut": hello[:len(hello)-1], "nothing": nil, "HTTP": []byte("GET / HTTP/1.1\r\n\r\n"), "alert": {21, 3, 1, 0, 2, 1, 0}} {
		t.Run(name, func(t *testing.T) {
			if got, err := serverName(bufio.NewReaderSize(bytes.NewReader(raw), 32<<10)); err == nil {
				t.Errorf("serverName = %q, want an error", got)
			}
		})
	}
}

type oneByOne struct{ data []byte }

func (o *oneByOne) Read(p []byte) (int, error) {
	if len(o.data) == 0 {
		return 0, io.EOF
	}
	n := copy(p, o.data[:1])
	o.data = o.data[n:]
	return n, nil
}

// clientHello is what crypto/tls sends first.
func clientHello(t testing.TB, name string) []byte {
	t.Helper()
	program, worker := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = tls.Client(program, &tls.Config{ServerName: name}).Handshake()
	}()
	head := make([]byte, 5)
	if _, err := io.ReadFull(worker, head); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, int(head[3])<<8|int(head[4]))
	if _, err := io.ReadFull(worker, body); err != nil {
		t.Fatal(err)
	}
	worker.Close()
	<-done
	return append(head, body...)
}

// TestCloseEndsTunnels: Close ends what is open, waits for it, and nothing can be
// opened after it. goleak, in TestMain, sees what it would leave behind.
func TestCloseEndsTunnels(t *testing.T) {
	w := newWorld()
	w.place("good.test", 7000, listener(t, echo))
	slow := make(chan struct{})
	stuck := server(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(slow)
		<-r.Context().Done()
	}))
	w.place("slow.test", 80, stuck.Listener.Addr())
	s := w.open(t, sandbox.Allow("good.test:7000", "slow.test:80"))
	tunnel, tr := dialTunnel(t, s, "good.test:7000")
	fmt.Fprint(tunnel, "hello")
	if _, err := io.ReadFull(tr, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	waiting, idle := connect(t, s), connect(t, s)
	fmt.Fprint(waiting, "GET http://slow.test/ HTTP/1.1\r\nHost: slow.test\r\n\r\n")
	<-slow
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for name, conn := range map[string]*net.TCPConn{"tunnel": tunnel, "waiting": waiting, "idle": idle, "later": connect(t, s)} {
		if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("the %s connection gives %d bytes after Close", name, n)
		}
	}
	if err := s.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.conns) != 0 {
		t.Errorf("%d connections are left", len(s.conns))
	}
}

// TestHangUp: a program that goes while a destination thinks does not keep it busy.
func TestHangUp(t *testing.T) {
	w := newWorld()
	arrived, gone := make(chan struct{}), make(chan struct{})
	slow := server(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		close(arrived)
		<-r.Context().Done()
		close(gone)
	}))
	w.place("slow.test", 80, slow.Listener.Addr())
	s := w.open(t, sandbox.Allow("slow.test:80"))
	conn := connect(t, s)
	fmt.Fprint(conn, "POST http://slow.test/ HTTP/1.1\r\nHost: slow.test\r\nContent-Length: 3\r\n\r\nabc")
	<-arrived
	conn.Close()
	<-gone
}
