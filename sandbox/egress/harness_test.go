package egress

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// TestMain fails if a goroutine is left, or if net/http has written into the
// process's log: what it writes there comes from destinations and can hold secrets.
func TestMain(m *testing.M) {
	process := new(lockedBuffer)
	slog.SetDefault(slog.New(slog.NewTextHandler(process, nil))) // also that of package log
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if said := process.String(); said != "" {
			fmt.Fprintf(os.Stderr, "in the process's log:\n%s", said)
			code = 1
		}
		os.Exit(code)
	}))
}

const token = "s3cr3t-token-of-the-worker"

type fakeSecrets map[string]string

func (f fakeSecrets) Secret(_ context.Context, name string) ([]byte, error) {
	v, ok := f[name]
	if !ok {
		return nil, wflo.Errorf(wflo.CodeMissingKey, "set it", "secret %q is unknown", name)
	}
	return []byte(v), nil
}

// names is a resolver: what each lookup of a name gives, the last one for ever.
type names struct {
	mu      sync.Mutex
	answers map[string][][]string
	asked   map[string]int
}

func (n *names) LookupNetIP(_ context.Context, network, host string) ([]netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if network != "ip" {
		return nil, fmt.Errorf("lookup of %s", network)
	}
	if strings.Contains(host, ".") && !strings.HasSuffix(host, ".") {
		return nil, fmt.Errorf("lookup of %s, which a search list applies to", host)
	}
	name := strings.TrimSuffix(host, ".")
	list := n.answers[name]
	if len(list) == 0 {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	if n.asked == nil {
		n.asked = map[string]int{}
	}
	answer := list[min(n.asked[name], len(list)-1)]
	n.asked[name]++
	var addrs []netip.Addr
	for _, a := range answer {
		addrs = append(addrs, netip.MustParseAddr(a))
	}
	return addrs, nil
}

// dialer connects what the proxy thinks is one address to where a test listens,
// and records what was dialled.
type dialer struct {
	mu     sync.Mutex
	to     map[string]string // address as dialled to real address
	dialed []string
}

func (d *dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	d.mu.Lock()
	d.dialed = append(d.dialed, address)
	real, ok := d.to[address]
	d.mu.Unlock()
	if !ok {
		return nil, errors.New("connection refused")
	}
	return new(net.Dialer).DialContext(ctx, network, real)
}

func (d *dialer) all() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]string(nil), d.dialed...)
}

// world is a proxy whose network is the test's: loopback is opened, as an operator
// would open a mirror's range.
type world struct {
	names  *names
	dialer *dialer
	config Config
	log    *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newWorld() *world {
	w := &world{names: &names{answers: map[string][][]string{}}, dialer: &dialer{to: map[string]string{}}, log: new(lockedBuffer)}
	w.config = Config{
		Secrets:  fakeSecrets{"token": token, "short": "abc", "empty": "", "lines": "a\nb", "spaced": "abc\n"},
		Private:  []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		Resolver: w.names, Dial: w.dialer.dial, Roots: []byte{},
		Logger: slog.New(slog.NewTextHandler(w.log, nil)),
	}
	return w
}

// place puts a server at NAME:PORT, on a loopback address of its own.
func (w *world) place(name string, port int, real net.Addr) {
	ip := fmt.Sprintf("127.0.1.%d", len(w.names.answers)+1)
	if list := w.names.answers[name]; len(list) > 0 {
		ip = list[0][0]
	}
	w.names.answers[name] = [][]string{{ip}}
	w.dialer.to[fmt.Sprintf("%s:%d", ip, port)] = real.String()
}

func (w *world) open(t testing.TB, n sandbox.Network) *Session {
	t.Helper()
	p, err := New(w.config)
	if err != nil {
		t.Fatal(err)
	}
	s, err := p.Open(context.Background(), n, sandbox.Origin{Tenant: "team", Run: "run-1", Step: "step-1"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// connect gives the program's end of a connection that the session serves.
func connect(t testing.TB, s *Session) *net.TCPConn {
	t.Helper()
	program, worker := pair(t)
	go s.Serve(worker)
	return program
}

func pair(t testing.TB) (*net.TCPConn, *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	a, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	// A test that waits for ever says less than one that fails.
	if err := a.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return a.(*net.TCPConn), b.(*net.TCPConn)
}

// client is an http.Client of a program that obeys HTTP_PROXY.
func client(t testing.TB, s *Session, change func(*http.Transport)) *http.Client {
	t.Helper()
	tr := &http.Transport{
		Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: Listen}),
		DialContext: func(_ context.Context, _, address string) (net.Conn, error) {
			if address != Listen {
				return nil, fmt.Errorf("the program dials %s itself", address)
			}
			return connect(t, s), nil
		},
	}
	if change != nil {
		change(tr)
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// send writes bytes as a program and gives the response.
func send(t testing.TB, s *Session, raw string) (status int, phrase, body string) {
	t.Helper()
	conn := connect(t, s)
	// The proxy may close before it has read everything.
	_, _ = io.WriteString(conn, raw)
	return receive(t, bufio.NewReader(conn), "GET")
}

func receive(t testing.TB, r *bufio.Reader, method string) (status int, phrase, body string) {
	t.Helper()
	resp, err := http.ReadResponse(r, &http.Request{Method: method})
	if err != nil {
		t.Fatalf("read the proxy's answer: %v", err)
	}
	defer resp.Body.Close()
	if method == "CONNECT" && resp.StatusCode == 200 {
		return 200, resp.Status, ""
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("read the body of %s: %v", resp.Status, err)
	}
	return resp.StatusCode, resp.Status, string(b)
}

func server(t testing.TB, handler http.Handler) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(handler)
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.Start()
	t.Cleanup(s.Close)
	return s
}

func refusals(s *Session) map[string]int {
	all := map[string]int{}
	for _, r := range s.Traffic().Refused {
		all[r.To+" "+r.Reason] += r.Count
	}
	return all
}
