package docker

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// vault has secrets by name.
type vault map[string]string

func (v vault) Secret(_ context.Context, name string) ([]byte, error) {
	if s, ok := v[name]; ok {
		return []byte(s), nil
	}
	return nil, wflo.Errorf(wflo.CodeMissingKey, "", "no secret %q", name)
}

// loopback resolves every name to this machine.
type loopback struct{}

func (loopback) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
}

// fetch is a program that gets each argument and prints what came of it.
const fetch = `import sys, ssl, urllib.request, urllib.error
for url in sys.stdin.read().split():
    context = ssl._create_unverified_context() if url.startswith("https://") and "#unverified" in url else None
    try:
        with urllib.request.urlopen(url, timeout=60, context=context) as r:
            print(r.status, len(r.read()), r.headers.get("X-Seen"))
    except urllib.error.HTTPError as e:
        print("status", e.code)
    except Exception as e:
        print("error", type(e).__name__, e)
`

// site is a server that says what authorization it saw.
type site struct {
	*httptest.Server
	port string
	mu   sync.Mutex
	seen []string
}

func newSite(t *testing.T, start func(*httptest.Server), handle http.HandlerFunc) *site {
	s := &site{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.seen = append(s.seen, r.Header.Get("Authorization"))
		s.mu.Unlock()
		handle(w, r)
	}))
	start(s.Server)
	t.Cleanup(s.Close)
	_, s.port, _ = net.SplitHostPort(s.Listener.Addr().String())
	return s
}

func (s *site) saw() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen
}

// networked makes a Runner whose programs may reach this machine by name.
func networked(t *testing.T, roots *x509.CertPool, secrets vault) *Runner {
	return open(t, func(c *Config) {
		c.Secrets = secrets
		c.Egress.Private = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		c.Egress.Resolver = loopback{}
		c.Egress.RootCAs = roots
		c.Egress.Limits.Connections = 128
	})
}

func flow(t *testing.T, res sandbox.Result, to string) sandbox.Flow {
	t.Helper()
	if res.Traffic == nil {
		t.Fatal("no traffic is reported")
	}
	for _, f := range res.Traffic.Flows {
		if f.To == to {
			return f
		}
	}
	t.Errorf("no traffic to %s, but %+v", to, res.Traffic)
	return sandbox.Flow{}
}

// TestNetwork runs a client of the image through the whole way: PID 1, frames,
// the proxy, a server.
func TestNetwork(t *testing.T) {
	t.Parallel()
	const secret = "s3cret-of-the-worker"
	page := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Seen", r.Header.Get("Authorization"))
		_, _ = io.WriteString(w, strings.Repeat("x", 100_000))
	}
	plain, secure := newSite(t, (*httptest.Server).Start, page), newSite(t, (*httptest.Server).StartTLS, page)
	upgraded := newSite(t, (*httptest.Server).StartTLS, page)
	roots := x509.NewCertPool()
	roots.AddCert(secure.Certificate())
	r := networked(t, roots, vault{"token": secret})
	spec := sandbox.Spec{Language: sandbox.Python, Source: fetch, Network: sandbox.Allow("plain.example:"+plain.port, "example.com:"+secure.port)}
	spec.Network.Inject = []sandbox.Injection{
		{To: "example.com:" + upgraded.port, Header: "Authorization", Secret: "token", Format: "Bearer %s"},
	}
	spec.Stdin = []byte(strings.Join([]string{
		"http://plain.example:" + plain.port + "/",            // allowed
		"https://example.com:" + secure.port + "/#unverified", // a tunnel
		"http://other.example:" + plain.port + "/",            // not on the list
		"https://other.example:" + secure.port + "/",          // nor that
		"http://127.0.0.1:" + plain.port + "/",                // past the proxy
		"https://example.com:" + upgraded.port + "/",          // with a secret, verified
		"http://example.com:" + upgraded.port + "/",           // the same, which the proxy makes HTTPS
	}, "\n"))
	res := must(t, r, spec)
	lines := strings.Split(strings.TrimSpace(res.Stdout), "\n")
	for i, want := range []string{"200 100000", "200 100000", "status 403", "error", "error", "200 100000", "200 100000"} {
		if i >= len(lines) || !strings.HasPrefix(lines[i], want) {
			t.Errorf("line %d of %q, want %q", i, lines, want)
		}
	}
	if strings.Contains(res.Stdout+res.Stderr, secret) {
		t.Errorf("the program saw the secret: %q", res.Stdout)
	}
	if got := upgraded.saw(); !slices.Equal(got, []string{"Bearer " + secret, "Bearer " + secret}) {
		t.Errorf("the destination saw %q", got)
	}
	if got := secure.saw(); len(got) != 1 || got[0] != "" {
		t.Errorf("a destination without an injection saw %q", got)
	}
	for _, to := range []string{"plain.example:" + plain.port, "example.com:" + secure.port, "example.com:" + upgraded.port} {
		if f := flow(t, res, to); f.Connections < 1 || f.Received < 100_000 || f.Sent < 50 {
			t.Errorf("traffic %+v", f)
		}
	}
	refused := map[string]int{}
	for _, f := range res.Traffic.Refused {
		refused[f.To] += f.Count
	}
	if refused["other.example:"+plain.port] != 1 || refused["other.example:"+secure.port] < 1 {
		t.Errorf("refused %+v", res.Traffic.Refused)
	}
}

// TestNetworkEnds ends a program in the middle of a transfer: neither the
// server's connection nor anything of the worker stays.
func TestNetworkEnds(t *testing.T) {
	t.Parallel()
	gone := make(chan struct{})
	s := newSite(t, (*httptest.Server).Start, func(w http.ResponseWriter, r *http.Request) {
		defer close(gone)
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 32<<10)); err != nil {
				return
			}
		}
	})
	r := networked(t, nil, nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	watch, begun := listen("begun")
	ended := start(ctx, r, sandbox.Spec{
		Language: sandbox.Python, Network: sandbox.Allow("endless.example:" + s.port),
		Source: fmt.Sprintf("import urllib.request\nr = urllib.request.urlopen('http://endless.example:%s/')\nprint('begun')\nwhile True: r.read(1000)", s.port),
	}, watch)
	<-begun
	cancel()
	if got := <-ended; got.err != nil || got.res.Outcome != sandbox.Cancelled {
		t.Errorf("Run = %s, %v", got.res.Outcome, got.err)
	}
	<-gone
}
