package egress

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go/sandbox"
)

// TestKeepAlive: requests follow each other on one connection, pipelined too, to
// several destinations, and each is judged.
func TestKeepAlive(t *testing.T) {
	w := newWorld()
	for _, name := range []string{"a.x.test", "b.x.test"} {
		hit := server(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			rw.Header().Set("Keep-Alive", "timeout=5")
			fmt.Fprintf(rw, "%s %s %s %s", r.Method, r.Host, r.RequestURI, body)
		}))
		w.place(name, 80, hit.Listener.Addr())
	}
	s := w.open(t, sandbox.Allow("*.x.test:80"))
	conn := connect(t, s)
	fmt.Fprint(conn, "GET http://a.x.test/1 HTTP/1.1\r\nHost: a.x.test\r\n\r\n"+
		"POST http://B.X.TEST:80/2?q HTTP/1.1\r\nHost: b.x.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nAuthorization: trailer\r\n\r\n"+
		"PUT http://a.x.test HTTP/1.1\r\nHost: A.X.test.\r\nContent-Length: 2\r\n\r\nxy"+
		"HEAD http://a.x.test/ HTTP/1.1\r\nHost: a.x.test\r\n\r\n"+
		"GET http://other.example/ HTTP/1.1\r\nHost: other.example\r\n\r\n"+
		"GET http://a.x.test/never HTTP/1.1\r\nHost: a.x.test\r\n\r\n")
	r := bufio.NewReader(conn)
	for _, c := range []struct {
		method, want string
		status       int
	}{
		{"GET", "GET a.x.test /1 ", 200}, {"POST", "POST b.x.test /2?q abc", 200}, {"PUT", "PUT a.x.test / xy", 200}, {"HEAD", "", 200},
		{"GET", "wflo: other.example:80 is not on the allow-list; add it to spec.network.allow\n", 403},
	} {
		resp, err := http.ReadResponse(r, &http.Request{Method: c.method})
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != c.status || string(body) != c.want || resp.Header.Get("Keep-Alive") != "" {
			t.Errorf("answer is %s %q, %v, want %d %q", resp.Status, body, err, c.status, c.want)
		}
	}
	if rest, err := io.ReadAll(r); len(rest) > 0 {
		t.Errorf("after a refusal comes %q, %v", rest, err)
	}
}

// TestExpect: the invitation to send a body comes once, before the answer.
func TestExpect(t *testing.T) {
	w := newWorld()
	hit := server(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(rw, "%s %q", body, r.Header["Expect"])
	}))
	w.place("a.test", 80, hit.Listener.Addr())
	s := w.open(t, sandbox.Allow("a.test:80"))
	conn := connect(t, s)
	r := bufio.NewReader(conn)
	for range 2 {
		fmt.Fprint(conn, "POST http://a.test/ HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
		line, err := r.ReadString('\n')
		if err != nil || line != "HTTP/1.1 100 Continue\r\n" {
			t.Fatalf("the invitation is %q, %v", line, err)
		}
		if line, err = r.ReadString('\n'); line != "\r\n" {
			t.Fatalf("after it comes %q, %v", line, err)
		}
		fmt.Fprint(conn, "abc")
		if status, phrase, body := receive(t, r, "POST"); status != 200 || body != "abc []" {
			t.Errorf("answer is %s %q", phrase, body)
		}
	}
}

// TestBrokenAnswers: what is no whole answer is not made into one.
func TestBrokenAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		answer, want string
		whole        bool
	}{
		"cut":         {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", "HTTP/1.1 200", false},
		"cut chunks":  {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "HTTP/1.1 200", false},
		"no HTTP":     {"SSH-2.0-x\r\n", "HTTP/1.1 502 wflo: a.test:80 gave no valid answer", true},
		"switching":   {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "HTTP/1.1 502", true},
		"proxy":       {"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 502", true},
		"two lengths": {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "HTTP/1.1 502", true},
		"long head":   {"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("a", 64<<10) + "\r\n\r\n", "HTTP/1.1 502", true},
		"until close": {"HTTP/1.0 200 OK\r\n\r\nabc", "HTTP/1.1 200", true},
		"split":       {"HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: b\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 ", true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			w.place("a.test", 80, listener(t, func(conn *net.TCPConn) {
				req, err := http.ReadRequest(bufio.NewReader(conn))
				if err != nil {
					t.Error(err)
					return
				}
				req.Body.Close()
				fmt.Fprint(conn, c.answer)
			}))
			s := w.open(t, sandbox.Allow("a.test:80"))
			conn := connect(t, s)
			fmt.Fprint(conn, "GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
			raw, err := io.ReadAll(conn)
			if err != nil || !strings.HasPrefix(string(raw), c.want) {
				t.Fatalf("answer is %q, %v, want %q", raw, err, c.want)
			}
			resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(string(raw))), nil)
			if err != nil {
				t.Fatal(err)
			}
			_, err = io.ReadAll(resp.Body)
			resp.Body.Close()
			if (err == nil) != c.whole {
				t.Errorf("reading the answer: %v, want whole = %t", err, c.whole)
			}
			if resp.Header.Get("Set-Cookie") != "" {
				t.Errorf("a header was made of another's value: %q", raw)
			}
		})
	}
}

// TestSlowPrograms: a head that does not come to an end and a connection on which
// nothing moves are ended, by the proxy and not by this test.
func TestSlowPrograms(t *testing.T) {
	w := newWorld()
	w.config.Limits = Limits{HeaderTimeout: 50 * time.Millisecond, IdleTimeout: 100 * time.Millisecond}
	w.place("a.test", 7000, listener(t, echo))
	w.place("a.test", 443, listener(t, echo))
	s := w.open(t, sandbox.Allow("a.test:7000", "a.test:443"))
	for name, sent := range map[string]string{
		"nothing":        "",
		"half a head":    "GET http://a.test/ HTTP/1.1\r\nHost:",
		"silent tunnel":  "CONNECT a.test:7000 HTTP/1.1\r\nHost: a.test:7000\r\n\r\n",
		"half a hello":   "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n\x16\x03\x01\x01\x00",
		"half a refusal": "CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test:443\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			program, worker := pair(t)
			done := make(chan struct{})
			go func() {
				defer close(done)
				s.Serve(worker)
			}()
			fmt.Fprint(program, sent)
			<-done
		})
	}
}

// TestConnectionLimit: one connection too many is told so, and counted.
func TestConnectionLimit(t *testing.T) {
	w := newWorld()
	w.config.Limits.Connections = 2
	w.place("a.test", 7000, listener(t, echo))
	s := w.open(t, sandbox.Allow("a.test:7000"))
	first, _ := dialTunnel(t, s, "a.test:7000")
	program, worker := pair(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Serve(worker)
	}()
	fmt.Fprint(program, "GET http://evil.test/ HTTP/1.1\r\nHost: evil.test\r\n")
	if status, phrase, _ := tooMany(t, s); status != 503 || !strings.Contains(phrase, "too many connections") {
		t.Errorf("the third connection gets %s", phrase)
	}
	program.Close()
	<-done
	if got := refusals(s); got["(unknown) has too many connections open"] != 1 {
		t.Errorf("refusals are %v", got)
	}
	first.Close()
}

// tooMany opens connections until one is refused: which of those that are under
// way counts first is not for a test to say.
func tooMany(t *testing.T, s *Session) (int, string, string) {
	t.Helper()
	for {
		s.mu.Lock()
		full := s.serving >= s.proxy.config.Limits.Connections
		s.mu.Unlock()
		if full {
			return receive(t, bufio.NewReader(connect(t, s)), "GET")
		}
	}
}

// TestByteLimit: what an execution may exchange has an end, whatever it goes
// through.
func TestByteLimit(t *testing.T) {
	w := newWorld()
	w.config.Limits.Bytes = 1 << 20
	w.place("a.test", 7000, listener(t, func(conn *net.TCPConn) { _, _ = io.Copy(io.Discard, conn) }))
	hit := server(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	w.place("a.test", 80, hit.Listener.Addr())
	s := w.open(t, sandbox.Allow("a.test:7000", "a.test:80"))
	conn, r := dialTunnel(t, s, "a.test:7000")
	sent, chunk := 0, make([]byte, 32<<10)
	for sent < 64<<20 {
		n, err := conn.Write(chunk)
		sent += n
		if err != nil {
			break
		}
	}
	if _, err := io.ReadAll(r); err == nil && sent >= 64<<20 {
		t.Error("64 MiB went through")
	}
	if status, phrase, _ := send(t, s, "GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n"); status != 403 || !strings.Contains(phrase, "used up") {
		t.Errorf("the next request gets %s", phrase)
	}
	flows := s.Traffic().Flows
	if len(flows) != 1 || flows[0].Sent < 1<<20 || flows[0].Sent > 1<<20+64<<10 {
		t.Errorf("flows are %+v, want 1 MiB and at most a buffer more", flows)
	}
	want := map[string]int{"a.test:7000 is refused because the bytes of this execution are used up": 1, "a.test:80 is refused because the bytes of this execution are used up": 1}
	if diff := cmp.Diff(want, refusals(s)); diff != "" {
		t.Errorf("refusals (-want +got):\n%s", diff)
	}
}
