package outbound

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestForbiddenAddresses(t *testing.T) {
	for address, open := range map[string]bool{
		"93.184.216.34": true, "8.8.8.8": true, "2606:4700::1111": true, "100.63.255.255": true, "100.128.0.0": true, "::ffff:8.8.8.8": true,
		"127.0.0.1": false, "127.255.255.254": false, "0.0.0.0": false, "10.0.0.1": false, "172.16.0.1": false, "172.31.255.255": false,
		"192.168.1.1": false, "169.254.169.254": false, "168.63.129.16": false, "100.64.0.1": false, "100.127.255.255": false,
		"224.0.0.1": false, "239.255.255.255": false, "255.255.255.255": false, "192.0.2.1": false, "198.18.0.1": false,
		"::": false, "::1": false, "fe80::1": false, "fec0::1": false, "fc00::1": false, "fd00:ec2::254": false, "ff02::1": false,
		"::ffff:127.0.0.1": false, "::ffff:169.254.169.254": false, "::ffff:10.0.0.1": false, "::127.0.0.1": false,
		"64:ff9b::7f00:1": false, "64:ff9b::a9fe:a9fe": false, "64:ff9b:1::1": false, "2002:7f00:1::": false, "2001::1": false,
		"2001:db8::1": false, "4000::1": false,
	} {
		if what := (Config{}).forbidden(netip.MustParseAddr(address)); (what == "") != open {
			t.Errorf("%s: %q", address, what)
		}
	}
	if (Config{}).forbidden(netip.Addr{}) == "" || (Config{}).forbidden(netip.MustParseAddr("fe80::1%eth0")) == "" {
		t.Error("an address with a zone, or none, is let through")
	}
	c := Config{Allow: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}}
	if c.forbidden(netip.MustParseAddr("::ffff:10.1.2.3")) != "" || c.forbidden(netip.MustParseAddr("10.2.0.1")) == "" {
		t.Error("Allow opens the wrong network")
	}
}

// names is a resolver that answers each time with the next address.
type names struct {
	answers [][]netip.Addr
	asked   int
}

func (n *names) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	a := n.answers[min(n.asked, len(n.answers)-1)]
	n.asked++
	return a, nil
}

func local(s *httptest.Server, resolver Resolver) (*http.Client, string) {
	u, _ := url.Parse(s.URL)
	c := New(Config{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, AllowHTTP: true, Resolver: resolver})
	return c, "http://hook.example:" + u.Port() + "/"
}

// A name that is good when it is checked and leads inside when it is dialled is the
// classic way around such a guard.
func TestRebindingIsRefused(t *testing.T) {
	var hits atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	defer s.Close()
	good, bad := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2")
	client, address := local(s, &names{answers: [][]netip.Addr{{good}, {bad}}})
	defer client.CloseIdleConnections()
	for i, want := range []bool{true, false} {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, address, strings.NewReader("x"))
		_, err := Send(client, req)
		if (err == nil) != want || err != nil && !errors.Is(err, ErrForbidden) {
			t.Errorf("request %d: %v", i, err)
		}
		client.CloseIdleConnections()
	}
	if hits.Load() != 1 {
		t.Errorf("%d requests arrived", hits.Load())
	}
	// Of several addresses those inside are left out.
	mixed, address := local(s, &names{answers: [][]netip.Addr{{bad, good}}})
	defer mixed.CloseIdleConnections()
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, address, strings.NewReader("x"))
	if _, err := Send(mixed, req); err != nil {
		t.Errorf("a name with a good address: %v", err)
	}
}

func TestInsideIsRefusedByDefault(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a request arrived") }))
	defer s.Close()
	u, _ := url.Parse(s.URL)
	client := New(Config{})
	for _, address := range []string{s.URL, "https://localhost:" + u.Port(), "https://[::ffff:127.0.0.1]:" + u.Port(), "https://0.0.0.0:" + u.Port(), "http://8.8.8.8/"} {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, address, nil)
		if _, err := Send(client, req); !errors.Is(err, ErrForbidden) {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestRedirects(t *testing.T) {
	var reached []string
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("followed to another server") }))
	defer other.Close()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		reached = append(reached, r.Method+" "+r.URL.Path+" "+string(body))
		switch r.URL.Path {
		case "/same":
			http.Redirect(w, r, "/end", http.StatusTemporaryRedirect)
		case "/get":
			http.Redirect(w, r, "/end", http.StatusFound)
		case "/other":
			http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
		case "/meta":
			http.Redirect(w, r, "http://169.254.169.254/latest", http.StatusTemporaryRedirect)
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusTemporaryRedirect)
		}
	}))
	defer s.Close()
	client := New(Config{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, AllowHTTP: true})
	defer client.CloseIdleConnections()
	for path, ok := range map[string]bool{"/same": true, "/get": false, "/other": false, "/meta": false, "/loop": false} {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+path, strings.NewReader("body"))
		_, err := Send(client, req)
		if (err == nil) != ok || err != nil && !errors.Is(err, ErrForbidden) {
			t.Errorf("%s: %v", path, err)
		}
	}
	for _, r := range reached {
		if r == "GET /end" || strings.HasPrefix(r, "GET") {
			t.Errorf("the message was dropped: %s", r)
		}
	}
}

func TestAnswersAreBounded(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hang" {
			<-r.Context().Done()
			return
		}
		io.CopyN(w, zeros{}, 2*maxBody)
	}))
	defer s.Close()
	client := New(Config{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, AllowHTTP: true, Timeout: 50 * time.Millisecond})
	defer client.CloseIdleConnections()
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/hang", nil)
	if _, err := Send(client, req); err == nil {
		t.Error("waited for ever")
	}
	patient := New(Config{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, AllowHTTP: true})
	defer patient.CloseIdleConnections()
	req, _ = http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL, nil)
	a, err := Send(patient, req)
	if err != nil || len(a.Body) != maxBody {
		t.Errorf("read %d bytes, %v", len(a.Body), err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// A proxy would be the one who resolves and dials.
func TestNoProxy(t *testing.T) {
	var used atomic.Bool
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { used.Store(true) }))
	defer proxy.Close()
	t.Setenv("HTTP_PROXY", proxy.URL)
	t.Setenv("HTTPS_PROXY", proxy.URL)
	client := New(Config{AllowHTTP: true})
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://192.168.7.7/", nil)
	if _, err := Send(client, req); !errors.Is(err, ErrForbidden) || used.Load() {
		t.Errorf("proxy used: %v, %v", used.Load(), err)
	}
}

func TestErrorsDoNotRepeatTheAddress(t *testing.T) {
	client := New(Config{})
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://127.0.0.1:9/hook/canary-token", nil)
	if _, err := Send(client, req); err == nil || strings.Contains(err.Error(), "canary") {
		t.Errorf("error %v", err)
	}
}

func TestCheckURL(t *testing.T) {
	for address, ok := range map[string]bool{
		"https://example.com/x": true, "http://example.com": false, "ftp://example.com": false, "example.com": false, "": false,
		"https://u:p@example.com": false, "https:opaque": false, "https://example.com/#x": false, "file:///etc/passwd": false,
	} {
		if err := (Config{}).CheckURL("f", address); (err == nil) != ok {
			t.Errorf("%q: %v", address, err)
		}
	}
	if err := (Config{AllowHTTP: true}).CheckURL("f", "http://example.com"); err != nil {
		t.Error(err)
	}
}
