package egress

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go/sandbox"
)

// service is a destination that gets a secret, with TLS of an authority that the
// worker trusts and the program has never heard of.
func service(t *testing.T, w *world, host string, handler http.HandlerFunc) {
	t.Helper()
	a, err := newAuthority([]string{host})
	if err != nil {
		t.Fatal(err)
	}
	cert, err := a.certificate(host)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(handler)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{*cert}, MinVersion: tls.VersionTLS12}
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.StartTLS()
	t.Cleanup(s.Close)
	if w.config.RootCAs == nil {
		w.config.RootCAs = x509.NewCertPool()
	}
	w.config.RootCAs.AddCert(a.cert)
	w.place(host, 443, s.Listener.Addr())
}

func injected(host string) sandbox.Network {
	return sandbox.Network{Mode: sandbox.NetworkAllow, Inject: []sandbox.Injection{{To: host, Header: "Authorization", Secret: "token", Format: "Bearer %s"}}}
}

// trusting is a program's client that reads CAFile.
func trusting(t testing.TB, s *Session) *http.Client {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(s.CA()) {
		t.Fatal("CA holds no certificate")
	}
	return client(t, s, func(tr *http.Transport) { tr.TLSClientConfig = &tls.Config{RootCAs: pool} })
}

// TestInjection: by TLS that ends in the proxy and by plain HTTP that becomes TLS,
// the destination sees the worker's header, once, and never the program's.
func TestInjection(t *testing.T) {
	w := newWorld()
	service(t, w, "inj.test", func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var own []string
		for name := range r.Header {
			if sameName(name, "Authorization") || strings.HasPrefix(name, "Proxy") || name == "Connection" && r.Header.Get(name) != "close" {
				own = append(own, name)
			}
		}
		fmt.Fprintf(rw, "%v %t %t host=%s proto=%s path=%s own=%q agent=%q body=%s", r.Header["Authorization"], r.TLS != nil, r.Header.Get("Authorization") == "Bearer "+token, r.Host, r.Proto, r.RequestURI, own, r.Header["User-Agent"], body)
	})
	want := func(path, body string) string {
		return "[Bearer " + stars(len(token)) + `] true true host=inj.test proto=HTTP/1.1 path=` + path + ` own=["Authorization"] agent=["me"] body=` + body
	}
	for name, url := range map[string]string{"TLS": "https://inj.test/a%2fb?c=d&e", "upgrade": "http://inj.test:443/a%2fb?c=d&e"} {
		t.Run(name, func(t *testing.T) {
			s := w.open(t, injected("inj.test:443"))
			c := trusting(t, s)
			for range 3 {
				req, err := http.NewRequestWithContext(t.Context(), "POST", url, strings.NewReader("body"))
				if err != nil {
					t.Fatal(err)
				}
				req.Header = http.Header{
					"Authorization": {"Bearer mine"}, "authorization": {"mine too"}, "AUTHORIZATION": {"and mine"},
					"Proxy-Authorization": {"Basic x"}, "Connection": {"Authorization"}, "User-Agent": {"me"},
				}
				resp, err := c.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || string(got) != want("/a%2fb?c=d&e", "body") {
					t.Fatalf("got  %s, %v\nwant %s", got, err, want("/a%2fb?c=d&e", "body"))
				}
			}
			if got := refusals(s); len(got) != 0 {
				t.Errorf("refusals are %v", got)
			}
			if flows := s.Traffic().Flows; len(flows) != 1 || flows[0].Connections != 3 || flows[0].To != "inj.test:443" {
				t.Errorf("flows are %v, want a connection for each request", flows)
			}
			if strings.Contains(w.log.String(), token) {
				t.Error("the secret is in the log")
			}
		})
	}
}

// TestInjectionForms: absolute https, plain HTTP in a tunnel, and what must not be.
func TestInjectionForms(t *testing.T) {
	w := newWorld()
	service(t, w, "inj.test", func(rw http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(rw, "tls=%t %t host=%s", r.TLS != nil, r.Header.Get("Authorization") == "Bearer "+token && r.Header.Get("X_authorization") == "" && len(r.Header["Authorization"]) == 1, r.Host)
	})
	s := w.open(t, injected("inj.test:443"))
	const good = "tls=true true host=inj.test"
	if status, phrase, body := send(t, s, "GET https://inj.test/ HTTP/1.1\r\nHost: inj.test\r\n\r\n"); status != 200 || body != good {
		t.Errorf("absolute https: %s %q", phrase, body)
	}
	for name, c := range map[string]struct {
		request, reason string
		status          int
	}{
		"plain in tunnel": {"GET / HTTP/1.1\r\nHost: inj.test:443\r\n\r\n", "", 200},
		"other host":      {"GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n", "under another Host", 421},
		"other port":      {"GET / HTTP/1.1\r\nHost: inj.test:8443\r\n\r\n", "under another Host", 421},
		"absolute form":   {"GET http://evil.test/ HTTP/1.1\r\nHost: evil.test\r\n\r\n", "malformed", 400},
		"nested CONNECT":  {"CONNECT inj.test:443 HTTP/1.1\r\nHost: inj.test:443\r\n\r\n", "malformed", 400},
		"TRACE":           {"TRACE / HTTP/1.1\r\nHost: inj.test\r\n\r\n", "TRACE", 405},
	} {
		t.Run(name, func(t *testing.T) {
			conn, r := dialTunnel(t, s, "inj.test:443")
			fmt.Fprint(conn, c.request)
			status, phrase, body := receive(t, r, "GET")
			if status != c.status || !strings.Contains(phrase, c.reason) || status == 200 && body != good {
				t.Errorf("%s %q, want %d with %q", phrase, body, c.status, c.reason)
			}
		})
	}
}

// TestInjectionPlainPort: on port 80, and there alone, a secret goes without TLS.
func TestInjectionPlainPort(t *testing.T) {
	w := newWorld()
	hit := server(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(rw, "%t %q", r.Header.Get("Authorization") == "Bearer "+token, r.Header["User-Agent"])
	}))
	w.place("inj.test", 80, hit.Listener.Addr())
	w.place("odd.test", 8080, hit.Listener.Addr())
	n := injected("inj.test:80")
	n.Inject = append(n.Inject, sandbox.Injection{To: "odd.test:8080", Header: "Authorization", Secret: "token"})
	s := w.open(t, n)
	if status, phrase, body := send(t, s, "GET http://inj.test/ HTTP/1.0\r\n\r\n"); status != 200 || body != "true []" {
		t.Errorf("port 80: %s %q", phrase, body)
	}
	if status, phrase, _ := send(t, s, "GET http://odd.test:8080/ HTTP/1.1\r\nHost: odd.test:8080\r\n\r\n"); status != 502 {
		t.Errorf("port 8080, which speaks no TLS: %s", phrase)
	}
}

// TestInjectionVerifies: a destination whose certificate the worker does not trust
// gets nothing.
func TestInjectionVerifies(t *testing.T) {
	w := newWorld()
	service(t, w, "inj.test", func(http.ResponseWriter, *http.Request) { t.Error("an impostor was asked") })
	w.config.RootCAs = x509.NewCertPool()
	s := w.open(t, injected("inj.test:443"))
	resp, err := trusting(t, s).Get("https://inj.test/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 502 || !strings.Contains(resp.Status, "does not trust") {
		t.Errorf("answer is %s", resp.Status)
	}
}

// TestInjectionServerName: inside a tunnel that ends here TLS is for its host too.
func TestInjectionServerName(t *testing.T) {
	w := newWorld()
	service(t, w, "inj.test", func(http.ResponseWriter, *http.Request) { t.Error("a request got through") })
	s := w.open(t, injected("inj.test:443"))
	conn, _ := dialTunnel(t, s, "inj.test:443")
	if err := tls.Client(conn, &tls.Config{ServerName: "evil.test", InsecureSkipVerify: true}).Handshake(); err == nil {
		t.Error("TLS for another name works")
	}
	s.Close()
	if got := refusals(s); got["inj.test:443 was sent TLS for another name"] != 1 {
		t.Errorf("refusals are %v", got)
	}
}

// TestAuthority: the session's authority is good for its hosts and no others, in
// the eyes of who verifies.
func TestAuthority(t *testing.T) {
	hosts := []string{"inj.test", "127.0.1.7", "2001:db8::7"}
	for name, c := range map[string]struct {
		hosts []string
		host  string
		good  bool
	}{
		"name":                    {hosts, "inj.test", true},
		"IPv4":                    {hosts, "127.0.1.7", true},
		"IPv6":                    {hosts, "2001:db8::7", true},
		"other name":              {hosts, "evil.test", false},
		"other IPv4":              {hosts, "127.0.1.8", false},
		"address, names only":     {[]string{"inj.test"}, "127.0.1.7", false},
		"IPv6, names only":        {[]string{"inj.test"}, "2001:db8::7", false},
		"name, addresses only":    {[]string{"127.0.1.7"}, "inj.test", false},
		"address, addresses only": {[]string{"127.0.1.7"}, "127.0.1.7", true},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := newAuthority(c.hosts)
			if err != nil {
				t.Fatal(err)
			}
			cert, err := a.certificate(c.host)
			if err != nil {
				t.Fatal(err)
			}
			leaf, err := x509.ParseCertificate(cert.Certificate[0])
			if err != nil {
				t.Fatal(err)
			}
			roots := x509.NewCertPool()
			roots.AddCert(a.cert)
			_, err = leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: c.host})
			if (err == nil) != c.good {
				t.Errorf("a certificate for %s by an authority for %v: %v", c.host, c.hosts, err)
			}
		})
	}
}

// TestReflection: a service that repeats the header does not give it away by
// accident, in headers or in a body, however it is cut.
func TestReflection(t *testing.T) {
	w := newWorld()
	service(t, w, "inj.test", func(rw http.ResponseWriter, r *http.Request) {
		seen := r.Header.Get("Authorization")
		rw.Header().Set("X-Seen", seen)
		rw.Header().Add("Www-Authenticate", "x="+seen)
		rw.Header().Set(token, "as a name")
		switch r.URL.Path {
		case "/length":
			rw.Header().Set("Content-Length", fmt.Sprint(len(seen)))
			fmt.Fprint(rw, seen)
		case "/stream":
			for _, c := range []byte(seen) {
				_, _ = rw.Write([]byte{c})
				rw.(http.Flusher).Flush()
			}
		case "/gzip":
			if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
				t.Error("the answer may come compressed")
			}
			rw.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(rw)
			fmt.Fprint(z, "plain")
			z.Close()
		}
	})
	s := w.open(t, injected("inj.test:443"))
	c := trusting(t, s)
	for path, want := range map[string]string{"/length": "Bearer " + stars(len(token)), "/stream": "Bearer " + stars(len(token)), "/gzip": "plain"} {
		resp, err := c.Get("https://inj.test" + path)
		if err != nil {
			t.Fatal(err)
		}
		var raw bytes.Buffer
		_ = resp.Header.Write(&raw)
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || string(body) != want {
			t.Errorf("%s gives %q, %v, want %q", path, body, err, want)
		}
		if strings.Contains(strings.ToLower(raw.String()), token) {
			t.Errorf("%s: the secret is in the headers:\n%s", path, &raw)
		}
	}
}

// TestRedirect: the proxy follows nothing; where it leads is the program's request,
// and refused like any other.
func TestRedirect(t *testing.T) {
	w := newWorld()
	service(t, w, "inj.test", func(rw http.ResponseWriter, r *http.Request) {
		http.Redirect(rw, r, "http://evil.test/steal", http.StatusTemporaryRedirect)
	})
	s := w.open(t, injected("inj.test:443"))
	c := trusting(t, s)
	resp, err := c.Get("https://inj.test/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 307 || resp.Header.Get("Location") != "http://evil.test/steal" {
		t.Errorf("answer is %s", resp.Status)
	}
	c.CheckRedirect = nil
	resp, err = c.Get("https://inj.test/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 403 {
		t.Errorf("the redirect's target answers %s", resp.Status)
	}
}

// TestInjectionStreams: an answer arrives as it is written.
func TestInjectionStreams(t *testing.T) {
	w := newWorld()
	step := make(chan struct{})
	service(t, w, "inj.test", func(rw http.ResponseWriter, r *http.Request) {
		flush := rw.(http.Flusher).Flush
		flush()
		for i := range 3 {
			<-step
			fmt.Fprintf(rw, "data: %d\n", i)
			flush()
		}
	})
	s := w.open(t, injected("inj.test:443"))
	req, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), "GET", "https://inj.test/", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := trusting(t, s).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	r := bufio.NewReader(resp.Body)
	var got []string
	for range 3 {
		step <- struct{}{}
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, line)
	}
	if diff := cmp.Diff([]string{"data: 0\n", "data: 1\n", "data: 2\n"}, got); diff != "" {
		t.Errorf("stream (-want +got):\n%s", diff)
	}
}

// TestForeignTLS: a destination without a secret keeps its own TLS, end to end.
func TestForeignTLS(t *testing.T) {
	w := newWorld()
	service(t, w, "other.test", func(rw http.ResponseWriter, r *http.Request) {
		fmt.Fprint(rw, r.Header.Get("Authorization"))
	})
	n := injected("inj.test:443")
	n.Allow = []string{"other.test:443"}
	s := w.open(t, n)
	if _, err := trusting(t, s).Get("https://other.test/"); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a program that trusts the session's authority alone gets %v, want a certificate that is not by it", err)
	}
	c := client(t, s, func(tr *http.Transport) { tr.TLSClientConfig = &tls.Config{RootCAs: w.config.RootCAs} })
	req, err := http.NewRequestWithContext(t.Context(), "GET", "https://other.test/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "mine")
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got, err := io.ReadAll(resp.Body); err != nil || string(got) != "mine" {
		t.Errorf("got %q, %v", got, err)
	}
}
